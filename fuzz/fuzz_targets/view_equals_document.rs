//! After every commit and import the view equals a fresh read of the document, on both backends.
#![no_main]

mod input;
#[path = "../../tests/support/mod.rs"]
mod support;

use exostate::{Automerge, Backend, Yrs};
use libfuzzer_sys::fuzz_target;

fn run<B: Backend>(steps: &[(u8, input::Edit, bool)]) {
    // The store with the id 3 has no indexes of its sequences.
    let other = if steps.len() % 4 == 3 { 3 } else { 2 };
    let stores = [1, other].map(support::store::<B>);
    for (at, edit, merge) in steps {
        let store = &stores[usize::from(at % 2)];
        let other = &stores[usize::from(1 - at % 2)];
        support::apply(store, &edit.op());
        support::check_view(store);
        if *merge {
            other.merge(store).expect("an honest update");
            support::check_view(other);
        }
    }
}

fuzz_target!(|steps: Vec<(u8, input::Edit, bool)>| {
    let steps = &steps[..steps.len().min(24)];
    run::<Yrs>(steps);
    run::<Automerge>(steps);
});
