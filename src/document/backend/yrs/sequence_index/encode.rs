//! Encodes an edit of this replica as an update in encoding v1 of Yjs, and reads the content of
//! blocks of such updates.

use std::collections::BTreeMap;

use yrs::Any;
use yrs::updates::decoder::DecoderV1;

use super::super::cut;
use super::super::summary::NewBlock;
use super::super::values::{from_any, to_any};
use super::span::Span;
use crate::document::guard::yrs_update::{
    ANY, BINARY, HAS_ORIGIN, HAS_RIGHT_ORIGIN, KIND, NAMED_PARENT, STRING,
};
use crate::document::value::Value;
use crate::varint;

/// What an edit inserts.
#[derive(Clone, Copy)]
pub enum Inserted<'a> {
    /// Text.
    Text(&'a str),
    /// Elements of a list.
    Values(&'a [Value]),
}

/// An update that inserts one block into a sequence and deletes ops. `root` is the name of the
/// sequence's root type.
pub fn update(
    root: &str,
    inserted: Option<(&Span, Inserted<'_>)>,
    deleted: &[(u64, u32, u32)],
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    match inserted {
        Some((span, content)) => {
            // One client with one block.
            bytes.extend([1, 1]);
            put_id(&mut bytes, (span.client, span.clock));
            put_block(&mut bytes, root, span, content);
        }
        None => bytes.push(0),
    }
    cut::put_deleted(&mut bytes, &ranges(deleted));
    bytes
}

fn put_id(bytes: &mut Vec<u8>, (client, clock): (u64, u32)) {
    varint::put(bytes, client);
    varint::put(bytes, u64::from(clock));
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    varint::put(bytes, text.len() as u64);
    bytes.extend(text.as_bytes());
}

fn put_block(bytes: &mut Vec<u8>, root: &str, span: &Span, content: Inserted<'_>) {
    let kind = match content {
        Inserted::Text(_) => STRING,
        Inserted::Values(_) => ANY,
    };
    let origin = if span.origin.is_some() { HAS_ORIGIN } else { 0 };
    let right_origin = if span.right_origin.is_some() { HAS_RIGHT_ORIGIN } else { 0 };
    bytes.push(kind | origin | right_origin);
    span.origin.into_iter().chain(span.right_origin).for_each(|op| put_id(bytes, op));
    if origin | right_origin == 0 {
        bytes.push(NAMED_PARENT);
        put_text(bytes, root);
    }
    match content {
        Inserted::Text(text) => put_text(bytes, text),
        Inserted::Values(values) => {
            varint::put(bytes, values.len() as u64);
            values.iter().for_each(|value| to_any(value).encode(bytes));
        }
    }
}

/// The deleted ranges of each client, sorted. Adjacent ones are merged.
fn ranges(deleted: &[(u64, u32, u32)]) -> BTreeMap<u64, Vec<(u32, u32)>> {
    let mut clients: BTreeMap<u64, Vec<(u32, u32)>> = BTreeMap::new();
    for (client, clock, len) in deleted {
        clients.entry(*client).or_default().push((*clock, *len));
    }
    for ranges in clients.values_mut() {
        ranges.sort_unstable();
        ranges.dedup_by(|next, range| {
            let touches = range.0 + range.1 == next.0;
            if touches {
                range.1 += next.1;
            }
            touches
        });
    }
    clients
}

/// The text of a block of an update. `None` if the block holds something else.
pub fn text<'a>(update: &'a [u8], block: &NewBlock) -> Option<&'a str> {
    let (len, bytes) = varint::split(update.get(block.content.clone())?).ok()?;
    if update.get(block.starts_at)? & KIND != STRING {
        return None;
    }
    std::str::from_utf8(bytes.get(..usize::try_from(len).ok()?)?).ok()
}

/// The values of a block of an update. `None` if the block holds something else.
pub fn values(update: &[u8], block: &NewBlock) -> Option<Vec<Value>> {
    let (count, rest) = varint::split(update.get(block.content.clone())?).ok()?;
    match update.get(block.starts_at)? & KIND {
        BINARY => {
            let buffer = rest.get(..usize::try_from(count).ok()?)?;
            Some(vec![Value::Bytes(buffer.into())])
        }
        ANY => {
            let mut decoder = DecoderV1::from(rest);
            (0..count).map(|_| Any::decode(&mut decoder).ok().map(|any| from_any(&any))).collect()
        }
        _ => None,
    }
}
