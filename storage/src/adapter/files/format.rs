//! The bytes of the files. docs/storage.md describes them.

use std::ops::Range;

/// The format that this version writes.
pub(super) const FORMAT: u32 = 1;

/// What a file is. It is the magic number at its front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Log,
    Snapshot,
    Name,
}

/// The front of every file.
///
/// ```text
/// magic (8) | format (4) | number (8) | extra (8) | length of the name (4) | name | CRC32C (4)
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// The number of the log, or of the last record that the snapshot covers.
    pub(super) number: u64,
    /// The salt of the log, or the length of the snapshot.
    pub(super) extra: u64,
    /// The document.
    pub(super) name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    Damaged,
    Newer(u32),
}

/// The header up to the name.
const FIXED_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;
/// The longest header.
pub(super) const HEADER_BYTES_MAX: usize = FIXED_BYTES + 255 + CHECKSUM_BYTES;
/// The header of a frame: salt (8), number (8), length (4), synced (8), two checksums (4 each).
pub(super) const FRAME_BYTES: usize = 36;

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl Kind {
    fn magic(self) -> [u8; 8] {
        *match self {
            Self::Log => b"exo-log\n",
            Self::Snapshot => b"exo-snp\n",
            Self::Name => b"exo-nam\n",
        }
    }
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES_MAX);
        bytes.extend(self.kind.magic());
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.extra.to_le_bytes());
        bytes.extend((self.name.len() as u32).to_le_bytes());
        bytes.extend(self.name.as_bytes());
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// The header at the front of a file, and its length.
    pub(super) fn decode(kind: Kind, bytes: &[u8]) -> Result<(Self, usize), HeaderError> {
        let (format, header) = Self::parts(kind, bytes).ok_or(HeaderError::Damaged)?;
        if format != FORMAT {
            return Err(HeaderError::Newer(format));
        }
        let length = FIXED_BYTES + header.name.len() + CHECKSUM_BYTES;
        Ok((header, length))
    }

    /// The format and the header, if the checksum is right.
    fn parts(kind: Kind, bytes: &[u8]) -> Option<(u32, Self)> {
        let (magic, format) = (bytes.get(..8)?, u32_at(bytes, 8)?);
        let (number, extra) = (u64_at(bytes, 12)?, u64_at(bytes, 20)?);
        let end = FIXED_BYTES.checked_add(u32_at(bytes, 28)? as usize)?;
        let name = bytes.get(FIXED_BYTES..end)?;
        if magic != kind.magic() || u32_at(bytes, end)? != crc32c::crc32c(&bytes[..end]) {
            return None;
        }
        let name = String::from_utf8(name.to_vec()).ok()?;
        Some((format, Self { kind, number, extra, name }))
    }
}

/// Appends a frame. `synced` is the length of the log that was durable before this frame was
/// written: a damaged place below it is no torn end.
pub(super) fn put_frame(out: &mut Vec<u8>, salt: u64, number: u64, synced: u64, bytes: &[u8]) {
    let start = out.len();
    out.extend(salt.to_le_bytes());
    out.extend(number.to_le_bytes());
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(synced.to_le_bytes());
    out.extend(crc32c::crc32c(&out[start..]).to_le_bytes());
    out.extend(crc32c::crc32c(bytes).to_le_bytes());
    out.extend(bytes);
}

/// A frame that is whole.
struct Frame {
    salt: u64,
    number: u64,
    synced: u64,
    bytes: Range<usize>,
}

/// The frame at a place, of the log with this salt, or of any log.
fn frame_at(bytes: &[u8], at: usize, salt: Option<u64>) -> Option<Frame> {
    let found = u64_at(bytes, at)?;
    if salt.is_some_and(|salt| salt != found) {
        return None;
    }
    let header = bytes.get(at..at.checked_add(FRAME_BYTES)?)?;
    if u32_at(header, 28)? != crc32c::crc32c(&header[..28]) {
        return None;
    }
    let start = at + FRAME_BYTES;
    let range = start..start.checked_add(u32_at(header, 16)? as usize)?;
    if u32_at(header, 32)? != crc32c::crc32c(bytes.get(range.clone())?) {
        return None;
    }
    let (number, synced) = (u64_at(header, 8)?, u64_at(header, 20)?);
    Some(Frame { salt: found, number, synced, bytes: range })
}

