//! Promises of a store to the code that holds it.

#![allow(clippy::disallowed_methods, reason = "a store is used from many threads")]

mod support;

use std::sync::mpsc;
use std::thread;
use support::one_update::OneUpdate;

use exostate::{
    Applied, ApplyError, Automerge, Backend, ChangeError, LocalUpdates, Options, ReplicaId, State,
    Store, Yrs,
};
use support::Everything;

/// A test on both backends.
macro_rules! on_both_backends {
    ($($name:ident)*) => {
        mod yrs {
            $(#[test] fn $name() { super::$name::<super::Yrs>(); })*
        }
        mod automerge {
            $(#[test] fn $name() { super::$name::<super::Automerge>(); })*
        }
    };
}

on_both_backends! {
    a_store_can_be_sent_and_shared_between_threads
    a_replica_id_is_never_used_again
    earlier_ids_are_known_where_the_caller_says_so
    the_view_is_read_inside_a_change_and_an_import_waits_for_its_end
    an_update_since_a_version_is_all_that_lacks
    local_updates_are_those_made_here
    errors_name_the_place
    a_digest_covers_unknown_fields
    merging_own_stores_uses_the_trusted_limits
}

fn a_store_can_be_sent_and_shared_between_threads<B: Backend>() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    fn sent<T: Send>() {}
    sent::<LocalUpdates>();
    let store = support::store::<B>(1);
    shared(&store);
    let threads = (0..4).map(|_| {
        let store = store.clone();
        thread::spawn(move || (0..25).try_for_each(|_| store.change(|state| state.votes().add(1))))
    });
    let threads: Vec<_> = threads.collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("no panic").expect("it can be written"));
    assert_eq!(store.view().votes, 100);
}

fn a_replica_id_is_never_used_again<B: Backend>() {
    let store = Store::<Everything, B>::new();
    store.change(|state| state.count().set(1)).expect("it can be written");
    let opened = Store::<Everything, B>::open(&store.save());
    let again = Store::<Everything, B>::open(&store.save());
    let opened = opened.expect("it opens");
    let again = again.expect("it opens");
    let fork = store.fork().expect("a fork");
    let mut ids = [
        store.replica(),
        opened.replica(),
        again.replica(),
        fork.replica(),
        Store::<Everything, B>::new().replica(),
    ];
    ids.sort();
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
    // Clones of a store are one replica.
    assert_eq!(store.clone().replica(), store.replica());
}

fn earlier_ids_are_known_where_the_caller_says_so<B: Backend>() {
    let store = Store::<Everything, B>::new();
    let options = Options::new().with_earlier([store.replica(), ReplicaId::from_bits(7)]);
    let opened = Store::<Everything, B>::open_with(&store.save(), options).expect("it opens");
    let own = [opened.replica(), store.replica(), ReplicaId::from_bits(7)];
    assert!(own.into_iter().all(|id| opened.is_own(id)));
    assert!(!opened.is_own(ReplicaId::from_bits(8)));
    assert!(
        opened.fork().expect("a fork").is_own(opened.replica()),
        "a fork has its parent's id for an earlier one"
    );
    assert!(
        !Store::<Everything, B>::open(&store.save()).expect("it opens").is_own(store.replica())
    );
}

fn the_view_is_read_inside_a_change_and_an_import_waits_for_its_end<B: Backend>() {
    let store = support::store::<B>(1);
    let other = support::store::<B>(2);
    other.change(|state| state.title().set("theirs")).expect("it can be written");
    let update = other.save();
    let (started, has_started) = mpsc::channel();
    let importer = {
        let store = store.clone();
        thread::spawn(move || {
            has_started.recv().expect("the change runs");
            store.apply(&update)
        })
    };
    let change = store.change(|state| {
        started.send(()).expect("the importer lives");
        state.count().set(5)?;
        assert_eq!(store.view().count, 0, "the view shows what is committed");
        assert_eq!(state.count().get()?, 5, "the accessor shows what is staged");
        assert!(matches!(store.apply(&[]), Err(ApplyError::Nested)));
        thread::yield_now();
        assert_eq!(store.view().title, "", "the import waits");
        Ok(())
    });
    change.expect("it can be written");
    assert_eq!(importer.join().expect("no panic").expect("an honest update"), Applied::Changed);
    assert_eq!((store.view().count, store.view().title.as_str()), (5, "theirs"));
}

fn an_update_since_a_version_is_all_that_lacks<B: Backend>() {
    let ours = support::store::<B>(1);
    let theirs = support::store::<B>(2);
    for kind in 0..support::KINDS {
        support::apply(&ours, &support::Op { kind, a: 3, b: 7, text: "text".to_owned() });
        let update = ours.update_since(&theirs.version()).expect("an update");
        theirs.apply(&update).expect("an honest update");
        assert_eq!(theirs.version(), ours.version());
        assert_eq!(theirs.digest(), ours.digest());
        assert_eq!(theirs.apply(&update), Ok(Applied::Known));
    }
    // A change that only deletes gives a new version too.
    let before = ours.version();
    ours.change(|state| state.notes().delete(0..1)).expect("there is something");
    assert_ne!(ours.version(), before);
    assert_eq!(theirs.merge(&ours).expect("an honest update"), Applied::Changed);
    assert_eq!(theirs.view(), ours.view());
}

