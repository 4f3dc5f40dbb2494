//! The store: a document, its typed view, and those who watch it.
//!
//! Data goes one way: closure → staged ops → document → bytes and view → watchers; bytes → document
//! → touched paths → view → watchers. Readers take no lock. Nobody is called while a lock is held.

mod again;
mod aside;
mod changes;
mod commit;
mod conflicting_values;
mod effect;
mod envelope;
mod history;
mod joint;
mod layers;
mod live;
mod meta;
mod notify;
mod options;
mod own_error;
mod pace;
mod repair;
mod retry;
mod scoped;
mod select;
mod slot;
mod subscriptions;
mod transaction;
mod undo;
mod violated;
mod warning;
mod watch;
mod weak;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::{ReentrantMutex, ReentrantMutexGuard};

pub use changes::Changes;
pub use conflicting_values::ConflictingValue;
pub use effect::{Cleanup, OwnedPatch};
pub use history::{
    Blame, Diff, Differing, History, HistoryError, HistoryOptions, Revision, RevisionId,
};
pub use joint::{Joint, JointPatch, Stores};
pub use meta::Meta;
pub use notify::{Origin, Subscription, Update};
pub use options::Options;
pub(crate) use options::random_bits;
pub use pace::{Pace, Paced};
pub use repair::{Conflict, Repair};
pub use retry::Retry;
pub use scoped::Scoped;
pub use select::{Changed, Selector, SelectorBy};
pub use subscriptions::Subscriptions;
pub use transaction::{Batch, Snapshot, Transaction};
pub use undo::{UndoError, UndoGroup, UndoManager, UndoOptions, Undone};
pub use violated::ViolationsPatch;
pub use warning::Warning;
pub use watch::{LocalUpdates, Patch};
pub use weak::WeakStore;

use crate::document::backend::{Backend, BackendError, Yrs};
use crate::document::key::Key;
use crate::document::named::TypeMismatch;
use crate::document::ops::Touched;
use crate::document::replica::{ImportError, Imported, Replica, Trust};
use crate::document::source::{Source, Touching};
use crate::document::value::Value;
use crate::document::{Digest, ReplicaId, Version};
use crate::state::{
    Anchor, AsPath, ChangeError, Edit, Mend, Reader, Refresh, State, Text, Violation, Violations,
};
use history::{Records, Step, differing};
use layers::{Layers, Report};
use live::Live;
use notify::{Bus, Notice};
use transaction::Recent;
use undo::{Log, Tracks};

/// A state that many people change at once.
///
/// A store is a handle: clones share one document. Reading ([`Store::view`]) takes no lock; writers
/// take turns.
///
/// ```
/// use exostate::{Counter, Map, State, Store};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Poll { question: String, votes: Map<String, Counter> }
///
/// let ours = Store::<Poll>::new();
/// let theirs = Store::<Poll>::new();
/// ours.change(|poll| {
///     poll.votes().insert("yes", Counter::new(0))?;
///     poll.votes().get("yes").add(1)
/// })?;
/// theirs.change(|poll| {
///     poll.votes().insert("yes", Counter::new(0))?;
///     poll.votes().get("yes").add(2)
/// })?;
/// ours.merge(&theirs)?;
/// assert_eq!(*ours.view().votes.get("yes").unwrap(), 3);
/// # Ok::<(), exostate::Error>(())
/// ```
pub struct Store<S: State, B: Backend = Yrs> {
    shared: Arc<Shared<S, B>>,
}

/// What the handles of a store share.
pub struct Shared<S: State, B: Backend> {
    /// Selectors have it too.
    view: Arc<ArcSwap<S>>,
    core: ReentrantMutex<RefCell<Core<S, B>>>,
    bus: Bus<S>,
    layers: Layers<S>,
    /// Those who undo.
    logs: Live<Log>,
    histories: Live<Records>,
    options: Options,
    /// This store's replica ids: those that it gave up, and last the one that it has.
    ids: ArcSwap<Vec<ReplicaId>>,
    lineage: AtomicU64,
    /// What the document says that it holds, where that is another type.
    mismatch: ArcSwapOption<TypeMismatch>,
}

impl<S: State, B: Backend> Shared<S, B> {
    /// Gives the replica id up for another one.
    fn change_id(&self, id: ReplicaId) {
        let mut ids = Vec::clone(&self.ids.load());
        ids.push(id);
        self.ids.store(Arc::new(ids));
    }
}

