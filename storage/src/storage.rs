//! The storage: the handle with which an application opens its documents.

#[cfg(feature = "redb")]
use std::path::Path;
use std::sync::Arc;
use std::thread::{JoinHandle, current};

use exostate::{Automerge, Backend, Document, State, Store, Yrs};
use parking_lot::Mutex;

use crate::adapter::{Adapter, AdapterError, MemoryAdapter};
use crate::document::Wait;
use crate::error::{FlushError, OpenError};
use crate::opening::Opening;
use crate::options::StorageOptions;
use crate::persist::Flush;
use crate::shared::Shared;
use crate::writer::Writer;
use crate::{attachments, background, opening};

/// Keeps documents: opens them, and writes every change and import of an open document from then
/// on, in the order of the commits.
///
/// A storage is a handle: clones share it. It closes, and writes everything that is left, when the
/// last handle and the last open document are dropped; [`Storage::close`] does so earlier.
///
/// ```
/// use exostate::State;
/// use exostate_storage::{Persist, Storage};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Board { title: String }
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("app.redb");
/// let storage = Storage::open_file(&path)?;
/// let store = storage.open::<Board>("roadmap")?;         // makes the document, or loads it
/// store.change(|board| board.title().set("Roadmap"))?;   // is written soon
/// store.flush_blocking()?;                               // is on disk
/// drop((store, storage));
///
/// let storage = Storage::open_file(&path)?;
/// assert_eq!(storage.open::<Board>("roadmap")?.view().title, "Roadmap");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Storage {
    pub(crate) inner: Arc<Inner>,
}

/// What the handles and the open documents own together.
pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").finish_non_exhaustive()
    }
}

impl Storage {
    /// Keeps documents in one file, with redb: see [`RedbAdapter`](crate::RedbAdapter). Makes the
    /// file if there is none.
    ///
    /// # Errors
    /// The file is open elsewhere, is not a file of a storage, or cannot be opened.
    #[cfg(feature = "redb")]
    pub fn open_file(path: impl AsRef<Path>) -> Result<Self, AdapterError> {
        Ok(Self::new(crate::RedbAdapter::open(path)?))
    }

