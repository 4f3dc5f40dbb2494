//! Repairs two replicas that have seen the same ops and hold different contents. The cause is a
//! replica id that was used twice, or a bug. Exchanging all updates does not help, because each
//! side takes the ops of the other side for ops that it already has.
//!
//! So one side sets its own document aside and takes over the document of the other side. Then it
//! puts back the content that only its own document had, as fresh ops under a fresh replica id.
//! Visible content is not lost, except in registers:
//!
//! - Content that only one side has stays.
//! - Texts and lists keep the insertions of both sides.
//! - A register with two different values loses one of them. The conflicts are reported.
//! - If the other side has seen a value and written over it, the register has no conflict: the
//!   value is simply the earlier one.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::rewrite::Rewrite;
use super::{Applied, ApplyError, Document, Inner, Turn};
use crate::document::backend::{Backend, BackendError};
use crate::document::commit::{Origin, Touch, whole};
use crate::document::key::Key;
use crate::document::ops::{RegisterTouch, RegisterWrite, SequenceKind, Touched};
use crate::document::projection::Content;
use crate::document::replica::{ImportError, Replica, Trust};
use crate::document::source::{Source, differing};
use crate::document::value::Value;

/// A place where two diverged documents had different contents.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Conflict {
    /// A register had two values.
    Register {
        /// The path, as in
        /// [`docs/layout.md`](https://github.com/exostate/exostate/blob/main/docs/layout.md).
        path: String,
        /// The value that stays. It is the value of this document, with one exception: if the other
        /// document holds `true`, which says that a record exists, and the value of this document
        /// is not a boolean, then `true` stays.
        kept: Value,
        /// The value that is lost: that of the other document, or of this document in the case of
        /// the exception.
        lost: Value,
    },
    /// The text has the insertions of both sides after the repair.
    Text {
        /// The path.
        path: String,
        /// The text in this document.
        ours: String,
        /// The text in the other document.
        theirs: String,
    },
    /// The list has the elements of both sides after the repair.
    List {
        /// The path.
        path: String,
        /// The list in this document.
        ours: Vec<Value>,
        /// The list in the other document.
        theirs: Vec<Value>,
    },
}

/// A document may differ from the document that its own bytes give. Then the repair takes the
/// document from those bytes and tries again, this many times before it gives up.
const ROUNDS_MAX: u32 = 3;

/// The document of another replica, put together beside the document of this replica, to replace
/// it: see [`Document::repair`].
#[must_use = "nothing happens before `finish`"]
pub struct Repair<B: Backend> {
    document: Document<B>,
    theirs: Replica<B>,
    /// Whether `theirs` is this document itself, read from its own bytes (see
    /// [`Document::verify`]).
    own: bool,
}

impl<B: Backend> std::fmt::Debug for Repair<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repair").field("document", &self.document).finish_non_exhaustive()
    }
}

impl<B: Backend> Document<B> {
    /// Begins to replace this document by the document of a replica that has the same
    /// [version](Document::version) and another [digest](Document::digest). Without a repair the
    /// two documents would stay different for ever. The sessions of `exostate-sync` call this
    /// themselves, after the other replica has [verified](Document::verify) its document.
    ///
    /// ```
    /// use exostate::{Options, ReplicaId, State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Note { title: String, author: String }
    ///
    /// // A backup that was used again under the old replica id: the same ops, other contents.
    /// let id = || Options::new().with_replica(ReplicaId::from_bits(7));
    /// let (ours, theirs) = (Store::<Note>::with_options(id()), Store::<Note>::with_options(id()));
    /// ours.change(|note| note.title().set("plan"))?;
    /// theirs.change(|note| note.author().set("Ada"))?;
    /// ours.merge(&theirs)?;
    /// assert_ne!(ours.view(), theirs.view());
    ///
    /// let mut repair = ours.document().repair();
    /// for update in theirs.updates_since(&Store::<Note>::new().version())? {
    ///     repair.apply(&update)?;
    /// }
    /// assert!(repair.finish()?.is_empty());
    /// theirs.merge(&ours)?;
    /// assert_eq!((ours.view().title.as_str(), ours.view().author.as_str()), ("plan", "Ada"));
    /// assert_eq!(ours.view(), theirs.view());
    /// # Ok::<(), exostate::Error>(())
    /// ```
    pub fn repair(&self) -> Repair<B> {
        let options = &self.inner.options;
        let theirs = Replica::new(options.next_replica(self.replica()), options);
        Repair { document: self.clone(), theirs, own: false }
    }

