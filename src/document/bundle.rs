//! Bundles: the first values of a new record, stored under one key.
//!
//! A record that is inserted into a slot is stored under one key, as a *bundle*, instead of under
//! one key for each field. The bundle of a slot at `cards/a` has the key
//! `cards/a/@<replica>-<number>`: the replica that wrote the bundle, and a number that the replica
//! uses once. Two replicas that insert a record under the same key at the same time write two
//! bundles, and both count.
//!
//! - A bundle maps relative paths to scalars. The empty path is the slot itself.
//! - A *separate register*, which is stored under its own path, wins over the entry of a bundle.
//! - An entry that was removed gets a *void register*: `<key of the bundle>/<relative path>`, with
//!   `@` as the relative path of the slot itself. It hides the entry of this bundle and of no
//!   other. So a concurrent write of the same path wins over the removal, as it does over the
//!   removal of a register.
//! - If several bundles have an entry for a path, the entry of the last bundle counts, in the order
//!   of their names, byte by byte. If two names are equal, that of the longer slot counts.
//!
//! This module knows the format. [`replica`](super::replica) reads and writes it, so that the
//! layers above see only registers. See `docs/layout.md`.

use std::sync::Arc;

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

use super::key;
use super::value::Value;

/// The most bytes of a bundle. A reader ignores a longer one. Reading one entry costs a walk
/// through the bundle, so a bundle must be short.
pub const BYTES_MAX: usize = 4096;
/// The most entries of a bundle. A reader ignores a bundle with more entries.
pub const ENTRIES_MAX: usize = 64;
/// The most bytes of a slot with a bundle. A reader ignores a bundle of a longer slot. A read looks
/// for a bundle at each slot above a path.
pub const SLOT_BYTES_MAX: usize = 512;
/// The most bytes of the paths of all entries together. A reader ignores a bundle with more, which
/// would take much more memory than its bytes.
pub const PATHS_BYTES_MAX: usize = 8192;
/// The most bytes of the path of an entry. A reader ignores a bundle with a longer one: peers take
/// only keys of 4,096 bytes, and the key of a void register is longer than the path.
pub const PATH_BYTES_MAX: usize = 2048;
/// The most bytes that an entry takes besides its path and its text or bytes: two heads of CBOR, or
/// a head and a number.
const ENTRY_OVERHEAD: usize = 12;
/// The most bytes of a bundle besides its entries: the head of the map.
pub const OVERHEAD: usize = 3;
/// The relative path of the slot itself in the key of a void register.
const SLOT_ITSELF: &str = "@";

/// The kind of a key in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind<'k> {
    /// A register.
    Register,
    /// A bundle.
    Bundle {
        /// The path of the slot.
        slot: &'k str,
        /// The last segment of the key.
        name: &'k str,
    },
    /// A void register.
    Void {
        /// The path of the slot.
        slot: &'k str,
        /// The key of the bundle.
        bundle: &'k str,
        /// The relative path of the entry that it hides.
        relative: &'k str,
    },
}

/// The kind of this key. O(length of the key).
#[must_use]
pub fn kind_of(path: &str) -> KeyKind<'_> {
    // Registers at `@…` describe the document itself.
    if path.starts_with('@') {
        return KeyKind::Register;
    }
    let mut from = 0;
    while let Some(found) = path.get(from..).and_then(|rest| rest.find('@')) {
        let start = from + found;
        from = start + 1;
        // A slot has a path that is not empty, so the name of a bundle is not the first segment.
        let slot = match path.get(..start).and_then(|before| before.strip_suffix('/')) {
            Some(slot) if !slot.is_empty() => slot,
            _ => continue,
        };
        let name = key::split_first(&path[start..]).0;
        if !is_name(name) {
            continue;
        }
        let end = start + name.len();
        return match path.get(end + 1..) {
            None => KeyKind::Bundle { slot, name },
            Some(SLOT_ITSELF) => KeyKind::Void { slot, bundle: &path[..end], relative: "" },
            Some(relative) => KeyKind::Void { slot, bundle: &path[..end], relative },
        };
    }
    KeyKind::Register
}

