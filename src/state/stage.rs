//! A change before it is committed: its ops so far, and the view after them.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::document::ReplicaId;
use crate::document::backend::BackendError;
use crate::document::digest::Canonical;
use crate::document::keeper::KeepError;
use crate::document::key::{self, Key};
use crate::document::ops::{ListEdits, ListSplice, Ops, RegisterWrite, SequenceKind, SequenceOp};
use crate::document::replica::List;
use crate::document::rope::Rope;
use crate::document::source::Source;
use crate::document::value::Value;

use super::at::{DEPTH_MAX, is_shown};
use super::dynamic::TypeRef;
use super::position::Stamp;
use super::savepoint::{Mark, UndoLog};
use super::violation::{Violation, Violations};
use super::{At, Edit, ElementId, Mend, Refresh, State, Writer};

/// The reason why an edit in a change cannot be made. If the closure of the change returns it,
/// nothing of the change is applied.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// There is no value at this path.
    #[error("{path}: there is nothing here")]
    NotFound {
        /// The path.
        path: String,
    },
    /// A position or range lies beyond the end.
    #[error("{path}: {start}..{end} is not within the length {len}")]
    OutOfRange {
        /// The path.
        path: String,
        /// The start of the range, in elements (texts: Unicode scalar values).
        start: usize,
        /// The end of the range.
        end: usize,
        /// The length.
        len: usize,
    },
    /// A value does not fit the schema of a state whose type is known at run time: see
    /// [`Dynamic`](crate::Dynamic).
    #[error("{}", misfits.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Misfit {
        /// The places that do not fit, with what the schema expects and what was found there.
        misfits: Vec<Violation>,
    },
    /// The value cannot be written.
    #[error("{path}: {reason}")]
    Invalid {
        /// The path.
        path: String,
        /// The reason.
        reason: String,
    },
    /// The closure refused the change for its own reason: see [`ChangeError::refuse`].
    #[error("refused: {0}")]
    Refused(Arc<dyn std::error::Error + Send + Sync>),
    /// A value that the change relied on has changed in the meantime: see
    /// [`Transaction::relies_on`](crate::Transaction::relies_on).
    #[error("what the change relied on has changed: {}", changed.join(", "))]
    Stale {
        /// The paths that have changed since. Each path occurs once; the paths are in order. The
        /// empty path is the whole state.
        changed: Vec<String>,
    },
    /// A change was started inside a change of the same store.
    #[error("a change cannot be made inside a change of the same document")]
    Nested,
    /// The backend failed. The document is unchanged.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The document's [keeper](crate::Keeper) has no room for the change, or the document may not
    /// be changed. The document is unchanged, and the change may be made again later.
    #[error(transparent)]
    NotKept(#[from] KeepError),
}

impl ChangeError {
    /// One place that does not fit the schema.
    pub(crate) fn misfit(
        path: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        let (path, expected, found) = (path.to_owned(), expected.into(), found.into());
        Self::Misfit { misfits: vec![Violation { path, expected, found }] }
    }

    /// Whether a retry of the same change may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Stale { .. })
    }

    /// An error that a change's closure returns so that nothing of the change is applied. The
    /// reason is a text or another error, as in `input.parse().map_err(ChangeError::refuse)?`.
    pub fn refuse(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Refused(Arc::from(reason.into()))
    }

    /// The error that was given to [`ChangeError::refuse`], if it is of this type.
    #[must_use]
    pub fn refusal<E: std::error::Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Refused(reason) => reason.downcast_ref(),
            _ => None,
        }
    }
}

