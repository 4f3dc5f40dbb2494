//! A subscription: as long as it exists, a callback is called.

/// A subscription of a callback. It ends when it is dropped: then no new call starts, but a call
/// that runs on another thread may still finish.
#[must_use = "the subscription ends when this is dropped"]
pub struct Subscription {
    end: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Subscription {
    pub(crate) fn new(end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { end: Some(Box::new(end)) }
    }

    /// The subscription of a store that no longer exists.
    pub(crate) fn ended() -> Self {
        Self { end: None }
    }

    /// Makes one subscription of several. `first` runs before the others end.
    pub(crate) fn of_all(parts: Vec<Self>, first: impl FnOnce() + Send + Sync + 'static) -> Self {
        let ends: Vec<_> = parts.into_iter().filter_map(|mut part| part.end.take()).collect();
        let end = move || {
            first();
            ends.into_iter().for_each(|end| end());
        };
        Self { end: Some(Box::new(end)) }
    }

    /// Keeps the subscription for as long as the store lives. The callback must not own a clone of
    /// that store, because that clone would live as long as the callback and keep the store alive.
    /// Callbacks that need the store use [`Store::watch_weak`](crate::Store::watch_weak).
    pub fn forever(mut self) {
        self.end = None;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end();
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subscription")
    }
}
