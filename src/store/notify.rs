//! The watchers and selectors of one view, and the notices that they get.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::select::Graph;
use super::subscriptions::{Subscriptions, WeakSubscriptions};
use super::watch::Watchers;
use crate::document::commit::Commit;
use crate::document::delivery::{Numbers, Panic, Showing, caught};
use crate::document::projection::{Shown, WatcherCalls};
use crate::document::subscription::Subscription;
use crate::state::{State, Violations};

/// What one commit did to a view.
pub(crate) struct Notice<S> {
    /// The number of the notice. Notices and subscriptions share one order of numbers: a later
    /// subscription does not get this notice.
    pub(crate) number: u64,
    pub(crate) old: Arc<S>,
    pub(crate) new: Arc<S>,
    /// The violations before and after the commit.
    pub(crate) violations: [Violations; 2],
    pub(crate) commit: Arc<Commit>,
}

impl<S> Notice<S> {
    /// The paths whose content differs, in order.
    pub(crate) fn touched(&self) -> &[Arc<str>] {
        &self.commit.touch.differing
    }

    fn changes_violations(&self) -> bool {
        let [before, now] = &self.violations;
        !now.is_same(before)
    }
}

/// The watchers and selectors of a view.
pub(crate) struct Subscribers<S> {
    numbers: Numbers,
    pub(crate) watchers: Watchers<S>,
    /// The watchers of violations. They are called for every notice that changes the violations.
    of_violations: BTreeSet<u64>,
    pub(crate) selectors: Graph,
    pub(crate) weak: WeakSubscriptions,
    /// The document's lock for showing views. A thread that tells a selector's value waits for it,
    /// so that all views of a joint change are shown before.
    pub(crate) showing: Showing,
}

impl<S> Subscribers<S> {
    pub(crate) fn new(numbers: &Numbers, showing: &Showing) -> Self {
        Self {
            numbers: numbers.clone(),
            watchers: Watchers::default(),
            of_violations: BTreeSet::new(),
            selectors: Graph::default(),
            weak: WeakSubscriptions::default(),
            showing: Arc::clone(showing),
        }
    }

    pub(crate) fn new_id(&mut self) -> u64 {
        self.numbers.next()
    }

    pub(crate) fn is_watched(&self) -> bool {
        !self.watchers.is_empty() || self.selectors.len() > 0
    }

    pub(crate) fn count(&self) -> Subscriptions {
        let selector_watchers = self.selectors.watchers();
        Subscriptions {
            watchers: self.watchers.len() - selector_watchers,
            selector_watchers,
            update_listeners: 0,
            selectors: self.selectors.len(),
        }
    }
}

/// Shows a new view and makes its notice. Selectors learn the touched paths at the moment at which
/// the view is shown.
pub(crate) fn show<S: State>(
    subscribers: &Arc<Mutex<Subscribers<S>>>,
    view: &ArcSwap<S>,
    mut notice: Notice<S>,
) -> Shown {
    let mut locked = subscribers.lock();
    view.store(Arc::clone(&notice.new));
    locked.selectors.touch(notice.touched());
    if locked.watchers.is_empty() {
        drop(locked);
        return Shown { told: None, left: Some(notice.old) };
    }
    notice.number = locked.new_id();
    drop(locked);
    let subscribers = Arc::clone(subscribers);
    Shown { told: Some(Box::new(Telling { subscribers, notice })), left: None }
}

/// A notice that has not been delivered to the watchers yet.
struct Telling<S> {
    subscribers: Arc<Mutex<Subscribers<S>>>,
    notice: Notice<S>,
}

impl<S: State> WatcherCalls for Telling<S> {
    fn tell(self: Box<Self>, _commit: &Commit) -> Option<Box<dyn Any + Send>> {
        let Self { subscribers, notice } = *self;
        let mut locked = subscribers.lock();
        let mut calls = locked.watchers.calls_of(&notice);
        let pending = locked.selectors.take_pending(notice.number);
        calls.extend(locked.watchers.calls_to(pending));
        if notice.changes_violations() {
            let ids = locked.of_violations.range(..notice.number).copied();
            calls.extend(locked.watchers.calls_to(ids));
        }
        // All calls come in the order of subscription. The calls of one watcher stay in the order
        // of paths.
        calls.sort_by_key(|call| call.id);
        drop(locked);
        // A call may end the subscription of another watcher.
        let lives = |id: u64| subscribers.lock().watchers.contains(id);
        let mut panicked: Option<Panic> = None;
        for call in calls {
            if lives(call.id) {
                caught(&mut panicked, || (call.watcher)(&notice, &call.path, &call.touched));
            }
            // If the subscription has ended meanwhile, the callback and what it owns are dropped
            // here.
            caught(&mut panicked, || drop(call));
        }
        caught(&mut panicked, || drop(notice));
        panicked
    }
}

/// Calls `f` with every notice that changes the violations.
pub(crate) fn watch_violations<S: State>(
    subscribers: &Arc<Mutex<Subscribers<S>>>,
    f: impl Fn(&Notice<S>) + Send + Sync + 'static,
) -> Subscription {
    let mut locked = subscribers.lock();
    let id = locked.new_id();
    locked.watchers.add_anywhere(id, Arc::new(move |notice, _, _| f(notice)));
    locked.of_violations.insert(id);
    drop(locked);
    subscription(Arc::downgrade(subscribers), id)
}

/// The subscription of a watcher.
pub(crate) fn subscription<S: State>(
    subscribers: Weak<Mutex<Subscribers<S>>>,
    id: u64,
) -> Subscription {
    Subscription::new(move || {
        let Some(subscribers) = subscribers.upgrade() else { return };
        let mut locked = subscribers.lock();
        let ended = locked.watchers.remove(id);
        locked.selectors.unwatch(id);
        locked.of_violations.remove(&id);
        drop(locked);
        // The callback is dropped outside the lock: it may own subscriptions, which then end too.
        drop(ended);
    })
}
