//! Promise: a watcher, an effect or a selector is called for a place that differs, and only then,
//! however many places an import or a repair touches.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use exostate::{
    Automerge, Backend, ChangeError, List, Map, MovableList, Options, Patch, ReplicaId, State,
    Store, Subscription, Text, Yrs,
};

#[derive(State, Clone, Debug, PartialEq)]
struct Board {
    title: String,
    notes: Text,
    lines: List<String>,
    done: Map<u32, bool>,
    cards: Map<u32, Card>,
    names: MovableList<String>,
    inner: Inner,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Card {
    text: String,
    size: i64,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Inner {
    size: i64,
    shape: Shape,
}

#[derive(State, Clone, Debug, PartialEq)]
enum Shape {
    #[state(default)]
    None,
    Circle {
        radius: i64,
    },
}

/// More places than an import may touch before everything is read again.
const MANY: u32 = 5_000;

fn store<B: Backend>(id: u64) -> Store<Board, B> {
    Store::with_options(Options::new().with_replica(ReplicaId::from_bits(id)))
}

/// The reported places, with the number of reported keys below a map.
#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Vec<(String, usize)>>>);

impl Reports {
    fn note<T: PartialEq + std::fmt::Debug>(&self, patch: &Patch<'_, T>) {
        assert_ne!(patch.old(), patch.new(), "{} does not differ", patch.path());
        assert!(patch.touched().count() > 0);
        self.0.lock().expect("no panic").push((patch.path().to_owned(), patch.keys::<u32>().len()));
    }

    fn take(&self) -> Vec<(String, usize)> {
        let mut reports = std::mem::take(&mut *self.0.lock().expect("no panic"));
        reports.sort();
        reports
    }
}

/// Watches every kind of place. Each call asserts that the old and the new value differ.
fn watch_all<B: Backend>(store: &Store<Board, B>) -> (Reports, Vec<Subscription>) {
    let reports = Reports::default();
    macro_rules! watch {
        ($($path:expr),*) => {
            vec![$({
                let reports = reports.clone();
                store.watch($path, move |patch| reports.note(patch))
            }),*]
        };
    }
    let path = Board::path;
    let mut watches = watch![
        path(),
        path().title(),
        path().notes(),
        path().lines(),
        path().done(),
        path().done().any(),
        path().done().get(1u32),
        path().cards(),
        path().cards().any(),
        path().cards().any().size(),
        path().cards().get(1u32).text(),
        path().names(),
        path().names().any(),
        path().inner(),
        path().inner().size(),
        path().inner().shape()
    ];
    let effect = reports.clone();
    watches.push(store.effect(path().cards().any().text(), move |patch| effect.note(patch)));
    (reports, watches)
}

fn places(reports: &[(String, usize)]) -> BTreeSet<&str> {
    reports.iter().map(|(place, _)| place.as_str()).collect()
}

fn fill<B: Backend>(store: &Store<Board, B>, many: u32) -> Result<(), ChangeError> {
    store.change(|board| {
        board.title().set("board")?;
        board.notes().push_str("notes")?;
        board.lines().push("line".to_owned())?;
        board.names().push("name".to_owned())?;
        board.inner().size().set(1)?;
        board.inner().shape().reconcile(&Shape::Circle { radius: 1 })?;
        (0..10u32).try_for_each(|key| {
            board.cards().insert(key, Card { text: "card".to_owned(), size: 1 })
        })?;
        (0..many).try_for_each(|key| board.done().insert(key, false))
    })
}

/// An import of many registers: only those that differ are reported, with their keys. A change that
/// relies on other places may go on.
fn a_large_import<B: Backend>() -> Result<(), exostate::Error> {
    let ours = store::<B>(1);
    fill(&ours, MANY)?;
    let theirs = ours.fork()?;
    theirs.change(|board| {
        (0..MANY).filter(|key| *key != 1).try_for_each(|key| board.done().insert(key, true))
    })?;
    theirs.change(|board| board.cards().get(3u32).size().set(7))?;
    let (reports, _watches) = watch_all(&ours);
    let runs = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&runs);
    let selected = ours.select(move |board| {
        count.fetch_add(1, Ordering::SeqCst);
        board.cards().get(1u32).value().cloned()
    });
    let before = selected.get();
    let snapshot = ours.snapshot();
    ours.merge(&theirs)?;
    let all = reports.take();
    let mut expected: BTreeSet<String> =
        (0..MANY).filter(|key| *key != 1).map(|key| format!("done/{key}")).collect();
    expected.extend(["", "done", "cards", "cards/3", "cards/3/size"].map(str::to_owned));
    assert_eq!(places(&all), expected.iter().map(String::as_str).collect());
    assert!(
        all.contains(&("done".to_owned(), MANY as usize - 1))
            && all.contains(&("cards".to_owned(), 1))
    );
    assert_eq!(selected.get(), before);
    assert_eq!(runs.load(Ordering::SeqCst), 1, "a selector that read nothing of it is fresh");

    let stale = ours
        .transaction()
        .relies_on_path(&snapshot, Board::path().cards().get(3u32))
        .run(|board| board.title().set("not"));
    assert!(matches!(stale, Err(ChangeError::Stale { changed }) if changed == ["cards/3/size"]));
    ours.transaction()
        .relies_on_path(&snapshot, Board::path().cards().get(1u32))
        .run(|board| board.title().set("relied"))?;
    Ok(())
}

/// An import brings a value that is already there, and a value that two replicas set concurrently.
fn an_import_of_equal_values<B: Backend>() -> Result<(), exostate::Error> {
    let ours = store::<B>(1);
    fill(&ours, 3)?;
    let theirs = Store::<Board, B>::open_with(
        &ours.save(),
        Options::new().with_replica(ReplicaId::from_bits(2)),
    )?;
    ours.change(|board| board.title().set("both"))?;
    let (reports, _watches) = watch_all(&ours);
    let updates = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&updates);
    let _listener = ours.on_update(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let view = ours.view();
    theirs.change(|board| board.title().set("both"))?;
    theirs.change(|board| {
        board.notes().push_str("!")?;
        board.lines().push("!".to_owned())?;
        board.inner().size().set(5)
    })?;
    theirs.change(|board| {
        board.notes().delete(5..6)?;
        board.lines().remove(1)?;
        board.inner().size().set(1)
    })?;
    ours.merge(&theirs)?;
    assert_eq!((reports.take(), updates.load(Ordering::SeqCst)), (Vec::new(), 1));
    assert_eq!(*ours.view(), *view);
    Ok(())
}

/// A document that is applied in parts: its content is reported once.
fn a_document_in_parts<B: Backend>() -> Result<(), exostate::Error> {
    let ours = store::<B>(1);
    let theirs = store::<B>(2);
    theirs.change(|board| {
        board.notes().push_str("notes")?;
        board.cards().insert(3u32, Card { text: "card".to_owned(), size: 1 })
    })?;
    let (reports, _watches) = watch_all(&ours);
    for update in theirs.updates_since(&ours.version())? {
        ours.document().apply_part(&[update])?;
    }
    ours.document().show_parts();
    assert_eq!(
        places(&reports.take()),
        BTreeSet::from(["", "cards", "cards/3", "cards/3/size", "cards/3/text", "notes"])
    );
    Ok(())
}

/// Two replicas with one id. The content of the other document that this one lacked is reported.
fn a_repair<B: Backend>() -> Result<(), exostate::Error> {
    let origin = store::<B>(1);
    fill(&origin, 3)?;
    let [ours, theirs] = [(); 2].map(|()| {
        let store = store::<B>(7);
        store.merge(&origin).expect("an honest update");
        store
    });
    ours.change(|board| board.cards().get(1u32).text().set("ours"))?;
    theirs.change(|board| board.cards().get(2u32).text().set("theirs"))?;
    let (reports, _watches) = watch_all(&ours);
    let mut repair = ours.document().repair();
    for update in theirs.updates_since(&Store::<Board, B>::new().version())? {
        repair.apply(&update)?;
    }
    repair.finish()?;
    assert_eq!(ours.view().cards.get(&1).map(|card| card.text.as_str()), Some("ours"));
    assert_eq!(places(&reports.take()), BTreeSet::from(["", "cards", "cards/2", "cards/2/text"]));
    Ok(())
}

#[test]
fn a_large_import_reports_only_differences() -> Result<(), exostate::Error> {
    a_large_import::<Yrs>()?;
    a_large_import::<Automerge>()
}

#[test]
fn an_import_of_equal_values_reports_nothing() -> Result<(), exostate::Error> {
    an_import_of_equal_values::<Yrs>()?;
    an_import_of_equal_values::<Automerge>()
}

#[test]
fn a_document_in_parts_is_reported_once() -> Result<(), exostate::Error> {
    a_document_in_parts::<Yrs>()?;
    a_document_in_parts::<Automerge>()
}

#[test]
fn a_repair_reports_only_differences() -> Result<(), exostate::Error> {
    a_repair::<Yrs>()?;
    a_repair::<Automerge>()
}
