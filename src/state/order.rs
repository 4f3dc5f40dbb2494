//! Reordering with the fewest writes, from the current order to the wanted order.
//! [`MovableList`](super::MovableList) and the siblings of a [`Tree`](super::Tree) share it.

use std::ops::Range;

use super::position::{self, Position, Stamp};
use crate::document::diff::{self, longest_run};

/// Pairs the old elements with the new elements, both in order, and calls `found(old, new)` for
/// each pair.
///
/// Each level holds fingerprints of the old and the new elements by one measure of similarity, the
/// strictest level first. Elements with equal fingerprints are paired; in the gaps between them the
/// next level searches for more pairs. After the last level, the elements that are left in a gap
/// are paired one by one: the new element replaces the old one.
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
    // Elements before these two indices are already paired. Up to the next edit the prints are
    // equal.
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

/// Returns a position for each wanted element. `stood` gives, for each wanted element that exists,
/// its index in the current order and its position.
///
/// Of the existing elements, a longest increasing run keeps its positions, except for the positions
/// that leave no room for the elements between them. New elements between the same two neighbours
/// stay together, see [`position::between`]. `stamp` makes a new stamp for each.
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
    // Only maliciously chosen positions leave no room at all. Then no element keeps its position.
    let placed = positions(fixed.collect(), &mut stamp);
    placed.or_else(|| positions(vec![None; stood.len()], &mut stamp)).unwrap_or_default()
}

/// A position for each element. Fixed positions stay if possible; the other elements get positions
/// between their neighbours.
fn positions(
    mut fixed: Vec<Option<&Position>>,
    stamp: &mut impl FnMut() -> Stamp,
) -> Option<Vec<Position>> {
    let mut places: Vec<Position> = Vec::with_capacity(fixed.len());
    // The index of the next fixed position. The search continues from the last one.
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
