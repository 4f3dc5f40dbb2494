//! The queue between the documents and the writer: bounded, and shared by all documents.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::adapter::AdapterError;
use crate::document::KeptDocument;
use crate::entry::Entry;
use crate::options::StorageOptions;

/// A record of a document that is to be written.
pub(crate) struct Item {
    pub(crate) document: Arc<KeptDocument>,
    /// The number of the record.
    pub(crate) number: u64,
    pub(crate) entries: Vec<Entry>,
}

impl Item {
    pub(crate) fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.len() + ENTRY_BYTES).sum()
    }
}

/// The overhead of an entry in memory, about.
const ENTRY_BYTES: usize = 32;

/// Work of the writer beside records.
pub(crate) enum Task {
    /// Puts a snapshot in place of the records up to a number.
    Replace {
        document: Arc<KeptDocument>,
        covers: u64,
        snapshot: Vec<u8>,
        /// The length of the records that the snapshot takes the place of.
        log_bytes: u64,
    },
    /// Writes a snapshot of a document that is not open, in place of what there is.
    Write { document: String, covers: u64, snapshot: Vec<u8>, done: Done },
    /// Deletes a document that is not open.
    Delete { document: String, done: Done },
}

/// Where the result of a task goes.
pub(crate) type Done = Sender<Result<(), AdapterError>>;

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    tasks: VecDeque<Task>,
    /// The records and bytes in `items`, and those that the writer has taken and not written yet.
    records: usize,
    bytes: usize,
    /// The records and bytes in `items` alone.
    waiting_bytes: usize,
    /// Changes that have got room and are not recorded yet.
    reserved: usize,
    /// The time at which the first of the waiting items came.
    since: Option<Instant>,
    /// Somebody waits for the disk: the next group is not to wait for more.
    urgent: bool,
    /// The writer waits for work, without a time limit.
    idle: bool,
    closing: bool,
    /// The writer has ended: nothing is taken any more.
    ended: bool,
}

pub(crate) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    options: StorageOptions,
}

/// What the writer is to do next.
pub(crate) enum Next {
    Group(Vec<Item>),
    Task(Task),
    /// The time for a retry has come.
    Retry,
    /// The storage is closed, and nothing is left in the queue.
    End,
}

impl Queue {
    pub(crate) fn new(options: StorageOptions) -> Self {
        Self { state: Mutex::default(), work: Condvar::new(), options }
    }

    /// Reserves room for one record. `Err` has the number of records and bytes in the queue.
    ///
    /// A document that cannot be written gets room only in the first half of the queue, so that
    /// such documents leave room for the others.
    pub(crate) fn reserve(&self, is_failing: bool) -> Result<(), (usize, usize)> {
        let mut state = self.state.lock();
        if !self.has_room_in(&state, is_failing) {
            return Err((state.records, state.bytes));
        }
        state.reserved += 1;
        Ok(())
    }

    /// Reserves room for one record, whether there is room or not.
    pub(crate) fn reserve_anyway(&self) {
        self.state.lock().reserved += 1;
    }

    /// Gives reserved room back.
    pub(crate) fn release(&self) {
        let mut state = self.state.lock();
        state.reserved = state.reserved.saturating_sub(1);
    }

    /// Adds an item under the document's next number, and returns the number. With `urgent` the
    /// writer takes the item as soon as it can. Nothing is taken any more once the writer has ended:
    /// [`Queue::is_ended`] says so.
    pub(crate) fn push(
        &self,
        document: &Arc<KeptDocument>,
        entries: Vec<Entry>,
        urgent: bool,
    ) -> u64 {
        let mut state = self.state.lock();
        let number = document.next_record();
        if state.ended || document.is_read_only() {
            return number;
        }
        // The writer must know it when it writes the item.
        if entries.iter().any(|entry| matches!(entry, Entry::Whole(_))) {
            document.note_whole(number);
        }
        let item = Item { document: Arc::clone(document), number, entries };
        let bytes = item.bytes();
        state.records += 1;
        state.bytes += bytes;
        state.waiting_bytes += bytes;
        state.items.push_back(item);
        state.urgent |= urgent;
        let wakes = state.urgent || state.idle || self.is_group(&state);
        drop(state);
        if wakes {
            self.work.notify_one();
        }
        number
    }

