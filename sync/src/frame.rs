//! The frames of a conversation, and their encoding.
//!
//! ```text
//! frame     = type: u8, length: varint, checksum: 4 bytes, payload: length bytes
//! varint    = LEB128, unsigned, at most 10 bytes
//! string    = length: varint, UTF-8 bytes
//! hash      = the first 16 bytes of SHA-256
//! checksum  = CRC-32 (ISO 3309) of the type and the payload, little-endian
//!
//! 01 Hello     "exo\0", newest: varint, oldest: varint, flags: varint, backend: string,
//!              document: string, replica: 8 bytes, hash of the sender's version,
//!              key: 16 bytes (zero or missing: none), token: string (only with the flag for it)
//! 02 Have      hash of the sender's version, flags: u8 (bit 0: not kept yet, bit 1: send me your
//!              Have and Ack again; missing: 0)
//! 03 Version   flags: u8 (bit 0: send me yours too, bit 1: to repair, bit 2: not kept yet),
//!              the version: the rest
//! 04 Update    number: varint, body: the rest
//! 05 Fragment  number: varint, total: varint, offset: varint, a part of a body: the rest
//! 06 Digest    hash of the version, claim: 24 bytes
//! 07 Ping      nothing
//! 08 Pong      nothing
//! 09 Close     code: varint, message: string
//! 0a Ack       flags: u8 (bit 0: the updates are kept, bit 1: a listener failed at one),
//!              number: varint, without bit 0: number up to which they are kept: varint
//!              (missing: 0)
//! 0b Answer    flags: u8 (bit 0: to repair), first number: varint, updates: varint, bytes: varint,
//!              hash of the asker's version, hash of the answerer's version
//! 0c Conflict  claim: 24 bytes
//! 0d Presence  any number of: participant: varint (0: the sender), clock: varint,
//!              state as JSON: string (empty: the participant has left)
//! 0e PresenceRequest  nothing
//! 0f Datagrams channel: varint
//! ```
//!
//! `docs/protocol.md` describes the meaning of the frames, and the content of a body. A receiver
//! skips the bytes after the last field of a known frame, and frames of an unknown type, so that a
//! later version can add to both. Neighbours: `session` decides which frame to send when; the
//! transports only find where a frame ends.

use crate::limits::{
    BACKEND_NAME_BYTES_MAX, CLOSE_MESSAGE_BYTES_MAX, DOCUMENT_NAME_BYTES_MAX, LINEAGE_MAX,
    TOKEN_BYTES_MAX, VARINT_BYTES_MAX,
};
use exostate::varint::{self, VarintError};
use exostate::{Digest, Version};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// TLS and QUIC detect bytes that changed in transit. Plain WebSockets and the programs between the
/// two sides do not.
const CHECKSUM_BYTES: usize = 4;
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
const ACK: u8 = 10;
const ANSWER: u8 = 11;
const CONFLICT: u8 = 12;
const PRESENCE: u8 = 13;
const PRESENCE_REQUEST: u8 = 14;
const DATAGRAMS: u8 = 15;

/// Flags of a `Hello`. A receiver ignores unknown flags.
pub(crate) mod flag {
    /// Your `Hello` did not arrive, send it again.
    pub(crate) const AGAIN: u64 = 1;
    /// I read compressed bodies.
    pub(crate) const READS_DEFLATE: u64 = 2;
    /// I take no updates, so you may only read.
    pub(crate) const TAKES_NONE: u64 = 4;
    /// I send no updates, I only read.
    pub(crate) const SENDS_NONE: u64 = 8;
    /// When our contents diverge, you have to take over mine.
    pub(crate) const NEVER_YIELDS: u64 = 16;
    /// A token follows, by which you may decide what I may do.
    pub(crate) const HAS_TOKEN: u64 = 32;
    /// My storage has not written all of the version that I announce.
    pub(crate) const NOT_KEPT_YET: u64 = 64;
    /// The flags that describe one `Hello` and not its sender.
    pub(crate) const OF_ONE_HELLO: u64 = AGAIN | NOT_KEPT_YET;
}

