//! The frames of a conversation, and the bytes they are made of.
//!
//! ```text
//! frame     = type: u8, length: varint, payload: length bytes
//! varint    = LEB128, unsigned, at most 10 bytes
//! string    = length: varint, UTF-8 bytes
//! hash      = the first 16 bytes of SHA-256
//!
//! 01 Hello     "exo\0", protocol: varint, flags: varint (bit 0: say yours again), backend: string, document: string
//! 02 Have      hash of the sender's version
//! 03 Version   flags: u8 (bit 0: send me yours too), the version: the rest
//! 04 Update    the rest
//! 05 Fragment  total: varint, offset: varint, a part of an update: the rest
//! 06 Digest    hash of the version, digest: 16 bytes
//! 07 Ping      nothing
//! 08 Pong      nothing
//! 09 Close     code: varint, message: string
//! ```
//!
//! Bytes after the last field of a known frame and frames of an unknown type are skipped, so that a later version can add to both.
//! Neighbours: `session` decides which frame when; the transports only find where one ends.

use crate::limits::{BACKEND_NAME_BYTES_MAX, CLOSE_MESSAGE_BYTES_MAX, DOCUMENT_NAME_BYTES_MAX, VARINT_BYTES_MAX};
use sha2::{Digest as _, Sha256};
use std::fmt;

const MAGIC: &[u8; 4] = b"exo\0";
const HELLO: u8 = 1;
const HAVE: u8 = 2;
const VERSION: u8 = 3;
const UPDATE: u8 = 4;
const FRAGMENT: u8 = 5;
const DIGEST: u8 = 6;
const PING: u8 = 7;
const PONG: u8 = 8;
const CLOSE: u8 = 9;

/// Flag of a `Hello`: yours did not arrive, say it again.
pub(crate) const HELLO_AGAIN: u64 = 1;

/// The bytes of a frame are not what the protocol says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A field is cut short or makes no sense.
    #[error("byte {at} of a frame: expected {expected}")]
    Malformed {
        /// Offset from the frame's first byte.
        at: usize,
        /// What should have been there.
        expected: &'static str,
    },
    /// A length is over its limit.
    #[error("{what} of {bytes} bytes is over the limit of {bytes_max}")]
    TooLarge {
        /// What has the length.
        what: &'static str,
        /// The length.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
}

/// The first 16 bytes of a SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hash(pub(crate) [u8; 16]);

