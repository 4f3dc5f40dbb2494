//! A process that keeps a document is killed at random moments, again and again on the same files.
//! What it had acknowledged is there each time.
//!
//! The number of kills is 200 for all adapters together, or `EXOSTATE_KILLS`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stops at a fault, and has threads"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use exostate::{Map, State, Store, Text, UndoOptions};
use exostate_storage::{KeptUndo, Persist, Storage, StorageOptions};

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Note {
    /// The number of changes.
    count: u64,
    body: Text,
    tags: Map<String, u64>,
}

const ADAPTER: &str = "EXOSTATE_KILL_ADAPTER";
const PLACE: &str = "EXOSTATE_KILL_PLACE";

fn adapters() -> Vec<&'static str> {
    let all = [
        ("redb", cfg!(feature = "redb")),
        ("files", cfg!(feature = "files")),
        ("sqlite", cfg!(feature = "sqlite")),
    ];
    all.into_iter().filter_map(|(name, is_there)| is_there.then_some(name)).collect()
}

fn open(adapter: &str, place: &Path) -> Storage {
    // Small enough that compactions run too.
    let options = StorageOptions::new().with_compact_bytes_min(2 << 10);
    match adapter {
        #[cfg(feature = "redb")]
        "redb" => Storage::with_options(
            exostate_storage::RedbAdapter::open(place.join("notes.redb")).unwrap(),
            options,
        ),
        #[cfg(feature = "files")]
        "files" => Storage::with_options(
            exostate_storage::FilesAdapter::open(place.join("notes")).unwrap(),
            options,
        ),
        #[cfg(feature = "sqlite")]
        "sqlite" => Storage::with_options(
            exostate_storage::SqliteAdapter::open(place.join("notes.sqlite")).unwrap(),
            options,
        ),
        other => panic!("no adapter {other}"),
    }
}

/// The view that a note has after this many changes. The text holds the last changes only.
fn check(note: &Store<Note>) -> u64 {
    let view = note.view();
    let count = view.count;
    let from = count.saturating_sub(KEPT_CHARS - 1);
    let body: String = (from..=count).filter(|at| *at > 0).map(letter).collect();
    assert_eq!(view.body, body.as_str(), "nothing half is shown");
    let tags: Vec<(String, u64)> = (0..7)
        .filter_map(|tag| {
            let last = (1..=count).rev().take(7).find(|at| at % 7 == tag)?;
            Some((tag.to_string(), last))
        })
        .collect();
    let found: Vec<(String, u64)> = view.tags.iter().map(|(tag, at)| (tag.clone(), *at)).collect();
    assert_eq!(found, tags, "nothing half is shown");
    count
}

const KEPT_CHARS: u64 = 50;

fn letter(at: u64) -> char {
    char::from(b'a' + (at % 26) as u8)
}

/// What the child does: changes that it acknowledges on its standard output once they are flushed.
#[test]
#[ignore = "the other test runs it in a process of its own"]
fn child() {
    let (Ok(adapter), Ok(place)) = (std::env::var(ADAPTER), std::env::var(PLACE)) else { return };
    let storage = open(&adapter, Path::new(&place));
    let note = storage.open::<Note>("note").unwrap();
    let _undo = KeptUndo::open(&note, "main", UndoOptions::default()).unwrap();
    println!("open {}", check(&note));
    loop {
        let count = note.view().count + 1;
        note.change(|note| {
            note.count().set(count)?;
            note.body().push_str(&letter(count).to_string())?;
            if count > KEPT_CHARS {
                note.body().delete(0..1)?;
            }
            note.tags().insert((count % 7).to_string(), count)?;
            Ok(())
        })
        .unwrap();
        if fastrand::u8(..) < 100 {
            note.flush_blocking().unwrap();
            println!("ack {count}");
        }
    }
}

/// Runs the child for a random time. Returns the last acknowledged change.
fn run_and_kill(adapter: &str, place: &Path, seed: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(ADAPTER, adapter)
        .env(PLACE, place)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (opened, is_open) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut last = 0;
        for line in out.lines().map_while(Result::ok) {
            if line.contains("open ") {
                let _ = opened.send(());
            }
            let number = line.rsplit_once("ack ").and_then(|(_, number)| number.parse().ok());
            last = number.unwrap_or(last);
        }
        last
    });
    let mut random = fastrand::Rng::with_seed(seed);
    // Every fourth child may be killed while it opens the document.
    if random.u8(..) >= 64 {
        let _ = is_open.recv_timeout(Duration::from_secs(10));
    }
    std::thread::sleep(Duration::from_micros(random.u64(0..60_000)));
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[test]
fn what_was_acknowledged_survives_kills() {
    let kills = std::env::var("EXOSTATE_KILLS").ok().and_then(|kills| kills.parse().ok());
    let adapters = adapters();
    let each = kills.unwrap_or(200u64).div_ceil(adapters.len() as u64);
    for adapter in adapters {
        let folder = tempfile::tempdir().unwrap();
        let mut acknowledged = 0;
        for seed in 0..each {
            acknowledged = run_and_kill(adapter, folder.path(), seed).max(acknowledged);
            let storage = open(adapter, folder.path());
            let note = storage.open::<Note>("note").unwrap();
            let count = check(&note);
            assert!(count >= acknowledged, "{adapter}, kill {seed}: {count} of {acknowledged}");
            assert!(storage.verify().unwrap().is_whole());
            acknowledged = count;
        }
        assert!(acknowledged > 0, "{adapter}: no child came as far as a change");
        println!("kill -9 | {adapter} | {each} kills, {acknowledged} changes | 0 lost");
    }
}
