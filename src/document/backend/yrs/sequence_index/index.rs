//! The index of one sequence: where each op stands, and which op stands at a position.
//!
//! The index orders concurrent insertions as yrs and Yjs do (YATA: Nicolaescu et al., *Near
//! real-time peer-to-peer shared editing on extensible data types*, 2016, with the changes of
//! Yjs). So it must see the same ops as yrs, each after the ops to which it refers.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::Range;

use super::span::{OpId, Span};
use super::tree::{SpanId, SpanTree};
use crate::document::guard::yrs_update::Content;
use crate::document::ops::MarksOf;

/// An op to which other ops refer is not in the index, or ops refer to each other in a circle. The
/// index is then useless and must be built again.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownOp;

/// The most deleted spans that are passed to find a mark beside a position.
const DELETED_PASSED_MAX: usize = 64;

/// What stands beside a position, if deleted spans are left out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Neighbour {
    Unit,
    Mark,
    /// Nothing: the start or the end of the sequence.
    Edge,
}

/// The ops of one sequence in order.
#[derive(Debug, Default)]
pub struct SequenceIndex {
    tree: SpanTree,
    /// The spans by their first op.
    starts: BTreeMap<OpId, SpanId>,
    /// The number of marks that are not deleted.
    marks: u32,
}

impl SequenceIndex {
    /// The number of spans.
    pub fn spans(&self) -> usize {
        self.tree.len()
    }

    /// The length of the sequence: UTF-16 code units of a text, elements of a list.
    pub fn visible(&self) -> u32 {
        self.tree.visible()
    }

    /// The number of marks that are not deleted.
    pub fn marks(&self) -> u32 {
        self.marks
    }

    /// The op that stands at a position. O(log n).
    pub fn op_at(&self, position: u32) -> Option<OpId> {
        let (id, offset) = self.tree.find_visible(position)?;
        let span = self.tree.get(id);
        Some((span.client, span.clock + offset))
    }

    /// The position of an op, and whether the op is visible. An op that is not visible has the
    /// position of the next visible one. O(log n).
    pub fn position(&self, op: OpId) -> Option<(u32, bool)> {
        let (id, offset) = self.find(op)?;
        let is_visible = self.tree.get(id).visible() > 0;
        let before = self.tree.visible_before(id);
        Some((before + if is_visible { offset } else { 0 }, is_visible))
    }

    /// Whether a mark stands at a position: between the visible unit before it and the one after
    /// it. O(log n + deleted spans there).
    pub fn has_mark_at(&self, position: u32) -> bool {
        if self.marks == 0 {
            return false;
        }
        let before = match self.tree.find_visible(position) {
            Some((_, offset)) if offset > 0 => return false,
            Some((id, _)) => self.tree.previous(id),
            None => self.tree.last(),
        };
        self.neighbour(before, SpanTree::previous) == Neighbour::Mark
    }

    /// Whether a mark stands between two of these visible units. O(log n + spans there).
    pub fn has_mark_within(&self, position: u32, len: u32) -> bool {
        let last = len.checked_sub(1).and_then(|last| self.tree.find_visible(position + last));
        let (Some((first, _)), Some((last, _))) = (self.tree.find_visible(position), last) else {
            return false;
        };
        let mut at = Some(first);
        while let Some(id) = at.filter(|id| self.marks > 0 && *id != last) {
            let span = self.tree.get(id);
            if span.content == Content::Mark && !span.deleted {
                return true;
            }
            at = self.tree.next(id);
        }
        false
    }

    /// What the first span from this one on is that is not deleted.
    fn neighbour(
        &self,
        mut at: Option<SpanId>,
        step: fn(&SpanTree, SpanId) -> Option<SpanId>,
    ) -> Neighbour {
        for _ in 0..DELETED_PASSED_MAX {
            let Some(id) = at else { return Neighbour::Edge };
            let span = self.tree.get(id);
            match span.content {
                _ if span.deleted => at = step(&self.tree, id),
                Content::Mark => return Neighbour::Mark,
                _ => return Neighbour::Unit,
            }
        }
        // After so many deleted spans a mark is assumed. A local edit then goes through the calls of
        // yrs. A remote one takes the marks of the character on the other side, if no mark stands
        // between.
        Neighbour::Mark
    }

