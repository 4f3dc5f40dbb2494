//! Encryption: a wrapper over any adapter. docs/storage.md describes the bytes.

mod check;
mod seal;

use std::borrow::Cow;
use std::collections::BTreeMap;

use self::check::{CHECK, Check, open_error, seal_error};
use self::seal::{HIDDEN_NAME_BYTES_MAX, KeyId, OpenError, Purpose, Sealer};
pub use self::seal::{Key, Keys};
use super::{Adapter, AdapterError, AdapterErrorKind, Append, NAME_BYTES_MAX, Stored, check_name};

/// Stands before bytes that do not open. So they cannot pass for a record or a snapshot: somebody
/// with access to the disk could put a plain one there, with the right checksum.
const UNOPENED: u8 = 0xe3;

/// Encrypts what another adapter keeps, with XChaCha20-Poly1305. Each record and snapshot is bound
/// to its document and number.
///
/// A wrong key is found at opening, and nothing is written then. Sealed bytes that do not open are
/// passed up with one byte `0xE3` before them, so that the layer above finds them damaged and keeps
/// them. The document `exostate-keys` of the inner adapter is reserved.
///
/// **What encryption does not do.** Somebody with access to the disk can still put back an older
/// state of a document or of the whole place, delete documents, and see how many documents there
/// are, how long their records are, and when they change. Without
/// [hidden names](Keys::with_hidden_names) the names are plain too.
///
/// **Another key.** [`rotate`](Self::rotate) seals everything again with the current key:
///
/// ```
/// use exostate_storage::{EncryptedAdapter, Key, Keys, MemoryAdapter};
///
/// # fn main() -> Result<(), exostate_storage::AdapterError> {
/// let (old, new) = (Key::new([1; 32]), Key::new([2; 32])); // In earnest: random bytes.
/// let place = MemoryAdapter::new();
/// let adapter = EncryptedAdapter::open(place.clone(), &Keys::new(old.clone()))?;
/// drop(adapter);
///
/// let keys = Keys::new(new.clone()).with_old(old);
/// let (adapter, left) = EncryptedAdapter::open(place.clone(), &keys)?.rotate()?;
/// assert!(left.is_empty(), "no document is damaged, so the old key is not needed any more");
/// drop(adapter);
/// EncryptedAdapter::open(place, &Keys::new(new))?;
/// # Ok(())
/// # }
/// ```
pub struct EncryptedAdapter<A> {
    inner: A,
    sealer: Sealer,
    check: Check,
    /// The documents that are still kept under a name that an old key hides.
    old_names: BTreeMap<String, String>,
}

impl<A> std::fmt::Debug for EncryptedAdapter<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncryptedAdapter").finish_non_exhaustive()
    }
}

impl<A: Adapter> EncryptedAdapter<A> {
    /// Opens an encrypted place, or begins one in an empty adapter.
    ///
    /// # Errors
    /// - [`AdapterErrorKind::WrongKey`] if something at the place is sealed with a key that is not
    ///   among `keys`. Nothing is written then.
    /// - The place holds documents that are not encrypted, or was opened without hidden names
    ///   before and is opened with them now, or the other way round.
    /// - The inner adapter fails.
    pub fn open(inner: A, keys: &Keys) -> Result<Self, AdapterError> {
        let sealer = Sealer::new(keys);
        let found = Check::read(&inner, &sealer)?;
        let hides_names = keys.hides_names;
        let (check, is_good) = match found {
            Some((check, _)) if check.hides_names != hides_names => {
                let reason = if hides_names {
                    "the names of documents are not hidden here"
                } else {
                    "the names of documents are hidden here"
                };
                return Err(AdapterError::new(AdapterErrorKind::Other, CHECK, reason));
            }
            Some(found) => found,
            None if inner.list()?.is_empty() => (Check { hides_names, keys: Vec::new() }, false),
            None => {
                let reason = "there are documents, but the check record of a key is missing: \
                              the place is not encrypted";
                return Err(AdapterError::new(AdapterErrorKind::Other, CHECK, reason));
            }
        };
        let mut this = Self { inner, sealer, check, old_names: BTreeMap::new() };
        if hides_names {
            this.find_old_names()?;
        }
        let current = this.sealer.current();
        if !is_good || this.check.keys.last() != Some(&current) {
            this.check.keys.retain(|id| *id != current);
            this.check.keys.push(current);
            this.check.write(&this.inner, &this.sealer)?;
        }
        Ok(this)
    }

    /// Finds the documents that old keys hide. A document with two names was being moved to the
    /// newer one when a crash came: the copy is deleted, as it may not be complete.
    fn find_old_names(&mut self) -> Result<(), AdapterError> {
        let mut found: BTreeMap<String, (usize, String)> = BTreeMap::new();
        let mut copies = Vec::new();
        for (document, key, hidden) in self.revealed()?.documents {
            let age = self.check.keys.iter().position(|id| *id == key).unwrap_or(usize::MAX);
            match found.get_mut(&document) {
                Some(kept) if kept.0 <= age => copies.push(hidden),
                Some(kept) => copies.push(std::mem::replace(kept, (age, hidden)).1),
                None => drop(found.insert(document, (age, hidden))),
            }
        }
        for copy in &copies {
            self.inner.delete(copy)?;
        }
        if !copies.is_empty() {
            self.inner.sync()?;
        }
        for (document, (_, hidden)) in found {
            if self.hide(&document)? != hidden {
                self.old_names.insert(document, hidden);
            }
        }
        Ok(())
    }

