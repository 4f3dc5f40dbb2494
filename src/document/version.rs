//! The version of a replica (the ops that it has seen), and the hash of the deleted ops.

use std::collections::BTreeMap;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use super::guard::{self, GuardError};
use crate::varint;

/// The ops that a replica has seen.
///
/// - On yrs: a state vector, and a hash of the delete set, because a state vector does not count
///   deletions.
/// - On automerge: the heads of the change graph, and the number of each actor's last change, for
///   replicas that lack some of these heads.
///
/// Two replicas at equal versions have seen the same ops. Compare their digests to find out whether
/// they also hold the same content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// That of a replica without ops, on any backend.
    Empty,
    Clocks {
        clocks: BTreeMap<u64, u32>,
        deleted: DeleteHash,
    },
    Heads {
        heads: Vec<[u8; 32]>,
        numbers: Numbers,
    },
}

/// The bytes are not a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a version: {reason} at byte {at}")]
pub struct VersionError {
    at: usize,
    reason: &'static str,
}

static NO_CLOCKS: BTreeMap<u64, u32> = BTreeMap::new();
static NO_NUMBERS: Numbers = Numbers::new();

impl VersionError {
    /// The position at which reading failed, in bytes.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    fn of(error: GuardError) -> Self {
        match error {
            GuardError::Malformed { at, what } => Self { at, reason: what },
            GuardError::Truncated { at } => Self { at, reason: "it is cut off" },
            _ => Self { at: 0, reason: "it is no version" },
        }
    }
}

impl Version {
    /// The version of a replica that has seen nothing, on any backend: what it lacks is the whole
    /// document. A replica that has seen nothing has a version of its backend, which is not equal
    /// to this one.
    ///
    /// ```
    /// use exostate::{State, Store, Version};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Note { title: String }
    ///
    /// let (ours, theirs) = (Store::<Note>::new(), Store::<Note>::new());
    /// ours.change(|note| note.title().set("plan"))?;
    /// theirs.apply_all(&ours.updates_since(&Version::empty())?)?;
    /// assert_eq!(ours.view(), theirs.view());
    /// # Ok::<(), exostate::Error>(())
    /// ```
    #[must_use]
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    pub(crate) fn clocks(clocks: BTreeMap<u64, u32>, deleted: DeleteHash) -> Self {
        Self(Kind::Clocks { clocks, deleted })
    }

    pub(crate) fn heads(mut heads: Vec<[u8; 32]>, numbers: Numbers) -> Self {
        heads.sort_unstable();
        Self(Kind::Heads { heads, numbers })
    }

    pub(crate) fn as_clocks(&self) -> Option<&BTreeMap<u64, u32>> {
        match &self.0 {
            Kind::Empty => Some(&NO_CLOCKS),
            Kind::Clocks { clocks, .. } => Some(clocks),
            Kind::Heads { .. } => None,
        }
    }

    pub(crate) fn as_heads(&self) -> Option<(&[[u8; 32]], &Numbers)> {
        match &self.0 {
            Kind::Empty => Some((&[], &NO_NUMBERS)),
            Kind::Heads { heads, numbers } => Some((heads, numbers)),
            Kind::Clocks { .. } => None,
        }
    }

    /// The version as bytes: one byte for the kind (0: clocks, 1: heads, 2: empty), then the fields
    /// of that kind. All numbers are little-endian; a count is a `u32`.
    ///
    /// - Clocks: the count of clients; for each client its id (`u64`) and its clock (`u32`); then
    ///   the 16-byte hash of the delete set.
    /// - Heads: the count of heads; each head as a 32-byte hash; the count of actors; for each
    ///   actor the length of its id (`u16`), the bytes of its id, and the number of its last change
    ///   (`u64`).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match &self.0 {
            Kind::Empty => bytes.push(2),
            Kind::Clocks { clocks, deleted } => {
                bytes.push(0);
                bytes.extend(u32::try_from(clocks.len()).unwrap_or(u32::MAX).to_le_bytes());
                for (client, clock) in clocks {
                    bytes.extend(client.to_le_bytes());
                    bytes.extend(clock.to_le_bytes());
                }
                bytes.extend(deleted.0.to_le_bytes());
            }
            Kind::Heads { heads, numbers } => {
                bytes.push(1);
                bytes.extend(u32::try_from(heads.len()).unwrap_or(u32::MAX).to_le_bytes());
                heads.iter().for_each(|head| bytes.extend(head));
                bytes.extend(u32::try_from(numbers.len()).unwrap_or(u32::MAX).to_le_bytes());
                for (actor, last) in numbers {
                    bytes.extend(u16::try_from(actor.len()).unwrap_or(u16::MAX).to_le_bytes());
                    bytes.extend(&**actor);
                    bytes.extend(last.to_le_bytes());
                }
            }
        }
        bytes
    }

    /// Reads the bytes that [`Version::to_bytes`] wrote.
    ///
    /// # Errors
    /// The bytes are not a version. The error has the position at which reading failed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, VersionError> {
        let mut reader = FixedReader { bytes, at: 0 };
        let version = match reader.array::<1>("it is empty")? {
            [0] => {
                let clocks = (0..reader.count()?)
                    .map(|_| Ok((reader.number(8)? & ((1 << 53) - 1), reader.number(4)? as u32)));
                let clocks = clocks.collect::<Result<_, _>>()?;
                Self::clocks(
                    clocks,
                    DeleteHash(u128::from_le_bytes(reader.array("it is cut off")?)),
                )
            }
            [1] => {
                let heads = (0..reader.count()?)
                    .map(|_| reader.array("it is cut off"))
                    .collect::<Result<_, _>>()?;
                let numbers = (0..reader.count()?).map(|_| {
                    let len = reader.number(2)? as usize;
                    Ok((Arc::from(reader.take(len, "it is cut off")?), reader.number(8)?))
                });
                Self::heads(heads, numbers.collect::<Result<_, _>>()?)
            }
            [2] => Self::empty(),
            _ => return Err(VersionError { at: 0, reason: "an unknown kind" }),
        };
        reader.end(version)
    }

    /// Reads the state vector of a Yjs client (`Y.encodeStateVector`). The result is a version of
    /// [`Yrs`](crate::Yrs) that has seen no deletion.
    ///
    /// # Errors
    /// The bytes are not a state vector. The error has the position at which reading failed.
    pub fn from_state_vector(bytes: &[u8]) -> Result<Self, VersionError> {
        let mut reader = guard::ByteReader::new(bytes, 0);
        let mut number = || reader.uint().map_err(VersionError::of);
        let mut clocks = BTreeMap::new();
        for _ in 0..number()? {
            let client = number()? & ((1 << 53) - 1);
            clocks.insert(client, u32::try_from(number()?).unwrap_or(u32::MAX));
        }
        if !reader.is_empty() {
            return Err(VersionError { at: reader.at(), reason: "there is more behind it" });
        }
        Ok(Self::clocks(clocks, DeleteHash::default()))
    }

    /// The state vector in the encoding of Yjs. `None` if the version is not one of
    /// [`Yrs`](crate::Yrs).
    #[must_use]
    pub fn to_state_vector(&self) -> Option<Vec<u8>> {
        let clocks = self.as_clocks()?;
        let mut bytes = Vec::new();
        varint::put(&mut bytes, clocks.len() as u64);
        for (client, clock) in clocks {
            varint::put(&mut bytes, *client);
            varint::put(&mut bytes, u64::from(*clock));
        }
        Some(bytes)
    }
}