    /// Makes sure that the bytes of the document give the content that the document shows. They
    /// always do, unless a replica id was used twice. In that case the document is replaced by the
    /// document that its bytes give, as by [`Document::repair`], and the difference is put back.
    /// Call this before another replica takes the document over. Otherwise the two replicas may
    /// diverge again. Returns the conflicts. O(document).
    ///
    /// # Errors
    /// As [`Repair::finish`].
    pub fn verify(&self) -> Result<Vec<Conflict>, ApplyError> {
        self.show_parts();
        let (reopened, digest) = {
            let lock = self.inner.lock();
            let Ok(replica) = lock.try_borrow_mut() else { return Err(ApplyError::Nested) };
            (self.inner.reopened(&replica).map_err(backend)?, replica.digest())
        };
        if reopened.digest() == digest {
            return Ok(Vec::new());
        }
        Repair { document: self.clone(), theirs: reopened, own: true }.finish()
    }
}

impl<B: Backend> Inner<B> {
    /// Opens the document from its own bytes, under a fresh id.
    fn reopened(&self, replica: &Replica<B>) -> Result<Replica<B>, BackendError> {
        let id = self.options.next_replica(replica.id());
        let (mut reopened, ()) = Replica::reopen(id, &replica.save(), &self.options, |_, _| ())?;
        for (update, trust) in replica.pending_updates() {
            let _ = reopened.import(&update, trust);
        }
        Ok(reopened)
    }

    /// Opens the document again under a fresh id. If that would change the content, the document
    /// and its id stay; then a sync session finds the difference and repairs it.
    pub(super) fn take_fresh_id(&self, replica: &mut Replica<B>) {
        let Ok(reopened) = self.reopened(replica) else { return };
        if reopened.digest() != replica.digest() {
            return;
        }
        let (old, new) = (replica.id(), reopened.id());
        tracing::warn!(target: "exostate", %old, %new, "another replica writes under this id");
        self.change_id(new);
        *replica = reopened;
    }
}

impl<B: Backend> Repair<B> {
    /// Takes a piece of the other document. The pieces are those that [`Document::updates_since`]
    /// gives there for an empty version.
    ///
    /// # Errors
    /// As [`Document::apply`]. This document is not changed yet.
    pub fn apply(&mut self, update: &[u8]) -> Result<Applied, ApplyError> {
        let waiting = self.theirs.pending(None).0;
        let imported = self.theirs.import(update, Trust::Untrusted)?;
        Ok(match imported.applied.is_empty() {
            false => Applied::Changed,
            true if self.theirs.pending(None).0 > waiting => Applied::Waiting,
            true => Applied::Known,
        })
    }

    /// Replaces the document of this replica by the other document. Then puts back the content that
    /// only the replaced document had, as a change under a fresh replica id. [`Document::replica`]
    /// returns the fresh id afterwards. Returns the conflicts. O(document).
    ///
    /// # Errors
    /// The backend failed, the document's keeper has no room, or this was called inside a change. The
    /// document is as it was before.
    pub fn finish(self) -> Result<Vec<Conflict>, ApplyError> {
        let Self { document, theirs, own } = self;
        document.show_parts();
        let turn = Turn::begin(&document.inner).ok_or(ApplyError::Nested)?;
        let conflicts = {
            let mut replica = turn.replica_mut().ok_or(ApplyError::Nested)?;
            turn.reserve()?;
            turn.show_parts(&mut replica);
            turn.take_over(&mut replica, theirs, own)?
        };
        drop(turn);
        document.inner.delivery.deliver();
        Ok(conflicts)
    }
}

