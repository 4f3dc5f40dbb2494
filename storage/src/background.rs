//! Work in the background, on a thread of its own: compaction, undo stacks, late announcements.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::attachments;
use crate::document::KeptDocument;
use crate::envelope::{Kind, seal};
use crate::load::load;
use crate::queue::Task;
use crate::shared::Shared;

/// A piece of work on one document.
pub(crate) enum Job {
    /// Makes a snapshot of everything that is on disk now.
    Compact(Arc<KeptDocument>),
    /// Records the whole document, as records were dropped.
    KeepWhole(Arc<KeptDocument>),
    /// Tells listeners and watchers of changes that were not announced in time.
    Announce(Arc<KeptDocument>),
}

/// The jobs that wait.
#[derive(Default)]
pub(crate) struct Jobs {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// The documents that are to be compacted when they are quiet, with the time to look at them.
    when_quiet: VecDeque<(Instant, Arc<KeptDocument>)>,
    closed: bool,
}

/// A document is quiet if nothing of it was written for this time.
const QUIET: Duration = Duration::from_secs(1);

enum NextJob {
    Job(Job),
    /// It is time to look whether this document is quiet.
    IsQuiet(Arc<KeptDocument>),
    /// It is time to save undo stacks and histories.
    Attachments,
    End,
}

impl Jobs {
    pub(crate) fn add(&self, job: Job) {
        self.state.lock().jobs.push_back(job);
        self.work.notify_one();
    }

    /// Compacts a document once nothing has been written of it for a while. The last time was `at`.
    pub(crate) fn add_when_quiet(&self, document: &Arc<KeptDocument>, at: Instant) {
        self.state.lock().when_quiet.push_back((at + QUIET, Arc::clone(document)));
        self.work.notify_one();
    }

    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_one();
    }

    /// Lets the thread notice that there are attachments now.
    pub(crate) fn wake(&self) {
        // The thread looks for attachments and goes to sleep under the lock.
        drop(self.state.lock());
        self.work.notify_one();
    }

    fn next(&self, shared: &Shared, attachments_at: Instant) -> NextJob {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return NextJob::End;
            }
            let saves = shared.has_attachments.load(Ordering::Relaxed);
            if saves && attachments_at <= now() {
                return NextJob::Attachments;
            }
            if let Some(job) = state.jobs.pop_front() {
                return NextJob::Job(job);
            }
            let quiet_at = state.when_quiet.front().map(|(at, _)| *at);
            if quiet_at.is_some_and(|at| at <= now())
                && let Some((_, document)) = state.when_quiet.pop_front()
            {
                return NextJob::IsQuiet(document);
            }
            match saves.then_some(attachments_at).into_iter().chain(quiet_at).min() {
                Some(end) => drop(self.work.wait_until(&mut state, end)),
                None => self.work.wait(&mut state),
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "work in the background is done by the clock")]
fn now() -> Instant {
    Instant::now()
}

/// Works until the storage is closed.
pub(crate) fn run(shared: &Shared) {
    let mut attachments_at = now() + shared.options.attachments_every;
    loop {
        match shared.jobs.next(shared, attachments_at) {
            NextJob::Job(Job::Compact(document)) => try_compact(shared, &document),
            NextJob::IsQuiet(document) => compact_if_quiet(shared, &document),
            NextJob::Job(Job::KeepWhole(document)) => keep_whole(&document),
            NextJob::Job(Job::Announce(document)) => {
                call(&document, |hooks| (hooks.announce)());
            }
            NextJob::Attachments => {
                for document in shared.known() {
                    let why = attachments::Why::Time;
                    call(&document, |_| attachments::save_changed(shared, &document, why));
                }
                attachments_at = now() + shared.options.attachments_every;
            }
            NextJob::End => return,
        }
    }
}

/// Records a document as a whole, if records of it were dropped.
pub(crate) fn keep_whole(document: &KeptDocument) {
    if document.is_in_memory() {
        call(document, |hooks| (hooks.keep_whole)());
    }
}

/// Calls into a document. Watchers may panic there. Returns whether the work was done.
fn call(document: &KeptDocument, work: impl FnOnce(&crate::document::Hooks)) -> bool {
    let Some(hooks) = document.hooks.get() else { return false };
    let called = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(hooks)));
    if called.is_err() {
        let document = &document.name;
        tracing::error!(target: "exostate", %document, "work in the background panicked");
    }
    called.is_ok()
}

/// Compacts a document if it is quiet. If not, it is looked at again later.
fn compact_if_quiet(shared: &Shared, document: &Arc<KeptDocument>) {
    let mut log = document.log.lock();
    if let Some(written_at) = log.written_at.filter(|at| now() < *at + QUIET) {
        drop(log);
        return shared.jobs.add_when_quiet(document, written_at);
    }
    log.waits_for_quiet = false;
    let compacts = log.is_long(shared.options.compact_bytes_min);
    log.compacts |= compacts;
    drop(log);
    if compacts {
        try_compact(shared, document);
    }
}

fn try_compact(shared: &Shared, document: &Arc<KeptDocument>) {
    if !call(document, |_| compact(shared, document)) {
        document.log.lock().put_off_compaction();
    }
}

/// Makes a snapshot of what is on disk, beside the open document: an edit never waits for it.
/// O(document) time and memory.
fn compact(shared: &Shared, document: &Arc<KeptDocument>) {
    let snapshot = read_and_compact(shared, document);
    let task = snapshot.map(|(covers, snapshot, log_bytes)| {
        let document = Arc::clone(document);
        shared.queue.add_task(Task::Replace { document, covers, snapshot, log_bytes })
    });
    if !matches!(task, Some(Ok(()))) {
        document.log.lock().put_off_compaction();
    }
}

fn read_and_compact(shared: &Shared, document: &KeptDocument) -> Option<(u64, Vec<u8>, u64)> {
    let name = &*document.name;
    let stored = match shared.adapter.read(name) {
        Ok(stored) => stored?,
        Err(error) => {
            tracing::warn!(target: "exostate", document = name, %error, "not compacted");
            return None;
        }
    };
    let last = stored.records.last().map(|(number, _)| *number)?;
    let loaded = load(name, stored, Some(last));
    if let Some(damage) = loaded.damage {
        tracing::error!(target: "exostate", document = name, %damage, "not compacted");
        return None;
    }
    let entries = (document.hooks.get()?.compact)(loaded.content)?;
    let compression = shared.options.compression;
    let snapshot = seal(Kind::Snapshot, name, loaded.last, &entries, compression);
    Some((loaded.last, snapshot, loaded.log_bytes))
}
