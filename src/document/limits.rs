//! The limits for untrusted bytes. They are checked before a backend sees the bytes.
//!
//! Every length, count and depth that the [`guard`](super::guard) checks has its limit here. There
//! are two sets: [`Limits::untrusted`] for updates from untrusted peers, and [`Limits::trusted`]
//! for this replica's own saves. The limits do not bound the memory exactly: the backend decides
//! how much memory an accepted update takes. They keep that memory in proportion to the update.

/// Bytes of one update from an untrusted peer.
const UNTRUSTED_BYTES_MAX: usize = 4 << 20;
/// Clients (replicas) named in one section of an update from an untrusted peer. yrs keeps the
/// clients in a hash table and uses the id itself as the hash. An attacker can choose ids that
/// collide, so the cost grows with the square of this number.
const UNTRUSTED_CLIENTS_MAX: usize = 8_192;
/// Blocks, and deleted ranges, in one update from an untrusted peer. A block takes 4 bytes in the
/// update and about 200 bytes of memory in yrs.
const UNTRUSTED_BLOCKS_MAX: usize = 300_000;
/// Values within the blocks of one update from an untrusted peer. A nested empty map takes two
/// bytes in the update and about 100 bytes of memory.
const UNTRUSTED_VALUES_MAX: usize = 400_000;
/// Shared types inside other shared types, in one update from an untrusted peer. The limit is zero:
/// yrs deletes nested types recursively, and many small updates together can nest types without a
/// limit. The layout of exostate uses only root types.
const UNTRUSTED_NESTED_TYPES_MAX: usize = 0;
/// Levels of arrays and maps within one value.
const UNTRUSTED_NESTING_MAX: usize = 64;
/// Bytes of one name: a root, a key, an attribute, a message.
const UNTRUSTED_NAME_BYTES_MAX: usize = 4 << 10;
/// Automerge operations in one update from an untrusted peer. With run-length coding a few bytes
/// can claim any number of operations.
const UNTRUSTED_OPS_MAX: u64 = 150_000;
/// The total size in bytes of the deflated parts and the repeated strings of one update from an
/// untrusted peer, after inflating.
const UNTRUSTED_INFLATED_BYTES_MAX: u64 = 16 << 20;
/// Pending updates: updates that wait for a missing dependency.
const UNTRUSTED_PENDING_UPDATES_MAX: usize = 1_024;
/// Bytes of all pending updates.
const UNTRUSTED_PENDING_BYTES_MAX: usize = 4 << 20;
/// Bytes of the document's version, including the replicas that an update from an untrusted peer
/// adds. The version grows with every replica that ever wrote, by 12 bytes on yrs and 18 bytes on
/// automerge. A session sends it in one frame of at most 2 MiB.
const UNTRUSTED_VERSION_BYTES_MAX: usize = 1_900_000;
/// Replicas of a document whose ids end in the same 16 bits, including the replicas that an update
/// from an untrusted peer adds. Ids are random: among 100,000 ids, at most about a dozen end in the
/// same bits. See [`UNTRUSTED_CLIENTS_MAX`].
const UNTRUSTED_ALIKE_IDS_MAX: usize = 64;
/// The same limit for this replica's own saves. It is wider, because a saved document must open
/// with all replicas that untrusted peers have added.
const TRUSTED_ALIKE_IDS_MAX: usize = 1_024;

/// Bytes of one saved document.
const TRUSTED_BYTES_MAX: usize = 1 << 30;
/// Levels of arrays and maps within one value of a saved document.
const TRUSTED_NESTING_MAX: usize = 128;
/// Automerge operations in one saved document.
const TRUSTED_OPS_MAX: u64 = 100_000_000;
/// The total size in bytes of the deflated parts and the repeated strings of one saved document,
/// after inflating.
const TRUSTED_INFLATED_BYTES_MAX: u64 = 4 << 30;
/// Pending updates, if the sender is trusted.
const TRUSTED_PENDING_UPDATES_MAX: usize = 65_536;
/// Bytes of all pending updates, if the sender is trusted.
const TRUSTED_PENDING_BYTES_MAX: usize = 256 << 20;

/// The largest value of `nesting_max`. With deeper values the recursive decoder of yrs may overflow
/// the stack of a small thread.
const NESTING_CEILING: usize = 256;

