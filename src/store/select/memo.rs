//! How the value of a selector is computed and remembered.
//!
//! A closure runs at one [`Moment`]: the selectors that it reads are brought to the same view, so
//! that old and new values never mix. No lock is held meanwhile. If the moment is over when the
//! closure ends, the value is returned but not kept.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::state::{Look, Reading, State};
use crate::store::Subscription;
use crate::store::notify::{Notice, Subscribers, subscription};

use super::evaluation::{self, Evaluation};
use super::graph::{Freshness, Input, Known, Moment, Read, Shown};
use super::{Changed, Selector};

/// The part of a store that selectors need. It does not keep the store alive: after the store is
/// dropped, the last view remains.
pub(crate) struct ViewSource<S> {
    view: Arc<ArcSwap<S>>,
    subscribers: Weak<Mutex<Subscribers<S>>>,
}

impl<S: State> ViewSource<S> {
    pub(crate) fn new(view: &Arc<ArcSwap<S>>, subscribers: &Arc<Mutex<Subscribers<S>>>) -> Self {
        Self { view: Arc::clone(view), subscribers: Arc::downgrade(subscribers) }
    }

    /// Identifies the store.
    fn number(&self) -> usize {
        self.subscribers.as_ptr().addr()
    }

    pub(crate) fn select<R: PartialEq + Send + Sync + 'static>(
        &self,
        compute: impl Fn(S::Node<Look<'_>>) -> R + Send + Sync + 'static,
    ) -> Selector<R> {
        let id = self.subscribers.upgrade().map_or(0, |subscribers| {
            let mut subscribers = subscribers.lock();
            let id = subscribers.new_id();
            subscribers.selectors.add(id);
            id
        });
        let home =
            Self { view: Arc::clone(&self.view), subscribers: Weak::clone(&self.subscribers) };
        Selector {
            memo: Arc::new_cyclic(|own| Memo {
                id,
                home,
                compute: Box::new(compute),
                own: Weak::clone(own),
            }),
        }
    }
}

/// A selector, whatever its store's type.
pub(crate) trait AnyMemo<R>: Send + Sync {
    fn read(&self) -> Arc<R>;
    fn watch(self: Arc<Self>, f: Callback<R>) -> Subscription;
}

struct Memo<S: State, R> {
    id: u64,
    home: ViewSource<S>,
    compute: Compute<S, R>,
    own: Weak<Self>,
}

pub(crate) type Callback<R> = Box<dyn Fn(&Changed<R>) + Send + Sync>;

type Compute<S, R> = Box<dyn for<'a> Fn(<S as State>::Node<Look<'a>>) -> R + Send + Sync>;

/// A value, and its version if the value was kept.
struct Valued<R> {
    value: Arc<R>,
    version: Option<u64>,
}

