//! Promise 5: the same sequence of changes by one replica gives equal views on yrs and on
//! automerge.

mod support;

use exostate::{Automerge, Yrs};
use proptest::prelude::*;
use support::strategy;

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn one_replicas_changes_give_equal_views(ops in strategy::ops(40)) {
        let yrs = support::store::<Yrs>(1);
        let automerge = support::store::<Automerge>(1);
        for op in &ops {
            support::apply(&yrs, op);
            support::apply(&automerge, op);
            prop_assert_eq!(&*yrs.view(), &*automerge.view());
            prop_assert_eq!(yrs.view().notes.runs(), automerge.view().notes.runs());
            prop_assert_eq!(yrs.digest(), automerge.digest(), "the canonical content differs");
        }
    }
}
