//! One suite that every adapter passes: it says what the trait `Adapter` promises.
//! `conformance/model.rs` compares the adapters with a simple model.

mod conformance {
    #[cfg(feature = "encryption")]
    mod keys;
    mod model;
    pub(crate) mod places;
    mod processes;
}

use std::sync::atomic::{AtomicBool, Ordering};

use conformance::places::{Kind, Place, all};
use exostate_storage::{Adapter, AdapterError, AdapterErrorKind, Append, Stored};

/// A name that every adapter keeps, with hidden names too, has at most this length.
const LONG_NAME_BYTES: usize = 111;

fn record<'a>(document: &'a str, number: u64, bytes: &'a [u8]) -> Append<'a> {
    Append { document, number, bytes }
}

/// Runs a test for each of these kinds of adapters, in a new place.
fn each(kinds: Vec<Kind>, test: impl Fn(&Place, Box<dyn Adapter>)) {
    for kind in kinds {
        eprintln!("with {}", kind.name);
        let place = Place::new(kind);
        let adapter = place.open().expect("it opens");
        test(&place, adapter);
    }
}

fn append(adapter: &dyn Adapter, records: &[Append<'_>]) {
    adapter.append(records).expect("it takes records");
    adapter.sync().expect("it syncs");
}

fn replace(adapter: &dyn Adapter, document: &str, covers: u64, snapshot: &[u8]) {
    adapter.replace(document, covers, snapshot).expect("it takes a snapshot");
    adapter.sync().expect("it syncs");
}

fn delete(adapter: &dyn Adapter, document: &str) {
    adapter.delete(document).expect("it deletes");
    adapter.sync().expect("it syncs");
}

fn list(adapter: &dyn Adapter) -> Vec<String> {
    adapter.list().expect("it lists")
}

/// The snapshot and the records of a document. The number of the last record, if the adapter keeps
/// it, is right.
fn read(adapter: &dyn Adapter, document: &str) -> Option<Stored> {
    let stored = adapter.read(document).expect("it reads")?;
    let covers = stored.snapshot.as_ref().map_or(0, |(covers, _)| *covers);
    let end = stored.records.last().map_or(covers, |(number, _)| *number);
    assert!(stored.last.is_none_or(|last| last == end), "{:?} of {end}", stored.last);
    assert_eq!((&stored.torn, &stored.unreadable), (&None, &None));
    let mut plain = Stored::new();
    (plain.snapshot, plain.records) = (stored.snapshot, stored.records);
    Some(plain)
}

/// A document as it should be.
fn stored(snapshot: Option<(u64, &[u8])>, records: &[(u64, &[u8])]) -> Option<Stored> {
    let mut stored = Stored::new();
    stored.snapshot = snapshot.map(|(covers, bytes)| (covers, bytes.to_vec()));
    stored.records = records.iter().map(|(number, bytes)| (*number, bytes.to_vec())).collect();
    Some(stored)
}

fn kind<T>(result: Result<T, AdapterError>) -> AdapterErrorKind {
    result.err().expect("an error").kind()
}

/// The adapter, closed and opened again. Another test may start a process at this moment, which has
/// the open files of this one, and so their locks, until its program begins.
fn reopened(place: &Place, adapter: Box<dyn Adapter>) -> Box<dyn Adapter> {
    drop(adapter);
    for _ in 0..500 {
        match place.open() {
            Err(error) if error.kind() == AdapterErrorKind::InUse => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            opened => return opened.expect("it opens again"),
        }
    }
    panic!("it stays in use");
}

#[test]
fn records_are_read_in_order() {
    each(all(), |place, adapter| {
        append(&*adapter, &[record("a", 1, b"one"), record("a", 2, b"two")]);
        append(&*adapter, &[record("a", 3, b"three")]);
        let expected = stored(None, &[(1, b"one"), (2, b"two"), (3, b"three")]);
        assert_eq!(read(&*adapter, "a"), expected);
        let adapter = reopened(place, adapter);
        assert_eq!(read(&*adapter, "a"), expected);
        assert_eq!(read(&*adapter, "b"), None);
    });
}

#[test]
fn one_append_takes_records_of_several_documents() {
    each(all(), |place, adapter| {
        let a = [record("a", 1, b"a1"), record("a", 2, b"a2")];
        let b = [record("b", 1, b"b1"), record("b", 2, b"b2")];
        append(&*adapter, &[a[0], b[0], b[1], a[1]]);
        append(&*adapter, &[]);
        let adapter = reopened(place, adapter);
        assert_eq!(read(&*adapter, "a"), stored(None, &[(1, b"a1"), (2, b"a2")]));
        assert_eq!(read(&*adapter, "b"), stored(None, &[(1, b"b1"), (2, b"b2")]));
    });
}

#[test]
fn a_number_that_comes_again_replaces_the_record() {
    each(all(), |place, adapter| {
        append(&*adapter, &[record("a", 1, b"one"), record("a", 2, b"old"), record("a", 3, b"o")]);
        append(&*adapter, &[record("a", 2, b"the new one"), record("a", 3, b"")]);
        let expected = stored(None, &[(1, b"one"), (2, b"the new one"), (3, b"")]);
        assert_eq!(read(&*adapter, "a"), expected);
        // All again, as a rotation of keys does it.
        append(&*adapter, &[record("a", 1, b"1"), record("a", 2, b"2"), record("a", 3, b"3")]);
        let adapter = reopened(place, adapter);
        assert_eq!(read(&*adapter, "a"), stored(None, &[(1, b"1"), (2, b"2"), (3, b"3")]));
        append(&*adapter, &[record("a", 4, b"4")]);
        replace(&*adapter, "a", 3, b"three");
        let adapter = reopened(place, adapter);
        assert_eq!(read(&*adapter, "a"), stored(Some((3, b"three")), &[(4, b"4")]));
    });
}

#[test]
fn calls_that_are_made_again_change_nothing() {
    each(all(), |place, adapter| {
        append(&*adapter, &[record("a", 1, b"one"), record("gone", 1, b"one")]);
        for _ in 0..2 {
            adapter.append(&[record("a", 2, b"two"), record("b", 1, b"one")]).expect("appends");
            adapter.replace("a", 2, b"both").expect("replaces");
            adapter.append(&[record("a", 3, b"three")]).expect("appends");
            adapter.delete("gone").expect("deletes");
        }
        adapter.sync().expect("syncs");
        let adapter = reopened(place, adapter);
        assert_eq!(read(&*adapter, "a"), stored(Some((2, b"both")), &[(3, b"three")]));
        assert_eq!(read(&*adapter, "b"), stored(None, &[(1, b"one")]));
        assert_eq!(list(&*adapter), ["a", "b"]);
    });
}

#[test]
fn a_snapshot_replaces_exactly_what_it_covers() {
    each(all(), |place, adapter| {
        let records: Vec<_> = (1..=5).map(|number| record("a", number, b"r")).collect();
        append(&*adapter, &records);
        append(&*adapter, &[record("b", 1, b"b")]);
        replace(&*adapter, "a", 3, b"three");
        assert_eq!(read(&*adapter, "a"), stored(Some((3, b"three")), &[(4, b"r"), (5, b"r")]));
        append(&*adapter, &[record("a", 6, b"six")]);
        replace(&*adapter, "a", 5, b"five");
        let adapter = reopened(place, adapter);
        assert_eq!(read(&*adapter, "a"), stored(Some((5, b"five")), &[(6, b"six")]));
        replace(&*adapter, "a", 6, b"all");
        // The same number again: another snapshot of the same state.
        replace(&*adapter, "a", 6, b"");
        assert_eq!(read(&*adapter, "a"), stored(Some((6, b"")), &[]));
        append(&*adapter, &[record("a", 7, b"seven")]);
        let adapter = reopened(place, adapter);
        assert_eq!(read(&*adapter, "a"), stored(Some((6, b"")), &[(7, b"seven")]));
        assert_eq!(read(&*adapter, "b"), stored(None, &[(1, b"b")]));
    });
}

#[test]
fn a_document_can_begin_with_a_snapshot() {
    each(all(), |place, adapter| {
        replace(&*adapter, "a", 9, b"nine");
        assert_eq!(read(&*adapter, "a"), stored(Some((9, b"nine")), &[]));
        append(&*adapter, &[record("a", 10, b"ten")]);
        replace(&*adapter, "zero", 0, b"nothing");
        let adapter = reopened(place, adapter);
        assert_eq!(read(&*adapter, "a"), stored(Some((9, b"nine")), &[(10, b"ten")]));
        assert_eq!(read(&*adapter, "zero"), stored(Some((0, b"nothing")), &[]));
        assert_eq!(list(&*adapter), ["a", "zero"]);
    });
}

#[test]
fn a_snapshot_can_take_the_place_of_everything() {
    each(all(), |place, adapter| {
        let overwrite = |document: &str, covers, snapshot: &[u8]| {
            adapter.overwrite(document, covers, snapshot).expect("it takes a snapshot");
            adapter.sync().expect("it syncs");
        };
        append(&*adapter, &[record("a", 1, b"one"), record("a", 2, b"two"), record("b", 1, b"")]);
        replace(&*adapter, "a", 1, b"one");
        overwrite("a", 2, b"all of it");
        assert_eq!(read(&*adapter, "a"), stored(Some((2, b"all of it")), &[]));
        overwrite("a", 2, b"once more");
        append(&*adapter, &[record("a", 3, b"three")]);
        overwrite("new", 0, b"nothing before");
        let adapter = reopened(place, adapter);
        assert_eq!(read(&*adapter, "a"), stored(Some((2, b"once more")), &[(3, b"three")]));
        assert_eq!(read(&*adapter, "new"), stored(Some((0, b"nothing before")), &[]));
        assert_eq!(read(&*adapter, "b"), stored(None, &[(1, b"")]));
        assert_eq!(list(&*adapter), ["a", "b", "new"]);
    });
}

#[test]
fn a_place_is_whole_after_the_newest_document_is_deleted() {
    each(all(), |_, adapter| {
        append(&*adapter, &[record("a", 1, b"one"), record("b", 1, b"one")]);
        delete(&*adapter, "b");
        assert!(adapter.verify().expect("it can be checked").is_empty());
    });
}

#[test]
fn nothing_of_a_deleted_document_comes_back() {
    each(all(), |place, adapter| {
        append(&*adapter, &[record("a", 1, b"one"), record("a", 2, b"two"), record("b", 1, b"")]);
        replace(&*adapter, "a", 1, b"one");
        delete(&*adapter, "a");
        delete(&*adapter, "nothing");
        assert_eq!(read(&*adapter, "a"), None);
        assert_eq!(list(&*adapter), ["b"]);
        append(&*adapter, &[record("a", 1, b"again")]);
        assert_eq!(read(&*adapter, "a"), stored(None, &[(1, b"again")]));
        // Made and deleted, and deleted and made, between two syncs.
        adapter.append(&[record("c", 1, b"one")]).expect("appends");
        adapter.delete("c").expect("deletes");
        adapter.delete("b").expect("deletes");
        adapter.replace("b", 4, b"four").expect("replaces");
        adapter.sync().expect("syncs");
        let adapter = reopened(place, adapter);
        assert_eq!(read(&*adapter, "a"), stored(None, &[(1, b"again")]));
        assert_eq!(read(&*adapter, "b"), stored(Some((4, b"four")), &[]));
        assert_eq!(read(&*adapter, "c"), None);
        assert_eq!(list(&*adapter), ["a", "b"]);
    });
}

#[test]
fn names_are_kept_apart_and_listed_in_order() {
    let long = "x".repeat(LONG_NAME_BYTES);
    let mut names = vec![
        "a",
        "A",
        "é",
        "e\u{301}",
        "日本",
        "🦀",
        "..",
        ".",
        "/",
        "a/b",
        "../a",
        "a\0b",
        "\0",
        " ",
        "a ",
        "con",
        "NUL",
        "a.b",
        "-",
        "%41",
        "a\\b",
        "a:b",
        "\n",
        "documents",
        &long,
    ];
    names.sort_unstable();
    each(all(), |place, adapter| {
        assert!(list(&*adapter).is_empty());
        for name in &names {
            append(&*adapter, &[record(name, 1, name.as_bytes())]);
        }
        let adapter = reopened(place, adapter);
        assert_eq!(list(&*adapter), names);
        for name in &names {
            assert_eq!(read(&*adapter, name), stored(None, &[(1, name.as_bytes())]), "{name:?}");
        }
        for name in &names {
            delete(&*adapter, name);
        }
        let adapter = reopened(place, adapter);
        assert!(list(&*adapter).is_empty());
    });
}

#[test]
fn names_have_1_to_255_bytes() {
    let longest = ["x".repeat(255), "é".repeat(127), "/".repeat(255), "X".repeat(255)];
    each(all(), |place, adapter| {
        for name in ["", &"x".repeat(256)] {
            assert_eq!(kind(adapter.append(&[record(name, 1, b"")])), AdapterErrorKind::Name);
            assert_eq!(kind(adapter.replace(name, 1, b"")), AdapterErrorKind::Name);
            assert_eq!(read(&*adapter, name), None);
            delete(&*adapter, name);
        }
        if place.hides_names() {
            return;
        }
        for name in &longest {
            append(&*adapter, &[record(name, 1, b"one")]);
            replace(&*adapter, name, 1, b"snapshot");
        }
        let adapter = reopened(place, adapter);
        for name in &longest {
            assert_eq!(read(&*adapter, name), stored(Some((1, b"snapshot")), &[]));
        }
        assert_eq!(list(&*adapter).len(), longest.len());
    });
}

#[test]
fn large_and_empty_bytes_are_kept() {
    let large: Vec<u8> = (0..20_u32 << 20).map(|at| (at % 251) as u8).collect();
    each(all(), |place, adapter| {
        // Tests are not optimised, and encryption takes a second for each MB then.
        let large = if place.is_encrypted() { &large[..1 << 20] } else { &large[..] };
        append(&*adapter, &[record("a", 1, large), record("a", 2, b""), record("a", 3, b"3")]);
        replace(&*adapter, "b", 1, large);
        replace(&*adapter, "c", 1, b"");
        let adapter = reopened(place, adapter);
        assert!(read(&*adapter, "a") == stored(None, &[(1, large), (2, b""), (3, b"3")]));
        assert!(read(&*adapter, "b") == stored(Some((1, large)), &[]));
        assert!(read(&*adapter, "c") == stored(Some((1, b"")), &[]));
        delete(&*adapter, "a");
        assert_eq!(adapter.verify().expect("it checks"), [""; 0]);
    });
}

/// A reader sees the state between two calls, never a mixture: the records go on directly behind
/// the snapshot, and a document that comes and goes is there as a whole or not at all.
#[test]
fn other_threads_read_while_one_writes() {
    each(all(), |_, adapter| {
        append(&*adapter, &[record("a", 1, b"1")]);
        let is_done = AtomicBool::new(false);
        let look = || {
            let a = read(&*adapter, "a").expect("it is there");
            let covers = a.snapshot.as_ref().map_or(0, |(covers, _)| *covers);
            let numbers = a.records.iter().map(|(number, _)| *number);
            assert!(numbers.eq(covers + 1..=covers + a.records.len() as u64), "{a:?}");
            let b = read(&*adapter, "b");
            assert!(b.is_none_or(|b| b.records.len() == 1));
            assert!(list(&*adapter).contains(&"a".to_owned()));
        };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_done.load(Ordering::Relaxed) {
                        look();
                    }
                });
            }
            for number in 2..60 {
                append(&*adapter, &[record("a", number, b"r"), record("b", 1, b"one")]);
                if number % 5 == 0 {
                    replace(&*adapter, "a", number - 2, b"snapshot");
                }
                delete(&*adapter, "b");
            }
            is_done.store(true, Ordering::Relaxed);
        });
    });
}
