//! One replica of a document, with what every backend needs around it: the index of its keys, a
//! mirror of its sequences, the digest, the updates that wait for others, and the bytes it can be
//! rebuilt from.

mod parts;
mod pending;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::backend::{Aside, Backend, BackendError, Offset};
use super::digest::Canonical;
use super::guard::recognize::{Recognized, recognize};
use super::key::{self, Key};
use super::landing;
use super::limits::Limits;
use super::named;
use super::ops::{Ops, RegisterTouch, RegisterWrite, SequenceKind, Touched};
use super::rope::Rope;
use super::source::Source;
use super::value::Value;
use super::{Digest, ReplicaId, Version};
use pending::{Pending, Waiting};

/// A list as it stands in the document.
pub type List = imbl::Vector<Value>;

/// How much the source of an update is trusted, which decides the limits that it must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It may be anybody's: tight limits.
    Untrusted,
    /// It comes from this replica's own storage or from a document of the same owner: wide limits.
    Trusted,
}

/// What an import did.
#[derive(Debug, Default)]
pub struct Imported {
    /// What it touched.
    pub touched: Touched,
    /// Of the sequences that it touched those whose content differs now.
    pub edited: BTreeSet<Arc<str>>,
    /// The updates that were applied, this one or ones that had waited for it. Empty where nothing
    /// was new.
    pub applied: Vec<Arc<[u8]>>,
    /// Whether a part of these updates waits, or may. Others may have brought it before.
    pub waits: bool,
    /// Changes that had waited, and contradict what the document has. They may have come long ago,
    /// from a replica that has lost them since.
    pub aside: Vec<Aside>,
}

impl Imported {
    /// Adds what a later import did.
    fn add(&mut self, mut later: Self) {
        self.touched.registers.append(&mut later.touched.registers);
        self.touched.sequences.append(&mut later.touched.sequences);
        self.touched.settle();
        self.edited.append(&mut later.edited);
        self.applied.append(&mut later.applied);
        self.aside.append(&mut later.aside);
    }
}

/// Why an import failed. The document is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The bytes were refused.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Too much waits already for an update that is missing.
    #[error(
        "{updates} updates with {bytes} bytes would wait for a missing one: ask the peer for what is missing first"
    )]
    TooManyPending {
        /// How many would wait.
        updates: usize,
        /// Their size together.
        bytes: usize,
    },
}

/// One replica of a document.
pub struct Replica<B: Backend> {
    id: ReplicaId,
    backend: B,
    keys: BTreeSet<Key>,
    texts: BTreeMap<Key, Rope>,
    lists: BTreeMap<Key, List>,
    registers_hash: u128,
    sequence_hashes: RefCell<SequenceHashes>,
    pending: Pending<B>,
    journal: Journal,
    /// A rebuilt document is not what it was.
    differs: bool,
    /// The document failed and could not be rebuilt.
    broken: bool,
    /// The document's own registers, which say of what state type it is: see [`named`].
    own: BTreeSet<Arc<str>>,
    /// Parts were imported whose registers are not in the index and the digest yet; see
    /// [`Replica::import_part`].
    unread: bool,
    /// For updates from elsewhere.
    limits: Limits,
    /// For what was good already.
    trusted: Limits,
}

/// The sum of the hashes of all sequences, brought up to date when it is asked for.
#[derive(Default)]
struct SequenceHashes {
    sum: u128,
    each: BTreeMap<(SequenceKind, Arc<str>), u128>,
    dirty: BTreeSet<(SequenceKind, Arc<str>)>,
}

/// The bytes that a document can be rebuilt from after a backend panicked: a snapshot and the
/// updates since.
struct Journal {
    snapshot: Arc<[u8]>,
    updates: Vec<Arc<[u8]>>,
    updates_bytes: usize,
    /// Bytes of the first of them, which came as parts of a document and are as good as a
    /// snapshot.
    parts_bytes: usize,
}

/// Updates kept beside a small snapshot before a new one is taken.
const JOURNAL_BYTES_MIN: usize = 1024 * 1024;
/// The same while a document comes in parts.
const JOURNAL_PARTS_BYTES: usize = 64 * 1024 * 1024;

/// Registers that an import may touch before it is asked whether a whole read of the document is
/// cheaper.
const WHOLE_READ_MIN: usize = 4_096;

