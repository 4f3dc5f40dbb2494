//! Updates that no honest replica writes: honest updates with damage, and updates made from the
//! format's grammar.

use crate::support::one_update::OneUpdate;
use exostate::{Automerge, Backend, Store, Version, Yrs};
use fastrand::Rng;

use super::Everything;
use super::bytes::{self, prefixed, uint};

/// The ids of the store under attack, of two honest replicas that it knows, and of two unknown
/// replicas.
const CLIENTS: [u64; 5] = [1, 2, 3, 40, 41];

/// Hostile bytes for a backend.
pub trait Hostile: Backend {
    /// Whether the backend refuses an update that contradicts itself. yrs accepts an item whose
    /// neighbours have two different parents, and the result depends on the order of the updates.
    /// Replicas that differ for this reason detect it by their digests.
    const CONSISTENT: bool;
    /// The updates that an honest store sends, in all forms of its format.
    fn honest(store: &Store<Everything, Self>, since: &Version) -> Vec<Vec<u8>>;
    /// A hostile update.
    fn hostile(rng: &mut Rng, honest: &[Vec<u8>]) -> Vec<u8>;
}

impl Hostile for Yrs {
    const CONSISTENT: bool = false;

    fn honest(store: &Store<Everything, Self>, since: &Version) -> Vec<Vec<u8>> {
        vec![store.update_since(since).expect("an update"), store.save()]
    }

    fn hostile(rng: &mut Rng, honest: &[Vec<u8>]) -> Vec<u8> {
        if rng.bool() {
            return yrs_update(rng);
        }
        let mut bytes = pick(rng, honest);
        let other = pick(rng, honest);
        damage(rng, &mut bytes, &other);
        bytes
    }
}

impl Hostile for Automerge {
    const CONSISTENT: bool = true;

    fn honest(store: &Store<Everything, Self>, since: &Version) -> Vec<Vec<u8>> {
        let update = store.update_since(since).expect("an update");
        let mut honest: Vec<_> = bytes::chunks(&update)
            .iter()
            .map(|(kind, contents)| bytes::chunk(*kind, contents))
            .collect();
        honest.push(
            automerge::Automerge::load(&store.save())
                .expect("an honest document")
                .save_nocompress(),
        );
        honest.push(update);
        honest.retain(|bytes| !bytes.is_empty());
        honest
    }

    /// The checksum is correct, so that the backend reads the damaged content.
    fn hostile(rng: &mut Rng, honest: &[Vec<u8>]) -> Vec<u8> {
        let mut made = Vec::new();
        for _ in 0..1 + rng.usize(..2) {
            let other = bytes::chunks(&pick(rng, honest));
            for (kind, mut contents) in bytes::chunks(&pick(rng, honest)) {
                if kind == 0 || rng.usize(..4) > 0 {
                    let (_, from) = pick(rng, &other);
                    damage(rng, &mut contents, &from);
                }
                made.extend(bytes::chunk(kind, &contents));
            }
        }
        made
    }
}

fn pick<T: Clone>(rng: &mut Rng, items: &[T]) -> T {
    items[rng.usize(..items.len())].clone()
}

/// Damages one to four places, some of them with parts of `other`.
fn damage(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..1 + rng.usize(..4) {
        let len = bytes.len();
        if len == 0 || other.is_empty() {
            return;
        }
        let at = rng.usize(..len);
        match rng.u8(..9) {
            0 => bytes[at] = rng.u8(..),
            1 => bytes[at] ^= 1 << rng.u8(..8),
            2 => bytes[at] = bytes[at].wrapping_add(1),
            3 => bytes[at] = bytes[at].wrapping_sub(1),
            4 => drop(bytes.remove(at)),
            5 => bytes.insert(at, pick(rng, &[0, 1, 2, 3, 6, 7, 0x7f, 0x80, 0xff])),
            6 => bytes.extend_from_within(at..(at + 1 + rng.usize(..8)).min(len)),
            7 => {
                let start = rng.usize(..other.len());
                let part = other[start..(start + 1 + rng.usize(..12)).min(other.len())].to_vec();
                drop(bytes.splice(at..(at + rng.usize(..12)).min(len), part));
            }
            _ => bytes.swap(at, rng.usize(..len)),
        }
    }
}

