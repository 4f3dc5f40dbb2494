//! What stands between an application and its store: it sees every change and import, and may refuse
//! it or add to what is said about it. The layers that ship are in [`crate::middleware`].

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use super::{Meta, Origin};
use crate::document::ops::Ops;
use crate::state::{ChangeError, State};

/// A layer around changes and imports. All methods can be left out.
///
/// Layers are asked in the order in which they were added with
/// [`Store::add_middleware`](crate::Store::add_middleware); the first that refuses ends it, and
/// nothing has happened to the store then. [`Middleware::done`] is called in the same order
/// afterwards, whatever came of it, for each attempt once, and before those who watch. A call
/// within a change of the same store fails before anybody is asked.
///
/// `change` and `import` are called in the writer's place: others wait,
/// [`Store::view`](crate::Store::view) shows the state before, and changing the same store is an
/// error ([`ChangeError::Nested`]). They should return soon. `done` is called outside every lock.
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
/// An audit log, of all stores it is added to:
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
///             self.0.lock().unwrap().push(format!("{who} ({:?}): {}", done.origin, done.touched.join(", ")));
///         }
///     }
/// }
///
/// # #[derive(State, Clone, Debug, PartialEq)]
/// # struct Poll { question: String, closed: bool }
/// let (audit, store) = (Audit::default(), Store::<Poll>::new());
/// store.add_middleware(audit.clone());
/// store.transaction().author("Ada").run(|poll| poll.question().set("When?").and(poll.closed().set(true)))?;
/// assert_eq!(*audit.0.lock().unwrap(), ["Ada (Local): closed, question"]);
/// # Ok::<(), exostate::Error>(())
/// ```
pub trait Middleware<S: State>: Send + Sync + 'static {
    /// A change was staged, and is about to be committed; an undo or a redo, too. Changes that do
    /// nothing do not come here.
    ///
    /// # Errors
    /// The change is refused: whoever wanted it gets this error, as a rule [`ChangeError::refuse`].
    fn change(&self, change: &mut Proposal<'_, S>) -> Result<(), ChangeError> {
        let _ = change;
        Ok(())
    }

    /// Updates from elsewhere are about to be applied; their effect is not known before they are
    /// applied. If the updates are refused, this replica stays behind until it takes them
    /// another time.
    ///
    /// # Errors
    /// The updates are refused. The caller of [`Store::apply`](crate::Store::apply) gets this as
    /// [`ApplyError::Denied`](crate::ApplyError::Denied).
    fn import(&self, import: &Import) -> Result<(), Box<dyn Error + Send + Sync>> {
        let _ = import;
        Ok(())
    }

    /// What came of a change or an import.
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
    /// The state before.
    #[must_use]
    pub fn old(&self) -> &S {
        self.old
    }

    /// The state as it would be.
    #[must_use]
    #[expect(clippy::new_ret_no_self, reason = "the counterpart of `old`")]
    pub fn new(&self) -> &S {
        self.new
    }

    /// The paths of the registers and sequences that are written, in the escaped form of
    /// `docs/layout.md`, each at least once.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let sequences = self.ops.sequences.iter().map(|op| &**op.target().0);
        self.ops.registers.keys().map(|key| key.as_str()).chain(sequences)
    }

    /// How many ops the change has.
    #[must_use]
    pub fn ops(&self) -> usize {
        self.ops.len()
    }

    /// Whether it is a change, an undo or a redo.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// What is said about the change.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Says something else about the change.
    pub fn set_meta(&mut self, meta: Meta) {
        self.meta = meta;
    }
}

/// Updates that are about to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Import {
    /// How many.
    pub updates: usize,
    /// Their bytes together.
    pub bytes: usize,
    /// Whether they come from a document that one trusts:
    /// [`Store::apply_trusted`](crate::Store::apply_trusted).
    pub trusted: bool,
}

/// What came of a change or an import.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Done<'a> {
    /// Where it came from.
    pub origin: Origin,
    /// What is said about it.
    pub meta: Option<&'a Meta>,
    /// The ops of a change, the updates of an import.
    pub size: usize,
    /// The paths that were touched, each once, in the escaped form of `docs/layout.md` and in
    /// their order; the empty path is the whole state, as after an import of most of it. None
    /// where nothing has changed, and of parts that are not shown yet.
    pub touched: &'a [Arc<str>],
    /// Why it failed or was refused.
    pub error: Option<&'a (dyn Error + 'static)>,
    /// How long it took, those who watch not included. An import waits for its turn in it.
    pub took: Duration,
}