impl<B: Backend> Replica<B> {
    /// An empty document.
    pub fn new(id: ReplicaId, limits: Limits) -> Self {
        let journal = Journal {
            snapshot: Arc::default(),
            updates: Vec::new(),
            updates_bytes: 0,
            parts_bytes: 0,
        };
        Self::around(id, B::empty(id), journal, limits, Limits::trusted())
    }

    /// Opens saved bytes under `id`, which must never have been used before. `read` is given all
    /// registers, in order. O(document).
    pub fn open<V>(
        id: ReplicaId,
        bytes: &[u8],
        trusted: &Limits,
        limits: Limits,
        read: impl FnOnce(&Self, &[(Key, Value)]) -> V,
    ) -> Result<(Self, V), BackendError> {
        let backend = guarded(|| B::load(id, bytes, trusted))
            .map_err(|error| explain::<B>(error, bytes, trusted))?;
        let journal = Journal {
            snapshot: Arc::from(bytes),
            updates: Vec::new(),
            updates_bytes: 0,
            parts_bytes: 0,
        };
        let mut this = Self::around(id, backend, journal, limits, trusted.clone());
        let entries = guarded(|| Ok(this.read_all()))?;
        let view = read(&this, &entries);
        this.index(entries);
        Ok((this, view))
    }

    /// Reads saved bytes as [`Replica::open`] does, and keeps nothing. O(document).
    pub fn glance<V>(
        bytes: &[u8],
        trusted: &Limits,
        read: impl FnOnce(&Self, &[(Key, Value)]) -> V,
    ) -> Result<V, BackendError> {
        // Nothing is written, so that it may be anybody's id.
        let id = ReplicaId::from_bits(0);
        let backend = guarded(|| B::load(id, bytes, trusted))?;
        let journal = Journal {
            snapshot: Arc::default(),
            updates: Vec::new(),
            updates_bytes: 0,
            parts_bytes: 0,
        };
        let mut this = Self::around(id, backend, journal, Limits::stranger(), trusted.clone());
        let entries = guarded(|| Ok(this.read_all()))?;
        Ok(read(&this, &entries))
    }

    fn around(
        id: ReplicaId,
        backend: B,
        journal: Journal,
        limits: Limits,
        trusted: Limits,
    ) -> Self {
        Self {
            id,
            backend,
            keys: BTreeSet::new(),
            texts: BTreeMap::new(),
            lists: BTreeMap::new(),
            registers_hash: 0,
            sequence_hashes: RefCell::default(),
            pending: Pending::default(),
            journal,
            differs: false,
            broken: false,
            own: BTreeSet::new(),
            unread: false,
            limits,
            trusted,
        }
    }

    /// Reads the whole document: mirror and digest are filled, and all registers come back in
    /// order, to be indexed.
    fn read_all(&mut self) -> Vec<(Key, Value)> {
        self.texts.clear();
        self.lists.clear();
        self.sequence_hashes = RefCell::default();
        for (kind, name) in self.backend.sequences() {
            self.reread(kind, &name);
        }
        self.read_registers()
    }

    /// Reads all registers but the document's own, and what all of them are in the digest.
    fn read_registers(&mut self) -> Vec<(Key, Value)> {
        let mut entries = Vec::new();
        let mut canonical = Canonical::new();
        self.registers_hash = 0;
        self.own.clear();
        let backend = &self.backend;
        let sum = &mut self.registers_hash;
        let own = &mut self.own;
        backend.registers(&mut |key, value| {
            *sum = sum.wrapping_add(register_hash(&mut canonical, &key, &value));
            match named::is_own(&key) {
                true => drop(own.insert(key)),
                false => entries.push((Key(key), value)),
            }
        });
        key::sort(entries)
    }

    /// Fills the index. The keys are moved into it: with many of them, to copy and drop each costs
    /// more than the index itself.
    fn index(&mut self, entries: Vec<(Key, Value)>) {
        self.keys = entries.into_iter().map(|(key, _)| key).collect();
    }

    /// This replica's id.
    pub fn id(&self) -> ReplicaId {
        self.id
    }

    /// All registers in order, read afresh from the backend, past the index. O(n log n).
    pub fn fresh(&self) -> Fresh {
        let mut fresh = Fresh::default();
        self.backend.registers(&mut |key, value| {
            if !named::is_own(&key) {
                fresh.registers.insert(Key(key), value);
            }
        });
        for (kind, name) in self.backend.sequences() {
            match kind {
                SequenceKind::Text => {
                    let plain =
                        self.backend.plain_text(&name).map(|text| Rope::from_runs([(text, None)]));
                    let text = plain.unwrap_or_else(|| Rope::from_runs(self.backend.text(&name)));
                    fresh.texts.insert(Key(name.clone()), text);
                }
                SequenceKind::List => {
                    drop(fresh.lists.insert(Key(name.clone()), self.backend.list(&name).into()))
                }
            }
        }
        fresh
    }

