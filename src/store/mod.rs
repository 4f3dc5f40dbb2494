//! The store: a document, its typed view, and the watchers of the view.
//!
//! Data goes one way: closure → staged ops → document → bytes and view → watchers; bytes → document
//! → touched paths → view → watchers. Readers of the view take no lock. Watchers and listeners are
//! called outside every lock.

mod commit;
mod conflicting_values;
mod dynamic;
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
mod streams;
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
pub use streams::ChangeStream;
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
use crate::state::{TypeRef, Types};
use layers::{Layers, Report};
use notify::Subscribers;
use transaction::Recent;
use undo::{Log, Tracks};

/// A state that many people change at once.
///
/// A store is a handle: clones share one document. Reading ([`Store::view`]) takes no lock; only
/// one writer works at a time.
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

/// The data that the handles of a store share.
pub struct Shared<S: State, B: Backend> {
    document: Document<B>,
    /// Selectors share it.
    view: Arc<ArcSwap<S>>,
    /// Locked only by a thread that holds the document's writer lock.
    typed: ReentrantMutex<RefCell<ViewState<S>>>,
    subscribers: Arc<Mutex<Subscribers<S>>>,
    layers: Layers<S>,
    /// The logs of the undo managers.
    logs: Live<Log>,
    /// The type that the document names as its state type, if that is not `S`.
    mismatch: ArcSwapOption<TypeMismatch>,
    /// The type of the state, if only a schema knows it.
    types: Option<Arc<Types>>,
}

impl<S: State, B: Backend> Shared<S, B> {
    /// The type of the state, if only a schema knows it.
    fn ty(&self) -> Option<TypeRef<'_>> {
        self.types.as_deref().map(Types::root)
    }

    /// The name of the state's type.
    fn type_name(&self) -> Option<&str> {
        match &self.types {
            Some(types) => types.name(),
            None => S::STATE_NAME,
        }
    }
}

/// The data that a store has beside its document. Used only under the writer lock.
pub struct ViewState<S> {
    view: Arc<S>,
    /// The view that is about to be shown.
    next: Option<S>,
    /// The violations of the next view.
    violations: Violations,
    /// The violations of the view that is shown.
    shown_violations: Violations,
    recent: Recent,
    /// The positions of what can be undone in texts and lists.
    tracks: RefCell<Tracks>,
}

/// A document and the store's data, to read.
pub(crate) struct StoreRef<'a, S, B: Backend> {
    replica: &'a Replica<B>,
    typed: &'a ViewState<S>,
    next_element: &'a AtomicU64,
    /// The type of the state, if only a schema knows it.
    ty: Option<TypeRef<'a>>,
}

impl<S, B: Backend> Deref for StoreRef<'_, S, B> {
    type Target = ViewState<S>;

    fn deref(&self) -> &ViewState<S> {
        self.typed
    }
}

/// A document and the store's data, to change.
pub(crate) struct StoreMut<'a, S, B: Backend> {
    replica: &'a mut Replica<B>,
    typed: &'a mut ViewState<S>,
}

impl<S, B: Backend> Deref for StoreMut<'_, S, B> {
    type Target = ViewState<S>;

    fn deref(&self) -> &ViewState<S> {
        self.typed
    }
}

impl<S, B: Backend> DerefMut for StoreMut<'_, S, B> {
    fn deref_mut(&mut self) -> &mut ViewState<S> {
        self.typed
    }
}

/// Reads a whole state from all registers of a document. Also returns what does not fit.
fn read_view<S: State>(
    document: &impl Source,
    entries: &[(Key, Value)],
    ty: Option<TypeRef<'_>>,
) -> (S, Violations) {
    let mut violations = Violations::default();
    let view = S::read(&mut Reader::new(document, entries, &mut violations, ty))
        .unwrap_or_else(|| S::initial_of(ty));
    (view, violations)
}

