//! An open document.

use std::any::Any;
use std::ops::Deref;
use std::sync::{Arc, Weak};

use super::Loader;
use super::registry::{Closes, Registry};
use crate::state::{Link, State};
use crate::store::Store;

/// An open document of a [`Library`](super::Library): a store, which stays open as long as somebody
/// has a handle. It derefs to the [`Store`], so that it is used as one.
///
/// The document is let go where the last handle is dropped, on that thread. A clone of the store
/// alone does not keep it open: what is changed there after that is in no file, and in no store
/// that is opened later. So keep the handle.
#[must_use = "the document is let go when the last handle is dropped"]
pub struct Handle<T: State, L: Loader> {
    // Dropped before the lease, so that the lease's own is the last.
    document: Arc<Document<T, L>>,
    lease: Arc<Lease<T, L>>,
}

/// A document and what is kept with it.
pub(super) struct Document<T: State, L: Loader> {
    pub(super) link: Link<T>,
    pub(super) store: Store<T, L::Backend>,
    pub(super) kept: L::Kept,
}

/// What all handles of an open document share. When it is dropped, nobody has the document open any
/// more.
pub(super) struct Lease<T: State, L: Loader> {
    document: Option<Arc<Document<T, L>>>,
    registry: Arc<Registry<L>>,
}

/// A handle that does not keep its document open: `upgrade` gives one that does, as long as
/// somebody has one. Made by [`Handle::downgrade`].
pub struct WeakHandle<T: State, L: Loader> {
    document: Weak<Document<T, L>>,
    lease: Weak<Lease<T, L>>,
}

impl<T: State, L: Loader> WeakHandle<T, L> {
    /// Another handle; `None` where the last one is dropped, or is being dropped: then
    /// [`Library::open`](super::Library::open) opens the document again.
    #[must_use]
    pub fn upgrade(&self) -> Option<Handle<T, L>> {
        // While there is a lease, there is its document.
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

    /// What others refer to the document by.
    #[must_use]
    pub fn link(&self) -> &Link<T> {
        &self.document.link
    }

    /// The store: what a handle derefs to, by name.
    #[must_use]
    pub fn store(&self) -> &Store<T, L::Backend> {
        &self.document.store
    }

    /// What the loader keeps as long as the document is open.
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
