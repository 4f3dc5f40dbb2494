//! The content of a history: revisions, the updates that lead from one to the next, and
//! checkpoints.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use super::{HistoryOptions, Revision, RevisionId};
use crate::document::commit::{Commit, Recorder};
use crate::document::key::Key;
use crate::store::{Meta, Origin};

/// The least number of bytes of updates between two checkpoints that are made for the size of the
/// updates. The updates must also be longer than the last checkpoint. So checkpoints cost no more
/// than the updates, and the way from a checkpoint to a revision is not much longer than the
/// checkpoint.
const CHECKPOINT_BYTES_MIN: usize = 64 * 1024;
/// About how many bytes a revision costs beside its updates and paths.
const RECORD_BYTES: usize = 192;
/// About how many bytes a path costs beside its characters.
const PATH_BYTES: usize = 24;
/// The largest number of paths whose last writer is remembered although the revision is forgotten.
const FADED_PATHS_MAX: usize = 65_536;

/// The facts about a revision.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stamp {
    pub(super) id: u64,
    /// `None` if the document was found in this state.
    pub(super) origin: Option<Origin>,
    pub(super) time: SystemTime,
    pub(super) meta: Option<Arc<Meta>>,
}

/// A revision, and how to get to its document.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) stamp: Arc<Stamp>,
    pub(super) touched: Arc<[Arc<str>]>,
    /// The updates from the record before to this one. `None` if no updates lead here.
    pub(super) updates: Option<Vec<Arc<[u8]>>>,
    /// The document at this revision, as bytes.
    pub(super) checkpoint: Option<Arc<[u8]>>,
    pub(super) name: Option<Arc<str>>,
}

impl Record {
    /// How many bytes the record counts towards the bound. For a named record, only its updates
    /// count.
    fn bytes(&self) -> usize {
        self.update_bytes() + if self.name.is_none() { self.lasting_bytes() } else { 0 }
    }

    /// How many bytes the record costs without its updates.
    fn lasting_bytes(&self) -> usize {
        let paths: usize = self.touched.iter().map(|path| PATH_BYTES + path.len()).sum();
        let checkpoint = self.checkpoint.as_ref().map_or(0, |bytes| bytes.len());
        let name = self.name.as_ref().map_or(0, |name| name.len());
        RECORD_BYTES + paths + checkpoint + name
    }

    fn update_bytes(&self) -> usize {
        self.updates.iter().flatten().map(|update| update.len()).sum()
    }

    /// Whether no updates lead here. The record is then a checkpoint, or its document cannot be
    /// rebuilt.
    pub(super) fn stands_alone(&self) -> bool {
        self.updates.is_none()
    }

    pub(super) fn revision(&self) -> Revision {
        let stamp = Arc::clone(&self.stamp);
        let name = self.name.clone();
        Revision {
            stamp,
            name,
            touched: Arc::clone(&self.touched),
            is_checkpoint: self.checkpoint.is_some(),
        }
    }
}

/// The revisions of a document, the oldest first.
pub(in crate::store) struct Records {
    pub(super) options: HistoryOptions,
    /// Never empty.
    pub(super) list: VecDeque<Record>,
    /// For paths in forgotten revisions, the revision that touched the path last.
    pub(super) faded: BTreeMap<Key, Arc<Stamp>>,
    bytes: usize,
    /// Imported updates that no view shows yet.
    parts: Vec<Arc<[u8]>>,
    /// Whether the document was replaced by another one since the last revision.
    replaced: bool,
    newest: Newest,
}

/// The newest checkpoint.
struct Newest {
    made: SystemTime,
    bytes: usize,
    /// The bytes of the updates since.
    bytes_since: usize,
    /// The bytes of the records since: their updates, paths and stamps.
    kept_since: usize,
}

impl Newest {
    fn of(made: SystemTime, checkpoint: &[u8]) -> Self {
        Self { made, bytes: checkpoint.len(), bytes_since: 0, kept_since: 0 }
    }

    fn note(&mut self, record: &Record) {
        self.bytes_since += record.update_bytes();
        self.kept_since += record.bytes();
    }
}

