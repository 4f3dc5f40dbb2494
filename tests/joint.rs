//! Several stores as one: a change is in all of them or in none, no view shows only half of a
//! change, and watchers are called once per change.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use exostate::middleware::PathRules;
use exostate::{
    Automerge, Backend, ChangeError, List, Map, Meta, Mismatch, Scalar, State, Store, UndoOptions,
    Uuid, Value, Yrs,
};
use proptest::prelude::*;

#[derive(State, Clone, Debug, PartialEq)]
struct Accounts {
    balances: Map<String, i64>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Journal {
    lines: List<String>,
    closed: bool,
}

fn pay(
    accounts: &Store<Accounts>,
    journal: &Store<Journal, Automerge>,
    amount: i64,
) -> Result<(), ChangeError> {
    accounts.and(journal).change(|(accounts, journal)| {
        let left = accounts.balances().get("ada").get()? - amount;
        accounts.balances().insert("ada", left)?;
        journal.lines().push(format!("ada pays {amount}"))?;
        if left < 0 { Err(ChangeError::refuse("not enough")) } else { Ok(()) }
    })
}

fn stores() -> (Store<Accounts>, Store<Journal, Automerge>) {
    let accounts = Store::<Accounts>::new();
    accounts.change(|accounts| accounts.balances().insert("ada", 10)).expect("it can be written");
    (accounts, Store::new())
}

#[test]
fn a_joint_change_is_in_all_stores_or_in_none() -> Result<(), exostate::Error> {
    let (accounts, journal) = stores();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&seen);
    let other = journal.clone();
    // A watcher of one store sees the other store in the state after the change.
    let _watch = accounts.watch(Accounts::path().balances(), move |_| {
        list.lock().expect("the list").push(other.view().lines.len())
    });
    pay(&accounts, &journal, 7)?;
    assert!(matches!(pay(&accounts, &journal, 7), Err(ChangeError::Refused(_))));
    assert_eq!((accounts.view().balances.get("ada"), journal.view().lines.len()), (Some(&3), 1));
    assert_eq!(*seen.lock().expect("the list"), [1]);

    // If a layer of either store refuses a change, the change is in neither.
    journal.add_middleware(PathRules::new().deny(Journal::path().lines()));
    assert!(pay(&accounts, &journal, 1).is_err());
    let (others, free) = stores();
    others.add_middleware(PathRules::new().deny(Accounts::path().balances()));
    assert!(pay(&others, &free, 1).is_err());
    assert_eq!(
        (
            accounts.view().balances.get("ada"),
            others.view().balances.get("ada"),
            free.view().lines.len()
        ),
        (Some(&3), Some(&10), 0)
    );
    assert_eq!((&accounts.reread(), &free.reread()), (&*accounts.view(), &*free.view()));
    Ok(())
}

#[test]
fn a_store_cannot_join_with_itself() {
    let (accounts, journal) = stores();
    let twice = accounts.and(&journal).and(&accounts).change(|_| Ok(()));
    assert!(matches!(twice, Err(ChangeError::Nested)));
    let within = journal.change(|_| pay(&accounts, &journal, 1));
    assert!(matches!(within, Err(ChangeError::Nested)));
    assert_eq!(accounts.view().balances.get("ada"), Some(&10));
}

#[test]
fn a_nested_joint_change_is_an_error_and_no_deadlock() {
    let (accounts, journal) = stores();
    let barrier = std::sync::Barrier::new(2);
    let both = || {
        barrier.wait();
        assert!(matches!(pay(&accounts, &journal, 1), Err(ChangeError::Nested)));
        barrier.wait();
        Ok(())
    };
    std::thread::scope(|scope| {
        scope.spawn(|| accounts.change(|_| both()).expect("nothing can be done"));
        scope.spawn(|| journal.change(|_| both()).expect("nothing can be done"));
    });
    assert_eq!((accounts.view().balances.get("ada"), journal.view().lines.len()), (Some(&10), 0));
}

