//! Telling others: in commit order, outside every lock, whatever thread committed.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Weak};
use std::thread::{ThreadId, current};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex, MutexGuard, ReentrantMutex, ReentrantMutexGuard};

use super::meta::Meta;
use super::select::Graph;
use super::subscriptions::{Subscriptions, WeakSubscriptions};
use super::watch::Watchers;
use crate::state::{State, Violations};

/// Where a change came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// [`Store::change`](crate::Store::change) and its kin on this store.
    Local,
    /// [`Store::apply`](crate::Store::apply).
    Remote,
    /// [`Store::repair`](crate::Store::repair): the document was replaced, and the update holds
    /// what was put back. Whoever keeps updates on disk needs the whole document anew,
    /// [`Store::save`](crate::Store::save).
    Repair,
    /// [`UndoManager::undo`](crate::UndoManager::undo).
    Undo,
    /// [`UndoManager::redo`](crate::UndoManager::redo).
    Redo,
}

/// An update that was just committed or applied. A change that is too much for one update comes as
/// several, one after the other.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Update<'a> {
    /// The bytes, for [`Store::apply`](crate::Store::apply) elsewhere.
    pub bytes: &'a Arc<[u8]>,
    /// Whether it was made here.
    pub origin: Origin,
    /// What is said about the change, where something is.
    pub meta: Option<&'a Meta>,
}

/// What one commit or import did.
pub(crate) struct Notice<S> {
    /// Where it stands among the notices and the subscriptions: those that came later do not hear
    /// of it.
    pub(crate) number: u64,
    pub(crate) old: Arc<S>,
    pub(crate) new: Arc<S>,
    /// The touched paths, in order.
    pub(crate) touched: Arc<[Arc<str>]>,
    pub(crate) updates: Vec<Arc<[u8]>>,
    /// What does not fit, before and now.
    pub(crate) violations: [Violations; 2],
    pub(crate) origin: Origin,
    pub(crate) meta: Option<Arc<Meta>>,
}

impl<S> Notice<S> {
    fn changes_violations(&self) -> bool {
        let [before, now] = &self.violations;
        !now.is_same(before)
    }
}

