//! What is known of one document that is kept: which of its records are on disk, and who waits.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::adapter::{AdapterError, Torn};
use crate::attachments::Attached;
use crate::entry::{Content, Entry};
use crate::status::{Status, StatusCallback};

/// Calls into the document, whatever its backend. They hold the document weakly.
pub(crate) struct Hooks {
    /// Tells listeners and watchers of what was not announced because the disk failed.
    pub(crate) announce: Box<dyn Fn() + Send + Sync>,
    /// The document, held strongly.
    pub(crate) hold: Box<dyn Fn() -> Option<Box<dyn Any + Send>> + Send + Sync>,
    /// Records the whole document.
    pub(crate) keep_whole: Box<dyn Fn() + Send + Sync>,
    /// Makes the entries of a snapshot from what was read. It does not use the open document.
    pub(crate) compact: fn(Content) -> Option<Vec<Entry>>,
}

/// One document that is kept. The open document, the writer and the storage share it.
pub(crate) struct KeptDocument {
    pub(crate) name: Arc<str>,
    /// The number of the newest record, and of the newest record that is on disk.
    recorded: AtomicU64,
    kept: AtomicU64,
    pub(crate) hooks: OnceLock<Hooks>,
    pub(crate) log: Mutex<Log>,
    state: Mutex<State>,
    pub(crate) attachments: Mutex<Vec<Weak<dyn Attached>>>,
    /// The bytes of each attachment, by name. `None` while the attachment is in use.
    pub(crate) attached: Mutex<BTreeMap<String, Option<Arc<[u8]>>>>,
    /// The number of records that the document itself has made.
    pub(crate) changes: AtomicU64,
    /// What opening the document had to mend.
    pub(crate) torn: OnceLock<Torn>,
}

/// The numbers of the writer. Only the writer changes them once the document is open.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The number for the next record of the adapter.
    pub(crate) next: u64,
    pub(crate) log_bytes: u64,
    pub(crate) snapshot_bytes: u64,
    /// A compaction is under way.
    pub(crate) compacts: bool,
    /// A compaction waits until the document is quiet.
    pub(crate) waits_for_quiet: bool,
    /// When the last record was written.
    pub(crate) written_at: Option<Instant>,
}

/// When a log is to be compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compaction {
    Now,
    /// When nothing has been written for a while.
    Quiet,
}

/// A log that is so many times as long as its snapshot is compacted while it is written. Up to then
/// a compaction, which costs about as much as the changes themselves, stays out of their way.
const LOG_RATIO_MAX: u64 = 4;

impl Log {
    /// Notes that so many bytes were written. Returns whether a compaction is to begin.
    pub(crate) fn note_written(
        &mut self,
        bytes: u64,
        bytes_min: u64,
        now: Instant,
    ) -> Option<Compaction> {
        self.log_bytes += bytes;
        self.written_at = Some(now);
        if !self.is_long(bytes_min) {
            return None;
        }
        if self.log_bytes > self.snapshot_bytes.max(bytes_min).saturating_mul(LOG_RATIO_MAX) {
            self.compacts = true;
            return Some(Compaction::Now);
        }
        let is_new = !self.waits_for_quiet;
        self.waits_for_quiet = true;
        is_new.then_some(Compaction::Quiet)
    }

    /// Whether the log is longer than its snapshot, and no compaction is under way.
    pub(crate) fn is_long(&self, bytes_min: u64) -> bool {
        self.log_bytes > self.snapshot_bytes.max(bytes_min) && !self.compacts
    }

    /// A compaction has failed: the next one is tried when as much again has been written.
    pub(crate) fn put_off_compaction(&mut self) {
        self.compacts = false;
        self.snapshot_bytes = self.snapshot_bytes.max(self.log_bytes);
    }
}

#[derive(Default)]
struct State {
    sleepers: Vec<Sleeper>,
    callbacks: Vec<Arc<dyn Fn() -> bool + Send + Sync>>,
    status_callbacks: Vec<(u64, StatusCallback)>,
    next_callback: u64,
    shown: Status,
    /// The error of the last try to write, and how many tries have failed in all.
    failure: Option<AdapterError>,
    failures: u64,
    /// The number of the record of the document's replica id. It must be on disk before anything
    /// is written under that id.
    ready_at: u64,
    read_only: Option<Arc<str>>,
    /// Records were dropped, as the queue was full.
    dropped_records: Option<DroppedRecords>,
    /// The newest change that has returned without being announced.
    unannounced: Option<u64>,
    /// No handle of the document is left.
    dropped: bool,
    closed: bool,
}

