//! Anchors: ranges that occur exactly once in each of two sequences, in the same order in both. The
//! parts between anchors can be compared separately.

use super::{Equal, longest_run};

/// A range by its hash, and its start.
type Occurrence = (u64, usize);

const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// The longest chain of ranges that start with `len` elements which occur exactly once in each
/// sequence. O(lengths · log lengths).
pub(super) fn find(old: &[u32], new: &[u32], len: usize) -> Vec<Equal> {
    let olds = once(old, len);
    let news = once(new, len);
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    let mut rest = news.as_slice();
    for (hash, at) in olds {
        rest = &rest[rest.partition_point(|(found, _)| *found < hash)..];
        let same = rest
            .first()
            .filter(|(found, to)| *found == hash && old[at..at + len] == new[*to..*to + len]);
        pairs.extend(same.map(|(_, to)| (at, *to)));
    }
    pairs.sort_unstable();
    let stays = longest_run(&pairs.iter().map(|(_, to)| Some(*to)).collect::<Vec<_>>());
    let mut anchors: Vec<Equal> = Vec::new();
    for (at, to) in stays.into_iter().filter_map(|index| pairs.get(index).copied()) {
        let (old_done, new_done) =
            anchors.last().map_or((0, 0), |last| (last.old + last.len, last.new + last.len));
        if at < old_done || to < new_done {
            continue;
        }
        let before = old[old_done..at]
            .iter()
            .rev()
            .zip(new[new_done..to].iter().rev())
            .take_while(|(a, b)| a == b)
            .count();
        let behind = old[at..].iter().zip(&new[to..]).take_while(|(a, b)| a == b).count();
        anchors.push(Equal { old: at - before, new: to - before, len: before + behind });
    }
    anchors
}

/// The ranges of this length that occur once, sorted by their hash. O(n log n).
fn once(sequence: &[u32], len: usize) -> Vec<Occurrence> {
    let mut places = hashes(sequence, len);
    places.sort_unstable();
    let single = places.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() == 1);
    single.flatten().copied().collect()
}

/// A hash of each range of this length, each computed from the hash before it.
fn hashes(sequence: &[u32], len: usize) -> Vec<Occurrence> {
    if sequence.len() < len {
        return Vec::new();
    }
    let digit = |element: &u32| u64::from(*element) + 1;
    let top = (1..len).fold(1u64, |power, _| power.wrapping_mul(BASE));
    let mut hash = 0u64;
    let mut places = Vec::with_capacity(sequence.len() + 1 - len);
    for (end, element) in sequence.iter().enumerate() {
        if let Some(gone) = end.checked_sub(len).and_then(|gone| sequence.get(gone)) {
            hash = hash.wrapping_sub(digit(gone).wrapping_mul(top));
        }
        hash = hash.wrapping_mul(BASE).wrapping_add(digit(element));
        if end + 1 >= len {
            places.push((hash, end + 1 - len));
        }
    }
    places
}
