//! Promise: the value of a selector is the result of its closure on the view. It is computed only
//! if a place that it read was touched, and its watchers hear of each new value.

mod support;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use exostate::{Automerge, Backend, Look, Map, Selector, State, Store, Subscription, Yrs};
use proptest::prelude::*;
use support::{Everything, EverythingNode};

#[derive(State, Clone, Debug, PartialEq)]
struct Sheet {
    cells: Map<u32, i64>,
    left: i64,
    right: i64,
    wide: bool,
}

/// Counts how often something was called.
#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Log<T> {
    fn push(&self, item: T) {
        self.0.lock().expect("no panic").push(item);
    }

    fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

fn set<B: Backend>(store: &Store<Sheet, B>, left: i64, right: i64) {
    let edit = |sheet: SheetNode<exostate::Edit<'_>>| {
        sheet.left().set(left)?;
        sheet.right().set(right)
    };
    store.change(edit).expect("it can be written");
}

/// A selector of the left number, which counts its runs.
fn left<B: Backend>(store: &Store<Sheet, B>, runs: &Count) -> Selector<i64> {
    let runs = runs.clone();
    store.select(move |sheet| {
        runs.add();
        sheet.left().value().copied().unwrap_or_default()
    })
}

fn a_thousand_selectors<B: Backend>(watched: bool) {
    let store = Store::<Sheet, B>::new();
    let runs = Count::default();
    let fill = |sheet: SheetNode<exostate::Edit<'_>>| {
        (0..1_000u32).try_for_each(|cell| sheet.cells().insert(cell, 0))
    };
    store.change(fill).expect("it can be written");
    let counted = runs.clone();
    let cell = store.select_by(move |sheet, cell: &u32| {
        counted.add();
        sheet.cells().get(*cell).value().copied()
    });
    let cells: Vec<Selector<Option<i64>>> = (0..1_000u32).map(|at| cell.of(at)).collect();
    let told = Count::default();
    let watches: Vec<Subscription> =
        cells.iter().filter(|_| watched).map(|cell| cell.watch(once(&told))).collect();
    let sum = || cells.iter().filter_map(|cell| *cell.get()).sum::<i64>();
    assert_eq!((sum(), runs.take()), (0, 1_000));
    store.change(|sheet| sheet.cells().insert(7u32, 3)).expect("it can be written");
    assert_eq!((sum(), runs.take(), told.take()), (3, 1, watches.len().min(1)));
    let other = store.fork().expect("a fork");
    other.change(|sheet| sheet.cells().insert(8u32, 4)).expect("it can be written");
    store.merge(&other).expect("an honest update");
    assert_eq!((sum(), runs.take(), told.take()), (7, 1, watches.len().min(1)));
    store.change(|sheet| sheet.left().set(1)).expect("it can be written");
    assert_eq!((sum(), runs.take(), told.take()), (7, 0, 0));
}

/// A callback that counts its calls.
fn once<R>(count: &Count) -> impl Fn(&exostate::Changed<R>) + Send + Sync + 'static {
    let count = count.clone();
    move |_| count.add()
}

#[test]
fn only_the_affected_selector_runs_once() {
    for watched in [false, true] {
        a_thousand_selectors::<Yrs>(watched);
        a_thousand_selectors::<Automerge>(watched);
    }
}

#[test]
fn a_selector_without_watchers_runs_when_read() {
    let store = Store::<Sheet>::new();
    let runs = Count::default();
    let left = left(&store, &runs);
    assert_eq!(runs.take(), 0);
    (1..=5).for_each(|number| set(&store, number, 0));
    assert_eq!(runs.take(), 0);
    assert_eq!((*left.get(), *left.clone().get(), runs.take()), (5, 5, 1));
}

#[test]
fn a_selector_depends_on_its_last_reads() {
    let store = Store::<Sheet>::new();
    let runs = Count::default();
    let counted = runs.clone();
    let wide_or_left = store.select(move |sheet| {
        counted.add();
        if sheet.wide().value() == Some(&true) {
            -1
        } else {
            sheet.left().value().copied().unwrap_or_default()
        }
    });
    let told = Log::default();
    let log = told.clone();
    let _watch = wide_or_left.watch(move |value| log.push((**value.old(), **value.new())));
    set(&store, 1, 0);
    store.change(|sheet| sheet.wide().set(true)).expect("it can be written");
    assert_eq!(runs.take(), 3);
    set(&store, 2, 0);
    assert_eq!(runs.take(), 0, "it does not read the number any more");
    store.change(|sheet| sheet.wide().set(false)).expect("it can be written");
    assert_eq!((told.take(), runs.take()), (vec![(0, 1), (1, -1), (-1, 2)], 1));
}

