//! What a session needs of a document. The engine's `Store` implements it; so does any in-memory
//! stand-in.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Where an update came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a third origin would be a change of meaning")]
pub enum Origin {
    /// Committed on this replica.
    Local,
    /// Imported by [`Replica::import`].
    Remote,
}

/// A replica would not take an update, or could not make one. Nothing was applied, unless [it says
/// so](Self::is_applied).
///
/// Two refusals are equal if they have the same cause, and not only an equal one.
#[derive(Clone, Debug)]
pub struct Refusal {
    cause: Arc<dyn Error + Send + Sync>,
    contradiction: bool,
    for_now: bool,
    applied: bool,
}

impl Refusal {
    /// Takes over what the replica's own error says.
    ///
    /// ```
    /// let refusal = exostate_sync::Refusal::new("bad length at byte 3");
    /// assert_eq!(refusal.to_string(), "the replica refused: bad length at byte 3");
    /// ```
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let cause = Arc::from(cause.into());
        Self { cause, contradiction: false, for_now: false, applied: false }
    }

    /// The same, where the ops contradict those that the replica has: an id and a number with two
    /// contents. Sessions can mend that.
    pub fn contradiction(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { contradiction: true, ..Self::new(cause) }
    }

    /// The same, where the update may be taken another time: too much of others waits now. The peer
    /// may come again.
    pub fn for_now(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { for_now: true, ..Self::new(cause) }
    }

    /// What was applied all the same: a listener or watcher of the replica panicked when it was
    /// told. The peer learns of that with the acknowledgement, and
    /// [`Peer::flush`](crate::Peer::flush) fails there.
    pub fn after_applying(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { applied: true, ..Self::new(cause) }
    }

    /// Whether everything was applied, and only whoever listens failed.
    pub fn is_applied(&self) -> bool {
        self.applied
    }

    /// Whether it may be otherwise another time.
    pub fn is_for_now(&self) -> bool {
        self.for_now
    }

    /// Whether it is a contradiction.
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
    // By hand: the cause itself, which callers can downcast, and not the `Arc` that holds it.
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

/// Called with the bytes of an update and where it came from.
pub type UpdateListener = Box<dyn Fn(&[u8], Origin) + Send + Sync>;

/// Ends a listener's registration when it is dropped.
pub type UpdateSubscription = Box<dyn Send + Sync>;

/// A peer's document, being put together to take the place of the replica's own: see
/// [`exostate::Document::repair`].
pub trait Repair: Send {
    /// Takes a piece of it, as [`Replica::updates_since`] gave them there. The bytes are untrusted.
    fn apply(&mut self, update: &[u8]) -> Result<(), Refusal>;

    /// Takes it over, puts back what only the replica's own had, and returns the conflicts. Listeners
    /// get what was put back, as local updates.
    fn finish(self: Box<Self>) -> Result<Vec<exostate::Conflict>, Refusal>;
}

