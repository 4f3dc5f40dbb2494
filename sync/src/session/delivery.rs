//! Numbered updates: the ones that were sent and are not acknowledged yet, and the ones that have
//! come.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::kept::Milestones;
use super::receive::{Answer, Assembly, Inbox};
use crate::body::Shared;
use crate::limits::{AHEAD_MAX, IN_FLIGHT_BYTES_MAX, IN_FLIGHT_UPDATES_MAX};
use crate::recent::Recent;
use crate::replica::Origin;

/// Updates in both directions.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// Updates that came recently, so that they are not sent back.
    pub(super) recent: Recent,
    /// The update whose fragments are coming at this time.
    pub(super) assembly: Option<Assembly>,
    /// Updates that came and are not imported yet.
    pub(super) inbox: Inbox,
    pub(super) received: Received,
    /// The peer's answer that is coming: its updates and bytes, both in total and so far.
    pub(super) answer: Answer,
    /// Updates of the replica that are not processed yet, because processing them may take a while.
    /// See `Session::take_update`.
    pub(super) held: VecDeque<(Arc<Shared>, Origin)>,
    pub(super) sent: Sent,
    /// Number of local updates that were handed over to the session.
    pub(super) handed: u64,
    /// Number of these local updates, counted from the first, that the peer is known to keep.
    pub(super) acknowledged: Option<u64>,
    /// A version of the peer that this side has answered although it does not have all ops of that
    /// version yet.
    pub(super) unsure: Option<exostate::Version>,
    /// Number of local updates that the peer acknowledged since then, counted as in `acknowledged`.
    pub(super) unsure_covers: Option<u64>,
    /// Whether an update from this peer is pending, or may be. Updates from other peers do not
    /// count.
    pub(super) waiting: bool,
    /// Whether a listener of the replica failed for an update that came since the last
    /// acknowledgement.
    pub(super) failed: bool,
}

/// Updates on their way to the peer.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// The number of the last update that went out.
    last: u64,
    in_flight: VecDeque<Flight>,
    bytes: usize,
    /// For updates that the peer has applied and does not keep yet: how many local updates the
    /// peer has once it keeps the update with this number.
    unkept: Milestones,
}

#[derive(Debug)]
struct Flight {
    number: u64,
    bytes: usize,
    /// A peer that has this update has this many local updates of the replica, counted from the
    /// first. See `Session::acknowledged`.
    covers: u64,
}

impl Sent {
    /// The number for the next update.
    pub(super) fn next(&self) -> u64 {
        self.last + 1
    }

    /// Notes that the update with the next number was sent completely.
    pub(super) fn note(&mut self, bytes: usize, covers: u64) {
        self.last += 1;
        self.bytes += bytes;
        self.in_flight.push_back(Flight { number: self.last, bytes, covers });
    }

    /// Notes that the peer has applied all updates up to a number. Returns whether it is known of
    /// one of them only now. A number that was never sent counts as the last one that was sent.
    pub(super) fn applied(&mut self, number: u64) -> bool {
        let before = self.in_flight.len();
        while let Some(flight) = self.in_flight.front().filter(|flight| flight.number <= number) {
            self.bytes -= flight.bytes;
            self.unkept.push(flight.number, flight.covers);
            self.in_flight.pop_front();
        }
        self.in_flight.len() < before
    }

    /// Notes that the peer keeps all updates up to a number. Returns how many local updates these
    /// cover, if it is known of one of them only now.
    pub(super) fn kept(&mut self, number: u64) -> Option<u64> {
        self.unkept.reach(number)
    }

    /// Whether the peer has updates that it does not keep yet.
    pub(super) fn has_unkept(&self) -> bool {
        !self.unkept.is_empty()
    }

    /// Forgets which updates the peer does not keep yet, because it need not say so any more, or
    /// because that would say too little.
    pub(super) fn forget_unkept(&mut self) {
        self.unkept.clear();
    }

    /// Whether the peer has applied all sent updates.
    pub(super) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Whether more updates may be sent before the next acknowledgement.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight.len() < IN_FLIGHT_UPDATES_MAX && self.bytes < IN_FLIGHT_BYTES_MAX
    }
}

/// Updates that came from the peer.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// All updates up to this number have come, or will never come.
    through: u64,
    /// The numbers of updates that came after a gap.
    ahead: BTreeSet<u64>,
    /// The peer was told that all updates up to this number are applied.
    applied: u64,
    /// The number of a record of the replica's storage, and the updates that are kept with it.
    unkept: Milestones,
    /// All updates up to this number are kept.
    kept: u64,
}

impl Received {
    /// Whether an update has come before.
    pub(super) fn is_known(&self, number: u64) -> bool {
        number <= self.through || self.ahead.contains(&number)
    }

