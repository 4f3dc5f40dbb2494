//! Promise: bytes from strangers are refused or applied, and never harm the store.

mod support;

use exostate::{
    ApplyError, Automerge, Backend, ImportError, Limits, Options, Pending, Store, Version, Yrs,
};
use support::Everything;
use support::one_update::OneUpdate;

/// A store with some content.
fn store<B: Backend>() -> Store<Everything, B> {
    let store = support::store::<B>(1);
    store.change(|state| state.title().set("before")).expect("it can be written");
    store
}

fn damaged_updates_are_refused_or_pending<B: Backend>() {
    let other = support::store::<B>(2);
    for kind in 0..support::KINDS {
        support::apply(&other, &support::Op { kind, a: 3, b: 7, text: "text".to_owned() });
    }
    let update = other.update_since(&support::store::<B>(3).version()).expect("an update");
    let whole = store::<B>();
    for end in 0..update.len() {
        let before = (whole.view(), whole.digest());
        // An update of automerge is a row of changes. Cut between two of them it is a shorter
        // valid update.
        if whole.apply(&update[..end]).is_err() || B::NAME == Yrs::NAME {
            assert_eq!((whole.view(), whole.digest()), before, "a truncated update did something");
        }
    }
    let apply_damaged = |at: usize| {
        let damaged = store::<B>();
        let mut bytes = update.clone();
        bytes[at] ^= 0x15;
        let _ = damaged.apply(&bytes);
        support::check_view(&damaged);
        damaged.change(|state| state.count().set(1)).expect("the store is usable");
    };
    // Each byte takes a while. So two threads share the work: one takes the even bytes, the other
    // one the odd bytes.
    let len = update.len();
    std::thread::scope(|scope| {
        for first in [0, 1] {
            scope.spawn(move || (first..len).step_by(2).for_each(apply_damaged));
        }
    });
    whole.apply(&update).expect("the honest update");
    assert_eq!(whole.view().numbers, other.view().numbers);
    support::check_view(&whole);
}

#[test]
fn damaged_updates_are_refused_or_pending_on_yrs() {
    damaged_updates_are_refused_or_pending::<Yrs>();
}

#[test]
fn damaged_updates_are_refused_or_pending_on_automerge() {
    damaged_updates_are_refused_or_pending::<Automerge>();
}

