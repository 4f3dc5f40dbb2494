//! A document: one replica, its writer lock, and what stands on it.
//!
//! A [`Document`] needs no Rust type. Everything that changes it goes through one
//! [`Turn`](turn::Turn): lock, stage or import, write, record, publish, deliver.

mod again;
mod edit;
mod import;
mod repair;
mod set_aside;
mod turn;

use std::any::Any;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::ReentrantMutex;

pub(crate) use edit::touched;
pub use edit::{DocumentEdit, EditError};
pub use import::{Applied, ApplyError, MiddlewareError, Pending};
pub use repair::{Conflict, Repair};
pub(crate) use turn::Turn;

use super::backend::{Backend, BackendError, Yrs};
use super::commit::{Recorder, Update};
use super::delivery::Delivery;
use super::live::Live;
use super::named::TypeMismatch;
use super::options::Options;
use super::projection::Projection;
use super::replica::Replica;
use super::subscription::Subscription;
use super::{Digest, ReplicaId, Version};

/// A CRDT document without a Rust type: for servers, tools and storage, which do not know what
/// state it holds.
///
/// A document is a handle: clones share one replica. [`Store::document`](crate::Store::document)
/// gives the document of a store. As long as that handle exists, the store's view follows the
/// document, and its watchers are called.
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
/// // Elsewhere: the same document, and nobody knows that it is a `Note`.
/// let kept: Document = Document::open(&note.save())?;
/// assert_eq!(kept.register("title"), Some(Value::from("plan")));
/// kept.edit(|edit| edit.set("title", "trip"))?;
/// note.apply(&kept.update_since(&note.version())?)?;
/// assert_eq!(note.view().title, "trip");
/// # Ok::<(), exostate::Error>(())
/// ```
pub struct Document<B: Backend = Yrs> {
    inner: Arc<Inner<B>>,
    /// The store that this handle came from, which stays as long as the handle.
    _store: Option<Arc<dyn Any + Send + Sync>>,
}

