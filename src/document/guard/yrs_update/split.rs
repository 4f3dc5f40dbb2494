//! Cuts one block into several parts.

use super::{
    ANY, ByteReader, GuardError, HAS_ORIGIN, HAS_PARENT_SUB, HAS_RIGHT_ORIGIN, KIND, STRING, Walk,
};
use crate::document::limits::Limits;
use crate::varint;

/// A part of a block. [`split`] returns complete blocks; before that, a part has only content.
#[derive(Debug)]
pub struct Part {
    /// The bytes of the part.
    pub bytes: Vec<u8>,
    /// The number of clocks of the part.
    pub len: u32,
    /// The number of values in the part, including nested ones.
    pub values: u64,
}

/// Cuts a block of text or of values into parts. Each part has at most `bytes_max` bytes of
/// content, or is one character or one value. Returns no parts for a block of another kind or under
/// a key. O(bytes).
///
/// The origin of each part is the last element of the part before it, as when yrs itself splits a
/// block.
pub fn split(
    block: &[u8],
    client: u64,
    clock: u32,
    bytes_max: usize,
    limits: &Limits,
) -> Result<Vec<Part>, GuardError> {
    let mut visitor = ();
    let mut walk = Walk {
        reader: ByteReader::new(block, 0),
        limits,
        visitor: &mut visitor,
        origins: [None; 2],
        content_at: 0,
        blocks: 0,
        values: 0,
        types: 0,
    };
    let info = walk.reader.byte()?;
    if !matches!(info & KIND, STRING | ANY) || info & HAS_PARENT_SUB != 0 {
        return Ok(Vec::new());
    }
    if info & HAS_ORIGIN != 0 {
        walk.id(client, clock)?;
    }
    let mut right = walk.reader.at()..walk.reader.at();
    if info & HAS_RIGHT_ORIGIN != 0 {
        walk.id(client, clock)?;
        right.end = walk.reader.at();
    }
    if info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN) == 0 {
        walk.place(info, client, clock)?;
    }
    let mut head = block.get(..walk.reader.at()).unwrap_or_default().to_vec();
    let mut parts =
        if info & KIND == STRING { walk.texts(bytes_max)? } else { walk.portions(bytes_max)? };
    let mut end = clock;
    for part in &mut parts {
        part.bytes = [&*head, &part.bytes].concat();
        end += part.len;
        head = vec![info & (KIND | HAS_RIGHT_ORIGIN) | HAS_ORIGIN];
        varint::put(&mut head, client);
        varint::put(&mut head, u64::from(end - 1));
        head.extend_from_slice(block.get(right.clone()).unwrap_or_default());
    }
    Ok(parts)
}

impl Walk<'_> {
    /// Cuts a text between characters.
    fn texts(&mut self, bytes_max: usize) -> Result<Vec<Part>, GuardError> {
        let mut text = self.reader.string()?;
        let mut parts = Vec::new();
        while let Some(first) = text.chars().next() {
            let most = bytes_max.clamp(first.len_utf8(), text.len().max(first.len_utf8()));
            let end =
                (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(text.len());
            let (here, rest) = text.split_at(end);
            parts.push(Part {
                bytes: counted(end as u64, here.as_bytes()),
                len: here.encode_utf16().count() as u32,
                values: 0,
            });
            text = rest;
        }
        Ok(parts)
    }

    /// Cuts a list between values.
    fn portions(&mut self, bytes_max: usize) -> Result<Vec<Part>, GuardError> {
        let count = self.reader.count("values", 1)?;
        let mut parts = Vec::new();
        let mut from = self.reader.clone();
        let mut len = 0;
        let mut values = self.values;
        for _ in 0..count {
            let before = self.reader.left();
            let values_before = self.values;
            self.any(0)?;
            if len > 0 && from.left() - self.reader.left() > bytes_max {
                let here = from.take((from.left() - before) as u64)?;
                parts.push(Part {
                    bytes: counted(len, here),
                    len: len as u32,
                    values: values_before - values,
                });
                (len, values) = (0, values_before);
            }
            len += 1;
        }
        let here = from.take((from.left() - self.reader.left()) as u64)?;
        if len > 0 {
            parts.push(Part {
                bytes: counted(len, here),
                len: len as u32,
                values: self.values - values,
            });
        }
        Ok(parts)
    }
}

/// The content with a count in front.
fn counted(count: u64, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len() + 5);
    varint::put(&mut bytes, count);
    bytes.extend_from_slice(content);
    bytes
}
