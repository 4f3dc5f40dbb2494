//! The store: a document, its typed view, and those who watch it.
//!
//! Data goes one way: closure → staged ops → document → bytes and view → watchers; bytes → document
//! → touched paths → view → watchers. Readers take no lock. Nobody is called while a lock is held.

mod changes;
mod commit;
mod conflicting_values;
mod effect;
mod envelope;
mod history;
mod joint;
mod layers;
pub(crate) mod middleware;
mod notify;
mod own_error;
mod pace;
mod projection;
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

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::{Mutex, ReentrantMutex};

pub use changes::Changes;
pub use conflicting_values::ConflictingValue;
pub use effect::{Cleanup, OwnedPatch};
pub use history::{
    Blame, Diff, Differing, History, HistoryError, HistoryOptions, Revision, RevisionId,
};
pub use joint::{Joint, JointPatch, Stores};
pub use pace::{Pace, Paced};
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

pub(crate) use crate::document::commit::{Origin, Update};
pub(crate) use crate::document::doc::{Applied, ApplyError, Document, Pending};
pub(crate) use crate::document::meta::Meta;
pub(crate) use crate::document::options::{Options, random_bits};
pub(crate) use crate::document::subscription::Subscription;

use crate::document::backend::{Backend, BackendError, Yrs};
use crate::document::key::Key;
use crate::document::live::Live;
use crate::document::named::TypeMismatch;
use crate::document::projection::Projection;
use crate::document::replica::Replica;
use crate::document::source::Source;
use crate::document::value::Value;
use crate::document::{Digest, ReplicaId, Version};
use crate::state::{
    Anchor, AsPath, ChangeError, Edit, Mend, Reader, State, Text, Violation, Violations,
};
use layers::{Layers, Report};
use notify::Subscribers;
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
    document: Document<B>,
    /// Selectors have it too.
    view: Arc<ArcSwap<S>>,
    /// Locked only by a thread that holds the document's writer lock.
    typed: ReentrantMutex<RefCell<Typed<S>>>,
    subscribers: Arc<Mutex<Subscribers<S>>>,
    layers: Layers<S>,
    /// The undo managers.
    logs: Live<Log>,
    /// What the document says that it holds, if that is another type.
    mismatch: ArcSwapOption<TypeMismatch>,
}

/// What a store knows beside its document, for writers only.
pub struct Typed<S> {
    view: Arc<S>,
    /// The view that is about to be shown.
    next: Option<S>,
    /// Those of the next view.
    violations: Violations,
    /// Those of the view that is shown.
    shown_violations: Violations,
    recent: Recent,
    /// Where in texts and lists stands what can be undone.
    tracks: RefCell<Tracks>,
}

/// A document and what the store knows of it, to look at.
pub(crate) struct Core<'a, S, B: Backend> {
    replica: &'a Replica<B>,
    typed: &'a Typed<S>,
    next_element: &'a AtomicU64,
}

impl<S, B: Backend> Deref for Core<'_, S, B> {
    type Target = Typed<S>;

    fn deref(&self) -> &Typed<S> {
        self.typed
    }
}

/// A document and what the store knows of it, to be changed.
pub(crate) struct CoreMut<'a, S, B: Backend> {
    replica: &'a mut Replica<B>,
    typed: &'a mut Typed<S>,
}

impl<S, B: Backend> Deref for CoreMut<'_, S, B> {
    type Target = Typed<S>;

    fn deref(&self) -> &Typed<S> {
        self.typed
    }
}

