//! All documents in one SQLite database. docs/storage.md describes the tables.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::{Adapter, AdapterError, AdapterErrorKind, Append, Stored, check_name};

/// "exos": marks a database as one of exostate.
const APPLICATION_ID: i64 = 0x6578_6f73;
/// The version of the tables.
const FORMAT: i64 = 1;

/// Snapshots have a row id: a table without one is slow with long rows, and the number of the
/// document is the row id anyway.
const TABLES: &str = "
    CREATE TABLE documents (
        name BLOB NOT NULL PRIMARY KEY,
        id INTEGER NOT NULL,
        id_checksum INTEGER NOT NULL,
        last INTEGER NOT NULL,
        last_checksum INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE records (
        document INTEGER NOT NULL,
        number INTEGER NOT NULL,
        bytes BLOB NOT NULL,
        PRIMARY KEY (document, number)
    ) WITHOUT ROWID;
    CREATE TABLE snapshots (
        document INTEGER NOT NULL PRIMARY KEY,
        covers INTEGER NOT NULL,
        bytes BLOB NOT NULL
    );
    CREATE TABLE meta (
        key TEXT NOT NULL PRIMARY KEY,
        value INTEGER NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO meta VALUES ('documents', 0), ('next', 1);
";

/// Settings that are safe once the database is known to be ours. `fullfsync` matters on macOS,
/// where a plain sync leaves the bytes in the cache of the disk.
const SETTINGS: &str = "
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA checkpoint_fullfsync = ON;
    PRAGMA cell_size_check = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA journal_size_limit = 16777216;
";

/// Keeps documents in one [SQLite](https://sqlite.org) database: a write-ahead log, synced with each
/// commit (`synchronous=FULL`). A second adapter or another program on the same file gets
/// [`AdapterErrorKind::InUse`] at once, and so do the tools of SQLite while the adapter is open.
///
/// SQLite keeps rows of at most 1 GB, so a snapshot has at most that length.
pub struct SqliteAdapter {
    path: PathBuf,
    place: String,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// `None` if a rollback failed, until the database is open again.
    connection: Option<Connection>,
    /// Calls since the last sync are in an open transaction. SQLite itself may roll it back after
    /// an error, even after one of a read.
    is_writing: bool,
}

impl std::fmt::Debug for SqliteAdapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteAdapter").field("place", &self.place).finish_non_exhaustive()
    }
}