/// The limits that an update or a saved document must keep. The default is [`Limits::untrusted`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Limits {
    bytes_max: usize,
    clients_max: usize,
    blocks_max: usize,
    values_max: usize,
    nested_types_max: usize,
    nesting_max: usize,
    name_bytes_max: usize,
    ops_max: u64,
    inflated_bytes_max: u64,
    pending_updates_max: usize,
    pending_bytes_max: usize,
    version_bytes_max: usize,
    alike_ids_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self::untrusted()
    }
}

impl Limits {
    /// Narrow limits, for updates from untrusted peers.
    pub fn untrusted() -> Self {
        Self {
            bytes_max: UNTRUSTED_BYTES_MAX,
            clients_max: UNTRUSTED_CLIENTS_MAX,
            blocks_max: UNTRUSTED_BLOCKS_MAX,
            values_max: UNTRUSTED_VALUES_MAX,
            nested_types_max: UNTRUSTED_NESTED_TYPES_MAX,
            nesting_max: UNTRUSTED_NESTING_MAX,
            name_bytes_max: UNTRUSTED_NAME_BYTES_MAX,
            ops_max: UNTRUSTED_OPS_MAX,
            inflated_bytes_max: UNTRUSTED_INFLATED_BYTES_MAX,
            pending_updates_max: UNTRUSTED_PENDING_UPDATES_MAX,
            pending_bytes_max: UNTRUSTED_PENDING_BYTES_MAX,
            version_bytes_max: UNTRUSTED_VERSION_BYTES_MAX,
            alike_ids_max: UNTRUSTED_ALIKE_IDS_MAX,
        }
    }

    /// Wide limits, for this replica's own saves. Most counts and the lengths of names are bounded
    /// only by the size in bytes.
    pub fn trusted() -> Self {
        Self {
            bytes_max: TRUSTED_BYTES_MAX,
            clients_max: usize::MAX,
            blocks_max: usize::MAX,
            values_max: usize::MAX,
            nested_types_max: usize::MAX,
            nesting_max: TRUSTED_NESTING_MAX,
            name_bytes_max: usize::MAX,
            ops_max: TRUSTED_OPS_MAX,
            inflated_bytes_max: TRUSTED_INFLATED_BYTES_MAX,
            pending_updates_max: TRUSTED_PENDING_UPDATES_MAX,
            pending_bytes_max: TRUSTED_PENDING_BYTES_MAX,
            version_bytes_max: usize::MAX,
            alike_ids_max: TRUSTED_ALIKE_IDS_MAX,
        }
    }

    /// The limits for bytes that this replica made or validated before: their size does not matter.
    pub(crate) fn own() -> Self {
        Self {
            bytes_max: usize::MAX,
            nesting_max: NESTING_CEILING,
            ops_max: u64::MAX,
            inflated_bytes_max: u64::MAX,
            alike_ids_max: usize::MAX,
            pending_updates_max: usize::MAX,
            pending_bytes_max: usize::MAX,
            ..Self::trusted()
        }
    }

    /// The limits for a batch of `updates` updates. The limits on bytes, blocks, values, ops and
    /// inflated bytes are multiplied. All other limits stay the same.
    pub(crate) fn times(self, updates: usize) -> Self {
        Self {
            bytes_max: self.bytes_max.saturating_mul(updates),
            blocks_max: self.blocks_max.saturating_mul(updates),
            values_max: self.values_max.saturating_mul(updates),
            ops_max: self.ops_max.saturating_mul(updates as u64),
            inflated_bytes_max: self.inflated_bytes_max.saturating_mul(updates as u64),
            ..self
        }
    }

    /// Bytes of one update or saved document.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Sets the bytes of one update or saved document.
    pub fn with_bytes_max(self, bytes_max: usize) -> Self {
        Self { bytes_max, ..self }
    }

    /// Clients (replicas) named in one section.
    #[must_use]
    pub fn clients_max(&self) -> usize {
        self.clients_max
    }

    /// Sets the clients (replicas) named in one section.
    pub fn with_clients_max(self, clients_max: usize) -> Self {
        Self { clients_max, ..self }
    }

    /// Blocks, and deleted ranges, in one update.
    #[must_use]
    pub fn blocks_max(&self) -> usize {
        self.blocks_max
    }

    /// Sets the blocks, and deleted ranges, in one update.
    pub fn with_blocks_max(self, blocks_max: usize) -> Self {
        Self { blocks_max, ..self }
    }

    /// Values within the blocks of one update, nested ones included.
    #[must_use]
    pub fn values_max(&self) -> usize {
        self.values_max
    }

    /// Sets the values within the blocks of one update, nested ones included.
    pub fn with_values_max(self, values_max: usize) -> Self {
        Self { values_max, ..self }
    }

