//! The loader of a library: linked documents are kept with no code.

use std::marker::PhantomData;

use exostate::{Backend, Link, Loaded, Loader, State, Store, Yrs};

use crate::Storage;
use crate::error::{FlushError, OpenError};
use crate::opening::Opening;
use crate::persist::Persist;

/// A [`Loader`] that keeps the documents of a [`Library`](exostate::Library) in a storage:
/// [`Storage::loader`].
///
/// ```
/// use exostate::{Library, List, Link, State};
/// use exostate_storage::Storage;
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Book { chapters: List<Link<Chapter>> }
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Chapter { title: String }
///
/// let library = Library::new(Storage::in_memory().loader());
/// let book = library.create(&Book { chapters: List::new() })?;
/// let chapter = library.create(&Chapter { title: "In which we begin".into() })?;
/// book.change(|book| book.chapters().push(chapter.link().clone()))?;
/// drop(chapter);                                        // closed, and on disk
/// let link = book.view().chapters.get(0).cloned().expect("a chapter");
/// assert_eq!(link.open(&library)?.view().title, "In which we begin");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct StorageLoader<B: Backend = Yrs> {
    storage: Storage,
    backend: PhantomData<fn() -> B>,
}

impl Storage {
    /// A loader for a library whose documents are kept here, on the default backend.
    #[must_use]
    pub fn loader(&self) -> StorageLoader {
        self.loader_on()
    }

    /// A loader for a library whose documents are kept here, on any backend.
    #[must_use]
    pub fn loader_on<B: Backend>(&self) -> StorageLoader<B> {
        StorageLoader { storage: self.clone(), backend: PhantomData }
    }
}

/// Why a document of a library was not loaded or closed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It was not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its last changes are not on disk.
    #[error(transparent)]
    Flush(#[from] FlushError),
}

impl<B: Backend> Loader for StorageLoader<B> {
    type Backend = B;
    type Kept = ();
    type Error = LoadError;

    fn load<T: State>(&self, link: &Link<T>) -> Result<Loaded<T, Self>, LoadError> {
        Ok((self.storage.open_with(link.id(), Opening::existing())?, ()))
    }

    fn create<T: State>(&self, link: &Link<T>) -> Result<Loaded<T, Self>, LoadError> {
        Ok((self.storage.open_with(link.id(), Opening::new_document())?, ()))
    }

    fn close<T: State>(&self, _: &Link<T>, store: &Store<T, B>, (): &()) -> Result<(), LoadError> {
        Ok(store.flush_blocking()?)
    }
}
