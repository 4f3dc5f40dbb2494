//! Undo stacks and histories, which are kept beside their document.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use exostate::{Backend, History, HistoryOptions, State, Store, UndoManager, UndoOptions, Yrs};

use parking_lot::Mutex;

use crate::document::KeptDocument;
use crate::entry::Entry;
use crate::error::AttachError;
use crate::keeper::DocumentKeeper;
use crate::persist::{Persist, with};
use crate::shared::Shared;

/// Something that is kept beside a document.
pub(crate) trait Attached: Send + Sync {
    /// Records it, if it has changed since the last call.
    fn save(&self, why: Why);
}

/// Why attachments are recorded now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Some time has gone by. An attachment changes on its own too (a revision gets a name), but
    /// then it can wait: only what has followed a change of the document is recorded.
    Time,
    Flush,
    /// The attachment is about to be dropped.
    Drop,
}

/// Records the attachments of a document that have changed.
pub(crate) fn save_changed(shared: &Shared, kept: &KeptDocument, why: Why) {
    if !shared.has_attachments.load(Ordering::Relaxed) {
        return;
    }
    let attachments: Vec<Arc<dyn Attached>> = {
        let mut attachments = kept.attachments.lock();
        attachments.retain(|attached| attached.strong_count() > 0);
        attachments.iter().filter_map(Weak::upgrade).collect()
    };
    attachments.iter().for_each(|attached| attached.save(why));
}

type Bytes = Arc<[u8]>;

/// The kinds of attachments: the first part of their names.
const UNDO: &str = "undo/";
const HISTORY: &str = "history/";

/// Where an attachment is kept. It is in use as long as this exists.
struct Place {
    kept: Arc<KeptDocument>,
    shared: Arc<Shared>,
    name: String,
    saved: Mutex<Saved>,
    /// Held while new bytes are made and recorded.
    saving: Mutex<()>,
}

/// What was recorded last.
#[derive(Default)]
struct Saved {
    /// The number of changes of the document at that time.
    changes: Option<u64>,
    bytes: Option<Bytes>,
    /// The time before which nothing is recorded again, as it would be too much in too short a
    /// time.
    not_before: Option<Instant>,
}

/// The most bytes of one large attachment that are recorded in a second, except when it is dropped.
/// A history of 64 MiB is then recorded every 64 seconds, and not at each flush.
const BYTES_A_SECOND: f64 = (1 << 20) as f64;
/// An attachment up to this length is recorded at every flush.
const SMALL_BYTES: usize = 64 << 10;
/// The longest wait for another thread that records the same attachment.
const SAVING_MAX: Duration = Duration::from_secs(1);

impl Place {
    /// Takes the place of this name, and the bytes of an earlier run of the program.
    fn take(keeper: &DocumentKeeper, name: String) -> Result<(Self, Option<Bytes>), AttachError> {
        let (kept, shared) = (Arc::clone(&keeper.kept), Arc::clone(&keeper.storage.shared));
        let bytes = match kept.attached.lock().insert(name.clone(), None) {
            Some(None) => return Err(AttachError::InUse { name }),
            Some(bytes) => bytes,
            None => None,
        };
        let saved = Saved { bytes: bytes.clone(), ..Saved::default() };
        Ok((Self { kept, shared, name, saved: Mutex::new(saved), saving: Mutex::default() }, bytes))
    }