    /// The character beside an inserted span that has the same marks. `None` if marks stand on both
    /// sides.
    fn beside(&self, span: &Span) -> Option<MarksOf> {
        if self.marks == 0 {
            return Some(MarksOf::Before);
        }
        let (id, offset) = self.find((span.client, span.clock))?;
        let before = self.tree.previous(id);
        if offset > 0 || self.neighbour(before, SpanTree::previous) != Neighbour::Mark {
            return Some(MarksOf::Before);
        }
        let after = self.neighbour(self.tree.next(id), SpanTree::next);
        let is_followed = self.tree.get(id).end() > span.end() || after == Neighbour::Unit;
        is_followed.then_some(MarksOf::After)
    }

    /// Inserts an edit of this replica at a position that is not past the end. Returns the span,
    /// with the origins at which yrs would have inserted it. O(log n).
    pub fn insert_at(
        &mut self,
        position: u32,
        (client, clock): OpId,
        len: u32,
        content: Content,
    ) -> Span {
        let left = match self.tree.find_visible(position) {
            Some((id, 0)) => self.tree.previous(id),
            Some((id, offset)) => {
                self.split(id, offset);
                Some(id)
            }
            None => self.tree.last(),
        };
        let right = self.after(left).map(|right| self.tree.get(right));
        let span = Span {
            client,
            clock,
            len,
            origin: left.map(|left| self.tree.get(left).last()),
            right_origin: right.map(|right| (right.client, right.clock)),
            content,
            deleted: false,
        };
        self.attach(left, span);
        span
    }

    /// Deletes visible units. Returns the deleted ops as (client, first clock, number), in the
    /// order of the sequence. O(spans deleted · log n).
    pub fn delete_at(&mut self, position: u32, len: u32) -> Vec<(u64, u32, u32)> {
        let mut deleted = Vec::new();
        let mut rest = len;
        while rest > 0
            && let Some((id, offset)) = self.tree.find_visible(position)
        {
            let span = self.tree.get(id);
            let part = rest.min(span.len - offset);
            deleted.push((span.client, span.clock + offset, part));
            self.delete_part(id, offset..offset + part);
            rest -= part;
        }
        deleted
    }

    /// Inserts spans from elsewhere. Those of one client must be in the order of their clocks.
    /// `each` is called for each span as it is inserted: with its number in `spans`, its position,
    /// and the character beside it that has the same marks. O(spans · log n), if few of them were
    /// inserted concurrently at one place.
    pub fn insert_all(
        &mut self,
        spans: &[Span],
        each: &mut dyn FnMut(usize, u32, Option<MarksOf>),
    ) -> Result<(), UnknownOp> {
        // Mostly each span comes after the ops to which it refers.
        let mut later: BTreeMap<u64, VecDeque<usize>> = BTreeMap::new();
        for (number, span) in spans.iter().enumerate() {
            match later.get_mut(&span.client) {
                Some(waiting) => waiting.push_back(number),
                None if self.missing(span).is_none() => {
                    let (position, beside) = self.insert_beside(span)?;
                    each(number, position, beside);
                }
                None => drop(later.insert(span.client, VecDeque::from([number]))),
            }
        }
        self.insert_later(spans, later, each)
    }

