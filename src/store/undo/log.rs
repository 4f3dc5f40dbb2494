//! The stacks of an undo manager: the changes of this store that it can undo and redo, in groups,
//! with the content before each change.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use super::UndoOptions;
use super::ids::{Ids, count};
use super::merge::Renamed;
use super::revert::WayBack;
use super::track::Content;
use super::tracks::{Revived, Tracks};
use crate::document::backend::Backend;
use crate::document::key::{self, Key};
use crate::document::ops::{Ops, SequenceKind, Touched};
use crate::document::replica::{List, Replica};
use crate::document::rope::Rope;
use crate::document::source::Source;
use crate::document::value::Value;
use crate::store::{Meta, Origin};

/// What a change did to one register.
#[derive(Clone, Debug)]
pub(super) struct WrittenRegister {
    pub(super) old: Option<Value>,
    pub(super) new: Option<Value>,
    /// Whether another writer wrote the old value.
    pub(super) theirs: bool,
}

/// What a change did to one sequence. The ids of the elements are those of the sequence's
/// [`Track`](super::track::Track).
#[derive(Clone, Debug)]
pub(super) struct Edited<T> {
    pub(super) inserted: Ids,
    pub(super) deleted: Vec<Deleted<T>>,
    /// Changed marks. Empty for a list.
    pub(super) marked: Vec<Marked>,
    /// Whether the sequence was empty after the change.
    pub(super) emptied: bool,
    /// Whether the change emptied the sequence, and the sequence held content of another writer.
    pub(super) theirs: bool,
}

/// Elements that a change deleted from a sequence.
#[derive(Clone, Debug)]
pub(super) struct Deleted<T> {
    pub(super) ids: Range<u64>,
    /// The content of the elements before the change.
    pub(super) content: T,
}

/// A mark that a change set, changed or cleared in a text.
#[derive(Clone, Debug)]
pub(super) struct Marked {
    pub(super) ids: Ids,
    pub(super) name: Arc<str>,
    pub(super) old: Option<Value>,
    pub(super) new: Option<Value>,
}

impl<T: Content> Deleted<T> {
    /// The part with these ids, which must lie within its own.
    pub(super) fn part(&self, ids: Range<u64>) -> Self {
        let start = count(&(self.ids.start..ids.start));
        Self { content: self.content.part(start..start + count(&ids)), ids }
    }
}

impl<T> Edited<T> {
    fn is_empty(&self) -> bool {
        self.inserted.is_empty() && self.deleted.is_empty() && self.marked.is_empty()
    }

    fn ids(&self) -> impl Iterator<Item = Range<u64>> {
        let deleted = self.deleted.iter().map(|gone| gone.ids.clone());
        let marked = self.marked.iter().flat_map(|marked| marked.ids.iter());
        self.inserted.iter().chain(deleted).chain(marked)
    }
}

impl<T: Content> Edited<T> {
    fn rename(&mut self, renamed: &Renamed) {
        self.inserted = renamed.ids(&self.inserted);
        self.deleted = self.deleted.iter().flat_map(|gone| renamed.gone(gone)).collect();
        self.marked.iter_mut().for_each(|marked| marked.ids = renamed.ids(&marked.ids));
    }

    /// Whether a later edit can be merged into this one.
    fn takes(&self, later: &Self) -> bool {
        self.marked.is_empty() && later.marked.is_empty() && !later.theirs
    }

    /// Merges a later edit into this one. An element that this edit inserted and the later one
    /// deleted counts as neither.
    fn absorb(&mut self, later: Self) {
        let own = self.inserted.clone().sorted();
        let mut cancelled = Ids::default();
        for gone in later.deleted {
            for (ids, is_own) in own.cut(gone.ids.clone()) {
                if is_own {
                    cancelled.push(ids);
                } else {
                    self.deleted.push(gone.part(ids));
                }
            }
        }
        let cancelled = cancelled.sorted();
        let rest =
            |ids| cancelled.cut(ids).into_iter().filter(|(_, within)| !within).map(|(ids, _)| ids);
        let stays = if cancelled.is_empty() {
            std::mem::take(&mut self.inserted)
        } else {
            self.inserted.iter().flat_map(rest).collect()
        };
        self.inserted = stays;
        later.inserted.iter().for_each(|ids| self.inserted.push(ids));
        self.emptied = later.emptied;
    }
}