type Panic = Box<dyn Any + Send>;
type Listener = Arc<dyn Fn(Update<'_>) + Send + Sync>;

/// Held in the moment in which a new view is shown: for all stores of a joint change, and for
/// whoever looks at several views, together.
type Showing = Arc<ReentrantMutex<()>>;

/// Those who are told, and what they have not been told yet.
pub(crate) struct Bus<S> {
    pub(crate) subscribers: Arc<Mutex<Subscribers<S>>>,
    queue: Mutex<Queue<S>>,
    showing: Showing,
    /// Told when somebody else may deliver, and when few notices are left.
    turn: Condvar,
}

pub(crate) struct Subscribers<S> {
    pub(crate) next_id: u64,
    pub(crate) watchers: Watchers<S>,
    listeners: BTreeMap<u64, Listener>,
    /// The watchers who are told of every notice that changes what does not fit.
    of_violations: BTreeSet<u64>,
    pub(crate) selectors: Graph,
    pub(crate) weak: WeakSubscriptions,
    /// The store's own: whoever tells what is shown now waits until what belongs to it is shown
    /// too.
    pub(crate) showing: Showing,
}

struct Queue<S> {
    notices: VecDeque<Notice<S>>,
    /// Who delivers now.
    delivering: Option<ThreadId>,
    /// How many imports wait until they may deliver, or until fewer notices are left.
    waiting: usize,
}

/// Notices that may wait while an import goes on as if there were none.
const NOTICES_MAX: usize = 64;
/// How long an import waits at most. It is in vain where a callback waits for that very import.
const TURN_MAX: Duration = Duration::from_secs(1);

impl<S> Default for Bus<S> {
    fn default() -> Self {
        let selectors = Graph::default();
        let weak = WeakSubscriptions::default();
        let showing = Showing::default();
        let watchers = Watchers::default();
        let listeners = BTreeMap::new();
        let of_violations = BTreeSet::new();
        let subscribers = Subscribers {
            next_id: 0,
            watchers,
            listeners,
            of_violations,
            selectors,
            weak,
            showing: Arc::clone(&showing),
        };
        let queue = Queue { notices: VecDeque::new(), delivering: None, waiting: 0 };
        Self {
            subscribers: Arc::new(Mutex::new(subscribers)),
            queue: Mutex::new(queue),
            showing,
            turn: Condvar::new(),
        }
    }
}

impl<S: State> Bus<S> {
    /// Shows a new view and queues its notice. Selectors learn what was touched in the moment in
    /// which it is shown. What nobody hears of comes back, to be dropped outside the locks, and
    /// an old view with it.
    pub(crate) fn publish(&self, view: &ArcSwap<S>, notice: Notice<S>) -> Option<Notice<S>> {
        let _showing = self.hold_view();
        let mut subscribers = self.subscribers.lock();
        view.store(Arc::clone(&notice.new));
        subscribers.selectors.touch(&notice.touched);
        self.queue(subscribers, notice)
    }

    /// Until this is dropped no other thread shows a new view. Whoever holds several takes them in
    /// the order of their stores' addresses, and calls nobody meanwhile.
    pub(crate) fn hold_view(&self) -> ReentrantMutexGuard<'_, ()> {
        self.showing.lock()
    }

    /// Queues a notice that changes nothing of the view.
    pub(crate) fn push(&self, notice: Notice<S>) {
        drop(self.queue(self.subscribers.lock(), notice));
    }

    /// Gives a notice its number. Called under the writer's lock, so that the order is that of the
    /// commits.
    fn queue(
        &self,
        mut subscribers: MutexGuard<'_, Subscribers<S>>,
        mut notice: Notice<S>,
    ) -> Option<Notice<S>> {
        if subscribers.listeners.is_empty() && subscribers.watchers.is_empty() {
            return Some(notice);
        }
        notice.number = subscribers.new_id();
        drop(subscribers);
        self.queue.lock().notices.push_back(notice);
        None
    }

    /// Delivers what is queued, unless somebody does so already: then that one delivers this too.
    ///
    /// A callback that panics keeps nothing from the others: its panic goes on when all is
    /// delivered.
    pub(crate) fn deliver(&self) {
        self.deliver_all(self.queue.lock());
    }

    /// The same for an import, which waits its turn where much is queued: what comes from others
    /// must not grow without end where callbacks take their time, nor keep one thread
    /// delivering for ever.
    pub(crate) fn deliver_in_turn(&self) {
        let mut queue = self.queue.lock();
        let elsewhere =
            |queue: &Queue<S>| queue.delivering.is_some_and(|thread| thread != current().id());
        if elsewhere(&queue) && queue.notices.len() > NOTICES_MAX {
            queue.waiting += 1;
            let too_many =
                |queue: &mut Queue<S>| elsewhere(queue) && queue.notices.len() > NOTICES_MAX;
            self.turn.wait_while_for(&mut queue, too_many, TURN_MAX);
            queue.waiting -= 1;
        }
        self.deliver_all(queue);
    }

    /// Whether anybody watches a place or a selector.
    pub(crate) fn is_watched(&self) -> bool {
        let subscribers = self.subscribers.lock();
        !subscribers.watchers.is_empty() || subscribers.selectors.len() > 0
    }

    /// Whether somebody delivers now.
    pub(crate) fn is_delivering(&self) -> bool {
        self.queue.lock().delivering.is_some()
    }

    fn deliver_all<'a>(&'a self, mut queue: MutexGuard<'a, Queue<S>>) {
        let Some(own) =
            queue.notices.back().map(|notice| notice.number).filter(|_| queue.delivering.is_none())
        else {
            return;
        };
        queue.delivering = Some(current().id());
        let mut panicked = None;
        loop {
            let handed_over = queue.waiting > 0
                && queue.notices.front().is_some_and(|notice| notice.number > own);
            let Some(notice) = (if handed_over { None } else { queue.notices.pop_front() }) else {
                break;
            };
            if queue.waiting > 0 && queue.notices.len() == NOTICES_MAX {
                self.turn.notify_all();
            }
            drop(queue);
            // Whatever panics, the next notice is delivered.
            let mut told = None;
            caught(&mut panicked, || told = self.deliver_one(notice));
            panicked = panicked.or(told);
            queue = self.queue.lock();
        }
        queue.delivering = None;
        drop(queue);
        self.turn.notify_one();
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
    }

    /// Calls everybody. The first panic comes back.
    fn deliver_one(&self, notice: Notice<S>) -> Option<Panic> {
        let _span = tracing::trace_span!(target: "exostate", "notify", origin = ?notice.origin, touched = notice.touched.len()).entered();
        // What belongs together is told once all of it is shown.
        drop(self.hold_view());
        let mut subscribers = self.subscribers.lock();
        let listeners: Vec<(u64, Listener)> = subscribers
            .listeners
            .range(..notice.number)
            .map(|(id, listener)| (*id, listener.clone()))
            .collect();
        let mut calls = subscribers.watchers.calls_of(&notice);
        let pending = subscribers.selectors.take_pending(notice.number);
        calls.extend(subscribers.watchers.calls_to(pending));
        if notice.changes_violations() {
            let concerned = subscribers.of_violations.range(..notice.number).copied();
            calls.extend(subscribers.watchers.calls_to(concerned));
        }
        // Both kinds in the order of subscription; a watcher's calls stay in the order of paths.
        calls.sort_by_key(|call| call.id);
        drop(subscribers);
        // One call may end another's subscription.
        let lives = |id: u64| self.subscribers.lock().contains(id);
        let mut panicked = None;
        for (id, listener) in listeners {
            for bytes in notice.updates.iter().filter(|_| lives(id)) {
                caught(&mut panicked, || {
                    listener(Update { bytes, origin: notice.origin, meta: notice.meta.as_deref() })
                });
            }
            caught(&mut panicked, || drop(listener));
        }
        for call in calls {
            if lives(call.id) {
                caught(&mut panicked, || (call.watcher)(&notice, &call.path, &call.touched));
            }
            // Where the subscription has ended meanwhile, what the callback owns goes now.
            caught(&mut panicked, || drop(call));
        }
        caught(&mut panicked, || drop(notice));
        panicked
    }

    pub(crate) fn listen(&self, listener: Listener) -> Subscription {
        let mut subscribers = self.subscribers.lock();
        let id = subscribers.new_id();
        subscribers.listeners.insert(id, listener);
        drop(subscribers);
        self.subscription(id)
    }

    pub(crate) fn watch_violations(
        &self,
        f: impl Fn(&Notice<S>) + Send + Sync + 'static,
    ) -> Subscription {
        let mut subscribers = self.subscribers.lock();
        let id = subscribers.new_id();
        subscribers.watchers.add_anywhere(id, Arc::new(move |notice, _, _| f(notice)));
        subscribers.of_violations.insert(id);
        drop(subscribers);
        self.subscription(id)
    }

    pub(crate) fn subscription(&self, id: u64) -> Subscription {
        Subscription::of(Arc::downgrade(&self.subscribers), id)
    }
}

