//! Promise: watchers are called for each commit and import that touches their place, once, in
//! commit order, without any lock held.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use exostate::{Automerge, Backend, Origin, State, Store, Yrs};
use support::Everything;

fn heard() -> (Arc<Mutex<Vec<String>>>, impl Fn(String) + Clone + Send + Sync) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let sink = log.clone();
    (log, move |line| sink.lock().expect("no panic").push(line))
}

fn op(kind: u8, a: u16, b: u16, text: &str) -> support::Op {
    support::Op { kind, a, b, text: text.to_owned() }
}

fn one_field<B: Backend>() {
    let store = support::store::<B>(1);
    support::apply(&store, &op(22, 0, 1, "first"));
    support::apply(&store, &op(22, 0, 1, "second"));
    let id = store.view().cards.id_at(0).expect("a card");
    let other = store.view().cards.id_at(1).expect("a card");
    let (log, note) = heard();
    let watch = store.watch(Everything::path().cards().get(id).done(), move |done| {
        note(format!("{:?} -> {:?} {:?}", done.old(), done.new(), done.origin()));
    });
    store.change(|state| state.cards().get(id).done().set(true)).expect("it can be written");
    store.change(|state| state.cards().get(other).done().set(true)).expect("it can be written");
    store.change(|state| state.cards().get(id).text().set("x")).expect("it can be written");
    let fork = store.fork().expect("a fork");
    fork.change(|state| state.cards().get(id).done().set(false)).expect("it can be written");
    store.merge(&fork).expect("an honest update");
    store.change(|state| state.cards().remove(id)).expect("it can be removed");
    drop(watch);
    store.change(|state| state.title().set("x")).expect("it can be written");
    let log = log.lock().expect("no panic");
    assert_eq!(
        *log,
        [
            "Some(false) -> Some(true) Local",
            "Some(true) -> Some(false) Remote",
            "Some(false) -> None Local"
        ]
    );
}

fn collections<B: Backend>() {
    let store = support::store::<B>(1);
    let (log, note) = heard();
    let each = note.clone();
    let _any = store.watch(Everything::path().people().any().age(), move |age| {
        each(format!("{} {:?}", age.path(), age.new()))
    });
    let _all = store.watch(Everything::path().people(), move |people| {
        note(format!("keys {:?}", people.keys::<String>()))
    });
    store
        .change(|state| {
            state.people().insert("ada", support::Person { age: 36, ..empty() })?;
            state.people().insert("bob", empty())
        })
        .expect("it can be written");
    store.change(|state| state.people().get("bob").age().set(5u32)).expect("it can be written");
    store.change(|state| state.people().remove("ada")).expect("it can be removed");
    let log = log.lock().expect("no panic");
    let expected = [
        "people/ada/age Some(36)",
        "people/bob/age Some(0)",
        "keys [\"ada\", \"bob\"]",
        "people/bob/age Some(5)",
        "keys [\"bob\"]",
        "people/ada/age None",
        "keys [\"ada\"]",
    ];
    assert_eq!(*log, expected);
}

fn empty() -> support::Person {
    let likes = exostate::Counter::new(0);
    let bio = exostate::Text::new();
    let pets = exostate::Map::new();
    support::Person { name: String::new(), age: 0, likes, bio, pets }
}

#[test]
fn one_field_of_one_element() {
    one_field::<Yrs>();
    one_field::<Automerge>();
}

#[test]
fn any_element_and_a_whole_collection() {
    collections::<Yrs>();
    collections::<Automerge>();
}

#[test]
fn a_watcher_may_use_the_store() {
    let store = support::store::<Yrs>(1);
    let inner = store.clone();
    let (log, note) = heard();
    let _watch = store.watch(Everything::path().count(), move |count| {
        let count = *count.new().expect("a count");
        note(format!("{count}"));
        if count < 3 {
            inner.change(|state| state.count().set(count + 1)).expect("a change from a watcher");
        }
    });
    store.change(|state| state.count().set(1)).expect("it can be written");
    assert_eq!(store.view().count, 3);
    assert_eq!(*log.lock().expect("no panic"), ["1", "2", "3"]);
}