impl Recorder for Records {
    fn record(&mut self, commit: &Commit, checkpoint: &mut dyn FnMut() -> Option<Arc<[u8]>>) {
        let mut updates = std::mem::take(&mut self.parts);
        updates.extend(commit.updates.iter().cloned());
        let replaced = std::mem::take(&mut self.replaced) || commit.origin == Origin::Repair;
        let last = self.last().map(|last| last.stamp.time);
        let time = commit.time.or(last).unwrap_or(SystemTime::UNIX_EPOCH);
        let id = self.last_id() + 1;
        let meta = commit.meta.clone();
        let record = Record {
            stamp: Arc::new(Stamp { id, origin: Some(commit.origin), time, meta }),
            touched: Arc::clone(&commit.touch.written),
            updates: (!replaced).then_some(updates),
            checkpoint: None,
            name: None,
        };
        self.newest.note(&record);
        self.push(record);
        if (replaced || self.is_due(time))
            && let Some(bytes) = checkpoint()
        {
            self.keep(self.list.len() - 1, bytes, None);
            // Updates can only be forgotten up to a checkpoint, so only a new one makes more of
            // them forgettable.
            self.trim();
        }
    }

    fn part(&mut self, updates: &[Arc<[u8]>]) {
        self.parts.extend(updates.iter().cloned());
    }

    fn replaced(&mut self) {
        self.replaced = true;
    }
}

impl Records {
    /// A history that begins with this checkpoint.
    pub(super) fn new(options: HistoryOptions, time: SystemTime, checkpoint: Arc<[u8]>) -> Self {
        let newest = Newest::of(time, &checkpoint);
        let stamp = Arc::new(Stamp { id: 1, origin: None, time, meta: None });
        let first = Record {
            stamp,
            touched: Arc::default(),
            updates: None,
            checkpoint: Some(checkpoint),
            name: None,
        };
        let bytes = first.bytes();
        let list = VecDeque::from([first]);
        let faded = BTreeMap::new();
        Self { options, list, faded, bytes, parts: Vec::new(), replaced: false, newest }
    }

    /// A history that continues with saved records, of which there must be at least one.
    pub(super) fn from_parts(
        options: HistoryOptions,
        list: VecDeque<Record>,
        faded: BTreeMap<Key, Arc<Stamp>>,
    ) -> Self {
        let mut newest = Newest::of(SystemTime::UNIX_EPOCH, &[]);
        for record in &list {
            match &record.checkpoint {
                Some(bytes) => newest = Newest::of(record.stamp.time, bytes),
                None => newest.note(record),
            }
        }
        let mut this =
            Self { options, list, faded, bytes: 0, parts: Vec::new(), replaced: false, newest };
        this.count();
        this.trim();
        this
    }

    fn count(&mut self) {
        self.bytes = self.list.iter().map(Record::bytes).sum();
    }

    /// About how many bytes the history costs.
    pub(super) fn bytes(&self) -> usize {
        let named = self.list.iter().filter(|record| record.name.is_some());
        let faded: usize = self.faded.keys().map(|key| PATH_BYTES + key.as_str().len()).sum();
        self.bytes + faded + named.map(Record::lasting_bytes).sum::<usize>()
    }

    /// The newest revision: its state is the present document.
    pub(super) fn last(&self) -> Option<&Record> {
        self.list.back()
    }

    pub(super) fn last_id(&self) -> u64 {
        self.last().map_or(0, |record| record.stamp.id)
    }

    /// The index of a revision in the list.
    pub(super) fn position(&self, id: RevisionId) -> Option<usize> {
        self.list.binary_search_by_key(&id.get(), |record| record.stamp.id).ok()
    }

    /// Adds a revision with a document that changed without the history.
    pub(super) fn found(&mut self, time: SystemTime, checkpoint: Arc<[u8]>) {
        let stamp = Arc::new(Stamp { id: self.last_id() + 1, origin: None, time, meta: None });
        let touched = Arc::from([Arc::from("")]);
        self.push(Record { stamp, touched, updates: None, checkpoint: None, name: None });
        self.keep(self.list.len() - 1, checkpoint, None);
        self.trim();
    }

