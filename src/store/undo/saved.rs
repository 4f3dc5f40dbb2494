//! Undo stacks as bytes, so that they survive a restart. The bytes hold the edits and, for each
//! text and list in them, its present content and its track: the ids of its elements, present or
//! deleted, in order.

mod first;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::{Ids, Sorted, count};
use super::log::{Deleted, Edited, Entry, Group, Log, Marked, WrittenRegister};
use super::names::Name;
use super::track::{Content, Run, Track, push};
use super::{UndoManager, UndoOptions, tracks};
use crate::document::backend::Backend;
use crate::document::key::{self, Key};
use crate::document::replica::List;
use crate::document::rope::{Marks, Rope};
use crate::document::source::Source;
use crate::document::value::Value;
use crate::state::State;
use crate::store::Store;
use crate::store::envelope::{decode, encode};

/// The bytes are not undo stacks that [`UndoManager::save`] wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these are no undo stacks: {reason}")]
pub struct UndoError {
    reason: String,
}

/// The format of the bytes.
const FORMAT: u32 = 2;
/// The upper bound of ids. No document has so many elements, and no store gives so many ids.
const IDS_MAX: u64 = 1 << 48;

#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    format: u32,
    /// The version of the document when the stacks were saved.
    version: Vec<u8>,
    /// The origin of all ids without a name.
    origin: u64,
    names: Vec<SavedName>,
    texts: BTreeMap<String, SavedTrack<TextRun>>,
    lists: BTreeMap<String, SavedTrack<Scalar>>,
    /// Both stacks begin with the oldest group.
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
    texts: Vec<(String, SavedEdited<TextRun>)>,
    lists: Vec<(String, SavedEdited<Scalar>)>,
}

/// The first id of a stretch, and its length.
type SavedIds = (u64, u64);

/// An origin; the first id there and the number of ids; the first id in these stacks.
type SavedName = (u64, SavedIds, u64);

#[derive(Serialize, Deserialize)]
struct SavedTrack<E> {
    content: Vec<E>,
    /// For each run: the first id, or 0 for elements without ids; the number of elements; whether
    /// they are present.
    runs: Vec<(u64, u64, bool)>,
}

#[derive(Serialize, Deserialize)]
struct SavedEdited<E> {
    inserted: Vec<SavedIds>,
    deleted: Vec<(SavedIds, Vec<E>)>,
    marked: Vec<SavedMark>,
    emptied: bool,
    theirs: bool,
}

/// The ids of the characters; the mark's name, its old and its new value.
type SavedMark = (Vec<SavedIds>, Arc<str>, Option<Scalar>, Option<Scalar>);

/// A piece of text with its marks.
type TextRun = (String, BTreeMap<Arc<str>, Scalar>);

/// A value that serde can write, and that has an order.
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

/// A text or list that can be saved.
trait Saving: Content {
    type Element;

    fn elements(&self) -> Vec<Self::Element>;
    fn of(elements: Vec<Self::Element>) -> Self;
}

impl Saving for Rope {
    type Element = TextRun;

    fn elements(&self) -> Vec<TextRun> {
        let marks = |marks: Option<Arc<Marks>>| {
            marks
                .iter()
                .flat_map(|marks| marks.iter())
                .map(|(name, value)| (Arc::clone(name), value.into()))
                .collect()
        };
        self.runs().into_iter().map(|(run, found)| (run, marks(found))).collect()
    }

    fn of(elements: Vec<TextRun>) -> Self {
        let marks = |marks: BTreeMap<Arc<str>, Scalar>| {
            marks.into_iter().map(|(name, value)| (name, value.into())).collect::<Marks>()
        };
        Self::from_runs(
            elements.into_iter().map(|(run, found)| (run, Some(Arc::new(marks(found))))),
        )
    }
}

impl Saving for List {
    type Element = Scalar;

    fn elements(&self) -> Vec<Scalar> {
        self.iter().map(Scalar::from).collect()
    }

    fn of(elements: Vec<Scalar>) -> Self {
        elements.into_iter().map(Value::from).collect()
    }
}

fn broken(reason: impl ToString) -> UndoError {
    UndoError { reason: reason.to_string() }
}

impl UndoError {
    /// The same error, with the path of the text or list.
    fn at(self, path: &str) -> Self {
        Self { reason: format!("{} (at {path})", self.reason) }
    }
}

/// The key of a path. The empty path, the whole state, is an error.
fn key_of(path: &str) -> Result<Key, UndoError> {
    if path.is_empty() { Err(broken("a path is missing")) } else { Ok(Key::from(path)) }
}

