//! Cuts an update into pieces of which each passes the guard's limits for strangers.
//!
//! Blocks go into pieces in an order in which each stands on what came before, so that a piece can be applied as soon as those before
//! it are. What is deleted comes last, as it may name any block.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use crate::document::backend::PIECE_BYTES_MAX;
use crate::document::guard::GuardError;
use crate::document::guard::yrs_update::{self, Block, Halves, Visitor, halve, put_uint};
use crate::document::limits::Limits;

/// How much a piece holds.
struct Sizes {
    /// Bytes of blocks.
    bytes_max: usize,
    /// Blocks, values and deleted ranges.
    items_max: usize,
    clients_max: usize,
    /// An update of so many bytes has too few of anything to be cut: each of them takes a byte.
    uncut_bytes: usize,
}

const SIZES: Sizes = Sizes { bytes_max: PIECE_BYTES_MAX, items_max: 100_000, clients_max: 4_000, uncut_bytes: 100_000 };

/// Cuts an update of one's own. O(n log n).
pub(super) fn cut(update: Vec<u8>) -> Result<Vec<Vec<u8>>, GuardError> {
    cut_to(update, &SIZES)
}

fn cut_to(update: Vec<u8>, sizes: &Sizes) -> Result<Vec<Vec<u8>>, GuardError> {
    if update.len() <= sizes.uncut_bytes {
        return Ok(vec![update]);
    }
    let block_bytes_max = sizes.bytes_max.min(sizes.items_max) / 2;
    let mut plan =
        Plan { update: &update, block_bytes_max, sections: BTreeMap::new(), needs: Vec::new(), deleted: Vec::new(), failed: None };
    yrs_update::walk(&update, &Limits::trusted(), &mut plan)?;
    plan.failed.take().map_or(Ok(()), Err)?;
    let mut cutter = Cutter::new(plan.sections, sizes);
    cutter.run();
    Ok(cutter.finish(&plan.deleted))
}

/// A block that can be put into a piece.
struct Ready {
    clock: u32,
    len: u32,
    bytes: Vec<u8>,
    needs: Vec<(u64, u32)>,
}

impl Ready {
    /// What it counts for: a block, or the values in it.
    fn items(&self) -> usize {
        if self.bytes.first().is_some_and(|info| yrs_update::holds_values(*info)) { self.len as usize } else { 1 }
    }
}

/// What is in an update.
struct Plan<'a> {
    update: &'a [u8],
    /// Longer blocks are cut, where they can be.
    block_bytes_max: usize,
    sections: BTreeMap<u64, VecDeque<Ready>>,
    needs: Vec<(u64, u32)>,
    deleted: Vec<(u64, u32, u32)>,
    failed: Option<GuardError>,
}

impl Plan<'_> {
    /// Adds a block, in parts where it is too large for a piece.
    fn add(&mut self, block: &Block) -> Result<(), GuardError> {
        let section = self.sections.entry(block.client).or_default();
        let mut bytes = self.update.get(block.bytes.clone()).unwrap_or_default().to_vec();
        let (mut clock, mut len, mut needs) = (block.clock, block.len, std::mem::take(&mut self.needs));
        while bytes.len() > self.block_bytes_max {
            let Some(Halves { first, second, first_len }) = halve(&bytes, block.client, clock, self.block_bytes_max / 2)? else { break };
            section.push_back(Ready { clock, len: first_len, bytes: first, needs: std::mem::take(&mut needs) });
            (bytes, clock, len) = (second, clock + first_len, len - first_len);
        }
        section.push_back(Ready { clock, len, bytes, needs });
        Ok(())
    }
}

impl Visitor for Plan<'_> {
    fn needs(&mut self, client: u64, clock: u32) {
        self.needs.push((client, clock));
    }

    fn block(&mut self, block: Block) {
        if let Err(error) = self.add(&block) {
            self.failed = Some(error);
        }
    }

    fn deletes(&mut self, client: u64, clock: u32, len: u32) {
        self.deleted.push((client, clock, len));
    }
}