    /// Inserts the spans of each client that refer to ops of other clients in the same update.
    fn insert_later(
        &mut self,
        spans: &[Span],
        mut later: BTreeMap<u64, VecDeque<usize>>,
        each: &mut dyn FnMut(usize, u32, Option<MarksOf>),
    ) -> Result<(), UnknownOp> {
        let clients: Vec<u64> = later.keys().copied().collect();
        for client in clients {
            // Each client of the chain waits for a span of the next one.
            let mut chain = vec![client];
            while let Some(&client) = chain.last() {
                let next = later.get(&client).and_then(|waiting| waiting.front());
                let Some((number, span)) = next.and_then(|next| Some((*next, spans.get(*next)?)))
                else {
                    if chain.len() > 1 {
                        return Err(UnknownOp);
                    }
                    break;
                };
                if let Some((missing, _)) = self.missing(span) {
                    if chain.contains(&missing) {
                        return Err(UnknownOp);
                    }
                    chain.push(missing);
                    continue;
                }
                let (position, beside) = self.insert_beside(span)?;
                each(number, position, beside);
                later.get_mut(&client).and_then(VecDeque::pop_front);
                if chain.len() > 1 {
                    chain.pop();
                }
            }
        }
        Ok(())
    }

    /// Deletes ops. Ops that are deleted already are passed over. `each` gets the position and the
    /// number of the visible units of each part that was visible. O(spans deleted · log n).
    pub fn delete(
        &mut self,
        client: u64,
        clocks: Range<u32>,
        each: &mut dyn FnMut(u32, u32),
    ) -> Result<(), UnknownOp> {
        let mut clock = clocks.start;
        while clock < clocks.end {
            let (id, offset) = self.find((client, clock)).ok_or(UnknownOp)?;
            let span = self.tree.get(id);
            let end = span.end().min(clocks.end);
            if !span.deleted {
                let position = self.tree.visible_before(id) + offset;
                if span.visible() > 0 {
                    each(position, end - clock);
                }
                self.delete_part(id, offset..end - span.clock);
            }
            clock = end;
        }
        Ok(())
    }

    /// An op to which a span refers and that the index does not have.
    fn missing(&self, span: &Span) -> Option<OpId> {
        span.origin.into_iter().chain(span.right_origin).find(|op| self.find(*op).is_none())
    }

    /// The span that holds an op, and the place of the op in the span.
    fn find(&self, (client, clock): OpId) -> Option<(SpanId, u32)> {
        let (_, id) = self.starts.range(..=(client, clock)).next_back()?;
        let span = self.tree.get(*id);
        (span.client == client && clock < span.end()).then(|| (*id, clock - span.clock))
    }

    /// The span after this one, or the first one.
    fn after(&self, id: Option<SpanId>) -> Option<SpanId> {
        match id {
            Some(id) => self.tree.next(id),
            None => self.tree.first(),
        }
    }

    /// Inserts a span whose origins the index has. Returns its position, and the character that has
    /// the same marks. There is none if marks stand on both sides, or if the insertion splits
    /// visible text at another position: yrs replaces a character of two code units that is split.
    fn insert_beside(&mut self, span: &Span) -> Result<(u32, Option<MarksOf>), UnknownOp> {
        let (position, splits) = self.insert(span)?;
        let elsewhere = |split: &Option<u32>| {
            split.is_some_and(|split| split != position || span.visible() == 0)
        };
        let beside = if splits.iter().any(elsewhere) { None } else { self.beside(span) };
        Ok((position, beside))
    }

    /// Inserts a span whose origins the index has. Returns its position, and the positions at which
    /// visible spans were split.
    fn insert(&mut self, span: &Span) -> Result<(u32, [Option<u32>; 2]), UnknownOp> {
        let mut splits = [None; 2];
        // The span that begins with the right origin, and the one that ends with the origin.
        let right = match span.right_origin {
            Some(op) => {
                let (id, offset) = self.find(op).ok_or(UnknownOp)?;
                Some(if offset == 0 { id } else { self.split_noting(id, offset, &mut splits[0]) })
            }
            None => None,
        };
        let origin = match span.origin {
            Some(op) => {
                let (id, offset) = self.find(op).ok_or(UnknownOp)?;
                if offset + 1 < self.tree.get(id).len {
                    self.split_noting(id, offset + 1, &mut splits[1]);
                }
                Some(id)
            }
            None => None,
        };
        let left = self.resolve(span, origin, right);
        let position = match left {
            Some(left) => self.tree.visible_before(left) + self.tree.get(left).visible(),
            None => 0,
        };
        self.attach(left, *span);
        Ok((position, splits))
    }

