//! All documents in one file, with redb. docs/storage.md describes the tables.

mod chunks;
mod file;

use std::collections::BTreeMap;
use std::path::Path;

use parking_lot::{Mutex, RwLock};
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition, WriteTransaction,
};

use super::{Adapter, AdapterError, AdapterErrorKind, Append, Stored, check_name};

/// Name → the number of the document, and a checksum of both.
const DOCUMENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("documents");
/// The records, in [`chunks`]. The row with the largest number is the head: the number of the last
/// record, and a checksum.
const RECORDS: chunks::Chunks = TableDefinition::new("records");
/// The snapshots, in [`chunks`]: the number is that of the last record that the snapshot covers.
const SNAPSHOTS: chunks::Chunks = TableDefinition::new("snapshots");
/// "format" → [`FORMAT`], "documents" → the number of documents.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const FORMAT: u64 = 1;
const FORMAT_KEY: &str = "format";
const COUNT_KEY: &str = "documents";
/// The row of a document's head in [`RECORDS`].
const HEAD: u64 = u64::MAX;

type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// Keeps documents in one file, with [redb](https://docs.rs/redb): commits in two phases, each one
/// synced. A second adapter on the same file gets [`AdapterErrorKind::InUse`].
///
/// After an error of the disk redb takes no further commit. The adapter then opens the file again.
pub struct RedbAdapter {
    place: String,
    opener: Opener,
    /// `None` after an error of the disk, until the file is open again.
    database: RwLock<Option<Database>>,
    writing: Mutex<Option<Writing>>,
    names: Mutex<Names>,
}

/// The documents of the file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    ids: BTreeMap<String, u64>,
    /// The number for the next new document.
    next: u64,
}

/// What was written since the last sync.
struct Writing {
    transaction: WriteTransaction,
    /// The documents that were made, with their numbers, and those that were deleted (`None`).
    changed: BTreeMap<String, Option<u64>>,
    /// The number for the next new document.
    next: u64,
}

impl std::fmt::Debug for RedbAdapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbAdapter").field("place", &self.place).finish_non_exhaustive()
    }
}

