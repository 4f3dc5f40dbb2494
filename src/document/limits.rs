//! How much untrusted bytes may claim before a backend sees them.
//!
//! Every length, count and depth that the [`guard`](super::guard) checks has its number here, in
//! two sets: [`Limits::stranger`] for what arrives from others, [`Limits::trusted`] for one's own
//! saves. Neither is a promise about memory: an accepted update still costs what the backend makes
//! of it, which these numbers keep in proportion.

/// Bytes of one update from a stranger.
const STRANGER_BYTES_MAX: usize = 4 << 20;
/// Clients (replicas) named in one section of an update from a stranger. yrs keeps them in a table
/// whose hash is the id itself, so that chosen ids collide: the cost grows with the square of this
/// number.
const STRANGER_CLIENTS_MAX: usize = 8_192;
/// Blocks, and deleted ranges, in one update from a stranger; a block costs yrs about 200 bytes of
/// memory and 4 bytes of update.
const STRANGER_BLOCKS_MAX: usize = 300_000;
/// Values within the blocks of one update from a stranger; a nested empty map costs two bytes of
/// update and about 100 of memory.
const STRANGER_VALUES_MAX: usize = 400_000;
/// Shared types inside other shared types, in one update from a stranger. None: yrs deletes a nest
/// of types recursively, and many small updates can make one as deep as they like; the layout keeps
/// to root types.
const STRANGER_NESTED_TYPES_MAX: usize = 0;
/// Levels of arrays and maps within one value.
const STRANGER_NESTING_MAX: usize = 64;
/// Bytes of one name: a root, a key, an attribute, a message.
const STRANGER_NAME_BYTES_MAX: usize = 4 << 10;
/// Automerge operations in one update from a stranger; run-length coding claims them for nothing.
const STRANGER_OPS_MAX: u64 = 150_000;
/// Bytes that the deflated parts and repeated strings of one update from a stranger may grow to,
/// all together.
const STRANGER_INFLATED_BYTES_MAX: u64 = 16 << 20;
/// Updates that wait for a missing one.
const STRANGER_PENDING_UPDATES_MAX: usize = 1_024;
/// Bytes of updates that wait for a missing one.
const STRANGER_PENDING_BYTES_MAX: usize = 4 << 20;
/// Bytes that a document's version may take once a stranger's update is in it. It grows with every
/// replica that ever wrote, by 12 bytes on yrs and 18 on automerge, and replicas that meet send it
/// in one frame of at most 2 MiB.
const STRANGER_VERSION_BYTES_MAX: usize = 1_900_000;
/// Replicas of a document whose ids end in the same 16 bits, with those that a stranger's update
/// brings. Ids are random: of a hundred thousand it is a dozen. See [`STRANGER_CLIENTS_MAX`].
const STRANGER_ALIKE_IDS_MAX: usize = 64;
/// The same of a document of one's own, which has to open whatever strangers have brought into it.
const TRUSTED_ALIKE_IDS_MAX: usize = 1_024;

/// Bytes of one saved document.
const TRUSTED_BYTES_MAX: usize = 1 << 30;
/// Levels of arrays and maps within one value of a saved document.
const TRUSTED_NESTING_MAX: usize = 128;
/// Automerge operations in one saved document.
const TRUSTED_OPS_MAX: u64 = 100_000_000;
/// Bytes that the deflated parts and repeated strings of one saved document may grow to, all
/// together.
const TRUSTED_INFLATED_BYTES_MAX: u64 = 4 << 30;
/// Updates that wait for a missing one, when the sender is trusted.
const TRUSTED_PENDING_UPDATES_MAX: usize = 65_536;
/// Bytes of updates that wait for a missing one, when the sender is trusted.
const TRUSTED_PENDING_BYTES_MAX: usize = 256 << 20;

/// The deepest nesting that can be asked for: beyond it yrs's recursive decoder may overflow a
/// small thread's stack.
const NESTING_CEILING: usize = 256;

