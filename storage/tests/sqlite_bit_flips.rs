//! A flipped bit anywhere in an SQLite database never shows as missing or foreign data: it is an
//! error, or it shows in the bytes (which have a checksum of their own), or records are missing
//! before the number of the last one.

#![cfg(feature = "sqlite")]

use std::path::Path;

use exostate_storage::{Adapter, Append, SqliteAdapter, Stored};

/// Each byte of the database has its bit flipped in one run of so many.
const STEP: usize = 11;

fn filled(path: &Path) -> Vec<u8> {
    let adapter = SqliteAdapter::open(path).expect("it opens");
    for document in ["a", "b", "c"] {
        let long = vec![7; 3000];
        for number in 1..=4 {
            let bytes = if number == 3 { &long[..] } else { b"a record" };
            let record = Append { document, number, bytes };
            adapter.append(&[record]).expect("it takes a record");
        }
    }
    adapter.replace("b", 2, b"two").expect("it takes a snapshot");
    adapter.replace("c", 4, b"four").expect("it takes a snapshot");
    adapter.sync().expect("it syncs");
    drop(adapter);
    std::fs::read(path).expect("it reads")
}

fn content(path: &Path) -> Option<Vec<(String, Stored)>> {
    let adapter = SqliteAdapter::open(path).ok()?;
    let names = adapter.list().ok()?;
    let read = |name: String| adapter.read(&name).ok()?.map(|stored| (name, stored));
    names.into_iter().map(read).collect()
}

/// Whether the damage of a document shows, or there is none. The layer above finds changed bytes
/// by their checksum, which covers the number too.
fn shows(found: &Stored, whole: &Stored) -> bool {
    let covers = found.snapshot.as_ref().map_or(0, |(covers, _)| *covers);
    let numbers = found.records.iter().map(|(number, _)| *number);
    let end = covers + found.records.len() as u64;
    let is_gapless = numbers.eq(covers + 1..=end) && found.last == Some(end);
    let has_other_bytes =
        found.snapshot.iter().any(|snapshot| whole.snapshot.as_ref() != Some(snapshot))
            || found.records.iter().any(|record| !whole.records.contains(record));
    found == whole || !is_gapless || has_other_bytes
}

#[test]
fn a_flipped_bit_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("documents");
    let bytes = filled(&path);
    let whole = content(&path).expect("it reads");
    let offset = fastrand::usize(..STEP);
    eprintln!("from byte {offset}");
    for at in (offset..bytes.len()).step_by(STEP) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at / STEP % 8);
        let _ = std::fs::remove_file(folder.path().join("documents-wal"));
        std::fs::write(&path, &flipped).expect("it writes");
        let Some(found) = content(&path) else { continue };
        assert_eq!(found.len(), whole.len(), "byte {at}");
        for ((name, found), (expected, whole)) in found.iter().zip(&whole) {
            assert_eq!(name, expected, "byte {at}");
            assert!(shows(found, whole), "byte {at}: {found:?}");
        }
    }
}

/// The limit that docs/storage.md names: SQLite takes a damaged log as ended, so the state is an
/// older one, but always one that was synced once.
#[test]
fn a_flipped_bit_in_the_log_of_a_crash_gives_a_state_that_was_synced() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("documents");
    let adapter = SqliteAdapter::open(&path).expect("it opens");
    for number in 1..=5 {
        adapter.append(&[Append { document: "a", number, bytes: b"r" }]).expect("it appends");
        adapter.sync().expect("it syncs");
    }
    // What a crash would leave.
    let database = std::fs::read(&path).expect("it reads");
    let log = std::fs::read(folder.path().join("documents-wal")).expect("it reads");
    let copy = folder.path().join("copy");
    let mut is_older = false;
    for at in (0..log.len()).step_by(997) {
        let mut flipped = log.clone();
        flipped[at] ^= 1;
        std::fs::write(&copy, &database).expect("it writes");
        std::fs::write(folder.path().join("copy-wal"), &flipped).expect("it writes");
        let found = content(&copy).expect("it reads");
        for (_, found) in &found {
            let numbers = found.records.iter().map(|(number, _)| *number);
            assert!(numbers.eq(1..=found.last.expect("it keeps it")));
        }
        is_older |= found.iter().all(|(_, found)| found.records.len() < 5);
    }
    assert!(is_older);
}