impl RedbAdapter {
    /// Opens a file, or makes it. O(number of documents).
    ///
    /// # Errors
    /// [`AdapterErrorKind::InUse`] if another process or adapter has the file open; the file is no
    /// database of exostate, or is damaged; or it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, AdapterError> {
        let path = path.as_ref().to_path_buf();
        let place = path.display().to_string();
        let opener = move || file::open(&path);
        Self::with_opener(place, Box::new(opener))
    }

    /// Opens a database on storage of the caller, for tests that simulate disks. `open` is called
    /// again after an error of the disk, when the first storage is closed.
    ///
    /// # Errors
    /// As [`RedbAdapter::open`].
    pub fn on<S: redb::StorageBackend>(
        place: impl Into<String>,
        open: impl Fn() -> std::io::Result<S> + Send + Sync + 'static,
    ) -> Result<Self, AdapterError> {
        let opener = move || {
            let storage = open().map_err(redb::StorageError::Io)?;
            file::open_on(storage)
        };
        Self::with_opener(place.into(), Box::new(opener))
    }

    fn with_opener(place: String, opener: Opener) -> Result<Self, AdapterError> {
        let this = Self {
            place,
            opener,
            database: RwLock::default(),
            writing: Mutex::default(),
            names: Mutex::default(),
        };
        this.reopen()?;
        Ok(this)
    }

    /// Opens the file, and reads the names of the documents.
    fn reopen(&self) -> Result<(), AdapterError> {
        let mut database = self.database.write();
        *database = None;
        // A file on which redb panics at once is damaged.
        let damaged = |failure| match failure {
            Failure::Panicked => Failure::Damaged(failure.to_string()),
            failure => failure,
        };
        let open = |failure| self.error(damaged(failure));
        let opened = self.guarded_result(|| Ok((self.opener)()?)).map_err(open)?;
        let names = self.guarded_result(|| {
            make_tables(&opened)?;
            self.read_names(&opened)
        });
        let names = names.map_err(open)?;
        *self.names.lock() = names;
        *database = Some(opened);
        Ok(())
    }

    fn read_names(&self, database: &Database) -> Result<Names, Failure> {
        let transaction = database.begin_read()?;
        let meta = transaction.open_table(META)?;
        let read = |key: &str| -> Result<u64, Failure> {
            Ok(meta.get(key)?.map_or(0, |value| value.value()))
        };
        match read(FORMAT_KEY)? {
            FORMAT => {}
            0 => return Err(Failure::Damaged("the format is missing".to_owned())),
            format => return Err(Failure::Newer(format)),
        }
        let mut names = BTreeMap::new();
        for row in transaction.open_table(DOCUMENTS)?.iter()? {
            let (name, value) = row?;
            let name = name.value();
            let id = read_id(name, value.value())
                .ok_or_else(|| Failure::Damaged(format!("the row of the document {name:?}")))?;
            names.insert(name.to_owned(), id);
        }
        if names.len() as u64 != read(COUNT_KEY)? {
            return Err(Failure::Damaged("the table of documents is not complete".to_owned()));
        }
        let next = names.values().max().map_or(1, |last| last + 1);
        Ok(Names { ids: names, next })
    }

    /// Works on the database, opened again if it failed before.
    fn with_database<R>(
        &self,
        work: impl FnOnce(&Database) -> Result<R, Failure>,
    ) -> Result<R, AdapterError> {
        if self.database.read().is_none() {
            self.reopen()?;
        }
        let result = {
            let database = self.database.read();
            let Some(database) = &*database else {
                return Err(self.error(Failure::Closed));
            };
            self.guarded_result(|| work(database))
        };
        result.map_err(|failure| self.failed(failure))
    }

    /// Adds to what the next sync writes. After a failure nothing is left of it.
    fn write(
        &self,
        work: impl FnOnce(&mut Writing, &Names) -> Result<(), Failure>,
    ) -> Result<(), AdapterError> {
        let mut writing = self.writing.lock();
        if writing.is_none() {
            let transaction = self.with_database(|database| {
                let mut transaction = database.begin_write()?;
                transaction.set_two_phase_commit(true);
                Ok(transaction)
            })?;
            let next = self.names.lock().next;
            *writing = Some(Writing { transaction, changed: BTreeMap::new(), next });
        }
        let Some(open) = writing.as_mut() else { return Err(self.error(Failure::Closed)) };
        let result = self.guarded_result(|| work(open, &self.names.lock()));
        if let Err(failure) = result {
            // The transaction is aborted.
            let aborted = writing.take();
            let _ = self.guarded(|| {
                drop(aborted);
                Ok(())
            });
            return Err(self.failed(failure));
        }
        Ok(())
    }

    /// Runs code of redb; a panic in it is an error of the file.
    fn guarded_result<R>(&self, work: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
            .unwrap_or_else(|_| Err(Failure::Panicked))
    }

    fn guarded<R>(&self, work: impl FnOnce() -> Result<R, Failure>) -> Result<R, AdapterError> {
        self.guarded_result(work).map_err(|failure| self.error(failure))
    }

    /// The error, after the database is closed if it takes no further commit.
    fn failed(&self, failure: Failure) -> AdapterError {
        if failure.is_final() {
            let closed = self.database.write().take();
            let _ = self.guarded(|| {
                drop(closed);
                Ok(())
            });
        }
        self.error(failure)
    }

    fn error(&self, failure: Failure) -> AdapterError {
        let kind = match &failure {
            Failure::Redb(redb::Error::DatabaseAlreadyOpen) => AdapterErrorKind::InUse,
            Failure::Redb(redb::Error::Corrupted(_)) | Failure::Damaged(_) => {
                AdapterErrorKind::Damaged
            }
            Failure::Foreign => AdapterErrorKind::Foreign,
            Failure::Redb(redb::Error::UpgradeRequired(_)) | Failure::Newer(_) => {
                AdapterErrorKind::Newer
            }
            Failure::Redb(redb::Error::Io(error)) => match error.kind() {
                std::io::ErrorKind::InvalidData => AdapterErrorKind::Foreign,
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    AdapterErrorKind::Full
                }
                _ => AdapterErrorKind::Other,
            },
            _ => AdapterErrorKind::Other,
        };
        match failure {
            Failure::Redb(error) => AdapterError::new(kind, &self.place, error),
            Failure::Name(error) => error,
            failure => AdapterError::new(kind, &self.place, failure.to_string()),
        }
    }
}

