//! The tracks of a store's sequences: of those in which an undo may have to find elements.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::ids::{Ids, Sorted, count};
use super::log::{Deleted, Edited, Log, Marked};
use super::names::Names;
use super::track::{Content, Run, Track, new_ids};
use crate::document::key::{self, Key};
use crate::document::ops::{SequenceKind, SequenceOp};
use crate::document::replica::List;
use crate::document::rope::{Marks, Rope};

/// The least number of edits between two prunings of the tracks.
const EDITS_BEFORE_PRUNING: usize = 1_024;

/// For each sequence the ids of the elements that an undo restores, in the order in which it
/// inserts them.
pub(in crate::store) type Revived = BTreeMap<(SequenceKind, Key), VecDeque<Range<u64>>>;

/// The tracks of a store's sequences, shared by its undo managers. Only a thread that holds the
/// writer lock uses them.
#[derive(Debug)]
pub(in crate::store) struct Tracks {
    pub(super) texts: BTreeMap<Key, Track<Rope>>,
    pub(super) lists: BTreeMap<Key, Track<List>>,
    pub(super) next_id: u64,
    pub(super) names: Names,
    /// The edits noted since the last pruning.
    noted: usize,
    /// The number of runs that the last pruning kept.
    needed: usize,
}

impl Default for Tracks {
    fn default() -> Self {
        Self {
            texts: BTreeMap::new(),
            lists: BTreeMap::new(),
            next_id: 1,
            names: Names::default(),
            noted: 0,
            needed: 0,
        }
    }
}

impl Tracks {
    /// Forgets the elements that no stack needs, once enough edits were noted that the pruning pays
    /// off. A pruning is O(all tracks and stacks).
    pub(in crate::store) fn prune(&mut self, logs: &[Arc<Mutex<Log>>]) {
        if self.noted <= EDITS_BEFORE_PRUNING.max(2 * self.needed) {
            return;
        }
        let needed: Ids =
            logs.iter().flat_map(|log| log.lock().ids().collect::<Vec<_>>()).collect();
        let needed = needed.sorted();
        self.names.keep(&needed);
        self.needed = keep(&mut self.texts, &needed) + keep(&mut self.lists, &needed);
        self.noted = 0;
    }

    /// Forgets all tracks and names, as no undo manager is left. Ids are not given again.
    pub(in crate::store) fn clear(&mut self) {
        if !self.texts.is_empty() || !self.lists.is_empty() {
            let mut names = std::mem::take(&mut self.names);
            names.clear();
            *self = Self { next_id: self.next_id, names, ..Self::default() };
        }
    }

    /// The ops of a change, grouped by sequence.
    pub(super) fn by_sequence(
        ops: &[SequenceOp],
    ) -> BTreeMap<(SequenceKind, &str), Vec<&SequenceOp>> {
        let mut found: BTreeMap<_, Vec<&SequenceOp>> = BTreeMap::new();
        for op in ops {
            let (name, kind) = op.target();
            found.entry((kind, &**name)).or_default().push(op);
        }
        found
    }

    /// Notes the ops that turn the first of the two texts into the second.
    pub(super) fn note_text(
        &mut self,
        key: &Key,
        ops: &[&SequenceOp],
        texts: (&Rope, &Rope),
        revived: VecDeque<Range<u64>>,
    ) -> Edited<Rope> {
        let track = self.texts.entry(key.clone()).or_insert_with(|| Track::new(texts.0.clone()));
        self.noted += ops.len();
        let mut noting = Noting::new(track, texts, &mut self.next_id, revived);
        for op in ops {
            match op {
                SequenceOp::Text { at, delete, insert, marks, .. } => {
                    noting.remove(at.chars..at.chars + delete.chars);
                    noting.insert(at.chars, insert.chars().count(), |text| {
                        text.insert(at.chars, insert, marks.clone())
                    });
                }
                SequenceOp::Clear { .. } => noting.remove(0..usize::MAX),
                SequenceOp::Mark { .. } | SequenceOp::List { .. } => {}
            }
        }
        let marked = match ops.iter().any(|op| matches!(op, SequenceOp::Mark { .. })) {
            true => noting.marked(texts.1),
            false => Vec::new(),
        };
        Edited { marked, ..noting.end(texts.1) }
    }

