//! Checks the bytes of a foreign document before yrs sees them:
//!
//! - How deep shared types are nested. yrs deletes them recursively.
//! - Whether they are a whole document. yrs shows a part of a document as if it were whole.

use std::collections::BTreeMap;

use super::op_roots::OpRoots;
use crate::document::backend::BackendError;
use crate::document::guard::GuardError;
use crate::document::guard::yrs_update::{self, Block, Visitor};
use crate::document::limits::Limits;

/// An op, by client and clock.
type Id = (u64, u32);

/// Walks a whole document. Fails if an op may be deeper than the limits allow, or if an op is
/// missing.
pub fn check(bytes: &[u8], limits: &Limits) -> Result<(), BackendError> {
    let mut nesting = Nesting::default();
    yrs_update::walk(bytes, limits, &mut nesting)?;
    let clients: Vec<u64> = nesting.clients();
    OpRoots::default().welcome(clients.into_iter(), limits)?;
    if nesting.has_gap() {
        let reason = "the bytes are only a part of a document: a dependency is missing";
        return Err(BackendError::Refused(reason.to_owned()));
    }
    let max = limits.nesting_max();
    match nesting.as_deep_as(max) {
        None => Ok(()),
        Some(at) => Err(GuardError::TooDeep { at, max }.into()),
    }
}

/// The blocks of a document, by their first op.
#[derive(Default)]
struct Nesting {
    blocks: BTreeMap<Id, Placed>,
    /// The ops to which the next block refers.
    needs: Vec<Id>,
}

/// A block, and what is known of its depth.
struct Placed {
    end: u32,
    /// Where its bytes begin.
    at: usize,
    /// The ops beside which the block is.
    beside: [Option<Id>; 2],
    /// The op of the type in which the block is, if the block names it.
    parent: Option<Id>,
    depth: Depth,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Unknown,
    /// The depth is being found. A block that refers to itself over others stays so until the end;
    /// yrs never applies it.
    Open,
    Known(usize),
}

impl Visitor for Nesting {
    fn needs(&mut self, client: u64, clock: u32) {
        self.needs.push((client, clock));
    }

    fn empty_block(&mut self) {
        self.needs.clear();
    }

    fn skip(&mut self, _: u64, _: u32, _: u32) {
        self.needs.clear();
    }

    fn block(&mut self, block: Block) {
        let needs = std::mem::take(&mut self.needs);
        let beside = [block.origin, block.right_origin];
        let is_beside = beside.iter().any(Option::is_some);
        let placed = Placed {
            end: block.clock.saturating_add(block.len),
            at: block.bytes.start,
            beside,
            // A block without neighbours refers to nothing but its parent.
            parent: needs.first().copied().filter(|_| !is_beside),
            depth: Depth::Unknown,
        };
        self.blocks.insert((block.client, block.clock), placed);
    }
}

impl Nesting {
    fn clients(&self) -> Vec<u64> {
        let mut clients: Vec<u64> = self.blocks.keys().map(|(client, _)| *client).collect();
        clients.dedup();
        clients
    }

    /// The first op of the block with this op.
    fn block_of(&self, (client, clock): Id) -> Option<Id> {
        let (id, placed) = self.blocks.range(..=(client, clock)).next_back()?;
        (id.0 == client && clock < placed.end).then_some(*id)
    }

    /// Whether the ops of a client do not begin at 0, or not all ops up to the last one are there.
    fn has_gap(&self) -> bool {
        let mut next = (0, 0);
        self.blocks.iter().any(|((client, clock), placed)| {
            let expected = if next.0 == *client { next.1 } else { 0 };
            next = (*client, placed.end);
            *clock != expected
        })
    }

    /// The byte offset of a block that is within `max` types or more. A block beside two others
    /// counts as deep as the deeper one. O(blocks · log(blocks)), without recursion.
    fn as_deep_as(&mut self, max: usize) -> Option<usize> {
        let all: Vec<Id> = self.blocks.keys().copied().collect();
        let mut open: Vec<Id> = Vec::new();
        for first in all {
            open.push(first);
            while let Some(id) = open.last().copied() {
                match self.step(id) {
                    Step::Needs(mut others) => open.append(&mut others),
                    Step::Known(depth, at) if depth >= max => return Some(at),
                    Step::Known(..) => drop(open.pop()),
                }
            }
        }
        None
    }

    fn step(&mut self, id: Id) -> Step {
        let Some(placed) = self.blocks.get(&id) else { return Step::Known(0, 0) };
        let at = placed.at;
        let was = placed.depth;
        if let Depth::Known(depth) = was {
            return Step::Known(depth, at);
        }
        let beside = placed.beside.iter().flatten().map(|id| (*id, 0));
        let refers: Vec<(Id, usize)> =
            beside.chain(placed.parent.iter().map(|id| (*id, 1))).collect();
        let mut depth = 0;
        let mut others = Vec::new();
        for (other, below) in refers {
            let Some(other) = self.block_of(other) else { continue };
            match self.blocks.get(&other).map(|other| other.depth) {
                Some(Depth::Known(known)) => depth = depth.max(known + below),
                Some(Depth::Unknown) => others.push(other),
                // A circle: see `Depth::Open`.
                _ => {}
            }
        }
        let found = match others.is_empty() || was == Depth::Open {
            true => Depth::Known(depth),
            false => Depth::Open,
        };
        if let Some(placed) = self.blocks.get_mut(&id) {
            placed.depth = found;
        }
        match found {
            Depth::Known(depth) => Step::Known(depth, at),
            _ => Step::Needs(others),
        }
    }
}

enum Step {
    /// The depths of these blocks are needed first.
    Needs(Vec<Id>),
    /// The depth, and the offset of the block.
    Known(usize, usize),
}
