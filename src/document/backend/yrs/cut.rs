//! Cuts an update into pieces. Each piece passes the guard's limits for untrusted peers.
//!
//! Each block comes after its dependencies, so a piece can be applied as soon as the pieces before
//! it are applied. The deleted ranges come last, because a range may name any block.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use crate::document::backend::PIECE_BYTES_MAX;
use crate::document::guard::GuardError;
use crate::document::guard::yrs_update::{self, Block, Visitor, split};
use crate::document::limits::Limits;
use crate::varint;

/// Blocks, and deleted ranges, in a piece.
const BLOCKS_MAX: usize = 100_000;
/// Values in a piece, nested ones included.
const VALUES_MAX: usize = 100_000;
/// Clients with blocks, and clients with deleted ranges, in a piece.
const CLIENTS_MAX: usize = 4_000;
/// The most bytes that a client's section takes beside its blocks or ranges: three numbers.
const SECTION_BYTES: usize = 10 + 8 + 5;
/// The most bytes that a deleted range takes: two numbers.
const RANGE_BYTES: usize = 5 + 5;

/// Cuts an update of this replica into pieces. A block that cannot be cut, for example a single
/// value, stays whole, even if its piece becomes too large. O(n log n).
pub(super) fn cut(update: Vec<u8>) -> Result<Vec<Vec<u8>>, GuardError> {
    // Each client, block and value takes at least one byte, so a short update is within all limits.
    if update.len() <= CLIENTS_MAX.min(BLOCKS_MAX).min(VALUES_MAX).min(PIECE_BYTES_MAX) {
        return Ok(vec![update]);
    }
    cut_to(update, &sizes(PIECE_BYTES_MAX))
}

fn sizes(bytes_max: usize) -> Limits {
    let sizes = Limits::trusted()
        .with_bytes_max(bytes_max)
        .with_blocks_max(BLOCKS_MAX)
        .with_values_max(VALUES_MAX);
    sizes.with_clients_max(CLIENTS_MAX)
}

/// Like [`cut`], for an update from outside: it first validates the update against these limits.
pub(super) fn cut_untrusted(
    update: &[u8],
    limits: &Limits,
    bytes_max: usize,
) -> Result<Vec<Vec<u8>>, GuardError> {
    yrs_update::walk(update, limits, &mut ())?;
    cut_to(update.to_vec(), &sizes(bytes_max.min(PIECE_BYTES_MAX)))
}

fn cut_to(update: Vec<u8>, sizes: &Limits) -> Result<Vec<Vec<u8>>, GuardError> {
    // The content of this document was validated before, maybe with wider limits than the usual
    // ones.
    let own = Limits::own();
    if yrs_update::walk(&update, &sizes.clone().with_nesting_max(usize::MAX), &mut ()).is_ok() {
        return Ok(vec![update]);
    }
    let block_bytes_max = sizes.bytes_max().min(sizes.values_max()) / 2;
    let mut plan = Plan {
        update: &update,
        own: &own,
        block_bytes_max,
        sections: BTreeMap::new(),
        needs: Vec::new(),
        deleted: Vec::new(),
        failed: None,
    };
    yrs_update::walk(&update, &own, &mut plan)?;
    plan.failed.take().map_or(Ok(()), Err)?;
    let mut cutter = Cutter::new(&update, plan.sections, sizes);
    cutter.run();
    Ok(cutter.finish(&plan.deleted))
}

/// A block that can be put into a piece.
struct Ready {
    clock: u32,
    len: u32,
    values: u64,
    bytes: Bytes,
    needs: Vec<(u64, u32)>,
}

/// The bytes of a block. There are many blocks and most are not cut, so their bytes are not copied.
enum Bytes {
    /// The position of the block in the update.
    Within(Range<usize>),
    /// A part of a block that was cut.
    Made(Vec<u8>),
}

impl Bytes {
    fn of<'a>(&'a self, update: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Within(range) => update.get(range.clone()).unwrap_or_default(),
            Self::Made(bytes) => bytes,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Within(range) => range.len(),
            Self::Made(bytes) => bytes.len(),
        }
    }
}