    /// Applies a change. `texts` and `lists` are the staged contents of the sequences that it
    /// edits.
    ///
    /// Its updates come back, as a rule one. On an error the document is rebuilt as it was before.
    pub fn commit(
        &mut self,
        ops: &Ops,
        texts: BTreeMap<Key, Rope>,
        lists: BTreeMap<Key, List>,
    ) -> Result<Vec<Arc<[u8]>>, BackendError> {
        self.commit_named(ops, None, texts, lists)
    }

    /// The same, and the document says from then on of what state type it is: see [`named`].
    pub fn commit_named(
        &mut self,
        ops: &Ops,
        name: Option<(Key, RegisterWrite)>,
        texts: BTreeMap<Key, Rope>,
        lists: BTreeMap<Key, List>,
    ) -> Result<Vec<Arc<[u8]>>, BackendError> {
        self.check_whole()?;
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        let committed = guarded(|| match name {
            None => self.backend.commit(ops),
            Some((key, write)) => {
                let mut ops = ops.clone();
                ops.registers.insert(key, write);
                self.backend.commit(&ops)
            }
        });
        let (mut touched, updates) = match committed {
            Ok(done) => done,
            Err(error) => return Err(self.rebuild(error)),
        };
        let own = Self::take_own(&mut touched);
        if let Err(error) = landing::check(&self.backend, ops, &touched, &texts, &lists) {
            return Err(self.rebuild(error));
        }
        self.note_registers(&own);
        self.note_registers(&touched.registers);
        self.sequence_hashes.get_mut().dirty.extend(touched.sequences);
        self.texts.extend(texts);
        self.lists.extend(lists);
        let updates: Vec<Arc<[u8]>> = updates.into_iter().map(Arc::from).collect();
        updates.iter().for_each(|update| self.remember(update));
        Ok(updates)
    }

    /// Applies an update from elsewhere: see [`Replica::import_all`].
    pub fn import(&mut self, update: &[u8], trust: Trust) -> Result<Imported, ImportError> {
        self.import_all(&[update], trust)
    }

    /// Whether an update from elsewhere holds nothing that the document does not have. One that
    /// waits is not had.
    pub fn contains(&self, update: &[u8]) -> Result<bool, BackendError> {
        self.check_whole()?;
        let limits = as_several(update, &self.limits);
        guarded(|| self.backend.contains(update, &limits))
    }

    /// Whether the document has all that a replica at this version has.
    pub fn has_seen(&self, version: &Version) -> bool {
        guarded(|| Ok(self.backend.has_seen(version))).unwrap_or(false)
    }

    /// Cuts an update from elsewhere that is longer than these limits allow into pieces that are
    /// not. It needs no document.
    pub fn cut(update: &[u8], limits: &Limits) -> Result<Vec<Vec<u8>>, BackendError> {
        if update.len() <= limits.bytes_max() {
            return Ok(vec![update.to_vec()]);
        }
        guarded(|| B::cut(update, &as_several(update, limits), limits.bytes_max()))
    }

