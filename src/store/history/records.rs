//! What a history holds: revisions, the updates that lead from one to the next, and checkpoints.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use super::{HistoryOptions, Revision, RevisionId};
use crate::document::commit::{Commit, Recorder};
use crate::document::key::Key;
use crate::store::{Meta, Origin};

/// Bytes of updates behind a checkpoint before the next one is due. It is also not due before they
/// are as many as the checkpoint's own, so that checkpoints cost no more than the updates do, and a
/// revision's way from a checkpoint is no longer than that.
const CHECKPOINT_BYTES_MIN: usize = 64 * 1024;
/// What a revision costs beside its updates and paths, about.
const RECORD_BYTES: usize = 192;
/// What a path costs beside its characters, about.
const PATH_BYTES: usize = 24;
/// Paths of which it is remembered who wrote them last, although the revision is forgotten.
const FADED_PATHS_MAX: usize = 65_536;

/// What is said of a revision.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stamp {
    pub(super) id: u64,
    /// `None`: the state in which the document was found.
    pub(super) origin: Option<Origin>,
    pub(super) time: SystemTime,
    pub(super) meta: Option<Arc<Meta>>,
}

/// A revision, and how to get there.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) stamp: Arc<Stamp>,
    pub(super) touched: Arc<[Arc<str>]>,
    /// What leads here from the record before. `None`: nothing does.
    pub(super) updates: Option<Vec<Arc<[u8]>>>,
    /// The document here.
    pub(super) checkpoint: Option<Arc<[u8]>>,
    pub(super) name: Option<Arc<str>>,
}

impl Record {
    /// What it costs, but for what its name keeps.
    fn bytes(&self) -> usize {
        self.update_bytes() + if self.name.is_none() { self.lasting_bytes() } else { 0 }
    }

    /// What it costs but for the way to it.
    fn lasting_bytes(&self) -> usize {
        let paths: usize = self.touched.iter().map(|path| PATH_BYTES + path.len()).sum();
        let checkpoint = self.checkpoint.as_ref().map_or(0, |bytes| bytes.len());
        let name = self.name.as_ref().map_or(0, |name| name.len());
        RECORD_BYTES + paths + checkpoint + name
    }

    fn update_bytes(&self) -> usize {
        self.updates.iter().flatten().map(|update| update.len()).sum()
    }

    /// A checkpoint that nothing leads to.
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
    /// Who wrote a path last, of paths in revisions that are forgotten.
    pub(super) faded: BTreeMap<Key, Arc<Stamp>>,
    bytes: usize,
    /// Updates that came, and that no view shows yet.
    parts: Vec<Arc<[u8]>>,
    /// Whether the document was replaced by another one since the last revision.
    replaced: bool,
    newest: Newest,
}

/// The newest checkpoint.
struct Newest {
    made: SystemTime,
    bytes: usize,
    /// Of the updates since.
    bytes_since: usize,
    /// The same, with what else is kept of the revisions since.
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
            touched: Arc::clone(&commit.touch.noted),
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
            // Only then is there more that can be forgotten.
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
    /// A history that begins here.
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

    /// A history that goes on. There must be records.
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

    /// What the history costs, about.
    pub(super) fn bytes(&self) -> usize {
        let named = self.list.iter().filter(|record| record.name.is_some());
        let faded: usize = self.faded.keys().map(|key| PATH_BYTES + key.as_str().len()).sum();
        self.bytes + faded + named.map(Record::lasting_bytes).sum::<usize>()
    }

    /// The newest revision. What was recorded last is the document as it is now.
    pub(super) fn last(&self) -> Option<&Record> {
        self.list.back()
    }

    pub(super) fn last_id(&self) -> u64 {
        self.last().map_or(0, |record| record.stamp.id)
    }

    /// Where a revision stands.
    pub(super) fn position(&self, id: RevisionId) -> Option<usize> {
        self.list.binary_search_by_key(&id.get(), |record| record.stamp.id).ok()
    }

    /// Begins anew with a document that came about without the history.
    pub(super) fn found(&mut self, time: SystemTime, checkpoint: Arc<[u8]>) {
        let stamp = Arc::new(Stamp { id: self.last_id() + 1, origin: None, time, meta: None });
        let touched = Arc::from([Arc::from("")]);
        self.push(Record { stamp, touched, updates: None, checkpoint: None, name: None });
        self.keep(self.list.len() - 1, checkpoint, None);
        self.trim();
    }

    /// Whether the newest checkpoint is long ago, or far. Where there is no more room, what is
    /// noted beside the updates counts too: only behind a checkpoint can anything be forgotten.
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

    /// Gives the newest revision, whose document is given, a name, or where it has one, another
    /// revision of the same state.
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
        // No other checkpoint may become due, and what lies before this one can be forgotten.
        self.trim();
    }

    fn push(&mut self, record: Record) {
        self.bytes += record.bytes();
        self.list.push_back(record);
    }

    /// Keeps the document at a revision, under a name if it has one.
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

    /// Takes a revision's name away. Whether it had one.
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

    /// Keeps to the bound: forgets the oldest updates, and thins the checkpoints out, the more the
    /// older they are. What the present needs stays, and so does what has a name.
    pub(super) fn trim(&mut self) {
        if self.bytes <= self.options.bytes_max {
            return;
        }
        let mut log: usize =
            self.list.iter().filter(|record| record.checkpoint.is_none()).map(Record::bytes).sum();
        while self.bytes > self.options.bytes_max {
            // By turns, so that neither the updates nor the checkpoints take all the room.
            if log <= self.options.bytes_max / 2 && self.thin() {
                continue;
            }
            match self.forget_updates() {
                Some(forgotten) => log = log.saturating_sub(forgotten),
                None if self.thin() => {}
                None => return,
            }
        }
    }

    /// Forgets the oldest updates, up to the next checkpoint. How many bytes of the revisions
    /// before that went, if there were any.
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

    /// Forgets the checkpoints that are missed least, of the oldest ones, between which there are
    /// no updates: what comes before and after them is near, compared with how long ago they
    /// are. Whether there were any. As a rule it is one; where a long history has to fit into a
    /// smaller bound, up to an eighth of them at once.
    fn thin(&mut self) -> bool {
        let id = |at: usize| self.list.get(at).map_or(0, |record| record.stamp.id);
        let before_updates = self.list.iter().take_while(|record| record.stands_alone()).count();
        let alone = |at: &usize| self.list.get(*at).is_some_and(|record| record.name.is_none());
        let last = self.last_id();
        #[expect(clippy::cast_precision_loss, reason = "it is a comparison of sizes")]
        let missed = |at: usize| {
            (id(at + 1) - at.checked_sub(1).map_or(0, id)) as f64 / (last - id(at)) as f64
        };
        let mut least: Vec<(f64, usize)> = (0..before_updates.saturating_sub(1))
            .filter(alone)
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
            // Whose neighbour goes is missed more now.
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

    /// Forgets all but the named revisions and the newest one, whose document is given.
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

    /// Remembers who wrote what, of a revision that is forgotten.
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
            // The newer half stays, and of those that came at once as many as there is room for.
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
