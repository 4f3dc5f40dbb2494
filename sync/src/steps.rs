//! Where the steps of a conversation run: the brief ones on the runtime's thread that has them, all
//! others where they may block.
//!
//! To hand a step to another thread takes longer than most steps do. But a step may apply
//! megabytes, wait for a writer, or call watchers that take their time, and none of that may hold
//! up the runtime.

use crate::limits::{BRIEF, BRIEF_STEPS, LONG_STEPS_REMEMBERED};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{block_in_place, spawn_blocking};

/// How long the steps about a replica have taken of late. All conversations about it share this, so
/// that a new one need not prove anew what the others have shown.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Brief steps in a row.
    brief: AtomicU32,
    /// How many of them it takes until the next one is expected to be brief too.
    wanted: AtomicU32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { brief: AtomicU32::new(0), wanted: AtomicU32::new(BRIEF_STEPS) }
    }
}

impl Pace {
    /// Whether the next step is likely to be brief.
    pub(crate) fn is_brief(&self) -> bool {
        self.brief.load(Ordering::Relaxed) >= self.wanted.load(Ordering::Relaxed)
    }

    /// Notes how long a step took. Where one was long that should have been brief, it takes more of
    /// them from then on.
    pub(crate) fn note(&self, took: Duration) {
        if took <= BRIEF {
            let next = self.brief.load(Ordering::Relaxed).saturating_add(1);
            return self.brief.store(next, Ordering::Relaxed);
        }
        if self.is_brief() {
            self.wanted.store(LONG_STEPS_REMEMBERED, Ordering::Relaxed);
        }
        self.brief.store(0, Ordering::Relaxed);
    }
}

/// How many steps are being worked off by threads of runtimes that let others go on meanwhile.
static IN_PLACE: AtomicUsize = AtomicUsize::new(0);

struct Turn(usize);

impl Drop for Turn {
    fn drop(&mut self) {
        IN_PLACE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs what is brief, here. `None`: it panicked.
pub(crate) fn here<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// Runs what may block where nobody else is held up. `None`: it panicked.
///
/// A thread of the blocking pool has to wake up first. So one of a runtime of several threads goes
/// on with it and leaves its other tasks to another, unless enough do so already: then there is
/// work for all, and whoever waits for a turn finds more to work off in one go.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let runtime = Handle::current();
    if runtime.runtime_flavor() == RuntimeFlavor::MultiThread {
        let turn = Turn(IN_PLACE.fetch_add(1, Ordering::Relaxed));
        if turn.0 < runtime.metrics().num_workers() {
            return block_in_place(|| here(work));
        }
    }
    spawn_blocking(work).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_expected_to_be_as_they_were() {
        let pace = Pace::default();
        assert!(!pace.is_brief());
        (0..BRIEF_STEPS).for_each(|_| pace.note(BRIEF));
        assert!(pace.is_brief());
        pace.note(BRIEF * 2);
        assert!(!pace.is_brief());
        (0..BRIEF_STEPS).for_each(|_| pace.note(BRIEF));
        assert!(!pace.is_brief(), "one that was wrong once has to prove more");
        (BRIEF_STEPS..LONG_STEPS_REMEMBERED).for_each(|_| pace.note(BRIEF));
        assert!(pace.is_brief());
    }
}
