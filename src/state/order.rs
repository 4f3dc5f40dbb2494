//! From the order that is to the order that is wanted, with the fewest writes: what a
//! [`MovableList`](super::MovableList) and the siblings of a [`Tree`](super::Tree) share.

use std::ops::Range;

use super::position::{self, Position, Stamp};
use crate::document::diff::{self, longest_run};

/// Pairs elements that stand in order with elements that are wanted in order: `found(old, new)`.
///
/// Each level holds the fingerprints of both by one measure of likeness, the strictest first:
/// between what is equal by one level, the next level looks for more; what is left at the end pairs
/// up one by one, as what stands in another's stead.
pub(crate) fn pair(levels: &[(Vec<u128>, Vec<u128>)], found: &mut dyn FnMut(usize, usize)) {
    let (old, new) = levels.first().map_or((0, 0), |(old, new)| (old.len(), new.len()));
    pair_within(levels, 0..old, 0..new, found);
}

fn pair_within(
    levels: &[(Vec<u128>, Vec<u128>)],
    old: Range<usize>,
    new: Range<usize>,
    found: &mut dyn FnMut(usize, usize),
) {
    if old.is_empty() || new.is_empty() {
        return;
    }
    let Some(((old_prints, new_prints), levels)) = levels.split_first() else {
        return old.zip(new).for_each(|(old, new)| found(old, new));
    };
    let old_prints = old_prints.get(old.clone()).unwrap_or(&[]);
    let new_prints = new_prints.get(new.clone()).unwrap_or(&[]);
    // How far both are paired. Up to the next edit they are equal.
    let mut from = old.start;
    let mut done = new.start;
    diff::slices(old_prints, new_prints, |_, delete, insert| {
        let start = new.start + insert.start;
        let end = new.start + insert.end;
        let equal = start - done;
        (from..from + equal).zip(done..start).for_each(|(old, new)| found(old, new));
        from += equal;
        pair_within(levels, from..from + delete, start..end, found);
        from += delete;
        done = end;
    });
    (from..old.end).zip(done..new.end).for_each(|(old, new)| found(old, new));
}

/// A position for each element that is wanted, given its index in the order that is, and its
/// position there. Of those that stand already, a longest run in order keeps its positions, but for
/// those that leave no room for what comes between. What is given between the same two stays
/// together, as [`position::between`] says; `stamp` makes a new one for each.
pub(crate) fn places(
    stood: &[Option<(usize, &Position)>],
    mut stamp: impl FnMut() -> Stamp,
) -> Vec<Position> {
    let indices: Vec<Option<usize>> =
        stood.iter().map(|stood| stood.map(|(index, _)| index)).collect();
    let stay = longest_run(&indices);
    let fixed = stood.iter().enumerate().map(|(index, stood)| {
        stood.filter(|_| stay.contains(&index)).map(|(_, position)| position)
    });
    // Only positions that somebody chose to be in the way leave no room at all: then none stays.
    let placed = positions(fixed.collect(), &mut stamp);
    placed.or_else(|| positions(vec![None; stood.len()], &mut stamp)).unwrap_or_default()
}

/// A position for each element: fixed ones stay if they can, the others go between their
/// neighbours.
fn positions(
    mut fixed: Vec<Option<&Position>>,
    stamp: &mut impl FnMut() -> Stamp,
) -> Option<Vec<Position>> {
    let mut places: Vec<Position> = Vec::with_capacity(fixed.len());
    // The next fixed one, searched from where the last one was.
    let mut next = 0;
    for index in 0..fixed.len() {
        if let Some(position) = fixed.get(index).copied().flatten() {
            places.push(position.clone());
            continue;
        }
        let low = places.last().map(AsRef::as_ref);
        next = next.max(index);
        let stamp = stamp();
        let place = loop {
            while fixed.get(next).is_some_and(Option::is_none) {
                next += 1;
            }
            let high = fixed.get(next).copied().flatten();
            match (position::between(low, high.map(AsRef::as_ref), stamp), fixed.get_mut(next)) {
                (Some(place), _) => break place,
                (None, Some(in_the_way)) => *in_the_way = None,
                (None, None) => return None,
            }
        };
        places.push(place.as_slice().into());
    }
    Some(places)
}
