//! The files adapter on the file system: what lies in the folders, and what it says of damage.

#![cfg(feature = "files")]

use std::fs;
use std::path::{Path, PathBuf};

use exostate_storage::{Adapter, AdapterErrorKind, Append, FilesAdapter};

fn append(adapter: &FilesAdapter, document: &str, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        let bytes = format!("record {number}");
        let record = Append { document, number, bytes: bytes.as_bytes() };
        adapter.append(&[record]).expect("append");
        adapter.sync().expect("sync");
    }
}

fn numbers(adapter: &FilesAdapter, document: &str) -> Vec<u64> {
    let stored = adapter.read(document).expect("read").expect("a document");
    stored.records.iter().map(|(number, _)| *number).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
    let mut names: Vec<String> = names.map(|name| name.expect("UTF-8")).collect();
    names.sort();
    names
}

/// A store with one document of four records, closed, and its log.
fn four_records() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    append(&FilesAdapter::open(folder.path()).expect("open"), "plan", 1..=4);
    let log = folder.path().join("documents/plan/log-1");
    (folder, log)
}

#[test]
fn the_folders_are_as_documented() {
    let folder = tempfile::tempdir().expect("a folder");
    let adapter = FilesAdapter::open(folder.path()).expect("open");
    append(&adapter, "roadmap-2", 1..=3);
    adapter.replace("roadmap-2", 2, b"snapshot").expect("replace");
    append(&adapter, "roadmap-2", 4..=4);
    append(&adapter, "../Con", 1..=1);
    append(&adapter, &"long ".repeat(51), 1..=1);

    assert_eq!(names(folder.path()), ["documents", "format", "lock"]);
    let format = fs::read(folder.path().join("format")).expect("read");
    assert_eq!(format, b"exostate files, format 1\n");
    let documents = folder.path().join("documents");
    let folders = names(&documents);
    assert_eq!(folders[0], "%2e%2e%2f%43on");
    assert!(folders[1].starts_with("long%20long%20") && folders[1].len() == 193);
    assert_eq!(names(&documents.join(&folders[1])), ["log-1", "name"]);
    assert_eq!(folders[2], "roadmap-2");
    assert_eq!(names(&documents.join("roadmap-2")), ["log-1", "log-2", "snapshot-2"]);

    adapter.replace("roadmap-2", 4, b"snapshot").expect("replace");
    assert_eq!(names(&documents.join("roadmap-2")), ["snapshot-4"]);
    adapter.delete("roadmap-2").expect("delete");
    drop(adapter);
    let adapter = FilesAdapter::open(folder.path()).expect("open");
    assert_eq!(names(&documents), folders[..2]);
    assert_eq!(adapter.list().expect("list"), ["../Con".to_owned(), "long ".repeat(51)]);
}

#[test]
fn a_folder_in_use_and_a_newer_one_are_refused() {
    let (folder, _) = four_records();
    let first = FilesAdapter::open(folder.path()).expect("open");
    let error = FilesAdapter::open(folder.path()).expect_err("it is open");
    assert_eq!(error.kind(), AdapterErrorKind::InUse);
    assert!(error.place().contains(&folder.path().display().to_string()));
    drop(first);

    fs::write(folder.path().join("format"), "exostate files, format 2\n").expect("write");
    let error = FilesAdapter::open(folder.path()).expect_err("it is newer");
    assert_eq!(error.kind(), AdapterErrorKind::Newer);
    fs::remove_file(folder.path().join("format")).expect("remove");
    let error = FilesAdapter::open(folder.path()).expect_err("the format is missing");
    assert_eq!(error.kind(), AdapterErrorKind::Damaged);
}

#[test]
fn a_torn_end_is_told_and_kept() {
    let (folder, log) = four_records();
    for turn in 1..=12 {
        let bytes = fs::read(&log).expect("read");
        fs::write(&log, &bytes[..bytes.len() - 3]).expect("write");
        let adapter = FilesAdapter::open(folder.path()).expect("open");
        let stored = adapter.read("plan").expect("read").expect("a document");
        let torn = stored.torn.expect("a torn end");
        assert!(torn.place.contains("log-1"), "{}", torn.place);
        assert_eq!(stored.records.len(), 3);
        append(&adapter, "plan", 4..=4);
        assert_eq!(numbers(&adapter, "plan"), [1, 2, 3, 4]);
        let side = log.with_file_name(format!("torn-1-{turn}"));
        assert_eq!(fs::read(side).expect("read").len() as u64, torn.bytes);
    }
    let kept = names(log.parent().expect("a folder"));
    assert_eq!(kept.iter().filter(|name| name.starts_with("torn-")).count(), 8);
}

