//! Brings the indexes of the sequences up to date with updates, and asks them for positions.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use yrs::{Assoc, ClientID, ID, StickyIndex};

use super::sequence_index::{Change, OpId, Span, encode};
use super::summary::{NewBlock, Summary};
use super::{LIST_PREFIX, TEXT_PREFIX, Yrs, sequence_of};
use crate::document::ops::{SequenceKind, Splice, Splices};
use crate::document::rope::utf16_len;

/// The ops of an update that are in one sequence.
#[derive(Default)]
struct Found<'a> {
    spans: Vec<Span>,
    /// The block of each span, and the number of ops of the block before the span.
    blocks: Vec<(&'a NewBlock, u32)>,
    deleted: Vec<(u64, Range<u32>)>,
    /// Whether a block is under a key.
    keyed: bool,
}

impl Yrs {
    /// Adds the ops of an update that yrs has applied to the roots and the indexes. Adds the edits
    /// of each sequence to `splices`, or `None` for a sequence that must be read again.
    pub(super) fn index_update(&mut self, bytes: &[u8], summary: &Summary, splices: &mut Splices) {
        for (number, found) in self.sequences_of(summary) {
            let Some(sequence) = self.op_roots.name(number).and_then(|name| sequence_of(name))
            else {
                continue;
            };
            let changes = match found.keyed {
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

    /// Adds the ops of an update to the roots. Returns those of them that are in sequences, by the
    /// number of the sequence.
    fn sequences_of<'a>(&mut self, summary: &'a Summary) -> BTreeMap<u32, Found<'a>> {
        let mut found: BTreeMap<u32, Found<'a>> = BTreeMap::new();
        let mut added = Vec::new();
        for new in &summary.blocks {
            if let Some(span) = self.op_roots.add(&new.block, None) {
                added.push((span, new));
            }
        }
        for (span, new) in added {
            let Some(number) = self.op_roots.sequence_of((span.client, span.clock)) else {
                continue;
            };
            let found = found.entry(number).or_default();
            found.keyed |= new.keyed;
            found.spans.push(span);
            found.blocks.push((new, new.block.known_part(span.clock)));
        }
        for (client, clocks) in &summary.deleted {
            self.op_roots.sequences_in(*client, clocks.clone(), &mut |number, part| {
                found.entry(number).or_default().deleted.push((*client, part));
            });
        }
        found
    }

    fn number(&mut self, kind: SequenceKind, name: &str) -> u32 {
        let prefix = match kind {
            SequenceKind::Text => TEXT_PREFIX,
            SequenceKind::List => LIST_PREFIX,
        };
        self.op_roots.number(&format!("{prefix}{name}"))
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

/// The edit of a text or a list that a change of its index stands for. `None` if the content cannot
/// be shown.
fn splice(kind: SequenceKind, change: Change, found: &Found<'_>, bytes: &[u8]) -> Option<Splice> {
    let (at, span) = match change {
        Change::Insert { at, span } => (at, span),
        Change::Delete { at, len } => {
            return Some(match kind {
                SequenceKind::Text => {
                    Splice::Text { at: at as usize, delete: len as usize, insert: Arc::from("") }
                }
                SequenceKind::List => {
                    Splice::List { at: at as usize, delete: len as usize, insert: Vec::new() }
                }
            });
        }
    };
    let (new, skip) = found.blocks.get(span)?;
    let skip = *skip as usize;
    let at = at as usize;
    match kind {
        SequenceKind::Text => {
            let text = encode::text(bytes, new)?;
            let insert = match skip {
                0 => text,
                // `None` if the boundary is within a character of two code units.
                skip => text
                    .char_indices()
                    .map(|(byte, _)| &text[byte..])
                    .find(|rest| utf16_len(text) - utf16_len(rest) == skip)?,
            };
            Some(Splice::Text { at, delete: 0, insert: Arc::from(insert) })
        }
        SequenceKind::List => {
            let mut insert = encode::values(bytes, new)?;
            Some(Splice::List { at, delete: 0, insert: insert.split_off(skip.min(insert.len())) })
        }
    }
}