/// Reads a whole state from everything that a document holds, as [`read_view`] does.
fn read_whole<S: State>(document: &impl Source, ty: Option<TypeRef<'_>>) -> (S, Violations) {
    read_view(document, &document.scan(""), ty)
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
        let (view, violations) = document.peek(|replica| read_view(replica, &[], None));
        Self::around(document, view, violations, None)
    }

    /// A store on an existing document. Its typed view follows the document as long as a handle of
    /// the store exists. Several stores may use one document; to each store, the changes of another
    /// store are the work of another writer. O(document).
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
        Self::on_as(document, None)
    }

    /// A store on a document, with a state of a type that only a schema may know.
    pub(super) fn on_as(document: &Document<B>, types: Option<Arc<Types>>) -> Self {
        document.show_parts();
        let _lock = document.inner().lock();
        let ty = types.as_deref().map(Types::root);
        let (view, violations) = document.peek(|replica| read_whole(replica, ty));
        let store = Self::around(document.bare(), view, violations, types);
        store.note_opened();
        store
    }

    /// The document of this store, for servers, tools and storage that do not know the type of its
    /// state. As long as this handle exists, the store exists too, and its view follows the
    /// document.
    #[must_use]
    pub fn document(&self) -> Document<B> {
        self.shared.document.keeping(Arc::clone(&self.shared) as _)
    }

    /// Opens a document that [`Store::save`] wrote, under a fresh replica id. O(document).
    ///
    /// A document that was made with another state type opens too, and [`Store::warnings`] says so;
    /// [`Store::open_strict`] refuses it.
    ///
    /// # Errors
    /// The bytes are damaged, or are not a document of exostate on this backend:
    /// [`BackendError::Foreign`] says what they are, if that can be told.
    pub fn open(bytes: &[u8]) -> Result<Self, BackendError> {
        Self::open_with(bytes, Options::default())
    }

    /// Opens a document with options, for example limits, or the replica ids under which the same
    /// owner wrote before.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(bytes: &[u8], options: Options) -> Result<Self, BackendError> {
        let id = options.fresh_replica();
        let read = |replica: &Replica<B>, entries: &[_]| read_view(replica, entries, None);
        let opened = Replica::open(id, bytes, &options, read)?;
        Ok(Self::opened(opened, options, None))
    }

    /// The store of a document that was just opened.
    fn opened(
        (replica, (view, violations)): (Replica<B>, (S, Violations)),
        options: Options,
        types: Option<Arc<Types>>,
    ) -> Self {
        let store = Self::around(Document::around(replica, options), view, violations, types);
        store.note_opened();
        store
    }

    fn note_opened(&self) {
        self.peek(|core| {
            self.shared.note_type(core.replica);
            core.foreign().iter().for_each(warning::log);
        });
    }

    fn around(
        document: Document<B>,
        view: S,
        violations: Violations,
        types: Option<Arc<Types>>,
    ) -> Self {
        let view = Arc::new(view);
        let typed = ViewState {
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
            types,
            document,
        });
        let weak = Arc::downgrade(&shared);
        shared.document.attach(weak);
        Self { shared }
    }

    /// The current state: a plain struct that never changes. Takes no lock; O(1).
    #[must_use]
    pub fn view(&self) -> Arc<S> {
        self.shared.view.load_full()
    }

    /// Changes the state: either the whole change is made, or nothing of it.
    ///
    /// The closure edits a staged copy. Meanwhile [`Store::view`] shows the old state, and other
    /// writers and imports wait. If the closure returns `Ok`, the edits become one transaction,
    /// watchers are told, and `change` returns the closure's result. If the closure returns `Err`
    /// or panics, the store stays as it was.
    ///
    /// The closure returns [`ChangeError`]s, so that `?` works on the results of the accessors.
    /// `map_err(ChangeError::refuse)` makes a [`ChangeError`] of an error of another type.
    /// [`Store::try_change`] takes closures that return an error type of the application.
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
    /// The error that the closure or a middleware layer returned; [`ChangeError::Nested`] inside a
    /// change of the same store; [`ChangeError::Backend`] if the backend failed, and then the
    /// document is as it was.
    pub fn change<R>(
        &self,
        edit: impl FnOnce(S::Node<Edit<'_>>) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        self.stage(Report::new(Origin::Local, None), |_| Ok(()), |stage| edit(stage.root()))
    }

    /// Applies an update from an untrusted peer. The update is checked against the limits for
    /// untrusted updates before the backend sees it. An update with a missing dependency stays
    /// pending until the dependency comes.
    ///
    /// # Errors
    /// The bytes are refused, too many updates are pending already, or `apply` was called inside a
    /// change. The store is as it was.
    pub fn apply(&self, update: &[u8]) -> Result<Applied, ApplyError> {
        self.shared.document.apply(update)
    }

    /// Applies an update as [`Store::apply`] does, but under the wide limits for trusted updates:
    /// from a journal of this document, from another document of the same owner, or from a server
    /// that is trusted as much.
    ///
    /// A pending trusted update is never forgotten. After a crash its dependency may come from a
    /// peer, and the peer relies on this store to still have every update that the store
    /// acknowledged. A pending trusted update is dropped only if the document refuses it once the
    /// dependency has come.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn apply_trusted(&self, update: &[u8]) -> Result<Applied, ApplyError> {
        self.shared.document.apply_trusted(update)
    }

    /// Applies several updates as [`Store::apply`] does, as if they were one: the view changes
    /// once, and watchers are told once. For updates that came in during other work this costs less
    /// than one call for each, on automerge much less.
    ///
    /// # Errors
    /// As [`Store::apply`], if any of the updates is refused. Then none is applied; the caller can
    /// apply the valid updates one by one.
    pub fn apply_all(&self, updates: &[impl AsRef<[u8]>]) -> Result<Applied, ApplyError> {
        self.shared.document.apply_all(updates)
    }

    /// Turns the state into `new` with the fewest ops. What is equal is not written, so that it
    /// does not conflict with concurrent writes. Elements of a [`MovableList`](crate::MovableList)
    /// are matched by id, else by content.
    ///
    /// A text or list gets the fewest edits if up to some 4,000 characters or elements differ, and
    /// not many more edits if more differ. So a small difference merges with concurrent writes,
    /// however large the text or list is. O(state), plus O(length · edits) for what differs,
    /// bounded by some hundred steps for each element of large values.
    ///
    /// "Equal" means equal to the view. If a value in the document does not fit (see
    /// [`Store::violations`]), the view shows a default. If `new` has that default too, the value
    /// in the document stays as it is, because a newer application may know it.
    /// [`Store::reconcile_with`] can overwrite it, and so does [`Node::set`](crate::Node::set) at
    /// one place.
    ///
    /// # Errors
    /// As [`Store::change`]; [`ChangeError::Invalid`] if a value cannot be written.
    pub fn reconcile(&self, new: &S) -> Result<(), ChangeError> {
        self.reconcile_with(new, Mend::Leave)
    }

    /// Turns the state into `new` as [`Store::reconcile`] does. `mend` says what happens to the
    /// values that do not fit. With [`Mend::Reset`] all of them are overwritten or removed, so that
    /// [`Store::violations`] is empty afterwards. To reset them to their defaults, pass the view
    /// itself. Fields that the struct does not know stay. O(state).
    ///
    /// # Errors
    /// As [`Store::reconcile`].
    pub fn reconcile_with(&self, new: &S, mend: Mend) -> Result<(), ChangeError> {
        self.stage(Report::new(Origin::Local, None), |_| Ok(()), |stage| stage.reconcile(new, mend))
    }

    /// The version of this replica: what the replica has seen.
    #[must_use]
    pub fn version(&self) -> Version {
        self.shared.document.version()
    }

    /// Everything that a replica at `version` lacks, as updates that are to be applied in this
    /// order. Usually this is one update. If more is missing than fits into one, there are several:
    /// each of them passes [`Limits::untrusted`](crate::Limits::untrusted), however large the whole
    /// is. A single value cannot be cut, and neither can a change of automerge that was made
    /// elsewhere.
    ///
    /// [`Store::apply_all`] applies all of them as one. A peer that applies them one by one shows a
    /// state that never existed in between.
    ///
    /// ```
    /// use exostate::{State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Note { title: String }
    ///
    /// let (ours, theirs) = (Store::<Note>::new(), Store::<Note>::new());
    /// ours.change(|note| note.title().set("plan"))?;
    /// theirs.apply_all(&ours.updates_since(&theirs.version())?)?;
    /// assert_eq!(ours.view(), theirs.view());
    /// # Ok::<(), exostate::Error>(())
    /// ```
    ///
    /// # Errors
    /// The version belongs to another backend.
    pub fn updates_since(&self, version: &Version) -> Result<Vec<Vec<u8>>, BackendError> {
        self.shared.document.updates_since(version)
    }

    /// Whether the document has everything that an update holds, so that applying the update would
    /// change nothing. For a server with read-only peers: such a peer may send updates that the
    /// server has already. Pending updates do not count.
    ///
    /// O(update · log n). On yrs also O(n) for the first update that deletes something, and again
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
    /// for update in ours.updates_since(&theirs.version())? {
    ///     assert!(ours.contains(&update)? && !theirs.contains(&update)?);
    /// }
    /// # Ok::<(), exostate::Error>(())
    /// ```
    ///
    /// # Errors
    /// The bytes are not an update, or exceed the limits of a batch of updates.
    pub fn contains(&self, update: &[u8]) -> Result<bool, BackendError> {
        self.shared.document.contains(update)
    }

    /// The whole document as bytes, for [`Store::open`].
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        self.shared.document.save()
    }

    /// The digest of the content, including the content that the struct does not know. Costs
    /// nothing except for lists and texts that changed.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.shared.document.digest()
    }

    /// The scalars in the document that do not fit the struct. The field of such a scalar shows its
    /// default. The document keeps the value until it is overwritten, with `set` at the place or
    /// with [`Store::reconcile_with`] everywhere.
    ///
    /// Only scalars are listed. A field whose kind changes (text, list, map, counter, scalar) is a
    /// new field: rename it, and copy the value.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.read(|core| core.violations.list())
    }

    /// The updates that are pending because a dependency is missing.
    #[must_use]
    pub fn pending(&self) -> Pending {
        self.shared.document.pending()
    }

    /// This replica's id. It changes only in [`Document::repair`].
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        self.shared.document.replica()
    }

    /// Whether a replica id belongs to this store: its current id, an id that it gave up, or an
    /// earlier id that the options named.
    #[must_use]
    pub fn is_own(&self, id: ReplicaId) -> bool {
        self.shared.document.is_own(id)
    }

    /// A second document with the same content and history, under a fresh replica id.
    ///
    /// # Errors
    /// The backend cannot open what it saved: a bug in the backend.
    pub fn fork(&self) -> Result<Self, BackendError> {
        let options = self.shared.document.options_of_fork();
        let read =
            |replica: &Replica<B>, entries: &[_]| read_view(replica, entries, self.shared.ty());
        let opened = Replica::reopen(options.fresh_replica(), &self.save(), &options, read)?;
        Ok(Self::opened(opened, options, self.shared.types.clone()))
    }

    /// Applies everything that another store of the same document has and this store lacks, under
    /// the wide limits for trusted updates.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn merge(&self, other: &Self) -> Result<Applied, crate::Error> {
        self.shared.document.merge(&other.shared.document)
    }

    /// Reads the whole document again, without the view and the indexes: to check that the view
    /// equals the document. O(document).
    #[must_use]
    pub fn reread(&self) -> S {
        let fresh = self.read(|core| core.replica.fresh());
        read_view::<S>(&fresh, &fresh.entries(), self.shared.ty()).0
    }

    /// An anchor: a position in a text that follows the text. The anchor sticks to the character
    /// before the position (`before`) or to the character after it. If that character is deleted,
    /// the anchor stays where the character was. If there is no such character (at the start or the
    /// end of the text, or in an empty text), the anchor stays at the start (`before`) or at the
    /// end, whatever is typed there.
    ///
    /// Anchors keep their order. For example, an anchor at 2 and an anchor at 5 never swap,
    /// whatever is typed or deleted; they may come to the same position. At one position an anchor
    /// with `before` is the earlier one.
    ///
    /// A selection does not grow if its start sticks to the character after it and its end to the
    /// character before it. While the selection is empty, give both ends the same side.
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
    /// O(log n). On yrs also the cost of the backend's walk to the position.
    ///
    /// `None` if there is no such text, if `at` (in Unicode scalar values) is past the end of the
    /// text, and inside a change of the same store, because the staged text is not in the document
    /// yet.
    pub fn anchor(
        &self,
        text: impl AsPath<S, Target = Text>,
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

    /// The current position of an anchor, in Unicode scalar values. `None` if the anchor belongs to
    /// another text, if it sticks to a character that this document does not know, or if the bytes
    /// are not an anchor.
    pub fn resolve(&self, text: impl AsPath<S, Target = Text>, anchor: &Anchor) -> Option<usize> {
        self.read(|core| core.replica.resolve(text.as_path().as_str(), anchor.as_bytes()))
    }

    /// Shows all imported parts, then reads what is shown.
    fn read<R>(&self, read: impl FnOnce(StoreRef<'_, S, B>) -> R) -> R {
        self.shared.document.show_parts();
        self.peek(read)
    }

    /// Reads the content of the document, whether a view shows it or not.
    fn peek<R>(&self, read: impl FnOnce(StoreRef<'_, S, B>) -> R) -> R {
        self.shared.document.peek(|replica| {
            let lock = self.shared.typed.lock();
            let typed = lock.borrow();
            read(StoreRef {
                replica,
                typed: &typed,
                next_element: &self.shared.document.inner().next_element,
                ty: self.shared.ty(),
            })
        })
    }
}