/// The bytes of a frame violate the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A field is truncated or invalid.
    #[error("byte {at} of a frame: expected {expected}")]
    Malformed {
        /// Offset from the frame's first byte.
        at: usize,
        /// The expected content.
        expected: &'static str,
    },
    /// A length is over its limit.
    #[error("{what} of {bytes} bytes is over the limit of {bytes_max}")]
    TooLarge {
        /// The field that is too long.
        what: &'static str,
        /// The length.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
}

/// The first 16 bytes of a SHA-256 hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Hash(pub(crate) [u8; 16]);

impl Hash {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut short = [0; 16];
        short.copy_from_slice(&Sha256::digest(bytes)[..16]);
        Self(short)
    }

    pub(crate) fn of_version(version: &Version) -> Self {
        Self::of(&version.to_bytes())
    }
}

/// The two versions from which an answer was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Between {
    pub(crate) asker: Hash,
    pub(crate) answerer: Hash,
}

/// A side's claim for its contents when they diverge: the side with the lower claim takes over the
/// other's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claim {
    pub(crate) lineage: u64,
    pub(crate) digest: Digest,
}

impl Claim {
    fn read(reader: &mut FrameReader<'_>) -> Result<Self, FrameError> {
        let at = reader.at;
        let lineage = u64::from_be_bytes(reader.array("a lineage of 8 bytes")?);
        if lineage > LINEAGE_MAX {
            return Err(FrameError::Malformed { at, expected: "a lineage of at most 63 bits" });
        }
        Ok(Self { lineage, digest: Digest::from_bytes(reader.array("a digest of 16 bytes")?) })
    }

