//! Promise: a document that is applied in parts ends equal to one that is applied whole, whatever
//! happens to the store meanwhile. The parts become visible only together, unless the store is used
//! in between.

mod support;

use std::sync::{Arc, Mutex};
use support::one_update::OneUpdate;

use exostate::{Automerge, Backend, State, Store, Yrs};
use proptest::prelude::*;
use support::strategy::{config, op};
use support::{Everything, Op};

/// What happens between two parts.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    Change,
    Digest,
    Whole,
    Show,
    Garbage,
}

fn between() -> impl Strategy<Value = Between> {
    use Between::{Change, Digest, Garbage, Nothing, Show, Whole};
    prop_oneof![
        6 => Just(Nothing),
        1 => Just(Change),
        1 => Just(Digest),
        1 => Just(Whole),
        1 => Just(Show),
        1 => Just(Garbage),
    ]
}

/// The updates of a store after these edits, one for each edit that changed anything.
fn updates<B: Backend>(ops: &[Op]) -> (Store<Everything, B>, Vec<Vec<u8>>) {
    let store = support::store::<B>(1);
    let made = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&made);
    let _listener =
        store.on_update(move |update| sink.lock().expect("no panic").push(update.bytes.to_vec()));
    ops.iter().for_each(|op| support::apply(&store, op));
    let made = made.lock().expect("no panic").clone();
    (store, made)
}

fn in_parts<B: Backend>(ops: &[Op], meanwhile: &[Between]) {
    let (from, updates) = updates::<B>(ops);
    let store = support::store::<B>(2);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&heard);
    let _listener =
        store.on_update(move |update| sink.lock().expect("no panic").push(update.bytes.to_vec()));
    let plain = support::store::<B>(2);
    for (update, between) in
        updates.iter().zip(meanwhile.iter().chain(std::iter::repeat(&Between::Nothing)))
    {
        match between {
            Between::Nothing => {}
            Between::Change => [&store, &plain]
                .iter()
                .for_each(|store| store.change(|state| state.votes().add(1)).expect("written")),
            Between::Digest => assert_eq!(store.digest(), plain.digest()),
            Between::Whole => {
                store.apply(update).expect("an honest update");
                plain.apply(update).expect("an honest update");
            }
            Between::Show => store.document().show_parts(),
            Between::Garbage => {
                assert!(store.document().apply_part(&[&update[..update.len() / 2]]).is_err())
            }
        }
        if !matches!(between, Between::Nothing | Between::Garbage) {
            assert_eq!(store.view(), plain.view(), "all is shown after {between:?}");
        }
        store.document().apply_part(&[update]).expect("an honest update");
        plain.apply(update).expect("an honest update");
        assert_eq!(store.version(), plain.version());
    }
    store.document().show_parts();
    assert_eq!(
        (store.view(), store.digest(), store.violations()),
        (plain.view(), plain.digest(), plain.violations())
    );
    support::check_view(&store);
    // A listener has received every part as it arrived.
    let relayed = support::store::<B>(3);
    for update in heard.lock().expect("no panic").iter() {
        relayed.apply(update).expect("an honest update");
    }
    assert_eq!(relayed.digest(), store.digest());
    from.merge(&store).expect("an honest update");
    assert_eq!(from.digest(), store.digest());
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn parts_make_the_whole_on_yrs(
        ops in prop::collection::vec(op(), 1..40),
        meanwhile in prop::collection::vec(between(), 0..40),
    ) {
        in_parts::<Yrs>(&ops, &meanwhile);
    }

    #[test]
    fn parts_make_the_whole_on_automerge(
        ops in prop::collection::vec(op(), 1..15),
        meanwhile in prop::collection::vec(between(), 0..15),
    ) {
        in_parts::<Automerge>(&ops, &meanwhile);
    }
}

#[test]
fn watchers_are_called_once_for_all_parts() {
    let from = support::store::<Yrs>(1);
    let parts: Vec<_> = (1..=9)
        .map(|number| {
            let before = from.version();
            from.change(|state| state.count().set(number)).expect("it can be written");
            from.update_since(&before).expect("its own version")
        })
        .collect();
    let store = support::store::<Yrs>(2);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&heard);
    let _watch = store.watch(Everything::path().count(), move |count| {
        sink.lock().expect("no panic").push(count.new().copied())
    });
    for part in &parts {
        store.document().apply_part(&[part]).expect("an honest update");
        assert_eq!(store.view().count, 0);
    }
    // A change sees all applied parts.
    let seen = store
        .change(|state| state.title().set("x").and_then(|()| state.count().get()))
        .expect("it can be written");
    assert_eq!(seen, 9);
    assert_eq!(*heard.lock().expect("no panic"), [Some(9)]);
}

#[test]
fn watchers_are_called_for_parts_shown_by_an_empty_change() {
    let from = support::store::<Yrs>(1);
    from.change(|state| state.count().set(7)).expect("it can be written");
    let store = support::store::<Yrs>(2);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&heard);
    let _watch = store.watch(Everything::path().count(), move |count| {
        sink.lock().expect("no panic").push(count.new().copied())
    });
    store.document().apply_part(&[from.save()]).expect("an honest update");
    // It changes nothing.
    store.change(|_| Ok(())).expect("nothing to refuse");
    assert_eq!(*heard.lock().expect("no panic"), [Some(7)]);
}
