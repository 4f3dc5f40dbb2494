//! Arbitrary bytes and mutated valid updates. Nothing may crash or hang, memory stays bounded, and
//! the store stays usable and consistent.
#![no_main]

mod input;
#[path = "../../tests/support/mod.rs"]
mod support;

use arbitrary::Arbitrary;
use support::one_update::OneUpdate;
use exostate::{Automerge, Backend, Yrs};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Input {
    Raw(Vec<u8>),
    Mutated { edits: Vec<input::Edit>, mutations: Vec<(u16, u8)>, cut: u16 },
}

fn run<B: Backend>(input: &Input) {
    let store = support::store::<B>(1);
    let bytes = match input {
        Input::Raw(bytes) => bytes.clone(),
        Input::Mutated { edits, mutations, cut } => {
            let other = support::store::<B>(2);
            edits.iter().take(8).for_each(|edit| support::apply(&other, &edit.op()));
            let mut bytes = other.update_since(&store.version()).expect("an update");
            input::damage(&mut bytes, mutations, *cut, 16);
            bytes
        }
    };
    let before = (store.view(), store.digest());
    if store.apply(&bytes).is_err() {
        assert_eq!(
            (store.view(), store.digest()),
            before,
            "a refused update left something behind"
        );
    }
    support::check_view(&store);
    store.change(|state| state.title().set("usable")).expect("the store stays usable");
    assert_eq!(store.view().title, "usable");
    // The same bytes must do no harm as a saved document either.
    drop(exostate::Store::<support::Everything, B>::open(&bytes));
}

fuzz_target!(|input: Input| {
    input::let_backends_panic();
    run::<Yrs>(&input);
    run::<Automerge>(&input);
});
