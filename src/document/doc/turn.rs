//! A turn: the only way to change a document.

use std::any::Any;
use std::cell::{Cell, Ref, RefCell, RefMut};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use parking_lot::ReentrantMutexGuard;

use super::Inner;
use crate::document::backend::{Backend, BackendError};
use crate::document::commit::{Commit, Origin, Touch, in_key_order, whole};
use crate::document::keeper::{Awaited, KeepError, Record, Reserved};
use crate::document::key::Key;
use crate::document::ops::Ops;
use crate::document::projection::{Content, Projection, Shown, WatcherCalls};
use crate::document::replica::{List, Replica, Trust};
use crate::document::rope::Rope;
use crate::document::source::Source;

/// The writer lock.
pub(crate) type WriterLock<'a, B> = ReentrantMutexGuard<'a, RefCell<Replica<B>>>;

/// The projections that follow a document at some moment.
struct Followers<B: Backend> {
    /// The list of projections at that moment. The document has another list after a projection is
    /// attached.
    list: Arc<Vec<Weak<dyn Projection<B>>>>,
    live: Vec<Arc<dyn Projection<B>>>,
    /// The projections of earlier lists of this turn. One of them may be the last handle of a
    /// store, so they are dropped outside the lock.
    past: Vec<Arc<dyn Projection<B>>>,
}

impl<B: Backend> Followers<B> {
    fn of(document: &Inner<B>, past: Vec<Arc<dyn Projection<B>>>) -> Self {
        let list = document.projections.load_full();
        Self { live: list.iter().filter_map(Weak::upgrade).collect(), list, past }
    }
}

/// The data of an ended turn whose drop may call any code: the last handle of a store, or old
/// views. It must be dropped outside every lock.
pub(crate) struct AfterTurn<B: Backend> {
    followers: Followers<B>,
    _old_views: OldViews,
}

impl<B: Backend> AfterTurn<B> {
    /// The projections that followed the document.
    pub(super) fn projections(&self) -> &[Arc<dyn Projection<B>>] {
        &self.followers.live
    }
}

/// Old views. There is usually only one view, and then no vector is allocated.
#[derive(Default)]
struct OldViews {
    first: Option<Arc<dyn Any + Send + Sync>>,
    others: Vec<Arc<dyn Any + Send + Sync>>,
}

impl OldViews {
    fn add(&mut self, left: Option<Arc<dyn Any + Send + Sync>>) {
        match self.first {
            None => self.first = left,
            Some(_) => self.others.extend(left),
        }
    }
}

/// A turn of a writer. It holds the writer lock and knows the projections that follow the document.
/// The caller delivers after it has dropped the turn.
pub(crate) struct Turn<'a, B: Backend> {
    pub(crate) document: &'a Inner<B>,
    lock: WriterLock<'a, B>,
    /// Dropped after the lock.
    followers: RefCell<Followers<B>>,
    /// The data that the views do not need any more. It is dropped after the lock, because its drop
    /// may call any code.
    old_views: RefCell<OldViews>,
    /// The time at which the turn began, if a recorder or an undo manager needs it. A later turn
    /// has a later time, if the clock does not go back.
    pub(crate) time: Option<SystemTime>,
    /// The paths that the last commit of this turn touched.
    touched: RefCell<Arc<[Arc<str>]>>,
    /// The room that the document's keeper has reserved for this turn.
    reserved: RefCell<Option<Reserved<'a>>>,
    /// Whether the document was replaced or rebuilt, so that the updates do not lead to its
    /// content, and the keeper has not recorded the whole document yet.
    replaced: Cell<bool>,
    /// The last record of this turn, if the keeper announces only what is kept.
    awaited: RefCell<Option<Awaited>>,
}

impl<'a, B: Backend> Turn<'a, B> {
    /// Waits for the writer lock. Returns `None` within another turn of this thread.
    pub(crate) fn begin(document: &'a Inner<B>) -> Option<Self> {
        let lock = document.lock();
        // The borrow ends at once: the clock below is code of the application and may read the
        // document.
        lock.try_borrow_mut().ok()?;
        // The list is read under the lock: a projection that was attached before the lock was taken
        // has to be told of this turn.
        let followers = RefCell::new(Followers::of(document, Vec::new()));
        let mut turn = Self {
            document,
            lock,
            followers,
            time: None,
            old_views: RefCell::default(),
            touched: RefCell::default(),
            reserved: RefCell::default(),
            replaced: Cell::new(false),
            awaited: RefCell::default(),
        };
        let wanted = !document.recorders.is_empty() || turn.any(|one| one.undoes());
        if wanted {
            turn.time = Some(document.now());
            turn.count_followers();
        }
        Some(turn)
    }