/// Takes blocks from all clients in an order in which each finds what it needs.
struct Cutter<'a> {
    sizes: &'a Sizes,
    sections: BTreeMap<u64, VecDeque<Ready>>,
    /// Up to which clock each client's blocks are in pieces.
    reached: BTreeMap<u64, u32>,
    /// Clients whose next block may be ready.
    queue: VecDeque<u64>,
    /// Clients whose next block needs this one.
    waiting: BTreeMap<(u64, u32), Vec<u64>>,
    piece: Piece,
    pieces: Vec<Vec<u8>>,
}

impl<'a> Cutter<'a> {
    fn new(sections: BTreeMap<u64, VecDeque<Ready>>, sizes: &'a Sizes) -> Self {
        let reached = sections.iter().filter_map(|(client, blocks)| Some((*client, blocks.front()?.clock))).collect();
        let queue = sections.keys().copied().collect();
        Self { sizes, sections, reached, queue, waiting: BTreeMap::new(), piece: Piece::default(), pieces: Vec::new() }
    }

    fn run(&mut self) {
        while let Some(client) = self.queue.pop_front() {
            while let Some(block) = self.sections.get_mut(&client).and_then(VecDeque::pop_front) {
                let lacking = block.needs.iter().find(|(other, clock)| self.reached.get(other).is_some_and(|reached| clock >= reached));
                if let Some(lacking) = lacking.filter(|(other, _)| *other != client) {
                    self.waiting.entry(*lacking).or_default().push(client);
                    self.sections.entry(client).or_default().push_front(block);
                    break;
                }
                self.put(client, block);
            }
        }
    }

    fn put(&mut self, client: u64, block: Ready) {
        if !self.piece.has_room(client, &block, self.sizes) {
            self.end_piece();
        }
        let reached = block.clock + block.len;
        self.piece.add(client, block);
        self.reached.insert(client, reached);
        while let Some(entry) = self.waiting.range((client, 0)..(client, reached)).next().map(|(need, _)| *need) {
            self.queue.extend(self.waiting.remove(&entry).unwrap_or_default());
        }
    }

    fn end_piece(&mut self) {
        if self.piece.items > 0 {
            self.pieces.push(std::mem::take(&mut self.piece).encode());
        }
    }

    /// The pieces, with what is deleted in the last ones.
    fn finish(mut self, deleted: &[(u64, u32, u32)]) -> Vec<Vec<u8>> {
        // Blocks that need each other in a circle, which no replica makes: the receiver is to judge.
        for (client, blocks) in std::mem::take(&mut self.sections) {
            blocks.into_iter().for_each(|block| self.piece.add(client, block));
        }
        for (client, clock, len) in deleted {
            let clients = self.piece.deleted.len() + usize::from(!self.piece.deleted.contains_key(client));
            if self.piece.items >= self.sizes.items_max || clients > self.sizes.clients_max {
                self.end_piece();
            }
            self.piece.deleted.entry(*client).or_default().push((*clock, *len));
            self.piece.items += 1;
        }
        self.end_piece();
        self.pieces
    }
}

/// A part of an update.
#[derive(Default)]
struct Piece {
    /// Of each client, highest first: its first clock, how many blocks, and their bytes.
    sections: BTreeMap<Reverse<u64>, (u32, u64, Vec<u8>)>,
    deleted: BTreeMap<u64, Vec<(u32, u32)>>,
    items: usize,
    bytes: usize,
}

impl Piece {
    fn has_room(&self, client: u64, block: &Ready, sizes: &Sizes) -> bool {
        let clients = self.sections.len() + usize::from(!self.sections.contains_key(&Reverse(client)));
        clients <= sizes.clients_max && self.items + block.items() <= sizes.items_max && self.bytes + block.bytes.len() <= sizes.bytes_max
    }

    fn add(&mut self, client: u64, block: Ready) {
        let (_, count, bytes) = self.sections.entry(Reverse(client)).or_insert_with(|| (block.clock, 0, Vec::new()));
        *count += 1;
        bytes.extend_from_slice(&block.bytes);
        self.items += block.items();
        self.bytes += block.bytes.len();
    }

    fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes + 64);
        put_uint(&mut bytes, self.sections.len() as u64);
        for (Reverse(client), (clock, count, blocks)) in self.sections {
            put_uint(&mut bytes, count);
            put_uint(&mut bytes, client);
            put_uint(&mut bytes, u64::from(clock));
            bytes.extend_from_slice(&blocks);
        }
        put_uint(&mut bytes, self.deleted.len() as u64);
        for (client, ranges) in self.deleted {
            put_uint(&mut bytes, client);
            put_uint(&mut bytes, ranges.len() as u64);
            for (clock, len) in ranges {
                put_uint(&mut bytes, u64::from(clock));
                put_uint(&mut bytes, u64::from(len));
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use yrs::updates::decoder::Decode;
    use yrs::{Array, Doc, GetString, Map, ReadTxn, StateVector, Text, Transact, Update};

    use super::*;

    const TINY: Sizes = Sizes { bytes_max: 60, items_max: 8, clients_max: 2, uncut_bytes: 0 };

    fn doc(client: u64) -> Doc {
        let options = yrs::Options { offset_kind: yrs::OffsetKind::Utf16, ..yrs::Options::with_client_id(yrs::ClientID::new(client)) };
        let doc = Doc::with_options(options);
        let (_, _, _) = (doc.get_or_insert_text("T:t"), doc.get_or_insert_array("L:l"), doc.get_or_insert_map("state"));
        doc
    }

    fn apply(doc: &Doc, update: &[u8]) {
        doc.transact_mut().apply_update(Update::decode_v1(update).expect("an update")).expect("it fits");
    }

    fn edit(doc: &Doc, kind: u8, at: u32) {
        let mut txn = doc.transact_mut();
        let (text, list) = (txn.get_text("T:t").expect("there"), txn.get_array("L:l").expect("there"));
        let (text_len, list_len) = (text.len(&txn), list.len(&txn));
        match kind {
            0 => text.insert(&mut txn, at % (text_len + 1), "a longer piece of text äöü, which is cut in two or three parts in the end"),
            1 => list.insert_range(&mut txn, at % (list_len + 1), (0..at % 40).map(f64::from)),
            2 => drop(txn.get_map("state").expect("there").insert(&mut txn, format!("key {}", at % 5), f64::from(at))),
            3 if text_len > 0 => text.remove_range(&mut txn, at % text_len, 1 + at % 3 % (text_len - at % text_len)),
            4 if list_len > 0 => list.remove(&mut txn, at % list_len),
            _ => drop(txn.get_map("state").expect("there").remove(&mut txn, &format!("key {}", at % 5))),
        }
    }

    fn content(doc: &Doc) -> String {
        let txn = doc.transact();
        let text = txn.get_text("T:t").expect("there").get_string(&txn);
        let list: Vec<_> = txn.get_array("L:l").expect("there").iter(&txn).map(|value| value.to_string(&txn)).collect();
        let map = txn.get_map("state").expect("there");
        let map: BTreeMap<_, _> = map.iter(&txn).map(|(key, value)| (key, value.to_string(&txn))).collect();
        format!("{text} {list:?} {map:?} {:?}", txn.snapshot())
    }

    proptest! {
        #[test]
        fn pieces_make_the_whole_one_after_the_other(steps in prop::collection::vec((0u64..3, 0u8..7, any::<u32>()), 1..60), since in 0usize..60) {
            let docs = [doc(1), doc(2), doc(900)];
            let (early, mut fresh) = (doc(5), doc(6));
            for (step, (who, kind, at)) in steps.iter().enumerate() {
                let here = &docs[*who as usize];
                if *kind == 6 {
                    let other = docs[(at % 3) as usize].transact().encode_state_as_update_v1(&here.transact().state_vector());
                    apply(here, &other);
                } else {
                    edit(here, *kind, *at);
                }
                if step == since {
                    apply(&early, &here.transact().encode_state_as_update_v1(&StateVector::default()));
                }
            }
            for other in &docs[1..] {
                apply(&docs[0], &other.transact().encode_state_as_update_v1(&StateVector::default()));
            }
            for behind in [&early, &mut fresh] {
                let update = docs[0].transact().encode_diff_v1(&behind.transact().state_vector());
                for piece in cut_to(update, &TINY).expect("an update") {
                    yrs_update::walk(&piece, &Limits::stranger().with_clients_max(2).with_blocks_max(8).with_values_max(8), &mut ())
                        .expect("a piece within its size");
                    apply(behind, &piece);
                    prop_assert!(!behind.transact().has_missing_updates());
                }
                prop_assert_eq!(content(behind), content(&docs[0]));
            }
        }
    }
}
