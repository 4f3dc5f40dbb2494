//! The import of updates from elsewhere.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::{Document, Turn};
use crate::document::backend::Backend;
use crate::document::commit::{Origin, Touch};
use crate::document::keeper::{KeepError, Record};
use crate::document::projection::{Content, Outcome};
use crate::document::replica::{ImportError, Imported, Replica, Trust};

/// The result of [`Store::apply`](crate::Store::apply) or [`Document::apply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Applied {
    /// The document has changed.
    Changed,
    /// The document already had the whole update.
    Known,
    /// A dependency is missing. The update is pending until the dependency comes.
    Waiting,
    /// The document has changed, and a part of the update is pending.
    Partly,
}

/// Why an update was not applied. After the error the document is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The update was refused.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The import was called inside a change of the same document, on the same thread.
    #[error("an update cannot be applied inside a change of the same store")]
    Nested,
    /// Middleware refused the update:
    /// [`Middleware::import`](crate::middleware::Middleware::import).
    #[error("refused: {0}")]
    Denied(#[source] MiddlewareError),
    /// The document's [keeper](crate::Keeper) has no room for the update, or the document may not
    /// be changed. The update may be applied again later.
    #[error(transparent)]
    NotKept(#[from] KeepError),
}

/// The error with which middleware refused an import. Two values are equal if they hold the same
/// error object.
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

/// The amount of pending updates. A pending update waits for a missing dependency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pending {
    /// Number of updates.
    pub updates: usize,
    /// Total size of the updates in bytes.
    pub bytes: usize,
}

impl From<(usize, usize)> for Pending {
    fn from((updates, bytes): (usize, usize)) -> Self {
        Self { updates, bytes }
    }
}

impl<B: Backend> Document<B> {
    /// Applies an update from elsewhere. The update is checked against the limits for untrusted
    /// bytes before the backend sees it. An update with a missing dependency is pending until the
    /// dependency comes.
    ///
    /// # Errors
    /// The bytes are refused, too many updates are pending already, or this was called inside a
    /// change. After an error the document is as it was before.
    pub fn apply(&self, update: &[u8]) -> Result<Applied, ApplyError> {
        self.import_in_turn(&[update], Trust::Untrusted, false)
    }

    /// Applies an update as [`Document::apply`] does, but under the wide limits. They are for bytes
    /// from the caller's own storage, or from a server that the caller trusts as much as that
    /// storage: see [`Store::apply_trusted`](crate::Store::apply_trusted).
    ///
    /// # Errors
    /// As [`Document::apply`].
    pub fn apply_trusted(&self, update: &[u8]) -> Result<Applied, ApplyError> {
        self.import_in_turn(&[update], Trust::Trusted, false)
    }

    /// Applies several updates as [`Document::apply`] does, but as if they were one: there is one
    /// commit, and watchers are called once. On automerge this costs much less than applying them
    /// one by one.
    ///
    /// # Errors
    /// As [`Document::apply`], if any of the updates is refused. Then none is applied. The caller
    /// can apply the good updates one by one.
    pub fn apply_all(&self, updates: &[impl AsRef<[u8]>]) -> Result<Applied, ApplyError> {
        self.import_in_turn(updates, Trust::Untrusted, false)
    }

    /// Applies several updates as [`Document::apply_all`] does, but under the wide limits of
    /// [`Document::apply_trusted`]: for a log of updates from the caller's own storage.
    ///
    /// # Errors
    /// As [`Document::apply_all`].
    pub fn apply_all_trusted(&self, updates: &[impl AsRef<[u8]>]) -> Result<Applied, ApplyError> {
        self.import_in_turn(updates, Trust::Trusted, false)
    }

    /// Applies updates as [`Document::apply_all`] does. They are parts of something larger, and the
    /// other parts will follow. A document that is still empty may show the parts later, which
    /// costs less:
    ///
    /// - The document shows them before its next read, change or import that is not a part.
    /// - [`Document::show_parts`] shows them at the latest.
    ///
    /// The version, the updates for other replicas and the pending updates include the parts at
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

