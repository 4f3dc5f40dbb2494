//! Who wrote what.

use std::sync::Arc;

use super::records::{Record, Records};
use super::{History, Revision};
use crate::document::ReplicaId;
use crate::document::backend::Backend;
use crate::document::key;
use crate::state::{AsPath, State};
use crate::store::Origin;

/// Who wrote a place last: see [`History::blame`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Blame {
    /// The revision that it came with: when, and what is said about it. It may be one that the
    /// history cannot show any more. `None` where that was before the history began, or too
    /// long ago.
    pub revision: Option<Revision>,
    /// The replica that wrote it, where that is known: it is asked of the document where the place
    /// is a register and the revision is not one of this store's own changes.
    pub replica: Option<ReplicaId>,
}

impl<S: State, B: Backend> History<S, B> {
    /// Who wrote a place last, when, and with which label. Of a place that holds others it is the
    /// newest of what was done to any of them.
    ///
    /// Author and label are known of what was changed here, as they do not travel; of what came
    /// from others it is known when it came and, of a register, which replica wrote it. `None`:
    /// nobody has written there, as far as anything is known.
    ///
    /// O(revisions), and of a register that others wrote, on yrs, O(document).
    #[must_use]
    pub fn blame(&self, path: &impl AsPath<S>) -> Option<Blame> {
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
            // What touched the state as a whole has not written here.
            revision = self.records.lock().newest_at(place, true);
        }
        (revision.is_some() || replica.is_some()).then_some(Blame { revision, replica })
    }

    /// The revisions that touched a place, or anything in it or above it, the oldest first, as far
    /// as they are there. O(revisions).
    #[must_use]
    pub fn touching(&self, path: &impl AsPath<S>) -> Vec<Revision> {
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
    /// The newest revision that touched a place, one that is forgotten too. `narrowly`: not the
    /// state as a whole.
    pub(super) fn newest_at(&self, place: &str, narrowly: bool) -> Option<Revision> {
        let wanted = |record: &&Record| {
            concerns(record, place)
                && !(narrowly && record.touched.iter().any(|path| path.is_empty()))
        };
        let listed = self.list.iter().rev().find(wanted);
        // What is forgotten may be newer than what is still there: names keep old revisions.
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
