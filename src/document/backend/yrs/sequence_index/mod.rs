//! Indexes of the sequences: each knows which op stands at which position.
//!
//! yrs walks through a sequence to find a position, and names the positions of remote edits only by
//! such a walk. With an index beside it, a local edit is encoded as an update that names the ops at
//! its place ([`encode`]), and a remote edit has a position that the index finds. Both take
//! O(log n).
//!
//! yrs does not show its blocks, so the index is built from the bytes of updates: from what the
//! guard's walk reports when a document is loaded or an update is imported. An index is never
//! saved. It is built when it is first needed.
//!
//! The document in yrs is what counts. [`super::super::Backend::is_check_due`] says when the caller
//! should compare the whole sequence.

pub mod encode;
mod index;
mod span;
mod tree;

use std::collections::BTreeMap;
use std::ops::Range;

pub use index::{SequenceIndex, UnknownOp};
pub use span::{OpId, Span};

use crate::document::ops::MarksOf;

/// The fewest edits between two comparisons of a whole sequence.
const EDITS_BETWEEN_CHECKS_MIN: usize = 1_000;
/// If an import has more than `SPANS_INDEXED_MIN` spans, and more than one for so many spans that the
/// sequence has, then an index that does not exist yet is not built: to read the whole sequence is
/// cheaper. (Few in tests of this crate, so that small tests meet both ways.)
const SPANS_INDEXED_SHARE: usize = 4;
const SPANS_INDEXED_MIN: usize = if cfg!(test) { 4 } else { 256 };

/// One change that an import made to a sequence, as the earlier changes left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The visible span with this number was inserted. It has the marks of the character `beside`
    /// it.
    Insert { at: u32, span: usize, beside: MarksOf },
    /// Visible units were deleted.
    Delete { at: u32, len: u32 },
}

/// The index of one sequence, or what it can be built from.
enum State {
    /// The ops of the sequence in no order, and the ops that are deleted.
    Collected { spans: Vec<Span>, deleted: Vec<(u64, Range<u32>)> },
    /// The index, and the number of edits since the whole sequence was compared.
    Ready { index: SequenceIndex, edits: usize },
    /// The sequence has content that an index cannot order.
    Unusable,
}

impl State {
    fn empty() -> Self {
        Self::Ready { index: SequenceIndex::default(), edits: 0 }
    }

    /// Builds the index, if it is not built.
    fn ready(&mut self) -> Option<&mut SequenceIndex> {
        if let Self::Collected { spans, deleted } = self {
            // Of two blocks of a client, the later one may refer to the earlier one.
            spans.sort_by_key(|span| (span.client, span.clock));
            *self = match build(spans, deleted) {
                Ok(index) => Self::Ready { index, edits: 0 },
                Err(UnknownOp) => Self::Unusable,
            };
        }
        match self {
            Self::Ready { index, .. } => Some(index),
            _ => None,
        }
    }
}

fn build(spans: &[Span], deleted: &[(u64, Range<u32>)]) -> Result<SequenceIndex, UnknownOp> {
    let mut index = SequenceIndex::default();
    index.insert_all(spans, &mut |_, _, _| {})?;
    for (client, clocks) in deleted {
        index.delete(*client, clocks.clone(), &mut |_, _| {})?;
    }
    Ok(index)
}

/// The indexes of all sequences of a document, by the number of the sequence's root: see
/// [`OpRoots`](super::op_roots::OpRoots).
#[derive(Default)]
pub struct SequenceIndexes {
    states: BTreeMap<u32, State>,
    is_off: bool,
}

impl SequenceIndexes {
    /// Switches all indexes on or off. Sequences that had no index while they were edited get none.
    pub fn set_on(&mut self, on: bool) {
        self.is_off = !on;
    }

    /// Whether the indexes are switched on.
    pub fn is_on(&self) -> bool {
        !self.is_off
    }

    /// Collects ops of a sequence that is being loaded.
    pub fn collect(&mut self, sequence: u32, span: Span) {
        if let State::Collected { spans, .. } = self.collected(sequence) {
            spans.push(span);
        }
    }

    /// Collects deletions in a sequence that is being loaded.
    pub fn collect_deleted(&mut self, sequence: u32, client: u64, clocks: Range<u32>) {
        if let State::Collected { deleted, .. } = self.collected(sequence) {
            deleted.push((client, clocks));
        }
    }

    fn collected(&mut self, sequence: u32) -> &mut State {
        let empty = || State::Collected { spans: Vec::new(), deleted: Vec::new() };
        self.states.entry(sequence).or_insert_with(empty)
    }

