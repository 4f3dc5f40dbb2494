//! Delivery: update listeners and watchers are told of commits, in the order of the commits and
//! outside every lock. One thread delivers at a time, for all threads.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{ThreadId, current};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard, ReentrantMutex, ReentrantMutexGuard};

use super::commit::{Commit, Update};
use super::keeper::Awaited;
use super::projection::WatcherCalls;
use super::subscription::Subscription;

pub(crate) type Panic = Box<dyn Any + Send>;
type Listener = Arc<dyn Fn(Update<'_>) + Send + Sync>;

/// A lock that is held while a new view is shown. A joint change holds the locks of all its stores
/// at once, and a reader of several views does the same, so that it reads them together.
pub(crate) type Showing = Arc<ReentrantMutex<()>>;

/// Numbers commits and subscriptions in one order. A subscription is not told of commits with lower
/// numbers.
#[derive(Clone, Default)]
pub(crate) struct Numbers(Arc<AtomicU64>);

impl Numbers {
    /// A number that is greater than all numbers before.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// The update listeners of a document, and the commits that have not been delivered yet.
pub(crate) struct Delivery {
    numbers: Numbers,
    listeners: Arc<Mutex<BTreeMap<u64, Listener>>>,
    queue: Mutex<Queue>,
    showing: Showing,
    /// Notified when another thread may deliver, and when the queue has become short.
    turn: Condvar,
}

/// A commit that is to be delivered.
struct Queued {
    number: u64,
    commit: Arc<Commit>,
    views: Vec<Box<dyn WatcherCalls>>,
    /// The record that must be kept before the commit is delivered, and the thread that made the
    /// commit. That thread waits for the record and delivers then.
    awaited: Option<(Awaited, ThreadId)>,
}

impl Queued {
    /// The record that is not kept yet, and the thread that waits for it.
    fn unkept(&self) -> Option<&(Awaited, ThreadId)> {
        self.awaited.as_ref().filter(|(awaited, _)| !awaited.may_announce())
    }

    /// Whether the commit is not kept yet, and was made by this thread.
    fn awaits_this_thread(&self) -> bool {
        self.unkept().is_some_and(|(_, thread)| *thread == current().id())
    }
}

struct Queue {
    commits: VecDeque<Queued>,
    /// The thread that delivers at this moment.
    delivering: Option<ThreadId>,
    /// Number of imports that wait until they may deliver, or until the queue is short.
    waiting: usize,
    /// Whether any commit was to be kept before it is delivered.
    awaits: bool,
}

/// Number of queued commits up to which an import does not wait.
const COMMITS_MAX: usize = 64;
/// The longest wait of an import. The wait is useless if a callback waits for that same import.
const TURN_MAX: Duration = Duration::from_secs(1);

impl Default for Delivery {
    fn default() -> Self {
        let queue = Queue { commits: VecDeque::new(), delivering: None, waiting: 0, awaits: false };
        Self {
            numbers: Numbers::default(),
            listeners: Arc::default(),
            queue: Mutex::new(queue),
            showing: Showing::default(),
            turn: Condvar::new(),
        }
    }
}

impl Delivery {
    pub(crate) fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    pub(crate) fn showing(&self) -> &Showing {
        &self.showing
    }

    /// Until the guard is dropped, no other thread shows a new view. A thread that holds several of
    /// these locks takes them in the order of their stores' addresses, and calls no code of the
    /// application meanwhile.
    pub(crate) fn hold_view(&self) -> ReentrantMutexGuard<'_, ()> {
        self.showing.lock()
    }

    /// Queues a commit whose views are shown already. Must be called under the writer lock, so that
    /// the queue has the order of the commits. A commit without a listener or watcher is not
    /// queued, unless it is to be kept first.
    pub(crate) fn queue(
        &self,
        commit: Arc<Commit>,
        views: Vec<Box<dyn WatcherCalls>>,
        awaited: Option<Awaited>,
    ) {
        let listeners = self.listeners.lock();
        if listeners.is_empty() && views.is_empty() && awaited.is_none() {
            return;
        }
        let number = self.numbers.next();
        drop(listeners);
        let awaited = awaited.map(|awaited| (awaited, current().id()));
        let mut queue = self.queue.lock();
        queue.awaits |= awaited.is_some();
        queue.commits.push_back(Queued { number, commit, views, awaited });
    }

    /// Delivers the queued commits. If another thread is delivering, that thread delivers these
    /// commits too.
    ///
    /// If a callback panics, the other callbacks are still called. The first panic is resumed after
    /// all commits are delivered.
    ///
    /// If commits are announced only after they are kept, this first waits for the commits of this
    /// thread. A change that a callback makes does not wait: its commit is delivered after the
    /// callback has returned.
    pub(crate) fn deliver(&self) {
        let queue = self.kept(self.queue.lock());
        self.deliver_all(queue);
    }

    /// Waits until the commits of this thread are kept, or until the keeper gives up waiting.
    fn kept<'a>(&'a self, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        if !queue.awaits {
            return queue;
        }
        let own = current().id();
        if queue.delivering == Some(own) {
            return queue;
        }
        let mine = |queued: &&Queued| queued.unkept().is_some_and(|(_, thread)| *thread == own);
        let Some(last) = queue.commits.iter().rev().find(mine) else { return queue };
        let awaited = last.awaited.clone();
        drop(queue);
        if let Some((awaited, _)) = awaited {
            awaited.wait();
        }
        self.queue.lock()
    }

    /// Delivers after an import. The import waits while many commits are queued and another thread
    /// delivers them, for two reasons:
    ///
    /// - The queue of imported commits must not grow without end while callbacks are slow.
    /// - One thread must not deliver for ever.
    pub(crate) fn deliver_in_turn(&self) {
        let mut queue = self.kept(self.queue.lock());
        let elsewhere =
            |queue: &Queue| queue.delivering.is_some_and(|thread| thread != current().id());
        if elsewhere(&queue) && queue.commits.len() > COMMITS_MAX {
            queue.waiting += 1;
            let too_many =
                |queue: &mut Queue| elsewhere(queue) && queue.commits.len() > COMMITS_MAX;
            self.turn.wait_while_for(&mut queue, too_many, TURN_MAX);
            queue.waiting -= 1;
        }
        self.deliver_all(queue);
    }

    /// Whether a thread is delivering at this moment.
    pub(crate) fn is_delivering(&self) -> bool {
        self.queue.lock().delivering.is_some()
    }

    fn deliver_all<'a>(&'a self, mut queue: MutexGuard<'a, Queue>) {
        let last = queue.commits.back().map(|queued| queued.number);
        let Some(own) = last.filter(|_| queue.delivering.is_none()) else { return };
        queue.delivering = Some(current().id());
        let mut panicked = None;
        loop {
            let handed_over = queue.waiting > 0
                && queue.commits.front().is_some_and(|queued| queued.number > own)
                && !queue.commits.iter().any(Queued::awaits_this_thread);
            // Another thread waits until this commit is kept, and delivers then. But a commit that
            // a callback of this delivery made has no other thread: this thread waits for it, and
            // so for all commits before it.
            if queue.commits.front().is_some_and(|queued| queued.unkept().is_some()) {
                let nested = |queued: &&Queued| queued.number > own && queued.awaits_this_thread();
                let Some(last) = queue.commits.iter().rev().find(nested) else { break };
                let awaited = last.awaited.clone();
                drop(queue);
                if let Some((awaited, _)) = awaited {
                    awaited.wait();
                }
                queue = self.queue.lock();
                if queue.commits.front().is_some_and(|queued| queued.unkept().is_some()) {
                    break;
                }
            }
            let next = if handed_over { None } else { queue.commits.pop_front() };
            let Some(queued) = next else { break };
            if queue.waiting > 0 && queue.commits.len() == COMMITS_MAX {
                self.turn.notify_all();
            }
            drop(queue);
            // If a callback panics, the next commit is still delivered.
            let mut told = None;
            caught(&mut panicked, || told = self.deliver_one(queued));
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

    /// Calls all listeners and watchers. Returns the first panic.
    fn deliver_one(&self, queued: Queued) -> Option<Panic> {
        let Queued { number, commit, views, .. } = queued;
        let touched = commit.touch.differing.len();
        let _span =
            tracing::trace_span!(target: "exostate", "notify", origin = ?commit.origin, touched)
                .entered();
        // A joint change is delivered after all its views are shown.
        drop(self.hold_view());
        let copied = |(id, listener): (&u64, &Listener)| (*id, Arc::clone(listener));
        let listeners: Vec<(u64, Listener)> =
            self.listeners.lock().range(..number).map(copied).collect();
        // A listener may end the subscription of another listener.
        let lives = |id: u64| self.listeners.lock().contains_key(&id);
        let mut panicked = None;
        let meta = commit.meta.as_deref();
        for (id, listener) in listeners {
            for bytes in commit.updates.iter().filter(|_| lives(id)) {
                let update = Update { bytes, origin: commit.origin, meta };
                caught(&mut panicked, || listener(update));
            }
            caught(&mut panicked, || drop(listener));
        }
        for view in views {
            let mut told = None;
            caught(&mut panicked, || told = view.tell(&commit));
            panicked = panicked.or(told);
        }
        caught(&mut panicked, || drop(commit));
        panicked
    }

    pub(crate) fn listen(&self, listener: Listener) -> Subscription {
        let mut listeners = self.listeners.lock();
        let id = self.numbers.next();
        listeners.insert(id, listener);
        drop(listeners);
        let listeners = Arc::downgrade(&self.listeners);
        Subscription::new(move || {
            let Some(listeners) = listeners.upgrade() else { return };
            let ended = listeners.lock().remove(&id);
            // A listener may own another subscription. That one has to end outside the lock.
            drop(ended);
        })
    }

    pub(crate) fn listeners(&self) -> usize {
        self.listeners.lock().len()
    }
}

/// Runs code of the application and catches a panic. Only the data of that code may be left half
/// done; the data of this crate is not affected. The first panic is kept.
pub(crate) fn caught(first: &mut Option<Panic>, run: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        first.get_or_insert(panic);
    }
}
