//! The yrs backend.
//!
//! - All registers are in one root map, `state`. A map key costs O(1) at any size of the map.
//! - Each sequence is one root type: `T:path` for a text, `L:path` for a list. Root types are found
//!   by name, so two replicas share them without having exchanged anything.

mod commit;
mod cut;
mod deleted;
mod foreign;
mod nesting;
mod op_roots;
mod seen;
mod sequence_index;
#[cfg(test)]
mod sequence_tests;
mod sequences;
mod summary;
mod values;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use yrs::types::EntryChange;
use yrs::types::map::MapEvent;
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{
    Any, Array, ArrayRef, Assoc, BranchID, ClientID, Doc, GetString, IndexScope, IndexedSequence,
    Map, MapRef, Observable, OffsetKind, Options, Out, ReadTxn, StateVector, StickyIndex, Text,
    TextRef, Transact, TransactionMut, Update,
};

use super::{Backend, BackendError, Contradiction, LIST_PREFIX, Offset, TEXT_PREFIX, sealed};
use crate::document::ReplicaId;
use crate::document::key::Key;
use crate::document::limits::Limits;
use crate::document::named;
use crate::document::ops::{
    AppliedUpdates, Ops, RegisterTouch, RegisterWrite, SequenceKind, SequenceOp, Touched, Units,
};
use crate::document::rope::{Marks, utf16_len};
use crate::document::value::Value;
use crate::document::version::Version;
use commit::clip;
use deleted::Deleted;
pub use foreign::read as read_foreign;
use op_roots::OpRoots;
use sequence_index::SequenceIndexes;
use summary::{CheckedUpdate, Summary};
use values::{from_out, marks_of};

/// The root map of all registers.
const REGISTERS: &str = "state";
const OBSERVER: &str = "exostate";
/// The most ops under the replica's own id before it must write under another one. The guard takes
/// twice as many; the rest is room for a last commit.
const OWN_CLOCK_MAX: u32 = 1 << 30;
/// The most names of foreign root types that are kept for a warning, and the most characters of
/// each name.
const FOREIGN_MAX: usize = 8;
const FOREIGN_CHARS_MAX: usize = 64;

/// State on [yrs](https://docs.rs/yrs), the Rust port of Yjs: the default backend.
pub struct Yrs {
    doc: Doc,
    registers: MapRef,
    texts: HashMap<Arc<str>, TextRef>,
    lists: HashMap<Arc<str>, ArrayRef>,
    /// The registers that an import has changed so far. `None` while no import needs them.
    changed: Arc<Mutex<Option<Vec<RegisterTouch>>>>,
    /// Whether any text may have marks. If so, reading a text costs more.
    marks: bool,
    /// Whether any text may have characters of two UTF-16 code units. If such text is in a list,
    /// reading the list in yrs never ends.
    surrogates: bool,
    deleted: Deleted,
    /// Some names of root types that exostate did not make.
    foreign: BTreeSet<String>,
    /// The root of each op.
    op_roots: OpRoots,
    indexes: SequenceIndexes,
    /// A cache: the number of the root of a sequence in the last lookup.
    last_number: Option<(Sequence, u32)>,
}

impl sealed::Sealed for Yrs {}

/// What an update did to the document in yrs.
struct AppliedBytes {
    /// The sequences that it changed.
    sequences: Vec<Sequence>,
    /// Whether it brought anything new.
    novel: bool,
    /// Whether it brought ops that yrs keeps aside, because they refer to ops that it lacks.
    is_stuck: bool,
}

/// A sequence by kind and path.
type Sequence = (SequenceKind, Arc<str>);

impl Yrs {
    fn text_ref(&mut self, name: &Arc<str>) -> TextRef {
        if let Some(text) = self.texts.get(name) {
            return text.clone();
        }
        let text = self.doc.get_or_insert_text(format!("{TEXT_PREFIX}{name}"));
        self.texts.insert(name.clone(), text.clone());
        text
    }

    fn list_ref(&mut self, name: &Arc<str>) -> ArrayRef {
        if let Some(list) = self.lists.get(name) {
            return list.clone();
        }
        let list = self.doc.get_or_insert_array(format!("{LIST_PREFIX}{name}"));
        self.lists.insert(name.clone(), list.clone());
        list
    }