/// The content of an update, from which the pieces are made.
struct Plan<'a> {
    update: &'a [u8],
    own: &'a Limits,
    /// Longer blocks are cut if possible.
    block_bytes_max: usize,
    sections: BTreeMap<u64, VecDeque<Ready>>,
    needs: Vec<(u64, u32)>,
    deleted: Vec<(u64, u32, u32)>,
    failed: Option<GuardError>,
}

impl Plan<'_> {
    /// Adds a block. If it is too large for a piece, adds its parts.
    fn add(&mut self, block: &Block) -> Result<(), GuardError> {
        let section = self.sections.entry(block.client).or_default();
        let bytes = self.update.get(block.bytes.clone()).unwrap_or_default();
        let mut needs = std::mem::take(&mut self.needs);
        let large = bytes.len() > self.block_bytes_max;
        let parts = if large {
            split(bytes, block.client, block.clock, self.block_bytes_max, self.own)?
        } else {
            Vec::new()
        };
        if parts.is_empty() {
            section.push_back(Ready {
                clock: block.clock,
                len: block.len,
                values: block.values,
                bytes: Bytes::Within(block.bytes.clone()),
                needs,
            });
            return Ok(());
        }
        let mut clock = block.clock;
        for part in parts {
            let bytes = Bytes::Made(part.bytes);
            section.push_back(Ready {
                clock,
                len: part.len,
                values: part.values,
                bytes,
                needs: std::mem::take(&mut needs),
            });
            clock += part.len;
        }
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

/// Takes blocks from all clients, each block after its dependencies.
struct Cutter<'a> {
    update: &'a [u8],
    sizes: &'a Limits,
    sections: BTreeMap<u64, VecDeque<Ready>>,
    /// For each client, the clock up to which its blocks are in pieces.
    reached: BTreeMap<u64, u32>,
    /// Clients whose next block may be ready.
    queue: VecDeque<u64>,
    /// For each op that a block depends on: the clients whose next block waits for it.
    waiting: BTreeMap<(u64, u32), Vec<u64>>,
    piece: Piece,
    pieces: Vec<Vec<u8>>,
}

impl<'a> Cutter<'a> {
    fn new(update: &'a [u8], sections: BTreeMap<u64, VecDeque<Ready>>, sizes: &'a Limits) -> Self {
        let reached = sections
            .iter()
            .filter_map(|(client, blocks)| Some((*client, blocks.front()?.clock)))
            .collect();
        let queue = sections.keys().copied().collect();
        Self {
            update,
            sizes,
            sections,
            reached,
            queue,
            waiting: BTreeMap::new(),
            piece: Piece::default(),
            pieces: Vec::new(),
        }
    }