/// The writer's place.
type Writer<'a, S, B> = ReentrantMutexGuard<'a, RefCell<Core<S, B>>>;

/// What only the writer touches.
pub struct Core<S, B: Backend> {
    replica: Replica<B>,
    view: Arc<S>,
    violations: Violations,
    /// Those of the view that is shown.
    shown_violations: Violations,
    next_element: Cell<u64>,
    recent: Recent,
    /// Where in texts and lists stands what can be undone.
    tracks: RefCell<Tracks>,
    /// When what is done now began, where anybody wants to know.
    now: Option<SystemTime>,
    /// What was touched by what was shown last.
    touched: Arc<[Arc<str>]>,
}

/// What [`Store::apply`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Applied {
    /// The document has changed.
    Changed,
    /// All of it was known.
    Known,
    /// Something that it builds on is missing; it waits for that.
    Waiting,
    /// The document has changed, and a part of it waits.
    Partly,
}

/// Why an update was not applied. The store is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The update was refused.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Called inside a change of the same store, on the same thread.
    #[error("an update cannot be applied inside a change of the same store")]
    Nested,
    /// A layer refused it: [`Middleware::import`](crate::middleware::Middleware::import).
    #[error("refused: {0}")]
    Denied(String),
}

/// Reads a whole state from all registers of a document, and says what does not fit.
fn read_view<S: State>(document: &impl Source, entries: &[(Key, Value)]) -> (S, Violations) {
    let mut violations = Violations::default();
    let view = S::read(&mut Reader::new(document, entries, "", &mut violations))
        .unwrap_or_else(S::initial);
    (view, violations)
}

/// The same of all that a document holds.
fn read_whole<S: State>(document: &impl Source) -> (S, Violations) {
    read_view(document, &document.scan(""))
}

/// The paths of a commit or an import.
struct Touch {
    /// What somebody wrote: for a history, and for changes that rely on a place.
    noted: Arc<[Arc<str>]>,
    /// What differs: for those who watch.
    told: Arc<[Arc<str>]>,
}

impl Touch {
    /// Everything that was written differs.
    fn of_all(paths: Arc<[Arc<str>]>) -> Self {
        Self { noted: Arc::clone(&paths), told: paths }
    }

    /// What an import touched. `edited` are the sequences that differ: others may have written what
    /// was there already.
    fn of(touched: &Touched, edited: &BTreeSet<Arc<str>>) -> Self {
        let differs = touched
            .registers
            .iter()
            .filter(|touch| touch.old != touch.new)
            .map(|touch| Arc::clone(&touch.key));
        let mut told: Vec<Arc<str>> = differs.chain(edited.iter().cloned()).collect();
        in_key_order(&mut told);
        if told.len() == touched.registers.len() + touched.sequences.len() {
            return Self::of_all(told.into());
        }
        Self { noted: touched.paths().into(), told: told.into() }
    }
}

/// The path of the whole state alone.
fn whole() -> Arc<[Arc<str>]> {
    Arc::from([Arc::from("")])
}

/// Each path once, in the order of keys.
fn in_key_order(paths: &mut Vec<Arc<str>>) {
    paths.sort_by(|a, b| crate::document::key::compare(a, b));
    paths.dedup();
}

impl<S: State, B: Backend> Clone for Store<S, B> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S: State, B: Backend> Default for Store<S, B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: State, B: Backend> std::fmt::Debug for Store<S, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("backend", &B::NAME)
            .field("replica", &self.replica())
            .finish_non_exhaustive()
    }
}

