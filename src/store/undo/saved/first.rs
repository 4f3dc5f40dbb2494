//! The first format of saved stacks. It holds the states of each text and list, from the present
//! one backwards, as edits between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::ids::{Ids, Sorted};
use super::super::log::{Deleted, Edited, Entry, Group};
use super::super::track::{Run, Track, new_ids};
use super::{Loaded, Saving, Scalar, TextRun, UndoError, broken, key_of, load_registers};
use crate::document::key::Key;
use crate::document::replica::List;
use crate::document::rope::Rope;

#[derive(Serialize, Deserialize)]
pub(super) struct Saved {
    version: Vec<u8>,
    texts: BTreeMap<String, Vec<Char>>,
    lists: BTreeMap<String, Vec<Scalar>>,
    /// Both stacks begin with the newest group, as each group builds on the one before it.
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

/// The path; whether content was another writer's; the edits from the state that is known so far to
/// the state after the entry; the edits from there to the state before the entry.
type SavedEdited<E> = (String, bool, Patch<E>, Patch<E>);

/// Edits from the start to the end of a sequence: the position, which counts the edits before it;
/// how many elements are deleted; the inserted elements.
type Patch<E> = Vec<(usize, usize, Vec<E>)>;

/// A character with its marks.
type Char = (char, BTreeMap<Arc<str>, Scalar>);

/// A text or list that this format can hold.
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

/// A sequence while the edits of a stack are followed backwards.
struct Walk<T> {
    track: Track<T>,
    /// The ids of the elements of the present state.
    present: Sorted,
    len: usize,
}

impl<T: Sequence> Walk<T> {
    fn new(known: T, next_id: &mut u64) -> Self {
        let len = known.len();
        let ids = new_ids(next_id, len);
        let mut track = Track::new(T::default());
        let present = Ids::from_iter([ids.clone()]).sorted();
        track.known = known;
        track.insert(0, Run::of(ids, true));
        Self { track, present, len }
    }

    /// Goes from one state to another. Returns the ids of the deleted elements, and the inserted
    /// elements.
    fn patch(
        &mut self,
        patch: Patch<T::Old>,
        next_id: &mut u64,
    ) -> Result<(Ids, Vec<Deleted<T>>), UndoError> {
        let mut gone = Ids::default();
        let mut come = Vec::new();
        for (at, delete, insert) in patch {
            let end = at
                .checked_add(delete)
                .filter(|end| *end <= self.len)
                .ok_or_else(|| broken("an edit lies beyond the end"))?;
            self.track.remove(at..end, Some(next_id)).iter().for_each(|ids| gone.push(ids));
            let content = T::of_old(insert);
            let ids = new_ids(next_id, content.len());
            self.len = self.len - delete + content.len();
            self.track.insert(at, Run::of(ids.clone(), true));
            come.extend((!ids.is_empty()).then_some(Deleted { ids, content }));
        }
        Ok((gone, come))
    }

    /// The edit between the two states. What it inserted is deleted on the way back; what it
    /// deleted is inserted on the way back.
    fn edited(
        &mut self,
        (_, theirs, to_after, to_before): SavedEdited<T::Old>,
        next_id: &mut u64,
    ) -> Result<Edited<T>, UndoError> {
        self.patch(to_after, next_id)?;
        let emptied = self.len == 0;
        let (inserted, deleted) = self.patch(to_before, next_id)?;
        Ok(Edited { inserted, deleted, marked: Vec::new(), emptied, theirs })
    }

    /// Goes back to the present state.
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
    /// The groups of a stack, the oldest first.
    fn stack(&mut self, saved: Vec<SavedGroup>) -> Result<Vec<Group>, UndoError> {
        let mut groups =
            saved.into_iter().map(|group| self.group(group)).collect::<Result<Vec<_>, _>>()?;
        groups.reverse();
        self.texts.values_mut().for_each(Walk::end);
        self.lists.values_mut().for_each(Walk::end);
        Ok(groups)
    }

    fn group(&mut self, saved: SavedGroup) -> Result<Group, UndoError> {
        let mut entries = saved
            .entries
            .into_iter()
            .map(|entry| self.entry(entry))
            .collect::<Result<Vec<_>, _>>()?;
        entries.reverse();
        Ok(Group { id: 0, entries, label: saved.label, selection: saved.selection.map(Arc::from) })
    }

