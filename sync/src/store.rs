//! The engine's store as a replica.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use exostate::{Backend, State, Store, Version};

use crate::replica::{IntoReplica, Origin, Refusal, Replica, UpdateGuard, UpdateListener};

impl<S: State, B: Backend> Replica for Store<S, B> {
    fn backend(&self) -> &'static str {
        B::NAME
    }

    fn version(&self) -> Vec<u8> {
        Store::version(self).to_bytes()
    }

    fn updates_since(&self, version: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
        let version = Version::from_bytes(version).map_err(Refusal::new)?;
        Store::updates_since(self, &version).map_err(Refusal::new)
    }

    fn apply(&self, update: &[u8]) -> Result<(), Refusal> {
        // A watcher that panics is called here, when the update is applied: that is not the peer's fault.
        let applied = catch_unwind(AssertUnwindSafe(|| Store::apply(self, update)));
        applied.map_or(Ok(()), |applied| applied.map(drop).map_err(Refusal::new))
    }

    fn digest(&self) -> [u8; 16] {
        Store::digest(self).to_bytes()
    }

    fn on_update(&self, listener: UpdateListener) -> UpdateGuard {
        Box::new(Store::on_update(self, move |update| {
            let origin = if update.origin == exostate::Origin::Local { Origin::Local } else { Origin::Remote };
            listener(update.bytes, origin);
        }))
    }

    fn has_pending(&self) -> bool {
        self.pending().0 > 0
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
