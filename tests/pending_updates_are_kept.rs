//! Promise: pending updates from a replica's own storage are never forgotten. So changes that one
//! replica received from another survive crashes of both, in which each replica loses its own
//! latest changes and keeps the changes of others.

mod support;

use exostate::{
    Applied, ApplyError, Automerge, Backend, ImportError, Limits, Options, Origin, Pending,
    ReplicaId, Set, State, Store, Subscription, Text, Yrs,
};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use support::one_update::OneUpdate;

#[derive(State, Clone, Debug, PartialEq)]
struct Pad {
    notes: Text,
    log: Set<String>,
}

/// A replica that stores only the updates of other replicas.
struct Node<B: Backend> {
    store: Store<Pad, B>,
    journal: Arc<Mutex<Vec<Vec<u8>>>>,
    _listening: Subscription,
}

impl<B: Backend> Node<B> {
    /// Opens an empty document and applies the journal.
    fn open(id: u64, journal: Vec<Vec<u8>>) -> Self {
        let store = Store::with_options(Options::new().with_replica(ReplicaId::from_bits(id)));
        for update in &journal {
            store.apply_trusted(update).expect("it was applied before");
        }
        let journal = Arc::new(Mutex::new(journal));
        let kept = Arc::clone(&journal);
        let listening = store.on_update(move |update| {
            if update.origin == Origin::Remote {
                kept.lock().expect("no panic").push(update.bytes.to_vec());
            }
        });
        Self { store, journal, _listening: listening }
    }

    fn merge_from(&self, other: &Self) {
        for update in other.store.updates_since(&self.store.version()).expect("a version") {
            self.store.apply(&update).expect("an honest update");
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Edit { node: usize, at: usize },
    Merge { from: usize, to: usize },
    Crash { node: usize },
    Forget { node: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3usize, any::<usize>()).prop_map(|(node, at)| Step::Edit { node, at }),
        5 => (0..3usize, 0..3usize).prop_map(|(from, to)| Step::Merge { from, to }),
        2 => (0..3usize).prop_map(|node| Step::Crash { node }),
        1 => (0..3usize).prop_map(|node| Step::Forget { node }),
    ]
}

fn survive_crashes<B: Backend>(steps: &[Step]) {
    let mut nodes = [1, 2, 3].map(|id| Node::<B>::open(id, Vec::new()));
    let mut received = BTreeSet::new();
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Step::Edit { node, at } => {
                let store = &nodes[node].store;
                let at = at % (store.view().notes.len() + 1);
                let edit = store.change(|pad| {
                    pad.notes().insert(at, &format!("<{number}>"))?;
                    pad.log().insert(format!("{node}:{number}"))
                });
                edit.expect("it can be written");
            }
            Step::Merge { from, to } if from != to => {
                nodes[to].merge_from(&nodes[from]);
                let view = nodes[to].store.view();
                received.extend(
                    view.log.iter().filter(|entry| !entry.starts_with(&to.to_string())).cloned(),
                );
            }
            Step::Merge { .. } => {}
            Step::Crash { node } => {
                let journal = std::mem::take(&mut *nodes[node].journal.lock().expect("no panic"));
                nodes[node] = Node::open(10 + number as u64, journal);
            }
            Step::Forget { node } => nodes[node].store.document().forget_pending(),
        }
    }
    for _ in 0..4 {
        for (to, from) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
            nodes[to].merge_from(&nodes[from]);
            nodes[to].store.document().forget_pending();
        }
    }
    let first = &nodes[0].store;
    for Node { store, .. } in &nodes {
        assert_eq!(
            (store.view(), store.version(), store.pending()),
            (first.view(), first.version(), Pending::default())
        );
    }
    let lost: Vec<_> =
        received.iter().filter(|entry| !first.view().log.contains(entry.as_str())).collect();
    assert!(lost.is_empty(), "received and lost: {lost:?}");
}

proptest! {
    #![proptest_config(support::strategy::config())]

    #[test]
    fn received_changes_survive_crashes_on_yrs(steps in prop::collection::vec(step(), 1..60)) {
        survive_crashes::<Yrs>(&steps);
    }

    #[test]
    fn received_changes_survive_crashes_on_automerge(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        survive_crashes::<Automerge>(&steps);
    }
}

/// Two updates of one replica. The first is a dependency of the second.
fn two_updates<B: Backend>() -> [Vec<u8>; 2] {
    let store = Store::<Pad, B>::new();
    ["one", "two"].map(|word| {
        let before = store.version();
        store.change(|pad| pad.notes().push_str(word)).expect("it can be written");
        store.update_since(&before).expect("its own version")
    })
}

fn only_pending_updates_of_strangers_are_forgotten<B: Backend>() {
    let [first, second] = two_updates::<B>();
    let store = Store::<Pad, B>::new();
    assert_eq!(store.apply(&second), Ok(Applied::Waiting));
    store.document().forget_pending();
    assert_eq!(store.pending(), Pending::default());
    // A stranger may send the update first. It counts as the replica's own once the replica's
    // storage contains it too.
    store.apply(&second).expect("an update");
    store.apply_trusted(&second).expect("an update");
    store.document().forget_pending();
    let pending = store.pending();
    assert_eq!((pending.updates, pending.bytes), (1, second.len()));
    assert_eq!(store.document().own_pending(), pending);
    assert_eq!(store.document().own_pending_updates(), [second]);
    store.apply(&first).expect("an update");
    assert_eq!(
        (store.view().notes.to_string().as_str(), store.pending()),
        ("onetwo", Pending::default())
    );
}

#[test]
fn only_pending_updates_of_strangers_are_forgotten_on_both() {
    only_pending_updates_of_strangers_are_forgotten::<Yrs>();
    only_pending_updates_of_strangers_are_forgotten::<Automerge>();
}

fn own_and_foreign_pending_updates_have_separate_limits<B: Backend>() {
    let limits = Limits::untrusted().with_pending_updates_max(1);
    let store = Store::<Pad, B>::with_options(Options::new().with_limits(limits));
    for _ in 0..3 {
        store
            .apply_trusted(&two_updates::<B>()[1])
            .expect("storage may bring more than a stranger");
    }
    store.apply(&two_updates::<B>()[1]).expect("what storage brought leaves room for strangers");
    let refused = store.apply(&two_updates::<B>()[1]);
    assert!(
        matches!(refused, Err(ApplyError::Import(ImportError::TooManyPending { updates: 2, .. }))),
        "{refused:?}"
    );
    assert_eq!(store.pending().updates, 4);
}

#[test]
fn own_and_foreign_pending_updates_have_separate_limits_on_both() {
    own_and_foreign_pending_updates_have_separate_limits::<Yrs>();
    own_and_foreign_pending_updates_have_separate_limits::<Automerge>();
}
