//! Reading the folder of a document.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::super::{AdapterError, AdapterErrorKind, Stored, Torn, Unreadable};
use super::disk::Disk;
use super::format::{self, HEADER_BYTES_MAX, Header, HeaderError, Kind};

/// What the names of a folder's entries say.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// The numbers of the logs, in order.
    pub(super) logs: Vec<u64>,
    /// What the snapshots cover, in order.
    pub(super) snapshots: Vec<u64>,
    /// Torn ends that were saved: the number of the log and a running number.
    pub(super) torn: Vec<(u64, u64)>,
    /// Files that were not finished.
    pub(super) unfinished: Vec<String>,
}

/// A document as its folder has it.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) stored: Stored,
    /// The numbers of the logs → the largest number of a record in it.
    pub(super) logs: BTreeMap<u64, u64>,
    /// The last log.
    pub(super) last: Option<LastLog>,
}

/// The log that takes the next record.
#[derive(Debug)]
pub(super) struct LastLog {
    pub(super) number: u64,
    pub(super) salt: Option<u64>,
    /// The length up to the first wrong byte.
    pub(super) valid: u64,
    /// The bytes behind that.
    pub(super) torn: Vec<u8>,
}

pub(super) fn log_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("log-{number}"))
}

pub(super) fn snapshot_path(folder: &Path, covers: u64) -> PathBuf {
    folder.join(format!("snapshot-{covers}"))
}

pub(super) fn torn_path(folder: &Path, (log, running): (u64, u64)) -> PathBuf {
    folder.join(format!("torn-{log}-{running}"))
}

pub(super) fn at(path: &Path, error: std::io::Error) -> AdapterError {
    AdapterError::io(path.display().to_string(), error)
}

pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> AdapterError {
    let place = path.display().to_string();
    AdapterError::new(AdapterErrorKind::Damaged, place, reason.into())
}

pub(super) fn newer(path: &Path, format: impl std::fmt::Display) -> AdapterError {
    let reason = format!("the format {format} is one of a newer version");
    AdapterError::new(AdapterErrorKind::Newer, path.display().to_string(), reason)
}

/// A number as [`ToString`] writes it.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

impl Entries {
    /// Lists a folder. A folder that is missing has no entries.
    pub(super) fn list(disk: &dyn Disk, folder: &Path) -> Result<Self, AdapterError> {
        let names = match disk.list(folder) {
            Ok(names) => names,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(at(folder, error)),
        };
        let mut this = Self::default();
        for name in names {
            if name.ends_with(".tmp") {
                this.unfinished.push(name);
            } else if let Some(log) = name.strip_prefix("log-").and_then(number) {
                this.logs.push(log);
            } else if let Some(covers) = name.strip_prefix("snapshot-").and_then(number) {
                this.snapshots.push(covers);
            } else if let Some((log, running)) =
                name.strip_prefix("torn-").and_then(|rest| rest.split_once('-'))
            {
                this.torn.extend(number(log).zip(number(running)));
            }
        }
        this.logs.sort_unstable();
        this.snapshots.sort_unstable();
        this.torn.sort_unstable_by_key(|(_, running)| *running);
        Ok(this)
    }
}

/// Reads a document. Of the last log, `known` gives the number and the length that the adapter
/// stands for; what lies behind is the rest of a write that failed.
pub(super) fn read(
    disk: &dyn Disk,
    folder: &Path,
    document: &str,
    known: Option<(u64, u64)>,
) -> Result<Found, AdapterError> {
    let entries = Entries::list(disk, folder)?;
    let mut found = Found::default();
    if let Some(covers) = entries.snapshots.last() {
        let bytes = read_snapshot(disk, &snapshot_path(folder, *covers), document, *covers)?;
        found.stored.snapshot = Some((*covers, bytes));
    }
    let mut records = BTreeMap::new();
    for number in &entries.logs {
        let path = log_path(folder, *number);
        let bytes_max = match known {
            Some((last, length)) if last == *number => length,
            Some((last, _)) if last < *number => 0,
            _ => u64::MAX,
        };
        let bytes = disk.read(&path, bytes_max).map_err(|error| at(&path, error))?;
        // Up to the known length everything was written without an error: nothing there is torn.
        let is_last = entries.logs.last() == Some(number);
        let may_be_torn = is_last && known.is_none();
        found.add_log(&path, document, *number, bytes, may_be_torn, &mut records)?;
    }
    let covers = found.stored.snapshot.as_ref().map_or(0, |(covers, _)| *covers);
    found.stored.records = records.into_iter().filter(|(number, _)| *number > covers).collect();
    Ok(found)
}

impl Found {
    /// Whether there is anything of the document.
    pub(super) fn is_there(&self) -> bool {
        let Stored { snapshot, records, torn, unreadable, .. } = &self.stored;
        snapshot.is_some() || !records.is_empty() || torn.is_some() || unreadable.is_some()
    }