    /// Declares a root that an update touches, because yrs emits no events for undeclared roots.
    fn declare(&mut self, root: &str) {
        if let Some(name) = root.strip_prefix(TEXT_PREFIX) {
            self.text_ref(&Arc::from(name));
        } else if let Some(name) = root.strip_prefix(LIST_PREFIX) {
            self.list_ref(&Arc::from(name));
        } else if root != REGISTERS && self.foreign.len() < FOREIGN_MAX {
            self.foreign.insert(root.chars().take(FOREIGN_CHARS_MAX).collect());
        }
    }

    /// Begins to collect changed registers with `Some`, or ends it with `None`. Returns the
    /// registers collected so far.
    fn collect_changed(&self, changed: Option<Vec<RegisterTouch>>) -> Vec<RegisterTouch> {
        let mut collected = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *collected, changed).unwrap_or_default()
    }

    /// The registers that a change wrote, with the values that the document holds now.
    fn written(&self, txn: &impl ReadTxn, ops: &Ops) -> Vec<RegisterTouch> {
        let touch = |(key, write): (&Key, &RegisterWrite)| RegisterTouch {
            key: Arc::clone(&key.0),
            old: write.old.clone(),
            new: self.registers.get(txn, key.as_str()).map(|out| from_out(&out)),
            own: false,
        };
        ops.registers.iter().map(touch).collect()
    }

    /// The first op of these updates that must not be applied: see [`OpRoots::stray`].
    fn first_stray(&self, updates: &[CheckedUpdate]) -> Option<(u64, u32)> {
        let mut added = OpRoots::default();
        updates.iter().find_map(|CheckedUpdate { summary, .. }| {
            for new in &summary.blocks {
                added.add(&new.block, Some(&self.op_roots));
            }
            added.settle(Some(&self.op_roots));
            added.stray(summary.blocks.iter().map(|new| &new.block), &self.op_roots)
        })
    }

    /// The update without the ops that the document has. `None` if the document has no beginning of
    /// any block of the update; then the update can be applied as it is.
    ///
    /// yrs would cut such a block itself. But yrs keeps the place that the update names for the
    /// block, even if the beginning of the block has another place in this document. This is
    /// possible if a replica id was used twice.
    fn rest_of(&self, bytes: &[u8], summary: &Summary) -> Result<Option<Vec<u8>>, BackendError> {
        // A single op has no part that the document could have.
        if summary.brings.values().all(|(start, end)| *end <= start + 1) {
            return Ok(None);
        }
        let known = self.doc.transact().state_vector();
        let clock = |client: u64| known.get(&ClientID::new(client));
        let overlaps = |(client, (start, end)): (&u64, &(u32, u32))| {
            (*start + 1..*end).contains(&clock(*client))
        };
        if !summary.brings.iter().any(overlaps) {
            return Ok(None);
        }
        let known =
            summary.brings.keys().map(|client| (ClientID::new(*client), clock(*client))).collect();
        let rest = yrs::diff_updates_v1(bytes, &StateVector::new(known).encode_v1());
        rest.map(Some).map_err(|error| BackendError::Refused(error.to_string()))
    }

    /// Applies an update.
    fn apply_bytes(&mut self, bytes: &[u8]) -> Result<AppliedBytes, BackendError> {
        let update =
            Update::decode_v1(bytes).map_err(|error| BackendError::Refused(error.to_string()))?;
        let mut txn = self.doc.transact_mut();
        let was_missing = txn.has_missing_updates();
        txn.apply_update(update).map_err(|error| BackendError::Refused(error.to_string()))?;
        txn.commit();
        let is_stuck = txn.has_missing_updates() && !was_missing;
        let novel = !txn.insert_set().is_empty() || !txn.delete_set().is_empty();
        Ok(AppliedBytes { sequences: finish(&self.deleted, txn), novel, is_stuck })
    }

    /// The length of a sequence that yrs counts: UTF-16 code units or elements.
    fn len_of(&self, txn: &impl ReadTxn, kind: SequenceKind, name: &str) -> u32 {
        match kind {
            SequenceKind::Text => self.texts.get(name).map_or(0, |text| text.len(txn)),
            SequenceKind::List => self.lists.get(name).map_or(0, |list| list.len(txn)),
        }
    }
}

impl Backend for Yrs {
    const NAME: &'static str = "yrs";
    type CheckedUpdate = CheckedUpdate;

