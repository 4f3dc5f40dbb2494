//! One CRDT replica behind a neutral interface.
//!
//! This layer promises:
//!
//! - The [`guard`] walks bytes from outside before a backend sees them.
//! - A failed commit or import leaves the document as it was before.
//! - The touched places are reported exactly, so that no caller has to read the whole document.
//! - The layers above do not know which backend is in use.

pub mod backend;
pub mod bundle;
pub mod commit;
pub mod commit_check;
pub mod delivery;
pub mod diff;
pub mod digest;
pub mod doc;
pub mod foreign;
pub mod guard;
pub mod json;
pub mod keeper;
pub mod key;
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

/// The id of one replica: 53 bits. Two replicas never use the same id, and no id is used again
/// after a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(u64);

impl ReplicaId {
    /// The largest id: 2^53 − 1, as Yjs keeps ids in a JavaScript number.
    pub const MAX: u64 = (1 << 53) - 1;

    /// An id from the 53 low bits of a number. The caller vouches that the id is fresh, and that
    /// ids differ in their low 16 bits as random ids do. If too many ids are equal in these bits,
    /// peers refuse the ids over the limit
    /// ([`Limits::alike_ids_max`](crate::Limits::alike_ids_max)).
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