impl SqliteAdapter {
    /// Opens a database, or makes it. O(number of documents).
    ///
    /// # Errors
    /// [`AdapterErrorKind::InUse`] if another process or adapter has the database open; the file
    /// is no database of exostate, or is damaged; or it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, AdapterError> {
        let place = path.as_ref().display().to_string();
        // An absolute path: SQLite takes the names "" and ":memory:" for something else.
        let path = std::path::absolute(path).map_err(|error| AdapterError::io(&place, error))?;
        let this = Self { path, place, open: Mutex::default() };
        let connection = connect(&this.path).map_err(|failure| this.error(failure))?;
        this.open.lock().connection = Some(connection);
        Ok(this)
    }

    /// Works on the database. It is opened again if a rollback failed before.
    fn with_connection<R>(
        &self,
        open: &mut Open,
        work: impl FnOnce(&Connection) -> Result<R, Failure>,
    ) -> Result<R, AdapterError> {
        let result = match &open.connection {
            Some(connection) => work(connection),
            None => connect(&self.path).and_then(|made| work(open.connection.insert(made))),
        };
        result.map_err(|failure| self.error(failure))
    }

    /// Adds to what the next sync commits. After a failure nothing is left of it.
    fn write(
        &self,
        work: impl FnOnce(&Connection) -> Result<(), Failure>,
    ) -> Result<(), AdapterError> {
        let mut open = self.open.lock();
        self.check_transaction(&mut open)?;
        let is_writing = open.is_writing;
        let result = self.with_connection(&mut open, |connection| {
            if !is_writing {
                connection.execute_batch("BEGIN IMMEDIATE")?;
            }
            work(connection)
        });
        open.is_writing = true;
        if result.is_err() {
            open.roll_back();
        }
        result
    }

    /// An error if SQLite has rolled back calls that were not synced. The caller makes them again.
    fn check_transaction(&self, open: &mut Open) -> Result<(), AdapterError> {
        let is_open = open.connection.as_ref().is_some_and(|open| !open.is_autocommit());
        if open.is_writing && !is_open {
            open.is_writing = false;
            return Err(self.error(Failure::RolledBack));
        }
        Ok(())
    }

    fn error(&self, failure: Failure) -> AdapterError {
        let code = match &failure {
            Failure::Sqlite(rusqlite::Error::SqliteFailure(error, _)) => Some(error.code),
            _ => None,
        };
        let kind = match (&failure, code) {
            (_, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => {
                AdapterErrorKind::InUse
            }
            (_, Some(ErrorCode::DiskFull)) => AdapterErrorKind::Full,
            (_, Some(ErrorCode::NotADatabase)) | (Failure::Foreign, _) => AdapterErrorKind::Foreign,
            (_, Some(ErrorCode::DatabaseCorrupt)) | (Failure::Damaged(_), _) => {
                AdapterErrorKind::Damaged
            }
            (Failure::Newer(_), _) => AdapterErrorKind::Newer,
            _ => AdapterErrorKind::Other,
        };
        match failure {
            Failure::Name(error) => error,
            failure => AdapterError::new(kind, &self.place, failure),
        }
    }
}

impl Open {
    /// Ends the transaction without a trace. If that fails the connection is closed, which does it.
    fn roll_back(&mut self) {
        self.is_writing = false;
        let Some(connection) = &self.connection else { return };
        if !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_err() {
            self.connection = None;
        }
    }
}

/// Why work on the database failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("{0}")]
    Damaged(String),
    #[error("it is an SQLite database, but not one of exostate")]
    Foreign,
    #[error("the format {0} is one of a newer version")]
    Newer(i64),
    #[error("SQLite cannot keep a write-ahead log here, but only a journal in the mode {0:?}")]
    Journal(String),
    #[error("SQLite rolled back what was not synced, because of an error before")]
    RolledBack,
    #[error("the number {0} is too large for SQLite")]
    Number(u64),
    #[error(transparent)]
    Name(AdapterError),
}

/// Opens the database, takes the lock, and checks what can be checked in a short time.
fn connect(path: &Path) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::ZERO)?;
    // The lock is kept from the first transaction until the connection is closed. It is taken
    // before anything is written, and a database of others is left as it is.
    connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")?;
    make_tables(&connection)?;
    connection.execute_batch("COMMIT")?;
    let mode = "PRAGMA journal_mode = WAL";
    let mode: String = connection.query_row(mode, [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Failure::Journal(mode));
    }
    connection.execute_batch(SETTINGS)?;
    // A log that a crash left may have commits that are not synced. They move into the database,
    // which is synced then, before others follow them.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    names(&connection)?;
    Ok(connection)
}

/// Makes the tables of a new database, and refuses a database of others.
fn make_tables(connection: &Connection) -> Result<(), Failure> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let is_empty = number("SELECT count(*) FROM sqlite_schema")? == 0;
    match (number("PRAGMA application_id")?, number("PRAGMA user_version")?) {
        (APPLICATION_ID, FORMAT) => Ok(()),
        (APPLICATION_ID, format) if format > FORMAT => Err(Failure::Newer(format)),
        (APPLICATION_ID, format) => Err(Failure::Damaged(format!("the format {format} is none"))),
        (0, 0) if is_empty => {
            connection.execute_batch(TABLES)?;
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
            connection.pragma_update(None, "user_version", FORMAT)?;
            Ok(())
        }
        _ => Err(Failure::Foreign),
    }
}

