//! Going back to a revision: its document is rebuilt beside the store's own.

use std::sync::Arc;

use super::{Diff, History, HistoryError, Records, RevisionId};
use crate::document::backend::Backend;
use crate::document::doc::Document;
use crate::document::replica::{Replica, Trust};
use crate::state::State;
use crate::store::{Store, read_view, read_whole};

/// The way to a revision: a checkpoint, and the updates from there.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) checkpoint: Arc<[u8]>,
    pub(super) updates: Vec<Arc<[u8]>>,
}

impl Records {
    pub(super) fn way(&self, id: RevisionId) -> Result<Way, HistoryError> {
        let at = self.position(id).ok_or(HistoryError::Unknown { revision: id })?;
        let mut steps = Vec::new();
        for record in self.list.iter().take(at + 1).rev() {
            if let Some(checkpoint) = &record.checkpoint {
                let updates = steps.into_iter().rev().flatten().cloned().collect();
                return Ok(Way { checkpoint: Arc::clone(checkpoint), updates });
            }
            let Some(updates) = &record.updates else { break };
            steps.push(updates);
        }
        Err(HistoryError::Unreachable { revision: id })
    }
}

impl<S: State, B: Backend> History<S, B> {
    /// The state at a revision, as the present struct type reads it. Costs O(1) for the newest
    /// revision, and as much as [`Store::open`] for a checkpoint. For other revisions the updates
    /// since the checkpoint before are applied, too: they are not much longer than that checkpoint.
    ///
    /// Other threads can change the store meanwhile, and watchers are not told.
    ///
    /// # Errors
    /// The history has no such revision (any more), or the bytes of the history were damaged where
    /// they were stored.
    pub fn view_at(&self, id: RevisionId) -> Result<Arc<S>, HistoryError> {
        // A read of an older revision does not wait for the writer lock.
        if self.latest() == id {
            let present =
                self.store.read(|core| (self.latest() == id).then(|| Arc::clone(&core.view)));
            if let Some(view) = present {
                return Ok(view);
            }
        }
        let way = self.way(id)?;
        let view = match way.updates.is_empty() {
            true => Replica::<B>::glance(
                &way.checkpoint,
                self.store.shared.document.inner().options.trusted_limits(),
                |replica, entries| read_view(replica, entries, self.store.shared.ty()).0,
            )?,
            false => read_whole(&self.replica_at(id, way)?, self.store.shared.ty()).0,
        };
        Ok(Arc::new(view))
    }

    /// The differences between two revisions. Either may be the older one. O(document).
    ///
    /// # Errors
    /// As [`History::view_at`].
    pub fn diff(&self, from: RevisionId, to: RevisionId) -> Result<Diff<S>, HistoryError> {
        let read = |id| -> Result<_, HistoryError> {
            let replica = self.replica_at(id, self.way(id)?)?;
            let view = Arc::new(read_whole(&replica, self.store.shared.ty()).0);
            Ok((replica, view))
        };
        let (old, old_view) = read(from)?;
        let (new, new_view) = read(to)?;
        Ok(Diff::between((&old, old_view), (&new, new_view)))
    }

    /// Restores the state of a revision, by a change like any other: it goes to peers, through the
    /// middleware and into the history, and can be undone.
    ///
    /// - Only differences are written.
    /// - Removed elements come back under their ids.
    /// - Content that other versions of the application keep in the document, and that this version
    ///   does not know, stays.
    /// - The label of the change is "Restore" and the name or number of the revision.
    ///
    /// To restore a part, or to set other meta, give the [view](History::view_at) to a node's
    /// `reconcile` in a change.
    ///
    /// # Errors
    /// As [`History::view_at`], and as [`Store::change`].
    pub fn restore(&self, id: RevisionId) -> Result<(), crate::Error> {
        let view = self.view_at(id)?;
        let name = self.revision(id).and_then(|revision| revision.name().map(str::to_owned));
        let label = format!("Restore {}", name.unwrap_or_else(|| id.to_string()));
        Ok(self.store.transaction().label(label).staged(|stage| stage.restore(&view))?)
    }

    /// Makes a separate store with the document at a revision, under a fresh replica id. It can be
    /// changed, and can be [merged](Store::merge) back.
    ///
    /// ```
    /// use exostate::{HistoryOptions, State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Plan { title: String, seats: i64 }
    ///
    /// let store = Store::<Plan>::new();
    /// let history = store.history(HistoryOptions::default())?;
    /// let before = history.name("before")?;
    /// store.change(|plan| plan.title().set("Trip"))?;
    /// let branch = history.branch(before)?;
    /// branch.change(|plan| plan.seats().set(3))?;
    /// assert_eq!(branch.view().title, "");
    /// store.merge(&branch)?;
    /// assert_eq!((store.view().title.as_str(), store.view().seats), ("Trip", 3));
    /// # Ok::<(), exostate::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`History::view_at`].
    pub fn branch(&self, id: RevisionId) -> Result<Store<S, B>, HistoryError> {
        let replica = self.replica_at(id, self.way(id)?)?;
        let types = self.store.shared.types.clone();
        let (view, violations) = read_whole(&replica, self.store.shared.ty());
        let options = self.store.shared.document.options_of_fork();
        Ok(Store::around(Document::around(replica, options), view, violations, types))
    }

    /// The document at a revision, as bytes.
    pub(super) fn document_at(&self, id: RevisionId) -> Result<Arc<[u8]>, HistoryError> {
        let way = self.way(id)?;
        if way.updates.is_empty() {
            return Ok(way.checkpoint);
        }
        Ok(self.replica_at(id, way)?.checkpoint()?)
    }

    fn way(&self, id: RevisionId) -> Result<Way, HistoryError> {
        self.records.lock().way(id)
    }

    /// The document at a revision, under a fresh replica id.
    fn replica_at(&self, id: RevisionId, way: Way) -> Result<Replica<B>, HistoryError> {
        let options = &self.store.shared.document.inner().options;
        let fresh = options.clone().for_fork(&[]).fresh_replica();
        // A history may come from storage, so the trusted limits hold for it.
        let (mut replica, ()) = Replica::open(fresh, &way.checkpoint, options, |_, _| ())?;
        if !way.updates.is_empty() {
            let refused = |error| HistoryError::Update { revision: id, error };
            let imported = replica.import_all(&way.updates, Trust::Trusted).map_err(refused)?;
            if imported.has_pending {
                return Err(HistoryError::Unreachable { revision: id });
            }
        }
        Ok(replica)
    }
}