fn local_updates_are_those_made_here<B: Backend>() {
    let ours = support::store::<B>(1);
    let theirs = support::store::<B>(2);
    theirs.change(|state| state.flag().set(true)).expect("it can be written");
    let updates = ours.local_updates();
    ours.change(|state| state.count().set(1)).expect("it can be written");
    ours.merge(&theirs).expect("an honest update");
    // Neither of these calls changes anything.
    ours.change(|state| state.count().set(1)).expect("nothing to write");
    ours.change(|state| state.count().set(9).and(Err::<(), _>(ChangeError::refuse("no"))))
        .expect_err("it was refused");
    ours.change(|state| state.count().set(2)).expect("it can be written");
    let taken: Vec<_> = std::iter::from_fn(|| updates.try_next()).collect();
    assert_eq!(taken.len(), 2);
    taken.iter().for_each(|update| assert_eq!(theirs.apply(update), Ok(Applied::Changed)));
    assert_eq!(theirs.view(), ours.view());
}

fn errors_name_the_place<B: Backend>() {
    let store = support::store::<B>(1);
    let error =
        |change: fn(<Everything as State>::Node<exostate::Edit<'_>>) -> Result<(), ChangeError>| {
            store.change(change).expect_err("it cannot be made").to_string()
        };
    assert_eq!(
        error(|state| state.notes().insert(3, "x")),
        "notes: 3..3 is not within the length 0"
    );
    assert_eq!(
        error(|state| state.numbers().remove(0)),
        "numbers: 0..1 is not within the length 0"
    );
    assert_eq!(
        error(|state| state.people().get("a/b").age().set(1u32)),
        "people/a~1b/age: there is nothing here"
    );
    assert_eq!(error(|_| Err(ChangeError::refuse("not today"))), "refused: not today");
    // Other replicas would always refuse these.
    let long = error(|state| {
        state.scores().insert(1, 1).and(state.tags().insert("x".repeat(5_000)).map(drop))
    });
    assert!(
        long.ends_with("a path of 5005 bytes is more than the 4096 that others take"),
        "{long}"
    );
    let large = error(|state| state.title().set("x".repeat(5 << 20)));
    assert_eq!(large, "title: a value of 5242880 bytes is more than the 4186112 that others take");
    assert_eq!(store.version(), support::store::<B>(1).version());
}

fn a_digest_covers_unknown_fields<B: Backend>() {
    #[derive(State, Clone, Debug, PartialEq)]
    struct Older {
        title: String,
    }
    let store = support::store::<B>(1);
    store.change(|state| state.title().set("a")).expect("it can be written");
    let older = Store::<Older, B>::open(&store.save()).expect("it opens");
    assert_eq!(older.digest(), store.digest());
    store.change(|state| state.notes().push_str("more")).expect("it can be written");
    assert_ne!(older.digest(), store.digest());
    older
        .apply_all(&store.updates_since(&older.version()).expect("an update"))
        .expect("an honest update");
    assert_eq!(older.digest(), store.digest());
    assert_eq!(older.view().title, "a");
}

fn merging_own_stores_uses_the_trusted_limits<B: Backend>() {
    let tight = Options::new().with_limits(exostate::Limits::untrusted().with_bytes_max(1_000));
    let store = Store::<Everything, B>::with_options(tight);
    let large = support::store::<B>(2);
    (0..20).for_each(|_| {
        large.change(|state| state.notes().push_str(&"x".repeat(100))).expect("it can be written")
    });
    let update = large.update_since(&store.version()).expect("an update");
    assert!(matches!(store.apply(&update), Err(ApplyError::Import(_))));
    assert_eq!(store.merge(&large).expect("it may be large"), Applied::Changed);
    assert_eq!(store.view(), large.view());
}

#[test]
fn an_error_says_each_cause_once() {
    let store = support::store::<Yrs>(1);
    let guard = store.apply(&[0xff]).expect_err("no update");
    let open = Store::<Everything>::open(&[0xff]).expect_err("no document");
    let refused =
        store.change(|_| Err::<(), _>(ChangeError::refuse("not today"))).expect_err("refused");
    for error in [exostate::Error::from(guard), open.into(), refused.into()] {
        let all: Vec<String> =
            std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
                .map(ToString::to_string)
                .collect();
        let repeats = all.windows(2).any(|pair| pair[0].contains(&pair[1]));
        assert!(!repeats, "{all:?}");
        assert!(all[0].len() > 10, "what is printed says what is wrong: {all:?}");
    }
}
