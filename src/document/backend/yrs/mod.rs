//! The yrs backend.
//!
//! - All registers are in one root map, `state`. A map key costs O(1) at any size of the map.
//! - Each sequence is one root type: `T:path` for a text, `L:path` for a list. Root types are found
//!   by name, so two replicas share them without having exchanged anything.

mod cut;
mod deleted;
mod op_roots;
mod seen;
mod values;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use yrs::types::map::MapEvent;
use yrs::types::{Attrs, EntryChange};
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{
    Any, Array, ArrayRef, Assoc, BranchID, ClientID, Doc, GetString, IndexScope, IndexedSequence,
    Map, MapRef, Observable, OffsetKind, Options, Out, ReadTxn, StateVector, StickyIndex, Text,
    TextRef, Transact, TransactionMut, Update,
};

use super::{Backend, BackendError, Contradiction, LIST_PREFIX, Offset, TEXT_PREFIX, sealed};
use crate::document::ReplicaId;
use crate::document::guard::yrs_update::{self, Block, Content, Visitor};
use crate::document::key::Key;
use crate::document::limits::Limits;
use crate::document::named;
use crate::document::ops::{
    Ops, RegisterTouch, RegisterWrite, SequenceKind, SequenceOp, Touched, Units,
};
use crate::document::rope::{Marks, utf16_len};
use crate::document::value::Value;
use crate::document::version::Version;
use deleted::Deleted;
use op_roots::OpRoots;
use values::{from_out, marks_of, to_any};

/// The root map of all registers.
const REGISTERS: &str = "state";
const OBSERVER: &str = "exostate";
/// The most bytes of own updates in `Yrs::unindexed`. With more bytes, a commit also adds their ops
/// to `Yrs::op_roots`.
const UNINDEXED_BYTES_MAX: usize = 64 * 1024;
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
    /// The root of each op, except for the ops in `unindexed`.
    op_roots: OpRoots,
    /// Own updates whose ops are not in `op_roots` yet.
    unindexed: Vec<Vec<u8>>,
    unindexed_bytes: usize,
}

impl sealed::Sealed for Yrs {}

/// A checked update: its bytes, the ops that it brings and the ops that it depends on.
pub struct CheckedUpdate {
    bytes: Vec<u8>,
    summary: Summary,
}

/// A sequence by kind and path.
type Sequence = (SequenceKind, Arc<str>);

/// The facts about an update that the guard's walk collects.
#[derive(Default)]
struct Summary {
    roots: BTreeSet<String>,
    /// For each client, the first clock and the end of the blocks that the update brings.
    brings: BTreeMap<u64, (u32, u32)>,
    /// For each client, the end of the last hole in its section. The document must already have the
    /// ops of the hole. Otherwise yrs would keep the hole, and would lose count of it when it is
    /// filled.
    holes: BTreeMap<u64, u32>,
    /// For each client, the highest clock to which a block or a deletion refers.
    needs: BTreeMap<u64, u32>,
    /// The versions of the layout that the update writes into the document.
    layouts: Vec<u64>,
    /// Whether the update holds a mark on text.
    marks: bool,
    /// Whether the update holds text with characters of two UTF-16 code units.
    surrogates: bool,
    /// Whether the update holds blocks that were deleted before they arrived. No transaction counts
    /// their deletion.
    carries_deleted: bool,
    /// The root that the walk named last. `in_root` says whether the next block is in it.
    root: Option<Arc<str>>,
    in_root: bool,
    blocks: Vec<op_roots::Block>,
    /// If set, the walk adds the blocks to it directly instead of to `blocks`. Used for a whole
    /// document and for own updates.
    op_roots: Option<OpRoots>,
}

impl Summary {
    /// Whether a document with these clocks has all dependencies of the update.
    fn fits(&self, clock: impl Fn(u64) -> u32) -> bool {
        let gapless = self.brings.iter().all(|(client, (start, _))| clock(*client) >= *start)
            && self.holes.iter().all(|(client, end)| clock(*client) >= *end);
        gapless
            && self.needs.iter().all(|(client, needed)| {
                let brought = self.brings.get(client).map_or(0, |(_, end)| *end);
                clock(*client).max(brought) > *needed
            })
    }
}