    fn empty(replica: ReplicaId) -> Self {
        let mut options = Options::with_client_id(ClientID::new(replica.get()));
        options.offset_kind = OffsetKind::Utf16;
        // The clean-up of yrs would delete marks during an import. No update carries these
        // deletions, so versions would never become equal.
        options.cleanup_formatting = false;
        let doc = Doc::with_options(options);
        let registers = doc.get_or_insert_map(REGISTERS);
        let changed = Arc::new(Mutex::new(None));
        let sink = Arc::clone(&changed);
        registers.observe(OBSERVER, move |txn, event| collect(&sink, txn, event));
        Self {
            doc,
            registers,
            texts: HashMap::new(),
            lists: HashMap::new(),
            changed,
            marks: false,
            surrogates: false,
            deleted: Deleted::none(),
            foreign: BTreeSet::new(),
            op_roots: OpRoots::default(),
            indexes: SequenceIndexes::default(),
            last_number: None,
        }
    }

    fn load(replica: ReplicaId, bytes: &[u8], limits: &Limits) -> Result<Self, BackendError> {
        let (summary, op_roots, indexes) = Summary::of_document(bytes, limits)?;
        OpRoots::default().welcome(summary.brings.keys().copied(), limits)?;
        let mut this = Self::empty(replica);
        this.op_roots = op_roots;
        this.indexes = indexes;
        for root in &summary.roots {
            this.declare(root);
        }
        if this.apply_bytes(bytes)?.is_stuck {
            // yrs keeps ops that are in no sequence, and tries them again with each update.
            this.indexes.set_on(false);
        }
        this.marks = summary.marks;
        this.surrogates = summary.surrogates;
        this.deleted.recount();
        Ok(this)
    }

    fn save(&self) -> Vec<u8> {
        self.doc.transact().encode_state_as_update_v1(&StateVector::default())
    }

    fn version(&self) -> Version {
        let txn = self.doc.transact();
        let deleted = self.deleted.hash(&txn);
        let clocks =
            txn.state_vector().iter().map(|(client, clock)| (client.get(), *clock)).collect();
        Version::clocks(clocks, deleted)
    }

    fn updates_since(&self, version: &Version) -> Result<Vec<Vec<u8>>, BackendError> {
        let clocks =
            version.as_clocks().ok_or(BackendError::OtherVersion { backend: Self::NAME })?;
        let txn = self.doc.transact();
        // Only clients that have written to this document. The version may come from an untrusted
        // peer, whose ids could collide: the tables of yrs use an id as its own hash.
        let here = txn.state_vector();
        let known = here
            .iter()
            .filter_map(|(client, _)| Some((*client, *clocks.get(&client.get())?)))
            .collect();
        Ok(cut::cut(txn.encode_diff_v1(&StateVector::new(known)))?)
    }

    fn commit(&mut self, ops: &Ops) -> Result<(Touched, Vec<Vec<u8>>), BackendError> {
        for op in &ops.sequences {
            self.marks |=
                matches!(op, SequenceOp::Mark { .. } | SequenceOp::Text { marks: Some(_), .. });
            match op.target() {
                (name, SequenceKind::Text) => drop(self.text_ref(name)),
                (name, SequenceKind::List) => drop(self.list_ref(name)),
            }
        }
        self.commit_declared(ops)
    }

    fn unpack(&self, update: &[u8], limits: &Limits) -> Result<Vec<CheckedUpdate>, BackendError> {
        let summary = Summary::of(update, limits)?;
        named::check_layout(summary.layouts.iter().copied())?;
        Ok(vec![CheckedUpdate { bytes: update.to_vec(), summary }])
    }

    fn contains(&self, update: &[u8], limits: &Limits) -> Result<bool, BackendError> {
        Ok(self.deleted.contain(&self.doc.transact(), update, limits)?)
    }

    fn has_seen(&self, version: &Version) -> bool {
        let here = self.doc.transact().state_vector();
        version.as_clocks().is_some_and(|clocks| {
            clocks.iter().all(|(client, clock)| here.get(&ClientID::new(*client)) >= *clock)
        })
    }

    fn cut(update: &[u8], limits: &Limits, bytes_max: usize) -> Result<Vec<Vec<u8>>, BackendError> {
        Ok(cut::cut_untrusted(update, limits, bytes_max)?)
    }