    /// The limits for updates from elsewhere.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Applies updates from elsewhere, as if they were one. What builds on something missing is
    /// kept until that has come; what had waited for these is applied after them.
    pub fn import_all(
        &mut self,
        updates: &[impl AsRef<[u8]>],
        trust: Trust,
    ) -> Result<Imported, ImportError> {
        self.check_whole()?;
        let limits = if trust == Trust::Trusted { &self.trusted } else { &self.limits };
        let mut checked = Vec::new();
        let mut whole = Vec::new();
        let mut waits = false;
        for update in updates {
            let unpacked = guarded(|| self.backend.unpack(update.as_ref(), limits));
            let mut unpacked =
                unpacked.map_err(|error| explain::<B>(error, update.as_ref(), limits))?;
            unpacked.retain(|update| {
                let waiting = self.pending.find(update, trust);
                // What storage has brought is kept, whoever brings it again.
                waits |= waiting == Some(Trust::Untrusted);
                waiting.is_none()
            });
            // Where it is no longer than what is new in it, it is passed on as it came: whoever
            // sent it will know it again.
            if update.as_ref().len() <= unpacked.iter().map(|update| B::bytes(update).len()).sum() {
                whole.push(update.as_ref());
            }
            checked.extend(unpacked.into_iter().map(|update| Waiting {
                update,
                trust,
                written: false,
            }));
        }
        let before = checked.len();
        let (ready, waiting) = self.backend.split_ready(checked);
        let all_new = ready.len() == before && whole.len() == updates.len();
        let limits = limits.clone();
        if let Some((updates, bytes)) = self.pending.overflow(&waiting, trust, &limits) {
            return Err(ImportError::TooManyPending { updates, bytes });
        }
        let ready: Vec<_> = ready.into_iter().map(|waiting| waiting.update).collect();
        let mut imported = self.import_ready(&ready, all_new.then_some(&whole), &limits)?;
        waits |= !waiting.is_empty();
        self.pending.0.extend(waiting);
        self.import_pending(&mut imported);
        imported.waits = waits && self.pending.0.iter().any(|waiting| waiting.trust == trust);
        Ok(imported)
    }

    /// Applies checked whose ground is there, all of which came as `whole`, if that is given. On an
    /// error the document is rebuilt as it was before.
    fn import_ready(
        &mut self,
        ready: &[B::CheckedUpdate],
        whole: Option<&Vec<&[u8]>>,
        limits: &Limits,
    ) -> Result<Imported, BackendError> {
        if ready.is_empty() {
            return Ok(Imported::default());
        }
        guarded(|| self.backend.vet(ready, limits))?;
        match guarded(|| self.backend.import(ready, !self.unread)) {
            Ok((touched, novel)) => {
                let applied = match whole {
                    _ if !novel => Vec::new(),
                    Some(whole) => whole.iter().map(|update| Arc::from(*update)).collect(),
                    None => ready.iter().map(|update| Arc::from(B::bytes(update))).collect(),
                };
                self.note_import(touched, applied).map_err(|error| self.rebuild(error))
            }
            Err(error) => Err(self.rebuild(error)),
        }
    }

    /// Applies what has waited and need not any more. Where that fails each is tried by itself, and
    /// only a bad one is lost: whoever sent it was told that it waits. One that contradicts the
    /// document is set aside.
    fn import_pending(&mut self, imported: &mut Imported) {
        let mut singly = false;
        while !self.pending.0.is_empty() {
            let (mut ready, waiting) =
                self.backend.split_ready(std::mem::take(&mut self.pending.0));
            self.pending.0 = waiting;
            if singly && ready.len() > 1 {
                self.pending.0.extend(ready.split_off(1));
            }
            if ready.is_empty() {
                return;
            }
            let own = ready.iter().all(|waiting| waiting.trust == Trust::Trusted);
            let limits = if own { self.trusted.clone() } else { self.limits.clone() };
            let (checked, given): (Vec<_>, Vec<_>) = ready
                .into_iter()
                .map(|Waiting { update, trust, written }| (update, (trust, written)))
                .unzip();
            match self.import_ready(&checked, None, &limits) {
                Ok(more) => imported.add(more),
                Err(_) if checked.len() > 1 => {
                    singly = true;
                    let again = checked.into_iter().zip(given);
                    self.pending.0.extend(again.map(|(update, (trust, written))| Waiting {
                        update,
                        trust,
                        written,
                    }));
                }
                Err(BackendError::Contradicted(_)) => {
                    let aside = guarded(|| Ok(self.backend.aside(checked, &mut self.pending.0)));
                    imported.aside.extend(aside.ok().flatten());
                }
                Err(_) => {}
            }
        }
    }

    /// What an update did whose ground is there, and that contradicts the document.
    pub fn set_aside(&mut self, update: &[u8]) -> Option<Aside> {
        let checked = guarded(|| self.backend.unpack(update, &self.trusted)).ok()?;
        guarded(|| Ok(self.backend.aside(checked, &mut self.pending.0))).ok().flatten()
    }

    fn note_import(
        &mut self,
        mut touched: Touched,
        applied: Vec<Arc<[u8]>>,
    ) -> Result<Imported, BackendError> {
        touched.settle();
        let mut edited = BTreeSet::new();
        for (kind, name) in &touched.sequences {
            if self.reread(*kind, name) {
                edited.insert(Arc::clone(name));
            }
            self.check_count(*kind, name)?;
        }
        let own = Self::take_own(&mut touched);
        self.note_registers(&own);
        self.note_registers(&touched.registers);
        applied.iter().for_each(|update| self.remember(update));
        Ok(Imported { touched, edited, applied, ..Imported::default() })
    }