/// left, right → doubled left, left + right → both.
fn diamond<B: Backend>() {
    let store = Store::<Sheet, B>::new();
    let runs = Count::default();
    let base = left(&store, &Count::default());
    let a = base.clone();
    let b = base.clone();
    let counted = runs.clone();
    let double = store.select(move |_| *a.get() * 2);
    let triple = store.select(move |_| *b.get() * 3);
    let sum = store.select(move |_| {
        counted.add();
        let double = *double.get();
        let triple = *triple.get();
        assert_eq!(double * 3, triple * 2, "old and new mix");
        double + triple
    });
    let told = Log::default();
    let log = told.clone();
    let _watch = sum.watch(move |sum| log.push(**sum.new()));
    runs.take();
    set(&store, 1, 0);
    let other = store.fork().expect("a fork");
    set(&other, 2, 0);
    store.merge(&other).expect("an honest update");
    assert_eq!((told.take(), runs.take()), (vec![5, 10], 2));
}

#[test]
fn a_diamond_shows_no_mixture_and_runs_once() {
    diamond::<Yrs>();
    diamond::<Automerge>();
}

#[test]
fn an_equal_result_is_not_propagated() {
    let store = Store::<Sheet>::new();
    let runs = Count::default();
    let inner_runs = Count::default();
    let told = Count::default();
    let left = left(&store, &inner_runs);
    let counted = runs.clone();
    let inner = left.clone();
    let sign = store.select(move |_| inner.get().signum());
    let read = sign.clone();
    let text = store.select(move |_| {
        counted.add();
        read.get().to_string()
    });
    let _watch = (sign.watch(once(&told)), text.watch(once(&told)));
    set(&store, 1, 0);
    let kept = text.get();
    assert_eq!((runs.take(), inner_runs.take(), told.take()), (2, 2, 2));
    set(&store, 2, 0);
    assert_eq!((inner_runs.take(), runs.take(), told.take()), (1, 0, 0));
    assert!(Arc::ptr_eq(&kept, &text.get()));
    set(&store, -2, 0);
    assert_eq!((inner_runs.take(), runs.take(), told.take()), (1, 1, 2));
}

#[test]
fn selectors_by_key_are_shared_and_let_go() {
    let store = Store::<Sheet>::new();
    let held = Arc::new(());
    let captured = Arc::clone(&held);
    let cell = store.select_by(move |sheet, at: &u32| {
        let _ = &captured;
        sheet.cells().get(*at).value().copied()
    });
    let one = cell.of(1u32);
    let again = cell.clone().of(1u32);
    let other = cell.of(2u32);
    assert_eq!(store.subscriptions().selectors, 2);
    assert!(Arc::ptr_eq(&one.get(), &again.get()));
    drop(one);
    assert_eq!(store.subscriptions().selectors, 2);
    drop((again, other));
    assert_eq!(store.subscriptions().selectors, 0);
    // A selector that another selector read lives as long as that one.
    let family = cell.clone();
    let sum = store.select(move |_| (0..3u32).filter_map(|at| *family.of(at).get()).sum::<i64>());
    assert_eq!((*sum.get(), store.subscriptions().selectors), (0, 4));
    store.change(|sheet| sheet.cells().insert(1u32, 5)).expect("it can be written");
    assert_eq!((*sum.get(), store.subscriptions().selectors), (5, 4));
    drop(sum);
    assert_eq!(store.subscriptions().selectors, 0);
    // A selector outlives its family. If its key is requested again, a new selector is made.
    let last = cell.of(1u32);
    drop(cell);
    assert_eq!(*last.get(), Some(5));
    drop(last);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn watchers_and_watchers_of_selectors_take_turns_as_they_came() {
    let store = Store::<Sheet>::new();
    let told = Log::default();
    let left = left(&store, &Count::default());
    let note = |name: &'static str| {
        let told = told.clone();
        move || told.push(name)
    };
    let a = note("a");
    let b = note("b");
    let c = note("c");
    let d = note("d");
    let _a = left.watch(move |_| a());
    let _b = store.watch(Sheet::path().left(), move |_| b());
    let _c = left.watch(move |_| c());
    let _d = store.watch(Sheet::path(), move |_| d());
    set(&store, 1, 0);
    assert_eq!(told.take(), ["a", "b", "c", "d"]);
}

#[test]
fn selectors_and_subscriptions_may_come_and_go_in_callbacks() {
    let store = Store::<Sheet>::new();
    let told = Log::default();
    let held: Arc<Mutex<Vec<Box<dyn std::any::Any + Send>>>> = Arc::default();
    let inner = store.clone();
    let kept = Arc::clone(&held);
    let log = told.clone();
    let selector = left(&store, &Count::default());
    let watched = selector.clone();
    let first = selector.watch(move |left| {
        // The callback ends itself and the other one, and starts a new one.
        let ended = std::mem::take(&mut *kept.lock().expect("no panic"));
        drop(ended);
        let log = log.clone();
        let new = inner
            .select(|sheet| sheet.right().value().copied())
            .watch(move |right| log.push(**right.new()));
        kept.lock().expect("no panic").push(Box::new(new));
        assert_eq!(left.new(), &watched.get());
        inner.change(|sheet| sheet.right().set(7)).expect("a change from a callback");
    });
    let log = told.clone();
    let second = selector.watch(move |_| log.push(None));
    held.lock().expect("no panic").extend([
        Box::new(first) as Box<dyn std::any::Any + Send>,
        Box::new(second),
        Box::new(selector),
    ]);
    set(&store, 1, 0);
    assert_eq!(told.take(), [Some(7)]);
    let counts = store.subscriptions();
    assert_eq!((counts.selectors, counts.selector_watchers, counts.watchers), (1, 1, 0));
    let ended = std::mem::take(&mut *held.lock().expect("no panic"));
    drop(ended);
    assert_eq!(store.subscriptions(), exostate::Subscriptions::default());
}