    fn split_ready<P: AsRef<CheckedUpdate>>(&self, checked: Vec<P>) -> (Vec<P>, Vec<P>) {
        // The usual case, without a table of clocks.
        if let [one] = &checked[..] {
            let txn = self.doc.transact();
            let known = txn.state_vector();
            let fits = one.as_ref().summary.fits(|client| known.get(&ClientID::new(client)));
            return if fits { (checked, Vec::new()) } else { (Vec::new(), checked) };
        }
        let mut here: HashMap<u64, u32> = HashMap::new();
        let known = self.doc.transact().state_vector();
        let clock = |here: &HashMap<u64, u32>, client: u64| {
            here.get(&client).copied().unwrap_or_else(|| known.get(&ClientID::new(client)))
        };
        let mut ready = Vec::new();
        let mut waiting = checked;
        loop {
            let mut later = Vec::new();
            let before = ready.len();
            for update in waiting {
                let summary = &update.as_ref().summary;
                if !summary.fits(|client| clock(&here, client)) {
                    later.push(update);
                    continue;
                }
                for (client, (_, end)) in &summary.brings {
                    let reached = clock(&here, *client).max(*end);
                    here.insert(*client, reached);
                }
                ready.push(update);
            }
            if ready.len() == before {
                return (ready, later);
            }
            waiting = later;
        }
    }

    fn validate_ready(
        &mut self,
        ready: &[CheckedUpdate],
        limits: &Limits,
    ) -> Result<(), BackendError> {
        self.op_roots.welcome(
            ready.iter().flat_map(|update| update.summary.brings.keys().copied()),
            limits,
        )?;
        let stray = match ready {
            [CheckedUpdate { summary: Summary { blocks, .. }, .. }] if blocks.len() == 1 => {
                blocks.first().and_then(|new| self.op_roots.lone_stray(&new.block))
            }
            several => self.first_stray(several),
        };
        match stray {
            None => Ok(()),
            Some((client, clock)) => Err(BackendError::Contradicted(format!(
                "op {clock} of replica {client:x} does not stand where it was made"
            ))),
        }
    }

    fn bytes(update: &CheckedUpdate) -> &[u8] {
        &update.bytes
    }

    fn import(
        &mut self,
        checked: &[CheckedUpdate],
        registers: bool,
    ) -> Result<AppliedUpdates, BackendError> {
        self.collect_changed(registers.then(Vec::new));
        let applied = self.apply_checked(checked);
        let registers = self.collect_changed(None);
        let mut applied = applied?;
        applied.touched.registers = registers;
        Ok(applied)
    }

    fn contradiction<P: AsRef<CheckedUpdate>>(
        &self,
        _contradicting: Vec<CheckedUpdate>,
        _pending: &mut Vec<P>,
    ) -> Option<Contradiction> {
        // A known op and an op that contradicts it have the same id. So the document in which the
        // update was made cannot be restored.
        None
    }

    fn foreign(&self) -> Vec<String> {
        self.foreign.iter().cloned().collect()
    }

    fn register(&self, path: &str) -> Option<Value> {
        self.registers.get(&self.doc.transact(), path).map(|out| from_out(&out))
    }

    fn conflicting_values(&self, path: &str) -> Vec<(Value, Option<u64>)> {
        // yrs drops a losing value with the commit or import in which it lost, so only the winner
        // is left. yrs does not tell which replica wrote the winner; the saved bytes do.
        let writer = || seen::writer(&self.save(), path).ok().flatten();
        self.register(path).map(|value| (value, writer())).into_iter().collect()
    }

    fn registers(&self, each: &mut dyn FnMut(Arc<str>, Value)) {
        let txn = self.doc.transact();
        for (key, value) in self.registers.iter(&txn) {
            each(Arc::from(key), from_out(&value));
        }
    }

    fn unseen_registers(&self, by: &Self) -> BTreeSet<Arc<str>> {
        // This fails if a document is larger than the trusted limits allow. Then all registers
        // count as unseen.
        seen::unseen(&self.save(), &by.save()).unwrap_or_else(|_| {
            let mut all = BTreeSet::new();
            self.registers(&mut |key, _| all.extend([key]));
            all
        })
    }