    /// Shows the parts that [`Document::apply_part`] has applied and that no view shows yet.
    pub fn show_parts(&self) {
        // Inside a change all parts are shown already, because a change begins by showing them.
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

    /// Applies everything that another document has and this document lacks. It comes in pieces,
    /// so the limits for trusted updates hold for each piece and not for the whole document.
    ///
    /// # Errors
    /// As [`Document::apply_trusted`].
    pub fn merge(&self, other: &Self) -> Result<Applied, crate::Error> {
        let updates = other.updates_since(&self.version())?;
        Ok(self.import_in_turn(&updates, Trust::Trusted, false)?)
    }

    /// The pending updates: those that wait for a missing dependency.
    #[must_use]
    pub fn pending(&self) -> Pending {
        self.peek(|replica| replica.pending(None).into())
    }

    /// The pending updates that came through [`Document::apply_trusted`].
    #[must_use]
    pub fn own_pending(&self) -> Pending {
        self.peek(|replica| replica.pending(Some(Trust::Trusted)).into())
    }

    /// The bytes of the pending updates that came through [`Document::apply_trusted`].
    /// [`Document::save`] does not include them, so a new journal begins with them.
    #[must_use]
    pub fn own_pending_updates(&self) -> Vec<Vec<u8>> {
        let own = |(update, trust)| (trust == Trust::Trusted).then_some(update);
        self.peek(|replica| replica.pending_updates().into_iter().filter_map(own).collect())
    }

    /// Forgets the untrusted pending updates, because their missing dependency may never come.
    /// [`Document::version`] never counted them. So a peer that is asked for the missing dependency
    /// sends them again. The updates that [`Document::apply_trusted`] brought are kept: other
    /// replicas may have lost them.
    pub fn forget_pending(&self) {
        if let Ok(mut replica) = self.inner.replica.lock().try_borrow_mut() {
            replica.forget_pending(Trust::Untrusted);
        }
    }

    /// Imports updates in a turn, unless a middleware layer refuses them.
    fn import_in_turn(
        &self,
        updates: &[impl AsRef<[u8]>],
        trust: Trust,
        part: bool,
    ) -> Result<Applied, ApplyError> {
        let span = tracing::trace_span!(target: "exostate", "import").entered();
        // The measured time includes the wait for the writer lock.
        let timer = self.inner.projections().iter().find_map(|projection| projection.timer());
        // A change of this thread holds the writer lock. Then the import fails, and nothing is
        // delivered before that change is done.
        let turn = Turn::begin(&self.inner).ok_or(ApplyError::Nested)?;
        let result = turn.allow(updates, trust).and_then(|()| {
            turn.count_followers();
            let mut replica = turn.replica_mut().ok_or(ApplyError::Nested)?;
            turn.reserve()?;
            turn.import(&mut replica, updates, trust, part)
        });
        let touched = if result.is_ok() { turn.touched() } else { Arc::default() };
        let ended = turn.end();
        drop(span);
        let outcome = Outcome {
            origin: Origin::Remote,
            meta: None,
            size: updates.len(),
            touched: &touched,
            error: result.as_ref().err().map(|error| error as _),
        };
        ended.projections().iter().for_each(|projection| projection.done(timer, &outcome));
        drop(ended);
        self.inner.delivery.deliver_in_turn();
        result
    }
}

impl<B: Backend> Turn<'_, B> {
    /// Asks all middleware. The replica stays borrowed meanwhile: a layer may read the document,
    /// but a change or an import by the layer fails, because it would be nested in this import.
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

    /// Imports updates and brings the views up to date. If the updates are only a `part`, the views
    /// may stay as they are.
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
        if replica.take_names_changed() {
            self.note_type(replica);
        }
        if trust == Trust::Trusted && result.as_ref().is_ok_and(|imported| imported.has_pending) {
            let updates: Vec<&[u8]> = updates.iter().map(AsRef::as_ref).collect();
            self.keep(Record::Pending(&updates));
        }
        let contradictions =
            result.as_mut().map(|imported| std::mem::take(&mut imported.contradictions));
        let contradictions = contradictions.unwrap_or_default();
        let applied = self.show_imported(replica, result, part);
        contradictions.iter().for_each(|found| self.rewrite_contradiction(replica, found));
        applied
    }

    /// Brings the views up to date with the imported updates.
    fn show_imported(
        &self,
        replica: &mut Replica<B>,
        result: Result<Imported, ImportError>,
        part: bool,
    ) -> Result<Applied, ApplyError> {
        let has_pending = result.as_ref().is_ok_and(|imported| imported.has_pending);
        let changed = if has_pending { Applied::Partly } else { Applied::Changed };
        if self.take_differs(replica) {
            let applied = result.as_ref().map(|imported| imported.applied.clone());
            self.show_rebuilt(replica, applied.unwrap_or_default());
            return Ok(result.map(|_| changed)?);
        }
        let Imported { touched, edited, applied, has_pending, .. } = result?;
        if applied.is_empty() {
            return Ok(if has_pending { Applied::Waiting } else { Applied::Known });
        }
        if part {
            let recorders = self.document.recorders.all();
            recorders.iter().for_each(|recorder| recorder.lock().part(&applied));
            self.keep(Record::Updates(&applied));
            let touch = Touch::of_all(Arc::default());
            let commit = self.commit(touch, applied, Origin::Remote);
            self.queue(commit, Vec::new());
            return Ok(changed);
        }
        let touch = Touch::of(&touched, &edited);
        self.prepare(replica, Content::Touched(&touched), &touch);
        self.publish(replica, self.commit(touch, applied, Origin::Remote));
        Ok(changed)
    }
}