    /// Refuses a sequence that the backend counts otherwise than it reads: no position in it could
    /// be relied on. It comes about on yrs where an id was used twice, as items then stand
    /// beside others than those where they were made.
    fn check_count(&self, kind: SequenceKind, name: &Arc<str>) -> Result<(), BackendError> {
        let path = name.as_ref();
        let key = key::lookup(&path);
        let fits = match kind {
            SequenceKind::Text => self
                .texts
                .get(key)
                .is_none_or(|text| landing::fits(text, self.backend.text_len(name))),
            SequenceKind::List => {
                self.lists.get(key).is_none_or(|list| list.len() == self.backend.list_len(name))
            }
        };
        if fits {
            Ok(())
        } else {
            Err(BackendError::Contradicted(format!(
                "{name} does not have the length that it counts"
            )))
        }
    }

    /// Takes out what was done to the document's own registers.
    fn take_own(touched: &mut Touched) -> Vec<RegisterTouch> {
        touched.registers.extract_if(.., |touch| named::is_own(&touch.key)).collect()
    }

    /// Brings index and digest up to date with changed registers.
    fn note_registers(&mut self, touched: &[RegisterTouch]) {
        let mut canonical = Canonical::new();
        for touch in touched {
            if let Some(old) = &touch.old {
                self.registers_hash = self.registers_hash.wrapping_sub(register_hash(
                    &mut canonical,
                    &touch.key,
                    old,
                ));
            }
            if let Some(new) = &touch.new {
                self.registers_hash = self.registers_hash.wrapping_add(register_hash(
                    &mut canonical,
                    &touch.key,
                    new,
                ));
            }
            if named::is_own(&touch.key) {
                match touch.new {
                    Some(_) => self.own.insert(touch.key.clone()),
                    None => self.own.remove(&touch.key),
                };
                continue;
            }
            match (&touch.old, &touch.new) {
                (None, Some(_)) => drop(self.keys.insert(Key(touch.key.clone()))),
                (Some(_), None) => drop(self.keys.remove(key::lookup(&touch.key.as_ref()))),
                _ => {}
            }
        }
    }

    /// Mirrors a sequence anew; whether it differs. What did not change stays shared with older
    /// views.
    fn reread(&mut self, kind: SequenceKind, name: &Arc<str>) -> bool {
        let differs = match kind {
            SequenceKind::Text => {
                let rope = self.texts.entry(Key(name.clone())).or_default();
                match self.backend.plain_text(name).filter(|_| !rope.has_marks()) {
                    Some(text) => rope.diff_apply(&text).is_some(),
                    None => {
                        let new = Rope::from_runs(self.backend.text(name));
                        let differs = new != *rope;
                        *rope = new;
                        differs
                    }
                }
            }
            SequenceKind::List => {
                let list = self.lists.entry(Key(name.clone())).or_default();
                update_list(list, &self.backend.list(name))
            }
        };
        if differs {
            self.sequence_hashes.get_mut().dirty.insert((kind, name.clone()));
        }
        differs
    }

    fn remember(&mut self, update: &Arc<[u8]>) {
        self.journal.updates_bytes += update.len();
        self.journal.updates.push(update.clone());
        let since = self.journal.updates_bytes - self.journal.parts_bytes;
        let base = self.journal.snapshot.len() + self.journal.parts_bytes;
        // As long as parts come one after the other a late snapshot is enough.
        let least = if self.unread { JOURNAL_PARTS_BYTES } else { JOURNAL_BYTES_MIN };
        if since > base.max(least) {
            // What cannot be saved is kept as it is, and tried again with the next update.
            if let Ok(snapshot) = guarded(|| Ok(self.backend.save())) {
                self.journal = Journal {
                    snapshot: Arc::from(snapshot),
                    updates: Vec::new(),
                    updates_bytes: 0,
                    parts_bytes: 0,
                };
            }
        }
    }

    /// Throws the backend's document away and makes it anew from what was good. The error that made
    /// it necessary comes back, or that of the rebuilding.
    fn rebuild(&mut self, because: BackendError) -> BackendError {
        let before = (!self.unread).then(|| self.digest());
        let result = guarded(|| self.replay());
        self.differs |= before != Some(self.digest());
        self.broken = result.is_err();
        result.err().unwrap_or(because)
    }

