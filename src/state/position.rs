//! Positions between positions: byte strings with room between any two (fractional indexing; Evan Wallace, *Realtime editing of
//! ordered sequences*, 2017).
//!
//! A position is compared byte by byte. Every new one ends in a few bytes that differ by replica, so that two replicas that insert
//! at one place seldom choose the same position; where they do, the element's id decides, and an insertion between the two
//! moves the later one.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::document::ReplicaId;
use crate::document::value::Value;

/// A position in an order. Short ones stand in place: searching a list compares many of them.
#[derive(Clone)]
pub(crate) enum Position {
    Short(u8, [u8; SHORT_MAX]),
    Long(Arc<[u8]>),
}

/// The longest position that stands in place.
const SHORT_MAX: usize = 22;

/// How far apart appended positions stand, in units of the first four bytes: room for 8 million on either side.
const STEP: u32 = 256;
const START: u32 = 1 << 31;
/// Longer positions than this are not extended: the neighbours are moved apart instead. Honest ones stay far below.
const LEN_MAX: usize = 512;

/// Who gives positions within a copy of a view. They order that copy and are never written.
pub(crate) const COPY: ReplicaId = ReplicaId::from_bits(u64::MAX);

/// A position strictly between two neighbours, `None` standing for either end; `None` where there is no room.
pub(crate) fn between(low: Option<&[u8]>, high: Option<&[u8]>, replica: ReplicaId) -> Option<Vec<u8>> {
    let mut position = match (low, high) {
        (None, None) => START.to_be_bytes().to_vec(),
        (Some(low), None) => head(low).checked_add(STEP).map(|next| next.to_be_bytes().to_vec()).or_else(|| middle(low, None))?,
        (None, Some(high)) => match head(high).checked_sub(STEP).filter(|next| *next > 0) {
            Some(next) => next.to_be_bytes().to_vec(),
            None => middle(&[], Some(high))?,
        },
        (Some(low), Some(high)) => middle(low, Some(high))?,
    };
    // A suffix keeps the order: no position here is a prefix of `high`.
    position.extend(replica.get().to_be_bytes().iter().rev().take(2));
    (position.len() <= LEN_MAX).then_some(position)
}

fn head(position: &[u8]) -> u32 {
    let mut bytes = [0; 4];
    bytes.iter_mut().zip(position).for_each(|(to, from)| *to = *from);
    u32::from_be_bytes(bytes)
}

/// The shortest byte string above `low` and below `high` that is no prefix of `high`.
fn middle(low: &[u8], high: Option<&[u8]>) -> Option<Vec<u8>> {
    let mut high = high;
    let mut position = Vec::new();
    for index in 0..LEN_MAX {
        let floor = u16::from(low.get(index).copied().unwrap_or(0));
        let ceiling = match high {
            Some(high) => u16::from(*high.get(index)?),
            None => 256,
        };
        if floor > ceiling {
            return None;
        }
        if ceiling - floor > 1 {
            position.push(u8::try_from(floor + (ceiling - floor) / 2).ok()?);
            return Some(position);
        }
        position.push(u8::try_from(floor).ok()?);
        if ceiling > floor {
            high = None;
        }
    }
    None
}

/// A position as it stands in a register.
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_position_lies_between(low in prop::collection::vec(any::<u8>(), 0..6), high in prop::collection::vec(any::<u8>(), 0..6), id in any::<u64>()) {
            let (low, high) = if low <= high { (low, high) } else { (high, low) };
            let replica = ReplicaId::from_bits(id);
            if let Some(position) = between(Some(&low), Some(&high), replica) {
                prop_assert!(low < position && position < high);
            } else {
                // No room only between neighbours that differ by nothing but zeros at the end.
                let zeros = high.strip_prefix(low.as_slice()).is_some_and(|rest| rest.iter().all(|byte| *byte == 0));
                prop_assert!(zeros);
            }
            let above = between(Some(&low), None, replica).expect("there is room above");
            prop_assert!(above > low);
            if let Some(below) = between(None, Some(&high), replica) {
                prop_assert!(below < high);
            }
        }
    }

    #[test]
    fn many_appends_stay_short() {
        let replica = ReplicaId::from_bits(7);
        let mut last: Option<Vec<u8>> = None;
        for _ in 0..100_000 {
            let next = between(last.as_deref(), None, replica).expect("there is room");
            assert!(last.is_none_or(|last| last < next) && next.len() == 6);
            last = Some(next);
        }
    }
}
