//! Writes the staged ops of a change into the automerge document.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use automerge::marks::{ExpandMark, Mark};
use automerge::transaction::{CommitOptions, Transactable, Transaction};
use automerge::{Change, ObjId, ObjType, ROOT, ReadDoc, ScalarValue};

use super::super::{LIST_PREFIX, TEXT_PREFIX};
use super::values::{marks_of, to_scalar};
use super::{Automerge, bucket_of, refused};
use crate::document::backend::{Backend, BackendError, Offset};
use crate::document::guard::automerge_chunk;
use crate::document::key::Key;
use crate::document::ops::{Ops, RegisterWrite, SequenceKind, SequenceOp, Units};
use crate::document::rope::Marks;
use crate::document::value::Value;

/// The most weight of one automerge change, in ops. A long value counts as several ops.
///
/// A larger commit becomes several changes, because a change cannot be cut and untrusted peers
/// accept only a limited number of ops in one update.
const OPS_PER_CHANGE: usize = 50_000;
/// Each time a value has this many bytes, it counts as one op more. [`OPS_PER_CHANGE`] ops of this
/// many bytes are a megabyte.
const BYTES_PER_OP: usize = 20;
/// Ops in one piece of an update for a peer.
pub(super) const PIECE_OPS_MAX: usize = 100_000;

/// The result of a commit.
pub(super) struct Committed {
    /// The names of the new sequences.
    pub(super) made: BTreeSet<Arc<str>>,
    /// The changes, in order.
    pub(super) changes: Vec<Vec<u8>>,
}

/// Writes all ops, usually in one change. If the ops need several changes and one fails, the
/// changes before it stay written.
pub(super) fn write(this: &mut Automerge, ops: &Ops) -> Result<Committed, BackendError> {
    let registers: Vec<_> = ops.registers.iter().collect();
    let edits: Vec<_> = ops.sequences.iter().flat_map(|op| portions(this, op)).collect();
    let mut register_groups =
        groups(registers.iter().map(|(_, write)| weight(write.new.as_ref()))).into_iter();
    let mut edit_groups = groups(edits.iter().map(|(weight, _)| *weight)).into_iter();
    let mut made = BTreeMap::new();
    let mut changes = Vec::new();
    loop {
        let registers_here = register_groups.next();
        let edits_here = edit_groups.next();
        if registers_here.is_none() && edits_here.is_none() {
            break;
        }
        let registers = registers.get(registers_here.unwrap_or_default()).unwrap_or_default();
        let edits = edits.get(edits_here.unwrap_or_default()).unwrap_or_default();
        write_change(this, registers, edits, &mut made)?;
        if let Some(change) = this.doc.get_last_local_change() {
            this.seen.note(&change);
            changes.push(change.raw_bytes().to_vec());
        }
    }
    Ok(Committed { made: made.into_keys().collect(), changes })
}

/// The weight of a value, in ops.
fn weight(value: Option<&Value>) -> usize {
    1 + value.map_or(0, Value::size) / BYTES_PER_OP
}

/// The weight of a mark, in ops. A mark has one op for its start and one for its end.
fn mark_weight(name: &str, value: &Value) -> usize {
    2 + name.len() / BYTES_PER_OP + weight(Some(value))
}

/// Groups items with these weights into ranges. Each range fits into one change, or holds a single
/// item.
fn groups(weights: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let (mut groups, mut room): (Vec<Range<usize>>, usize) = (Vec::new(), 0);
    for (index, weight) in weights.enumerate() {
        match groups.last_mut() {
            Some(group) if weight <= room => group.end = index + 1,
            _ => {
                groups.push(index..index + 1);
                room = OPS_PER_CHANGE;
            }
        }
        room = room.saturating_sub(weight);
    }
    groups
}