#[test]
fn a_panic_keeps_nothing_from_the_others_and_is_tried_again() {
    let store = Store::<Sheet>::new();
    let told = Log::default();
    let fails = store.select(|sheet| {
        let left = sheet.left().value().copied().unwrap_or_default();
        assert!(left != 1, "it does not like it");
        sheet.right().value().copied().unwrap_or_default() + left
    });
    let read = fails.clone();
    let outer = store.select(move |_| *read.get());
    let a = told.clone();
    let b = told.clone();
    let c = told.clone();
    let _watches = (
        fails.watch(move |value| a.push(format!("fails {}", value.new()))),
        outer.watch(move |value| b.push(format!("outer {}", value.new()))),
        store.watch(Sheet::path().left(), move |left| c.push(format!("left {:?}", left.new()))),
    );
    assert!(catch_unwind(AssertUnwindSafe(|| set(&store, 1, 0))).is_err());
    assert_eq!(told.take(), ["left Some(1)"]);
    assert!(catch_unwind(AssertUnwindSafe(|| fails.get())).is_err());
    store.change(|sheet| sheet.right().set(5)).expect("nothing that failed is affected");
    assert_eq!(told.take(), [""; 0]);
    set(&store, 2, 5);
    assert_eq!(told.take(), ["fails 7", "outer 7", "left Some(2)"]);
    assert_eq!(*outer.get(), 7);
}

/// A selector whose input has changed is tried again each time it is read, like a selector whose
/// place has changed.
#[test]
fn a_selector_that_panics_shows_no_old_value() {
    let store = Store::<Sheet>::new();
    let told = Log::default();
    let read = left(&store, &Count::default());
    let fails = store.select(move |_| {
        let left = *read.get();
        assert!(left != 1, "it does not like it");
        left
    });
    let log = told.clone();
    let _watch = fails.watch(move |value| log.push(**value.new()));
    assert!(catch_unwind(AssertUnwindSafe(|| set(&store, 1, 0))).is_err());
    for _ in 0..3 {
        assert!(catch_unwind(AssertUnwindSafe(|| fails.get())).is_err(), "it shows what was");
    }
    set(&store, 2, 0);
    assert_eq!((*fails.get(), told.take()), (2, vec![2]));
}

#[test]
fn a_selector_may_catch_the_panic_of_another() {
    let store = Store::<Sheet>::new();
    let fails = store.select(|sheet| {
        let left = sheet.left().value().copied().unwrap_or_default();
        assert!(left != 1, "it does not like it");
        left
    });
    let caught =
        store.select(move |_| catch_unwind(AssertUnwindSafe(|| *fails.get())).unwrap_or(-1));
    assert_eq!(*caught.get(), 0);
    for (number, expected) in [(1, -1), (2, 2), (1, -1), (1, -1), (3, 3)] {
        set(&store, number, 0);
        assert_eq!(*caught.get(), expected);
    }
}

/// Two threads run one selector at once. The thread that fails does not know which places the other
/// one has read.
#[test]
fn a_panic_on_one_thread_keeps_the_reads_of_another() {
    let store = Store::<Sheet>::new();
    set(&store, 0, 1);
    let (entered, enters) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let first = AtomicBool::new(true);
    let both = store.select(move |sheet| {
        let left = sheet.left().value().copied().unwrap_or_default();
        if first.swap(false, Ordering::SeqCst) {
            let _ = entered.send(());
            let _ = held.lock().expect("no panic").recv();
            panic!("it fails only once");
        }
        left + sheet.right().value().copied().unwrap_or_default()
    });
    std::thread::scope(|scope| {
        let failing = scope.spawn(|| catch_unwind(AssertUnwindSafe(|| both.get())).is_err());
        enters.recv().expect("it runs");
        assert_eq!(*both.get(), 1);
        drop(release);
        assert!(failing.join().expect("no panic"));
    });
    set(&store, 0, 5);
    assert_eq!(*both.get(), 5);
}

