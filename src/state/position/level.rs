//! The encoding of a position: a sequence of levels.
//!
//! A level is *head, replica, number, value, end*.
//! - Head, number and value are numbers in a code that keeps their order; no code is a prefix of
//!   another code.
//! - The replica is its id in seven bytes.
//! - Head, replica and number together are the name of a **node**. One replica makes a node, once,
//!   and assigns all its values.
//! - The end byte contains the sizes of the three numbers, so a position can be read from its end,
//!   whatever bytes it begins with. It also contains the side of the value: [`LEFT`] is the gap
//!   before the element, and [`ELEMENT`] is the element. The bytes after an element are the gap
//!   after it.

use crate::document::ReplicaId;

/// The end byte of the gap before an element. It is less than [`ELEMENT`]; the lower bits of both
/// are equal.
const LEFT: u8 = 0x40;
/// The end byte of an element.
const ELEMENT: u8 = 0xc0;
/// A replica's id has 53 bits.
const REPLICA_BYTES: usize = 7;

/// The origin of a position: a replica, and a number that the replica uses for no other position
/// and no other element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) replica: ReplicaId,
    pub(crate) number: u64,
}

impl Stamp {
    fn tag(self) -> [u8; REPLICA_BYTES] {
        let [_, tag @ ..] = self.replica.get().to_be_bytes();
        tag
    }
}

/// One level of a position, with its location in the position's bytes.
pub(super) struct Level {
    /// The index at which the level begins. The bytes before it are the gap that contains the
    /// level's node.
    pub(super) start: usize,
    pub(super) head: i64,
    tag: [u8; REPLICA_BYTES],
    /// The number of its node.
    number: i64,
    /// The index at which the name of the node ends.
    pub(super) node_end: usize,
    /// 0 for the first element of the node. The value of another element is the difference of their
    /// numbers, with a sign for the side.
    pub(super) value: i64,
    end: u8,
}

impl Level {
    /// The last level of a position, or of a gap.
    fn last(bytes: &[u8]) -> Option<Self> {
        let (end, rest) = bytes.split_last().filter(|(end, _)| **end & LEFT != 0)?;
        let (rest, value) = split_code(rest, *end)?;
        let node_end = rest.len();
        let (rest, number) = split_code(rest, *end >> 2)?;
        let (rest, tag) = rest.split_last_chunk()?;
        let (rest, head) = split_code(rest, *end >> 4)?;
        Some(Self { start: rest.len(), head, tag: *tag, number, node_end, value, end: *end })
    }

    /// The number with which the replica of `stamp` assigned this element's position. `None` if
    /// another replica assigned it. Call it on the last level of a position.
    pub(super) fn given_by(&self, stamp: Stamp) -> Option<i64> {
        let own = self.end & ELEMENT == ELEMENT && self.tag == stamp.tag();
        own.then(|| self.number.saturating_add(self.value.saturating_abs()))
    }

    /// The distance of the stamp's number from the node's number. No other element of the node has
    /// this distance.
    pub(super) fn distance(&self, stamp: Stamp) -> Option<i64> {
        i64::try_from(stamp.number).ok()?.checked_sub(self.number).filter(|distance| *distance > 0)
    }
}

/// The levels of a position, the first one first. A position of another scheme has no levels, but
/// levels may follow its bytes.
pub(super) fn levels(position: &[u8]) -> Vec<Level> {
    let before = |level: &Level| position.get(..level.start).and_then(Level::last);
    let mut levels: Vec<Level> = std::iter::successors(Level::last(position), before).collect();
    levels.reverse();
    levels
}

/// The position of an element in a node. `node` is the bytes up to the end of the node's name.
pub(super) fn element(node: &[u8], node_sizes: u8, value: i64) -> Vec<u8> {
    let mut position = node.to_vec();
    let size = push_code(&mut position, value);
    position.push(ELEMENT | node_sizes | size);
    position
}

/// The sizes of a level's head and number, in the form that [`element`] takes.
pub(super) fn node_sizes(level: &Level) -> u8 {
    level.end & 0x3c
}