#[test]
fn pending_updates_are_bounded_by_number() {
    fn run<B: Backend>() {
        let limits = Limits::untrusted().with_pending_updates_max(16);
        let store = Store::<Everything, B>::with_options(Options::new().with_limits(limits));
        let other = support::store::<B>(2);
        let updates: Vec<Vec<u8>> = (0..40)
            .map(|count| {
                let before = other.version();
                other.change(|state| state.count().set(count)).expect("it can be written");
                other.update_since(&before).expect("an update")
            })
            .collect();
        let results: Vec<_> = updates.iter().skip(1).map(|update| store.apply(update)).collect();
        assert!(results.iter().take(16).all(Result::is_ok), "what fits waits");
        assert!(results.iter().skip(16).all(|result| matches!(
            result,
            Err(ApplyError::Import(ImportError::TooManyPending { .. }))
        )));
        assert_eq!(store.pending().updates, 16);
        // A duplicate of a pending update takes no room.
        store.apply(&updates[1]).expect("it waits already");
        // The missing update makes all pending updates applicable.
        store.apply(&updates[0]).expect("the missing one");
        assert_eq!((store.pending(), store.view().count), (Pending::default(), 16));
        store.merge(&other).expect("an honest update");
        assert_eq!(store.view().count, 39);
        assert_eq!(store.digest(), other.digest());
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn pending_updates_are_bounded_by_bytes() {
    fn run<B: Backend>() {
        let other = support::store::<B>(2);
        let mut updates = (0..4).map(|number| {
            let before = other.version();
            other
                .change(|state| state.title().set(format!("{number}").repeat(100)))
                .expect("it can be written");
            other.update_since(&before).expect("an update")
        });
        let _missing = updates.next();
        let first = updates.next().expect("four");
        let second = updates.next().expect("four");
        let both = first.len() + second.len();
        for (max, fits) in [(both, true), (both - 1, false)] {
            let limits = Limits::untrusted().with_pending_bytes_max(max);
            let store = Store::<Everything, B>::with_options(Options::new().with_limits(limits));
            store.apply(&first).expect("it waits");
            let result = store.apply(&second);
            if fits {
                assert!(result.is_ok());
                assert_eq!(size(store.pending()), (2, both));
            } else {
                let error = ImportError::TooManyPending { updates: 2, bytes: both };
                assert_eq!(
                    (result, size(store.pending())),
                    (Err(ApplyError::Import(error)), (1, first.len()))
                );
            }
        }
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn a_value_of_the_wrong_type_is_only_a_violation() {
    #[derive(exostate::State, Clone, Debug, PartialEq)]
    struct Wrong {
        title: i64,
        people: exostate::Map<String, WrongPerson>,
    }
    #[derive(exostate::State, Clone, Debug, PartialEq)]
    struct WrongPerson {
        owner: String,
    }
    #[derive(exostate::State, Clone, Debug, PartialEq)]
    struct Right {
        title: String,
        people: exostate::Map<String, RightPerson>,
    }
    #[derive(exostate::State, Clone, Debug, PartialEq)]
    struct RightPerson {
        owner: Option<exostate::Uuid>,
    }
    fn run<B: Backend>() {
        let wrong = Store::<Wrong, B>::new();
        wrong
            .change(|state| {
                state.title().set(7)?;
                state.people().insert("3f", WrongPerson { owner: "x".to_owned() })
            })
            .expect("it can be written");
        let right = Store::<Right, B>::open(&wrong.save()).expect("it opens");
        let found: Vec<String> = right.violations().iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["people/3f/owner: expected a uuid, found \"x\"", "title: expected a string, found 7"]
        );
        assert_eq!(
            (right.view().title.as_str(), right.view().people.get("3f")),
            ("", Some(&RightPerson { owner: None }))
        );
        // Nothing was lost, and writing the field repairs it.
        assert_eq!(right.digest(), wrong.digest());
        right.change(|state| state.title().set("fits")).expect("it can be written");
        assert_eq!(right.violations().len(), 1);
        wrong
            .apply_all(&right.updates_since(&wrong.version()).expect("an update"))
            .expect("an honest update");
        assert_eq!(
            wrong.violations()[0].to_string(),
            "title: expected an integer of 64 bits, found \"fits\""
        );
    }
    run::<Yrs>();
    run::<Automerge>();
}

fn size(pending: Pending) -> (usize, usize) {
    (pending.updates, pending.bytes)
}

/// The limits for trusted bytes hold for a new document, and after a repair has replaced it.
#[test]
fn trusted_limits_hold_for_every_document() {
    fn run<B: Backend>() {
        let other = Store::<Everything, B>::new();
        other.change(|state| state.notes().push_str("short")).expect("it can be written");
        let nothing = Version::empty();
        let small = other.update_since(&nothing).expect("an update");
        // Text that does not compress.
        let letter = |at: u32| char::from(b'a' + (at.wrapping_mul(0x9e37_79b9) >> 24) as u8 % 26);
        let random: String = (0..4_000).map(letter).collect();
        other.change(|state| state.notes().push_str(&random)).expect("it can be written");
        let large = other.update_since(&nothing).expect("an update");
        let limits = Limits::trusted().with_bytes_max(small.len().max(400));
        let options = Options::new().with_trusted_limits(limits);
        let store = Store::<Everything, B>::with_options(options);
        let is_refused = |update: &[u8]| store.apply_trusted(update).is_err();
        assert!(large.len() > 400 && !is_refused(&small) && is_refused(&large));
        store.document().repair().finish().expect("it can be repaired");
        assert!(is_refused(&large));
    }
    run::<Yrs>();
    run::<Automerge>();
}

/// The trusted limits are for bytes from storage. A document that has outgrown them works on.
#[test]
fn a_document_larger_than_the_trusted_limits_works_on() {
    fn run<B: Backend>() {
        let limits = Limits::trusted().with_bytes_max(200).with_ops_max(10);
        let options = Options::new().with_trusted_limits(limits);
        let store = Store::<Everything, B>::with_options(options);
        for part in 0..20 {
            store
                .change(|state| state.notes().push_str(&format!("part {part} of a long text, ")))
                .expect("it can be written");
        }
        let before = (store.view(), store.digest());
        assert_eq!(store.document().verify(), Ok(Vec::new()));
        assert_eq!(store.fork().expect("the same content").view(), before.0);
        // The other document has a part of the content. The rest is put back.
        let mut repair = store.document().repair();
        let other = Store::<Everything, B>::new();
        other.change(|state| state.title().set("theirs")).expect("it can be written");
        repair.apply(&other.update_since(&Version::empty()).expect("an update")).expect("it fits");
        repair.finish().expect("it can be repaired");
        assert_eq!(store.view().notes, before.0.notes);
        assert_eq!(store.view().title, "theirs");
    }
    run::<Yrs>();
    run::<Automerge>();
}
