//! The deleted ops of a document, in two forms: a hash for the version, and ranges to find out
//! whether an update deletes anything new.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use yrs::{ClientID, IdSet, ReadTxn, StateVector};

use crate::document::guard::GuardError;
use crate::document::guard::yrs_update::{self, Block, Visitor};
use crate::document::limits::Limits;
use crate::document::version::DeleteHash;

/// The deletions of a document. Each form is computed when it is first needed, because yrs walks
/// all blocks for it.
#[derive(Default)]
pub(super) struct Deleted {
    /// Kept up to date with every transaction.
    hash: Cell<Option<DeleteHash>>,
    /// The next deletion drops it.
    ranges: RefCell<Option<Arc<Ranges>>>,
}

/// The deleted clocks of each client as (start, end), sorted. Adjacent ranges are merged.
type Ranges = BTreeMap<u64, Vec<(u32, u32)>>;

impl Deleted {
    /// The deletions of an empty document.
    pub(super) fn none() -> Self {
        Self { hash: Cell::new(Some(DeleteHash::default())), ..Self::default() }
    }

    /// The hash of all deletions.
    pub(super) fn hash(&self, txn: &impl ReadTxn) -> DeleteHash {
        let hash = self.hash.get().unwrap_or_else(|| hash_of(&txn.snapshot().delete_set));
        self.hash.set(Some(hash));
        hash
    }

    /// Adds the deletions of a transaction.
    pub(super) fn add(&self, deleted: &IdSet) {
        if deleted.is_empty() {
            return;
        }
        self.ranges.take();
        if let Some(mut hash) = self.hash.get() {
            hash.merge(hash_of(deleted));
            self.hash.set(Some(hash));
        }
    }

    /// Drops both forms. Needed if the document has deletions that no transaction reported.
    pub(super) fn recount(&self) {
        self.hash.set(None);
        self.ranges.take();
    }

    fn ranges(&self, txn: &impl ReadTxn) -> Arc<Ranges> {
        Arc::clone(
            self.ranges
                .borrow_mut()
                .get_or_insert_with(|| Arc::new(ranges_of(&txn.snapshot().delete_set))),
        )
    }

    /// Whether a document has all blocks of an update and has deleted all ranges that the update
    /// deletes. O(update · log n); the first call after a deletion also costs O(n).
    pub(super) fn contain(
        &self,
        txn: &impl ReadTxn,
        update: &[u8],
        limits: &Limits,
    ) -> Result<bool, GuardError> {
        let mut blocks = Blocks { known: txn.state_vector(), all: true, deletes: false };
        yrs_update::walk(update, limits, &mut blocks)?;
        if !blocks.all || !blocks.deletes {
            return Ok(blocks.all);
        }
        let mut deletions = Deletions { known: &self.ranges(txn), all: true };
        yrs_update::walk(update, limits, &mut deletions)?;
        Ok(deletions.all)
    }
}

/// Finds out whether all blocks of an update are known, and whether the update deletes anything.
struct Blocks {
    known: StateVector,
    all: bool,
    deletes: bool,
}

impl Visitor for Blocks {
    fn block(&mut self, block: Block) {
        self.all &=
            self.known.get(&ClientID::new(block.client)) >= block.clock.saturating_add(block.len);
    }

    fn deletes(&mut self, _client: u64, _clock: u32, _len: u32) {
        self.deletes = true;
    }
}

/// Finds out whether all ranges that an update deletes are already deleted.
struct Deletions<'a> {
    known: &'a Ranges,
    all: bool,
}

impl Visitor for Deletions<'_> {
    fn deletes(&mut self, client: u64, clock: u32, len: u32) {
        let ranges = self.known.get(&client).map_or(&[][..], Vec::as_slice);
        let before = ranges.partition_point(|(start, _)| *start <= clock);
        let around = before.checked_sub(1).and_then(|at| ranges.get(at));
        self.all &= around.is_some_and(|(_, end)| *end >= clock.saturating_add(len));
    }
}

fn hash_of(deleted: &IdSet) -> DeleteHash {
    let mut hash = DeleteHash::default();
    for (client, ranges) in deleted.iter() {
        for range in ranges.iter() {
            hash.add(client.get(), range.start, range.end);
        }
    }
    hash
}

fn ranges_of(deleted: &IdSet) -> Ranges {
    let mut all = Ranges::new();
    for (client, ranges) in deleted.iter() {
        let mut sorted: Vec<(u32, u32)> =
            ranges.iter().map(|range| (range.start, range.end)).collect();
        sorted.sort_unstable();
        let merged = all.entry(client.get()).or_default();
        for (start, end) in sorted {
            match merged.last_mut() {
                Some((_, last)) if *last >= start => *last = end.max(*last),
                _ => merged.push((start, end)),
            }
        }
    }
    all
}
