//! The errors of a storage. Each names the document, and the place if there is one.

use exostate::{ApplyError, BackendError, HistoryError, UndoError};

use crate::adapter::AdapterError;

/// What is damaged in a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
#[non_exhaustive]
pub struct Damage {
    /// The place: the snapshot, or the number of a record.
    pub place: String,
    /// What is wrong there.
    pub reason: String,
}

impl Damage {
    pub(crate) fn new(place: impl Into<String>, reason: impl ToString) -> Self {
        Self { place: place.into(), reason: reason.to_string() }
    }
}

/// Why a document was not opened. Nothing was written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The adapter failed, or cannot keep a document of this name.
    #[error("{document}: {error}")]
    Adapter {
        /// The document.
        document: String,
        /// The error.
        error: AdapterError,
    },
    /// The document is damaged: see [`Storage::open_damaged`](crate::Storage::open_damaged) and
    /// [`Storage::repair`](crate::Storage::repair).
    #[error("{document}: damaged: {damage}")]
    Damaged {
        /// The document.
        document: String,
        /// What is damaged.
        damage: Damage,
    },
    /// The document is a damaged one that was set aside:
    /// [`Storage::open_damaged`](crate::Storage::open_damaged) shows what can be read of it.
    #[error("{document}: it was set aside, because {of} was damaged")]
    SetAside {
        /// The document.
        document: String,
        /// The name of the document that was damaged.
        of: String,
    },
    /// A newer version of exostate wrote the document.
    #[error("{document}: {reason}")]
    Newer {
        /// The document.
        document: String,
        /// What is not known.
        reason: String,
    },
    /// There is no such document.
    #[error("{document}: there is no such document")]
    NotFound {
        /// The document.
        document: String,
    },
    /// There is a document of this name already.
    #[error("{document}: there is a document of this name")]
    Exists {
        /// The document.
        document: String,
    },
    /// The document is kept on another backend.
    #[error("{document}: it is a document of {found}, not of {wanted}")]
    Backend {
        /// The document.
        document: String,
        /// The name of its backend.
        found: String,
        /// The name of the backend that was asked for.
        wanted: String,
    },
    /// The backend cannot open the bytes of the document, although their checksums are right.
    #[error("{document}: {error}")]
    Document {
        /// The document.
        document: String,
        /// The error.
        error: BackendError,
    },
    /// The document was closed a moment ago, and its last changes cannot be written.
    #[error("{document}: its last changes are not on disk yet: {error}")]
    Unwritten {
        /// The document.
        document: String,
        /// Why they cannot be written.
        error: AdapterError,
    },
    /// The document is open. Close it first: drop all handles of it.
    #[error("{document}: the document is open")]
    Open {
        /// The document.
        document: String,
    },
    /// This thread opens the document already.
    #[error("{document}: the document is opened within its own opening")]
    Within {
        /// The document.
        document: String,
    },
    /// The storage is closed.
    #[error("{document}: the storage is closed")]
    Closed {
        /// The document.
        document: String,
    },
}

impl OpenError {
    pub(crate) fn adapter(document: &str, error: AdapterError) -> Self {
        Self::Adapter { document: document.to_owned(), error }
    }
}

/// Why a flush did not succeed. What is not on disk stays queued, and is tried again.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// The last try to write failed.
    #[error("{document}: not on disk yet: {error}")]
    Failing {
        /// The document.
        document: String,
        /// Why it cannot be written.
        error: AdapterError,
    },
    /// The document is kept read-only, as it is damaged.
    #[error("{document}: not kept: {reason}")]
    ReadOnly {
        /// The document.
        document: String,
        /// Why it is read-only.
        reason: String,
    },
    /// Changes were made in memory only, as the queue was full. The whole document is written as
    /// soon as the disk works.
    #[error("{document}: some changes are in memory only")]
    InMemory {
        /// The document.
        document: String,
    },
    /// The storage is closed, and some changes are not on disk.
    #[error("{document}: the storage was closed before everything was on disk")]
    Closed {
        /// The document.
        document: String,
    },
    /// The store or document is not one of a storage.
    #[error("the document is not kept by a storage")]
    NotKept,
}

/// Why a change or an import was refused: the error within
/// [`ChangeError::NotKept`](exostate::ChangeError::NotKept) and its siblings.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedError {
    /// The queue is full. The change may be made again later.
    #[error("{document}: {records} records ({bytes} bytes) wait to be written{}", because(error))]
    Full {
        /// The document.
        document: String,
        /// The number of records in the queue, of all documents.
        records: usize,
        /// Their bytes.
        bytes: usize,
        /// Why they cannot be written, if the disk fails.
        error: Option<AdapterError>,
    },
    /// The document's fresh replica id is not on disk yet, as the disk fails. Nothing can be
    /// written under it before.
    #[error("{document}: the disk fails{}", because(error))]
    NotReady {
        /// The document.
        document: String,
        /// Why it cannot be written.
        error: Option<AdapterError>,
    },
    /// The document is read-only.
    #[error("{document}: read-only: {reason}")]
    ReadOnly {
        /// The document.
        document: String,
        /// Why.
        reason: String,
    },
    /// The storage is closed, or the document was deleted.
    #[error("{document}: the storage is closed")]
    Closed {
        /// The document.
        document: String,
    },
}

fn because(error: &Option<AdapterError>) -> String {
    error.as_ref().map_or_else(String::new, |error| format!(": {error}"))
}

/// Why undo stacks or a history were not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The store is not one of a storage.
    #[error("the document is not kept by a storage")]
    NotKept,
    /// The undo stacks or the history of this name are open already.
    #[error("{name}: it is open already")]
    InUse {
        /// The kind and the name.
        name: String,
    },
    /// The kept undo stacks cannot be read.
    #[error(transparent)]
    Undo(#[from] UndoError),
    /// The history cannot be made, or the kept history cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// Any error of a storage, for callers that do not tell them apart.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The adapter failed.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// A document was not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A flush failed.
    #[error(transparent)]
    Flush(#[from] FlushError),
    /// Undo stacks or a history were not opened.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// An update was not applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}
