//! Walks automerge bytes: a sequence of saved documents, changes and deflated changes.
//!
//! The format is <https://automerge.org/automerge-binary-format-spec/>. Two parts of it can grow
//! far beyond the size of the bytes:
//!
//! - Deflated parts. The walk inflates them, under one budget for all of them together.
//! - Run-length encoded columns, in which a few bytes can claim any number of rows. The walk counts
//!   the rows.
//!
//! The walk does not check the checksums; automerge does.

use std::borrow::Cow;
use std::io::Read;

use super::{ByteReader, GuardError, at_most};
use crate::document::limits::Limits;

/// The first bytes of every chunk.
pub const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const HASH_BYTES: usize = 32;
/// The bit in a column's specification that marks the column as deflated.
const DEFLATED: u64 = 0x08;

/// The kind of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkKind {
    /// A saved document.
    Document,
    /// One change, deflated or not.
    Change,
}

/// The chunks in the bytes, each with its header, in order. After an invalid chunk the iterator
/// returns an error and ends.
pub fn chunks(bytes: &[u8]) -> impl Iterator<Item = Result<(ChunkKind, &[u8]), GuardError>> {
    let mut reader = ByteReader::new(bytes, 0);
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || reader.is_empty() {
            return None;
        }
        let rest = reader.rest;
        let chunk = header(&mut reader).map(|(kind, _)| {
            let kind = if kind == 0 { ChunkKind::Document } else { ChunkKind::Change };
            (kind, rest.get(..rest.len() - reader.left()).unwrap_or(rest))
        });
        failed = chunk.is_err();
        Some(chunk)
    })
}

/// Walks one or more chunks.
///
/// # Errors
///
/// The bytes are not chunks, claim more than they hold, or exceed a limit.
pub fn walk(bytes: &[u8], limits: &Limits) -> Result<(), GuardError> {
    if bytes.len() > limits.bytes_max() {
        return Err(GuardError::TooLarge { len: bytes.len(), max: limits.bytes_max() });
    }
    let mut reader = ByteReader::new(bytes, 0);
    let mut walk = Walk { limits, inflated: 0, rows_before: 0, rows: 0, chunks: 0 };
    while !reader.is_empty() {
        walk.chunk(&mut reader)?;
    }
    Ok(())
}

/// Reads a chunk's header and contents. Returns its type and a reader of the contents.
fn header<'a>(reader: &mut ByteReader<'a>) -> Result<(u8, ByteReader<'a>), GuardError> {
    let at = reader.at();
    if reader.take(4)? != MAGIC {
        return Err(GuardError::Malformed { at, what: "no automerge chunk" });
    }
    reader.take(4)?;
    let kind = reader.byte()?;
    let len = reader.uint()?;
    let start = reader.at();
    Ok((kind, ByteReader::new(reader.take(len)?, start)))
}

struct Walk<'a> {
    limits: &'a Limits,
    /// The bytes that deflated parts and repeated strings have inflated to so far.
    inflated: u64,
    /// The rows of all chunks before this one. Each chunk counts with its longest column.
    rows_before: u64,
    /// The rows of the longest column of this chunk so far.
    rows: u64,
    chunks: u64,
}