#[test]
fn commits_of_many_threads_are_reported_in_order() {
    let store = Store::<Everything>::new();
    let (log, note) = heard();
    let _watch = store.watch(Everything::path().count(), move |count| {
        note(format!("{} {}", count.old().expect("a count"), count.new().expect("a count")));
    });
    let updates = Arc::new(AtomicUsize::new(0));
    let counted = updates.clone();
    let _updates = store.on_update(move |update| {
        assert_eq!(update.origin, Origin::Local);
        counted.fetch_add(1, Ordering::Relaxed);
    });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let add = |state: <Everything as State>::Node<exostate::Edit<'_>>| {
                        state.count().set(state.count().get()? + 1)
                    };
                    store.change(add).expect("it can be written");
                }
            });
        }
    });
    let expected: Vec<String> = (0..200).map(|count| format!("{count} {}", count + 1)).collect();
    assert_eq!(*log.lock().expect("no panic"), expected);
    assert_eq!(updates.load(Ordering::Relaxed), 200);
}

#[test]
fn a_panicking_watcher_poisons_nothing() {
    let store = support::store::<Yrs>(1);
    let (log, note) = heard();
    let watch = store.watch(Everything::path().title(), |_| panic!("a watcher panics"));
    let other = note.clone();
    let _watch =
        store.watch(Everything::path().title(), move |title| other(format!("{:?}", title.new())));
    let _updates = store.on_update(move |_| note("an update".to_owned()));
    let attempt = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.change(|state| state.title().set("a"))
    }));
    assert!(attempt.is_err());
    // The other watchers were called all the same, and the change is made.
    assert_eq!(*log.lock().expect("no panic"), ["an update", "Some(\"a\")"]);
    drop(watch);
    store.change(|state| state.title().set("b")).expect("it can be written");
    assert_eq!(log.lock().expect("no panic")[2..], ["an update", "Some(\"b\")"]);
}

#[test]
fn anchors_follow_the_text_on_both_backends() {
    fn run<B: Backend>() {
        let store = support::store::<B>(1);
        store.change(|state| state.notes().push_str("hello 😀 world")).expect("it can be written");
        let path = Everything::path().notes();
        let after = store.anchor(&path, 6, false).expect("an anchor");
        let before = store.anchor(&path, 5, true).expect("an anchor");
        let other = store.fork().expect("a fork");
        other.change(|state| state.notes().insert(0, "ä😀 ")).expect("it can be written");
        store.merge(&other).expect("an honest update");
        assert_eq!(store.resolve(&path, &after), Some(9));
        assert_eq!(store.resolve(&path, &before), Some(8));
        assert_eq!(other.resolve(&path, &after), Some(9), "an anchor holds on every replica");
        assert_eq!(store.anchor(&path, 99, false), None);
        assert_eq!(store.resolve(&path, &exostate::Anchor::from_bytes([1, 2, 3])), None);
    }
    run::<Yrs>();
    run::<Automerge>();
}

fn removal_of_a_record_with_elements<B: Backend>() {
    let ours = support::store::<B>(1);
    let theirs = support::store::<B>(2);
    ours.change(|state| state.people().insert("ada", empty())).expect("it can be written");
    theirs.merge(&ours).expect("an honest update");
    // One replica adds a pet while the other removes its owner: the pet's registers stay in the
    // document, hidden.
    let rex = support::Pet { kind: "dog".to_owned(), legs: 4 };
    theirs
        .change(|state| state.people().get("ada").pets().insert("rex", rex))
        .expect("it can be written");
    ours.change(|state| state.people().remove("ada").map(drop)).expect("it can be removed");
    let (log, note) = heard();
    let _watch = theirs.watch(Everything::path().people().any().pets().any().legs(), move |legs| {
        note(format!("{} {:?} -> {:?}", legs.path(), legs.old(), legs.new()));
    });
    theirs.merge(&ours).expect("an honest update");
    assert!(theirs.view().people.is_empty());
    assert_eq!(*log.lock().expect("no panic"), ["people/ada/pets/rex/legs Some(4) -> None"]);
}

#[test]
fn a_watch_of_any_element_reports_removals() {
    removal_of_a_record_with_elements::<Yrs>();
    removal_of_a_record_with_elements::<Automerge>();
}

