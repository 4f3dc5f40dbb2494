//! Implements the session's replica interface for the engine's documents.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use exostate::{
    Applied, ApplyError, Backend, BackendError, Conflict, Digest, Document, ImportError, ReplicaId,
    State, Store, Version,
};

use crate::replica::{
    IntoReplica, Origin, Refusal, Repair, Replica, UpdateListener, UpdateSubscription,
};

impl<B: Backend> Replica for Document<B> {
    fn backend(&self) -> &'static str {
        B::NAME
    }

    fn replica(&self) -> ReplicaId {
        Document::replica(self)
    }

    fn version(&self) -> Version {
        Document::version(self)
    }

    fn updates_since(&self, version: &Version) -> Result<Vec<Vec<u8>>, Refusal> {
        Document::updates_since(self, version).map_err(Refusal::new)
    }

    fn import(&self, updates: &[&[u8]], part: bool) -> Result<bool, Refusal> {
        let import = || {
            if part {
                Document::apply_part(self, updates)
            } else {
                Document::apply_all(self, updates)
            }
        };
        let applied = guarded(self, updates, import)?;
        Ok(matches!(applied, Applied::Waiting | Applied::Partly) && Replica::has_pending(self))
    }

    fn contains(&self, update: &[u8]) -> Result<bool, Refusal> {
        Document::contains(self, update).map_err(Refusal::new)
    }

    fn has_seen(&self, version: &Version) -> bool {
        Document::has_seen(self, version)
    }

    fn cut(&self, update: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
        Document::cut_update(self, update).map_err(Refusal::new)
    }

    fn show_parts(&self) {
        // A panic of a watcher does not fail this call.
        let _ = without_watchers(|| {
            Document::show_parts(self);
            Ok(())
        });
    }

    fn repair(&self) -> Option<Box<dyn Repair>> {
        Some(Box::new(Document::repair(self)))
    }

    fn verify(&self) -> Result<Vec<Conflict>, Refusal> {
        let mut conflicts = Vec::new();
        without_watchers(|| Document::verify(self).map(|found| conflicts = found))?;
        Ok(conflicts)
    }

    fn lineage(&self) -> u64 {
        Document::lineage(self)
    }

    fn follow(&self, lineage: u64) {
        Document::follow(self, lineage);
    }

    fn forget_pending(&self) {
        Document::forget_pending(self);
    }

    fn has_own_pending(&self) -> bool {
        self.own_pending().updates > 0
    }

    fn rewrite_pending(&self) {
        // A panic of a watcher does not fail this call.
        let _ = without_watchers(|| {
            Document::rewrite_pending(self);
            Ok(())
        });
    }

    fn digest(&self) -> Digest {
        Document::digest(self)
    }

    fn type_mismatch(&self) -> Option<exostate::TypeMismatch> {
        Document::type_mismatch(self)
    }

    fn on_update(&self, listener: UpdateListener) -> UpdateSubscription {
        Box::new(Document::on_update(self, move |update| {
            let origin = if update.origin == exostate::Origin::Remote {
                Origin::Remote
            } else {
                Origin::Local
            };
            listener(update.bytes, origin);
        }))
    }

    fn recorded(&self) -> u64 {
        self.keeper().map_or(0, |keeper| keeper.recorded())
    }

    fn kept(&self) -> u64 {
        self.keeper().map_or(0, |keeper| keeper.kept())
    }

    fn on_kept(&self, f: Box<dyn Fn() -> bool + Send + Sync>) {
        if let Some(keeper) = self.keeper() {
            keeper.on_kept(f);
        }
    }

    fn is_busy(&self) -> bool {
        Document::is_busy(self)
    }

    fn has_pending(&self) -> bool {
        self.pending().updates > self.own_pending().updates
    }
}

impl<B: Backend> Repair for exostate::Repair<B> {
    fn apply(&mut self, update: &[u8]) -> Result<(), Refusal> {
        exostate::Repair::apply(self, update).map(drop).map_err(refusal)
    }

    fn finish(self: Box<Self>) -> Result<Vec<Conflict>, Refusal> {
        let mut conflicts = Vec::new();
        without_watchers(|| exostate::Repair::finish(*self).map(|found| conflicts = found))?;
        Ok(conflicts)
    }
}

/// Imports updates. Listeners and watchers are called during the import. A panic in one of them
/// comes after the updates are applied, so the updates stay. A panic before that, for example in a
/// middleware layer, keeps the updates out.
fn guarded<B: Backend>(
    document: &Document<B>,
    updates: &[&[u8]],
    import: impl FnOnce() -> Result<Applied, ApplyError>,
) -> Result<Applied, Refusal> {
    match catch_unwind(AssertUnwindSafe(import)) {
        Ok(imported) => imported.map_err(refusal),
        Err(_) if updates.iter().all(|update| Document::contains(document, update) == Ok(true)) => {
            Err(Refusal::after_applying("a listener of the document panicked"))
        }
        Err(_) => Err(Refusal::for_now("something that looks at what is imported panicked")),
    }
}

/// Does work of the replica itself, such as a repair. Watchers are called during the work. A panic
/// of a watcher does not fail the work.
fn without_watchers(work: impl FnOnce() -> Result<(), ApplyError>) -> Result<(), Refusal> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Ok(())).map_err(refusal)
}

fn refusal(error: ApplyError) -> Refusal {
    match error {
        ApplyError::Import(ImportError::Backend(BackendError::Contradicted(_))) => {
            Refusal::contradiction(error)
        }
        ApplyError::Import(ImportError::TooManyPending { .. }) | ApplyError::NotKept(_) => {
            Refusal::for_now(error)
        }
        error => Refusal::new(error),
    }
}

impl<B: Backend> IntoReplica for Document<B> {
    fn into_replica(self) -> Arc<dyn Replica> {
        Arc::new(self)
    }
}

impl<B: Backend> IntoReplica for &Document<B> {
    fn into_replica(self) -> Arc<dyn Replica> {
        Arc::new(self.clone())
    }
}

impl<S: State, B: Backend> IntoReplica for Store<S, B> {
    fn into_replica(self) -> Arc<dyn Replica> {
        Arc::new(self.document())
    }
}

impl<S: State, B: Backend> IntoReplica for &Store<S, B> {
    fn into_replica(self) -> Arc<dyn Replica> {
        Arc::new(self.document())
    }
}
