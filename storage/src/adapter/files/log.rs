//! Writing the folder of a document.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use super::super::{AdapterError, AdapterErrorKind, Append, Stored};
use super::disk::{Disk, DiskFile};
use super::format::{self, Header, Kind, put_frame};
use super::read::{self, Entries, Found, at, damaged, log_path, snapshot_path, torn_path};

/// As many torn ends of a document are kept.
const TORN_FILES_MAX: usize = 8;

/// What readers know of a document. A reader holds the lock while it reads the folder, the writer
/// while it takes something away.
#[derive(Debug)]
pub(super) struct View {
    pub(super) folder: PathBuf,
    pub(super) extent: RwLock<Extent>,
    /// Whether all that was found at the opening has been synced, see [`View::settle`].
    settled: AtomicBool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    /// Whether there is such a document.
    pub(super) is_there: bool,
    /// The number of the last log, and how much of it is read. `None` before the first write.
    pub(super) known: Option<(u64, u64)>,
}

impl View {
    pub(super) fn new(folder: PathBuf, is_there: bool) -> Self {
        let extent = RwLock::new(Extent { is_there, known: None });
        Self { folder, extent, settled: AtomicBool::new(false) }
    }

    /// Syncs what an earlier process may have written without a sync: what a reader gets must not
    /// be lost later. The end of the last log is written once more before: the sync of the earlier
    /// process may have failed, and then the system shows bytes that no later sync writes.
    pub(super) fn settle(&self, disk: &dyn Disk) -> Result<(), AdapterError> {
        if self.settled.load(Ordering::Acquire) {
            return Ok(());
        }
        let entries = Entries::list(disk, &self.folder)?;
        for number in &entries.logs {
            let path = log_path(&self.folder, *number);
            let is_last = entries.logs.last() == Some(number);
            settle_log(disk, &path, is_last).map_err(|error| at(&path, error))?;
        }
        disk.sync_folder(&self.folder).map_err(|error| at(&self.folder, error))?;
        self.settled.store(true, Ordering::Release);
        Ok(())
    }
}

fn settle_log(disk: &dyn Disk, path: &Path, is_last: bool) -> std::io::Result<()> {
    let bytes = if is_last { disk.read(path, u64::MAX)? } else { Vec::new() };
    let mut file = disk.open(path)?;
    // What cannot be read is left as it is.
    if let Ok(scan) = format::scan(&bytes)
        && let Some(unsure) = bytes.get(scan.durable..scan.valid)
        && scan.behind.is_empty()
        && !unsure.is_empty()
    {
        file.write_at(scan.durable as u64, unsure)?;
    }
    file.sync()
}

/// The writer's side of a document.
pub(super) struct Log {
    name: String,
    view: Arc<View>,
    /// What the durable snapshot covers.
    covers: Option<u64>,
    /// The logs before the last one, all synced → the largest number of a record in it.
    closed: BTreeMap<u64, u64>,
    tail: Tail,
    /// Whether the folder has entries that are not synced.
    is_folder_dirty: bool,
    damage: Option<String>,
}

/// The last log.
struct Tail {
    number: u64,
    salt: u64,
    /// The length that was written, and how much of it is durable.
    written: u64,
    synced: u64,
    /// The largest number of a record.
    last: u64,
    file: Option<Box<dyn DiskFile>>,
    /// Whether what lies behind `synced` must be written anew: a write or sync has failed. After a
    /// failed sync the system may show bytes that never reach the disk.
    is_broken: bool,
}

impl Tail {
    fn new(number: u64) -> Self {
        // Never 0, which is what a lost sector reads as.
        let salt = fastrand::u64(1..);
        Self { number, salt, written: 0, synced: 0, last: 0, file: None, is_broken: false }
    }

    fn has_unsynced(&self) -> bool {
        self.written > self.synced
    }

    fn path(&self, folder: &Path) -> PathBuf {
        log_path(folder, self.number)
    }

    fn file(&mut self, disk: &dyn Disk, path: &Path) -> std::io::Result<&mut dyn DiskFile> {
        let file = match self.file.take() {
            Some(file) => file,
            None => disk.open(path)?,
        };
        Ok(&mut **self.file.insert(file))
    }

    fn sync(&mut self, disk: &dyn Disk, folder: &Path) -> Result<(), AdapterError> {
        if self.has_unsynced() {
            let path = self.path(folder);
            let synced = self.file(disk, &path).and_then(|file| file.sync());
            synced.map_err(|error| at(&path, error))?;
            self.synced = self.written;
        }
        Ok(())
    }

    /// Cuts off what lies behind `synced`, after a failure.
    fn repair(&mut self, disk: &dyn Disk, folder: &Path) -> Result<(), AdapterError> {
        if !self.is_broken {
            return Ok(());
        }
        let (path, synced) = (self.path(folder), self.synced);
        if synced > 0 {
            // What is cut off must not come back after the next log has begun.
            let cut = self.file(disk, &path).and_then(|file| {
                file.set_len(synced)?;
                file.sync()
            });
            cut.map_err(|error| at(&path, error))?;
        }
        // A log of which nothing is durable is made again by the next append.
        self.written = synced;
        self.is_broken = false;
        Ok(())
    }
}