    /// The names in a place with hidden names.
    fn revealed(&self) -> Result<Revealed, AdapterError> {
        let (mut documents, mut foreign) = (Vec::new(), Vec::new());
        for hidden in self.inner.list()?.into_iter().filter(|hidden| hidden != CHECK) {
            match self.sealer.reveal(&hidden) {
                Ok((document, key)) => documents.push((document, key, hidden)),
                Err(OpenError::Damaged) => foreign.push(hidden),
                Err(error) => return Err(open_error(&hidden, error)),
            }
        }
        Ok(Revealed { documents, foreign })
    }

    fn hide(&self, document: &str) -> Result<String, AdapterError> {
        self.sealer.hide(document).map_err(|error| seal_error(document, error))
    }

    /// The name under which the inner adapter keeps a document.
    fn inner_name<'a>(&self, document: &'a str) -> Result<Cow<'a, str>, AdapterError> {
        let refuse = |reason: &str| {
            Err(AdapterError::new(AdapterErrorKind::Name, format!("{document:?}"), reason))
        };
        check_name(document)?;
        if document == CHECK {
            return refuse("this name is reserved for the check record of a key");
        }
        if !self.check.hides_names {
            return Ok(Cow::Borrowed(document));
        }
        if document.len() > HIDDEN_NAME_BYTES_MAX {
            return refuse("a name that is hidden has at most 111 bytes");
        }
        match self.old_names.get(document) {
            Some(old) => Ok(Cow::Owned(old.clone())),
            None => self.hide(document).map(Cow::Owned),
        }
    }

    fn seal(
        &self,
        purpose: Purpose,
        document: &str,
        number: u64,
        bytes: &[u8],
    ) -> Result<Vec<u8>, AdapterError> {
        let sealed = self.sealer.seal(purpose, document, number, bytes);
        sealed.map_err(|error| seal_error(document, error))
    }

    /// Decrypts everything of a document in place, and says what opened.
    fn decrypt(&self, document: &str, stored: &mut Stored) -> Result<Opened, AdapterError> {
        let mut opened = Opened { all: true, with_current: true };
        let mut open = |purpose, number, bytes: &mut Vec<u8>| {
            match self.sealer.open(purpose, document, number, bytes) {
                Ok((plain, key)) => {
                    *bytes = plain;
                    opened.with_current &= key == self.sealer.current();
                }
                Err(OpenError::Damaged) => {
                    bytes.insert(0, UNOPENED);
                    opened.all = false;
                }
                // The key was forgotten, or a newer version is needed: that is no damage.
                Err(error) => return Err(open_error(document, error)),
            }
            Ok(())
        };
        if let Some((covers, bytes)) = &mut stored.snapshot {
            open(Purpose::Snapshot, *covers, bytes)?;
        }
        for (number, bytes) in &mut stored.records {
            open(Purpose::Record, *number, bytes)?;
        }
        if let Some(unreadable) = &mut stored.unreadable {
            for (number, bytes) in &mut unreadable.records {
                open(Purpose::Record, *number, bytes)?;
            }
        }
        Ok(opened)
    }

    /// Seals everything again with the current key, document by document, so that the old keys can
    /// be forgotten. The calls before have to be synced.
    ///
    /// Also returns the documents that are damaged. They stay as they are, and still need the old
    /// keys: so does the place then.
    ///
    /// # Errors
    /// The inner adapter fails. Everything is still there. As it is not known which calls are on
    /// disk, the place has to be opened again, with the old keys among the keys; `rotate` goes on
    /// then, as after a crash.
    pub fn rotate(mut self) -> Result<(Self, Vec<String>), AdapterError> {
        let mut left = Vec::new();
        for document in self.list()? {
            if !self.rotate_document(&document)? {
                left.push(document);
            }
        }
        if left.is_empty() {
            // Only now the old keys are not asked for any more.
            self.check.keys = vec![self.sealer.current()];
            self.check.write(&self.inner, &self.sealer)?;
        }
        Ok((self, left))
    }

    /// Seals a document again. `false` if it is damaged.
    fn rotate_document(&mut self, document: &str) -> Result<bool, AdapterError> {
        let old_name = self.inner_name(document)?.into_owned();
        let Some(mut stored) = self.inner.read(&old_name)? else { return Ok(true) };
        let opened = self.decrypt(document, &mut stored)?;
        if !opened.all || !is_whole(&stored) {
            return Ok(false);
        }
        if !self.old_names.contains_key(document) {
            if !opened.with_current {
                self.write_sealed(document, &old_name, &stored)?;
            }
            return Ok(true);
        }
        let name = self.hide(document)?;
        self.write_sealed(document, &name, &stored)?;
        // The copy is on disk. Until the old name is gone, it is the one that counts.
        self.inner.delete(&old_name)?;
        self.inner.sync()?;
        self.old_names.remove(document);
        Ok(true)
    }

    /// Seals the snapshot and all records with the current key, under a name of the inner adapter.
    /// Over the old ones this is safe: each number has either the old bytes or the new ones, and
    /// both open.
    fn write_sealed(
        &self,
        document: &str,
        name: &str,
        stored: &Stored,
    ) -> Result<(), AdapterError> {
        if let Some((covers, bytes)) = &stored.snapshot {
            let sealed = self.seal(Purpose::Snapshot, document, *covers, bytes)?;
            self.inner.replace(name, *covers, &sealed)?;
        }
        let seal = |(number, bytes): &(u64, Vec<u8>)| {
            Ok((*number, self.seal(Purpose::Record, document, *number, bytes)?))
        };
        let sealed = stored.records.iter().map(seal).collect::<Result<Vec<_>, AdapterError>>()?;
        let sealed = sealed.iter();
        let records: Vec<_> = sealed
            .map(|(number, bytes)| Append { document: name, number: *number, bytes })
            .collect();
        if !records.is_empty() {
            self.inner.append(&records)?;
        }
        self.inner.sync()
    }
}

