//! The writer: one thread that writes what all documents have queued, in groups.
//!
//! Each group becomes one record for each document in it. If a record cannot be written, it is
//! stuck: it is tried again with back-off, and later records of the document wait behind it. The
//! other documents go on, as long as the queue has room: what is stuck counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::adapter::{Adapter, AdapterError, AdapterErrorKind, Append};
use crate::background::Job;
use crate::document::{Compaction, KeptDocument};
use crate::entry::Entry;
use crate::envelope::{Kind, seal};
use crate::options::Compression;
use crate::queue::{Done, Item, Next, Task};
use crate::shared::Shared;

/// A record for the adapter.
struct Block {
    /// The number of the record for the adapter.
    number: u64,
    bytes: Vec<u8>,
    /// The document's record that is on disk with this block, with all before.
    through: u64,
    /// What the block has taken of the queue's room.
    room: (usize, usize),
}

/// The blocks of one document, in order.
struct Pending {
    document: Arc<KeptDocument>,
    blocks: Vec<Block>,
    /// The last try failed, with no other document in it.
    fails_alone: bool,
}

/// If documents cannot be written together, they are divided in halves this many times, until those
/// that cannot be written are found. This finds one in a thousand, and ends soon if it is the whole
/// disk that fails.
const DIVISIONS_MAX: usize = 16;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    /// What could not be written, by the name of the document.
    stuck: BTreeMap<Arc<str>, Pending>,
    retry_at: Option<Instant>,
    retry_after: Duration,
    /// A task failed and was given up: the adapter must be synced before anything else is written.
    gave_up: bool,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let retry_after = shared.options.retry_min;
        Self { shared, stuck: BTreeMap::new(), retry_at: None, retry_after, gave_up: false }
    }

    /// Works until the storage is closed.
    pub(crate) fn run(mut self) {
        loop {
            match self.shared.queue.next(self.retry_at) {
                Next::Group(items) => self.write(items),
                Next::Task(task) => self.do_task(task),
                Next::Retry => self.retry(),
                Next::End => break,
            }
        }
        self.end();
    }

    /// The last try for what is stuck. Then everyone who waits is told.
    fn end(mut self) {
        let stuck = std::mem::take(&mut self.stuck);
        self.try_all(stuck.into_values().collect(), usize::MAX);
        for pending in self.stuck.values() {
            let document = &pending.document.name;
            tracing::error!(target: "exostate", %document, "closed with changes that are not on disk");
        }
        self.shared.close_documents();
    }

    fn write(&mut self, items: Vec<Item>) {
        let mut ready = Vec::new();
        let (read_only, items): (Vec<Item>, Vec<Item>) =
            items.into_iter().partition(|item| item.document.is_read_only());
        // Nothing is ever written over damage.
        let bytes = read_only.iter().map(Item::bytes).sum();
        self.shared.queue.done(read_only.len(), bytes);
        for pending in blocks(items) {
            pending.document.note_writing();
            match self.stuck.get_mut(&pending.document.name) {
                Some(stuck) => stuck.blocks.extend(pending.blocks),
                None => ready.push(pending),
            }
        }
        self.try_all(ready, DIVISIONS_MAX);
    }

    fn retry(&mut self) {
        let mut stuck: Vec<Pending> = std::mem::take(&mut self.stuck).into_values().collect();
        // In any order, so that each document's turn comes, however many there are.
        fastrand::shuffle(&mut stuck);
        self.retry_at = None;
        self.try_all(stuck, DIVISIONS_MAX);
    }

    /// Tries to write the blocks of documents. Those that failed alone before are tried after the
    /// others, so that these get through at once. What cannot be written is stuck.
    fn try_all(&mut self, pending: Vec<Pending>, mut divisions: usize) {
        let (doubtful, others): (Vec<Pending>, Vec<Pending>) =
            pending.into_iter().partition(|pending| pending.fails_alone);
        self.try_together(others, &mut divisions);
        self.try_together(doubtful, &mut divisions);
        // Room may have come back: records were written or given up.
        self.shared.keep_whole_if_roomy();
        if self.stuck.is_empty() || self.retry_at.is_some() {
            return;
        }
        // Half of the time is jitter, so that many storages on one disk do not try at once.
        let half = self.retry_after / 2;
        self.retry_at = Some(now() + half + half.mul_f64(fastrand::f64()));
        self.retry_after = (self.retry_after * 2).min(self.shared.options.retry_max);
    }

    /// Tries to write documents together, and if that fails each half of them.
    fn try_together(&mut self, mut pending: Vec<Pending>, divisions: &mut usize) {
        if pending.is_empty() {
            return;
        }
        let Err(error) = self.append(&pending) else {
            return pending.into_iter().for_each(|pending| self.written(pending));
        };
        if pending.len() == 1 {
            pending.into_iter().for_each(|pending| self.failed(pending, &error));
        } else if *divisions == 0 {
            pending.into_iter().for_each(|pending| self.stick(pending, &error));
        } else {
            *divisions -= 1;
            let half = pending.split_off(pending.len() / 2);
            self.try_together(pending, divisions);
            self.try_together(half, divisions);
        }
    }

    /// Syncs the adapter if a task was given up.
    fn settle(&mut self) -> Result<(), AdapterError> {
        if self.gave_up {
            self.shared.adapter.sync()?;
            self.gave_up = false;
        }
        Ok(())
    }

    /// Does a task, and syncs. A task that fails is not tried again: whoever gave it is told.
    fn try_task(
        &mut self,
        work: impl FnOnce(&dyn Adapter) -> Result<(), AdapterError>,
    ) -> Result<(), AdapterError> {
        self.settle()?;
        let adapter = &*self.shared.adapter;
        let done = work(adapter).and_then(|()| adapter.sync());
        self.gave_up = done.is_err();
        done
    }

    /// Writes and syncs.
    fn append(&mut self, pending: &[Pending]) -> Result<(), AdapterError> {
        let records: Vec<Append<'_>> = pending
            .iter()
            .flat_map(|pending| {
                let document = &*pending.document.name;
                pending.blocks.iter().map(move |block| Append {
                    document,
                    number: block.number,
                    bytes: &block.bytes,
                })
            })
            .collect();
        self.settle()?;
        self.shared.adapter.append(&records)?;
        self.shared.adapter.sync()
    }

    /// Notes what is on disk now.
    fn written(&mut self, pending: Pending) {
        if self.stuck.is_empty() {
            self.retry_after = self.shared.options.retry_min;
        }
        let Pending { document, blocks, .. } = pending;
        let through = blocks.last().map_or(0, |block| block.through);
        let bytes: u64 = blocks.iter().map(|block| block.bytes.len() as u64).sum();
        self.give_room(&blocks);
        let (bytes_min, now) = (self.shared.options.compact_bytes_min, now());
        let compaction = document.log.lock().note_written(bytes, bytes_min, now);
        if document.note_kept(through) {
            self.shared.jobs.add(Job::Announce(Arc::clone(&document)));
        }
        match compaction {
            Some(Compaction::Now) => self.shared.jobs.add(Job::Compact(Arc::clone(&document))),
            Some(Compaction::Quiet) => self.shared.jobs.add_when_quiet(&document, now),
            None => {}
        }
        self.shared.forget_if_done(&document);
    }

    /// A document cannot be written, with no other document in the same try.
    fn failed(&mut self, pending: Pending, error: &AdapterError) {
        let document = Arc::clone(&pending.document);
        tracing::warn!(target: "exostate", document = %document.name, %error, "not written");
        if matches!(error.kind(), AdapterErrorKind::Damaged | AdapterErrorKind::Name) {
            // Nothing is ever written over damage.
            self.give_room(&pending.blocks);
            document.make_read_only(error.to_string());
            return;
        }
        self.stick(Pending { fails_alone: true, ..pending }, error);
    }

    /// Keeps blocks for the next try.
    fn stick(&mut self, pending: Pending, error: &AdapterError) {
        pending.document.note_failure(error);
        self.stuck.insert(Arc::clone(&pending.document.name), pending);
    }

    fn give_room(&self, blocks: &[Block]) {
        let (records, bytes) = blocks
            .iter()
            .fold((0, 0), |(records, bytes), block| (records + block.room.0, bytes + block.room.1));
        self.shared.queue.done(records, bytes);
    }

    fn do_task(&mut self, task: Task) {
        match task {
            // A document that nobody holds may be deleted, and must not come back by this.
            Task::Replace { document, .. } if document.is_dropped() => {}
            // Records of it are to be written again, and nothing may come before them.
            Task::Replace { document, .. } if self.stuck.contains_key(&document.name) => {
                document.log.lock().put_off_compaction();
            }
            Task::Replace { document, covers, snapshot, log_bytes } => {
                let replaced =
                    self.try_task(|adapter| adapter.replace(&document.name, covers, &snapshot));
                let mut log = document.log.lock();
                log.compacts = false;
                match replaced {
                    Ok(()) => {
                        log.snapshot_bytes = snapshot.len() as u64;
                        log.log_bytes = log.log_bytes.saturating_sub(log_bytes);
                    }
                    Err(error) => {
                        log.put_off_compaction();
                        tracing::warn!(
                            target: "exostate", document = %document.name, %error, "not compacted"
                        );
                    }
                }
            }
            Task::Write { document, covers, snapshot, done } => {
                let write = |adapter: &dyn Adapter| adapter.overwrite(&document, covers, &snapshot);
                tell(&done, self.try_task(write));
            }
            Task::Delete { document, done } => {
                tell(&done, self.try_task(|adapter| adapter.delete(&document)));
            }
        }
    }
}

