//! One CRDT replica behind a neutral interface.
//!
//! Promises: bytes from outside are walked by the [`guard`] before a backend sees them; a failed
//! commit or import leaves the document as it was; what was touched is said exactly, so that nobody
//! has to read everything. Above this layer nobody knows which backend there is.

pub mod backend;
pub mod commit;
pub mod delivery;
pub mod diff;
pub mod digest;
pub mod doc;
pub mod guard;
pub mod key;
pub mod landing;
pub mod limits;
pub mod live;
pub mod meta;
pub mod named;
pub mod ops;
pub mod options;
pub mod projection;
pub mod replica;
pub mod rope;
pub mod source;
pub mod subscription;
pub mod value;
pub mod version;

pub use digest::Digest;
pub use value::Value;
pub use version::Version;

use std::fmt;

/// The id of one replica: 53 bits, never used by two replicas nor again after a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(u64);

impl ReplicaId {
    /// The largest id: 2^53 − 1, as Yjs keeps ids in a JavaScript number.
    pub const MAX: u64 = (1 << 53) - 1;

    /// An id from the 53 low bits of a number. Whoever calls this vouches that the id is fresh, and
    /// that ids differ in their low 16 bits as random ones do: of many that end alike, peers
    /// refuse the last ([`Limits::alike_ids_max`](crate::Limits::alike_ids_max)).
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & Self::MAX)
    }

    /// The id as a number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}
