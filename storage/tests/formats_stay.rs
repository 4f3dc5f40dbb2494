//! Files of an earlier release can still be read: records and snapshots, exported documents, and
//! the files of the adapters. They are in `tests/data/formats`.
//!
//! Those files are never overwritten. If a format changes, new files are added beside them.
//! `cargo test -p exostate-storage --all-features --test formats_stay -- --ignored` writes the
//! files that are missing.

#![allow(clippy::unwrap_used, reason = "a test stops at a fault")]

use std::fs;
use std::path::{Path, PathBuf};

use exostate::{
    Automerge, Backend, HistoryOptions, Map, Options, ReplicaId, State, Store, Text, UndoOptions,
    Yrs,
};
use exostate_storage::{
    Adapter, Append, Compression, KeptHistory, KeptUndo, MemoryAdapter, Opening, Persist, Storage,
    StorageOptions, Stored,
};

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Note {
    title: String,
    body: Text,
    tags: Map<String, u64>,
}

const FORMATS: [u32; 1] = [1];
const NEWEST: u32 = 1;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/formats")
}

fn file<B: Backend>(format: u32, name: &str) -> PathBuf {
    folder().join(format!("{format}-{}.{name}", B::NAME))
}

/// Fills a storage with the document of the files: with a snapshot, records behind it, undo stacks,
/// a history, a lineage and a pending update.
fn fill<B: Backend>(storage: &Storage) {
    let options = Options::new().with_replica(ReplicaId::from_bits(0x2a));
    let note = storage.open_with::<Note, B>("note", Opening::new().with_options(options)).unwrap();
    let undo = KeptUndo::open(&note, "main", UndoOptions::default()).unwrap();
    let history = KeptHistory::open(&note, "main", HistoryOptions::default()).unwrap();
    note.change(|note| note.body().push_str("ä€😀 and more")).unwrap();
    history.name("first").unwrap();
    note.document().follow(7);
    for at in 0..40 {
        note.change(|note| note.tags().insert(format!("tag {}", at % 4), at)).unwrap();
        if at % 10 == 9 {
            note.flush_blocking().unwrap();
        }
    }
    let theirs = Store::<Note, B>::new();
    theirs.change(|note| note.title().set("lost")).unwrap();
    let middle = theirs.version();
    theirs.change(|note| note.body().push_str("pending")).unwrap();
    for update in theirs.updates_since(&middle).unwrap() {
        note.apply_trusted(&update).unwrap();
    }
    note.change(|note| note.title().set("plan")).unwrap();
    note.flush_blocking().unwrap();
    drop((undo, history));
}

fn check<B: Backend>(storage: &Storage, name: &str) {
    assert!(storage.verify().unwrap().is_whole());
    let note = storage.open_with::<Note, B>(name, Opening::existing()).unwrap();
    let view = note.view();
    assert_eq!((view.title.as_str(), view.tags.len()), ("plan", 4));
    assert_eq!(view.tags.get("tag 3"), Some(&39));
    assert!(view.body == "ä€😀 and more");
    assert!(note.document().is_own(ReplicaId::from_bits(0x2a)));
    assert_eq!((note.document().lineage(), note.document().own_pending().updates), (7, 1));
    let history = KeptHistory::open(&note, "main", HistoryOptions::default()).unwrap();
    let first = history.view_at(history.find("first").unwrap()).unwrap();
    assert_eq!((first.title.as_str(), first.tags.len()), ("", 0));
    let undo = KeptUndo::open(&note, "main", UndoOptions::default()).unwrap();
    undo.undo().unwrap();
    assert_eq!(note.view().title, "");
}

fn options(compression: Compression) -> StorageOptions {
    StorageOptions::new().with_compression(compression).with_compact_bytes_min(2_000)
}

/// The records of a document, one after the other: the kind (0 snapshot, 1 record), the number, the
/// length, the bytes.
fn dump(stored: &Stored) -> Vec<u8> {
    let mut dump = Vec::new();
    let snapshot = stored.snapshot.iter().map(|(number, bytes)| (0, number, bytes));
    let records = stored.records.iter().map(|(number, bytes)| (1, number, bytes));
    for (kind, number, bytes) in snapshot.chain(records) {
        dump.push(kind);
        dump.extend(number.to_le_bytes());
        dump.extend((bytes.len() as u64).to_le_bytes());
        dump.extend(bytes);
    }
    dump
}

fn load(mut dump: &[u8]) -> MemoryAdapter {
    let adapter = MemoryAdapter::new();
    while let Some((kind, rest)) = dump.split_first() {
        let (number, rest) = rest.split_at(8);
        let (length, rest) = rest.split_at(8);
        let number = u64::from_le_bytes(number.try_into().unwrap());
        let length = u64::from_le_bytes(length.try_into().unwrap());
        let (bytes, rest) = rest.split_at(usize::try_from(length).unwrap());
        match kind {
            0 => adapter.replace("note", number, bytes).unwrap(),
            _ => adapter.append(&[Append { document: "note", number, bytes }]).unwrap(),
        }
        dump = rest;
    }
    adapter
}

fn write<B: Backend>(name: &str, bytes: impl FnOnce() -> Vec<u8>) {
    let path = file::<B>(NEWEST, name);
    if !path.exists() {
        fs::create_dir_all(folder()).unwrap();
        fs::write(path, bytes()).unwrap();
    }
}

/// Compaction runs in the background, so it takes some tries until there are records behind a
/// snapshot.
fn records<B: Backend>(compression: Compression) -> Vec<u8> {
    loop {
        let adapter = MemoryAdapter::new();
        let storage = Storage::with_options(adapter.clone(), options(compression));
        fill::<B>(&storage);
        storage.close().unwrap();
        let stored = adapter.read("note").unwrap().unwrap();
        if stored.snapshot.is_some() && !stored.records.is_empty() {
            return dump(&stored);
        }
    }
}

fn export<B: Backend>() -> Vec<u8> {
    let storage = Storage::in_memory();
    fill::<B>(&storage);
    storage.export("note").unwrap()
}

fn write_missing<B: Backend>() {
    write::<B>("records", || records::<B>(Compression::None));
    write::<B>("lz4.records", || records::<B>(Compression::Lz4));
    write::<B>("export", export::<B>);
}

#[test]
#[ignore = "writes the files of a new format"]
fn write_what_is_missing() {
    write_missing::<Yrs>();
    write_missing::<Automerge>();
}

fn earlier_files_are_read<B: Backend>() {
    for format in FORMATS {
        for name in ["records", "lz4.records"] {
            let dump = fs::read(file::<B>(format, name)).unwrap();
            check::<B>(&Storage::new(load(&dump)), "note");
        }
        let storage = Storage::in_memory();
        storage.import("copy", &fs::read(file::<B>(format, "export")).unwrap()).unwrap();
        check::<B>(&storage, "copy");
    }
}

#[test]
fn earlier_files_are_read_on_both_backends() {
    earlier_files_are_read::<Yrs>();
    earlier_files_are_read::<Automerge>();
}
