use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::MemoryAdapter;

const SECRET: &[u8] = b"a surprise for Ada";

fn key(byte: u8) -> Key {
    Key::new([byte; 32])
}

/// Keys of one byte each, the current one first, with names plain or hidden.
fn keys(bytes: &[u8], hides_names: bool) -> Keys {
    let keys = Keys::new(key(bytes[0]));
    let keys = bytes[1..].iter().fold(keys, |keys, old| keys.with_old(key(*old)));
    if hides_names { keys.with_hidden_names() } else { keys }
}

fn opened<A: Adapter>(inner: A, bytes: &[u8], hides_names: bool) -> EncryptedAdapter<A> {
    EncryptedAdapter::open(inner, &keys(bytes, hides_names)).expect("it opens")
}

fn append(adapter: &impl Adapter, document: &str, number: u64) {
    adapter.append(&[Append { document, number, bytes: SECRET }]).expect("it takes a record");
    adapter.sync().expect("it syncs");
}

/// A place with two documents, written with the key 1.
fn filled(hides_names: bool) -> MemoryAdapter {
    let place = MemoryAdapter::new();
    let adapter = opened(place.clone(), &[1], hides_names);
    for number in 1..=5 {
        append(&adapter, "party", number);
        append(&adapter, "plan", number);
    }
    adapter.replace("plan", 3, SECRET).expect("it takes a snapshot");
    adapter.sync().expect("it syncs");
    place
}

fn content(adapter: &impl Adapter) -> Vec<(String, Stored)> {
    let names = adapter.list().expect("it lists");
    let read = |name: String| {
        let stored = adapter.read(&name).expect("it reads").expect("it is there");
        (name, stored)
    };
    names.into_iter().map(read).collect()
}

fn kind<T>(result: Result<T, AdapterError>) -> AdapterErrorKind {
    result.err().expect("an error").kind()
}

/// An adapter that fails from the given call on that writes.
#[derive(Clone)]
struct Failing {
    inner: MemoryAdapter,
    calls_left: Arc<AtomicUsize>,
}

impl Failing {
    fn check(&self) -> Result<(), AdapterError> {
        let less = |left: usize| left.checked_sub(1);
        let left = self.calls_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        let fail = |_| AdapterError::new(AdapterErrorKind::Other, "here", "it fails");
        left.map(drop).map_err(fail)
    }
}

