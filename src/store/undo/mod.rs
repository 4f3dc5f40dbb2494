//! Undo and redo of a store's own changes. Content that other writers wrote since stays.

mod ids;
mod log;
mod merge;
mod names;
mod revert;
mod saved;
mod track;
mod tracks;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::layers::Report;
use super::{Origin, Shared, Store, StoreRef, ViewState};
use crate::document::backend::Backend;
use crate::document::commit::Commit;
use crate::document::key::{self, Key};
use crate::document::ops::Touched;
use crate::document::replica::Replica;
use crate::document::source::Source;
use crate::state::{AsPath, ChangeError, Stage, Staged, State, Violations};
pub(super) use log::{Entry, Log};
use revert::WayBack;
pub use saved::UndoError;
pub(super) use tracks::{Revived, Tracks};

/// How an [`UndoManager`] works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoOptions {
    window: Duration,
    groups_max: usize,
    scopes: Vec<String>,
}

impl Default for UndoOptions {
    fn default() -> Self {
        Self { window: Duration::from_millis(500), groups_max: 1_000, scopes: Vec::new() }
    }
}

impl UndoOptions {
    /// The default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes that follow each other faster than this are undone together, unless they have
    /// different labels. Default: half a second. With zero, each change is undone by itself.
    #[must_use]
    pub fn with_window(self, window: Duration) -> Self {
        Self { window, ..self }
    }

    /// The largest number of groups that can be undone. The oldest group is forgotten first.
    /// Default: 1,000.
    #[must_use]
    pub fn with_groups_max(self, groups_max: usize) -> Self {
        Self { groups_max: groups_max.max(1), ..self }
    }

    /// Only changes that stay within this place are undone. Several calls add places: then a change
    /// must stay within the places together. Default: all changes.
    #[must_use]
    pub fn within<S: State>(mut self, path: impl AsPath<S>) -> Self {
        self.scopes.push(path.as_path().as_str().to_owned());
        self
    }

    fn covers<'k>(&self, mut keys: impl Iterator<Item = &'k Key>) -> bool {
        self.scopes.is_empty()
            || keys.all(|key| self.scopes.iter().any(|scope| key::matches(key.as_str(), scope)))
    }
}

/// A group of changes that was undone or redone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undone {
    /// The label of the group: the label of its first change.
    pub label: Option<Arc<str>>,
    /// The selection that the application had noted before the changes
    /// ([`UndoManager::note_selection`]), for the application to restore.
    pub selection: Option<Arc<[u8]>>,
}

/// Undoes and redoes the changes that a store makes after the manager was created.
///
/// The manager undoes only what this store's own [`change`](Store::change)s did, and only where no
/// other writer (another replica, or another store on the same document) has changed the result:
///
/// - A **register** goes back to its old value, unless another writer has written it since.
/// - In a **text** or **list**, inserted elements that are still present are deleted, and deleted
///   elements come back where they stood. The elements that other writers inserted stay, also in
///   the middle of those.
/// - A **record** that was created is removed, unless another writer has written in it. A record
///   that was removed comes back with its content. A record that another writer has removed since
///   stays removed.
/// - The **move** of an element is undone, unless another writer has moved the element since.
///
/// Content that no other writer has touched since comes back as it was: on such content, a redo
/// after an undo is the identity. An undo and a redo are changes like any other: peers and watchers
/// get them ([`Origin::Undo`]), and the middleware may refuse them. A change made after an undo
/// clears the redo stack. Both backends behave alike.
///
/// A manager is a handle: its clones share the stacks, which are dropped with the last clone. Each
/// manager of a store undoes the changes within its [scope](UndoOptions::within), but not the undos
/// and redos of another manager.
///
/// ```
/// use exostate::{State, Store, Text, UndoOptions};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Note { title: String, body: Text }
///
/// let ours = Store::<Note>::new();
/// let undo = ours.undo_manager(UndoOptions::default());
/// ours.transaction().label("Typing").run(|note| note.body().push_str("hello world"))?;
///
/// let theirs = ours.fork()?;
/// theirs.change(|note| note.body().insert(5, ", small"))?;
/// ours.merge(&theirs)?;
/// assert_eq!(undo.undo()?.and_then(|undone| undone.label).as_deref(), Some("Typing"));
/// assert_eq!(ours.view().body, ", small");
/// undo.redo()?;
/// assert_eq!(ours.view().body, "hello, small world");
/// # Ok::<(), exostate::Error>(())
/// ```
pub struct UndoManager<S: State, B: Backend = crate::Yrs> {
    store: Store<S, B>,
    log: Arc<Mutex<Log>>,
}

