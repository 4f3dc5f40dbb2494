//! History: the earlier states of a document, who changed what and when, and the way back to a
//! state.
//!
//! A history is kept beside the document, as updates and checkpoints, so that the document itself
//! can forget deleted content. It records every commit under the writer lock. Older revisions are
//! read without that lock.

mod blame;
mod diff;
mod recall;
mod records;
mod saved;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::{Meta, Origin, Store};
use crate::document::backend::{Backend, BackendError};
use crate::document::commit::Recorder;
use crate::document::doc::Turn;
use crate::document::replica::{ImportError, Replica};
use crate::state::State;
pub use blame::Blame;
pub use diff::{Diff, Differing};
use records::Record;
use records::Records;

/// The options of a [`History`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryOptions {
    bytes_max: usize,
    checkpoint_every: Duration,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self { bytes_max: 64 * 1024 * 1024, checkpoint_every: Duration::from_secs(600) }
    }
}

impl HistoryOptions {
    /// The default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// About how many bytes of memory the updates and the automatic checkpoints may take. Default:
    /// 64 MiB. Checkpoints of named revisions are not counted and never forgotten. The newest
    /// checkpoint and the updates since are kept even if the document itself is larger than the
    /// bound.
    #[must_use]
    pub fn with_bytes_max(self, bytes_max: usize) -> Self {
        Self { bytes_max, ..self }
    }

    /// A change that comes this long after the newest checkpoint makes another checkpoint, which
    /// costs O(document). Default: 10 minutes. A checkpoint is also made when the updates since the
    /// newest one have become longer than that checkpoint (and longer than 64 KiB).
    #[must_use]
    pub fn with_checkpoint_every(self, checkpoint_every: Duration) -> Self {
        Self { checkpoint_every, ..self }
    }
}

/// Identifies a revision within one history, also after a restart. A later revision has a greater
/// id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevisionId(NonZeroU64);

impl RevisionId {
    /// The id as a number, which the application can store.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The id with this number; `None` for 0.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// Revisions are counted from 1.
    fn of(number: u64) -> Self {
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }
}

impl std::fmt::Display for RevisionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A state of the document: after a change or an import, or where a history began.
#[derive(Clone, PartialEq)]
pub struct Revision {
    stamp: Arc<records::Stamp>,
    touched: Arc<[Arc<str>]>,
    name: Option<Arc<str>>,
    is_checkpoint: bool,
}

impl Revision {
    /// The id of the revision.
    #[must_use]
    pub fn id(&self) -> RevisionId {
        RevisionId::of(self.stamp.id)
    }

    /// Where the change came from. `None` if the document was found in this state, when the history
    /// began or was loaded.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        self.stamp.origin
    }

    /// When the revision was made in this store, by the store's clock.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        self.stamp.time
    }

    /// Author, label and more of the change. `None` if the change has no meta. Meta does not
    /// travel, so changes of other replicas have none.
    #[must_use]
    pub fn meta(&self) -> Option<&Meta> {
        self.stamp.meta.as_deref()
    }

    /// The name of the revision, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether the history keeps the whole document at this revision. To show such a revision costs
    /// no more than to open the document.
    #[must_use]
    pub fn is_checkpoint(&self) -> bool {
        self.is_checkpoint
    }

    /// The paths that the change touched. The empty path is the state as a whole.
    pub fn touched(&self) -> impl Iterator<Item = &str> {
        self.touched.iter().map(|path| &**path)
    }
}

impl std::fmt::Debug for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Revision");
        debug
            .field("id", &self.id())
            .field("name", &self.name)
            .field("origin", &self.origin())
            .field("meta", &self.meta());
        debug.finish_non_exhaustive()
    }
}