    /// Notes the ops that turn the first of the two lists into the second.
    pub(super) fn note_list(
        &mut self,
        key: &Key,
        ops: &[&SequenceOp],
        lists: (&List, &List),
        revived: VecDeque<Range<u64>>,
    ) -> Edited<List> {
        let track = self.lists.entry(key.clone()).or_insert_with(|| Track::new(lists.0.clone()));
        self.noted += ops.len();
        let mut noting = Noting::new(track, lists, &mut self.next_id, revived);
        for op in ops {
            match op {
                SequenceOp::List { at, delete, insert, .. } => {
                    noting.remove(*at..*at + *delete);
                    noting.insert(*at, insert.len(), |list| {
                        list.splice(*at, 0, insert.iter().cloned());
                    });
                }
                SequenceOp::Clear { .. } => noting.remove(0..usize::MAX),
                SequenceOp::Text { .. } | SequenceOp::Mark { .. } => {}
            }
        }
        noting.end(lists.1)
    }
}

/// Forgets the ids of all elements but these. Returns how many runs are left.
fn keep<T: Content>(tracks: &mut BTreeMap<Key, Track<T>>, needed: &Sorted) -> usize {
    tracks.values_mut().for_each(|track| track.keep(needed));
    tracks.retain(|_, track| track.has_ids());
    tracks.values().map(|track| track.runs.len()).sum()
}

/// Notes the ops of a change on one sequence, one after the other.
struct Noting<'a, T> {
    track: &'a mut Track<T>,
    next_id: &'a mut u64,
    revived: VecDeque<Range<u64>>,
    /// The revived elements that the track has a place for.
    placed: Sorted,
    /// The placed elements that were inserted, but that the track does not mark as present yet. To
    /// mark them together takes one walk over the track.
    pending: Ids,
    /// The sequence after the ops so far, without the effect of mark ops.
    now: T,
    inserted: Ids,
    deleted: Vec<Deleted<T>>,
}

impl<'a, T: Content> Noting<'a, T> {
    fn new(
        track: &'a mut Track<T>,
        (before, after): (&T, &T),
        next_id: &'a mut u64,
        revived: VecDeque<Range<u64>>,
    ) -> Self {
        track.sync(before);
        track.known = after.clone();
        let placed = match revived.is_empty() {
            true => Sorted::default(),
            false => track
                .places(&revived.iter().cloned().collect::<Ids>().sorted())
                .into_iter()
                .map(|placed| placed.ids)
                .collect::<Ids>()
                .sorted(),
        };
        let now = before.clone();
        let inserted = Ids::default();
        let deleted = Vec::new();
        Self { track, next_id, revived, placed, pending: Ids::default(), now, inserted, deleted }
    }

    fn remove(&mut self, range: Range<usize>) {
        let range = range.start.min(self.now.len())..range.end.min(self.now.len());
        let mut at = range.start;
        if !range.is_empty() {
            self.revive();
        }
        for ids in self.track.remove(range.clone(), Some(self.next_id)).iter() {
            let content = self.now.part(at..at + count(&ids));
            at += count(&ids);
            self.deleted.push(Deleted { ids, content });
        }
        self.now.remove(range);
    }

    fn insert(&mut self, at: usize, len: usize, insert: impl FnOnce(&mut T)) {
        let mut done = 0;
        while done < len {
            let ids = self.next_ids(len - done);
            for (ids, is_placed) in self.placed.cut(ids.clone()) {
                let ids_len = count(&ids);
                if is_placed {
                    self.pending.push(ids);
                } else {
                    self.revive();
                    self.track.insert(at + done, Run::of(ids, true));
                }
                done += ids_len;
            }
            self.inserted.push(ids);
        }
        if len > 0 {
            insert(&mut self.now);
        }
    }

