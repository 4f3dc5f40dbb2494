//! Documents that refer to documents. The library opens a document when a link to it is opened,
//! shares it among all handles, and closes it after the last handle is dropped.
//!
//! [`registry`] knows which documents are open and which thread loads or closes a document. This
//! module is the application's interface. No lock is held while the application's loader runs.

mod handle;
mod registry;

use std::sync::Arc;

use uuid::{Builder, Uuid};

use crate::document::backend::Backend;
use crate::state::{ChangeError, Link, State};
use crate::store::{Store, random_bits};
use handle::Document;
use registry::{Found, Registry};

pub use handle::{Handle, WeakHandle};

/// The source and the destination of the documents of a [`Library`]: files, a database, rooms that
/// peers join.
///
/// The library calls the loader on the thread that opens or closes the document, with no lock held.
/// The loader may open other documents of the library. A call blocks its thread, and it also blocks
/// every thread that waits for the same document. Asynchronous code calls [`Library::open`] where
/// blocking is allowed, for example in `tokio::task::spawn_blocking`. The trait is not
/// asynchronous, because dropping the last handle closes the document, and a drop cannot wait for a
/// future.
///
/// The names of links are untrusted: links come from documents, and any writer of a document can
/// choose a name. A name can be any text of any length. A loader checks the name before it makes a
/// path, a query or an address of it.
///
/// A loader that holds a clone of its library keeps the library alive, with the unused documents
/// that it keeps, until the loader drops that clone.
/// unused, until it gives the clone up.
pub trait Loader: Send + Sync + Sized + 'static {
    /// The backend of the documents.
    type Backend: Backend;
    /// A value that lives as long as the document is open: a peer that keeps the document in sync,
    /// or a lock on its file. Use `()` if there is none.
    type Kept: Send + Sync + 'static;
    /// The reason why a document cannot be loaded or closed.
    type Error: std::fmt::Display;

    /// Loads a document that is not open.
    ///
    /// # Errors
    /// The reason why the document cannot be loaded. The library does not remember the error: the
    /// next [`Library::open`] calls the loader again.
    fn load<T: State>(&self, link: &Link<T>) -> Result<Loaded<T, Self>, Self::Error>;

    /// Makes a document with a new name, for [`Library::create`]. The library writes the content
    /// afterwards.
    ///
    /// # Errors
    /// The reason why the document cannot be made.
    fn create<T: State>(&self, link: &Link<T>) -> Result<Loaded<T, Self>, Self::Error>;

    /// Closes a document that has no handle left. The library then drops the document; only after
    /// that can the document be loaded again.
    ///
    /// # Errors
    /// The reason why the document cannot be closed. The library then keeps the document unchanged
    /// for the next [`Library::open`]. [`Library::close_unused`] retries, and so does the library
    /// when it closes other documents. The library reports the error to `tracing`.
    fn close<T: State>(
        &self,
        link: &Link<T>,
        store: &Store<T, Self::Backend>,
        kept: &Self::Kept,
    ) -> Result<(), Self::Error>;
}

/// The result of a loader: a document, and a value that lives as long as the document is open.
pub type Loaded<T, L> = (Store<T, <L as Loader>::Backend>, <L as Loader>::Kept);

/// The reason why a document was not opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError<E> {
    /// The loader failed.
    #[error("{id}: {error}")]
    Load {
        /// The document's name.
        id: String,
        /// The reason.
        error: E,
    },
    /// The document is open, or kept unused, with a state of another type.
    #[error("{id}: the document is open as another type")]
    Type {
        /// The document's name.
        id: String,
    },
    /// The wait would never end: this thread itself loads or closes the document, or a thread that
    /// waits for this thread does.
    #[error("{id}: the document is opened within its own loading")]
    Within {
        /// The document's name.
        id: String,
    },
    /// The content of a new document cannot be written.
    #[error("{id}: {error}")]
    Create {
        /// The document's name.
        id: String,
        /// The reason.
        error: ChangeError,
    },
    /// A document with the name of the new document is already open or kept unused.
    #[error("{id}: there is a document of this name")]
    Exists {
        /// The document's name.
        id: String,
    },
    /// The link is empty.
    #[error("the link names no document")]
    Empty,
}

/// The number of documents in a library. It shows whether opened documents are also closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LibraryCount {
    /// The documents that have a handle.
    pub open: usize,
    /// The documents without a handle that the library keeps: the most recently used ones, and
    /// those that could not be closed.
    pub unused: usize,
    /// The documents that are being loaded or closed.
    pub under_way: usize,
}

