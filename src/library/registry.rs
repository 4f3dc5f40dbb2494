//! The registry of documents: which documents are open, and which thread loads or closes a
//! document.
//!
//! A document is in one of three states. It is open; it is kept without a handle (unused); or one
//! thread loads or closes it (under way). That thread holds no lock, and every other thread that
//! wants the document waits. A thread also waits for a document whose last handle is being dropped.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread::{ThreadId, current, panicking};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::handle::{Document, Handle, WeakHandle};
use super::{LibraryCount, Loader, OpenError};
use crate::state::{Link, State};

/// A document of any type.
pub(super) trait Closes<L: Loader>: Send + Sync {
    fn id(&self) -> Arc<str>;
    fn close(&self, loader: &L) -> Result<(), L::Error>;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

enum Entry<L> {
    /// This thread loads or closes the document.
    UnderWay(ThreadId),
    /// The handle of the open document: a [`WeakHandle`] of the document's type.
    Open(Box<dyn Any + Send + Sync>),
    Unused(Arc<dyn Closes<L>>),
}

struct Entries<L> {
    by_id: BTreeMap<Arc<str>, Entry<L>>,
    /// The ids of the unused documents, the most recently used one last.
    unused: VecDeque<Arc<str>>,
    /// The document that each waiting thread waits for.
    waiting: HashMap<ThreadId, Arc<str>>,
}

pub(super) struct Registry<L: Loader> {
    loader: L,
    unused_max: usize,
    entries: Mutex<Entries<L>>,
    /// Notified whenever an entry changes its state.
    moved: Condvar,
}

/// The result of a search for a document.
pub(super) enum Found<'a, T: State, L: Loader> {
    Open(Handle<T, L>),
    /// The document is not open. This thread has the exclusive right to load it.
    Turn(Turn<'a, L>),
}

/// The exclusive right of a thread to load a document. If it is dropped before the document is
/// open, the document does not exist, and other threads may try.
pub(super) struct Turn<'a, L: Loader> {
    registry: &'a Arc<Registry<L>>,
    id: &'a Arc<str>,
    over: bool,
}

impl<L: Loader> Turn<'_, L> {
    pub(super) fn open<T: State>(mut self, document: Document<T, L>) -> Handle<T, L> {
        let handle = Handle::first(Arc::new(document), self.registry);
        self.registry.entries.lock().open(self.id, &handle);
        self.registry.moved.notify_all();
        self.over = true;
        handle
    }
}

impl<L: Loader> Drop for Turn<'_, L> {
    fn drop(&mut self) {
        if !self.over {
            self.registry.entries.lock().by_id.remove(self.id);
            self.registry.moved.notify_all();
        }
    }
}

impl<L: Loader> Entries<L> {
    fn open<T: State>(&mut self, id: &Arc<str>, handle: &Handle<T, L>) {
        self.by_id.insert(Arc::clone(id), Entry::Open(Box::new(handle.downgrade())));
    }

    fn keep(&mut self, document: Arc<dyn Closes<L>>) {
        let id = document.id();
        self.unused.push_back(Arc::clone(&id));
        self.by_id.insert(id, Entry::Unused(document));
    }

    /// Takes the least recently used document, if there are more than `unused_max`. This thread
    /// then closes it.
    fn take_unused(&mut self, unused_max: usize) -> Option<Arc<dyn Closes<L>>> {
        let id =
            if self.unused.len() > unused_max { self.unused.pop_front()? } else { return None };
        match self.by_id.insert(id, Entry::UnderWay(current().id())) {
            Some(Entry::Unused(document)) => Some(document),
            _ => None,
        }
    }

    /// Whether a wait of `thread` for the document `id` would never end: a thread that loads or
    /// closes a document may itself wait for another document, and this chain may lead back to
    /// `thread`.
    fn is_within<'a>(&'a self, mut id: &'a Arc<str>, thread: ThreadId) -> bool {
        while let Some(Entry::UnderWay(whose)) = self.by_id.get(id) {
            if *whose == thread {
                return true;
            }
            let Some(next) = self.waiting.get(whose) else { return false };
            id = next;
        }
        false
    }
}

impl<L: Loader> Registry<L> {
    pub(super) fn new(loader: L, unused_max: usize) -> Self {
        let entries =
            Entries { by_id: BTreeMap::new(), unused: VecDeque::new(), waiting: HashMap::new() };
        Self { loader, unused_max, entries: Mutex::new(entries), moved: Condvar::new() }
    }

    pub(super) fn loader(&self) -> &L {
        &self.loader
    }

    pub(super) fn count(&self) -> LibraryCount {
        let mut count = LibraryCount::default();
        for entry in self.entries.lock().by_id.values() {
            match entry {
                Entry::UnderWay(_) => count.under_way += 1,
                Entry::Open(_) => count.open += 1,
                Entry::Unused(_) => count.unused += 1,
            }
        }
        count
    }

