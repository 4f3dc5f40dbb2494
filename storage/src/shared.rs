//! What the handles of a storage, its documents and its threads share.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{ThreadId, current};

use exostate::{Backend, Document, State, Store, WeakDocument};
use parking_lot::{Condvar, Mutex};

use crate::adapter::{Adapter, AdapterError};
use crate::background::{Job, Jobs};
use crate::document::{KeptDocument, Wait};
use crate::error::OpenError;
use crate::options::StorageOptions;
use crate::queue::{Done, Queue, Task};

pub(crate) struct Shared {
    pub(crate) adapter: Box<dyn Adapter>,
    pub(crate) options: StorageOptions,
    pub(crate) queue: Queue,
    pub(crate) jobs: Jobs,
    documents: Mutex<BTreeMap<Arc<str>, Entry>>,
    /// Notified when a document is no longer being opened.
    moved: Condvar,
    /// The documents whose records were dropped, until they are recorded as a whole.
    in_memory: Mutex<Vec<Arc<KeptDocument>>>,
    /// The documents that are being opened, and wait for their replica id to be on disk.
    opening: Mutex<Vec<Arc<KeptDocument>>>,
    /// Whether any document ever had an attachment.
    pub(crate) has_attachments: AtomicBool,
}

enum Entry {
    /// This thread opens the document, or works on it while it is not open.
    UnderWay(ThreadId),
    Known(Known),
}

/// A document that is open, or was open and has records in the queue.
#[derive(Clone)]
struct Known {
    kept: Arc<KeptDocument>,
    /// A [`WeakDocument`] of the document's backend.
    document: Arc<dyn Any + Send + Sync>,
    backend: &'static str,
    /// A store of each state type with which the document was opened.
    stores: Vec<AnyWeakStore>,
}

/// A [`exostate::WeakStore`] of any type.
#[derive(Clone)]
pub(crate) struct AnyWeakStore {
    pub(crate) store: Arc<dyn Any + Send + Sync>,
    is_alive: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl AnyWeakStore {
    pub(crate) fn of<S: State, B: Backend>(store: &Store<S, B>) -> Self {
        let weak = store.downgrade();
        let also = weak.clone();
        Self { store: Arc::new(weak), is_alive: Arc::new(move || also.upgrade().is_some()) }
    }
}

/// An open document, what is kept of it, and the weak stores on it.
pub(crate) type Open<B> = (Document<B>, Arc<KeptDocument>, Vec<AnyWeakStore>);

pub(crate) enum Found<'a, B: Backend> {
    Open(Open<B>),
    /// The document is not open. This thread may open it.
    Turn(Turn<'a>),
}

/// The exclusive right of a thread to a document that is not open.
pub(crate) struct Turn<'a> {
    shared: &'a Shared,
    name: Arc<str>,
    over: bool,
}

impl Turn<'_> {
    /// The document is open now.
    pub(crate) fn open<B: Backend>(
        mut self,
        kept: Arc<KeptDocument>,
        document: &Document<B>,
        store: Option<AnyWeakStore>,
    ) {
        let document: WeakDocument<B> = document.downgrade();
        let stores = store.into_iter().collect();
        let known = Known { kept, document: Arc::new(document), backend: B::NAME, stores };
        self.shared.documents.lock().insert(Arc::clone(&self.name), Entry::Known(known));
        self.shared.moved.notify_all();
        self.over = true;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.shared.documents.lock().remove(&self.name);
            self.shared.moved.notify_all();
        }
    }
}

impl Shared {
    pub(crate) fn new(adapter: Box<dyn Adapter>, options: StorageOptions) -> Self {
        Self {
            adapter,
            queue: Queue::new(options.clone()),
            options,
            jobs: Jobs::default(),
            documents: Mutex::default(),
            moved: Condvar::new(),
            in_memory: Mutex::default(),
            opening: Mutex::default(),
            has_attachments: AtomicBool::new(false),
        }
    }