/// Why a call of a history failed. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The history has no such revision. It never had one, or it has forgotten the revision to keep
    /// within its bound.
    #[error("the history has no revision {revision}")]
    Unknown {
        /// The revision.
        revision: RevisionId,
    },
    /// The document at this revision cannot be rebuilt. It was replaced there and could not be
    /// saved, or an update that leads to it waits for a missing dependency.
    #[error("nothing leads to revision {revision}")]
    Unreachable {
        /// The revision.
        revision: RevisionId,
    },
    /// The backend could not save or open the document.
    #[error(transparent)]
    Document(#[from] BackendError),
    /// The document refused the updates that lead to the revision: the bytes of the history are
    /// damaged or belong to another document.
    #[error("revision {revision}: {error}")]
    Update {
        /// The revision.
        revision: RevisionId,
        /// Why the updates were refused.
        #[source]
        error: ImportError,
    },
    /// The bytes are not a history that [`History::save`] wrote.
    #[error("this is no history: {reason}")]
    Damaged {
        /// What is wrong with the bytes.
        reason: String,
    },
    /// The call came inside a change of the same store.
    #[error("a history cannot do this inside a change of its store")]
    Nested,
}

/// The earlier states of a document, as revisions. A history can list, name, show, compare and
/// restore revisions, and say who wrote what.
///
/// Every change and every import while a history is held makes a [`Revision`]. The history keeps
/// the updates, and a checkpoint from time to time, beside the document, within a
/// [bound](HistoryOptions::with_bytes_max). Beyond the bound it forgets the oldest updates and
/// thins out the automatic checkpoints. A named revision stays until its name is removed.
///
/// A history is a handle: its clones share it, and it ends with the last clone. It belongs to one
/// replica and is not sent to peers.
///
/// ```
/// use exostate::{HistoryOptions, State, Store, Text};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Page { title: String, body: Text }
///
/// let store = Store::<Page>::new();
/// let history = store.history(HistoryOptions::default())?;
/// store
///     .transaction()
///     .author("Ada")
///     .label("Draft")
///     .run(|page| page.body().push_str("All of it."))?;
/// let draft = history.name("draft")?;
/// store
///     .transaction()
///     .author("Eve")
///     .label("Shorten")
///     .run(|page| page.body().splice(0..10, "No."))?;
///
/// assert_eq!(history.view_at(draft)?.body, "All of it.");
/// assert_eq!(history.diff(draft, history.latest())?.paths().collect::<Vec<_>>(), ["body"]);
/// let blame = history.blame(Page::path().body());
/// let author = blame.and_then(|blame| blame.revision?.meta()?.author().map(str::to_owned));
/// assert_eq!(author.as_deref(), Some("Eve"));
/// history.restore(draft)?;
/// assert_eq!(store.view().body, "All of it.");
/// # Ok::<(), exostate::Error>(())
/// ```
pub struct History<S: State, B: Backend = crate::Yrs> {
    store: Store<S, B>,
    records: Arc<Mutex<Records>>,
}

impl<S: State, B: Backend> Clone for History<S, B> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), records: Arc::clone(&self.records) }
    }
}

impl<S: State, B: Backend> std::fmt::Debug for History<S, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let records = self.records.lock();
        let revisions = records.list.len();
        let bytes = records.bytes();
        drop(records);
        f.debug_struct("History")
            .field("revisions", &revisions)
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

impl<S: State, B: Backend> Store<S, B> {
    /// Begins a history with the present state. O(document).
    ///
    /// # Errors
    /// [`HistoryError::Nested`] inside a change; an error if the backend cannot save the document.
    pub fn history(&self, options: HistoryOptions) -> Result<History<S, B>, HistoryError> {
        self.keep_history(|replica, now| Ok(Records::new(options, now, replica.checkpoint()?)))
    }

    /// Makes a history under the writer lock. It records all later commits.
    fn keep_history(
        &self,
        make: impl FnOnce(&mut Replica<B>, SystemTime) -> Result<Records, HistoryError>,
    ) -> Result<History<S, B>, HistoryError> {
        self.write_history(|replica, now| {
            let records = Arc::new(Mutex::new(make(replica, now)?));
            let recorder: Arc<Mutex<dyn Recorder>> = Arc::clone(&records) as _;
            self.shared.document.inner().recorders.add(Arc::downgrade(&recorder));
            Ok(History { store: self.clone(), records })
        })
    }

