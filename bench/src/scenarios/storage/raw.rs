//! Raw redb and raw SQLite: the same bytes, as durable as the adapters write them.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use redb::{Database, TableDefinition};

use crate::measure::timed;

/// A database without exostate.
pub struct Raw {
    /// Its name in the report.
    pub system: &'static str,
    /// Writes `records` records of `bytes` bytes in the folder, `batch` of them in each commit.
    /// Returns the time.
    pub write: fn(folder: &Path, records: usize, batch: usize, bytes: usize) -> Result<Duration>,
}

/// The databases.
pub const SYSTEMS: [Raw; 2] =
    [Raw { system: "redb", write: redb }, Raw { system: "sqlite", write: sqlite }];

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

fn redb(folder: &Path, records: usize, batch: usize, bytes: usize) -> Result<Duration> {
    let database = Database::create(folder.join("raw.redb"))?;
    let record = vec![7; bytes];
    let numbers: Vec<u64> = (0..records as u64).collect();
    let ((), took) = timed(|| {
        for batch in numbers.chunks(batch) {
            let mut transaction = database.begin_write()?;
            transaction.set_two_phase_commit(true);
            {
                let mut table = transaction.open_table(TABLE)?;
                for number in batch {
                    table.insert(number, &record[..])?;
                }
            }
            transaction.commit()?;
        }
        Ok(())
    })?;
    Ok(took)
}

fn sqlite(folder: &Path, records: usize, batch: usize, bytes: usize) -> Result<Duration> {
    let mut database = rusqlite::Connection::open(folder.join("raw.sqlite"))?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.execute_batch("CREATE TABLE records (number INTEGER PRIMARY KEY, bytes BLOB)")?;
    let record = vec![7_u8; bytes];
    let numbers: Vec<u64> = (0..records as u64).collect();
    let ((), took) = timed(|| {
        for batch in numbers.chunks(batch) {
            let transaction = database.transaction()?;
            {
                let mut insert =
                    transaction.prepare_cached("INSERT INTO records VALUES (?1, ?2)")?;
                for number in batch {
                    insert.execute((*number as i64, &record))?;
                }
            }
            transaction.commit()?;
        }
        Ok(())
    })?;
    Ok(took)
}