/// Writes one change in one transaction. An error drops the transaction, which rolls it back.
fn write_change(
    this: &mut Automerge,
    registers: &[(&Key, &RegisterWrite)],
    edits: &[(usize, Cow<'_, SequenceOp>)],
    made: &mut BTreeMap<Arc<str>, Vec<ObjId>>,
) -> Result<(), BackendError> {
    let Automerge { doc, buckets, sequences, .. } = this;
    let mut tx = doc.transaction();
    for (key, write) in registers {
        let bucket = buckets.get(bucket_of(key.as_str())).unwrap_or(&ROOT);
        match &write.new {
            Some(value) => tx.put(bucket, key.as_str(), to_scalar(value)).map_err(refused)?,
            None => tx.delete(bucket, key.as_str()).map_err(refused)?,
        }
    }
    let mut writer = SequenceWriter { tx: &mut tx, buckets, known: sequences, fresh: made };
    edits.iter().try_for_each(|(_, op)| writer.apply(op))?;
    tx.commit_with(CommitOptions::default().with_time(0));
    Ok(())
}

/// Cuts an edit into edits that each fit into one change. Returns each with its weight in ops.
fn portions<'a>(this: &Automerge, op: &'a SequenceOp) -> Vec<(usize, Cow<'a, SequenceOp>)> {
    let values = |insert: &[Value]| insert.iter().map(|value| weight(Some(value))).sum::<usize>();
    let marked = |marks: &Option<Arc<Marks>>| {
        marks.as_deref().map_or(0, |marks| {
            marks.iter().map(|(name, value)| mark_weight(name, value)).sum::<usize>()
        })
    };
    match op {
        SequenceOp::Text { name, at, delete, insert, marks, .. }
            if delete.chars + insert.len() > OPS_PER_CHANGE =>
        {
            let edit = |at: usize, delete: usize, insert: &str| {
                let chars = |chars| Units { chars, utf16: 0 };
                let at = chars(at);
                let delete = chars(delete);
                let insert = Arc::from(insert);
                Cow::Owned(SequenceOp::Text {
                    name: name.clone(),
                    at,
                    delete,
                    insert,
                    marks: marks.clone(),
                    inherits: false,
                })
            };
            let deletions =
                parts(delete.chars).map(|(_, count)| (count, edit(at.chars, count, "")));
            let mut rest = &**insert;
            let insertions = parts(insert.chars().count()).map(|(from, count)| {
                let end = rest.char_indices().nth(count).map_or(rest.len(), |(end, _)| end);
                let (part, later) = rest.split_at(end);
                rest = later;
                (count + marked(marks), edit(at.chars + from, 0, part))
            });
            deletions.chain(insertions).collect()
        }
        SequenceOp::List { name, at, delete, insert }
            if delete + values(insert) > OPS_PER_CHANGE =>
        {
            let edit = |at, delete, insert: &[Value]| {
                Cow::Owned(SequenceOp::List {
                    name: name.clone(),
                    at,
                    delete,
                    insert: insert.to_vec(),
                })
            };
            let deletions = parts(*delete).map(|(_, count)| (count, edit(*at, count, &[])));
            let insertions =
                groups(insert.iter().map(|value| weight(Some(value)))).into_iter().map(|group| {
                    let at = at + group.start;
                    let part = insert.get(group).unwrap_or_default();
                    (values(part), edit(at, 0, part))
                });
            deletions.chain(insertions).collect()
        }
        // The content that the document holds is deleted in parts. The last part clears the rest,
        // with the content that this commit itself inserted.
        SequenceOp::Clear { name, kind } => {
            let len = match (kind, this.text_len(name)) {
                (SequenceKind::Text, Offset::Chars(len) | Offset::Utf16(len)) => len,
                (SequenceKind::List, _) => this.list_len(name),
            };
            let edit = |count| match kind {
                SequenceKind::Text => {
                    let delete = Units { chars: count, utf16: 0 };
                    SequenceOp::Text {
                        name: name.clone(),
                        at: Units::default(),
                        delete,
                        insert: Arc::from(""),
                        marks: None,
                        inherits: false,
                    }
                }
                SequenceKind::List => SequenceOp::List {
                    name: name.clone(),
                    at: 0,
                    delete: count,
                    insert: Vec::new(),
                },
            };
            let deletions = parts(len.saturating_sub(OPS_PER_CHANGE))
                .map(|(_, count)| (count, Cow::Owned(edit(count))));
            deletions.chain([(len.min(OPS_PER_CHANGE), Cow::Borrowed(op))]).collect()
        }
        SequenceOp::Text { delete, insert, marks, .. } => {
            vec![(delete.chars + insert.len() + marked(marks), Cow::Borrowed(op))]
        }
        SequenceOp::List { delete, insert, .. } => {
            vec![(delete + values(insert), Cow::Borrowed(op))]
        }
        SequenceOp::Mark { mark, value, .. } => vec![(mark_weight(mark, value), Cow::Borrowed(op))],
    }
}

/// Cuts a sequence of encoded changes into pieces that untrusted peers accept, each of at most
/// `bytes_max` bytes. A single change or a saved document cannot be cut, so it is a piece even if
/// it is larger.
pub(super) fn cut(changes: &[u8], bytes_max: usize) -> Result<Vec<Vec<u8>>, BackendError> {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    let mut ops = 0;
    for chunk in automerge_chunk::chunks(changes) {
        let (kind, bytes) = chunk?;
        let more = match kind {
            automerge_chunk::ChunkKind::Change => {
                Change::from_bytes(bytes.to_vec()).map_err(refused)?.len()
            }
            automerge_chunk::ChunkKind::Document => PIECE_OPS_MAX,
        };
        ops += more;
        match pieces.last_mut() {
            Some(piece) if ops <= PIECE_OPS_MAX && piece.len() + bytes.len() <= bytes_max => {
                piece.extend_from_slice(bytes)
            }
            _ => {
                ops = more;
                pieces.push(bytes.to_vec());
            }
        }
    }
    Ok(pieces)
}

/// Cuts `count` items into parts that each fit into one change. Returns the start and the length of
/// each part.
fn parts(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).step_by(OPS_PER_CHANGE).map(move |from| (from, OPS_PER_CHANGE.min(count - from)))
}

