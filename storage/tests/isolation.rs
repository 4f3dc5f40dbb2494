//! One document, one file or one name that fails does not stop the others.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stops at a fault, and has threads"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use exostate::{Counter, State, UndoOptions};
use exostate_storage::{
    Adapter, AdapterError, AdapterErrorKind, Append, Durability, FlushError, KeptUndo,
    MemoryAdapter, OpenError, Persist, Status, Storage, StorageOptions, Stored, WhenFull,
};
use support::{OneFails, SimAdapter, quick, until};

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Note {
    title: String,
    votes: Counter,
}

/// The votes of a note, as they are after a crash.
fn votes_after_crash(adapter: &SimAdapter, name: &str) -> i64 {
    let storage = Storage::new(adapter.crash(0));
    storage.open::<Note>(name).unwrap().view().votes.value()
}

#[test]
fn a_document_that_cannot_be_written_does_not_stop_the_others() {
    let adapter = SimAdapter::new();
    let options = quick().with_when_full(WhenFull::GoOn);
    let one = OneFails::new(&adapter, AdapterErrorKind::Other);
    one.fails.store(true, Ordering::Relaxed);
    let storage = Storage::with_options(one, options);
    let bad = storage.open::<Note>("bad").unwrap();
    let note = storage.open::<Note>("note").unwrap();
    for _ in 0..20 {
        bad.change(|note| note.votes().add(1)).unwrap();
        note.change(|note| note.votes().add(1)).unwrap();
        note.flush_blocking().unwrap();
    }
    assert!(bad.flush_blocking().unwrap_err().to_string().contains("/disk/bad: no access"));
    assert_eq!(votes_after_crash(&adapter, "note"), 20);
}

#[test]
fn a_document_that_cannot_be_written_leaves_room_for_the_others() {
    let adapter = SimAdapter::new();
    let options = quick().with_queue(20, 1 << 20);
    let one = OneFails::new(&adapter, AdapterErrorKind::Other);
    let storage = Storage::with_options(one.clone(), options);
    let bad = storage.open::<Note>("bad").unwrap();
    let note = storage.open::<Note>("note").unwrap();
    storage.flush_blocking().unwrap();
    one.fails.store(true, Ordering::Relaxed);
    bad.change(|note| note.votes().add(1)).unwrap();
    until("the failure is known", || bad.flush_blocking().is_err());
    let refused = loop {
        if let Err(error) = bad.change(|note| note.votes().add(1)) {
            break error.to_string();
        }
    };
    assert!(refused.contains("wait to be written: /disk/bad: no access"), "{refused}");
    for _ in 0..50 {
        note.change(|note| note.votes().add(1)).unwrap();
        note.flush_blocking().unwrap();
    }
    assert_eq!(votes_after_crash(&adapter, "note"), 50);
    assert!(bad.change(|note| note.votes().add(1)).is_err());
}

#[test]
fn a_damaged_document_in_a_group_does_not_touch_the_others() {
    let adapter = SimAdapter::new();
    let one = OneFails::new(&adapter, AdapterErrorKind::Damaged);
    let storage = Storage::with_options(one.clone(), quick());
    let stores: Vec<_> =
        (0..20).map(|at| storage.open::<Note>(&format!("note {at}")).unwrap()).collect();
    let bad = storage.open::<Note>("bad").unwrap();
    storage.flush_blocking().unwrap();
    adapter.fail(true);
    one.fails.store(true, Ordering::Relaxed);
    for store in &stores {
        store.change(|note| note.votes().add(1)).unwrap();
    }
    bad.change(|note| note.votes().add(1)).unwrap();
    adapter.fail(false);
    until("all are written", || stores.iter().all(|store| store.flush_blocking().is_ok()));
    let after = Storage::new(adapter.crash(0));
    for at in 0..20 {
        let note = after.open::<Note>(&format!("note {at}")).unwrap();
        assert_eq!(note.view().votes.value(), 1);
    }
    assert!(matches!(bad.flush_blocking(), Err(FlushError::ReadOnly { .. })));
    drop((stores, bad));
    assert!(matches!(storage.close(), Ok(()) | Err(FlushError::ReadOnly { .. })));
}

