//! What to do when two replicas have seen the same ops and hold different contents: one replica id
//! was used twice, or a bug. Exchanging everything heals nothing, as each side takes the other's
//! ops for ones that it has.
//!
//! So one side sets its document aside, takes the other's, and puts back what was only in its own,
//! as fresh ops under a fresh replica id. Nothing that anybody sees goes: what only one side has
//! stays, texts and lists keep what either side inserted. Only registers that hold two values have
//! to lose one; the conflicts are told. A value that the other side has seen and written over is not
//! one of two: it is the earlier one.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::again::Again;
use super::{Applied, ApplyError, Document, Inner, Turn};
use crate::document::backend::{Backend, BackendError};
use crate::document::commit::{Origin, Touch, whole};
use crate::document::key::Key;
use crate::document::ops::{RegisterTouch, RegisterWrite, SequenceKind, Touched};
use crate::document::projection::Content;
use crate::document::replica::{ImportError, Replica, Trust};
use crate::document::source::{Source, differing};
use crate::document::value::Value;

/// A place where two diverged documents held different contents.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Conflict {
    /// A register with two values.
    Register {
        /// Where, as [`docs/layout.md`](https://github.com/exostate/exostate/blob/main/docs/layout.md) writes paths.
        path: String,
        /// The value that stays: this store's, unless the other one says that a record exists and
        /// this one says nothing of it.
        kept: Value,
        /// The value of the other document, as a rule.
        lost: Value,
    },
    /// A text: it now has what either side had inserted.
    Text {
        /// Where.
        path: String,
        /// What this store had.
        ours: String,
        /// What the other document had.
        theirs: String,
    },
    /// A list: it now has the elements of either side.
    List {
        /// Where.
        path: String,
        /// What this store had.
        ours: Vec<Value>,
        /// What the other document had.
        theirs: Vec<Value>,
    },
}

/// How often a document that its own bytes do not give again is taken from them before a repair
/// gives up.
const ROUNDS_MAX: u32 = 3;

/// Another replica's document, being put together beside a store's own, to take its place: see
/// [`Document::repair`].
#[must_use = "nothing happens before `finish`"]
pub struct Repair<B: Backend> {
    document: Document<B>,
    theirs: Replica<B>,
    /// It is the store's own document, as its bytes give it.
    own: bool,
}

impl<B: Backend> std::fmt::Debug for Repair<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repair").field("document", &self.document).finish_non_exhaustive()
    }
}

impl<B: Backend> Document<B> {
    /// Begins to replace this store's document by that of a replica that has the same
    /// [version](Document::version) and another [digest](Document::digest): the two would stay
    /// different for ever. The sessions of `exostate-sync` do this by themselves, after the
    /// other replica has [verified](Document::verify) its document.
    ///
    /// ```
    /// use exostate::{Options, ReplicaId, State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Note { title: String, author: String }
    ///
    /// // A backup that went on under the old id: the same ops, other contents.
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
        let limits = self.inner.options.limits().clone();
        let theirs = Replica::new(self.inner.options.next_replica(self.replica()), limits);
        Repair { document: self.clone(), theirs, own: false }
    }

    /// Makes sure that the document's own bytes give what it shows. They always do, unless a
    /// replica id was used twice: then they are taken over, as by [`Document::repair`], with the
    /// difference on top. Call this before another replica takes the document over, or the two may
    /// come to differ again. The conflicts come back. O(document).
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
    /// A document as its own bytes give it, under a fresh id.
    fn reopened(&self, replica: &Replica<B>) -> Result<Replica<B>, BackendError> {
        let id = self.options.next_replica(replica.id());
        let trusted = self.options.trusted_limits();
        let limits = self.options.limits().clone();
        let (mut reopened, ()) = Replica::open(id, &replica.save(), trusted, limits, |_, _| ())?;
        for (update, trust) in replica.pending_updates() {
            let _ = reopened.import(&update, trust);
        }
        Ok(reopened)
    }
}

impl<B: Backend> Repair<B> {
    /// Takes a piece of the other document, as [`Document::updates_since`] an empty version gives them
    /// there.
    ///
    /// # Errors
    /// As [`Document::apply`]; the store itself is not touched yet.
    pub fn apply(&mut self, update: &[u8]) -> Result<Applied, ApplyError> {
        let waiting = self.theirs.pending(None).0;
        let imported = self.theirs.import(update, Trust::Untrusted)?;
        Ok(match imported.applied.is_empty() {
            false => Applied::Changed,
            true if self.theirs.pending(None).0 > waiting => Applied::Waiting,
            true => Applied::Known,
        })
    }