/// All documents with their numbers, checked against their checksums and their count.
fn names(connection: &Connection) -> Result<BTreeMap<String, i64>, Failure> {
    let mut statement = connection.prepare("SELECT name, id, id_checksum FROM documents")?;
    let mut rows = statement.query([])?;
    let mut names = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let name: Vec<u8> = row.get(0)?;
        let id = checked(row.get(1)?, row.get(2)?, &name);
        let (Ok(name), Some(id)) = (String::from_utf8(name), id) else {
            return Err(Failure::Damaged("a row of the table of documents".to_owned()));
        };
        names.insert(name, id);
    }
    // A next number that is too small would give two documents the same rows.
    let last = names.values().max().copied().unwrap_or(0);
    let is_complete = names.len() as i64 == meta(connection, "documents")?;
    if !is_complete || last >= meta(connection, "next")? {
        return Err(Failure::Damaged("the table of documents is not complete".to_owned()));
    }
    Ok(names)
}

fn meta(connection: &Connection, key: &str) -> Result<i64, Failure> {
    let sql = "SELECT value FROM meta WHERE key = ?";
    let value = connection.query_row(sql, [key], |row| row.get(0)).optional()?;
    value.ok_or_else(|| Failure::Damaged(format!("the row {key:?} of the table meta is missing")))
}

/// The checksum of a number that belongs to `context`.
fn checksum(number: i64, context: &[u8]) -> i64 {
    crc32c::crc32c_append(crc32c::crc32c(context), &number.to_le_bytes()).into()
}

fn checked(number: i64, found: i64, context: &[u8]) -> Option<i64> {
    (checksum(number, context) == found).then_some(number)
}

fn integer(number: u64) -> Result<i64, Failure> {
    number.try_into().map_err(|_| Failure::Number(number))
}

/// The number of a document, if there is such a document.
fn find(connection: &Connection, document: &str) -> Result<Option<i64>, Failure> {
    let sql = "SELECT id, id_checksum FROM documents WHERE name = ?";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let Some((id, found)) = connection.query_row(sql, [document.as_bytes()], row).optional()?
    else {
        return Ok(None);
    };
    let id = checked(id, found, document.as_bytes());
    id.map(Some).ok_or_else(|| Failure::Damaged(format!("the row of the document {document:?}")))
}

/// The number of a document. A new document gets the next number, which no document had before.
fn find_or_make(connection: &Connection, document: &str) -> Result<i64, Failure> {
    if let Some(id) = find(connection, document)? {
        return Ok(id);
    }
    check_name(document).map_err(Failure::Name)?;
    let id = meta(connection, "next")?;
    let name = document.as_bytes();
    connection.execute(
        "INSERT INTO documents VALUES (?, ?, ?, 0, ?)",
        params![name, id, checksum(id, name), checksum(0, &id.to_le_bytes())],
    )?;
    // Both the number of documents and the next number.
    connection.execute("UPDATE meta SET value = value + 1", [])?;
    Ok(id)
}

/// Keeps the number of the document's last record.
fn set_last(connection: &Connection, document: &str, id: i64, last: i64) -> Result<(), Failure> {
    connection.execute(
        "UPDATE documents SET last = ?, last_checksum = ? WHERE name = ?",
        params![last, checksum(last, &id.to_le_bytes()), document.as_bytes()],
    )?;
    Ok(())
}