#[test]
fn closing_writes_all_but_the_document_that_cannot_be_written() {
    let adapter = SimAdapter::new();
    let one = OneFails::new(&adapter, AdapterErrorKind::Other);
    let options = quick().with_group(1_000, 1 << 20, Duration::from_secs(60));
    let storage = Storage::with_options(one.clone(), options);
    let names: Vec<String> = (0..60).map(|at| format!("note {at}")).collect();
    let notes: Vec<_> = names.iter().map(|name| storage.open::<Note>(name).unwrap()).collect();
    let bad = storage.open::<Note>("bad").unwrap();
    storage.flush_blocking().unwrap();
    one.fails.store(true, Ordering::Relaxed);
    for note in notes.iter().chain([&bad]) {
        note.change(|note| note.votes().add(1)).unwrap();
    }
    assert!(storage.close().is_err(), "one is not written");
    let crashed = adapter.crash(0);
    let after = Storage::new(crashed);
    for name in &names {
        assert_eq!(after.open::<Note>(name).unwrap().view().votes.value(), 1, "{name}");
    }
}

#[test]
fn a_document_in_memory_is_written_although_another_one_cannot_be() {
    let adapter = SimAdapter::new();
    let one = OneFails::new(&adapter, AdapterErrorKind::Other);
    let options = quick().with_queue(20, 1 << 20).with_when_full(WhenFull::GoOn);
    let storage = Storage::with_options(one.clone(), options);
    let bad = storage.open::<Note>("bad").unwrap();
    let note = storage.open::<Note>("note").unwrap();
    storage.flush_blocking().unwrap();
    one.fails.store(true, Ordering::Relaxed);
    adapter.fail(true);
    for _ in 0..40 {
        bad.change(|note| note.votes().add(1)).unwrap();
        note.change(|note| note.votes().add(1)).unwrap();
    }
    adapter.fail(false);
    until("the good one is written", || votes_after_crash(&adapter, "note") == 40);
    assert!(bad.flush_blocking().is_err());
    one.fails.store(false, Ordering::Relaxed);
    until("the other one too", || votes_after_crash(&adapter, "bad") == 40);
}

#[test]
fn closing_writes_what_was_made_in_memory() {
    for round in 0..10 {
        let adapter = SimAdapter::new();
        let options = quick().with_queue(10, 1 << 20).with_when_full(WhenFull::GoOn);
        let storage = Storage::with_options(adapter.clone(), options);
        let note = storage.open::<Note>("note").unwrap();
        adapter.fail(true);
        (0..30).for_each(|_| note.change(|note| note.votes().add(1)).unwrap());
        adapter.fail(false);
        std::thread::sleep(Duration::from_micros(300 * round));
        storage.close().unwrap();
        assert_eq!(votes_after_crash(&adapter, "note"), 30);
    }
}

#[test]
fn a_closed_storage_lets_go_of_its_adapter() {
    let adapter = SimAdapter::new();
    let one = OneFails::new(&adapter, AdapterErrorKind::Other);
    let options = quick().with_queue(10, 1 << 20).with_when_full(WhenFull::GoOn);
    let storage = Storage::with_options(one.clone(), options);
    let note = storage.open::<Note>("note").unwrap();
    adapter.fail(true);
    (0..30).for_each(|_| note.change(|note| note.votes().add(1)).unwrap());
    drop(note);
    assert!(storage.close().is_err(), "the document is in memory only");
    until("nobody holds the adapter", || Arc::strong_count(&one.fails) == 1);
}

#[test]
fn a_document_that_becomes_read_only_in_memory_is_let_go() {
    let adapter = SimAdapter::new();
    let one = OneFails::new(&adapter, AdapterErrorKind::Damaged);
    let options = quick().with_queue(10, 1 << 20).with_when_full(WhenFull::GoOn);
    let storage = Storage::with_options(one.clone(), options);
    let bad = storage.open::<Note>("bad").unwrap();
    storage.flush_blocking().unwrap();
    adapter.fail(true);
    (0..30).for_each(|_| bad.change(|note| note.votes().add(1)).unwrap());
    one.fails.store(true, Ordering::Relaxed);
    until("it is read-only", || matches!(bad.storage_status(), Some(Status::ReadOnly { .. })));
    drop((bad, storage));
    until("nobody holds the adapter", || Arc::strong_count(&one.fails) == 1);
}

#[test]
fn undo_stacks_do_not_fill_the_queue_beyond_its_bound() {
    let adapter = SimAdapter::new();
    let storage = Storage::with_options(adapter.clone(), quick().with_queue(20, 1 << 20));
    let note = storage.open::<Note>("note").unwrap();
    let _undo = KeptUndo::open(&note, "main", UndoOptions::default()).unwrap();
    note.flush_blocking().unwrap();
    adapter.fail(true);
    let mut refused = String::new();
    for round in 0..100 {
        if let Err(error) = note.change(|note| note.title().set(round.to_string())) {
            refused = error.to_string();
        }
        assert!(note.flush_blocking().is_err());
    }
    let records = refused.strip_prefix("note: ").unwrap().split(' ').next().unwrap();
    assert!(records.parse::<usize>().unwrap() <= 22, "{refused}");
}

