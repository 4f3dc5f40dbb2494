//! Promise: a part of a change that fails leaves no trace in the rest. A change that relies on a
//! place is refused if that place has changed. Several changes can be combined into one.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use exostate::{Automerge, Backend, ChangeError, ElementId, List, Map, Retry, State, Store, Yrs};
use proptest::prelude::*;
use support::{Everything, Op, strategy};

/// A tree of edits: savepoints in savepoints, some of which fail.
#[derive(Clone, Debug)]
enum Part {
    Edit(Op),
    Savepoint { parts: Vec<Part>, fails: bool },
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let edit = strategy::op().prop_map(Part::Edit);
    let part = edit.prop_recursive(3, 24, 5, |inner| {
        (prop::collection::vec(inner, 0..5), any::<bool>())
            .prop_map(|(parts, fails)| Part::Savepoint { parts, fails })
    });
    prop::collection::vec(part, 0..8)
}

type State_<'a> = <Everything as State>::Node<exostate::Edit<'a>>;

fn stage(state: &State_<'_>, parts: &[Part]) -> Result<(), ChangeError> {
    for part in parts {
        match part {
            Part::Edit(op) => support::edit(state, op)?,
            Part::Savepoint { parts, fails } => {
                let result = state.savepoint(|state| {
                    stage(&state, parts)?;
                    if *fails { Err(ChangeError::refuse("it fails")) } else { Ok(()) }
                });
                assert_eq!(result.is_err(), *fails, "{result:?}");
            }
        }
    }
    Ok(())
}

/// The parts that remain without the failed ones.
fn kept(parts: &[Part]) -> Vec<Part> {
    let keep = |part: &Part| match part {
        Part::Edit(op) => Some(Part::Edit(op.clone())),
        Part::Savepoint { fails: true, .. } => None,
        Part::Savepoint { parts, .. } => Some(Part::Savepoint { parts: kept(parts), fails: false }),
    };
    parts.iter().filter_map(keep).collect()
}

/// The state without the ids of elements, because ids are never used twice.
fn shown(state: &Everything) -> String {
    let chosen = state.chosen.map(|_| ElementId::default());
    format!("{:?}", Everything { chosen, ..state.clone() })
}

fn run<B: Backend>(before: &[Op], theirs: &[Op], parts: &[Part]) {
    let one = support::store::<B>(1);
    let other = support::store::<B>(1);
    let peer = support::store::<B>(2);
    theirs.iter().for_each(|op| support::apply(&peer, op));
    for store in [&one, &other] {
        before.iter().for_each(|op| support::apply(store, op));
        store.merge(&peer).expect("an honest update");
    }
    one.change(|state| stage(&state, parts)).expect("what fails is taken back");
    other.change(|state| stage(&state, &kept(parts))).expect("nothing fails");
    support::check_view(&one);
    assert_eq!(shown(&one.view()), shown(&other.view()));
    assert_eq!(one.view().notes.runs(), other.view().notes.runs());
    // The rolled back part is not in any update either.
    peer.merge(&one).expect("an honest update");
    support::check_view(&peer);
    assert_eq!(shown(&peer.view()), shown(&one.view()));
    assert_eq!((peer.view().notes.runs(), peer.digest()), (one.view().notes.runs(), one.digest()));
}

