//! Trying again what was refused because others were faster.

use std::future::Future;
use std::time::Duration;

use crate::state::ChangeError;

/// How often, and after how long, a change is tried again that failed because of others:
/// exponential back-off with full jitter (Brooker, *Exponential Backoff and Jitter*, 2015).
///
/// ```
/// use exostate::{Retry, State, Store};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Page { seats: i64 }
///
/// let store = Store::<Page>::new();
/// Retry::new(5).run(|| {
///     let snapshot = store.snapshot();
///     let seats = snapshot.view().seats + 1;                 // a decision that takes a while
///     store.transaction().relies_on(&snapshot).run(|page| page.seats().set(seats))
/// })?;
/// # Ok::<(), exostate::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    attempts: u32,
    first: Duration,
    longest: Duration,
}

impl Retry {
    /// So many attempts in all, at least one; pauses of up to 1 ms, doubled each time, to at most 1
    /// s.
    #[must_use]
    pub fn new(attempts: u32) -> Self {
        Self { attempts, first: Duration::from_millis(1), longest: Duration::from_secs(1) }
    }

    /// The longest first pause, and the longest of all.
    #[must_use]
    pub fn with_pauses(self, first: Duration, longest: Duration) -> Self {
        Self { first, longest, ..self }
    }

    /// The pauses between attempts, each at random between nothing and its bound.
    pub fn pauses(self) -> impl Iterator<Item = Duration> {
        let bound = move |attempt: u32| {
            self.first
                .saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX))
                .min(self.longest)
        };
        (0..self.attempts.saturating_sub(1)).map(move |attempt| part(bound(attempt), random()))
    }

    /// Does something until it succeeds, fails for a reason that stays, or was tried often enough.
    /// Blocks the thread in the pauses.
    ///
    /// # Errors
    /// That of the last attempt.
    pub fn run<R>(
        self,
        mut attempt: impl FnMut() -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        let mut pauses = self.pauses();
        loop {
            match (attempt(), pauses.next()) {
                (Err(error), Some(pause)) if error.is_retryable() => std::thread::sleep(pause),
                (result, _) => return result,
            }
        }
    }

    /// The same for asynchronous code: `sleep` is that of its runtime, `tokio::time::sleep` say.
    ///
    /// # Errors
    /// That of the last attempt.
    pub async fn run_async<R, Pause: Future<Output = ()>>(
        self,
        sleep: impl Fn(Duration) -> Pause,
        mut attempt: impl FnMut() -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        let mut pauses = self.pauses();
        loop {
            match (attempt(), pauses.next()) {
                (Err(error), Some(pause)) if error.is_retryable() => sleep(pause).await,
                (result, _) => return result,
            }
        }
    }
}

/// A part of a pause, of 0 to 1. The longest that there is has no exact number of seconds: all of
/// it may come out as more.
fn part(pause: Duration, share: f64) -> Duration {
    Duration::try_from_secs_f64(pause.as_secs_f64() * share).unwrap_or(pause).min(pause)
}

/// At random between 0 and 1; the middle where the system has no randomness.
#[expect(clippy::disallowed_methods, reason = "jitter need not be the same twice")]
fn random() -> f64 {
    getrandom::u32().map_or(0.5, |bits| f64::from(bits) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_any_pause_is_no_longer_than_it() {
        for pause in
            [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(1), Duration::MAX]
        {
            for share in [0.0, 0.5, 1.0] {
                assert!(part(pause, share) <= pause);
            }
            assert_eq!(part(pause, 1.0), pause);
        }
    }

    #[test]
    fn no_attempt_is_one_attempt() {
        let mut tried = 0;
        let result = Retry::new(0).run(|| {
            tried += 1;
            Err::<(), _>(ChangeError::Stale { changed: Vec::new() })
        });
        assert!(result.is_err());
        assert_eq!(tried, 1);
    }
}
