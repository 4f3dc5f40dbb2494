//! A document: one replica, its writer lock, and the projections that follow it.
//!
//! A [`Document`] needs no Rust type. Every change of it is made in one [`Turn`](turn::Turn), in
//! these steps: lock, stage or import, write, record, publish, deliver.

mod edit;
mod import;
mod json;
mod repair;
mod rewrite;
mod set_aside;
mod turn;

use std::any::Any;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::ReentrantMutex;

pub use edit::{DocumentEdit, EditError};
pub use import::{Applied, ApplyError, MiddlewareError, Pending};
pub use repair::{Conflict, Repair};
pub(crate) use turn::Turn;

use super::backend::{Backend, BackendError, Yrs};
use super::commit::{Recorder, Update};
use super::delivery::Delivery;
use super::keeper::{AlreadyKept, Keeper, Keeping, Record};
use super::live::Live;
use super::named::TypeMismatch;
use super::options::Options;
use super::projection::Projection;
use super::replica::Replica;
use super::subscription::Subscription;
use super::{Digest, ReplicaId, Version};

/// A CRDT document without a Rust type. It is for servers, tools and storage, which do not know the
/// state type of the document.
///
/// A document is a handle: clones share one replica. [`Store::document`](crate::Store::document)
/// gives the document of a store. As long as that handle exists, the view of the store follows the
/// document, and the watchers of the store are called.
///
/// ```
/// use exostate::{Document, State, Store, Value};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Note { title: String }
///
/// let note = Store::<Note>::new();
/// note.change(|note| note.title().set("plan"))?;
///
/// // On another replica: the same document, opened without the type `Note`.
/// let kept: Document = Document::open(&note.save())?;
/// assert_eq!(kept.register("title"), Some(Value::from("plan")));
/// kept.edit(|edit| edit.set("title", "trip"))?;
/// note.apply_all(&kept.updates_since(&note.version())?)?;
/// assert_eq!(note.view().title, "trip");
/// # Ok::<(), exostate::Error>(())
/// ```
pub struct Document<B: Backend = Yrs> {
    inner: Arc<Inner<B>>,
    /// The store from which this handle came. The handle keeps the store alive.
    _store: Option<Arc<dyn Any + Send + Sync>>,
}

/// A weak handle of a document. It does not keep the document alive.
pub struct WeakDocument<B: Backend = Yrs>(Weak<Inner<B>>);

impl<B: Backend> WeakDocument<B> {
    /// The document, if any other handle of it still exists.
    #[must_use]
    pub fn upgrade(&self) -> Option<Document<B>> {
        Some(Document { inner: self.0.upgrade()?, _store: None })
    }
}

impl<B: Backend> Clone for WeakDocument<B> {
    fn clone(&self) -> Self {
        Self(Weak::clone(&self.0))
    }
}

impl<B: Backend> std::fmt::Debug for WeakDocument<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WeakDocument").field("backend", &B::NAME).finish_non_exhaustive()
    }
}

/// The data that all handles of a document share.
pub(crate) struct Inner<B: Backend> {
    /// The writer lock. A thread that holds it may lock it again to read.
    replica: ReentrantMutex<RefCell<Replica<B>>>,
    pub(crate) delivery: Delivery,
    projections: ArcSwap<Vec<Weak<dyn Projection<B>>>>,
    pub(crate) recorders: Live<dyn Recorder>,
    pub(crate) keeping: Keeping,
    pub(crate) options: Options,
    /// The replica ids of this document: first those that it gave up, last its current id.
    ids: ArcSwap<Vec<ReplicaId>>,
    lineage: AtomicU64,
    /// Numbers the elements that any store makes under this replica id. The id and the number
    /// together name the element.
    pub(crate) next_element: AtomicU64,
    /// Number of commits so far.
    pub(crate) commits: AtomicU64,
}

impl<B: Backend> Clone for Document<B> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), _store: self._store.clone() }
    }
}

impl<B: Backend> Default for Document<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Backend> std::fmt::Debug for Document<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document")
            .field("backend", &B::NAME)
            .field("replica", &self.replica())
            .finish_non_exhaustive()
    }
}