#[test]
fn a_damaged_log_takes_no_records() {
    let (folder, log) = four_records();
    let mut bytes = fs::read(&log).expect("read");
    let place = bytes.windows(8).position(|bytes| bytes == b"record 2").expect("the record");
    bytes[place] ^= 1;
    fs::write(&log, &bytes).expect("write");

    let adapter = FilesAdapter::open(folder.path()).expect("open");
    let stored = adapter.read("plan").expect("read").expect("a document");
    assert_eq!(stored.records, [(1, b"record 1".to_vec())]);
    let unreadable = stored.unreadable.expect("damage");
    assert!(bytes.ends_with(&unreadable.bytes));
    let behind = [(3, b"record 3".to_vec()), (4, b"record 4".to_vec())];
    assert_eq!(unreadable.records, behind);

    let record = Append { document: "plan", number: 5, bytes: b"record 5" };
    let error = adapter.append(&[record]).expect_err("damaged");
    assert_eq!(error.kind(), AdapterErrorKind::Damaged);
    let error = adapter.replace("plan", 4, b"snapshot").expect_err("damaged");
    assert_eq!(error.kind(), AdapterErrorKind::Damaged);
    append(&adapter, "other", 1..=1);
    assert_eq!(fs::read(&log).expect("read"), bytes);
    adapter.delete("plan").expect("delete");
    append(&adapter, "plan", 1..=1);
}

#[test]
fn a_folder_that_was_renamed_is_not_read_as_another_document() {
    let (folder, log) = four_records();
    let plan = log.parent().expect("a folder");
    fs::rename(plan, plan.with_file_name("trip")).expect("rename");
    let adapter = FilesAdapter::open(folder.path()).expect("open");
    let error = adapter.read("trip").expect_err("it is another document");
    assert_eq!(error.kind(), AdapterErrorKind::Damaged);
    fs::create_dir(plan.with_file_name("Foreign")).expect("a folder");
    assert_eq!(adapter.verify().expect("verify").len(), 1);
}

/// The open files of this process in a folder.
#[cfg(target_os = "linux")]
fn open_files(folder: &Path) -> usize {
    let files = fs::read_dir("/proc/self/fd").expect("the open files");
    let paths = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    paths.filter(|path| path.starts_with(folder)).count()
}

#[test]
fn many_documents_do_not_keep_many_files_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let adapter = FilesAdapter::open(folder.path()).expect("open");
    let documents: Vec<String> = (0..200).map(|number| format!("document {number}")).collect();
    for number in 1..=2 {
        let record = |document| Append { document, number, bytes: b"record" };
        let records: Vec<Append<'_>> = documents.iter().map(|name| record(name)).collect();
        adapter.append(&records).expect("append");
    }
    adapter.sync().expect("sync");
    #[cfg(target_os = "linux")]
    assert!(open_files(folder.path()) <= 65, "{}", open_files(folder.path()));
    drop(adapter);
    let adapter = FilesAdapter::open(folder.path()).expect("open");
    assert_eq!(adapter.list().expect("list").len(), 200);
    assert!(documents.iter().all(|document| numbers(&adapter, document) == [1, 2]));
}

#[test]
fn readers_and_the_writer_go_on_at_the_same_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let adapter = FilesAdapter::open(folder.path()).expect("open");
    append(&adapter, "plan", 1..=1);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 2..=60 {
                append(&adapter, "plan", number..=number);
                if number % 7 == 0 {
                    adapter.replace("plan", number - 2, b"snapshot").expect("replace");
                }
            }
        });
        while !writer.is_finished() {
            assert_eq!(adapter.list().expect("list"), ["plan"]);
            let stored = adapter.read("plan").expect("read").expect("a document");
            assert!(stored.torn.is_none() && stored.unreadable.is_none());
            let covers = stored.snapshot.map_or(0, |(covers, _)| covers);
            let expected = covers + 1..;
            assert!(stored.records.iter().zip(expected).all(|((found, _), next)| *found == next));
            assert!(!stored.records.is_empty());
        }
    });
}
