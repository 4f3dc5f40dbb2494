//! Undo and redo: of one's own changes only, never over what others have done since.

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
use super::{Core, Origin, Shared, Store, Typed};
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
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes that follow each other faster than this are undone together, unless they have
    /// different labels. Default: half a second; zero: each by itself.
    #[must_use]
    pub fn with_window(self, window: Duration) -> Self {
        Self { window, ..self }
    }

    /// Groups that are remembered; older ones are forgotten. Default: 1,000.
    #[must_use]
    pub fn with_groups_max(self, groups_max: usize) -> Self {
        Self { groups_max: groups_max.max(1), ..self }
    }

    /// Only changes that stay within this place, or within one of several such, are undone.
    /// Default: all.
    #[must_use]
    pub fn within<S: State>(mut self, path: &impl AsPath<S>) -> Self {
        self.scopes.push(path.as_path().as_str().to_owned());
        self
    }

    fn covers<'k>(&self, mut keys: impl Iterator<Item = &'k Key>) -> bool {
        self.scopes.is_empty()
            || keys.all(|key| self.scopes.iter().any(|scope| key::matches(key.as_str(), scope)))
    }
}

/// What was undone or redone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undone {
    /// The label of the changes: that of the first.
    pub label: Option<Arc<str>>,
    /// The selection that the application had noted before them ([`UndoManager::note_selection`]),
    /// to be restored.
    pub selection: Option<Arc<[u8]>>,
}

/// Undoes and redoes the changes that are made on a store, from when it was made on.
///
/// Only what this store's own [`change`](Store::change)s did is taken back, and only where nobody
/// else has gone on from it:
///
/// - a **register** goes back to what it held, unless somebody else has written it since;
/// - in a **text** or **list** what was inserted goes, as far as it is still there, what was
///   deleted comes back where it stood, and what others have typed, in the midst of it too, stays;
/// - a **record** that was made goes, unless somebody else has written in it; one that was removed
///   comes back with what it held; one that others have removed since stays away;
/// - an element's **move** is taken back, unless it was moved by others.
///
/// What nobody else has touched since comes back as it was; redo after undo is the identity on it.
/// Both are changes like any other: they go to others, to watchers ([`Origin::Undo`]) and through
/// the middleware, which may refuse them. A change made after an undo forgets what could be redone.
/// It works alike on both backends.
///
/// A manager is a handle: clones share the stacks, which end with the last of them. Several
/// managers of one store do not undo each other's undoing, but each of the changes within its
/// [scope](UndoOptions::within).
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
    /// A manager that undoes the changes made from now on.
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
    /// Takes back the newest group of changes of which anything can be taken back; `None` where
    /// there is none. O(what they did), and for each text and list in it the pieces in which
    /// the changes that can be undone have edited it. Where others have edited one since it was
    /// last edited here, that is found by comparing: O(its length · their edits), bounded as of
    /// [`Store::reconcile`].
    ///
    /// # Errors
    /// As [`Store::change`]: middleware refused it, or this was called inside a change. The stacks
    /// are as they were.
    pub fn undo(&self) -> Result<Option<Undone>, ChangeError> {
        self.go(Origin::Undo)
    }

    /// Takes the newest undo back.
    ///
    /// # Errors
    /// As [`UndoManager::undo`].
    pub fn redo(&self) -> Result<Option<Undone>, ChangeError> {
        self.go(Origin::Redo)
    }

    fn go(&self, origin: Origin) -> Result<Option<Undone>, ChangeError> {
        loop {
            match self.store.go_back(&self.log, origin)? {
                Way::End => return Ok(None),
                Way::Gone(undone) => return Ok(Some(undone)),
                Way::Overtaken => {}
            }
        }
    }

    /// How many groups can be undone. Some of them may have been overtaken by others, and are
    /// passed over then.
    #[must_use]
    pub fn undo_len(&self) -> usize {
        self.log.lock().done.len()
    }

    /// How many can be redone.
    #[must_use]
    pub fn redo_len(&self) -> usize {
        self.log.lock().undone.len()
    }

    /// The label of the newest group that can be undone. If others have overtaken all of that
    /// group, [`UndoManager::undo`] goes on to the group before it, which may have another
    /// label.
    #[must_use]
    pub fn undo_label(&self) -> Option<Arc<str>> {
        self.log.lock().done.back()?.label.clone()
    }

    /// The label of the newest group that can be redone. If others have overtaken all of that
    /// group, [`UndoManager::redo`] goes on to the group before it, which may have another
    /// label.
    #[must_use]
    pub fn redo_label(&self) -> Option<Arc<str>> {
        self.log.lock().undone.last()?.label.clone()
    }

    /// Begins another group with the next change, however soon that comes.
    pub fn split(&self) {
        self.log.lock().split();
    }

    /// Makes one group of all changes until what comes back is dropped: a drag, say.
    #[must_use = "the group ends when this is dropped"]
    pub fn group(&self) -> UndoGroup {
        let mut log = self.log.lock();
        if log.held == 0 {
            log.split();
        }
        log.held += 1;
        UndoGroup { log: Arc::clone(&self.log) }
    }

    /// Notes what is selected now, in the application's own form (anchors, as a rule): it comes
    /// back with the undo of what is changed next, and with the redo of what is undone next.
    pub fn note_selection(&self, selection: impl Into<Arc<[u8]>>) {
        self.log.lock().selection = Some(selection.into());
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut log = self.log.lock();
        (log.done, log.undone) = (std::collections::VecDeque::new(), Vec::new());
        log.split();
    }
}

