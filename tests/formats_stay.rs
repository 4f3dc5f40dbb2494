//! Files of an earlier release can still be read: documents, updates, versions, anchors, undo
//! stacks and histories. They are in `tests/data/formats`.
//!
//! Those files are never overwritten. If a format changes, new files are added beside them.

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use support::one_update::OneUpdate;

use exostate::{
    Anchor, Applied, Automerge, Backend, Counter, HistoryOptions, List, Map, Options, Origin,
    ReplicaId, Set, State, Store, Text, UndoOptions, Version, Yrs,
};
use support::{Card, Everything, Item, Person, Pet, Settings, Shape};

/// In format 1, positions of concurrent insertions may be interleaved. Since format 2, elements
/// that one replica inserts side by side stay together, and a document contains the name of its
/// state type. Since format 3, a new record is one bundle, and a document contains the version of
/// its layout. These numbers only name the files: all formats are version 1 of the layout.
const FORMATS: [u32; 3] = [1, 2, 3];
const NEWEST: u32 = 3;

fn file<B: Backend>(format: u32, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/formats")
        .join(format!("{format}-{}.{name}", B::NAME))
}

/// The document of the files. Each run gives the same element ids: they depend only on the replica
/// id, which is fixed.
fn written<B: Backend>() -> Store<Everything, B> {
    let store = support::store::<B>(0x2a);
    let card = |text: &str| Card {
        text: text.into(),
        done: true,
        body: Text::from("body"),
        labels: Set::from_iter(["l/1".to_owned()]),
    };
    let pets = Map::from_iter([("rex".to_owned(), Pet { kind: "dog".into(), legs: 4 })]);
    let person =
        Person { name: "Ä".into(), age: 7, likes: Counter::new(3), bio: Text::from("bio"), pets };
    let done = store.change(|state| {
        state.title().set("plan")?;
        state.count().set(i64::MIN)?;
        state.big().set(u64::MAX)?;
        state.ratio().set(0.5)?;
        state.flag().set(true)?;
        state.data().set(vec![0u8, 255])?;
        state.owner().set(exostate::Uuid::from_u128(5))?;
        state.when().set(jiff::Timestamp::from_second(1_000_000).ok())?;
        state.pair().set((7, "seven".to_owned()))?;
        state.notes().push_str("ä€😀 and more")?;
        state.notes().mark(0..3, "bold", true)?;
        state.tags().insert("~/@")?;
        state.numbers().reconcile(&List::from([1, -1, 1 << 40]))?;
        state.votes().add(-12)?;
        state.cards().push(card("first"))?;
        state.cards().insert(0, card("before"))?;
        state.names().push("only".to_owned())?;
        state.people().insert("a/b", person)?;
        state.scores().insert(-2, 9)?;
        let top = state.outline().push(None, Item { label: "top".into() })?;
        state.outline().push(Some(top), Item { label: "below".into() })?;
        state.shape().reconcile(&Shape::Label("l".into(), Text::from("t")))?;
        state.maybe().set(Settings {
            theme: "dark".into(),
            size: 2,
            flags: Map::from_iter([(1, true)]),
        })
    });
    done.expect("it can be written");
    store
}

/// A change of the document by another replica.
fn later<B: Backend>(store: &Store<Everything, B>) -> Vec<u8> {
    let other = Store::<Everything, B>::open_with(
        &store.save(),
        Options::new().with_replica(ReplicaId::from_bits(0x2b)),
    )
    .expect("it opens");
    let change = other.change(|state| {
        state.title().set("new plan")?;
        state.notes().insert(0, "more, ")?;
        state.people().get("a/b").likes().add(1)
    });
    change.expect("it can be written");
    other.update_since(&store.version()).expect("an update")
}

/// The position of the anchor: before the word "and".
const AT: usize = 4;