#[derive(State, Clone, Debug, PartialEq)]
struct Page {
    title: String,
    seats: i64,
    lines: List<i64>,
    rows: Map<u32, Row>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Row {
    name: String,
    size: i64,
}

/// A change that relies on a place is refused exactly if a later change touched that place, a place
/// inside it, or a place that contains it.
fn relies<B: Backend>(touches: &[u8], relied: u8) {
    let store = Store::<Page, B>::new();
    let row = |number: u32| Row { name: format!("row {number}"), size: 0 };
    store
        .change(|page| (0..3).try_for_each(|number| page.rows().insert(number, row(number))))
        .expect("it can be filled");
    let snapshot = store.snapshot();
    for (number, touch) in touches.iter().enumerate() {
        let number = number as i64 + 1;
        let touched = store.change(|page| match touch % 5 {
            0 => page.title().set(number.to_string()),
            1 => page.seats().set(number),
            2 => page.rows().get(1_u32).size().set(number),
            3 => page.rows().get(1_u32).name().set(number.to_string()),
            _ => page.rows().remove(2_u32).map(drop),
        });
        assert!(touched.is_ok());
    }
    let since = |wanted: &[u8]| touches.iter().any(|touch| wanted.contains(&(touch % 5)));
    let transaction = store.transaction();
    let (transaction, stale) = match relied % 8 {
        0 => (transaction.relies_on(&snapshot), since(&[0, 1, 2, 3, 4])),
        1 => (transaction.relies_on_path(&snapshot, Page::path().title()), since(&[0])),
        2 => {
            (transaction.relies_on_path(&snapshot, Page::path().rows().get(1_u32)), since(&[2, 3]))
        }
        3 => (
            transaction.relies_on_path(&snapshot, Page::path().rows().get(1_u32).size()),
            since(&[2]),
        ),
        4 => (transaction.relies_on_path(&snapshot, Page::path().rows()), since(&[2, 3, 4])),
        5 => (transaction.relies_on_path(&snapshot, Page::path().rows().any()), since(&[2, 3, 4])),
        6 => (
            transaction.relies_on_path(&snapshot, Page::path().rows().any().size()),
            since(&[2, 4]),
        ),
        _ => (
            transaction.relies_on_path(&snapshot, Page::path().rows().get(2_u32).name()),
            since(&[4]),
        ),
    };
    match transaction.run(|page| page.lines().push(1)) {
        Ok(()) => assert!(!stale, "{touches:?}"),
        Err(ChangeError::Stale { changed }) => assert!(stale && !changed.is_empty(), "{changed:?}"),
        Err(error) => panic!("{error}"),
    }
    assert_eq!(store.view().lines.len(), usize::from(!stale));
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn savepoints_on_yrs(before in strategy::ops(8), theirs in strategy::ops(5), parts in parts()) {
        run::<Yrs>(&before, &theirs, &parts);
    }

    #[test]
    fn savepoints_on_automerge(
        before in strategy::ops(8),
        theirs in strategy::ops(5),
        parts in parts(),
    ) {
        run::<Automerge>(&before, &theirs, &parts);
    }

    #[test]
    fn stale_basis_is_refused_on_yrs(
        touches in prop::collection::vec(any::<u8>(), 0..4),
        relied in any::<u8>(),
    ) {
        relies::<Yrs>(&touches, relied);
    }

    #[test]
    fn stale_basis_is_refused_on_automerge(
        touches in prop::collection::vec(any::<u8>(), 0..4),
        relied in any::<u8>(),
    ) {
        relies::<Automerge>(&touches, relied);
    }
}

#[test]
fn a_batch_is_one_commit_and_one_call() -> Result<(), exostate::Error> {
    let store = Store::<Page>::new();
    let told = Arc::new(AtomicUsize::new(0));
    let updates = Arc::new(AtomicUsize::new(0));
    let watched = Arc::clone(&told);
    let listened = Arc::clone(&updates);
    let _watch = store.watch(Page::path(), move |_| _ = watched.fetch_add(1, Ordering::Relaxed));
    let _listen = store.on_update(move |_| _ = listened.fetch_add(1, Ordering::Relaxed));
    store.transaction().label("Fill").run_batch(|batch| {
        for number in 0..100 {
            batch.change(|page| page.lines().push(number))?;
        }
        let refused = batch.change(|page| {
            page.title().set("lost")?;
            page.lines().remove(1_000)
        });
        assert!(matches!(refused, Err(ChangeError::OutOfRange { .. })));
        assert_eq!((batch.view()?.lines.len(), batch.view()?.title.as_str()), (100, ""));
        batch.change(|page| page.seats().set(3))
    })?;
    assert_eq!((told.load(Ordering::Relaxed), updates.load(Ordering::Relaxed)), (1, 1));
    assert_eq!((store.view().lines.len(), store.view().seats), (100, 3));
    let nothing = store.batch(|batch| {
        batch.change(|page| page.title().set("lost"))?;
        Err::<(), _>(ChangeError::refuse("no"))
    });
    assert!(nothing.is_err() && store.view().title.is_empty());
    Ok(())
}

#[test]
fn a_savepoint_that_panics_is_rolled_back() -> Result<(), exostate::Error> {
    let store = Store::<Page>::new();
    store.change(|page| {
        page.title().set("kept")?;
        let attempt = std::panic::AssertUnwindSafe(|| {
            page.savepoint(|page| {
                page.title().set("lost")?;
                panic!("within a savepoint");
                #[allow(unreachable_code)]
                Ok(())
            })
        });
        assert!(std::panic::catch_unwind(attempt).is_err());
        page.seats().set(1)
    })?;
    assert_eq!((store.view().title.as_str(), store.view().seats), ("kept", 1));
    Ok(())
}

#[test]
fn an_old_or_foreign_basis_is_stale() -> Result<(), exostate::Error> {
    let store = Store::<Page>::new();
    let other = Store::<Page>::new();
    let snapshot = store.snapshot();
    let foreign = other.snapshot();
    let refused = store.transaction().relies_on(&foreign).run(|page| page.seats().set(1));
    assert!(matches!(refused, Err(ChangeError::Stale { changed }) if changed == [""]));
    for number in 1..5_000 {
        store.change(|page| page.seats().set(number))?;
    }
    let refused = store
        .transaction()
        .relies_on_path(&snapshot, Page::path().title())
        .run(|page| page.seats().set(0));
    assert!(
        matches!(refused, Err(ChangeError::Stale { changed }) if changed == [""]),
        "nobody knows any more"
    );
    other.change(|page| page.title().set("theirs"))?;
    let snapshot = store.snapshot();
    store.merge(&other)?;
    let refused = store
        .transaction()
        .relies_on_path(&snapshot, Page::path().title())
        .run(|page| page.seats().set(0));
    assert!(
        matches!(refused, Err(ChangeError::Stale { changed }) if changed == ["title"]),
        "what others do counts too"
    );
    Ok(())
}

#[test]
fn a_stale_transaction_is_retried() {
    let store = Store::<Page>::new();
    let quick = Retry::new(100).with_pauses(Duration::from_micros(10), Duration::from_micros(200));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let added = quick.run(|| {
                        let snapshot = store.snapshot();
                        let seats = snapshot.view().seats + 1;
                        store.transaction().relies_on(&snapshot).run(|page| page.seats().set(seats))
                    });
                    assert!(added.is_ok(), "{added:?}");
                }
            });
        }
    });
    assert_eq!(store.view().seats, 100, "none is lost");
    let tried = Mutex::new(0);
    let refused = quick.run(|| {
        *tried.lock().expect("the count") += 1;
        store.change(|_| Err::<(), _>(ChangeError::refuse("for ever")))
    });
    assert!(refused.is_err());
    assert_eq!(*tried.lock().expect("the count"), 1, "what stays is not tried again");
    assert_eq!(Retry::new(4).pauses().count(), 3);
    assert!(
        Retry::new(40)
            .with_pauses(Duration::from_secs(1), Duration::from_secs(5))
            .pauses()
            .all(|pause| pause <= Duration::from_secs(5))
    );
}