impl Log {
    /// Reads what is there of a document, and makes its log ready for records: a torn end is saved
    /// and cut off.
    pub(super) fn load(
        disk: &dyn Disk,
        name: &str,
        view: &Arc<View>,
    ) -> Result<Self, AdapterError> {
        let Found { stored, logs, last } = read::read(disk, &view.folder, name, None)?;
        let Stored { snapshot, unreadable, .. } = stored;
        let mut this = Self {
            name: name.to_owned(),
            view: Arc::clone(view),
            covers: snapshot.map(|(covers, _)| covers),
            tail: Tail::new(logs.keys().last().copied().unwrap_or(1)),
            closed: logs,
            is_folder_dirty: false,
            damage: unreadable.map(|unreadable| unreadable.place),
        };
        if this.damage.is_none() {
            view.settle(disk)?;
        }
        if let Some(last) = last.filter(|_| this.damage.is_none()) {
            this.save_torn(disk, last.number, &last.torn)?;
            this.tail.last = this.closed.remove(&last.number).unwrap_or(0);
            this.tail.salt = last.salt.unwrap_or(this.tail.salt);
            if !last.torn.is_empty() {
                let path = this.tail.path(&view.folder);
                let cut = this.tail.file(disk, &path).and_then(|file| {
                    file.set_len(last.valid)?;
                    file.sync()
                });
                cut.map_err(|error| at(&path, error))?;
            }
            (this.tail.written, this.tail.synced) = (last.valid, last.valid);
        }
        if this.damage.is_none() {
            this.show();
        }
        Ok(this)
    }

