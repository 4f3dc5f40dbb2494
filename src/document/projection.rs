//! What stands on a document and follows it: the typed view of a store.

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

/// How a document came to its new content.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    /// Others wrote these registers and sequences.
    Touched(&'a Touched),
    /// The document came in parts. These are all of its registers, in order.
    Registers(&'a [(Key, Value)]),
    /// Another document took its place. Others wrote these registers and sequences.
    Replaced(&'a Touched),
    /// The document was rebuilt after a failure, and what differs is not known.
    Unknown,
}

/// What is told of an import, or of the attempt.
pub(crate) struct Outcome<'a> {
    pub(crate) origin: Origin,
    pub(crate) meta: Option<&'a Meta>,
    /// The ops of a change, the updates of an import.
    pub(crate) size: usize,
    pub(crate) touched: &'a [Arc<str>],
    pub(crate) error: Option<&'a (dyn Error + 'static)>,
}

/// Something that follows a document, commit by commit. The document calls it under the writer
/// lock, unless a method says otherwise.
pub(crate) trait Projection<B: Backend>: Send + Sync {
    /// The time at which something begins, if middleware wants to know how long it takes.
    fn timer(&self) -> Option<Instant>;
    /// Asks the middleware whether updates may be imported.
    fn allow(&self, updates: usize, bytes: usize, trust: Trust) -> Result<(), ApplyError>;
    /// Tells the middleware the outcome. Called outside every lock.
    fn done(&self, begun: Option<Instant>, outcome: &Outcome<'_>);
    /// Whether anybody watches a place or a selector.
    fn is_watched(&self) -> bool;
    /// Whether anything can be undone here.
    fn undoes(&self) -> bool;
    /// Compares the state type with what the document says that it holds.
    fn note_type(&self, replica: &Replica<B>);
    /// What the document says that it holds, if that is another state type.
    fn type_mismatch(&self) -> Option<TypeMismatch>;
    /// Makes the new view for a commit that was not staged here, without showing it.
    fn prepare(&self, replica: &Replica<B>, content: Content<'_>, touch: &Touch);
    /// Shows the view that was prepared or staged; the old one if there is none.
    fn show(&self, commit: &Arc<Commit>) -> Shown;
}

/// What remains to be done after a view is shown.
pub(crate) struct Shown {
    /// The watchers to tell, outside every lock.
    pub(crate) told: Option<Box<dyn Told>>,
    /// What the view no longer needs, to be dropped outside the locks: its drop may call anything.
    pub(crate) left: Option<Arc<dyn Any + Send + Sync>>,
}

/// The watchers of one view, who are to be told of one commit.
pub(crate) trait Told: Send {
    /// Calls them. The first panic comes back.
    fn tell(self: Box<Self>, commit: &Commit) -> Option<Box<dyn Any + Send>>;
}
