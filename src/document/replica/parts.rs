//! Parts of a document that comes to a replica that has none yet. To bring index and digest up to
//! date with each of them costs as much as the import itself; to read all registers once, when all
//! parts are there, a fraction of that.

use super::{ImportError, Imported, Replica, Trust};
use crate::document::backend::Backend;
use crate::document::key::Key;
use crate::document::value::Value;

impl<B: Backend> Replica<B> {
    /// Whether [`Replica::import_part`] may be called.
    pub fn takes_parts(&self) -> bool {
        self.unread || self.keys.is_empty() && self.texts.is_empty() && self.lists.is_empty()
    }

    /// Applies updates as [`Replica::import_all`] does, but touches no registers: until
    /// [`Replica::read_parts`] has been called the index, what is scanned and the digest are
    /// those from before. For an empty document.
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

    /// Brings index and digest up to date, if parts were imported. `read` is given all registers,
    /// in order. O(n log n).
    pub fn read_parts<V>(&mut self, read: impl FnOnce(&Self, &[(Key, Value)]) -> V) -> Option<V> {
        if !self.unread {
            return None;
        }
        let entries = self.read_registers();
        let read = read(self, &entries);
        self.index(entries);
        if self.journal.parts_bytes == 0 {
            self.journal.parts_bytes = self.journal.updates_bytes;
        }
        self.unread = false;
        Some(read)
    }
}