    /// Gives up the index of a sequence until [`SequenceIndexes::take_from`].
    pub fn give_up(&mut self, sequence: u32) {
        self.states.insert(sequence, State::Unusable);
    }

    /// The index of a sequence, if it is built.
    pub fn get(&self, sequence: u32) -> Option<&SequenceIndex> {
        match self.states.get(&sequence)? {
            State::Ready { index, .. } => Some(index),
            _ => None,
        }
    }

    /// The index of a sequence for a local edit. Builds it if it is not built. `None` if there is
    /// no index for this sequence.
    pub fn ready(&mut self, sequence: u32) -> Option<&mut SequenceIndex> {
        if self.is_off {
            self.give_up(sequence);
        }
        self.states.entry(sequence).or_insert_with(State::empty).ready()
    }

    /// Brings the index up to date with ops and deletions from elsewhere. Returns the changes of
    /// the visible sequence, or `None` if the sequence must be read again.
    pub fn import(
        &mut self,
        sequence: u32,
        spans: &[Span],
        deleted: &[(u64, Range<u32>)],
    ) -> Option<Vec<Change>> {
        if self.is_off {
            self.give_up(sequence);
        }
        let state = self.states.entry(sequence).or_insert_with(State::empty);
        let known = match state {
            State::Collected { spans, .. } => spans.len(),
            State::Ready { index, .. } => index.spans(),
            State::Unusable => return None,
        };
        if spans.len() > SPANS_INDEXED_MIN.max(known / SPANS_INDEXED_SHARE) {
            if let State::Ready { index, .. } = state
                && index.spans() == 0
            {
                *state = State::Collected { spans: Vec::new(), deleted: Vec::new() };
            }
            if let State::Collected { spans: all, deleted: all_deleted } = state {
                all.extend(spans);
                all_deleted.extend(deleted.iter().cloned());
                return None;
            }
        }
        state.ready();
        let State::Ready { index, edits } = state else { return None };
        match change(index, spans, deleted) {
            Ok(changes) => {
                *edits += changes.as_ref().map_or(0, Vec::len);
                changes
            }
            Err(UnknownOp) => {
                *state = State::Unusable;
                None
            }
        }
    }

    /// Counts a local edit.
    pub fn note_edit(&mut self, sequence: u32) {
        if let Some(State::Ready { edits, .. }) = self.states.get_mut(&sequence) {
            *edits += 1;
        }
    }

    /// Whether the whole sequence should be compared now. If so, the edits are counted anew.
    pub fn is_check_due(&mut self, sequence: u32) -> bool {
        let Some(State::Ready { index, edits }) = self.states.get_mut(&sequence) else {
            return false;
        };
        // Debug builds compare short sequences after every edit.
        let often = cfg!(debug_assertions) && index.spans() < EDITS_BETWEEN_CHECKS_MIN;
        let edits_max = if often { 1 } else { EDITS_BETWEEN_CHECKS_MIN.max(index.spans()) };
        let is_due = *edits >= edits_max;
        if is_due {
            *edits = 0;
        }
        is_due
    }

    /// Replaces the index of one sequence by that of other indexes, which were collected anew.
    pub fn take_from(&mut self, sequence: u32, other: &mut Self, other_sequence: u32) {
        let state = other.states.remove(&other_sequence).unwrap_or_else(State::empty);
        self.states.insert(sequence, state);
    }
}

/// Brings an index up to date. Returns the changes of the visible sequence, or `None` if they
/// change marks: the index does not know which characters a mark covers.
fn change(
    index: &mut SequenceIndex,
    spans: &[Span],
    deleted: &[(u64, Range<u32>)],
) -> Result<Option<Vec<Change>>, UnknownOp> {
    let mut changes = Vec::new();
    let mut known = spans.iter().all(|span| span.visible() > 0 || span.deleted);
    index.insert_all(spans, &mut |number, at, beside| {
        known &= beside.is_some();
        if spans.get(number).is_some_and(|span| span.visible() > 0) {
            let beside = beside.unwrap_or(MarksOf::Before);
            changes.push(Change::Insert { at, span: number, beside });
        }
    })?;
    let marks = index.marks();
    for (client, clocks) in deleted {
        index.delete(*client, clocks.clone(), &mut |at, len| {
            changes.push(Change::Delete { at, len });
        })?;
    }
    known &= index.marks() == marks;
    Ok(known.then_some(changes))
}
