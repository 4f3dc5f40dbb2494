//! Decides where a step of a conversation runs. A brief step runs on the runtime's current thread.
//! Every other step runs where it may block.
//!
//! Handing a step to another thread takes longer than most steps take. But a step may apply
//! megabytes, wait for the writer lock, or call slow watchers, and such a step must not block the
//! runtime.

use crate::limits::{BRIEF, BRIEF_STEPS, LONG_STEPS_REMEMBERED};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{block_in_place, spawn_blocking};

/// How long the recent steps on one replica took. All conversations about the replica share this
/// record, so a new conversation need not measure again.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The number of brief steps in a row.
    brief: AtomicU32,
    /// The number of brief steps in a row after which the next step is expected to be brief.
    wanted: AtomicU32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { brief: AtomicU32::new(0), wanted: AtomicU32::new(BRIEF_STEPS) }
    }
}

impl Pace {
    /// Whether the next step is expected to be brief.
    pub(crate) fn is_brief(&self) -> bool {
        self.brief.load(Ordering::Relaxed) >= self.wanted.load(Ordering::Relaxed)
    }

    /// Records how long a step took. If a step was expected to be brief and was long, more brief
    /// steps in a row are needed from then on.
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

/// The number of steps that currently run in `block_in_place`, on a worker thread of a runtime.
static IN_PLACE: AtomicUsize = AtomicUsize::new(0);

struct Turn(usize);

impl Drop for Turn {
    fn drop(&mut self) {
        IN_PLACE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs brief work on the current thread. Returns `None` if the work panicked.
pub(crate) fn here<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// Runs work that may block, without blocking other tasks. Returns `None` if the work panicked.
///
/// A thread of the blocking pool must wake up first. So on a multi-threaded runtime the current
/// worker thread runs the work itself and hands its other tasks to another thread. If as many steps
/// as the runtime has workers do so already, the work goes to the blocking pool: every thread is
/// busy then, and a connection that waits meanwhile collects a larger batch.
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
    fn steps_are_expected_to_be_as_brief_as_recent_ones() {
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