    /// Keeps documents in memory only, for tests.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(MemoryAdapter::new())
    }

    /// Keeps documents with an adapter and the default options.
    #[must_use]
    pub fn new(adapter: impl Adapter) -> Self {
        Self::with_options(adapter, StorageOptions::default())
    }

    /// Keeps documents with an adapter.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a storage drives its threads")]
    pub fn with_options(adapter: impl Adapter, options: StorageOptions) -> Self {
        let shared = Arc::new(Shared::new(Box::new(adapter), options));
        let writer = Writer::new(Arc::clone(&shared));
        let (for_writer, for_background) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            std::thread::spawn(move || run_writer(writer, &for_writer)),
            std::thread::spawn(move || background::run(&for_background)),
        ];
        Self { inner: Arc::new(Inner { shared, threads: Mutex::new(threads) }) }
    }

    /// Opens a document on the default backend as a store. Makes the document if there is none. If
    /// the document is open already, the stores share it.
    ///
    /// Blocks while it reads: call it where that is allowed, for example in
    /// `tokio::task::spawn_blocking`. O(document).
    ///
    /// # Errors
    /// The document cannot be read, is damaged, or is kept on another backend. Nothing is written
    /// then.
    pub fn open<S: State>(&self, name: &str) -> Result<Store<S>, OpenError> {
        self.open_with::<S, Yrs>(name, Opening::default())
    }

    /// Opens a document on automerge as a store: see [`Storage::open`].
    ///
    /// # Errors
    /// As [`Storage::open`].
    pub fn open_automerge<S: State>(&self, name: &str) -> Result<Store<S, Automerge>, OpenError> {
        self.open_with::<S, Automerge>(name, Opening::default())
    }

    /// Opens a document that exists, on the default backend: see [`Storage::open`].
    ///
    /// # Errors
    /// As [`Storage::open`], and [`OpenError::NotFound`].
    pub fn open_existing<S: State>(&self, name: &str) -> Result<Store<S>, OpenError> {
        self.open_with::<S, Yrs>(name, Opening::existing())
    }

    /// Makes a document on the default backend: see [`Storage::open`].
    ///
    /// # Errors
    /// As [`Storage::open`], and [`OpenError::Exists`].
    pub fn create<S: State>(&self, name: &str) -> Result<Store<S>, OpenError> {
        self.open_with::<S, Yrs>(name, Opening::new_document())
    }

    /// Opens what can be read of a damaged document on the default backend, up to the damage. It is
    /// read-only: changes and imports are refused, and nothing is written. See [`Storage::repair`].
    /// A document that is not damaged opens read-only too, and so does one that was set aside.
    ///
    /// # Errors
    /// As [`Storage::open_existing`].
    pub fn open_damaged<S: State>(&self, name: &str) -> Result<Store<S>, OpenError> {
        self.open_with::<S, Yrs>(name, Opening::damaged())
    }

    /// Opens a document on any backend as a store: see [`Storage::open`] and [`Opening`].
    ///
    /// ```
    /// use exostate::{Automerge, State};
    /// use exostate_storage::{Opening, Storage};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Board { title: String }
    ///
    /// let storage = Storage::in_memory();
    /// let board = storage.open_with::<Board, Automerge>("roadmap", Opening::new_document())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Storage::open`], and what the opening asks for.
    pub fn open_with<S: State, B: Backend>(
        &self,
        name: &str,
        opening: Opening,
    ) -> Result<Store<S, B>, OpenError> {
        opening::store(&self.inner, name, opening)
    }

    /// Opens a document without a Rust type, for servers and tools: see [`Storage::open`].
    ///
    /// # Errors
    /// As [`Storage::open_with`].
    pub fn open_document<B: Backend>(
        &self,
        name: &str,
        opening: Opening,
    ) -> Result<Document<B>, OpenError> {
        opening::document(&self.inner, name, opening)
    }

    /// The names of all documents, in order.
    ///
    /// # Errors
    /// The adapter failed.
    pub fn list(&self) -> Result<Vec<String>, AdapterError> {
        self.inner.shared.adapter.list()
    }

    /// Waits until everything that was committed before this call, in all open documents, is on
    /// disk. See [`Persist::flush`](crate::Persist::flush).
    #[must_use = "a future does nothing unless it is awaited"]
    pub fn flush(&self) -> Flush {
        Flush::of_all(&self.inner.shared)
    }

    /// As [`Storage::flush`], and blocks this thread.
    ///
    /// # Errors
    /// The last try to write failed. What is not on disk stays queued.
    pub fn flush_blocking(&self) -> Result<(), FlushError> {
        Flush::of_all(&self.inner.shared).wait()
    }

    /// Writes everything that is left, and closes the storage. Documents that are still open refuse
    /// changes from then on. Blocks.
    ///
    /// # Errors
    /// Some changes are not on disk. They are lost when their documents are dropped.
    pub fn close(self) -> Result<(), FlushError> {
        let shared = Arc::clone(&self.inner.shared);
        for kept in shared.known() {
            attachments::save_changed(&shared, &kept, attachments::Why::Drop);
            // What was made in memory only is tried once more.
            background::keep_whole(&kept);
        }
        self.inner.end();
        for kept in shared.known() {
            let document = kept.name.to_string();
            match kept.wait(kept.recorded(), 0) {
                Wait::Kept => {}
                Wait::Failed(error) => return Err(FlushError::Failing { document, error }),
                Wait::ReadOnly(reason) if kept.recorded() > kept.kept() => {
                    return Err(FlushError::ReadOnly { document, reason: reason.to_string() });
                }
                Wait::InMemory => return Err(FlushError::InMemory { document }),
                _ => return Err(FlushError::Closed { document }),
            }
        }
        Ok(())
    }
}

/// Runs the writer. If it panics, which is a fault of an adapter or of this crate, nobody waits for
/// it for ever.
fn run_writer(writer: Writer, shared: &Shared) {
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.run()));
    if ended.is_err() {
        tracing::error!(target: "exostate", "the writer of the storage panicked");
        shared.queue.end();
        shared.close_documents();
    }
}

impl Inner {
    /// Ends the threads. The writer writes everything before.
    fn end(&self) {
        self.shared.jobs.close();
        self.shared.queue.close();
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            // The last document may be dropped on one of these threads.
            if thread.thread().id() != current().id() && thread.join().is_err() {
                tracing::error!(target: "exostate", "a thread of the storage panicked");
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}
