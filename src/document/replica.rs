//! One replica of a document, with everything that each backend needs around it:
//!
//! - the index of the keys,
//! - a mirror of the sequences,
//! - the digest,
//! - the pending updates,
//! - the bytes from which the document can be rebuilt.

mod bundling;
mod expand;
mod index;
mod journal;
pub(crate) mod mirror;
mod parts;
mod pending;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::backend::{Backend, BackendError, Contradiction, Offset, guarded};
use super::commit_check;
use super::digest::Canonical;
use super::guard::recognize::{Recognized, recognize};
use super::json::Content;
use super::key::{self, Key};
use super::limits::Limits;
use super::named;
use super::ops::{
    AppliedUpdates, Ops, RegisterTouch, RegisterWrite, SequenceKind, Splices, Touched,
};
use super::options::Options;
use super::rope::Rope;
use super::source::Source;
use super::value::Value;
use super::{Digest, ReplicaId, Version};
use crate::vector::Vector;
use expand::TouchedPaths;
use index::Index;
use journal::Journal;
use pending::{Pending, PendingUpdate};

/// The elements of a list in the document.
pub type List = Vector<Value>;

/// How much the source of an update is trusted. It decides which limits the update must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The update may come from any peer: the tight limits apply.
    Untrusted,
    /// The update comes from this replica's own storage or from a document of the same owner: the
    /// wide limits apply.
    Trusted,
}

/// What an import did.
#[derive(Debug, Default)]
pub struct Imported {
    /// The registers and sequences that the import touched.
    pub touched: Touched,
    /// The touched sequences whose content differs after the import.
    pub edited: BTreeSet<Arc<str>>,
    /// The updates that were applied: the imported ones, and pending updates that had waited for
    /// them. Empty if none of their ops was new.
    pub applied: Vec<Arc<[u8]>>,
    /// Whether a part of the imported updates is pending, or may be. Another source may have
    /// brought the same pending update before.
    pub has_pending: bool,
    /// Pending changes that contradict the document, now that their dependencies have come. They
    /// may have arrived long ago, from a replica that has lost them since.
    pub contradictions: Vec<Contradiction>,
}

impl Imported {
    /// Adds the results of a later import.
    fn add(&mut self, mut later: Self) {
        self.touched.append(later.touched);
        self.edited.append(&mut later.edited);
        self.applied.append(&mut later.applied);
        self.contradictions.append(&mut later.contradictions);
    }
}

/// Why an import failed. After the error the document is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The bytes were refused.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Too many updates are pending already.
    #[error(
        "{updates} updates with {bytes} bytes would wait for a missing one: ask the peer for what is missing first"
    )]
    TooManyPending {
        /// Number of updates that would be pending.
        updates: usize,
        /// Total size of these updates in bytes.
        bytes: usize,
    },
}

/// One replica of a document.
pub struct Replica<B: Backend> {
    id: ReplicaId,
    backend: B,
    index: Index,
    /// The number of registers when all were read last.
    registers: usize,
    /// The number of the next bundle: see [`bundle`](super::bundle).
    next_bundle: u64,
    texts: BTreeMap<Key, Rope>,
    lists: BTreeMap<Key, List>,
    registers_hash: u128,
    sequence_hashes: RefCell<SequenceHashes>,
    pending: Pending<B>,
    journal: Journal,
    /// Whether the document was rebuilt and differs from what it was before the failure.
    differs: bool,
    /// Whether the document failed and could not be rebuilt.
    broken: bool,
    /// The ops under the own id after the last commit of this replica. If the document has more,
    /// another replica writes under this id too.
    own_ops: u64,
    /// How often a sequence was not what the edits placed by the backend made of it.
    sequence_faults: u64,
    /// The document's own registers, which hold the name of the state type: see [`named`].
    own: BTreeSet<Arc<str>>,
    /// Whether `own` may have changed since [`Replica::take_names_changed`].
    names_changed: bool,
    /// Whether parts were imported whose registers are not in the index and the digest yet; see
    /// [`Replica::import_part`].
    unread: bool,
    /// The limits for untrusted updates.
    limits: Limits,
    /// The limits for trusted bytes, and for bytes that were valid before.
    trusted: Limits,
}

