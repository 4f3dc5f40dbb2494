//! An open document.

use std::any::Any;
use std::ops::Deref;
use std::sync::{Arc, Weak};

use super::Loader;
use super::registry::{Closes, Registry};
use crate::state::{Link, State};
use crate::store::Store;

/// An open document of a [`Library`](super::Library): a store, which stays open as long as a handle
/// exists. A handle derefs to the [`Store`], so it is used like one.
///
/// When the last handle is dropped, the document is closed, on the same thread. A clone of the
/// store does not keep the document open: a later change to that clone is in no file, and in no
/// store that is opened later. So keep the handle.
#[must_use = "the document is let go when the last handle is dropped"]
pub struct Handle<T: State, L: Loader> {
    // Declared before `lease`, so that it is dropped first and the lease holds the last reference.
    document: Arc<Document<T, L>>,
    lease: Arc<Lease<T, L>>,
}

/// A document with its link and the value that the loader keeps for it.
pub(super) struct Document<T: State, L: Loader> {
    pub(super) link: Link<T>,
    pub(super) store: Store<T, L::Backend>,
    pub(super) kept: L::Kept,
}

/// The part that all handles of an open document share. When it is dropped, the document has no
/// handle left.
pub(super) struct Lease<T: State, L: Loader> {
    document: Option<Arc<Document<T, L>>>,
    registry: Arc<Registry<L>>,
}

/// A handle that does not keep its document open. `upgrade` returns a [`Handle`] as long as another
/// handle exists. [`Handle::downgrade`] makes it.
pub struct WeakHandle<T: State, L: Loader> {
    document: Weak<Document<T, L>>,
    lease: Weak<Lease<T, L>>,
}

impl<T: State, L: Loader> WeakHandle<T, L> {
    /// Another handle. `None` if the last handle is dropped or is being dropped; then
    /// [`Library::open`](super::Library::open) opens the document again.
    #[must_use]
    pub fn upgrade(&self) -> Option<Handle<T, L>> {
        // While the lease exists, its document exists.
        let lease = self.lease.upgrade()?;
        Some(Handle { document: self.document.upgrade()?, lease })
    }
}

impl<T: State, L: Loader> Handle<T, L> {
    /// The first handle of a document.
    pub(super) fn first(document: Arc<Document<T, L>>, registry: &Arc<Registry<L>>) -> Self {
        let lease = Arc::new(Lease {
            document: Some(Arc::clone(&document)),
            registry: Arc::clone(registry),
        });
        Self { document, lease }
    }

    /// A handle that does not keep the document open.
    #[must_use]
    pub fn downgrade(&self) -> WeakHandle<T, L> {
        WeakHandle { document: Arc::downgrade(&self.document), lease: Arc::downgrade(&self.lease) }
    }

    /// The link by which other documents refer to this document.
    #[must_use]
    pub fn link(&self) -> &Link<T> {
        &self.document.link
    }

    /// The store to which the handle derefs.
    #[must_use]
    pub fn store(&self) -> &Store<T, L::Backend> {
        &self.document.store
    }

    /// The value that the loader keeps as long as the document is open.
    #[must_use]
    pub fn kept(&self) -> &L::Kept {
        &self.document.kept
    }
}

impl<T: State, L: Loader> Clone for Handle<T, L> {
    fn clone(&self) -> Self {
        Self { document: Arc::clone(&self.document), lease: Arc::clone(&self.lease) }
    }
}

impl<T: State, L: Loader> Clone for WeakHandle<T, L> {
    fn clone(&self) -> Self {
        Self { document: Weak::clone(&self.document), lease: Weak::clone(&self.lease) }
    }
}

impl<T: State, L: Loader> std::fmt::Debug for WeakHandle<T, L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WeakHandle").field("is_open", &(self.lease.strong_count() > 0)).finish()
    }
}

impl<T: State, L: Loader> Deref for Handle<T, L> {
    type Target = Store<T, L::Backend>;

    fn deref(&self) -> &Self::Target {
        self.store()
    }
}

impl<T: State, L: Loader> std::fmt::Debug for Handle<T, L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("link", self.link()).finish_non_exhaustive()
    }
}

impl<T: State, L: Loader> Drop for Lease<T, L> {
    fn drop(&mut self) {
        if let Some(document) = self.document.take() {
            self.registry.let_go(document);
        }
    }
}

impl<T: State, L: Loader> Closes<L> for Document<T, L> {
    fn id(&self) -> Arc<str> {
        Arc::clone(self.link.shared_id())
    }

    fn close(&self, loader: &L) -> Result<(), L::Error> {
        loader.close(&self.link, &self.store, &self.kept)
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
