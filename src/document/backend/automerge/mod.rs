//! The automerge backend.
//!
//! - One fixed change makes 1,024 maps at the root, the buckets. The hash of a register's path
//!   chooses its bucket. There are many buckets because automerge's work on a map grows with the
//!   size of the map.
//! - A sequence is a text or list object under its name (`T:path`, `L:path`) in the bucket of that
//!   name.
//! - If two replicas create the same sequence concurrently, both objects stay, and nothing is lost:
//!   the content of the sequence is the content of all its objects, in the order of their ids.

mod contradiction;
mod foreign;
mod seen;
mod values;
mod write;

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{
    ActorId, Automerge as Doc, Change, ChangeHash, Cursor, LoadOptions, MoveCursor, ObjId, ObjType,
    ROOT, ReadDoc, Span, TextEncoding, Value as AmValue, legacy,
};

use super::{
    Backend, BackendError, Contradiction, LIST_PREFIX, Offset, PIECE_BYTES_MAX, TEXT_PREFIX, sealed,
};
use crate::document::ReplicaId;
use crate::document::bundle::{self, KeyKind};
use crate::document::guard::automerge_chunk;
use crate::document::key::Key;
use crate::document::limits::Limits;
use crate::document::named;
use crate::document::ops::{
    AppliedUpdates, Ops, RegisterTouch, RegisterWrite, SequenceKind, Splices, Touched, Units,
};
use crate::document::rope::Marks;
use crate::document::value::Value;
use crate::document::version::Version;
pub use foreign::read as read_foreign;
use seen::Seen;
use values::{from_scalar, from_value, marks_of};
use write::Committed;

/// The number of maps for the registers. It is a part of the format: see `docs/layout.md`.
const BUCKETS: usize = 1024;

/// State on [automerge](https://docs.rs/automerge).
pub struct Automerge {
    doc: Doc,
    buckets: Vec<ObjId>,
    bucket_ids: HashMap<OpId, usize>,
    /// The objects of each sequence, in the order of their ids.
    sequences: HashMap<Arc<str>, Vec<ObjId>>,
    sequence_ids: HashMap<OpId, Arc<str>>,
    seen: Seen,
}

/// An object's id without its position in the actor table: counter and actor.
type OpId = (u64, Vec<u8>);

/// The value that a register shows.
struct Winner {
    value: Value,
    /// The op that wrote it.
    op: ObjId,
}

/// The role of an object in exostate's layout.
enum Container<'a> {
    Bucket(usize),
    Sequence(&'a Arc<str>),
    Foreign,
}

/// A checked update: one change from outside, validated and not applied yet.
pub struct CheckedUpdate(Change);

impl sealed::Sealed for Automerge {}

fn refused(error: impl std::fmt::Display) -> BackendError {
    BackendError::Refused(error.to_string())
}

/// The bucket of a path or name: FNV-1a (32 bit) of its UTF-8 bytes, modulo the number of buckets.
fn bucket_of(name: &str) -> usize {
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash as usize % BUCKETS
}

fn bucket_name(index: usize) -> String {
    format!("{index:03x}")
}

fn op_id(id: &ObjId) -> OpId {
    match id {
        ObjId::Root => (0, Vec::new()),
        ObjId::Id(counter, actor, _) => (*counter, actor.to_bytes().to_vec()),
    }
}

/// The actor of the first change, which is the same in every document.
const GENESIS_ACTOR: &[u8] = b"exostate";

/// Up to this number of changes, a peer without any change gets them one by one. A saved document
/// would be longer, because it repeats the first change, which has about 1,000 ops.
const FEW_CHANGES: u64 = 64;

/// The names of registers, of new sequences and of edited sequences.
type Names = (BTreeSet<String>, BTreeSet<Arc<str>>, BTreeSet<Arc<str>>);

/// Makes the first change of every document. Its bytes are always the same, and so is its hash.
fn genesis() -> Result<Doc, BackendError> {
    let mut doc = Doc::new_with_encoding(TextEncoding::UnicodeCodePoint)
        .with_actor(ActorId::from(GENESIS_ACTOR));
    let mut tx = doc.transaction();
    for index in 0..BUCKETS {
        tx.put_object(ROOT, bucket_name(index), ObjType::Map).map_err(refused)?;
    }
    tx.commit_with(CommitOptions::default().with_time(0));
    Ok(doc)
}

