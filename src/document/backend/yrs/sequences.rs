//! Brings the indexes of the sequences up to date with updates, and asks them for positions.

use std::ops::Range;
use std::sync::Arc;

use yrs::{Assoc, ClientID, ID, StickyIndex, Transact};

use super::sequence_index::{Change, OpId, SequenceIndex, Span, encode};
use super::summary::{NewBlock, Summary};
use super::{TEXT_PREFIX, Yrs, root_of, sequence_of};
use crate::document::ops::{ListSplice, MarksOf, SequenceKind, Splice, Splices};

/// A part of an update that is in one sequence.
enum Part<'a> {
    /// Ops of a block.
    Inserted(Span, &'a NewBlock),
    /// Deleted ops.
    Deleted(u64, Range<u32>),
}

/// The ops of an update that are in one sequence.
#[derive(Default)]
struct Found<'a> {
    spans: Vec<Span>,
    /// The block of each span.
    blocks: Vec<&'a NewBlock>,
    deleted: Vec<(u64, Range<u32>)>,
}

impl<'a> Found<'a> {
    fn of(parts: Vec<Part<'a>>) -> Self {
        let mut found = Self::default();
        for part in parts {
            match part {
                Part::Inserted(span, block) => {
                    found.spans.push(span);
                    found.blocks.push(block);
                }
                Part::Deleted(client, clocks) => found.deleted.push((client, clocks)),
            }
        }
        found
    }
}

impl Yrs {
    /// Adds the ops of an update that yrs has applied to the roots and the indexes. Adds the edits
    /// of each sequence to `splices`, or `None` for a sequence that must be read again.
    pub(super) fn index_update(&mut self, bytes: &[u8], summary: &Summary, splices: &mut Splices) {
        for (number, parts) in self.parts_of(summary) {
            let Some(sequence) = self.op_roots.name(number).and_then(|name| sequence_of(name))
            else {
                continue;
            };
            let found = Found::of(parts);
            let changes = match found.blocks.iter().any(|block| block.keyed) {
                true => {
                    self.indexes.give_up(number);
                    None
                }
                false => self.indexes.import(number, &found.spans, &found.deleted),
            };
            let changes = changes.and_then(|changes| {
                changes.iter().map(|change| splice(sequence.0, *change, &found, bytes)).collect()
            });
            let before = splices.entry(sequence).or_insert_with(|| Some(Vec::new()));
            match (before.as_mut(), changes) {
                (Some(before), Some(changes)) => before.extend::<Vec<Splice>>(changes),
                _ => *before = None,
            }
        }
    }

    /// Compares the length of each touched sequence's index with the length that yrs counts. If
    /// they differ, the index is given up and the sequence must be read again.
    pub(super) fn check_indexes(
        &mut self,
        touched: &[(SequenceKind, Arc<str>)],
        splices: &mut Splices,
    ) {
        for (kind, name) in touched {
            let number = self.number(*kind, name);
            let len = self.len_of(&self.doc.transact(), *kind, name);
            let indexed = self.indexes.get(number).map(SequenceIndex::visible);
            if indexed.is_some_and(|indexed| indexed != len) {
                self.indexes.give_up(number);
                splices.insert((*kind, Arc::clone(name)), None);
            }
        }
    }

