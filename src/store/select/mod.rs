//! Selectors: values derived from the state, computed again only if something that they read has
//! changed.
//!
//! [`graph`] knows what each selector read, and which selectors are fresh. [`memo`] computes
//! values, outside every lock. [`evaluation`] notices when one selector's closure reads another
//! selector.

mod by;
mod evaluation;
mod graph;
mod memo;

use std::fmt;
use std::sync::Arc;

use crate::document::backend::Backend;
use crate::state::{Look, State};

use super::{Store, Subscription};
use memo::{AnyMemo, ViewSource};

pub use by::SelectorBy;
pub(crate) use graph::Graph;

impl<S: State, B: Backend> Store<S, B> {
    /// Creates a selector: a value derived from the state, and remembered. The value is computed
    /// when it is read, and computed again only after a commit or an import touched something that
    /// it read.
    ///
    /// The closure gets the state's accessor:
    ///
    /// - What the closure reads with `value()` counts as read. Each run replaces what counts as
    ///   read.
    /// - The closure should read as narrowly as possible: every edit in a collection touches a
    ///   selector that reads the collection as a whole.
    /// - It may read other selectors of the same store ([`Selector::get`]): then their values count
    ///   as read.
    /// - It should do nothing else. Data from elsewhere, and what it reads on other threads, is not
    ///   watched.
    /// - It may run on any thread, and several times at once.
    /// - If it panics, the read of the selector panics. The next read runs it again.
    ///
    /// A selector that reads others computes them inside its own computation: a chain of a thousand
    /// may overflow the stack of a thread.
    ///
    /// ```
    /// use exostate::{Map, State, Store};
    ///
    /// #[derive(State, Clone, Debug)]
    /// struct Cart { prices: Map<String, u64>, discount: u64 }
    ///
    /// let store = Store::<Cart>::new();
    /// let sum = store.select(|cart| {
    ///     cart.prices().value().map_or(0, |prices| prices.values().sum::<u64>())
    /// });
    /// let total = store.select({
    ///     let sum = sum.clone();
    ///     move |cart| sum.get().saturating_sub(cart.discount().value().copied().unwrap_or(0))
    /// });
    /// let _watch = total.watch(|total| println!("{} -> {}", total.old(), total.new()));
    /// store.change(|cart| cart.prices().insert("tea", 5u64))?;
    /// assert_eq!((*sum.get(), *total.get()), (5, 5));
    /// # Ok::<(), exostate::Error>(())
    /// ```
    #[doc(alias = "computed")]
    #[doc(alias = "memo")]
    pub fn select<R, F>(&self, compute: F) -> Selector<R>
    where
        R: PartialEq + Send + Sync + 'static,
        F: Fn(S::Node<Look<'_>>) -> R + Send + Sync + 'static,
    {
        self.home().select(compute)
    }

    fn home(&self) -> ViewSource<S> {
        ViewSource::new(&self.shared.view, &self.shared.subscribers)
    }
}

/// A derived value: see [`Store::select`].
///
/// A selector is a handle: its clones share one value. The value lives as long as a clone, a watch,
/// or a selector that read it.
#[must_use]
pub struct Selector<R> {
    memo: Arc<dyn AnyMemo<R>>,
}

impl<R> Clone for Selector<R> {
    fn clone(&self) -> Self {
        Self { memo: Arc::clone(&self.memo) }
    }
}

impl<R> fmt::Debug for Selector<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Selector")
    }
}

impl<R: PartialEq + Send + Sync + 'static> Selector<R> {
    /// The value for the store's present view. Computed if something that it read was touched;
    /// otherwise O(1). An equal new value keeps the same `Arc`.
    ///
    /// Inside another selector's closure, this is the value for the view that the closure reads.
    ///
    /// # Panics
    /// If the closure panics, or reads its own selector, directly or through others.
    #[must_use]
    pub fn get(&self) -> Arc<R> {
        self.memo.read()
    }

    /// Calls `f` when a commit or an import has changed the value, until the subscription is
    /// dropped. This computes the value at once, and again after each notice that touched something
    /// that it read. A selector without a watch is computed only when it is read.
    ///
    /// `f` is called outside every lock, as [watchers](Store::watch) are. Selectors and watchers
    /// are called in the order in which they subscribed. `f` gets the newest value: if commits come
    /// faster than calls, it skips the values in between.
    pub fn watch(&self, f: impl Fn(&Changed<R>) + Send + Sync + 'static) -> Subscription {
        Arc::clone(&self.memo).watch(Box::new(f))
    }
}

/// The value of a selector, and the value that was told before.
#[derive(Clone, Debug)]
pub struct Changed<R> {
    old: Arc<R>,
    new: Arc<R>,
}

impl<R> Changed<R> {
    /// The value that was told before.
    #[must_use]
    pub fn old(&self) -> &Arc<R> {
        &self.old
    }

    /// The new value.
    #[must_use]
    #[expect(clippy::new_ret_no_self, reason = "the counterpart of `old`")]
    pub fn new(&self) -> &Arc<R> {
        &self.new
    }
}
