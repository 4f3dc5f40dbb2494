//! The storage of a simulated replica. It writes later than the replica records.

use exostate::{Backend, Document, KeepError, Keeper, Options, Record};
use fastrand::Rng;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// A record, as the storage writes it.
enum Written {
    Updates(Vec<Vec<u8>>),
    Whole {
        document: Vec<u8>,
        pending: Vec<Vec<u8>>,
    },
    Lineage(u64),
    /// The replica is always opened under a fresh id.
    Replica,
}

#[derive(Default)]
struct Records {
    all: Vec<Written>,
    kept: usize,
    /// The records that are being written, as their number, and the time when they are written.
    writing: Option<(usize, Duration)>,
}

/// A keeper whose records survive a crash only once they are written.
pub(crate) struct Disk {
    records: Mutex<Records>,
    /// The longest time that a write takes.
    ms_max: u64,
}

impl Disk {
    pub(crate) fn new(ms_max: u64) -> Self {
        Self { records: Mutex::default(), ms_max }
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().expect("no panic")
    }

    /// Finishes the write that is due, and begins the next one.
    pub(crate) fn work(&self, now: Duration, rng: &mut Rng) {
        let mut records = self.lock();
        if let Some((number, _)) = records.writing.take_if(|(_, at)| *at <= now) {
            records.kept = number;
        }
        if records.writing.is_none() && records.kept < records.all.len() {
            let takes = Duration::from_millis(rng.u64(..=self.ms_max));
            records.writing = Some((records.all.len(), now + takes));
        }
    }

    /// When the next write is done.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.lock().writing.map(|(_, at)| at)
    }

    /// Writes everything at once.
    pub(crate) fn flush(&self) {
        let mut records = self.lock();
        records.kept = records.all.len();
        records.writing = None;
    }

    /// Makes the document again from what was written. The rest is lost.
    pub(crate) fn open<B: Backend>(&self, options: Options, ids_used_twice: bool) -> Document<B> {
        let mut records = self.lock();
        let kept = records.kept;
        records.all.truncate(kept);
        records.writing = None;
        let whole = records.all.iter().rposition(|record| matches!(record, Written::Whole { .. }));
        let document = match whole.map(|at| &records.all[at]) {
            Some(Written::Whole { document, .. }) => {
                Document::open_with(document, options).expect("what was written")
            }
            _ => Document::with_options(options),
        };
        for (at, record) in records.all.iter().enumerate() {
            let updates = match record {
                Written::Lineage(lineage) => {
                    document.follow(*lineage);
                    continue;
                }
                Written::Updates(updates) if whole.is_none_or(|whole| at > whole) => updates,
                Written::Whole { pending, .. } if whole == Some(at) => pending,
                _ => continue,
            };
            for update in updates {
                // After an id was used twice, some of the updates may not fit.
                let applied = document.apply_trusted(update);
                assert!(applied.is_ok() || ids_used_twice, "{applied:?}");
            }
        }
        document
    }
}

impl Keeper for Disk {
    fn reserve(&self) -> Result<(), KeepError> {
        Ok(())
    }

    fn release(&self) {}

    fn record(&self, record: Record<'_>) -> u64 {
        let record = match record {
            Record::Updates(updates) => {
                Written::Updates(updates.iter().map(|update| update.to_vec()).collect())
            }
            Record::Pending(updates) => {
                Written::Updates(updates.iter().map(|update| update.to_vec()).collect())
            }
            Record::Whole { document, pending } => Written::Whole { document, pending },
            Record::Lineage(lineage) => Written::Lineage(lineage),
            Record::Replica(_) => Written::Replica,
            other => panic!("a record that this storage does not know: {other:?}"),
        };
        let mut records = self.lock();
        records.all.push(record);
        records.all.len() as u64
    }

    fn recorded(&self) -> u64 {
        self.lock().all.len() as u64
    }

    fn kept(&self) -> u64 {
        self.lock().kept as u64
    }

    fn announces_kept(&self) -> bool {
        false
    }

    fn wait(&self, _: u64) {}

    /// The simulation looks at all replicas whenever a write is done.
    fn on_kept(&self, _: Box<dyn Fn() -> bool + Send + Sync>) {}
}
