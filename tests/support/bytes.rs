//! Hand-made bytes of both formats. Tests need them because no honest replica writes such bytes.
#![allow(dead_code, reason = "every test file uses a part")]

use std::io::{Read, Write};

use sha2::{Digest, Sha256};

/// LEB128, which is also lib0's `varUint`.
pub fn uint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// Signed LEB128.
pub fn int(mut value: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if (value == 0 && low & 0x40 == 0) || (value == -1 && low & 0x40 != 0) {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// Bytes with their length in front.
pub fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [uint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// A yrs update of sections (client, first clock, blocks) and deletions (client, ranges).
pub fn update(
    sections: &[(u64, u64, Vec<Vec<u8>>)],
    deleted: &[(u64, Vec<(u64, u64)>)],
) -> Vec<u8> {
    let mut bytes = uint(sections.len() as u64);
    for (client, clock, blocks) in sections {
        bytes.extend(
            [uint(blocks.len() as u64), uint(*client), uint(*clock), blocks.concat()].concat(),
        );
    }
    bytes.extend(uint(deleted.len() as u64));
    for (client, ranges) in deleted {
        bytes.extend([uint(*client), uint(ranges.len() as u64)].concat());
        ranges.iter().for_each(|(clock, len)| bytes.extend([uint(*clock), uint(*len)].concat()));
    }
    bytes
}

/// A yrs item at the start of a root type: content kind, name of the root, content.
pub fn at_root(kind: u8, root: &str, content: &[u8]) -> Vec<u8> {
    [vec![kind, 1], prefixed(root.as_bytes()), content.to_vec()].concat()
}

/// A yrs item under a key of a root type.
pub fn at_key(kind: u8, root: &str, key: &str, content: &[u8]) -> Vec<u8> {
    [vec![kind | 0x20, 1], prefixed(root.as_bytes()), prefixed(key.as_bytes()), content.to_vec()]
        .concat()
}

/// A yrs item behind another.
pub fn behind(kind: u8, (client, clock): (u64, u64), content: &[u8]) -> Vec<u8> {
    [vec![kind | 0x80], uint(client), uint(clock), content.to_vec()].concat()
}

pub const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];

/// An automerge chunk with the right checksum.
pub fn chunk(kind: u8, contents: &[u8]) -> Vec<u8> {
    let hashed = if kind == 2 { inflate(contents) } else { contents.to_vec() };
    let checksum = hash(if kind == 2 { 1 } else { kind }, &hashed)[..4].to_vec();
    [MAGIC.to_vec(), checksum, vec![kind], prefixed(contents)].concat()
}

/// The hash of an automerge chunk.
pub fn hash(kind: u8, contents: &[u8]) -> [u8; 32] {
    Sha256::digest([vec![kind], prefixed(contents)].concat()).into()
}

/// Contents of an automerge change by replica 40, its first, with these columns of ops.
pub fn change(ops: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let actor = prefixed(&40u64.to_be_bytes());
    // No dependencies; first of its replica, first op, no time, no message, no other actors.
    [vec![0], actor, vec![1, 1, 0, 0, 0], table(ops), data(ops)].concat()
}

/// Contents of a saved automerge document by replica 40, with these columns of changes and of ops.
pub fn document(changes: &[(u64, Vec<u8>)], ops: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let actor = prefixed(&40u64.to_be_bytes());
    [vec![1], actor, vec![0], table(changes), table(ops), data(changes), data(ops)].concat()
}

fn table(columns: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let entries =
        columns.iter().flat_map(|(spec, data)| [uint(*spec), uint(data.len() as u64)].concat());
    uint(columns.len() as u64).into_iter().chain(entries).collect()
}

fn data(columns: &[(u64, Vec<u8>)]) -> Vec<u8> {
    columns.iter().flat_map(|(_, data)| data.clone()).collect()
}

/// Kind and contents of each chunk; deflated changes are inflated.
pub fn chunks(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while bytes.len() > 9 {
        let mut len = 0usize;
        let mut at = 9;
        loop {
            len |= usize::from(bytes[at] & 0x7f) << (7 * (at - 9));
            at += 1;
            if bytes[at - 1] & 0x80 == 0 {
                break;
            }
        }
        let contents = &bytes[at..at + len];
        found.push(if bytes[8] == 2 {
            (1, inflate(contents))
        } else {
            (bytes[8], contents.to_vec())
        });
        bytes = &bytes[at + len..];
    }
    found
}

pub fn inflate(bytes: &[u8]) -> Vec<u8> {
    let mut inflated = Vec::new();
    drop(flate2::read::DeflateDecoder::new(bytes).read_to_end(&mut inflated));
    inflated
}

pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder =
        flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}
