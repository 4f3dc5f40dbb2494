//! Raw bytes and mutated real updates: no crash, no hang, bounded memory; the store stays usable and consistent.
#![no_main]

mod input;
#[path = "../../tests/support/mod.rs"]
mod support;

use arbitrary::Arbitrary;
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
            let len = bytes.len().max(1);
            for (at, value) in mutations.iter().take(8) {
                if let Some(byte) = bytes.get_mut(usize::from(*at) % len) {
                    *byte = *value;
                }
            }
            bytes.truncate(len - usize::from(*cut) % len.min(16));
            bytes
        }
    };
    let before = (store.view(), store.digest());
    if store.apply(&bytes).is_err() {
        assert_eq!((store.view(), store.digest()), before, "a refused update left something behind");
    }
    support::check_view(&store);
    store.change(|state| state.title().set("usable")).expect("the store stays usable");
    assert_eq!(store.view().title, "usable");
    // As a saved document the same bytes must not do harm either.
    drop(exostate::Store::<support::Everything, B>::open(&bytes));
}

fuzz_target!(|input: Input| {
    // A panic inside a backend is caught and answered by rebuilding; libfuzzer's own hook would abort at it.
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or("", |place| place.file());
        if !place.contains("yrs") && !place.contains("automerge") && !place.contains("hexane") && !place.contains("rustc") {
            eprintln!("{info}");
            std::process::abort();
        }
    }));
    run::<Yrs>(&input);
    run::<Automerge>(&input);
});