/// A group that is being undone as one: see [`UndoManager::group`].
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

/// What came of going back.
enum Way {
    /// There is nothing left to go back from.
    End,
    /// Others have overtaken all of the newest group, which is forgotten.
    Overtaken,
    Gone(Undone),
}

impl<S: State, B: Backend> Store<S, B> {
    /// Stages and commits the way back from the newest group. Everything about it happens in the
    /// writer's place, so that two at once, or one within a callback of another, do not go back
    /// from the same group.
    fn go_back(&self, log: &Arc<Mutex<Log>>, origin: Origin) -> Result<Way, ChangeError> {
        let report = Report::new(origin, None);
        let recording = Recording::WayBack(Arc::clone(log));
        let stage_it = |stage: &Stage<'_, S>| {
            let mut log = log.lock();
            let Some(group) = log.newest(origin).cloned() else { return Ok(Way::End) };
            let mut way = self.peek(|core| {
                WayBack::new(group.entries.iter(), &mut core.tracks.borrow_mut(), core.replica)
            });
            stage.raw(&mut |writer| {
                group.entries.iter().rev().for_each(|entry| way.stage(entry, &log, origin, writer))
            })?;
            if !stage.has_ops() {
                log.take(group.id);
                self.peek(|core| way.settle(&mut core.tracks.borrow_mut(), core.replica));
                return Ok(Way::Overtaken);
            }
            log.stage(group.id, group.label.clone(), way);
            Ok(Way::Gone(Undone { label: group.label, selection: group.selection }))
        };
        self.stage_as(report, &recording, |_| Ok(()), stage_it)
    }
}

/// How a commit is recorded for undo managers.
pub(super) enum Recording {
    /// As a change, which each of them can undo.
    Change,
    /// As a part of a joint change: what it did is needed even if nobody undoes.
    Joint,
    /// As the undo or the redo of the manager with this log.
    WayBack(Arc<Mutex<Log>>),
}

impl Recording {
    /// The label of what is undone or redone.
    pub(super) fn label(&self) -> Option<Arc<str>> {
        match self {
            Self::WayBack(log) => log.lock().staged_label(),
            Self::Change | Self::Joint => None,
        }
    }

    /// The way back can never be written.
    pub(super) fn give_up(&self) {
        if let Self::WayBack(log) = self {
            log.lock().give_up();
        }
    }

    pub(super) fn is_always_wanted(&self) -> bool {
        matches!(self, Self::Joint)
    }

    /// The elements that the way back brings back.
    pub(super) fn take_revived(&self) -> Revived {
        match self {
            Self::WayBack(log) => log.lock().take_revived(),
            Self::Change | Self::Joint => Revived::default(),
        }
    }

    /// Tells the undo managers what a commit did.
    pub(super) fn record(&self, logs: &[Arc<Mutex<Log>>], entry: Entry, commit: &Commit) {
        let Self::WayBack(own) = self else {
            // With one manager, as is usual, nothing is copied.
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
    /// Tells the undo managers what others have written.
    pub(super) fn note_others(&self, replica: &Replica<B>, touched: &Touched) {
        let is_there =
            |name: &str| !replica.text(name).is_empty() || !replica.list(name).is_empty();
        self.logs.all().iter().for_each(|log| log.lock().note_others(touched, is_there));
    }

    /// Tells the undo managers that the document is another one, of which it is not known who
    /// wrote what.
    pub(super) fn note_unknown(&self, replica: &Replica<B>, typed: &Typed<S>) {
        let tracks = typed.tracks.borrow();
        let text = |path: &str| Some(&tracks.texts.get(key::lookup(&path))?.known);
        let list = |path: &str| Some(&tracks.lists.get(key::lookup(&path))?.known);
        self.logs.all().iter().for_each(|log| log.lock().note_unknown(replica, text, list));
    }
}

/// Stages the way back from a change that is in the document, and that no view has shown. The
/// elements that come back by it, too.
pub(super) fn staged_way_back<S: State, B: Backend>(
    entry: &Entry,
    view: S,
    violations: Violations,
    core: &Core<'_, S, B>,
) -> (Staged<S>, Revived) {
    let log = Log::new(UndoOptions::new());
    let id = core.replica.id();
    let stage = Stage::new(core.replica, view, violations, id, core.next_element);
    // What it did was written a moment ago, and so can be taken back.
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

    /// A failure that leaves another document, with something in it of which the stacks were not
    /// told.
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
        let update = theirs.update_since(&store.version()).expect("it goes");
        {
            let turn = Turn::begin(store.shared.document.inner()).expect("no other turn");
            let mut replica = turn.replica_mut().expect("nothing looks at it");
            replica.import(&update, Trust::Untrusted).expect("it goes");
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
    fn what_a_rebuilt_document_holds_besides_is_left_alone() {
        another_document::<Yrs>();
        another_document::<Automerge>();
    }
}
