//! Stacks as bytes, so that they survive a restart. Of texts and lists the present state is in it once; every earlier
//! one is the edits that lead there from the one after it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::log::{Edited, Entry, Group, Log, Written};
use super::{UndoManager, UndoOptions};
use crate::document::backend::Backend;
use crate::document::key::Key;
use crate::document::replica::List;
use crate::document::rope::{Marks, Rope};
use crate::document::source::Source;
use crate::document::value::Value;
use crate::state::{State, diff};
use crate::store::Store;
use crate::store::sealed::{seal, unseal};

/// The bytes are no stacks that [`UndoManager::save`] wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these are no undo stacks: {reason}")]
pub struct UndoError {
    reason: String,
}

/// The format of the bytes.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Saved {
    format: u32,
    /// What the store had seen.
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
    /// From the state that is known so far to that after the entry, and from there to that before it.
    texts: Vec<(String, bool, Patch<Char>, Patch<Char>)>,
    lists: Vec<(String, bool, Patch<Scalar>, Patch<Scalar>)>,
}

/// Edits from the start to the end, each counting those before it: where, how many go, what comes.
type Patch<T> = Vec<(usize, usize, Vec<T>)>;

/// A character with its marks.
type Char = (char, BTreeMap<Arc<str>, Scalar>);

/// A value that serde knows, and that has an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    /// The bits of a float.
    Float(u64),
    Str(Arc<str>),
    Bytes(Vec<u8>),
    Unknown,
}

impl From<&Value> for Scalar {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Int(number) => Self::Int(*number),
            Value::Float(number) => Self::Float(number.to_bits()),
            Value::Str(text) => Self::Str(Arc::clone(text)),
            Value::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
            Value::Unknown(_) => Self::Unknown,
        }
    }
}

impl From<Scalar> for Value {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Null => Self::Null,
            Scalar::Bool(flag) => Self::Bool(flag),
            Scalar::Int(number) => Self::Int(number),
            Scalar::Float(bits) => Self::float(f64::from_bits(bits)),
            Scalar::Str(text) => Self::Str(text),
            Scalar::Bytes(bytes) => Self::Bytes(bytes.into()),
            Scalar::Unknown => Self::Unknown("saved"),
        }
    }
}

fn chars(rope: &Rope) -> Vec<Char> {
    let marks = |marks: Option<&Arc<Marks>>| -> BTreeMap<Arc<str>, Scalar> {
        marks.map(|marks| marks.iter().map(|(name, value)| (Arc::clone(name), value.into())).collect()).unwrap_or_default()
    };
    rope.chunks().flat_map(|(run, found)| run.chars().map(move |char| (char, marks(found))).collect::<Vec<_>>()).collect()
}

/// Puts characters into a text.
fn insert(rope: &mut Rope, mut at: usize, chars: &[Char]) {
    for run in chars.chunk_by(|a, b| a.1 == b.1) {
        let marks: Marks = run[0].1.iter().map(|(name, value)| (Arc::clone(name), value.clone().into())).collect();
        let text: String = run.iter().map(|(char, _)| *char).collect();
        rope.insert(at, &text, (!marks.is_empty()).then(|| Arc::new(marks)));
        at += run.len();
    }
}

fn scalars(list: &List) -> Vec<Scalar> {
    list.iter().map(Scalar::from).collect()
}

fn list(scalars: &[Scalar]) -> List {
    scalars.iter().cloned().map(Value::from).collect()
}

fn patch<T: Eq + Hash + Ord + Clone>(from: &[T], to: &[T]) -> Patch<T> {
    let mut patch = Patch::new();
    diff::slices(from, to, |at, delete, insert| patch.push((at, delete, to[insert].to_vec())));
    patch
}

/// A text or a list with a patch applied, edit by edit in the order in which they were found. It shares what stays. O(patch · log length).
fn patched<T, E>(
    from: &T,
    patch: Patch<E>,
    len: impl Fn(&T) -> usize,
    splice: impl Fn(&mut T, Range<usize>, Vec<E>),
) -> Result<T, UndoError>
where
    T: Clone,
{
    let mut to = from.clone();
    for (at, delete, insert) in patch {
        let end = at.checked_add(delete).filter(|end| *end <= len(&to)).ok_or_else(|| broken("an edit lies beyond the end"))?;
        splice(&mut to, at..end, insert);
    }
    Ok(to)
}