impl<B: Backend> Turn<'_, B> {
    /// Replaces the document of this turn by another document, see [`Repair::finish`].
    fn take_over(
        &self,
        replica: &mut Replica<B>,
        mut theirs: Replica<B>,
        own: bool,
    ) -> Result<Vec<Conflict>, ApplyError> {
        // The updates that this document has and the other document lacks are imported unchanged.
        // If their content were written as fresh ops instead, a text would appear twice. Ops that
        // contradict those of the other document are refused here, and their content is put back
        // below.
        for update in replica.updates_since(&theirs.version()).into_iter().flatten() {
            let _ = theirs.import_own(&[update]);
        }
        // An op that depends on a refused op is not kept as pending. Its content is put back
        // together with that of the refused op.
        theirs.forget_pending(Trust::Trusted);
        let mut contradictions = Vec::new();
        for (update, trust) in replica.pending_updates() {
            match theirs.import(&update, trust) {
                Ok(mut imported) => contradictions.append(&mut imported.contradictions),
                Err(ImportError::Backend(BackendError::Contradicted(_))) => {
                    contradictions.extend(theirs.set_aside(&update))
                }
                Err(_) => {}
            }
        }
        let mut updates = Vec::new();
        let mut conflicts = Vec::new();
        // A value that the other side has seen and written over is no conflict: the value of the
        // other side is the later one.
        let unseen = (!own).then(|| replica.unseen_registers(&theirs));
        for round in 0.. {
            let Difference { rewrite, conflicts: more } =
                Difference::between(replica, &theirs, unseen.as_ref());
            if !rewrite.ops.is_empty() {
                updates.append(
                    &mut theirs
                        .commit(&rewrite.ops, rewrite.texts, rewrite.lists)
                        .map_err(backend)?,
                );
            }
            conflicts.extend(more);
            // Ops under an id that was used twice can make a document whose own bytes give another
            // document.
            let reopened = self.document.reopened(&theirs).map_err(backend)?;
            if reopened.digest() == theirs.digest() {
                break;
            }
            if round == ROUNDS_MAX {
                return Err(backend(BackendError::Contradicted(
                    "the document's own bytes show something else".to_owned(),
                )));
            }
            let before = std::mem::replace(&mut theirs, reopened);
            if round > 0 {
                updates.append(&mut write_anew(&mut theirs, &before).map_err(backend)?);
            }
        }
        let undoes = self.any(|one| one.undoes());
        let compares = undoes || self.any(|one| one.is_watched());
        let differing: Arc<[Arc<str>]> =
            if compares { differing(replica, &theirs).into() } else { whole() };
        // Content that this document did not show before counts as the work of other replicas.
        let others =
            if undoes { touched(replica, &theirs, &differing) } else { Touched::default() };
        self.document.change_id(theirs.id());
        *replica = theirs;
        self.note_replaced();
        let touch = Touch { written: whole(), differing };
        self.prepare(replica, Content::Replaced(&others), &touch);
        self.note_type(replica);
        self.publish(replica, self.commit(touch, updates, Origin::Repair));
        contradictions.iter().for_each(|found| self.rewrite_contradiction(replica, found));
        Ok(conflicts)
    }
}

/// Two replicas have read the same bytes, but show different texts or lists: under an id that was
/// used twice, yrs can order the pieces of a text differently each time. This function empties each
/// such sequence in `replica`, and inserts the content that `other` shows.
fn write_anew<B: Backend>(
    replica: &mut Replica<B>,
    other: &Replica<B>,
) -> Result<Vec<Arc<[u8]>>, BackendError> {
    let mut rewrite = Rewrite::default();
    for (kind, key) in other.sequences("") {
        match kind {
            SequenceKind::Text => {
                let text = other.text(key.as_str());
                if text != replica.text(key.as_str()) {
                    rewrite.text_anew(&key.0, text);
                }
            }
            SequenceKind::List => {
                let list = other.list(key.as_str());
                if list != replica.list(key.as_str()) {
                    rewrite.list_anew(&key.0, list);
                }
            }
        }
    }
    replica.commit(&rewrite.ops, rewrite.texts, rewrite.lists)
}

