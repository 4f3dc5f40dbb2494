//! Applied and kept: what a side tells its peer while its storage has not written everything, and
//! what it tells once that is done.
//!
//! A side without a storage keeps all that it has applied, and sends none of this. The neighbours:
//! `delivery` counts the updates in both directions, `exchange` announces versions.

use super::{Latest, Session};
use crate::frame::{Frame, Hash, flag};
use crate::limits::UNKEPT_MAX;
use crate::replica::Replica;
use std::collections::VecDeque;

/// The version that this side announced last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    pub(super) version: Hash,
    /// All of the version is kept once the replica's storage has written the record with this
    /// number.
    record: u64,
    /// Whether this side has announced that all of the version is kept.
    pub(super) kept: bool,
}

impl Announced {
    /// Must be called after the version was read from the replica: what is recorded in between is
    /// waited for without need, but nothing is missed.
    pub(super) fn new(version: Hash, replica: &dyn Replica) -> Self {
        let record = replica.recorded();
        Self { version, record, kept: replica.kept() >= record }
    }

    /// Notes which record is written. Returns true once: when all of the version has become kept.
    pub(super) fn note_written(&mut self, record: u64) -> bool {
        let before = self.kept;
        self.kept = before || record >= self.record;
        self.kept != before
    }
}

/// Counts that become true when a number is reached, oldest first.
#[derive(Debug, Default)]
pub(super) struct Milestones(VecDeque<(u64, u64)>);

impl Milestones {
    /// Notes that `count` becomes true when `number` is reached. The number is not below the one
    /// of the call before.
    pub(super) fn push(&mut self, number: u64, count: u64) {
        let full = self.0.len() == UNKEPT_MAX;
        match self.0.back_mut() {
            // It becomes true earlier.
            Some((_, last)) if *last >= count => {}
            // Too late is safe: the count is not true before the higher number is reached.
            Some(last) if full || last.0 == number => *last = (number, count),
            _ => self.0.push_back((number, count)),
        }
    }

    /// Notes that a number is reached. Returns the count that has become true, if there is one.
    pub(super) fn reach(&mut self, number: u64) -> Option<u64> {
        let mut reached = None;
        while let Some((_, count)) = self.0.front().filter(|(at, _)| *at <= number) {
            reached = Some(*count);
            self.0.pop_front();
        }
        reached
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Session {
    /// Whether the peer is to be told of something as soon as the replica's storage has written it:
    /// see [`Replica::on_kept`].
    pub fn awaits_kept(&self) -> bool {
        let unkept = self.delivery.received.has_unkept() || !self.exchange.announced.kept;
        unkept && !self.is_greeting() && !self.is_closed()
    }

    /// Puts a version into the `Hello` of this side. A peer that has had a `Hello` ignores the
    /// version, so it does not count as announced.
    pub(super) fn greet_with(&mut self, announced: Announced) {
        if self.exchange.announced.version == announced.version {
            self.exchange.announced.kept &= announced.kept;
        }
        self.hello.version = announced.version;
        self.hello.flags &= !flag::NOT_KEPT_YET;
        self.hello.flags |= if announced.kept { 0 } else { flag::NOT_KEPT_YET };
    }

    /// Acknowledges the updates that were applied, and those that the replica's storage has written
    /// since.
    pub(super) fn acknowledge_received(&mut self, replica: &dyn Replica) {
        let applied = self.delivery.received.take_applied();
        // The peer may count these updates as kept only if none of them can get lost. Refused and
        // pending updates may be forgotten before the sides are in sync. An answer contains the
        // updates whose numbers it skips, so they have not come before the whole answer has come.
        if self.repair.out_of_sync {
            self.delivery.received.forget_unkept();
        } else if applied && !self.delivery.answer.is_coming() && !self.still_waits(replica) {
            self.delivery.received.note_record(replica.recorded());
        }
        if self.delivery.received.note_written(replica.kept()) || applied {
            let failed = std::mem::take(&mut self.delivery.failed);
            self.send_ack(failed);
        }
    }

    fn send_ack(&mut self, failed: bool) {
        let (number, kept) = self.delivery.received.ack();
        let kept = if self.repair.out_of_sync { 0 } else { kept };
        self.outgoing.push_ack(number, kept, failed);
    }

    /// Announces the version again. With `again` the peer has to do the same.
    pub(super) fn send_have(&mut self, again: bool) {
        let Announced { version, kept, .. } = self.exchange.announced;
        self.outgoing.push_latest(Latest::Have, &Frame::Have { version, kept, again });
    }

    /// Tells the peer again what this side has and keeps. The peer waits for this side's storage,
    /// and cannot know whether a frame was lost.
    pub(super) fn tell_again(&mut self) {
        self.send_have(false);
        if self.delivery.received.ack().0 > 0 {
            self.send_ack(false);
        }
    }

    /// Whether the peer has local updates of this side, and has not said yet that it keeps them.
    pub(super) fn waits_for_peers_storage(&self) -> bool {
        let unkept = self.delivery.sent.has_unkept() || !self.exchange.theirs_kept;
        unkept && !self.is_flushed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_milestones_is_bounded_and_none_is_early() {
        let mut milestones = Milestones::default();
        let last = 3 * UNKEPT_MAX as u64;
        (1..=last).for_each(|number| milestones.push(number, number));
        assert_eq!(milestones.0.len(), UNKEPT_MAX);
        for number in 1..last {
            let reached = milestones.reach(number);
            assert!(reached.is_none_or(|count| count <= number), "{number}: {reached:?}");
        }
        assert_eq!(milestones.reach(last), Some(last));
    }
}
