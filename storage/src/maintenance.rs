//! Work on documents that are not open, or on all of them: delete, verify, export, import, backup,
//! repair.

use std::collections::BTreeSet;

use exostate::{Automerge, Backend, Document, Yrs};

use crate::adapter::{Adapter, AdapterError, Stored, Torn, check_name};
use crate::entry::{Content, Entry, Found, FoundKind};
use crate::envelope::{Kind, open_within, seal};
use crate::error::{Damage, FlushError, OpenError, StorageError};
use crate::load::{Loaded, NUMBER_MAX, load};
use crate::opening;
use crate::persist::Flush;
use crate::queue::Task;
use crate::storage::Storage;

/// The first bytes of an exported document.
const EXPORT_MAGIC: &[u8; 8] = b"exostate";
/// The name and the number in the checksum of an exported document.
const EXPORT_NAME: &str = "export";

/// An exported document may come from a stranger. It unpacks to no more than so many times its
/// length, or one MiB. Texts unpack to some three times their length.
const EXPORT_RATIO_MAX: usize = 32;

/// What [`Storage::verify`] found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Each document, in the order of the names.
    pub documents: Vec<DocumentReport>,
    /// What is wrong beside the documents.
    pub faults: Vec<String>,
}

/// What [`Storage::verify`] found of one document.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DocumentReport {
    /// The name.
    pub name: String,
    /// The name of the backend, if it could be read.
    pub backend: Option<String>,
    /// The length of the snapshot in bytes.
    pub snapshot_bytes: u64,
    /// The length of the records behind the snapshot in bytes.
    pub log_bytes: u64,
    /// The incomplete end of the log, which opening the document cuts off.
    pub torn: Option<Torn>,
    /// What is damaged, or cannot be read by this version.
    pub damage: Option<Damage>,
    /// The name of the damaged document that this one is, as it was found: see
    /// [`Storage::repair`].
    pub set_aside: Option<String>,
}

impl VerifyReport {
    /// Whether nothing is damaged. A torn end of a log is no damage.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty() && self.documents.iter().all(|found| found.damage.is_none())
    }
}

/// What [`Storage::repair`] did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RepairReport {
    /// What was damaged. `None` if nothing was, and nothing was done.
    pub damage: Option<Damage>,
    /// The name under which the damaged document is kept as it was found.
    pub aside: Option<String>,
    /// The number of updates behind the damage that are kept. Those with a missing dependency are
    /// pending until a peer brings it.
    pub behind: usize,
}

impl Storage {
    /// Deletes a document. Does nothing if there is no such document. Blocks.
    ///
    /// # Errors
    /// [`OpenError::Open`] if the document is open; the adapter failed.
    pub fn delete(&self, name: &str) -> Result<(), OpenError> {
        let shared = &self.inner.shared;
        let _turn = shared.turn(name)?;
        shared.run_task(name, |done| Task::Delete { document: name.to_owned(), done })
    }

    /// Reads everything and says what is damaged. Changes nothing. Documents that are open are
    /// checked as they are on disk. O(everything).
    ///
    /// # Errors
    /// The adapter cannot list its documents.
    pub fn verify(&self) -> Result<VerifyReport, AdapterError> {
        let adapter = &*self.inner.shared.adapter;
        let documents = adapter.list()?.into_iter();
        let documents = documents.filter_map(|name| verify(adapter, name)).collect();
        Ok(VerifyReport { documents, faults: adapter.verify()? })
    }

    /// A document as one file, for [`Storage::import`]: with everything that is kept beside it. What
    /// is not on disk yet is written first. Blocks. O(document).
    ///
    /// # Errors
    /// The document does not exist, is damaged, or cannot be read or written.
    pub fn export(&self, name: &str) -> Result<Vec<u8>, StorageError> {
        let content = self.read_content(name)?;
        let compression = self.inner.shared.options.compression;
        let sealed = seal(Kind::Snapshot, EXPORT_NAME, 0, &content.entries(), compression);
        Ok([EXPORT_MAGIC, &sealed[..]].concat())
    }