    /// Whether another checkpoint is due: the newest one is old, or too many bytes were recorded
    /// since. Over the bound, paths and stamps count beside the updates, because updates can only
    /// be forgotten up to a checkpoint.
    fn is_due(&self, time: SystemTime) -> bool {
        let newest = &self.newest;
        let long_ago = time
            .duration_since(newest.made)
            .is_ok_and(|passed| passed >= self.options.checkpoint_every);
        let since = if self.bytes > self.options.bytes_max {
            newest.kept_since
        } else {
            newest.bytes_since
        };
        long_ago || since > CHECKPOINT_BYTES_MIN.max(newest.bytes)
    }

    /// Names the newest revision. `present` is its document. If it has a name already, another
    /// revision of the same state gets the new name.
    pub(super) fn name(&mut self, name: Arc<str>, present: Arc<[u8]>, time: SystemTime) {
        if self.last().is_some_and(|last| last.name.is_some()) {
            let stamp = Arc::new(Stamp { id: self.last_id() + 1, origin: None, time, meta: None });
            self.push(Record {
                stamp,
                touched: Arc::default(),
                updates: Some(Vec::new()),
                checkpoint: None,
                name: None,
            });
        }
        self.keep(self.list.len() - 1, present, Some(name));
        // The new checkpoint makes older updates forgettable, and another checkpoint may never
        // become due.
        self.trim();
    }

    fn push(&mut self, record: Record) {
        self.bytes += record.bytes();
        self.list.push_back(record);
    }

    /// Keeps the document at a revision as a checkpoint. Sets the name if one is given.
    pub(super) fn keep(&mut self, at: usize, bytes: Arc<[u8]>, name: Option<Arc<str>>) {
        let newest = at + 1 == self.list.len();
        let Some(record) = self.list.get_mut(at) else { return };
        self.bytes -= record.bytes();
        if newest {
            self.newest = Newest::of(record.stamp.time, &bytes);
        }
        (record.checkpoint, record.name) = (Some(bytes), name.or(record.name.take()));
        self.bytes += record.bytes();
    }

    /// Removes the name of a revision. Returns whether it had one.
    pub(super) fn unname(&mut self, at: usize) -> bool {
        let Some(record) = self.list.get_mut(at).filter(|record| record.name.is_some()) else {
            return false;
        };
        self.bytes -= record.bytes();
        record.name = None;
        self.bytes += record.bytes();
        self.trim();
        true
    }

    /// Brings the history back within its bound: forgets the oldest updates and thins out the
    /// checkpoints, the older the more. The newest checkpoint, the updates since, and named
    /// revisions stay.
    pub(super) fn trim(&mut self) {
        if self.bytes <= self.options.bytes_max {
            return;
        }
        let mut log_bytes: usize =
            self.list.iter().filter(|record| record.checkpoint.is_none()).map(Record::bytes).sum();
        while self.bytes > self.options.bytes_max {
            // Updates and checkpoints are forgotten in turn, so that neither takes all the room.
            if log_bytes <= self.options.bytes_max / 2 && self.thin() {
                continue;
            }
            match self.forget_updates() {
                Some(forgotten) => log_bytes = log_bytes.saturating_sub(forgotten),
                None if self.thin() => {}
                None => return,
            }
        }
    }

    /// Forgets the oldest updates, up to the next checkpoint. Returns how many bytes the forgotten
    /// revisions had, or `None` if there were no such updates.
    fn forget_updates(&mut self) -> Option<usize> {
        let end = self
            .list
            .iter()
            .position(|record| !record.stands_alone() && record.checkpoint.is_some())?;
        let start = self
            .list
            .iter()
            .take(end)
            .rposition(|record| record.checkpoint.is_some())
            .map_or(0, |at| at + 1);
        let forgotten: Vec<Record> = self.list.drain(start..end).collect();
        forgotten.iter().for_each(|record| self.fade(record));
        let bytes = forgotten.iter().map(Record::bytes).sum();
        self.bytes -= bytes;
        if let Some(record) = self.list.get_mut(start) {
            self.bytes -= record.update_bytes();
            record.updates = None;
        }
        Some(bytes)
    }