struct FixedReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> FixedReader<'a> {
    fn end(&self, version: Version) -> Result<Version, VersionError> {
        if self.at < self.bytes.len() {
            Err(VersionError { at: self.at, reason: "there is more behind it" })
        } else {
            Ok(version)
        }
    }

    fn take(&mut self, len: usize, reason: &'static str) -> Result<&'a [u8], VersionError> {
        let taken = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.get(..len))
            .ok_or(VersionError { at: self.at, reason })?;
        self.at += len;
        Ok(taken)
    }

    fn array<const LEN: usize>(&mut self, reason: &'static str) -> Result<[u8; LEN], VersionError> {
        let mut array = [0; LEN];
        array.copy_from_slice(self.take(LEN, reason)?);
        Ok(array)
    }

    /// Reads a number of `len` bytes, at most 8.
    fn number(&mut self, len: usize) -> Result<u64, VersionError> {
        Ok(self
            .take(len, "it is cut off")?
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Reads how many entries follow. A false count allocates nothing: the caller reads the entries
    /// one by one, and fails at the end of the bytes.
    fn count(&mut self) -> Result<u64, VersionError> {
        self.number(4)
    }
}

/// The number of each actor's last change.
pub(crate) type Numbers = BTreeMap<Arc<[u8]>, u64>;

/// A hash of a set of (client, clock) pairs. The set grows by disjoint ranges, and the hash does
/// not depend on how the set is cut into ranges.
///
/// The hash of a range is g(end) − g(start). The hash of the set is the sum over its ranges, so
/// adjacent ranges telescope.
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
        let mut whole = DeleteHash::default();
        let mut cut = DeleteHash::default();
        whole.add(7, 3, 10);
        cut.add(7, 8, 10);
        cut.add(7, 3, 5);
        cut.add(7, 5, 8);
        assert_eq!(whole, cut);
    }

    #[test]
    fn versions_round_trip_and_truncated_ones_are_refused() {
        let clocks = Version::clocks(BTreeMap::from([(1, 2), (9, 4)]), DeleteHash(5));
        let heads =
            Version::heads(vec![[3; 32], [1; 32]], BTreeMap::from([(Arc::from([7, 8, 9]), 5)]));
        for version in [clocks, heads, Version::empty()] {
            let bytes = version.to_bytes();
            assert_eq!(Version::from_bytes(&bytes).as_ref(), Ok(&version));
            for end in 0..bytes.len() {
                assert!(Version::from_bytes(&bytes[..end]).is_err());
            }
        }
    }

    #[test]
    fn state_vectors_have_the_encoding_of_yjs() {
        use yrs::updates::encoder::Encode;
        let vector = yrs::StateVector::new(
            [(yrs::ClientID::new(300), 70_000), (yrs::ClientID::new(1), 2)].into_iter().collect(),
        );
        let version = Version::from_state_vector(&vector.encode_v1()).expect("a state vector");
        assert_eq!(version.as_clocks(), Some(&BTreeMap::from([(1, 2), (300, 70_000)])));
        let bytes = version.to_state_vector().expect("of yrs");
        assert_eq!(Version::from_state_vector(&bytes).as_ref(), Ok(&version));
        for end in 0..bytes.len() {
            assert!(Version::from_state_vector(&bytes[..end]).is_err());
        }
        assert!(Version::from_state_vector(&[bytes, vec![0]].concat()).is_err());
        assert!(Version::from_state_vector(&[255; 20]).is_err());
        assert_eq!(Version::heads(Vec::new(), BTreeMap::new()).to_state_vector(), None);
    }
}