/// The ops of a change and the content of the sequences that the change edits. It reads as the
/// document would read after the change.
pub(crate) struct StageCore<'d> {
    document: &'d dyn Source,
    /// The register of the document that was read last. A write reads its register twice.
    read: RefCell<Option<(Key, Option<Value>)>>,
    pub(crate) ops: Ops,
    pub(crate) texts: BTreeMap<Key, Rope>,
    pub(crate) lists: BTreeMap<Key, List>,
    replica: ReplicaId,
    next_element: &'d AtomicU64,
    /// The paths that the view must read again, in the order of the writes.
    touched: Vec<Key>,
    /// The edits of the lists in `touched`.
    list_edits: BTreeMap<Key, ListEdits>,
    /// How many ops were staged so far.
    edits: u64,
    /// The first error: a value that could not be written.
    failed: Option<ChangeError>,
    pub(crate) undo_log: UndoLog,
    /// Whether a write is in progress. It stays true if a panic interrupted the write.
    writing: bool,
    /// Whether the written value is an earlier state of this document. New elements then get the
    /// ids that they had in that state.
    pub(crate) restores_ids: bool,
    /// `Some` while values that do not fit are mended: the registers that still must be written or
    /// removed.
    misfits: Option<BTreeSet<Key>>,
    /// Whether the change is an undo, see [`Stage::raw`].
    raw: bool,
    /// The type of the state, if only a schema knows it.
    ty: Option<TypeRef<'d>>,
    /// Whether a value is written for its hash alone.
    pub(crate) is_hash: bool,
}

impl<'d> StageCore<'d> {
    fn new(document: &'d dyn Source, replica: ReplicaId, next_element: &'d AtomicU64) -> Self {
        Self {
            document,
            read: RefCell::default(),
            ops: Ops::default(),
            texts: BTreeMap::new(),
            lists: BTreeMap::new(),
            replica,
            next_element,
            touched: Vec::new(),
            list_edits: BTreeMap::new(),
            edits: 0,
            failed: None,
            undo_log: UndoLog::default(),
            writing: false,
            restores_ids: false,
            misfits: None,
            raw: false,
            ty: None,
            is_hash: false,
        }
    }

