//! Promise: foreign documents that no honest software writes are read or refused, soon and without
//! a panic. The documents here are made from the grammar of Yjs updates, with nested types.

#[path = "support/bytes.rs"]
mod bytes;
mod support;

use bytes::{prefixed, uint};
use exostate::import::{Mapping, Source};
use exostate::{BackendError, Document, GuardError, Limits, Options, Yrs};
use fastrand::Rng;
use proptest::prelude::*;
use support::strategy;

const CLIENTS: [u64; 3] = [3, 2, 1];
const BLOCKS_MAX: u64 = 10;
const MAPPING: &str = "
    * -> map roots
    */* -> movable-list roots/*/items
    */* -> text roots/*/items/*
    */*/* -> map roots/*/items/*/more
";

fn pick<T: Clone>(rng: &mut Rng, items: &[T]) -> T {
    items[rng.usize(..items.len())].clone()
}

/// The content of a block, with its kind.
fn content(rng: &mut Rng) -> (u8, Vec<u8>) {
    let json = |text: &str| prefixed(text.as_bytes());
    match rng.u8(..8) {
        0 => (4, prefixed(pick(rng, &["a", "😀", "abc"]).as_bytes())),
        1 => (5, json(pick(rng, &["{}", "[1]", "null"]))),
        2 => (6, [prefixed(b"bold"), json(pick(rng, &["true", "null", "{}"]))].concat()),
        3 => (8, pick(rng, &[vec![1, 0x7e], vec![2, 0x79, 0x7e], vec![1, 119, 1, b'x']])),
        _ => (7, pick(rng, &[vec![0], vec![1], vec![2], vec![4], vec![6], vec![3, 1, b'p']])),
    }
}

/// A block of a client at any place: in a root, in a type, or beside another block.
fn block(rng: &mut Rng) -> Vec<u8> {
    let (kind, content) = content(rng);
    let id = [uint(pick(rng, &CLIENTS)), uint(rng.u64(..BLOCKS_MAX))].concat();
    let root = pick(rng, &["a", "b"]);
    let key = prefixed(pick(rng, &["x", "y"]).as_bytes());
    match rng.u8(..6) {
        0 => bytes::at_root(kind, root, &content),
        1 => [vec![kind | 0x20, 1], prefixed(root.as_bytes()), key, content].concat(),
        2 => [vec![kind | 0x20, 0], id, key, content].concat(),
        3 => [vec![kind, 0], id, content].concat(),
        4 => [vec![kind | 0x80], id, content].concat(),
        _ => [vec![kind | 0x40], id, content].concat(),
    }
}

fn document(rng: &mut Rng) -> Vec<u8> {
    let section = |client: u64, rng: &mut Rng| {
        (client, 0, (0..1 + rng.u64(..BLOCKS_MAX)).map(|_| block(rng)).collect())
    };
    let clients = CLIENTS.into_iter().filter(|client| *client == 1 || rng.clone().bool());
    let clients: Vec<u64> = clients.collect();
    let sections: Vec<_> = clients.into_iter().map(|client| section(client, rng)).collect();
    let deleted = match rng.bool() {
        true => vec![(1, vec![(rng.u64(..4), 1 + rng.u64(..3))])],
        false => Vec::new(),
    };
    bytes::update(&sections, &deleted)
}

fn is_read_or_refused(seed: u64) -> bool {
    let mut rng = Rng::with_seed(seed);
    let bytes = document(&mut rng);
    let Ok(source) = Source::read(&bytes, &Limits::trusted()) else { return false };
    let mapping: Mapping = MAPPING.parse().expect("a mapping");
    let imported = mapping.import_document::<Yrs>(&source, Options::default());
    let (document, _) = imported.expect("what is read can be imported");
    let again = Document::<Yrs>::from_json(&document.to_json()).expect("it is read");
    assert_eq!(again.digest(), document.digest());
    true
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn made_documents_are_no_panic(seed in any::<u64>()) {
        is_read_or_refused(seed);
    }
}

#[test]
fn some_made_documents_are_read() {
    let read = (0..2_000).filter(|seed| is_read_or_refused(*seed)).count();
    assert!(read > 20, "{read} of 2,000");
}

/// A chain over two clients: each type is in the last one of the other client, and is found only
/// through a neighbour.
#[test]
fn nesting_over_several_clients_is_found() {
    let map = |parent: Vec<u8>| [vec![7], parent, vec![1]].concat();
    let levels = 400;
    let inside = |client: u64, clock: u64| [vec![0], uint(client), uint(clock)].concat();
    let root = || [vec![1], prefixed(b"a")].concat();
    let mut first = vec![map(root())];
    let mut second = Vec::new();
    for level in 0..levels {
        second.push(map(inside(1, level)));
        // The next type of the first client is beside another one in the type of the second.
        first.push(map(inside(2, level)));
    }
    let deep = bytes::update(&[(2, 0, second), (1, 0, first)], &[(1, vec![(0, 1)])]);
    let error = Source::read(&deep, &Limits::trusted()).expect_err("it is too deep");
    assert!(matches!(error, BackendError::Guard(GuardError::TooDeep { .. })), "{error}");
    let chain = |levels: u64| {
        let mut blocks = vec![map(root())];
        for level in 0..levels {
            blocks.push(map(inside(1, level * 2)));
            blocks.push(bytes::behind(7, (1, level * 2 + 1), &[1]));
        }
        bytes::update(&[(1, 0, blocks)], &[])
    };
    assert!(Source::read(&chain(20), &Limits::trusted()).is_ok());
    let error = Source::read(&chain(50_000), &Limits::trusted()).expect_err("it is too deep");
    assert!(matches!(error, BackendError::Guard(GuardError::TooDeep { .. })), "{error}");
}
