//! The keeper of an open document: it puts what a turn writes into the queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use exostate::{KeepError, Keeper, Record};

use crate::document::KeptDocument;
use crate::entry::Entry;
use crate::error::RefusedError;
use crate::options::{Durability, WhenFull};
use crate::storage::Inner;

/// Keeps one document. The document owns it, and with it the storage.
pub(crate) struct DocumentKeeper {
    pub(crate) storage: Arc<Inner>,
    pub(crate) kept: Arc<KeptDocument>,
}

impl DocumentKeeper {
    fn document(&self) -> String {
        self.kept.name.to_string()
    }

    fn check(&self) -> Result<(), RefusedError> {
        let shared = &self.storage.shared;
        let permission = self.kept.permission();
        let goes_on = shared.options.when_full == WhenFull::GoOn;
        if permission.closed {
            return Err(RefusedError::Closed { document: self.document() });
        }
        if let Some(reason) = permission.read_only {
            let reason = reason.to_string();
            return Err(RefusedError::ReadOnly { document: self.document(), reason });
        }
        if permission.in_memory {
            shared.queue.reserve_anyway();
            return Ok(());
        }
        if !permission.ready && !goes_on {
            let error = permission.failure;
            return Err(RefusedError::NotReady { document: self.document(), error });
        }
        match shared.queue.reserve(permission.failure.is_some()) {
            Ok(()) => Ok(()),
            Err(_) if goes_on => {
                if self.kept.go_on_in_memory() {
                    shared.note_in_memory(&self.kept);
                }
                shared.queue.reserve_anyway();
                Ok(())
            }
            Err((records, bytes)) => {
                let error = permission.failure;
                Err(RefusedError::Full { document: self.document(), records, bytes, error })
            }
        }
    }
}

impl Keeper for DocumentKeeper {
    fn reserve(&self) -> Result<(), KeepError> {
        self.check().map_err(KeepError::new)
    }

    fn release(&self) {
        self.storage.shared.queue.release();
    }

    fn record(&self, record: Record<'_>) -> u64 {
        let is_content = matches!(record, Record::Updates(_) | Record::Pending(_));
        if is_content && self.kept.is_in_memory() {
            return self.kept.next_record();
        }
        self.kept.changes.fetch_add(1, Ordering::Relaxed);
        let urgent = self.announces_kept();
        self.storage.shared.queue.push(&self.kept, entries(record), urgent)
    }

    fn recorded(&self) -> u64 {
        self.kept.recorded()
    }

    fn kept(&self) -> u64 {
        self.kept.kept()
    }

    fn announces_kept(&self) -> bool {
        self.storage.shared.options.durability == Durability::EveryCommit
    }

    fn may_announce(&self, number: u64) -> bool {
        self.kept.kept() >= number || self.kept.announces_unkept()
    }

    fn wait(&self, number: u64) {
        self.kept.wait_long(number, self.storage.shared.options.wait_max);
    }

    fn on_kept(&self, f: Box<dyn Fn() -> bool + Send + Sync>) {
        self.kept.on_kept(f);
    }
}

impl Drop for DocumentKeeper {
    fn drop(&mut self) {
        self.kept.note_dropped();
        self.storage.shared.forget_if_done(&self.kept);
        self.storage.shared.queue.hurry();
    }
}

/// The entries of a record.
fn entries(record: Record<'_>) -> Vec<Entry> {
    match record {
        Record::Updates(updates) => {
            updates.iter().map(|update| Entry::Update(Arc::clone(update))).collect()
        }
        Record::Pending(updates) => {
            updates.iter().map(|update| Entry::Pending(Arc::from(*update))).collect()
        }
        Record::Whole { document, pending } => std::iter::once(Entry::Whole(document.into()))
            .chain(pending.into_iter().map(|update| Entry::Pending(update.into())))
            .collect(),
        Record::Replica(id) => vec![Entry::Replica(id)],
        Record::Lineage(lineage) => vec![Entry::Lineage(lineage)],
        // The enum is open for later kinds; this version of the engine has no other.
        _ => Vec::new(),
    }
}
