//! Limits how often a peer may ask for an answer that takes long to compute. A request over the
//! limit waits. No request is forgotten.

use crate::limits::{ANSWERS_AT_ONCE, ANSWERS_PER_KEEP_ALIVE};
use std::time::Duration;

/// Allows some answers at once, and one more after each interval.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    /// The time up to which `left` is counted.
    at: Duration,
    every: Duration,
}

impl Allowance {
    pub(super) fn new(keep_alive: Duration, now: Duration) -> Self {
        Self { left: ANSWERS_AT_ONCE, at: now, every: keep_alive / ANSWERS_PER_KEEP_ALIVE }
    }

    /// Takes one answer. False if none is left at this time.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        while self.left < ANSWERS_AT_ONCE && now >= self.at + self.every {
            self.left += 1;
            self.at += self.every;
        }
        if self.left == ANSWERS_AT_ONCE {
            self.at = now;
        }
        let some = self.left > 0;
        self.left -= u32::from(some);
        some
    }

    /// The time from which an answer is left.
    pub(super) fn due(&self) -> Duration {
        if self.left > 0 { self.at } else { self.at + self.every }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_allowed_in_a_burst_then_at_a_steady_pace() {
        let mut allowance = Allowance::new(Duration::from_secs(8), Duration::ZERO);
        let mut taken = |at: Duration| (0..100).filter(|_| allowance.take(at)).count();
        let every = Duration::from_secs(8) / ANSWERS_PER_KEEP_ALIVE;
        assert_eq!(
            (taken(Duration::ZERO), taken(every / 2), taken(every)),
            (ANSWERS_AT_ONCE as usize, 0, 1)
        );
        assert_eq!((taken(every * 4), taken(every * 1000)), (3, ANSWERS_AT_ONCE as usize));
        assert_eq!(allowance.due(), every * 1001);
    }
}
