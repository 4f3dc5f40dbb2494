//! The first format of saved stacks: of each text and list its states, from the present one back, as edits between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::ids::{Ids, Sorted};
use super::super::log::{Edited, Entry, Gone, Group};
use super::super::track::{Run, Track, take_ids};
use super::{Loaded, Saving, Scalar, TextRun, UndoError, broken, key_of, load_registers};
use crate::document::key::Key;
use crate::document::replica::List;
use crate::document::rope::Rope;

#[derive(Serialize, Deserialize)]
pub(super) struct Saved {
    version: Vec<u8>,
    texts: BTreeMap<String, Vec<Char>>,
    lists: BTreeMap<String, Vec<Scalar>>,
    /// Each the newest first, as they build on each other.
    done: Vec<SavedGroup>,
    undone: Vec<SavedGroup>,
    theirs: Vec<String>,
    given_back: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct SavedGroup {
    label: Option<Arc<str>>,
    selection: Option<Vec<u8>>,
    entries: Vec<SavedEntry>,
}

#[derive(Serialize, Deserialize)]
struct SavedEntry {
    registers: Vec<(String, Option<Scalar>, Option<Scalar>, bool)>,
    texts: Vec<SavedEdited<Char>>,
    lists: Vec<SavedEdited<Scalar>>,
}

/// A path, whether something was somebody else's, and the edits from the state that is known so far to that after the entry, and from there
/// to that before it.
type SavedEdited<E> = (String, bool, Patch<E>, Patch<E>);

/// Edits from the start to the end, each counting those before it: where, how many go, what comes.
type Patch<E> = Vec<(usize, usize, Vec<E>)>;

/// A character with its marks.
type Char = (char, BTreeMap<Arc<str>, Scalar>);

/// What a sequence is made of in this format.
trait Sequence: Saving {
    type Old;

    fn of_old(elements: Vec<Self::Old>) -> Self;
}

impl Sequence for Rope {
    type Old = Char;

    fn of_old(elements: Vec<Char>) -> Self {
        let mut runs: Vec<TextRun> = Vec::new();
        for (char, marks) in elements {
            match runs.last_mut().filter(|(_, found)| *found == marks) {
                Some((run, _)) => run.push(char),
                None => runs.push((char.into(), marks)),
            }
        }
        Self::of(runs)
    }
}

impl Sequence for List {
    type Old = Scalar;

    fn of_old(elements: Vec<Scalar>) -> Self {
        Self::of(elements)
    }
}

/// A sequence on the way back through a stack.
struct Walk<T> {
    track: Track<T>,
    /// The elements of the present state.
    present: Sorted,
    len: usize,
}

impl<T: Sequence> Walk<T> {
    fn new(known: T, next_id: &mut u64) -> Self {
        let len = known.len();
        let ids = take_ids(next_id, len);
        let (mut track, present) = (Track::new(T::default()), Ids::from_iter([ids.clone()]).sorted());
        track.known = known;
        track.insert(0, Run::of(ids, true));
        Self { track, present, len }
    }

    /// Goes from one state to another: the elements that go, and those that come.
    fn patch(&mut self, patch: Patch<T::Old>, next_id: &mut u64) -> Result<(Ids, Vec<Gone<T>>), UndoError> {
        let (mut gone, mut come) = (Ids::default(), Vec::new());
        for (at, delete, insert) in patch {
            let end = at.checked_add(delete).filter(|end| *end <= self.len).ok_or_else(|| broken("an edit lies beyond the end"))?;
            self.track.remove(at..end, Some(next_id)).iter().for_each(|ids| gone.push(ids));
            let content = T::of_old(insert);
            let ids = take_ids(next_id, content.len());
            self.len = self.len - delete + content.len();
            self.track.insert(at, Run::of(ids.clone(), true));
            come.extend((!ids.is_empty()).then_some(Gone { ids, content }));
        }
        Ok((gone, come))
    }

    /// The edit of which the states are known. What it put in is what goes on the way back.
    fn edited(&mut self, (_, theirs, to_after, to_before): SavedEdited<T::Old>, next_id: &mut u64) -> Result<Edited<T>, UndoError> {
        self.patch(to_after, next_id)?;
        let emptied = self.len == 0;
        let (inserted, deleted) = self.patch(to_before, next_id)?;
        Ok(Edited { inserted, deleted, marked: Vec::new(), emptied, theirs })
    }

    /// Back to the present state.
    fn end(&mut self) {
        self.track.show(&self.present);
        self.len = self.track.known.len();
    }
}

struct Walks {
    texts: BTreeMap<Key, Walk<Rope>>,
    lists: BTreeMap<Key, Walk<List>>,
    next_id: u64,
}

impl Walks {
    /// The groups of a stack.
    fn stack(&mut self, saved: Vec<SavedGroup>) -> Result<Vec<Group>, UndoError> {
        let mut groups = saved.into_iter().map(|group| self.group(group)).collect::<Result<Vec<_>, _>>()?;
        groups.reverse();
        self.texts.values_mut().for_each(Walk::end);
        self.lists.values_mut().for_each(Walk::end);
        Ok(groups)
    }

    fn group(&mut self, saved: SavedGroup) -> Result<Group, UndoError> {
        let mut entries = saved.entries.into_iter().map(|entry| self.entry(entry)).collect::<Result<Vec<_>, _>>()?;
        entries.reverse();
        Ok(Group { id: 0, entries, label: saved.label, selection: saved.selection.map(Arc::from) })
    }

    fn entry(&mut self, saved: SavedEntry) -> Result<Entry, UndoError> {
        let mut entry = Entry { registers: load_registers(saved.registers)?, ..Entry::default() };
        for edited in saved.texts {
            let key = key_of(&edited.0)?;
            let walk = self.texts.entry(key.clone()).or_insert_with(|| Walk::new(Rope::new(), &mut self.next_id));
            entry.texts.insert(key, walk.edited(edited, &mut self.next_id)?);
        }
        for edited in saved.lists {
            let key = key_of(&edited.0)?;
            let walk = self.lists.entry(key.clone()).or_insert_with(|| Walk::new(List::new(), &mut self.next_id));
            entry.lists.insert(key, walk.edited(edited, &mut self.next_id)?);
        }
        Ok(entry)
    }
}

fn walks<T: Sequence>(saved: BTreeMap<String, Vec<T::Old>>, next_id: &mut u64) -> Result<BTreeMap<Key, Walk<T>>, UndoError> {
    saved.into_iter().map(|(path, elements)| Ok((key_of(&path)?, Walk::new(T::of_old(elements), next_id)))).collect()
}

pub(super) fn read(saved: Saved) -> Result<Loaded, UndoError> {
    let mut next_id = 1;
    let texts = walks(saved.texts, &mut next_id)?;
    let lists = walks(saved.lists, &mut next_id)?;
    let mut walks = Walks { texts, lists, next_id };
    let (done, undone) = (walks.stack(saved.done)?, walks.stack(saved.undone)?);
    let keys = |paths: Vec<String>| paths.iter().map(|path| Key::from(path.as_str())).collect();
    Ok(Loaded {
        version: saved.version,
        texts: walks.texts.into_iter().map(|(key, walk)| (key, walk.track)).collect(),
        lists: walks.lists.into_iter().map(|(key, walk)| (key, walk.track)).collect(),
        done,
        undone,
        theirs: keys(saved.theirs),
        given_back: keys(saved.given_back),
    })
}