impl<B: Backend> Document<B> {
    /// A new, empty document under a fresh replica id.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(Options::default())
    }

    /// A new, empty document.
    #[must_use]
    pub fn with_options(options: Options) -> Self {
        let replica = Replica::new(options.fresh_replica(), &options);
        Self::around(replica, options)
    }

    /// Opens a document that [`Document::save`] or [`Store::save`](crate::Store::save) wrote, under
    /// a fresh replica id. O(document).
    ///
    /// # Errors
    /// The bytes are damaged, or they are not a document of exostate on this backend.
    /// [`BackendError::Foreign`] says which format the bytes have, if that can be recognized.
    pub fn open(bytes: &[u8]) -> Result<Self, BackendError> {
        Self::open_with(bytes, Options::default())
    }

    /// Opens a document with options: the limits, and the ids under which the same owner wrote
    /// before.
    ///
    /// # Errors
    /// As [`Document::open`].
    pub fn open_with(bytes: &[u8], options: Options) -> Result<Self, BackendError> {
        let id = options.fresh_replica();
        let (replica, ()) = Replica::open(id, bytes, &options, |_, _| ())?;
        Ok(Self::around(replica, options))
    }

    pub(crate) fn around(replica: Replica<B>, options: Options) -> Self {
        let id = replica.id();
        let inner = Inner {
            replica: ReentrantMutex::new(RefCell::new(replica)),
            delivery: Delivery::default(),
            projections: ArcSwap::default(),
            recorders: Live::default(),
            keeping: Keeping::default(),
            options,
            ids: ArcSwap::from_pointee(vec![id]),
            lineage: AtomicU64::new(0),
            next_element: AtomicU64::new(1),
            commits: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner), _store: None }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner<B>> {
        &self.inner
    }

    /// A handle of the same document that keeps `store` alive.
    pub(crate) fn keeping(&self, store: Arc<dyn Any + Send + Sync>) -> Self {
        Self { inner: Arc::clone(&self.inner), _store: Some(store) }
    }

    /// A handle of the same document that keeps no store alive.
    pub(crate) fn bare(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), _store: None }
    }

    /// Whether both handles belong to the same document. Equal content is not enough.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// A weak handle of this document.
    #[must_use]
    pub fn downgrade(&self) -> WeakDocument<B> {
        WeakDocument(Arc::downgrade(&self.inner))
    }

    /// The version of this replica: the ops that it has seen.
    #[must_use]
    pub fn version(&self) -> Version {
        self.peek(Replica::version)
    }

    /// All ops that a replica at `version` lacks, as updates to be applied in this order: see
    /// [`Store::updates_since`](crate::Store::updates_since).
    ///
    /// # Errors
    /// The version belongs to another backend.
    pub fn updates_since(&self, version: &Version) -> Result<Vec<Vec<u8>>, BackendError> {
        self.peek(|replica| replica.updates_since(version))
    }

    /// Whether the document has everything that an update holds. Then applying the update would
    /// change nothing: see [`Store::contains`](crate::Store::contains).
    ///
    /// # Errors
    /// The bytes are not an update, or exceed the limits of a batch of updates.
    pub fn contains(&self, update: &[u8]) -> Result<bool, BackendError> {
        self.peek(|replica| replica.contains(update))
    }

    /// Whether this document has all that a replica at `version` has. False if the version belongs
    /// to another backend. O(the version).
    ///
    /// On automerge a version names changes by their hashes, so the answer is exact even if a
    /// replica id was used twice. On yrs a version names ops by number, and deletions do not count.
    #[must_use]
    pub fn has_seen(&self, version: &Version) -> bool {
        self.peek(|replica| replica.has_seen(version))
    }

    /// Cuts an update that is longer than [`Limits::bytes_max`](crate::Limits::bytes_max) into
    /// pieces that are within the limit, to be applied in this order. A shorter update is returned
    /// unchanged. This is for updates of peers that cannot cut: a Yjs client sends everything that
    /// was typed offline as one update. The update may hold as much as the number of full-length
    /// updates that it could have come as. Content that is refused in other untrusted updates is
    /// refused in this one too.
    ///
    /// O(update · log(update)). One value cannot be cut, and neither can one automerge change.
    ///
    /// # Errors
    /// The bytes are refused.
    pub fn cut_update(&self, update: &[u8]) -> Result<Vec<Vec<u8>>, BackendError> {
        let limits = self.peek(|replica| replica.limits().clone());
        Replica::<B>::cut(update, &limits)
    }

    /// The whole document as bytes, for [`Document::open`].
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        self.peek(Replica::save)
    }

    /// The digest of the content. The cost is constant, except for lists and texts that changed
    /// since the last call.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.read(Replica::digest)
    }

    /// The names of state types that are written in the document: usually one, or none.
    #[must_use]
    pub fn type_names(&self) -> Vec<String> {
        self.read(|replica| replica.type_names().map(str::to_owned).collect())
    }

    /// The type names that are written in the document, if they differ from the state type of a
    /// store on this document. Takes no lock. O(stores).
    #[must_use]
    pub fn type_mismatch(&self) -> Option<TypeMismatch> {
        self.inner.projections().iter().find_map(|projection| projection.type_mismatch())
    }

    /// The replica id of this document. [`Document::repair`] and [`Document::verify`] change it. An
    /// edit changes it on yrs if another replica has written under the same id.
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        let ids = self.inner.ids.load();
        ids.last().copied().unwrap_or_else(|| ReplicaId::from_bits(0))
    }

    /// Whether a replica id belongs to this document: it is the current id, an id that the document
    /// gave up, or an earlier id that the options name.
    #[must_use]
    pub fn is_own(&self, id: ReplicaId) -> bool {
        self.inner.ids.load().contains(&id) || self.inner.options.earlier().contains(&id)
    }

    /// Calls `f` with the bytes of every update, whether it was made here or applied, in commit
    /// order, until the subscription is dropped.
    pub fn on_update(&self, f: impl Fn(Update<'_>) + Send + Sync + 'static) -> Subscription {
        self.inner.delivery.listen(Arc::new(f))
    }

    /// Whether another thread is changing the document, importing into it, or calling listeners or
    /// watchers at this moment. Then a change or an import may have to wait. The answer may be
    /// outdated a moment later. It is for callers that have other work to do instead of waiting.
    ///
    /// Always true if the document has a keeper for which changes wait.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let waits = self.inner.keeping.get().is_some_and(|keeper| keeper.announces_kept());
        waits || self.inner.replica.try_lock().is_none() || self.inner.delivery.is_delivering()
    }

    /// How often a check found that a text or a list differs from the document, because an edit
    /// was placed wrongly. It was then read again. This is 0, unless a replica id was used twice,
    /// a peer is hostile, or exostate has a bug.
    #[must_use]
    pub fn sequence_faults(&self) -> u64 {
        self.peek(|replica| replica.sequence_faults())
    }

    /// The lineage of this document: a number that tells which of several diverged documents it
    /// follows. It is 0 as long as the document has met no diverged document, see
    /// [`Document::follow`].
    #[must_use]
    pub fn lineage(&self) -> u64 {
        self.inner.lineage.load(Ordering::Relaxed)
    }

    /// Notes that this document won over a diverged document, or was taken over from a document
    /// that won. If many replicas diverged and meet in pairs, the replica with the lower lineage
    /// gives way. Lineages only rise, so one document spreads, and a document that was given up
    /// does not come back. A lineage that is lower than the current one changes nothing.
    pub fn follow(&self, lineage: u64) {
        if self.inner.lineage.fetch_max(lineage, Ordering::Relaxed) < lineage {
            self.inner.keeping.record(Record::Lineage(lineage));
        }
    }

    /// Attaches a keeper, which gets everything that is written from now on: see [`Keeper`]. The
    /// caller has kept the present document already. The keeper stays as long as the document.
    ///
    /// Must be called before the document is used elsewhere: a change that is made during the call
    /// may be missed.
    ///
    /// # Errors
    /// The document has a keeper already.
    pub fn keep_with(&self, keeper: Arc<dyn Keeper>) -> Result<(), AlreadyKept> {
        let _lock = self.inner.lock();
        self.inner.keeping.set(keeper)
    }

    /// Gives the keeper a record of the whole document, as after a repair: for a keeper that had to
    /// drop records. Does nothing without a keeper. O(document).
    pub fn keep_whole(&self) {
        let Some(turn) = Turn::begin(&self.inner) else { return };
        if let Some(replica) = turn.replica_mut() {
            turn.keep_whole(&replica);
        }
    }

    /// The keeper of this document, if it has one.
    #[must_use]
    pub fn keeper(&self) -> Option<Arc<dyn Keeper>> {
        self.inner.keeping.get().cloned()
    }

    /// Tells listeners and watchers of commits that were not announced because they were not kept
    /// in time. It is for keepers whose [`wait`](Keeper::wait) gave up; changes call it themselves.
    pub fn announce(&self) {
        self.inner.delivery.deliver();
    }

    /// The options for a fork of this document. They never use the same replica id again.
    pub(crate) fn options_of_fork(&self) -> Options {
        self.inner.options.clone().for_fork(&self.inner.ids.load())
    }

    /// Attaches a projection, which then follows the document. Must be called under the writer
    /// lock.
    pub(crate) fn attach(&self, projection: Weak<dyn Projection<B>>) {
        self.inner.projections.rcu(|projections| {
            let live = projections.iter().filter(|projection| projection.strong_count() > 0);
            live.chain([&projection]).cloned().collect::<Vec<_>>()
        });
    }

    /// Reads the document after all parts are shown.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&Replica<B>) -> R) -> R {
        self.show_parts();
        self.peek(read)
    }

    /// Reads the document, including parts that no view shows yet.
    pub(crate) fn peek<R>(&self, read: impl FnOnce(&Replica<B>) -> R) -> R {
        read(&self.inner.replica.lock().borrow())
    }
}

impl<B: Backend> Inner<B> {
    /// The projections that follow the document at this moment.
    fn projections(&self) -> Vec<Arc<dyn Projection<B>>> {
        self.projections.load().iter().filter_map(Weak::upgrade).collect()
    }

    /// The address of the document. It orders locks and tells documents apart.
    pub(crate) fn address(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }

    /// Whether this thread holds the writer lock.
    pub(crate) fn is_within(&self) -> bool {
        self.replica.is_owned_by_current_thread()
    }

    /// Takes the writer lock. The lock is held as long as the result lives.
    pub(crate) fn lock(&self) -> turn::WriterLock<'_, B> {
        self.replica.lock()
    }

    /// The time of the clock in the options.
    pub(crate) fn now(&self) -> SystemTime {
        (self.options.clock().0)()
    }

    /// Replaces the replica id by another one. The old id stays in the list of own ids.
    fn change_id(&self, id: ReplicaId) {
        self.keeping.record(Record::Replica(id));
        let mut ids = Vec::clone(&self.ids.load());
        ids.push(id);
        self.ids.store(Arc::new(ids));
    }
}