    fn run(&mut self) {
        while let Some(client) = self.queue.pop_front() {
            while let Some(block) = self.sections.get_mut(&client).and_then(VecDeque::pop_front) {
                let lacking = block.needs.iter().find(|(other, clock)| {
                    self.reached.get(other).is_some_and(|reached| clock >= reached)
                });
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
        self.piece.add(client, &block, self.update);
        self.reached.insert(client, reached);
        while let Some(entry) =
            self.waiting.range((client, 0)..(client, reached)).next().map(|(need, _)| *need)
        {
            self.queue.extend(self.waiting.remove(&entry).unwrap_or_default());
        }
    }

    fn end_piece(&mut self) {
        if self.piece.bytes > 0 {
            self.pieces.push(std::mem::take(&mut self.piece).encode());
        }
    }

    /// The pieces. The deleted ranges are in the last ones.
    fn finish(mut self, deleted: &[(u64, u32, u32)]) -> Vec<Vec<u8>> {
        // These blocks depend on each other in a circle, or on an op after the last block of its
        // client. No replica makes such blocks. They go out all the same, and the receiver
        // validates them.
        for (client, blocks) in std::mem::take(&mut self.sections) {
            blocks.into_iter().for_each(|block| self.put(client, block));
        }
        for (client, clock, len) in deleted {
            if !self.piece.has_room_for_range(*client, self.sizes) {
                self.end_piece();
            }
            self.piece.delete(*client, *clock, *len);
        }
        self.end_piece();
        self.pieces
    }
}

/// A piece of the update, under construction.
#[derive(Default)]
struct Piece {
    /// Highest client first.
    sections: BTreeMap<Reverse<u64>, Section>,
    deleted: BTreeMap<u64, Vec<(u32, u32)>>,
    blocks: usize,
    values: u64,
    ranges: usize,
    /// An upper bound for the bytes of the encoded piece.
    bytes: usize,
}

/// The blocks of one client in a piece, without a gap between them.
struct Section {
    start: u32,
    end: u32,
    blocks: u64,
    bytes: Vec<u8>,
}

impl Piece {
    fn has_room(&self, client: u64, block: &Ready, sizes: &Limits) -> bool {
        let section = self.sections.get(&Reverse(client));
        self.sections.len() + usize::from(section.is_none()) <= sizes.clients_max()
            && section.is_none_or(|section| section.end == block.clock)
            && self.blocks < sizes.blocks_max()
            && self.values + block.values <= sizes.values_max() as u64
            && self.bytes + block.bytes.len() + SECTION_BYTES <= sizes.bytes_max()
    }

    fn add(&mut self, client: u64, block: &Ready, update: &[u8]) {
        let section = self.sections.entry(Reverse(client)).or_insert_with(|| {
            self.bytes += SECTION_BYTES;
            Section { start: block.clock, end: block.clock, blocks: 0, bytes: Vec::new() }
        });
        section.end = block.clock + block.len;
        section.blocks += 1;
        section.bytes.extend_from_slice(block.bytes.of(update));
        self.blocks += 1;
        self.values += block.values;
        self.bytes += block.bytes.len();
    }

    fn has_room_for_range(&self, client: u64, sizes: &Limits) -> bool {
        self.deleted.len() + usize::from(!self.deleted.contains_key(&client)) <= sizes.clients_max()
            && self.ranges < sizes.blocks_max()
            && self.bytes + RANGE_BYTES + SECTION_BYTES <= sizes.bytes_max()
    }

    fn delete(&mut self, client: u64, clock: u32, len: u32) {
        let ranges = self.deleted.entry(client).or_insert_with(|| {
            self.bytes += SECTION_BYTES;
            Vec::new()
        });
        ranges.push((clock, len));
        self.ranges += 1;
        self.bytes += RANGE_BYTES;
    }

    fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes + 10);
        varint::put(&mut bytes, self.sections.len() as u64);
        for (Reverse(client), section) in self.sections {
            varint::put(&mut bytes, section.blocks);
            varint::put(&mut bytes, client);
            varint::put(&mut bytes, u64::from(section.start));
            bytes.extend_from_slice(&section.bytes);
        }
        put_deleted(&mut bytes, &self.deleted);
        bytes
    }
}

