//! Promise: replicas that have the same updates have equal views, digests and versions. The order
//! of the updates and repetitions do not matter.

mod support;

use exostate::{Automerge, Backend, Pending, Yrs};
use proptest::prelude::*;
use support::one_update::OneUpdate;
use support::strategy;

fn run<B: Backend>(edits: &[(usize, support::Op)], order: &[u16]) {
    let stores = [1, 2, 3].map(support::store::<B>);
    let updates: Vec<Vec<u8>> = edits
        .iter()
        .map(|(at, op)| {
            let store = &stores[at % 3];
            let before = store.version();
            support::apply(store, op);
            store.update_since(&before).expect("its own version")
        })
        .collect();
    // A fourth replica gets all updates in an arbitrary order, some of them twice, then all of
    // them.
    let late = support::store::<B>(4);
    for choice in order.iter().filter(|_| !updates.is_empty()) {
        late.apply(&updates[usize::from(*choice) % updates.len()]).expect("an honest update");
    }
    for update in &updates {
        late.apply(update).expect("an honest update");
    }
    assert_eq!(late.pending(), Pending::default(), "something still waits");
    // A fifth gets all of them at once.
    let whole = support::store::<B>(5);
    whole.apply_all(&updates).expect("honest updates");
    assert_eq!(
        (whole.view(), whole.digest(), whole.version()),
        (late.view(), late.digest(), late.version())
    );
    support::check_view(&whole);
    for store in &stores {
        for other in &stores {
            store.merge(other).expect("an honest update");
        }
    }
    for store in &stores {
        for other in &stores {
            store.merge(other).expect("an honest update");
        }
        store.merge(&late).expect("an honest update");
    }
    for store in &stores {
        assert_eq!(*store.view(), *late.view());
        assert_eq!(store.digest(), late.digest());
        assert_eq!(store.version(), late.version());
        support::check_view(store);
    }
    // Opened again, the document is the same.
    let opened =
        exostate::Store::<support::Everything, B>::open(&late.save()).expect("what was saved");
    assert_eq!(*opened.view(), *late.view());
    assert_eq!(opened.digest(), late.digest());
    assert_eq!(opened.version(), late.version());
    assert_ne!(opened.replica(), late.replica());
}

fn case() -> impl Strategy<Value = (Vec<(usize, support::Op)>, Vec<u16>)> {
    (
        prop::collection::vec((0..3usize, strategy::op()), 0..24),
        prop::collection::vec(any::<u16>(), 0..30),
    )
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn on_yrs((edits, order) in case()) {
        run::<Yrs>(&edits, &order);
    }

    #[test]
    fn on_automerge((edits, order) in case()) {
        run::<Automerge>(&edits, &order);
    }
}
