//! Any bytes in a storage give a document or an error: no panic, no hang, no unbounded memory.
//! Checksums are not compared in fuzz builds, so that the bytes behind them are read.

#![no_main]

use arbitrary::Arbitrary;
use exostate::{Automerge, Document, Yrs};
use exostate_storage::{Adapter, Append, MemoryAdapter, Opening, Storage};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    snapshot: Option<Vec<u8>>,
    records: Vec<Vec<u8>>,
    file: Vec<u8>,
    automerge: bool,
}

fuzz_target!(|input: Input| {
    let adapter = MemoryAdapter::new();
    if let Some(snapshot) = &input.snapshot {
        adapter.replace("note", 0, snapshot).expect("memory takes everything");
    }
    for (number, bytes) in (1..).zip(&input.records) {
        let record = Append { document: "note", number, bytes };
        adapter.append(&[record]).expect("memory takes everything");
    }
    let storage = Storage::new(adapter);
    let _ = storage.verify();
    let _ = storage.import("copy", &input.file);
    for name in ["note", "copy"] {
        if input.automerge {
            let _: Result<Document<Automerge>, _> = storage.open_document(name, Opening::new());
        } else {
            let _: Result<Document<Yrs>, _> = storage.open_document(name, Opening::new());
        }
        let _ = storage.repair(name);
    }
});
