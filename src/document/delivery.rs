//! Delivery: update listeners and watchers are told in the order of the commits, outside every
//! lock, by whichever thread is delivering.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{ThreadId, current};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard, ReentrantMutex, ReentrantMutexGuard};

use super::commit::{Commit, Update};
use super::projection::Told;
use super::subscription::Subscription;

pub(crate) type Panic = Box<dyn Any + Send>;
type Listener = Arc<dyn Fn(Update<'_>) + Send + Sync>;

/// Held while a new view is shown: for all stores of a joint change, and for a reader of several
/// views, together.
pub(crate) type Showing = Arc<ReentrantMutex<()>>;

/// Numbers commits and subscriptions in one order: a subscription does not hear of commits with
/// lower numbers.
#[derive(Clone, Default)]
pub(crate) struct Numbers(Arc<AtomicU64>);

impl Numbers {
    /// A number that is greater than all before.
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
    /// Notified when another thread may deliver, and when few commits are left.
    turn: Condvar,
}

/// A commit that is to be delivered.
struct Queued {
    number: u64,
    commit: Arc<Commit>,
    views: Vec<Box<dyn Told>>,
}

struct Queue {
    commits: VecDeque<Queued>,
    /// The thread that delivers now.
    delivering: Option<ThreadId>,
    /// How many imports wait until they may deliver, or until fewer commits are left.
    waiting: usize,
}

/// Commits that may wait while an import goes on as if there were none.
const COMMITS_MAX: usize = 64;
/// How long an import waits at most. It is in vain if a callback waits for that very import.
const TURN_MAX: Duration = Duration::from_secs(1);

impl Default for Delivery {
    fn default() -> Self {
        let queue = Queue { commits: VecDeque::new(), delivering: None, waiting: 0 };
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

    /// Until this is dropped no other thread shows a new view. A thread that holds several takes
    /// them in the order of their stores' addresses, and calls nothing of the application's.
    pub(crate) fn hold_view(&self) -> ReentrantMutexGuard<'_, ()> {
        self.showing.lock()
    }

    /// Queues a commit, whose views are shown already. Called under the writer lock, so that the
    /// order is that of the commits. If nobody hears of it, it comes back.
    pub(crate) fn queue(&self, commit: Arc<Commit>, views: Vec<Box<dyn Told>>) {
        let listeners = self.listeners.lock();
        if listeners.is_empty() && views.is_empty() {
            return;
        }
        let number = self.numbers.next();
        drop(listeners);
        self.queue.lock().commits.push_back(Queued { number, commit, views });
    }

    /// Delivers what is queued, unless another thread delivers already: then that one delivers
    /// this too.
    ///
    /// A callback that panics keeps nothing from the others: its panic goes on when all is
    /// delivered.
    pub(crate) fn deliver(&self) {
        self.deliver_all(self.queue.lock());
    }

    /// The same for an import, which waits its turn while much is queued: what comes from others
    /// must not grow without end while callbacks take their time, nor keep one thread delivering
    /// for ever.
    pub(crate) fn deliver_in_turn(&self) {
        let mut queue = self.queue.lock();
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

    /// Whether a thread delivers now.
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
                && queue.commits.front().is_some_and(|queued| queued.number > own);
            let next = if handed_over { None } else { queue.commits.pop_front() };
            let Some(queued) = next else { break };
            if queue.waiting > 0 && queue.commits.len() == COMMITS_MAX {
                self.turn.notify_all();
            }
            drop(queue);
            // Whatever panics, the next commit is delivered.
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

    /// Calls all listeners and watchers. The first panic comes back.
    fn deliver_one(&self, queued: Queued) -> Option<Panic> {
        let Queued { number, commit, views } = queued;
        let touched = commit.touch.told.len();
        let _span =
            tracing::trace_span!(target: "exostate", "notify", origin = ?commit.origin, touched)
                .entered();
        // A joint change is told once all of it is shown.
        drop(self.hold_view());
        let copied = |(id, listener): (&u64, &Listener)| (*id, Arc::clone(listener));
        let listeners: Vec<(u64, Listener)> =
            self.listeners.lock().range(..number).map(copied).collect();
        // One call may end another's subscription.
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
            // A listener may own a subscription of its own, which ends outside the lock.
            drop(ended);
        })
    }

    pub(crate) fn listeners(&self) -> usize {
        self.listeners.lock().len()
    }
}

/// Runs what is not ours. What it leaves half done is its own, and ours is not touched by it; the
/// first panic is kept.
pub(crate) fn caught(first: &mut Option<Panic>, run: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        first.get_or_insert(panic);
    }
}