    /// Records new bytes, if they differ from those of the last call.
    #[expect(clippy::disallowed_methods, reason = "recording is limited by the clock")]
    fn save(&self, why: Why, bytes: impl FnOnce() -> Option<Vec<u8>>) {
        // Making the bytes takes the writer lock of the document. A thread that has that lock and
        // waits here must not wait for ever.
        let Some(_saving) = self.saving.try_lock_for(SAVING_MAX) else { return };
        // While the disk fails, newer bytes are not queued behind older ones without end.
        if why != Why::Drop && !self.shared.queue.has_room(self.kept.is_failing()) {
            return;
        }
        let changes = self.kept.changes.load(Ordering::Relaxed);
        let now = Instant::now();
        {
            let saved = self.saved.lock();
            let is_early = saved.not_before.is_some_and(|not_before| now < not_before);
            let is_unchanged = saved.changes == Some(changes) && why == Why::Time;
            if is_unchanged || is_early && why != Why::Drop {
                return;
            }
        }
        let Some(bytes) = bytes() else { return };
        let mut saved = self.saved.lock();
        saved.changes = Some(changes);
        if saved.bytes.as_deref() == Some(&bytes) {
            return;
        }
        let seconds = bytes.len().saturating_sub(SMALL_BYTES) as f64 / BYTES_A_SECOND;
        saved.not_before = Some(now + Duration::from_secs_f64(seconds));
        let bytes: Arc<[u8]> = bytes.into();
        saved.bytes = Some(Arc::clone(&bytes));
        let entry = Entry::Attachment { name: self.name.clone(), bytes };
        self.shared.queue.push(&self.kept, vec![entry], false);
    }

    fn attach(&self, attached: Weak<dyn Attached>) {
        self.kept.attachments.lock().push(attached);
        self.shared.has_attachments.store(true, Ordering::Relaxed);
        self.shared.jobs.wake();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let bytes = self.saved.get_mut().bytes.take();
        let mut attached = self.kept.attached.lock();
        match bytes {
            Some(bytes) => drop(attached.insert(self.name.clone(), Some(bytes))),
            None => drop(attached.remove(&self.name)),
        }
    }
}

/// What can be kept beside a document.
trait Saves: Send + Sync {
    /// Its bytes. `None` if they cannot be made now.
    fn bytes(&self) -> Option<Vec<u8>>;
}

impl<S: State, B: Backend> Saves for UndoManager<S, B> {
    fn bytes(&self) -> Option<Vec<u8>> {
        Some(self.save())
    }
}

impl<S: State, B: Backend> Saves for History<S, B> {
    fn bytes(&self) -> Option<Vec<u8>> {
        self.save().ok()
    }
}

/// A value that is kept at its place as long as it exists.
struct Attachment<T: Saves> {
    value: T,
    place: Place,
}

impl<T: Saves + 'static> Attachment<T> {
    fn new(value: T, place: Place) -> Arc<Self> {
        let attachment = Arc::new(Self { value, place });
        let weak: Weak<Self> = Arc::downgrade(&attachment);
        attachment.place.attach(weak);
        attachment
    }
}

impl<T: Saves> Attached for Attachment<T> {
    fn save(&self, why: Why) {
        self.place.save(why, || self.value.bytes());
    }
}

impl<T: Saves> Drop for Attachment<T> {
    fn drop(&mut self) {
        self.save(Why::Drop);
    }
}

/// An undo manager whose stacks are kept with the document: after a restart it undoes what was done
/// before.
///
/// The stacks are written at each flush, every few seconds while the document changes
/// ([`StorageOptions::with_attachments_every`](crate::StorageOptions::with_attachments_every)), and
/// when the last clone is dropped. Stacks of more than 64 KiB are written less often: no more than
/// 1 MiB in a second. After a crash, the changes since the last writing cannot be undone; the
/// changes themselves are kept.
///
/// ```
/// use exostate::{State, UndoOptions};
/// use exostate_storage::{KeptUndo, MemoryAdapter, Storage};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Note { title: String }
///
/// let adapter = MemoryAdapter::new();
/// let storage = Storage::new(adapter.clone());
/// let note = storage.open::<Note>("note")?;
/// let undo = KeptUndo::open(&note, "main", UndoOptions::default())?;
/// note.change(|note| note.title().set("plan"))?;
/// drop((undo, note));
/// storage.close()?;
///
/// let storage = Storage::new(adapter);
/// let note = storage.open::<Note>("note")?;
/// let undo = KeptUndo::open(&note, "main", UndoOptions::default())?;
/// undo.undo()?;
/// assert_eq!(note.view().title, "");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KeptUndo<S: State, B: Backend = Yrs>(Arc<Attachment<UndoManager<S, B>>>);

