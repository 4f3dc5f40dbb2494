//! Promise: a change is applied completely or not at all, however it ends.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use exostate::{Automerge, Backend, ChangeError, Yrs};
use proptest::prelude::*;
use support::strategy;

fn run<B: Backend>(kept: &[support::Op], lost: &[support::Op], panics: bool) {
    let store = support::store::<B>(1);
    kept.iter().for_each(|op| support::apply(&store, op));
    let view = store.view();
    let version = store.version();
    let digest = store.digest();
    let bytes = store.save();
    let attempt = || {
        store.change(|state| {
            lost.iter().try_for_each(|op| support::edit(&state, op))?;
            assert!(!panics, "the closure panics");
            Err::<(), _>(ChangeError::refuse("no"))
        })
    };
    match catch_unwind(AssertUnwindSafe(attempt)) {
        Ok(result) => assert!(matches!(result, Err(ChangeError::Refused(_)))),
        Err(_) => assert!(panics),
    }
    assert_eq!((store.version(), store.digest()), (version, digest));
    assert_eq!(store.view(), view);
    assert_eq!(store.save(), bytes);
    lost.iter().for_each(|op| support::apply(&store, op));
    support::check_view(&store);
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn on_yrs(kept in strategy::ops(10), lost in strategy::ops(10)) {
        run::<Yrs>(&kept, &lost, false);
    }

    #[test]
    fn on_automerge(kept in strategy::ops(10), lost in strategy::ops(10)) {
        run::<Automerge>(&kept, &lost, false);
    }
}

#[test]
fn a_panic_rolls_back() {
    let op = |kind, a| support::Op { kind, a, b: 1, text: "x".to_owned() };
    let kept = [op(0, 0), op(9, 0)];
    let lost = [op(22, 0), op(27, 0), op(32, 0), op(12, 0)];
    run::<Yrs>(&kept, &lost, true);
    run::<Automerge>(&kept, &lost, true);
}

#[test]
fn a_nested_change_is_an_error_and_no_deadlock() {
    let store = support::store::<Yrs>(1);
    let result = store.change(|state| {
        assert!(matches!(store.change(|_| Ok(())), Err(ChangeError::Nested)));
        assert!(matches!(store.apply(&[0, 0]), Err(exostate::ApplyError::Nested)));
        // Reading works inside a change, and sees the state before it.
        state.title().set("new")?;
        assert_eq!(store.view().title, "");
        let _ = (store.version(), store.digest(), store.save(), store.violations());
        Ok(())
    });
    assert!(result.is_ok());
    assert_eq!(store.view().title, "new");
}