impl Hash {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut short = [0; 16];
        short.copy_from_slice(&Sha256::digest(bytes)[..16]);
        Self(short)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What one side says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) protocol: u64,
    /// [`HELLO_AGAIN`]; unknown ones are ignored.
    pub(crate) flags: u64,
    pub(crate) backend: String,
    pub(crate) document: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    Hello(Hello),
    Have(Hash),
    Version { want_yours: bool, version: &'a [u8] },
    Update(&'a [u8]),
    Fragment { total: u64, offset: u64, part: &'a [u8] },
    Digest { version: Hash, digest: [u8; 16] },
    Ping,
    Pong,
    Close { code: u64, message: String },
    Unknown,
}

impl<'a> Frame<'a> {
    /// Reads exactly one frame that fills `bytes`.
    pub(crate) fn decode(bytes: &'a [u8], payload_max: usize) -> Result<Self, FrameError> {
        let mut reader = Reader { bytes, at: 0 };
        let kind = reader.byte("a frame's type")?;
        let length = reader.varint("a frame's length")?;
        check("a frame", length, payload_max)?;
        if length != (bytes.len() - reader.at) as u64 {
            return Err(reader.malformed("as many bytes as the frame's length says"));
        }
        Ok(match kind {
            HELLO => Self::Hello(reader.hello()?),
            HAVE => Self::Have(Hash(reader.array("a hash of 16 bytes")?)),
            VERSION => Self::Version { want_yours: reader.byte("a version's flags")? & 1 == 1, version: reader.rest() },
            UPDATE => Self::Update(reader.rest()),
            FRAGMENT => Self::Fragment {
                total: reader.varint("an update's total length")?,
                offset: reader.varint("a fragment's offset")?,
                part: reader.rest(),
            },
            DIGEST => Self::Digest { version: Hash(reader.array("a hash of 16 bytes")?), digest: reader.array("a digest of 16 bytes")? },
            PING => Self::Ping,
            PONG => Self::Pong,
            CLOSE => Self::Close {
                code: reader.varint("a closing code")?,
                message: reader.string("a closing message", CLOSE_MESSAGE_BYTES_MAX)?,
            },
            _ => Self::Unknown,
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        let kind = match self {
            Self::Hello(hello) => {
                payload.extend_from_slice(MAGIC);
                put_varint(&mut payload, hello.protocol);
                put_varint(&mut payload, hello.flags);
                put_string(&mut payload, &hello.backend);
                put_string(&mut payload, &hello.document);
                HELLO
            }
            Self::Have(hash) => {
                payload.extend_from_slice(&hash.0);
                HAVE
            }
            Self::Version { want_yours, version } => {
                payload.push(u8::from(*want_yours));
                payload.extend_from_slice(version);
                VERSION
            }
            Self::Update(update) => return with_header(UPDATE, &[], update),
            Self::Fragment { total, offset, part } => {
                put_varint(&mut payload, *total);
                put_varint(&mut payload, *offset);
                return with_header(FRAGMENT, &payload, part);
            }
            Self::Digest { version, digest } => {
                payload.extend_from_slice(&version.0);
                payload.extend_from_slice(digest);
                DIGEST
            }
            Self::Ping => PING,
            Self::Pong => PONG,
            Self::Close { code, message } => {
                put_varint(&mut payload, *code);
                put_string(&mut payload, message);
                CLOSE
            }
            // A type that no version defines: the receiver skips it.
            Self::Unknown => u8::MAX,
        };
        with_header(kind, &payload, &[])
    }
}

/// How many bytes the first frame of a byte stream takes, `None` while its header is incomplete. The limit is checked before the
/// payload arrives. Transports that keep messages apart by themselves have no need for it.
#[cfg(any(test, feature = "quic"))]
pub(crate) fn frame_length(stream: &[u8], payload_max: usize) -> Result<Option<usize>, FrameError> {
    if stream.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader { bytes: stream, at: 1 };
    let unfinished = |bytes: &[u8]| bytes.iter().all(|byte| byte & 0x80 != 0);
    if stream.len() <= VARINT_BYTES_MAX && unfinished(&stream[1..]) {
        return Ok(None);
    }
    let length = reader.varint("a frame's length")?;
    let length = check("a frame", length, payload_max)?;
    Ok(Some(reader.at + length))
}

/// Refuses a length over its limit, and hands it back as a `usize` otherwise.
pub(crate) fn check(what: &'static str, bytes: u64, max: usize) -> Result<usize, FrameError> {
    match usize::try_from(bytes) {
        Ok(small) if small <= max => Ok(small),
        _ => Err(FrameError::TooLarge { what, bytes, bytes_max: max as u64 }),
    }
}

fn with_header(kind: u8, head: &[u8], tail: &[u8]) -> Vec<u8> {
    let length = head.len() + tail.len();
    let mut frame = Vec::with_capacity(1 + VARINT_BYTES_MAX + length);
    frame.push(kind);
    put_varint(&mut frame, length as u64);
    frame.extend_from_slice(head);
    frame.extend_from_slice(tail);
    frame
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn malformed(&self, expected: &'static str) -> FrameError {
        FrameError::Malformed { at: self.at, expected }
    }

    fn byte(&mut self, expected: &'static str) -> Result<u8, FrameError> {
        let byte = *self.bytes.get(self.at).ok_or(self.malformed(expected))?;
        self.at += 1;
        Ok(byte)
    }

    fn take(&mut self, count: usize, expected: &'static str) -> Result<&'a [u8], FrameError> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..count).ok_or(self.malformed(expected))?;
        self.at += count;
        Ok(taken)
    }

    fn array(&mut self, expected: &'static str) -> Result<[u8; 16], FrameError> {
        let mut array = [0; 16];
        array.copy_from_slice(self.take(16, expected)?);
        Ok(array)
    }

    fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    fn varint(&mut self, expected: &'static str) -> Result<u64, FrameError> {
        let start = self.at;
        let mut number = 0_u64;
        for index in 0..VARINT_BYTES_MAX {
            let byte = self.byte(expected)?;
            let part = u64::from(byte & 0x7f);
            if index == VARINT_BYTES_MAX - 1 && part > 1 {
                break;
            }
            number |= part << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(FrameError::Malformed { at: start, expected: "a number of at most 64 bits" })
    }

    fn string(&mut self, what: &'static str, max: usize) -> Result<String, FrameError> {
        let length = check(what, self.varint(what)?, max)?;
        let start = self.at;
        let text = std::str::from_utf8(self.take(length, what)?);
        text.map(str::to_owned).map_err(|error| FrameError::Malformed { at: start + error.valid_up_to(), expected: "UTF-8" })
    }

    fn hello(&mut self) -> Result<Hello, FrameError> {
        if self.take(MAGIC.len(), "the magic bytes `exo\\0`")? != MAGIC {
            self.at -= MAGIC.len();
            return Err(self.malformed("the magic bytes `exo\\0`"));
        }
        Ok(Hello {
            protocol: self.varint("a protocol version")?,
            flags: self.varint("flags")?,
            backend: self.string("a backend's name", BACKEND_NAME_BYTES_MAX)?,
            document: self.string("a document's name", DOCUMENT_NAME_BYTES_MAX)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 4096;

    fn all() -> Vec<Frame<'static>> {
        vec![
            Frame::Hello(Hello {
                protocol: u64::MAX,
                flags: 0,
                backend: "b".repeat(BACKEND_NAME_BYTES_MAX),
                document: "d".repeat(DOCUMENT_NAME_BYTES_MAX),
            }),
            Frame::Have(Hash([7; 16])),
            Frame::Version { want_yours: true, version: b"v" },
            Frame::Update(b""),
            Frame::Fragment { total: 300, offset: 2, part: b"part" },
            Frame::Digest { version: Hash([1; 16]), digest: [2; 16] },
            Frame::Ping,
            Frame::Pong,
            Frame::Close { code: 300, message: "m".repeat(CLOSE_MESSAGE_BYTES_MAX) },
            Frame::Unknown,
        ]
    }

    #[test]
    fn frames_read_back_and_cut_ones_are_refused() {
        for frame in all() {
            let bytes = frame.encode();
            assert_eq!(Frame::decode(&bytes, MAX), Ok(frame));
            assert_eq!(frame_length(&bytes, MAX), Ok(Some(bytes.len())));
            for end in 0..bytes.len() {
                assert!(Frame::decode(&bytes[..end], MAX).is_err());
            }
        }
    }

    #[test]
    fn a_frame_at_the_limit_passes_and_one_past_it_is_refused() {
        let update = vec![0; MAX + 1];
        let at = Frame::Update(&update[..MAX]).encode();
        let past = Frame::Update(&update).encode();
        assert!(Frame::decode(&at, MAX).is_ok());
        let refused = FrameError::TooLarge { what: "a frame", bytes: 4097, bytes_max: 4096 };
        assert_eq!(Frame::decode(&past, MAX), Err(refused.clone()));
        // The stream is refused at its header, before anything is stored.
        assert_eq!(frame_length(&past[..3], MAX), Err(refused));
        assert_eq!(frame_length(&past[..2], MAX), Ok(None));
    }

    #[test]
    fn names_past_their_limit_are_refused() {
        let mut long = all();
        let Some(Frame::Hello(hello)) = long.first_mut() else { unreachable!() };
        hello.document.push('d');
        let bytes = long[0].encode();
        let error = Frame::decode(&bytes, MAX);
        assert!(matches!(error, Err(FrameError::TooLarge { bytes: 256, .. })), "{error:?}");
    }

    #[test]
    fn numbers_over_64_bits_are_refused() {
        let mut bytes = vec![UPDATE];
        bytes.extend([0xff; 9]);
        let (mut at, mut past) = (bytes.clone(), bytes);
        at.push(1);
        past.push(2);
        assert!(matches!(frame_length(&at, MAX), Err(FrameError::TooLarge { bytes: u64::MAX, .. })));
        assert!(matches!(frame_length(&past, MAX), Err(FrameError::Malformed { at: 1, .. })));
        assert_eq!(frame_length(&past[..10], MAX), Ok(None));
        past[10] = 0xff;
        assert!(matches!(frame_length(&past, MAX), Err(FrameError::Malformed { at: 1, .. })));
    }

    #[test]
    fn text_that_is_not_utf8_says_where() {
        let mut bytes = Frame::Close { code: 1, message: "abc".into() }.encode();
        bytes[6] = 0xff;
        let expected = FrameError::Malformed { at: 6, expected: "UTF-8" };
        assert_eq!(Frame::decode(&bytes, MAX), Err(expected));
    }
}
