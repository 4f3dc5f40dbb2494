//! Small differences between two sequences, at a bounded cost.
//!
//! If the comparison is cheap, the result has the fewest possible edits. Larger differences are cut
//! at ranges that occur once in each sequence (`anchors`). The pieces between these ranges are cut
//! at the furthest point that a bounded search reaches (`search`). The result never depends on
//! time, and an unnecessary replacement stays within one piece.

mod anchors;
mod run;
mod search;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

pub(crate) use run::longest_run;
use search::{Found, Search};

/// The fewest edits are searched for up to this number of edits on either side of the middle.
const EXACT_EDITS: usize = 2_048;
/// The number of comparisons per element that this search may take, in addition to those for
/// `EXACT_EDITS`.
const EXACT_WORK: usize = 16;
/// The number of comparisons in total once the search for the fewest edits has failed, as long as
/// this leaves `EDITS_MIN` for each search.
const WORK_MAX: usize = 16 * 1_024 * 1_024;
/// The bounds of the number of edits on either side of the middle in these later searches.
const EDITS_MIN: usize = 64;
const EDITS_MAX: usize = 1_024;
/// The lengths of the ranges at which pieces are cut. They are tried one after the other.
const ANCHORS: [usize; 3] = [32, 8, 1];

/// A range that both sequences contain: its start in the old and in the new sequence, and its
/// length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Equal {
    old: usize,
    new: usize,
    len: usize,
}

/// A part of both sequences that must still be compared, or an equal range.
enum Piece {
    Compare {
        old: Range<usize>,
        new: Range<usize>,
        /// The number of anchor lengths that were tried. `None` while the fewest edits are searched
        /// for.
        tried: Option<usize>,
    },
    Equal(Equal),
}

/// Calls `edit(at, delete, inserted range of new)` for each edit that turns `old` into `new`. Each
/// position counts the edits before it.
///
/// The edits are the fewest possible if up to about 4,000 edits are enough or the sequences are
/// small. Otherwise there are only a few more than necessary. O(length · edits); for large
/// differences O(length), with a factor that falls from 1,024 to 64 as the length grows.
pub(crate) fn slices<T: Eq + Hash>(
    old: &[T],
    new: &[T],
    mut edit: impl FnMut(usize, usize, Range<usize>),
) {
    let mut from = 0;
    let mut done = 0;
    let end = Equal { old: old.len(), new: new.len(), len: 0 };
    for Equal { old, new, len } in equal(old, new).into_iter().chain([end]) {
        if old > from || new > done {
            edit(done, old - from, done..new);
        }
        (from, done) = (old + len, new + len);
    }
}

/// Like [`slices`], for text, with positions in Unicode scalar values.
pub(crate) fn text(old: &str, new: &str, mut edit: impl FnMut(usize, usize, &str)) {
    let (old, new): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
    slices(&old, &new, |at, delete, insert| {
        let inserted: String = new.get(insert).unwrap_or(&[]).iter().collect();
        edit(at, delete, &inserted);
    });
}

/// The ranges that stay, in order.
fn equal<T: Eq + Hash>(old: &[T], new: &[T]) -> Vec<Equal> {
    let (head, tail) = ends(old, new);
    let middle_old = head..old.len() - tail;
    let middle_new = head..new.len() - tail;
    let mut equal = Vec::new();
    push(&mut equal, Equal { old: 0, new: 0, len: head });
    if !middle_old.is_empty() && !middle_new.is_empty() {
        let (old, new) = numbered(&old[middle_old.clone()], &new[middle_new.clone()]);
        for Equal { old, new, len } in Middle::new(&old, &new).compare() {
            push(&mut equal, Equal { old: head + old, new: head + new, len });
        }
    }
    push(&mut equal, Equal { old: middle_old.end, new: middle_new.end, len: tail });
    equal
}

/// The number of equal elements at the start of two sequences, and at the end of the rest.
fn ends<T: Eq>(old: &[T], new: &[T]) -> (usize, usize) {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail =
        old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    (head, tail)
}

/// A number for each element, equal for equal elements. Numbers are cheap to compare, whatever the
/// elements are.
fn numbered<T: Eq + Hash>(old: &[T], new: &[T]) -> (Vec<u32>, Vec<u32>) {
    let mut numbers = HashMap::new();
    let mut number = |element| {
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        *numbers.entry(element).or_insert(next)
    };
    let old = old.iter().map(&mut number).collect();
    (old, new.iter().map(number).collect())
}