/// What a change did, with the content before it. Texts and lists share their unchanged parts.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Entry {
    pub(super) registers: BTreeMap<Key, WrittenRegister>,
    pub(super) texts: BTreeMap<Key, Edited<Rope>>,
    pub(super) lists: BTreeMap<Key, Edited<List>>,
}

impl Entry {
    /// The entry of a staged change. Notes the change in the tracks of its sequences. `revived` are
    /// the elements that an undo restores. O(change), plus the runs of the track for each op.
    pub(in crate::store) fn of<B: Backend>(
        ops: &Ops,
        (texts, lists): (&BTreeMap<Key, Rope>, &BTreeMap<Key, List>),
        replica: &Replica<B>,
        tracks: &mut Tracks,
        mut revived: Revived,
    ) -> Self {
        let written = |(key, write): (&Key, &crate::document::ops::RegisterWrite)| {
            (
                key.clone(),
                WrittenRegister { old: write.old.clone(), new: write.new.clone(), theirs: false },
            )
        };
        let mut entry =
            Self { registers: ops.registers.iter().map(written).collect(), ..Self::default() };
        let ops = Tracks::by_sequence(&ops.sequences);
        if !ops.is_empty() {
            tracks.names.own(replica);
        }
        // A sequence that is equal before and after was not edited. The exception is an undo that
        // puts an element in the place of an equal one.
        let texts = texts.iter().map(|(key, after)| (key, replica.text(key.as_str()), after));
        for (key, before, after) in texts {
            let back = revived.remove(&(SequenceKind::Text, key.clone()));
            if before == *after && back.is_none() {
                continue;
            }
            let ops = ops.get(&(SequenceKind::Text, key.as_str())).map_or(&[][..], Vec::as_slice);
            let edited = tracks.note_text(key, ops, (&before, after), back.unwrap_or_default());
            entry.texts.extend((!edited.is_empty()).then(|| (key.clone(), edited)));
        }
        let lists = lists.iter().map(|(key, after)| (key, replica.list(key.as_str()), after));
        for (key, before, after) in lists {
            let back = revived.remove(&(SequenceKind::List, key.clone()));
            if before == *after && back.is_none() {
                continue;
            }
            let ops = ops.get(&(SequenceKind::List, key.as_str())).map_or(&[][..], Vec::as_slice);
            let edited = tracks.note_list(key, ops, (&before, after), back.unwrap_or_default());
            entry.lists.extend((!edited.is_empty()).then(|| (key.clone(), edited)));
        }
        entry
    }

    /// The ids of the elements that the way back has to find again.
    pub(super) fn ids(&self) -> impl Iterator<Item = Range<u64>> {
        self.texts.values().flat_map(Edited::ids).chain(self.lists.values().flat_map(Edited::ids))
    }

    fn is_empty(&self) -> bool {
        self.registers.is_empty() && self.texts.is_empty() && self.lists.is_empty()
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.registers.keys().chain(self.texts.keys()).chain(self.lists.keys())
    }

    /// Merges a later entry into this one. Gives the later entry back if it does not continue this
    /// one.
    fn absorb(&mut self, later: Self) -> Option<Self> {
        let registers = |key, next: &WrittenRegister| {
            self.registers
                .get(key)
                .is_none_or(|ours: &WrittenRegister| ours.new == next.old && !next.theirs)
        };
        let goes_on = later.registers.iter().all(|(key, next)| registers(key, next))
            && go_on(&self.texts, &later.texts)
            && go_on(&self.lists, &later.lists);
        if !goes_on {
            return Some(later);
        }
        for (key, next) in later.registers {
            match self.registers.get_mut(key::lookup(&key.as_str())) {
                Some(ours) => ours.new = next.new,
                None => drop(self.registers.insert(key, next)),
            }
        }
        extend(&mut self.texts, later.texts);
        extend(&mut self.lists, later.lists);
        None
    }
}

/// Whether later edits can be merged into earlier ones.
fn go_on<T: Content>(earlier: &BTreeMap<Key, Edited<T>>, later: &BTreeMap<Key, Edited<T>>) -> bool {
    later.iter().all(|(key, next)| earlier.get(key).is_none_or(|edited| edited.takes(next)))
}

