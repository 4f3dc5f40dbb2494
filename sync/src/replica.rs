//! The interface through which a session uses a document. The engine's `Document` implements it; a
//! test can use an in-memory replacement.

use exostate::{Conflict, Digest, ReplicaId, TypeMismatch, Version};
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Where an update was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a third origin would be a change of meaning")]
pub enum Origin {
    /// Committed on this replica.
    Local,
    /// Imported by [`Replica::import`].
    Remote,
}

/// The error of a replica that refused an update, or could not make one. Nothing was applied,
/// unless [it says so](Self::is_applied).
///
/// Two refusals are equal if they hold the same error object. An equal error is not enough.
#[derive(Clone, Debug)]
pub struct Refusal {
    cause: Arc<dyn Error + Send + Sync>,
    contradiction: bool,
    for_now: bool,
    applied: bool,
}

impl Refusal {
    /// Makes a refusal from the replica's own error.
    ///
    /// ```
    /// let refusal = exostate_sync::Refusal::new("bad length at byte 3");
    /// assert_eq!(refusal.to_string(), "the replica refused: bad length at byte 3");
    /// ```
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let cause = Arc::from(cause.into());
        Self { cause, contradiction: false, for_now: false, applied: false }
    }

    /// Makes a refusal for ops that contradict the ops of the replica: one id and number with two
    /// contents. Sessions can repair this.
    pub fn contradiction(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { contradiction: true, ..Self::new(cause) }
    }

    /// Makes a retryable refusal: the update may be accepted later, for example because too many
    /// updates are pending at this time, or the disk is full. The peer may connect again.
    pub fn for_now(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { for_now: true, ..Self::new(cause) }
    }

    /// Makes a refusal after the updates were applied: a listener or watcher of the replica
    /// panicked when it was called. The acknowledgement tells the peer of it, and
    /// [`Peer::flush`](crate::Peer::flush) fails at the peer.
    pub fn after_applying(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { applied: true, ..Self::new(cause) }
    }

    /// Whether all updates were applied, and only a listener or watcher failed.
    pub fn is_applied(&self) -> bool {
        self.applied
    }

    /// Whether the refusal is retryable: the same call may succeed later.
    pub fn is_for_now(&self) -> bool {
        self.for_now
    }

    /// Whether the ops contradict the ops of the replica.
    pub fn is_contradiction(&self) -> bool {
        self.contradiction
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the replica refused: {}", self.cause)
    }
}

impl Error for Refusal {
    // Written by hand, so that the source is the error itself, which callers can downcast, and not
    // the `Arc` that holds it.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.cause)
    }
}

impl PartialEq for Refusal {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.cause, &other.cause)
    }
}

impl Eq for Refusal {}

/// A function that is called with the bytes of an update and its origin.
pub type UpdateListener = Box<dyn Fn(&[u8], Origin) + Send + Sync>;

/// Ends the registration of a listener when it is dropped.
pub type UpdateSubscription = Box<dyn Send + Sync>;

/// The document of a peer, put together to replace the document of this replica: see
/// [`exostate::Document::repair`].
pub trait Repair: Send {
    /// Takes a piece of the peer's document, as [`Replica::updates_since`] gave it there. The bytes
    /// are untrusted.
    fn apply(&mut self, update: &[u8]) -> Result<(), Refusal>;

    /// Takes over the peer's document, puts back the content that only the replica's own document
    /// had, and returns the conflicts. Listeners get the content that was put back, as local
    /// updates.
    fn finish(self: Box<Self>) -> Result<Vec<Conflict>, Refusal>;
}