    /// Keeps a torn end in a file of its own.
    fn save_torn(&self, disk: &dyn Disk, log: u64, bytes: &[u8]) -> Result<(), AdapterError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let folder = &self.view.folder;
        let saved = Entries::list(disk, folder)?.torn;
        let running = saved.last().map_or(1, |(_, running)| running.saturating_add(1));
        let path = torn_path(folder, (log, running));
        write_file(disk, &path, bytes)?;
        disk.sync_folder(folder).map_err(|error| at(folder, error))?;
        for old in &saved[..(saved.len() + 1).saturating_sub(TORN_FILES_MAX)] {
            // One file too many does no harm.
            let _ = disk.remove(&torn_path(folder, *old));
        }
        Ok(())
    }

    /// Lets readers see what was written.
    fn show(&self) {
        let is_there = self.covers.is_some() || !self.closed.is_empty() || self.tail.written > 0;
        let known = Some((self.tail.number, self.tail.written));
        *self.view.extent.write() = Extent { is_there, known };
    }

    pub(super) fn is_open(&self) -> bool {
        self.tail.file.is_some()
    }

    pub(super) fn has_unsynced(&self) -> bool {
        self.tail.has_unsynced() || self.tail.is_broken
    }

    /// Whether a write or a sync has failed. All since the last sync is taken back then, and the next
    /// write mends the log.
    pub(super) fn is_broken(&self) -> bool {
        self.tail.is_broken
    }

    /// Whether anything of a document was found.
    pub(super) fn has_content(&self) -> bool {
        self.covers.is_some() || self.damage.is_some() || self.last() > 0
    }

    pub(super) fn close(&mut self) {
        self.tail.file = None;
    }

    /// A write or a sync failed, here or elsewhere: the caller will make all calls since the last
    /// sync again, so all records since then are taken back.
    pub(super) fn fail(&mut self) {
        // A folder that cannot be synced must not stop the syncs of others either.
        if self.tail.has_unsynced() || self.tail.is_broken || self.is_folder_dirty {
            self.tail.is_broken = true;
            self.tail.written = self.tail.synced;
            self.show();
        }
        self.tail.file = None;
    }

    fn check_damage(&self) -> Result<(), AdapterError> {
        match &self.damage {
            Some(place) => Err(damaged(&self.view.folder, format!("the log at {place}"))),
            None => Ok(()),
        }
    }

    /// The largest number of a record that was found or appended.
    fn last(&self) -> u64 {
        self.closed.values().copied().max().unwrap_or(0).max(self.tail.last)
    }

    pub(super) fn append(
        &mut self,
        disk: &dyn Disk,
        records: &[&Append<'_>],
    ) -> Result<(), AdapterError> {
        self.check_damage()?;
        let folder = &self.view.folder;
        self.tail.repair(disk, folder)?;
        let path = self.tail.path(folder);
        let length: usize = records.iter().map(|record| record.bytes.len() + 64).sum();
        let mut bytes = Vec::with_capacity(length + 64);
        if self.tail.written == 0 {
            let (number, extra) = (self.tail.number, self.tail.salt);
            bytes = Header { kind: Kind::Log, number, extra, name: self.name.clone() }.encode();
        }
        let synced = self.tail.synced;
        for record in records {
            if u32::try_from(record.bytes.len()).is_err() {
                let place = path.display().to_string();
                let reason = "a record has at most 4 GiB";
                return Err(AdapterError::new(AdapterErrorKind::Other, place, reason));
            }
            put_frame(&mut bytes, self.tail.salt, record.number, synced, record.bytes);
            self.tail.last = self.tail.last.max(record.number);
        }
        if self.tail.written == 0 {
            self.is_folder_dirty = true;
            self.tail.file = Some(disk.create(&path).map_err(|error| at(&path, error))?);
        }
        let start = self.tail.written;
        // A part may be written, even if the write fails.
        self.tail.is_broken = true;
        let written = self.tail.file(disk, &path).and_then(|file| file.write_at(start, &bytes));
        written.map_err(|error| at(&path, error))?;
        self.tail.is_broken = false;
        self.tail.written = start + bytes.len() as u64;
        self.show();
        Ok(())
    }

    pub(super) fn replace(
        &mut self,
        disk: &dyn Disk,
        covers: u64,
        snapshot: &[u8],
    ) -> Result<(), AdapterError> {
        self.check_damage()?;
        self.put_snapshot(disk, covers, snapshot)
    }

    /// Puts a snapshot in place of everything, also of what cannot be read.
    pub(super) fn overwrite(
        &mut self,
        disk: &dyn Disk,
        covers: u64,
        snapshot: &[u8],
    ) -> Result<(), AdapterError> {
        if covers < self.last() {
            self.check_damage()?;
        }
        self.put_snapshot(disk, covers, snapshot)?;
        if self.damage.is_some() {
            self.end_damage()?;
        }
        Ok(())
    }

    fn put_snapshot(
        &mut self,
        disk: &dyn Disk,
        covers: u64,
        snapshot: &[u8],
    ) -> Result<(), AdapterError> {
        if self.covers.is_some_and(|durable| durable > covers) {
            // The call is made again after an error, and the snapshot after it is durable already:
            // it covers what this one does.
            return Ok(());
        }
        let view = Arc::clone(&self.view);
        let folder = &view.folder;
        // A log that is not the last one must be whole, and must not come later than the snapshot.
        self.sync(disk)?;
        let name = self.name.clone();
        let extra = snapshot.len() as u64;
        let mut bytes = Header { kind: Kind::Snapshot, number: covers, extra, name }.encode();
        bytes.extend(snapshot);
        bytes.extend(crc32c::crc32c(snapshot).to_le_bytes());
        let path = snapshot_path(folder, covers);
        let unfinished = path.with_extension("tmp");
        write_file(disk, &unfinished, &bytes)?;
        {
            // No reader may have read the old snapshot and look for its log now.
            let _extent = view.extent.write();
            self.is_folder_dirty = true;
            disk.rename(&unfinished, &path).map_err(|error| at(&path, error))?;
            disk.sync_folder(folder).map_err(|error| at(folder, error))?;
            self.is_folder_dirty = false;
            self.covers = Some(covers);
            if self.tail.written > 0 {
                let next = Tail::new(self.tail.number + 1);
                let tail = std::mem::replace(&mut self.tail, next);
                self.closed.insert(tail.number, tail.last);
            }
            self.remove_covered(disk, covers);
        }
        if self.damage.is_none() {
            self.show();
        }
        Ok(())
    }

    /// The damaged logs were to be removed: what is left of them would be read as damage again.
    fn end_damage(&mut self) -> Result<(), AdapterError> {
        self.is_folder_dirty = true;
        if !self.closed.is_empty() {
            return self.check_damage();
        }
        self.tail = Tail::new(self.tail.number + 1);
        self.damage = None;
        self.show();
        Ok(())
    }

    /// Removes what the durable snapshot covers. What cannot be removed stays until the next
    /// snapshot; readers skip it.
    fn remove_covered(&mut self, disk: &dyn Disk, covers: u64) {
        let folder = &self.view.folder;
        let Ok(entries) = Entries::list(disk, folder) else { return };
        for old in entries.snapshots.iter().filter(|old| **old < covers) {
            let _ = disk.remove(&snapshot_path(folder, *old));
        }
        for name in &entries.unfinished {
            let _ = disk.remove(&folder.join(name));
        }
        // From the oldest on, so that a number which was appended twice never falls back.
        while let Some(log) = self.closed.first_entry().filter(|log| *log.get() <= covers) {
            if disk.remove(&log_path(folder, *log.key())).is_err() {
                return;
            }
            log.remove();
        }
    }

    pub(super) fn sync(&mut self, disk: &dyn Disk) -> Result<(), AdapterError> {
        let view = Arc::clone(&self.view);
        self.tail.repair(disk, &view.folder)?;
        self.tail.sync(disk, &view.folder)?;
        if self.is_folder_dirty {
            disk.sync_folder(&view.folder).map_err(|error| at(&view.folder, error))?;
            self.is_folder_dirty = false;
        }
        Ok(())
    }
}

/// Writes a file anew, and makes its content durable.
pub(super) fn write_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), AdapterError> {
    let written = disk.create(path).and_then(|mut file| {
        file.write_at(0, bytes)?;
        file.sync()
    });
    written.map_err(|error| at(path, error))
}