/// What untrusted bytes may claim. The default is [`Limits::stranger`].
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
        Self::stranger()
    }
}

impl Limits {
    /// Tight limits, for updates from others.
    pub fn stranger() -> Self {
        Self {
            bytes_max: STRANGER_BYTES_MAX,
            clients_max: STRANGER_CLIENTS_MAX,
            blocks_max: STRANGER_BLOCKS_MAX,
            values_max: STRANGER_VALUES_MAX,
            nested_types_max: STRANGER_NESTED_TYPES_MAX,
            nesting_max: STRANGER_NESTING_MAX,
            name_bytes_max: STRANGER_NAME_BYTES_MAX,
            ops_max: STRANGER_OPS_MAX,
            inflated_bytes_max: STRANGER_INFLATED_BYTES_MAX,
            pending_updates_max: STRANGER_PENDING_UPDATES_MAX,
            pending_bytes_max: STRANGER_PENDING_BYTES_MAX,
            version_bytes_max: STRANGER_VERSION_BYTES_MAX,
            alike_ids_max: STRANGER_ALIKE_IDS_MAX,
        }
    }

    /// Wide limits, for one's own saves: counts and names are bounded by the bytes alone.
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

    /// For so many updates in one: what they hold may be so many times as much, what their parts
    /// are like may not.
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

    /// Sets the shared types inside other shared types, in one update. Above zero, a stranger's
    /// updates together can build a nest so deep that deleting it overflows the stack.
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

    /// Automerge operations in one update or saved document.
    #[must_use]
    pub fn ops_max(&self) -> u64 {
        self.ops_max
    }

    /// Sets the automerge operations in one update or saved document.
    pub fn with_ops_max(self, ops_max: u64) -> Self {
        Self { ops_max, ..self }
    }

    /// Bytes that deflated parts and repeated strings may grow to, all together.
    #[must_use]
    pub fn inflated_bytes_max(&self) -> u64 {
        self.inflated_bytes_max
    }

    /// Sets the bytes that deflated parts and repeated strings may grow to, all together.
    pub fn with_inflated_bytes_max(self, inflated_bytes_max: u64) -> Self {
        Self { inflated_bytes_max, ..self }
    }

    /// Updates that wait for a missing one.
    #[must_use]
    pub fn pending_updates_max(&self) -> usize {
        self.pending_updates_max
    }

    /// Sets the updates that wait for a missing one.
    pub fn with_pending_updates_max(self, pending_updates_max: usize) -> Self {
        Self { pending_updates_max, ..self }
    }

    /// Bytes of updates that wait for a missing one.
    #[must_use]
    pub fn pending_bytes_max(&self) -> usize {
        self.pending_bytes_max
    }

    /// Sets the bytes of updates that wait for a missing one.
    pub fn with_pending_bytes_max(self, pending_bytes_max: usize) -> Self {
        Self { pending_bytes_max, ..self }
    }

    /// Bytes that the document's version may take with what an update brings. What was opened or
    /// merged as one's own counts, but is not refused.
    #[must_use]
    pub fn version_bytes_max(&self) -> usize {
        self.version_bytes_max
    }

    /// Sets the bytes that the document's version may take with what an update brings.
    pub fn with_version_bytes_max(self, version_bytes_max: usize) -> Self {
        Self { version_bytes_max, ..self }
    }

    /// Replicas of a document on yrs whose ids end in the same 16 bits. More of them are no chance,
    /// and make each access go through all.
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
    fn the_default_is_for_strangers() {
        assert_eq!(Limits::default(), Limits::stranger());
    }

    #[test]
    fn nesting_has_a_ceiling() {
        assert_eq!(Limits::stranger().with_nesting_max(256).nesting_max(), 256);
        assert_eq!(Limits::stranger().with_nesting_max(257).nesting_max(), 256);
    }
}