/// One replica of one document, as a session sees it.
///
/// Every method may be called from several threads at once. `version`, `updates_since` and `import`
/// may take milliseconds. So the peers call them outside the threads of the async runtime. They
/// call them on those threads only if the replica is not [busy](Self::is_busy) and such calls were
/// brief recently.
pub trait Replica: Send + Sync + 'static {
    /// The name of the CRDT backend (`"yrs"`, `"automerge"`). Only replicas with the same backend
    /// can synchronize.
    fn backend(&self) -> &'static str;

    /// The id of this replica, which no other replica has. It changes only when the document is
    /// replaced, by a [`Repair`] or by [`verify`](Self::verify).
    fn replica(&self) -> ReplicaId;

    /// The version: the operations that the replica has seen. Two replicas that hold the same
    /// operations **must** have equal versions, because sessions compare hashes of them. So a
    /// replica without operations must not return [`Version::empty`] if others return a version of
    /// their backend. Pending operations do not count. A document of another kind than the engine's
    /// can make versions with [`Version::from_state_vector`]: a count of operations for each replica.
    fn version(&self) -> Version;

    /// Updates to be applied in this order. They hold at least every operation that `version`
    /// lacks, and each one is small enough for [`Replica::import`] of a peer. `version` comes from
    /// the peer and is untrusted.
    ///
    /// The updates must hold everything that was committed when the call began, even if another
    /// thread commits during the call.
    fn updates_since(&self, version: &Version) -> Result<Vec<Vec<u8>>, Refusal>;

    /// Imports untrusted updates as if they were one: all of them, or none on an error. The method
    /// validates the updates, never panics, and is idempotent: an update that the replica already
    /// has, or that arrives twice, changes nothing.
    ///
    /// Returns whether any of these updates is pending, or may be. A pending update waits for a
    /// missing dependency. Another peer may have brought the same update before.
    ///
    /// If `part` is true, the updates are a part of something larger, and the other parts will
    /// follow. Then the replica may show them later: when the other parts have come, or when
    /// [`show_parts`](Self::show_parts) is called.
    fn import(&self, updates: &[&[u8]], part: bool) -> Result<bool, Refusal>;

    /// Whether the replica has everything that an update holds. Then applying the update would
    /// change nothing. A session asks this for a peer that may read and not write, because sending
    /// known operations is not a write. The default is false.
    fn contains(&self, update: &[u8]) -> Result<bool, Refusal> {
        let _ = update;
        Ok(false)
    }

    /// Whether the replica has everything that the replica with this version has. Before that, the
    /// two replicas may use one name for different ops, so acknowledgements of the peer are not
    /// counted. The default is true.
    fn has_seen(&self, version: &Version) -> bool {
        let _ = version;
        true
    }

    /// Cuts an update that is longer than [`import`](Self::import) takes into pieces that are short
    /// enough, to be applied in this order. Yjs clients send everything that they did offline as
    /// one update. By default the update is returned unchanged.
    fn cut(&self, update: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
        Ok(vec![update.to_vec()])
    }

    /// Shows the updates that were imported as parts. The other parts have come, or will not come.
    fn show_parts(&self) {}

    /// Begins to take over a peer's document. `None`, the default, means that this replica cannot
    /// do this, and that a divergence stays.
    fn repair(&self) -> Option<Box<dyn Repair>> {
        None
    }

    /// Makes sure that the operations of the document give the content that the document shows,
    /// before a peer takes the document over: see [`exostate::Document::verify`]. Returns the
    /// conflicts.
    fn verify(&self) -> Result<Vec<Conflict>, Refusal> {
        Ok(Vec::new())
    }

    /// The lineage, which tells which of several diverged documents this replica follows: see
    /// [`exostate::Document::lineage`].
    fn lineage(&self) -> u64 {
        0
    }

    /// Notes that the replica follows this lineage. A higher current lineage stays.
    fn follow(&self, lineage: u64) {
        let _ = lineage;
    }

    /// Forgets the pending operations that peers have sent. They are requested again together with
    /// the missing dependencies. The pending operations of the replica's own storage are kept.
    fn forget_pending(&self) {}

    /// Whether operations of the replica's own storage are pending.
    fn has_own_pending(&self) -> bool {
        false
    }

    /// Writes the pending operations of the replica's own storage again, because the missing
    /// dependency may have been given up: see [`exostate::Document::rewrite_pending`].
    fn rewrite_pending(&self) {}

    /// A hash of the canonical content, at constant cost.
    fn digest(&self) -> Digest;

    /// The type names that are written in the document, if they differ from the state type of the
    /// replica: see [`exostate::Store::type_mismatch`]. Returns at once.
    fn type_mismatch(&self) -> Option<TypeMismatch> {
        None
    }

    /// Calls `listener` with every update, local and imported, in commit order, **after** the
    /// update is visible to `version` and `updates_since`. The calls may come from any thread.
    /// They stop when the guard is dropped.
    ///
    /// The replica has two duties. They make an endless exchange between peers impossible and keep
    /// relays cheap:
    ///
    /// * An import that adds no operation must **not** call the listener.
    /// * An import should pass on the imported bytes unchanged. Then a session recognises them and
    ///   does not send them back to their sender. Re-encoded bytes are sent back once, without
    ///   effect.
    ///
    /// The listener returns at once and never calls the replica.
    fn on_update(&self, listener: UpdateListener) -> UpdateSubscription;

    /// The number of the newest record of what was written to the replica, if the replica has a
    /// storage: see [`exostate::Keeper::recorded`]. What a call of [`version`](Self::version) or
    /// [`import`](Self::import) has shown is in this record or an earlier one. Returns at once. The
    /// default is 0.
    fn recorded(&self) -> u64 {
        0
    }

    /// The number of the newest record that would survive a crash, and with it all records before:
    /// see [`exostate::Keeper::kept`]. A session acknowledges an update only once it is kept in this
    /// sense. Returns at once. The default is 0: without a storage all is acknowledged at once.
    fn kept(&self) -> u64 {
        0
    }

    /// Calls `f` each time that [`kept`](Self::kept) has grown, until `f` returns false. `f`
    /// returns at once. The default never calls it.
    fn on_kept(&self, f: Box<dyn Fn() -> bool + Send + Sync>) {
        drop(f);
    }

    /// Whether a call might have to wait at this time for another user of the replica. If true,
    /// which is the default, the peers make all calls outside the threads of the async runtime. If
    /// false, they make brief calls on these threads, including the calls of listeners and
    /// watchers.
    fn is_busy(&self) -> bool {
        true
    }

    /// Whether imported operations are pending. Pending operations of the replica's own storage do
    /// not count.
    fn has_pending(&self) -> bool;

    /// The participants at the document, if the peers and servers of this replica are to share
    /// them: see [`Room`](crate::Room).
    fn participants(&self) -> Option<Arc<crate::Participants>> {
        None
    }
}

/// A value that can be used as a replica. It is a reference to a store or a document, which the
/// caller keeps because it is a handle, or a shared [`Replica`].
pub trait IntoReplica {
    /// Converts the value into a replica.
    fn into_replica(self) -> Arc<dyn Replica>;
}

impl IntoReplica for Arc<dyn Replica> {
    fn into_replica(self) -> Arc<dyn Replica> {
        self
    }
}

impl<T: Replica> IntoReplica for Arc<T> {
    fn into_replica(self) -> Arc<dyn Replica> {
        self
    }
}