impl Automerge {
    fn wrap(doc: Doc, replica: ReplicaId) -> Result<Self, BackendError> {
        let doc = doc.with_actor(ActorId::from(replica.get().to_be_bytes().as_slice()));
        let mut buckets = Vec::with_capacity(BUCKETS);
        for index in 0..BUCKETS {
            match doc.get(ROOT, bucket_name(index)).map_err(refused)? {
                Some((AmValue::Object(ObjType::Map), id)) => buckets.push(id),
                _ => {
                    return Err(BackendError::Layout(
                        "an automerge document that exostate did not make, \
                         as its first change is not the fixed one",
                    ));
                }
            }
        }
        let bucket_ids = buckets.iter().enumerate().map(|(index, id)| (op_id(id), index)).collect();
        Ok(Self {
            doc,
            buckets,
            bucket_ids,
            sequences: HashMap::new(),
            sequence_ids: HashMap::new(),
            seen: Seen::default(),
        })
    }

    fn bucket(&self, name: &str) -> &ObjId {
        self.buckets.get(bucket_of(name)).unwrap_or(&ROOT)
    }

    /// Looks up the objects of a sequence again, after a write to its key.
    fn find_sequence(&mut self, name: &Arc<str>) {
        let objects: Vec<ObjId> = match self.doc.get_all(self.bucket(name), name.as_ref()) {
            Ok(values) => values
                .into_iter()
                .filter(|(value, _)| fits(value, name))
                .map(|(_, id)| id)
                .collect(),
            Err(_) => Vec::new(),
        };
        for object in &objects {
            self.sequence_ids.insert(op_id(object), name.clone());
        }
        if objects.is_empty() {
            self.sequences.remove(name);
        } else {
            self.sequences.insert(name.clone(), objects);
        }
    }

    fn objects(&self, name: &str) -> &[ObjId] {
        self.sequences.get(name).map_or(&[], Vec::as_slice)
    }

    fn place_of(&self, obj: &legacy::ObjectId) -> Container<'_> {
        let legacy::ObjectId::Id(id) = obj else { return Container::Foreign };
        let id = (id.counter(), id.actor().to_bytes().to_vec());
        if let Some(index) = self.bucket_ids.get(&id) {
            return Container::Bucket(*index);
        }
        self.sequence_ids.get(&id).map_or(Container::Foreign, Container::Sequence)
    }

    /// The value that a register shows, and the op that wrote it.
    fn winner(&self, path: &str) -> Option<Winner> {
        let (value, op) = self.doc.get(self.bucket(path), path).ok().flatten()?;
        Some(Winner { value: from_value(&value), op })
    }

    /// Whether this replica wrote an op.
    fn is_own(&self, op: &ObjId) -> bool {
        matches!(op, ObjId::Id(_, actor, _) if actor == self.doc.get_actor())
    }

    /// The names in the changes: registers and new sequences by key, edited sequences by object.
    ///
    /// Fails if a change other than the first change of the document touches the root. exostate
    /// writes only the buckets there.
    fn names_in(&self, changes: &[CheckedUpdate]) -> Result<Names, BackendError> {
        let (mut registers, mut made, mut edited) = Names::default();
        for CheckedUpdate(change) in changes {
            for op in change.decode().operations {
                if op.obj == legacy::ObjectId::Root && change.actor_id().to_bytes() != GENESIS_ACTOR
                {
                    return Err(BackendError::Refused(format!(
                        "change {} touches the root: exostate did not make it",
                        change.hash()
                    )));
                }
                match (self.place_of(&op.obj), &op.key) {
                    (Container::Bucket(bucket), legacy::Key::Map(key))
                        if bucket_of(key) == bucket =>
                    {
                        if key.starts_with(TEXT_PREFIX) || key.starts_with(LIST_PREFIX) {
                            made.insert(Arc::from(key.as_str()));
                        } else {
                            registers.insert(key.to_string());
                        }
                    }
                    (Container::Sequence(name), _) => {
                        edited.insert(name.clone());
                    }
                    _ => {}
                }
            }
        }
        Ok((registers, made, edited))
    }

    /// The newest changes of this document that a replica at this version has.
    fn known(&self, version: &Version) -> Result<Vec<ChangeHash>, BackendError> {
        let (heads, numbers) =
            version.as_heads().ok_or(BackendError::OtherVersion { backend: Self::NAME })?;
        let heads: Vec<ChangeHash> = heads.iter().map(|head| ChangeHash(*head)).collect();
        let all_here = !heads.is_empty()
            && heads.iter().all(|head| self.doc.get_change_meta_by_hash(head).is_some());
        Ok(if all_here { heads } else { seen::frontier(&self.doc, numbers) })
    }

    /// Whether to send a saved document to a replica that knows these changes: the replica has at
    /// most the first change, and this document has so many changes that a saved document is
    /// shorter than the changes one by one.
    fn is_fresh(&self, known: &[ChangeHash]) -> bool {
        let first = |hash: &ChangeHash| {
            self.doc
                .get_change_meta_by_hash(hash)
                .is_some_and(|meta| meta.actor.to_bytes() == GENESIS_ACTOR)
        };
        known.iter().all(first) && self.doc.stats().num_changes > FEW_CHANGES
    }

    /// Fails if automerge cannot give back a change that it has just applied.
    ///
    /// automerge applies some changes that it cannot reproduce. A saved document holds only ops,
    /// and loading it makes the changes again from the ops. With such a change, automerge would
    /// save a document that it cannot open.
    fn gives_back(&self, checked: &[CheckedUpdate]) -> Result<(), BackendError> {
        for CheckedUpdate(change) in checked {
            let found = self.doc.get_change_by_hash(&change.hash());
            if found.is_none_or(|found| found.hash() != change.hash()) {
                return Err(BackendError::Refused(format!(
                    "change {} is not as automerge writes it",
                    change.hash()
                )));
            }
        }
        Ok(())
    }
}