#[test]
fn opposite_orders_do_not_block_each_other() {
    let (accounts, journal) = stores();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                (0..100).for_each(|_| pay(&accounts, &journal, 0).expect("it can be paid"))
            });
            scope.spawn(|| {
                for _ in 0..100 {
                    let moved = journal.and(&accounts).change(|(journal, accounts)| {
                        journal.closed().set(!journal.closed().get()?)?;
                        accounts.balances().insert("eve", accounts.balances().get("ada").get()?)
                    });
                    moved.expect("it can be done");
                }
            });
        }
    });
    assert_eq!((journal.view().lines.len(), accounts.view().balances.len()), (200, 2));
}

#[test]
fn a_panic_leaves_both_as_they_were() {
    let (accounts, journal) = stores();
    let attempt = std::panic::AssertUnwindSafe(|| {
        accounts.and(&journal).change(|(accounts, journal)| -> Result<(), ChangeError> {
            accounts.balances().insert("ada", 0)?;
            journal.closed().set(true)?;
            panic!("within a change")
        })
    });
    assert!(std::panic::catch_unwind(attempt).is_err());
    assert_eq!((accounts.view().balances.get("ada"), journal.view().closed), (Some(&10), false));
    pay(&accounts, &journal, 1).expect("it goes on");
}

/// Three stores on both backends. Their numbers must always be equal: every change sets all of them
/// or fails.
struct Trio {
    first: Store<Number>,
    second: Store<Number, Automerge>,
    third: Store<Number>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Number {
    value: i64,
    alone: i64,
}

impl Trio {
    fn new() -> Self {
        Self { first: Store::new(), second: Store::new(), third: Store::new() }
    }

    /// Sets all three numbers. Sets none if the change is refused.
    fn set(&self, value: i64, refuse: bool) -> Result<(), ChangeError> {
        // The stores are joined in a different order each time.
        let joint = self.first.and(&self.second);
        if value % 2 == 0 {
            return joint.and(&self.third).change(|((first, second), third)| {
                first.value().set(value)?;
                second.value().set(value)?;
                third.value().set(value)?;
                if refuse { Err(ChangeError::refuse("no")) } else { Ok(()) }
            });
        }
        self.third.and(&self.second.and(&self.first)).change(|(third, (second, first))| {
            third.value().set(value)?;
            if refuse {
                return second.value().set(value).and(Err(ChangeError::refuse("no")));
            }
            second.value().set(value)?;
            first.value().set(value)
        })
    }

    fn check(&self) {
        let ((first, second), third) = self.first.and(&self.second).and(&self.third).view();
        assert_eq!(
            (first.value, second.value),
            (third.value, third.value),
            "half of a change shows"
        );
    }
}

/// One operation of one thread.
#[derive(Clone, Debug)]
enum Action {
    Joint(i64, bool),
    Alone(u8, i64),
    Look,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (0..1000_i64, proptest::bool::weighted(0.2))
            .prop_map(|(value, refuse)| Action::Joint(value, refuse)),
        2 => (0..3_u8, any::<i64>()).prop_map(|(which, value)| Action::Alone(which, value)),
        3 => Just(Action::Look),
    ]
}

fn perform(trio: &Trio, action: &Action) {
    match action {
        Action::Joint(value, refuse) => assert_eq!(trio.set(*value, *refuse).is_err(), *refuse),
        Action::Alone(0, value) => {
            trio.first.change(|number| number.alone().set(*value)).expect("it can be written")
        }
        Action::Alone(1, value) => {
            trio.second.change(|number| number.alone().set(*value)).expect("it can be written")
        }
        Action::Alone(_, value) => {
            trio.third.change(|number| number.alone().set(*value)).expect("it can be written")
        }
        Action::Look => trio.check(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn threads_see_joint_changes_whole(
        threads in prop::collection::vec(prop::collection::vec(action(), 1..30), 2..5),
    ) {
        let trio = Trio::new();
        let halves = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&halves);
        let _joint = trio.first.and(&trio.second).and(&trio.third).watch(move |patch| {
            for ((first, second), third) in [patch.old(), patch.new()] {
                let differs = first.value != second.value || second.value != third.value;
                seen.fetch_add(usize::from(differs), Ordering::Relaxed);
            }
        });
        // A watcher of one store finds all the other stores in the same state.
        let seen = Arc::clone(&halves);
        let others = trio.first.and(&trio.third);
        let _own = trio.second.watch(Number::path().value(), move |_| {
            let (first, third) = others.view();
            seen.fetch_add(usize::from(first.value != third.value), Ordering::Relaxed);
        });
        std::thread::scope(|scope| {
            for actions in &threads {
                scope.spawn(|| actions.iter().for_each(|action| perform(&trio, action)));
            }
        });
        trio.check();
        prop_assert_eq!(halves.load(Ordering::Relaxed), 0);
        prop_assert_eq!(&trio.first.reread(), &*trio.first.view());
        prop_assert_eq!(&trio.second.reread(), &*trio.second.view());
    }
}

/// A number that is slow to drop. Showing a new view drops an old one, so showing is slow too.
#[derive(Clone, Debug, PartialEq)]
struct Slow(i64);

impl Drop for Slow {
    fn drop(&mut self) {
        std::thread::sleep(std::time::Duration::from_micros(300));
    }
}

impl Scalar for Slow {
    fn to_value(&self) -> Result<Value, String> {
        self.0.to_value()
    }
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        i64::from_value(value).map(Self)
    }
    fn initial() -> Self {
        Self(0)
    }
}