/// Applies edits of sequences in a transaction and makes the missing objects.
struct SequenceWriter<'a, 'tx> {
    tx: &'a mut Transaction<'tx>,
    buckets: &'a [ObjId],
    known: &'a HashMap<Arc<str>, Vec<ObjId>>,
    fresh: &'a mut BTreeMap<Arc<str>, Vec<ObjId>>,
}

impl SequenceWriter<'_, '_> {
    fn apply(&mut self, op: &SequenceOp) -> Result<(), BackendError> {
        match op {
            SequenceOp::Text { name, at, delete, insert, marks, .. } => {
                let objects = self.objects(name, SequenceKind::Text, !insert.is_empty())?;
                self.splice_text(&objects, (at.chars, delete.chars), insert, marks.as_deref())
            }
            SequenceOp::Mark { name, at, len, mark, value } => {
                let objects = self.objects(name, SequenceKind::Text, false)?;
                for (object, start, count) in self.pieces(&objects, at.chars, len.chars) {
                    self.mark(&object, start..start + count, mark, value)?;
                }
                Ok(())
            }
            SequenceOp::List { name, at, delete, insert } => {
                let objects = self.objects(name, SequenceKind::List, !insert.is_empty())?;
                self.splice_list(&objects, (*at, *delete), insert)
            }
            SequenceOp::Clear { name, kind } => self.clear(name, *kind),
        }
    }

    fn full_name(name: &str, kind: SequenceKind) -> Arc<str> {
        let prefix = if kind == SequenceKind::Text { TEXT_PREFIX } else { LIST_PREFIX };
        Arc::from(format!("{prefix}{name}"))
    }

    fn objects(
        &mut self,
        name: &str,
        kind: SequenceKind,
        make: bool,
    ) -> Result<Vec<ObjId>, BackendError> {
        let full = Self::full_name(name, kind);
        if let Some(objects) = self
            .fresh
            .get(&full)
            .or_else(|| self.known.get(&full))
            .filter(|objects| !objects.is_empty())
        {
            return Ok(objects.clone());
        }
        if !make {
            return Ok(Vec::new());
        }
        let object_type = if kind == SequenceKind::Text { ObjType::Text } else { ObjType::List };
        let bucket = self.buckets.get(bucket_of(&full)).unwrap_or(&ROOT);
        let object = self.tx.put_object(bucket, full.as_ref(), object_type).map_err(refused)?;
        self.fresh.insert(full, vec![object.clone()]);
        Ok(vec![object])
    }

    /// Splits a range of the whole sequence into ranges of its objects: (object, start, length).
    fn pieces(&self, objects: &[ObjId], at: usize, count: usize) -> Vec<(ObjId, usize, usize)> {
        let mut skip = at;
        let mut left = count;
        let mut pieces = Vec::new();
        for object in objects {
            let len = self.tx.length(object);
            let here = len.saturating_sub(skip).min(left);
            if here > 0 {
                pieces.push((object.clone(), skip, here));
            }
            left -= here;
            skip = skip.saturating_sub(len);
        }
        pieces
    }