/// What the file of a log holds.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) header: Option<Header>,
    /// The records up to the first wrong byte: their numbers and places.
    pub(super) records: Vec<(u64, Range<usize>)>,
    /// The length up to the first wrong byte.
    pub(super) valid: usize,
    /// The length that was durable when the last of these records was written.
    pub(super) durable: usize,
    /// The records behind the first wrong byte.
    pub(super) behind: Vec<(u64, Range<usize>)>,
    /// Whether a record behind the first wrong byte was written after that byte was durable.
    pub(super) was_synced: bool,
}

/// Reads the file of a log. The error is the number of a newer format.
pub(super) fn scan(bytes: &[u8]) -> Result<Scan, u32> {
    let mut scan = Scan::default();
    match Header::decode(Kind::Log, bytes) {
        Ok((header, length)) => {
            scan.header = Some(header);
            scan.valid = length;
        }
        Err(HeaderError::Newer(format)) => return Err(format),
        Err(HeaderError::Damaged) => {}
    }
    let mut salt = scan.header.as_ref().map(|header| header.extra);
    if salt.is_some() {
        while let Some(frame) = frame_at(bytes, scan.valid, salt) {
            scan.valid = frame.bytes.end;
            scan.durable = scan.durable.max(usize::try_from(frame.synced).unwrap_or(0));
            scan.records.push((frame.number, frame.bytes));
        }
    }
    let mut at = scan.valid + 1;
    while at < bytes.len() {
        match frame_at(bytes, at, salt) {
            Some(frame) => {
                // Without a header, the first whole frame says which frames are of this log.
                salt = Some(frame.salt);
                scan.was_synced |= frame.synced > scan.valid as u64;
                at = frame.bytes.end;
                scan.behind.push((frame.number, frame.bytes));
            }
            None => at += 1,
        }
    }
    Ok(scan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (Vec<u8>, Vec<usize>) {
        let name = "plan".to_owned();
        let mut bytes = Header { kind: Kind::Log, number: 1, extra: 77, name }.encode();
        let mut ends = vec![bytes.len()];
        for number in 1..=4 {
            // The records 1 and 2 are synced before the others.
            let synced = if number < 3 { 0 } else { ends[2] as u64 };
            put_frame(&mut bytes, 77, number, synced, &[number as u8; 10]);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    #[test]
    fn every_cut_is_a_torn_end() {
        let (bytes, ends) = log();
        for cut in 0..=bytes.len() {
            let scan = scan(&bytes[..cut]).expect("format");
            let valid = ends.iter().rev().find(|end| **end <= cut).copied().unwrap_or(0);
            assert_eq!(scan.valid, valid, "cut at {cut}");
            assert!(!scan.was_synced && scan.behind.is_empty());
        }
    }

    #[test]
    fn a_flipped_bit_is_damage_if_a_later_sync_says_so() {
        let (bytes, ends) = log();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let scan = scan(&flipped).expect("format");
            assert!(scan.valid <= bit / 8, "bit {bit}");
            assert_eq!(scan.was_synced, bit / 8 < ends[2], "bit {bit}");
        }
    }

    #[test]
    fn a_newer_format_is_told() {
        let mut bytes = Header { kind: Kind::Name, number: 0, extra: 0, name: "a".into() }.encode();
        let end = bytes.len() - CHECKSUM_BYTES;
        bytes[8] = 9;
        assert_eq!(Header::decode(Kind::Name, &bytes), Err(HeaderError::Damaged));
        let checksum = crc32c::crc32c(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&checksum);
        assert_eq!(Header::decode(Kind::Name, &bytes), Err(HeaderError::Newer(9)));
        assert_eq!(Header::decode(Kind::Log, &bytes), Err(HeaderError::Damaged));
    }
}
