//! Middleware stands between an application and its store. It sees every change and import and may
//! refuse it; it may also replace the meta of a change. The layers that exostate ships are in
//! [`crate::middleware`].

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use super::{Meta, Origin};
use crate::document::ops::Ops;
use crate::state::{ChangeError, State};

/// A layer around changes and imports. All methods are optional.
///
/// Layers are asked in the order in which they were added with
/// [`Store::add_middleware`](crate::Store::add_middleware). The first layer that refuses ends the
/// change or import, and the store stays as it was. [`Middleware::done`] is called afterwards in
/// the same order: once for each attempt, whatever the outcome, and before the watchers. A call
/// within a change of the same store fails before any layer is asked.
///
/// `change` and `import` are called under the writer lock: other writers wait,
/// [`Store::view`](crate::Store::view) shows the state before, and a change of the same store is an
/// error ([`ChangeError::Nested`]). Both methods should return soon. `done` is called outside every
/// lock.
///
/// ```
/// use exostate::middleware::{Middleware, Proposal};
/// use exostate::{ChangeError, State, Store};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Poll { question: String, closed: bool }
///
/// struct ClosedStaysClosed;
///
/// impl Middleware<Poll> for ClosedStaysClosed {
///     fn change(&self, change: &mut Proposal<'_, Poll>) -> Result<(), ChangeError> {
///         if change.old().closed && !change.new().closed {
///             return Err(ChangeError::refuse("the poll is closed"));
///         }
///         Ok(())
///     }
/// }
///
/// let store = Store::<Poll>::new();
/// store.add_middleware(ClosedStaysClosed);
/// store.change(|poll| poll.closed().set(true))?;
/// assert!(store.change(|poll| poll.closed().set(false)).is_err());
/// assert!(store.view().closed);
/// # Ok::<(), exostate::Error>(())
/// ```
///
/// An audit log of all stores that it is added to:
///
/// ```
/// use exostate::middleware::{Done, Middleware};
/// use exostate::{State, Store};
/// use std::sync::{Arc, Mutex};
///
/// #[derive(Clone, Default)]
/// struct Audit(Arc<Mutex<Vec<String>>>);
///
/// impl<S: State> Middleware<S> for Audit {
///     fn done(&self, done: &Done<'_>) {
///         if !done.touched.is_empty() {
///             let who = done.meta.and_then(|meta| meta.author()).unwrap_or("somebody");
///             let touched = done.touched.join(", ");
///             self.0.lock().unwrap().push(format!("{who} ({:?}): {touched}", done.origin));
///         }
///     }
/// }
///
/// # #[derive(State, Clone, Debug, PartialEq)]
/// # struct Poll { question: String, closed: bool }
/// let (audit, store) = (Audit::default(), Store::<Poll>::new());
/// store.add_middleware(audit.clone());
/// store
///     .transaction()
///     .author("Ada")
///     .run(|poll| poll.question().set("When?").and(poll.closed().set(true)))?;
/// assert_eq!(*audit.0.lock().unwrap(), ["Ada (Local): closed, question"]);
/// # Ok::<(), exostate::Error>(())
/// ```
pub trait Middleware<S: State>: Send + Sync + 'static {
    /// Called for a staged change that is about to be committed, also for an undo or a redo. A
    /// change without ops does not come here.
    ///
    /// # Errors
    /// The change is refused. The caller of the change gets this error, usually a
    /// [`ChangeError::refuse`].
    fn change(&self, change: &mut Proposal<'_, S>) -> Result<(), ChangeError> {
        let _ = change;
        Ok(())
    }

    /// Called for updates from elsewhere that are about to be applied. Their effect is not known
    /// before they are applied. If the layer refuses the updates, this replica lacks them until it
    /// applies them another time.
    ///
    /// # Errors
    /// The updates are refused. The caller of [`Store::apply`](crate::Store::apply) gets this as
    /// [`ApplyError::Denied`](crate::ApplyError::Denied).
    fn import(&self, import: &Import) -> Result<(), Box<dyn Error + Send + Sync>> {
        let _ = import;
        Ok(())
    }

    /// Called with the outcome of a change or an import.
    fn done(&self, done: &Done<'_>) {
        let _ = done;
    }
}

/// A change that is about to be committed.
pub struct Proposal<'a, S> {
    pub(crate) old: &'a S,
    pub(crate) new: &'a S,
    pub(crate) ops: &'a Ops,
    pub(crate) origin: Origin,
    pub(crate) meta: Meta,
}

impl<S> std::fmt::Debug for Proposal<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proposal")
            .field("origin", &self.origin)
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

impl<S> Proposal<'_, S> {
    /// The state before the change.
    #[must_use]
    pub fn old(&self) -> &S {
        self.old
    }

    /// The state after the change, if it is committed.
    #[must_use]
    #[expect(clippy::new_ret_no_self, reason = "the counterpart of `old`")]
    pub fn new(&self) -> &S {
        self.new
    }

    /// The paths of the registers and sequences that the change writes, in the escaped form of
    /// `docs/layout.md`. Each path comes at least once.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let sequences = self.ops.sequences.iter().map(|op| &**op.target().0);
        self.ops.registers.keys().map(|key| key.as_str()).chain(sequences)
    }

    /// The number of ops in the change.
    #[must_use]
    pub fn ops(&self) -> usize {
        self.ops.len()
    }

    /// Whether this is a change, an undo or a redo.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The meta of the change.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Replaces the meta of the change.
    pub fn set_meta(&mut self, meta: Meta) {
        self.meta = meta;
    }
}

/// Updates that are about to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Import {
    /// The number of updates.
    pub updates: usize,
    /// The total length of the updates, in bytes.
    pub bytes: usize,
    /// Whether the updates are trusted: [`Store::apply_trusted`](crate::Store::apply_trusted).
    pub trusted: bool,
}

/// The outcome of a change or an import.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Done<'a> {
    /// Where the change or import came from.
    pub origin: Origin,
    /// The meta of the change or import, if it has one.
    pub meta: Option<&'a Meta>,
    /// The number of ops in a change, or of updates in an import.
    pub size: usize,
    /// The paths that were touched, each once, in the escaped form of `docs/layout.md` and in key
    /// order. The empty path is the whole state, for example after an import of most of the state.
    /// The list is empty if nothing has changed, after a failure, and for imported parts that are
    /// not shown yet.
    pub touched: &'a [Arc<str>],
    /// The error, if the change or import failed or was refused.
    pub error: Option<&'a (dyn Error + 'static)>,
    /// How long the change or import took, without the calls of watchers. The time includes the
    /// wait for the writer lock.
    pub took: Duration,
}
