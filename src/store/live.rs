//! Handles that a store tells what happens, for as long as somebody holds them.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// What those handles share with the store. They are told in the writer's place.
pub(super) struct Live<T>(Mutex<Vec<Weak<Mutex<T>>>>);

impl<T> Default for Live<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Live<T> {
    /// Those that are still held.
    pub(super) fn all(&self) -> Vec<Arc<Mutex<T>>> {
        let mut handles = self.0.lock();
        let live: Vec<_> = handles.iter().filter_map(Weak::upgrade).collect();
        if live.len() < handles.len() {
            handles.retain(|handle| handle.strong_count() > 0);
        }
        live
    }

    pub(super) fn add(&self, handle: &Arc<Mutex<T>>) {
        self.0.lock().push(Arc::downgrade(handle));
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}
