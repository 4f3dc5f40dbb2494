//! Tracks which root holds each op of a document.
//!
//! An item of an update names the two ops between which it was made, and yrs takes the item's root
//! from one of them. If a replica id was used twice, two kinds of items must be refused:
//!
//! - The two ops are in different roots of this document. yrs would count the item in one root and
//!   read it in the other, and its place would depend on the order of integration. Then loading the
//!   saved bytes would not give the same document.
//! - Both ops are in a root that is not for the item's content, for example text among registers.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::super::{LIST_PREFIX, TEXT_PREFIX};
use super::REGISTERS;
use super::sequence_index::Span;
use crate::document::backend::BackendError;
use crate::document::guard::yrs_update::{self, Content};
use crate::document::limits::Limits;

/// An op, by client and clock.
type Id = (u64, u32);

/// The most steps from op to op in the search for a root, before [`OpRoots::settle`] was called.
const STEPS_MAX: usize = 1_000;

/// The roots of the ops of a document or of an update.
#[derive(Default)]
pub struct OpRoots {
    named: HashMap<Arc<str>, Root>,
    /// The names of the roots in `named`, by their numbers.
    names: Vec<Arc<str>>,
    /// A cache: the root of the last lookup. The next lookup is mostly for the same root.
    last_root: Option<(Arc<str>, Root)>,
    clients: BTreeMap<u64, Clocks>,
    /// For each ending of 16 bits, how many clients have an id with it.
    alike: HashMap<u16, usize>,
    /// Added ops whose root was not known yet.
    unsettled: Vec<Id>,
}

/// The bytes that a client takes in a version.
const CLIENT_BYTES: usize = 8 + 4;

#[derive(Default)]
struct Clocks {
    /// Runs of ops with the same place. A run goes from its clock to the clock of the next run.
    /// Sorted by clock.
    runs: Vec<(u32, OpRoot)>,
    end: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OpRoot {
    /// The root is unknown: the op was garbage-collected, or it is inside a nested type.
    Unknown,
    Root(Root),
    /// The same root as this op. The root of this op was not known yet.
    Beside(Id),
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Root {
    number: u32,
    holds: Holds,
}

/// The kind of content that a root is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Registers,
    Text,
    List,
    /// exostate did not make the root.
    Anything,
}

impl Holds {
    fn of(root: &str) -> Self {
        match root {
            REGISTERS => Self::Registers,
            name if name.starts_with(LIST_PREFIX) => Self::List,
            name if name.starts_with(TEXT_PREFIX) => Self::Text,
            _ => Self::Anything,
        }
    }

    fn fits(self, content: Content) -> bool {
        match content {
            Content::Text | Content::Mark => !matches!(self, Self::Registers | Self::List),
            Content::Values => self != Self::Text,
            Content::Gone | Content::Other => true,
        }
    }
}

fn ending(client: u64) -> u16 {
    (client & u64::from(u16::MAX)) as u16
}

/// A block, with the root and the neighbours that it names.
pub struct Block {
    client: u64,
    clock: u32,
    end: u32,
    content: Content,
    root: Option<Arc<str>>,
    origin: Option<Id>,
    right_origin: Option<Id>,
}

impl Block {
    /// Makes it from a block of the guard's walk. `root` is the root that the block names, if any.
    pub fn new(block: &yrs_update::Block, root: Option<Arc<str>>) -> Self {
        let client = block.client;
        let clock = block.clock;
        let end = block.clock.saturating_add(block.len);
        Self {
            client,
            clock,
            end,
            content: block.content,
            root,
            origin: block.origin,
            right_origin: block.right_origin,
        }
    }

    /// The part of the block from the clock `known` on, as a span of a sequence. `None` if the
    /// block ends at or before `known`.
    fn span(&self, known: u32) -> Option<Span> {
        let (clock, origin, right_origin) = self.rest(known)?;
        Some(Span {
            client: self.client,
            clock,
            len: self.end - clock,
            origin,
            right_origin,
            content: self.content,
            deleted: self.content == Content::Gone,
        })
    }

    /// The number of ops of the block before the clock `known`.
    pub fn known_part(&self, known: u32) -> u32 {
        known.saturating_sub(self.clock)
    }

    /// The part of the block from the clock `known` on: its first clock, its origin and its right
    /// origin. `None` if the block ends at or before `known`.
    fn rest(&self, known: u32) -> Option<(u32, Option<Id>, Option<Id>)> {
        match () {
            () if self.end <= known => None,
            () if self.clock < known => {
                Some((known, Some((self.client, known - 1)), self.right_origin))
            }
            () => Some((self.clock, self.origin, self.right_origin)),
        }
    }