    /// Runs `work` under the writer lock, after all imported updates are shown.
    fn write_history<R>(
        &self,
        work: impl FnOnce(&mut Replica<B>, SystemTime) -> Result<R, HistoryError>,
    ) -> Result<R, HistoryError> {
        let document = self.shared.document.inner();
        let turn = Turn::begin(document).ok_or(HistoryError::Nested)?;
        let time = turn.time.unwrap_or_else(|| document.now());
        let (shown, result) = {
            let mut replica = turn.replica_mut().ok_or(HistoryError::Nested)?;
            (turn.show_parts(&mut replica), work(&mut replica, time))
        };
        drop(turn);
        if shown {
            document.delivery.deliver_in_turn();
        }
        result
    }
}

impl<S: State, B: Backend> History<S, B> {
    /// All revisions that the history has, the oldest first. O(revisions).
    #[must_use]
    pub fn revisions(&self) -> Vec<Revision> {
        self.records.lock().list.iter().map(Record::revision).collect()
    }

    /// One revision, if the history has it.
    #[must_use]
    pub fn revision(&self, id: RevisionId) -> Option<Revision> {
        let records = self.records.lock();
        records.list.get(records.position(id)?).map(Record::revision)
    }

    /// The newest revision: the present state.
    #[must_use]
    pub fn latest(&self) -> RevisionId {
        RevisionId::of(self.records.lock().last().map_or(1, |last| last.stamp.id))
    }

    /// The newest revision with a name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<RevisionId> {
        let records = self.records.lock();
        let found =
            records.list.iter().rev().find(|record| record.name.as_deref() == Some(name))?;
        Some(RevisionId::of(found.stamp.id))
    }

    /// Gives the present state a name. A named revision is never forgotten. If the newest revision
    /// has a name already, another revision of the same state is made. O(document).
    ///
    /// # Errors
    /// [`HistoryError::Nested`] inside a change; an error if the backend cannot save the document.
    pub fn name(&self, name: impl Into<Arc<str>>) -> Result<RevisionId, HistoryError> {
        let name = name.into();
        self.store.write_history(|replica, time| {
            let mut records = self.records.lock();
            let known = records.last().and_then(|last| last.checkpoint.clone());
            let bytes = known.map_or_else(|| replica.checkpoint(), Ok)?;
            records.name(name, bytes, time);
            Ok(RevisionId::of(records.last_id()))
        })
    }

    /// Gives a revision a name, or another name. A named revision is never forgotten. O(document).
    ///
    /// # Errors
    /// As [`History::view_at`].
    pub fn name_revision(
        &self,
        id: RevisionId,
        name: impl Into<Arc<str>>,
    ) -> Result<(), HistoryError> {
        let bytes = self.document_at(id)?;
        let mut records = self.records.lock();
        let at = records.position(id).ok_or(HistoryError::Unknown { revision: id })?;
        records.keep(at, bytes, Some(name.into()));
        records.trim();
        Ok(())
    }

    /// Removes the name of a revision, which may then be forgotten. Returns whether it had a name.
    pub fn unname(&self, id: RevisionId) -> bool {
        let mut records = self.records.lock();
        records.position(id).is_some_and(|at| records.unname(at))
    }

    /// Forgets all revisions but the named ones and the newest one. The history still knows who
    /// wrote each place last. O(document).
    ///
    /// # Errors
    /// [`HistoryError::Nested`] inside a change; an error if the backend cannot save the document.
    pub fn compact(&self) -> Result<(), HistoryError> {
        self.store.write_history(|replica, _| {
            let present = replica.checkpoint()?;
            self.records.lock().compact(present);
            Ok(())
        })
    }

    /// About how many bytes of memory the history takes, including the named revisions.
    /// O(revisions).
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.records.lock().bytes()
    }
}