impl<S: State, B: Backend> KeptUndo<S, B> {
    /// Opens the undo stacks of this name, or makes new ones.
    ///
    /// # Errors
    /// The store is not one of a storage, or the kept stacks cannot be read.
    pub fn open(
        store: &Store<S, B>,
        name: &str,
        options: UndoOptions,
    ) -> Result<Self, AttachError> {
        let keeper = store.keeper_of();
        let taken = with(keeper.as_ref(), |keeper| Place::take(keeper, format!("{UNDO}{name}")));
        let (place, bytes) = taken.ok_or(AttachError::NotKept)??;
        let manager = match bytes {
            Some(bytes) => store.undo_manager_from(&bytes, options)?,
            None => store.undo_manager(options),
        };
        Ok(Self(Attachment::new(manager, place)))
    }
}

impl<S: State, B: Backend> Clone for KeptUndo<S, B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: State, B: Backend> std::ops::Deref for KeptUndo<S, B> {
    type Target = UndoManager<S, B>;

    fn deref(&self) -> &UndoManager<S, B> {
        &self.0.value
    }
}

impl<S: State, B: Backend> std::fmt::Debug for KeptUndo<S, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KeptUndo").field(&self.0.value).finish()
    }
}

/// A history that is kept with the document, with its checkpoints and names. It is written as the
/// stacks of a [`KeptUndo`] are. After a crash, the changes since the last writing are one revision.
///
/// ```
/// use exostate::{HistoryOptions, State};
/// use exostate_storage::{KeptHistory, MemoryAdapter, Storage};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Note { title: String }
///
/// let adapter = MemoryAdapter::new();
/// let storage = Storage::new(adapter.clone());
/// let note = storage.open::<Note>("note")?;
/// let history = KeptHistory::open(&note, "main", HistoryOptions::default())?;
/// note.change(|note| note.title().set("plan"))?;
/// history.name("first")?;
/// note.change(|note| note.title().set("trip"))?;
/// drop((history, note));
/// storage.close()?;
///
/// let storage = Storage::new(adapter);
/// let note = storage.open::<Note>("note")?;
/// let history = KeptHistory::open(&note, "main", HistoryOptions::default())?;
/// let first = history.find("first").expect("it was named");
/// assert_eq!(history.view_at(first)?.title, "plan");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KeptHistory<S: State, B: Backend = Yrs>(Arc<Attachment<History<S, B>>>);

impl<S: State, B: Backend> KeptHistory<S, B> {
    /// Opens the history of this name, or begins a new one.
    ///
    /// # Errors
    /// The store is not one of a storage, the kept history cannot be read, or a new one cannot be
    /// made.
    pub fn open(
        store: &Store<S, B>,
        name: &str,
        options: HistoryOptions,
    ) -> Result<Self, AttachError> {
        let keeper = store.keeper_of();
        let taken = with(keeper.as_ref(), |keeper| Place::take(keeper, format!("{HISTORY}{name}")));
        let (place, bytes) = taken.ok_or(AttachError::NotKept)??;
        let history = match bytes {
            Some(bytes) => store.history_from(&bytes, options)?,
            None => store.history(options)?,
        };
        Ok(Self(Attachment::new(history, place)))
    }
}

impl<S: State, B: Backend> Clone for KeptHistory<S, B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: State, B: Backend> std::ops::Deref for KeptHistory<S, B> {
    type Target = History<S, B>;

    fn deref(&self) -> &History<S, B> {
        &self.0.value
    }
}

impl<S: State, B: Backend> std::fmt::Debug for KeptHistory<S, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptHistory").finish_non_exhaustive()
    }
}
