//! Cuts one block in two.

use super::{ANY, GuardError, HAS_ORIGIN, HAS_PARENT_SUB, HAS_RIGHT_ORIGIN, KIND, Reader, STRING, Walk, put_uint};
use crate::document::limits::Limits;

/// The two parts of a block.
pub struct Halves {
    /// The first part.
    pub first: Vec<u8>,
    /// The second part.
    pub second: Vec<u8>,
    /// How many clocks the first part has.
    pub first_len: u32,
}

/// Cuts a block of text, or of several values, in two, of which the first takes at most `bytes_max` bytes of content, or one value. Gives
/// both as blocks of their own; nothing where there is nothing to cut.
///
/// The second part stands behind the last element of the first, as yrs itself would say it.
pub fn halve(block: &[u8], client: u64, clock: u32, bytes_max: usize) -> Result<Option<Halves>, GuardError> {
    let limits = Limits::trusted();
    let mut visitor = ();
    let mut walk = Walk { reader: Reader::new(block, 0), limits: &limits, visitor: &mut visitor, blocks: 0, values: 0, types: 0 };
    let info = walk.reader.byte()?;
    if !matches!(info & KIND, STRING | ANY) || info & HAS_PARENT_SUB != 0 {
        return Ok(None);
    }
    let mut after = Vec::new();
    if info & HAS_ORIGIN != 0 {
        walk.id(client, clock)?;
    }
    if info & HAS_RIGHT_ORIGIN != 0 {
        let start = walk.reader.at();
        walk.id(client, clock)?;
        after = block.get(start..walk.reader.at()).unwrap_or_default().to_vec();
    }
    if info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN) == 0 {
        walk.place(info, client, clock)?;
    }
    let head = block.get(..walk.reader.at()).unwrap_or_default();
    let halves = if info & KIND == STRING { walk.halve_text(bytes_max)? } else { walk.halve_values(bytes_max)? };
    let Some(Halves { first, second, first_len }) = halves else { return Ok(None) };
    let mut rest = vec![info & (KIND | HAS_RIGHT_ORIGIN) | HAS_ORIGIN];
    put_uint(&mut rest, client);
    put_uint(&mut rest, u64::from(clock + first_len - 1));
    Ok(Some(Halves { first: [head, &first].concat(), second: [rest, after, second].concat(), first_len }))
}

impl Walk<'_> {
    /// Cuts a text between two characters: the contents of both parts.
    fn halve_text(&mut self, bytes_max: usize) -> Result<Option<Halves>, GuardError> {
        let text = self.reader.string()?;
        let end = (0..=bytes_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let (first, second) = text.split_at(end);
        let part = |text: &str| {
            let mut bytes = Vec::new();
            put_uint(&mut bytes, text.len() as u64);
            bytes.extend_from_slice(text.as_bytes());
            bytes
        };
        let cut = !first.is_empty() && !second.is_empty();
        Ok(cut.then(|| Halves { first: part(first), second: part(second), first_len: first.encode_utf16().count() as u32 }))
    }

    /// Cuts values in two, as [`Self::halve_text`] does.
    fn halve_values(&mut self, bytes_max: usize) -> Result<Option<Halves>, GuardError> {
        let count = self.reader.count("values", 1)?;
        let values = self.reader.clone();
        let mut first = 0;
        while first + 1 < count && (first == 0 || values.left() - self.reader.left() < bytes_max) {
            self.any(0)?;
            first += 1;
        }
        let (head, tail) = values.rest.split_at(values.left() - self.reader.left());
        let part = |count, values: &[u8]| {
            let mut bytes = Vec::new();
            put_uint(&mut bytes, count);
            bytes.extend_from_slice(values);
            bytes
        };
        let halves = || Halves { first: part(first, head), second: part(count - first, tail), first_len: first as u32 };
        Ok((first > 0 && first < count).then(halves))
    }
}
