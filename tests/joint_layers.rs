//! Layers and histories of several stores as one: each layer is called for its own store's part of
//! the change, and knows that the part belongs to a joint change. A thread that only reads waits
//! for none of this.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use exostate::middleware::{Done, Middleware, Proposal};
use exostate::{Automerge, ChangeError, HistoryOptions, Meta, Revision, State, Store};

#[derive(State, Clone, Debug, PartialEq)]
struct Number {
    value: i64,
}

#[derive(Default)]
struct Trio {
    first: Store<Number>,
    second: Store<Number, Automerge>,
    third: Store<Number>,
}

impl Trio {
    fn set(&self, value: i64, refuse: bool) -> Result<(), ChangeError> {
        self.first.and(&self.second).and(&self.third).change(|((first, second), third)| {
            first.value().set(value)?;
            second.value().set(value)?;
            third.value().set(value)?;
            if refuse { Err(ChangeError::refuse("no")) } else { Ok(()) }
        })
    }
}

/// Counts the calls of a layer: `(before a change, after a success, after an error)`.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<(usize, usize, usize)>>);

impl<S: State> Middleware<S> for Told {
    fn change(&self, _: &mut Proposal<'_, S>) -> Result<(), ChangeError> {
        self.0.lock().expect("the counts").0 += 1;
        Ok(())
    }
    fn done(&self, done: &Done<'_>) {
        let mut counts = self.0.lock().expect("the counts");
        if done.error.is_none() { counts.1 += 1 } else { counts.2 += 1 }
    }
}

/// A layer that panics.
struct Panics;

impl<S: State> Middleware<S> for Panics {
    fn change(&self, _: &mut Proposal<'_, S>) -> Result<(), ChangeError> {
        panic!("a layer panics")
    }
}

#[test]
fn layers_of_every_store_are_told_the_result() {
    let trio = Trio::default();
    let first = Told::default();
    let second = Told::default();
    trio.first.add_middleware(first.clone());
    trio.second.add_middleware(second.clone());
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    let _watch =
        trio.first.watch(Number::path(), move |_| _ = count.fetch_add(1, Ordering::Relaxed));
    let take = || {
        (
            std::mem::take(&mut *first.0.lock().expect("the counts")),
            std::mem::take(&mut *second.0.lock().expect("the counts")),
        )
    };
    trio.set(2, false).expect("it can be written");
    assert_eq!((take(), heard.load(Ordering::Relaxed)), (((1, 1, 0), (1, 1, 0)), 1));
    trio.set(4, true).expect_err("the closure refuses");
    assert_eq!(take(), ((0, 0, 1), (0, 0, 1)));
    // The layer of the last store panics. The other layers were called before it, and no store has
    // changed.
    trio.third.add_middleware(Panics);
    let attempt = std::panic::AssertUnwindSafe(|| trio.set(6, false));
    assert!(std::panic::catch_unwind(attempt).is_err());
    assert_eq!((take(), heard.load(Ordering::Relaxed)), (((1, 0, 1), (1, 0, 1)), 1));
    assert_eq!(
        (trio.first.view().value, trio.first.reread().value, trio.second.reread().value),
        (2, 2, 2)
    );
    let both = trio.first.and(&trio.second);
    both.change(|(first, second)| first.value().set(3).and(second.value().set(3)))
        .expect("it goes on");
}

#[test]
fn histories_share_the_correlation_of_a_joint_change() {
    let trio = Trio::default();
    let first = trio.first.history(HistoryOptions::new());
    let second = trio.second.history(HistoryOptions::new());
    let first = first.expect("a history");
    let second = second.expect("a history");
    trio.set(2, false).expect("it can be written");
    trio.set(4, true).expect_err("it is refused");
    trio.set(3, false).expect("it can be written");
    let ids = |list: Vec<Revision>| -> Vec<_> {
        list.iter().filter_map(|revision| revision.meta().and_then(Meta::correlation)).collect()
    };
    let first = ids(first.revisions());
    let second = ids(second.revisions());
    assert_eq!((first.len(), &first), (2, &second));
    assert_ne!(first[0], first[1]);
}

#[test]
fn reading_a_view_does_not_wait_for_a_change() {
    let trio = Trio::default();
    let joint = trio.first.and(&trio.second);
    let seen = joint.change(|(first, second)| {
        first.value().set(1)?;
        second.value().set(1)?;
        // Another thread reads the stores, one alone and one together with others, while this
        // thread is in both callbacks.
        Ok(std::thread::scope(|scope| {
            let look = || (joint.view().0.value, trio.third.and(&trio.second).view().1.value);
            scope.spawn(look).join().expect("nobody panics")
        }))
    });
    assert_eq!(seen.expect("it can be written"), (0, 0));
}