impl Visitor for Summary {
    fn root(&mut self, name: &str) {
        self.in_root = true;
        if self.root.as_ref().is_some_and(|root| **root == *name) {
            return;
        }
        self.root = Some(Arc::from(name));
        if !self.roots.contains(name) {
            self.roots.insert(name.to_owned());
        }
    }

    fn key(&mut self, name: &str) {
        if self.in_root && self.root.as_ref().is_some_and(|root| **root == *REGISTERS) {
            self.layouts.extend(named::layout_in(name));
        }
    }

    fn block(&mut self, block: Block) {
        let Block { client, clock, len, .. } = block;
        let placed = op_roots::Block::new(
            &block,
            self.root.clone().filter(|_| std::mem::take(&mut self.in_root)),
        );
        match &mut self.op_roots {
            Some(op_roots) => op_roots.add(&placed, None),
            None => self.blocks.push(placed),
        }
        self.carries_deleted |= block.content == Content::Gone;
        let end = clock.saturating_add(len);
        let span = self.brings.entry(client).or_insert((clock, end));
        span.0 = span.0.min(clock);
        span.1 = span.1.max(end);
    }

    fn mark(&mut self) {
        self.marks = true;
    }

    fn surrogates(&mut self) {
        self.surrogates = true;
    }

    fn skip(&mut self, client: u64, clock: u32, len: u32) {
        let end = self.holes.entry(client).or_insert(0);
        *end = (*end).max(clock.saturating_add(len));
    }

    fn needs(&mut self, client: u64, clock: u32) {
        let highest = self.needs.entry(client).or_insert(clock);
        *highest = (*highest).max(clock);
    }

