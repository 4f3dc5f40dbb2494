//! A turn: the only way to change a document.

use std::cell::{Ref, RefCell, RefMut};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::ReentrantMutexGuard;

use super::Inner;
use crate::document::backend::Backend;
use crate::document::commit::{Commit, Origin, Touch, in_key_order, whole};
use crate::document::projection::{Content, Projection, Shown};
use crate::document::replica::Replica;
use crate::document::source::Source;

/// The writer lock.
pub(crate) type WriterLock<'a, B> = ReentrantMutexGuard<'a, RefCell<Replica<B>>>;

/// A turn of a writer: it holds the writer lock, and knows what follows the document. Afterwards,
/// when it is dropped, the caller delivers.
pub(crate) struct Turn<'a, B: Backend> {
    pub(crate) document: &'a Inner<B>,
    lock: WriterLock<'a, B>,
    /// Dropped after the lock: the last handle of a store may be among them.
    projections: Vec<Arc<dyn Projection<B>>>,
    /// When the turn began, if a recorder or an undo manager wants to know. A later turn has a
    /// later time, as far as the clock goes on.
    pub(crate) time: Option<SystemTime>,
    /// The paths that the last commit of this turn has touched.
    touched: RefCell<Arc<[Arc<str>]>>,
}

impl<'a, B: Backend> Turn<'a, B> {
    /// Waits for the writer lock. `None` within another turn of this thread.
    pub(crate) fn begin(document: &'a Inner<B>) -> Option<Self> {
        Self::begin_with(document, document.projections())
    }

    /// The same, where the caller knows what follows the document.
    pub(super) fn begin_with(
        document: &'a Inner<B>,
        projections: Vec<Arc<dyn Projection<B>>>,
    ) -> Option<Self> {
        let lock = document.lock();
        // The clock is the application's own, and may look at the document.
        lock.try_borrow_mut().ok()?;
        let undoes = || projections.iter().any(|projection| projection.undoes());
        let wanted = !document.recorders.is_empty() || undoes();
        let time = wanted.then(|| document.now());
        Some(Self { document, lock, projections, time, touched: RefCell::default() })
    }

    /// Ends the turn: what followed the document comes back, to be told outside the lock.
    pub(super) fn end(self) -> Vec<Arc<dyn Projection<B>>> {
        self.projections
    }

    /// The replica, to look at. What looks at the document meanwhile finds it; a change within
    /// fails.
    pub(crate) fn replica(&self) -> Ref<'_, Replica<B>> {
        self.lock.borrow()
    }

    /// The replica, to be changed. `None` while somebody looks at it, which only code within this
    /// turn can do.
    pub(crate) fn replica_mut(&self) -> Option<RefMut<'_, Replica<B>>> {
        self.lock.try_borrow_mut().ok()
    }

    pub(crate) fn projections(&self) -> &[Arc<dyn Projection<B>>] {
        &self.projections
    }

    /// The paths that the last commit of this turn has touched.
    pub(crate) fn touched(&self) -> Arc<[Arc<str>]> {
        Arc::clone(&self.touched.borrow())
    }

    /// Brings all views up to date with parts that were imported. Whether there were any: then
    /// watchers have to be told.
    pub(crate) fn show_parts(&self, replica: &mut Replica<B>) -> bool {
        let watched = self.projections.iter().any(|projection| projection.is_watched());
        let read = replica.read_parts(|replica, entries| {
            // The document held nothing before: all that it holds is new.
            let keys = entries.iter().map(|(key, _)| Arc::clone(&key.0));
            let sequences = || replica.sequences("").into_iter().map(|(_, name)| name.0);
            let mut paths: Vec<Arc<str>> =
                if watched { keys.chain(sequences()).collect() } else { vec![Arc::from("")] };
            in_key_order(&mut paths);
            let touch = Touch { noted: whole(), told: paths.into() };
            self.prepare(replica, Content::Registers(entries), &touch);
            touch
        });
        let Some(touch) = read else { return false };
        self.note_type(replica);
        self.publish(replica, self.commit(touch, Vec::new(), Origin::Remote));
        true
    }

    /// Reads everything again: a failure left another document than there was before it. What
    /// differs is not known; watchers compare, and undo managers leave alone what they do not know
    /// to be their own.
    pub(crate) fn show_rebuilt(&self, replica: &mut Replica<B>, updates: Vec<Arc<[u8]>>) {
        let touch = Touch::of_all(whole());
        self.prepare(replica, Content::Unknown, &touch);
        self.publish(replica, self.commit(touch, updates, Origin::Remote));
    }

    /// Whether a failure left another document than there was before it. It says so once.
    pub(crate) fn take_differs(&self, replica: &mut Replica<B>) -> bool {
        let differs = replica.take_differs();
        if differs {
            self.document.recorders.all().iter().for_each(|recorder| recorder.lock().replaced());
        }
        differs
    }

    pub(crate) fn note_type(&self, replica: &Replica<B>) {
        self.projections.iter().for_each(|projection| projection.note_type(replica));
    }

    /// A commit of this turn.
    pub(crate) fn commit(
        &self,
        touch: Touch,
        updates: Vec<Arc<[u8]>>,
        origin: Origin,
    ) -> Arc<Commit> {
        Arc::new(Commit { touch, updates, origin, meta: None, time: self.time })
    }

    /// Makes the new view of everything that follows the document, for a commit that was staged
    /// nowhere.
    pub(crate) fn prepare(&self, replica: &Replica<B>, content: Content<'_>, touch: &Touch) {
        self.projections.iter().for_each(|projection| projection.prepare(replica, content, touch));
    }

    /// Records a commit and shows the views that were prepared for it.
    pub(crate) fn publish(&self, replica: &mut Replica<B>, commit: Arc<Commit>) {
        self.record(replica, &commit);
        self.show(commit);
    }

    /// Lets every recorder see a commit, before any view shows it. O(document) if one of them makes
    /// a checkpoint.
    pub(crate) fn record(&self, replica: &mut Replica<B>, commit: &Commit) {
        *self.touched.borrow_mut() = Arc::clone(&commit.touch.noted);
        for recorder in self.document.recorders.all() {
            recorder.lock().record(commit, &mut || replica.checkpoint().ok());
        }
    }

    /// Shows the views and queues the commit for delivery. O(1) a view. What comes back is dropped
    /// where no lock is held that matters.
    pub(crate) fn show(&self, commit: Arc<Commit>) -> impl Sized + use<B> {
        let showing = self.document.delivery.hold_view();
        // With one view, as is usual, nothing is collected.
        let mut first = None;
        let mut others = Vec::new();
        let mut told = Vec::new();
        for projection in &self.projections {
            let shown: Shown = projection.show(&commit);
            told.extend(shown.told);
            match first {
                None => first = shown.left,
                Some(_) => others.extend(shown.left),
            }
        }
        self.document.delivery.queue(commit, told);
        drop(showing);
        (first, others)
    }
}
