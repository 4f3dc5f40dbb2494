//! The options of stores and documents.

use std::time::SystemTime;

use super::ReplicaId;
use super::limits::Limits;
use super::meta::Clock;

/// Options of a store or a document.
#[derive(Clone, Debug)]
pub struct Options {
    limits: Limits,
    trusted: Limits,
    replica: Option<ReplicaId>,
    earlier: Vec<ReplicaId>,
    clock: Clock,
    sequence_indexes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::untrusted(),
            trusted: Limits::trusted(),
            replica: None,
            earlier: Vec::new(),
            clock: Clock::default(),
            sequence_indexes: true,
        }
    }
}

impl Options {
    /// The default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The limits for updates from peers. Default: [`Limits::untrusted`].
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The limits for saved documents that are opened, and for trusted updates to them. Default:
    /// [`Limits::trusted`].
    #[must_use]
    pub fn with_trusted_limits(mut self, limits: Limits) -> Self {
        self.trusted = limits;
        self
    }

    /// A replica id to use instead of a random one, for simulations. The caller vouches that no
    /// replica ever had it: two replicas that share an id diverge for ever.
    #[must_use]
    pub fn with_replica(mut self, id: ReplicaId) -> Self {
        self.replica = Some(id);
        self
    }

    /// The ids under which the same owner wrote to this document before.
    #[must_use]
    pub fn with_earlier(mut self, ids: impl IntoIterator<Item = ReplicaId>) -> Self {
        self.earlier.extend(ids);
        self
    }

    /// The clock that gives the time of a change, for [`Meta`](crate::Meta) and for grouping
    /// changes into undo steps. Default: the clock of the system.
    ///
    /// The clock is called under the writer lock, so the times of changes have the same order as
    /// the changes, as long as the clock does not go back. The clock may read the store. It must
    /// not change the store, and must not wait for another thread that changes the store.
    #[must_use]
    pub fn with_clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Clock(std::sync::Arc::new(now));
        self
    }

    /// Whether texts and lists on yrs have an index of their ops. Default: `true`. Without it, each
    /// edit reads the sequence, and the results are the same. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_sequence_indexes(mut self, on: bool) -> Self {
        self.sequence_indexes = on;
        self
    }

    pub(crate) fn sequence_indexes(&self) -> bool {
        self.sequence_indexes
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn trusted_limits(&self) -> &Limits {
        &self.trusted
    }

    pub(crate) fn earlier(&self) -> &[ReplicaId] {
        &self.earlier
    }

    /// The options of a fork. The fork never gets the same id again.
    pub(crate) fn for_fork(mut self, parents: &[ReplicaId]) -> Self {
        self.replica = None;
        self.earlier.extend(parents);
        self
    }

    /// The replica id after `now`, for a store that has to take another id. It is random, except in
    /// simulations, where it is derived from the first id.
    pub(crate) fn next_replica(&self, now: ReplicaId) -> ReplicaId {
        let bits = match self.replica {
            // SplitMix64 (Steele, Lea, Flood, 2014): the derived ids do not collide with ids that a
            // simulation counts up.
            Some(_) => {
                let mixed = now.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
            }
            None => random_bits(),
        };
        ReplicaId::from_bits(bits)
    }

    /// The id from the options, or a random one.
    pub(crate) fn fresh_replica(&self) -> ReplicaId {
        self.replica.unwrap_or_else(|| ReplicaId::from_bits(random_bits()))
    }
}

/// 64 random bits from the system.
#[expect(
    clippy::disallowed_methods,
    reason = "where the caller gives no id, the store is its driver"
)]
pub(crate) fn random_bits() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        // The system has no source of randomness: the seed of a hasher and the time are the best
        // available values.
        use std::hash::{BuildHasher, Hasher};
        let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
        hasher.write_u128(
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |time| time.as_nanos()),
        );
        hasher.finish()
    })
}