    /// Makes a document of an exported file, under a name that is not in use. Undo knows the work
    /// of the exported document as its own. Blocks.
    ///
    /// # Errors
    /// The file is damaged, there is a document of this name, or it cannot be written.
    pub fn import(&self, name: &str, file: &[u8]) -> Result<(), OpenError> {
        check_name(name).map_err(|error| OpenError::adapter(name, error))?;
        let shared = &self.inner.shared;
        let entries = exported(name, file)?;
        let _turn = shared.turn(name)?;
        if self.read_stored(name)?.is_some() {
            return Err(OpenError::Exists { document: name.to_owned() });
        }
        self.write_entries(name, 0, &entries)
    }

    /// Copies all documents into another adapter, while this storage is in use. Each document is
    /// copied as it is at one moment. A document that is there already is replaced, at once or not
    /// at all. Returns the documents that were not copied, with the reason: they are damaged, or
    /// cannot be read or written at this time. Blocks.
    ///
    /// # Errors
    /// The documents cannot be listed, or one cannot be written there. The documents before are
    /// copied.
    pub fn backup(&self, to: &impl Adapter) -> Result<Vec<(String, Damage)>, StorageError> {
        let mut left = Vec::new();
        for name in self.list()? {
            let content = match self.read_content(&name) {
                Ok(content) => content,
                // It was deleted in the meantime.
                Err(StorageError::Open(OpenError::NotFound { .. })) => continue,
                Err(StorageError::Open(OpenError::Damaged { damage, .. })) => {
                    left.push((name, damage));
                    continue;
                }
                Err(error) => {
                    left.push((name, Damage::new("the document", error)));
                    continue;
                }
            };
            let there = to.read(&name)?.map_or(0, |stored| last_number(&stored));
            let compression = self.inner.shared.options.compression;
            let sealed = seal(Kind::Snapshot, &name, there, &content.entries(), compression);
            to.overwrite(&name, there, &sealed)?;
            to.sync()?;
        }
        Ok(left)
    }

    /// Repairs a damaged document as far as possible. The document must not be open.
    ///
    /// - The document is kept as it was found, under the name that the report says.
    /// - What can be read takes its place: everything up to the damage, and the updates behind it.
    ///   Those that need what is lost are pending, until a peer that has it connects.
    ///
    /// Blocks. O(document).
    ///
    /// # Errors
    /// The document is open, does not exist, or cannot be read or written.
    pub fn repair(&self, name: &str) -> Result<RepairReport, OpenError> {
        let shared = &self.inner.shared;
        let _turn = shared.turn(name)?;
        let not_found = || OpenError::NotFound { document: name.to_owned() };
        let stored = self.read_stored(name)?.ok_or_else(not_found)?;
        let loaded = load(name, stored.clone(), None);
        if let Some(reason) = loaded.newer {
            return Err(OpenError::Newer { document: name.to_owned(), reason });
        }
        let Some(damage) = loaded.damage.clone().or_else(|| refused(&loaded.content)) else {
            return Ok(RepairReport { damage: None, aside: None, behind: 0 });
        };
        let backend = loaded.content.backend.clone().or_else(|| loaded.backend_behind.clone());
        let backend = backend.unwrap_or_else(|| Yrs::NAME.to_owned());
        let last = last_number(&stored);
        let aside = self.set_aside(name, stored)?;
        let behind = loaded.behind.len();
        let entries = match backend.as_str() {
            Automerge::NAME => mended::<Automerge>(loaded),
            _ => mended::<Yrs>(loaded),
        };
        self.write_entries(name, last, &entries)?;
        Ok(RepairReport { damage: Some(damage), aside: Some(aside), behind })
    }

    /// Puts an exported file in place of a damaged document. The damaged document is kept as it was
    /// found, under the name that is returned. The document must not be open. Blocks.
    ///
    /// # Errors
    /// The file is damaged, the document is open, or it cannot be read or written.
    pub fn restore(&self, name: &str, file: &[u8]) -> Result<Option<String>, OpenError> {
        let entries = exported(name, file)?;
        let _turn = self.inner.shared.turn(name)?;
        let stored = self.read_stored(name)?;
        let last = stored.as_ref().map_or(0, last_number);
        let aside = stored.map(|stored| self.set_aside(name, stored)).transpose()?;
        self.write_entries(name, last, &entries)?;
        Ok(aside)
    }