fn patched_text(from: &Rope, patch: Patch<Char>) -> Result<Rope, UndoError> {
    patched(from, patch, Rope::len_chars, |rope, range, chars| {
        let at = range.start;
        rope.delete(range);
        insert(rope, at, &chars);
    })
}

fn patched_list(from: &List, patch: Patch<Scalar>) -> Result<List, UndoError> {
    patched(from, patch, List::len, |list, range, scalars| {
        let rest = list.split_off(range.start);
        list.extend(scalars.into_iter().map(Value::from));
        list.append(rest.skip(range.len()));
    })
}

fn broken(reason: impl ToString) -> UndoError {
    UndoError { reason: reason.to_string() }
}

/// The texts and lists as far as they are known, on the way back through a stack that is saved.
#[derive(Clone, Default)]
struct Known {
    texts: BTreeMap<String, Vec<Char>>,
    lists: BTreeMap<String, Vec<Scalar>>,
}

impl Known {
    fn save(&mut self, group: &Group) -> SavedGroup {
        let entries = group.entries.iter().rev().map(|entry| self.save_entry(entry)).collect();
        SavedGroup { label: group.label.clone(), selection: group.selection.as_ref().map(|bytes| bytes.to_vec()), entries }
    }

    fn save_entry(&mut self, entry: &Entry) -> SavedEntry {
        let scalar = |value: &Option<Value>| value.as_ref().map(Scalar::from);
        let registers = entry
            .registers
            .iter()
            .map(|(key, written)| (key.as_str().to_owned(), scalar(&written.old), scalar(&written.new), written.theirs));
        let texts = entry.texts.iter().map(|(key, text)| {
            let (to_after, to_before) = step(&mut self.texts, key.as_str(), chars(&text.before), &chars(&text.after));
            (key.as_str().to_owned(), text.theirs, to_after, to_before)
        });
        let lists = entry.lists.iter().map(|(key, list)| {
            let (to_after, to_before) = step(&mut self.lists, key.as_str(), scalars(&list.before), &scalars(&list.after));
            (key.as_str().to_owned(), list.theirs, to_after, to_before)
        });
        SavedEntry { registers: registers.collect(), texts: texts.collect(), lists: lists.collect() }
    }
}

/// The same through one that is loaded.
#[derive(Clone, Default)]
struct Loaded {
    texts: BTreeMap<String, Rope>,
    lists: BTreeMap<String, List>,
}

impl Loaded {
    fn new(texts: &BTreeMap<String, Vec<Char>>, lists: &BTreeMap<String, Vec<Scalar>>) -> Self {
        let rope = |chars: &Vec<Char>| {
            let mut rope = Rope::new();
            insert(&mut rope, 0, chars);
            rope
        };
        Self {
            texts: texts.iter().map(|(path, chars)| (path.clone(), rope(chars))).collect(),
            lists: lists.iter().map(|(path, scalars)| (path.clone(), list(scalars))).collect(),
        }
    }

    /// The groups of a stack, the newest first.
    fn stack(mut self, saved: Vec<SavedGroup>) -> Result<Vec<Group>, UndoError> {
        let mut groups = saved.into_iter().map(|group| self.group(group)).collect::<Result<Vec<_>, _>>()?;
        groups.reverse();
        Ok(groups)
    }

    fn group(&mut self, saved: SavedGroup) -> Result<Group, UndoError> {
        let mut entries = saved.entries.into_iter().map(|entry| self.entry(entry)).collect::<Result<Vec<_>, _>>()?;
        entries.reverse();
        Ok(Group { id: 0, entries, label: saved.label, selection: saved.selection.map(Arc::from) })
    }

    fn entry(&mut self, saved: SavedEntry) -> Result<Entry, UndoError> {
        let value = |scalar: Option<Scalar>| scalar.map(Value::from);
        let mut entry = Entry::default();
        for (path, old, new, theirs) in saved.registers {
            entry.registers.insert(key(&path)?, Written { old: value(old), new: value(new), theirs });
        }
        for (path, theirs, to_after, to_before) in saved.texts {
            entry.texts.insert(key(&path)?, step_back(&mut self.texts, path, theirs, [to_after, to_before], patched_text)?);
        }
        for (path, theirs, to_after, to_before) in saved.lists {
            entry.lists.insert(key(&path)?, step_back(&mut self.lists, path, theirs, [to_after, to_before], patched_list)?);
        }
        Ok(entry)
    }
}