    /// Marks the pending elements as present in the track. Needed before a position is looked up in
    /// it.
    fn revive(&mut self) {
        if !self.pending.is_empty() {
            self.track.set_alive(&std::mem::take(&mut self.pending).sorted(), true);
        }
    }

    /// Ids for at most `most` elements: those of revived elements first, then new ones.
    fn next_ids(&mut self, most: usize) -> Range<u64> {
        match self.revived.pop_front() {
            Some(ids) if count(&ids) > most => {
                let end = ids.start + most as u64;
                self.revived.push_front(end..ids.end);
                ids.start..end
            }
            Some(ids) => ids,
            None => new_ids(self.next_id, most),
        }
    }

    /// The sum of the ops. An element that they inserted and then deleted counts as neither.
    fn end(mut self, after: &T) -> Edited<T> {
        self.revive();
        let inserted = self.inserted.clone().sorted();
        let gone: Ids = self.deleted.iter().map(|gone| gone.ids.clone()).collect();
        let stays = |ids, among: &Sorted| {
            among
                .cut(ids)
                .into_iter()
                .filter(|(_, within)| !within)
                .map(|(ids, _)| ids)
                .collect::<Vec<_>>()
        };
        let gone = gone.sorted();
        let deleted = self.deleted.iter().flat_map(|gone| {
            stays(gone.ids.clone(), &inserted).into_iter().map(|ids| gone.part(ids))
        });
        Edited {
            inserted: self.inserted.iter().flat_map(|ids| stays(ids, &gone)).collect(),
            deleted: deleted.collect(),
            marked: Vec::new(),
            emptied: after.len() == 0,
            theirs: false,
        }
    }
}

impl Noting<'_, Rope> {
    /// The marks that changed on elements that were there before the change and still are.
    fn marked(&mut self, after: &Rope) -> Vec<Marked> {
        self.revive();
        let inserted = self.inserted.clone().sorted();
        let mut marked = Vec::new();
        let none = Arc::new(Marks::new());
        let mut at = 0;
        let mut olds = runs(&self.now);
        let mut news = runs(after);
        while let (Some((old_len, old)), Some((new_len, new))) =
            (olds.front_mut(), news.front_mut())
        {
            let len = (*old_len).min(*new_len);
            (*old_len, *new_len) = (*old_len - len, *new_len - len);
            if old != new {
                let ids: Vec<Range<u64>> = self
                    .track
                    .ids_of(at..at + len, self.next_id)
                    .iter()
                    .flat_map(|ids| inserted.cut(ids))
                    .filter(|(_, within)| !within)
                    .map(|(ids, _)| ids)
                    .collect();
                let old = old.as_ref().unwrap_or(&none);
                let new = new.as_ref().unwrap_or(&none);
                let names: BTreeSet<&Arc<str>> = old.keys().chain(new.keys()).collect();
                for name in names
                    .into_iter()
                    .filter(|name| !ids.is_empty() && old.get(*name) != new.get(*name))
                {
                    let old = old.get(name).cloned();
                    let new = new.get(name).cloned();
                    marked.push(Marked {
                        ids: ids.iter().cloned().collect(),
                        name: Arc::clone(name),
                        old,
                        new,
                    });
                }
            }
            at += len;
            if olds.front().is_some_and(|(len, _)| *len == 0) {
                olds.pop_front();
            }
            if news.front().is_some_and(|(len, _)| *len == 0) {
                news.pop_front();
            }
        }
        marked
    }
}

/// The runs of a text with equal marks: the length of each in characters, and its marks.
fn runs(text: &Rope) -> VecDeque<(usize, Option<Arc<Marks>>)> {
    text.runs().into_iter().map(|(run, marks)| (run.chars().count(), marks)).collect()
}

/// Brings the track of a sequence up to date with the document and returns it. `None` if the
/// sequence has no track.
pub(super) fn current<'t, T: Content>(
    tracks: &'t mut BTreeMap<Key, Track<T>>,
    key: &Key,
    now: &T,
) -> Option<&'t Track<T>> {
    let track = tracks.get_mut(key::lookup(&key.as_str()))?;
    track.sync(now);
    Some(track)
}
