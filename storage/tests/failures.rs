//! A disk that fails: nothing acknowledged is lost, nothing is refused without a reason.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stops at a fault, and has threads"
)]

mod support;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use exostate::{ApplyError, ChangeError, Counter, Map, State, Store, UndoOptions};
use exostate_storage::{
    AdapterErrorKind, Damage, Durability, FlushError, KeptUndo, MemoryAdapter, OpenError, Persist,
    RefusedError, Status, Storage, WhenFull,
};
use support::{SimAdapter, quick, until};

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Note {
    title: String,
    votes: Counter,
    tags: Map<String, i64>,
}

/// The note as it is after a crash.
fn crashed(adapter: &SimAdapter) -> Note {
    let storage = Storage::new(adapter.crash(0));
    let view = storage.open::<Note>("note").unwrap().view();
    (*view).clone()
}

#[test]
fn a_failing_disk_is_told_and_tried_again() {
    let adapter = SimAdapter::new();
    let storage = Storage::with_options(adapter.clone(), quick());
    let note = storage.open::<Note>("note").unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let _watch = note.on_storage_status(move |status| log.lock().unwrap().push(status.to_string()));
    note.change(|note| note.title().set("draft")).unwrap();
    note.flush_blocking().unwrap();
    // A flush ends before the callbacks are called.
    let is_told =
        || told.lock().unwrap().last().is_some_and(|last| last == "everything is on disk");
    until("it is told", is_told);
    assert_eq!(*told.lock().unwrap(), ["1 changes are not on disk yet", "everything is on disk"]);
    told.lock().unwrap().clear();
    adapter.fail(true);
    note.change(|note| note.title().set("plan")).unwrap();
    let failed = note.flush_blocking().unwrap_err();
    assert_eq!(failed.to_string(), "note: not on disk yet: /disk: the disk is full: no space left");
    assert!(matches!(&failed, FlushError::Failing { error, .. }
        if error.kind() == AdapterErrorKind::Full));
    assert!(matches!(note.storage_status(), Some(Status::Failing { behind: 1, .. })));
    assert_eq!(crashed(&adapter).title, "draft");
    adapter.fail(false);
    until("it is written once the disk is well", || crashed(&adapter).title == "plan");
    note.flush_blocking().unwrap();
    until("it is told", is_told);
    let told = told.lock().unwrap();
    assert!(told[1].contains("the disk is full"), "{told:?}");
}

#[test]
fn a_full_queue_refuses_changes_and_imports_which_may_come_again() {
    let adapter = SimAdapter::new();
    let storage = Storage::with_options(adapter.clone(), quick().with_queue(10, 1 << 20));
    let note = storage.open::<Note>("note").unwrap();
    adapter.fail(true);
    let mut made = 0;
    let refused = loop {
        match note.change(|note| note.votes().add(1)) {
            Ok(()) => made += 1,
            Err(error) => break error,
        }
    };
    // Once the failure is known, half of the queue is left to other documents.
    assert!((5..=10).contains(&made), "{made}");
    let ChangeError::NotKept(cause) = &refused else { panic!("{refused}") };
    let cause = cause.downcast_ref::<RefusedError>().unwrap();
    assert!(matches!(cause, RefusedError::Full { records: 5..=10, .. }), "{cause}");
    let theirs = Store::<Note>::new();
    theirs.change(|note| note.title().set("theirs")).unwrap();
    assert!(matches!(note.apply(&theirs.save()), Err(ApplyError::NotKept(_))));
    assert_eq!((note.view().votes.value(), note.view().title.as_str()), (made, ""));
    adapter.fail(false);
    until("the queue is written", || note.storage_status().unwrap().is_kept());
    note.apply(&theirs.save()).unwrap();
    note.change(|note| note.votes().add(1)).unwrap();
    note.flush_blocking().unwrap();
    assert_eq!(crashed(&adapter), *note.view());
}

