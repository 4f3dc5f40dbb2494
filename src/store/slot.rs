//! The slot between a subscription and the future that takes from it: one value and one waker.

use std::mem::take;
use std::sync::Arc;
use std::task::{Context, Waker};

use parking_lot::Mutex;

struct Slot<T> {
    value: T,
    /// How many times [`Sender::send`] was called.
    sent: u64,
    waker: Option<Waker>,
    ended: bool,
}

/// The end that the subscription holds. When it is dropped, for example because the store is gone,
/// the receiver is told.
pub(super) struct Sender<T>(Arc<Mutex<Slot<T>>>);

/// The end that the future holds.
pub(super) struct Receiver<T>(Arc<Mutex<Slot<T>>>);

pub(super) fn slot<T: Default>() -> (Sender<T>, Receiver<T>) {
    let slot =
        Arc::new(Mutex::new(Slot { value: T::default(), sent: 0, waker: None, ended: false }));
    (Sender(Arc::clone(&slot)), Receiver(slot))
}

impl<T> Sender<T> {
    /// Changes the value in the slot. The result of `change` is dropped outside the lock.
    pub(super) fn send<R>(&self, change: impl FnOnce(&mut T) -> R) {
        let mut slot = self.0.lock();
        slot.sent += 1;
        let replaced = change(&mut slot.value);
        let waker = slot.waker.take();
        drop(slot);
        drop(replaced);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut slot = self.0.lock();
        slot.ended = true;
        let waker = slot.waker.take();
        drop(slot);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl<T: Default> Receiver<T> {
    /// Takes the value out of the slot.
    pub(super) fn take(&self) -> T {
        take(&mut self.0.lock().value)
    }

    /// Takes the value, and says whether the sender is gone. If the sender still exists, the task
    /// is woken when the sender sends or goes.
    pub(super) fn poll(&self, cx: &Context<'_>) -> (T, bool) {
        let mut slot = self.0.lock();
        let replaced = slot.waker.replace(cx.waker().clone());
        let found = (take(&mut slot.value), slot.ended);
        drop(slot);
        drop(replaced);
        found
    }

    /// How many times something was sent, and whether the sender is gone. The value stays in the
    /// slot. If the sender still exists, the task is woken when the sender sends or goes.
    pub(super) fn watch(&self, cx: &Context<'_>) -> (u64, bool) {
        let mut slot = self.0.lock();
        let replaced = slot.waker.replace(cx.waker().clone());
        let found = (slot.sent, slot.ended);
        drop(slot);
        drop(replaced);
        found
    }
}
