//! Pending updates: each waits for a missing dependency.
//!
//! An untrusted update may be pending for ever, because its dependency may be lost. It may be
//! forgotten: a peer that has the update and its dependency sends both again.
//!
//! An update from this replica's own storage was applied here once. A peer may have lost it since
//! and rely on this replica to still have it. So it is never forgotten. If a replica id was used
//! twice, all replicas may have given up the dependency. Then the registers that the pending update
//! wrote are written again ([`Replica::unwritten`](super::Replica::unwritten)).

use super::Trust;
use crate::document::backend::Backend;
use crate::document::limits::Limits;

/// A pending update, or one that is about to be applied.
pub(super) struct PendingUpdate<P> {
    pub(super) update: P,
    pub(super) trust: Trust,
    /// Whether the registers of the update were written again, or need not be written.
    pub(super) written: bool,
}

impl<P> AsRef<P> for PendingUpdate<P> {
    fn as_ref(&self) -> &P {
        &self.update
    }
}

/// All pending updates.
pub(super) struct Pending<B: Backend>(pub(super) Vec<PendingUpdate<B::CheckedUpdate>>);

impl<B: Backend> Default for Pending<B> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<B: Backend> Pending<B> {
    /// The trust of a pending update with the same bytes, if there is one. If the update comes from
    /// this replica's own storage this time, the pending update becomes trusted.
    pub(super) fn find(&mut self, update: &B::CheckedUpdate, trust: Trust) -> Option<Trust> {
        let waiting =
            self.0.iter_mut().find(|waiting| B::bytes(&waiting.update) == B::bytes(update))?;
        if trust == Trust::Trusted {
            waiting.trust = trust;
        }
        Some(waiting.trust)
    }

    /// The number of pending updates of one trust, or of both, and their total bytes.
    pub(super) fn size(&self, trust: Option<Trust>) -> (usize, usize) {
        let wanted =
            self.0.iter().filter(|waiting| trust.is_none_or(|trust| trust == waiting.trust));
        wanted.fold((0, 0), |(updates, bytes), waiting| {
            (updates + 1, bytes + B::bytes(&waiting.update).len())
        })
    }

    /// The number of pending updates of this trust together with `more`, and their total bytes, if
    /// that is over the limits. `None` if it is within the limits.
    pub(super) fn overflow(
        &self,
        more: &[PendingUpdate<B::CheckedUpdate>],
        trust: Trust,
        limits: &Limits,
    ) -> Option<(usize, usize)> {
        if more.is_empty() {
            return None;
        }
        let (updates, bytes) = self.size(Some(trust));
        let updates = updates + more.len();
        let bytes =
            bytes + more.iter().map(|waiting| B::bytes(&waiting.update).len()).sum::<usize>();
        let over = updates > limits.pending_updates_max() || bytes > limits.pending_bytes_max();
        over.then_some((updates, bytes))
    }
}