#[test]
fn a_callback_that_panics_is_called_again() {
    let store = Store::<Sheet>::new();
    let told = Count::default();
    let selector = left(&store, &Count::default());
    let _bad = selector.watch(|_| panic!("a watcher panics"));
    let _good = selector.watch(once(&told));
    for number in [1, 2] {
        assert!(catch_unwind(AssertUnwindSafe(|| set(&store, number, 0))).is_err());
    }
    assert_eq!(told.take(), 2);
}

#[test]
fn a_selector_that_reads_itself_panics() {
    let store = Store::<Sheet>::new();
    let own: Arc<Mutex<Option<Selector<i64>>>> = Arc::default();
    let read = Arc::clone(&own);
    let selector = store.select(move |sheet| {
        let own = read.lock().expect("no panic").clone();
        sheet.left().value().copied().unwrap_or_default()
            + own.map_or(0, |own| catch_unwind(AssertUnwindSafe(|| *own.get())).unwrap_or(100))
    });
    assert_eq!(*selector.get(), 0);
    *own.lock().expect("no panic") = Some(selector.clone());
    set(&store, 1, 0);
    assert_eq!(*selector.get(), 101);
    *own.lock().expect("no panic") = None;
}

#[test]
fn selectors_of_two_stores_are_strangers() {
    let ours = Store::<Sheet>::new();
    let theirs = Store::<Sheet>::new();
    let runs = Count::default();
    let their_left = left(&theirs, &Count::default());
    let counted = runs.clone();
    let selector = ours.select(move |sheet| {
        counted.add();
        sheet.left().value().copied().unwrap_or_default() + *their_left.get()
    });
    assert_eq!(*selector.get(), 0);
    set(&theirs, 5, 0);
    assert_eq!((*selector.get(), runs.take()), (0, 1), "it is not told of the other store");
    set(&ours, 1, 0);
    assert_eq!(*selector.get(), 6);
}

#[test]
fn selectors_outlive_their_store() {
    let store = Store::<Sheet>::new();
    let runs = Count::default();
    let selector = left(&store, &runs);
    let watch = selector.watch(|_| ());
    let mut changes = selector.stream();
    set(&store, 3, 0);
    drop(store);
    assert_eq!(*selector.get(), 3);
    assert_eq!(changes.try_next().as_deref(), Some(&3));
    drop((watch, selector.watch(|_| ())));
}

#[test]
fn families_outlive_their_store() {
    let store = Store::<Sheet>::new();
    set(&store, 3, 0);
    let number = store.select_by(|sheet, right: &bool| {
        if *right { sheet.right().value().copied() } else { sheet.left().value().copied() }
    });
    let read = number.clone();
    let sum = store.select_by(move |_, (): &()| [true, false].map(|right| *read.of(right).get()));
    drop(store);
    assert_eq!(*sum.of(()).get(), [Some(0), Some(3)]);
}

#[test]
fn parts_are_selected_once_they_are_shown() {
    let ours = Store::<Sheet>::new();
    let theirs = Store::<Sheet>::new();
    let told = Count::default();
    set(&theirs, 1, 2);
    let selector = left(&ours, &Count::default());
    let _watch = selector.watch(once(&told));
    for update in theirs.updates_since(&ours.version()).expect("its own kind of version") {
        ours.document().apply_part(&[update]).expect("an honest update");
    }
    assert_eq!((*selector.get(), told.take()), (ours.view().left, 0));
    ours.document().show_parts();
    assert_eq!((*selector.get(), told.take()), (1, 1));
}

#[test]
fn threads_see_no_mixture_and_the_last_value_is_told() {
    let store = Store::<Sheet>::new();
    let told = Arc::new(Mutex::new(0));
    let left = left(&store, &Count::default());
    let both = store.select(move |sheet| {
        let right = sheet.right().value().copied().unwrap_or_default();
        assert_eq!(*left.get(), right, "old and new mix");
        right
    });
    let last = Arc::clone(&told);
    let _watch = both.watch(move |both| *last.lock().expect("no panic") = **both.new());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut before = 0;
                while !done.load(Ordering::SeqCst) {
                    let shown = store.view().left;
                    let now = *both.get();
                    assert!(now >= before && now >= shown, "{before} {shown} {now}");
                    before = now;
                }
            });
        }
        let write = || {
            for _ in 0..500 {
                let next = |sheet: SheetNode<exostate::Edit<'_>>| {
                    let next = sheet.left().get()? + 1;
                    sheet.left().set(next)?;
                    sheet.right().set(next)
                };
                store.change(next).expect("it can be written");
            }
        };
        let writers = [scope.spawn(write), scope.spawn(write)];
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!((*both.get(), *told.lock().expect("no panic")), (1_000, 1_000));
}