    /// Whether the waiting items are as many as one group takes.
    fn is_group(&self, state: &State) -> bool {
        state.items.len() >= self.options.group_records_max
            || state.waiting_bytes >= self.options.group_bytes_max
    }

    /// Lets the writer take what waits without waiting for more.
    pub(crate) fn hurry(&self) {
        let mut state = self.state.lock();
        state.urgent = true;
        let wakes = !state.items.is_empty();
        drop(state);
        if wakes {
            self.work.notify_one();
        }
    }

    /// Adds a task. `Err` gives it back if the storage is closing.
    pub(crate) fn add_task(&self, task: Task) -> Result<(), Task> {
        let mut state = self.state.lock();
        if state.closing {
            return Err(task);
        }
        state.tasks.push_back(task);
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Notes that the writer has written records, or has given them up.
    pub(crate) fn done(&self, records: usize, bytes: usize) {
        let mut state = self.state.lock();
        state.records = state.records.saturating_sub(records);
        state.bytes = state.bytes.saturating_sub(bytes);
    }

    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.work.notify_one();
    }

    /// The writer has ended before its time. Nothing is taken any more, and what waits is dropped:
    /// whoever waits for a task gets an error by that.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        (state.closing, state.ended) = (true, true);
        let left = (std::mem::take(&mut state.items), std::mem::take(&mut state.tasks));
        drop(state);
        drop(left);
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.state.lock().ended
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.state.lock().closing
    }

    /// Whether a quarter of the queue is free. Documents that cannot be written leave half of it
    /// free, see [`Queue::reserve`].
    pub(crate) fn is_roomy(&self) -> bool {
        let state = self.state.lock();
        let StorageOptions { queue_records_max: records_max, queue_bytes_max: bytes_max, .. } =
            self.options;
        state.records < records_max - records_max / 4 && state.bytes < bytes_max - bytes_max / 4
    }

    /// Whether there is room for a record of a document, see [`Queue::reserve`].
    pub(crate) fn has_room(&self, is_failing: bool) -> bool {
        self.has_room_in(&self.state.lock(), is_failing)
    }

    fn has_room_in(&self, state: &State, is_failing: bool) -> bool {
        let part = if is_failing { 2 } else { 1 };
        state.records + state.reserved < self.options.queue_records_max.div_ceil(part)
            && state.bytes < self.options.queue_bytes_max.div_ceil(part)
    }

    /// Waits for work. Called by the writer alone.
    #[expect(clippy::disallowed_methods, reason = "the writer waits by the clock")]
    pub(crate) fn next(&self, retry_at: Option<Instant>) -> Next {
        let mut state = self.state.lock();
        loop {
            if let Some(task) = state.tasks.pop_front() {
                return Next::Task(task);
            }
            let now = Instant::now();
            if retry_at.is_some_and(|retry_at| retry_at <= now) {
                return Next::Retry;
            }
            if state.items.is_empty() {
                state.since = None;
                state.urgent = false;
                if state.closing {
                    state.ended = true;
                    return Next::End;
                }
                state.idle = true;
                self.wait(&mut state, retry_at);
                state.idle = false;
                continue;
            }
            let begun = *state.since.get_or_insert(now);
            // While one group is written the next one comes together, so it need not wait for more.
            let time = if state.urgent { Duration::ZERO } else { self.options.group_time_max };
            let end = begun + time;
            if state.closing || self.is_group(&state) || end <= now {
                return Next::Group(self.take(&mut state));
            }
            let end = retry_at.map_or(end, |retry_at| retry_at.min(end));
            self.wait(&mut state, Some(end));
        }
    }

    fn wait(&self, state: &mut MutexGuard<'_, State>, end: Option<Instant>) {
        match end {
            Some(end) => drop(self.work.wait_until(state, end)),
            None => self.work.wait(state),
        }
    }

    /// Takes one group.
    fn take(&self, state: &mut State) -> Vec<Item> {
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some(item) = state.items.pop_front() {
            bytes += item.bytes();
            group.push(item);
            if group.len() >= self.options.group_records_max
                || bytes >= self.options.group_bytes_max
            {
                break;
            }
        }
        state.waiting_bytes = state.waiting_bytes.saturating_sub(bytes);
        state.since = None;
        state.urgent &= !state.items.is_empty();
        group
    }
}