impl Backend for Automerge {
    const NAME: &'static str = "automerge";
    type CheckedUpdate = CheckedUpdate;

    fn empty(replica: ReplicaId) -> Self {
        static GENESIS: OnceLock<Result<Doc, BackendError>> = OnceLock::new();
        match GENESIS.get_or_init(genesis).clone().and_then(|doc| Self::wrap(doc, replica)) {
            Ok(this) => this,
            Err(error) => unreachable!("the fixed first change is always valid: {error}"),
        }
    }

    fn load(replica: ReplicaId, bytes: &[u8], limits: &Limits) -> Result<Self, BackendError> {
        automerge_chunk::walk(bytes, limits)?;
        let options = LoadOptions::new().text_encoding(TextEncoding::UnicodeCodePoint);
        let doc = Doc::load_with_options(bytes, options).map_err(refused)?;
        let mut this = Self::wrap(doc, replica)?;
        let mut names = Vec::new();
        for bucket in &this.buckets {
            for item in this.doc.map_range(bucket, ..) {
                if item.key.starts_with(TEXT_PREFIX) || item.key.starts_with(LIST_PREFIX) {
                    names.push(Arc::from(item.key.as_ref()));
                }
            }
        }
        names.iter().for_each(|name| this.find_sequence(name));
        Ok(this)
    }

    fn save(&self) -> Vec<u8> {
        self.doc.save()
    }

    fn version(&self) -> Version {
        let heads = self.doc.get_heads().iter().map(|head| head.0).collect();
        Version::heads(heads, self.seen.numbers(&self.doc))
    }

    fn updates_since(&self, version: &Version) -> Result<Vec<Vec<u8>>, BackendError> {
        let known = self.known(version)?;
        if self.is_fresh(&known) && self.doc.stats().num_ops <= write::PIECE_OPS_MAX as u64 {
            let whole = self.doc.save();
            if whole.len() <= PIECE_BYTES_MAX {
                return Ok(vec![whole]);
            }
        }
        write::cut(&self.doc.save_after(&known), PIECE_BYTES_MAX)
    }

    fn commit(&mut self, ops: &Ops) -> Result<(Touched, Vec<Vec<u8>>), BackendError> {
        let Committed { made, changes } = write::write(self, ops)?;
        made.iter().for_each(|name| self.find_sequence(name));
        let names: BTreeSet<_> = ops
            .sequences
            .iter()
            .map(|op| op.target())
            .map(|(name, kind)| (kind, name.clone()))
            .collect();
        let touch = |(key, write): (&Key, &RegisterWrite)| RegisterTouch {
            key: key.0.clone(),
            old: write.old.clone(),
            new: write.new.clone(),
            own: true,
        };
        let registers = ops.registers.iter().map(touch).collect();
        let sequences = names.into_iter().collect();
        Ok((Touched { registers, sequences, ..Touched::default() }, changes))
    }

