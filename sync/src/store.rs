//! The engine's store as a replica.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use exostate::{Applied, ApplyError, Backend, BackendError, Competed, ImportError, State, Store, Version};

use crate::replica::{IntoReplica, Origin, Refusal, Repair, Replica, UpdateGuard, UpdateListener};

impl<S: State, B: Backend> Replica for Store<S, B> {
    fn backend(&self) -> &'static str {
        B::NAME
    }

    fn replica(&self) -> u64 {
        Store::replica(self).get()
    }

    fn version(&self) -> Vec<u8> {
        Store::version(self).to_bytes()
    }

    fn updates_since(&self, version: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
        let version = match version.is_empty() {
            true => Store::<S, B>::new().version(),
            false => Version::from_bytes(version).map_err(Refusal::new)?,
        };
        Store::updates_since(self, &version).map_err(Refusal::new)
    }

    fn apply(&self, update: &[u8]) -> Result<(), Refusal> {
        without_watchers(|| Store::apply(self, update).map(drop))
    }

    fn apply_all(&self, updates: &[&[u8]]) -> Result<(), Refusal> {
        without_watchers(|| Store::apply_all(self, updates).map(drop))
    }

    fn import(&self, updates: &[&[u8]], part: bool) -> Result<bool, Refusal> {
        // Where a watcher panics it is not known any more.
        let mut applied = Applied::Waiting;
        without_watchers(|| {
            let imported = if part { Store::apply_part(self, updates) } else { Store::apply_all(self, updates) };
            imported.map(|what| applied = what)
        })?;
        Ok(matches!(applied, Applied::Waiting | Applied::Partly) && self.pending().0 > 0)
    }

    fn show_parts(&self) {
        // A watcher that panics is nobody's fault here either.
        let _ = without_watchers(|| {
            Store::show_parts(self);
            Ok(())
        });
    }

    fn repair(&self) -> Option<Box<dyn Repair>> {
        Some(Box::new(Store::repair(self)))
    }

    fn verify(&self) -> Result<Vec<Competed>, Refusal> {
        let mut competed = Vec::new();
        without_watchers(|| Store::verify(self).map(|found| competed = found))?;
        Ok(competed)
    }

    fn lineage(&self) -> u64 {
        Store::lineage(self)
    }

    fn follow(&self, lineage: u64) {
        Store::follow(self, lineage);
    }

    fn forget_pending(&self) {
        Store::forget_pending(self);
    }

    fn digest(&self) -> [u8; 16] {
        Store::digest(self).to_bytes()
    }

    fn type_mismatch(&self) -> Option<exostate::TypeMismatch> {
        Store::type_mismatch(self)
    }

    fn on_update(&self, listener: UpdateListener) -> UpdateGuard {
        Box::new(Store::on_update(self, move |update| {
            let origin = if update.origin == exostate::Origin::Remote { Origin::Remote } else { Origin::Local };
            listener(update.bytes, origin);
        }))
    }

    fn is_busy(&self) -> bool {
        Store::is_busy(self)
    }

    fn has_pending(&self) -> bool {
        self.pending().0 > 0
    }
}

impl<S: State, B: Backend> Repair for exostate::Repair<S, B> {
    fn apply(&mut self, update: &[u8]) -> Result<(), Refusal> {
        exostate::Repair::apply(self, update).map(drop).map_err(refusal)
    }

    fn finish(self: Box<Self>) -> Result<Vec<Competed>, Refusal> {
        let mut competed = Vec::new();
        without_watchers(|| exostate::Repair::finish(*self).map(|found| competed = found))?;
        Ok(competed)
    }
}

/// A watcher that panics is called here, when an update is applied: that is not the peer's fault.
fn without_watchers(work: impl FnOnce() -> Result<(), ApplyError>) -> Result<(), Refusal> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Ok(())).map_err(refusal)
}

fn refusal(error: ApplyError) -> Refusal {
    match error {
        ApplyError::Import(ImportError::Backend(BackendError::Contradicted(_))) => Refusal::contradiction(error),
        ApplyError::Import(ImportError::TooManyPending { .. }) => Refusal::for_now(error),
        error => Refusal::new(error),
    }
}

impl<S: State, B: Backend> IntoReplica for &Store<S, B> {
    fn into_replica(self) -> Arc<dyn Replica> {
        Arc::new(self.clone())
    }
}

impl<S: State, B: Backend> IntoReplica for Store<S, B> {
    fn into_replica(self) -> Arc<dyn Replica> {
        Arc::new(self)
    }
}
