//! Promise: a panic in a backend poisons nothing. The document is rebuilt from the last good state,
//! and the store can still be used.
//!
//! The guard sees the update, but not the document that the update is applied to. So it lets these
//! two updates through:
//!
//! * A mark beside the value of a key. yrs would panic on it, so the update is refused before it is
//!   applied.
//! * A change that names an unknown actor. automerge panics on it.

#[path = "support/bytes.rs"]
mod bytes;
mod support;

use bytes::{behind, chunk, chunks, hash, prefixed, update};
use exostate::{ApplyError, Automerge, Backend, BackendError, ImportError, Store, Yrs};
use support::Everything;
use support::one_update::OneUpdate;

trait Crasher: Backend {
    /// An update that makes the backend panic, built on the first change of replica 2.
    fn crasher(first: &[u8]) -> Vec<u8>;
}

impl Crasher for Yrs {
    fn crasher(_: &[u8]) -> Vec<u8> {
        let mark = [prefixed(b"bold"), prefixed(b"true")].concat();
        update(&[(40, 0, vec![behind(6, (2, 0), &mark)])], &[])
    }
}

impl Crasher for Automerge {
    fn crasher(first: &[u8]) -> Vec<u8> {
        let (kind, mut contents) = chunks(first).pop().expect("one change");
        // The dependency becomes the first change itself, the replica id becomes a different one,
        // and the other actor becomes an unknown one.
        let hash = hash(kind, &contents);
        contents[1..33].copy_from_slice(&hash);
        let replica =
            contents.windows(8).position(|part| part == 2u64.to_be_bytes()).expect("the replica");
        contents[replica + 7] = 40;
        // After the replica id come its sequence number and the counter of the first op. The
        // counter must be higher than those of the first change: its edit, the name of the state
        // type and the version of the layout.
        contents[replica + 9] += 3;
        let actor = contents
            .windows(8)
            .position(|part| part == b"exostate")
            .expect("the actor of the first change");
        contents[actor + 7] = b'f';
        chunk(kind, &contents)
    }
}

fn first_change<B: Backend>(other: &Store<Everything, B>) -> Vec<u8> {
    let before = support::store::<B>(9).version();
    other.change(|state| state.title().set("from the other")).expect("it can be written");
    other.update_since(&before).expect("an update")
}

fn failed(result: Result<exostate::Applied, ApplyError>) -> bool {
    use BackendError::{Contradicted, Panicked};
    matches!(result, Err(ApplyError::Import(ImportError::Backend(Panicked(_) | Contradicted(_)))))
}

#[test]
fn after_a_panic_the_store_is_as_it_was_and_goes_on() {
    fn run<B: Crasher>() {
        let store = support::store::<B>(1);
        let other = support::store::<B>(2);
        let first = first_change(&other);
        for kind in 0..support::KINDS {
            support::apply(&store, &support::Op { kind, a: 3, b: 7, text: "text".to_owned() });
        }
        store.apply(&first).expect("an honest update");
        let before = (store.view(), store.digest(), store.version());
        for _ in 0..3 {
            let result = store.apply(&B::crasher(&first));
            assert!(failed(result.clone()), "{result:?}");
            assert!((store.view(), store.digest(), store.version()) == before);
        }
        for kind in 0..support::KINDS {
            support::apply(&store, &support::Op { kind, a: 4, b: 8, text: "more".to_owned() });
            support::check_view(&store);
        }
        other.merge(&store).expect("an honest update");
        assert_eq!(other.digest(), store.digest());
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn a_failing_pending_update_does_not_lose_its_dependency() {
    fn run<B: Crasher>() {
        let store = support::store::<B>(1);
        let other = support::store::<B>(2);
        let first = first_change(&other);
        store.apply(&B::crasher(&first)).expect("it waits for the first change");
        assert_eq!(store.pending().updates, 1);
        store.apply(&first).expect("an honest update");
        assert_eq!((store.view().title.as_str(), store.pending().updates), ("from the other", 0));
        support::check_view(&store);
    }
    run::<Yrs>();
    run::<Automerge>();
}
