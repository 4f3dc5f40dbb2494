//! Promise: a document stores the name of its state type. Opening or joining it as another type
//! gives a warning, or an error if the caller wants one.

#[path = "support/reader.rs"]
mod reader;

#[path = "support/one_update.rs"]
mod one_update;

use one_update::OneUpdate;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use exostate::{
    Automerge, Backend, BackendError, Counter, HistoryOptions, List, Map, MovableList, Options,
    ReplicaId, Set, State, Store, Text, Tree, UndoOptions, Warning, Yrs,
};
use yrs::{Map as _, ReadTxn, StateVector, Transact};

use reader::{Document, Scalar, from_automerge, from_yrs};

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Board {
    title: String,
    cards: Map<String, Card>,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Card {
    text: String,
    within: Map<String, Card>,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Form {
    title: String,
    answers: Set<String>,
}

/// `Board` of a later release.
mod later {
    use super::*;

    #[derive(State, Clone, Debug, Default, PartialEq)]
    pub struct Board {
        pub title: String,
        pub votes: Counter,
    }

    #[derive(State, Clone, Debug, Default, PartialEq)]
    #[state(name = "Board")]
    pub struct Renamed {
        pub title: String,
    }
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Generic<T> {
    value: T,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Newtype(Map<String, Newtype>);

#[derive(State, Clone, Debug, Default, PartialEq)]
enum Choice {
    #[default]
    Nothing,
    Text(String),
    Both {
        left: i64,
        right: Option<Card>,
    },
}

/// The raw content of a document, read without exostate.
fn raw<S: State, B: Backend>(store: &Store<S, B>) -> Document {
    if B::NAME == Yrs::NAME { from_yrs(&store.save()) } else { from_automerge(&store.save()) }
}

/// The type names in a document, read without exostate.
fn names<S: State, B: Backend>(store: &Store<S, B>) -> Vec<String> {
    let registers = raw(store).registers.into_iter().filter_map(|(path, value)| {
        let name = path.strip_prefix("@type/")?.to_owned();
        assert!(matches!(&value, Scalar::String(shape) if shape.len() == 16), "{value:?}");
        Some(name)
    });
    registers.collect()
}

fn shape_of<S: State>(store: &Store<S>) -> String {
    match raw(store).registers.into_iter().find(|(path, _)| path.starts_with("@type/")) {
        Some((_, Scalar::String(shape))) => shape,
        other => panic!("{other:?}"),
    }
}

fn board<B: Backend>() -> Store<Board, B> {
    let store = Store::<Board, B>::new();
    store.change(|board| board.title().set("Roadmap")).expect("it can be written");
    store
}

fn assert_warned<S: State, B: Backend>(store: &Store<S, B>, document: &str, opened: &str) {
    match &store.warnings()[..] {
        [Warning::OtherType(mismatch)] => {
            assert_eq!((mismatch.document(), mismatch.opened()), (document, opened))
        }
        other => panic!("{other:?}"),
    }
    let mismatch = store.type_mismatch().expect("the same");
    let text = mismatch.to_string();
    assert!(text.contains(document) && text.contains(opened), "{text}");
}

#[test]
fn opening_as_another_type_warns_with_both_names() {
    fn run<B: Backend>() {
        let board = board::<B>();
        assert_eq!((names(&board), board.warnings()), (vec!["Board".to_owned()], vec![]));
        let form = Store::<Form, B>::open(&board.save()).expect("it opens");
        assert_warned(&form, "Board", "Form");
        assert_eq!(form.view().title, "Roadmap");
        form.change(|form| form.answers().insert("yes").map(drop)).expect("it can be written");
        assert_eq!(names(&form), ["Board"]);
        let strict = Store::<Form, B>::open_strict(&board.save());
        assert!(matches!(
            strict,
            Err(BackendError::OtherType(mismatch)) if mismatch.document() == "Board"
        ));
        assert!(Store::<Board, B>::open_strict(&form.save()).is_ok());
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn importing_another_type_warns_with_both_names() {
    fn run<B: Backend>() {
        let board = board::<B>();
        let form = Store::<Form, B>::new();
        let parts = Store::<Form, B>::new();
        let update = board.update_since(&form.version()).expect("an update");
        form.apply(&update).expect("an honest update");
        assert_warned(&form, "Board", "Form");
        parts.document().apply_part(&[update]).expect("an honest update");
        parts.document().show_parts();
        assert_warned(&parts, "Board", "Form");
        assert_eq!(form.fork().expect("it opens").warnings(), form.warnings());
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn both_are_warned_if_they_wrote_different_types() {
    fn run<B: Backend>() {
        let board = board::<B>();
        let form = Store::<Form, B>::new();
        form.change(|form| form.title().set("Survey")).expect("it can be written");
        let here = board.version();
        let there = form.version();
        board.apply_all(&form.updates_since(&here).expect("an update")).expect("an honest update");
        form.apply_all(&board.updates_since(&there).expect("an update")).expect("an honest update");
        assert_eq!(board.digest(), form.digest());
        assert_warned(&board, "Form", "Board");
        assert_warned(&form, "Board", "Form");
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn no_warning_if_both_wrote_the_same_type() {
    fn run<B: Backend>() {
        let ours = board::<B>();
        let theirs = board::<B>();
        ours.merge(&theirs).and(theirs.merge(&ours)).expect("honest updates");
        assert_eq!((ours.digest(), ours.version()), (theirs.digest(), theirs.version()));
        assert_eq!(
            (names(&ours), ours.warnings(), theirs.warnings()),
            (vec!["Board".to_owned()], vec![], vec![])
        );
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn a_later_or_renamed_type_of_one_name_opens_silently() {
    fn run<B: Backend>() {
        let board = board::<B>();
        let later = Store::<later::Board, B>::open_strict(&board.save()).expect("the same name");
        later.change(|board| board.votes().add(1)).expect("it can be written");
        let renamed =
            Store::<later::Renamed, B>::open_strict(&later.save()).expect("the same name");
        assert_eq!(
            (names(&renamed), renamed.view().title.as_str()),
            (vec!["Board".to_owned()], "Roadmap")
        );
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn no_warning_for_types_without_a_name() {
    fn run<B: Backend>() {
        let plain = Store::<Map<String, Card>, B>::new();
        plain.change(|cards| cards.insert("a", Card::default())).expect("it can be written");
        assert_eq!(names(&plain), Vec::<String>::new());
        assert_eq!(Store::<Board, B>::open(&plain.save()).expect("it opens").warnings(), []);
        assert_eq!(
            Store::<Map<String, Card>, B>::open(&board::<B>().save()).expect("it opens").warnings(),
            []
        );
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn the_name_is_written_with_the_first_change_only() {
    fn run<B: Backend>() {
        // A document of a release that did not store type names.
        let old = Store::<Map<String, String>, B>::new();
        old.change(|map| map.insert("title", "old".to_owned())).expect("it can be written");

        let store = Store::<Board, B>::open(&old.save()).expect("it opens");
        let version = store.version();
        let digest = store.digest();
        store.change(|board| board.title().set("old")).expect("nothing changes");
        store.reconcile(&store.view()).expect("nothing changes");
        assert!(store.change(|board| board.cards().get("none").text().set("x")).is_err());
        store.change(|_| Ok(())).expect("nothing changes");
        assert_eq!((store.version(), store.digest(), names(&store)), (version, digest, vec![]));

        let other = Store::<Map<String, String>, B>::new();
        other.change(|map| map.insert("answers", "x".to_owned())).expect("it can be written");
        let update = other.update_since(&store.version()).expect("an update");
        store.apply(&update).expect("an honest update");
        assert_eq!(names(&store), Vec::<String>::new());

        store.change(|board| board.title().set("new")).expect("it can be written");
        assert_eq!(names(&store), ["Board"]);
        let registers = raw(&store).registers.len();
        store.change(|board| board.title().set("newer")).expect("it can be written");
        assert_eq!(raw(&store).registers.len(), registers, "once a document");
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn the_name_is_hidden_from_watchers_diffs_and_undo() {
    fn run<B: Backend>() {
        let store = Store::<Board, B>::new();
        let undo = store.undo_manager(UndoOptions::new());
        let history = store.history(HistoryOptions::new()).expect("it can be saved");
        let heard = Arc::new(AtomicUsize::new(0));
        let sink = Arc::clone(&heard);
        let _watch = store.watch(Board::path(), move |patch| {
            assert!(
                patch.touched().all(|path| !path.contains('@')),
                "{:?}",
                patch.touched().collect::<Vec<_>>()
            );
            sink.fetch_add(1, Ordering::Relaxed);
        });
        let snapshot = store.snapshot();
        store.change(|board| board.title().set("Roadmap")).expect("it can be written");
        assert_eq!((heard.load(Ordering::Relaxed), store.violations()), (1, vec![]));
        let relies = store.transaction().relies_on_path(&snapshot, Board::path().cards());
        relies
            .run(|board| board.cards().insert("a", Card::default()))
            .expect("nothing in it was touched");
        let revisions = history.revisions();
        let diff = history.diff(revisions[0].id(), revisions[1].id()).expect("both are there");
        assert!(format!("{diff:?}").find('@').is_none(), "{diff:?}");

        // The first change can be undone and redone, and the name stays in the document.
        while undo.undo().expect("it can be undone").is_some() {}
        assert_eq!((&*store.view(), names(&store)), (&Board::default(), vec!["Board".to_owned()]));
        while undo.redo().expect("it can be redone").is_some() {}
        assert_eq!(
            (store.view().title.as_str(), names(&store)),
            ("Roadmap", vec!["Board".to_owned()])
        );
        assert_eq!(*store.view(), store.reread());
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn an_import_of_only_a_name_is_forwarded_but_not_reported() {
    let doc = yrs::Doc::new();
    let registers = doc.get_or_insert_map("state");
    registers.insert(&mut doc.transact_mut(), "@type/Form", "0123456789abcdef");
    let update = doc.transact().encode_state_as_update_v1(&StateVector::default());

    let store = board::<Yrs>();
    let [watched, listened] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let watches = Arc::clone(&watched);
    let listens = Arc::clone(&listened);
    let _watch = store.watch(Board::path(), move |_| _ = watches.fetch_add(1, Ordering::Relaxed));
    let _updates = store.on_update(move |_| _ = listens.fetch_add(1, Ordering::Relaxed));
    let digest = store.digest();
    store.apply(&update).expect("an honest update");
    assert_eq!((watched.load(Ordering::Relaxed), listened.load(Ordering::Relaxed)), (0, 1));
    assert_ne!(store.digest(), digest, "it is a register as all are");
    assert_eq!(names(&store), ["Board", "Form"]);
    assert_warned(&store, "Form", "Board");
    // A name that was deleted is gone.
    let mut txn = doc.transact_mut();
    registers.remove(&mut txn, "@type/Form");
    drop(txn);
    store
        .apply(&doc.transact().encode_state_as_update_v1(&StateVector::default()))
        .expect("an honest update");
    assert_eq!((names(&store), store.warnings()), (vec!["Board".to_owned()], vec![]));
}

#[test]
fn emptying_the_whole_state_keeps_the_name() {
    #[derive(State, Clone, Debug, Default, PartialEq)]
    struct Names(Set<String>);
    #[derive(State, Clone, Debug, Default, PartialEq)]
    struct Maybe(Option<Card>);

    fn run<B: Backend>() {
        let map = Store::<Newtype, B>::new();
        map.change(|map| {
            map.insert("a", Newtype::default())
                .and_then(|()| map.get("a").insert("b", Newtype::default()))
        })
        .expect("written");
        map.reconcile(&Newtype::default()).expect("it can be written");
        assert_eq!((map.view().0.len(), names(&map)), (0, vec!["Newtype".to_owned()]));
        assert_eq!(*map.view(), map.reread());

        let choice = Store::<Choice, B>::new();
        for value in [
            Choice::Text("a".into()),
            Choice::Both { left: 1, right: Some(Card::default()) },
            Choice::Nothing,
        ] {
            choice.reconcile(&value).expect("it can be written");
            assert_eq!(
                (&*choice.view(), &choice.reread(), names(&choice)),
                (&value, &value, vec!["Choice".to_owned()])
            );
        }
        let maybe = Store::<Maybe, B>::new();
        for value in
            [Some(Card { text: "x".into(), within: Map::new() }), None, Some(Card::default()), None]
        {
            maybe.reconcile(&Maybe(value.clone())).expect("it can be written");
            assert_eq!(
                (&maybe.view().0, &maybe.reread().0, names(&maybe)),
                (&value, &value, vec!["Maybe".to_owned()])
            );
        }
        let set = Store::<Names, B>::new();
        set.change(|set| set.insert("@type").map(drop)).expect("it can be written");
        assert_eq!(set.view().0.iter().collect::<Vec<_>>(), ["@type"]);
        assert_eq!(*Store::<Names, B>::open(&set.save()).expect("it opens").view(), *set.view());
        set.reconcile(&Names::default()).expect("it can be written");
        assert_eq!(names(&set), ["Names"]);
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn the_name_survives_a_repair_and_a_failure() {
    fn run<B: Backend>() {
        let id = || Options::new().with_replica(ReplicaId::from_bits(7));
        let ours = Store::<Board, B>::with_options(id());
        let theirs = Store::<Board, B>::with_options(id());
        ours.change(|board| board.title().set("plan")).expect("it can be written");
        theirs
            .change(|board| board.cards().insert("a", Card::default()))
            .expect("it can be written");
        let mut repair = ours.document().repair();
        for update in theirs.updates_since(&Store::<Board, B>::new().version()).expect("updates") {
            repair.apply(&update).expect("an honest update");
        }
        let conflicts = repair.finish().expect("it can be repaired");
        assert_eq!(
            (conflicts, names(&ours), ours.warnings()),
            (vec![], vec!["Board".to_owned()], vec![])
        );
        assert_eq!((ours.view().title.as_str(), ours.view().cards.len()), ("plan", 1));
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn a_generic_type_is_named_without_its_parameters() {
    let store = Store::<Generic<Text>>::new();
    store.change(|state| state.value().push_str("x")).expect("it can be written");
    assert_eq!(names(&store), ["Generic"]);
    let other = Store::<Generic<List<String>>>::open(&store.save()).expect("it opens");
    assert_eq!(other.warnings(), []);
}

/// The hash is a part of the format: the same for the same fields, whatever Rust calls the types.
#[test]
fn the_hash_depends_on_the_shape_of_the_type() {
    #[derive(State, Clone, Debug, Default, PartialEq)]
    struct Same {
        title: Arc<str>,
        cards: Map<String, Other>,
    }
    #[derive(State, Clone, Debug, Default, PartialEq)]
    struct Other {
        text: String,
        within: Map<String, Other>,
    }
    #[derive(State, Clone, Debug, Default, PartialEq)]
    struct Many {
        list: MovableList<Card>,
        tree: Tree<Choice>,
        twice: Option<Card>,
        votes: Counter,
        set: Set<i64>,
        texts: List<String>,
        notes: Text,
    }
    fn hash<S: State + Default>(edit: impl FnOnce(&Store<S>)) -> String {
        let store = Store::<S>::new();
        edit(&store);
        shape_of(&store)
    }
    let board = hash::<Board>(|store| {
        store.change(|state| state.title().set("x")).expect("it can be written")
    });
    let same = hash::<Same>(|store| {
        store.change(|state| state.title().set("x")).expect("it can be written")
    });
    let later = hash::<later::Board>(|store| {
        store.change(|state| state.title().set("x")).expect("it can be written")
    });
    let many = hash::<Many>(|store| {
        store.change(|state| state.votes().add(1)).expect("it can be written")
    });
    let newtype = hash::<Newtype>(|store| {
        store.change(|state| state.insert("a", Newtype::default())).expect("it can be written")
    });
    assert_eq!(board, same);
    assert_ne!(board, later);
    assert_eq!(
        [board, later, many, newtype].join(" "),
        "88efb1526d32f3ec 450bbff42baca5e2 20fdf8d274138e38 5355f69cedcaf3db"
    );
}
