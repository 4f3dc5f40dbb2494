//! A turn: the only way to change a document.

use std::any::Any;
use std::cell::{Ref, RefCell, RefMut};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
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

/// What follows a document at some moment.
struct Followers<B: Backend> {
    /// The document's list then; another one once something is attached.
    list: Arc<Vec<Weak<dyn Projection<B>>>>,
    live: Vec<Arc<dyn Projection<B>>>,
    /// Those of earlier lists of this turn. The last handle of a store may be among them, so they
    /// are dropped outside the lock.
    past: Vec<Arc<dyn Projection<B>>>,
}

impl<B: Backend> Followers<B> {
    fn of(document: &Inner<B>, past: Vec<Arc<dyn Projection<B>>>) -> Self {
        let list = document.projections.load_full();
        Self { live: list.iter().filter_map(Weak::upgrade).collect(), list, past }
    }
}

/// Old views: with one view, as is usual, nothing is collected.
#[derive(Default)]
struct Left {
    first: Option<Arc<dyn Any + Send + Sync>>,
    others: Vec<Arc<dyn Any + Send + Sync>>,
}

impl Left {
    fn add(&mut self, left: Option<Arc<dyn Any + Send + Sync>>) {
        match self.first {
            None => self.first = left,
            Some(_) => self.others.extend(left),
        }
    }
}

/// A turn of a writer: it holds the writer lock, and knows what follows the document. Afterwards,
/// when it is dropped, the caller delivers.
pub(crate) struct Turn<'a, B: Backend> {
    pub(crate) document: &'a Inner<B>,
    lock: WriterLock<'a, B>,
    /// Dropped after the lock.
    followers: RefCell<Followers<B>>,
    /// What the views no longer need, dropped after the lock: its drop may call anything.
    left: RefCell<Left>,
    /// When the turn began, if a recorder or an undo manager wants to know. A later turn has a
    /// later time, as far as the clock goes on.
    pub(crate) time: Option<SystemTime>,
    /// The paths that the last commit of this turn has touched.
    touched: RefCell<Arc<[Arc<str>]>>,
}

impl<'a, B: Backend> Turn<'a, B> {
    /// Waits for the writer lock. `None` within another turn of this thread.
    pub(crate) fn begin(document: &'a Inner<B>) -> Option<Self> {
        let lock = document.lock();
        // The clock is the application's own, and may look at the document.
        lock.try_borrow_mut().ok()?;
        // Under the lock: what was attached before it was taken has to be told of this turn.
        let followers = RefCell::new(Followers::of(document, Vec::new()));
        let mut turn = Self {
            document,
            lock,
            followers,
            time: None,
            left: RefCell::default(),
            touched: RefCell::default(),
        };
        let wanted = !document.recorders.is_empty() || turn.any(|one| one.undoes());
        if wanted {
            turn.time = Some(document.now());
            turn.count_followers();
        }
        Some(turn)
    }

    /// Ends the turn: what followed the document comes back, to be told outside the lock.
    pub(super) fn end(self) -> Vec<Arc<dyn Projection<B>>> {
        let Self { lock, followers, left, .. } = self;
        drop(lock);
        drop(left);
        followers.into_inner().live
    }

    /// Whether something that follows the document is so.
    pub(crate) fn any(&self, is_so: impl FnMut(&Arc<dyn Projection<B>>) -> bool) -> bool {
        self.followers.borrow().live.iter().any(is_so)
    }

    /// Calls each that follows the document.
    pub(crate) fn each(&self, call: impl FnMut(&Arc<dyn Projection<B>>)) {
        self.followers.borrow().live.iter().for_each(call);
    }

    /// How many follow the document. Called once the application's own code has run, which may have
    /// made a store on the document: that follows from here on.
    pub(crate) fn count_followers(&self) -> usize {
        let mut followers = self.followers.borrow_mut();
        if !Arc::ptr_eq(&self.document.projections.load(), &followers.list) {
            let mut past = std::mem::take(&mut followers.past);
            past.append(&mut followers.live);
            *followers = Followers::of(self.document, past);
        }
        followers.live.len()
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

    /// The paths that the last commit of this turn has touched.
    pub(crate) fn touched(&self) -> Arc<[Arc<str>]> {
        Arc::clone(&self.touched.borrow())
    }

    /// Brings all views up to date with parts that were imported. Whether there were any: then
    /// watchers have to be told.
    pub(crate) fn show_parts(&self, replica: &mut Replica<B>) -> bool {
        let watched = self.any(|one| one.is_watched());
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
        self.each(|one| one.note_type(replica));
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
        self.each(|one| one.prepare(replica, content, touch));
    }

    /// Records a commit and shows the views that were prepared for it.
    pub(crate) fn publish(&self, replica: &mut Replica<B>, commit: Arc<Commit>) {
        self.record(replica, &commit);
        self.show(commit);
    }

    /// Lets every recorder see a commit, before any view shows it. O(document) if one of them makes
    /// a checkpoint.
    pub(crate) fn record(&self, replica: &mut Replica<B>, commit: &Commit) {
        self.document.commits.fetch_add(1, Ordering::Relaxed);
        *self.touched.borrow_mut() = Arc::clone(&commit.touch.noted);
        for recorder in self.document.recorders.all() {
            recorder.lock().record(commit, &mut || replica.checkpoint().ok());
        }
    }

    /// Shows the views and queues the commit for delivery. O(1) a view.
    pub(crate) fn show(&self, commit: Arc<Commit>) {
        let showing = self.document.delivery.hold_view();
        let mut told = Vec::new();
        self.each(|one| {
            let shown: Shown = one.show(&commit);
            told.extend(shown.told);
            self.left.borrow_mut().add(shown.left);
        });
        self.document.delivery.queue(commit, told);
        drop(showing);
    }
}