impl<S> Subscribers<S> {
    pub(crate) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn count(&self) -> Subscriptions {
        let selector_watchers = self.selectors.watchers();
        Subscriptions {
            watchers: self.watchers.len() - selector_watchers,
            selector_watchers,
            update_listeners: self.listeners.len(),
            selectors: self.selectors.len(),
        }
    }

    fn contains(&self, id: u64) -> bool {
        self.listeners.contains_key(&id) || self.watchers.contains(id)
    }
}

/// Runs what is not ours. What it leaves half done is its own, and ours is not touched by it; the
/// first panic is kept.
fn caught(first: &mut Option<Panic>, run: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        first.get_or_insert(panic);
    }
}

fn end<S>(subscribers: &Weak<Mutex<Subscribers<S>>>, id: u64) {
    let Some(subscribers) = subscribers.upgrade() else { return };
    let mut locked = subscribers.lock();
    // What a callback owns is dropped outside the lock: it may end subscriptions of its own.
    let dropped = (locked.listeners.remove(&id), locked.watchers.remove(id));
    locked.selectors.unwatch(id);
    locked.of_violations.remove(&id);
    drop(locked);
    drop(dropped);
}

/// A subscription, which ends when this is dropped: no call starts any more, one that runs on
/// another thread may still do so.
#[must_use = "the subscription ends when this is dropped"]
pub struct Subscription {
    end: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Subscription {
    pub(crate) fn of<S: 'static>(subscribers: Weak<Mutex<Subscribers<S>>>, id: u64) -> Self {
        Self { end: Some(Box::new(move || end(&subscribers, id))) }
    }

    /// One of a store that is gone.
    pub(crate) fn ended() -> Self {
        Self { end: None }
    }

    /// Several as one, and what is to be done first when it ends.
    pub(crate) fn of_all(parts: Vec<Self>, first: impl FnOnce() + Send + Sync + 'static) -> Self {
        let ends: Vec<_> = parts.into_iter().filter_map(|mut part| part.end.take()).collect();
        let end = move || {
            first();
            ends.into_iter().for_each(|end| end());
        };
        Self { end: Some(Box::new(end)) }
    }

    /// Keeps the subscription for as long as the store lives. So the callback must not own a clone
    /// of that store, which would live as long as the callback;
    /// [`Store::watch_weak`](crate::Store::watch_weak) is for those that need it.
    pub fn forever(mut self) {
        self.end = None;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end();
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subscription")
    }
}
