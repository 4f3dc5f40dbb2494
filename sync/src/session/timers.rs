//! The timers of a session, as data: what each waits for, and since when.

use std::time::Duration;

use super::owed::Owed;

/// What a session waits for. Each deadline follows from the session's state:
/// [`Session::deadline`](super::Session).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// To send a sign of life, or to ask again.
    KeepAlive,
    /// To give a silent peer up.
    Idle,
    /// To tell the peer of participants.
    Presence,
    /// To compress what is next to leave.
    Packing,
    /// To answer a version, once an answer is allowed again.
    Answer,
    /// To answer a request for the document, or to give a repair up.
    Repair,
}

impl Timer {
    pub(super) const ALL: [Self; 6] =
        [Self::KeepAlive, Self::Idle, Self::Presence, Self::Packing, Self::Answer, Self::Repair];
}

/// The moments that deadlines are counted from.
#[derive(Debug)]
pub(super) struct Timers {
    /// The time that the driver gave last.
    pub(super) now: Duration,
    /// When a frame came last.
    pub(super) received_at: Duration,
    /// When a frame left last.
    pub(super) sent_at: Duration,
    /// What the peer owes, and since when.
    pub(super) owed: Owed,
}

impl Timers {
    pub(super) fn new(now: Duration) -> Self {
        Self { now, received_at: now, sent_at: now, owed: Owed::new(now) }
    }
}
