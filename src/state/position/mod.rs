//! Dense positions: byte strings with room between any two. Positions that one replica assigns next
//! to each other stay together.
//!
//! Positions are compared byte by byte. A position is the path to an element in a tree, written as
//! bytes (after Weidner and Kleppmann, *The Art of the Fugue*, 2023, and Weidner's position
//! strings). `level` defines the encoding, `between` chooses new positions, and
//! `docs/decisions/0015-runs-stay-together.md` contains the proof.

mod between;
mod level;

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::document::ReplicaId;
use crate::document::value::Value;

pub(crate) use between::between;
pub(crate) use level::Stamp;

/// A position in an order. Short positions are stored inline, because a search in a list compares
/// many of them.
#[derive(Clone)]
pub(crate) enum Position {
    Short(u8, [u8; SHORT_MAX]),
    Long(Arc<[u8]>),
}

/// The longest position that is stored inline.
const SHORT_MAX: usize = 22;

/// The replica id for positions within a copy of a view. These positions order that copy and are
/// never written.
pub(crate) const COPY: ReplicaId = ReplicaId::from_bits(u64::MAX);

/// Reads the position in a register.
pub(crate) fn read(value: &Value) -> Option<Position> {
    match value {
        Value::Bytes(bytes) => Some(Position::from(bytes.as_ref())),
        _ => None,
    }
}

impl From<&[u8]> for Position {
    fn from(position: &[u8]) -> Self {
        let mut short = [0; SHORT_MAX];
        match (short.get_mut(..position.len()), u8::try_from(position.len())) {
            (Some(slot), Ok(len)) => {
                slot.copy_from_slice(position);
                Self::Short(len, short)
            }
            _ => Self::Long(Arc::from(position)),
        }
    }
}

impl<const N: usize> From<[u8; N]> for Position {
    fn from(position: [u8; N]) -> Self {
        Self::from(position.as_slice())
    }
}

impl Deref for Position {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or(bytes),
            Self::Long(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Position {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Position {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Position {}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests;