#[test]
fn an_export_has_the_last_changes_of_a_document_that_was_just_dropped() {
    let options = StorageOptions::new().with_group(1_000, 1 << 20, Duration::from_secs(60));
    let storage = Storage::with_options(MemoryAdapter::new(), options);
    let note = storage.open::<Note>("note").unwrap();
    note.change(|note| note.title().set("plan")).unwrap();
    drop(note);
    let file = storage.export("note").unwrap();
    storage.import("copy", &file).unwrap();
    assert_eq!(storage.open::<Note>("copy").unwrap().view().title, "plan");
}

#[test]
fn a_backup_goes_on_after_a_document_that_cannot_be_written() {
    let adapter = SimAdapter::new();
    let one = OneFails::new(&adapter, AdapterErrorKind::Other);
    let storage = Storage::with_options(one.clone(), quick());
    let bad = storage.open::<Note>("bad").unwrap();
    let note = storage.open::<Note>("note").unwrap();
    storage.flush_blocking().unwrap();
    one.fails.store(true, Ordering::Relaxed);
    bad.change(|note| note.votes().add(1)).unwrap();
    note.change(|note| note.votes().add(1)).unwrap();
    let backup = MemoryAdapter::new();
    let left = storage.backup(&backup).unwrap();
    assert_eq!(left.len(), 1);
    assert!(left[0].0 == "bad" && left[0].1.reason.contains("no access"), "{left:?}");
    let restored = Storage::new(backup);
    assert_eq!(restored.open::<Note>("note").unwrap().view().votes.value(), 1);
}

#[test]
fn a_flush_ends_the_long_wait_of_a_group() {
    let options = StorageOptions::new().with_group(1_000, 1 << 20, Duration::from_secs(600));
    let storage = Storage::with_options(MemoryAdapter::new(), options);
    let note = storage.open::<Note>("note").unwrap();
    // The writer learns that many wait at once.
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..20 {
                    note.change(|note| note.votes().add(1)).unwrap();
                    note.flush_blocking().unwrap();
                }
            });
        }
    });
    for _ in 0..5 {
        note.change(|note| note.votes().add(1)).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        let begun = Instant::now();
        note.flush_blocking().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(60), "the group was waited for");
    }
}

#[test]
fn the_longest_times_mean_never() {
    for durability in [Durability::Acknowledge, Durability::EveryCommit] {
        let options = StorageOptions::new()
            .with_durability(durability)
            .with_group(1_000, 1 << 20, Duration::MAX)
            .with_retry(Duration::MAX, Duration::MAX)
            .with_wait_max(Duration::MAX)
            .with_attachments_every(Duration::MAX);
        let storage = Storage::with_options(MemoryAdapter::new(), options);
        let note = storage.open::<Note>("note").unwrap();
        let _undo = KeptUndo::open(&note, "main", UndoOptions::default()).unwrap();
        note.change(|note| note.votes().add(1)).unwrap();
        note.flush_blocking().unwrap();
        storage.close().unwrap();
    }
}

/// An adapter with a fault: it panics when it is to write.
struct Panics;

impl Adapter for Panics {
    fn append(&self, _: &[Append<'_>]) -> Result<(), AdapterError> {
        panic!("a fault of the adapter, on purpose")
    }
    fn read(&self, _: &str) -> Result<Option<Stored>, AdapterError> {
        Ok(None)
    }
    fn replace(&self, _: &str, _: u64, _: &[u8]) -> Result<(), AdapterError> {
        Ok(())
    }
    fn list(&self) -> Result<Vec<String>, AdapterError> {
        Ok(Vec::new())
    }
    fn delete(&self, _: &str) -> Result<(), AdapterError> {
        Ok(())
    }
    fn sync(&self) -> Result<(), AdapterError> {
        Ok(())
    }
}

#[test]
fn nobody_waits_for_a_writer_that_panicked() {
    let storage = Storage::new(Panics);
    let opened: Vec<_> = std::thread::scope(|scope| {
        let openers = (0..4).map(|at| {
            let storage = &storage;
            scope.spawn(move || storage.open::<Note>(&at.to_string()))
        });
        let openers: Vec<_> = openers.collect();
        openers.into_iter().map(|opener| opener.join().unwrap()).collect()
    });
    for note in opened.into_iter().flatten() {
        assert!(matches!(note.flush_blocking(), Err(FlushError::Closed { .. })));
        assert!(note.change(|note| note.votes().add(1)).is_err());
    }
    assert!(matches!(storage.delete("other"), Err(OpenError::Closed { .. })));
}