    pub(crate) fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// The type of the state, if only a schema knows it.
    pub(crate) fn ty(&self) -> Option<TypeRef<'d>> {
        self.ty
    }

    /// How many ops were staged so far. A caller compares two counts to see whether a write did
    /// anything.
    pub(crate) fn edits(&self) -> u64 {
        self.edits
    }

    /// Whether values that do not fit must be mended.
    pub(crate) fn mends(&self) -> bool {
        self.misfits.is_some()
    }

    /// Whether the register at a path does not fit and must be mended.
    pub(crate) fn is_misfit(&self, path: &str) -> bool {
        self.misfits.as_ref().is_some_and(|misfits| misfits.contains(key::lookup(&path)))
    }

    /// Removes the registers that do not fit and were not overwritten. They cannot be shown.
    fn remove_misfits(&mut self) {
        for key in self.misfits.take().unwrap_or_default() {
            Writer::new(self, key.as_str()).clear();
        }
    }

    /// Fails if the view would not show what is written at a path: see [`DEPTH_MAX`].
    fn check_depth(&mut self, path: &str) {
        // An undo brings back what was there, also what another program wrote.
        if !self.raw && !is_shown(path) {
            let reason = format!("more than {DEPTH_MAX} names lie within each other");
            self.fail(ChangeError::Invalid { path: path.to_owned(), reason });
        }
    }

    fn touch(&mut self, key: &Key) {
        if let Some(misfits) = &mut self.misfits {
            misfits.remove(key);
        }
        self.edits += 1;
        self.touched.push(key.clone());
    }

    /// Makes an enum's register name a variant.
    pub(crate) fn name_variant(&mut self, path: &str, name: &str) {
        if !matches!(self.register(path), Some(Value::Str(found)) if *found == *name) {
            self.put(path, Some(Value::str(name)));
        }
    }

    /// A register of the document.
    fn read(&self, path: &str) -> Option<Value> {
        let mut read = self.read.borrow_mut();
        if let Some((key, value)) = &*read
            && *key.as_str() == *path
        {
            return value.clone();
        }
        let value = self.document.register(path);
        *read = Some((Key::from(path), value.clone()));
        value
    }

    pub(crate) fn put(&mut self, path: &str, value: Option<Value>) {
        self.put_unless(path, value, &|_| false);
    }

    /// Writes a register, unless it holds this value or a value that is `alike`.
    pub(crate) fn put_unless(
        &mut self,
        path: &str,
        value: Option<Value>,
        alike: &dyn Fn(&Value) -> bool,
    ) {
        if value.is_some() {
            self.check_depth(path);
        }
        let stands = |found: &Option<Value>| *found == value || found.as_ref().is_some_and(alike);
        // If the register already holds the value, a write would still conflict with the writes of
        // other replicas, on yrs but not on automerge.
        let Some(staged) = self.ops.registers.get(key::lookup(&path)) else {
            let old = self.read(path);
            if !stands(&old) {
                let read = self.read.take().map(|(key, _)| key);
                let key = read.unwrap_or_else(|| Key::from(path));
                self.touch(&key);
                self.note_register(&key);
                self.ops.registers.insert(key, RegisterWrite { old, new: value });
            }
            return;
        };
        if stands(&staged.new) {
            return;
        }
        let old = staged.old.clone();
        let key = Key::from(path);
        self.touch(&key);
        self.note_register(&key);
        if stands(&old) {
            self.ops.registers.remove(&key);
        } else {
            self.ops.registers.insert(key, RegisterWrite { old, new: value });
        }
    }

    pub(crate) fn edit_text(&mut self, path: &str, text: Rope, op: SequenceOp) {
        if !matches!(op, SequenceOp::Clear { .. }) {
            self.check_depth(path);
        }
        let key = Key::from(path);
        self.touch(&key);
        self.note_text(&key);
        self.texts.insert(key, text);
        self.push(op);
    }

    pub(crate) fn edit_list(&mut self, path: &str, list: List, op: SequenceOp) {
        if !matches!(op, SequenceOp::Clear { .. }) {
            self.check_depth(path);
        }
        let key = Key::from(path);
        self.touch(&key);
        self.note_list(&key);
        self.note_splice(&key, &op);
        self.lists.insert(key, list);
        self.push(op);
    }

    fn note_splice(&mut self, key: &Key, op: &SequenceOp) {
        let before = self.list(key.as_str());
        let splice = match op {
            SequenceOp::List { at, delete, insert, .. } => {
                ListSplice { at: *at, delete: *delete, insert: insert.clone() }
            }
            _ => ListSplice { at: 0, delete: before.len(), insert: Vec::new() },
        };
        let edits = self.list_edits.entry(key.clone());
        edits.or_insert_with(|| ListEdits { before, splices: Vec::new() }).splices.push(splice);
    }

    fn push(&mut self, op: SequenceOp) {
        match self.may_merge() {
            true => self.ops.push(op),
            false => self.ops.sequences.push(op),
        }
    }

    pub(crate) fn clear_sequence(&mut self, kind: SequenceKind, name: &Arc<str>) {
        let op = SequenceOp::Clear { name: name.clone(), kind };
        match kind {
            SequenceKind::Text => self.edit_text(name, Rope::new(), op),
            SequenceKind::List => self.edit_list(name, List::new(), op),
        }
    }

    /// The value that a register had before the change.
    pub(crate) fn original(&self, path: &str) -> Option<Value> {
        match self.ops.registers.get(key::lookup(&path)) {
            Some(staged) => staged.old.clone(),
            None => self.read(path),
        }
    }

    /// Drops the edits of every sequence that ends with the content it has in the document:
    /// characters typed and deleted, elements pushed and popped, content replaced by itself. Only
    /// sequences whose edits may cancel out are compared. The comparison costs O(differences).
    fn drop_cancelled_sequences(&mut self) {
        if self.raw {
            return;
        }
        let document = self.document;
        let texts = &mut self.texts;
        let lists = &mut self.lists;
        let idle: BTreeSet<(Key, SequenceKind)> = self
            .ops
            .may_cancel_out()
            .into_iter()
            .filter(|(name, kind)| match kind {
                SequenceKind::Text => {
                    texts.get(name).is_some_and(|text| *text == document.text(name.as_str()))
                }
                SequenceKind::List => {
                    lists.get(name).is_some_and(|list| *list == document.list(name.as_str()))
                }
            })
            .collect();
        for (name, kind) in &idle {
            match kind {
                SequenceKind::Text => drop(texts.remove(name)),
                SequenceKind::List => drop(lists.remove(name)),
            }
        }
        self.ops.drop_sequences(&idle);
    }

    pub(crate) fn new_element(&mut self) -> ElementId {
        let Stamp { replica, number } = self.stamp();
        ElementId::new(replica, number)
    }

    /// A stamp for a position. Elements and positions share their numbers, so the stamp of a new
    /// element also serves for its position.
    pub(crate) fn stamp(&mut self) -> Stamp {
        // The writer lock orders them.
        let number = self.next_element.fetch_add(1, Ordering::Relaxed);
        Stamp { replica: self.replica, number }
    }

    /// Notes that a value cannot be written. The change then fails with this error.
    pub(crate) fn fail(&mut self, error: ChangeError) {
        self.failed.get_or_insert(error);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure().is_some()
    }

    /// The reason why the change must not be committed.
    fn failure(&self) -> Option<ChangeError> {
        let broken_off = || ChangeError::Invalid {
            path: String::new(),
            reason: "a panic broke a write off".to_owned(),
        };
        self.failed.clone().or_else(|| self.writing.then(broken_off))
    }

    pub(crate) fn forget_failure(&mut self) {
        (self.failed, self.writing, self.misfits) = (None, false, None);
        self.touched.clear();
        self.list_edits.clear();
    }
}