#[test]
fn a_new_subscription_gets_no_earlier_commit() {
    let store = support::store::<Yrs>(1);
    let (log, note) = heard();
    let inner = store.clone();
    let late = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&late);
    let _watch = store.watch(Everything::path().count(), move |count| {
        if count.new() == Some(&1) {
            // The second commit has not been reported yet when the other watcher subscribes.
            inner.change(|state| state.count().set(2)).expect("a change from a watcher");
            let (note, on_update) = (note.clone(), note.clone());
            let mut kept = kept.lock().expect("no panic");
            kept.push(inner.watch(Everything::path().count(), move |count| {
                note(format!("watch {:?}", count.new()))
            }));
            kept.push(
                inner.on_update(move |update| on_update(format!("update {:?}", update.origin))),
            );
            inner.change(|state| state.count().set(3)).expect("a change from a watcher");
        }
    });
    store.change(|state| state.count().set(1)).expect("it can be written");
    assert_eq!(*log.lock().expect("no panic"), ["update Local", "watch Some(3)"]);
    late.lock().expect("no panic").clear();
}

#[test]
fn no_call_starts_after_a_subscription_is_dropped() {
    let store = support::store::<Yrs>(1);
    let (log, note) = heard();
    let others = Arc::new(Mutex::new(Vec::new()));
    let held = Arc::clone(&others);
    let first = note.clone();
    // The first watcher that is called ends all, including itself. Its own call still counts.
    let ends = store.watch(Everything::path().count(), move |_| {
        first("first".to_owned());
        held.lock().expect("no panic").clear();
    });
    let second = note.clone();
    let watch = store.watch(Everything::path().count(), move |_| second("second".to_owned()));
    others.lock().expect("no panic").extend([ends, watch]);
    store.change(|state| state.count().set(1)).expect("it can be written");
    store.change(|state| state.count().set(2)).expect("it can be written");
    assert_eq!(*log.lock().expect("no panic"), ["first"]);
}

/// Updates of another replica. The last one sets the number to `count`.
fn updates(count: i64) -> Vec<Arc<[u8]>> {
    let other = support::store::<Yrs>(2);
    let kept = Arc::new(Mutex::new(Vec::new()));
    let made = Arc::clone(&kept);
    let _listener = other
        .on_update(move |update| made.lock().expect("no panic").push(Arc::clone(update.bytes)));
    (1..=count).for_each(|number| {
        other.change(|state| state.count().set(number)).expect("it can be written")
    });
    let made = kept.lock().expect("no panic");
    made.clone()
}

#[test]
fn imports_wait_for_slow_callbacks() {
    let store = support::store::<Yrs>(1);
    let (release, held) = mpsc::channel::<()>();
    let (entered, enters) = mpsc::channel();
    let held = Mutex::new(held);
    // The first call blocks until the test lets it continue.
    let _watch = store.watch(Everything::path().count(), move |_| {
        entered.send(()).expect("the test waits");
        let _ = held.lock().expect("no panic").recv();
    });
    let done = AtomicUsize::new(1);
    let updates = updates(200);
    std::thread::scope(|scope| {
        scope.spawn(|| store.apply(&updates[0]).expect("an honest update"));
        enters.recv().expect("it is called");
        scope.spawn(|| {
            for update in &updates[1..] {
                store.apply(update).expect("an honest update");
                done.fetch_add(1, Ordering::SeqCst);
            }
        });
        while done.load(Ordering::SeqCst) < 64 {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(200));
        let done_while_held = done.load(Ordering::SeqCst);
        drop(release);
        assert!(done_while_held < 70, "{done_while_held} imports did not wait");
    });
    assert_eq!((done.load(Ordering::SeqCst), store.view().count), (200, 200));
    assert_eq!(enters.try_iter().count(), 199, "it was called once for each");
}

#[test]
fn a_change_returns_during_endless_imports() {
    let store = support::store::<Yrs>(1);
    let _watch =
        store.watch(Everything::path().count(), |_| std::thread::sleep(Duration::from_millis(1)));
    let (ended, end) = mpsc::channel();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for update in updates(5_000) {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                store.apply(&update).expect("an honest update");
            }
        });
        scope.spawn(|| {
            while store.view().count < 100 {
                std::thread::yield_now();
            }
            store.change(|state| state.votes().add(1)).expect("it can be written");
            ended.send(store.view().count).expect("the test waits");
        });
        let count = end.recv_timeout(Duration::from_secs(60)).expect("the change returns");
        stop.store(true, Ordering::SeqCst);
        assert!(count < 5_000, "it returned when all was in");
    });
}