/// A task or thread that waits for a record.
struct Sleeper {
    number: u64,
    /// The number of failed tries at the begin of the wait.
    failures: u64,
    waker: Waker,
}

/// Records that were dropped. Nothing from the first one on is kept, until the record of the whole
/// document is.
struct DroppedRecords {
    first: u64,
    /// The number of the record of the whole document, once there is one.
    whole: Option<u64>,
    /// The document, so that it is there when the whole of it can be recorded.
    document: Option<Box<dyn Any + Send>>,
}

impl State {
    /// Takes the document out that is held until it is recorded as a whole, as it will not be. The
    /// document owns the storage: it must not own itself for ever. The caller drops it outside the
    /// lock.
    fn let_go(&mut self) -> Option<Box<dyn Any + Send>> {
        self.dropped_records.as_mut().and_then(|dropped| dropped.document.take())
    }

    /// Whether records are dropped at this time.
    fn is_in_memory(&self) -> bool {
        self.dropped_records.as_ref().is_some_and(|dropped| dropped.whole.is_none())
    }
}

/// What a change needs to know before it is written.
pub(crate) struct Permission {
    pub(crate) read_only: Option<Arc<str>>,
    pub(crate) closed: bool,
    pub(crate) ready: bool,
    pub(crate) in_memory: bool,
    pub(crate) failure: Option<AdapterError>,
}

/// How a wait for the disk stands.
#[derive(Clone, Debug)]
pub(crate) enum Wait {
    Kept,
    Failed(AdapterError),
    ReadOnly(Arc<str>),
    /// Records were dropped.
    InMemory,
    Closed,
    Longer,
}

impl std::fmt::Debug for KeptDocument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptDocument").field("name", &self.name).finish_non_exhaustive()
    }
}