/// Documents that refer to each other. An open document exists once, and all its users share it. It
/// is closed after the last handle is dropped.
///
/// A library is a handle: clones share it.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::Mutex;
/// use exostate::{BackendError, Library, Link, List, Loader, State, Store, Yrs};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Book { title: String, chapters: List<Link<Chapter>> }
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Chapter { title: String }
///
/// /// Keeps documents in memory. A loader for files looks the same.
/// #[derive(Default)]
/// struct Shelf(Mutex<BTreeMap<String, Vec<u8>>>);
///
/// impl Loader for Shelf {
///     type Backend = Yrs;
///     type Kept = ();
///     type Error = BackendError;
///
///     fn load<T: State>(&self, link: &Link<T>) -> Result<(Store<T>, ()), BackendError> {
///         let bytes = self.0.lock().unwrap().get(link.id()).cloned().unwrap_or_default();
///         Ok((Store::open(&bytes)?, ()))
///     }
///     fn create<T: State>(&self, _: &Link<T>) -> Result<(Store<T>, ()), BackendError> {
///         Ok((Store::new(), ()))
///     }
///     fn close<T: State>(
///         &self,
///         link: &Link<T>,
///         store: &Store<T>,
///         _: &(),
///     ) -> Result<(), BackendError> {
///         self.0.lock().unwrap().insert(link.id().to_owned(), store.save());
///         Ok(())
///     }
/// }
///
/// let library = Library::new(Shelf::default());
/// let chapter = library.create(&Chapter { title: "In which we begin".into() })?;
/// let chapters = List::from_iter([chapter.link().clone()]);
/// let book = library.create(&Book { title: "A book".into(), chapters })?;
/// drop(chapter);                                                      // saved
/// assert_eq!(library.count().open, 1);
///
/// let view = book.view();
/// let chapter = view.chapters.get(0).unwrap().open(&library)?;        // loaded
/// assert_eq!(chapter.view().title, "In which we begin");
/// chapter.change(|chapter| chapter.title().set("In which we go on"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Library<L: Loader> {
    registry: Arc<Registry<L>>,
}

impl<L: Loader> Clone for Library<L> {
    fn clone(&self) -> Self {
        Self { registry: Arc::clone(&self.registry) }
    }
}

impl<L: Loader> std::fmt::Debug for Library<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Library").field("count", &self.count()).finish_non_exhaustive()
    }
}

impl<L: Loader> Library<L> {
    /// A library that closes a document as soon as its last handle is dropped.
    #[must_use]
    pub fn new(loader: L) -> Self {
        Self::keeping(loader, 0)
    }

    /// A library that keeps up to `unused_max` documents without a handle, the most recently used
    /// ones, so that they need not be loaded again. The library closes a kept document when another
    /// one takes its place, in [`Library::close_unused`], and when the library and all handles are
    /// dropped.
    #[must_use]
    pub fn keeping(loader: L, unused_max: usize) -> Self {
        Self { registry: Arc::new(Registry::new(loader, unused_max)) }
    }

    /// Opens the document that a link names. If the document is already open, the handle shares it;
    /// otherwise the loader loads it. If another thread loads or closes the document, this call
    /// waits for that thread. If several threads open a document at the same time, one of them
    /// loads it.
    ///
    /// # Errors
    /// The loader failed (the next call retries); the document is open as another type; or the
    /// loader opens, directly or indirectly, the document that it is loading.
    pub fn open<T: State>(&self, link: &Link<T>) -> Result<Handle<T, L>, OpenError<L::Error>> {
        match self.registry.find(link)? {
            Found::Open(handle) => Ok(handle),
            Found::Turn(turn) => {
                let (store, kept) = self
                    .loader()
                    .load(link)
                    .map_err(|error| OpenError::Load { id: link.id().to_owned(), error })?;
                Ok(turn.open(Document { link: link.clone(), store, kept }))
            }
        }
    }

    /// Makes a new document that holds `state`. Its name is random: a UUID. Other documents refer
    /// to it by [`Handle::link`].
    ///
    /// # Errors
    /// The loader failed, or the state cannot be written. The document then does not exist, and
    /// [`Loader::close`] is not called for it.
    pub fn create<T: State>(&self, state: &T) -> Result<Handle<T, L>, OpenError<L::Error>> {
        self.create_as(&Link::new(random_id().to_string()), state)
    }

    /// Like [`Library::create`], with a given name that is not in use yet.
    ///
    /// # Errors
    /// As [`Library::create`]; [`OpenError::Exists`] if a document of that name is open or kept
    /// unused. Only the loader knows whether the name is in use elsewhere.
    pub fn create_as<T: State>(
        &self,
        link: &Link<T>,
        state: &T,
    ) -> Result<Handle<T, L>, OpenError<L::Error>> {
        let id = || link.id().to_owned();
        match self.registry.find(link)? {
            // The handle is dropped here, with no lock held.
            Found::Open(_) => Err(OpenError::Exists { id: id() }),
            Found::Turn(turn) => {
                let (store, kept) = self
                    .loader()
                    .create(link)
                    .map_err(|error| OpenError::Load { id: id(), error })?;
                store.reconcile(state).map_err(|error| OpenError::Create { id: id(), error })?;
                Ok(turn.open(Document { link: link.clone(), store, kept }))
            }
        }
    }

    /// The loader with which the library was made.
    #[must_use]
    pub fn loader(&self) -> &L {
        self.registry.loader()
    }

    /// The number of documents. O(documents).
    #[must_use]
    pub fn count(&self) -> LibraryCount {
        self.registry.count()
    }

    /// Closes all documents that are kept without a handle. Returns whether all of them were
    /// closed. A document that could not be closed stays.
    pub fn close_unused(&self) -> bool {
        self.registry.close_unused()
    }
}

impl<T: State> Link<T> {
    /// Opens the document that this link names: see [`Library::open`].
    ///
    /// # Errors
    /// As [`Library::open`].
    pub fn open<L: Loader>(
        &self,
        library: &Library<L>,
    ) -> Result<Handle<T, L>, OpenError<L::Error>> {
        library.open(self)
    }
}

/// A random name, which no other document has.
fn random_id() -> Uuid {
    let bits = u128::from(random_bits()) << 64 | u128::from(random_bits());
    Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
}