fn backend(error: BackendError) -> ApplyError {
    ApplyError::Import(error.into())
}

/// The ops that add the content of one document to another document, and the conflicts.
#[derive(Default)]
struct Difference {
    rewrite: Rewrite,
    conflicts: Vec<Conflict>,
}

impl Difference {
    /// Compares two documents. A register that both documents have is a conflict only if our value
    /// is `unseen`. Without `unseen` every register with two values is a conflict.
    fn between(
        ours: &dyn Source,
        theirs: &dyn Source,
        unseen: Option<&BTreeSet<Arc<str>>>,
    ) -> Self {
        let mut this = Self::default();
        for (key, value) in ours.scan("") {
            let seen = unseen.is_some_and(|unseen| !unseen.contains(key.as_str()));
            this.register(key, value, theirs, seen);
        }
        for (kind, key) in ours.sequences("") {
            match kind {
                SequenceKind::Text => this.text(key, ours, theirs),
                SequenceKind::List => this.list(key, ours, theirs),
            }
        }
        this
    }

    fn register(&mut self, key: Key, kept: Value, theirs: &dyn Source, seen: bool) {
        let old = theirs.register(key.as_str());
        if old.as_ref() == Some(&kept) || seen && old.is_some() {
            return;
        }
        let path = || key.as_str().to_owned();
        match &old {
            // A value that says that a record exists stays, whatever value was written over it.
            // Otherwise the record would be lost.
            Some(Value::Bool(true)) if !matches!(kept, Value::Bool(_)) => {
                self.conflicts.push(Conflict::Register {
                    path: path(),
                    kept: Value::Bool(true),
                    lost: kept,
                });
                return;
            }
            Some(lost) => self.conflicts.push(Conflict::Register {
                path: path(),
                kept: kept.clone(),
                lost: lost.clone(),
            }),
            None => {}
        }
        self.rewrite.ops.registers.insert(key, RegisterWrite { old, new: Some(kept) });
    }

    /// Inserts the content that only our text has, at its position in our text. The content that
    /// only their text has stays.
    fn text(&mut self, key: Key, ours: &dyn Source, theirs: &dyn Source) {
        let ours = ours.text(key.as_str());
        let theirs = theirs.text(key.as_str());
        self.rewrite.text(&key.0, [&theirs, &ours, &theirs]);
        let ours = ours.to_string();
        let theirs = theirs.to_string();
        if ours != theirs && !theirs.is_empty() {
            self.conflicts.push(Conflict::Text { path: key.as_str().to_owned(), ours, theirs });
        }
    }

    fn list(&mut self, key: Key, ours: &dyn Source, theirs: &dyn Source) {
        let ours = ours.list(key.as_str());
        let theirs = theirs.list(key.as_str());
        if ours == theirs {
            return;
        }
        self.rewrite.list(&key.0, [&theirs, &ours, &theirs]);
        if !theirs.is_empty() {
            let ours = ours.iter().cloned().collect();
            let theirs = theirs.iter().cloned().collect();
            self.conflicts.push(Conflict::List { path: key.as_str().to_owned(), ours, theirs });
        }
    }
}

/// The differences at some paths between a document and the document that replaces it. They count
/// as the work of other replicas.
fn touched(old: &impl Source, new: &impl Source, paths: &[Arc<str>]) -> Touched {
    let mut touched = Touched::default();
    for path in paths {
        let was = old.register(path);
        let is = new.register(path);
        if was != is {
            touched.registers.push(RegisterTouch {
                key: Arc::clone(path),
                old: was,
                new: is,
                own: false,
            });
        }
        if old.text(path) != new.text(path) {
            touched.sequences.push((SequenceKind::Text, Arc::clone(path)));
        }
        if old.list(path) != new.list(path) {
            touched.sequences.push((SequenceKind::List, Arc::clone(path)));
        }
    }
    touched
}
