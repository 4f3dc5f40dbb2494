//! Retries of changes that failed because other changes came first.

use std::future::Future;
use std::time::Duration;

use crate::state::ChangeError;

/// How often, and after which pauses, to retry a change that failed because of other changes:
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
    /// Makes at most `attempts` attempts, and at least one. The first pause is at most 1 ms; this
    /// bound doubles with each pause, up to 1 s.
    #[must_use]
    pub fn new(attempts: u32) -> Self {
        Self { attempts, first: Duration::from_millis(1), longest: Duration::from_secs(1) }
    }

    /// Sets the bound of the first pause, and the bound of all pauses.
    #[must_use]
    pub fn with_pauses(self, first: Duration, longest: Duration) -> Self {
        Self { first, longest, ..self }
    }

    /// The bound of the pause that follows this many earlier pauses.
    #[must_use]
    pub fn pause_max(self, pauses: u32) -> Duration {
        self.first.saturating_mul(1_u32.checked_shl(pauses).unwrap_or(u32::MAX)).min(self.longest)
    }

    /// The pauses between the attempts. Each pause is random, between zero and its bound.
    pub fn pauses(self) -> impl Iterator<Item = Duration> {
        let earlier = 0..self.attempts.saturating_sub(1);
        earlier.map(move |earlier| part(self.pause_max(earlier), random()))
    }

    /// Calls `attempt` until it succeeds, fails with an error that is not retryable, or was called
    /// as often as [`Retry::new`] allows. Blocks the thread during the pauses.
    ///
    /// # Errors
    /// The error of the last attempt.
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

    /// As [`Retry::run`], for asynchronous code. `sleep` is the sleep function of the runtime, such
    /// as `tokio::time::sleep`.
    ///
    /// # Errors
    /// The error of the last attempt.
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

/// The fraction `share` (0 to 1) of a pause, at most the pause itself. The number of seconds of
/// [`Duration::MAX`] has no exact `f64`, so that a share of 1 may come out as more.
fn part(pause: Duration, share: f64) -> Duration {
    Duration::try_from_secs_f64(pause.as_secs_f64() * share).unwrap_or(pause).min(pause)
}

/// A random number between 0 and 1; 0.5 if the system has no randomness.
#[expect(clippy::disallowed_methods, reason = "jitter need not be the same twice")]
fn random() -> f64 {
    getrandom::u32().map_or(0.5, |bits| f64::from(bits) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_pause_is_no_longer_than_the_pause() {
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
    fn zero_attempts_count_as_one() {
        let mut tried = 0;
        let result = Retry::new(0).run(|| {
            tried += 1;
            Err::<(), _>(ChangeError::Stale { changed: Vec::new() })
        });
        assert!(result.is_err());
        assert_eq!(tried, 1);
    }
}