    fn add_log(
        &mut self,
        path: &Path,
        document: &str,
        number: u64,
        bytes: Vec<u8>,
        may_be_torn: bool,
        records: &mut BTreeMap<u64, Vec<u8>>,
    ) -> Result<(), AdapterError> {
        let scan = format::scan(&bytes).map_err(|format| newer(path, format))?;
        if let Some(header) = &scan.header {
            check_header(path, header, document, number)?;
        }
        let all = scan.records.iter().chain(&scan.behind);
        self.logs.insert(number, all.map(|(number, _)| *number).max().unwrap_or(0));
        let take = |(number, range): &(u64, std::ops::Range<usize>)| {
            (*number, bytes[range.clone()].to_vec())
        };
        // Behind a damaged place everything is only kept, whether it can be read or not.
        if let Some(unreadable) = &mut self.stored.unreadable {
            unreadable.records.extend(scan.records.iter().chain(&scan.behind).map(take));
            unreadable.bytes.extend(&bytes);
            return Ok(());
        }
        records.extend(scan.records.iter().map(take));
        let torn = bytes[scan.valid..].to_vec();
        let place = format!("{} at byte {}", path.display(), scan.valid);
        if may_be_torn && !scan.was_synced {
            let length = torn.len() as u64;
            self.stored.torn = (length > 0).then_some(Torn { place, bytes: length });
            let salt = scan.header.map(|header| header.extra);
            self.last = Some(LastLog { number, salt, valid: scan.valid as u64, torn });
        } else if !torn.is_empty() {
            let records = scan.behind.iter().map(take).collect();
            self.stored.unreadable = Some(Unreadable { place, bytes: torn, records });
        }
        Ok(())
    }
}

fn check_header(
    path: &Path,
    header: &Header,
    document: &str,
    number: u64,
) -> Result<(), AdapterError> {
    if header.name != document || header.number != number {
        let Header { kind, number, name, .. } = header;
        let reason = format!("the file is {kind:?} {number} of the document {name:?}");
        return Err(damaged(path, reason));
    }
    Ok(())
}

/// The bytes of a snapshot. If they are damaged, they are given as they are found: the layer above
/// finds that its checksum is wrong, and still has the bytes.
fn read_snapshot(
    disk: &dyn Disk,
    path: &Path,
    document: &str,
    covers: u64,
) -> Result<Vec<u8>, AdapterError> {
    let mut bytes = disk.read(path, u64::MAX).map_err(|error| at(path, error))?;
    let (header, start) = match Header::decode(Kind::Snapshot, &bytes) {
        Ok(decoded) => decoded,
        Err(HeaderError::Newer(format)) => return Err(newer(path, format)),
        Err(HeaderError::Damaged) => return Ok(bytes),
    };
    check_header(path, &header, document, covers)?;
    let length = usize::try_from(header.extra).unwrap_or(usize::MAX);
    if bytes.len() == start.saturating_add(length).saturating_add(4) {
        let end = bytes.len() - 4;
        let is_right = bytes[end..] == crc32c::crc32c(&bytes[start..end]).to_le_bytes();
        // If only the checksum of this file is damaged, the layer above finds its own right.
        if !is_right {
            tracing::warn!(path = %path.display(), "the checksum of a snapshot is wrong");
        }
        bytes.truncate(end);
    }
    bytes.drain(..start);
    Ok(bytes)
}

/// The name of the document of a folder whose name is a hash: from the `name` file, or from the
/// header of any other file.
pub(super) fn hashed_name(disk: &dyn Disk, folder: &Path) -> Option<String> {
    let entries = Entries::list(disk, folder).ok()?;
    let logs = entries.logs.iter().map(|number| (Kind::Log, log_path(folder, *number)));
    let snapshots = entries.snapshots.iter();
    let snapshots = snapshots.map(|covers| (Kind::Snapshot, snapshot_path(folder, *covers)));
    let mut files = std::iter::once((Kind::Name, folder.join("name"))).chain(logs).chain(snapshots);
    files.find_map(|(kind, path)| {
        let bytes = disk.read(&path, HEADER_BYTES_MAX as u64).ok()?;
        Some(Header::decode(kind, &bytes).ok()?.0.name)
    })
}

/// The most that is read at the opening of a document without a snapshot, before all of it is.
const PEEK_BYTES: u64 = 64 << 10;

/// Whether a folder holds anything of the document. Reads little if it can.
pub(super) fn is_document(
    disk: &dyn Disk,
    folder: &Path,
    document: &str,
) -> Result<bool, AdapterError> {
    let entries = Entries::list(disk, folder)?;
    if !entries.snapshots.is_empty() {
        return Ok(true);
    }
    if let Some(number) = entries.logs.first() {
        let path = log_path(folder, *number);
        let bytes = disk.read(&path, PEEK_BYTES).map_err(|error| at(&path, error))?;
        if format::scan(&bytes).is_ok_and(|scan| !scan.records.is_empty()) {
            return Ok(true);
        }
    }
    // An error shows again when the document is read.
    Ok(read(disk, folder, document, None).map_or(true, |found| found.is_there()))
}