    /// Shared types inside other shared types, in one update.
    #[must_use]
    pub fn nested_types_max(&self) -> usize {
        self.nested_types_max
    }

    /// Sets the shared types inside other shared types, in one update. If the limit is above zero,
    /// the updates of an untrusted peer together can nest types so deep that deleting them
    /// overflows the stack.
    pub fn with_nested_types_max(self, nested_types_max: usize) -> Self {
        Self { nested_types_max, ..self }
    }

    /// Levels of arrays and maps within one value.
    #[must_use]
    pub fn nesting_max(&self) -> usize {
        self.nesting_max
    }

    /// Sets the levels of arrays and maps within one value; at most 256.
    pub fn with_nesting_max(self, nesting_max: usize) -> Self {
        Self { nesting_max: nesting_max.min(NESTING_CEILING), ..self }
    }

    /// Bytes of one name: a root, a key, an attribute, a message.
    #[must_use]
    pub fn name_bytes_max(&self) -> usize {
        self.name_bytes_max
    }

    /// Sets the bytes of one name: a root, a key, an attribute, a message.
    pub fn with_name_bytes_max(self, name_bytes_max: usize) -> Self {
        Self { name_bytes_max, ..self }
    }

    /// The most bytes of the path of a register or sequence.
    pub(crate) fn path_bytes_max(&self) -> usize {
        // In the document the name of a sequence has a prefix of two bytes.
        self.name_bytes_max().saturating_sub(2)
    }

    /// The most bytes of a value.
    pub(crate) fn value_bytes_max(&self) -> usize {
        // An update holds names and other bytes beside the value.
        let besides = self.name_bytes_max().min(self.bytes_max() / 4) * 2;
        self.bytes_max().saturating_sub(besides).max(1)
    }

    /// Automerge operations in one update or saved document.
    #[must_use]
    pub fn ops_max(&self) -> u64 {
        self.ops_max
    }

    /// Sets the automerge operations in one update or saved document.
    pub fn with_ops_max(self, ops_max: u64) -> Self {
        Self { ops_max, ..self }
    }

    /// The total size in bytes of deflated parts and repeated strings, after inflating.
    #[must_use]
    pub fn inflated_bytes_max(&self) -> u64 {
        self.inflated_bytes_max
    }

    /// Sets the total size in bytes of deflated parts and repeated strings, after inflating.
    pub fn with_inflated_bytes_max(self, inflated_bytes_max: u64) -> Self {
        Self { inflated_bytes_max, ..self }
    }

    /// Pending updates: updates that wait for a missing dependency.
    #[must_use]
    pub fn pending_updates_max(&self) -> usize {
        self.pending_updates_max
    }

    /// Sets the number of pending updates.
    pub fn with_pending_updates_max(self, pending_updates_max: usize) -> Self {
        Self { pending_updates_max, ..self }
    }

    /// Bytes of all pending updates.
    #[must_use]
    pub fn pending_bytes_max(&self) -> usize {
        self.pending_bytes_max
    }

    /// Sets the bytes of all pending updates.
    pub fn with_pending_bytes_max(self, pending_bytes_max: usize) -> Self {
        Self { pending_bytes_max, ..self }
    }

    /// Bytes of the document's version, including the replicas that an update adds. Replicas that
    /// came with a trusted document count too, but are not refused.
    #[must_use]
    pub fn version_bytes_max(&self) -> usize {
        self.version_bytes_max
    }

    /// Sets the bytes of the document's version, including the replicas that an update adds.
    pub fn with_version_bytes_max(self, version_bytes_max: usize) -> Self {
        Self { version_bytes_max, ..self }
    }

    /// Replicas of a document on yrs whose ids end in the same 16 bits. A larger number cannot be
    /// chance, and these ids collide in yrs's hash tables: each access would walk through all of
    /// them.
    #[must_use]
    pub fn alike_ids_max(&self) -> usize {
        self.alike_ids_max
    }

    /// Sets the replicas of a document whose ids end in the same 16 bits.
    pub fn with_alike_ids_max(self, alike_ids_max: usize) -> Self {
        Self { alike_ids_max, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_limits_are_those_for_untrusted_peers() {
        assert_eq!(Limits::default(), Limits::untrusted());
    }

    #[test]
    fn nesting_has_a_ceiling() {
        assert_eq!(Limits::untrusted().with_nesting_max(256).nesting_max(), 256);
        assert_eq!(Limits::untrusted().with_nesting_max(257).nesting_max(), 256);
    }
}
