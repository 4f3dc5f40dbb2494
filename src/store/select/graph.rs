//! The graph of what each selector read (paths and other selectors), and which selectors are fresh.
//!
//! A commit only marks selectors; a read brings a selector up to date. The marks are set in the
//! moment in which the new view is shown, under the lock that every read of a selector takes. So no
//! reader gets an old value beside a new view. Marking costs O(path) per touched path and calls no
//! code of the application.
//!
//! A selector that read a touched path becomes [`Stale`](Freshness::Stale). A selector that read a
//! marked selector becomes only [`Unsure`](Freshness::Unsure): if the value that it read stays
//! equal, it does not have to be computed again.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::state::At;
use crate::store::watch::Branch;

/// A view or a selector's value, whatever its type.
pub(crate) type Shown = Arc<dyn Any + Send + Sync>;

/// A view, and its number. All values that are read at one moment belong to one view.
#[derive(Clone)]
pub(crate) struct Moment {
    pub(crate) view: Shown,
    pub(crate) generation: u64,
}

/// A selector that another one read.
pub(crate) trait Input: Send + Sync {
    fn id(&self) -> u64;
    /// Brings the value up to date, and returns its version. `None` if the moment is over and the
    /// value was not kept, or if the closure panics.
    fn version_at(&self, moment: &Moment) -> Option<u64>;
}

/// Selectors that were read, in order, each with the version of its value. `None` if the version is
/// not known.
pub(crate) type Inputs = Vec<(Arc<dyn Input>, Option<u64>)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Freshness {
    Fresh,
    /// A selector that this one read may have another value.
    Unsure,
    /// A path that the selector read was touched, or the selector has not run yet.
    Stale,
}

/// A selector as the graph knows it.
pub(crate) struct Known {
    pub(crate) freshness: Freshness,
    pub(crate) value: Option<Shown>,
    pub(crate) version: u64,
    /// The inputs to check if the selector is unsure; otherwise empty.
    pub(crate) inputs: Inputs,
}

/// The paths and selectors that a selector read.
#[derive(Default)]
pub(crate) struct Read {
    pub(crate) paths: BTreeSet<Box<str>>,
    pub(crate) inputs: Inputs,
}

struct Entry {
    freshness: Freshness,
    value: Option<Shown>,
    /// The number of the value: each new value gets another one.
    version: u64,
    read: Read,
    readers: BTreeSet<u64>,
    watchers: BTreeSet<u64>,
}

/// All live selectors of a store.
#[derive(Default)]
pub(crate) struct Graph {
    generation: u64,
    entries: HashMap<u64, Entry>,
    readers_by_path: Branch,
    /// For each watcher of a selector, the selector.
    watched: BTreeMap<u64, u64>,
    /// Watchers whose selector may have another value than the one that they were told.
    pending: BTreeSet<u64>,
}

impl Graph {
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn watchers(&self) -> usize {
        self.watched.len()
    }

    pub(crate) fn add(&mut self, id: u64) {
        let readers = BTreeSet::new();
        let watchers = BTreeSet::new();
        let entry = Entry {
            freshness: Freshness::Stale,
            value: None,
            version: 0,
            read: Read::default(),
            readers,
            watchers,
        };
        self.entries.insert(id, entry);
    }

    /// Removes a selector. Drop the returned value outside the lock.
    pub(crate) fn remove(&mut self, id: u64) -> impl Sized + use<> {
        let read = self.replace_read(id, Read::default());
        (read, self.entries.remove(&id).map(|entry| entry.value))
    }

    /// Begins a new moment, in which paths were touched. O(path) for each path, plus the selectors
    /// that depend on them.
    pub(crate) fn touch(&mut self, touched: &[Arc<str>]) {
        self.generation += 1;
        if self.entries.is_empty() {
            return;
        }
        let mut stale = BTreeSet::new();
        for path in touched {
            self.readers_by_path.find(At::start(path), "", &|_| BTreeSet::new(), &mut |id, _| {
                stale.insert(id);
            });
        }
        let mut unsure = BTreeSet::new();
        let mut marks: Vec<(u64, Freshness)> =
            stale.into_iter().map(|id| (id, Freshness::Stale)).collect();
        while let Some((id, mark)) = marks.pop() {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.freshness = entry.freshness.max(mark);
            // Watchers are added also if the selector was marked before: a read since then may have
            // failed to bring it up to date.
            self.pending.extend(&entry.watchers);
            marks.extend(
                entry
                    .readers
                    .iter()
                    .filter(|reader| unsure.insert(**reader))
                    .map(|reader| (*reader, Freshness::Unsure)),
            );
        }
    }

