//! The status of a document that is kept.

use std::sync::{Arc, Weak};

use crate::adapter::AdapterError;
use crate::document::KeptDocument;

/// How well a document is kept.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Status {
    /// Everything is on disk.
    #[default]
    Kept,
    /// Some records are not on disk yet.
    Behind {
        /// The number of records that are not on disk yet.
        behind: u64,
    },
    /// The last try to write failed. The records stay queued, and are tried again.
    Failing {
        /// The number of records that are not on disk yet.
        behind: u64,
        /// Why they cannot be written.
        error: AdapterError,
    },
    /// Changes are made in memory only, as the disk fails and the queue is full: see
    /// [`WhenFull::GoOn`](crate::WhenFull::GoOn).
    InMemory {
        /// Why they cannot be written.
        error: Option<AdapterError>,
    },
    /// The document takes no changes.
    ReadOnly {
        /// Why.
        reason: String,
    },
    /// The storage is closed. Further changes are refused.
    Closed {
        /// The number of records that are not on disk.
        behind: u64,
    },
}

impl Status {
    /// Whether everything is on disk.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Kept | Self::Closed { behind: 0 })
    }

    /// The status without its numbers: a change of these alone is not told.
    fn kind(&self) -> u8 {
        match self {
            Self::Kept => 0,
            Self::Behind { .. } => 1,
            Self::Failing { .. } => 2,
            Self::InMemory { .. } => 3,
            Self::ReadOnly { .. } => 4,
            Self::Closed { .. } => 5,
        }
    }
}

/// Two statuses are equal if they are of one kind.
impl PartialEq for Status {
    fn eq(&self, other: &Self) -> bool {
        self.kind() == other.kind()
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kept => f.write_str("everything is on disk"),
            Self::Behind { behind } => write!(f, "{behind} changes are not on disk yet"),
            Self::Failing { behind, error } => {
                write!(f, "{behind} changes are not on disk: {error}")
            }
            Self::InMemory { error: Some(error) } => write!(f, "in memory only: {error}"),
            Self::InMemory { error: None } => f.write_str("in memory only"),
            Self::ReadOnly { reason } => write!(f, "read-only: {reason}"),
            Self::Closed { behind: 0 } => f.write_str("closed, everything is on disk"),
            Self::Closed { behind } => write!(f, "closed, {behind} changes are not on disk"),
        }
    }
}

pub(crate) type StatusCallback = Arc<dyn Fn(&Status) + Send + Sync>;

/// Ends the calls of a status callback when it is dropped.
#[must_use = "the callback is called until this is dropped"]
#[derive(Debug)]
pub struct StatusWatch {
    document: Weak<KeptDocument>,
    number: u64,
}

impl StatusWatch {
    pub(crate) fn new(document: &Arc<KeptDocument>, call: StatusCallback) -> Self {
        Self { document: Arc::downgrade(document), number: document.on_status(call) }
    }
}

impl Drop for StatusWatch {
    fn drop(&mut self) {
        if let Some(document) = self.document.upgrade() {
            document.end_on_status(self.number);
        }
    }
}