    /// Forgets those of the oldest checkpoints (between which no updates are left) that are missed
    /// least. A checkpoint is missed little if its neighbours are near, compared with its age.
    /// Usually forgets one; up to an eighth of them at once if a long history has to fit into a
    /// smaller bound. Returns whether it forgot any.
    fn thin(&mut self) -> bool {
        let id = |at: usize| self.list.get(at).map_or(0, |record| record.stamp.id);
        let before_updates = self.list.iter().take_while(|record| record.stands_alone()).count();
        let unnamed = |at: &usize| self.list.get(*at).is_some_and(|record| record.name.is_none());
        let last = self.last_id();
        #[expect(clippy::cast_precision_loss, reason = "it is a comparison of sizes")]
        let missed = |at: usize| {
            (id(at + 1) - at.checked_sub(1).map_or(0, id)) as f64 / (last - id(at)) as f64
        };
        let mut least: Vec<(f64, usize)> = (0..before_updates.saturating_sub(1))
            .filter(unnamed)
            .map(|at| (missed(at), at))
            .collect();
        let order = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        let wanted = (least.len() / 8).max(1);
        if least.len() > wanted {
            least.select_nth_unstable_by(wanted, order);
            least.truncate(wanted);
        }
        least.sort_unstable_by(order);
        let mut gone = BTreeSet::new();
        for (_, at) in least {
            // A checkpoint is missed more once its neighbour is forgotten, so it stays.
            if gone.contains(&(at + 1))
                || at.checked_sub(1).is_some_and(|before| gone.contains(&before))
            {
                continue;
            }
            let Some(record) = self.list.get(at).cloned() else { continue };
            self.bytes -= record.bytes();
            self.fade(&record);
            gone.insert(at);
            if self.bytes <= self.options.bytes_max {
                break;
            }
        }
        let oldest: Vec<Record> = self.list.drain(..before_updates).collect();
        let kept = oldest.into_iter().enumerate().rev().filter(|(at, _)| !gone.contains(at));
        kept.for_each(|(_, record)| self.list.push_front(record));
        !gone.is_empty()
    }

    /// Forgets all revisions but the named ones and the newest one. `present` is the document of
    /// the newest one.
    pub(super) fn compact(&mut self, present: Arc<[u8]>) {
        self.keep(self.list.len() - 1, present, None);
        let last = self.last_id();
        let (kept, forgotten): (Vec<Record>, _) = std::mem::take(&mut self.list)
            .into_iter()
            .partition(|record| record.name.is_some() || record.stamp.id == last);
        forgotten.iter().for_each(|record| self.fade(record));
        self.list = kept.into_iter().map(|record| Record { updates: None, ..record }).collect();
        self.count();
    }

    /// Remembers, for the paths of a forgotten revision, that it touched them.
    fn fade(&mut self, record: &Record) {
        for path in record.touched.iter().filter(|path| !path.is_empty()) {
            let stamp = self
                .faded
                .entry(Key(Arc::clone(path)))
                .or_insert_with(|| Arc::clone(&record.stamp));
            if stamp.id < record.stamp.id {
                *stamp = Arc::clone(&record.stamp);
            }
        }
        if self.faded.len() > FADED_PATHS_MAX {
            // The newer half of the paths stays. Of the paths whose revision is on the border, as
            // many stay as there is room for.
            let mut ids: Vec<u64> = self.faded.values().map(|stamp| stamp.id).collect();
            let (_, oldest, newer) =
                ids.select_nth_unstable(self.faded.len() - FADED_PATHS_MAX / 2);
            let oldest = *oldest;
            let mut room = 1 + newer.iter().filter(|id| **id == oldest).count();
            self.faded.retain(|_, stamp| {
                let stays = stamp.id > oldest || stamp.id == oldest && room > 0;
                room -= usize::from(stays && stamp.id == oldest);
                stays
            });
        }
    }
}

#[cfg(test)]
mod tests;