#[test]
fn a_commit_while_a_selector_runs_is_told_too() {
    let store = Store::<Sheet>::new();
    let told = Log::default();
    let (entered, enters) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let selector = store.select(move |sheet| {
        let left = sheet.left().value().copied().unwrap_or_default();
        if left == 0 {
            return 0;
        }
        // During the first run, the store does not know yet that the selector will read the other
        // number.
        let _ = entered.send(());
        let _ = held.lock().expect("no panic").recv();
        left + sheet.right().value().copied().unwrap_or_default()
    });
    let log = told.clone();
    let _watch = selector.watch(move |sum| log.push(**sum.new()));
    std::thread::scope(|scope| {
        let telling =
            scope.spawn(|| store.change(|sheet| sheet.left().set(1)).expect("it can be written"));
        enters.recv().expect("it runs");
        store.change(|sheet| sheet.right().set(5)).expect("it can be written");
        drop(release);
        telling.join().expect("no panic");
    });
    assert_eq!((told.take(), *selector.get()), (vec![1, 6], 6));
}

#[test]
fn a_closure_that_takes_its_time_reads_selectors_of_its_own_view() {
    let store = Store::<Sheet>::new();
    let (entered, enters) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    set(&store, 1, 1);
    let left = left(&store, &Count::default());
    let read = left.clone();
    let both = store.select(move |sheet| {
        let _ = entered.send(());
        let _ = held.lock().expect("no panic").recv();
        (sheet.right().value().copied().unwrap_or_default(), *read.get())
    });
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| both.get());
        enters.recv().expect("it runs");
        set(&store, 2, 2);
        assert_eq!(*left.get(), 2);
        drop(release);
        assert_eq!(*asking.join().expect("no panic"), (1, 1));
    });
    assert_eq!(*both.get(), (2, 2));
}

/// Selectors of selectors, which change the selectors that they read, while two threads change the
/// places that they read and two threads read them.
#[test]
fn after_concurrent_changes_selectors_equal_the_view() {
    for round in 0..20u32 {
        let store = Store::<Sheet>::new();
        let cells: [_; 4] = std::array::from_fn(|at| {
            store.select(move |sheet| sheet.cells().get(at as u32).value().copied().unwrap_or(0))
        });
        let read = cells.clone();
        let chosen = store.select(move |sheet| {
            *read[(sheet.left().value().copied().unwrap_or(0) % 4) as usize].get() / 2
        });
        let first = chosen.clone();
        let read = cells.clone();
        let sum = store.select(move |_| *first.get() + *read[(*first.get() % 2) as usize].get());
        let told = Arc::new(Mutex::new(*sum.get()));
        let last = Arc::clone(&told);
        let _watch = sum.watch(move |sum| {
            let before = std::mem::replace(&mut *last.lock().expect("no panic"), **sum.new());
            assert_eq!(before, **sum.old());
        });
        let change = |number: u32| {
            let edit = |sheet: SheetNode<exostate::Edit<'_>>| {
                sheet.cells().insert((number + round) % 4, i64::from(number * 13 % 29))?;
                if number.is_multiple_of(5) { sheet.left().set(i64::from(number)) } else { Ok(()) }
            };
            store.change(edit).expect("it can be written");
        };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..60).for_each(change));
                scope.spawn(|| (0..60).map(|_| *chosen.get() + *sum.get()).sum::<i64>());
            }
        });
        let view = store.view();
        let cell = |at: i64| view.cells.get(&(at as u32)).copied().unwrap_or(0);
        let chosen_now = cell(view.left % 4) / 2;
        let sum_now = chosen_now + cell(chosen_now % 2);
        assert_eq!(
            (*chosen.get(), *sum.get(), *told.lock().expect("no panic")),
            (chosen_now, sum_now, sum_now)
        );
    }
}

/// A waker that reports its use.
struct Woken(mpsc::Sender<()>);

fn waker() -> (mpsc::Receiver<()>, Waker) {
    let (sender, woken) = mpsc::channel();
    (woken, Arc::new(Woken(sender)).into())
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
    }
}

fn poll_once<T>(changes: &mut exostate::ChangeStream<T>, waker: &Waker) -> Poll<Option<T>> {
    pin!(changes.next()).as_mut().poll(&mut Context::from_waker(waker))
}

/// All values until the store is dropped.
fn all<T>(mut changes: exostate::ChangeStream<T>) -> Vec<T> {
    let (woken, own) = waker();
    let mut found = Vec::new();
    loop {
        match poll_once(&mut changes, &own) {
            Poll::Ready(Some(value)) => found.push(value),
            Poll::Ready(None) => return found,
            Poll::Pending => woken.recv_timeout(Duration::from_secs(10)).expect("it is woken"),
        }
    }
}

#[test]
fn streams_wake_their_threads_for_every_value() {
    for _ in 0..20 {
        let store = Store::<Sheet>::new();
        let values = left(&store, &Count::default()).stream();
        let places = store.stream(Sheet::path().left());
        let found = std::thread::scope(|scope| {
            let values =
                scope.spawn(move || all(values).iter().map(|value| **value).collect::<Vec<_>>());
            let places = scope.spawn(move || all(places).into_iter().flatten().collect::<Vec<_>>());
            (1..=100).for_each(|number| set(&store, number, 0));
            drop(store);
            [values, places].map(|thread| thread.join().expect("no panic"))
        });
        for found in found {
            assert!(
                found.is_sorted_by(|before, after| before < after) && found.last() == Some(&100),
                "{found:?}"
            );
        }
    }
}