    fn read_stored(&self, name: &str) -> Result<Option<Stored>, OpenError> {
        let stored = self.inner.shared.adapter.read(name);
        stored.map_err(|error| OpenError::adapter(name, error))
    }

    /// What is on disk of a document, after everything is written.
    fn read_content(&self, name: &str) -> Result<Content, StorageError> {
        let document = || name.to_owned();
        if let Some(kept) = self.inner.shared.known_as(name) {
            match Flush::of_one(&self.inner.shared, &kept).wait() {
                // What is damaged is found below.
                Ok(()) | Err(FlushError::ReadOnly { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let stored = self.read_stored(name)?;
        let stored = stored.ok_or_else(|| OpenError::NotFound { document: document() })?;
        let loaded = load(name, stored, None);
        if let Some(reason) = loaded.newer {
            return Err(OpenError::Newer { document: document(), reason }.into());
        }
        match loaded.damage {
            Some(damage) => Err(OpenError::Damaged { document: document(), damage }.into()),
            None => Ok(loaded.content),
        }
    }

    /// Writes a document that is not open, in place of what there is up to the record `covers`.
    fn write_entries(&self, name: &str, covers: u64, entries: &[Entry]) -> Result<(), OpenError> {
        let shared = &self.inner.shared;
        let snapshot = seal(Kind::Snapshot, name, covers, entries, shared.options.compression);
        let document = name.to_owned();
        shared.run_task(name, |done| Task::Write { document, covers, snapshot, done })
    }

    /// Keeps what was found of a document under another name. Returns the name.
    fn set_aside(&self, name: &str, stored: Stored) -> Result<String, OpenError> {
        let shared = &self.inner.shared;
        let names = shared.adapter.list().map_err(|error| OpenError::adapter(name, error))?;
        let mut names: BTreeSet<String> = names.into_iter().collect();
        // Two documents with long names may have the same name in mind.
        let (aside, _turn) = loop {
            let aside = aside_name(name, &names);
            let turn = shared.turn(&aside)?;
            if self.read_stored(&aside)?.is_none() {
                break (aside, turn);
            }
            names.insert(aside);
        };
        let found = |kind| {
            move |(number, bytes): (u64, Vec<u8>)| {
                let (document, bytes) = (name.to_owned(), bytes.into());
                Entry::Found(Found { document, kind, number, bytes })
            }
        };
        let Stored { snapshot, records, unreadable, .. } = stored;
        let unreadable = unreadable.map(|unreadable| (0, unreadable.bytes));
        let snapshot = snapshot.into_iter().map(found(FoundKind::Snapshot));
        let records = records.into_iter().map(found(FoundKind::Record));
        let unreadable = unreadable.into_iter().map(found(FoundKind::Unreadable));
        let entries: Vec<Entry> = snapshot.chain(records).chain(unreadable).collect();
        self.write_entries(&aside, 0, &entries)?;
        Ok(aside)
    }
}

fn verify(adapter: &dyn Adapter, name: String) -> Option<DocumentReport> {
    let empty = |name, damage| DocumentReport {
        name,
        backend: None,
        snapshot_bytes: 0,
        log_bytes: 0,
        torn: None,
        damage,
        set_aside: None,
    };
    let stored = match adapter.read(&name) {
        Ok(stored) => stored?,
        Err(error) => {
            let damage = Damage::new(error.place(), &error);
            return Some(empty(name, Some(damage)));
        }
    };
    let loaded = load(&name, stored, None);
    let newer = loaded.newer.map(|reason| Damage::new("the document", reason));
    let damage = loaded.damage.or(newer).or_else(|| refused(&loaded.content));
    let set_aside = loaded.content.found.first().map(|found| found.document.clone());
    Some(DocumentReport {
        set_aside,
        backend: loaded.content.backend,
        snapshot_bytes: loaded.snapshot_bytes,
        log_bytes: loaded.log_bytes,
        torn: loaded.torn,
        ..empty(name, damage)
    })
}

/// The number of the last record that can be read.
fn last_number(stored: &Stored) -> u64 {
    let Stored { snapshot, records, unreadable, .. } = stored;
    let covered = snapshot.iter().map(|(covers, _)| *covers);
    let behind = unreadable.iter().flat_map(|unreadable| &unreadable.records);
    let records = records.iter().chain(behind).map(|(number, _)| *number);
    covered.chain(records).filter(|number| *number <= NUMBER_MAX).max().unwrap_or(0)
}

/// What is wrong with a content that was read without damage: its backend refuses a part of it.
fn refused(content: &Content) -> Option<Damage> {
    match content.backend.as_deref() {
        Some(Automerge::NAME) => opening::refused::<Automerge>(content),
        _ => opening::refused::<Yrs>(content),
    }
}

/// The entries of an exported file.
fn exported(name: &str, file: &[u8]) -> Result<Vec<Entry>, OpenError> {
    let damaged = |reason: String| OpenError::Damaged {
        document: name.to_owned(),
        damage: Damage::new("the exported file", reason),
    };
    let sealed = file.strip_prefix(EXPORT_MAGIC);
    let sealed = sealed.ok_or_else(|| damaged("it is not one of exostate".to_owned()))?;
    let unpacked_max = file.len().saturating_mul(EXPORT_RATIO_MAX).max(1 << 20);
    open_within(Kind::Snapshot, EXPORT_NAME, 0, sealed, unpacked_max)
        .map_err(|error| damaged(error.to_string()))
}

/// The longest part of a document's name in the name of its damaged copy. Every adapter takes such
/// a name, also one that hides names.
const ASIDE_BYTES_MAX: usize = 92;

/// A name that is not in use, for a damaged document.
fn aside_name(name: &str, names: &BTreeSet<String>) -> String {
    let ending = |number: usize| format!(".damaged-{number}");
    let mut number = 1;
    loop {
        let ending = ending(number);
        let mut end = name.len().min(ASIDE_BYTES_MAX);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let aside = format!("{}{ending}", &name[..end]);
        if !names.contains(&aside) {
            return aside;
        }
        number += 1;
    }
}

/// The entries of what can be read of a damaged document.
fn mended<B: Backend>(loaded: Loaded) -> Vec<Entry> {
    let content = loaded.content;
    let document: Document<B> =
        content.whole.as_deref().and_then(|bytes| Document::open(bytes).ok()).unwrap_or_default();
    for update in content.updates.iter().chain(&loaded.behind) {
        // An update that the backend refuses is kept aside with the damaged document.
        let _ = document.apply_trusted(update);
    }
    content.with_document(&document).entries()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{Append, MemoryAdapter};
    use exostate::{State, Store};

    #[derive(State, Clone, Debug, PartialEq)]
    struct Note {
        title: String,
    }

    #[test]
    fn a_record_that_the_backend_refuses_is_damage_and_can_be_repaired() {
        let adapter = MemoryAdapter::new();
        let note = Store::<Note>::new();
        note.change(|note| note.title().set("plan")).expect("a change");
        let updates = [Entry::Update(note.save().into()), Entry::Update([0xff; 9].into())];
        for (number, update) in (1..).zip(updates) {
            let bytes = seal(Kind::Record, "note", number, &[update], Default::default());
            let record = Append { document: "note", number, bytes: &bytes };
            adapter.append(&[record]).expect("a record");
        }
        let storage = Storage::new(adapter);
        assert!(matches!(storage.open::<Note>("note"), Err(OpenError::Damaged { .. })));
        let report = storage.verify().expect("it can be checked");
        assert!(report.documents[0].damage.as_ref().is_some_and(|found| found.place == "update 2"));
        let repaired = storage.repair("note").expect("it can be repaired");
        assert_eq!(repaired.aside.as_deref(), Some("note.damaged-1"));
        assert_eq!(storage.open::<Note>("note").expect("it opens").view().title, "plan");
    }

    #[test]
    fn a_name_for_a_damaged_document_is_one_that_every_adapter_takes() {
        let name = "ü".repeat(127);
        let first = aside_name(&name, &BTreeSet::new());
        assert!(first.len() <= 111, "{first}");
        let second = aside_name(&name, &BTreeSet::from([first.clone()]));
        assert!(second.len() <= 111 && second != first, "{second}");
    }
}
