//! Updates that wait for a missing one.
//!
//! An update from a stranger may wait for ever, as the missing one may be lost. It may be
//! forgotten: a peer that has both gives both again. An update from this replica's own storage was
//! applied here once. A peer may have lost it since and rely on this replica to still have
//! it. So it is never forgotten. Where a replica id was used twice, everybody may have given up the
//! missing one; then the registers that the pending update wrote are written again
//! ([`Replica::unwritten`](super::Replica::unwritten)).

use super::Trust;
use crate::document::backend::Backend;
use crate::document::limits::Limits;

/// An update that waits, or is about to be applied.
pub(super) struct Waiting<P> {
    pub(super) update: P,
    pub(super) trust: Trust,
    /// Whether its registers were written again, or need not be.
    pub(super) written: bool,
}

impl<P> AsRef<P> for Waiting<P> {
    fn as_ref(&self) -> &P {
        &self.update
    }
}

/// All that wait.
pub(super) struct Pending<B: Backend>(pub(super) Vec<Waiting<B::CheckedUpdate>>);

impl<B: Backend> Default for Pending<B> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<B: Backend> Pending<B> {
    /// The trust of an update that waits already. If it comes from this replica's own storage now,
    /// it counts as such.
    pub(super) fn find(&mut self, update: &B::CheckedUpdate, trust: Trust) -> Option<Trust> {
        let waiting =
            self.0.iter_mut().find(|waiting| B::bytes(&waiting.update) == B::bytes(update))?;
        if trust == Trust::Trusted {
            waiting.trust = trust;
        }
        Some(waiting.trust)
    }

    /// How many there are from a trust, or from both, and their bytes.
    pub(super) fn size(&self, trust: Option<Trust>) -> (usize, usize) {
        let wanted =
            self.0.iter().filter(|waiting| trust.is_none_or(|trust| trust == waiting.trust));
        wanted.fold((0, 0), |(updates, bytes), waiting| {
            (updates + 1, bytes + B::bytes(&waiting.update).len())
        })
    }

    /// How many from this trust there would be with these, and their bytes, if that is more than
    /// the limits allow.
    pub(super) fn overflow(
        &self,
        more: &[Waiting<B::CheckedUpdate>],
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