#[test]
fn a_full_queue_may_let_changes_go_on_in_memory() {
    let adapter = SimAdapter::new();
    let options = quick().with_queue(10, 1 << 20).with_when_full(WhenFull::GoOn);
    for durability in [Durability::Acknowledge, Durability::EveryCommit] {
        let options = options.clone().with_durability(durability);
        let options = options.with_wait_max(Duration::from_millis(1));
        let storage = Storage::with_options(adapter.clone(), options);
        let note = storage.open::<Note>("note").unwrap();
        let before = note.view().votes.value();
        adapter.fail(true);
        (0..50).for_each(|_| note.change(|note| note.votes().add(1)).unwrap());
        assert!(matches!(note.storage_status(), Some(Status::InMemory { .. })));
        assert_eq!(
            (note.view().votes.value(), crashed(&adapter).votes.value()),
            (before + 50, before)
        );
        adapter.fail(false);
        until("the whole document is written", || crashed(&adapter).votes.value() == before + 50);
        note.change(|note| note.votes().add(1)).unwrap();
        note.flush_blocking().unwrap();
        assert_eq!(crashed(&adapter), *note.view());
        drop(note);
        storage.close().unwrap();
    }
}

#[test]
fn every_commit_is_on_disk_before_it_is_announced() {
    let adapter = SimAdapter::new();
    let options = quick().with_durability(Durability::EveryCommit);
    let storage = Storage::with_options(adapter.clone(), options);
    let note = storage.open::<Note>("note").unwrap();
    let disk = adapter.clone();
    let _watch = note.watch(Note::path().votes(), move |votes| {
        assert!(crashed(&disk).votes.value() >= votes.new().unwrap().value());
    });
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (note, disk) = (note.clone(), adapter.clone());
            std::thread::spawn(move || {
                for _ in 0..20 {
                    let votes = note.change(|note| {
                        note.votes().add(1)?;
                        note.votes().get()
                    });
                    assert!(
                        crashed(&disk).votes.value() >= votes.unwrap(),
                        "it is on disk on return"
                    );
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(crashed(&adapter).votes.value(), 80);
}

#[test]
fn a_change_that_could_not_be_announced_is_announced_later() {
    let adapter = SimAdapter::new();
    let options =
        quick().with_durability(Durability::EveryCommit).with_wait_max(Duration::from_millis(20));
    let storage = Storage::with_options(adapter.clone(), options);
    let note = storage.open::<Note>("note").unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let _watch = note.watch(Note::path().title(), move |title| {
        log.lock().unwrap().push(title.new().unwrap().clone());
    });
    adapter.fail(true);
    note.change(|note| note.title().set("plan")).unwrap();
    note.change(|note| note.title().set("trip")).unwrap();
    assert!(told.lock().unwrap().is_empty());
    adapter.fail(false);
    until("both are announced, in order", || *told.lock().unwrap() == ["plan", "trip"]);
}

#[test]
fn a_document_opened_on_a_full_disk_refuses_changes_until_its_id_is_on_disk() {
    let adapter = SimAdapter::new();
    let storage = Storage::with_options(adapter.clone(), quick());
    let note = storage.open::<Note>("note").unwrap();
    note.change(|note| note.title().set("plan")).unwrap();
    drop(note);
    storage.flush_blocking().unwrap();
    adapter.fail(true);
    let note = storage.open::<Note>("note").unwrap();
    assert_eq!(note.view().title, "plan");
    let refused = note.change(|note| note.title().set("trip")).unwrap_err();
    assert_eq!(refused.to_string(), "note: the disk fails: /disk: the disk is full: no space left");
    adapter.fail(false);
    until("changes are taken again", || note.change(|note| note.title().set("trip")).is_ok());
}

#[test]
fn a_document_closed_on_a_full_disk_is_not_opened_without_its_last_changes() {
    let adapter = SimAdapter::new();
    let storage = Storage::with_options(adapter.clone(), quick());
    let note = storage.open::<Note>("note").unwrap();
    adapter.fail(true);
    note.change(|note| note.title().set("plan")).unwrap();
    drop(note);
    let refused = storage.open::<Note>("note").unwrap_err();
    assert!(matches!(refused, OpenError::Unwritten { .. }), "{refused}");
    adapter.fail(false);
    until("it opens", || {
        storage.open::<Note>("note").is_ok_and(|note| note.view().title == "plan")
    });
}

#[test]
fn closing_writes_everything_or_says_what_is_missing() {
    let adapter = SimAdapter::new();
    let storage = Storage::with_options(adapter.clone(), quick());
    let note = storage.open::<Note>("note").unwrap();
    note.change(|note| note.title().set("plan")).unwrap();
    storage.close().unwrap();
    assert_eq!(crashed(&adapter).title, "plan");
    let refused = note.change(|note| note.title().set("trip")).unwrap_err();
    assert_eq!(refused.to_string(), "note: the storage is closed");
    drop(note);
    let storage = Storage::with_options(adapter.clone(), quick());
    let note = storage.open::<Note>("note").unwrap();
    adapter.fail(true);
    note.change(|note| note.title().set("trip")).unwrap();
    assert!(matches!(storage.close(), Err(FlushError::Failing { .. })));
}

fn with_damage() -> SimAdapter {
    let adapter = SimAdapter::new();
    let storage = Storage::new(adapter.clone());
    let note = storage.open::<Note>("note").unwrap();
    let other = storage.open::<Note>("other").unwrap();
    for at in 0..6 {
        note.change(|note| note.tags().insert(at.to_string(), at)).unwrap();
        other.change(|note| note.votes().add(1)).unwrap();
        storage.flush_blocking().unwrap();
    }
    drop((note, other));
    storage.close().unwrap();
    let stored = adapter.stored("note");
    let (number, mut bytes) = stored.records[4].clone();
    bytes[7] ^= 0x10;
    adapter.put("note", number, &bytes);
    adapter
}

#[test]
fn a_damaged_document_is_quarantined_and_the_others_go_on() {
    let adapter = with_damage();
    let before = adapter.stored("note");
    let storage = Storage::new(adapter.clone());
    let refused = storage.open::<Note>("note").unwrap_err();
    assert_eq!(refused.to_string(), "note: damaged: record 5: its checksum is wrong");
    storage.open::<Note>("other").unwrap().change(|note| note.votes().add(1)).unwrap();
    let part = storage.open_damaged::<Note>("note").unwrap();
    assert_eq!(part.view().tags.len(), 3);
    let read_only = part.change(|note| note.title().set("x")).unwrap_err();
    assert!(read_only.to_string().starts_with("note: read-only: record 5"), "{read_only}");
    assert!(matches!(part.storage_status(), Some(Status::ReadOnly { .. })));
    assert!(matches!(storage.repair("note"), Err(OpenError::Open { .. })));
    drop(part);
    let report = storage.verify().unwrap();
    assert!(!report.is_whole());
    let damaged: Vec<(&str, &Option<Damage>)> =
        report.documents.iter().map(|found| (found.name.as_str(), &found.damage)).collect();
    assert!(damaged[0].1.is_some() && damaged[1].1.is_none(), "{damaged:?}");
    storage.close().unwrap();
    assert_eq!(adapter.stored("note"), before, "kept as found");
}

#[test]
fn a_repaired_document_takes_the_rest_from_a_peer() {
    let adapter = with_damage();
    let peer = Store::<Note>::new();
    let storage = Storage::new(adapter.clone());
    let report = storage.repair("note").unwrap();
    assert_eq!(report.aside.as_deref(), Some("note.damaged-1"));
    assert_eq!(report.behind, 2);
    // What was found is kept, can be read as far as before, and counts as damage no more.
    let found = storage.verify().unwrap();
    assert!(found.is_whole());
    assert_eq!(found.documents[1].set_aside.as_deref(), Some("note"));
    assert!(matches!(storage.open::<Note>("note.damaged-1"), Err(OpenError::SetAside { .. })));
    let part = storage.open_damaged::<Note>("note.damaged-1").unwrap();
    assert_eq!(part.view().tags.len(), 3);
    drop(part);
    assert_eq!(storage.repair("note.damaged-1").unwrap().aside, None);
    let note = storage.open::<Note>("note").unwrap();
    assert_eq!(note.view().tags.len(), 3);
    // The two updates behind the damage wait for the one that is lost.
    assert_eq!(note.document().own_pending().updates, 2);
    note.change(|note| note.title().set("still alive")).unwrap();
    peer.merge(&note).unwrap();
    note.flush_blocking().unwrap();
    drop(note);
    storage.flush_blocking().unwrap();
    assert_eq!(storage.repair("note").unwrap().aside, None, "nothing is damaged any more");
    let note = storage.open::<Note>("note").unwrap();
    assert_eq!(note.document().own_pending().updates, 2);
}

#[test]
fn documents_go_out_and_come_in_as_files() {
    let storage = Storage::in_memory();
    let note = storage.open::<Note>("note").unwrap();
    note.change(|note| note.title().set("plan")).unwrap();
    let file = storage.export("note").unwrap();
    storage.import("copy", &file).unwrap();
    let copy = storage.open::<Note>("copy").unwrap();
    assert_eq!(copy.view(), note.view());
    assert!(matches!(
        storage.import("copy", &file),
        Err(OpenError::Exists { .. } | OpenError::Open { .. })
    ));
    assert_ne!(copy.replica(), note.replica());
    assert!(copy.document().is_own(note.replica()));
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 1;
        assert!(matches!(storage.import("bad", &damaged), Err(OpenError::Damaged { .. })));
    }
    assert_eq!(storage.list().unwrap(), ["copy", "note"]);
    drop(copy);
    storage.delete("copy").unwrap();
    assert!(matches!(storage.delete("note"), Err(OpenError::Open { .. })));
    assert_eq!(storage.list().unwrap(), ["note"]);
    // A document that was deleted begins anew.
    assert_eq!(storage.open::<Note>("copy").unwrap().view().title, "");
}

#[test]
fn a_backup_is_made_while_the_storage_is_in_use() {
    let adapter = SimAdapter::new();
    let storage = Storage::new(adapter.clone());
    let note = storage.open::<Note>("note").unwrap();
    let backup = MemoryAdapter::new();
    for round in 1..4 {
        note.change(|note| note.votes().add(1)).unwrap();
        assert!(storage.backup(&backup).unwrap().is_empty());
        let restored = Storage::new(support::copy(&backup));
        let restored = restored.open::<Note>("note").unwrap();
        assert_eq!(restored.view().votes.value(), round);
        restored.change(|note| note.votes().add(10)).unwrap();
        assert_ne!(restored.replica(), note.replica());
    }
    let file = storage.export("note").unwrap();
    drop(note);
    storage.close().unwrap();
    let (number, mut bytes) = adapter.stored("note").records[0].clone();
    bytes[4] ^= 1;
    adapter.put("note", number, &bytes);
    let storage = Storage::new(adapter);
    assert_eq!(storage.backup(&backup).unwrap().len(), 1, "a damaged document is named");
    assert_eq!(storage.restore("note", &file).unwrap().as_deref(), Some("note.damaged-1"));
    let note = storage.open_existing::<Note>("note").unwrap();
    assert_eq!(note.view().votes.value(), 3);
}

#[test]
fn writers_that_flush_at_once_share_a_sync() {
    // While one group is written, the others come together.
    let adapter = SimAdapter::new();
    adapter.slow.store(true, Ordering::SeqCst);
    let storage = Storage::new(adapter.clone());
    let note = storage.open::<Note>("note").unwrap();
    let before = adapter.syncs.load(Ordering::SeqCst);
    let begun = Arc::new(std::sync::Barrier::new(16));
    let threads: Vec<_> = (0..16)
        .map(|_| {
            let (note, begun) = (note.clone(), Arc::clone(&begun));
            std::thread::spawn(move || {
                begun.wait();
                for _ in 0..20 {
                    note.change(|note| note.votes().add(1)).unwrap();
                    note.flush_blocking().unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(crashed(&adapter).votes.value(), 320);
    let syncs = adapter.syncs.load(Ordering::SeqCst) - before;
    assert!(syncs < 160, "{syncs} syncs for 320 flushes");
}

#[test]
fn what_was_made_in_memory_is_written_although_nobody_writes_to_it_again() {
    for keeps_handle in [true, false] {
        let adapter = SimAdapter::new();
        let options = quick().with_queue(10, 1 << 20).with_when_full(WhenFull::GoOn);
        let storage = Storage::with_options(adapter.clone(), options);
        let other = storage.open::<Note>("other").unwrap();
        let note = storage.open::<Note>("note").unwrap();
        let undo = KeptUndo::open(&note, "main", UndoOptions::default()).unwrap();
        adapter.fail(true);
        (0..20).for_each(|_| other.change(|note| note.votes().add(1)).unwrap());
        // The queue is soon full.
        (0..20).for_each(|_| note.change(|note| note.votes().add(1)).unwrap());
        assert!(matches!(note.storage_status(), Some(Status::InMemory { .. })));
        note.document().follow(7);
        assert!(note.flush_blocking().is_err(), "it is in memory, and its undo stack is not");
        drop((undo, other));
        let note = keeps_handle.then_some(note);
        adapter.fail(false);
        until("it is written", || crashed(&adapter).votes.value() == 20);
        until("it opens", || storage.open::<Note>("note").is_ok());
        drop(note);
        let again = storage.open::<Note>("note").unwrap();
        assert_eq!((again.view().votes.value(), again.document().lineage()), (20, 7));
        again.flush_blocking().unwrap();
    }
}

#[test]
fn a_flush_does_not_confirm_what_was_dropped() {
    let adapter = SimAdapter::new();
    let options = quick().with_queue(10, 1 << 20).with_when_full(WhenFull::GoOn);
    let storage = Storage::with_options(adapter.clone(), options);
    let note = storage.open::<Note>("note").unwrap();
    let undo = KeptUndo::open(&note, "main", UndoOptions::default()).unwrap();
    for round in 1..20 {
        adapter.fail(true);
        (0..15).for_each(|_| note.change(|note| note.votes().add(1)).unwrap());
        adapter.fail(false);
        while note.flush_blocking().is_err() {
            std::thread::yield_now();
        }
        assert_eq!(crashed(&adapter).votes.value(), round * 15);
    }
    drop(undo);
}

#[test]
fn nothing_is_written_to_a_damaged_document() {
    let adapter = with_damage();
    let before = adapter.stored("note");
    let storage = Storage::new(adapter.clone());
    let part = storage.open_damaged::<Note>("note").unwrap();
    let undo = KeptUndo::open(&part, "main", UndoOptions::default()).unwrap();
    part.document().follow(9);
    part.document().rewrite_pending();
    let _ = part.flush_blocking();
    drop((undo, part));
    storage.close().unwrap();
    assert_eq!(adapter.stored("note"), before);
}

#[test]
fn a_callback_that_panics_stops_nothing() {
    let adapter = SimAdapter::new();
    let storage = Storage::with_options(adapter.clone(), quick());
    let note = storage.open::<Note>("note").unwrap();
    let _watch = note.on_storage_status(|status| panic!("{status}"));
    for count in 1..5 {
        note.change(|note| note.votes().add(1)).unwrap();
        note.flush_blocking().unwrap();
        assert_eq!(crashed(&adapter).votes.value(), count);
    }
}

#[test]
fn documents_opened_while_the_storage_closes_do_not_wait_for_ever() {
    for _ in 0..20 {
        let storage = Storage::in_memory();
        let openers: Vec<_> = (0..4)
            .map(|at| {
                let storage = storage.clone();
                std::thread::spawn(move || {
                    for round in 0..20 {
                        let opened = storage.open::<Note>(&format!("{at} {round}"));
                        match opened {
                            // Nobody waits for ever.
                            Ok(note) => drop(note.flush_blocking()),
                            Err(error) => {
                                assert!(matches!(error, OpenError::Closed { .. }), "{error}");
                            }
                        }
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_micros(fastrand::u64(..500)));
        // A document that was being opened may not have its id on disk.
        assert!(matches!(storage.close(), Ok(()) | Err(FlushError::Closed { .. })));
        openers.into_iter().for_each(|opener| opener.join().unwrap());
    }
}
