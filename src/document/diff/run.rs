//! The longest run of elements that need not move.

use std::collections::BTreeSet;

/// The places in `old` of a longest strictly increasing run of its numbers. O(n log n).
pub(crate) fn longest_run(old: &[Option<usize>]) -> BTreeSet<usize> {
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; old.len()];
    let number = |index: &usize| old.get(*index).copied().flatten();
    for (index, value) in old.iter().enumerate() {
        let Some(value) = value else { continue };
        let length = ends.partition_point(|end| number(end) < Some(*value));
        if let Some(slot) = before.get_mut(index) {
            *slot = length.checked_sub(1).and_then(|last| ends.get(last).copied());
        }
        match ends.get_mut(length) {
            Some(end) => *end = index,
            None => ends.push(index),
        }
    }
    let mut run = BTreeSet::new();
    let mut at = ends.last().copied();
    while let Some(index) = at {
        run.insert(index);
        at = before.get(index).copied().flatten();
    }
    run
}
