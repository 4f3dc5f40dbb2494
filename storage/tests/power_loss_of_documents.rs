//! As `power_loss.rs`, a layer higher: documents that are opened, changed, flushed, compacted,
//! exported, deleted and restored, while the disk fails or the power goes off at any operation.

#![cfg(all(feature = "files", feature = "redb"))]
#![allow(clippy::unwrap_used, reason = "a test stops at a fault")]

#[path = "support/sim_disk.rs"]
#[allow(dead_code, reason = "another test uses the rest")]
mod sim_disk;

use std::error::Error;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use exostate::{ChangeError, Map, State, Store};
use exostate_storage::{
    Adapter, AdapterError, FilesAdapter, OpenError, Persist, RedbAdapter, Storage, StorageOptions,
};
use sim_disk::{Plan, SimDisk};

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Note {
    count: u64,
    tags: Map<String, u64>,
}

type Open = fn(&SimDisk) -> Result<Storage, AdapterError>;

const FILES: Open = |disk| Ok(storage(FilesAdapter::on(disk.clone(), "/store")?));
const REDB: Open = |disk| {
    let disk = disk.clone();
    let adapter = RedbAdapter::on("store.redb", move || disk.backend(Path::new("/store.redb")))?;
    Ok(storage(adapter))
};

fn storage(adapter: impl Adapter) -> Storage {
    let ms = Duration::from_millis;
    let options = StorageOptions::new().with_retry(ms(1), ms(2)).with_compact_bytes_min(300);
    Storage::with_options(adapter, options)
}

/// What was acknowledged.
#[derive(Clone, Debug, Default)]
struct Acknowledged {
    /// The changes of "note" and "other" that were flushed.
    note: u64,
    other: u64,
    /// Whether "other" may be gone, or be as it was exported.
    may_be_older: bool,
}

fn change(note: &Store<Note>, count: u64) -> Result<(), ChangeError> {
    note.change(|note| {
        note.count().set(count)?;
        note.tags().insert((count % 3).to_string(), count)?;
        Ok(())
    })
}

/// Uses the storage until the end, or until the power is off.
fn work(disk: &SimDisk, open: Open, seen: &mut Acknowledged) -> Result<(), Box<dyn Error>> {
    let storage = open(disk)?;
    let note = storage.open::<Note>("note")?;
    for _ in 0..8 {
        let count = note.view().count + 1;
        if change(&note, count).is_ok() && note.flush_blocking().is_ok() {
            seen.note = note.view().count;
        }
    }
    let other = storage.open::<Note>("other")?;
    change(&other, 1)?;
    other.flush_blocking()?;
    seen.other = 1;
    let file = storage.export("other")?;
    drop(other);
    seen.may_be_older = true;
    storage.delete("other")?;
    storage.restore("other", &file)?;
    let other = storage.open::<Note>("other")?;
    assert_eq!(other.view().count, 1);
    seen.may_be_older = false;
    change(&other, 2)?;
    other.flush_blocking()?;
    seen.other = 2;
    Ok(())
}

/// Checks what is there after a crash.
fn check(disk: &SimDisk, open: Open, seen: &Acknowledged, what: &str) {
    let storage = open(disk).unwrap();
    let verified = storage.verify().unwrap();
    assert!(verified.is_whole(), "{what}: {verified:?}");
    let note = storage.open::<Note>("note").unwrap();
    assert!(note.view().count >= seen.note, "{what}: {} of {seen:?}", note.view().count);
    whole(&note.view(), what);
    let other = match storage.open_existing::<Note>("other") {
        Ok(other) => other.view().count,
        Err(OpenError::NotFound { .. }) => 0,
        Err(error) => panic!("{what}: {error}"),
    };
    assert!(other >= seen.other || seen.may_be_older, "{what}: {other} of {seen:?}");
    // The storage works on.
    let count = note.view().count + 1;
    change(&note, count).expect(what);
    note.flush_blocking().unwrap();
    drop(note);
    storage.close().unwrap();
    let note = open(&disk.crash(1)).unwrap().open::<Note>("note").unwrap();
    assert_eq!(note.view().count, count, "{what}");
}

fn whole(note: &Note, what: &str) {
    for tag in 0..3 {
        let last = (1..=note.count).rev().take(3).find(|count| count % 3 == tag);
        assert_eq!(note.tags.get(&tag.to_string()).copied(), last, "{what}: {note:?}");
    }
}

/// The number of points of each case.
fn points() -> usize {
    let asked = std::env::var("EXOSTATE_CRASHES").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(120)
}

fn operations(open: Open) -> u64 {
    let disk = SimDisk::new();
    work(&disk, open, &mut Acknowledged::default()).unwrap();
    disk.operations()
}

fn survives(name: &str, open: Open) {
    let operations = operations(open);
    for point in 0..points() as u64 {
        // All points in turn, with another seed for each round.
        let (at, seed) = (point * operations / points().min(operations as usize) as u64, point);
        let at = at % operations;
        let what = format!("{name}, power loss at operation {at}, seed {seed}");
        let disk = SimDisk::new();
        disk.plan(Plan::PowerLoss { at });
        let mut seen = Acknowledged::default();
        let _ = work(&disk, open, &mut seen);
        check(&disk.crash(seed), open, &seen, &what);
    }
    println!("power loss | documents on {name} | {} points | 0 lost", points());
    for point in 0..points() as u64 {
        let at = point * operations / points() as u64;
        let kind = if point % 2 == 0 { ErrorKind::StorageFull } else { ErrorKind::Other };
        let count = 1 + point % 5;
        let what = format!("{name}, {count} errors at operation {at} ({kind})");
        let disk = SimDisk::new();
        disk.plan(Plan::Error { at, count, kind });
        let mut seen = Acknowledged::default();
        // After an error the application begins again. The errors end.
        let mut tries = 0;
        while work(&disk, open, &mut seen).is_err() {
            tries += 1;
            assert!(tries < 50, "{what}: it never works again");
        }
        check(&disk.crash(point), open, &seen, &what);
    }
    println!("errors of the disk | documents on {name} | {} points | 0 lost", points());
}

#[test]
fn documents_in_files_survive() {
    survives("files", FILES);
}

#[test]
fn documents_in_redb_survive() {
    survives("redb", REDB);
}