/// Appends the deleted ranges of an update: for each client the first clock and the length of each
/// range, sorted.
pub(super) fn put_deleted(bytes: &mut Vec<u8>, deleted: &BTreeMap<u64, Vec<(u32, u32)>>) {
    varint::put(bytes, deleted.len() as u64);
    for (client, ranges) in deleted {
        varint::put(bytes, *client);
        varint::put(bytes, ranges.len() as u64);
        for (clock, len) in ranges {
            varint::put(bytes, u64::from(*clock));
            varint::put(bytes, u64::from(*len));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use yrs::updates::decoder::Decode;
    use yrs::{Any, Array, Doc, GetString, Map, ReadTxn, StateVector, Text, Transact, Update};

    use super::*;

    fn tiny() -> Limits {
        Limits::trusted()
            .with_bytes_max(90)
            .with_clients_max(2)
            .with_blocks_max(8)
            .with_values_max(8)
    }

    fn doc(client: u64) -> Doc {
        let options = yrs::Options {
            offset_kind: yrs::OffsetKind::Utf16,
            ..yrs::Options::with_client_id(yrs::ClientID::new(client))
        };
        let doc = Doc::with_options(options);
        let (_, _, _) = (
            doc.get_or_insert_text("T:t"),
            doc.get_or_insert_array("L:l"),
            doc.get_or_insert_map("state"),
        );
        doc
    }

    fn apply(doc: &Doc, update: &[u8]) {
        doc.transact_mut()
            .apply_update(Update::decode_v1(update).expect("an update"))
            .expect("it fits");
    }

    fn edit(doc: &Doc, kind: u8, at: u32) {
        let mut txn = doc.transact_mut();
        let text = txn.get_text("T:t").expect("there");
        let list = txn.get_array("L:l").expect("there");
        let text_len = text.len(&txn);
        let list_len = list.len(&txn);
        match kind {
            0 => text.insert(
                &mut txn,
                at % (text_len + 1),
                "a longer piece of text äöü, which is cut in two or three parts in the end",
            ),
            1 => list.insert_range(&mut txn, at % (list_len + 1), (0..at % 40).map(f64::from)),
            2 => drop(txn.get_map("state").expect("there").insert(
                &mut txn,
                format!("key {}", at % 5),
                f64::from(at),
            )),
            3 if text_len > 0 => {
                text.remove_range(&mut txn, at % text_len, 1 + at % 3 % (text_len - at % text_len))
            }
            4 if list_len > 0 => list.remove(&mut txn, at % list_len),
            _ => drop(
                txn.get_map("state").expect("there").remove(&mut txn, &format!("key {}", at % 5)),
            ),
        }
    }

    fn content(doc: &Doc) -> String {
        let txn = doc.transact();
        let text = txn.get_text("T:t").expect("there").get_string(&txn);
        let list: Vec<_> = txn
            .get_array("L:l")
            .expect("there")
            .iter(&txn)
            .map(|value| value.to_string(&txn))
            .collect();
        let map = txn.get_map("state").expect("there");
        let map: BTreeMap<_, _> =
            map.iter(&txn).map(|(key, value)| (key, value.to_string(&txn))).collect();
        format!("{text} {list:?} {map:?} {:?}", txn.snapshot())
    }

    proptest! {
        #[test]
        fn pieces_applied_in_order_restore_the_update(
            steps in prop::collection::vec((0u64..3, 0u8..7, any::<u32>()), 1..60),
            since in 0usize..60,
        ) {
            let docs = [doc(1), doc(2), doc(900)];
            let early = doc(5);
            let mut fresh = doc(6);
            for (step, (writer, kind, at)) in steps.iter().enumerate() {
                let here = &docs[*writer as usize];
                if *kind == 6 {
                    let other = docs[(at % 3) as usize]
                        .transact()
                        .encode_state_as_update_v1(&here.transact().state_vector());
                    apply(here, &other);
                } else {
                    edit(here, *kind, *at);
                }
                if step == since {
                    apply(
                        &early,
                        &here.transact().encode_state_as_update_v1(&StateVector::default()),
                    );
                }
            }
            for other in &docs[1..] {
                apply(
                    &docs[0],
                    &other.transact().encode_state_as_update_v1(&StateVector::default()),
                );
            }
            for behind in [&early, &mut fresh] {
                let update = docs[0].transact().encode_diff_v1(&behind.transact().state_vector());
                for piece in cut_to(update, &tiny()).expect("an update") {
                    yrs_update::walk(&piece, &tiny().with_bytes_max(130), &mut ())
                        .expect("a piece within its size");
                    apply(behind, &piece);
                    prop_assert!(!behind.transact().has_missing_updates());
                }
                prop_assert_eq!(content(behind), content(&docs[0]));
            }
        }
    }

    /// Asserts that the pieces of this document pass the limits and make the same document.
    fn arrives(from: &Doc, limits: &Limits) {
        let whole = from.transact().encode_state_as_update_v1(&StateVector::default());
        let fresh = doc(77);
        for piece in cut(whole).expect("an update") {
            yrs_update::walk(&piece, limits, &mut ()).expect("others take it");
            apply(&fresh, &piece);
            assert!(!fresh.transact().has_missing_updates());
        }
        assert!(content(&fresh) == content(from));
    }

    fn insert(doc: &Doc, key: &str, value: impl Into<Any>) {
        let mut txn = doc.transact_mut();
        let map = txn.get_map("state").expect("there");
        map.insert(&mut txn, key, value.into());
    }

    #[test]
    fn nested_values_count_against_the_limit() {
        let nulls = || Any::Array(vec![Any::Null; 300_000].into());
        let keyed = doc(1);
        ["a", "b", "c"].iter().for_each(|key| insert(&keyed, key, nulls()));
        arrives(&keyed, &Limits::untrusted());
        let listed = doc(1);
        listed.get_or_insert_array("L:l").insert_range(
            &mut listed.transact_mut(),
            0,
            [nulls(), nulls(), nulls()],
        );
        arrives(&listed, &Limits::untrusted());
        let marked = doc(1);
        let text = marked.get_or_insert_text("T:t");
        text.push(&mut marked.transact_mut(), "abc");
        for at in 0..3 {
            let marks = [(format!("mark {at}").into(), nulls())].into_iter().collect();
            text.format(&mut marked.transact_mut(), at, 1, marks);
        }
        arrives(&marked, &Limits::untrusted());
    }

    #[test]
    fn deletions_beside_a_large_value_go_in_another_piece() {
        let from = doc(1);
        let text = from.get_or_insert_text("T:t");
        text.push(&mut from.transact_mut(), &"ab".repeat(3_000));
        (0..3_000).for_each(|at| text.remove_range(&mut from.transact_mut(), at, 1));
        insert(&from, "large", "x".repeat(4_186_000));
        arrives(&from, &Limits::untrusted());
    }

    #[test]
    fn a_large_value_among_small_ones_gets_its_own_piece() {
        let from = doc(1);
        let mut values = vec![Any::Bool(false); 24_990];
        values.extend([Any::from("x".repeat(4_186_000)), Any::Bool(false)]);
        from.get_or_insert_array("L:l").insert_range(&mut from.transact_mut(), 0, values);
        arrives(&from, &Limits::untrusted());
    }

    #[test]
    fn deletions_of_many_clients_come_in_several_pieces() {
        let mut update = vec![0];
        varint::put(&mut update, 20_000);
        for client in 0..20_000 {
            varint::put(&mut update, client);
            update.extend([1, 3, 1]);
        }
        let pieces = cut(update).expect("an update");
        assert_eq!(pieces.len(), 5);
        pieces.iter().for_each(|piece| {
            yrs_update::walk(piece, &Limits::untrusted(), &mut ()).expect("others take it")
        });
    }

    #[test]
    fn updates_with_values_at_the_nesting_ceiling_are_cut() {
        let from = doc(1);
        insert(
            &from,
            "deep",
            (0..250).fold(Any::Null, |within, _| Any::Array(vec![within].into())),
        );
        from.get_or_insert_text("T:t").push(&mut from.transact_mut(), &"ä".repeat(1_000_000));
        arrives(&from, &Limits::untrusted().with_nesting_max(256));
    }

    /// The clocks for which an update has blocks.
    #[derive(Default)]
    struct Clocks(std::collections::BTreeSet<(u64, u32)>);

    impl Visitor for Clocks {
        fn block(&mut self, block: Block) {
            self.0
                .extend((block.clock..block.clock + block.len).map(|clock| (block.client, clock)));
        }
    }

    #[test]
    fn blocks_after_a_gap_keep_their_ids() {
        let from = doc(1);
        let updates: Vec<_> = (0..4)
            .map(|_| {
                let mut txn = from.transact_mut();
                txn.get_text("T:t").expect("there").insert(
                    &mut txn,
                    0,
                    "a text that is cut in two or more parts, each with a clock",
                );
                txn.encode_update_v1()
            })
            .collect();
        let gapped = yrs::merge_updates_v1([&updates[0], &updates[3]]).expect("updates");
        let mut whole = Clocks::default();
        let mut parts = Clocks::default();
        yrs_update::walk(&gapped, &Limits::trusted(), &mut whole).expect("an update");
        let pieces = cut_to(gapped, &tiny()).expect("an update");
        pieces.iter().for_each(|piece| {
            yrs_update::walk(piece, &Limits::trusted(), &mut parts).expect("a piece")
        });
        assert!(pieces.len() > 1);
        assert_eq!(parts.0, whole.0);
    }
}
