//! What one change, import or repair did: made once, recorded, shown and delivered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use super::key;
use super::meta::Meta;
use super::ops::Touched;

/// Where a change came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// [`Store::change`](crate::Store::change) and its kin on this store, or
    /// [`Document::edit`](crate::Document::edit).
    Local,
    /// [`Store::apply`](crate::Store::apply).
    Remote,
    /// [`Document::repair`](crate::Document::repair): the document was replaced, and the update
    /// holds what was put back. A journal of updates needs the whole document anew,
    /// [`Store::save`](crate::Store::save).
    Repair,
    /// [`UndoManager::undo`](crate::UndoManager::undo).
    Undo,
    /// [`UndoManager::redo`](crate::UndoManager::redo).
    Redo,
}

/// An update that was just committed or applied. A change that is too much for one update comes as
/// several, one after the other.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Update<'a> {
    /// The bytes, for [`Store::apply`](crate::Store::apply) elsewhere.
    pub bytes: &'a Arc<[u8]>,
    /// Where the change was made.
    pub origin: Origin,
    /// What is said about the change, if anything is.
    pub meta: Option<&'a Meta>,
}

/// What one change, import or repair did to a document.
pub(crate) struct Commit {
    pub(crate) touch: Touch,
    /// The bytes, in order.
    pub(crate) updates: Vec<Arc<[u8]>>,
    pub(crate) origin: Origin,
    pub(crate) meta: Option<Arc<Meta>>,
    /// When its turn began; `None` if no recorder and no undo manager needs it.
    pub(crate) time: Option<SystemTime>,
}

/// The paths of a commit.
#[derive(Clone)]
pub(crate) struct Touch {
    /// The paths that were written: for recorders, and for changes that rely on a snapshot.
    pub(crate) noted: Arc<[Arc<str>]>,
    /// The paths whose content differs: for watchers.
    pub(crate) told: Arc<[Arc<str>]>,
}

impl Touch {
    /// Every path that was written differs.
    pub(crate) fn of_all(paths: Arc<[Arc<str>]>) -> Self {
        Self { noted: Arc::clone(&paths), told: paths }
    }

    /// What an import touched. `edited` are the sequences whose content differs: an import may
    /// write a sequence and leave it as it was.
    pub(crate) fn of(touched: &Touched, edited: &BTreeSet<Arc<str>>) -> Self {
        let differs = touched.registers.iter().filter(|touch| touch.old != touch.new);
        let differs = differs.map(|touch| Arc::clone(&touch.key));
        let mut told: Vec<Arc<str>> = differs.chain(edited.iter().cloned()).collect();
        in_key_order(&mut told);
        if told.len() == touched.registers.len() + touched.sequences.len() {
            return Self::of_all(told.into());
        }
        Self { noted: touched.paths().into(), told: told.into() }
    }
}

/// The path of the whole state alone.
pub(crate) fn whole() -> Arc<[Arc<str>]> {
    Arc::from([Arc::from("")])
}

/// Each path once, in the order of keys.
pub(crate) fn in_key_order(paths: &mut Vec<Arc<str>>) {
    paths.sort_by(|a, b| key::compare(a, b));
    paths.dedup();
}

/// Keeps commits: a history, or storage. A recorder sees every commit in order, under the writer
/// lock, before any view shows it.
pub(crate) trait Recorder: Send {
    /// Records a commit. `checkpoint` saves the whole document with it, which is O(document);
    /// `None` if the backend cannot.
    fn record(&mut self, commit: &Commit, checkpoint: &mut dyn FnMut() -> Option<Arc<[u8]>>);
    /// Records updates that no view shows yet: they belong to the commit that comes next.
    fn part(&mut self, updates: &[Arc<[u8]>]);
    /// The document was replaced by another one: what was recorded does not lead to it.
    fn replaced(&mut self);
}
