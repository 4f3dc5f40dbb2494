//! The actions that a peer owes, and since when. Signs of life do not count: a peer that is
//! connected but does not act makes this side keep memory for no use.

use std::time::Duration;

/// An action that a peer can owe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// To read the frames that are queued for it.
    Reading,
    /// To acknowledge the updates that it was sent.
    Ack,
    /// To send its version, after this side asked for it.
    Version,
    /// To send the rest of an answer that it announced.
    Answer,
}

pub(super) const DUTIES: [Duty; 4] = [Duty::Reading, Duty::Ack, Duty::Version, Duty::Answer];

/// For each action: the last time at which the peer did a part of it, or did not owe it.
#[derive(Debug)]
pub(super) struct Duties([Duration; DUTIES.len()]);

impl Duties {
    pub(super) fn new(now: Duration) -> Self {
        Self([now; DUTIES.len()])
    }

    /// Notes that the peer did a part of the action, or does not owe it at this time.
    pub(super) fn note_progress(&mut self, duty: Duty, now: Duration) {
        self.0[duty as usize] = now;
    }

    /// Since when the oldest action is owed.
    pub(super) fn since(&self) -> Duration {
        self.0.into_iter().min().unwrap_or_default()
    }
}
