//! Least edits between two sequences.

use similar::{Algorithm, DiffOp, capture_diff_slices};

/// Up to this product of the lengths that differ, the least edits are looked for; beyond it the differing middle is replaced
/// whole (Myers, *An O(ND) difference algorithm*, 1986, takes time in the product).
const PRODUCT_MAX: usize = 25_000_000;

/// Calls `edit(at, delete, inserted range of new)` for each edit that turns `old` into `new`, positions counting the edits before.
pub(crate) fn slices<T: Eq + std::hash::Hash + Ord>(old: &[T], new: &[T], mut edit: impl FnMut(usize, usize, std::ops::Range<usize>)) {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old.iter().skip(head).rev().zip(new.iter().skip(head).rev()).take_while(|(a, b)| a == b).count();
    let (old_end, new_end) = (old.len() - tail, new.len() - tail);
    let (middle_old, middle_new) = (old.get(head..old_end).unwrap_or(&[]), new.get(head..new_end).unwrap_or(&[]));
    if middle_old.len().saturating_mul(middle_new.len()) > PRODUCT_MAX {
        return edit(head, middle_old.len(), head..new_end);
    }
    let mut at = head;
    for op in capture_diff_slices(Algorithm::Myers, middle_old, middle_new) {
        let (delete, insert) = match op {
            DiffOp::Equal { len, .. } => {
                at += len;
                continue;
            }
            DiffOp::Delete { old_len, new_index, .. } => (old_len, new_index..new_index),
            DiffOp::Insert { new_index, new_len, .. } => (0, new_index..new_index + new_len),
            DiffOp::Replace { old_len, new_index, new_len, .. } => (old_len, new_index..new_index + new_len),
        };
        edit(at, delete, head + insert.start..head + insert.end);
        at += insert.len();
    }
}

/// The same for text, in Unicode scalar values.
pub(crate) fn text(old: &str, new: &str, mut edit: impl FnMut(usize, usize, &str)) {
    let (old, new): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
    slices(&old, &new, |at, delete, insert| {
        let inserted: String = new.get(insert).unwrap_or(&[]).iter().collect();
        edit(at, delete, &inserted);
    });
}