#[tokio::test]
async fn an_asynchronous_retry_does_not_block() {
    let tried = AtomicUsize::new(0);
    let retry = Retry::new(3).with_pauses(Duration::from_millis(1), Duration::from_millis(1));
    let stale = || {
        tried.fetch_add(1, Ordering::Relaxed);
        Err::<(), _>(ChangeError::Stale { changed: Vec::new() })
    };
    assert!(retry.run_async(tokio::time::sleep, stale).await.is_err());
    assert_eq!(tried.load(Ordering::Relaxed), 3);
}

/// Its serialization panics if the field is `true`.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
struct Panics(bool);

impl serde::Serialize for Panics {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(!self.0, "it cannot be written");
        serializer.serialize_bool(self.0)
    }
}

#[derive(State, Clone, Debug, PartialEq)]
struct Fragile {
    title: String,
    value: exostate::Register<Panics>,
}

#[test]
fn a_write_interrupted_by_a_panic_is_not_committed() -> Result<(), exostate::Error> {
    let store = Store::<Fragile>::new();
    let half = Fragile { title: "half".to_owned(), value: exostate::Register(Panics(true)) };
    let broken = store.change(|state| {
        let write = std::panic::AssertUnwindSafe(|| state.reconcile(&half));
        assert!(std::panic::catch_unwind(write).is_err());
        Ok(())
    });
    assert!(matches!(broken, Err(ChangeError::Invalid { .. })), "{broken:?}");
    assert_eq!((store.view().title.as_str(), store.reread().title.as_str()), ("", ""));
    store.change(|state| {
        let part = std::panic::AssertUnwindSafe(|| state.savepoint(|state| state.reconcile(&half)));
        assert!(std::panic::catch_unwind(part).is_err());
        state.title().set("whole")
    })?;
    assert_eq!((store.view().title.as_str(), store.reread().title.as_str()), ("whole", "whole"));
    Ok(())
}
