//! Finds the difference between a rope and its new text as one edit, by their common start and end.
//! Also finds the common start and end of two ropes.

use std::sync::Arc;

use super::Rope;
use super::chunks::{self, End};
use super::measure::{Unit, floor_boundary};
use super::node::Node;

/// The number of bytes that are compared at once in the search for a difference.
const STRIDE_BYTES: usize = 32;

/// One replacement, in chars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The position at which the edit begins.
    pub at: usize,
    /// The number of chars deleted at this position.
    pub deleted: usize,
    /// The text inserted at this position.
    pub inserted: String,
}

impl Rope {
    /// Turns this text into `new` by one edit between their common start and end. Returns the edit,
    /// or `None` if the texts are equal. Leaves outside the edit stay shared with older clones.
    ///
    /// O(bytes), at the speed of comparing memory. Meant for text without marks. If the text has
    /// marks, the unchanged text keeps them, and the inserted text gets the same marks as with
    /// [`Rope::splice`].
    pub fn diff_apply(&mut self, new: &str) -> Option<Edit> {
        let old = self.len_bytes();
        let start = common_start(self, new);
        let end = match &self.root {
            Some(root) => common_end(root, new, old.min(new.len()) - start),
            None => 0,
        };
        let inserted = new.get(start..new.len() - end)?;
        if inserted.is_empty() && start + end == old {
            return None;
        }
        let at = self.prefix(Unit::Bytes, start).chars;
        let deleted = self.prefix(Unit::Bytes, old - end).chars - at;
        self.splice(at, deleted, inserted);
        Some(Edit { at, deleted, inserted: inserted.to_owned() })
    }

    /// The number of chars that two texts have in common at their start, and the number of the
    /// remaining chars that they have in common at their end. Marks are ignored. O(nodes and bytes
    /// that are not shared).
    #[must_use]
    pub fn common_ends(&self, other: &Self) -> (usize, usize) {
        let (Some(left), Some(right)) = (&self.root, &other.root) else { return (0, 0) };
        let head = chunks::common(left, right, End::Start);
        let rest = self.len_chars().min(other.len_chars()) - head;
        (head, if rest > 0 { chunks::common(left, right, End::Finish).min(rest) } else { 0 })
    }
}

/// The number of bytes that the two texts have in common at their start. It is a char boundary of
/// both.
fn common_start(rope: &Rope, new: &str) -> usize {
    let mut common = 0;
    for (text, _) in rope.chunks() {
        let rest = &new.as_bytes()[common..];
        let same = equal_prefix(text.as_bytes(), rest);
        common += same;
        if same < text.len() {
            break;
        }
    }
    floor_boundary(new, common)
}

/// The number of bytes, at most `limit`, that the two texts have in common at their end. The common
/// part starts at a char boundary of both.
fn common_end(root: &Arc<Node>, new: &str, limit: usize) -> usize {
    let (mut common, mut pending): (usize, Vec<&Node>) = (0, vec![root]);
    while let Some(node) = pending.pop() {
        match node {
            Node::Branch(branch) => pending.extend([&*branch.left, &*branch.right]),
            Node::Leaf(leaf) => {
                let same =
                    equal_suffix(leaf.text.as_bytes(), &new.as_bytes()[..new.len() - common]);
                common += same;
                if same < leaf.text.len() || common >= limit {
                    break;
                }
            }
        }
    }
    let mut common = common.min(limit);
    while !new.is_char_boundary(new.len() - common) {
        common -= 1;
    }
    common
}

fn equal_prefix(left: &[u8], right: &[u8]) -> usize {
    let length = left.len().min(right.len());
    let left = &left[..length];
    let right = &right[..length];
    if left == right {
        return length;
    }
    let strides = left
        .chunks(STRIDE_BYTES)
        .zip(right.chunks(STRIDE_BYTES))
        .take_while(|(a, b)| a == b)
        .count();
    let from = (strides * STRIDE_BYTES).min(length);
    from + left[from..].iter().zip(&right[from..]).take_while(|(a, b)| a == b).count()
}

fn equal_suffix(left: &[u8], right: &[u8]) -> usize {
    let length = left.len().min(right.len());
    let left = &left[left.len() - length..];
    let right = &right[right.len() - length..];
    if left == right {
        return length;
    }
    let strides = left
        .rchunks(STRIDE_BYTES)
        .zip(right.rchunks(STRIDE_BYTES))
        .take_while(|(a, b)| a == b)
        .count();
    let to = length - (strides * STRIDE_BYTES).min(length);
    length - to
        + left[..to].iter().rev().zip(right[..to].iter().rev()).take_while(|(a, b)| a == b).count()
}