fn save_ids(ids: &Range<u64>) -> SavedIds {
    (ids.start, ids.end - ids.start)
}

fn load_ids((start, len): SavedIds) -> Result<Range<u64>, UndoError> {
    match start.checked_add(len) {
        Some(end) if start > 0 && end <= IDS_MAX => Ok(start..end),
        _ => Err(broken("an id is none")),
    }
}

fn load_name((origin, ids, id): SavedName) -> Result<Name, UndoError> {
    load_ids((id, ids.1))?;
    Ok(Name { origin, named: load_ids(ids)?, id })
}

fn save_track<T: Saving>(track: &Track<T>) -> SavedTrack<T::Element> {
    let runs = track.runs.iter().map(|run| (run.id, run.len as u64, run.alive));
    SavedTrack { content: track.known.elements(), runs: runs.collect() }
}

fn load_track<T: Saving>(saved: SavedTrack<T::Element>) -> Result<Track<T>, UndoError> {
    let known = T::of(saved.content);
    let mut runs = Vec::new();
    let mut there = 0usize;
    let mut all = 0usize;
    for (id, len, alive) in saved.runs {
        if id > 0 {
            load_ids((id, len))?;
        } else if !alive {
            return Err(broken("what has gone has no id"));
        }
        let len = usize::try_from(len).map_err(broken)?;
        // Runs are joined when they are pushed: if the sum of all lengths fits, each joined length
        // fits.
        all = all.checked_add(len).ok_or_else(|| broken("a sequence is too long"))?;
        there += if alive { len } else { 0 };
        if there > known.len() {
            break;
        }
        push(&mut runs, Run { id, len, alive });
    }
    if there == known.len() {
        Ok(Track { known, runs })
    } else {
        Err(broken("a sequence has another length"))
    }
}

fn load_tracks<T: Saving>(
    saved: BTreeMap<String, SavedTrack<T::Element>>,
) -> Result<BTreeMap<Key, Track<T>>, UndoError> {
    let load = |(path, track): (String, _)| {
        let track = load_track(track).map_err(|error| error.at(&path))?;
        Ok((key_of(&path)?, track))
    };
    saved.into_iter().map(load).collect()
}

fn save_edited<T: Saving>(edited: &Edited<T>) -> SavedEdited<T::Element> {
    let ids = |ids: &Ids| ids.iter().map(|ids| save_ids(&ids)).collect();
    let scalar = |value: &Option<Value>| value.as_ref().map(Scalar::from);
    SavedEdited {
        inserted: ids(&edited.inserted),
        deleted: edited
            .deleted
            .iter()
            .map(|gone| (save_ids(&gone.ids), gone.content.elements()))
            .collect(),
        marked: edited
            .marked
            .iter()
            .map(|marked| {
                (
                    ids(&marked.ids),
                    Arc::clone(&marked.name),
                    scalar(&marked.old),
                    scalar(&marked.new),
                )
            })
            .collect(),
        emptied: edited.emptied,
        theirs: edited.theirs,
    }
}

fn load_edited<T: Saving>(saved: SavedEdited<T::Element>) -> Result<Edited<T>, UndoError> {
    let ids = |ids: Vec<SavedIds>| ids.into_iter().map(load_ids).collect::<Result<Ids, _>>();
    let value = |scalar: Option<Scalar>| scalar.map(Value::from);
    let gone = |(ids, elements)| {
        let gone = Deleted { ids: load_ids(ids)?, content: T::of(elements) };
        if gone.content.len() == count(&gone.ids) {
            Ok(gone)
        } else {
            Err(broken("what was deleted has another length"))
        }
    };
    let marked = |(stretches, name, old, new)| {
        Ok(Marked { ids: ids(stretches)?, name, old: value(old), new: value(new) })
    };
    let deleted = saved.deleted.into_iter().map(gone).collect::<Result<Vec<_>, UndoError>>()?;
    if !are_apart(deleted.iter().map(|gone| gone.ids.clone())) {
        return Err(broken("an element was deleted twice"));
    }
    Ok(Edited {
        inserted: ids(saved.inserted)?,
        deleted,
        marked: saved.marked.into_iter().map(marked).collect::<Result<_, UndoError>>()?,
        emptied: saved.emptied,
        theirs: saved.theirs,
    })
}

/// Whether no id is in two of these stretches.
fn are_apart(stretches: impl Iterator<Item = Range<u64>>) -> bool {
    let mut sorted: Vec<Range<u64>> = stretches.filter(|ids| !ids.is_empty()).collect();
    sorted.sort_by_key(|ids| ids.start);
    sorted.windows(2).all(|pair| pair[0].end <= pair[1].start)
}

