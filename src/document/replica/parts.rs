//! Parts of a document that comes to an empty replica. Updating the index and the digest for each
//! part costs as much as the import itself. Reading all registers once, after all parts have come,
//! costs only a fraction of that.

use super::{ImportError, Imported, Replica, Trust};
use crate::document::backend::Backend;
use crate::document::key::Key;
use crate::document::value::Value;

impl<B: Backend> Replica<B> {
    /// Whether [`Replica::import_part`] may be called.
    pub fn takes_parts(&self) -> bool {
        self.unread || self.index.is_empty() && self.texts.is_empty() && self.lists.is_empty()
    }

    /// Applies updates as [`Replica::import_all`] does, but reports no touched registers. Until
    /// [`Replica::read_parts`] is called, the index, the results of scans and the digest are those
    /// from before. Only for an empty document.
    pub fn import_part(
        &mut self,
        updates: &[impl AsRef<[u8]>],
        trust: Trust,
    ) -> Result<Imported, ImportError> {
        debug_assert!(self.takes_parts());
        self.unread = true;
        self.import_all(updates, trust)
    }

    /// Whether parts were imported and not read yet.
    pub fn has_parts(&self) -> bool {
        self.unread
    }

    /// Brings the index and the digest up to date if parts were imported. Passes all registers, in
    /// order, to `read`. Returns `None` if no parts were imported. O(n log n).
    pub fn read_parts<V>(&mut self, read: impl FnOnce(&Self, &[(Key, Value)]) -> V) -> Option<V> {
        if !self.unread {
            return None;
        }
        let stored = self.read_registers();
        let read = self.index(stored, read);
        if self.journal.parts_bytes == 0 {
            self.journal.parts_bytes = self.journal.updates_bytes;
        }
        self.unread = false;
        Some(read)
    }
}