    /// Ends the turn: releases the lock, unless the thread holds it elsewhere too.
    pub(crate) fn end(self) -> AfterTurn<B> {
        let Self { lock, followers, old_views, reserved, .. } = self;
        drop(reserved);
        drop(lock);
        AfterTurn { followers: followers.into_inner(), _old_views: old_views.into_inner() }
    }

    /// Whether `is_so` holds for a projection that follows the document.
    pub(crate) fn any(&self, is_so: impl FnMut(&Arc<dyn Projection<B>>) -> bool) -> bool {
        self.followers.borrow().live.iter().any(is_so)
    }

    /// Calls `call` for each projection that follows the document.
    pub(crate) fn each(&self, call: impl FnMut(&Arc<dyn Projection<B>>)) {
        self.followers.borrow().live.iter().for_each(call);
    }

    /// The number of projections that follow the document. Must be called after code of the
    /// application has run: that code may have made a store on the document, which follows the
    /// document from here on.
    pub(crate) fn count_followers(&self) -> usize {
        let mut followers = self.followers.borrow_mut();
        if !Arc::ptr_eq(&self.document.projections.load(), &followers.list) {
            let mut past = std::mem::take(&mut followers.past);
            past.append(&mut followers.live);
            *followers = Followers::of(self.document, past);
        }
        followers.live.len()
    }

