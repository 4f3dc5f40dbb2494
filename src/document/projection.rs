//! Projections: the typed views of stores, which follow a document.

use std::any::Any;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use super::backend::Backend;
use super::commit::{Commit, Origin, Touch};
use super::doc::ApplyError;
use super::key::Key;
use super::meta::Meta;
use super::named::TypeMismatch;
use super::ops::Touched;
use super::replica::{Replica, Trust};
use super::value::Value;

/// How a document got its new content.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    /// Other replicas wrote these registers and sequences.
    Touched(&'a Touched),
    /// The document came in parts. These are all registers, in order.
    Registers(&'a [(Key, Value)]),
    /// Another document took the place of this one. The differences count as the work of other
    /// replicas.
    Replaced(&'a Touched),
    /// The document was rebuilt after a failure, and the differences are not known.
    Unknown,
}

/// What middleware is told of a finished or failed change or import.
pub(crate) struct Outcome<'a> {
    pub(crate) origin: Origin,
    pub(crate) meta: Option<&'a Meta>,
    /// The number of ops of a change, or of updates of an import.
    pub(crate) size: usize,
    pub(crate) touched: &'a [Arc<str>],
    pub(crate) error: Option<&'a (dyn Error + 'static)>,
}

/// A projection follows a document, commit by commit. The document calls it under the writer lock,
/// unless the doc of a method says otherwise.
pub(crate) trait Projection<B: Backend>: Send + Sync {
    /// The start time of a change or import, if middleware measures how long it takes.
    fn timer(&self) -> Option<Instant>;
    /// Asks the middleware whether updates may be imported.
    fn allow(&self, updates: usize, bytes: usize, trust: Trust) -> Result<(), ApplyError>;
    /// Tells the middleware the outcome. Is called outside every lock.
    fn done(&self, begun: Option<Instant>, outcome: &Outcome<'_>);
    /// Whether any watcher watches a place or a selector.
    fn is_watched(&self) -> bool;
    /// Whether an undo manager is attached.
    fn undoes(&self) -> bool;
    /// Compares the state type with the type names that are written in the document.
    fn note_type(&self, replica: &Replica<B>);
    /// The type names that are written in the document, if they differ from the state type.
    fn type_mismatch(&self) -> Option<TypeMismatch>;
    /// Makes the new view for a commit that was not staged in this projection, without showing it.
    fn prepare(&self, replica: &Replica<B>, content: Content<'_>, touch: &Touch);
    /// Shows the view that was prepared or staged. Shows the old view again if there is none.
    fn show(&self, commit: &Arc<Commit>) -> Shown;
}

/// The work that remains after a view is shown.
pub(crate) struct Shown {
    /// The watchers to call, outside every lock.
    pub(crate) told: Option<Box<dyn WatcherCalls>>,
    /// Data that the view does not need any more. It is dropped outside the locks, because its drop
    /// may call any code.
    pub(crate) left: Option<Arc<dyn Any + Send + Sync>>,
}

/// The watchers of one view that are to be told of one commit.
pub(crate) trait WatcherCalls: Send {
    /// Calls the watchers. Returns the first panic.
    fn tell(self: Box<Self>, commit: &Commit) -> Option<Box<dyn Any + Send>>;
}