/// The position of the first element of a new node in a gap.
pub(super) fn new_node(gap: &[u8], head: i64, stamp: Stamp) -> Vec<u8> {
    let mut node = gap.to_vec();
    let head_size = push_code(&mut node, head);
    node.extend(stamp.tag());
    let number_size = push_code(&mut node, i64::try_from(stamp.number).unwrap_or(i64::MAX));
    element(&node, head_size << 4 | number_size << 2, 0)
}

/// The gap before an element. `None` if the element has no levels.
pub(super) fn gap_before(element: &[u8]) -> Option<Vec<u8>> {
    let level = Level::last(element).filter(|level| level.end & ELEMENT == ELEMENT)?;
    let mut gap = element.to_vec();
    *gap.last_mut()? = level.end & !ELEMENT | LEFT;
    Some(gap)
}

/// Appends the code of a number, of 1, 2, 4 or 8 bytes, and returns the two bits for the size. The
/// first byte of a number from 0 up is `100…`, `101…`, `110…` or `111…`. The code of a number below
/// 0 is the code of its complement with all bits inverted.
///
/// The magnitude is capped at 2^61 - 1; no counter gets that far.
fn push_code(out: &mut Vec<u8>, number: i64) -> u8 {
    const MOST: u64 = (1 << 61) - 1;
    let magnitude = (if number < 0 { !number } else { number }).unsigned_abs().min(MOST);
    let (size, marker) = match magnitude {
        0..0x20 => (0, 0x80 << 56),
        0x20..0x2000 => (1, 0xa0 << 56),
        0x2000..0x2000_0000 => (2, 0xc0 << 56),
        _ => (3, 0xe0 << 56),
    };
    let len = 1usize << size;
    let code = (marker | magnitude << (64 - 8 * len)).to_be_bytes();
    let turn = if number < 0 { 0xff } else { 0 };
    out.extend(code.iter().take(len).map(|byte| byte ^ turn));
    size
}

/// Splits the code of a number off the end. The two lowest bits of `size` are the size of the code.
fn split_code(bytes: &[u8], size: u8) -> Option<(&[u8], i64)> {
    let len = 1usize << (size & 3);
    let (rest, code) = bytes.split_at_checked(bytes.len().checked_sub(len)?)?;
    let turn = if code.first()? & 0x80 == 0 { 0xff } else { 0 };
    let mut whole = [0; 8];
    whole.iter_mut().zip(code).for_each(|(to, from)| *to = from ^ turn);
    let marker = whole.first()? >> 5 & 3;
    let magnitude =
        i64::try_from((u64::from_be_bytes(whole) & (u64::MAX >> 3)) >> (64 - 8 * len)).ok()?;
    (marker == size & 3).then_some((rest, if turn == 0 { magnitude } else { !magnitude }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number() -> impl Strategy<Value = i64> {
        let most = (1i64 << 61) - 1;
        prop_oneof![-70i64..70, -9_000i64..9_000, (-1i64 << 31)..(1 << 31), -most..most]
    }

    proptest! {
        #[test]
        fn codes_keep_the_order_and_round_trip(a in number(), b in number()) {
            let mut left = Vec::new();
            let mut right = Vec::new();
            let (size, _) = (push_code(&mut left, a), push_code(&mut right, b));
            prop_assert_eq!(left.cmp(&right), a.cmp(&b));
            prop_assert!(a == b || !left.starts_with(&right), "no code begins another");
            prop_assert_eq!(split_code(&left, size), Some((&[][..], a)));
        }

        #[test]
        fn levels_round_trip(
            heads in prop::collection::vec((number(), any::<u64>(), 0..1_000_000u64), 1..5),
            begin in prop::collection::vec(any::<u8>(), 0..3),
        ) {
            let mut position = begin.clone();
            for (head, replica, number) in &heads {
                let stamp = Stamp { replica: ReplicaId::from_bits(*replica), number: *number };
                position = new_node(&position, *head, stamp);
            }
            let found: Vec<i64> = levels(&position).iter().map(|level| level.head).collect();
            let expected: Vec<i64> = heads.iter().map(|(head, ..)| *head).collect();
            prop_assert!(found.ends_with(&expected));
        }

        #[test]
        fn levels_of_any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(levels(&bytes).iter().all(|level| level.start < bytes.len()));
        }
    }
}
