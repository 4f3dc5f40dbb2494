//! Keepers: what keeps the commits of a document, for example on a disk.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, OnceLock};

use super::ReplicaId;

/// Keeps a document: it gets everything that a later run of the program needs to make the document
/// again. `exostate-storage` implements it; an application that keeps its documents elsewhere can
/// implement it too, and attach it with [`Document::keep_with`](crate::Document::keep_with).
///
/// A change or an import calls the keeper in this order:
///
/// 1. [`reserve`](Keeper::reserve), before anything is written. An error refuses the change.
/// 2. [`record`](Keeper::record), with what was written, before any view, listener or watcher is
///    told of it.
/// 3. [`release`](Keeper::release), at the end, also if nothing was written.
///
/// These methods are called under the writer lock, in the order of the commits. They must return at
/// once: a keeper queues the record, and another thread writes it. They must not call the document.
///
/// Records have ascending numbers. A record is **kept** once it would survive a crash. Records
/// become kept in their order.
pub trait Keeper: Any + Send + Sync {
    /// Reserves room for what is about to be written.
    ///
    /// # Errors
    /// There is no room, or the document may not be changed. The change or import is then refused,
    /// and the document stays as it was.
    fn reserve(&self) -> Result<(), KeepError>;

    /// Gives the reserved room back. What was written in the meantime is recorded already.
    fn release(&self);

    /// Takes a record and returns its number. A record is not always preceded by a reservation: a
    /// keeper takes it in any case.
    fn record(&self, record: Record<'_>) -> u64;

    /// The number of the newest record. 0 if there was none.
    fn recorded(&self) -> u64;

    /// The number of the newest record that is kept, and with it all records before. 0 if there is
    /// none.
    fn kept(&self) -> u64;

    /// Whether a change is announced only after it is kept: see [`Keeper::wait`].
    fn announces_kept(&self) -> bool;

    /// Whether the change with this record may be announced. By default it may once it is kept. A
    /// keeper that goes on although it cannot keep the record returns true.
    fn may_announce(&self, number: u64) -> bool {
        self.kept() >= number
    }

    /// Blocks until the record with this number is kept, or until the keeper gives up waiting. It
    /// is called outside every lock, if [`Keeper::announces_kept`], before listeners and watchers
    /// are told. The conversation with a peer stands still meanwhile, so a keeper should give up
    /// well before the peers' idle time-out (30 s).
    fn wait(&self, number: u64);

    /// Calls `f` each time that [`Keeper::kept`] has grown, or that no further record can be
    /// kept. `f` returns at once. It is called until it returns false.
    fn on_kept(&self, f: Box<dyn Fn() -> bool + Send + Sync>);
}

/// What a keeper is to keep. The records in their order make the document again.
#[derive(Debug)]
#[non_exhaustive]
pub enum Record<'a> {
    /// Updates that were made here or imported, for
    /// [`Document::apply_trusted`](crate::Document::apply_trusted).
    Updates(&'a [Arc<[u8]>]),
    /// Trusted updates that came and are pending, because a dependency is missing. They are to be
    /// applied in the same way.
    Pending(&'a [&'a [u8]]),
    /// The document was replaced or rebuilt: the records before do not lead to its content. These
    /// are the bytes of the whole document, for [`Document::open`](crate::Document::open), and the
    /// updates that are pending in it.
    Whole {
        /// The whole document.
        document: Vec<u8>,
        /// The trusted pending updates, for
        /// [`Document::apply_trusted`](crate::Document::apply_trusted).
        pending: Vec<Vec<u8>>,
    },
    /// The document writes under this replica id from now on.
    Replica(ReplicaId),
    /// The [lineage](crate::Document::lineage) has risen to this number.
    Lineage(u64),
}

/// The error with which a keeper refuses a change or an import: its queue is full, or the document
/// may not be changed. The change may be made again later.
///
/// Two values are equal if they hold the same error object.
#[derive(Clone, Debug)]
pub struct KeepError(Arc<dyn Error + Send + Sync>);

impl KeepError {
    /// Makes the error from the keeper's own error, which should name the document.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(error.into()))
    }

    /// The keeper's own error, if it is of this type.
    #[must_use]
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

impl PartialEq for KeepError {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for KeepError {}

impl fmt::Display for KeepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for KeepError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// A document already has a keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the document has a keeper already")]
pub struct AlreadyKept;

/// The keeper of a document, if it has one.
#[derive(Default)]
pub(crate) struct Keeping(OnceLock<Arc<dyn Keeper>>);

impl Keeping {
    pub(crate) fn get(&self) -> Option<&Arc<dyn Keeper>> {
        self.0.get()
    }

    pub(crate) fn set(&self, keeper: Arc<dyn Keeper>) -> Result<(), AlreadyKept> {
        self.0.set(keeper).map_err(|_| AlreadyKept)
    }

    /// Gives a record to the keeper.
    pub(crate) fn record(&self, record: Record<'_>) {
        if let Some(keeper) = self.get() {
            keeper.record(record);
        }
    }
}

/// Reserved room, which is given back when this is dropped.
pub(crate) struct Reserved<'a>(&'a Arc<dyn Keeper>);

impl<'a> Reserved<'a> {
    pub(crate) fn of(keeper: &'a Arc<dyn Keeper>) -> Result<Self, KeepError> {
        keeper.reserve()?;
        Ok(Self(keeper))
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// The record of a commit that is announced only after the record is kept.
#[derive(Clone)]
pub(crate) struct Awaited {
    pub(crate) keeper: Arc<dyn Keeper>,
    pub(crate) number: u64,
}

impl Awaited {
    pub(crate) fn may_announce(&self) -> bool {
        self.keeper.may_announce(self.number)
    }

    pub(crate) fn wait(&self) {
        self.keeper.wait(self.number);
    }
}
