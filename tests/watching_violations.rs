//! Promise: a watcher of violations hears of each violation that appears or disappears, once.
//! Layers are told which places were touched.

use std::sync::{Arc, Mutex};

use exostate::middleware::{Done, Middleware};
use exostate::{
    Automerge, Backend, ChangeError, Map, Origin, State, Store, UndoOptions, Violation,
    ViolationsPatch, Yrs,
};
use proptest::prelude::*;

mod newer {
    use super::*;

    #[derive(State, Clone, Debug, Default, PartialEq)]
    pub struct Form {
        pub age: String,
        pub names: Map<String, Map<String, String>>,
    }
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Form {
    age: u8,
    names: Map<String, Name>,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Name {
    first: i64,
}

type Told = Arc<Mutex<Vec<ViolationsPatch>>>;

fn watched<B: Backend>(store: &Store<Form, B>) -> (Told, exostate::Subscription) {
    let told = Told::default();
    let sink = Arc::clone(&told);
    (
        told,
        store.watch_violations(move |patch| {
            sink.lock().expect("nobody panics with it").push(patch.clone())
        }),
    )
}

fn take(told: &Told) -> Vec<ViolationsPatch> {
    std::mem::take(&mut *told.lock().expect("nobody panics with it"))
}

fn merge<B: Backend, S: State, T: State>(store: &Store<S, B>, other: &Store<T, B>) {
    store
        .apply_all(&other.updates_since(&store.version()).expect("an update"))
        .expect("an honest update");
}

#[test]
fn new_and_resolved_violations_are_reported() {
    fn run<B: Backend>() {
        let store = Store::<Form, B>::new();
        let theirs = Store::<newer::Form, B>::new();
        let (told, watch) = watched(&store);
        theirs.change(|form| form.age().set("seven")).expect("it can be written");
        merge(&store, &theirs);
        let [patch] = &take(&told)[..] else { panic!("one call") };
        assert_eq!(
            (patch.new(), patch.gone().len(), patch.origin()),
            (&store.violations()[..], 0, Origin::Remote)
        );

        // Another value that does not fit replaces the first violation with another one.
        theirs.change(|form| form.age().set("eight")).expect("it can be written");
        merge(&store, &theirs);
        let [patch] = &take(&told)[..] else { panic!("one call") };
        assert_eq!(
            (patch.new()[0].found.as_str(), patch.gone()[0].found.as_str()),
            ("\"eight\"", "\"seven\"")
        );

        // A change of another place calls no watcher.
        store
            .change(|form| form.names().insert("a", Name { first: 1 }))
            .expect("it can be written");
        merge(&theirs, &store);
        assert_eq!(take(&told), []);
        // A refused change calls no watcher either.
        let refused =
            store.change(|form| form.age().set(7).and(Err::<(), _>(ChangeError::refuse("no"))));
        assert!(refused.is_err() && take(&told).is_empty());

        let undo = store.undo_manager(UndoOptions::new());
        store.change(|form| form.age().set(7)).expect("it can be written");
        let [patch] = &take(&told)[..] else { panic!("one call") };
        assert_eq!(
            (patch.new().len(), patch.gone()[0].path.as_str(), patch.origin()),
            (0, "age", Origin::Local)
        );
        undo.undo().expect("it can be undone");
        assert_eq!(
            take(&told).iter().map(|patch| (patch.new().len(), patch.origin())).collect::<Vec<_>>(),
            [(1, Origin::Undo)]
        );

        drop(watch);
        store.change(|form| form.age().set(8)).expect("it can be written");
        assert_eq!((take(&told), store.subscriptions().watchers), (vec![], 0));
    }
    run::<Yrs>();
    run::<Automerge>();
}

/// The reported changes, put together, give the violations of the store.
fn reports_add_up<B: Backend>(steps: &[(u8, u8)]) {
    let store = Store::<Form, B>::new();
    let theirs = Store::<newer::Form, B>::new();
    let (told, _watch) = watched(&store);
    let mut known: Vec<Violation> = Vec::new();
    for (what, value) in steps {
        let key = (value % 3).to_string();
        let text = (value % 5).to_string();
        match what % 7 {
            0 => theirs.change(|form| form.age().set(text)).expect("it can be written"),
            1 => theirs
                .change(|form| {
                    form.names().insert(key, Map::from_iter([("first".to_owned(), text)]))
                })
                .expect("it can be written"),
            2 => drop(theirs.change(|form| form.names().remove(&key)).expect("it can be written")),
            3 => merge(&theirs, &store),
            4 => store.change(|form| form.age().set(*value)).expect("it can be written"),
            5 => store
                .change(|form| form.names().insert(key, Name { first: 3 }))
                .expect("it can be written"),
            _ => merge(&store, &theirs),
        }
        for patch in take(&told) {
            let before = known.len();
            known.retain(|violation| !patch.gone().contains(violation));
            assert_eq!(before - known.len(), patch.gone().len(), "what went had been there");
            known.extend_from_slice(patch.new());
        }
        known.sort_by(|a, b| a.path.cmp(&b.path));
        let mut now = store.violations();
        now.sort_by(|a, b| a.path.cmp(&b.path));
        assert_eq!(known, now);
    }
}

proptest! {
    #[test]
    fn reported_changes_add_up_to_the_violations(
        steps in prop::collection::vec(any::<(u8, u8)>(), 0..40),
    ) {
        reports_add_up::<Yrs>(&steps);
        reports_add_up::<Automerge>(&steps);
    }
}

#[derive(Clone, Default)]
struct Audit(Arc<Mutex<Vec<String>>>);

impl<S: State> Middleware<S> for Audit {
    fn done(&self, done: &Done<'_>) {
        let said = format!("{:?} {} {}", done.origin, done.touched.join(" "), done.error.is_some());
        self.0.lock().expect("nobody panics with it").push(said);
    }
}

#[test]
fn layers_are_told_the_touched_paths() {
    fn run<B: Backend>() {
        let audit = Audit::default();
        let store = Store::<Form, B>::new();
        store.add_middleware(audit.clone());
        let take = || std::mem::take(&mut *audit.0.lock().expect("nobody panics with it"));
        store
            .change(|form| form.age().set(1).and(form.names().insert("a", Name { first: 2 })))
            .expect("it can be written");
        assert_eq!(take(), ["Local age names/a names/a/first false"]);
        let _ = store.change(|form| form.age().set(2).and(Err::<(), _>(ChangeError::refuse("no"))));
        assert_eq!(take(), ["Local  true"]);
        store.change(|form| form.age().set(1)).expect("nothing changes");
        assert_eq!(take(), ["Local  false"]);

        let undo = store.undo_manager(UndoOptions::new());
        store.change(|form| form.age().set(3)).expect("it can be written");
        undo.undo().expect("it can be undone");
        assert_eq!(take(), ["Local age false", "Undo age false"]);

        let theirs = store.fork().expect("it opens");
        theirs.change(|form| form.names().get("a").first().set(5)).expect("it can be written");
        merge(&store, &theirs);
        merge(&store, &theirs);
        assert!(store.apply(b"{}").is_err());
        assert_eq!(take(), ["Remote names/a/first false", "Remote  false", "Remote  true"]);

        let other = Store::<Form, B>::new();
        other.add_middleware(audit.clone());
        store
            .and(&other)
            .change(|(one, two)| one.age().set(6).and(two.age().set(7)))
            .expect("it can be written");
        assert_eq!(take(), ["Local age false", "Local age false"]);
    }
    run::<Yrs>();
    run::<Automerge>();
}