    /// The object, and the position in it, for an insertion at `at`. It is directly behind the
    /// element before `at`.
    fn target(&self, objects: &[ObjId], at: usize) -> Result<(ObjId, usize), BackendError> {
        let mut rest = at;
        for object in objects {
            let len = self.tx.length(object);
            if rest <= len {
                return Ok((object.clone(), rest));
            }
            rest -= len;
        }
        Err(BackendError::Misfit {
            place: "a sequence".to_owned(),
            reason: format!("position {at} is beyond its end"),
        })
    }

    fn delete(&mut self, objects: &[ObjId], at: usize, count: usize) -> Result<(), BackendError> {
        for (object, start, count) in self.pieces(objects, at, count) {
            let count = isize::try_from(count).map_err(refused)?;
            if self.tx.object_type(&object).map_err(refused)? == ObjType::Text {
                self.tx.splice_text(&object, start, count, "").map_err(refused)?;
            } else {
                self.tx
                    .splice(&object, start, count, Vec::<ScalarValue>::new())
                    .map_err(refused)?;
            }
        }
        Ok(())
    }

    fn splice_text(
        &mut self,
        objects: &[ObjId],
        (at, delete): (usize, usize),
        insert: &str,
        marks: Option<&Marks>,
    ) -> Result<(), BackendError> {
        if let ([object], false) = (objects, marks.is_some() || self.has_marks(objects)) {
            let delete = isize::try_from(delete).map_err(refused)?;
            return self.tx.splice_text(object, at, delete, insert).map_err(refused);
        }
        self.delete(objects, at, delete)?;
        if insert.is_empty() {
            return Ok(());
        }
        let (object, start) = self.target(objects, at)?;
        self.tx.splice_text(&object, start, 0, insert).map_err(refused)?;
        self.force_marks(&object, start..start + insert.chars().count(), marks)
    }

    fn has_marks(&self, objects: &[ObjId]) -> bool {
        objects.iter().any(|object| self.tx.marks(object).is_ok_and(|marks| !marks.is_empty()))
    }

    /// Gives the inserted text exactly these marks and removes all other marks that it inherited.
    fn force_marks(
        &mut self,
        object: &ObjId,
        range: std::ops::Range<usize>,
        marks: Option<&Marks>,
    ) -> Result<(), BackendError> {
        let inherited = self.tx.get_marks(object, range.start, None).map_err(refused)?;
        let inherited = marks_of(&inherited).unwrap_or_default();
        let empty = Marks::new();
        let wanted = marks.unwrap_or(&empty);
        for (name, value) in
            wanted.iter().filter(|(name, value)| inherited.get(*name) != Some(*value))
        {
            self.mark(object, range.clone(), name, value)?;
        }
        for name in inherited.keys().filter(|name| !wanted.contains_key(*name)) {
            self.mark(object, range.clone(), name, &Value::Null)?;
        }
        Ok(())
    }

    fn mark(
        &mut self,
        object: &ObjId,
        range: std::ops::Range<usize>,
        name: &str,
        value: &Value,
    ) -> Result<(), BackendError> {
        let done = if *value == Value::Null {
            self.tx.unmark(object, name, range.start, range.end, ExpandMark::After)
        } else {
            self.tx.mark(
                object,
                Mark::new(name.to_owned(), to_scalar(value), range.start, range.end),
                ExpandMark::After,
            )
        };
        done.map_err(refused)
    }

    fn splice_list(
        &mut self,
        objects: &[ObjId],
        (at, delete): (usize, usize),
        insert: &[Value],
    ) -> Result<(), BackendError> {
        self.delete(objects, at, delete)?;
        if insert.is_empty() {
            return Ok(());
        }
        let (object, start) = self.target(objects, at)?;
        self.tx.splice(&object, start, 0, insert.iter().map(to_scalar)).map_err(refused)
    }

    /// Empties a sequence. Concurrent insertions of other replicas stay.
    fn clear(&mut self, name: &str, kind: SequenceKind) -> Result<(), BackendError> {
        let objects = self.objects(name, kind, false)?;
        for object in &objects {
            let len = self.tx.length(object);
            self.delete(std::slice::from_ref(object), 0, len)?;
        }
        Ok(())
    }
}