fn save_group(group: &Group) -> SavedGroup {
    let entries = group.entries.iter().map(save_entry).collect();
    SavedGroup {
        label: group.label.clone(),
        selection: group.selection.as_ref().map(|bytes| bytes.to_vec()),
        entries,
    }
}

fn save_entry(entry: &Entry) -> SavedEntry {
    let scalar = |value: &Option<Value>| value.as_ref().map(Scalar::from);
    let path = |key: &Key| key.as_str().to_owned();
    let register = |(key, written): (&Key, &WrittenRegister)| {
        (path(key), scalar(&written.old), scalar(&written.new), written.theirs)
    };
    SavedEntry {
        registers: entry.registers.iter().map(register).collect(),
        texts: entry.texts.iter().map(|(key, edited)| (path(key), save_edited(edited))).collect(),
        lists: entry.lists.iter().map(|(key, edited)| (path(key), save_edited(edited))).collect(),
    }
}

fn load_group(saved: SavedGroup) -> Result<Group, UndoError> {
    let entries = saved.entries.into_iter().map(load_entry).collect::<Result<_, _>>()?;
    Ok(Group { id: 0, entries, label: saved.label, selection: saved.selection.map(Arc::from) })
}

fn load_entry(saved: SavedEntry) -> Result<Entry, UndoError> {
    let mut entry = Entry { registers: load_registers(saved.registers)?, ..Entry::default() };
    for (path, edited) in saved.texts {
        let edited = load_edited(edited).map_err(|error| error.at(&path))?;
        entry.texts.insert(key_of(&path)?, edited);
    }
    for (path, edited) in saved.lists {
        let edited = load_edited(edited).map_err(|error| error.at(&path))?;
        entry.lists.insert(key_of(&path)?, edited);
    }
    Ok(entry)
}

fn load_registers(
    saved: Vec<(String, Option<Scalar>, Option<Scalar>, bool)>,
) -> Result<BTreeMap<Key, WrittenRegister>, UndoError> {
    let value = |scalar: Option<Scalar>| scalar.map(Value::from);
    saved
        .into_iter()
        .map(|(path, old, new, theirs)| {
            Ok((key_of(&path)?, WrittenRegister { old: value(old), new: value(new), theirs }))
        })
        .collect()
}

/// Loaded stacks. Their ids are those of the saved stacks, not of this store.
#[derive(Default)]
struct Loaded {
    version: Vec<u8>,
    names: Vec<Name>,
    texts: BTreeMap<Key, Track<Rope>>,
    lists: BTreeMap<Key, Track<List>>,
    done: Vec<Group>,
    undone: Vec<Group>,
    theirs: BTreeSet<Key>,
    given_back: BTreeSet<Key>,
}

impl Loaded {
    fn read(bytes: &[u8]) -> Result<Self, UndoError> {
        let Format { format } = decode(bytes).map_err(broken)?;
        match format {
            // The first format has no ids. They are made from the bytes, so a hash of the bytes is
            // their origin.
            1 => Ok(first::read(decode(bytes).map_err(broken)?)?
                .with_origin(xxhash_rust::xxh3::xxh3_64(bytes))),
            FORMAT => Self::of(decode(bytes).map_err(broken)?),
            _ => Err(broken("another format")),
        }
    }

    fn of(saved: Saved) -> Result<Self, UndoError> {
        let stack = |groups: Vec<SavedGroup>| {
            groups.into_iter().map(load_group).collect::<Result<Vec<_>, _>>()
        };
        let keys = |paths: Vec<String>| paths.iter().map(|path| Key::from(path.as_str())).collect();
        let loaded = Self {
            version: saved.version,
            names: saved.names.into_iter().map(load_name).collect::<Result<_, _>>()?,
            texts: load_tracks(saved.texts)?,
            lists: load_tracks(saved.lists)?,
            done: stack(saved.done)?,
            undone: stack(saved.undone)?,
            theirs: keys(saved.theirs),
            given_back: keys(saved.given_back),
        };
        Ok(loaded.with_origin(saved.origin))
    }

    /// Gives a name to each element without one: a change of the store with this origin gave it its
    /// id.
    fn with_origin(mut self, origin: u64) -> Self {
        let named = self.names.iter().map(Name::ids).collect::<Ids>().sorted();
        let unnamed = self.stretches().flat_map(|ids| named.cut(ids)).filter(|(_, within)| !within);
        let unnamed: Vec<Name> =
            unnamed.map(|(ids, _)| Name { origin, id: ids.start, named: ids }).collect();
        self.names.extend(unnamed);
        self
    }