impl Drop for RedbAdapter {
    /// redb writes when it closes, and panics if it finds its own tables damaged then. All that was
    /// synced is on disk before, so nothing is lost by that.
    fn drop(&mut self) {
        let writing = self.writing.get_mut().take();
        let database = self.database.get_mut().take();
        let closed = self.guarded(|| {
            drop(writing);
            drop(database);
            Ok(())
        });
        if let Err(error) = closed {
            tracing::warn!(%error, "the database is not closed cleanly");
        }
    }
}

/// Why work on the database failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Redb(redb::Error),
    #[error("{0}")]
    Damaged(String),
    #[error("redb panicked")]
    Panicked,
    #[error("it is a database of redb, but not one of exostate")]
    Foreign,
    #[error("the format {0} is one of a newer version")]
    Newer(u64),
    #[error("the file could not be opened again after an error")]
    Closed,
    #[error(transparent)]
    Name(AdapterError),
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

impl Failure {
    /// Whether the database takes no further commit until it is opened again.
    fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Panicked
                | Self::Redb(
                    redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseClosed
                )
        )
    }
}

/// Makes the tables of a new database, and refuses a database of others.
fn make_tables(database: &Database) -> Result<(), Failure> {
    let transaction = database.begin_read()?;
    match transaction.open_table(META) {
        Ok(_) => return Ok(()),
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(redb::TableError::TableTypeMismatch { .. }) => return Err(Failure::Foreign),
        Err(error) => return Err(error.into()),
    }
    let is_empty = transaction.list_tables()?.next().is_none()
        && transaction.list_multimap_tables()?.next().is_none();
    if !is_empty {
        return Err(Failure::Foreign);
    }
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    {
        transaction.open_table(DOCUMENTS)?;
        transaction.open_table(RECORDS)?;
        transaction.open_table(SNAPSHOTS)?;
        let mut meta = transaction.open_table(META)?;
        meta.insert(FORMAT_KEY, FORMAT)?;
        meta.insert(COUNT_KEY, 0)?;
    }
    transaction.commit()?;
    Ok(())
}