/// Appends a range. A range that continues the last one is merged into it.
fn push(equal: &mut Vec<Equal>, next: Equal) {
    match equal.last_mut() {
        Some(last) if last.old + last.len == next.old && last.new + last.len == next.new => {
            last.len += next.len
        }
        _ if next.len > 0 => equal.push(next),
        _ => {}
    }
}

/// The comparison of the parts between the common ends of two sequences.
struct Middle<'a> {
    old: &'a [u32],
    new: &'a [u32],
    search: Search,
    /// The number of edits on either side up to which a piece is searched, once the search for the
    /// fewest edits has failed.
    edits_max: usize,
}

impl<'a> Middle<'a> {
    fn new(old: &'a [u32], new: &'a [u32]) -> Self {
        let length = old.len() + new.len();
        Self {
            old,
            new,
            search: Search::default(),
            edits_max: (WORK_MAX / length).clamp(EDITS_MIN, EDITS_MAX),
        }
    }

    /// The ranges that stay, in order.
    fn compare(&mut self) -> Vec<Equal> {
        let mut pieces =
            vec![Piece::Compare { old: 0..self.old.len(), new: 0..self.new.len(), tried: None }];
        let mut equal = Vec::new();
        while let Some(piece) = pieces.pop() {
            match piece {
                Piece::Equal(stretch) => push(&mut equal, stretch),
                Piece::Compare { old, new, tried } => self.cut(old, new, tried, &mut pieces),
            }
        }
        equal
    }

    /// Cuts a piece into smaller pieces and pushes them on the stack, the first piece on top.
    fn cut(
        &mut self,
        old: Range<usize>,
        new: Range<usize>,
        tried: Option<usize>,
        pieces: &mut Vec<Piece>,
    ) {
        let (head, tail) = ends(&self.old[old.clone()], &self.new[new.clone()]);
        let first = Equal { old: old.start, new: new.start, len: head };
        let last = Equal { old: old.end - tail, new: new.end - tail, len: tail };
        let old = old.start + head..last.old;
        let new = new.start + head..last.new;
        pieces.push(Piece::Equal(last));
        if !old.is_empty() && !new.is_empty() {
            self.split(old, new, tried, pieces);
        }
        pieces.push(Piece::Equal(first));
    }

    /// Splits a piece that has no common ends.
    fn split(
        &mut self,
        old: Range<usize>,
        new: Range<usize>,
        tried: Option<usize>,
        pieces: &mut Vec<Piece>,
    ) {
        let (edits, work) = match tried {
            None => {
                (EXACT_EDITS, 4 * EXACT_EDITS * EXACT_EDITS + EXACT_WORK * (old.len() + new.len()))
            }
            Some(_) => (self.edits_max, usize::MAX),
        };
        let found = self.search.middle(&self.old[old.clone()], &self.new[new.clone()], edits, work);
        let (tried, (x, y)) = match found {
            Found::Middle(x, y) => (tried, (x, y)),
            Found::Furthest(x, y) => {
                let done = tried.unwrap_or(0);
                if self.anchor(&old, &new, done, pieces) {
                    return;
                }
                (Some(ANCHORS.len()), (x, y))
            }
        };
        let at = old.start + x;
        let to = new.start + y;
        pieces.push(Piece::Compare { old: at..old.end, new: to..new.end, tried });
        pieces.push(Piece::Compare { old: old.start..at, new: new.start..to, tried });
    }

    /// Cuts a piece at ranges that occur once in each sequence, the longest length first. Returns
    /// whether there are such ranges.
    fn anchor(
        &self,
        old: &Range<usize>,
        new: &Range<usize>,
        done: usize,
        pieces: &mut Vec<Piece>,
    ) -> bool {
        for (index, len) in ANCHORS.iter().enumerate().skip(done) {
            let anchors = anchors::find(&self.old[old.clone()], &self.new[new.clone()], *len);
            if anchors.is_empty() {
                continue;
            }
            let mut old_end = old.end;
            let mut new_end = new.end;
            for anchor in anchors.into_iter().rev() {
                let anchor =
                    Equal { old: old.start + anchor.old, new: new.start + anchor.new, ..anchor };
                let behind = (anchor.old + anchor.len..old_end, anchor.new + anchor.len..new_end);
                pieces.push(Piece::Compare {
                    old: behind.0,
                    new: behind.1,
                    tried: Some(index + 1),
                });
                pieces.push(Piece::Equal(anchor));
                (old_end, new_end) = (anchor.old, anchor.new);
            }
            pieces.push(Piece::Compare {
                old: old.start..old_end,
                new: new.start..new_end,
                tried: Some(index + 1),
            });
            return true;
        }
        false
    }
}