/// The names in a place with hidden names.
struct Revealed {
    /// The documents: the plain name, the key that hides it, and the hidden name.
    documents: Vec<(String, KeyId, String)>,
    /// The names that no key hides: somebody else has put them there.
    foreign: Vec<String>,
}

/// What opened of a document.
struct Opened {
    /// Everything opened.
    all: bool,
    /// What opened did so with the current key.
    with_current: bool,
}

/// Whether nothing of a document is missing.
fn is_whole(stored: &Stored) -> bool {
    let covers = stored.snapshot.as_ref().map_or(0, |(covers, _)| *covers);
    let mut end = covers;
    let is_dense = stored.records.iter().all(|(number, _)| {
        end = end.saturating_add(1);
        *number == end
    });
    is_dense && stored.unreadable.is_none() && stored.last.is_none_or(|last| last <= end)
}

impl<A: Adapter> Adapter for EncryptedAdapter<A> {
    fn append(&self, records: &[Append<'_>]) -> Result<(), AdapterError> {
        let seal = |record: &Append<'_>| {
            let name = self.inner_name(record.document)?;
            let bytes = self.seal(Purpose::Record, record.document, record.number, record.bytes)?;
            Ok((name.into_owned(), record.number, bytes))
        };
        let sealed = records.iter().map(seal).collect::<Result<Vec<_>, AdapterError>>()?;
        let sealed = sealed.iter();
        let records: Vec<_> = sealed
            .map(|(document, number, bytes)| Append { document, number: *number, bytes })
            .collect();
        self.inner.append(&records)
    }

    fn read(&self, document: &str) -> Result<Option<Stored>, AdapterError> {
        // Under a name that is refused there is no document.
        let Ok(name) = self.inner_name(document) else { return Ok(None) };
        let Some(mut stored) = self.inner.read(&name)? else { return Ok(None) };
        self.decrypt(document, &mut stored)?;
        Ok(Some(stored))
    }

    fn replace(&self, document: &str, covers: u64, snapshot: &[u8]) -> Result<(), AdapterError> {
        let name = self.inner_name(document)?;
        let sealed = self.seal(Purpose::Snapshot, document, covers, snapshot)?;
        self.inner.replace(&name, covers, &sealed)
    }

    fn overwrite(&self, document: &str, covers: u64, snapshot: &[u8]) -> Result<(), AdapterError> {
        let name = self.inner_name(document)?;
        let sealed = self.seal(Purpose::Snapshot, document, covers, snapshot)?;
        self.inner.overwrite(&name, covers, &sealed)
    }

    fn list(&self) -> Result<Vec<String>, AdapterError> {
        let mut names: Vec<String> = if self.check.hides_names {
            self.revealed()?.documents.into_iter().map(|(document, ..)| document).collect()
        } else {
            self.inner.list()?.into_iter().filter(|name| name != CHECK).collect()
        };
        names.sort_unstable();
        Ok(names)
    }

    fn delete(&self, document: &str) -> Result<(), AdapterError> {
        let Ok(name) = self.inner_name(document) else { return Ok(()) };
        self.inner.delete(&name)
    }

    fn sync(&self) -> Result<(), AdapterError> {
        self.inner.sync()
    }

    fn verify(&self) -> Result<Vec<String>, AdapterError> {
        let mut faults = self.inner.verify()?;
        if self.check.hides_names {
            let foreign = self.revealed()?.foreign.into_iter();
            faults.extend(foreign.map(|name| format!("{name:?}: not a name that a key hides")));
        }
        Ok(faults)
    }
}

#[cfg(test)]
mod tests;
