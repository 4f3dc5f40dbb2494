//! Which selectors are fresh: the graph of what each read, the paths and the other selectors.
//!
//! A commit marks, an asker refreshes. Marking happens in the moment in which the new view is
//! shown, under the lock that every asker takes, so that nobody is given an old value beside a new
//! view; it costs O(path) per touched path and calls nobody. Who read a touched path is
//! [`Stale`](Freshness::Stale); who read such a selector is only [`Unsure`](Freshness::Unsure): if
//! that one's value turns out to be what it was, nothing is to be done.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::state::At;
use crate::store::watch::Branch;

/// A view or a selector's value, whatever its type.
pub(crate) type Shown = Arc<dyn Any + Send + Sync>;

/// A view, and how many came before it: what is read at one moment fits together.
#[derive(Clone)]
pub(crate) struct Moment {
    pub(crate) view: Shown,
    pub(crate) generation: u64,
}

/// A selector that another one read.
pub(crate) trait Input: Send + Sync {
    fn id(&self) -> u64;
    /// Brings the value up to date; which one it is then. `None` where the moment is over, and the
    /// value was not kept, and where there is none, because it panics.
    fn version_at(&self, moment: &Moment) -> Option<u64>;
}

/// Selectors that were read, each with the version of its value, or `None` where that could not be
/// had.
pub(crate) type Inputs = Vec<(Arc<dyn Input>, Option<u64>)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Freshness {
    Fresh,
    /// A selector that was read may have another value.
    Unsure,
    /// A path that was read was touched, or nothing was read yet.
    Stale,
}

/// What is known of a selector's value.
pub(crate) struct Known {
    pub(crate) freshness: Freshness,
    pub(crate) value: Option<Shown>,
    pub(crate) version: u64,
    /// To be asked where it is unsure.
    pub(crate) inputs: Inputs,
}

/// What a selector read.
#[derive(Default)]
pub(crate) struct Read {
    pub(crate) paths: BTreeSet<Box<str>>,
    pub(crate) inputs: Inputs,
}

struct Entry {
    freshness: Freshness,
    value: Option<Shown>,
    /// Counts the values: another version, another value.
    version: u64,
    read: Read,
    readers: BTreeSet<u64>,
    watchers: BTreeSet<u64>,
}

/// All selectors that live.
#[derive(Default)]
pub(crate) struct Graph {
    generation: u64,
    entries: HashMap<u64, Entry>,
    readers_by_path: Branch,
    /// The watchers of selectors, each with its selector.
    watched: BTreeMap<u64, u64>,
    /// Watchers whose selector may have another value than they were told.
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

    /// Forgets a selector. What comes back is to be dropped outside the lock.
    pub(crate) fn remove(&mut self, id: u64) -> impl Sized + use<> {
        let read = self.replace_read(id, Read::default());
        (read, self.entries.remove(&id).map(|entry| entry.value))
    }

    /// Begins a new moment in which paths were touched. O(path) for each, and what depends on them.
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
            // Also where it was marked before: its value may have been asked for in vain since.
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

    /// What is known of a selector; nothing where it is gone.
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

    /// An unsure selector's inputs are what they were: whether the moment is the same still, and
    /// its value fresh with that.
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

    /// Keeps what a selector read and the value that it made of it, if it is another one; the
    /// version. `None` where the moment is over: then nothing is kept, and its watchers have to
    /// ask again when they are told of the next one. What comes back beside it is to be dropped
    /// outside the lock.
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
            // Another thread was faster, with the same view.
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

    /// Keeps what a selector read before it failed, so that it is tried again when it is asked, and
    /// its watchers when that has changed.
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
            // Another thread did not fail, with the same view.
            return Some(read);
        }
        // Not unsure any more: that what it read until then stays as it is does not make the old
        // value right.
        entry.freshness = Freshness::Stale;
        self.replace_read(id, read)
    }

    /// Registers what a selector read in the stead of what it read before: only what differs is
    /// touched.
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

    /// Notes that `watcher` was told the value of this version. If that is not the newest, it is
    /// told with the next notice.
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

    /// The watchers to be told with a notice, which those hear who were there before it.
    pub(crate) fn take_pending(&mut self, notice: u64) -> BTreeSet<u64> {
        let later = self.pending.split_off(&notice);
        std::mem::replace(&mut self.pending, later)
    }
}
