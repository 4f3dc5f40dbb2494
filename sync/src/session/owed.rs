//! What a peer owes, and for how long. Signs of life pay for nothing: a peer that is there and does
//! nothing of what it should holds memory on this side for nobody.

use std::time::Duration;

/// What a peer can owe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Debt {
    /// To read what waits for it.
    Reading,
    /// To say what it has of what it was sent.
    Ack,
    /// To say its version, after it was asked for it.
    Version,
    /// The rest of an answer that it announced.
    Answer,
}

pub(super) const DEBTS: [Debt; 4] = [Debt::Reading, Debt::Ack, Debt::Version, Debt::Answer];

/// When each was paid last, in part at least, or not owed.
#[derive(Debug)]
pub(super) struct Owed([Duration; DEBTS.len()]);

impl Owed {
    pub(super) fn new(now: Duration) -> Self {
        Self([now; DEBTS.len()])
    }

    /// A part of it came, or none of it is owed now.
    pub(super) fn pay(&mut self, debt: Debt, now: Duration) {
        self.0[debt as usize] = now;
    }

    /// Since when the oldest one is owed.
    pub(super) fn since(&self) -> Duration {
        self.0.into_iter().min().unwrap_or_default()
    }
}