    fn entry(&mut self, saved: SavedEntry) -> Result<Entry, UndoError> {
        let mut entry = Entry { registers: load_registers(saved.registers)?, ..Entry::default() };
        for edited in saved.texts {
            let key = key_of(&edited.0)?;
            let walk = self
                .texts
                .entry(key.clone())
                .or_insert_with(|| Walk::new(Rope::new(), &mut self.next_id));
            entry.texts.insert(key, walk.edited(edited, &mut self.next_id)?);
        }
        for edited in saved.lists {
            let key = key_of(&edited.0)?;
            let walk = self
                .lists
                .entry(key.clone())
                .or_insert_with(|| Walk::new(List::new(), &mut self.next_id));
            entry.lists.insert(key, walk.edited(edited, &mut self.next_id)?);
        }
        Ok(entry)
    }
}

fn walks<T: Sequence>(
    saved: BTreeMap<String, Vec<T::Old>>,
    next_id: &mut u64,
) -> Result<BTreeMap<Key, Walk<T>>, UndoError> {
    saved
        .into_iter()
        .map(|(path, elements)| Ok((key_of(&path)?, Walk::new(T::of_old(elements), next_id))))
        .collect()
}

pub(super) fn read(saved: Saved) -> Result<Loaded, UndoError> {
    let mut next_id = 1;
    let texts = walks(saved.texts, &mut next_id)?;
    let lists = walks(saved.lists, &mut next_id)?;
    let mut walks = Walks { texts, lists, next_id };
    let done = walks.stack(saved.done)?;
    let undone = walks.stack(saved.undone)?;
    let keys = |paths: Vec<String>| paths.iter().map(|path| Key::from(path.as_str())).collect();
    Ok(Loaded {
        version: saved.version,
        names: Vec::new(),
        texts: walks.texts.into_iter().map(|(key, walk)| (key, walk.track)).collect(),
        lists: walks.lists.into_iter().map(|(key, walk)| (key, walk.track)).collect(),
        done,
        undone,
        theirs: keys(saved.theirs),
        given_back: keys(saved.given_back),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::UndoOptions;
    use super::*;
    use crate::state::ChangeError;
    use crate::store::Store;
    use crate::store::envelope::encode;
    use crate::{List, Map, Text};

    #[derive(Serialize)]
    struct File {
        format: u32,
        #[serde(flatten)]
        saved: Saved,
    }

    fn chars(text: &str) -> Vec<Char> {
        text.chars().map(|char| (char, BTreeMap::new())).collect()
    }

    fn group(texts: Vec<SavedEdited<Char>>, lists: Vec<SavedEdited<Scalar>>) -> SavedGroup {
        SavedGroup {
            label: None,
            selection: None,
            entries: vec![SavedEntry { registers: Vec::new(), texts, lists }],
        }
    }

    fn file(version: Vec<u8>, done: Vec<SavedGroup>, undone: Vec<SavedGroup>) -> File {
        let texts = BTreeMap::new();
        let lists = BTreeMap::new();
        let theirs = Vec::new();
        let given_back = Vec::new();
        File { format: 1, saved: Saved { version, texts, lists, done, undone, theirs, given_back } }
    }

    /// This store inserted "one two three", deleted "two ", inserted " four" at the end and undid
    /// that. Another writer inserted text at the start.
    #[test]
    fn edits_of_a_text_are_restored_from_the_first_format() -> Result<(), ChangeError> {
        let store = Store::<Map<u8, Text>>::new();
        store.change(|notes| notes.insert(1, Text::from("> one three")))?;
        let note = || "1".to_owned();
        let others = vec![(0, 2, Vec::new())];
        let deleted = (note(), false, others.clone(), vec![(4, 0, chars("two "))]);
        let typed = (note(), false, Vec::new(), vec![(0, 13, Vec::new())]);
        let undone = (note(), false, others, vec![(9, 0, chars(" four"))]);
        let done = vec![group(vec![deleted], Vec::new()), group(vec![typed], Vec::new())];
        let mut file =
            file(store.version().to_bytes(), done, vec![group(vec![undone], Vec::new())]);
        file.saved.texts.insert(note(), chars("> one three"));
        let undo = store.undo_manager_from(&encode(&file), UndoOptions::new()).expect("stacks");
        let shown = || store.view().get(&1).map(Text::to_string).unwrap_or_default();
        let mut found = Vec::new();
        while undo.redo()?.is_some() {
            found.push(shown());
        }
        while undo.undo()?.is_some() {
            found.push(shown());
        }
        assert_eq!(found, ["> one three four", "> one three", "> one two three", "> "]);
        Ok(())
    }

    /// This store inserted 2 and 3 behind 1, and then deleted 1. Another writer inserted 0.
    #[test]
    fn edits_of_a_list_are_restored_from_the_first_format() -> Result<(), ChangeError> {
        let store = Store::<Map<u8, List<i64>>>::new();
        store.change(|lists| lists.insert(1, List::from([0, 2, 3])))?;
        let removed =
            ("1".to_owned(), false, vec![(0, 1, Vec::new())], vec![(0, 0, vec![Scalar::Int(1)])]);
        let added = ("1".to_owned(), false, Vec::new(), vec![(1, 2, Vec::new())]);
        let done = vec![group(Vec::new(), vec![removed]), group(Vec::new(), vec![added])];
        let mut file = file(store.version().to_bytes(), done, Vec::new());
        file.saved.lists.insert("1".to_owned(), [0, 2, 3].map(Scalar::Int).to_vec());
        let undo = store.undo_manager_from(&encode(&file), UndoOptions::new()).expect("stacks");
        let shown = || store.view().get(&1).into_iter().flatten().copied().collect::<Vec<i64>>();
        assert!(undo.undo()?.is_some());
        assert_eq!(shown(), [0, 1, 2, 3]);
        assert!(undo.undo()?.is_some());
        assert_eq!(shown(), [0, 1]);
        Ok(())
    }
}