/// The replica and the number in the name of a bundle: `@<replica>-<number>`.
fn name_parts(segment: &str) -> Option<(u64, u64)> {
    key::id_parts(segment.strip_prefix('@')?)
}

fn is_name(segment: &str) -> bool {
    name_parts(segment).is_some()
}

/// The id of the replica that wrote the bundle with this name.
#[must_use]
pub fn writer(name: &str) -> Option<u64> {
    name_parts(name).map(|(replica, _)| replica)
}

/// The key of a bundle.
#[must_use]
pub fn key_of(slot: &str, replica: u64, number: u64) -> String {
    format!("{slot}/@{replica:x}-{number:x}")
}

/// A void register's key is longer than the path of its entry by at most this many bytes:
/// `/@<replica>-<number>`, and `/@` for the slot itself.
pub const VOID_KEY_EXTRA_BYTES_MAX: usize = 2 + 16 + 1 + 16 + 2;

/// The key of the void register for an entry of a bundle.
#[must_use]
pub fn void_key(bundle: &str, relative: &str) -> String {
    key::join(bundle, if relative.is_empty() { SLOT_ITSELF } else { relative })
}

/// The path of an entry.
#[must_use]
pub fn path_of(slot: &str, relative: &str) -> String {
    if relative.is_empty() { slot.to_owned() } else { key::join(slot, relative) }
}

/// The bytes of the path of an entry.
#[must_use]
pub fn path_len(slot: &str, relative: &str) -> usize {
    if relative.is_empty() { slot.len() } else { slot.len() + 1 + relative.len() }
}

/// The most bytes that an entry takes in a bundle.
#[must_use]
pub fn entry_size(relative: &str, value: &Value) -> usize {
    let content = match value {
        Value::Str(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    };
    relative.len() + content + ENTRY_OVERHEAD
}

/// A scalar in a bundle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'b> {
    /// As [`Value::Null`].
    Null,
    /// As [`Value::Bool`].
    Bool(bool),
    /// As [`Value::Int`].
    Int(i64),
    /// As [`Value::Float`], but not canonical yet.
    Float(f64),
    /// As [`Value::Str`].
    Str(&'b str),
    /// As [`Value::Bytes`].
    Bytes(&'b [u8]),
}

impl From<Scalar<'_>> for Value {
    fn from(scalar: Scalar<'_>) -> Self {
        match scalar {
            Scalar::Null => Self::Null,
            Scalar::Bool(flag) => Self::Bool(flag),
            Scalar::Int(number) => Self::Int(number),
            Scalar::Float(number) => Self::float(number),
            Scalar::Str(text) => Self::str(text),
            Scalar::Bytes(bytes) => Self::Bytes(Arc::from(bytes)),
        }
    }
}

/// Encodes a bundle: a map of CBOR (RFC 8949). The entries must be in the order of their relative
/// paths, each once, and no value may be [`Value::Unknown`].
///
/// # Errors
/// None in practice: writing into memory does not fail.
pub fn encode<'e>(
    entries: impl ExactSizeIterator<Item = (&'e str, &'e Value)>,
) -> Result<Vec<u8>, minicbor::encode::Error<core::convert::Infallible>> {
    let mut encoder = Encoder::new(Vec::new());
    encoder.map(entries.len() as u64)?;
    for (relative, value) in entries {
        encoder.str(relative)?;
        match value {
            Value::Null | Value::Unknown(_) => encoder.null()?,
            Value::Bool(flag) => encoder.bool(*flag)?,
            Value::Int(number) => encoder.i64(*number)?,
            Value::Float(number) => encoder.f64(*number)?,
            Value::Str(text) => encoder.str(text)?,
            Value::Bytes(bytes) => encoder.bytes(bytes)?,
        };
    }
    Ok(encoder.into_writer())
}