fn extend<T: Content>(earlier: &mut BTreeMap<Key, Edited<T>>, later: BTreeMap<Key, Edited<T>>) {
    for (key, next) in later {
        match earlier.get_mut(key::lookup(&key.as_str())) {
            Some(edited) => edited.absorb(next),
            None => drop(earlier.insert(key, next)),
        }
    }
    earlier.retain(|_, edited| !edited.is_empty());
}

/// Changes that are undone together.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Identifies the group among those of its manager.
    pub(super) id: u64,
    pub(super) entries: Vec<Entry>,
    pub(super) label: Option<Arc<str>>,
    /// The application's selection before the changes.
    pub(super) selection: Option<Arc<[u8]>>,
}

/// The parts of a log that are saved.
pub(super) struct Stacks {
    pub(super) done: Vec<Group>,
    pub(super) undone: Vec<Group>,
    pub(super) theirs: BTreeSet<Key>,
    pub(super) given_back: BTreeSet<Key>,
}

/// The stacks of one undo manager.
#[derive(Debug)]
pub(in crate::store) struct Log {
    pub(super) options: UndoOptions,
    pub(super) done: VecDeque<Group>,
    pub(super) undone: Vec<Group>,
    /// Registers and sequences whose newest content another writer wrote.
    pub(super) theirs: BTreeSet<Key>,
    /// Registers and sequences in which an undo or a redo restored content of another writer. An
    /// undo leaves them alone, a redo does not.
    pub(super) given_back: BTreeSet<Key>,
    /// The current selection, as the application last noted it.
    pub(super) selection: Option<Arc<[u8]>>,
    /// How many groups the application holds open.
    pub(super) held: usize,
    /// When the newest group last grew. `None` if the next change begins another group.
    grown_at: Option<SystemTime>,
    next_id: u64,
    /// The undo or redo that is staged. The thread that stages it holds the writer lock until the
    /// undo or redo is committed or dropped.
    staged: Option<StagedWay>,
}

/// An undo or a redo between staging and commit.
#[derive(Debug)]
struct StagedWay {
    id: u64,
    label: Option<Arc<str>>,
    given_back: Vec<Key>,
    revived: Revived,
}

impl Log {
    pub(super) fn new(options: UndoOptions) -> Self {
        let done = VecDeque::new();
        let undone = Vec::new();
        let theirs = BTreeSet::new();
        let given_back = BTreeSet::new();
        Self {
            options,
            done,
            undone,
            theirs,
            given_back,
            selection: None,
            held: 0,
            grown_at: None,
            next_id: 1,
            staged: None,
        }
    }

    /// Records a change of this store. `now` is the time of the change if its meta names none.
    pub(in crate::store) fn record(
        &mut self,
        mut entry: Entry,
        meta: Option<&Meta>,
        now: Option<SystemTime>,
    ) {
        self.take_over(&mut entry);
        if !entry.is_empty() && self.options.covers(entry.keys()) {
            self.undone.clear();
            self.add(entry, meta, meta.and_then(Meta::time).or(now));
        }
    }

    /// The group that is undone or redone next.
    pub(super) fn newest(&self, origin: Origin) -> Option<&Group> {
        if origin == Origin::Undo { self.done.back() } else { self.undone.last() }
    }

    /// Notes that the way back from the newest group is staged.
    pub(super) fn stage(&mut self, id: u64, label: Option<Arc<str>>, way: WayBack) {
        self.staged =
            Some(StagedWay { id, label, given_back: way.given_back, revived: way.revived });
    }

    /// Takes the ids of the elements that the staged undo or redo restores.
    pub(in crate::store) fn take_revived(&mut self) -> Revived {
        self.staged.as_mut().map(|staged| std::mem::take(&mut staged.revived)).unwrap_or_default()
    }

    /// The ids of the elements that the stacks have to find again.
    pub(in crate::store) fn ids(&self) -> impl Iterator<Item = Range<u64>> {
        self.done.iter().chain(&self.undone).flat_map(|group| &group.entries).flat_map(Entry::ids)
    }

