//! Reconciling reaches the given state, and writes nothing if the store is in that state already.
#![no_main]

mod input;
#[path = "../../tests/support/mod.rs"]
mod support;

use exostate::{Automerge, Backend, Yrs};
use libfuzzer_sys::fuzz_target;

fn run<B: Backend>(from: &[input::Edit], to: &[input::Edit]) {
    let store = support::store::<B>(1);
    let other = support::store::<B>(2);
    from.iter().for_each(|edit| support::apply(&store, &edit.op()));
    to.iter().for_each(|edit| support::apply(&other, &edit.op()));
    let wanted = other.view();
    store.reconcile(&wanted).expect("any state can be written");
    assert_eq!(store.view(), wanted);
    support::check_view(&store);
    store.reconcile(&wanted).expect("any state can be written");
    assert_eq!(store.view(), wanted);
}

fuzz_target!(|input: (Vec<input::Edit>, Vec<input::Edit>)| {
    let from = &input.0[..input.0.len().min(16)];
    let to = &input.1[..input.1.len().min(16)];
    run::<Yrs>(from, to);
    run::<Automerge>(from, to);
});