impl Source for StageCore<'_> {
    fn register(&self, path: &str) -> Option<Value> {
        match self.ops.registers.get(key::lookup(&path)) {
            Some(staged) => staged.new.clone(),
            None => self.read(path),
        }
    }

    fn scan(&self, prefix: &str) -> Vec<(Key, Value)> {
        let staged = self.ops.registers.range(Key::from(prefix)..);
        let staged: Vec<_> =
            staged.take_while(|(found, _)| key::is_within(found.as_str(), prefix)).collect();
        let found = self.document.scan(prefix);
        if staged.is_empty() {
            return found;
        }
        let mut merged: BTreeMap<Key, Value> = found.into_iter().collect();
        for (key, write) in staged {
            match &write.new {
                Some(value) => drop(merged.insert(key.clone(), value.clone())),
                None => drop(merged.remove(key)),
            }
        }
        merged.into_iter().collect()
    }

    fn text(&self, path: &str) -> Rope {
        self.texts.get(key::lookup(&path)).cloned().unwrap_or_else(|| self.document.text(path))
    }

    fn list(&self, path: &str) -> List {
        self.lists.get(key::lookup(&path)).cloned().unwrap_or_else(|| self.document.list(path))
    }

    fn list_edits(&self, path: &str) -> Option<&ListEdits> {
        self.list_edits.get(key::lookup(&path))
    }

    fn sequences(&self, prefix: &str) -> Vec<(SequenceKind, Key)> {
        let mut found: BTreeSet<(SequenceKind, Key)> =
            self.document.sequences(prefix).into_iter().collect();
        let is_within = |name: &Key| key::is_within(name.as_str(), prefix);
        let from = Key::from(prefix);
        for (name, text) in self.texts.range(from.clone()..).take_while(|(name, _)| is_within(name))
        {
            let entry = (SequenceKind::Text, name.clone());
            let _ = if text.is_empty() { found.remove(&entry) } else { found.insert(entry) };
        }
        for (name, list) in self.lists.range(from..).take_while(|(name, _)| is_within(name)) {
            let entry = (SequenceKind::List, name.clone());
            let _ = if list.is_empty() { found.remove(&entry) } else { found.insert(entry) };
        }
        found.into_iter().collect()
    }
}

/// A hash of the form in which a value is written. It is equal for values with the same written
/// form, whatever ids their elements have.
pub(crate) fn fingerprint<T: State>(value: &T) -> u128 {
    hash_of(value, false)
}

/// A hash of a value's content, including the ids of its elements.
pub(crate) fn content<T: State>(value: &T) -> u128 {
    hash_of(value, true)
}