#[derive(State, Clone, Debug, PartialEq)]
struct Heavy {
    value: Slow,
}

#[test]
fn watchers_are_called_after_all_stores_show_the_change() {
    let trio = Trio::new();
    let heavy = Store::<Heavy>::new();
    let joint = trio.first.and(&heavy).and(&trio.third);
    let over = AtomicBool::new(false);
    let early = Arc::new(AtomicUsize::new(0));
    let third = trio.third.clone();
    let count = Arc::clone(&early);
    // The numbers only grow. A watcher of the first store must find the same number, or a newer
    // one, in the store that is shown last.
    let _watch = trio.first.watch(Number::path().value(), move |value| {
        count.fetch_add(
            usize::from(value.new().copied() > Some(third.view().value)),
            Ordering::Relaxed,
        );
    });
    let told = Arc::new(AtomicI64::new(0));
    let last = Arc::new(AtomicI64::new(0));
    let heard = Arc::clone(&told);
    let _pause = trio.first.watch(Number::path().alone(), move |alone| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        heard.store(alone.new().copied().unwrap_or_default(), Ordering::Relaxed);
    });
    std::thread::scope(|scope| {
        // Another thread delivers the notices of the first store.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // It makes the next change only when the previous one was delivered.
                if told.load(Ordering::Relaxed) == last.load(Ordering::Relaxed) {
                    let next = last.fetch_add(1, Ordering::Relaxed) + 1;
                    trio.first
                        .change(|number| number.alone().set(next))
                        .expect("it can be written");
                }
            }
        });
        // A third thread reads all of them all the time.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let ((first, heavy), third) = joint.view();
                early.fetch_add(
                    usize::from((first.value, heavy.value.0) != (third.value, third.value)),
                    Ordering::Relaxed,
                );
            }
        });
        for value in 1..100 {
            let changed = joint.change(|((first, heavy), third)| {
                first.value().set(value)?;
                heavy.value().set(Slow(value))?;
                third.value().set(value)
            });
            changed.expect("it can be written");
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(early.load(Ordering::Relaxed), 0);
}

#[test]
fn a_joint_watch_is_called_once_with_the_changed_stores() {
    let trio = Trio::new();
    let joint = trio.first.and(&trio.second).and(&trio.third);
    let calls = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&calls);
    let watch = joint.watch(move |patch| {
        let ((first, _), third) = patch.new();
        list.lock().expect("the list").push((patch.changed(), first.value, third.value));
    });
    let take = || std::mem::take(&mut *calls.lock().expect("the list"));
    trio.set(4, false).expect("it can be written");
    assert_eq!(take(), [(((true, true), true), 4, 4)]);
    trio.set(5, true).expect_err("it is refused");
    trio.second.change(|number| number.alone().set(1)).expect("it can be written");
    joint
        .change(|((first, _), third)| first.alone().set(2).and(third.alone().set(3)))
        .expect("it can be written");
    joint.change(|_| Ok(())).expect("nothing can be done");
    let other = trio.third.fork().expect("it forks");
    other.change(|number| number.alone().set(7)).expect("it can be written");
    trio.third
        .apply_all(&other.updates_since(&trio.third.version()).expect("an update"))
        .expect("it applies");
    assert_eq!(
        take(),
        [
            (((false, true), false), 4, 4),
            (((true, false), true), 4, 4),
            (((false, false), true), 4, 4)
        ]
    );

    // The watch ends when it is dropped, and keeps no store alive.
    drop(watch);
    trio.set(6, false).expect("it can be written");
    assert_eq!((take().len(), trio.first.subscriptions().watchers), (0, 0));
    joint.watch(|_| ()).forever();
    let dropped = Arc::new(());
    let weak = Arc::downgrade(&dropped);
    let kept = dropped;
    trio.second.watch(Number::path(), move |_| _ = &kept).forever();
    drop((joint, trio));
    assert!(weak.upgrade().is_none(), "a watch keeps the stores");
}

