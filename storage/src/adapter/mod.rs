//! Adapters: the places that keep the bytes of documents.
//!
//! An [`Adapter`] knows nothing of CRDTs, checksums or threads: it keeps numbered records and one
//! snapshot for each document. Everything else is the same for all adapters, and lies above them.

#[cfg(feature = "encryption")]
mod encrypted;
#[cfg(feature = "files")]
mod files;
mod memory;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::error::Error;
use std::fmt;

#[cfg(feature = "files")]
pub use self::files::{Disk, DiskFile, FilesAdapter, SystemDisk};
#[cfg(feature = "redb")]
pub use self::redb::RedbAdapter;
#[cfg(feature = "encryption")]
pub use encrypted::{EncryptedAdapter, Key, Keys};
pub use memory::MemoryAdapter;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteAdapter;

/// A place that keeps documents, each with a name of 1 to 255 bytes. For each document it keeps
/// records with ascending numbers (the log), and at most one snapshot that stands for all records
/// up to a number.
///
/// [`Storage`](crate::Storage) calls [`append`](Self::append), [`replace`](Self::replace),
/// [`overwrite`](Self::overwrite), [`delete`](Self::delete) and [`sync`](Self::sync) from one
/// thread, and [`read`](Self::read) and [`list`](Self::list) from any thread at any time. All calls
/// may block.
///
/// **What is on disk.** A call becomes durable with the next [`sync`](Self::sync) that succeeds.
/// After a crash, an adapter has all that was synced, and of the calls after that either
/// everything, or nothing, or a part that is whole records from the front.
///
/// **After an error** of a call that writes, or of `sync`, any part of the calls since the last
/// successful `sync` may be on disk or not. The caller then does one of two things:
///
/// - It makes all calls of a document since that `sync` again, in the same order, before any other
///   call for that document. An adapter takes a number again then: the new record replaces the old
///   one.
/// - It gives the calls up, and calls `sync` until that succeeds, before any other call.
///
/// The conformance suite in `tests/conformance.rs` of this crate says the same as code.
pub trait Adapter: Send + Sync + 'static {
    /// Adds records to the logs of documents. A document begins with its first record or snapshot.
    /// The numbers of a document's records ascend without a gap, except for records that are
    /// appended again. That may be a synced record too, and the records behind it stay.
    ///
    /// # Errors
    /// The records cannot be written.
    fn append(&self, records: &[Append<'_>]) -> Result<(), AdapterError>;

    /// Reads a document: the snapshot, and all records behind it in order. `None` if there is no
    /// such document. Whether this sees calls that are not synced yet is up to the adapter.
    ///
    /// # Errors
    /// The document cannot be read, or is damaged so badly that nothing of it can be read.
    fn read(&self, document: &str) -> Result<Option<Stored>, AdapterError>;

    /// Puts a snapshot in place of the old snapshot and of all records up to `covers`. After a
    /// crash, either the old state or the new one is there. A snapshot covers at least what the old
    /// one covers, except in a call that is made again after an error; an adapter may keep the old
    /// snapshot then.
    ///
    /// # Errors
    /// The snapshot cannot be written. The old state is still there.
    fn replace(&self, document: &str, covers: u64, snapshot: &[u8]) -> Result<(), AdapterError>;

    /// Puts a snapshot in place of everything that there is of a document, damaged or not. `covers`
    /// is at least the number of each record that can be read. After a crash, either the old state
    /// or the new one is there; what was damaged may still be there behind the new snapshot.
    ///
    /// By default the document is deleted and the snapshot is written. An adapter has its own way if
    /// a crash can come between these two calls.
    ///
    /// # Errors
    /// The snapshot cannot be written. The old state is still there.
    fn overwrite(&self, document: &str, covers: u64, snapshot: &[u8]) -> Result<(), AdapterError> {
        self.delete(document)?;
        self.replace(document, covers, snapshot)
    }

    /// The names of all documents, in order.
    ///
    /// # Errors
    /// The names cannot be read.
    fn list(&self) -> Result<Vec<String>, AdapterError>;

    /// Deletes a document. Does nothing if there is no such document.
    ///
    /// # Errors
    /// The document cannot be deleted.
    fn delete(&self, document: &str) -> Result<(), AdapterError>;

    /// Makes everything durable that was called before.
    ///
    /// # Errors
    /// It is not known what is on disk.
    fn sync(&self) -> Result<(), AdapterError>;

    /// Reads everything that the adapter can check beyond the documents themselves, and returns
    /// what is wrong. By default nothing is checked.
    ///
    /// # Errors
    /// The check cannot be made.
    fn verify(&self) -> Result<Vec<String>, AdapterError> {
        Ok(Vec::new())
    }
}

/// A record to append.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_structs, reason = "adapters outside this crate take it apart")]
pub struct Append<'a> {
    /// The document.
    pub document: &'a str,
    /// The number of the record. The first record of a document has the number 1.
    pub number: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// A document as an adapter keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// The snapshot, with the number of the last record that it covers.
    pub snapshot: Option<(u64, Vec<u8>)>,
    /// The records behind the snapshot, with their numbers, in order.
    pub records: Vec<(u64, Vec<u8>)>,
    /// The number of the last record that was ever appended, if the adapter keeps it apart from
    /// the records. It shows whether the last records are missing.
    pub last: Option<u64>,
    /// The end of the log was cut off, because a crash had interrupted the writing of it.
    pub torn: Option<Torn>,
    /// The log cannot be read beyond the records above, but it goes on.
    pub unreadable: Option<Unreadable>,
}