    /// Cuts a span. Notes the position of the cut, if the span is visible.
    fn split_noting(&mut self, id: SpanId, offset: u32, noted: &mut Option<u32>) -> SpanId {
        let rest = self.split(id, offset);
        if self.tree.get(rest).visible() > 0 {
            *noted = Some(self.tree.visible_before(rest));
        }
        rest
    }

    /// The span after which a new span belongs. Between its origin and its right origin may stand
    /// spans that were inserted concurrently.
    fn resolve(
        &self,
        span: &Span,
        origin: Option<SpanId>,
        right: Option<SpanId>,
    ) -> Option<SpanId> {
        let mut left = origin;
        let mut at = self.after(origin);
        if at == right {
            return left;
        }
        // The spans passed so far, and those of them after `left`.
        let mut passed = HashSet::new();
        let mut conflicting = HashSet::new();
        while let Some(id) = at.filter(|id| Some(*id) != right) {
            passed.insert(id);
            conflicting.insert(id);
            let other = self.tree.get(id);
            if span.origin == other.origin {
                if other.client < span.client {
                    left = Some(id);
                    conflicting.clear();
                } else if span.right_origin == other.right_origin {
                    break;
                }
            } else {
                let origin = other.origin.and_then(|op| self.find(op));
                let Some((origin, _)) = origin.filter(|(origin, _)| passed.contains(origin)) else {
                    break;
                };
                if !conflicting.contains(&origin) {
                    left = Some(id);
                    conflicting.clear();
                }
            }
            at = self.tree.next(id);
        }
        left
    }

    /// Puts a span after another one. They become one span if they can.
    fn attach(&mut self, left: Option<SpanId>, span: Span) {
        if span.content == Content::Mark && !span.deleted {
            self.marks += span.len;
        }
        match left.filter(|left| self.tree.get(*left).continues_with(&span)) {
            Some(left) => self.tree.set_len(left, self.tree.get(left).len + span.len),
            None => {
                let id = self.tree.insert_after(left, span);
                self.starts.insert((span.client, span.clock), id);
            }
        }
    }

    /// Cuts a span before one of its ops. Returns the span from that op on.
    fn split(&mut self, id: SpanId, offset: u32) -> SpanId {
        let rest = self.tree.get(id).part_from(offset);
        self.tree.set_len(id, offset);
        let new = self.tree.insert_after(Some(id), rest);
        self.starts.insert((rest.client, rest.clock), new);
        new
    }

    /// Marks a part of a span as deleted.
    fn delete_part(&mut self, mut id: SpanId, part: Range<u32>) {
        if part.end < self.tree.get(id).len {
            self.split(id, part.end);
        }
        if part.start > 0 {
            id = self.split(id, part.start);
        }
        let span = self.tree.get(id);
        if span.content == Content::Mark {
            self.marks -= span.len;
        }
        self.tree.set_deleted(id, true);
        if let Some(next) = self.tree.next(id) {
            self.merge(id, next);
        }
        if let Some(previous) = self.tree.previous(id) {
            self.merge(previous, id);
        }
    }

    /// Makes two neighbours one span, if they can be one.
    fn merge(&mut self, id: SpanId, next: SpanId) {
        let following = self.tree.get(next);
        if self.tree.get(id).continues_with(&following) {
            self.tree.remove(next);
            self.starts.remove(&(following.client, following.clock));
            let len = self.tree.get(id).len + following.len;
            self.tree.set_len(id, len);
        }
    }
}