impl<S: State, B: Backend> Clone for UndoManager<S, B> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), log: Arc::clone(&self.log) }
    }
}

impl<S: State, B: Backend> std::fmt::Debug for UndoManager<S, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let undo = self.undo_len();
        let redo = self.redo_len();
        f.debug_struct("UndoManager")
            .field("undo", &undo)
            .field("redo", &redo)
            .finish_non_exhaustive()
    }
}

impl<S: State, B: Backend> Store<S, B> {
    /// Creates a manager that undoes the changes made from this call on.
    #[must_use = "nothing is remembered once it is dropped"]
    pub fn undo_manager(&self, options: UndoOptions) -> UndoManager<S, B> {
        self.manager(Log::new(options))
    }

    fn manager(&self, log: Log) -> UndoManager<S, B> {
        let log = Arc::new(Mutex::new(log));
        self.shared.logs.add(Arc::downgrade(&log));
        UndoManager { store: self.clone(), log }
    }
}

impl<S: State, B: Backend> UndoManager<S, B> {
    /// Undoes the newest group of changes of which something can still be undone. `None` if there
    /// is no such group.
    ///
    /// O(what the changes did), plus, for each text and list in the group, the number of pieces in
    /// which undoable changes have edited it. If other writers have edited a text or list since
    /// this store last edited it, a comparison finds their edits: O(its length · their edits),
    /// bounded as in [`Store::reconcile`].
    ///
    /// # Errors
    /// As [`Store::change`]: the middleware refused it, or this was called inside a change. The
    /// stacks then stay as they were.
    pub fn undo(&self) -> Result<Option<Undone>, ChangeError> {
        self.go(Origin::Undo)
    }

    /// Redoes the group that was undone last.
    ///
    /// # Errors
    /// As [`UndoManager::undo`].
    pub fn redo(&self) -> Result<Option<Undone>, ChangeError> {
        self.go(Origin::Redo)
    }

    fn go(&self, origin: Origin) -> Result<Option<Undone>, ChangeError> {
        loop {
            match self.store.go_back(&self.log, origin)? {
                Attempt::NothingLeft => return Ok(None),
                Attempt::Done(undone) => return Ok(Some(undone)),
                Attempt::Overwritten => {}
            }
        }
    }

    /// How many groups can be undone. If other writers have overwritten all of a group, it still
    /// counts here, and [`UndoManager::undo`] skips it.
    #[must_use]
    pub fn undo_len(&self) -> usize {
        self.log.lock().done.len()
    }

    /// How many groups can be redone.
    #[must_use]
    pub fn redo_len(&self) -> usize {
        self.log.lock().undone.len()
    }

    /// The label of the newest group that can be undone. If other writers have overwritten all of
    /// that group, [`UndoManager::undo`] goes on to the group before it, which may have another
    /// label.
    #[must_use]
    pub fn undo_label(&self) -> Option<Arc<str>> {
        self.log.lock().done.back()?.label.clone()
    }

    /// The label of the newest group that can be redone. If other writers have overwritten all of
    /// that group, [`UndoManager::redo`] goes on to the group before it, which may have another
    /// label.
    #[must_use]
    pub fn redo_label(&self) -> Option<Arc<str>> {
        self.log.lock().undone.last()?.label.clone()
    }

    /// Lets the next change begin another group, however soon it comes.
    pub fn split(&self) {
        self.log.lock().split();
    }

    /// Puts all changes into one group until the returned handle is dropped. Use it for a drag, for
    /// example.
    #[must_use = "the group ends when this is dropped"]
    pub fn group(&self) -> UndoGroup {
        let mut log = self.log.lock();
        if log.held == 0 {
            log.split();
        }
        log.held += 1;
        UndoGroup { log: Arc::clone(&self.log) }
    }