fn append(connection: &Connection, records: &[Append<'_>]) -> Result<(), Failure> {
    let mut heads = BTreeMap::new();
    let mut insert = connection.prepare("INSERT OR REPLACE INTO records VALUES (?, ?, ?)")?;
    for record in records {
        let number = integer(record.number)?;
        let id = match heads.get(record.document) {
            Some((id, _)) => *id,
            None => find_or_make(connection, record.document)?,
        };
        insert.execute(params![id, number, record.bytes])?;
        heads.insert(record.document, (id, number));
    }
    for (document, (id, last)) in heads {
        set_last(connection, document, id, last)?;
    }
    Ok(())
}

fn replace(
    connection: &Connection,
    document: &str,
    covers: u64,
    snapshot: &[u8],
) -> Result<(), Failure> {
    let covers = integer(covers)?;
    let id = find_or_make(connection, document)?;
    let sql = "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)";
    connection.execute(sql, params![id, covers, snapshot])?;
    connection
        .execute("DELETE FROM records WHERE document = ? AND number <= ?", params![id, covers])?;
    let sql = "SELECT last, last_checksum FROM documents WHERE name = ?";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (last, found) = connection.query_row(sql, [document.as_bytes()], row)?;
    // A document that begins with a snapshot has no record yet.
    if checked(last, found, &id.to_le_bytes()) == Some(0) {
        set_last(connection, document, id, covers)?;
    }
    Ok(())
}

fn delete(connection: &Connection, document: &str) -> Result<(), Failure> {
    let Some(id) = find(connection, document)? else { return Ok(()) };
    connection.execute("DELETE FROM documents WHERE name = ?", [document.as_bytes()])?;
    connection.execute("DELETE FROM snapshots WHERE document = ?", [id])?;
    connection.execute("DELETE FROM records WHERE document = ?", [id])?;
    connection.execute("UPDATE meta SET value = value - 1 WHERE key = 'documents'", [])?;
    Ok(())
}

fn read(connection: &Connection, document: &str) -> Result<Option<Stored>, Failure> {
    let Some(id) = find(connection, document)? else { return Ok(None) };
    let numbered = |row: &rusqlite::Row<'_>| {
        let number: i64 = row.get(0)?;
        Ok((number.cast_unsigned(), row.get(1)?))
    };
    let sql = "SELECT covers, bytes FROM snapshots WHERE document = ?";
    let snapshot = connection.query_row(sql, [id], numbered).optional()?;
    let sql = "SELECT number, bytes FROM records WHERE document = ? ORDER BY number";
    let mut statement = connection.prepare(sql)?;
    let records = statement.query_map([id], numbered)?.collect::<Result<_, _>>()?;
    let sql = "SELECT last, last_checksum FROM documents WHERE name = ?";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (last, found) = connection.query_row(sql, [document.as_bytes()], row)?;
    // A damaged number of the last record shows as missing records.
    let last = checked(last, found, &id.to_le_bytes()).map_or(u64::MAX, i64::cast_unsigned);
    Ok(Some(Stored { snapshot, records, last: Some(last), ..Stored::new() }))
}