impl KeptDocument {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            recorded: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            hooks: OnceLock::new(),
            log: Mutex::new(Log { next: 1, ..Log::default() }),
            state: Mutex::default(),
            attachments: Mutex::default(),
            attached: Mutex::default(),
            changes: AtomicU64::new(0),
            torn: OnceLock::new(),
        }
    }

    pub(crate) fn recorded(&self) -> u64 {
        self.recorded.load(Ordering::Acquire)
    }

    pub(crate) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Acquire)
    }

    /// The number for a new record.
    pub(crate) fn next_record(&self) -> u64 {
        self.recorded.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Whether everything is on disk, or cannot be.
    pub(crate) fn is_done(&self) -> bool {
        self.kept() >= self.recorded() || self.state.lock().read_only.is_some()
    }

    /// Whether a change may be announced that is not on disk: it makes no sense to wait.
    pub(crate) fn announces_unkept(&self) -> bool {
        let state = self.state.lock();
        state.is_in_memory() || state.closed || state.read_only.is_some()
    }

    pub(crate) fn permission(&self) -> Permission {
        let state = self.state.lock();
        Permission {
            read_only: state.read_only.clone(),
            closed: state.closed,
            ready: self.kept() >= state.ready_at,
            in_memory: state.is_in_memory(),
            failure: state.failure.clone(),
        }
    }

    /// Notes the record of the replica id: see [`State::ready_at`].
    pub(crate) fn ready_at(&self, number: u64) {
        self.state.lock().ready_at = number;
    }

    /// Notes that all records up to a number are on disk. Returns whether a change waits to be
    /// announced.
    pub(crate) fn note_kept(&self, number: u64) -> bool {
        let mut state = self.state.lock();
        let (kept, refilled) = match &state.dropped_records {
            Some(dropped) if dropped.whole.is_some_and(|whole| number >= whole) => (number, true),
            Some(dropped) => (number.min(dropped.first - 1), false),
            None => (number, false),
        };
        let refilled = if refilled { state.dropped_records.take() } else { None };
        self.kept.fetch_max(kept, Ordering::AcqRel);
        state.failure = None;
        let unannounced = state.unannounced.is_some();
        state.unannounced.take_if(|newest| *newest <= kept);
        self.moved(state);
        // The last handle of the document may be among it.
        drop(refilled);
        unannounced
    }

    /// Tells status callbacks that records are being written.
    pub(crate) fn note_writing(&self) {
        let state = self.state.lock();
        if !state.status_callbacks.is_empty() && state.shown == Status::Kept {
            self.moved(state);
        }
    }

    /// Notes that a try to write failed.
    pub(crate) fn note_failure(&self, error: &AdapterError) {
        let mut state = self.state.lock();
        state.failure = Some(error.clone());
        state.failures += 1;
        self.moved(state);
    }

    /// The document takes no further change.
    pub(crate) fn make_read_only(&self, reason: impl Into<Arc<str>>) {
        let mut state = self.state.lock();
        state.read_only = Some(reason.into());
        let held = state.let_go();
        self.moved(state);
        drop(held);
    }

    /// Whether the last try to write failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.state.lock().failure.is_some()
    }

    /// Whether the document takes no change.
    pub(crate) fn is_read_only(&self) -> bool {
        self.state.lock().read_only.is_some()
    }

    /// Records are dropped from now on, until the whole document is recorded. Returns whether this
    /// is new. Callbacks are told later, by the writer.
    pub(crate) fn go_on_in_memory(&self) -> bool {
        let document = self.hooks.get().and_then(|hooks| (hooks.hold)());
        let mut state = self.state.lock();
        if state.is_in_memory() {
            return false;
        }
        let first = match &state.dropped_records {
            Some(earlier) => earlier.first,
            None => self.recorded() + 1,
        };
        let dropped = DroppedRecords { first, whole: None, document };
        let earlier = state.dropped_records.replace(dropped);
        let is_over = state.closed || state.read_only.is_some();
        let held = if is_over { state.let_go() } else { None };
        drop(state);
        drop((earlier, held));
        true
    }

    pub(crate) fn is_in_memory(&self) -> bool {
        self.state.lock().is_in_memory()
    }

    /// Notes the record of the whole document: the next records are not dropped.
    pub(crate) fn note_whole(&self, number: u64) {
        let mut state = self.state.lock();
        if let Some(dropped) = &mut state.dropped_records {
            dropped.whole = Some(number);
            // A change that was made in memory may not have been announced yet, and its thread does
            // not wait.
            state.unannounced = state.unannounced.max(Some(number));
        }
    }

    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let held = state.let_go();
        self.moved(state);
        drop(held);
    }

    /// Notes that no handle of the document is left.
    pub(crate) fn note_dropped(&self) {
        self.state.lock().dropped = true;
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.state.lock().dropped
    }

    /// Tells those who need not wait any longer, outside the lock. A callback that panics does not
    /// stop the others.
    fn moved(&self, mut state: parking_lot::MutexGuard<'_, State>) {
        let (stay, woken) = std::mem::take(&mut state.sleepers).into_iter().partition(|sleeper| {
            matches!(self.wait_of(&state, sleeper.number, sleeper.failures), Wait::Longer)
        });
        state.sleepers = stay;
        let woken: Vec<Sleeper> = woken;
        let status = self.status_of(&state);
        let is_new = status != state.shown;
        state.shown = status.clone();
        let told: Vec<StatusCallback> = match is_new {
            true => state.status_callbacks.iter().map(|(_, call)| Arc::clone(call)).collect(),
            false => Vec::new(),
        };
        let callbacks = state.callbacks.clone();
        drop(state);
        for sleeper in woken {
            guarded(|| sleeper.waker.wake());
        }
        for call in &told {
            guarded(|| call(&status));
        }
        let ended: Vec<_> = callbacks
            .into_iter()
            .filter(|call| guarded(|| call()).is_none_or(|goes_on| !goes_on))
            .collect();
        if !ended.is_empty() {
            let is_ended = |call: &Arc<_>| ended.iter().any(|ended| Arc::ptr_eq(ended, call));
            self.state.lock().callbacks.retain(|call| !is_ended(call));
        }
    }

    /// Calls `call` whenever records became kept, until it returns false.
    pub(crate) fn on_kept(&self, call: Box<dyn Fn() -> bool + Send + Sync>) {
        self.state.lock().callbacks.push(Arc::from(call));
    }

    /// Calls `call` whenever the status changes. Returns a number to end it.
    pub(crate) fn on_status(&self, call: StatusCallback) -> u64 {
        let mut state = self.state.lock();
        state.next_callback += 1;
        let number = state.next_callback;
        state.status_callbacks.push((number, call));
        number
    }

    pub(crate) fn end_on_status(&self, number: u64) {
        let mut state = self.state.lock();
        let at = state.status_callbacks.iter().position(|(found, _)| *found == number);
        let ended = at.map(|at| state.status_callbacks.swap_remove(at));
        drop(state);
        // The callback may own anything: it is dropped outside the lock.
        drop(ended);
    }

    pub(crate) fn status(&self) -> Status {
        self.status_of(&self.state.lock())
    }

    fn status_of(&self, state: &State) -> Status {
        let behind = self.recorded().saturating_sub(self.kept());
        match state {
            State { read_only: Some(reason), .. } => {
                Status::ReadOnly { reason: reason.to_string() }
            }
            state if state.is_in_memory() => Status::InMemory { error: state.failure.clone() },
            State { failure: Some(error), .. } => Status::Failing { behind, error: error.clone() },
            State { closed: true, .. } => Status::Closed { behind },
            _ if behind > 0 => Status::Behind { behind },
            _ => Status::Kept,
        }
    }

    /// The number of failed tries so far.
    pub(crate) fn failures(&self) -> u64 {
        self.state.lock().failures
    }

    /// How the wait for a record stands. `failures` is the number of failed tries at its begin.
    fn wait_of(&self, state: &State, number: u64, failures: u64) -> Wait {
        if self.kept() >= number {
            return Wait::Kept;
        }
        match state {
            State { read_only: Some(reason), .. } => Wait::ReadOnly(Arc::clone(reason)),
            State { failure: Some(error), failures: now, .. } if *now > failures => {
                Wait::Failed(error.clone())
            }
            state if state.is_in_memory() => Wait::InMemory,
            State { closed: true, .. } => Wait::Closed,
            _ => Wait::Longer,
        }
    }

    /// How the wait for a record stands. If it goes on, `waker` is woken when that may have changed.
    pub(crate) fn poll(&self, number: u64, failures: u64, waker: &Waker) -> Wait {
        let mut state = self.state.lock();
        let wait = self.wait_of(&state, number, failures);
        if matches!(wait, Wait::Longer) {
            let is_known = |known: &Sleeper| {
                (known.number, known.failures) == (number, failures) && known.waker.will_wake(waker)
            };
            if !state.sleepers.iter().any(is_known) {
                state.sleepers.push(Sleeper { number, failures, waker: waker.clone() });
            }
        }
        wait
    }

    /// Blocks until the record is on disk, or a try to write it failed.
    pub(crate) fn wait(&self, number: u64, failures: u64) -> Wait {
        let waker = this_thread();
        loop {
            let wait = self.poll(number, failures, &waker);
            if !matches!(wait, Wait::Longer) {
                return wait;
            }
            thread::park();
        }
    }

    /// Blocks until the record is on disk, whatever fails meanwhile, but no longer than `max`. If
    /// the wait ends early, the change is announced when it is on disk.
    #[expect(clippy::disallowed_methods, reason = "a wait has an end by the clock")]
    pub(crate) fn wait_long(&self, number: u64, max: Duration) {
        let end = Instant::now() + max;
        let waker = this_thread();
        // No number of failures ends this wait.
        while matches!(self.poll(number, u64::MAX, &waker), Wait::Longer) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let mut state = self.state.lock();
                state.sleepers.retain(|sleeper| !sleeper.waker.will_wake(&waker));
                // It may be on disk by now: then nothing is left to announce.
                if self.kept() < number {
                    state.unannounced = state.unannounced.max(Some(number));
                }
                return;
            }
            thread::park_timeout(left);
        }
    }
}

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn this_thread() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}

/// Runs code of the application. `None` if it panicked.
fn guarded<R>(call: impl FnOnce() -> R) -> Option<R> {
    let called = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
    if called.is_err() {
        tracing::error!(target: "exostate", "a callback of the storage panicked");
    }
    called.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a log notes the time")]
    fn a_log_is_compacted_when_it_is_quiet_or_very_long() {
        let now = Instant::now();
        let mut log = Log::default();
        let mut write = |bytes| log.note_written(bytes, 10, now);
        assert_eq!(write(10), None);
        assert_eq!(write(1), Some(Compaction::Quiet));
        assert_eq!(write(29), None, "it waits already");
        assert_eq!(write(1), Some(Compaction::Now));
        assert_eq!(write(100), None, "it is under way");
    }
}