    /// Notes an update that is applied.
    pub(super) fn note(&mut self, number: u64) {
        self.ahead.insert(number);
        // A peer that exceeds this limit is not honest, or the connection loses so many frames that
        // the versions are exchanged again anyway.
        if self.ahead.len() > AHEAD_MAX {
            self.ahead.pop_last();
        }
        self.close_up();
    }

    /// Notes that no update before this number will still come.
    pub(super) fn begin_at(&mut self, first: u64) {
        self.through = self.through.max(first.saturating_sub(1));
        self.close_up();
    }

    fn close_up(&mut self) {
        while let Some(first) =
            self.ahead.first().copied().filter(|first| first.saturating_sub(1) <= self.through)
        {
            self.ahead.pop_first();
            self.through = self.through.max(first);
        }
    }

    /// Whether an update is missing before one that has come.
    pub(super) fn has_gap(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Whether further updates are applied since the last call.
    pub(super) fn take_applied(&mut self) -> bool {
        let applied = self.through > self.applied;
        self.applied = self.through;
        applied
    }

    /// Notes that the updates up to the last [`Self::take_applied`] are kept once the replica's
    /// storage has written the record with this number.
    pub(super) fn note_record(&mut self, record: u64) {
        self.unkept.push(record, self.applied);
    }

    /// Notes which record the replica's storage has written. Returns whether further updates are
    /// kept.
    pub(super) fn note_written(&mut self, record: u64) -> bool {
        let kept = self.unkept.reach(record);
        self.kept = self.kept.max(kept.unwrap_or_default());
        kept.is_some()
    }

    /// Whether applied updates are not kept yet, but will be.
    pub(super) fn has_unkept(&self) -> bool {
        !self.unkept.is_empty()
    }

    /// Does not count the applied updates that are not kept yet: they may be dropped.
    pub(super) fn forget_unkept(&mut self) {
        self.unkept.clear();
    }

    /// The numbers to acknowledge: up to the first all updates are applied, up to the second all
    /// are kept.
    pub(super) fn ack(&self) -> (u64, u64) {
        (self.applied, self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_received_in_any_order_are_acknowledged_without_gaps() {
        let mut received = Received::default();
        let take_ack =
            |received: &mut Received| received.take_applied().then_some(received.ack().0);
        for number in [2, 4, 1, 5] {
            received.note(number);
        }
        assert!(received.has_gap() && received.is_known(4) && !received.is_known(3));
        assert_eq!((take_ack(&mut received), take_ack(&mut received)), (Some(2), None));
        received.note(3);
        assert_eq!((take_ack(&mut received), received.has_gap()), (Some(5), false));
        received.begin_at(9);
        received.note(9);
        assert_eq!(take_ack(&mut received), Some(9));
        received.begin_at(3);
        received.note(u64::MAX);
        assert!(received.has_gap());
        received.begin_at(u64::MAX);
        assert_eq!(take_ack(&mut received), Some(u64::MAX));
    }

    #[test]
    fn received_updates_are_kept_when_their_record_is_written() {
        let mut received = Received::default();
        for (number, record) in [(1, 4), (2, 4), (3, 9)] {
            received.note(number);
            assert!(received.take_applied());
            received.note_record(record);
        }
        assert!(!received.note_written(3) && received.ack() == (3, 0));
        assert!(received.note_written(8) && received.ack() == (3, 2));
        assert!(!received.note_written(8) && received.has_unkept());
        assert!(received.note_written(9) && received.ack() == (3, 3));
        assert!(!received.has_unkept());
    }

    #[test]
    fn the_number_of_updates_received_ahead_is_bounded() {
        let mut received = Received::default();
        (0..10 * AHEAD_MAX as u64).for_each(|number| received.note(2 * number + 2));
        assert_eq!(received.ahead.len(), AHEAD_MAX);
    }

    #[test]
    fn acknowledgements_cover_only_sent_updates() {
        let mut sent = Sent::default();
        let acknowledge = |sent: &mut Sent, number| {
            sent.applied(number);
            sent.kept(number)
        };
        assert_eq!(acknowledge(&mut sent, 7), None);
        sent.note(10, 1);
        sent.note(10, 4);
        sent.note(10, 4);
        assert_eq!([0, 1, 1].map(|number| acknowledge(&mut sent, number)), [None, Some(1), None]);
        assert!(!sent.is_empty());
        assert!(sent.applied(u64::MAX) && sent.has_unkept() && sent.is_empty());
        assert_eq!((sent.kept(1), sent.kept(3), sent.next()), (None, Some(4), 4));
        assert!(sent.is_empty() && sent.has_room());
        sent.note(IN_FLIGHT_BYTES_MAX, 5);
        assert!(!sent.has_room());
    }
}