    /// Whether a block at this place, and left of an op at the place `right`, would be in two
    /// roots, or in a root that is not for its content.
    fn strays(&self, here: OpRoot, right: Option<OpRoot>) -> bool {
        let OpRoot::Root(here) = here else { return false };
        matches!(right, Some(OpRoot::Root(there)) if there != here)
            || !here.holds.fits(self.content)
    }
}

impl OpRoots {
    /// Adds the ops of a block that neither `base` nor `self` has. Returns them as a span.
    /// O(log n).
    pub fn add(&mut self, block: &Block, base: Option<&Self>) -> Option<Span> {
        let known = self.end(block.client).max(base.map_or(0, |base| base.end(block.client)));
        let span = block.span(known)?;
        let Span { clock, origin, right_origin, .. } = span;
        let place = match (&block.root, origin.or(right_origin)) {
            (_, Some(id)) => self.find(id, base),
            (Some(root), None) => self.root(root, base),
            (None, None) => OpRoot::Unknown,
        };
        self.extend(block.client, clock..block.end, place);
        Some(span)
    }

    /// Adds ops of this client in one root. `clocks` begins where the known ops of the client end.
    /// O(1) beside the search for the client.
    pub fn add_own(&mut self, client: u64, clocks: Range<u32>, root: &str) {
        if clocks.is_empty() {
            return;
        }
        let last = self.last_root.as_ref().map(|(name, _)| name);
        let name = match last.filter(|name| ***name == *root) {
            Some(name) => Arc::clone(name),
            None => Arc::from(root),
        };
        let place = self.root(&name, None);
        self.extend(client, clocks, place);
    }

    /// The number of the root of this name.
    pub fn number(&mut self, name: &str) -> u32 {
        if let Some(root) = self.named.get(name) {
            return root.number;
        }
        match self.root(&Arc::from(name), None) {
            OpRoot::Root(root) => root.number,
            _ => u32::MAX,
        }
    }

    /// The name of the root of this number.
    pub fn name(&self, number: u32) -> Option<&Arc<str>> {
        self.names.get(number as usize)
    }

    /// Whether the root of an op is known, or known to stay unknown.
    pub fn is_resolved(&self, op: Id) -> bool {
        !matches!(self.find(op, None), OpRoot::Beside(_))
    }

    /// The number of the root that holds an op, if the root is a text or a list.
    pub fn sequence_of(&self, op: Id) -> Option<u32> {
        self.sequence(OpRoot::Beside(op))
    }

    fn sequence(&self, place: OpRoot) -> Option<u32> {
        let place = if let OpRoot::Beside(op) = place { self.find(op, None) } else { place };
        match place {
            OpRoot::Root(Root { number, holds: Holds::Text | Holds::List }) => Some(number),
            _ => None,
        }
    }

    /// Cuts a range of ops of a client into parts, each in one root. Calls `each` for the parts
    /// that are in a text or a list, with the number of the root. O(log n + parts).
    pub fn sequences_in(
        &self,
        client: u64,
        clocks: Range<u32>,
        each: &mut dyn FnMut(u32, Range<u32>),
    ) {
        let Some(known) = self.clients.get(&client) else { return };
        let first = known.runs.partition_point(|(start, _)| *start <= clocks.start);
        let runs = known.runs.get(first.saturating_sub(1)..).unwrap_or_default();
        let ends = runs.iter().skip(1).map(|(start, _)| *start).chain([known.end]);
        for ((start, place), end) in runs.iter().zip(ends) {
            if *start >= clocks.end {
                break;
            }
            let part = clocks.start.max(*start)..clocks.end.min(end);
            if let Some(number) = self.sequence(*place).filter(|_| !part.is_empty()) {
                each(number, part);
            }
        }
    }

    /// Adds ops of a client at one place.
    fn extend(&mut self, client: u64, ops: Range<u32>, place: OpRoot) {
        let clocks = self.clients.entry(client).or_insert_with(|| {
            *self.alike.entry(ending(client)).or_default() += 1;
            Clocks::default()
        });
        if clocks.end != ops.start || clocks.runs.last().is_none_or(|(_, last)| *last != place) {
            clocks.runs.push((ops.start, place));
            if matches!(place, OpRoot::Beside(_)) {
                self.unsettled.push((client, ops.start));
            }
        }
        clocks.end = ops.end;
    }

    /// Finds the roots of the ops whose root was not known when they were added. Must be called
    /// when all ops to which they refer were added. In an update, the root of an op may be known
    /// only by way of many other ops, each of another client. O(ops · log n).
    pub fn settle(&mut self, base: Option<&Self>) {
        for id in std::mem::take(&mut self.unsettled) {
            let (mut path, mut seen) = (Vec::new(), HashSet::new());
            let mut place = OpRoot::Beside(id);
            while let OpRoot::Beside(op) = place {
                let known =
                    base.and_then(|base| base.at(op.0, op.1)).or_else(|| self.at(op.0, op.1));
                let Some(next) = known else { break };
                path.push(op);
                // Ops that refer to each other in a circle have no root.
                place = if seen.insert(op) { next } else { OpRoot::Unknown };
            }
            path.into_iter().for_each(|op| self.set(op, place));
        }
    }