    /// What the graph knows of a selector. `None` if it was removed.
    pub(crate) fn known(&self, id: u64) -> Option<Known> {
        let entry = self.entries.get(&id)?;
        let inputs = if entry.freshness == Freshness::Unsure {
            entry.read.inputs.clone()
        } else {
            Vec::new()
        };
        Some(Known {
            freshness: entry.freshness,
            value: entry.value.clone(),
            version: entry.version,
            inputs,
        })
    }

    /// Notes that the inputs of an unsure selector have their old values. Returns whether the
    /// moment is still the same, and the selector therefore fresh.
    pub(crate) fn confirm(&mut self, id: u64, generation: u64) -> bool {
        let Some(entry) = self.entries.get_mut(&id).filter(|_| self.generation == generation)
        else {
            return false;
        };
        if entry.freshness == Freshness::Unsure {
            entry.freshness = Freshness::Fresh;
        }
        entry.freshness == Freshness::Fresh
    }

    /// Stores what a selector read and its new value; `value` is `None` if the new value equals the
    /// old one. Returns the version. It is `None` if the moment is over: then nothing is stored,
    /// and the selector's watchers read it again with the next notice. Drop the second returned
    /// value outside the lock.
    pub(crate) fn keep(
        &mut self,
        id: u64,
        generation: u64,
        value: Option<Shown>,
        read: Read,
    ) -> (Option<u64>, impl Sized + use<>) {
        let current = self.generation == generation;
        let Some(entry) = self.entries.get_mut(&id) else { return (None, (Some(read), value)) };
        if !current {
            self.pending.extend(&entry.watchers);
            return (None, (Some(read), value));
        }
        if entry.freshness == Freshness::Fresh {
            // Another thread has computed the value for the same view.
            return (Some(entry.version), (Some(read), value));
        }
        entry.freshness = Freshness::Fresh;
        let mut old = value;
        if old.is_some() {
            entry.version += 1;
            std::mem::swap(&mut entry.value, &mut old);
        }
        let version = entry.version;
        (Some(version), (self.replace_read(id, read), old))
    }

    /// Stores what a selector read before its closure panicked. So the next read runs the closure
    /// again, and watchers read the selector again when one of those inputs has changed.
    pub(crate) fn keep_failed(
        &mut self,
        id: u64,
        generation: u64,
        read: Read,
    ) -> impl Sized + use<> {
        let Some(entry) = self.entries.get_mut(&id) else { return Some(read) };
        if self.generation != generation {
            self.pending.extend(&entry.watchers);
            return Some(read);
        }
        if entry.freshness == Freshness::Fresh {
            // Another thread has computed the value for the same view, without a panic.
            return Some(read);
        }
        // Stale, not unsure: even if the inputs that it read before the panic stay equal, the old
        // value is not right.
        entry.freshness = Freshness::Stale;
        self.replace_read(id, read)
    }

    /// Replaces the record of what a selector read. Updates only the differences. Returns the old
    /// record.
    fn replace_read(&mut self, id: u64, new: Read) -> Option<Read> {
        let entry = self.entries.get_mut(&id)?;
        let old = std::mem::replace(&mut entry.read, new);
        for path in old.paths.difference(&entry.read.paths) {
            self.readers_by_path.remove_at(path, id);
        }
        for path in entry.read.paths.difference(&old.paths) {
            self.readers_by_path.add(path, id);
        }
        let ids = |read: &Read| -> BTreeSet<u64> {
            read.inputs.iter().map(|(input, _)| input.id()).collect()
        };
        let before = ids(&old);
        let now = ids(&entry.read);
        for input in before.difference(&now) {
            self.entries.get_mut(input).map(|input| input.readers.remove(&id));
        }
        for input in now.difference(&before) {
            self.entries.get_mut(input).map(|input| input.readers.insert(id));
        }
        Some(old)
    }

    /// Notes that `watcher` was told the value of this version. If that is not the newest value,
    /// the watcher is called with the next notice.
    pub(crate) fn watch(&mut self, id: u64, watcher: u64, version: Option<u64>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.watchers.insert(watcher);
        self.watched.insert(watcher, id);
        if entry.freshness != Freshness::Fresh || version != Some(entry.version) {
            self.pending.insert(watcher);
        }
    }

    pub(crate) fn unwatch(&mut self, watcher: u64) {
        self.pending.remove(&watcher);
        if let Some(entry) = self.watched.remove(&watcher).and_then(|id| self.entries.get_mut(&id))
        {
            entry.watchers.remove(&watcher);
        }
    }

    /// Takes the watchers to call with a notice: the pending ones that subscribed before the
    /// notice.
    pub(crate) fn take_pending(&mut self, notice: u64) -> BTreeSet<u64> {
        let later = self.pending.split_off(&notice);
        std::mem::replace(&mut self.pending, later)
    }
}