    fn deletes(&mut self, client: u64, clock: u32, len: u32) {
        if len > 0 {
            self.needs(client, clock.saturating_add(len - 1));
        }
    }
}

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

    /// Adds the ops of own updates to `op_roots`, or keeps the updates until an import needs their
    /// places. `inserted` are the clocks of the ops, if all of them are registers.
    fn note_own(
        &mut self,
        inserted: Option<Range<u32>>,
        updates: &[Vec<u8>],
    ) -> Result<(), BackendError> {
        match inserted {
            Some(clocks) if clocks.is_empty() => return Ok(()),
            Some(clocks) if self.unindexed.is_empty() => {
                self.op_roots.add_registers(self.doc.client_id().get(), clocks);
                return Ok(());
            }
            _ => {}
        }
        for update in updates {
            self.unindexed_bytes += update.len();
            self.unindexed.push(update.clone());
        }
        if self.unindexed_bytes > UNINDEXED_BYTES_MAX {
            self.index_own()?;
        }
        Ok(())
    }

    /// Adds the ops of the own updates in `unindexed` to `op_roots`.
    fn index_own(&mut self) -> Result<(), BackendError> {
        self.unindexed_bytes = 0;
        for update in std::mem::take(&mut self.unindexed) {
            let mut summary = Summary {
                op_roots: Some(std::mem::take(&mut self.op_roots)),
                ..Summary::default()
            };
            let walked = yrs_update::walk(&update, &Limits::own(), &mut summary);
            self.op_roots = summary.op_roots.take().unwrap_or_default();
            walked?;
        }
        Ok(())
    }

    /// The first op of these updates that must not be applied: see [`OpRoots::stray`].
    fn first_stray(&self, updates: &[CheckedUpdate]) -> Option<(u64, u32)> {
        let mut added = OpRoots::default();
        updates.iter().find_map(|CheckedUpdate { summary, .. }| {
            summary.blocks.iter().for_each(|block| added.add(block, Some(&self.op_roots)));
            added.stray(&summary.blocks, &self.op_roots)
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

    /// Applies an update. Returns the sequences that it changed and whether it brought anything
    /// new.
    fn apply_bytes(&mut self, bytes: &[u8]) -> Result<(Vec<Sequence>, bool), BackendError> {
        let update =
            Update::decode_v1(bytes).map_err(|error| BackendError::Refused(error.to_string()))?;
        let mut txn = self.doc.transact_mut();
        txn.apply_update(update).map_err(|error| BackendError::Refused(error.to_string()))?;
        txn.commit();
        let novel = !txn.insert_set().is_empty() || !txn.delete_set().is_empty();
        Ok((finish(&self.deleted, txn), novel))
    }

    fn apply_op(&self, txn: &mut TransactionMut<'_>, op: &SequenceOp) -> Result<(), BackendError> {
        let misfit = |reason: &str| BackendError::Misfit {
            place: op.target().0.to_string(),
            reason: reason.to_owned(),
        };
        let text = |name: &Arc<str>| {
            self.texts.get(name).ok_or_else(|| misfit("the text is not declared"))
        };
        let list = |name: &Arc<str>| {
            self.lists.get(name).ok_or_else(|| misfit("the list is not declared"))
        };
        match op {
            SequenceOp::Text { name, at, delete, insert, marks } => {
                let text = text(name)?;
                check_range(text.len(txn), at.utf16, delete.utf16).map_err(|e| misfit(&e))?;
                let marks = marks.as_deref().cloned().or_else(|| self.marks.then(Marks::new));
                edit_text(text, txn, (at.utf16, delete.utf16), insert, marks);
            }
            SequenceOp::Mark { name, at, len, mark, value } => {
                let text = text(name)?;
                check_range(text.len(txn), at.utf16, len.utf16).map_err(|e| misfit(&e))?;
                text.format(
                    txn,
                    clip(at.utf16),
                    clip(len.utf16),
                    Attrs::from([(mark.clone(), to_any(value))]),
                );
            }
            SequenceOp::List { name, at, delete, insert } => {
                let list = list(name)?;
                check_range(list.len(txn), *at, *delete).map_err(|e| misfit(&e))?;
                if *delete > 0 {
                    list.remove_range(txn, clip(*at), clip(*delete));
                }
                if !insert.is_empty() {
                    list.insert_range(txn, clip(*at), insert.iter().map(to_any));
                }
            }
            SequenceOp::Clear { name, kind: SequenceKind::Text } => {
                let text = text(name)?;
                let len = text.len(txn);
                text.remove_range(txn, 0, len);
            }
            SequenceOp::Clear { name, kind: SequenceKind::List } => {
                let list = list(name)?;
                let len = list.len(txn);
                list.remove_range(txn, 0, len);
            }
        }
        Ok(())
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
            unindexed: Vec::new(),
            unindexed_bytes: 0,
        }
    }

    fn load(replica: ReplicaId, bytes: &[u8], limits: &Limits) -> Result<Self, BackendError> {
        let mut summary = Summary { op_roots: Some(OpRoots::default()), ..Summary::default() };
        yrs_update::walk(bytes, limits, &mut summary)?;
        OpRoots::default().welcome(summary.brings.keys().copied(), limits)?;
        let mut this = Self::empty(replica);
        this.op_roots = summary.op_roots.take().unwrap_or_default();
        for root in &summary.roots {
            this.declare(root);
        }
        this.apply_bytes(bytes)?;
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
        let mut txn = self.doc.transact_mut();
        for (key, write) in &ops.registers {
            match &write.new {
                Some(value) => {
                    self.registers.insert(&mut txn, key.0.clone(), to_any(value));
                }
                None => {
                    self.registers.remove(&mut txn, key.as_str());
                }
            }
        }
        for op in &ops.sequences {
            self.apply_op(&mut txn, op)?;
        }
        txn.commit();
        let update = txn.encode_update_v1();
        let registers = self.written(&txn, ops);
        let inserted = inserted_registers(&txn, self.doc.client_id(), ops);
        let sequences = finish(&self.deleted, txn);
        let updates = cut::cut(update)?;
        self.note_own(inserted, &updates)?;
        Ok((Touched { registers, sequences }, updates))
    }

    fn unpack(&self, update: &[u8], limits: &Limits) -> Result<Vec<CheckedUpdate>, BackendError> {
        let mut summary = Summary::default();
        yrs_update::walk(update, limits, &mut summary)?;
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
        self.index_own()?;
        self.op_roots.welcome(
            ready.iter().flat_map(|update| update.summary.brings.keys().copied()),
            limits,
        )?;
        let stray = match ready {
            [CheckedUpdate { summary: Summary { blocks, .. }, .. }] if blocks.len() == 1 => {
                blocks.first().and_then(|block| self.op_roots.lone_stray(block))
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
    ) -> Result<(Touched, bool), BackendError> {
        self.collect_changed(registers.then(Vec::new));
        let applied = self.apply_checked(checked);
        let registers = self.collect_changed(None);
        let (sequences, novel) = applied?;
        Ok((Touched { registers, sequences }, novel))
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

    fn text_len(&self, name: &str) -> Offset {
        Offset::Utf16(
            self.texts.get(name).map_or(0, |text| text.len(&self.doc.transact()) as usize),
        )
    }

    fn list_len(&self, name: &str) -> usize {
        self.lists.get(name).map_or(0, |list| list.len(&self.doc.transact()) as usize)
    }

    fn anchor(&mut self, name: &str, at: Units, before: bool) -> Option<Vec<u8>> {
        let assoc = if before { Assoc::Before } else { Assoc::After };
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
    /// Applies checked updates. Returns the sequences that they changed and whether they brought
    /// anything new.
    fn apply_checked(
        &mut self,
        checked: &[CheckedUpdate],
    ) -> Result<(Vec<Sequence>, bool), BackendError> {
        let mut sequences = BTreeSet::new();
        let mut novel = false;
        for CheckedUpdate { bytes, summary } in checked {
            for root in &summary.roots {
                self.declare(root);
            }
            self.marks |= summary.marks;
            self.surrogates |= summary.surrogates;
            let (touched, new) = match self.rest_of(bytes, summary)? {
                Some(rest) => self.apply_bytes(&rest)?,
                None => self.apply_bytes(bytes)?,
            };
            summary.blocks.iter().for_each(|block| self.op_roots.add(block, None));
            novel |= new;
            sequences.extend(touched);
            if summary.carries_deleted && new {
                self.deleted.recount();
            }
        }
        Ok((sequences.into_iter().collect(), novel))
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

/// The clocks of the ops that a committed change inserted, if it edited no sequence. Then all its
/// ops are registers. A change that only removes registers inserts no op.
fn inserted_registers(txn: &TransactionMut<'_>, client: ClientID, ops: &Ops) -> Option<Range<u32>> {
    if !ops.sequences.is_empty() {
        return None;
    }
    let Some(inserted) = txn.insert_set().get(&client) else { return Some(0..0) };
    let mut ranges = inserted.iter();
    let (range, ()) = ranges.next()?;
    ranges.next().is_none().then(|| range.clone())
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

fn sequence_of(root: &str) -> Option<(SequenceKind, Arc<str>)> {
    let text = root.strip_prefix(TEXT_PREFIX).map(|name| (SequenceKind::Text, Arc::from(name)));
    text.or_else(|| {
        root.strip_prefix(LIST_PREFIX).map(|name| (SequenceKind::List, Arc::from(name)))
    })
}

/// Deletes, then inserts text with exactly these marks. `None` is allowed only if no text has
/// marks, because a plain insertion inherits the marks at its position.
fn edit_text(
    text: &TextRef,
    txn: &mut TransactionMut<'_>,
    (at, delete): (usize, usize),
    insert: &str,
    marks: Option<Marks>,
) {
    if delete > 0 {
        text.remove_range(txn, clip(at), clip(delete));
    }
    if insert.is_empty() {
        return;
    }
    match marks {
        None => text.insert(txn, clip(at), insert),
        Some(marks) => {
            let attributes =
                marks.iter().map(|(name, value)| (name.clone(), to_any(value))).collect();
            text.insert_with_attributes(txn, clip(at), insert, attributes);
        }
    }
}

fn check_range(len: u32, at: usize, count: usize) -> Result<(), String> {
    match at.checked_add(count) {
        Some(end) if end <= len as usize => Ok(()),
        _ => Err(format!("{at}+{count} is beyond its length {len}")),
    }
}

/// A position as the `u32` of yrs. The caller has checked the position against a `u32` length.
fn clip(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