    fn sequences(&self) -> Vec<(SequenceKind, Arc<str>)> {
        let txn = self.doc.transact();
        let texts = self
            .texts
            .iter()
            .filter(|(_, text)| text.len(&txn) > 0)
            .map(|(name, _)| (SequenceKind::Text, name.clone()));
        let lists = self
            .lists
            .iter()
            .filter(|(_, list)| list.len(&txn) > 0)
            .map(|(name, _)| (SequenceKind::List, name.clone()));
        texts.chain(lists).collect()
    }

    fn text(&self, name: &str) -> Vec<(String, Option<Arc<Marks>>)> {
        let Some(text) = self.texts.get(name) else { return Vec::new() };
        let txn = self.doc.transact();
        let runs = text.diff(&txn, |_| ());
        runs.into_iter()
            .map(|run| {
                let content = match run.insert {
                    Out::Any(Any::String(text)) => text.to_string(),
                    // A foreign object in the text counts as one unit, so one character replaces
                    // it.
                    _ => "\u{fffc}".to_owned(),
                };
                (content, run.attributes.and_then(|attributes| marks_of(&attributes)))
            })
            .collect()
    }

    fn plain_text(&self, name: &str) -> Option<String> {
        if self.marks {
            let runs = self.text(name);
            return runs
                .iter()
                .all(|(_, marks)| marks.is_none())
                .then(|| runs.into_iter().map(|(run, _)| run).collect());
        }
        let Some(text) = self.texts.get(name) else { return Some(String::new()) };
        let txn = self.doc.transact();
        let content = text.get_string(&txn);
        // A foreign object in the text counts in the length, but is not in the string.
        (utf16_len(&content) == text.len(&txn) as usize).then_some(content)
    }

    fn list(&self, name: &str) -> Vec<Value> {
        let Some(list) = self.lists.get(name) else { return Vec::new() };
        let txn = self.doc.transact();
        if self.surrogates && holds_text(&txn, name) {
            return vec![Value::Unknown("text in a list")];
        }
        list.iter(&txn).map(|out| from_out(&out)).collect()
    }

    fn own_ops(&self) -> u64 {
        u64::from(self.op_roots.end(self.doc.client_id().get()))
    }

    fn is_id_full(&self) -> bool {
        self.own_ops() > u64::from(OWN_CLOCK_MAX)
    }

    fn is_check_due(&mut self, kind: SequenceKind, name: &str) -> bool {
        self.is_sequence_check_due(kind, name)
    }

    fn set_sequence_indexes(&mut self, on: bool) {
        self.indexes.set_on(on);
    }

    fn has_sequence_indexes(&self) -> bool {
        self.indexes.is_on()
    }

    fn rebuild_index(&mut self, kind: SequenceKind, name: &str) {
        self.rebuild_sequence_index(kind, name);
    }

    fn text_len(&self, name: &str) -> Offset {
        Offset::Utf16(self.len_of(&self.doc.transact(), SequenceKind::Text, name) as usize)
    }

    fn list_len(&self, name: &str) -> usize {
        self.len_of(&self.doc.transact(), SequenceKind::List, name) as usize
    }

    fn anchor(&mut self, name: &str, at: Units, before: bool) -> Option<Vec<u8>> {
        let assoc = if before { Assoc::Before } else { Assoc::After };
        let unit = if before { at.utf16.checked_sub(1) } else { Some(at.utf16) };
        if let Some(place) = unit.and_then(|unit| self.indexed_anchor(name, clip(unit), assoc)) {
            return Some(place.encode_v1());
        }
        let txn = self.doc.transact();
        let text = self.texts.get(name);
        let len = text.map_or(0, |text| text.len(&txn) as usize);
        if at.utf16 > len {
            return None;
        }
        // If there is no character to stick to, the anchor is the start or the end of the text.
        let place = match text.filter(|_| at.utf16 != if before { 0 } else { len }) {
            Some(text) => text.sticky_index(&txn, clip(at.utf16), assoc)?,
            None => {
                StickyIndex::new(IndexScope::Root(Arc::from(format!("{TEXT_PREFIX}{name}"))), assoc)
            }
        };
        Some(place.encode_v1())
    }