impl<S, B: Backend> DerefMut for CoreMut<'_, S, B> {
    fn deref_mut(&mut self) -> &mut Typed<S> {
        self.typed
    }
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
        let document = Document::with_options(options);
        let (view, violations) = document.peek(|replica| read_view(replica, &[]));
        Self::around(document, view, violations)
    }

    /// A store on a document that is there already: its typed view, which follows the document as
    /// long as there is a handle of the store. Several stores may stand on one document; to each,
    /// what another one writes is the work of others. O(document).
    ///
    /// ```
    /// use exostate::{Document, State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Note { title: String }
    ///
    /// let document: Document = Document::new();
    /// let note = Store::<Note>::on(&document);
    /// document.edit(|edit| edit.set("title", "plan"))?;
    /// assert_eq!(note.view().title, "plan");
    /// # Ok::<(), exostate::Error>(())
    /// ```
    #[must_use]
    pub fn on(document: &Document<B>) -> Self {
        document.show_parts();
        let _lock = document.inner().lock();
        let (view, violations) = document.peek(read_whole);
        let store = Self::around(document.bare(), view, violations);
        store.note_opened();
        store
    }

    /// The document of this store: for servers, tools and storage, which do not know its type. As
    /// long as the handle exists, so does the store: its view follows the document.
    #[must_use]
    pub fn document(&self) -> Document<B> {
        self.shared.document.keeping(Arc::clone(&self.shared) as _)
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
        let limits = options.limits().clone();
        let trusted = options.trusted_limits();
        let read = |replica: &Replica<B>, entries: &[(Key, Value)]| read_view(replica, entries);
        let (replica, (view, violations)) = Replica::open(id, bytes, trusted, limits, read)?;
        let store = Self::around(Document::around(replica, options), view, violations);
        store.note_opened();
        Ok(store)
    }

    fn note_opened(&self) {
        self.peek(|core| {
            self.shared.note_type(core.replica);
            core.foreign().iter().for_each(warning::log);
        });
    }

    fn around(document: Document<B>, view: S, violations: Violations) -> Self {
        let view = Arc::new(view);
        let typed = Typed {
            view: Arc::clone(&view),
            next: None,
            shown_violations: violations.clone(),
            violations,
            recent: Recent::default(),
            tracks: RefCell::default(),
        };
        let delivery = &document.inner().delivery;
        let subscribers = Subscribers::new(delivery.numbers(), delivery.showing());
        let shared = Arc::new(Shared {
            view: Arc::new(ArcSwap::new(view)),
            typed: ReentrantMutex::new(RefCell::new(typed)),
            subscribers: Arc::new(Mutex::new(subscribers)),
            layers: Layers::default(),
            logs: Live::default(),
            mismatch: ArcSwapOption::empty(),
            document,
        });
        let weak = Arc::downgrade(&shared);
        shared.document.attach(weak);
        Self { shared }
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
        self.shared.document.apply(update)
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
        self.shared.document.apply_trusted(update)
    }

    /// Applies several updates as [`Store::apply`] does, as if they were one: the view changes
    /// once, and watchers hear once. What came in while other work was done costs less so, on
    /// automerge much less.
    ///
    /// # Errors
    /// As [`Store::apply`], if any of them is refused. None is applied then; one by one, the good
    /// ones can be.
    pub fn apply_all(&self, updates: &[impl AsRef<[u8]>]) -> Result<Applied, ApplyError> {
        self.shared.document.apply_all(updates)
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
        self.shared.document.version()
    }

    /// All that a replica at `version` lacks, as one update.
    ///
    /// # Errors
    /// The version is one of another backend.
    pub fn update_since(&self, version: &Version) -> Result<Vec<u8>, BackendError> {
        self.shared.document.update_since(version)
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
        self.shared.document.updates_since(version)
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
        self.shared.document.contains(update)
    }

    /// The whole document, to be opened again.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        self.shared.document.save()
    }

    /// The digest of the content, also of what the struct does not know. Costs nothing but for
    /// lists and texts that changed.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.shared.document.digest()
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

    /// The updates that wait for a missing dependency.
    #[must_use]
    pub fn pending(&self) -> Pending {
        self.shared.document.pending()
    }

    /// This replica's id. It stays the same but for [`Document::repair`].
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        self.shared.document.replica()
    }

    /// Whether a replica id is this store's own: its id now, one that it gave up, or one that the
    /// options named as an earlier one.
    #[must_use]
    pub fn is_own(&self, id: ReplicaId) -> bool {
        self.shared.document.is_own(id)
    }

    /// A second document with the same content and history, under a fresh replica id.
    ///
    /// # Errors
    /// The backend cannot open what it saved: a bug in it.
    pub fn fork(&self) -> Result<Self, BackendError> {
        Self::open_with(&self.save(), self.shared.document.options_of_fork())
    }

    /// Takes over all that another store of the same document has and this one lacks, however much
    /// it is.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn merge(&self, other: &Self) -> Result<Applied, crate::Error> {
        self.shared.document.merge(&other.shared.document)
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
        let document = &self.shared.document;
        document.show_parts();
        let lock = document.inner().lock();
        let mut replica = lock.try_borrow_mut().ok()?;
        self.view().locate(crate::state::At::start(path))?;
        replica.anchor(path, at, before).map(Anchor::from_bytes)
    }

    /// Where an anchor's place is now, in Unicode scalar values. `None` for an anchor of another
    /// text, for one that sticks to a character which this document has never heard of, and for
    /// bytes that are no anchor.
    pub fn resolve(&self, text: &impl AsPath<S, Target = Text>, anchor: &Anchor) -> Option<usize> {
        self.read(|core| core.replica.resolve(text.as_path().as_str(), anchor.as_bytes()))
    }

    /// Reads what is shown, once all is.
    fn read<R>(&self, read: impl FnOnce(Core<'_, S, B>) -> R) -> R {
        self.shared.document.show_parts();
        self.peek(read)
    }

    /// Reads what the document has, whether it is shown or not.
    fn peek<R>(&self, read: impl FnOnce(Core<'_, S, B>) -> R) -> R {
        self.shared.document.peek(|replica| {
            let lock = self.shared.typed.lock();
            let typed = lock.borrow();
            read(Core {
                replica,
                typed: &typed,
                next_element: &self.shared.document.inner().next_element,
            })
        })
    }
}
