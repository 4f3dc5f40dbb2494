//! Tests of both walks: each limit is tested at its value and one past it, and with bytes that end
//! too early.

#[path = "../../../tests/support/bytes.rs"]
mod bytes;

use super::{GuardError, automerge_chunk, yrs_update};
use crate::document::limits::Limits;
use bytes::{at_key, at_root, change, chunk, deflate, document, int, prefixed, uint, update};

fn yrs(bytes: &[u8], limits: &Limits) -> Result<(), GuardError> {
    yrs_update::walk(bytes, limits, &mut ())
}

/// Asserts that the bytes pass with the limits `at`, and are refused with the limits `past`, which
/// are smaller by one. Returns the error.
fn edge(
    walk: fn(&[u8], &Limits) -> Result<(), GuardError>,
    bytes: &[u8],
    at: &Limits,
    past: &Limits,
) -> GuardError {
    assert_eq!(walk(bytes, at), Ok(()), "it does not pass at the limit");
    walk(bytes, past).expect_err("it passes one beyond the limit")
}

/// The fields of a [`GuardError::TooMany`]: the items, their count, the largest allowed count, and
/// the offset.
fn too_many(error: GuardError) -> (&'static str, u64, u64, usize) {
    match error {
        GuardError::TooMany { at, what, count, max } => (what, count, max, at),
        error => panic!("{error}"),
    }
}

/// A yrs update of one client with these blocks.
fn blocks(blocks: Vec<Vec<u8>>) -> Vec<u8> {
    update(&[(40, 0, blocks)], &[])
}

/// A block with these values in the list `x`.
fn values(count: u64, encoded: &[u8]) -> Vec<u8> {
    at_root(8, "x", &[&uint(count)[..], encoded].concat())
}

#[test]
fn the_length_of_an_update_is_limited() {
    let wide = Limits::untrusted();
    for (walk, bytes) in [
        (yrs as fn(&[u8], &Limits) -> _, blocks(vec![values(1, &[0x7e])])),
        (automerge_chunk::walk, chunk(1, &change(&[]))),
    ] {
        let len = bytes.len();
        let error = edge(
            walk,
            &bytes,
            &wide.clone().with_bytes_max(len),
            &wide.clone().with_bytes_max(len - 1),
        );
        assert_eq!(error, GuardError::TooLarge { len, max: len - 1 });
    }
}

#[test]
fn clients_of_an_update_are_limited() {
    let limit = |max| Limits::untrusted().with_clients_max(max);
    let sections: Vec<_> = [3, 2, 1].map(|client| (client, 0, vec![values(1, &[0x7e])])).into();
    assert_eq!(
        too_many(edge(yrs, &update(&sections, &[]), &limit(3), &limit(2))),
        ("clients", 3, 2, 0)
    );
    let deleted: Vec<_> = [3, 2, 1].map(|client| (client, vec![(0, 1)])).into();
    assert_eq!(
        too_many(edge(yrs, &update(&[], &deleted), &limit(3), &limit(2))),
        ("clients with deletions", 3, 2, 1)
    );
}

#[test]
fn blocks_and_deleted_ranges_are_limited_over_all_clients() {
    let limit = |max| Limits::untrusted().with_blocks_max(max);
    let one = || values(1, &[0x7e]);
    let bytes = update(&[(2, 0, vec![one(), one()]), (1, 0, vec![one()])], &[]);
    let (what, count, max, at) = too_many(edge(yrs, &bytes, &limit(3), &limit(2)));
    assert_eq!((what, count, max), ("blocks", 3, 2));
    assert_eq!(bytes[at..][..3], [1, 1, 0], "the place is the section's");
    let bytes = update(&[], &[(2, vec![(0, 1), (2, 1)]), (1, vec![(0, 1)])]);
    assert_eq!(too_many(edge(yrs, &bytes, &limit(3), &limit(2))), ("deleted ranges", 3, 2, 9));
}