fn hash_of<T: State>(value: &T, with_ids: bool) -> u128 {
    let next_element = AtomicU64::new(0);
    let mut core = StageCore::new(&Nothing, ReplicaId::from_bits(0), &next_element);
    (core.restores_ids, core.is_hash) = (with_ids, true);
    Writer::new(&mut core, "").write_slot(value);
    let mut canonical = Canonical::new();
    for (key, write) in &core.ops.registers {
        canonical.bytes(0, key.as_str().as_bytes());
        write.new.iter().for_each(|value| canonical.value(value));
    }
    for (name, text) in &core.texts {
        canonical.bytes(1, name.as_str().as_bytes());
        text.digest().into_iter().for_each(|lane| canonical.number(lane));
    }
    for (name, list) in &core.lists {
        canonical.bytes(2, name.as_str().as_bytes());
        list.iter().for_each(|value| canonical.value(value));
    }
    canonical.finish()
}

/// The registers that a value writes to a place that holds nothing, by their paths below it. Of a
/// value that cannot be written there are none.
pub(crate) fn written_registers<T: State>(value: &T) -> Vec<(String, Value)> {
    let next_element = AtomicU64::new(0);
    let mut core = StageCore::new(&Nothing, ReplicaId::from_bits(0), &next_element);
    value.write(None, &mut Writer::new(&mut core, ""));
    let written = core.ops.registers.into_iter();
    written.filter_map(|(key, write)| Some((key.as_str().to_owned(), write.new?))).collect()
}

/// An empty document.
pub(crate) struct Nothing;

impl Source for Nothing {
    fn register(&self, _path: &str) -> Option<Value> {
        None
    }
    fn scan(&self, _prefix: &str) -> Vec<(Key, Value)> {
        Vec::new()
    }
    fn text(&self, _path: &str) -> Rope {
        Rope::new()
    }
    fn list(&self, _path: &str) -> List {
        List::new()
    }
    fn sequences(&self, _prefix: &str) -> Vec<(SequenceKind, Key)> {
        Vec::new()
    }
}

/// A change of the state `S` while its closure runs.
pub struct Stage<'d, S> {
    core: RefCell<StageCore<'d>>,
    view: RefCell<S>,
    violations: RefCell<Violations>,
    /// The states to which the open savepoints go back, the innermost last.
    saved: RefCell<Vec<(Mark, S, Violations)>>,
    /// The type of the state, if only a schema knows it.
    ty: Option<TypeRef<'d>>,
}

/// The result of a stage when its closure has returned.
pub(crate) struct Staged<S> {
    pub(crate) view: S,
    pub(crate) violations: Violations,
    pub(crate) ops: Ops,
    pub(crate) texts: BTreeMap<Key, Rope>,
    pub(crate) lists: BTreeMap<Key, List>,
    /// A write that failed half-way. The change must not be committed, even if its closure ignored
    /// the error.
    pub(crate) failed: Option<ChangeError>,
}

impl<'d, S: State> Stage<'d, S> {
    pub(crate) fn new(
        document: &'d dyn Source,
        view: S,
        violations: Violations,
        replica: ReplicaId,
        next_element: &'d AtomicU64,
        ty: Option<TypeRef<'d>>,
    ) -> Self {
        let mut core = StageCore::new(document, replica, next_element);
        core.ty = ty;
        Self {
            core: RefCell::new(core),
            view: RefCell::new(view),
            violations: RefCell::new(violations),
            saved: RefCell::default(),
            ty,
        }
    }

    /// The state after the staged ops.
    pub(crate) fn view(&self) -> S {
        self.view.borrow().clone()
    }

