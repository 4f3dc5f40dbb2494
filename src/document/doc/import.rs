//! Updates from elsewhere.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::{Document, Turn};
use crate::document::backend::Backend;
use crate::document::commit::{Commit, Origin, Touch};
use crate::document::projection::{Content, Outcome};
use crate::document::replica::{ImportError, Imported, Replica, Trust};

/// What [`Store::apply`](crate::Store::apply) or [`Document::apply`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Applied {
    /// The document has changed.
    Changed,
    /// All of it was known.
    Known,
    /// A dependency is missing; the update is pending until that comes.
    Waiting,
    /// The document has changed, and a part of the update is pending.
    Partly,
}

/// Why an update was not applied. The document is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The update was refused.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Called inside a change of the same document, on the same thread.
    #[error("an update cannot be applied inside a change of the same store")]
    Nested,
    /// Middleware refused it: [`Middleware::import`](crate::middleware::Middleware::import).
    #[error("refused: {0}")]
    Denied(#[source] MiddlewareError),
}

/// The error with which middleware refused an import. Two are equal if they are the same error.
#[derive(Clone, Debug)]
pub struct MiddlewareError(Arc<dyn Error + Send + Sync>);

impl MiddlewareError {
    pub(crate) fn new(error: Box<dyn Error + Send + Sync>) -> Self {
        Self(Arc::from(error))
    }

    /// The middleware's own error, if it is of this type.
    #[must_use]
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

impl PartialEq for MiddlewareError {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for MiddlewareError {}

impl fmt::Display for MiddlewareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for MiddlewareError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// How much is pending: updates that wait for a missing dependency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pending {
    /// How many updates.
    pub updates: usize,
    /// Their size together.
    pub bytes: usize,
}

impl From<(usize, usize)> for Pending {
    fn from((updates, bytes): (usize, usize)) -> Self {
        Self { updates, bytes }
    }
}

impl<B: Backend> Document<B> {
    /// Applies an update from elsewhere. It is checked against the limits for untrusted bytes
    /// before the backend sees it; one with a missing dependency is pending until that comes.
    ///
    /// # Errors
    /// The bytes are refused, too much is pending already, or this was called inside a change. The
    /// document is as it was.
    pub fn apply(&self, update: &[u8]) -> Result<Applied, ApplyError> {
        self.import_in_turn(&[update], Trust::Untrusted, false)
    }

    /// Applies an update as [`Document::apply`] does, under the wide limits for bytes of one's own
    /// storage, or of a server that one trusts as much: see
    /// [`Store::apply_trusted`](crate::Store::apply_trusted).
    ///
    /// # Errors
    /// As [`Document::apply`].
    pub fn apply_trusted(&self, update: &[u8]) -> Result<Applied, ApplyError> {
        self.import_in_turn(&[update], Trust::Trusted, false)
    }

    /// Applies several updates as [`Document::apply`] does, as if they were one: one commit, one
    /// call for watchers. On automerge it costs much less than one by one.
    ///
    /// # Errors
    /// As [`Document::apply`], if any of them is refused. None is applied then; one by one, the
    /// good ones can be.
    pub fn apply_all(&self, updates: &[impl AsRef<[u8]>]) -> Result<Applied, ApplyError> {
        self.import_in_turn(updates, Trust::Untrusted, false)
    }

    /// Applies updates that are parts of something larger, the rest of which is to follow, as
    /// [`Document::apply_all`] does. A document that holds nothing yet need not show them before
    /// all is there: it does so with the next thing that is done with it, and costs less; at the
    /// latest [`Document::show_parts`] does. Version, updates and pending updates count them at
    /// once.
    ///
    /// ```
    /// use exostate::{State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Note { title: String }
    ///
    /// let (ours, theirs) = (Store::<Note>::new(), Store::<Note>::new());
    /// theirs.change(|note| note.title().set("plan"))?;
    /// let document = ours.document();
    /// for update in theirs.updates_since(&ours.version())? {
    ///     document.apply_part(&[update])?;
    /// }
    /// document.show_parts();
    /// assert_eq!(ours.view(), theirs.view());
    /// # Ok::<(), exostate::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Document::apply_all`].
    pub fn apply_part(&self, updates: &[impl AsRef<[u8]>]) -> Result<Applied, ApplyError> {
        self.import_in_turn(updates, Trust::Untrusted, true)
    }

    /// Shows what [`Document::apply_part`] has brought and no view shows yet.
    pub fn show_parts(&self) {
        // Inside a change all is shown: it began with that.
        let hidden =
            self.inner.replica.lock().try_borrow().is_ok_and(|replica| replica.has_parts());
        if !hidden {
            return;
        }
        let Some(turn) = Turn::begin(&self.inner) else { return };
        if let Some(mut replica) = turn.replica_mut() {
            turn.show_parts(&mut replica);
        }
        drop(turn);
        self.inner.delivery.deliver_in_turn();
    }

    /// Takes over all that another document has and this one lacks, however much it is.
    ///
    /// # Errors
    /// As [`Document::apply`].
    pub fn merge(&self, other: &Self) -> Result<Applied, crate::Error> {
        let update = other.update_since(&self.version())?;
        Ok(self.apply_trusted(&update)?)
    }