    /// Names of what stands in the document and is none of exostate's.
    pub fn foreign(&self) -> Vec<String> {
        self.backend.foreign()
    }

    /// The names that the document says its state type has: one, as a rule, or none. See [`named`].
    pub fn type_names(&self) -> impl Iterator<Item = &str> {
        self.own.iter().filter_map(|path| named::name_in(path))
    }

    /// Refuses all work on a document that could not be rebuilt.
    fn check_whole(&self) -> Result<(), BackendError> {
        if self.broken {
            return Err(BackendError::Broken);
        }
        Ok(())
    }

    /// Whether a rebuilt document is not what it was, and all must be read again. It says so once.
    /// Honest updates give the same document whenever they are replayed, but for bugs; ones
    /// that contradict themselves need not.
    pub fn take_differs(&mut self) -> bool {
        std::mem::take(&mut self.differs)
    }

    fn replay(&mut self) -> Result<(), BackendError> {
        let wide = &self.trusted;
        let mut backend = match self.journal.snapshot.is_empty() {
            true => B::empty(self.id),
            false => guarded(|| B::load(self.id, &self.journal.snapshot, wide))?,
        };
        let mut checked = Vec::new();
        for update in &self.journal.updates {
            checked.append(&mut backend.unpack(update, wide)?);
        }
        guarded(|| backend.import(&checked, false))?;
        self.backend = backend;
        let entries = self.read_all();
        self.index(entries);
        self.unread = false;
        Ok(())
    }

    /// The whole document as bytes.
    pub fn save(&self) -> Vec<u8> {
        self.backend.save()
    }

    /// The whole document as bytes, shared with the journal, which begins anew with them.
    pub fn checkpoint(&mut self) -> Result<Arc<[u8]>, BackendError> {
        self.check_whole()?;
        let snapshot: Arc<[u8]> = guarded(|| Ok(self.backend.save()))?.into();
        self.journal = Journal {
            snapshot: Arc::clone(&snapshot),
            updates: Vec::new(),
            updates_bytes: 0,
            parts_bytes: 0,
        };
        Ok(snapshot)
    }

    /// What this replica has seen.
    pub fn version(&self) -> Version {
        self.backend.version()
    }

    /// All that a replica at `version` lacks.
    pub fn update_since(&self, version: &Version) -> Result<Vec<u8>, BackendError> {
        guarded(|| self.backend.update_since(version))
    }

    /// The same in pieces that strangers take.
    pub fn updates_since(&self, version: &Version) -> Result<Vec<Vec<u8>>, BackendError> {
        guarded(|| self.backend.updates_since(version))
    }

    /// The values that compete for a register, each with who wrote it where that is known, the one
    /// that it shows last.
    pub fn conflicting_values(&self, path: &str) -> Vec<(Value, Option<ReplicaId>)> {
        let found = guarded(|| Ok(self.backend.conflicting_values(path))).unwrap_or_default();
        found.into_iter().map(|(value, writer)| (value, writer.map(ReplicaId::from_bits))).collect()
    }

    /// The registers that hold a value of which another document has no op, neither as it is nor
    /// written over. O(document).
    pub fn unseen_registers(&self, by: &Self) -> BTreeSet<Arc<str>> {
        self.backend.unseen_registers(&by.backend)
    }

    /// How many updates wait for a missing one, and their bytes: those from one trust, or all.
    pub fn pending(&self, trust: Option<Trust>) -> (usize, usize) {
        self.pending.size(trust)
    }

    /// The updates that wait for a missing one, each with who gave it.
    pub fn pending_updates(&self) -> Vec<(Vec<u8>, Trust)> {
        self.pending
            .0
            .iter()
            .map(|waiting| (B::bytes(&waiting.update).to_vec(), waiting.trust))
            .collect()
    }

