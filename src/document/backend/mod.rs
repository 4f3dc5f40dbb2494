//! The neutral interface to one CRDT replica. A backend is one module beside this file and nothing
//! else.
//!
//! A document is two things, whatever the backend: **registers** (a flat map from path to scalar,
//! the last writer of a path wins) and **sequences** (texts and lists, found by path, never
//! created). How a backend holds them is its own business and is written down in `docs/layout.md`.

mod automerge;
mod yrs;

pub use self::automerge::Automerge;
pub use self::yrs::Yrs;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::guard::GuardError;
use super::limits::Limits;
use super::named::TypeMismatch;
use super::ops::{Ops, SequenceKind, Touched};
use super::rope::Marks;
use super::value::Value;
use super::{ReplicaId, Version};

/// Bytes of one piece of what a peer lacks: well within what strangers take, and large enough to
/// cost little.
const PIECE_BYTES_MAX: usize = 1 << 20;

/// Keeps the set of backends closed, so that its interface can change.
pub(crate) mod sealed {
    pub trait Sealed {}
}

/// What a backend cannot do with bytes that passed the guard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The bytes do not decode, or contradict what the document holds.
    #[error("the backend refused the bytes: {0}")]
    Refused(String),
    /// An op has the id and the number of one that the document has, and is another: the replica id
    /// was used twice. See [`Store::repair`](crate::Store::repair). On yrs such an op cannot be
    /// told from one that is known, unless what follows it lands in a place of another kind;
    /// digests find it.
    #[error("an op contradicts one that the document has: {0}")]
    Contradicted(String),
    /// The bytes are a document that was not made by exostate.
    #[error("the document does not have the layout of exostate: {0}")]
    Layout(&'static str),
    /// The guard refused the bytes.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The bytes are something else: a document of another backend, another format, another file.
    #[error("this is {found}, and no {expected}{}{hint}", if hint.is_empty() { "" } else { ": " })]
    Foreign {
        /// What it is, with its article.
        found: String,
        /// What was to be opened or applied: "document of exostate on yrs".
        expected: String,
        /// What can be done about it; may be empty.
        hint: &'static str,
    },
    /// The document says that it holds another state type:
    /// [`Store::open_strict`](crate::Store::open_strict).
    #[error(transparent)]
    OtherType(#[from] TypeMismatch),
    /// An op cannot be applied: it was staged on a state that the document is not in.
    #[error("the document does not fit the op on {place}: {reason}")]
    Misfit {
        /// The sequence.
        place: String,
        /// What does not fit.
        reason: String,
    },
    /// So many replicas would have written to the document that their list, the version, gets too
    /// long; or so many have ids that are alike that it can only be on purpose.
    #[error("with the replica {replica:x} too many would have written to the document: {reason}")]
    TooManyReplicas {
        /// One that is new.
        replica: u64,
        /// What is too much.
        reason: &'static str,
    },
    /// A bug in the backend: it panicked. The document must be rebuilt.
    #[error("the backend panicked: {0}")]
    Panicked(String),
}

/// One replica of a document. The implementations are [`Yrs`] and [`Automerge`]; others cannot be
/// added from outside.
pub trait Backend: sealed::Sealed + Send + Sized + 'static {
    /// The backend's name, which peers compare before they talk.
    const NAME: &'static str;
    /// Bytes from elsewhere, checked and taken apart, not yet applied.
    type CheckedUpdate: Send;

    /// An empty document.
    fn empty(replica: ReplicaId) -> Self;
    /// Opens bytes that [`Backend::save`] wrote and the guard has passed.
    fn load(replica: ReplicaId, bytes: &[u8], limits: &Limits) -> Result<Self, BackendError>;
    /// The whole document.
    fn save(&self) -> Vec<u8>;
    /// What this replica has seen.
    fn version(&self) -> Version;
    /// All that a replica at `version` lacks.
    fn update_since(&self, version: &Version) -> Result<Vec<u8>, BackendError>;
    /// The same in pieces, of which each passes the guard's limits for strangers, and each stands
    /// on those before it.
    fn updates_since(&self, version: &Version) -> Result<Vec<Vec<u8>>, BackendError>;
    /// Applies a change: what it touched, and its update, as a rule in one piece.
    fn commit(&mut self, ops: &Ops) -> Result<(Touched, Vec<Vec<u8>>), BackendError>;
    /// Checks an update in a bounded walk and takes it apart.
    fn unpack(
        &self,
        update: &[u8],
        limits: &Limits,
    ) -> Result<Vec<Self::CheckedUpdate>, BackendError>;
    /// Whether an update holds nothing that the document does not have: to apply it would change
    /// nothing.
    fn contains(&self, update: &[u8], limits: &Limits) -> Result<bool, BackendError>;
    /// Whether the document has all that a replica at this version has, as far as a version tells.
    fn has_seen(&self, version: &Version) -> bool;
    /// Cuts an update into pieces of at most so many bytes, each of which stands on those before
    /// it, after a walk that checks it.
    fn cut(update: &[u8], limits: &Limits, bytes_max: usize) -> Result<Vec<Vec<u8>>, BackendError>;
    /// Sorts checked into those that can be applied now, one after the other, and those whose
    /// ground is missing.
    fn split_ready<P: AsRef<Self::CheckedUpdate>>(&self, checked: Vec<P>) -> (Vec<P>, Vec<P>);
    /// Refuses checked that are ready and that the document must not take, before any of them is
    /// applied.
    fn vet(&mut self, ready: &[Self::CheckedUpdate], limits: &Limits) -> Result<(), BackendError>;
    /// The update as an update.
    fn bytes(update: &Self::CheckedUpdate) -> &[u8];
    /// Applies checked that are ready: what they touched, `registers` only where they are wanted,
    /// and whether any of it was new.
    fn import(
        &mut self,
        checked: &[Self::CheckedUpdate],
        registers: bool,
    ) -> Result<(Touched, bool), BackendError>;
    /// Saved documents: as it was for those who wrote changes that contradict this document's own,
    /// and the same with those changes, with what of `pending` builds on them. `None` where the
    /// backend cannot tell.
    fn aside<P: AsRef<Self::CheckedUpdate>>(
        &self,
        contradicting: Vec<Self::CheckedUpdate>,
        pending: &mut Vec<P>,
    ) -> Option<Aside>;
    /// The registers that a update writes, in order, with what it writes or `None` where it
    /// removes, as far as that can be told without what the update builds on.
    fn registers_in(&self, update: &Self::CheckedUpdate) -> Vec<(Arc<str>, Option<Value>)> {
        let _ = update;
        Vec::new()
    }
    /// Of these paths those of registers that any op of the document has written, also where it was
    /// removed since. O(document).
    fn ever_written(&self, paths: BTreeSet<&str>) -> BTreeSet<String> {
        paths.into_iter().map(str::to_owned).collect()
    }
    /// Names of what stands in the document beside registers and sequences; some, where there are
    /// many.
    fn foreign(&self) -> Vec<String> {
        Vec::new()
    }
    /// One register.
    fn register(&self, path: &str) -> Option<Value>;
    /// The values that compete for a register, each with the id of who wrote it where that is
    /// known, the one that it shows last.
    fn conflicting_values(&self, path: &str) -> Vec<(Value, Option<u64>)>;
    /// All registers, in no order.
    fn registers(&self, each: &mut dyn FnMut(Arc<str>, Value));
    /// The registers that hold a value of which another document has no op, neither as it is nor
    /// written over. O(document).
    fn unseen_registers(&self, by: &Self) -> BTreeSet<Arc<str>>;
    /// All sequences that hold anything, in no order.
    fn sequences(&self) -> Vec<(SequenceKind, Arc<str>)>;
    /// A text, in runs of equal marks.
    fn text(&self, name: &str) -> Vec<(String, Option<Arc<Marks>>)>;
    /// A text without its marks: cheaper; `None` where it has any.
    fn plain_text(&self, name: &str) -> Option<String>;
    /// A list.
    fn list(&self, name: &str) -> Vec<Value>;
    /// The length of a text.
    fn text_len(&self, name: &str) -> Offset;
    /// The length of a list.
    fn list_len(&self, name: &str) -> usize;
    /// A place in a text that follows the text. `before`: it sticks to the character before it,
    /// else to the one after; where there is none, to the text's start or end.
    fn anchor(&mut self, name: &str, at: super::ops::Units, before: bool) -> Option<Vec<u8>>;
    /// Where an anchor's place is now, in the unit that the flag says.
    fn resolve(&self, name: &str, anchor: &[u8]) -> Option<Offset>;
}

/// A change that cannot be in a document, beside the document that it was made in.
#[derive(Debug)]
pub struct Aside {
    /// That document without the change, saved.
    pub before: Vec<u8>,
    /// And with it.
    pub after: Vec<u8>,
}

/// A place in a text, in the backend's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// In Unicode scalar values.
    Chars(usize),
    /// In UTF-16 code units.
    Utf16(usize),
}