impl Walk<'_> {
    fn chunk(&mut self, reader: &mut ByteReader<'_>) -> Result<(), GuardError> {
        let at = reader.at();
        self.chunks += 1;
        at_most(at, "changes", self.chunks, self.limits.ops_max())?;
        let (kind, mut contents) = header(reader)?;
        self.rows_before = self.rows_before.saturating_add(std::mem::take(&mut self.rows));
        match kind {
            0 => self.document(&mut contents),
            1 => self.change(&mut contents),
            2 => {
                let start = contents.at();
                let deflated = contents.rest;
                let inflated = self.inflate(start, deflated)?;
                self.change(&mut ByteReader::new(&inflated, start))
            }
            3 => Err(GuardError::Unsupported { at, what: "a bundle" }),
            _ => Err(GuardError::Malformed { at, what: "an unknown kind of chunk" }),
        }
    }

    fn document(&mut self, reader: &mut ByteReader<'_>) -> Result<(), GuardError> {
        self.actors(reader)?;
        self.hashes(reader)?;
        let changes = columns(reader)?;
        let ops = columns(reader)?;
        for (spec, len) in changes.into_iter().chain(ops) {
            self.column(reader, spec, len)?;
        }
        // The indexes of the heads follow. automerge reads as many of them as there are heads.
        Ok(())
    }

    fn change(&mut self, reader: &mut ByteReader<'_>) -> Result<(), GuardError> {
        self.hashes(reader)?;
        self.name(reader)?;
        // The sequence number. The counter of the first op follows it.
        reader.uint()?;
        let at = reader.at();
        // Some code of automerge keeps op counters in 32 bits, so a change must not start near the
        // end of that range.
        if reader.uint()? > u64::from(u32::MAX) / 2 {
            return Err(GuardError::Malformed { at, what: "an op counter that overflows" });
        }
        signed(reader)?;
        reader.buffer()?;
        self.actors(reader)?;
        for (spec, len) in columns(reader)? {
            self.column(reader, spec, len)?;
        }
        Ok(())
    }

    fn actors(&mut self, reader: &mut ByteReader<'_>) -> Result<(), GuardError> {
        let at = reader.at();
        let count = reader.count("actors", 1)?;
        at_most(at, "actors", count, self.limits.clients_max() as u64)?;
        (0..count).try_for_each(|_| self.name(reader))
    }

    fn name(&self, reader: &mut ByteReader<'_>) -> Result<(), GuardError> {
        let at = reader.at();
        let len = reader.buffer()?.len();
        at_most(at, "bytes in an actor's id", len as u64, self.limits.name_bytes_max() as u64)
    }

    fn hashes(&self, reader: &mut ByteReader<'_>) -> Result<(), GuardError> {
        let count = reader.count("hashes", HASH_BYTES)?;
        reader.take(count.saturating_mul(HASH_BYTES as u64)).map(drop)
    }

    fn column(
        &mut self,
        reader: &mut ByteReader<'_>,
        spec: u64,
        len: u64,
    ) -> Result<(), GuardError> {
        let start = reader.at();
        let data = reader.take(len)?;
        let data = if spec & DEFLATED == 0 {
            Cow::Borrowed(data)
        } else {
            Cow::Owned(self.inflate(start, data)?)
        };
        let mut column = ByteReader::new(&data, start);
        match spec & 0x07 {
            // Group counts, actors, unsigned numbers, value metadata.
            0 | 1 | 2 | 6 => self.runs(&mut column, |reader| reader.uint().map(|_| 0)),
            3 => self.runs(&mut column, |reader| signed(reader).map(|()| 0)),
            4 => self.booleans(&mut column),
            5 => self.runs(&mut column, |reader| reader.buffer().map(|text| text.len() as u64)),
            // Raw values.
            _ => Ok(()),
        }
    }

    /// Walks a run-length encoded column. `value` reads one value and returns how many bytes each
    /// repetition of it takes.
    fn runs(
        &mut self,
        reader: &mut ByteReader<'_>,
        value: impl Fn(&mut ByteReader<'_>) -> Result<u64, GuardError>,
    ) -> Result<(), GuardError> {
        let mut rows = 0u64;
        while !reader.is_empty() {
            let at = reader.at();
            let count = signed_value(reader)?;
            if count == 0 {
                rows = rows.saturating_add(reader.uint()?);
            } else if count > 0 {
                rows = rows.saturating_add(count.unsigned_abs());
                let cost = value(reader)?.saturating_mul(count.unsigned_abs());
                self.grow(at, cost)?;
            } else {
                at_most(at, "rows", count.unsigned_abs(), reader.left() as u64)?;
                (0..count.unsigned_abs()).try_for_each(|_| value(reader).map(drop))?;
                rows = rows.saturating_add(count.unsigned_abs());
            }
            self.check_rows(at, rows)?;
        }
        Ok(())
    }

    fn booleans(&mut self, reader: &mut ByteReader<'_>) -> Result<(), GuardError> {
        let mut rows = 0u64;
        while !reader.is_empty() {
            let at = reader.at();
            rows = rows.saturating_add(reader.uint()?);
            self.check_rows(at, rows)?;
        }
        Ok(())
    }

    /// Limits the rows of all chunks together, because each row becomes an op in memory, however
    /// few bytes it takes.
    fn check_rows(&mut self, at: usize, rows: u64) -> Result<(), GuardError> {
        self.rows = self.rows.max(rows);
        at_most(at, "rows", self.rows_before.saturating_add(self.rows), self.limits.ops_max())
    }

    fn grow(&mut self, at: usize, bytes: u64) -> Result<(), GuardError> {
        self.inflated = self.inflated.saturating_add(bytes);
        let max = self.limits.inflated_bytes_max();
        if self.inflated > max { Err(GuardError::Inflated { at, max }) } else { Ok(()) }
    }

    /// Inflates a part. Fails if it takes more than the rest of the budget for inflated bytes.
    fn inflate(&mut self, at: usize, deflated: &[u8]) -> Result<Vec<u8>, GuardError> {
        let left = self.limits.inflated_bytes_max().saturating_sub(self.inflated);
        let mut inflated = Vec::new();
        let mut decoder = flate2::read::DeflateDecoder::new(deflated).take(left.saturating_add(1));
        if decoder.read_to_end(&mut inflated).is_err() {
            return Err(GuardError::Malformed { at, what: "a deflated part" });
        }
        self.grow(at, inflated.len() as u64)?;
        Ok(inflated)
    }
}

/// Reads the specification and the length of each column.
fn columns(reader: &mut ByteReader<'_>) -> Result<Vec<(u64, u64)>, GuardError> {
    let count = reader.count("columns", 2)?;
    at_most(reader.at(), "columns", count, COLUMNS_MAX)?;
    (0..count).map(|_| Ok((reader.uint()?, reader.uint()?))).collect()
}

/// The most columns of one table. The format has fewer than 20; the rest is for newer versions.
const COLUMNS_MAX: u64 = 256;

fn signed(reader: &mut ByteReader<'_>) -> Result<(), GuardError> {
    signed_value(reader).map(drop)
}

/// Reads a signed LEB128 number.
fn signed_value(reader: &mut ByteReader<'_>) -> Result<i64, GuardError> {
    let at = reader.at();
    let mut value = 0i64;
    for shift in (0..64).step_by(7) {
        let byte = reader.byte()?;
        value |= i64::from(byte & 0x7f).wrapping_shl(shift);
        if byte & 0x80 == 0 {
            if shift + 7 < 64 && byte & 0x40 != 0 {
                value |= -1i64 << (shift + 7);
            }
            return Ok(value);
        }
    }
    Err(GuardError::Malformed { at, what: "a number of more than 64 bits" })
}
