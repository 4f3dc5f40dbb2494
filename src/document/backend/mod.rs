//! The interface to one CRDT replica, the same for all backends. A backend is one module beside
//! this file and nothing else.
//!
//! With every backend, a document has two parts:
//!
//! - **Registers**: a flat map from path to scalar. The last writer of a path wins.
//! - **Sequences**: texts and lists. They are found by path and never created explicitly.
//!
//! Each backend stores them in its own layout, which `docs/layout.md` describes.

mod automerge;
mod yrs;

pub use self::automerge::Automerge;
pub use self::yrs::Yrs;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::foreign::Source;
use super::guard::recognize::{Recognized, recognize};
use super::guard::{GuardError, automerge_chunk};
use super::limits::Limits;
use super::named::TypeMismatch;
use super::ops::{AppliedUpdates, Ops, SequenceKind, Touched};
use super::rope::Marks;
use super::value::Value;
use super::{ReplicaId, Version};

/// Bytes of one piece of an update for a peer. This is well within the limits for untrusted peers,
/// and large enough that the overhead of a piece is small.
const PIECE_BYTES_MAX: usize = 1 << 20;

/// What the names of sequences begin with in the backend's document, by kind: a text and a list of
/// one path are two sequences. See `docs/layout.md`.
const TEXT_PREFIX: &str = "T:";
const LIST_PREFIX: &str = "L:";

/// Seals [`Backend`], so that the trait can change without breaking other crates.
pub(crate) mod sealed {
    pub trait Sealed {}
}

/// Why a backend cannot open, apply or write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The backend cannot decode the bytes, or they contradict the content of the document.
    #[error("the backend refused the bytes: {0}")]
    Refused(String),
    /// An op has the replica id and the number of an op in the document, but it is a different op.
    /// So the replica id was used twice. See [`Document::repair`](crate::Document::repair).
    ///
    /// On yrs the contradicting op usually looks like the known op. The yrs backend reports the
    /// contradiction only if an op that refers to it would come into a wrong root. To find the
    /// other cases, compare digests.
    #[error("an op contradicts one that the document has: {0}")]
    Contradicted(String),
    /// The bytes are a document that exostate did not make.
    #[error("the document does not have the layout of exostate: {0}")]
    Layout(&'static str),
    /// The document has a later version of the layout than this version of exostate can read, or
    /// the update would bring it. Use a later version of exostate.
    #[error(
        "the document has version {found} of the layout, and this version of exostate reads only versions up to {known}: use a later version of exostate"
    )]
    LaterLayout {
        /// The version of the document's layout.
        found: u64,
        /// The latest version that this version of exostate can read.
        known: u64,
    },
    /// The version is one of another backend: ask a replica on this one.
    #[error("the version is one of another backend, and this document is on {backend}")]
    OtherVersion {
        /// The backend of this document.
        backend: &'static str,
    },
    /// The guard refused the bytes.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The bytes are not a document or an update of this backend: they are one of another backend,
    /// another format or another kind of file.
    #[error("this is {found}, and no {expected}{}{hint}", if hint.is_empty() { "" } else { ": " })]
    Foreign {
        /// What the bytes are, with an article.
        found: String,
        /// What the caller expected, for example "document of exostate on yrs".
        expected: String,
        /// What the user can do. May be empty.
        hint: &'static str,
    },
    /// The document holds another state type. See
    /// [`Store::open_strict`](crate::Store::open_strict).
    #[error(transparent)]
    OtherType(#[from] TypeMismatch),
    /// An op cannot be applied, because the document is not in the state on which the op was
    /// staged.
    #[error("the document does not fit the op on {place}: {reason}")]
    Misfit {
        /// The sequence.
        place: String,
        /// The reason.
        reason: String,
    },
    /// The update would add too many replicas to the document. Either the version, which lists all
    /// replicas, would become too long; or more replica ids end in the same bits than chance can
    /// explain.
    #[error("with the replica {replica:x} too many would have written to the document: {reason}")]
    TooManyReplicas {
        /// The id of one of the new replicas.
        replica: u64,
        /// Which limit is exceeded.
        reason: &'static str,
    },
    /// The document failed earlier and could not be rebuilt: open it again from what was saved.
    #[error("the document could not be rebuilt after a failure: open it again from what was saved")]
    Broken,
    /// The backend panicked, which is a bug in the backend. The document is rebuilt as it was.
    #[error("the backend panicked: {0}")]
    Panicked(String),
}

