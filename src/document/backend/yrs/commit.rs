//! Local commits.
//!
//! yrs walks through a sequence to find the place of an edit. Where an index of the sequence knows
//! the place, the edit is encoded as an update and applied to yrs, which then only looks up the two
//! ops beside it. Everything else goes through the calls of yrs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use yrs::types::Attrs;
use yrs::updates::decoder::Decode;
use yrs::{Array, Map, ReadTxn, Text, TextRef, TransactionMut, Update};

use super::sequence_index::SequenceIndex;
use super::sequence_index::encode::{self, Inserted};
use super::summary::Summary;
use super::values::to_any;
use super::{REGISTERS, Yrs, cut, finish};
use crate::document::backend::{Backend, BackendError};
use crate::document::guard::yrs_update::Content;
use crate::document::limits::Limits;
use crate::document::ops::{Ops, SequenceKind, SequenceOp, Touched};
use crate::document::rope::Marks;

/// The ops that this replica adds in a commit.
struct OwnOps {
    client: u64,
    /// The clock of the next op.
    clock: u32,
}

impl Yrs {
    /// Applies a change whose sequences are declared.
    pub(super) fn commit_declared(
        &mut self,
        ops: &Ops,
    ) -> Result<(Touched, Vec<Vec<u8>>), BackendError> {
        let client = self.doc.client_id();
        let start = self.op_roots.end(client.get());
        if self.is_id_full() {
            return Err(BackendError::Refused(format!(
                "the replica id {client} has {start} ops, and no replica takes many more"
            )));
        }
        let mut own = OwnOps { client: client.get(), clock: start };
        let doc = self.doc.clone();
        let mut txn = yrs::Transact::transact_mut(&doc);
        self.write_registers(&mut txn, ops, &mut own);
        // The edits that go through the calls of yrs, and their sequences. Later edits of these
        // sequences go that way too.
        let mut walked = Vec::new();
        let mut walked_targets = BTreeSet::new();
        let mut updates = Vec::new();
        for op in &ops.sequences {
            let is_walked = walked_targets.contains(&op.target());
            let number = if is_walked { None } else { self.indexed(&txn, op) };
            match number {
                Some(number) => updates.extend(self.apply_indexed(&mut txn, number, op, &mut own)?),
                None => {
                    walked_targets.insert(op.target());
                    walked.push(op);
                }
            }
        }
        for op in &walked {
            self.apply_op(&mut txn, op)?;
        }
        txn.commit();
        check_clock(&txn, start, &own, walked.is_empty())?;
        // The update of a single edit is the update of the change.
        let update = match updates.pop().filter(|_| ops.len() == 1) {
            Some(update) => update,
            None => txn.encode_update_v1(),
        };
        let registers = self.written(&txn, ops);
        let sequences = finish(&self.deleted, txn);
        let updates = cut::cut(update)?;
        if !walked.is_empty() {
            self.index_own(&updates)?;
        }
        Ok((Touched { registers, sequences, ..Touched::default() }, updates))
    }

    fn write_registers(&mut self, txn: &mut TransactionMut<'_>, ops: &Ops, own: &mut OwnOps) {
        let start = own.clock;
        for (key, write) in &ops.registers {
            match &write.new {
                Some(value) => {
                    self.registers.insert(txn, key.0.clone(), to_any(value));
                    own.clock += 1;
                }
                None => {
                    self.registers.remove(txn, key.as_str());
                }
            }
        }
        self.op_roots.add_own(own.client, start..own.clock, REGISTERS);
    }

    /// The number of the root of a sequence, if an index of the sequence can encode this edit.
    fn indexed(&mut self, txn: &impl ReadTxn, op: &SequenceOp) -> Option<u32> {
        let (name, kind) = op.target();
        let len = self.len_of(txn, kind, name);
        let number = self.number(kind, name);
        let index = self.indexes.ready(number)?;
        if index.visible() != len {
            self.indexes.give_up(number);
            return None;
        }
        is_indexed(index, op).then_some(number)
    }