    fn unpack(&self, update: &[u8], limits: &Limits) -> Result<Vec<CheckedUpdate>, BackendError> {
        automerge_chunk::walk(update, limits)?;
        let mut checked = Vec::new();
        for chunk in automerge_chunk::chunks(update) {
            let (kind, bytes) = chunk?;
            match kind {
                automerge_chunk::ChunkKind::Change => checked
                    .push(CheckedUpdate(Change::from_bytes(bytes.to_vec()).map_err(refused)?)),
                automerge_chunk::ChunkKind::Document => {
                    let options = LoadOptions::new().text_encoding(TextEncoding::UnicodeCodePoint);
                    checked.extend(
                        Doc::load_with_options(bytes, options)
                            .map_err(refused)?
                            .get_changes(&[])
                            .into_iter()
                            .map(CheckedUpdate),
                    );
                }
            }
        }
        checked.retain(|CheckedUpdate(change)| {
            self.doc.get_change_meta_by_hash(&change.hash()).is_none()
        });
        for update in &checked {
            // Decoding a change costs as much as its import, so only few changes are decoded.
            let prefix = named::LAYOUT_PREFIX.as_bytes();
            if update.0.raw_bytes().windows(prefix.len()).any(|part| part == prefix) {
                let written = self.registers_in(update);
                named::check_layout(written.iter().filter_map(|(path, _)| named::layout_in(path)))?;
            }
        }
        Ok(checked)
    }

    fn contains(&self, update: &[u8], limits: &Limits) -> Result<bool, BackendError> {
        Ok(self.unpack(update, limits)?.is_empty())
    }

    fn has_seen(&self, version: &Version) -> bool {
        let known =
            |head: &[u8; 32]| self.doc.get_change_meta_by_hash(&ChangeHash(*head)).is_some();
        version.as_heads().is_some_and(|(heads, _)| heads.iter().all(known))
    }

    fn cut(update: &[u8], limits: &Limits, bytes_max: usize) -> Result<Vec<Vec<u8>>, BackendError> {
        automerge_chunk::walk(update, limits)?;
        write::cut(update, bytes_max.min(PIECE_BYTES_MAX))
    }

    /// Counts the missing dependencies of each change. A change that becomes ready lowers the count
    /// of the changes that depend on it; a change whose count is zero is ready. O(changes).
    fn split_ready<P: AsRef<CheckedUpdate>>(&self, checked: Vec<P>) -> (Vec<P>, Vec<P>) {
        let mut lacking = vec![0usize; checked.len()];
        let mut waiting_for: HashMap<ChangeHash, Vec<usize>> = HashMap::new();
        for (index, update) in checked.iter().enumerate() {
            for hash in update
                .as_ref()
                .0
                .deps()
                .iter()
                .filter(|hash| self.doc.get_change_meta_by_hash(hash).is_none())
            {
                waiting_for.entry(*hash).or_default().push(index);
                lacking[index] += 1;
            }
        }
        let mut order: Vec<usize> =
            (0..checked.len()).filter(|index| lacking[*index] == 0).collect();
        let mut next = 0;
        while let Some(index) = order.get(next).copied() {
            next += 1;
            for freed in waiting_for.remove(&checked[index].as_ref().0.hash()).unwrap_or_default() {
                lacking[freed] -= 1;
                if lacking[freed] == 0 {
                    order.push(freed);
                }
            }
        }
        let mut checked: Vec<Option<P>> = checked.into_iter().map(Some).collect();
        let ready = order.into_iter().filter_map(|index| checked[index].take()).collect();
        (ready, checked.into_iter().flatten().collect())
    }

    /// Also checks that the ops of each change start directly after the ops of its dependencies. A
    /// saved document stores only where the ops of a change end, and assumes this start.
    fn validate_ready(
        &mut self,
        ready: &[CheckedUpdate],
        limits: &Limits,
    ) -> Result<(), BackendError> {
        self.seen.welcome(&self.doc, ready.iter().map(|update| &update.0), limits)?;
        let mut ends: HashMap<ChangeHash, u64> = HashMap::new();
        for CheckedUpdate(change) in ready {
            let end = |hash: &ChangeHash| match ends.get(hash) {
                Some(end) => *end,
                None => self.doc.get_change_meta_by_hash(hash).map_or(0, |meta| meta.max_op),
            };
            let start = change.deps().iter().map(end).max().unwrap_or(0) + 1;
            if change.start_op().get() != start {
                let hash = change.hash();
                let found = change.start_op();
                return Err(BackendError::Refused(format!(
                    "the ops of change {hash} start at {found} instead of {start}"
                )));
            }
            ends.insert(change.hash(), change.max_op());
        }
        Ok(())
    }

