//! The files adapter on the file system: what lies in the folders, and what it says of damage.

#![cfg(feature = "files")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use exostate_storage::{
    Adapter, AdapterErrorKind, Append, Disk, DiskFile, FilesAdapter, SystemDisk,
};

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

/// The disk of the system. While `fails`, nothing in a folder of this name can be opened, and no
/// folder can be removed.
struct OneFolderFails {
    folder: &'static str,
    fails: Arc<AtomicBool>,
    system: SystemDisk,
}

impl OneFolderFails {
    fn new(folder: &'static str, fails: &Arc<AtomicBool>) -> Self {
        Self { folder, fails: Arc::clone(fails), system: SystemDisk::default() }
    }

    fn fails(&self) -> bool {
        self.fails.load(Ordering::Relaxed)
    }

    fn check(&self, path: &Path) -> io::Result<()> {
        let is_in = path.components().any(|part| part.as_os_str() == self.folder);
        if is_in && self.fails() { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    }
}

impl Disk for OneFolderFails {
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        self.system.lock(path)
    }
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.system.make_folder(path)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.system.list(folder)
    }
    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        self.check(path).and_then(|()| self.system.read(path, bytes_max))
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.check(path).and_then(|()| self.system.create(path))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.check(path).and_then(|()| self.system.open(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.system.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.system.remove(path)
    }
    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        if self.fails() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.system.remove_folder(path)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.check(path).and_then(|()| self.system.sync_folder(path))
    }
}

fn one_document_cannot_be_written(has_snapshot: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let fails = Arc::new(AtomicBool::new(false));
    let disk = || OneFolderFails::new("bad", &fails);
    let adapter = FilesAdapter::on(disk(), folder.path()).expect("open");
    append(&adapter, "bad", 1..=1);
    if has_snapshot {
        // The next record begins a new log.
        adapter.replace("bad", 1, b"snapshot").expect("replace");
        adapter.sync().expect("sync");
    }
    append(&adapter, "good", 1..=1);
    // Many documents, so that the log of the bad one is closed.
    (0..64).for_each(|at| append(&adapter, &format!("other {at}"), 1..=1));
    fails.store(true, Ordering::Relaxed);
    for number in 2..5 {
        let bad = Append { document: "bad", number: 2, bytes: b"record 2" };
        let failed = adapter.append(&[bad]).and_then(|()| adapter.sync());
        assert!(failed.expect_err("it cannot be opened").place().contains("bad"));
        append(&adapter, "good", number..=number);
    }
    // Nor does it stop the opening of the place, and it is not taken for a new document.
    drop(adapter);
    let adapter = FilesAdapter::on(disk(), folder.path()).expect("open");
    assert_eq!(numbers(&adapter, "good"), [1, 2, 3, 4]);
    assert!(adapter.read("bad").is_err());
    let bad = Append { document: "bad", number: 1, bytes: b"new" };
    assert!(adapter.append(&[bad]).is_err());
    fails.store(false, Ordering::Relaxed);
    append(&adapter, "bad", 2..=2);
    let expected: &[u64] = if has_snapshot { &[2] } else { &[1, 2] };
    assert_eq!(numbers(&adapter, "bad"), expected);
}

#[test]
fn a_document_that_cannot_be_written_does_not_stop_the_others() {
    one_document_cannot_be_written(false);
    one_document_cannot_be_written(true);
}

#[test]
fn folders_that_cannot_be_removed_do_not_stop_later_deletions() {
    let folder = tempfile::tempdir().expect("a folder");
    let fails = Arc::new(AtomicBool::new(true));
    for round in 0..3 {
        let disk = OneFolderFails::new("nothing", &fails);
        let adapter = FilesAdapter::on(disk, folder.path()).expect("open");
        for document in ["a", "b", "c"] {
            append(&adapter, document, 1..=1);
            adapter.delete(document).expect("delete");
        }
        // Only the last ones are left.
        let first = folder.path().join(format!("documents/=deleted-{}", round * 3 + 1));
        fs::remove_dir_all(first).expect("remove");
        assert!(adapter.list().expect("list").is_empty());
    }
    fails.store(false, Ordering::Relaxed);
    FilesAdapter::open(folder.path()).expect("open");
    assert!(names(&folder.path().join("documents")).is_empty());
}

#[test]
fn a_stray_file_among_the_folders_does_not_stop_the_others() {
    let (folder, _) = four_records();
    fs::write(folder.path().join("documents/notes"), "a shopping list").expect("write");
    let adapter = FilesAdapter::open(folder.path()).expect("open");
    assert_eq!(numbers(&adapter, "plan"), [1, 2, 3, 4]);
    assert!(adapter.read("notes").is_err());
    let record = Append { document: "notes", number: 1, bytes: b"record" };
    assert!(adapter.append(&[record]).is_err());
    append(&adapter, "plan", 5..=5);
}

#[test]
fn a_folder_that_is_put_back_while_the_place_is_open_is_not_written_over() {
    let (folder, log) = four_records();
    let adapter = FilesAdapter::open(folder.path()).expect("open");
    let copy = folder.path().join("documents/copy");
    fs::create_dir(&copy).expect("a folder");
    let mut bytes = fs::read(&log).expect("read");
    // The name in the header is another one, with the same length.
    let place = bytes.windows(4).position(|bytes| bytes == b"plan").expect("the name");
    bytes[place..place + 4].copy_from_slice(b"copy");
    let checksum = crc32c::crc32c(&bytes[..place + 4]).to_le_bytes();
    bytes[place + 4..place + 8].copy_from_slice(&checksum);
    fs::write(copy.join("log-1"), &bytes).expect("write");
    let record = Append { document: "copy", number: 1, bytes: b"new" };
    let refused = adapter.append(&[record]).expect_err("there is a document");
    assert_eq!(refused.kind(), AdapterErrorKind::Damaged);
    assert_eq!(fs::read(copy.join("log-1")).expect("read"), bytes);
    drop(adapter);
    let adapter = FilesAdapter::open(folder.path()).expect("open");
    assert_eq!(numbers(&adapter, "copy"), [1, 2, 3, 4]);
}