/// A number and its checksum.
fn with_checksum(number: u64, context: &[u8]) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(context), &bytes[..8]);
    bytes[8..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The number that [`with_checksum`] wrote.
fn number_of(bytes: &[u8], context: &[u8]) -> Option<u64> {
    let number = u64::from_le_bytes(*bytes.first_chunk()?);
    (bytes == with_checksum(number, context)).then_some(number)
}

fn read_id(name: &str, value: &[u8]) -> Option<u64> {
    number_of(value, name.as_bytes())
}

impl Writing {
    /// The number of a document, if there is such a document.
    fn find(&self, document: &str, names: &Names) -> Option<u64> {
        match self.changed.get(document) {
            Some(changed) => *changed,
            None => names.ids.get(document).copied(),
        }
    }

    /// The number of a document. A new document gets the next number.
    fn id(&mut self, document: &str, names: &Names) -> Result<u64, Failure> {
        if let Some(id) = self.find(document, names) {
            return Ok(id);
        }
        check_name(document).map_err(Failure::Name)?;
        let id = self.next;
        self.transaction
            .open_table(DOCUMENTS)?
            .insert(document, &with_checksum(id, document.as_bytes())[..])?;
        self.changed.insert(document.to_owned(), Some(id));
        self.next += 1;
        Ok(id)
    }

    fn append(&mut self, records: &[Append<'_>], names: &Names) -> Result<(), Failure> {
        let ids = records.iter().map(|record| self.id(record.document, names));
        let ids = ids.collect::<Result<Vec<u64>, Failure>>()?;
        let mut table = self.transaction.open_table(RECORDS)?;
        let mut heads = BTreeMap::new();
        for (record, id) in records.iter().zip(ids) {
            chunks::put(&mut table, id, record.number, record.bytes)?;
            heads.insert(id, record.number);
        }
        for (id, last) in heads {
            chunks::put(&mut table, id, HEAD, &with_checksum(last, &id.to_le_bytes()))?;
        }
        Ok(())
    }

    fn replace(
        &mut self,
        document: &str,
        covers: u64,
        snapshot: &[u8],
        names: &Names,
    ) -> Result<(), Failure> {
        let id = self.id(document, names)?;
        let mut snapshots = self.transaction.open_table(SNAPSHOTS)?;
        chunks::remove(&mut snapshots, id, 0..=u64::MAX)?;
        chunks::put(&mut snapshots, id, covers, snapshot)?;
        let mut records = self.transaction.open_table(RECORDS)?;
        chunks::remove(&mut records, id, 0..=covers)?;
        if records.get((id, HEAD, 0))?.is_none() {
            chunks::put(&mut records, id, HEAD, &with_checksum(covers, &id.to_le_bytes()))?;
        }
        Ok(())
    }

    fn delete(&mut self, document: &str, names: &Names) -> Result<(), Failure> {
        let Some(id) = self.find(document, names) else { return Ok(()) };
        self.changed.insert(document.to_owned(), None);
        self.transaction.open_table(DOCUMENTS)?.remove(document)?;
        chunks::remove(&mut self.transaction.open_table(SNAPSHOTS)?, id, 0..=u64::MAX)?;
        chunks::remove(&mut self.transaction.open_table(RECORDS)?, id, 0..=HEAD)?;
        Ok(())
    }

    /// Commits, and brings the names up to date then.
    fn commit(self, names: &Mutex<Names>) -> Result<(), Failure> {
        let Self { transaction, changed, next } = self;
        if !changed.is_empty() {
            let count = transaction.open_table(DOCUMENTS)?.len()?;
            transaction.open_table(META)?.insert(COUNT_KEY, count)?;
        }
        transaction.commit()?;
        let mut names = names.lock();
        names.next = next;
        for (name, id) in changed {
            match id {
                Some(id) => drop(names.ids.insert(name, id)),
                None => drop(names.ids.remove(&name)),
            }
        }
        Ok(())
    }
}

/// Reads a document. `None` if it was deleted in the meantime.
fn read(database: &Database, document: &str, id: u64) -> Result<Option<Stored>, Failure> {
    let transaction = database.begin_read()?;
    let Some(row) = transaction.open_table(DOCUMENTS)?.get(document)? else { return Ok(None) };
    // It may have been made again, too.
    let id = read_id(document, row.value()).unwrap_or(id);
    let snapshot = chunks::read(&transaction.open_table(SNAPSHOTS)?, id)?.pop();
    let mut records = chunks::read(&transaction.open_table(RECORDS)?, id)?;
    // A document has a head from its first record on. A damaged or missing one shows as missing
    // records.
    let head = records.pop_if(|(number, _)| *number == HEAD);
    let last = head.and_then(|(_, bytes)| number_of(&bytes, &id.to_le_bytes()));
    let last = Some(last.unwrap_or(u64::MAX));
    let stored = Stored { snapshot, records, last, ..Stored::new() };
    Ok(Some(stored))
}

impl Adapter for RedbAdapter {
    fn append(&self, records: &[Append<'_>]) -> Result<(), AdapterError> {
        self.write(|writing, names| writing.append(records, names))
    }

    fn read(&self, document: &str) -> Result<Option<Stored>, AdapterError> {
        let Some(id) = self.names.lock().ids.get(document).copied() else { return Ok(None) };
        self.with_database(|database| read(database, document, id))
    }

    fn replace(&self, document: &str, covers: u64, snapshot: &[u8]) -> Result<(), AdapterError> {
        self.write(|writing, names| writing.replace(document, covers, snapshot, names))
    }

    fn list(&self) -> Result<Vec<String>, AdapterError> {
        Ok(self.names.lock().ids.keys().cloned().collect())
    }

    fn delete(&self, document: &str) -> Result<(), AdapterError> {
        self.write(|writing, names| writing.delete(document, names))
    }

    fn sync(&self) -> Result<(), AdapterError> {
        let Some(writing) = self.writing.lock().take() else { return Ok(()) };
        let committed = self.guarded_result(|| writing.commit(&self.names));
        committed.map_err(|failure| self.failed(failure))
    }

    fn verify(&self) -> Result<Vec<String>, AdapterError> {
        // No commit comes between the two lists of names.
        let _writing = self.writing.lock();
        let names = self.with_database(|database| Ok(self.read_names(database)));
        Ok(match names? {
            Ok(names) if names.ids == self.names.lock().ids => Vec::new(),
            Ok(_) => vec![format!("{}: the table of documents has changed", self.place)],
            Err(failure) => vec![self.error(failure).to_string()],
        })
    }
}
