//! Promise: all changes that a replica lacks can reach it within the limits for strangers, whatever
//! their size.

mod support;

use std::sync::{Arc, Mutex};
use support::one_update::OneUpdate;

use exostate::{
    Applied, Automerge, Backend, Limits, List, MovableList, Options, State, Store, Text, Yrs,
};
use support::Everything;

/// More than one change of automerge may hold, and more than strangers may send at once.
const MANY: usize = 160_000;

/// Applies updates one after the other, with the limits for strangers.
fn apply_all<S: State, B: Backend>(store: &Store<S, B>, updates: &[Vec<u8>]) {
    for update in updates {
        assert!(update.len() <= Limits::untrusted().bytes_max());
        assert_eq!(store.apply(update), Ok(Applied::Changed), "each stands on those before it");
    }
}

fn equal<S: State + PartialEq, B: Backend>(a: &Store<S, B>, b: &Store<S, B>) {
    assert!(a.view() == b.view(), "the views differ");
    assert_eq!((a.digest(), a.version()), (b.digest(), b.version()));
}

/// Collects all local updates.
fn kept<S: State, B: Backend>(store: &Store<S, B>) -> Arc<Mutex<Vec<Vec<u8>>>> {
    let updates = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&updates);
    store
        .on_update(move |update| sink.lock().expect("no panic").push(update.bytes.to_vec()))
        .forever();
    updates
}

#[derive(State, Clone, Debug, PartialEq)]
struct Large {
    text: Text,
    numbers: List<i64>,
    lines: MovableList<String>,
}

fn one_large_change<B: Backend>() {
    let store = Store::<Large, B>::new();
    let updates = kept(&store);
    let long = "x".repeat(1_000);
    let change = store.change(|state| {
        state.text().push_str(&"ä😀-".repeat(MANY / 3))?;
        state.numbers().reconcile(&(0..MANY as i64).collect::<List<i64>>())?;
        (0..6_000).try_for_each(|_| state.lines().push(long.clone()).map(drop))
    });
    change.expect("it can be written");
    let live = Store::<Large, B>::new();
    apply_all(&live, &updates.lock().expect("no panic"));
    equal(&store, &live);
    let late = Store::<Large, B>::new();
    apply_all(&late, &store.updates_since(&late.version()).expect("its own backend"));
    equal(&store, &late);
    updates.lock().expect("no panic").clear();
    store.reconcile(&Store::<Large, B>::new().view()).expect("it can be emptied");
    apply_all(&live, &updates.lock().expect("no panic"));
    apply_all(&late, &store.updates_since(&late.version()).expect("its own backend"));
    assert!(live.view().text.is_empty());
    equal(&store, &live);
    equal(&store, &late);
}

#[test]
fn a_change_of_any_size_reaches_strangers_on_yrs() {
    one_large_change::<Yrs>();
}

#[test]
fn a_change_of_any_size_reaches_strangers_on_automerge() {
    one_large_change::<Automerge>();
}

fn update_has_only_missing_changes<B: Backend>() {
    let here = support::store::<B>(1);
    let there = support::store::<B>(2);
    for number in 0..200 {
        here.change(|state| state.notes().push_str(&format!("{number} and more ")))
            .expect("it can be written");
    }
    there.merge(&here).expect("an update");
    there.change(|state| state.title().set("made there")).expect("it can be written");
    here.change(|state| state.count().set(7)).expect("it can be written");
    let whole = here.save().len();
    let missing = here.update_since(&there.version()).expect("its own backend");
    assert!(
        missing.len() < 200 && missing.len() < whole,
        "{} of {whole} bytes for one change",
        missing.len()
    );
    there.apply(&missing).expect("an update");
    here.apply_all(&there.updates_since(&here.version()).expect("its own backend"))
        .expect("an update");
    equal(&here, &there);
}

#[test]
fn a_replica_with_own_changes_receives_only_missing_changes() {
    update_has_only_missing_changes::<Yrs>();
    update_has_only_missing_changes::<Automerge>();
}

/// A relay passes on the same bytes that it received, so that the sender recognises them.
fn relayed<B: Backend>() {
    let from = support::store::<B>(1);
    let relay = support::store::<B>(2);
    (0..100).for_each(|number| {
        from.change(|state| state.count().set(number)).expect("it can be written")
    });
    let passed = kept(&relay);
    let updates = from.updates_since(&relay.version()).expect("its own backend");
    apply_all(&relay, &updates);
    assert!(*passed.lock().expect("no panic") == updates);
}

#[test]
fn relayed_updates_have_the_received_bytes() {
    relayed::<Yrs>();
    relayed::<Automerge>();
}

#[test]
fn a_forged_version_does_no_harm() {
    let store = support::store::<Automerge>(1);
    (0..5).for_each(|number| {
        store.change(|state| state.count().set(number)).expect("it can be written")
    });
    let mut bytes = store.version().to_bytes();
    // The first byte of the first head. Further below: the number of the last actor's last change.
    bytes[5] ^= 1;
    let unknown = exostate::Version::from_bytes(&bytes).expect("a version");
    assert!(
        store.update_since(&unknown).expect("its own backend").is_empty(),
        "it has all by its numbers"
    );
    let last = bytes.len() - 8;
    bytes[last..].copy_from_slice(&u64::MAX.to_le_bytes());
    let lie = exostate::Version::from_bytes(&bytes).expect("a version");
    assert!(store.updates_since(&lie).is_ok());
    let fresh = Store::<Everything, Automerge>::with_options(Options::new());
    apply_all(&fresh, &store.updates_since(&fresh.version()).expect("its own backend"));
    equal(&store, &fresh);
}