fn tell(done: &Done, result: Result<(), AdapterError>) {
    // Nobody waits any longer if this fails.
    let _ = done.send(result);
}

#[expect(clippy::disallowed_methods, reason = "the writer retries by the clock")]
fn now() -> Instant {
    Instant::now()
}

/// What a group has of one document.
struct Share {
    document: Arc<KeptDocument>,
    entries: Vec<Entry>,
    through: u64,
    room: (usize, usize),
}

/// One block for each document of a group.
fn blocks(items: Vec<Item>) -> Vec<Pending> {
    let mut shares: BTreeMap<Arc<str>, Share> = BTreeMap::new();
    for item in items {
        let bytes = item.bytes();
        let share = shares.entry(Arc::clone(&item.document.name)).or_insert_with(|| Share {
            document: Arc::clone(&item.document),
            entries: Vec::new(),
            through: 0,
            room: (0, 0),
        });
        share.entries.extend(item.entries);
        share.through = item.number;
        share.room = (share.room.0 + 1, share.room.1 + bytes);
    }
    shares.into_values().map(block).collect()
}

/// Gives a block the next number of its document.
fn block(share: Share) -> Pending {
    let Share { document, entries, through, room } = share;
    let number = {
        let mut log = document.log.lock();
        log.next += 1;
        log.next - 1
    };
    let bytes = seal(Kind::Record, &document.name, number, &entries, Compression::None);
    let blocks = vec![Block { number, bytes, through, room }];
    Pending { document, blocks, fails_alone: false }
}