/// The sum of the hashes of all sequences. It is brought up to date when the digest is requested.
#[derive(Default)]
struct SequenceHashes {
    sum: u128,
    each: BTreeMap<(SequenceKind, Arc<str>), u128>,
    dirty: BTreeSet<(SequenceKind, Arc<str>)>,
}

/// Number of registers that an import may touch before [`Replica::mostly`] considers a read of the
/// whole document.
const WHOLE_READ_MIN: usize = 4_096;

impl<B: Backend> Replica<B> {
    /// An empty document.
    pub fn new(id: ReplicaId, options: &Options) -> Self {
        let journal = Journal::after(Arc::default());
        let mut backend = B::empty(id);
        if !options.sequence_indexes() {
            backend.set_sequence_indexes(false);
        }
        Self::around(id, backend, journal, options.limits(), options.trusted_limits())
    }

    /// Opens saved bytes under `id`, which must never have been used before. Passes all registers,
    /// in order, to `read`. O(document).
    pub fn open<V>(
        id: ReplicaId,
        bytes: &[u8],
        options: &Options,
        read: impl FnOnce(&Self, &[(Key, Value)]) -> V,
    ) -> Result<(Self, V), BackendError> {
        Self::open_within(id, bytes, options.trusted_limits(), options, read)
    }

    /// Opens bytes that this process has saved from a document, as [`Replica::open`] does. Their
    /// size does not matter.
    pub fn reopen<V>(
        id: ReplicaId,
        bytes: &[u8],
        options: &Options,
        read: impl FnOnce(&Self, &[(Key, Value)]) -> V,
    ) -> Result<(Self, V), BackendError> {
        Self::open_within(id, bytes, &Limits::own(), options, read)
    }

    fn open_within<V>(
        id: ReplicaId,
        bytes: &[u8],
        limits: &Limits,
        options: &Options,
        read: impl FnOnce(&Self, &[(Key, Value)]) -> V,
    ) -> Result<(Self, V), BackendError> {
        let mut backend = guarded(|| B::load(id, bytes, limits))
            .map_err(|error| explain::<B>(error, bytes, limits))?;
        if !options.sequence_indexes() {
            backend.set_sequence_indexes(false);
        }
        let journal = Journal::after(Arc::from(bytes));
        let mut this =
            Self::around(id, backend, journal, options.limits(), options.trusted_limits());
        let stored = guarded(|| Ok(this.read_all()))?;
        named::check_layout(this.own.iter().filter_map(|path| named::layout_in(path)))?;
        let view = this.index(stored, read);
        Ok((this, view))
    }

    /// Reads saved bytes as [`Replica::open`] does, but does not keep the document. O(document).
    pub fn glance<V>(
        bytes: &[u8],
        trusted: &Limits,
        read: impl FnOnce(&Self, &[(Key, Value)]) -> V,
    ) -> Result<V, BackendError> {
        // Nothing is written under this id, so it does not matter whether another replica uses it.
        let id = ReplicaId::from_bits(0);
        let backend = guarded(|| B::load(id, bytes, trusted))?;
        let journal = Journal::after(Arc::default());
        let mut this = Self::around(id, backend, journal, &Limits::untrusted(), trusted);
        let stored = guarded(|| Ok(this.read_all()))?;
        named::check_layout(this.own.iter().filter_map(|path| named::layout_in(path)))?;
        Ok(read(&this, &expand::expand(&stored).unwrap_or(stored)))
    }

    fn around(
        id: ReplicaId,
        backend: B,
        journal: Journal,
        limits: &Limits,
        trusted: &Limits,
    ) -> Self {
        Self {
            id,
            own_ops: backend.own_ops(),
            backend,
            index: Index::default(),
            registers: 0,
            next_bundle: 0,
            texts: BTreeMap::new(),
            lists: BTreeMap::new(),
            registers_hash: 0,
            sequence_hashes: RefCell::default(),
            pending: Pending::default(),
            journal,
            differs: false,
            broken: false,
            sequence_faults: 0,
            own: BTreeSet::new(),
            names_changed: false,
            unread: false,
            limits: limits.clone(),
            trusted: trusted.clone(),
        }
    }

