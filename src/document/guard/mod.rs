//! Walks untrusted bytes before a backend's decoder sees them.
//!
//! A decoder trusts counts and recurses; a few bytes can claim gigabytes, or overflow the stack,
//! which nothing catches. Each walk here reads the whole encoding once, believes no number that the
//! bytes left cannot pay for, recurses no deeper than a limit, and refuses what no honest replica
//! writes. It keeps nothing: what the bytes mean is the backend's matter. The numbers come from
//! [`Limits`](super::limits::Limits).
//!
//! A walk knows one update and not the document it goes into, so that a panic in a backend remains
//! possible: apply under `catch_unwind`.

pub mod automerge_chunk;
pub mod recognize;
#[cfg(test)]
mod walks;
pub mod yrs_update;

/// Why bytes were refused. `at` is a byte offset into the bytes that were walked; within deflated
/// data it is the offset of the deflated part plus the place in what it inflates to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The whole is longer than allowed.
    #[error("{len} bytes, at most {max} are allowed")]
    #[non_exhaustive]
    TooLarge {
        /// Bytes there are.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The bytes end within something.
    #[error("the bytes end at byte {at} within something")]
    #[non_exhaustive]
    Truncated {
        /// Where the thing that is cut starts.
        at: usize,
    },
    /// Nothing that an honest replica writes.
    #[error("malformed at byte {at}: {what}")]
    #[non_exhaustive]
    Malformed {
        /// The offset.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A count, or the sum of several, beyond a limit or beyond what the bytes left can hold.
    #[error("too many {what} at byte {at}: {count}, at most {max}")]
    #[non_exhaustive]
    TooMany {
        /// The offset.
        at: usize,
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: u64,
        /// How many there may be.
        max: u64,
    },
    /// Values nested too deeply.
    #[error("nested deeper than {max} levels at byte {at}")]
    #[non_exhaustive]
    TooDeep {
        /// The offset.
        at: usize,
        /// Levels allowed.
        max: usize,
    },
    /// A part of the format that is not taken from anyone.
    #[error("unsupported at byte {at}: {what}")]
    #[non_exhaustive]
    Unsupported {
        /// The offset.
        at: usize,
        /// What it is.
        what: &'static str,
    },
    /// Deflated parts or repeated strings grow beyond the limit.
    #[error("inflates to more than {max} bytes at byte {at}")]
    #[non_exhaustive]
    Inflated {
        /// The offset.
        at: usize,
        /// Bytes allowed.
        max: u64,
    },
}

/// Refuses a count beyond its limit.
fn at_most(at: usize, what: &'static str, count: u64, max: u64) -> Result<(), GuardError> {
    if count > max { Err(GuardError::TooMany { at, what, count, max }) } else { Ok(()) }
}

/// Reads bytes from the front and knows where it is.
#[derive(Clone)]
struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader of `bytes` whose first byte has the offset `at`.
    fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { rest: bytes, at }
    }

    fn at(&self) -> usize {
        self.at
    }

    fn left(&self) -> usize {
        self.rest.len()
    }

    fn is_empty(&self) -> bool {
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

    /// An unsigned number of seven bits a byte, lowest first, in its shortest form: LEB128, and
    /// lib0's `varUint`.
    fn uint(&mut self) -> Result<u64, GuardError> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                break;
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(GuardError::Malformed {
                        at: start,
                        what: "a number longer than it need be",
                    });
                }
                return Ok(value);
            }
        }
        Err(GuardError::Malformed { at: start, what: "a number of more than 64 bits" })
    }

    /// A number that counts things which cost at least `cost` bytes each.
    fn count(&mut self, what: &'static str, cost: usize) -> Result<u64, GuardError> {
        let at = self.at;
        let count = self.uint()?;
        at_most(at, what, count, (self.left() / cost.max(1)) as u64)?;
        Ok(count)
    }

    /// Bytes with their length in front.
    fn buffer(&mut self) -> Result<&'a [u8], GuardError> {
        let len = self.uint()?;
        self.take(len)
    }

    /// UTF-8 with its length in front.
    fn string(&mut self) -> Result<&'a str, GuardError> {
        let at = self.at;
        std::str::from_utf8(self.buffer()?)
            .map_err(|_| GuardError::Malformed { at, what: "text that is not UTF-8" })
    }

    /// UTF-8 of at most `max` bytes with its length in front.
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

    fn uint(bytes: &[u8]) -> Result<u64, GuardError> {
        Reader::new(bytes, 0).uint()
    }

    #[test]
    fn a_number_has_one_form() {
        assert_eq!(uint(&[0]), Ok(0));
        assert_eq!(uint(&[0x80, 1]), Ok(128));
        let mut widest = [0xff; 10];
        widest[9] = 1;
        assert_eq!(uint(&widest), Ok(u64::MAX));
        widest[9] = 2;
        assert!(matches!(uint(&widest), Err(GuardError::Malformed { .. })));
        assert!(matches!(uint(&[0xff; 11]), Err(GuardError::Malformed { .. })));
        assert!(matches!(uint(&[0x80, 0]), Err(GuardError::Malformed { .. })));
        assert_eq!(uint(&[0x80]), Err(GuardError::Truncated { at: 1 }));
    }

    #[test]
    fn a_count_is_paid_for_by_the_bytes_left() {
        assert_eq!(Reader::new(&[2, 0, 0, 0, 0], 0).count("things", 2), Ok(2));
        assert_eq!(
            Reader::new(&[3, 0, 0, 0, 0], 7).count("things", 2),
            Err(GuardError::TooMany { at: 7, what: "things", count: 3, max: 2 })
        );
    }
}
