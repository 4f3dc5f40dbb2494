//! A commit: what one change, import or repair did. It is made once, recorded, shown and delivered.

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
    /// A change through [`Store::change`](crate::Store::change) or a related method of this store,
    /// or through [`Document::edit`](crate::Document::edit).
    Local,
    /// An import through [`Store::apply`](crate::Store::apply) or a related method.
    Remote,
    /// [`Document::repair`](crate::Document::repair): the document was replaced, and the update
    /// holds the content that was put back. A journal of updates must then be replaced by the whole
    /// document, [`Store::save`](crate::Store::save).
    Repair,
    /// [`UndoManager::undo`](crate::UndoManager::undo).
    Undo,
    /// [`UndoManager::redo`](crate::UndoManager::redo).
    Redo,
}

/// An update that was just committed or applied. A change that is too large for one update gives
/// several updates, one after the other.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Update<'a> {
    /// The bytes, for [`Store::apply`](crate::Store::apply) on another replica.
    pub bytes: &'a Arc<[u8]>,
    /// Where the change was made.
    pub origin: Origin,
    /// The [`Meta`] of the change, if it has one.
    pub meta: Option<&'a Meta>,
}

/// What one change, import or repair did to a document.
pub(crate) struct Commit {
    pub(crate) touch: Touch,
    /// The bytes of the updates, in order.
    pub(crate) updates: Vec<Arc<[u8]>>,
    pub(crate) origin: Origin,
    pub(crate) meta: Option<Arc<Meta>>,
    /// The time at which the turn began. `None` if no recorder and no undo manager needs it.
    pub(crate) time: Option<SystemTime>,
}

/// The paths of a commit.
#[derive(Clone)]
pub(crate) struct Touch {
    /// The paths that were written. Recorders use them, and so do changes that rely on a snapshot.
    pub(crate) written: Arc<[Arc<str>]>,
    /// The paths whose content differs. Watchers are told of them.
    pub(crate) differing: Arc<[Arc<str>]>,
}

impl Touch {
    /// All paths were written, and the content of each of them differs.
    pub(crate) fn of_all(paths: Arc<[Arc<str>]>) -> Self {
        Self { written: Arc::clone(&paths), differing: paths }
    }

    /// The paths that an import touched. `edited` are the sequences whose content differs: an
    /// import may write to a sequence and leave its content unchanged.
    pub(crate) fn of(touched: &Touched, edited: &BTreeSet<Arc<str>>) -> Self {
        let differs = touched.registers.iter().filter(|touch| touch.old != touch.new);
        let differs = differs.map(|touch| Arc::clone(&touch.key));
        let mut differing: Vec<Arc<str>> = differs.chain(edited.iter().cloned()).collect();
        in_key_order(&mut differing);
        if differing.len() == touched.registers.len() + touched.sequences.len() {
            return Self::of_all(differing.into());
        }
        Self { written: touched.paths().into(), differing: differing.into() }
    }
}

/// Only the path of the whole state.
pub(crate) fn whole() -> Arc<[Arc<str>]> {
    Arc::from([Arc::from("")])
}

/// Sorts the paths in the order of keys and removes duplicates.
pub(crate) fn in_key_order(paths: &mut Vec<Arc<str>>) {
    paths.sort_by(|a, b| key::compare(a, b));
    paths.dedup();
}

/// A recorder keeps commits, for a history or for storage. It gets every commit in order, under the
/// writer lock, before any view shows the commit.
pub(crate) trait Recorder: Send {
    /// Records a commit. `checkpoint` saves the whole document together with the commit, which is
    /// O(document). It returns `None` if the backend cannot save.
    fn record(&mut self, commit: &Commit, checkpoint: &mut dyn FnMut() -> Option<Arc<[u8]>>);
    /// Records updates that no view shows yet. They belong to the next commit.
    fn part(&mut self, updates: &[Arc<[u8]>]);
    /// Another document took the place of this one: the recorded commits do not lead to its
    /// content.
    fn replaced(&mut self);
}
