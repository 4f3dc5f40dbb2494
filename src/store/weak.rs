//! A handle that does not keep its store alive.

use std::fmt;
use std::sync::Weak;

use super::{Shared, Store};
use crate::document::backend::{Backend, Yrs};
use crate::state::State;

/// A handle that does not keep its store alive: for callbacks and tasks of the store itself, and
/// for tables of open stores. Made by [`Store::downgrade`].
///
/// ```
/// use exostate::{State, Store};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Note { title: String, length: u64 }
///
/// let store = Store::<Note>::new();
/// let weak = store.downgrade();
/// store.watch(Note::path().title(), move |title| {
///     let length = title.new().map_or(0, |title| title.len() as u64);
///     if let Some(store) = weak.upgrade() {
///         store.change(|note| note.length().set(length)).expect("a number can be written");
///     }
/// }).forever();
/// store.change(|note| note.title().set("plan"))?;
/// assert_eq!(store.view().length, 4);
///
/// // The callback holds only a weak handle, so the store is dropped.
/// let weak = store.downgrade();
/// drop(store);
/// assert!(weak.upgrade().is_none());
/// # Ok::<(), exostate::Error>(())
/// ```
pub struct WeakStore<S: State, B: Backend = Yrs> {
    shared: Weak<Shared<S, B>>,
}

impl<S: State, B: Backend> Store<S, B> {
    /// A handle that does not keep the store alive.
    #[must_use]
    pub fn downgrade(&self) -> WeakStore<S, B> {
        WeakStore { shared: std::sync::Arc::downgrade(&self.shared) }
    }
}

impl<S: State, B: Backend> WeakStore<S, B> {
    /// The store; `None` once the last handle of the store is gone.
    #[must_use]
    pub fn upgrade(&self) -> Option<Store<S, B>> {
        Some(Store { shared: self.shared.upgrade()? })
    }
}

impl<S: State, B: Backend> Clone for WeakStore<S, B> {
    fn clone(&self) -> Self {
        Self { shared: Weak::clone(&self.shared) }
    }
}

impl<S: State, B: Backend> fmt::Debug for WeakStore<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_open = self.shared.strong_count() > 0;
        f.debug_struct("WeakStore").field("backend", &B::NAME).field("is_open", &is_open).finish()
    }
}