#[test]
fn a_joint_watch_may_change_its_stores() {
    let trio = Trio::new();
    let joint = trio.first.and(&trio.third);
    let inner = joint.clone();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let _watch = joint.watch(move |patch| {
        count.fetch_add(1, Ordering::Relaxed);
        let (first, _) = patch.new();
        if first.value < 3 {
            inner
                .change(|(first, third)| {
                    first.value().set(first.value().get()? + 1).and(third.alone().set(1))
                })
                .expect("it can be written");
        }
    });
    joint.change(|(first, _)| first.value().set(1)).expect("it can be written");
    assert_eq!((trio.first.view().value, calls.load(Ordering::Relaxed)), (3, 3));
}

#[test]
fn a_joint_watch_may_end_itself() {
    let trio = Trio::new();
    let own = Arc::new(Mutex::new(None));
    let inner = Arc::clone(&own);
    let third = trio.third.clone();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let watch = trio.first.and(&trio.third).watch(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        third.change(|number| number.value().set(9)).expect("it can be written");
        drop(inner.lock().expect("the subscription").take());
    });
    own.lock().expect("the subscription").replace(watch);
    trio.first.change(|number| number.value().set(1)).expect("it can be written");
    assert_eq!((trio.third.view().value, calls.load(Ordering::Relaxed)), (9, 1));
}

#[test]
fn a_joint_watch_continues_after_a_panic() {
    let trio = Trio::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let _watch = trio.first.and(&trio.third).watch(move |patch| {
        count.fetch_add(1, Ordering::Relaxed);
        let (first, third) = patch.new();
        assert_ne!((first.value, third.value), (1, 0), "a callback panics");
    });
    let attempt =
        std::panic::AssertUnwindSafe(|| trio.first.change(|number| number.value().set(1)));
    assert!(std::panic::catch_unwind(attempt).is_err());
    trio.third.change(|number| number.value().set(2)).expect("it can be written");
    trio.first.change(|number| number.value().set(3)).expect("it can be written");
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[test]
fn all_stores_report_the_meta_of_a_joint_change() {
    fn heard<B: Backend>(
        store: &Store<Number, B>,
    ) -> (Arc<Mutex<Vec<Option<Meta>>>>, exostate::Subscription) {
        let list = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&list);
        let watch = store.watch(Number::path(), move |patch| {
            heard.lock().expect("the list").push(patch.meta().cloned())
        });
        (list, watch)
    }
    let trio = Trio::new();
    let first = heard::<Yrs>(&trio.first);
    let second = heard::<Automerge>(&trio.second);
    let joint = trio.first.and(&trio.second).and(&trio.third);
    let named =
        Meta::new().with_author("Ada").with_label("Pay").with_correlation(Uuid::from_u128(7));
    joint
        .change_as(named, |((first, second), _)| first.value().set(1).and(second.value().set(1)))
        .expect("it can be written");
    let label = Meta::new().with_label("Pay");
    joint
        .change_as(label, |((first, second), _)| first.value().set(2).and(second.value().set(2)))
        .expect("it can be written");
    // Only the second store changes: this too is a different change from the one before.
    joint.change(|((_, second), _)| second.value().set(3)).expect("it can be written");
    joint.change(|((_, second), _)| second.value().set(4)).expect("it can be written");

    let first = first.0.lock().expect("the list");
    let second = second.0.lock().expect("the list");
    assert_eq!((first.len(), second.len()), (2, 4));
    assert_eq!(first[..], second[..2]);
    let second: Vec<&Meta> = second.iter().flatten().collect();
    assert_eq!(
        (second[0].author(), second[0].label(), second[0].correlation()),
        (Some("Ada"), Some("Pay"), Some(Uuid::from_u128(7)))
    );
    assert_eq!((second[1].author(), second[1].label()), (None, Some("Pay")));
    let ids: std::collections::BTreeSet<_> =
        second.iter().filter_map(|meta| meta.correlation()).collect();
    assert!(ids.len() == 4 && second.iter().all(|meta| meta.time().is_some()));
}