/// One replica of one document, as a session sees it.
///
/// Every method may be called from several threads at once. `version`, `updates_since` and `import`
/// may take milliseconds: the peers call them away from the async runtime, unless the replica is
/// not [busy](Self::is_busy) and such calls were brief of late.
pub trait Replica: Send + Sync + 'static {
    /// The name of the CRDT behind it (`"yrs"`, `"automerge"`). Only equal ones can talk to each
    /// other.
    fn backend(&self) -> &'static str;

    /// The replica's id, which no other has. It may change once, when a [`Repair`] is finished. One
    /// of more than 53 bits, which no store has, is shown to nobody as a participant.
    fn replica(&self) -> u64;

    /// What the replica has seen, encoded. Two replicas that hold the same operations **must**
    /// return the same bytes, as sessions compare hashes of them; for yrs this is the state
    /// vector (sorted) and a hash of the delete set, for automerge the sorted heads. Operations
    /// that only wait behind a missing one do not count.
    fn version(&self) -> Vec<u8>;

    /// Updates, to be applied in this order, with at least every operation that `version` lacks,
    /// each small enough for [`Replica::import`] of a peer. `version` comes from the peer and is
    /// untrusted; an empty one is that of a replica without any.
    ///
    /// They must not include less because another thread commits meanwhile: whatever was committed
    /// when the call began is in them.
    fn updates_since(&self, version: &[u8]) -> Result<Vec<Vec<u8>>, Refusal>;

    /// Imports untrusted updates as if they were one: all, or on an error none. It validates them
    /// itself, never panics, and is idempotent: an update that is already there, or arrives twice,
    /// changes nothing.
    ///
    /// Returns whether any of these updates is pending, or may be: it waits for a missing
    /// dependency. Another peer may have brought it before. If the updates are only a `part` of
    /// something larger, the rest of which is to follow, they need not be shown before that, or
    /// before [`show_parts`](Self::show_parts).
    fn import(&self, updates: &[&[u8]], part: bool) -> Result<bool, Refusal>;

    /// Whether the replica has everything that an update holds, so that applying it would change
    /// nothing. Asked where a peer may read and not write: to send what is known already is no
    /// write. Left out: never.
    fn contains(&self, update: &[u8]) -> Result<bool, Refusal> {
        let _ = update;
        Ok(false)
    }

    /// Whether the replica has all that the replica has whose version this is. Until then it is not
    /// certain that the two mean the same ops by one name, and what the peer acknowledges is
    /// not counted. Left out: always.
    fn has_seen(&self, version: &[u8]) -> bool {
        let _ = version;
        true
    }

    /// Cuts an update that is longer than [`import`](Self::import) takes into pieces that are not, to
    /// be applied in this order: Yjs clients send in one what they did offline. Left out, an
    /// update stays as it is.
    fn cut(&self, update: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
        Ok(vec![update.to_vec()])
    }

    /// Shows what was imported as a part: the rest has come, or does not come.
    fn show_parts(&self) {}

    /// Begins to take over a peer's document. `None`, as where it is left out: this replica cannot,
    /// and a divergence stays.
    fn repair(&self) -> Option<Box<dyn Repair>> {
        None
    }

    /// Makes sure that the document's own operations give what it shows, before a peer takes them
    /// over: see [`exostate::Document::verify`]. The conflicts come back.
    fn verify(&self) -> Result<Vec<exostate::Conflict>, Refusal> {
        Ok(Vec::new())
    }

    /// Which of several diverged documents this replica follows; see [`exostate::Document::lineage`].
    fn lineage(&self) -> u64 {
        0
    }

    /// Notes that it follows this one from now on, or a higher one.
    fn follow(&self, lineage: u64) {
        let _ = lineage;
    }

    /// Forgets imported operations that wait behind a missing one. They are asked for again
    /// together with what is missing. Those that the replica's own storage has are not
    /// forgotten.
    fn forget_pending(&self) {}

    /// Whether operations that the replica's own storage has wait behind a missing one.
    fn has_own_pending(&self) -> bool {
        false
    }

    /// Writes those again, as the missing one may have been given up: see
    /// [`exostate::Document::put_back_pending`].
    fn put_back_pending(&self) {}

    /// A hash of the canonical content, at constant cost.
    fn digest(&self) -> [u8; 16];

    /// What the document says that it holds, where that is another state type than the replica's:
    /// see [`exostate::Store::type_mismatch`]. Returns at once.
    fn type_mismatch(&self) -> Option<exostate::TypeMismatch> {
        None
    }

    /// Calls `listener` with every update, local and imported, in commit order, **after** it is
    /// visible to `version` and `updates_since`, from any thread, until the guard is dropped.
    ///
    /// Two duties make an endless exchange between peers impossible and keep relays cheap:
    ///
    /// * an import that adds no operation must **not** call the listener;
    /// * an import should pass on the bytes it was given, unchanged: a session recognises them and
    ///   does not send them back where they came from. Re-encoded bytes are sent back once, to no
    ///   effect.
    ///
    /// The listener returns at once and never calls the replica.
    fn on_update(&self, listener: UpdateListener) -> UpdateSubscription;

    /// Whether a call might have to wait now until somebody else is done with the replica. As long
    /// as it does, and where this is left out, the peers make all their calls away from the
    /// async runtime; else brief ones on its threads, listeners and watchers included.
    fn is_busy(&self) -> bool {
        true
    }

    /// Whether imported operations wait behind one that is missing. Those that the replica's own
    /// storage has do not count.
    fn has_pending(&self) -> bool;

    /// Who is present at the document, where peers and servers of this replica are to share that:
    /// see [`Room`](crate::Room).
    fn participants(&self) -> Option<Arc<crate::Participants>> {
        None
    }
}

/// What can be taken as a replica: a reference to a store (which stays yours; it is a handle), or
/// anything shared that is a [`Replica`].
pub trait IntoReplica {
    /// The replica.
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