    /// Notes the current selection, in the application's own form (usually anchors). The undo of
    /// the next change returns it, and so does the redo of the next undo.
    pub fn note_selection(&self, selection: impl Into<Arc<[u8]>>) {
        self.log.lock().selection = Some(selection.into());
    }

    /// Clears both stacks.
    pub fn clear(&self) {
        let mut log = self.log.lock();
        (log.done, log.undone) = (std::collections::VecDeque::new(), Vec::new());
        log.split();
    }
}

/// A group of changes that is held open: see [`UndoManager::group`].
#[derive(Debug)]
pub struct UndoGroup {
    log: Arc<Mutex<Log>>,
}

impl Drop for UndoGroup {
    fn drop(&mut self) {
        let mut log = self.log.lock();
        log.held -= 1;
        if log.held == 0 {
            log.split();
        }
    }
}

/// The result of one attempt to undo or redo a group.
enum Attempt {
    /// The stack is empty.
    NothingLeft,
    /// Other writers have overwritten all of the newest group. The group is forgotten.
    Overwritten,
    /// The group was undone or redone.
    Done(Undone),
}

impl<S: State, B: Backend> Store<S, B> {
    /// Stages and commits the way back from the newest group. All of it happens under the writer
    /// lock: so two threads, or a callback within an undo, never go back from the same group twice.
    fn go_back(&self, log: &Arc<Mutex<Log>>, origin: Origin) -> Result<Attempt, ChangeError> {
        let report = Report::new(origin, None);
        let recording = Recording::WayBack(Arc::clone(log));
        let stage_it = |stage: &Stage<'_, S>| {
            let mut log = log.lock();
            let Some(group) = log.newest(origin).cloned() else { return Ok(Attempt::NothingLeft) };
            let mut way = self.peek(|core| {
                WayBack::new(group.entries.iter(), &mut core.tracks.borrow_mut(), core.replica)
            });
            stage.raw(&mut |writer| {
                group.entries.iter().rev().for_each(|entry| way.stage(entry, &log, origin, writer))
            })?;
            if !stage.has_ops() {
                log.take(group.id);
                self.peek(|core| way.settle(&mut core.tracks.borrow_mut(), core.replica));
                return Ok(Attempt::Overwritten);
            }
            log.stage(group.id, group.label.clone(), way);
            Ok(Attempt::Done(Undone { label: group.label, selection: group.selection }))
        };
        self.stage_as(report, &recording, |_| Ok(()), stage_it)
    }
}

/// How a commit is recorded for undo managers.
pub(super) enum Recording {
    /// As a change, which each manager can undo.
    Change,
    /// As a part of a joint change. Its entry is needed even without an undo manager: the change is
    /// reverted if the document of another store fails.
    Joint,
    /// As an undo or redo of the manager with this log.
    WayBack(Arc<Mutex<Log>>),
}

impl Recording {
    /// The label of the group that is undone or redone.
    pub(super) fn label(&self) -> Option<Arc<str>> {
        match self {
            Self::WayBack(log) => log.lock().staged_label(),
            Self::Change | Self::Joint => None,
        }
    }

    /// Forgets the group of an undo or redo that can never be written.
    pub(super) fn forget_group(&self) {
        if let Self::WayBack(log) = self {
            log.lock().forget_group();
        }
    }

    /// Whether the entry of the commit is needed even without an undo manager.
    pub(super) fn is_always_wanted(&self) -> bool {
        matches!(self, Self::Joint)
    }

    /// Takes the ids of the elements that the undo or redo restores.
    pub(super) fn take_revived(&self) -> Revived {
        match self {
            Self::WayBack(log) => log.lock().take_revived(),
            Self::Change | Self::Joint => Revived::default(),
        }
    }