    /// Reads the whole document: fills the mirror and the digest. Returns everything that the
    /// document stores, in order, for [`Replica::index`].
    fn read_all(&mut self) -> Vec<(Key, Value)> {
        self.texts.clear();
        self.lists.clear();
        self.sequence_hashes = RefCell::default();
        for (kind, name) in self.backend.sequences() {
            self.reread(kind, &name);
        }
        self.read_registers()
    }

    /// Reads everything that the document stores under keys. Returns it in order without the
    /// document's own registers, but counts all of it in the digest.
    fn read_registers(&mut self) -> Vec<(Key, Value)> {
        let mut entries = Vec::new();
        let mut canonical = Canonical::new();
        self.registers_hash = 0;
        self.own.clear();
        self.names_changed = true;
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

    /// Passes all registers, in order, to `read`, and fills the index.
    fn index<V>(
        &mut self,
        stored: Vec<(Key, Value)>,
        read: impl FnOnce(&Self, &[(Key, Value)]) -> V,
    ) -> V {
        let expanded = expand::expand(&stored);
        let registers = expanded.as_deref().unwrap_or(&stored);
        self.registers = registers.len();
        let view = read(self, registers);
        // The index is built without the registers in memory beside it.
        drop(expanded);
        // The keys are moved into the index, because copying and dropping many keys costs more than
        // building it.
        self.index = Index::of(stored.into_iter().map(|(key, _)| key));
        view
    }

    /// This replica's id.
    pub fn id(&self) -> ReplicaId {
        self.id
    }

    /// The whole content, read from the backend without the index and the mirror. O(n log n).
    pub fn fresh(&self) -> Fresh {
        let mut fresh = Fresh::default();
        let mut stored = Vec::new();
        self.backend.registers(&mut |key, value| {
            if !named::is_own(&key) {
                stored.push((Key(key), value));
            }
        });
        let stored = key::sort(stored);
        fresh.registers = expand::expand(&stored).unwrap_or(stored).into_iter().collect();
        for (kind, name) in self.backend.sequences() {
            match kind {
                SequenceKind::Text => {
                    let plain =
                        self.backend.plain_text(&name).map(|text| Rope::from_runs([(text, None)]));
                    let text = plain.unwrap_or_else(|| Rope::from_runs(self.backend.text(&name)));
                    fresh.texts.insert(Key(name.clone()), text);
                }
                SequenceKind::List => drop(
                    fresh
                        .lists
                        .insert(Key(name.clone()), self.backend.list(&name).into_iter().collect()),
                ),
            }
        }
        fresh
    }

    /// Applies a change. `texts` and `lists` are the staged contents of the sequences that the
    /// change edits.
    ///
    /// Returns the updates of the change, usually one. On an error the document is rebuilt as it
    /// was before.
    pub fn commit(
        &mut self,
        ops: &Ops,
        texts: BTreeMap<Key, Rope>,
        lists: BTreeMap<Key, List>,
    ) -> Result<Vec<Arc<[u8]>>, BackendError> {
        self.commit_named(ops, None, texts, lists)
    }

    /// Whether this replica must not write under its id any more: ops that it did not make came
    /// under that id, or the id has as many ops as it can have. The next ops under that id would
    /// contradict those of the other writer, or no replica would take them.
    pub fn needs_fresh_id(&self) -> bool {
        self.backend.own_ops() != self.own_ops || self.backend.is_id_full()
    }

    /// Applies a change as [`Replica::commit`] does, and also writes the name of the state type
    /// into the document: see [`named`].
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
        let mut stored = guarded(|| self.stored_ops(ops))?;
        let own_writes: Vec<_> = named::layout_write(&self.own).into_iter().chain(name).collect();
        if !own_writes.is_empty() {
            stored.get_or_insert_with(|| ops.clone()).registers.extend(own_writes);
        }
        let ops = stored.as_ref().unwrap_or(ops);
        self.commit_stored(ops, texts, lists)
    }