/// An update of some blocks with arbitrary content.
fn yrs_update(rng: &mut Rng) -> Vec<u8> {
    let mut clients: Vec<u64> = CLIENTS.into_iter().rev().filter(|_| rng.bool()).collect();
    if clients.is_empty() {
        clients.push(40);
    }
    let sections = clients.into_iter().map(|client| {
        let start = if client < 40 { rng.u64(..30) } else { rng.u64(..24).saturating_sub(20) };
        (client, start, (0..1 + rng.usize(..6)).map(|_| block(rng, client)).collect())
    });
    let sections: Vec<_> = sections.collect();
    let deleted = CLIENTS.into_iter().filter(|_| rng.u8(..3) == 0).collect::<Vec<_>>();
    let deleted: Vec<_> = deleted.into_iter().map(|client| (client, ranges(rng))).collect();
    bytes::update(&sections, &deleted)
}

fn ranges(rng: &mut Rng) -> Vec<(u64, u64)> {
    let mut at = 0;
    let mut found = Vec::new();
    for _ in 0..1 + rng.usize(..3) {
        let start = at + rng.u64(..8);
        let len = 1 + rng.u64(..4);
        found.push((start, len));
        at = start + len;
    }
    found
}

fn block(rng: &mut Rng, client: u64) -> Vec<u8> {
    const ROOTS: [&str; 7] = ["state", "T:notes", "L:numbers", "T:x", "L:x", "zz", "T:cards"];
    const KEYS: [&str; 6] = ["title", "count", "cards/28-1", "people/a/name", "votes/1", "x"];
    // Collected, deleted, binary, text, embedded, mark, value, type, gap. The most important kinds
    // are listed more often.
    let kind = pick(rng, &[0, 0, 1, 1, 3, 4, 4, 4, 5, 6, 6, 7, 8, 8, 8, 10]);
    if matches!(kind, 0 | 10) {
        return [vec![kind], uint(1 + rng.u64(..5))].concat();
    }
    let origin = rng.bool();
    let right = rng.u8(..3) == 0;
    let keyed = rng.u8(..3) == 0;
    let mut block =
        vec![kind | u8::from(origin) << 7 | u8::from(right) << 6 | u8::from(keyed) << 5];
    for _ in 0..u8::from(origin) + u8::from(right) {
        block.extend(id(rng, client));
    }
    if !origin && !right {
        if rng.u8(..6) == 0 {
            block.extend([vec![0], id(rng, client)].concat());
        } else {
            block.extend([vec![1], prefixed(pick(rng, &ROOTS).as_bytes())].concat());
        }
        if keyed {
            block.extend(prefixed(pick(rng, &KEYS).as_bytes()));
        }
    }
    block.extend(content(rng, kind));
    block
}

fn id(rng: &mut Rng, client: u64) -> Vec<u8> {
    let highest = if rng.u8(..3) == 0 { 30 } else { 6 };
    [uint(pick(rng, &[1, 2, 3, 40, 41, client])), uint(rng.u64(..highest))].concat()
}

fn content(rng: &mut Rng, kind: u8) -> Vec<u8> {
    let mut text = |texts: &[&str]| prefixed(pick(rng, texts).as_bytes());
    match kind {
        1 => uint(1 + rng.u64(..5)),
        3 => text(&["bin"]),
        4 => text(&["a", "abc", "", "😀", "ä€😀x"]),
        5 => text(&["{}", "1", "{\"a\":[1]}", "null", "x"]),
        6 => [text(&["bold", "link"]), text(&["null", "true", "1", "\"x\""])].concat(),
        7 => pick(rng, &[vec![0], vec![1], vec![2], vec![4], vec![6], vec![3, 1, b'p']]),
        _ => {
            let values: [&[u8]; 10] = [
                &[0x7e],
                &[0x7f],
                &[0x78],
                &[0x7d, 5],
                &[0x77, 1, b'x'],
                &[0x75, 1, 0x7e],
                &[0x76, 1, 1, b'k', 0x7e],
                &[0x7a, 0, 0, 0, 0, 0, 0, 0, 1],
                &[0x7b, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0],
                &[0x74, 1, 0],
            ];
            let count = rng.usize(..4);
            [uint(count as u64), (0..count).flat_map(|_| pick(rng, &values).to_vec()).collect()]
                .concat()
        }
    }
}