    /// Tells the undo managers what a commit of this store did.
    pub(super) fn record(&self, logs: &[Arc<Mutex<Log>>], entry: Entry, commit: &Commit) {
        let Self::WayBack(own) = self else {
            // With one manager, the usual case, the entry is not copied.
            for (log, entry) in logs.iter().zip(std::iter::repeat_n(entry, logs.len())) {
                log.lock().record(entry, commit.meta.as_deref(), commit.time);
            }
            return;
        };
        let given_back = own.lock().record_way_back(entry.clone(), commit.origin);
        for log in logs.iter().filter(|log| !Arc::ptr_eq(own, log)) {
            let mut log = log.lock();
            log.take_over(&mut entry.clone());
            log.give_back(&given_back);
        }
    }
}

impl<S: State, B: Backend> Shared<S, B> {
    /// Tells the undo managers what other writers wrote.
    pub(super) fn note_others(&self, replica: &Replica<B>, touched: &Touched) {
        let is_there =
            |name: &str| !replica.text(name).is_empty() || !replica.list(name).is_empty();
        self.logs.all().iter().for_each(|log| log.lock().note_others(touched, is_there));
    }

    /// Tells the undo managers that the document was replaced by another one. It is not known which
    /// writer wrote its content.
    pub(super) fn note_unknown(&self, replica: &Replica<B>, typed: &ViewState<S>) {
        let tracks = typed.tracks.borrow();
        let text = |path: &str| Some(&tracks.texts.get(key::lookup(&path))?.known);
        let list = |path: &str| Some(&tracks.lists.get(key::lookup(&path))?.known);
        self.logs.all().iter().for_each(|log| log.lock().note_unknown(replica, text, list));
    }
}

/// Stages the way back from a change that is in the document but that no view has shown. Returns
/// also the ids of the elements that it restores.
pub(super) fn staged_way_back<S: State, B: Backend>(
    entry: &Entry,
    view: S,
    violations: Violations,
    core: &StoreRef<'_, S, B>,
) -> (Staged<S>, Revived) {
    let log = Log::new(UndoOptions::new());
    let id = core.replica.id();
    let stage = Stage::new(core.replica, view, violations, id, core.next_element, core.ty);
    // The change was written in this turn, so its way back can be staged.
    let mut way = WayBack::new(std::iter::once(entry), &mut core.tracks.borrow_mut(), core.replica);
    let _ = stage.raw(&mut |writer| way.stage(entry, &log, Origin::Undo, writer));
    (stage.finish(), way.revived)
}

#[cfg(test)]
mod tests {
    use super::UndoOptions;
    use crate::document::doc::Turn;
    use crate::document::replica::Trust;
    use crate::{Automerge, Backend, Map, Store, Text, Yrs};

    type People = Map<String, Map<String, Text>>;

    /// A failure leaves another document, and the stacks were not told of some of its content.
    fn another_document<B: Backend>() {
        let store = Store::<People, B>::new();
        let undo = store.undo_manager(UndoOptions::new());
        let made = |people: &Store<People, B>, name: &str, text: &str| {
            people.change(|people| {
                people.insert(name, Map::new())?;
                people.get(name).insert("bio", Text::from(text))
            })
        };
        assert!(made(&store, "ada", "").is_ok());
        undo.split();
        assert!(made(&store, "bob", "mine").is_ok());
        let theirs = store.fork().expect("it goes");
        theirs.change(|people| people.get("ada").get("bio").push_str("theirs")).expect("it goes");
        let updates = theirs.updates_since(&store.version()).expect("it goes");
        {
            let turn = Turn::begin(store.shared.document.inner()).expect("no other turn");
            let mut replica = turn.replica_mut().expect("nothing looks at it");
            replica.import_all(&updates, Trust::Untrusted).expect("it goes");
            turn.show_rebuilt(&mut replica, Vec::new());
        }
        while undo.undo().expect("it goes").is_some() {}
        let view = store.view();
        assert!(!view.contains_key("bob"), "what is known to be one's own goes");
        assert!(
            view.get("ada").and_then(|ada| ada.get("bio")).is_some_and(|bio| *bio == "theirs"),
            "{view:?}"
        );
    }

    #[test]
    fn undo_leaves_other_contents_of_a_rebuilt_document_unchanged() {
        another_document::<Yrs>();
        another_document::<Automerge>();
    }
}