    fn write(&self, payload: &mut Vec<u8>) {
        payload.extend(self.lineage.to_be_bytes());
        payload.extend(self.digest.to_bytes());
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A secret by which the other side recognises a peer after a reconnection. The peer sends it to
/// that side only, and `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Key(pub(crate) [u8; 16]);

impl Key {
    /// Whether the two keys are equal, which proves that both belong to the same peer. The empty
    /// key proves nothing.
    pub(crate) fn proves(&self, other: &Self) -> bool {
        // All bytes are compared, so that the time does not depend on their values.
        let differs = self
            .0
            .iter()
            .zip(&other.0)
            .fold(0, |differs, (ours, theirs)| differs | (ours ^ theirs));
        *self != Self::default() && differs == 0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The token by which a peer proves that it may have a document; see
/// [`Ticket::with_token`](crate::Ticket::with_token). `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The first frame of each side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The newest and the oldest protocol version that the sender speaks.
    pub(crate) newest: u64,
    pub(crate) oldest: u64,
    /// See [`flag`].
    pub(crate) flags: u64,
    pub(crate) backend: String,
    pub(crate) document: String,
    pub(crate) replica: u64,
    pub(crate) version: Hash,
    pub(crate) key: Key,
    pub(crate) token: Option<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    Hello(Hello),
    /// `kept`: the sender's storage has written all of this version, or the sender has no storage.
    /// `again`: send your `Have` and your `Ack` again.
    Have {
        version: Hash,
        kept: bool,
        again: bool,
    },
    /// `kept` as in `Have`. With `repair`, the sender asks for everything, marked as a repair.
    Version {
        want_yours: bool,
        repair: bool,
        kept: bool,
        version: &'a [u8],
    },
    /// Updates are numbered from 1 in each direction.
    Update {
        number: u64,
        body: &'a [u8],
    },
    Fragment {
        number: u64,
        total: u64,
        offset: u64,
        part: &'a [u8],
    },
    Digest {
        version: Hash,
        claim: Claim,
    },
    Ping,
    Pong,
    Close {
        code: u64,
        message: String,
    },
    /// The updates up to `number` are applied. Those up to `kept` stay, and are written if the
    /// sender has a storage. `failed`: a listener of the sender's document failed at one of them.
    Ack {
        number: u64,
        kept: u64,
        failed: bool,
    },
    /// The updates that the asker lacks begin with this number. No update with a lower number
    /// follows.
    Answer {
        repair: bool,
        first: u64,
        updates: u64,
        bytes: u64,
        between: Between,
    },
    /// Your ops contradict my ops.
    Conflict(Claim),
    /// News about participants; see [`crate::presence::decode`].
    Presence(&'a [u8]),
    /// A request to send the news about all participants.
    PresenceRequest,
    /// Presence news may also come in datagrams that begin with this number.
    Datagrams {
        channel: u64,
    },
    Unknown,
}

/// Whether a frame is of a frequent kind and quick to process: neither a question that needs a long
/// answer, nor a compressed update, which is larger than its frame.
pub(crate) fn is_brief(frame: &[u8]) -> bool {
    match frame.first() {
        Some(&UPDATE) => body_of(frame).is_ok_and(crate::body::is_plain),
        Some(kind) => [HELLO, HAVE, DIGEST, PING, PONG, ACK, PRESENCE, PRESENCE_REQUEST, DATAGRAMS]
            .contains(kind),
        None => false,
    }
}

/// The body in an update's frame, without verification of the checksum.
fn body_of(frame: &[u8]) -> Result<&[u8], FrameError> {
    let mut reader = FrameReader { bytes: frame, at: 1 };
    reader.varint("a frame's length")?;
    reader.take(CHECKSUM_BYTES, "a checksum of 4 bytes")?;
    reader.varint("an update's number")?;
    Ok(reader.rest())
}

impl<'a> Frame<'a> {
    /// Reads exactly one frame that fills `bytes`, with a payload of at most `payload_max` bytes.
    pub(crate) fn decode(bytes: &'a [u8], payload_max: usize) -> Result<Self, FrameError> {
        let mut reader = FrameReader::new(bytes);
        let kind = reader.byte("a frame's type")?;
        let length = reader.varint("a frame's length")?;
        check("a frame", length, payload_max)?;
        let sum_at = reader.at;
        let sum = u32::from_le_bytes(reader.array("a checksum of 4 bytes")?);
        if length != (bytes.len() - reader.at) as u64 {
            return Err(reader.malformed("as many bytes as the frame's length says"));
        }
        if sum != checksum(kind, &[&bytes[reader.at..]]) {
            return Err(FrameError::Malformed {
                at: sum_at,
                expected: "the checksum of what follows: it was changed on its way",
            });
        }
        Ok(match kind {
            HELLO => Self::Hello(reader.hello()?),
            HAVE => {
                let version = Hash(reader.array("a hash of 16 bytes")?);
                // The oldest peers send no flags.
                let flags = reader.rest().first().copied().unwrap_or_default();
                Self::Have { version, kept: flags & 1 == 0, again: flags & 2 != 0 }
            }
            VERSION => {
                let flags = reader.byte("a version's flags")?;
                Self::Version {
                    want_yours: flags & 1 != 0,
                    repair: flags & 2 != 0,
                    kept: flags & 4 == 0,
                    version: reader.rest(),
                }
            }
            UPDATE => {
                Self::Update { number: reader.varint("an update's number")?, body: reader.rest() }
            }
            FRAGMENT => {
                let number = reader.varint("an update's number")?;
                let total = reader.varint("an update's total length")?;
                let offset = reader.varint("a fragment's offset")?;
                if reader.at == bytes.len() {
                    return Err(reader.malformed("a part of an update"));
                }
                Self::Fragment { number, total, offset, part: reader.rest() }
            }
            DIGEST => Self::Digest {
                version: Hash(reader.array("a hash of 16 bytes")?),
                claim: Claim::read(&mut reader)?,
            },
            PING => Self::Ping,
            PONG => Self::Pong,
            CLOSE => Self::Close {
                code: reader.varint("a closing code")?,
                message: reader.string("a closing message", CLOSE_MESSAGE_BYTES_MAX)?,
            },
            ACK => {
                let flags = reader.byte("an acknowledgement's flags")?;
                let number = reader.varint("an update's number")?;
                let kept = match flags & 1 {
                    0 if reader.at == bytes.len() => 0,
                    0 => reader.varint("the number of a kept update")?.min(number),
                    _ => number,
                };
                Self::Ack { number, kept, failed: flags & 2 != 0 }
            }
            ANSWER => Self::Answer {
                repair: reader.byte("an answer's flags")? & 1 != 0,
                first: reader.varint("an update's number")?,
                updates: reader.varint("a number of updates")?,
                bytes: reader.varint("a number of bytes")?,
                between: Between {
                    asker: Hash(reader.array("the asker's version")?),
                    answerer: Hash(reader.array("the answerer's version")?),
                },
            },
            CONFLICT => Self::Conflict(Claim::read(&mut reader)?),
            PRESENCE => Self::Presence(reader.rest()),
            PRESENCE_REQUEST => Self::PresenceRequest,
            DATAGRAMS => Self::Datagrams { channel: reader.varint("a channel")? },
            _ => Self::Unknown,
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        let kind = match self {
            Self::Hello(hello) => {
                payload.extend_from_slice(MAGIC);
                varint::put(&mut payload, hello.newest);
                varint::put(&mut payload, hello.oldest);
                let flags = hello.flags & !flag::HAS_TOKEN;
                varint::put(
                    &mut payload,
                    if hello.token.is_some() { flags | flag::HAS_TOKEN } else { flags },
                );
                put_string(&mut payload, &hello.backend);
                put_string(&mut payload, &hello.document);
                payload.extend_from_slice(&hello.replica.to_le_bytes());
                payload.extend_from_slice(&hello.version.0);
                payload.extend_from_slice(&hello.key.0);
                if let Some(Token(token)) = &hello.token {
                    put_string(&mut payload, token);
                }
                HELLO
            }
            Self::Have { version, kept, again } => {
                payload.extend_from_slice(&version.0);
                let flags = u8::from(!*kept) | u8::from(*again) << 1;
                payload.extend((flags != 0).then_some(flags));
                HAVE
            }
            Self::Version { want_yours, repair, kept, version } => {
                let flags = u8::from(*want_yours) | u8::from(*repair) << 1 | u8::from(!*kept) << 2;
                payload.push(flags);
                payload.extend_from_slice(version);
                VERSION
            }
            Self::Update { number, body } => {
                varint::put(&mut payload, *number);
                return with_header(UPDATE, &payload, body);
            }
            Self::Fragment { number, total, offset, part } => {
                varint::put(&mut payload, *number);
                varint::put(&mut payload, *total);
                varint::put(&mut payload, *offset);
                return with_header(FRAGMENT, &payload, part);
            }
            Self::Digest { version, claim } => {
                payload.extend_from_slice(&version.0);
                claim.write(&mut payload);
                DIGEST
            }
            Self::Ping => PING,
            Self::Pong => PONG,
            Self::Close { code, message } => {
                varint::put(&mut payload, *code);
                put_string(&mut payload, message);
                CLOSE
            }
            Self::Ack { number, kept, failed } => {
                let all = kept == number;
                payload.push(u8::from(all) | u8::from(*failed) << 1);
                varint::put(&mut payload, *number);
                if !all && *kept > 0 {
                    varint::put(&mut payload, *kept);
                }
                ACK
            }
            Self::Answer { repair, first, updates, bytes, between } => {
                payload.push(u8::from(*repair));
                [*first, *updates, *bytes]
                    .into_iter()
                    .for_each(|number| varint::put(&mut payload, number));
                payload.extend_from_slice(&between.asker.0);
                payload.extend_from_slice(&between.answerer.0);
                ANSWER
            }
            Self::Conflict(claim) => {
                claim.write(&mut payload);
                CONFLICT
            }
            Self::Presence(news) => {
                payload.extend_from_slice(news);
                PRESENCE
            }
            Self::PresenceRequest => PRESENCE_REQUEST,
            Self::Datagrams { channel } => {
                varint::put(&mut payload, *channel);
                DATAGRAMS
            }
            // No version defines this type, so the receiver skips the frame.
            Self::Unknown => u8::MAX,
        };
        with_header(kind, &payload, &[])
    }
}

/// The number of bytes of the first frame in a byte stream; `None` while its header is incomplete.
/// The limit is checked before the payload arrives. Transports that separate messages by themselves
/// do not need this.
#[cfg(any(test, feature = "quic"))]
pub(crate) fn frame_length(stream: &[u8], payload_max: usize) -> Result<Option<usize>, FrameError> {
    if stream.is_empty() {
        return Ok(None);
    }
    let mut reader = FrameReader { bytes: stream, at: 1 };
    let unfinished = |bytes: &[u8]| bytes.iter().all(|byte| byte & 0x80 != 0);
    if stream.len() <= VARINT_BYTES_MAX && unfinished(&stream[1..]) {
        return Ok(None);
    }
    let length = reader.varint("a frame's length")?;
    let length = check("a frame", length, payload_max)?;
    Ok(Some(reader.at + CHECKSUM_BYTES + length))
}

/// Refuses a length over its limit, and otherwise returns it as a `usize`.
pub(crate) fn check(what: &'static str, bytes: u64, max: usize) -> Result<usize, FrameError> {
    match usize::try_from(bytes) {
        Ok(small) if small <= max => Ok(small),
        _ => Err(FrameError::TooLarge { what, bytes, bytes_max: max as u64 }),
    }
}

/// The longest prefix of a text that fits into `bytes_max` bytes, in whole characters.
pub(crate) fn fitting(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn checksum(kind: u8, payload: &[&[u8]]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&[kind]);
    payload.iter().for_each(|part| sum.update(part));
    sum.finalize()
}

fn with_header(kind: u8, head: &[u8], tail: &[u8]) -> Vec<u8> {
    let length = head.len() + tail.len();
    let mut frame = Vec::with_capacity(1 + VARINT_BYTES_MAX + CHECKSUM_BYTES + length);
    frame.push(kind);
    varint::put(&mut frame, length as u64);
    frame.extend_from_slice(&checksum(kind, &[head, tail]).to_le_bytes());
    frame.extend_from_slice(head);
    frame.extend_from_slice(tail);
    frame
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    varint::put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

pub(crate) struct FrameReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> FrameReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The number of bytes read so far.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn malformed(&self, expected: &'static str) -> FrameError {
        FrameError::Malformed { at: self.at, expected }
    }

    pub(crate) fn byte(&mut self, expected: &'static str) -> Result<u8, FrameError> {
        let byte = *self.bytes.get(self.at).ok_or(self.malformed(expected))?;
        self.at += 1;
        Ok(byte)
    }

    pub(crate) fn take(
        &mut self,
        count: usize,
        expected: &'static str,
    ) -> Result<&'a [u8], FrameError> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..count).ok_or(self.malformed(expected))?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, expected: &'static str) -> Result<[u8; N], FrameError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, expected)?);
        Ok(array)
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    pub(crate) fn varint(&mut self, expected: &'static str) -> Result<u64, FrameError> {
        let (number, rest) =
            varint::split(&self.bytes[self.at..]).map_err(|error| match error {
                VarintError::Truncated => FrameError::Malformed { at: self.bytes.len(), expected },
                VarintError::TooLarge => self.malformed("a number of at most 64 bits"),
                VarintError::NotShortest => self.malformed("a number in its shortest form"),
            })?;
        self.at = self.bytes.len() - rest.len();
        Ok(number)
    }

    pub(crate) fn string(&mut self, what: &'static str, max: usize) -> Result<String, FrameError> {
        let length = check(what, self.varint(what)?, max)?;
        let start = self.at;
        let text = std::str::from_utf8(self.take(length, what)?);
        text.map(str::to_owned).map_err(|error| FrameError::Malformed {
            at: start + error.valid_up_to(),
            expected: "UTF-8",
        })
    }

    fn hello(&mut self) -> Result<Hello, FrameError> {
        if self.take(MAGIC.len(), "the magic bytes `exo\\0`")? != MAGIC {
            self.at -= MAGIC.len();
            return Err(self.malformed("the magic bytes `exo\\0`"));
        }
        let newest = self.varint("a protocol version")?;
        let oldest = self.varint("a protocol version")?;
        let flags = self.varint("flags")?;
        Ok(Hello {
            newest,
            oldest,
            flags: flags & !flag::HAS_TOKEN,
            backend: self.string("a backend's name", BACKEND_NAME_BYTES_MAX)?,
            document: self.string("a document's name", DOCUMENT_NAME_BYTES_MAX)?,
            replica: u64::from_le_bytes(self.array("a replica id of 8 bytes")?),
            version: Hash(self.array("a hash of 16 bytes")?),
            key: self.key()?,
            token: if flags & flag::HAS_TOKEN != 0 {
                Some(Token(self.string("a token", TOKEN_BYTES_MAX)?))
            } else {
                None
            },
        })
    }

    /// Reads the key. The oldest peers send none.
    fn key(&mut self) -> Result<Key, FrameError> {
        if self.at == self.bytes.len() {
            Ok(Key::default())
        } else {
            self.array("a key of 16 bytes").map(Key)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 4096;

    fn all() -> Vec<Frame<'static>> {
        vec![
            Frame::Hello(Hello {
                newest: u64::MAX,
                oldest: 1,
                flags: flag::AGAIN,
                backend: "b".repeat(BACKEND_NAME_BYTES_MAX),
                document: "d".repeat(DOCUMENT_NAME_BYTES_MAX),
                replica: 1 << 52,
                version: Hash([3; 16]),
                key: Key([9; 16]),
                token: None,
            }),
            Frame::Have { version: Hash([7; 16]), kept: true, again: false },
            Frame::Version { want_yours: true, repair: false, kept: false, version: b"v" },
            Frame::Version { want_yours: false, repair: true, kept: true, version: b"" },
            Frame::Update { number: 1, body: b"" },
            Frame::Fragment { number: 200, total: 300, offset: 2, part: b"part" },
            Frame::Digest {
                version: Hash([1; 16]),
                claim: Claim { lineage: LINEAGE_MAX, digest: Digest::from_bytes([2; 16]) },
            },
            Frame::Ping,
            Frame::Pong,
            Frame::Close { code: 300, message: "m".repeat(CLOSE_MESSAGE_BYTES_MAX) },
            Frame::Ack { number: u64::MAX, kept: u64::MAX, failed: false },
            Frame::Ack { number: 7, kept: 0, failed: true },
            Frame::Ack { number: 300, kept: 299, failed: false },
            Frame::Answer {
                repair: true,
                first: 1,
                updates: 2,
                bytes: 300,
                between: Between { asker: Hash([5; 16]), answerer: Hash([6; 16]) },
            },
            Frame::Conflict(Claim { lineage: 3, digest: Digest::from_bytes([4; 16]) }),
            Frame::Presence(b"\x01\x02\x00"),
            Frame::PresenceRequest,
            Frame::Unknown,
        ]
    }

    #[test]
    fn frames_round_trip_and_truncated_ones_are_refused() {
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
        let at = Frame::Update { number: 1, body: &update[..MAX - 1] }.encode();
        let past = Frame::Update { number: 1, body: &update[..MAX] }.encode();
        assert!(Frame::decode(&at, MAX).is_ok());
        let refused = FrameError::TooLarge { what: "a frame", bytes: 4097, bytes_max: 4096 };
        assert_eq!(Frame::decode(&past, MAX), Err(refused.clone()));
        // The stream is refused by the frame's header, before any payload is stored.
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
        let mut at = bytes.clone();
        let mut past = bytes;
        at.push(1);
        past.push(2);
        assert!(matches!(
            frame_length(&at, MAX),
            Err(FrameError::TooLarge { bytes: u64::MAX, .. })
        ));
        assert!(matches!(frame_length(&past, MAX), Err(FrameError::Malformed { at: 1, .. })));
        assert_eq!(frame_length(&past[..10], MAX), Ok(None));
        past[10] = 0xff;
        assert!(matches!(frame_length(&past, MAX), Err(FrameError::Malformed { at: 1, .. })));
    }

    #[test]
    fn a_lineage_past_the_limit_is_refused() {
        let past = Frame::Conflict(Claim {
            lineage: LINEAGE_MAX + 1,
            digest: Digest::from_bytes([0; 16]),
        })
        .encode();
        let expected = FrameError::Malformed { at: 6, expected: "a lineage of at most 63 bits" };
        assert_eq!(Frame::decode(&past, MAX), Err(expected));
    }

    #[test]
    fn a_hello_may_lack_a_key_and_debug_hides_keys() {
        let Some(Frame::Hello(hello)) = all().into_iter().next() else { unreachable!() };
        let none = Hello { key: Key::default(), ..hello.clone() };
        let with = Frame::Hello(hello.clone()).encode();
        let without = Frame::Hello(none.clone()).encode();
        let payload = |frame: &[u8], less: usize| {
            frame[frame.len() - (4 + 10 + 1 + 1 + 33 + 2 + 255 + 8 + 16 + 16)..frame.len() - less]
                .to_vec()
        };
        assert_eq!(
            Frame::decode(&with_header(HELLO, &payload(&without, 16), &[]), MAX),
            Ok(Frame::Hello(none.clone()))
        );
        assert!(Frame::decode(&with_header(HELLO, &payload(&with, 1), &[]), MAX).is_err());
        assert!(Frame::decode(&with_header(HELLO, &payload(&with, 0), b"and more"), MAX).is_ok());
        assert!(format!("{hello:?}").contains("key: Key(..)"));
        assert!(
            hello.key.proves(&hello.key)
                && !hello.key.proves(&none.key)
                && !none.key.proves(&none.key)
        );
    }

    #[test]
    fn fitting_text_ends_at_a_character_boundary() {
        assert_eq!(
            (fitting("aää", 2), fitting("aää", 3), fitting("aää", 9), fitting("ä", 1)),
            ("a", "aä", "aää", "")
        );
    }

    #[test]
    fn a_token_at_the_limit_is_read_and_debug_hides_it() {
        let Some(Frame::Hello(hello)) = all().into_iter().next() else { unreachable!() };
        let of = |length| Hello { token: Some(Token("t".repeat(length))), ..hello.clone() };
        let max = 2 * TOKEN_BYTES_MAX;
        let longest = of(TOKEN_BYTES_MAX);
        assert_eq!(
            Frame::decode(&Frame::Hello(longest.clone()).encode(), max),
            Ok(Frame::Hello(longest.clone()))
        );
        let past = Frame::Hello(of(TOKEN_BYTES_MAX + 1)).encode();
        let past = Frame::decode(&past, max);
        assert!(matches!(past, Err(FrameError::TooLarge { what: "a token", .. })), "{past:?}");
        assert!(format!("{longest:?}").contains("token: Some(Token(..))"));
    }

    #[test]
    fn an_error_about_invalid_utf8_names_the_place() {
        let bytes = with_header(CLOSE, &[1, 3, b'a', b'b', 0xff], &[]);
        let expected = FrameError::Malformed { at: 10, expected: "UTF-8" };
        assert_eq!(Frame::decode(&bytes, MAX), Err(expected));
    }

    #[test]
    fn a_frame_with_a_changed_bit_is_refused() {
        let frame = Frame::Update { number: 7, body: b"some bytes" }.encode();
        for bit in 0..frame.len() * 8 {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(&changed, MAX).is_err(), "bit {bit}");
        }
    }
}