#[test]
fn the_task_that_polled_last_is_woken() {
    let store = Store::<Sheet>::new();
    let mut changes = store.stream(Sheet::path().left());
    let (one, first) = waker();
    let (other, second) = waker();
    assert!(poll_once(&mut changes, &first).is_pending());
    assert!(poll_once(&mut changes, &second).is_pending());
    set(&store, 1, 0);
    set(&store, 2, 0);
    assert_eq!((one.try_iter().count(), other.try_iter().count()), (0, 1));
    assert_eq!(poll_once(&mut changes, &first), Poll::Ready(Some(Some(2))));
    assert!(poll_once(&mut changes, &first).is_pending());
    drop(store);
    assert_eq!((one.try_iter().count(), other.try_iter().count()), (1, 0));
    assert_eq!(poll_once(&mut changes, &first), Poll::Ready(None));
}

#[tokio::test]
async fn streams_give_the_newest_value() {
    let store = Store::<Sheet>::new();
    let selector = left(&store, &Count::default());
    let mut values = selector.stream();
    let mut places = store.stream(Sheet::path().cells().get(1u32));
    drop(selector);
    (1..=5).for_each(|number| set(&store, number, 0));
    assert_eq!(values.next().await.as_deref(), Some(&5));
    assert_eq!((values.try_next(), places.try_next()), (None, None));
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        tokio::task::yield_now().await;
        writer.change(|sheet| sheet.cells().insert(1u32, 8)).expect("it can be written");
        set(&writer, 6, 0);
    });
    assert_eq!(places.next().await, Some(Some(8)));
    assert_eq!(values.next().await.as_deref(), Some(&6));
    writing.await.expect("no panic");
    store.change(|sheet| sheet.cells().remove(1u32)).expect("it can be removed");
    assert_eq!(
        std::future::poll_fn(|cx| futures_core::Stream::poll_next(
            std::pin::Pin::new(&mut places),
            cx
        ))
        .await,
        Some(None)
    );
    let counts = store.subscriptions();
    assert_eq!((counts.selectors, counts.selector_watchers, counts.watchers), (1, 1, 1));
    drop(store);
    assert_eq!((values.next().await, places.next().await), (None, None));
}

#[test]
fn a_weak_watch_ends_with_its_target() {
    let store = Store::<Sheet>::new();
    let told = Log::default();
    let target = Arc::new(told.clone());
    store
        .watch_weak(Sheet::path().left(), &target, |target, left| target.push(left.new().copied()));
    set(&store, 1, 0);
    assert_eq!((told.take(), store.subscriptions().watchers), (vec![Some(1)], 1));
    drop(target);
    set(&store, 2, 0);
    assert_eq!((told.take(), store.subscriptions().watchers), (vec![], 0));
    for _ in 0..1_000 {
        store.watch_weak(Sheet::path().left(), &Arc::new(()), |(), _| {
            unreachable!("its target is gone")
        });
    }
    set(&store, 3, 0);
    assert_eq!(store.subscriptions().watchers, 0);
}

type OnLook = for<'a> fn(EverythingNode<Look<'a>>) -> String;
type OnView = fn(&Everything) -> String;

