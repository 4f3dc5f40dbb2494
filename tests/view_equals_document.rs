//! Promise: after every commit and every import, the view equals a fresh read of the document.

mod support;

use exostate::{Automerge, Backend, Yrs};
use proptest::prelude::*;
use support::strategy;

/// Three replicas edit and sometimes merge.
fn run<B: Backend>(steps: &[(usize, support::Op, Option<usize>)]) {
    let stores = [1, 2, 3].map(support::store::<B>);
    for (at, op, hears) in steps {
        let store = &stores[at % 3];
        let other = hears.map(|other| &stores[other % 3]);
        support::apply(store, op);
        support::check_view(store);
        if let Some(other) = other {
            store.merge(other).expect("an honest update is applied");
            support::check_view(store);
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<(usize, support::Op, Option<usize>)>> {
    prop::collection::vec(
        (0..3usize, strategy::op(), prop::option::weighted(0.3, 0..3usize)),
        0..24,
    )
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn on_yrs(steps in steps()) {
        run::<Yrs>(&steps);
    }

    #[test]
    fn on_automerge(steps in steps()) {
        run::<Automerge>(&steps);
    }
}