/// The document after two changes, and the data kept beside it: undo stacks and a history.
fn kept<B: Backend>() -> [(&'static str, Vec<u8>); 3] {
    let store = written::<B>();
    let undo = store.undo_manager(UndoOptions::new().with_window(Duration::ZERO));
    let history = store.history(HistoryOptions::new()).expect("it can be saved");
    let done = store
        .transaction()
        .author("Ada")
        .label("Title")
        .run(|state| state.title().set("another plan"));
    done.and_then(|()| store.change(|state| state.notes().insert(0, "undone")))
        .expect("it can be written");
    history.name("named").expect("it can be saved");
    undo.undo().expect("it can be undone");
    history.compact().expect("it can be saved");
    store.change(|state| state.count().set(7)).expect("it can be written");
    [
        ("edited", store.save()),
        ("stacks", undo.save()),
        ("history", history.save().expect("it is not within a change")),
    ]
}

fn read_kept<B: Backend>(format: u32) {
    let bytes = |name: &str| fs::read(file::<B>(format, name)).expect("the file is there");
    let store = Store::<Everything, B>::open(&bytes("edited")).expect("it opens");
    let history = store.history_from(&bytes("history"), HistoryOptions::new()).expect("a history");
    let revisions = history.revisions();
    let origins: Vec<Option<Origin>> = revisions.iter().map(|revision| revision.origin()).collect();
    assert_eq!(origins, [Some(Origin::Local), Some(Origin::Undo), Some(Origin::Local)]);
    assert_eq!(
        history.view_at(revisions[0].id()).expect("it is there").notes.to_string(),
        "undoneä€😀 and more"
    );
    assert_eq!(history.find("named"), Some(revisions[0].id()));
    let blame = history
        .blame(Everything::path().title())
        .and_then(|blame| blame.revision)
        .expect("it is known");
    assert_eq!(blame.meta().and_then(|meta| meta.author()), Some("Ada"));

    let undo = store.undo_manager_from(&bytes("stacks"), UndoOptions::new()).expect("stacks");
    assert_eq!((undo.undo_len(), undo.undo_label().as_deref()), (2, None));
    while undo.undo().expect("it can be undone").is_some() {}
    assert_eq!(*store.view(), *written::<B>().view());
}

fn write<B: Backend>() {
    for (name, bytes) in stacks::<B>() {
        let file = stacks_file::<B>(name);
        if !file.exists() {
            fs::write(&file, bytes).expect("the file can be written");
        }
    }
    let store = written::<B>();
    let anchor = store.anchor(Everything::path().notes(), AT, false).expect("an anchor");
    let files = [
        ("document", store.save()),
        ("update", later(&store)),
        ("version", store.version().to_bytes()),
        ("anchor", anchor.as_bytes().to_vec()),
        ("digest", store.digest().to_string().into_bytes()),
    ];
    for (name, bytes) in files.into_iter().chain(kept::<B>()) {
        let file = file::<B>(NEWEST, name);
        if !file.exists() {
            fs::write(&file, bytes).expect("the file can be written");
        }
    }
}

fn read<B: Backend>(format: u32) {
    let bytes = |name: &str| fs::read(file::<B>(format, name)).expect("the file is there");
    let store = Store::<Everything, B>::open(&bytes("document")).expect("it opens");
    let expected = written::<B>();
    assert_eq!(store.view(), expected.view());
    assert_eq!(store.violations(), []);
    assert_eq!(store.digest().to_string().into_bytes(), bytes("digest"));
    assert!(
        format < NEWEST || store.digest() == expected.digest(),
        "what is written now is something else"
    );
    assert_eq!(store.warnings(), []);
    assert_eq!(Version::from_bytes(&bytes("version")).expect("a version"), store.version());

    let notes = Everything::path().notes();
    let anchor = Anchor::from_bytes(bytes("anchor"));
    assert_eq!(store.resolve(&notes, &anchor), Some(AT));
    assert!(matches!(store.apply(&bytes("update")).expect("an honest update"), Applied::Changed));
    assert_eq!(store.resolve(&notes, &anchor), Some(AT + "more, ".len()));
    let view = store.view();
    assert_eq!(
        (view.title.as_str(), view.notes.to_string().as_str()),
        ("new plan", "more, ä€😀 and more")
    );
    assert_eq!(view.people.get("a/b").map(|person| person.likes.value()), Some(4));
}

/// The second format of undo stacks: they record changes of texts and lists. Another replica has
/// edited some of these places since.
fn stacks<B: Backend>() -> [(&'static str, Vec<u8>); 2] {
    let store = written::<B>();
    let undo = store.undo_manager(UndoOptions::new().with_window(Duration::ZERO));
    let done = store.change(|state| {
        state.notes().splice(2..3, "smile")?;
        state.notes().mark(1..4, "bold", false)
    });
    done.and_then(|()| store.change(|state| state.notes().insert(0, "undone")))
        .expect("it can be written");
    store.change(|state| state.numbers().remove(1)).expect("it can be written");
    undo.undo().expect("it can be undone");
    undo.undo().expect("it can be undone");
    store.apply(&later(&store)).expect("an honest update");
    [("edited", store.save()), ("stacks", undo.save())]
}

fn stacks_file<B: Backend>(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/formats")
        .join(format!("stacks-2-{}.{name}", B::NAME))
}

fn read_stacks<B: Backend>() {
    let bytes = |name: &str| fs::read(stacks_file::<B>(name)).expect("the file is there");
    let store = Store::<Everything, B>::open(&bytes("edited")).expect("it opens");
    let undo = store.undo_manager_from(&bytes("stacks"), UndoOptions::new()).expect("stacks");
    assert_eq!((undo.undo_len(), undo.redo_len()), (1, 2));
    let shown = || {
        (store.view().notes.to_string(), store.view().numbers.iter().copied().collect::<Vec<_>>())
    };
    assert_eq!(shown(), ("more, ä€smile and more".to_owned(), vec![1, -1, 1 << 40]));
    while undo.redo().expect("it can be redone").is_some() {}
    assert_eq!(shown(), ("more, undoneä€smile and more".to_owned(), vec![1, 1 << 40]));
    while undo.undo().expect("it can be undone").is_some() {}
    assert_eq!(shown(), ("more, ä€😀 and more".to_owned(), vec![1, -1, 1 << 40]));
    let bold: Vec<bool> = (5..11)
        .map(|at| store.view().notes.marks_at(at).is_some_and(|marks| marks["bold"] == true.into()))
        .collect();
    assert_eq!(bold, [false, true, true, true, false, false]);
}

#[test]
#[ignore = "writes the files that are not there yet"]
fn write_what_is_missing() {
    write::<Yrs>();
    write::<Automerge>();
}

#[test]
fn on_yrs() {
    for format in FORMATS {
        read::<Yrs>(format);
        read_kept::<Yrs>(format);
    }
    read_stacks::<Yrs>();
}

#[test]
fn on_automerge() {
    for format in FORMATS {
        read::<Automerge>(format);
        read_kept::<Automerge>(format);
    }
    read_stacks::<Automerge>();
}