    /// The accessor of the whole state.
    pub(crate) fn root(&self) -> S::Node<Edit<'_>> {
        S::node(Edit::root(self))
    }

    /// Stages the fewest ops that turn the state into `new`.
    pub(crate) fn reconcile(&self, new: &S, mend: Mend) -> Result<(), ChangeError> {
        let old = self.view.borrow().clone();
        self.write("", mend, &mut |writer| old.reconcile(new, writer))
    }

    /// Stages the fewest ops that turn the state into an earlier state of this document. Elements
    /// that were removed come back with their ids.
    pub(crate) fn restore(&self, earlier: &S) -> Result<(), ChangeError> {
        self.core.borrow_mut().restores_ids = true;
        self.reconcile(earlier, Mend::Leave)
    }

    /// Writes registers and sequences directly, without the types. An undo is written even if the
    /// content stays the same: the undo inserts other characters than those that it deletes, and
    /// later undos refer to them.
    pub(crate) fn raw(&self, edit: &mut dyn FnMut(&mut Writer<'_, '_>)) -> Result<(), ChangeError> {
        self.core.borrow_mut().raw = true;
        self.write("", Mend::Leave, edit)
    }

    /// Whether anything was staged.
    pub(crate) fn has_ops(&self) -> bool {
        !self.core.borrow().ops.is_empty()
    }

    pub(crate) fn finish(self) -> Staged<S> {
        let mut core = self.core.into_inner();
        core.drop_cancelled_sequences();
        let failed = core.failure();
        Staged {
            view: self.view.into_inner(),
            violations: self.violations.into_inner(),
            ops: core.ops,
            texts: core.texts,
            lists: core.lists,
            failed,
        }
    }
}

/// The operations of a stage that an accessor needs; they are independent of the state's type.
pub(crate) trait StageAccess {
    /// Calls `look` with the staged value at a path, if there is one.
    fn look(&self, path: &str, look: &mut dyn FnMut(&dyn Any));
    /// Writes, and then reads the touched paths again into the staged view.
    fn write(
        &self,
        path: &str,
        mend: Mend,
        write: &mut dyn FnMut(&mut Writer<'_, '_>),
    ) -> Result<(), ChangeError>;
    /// Opens a savepoint.
    fn save(&self);
    /// Closes the innermost savepoint. Either keeps the edits since it was opened, or takes them
    /// back.
    fn close(&self, keep: bool);
    /// The first error: a value that could not be written.
    fn failure(&self) -> Option<ChangeError>;
    /// The type of the state, if only a schema knows it.
    fn ty(&self) -> Option<TypeRef<'_>>;
}

impl<S: State> StageAccess for Stage<'_, S> {
    fn look(&self, path: &str, look: &mut dyn FnMut(&dyn Any)) {
        if let Some(value) = self.view.borrow().locate(At::start(path)) {
            look(value);
        }
    }

    fn write(
        &self,
        path: &str,
        mend: Mend,
        write: &mut dyn FnMut(&mut Writer<'_, '_>),
    ) -> Result<(), ChangeError> {
        let mut core = self.core.borrow_mut();
        if let Some(error) = core.failure() {
            return Err(error);
        }
        core.writing = true;
        core.misfits = (mend == Mend::Reset).then(|| self.violations.borrow().registers(path));
        write(&mut Writer::new(&mut core, path));
        core.remove_misfits();
        if let Some(error) = &core.failed {
            return Err(error.clone());
        }
        let mut touched = std::mem::take(&mut core.touched);
        touched.sort();
        touched.dedup();
        let mut view = self.view.borrow_mut();
        let mut violations = self.violations.borrow_mut();
        let mut refresh = Refresh::new(&*core, &mut violations, core.ty);
        touched.iter().for_each(|path| refresh.touch(&mut *view, path.as_str()));
        core.list_edits.clear();
        core.writing = false;
        Ok(())
    }

    fn save(&self) {
        let mark = self.core.borrow_mut().save();
        let violations = self.violations.borrow().clone();
        self.saved.borrow_mut().push((mark, self.view(), violations));
    }

    fn close(&self, keep: bool) {
        let Some((mark, view, violations)) = self.saved.borrow_mut().pop() else { return };
        let mut core = self.core.borrow_mut();
        if keep {
            return core.release(&mark);
        }
        core.roll_back(&mark);
        self.view.replace(view);
        self.violations.replace(violations);
    }

    fn failure(&self) -> Option<ChangeError> {
        self.core.borrow().failure()
    }

    fn ty(&self) -> Option<TypeRef<'_>> {
        self.ty
    }
}