    /// Adds the ops of an update to the roots. Returns those of them that are in sequences, by the
    /// number of the sequence.
    fn parts_of<'a>(&mut self, summary: &'a Summary) -> Vec<(u32, Vec<Part<'a>>)> {
        let added = summary.blocks.iter();
        let added: Vec<(Span, &NewBlock)> =
            added.filter_map(|new| Some((self.op_roots.add(&new.block, None)?, new))).collect();
        // The root of an op is only known when all blocks are added.
        self.op_roots.settle(None);
        let mut parts: Vec<(u32, Part<'a>)> = Vec::with_capacity(added.len());
        for (span, new) in added {
            let number = self.op_roots.sequence_of((span.client, span.clock));
            // yrs takes the root from the right origin if the origin was garbage-collected.
            let right = span.right_origin.and_then(|op| self.op_roots.sequence_of(op));
            if let Some(right) = right.filter(|_| number.is_none()) {
                self.indexes.give_up(right);
            }
            parts.extend(number.map(|number| (number, Part::Inserted(span, new))));
        }
        for (client, clocks) in &summary.deleted {
            self.op_roots.sequences_in(*client, clocks.clone(), &mut |number, part| {
                parts.push((number, Part::Deleted(*client, part)));
            });
        }
        parts.sort_by_key(|(number, _)| *number);
        let mut sequences: Vec<(u32, Vec<Part<'a>>)> = Vec::new();
        for (number, part) in parts {
            match sequences.last_mut().filter(|(last, _)| *last == number) {
                Some((_, parts)) => parts.push(part),
                None => sequences.push((number, vec![part])),
            }
        }
        sequences
    }

    /// The number of the root of a sequence.
    pub(super) fn number(&mut self, kind: SequenceKind, name: &str) -> u32 {
        // Mostly the sequence is the one of the last call.
        if let Some(((last_kind, last), number)) = &self.last_number
            && *last_kind == kind
            && **last == *name
        {
            return *number;
        }
        let number = self.op_roots.number(&root_of(kind, name));
        self.last_number = Some(((kind, Arc::from(name)), number));
        number
    }

    /// See [`Backend::is_check_due`](super::Backend::is_check_due).
    pub(super) fn is_sequence_check_due(&mut self, kind: SequenceKind, name: &str) -> bool {
        let number = self.number(kind, name);
        self.indexes.is_check_due(number)
    }

    /// Builds the index of a sequence again, from the document. O(document).
    pub(super) fn rebuild_sequence_index(&mut self, kind: SequenceKind, name: &str) {
        let number = self.number(kind, name);
        let saved = super::Backend::save(self);
        let limits = crate::document::limits::Limits::own();
        match Summary::of_document(&saved, &limits) {
            Ok((_, mut op_roots, mut indexes)) => {
                let other = self.op_roots.name(number).map(|name| op_roots.number(name));
                self.indexes.take_from(number, &mut indexes, other.unwrap_or(u32::MAX));
            }
            Err(_) => self.indexes.give_up(number),
        }
    }

    /// An anchor at a unit of a text, made by its index.
    pub(super) fn indexed_anchor(
        &mut self,
        name: &str,
        unit: u32,
        assoc: Assoc,
    ) -> Option<StickyIndex> {
        let number = self.number(SequenceKind::Text, name);
        let (client, clock) = self.indexes.ready(number)?.op_at(unit)?;
        Some(StickyIndex::from_id(ID::new(ClientID::new(client), clock), assoc))
    }

    /// The position of an anchor at an op of a text, if the index of the text is built.
    pub(super) fn indexed_position(&self, name: &str, op: OpId, assoc: Assoc) -> Option<u32> {
        let number = self.op_roots.sequence_of(op)?;
        let expected = self.op_roots.name(number)?.strip_prefix(TEXT_PREFIX)?;
        if expected != name {
            return None;
        }
        let (position, is_visible) = self.indexes.get(number)?.position(op)?;
        Some(position + u32::from(is_visible && assoc == Assoc::Before))
    }
}

/// A text without its first UTF-16 code units. `None` if that would split a character.
fn after_units(text: &str, units: usize) -> Option<&str> {
    let mut rest = text.chars();
    let mut passed = 0;
    while passed < units {
        passed += rest.next()?.len_utf16();
    }
    (passed == units).then_some(rest.as_str())
}

/// The edit of a text or a list that a change of its index stands for. `None` if the content cannot
/// be shown.
fn splice(kind: SequenceKind, change: Change, found: &Found<'_>, bytes: &[u8]) -> Option<Splice> {
    let (at, span, beside) = match change {
        Change::Insert { at, span, beside } => (at, span, beside),
        Change::Delete { at, len } => {
            return Some(match kind {
                SequenceKind::Text => {
                    let (at, delete) = (at as usize, len as usize);
                    Splice::Text { at, delete, insert: Arc::from(""), beside: MarksOf::Before }
                }
                SequenceKind::List => Splice::List(ListSplice {
                    at: at as usize,
                    delete: len as usize,
                    insert: Vec::new(),
                }),
            });
        }
    };
    let new = found.blocks.get(span)?;
    // The document may have had the beginning of the block.
    let skip = new.block.known_part(found.spans.get(span)?.clock) as usize;
    let at = at as usize;
    match kind {
        SequenceKind::Text => {
            let text = encode::text(bytes, new)?;
            let insert = after_units(text, skip)?;
            Some(Splice::Text { at, delete: 0, insert: Arc::from(insert), beside })
        }
        SequenceKind::List => {
            let mut insert = encode::values(bytes, new)?;
            let insert = insert.split_off(skip.min(insert.len()));
            Some(Splice::List(ListSplice { at, delete: 0, insert }))
        }
    }
}
