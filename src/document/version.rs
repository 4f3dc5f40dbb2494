//! What a replica has seen, and the hash of what was deleted.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_128;

/// What a replica has seen: on yrs a state vector and a hash of the delete set (a state vector does not see deletions),
/// on automerge the heads of the change graph.
///
/// Two replicas at equal versions have seen the same ops. Whether they also hold the same content is for the digest to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Clocks { clocks: BTreeMap<u64, u32>, deleted: DeleteHash },
    Heads(Vec<[u8; 32]>),
}

/// The bytes are not a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a version: {reason} at byte {at}")]
pub struct VersionError {
    at: usize,
    reason: &'static str,
}

impl Version {
    pub(crate) fn clocks(clocks: BTreeMap<u64, u32>, deleted: DeleteHash) -> Self {
        Self(Kind::Clocks { clocks, deleted })
    }

    pub(crate) fn heads(mut heads: Vec<[u8; 32]>) -> Self {
        heads.sort_unstable();
        Self(Kind::Heads(heads))
    }

    pub(crate) fn as_clocks(&self) -> Option<&BTreeMap<u64, u32>> {
        match &self.0 {
            Kind::Clocks { clocks, .. } => Some(clocks),
            Kind::Heads(_) => None,
        }
    }

    pub(crate) fn as_heads(&self) -> Option<&[[u8; 32]]> {
        match &self.0 {
            Kind::Heads(heads) => Some(heads),
            Kind::Clocks { .. } => None,
        }
    }

    /// The version as bytes: a kind (0: clocks, 1: heads), a little-endian `u32` count, then the entries of fixed size
    /// (client `u64` and clock `u32`, or a 32-byte hash), and for clocks the 16-byte hash of the delete set.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match &self.0 {
            Kind::Clocks { clocks, deleted } => {
                bytes.push(0);
                bytes.extend(u32::try_from(clocks.len()).unwrap_or(u32::MAX).to_le_bytes());
                for (client, clock) in clocks {
                    bytes.extend(client.to_le_bytes());
                    bytes.extend(clock.to_le_bytes());
                }
                bytes.extend(deleted.0.to_le_bytes());
            }
            Kind::Heads(heads) => {
                bytes.push(1);
                bytes.extend(u32::try_from(heads.len()).unwrap_or(u32::MAX).to_le_bytes());
                heads.iter().for_each(|head| bytes.extend(head));
            }
        }
        bytes
    }

    /// Reads what [`Version::to_bytes`] wrote.
    ///
    /// # Errors
    /// Says where the bytes are not those of a version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, VersionError> {
        let fail = |at, reason| VersionError { at, reason };
        let (kind, rest) = bytes.split_first().ok_or(fail(0, "it is empty"))?;
        let (count, rest) = rest.split_first_chunk::<4>().ok_or(fail(1, "the count is cut off"))?;
        let count = u32::from_le_bytes(*count) as usize;
        let (entry_len, tail_len) = match kind {
            0 => (12, 16),
            1 => (32, 0),
            _ => return Err(fail(0, "an unknown kind")),
        };
        if count.checked_mul(entry_len).and_then(|len| len.checked_add(tail_len)) != Some(rest.len()) {
            return Err(fail(1, "the count does not fit the length"));
        }
        let (entries, tail) = rest.split_at(count * entry_len);
        if *kind == 1 {
            let heads = entries.as_chunks::<32>().0.to_vec();
            return Ok(Self::heads(heads));
        }
        let clocks = entries.as_chunks::<12>().0.iter().filter_map(|entry| {
            let (client, clock) = entry.split_first_chunk::<8>()?;
            Some((u64::from_le_bytes(*client) & ((1 << 53) - 1), u32::from_le_bytes(clock.try_into().ok()?)))
        });
        let deleted = tail.first_chunk::<16>().map_or(0, |bytes| u128::from_le_bytes(*bytes));
        Ok(Self::clocks(clocks.collect(), DeleteHash(deleted)))
    }
}

/// A hash of a set of (client, clock) pairs that grows by disjoint ranges and does not depend on how they are cut.
///
/// The hash of a range is g(end) − g(start), so adjacent ranges telescope; ranges add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeleteHash(u128);

impl DeleteHash {
    /// Adds the range `start..end` of a client's clocks, none of which was added before. O(1).
    pub fn add(&mut self, client: u64, start: u32, end: u32) {
        self.0 = self.0.wrapping_add(point(client, end).wrapping_sub(point(client, start)));
    }

    /// Adds another set, disjoint from this one.
    pub fn merge(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

fn point(client: u64, clock: u32) -> u128 {
    let mut bytes = [0; 12];
    let (head, tail) = bytes.split_at_mut(8);
    head.copy_from_slice(&client.to_le_bytes());
    tail.copy_from_slice(&clock.to_le_bytes());
    xxh3_128(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delete_hash_does_not_depend_on_cuts() {
        let (mut whole, mut cut) = (DeleteHash::default(), DeleteHash::default());
        whole.add(7, 3, 10);
        cut.add(7, 8, 10);
        cut.add(7, 3, 5);
        cut.add(7, 5, 8);
        assert_eq!(whole, cut);
    }

    #[test]
    fn versions_round_trip_and_damage_is_named() {
        let clocks = Version::clocks(BTreeMap::from([(1, 2), (9, 4)]), DeleteHash(5));
        let heads = Version::heads(vec![[3; 32], [1; 32]]);
        for version in [clocks, heads] {
            let bytes = version.to_bytes();
            assert_eq!(Version::from_bytes(&bytes).as_ref(), Ok(&version));
            for end in 0..bytes.len() {
                assert!(Version::from_bytes(&bytes[..end]).is_err());
            }
        }
    }
}