    /// The label of the group whose undo or redo is staged.
    pub(in crate::store) fn staged_label(&self) -> Option<Arc<str>> {
        self.staged.as_ref()?.label.clone()
    }

    /// Forgets the group whose way back is staged, as the way back can never be written.
    pub(in crate::store) fn forget_group(&mut self) {
        if let Some(staged) = self.staged.take() {
            self.take(staged.id);
        }
    }

    /// Moves the group whose way back was just committed to the other stack. Returns the places in
    /// which it restored content of other writers.
    pub(super) fn record_way_back(&mut self, mut entry: Entry, origin: Origin) -> Vec<Key> {
        self.take_over(&mut entry);
        let Some(StagedWay { id, label, given_back, .. }) = self.staged.take() else {
            return Vec::new();
        };
        self.take(id);
        self.give_back(&given_back);
        let group = self.new_group(entry, label);
        match origin {
            Origin::Undo => self.undone.push(group),
            _ => self.done.push_back(group),
        }
        self.split();
        given_back
    }

    /// Notes that these places hold restored content of other writers.
    pub(super) fn give_back(&mut self, keys: &[Key]) {
        for key in keys {
            self.theirs.remove(key);
            self.given_back.insert(key.clone());
        }
    }

    /// Notes that the content which an entry wrote is this store's own. Notes in the entry which of
    /// the content before it was another writer's.
    pub(in crate::store) fn take_over(&mut self, entry: &mut Entry) {
        let mut take = |key| {
            let theirs = self.theirs.remove(key);
            let given_back = self.given_back.remove(key);
            theirs || given_back
        };
        entry.registers.iter_mut().for_each(|(key, written)| written.theirs = take(key));
        // A sequence counts as another writer's until all content is deleted from it.
        entry
            .texts
            .iter_mut()
            .filter(|(_, text)| text.emptied)
            .for_each(|(key, text)| text.theirs = take(key));
        entry
            .lists
            .iter_mut()
            .filter(|(_, list)| list.emptied)
            .for_each(|(key, list)| list.theirs = take(key));
    }

    /// Notes what other writers wrote. `is_there` says whether a sequence has any content: an empty
    /// sequence is not another writer's.
    pub(in crate::store) fn note_others(
        &mut self,
        touched: &Touched,
        is_there: impl Fn(&str) -> bool,
    ) {
        let registers =
            touched.registers.iter().map(|touch| (&touch.key, touch.new.is_some() && !touch.own));
        let sequences = touched
            .sequences
            .iter()
            .map(|(_, name): &(SequenceKind, Arc<str>)| (name, is_there(name)));
        for (key, is_there) in registers.chain(sequences) {
            self.given_back.remove(key::lookup(&key.as_ref()));
            match is_there {
                true => drop(self.theirs.insert(Key(Arc::clone(key)))),
                false => drop(self.theirs.remove(key::lookup(&key.as_ref()))),
            }
        }
    }

    fn add(&mut self, entry: Entry, meta: Option<&Meta>, at: Option<SystemTime>) {
        let label = meta.and_then(Meta::label);
        // If the clock went back, it does not say how much time has passed: the time counts as
        // zero.
        let since = at
            .zip(self.grown_at)
            .map(|(at, grown_at)| at.duration_since(grown_at).unwrap_or_default());
        let close = self.grown_at.is_some() && self.held > 0
            || since.is_some_and(|since| since < self.options.window);
        self.grown_at = at;
        let same =
            |group: &Group| self.held > 0 || label.is_none() || group.label.as_deref() == label;
        match self.done.back_mut().filter(|group| close && same(group)) {
            Some(group) => {
                let rest = match group.entries.last_mut() {
                    Some(last) => last.absorb(entry),
                    None => Some(entry),
                };
                group.entries.extend(rest);
                group.entries.retain(|entry| !entry.is_empty());
                if group.entries.is_empty() {
                    // The later change removed what the group had written: there is nothing to
                    // undo.
                    self.done.pop_back();
                    self.split();
                }
            }
            None => {
                let group = self.new_group(entry, label.map(Arc::from));
                self.done.push_back(group);
                self.trim();
            }
        }
    }