impl Adapter for SqliteAdapter {
    fn append(&self, records: &[Append<'_>]) -> Result<(), AdapterError> {
        self.write(|connection| append(connection, records))
    }

    fn read(&self, document: &str) -> Result<Option<Stored>, AdapterError> {
        self.with_connection(&mut self.open.lock(), |connection| read(connection, document))
    }

    fn replace(&self, document: &str, covers: u64, snapshot: &[u8]) -> Result<(), AdapterError> {
        self.write(|connection| replace(connection, document, covers, snapshot))
    }

    fn list(&self) -> Result<Vec<String>, AdapterError> {
        let names = self.with_connection(&mut self.open.lock(), names)?;
        Ok(names.into_keys().collect())
    }

    fn delete(&self, document: &str) -> Result<(), AdapterError> {
        self.write(|connection| delete(connection, document))
    }

    fn sync(&self) -> Result<(), AdapterError> {
        let mut open = self.open.lock();
        self.check_transaction(&mut open)?;
        if !open.is_writing {
            return Ok(());
        }
        let result =
            self.with_connection(&mut open, |connection| Ok(connection.execute_batch("COMMIT")?));
        // After a commit there is nothing to roll back.
        open.roll_back();
        result
    }

    fn verify(&self) -> Result<Vec<String>, AdapterError> {
        let mut open = self.open.lock();
        let mut faults = self.with_connection(&mut open, |connection| {
            let mut statement = connection.prepare("PRAGMA integrity_check")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<Vec<String>, _>>()?)
        })?;
        faults.retain(|fault| fault != "ok");
        if let Err(error) = self.with_connection(&mut open, names) {
            faults.push(error.to_string());
        }
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64, bytes: &[u8]) -> Append<'_> {
        Append { document: "plan", number, bytes }
    }

    fn sql(adapter: &SqliteAdapter, sql: &str) {
        let open = adapter.open.lock();
        open.connection.as_ref().expect("it is open").execute_batch(sql).expect("it runs");
    }

    fn opened() -> (tempfile::TempDir, SqliteAdapter) {
        let folder = tempfile::tempdir().expect("a folder");
        let adapter = SqliteAdapter::open(folder.path().join("documents")).expect("it opens");
        (folder, adapter)
    }

    #[test]
    fn calls_that_sqlite_rolled_back_are_an_error_and_are_made_again() {
        let (_folder, adapter) = opened();
        adapter.append(&[record(1, b"one")]).expect("it takes a record");
        sql(&adapter, "ROLLBACK");
        adapter.append(&[record(2, b"two")]).expect_err("the first record is gone");
        adapter.append(&[record(1, b"one"), record(2, b"two")]).expect("it takes them again");
        adapter.sync().expect("it syncs");
        adapter.append(&[record(3, b"three")]).expect("it takes a record");
        sql(&adapter, "ROLLBACK");
        adapter.sync().expect_err("the record is gone");
        let stored = adapter.read("plan").expect("it reads").expect("it is there");
        assert_eq!((stored.records.len(), stored.last), (2, Some(2)));
    }

    #[test]
    fn a_full_disk_is_named_and_what_was_synced_stays() {
        let (_folder, adapter) = opened();
        adapter.append(&[record(1, b"one")]).expect("it takes a record");
        adapter.sync().expect("it syncs");
        sql(&adapter, "PRAGMA max_page_count = 20");
        let error = adapter.append(&[record(2, &[7; 1 << 20])]).expect_err("no room");
        assert_eq!(error.kind(), AdapterErrorKind::Full);
        sql(&adapter, "PRAGMA max_page_count = 100000");
        adapter.append(&[record(2, &[7; 1 << 20])]).expect("room");
        adapter.sync().expect("it syncs");
        let stored = adapter.read("plan").expect("it reads").expect("it is there");
        assert_eq!((stored.records.len(), stored.last), (2, Some(2)));
    }

    #[test]
    fn changed_rows_are_found() {
        for (change, is_found_at_opening) in [
            ("UPDATE documents SET id = id + 1", true),
            ("UPDATE documents SET name = x'70'", true),
            ("DELETE FROM documents", true),
            ("UPDATE meta SET value = 5 WHERE key = 'documents'", true),
            ("UPDATE meta SET value = 1 WHERE key = 'next'", true),
            ("UPDATE documents SET last = 1", false),
            ("DELETE FROM records WHERE number = 2", false),
        ] {
            let (folder, adapter) = opened();
            adapter.append(&[record(1, b"one"), record(2, b"two")]).expect("it takes records");
            adapter.sync().expect("it syncs");
            sql(&adapter, change);
            drop(adapter);
            match SqliteAdapter::open(folder.path().join("documents")) {
                Err(error) => assert_eq!(error.kind(), AdapterErrorKind::Damaged, "{change}"),
                Ok(adapter) => {
                    assert!(!is_found_at_opening, "{change}");
                    let stored = adapter.read("plan").expect("it reads").expect("it is there");
                    let last = stored.records.last().map(|(number, _)| *number);
                    assert!(stored.last > last, "{change}");
                }
            }
        }
    }
}