    /// Puts the other document in the place of the store's own, and what was only in that on top,
    /// as a change of a fresh replica id ([`Document::replica`] is another one afterwards). What
    /// conflicts comes back. O(document).
    ///
    /// # Errors
    /// The backend failed, or this was called inside a change. The store is as it was.
    pub fn finish(self) -> Result<Vec<Conflict>, ApplyError> {
        let Self { document, theirs, own } = self;
        document.show_parts();
        let turn = Turn::begin(&document.inner).ok_or(ApplyError::Nested)?;
        let conflicts = {
            let mut replica = turn.replica_mut().ok_or(ApplyError::Nested)?;
            turn.show_parts(&mut replica);
            turn.take_over(&mut replica, theirs, own)?
        };
        drop(turn);
        document.inner.delivery.deliver();
        Ok(conflicts)
    }
}

impl<B: Backend> Turn<'_, B> {
    /// Puts another document in the place of the own one, see [`Repair::finish`].
    fn take_over(
        &self,
        replica: &mut Replica<B>,
        mut theirs: Replica<B>,
        own: bool,
    ) -> Result<Vec<Conflict>, ApplyError> {
        // What the store has from others and the other document lacks stays what it is: written as
        // fresh ops, a text would come twice. Ops that contradict those of the other
        // document are refused here, and their contents put back below.
        for update in replica.updates_since(&theirs.version()).into_iter().flatten() {
            let _ = theirs.import(&update, Trust::Trusted);
        }
        // What stands on a refused op is put back with it.
        theirs.forget_pending(Trust::Trusted);
        let mut aside = Vec::new();
        for (update, trust) in replica.pending_updates() {
            match theirs.import(&update, trust) {
                Ok(mut imported) => aside.append(&mut imported.aside),
                Err(ImportError::Backend(BackendError::Contradicted(_))) => {
                    aside.extend(theirs.set_aside(&update))
                }
                Err(_) => {}
            }
        }
        let mut updates = Vec::new();
        let mut conflicts = Vec::new();
        // What the other side has seen and written over does not compete: its value is the later
        // one.
        let unseen = (!own).then(|| replica.unseen_registers(&theirs));
        for round in 0.. {
            let Difference { again, conflicts: more } =
                Difference::between(replica, &theirs, unseen.as_ref());
            if !again.ops.is_empty() {
                updates.append(
                    &mut theirs.commit(&again.ops, again.texts, again.lists).map_err(backend)?,
                );
            }
            conflicts.extend(more);
            // Ops of an id that was used twice can make a document that its own bytes do not give
            // again.
            let reopened = self.document.reopened(&theirs).map_err(backend)?;
            if reopened.digest() == theirs.digest() {
                break;
            }
            if round == ROUNDS_MAX {
                return Err(backend(BackendError::Contradicted(
                    "the document's own bytes show something else".to_owned(),
                )));
            }
            theirs = reopened;
        }
        let undoes = self.any(|one| one.undoes());
        let compares = undoes || self.any(|one| one.is_watched());
        let told: Arc<[Arc<str>]> =
            if compares { differing(replica, &theirs).into() } else { whole() };
        // What this document did not show before is the work of others.
        let others = if undoes { touched(replica, &theirs, &told) } else { Touched::default() };
        self.document.change_id(theirs.id());
        *replica = theirs;
        let touch = Touch { noted: whole(), told };
        self.prepare(replica, Content::Replaced(&others), &touch);
        self.note_type(replica);
        self.publish(replica, self.commit(touch, updates, Origin::Repair));
        aside.iter().for_each(|aside| self.put_back(replica, aside));
        Ok(conflicts)
    }
}

fn backend(error: BackendError) -> ApplyError {
    ApplyError::Import(error.into())
}

/// What has to be written into one document so that it also has what is in another.
#[derive(Default)]
struct Difference {
    again: Again,
    conflicts: Vec<Conflict>,
}

impl Difference {
    /// Registers that both have compete only where ours is `unseen`, if that is known.
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
            // What says that a record exists stays, whatever has landed on it: the record would be
            // gone.
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
        self.again.ops.registers.insert(key, RegisterWrite { old, new: Some(kept) });
    }

    /// Inserts what only our text has where it stands there; what only theirs has stays.
    fn text(&mut self, key: Key, ours: &dyn Source, theirs: &dyn Source) {
        let ours = ours.text(key.as_str());
        let theirs = theirs.text(key.as_str());
        self.again.text(&key.0, [&theirs, &ours, &theirs]);
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
        self.again.list(&key.0, [&theirs, &ours, &theirs]);
        if !theirs.is_empty() {
            let ours = ours.into_iter().collect();
            let theirs = theirs.into_iter().collect();
            self.conflicts.push(Conflict::List { path: key.as_str().to_owned(), ours, theirs });
        }
    }
}

/// What differs at some paths between a document and the one that takes its place, as if others had
/// written it.
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