    fn new_group(&mut self, entry: Entry, label: Option<Arc<str>>) -> Group {
        self.next_id += 1;
        Group { id: self.next_id, entries: vec![entry], label, selection: self.selection.clone() }
    }

    /// A copy of the stacks.
    pub(super) fn snapshot(&self) -> Stacks {
        Stacks {
            done: self.done.iter().cloned().collect(),
            undone: self.undone.clone(),
            theirs: self.theirs.clone(),
            given_back: self.given_back.clone(),
        }
    }

    /// Replaces the stacks by saved ones, and gives their groups new ids.
    pub(super) fn fill(&mut self, done: Vec<Group>, undone: Vec<Group>) {
        let mut numbered = |mut group: Group| {
            self.next_id += 1;
            group.id = self.next_id;
            group
        };
        self.done = done.into_iter().map(&mut numbered).collect();
        self.undone = undone.into_iter().map(&mut numbered).collect();
        self.trim();
    }

    /// Replaces the ids from saved stacks by the ids of the store's tracks.
    pub(super) fn rename(&mut self, renamed: &Renamed) {
        let groups = self.done.iter_mut().chain(&mut self.undone);
        for entry in groups.flat_map(|group| &mut group.entries) {
            entry.texts.values_mut().for_each(|edited| edited.rename(renamed));
            entry.lists.values_mut().for_each(|edited| edited.rename(renamed));
        }
    }

    fn trim(&mut self) {
        while self.done.len() > self.options.groups_max {
            self.done.pop_front();
        }
    }

    /// Marks content as another writer's in the places that a way back would clear: all content
    /// that none of the changes in these stacks wrote. The document has changed without this
    /// manager, so the writer of that content is not known. O(the content of those places).
    pub(super) fn note_unknown<'a>(
        &mut self,
        document: &impl Source,
        text: impl Fn(&str) -> Option<&'a Rope>,
        list: impl Fn(&str) -> Option<&'a List>,
    ) {
        let entries = || self.done.iter().chain(&self.undone).flat_map(|group| &group.entries);
        let mut known: BTreeMap<&Key, Vec<&Value>> = BTreeMap::new();
        for (key, written) in entries().flat_map(|entry| &entry.registers) {
            known.entry(key).or_default().extend(&written.new);
        }
        let mut unknown = BTreeSet::new();
        for (place, _) in entries()
            .flat_map(|entry| &entry.registers)
            .filter(|(_, written)| written.new.is_some())
        {
            let within = document.scan(place.as_str()).into_iter();
            let is_known = |key: &Key, value: &Value| {
                known.get(key).is_some_and(|values| values.contains(&value))
            };
            unknown.extend(within.filter(|(key, value)| !is_known(key, value)).map(|(key, _)| key));
            for (kind, name) in document.sequences(place.as_str()) {
                let same = match kind {
                    SequenceKind::Text => text(name.as_str())
                        .is_some_and(|text| *text == document.text(name.as_str())),
                    SequenceKind::List => list(name.as_str())
                        .is_some_and(|list| *list == document.list(name.as_str())),
                };
                unknown.extend((!same).then_some(name));
            }
        }
        self.theirs.extend(unknown);
    }

    /// Whether an undo or a redo must leave the content at a key alone.
    pub(super) fn is_theirs(&self, key: &Key, origin: Origin) -> bool {
        self.theirs.contains(key) || origin == Origin::Undo && self.given_back.contains(key)
    }

    /// The keys below a path whose content an undo or a redo must leave alone.
    pub(super) fn theirs_below<'a>(
        &'a self,
        path: &'a Key,
        origin: Origin,
    ) -> impl Iterator<Item = &'a Key> {
        let below = move |keys: &'a BTreeSet<Key>| {
            let within = keys
                .range(path.clone()..)
                .take_while(|found| key::is_within(found.as_str(), path.as_str()));
            within.filter(move |found| *found != path)
        };
        below(&self.theirs).chain(below(&self.given_back).filter(move |_| origin == Origin::Undo))
    }

    /// Removes a group from its stack.
    pub(super) fn take(&mut self, id: u64) {
        self.done.retain(|group| group.id != id);
        self.undone.retain(|group| group.id != id);
    }

    /// Lets the next change begin another group.
    pub(super) fn split(&mut self) {
        self.grown_at = None;
    }
}