impl<S: State, B: Backend> Store<S, B> {
    /// A new, empty document under a fresh replica id.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(Options::default())
    }

    /// A new, empty document.
    #[must_use]
    pub fn with_options(options: Options) -> Self {
        let replica = Replica::new(options.fresh_replica(), options.limits().clone());
        let (view, violations) = read_view(&replica, &[]);
        Self::around(replica, view, violations, options)
    }

    /// Opens a document that [`Store::save`] wrote, under a fresh replica id. O(document).
    ///
    /// A document that was made as another state type opens too, and [`Store::warnings`] says so;
    /// [`Store::open_strict`] refuses it.
    ///
    /// # Errors
    /// The bytes are damaged, or not a document of exostate on this backend:
    /// [`BackendError::Foreign`] says what they are, where that can be told.
    pub fn open(bytes: &[u8]) -> Result<Self, BackendError> {
        Self::open_with(bytes, Options::default())
    }

    /// Opens a document with options: limits, the ids under which the same owner wrote before.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(bytes: &[u8], options: Options) -> Result<Self, BackendError> {
        let id = options.fresh_replica();
        let trusted = options.trusted_limits();
        let limits = options.limits().clone();
        let (replica, (view, violations)) =
            Replica::open(id, bytes, trusted, limits, |replica, entries| {
                read_view(replica, entries)
            })?;
        let store = Self::around(replica, view, violations, options);
        store.peek(|core| {
            store.note_type(core);
            core.foreign().iter().for_each(warning::log);
        });
        Ok(store)
    }

    fn around(replica: Replica<B>, view: S, violations: Violations, options: Options) -> Self {
        let view = Arc::new(view);
        let id = replica.id();
        let next_element = Cell::new(1);
        let recent = Recent::default();
        let tracks = RefCell::default();
        let shown_violations = violations.clone();
        let core = Core {
            replica,
            view: Arc::clone(&view),
            violations,
            shown_violations,
            next_element,
            recent,
            tracks,
            now: None,
            touched: Arc::default(),
        };
        let core = ReentrantMutex::new(RefCell::new(core));
        let ids = ArcSwap::from_pointee(vec![id]);
        let view = Arc::new(ArcSwap::new(view));
        let bus = Bus::default();
        let lineage = AtomicU64::new(0);
        let layers = Layers::default();
        let logs = Live::default();
        let histories = Live::default();
        let mismatch = ArcSwapOption::empty();
        Self {
            shared: Arc::new(Shared {
                view,
                core,
                bus,
                layers,
                logs,
                histories,
                options,
                ids,
                lineage,
                mismatch,
            }),
        }
    }

    /// The state now: a plain struct, which stays as it is. Takes no lock; O(1).
    #[must_use]
    pub fn view(&self) -> Arc<S> {
        self.shared.view.load_full()
    }

    /// Changes the state: all of it, or nothing.
    ///
    /// The closure edits a staged copy; [`Store::view`] shows the old state meanwhile. When it
    /// returns `Ok`, the edits become one transaction, watchers are told, and what the closure
    /// returned comes back. When it returns `Err` or panics, nothing has happened. Other
    /// writers and imports wait.
    ///
    /// The closure's errors are [`ChangeError`]s, so that `?` works on what the accessors return.
    /// An error of another type becomes one with `map_err(ChangeError::refuse)`;
    /// [`Store::try_change`] takes closures that return an error of the application's own.
    ///
    /// ```
    /// use exostate::{ChangeError, State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Vote { seats: i64 }
    ///
    /// let store = Store::<Vote>::new();
    /// let set = |input: &str| store.change(|vote| {
    ///     let seats: i64 = input.parse().map_err(ChangeError::refuse)?;
    ///     vote.seats().set(seats)
    /// });
    /// set("7")?;
    /// let refused = set("seven").unwrap_err();
    /// assert!(refused.refusal::<std::num::ParseIntError>().is_some());
    /// assert_eq!(store.view().seats, 7);
    /// # Ok::<(), exostate::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the closure returned; [`ChangeError::Nested`] inside a change of the same store;
    /// [`ChangeError::Backend`] where the backend failed, in which case the document is as it
    /// was.
    pub fn change<R>(
        &self,
        edit: impl FnOnce(S::Node<Edit<'_>>) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        self.stage(Report::new(Origin::Local, None), |_| Ok(()), |stage| edit(stage.root()))
    }

    /// Applies an update from elsewhere. It is checked against the limits for strangers before the
    /// backend sees it; one that builds on something missing waits for it.
    ///
    /// # Errors
    /// The bytes are refused, too much waits already, or this was called inside a change. The store
    /// is as it was.
    pub fn apply(&self, update: &[u8]) -> Result<Applied, ApplyError> {
        self.apply_from(update, Trust::Untrusted)
    }

    /// Applies an update as [`Store::apply`] does, under the wide limits for what was saved by
    /// oneself: from a journal of this document, from another document of one's own, or a
    /// server that one trusts as much. What waits for a missing update is never forgotten: after a
    /// crash the missing one may come from a peer, which relies on this store to still have what it
    /// said to have. Only one that the document refuses when the missing one has come is
    /// dropped.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn apply_trusted(&self, update: &[u8]) -> Result<Applied, ApplyError> {
        self.apply_from(update, Trust::Trusted)
    }

    /// Applies several updates as [`Store::apply`] does, as if they were one: the view changes
    /// once, and watchers hear once. What came in while other work was done costs less so, on
    /// automerge much less.
    ///
    /// # Errors
    /// As [`Store::apply`], if any of them is refused. None is applied then; one by one, the good
    /// ones can be.
    pub fn apply_all(&self, updates: &[impl AsRef<[u8]>]) -> Result<Applied, ApplyError> {
        self.import_locked(updates, Trust::Untrusted, |core| {
            self.import(core, updates, Trust::Untrusted, false)
        })
    }

    /// Applies updates that are parts of something larger, the rest of which is to follow, as
    /// [`Store::apply_all`] does. A store that holds nothing yet need not show them before all
    /// is there: it does so with the next thing that is done with it, and costs less; at the
    /// latest [`Store::show_parts`] does. What is asked of the version, of updates and of what
    /// waits counts them at once.
    ///
    /// ```
    /// use exostate::{State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Note { title: String }
    ///
    /// let (ours, theirs) = (Store::<Note>::new(), Store::<Note>::new());
    /// theirs.change(|note| note.title().set("plan"))?;
    /// for update in theirs.updates_since(&ours.version())? {
    ///     ours.apply_part(&[update])?;
    /// }
    /// ours.show_parts();
    /// assert_eq!(ours.view(), theirs.view());
    /// # Ok::<(), exostate::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::apply_all`].
    pub fn apply_part(&self, updates: &[impl AsRef<[u8]>]) -> Result<Applied, ApplyError> {
        self.import_locked(updates, Trust::Untrusted, |core| {
            let part = core.replica.takes_parts();
            self.import(core, updates, Trust::Untrusted, part)
        })
    }

    /// Shows what [`Store::apply_part`] has brought and nothing has shown yet.
    pub fn show_parts(&self) {
        // Inside a change all is shown: it began with that.
        let waits = self.shared.core.lock().try_borrow().is_ok_and(|core| core.replica.has_parts());
        if waits {
            let shown = self.locked(|core| {
                self.show(core);
                Ok(Applied::Changed)
            });
            drop(shown);
        }
    }

    fn apply_from(&self, update: &[u8], trust: Trust) -> Result<Applied, ApplyError> {
        self.import_locked(&[update], trust, |core| self.import(core, &[update], trust, false))
    }

    /// Imports in the writer's place, unless a layer refuses.
    fn import_locked(
        &self,
        updates: &[impl AsRef<[u8]>],
        trust: Trust,
        work: impl FnOnce(&mut Core<S, B>) -> Result<Applied, ApplyError>,
    ) -> Result<Applied, ApplyError> {
        let span = tracing::trace_span!(target: "exostate", "import").entered();
        let timer = self.shared.layers.timer();
        let guard = self.shared.core.lock();
        // Within a change, which has the writer's place, nobody is told before that is done.
        let now = self.time_in_turn(&guard).ok_or(ApplyError::Nested)?;
        // Layers may look at the store; a change or an import of theirs would be one within this.
        let looking = guard.borrow();
        let allowed = self.shared.layers.import(updates, trust);
        drop(looking);
        let result = allowed.and_then(|()| {
            let mut core = guard.borrow_mut();
            core.now = now;
            core.touched = Arc::default();
            work(&mut core).map(|applied| (applied, Arc::clone(&core.touched)))
        });
        drop(guard);
        drop(span);
        let touched = result.as_ref().map(|(_, touched)| Arc::clone(touched)).unwrap_or_default();
        let report = Report { size: updates.len(), touched, ..Report::new(Origin::Remote, None) };
        let result = result.map(|(applied, _)| applied);
        self.shared.layers.done(timer, &report, result.as_ref().err().map(|error| error as _));
        self.shared.bus.deliver_in_turn();
        result
    }

    /// Works in the writer's place, then tells the watchers, outside the lock.
    fn locked(
        &self,
        work: impl FnOnce(&mut Core<S, B>) -> Result<Applied, ApplyError>,
    ) -> Result<Applied, ApplyError> {
        let guard = self.shared.core.lock();
        let now = self.time_in_turn(&guard).ok_or(ApplyError::Nested)?;
        let result = match guard.try_borrow_mut() {
            Ok(mut core) => {
                core.now = now;
                work(&mut core)
            }
            Err(_) => return Err(ApplyError::Nested),
        };
        drop(guard);
        self.shared.bus.deliver_in_turn();
        result
    }

    /// Brings the view up to date with parts that were imported. Whether there were any: then those
    /// who watch have to be told.
    fn show(&self, core: &mut Core<S, B>) -> bool {
        let watched = self.shared.bus.is_watched();
        let read = core.replica.read_parts(|replica, entries| {
            // The document held nothing before: all that it holds is new.
            let keys = entries.iter().map(|(key, _)| Arc::clone(&key.0));
            let sequences = || replica.sequences("").into_iter().map(|(_, name)| name.0);
            let paths: Vec<Arc<str>> =
                if watched { keys.chain(sequences()).collect() } else { vec![Arc::from("")] };
            (read_view(replica, entries), paths)
        });
        let Some(((view, violations), mut paths)) = read else { return false };
        core.violations = violations;
        self.note_type(core);
        in_key_order(&mut paths);
        self.publish(
            core,
            view,
            Touch { noted: whole(), told: paths.into() },
            Vec::new(),
            Origin::Remote,
            None,
        );
        true
    }

    /// Imports updates and brings the view up to date, which stays as it is if they are only a
    /// `part`.
    fn import(
        &self,
        core: &mut Core<S, B>,
        updates: &[impl AsRef<[u8]>],
        trust: Trust,
        part: bool,
    ) -> Result<Applied, ApplyError> {
        if !part {
            self.show(core);
        }
        let mut result = if part {
            core.replica.import_part(updates, trust)
        } else {
            core.replica.import_all(updates, trust)
        };
        self.note_type(core);
        let aside =
            result.as_mut().map(|imported| std::mem::take(&mut imported.aside)).unwrap_or_default();
        let applied = self.show_imported(core, result, part);
        aside.iter().for_each(|aside| self.put_back(core, aside));
        applied
    }

    /// Brings the view up to date with what was imported.
    fn show_imported(
        &self,
        core: &mut Core<S, B>,
        result: Result<Imported, ImportError>,
        part: bool,
    ) -> Result<Applied, ApplyError> {
        let changed = if result.as_ref().is_ok_and(|imported| imported.waits) {
            Applied::Partly
        } else {
            Applied::Changed
        };
        if self.take_differs(core) {
            let applied =
                result.as_ref().map_or_else(|_| Vec::new(), |imported| imported.applied.clone());
            self.show_all(core, applied);
            return Ok(result.map(|_| changed)?);
        }
        let Imported { touched, edited, applied, waits, .. } = result?;
        if applied.is_empty() {
            return Ok(if waits { Applied::Waiting } else { Applied::Known });
        }
        if part {
            let old = Arc::clone(&core.view);
            let new = Arc::clone(&core.view);
            let touched = Arc::default();
            let origin = Origin::Remote;
            let violations = [core.shown_violations.clone(), core.shown_violations.clone()];
            self.shared.histories.all().iter().for_each(|history| history.lock().part(&applied));
            self.shared.bus.push(Notice {
                number: 0,
                old,
                new,
                touched,
                updates: applied,
                violations,
                origin,
                meta: None,
            });
            return Ok(changed);
        }
        self.note_others(core, &touched);
        let touch = Touch::of(&touched, &edited);
        let view = if core.replica.mostly(&touched) {
            let (view, violations) = read_whole(&core.replica);
            core.violations = violations;
            view
        } else {
            let mut view = S::clone(&core.view);
            let source = Touching { document: &core.replica, touched: &touched };
            let mut refresh = Refresh::new(&source, &mut core.violations);
            touch.told.iter().for_each(|path| refresh.touch(&mut view, path));
            view
        };
        self.publish(core, view, touch, applied, Origin::Remote, None);
        Ok(changed)
    }

    /// Whether a failure left another document than there was before it. It says so once.
    fn take_differs(&self, core: &mut Core<S, B>) -> bool {
        let differs = core.replica.take_differs();
        if differs {
            self.shared.histories.all().iter().for_each(|history| history.lock().replaced());
        }
        differs
    }

    /// Reads everything again: a failure left another document than there was before it. What
    /// differs is not known; a watcher compares, and those who undo leave alone what they do
    /// not know to be their own.
    fn show_all(&self, core: &mut Core<S, B>, applied: Vec<Arc<[u8]>>) {
        self.note_unknown(core);
        let (view, violations) = read_whole(&core.replica);
        core.violations = violations;
        self.publish(core, view, Touch::of_all(whole()), applied, Origin::Remote, None);
    }

    /// Notes a new view and shows it. What nobody is told of comes back, with the old view, to be
    /// dropped where no lock is held that matters.
    fn publish(
        &self,
        core: &mut Core<S, B>,
        view: S,
        touch: Touch,
        updates: Vec<Arc<[u8]>>,
        origin: Origin,
        meta: Option<Arc<Meta>>,
    ) -> Option<Notice<S>> {
        self.note(core, &touch.noted, &updates, origin, meta.as_ref());
        self.swap(core, view, touch.told, updates, origin, meta)
    }

    /// Notes what is about to be shown, in the histories too. O(document) where one of them makes a
    /// checkpoint.
    fn note(
        &self,
        core: &mut Core<S, B>,
        touched: &Arc<[Arc<str>]>,
        updates: &[Arc<[u8]>],
        origin: Origin,
        meta: Option<&Arc<Meta>>,
    ) {
        core.recent.add(touched);
        core.touched = Arc::clone(touched);
        for history in self.shared.histories.all() {
            let step = Step { touched, updates, origin, meta, time: core.now };
            history.lock().add(&step, || core.replica.checkpoint().ok());
        }
    }

    /// Shows what is noted. O(1).
    fn swap(
        &self,
        core: &mut Core<S, B>,
        view: S,
        touched: Arc<[Arc<str>]>,
        updates: Vec<Arc<[u8]>>,
        origin: Origin,
        meta: Option<Arc<Meta>>,
    ) -> Option<Notice<S>> {
        // Where nothing differs the view is the one that there was: nobody need compare.
        let new = if touched.is_empty() { Arc::clone(&core.view) } else { Arc::new(view) };
        let old = std::mem::replace(&mut core.view, Arc::clone(&new));
        let shown = std::mem::replace(&mut core.shown_violations, core.violations.clone());
        let violations = [shown, core.violations.clone()];
        let notice = Notice { number: 0, old, new, touched, updates, violations, origin, meta };
        self.shared.bus.publish(&self.shared.view, notice)
    }

    /// Whether another thread is changing the store or importing into it now, or is telling those
    /// who watch: then whoever else changes or imports may have to wait. A moment later it may
    /// be otherwise; for those who have something better to do than to wait.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.shared.core.try_lock().is_none() || self.shared.bus.is_delivering()
    }

    /// Turns the state into `new` with the least ops: what is equal is not written, so that it does
    /// not compete with what others write. Elements of a [`MovableList`](crate::MovableList)
    /// are matched by id, else by content.
    ///
    /// A text or list gets the least edits where up to some 4,000 characters or elements differ,
    /// and where more do not many more: what differs little merges with what others write
    /// meanwhile, however large it is. O(state), and for what differs O(length · edits), bounded by
    /// some hundred steps for each element of large values.
    ///
    /// Equal is what the view shows. Where something in the document does not fit (see
    /// [`Store::violations`]), the view shows a default, and `new` with that default leaves
    /// what is there as it is: a newer application may know it. [`Store::reconcile_with`] writes
    /// over it, and so does [`Node::set`](crate::Node::set) at one place.
    ///
    /// # Errors
    /// As [`Store::change`]; [`ChangeError::Invalid`] where a value cannot be written.
    pub fn reconcile(&self, new: &S) -> Result<(), ChangeError> {
        self.reconcile_with(new, Mend::Leave)
    }

    /// Turns the state into `new` as [`Store::reconcile`] does, and says what becomes of what does
    /// not fit. With [`Mend::Reset`] all of it is written over or removed, so that
    /// [`Store::violations`] is empty afterwards: to reset to defaults, give the view itself. What
    /// the struct does not know stays. O(state).
    ///
    /// # Errors
    /// As [`Store::reconcile`].
    pub fn reconcile_with(&self, new: &S, mend: Mend) -> Result<(), ChangeError> {
        self.stage(Report::new(Origin::Local, None), |_| Ok(()), |stage| stage.reconcile(new, mend))
    }

    /// What this replica has seen.
    #[must_use]
    pub fn version(&self) -> Version {
        self.peek(|core| core.replica.version())
    }

    /// All that a replica at `version` lacks, as one update.
    ///
    /// # Errors
    /// The version is one of another backend.
    pub fn update_since(&self, version: &Version) -> Result<Vec<u8>, BackendError> {
        self.peek(|core| core.replica.update_since(version))
    }

    /// All that a replica at `version` lacks, in pieces that are to be applied in this order. Each
    /// is small enough for a peer that knows nothing of this one: it passes
    /// [`Limits::stranger`](crate::Limits::stranger), however large the whole is. Between two
    /// pieces that peer shows a state that never was; all of them together are
    /// [`Store::update_since`].
    ///
    /// One value, and one of automerge's changes that was made elsewhere, cannot be cut.
    ///
    /// # Errors
    /// The version is one of another backend.
    pub fn updates_since(&self, version: &Version) -> Result<Vec<Vec<u8>>, BackendError> {
        self.peek(|core| core.replica.updates_since(version))
    }

    /// Whether the document has everything that an update holds, so that applying it would change
    /// nothing. For a server with peers that may only read: such a peer may send updates that
    /// the server has already. Pending updates do not count.
    ///
    /// O(update · log n); on yrs also O(n) for the first update that deletes something, and again
    /// after each deletion.
    ///
    /// ```
    /// use exostate::{State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Note { title: String }
    ///
    /// let (ours, theirs) = (Store::<Note>::new(), Store::<Note>::new());
    /// ours.change(|note| note.title().set("plan"))?;
    /// let update = ours.update_since(&theirs.version())?;
    /// assert!(ours.contains(&update)? && !theirs.contains(&update)?);
    /// # Ok::<(), exostate::Error>(())
    /// ```
    ///
    /// # Errors
    /// The bytes are refused, as [`Store::apply`] would refuse them.
    pub fn contains(&self, update: &[u8]) -> Result<bool, BackendError> {
        self.peek(|core| core.replica.contains(update))
    }

    /// Whether this document has all that a replica at `version` has; not where the version is one
    /// of another backend. O(the version).
    ///
    /// On automerge a version names changes by their hashes, so it is exact even where a replica id
    /// was used twice. On yrs it names them by number, and what was deleted does not count.
    #[must_use]
    pub fn has_seen(&self, version: &Version) -> bool {
        self.peek(|core| core.replica.has_seen(version))
    }

    /// Cuts an update that is longer than [`Limits::bytes_max`](crate::Limits::bytes_max) into
    /// pieces that are not, to be applied in this order; one that is not stays as it is. For
    /// updates of those who cannot cut: a Yjs client sends all that was typed offline as one. It
    /// may hold as much as that many updates of the full length; what strangers may not send in an
    /// update is refused in this one too.
    ///
    /// O(update · log(update)). One value, and one of automerge's changes, cannot be cut.
    ///
    /// # Errors
    /// The bytes are refused.
    pub fn cut_update(&self, update: &[u8]) -> Result<Vec<Vec<u8>>, BackendError> {
        let limits = self.peek(|core| core.replica.limits().clone());
        Replica::<B>::cut(update, &limits)
    }

    /// The whole document, to be opened again.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        self.peek(|core| core.replica.save())
    }

    /// The digest of the content, also of what the struct does not know. Costs nothing but for
    /// lists and texts that changed.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.read(|core| core.replica.digest())
    }

    /// The scalars in the document that do not fit the struct. Such a field shows its default. The
    /// document keeps the value until somebody writes over it, with `set` at the place or
    /// [`Store::reconcile_with`] everywhere.
    ///
    /// Only scalars are listed. A field that becomes another kind (text, list, map, counter,
    /// scalar) is a new field: rename it, and copy the value.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.read(|core| core.violations.list())
    }

    /// How many updates wait for a missing one, and their bytes.
    #[must_use]
    pub fn pending(&self) -> (usize, usize) {
        self.peek(|core| core.replica.pending(None))
    }

    /// How many of these [`Store::apply_trusted`] has brought, and their bytes.
    #[must_use]
    pub fn own_pending(&self) -> (usize, usize) {
        self.peek(|core| core.replica.pending(Some(Trust::Trusted)))
    }

    /// The updates that [`Store::apply_trusted`] has brought and that wait for a missing one. They
    /// are not in [`Store::save`]: a new journal begins with them.
    #[must_use]
    pub fn own_pending_updates(&self) -> Vec<Vec<u8>> {
        let own = |(update, trust)| (trust == Trust::Trusted).then_some(update);
        self.peek(|core| core.replica.pending_updates().into_iter().filter_map(own).collect())
    }

    /// Forgets the updates from strangers that wait for a missing one, which may never come.
    /// [`Store::version`] never counted them, so whoever is asked for what this store lacks
    /// gives them again. What [`Store::apply_trusted`] brought is not forgotten: others may have
    /// lost it.
    pub fn forget_pending(&self) {
        let guard = self.shared.core.lock();
        if let Ok(mut core) = guard.try_borrow_mut() {
            core.replica.forget_pending(Trust::Untrusted);
        }
    }

    /// This replica's id. It stays the same but for [`Store::repair`].
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        self.shared.ids.load().last().copied().unwrap_or_else(|| ReplicaId::from_bits(0))
    }

    /// Whether a replica id is this store's own: its id now, one that it gave up, or one that the
    /// options named as an earlier one.
    #[must_use]
    pub fn is_own(&self, id: ReplicaId) -> bool {
        self.shared.ids.load().contains(&id) || self.shared.options.earlier().contains(&id)
    }

    /// A second document with the same content and history, under a fresh replica id.
    ///
    /// # Errors
    /// The backend cannot open what it saved: a bug in it.
    pub fn fork(&self) -> Result<Self, BackendError> {
        Self::open_with(&self.save(), self.shared.options.clone().for_fork(&self.shared.ids.load()))
    }

    /// Takes over all that another store of the same document has and this one lacks, however much
    /// it is.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn merge(&self, other: &Self) -> Result<Applied, crate::Error> {
        let update = other.update_since(&self.version())?;
        Ok(self.apply_trusted(&update)?)
    }

    /// Reads the whole document again, past the view and every index: to check that the view equals
    /// the document. O(document).
    #[must_use]
    pub fn reread(&self) -> S {
        let fresh = self.read(|core| core.replica.fresh());
        read_view::<S>(&fresh, &fresh.entries()).0
    }

    /// A place in a text that follows the text. It sticks to the character before it (`before`) or
    /// to the one after; when that is gone, it stands where the character was. Where there is
    /// no character to stick to, at the start or at the end of the text, or in an empty one, it
    /// stays at the start (`before`) or at the end, whatever is typed there.
    ///
    /// Anchors keep their order. For example, an anchor at 2 and one at 5 never swap, whatever is
    /// typed or deleted; they may come to the same place. At one place an anchor with `before`
    /// is the earlier. If the start of a selection sticks to the character after it, and the
    /// end to the character before it, the selection does not grow; while it is empty, give both
    /// ends the same side.
    ///
    /// ```
    /// use exostate::{State, Store, Text};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Note { body: Text }
    ///
    /// let store = Store::<Note>::new();
    /// let body = Note::path().body();
    /// let (start, end) = (store.anchor(&body, 0, true), store.anchor(&body, 0, false));
    /// store.change(|note| note.body().push_str("hello"))?;
    /// assert_eq!(start.and_then(|start| store.resolve(&body, &start)), Some(0));
    /// assert_eq!(end.and_then(|end| store.resolve(&body, &end)), Some(5));
    /// # Ok::<(), exostate::Error>(())
    /// ```
    ///
    /// O(log n), and on yrs what the backend's walk to the place costs.
    ///
    /// `None` where there is no such text, where `at` (in Unicode scalar values) lies beyond its
    /// end, and inside a change of the same store, whose text nobody else knows yet.
    pub fn anchor(
        &self,
        text: &impl AsPath<S, Target = Text>,
        at: usize,
        before: bool,
    ) -> Option<Anchor> {
        let path = text.as_path().as_str();
        self.show_parts();
        let guard = self.shared.core.lock();
        let mut core = guard.try_borrow_mut().ok()?;
        core.view.locate(crate::state::At::start(path))?;
        core.replica.anchor(path, at, before).map(Anchor::from_bytes)
    }

    /// Where an anchor's place is now, in Unicode scalar values. `None` for an anchor of another
    /// text, for one that sticks to a character which this document has never heard of, and for
    /// bytes that are no anchor.
    pub fn resolve(&self, text: &impl AsPath<S, Target = Text>, anchor: &Anchor) -> Option<usize> {
        self.read(|core| core.replica.resolve(text.as_path().as_str(), anchor.as_bytes()))
    }

    /// Reads what is shown, once all is.
    fn read<R>(&self, read: impl FnOnce(&Core<S, B>) -> R) -> R {
        self.show_parts();
        self.peek(read)
    }

    /// Reads what the document has, whether it is shown or not.
    fn peek<R>(&self, read: impl FnOnce(&Core<S, B>) -> R) -> R {
        read(&self.shared.core.lock().borrow())
    }
}