    /// Sets the place of the run that holds an op.
    fn set(&mut self, (client, clock): Id, place: OpRoot) {
        let Some(clocks) = self.clients.get_mut(&client) else { return };
        let after = clocks.runs.partition_point(|(start, _)| *start <= clock);
        if let Some((_, old)) = after.checked_sub(1).and_then(|run| clocks.runs.get_mut(run))
            && matches!(old, OpRoot::Beside(_))
        {
            *old = place;
        }
    }

    /// The first of these blocks that would be in two roots, or in a root that is not for its
    /// content. The caller must have added all blocks to `self` with this `base`, and settled them.
    pub fn stray<'a>(
        &self,
        mut blocks: impl Iterator<Item = &'a Block>,
        base: &Self,
    ) -> Option<Id> {
        let strays = |block: &&Block| {
            let Some((clock, origin, right)) = block.rest(base.end(block.client)) else {
                return false;
            };
            let here = self.find((block.client, clock), Some(base));
            let right = origin.and(right).map(|right| self.find(right, Some(base)));
            block.strays(here, right)
        };
        blocks.find(strays).map(|block| (block.client, block.clock))
    }

    /// The same for one block, which refers only to ops that `self` has. It is not added.
    pub fn lone_stray(&self, block: &Block) -> Option<Id> {
        let (_, origin, right) = block.rest(self.end(block.client))?;
        let place = |id: Id| self.find(id, None);
        let strays = match (origin.or(right), &block.root) {
            (Some(beside), _) => block.strays(place(beside), origin.and(right).map(place)),
            (None, Some(root)) => !Holds::of(root).fits(block.content),
            (None, None) => false,
        };
        strays.then_some((block.client, block.clock))
    }

    /// Refuses new clients if the document would have too many clients, or too many whose ids end
    /// in the same bits. The tables of yrs use the id itself as its hash, so such ids collide, and
    /// each access would walk through all of them.
    pub fn welcome(
        &self,
        clients: impl Iterator<Item = u64>,
        limits: &Limits,
    ) -> Result<(), BackendError> {
        let new: BTreeSet<u64> =
            clients.filter(|client| !self.clients.contains_key(client)).collect();
        let Some(&replica) = new.last() else { return Ok(()) };
        if (self.clients.len() + new.len()).saturating_mul(CLIENT_BYTES)
            > limits.version_bytes_max()
        {
            return Err(BackendError::TooManyReplicas {
                replica,
                reason: "the version would be too long",
            });
        }
        let mut alike: BTreeMap<u16, usize> = BTreeMap::new();
        for replica in new {
            let count = alike
                .entry(ending(replica))
                .or_insert_with_key(|ending| self.alike.get(ending).copied().unwrap_or(0));
            *count += 1;
            if *count > limits.alike_ids_max() {
                return Err(BackendError::TooManyReplicas {
                    replica,
                    reason: "so many ids are not alike by chance",
                });
            }
        }
        Ok(())
    }

    /// The clock after the last known op of a client.
    pub fn end(&self, client: u64) -> u32 {
        self.clients.get(&client).map_or(0, |clocks| clocks.end)
    }

    /// The root of this name. It has the same number in `self` and in `base`.
    fn root(&mut self, name: &Arc<str>, base: Option<&Self>) -> OpRoot {
        if let Some((_, root)) = self.last_root.as_ref().filter(|(last, _)| Arc::ptr_eq(last, name))
        {
            return OpRoot::Root(*root);
        }
        let known =
            base.and_then(|base| base.named.get(name)).or_else(|| self.named.get(name)).copied();
        let root = known.unwrap_or_else(|| {
            let number = self.named.len() + base.map_or(0, |base| base.named.len());
            Root { number: number as u32, holds: Holds::of(name) }
        });
        if known.is_none() {
            self.named.insert(Arc::clone(name), root);
            self.names.push(Arc::clone(name));
        }
        self.last_root = Some((Arc::clone(name), root));
        OpRoot::Root(root)
    }

    /// The place of an op, as far as it is known.
    fn find(&self, id: Id, base: Option<&Self>) -> OpRoot {
        let mut place = OpRoot::Beside(id);
        for _ in 0..STEPS_MAX {
            let OpRoot::Beside((client, clock)) = place else { return place };
            let Some(next) =
                base.and_then(|base| base.at(client, clock)).or_else(|| self.at(client, clock))
            else {
                return place;
            };
            place = next;
        }
        place
    }

    fn at(&self, client: u64, clock: u32) -> Option<OpRoot> {
        let clocks = self.clients.get(&client).filter(|clocks| clock < clocks.end)?;
        let after = clocks.runs.partition_point(|(start, _)| *start <= clock);
        clocks.runs.get(after.checked_sub(1)?).map(|(_, place)| *place)
    }
}