/// Selectors of every kind of place, each with the same computation on a view.
const EVERYWHERE: &[(OnLook, OnView)] = &[
    (|state| format!("{:?}", state.value()), |view| format!("{:?}", Some(view))),
    (|state| format!("{:?}", state.title().value()), |view| format!("{:?}", Some(&view.title))),
    (|state| format!("{:?}", state.owner().value()), |view| format!("{:?}", Some(&view.owner))),
    (|state| format!("{:?}", state.owner().some().value()), |view| format!("{:?}", view.owner)),
    (|state| format!("{:?}", state.pair().value()), |view| format!("{:?}", Some(&view.pair))),
    (
        |state| format!("{:?}", state.notes().value().map(|text| text.runs())),
        |view| format!("{:?}", Some(view.notes.runs())),
    ),
    (
        |state| format!("{:?}", state.tags().contains("a")),
        |view| format!("{:?}", view.tags.contains("a")),
    ),
    (|state| format!("{:?}", state.tags().value()), |view| format!("{:?}", Some(&view.tags))),
    (|state| format!("{:?}", state.numbers().value()), |view| format!("{:?}", Some(&view.numbers))),
    (|state| format!("{:?}", state.votes().value()), |view| format!("{:?}", Some(&view.votes))),
    (
        |state| format!("{:?}", state.scores().get(1).value()),
        |view| format!("{:?}", view.scores.get(&1)),
    ),
    (
        |state| format!("{:?}", state.people().contains_key("c/d")),
        |view| format!("{:?}", view.people.contains_key("c/d")),
    ),
    (
        |state| format!("{:?}", state.people().get("a").pets().get("rex").legs().value()),
        |view| {
            format!(
                "{:?}",
                view.people.get("a").and_then(|person| person.pets.get("rex")).map(|pet| pet.legs)
            )
        },
    ),
    (
        |state| format!("{:?}", state.people().get("~@").bio().value()),
        |view| format!("{:?}", view.people.get("~@").map(|person| &person.bio)),
    ),
    (
        |state| {
            format!(
                "{:?}",
                state
                    .cards()
                    .value()
                    .map(|cards| cards.iter_ids().map(|(id, _)| id).collect::<Vec<_>>())
            )
        },
        |view| format!("{:?}", Some(view.cards.iter_ids().map(|(id, _)| id).collect::<Vec<_>>())),
    ),
    (
        |state| {
            let first = state.cards().value().and_then(|cards| cards.id_at(0));
            format!("{:?}", first.map(|id| state.cards().get(id).done().value()))
        },
        |view| format!("{:?}", view.cards.get(0).map(|card| Some(card.done))),
    ),
    (|state| format!("{:?}", state.names().value()), |view| format!("{:?}", Some(&view.names))),
    (|state| format!("{:?}", state.outline().value()), |view| format!("{:?}", Some(&view.outline))),
    (|state| format!("{:?}", state.shape().value()), |view| format!("{:?}", Some(&view.shape))),
    (
        |state| format!("{:?}", state.shape().circle().radius().value()),
        |view| {
            format!(
                "{:?}",
                if let support::Shape::Circle { radius } = &view.shape {
                    Some(radius)
                } else {
                    None
                }
            )
        },
    ),
    (
        |state| format!("{:?}", state.shape().label().field_1().value()),
        |view| {
            format!(
                "{:?}",
                if let support::Shape::Label(_, text) = &view.shape { Some(text) } else { None }
            )
        },
    ),
    (
        |state| format!("{:?}", state.settings().flags().get(1).value()),
        |view| format!("{:?}", view.settings.flags.get(&1)),
    ),
    (
        |state| format!("{:?}", state.maybe().some().theme().value()),
        |view| format!("{:?}", view.maybe.as_ref().map(|settings| &settings.theme)),
    ),
];

/// The ids of cards and nodes are known only once they exist: selectors for each id that ever
/// existed.
#[derive(Default)]
struct Elements {
    cards: Vec<(exostate::ElementId, Selector<Option<bool>>)>,
    nodes: Vec<(exostate::ElementId, Selector<Option<String>>)>,
}

impl Elements {
    fn check<B: Backend>(&mut self, store: &Store<Everything, B>) {
        let view = store.view();
        for (id, card) in &self.cards {
            assert_eq!(
                *card.get(),
                view.cards.iter_ids().find(|(found, _)| found == id).map(|(_, card)| card.done)
            );
        }
        for (id, node) in &self.nodes {
            assert_eq!(*node.get(), view.outline.get(*id).map(|item| item.label.clone()));
        }
        for (id, _) in view.cards.iter_ids() {
            if self.cards.iter().all(|(known, _)| *known != id) {
                self.cards.push((
                    id,
                    store.select(move |state| state.cards().get(id).done().value().copied()),
                ));
            }
        }
        for (_, id, _) in view.outline.walk() {
            if self.nodes.iter().all(|(known, _)| *known != id) {
                self.nodes.push((
                    id,
                    store.select(move |state| state.outline().get(id).label().value().cloned()),
                ));
            }
        }
    }
}