    /// What the updates from this replica's own storage that wait have written in registers that no
    /// op of the document has ever written. Updates that were
    /// [`note_written`](Self::note_written) are left out. O(document) where there is anything.
    pub fn unwritten(&self) -> BTreeMap<Key, RegisterWrite> {
        let mut found = BTreeMap::new();
        for waiting in self
            .pending
            .0
            .iter()
            .filter(|waiting| waiting.trust == Trust::Trusted && !waiting.written)
        {
            for (path, value) in
                guarded(|| Ok(self.backend.registers_in(&waiting.update))).unwrap_or_default()
            {
                match value {
                    Some(value) => {
                        drop(found.insert(Key(path), RegisterWrite { old: None, new: Some(value) }))
                    }
                    None => drop(found.remove(key::lookup(&path.as_ref()))),
                }
            }
        }
        found.retain(|path, _| self.backend.register(path.as_str()).is_none());
        if !found.is_empty() {
            let written =
                guarded(|| Ok(self.backend.ever_written(found.keys().map(Key::as_str).collect())))
                    .unwrap_or_default();
            found.retain(|path, _| !written.contains(path.as_str()));
        }
        found
    }

    /// Notes that the registers of all updates from this replica's own storage that wait were
    /// written again, or need not be.
    pub fn note_written(&mut self) {
        self.pending
            .0
            .iter_mut()
            .filter(|waiting| waiting.trust == Trust::Trusted)
            .for_each(|waiting| waiting.written = true);
    }

    /// Forgets the updates from one trust that wait for a missing one.
    pub fn forget_pending(&mut self, trust: Trust) {
        self.pending.0.retain(|waiting| waiting.trust != trust);
    }

    /// Whether so much was touched that reading everything again is cheaper than going to each
    /// place.
    pub fn mostly(&self, touched: &Touched) -> bool {
        touched.registers.len() > WHOLE_READ_MIN.max(self.keys.len() / 4)
    }

    /// The digest of the content: of every register and sequence, also of those that no struct
    /// knows.
    pub fn digest(&self) -> Digest {
        let mut hashes = self.sequence_hashes.borrow_mut();
        for (kind, name) in std::mem::take(&mut hashes.dirty) {
            let hash = self.sequence_hash(kind, &name);
            let old = match hash {
                0 => hashes.each.remove(&(kind, name)),
                _ => hashes.each.insert((kind, name), hash),
            };
            hashes.sum = hashes.sum.wrapping_add(hash).wrapping_sub(old.unwrap_or(0));
        }
        let mut canonical = Canonical::new();
        canonical.bytes(0, &self.registers_hash.to_le_bytes());
        canonical.bytes(1, &hashes.sum.to_le_bytes());
        Digest::new(canonical.finish().to_le_bytes())
    }

    /// The hash of one sequence; 0 for an empty one, which is as good as none.
    fn sequence_hash(&self, kind: SequenceKind, name: &Arc<str>) -> u128 {
        let mut canonical = Canonical::new();
        match kind {
            SequenceKind::Text => {
                match self.texts.get(key::lookup(&name.as_ref())).filter(|text| !text.is_empty()) {
                    Some(text) => {
                        canonical.bytes(0, name.as_bytes());
                        text.digest().into_iter().for_each(|lane| canonical.number(lane));
                    }
                    None => return 0,
                }
            }
            SequenceKind::List => {
                match self.lists.get(key::lookup(&name.as_ref())).filter(|list| !list.is_empty()) {
                    Some(list) => {
                        canonical.bytes(1, name.as_bytes());
                        list.iter().for_each(|value| canonical.value(value));
                    }
                    None => return 0,
                }
            }
        }
        canonical.finish()
    }

    /// A place in a text that follows it.
    pub fn anchor(&mut self, name: &str, at: usize, before: bool) -> Option<Vec<u8>> {
        let empty = Rope::new();
        let rope = self.texts.get(key::lookup(&name)).unwrap_or(&empty);
        if at > rope.len_chars() {
            return None;
        }
        let at = super::ops::Units { chars: at, utf16: rope.char_to_utf16(at) };
        guarded(|| Ok(self.backend.anchor(name, at, before))).ok().flatten()
    }

    /// Where an anchor's place is now, in Unicode scalar values.
    pub fn resolve(&self, name: &str, anchor: &[u8]) -> Option<usize> {
        // Anchors come from peers.
        match guarded(|| Ok(self.backend.resolve(name, anchor))).ok().flatten()? {
            Offset::Chars(at) => Some(at),
            Offset::Utf16(at) => {
                Some(self.texts.get(key::lookup(&name)).map_or(0, |rope| rope.utf16_to_char(at)))
            }
        }
    }
}

impl<B: Backend> Source for Replica<B> {
    fn register(&self, path: &str) -> Option<Value> {
        self.backend.register(path)
    }

