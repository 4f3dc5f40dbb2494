//! Blame: which revision and which replica wrote a place last.

use std::sync::Arc;

use super::records::{Record, Records};
use super::{History, Revision};
use crate::document::ReplicaId;
use crate::document::backend::Backend;
use crate::document::key;
use crate::state::{AsPath, State};
use crate::store::Origin;

/// The last writer of a place: see [`History::blame`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Blame {
    /// The revision that wrote the place: its time and its meta. The history may not be able to
    /// show that revision any more. `None` if the place was written before the history began, or
    /// too long ago.
    pub revision: Option<Revision>,
    /// The replica that wrote the place, if it is known. The history asks the document for it if
    /// the place is a register and the revision is not one of this store's own changes.
    pub replica: Option<ReplicaId>,
}

impl<S: State, B: Backend> History<S, B> {
    /// The last writer of a place, with time and label. For a place that holds others, the newest
    /// write to any of them.
    ///
    /// Author and label do not travel, so they are known only for changes of this store. For
    /// content from other replicas, the time of its arrival is known and, for a register, the
    /// replica that wrote it. `None` if no write to the place is known.
    ///
    /// O(revisions). For a register that another replica wrote, O(document) on yrs.
    #[must_use]
    pub fn blame(&self, path: impl AsPath<S>) -> Option<Blame> {
        let place = path.as_path().as_str();
        let mut revision = self.records.lock().newest_at(place, false);
        let own = |revision: &Revision| {
            !matches!(revision.origin(), Some(Origin::Remote | Origin::Repair) | None)
        };
        if revision.as_ref().is_some_and(own) {
            return Some(Blame { revision, replica: None });
        }
        let replica = self
            .store
            .read(|core| core.replica.conflicting_values(place).pop())
            .and_then(|(_, writer)| writer);
        if replica.is_some_and(|id| self.store.is_own(id)) {
            // This store wrote the register, so a revision that touched the state as a whole did
            // not write it.
            revision = self.records.lock().newest_at(place, true);
        }
        (revision.is_some() || replica.is_some()).then_some(Blame { revision, replica })
    }

    /// The revisions that touched a place, or anything below or above it, as far as the history has
    /// them, the oldest first. O(revisions).
    #[must_use]
    pub fn touching(&self, path: impl AsPath<S>) -> Vec<Revision> {
        let place = path.as_path().as_str();
        self.records
            .lock()
            .list
            .iter()
            .filter(|record| concerns(record, place))
            .map(Record::revision)
            .collect()
    }
}

fn concerns(record: &Record, place: &str) -> bool {
    record.touched.iter().any(|path| key::overlap(path, place))
}

impl Records {
    /// The newest revision that touched a place; it may be forgotten. With `narrowly`, revisions
    /// that touched the state as a whole do not count.
    pub(super) fn newest_at(&self, place: &str, narrowly: bool) -> Option<Revision> {
        let wanted = |record: &&Record| {
            concerns(record, place)
                && !(narrowly && record.touched.iter().any(|path| path.is_empty()))
        };
        let listed = self.list.iter().rev().find(wanted);
        // A forgotten revision may be newer than those that are left, because names keep old
        // revisions.
        let since = listed.map_or(0, |record| record.stamp.id);
        let faded = self
            .faded
            .iter()
            .filter(|(path, stamp)| stamp.id > since && key::overlap(path.as_str(), place));
        let Some((path, stamp)) = faded.max_by_key(|(_, stamp)| stamp.id) else {
            return listed.map(Record::revision);
        };
        let stamp = Arc::clone(stamp);
        let touched = Arc::from([Arc::clone(&path.0)]);
        Some(Revision { stamp, touched, name: None, is_checkpoint: false })
    }
}