#[test]
fn each_store_undoes_its_own_part() {
    let trio = Trio::new();
    let first = trio.first.undo_manager(UndoOptions::new());
    let second = trio.second.undo_manager(UndoOptions::new());
    let named = Meta::new().with_label("Both");
    trio.first
        .and(&trio.second)
        .change_as(named, |(first, second)| first.value().set(1).and(second.value().set(1)))
        .expect("written");
    assert_eq!(
        (first.undo_label().as_deref(), second.undo_label().as_deref()),
        (Some("Both"), Some("Both"))
    );
    first.undo().expect("it can be undone");
    assert_eq!((trio.first.view().value, trio.second.view().value), (0, 1));
}

#[test]
fn a_view_can_be_read_within_a_change() {
    let trio = Trio::new();
    let joint = trio.first.and(&trio.second);
    joint
        .change(|(first, second)| {
            first.value().set(1)?;
            second.value().set(1)?;
            assert_eq!((joint.view().0.value, trio.first.and(&trio.third).view().0.value), (0, 0));
            Ok(())
        })
        .expect("it can be written");
    assert_eq!(joint.view().1.value, 1);
}

#[test]
fn each_call_of_a_joint_watch_begins_at_the_last_one() {
    let trio = Trio::new();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&calls);
    let joint = trio.first.and(&trio.second.and(&trio.third));
    let _watch = joint.watch(move |patch| {
        list.lock().expect("the list").push((patch.old().clone(), patch.new().clone()))
    });
    let begin = joint.view();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let trio = &trio;
            scope.spawn(move || {
                (0..50)
                    .for_each(|step| trio.set(step * 3 + thread, false).expect("it can be written"))
            });
        }
        // Meanwhile one document is replaced repeatedly.
        scope.spawn(|| {
            for _ in 0..5 {
                let mut repair = trio.third.document().repair();
                let updates =
                    trio.third.updates_since(&Store::<Number>::new().version()).expect("updates");
                updates.iter().for_each(|update| _ = repair.apply(update).expect("it applies"));
                repair.finish().expect("it is repaired");
            }
        });
    });
    let calls = calls.lock().expect("the list");
    assert_eq!(calls.first().map(|call| &call.0), Some(&begin));
    assert_eq!(calls.last().map(|call| &call.1), Some(&joint.view()));
    assert!(calls.windows(2).all(|pair| pair[0].1 == pair[1].0));
}

#[test]
fn a_joint_change_sees_applied_parts() {
    let trio = Trio::new();
    let source = Store::<Number>::new();
    source.change(|number| number.alone().set(7)).expect("it can be written");
    for update in source.updates_since(&trio.third.version()).expect("updates") {
        trio.third.document().apply_part(&[update]).expect("it applies");
    }
    let changed = trio
        .first
        .and(&trio.third)
        .change(|(first, third)| first.alone().set(third.alone().get()?));
    changed.expect("it can be written");
    assert_eq!((trio.first.view().alone, trio.third.view().alone), (7, 7));
    assert_eq!(trio.third.reread(), *trio.third.view());
}

#[test]
fn changes_during_a_call_are_reported_by_the_next() {
    let trio = Trio::new();
    let third = trio.third.clone();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&calls);
    let _watch = trio.first.and(&trio.third).watch(move |patch| {
        let (first, last) = patch.new();
        list.lock().expect("the list").push((first.value, last.value));
        if last.value == 0 {
            let change =
                || third.change(|number| number.value().set(2)).expect("it can be written");
            std::thread::scope(|scope| scope.spawn(change).join().expect("nobody panics"));
        }
    });
    trio.first.change(|number| number.value().set(1)).expect("it can be written");
    assert_eq!(*calls.lock().expect("the list"), [(1, 0), (1, 2)]);
}