/// The edit of a sequence of which two patches lead from what is known to after it, and from there to before it, which is known then.
fn step_back<T: Clone + Default, E>(
    known: &mut BTreeMap<String, T>,
    path: String,
    theirs: bool,
    [to_after, to_before]: [Patch<E>; 2],
    patched: impl Fn(&T, Patch<E>) -> Result<T, UndoError>,
) -> Result<Edited<T>, UndoError> {
    let state = known.entry(path).or_default();
    let after = patched(state, to_after)?;
    let before = patched(&after, to_before)?;
    state.clone_from(&before);
    Ok(Edited { before, after, theirs })
}

/// A path of something: not the whole state.
fn key(path: &str) -> Result<Key, UndoError> {
    if path.is_empty() { Err(broken("a path is missing")) } else { Ok(Key::from(path)) }
}

fn step<T: Eq + Hash + Ord + Clone>(known: &mut BTreeMap<String, Vec<T>>, path: &str, before: Vec<T>, after: &[T]) -> (Patch<T>, Patch<T>) {
    let state = known.entry(path.to_owned()).or_default();
    let patches = (patch(state, after), patch(after, &before));
    *state = before;
    patches
}

impl<S: State, B: Backend> UndoManager<S, B> {
    /// The stacks as bytes, to be kept beside the saved document and read again by [`Store::undo_manager_from`]. Groups that are held
    /// open are closed in them. O(groups · lengths of the texts and lists in them).
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let log = self.log.lock().snapshot();
        let mut base = Known::default();
        for entry in log.done.iter().chain(&log.undone).flat_map(|group| &group.entries) {
            for key in entry.texts.keys() {
                base.texts
                    .entry(key.as_str().to_owned())
                    .or_insert_with(|| self.store.read(|core| chars(&core.replica.text(key.as_str()))));
            }
            for key in entry.lists.keys() {
                base.lists
                    .entry(key.as_str().to_owned())
                    .or_insert_with(|| self.store.read(|core| scalars(&core.replica.list(key.as_str()))));
            }
        }
        let stack = |groups: Vec<&Group>| {
            let mut known = base.clone();
            groups.into_iter().rev().map(|group| known.save(group)).collect()
        };
        let (done, undone) = (stack(log.done.iter().collect()), stack(log.undone.iter().collect()));
        let paths = |keys: &BTreeSet<Key>| keys.iter().map(|key| key.as_str().to_owned()).collect();
        let (theirs, given_back) = (paths(&log.theirs), paths(&log.given_back));
        let version = self.store.version().to_bytes();
        let saved = Saved { format: FORMAT, version, texts: base.texts, lists: base.lists, done, undone, theirs, given_back };
        seal(&saved)
    }
}

impl<S: State, B: Backend> Store<S, B> {
    /// A manager with the stacks that another one saved, of this document in an earlier run. The document may have gone on meanwhile: what
    /// others have written over is left to them.
    ///
    /// ```
    /// use exostate::{State, Store, UndoOptions};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Note { title: String }
    ///
    /// let store = Store::<Note>::new();
    /// let undo = store.undo_manager(UndoOptions::default());
    /// store.change(|note| note.title().set("Plan"))?;
    /// let (document, stacks) = (store.save(), undo.save());
    ///
    /// let store = Store::<Note>::open(&document)?;
    /// let undo = store.undo_manager_from(&stacks, UndoOptions::default())?;
    /// undo.undo()?;
    /// assert_eq!(store.view().title, "");
    /// # Ok::<(), exostate::Error>(())
    /// ```
    ///
    /// # Errors
    /// The bytes are no saved stacks.
    pub fn undo_manager_from(&self, bytes: &[u8], options: UndoOptions) -> Result<UndoManager<S, B>, UndoError> {
        let saved: Saved = unseal(bytes).map_err(broken)?;
        if saved.format != FORMAT {
            return Err(broken("another format"));
        }
        let base = Loaded::new(&saved.texts, &saved.lists);
        let (done, undone) = (base.clone().stack(saved.done)?, base.clone().stack(saved.undone)?);
        let keys = |paths: &[String]| paths.iter().map(|path| Key::from(path.as_str())).collect();
        let mut log = Log::new(options);
        (log.theirs, log.given_back) = (keys(&saved.theirs), keys(&saved.given_back));
        log.fill(done, undone);
        self.read(|core| {
            if core.replica.version().to_bytes() != saved.version {
                log.note_unknown(&core.replica, |path| base.texts.get(path), |path| base.lists.get(path));
            }
        });
        Ok(self.manager(log))
    }
}
