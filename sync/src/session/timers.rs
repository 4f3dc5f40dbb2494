//! The timers of a session, as data: what each timer is for, and the times from which it counts.

use std::time::Duration;

use super::duties::Duties;

/// A timer of a session. Its deadline is computed from the state of the session:
/// [`Session::deadline`](super::Session).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// To send a sign of life, or to ask again.
    KeepAlive,
    /// To give up a silent peer.
    Idle,
    /// To tell the peer of the participants.
    Presence,
    /// To compress the next update to leave.
    Packing,
    /// To answer a version, once an answer is allowed again.
    Answer,
    /// To send our document to a peer that asked for it in a repair.
    Repair,
}

impl Timer {
    pub(super) const ALL: [Self; 6] =
        [Self::KeepAlive, Self::Idle, Self::Presence, Self::Packing, Self::Answer, Self::Repair];
}

/// The times from which deadlines are counted.
#[derive(Debug)]
pub(super) struct Timers {
    /// The last time that the driver gave.
    pub(super) now: Duration,
    /// The time at which the last frame came.
    pub(super) received_at: Duration,
    /// The time at which the last frame left.
    pub(super) sent_at: Duration,
    /// The actions that the peer owes, and since when.
    pub(super) duties: Duties,
}

impl Timers {
    pub(super) fn new(now: Duration) -> Self {
        Self { now, received_at: now, sent_at: now, duties: Duties::new(now) }
    }
}