    fn scan(&self, prefix: &str) -> Vec<(Key, Value)> {
        let within = self
            .keys
            .range(Key::from(prefix)..)
            .take_while(|found| key::is_within(found.as_str(), prefix));
        within
            .filter_map(|found| Some((found.clone(), self.backend.register(found.as_str())?)))
            .collect()
    }

    fn text(&self, path: &str) -> Rope {
        self.texts.get(key::lookup(&path)).cloned().unwrap_or_default()
    }

    fn list(&self, path: &str) -> List {
        self.lists.get(key::lookup(&path)).cloned().unwrap_or_default()
    }

    fn sequences(&self, prefix: &str) -> Vec<(SequenceKind, Key)> {
        let mut found = Vec::new();
        for (name, text) in self
            .texts
            .range(Key::from(prefix)..)
            .take_while(|(name, _)| key::is_within(name.as_str(), prefix))
        {
            if !text.is_empty() {
                found.push((SequenceKind::Text, name.clone()));
            }
        }
        for (name, list) in self
            .lists
            .range(Key::from(prefix)..)
            .take_while(|(name, _)| key::is_within(name.as_str(), prefix))
        {
            if !list.is_empty() {
                found.push((SequenceKind::List, name.clone()));
            }
        }
        found
    }
}

/// A whole document, read past every index and mirror.
#[derive(Debug, Default)]
pub struct Fresh {
    registers: BTreeMap<Key, Value>,
    texts: BTreeMap<Key, Rope>,
    lists: BTreeMap<Key, List>,
}

impl Fresh {
    /// All registers in order.
    pub fn entries(&self) -> Vec<(Key, Value)> {
        self.registers.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

impl Source for Fresh {
    fn register(&self, path: &str) -> Option<Value> {
        self.registers.get(key::lookup(&path)).cloned()
    }

    fn scan(&self, prefix: &str) -> Vec<(Key, Value)> {
        let within = self
            .registers
            .range(Key::from(prefix)..)
            .take_while(|(found, _)| key::is_within(found.as_str(), prefix));
        within.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn text(&self, path: &str) -> Rope {
        self.texts.get(key::lookup(&path)).cloned().unwrap_or_default()
    }

    fn list(&self, path: &str) -> List {
        self.lists.get(key::lookup(&path)).cloned().unwrap_or_default()
    }

    fn sequences(&self, prefix: &str) -> Vec<(SequenceKind, Key)> {
        let texts = self.texts.keys().map(|name| (SequenceKind::Text, name.clone()));
        let lists = self.lists.keys().map(|name| (SequenceKind::List, name.clone()));
        texts.chain(lists).filter(|(_, name)| key::is_within(name.as_str(), prefix)).collect()
    }
}

fn register_hash(canonical: &mut Canonical, key: &str, value: &Value) -> u128 {
    canonical.bytes(0, key.as_bytes());
    canonical.value(value);
    canonical.finish()
}

/// The limits for an update that could as well have come as several, each as long as it may be.
fn as_several(update: &[u8], limits: &Limits) -> Limits {
    let count = update.len().div_ceil(limits.bytes_max().max(1)).max(1);
    limits.clone().times(count)
}

/// Replaces what differs between the common head and the common tail; whether anything does.
fn update_list(list: &mut List, new: &[Value]) -> bool {
    let head = list.iter().zip(new).take_while(|(a, b)| a == b).count();
    let old_len = list.len();
    let new_len = new.len();
    let room = old_len.min(new_len) - head;
    let tail = (0..room)
        .take_while(|back| list.get(old_len - 1 - back) == new.get(new_len - 1 - back))
        .count();
    let rest = list.split_off(old_len - tail);
    list.truncate(head);
    list.extend(new.iter().skip(head).take(new_len - tail - head).cloned());
    list.append(rest);
    head + tail < old_len.max(new_len)
}

/// Says of bytes that were refused what they are, where that can be told.
fn explain<B: Backend>(error: BackendError, bytes: &[u8], limits: &Limits) -> BackendError {
    match recognize(bytes, B::NAME, limits) {
        Some(Recognized { what, hint }) => BackendError::Foreign {
            found: what.to_owned(),
            expected: format!("document of exostate on {}", B::NAME),
            hint,
        },
        None => error,
    }
}

/// Runs backend code; a panic in it becomes an error.
fn guarded<T>(work: impl FnOnce() -> Result<T, BackendError>) -> Result<T, BackendError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Err(BackendError::Panicked(text.unwrap_or_else(|| "without a message".to_owned())))
    })
}