impl<S: State, R: PartialEq + Send + Sync + 'static> Memo<S, R> {
    /// The value at a moment, or for the present view.
    fn at(&self, moment: Option<&Moment>) -> Valued<R> {
        let Some(subscribers) = self.home.subscribers.upgrade() else {
            return self.unkept(&Moment { view: self.home.view.load_full(), generation: 0 });
        };
        let locked = subscribers.lock();
        let now =
            Moment { view: self.home.view.load_full(), generation: locked.selectors.generation() };
        let known = locked.selectors.known(self.id);
        drop(locked);
        match (moment, known) {
            (Some(moment), _) if moment.generation != now.generation => self.unkept(moment),
            (_, Some(known)) => self.refreshed(&subscribers, &now, known),
            (_, None) => self.unkept(&now),
        }
    }

    /// The value at a moment that is over, or after the store was dropped. It is not kept.
    fn unkept(&self, moment: &Moment) -> Valued<R> {
        let evaluation = self.begin(moment);
        let (result, read) = self.run(moment, evaluation);
        drop(read);
        Valued {
            value: Arc::new(result.unwrap_or_else(|panic| resume_unwind(panic))),
            version: None,
        }
    }

    fn refreshed(
        &self,
        subscribers: &Mutex<Subscribers<S>>,
        now: &Moment,
        known: Known,
    ) -> Valued<R> {
        let old = known.value.and_then(|value| value.downcast::<R>().ok());
        if let Some(value) = old.as_ref().filter(|_| known.freshness == Freshness::Fresh) {
            return Valued { value: Arc::clone(value), version: Some(known.version) };
        }
        let evaluation = self.begin(now);
        if let Some(value) = old.as_ref().filter(|_| known.freshness == Freshness::Unsure) {
            // The inputs are checked in the order of the reads, up to the first changed one: the
            // closure may not read the inputs after it any more.
            if known
                .inputs
                .iter()
                .all(|(input, version)| version.is_some() && input.version_at(now) == *version)
            {
                let kept = subscribers.lock().selectors.confirm(self.id, now.generation);
                return Valued { value: Arc::clone(value), version: kept.then_some(known.version) };
            }
        }
        drop(known.inputs);
        self.recompute(subscribers, now, old, evaluation)
    }

    fn recompute(
        &self,
        subscribers: &Mutex<Subscribers<S>>,
        now: &Moment,
        old: Option<Arc<R>>,
        evaluation: Evaluation,
    ) -> Valued<R> {
        let (result, read) = self.run(now, evaluation);
        let new = match result {
            Ok(new) => new,
            Err(panic) => {
                let dropped =
                    subscribers.lock().selectors.keep_failed(self.id, now.generation, read);
                drop(dropped);
                resume_unwind(panic);
            }
        };
        let (value, changed) = match old {
            Some(old) if *old == new => (old, None),
            _ => {
                let new = Arc::new(new);
                (Arc::clone(&new), Some(new as Shown))
            }
        };
        let (version, dropped) =
            subscribers.lock().selectors.keep(self.id, now.generation, changed, read);
        drop(dropped);
        Valued { value, version }
    }

    fn begin(&self, moment: &Moment) -> Evaluation {
        Evaluation::begin(self.home.number(), std::ptr::from_ref(self).addr(), moment)
    }

    /// Runs the closure on a view. Returns its result or its panic, and what it read until then.
    fn run(&self, moment: &Moment, evaluation: Evaluation) -> (std::thread::Result<R>, Read) {
        let Ok(view) = Arc::clone(&moment.view).downcast::<S>() else {
            unreachable!("a moment of the same store")
        };
        let reading = Reading::new(&*view);
        let (result, inputs) =
            evaluation.run(|| catch_unwind(AssertUnwindSafe(|| (self.compute)(reading.root()))));
        (result, Read { paths: reading.into_paths(), inputs })
    }
}

impl<S: State, R: PartialEq + Send + Sync + 'static> AnyMemo<R> for Memo<S, R> {
    fn read(&self) -> Arc<R> {
        let moment = evaluation::current(self.home.number());
        let Some((moment, own)) = moment.zip(self.own.upgrade()) else {
            return self.at(None).value;
        };
        // A selector that panics counts as read, too.
        let mut noted = evaluation::Noted::new(own);
        let valued = self.at(Some(&moment));
        noted.version = valued.version;
        valued.value
    }

    fn watch(self: Arc<Self>, f: Callback<R>) -> Subscription {
        let weak = Weak::clone(&self.home.subscribers);
        let Some(subscribers) = weak.upgrade() else { return Subscription::ended() };
        let node = self.id;
        let first = self.at(None);
        let told = Mutex::new(first.value);
        let showing = Arc::clone(&subscribers.lock().showing);
        let watcher = move |_: &Notice<S>, _: &str, _: &[Arc<str>]| {
            let new = self.at(None).value;
            // The value may be newer than the notice: the view may be the first part of a joint
            // change. It is told after all parts are shown.
            drop(showing.lock());
            let old = Arc::clone(&told.lock());
            if !Arc::ptr_eq(&old, &new) && *old != *new {
                *told.lock() = Arc::clone(&new);
                f(&Changed { old, new });
            }
        };
        let mut locked = subscribers.lock();
        let id = locked.new_id();
        locked.watchers.add_anywhere(id, Arc::new(watcher));
        locked.selectors.watch(node, id, first.version);
        drop(locked);
        subscription(weak, id)
    }
}

impl<S: State, R: PartialEq + Send + Sync + 'static> Input for Memo<S, R> {
    fn id(&self) -> u64 {
        self.id
    }

    fn version_at(&self, moment: &Moment) -> Option<u64> {
        // The selector that reads this one meets the panic itself, and its closure may catch it.
        catch_unwind(AssertUnwindSafe(|| self.at(Some(moment)).version)).ok().flatten()
    }
}

impl<S: State, R> Drop for Memo<S, R> {
    fn drop(&mut self) {
        if let Some(subscribers) = self.home.subscribers.upgrade() {
            let dropped = subscribers.lock().selectors.remove(self.id);
            drop(dropped);
        }
    }
}