    fn resolve(&self, name: &str, anchor: &[u8]) -> Option<Offset> {
        let place = StickyIndex::decode_v1(anchor).ok()?;
        if let IndexScope::Relative(id) = place.scope()
            && let Some(position) =
                self.indexed_position(name, (id.client.get(), id.clock), place.assoc)
        {
            return Some(Offset::Utf16(position as usize));
        }
        let expected = format!("{TEXT_PREFIX}{name}");
        if let IndexScope::Root(root) = place.scope() {
            // yrs has no root for a text without any op, so yrs is not asked for the offset.
            let edge =
                if place.assoc == Assoc::Before { Offset::Utf16(0) } else { self.text_len(name) };
            return (**root == *expected).then_some(edge);
        }
        let offset = place.get_offset(&self.doc.transact())?;
        match offset.branch.id() {
            BranchID::Root(root) if *root == *expected => {
                Some(Offset::Utf16(offset.index as usize))
            }
            _ => None,
        }
    }
}

impl Yrs {
    /// Applies checked updates. Leaves out the registers that they change.
    fn apply_checked(&mut self, checked: &[CheckedUpdate]) -> Result<AppliedUpdates, BackendError> {
        let mut sequences = BTreeSet::new();
        let mut applied = AppliedUpdates::default();
        for CheckedUpdate { bytes, summary } in checked {
            for root in &summary.roots {
                self.declare(root);
            }
            self.marks |= summary.marks;
            self.surrogates |= summary.surrogates;
            let done = match self.rest_of(bytes, summary)? {
                Some(rest) => self.apply_bytes(&rest)?,
                None => self.apply_bytes(bytes)?,
            };
            // All dependencies of the update are here. So its ops refer to each other in a circle.
            if done.is_stuck {
                return Err(BackendError::Refused(
                    "ops that refer to each other in a circle".to_owned(),
                ));
            }
            self.index_update(bytes, summary, &mut applied.splices);
            self.check_indexes(&done.sequences, &mut applied.splices);
            applied.novel |= done.novel;
            sequences.extend(done.sequences);
            if summary.carries_deleted && done.novel {
                self.deleted.recount();
            }
        }
        applied.touched.sequences = sequences.into_iter().collect();
        Ok(applied)
    }
}

/// Whether a list contains text, which only a hostile peer writes. Such a list must not be read as
/// a list.
fn holds_text(txn: &impl ReadTxn, name: &str) -> bool {
    txn.get_text(format!("{LIST_PREFIX}{name}"))
        .is_some_and(|text| !text.get_string(txn).is_empty())
}

/// Collects the registers that a transaction changed.
#[expect(clippy::iter_over_hash_type, reason = "the caller sorts")]
fn collect(sink: &Mutex<Option<Vec<RegisterTouch>>>, txn: &TransactionMut<'_>, event: &MapEvent) {
    let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(sink) = sink.as_mut() else { return };
    for (key, change) in event.keys(txn) {
        let (old, new) = match change {
            EntryChange::Inserted(new) => (None, Some(from_out(new))),
            EntryChange::Updated(old, new) => (Some(from_out(old)), Some(from_out(new))),
            EntryChange::Removed(old) => (Some(from_out(old)), None),
        };
        sink.push(RegisterTouch { key: key.clone(), old, new, own: false });
    }
}

/// Ends a committed transaction: counts its deletions and returns the sequences that it changed.
fn finish(deleted: &Deleted, txn: TransactionMut<'_>) -> Vec<(SequenceKind, Arc<str>)> {
    deleted.add(txn.delete_set());
    let sequences = txn.changed_parent_types().iter().filter_map(|branch| match branch.id() {
        BranchID::Root(name) => sequence_of(&name),
        BranchID::Nested(_) => None,
    });
    sequences.collect()
}

/// The name of the root of a sequence.
fn root_of(kind: SequenceKind, name: &str) -> String {
    let prefix = match kind {
        SequenceKind::Text => TEXT_PREFIX,
        SequenceKind::List => LIST_PREFIX,
    };
    format!("{prefix}{name}")
}

fn sequence_of(root: &str) -> Option<(SequenceKind, Arc<str>)> {
    let text = root.strip_prefix(TEXT_PREFIX).map(|name| (SequenceKind::Text, Arc::from(name)));
    text.or_else(|| {
        root.strip_prefix(LIST_PREFIX).map(|name| (SequenceKind::List, Arc::from(name)))
    })
}
