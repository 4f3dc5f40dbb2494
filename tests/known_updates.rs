//! Promise: a store can say whether an update contains anything new, with the same result as
//! applying it. Updates longer than the limit for strangers can be cut into shorter ones.

mod support;

use exostate::{Applied, Automerge, Backend, BackendError, Limits, Options, Store, Yrs};
use proptest::prelude::*;
use proptest::test_runner::Config;
use support::one_update::OneUpdate;
use support::{Everything, Op, strategy};

/// Finds out whether an update is new by applying it to a copy.
fn changes<B: Backend>(store: &Store<Everything, B>, update: &[u8]) -> bool {
    let copy = store.fork().expect("a copy");
    let before = (copy.version(), copy.pending());
    let applied = copy.apply(update).expect("an honest update");
    assert_eq!((copy.version(), copy.pending()) == before, applied == Applied::Known);
    applied != Applied::Known
}

fn contains_equals_no_change<B: Backend>(
    ours: &[Op],
    theirs: &[Op],
    more: &[Op],
) -> Result<(), TestCaseError> {
    let left = support::store::<B>(1);
    let right = support::store::<B>(2);
    let empty = support::store::<B>(3).version();
    let mut updates = Vec::new();
    let mut edit = |store: &Store<Everything, B>, ops: &[Op]| {
        for op in ops {
            let before = store.version();
            support::apply(store, op);
            updates.push(store.update_since(&before).expect("a version"));
        }
        // This update contains all deletions, like the update that a Yjs client sends when it
        // reconnects.
        updates.push(store.update_since(&store.version()).expect("a version"));
        updates.push(store.update_since(&empty).expect("a version"));
    };
    edit(&left, ours);
    edit(&right, theirs);
    left.merge(&right).expect("they fit");
    edit(&right, more);
    edit(&left, more);
    for update in &updates {
        for store in [&left, &right] {
            prop_assert_eq!(store.contains(update), Ok(!changes(store, update)));
        }
    }
    right.merge(&left).expect("they fit");
    left.merge(&right).expect("they fit");
    for update in &updates {
        prop_assert_eq!((left.contains(update), right.contains(update)), (Ok(true), Ok(true)));
    }
    Ok(())
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn contains_is_false_for_new_updates_on_yrs(
        ours in strategy::ops(12),
        theirs in strategy::ops(12),
        more in strategy::ops(6),
    ) {
        contains_equals_no_change::<Yrs>(&ours, &theirs, &more)?;
    }

}

proptest! {
    // A copy is slow on automerge.
    #![proptest_config(Config { cases: strategy::config().cases / 8, ..strategy::config() })]

    #[test]
    fn contains_is_false_for_new_updates_on_automerge(
        ours in strategy::ops(4),
        theirs in strategy::ops(4),
        more in strategy::ops(3),
    ) {
        contains_equals_no_change::<Automerge>(&ours, &theirs, &more)?;
    }
}

#[test]
fn contains_is_false_for_pending_and_fails_for_invalid_updates() {
    fn check<B: Backend>() {
        let from = support::store::<B>(1);
        let to = support::store::<B>(2);
        from.change(|state| state.notes().push_str("one")).expect("it can be written");
        let before = from.version();
        from.change(|state| state.notes().push_str("two")).expect("it can be written");
        let second = from.update_since(&before).expect("a version");
        assert_eq!(to.apply(&second), Ok(Applied::Waiting));
        assert_eq!((to.contains(&second), from.contains(&second)), (Ok(false), Ok(true)));
        assert!(matches!(to.contains(b"no update"), Err(BackendError::Guard(_))));
    }
    check::<Yrs>();
    check::<Automerge>();
}

#[test]
fn a_long_update_is_cut_into_pieces_that_strangers_take() {
    fn check<B: Backend>(parts: usize) {
        let limits = Limits::untrusted().with_bytes_max(32 << 10);
        let from = support::store::<B>(1);
        let to: Store<Everything, B> =
            Store::with_options(Options::new().with_limits(limits.clone()));
        let mut rng = fastrand::Rng::with_seed(parts as u64);
        for part in 0..parts {
            let text: String = (0..60_000 / parts)
                .map(|_| ['ä', 'x', '😀', rng.char('a'..='z')][rng.usize(..4)])
                .collect();
            from.change(|state| state.notes().push_str(&format!("{part} {text}")))
                .expect("it can be written");
        }
        from.change(|state| state.notes().delete(0..9)).expect("it can be written");
        // On automerge the update is a row of separate changes, because a saved document cannot be
        // cut.
        let update = if B::NAME == "yrs" {
            from.update_since(&to.version()).expect("a version")
        } else {
            from.updates_since(&to.version()).expect("a version").concat()
        };
        assert!(update.len() > limits.bytes_max(), "{}", update.len());
        assert!(to.apply(&update).is_err());
        let pieces = to.document().cut_update(&update).expect("an update");
        let lengths: Vec<usize> = pieces.iter().map(Vec::len).collect();
        assert!(
            lengths.len() > 1 && lengths.iter().all(|length| *length <= limits.bytes_max()),
            "{lengths:?}"
        );
        to.apply_all(&pieces).expect("they fit");
        assert_eq!((to.version(), to.digest()), (from.version(), from.digest()));
        assert_eq!(to.document().cut_update(b"short"), Ok(vec![b"short".to_vec()]));
        assert!(matches!(
            to.document().cut_update(&vec![7; limits.bytes_max() + 1]),
            Err(BackendError::Guard(_))
        ));
    }
    check::<Yrs>(1);
    check::<Yrs>(40);
    check::<Automerge>(50);
}
