//! Selectors: values derived from the state, made again only when what they read has changed.
//!
//! [`graph`] knows what each selector read and which are fresh; [`memo`] computes, outside every
//! lock; [`evaluation`] notices when one selector's closure reads another.

mod by;
mod evaluation;
mod graph;
mod memo;

use std::fmt;
use std::sync::Arc;

use crate::document::backend::Backend;
use crate::state::{Look, State};

use super::{Store, Subscription};
use memo::{Ask, Home};

pub use by::SelectorBy;
pub(crate) use graph::Graph;

impl<S: State, B: Backend> Store<S, B> {
    /// A value derived from the state, which is remembered: it is computed when it is asked for,
    /// and again only once a commit or an import touched something that it read.
    ///
    /// The closure gets the state's accessor; what it reads there with `value()` counts, each time
    /// anew. It should read as narrowly as it can: a collection read as a whole is touched by
    /// every edit in it. It may read other selectors of the same store ([`Selector::get`]):
    /// then their values count. It should do nothing else; what it takes from elsewhere, or reads
    /// on threads of its own, is not watched. It may run on any thread, and more than once at a
    /// time. Where it panics, whoever asks does, and it is run again for the next who asks.
    ///
    /// Selectors that read others are computed one inside the other: a chain of a thousand may be
    /// more than a thread's stack takes.
    ///
    /// ```
    /// use exostate::{Map, State, Store};
    ///
    /// #[derive(State, Clone, Debug)]
    /// struct Cart { prices: Map<String, u64>, discount: u64 }
    ///
    /// let store = Store::<Cart>::new();
    /// let sum = store.select(|cart| cart.prices().value().map_or(0, |prices| prices.values().sum::<u64>()));
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

    fn home(&self) -> Home<S> {
        Home::new(&self.shared.view, &self.shared.subscribers)
    }
}

/// A derived value: see [`Store::select`].
///
/// A handle: clones share one value. It lives as long as somebody holds a clone, watches it, or
/// holds a selector that read it.
#[must_use]
pub struct Selector<R> {
    memo: Arc<dyn Ask<R>>,
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
    /// The value that belongs to the store's view now. Computes where something that it read was
    /// touched; else O(1). Equal values stay the same `Arc`.
    ///
    /// Inside another selector's closure, that of the view which the closure reads.
    ///
    /// # Panics
    /// Where the closure panics, or comes to read its own selector.
    #[must_use]
    pub fn get(&self) -> Arc<R> {
        self.memo.read()
    }

    /// Calls `f` when a commit or an import has changed the value, until the subscription is
    /// dropped. It computes the value now, and then with every notice that touched what it
    /// read; who is not watched computes when asked.
    ///
    /// As [watchers](Store::watch) are, `f` is called outside every lock, and the two kinds take
    /// turns in the order in which they subscribed. It hears of the newest value: where commits
    /// came faster than calls, those in between are left out.
    pub fn watch(&self, f: impl Fn(&Changed<R>) + Send + Sync + 'static) -> Subscription {
        Arc::clone(&self.memo).watch(Box::new(f))
    }
}

/// The value of a selector, and the one that was told before.
#[derive(Clone, Debug)]
pub struct Changed<R> {
    old: Arc<R>,
    new: Arc<R>,
}

impl<R> Changed<R> {
    /// The value before.
    #[must_use]
    pub fn old(&self) -> &Arc<R> {
        &self.old
    }

    /// The value now.
    #[must_use]
    #[expect(clippy::new_ret_no_self, reason = "the counterpart of `old`")]
    pub fn new(&self) -> &Arc<R> {
        &self.new
    }
}
