//! Walks untrusted bytes before a backend's decoder sees them.
//!
//! A backend's decoder trusts the counts in the bytes, and it recurses. So a few bytes can make it
//! allocate gigabytes, or overflow the stack, which cannot be caught. Each walk here
//!
//! - reads the whole encoding once,
//! - refuses a count if the remaining bytes are too few for it,
//! - recurses at most to a limit,
//! - refuses bytes that no honest replica writes.
//!
//! A walk keeps nothing; the backend interprets the bytes. The limits come from
//! [`Limits`](super::limits::Limits).
//!
//! A walk does not look into values. A bundle of registers is checked as a whole before an entry
//! of it is used (see [`bundle`](super::bundle)).
//!
//! A walk knows one update, but not the document to which the update is applied. So the backend can
//! still panic: apply the update under `catch_unwind`.

pub mod automerge_chunk;
pub mod recognize;
#[cfg(test)]
mod walks;
pub mod yrs_update;

use crate::varint::{self, VarintError};

/// Why bytes were refused. `at` is a byte offset into the bytes that were walked. Within deflated
/// data it is the offset of the deflated part plus the offset in the inflated data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The bytes are longer than allowed.
    #[error("{len} bytes, at most {max} are allowed")]
    #[non_exhaustive]
    TooLarge {
        /// The number of bytes.
        len: usize,
        /// The number of bytes allowed.
        max: usize,
    },
    /// The bytes end in the middle of an item.
    #[error("the bytes end at byte {at} within something")]
    #[non_exhaustive]
    Truncated {
        /// The offset of the incomplete item.
        at: usize,
    },
    /// No honest replica writes these bytes.
    #[error("malformed at byte {at}: {what}")]
    #[non_exhaustive]
    Malformed {
        /// The offset.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A count, or the sum of several counts, is beyond a limit or more than the remaining bytes
    /// can hold.
    #[error("too many {what} at byte {at}: {count}, at most {max}")]
    #[non_exhaustive]
    TooMany {
        /// The offset.
        at: usize,
        /// The items that were counted.
        what: &'static str,
        /// The count.
        count: u64,
        /// The largest allowed count.
        max: u64,
    },
    /// Values are nested too deeply.
    #[error("nested deeper than {max} levels at byte {at}")]
    #[non_exhaustive]
    TooDeep {
        /// The offset.
        at: usize,
        /// The number of levels allowed.
        max: usize,
    },
    /// The bytes use a part of the format that exostate never accepts.
    #[error("unsupported at byte {at}: {what}")]
    #[non_exhaustive]
    Unsupported {
        /// The offset.
        at: usize,
        /// The unsupported part.
        what: &'static str,
    },
    /// Deflated parts or repeated strings inflate beyond the limit.
    #[error("inflates to more than {max} bytes at byte {at}")]
    #[non_exhaustive]
    Inflated {
        /// The offset.
        at: usize,
        /// The number of bytes allowed.
        max: u64,
    },
}

/// Refuses a count beyond its limit.
fn at_most(at: usize, what: &'static str, count: u64, max: u64) -> Result<(), GuardError> {
    if count > max { Err(GuardError::TooMany { at, what, count, max }) } else { Ok(()) }
}

/// Reads bytes from the front and keeps the offset.
#[derive(Clone)]
pub(super) struct ByteReader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> ByteReader<'a> {
    /// A reader of `bytes` whose first byte has the offset `at`.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { rest: bytes, at }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn malformed<T>(&self, what: &'static str) -> Result<T, GuardError> {
        Err(GuardError::Malformed { at: self.at, what })
    }

    fn byte(&mut self) -> Result<u8, GuardError> {
        let (byte, rest) = self.rest.split_first().ok_or(GuardError::Truncated { at: self.at })?;
        self.rest = rest;
        self.at += 1;
        Ok(*byte)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], GuardError> {
        let truncated = GuardError::Truncated { at: self.at };
        let len = usize::try_from(len).map_err(|_| truncated.clone())?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(truncated)?;
        self.rest = rest;
        self.at += len;
        Ok(taken)
    }

    /// Reads an unsigned number: see [`varint`].
    pub(super) fn uint(&mut self) -> Result<u64, GuardError> {
        let at = self.at;
        let (value, rest) = varint::split(self.rest).map_err(|error| match error {
            VarintError::Truncated => GuardError::Truncated { at: at + self.rest.len() },
            VarintError::TooLarge => {
                GuardError::Malformed { at, what: "a number of more than 64 bits" }
            }
            VarintError::NotShortest => {
                GuardError::Malformed { at, what: "a number longer than it need be" }
            }
        })?;
        self.at += self.rest.len() - rest.len();
        self.rest = rest;
        Ok(value)
    }

    /// Reads a count of items that take at least `cost` bytes each. Refuses a count that the
    /// remaining bytes cannot hold.
    fn count(&mut self, what: &'static str, cost: usize) -> Result<u64, GuardError> {
        let at = self.at;
        let count = self.uint()?;
        at_most(at, what, count, (self.left() / cost.max(1)) as u64)?;
        Ok(count)
    }

    /// Reads bytes with their length in front.
    fn buffer(&mut self) -> Result<&'a [u8], GuardError> {
        let len = self.uint()?;
        self.take(len)
    }

    /// Reads UTF-8 with its length in front.
    fn string(&mut self) -> Result<&'a str, GuardError> {
        let at = self.at;
        std::str::from_utf8(self.buffer()?)
            .map_err(|_| GuardError::Malformed { at, what: "text that is not UTF-8" })
    }

    /// Reads UTF-8 of at most `max` bytes with its length in front.
    fn name(&mut self, max: usize) -> Result<&'a str, GuardError> {
        let at = self.at;
        let name = self.string()?;
        at_most(at, "bytes in a name", name.len() as u64, max as u64)?;
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_needs_enough_remaining_bytes() {
        assert_eq!(ByteReader::new(&[2, 0, 0, 0, 0], 0).count("things", 2), Ok(2));
        assert_eq!(
            ByteReader::new(&[3, 0, 0, 0, 0], 7).count("things", 2),
            Err(GuardError::TooMany { at: 7, what: "things", count: 3, max: 2 })
        );
    }
}
