//! The options of a storage.

use std::time::Duration;

/// What happens with a change when the queue of records that are not on disk yet is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// The change or import is refused with an error. It can be made again later.
    #[default]
    Refuse,
    /// The change is made in memory, and the status says so. Once the disk takes records again, the
    /// whole document is written.
    GoOn,
}

/// When a change is announced to listeners, watchers and peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// As soon as the record of the change is queued. `flush`, and the acknowledgement of a peer,
    /// mean the disk.
    #[default]
    Acknowledge,
    /// After the record is on disk. Each change waits for that. Changes of several threads are
    /// written together.
    EveryCommit,
}

/// How snapshots are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// With LZ4. Snapshots of text become about half as long; opening a document takes hardly
    /// longer.
    Lz4,
}

/// The options of a [`Storage`](crate::Storage).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageOptions {
    pub(crate) durability: Durability,
    pub(crate) when_full: WhenFull,
    pub(crate) compression: Compression,
    pub(crate) group_records_max: usize,
    pub(crate) group_bytes_max: usize,
    pub(crate) group_time_max: Duration,
    pub(crate) queue_records_max: usize,
    pub(crate) queue_bytes_max: usize,
    pub(crate) retry_min: Duration,
    pub(crate) retry_max: Duration,
    pub(crate) wait_max: Duration,
    pub(crate) compact_bytes_min: u64,
    pub(crate) attachments_every: Duration,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            when_full: WhenFull::default(),
            compression: Compression::default(),
            group_records_max: 16_384,
            group_bytes_max: 1 << 20,
            group_time_max: Duration::from_millis(20),
            queue_records_max: 262_144,
            queue_bytes_max: 64 << 20,
            retry_min: Duration::from_millis(50),
            retry_max: Duration::from_secs(5),
            wait_max: Duration::from_secs(10),
            compact_bytes_min: 256 << 10,
            attachments_every: Duration::from_secs(5),
        }
    }
}

/// The longest time of an option. A longer one, such as [`Duration::MAX`], means the same: never.
/// A point in time that much later can be computed on all systems.
const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl StorageOptions {
    /// The default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// When a change is announced. Default: [`Durability::Acknowledge`].
    #[must_use]
    pub fn with_durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// What happens with a change when the queue is full. Default: [`WhenFull::Refuse`].
    #[must_use]
    pub fn with_when_full(self, when_full: WhenFull) -> Self {
        Self { when_full, ..self }
    }

    /// How snapshots are compressed. Default: [`Compression::None`].
    #[must_use]
    pub fn with_compression(self, compression: Compression) -> Self {
        Self { compression, ..self }
    }

    /// The writer writes what has come as one group: after this time, or earlier if that many
    /// records or bytes have come, or if a `flush` waits. Default: 16,384 records, 1 MiB, 20 ms.
    /// A group has at least one record.
    #[must_use]
    pub fn with_group(self, records_max: usize, bytes_max: usize, time_max: Duration) -> Self {
        Self {
            group_records_max: records_max.max(1),
            group_bytes_max: bytes_max.max(1),
            group_time_max: time_max.min(TIME_MAX),
            ..self
        }
    }

    /// The bounds of the queue of records that are not on disk yet, over all documents. One change
    /// may exceed the bound in bytes, as its size is not known before. A document of which the last
    /// try to write failed gets room only while the queue is less than half full, so that there is
    /// room for the other documents. Default: 262,144 records, 64 MiB.
    #[must_use]
    pub fn with_queue(self, records_max: usize, bytes_max: usize) -> Self {
        Self { queue_records_max: records_max.max(1), queue_bytes_max: bytes_max.max(1), ..self }
    }

    /// The time between two tries to write a group. It begins with `min`, and doubles up to `max`,
    /// with jitter. Default: 50 ms, 5 s.
    #[must_use]
    pub fn with_retry(self, min: Duration, max: Duration) -> Self {
        let min = min.clamp(Duration::from_millis(1), TIME_MAX);
        Self { retry_min: min, retry_max: max.clamp(min, TIME_MAX), ..self }
    }

    /// With [`Durability::EveryCommit`]: how long a change waits for a disk that fails. After that
    /// the change returns; it is announced as soon as it is on disk. Keep it well below the idle
    /// time-out of peers (30 s), whose conversations wait too. Default: 10 s.
    #[must_use]
    pub fn with_wait_max(self, wait_max: Duration) -> Self {
        Self { wait_max: wait_max.min(TIME_MAX), ..self }
    }

    /// A document is compacted (a new snapshot takes the place of its log) when its log is longer
    /// than its snapshot and longer than this: once nothing has been written for a second, or when
    /// the log is four times as long. Default: 256 KiB.
    #[must_use]
    pub fn with_compact_bytes_min(self, bytes_min: u64) -> Self {
        Self { compact_bytes_min: bytes_min, ..self }
    }

    /// How often undo stacks and histories that have changed are written. They are also written at
    /// each `flush` and when they are dropped. Default: 5 s.
    #[must_use]
    pub fn with_attachments_every(self, time: Duration) -> Self {
        Self { attachments_every: time.min(TIME_MAX), ..self }
    }
}
