//! A checked update, and what the guard's walk collects about it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::REGISTERS;
use super::op_roots::{self, OpRoots};
use super::sequence_index::{SequenceIndexes, Span};
use crate::document::guard::GuardError;
use crate::document::guard::yrs_update::{self, Block, Content, Visitor};
use crate::document::limits::Limits;
use crate::document::named;

/// A checked update: its bytes, the ops that it brings and the ops that it depends on.
pub struct CheckedUpdate {
    pub bytes: Vec<u8>,
    pub summary: Summary,
}

/// The facts about an update that the guard's walk collects.
#[derive(Default)]
pub struct Summary {
    pub roots: BTreeSet<String>,
    /// For each client, the first clock and the end of the blocks that the update brings.
    pub brings: BTreeMap<u64, (u32, u32)>,
    /// For each client, the end of the last hole in its section. The document must already have the
    /// ops of the hole. Otherwise yrs would keep the hole, and would lose count of it when it is
    /// filled.
    holes: BTreeMap<u64, u32>,
    /// For each client, the highest clock to which a block or a deletion refers.
    needs: BTreeMap<u64, u32>,
    /// The versions of the layout that the update writes into the document.
    pub layouts: Vec<u64>,
    /// Whether the update holds a mark on text.
    pub marks: bool,
    /// Whether the update holds text with characters of two UTF-16 code units.
    pub surrogates: bool,
    /// Whether the update holds blocks that were deleted before they arrived. No transaction counts
    /// their deletion.
    pub carries_deleted: bool,
    /// The root that the walk named last. `in_root` says whether the next block is in it.
    root: Option<Arc<str>>,
    in_root: bool,
    /// Whether the next block is under a key of its root.
    keyed: bool,
    pub blocks: Vec<NewBlock>,
    pub deleted: Vec<(u64, Range<u32>)>,
    /// If set, the walk adds the blocks to it directly instead of to `blocks`. Used for a whole
    /// document.
    loading: Option<Loading>,
}

/// A block of an update, and the part of the bytes that an index of a sequence needs.
pub struct NewBlock {
    pub block: op_roots::Block,
    /// The first byte of the block.
    pub starts_at: usize,
    /// The place of the content.
    pub content: Range<usize>,
    /// Whether the block is under a key. Then it has no place in a sequence.
    pub keyed: bool,
}

impl AsRef<op_roots::Block> for NewBlock {
    fn as_ref(&self) -> &op_roots::Block {
        &self.block
    }
}

/// What the backend keeps of the ops of a whole document.
#[derive(Default)]
struct Loading {
    op_roots: OpRoots,
    indexes: SequenceIndexes,
    /// Ops whose root is not known yet, because they refer to ops that come later.
    unresolved: Vec<Span>,
}

impl Loading {
    fn add(&mut self, block: &NewBlock) {
        let Some(span) = self.op_roots.add(&block.block, None) else { return };
        match self.op_roots.is_resolved((span.client, span.clock)) {
            true => self.collect(span, block.keyed),
            false => self.unresolved.push(span),
        }
    }

    fn collect(&mut self, span: Span, keyed: bool) {
        match self.op_roots.sequence_of((span.client, span.clock)) {
            Some(sequence) if keyed => self.indexes.give_up(sequence),
            Some(sequence) => self.indexes.collect(sequence, span),
            None => {}
        }
    }

    fn finish(mut self, deleted: Vec<(u64, Range<u32>)>) -> (OpRoots, SequenceIndexes) {
        self.op_roots.settle(None);
        // A block that refers to another op is not itself under a key: see `NewBlock::keyed`.
        std::mem::take(&mut self.unresolved).into_iter().for_each(|span| self.collect(span, false));
        for (client, clocks) in deleted {
            self.op_roots.sequences_in(client, clocks, &mut |sequence, part| {
                self.indexes.collect_deleted(sequence, client, part);
            });
        }
        (self.op_roots, self.indexes)
    }
}

impl Summary {
    /// Walks a whole document. Returns what the walk found, and the roots and the sequences of its
    /// ops.
    pub fn of_document(
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<(Self, OpRoots, SequenceIndexes), GuardError> {
        let mut summary = Self { loading: Some(Loading::default()), ..Self::default() };
        yrs_update::walk(bytes, limits, &mut summary)?;
        let loading = summary.loading.take().unwrap_or_default();
        let (op_roots, indexes) = loading.finish(std::mem::take(&mut summary.deleted));
        Ok((summary, op_roots, indexes))
    }

    /// Walks an update.
    pub fn of(bytes: &[u8], limits: &Limits) -> Result<Self, GuardError> {
        let mut summary = Self::default();
        yrs_update::walk(bytes, limits, &mut summary)?;
        Ok(summary)
    }

    /// Whether a document with these clocks has all dependencies of the update.
    pub fn fits(&self, clock: impl Fn(u64) -> u32) -> bool {
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
        self.keyed = true;
        if self.in_root && self.root.as_ref().is_some_and(|root| **root == *REGISTERS) {
            self.layouts.extend(named::layout_in(name));
        }
    }

    fn empty_block(&mut self) {
        self.in_root = false;
        self.keyed = false;
    }

    fn block(&mut self, block: Block) {
        let root = self.root.clone().filter(|_| std::mem::take(&mut self.in_root));
        let Block { client, clock, len, .. } = block;
        let new = NewBlock {
            block: op_roots::Block::new(&block, root),
            starts_at: block.bytes.start,
            content: block.content_at..block.bytes.end,
            keyed: std::mem::take(&mut self.keyed),
        };
        match &mut self.loading {
            Some(loading) => loading.add(&new),
            None => self.blocks.push(new),
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
            self.deleted.push((client, clock..clock.saturating_add(len)));
        }
    }
}
