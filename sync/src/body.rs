//! The body of an update's frame: the update as it is, or compressed if that is shorter. The
//! compression is DEFLATE, because browsers can read it (`DecompressionStream`), and because a
//! DEFLATE stream cannot refer to anything outside of itself.

use std::borrow::Cow;
use std::io::{Read as _, Write as _};
use std::sync::{Arc, OnceLock};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::frame::{FrameError, FrameReader, Hash, check};
use crate::limits::{LARGE_BYTES, VARINT_BYTES_MAX};
use exostate::varint;

const PLAIN: u8 = 0;
const DEFLATED: u8 = 1;

/// An update on its way to any number of peers. Their connections share it, so its compressed form
/// and its hash are computed once for all.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The uncompressed body.
    plain: Vec<u8>,
    /// The compressed body, if it is shorter.
    deflated: OnceLock<Option<Vec<u8>>>,
    hash: OnceLock<Hash>,
}

impl Shared {
    pub(crate) fn new(update: &[u8]) -> Arc<Self> {
        let mut plain = Vec::with_capacity(1 + update.len());
        plain.push(PLAIN);
        plain.extend_from_slice(update);
        Arc::new(Self { plain, deflated: OnceLock::new(), hash: OnceLock::new() })
    }

    pub(crate) fn update(&self) -> &[u8] {
        &self.plain[1..]
    }

    /// The length of the update in bytes.
    pub(crate) fn len(&self) -> usize {
        self.plain.len() - 1
    }

    pub(crate) fn hash(&self) -> Hash {
        *self.hash.get_or_init(|| Hash::of(self.update()))
    }

    /// Whether the update is so large that it must be compressed and hashed where the work may
    /// block.
    pub(crate) fn is_large(&self) -> bool {
        self.len() > LARGE_BYTES
    }

    /// Whether [`body`](Self::body) returns at once.
    pub(crate) fn is_packed(&self, over: Option<usize>) -> bool {
        !self.is_large() || !self.is_worth_a_try(over) || self.deflated.get().is_some()
    }

    /// The update as a body. An update of more than `over` bytes is compressed, if that makes it
    /// shorter. `over` is `None` if the peer reads no compressed bodies.
    pub(crate) fn body(&self, over: Option<usize>) -> &[u8] {
        if !self.is_worth_a_try(over) {
            return &self.plain;
        }
        let deflated = self
            .deflated
            .get_or_init(|| deflate(self.update()).filter(|packed| packed.len() <= self.len()));
        deflated.as_ref().unwrap_or(&self.plain)
    }

    fn is_worth_a_try(&self, over: Option<usize>) -> bool {
        over.is_some_and(|over| self.len() > over)
    }
}

/// Whether a body is uncompressed, so it is about as long as its update.
pub(crate) fn is_plain(body: &[u8]) -> bool {
    body.first() == Some(&PLAIN)
}

fn deflate(update: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::with_capacity(VARINT_BYTES_MAX + update.len() / 2);
    body.push(DEFLATED);
    varint::put(&mut body, update.len() as u64);
    // The fastest level: updates are small, connections are fast, and a higher level saves only a
    // tenth.
    let mut encoder = DeflateEncoder::new(body, Compression::fast());
    encoder.write_all(update).ok()?;
    encoder.finish().ok()
}

/// The update in a body. Inflates at most `bytes_max` bytes, whatever length the body claims.
pub(crate) fn unpack(body: &[u8], bytes_max: usize) -> Result<Cow<'_, [u8]>, FrameError> {
    let mut reader = FrameReader::new(body);
    match reader.byte("a body's encoding")? {
        PLAIN => {
            let update = reader.rest();
            check("an update", update.len() as u64, bytes_max)?;
            Ok(Cow::Borrowed(update))
        }
        DEFLATED => {
            let length = check("an update", reader.varint("an update's length")?, bytes_max)?;
            let wrong = reader.malformed("an update, compressed, of the length that was said");
            // The allocation is limited by the bytes that the sender really sent.
            let mut update = Vec::with_capacity(length.min(4 * body.len()));
            let inflated =
                DeflateDecoder::new(reader.rest()).take(length as u64 + 1).read_to_end(&mut update);
            if inflated.is_err() || update.len() != length {
                return Err(wrong);
            }
            Ok(Cow::Owned(update))
        }
        _ => Err(FrameError::Malformed {
            at: 0,
            expected: "an encoding of bodies that this version knows",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 100_000;

    fn pack(update: &[u8], over: Option<usize>) -> Vec<u8> {
        Shared::new(update).body(over).to_vec()
    }

    #[test]
    fn a_large_body_is_packed_once_and_cached() {
        let shared = Shared::new(&[7; LARGE_BYTES + 1]);
        assert!(shared.is_large() && shared.is_packed(None) && !shared.is_packed(Some(512)));
        let body = shared.body(Some(512)).as_ptr();
        assert!(shared.is_packed(Some(512)));
        assert_eq!(
            (shared.body(Some(512)).as_ptr(), shared.hash()),
            (body, Hash::of(&[7; LARGE_BYTES + 1]))
        );
        assert!(
            Shared::new(&[7; LARGE_BYTES]).is_packed(Some(512)),
            "what is not large is packed as it leaves"
        );
    }

    #[test]
    fn bodies_round_trip_and_are_compressed_only_if_that_shrinks_them() {
        let text = b"the same again ".repeat(500);
        let mut random = fastrand::Rng::with_seed(1);
        let noise: Vec<u8> = (0..5000).map(|_| random.u8(..)).collect();
        for (update, over, encoding) in [
            (&text, Some(512), DEFLATED),
            (&text, None, PLAIN),
            (&text, Some(MAX), PLAIN),
            (&noise, Some(512), PLAIN),
            (&Vec::new(), Some(0), PLAIN),
        ] {
            let body = pack(update, over);
            assert_eq!(body[0], encoding);
            assert_eq!(unpack(&body, MAX).as_deref(), Ok(&update[..]));
        }
        assert!(pack(&text, Some(512)).len() < text.len() / 20);
    }

    #[test]
    fn a_body_that_inflates_past_its_declared_length_is_refused() {
        let bomb = pack(&vec![0; 10_000_000], Some(0));
        assert!(matches!(unpack(&bomb, MAX), Err(FrameError::TooLarge { bytes: 10_000_000, .. })));
        // A body with a wrong length.
        let mut liar = vec![DEFLATED];
        varint::put(&mut liar, 5);
        liar.extend_from_slice(&bomb[5..]);
        assert_eq!(bomb[1..5], [0x80, 0xad, 0xe2, 0x04]);
        assert!(matches!(unpack(&liar, MAX), Err(FrameError::Malformed { at: 2, .. })));
        for cut in 0..bomb.len().min(60) {
            assert!(unpack(&bomb[..cut], usize::MAX).is_err());
        }
        assert!(matches!(unpack(&[7], MAX), Err(FrameError::Malformed { at: 0, .. })));
    }

    #[test]
    fn an_update_at_the_limit_passes_and_one_past_it_is_refused() {
        for over in [None, Some(0)] {
            assert!(unpack(&pack(&[0; 100], over), 100).is_ok());
            assert!(matches!(
                unpack(&pack(&[0; 101], over), 100),
                Err(FrameError::TooLarge { bytes: 101, .. })
            ));
        }
    }
}