    fn bytes(update: &CheckedUpdate) -> &[u8] {
        update.0.raw_bytes()
    }

    fn import(
        &mut self,
        checked: &[CheckedUpdate],
        registers: bool,
    ) -> Result<AppliedUpdates, BackendError> {
        let (mut named, mut made, mut edited) = self.names_in(checked)?;
        if !registers {
            named.clear();
        }
        let old: Vec<Option<Winner>> = named.iter().map(|key| self.winner(key)).collect();
        self.doc.apply_changes(checked.iter().map(|update| update.0.clone())).map_err(|error| {
            match error {
                automerge::AutomergeError::DuplicateSeqNumber(..) => {
                    BackendError::Contradicted(error.to_string())
                }
                error => refused(error),
            }
        })?;
        self.gives_back(checked)?;
        checked.iter().for_each(|update| self.seen.note(&update.0));
        made.iter().for_each(|name| self.find_sequence(name));
        if !made.is_empty() {
            // These changes also edit sequences that they make. The objects of such sequences are
            // known only now.
            edited.extend(self.names_in(checked)?.2);
        }
        let mut touched = Touched::default();
        for (key, old) in named.into_iter().zip(old) {
            let new = self.winner(&key);
            // A new value that loses the conflict changes nothing, so it is not a touch; yrs does
            // not report it either. A new value that wins is a touch, even if it equals the old
            // one.
            if old.as_ref().map(|old| &old.op) == new.as_ref().map(|new| &new.op) {
                continue;
            }
            let own = new.as_ref().is_some_and(|new| self.is_own(&new.op));
            let old = old.map(|old| old.value);
            let new = new.map(|new| new.value);
            touched.registers.push(RegisterTouch { key: Arc::from(key), old, new, own });
        }
        made.append(&mut edited);
        touched.sequences = made.iter().filter_map(|name| split_name(name)).collect();
        Ok(AppliedUpdates { touched, splices: Splices::new(), novel: !checked.is_empty() })
    }

    fn contradiction<P: AsRef<CheckedUpdate>>(
        &self,
        contradicting: Vec<CheckedUpdate>,
        pending: &mut Vec<P>,
    ) -> Option<Contradiction> {
        contradiction::contradiction(&self.doc, contradicting, pending)
    }

    fn registers_in(
        &self,
        CheckedUpdate(change): &CheckedUpdate,
    ) -> Vec<(Arc<str>, Option<Value>)> {
        let mut written = Vec::new();
        for op in change.decode().operations {
            let legacy::Key::Map(path) = &op.key else { continue };
            let at_home = matches!(
                self.place_of(&op.obj),
                Container::Bucket(index) if index == bucket_of(path)
            );
            if !at_home || split_name(path).is_some() {
                continue;
            }
            match &op.action {
                legacy::OpType::Put(value) => {
                    written.push((Arc::from(path.as_str()), Some(from_scalar(value))))
                }
                legacy::OpType::Delete => written.push((Arc::from(path.as_str()), None)),
                _ => {}
            }
        }
        written
    }

    fn ever_written(&self, mut paths: BTreeSet<&str>) -> BTreeSet<String> {
        let mut written = BTreeSet::new();
        for change in self.doc.get_changes(&[]) {
            if paths.is_empty() {
                break;
            }
            for (path, value) in self.registers_in(&CheckedUpdate(change)) {
                let mut note = |path: &str| {
                    if paths.remove(path) {
                        written.insert(path.to_owned());
                    }
                };
                match (bundle::kind_of(&path), value) {
                    (KeyKind::Bundle { slot, .. }, Some(value)) => {
                        let entries = bundle::entries(slot, &value).into_iter();
                        entries.for_each(|(relative, _)| note(&bundle::path_of(slot, relative)));
                    }
                    _ => note(&path),
                }
            }
        }
        written
    }