/// Reads a document of another layout, in the format of any backend: see [`Source::read`].
pub fn read_foreign(bytes: &[u8], limits: &Limits) -> Result<Source, BackendError> {
    let is_automerge = bytes.starts_with(&automerge_chunk::MAGIC);
    let read = guarded(|| match is_automerge {
        true => automerge::read_foreign(bytes, limits),
        false => yrs::read_foreign(bytes, limits),
    });
    let name = if is_automerge { Automerge::NAME } else { Yrs::NAME };
    read.map_err(|error| match recognize(bytes, name, limits) {
        Some(Recognized { what, hint }) => BackendError::Foreign {
            found: what.to_owned(),
            expected: "document of Yjs or automerge".to_owned(),
            hint,
        },
        None => error,
    })
}

/// Runs backend code; a panic in it becomes an error.
#[inline]
pub fn guarded<T>(work: impl FnOnce() -> Result<T, BackendError>) -> Result<T, BackendError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Err(BackendError::Panicked(text.unwrap_or_else(|| "without a message".to_owned())))
    })
}

/// One replica of a document. The implementations are [`Yrs`] and [`Automerge`]. The trait is
/// sealed: other crates cannot implement it.
pub trait Backend: sealed::Sealed + Send + Sized + 'static {
    /// The backend's name, which peers compare before they talk.
    const NAME: &'static str;
    /// A checked update: a validated piece of an update from outside that is not applied yet. Each
    /// piece can be applied, or wait for its dependencies, on its own.
    type CheckedUpdate: Send;

    /// An empty document.
    fn empty(replica: ReplicaId) -> Self;
    /// Opens bytes that [`Backend::save`] wrote. It runs the guard with these limits first.
    fn load(replica: ReplicaId, bytes: &[u8], limits: &Limits) -> Result<Self, BackendError>;
    /// Encodes the whole document.
    fn save(&self) -> Vec<u8>;
    /// The version: the ops that this replica has seen.
    fn version(&self) -> Version;
    /// All ops that a replica at `version` lacks, in pieces. Each piece passes the guard's limits
    /// for untrusted peers, and depends only on the pieces before it and on `version`.
    fn updates_since(&self, version: &Version) -> Result<Vec<Vec<u8>>, BackendError>;
    /// Applies a change. Returns the touched places, the registers in the order of the ops, and the
    /// update, usually in one piece.
    fn commit(&mut self, ops: &Ops) -> Result<(Touched, Vec<Vec<u8>>), BackendError>;
    /// Validates an update in a bounded walk and takes it apart into checked updates.
    fn unpack(
        &self,
        update: &[u8],
        limits: &Limits,
    ) -> Result<Vec<Self::CheckedUpdate>, BackendError>;
    /// Whether the document already has everything in an update, so that applying the update would
    /// change nothing.
    fn contains(&self, update: &[u8], limits: &Limits) -> Result<bool, BackendError>;
    /// Whether the document has all ops of a replica at this version, as far as the version tells.
    fn has_seen(&self, version: &Version) -> bool;
    /// Validates an update against `limits` and cuts it into pieces of at most `bytes_max` bytes.
    /// Each piece depends only on the pieces before it and on the dependencies of the whole update.
    fn cut(update: &[u8], limits: &Limits, bytes_max: usize) -> Result<Vec<Vec<u8>>, BackendError>;
    /// Splits checked updates into two lists: those that can be applied now, in the order in which
    /// to apply them, and those whose dependencies are missing.
    fn split_ready<P: AsRef<Self::CheckedUpdate>>(&self, checked: Vec<P>) -> (Vec<P>, Vec<P>);
    /// Fails if the document must not take one of these ready checked updates. The caller calls it
    /// before it applies any of them.
    fn validate_ready(
        &mut self,
        ready: &[Self::CheckedUpdate],
        limits: &Limits,
    ) -> Result<(), BackendError>;
    /// The bytes of a checked update.
    fn bytes(update: &Self::CheckedUpdate) -> &[u8];
    /// Applies ready checked updates. If `registers` is false, the touched registers are left out.
    fn import(
        &mut self,
        checked: &[Self::CheckedUpdate],
        registers: bool,
    ) -> Result<AppliedUpdates, BackendError>;
    /// Restores the document in which the contradicting changes were made.
    ///
    /// Takes pending updates that depend on these changes out of `pending` and applies them too.
    /// `None` if the backend cannot restore that document.
    fn contradiction<P: AsRef<Self::CheckedUpdate>>(
        &self,
        contradicting: Vec<Self::CheckedUpdate>,
        pending: &mut Vec<P>,
    ) -> Option<Contradiction>;
    /// The registers that a checked update writes, in order, each with its new value, or with
    /// `None` if the update removes it. Registers that are only known with the dependencies of the
    /// update are left out.
    fn registers_in(&self, update: &Self::CheckedUpdate) -> Vec<(Arc<str>, Option<Value>)> {
        let _ = update;
        Vec::new()
    }
    /// Those of the paths whose register any op of the document has ever written, itself or in a
    /// bundle, even if the register was removed later. O(document). The default returns all paths.
    fn ever_written(&self, paths: BTreeSet<&str>) -> BTreeSet<String> {
        paths.into_iter().map(str::to_owned).collect()
    }
    /// The names of objects in the document that are neither registers nor sequences. If there are
    /// many, only some of them.
    fn foreign(&self) -> Vec<String> {
        Vec::new()
    }
    /// The value of a register.
    fn register(&self, path: &str) -> Option<Value>;
    /// The conflicting values of a register, each with the id of the replica that wrote it, if the
    /// backend knows that id. The last one is the value that the register shows.
    fn conflicting_values(&self, path: &str) -> Vec<(Value, Option<u64>)>;
    /// All registers, in no order.
    fn registers(&self, each: &mut dyn FnMut(Arc<str>, Value));
    /// The registers whose value the document `by` has never seen: `by` does not have the op that
    /// wrote the value, not even overwritten. O(document).
    fn unseen_registers(&self, by: &Self) -> BTreeSet<Arc<str>>;
    /// All sequences that are not empty, in no order.
    fn sequences(&self) -> Vec<(SequenceKind, Arc<str>)>;
    /// A text as runs. All characters of a run have the same marks.
    fn text(&self, name: &str) -> Vec<(String, Option<Arc<Marks>>)>;
    /// A text as a plain string, which is cheaper than [`Backend::text`]. `None` if the text has
    /// marks, or if the backend cannot give it as a plain string.
    fn plain_text(&self, name: &str) -> Option<String>;
    /// The elements of a list.
    fn list(&self, name: &str) -> Vec<Value>;
    /// The number of ops under this replica's own id, if the backend must know when another writes
    /// under that id too. O(log replicas).
    fn own_ops(&self) -> u64 {
        0
    }
    /// Whether so many ops were written under this replica's own id that it should take another.
    fn is_id_full(&self) -> bool {
        false
    }
    /// Whether the caller should now compare a whole sequence with its own copy of it, because many
    /// edits were placed without reading the sequence. If so, counting begins anew.
    fn is_check_due(&mut self, kind: SequenceKind, name: &str) -> bool {
        let _ = (kind, name);
        false
    }
    /// Whether the backend keeps indexes of the places in sequences. They are on at first.
    fn set_sequence_indexes(&mut self, on: bool) {
        let _ = on;
    }
    /// Whether [`Backend::set_sequence_indexes`] has not switched them off.
    fn has_sequence_indexes(&self) -> bool {
        true
    }
    /// Builds again what the backend keeps about the places in a sequence. O(document).
    fn rebuild_index(&mut self, kind: SequenceKind, name: &str) {
        let _ = (kind, name);
    }
    /// The length of a text.
    fn text_len(&self, name: &str) -> Offset;
    /// The length of a list.
    fn list_len(&self, name: &str) -> usize;
    /// An anchor: a position in a text that moves with the text. If `before` is true, the anchor
    /// sticks to the character before the position, else to the character after it. If there is no
    /// such character, it sticks to the start or the end of the text. `None` if the position is
    /// past the end.
    fn anchor(&mut self, name: &str, at: super::ops::Units, before: bool) -> Option<Vec<u8>>;
    /// The current position of an anchor. `None` if the bytes are not an anchor of this text.
    fn resolve(&self, name: &str, anchor: &[u8]) -> Option<Offset>;
}

/// A change that contradicts the document, together with the document in which it was made.
#[derive(Debug)]
pub struct Contradiction {
    /// The document without the change, saved.
    pub before: Vec<u8>,
    /// The document with the change, saved.
    pub after: Vec<u8>,
}

/// A position or a length in a text, in the unit in which the backend counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// In Unicode scalar values.
    Chars(usize),
    /// In UTF-16 code units.
    Utf16(usize),
}
