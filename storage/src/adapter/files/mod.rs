//! A folder for each document. docs/storage.md describes the files.
//!
//! [`names`] makes names of folders, [`format`] is the bytes of the files, [`read`] reads a folder,
//! [`log`] writes it. A writer's lock lies around everything that writes; a reader of a document
//! waits for the writer only while files of that document are taken away.

mod disk;
mod format;
mod log;
mod names;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use self::format::{Header, Kind};
use self::log::{Log, View, write_file};
use self::read::{Entries, at, damaged, newer};
use super::{Adapter, AdapterError, AdapterErrorKind, Append, Stored, check_name};

pub use self::disk::{Disk, DiskFile, SystemDisk};

/// As many files stay open.
const OPEN_FILES_MAX: usize = 64;
const DOCUMENTS: &str = "documents";
const LOCK_FILE: &str = "lock";
const FORMAT_FILE: &str = "format";
const NAME_FILE: &str = "name";
/// The content of the format file, before the number and a line break.
const FORMAT_TEXT: &str = "exostate files, format ";
/// The front of the name that a deleted document's folder gets until it is removed.
const DELETED: &str = "=deleted-";

/// Keeps each document in a folder of its own: a log, and a snapshot. A second adapter on the same
/// folder gets [`AdapterErrorKind::InUse`].
///
/// A sync costs a sync of each file that was written, so this adapter is for few documents at a
/// time, and for people who want to see, copy and back up documents one by one.
pub struct FilesAdapter {
    disk: Box<dyn Disk>,
    documents: PathBuf,
    views: Mutex<BTreeMap<String, Arc<View>>>,
    writer: Mutex<Writer>,
    /// Ends when the adapter is dropped, after everything else.
    _lock: Box<dyn Send + Sync>,
}

#[derive(Default)]
struct Writer {
    logs: BTreeMap<String, Log>,
    /// The documents that were written since the last sync.
    dirty: BTreeSet<String>,
    /// The documents whose log is open, the one that was used last at the end.
    open: Vec<String>,
    /// The documents that were deleted since the last sync.
    deleted: BTreeSet<String>,
    /// After an error the caller makes all calls since the last sync again. The calls before a
    /// deletion that is durable already must not bring a part of the document back. So the calls
    /// for these documents do nothing until they are deleted again.
    awaited: BTreeSet<String>,
    /// Whether the folder of all documents has entries that are not synced.
    is_root_dirty: bool,
    /// The number of the last deleted document.
    last_deleted: u64,
}

impl std::fmt::Debug for FilesAdapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilesAdapter").field("documents", &self.documents).finish_non_exhaustive()
    }
}

