//! Subscriptions of a store: counts for finding leaks, and subscriptions that end with their
//! targets.

use std::sync::{Arc, Weak};

use crate::document::backend::Backend;
use crate::state::{AsPath, State};

use super::Store;
use super::Subscription;
use super::watch::Patch;

/// How many subscriptions and selectors of a store live: for finding leaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscriptions {
    /// Watchers of places and of violations: [`Store::watch`], [`Store::watch_weak`],
    /// [`Store::stream`], [`Store::watch_violations`].
    pub watchers: usize,
    /// Watchers of selectors: [`Selector::watch`](crate::Selector::watch),
    /// [`Selector::stream`](crate::Selector::stream).
    pub selector_watchers: usize,
    /// Listeners of updates: [`Store::on_update`], [`Store::local_updates`].
    pub update_listeners: usize,
    /// Selectors, watched or not: [`Store::select`], [`Store::select_by`].
    pub selectors: usize,
}

/// Subscriptions that end with their targets.
#[derive(Default)]
pub(crate) struct WeakSubscriptions {
    held: Vec<(Arc<dyn Fn() -> bool + Send + Sync>, Subscription)>,
    /// When more subscriptions than this are held, the ended ones are removed.
    room: usize,
}

impl WeakSubscriptions {
    /// Holds a subscription as long as `lives` returns true. The result is to be dropped outside
    /// the lock. O(1) amortised.
    fn hold(
        &mut self,
        lives: Arc<dyn Fn() -> bool + Send + Sync>,
        subscription: Subscription,
    ) -> impl Sized + use<> {
        let ended = if self.held.len() > self.room { self.take_ended() } else { Vec::new() };
        self.held.push((lives, subscription));
        ended
    }

    fn take_ended(&mut self) -> Vec<(Arc<dyn Fn() -> bool + Send + Sync>, Subscription)> {
        let (held, ended) =
            std::mem::take(&mut self.held).into_iter().partition(|(lives, _)| lives());
        self.held = held;
        self.room = 2 * self.held.len() + 16;
        ended
    }
}

impl<S: State, B: Backend> Store<S, B> {
    /// Calls `f` as [`Store::watch`] does, as long as `target` lives. So the target need not keep
    /// the subscription. The subscription does not keep the target alive.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use exostate::{State, Store};
    ///
    /// #[derive(State, Clone, Debug)]
    /// struct Note { title: String }
    ///
    /// let store = Store::<Note>::new();
    /// let label = Arc::new(Mutex::new(String::new()));
    /// store.watch_weak(Note::path().title(), &label, |label, title| {
    ///     *label.lock().unwrap() = title.new().cloned().unwrap_or_default();
    /// });
    /// store.change(|note| note.title().set("plan"))?;
    /// assert_eq!(*label.lock().unwrap(), "plan");
    /// drop(label);
    /// assert_eq!(store.subscriptions().watchers, 0);
    /// # Ok::<(), exostate::Error>(())
    /// ```
    pub fn watch_weak<P: AsPath<S>, T: Send + Sync + ?Sized + 'static>(
        &self,
        path: P,
        target: &Arc<T>,
        f: impl Fn(&T, &Patch<'_, P::Target>) + Send + Sync + 'static,
    ) {
        let (to_call, to_check): (Weak<T>, Weak<T>) =
            (Arc::downgrade(target), Arc::downgrade(target));
        let subscription = self.watch(path, move |patch| {
            if let Some(target) = to_call.upgrade() {
                f(&target, patch);
            }
        });
        let ended = self
            .shared
            .subscribers
            .lock()
            .weak
            .hold(Arc::new(move || to_check.strong_count() > 0), subscription);
        drop(ended);
    }

    /// How many subscriptions and selectors live.
    #[must_use]
    pub fn subscriptions(&self) -> Subscriptions {
        let ended = self.shared.subscribers.lock().weak.take_ended();
        drop(ended);
        let update_listeners = self.shared.document.inner().delivery.listeners();
        let counted = self.shared.subscribers.lock().count();
        Subscriptions { update_listeners, ..counted }
    }
}