    fn register(&self, path: &str) -> Option<Value> {
        self.doc.get(self.bucket(path), path).ok().flatten().map(|(value, _)| from_value(&value))
    }

    fn conflicting_values(&self, path: &str) -> Vec<(Value, Option<u64>)> {
        let values = self.doc.get_all(self.bucket(path), path).unwrap_or_default();
        let writer = |id: &ObjId| match id {
            ObjId::Id(_, actor, _) => actor.to_bytes().try_into().ok().map(u64::from_be_bytes),
            ObjId::Root => None,
        };
        values.iter().map(|(value, id)| (from_value(value), writer(id))).collect()
    }

    fn registers(&self, each: &mut dyn FnMut(Arc<str>, Value)) {
        for (index, bucket) in self.buckets.iter().enumerate() {
            for item in self.doc.map_range(bucket, ..) {
                let key: &str = &item.key;
                if bucket_of(key) == index
                    && !key.starts_with(TEXT_PREFIX)
                    && !key.starts_with(LIST_PREFIX)
                {
                    each(Arc::from(key), from_value(&AmValue::from(item.value)));
                }
            }
        }
    }

    fn unseen_registers(&self, by: &Self) -> BTreeSet<Arc<str>> {
        let mut unseen = BTreeSet::new();
        for bucket in &self.buckets {
            for item in self.doc.map_range(bucket, ..) {
                let change = self.doc.hash_for_opid(&item.id());
                if change.is_none_or(|hash| by.doc.get_change_by_hash(&hash).is_none()) {
                    unseen.insert(Arc::from(&*item.key));
                }
            }
        }
        unseen
    }

    fn sequences(&self) -> Vec<(SequenceKind, Arc<str>)> {
        let filled = self
            .sequences
            .iter()
            .filter(|(_, objects)| objects.iter().any(|object| self.doc.length(object) > 0));
        filled.filter_map(|(name, _)| split_name(name)).collect()
    }

    fn text(&self, name: &str) -> Vec<(String, Option<Arc<Marks>>)> {
        let mut runs = Vec::new();
        for object in self.objects(&format!("{TEXT_PREFIX}{name}")) {
            for span in self.doc.spans(object).into_iter().flatten() {
                match span {
                    Span::Text { text, marks } => {
                        runs.push((text, marks.and_then(|marks| marks_of(&marks))))
                    }
                    Span::Block(_) => runs.push(("\u{fffc}".to_owned(), None)),
                }
            }
        }
        runs
    }

    fn plain_text(&self, name: &str) -> Option<String> {
        let mut content = String::new();
        for object in self.objects(&format!("{TEXT_PREFIX}{name}")) {
            if !self.doc.marks(object).ok()?.is_empty() {
                return None;
            }
            content.push_str(&self.doc.text(object).ok()?);
        }
        Some(content)
    }

    fn list(&self, name: &str) -> Vec<Value> {
        let objects = self.objects(&format!("{LIST_PREFIX}{name}"));
        objects
            .iter()
            .flat_map(|object| self.doc.list_range(object, ..))
            .map(|item| from_value(&AmValue::from(item.value)))
            .collect()
    }

    fn text_len(&self, name: &str) -> Offset {
        let objects = self.objects(&format!("{TEXT_PREFIX}{name}"));
        Offset::Chars(objects.iter().map(|object| self.doc.length(object)).sum())
    }

    fn list_len(&self, name: &str) -> usize {
        self.objects(&format!("{LIST_PREFIX}{name}"))
            .iter()
            .map(|object| self.doc.length(object))
            .sum()
    }

    fn anchor(&mut self, name: &str, at: Units, before: bool) -> Option<Vec<u8>> {
        let (Offset::Chars(whole) | Offset::Utf16(whole)) = self.text_len(name);
        if at.chars > whole {
            return None;
        }
        // If there is no character to stick to, the anchor is the start or the end of the text.
        if at.chars == if before { 0 } else { whole } {
            return Some([&[if before { TEXT_START } else { TEXT_END }], name.as_bytes()].concat());
        }
        let mut rest = if before { at.chars - 1 } else { at.chars };
        for object in self.objects(&format!("{TEXT_PREFIX}{name}")) {
            let len = self.doc.length(object);
            if rest >= len {
                rest -= len;
                continue;
            }
            let cursor = self.cursor_at(object, rest)?;
            return Some(anchor_bytes(object, if before { BEHIND } else { AT }, &cursor));
        }
        None
    }