/// The entries of what is stored under the key of a bundle, in the order of their relative paths.
/// What is not a bundle, or is too large, has none. O(bytes).
#[must_use]
pub fn entries<'b>(slot: &str, stored: &'b Value) -> Vec<(&'b str, Scalar<'b>)> {
    let mut entries = Vec::new();
    let Value::Bytes(bytes) = stored else { return entries };
    match walk(slot, bytes, |relative, scalar| entries.push((relative, scalar))) {
        Some(()) => entries,
        None => Vec::new(),
    }
}

/// The entry with this relative path among [`entries`]. O(bytes).
#[must_use]
pub fn entry<'b>(slot: &str, stored: &'b Value, relative: &str) -> Option<Scalar<'b>> {
    let Value::Bytes(bytes) = stored else { return None };
    let mut found = None;
    walk(slot, bytes, |path, scalar| {
        if *path == *relative {
            found = Some(scalar);
        }
    })?;
    found
}

/// Calls `each` for every entry. Returns `None` if the bytes are not a bundle: then the entries
/// that `each` got do not count.
fn walk<'b>(slot: &str, bytes: &'b [u8], mut each: impl FnMut(&'b str, Scalar<'b>)) -> Option<()> {
    if bytes.len() > BYTES_MAX || slot.len() > SLOT_BYTES_MAX {
        return None;
    }
    let mut decoder = Decoder::new(bytes);
    let count = usize::try_from(decoder.map().ok()??).ok().filter(|count| *count <= ENTRIES_MAX)?;
    let mut last: Option<&str> = None;
    let mut paths_bytes = 0;
    for _ in 0..count {
        let relative = decoder.str().ok()?;
        let is_ordered = last.is_none_or(|last| key::compare(last, relative).is_lt());
        let path_bytes = path_len(slot, relative);
        paths_bytes += path_bytes;
        let is_short = path_bytes <= PATH_BYTES_MAX && paths_bytes <= PATHS_BYTES_MAX;
        if !is_ordered || !is_short || !is_relative_path(relative) {
            return None;
        }
        last = Some(relative);
        each(relative, scalar(&mut decoder)?);
    }
    (decoder.position() == bytes.len()).then_some(())
}

/// Whether a text can be the relative path of an entry: a path of a register.
#[must_use]
pub fn is_relative_path(relative: &str) -> bool {
    // The usual case: the slot itself, or the name of a field.
    if relative.bytes().all(|byte| !matches!(byte, b'/' | b'@' | b'~')) {
        return true;
    }
    let mut segments = relative.split('/');
    key::is_path(relative) && !segments.any(|segment| segment == SLOT_ITSELF || is_name(segment))
}