#[test]
fn values_are_limited_with_those_inside_others() {
    let limit = |max| Limits::untrusted().with_values_max(max);
    // A list with two values and a map with one value are five values. The last value is at the
    // last byte but one.
    let bytes = blocks(vec![values(2, &[0x75, 2, 0x7e, 0x7e, 0x76, 1, 1, b'k', 0x7e])]);
    assert_eq!(
        too_many(edge(yrs, &bytes, &limit(5), &limit(4))),
        ("values", 5, 4, bytes.len() - 2)
    );
    let json = blocks(vec![at_root(5, "x", &prefixed(b"[1,2]"))]);
    assert_eq!(too_many(edge(yrs, &json, &limit(3), &limit(2))), ("values", 3, 2, json.len() - 7));
}

#[test]
fn nesting_is_limited() {
    let limit = |max| Limits::untrusted().with_nesting_max(max);
    let nested = [[0x75, 1].repeat(3), vec![0x7e]].concat();
    let bytes = blocks(vec![values(1, &nested)]);
    assert_eq!(
        edge(yrs, &bytes, &limit(3), &limit(2)),
        GuardError::TooDeep { at: bytes.len() - 4, max: 2 }
    );
    let json = blocks(vec![at_root(5, "x", &prefixed(br#"[{"[[[":[1]}]"#))]);
    assert_eq!(
        edge(yrs, &json, &limit(3), &limit(2)),
        GuardError::TooDeep { at: json.len() - 15, max: 2 }
    );
}

#[test]
fn nested_types_are_limited() {
    let limit = |max| Limits::untrusted().with_nested_types_max(max);
    let bytes = blocks(vec![at_key(7, "x", "a", &[1]), at_key(7, "x", "b", &[2])]);
    assert_eq!(
        too_many(edge(yrs, &bytes, &limit(2), &limit(1))),
        ("nested types", 2, 1, bytes.len() - 2)
    );
}

#[test]
fn names_of_every_kind_are_limited() {
    let limit = |max| Limits::untrusted().with_name_bytes_max(max);
    let null = || prefixed(b"null");
    for (bytes, back) in [
        (at_root(8, "name!", &[1, 0x7e]), 8),
        (at_key(8, "x", "name!", &[1, 0x7e]), 8),
        (at_root(6, "x", &[prefixed(b"name!"), null()].concat()), 11),
        (values(1, &[&[0x76, 1][..], &prefixed(b"name!"), &[0x7e]].concat()), 7),
    ] {
        let bytes = blocks(vec![bytes]);
        let expected = ("bytes in a name", 5, 4, bytes.len() - 1 - back);
        assert_eq!(too_many(edge(yrs, &bytes, &limit(5), &limit(4))), expected);
    }
    let bytes = chunk(1, &change(&[]));
    // The actor's id comes after the magic, checksum, kind, length and number of dependencies.
    assert_eq!(
        too_many(edge(automerge_chunk::walk, &bytes, &limit(8), &limit(7))),
        ("bytes in an actor's id", 8, 7, 11)
    );
}

#[test]
fn actors_are_limited() {
    let limit = |max| Limits::untrusted().with_clients_max(max);
    let actors = [vec![2], prefixed(b"a"), prefixed(b"b"), vec![0, 0, 0]].concat();
    assert_eq!(
        too_many(edge(automerge_chunk::walk, &chunk(0, &actors), &limit(2), &limit(1))),
        ("actors", 2, 1, 10)
    );
}

#[test]
fn rows_are_limited_in_every_kind_of_column() {
    let limit = |max| Limits::untrusted().with_ops_max(max);
    for column in [
        (0x42, [int(5), uint(1)].concat()),
        (0x42, [int(-5), vec![1, 2, 3, 4, 5]].concat()),
        (0x42, [int(0), uint(5)].concat()),
        (0x42, [int(3), uint(1), int(2), uint(2)].concat()),
        (0x13, [int(5), int(-1)].concat()),
        (0x15, [int(5), prefixed(b"k")].concat()),
        (0x34, [uint(2), uint(3)].concat()),
    ] {
        for bytes in
            [chunk(1, &change(std::slice::from_ref(&column))), chunk(0, &document(&[], &[column]))]
        {
            let (what, count, max, at) =
                too_many(edge(automerge_chunk::walk, &bytes, &limit(5), &limit(4)));
            assert_eq!((what, count, max), ("rows", 5, 4));
            assert!(at > 20, "the place is in the column");
        }
    }
}

#[test]
fn chunks_are_limited() {
    let limit = |max| Limits::untrusted().with_ops_max(max);
    let one = chunk(1, &change(&[]));
    let error = edge(automerge_chunk::walk, &one.repeat(3), &limit(3), &limit(2));
    assert_eq!(too_many(error), ("changes", 3, 2, 2 * one.len()));
}

#[test]
fn the_sum_of_inflated_bytes_is_limited() {
    let limit = |max| Limits::untrusted().with_inflated_bytes_max(max);
    let inflated = |error| match error {
        GuardError::Inflated { at, max, .. } => (at, max),
        error => panic!("{error}"),
    };
    let contents = change(&[(0x57, vec![7; 100])]);
    let len = contents.len() as u64;
    let deflated = chunk(2, &deflate(&contents));
    assert_eq!(
        inflated(edge(automerge_chunk::walk, &deflated, &limit(len), &limit(len - 1))),
        (10, len - 1)
    );
    let column = || deflate(&[7; 100]);
    let document = chunk(0, &document(&[(0x5f, column())], &[(0x5f, column())]));
    let last = document.len() - column().len();
    assert_eq!(
        inflated(edge(automerge_chunk::walk, &document, &limit(200), &limit(199))),
        (last, 199)
    );
    let keys = chunk(1, &change(&[(0x15, [int(10), prefixed(b"0123456789")].concat())]));
    assert_eq!(
        inflated(edge(automerge_chunk::walk, &keys, &limit(100), &limit(99))),
        (keys.len() - 12, 99)
    );
}

#[test]
fn a_truncated_update_is_refused_at_every_length() {
    let all = [
        values(3, &[0x75, 1, 0x7e, 0x76, 1, 1, b'k', 0x77, 1, b'v', 0x7d, 0x85, 1]),
        at_key(8, "state", "key", &[1, 0x7b, 0, 0, 0, 0, 0, 0, 0, 0]),
        at_root(4, "T:x", &prefixed("ä😀".as_bytes())),
        at_root(6, "T:x", &[prefixed(b"bold"), prefixed(b"true")].concat()),
        at_root(5, "T:x", &prefixed(b"{}")),
        bytes::behind(3, (40, 0), &prefixed(b"bytes")),
        vec![0, 5],
        vec![10, 2],
        bytes::behind(1, (40, 1), &[4]),
    ];
    let whole = update(&[(40, 0, all.into())], &[(40, vec![(0, 1), (2, 300)])]);
    assert_eq!(yrs(&whole, &Limits::untrusted()), Ok(()));
    for end in 0..whole.len() {
        let error = yrs(&whole[..end], &Limits::untrusted()).expect_err("a part is no update");
        assert!(place(&error).is_some_and(|at| at <= end), "{error} of {end} bytes");
    }
}

#[test]
fn a_truncated_chunk_is_refused_at_every_length() {
    let ops = || {
        vec![
            (0x15, [int(1), prefixed(b"key")].concat()),
            (0x42, [int(1), uint(1)].concat()),
            (0x57, vec![1, 2, 3]),
        ]
    };
    for whole in [
        chunk(1, &change(&ops())),
        chunk(2, &deflate(&change(&ops()))),
        chunk(0, &document(&ops(), &ops())),
    ] {
        assert_eq!(automerge_chunk::walk(&whole, &Limits::untrusted()), Ok(()));
        for end in 1..whole.len() {
            let error = automerge_chunk::walk(&whole[..end], &Limits::untrusted())
                .expect_err("a part is no chunk");
            assert!(place(&error).is_some_and(|at| at <= end), "{error} of {end} bytes");
        }
    }
    // Here the header has the length of the cut contents, so only the contents end too early.
    for (kind, contents) in [(1, change(&ops())), (0, document(&ops(), &ops()))] {
        for end in 0..contents.len() {
            assert!(
                automerge_chunk::walk(&chunk(kind, &contents[..end]), &Limits::untrusted())
                    .is_err(),
                "{end} bytes of contents"
            );
        }
    }
}

fn place(error: &GuardError) -> Option<usize> {
    match error {
        GuardError::Truncated { at }
        | GuardError::Malformed { at, .. }
        | GuardError::TooMany { at, .. }
        | GuardError::TooDeep { at, .. }
        | GuardError::Unsupported { at, .. }
        | GuardError::Inflated { at, .. } => Some(*at),
        GuardError::TooLarge { .. } => None,
    }
}
