//! Documents that refer to documents: opened when somebody follows a link, shared by all who have
//! them open, let go when nobody has.
//!
//! [`registry`] knows which documents are open and whose turn it is with one; here is what an
//! application sees. No lock is held while the application's loader runs.

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

/// Where a [`Library`] gets its documents from, and where they go: files, a database, rooms that
/// peers join.
///
/// It is called on whatever thread opens or lets go, with no lock held, and may open other
/// documents of the library. It blocks that thread, as does whoever waits for the same document;
/// asynchronous code calls [`Library::open`] where blocking is allowed, in
/// `tokio::task::spawn_blocking` say. It is not asynchronous itself, as a document is let go where
/// its last handle is dropped, and dropping cannot wait for a future.
///
/// Links come from documents, and those from whoever may write there: a name can be any text, of
/// any length. A loader checks it before it makes a path, a query or an address of it.
///
/// A loader that has a clone of its library keeps it, and with it the documents that are kept
/// unused, until it gives the clone up.
pub trait Loader: Send + Sync + Sized + 'static {
    /// The backend of the documents.
    type Backend: Backend;
    /// What is to live as long as a document is open: a peer that keeps it in sync, a lock on its
    /// file; `()` where there is nothing.
    type Kept: Send + Sync + 'static;
    /// Why a document cannot be loaded or put away.
    type Error: std::fmt::Display;

    /// Gets a document that nobody has open.
    ///
    /// # Errors
    /// Why it cannot. Nothing is remembered of that: who asks next, asks again.
    fn load<T: State>(&self, link: &Link<T>) -> Result<Loaded<T, Self>, Self::Error>;

    /// Makes a document of a new name, for [`Library::create`]. What it is to hold is put in
    /// afterwards.
    ///
    /// # Errors
    /// Why it cannot.
    fn create<T: State>(&self, link: &Link<T>) -> Result<Loaded<T, Self>, Self::Error>;

    /// Puts a document away that nobody has open any more. It is dropped after that, and only then
    /// can it be loaded again.
    ///
    /// # Errors
    /// Why it cannot. The document stays as it is then, for the next who opens it;
    /// [`Library::close_unused`] tries again, as does the library where it lets others go. The
    /// library reports the error to `tracing`.
    fn close<T: State>(
        &self,
        link: &Link<T>,
        store: &Store<T, Self::Backend>,
        kept: &Self::Kept,
    ) -> Result<(), Self::Error>;
}

/// What a loader gives: a document, and what is to live as long as it is open.
pub type Loaded<T, L> = (Store<T, <L as Loader>::Backend>, <L as Loader>::Kept);

/// Why a document was not opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError<E> {
    /// The loader failed.
    #[error("{id}: {error}")]
    Load {
        /// The document's name.
        id: String,
        /// Why.
        error: E,
    },
    /// The document is open, or kept, with a state of another type.
    #[error("{id}: the document is open as another type")]
    Type {
        /// The document's name.
        id: String,
    },
    /// Waiting would never end: the document is being loaded or put away by this very thread, or by
    /// one that waits for this thread.
    #[error("{id}: the document is opened within its own loading")]
    Within {
        /// The document's name.
        id: String,
    },
    /// What a new document was to hold cannot be written.
    #[error("{id}: {error}")]
    Create {
        /// The document's name.
        id: String,
        /// Why.
        error: ChangeError,
    },
    /// A new document was to have the name of one that is open or kept.
    #[error("{id}: there is a document of this name")]
    Exists {
        /// The document's name.
        id: String,
    },
    /// The link is empty.
    #[error("the link names no document")]
    Empty,
}

/// How many documents a library has: to see that what is opened is also let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LibraryCount {
    /// Those that somebody has open.
    pub open: usize,
    /// Those that nobody has open and that are kept: the ones used last, and those that could not
    /// be put away.
    pub unused: usize,
    /// Those that are being loaded or put away.
    pub under_way: usize,
}

/// Documents that refer to each other. One that is open is there once, for all who open it; it is
/// let go when the last handle is dropped.
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
/// /// Keeps documents in memory; files are no different.
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
///     fn close<T: State>(&self, link: &Link<T>, store: &Store<T>, _: &()) -> Result<(), BackendError> {
///         self.0.lock().unwrap().insert(link.id().to_owned(), store.save());
///         Ok(())
///     }
/// }
///
/// let library = Library::new(Shelf::default());
/// let chapter = library.create(&Chapter { title: "In which we begin".into() })?;
/// let book = library.create(&Book { title: "A book".into(), chapters: List::from_iter([chapter.link().clone()]) })?;
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
    /// A library that lets a document go as soon as nobody has it open.
    #[must_use]
    pub fn new(loader: L) -> Self {
        Self::keeping(loader, 0)
    }

    /// A library that keeps so many documents that nobody has open any more, the ones used last, so
    /// that going back and forth does not load them each time. They are put away as others take
    /// their places, by [`Library::close_unused`], and when the library and all handles are
    /// dropped.
    #[must_use]
    pub fn keeping(loader: L, unused_max: usize) -> Self {
        Self { registry: Arc::new(Registry::new(loader, unused_max)) }
    }

    /// Opens the document that a link names: the one that others have open, or else what the loader
    /// gives. Who opens one that is being loaded or put away waits for that; of several at once
    /// one loads.
    ///
    /// # Errors
    /// The loader failed, which is tried again by whoever asks next; the document is open as
    /// another type; or the loader opens, by whatever ways, the document that it loads.
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

    /// Makes a new document that holds `state`, under a random name: a UUID. [`Handle::link`] is
    /// what others refer to it by.
    ///
    /// # Errors
    /// The loader failed, or the state cannot be written; there is no such document then, and
    /// [`Loader::close`] is not called for it.
    pub fn create<T: State>(&self, state: &T) -> Result<Handle<T, L>, OpenError<L::Error>> {
        self.create_as(&Link::new(random_id().to_string()), state)
    }

    /// The same under a name of one's own, which nothing has yet.
    ///
    /// # Errors
    /// As [`Library::create`]; [`OpenError::Exists`] where a document of that name is open or kept.
    /// What else there is under the name, the loader knows.
    pub fn create_as<T: State>(
        &self,
        link: &Link<T>,
        state: &T,
    ) -> Result<Handle<T, L>, OpenError<L::Error>> {
        let id = || link.id().to_owned();
        match self.registry.find(link)? {
            // Dropped here, with no lock held.
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

    /// What the library was made with.
    #[must_use]
    pub fn loader(&self) -> &L {
        self.registry.loader()
    }

    /// How many documents there are now. O(documents).
    #[must_use]
    pub fn count(&self) -> LibraryCount {
        self.registry.count()
    }

    /// Puts away what is kept and nobody has open. Whether all of it was put away; what was not
    /// stays.
    pub fn close_unused(&self) -> bool {
        self.registry.close_unused()
    }
}

impl<T: State> Link<T> {
    /// Opens the document that this names: see [`Library::open`].
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

/// A name that nothing else has.
fn random_id() -> Uuid {
    let bits = u128::from(random_bits()) << 64 | u128::from(random_bits());
    Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
}
