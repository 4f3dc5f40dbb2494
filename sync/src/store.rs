//! The engine's store as a replica.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use exostate::{
    Applied, ApplyError, Backend, BackendError, Conflict, ImportError, State, Store, Version,
};

use crate::replica::{
    IntoReplica, Origin, Refusal, Repair, Replica, UpdateListener, UpdateSubscription,
};

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
        Replica::apply_all(self, &[update])
    }

    fn apply_all(&self, updates: &[&[u8]]) -> Result<(), Refusal> {
        match guarded(self, updates, || Store::apply_all(self, updates)) {
            Err(refusal) if refusal.is_applied() => Ok(()),
            applied => applied.map(drop),
        }
    }

    fn import(&self, updates: &[&[u8]], part: bool) -> Result<bool, Refusal> {
        let import = || {
            if part { Store::apply_part(self, updates) } else { Store::apply_all(self, updates) }
        };
        let applied = guarded(self, updates, import)?;
        Ok(matches!(applied, Applied::Waiting | Applied::Partly) && Replica::has_pending(self))
    }

    fn contains(&self, update: &[u8]) -> Result<bool, Refusal> {
        Store::contains(self, update).map_err(Refusal::new)
    }

    fn has_seen(&self, version: &[u8]) -> bool {
        Version::from_bytes(version).is_ok_and(|version| Store::has_seen(self, &version))
    }

    fn cut(&self, update: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
        Store::cut_update(self, update).map_err(Refusal::new)
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

    fn verify(&self) -> Result<Vec<Conflict>, Refusal> {
        let mut conflicts = Vec::new();
        without_watchers(|| Store::verify(self).map(|found| conflicts = found))?;
        Ok(conflicts)
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

    fn has_own_pending(&self) -> bool {
        self.own_pending().0 > 0
    }

    fn put_back_pending(&self) {
        // A watcher that panics is nobody's fault here either.
        let _ = without_watchers(|| {
            Store::put_back_pending(self);
            Ok(())
        });
    }

    fn digest(&self) -> [u8; 16] {
        Store::digest(self).to_bytes()
    }

    fn type_mismatch(&self) -> Option<exostate::TypeMismatch> {
        Store::type_mismatch(self)
    }

    fn on_update(&self, listener: UpdateListener) -> UpdateSubscription {
        Box::new(Store::on_update(self, move |update| {
            let origin = if update.origin == exostate::Origin::Remote {
                Origin::Remote
            } else {
                Origin::Local
            };
            listener(update.bytes, origin);
        }))
    }

    fn is_busy(&self) -> bool {
        Store::is_busy(self)
    }

    fn has_pending(&self) -> bool {
        self.pending().0 > self.own_pending().0
    }
}

impl<S: State, B: Backend> Repair for exostate::Repair<S, B> {
    fn apply(&mut self, update: &[u8]) -> Result<(), Refusal> {
        exostate::Repair::apply(self, update).map(drop).map_err(refusal)
    }

    fn finish(self: Box<Self>) -> Result<Vec<Conflict>, Refusal> {
        let mut conflicts = Vec::new();
        without_watchers(|| exostate::Repair::finish(*self).map(|found| conflicts = found))?;
        Ok(conflicts)
    }
}

/// Imports updates. Whoever listens or watches is called in it, and what panics there has undone
/// nothing; but what panics before, a layer say, has kept the updates out.
fn guarded<S: State, B: Backend>(
    store: &Store<S, B>,
    updates: &[&[u8]],
    import: impl FnOnce() -> Result<Applied, ApplyError>,
) -> Result<Applied, Refusal> {
    match catch_unwind(AssertUnwindSafe(import)) {
        Ok(imported) => imported.map_err(refusal),
        Err(_) if updates.iter().all(|update| Store::contains(store, update) == Ok(true)) => {
            Err(Refusal::after_applying("a listener of the document panicked"))
        }
        Err(_) => Err(Refusal::for_now("something that looks at what is imported panicked")),
    }
}

/// The same of what is the replica's own doing: a watcher that panics is called here, and that is
/// nobody's fault.
fn without_watchers(work: impl FnOnce() -> Result<(), ApplyError>) -> Result<(), Refusal> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Ok(())).map_err(refusal)
}

fn refusal(error: ApplyError) -> Refusal {
    match error {
        ApplyError::Import(ImportError::Backend(BackendError::Contradicted(_))) => {
            Refusal::contradiction(error)
        }
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
