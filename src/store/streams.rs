//! Streams of the newest value, for async code.
//!
//! A receiver has one subscription and one slot. The slot holds one value and one waker. So a
//! receiver needs neither the channel of an async runtime nor a list of listeners, and a slow
//! receiver costs one value.

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
    /// A stream of the newest value at a place, after every commit that touches the place: as
    /// [`Store::watch`], for async code. `None` means that the place holds no value any more.
    ///
    /// ```
    /// use exostate::{State, Store};
    ///
    /// #[derive(State, Clone, Debug)]
    /// struct Note { title: String }
    ///
    /// async fn show(store: Store<Note>) {
    ///     let mut titles = store.stream(Note::path().title());
    ///     drop(store);
    ///     while let Some(title) = titles.next().await {
    ///         println!("{title:?}");
    ///     }
    /// }
    /// ```
    pub fn stream<P: AsPath<S>>(&self, path: P) -> ChangeStream<Option<P::Target>> {
        let (sender, receiver) = slot();
        ChangeStream {
            receiver,
            _subscription: self.watch(path, move |patch| put(&sender, patch.new().cloned())),
        }
    }
}

/// Puts a value into the slot and replaces a value that was not taken. The value is made before the
/// call, outside the slot's lock.
fn put<T>(sender: &Sender<Option<T>>, value: T) {
    sender.send(|slot| slot.replace(value));
}

impl<R: PartialEq + Send + Sync + 'static> Selector<R> {
    /// A stream of the newest value, after each change of the value: as [`Selector::watch`], for
    /// async code.
    #[doc(alias = "changes")]
    pub fn stream(&self) -> ChangeStream<Arc<R>> {
        let (sender, receiver) = slot();
        ChangeStream {
            receiver,
            _subscription: self.watch(move |changed| put(&sender, Arc::clone(changed.new()))),
        }
    }
}

/// A stream of the newest value. If several values come before the receiver takes one, it gets only
/// the newest. The stream begins with the first change and ends when the store is gone. It needs no
/// particular async runtime. See [`Selector::stream`] and [`Store::stream`].
#[must_use = "nothing is heard once this is dropped"]
pub struct ChangeStream<T> {
    receiver: Receiver<Option<T>>,
    _subscription: Subscription,
}

impl<T> ChangeStream<T> {
    /// Waits for the next value; `None` when the store is gone. The future may be dropped while it
    /// waits; no value is lost.
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// The newest value, if the value has changed since the last one was taken. Does not wait.
    pub fn try_next(&mut self) -> Option<T> {
        self.receiver.take()
    }

    /// The receiver of the slot, and the subscription that fills the slot.
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

impl<T> Stream for ChangeStream<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll(cx)
    }
}

impl<T> fmt::Debug for ChangeStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChangeStream")
    }
}