/// What the handles of a document share.
pub(crate) struct Inner<B: Backend> {
    /// The writer lock. A thread that holds it may take it again to read.
    replica: ReentrantMutex<RefCell<Replica<B>>>,
    pub(crate) delivery: Delivery,
    projections: ArcSwap<Vec<Weak<dyn Projection<B>>>>,
    pub(crate) recorders: Live<dyn Recorder>,
    pub(crate) options: Options,
    /// This document's replica ids: those that it gave up, and last the one that it has.
    ids: ArcSwap<Vec<ReplicaId>>,
    lineage: AtomicU64,
    /// Numbers the elements that are made under this replica id, in whatever store: with the id the
    /// number names the element.
    pub(crate) next_element: AtomicU64,
    /// How many commits there were.
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
        let replica = Replica::new(options.fresh_replica(), options.limits().clone());
        Self::around(replica, options)
    }

    /// Opens a document that [`Document::save`] or [`Store::save`](crate::Store::save) wrote, under
    /// a fresh replica id. O(document).
    ///
    /// # Errors
    /// The bytes are damaged, or not a document of exostate on this backend:
    /// [`BackendError::Foreign`] says what they are, if that can be told.
    pub fn open(bytes: &[u8]) -> Result<Self, BackendError> {
        Self::open_with(bytes, Options::default())
    }

    /// Opens a document with options: limits, the ids under which the same owner wrote before.
    ///
    /// # Errors
    /// As [`Document::open`].
    pub fn open_with(bytes: &[u8], options: Options) -> Result<Self, BackendError> {
        let id = options.fresh_replica();
        let limits = options.limits().clone();
        let trusted = options.trusted_limits();
        let (replica, ()) = Replica::open(id, bytes, trusted, limits, |_, _| ())?;
        Ok(Self::around(replica, options))
    }

    pub(crate) fn around(replica: Replica<B>, options: Options) -> Self {
        let id = replica.id();
        let inner = Inner {
            replica: ReentrantMutex::new(RefCell::new(replica)),
            delivery: Delivery::default(),
            projections: ArcSwap::default(),
            recorders: Live::default(),
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

    /// The same document. As long as the handle exists, `store` does.
    pub(crate) fn keeping(&self, store: Arc<dyn Any + Send + Sync>) -> Self {
        Self { inner: Arc::clone(&self.inner), _store: Some(store) }
    }

    /// The same document, of which the handle keeps no store.
    pub(crate) fn bare(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), _store: None }
    }

    /// Whether it is the same document, and not only one with the same content.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// What this replica has seen.
    #[must_use]
    pub fn version(&self) -> Version {
        self.peek(Replica::version)
    }

    /// All that a replica at `version` lacks, as one update.
    ///
    /// # Errors
    /// The version is one of another backend.
    pub fn update_since(&self, version: &Version) -> Result<Vec<u8>, BackendError> {
        self.peek(|replica| replica.update_since(version))
    }

    /// All that a replica at `version` lacks, in pieces that are to be applied in this order: see
    /// [`Store::updates_since`](crate::Store::updates_since).
    ///
    /// # Errors
    /// The version is one of another backend.
    pub fn updates_since(&self, version: &Version) -> Result<Vec<Vec<u8>>, BackendError> {
        self.peek(|replica| replica.updates_since(version))
    }

    /// Whether the document has everything that an update holds, so that applying it would change
    /// nothing: see [`Store::contains`](crate::Store::contains).
    ///
    /// # Errors
    /// The bytes are refused, as [`Document::apply`] would refuse them.
    pub fn contains(&self, update: &[u8]) -> Result<bool, BackendError> {
        self.peek(|replica| replica.contains(update))
    }

    /// Whether this document has all that a replica at `version` has; not if the version is one of
    /// another backend. O(the version).
    ///
    /// On automerge a version names changes by their hashes, so it is exact even if a replica id
    /// was used twice. On yrs it names them by number, and deletions do not count.
    #[must_use]
    pub fn has_seen(&self, version: &Version) -> bool {
        self.peek(|replica| replica.has_seen(version))
    }

    /// Cuts an update that is longer than [`Limits::bytes_max`](crate::Limits::bytes_max) into
    /// pieces that are not, to be applied in this order; a shorter one stays as it is. For updates
    /// of peers that cannot cut: a Yjs client sends all that was typed offline as one update. It
    /// may hold as much as that many updates of the full length; what an untrusted update must not
    /// contain is refused in this one too.
    ///
    /// O(update · log(update)). One value, and one of automerge's changes, cannot be cut.
    ///
    /// # Errors
    /// The bytes are refused.
    pub fn cut_update(&self, update: &[u8]) -> Result<Vec<Vec<u8>>, BackendError> {
        let limits = self.peek(|replica| replica.limits().clone());
        Replica::<B>::cut(update, &limits)
    }

    /// The whole document, to be opened again.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        self.peek(Replica::save)
    }

    /// The digest of the content. Costs nothing but for lists and texts that changed.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.read(Replica::digest)
    }

    /// The names of the state types that the document says it holds: one, as a rule, or none.
    #[must_use]
    pub fn type_names(&self) -> Vec<String> {
        self.read(|replica| replica.type_names().map(str::to_owned).collect())
    }

    /// What the document says that it holds, if that is another state type than that of a store on
    /// it. Takes no lock; O(stores).
    #[must_use]
    pub fn type_mismatch(&self) -> Option<TypeMismatch> {
        self.inner.projections().iter().find_map(|projection| projection.type_mismatch())
    }

    /// This replica's id. It stays the same but for [`Document::repair`].
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        let ids = self.inner.ids.load();
        ids.last().copied().unwrap_or_else(|| ReplicaId::from_bits(0))
    }

    /// Whether a replica id is this document's own: its id now, one that it gave up, or one that
    /// the options named as an earlier one.
    #[must_use]
    pub fn is_own(&self, id: ReplicaId) -> bool {
        self.inner.ids.load().contains(&id) || self.inner.options.earlier().contains(&id)
    }

    /// Calls `f` with the bytes of every update, made here or applied, in commit order, until the
    /// subscription is dropped.
    pub fn on_update(&self, f: impl Fn(Update<'_>) + Send + Sync + 'static) -> Subscription {
        self.inner.delivery.listen(Arc::new(f))
    }

    /// Whether another thread is changing the document or importing into it now, or is calling
    /// listeners or watchers: then a change or an import may have to wait. A moment later it may
    /// be otherwise; for callers that have something better to do than to wait.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.inner.replica.try_lock().is_none() || self.inner.delivery.is_delivering()
    }

    /// Which of several diverged documents this one follows: 0 as long as it has met no other, see
    /// [`Document::follow`].
    #[must_use]
    pub fn lineage(&self) -> u64 {
        self.inner.lineage.load(Ordering::Relaxed)
    }

    /// Notes that this document won over a diverged one, or was taken over from one that did. If
    /// many replicas have come to differ and meet in pairs, the one of the lower lineage gives way:
    /// as lineages only rise, one document spreads, and none comes back that was given up. A lower
    /// lineage than the document has changes nothing.
    pub fn follow(&self, lineage: u64) {
        self.inner.lineage.fetch_max(lineage, Ordering::Relaxed);
    }

    /// The options of a fork: never the same id again.
    pub(crate) fn options_of_fork(&self) -> Options {
        self.inner.options.clone().for_fork(&self.inner.ids.load())
    }

    /// Lets something follow the document. Called under the writer lock.
    pub(crate) fn attach(&self, projection: Weak<dyn Projection<B>>) {
        self.inner.projections.rcu(|projections| {
            let live = projections.iter().filter(|projection| projection.strong_count() > 0);
            live.chain([&projection]).cloned().collect::<Vec<_>>()
        });
    }

    /// Reads what is shown, once all is.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&Replica<B>) -> R) -> R {
        self.show_parts();
        self.peek(read)
    }

    /// Reads what the document has, whether it is shown or not.
    pub(crate) fn peek<R>(&self, read: impl FnOnce(&Replica<B>) -> R) -> R {
        read(&self.inner.replica.lock().borrow())
    }
}

impl<B: Backend> Inner<B> {
    /// What follows the document now.
    fn projections(&self) -> Vec<Arc<dyn Projection<B>>> {
        self.projections.load().iter().filter_map(Weak::upgrade).collect()
    }

    /// The address that orders locks and tells documents apart.
    pub(crate) fn address(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }

    /// Whether this thread holds the writer lock.
    pub(crate) fn is_within(&self) -> bool {
        self.replica.is_owned_by_current_thread()
    }

    /// The writer lock, for as long as the result lives.
    pub(crate) fn lock(&self) -> turn::WriterLock<'_, B> {
        self.replica.lock()
    }

    /// The time by the clock of the options.
    pub(crate) fn now(&self) -> SystemTime {
        (self.options.clock().0)()
    }

    /// Gives the replica id up for another one.
    fn change_id(&self, id: ReplicaId) {
        let mut ids = Vec::clone(&self.ids.load());
        ids.push(id);
        self.ids.store(Arc::new(ids));
    }
}
