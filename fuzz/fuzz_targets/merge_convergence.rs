//! Several replicas make arbitrary typed changes, with arbitrary delivery. They must end with equal
//! views, digests and versions, on both backends.
#![no_main]

mod input;
#[path = "../../tests/support/mod.rs"]
mod support;

use arbitrary::Arbitrary;
use support::one_update::OneUpdate;
use exostate::{Automerge, Backend, Yrs};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step {
    Edit(u8, input::Edit),
    Deliver { to: u8, update: u8 },
    Merge { to: u8, from: u8 },
}

fn run<B: Backend>(steps: &[Step]) {
    let stores = [1, 2, 3].map(support::store::<B>);
    let mut updates = Vec::new();
    for step in steps {
        match step {
            Step::Edit(at, edit) => {
                let store = &stores[usize::from(at % 3)];
                let before = store.version();
                support::apply(store, &edit.op());
                updates.push(store.update_since(&before).expect("its own version"));
            }
            Step::Deliver { to, update } if !updates.is_empty() => {
                stores[usize::from(to % 3)]
                    .apply(&updates[usize::from(*update) % updates.len()])
                    .expect("an honest update");
            }
            Step::Merge { to, from } => {
                stores[usize::from(to % 3)]
                    .merge(&stores[usize::from(from % 3)])
                    .expect("an honest update");
            }
            Step::Deliver { .. } => {}
        }
    }
    for _ in 0..2 {
        for (to, from) in [(0, 1), (1, 2), (2, 0), (0, 2), (1, 0), (2, 1)] {
            stores[to].merge(&stores[from]).expect("an honest update");
        }
    }
    for store in &stores {
        assert_eq!(store.view(), stores[0].view());
        assert_eq!(store.digest(), stores[0].digest());
        assert_eq!(store.version(), stores[0].version());
        assert_eq!(store.pending().updates, 0);
        support::check_view(store);
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let steps = &steps[..steps.len().min(40)];
    run::<Yrs>(steps);
    run::<Automerge>(steps);
});
