//! The envelope around the entries of a record or a snapshot: format, compression, checksum.
//!
//! ```text
//! kind (1 byte: 0xE0 record, 0xE1 snapshot) | format (1 byte) | packing (1 byte) | body | CRC32C
//! ```
//!
//! The checksum covers the document's name and the record's number too, so that a record which lies
//! at a wrong place is found.

use crate::entry::{self, Entry, EntryError};
use crate::options::Compression;

/// The format that this version writes.
pub(crate) const FORMAT: u8 = 1;

/// What an envelope holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Record = 0xe0,
    Snapshot = 0xe1,
}

const PLAIN: u8 = 0;
const LZ4: u8 = 1;
/// The header, and the checksum behind the body.
const HEADER_BYTES: usize = 3;
const CHECKSUM_BYTES: usize = 4;
/// LZ4 shortens nothing to less than a 255th, so a longer body is not one of LZ4.
const LZ4_RATIO_MAX: usize = 255;

/// Why an envelope cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvelopeError {
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it has the format {0}, which only a newer version reads")]
    Newer(u8),
    #[error("it is not what should be here")]
    Kind,
    #[error("it cannot be unpacked")]
    Packing,
    #[error(transparent)]
    Entries(#[from] EntryError),
}

/// The bytes of an envelope.
pub(crate) fn seal(
    kind: Kind,
    document: &str,
    number: u64,
    entries: &[Entry],
    compression: Compression,
) -> Vec<u8> {
    let length: usize = entries.iter().map(|entry| entry.len() + 6).sum();
    let mut bytes = Vec::with_capacity(HEADER_BYTES + length + CHECKSUM_BYTES);
    bytes.extend([kind as u8, FORMAT, PLAIN]);
    entries.iter().for_each(|entry| entry.put(&mut bytes));
    if compression == Compression::Lz4 {
        let packed = lz4_flex::block::compress_prepend_size(&bytes[HEADER_BYTES..]);
        if packed.len() < bytes.len() - HEADER_BYTES {
            bytes.truncate(HEADER_BYTES);
            bytes[2] = LZ4;
            bytes.extend(packed);
        }
    }
    let checksum = checksum(document, number, &bytes);
    bytes.extend(checksum.to_le_bytes());
    bytes
}

/// The entries of an envelope.
pub(crate) fn open(
    kind: Kind,
    document: &str,
    number: u64,
    bytes: &[u8],
) -> Result<Vec<Entry>, EnvelopeError> {
    open_within(kind, document, number, bytes, usize::MAX)
}

/// The entries of an envelope that unpacks to at most so many bytes.
pub(crate) fn open_within(
    kind: Kind,
    document: &str,
    number: u64,
    bytes: &[u8],
    unpacked_max: usize,
) -> Result<Vec<Entry>, EnvelopeError> {
    let (sealed, found) = bytes.split_last_chunk().ok_or(EnvelopeError::Checksum)?;
    // A fuzzer would spend its time on checksums.
    let is_right = checksum(document, number, sealed) == u32::from_le_bytes(*found);
    if !is_right && cfg!(not(fuzzing)) {
        return Err(EnvelopeError::Checksum);
    }
    let ([found_kind, format, packing], body) =
        sealed.split_first_chunk().ok_or(EnvelopeError::Kind)?;
    if *found_kind != kind as u8 {
        return Err(EnvelopeError::Kind);
    }
    match (*format, *packing) {
        (FORMAT, PLAIN) => Ok(entry::read(body)?),
        (FORMAT, LZ4) => Ok(entry::read(&unpack(body, unpacked_max)?)?),
        (FORMAT, _) => Err(EnvelopeError::Packing),
        (format, _) => Err(EnvelopeError::Newer(format)),
    }
}

/// Unpacks a body of LZ4. The length that it states is checked before memory is taken.
fn unpack(body: &[u8], unpacked_max: usize) -> Result<Vec<u8>, EnvelopeError> {
    let (length, packed) = body.split_first_chunk().ok_or(EnvelopeError::Packing)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > packed.len().saturating_mul(LZ4_RATIO_MAX).min(unpacked_max) {
        return Err(EnvelopeError::Packing);
    }
    lz4_flex::block::decompress(packed, length).map_err(|_| EnvelopeError::Packing)
}

/// The CRC32C (Castagnoli) of the document's name, the number and the bytes.
fn checksum(document: &str, number: u64, bytes: &[u8]) -> u32 {
    let crc = crc32c::crc32c(document.as_bytes());
    let crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
    crc32c::crc32c_append(crc, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        vec![Entry::Backend("yrs".into()), Entry::Update([7; 300].into())]
    }

    #[test]
    fn an_envelope_opens_only_where_it_belongs() {
        for compression in [Compression::None, Compression::Lz4] {
            let sealed = seal(Kind::Record, "plan", 3, &entries(), compression);
            assert_eq!(open(Kind::Record, "plan", 3, &sealed), Ok(entries()));
            assert_eq!(open(Kind::Record, "plan", 4, &sealed), Err(EnvelopeError::Checksum));
            assert_eq!(open(Kind::Record, "trip", 3, &sealed), Err(EnvelopeError::Checksum));
            assert_eq!(open(Kind::Snapshot, "plan", 3, &sealed), Err(EnvelopeError::Kind));
        }
        let plain = seal(Kind::Record, "plan", 3, &entries(), Compression::None);
        let packed = seal(Kind::Record, "plan", 3, &entries(), Compression::Lz4);
        assert!(packed.len() < plain.len() / 4);
    }

    #[test]
    fn every_flipped_bit_is_found() {
        for compression in [Compression::None, Compression::Lz4] {
            let sealed = seal(Kind::Record, "plan", 3, &entries(), compression);
            for bit in 0..sealed.len() * 8 {
                let mut flipped = sealed.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(open(Kind::Record, "plan", 3, &flipped), Err(EnvelopeError::Checksum));
            }
            for cut in 0..sealed.len() {
                assert!(open(Kind::Record, "plan", 3, &sealed[..cut]).is_err());
            }
        }
    }

    #[test]
    fn a_newer_format_and_a_false_length_are_errors() {
        let made = |header: [u8; 3], body: &[u8]| {
            let mut bytes = [&header[..], body].concat();
            bytes.extend(checksum("plan", 1, &bytes).to_le_bytes());
            bytes
        };
        let newer = made([0xe0, 9, 0], &[]);
        assert_eq!(open(Kind::Record, "plan", 1, &newer), Err(EnvelopeError::Newer(9)));
        let bomb = made([0xe0, FORMAT, LZ4], &[0xff, 0xff, 0xff, 0x7f, 0, 0, 0]);
        assert_eq!(open(Kind::Record, "plan", 1, &bomb), Err(EnvelopeError::Packing));
        let packed = seal(Kind::Record, "plan", 1, &entries(), Compression::Lz4);
        assert_eq!(open_within(Kind::Record, "plan", 1, &packed, 400), Ok(entries()));
        let too_much = open_within(Kind::Record, "plan", 1, &packed, 300);
        assert_eq!(too_much, Err(EnvelopeError::Packing));
    }
}
