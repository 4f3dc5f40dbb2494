//! Unsigned numbers in LEB128, which is also lib0's `varUint`: seven bits a byte, the lowest first.
//! A number has one form, the shortest.
//!
//! Not a part of the public API: `exostate-sync` shares it.

/// The most bytes that a number takes.
pub const BYTES_MAX: usize = 10;

/// Why bytes do not begin with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VarintError {
    /// The bytes end within the number.
    Truncated,
    /// The number has more than 64 bits.
    TooLarge,
    /// The number is longer than its shortest form.
    NotShortest,
}

/// Appends a number.
pub fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Reads a number from the front. Returns it and the bytes after it.
///
/// # Errors
/// The bytes do not begin with a number.
#[inline]
pub fn split(bytes: &[u8]) -> Result<(u64, &[u8]), VarintError> {
    // Most numbers take one byte.
    match bytes {
        [byte @ ..0x80, rest @ ..] => Ok((u64::from(*byte), rest)),
        _ => split_long(bytes),
    }
}

fn split_long(bytes: &[u8]) -> Result<(u64, &[u8]), VarintError> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(BYTES_MAX) {
        let low = u64::from(byte & 0x7f);
        if at == BYTES_MAX - 1 && low > 1 {
            break;
        }
        value |= low << (7 * at);
        if byte & 0x80 == 0 {
            let is_shortest = *byte != 0;
            return match is_shortest {
                true => Ok((value, bytes.get(at + 1..).unwrap_or_default())),
                false => Err(VarintError::NotShortest),
            };
        }
    }
    Err(if bytes.len() < BYTES_MAX { VarintError::Truncated } else { VarintError::TooLarge })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_has_one_encoding() {
        assert_eq!(split(&[0, 7]), Ok((0, &[7][..])));
        assert_eq!(split(&[0x80, 1]), Ok((128, &[][..])));
        let mut widest = [0xff; 10];
        widest[9] = 1;
        assert_eq!(split(&widest), Ok((u64::MAX, &[][..])));
        widest[9] = 2;
        assert_eq!(split(&widest), Err(VarintError::TooLarge));
        assert_eq!(split(&[0xff; 11]), Err(VarintError::TooLarge));
        assert_eq!(split(&[0x80, 0]), Err(VarintError::NotShortest));
        assert_eq!(split(&[0x80]), Err(VarintError::Truncated));
        assert_eq!(split(&[]), Err(VarintError::Truncated));
    }

    proptest! {
        #[test]
        fn numbers_round_trip(value: u64, rest: Vec<u8>) {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            prop_assert!(bytes.len() <= BYTES_MAX);
            bytes.extend(&rest);
            prop_assert_eq!(split(&bytes), Ok((value, &rest[..])));
        }
    }
}
