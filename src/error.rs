//! The error of the crate. Every other error converts into it.

use crate::document::backend::BackendError;
use crate::document::doc::EditError;
use crate::document::json::JsonError;
use crate::document::version::VersionError;
use crate::import::MappingError;
use crate::state::ChangeError;
use crate::state::schema::SchemaError;
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
    /// No document was read from JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A text is not a mapping for an import.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// An update was not applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A document was not opened, or an update was not made.
    #[error(transparent)]
    Document(#[from] BackendError),
    /// An operation of a history failed.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The bytes are not undo stacks.
    #[error(transparent)]
    Undo(#[from] UndoError),
    /// A schema was not read, or no state can have it.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The bytes are not a version.
    #[error(transparent)]
    Version(#[from] VersionError),
}