    /// Borrows the replica for reading. Other code of this thread can read the document meanwhile.
    /// A change by that code fails.
    pub(crate) fn replica(&self) -> Ref<'_, Replica<B>> {
        self.lock.borrow()
    }

    /// Borrows the replica for writing. `None` while the replica is borrowed for reading, which
    /// only code within this turn can do.
    pub(crate) fn replica_mut(&self) -> Option<RefMut<'_, Replica<B>>> {
        self.lock.try_borrow_mut().ok()
    }

    /// The paths that the last commit of this turn touched.
    pub(crate) fn touched(&self) -> Arc<[Arc<str>]> {
        Arc::clone(&self.touched.borrow())
    }

    /// Brings all views up to date with imported parts. Returns whether there were imported parts:
    /// then the caller has to deliver, so that watchers are told.
    pub(crate) fn show_parts(&self, replica: &mut Replica<B>) -> bool {
        let watched = self.any(|one| one.is_watched());
        let read = replica.read_parts(|replica, entries| {
            // The document was empty before, so all content is new.
            let keys = entries.iter().map(|(key, _)| Arc::clone(&key.0));
            let sequences = || replica.sequences("").into_iter().map(|(_, name)| name.0);
            let mut paths: Vec<Arc<str>> =
                if watched { keys.chain(sequences()).collect() } else { vec![Arc::from("")] };
            in_key_order(&mut paths);
            let touch = Touch { written: whole(), differing: paths.into() };
            self.prepare(replica, Content::Registers(entries), &touch);
            touch
        });
        let Some(touch) = read else { return false };
        self.note_type(replica);
        self.publish(replica, self.commit(touch, Vec::new(), Origin::Remote));
        true
    }

    /// Shows the parts that were imported, as [`Turn::show_parts`] does. Takes a fresh replica id if
    /// another replica wrote under this one's: its next ops would contradict those of that replica,
    /// and a hostile one could use up the numbers of all ops of an id. O(document) if the id
    /// changes.
    pub(crate) fn begin_edit(&self, replica: &mut Replica<B>) -> bool {
        let shown = self.show_parts(replica);
        if replica.needs_fresh_id() {
            self.document.take_fresh_id(replica);
        }
        shown
    }

    /// Reads everything again, because after a failure the document differs from what it was
    /// before. The differences are not known. So watchers compare, and undo managers leave alone
    /// the places that they do not know to be their own work.
    pub(crate) fn show_rebuilt(&self, replica: &mut Replica<B>, updates: Vec<Arc<[u8]>>) {
        let touch = Touch::of_all(whole());
        self.prepare(replica, Content::Unknown, &touch);
        self.publish(replica, self.commit(touch, updates, Origin::Remote));
    }

    /// Notes that another document took the place of this one.
    pub(super) fn note_replaced(&self) {
        self.replaced.set(true);
    }

    /// Asks the document's keeper for room, before something is written in this turn. The room is
    /// given back at the end of the turn.
    pub(crate) fn reserve(&self) -> Result<(), KeepError> {
        let mut reserved = self.reserved.borrow_mut();
        if let (None, Some(keeper)) = (&*reserved, self.document.keeping.get()) {
            *reserved = Some(Reserved::of(keeper)?);
        }
        Ok(())
    }

    /// Whether the document differs after a failure from what it was before. Returns true only once
    /// per failure.
    pub(crate) fn take_differs(&self, replica: &mut Replica<B>) -> bool {
        let differs = replica.take_differs();
        if differs {
            self.replaced.set(true);
            self.document.recorders.all().iter().for_each(|recorder| recorder.lock().replaced());
        }
        differs
    }

    pub(crate) fn note_type(&self, replica: &Replica<B>) {
        self.each(|one| one.note_type(replica));
    }

    /// Makes a commit of this turn.
    pub(crate) fn commit(
        &self,
        touch: Touch,
        updates: Vec<Arc<[u8]>>,
        origin: Origin,
    ) -> Arc<Commit> {
        Arc::new(Commit { touch, updates, origin, meta: None, time: self.time })
    }

    /// Writes ops that no store has staged into the document, and publishes them. Undo managers
    /// treat them as the work of other replicas.
    pub(super) fn commit_ops(
        &self,
        replica: &mut Replica<B>,
        ops: &Ops,
        texts: BTreeMap<Key, Rope>,
        lists: BTreeMap<Key, List>,
        origin: Origin,
    ) -> Result<(), BackendError> {
        let updates = match replica.commit(ops, texts, lists) {
            Ok(updates) => updates,
            Err(error) => {
                if self.take_differs(replica) {
                    self.show_rebuilt(replica, Vec::new());
                }
                return Err(error);
            }
        };
        let touched = ops.touched();
        let touch = Touch::of_all(touched.paths().into());
        self.prepare(replica, Content::Touched(&touched), &touch);
        self.publish(replica, self.commit(touch, updates, origin));
        Ok(())
    }

    /// Lets every projection make its new view, for a commit that no projection staged.
    pub(crate) fn prepare(&self, replica: &Replica<B>, content: Content<'_>, touch: &Touch) {
        self.each(|one| one.prepare(replica, content, touch));
    }

    /// Records a commit and shows the views that were prepared for it.
    pub(crate) fn publish(&self, replica: &mut Replica<B>, commit: Arc<Commit>) {
        self.record(replica, &commit);
        self.show(commit);
    }

    /// Gives a commit to the keeper and to every recorder, before any view shows it. O(document) if
    /// a recorder makes a checkpoint, or if the document was replaced.
    pub(crate) fn record(&self, replica: &mut Replica<B>, commit: &Commit) {
        self.document.commits.fetch_add(1, Ordering::Relaxed);
        if self.replaced.take() {
            self.keep_whole(replica);
        } else {
            self.keep(Record::Updates(&commit.updates));
        }
        *self.touched.borrow_mut() = Arc::clone(&commit.touch.written);
        for recorder in self.document.recorders.all() {
            recorder.lock().record(commit, &mut || replica.checkpoint().ok());
        }
    }

    /// Gives a record to the document's keeper, if it has one.
    pub(super) fn keep(&self, record: Record<'_>) {
        let Some(keeper) = self.document.keeping.get() else { return };
        if matches!(record, Record::Updates([])) {
            return;
        }
        let number = keeper.record(record);
        if keeper.announces_kept() {
            let keeper = Arc::clone(keeper);
            *self.awaited.borrow_mut() = Some(Awaited { keeper, number });
        }
    }

    /// Lets the keeper keep the whole document. O(document).
    pub(super) fn keep_whole(&self, replica: &Replica<B>) {
        if self.document.keeping.get().is_none() {
            return;
        }
        let own = |(update, trust)| (trust == Trust::Trusted).then_some(update);
        let pending = replica.pending_updates().into_iter().filter_map(own).collect();
        self.keep(Record::Whole { document: replica.save(), pending });
    }

    /// Shows the views and queues the commit for delivery. O(1) per view.
    pub(crate) fn show(&self, commit: Arc<Commit>) {
        let showing = self.document.delivery.hold_view();
        let mut told = Vec::new();
        self.each(|one| {
            let shown: Shown = one.show(&commit);
            told.extend(shown.told);
            self.old_views.borrow_mut().add(shown.left);
        });
        self.queue(commit, told);
        drop(showing);
    }

    /// Queues a commit for delivery.
    pub(super) fn queue(&self, commit: Arc<Commit>, told: Vec<Box<dyn WatcherCalls>>) {
        let awaited = self.awaited.borrow().clone();
        self.document.delivery.queue(commit, told, awaited);
    }
}
