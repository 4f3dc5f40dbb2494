//! The digest of a document's content, and the canonical bytes from which all hashes of content are
//! computed.

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

use super::value::Value;

/// A hash of a document's content.
///
/// Equal contents have equal digests. The content is everything that a document stores: two
/// documents that show the same state can store it differently, for example in a bundle or not
/// (`docs/layout.md`). Two replicas on the same backend that have equal versions and
/// unequal digests have diverged.
///
/// The hash is not cryptographic: an attacker can construct two contents with the same digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 16]);

impl Digest {
    /// The digest with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The digest as bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Collects content for a hash (XXH3, 128 bits).
///
/// It writes kinds, lengths and numbers in a fixed byte order. So the hash is the same on every
/// machine, and two different contents never give the same bytes.
#[derive(Default)]
pub struct Canonical(Vec<u8>);

impl Canonical {
    /// An empty content.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes, with their kind and length before them.
    pub fn bytes(&mut self, kind: u8, content: &[u8]) {
        self.0.push(kind);
        self.number(content.len() as u64);
        self.0.extend_from_slice(content);
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// Adds a scalar.
    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.0.push(0),
            Value::Bool(flag) => self.0.extend_from_slice(&[1, u8::from(*flag)]),
            Value::Int(number) => self.bytes(2, &number.to_le_bytes()),
            Value::Float(number) => self.bytes(3, &canonical_bits(*number).to_le_bytes()),
            Value::Str(text) => self.bytes(4, text.as_bytes()),
            Value::Bytes(bytes) => self.bytes(5, bytes),
            Value::Unknown(kind) => self.bytes(6, kind.as_bytes()),
        }
    }

    /// Returns the hash of all that was added, and empties the content.
    pub fn finish(&mut self) -> u128 {
        let hash = xxh3_128(&self.0);
        self.0.clear();
        hash
    }
}

/// The bits of a float. All NaNs have the same bits.
pub fn canonical_bits(number: f64) -> u64 {
    if number.is_nan() { f64::NAN.to_bits() } else { number.to_bits() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_same_on_every_machine() {
        let mut canonical = Canonical::new();
        canonical.bytes(7, b"cards/3f/done");
        canonical.value(&Value::Bool(true));
        canonical.number(1 << 40);
        assert_eq!(format!("{:032x}", canonical.finish()), "20e6cdecf7d3aeacc8ab007ee66f4199");
    }

    #[test]
    fn the_boundaries_of_contents_change_the_hash() {
        let mut canonical = Canonical::new();
        let mut hash = |parts: &[&str]| {
            parts.iter().for_each(|part| canonical.bytes(4, part.as_bytes()));
            canonical.finish()
        };
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_eq!(hash(&["ab", "c"]), hash(&["ab", "c"]));
    }
}
