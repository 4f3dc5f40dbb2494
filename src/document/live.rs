//! Handles that a store tells what happens, for as long as somebody holds them.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// What those handles share with the store. They are told in the writer's place.
pub(crate) struct Live<T: ?Sized>(Mutex<Vec<Weak<Mutex<T>>>>);

impl<T: ?Sized> Default for Live<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: ?Sized> Live<T> {
    /// Those that are still held.
    pub(crate) fn all(&self) -> Vec<Arc<Mutex<T>>> {
        let mut handles = self.0.lock();
        let live: Vec<_> = handles.iter().filter_map(Weak::upgrade).collect();
        if live.len() < handles.len() {
            handles.retain(|handle| handle.strong_count() > 0);
        }
        live
    }

    pub(crate) fn add(&self, handle: Weak<Mutex<T>>) {
        self.0.lock().push(handle);
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}
