//! The newest value, for async code.
//!
//! A receiver has a subscription and a slot of its own: one value and one waker, so that neither a
//! channel of some runtime nor a list of listeners is needed, and one who does not keep up costs
//! one value.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::document::backend::Backend;
use crate::state::{AsPath, State};

use super::Store;
use super::Subscription;
use super::select::Selector;
use super::slot::{Receiver, Sender, slot};

impl<S: State, B: Backend> Store<S, B> {
    /// The newest value at a place, after every commit and import that touches it: as
    /// [`Store::watch`], for async code. `None` is where there is nothing any more.
    ///
    /// ```
    /// use exostate::{State, Store};
    ///
    /// #[derive(State, Clone, Debug)]
    /// struct Note { title: String }
    ///
    /// async fn show(store: Store<Note>) {
    ///     let mut titles = store.changes(Note::path().title());
    ///     drop(store);
    ///     while let Some(title) = titles.next().await {
    ///         println!("{title:?}");
    ///     }
    /// }
    /// ```
    pub fn changes<P: AsPath<S>>(&self, path: P) -> Changes<Option<P::Target>> {
        let (sender, receiver) = slot();
        Changes {
            receiver,
            _subscription: self.watch(path, move |patch| put(&sender, patch.new().cloned())),
        }
    }
}

/// Puts a value in the place of one that was not taken. It is made before, outside the slot's lock.
fn put<T>(sender: &Sender<Option<T>>, value: T) {
    sender.send(|slot| slot.replace(value));
}

impl<R: PartialEq + Send + Sync + 'static> Selector<R> {
    /// The newest value, whenever it has changed: as [`Selector::watch`], for async code.
    #[doc(alias = "stream")]
    pub fn changes(&self) -> Changes<Arc<R>> {
        let (sender, receiver) = slot();
        Changes {
            receiver,
            _subscription: self.watch(move |changed| put(&sender, Arc::clone(changed.new()))),
        }
    }
}

/// A stream of what a value has become: always the newest, those that came before it and were not
/// taken are left out. It begins with the first change, ends when the store is gone, and needs no
/// runtime in particular. See [`Selector::changes`] and [`Store::changes`].
#[must_use = "nothing is heard once this is dropped"]
pub struct Changes<T> {
    receiver: Receiver<Option<T>>,
    _subscription: Subscription,
}

impl<T> Changes<T> {
    /// Waits for the next value; `None` when the store is gone. May be dropped while it waits, and
    /// nothing is lost.
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// The value that is there already, if it has changed since the last.
    pub fn try_next(&mut self) -> Option<T> {
        self.receiver.take()
    }

    /// What it takes from, and what it lives by.
    pub(super) fn into_parts(self) -> (Receiver<Option<T>>, Subscription) {
        (self.receiver, self._subscription)
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Option<T>> {
        match self.receiver.poll(cx) {
            (None, false) => Poll::Pending,
            (value, _) => Poll::Ready(value),
        }
    }
}

impl<T> Stream for Changes<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll(cx)
    }
}

impl<T> fmt::Debug for Changes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Changes")
    }
}