    fn resolve(&self, name: &str, anchor: &[u8]) -> Option<Offset> {
        let (kind, rest) = anchor.split_first()?;
        match *kind {
            TEXT_START => return (rest == name.as_bytes()).then_some(Offset::Chars(0)),
            TEXT_END => return (rest == name.as_bytes()).then(|| self.text_len(name)),
            _ => {}
        }
        let (len, rest) = rest.split_first()?;
        let (object, cursor) = rest.split_at_checked(usize::from(*len))?;
        let mut base = 0;
        for candidate in self.objects(&format!("{TEXT_PREFIX}{name}")) {
            let length = self.doc.length(candidate);
            if candidate.to_bytes() != object
                && op_id(candidate) != op_id(&ObjId::try_from(object).ok()?)
            {
                base += length;
                continue;
            }
            let offset = match *kind {
                OBJECT_START => 0,
                OBJECT_END => length,
                BEHIND | AT => self.offset_of(candidate, cursor, *kind == BEHIND)?,
                _ => return None,
            };
            return Some(Offset::Chars(base + offset.min(length)));
        }
        None
    }
}

/// The kind of an anchor, its first byte. The anchor sticks
///
/// - to the start or the end of one object (only earlier releases wrote these),
/// - behind a character, or at a character,
/// - to the start or the end of the whole text.
const OBJECT_START: u8 = 0;
const OBJECT_END: u8 = 1;
const BEHIND: u8 = 2;
const AT: u8 = 3;
const TEXT_START: u8 = 4;
const TEXT_END: u8 = 5;

/// The last byte of an automerge cursor that moves forward: if its character is deleted, the cursor
/// moves to the next visible character. So its position is always the number of visible characters
/// before its place. (A cursor that moves backward follows the order of insertion, which may differ
/// from the order of the text.)
const ONWARDS: u8 = 2;

impl Automerge {
    fn cursor_at(&self, object: &ObjId, at: usize) -> Option<Vec<u8>> {
        Some(self.doc.get_cursor_moving(object, at, None, MoveCursor::After).ok()?.to_bytes())
    }

    /// The position of a cursor's character. If `behind` is true and the character is not deleted,
    /// the position behind it.
    fn offset_of(&self, object: &ObjId, cursor: &[u8], behind: bool) -> Option<usize> {
        let Cursor::Op(_) = Cursor::try_from(cursor).ok()? else { return None };
        let mut onwards = cursor.to_vec();
        *onwards.last_mut()? = ONWARDS;
        let cursor = Cursor::try_from(onwards.as_slice()).ok()?;
        // With debug assertions automerge compares its search with a second search. If all
        // characters from the cursor on are deleted, the second search finds nothing, and
        // automerge panics. Then the position is the end.
        let length = self.doc.length(object);
        let seek = || self.doc.get_cursor_position(object, &cursor, None);
        let at = match catch_unwind(AssertUnwindSafe(seek)) {
            Ok(found) => found.ok()?,
            Err(_) if cfg!(debug_assertions) => length,
            Err(_) => return None,
        };
        let is_there = || self.cursor_at(object, at).is_some_and(|found| found == onwards);
        Some(at + usize::from(behind && is_there()))
    }
}

/// The bytes of an anchor: its kind, the length of the object's id, the object's id, the cursor.
fn anchor_bytes(object: &ObjId, kind: u8, cursor: &[u8]) -> Vec<u8> {
    let object = object.to_bytes();
    let mut bytes = vec![kind, u8::try_from(object.len()).unwrap_or(u8::MAX)];
    bytes.extend(object);
    bytes.extend(cursor);
    bytes
}

fn fits(value: &AmValue<'_>, name: &str) -> bool {
    match value {
        AmValue::Object(ObjType::Text) => name.starts_with(TEXT_PREFIX),
        AmValue::Object(ObjType::List) => name.starts_with(LIST_PREFIX),
        _ => false,
    }
}

fn split_name(name: &str) -> Option<(SequenceKind, Arc<str>)> {
    let text = name.strip_prefix(TEXT_PREFIX).map(|path| (SequenceKind::Text, Arc::from(path)));
    text.or_else(|| {
        name.strip_prefix(LIST_PREFIX).map(|path| (SequenceKind::List, Arc::from(path)))
    })
}