impl FilesAdapter {
    /// Opens a folder, or makes it. O(number of documents).
    ///
    /// # Errors
    /// [`AdapterErrorKind::InUse`] if another process or adapter has the folder open;
    /// [`AdapterErrorKind::Newer`] if a newer version made it; or it cannot be read or made.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, AdapterError> {
        Self::on(SystemDisk, folder)
    }

    /// Opens a folder of another disk, for tests that simulate disks.
    ///
    /// # Errors
    /// As [`FilesAdapter::open`].
    pub fn on(disk: impl Disk, folder: impl AsRef<Path>) -> Result<Self, AdapterError> {
        let (disk, folder) = (Box::new(disk), folder.as_ref());
        disk.make_folder(folder).map_err(|error| at(folder, error))?;
        let path = folder.join(LOCK_FILE);
        let lock = disk.lock(&path).map_err(|error| at(&path, error))?;
        let Some(lock) = lock else {
            let place = folder.display().to_string();
            let reason = "another adapter has locked the folder";
            return Err(AdapterError::new(AdapterErrorKind::InUse, place, reason));
        };
        let this = Self {
            disk,
            documents: folder.join(DOCUMENTS),
            views: Mutex::default(),
            writer: Mutex::default(),
            _lock: lock,
        };
        this.check_format(folder)?;
        this.find_documents()?;
        Ok(this)
    }

    /// Reads the number of the format, or writes it into a new folder.
    fn check_format(&self, folder: &Path) -> Result<(), AdapterError> {
        let path = folder.join(FORMAT_FILE);
        let names = self.disk.list(folder).map_err(|error| at(folder, error))?;
        let has = |file: &str| names.iter().any(|name| name == file);
        if has(FORMAT_FILE) {
            let bytes = self.disk.read(&path, 64).map_err(|error| at(&path, error))?;
            let text = String::from_utf8(bytes).unwrap_or_default();
            let number = text.strip_prefix(FORMAT_TEXT).and_then(|rest| rest.strip_suffix('\n'));
            return match number.and_then(|number| number.parse::<u32>().ok()) {
                Some(format::FORMAT) => Ok(()),
                Some(number) if number > format::FORMAT => Err(newer(&path, number)),
                _ => Err(damaged(&path, "the file does not name a format")),
            };
        }
        if has(DOCUMENTS) {
            return Err(damaged(&path, "the file is missing"));
        }
        // The folder's own entry, if there is a folder above. It comes before the format file, so
        // that a folder with that file needs no sync of the folder above.
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.sync_folder(parent)?;
        }
        let unfinished = path.with_extension("tmp");
        let text = format!("{FORMAT_TEXT}{}\n", format::FORMAT);
        write_file(&*self.disk, &unfinished, text.as_bytes())?;
        self.disk.rename(&unfinished, &path).map_err(|error| at(&path, error))?;
        self.sync_folder(folder)
    }

    /// Finds the documents, and removes what a crash left.
    fn find_documents(&self) -> Result<(), AdapterError> {
        let disk = &*self.disk;
        disk.make_folder(&self.documents).map_err(|error| at(&self.documents, error))?;
        if let Some(folder) = self.documents.parent() {
            self.sync_folder(folder)?;
        }
        self.sync_folder(&self.documents)?;
        let mut views = self.views.lock();
        for folder in self.list_folders()? {
            let path = self.documents.join(&folder);
            if let Some(number) = folder.strip_prefix(DELETED) {
                // If it cannot be removed, its name stays in use.
                let mut writer = self.writer.lock();
                writer.last_deleted = writer.last_deleted.max(number.parse().unwrap_or(0));
                let _ = disk.remove_folder(&path);
                continue;
            }
            let Some(name) = self.name_of(&folder) else {
                tracing::warn!(path = %path.display(), "this is no folder of a document");
                continue;
            };
            // What cannot be read is a document too: who opens it gets the error, and the others
            // open.
            let is_there = self.clean_up(&path, &name).unwrap_or_else(|error| {
                tracing::warn!(document = %name, %error, "a document cannot be read");
                true
            });
            if is_there {
                views.insert(name, Arc::new(View::new(path, true)));
            }
        }
        Ok(())
    }

    /// Removes what a crash left in a folder. Returns whether there is a document in it.
    fn clean_up(&self, folder: &Path, document: &str) -> Result<bool, AdapterError> {
        for unfinished in Entries::list(&*self.disk, folder)?.unfinished {
            let _ = self.disk.remove(&folder.join(unfinished));
        }
        read::is_document(&*self.disk, folder, document)
    }

    fn list_folders(&self) -> Result<Vec<String>, AdapterError> {
        let mut folders =
            self.disk.list(&self.documents).map_err(|error| at(&self.documents, error))?;
        folders.sort_unstable();
        Ok(folders)
    }

    /// The document of a folder.
    fn name_of(&self, folder: &str) -> Option<String> {
        if names::is_hashed(folder) {
            let name = read::hashed_name(&*self.disk, &self.documents.join(folder))?;
            return (names::folder_name(&name) == folder).then_some(name);
        }
        names::document_name(folder)
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), AdapterError> {
        self.disk.sync_folder(folder).map_err(|error| at(folder, error))
    }

    /// Works on the log of a document. After an error everything since the last sync is taken back.
    fn write(
        &self,
        writer: &mut Writer,
        document: &str,
        work: impl FnOnce(&mut Log, &dyn Disk) -> Result<(), AdapterError>,
    ) -> Result<(), AdapterError> {
        if writer.awaited.contains(document) {
            return Ok(());
        }
        let result = self.log(writer, document).and_then(|()| {
            writer.dirty.insert(document.to_owned());
            let Some(log) = writer.logs.get_mut(document) else { return Ok(()) };
            work(log, &*self.disk)?;
            writer.open.retain(|open| open != document);
            if log.is_open() {
                writer.open.push(document.to_owned());
            }
            Ok(())
        });
        if result.is_err() {
            writer.fail();
        }
        result
    }

    /// Makes the log of a document ready, and room for one more open file.
    fn log(&self, writer: &mut Writer, document: &str) -> Result<(), AdapterError> {
        let is_ready = writer.logs.contains_key(document);
        if !is_ready {
            check_name(document)?;
            let view = self.views.lock().get(document).cloned();
            let is_new = view.is_none();
            let view = match view {
                Some(view) => view,
                None => self.make_document(writer, document)?,
            };
            let log = Log::load(&*self.disk, document, &view)?;
            if is_new && log.has_content() {
                let reason = "the folder was not found at the opening, but holds a document";
                return Err(damaged(&view.folder, reason));
            }
            writer.logs.insert(document.to_owned(), log);
            self.views.lock().insert(document.to_owned(), view);
        }
        if writer.open.len() >= OPEN_FILES_MAX && !writer.open.iter().any(|open| open == document) {
            self.close_one(writer)?;
        }
        Ok(())
    }

    /// Closes the log that was not used for the longest time. A log that is not synced is not
    /// closed: the error of a later sync might be lost with the open file.
    fn close_one(&self, writer: &mut Writer) -> Result<(), AdapterError> {
        let is_synced = |name: &String| !writer.logs.get(name).is_some_and(Log::has_unsynced);
        let place = match writer.open.iter().position(is_synced) {
            Some(place) => place,
            None => {
                self.sync_all(writer)?;
                0
            }
        };
        let name = writer.open.remove(place);
        if let Some(log) = writer.logs.get_mut(&name) {
            log.close();
        }
        Ok(())
    }

    /// Makes the folder of a new document.
    fn make_document(
        &self,
        writer: &mut Writer,
        document: &str,
    ) -> Result<Arc<View>, AdapterError> {
        let folder = names::folder_name(document);
        let path = self.documents.join(&folder);
        let is_hashed = names::is_hashed(&folder);
        if is_hashed && self.views.lock().values().any(|view| view.folder == path) {
            let reason = "another document has a name with the same hash";
            let place = path.display().to_string();
            return Err(AdapterError::new(AdapterErrorKind::Name, place, reason));
        }
        if writer.deleted.contains(document) {
            // The deletion must be durable before a document of the same name begins.
            self.sync_root(writer)?;
        }
        writer.is_root_dirty = true;
        self.disk.make_folder(&path).map_err(|error| at(&path, error))?;
        if is_hashed {
            let name = document.to_owned();
            let header = Header { kind: Kind::Name, number: 0, extra: 0, name };
            write_file(&*self.disk, &path.join(NAME_FILE), &header.encode())?;
            self.sync_folder(&path)?;
        }
        Ok(Arc::new(View::new(path, false)))
    }

    fn sync_root(&self, writer: &mut Writer) -> Result<(), AdapterError> {
        if writer.is_root_dirty {
            self.sync_folder(&self.documents)?;
            writer.is_root_dirty = false;
        }
        Ok(())
    }

    fn sync_all(&self, writer: &mut Writer) -> Result<(), AdapterError> {
        for name in &writer.dirty {
            // Nothing of a broken log is to be synced, and its document may be the only one that
            // cannot be written.
            if let Some(log) = writer.logs.get_mut(name).filter(|log| !log.is_broken()) {
                log.sync(&*self.disk)?;
            }
        }
        self.sync_root(writer)?;
        writer.dirty.clear();
        Ok(())
    }

    fn remove(&self, writer: &mut Writer, document: &str) -> Result<(), AdapterError> {
        let Some(view) = self.views.lock().get(document).cloned() else {
            // If the last call failed to sync this.
            self.sync_root(writer)?;
            writer.awaited.remove(document);
            return Ok(());
        };
        writer.last_deleted += 1;
        let deleted = self.documents.join(format!("{DELETED}{}", writer.last_deleted));
        let mut extent = view.extent.write();
        writer.open.retain(|open| open != document);
        if let Some(log) = writer.logs.get_mut(document) {
            log.close();
        }
        self.disk.rename(&view.folder, &deleted).map_err(|error| at(&view.folder, error))?;
        writer.logs.remove(document);
        writer.deleted.insert(document.to_owned());
        writer.is_root_dirty = true;
        writer.dirty.remove(document);
        writer.awaited.remove(document);
        extent.is_there = false;
        self.views.lock().remove(document);
        self.sync_root(writer)?;
        // What is left is removed at the next opening.
        let _ = self.disk.remove_folder(&deleted);
        Ok(())
    }
}