/// After each of several edits, on either of two stores that sometimes merge.
fn equal_to_the_closure_on_a_view<B: Backend>(ops: &[(bool, bool, support::Op)]) {
    let store = support::store::<B>(1);
    let other = support::store::<B>(2);
    let told: Vec<Log<String>> = EVERYWHERE.iter().map(|_| Log::default()).collect();
    let selectors: Vec<Selector<String>> =
        EVERYWHERE.iter().map(|(look, _)| store.select(*look)).collect();
    // Selectors without watchers are only marked as stale. One more selector reads all of them.
    let unwatched: Vec<Selector<String>> =
        EVERYWHERE.iter().map(|(look, _)| store.select(*look)).collect();
    let read = unwatched.clone();
    let all =
        store.select(move |_| read.iter().map(|selector| selector.get().len()).sum::<usize>());
    let note = |(selector, told): (&Selector<String>, &Log<String>)| {
        let told = told.clone();
        selector.watch(move |changed| {
            assert_ne!(changed.old(), changed.new());
            told.push(changed.new().to_string());
        })
    };
    let watches: Vec<Subscription> = selectors.iter().zip(&told).map(note).collect();
    let mut elements = Elements::default();
    let mut before: Vec<String> =
        EVERYWHERE.iter().map(|(_, on_view)| on_view(&store.view())).collect();
    for (step, (elsewhere, meet, op)) in ops.iter().enumerate() {
        support::apply(if *elsewhere { &other } else { &store }, op);
        if *meet {
            other.merge(&store).expect("an honest update");
            store.merge(&other).expect("an honest update");
        }
        let view = store.view();
        let ask_all = step.is_multiple_of(3);
        for (at, (_, on_view)) in EVERYWHERE.iter().enumerate() {
            let expected = on_view(&view);
            assert_eq!(*selectors[at].get(), expected, "selector {at}");
            // A merge comes as one notice, so a watcher is called at most once: only if the value
            // changed, and with the current value.
            let heard = told[at].take();
            assert_eq!(
                heard.last().unwrap_or(&before[at]),
                &expected,
                "selector {at} heard otherwise"
            );
            assert!(heard.len() <= 1 + usize::from(*meet), "selector {at} heard {heard:?}");
            if ask_all {
                assert_eq!(*unwatched[at].get(), expected, "unwatched selector {at}");
            }
            before[at] = expected;
        }
        assert_eq!(*all.get(), before.iter().map(String::len).sum::<usize>());
        elements.check(&store);
    }
    support::check_view(&store);
    drop((watches, selectors, unwatched, all, elements));
    assert_eq!(store.subscriptions(), exostate::Subscriptions::default());
}

fn steps(max: usize) -> impl Strategy<Value = Vec<(bool, bool, support::Op)>> {
    prop::collection::vec(
        (any::<bool>(), prop::bool::weighted(0.3), support::strategy::op()),
        0..max,
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: support::strategy::config().cases / 2,
        ..support::strategy::config()
    })]

    #[test]
    fn a_selector_is_its_closure_on_the_view_on_yrs(ops in steps(40)) {
        equal_to_the_closure_on_a_view::<Yrs>(&ops);
    }

    #[test]
    fn a_selector_is_its_closure_on_the_view_on_automerge(ops in steps(25)) {
        equal_to_the_closure_on_a_view::<Automerge>(&ops);
    }
}

/// Changes of a store, with or without selectors and subscriptions that are created and dropped.
/// Returns how many bytes remain allocated.
fn bytes_after(changes: i64, with: bool) -> i64 {
    let mut kept = None;
    let remaining = allocation_counter::measure(|| {
        let store = Store::<Sheet>::with_options(
            exostate::Options::new().with_replica(exostate::ReplicaId::from_bits(1)),
        );
        let left = left(&store, &Count::default());
        let cell = store.select_by(|sheet, at: &u32| sheet.cells().get(*at).value().copied());
        let watch = left.watch(|_| ());
        for number in 0..changes {
            let subscribed =
                with.then(|| subscribe_and_select(&store, &left, &cell.of(number as u32)));
            store.change(|sheet| sheet.left().set(number % 2)).expect("it can be written");
            drop(subscribed);
        }
        kept = Some((store, left, cell, watch));
    });
    let counts = kept.as_ref().map(|(store, ..)| store.subscriptions()).expect("a store");
    assert_eq!(
        (counts.selectors, counts.selector_watchers, counts.watchers, counts.update_listeners),
        (1, 1, 0, 0)
    );
    remaining.bytes_current
}

/// Creates subscriptions to the selectors that stay and to one that is dropped, and a selector that
/// reads both.
fn subscribe_and_select(
    store: &Store<Sheet>,
    left: &Selector<i64>,
    cell: &Selector<Option<i64>>,
) -> impl Sized + use<> {
    let read = (left.clone(), cell.clone());
    let sum = store.select(move |sheet| {
        sheet.left().value().copied().unwrap_or_default()
            + *read.0.get()
            + read.1.get().unwrap_or_default()
    });
    store.watch_weak(Sheet::path().left(), &Arc::new([0u8; 64]), |_, _| ());
    let watches = (
        sum.watch(|_| ()),
        cell.watch(|_| ()),
        store.watch(Sheet::path().right(), |_| ()),
        store.on_update(|_| ()),
    );
    (watches, left.watch(|_| ()), left.stream(), sum.stream(), store.stream(Sheet::path().cells()))
}

/// As many changes as an unoptimised build makes in several seconds, each with a dozen
/// subscriptions and selectors that are created and dropped. `EXOSTATE_CHANGES` sets another
/// number.
const CHANGES: i64 = 20_000;

#[test]
fn subscriptions_that_come_and_go_leave_no_memory() {
    let changes = std::env::var("EXOSTATE_CHANGES")
        .ok()
        .and_then(|changes| changes.parse().ok())
        .unwrap_or(CHANGES);
    let without = bytes_after(changes, false);
    let with = bytes_after(changes, true);
    println!("{changes} changes: {without} bytes remain without subscriptions, {with} with");
    // The remaining bytes are tables with room for a few entries.
    assert!((with - without).abs() < 16_000, "{without} bytes without subscriptions, {with} with");
}