    /// Finds a document, or else takes the exclusive right to load it.
    pub(super) fn find<'a, T: State>(
        self: &'a Arc<Self>,
        link: &'a Link<T>,
    ) -> Result<Found<'a, T, L>, OpenError<L::Error>> {
        let id = link.shared_id();
        if link.is_empty() {
            return Err(OpenError::Empty);
        }
        let other_type = || OpenError::Type { id: link.id().to_owned() };
        let mut entries = self.entries.lock();
        loop {
            match entries.by_id.get(id) {
                None => {
                    entries.by_id.insert(Arc::clone(id), Entry::UnderWay(current().id()));
                    return Ok(Found::Turn(Turn { registry: self, id, over: false }));
                }
                Some(Entry::Open(handles)) => {
                    let handles =
                        handles.downcast_ref::<WeakHandle<T, L>>().ok_or_else(other_type)?;
                    if let Some(handle) = handles.upgrade() {
                        return Ok(Found::Open(handle));
                    }
                }
                Some(Entry::Unused(document)) => {
                    let document = Arc::clone(document)
                        .into_any()
                        .downcast::<Document<T, L>>()
                        .map_err(|_| other_type())?;
                    let handle = Handle::first(document, self);
                    entries.unused.retain(|unused| unused != id);
                    entries.open(id, &handle);
                    return Ok(Found::Open(handle));
                }
                Some(Entry::UnderWay(_)) => {}
            }
            self.wait(&mut entries, id)?;
        }
    }

    /// Waits until an entry changes its state.
    fn wait(
        &self,
        entries: &mut MutexGuard<'_, Entries<L>>,
        id: &Arc<str>,
    ) -> Result<(), OpenError<L::Error>> {
        let thread = current().id();
        if entries.is_within(id, thread) {
            return Err(OpenError::Within { id: id.to_string() });
        }
        entries.waiting.insert(thread, Arc::clone(id));
        self.moved.wait(entries);
        entries.waiting.remove(&thread);
        Ok(())
    }

    /// Takes over a document that has no handle left.
    pub(super) fn let_go(&self, document: Arc<dyn Closes<L>>) {
        self.entries.lock().keep(document);
        self.moved.notify_all();
        self.put_away(self.unused_max);
    }

    pub(super) fn close_unused(&self) -> bool {
        self.put_away(0)
    }

    /// Closes the unused documents beyond a number, with no lock held. Returns whether all of them
    /// were closed; the others stay. If the loader panics on one document, the remaining documents
    /// are still closed.
    ///
    /// Documents are taken one at a time, so a thread (even the loader) that wants a later document
    /// does not wait for the earlier ones.
    fn put_away(&self, unused_max: usize) -> bool {
        let mut all = true;
        let mut panicked = Ok(());
        // Each document is tried once: a document that stays goes to the end of the queue.
        let beyond = self.entries.lock().unused.len().saturating_sub(unused_max);
        for _ in 0..beyond {
            let Some(document) = self.entries.lock().take_unused(unused_max) else { break };
            let id = document.id();
            let (back, told) = put_away(&self.loader, document);
            panicked = panicked.and(told);
            all &= back.is_none();
            let mut entries = self.entries.lock();
            match back {
                Some(document) => entries.keep(document),
                None => drop(entries.by_id.remove(&id)),
            }
            drop(entries);
            self.moved.notify_all();
        }
        go_on(panicked);
        all
    }
}

impl<L: Loader> Drop for Registry<L> {
    fn drop(&mut self) {
        let mut panicked = Ok(());
        for entry in std::mem::take(&mut self.entries.get_mut().by_id).into_values() {
            if let Entry::Unused(document) = entry {
                panicked = panicked.and(put_away(&self.loader, document).1);
            }
        }
        go_on(panicked);
    }
}

/// Closes a document. If the loader fails or panics, the document is returned.
fn put_away<L: Loader>(
    loader: &L,
    document: Arc<dyn Closes<L>>,
) -> (Option<Arc<dyn Closes<L>>>, std::thread::Result<()>) {
    match catch_unwind(AssertUnwindSafe(|| document.close(loader))) {
        // The document's peer or lock is dropped before the document can be loaded again.
        Ok(Ok(())) => (None, catch_unwind(AssertUnwindSafe(|| drop(document)))),
        Ok(Err(error)) => {
            tracing::warn!(
                target: "exostate",
                id = &*document.id(),
                %error,
                "a document could not be put away"
            );
            (Some(document), Ok(()))
        }
        Err(panic) => (Some(document), Err(panic)),
    }
}

/// Resumes a loader's panic, unless the thread is already panicking.
fn go_on(result: std::thread::Result<()>) {
    if let Err(panic) = result
        && !panicking()
    {
        resume_unwind(panic);
    }
}