    /// The ids of all elements that have one.
    fn stretches(&self) -> impl Iterator<Item = Range<u64>> {
        let runs = self
            .texts
            .values()
            .flat_map(|track| &track.runs)
            .chain(self.lists.values().flat_map(|track| &track.runs));
        runs.filter(|run| run.has_ids()).map(Run::ids)
    }

    /// Forgets the ids of all elements but these.
    fn keep(&mut self, needed: &Sorted) {
        self.texts.values_mut().for_each(|track| track.keep(needed));
        self.lists.values_mut().for_each(|track| track.keep(needed));
    }
}

impl<S: State, B: Backend> UndoManager<S, B> {
    /// The stacks as bytes. Keep them beside the saved document and read them again with
    /// [`Store::undo_manager_from`]. Groups that are held open are closed in the bytes. O(what the
    /// changes in the stacks did, plus the lengths of the texts and lists that they edited).
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let log = self.log.lock().snapshot();
        let mut texts = BTreeMap::new();
        let mut lists = BTreeMap::new();
        let (origin, names) = self.store.read(|core| {
            let mut tracks = core.tracks.borrow_mut();
            let entries = || log.done.iter().chain(&log.undone).flat_map(|group| &group.entries);
            for key in entries().flat_map(|entry| entry.texts.keys()).collect::<BTreeSet<_>>() {
                let track =
                    tracks::current(&mut tracks.texts, key, &core.replica.text(key.as_str()));
                texts.extend(track.map(|track| (key.as_str().to_owned(), save_track(track))));
            }
            for key in entries().flat_map(|entry| entry.lists.keys()).collect::<BTreeSet<_>>() {
                let track =
                    tracks::current(&mut tracks.lists, key, &core.replica.list(key.as_str()));
                lists.extend(track.map(|track| (key.as_str().to_owned(), save_track(track))));
            }
            let ids = entries().flat_map(Entry::ids).collect::<Ids>().sorted();
            let name = |name: Name| (name.origin, save_ids(&name.named), name.id);
            let names: Vec<SavedName> = tracks.names.of(&ids).into_iter().map(name).collect();
            (tracks.names.own(core.replica), names)
        });
        let stack = |groups: &[Group]| groups.iter().map(save_group).collect();
        let done = stack(&log.done);
        let undone = stack(&log.undone);
        let paths = |keys: &BTreeSet<Key>| keys.iter().map(|key| key.as_str().to_owned()).collect();
        let theirs = paths(&log.theirs);
        let given_back = paths(&log.given_back);
        let version = self.store.version().to_bytes();
        let saved = Saved {
            format: FORMAT,
            version,
            origin,
            names,
            texts,
            lists,
            done,
            undone,
            theirs,
            given_back,
        };
        encode(&saved)
    }
}