fn scalar<'b>(decoder: &mut Decoder<'b>) -> Option<Scalar<'b>> {
    Some(match decoder.datatype().ok()? {
        Type::Null => {
            decoder.null().ok()?;
            Scalar::Null
        }
        Type::Bool => Scalar::Bool(decoder.bool().ok()?),
        Type::F64 => Scalar::Float(decoder.f64().ok()?),
        Type::F32 => Scalar::Float(f64::from(decoder.f32().ok()?)),
        Type::F16 => Scalar::Float(f64::from(decoder.f16().ok()?)),
        Type::String => Scalar::Str(decoder.str().ok()?),
        Type::Bytes => Scalar::Bytes(decoder.bytes().ok()?),
        _ => Scalar::Int(decoder.i64().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode<'b>(slot: &str, bytes: &'b [u8]) -> Option<Vec<(&'b str, Scalar<'b>)>> {
        let mut entries = Vec::new();
        walk(slot, bytes, |relative, scalar| entries.push((relative, scalar)))?;
        Some(entries)
    }

    #[test]
    fn keys_of_bundles_are_told_from_other_keys() {
        let bundle = KeyKind::Bundle { slot: "cards/a", name: "@1f-0" };
        assert_eq!(kind_of("cards/a/@1f-0"), bundle);
        let void = |relative| KeyKind::Void { slot: "cards/a", bundle: "cards/a/@1f-0", relative };
        assert_eq!(kind_of("cards/a/@1f-0/@"), void(""));
        assert_eq!(kind_of("cards/a/@1f-0/b/@position"), void("b/@position"));
        assert_eq!(kind_of("a/@place/@1-2"), KeyKind::Bundle { slot: "a/@place", name: "@1-2" });
        for register in [
            "",
            "cards/a",
            "cards/a/@position",
            "cards/@",
            "a/@01-0",
            "a/@1F-0",
            "a/@-0",
            "a/@1-",
            "@1-0",
            "@type/@1-0",
            "/@1-0",
            "a/@11112222333344445-0",
            "a/~21-0",
            "a/1-0",
        ] {
            assert_eq!(kind_of(register), KeyKind::Register, "{register}");
        }
    }

    #[test]
    fn what_is_no_bundle_has_no_entries() {
        let text = |text: &str| Value::str(text);
        let bundle = |entries: &[(&str, Value)]| {
            encode(entries.iter().map(|(relative, value)| (*relative, value)))
                .expect("it is encoded")
        };
        assert!(decode("slot", &bundle(&[("", Value::Bool(true)), ("a", text("b"))])).is_some());
        for wrong in [
            bundle(&[("b", text("1")), ("a", text("2"))]),
            bundle(&[("a", text("1")), ("a", text("2"))]),
            bundle(&[("a//b", text("1"))]),
            bundle(&[("@", text("1"))]),
            bundle(&[("@1-0", text("1"))]),
            bundle(&[("a/@1-0/b", text("1"))]),
            vec![],
            vec![0xa1],
            vec![0xa1, 0x60],
            // An array, a map in a map, a tag, and a map of unknown length.
            vec![0xa1, 0x60, 0x80],
            vec![0xa1, 0x60, 0xa0],
            vec![0xa1, 0x60, 0xc1, 0x00],
            vec![0xbf, 0xff],
            // A number above the range of `i64`, and a byte behind the map.
            vec![0xa1, 0x60, 0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            vec![0xa0, 0x00],
            vec![0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(decode("slot", &wrong), None, "{wrong:x?}");
        }
    }

    #[test]
    fn a_bundle_over_a_limit_has_no_entries() {
        let paths: Vec<String> = (0..=ENTRIES_MAX).map(|number| format!("{number:03}")).collect();
        let of = |count: usize| {
            let entries = paths.iter().take(count).map(|path| (path.as_str(), &Value::Null));
            encode(entries).expect("it is encoded")
        };
        assert!(decode("slot", &of(ENTRIES_MAX)).is_some());
        assert_eq!(decode("slot", &of(ENTRIES_MAX + 1)), None);
        let long = |len: usize| {
            let value = Value::str("x".repeat(len));
            encode([("a", &value)].into_iter()).expect("it is encoded")
        };
        let overhead = long(BYTES_MAX).len() - BYTES_MAX;
        assert!(decode("slot", &long(BYTES_MAX - overhead)).is_some());
        assert_eq!(decode("slot", &long(BYTES_MAX - overhead + 1)), None);
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<f64>().prop_map(Value::float),
            ".{0,40}".prop_map(Value::from),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(|b| Value::Bytes(b.into())),
        ]
    }

    proptest! {
        #[test]
        fn bundles_round_trip_and_are_not_larger_than_estimated(
            entries in proptest::collection::btree_map("[a-z]{1,9}(/[a-z0-9]{1,300})?", value(), 0..9),
        ) {
            let mut entries: Vec<(String, Value)> = entries.into_iter().collect();
            entries.sort_by(|a, b| key::compare(&a.0, &b.0));
            let bytes = encode(entries.iter().map(|(relative, value)| (relative.as_str(), value)))
                .expect("it is encoded");
            let size: usize = entries.iter().map(|(relative, value)| entry_size(relative, value)).sum();
            prop_assert!(bytes.len() <= size + OVERHEAD);
            let decoded = decode("slot", &bytes).expect("it is a bundle");
            let decoded: Vec<(String, Value)> =
                decoded.into_iter().map(|(relative, value)| (relative.to_owned(), value.into())).collect();
            prop_assert_eq!(decoded, entries);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = decode("slot", &bytes);
        }
    }
}
