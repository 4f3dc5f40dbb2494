//! Long values in chunks of a page of redb.
//!
//! redb writes a leaf of its tree anew when a row is added to it, with all rows in it. With values
//! of many pages each commit would write the value of the commit before once more.

use redb::{ReadableTable, Table, TableDefinition};

use super::Failure;

/// The number of the document, of the record, and of the chunk.
pub(super) type Key = (u64, u64, u32);

pub(super) type Chunks = TableDefinition<'static, Key, &'static [u8]>;

/// One chunk, with what redb adds to it, is nearly a page of 4,096 bytes.
const CHUNK_BYTES: usize = 4_000;

/// Writes a value in place of an older one.
pub(super) fn put(
    table: &mut Table<'_, Key, &'static [u8]>,
    document: u64,
    number: u64,
    bytes: &[u8],
) -> Result<(), Failure> {
    let mut next = 0;
    // An empty value has one chunk too.
    let (first, rest) = bytes.split_at(bytes.len().min(CHUNK_BYTES));
    for chunk in std::iter::once(first).chain(rest.chunks(CHUNK_BYTES)) {
        table.insert((document, number, next), chunk)?;
        next += 1;
    }
    // What an older, longer value has left.
    while table.remove((document, number, next))?.is_some() {
        next += 1;
    }
    Ok(())
}

/// Removes the values with these numbers.
pub(super) fn remove(
    table: &mut Table<'_, Key, &'static [u8]>,
    document: u64,
    numbers: std::ops::RangeInclusive<u64>,
) -> Result<(), Failure> {
    let range = (document, *numbers.start(), 0)..=(document, *numbers.end(), u32::MAX);
    Ok(table.retain_in(range, |_, _| false)?)
}

/// All values of a document, in the order of their numbers. A chunk that is missing shows as a
/// wrong checksum of the value.
pub(super) fn read(
    table: &impl ReadableTable<Key, &'static [u8]>,
    document: u64,
) -> Result<Vec<(u64, Vec<u8>)>, Failure> {
    let mut values: Vec<(u64, Vec<u8>)> = Vec::new();
    for row in table.range((document, 0, 0)..=(document, u64::MAX, u32::MAX))? {
        let (key, chunk) = row?;
        let (_, number, _) = key.value();
        match values.last_mut() {
            Some((last, value)) if *last == number => value.extend_from_slice(chunk.value()),
            _ => values.push((number, chunk.value().to_vec())),
        }
    }
    Ok(values)
}
