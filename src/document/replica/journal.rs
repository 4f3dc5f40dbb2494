//! The journal of a replica: the bytes from which its document is rebuilt after the backend has
//! panicked or has refused a commit.

use std::sync::Arc;

use super::{Replica, guarded};
use crate::document::backend::{Backend, BackendError};
use crate::document::limits::Limits;

/// Bytes of updates that are always kept beside a snapshot before a new snapshot is taken. A larger
/// snapshot allows as many bytes as it has itself.
const JOURNAL_BYTES_MIN: usize = 1024 * 1024;
/// The same limit while a document comes in parts.
const JOURNAL_PARTS_BYTES: usize = 64 * 1024 * 1024;

/// The bytes from which a document is rebuilt after a backend panicked: a snapshot, and the updates
/// after it.
pub(super) struct Journal {
    pub(super) snapshot: Arc<[u8]>,
    pub(super) updates: Vec<Arc<[u8]>>,
    pub(super) updates_bytes: usize,
    /// Total bytes of the first of these updates, which came as parts of a document. They count
    /// like a snapshot.
    pub(super) parts_bytes: usize,
}

impl Journal {
    /// A journal that begins with this saved document. Empty bytes are an empty document.
    pub(super) fn after(snapshot: Arc<[u8]>) -> Self {
        Self { snapshot, updates: Vec::new(), updates_bytes: 0, parts_bytes: 0 }
    }
}

impl<B: Backend> Replica<B> {
    /// Notes an update that is in the document now.
    pub(super) fn remember(&mut self, update: &Arc<[u8]>) {
        self.journal.updates_bytes += update.len();
        self.journal.updates.push(update.clone());
        let since = self.journal.updates_bytes - self.journal.parts_bytes;
        let base = self.journal.snapshot.len() + self.journal.parts_bytes;
        // While parts come one after the other, a later snapshot is enough.
        let least = if self.unread { JOURNAL_PARTS_BYTES } else { JOURNAL_BYTES_MIN };
        if since > base.max(least) {
            // If the backend cannot save, the updates are kept. The next update tries to save
            // again.
            if let Ok(snapshot) = guarded(|| Ok(self.backend.save())) {
                self.journal = Journal::after(Arc::from(snapshot));
            }
        }
    }

    /// Drops the backend's document and makes it again from the journal. Returns the error of the
    /// rebuilding, if it failed, and otherwise `because`.
    pub(super) fn rebuild(&mut self, because: BackendError) -> BackendError {
        let before = (!self.unread).then(|| self.digest());
        let result = guarded(|| self.replay());
        self.differs |= before != Some(self.digest());
        self.broken = result.is_err();
        result.err().unwrap_or(because)
    }

    /// Returns an error if the document could not be rebuilt, so that nothing works on it.
    pub(super) fn check_whole(&self) -> Result<(), BackendError> {
        if self.broken {
            return Err(BackendError::Broken);
        }
        Ok(())
    }

    /// Whether a rebuilt document differs from what it was before, so that all of it must be read
    /// again. Returns true only once per rebuilding. Honest updates give the same document whenever
    /// they are replayed, unless there is a bug. Updates that contradict each other may give
    /// another document.
    pub fn take_differs(&mut self) -> bool {
        std::mem::take(&mut self.differs)
    }

    fn replay(&mut self) -> Result<(), BackendError> {
        // The bytes were valid before.
        let own = &Limits::own();
        let mut backend = match self.journal.snapshot.is_empty() {
            true => B::empty(self.id),
            false => guarded(|| B::load(self.id, &self.journal.snapshot, own))?,
        };
        let mut checked = Vec::new();
        for update in &self.journal.updates {
            checked.append(&mut backend.unpack(update, own)?);
        }
        guarded(|| backend.import(&checked, false))?;
        if !self.backend.has_sequence_indexes() {
            backend.set_sequence_indexes(false);
        }
        self.backend = backend;
        let stored = self.read_all();
        self.index(stored, |_, _| ());
        self.unread = false;
        Ok(())
    }

    /// The whole document as bytes. The journal starts again with the same bytes as its snapshot.
    pub fn checkpoint(&mut self) -> Result<Arc<[u8]>, BackendError> {
        self.check_whole()?;
        let snapshot: Arc<[u8]> = guarded(|| Ok(self.backend.save()))?.into();
        self.journal = Journal::after(Arc::clone(&snapshot));
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::ReplicaId;
    use crate::document::backend::{Automerge, Yrs};
    use crate::document::key::Key;
    use crate::document::ops::{Ops, RegisterWrite};
    use crate::document::options::Options;
    use crate::document::replica::Trust;
    use crate::document::value::Value;

    fn write(title: &str) -> Ops {
        let mut ops = Ops::default();
        let new = Some(Value::str(title));
        ops.registers.insert(Key::from("title"), RegisterWrite { old: None, new });
        ops
    }

    fn commit<B: Backend>(replica: &mut Replica<B>, ops: &Ops) -> Result<(), BackendError> {
        replica.commit(ops, Default::default(), Default::default()).map(drop)
    }

    fn a_document_that_cannot_be_rebuilt_reports_an_error<B: Backend>() {
        let mut replica = Replica::<B>::new(ReplicaId::from_bits(1), &Options::new());
        commit(&mut replica, &write("plan")).expect("it can be written");
        replica.journal = Journal::after(Arc::from(*b"no document"));
        let cause = BackendError::Panicked("on purpose".to_owned());
        assert_ne!(replica.rebuild(cause.clone()), cause);
        assert_eq!(commit(&mut replica, &write("trip")), Err(BackendError::Broken));
        assert_eq!(replica.contains(b"any"), Err(BackendError::Broken));
        assert_eq!(replica.checkpoint(), Err(BackendError::Broken));
        let imported = replica.import(b"any", Trust::Untrusted);
        assert!(matches!(imported, Err(error) if error == BackendError::Broken.into()));
    }

    #[test]
    fn a_document_that_cannot_be_rebuilt_reports_an_error_on_yrs() {
        a_document_that_cannot_be_rebuilt_reports_an_error::<Yrs>();
    }

    #[test]
    fn a_document_that_cannot_be_rebuilt_reports_an_error_on_automerge() {
        a_document_that_cannot_be_rebuilt_reports_an_error::<Automerge>();
    }

    fn a_document_larger_than_the_limits_is_rebuilt<B: Backend>() {
        let small = Limits::trusted().with_bytes_max(10).with_ops_max(1);
        let options = Options::new().with_trusted_limits(small);
        let mut replica = Replica::<B>::new(ReplicaId::from_bits(1), &options);
        commit(&mut replica, &write("a long title")).expect("it can be written");
        replica.checkpoint().expect("it can be saved");
        let before = replica.digest();
        let cause = BackendError::Panicked("on purpose".to_owned());
        assert_eq!(replica.rebuild(cause.clone()), cause);
        assert_eq!(replica.digest(), before);
    }

    #[test]
    fn a_document_larger_than_the_limits_is_rebuilt_on_both() {
        a_document_larger_than_the_limits_is_rebuilt::<Yrs>();
        a_document_larger_than_the_limits_is_rebuilt::<Automerge>();
    }
}
