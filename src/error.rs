//! The one error that all others turn into.

use crate::document::backend::BackendError;
use crate::document::doc::EditError;
use crate::document::version::VersionError;
use crate::state::ChangeError;
use crate::store::{ApplyError, HistoryError, UndoError};

/// Any error of this crate, for callers that do not tell them apart.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A change was not made.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A document was not edited.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// An update was not applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A document was not opened, or an update not made.
    #[error(transparent)]
    Document(#[from] BackendError),
    /// A history could not do what was asked.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Bytes are no undo stacks.
    #[error(transparent)]
    Undo(#[from] UndoError),
    /// Bytes are not a version.
    #[error(transparent)]
    Version(#[from] VersionError),
}