impl Adapter for Failing {
    fn append(&self, records: &[Append<'_>]) -> Result<(), AdapterError> {
        for record in records {
            self.check()?;
            self.inner.append(&[*record])?;
        }
        Ok(())
    }
    fn read(&self, document: &str) -> Result<Option<Stored>, AdapterError> {
        self.inner.read(document)
    }
    fn replace(&self, document: &str, covers: u64, snapshot: &[u8]) -> Result<(), AdapterError> {
        self.check()?;
        self.inner.replace(document, covers, snapshot)
    }
    fn list(&self) -> Result<Vec<String>, AdapterError> {
        self.inner.list()
    }
    fn delete(&self, document: &str) -> Result<(), AdapterError> {
        self.check()?;
        self.inner.delete(document)
    }
    fn sync(&self) -> Result<(), AdapterError> {
        self.check()
    }
}

#[test]
fn neither_plain_text_nor_keys_nor_hidden_names_are_stored() {
    for hides_names in [false, true] {
        let place = filled(hides_names);
        let bytes = format!("{:?}", content(&place));
        let debug = |bytes: &[u8]| format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
        assert!(!bytes.contains(&debug(SECRET)));
        assert!(!bytes.contains(&debug(&[1; 8])));
        assert_eq!(bytes.contains("party"), !hides_names);
        let adapter = opened(place, &[1], hides_names);
        assert_eq!(adapter.list().expect("it lists"), ["party", "plan"]);
        assert_eq!(content(&adapter)[1].1.snapshot, Some((3, SECRET.to_vec())));
    }
}

#[test]
fn a_wrong_key_opens_nothing_and_changes_nothing() {
    for hides_names in [false, true] {
        let place = filled(hides_names);
        let before = content(&place);
        let open = |keys: &Keys| kind(EncryptedAdapter::open(place.clone(), keys));
        assert_eq!(open(&keys(&[2], hides_names)), AdapterErrorKind::WrongKey);
        assert_eq!(open(&keys(&[2, 3], hides_names)), AdapterErrorKind::WrongKey);
        assert_eq!(open(&keys(&[1], !hides_names)), AdapterErrorKind::Other);
        assert_eq!(content(&place), before);
    }
}

#[test]
fn a_place_that_is_not_encrypted_is_left_as_it_is() {
    let place = MemoryAdapter::new();
    append(&place, "plan", 1);
    let before = content(&place);
    assert_eq!(
        kind(EncryptedAdapter::open(place.clone(), &keys(&[1], false))),
        AdapterErrorKind::Other
    );
    assert_eq!(content(&place), before);
}

#[test]
fn one_damaged_copy_of_the_check_record_is_repaired() {
    let place = filled(false);
    place.replace(CHECK, 1, b"damaged").expect("it takes a snapshot");
    drop(opened(place.clone(), &[1], false));
    let number = 2;
    place.append(&[Append { document: CHECK, number, bytes: b"" }]).expect("it takes a record");
    drop(opened(place.clone(), &[1], false));
    place.append(&[Append { document: CHECK, number, bytes: b"" }]).expect("it takes a record");
    place.replace(CHECK, 1, b"damaged").expect("it takes a snapshot");
    // Now both are damaged.
    place.append(&[Append { document: CHECK, number, bytes: b"" }]).expect("it takes a record");
    let again = EncryptedAdapter::open(place, &keys(&[1], false));
    assert_eq!(kind(again), AdapterErrorKind::Damaged);
}

#[test]
fn records_at_a_wrong_place_and_plain_ones_do_not_pass() {
    let place = filled(false);
    let stored = place.read("party").expect("it reads").expect("it is there");
    let plain = [0xe0, 1, 0, 1, 2, 3];
    let put = |document, number, bytes| {
        place.append(&[Append { document, number, bytes }]).expect("it takes a record");
    };
    put("party", 1, &stored.records[1].1);
    put("party", 2, &plain);
    put("plan", 5, &stored.records[4].1);
    let adapter = opened(place, &[2, 1], false);
    let content = content(&adapter);
    let records = &content[0].1.records;
    assert_eq!(records[0].1, [&[UNOPENED][..], &stored.records[1].1].concat());
    assert_eq!(records[1].1, [&[UNOPENED][..], &plain].concat());
    assert_eq!(records[2].1, SECRET);
    let records = &content[1].1.records;
    assert_eq!((&records[0].1[..], records[1].1[0]), (SECRET, UNOPENED));
    // A rotation leaves them as they are, and needs the old key further on.
    let (adapter, left) = adapter.rotate().expect("it rotates");
    assert_eq!(left, ["party", "plan"]);
    assert_eq!(self::content(&adapter), content);
    let place = adapter.inner;
    let without = EncryptedAdapter::open(place, &keys(&[2], false));
    assert_eq!(kind(without), AdapterErrorKind::WrongKey);
}

#[test]
fn after_a_rotation_the_old_key_is_not_needed() {
    for hides_names in [false, true] {
        let place = filled(hides_names);
        let before = content(&opened(place.clone(), &[1], hides_names));
        let adapter = opened(place.clone(), &[2, 1], hides_names);
        append(&adapter, "new", 1);
        drop(
            EncryptedAdapter::open(place.clone(), &keys(&[2], hides_names)).expect_err("too soon"),
        );
        drop(
            EncryptedAdapter::open(place.clone(), &keys(&[1], hides_names)).expect_err("too late"),
        );
        assert!(adapter.rotate().expect("it rotates").1.is_empty());
        let adapter = opened(place.clone(), &[2], hides_names);
        assert_eq!(content(&adapter)[1..], before);
        let old = EncryptedAdapter::open(place, &keys(&[1], hides_names));
        assert_eq!(kind(old), AdapterErrorKind::WrongKey);
    }
}

/// A rotation fails at each of its calls in turn. Nothing is lost, documents can be written and
/// deleted in between, and the next rotation ends it, with the same keys or a third one.
#[test]
fn a_rotation_that_fails_anywhere_goes_on() {
    for hides_names in [false, true] {
        for third in [false, true] {
            for calls in 0.. {
                let inner = filled(hides_names);
                let calls_left = Arc::new(AtomicUsize::new(usize::MAX));
                let place = Failing { inner, calls_left: calls_left.clone() };
                let adapter = opened(place.clone(), &[2, 1], hides_names);
                let before = content(&adapter);
                calls_left.store(calls, Ordering::SeqCst);
                let is_done = adapter.rotate().is_ok();
                calls_left.store(usize::MAX, Ordering::SeqCst);
                let adapter = opened(place.clone(), &[2, 1], hides_names);
                assert_eq!(content(&adapter), before);
                append(&adapter, "party", 6);
                adapter.delete("plan").expect("it deletes");
                adapter.sync().expect("it syncs");
                drop(adapter);

                let bytes: &[u8] = if third { &[3, 2, 1] } else { &[2, 1] };
                let adapter = opened(place.clone(), bytes, hides_names);
                assert!(adapter.rotate().expect("it rotates").1.is_empty());
                let adapter = opened(place, &bytes[..1], hides_names);
                let after = content(&adapter);
                assert_eq!(after.len(), 1, "after {calls} calls");
                assert_eq!(after[0].1.records[..5], before[0].1.records);
                assert_eq!(after[0].1.records.len(), 6);
                if is_done {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_foreign_name_among_hidden_ones_does_not_stop_the_others() {
    let place = filled(true);
    let before = content(&opened(place.clone(), &[1], true));
    append(&place, "somebody's copy", 1);
    let adapter = opened(place, &[1], true);
    assert_eq!(content(&adapter), before);
    let faults = adapter.verify().expect("it can be checked");
    assert!(faults.len() == 1 && faults[0].contains("somebody's copy"), "{faults:?}");
}

#[test]
fn names_that_cannot_be_kept_are_refused() {
    let adapter = opened(MemoryAdapter::new(), &[1], true);
    append(&adapter, &"x".repeat(111), 1);
    for name in [&"x".repeat(112), CHECK] {
        let record = Append { document: name, number: 1, bytes: b"" };
        assert_eq!(kind(adapter.append(&[record])), AdapterErrorKind::Name);
        assert_eq!(kind(adapter.replace(name, 1, b"")), AdapterErrorKind::Name);
        assert_eq!(adapter.read(name).expect("it reads"), None);
        adapter.delete(name).expect("it deletes nothing");
    }
    assert_eq!(adapter.list().expect("it lists").len(), 1);
}
