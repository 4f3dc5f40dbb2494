//! A list of handles, such as recorders, that are called as long as their owners hold them.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// The list that the handles share with the document or store. The handles are called under the
/// writer lock.
pub(crate) struct Live<T: ?Sized>(Mutex<Vec<Weak<Mutex<T>>>>);

impl<T: ?Sized> Default for Live<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: ?Sized> Live<T> {
    /// The handles that their owners still hold.
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

    /// Whether the list is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}
