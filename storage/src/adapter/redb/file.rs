//! Opening the file of a database.

use std::fs::File;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, StorageBackend, StorageError};

/// The cache of redb. The cache of the system serves the rest.
const CACHE_BYTES: usize = 1 << 20;
/// The first bytes of a database, and the length of its header.
const MAGIC: &[u8; 9] = b"redb\x1a\x0a\xa9\x0d\x0a";
const HEADER_BYTES: u64 = 320;
/// A database that is just made is shorter.
const UNFINISHED_BYTES_MAX: u64 = 64 << 20;

/// Opens the database of a file, or makes it.
pub(super) fn open(path: &Path) -> Result<Database, DatabaseError> {
    let is_new = !path.exists();
    let database = match builder().create(path) {
        Err(error) if !is_new && clear_unfinished_file(path)? => {
            tracing::warn!(path = %path.display(), %error, "the file was not finished");
            builder().create(path)?
        }
        result => result?,
    };
    // Also for a file that was there: the process that made it may have ended before this sync.
    sync_folder(path).map_err(StorageError::Io)?;
    Ok(database)
}

/// Opens the database of other storage, or makes it.
pub(super) fn open_on(storage: impl StorageBackend) -> Result<Database, DatabaseError> {
    clear_unfinished(&storage).map_err(StorageError::Io)?;
    builder().create_with_backend(storage)
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Empties a database whose making was interrupted by a crash: it has no magic number yet, and
/// nothing behind the header. redb does not open such a file. Nothing is lost: a database with data
/// has pages that are not zero.
fn clear_unfinished(storage: &impl StorageBackend) -> std::io::Result<bool> {
    let length = storage.len()?;
    if length == 0 || length > UNFINISHED_BYTES_MAX {
        return Ok(false);
    }
    let mut magic = [0; MAGIC.len()];
    let front = usize::try_from(length).unwrap_or(usize::MAX).min(magic.len());
    storage.read(0, &mut magic[..front])?;
    // The magic number is written last, so it is missing, or a part of it is there.
    let written = magic.iter().zip(MAGIC).take_while(|(found, right)| found == right).count();
    if written == MAGIC.len() || magic[written..].iter().any(|byte| *byte != 0) {
        return Ok(false);
    }
    let mut rest = vec![0; usize::try_from(length.saturating_sub(HEADER_BYTES)).unwrap_or(0)];
    if !rest.is_empty() {
        storage.read(HEADER_BYTES, &mut rest)?;
    }
    if rest.iter().any(|byte| *byte != 0) {
        return Ok(false);
    }
    storage.set_len(0)?;
    storage.sync_data()?;
    Ok(true)
}

/// [`clear_unfinished`] for a file. The lock keeps away a process that is just making it.
fn clear_unfinished_file(path: &Path) -> Result<bool, DatabaseError> {
    let io = |error| DatabaseError::Storage(StorageError::Io(error));
    let file = File::options().read(true).write(true).open(path).map_err(io)?;
    if file.try_lock().is_err() {
        return Ok(false);
    }
    clear_unfinished(&FileBackend::new(file)?).map_err(io)
}

/// Makes the entry of a new file durable in its folder.
fn sync_folder(file: &Path) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_database_that_was_not_finished_is_made_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.redb");
        drop(open(&path).expect("a new database"));
        let whole = std::fs::read(&path).expect("read");

        let mut unfinished = vec![0; whole.len()];
        unfinished[9..100].copy_from_slice(&whole[9..100]);
        std::fs::write(&path, &unfinished).expect("write");
        drop(open(&path).expect("the database is made again"));
        assert_eq!(std::fs::read(&path).expect("read")[..9], *MAGIC);

        let mut damaged = whole.clone();
        damaged[0] ^= 1;
        let page = [&[0; 9], &whole[9..320], &[0; 5000], &b"a page"[..]].concat();
        for foreign in [&b"my notes"[..], &b"redb notes"[..], &damaged, &page] {
            std::fs::write(&path, foreign).expect("write");
            assert!(open(&path).is_err());
            assert!(std::fs::read(&path).expect("read") == foreign);
        }
    }
}