    /// The updates that wait for a missing dependency.
    #[must_use]
    pub fn pending(&self) -> Pending {
        self.peek(|replica| replica.pending(None).into())
    }

    /// Those of them that [`Document::apply_trusted`] has brought.
    #[must_use]
    pub fn own_pending(&self) -> Pending {
        self.peek(|replica| replica.pending(Some(Trust::Trusted)).into())
    }

    /// The pending updates that [`Document::apply_trusted`] has brought. They are not in
    /// [`Document::save`]: a new journal begins with them.
    #[must_use]
    pub fn own_pending_updates(&self) -> Vec<Vec<u8>> {
        let own = |(update, trust)| (trust == Trust::Trusted).then_some(update);
        self.peek(|replica| replica.pending_updates().into_iter().filter_map(own).collect())
    }

    /// Forgets the untrusted updates that wait for a missing dependency, which may never come.
    /// [`Document::version`] never counted them, so a peer that is asked for what is missing gives
    /// them again. What [`Document::apply_trusted`] brought is not forgotten: others may have lost
    /// it.
    pub fn forget_pending(&self) {
        if let Ok(mut replica) = self.inner.replica.lock().try_borrow_mut() {
            replica.forget_pending(Trust::Untrusted);
        }
    }

    /// Imports in a turn, unless a layer refuses.
    fn import_in_turn(
        &self,
        updates: &[impl AsRef<[u8]>],
        trust: Trust,
        part: bool,
    ) -> Result<Applied, ApplyError> {
        let span = tracing::trace_span!(target: "exostate", "import").entered();
        // The time that an import waits for its turn counts.
        let timer = self.inner.projections().iter().find_map(|projection| projection.timer());
        // Within a change, which has the writer lock, nothing is told before that is done.
        let turn = Turn::begin(&self.inner).ok_or(ApplyError::Nested)?;
        let result = turn.allow(updates, trust).and_then(|()| {
            turn.count_followers();
            let mut replica = turn.replica_mut().ok_or(ApplyError::Nested)?;
            turn.import(&mut replica, updates, trust, part)
        });
        let touched = if result.is_ok() { turn.touched() } else { Arc::default() };
        let projections = turn.end();
        drop(span);
        let outcome = Outcome {
            origin: Origin::Remote,
            meta: None,
            size: updates.len(),
            touched: &touched,
            error: result.as_ref().err().map(|error| error as _),
        };
        projections.iter().for_each(|projection| projection.done(timer, &outcome));
        drop(projections);
        self.inner.delivery.deliver_in_turn();
        result
    }
}

impl<B: Backend> Turn<'_, B> {
    /// Asks all middleware. Layers may look at the document; a change or an import of theirs would
    /// be one within this.
    fn allow(&self, updates: &[impl AsRef<[u8]>], trust: Trust) -> Result<(), ApplyError> {
        let _looking = self.replica();
        let bytes = updates.iter().map(|update| update.as_ref().len()).sum();
        let mut allowed = Ok(());
        self.each(|one| {
            if allowed.is_ok() {
                allowed = one.allow(updates.len(), bytes, trust);
            }
        });
        allowed
    }

    /// Imports updates and brings the views up to date, which stay as they are if the updates are
    /// only a `part`.
    fn import(
        &self,
        replica: &mut Replica<B>,
        updates: &[impl AsRef<[u8]>],
        trust: Trust,
        part: bool,
    ) -> Result<Applied, ApplyError> {
        let part = part && replica.takes_parts();
        if !part {
            self.show_parts(replica);
        }
        let mut result = match part {
            true => replica.import_part(updates, trust),
            false => replica.import_all(updates, trust),
        };
        self.note_type(replica);
        let aside = result.as_mut().map(|imported| std::mem::take(&mut imported.aside));
        let aside = aside.unwrap_or_default();
        let applied = self.show_imported(replica, result, part);
        aside.iter().for_each(|aside| self.put_back(replica, aside));
        applied
    }

    /// Brings the views up to date with what was imported.
    fn show_imported(
        &self,
        replica: &mut Replica<B>,
        result: Result<Imported, ImportError>,
        part: bool,
    ) -> Result<Applied, ApplyError> {
        let waits = result.as_ref().is_ok_and(|imported| imported.waits);
        let changed = if waits { Applied::Partly } else { Applied::Changed };
        if self.take_differs(replica) {
            let applied = result.as_ref().map(|imported| imported.applied.clone());
            self.show_rebuilt(replica, applied.unwrap_or_default());
            return Ok(result.map(|_| changed)?);
        }
        let Imported { touched, edited, applied, waits, .. } = result?;
        if applied.is_empty() {
            return Ok(if waits { Applied::Waiting } else { Applied::Known });
        }
        if part {
            let recorders = self.document.recorders.all();
            recorders.iter().for_each(|recorder| recorder.lock().part(&applied));
            let touch = Touch::of_all(Arc::default());
            let commit = Commit {
                touch,
                updates: applied,
                origin: Origin::Remote,
                meta: None,
                time: self.time,
            };
            self.document.delivery.queue(Arc::new(commit), Vec::new());
            return Ok(changed);
        }
        let touch = Touch::of(&touched, &edited);
        self.prepare(replica, Content::Touched(&touched), &touch);
        self.publish(replica, self.commit(touch, applied, Origin::Remote));
        Ok(changed)
    }
}