/// The incomplete end of a log. It was never synced, so nobody was told that it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Torn {
    /// The place, for people.
    pub place: String,
    /// The length in bytes.
    pub bytes: u64,
}

/// A damaged place in the middle of a log, with everything behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreadable {
    /// The place, for people.
    pub place: String,
    /// All bytes from the place on, as they were found.
    pub bytes: Vec<u8>,
    /// The records behind the place that can be read.
    pub records: Vec<(u64, Vec<u8>)>,
}

impl Stored {
    /// A document without a snapshot and records.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// The kind of an adapter's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdapterErrorKind {
    /// Another process, or another adapter of this process, has the place open.
    InUse,
    /// The disk is full.
    Full,
    /// The file at the place is not one of exostate.
    Foreign,
    /// The bytes at the place are damaged.
    Damaged,
    /// A newer version of exostate wrote the place.
    Newer,
    /// The place is encrypted with another key.
    WrongKey,
    /// The adapter cannot keep a document of this name.
    Name,
    /// Another error of the system or of the adapter.
    Other,
}

/// Why an adapter failed. Clones share the cause.
#[derive(Clone, Debug)]
pub struct AdapterError {
    kind: AdapterErrorKind,
    place: String,
    cause: std::sync::Arc<dyn Error + Send + Sync>,
}

impl AdapterError {
    /// Makes an error at a place: a path, or whatever helps a person to find it.
    pub fn new(
        kind: AdapterErrorKind,
        place: impl Into<String>,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { kind, place: place.into(), cause: std::sync::Arc::from(cause.into()) }
    }

    /// Makes an error of an error of the system.
    #[must_use]
    pub fn io(place: impl Into<String>, error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                AdapterErrorKind::Full
            }
            _ => AdapterErrorKind::Other,
        };
        Self::new(kind, place, error)
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> AdapterErrorKind {
        self.kind
    }

    /// The place at which the adapter failed.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }
}

impl fmt::Display for AdapterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, cause, .. } = self;
        match self.kind {
            AdapterErrorKind::InUse => write!(f, "{place}: in use elsewhere: {cause}"),
            AdapterErrorKind::Full => write!(f, "{place}: the disk is full: {cause}"),
            AdapterErrorKind::Damaged => write!(f, "{place}: damaged: {cause}"),
            _ => write!(f, "{place}: {cause}"),
        }
    }
}

impl Error for AdapterError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The text of the error has the text of the cause already.
        self.cause.source()
    }
}

/// The longest name of a document, in bytes. The sync layer has the same limit.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// Refuses a name that no adapter can keep.
pub(crate) fn check_name(name: &str) -> Result<(), AdapterError> {
    let reason = match name.len() {
        0 => "a document needs a name",
        len if len > NAME_BYTES_MAX => "the name of a document has at most 255 bytes",
        _ => return Ok(()),
    };
    Err(AdapterError::new(AdapterErrorKind::Name, format!("{name:?}"), reason))
}