    /// Applies an edit that is encoded from the index of its sequence. Returns the update, unless
    /// the edit does nothing. `number` is the number of the root.
    fn apply_indexed(
        &mut self,
        txn: &mut TransactionMut<'_>,
        number: u32,
        op: &SequenceOp,
        own: &mut OwnOps,
    ) -> Result<Option<Vec<u8>>, BackendError> {
        let misfit =
            |reason: String| BackendError::Misfit { place: op.target().0.to_string(), reason };
        let root = self.op_roots.name(number).cloned();
        let root = root.ok_or_else(|| misfit("the sequence has no root".to_owned()))?;
        let index = self.indexes.ready(number);
        let index = index.ok_or_else(|| misfit("the sequence has no index".to_owned()))?;
        let (at, delete, insert) = match op {
            SequenceOp::Text { at, delete, insert, .. } => {
                let insert = (!insert.is_empty()).then_some(Inserted::Text(insert));
                (at.utf16, delete.utf16, insert)
            }
            SequenceOp::List { at, delete, insert, .. } => {
                (*at, *delete, (!insert.is_empty()).then_some(Inserted::Values(insert)))
            }
            SequenceOp::Clear { .. } => (0, index.visible() as usize, None),
            SequenceOp::Mark { .. } => return Err(misfit("a mark without a walk".to_owned())),
        };
        check_range(index.visible(), at, delete).map_err(misfit)?;
        let deleted = index.delete_at(clip(at), clip(delete));
        let span = insert.map(|insert| {
            let (len, content) = match insert {
                Inserted::Text(text) => (clip(text.encode_utf16().count()), Content::Text),
                Inserted::Values(values) => (clip(values.len()), Content::Values),
            };
            (index.insert_at(clip(at), (own.client, own.clock), len, content), insert)
        });
        if span.is_none() && deleted.is_empty() {
            return Ok(None);
        }
        let bytes = encode::update(&root, span.as_ref().map(|(span, at)| (span, *at)), &deleted);
        let refused = |error: &dyn std::fmt::Display| BackendError::Refused(error.to_string());
        let update = Update::decode_v1(&bytes).map_err(|error| refused(&error))?;
        txn.apply_update(update).map_err(|error| refused(&error))?;
        let start = own.clock;
        own.clock += span.map_or(0, |(span, _)| span.len);
        self.op_roots.add_own(own.client, start..own.clock, &root);
        self.indexes.note_edit(number);
        Ok(Some(bytes))
    }

    /// Brings roots and indexes up to date with own updates that yrs has encoded.
    fn index_own(&mut self, updates: &[Vec<u8>]) -> Result<(), BackendError> {
        for update in updates {
            let summary = Summary::of(update, &Limits::own())?;
            self.index_update(update, &summary, &mut BTreeMap::new());
        }
        Ok(())
    }

    /// Applies an edit of a sequence through the calls of yrs.
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
            SequenceOp::Text { name, at, delete, insert, marks, .. } => {
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

/// Whether an edit inserts text only beside a character with the same marks, and deletes no marks
/// and no text beside a mark. Then yrs neither writes a mark for it nor deletes one that has no
/// effect any more.
fn is_indexed(index: &SequenceIndex, op: &SequenceOp) -> bool {
    match op {
        SequenceOp::Mark { .. } => false,
        SequenceOp::List { .. } => true,
        SequenceOp::Clear { .. } => index.marks() == 0,
        SequenceOp::Text { at, delete, insert, marks, inherits, .. } => {
            let (at, delete) = (clip(at.utf16), clip(delete.utf16));
            let is_plain = marks.as_ref().is_none_or(|marks| marks.is_empty());
            if index.marks() == 0 && is_plain {
                return true;
            }
            let end = at.saturating_add(delete);
            (insert.is_empty() || *inherits)
                && !index.has_mark_at(at)
                && !index.has_mark_within(at, delete)
                && !index.has_mark_at(end)
        }
    }
}

/// Fails if a commit has not inserted exactly these own ops. If it is not `complete`, more ops may
/// come after them.
fn check_clock(
    txn: &TransactionMut<'_>,
    start: u32,
    own: &OwnOps,
    complete: bool,
) -> Result<(), BackendError> {
    let inserted = txn.insert_set().get(&yrs::ClientID::new(own.client));
    let mut ranges = inserted.iter().flat_map(|set| set.iter());
    let range = ranges.next().map_or(start..start, |(range, ())| range.clone());
    let before = txn.before_state().get(&yrs::ClientID::new(own.client));
    let as_expected = if complete { range.end == own.clock } else { range.end >= own.clock };
    let fits = before == start && range.start == start && as_expected && ranges.next().is_none();
    match fits {
        true => Ok(()),
        false => {
            Err(BackendError::Refused("yrs counts the ops of a change differently".to_owned()))
        }
    }
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
pub(super) fn clip(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