impl<S: State, B: Backend> Store<S, B> {
    /// Creates a manager with saved stacks of this document, from an earlier run of the program.
    /// The document may have changed since then: content that other writers have overwritten is
    /// left alone.
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
    /// The bytes are not saved stacks, or the store has too few ids left for their elements.
    pub fn undo_manager_from(
        &self,
        bytes: &[u8],
        options: UndoOptions,
    ) -> Result<UndoManager<S, B>, UndoError> {
        let mut loaded = Loaded::read(bytes)?;
        if !are_apart(loaded.stretches()) {
            return Err(broken("two elements have one id"));
        }
        let mut log = Log::new(options);
        (log.theirs, log.given_back) =
            (std::mem::take(&mut loaded.theirs), std::mem::take(&mut loaded.given_back));
        log.fill(std::mem::take(&mut loaded.done), std::mem::take(&mut loaded.undone));
        loaded.keep(&log.ids().collect::<Ids>().sorted());
        let count: u64 = loaded.stretches().map(|ids| ids.end - ids.start).sum();
        // Under the writer lock, so that no element is forgotten before the store knows the
        // manager.
        self.read(|core| {
            if core.replica.version().to_bytes() != loaded.version {
                let texts = &loaded.texts;
                let lists = &loaded.lists;
                let text = |path: &str| Some(&texts.get(key::lookup(&path))?.known);
                log.note_unknown(core.replica, text, |path| {
                    Some(&lists.get(key::lookup(&path))?.known)
                });
            }
            let mut tracks = core.tracks.borrow_mut();
            if tracks.next_id.saturating_add(count) > IDS_MAX {
                return Err(broken("the store has no ids left for them"));
            }
            let renamed =
                tracks.merge_saved((loaded.texts, loaded.lists), &loaded.names, core.replica);
            drop(tracks);
            log.rename(&renamed);
            Ok(self.manager(log))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Map, Text};

    type Notes = Store<Map<u8, Text>>;

    /// A store with the text that is left after "bc" was deleted from "abcd".
    fn written() -> Notes {
        let store = Notes::new();
        store.change(|notes| notes.insert(1, Text::from("ad"))).expect("it can be written");
        store
    }

    /// Stacks of that text with these runs. `deleted` is what the change deleted.
    fn crafted(store: &Notes, runs: &[(u64, u64, bool)], deleted: &[(SavedIds, &str)]) -> Vec<u8> {
        let content = |text: &str| vec![(text.to_owned(), BTreeMap::new())];
        let edited = SavedEdited {
            inserted: vec![(1, 2)],
            deleted: deleted.iter().map(|(ids, text)| (*ids, content(text))).collect(),
            marked: Vec::new(),
            emptied: false,
            theirs: false,
        };
        let entry = SavedEntry {
            registers: Vec::new(),
            texts: vec![("1".to_owned(), edited)],
            lists: Vec::new(),
        };
        let group = SavedGroup { label: None, selection: None, entries: vec![entry] };
        let track = SavedTrack { content: content("ad"), runs: runs.to_vec() };
        encode(&Saved {
            format: FORMAT,
            version: store.version().to_bytes(),
            origin: 1,
            names: Vec::new(),
            texts: BTreeMap::from([("1".to_owned(), track)]),
            lists: BTreeMap::new(),
            done: vec![group],
            undone: Vec::new(),
            theirs: Vec::new(),
            given_back: Vec::new(),
        })
    }

    fn refused(runs: &[(u64, u64, bool)], deleted: &[(SavedIds, &str)]) -> String {
        let store = written();
        let read = store.undo_manager_from(&crafted(&store, runs, deleted), UndoOptions::new());
        read.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn valid_runs_are_read() {
        let store = written();
        let runs = [(1, 1, true), (3, 2, false), (2, 1, true)];
        let undo = store
            .undo_manager_from(&crafted(&store, &runs, &[((3, 2), "bc")]), UndoOptions::new())
            .expect("stacks");
        undo.undo().expect("it can be undone");
        assert_eq!(store.view().get(&1).map(Text::to_string).as_deref(), Some("bc"));
    }

    #[test]
    fn runs_longer_than_the_text_are_refused() {
        let longer = "these are no undo stacks: a sequence has another length (at 1)";
        assert_eq!(refused(&[(0, u64::MAX, true), (0, u64::MAX, true)], &[]), longer);
        assert_eq!(refused(&[(0, 3, true)], &[]), longer);
        assert_eq!(refused(&[(0, 1, true)], &[]), longer);
        let all = "these are no undo stacks: a sequence is too long (at 1)";
        assert_eq!(refused(&[(0, 2, true), (0, u64::MAX, true)], &[]), all);
    }

    #[test]
    fn ids_beyond_the_last_are_refused() {
        let none = "these are no undo stacks: an id is none (at 1)";
        assert_eq!(refused(&[(0, 2, true), (IDS_MAX, 1, false)], &[]), none);
        assert_eq!(refused(&[(0, 2, true), (u64::MAX, 2, false)], &[]), none);
        assert_eq!(refused(&[(0, 2, true)], &[((u64::MAX, 2), "bc")]), none);
    }

    #[test]
    fn two_elements_with_one_id_are_refused() {
        let twice = "these are no undo stacks: two elements have one id";
        assert_eq!(refused(&[(1, 2, true), (2, 1, false)], &[]), twice);
        let dead = (3, IDS_MAX - 3, false);
        let runs: Vec<_> =
            std::iter::once((1, 2, true)).chain(std::iter::repeat_n(dead, 65_536)).collect();
        assert_eq!(refused(&runs, &[]), twice);
    }

    #[test]
    fn an_element_that_was_deleted_twice_is_refused() {
        let twice = "these are no undo stacks: an element was deleted twice (at 1)";
        let runs = [(0, 2, true), (3, 3, false)];
        assert_eq!(refused(&runs, &[((3, 3), "abc"), ((4, 1), "b")]), twice);
        assert_eq!(refused(&runs, &[((4, 2), "bc"), ((3, 2), "ab")]), twice);
        assert_eq!(refused(&runs, &[((4, 2), "bc"), ((3, 1), "a")]), "");
    }
}