    /// Finds an open document, or takes the right to open it. Waits while another thread opens it,
    /// and until the records of its last opening are on disk.
    pub(crate) fn find<B: Backend>(&self, name: &str) -> Result<Found<'_, B>, OpenError> {
        loop {
            let known = {
                let mut documents = self.documents.lock();
                match documents.get(name) {
                    None => return Ok(Found::Turn(self.take_turn(&mut documents, name))),
                    Some(Entry::UnderWay(thread)) if *thread == current().id() => {
                        return Err(OpenError::Within { document: name.to_owned() });
                    }
                    Some(Entry::UnderWay(_)) => {
                        self.moved.wait(&mut documents);
                        continue;
                    }
                    Some(Entry::Known(known)) => known.clone(),
                }
            };
            let weak = known.document.downcast_ref::<WeakDocument<B>>();
            match weak.map(WeakDocument::upgrade) {
                Some(Some(document)) => {
                    return Ok(Found::Open((document, known.kept, known.stores)));
                }
                None if !known.kept.is_dropped() => {
                    return Err(OpenError::Backend {
                        document: name.to_owned(),
                        found: known.backend.to_owned(),
                        wanted: B::NAME.to_owned(),
                    });
                }
                _ => self.wait_until_done(&known.kept)?,
            }
        }
    }

    /// Takes the right to a document that must not be open.
    pub(crate) fn turn(&self, name: &str) -> Result<Turn<'_>, OpenError> {
        loop {
            let kept = {
                let mut documents = self.documents.lock();
                match documents.get(name) {
                    None => return Ok(self.take_turn(&mut documents, name)),
                    Some(Entry::UnderWay(thread)) if *thread == current().id() => {
                        return Err(OpenError::Within { document: name.to_owned() });
                    }
                    Some(Entry::UnderWay(_)) => {
                        self.moved.wait(&mut documents);
                        continue;
                    }
                    Some(Entry::Known(known)) => Arc::clone(&known.kept),
                }
            };
            if !kept.is_dropped() {
                return Err(OpenError::Open { document: name.to_owned() });
            }
            self.wait_until_done(&kept)?;
        }
    }

    fn take_turn<'a>(&'a self, documents: &mut BTreeMap<Arc<str>, Entry>, name: &str) -> Turn<'a> {
        let name: Arc<str> = Arc::from(name);
        documents.insert(Arc::clone(&name), Entry::UnderWay(current().id()));
        Turn { shared: self, name, over: false }
    }

    /// Waits until the records of a document that nobody holds are on disk.
    fn wait_until_done(&self, kept: &Arc<KeptDocument>) -> Result<(), OpenError> {
        let document = || kept.name.to_string();
        if !kept.is_done() {
            let failures = kept.failures();
            self.queue.hurry();
            match kept.wait(kept.recorded(), failures) {
                Wait::Failed(error) => {
                    return Err(OpenError::Unwritten { document: document(), error });
                }
                // A document in memory is held until it is written, except after the end.
                Wait::Closed | Wait::InMemory => {
                    return Err(OpenError::Closed { document: document() });
                }
                _ => {}
            }
        }
        kept.note_dropped();
        self.forget_if_done(kept);
        Ok(())
    }

    /// Remembers another store on an open document.
    pub(crate) fn add_store(&self, name: &str, store: AnyWeakStore) {
        let stores = match self.documents.lock().get(name) {
            Some(Entry::Known(known)) => known.stores.clone(),
            _ => return,
        };
        // A store may be dropped by this, so it is done outside the lock.
        let mut stores: Vec<_> = stores.into_iter().filter(|store| (store.is_alive)()).collect();
        stores.push(store);
        if let Some(Entry::Known(known)) = self.documents.lock().get_mut(name) {
            known.stores = stores;
        }
    }

    /// Forgets a document that nobody holds and of which everything is on disk.
    pub(crate) fn forget_if_done(&self, kept: &Arc<KeptDocument>) {
        if !kept.is_dropped() || !kept.is_done() {
            return;
        }
        let mut documents = self.documents.lock();
        let is_same =
            |entry: &Entry| matches!(entry, Entry::Known(known) if Arc::ptr_eq(&known.kept, kept));
        let forgotten = if documents.get(&*kept.name).is_some_and(is_same) {
            documents.remove(&*kept.name)
        } else {
            None
        };
        drop(documents);
        drop(forgotten);
        self.moved.notify_all();
    }

    /// The documents that are open or have records in the queue, in the order of their names.
    pub(crate) fn known(&self) -> Vec<Arc<KeptDocument>> {
        let documents = self.documents.lock();
        let kept = documents.values().filter_map(|entry| match entry {
            Entry::Known(known) => Some(Arc::clone(&known.kept)),
            Entry::UnderWay(_) => None,
        });
        kept.collect()
    }

    /// The document of this name, if it is open or has records in the queue.
    pub(crate) fn known_as(&self, name: &str) -> Option<Arc<KeptDocument>> {
        match self.documents.lock().get(name) {
            Some(Entry::Known(known)) => Some(Arc::clone(&known.kept)),
            _ => None,
        }
    }

    /// Notes a document whose records are dropped from now on.
    pub(crate) fn note_in_memory(&self, kept: &Arc<KeptDocument>) {
        self.in_memory.lock().push(Arc::clone(kept));
        // The writer may have written everything in the meantime.
        self.keep_whole_if_roomy();
    }

    /// Lets the documents whose records were dropped be recorded as a whole, once there is room.
    pub(crate) fn keep_whole_if_roomy(&self) {
        if self.queue.is_roomy() {
            self.take_in_memory().into_iter().for_each(|kept| self.jobs.add(Job::KeepWhole(kept)));
        }
    }

    /// Takes the documents that are to be recorded as a whole. Those that cannot be written now stay.
    fn take_in_memory(&self) -> Vec<Arc<KeptDocument>> {
        let mut in_memory = self.in_memory.lock();
        let (stay, taken) = in_memory.drain(..).partition(|kept| kept.is_failing());
        *in_memory = stay;
        taken
    }

    /// Notes that a document that is being opened waits for the disk, while `wait` runs.
    pub(crate) fn while_opening(&self, kept: &Arc<KeptDocument>, wait: impl FnOnce()) {
        self.opening.lock().push(Arc::clone(kept));
        wait();
        self.opening.lock().retain(|opening| !Arc::ptr_eq(opening, kept));
    }

    /// Tells all documents that nothing is written any more.
    pub(crate) fn close_documents(&self) {
        let opening = self.opening.lock().clone();
        self.known().iter().chain(&opening).for_each(|kept| kept.close());
    }

    /// Gives the writer a task and waits for its result.
    pub(crate) fn run_task(
        &self,
        document: &str,
        task: impl FnOnce(Done) -> Task,
    ) -> Result<(), OpenError> {
        let (done, result) = std::sync::mpsc::channel();
        let closed = || OpenError::Closed { document: document.to_owned() };
        self.queue.add_task(task(done)).map_err(|_| closed())?;
        let result: Result<(), AdapterError> = result.recv().map_err(|_| closed())?;
        result.map_err(|error| OpenError::adapter(document, error))
    }
}