impl Writer {
    /// After a write or sync that failed.
    fn fail(&mut self) {
        self.awaited.extend(self.deleted.iter().cloned());
        for name in &self.dirty {
            if let Some(log) = self.logs.get_mut(name) {
                log.fail();
            }
        }
        self.open.retain(|name| self.logs.get(name).is_some_and(Log::is_open));
    }
}

impl Adapter for FilesAdapter {
    fn append(&self, records: &[Append<'_>]) -> Result<(), AdapterError> {
        let mut groups = BTreeMap::<&str, Vec<&Append<'_>>>::new();
        for record in records {
            groups.entry(record.document).or_default().push(record);
        }
        let mut writer = self.writer.lock();
        for (document, records) in groups {
            self.write(&mut writer, document, |log, disk| log.append(disk, &records))?;
        }
        Ok(())
    }

    fn read(&self, document: &str) -> Result<Option<Stored>, AdapterError> {
        let Some(view) = self.views.lock().get(document).cloned() else { return Ok(None) };
        let extent = view.extent.read();
        if !extent.is_there {
            return Ok(None);
        }
        view.settle(&*self.disk)?;
        let found = read::read(&*self.disk, &view.folder, document, extent.known)?;
        Ok(Some(found.stored))
    }

    fn replace(&self, document: &str, covers: u64, snapshot: &[u8]) -> Result<(), AdapterError> {
        let mut writer = self.writer.lock();
        self.write(&mut writer, document, |log, disk| log.replace(disk, covers, snapshot))
    }

    fn overwrite(&self, document: &str, covers: u64, snapshot: &[u8]) -> Result<(), AdapterError> {
        let mut writer = self.writer.lock();
        self.write(&mut writer, document, |log, disk| log.overwrite(disk, covers, snapshot))
    }

    fn list(&self) -> Result<Vec<String>, AdapterError> {
        // The lock of the map is not held while a document is waited for.
        let views = self.views.lock().clone();
        let there = views.into_iter().filter(|(_, view)| view.extent.read().is_there);
        Ok(there.map(|(name, _)| name).collect())
    }

    fn delete(&self, document: &str) -> Result<(), AdapterError> {
        let mut writer = self.writer.lock();
        let result = self.remove(&mut writer, document);
        if result.is_err() {
            writer.fail();
        }
        result
    }

    fn sync(&self) -> Result<(), AdapterError> {
        let mut writer = self.writer.lock();
        let result = self.sync_all(&mut writer);
        match result {
            Ok(()) => {
                writer.deleted.clear();
                writer.awaited.clear();
            }
            Err(_) => writer.fail(),
        }
        result
    }

    fn verify(&self) -> Result<Vec<String>, AdapterError> {
        let folders = self.list_folders()?;
        let foreign = folders
            .iter()
            .filter(|folder| !folder.starts_with(DELETED) && self.name_of(folder).is_none());
        let place = |folder| self.documents.join(folder).display().to_string();
        Ok(foreign.map(|folder| format!("{}: no folder of a document", place(folder))).collect())
    }
}
