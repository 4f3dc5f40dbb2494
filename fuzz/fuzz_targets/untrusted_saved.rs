//! Saved undo stacks and histories that were damaged, with a valid checksum. Nothing may crash or
//! hang. The store stays as it was, or continues from the loaded contents.
#![no_main]

mod input;
#[path = "../../tests/support/mod.rs"]
mod support;

use arbitrary::Arbitrary;
use exostate::{Automerge, Backend, HistoryOptions, State, UndoOptions, Yrs};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    edits: Vec<input::Edit>,
    mutations: Vec<(u16, u8)>,
    cut: u16,
    raw: Option<Vec<u8>>,
}

impl Input {
    /// Damaged saved bytes, or arbitrary bytes, with a valid checksum.
    fn damage(&self, saved: &[u8]) -> Vec<u8> {
        let mut bytes = self.raw.clone().unwrap_or_else(|| saved[..saved.len() - 8].to_vec());
        input::damage(&mut bytes, &self.mutations, self.cut, 4);
        let sum = xxhash_rust::xxh3::xxh3_64(&bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }
}

fn run<B: Backend>(input: &Input) {
    let store = support::store::<B>(1);
    let history = store.history(HistoryOptions::new()).expect("it can be saved");
    let undo = store.undo_manager(UndoOptions::new());
    for (at, edit) in input.edits.iter().take(6).enumerate() {
        support::apply(&store, &edit.op());
        if at == 3 {
            history.name("named").expect("it can be saved");
        }
    }
    let kept = history.save().expect("not within a change");
    let stacks = undo.save();
    drop((history, undo));
    let before = (store.view(), store.digest());
    if let Ok(history) =
        store.history_from(&input.damage(&kept), HistoryOptions::new().with_bytes_max(4_096))
    {
        for revision in history.revisions().iter().take(8) {
            drop(history.view_at(revision.id()));
            drop(history.diff(revision.id(), history.latest()));
        }
        drop(history.blame(&support::Everything::path().title()));
        drop(history.compact());
        store.change(|state| state.count().set(1)).expect("the store stays usable");
        assert_eq!(history.view_at(history.latest()).expect("the present is there"), store.view());
    } else {
        assert_eq!((store.view(), store.digest()), before);
    }
    if let Ok(undo) = store.undo_manager_from(&input.damage(&stacks), UndoOptions::new()) {
        for _ in 0..8 {
            drop(undo.undo());
        }
        drop(undo.redo());
        drop(undo.save());
    }
    support::check_view(&store);
}

fuzz_target!(|input: Input| {
    input::let_backends_panic();
    run::<Yrs>(&input);
    run::<Automerge>(&input);
});