    /// Applies a change whose registers are keys as the document stores them: bundles are not made,
    /// and nothing is added.
    pub fn commit_stored(
        &mut self,
        ops: &Ops,
        texts: BTreeMap<Key, Rope>,
        lists: BTreeMap<Key, List>,
    ) -> Result<Vec<Arc<[u8]>>, BackendError> {
        self.check_whole()?;
        let (mut touched, updates) = match guarded(|| self.backend.commit(ops)) {
            Ok(done) => done,
            Err(error) => return Err(self.rebuild(error)),
        };
        if let Err(error) = commit_check::check(&self.backend, ops, &touched, &texts, &lists) {
            return Err(self.rebuild(error));
        }
        if let Err(error) = self.check_edited(&touched, &texts, &lists) {
            return Err(self.rebuild(error));
        }
        self.own_ops = self.backend.own_ops();
        let own = Self::take_own(&mut touched);
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

    /// Whether the document has all ops of an update from elsewhere. Ops of pending updates do not
    /// count.
    pub fn contains(&self, update: &[u8]) -> Result<bool, BackendError> {
        self.check_whole()?;
        let limits = as_several(update, &self.limits);
        guarded(|| self.backend.contains(update, &limits))
    }

    /// Whether the document has all ops of a replica at this version.
    pub fn has_seen(&self, version: &Version) -> bool {
        guarded(|| Ok(self.backend.has_seen(version))).unwrap_or(false)
    }

    /// Cuts an update from elsewhere that is longer than the limits allow into pieces that are
    /// within them. It needs no document.
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

    /// Applies updates from elsewhere, as if they were one. An update with a missing dependency is
    /// kept as pending. Pending updates whose dependencies came with these updates are applied
    /// after them.
    pub fn import_all(
        &mut self,
        updates: &[impl AsRef<[u8]>],
        trust: Trust,
    ) -> Result<Imported, ImportError> {
        let limits = if trust == Trust::Trusted { &self.trusted } else { &self.limits };
        self.import_within(updates, trust, &limits.clone())
    }

    /// Applies updates that this process has encoded from a document, as trusted ones. Their size
    /// does not matter.
    pub fn import_own(&mut self, updates: &[impl AsRef<[u8]>]) -> Result<Imported, ImportError> {
        self.import_within(updates, Trust::Trusted, &Limits::own())
    }

    fn import_within(
        &mut self,
        updates: &[impl AsRef<[u8]>],
        trust: Trust,
        limits: &Limits,
    ) -> Result<Imported, ImportError> {
        self.check_whole()?;
        let mut checked = Vec::new();
        let mut whole = Vec::new();
        let mut has_pending = false;
        for update in updates {
            let unpacked = guarded(|| self.backend.unpack(update.as_ref(), limits));
            let mut unpacked =
                unpacked.map_err(|error| explain::<B>(error, update.as_ref(), limits))?;
            unpacked.retain(|update| {
                let waiting = self.pending.find(update, trust);
                // A trusted pending update stays pending, even if an untrusted peer brings it
                // again.
                has_pending |= waiting == Some(Trust::Untrusted);
                waiting.is_none()
            });
            // The update is passed on with its own bytes if it is not longer than its new parts. So
            // the session that received it recognizes it and does not send it back.
            if update.as_ref().len() <= unpacked.iter().map(|update| B::bytes(update).len()).sum() {
                whole.push(update.as_ref());
            }
            checked.extend(unpacked.into_iter().map(|update| PendingUpdate {
                update,
                trust,
                written: false,
            }));
        }
        let before = checked.len();
        let (ready, waiting) = self.backend.split_ready(checked);
        let all_new = ready.len() == before && whole.len() == updates.len();
        if let Some((updates, bytes)) = self.pending.overflow(&waiting, trust, limits) {
            return Err(ImportError::TooManyPending { updates, bytes });
        }
        let ready: Vec<_> = ready.into_iter().map(|waiting| waiting.update).collect();
        let mut imported = self.import_ready(&ready, all_new.then_some(&whole), limits)?;
        has_pending |= !waiting.is_empty();
        self.pending.0.extend(waiting);
        self.import_pending(&mut imported);
        imported.has_pending =
            has_pending && self.pending.0.iter().any(|waiting| waiting.trust == trust);
        Ok(imported)
    }

    /// Applies checked updates whose dependencies the document has. `whole` are the bytes in which
    /// all of them came, if these are to be passed on. On an error the document is rebuilt as it
    /// was before.
    fn import_ready(
        &mut self,
        ready: &[B::CheckedUpdate],
        whole: Option<&Vec<&[u8]>>,
        limits: &Limits,
    ) -> Result<Imported, BackendError> {
        if ready.is_empty() {
            return Ok(Imported::default());
        }
        guarded(|| self.backend.validate_ready(ready, limits))?;
        match guarded(|| self.backend.import(ready, !self.unread)) {
            Ok(AppliedUpdates { touched, splices, novel }) => {
                let applied = match whole {
                    _ if !novel => Vec::new(),
                    Some(whole) => whole.iter().map(|update| Arc::from(*update)).collect(),
                    None => ready.iter().map(|update| Arc::from(B::bytes(update))).collect(),
                };
                self.note_import(touched, splices, applied).map_err(|error| self.rebuild(error))
            }
            Err(error) => Err(self.rebuild(error)),
        }
    }

    /// Applies pending updates whose dependencies have come. If applying them together fails, each
    /// one is tried alone, so that only a bad one is lost. A good one must not be lost, because its
    /// sender was told that it is pending. A pending update that contradicts the document is set
    /// aside.
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
            let (checked, sources): (Vec<_>, Vec<_>) = ready
                .into_iter()
                .map(|PendingUpdate { update, trust, written }| (update, (trust, written)))
                .unzip();
            match self.import_ready(&checked, None, &limits) {
                Ok(more) => imported.add(more),
                Err(_) if checked.len() > 1 => {
                    singly = true;
                    let retried = checked.into_iter().zip(sources);
                    self.pending.0.extend(retried.map(|(update, (trust, written))| {
                        PendingUpdate { update, trust, written }
                    }));
                }
                Err(BackendError::Contradicted(_)) => {
                    let found =
                        guarded(|| Ok(self.backend.contradiction(checked, &mut self.pending.0)));
                    imported.contradictions.extend(found.ok().flatten());
                }
                Err(_) => {}
            }
        }
    }

    /// Sets an update aside that contradicts the document and whose dependencies the document has.
    /// Returns what the update did.
    pub fn set_aside(&mut self, update: &[u8]) -> Option<Contradiction> {
        let checked = guarded(|| self.backend.unpack(update, &self.trusted)).ok()?;
        guarded(|| Ok(self.backend.contradiction(checked, &mut self.pending.0))).ok().flatten()
    }

    fn note_import(
        &mut self,
        mut touched: Touched,
        mut splices: Splices,
        applied: Vec<Arc<[u8]>>,
    ) -> Result<Imported, BackendError> {
        touched.settle();
        let mut edited = BTreeSet::new();
        for sequence in &touched.sequences {
            let splices = splices.remove(sequence).flatten();
            let update = self.update_mirror(sequence, splices)?;
            if update.differs {
                edited.insert(Arc::clone(&sequence.1));
            }
            touched.lists.extend(update.list.map(|edits| (Arc::clone(&sequence.1), edits)));
        }
        let own = Self::take_own(&mut touched);
        self.note_registers(&own);
        touched.registers = self.note_touched(touched.registers);
        touched.settle();
        applied.iter().for_each(|update| self.remember(update));
        Ok(Imported { touched, edited, applied, ..Imported::default() })
    }

    /// Takes the touches of the document's own registers out of `touched`.
    fn take_own(touched: &mut Touched) -> Vec<RegisterTouch> {
        touched.registers.extract_if(.., |touch| named::is_own(&touch.key)).collect()
    }

    /// Brings the index and the digest up to date with changed keys. Returns the registers that
    /// changed.
    fn note_touched(&mut self, stored: Vec<RegisterTouch>) -> Vec<RegisterTouch> {
        let touches = TouchedPaths::of(&stored, &self.index, &|path| self.backend.register(path));
        self.note_registers(&stored);
        match touches {
            None => stored,
            Some(touches) => touches.finish(&self.index, &|path| self.backend.register(path)),
        }
    }

    /// Brings the index and the digest up to date with changed keys.
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
                self.names_changed = true;
                match touch.new {
                    Some(_) => self.own.insert(touch.key.clone()),
                    None => self.own.remove(&touch.key),
                };
                continue;
            }
            self.index.note_changed(&touch.key);
            match (&touch.old, &touch.new) {
                (None, Some(_)) => self.index.insert(Key(touch.key.clone())),
                (Some(_), None) => self.index.remove(&touch.key),
                _ => {}
            }
        }
    }

    /// Everything that the document stores, without its history. O(document).
    pub fn content(&self) -> Content {
        let mut content = Content::default();
        self.backend.registers(&mut |key, value| drop(content.registers.insert(Key(key), value)));
        let texts = self.texts.iter().filter(|(_, text)| !text.is_empty());
        content.texts = texts.map(|(key, text)| (key.clone(), text.clone())).collect();
        let lists = self.lists.iter().filter(|(_, list)| !list.is_empty());
        content.lists = lists.map(|(key, list)| (key.clone(), list.clone())).collect();
        content
    }

    /// Whether the document shows nothing and stores no register. O(sequences).
    pub fn is_empty(&self) -> bool {
        self.own.is_empty()
            && self.index.within("").next().is_none()
            && self.texts.values().all(Rope::is_empty)
            && self.lists.values().all(List::is_empty)
    }

    /// The names of content in the document that exostate did not write.
    pub fn foreign(&self) -> Vec<String> {
        self.backend.foreign()
    }

    /// The names of the state type that are written in the document: usually one, or none. See
    /// [`named`].
    pub fn type_names(&self) -> impl Iterator<Item = &str> {
        self.own.iter().filter_map(|path| named::name_in(path))
    }

    /// Whether [`Replica::type_names`] may have changed since the last call.
    pub fn take_names_changed(&mut self) -> bool {
        std::mem::take(&mut self.names_changed)
    }

    /// The whole document as bytes.
    pub fn save(&self) -> Vec<u8> {
        self.backend.save()
    }

    /// The version of this replica: the ops that it has seen.
    pub fn version(&self) -> Version {
        self.backend.version()
    }

    /// All ops that a replica at `version` lacks, in pieces within the limits for untrusted
    /// updates.
    pub fn updates_since(&self, version: &Version) -> Result<Vec<Vec<u8>>, BackendError> {
        guarded(|| self.backend.updates_since(version))
    }

    /// The conflicting values of a register, each with the replica that wrote it, if that is known.
    /// The value that the register shows is the last one.
    pub fn conflicting_values(&self, path: &str) -> Vec<(Value, Option<ReplicaId>)> {
        let mut found = guarded(|| Ok(self.backend.conflicting_values(path))).unwrap_or_default();
        if found.is_empty() {
            found = expand::entries(&self.index, &|path| self.backend.register(path), path);
        }
        found.into_iter().map(|(value, writer)| (value, writer.map(ReplicaId::from_bits))).collect()
    }

    /// The registers that hold a value of which the document `by` has no op, neither a visible nor
    /// an overwritten one. O(document).
    pub fn unseen_registers(&self, by: &Self) -> BTreeSet<Arc<str>> {
        let unseen = self.backend.unseen_registers(&by.backend);
        expand::paths(unseen, &|path| self.backend.register(path))
    }

    /// The number of pending updates and their total bytes, of one trust or of both.
    pub fn pending(&self, trust: Option<Trust>) -> (usize, usize) {
        self.pending.size(trust)
    }

    /// The pending updates, each with its trust.
    pub fn pending_updates(&self) -> Vec<(Vec<u8>, Trust)> {
        self.pending
            .0
            .iter()
            .map(|waiting| (B::bytes(&waiting.update).to_vec(), waiting.trust))
            .collect()
    }

    /// The values that pending updates from this replica's own storage write into registers that no
    /// op of the document has ever written. Updates that were [`note_written`](Self::note_written)
    /// are left out. O(document) if there are such values.
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
                    Some(value) => drop(found.insert(Key(path), value)),
                    None => drop(found.remove(key::lookup(&path.as_ref()))),
                }
            }
        }
        let found: Vec<(Key, Value)> = found.into_iter().collect();
        let found = expand::expand(&found).unwrap_or(found);
        let mut found: BTreeMap<Key, Value> = found.into_iter().collect();
        found.retain(|path, _| self.register(path.as_str()).is_none());
        if !found.is_empty() {
            let written =
                guarded(|| Ok(self.backend.ever_written(found.keys().map(Key::as_str).collect())))
                    .unwrap_or_default();
            found.retain(|path, _| !written.contains(path.as_str()));
        }
        let write = |(path, value)| (path, RegisterWrite { old: None, new: Some(value) });
        found.into_iter().map(write).collect()
    }

    /// Notes that the registers of all pending updates from this replica's own storage were written
    /// again, or need not be written.
    pub fn note_written(&mut self) {
        self.pending
            .0
            .iter_mut()
            .filter(|waiting| waiting.trust == Trust::Trusted)
            .for_each(|waiting| waiting.written = true);
    }

    /// Forgets the pending updates of one trust.
    pub fn forget_pending(&mut self, trust: Trust) {
        self.pending.0.retain(|waiting| waiting.trust != trust);
    }

    /// Whether so many registers were touched that reading everything again is cheaper than reading
    /// each one.
    pub fn mostly(&self, touched: &Touched) -> bool {
        touched.registers.len() > WHOLE_READ_MIN.max(self.registers.max(self.index.len()) / 4)
    }

    /// The digest of the content. It includes every register and sequence, also those that the
    /// state type does not know.
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
        Digest::from_bytes(canonical.finish().to_le_bytes())
    }

    /// The hash of one sequence. An empty sequence has the hash 0, because it counts as absent.
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

    /// Makes an anchor: bytes for a place in a text that stays with the text around it. `None` if
    /// the position is beyond the end, or if the backend makes no anchor.
    pub fn anchor(&mut self, name: &str, at: usize, before: bool) -> Option<Vec<u8>> {
        let empty = Rope::new();
        let rope = self.texts.get(key::lookup(&name)).unwrap_or(&empty);
        if at > rope.len_chars() {
            return None;
        }
        let at = super::ops::Units { chars: at, utf16: rope.char_to_utf16(at) };
        guarded(|| Ok(self.backend.anchor(name, at, before))).ok().flatten()
    }

    /// The current position of an anchor, in Unicode scalar values.
    pub fn resolve(&self, name: &str, anchor: &[u8]) -> Option<usize> {
        // Anchors come from peers, so their bytes may make the backend panic.
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
        expand::register(&self.index, &|path| self.backend.register(path), path)
    }

    fn scan(&self, prefix: &str) -> Vec<(Key, Value)> {
        expand::scan(&self.index, &|path| self.backend.register(path), prefix)
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

/// The content of a whole document, read without the index and the mirror.
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

/// The limits for an update that could also have come as several updates, each of the full length.
fn as_several(update: &[u8], limits: &Limits) -> Limits {
    let count = update.len().div_ceil(limits.bytes_max().max(1)).max(1);
    limits.clone().times(count)
}

/// Replaces the error for refused bytes by one that names their format, if the format can be
/// recognized.
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
