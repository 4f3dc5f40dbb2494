//! Small edits in one pass down the tree.
//!
//! A node that no other rope shares is changed in place, and a shared node is copied. A subtree is
//! rebuilt only if it is out of balance.

use std::sync::Arc;

use super::marks::{self, Marks};
use super::measure::{Size, floor_boundary};
use super::node::{Branch, LEAF_BYTES_MAX, LEAF_BYTES_MIN, Leaf, Node};
use super::tree::{concat, join};

/// A text to insert, with its size and its marks.
pub(super) struct Insertion<'a> {
    pub(super) text: &'a str,
    pub(super) size: Size,
    pub(super) marks: Option<&'a Arc<Marks>>,
}

/// Inserts a text before the char `at`, which is at most the length. The text must not be empty and
/// must fit into a leaf. O(log n).
pub(super) fn insert(slot: &mut Arc<Node>, at: usize, new: &Insertion<'_>) {
    match Arc::make_mut(slot) {
        Node::Leaf(leaf) => {
            if let Some(grown) = insert_in_leaf(leaf, at, new) {
                *slot = grown;
            }
        }
        Node::Branch(branch) => {
            let left = branch.left.size().chars;
            if at < left || (at == left && !belongs_right(branch, new)) {
                insert(&mut branch.left, at, new);
            } else {
                insert(&mut branch.right, at - left, new);
            }
            if let Some(rebuilt) = settle(branch) {
                *slot = rebuilt;
            }
        }
    }
}

/// Whether a text that is inserted between two leaves goes to the right leaf: only if the right
/// leaf has the marks of the text and the left leaf does not.
fn belongs_right(branch: &Branch, new: &Insertion<'_>) -> bool {
    (branch.marked || new.marks.is_some())
        && !marks::same(branch.left.last().marks(), new.marks)
        && marks::same(branch.right.first().marks(), new.marks)
}

/// Inserts into a leaf. If the result does not fit into one leaf, returns the subtree that replaces
/// the leaf.
fn insert_in_leaf(leaf: &mut Leaf, at: usize, new: &Insertion<'_>) -> Option<Arc<Node>> {
    let byte = leaf.byte_of(at);
    if marks::same(leaf.marks(), new.marks) {
        leaf.insert(byte, new.text, new.size);
        if leaf.text.len() <= LEAF_BYTES_MAX {
            return None;
        }
        let (head, tail) = leaf.text.split_at(floor_boundary(&leaf.text, leaf.text.len() / 2));
        return Some(Node::branch(part(head, leaf), part(tail, leaf)));
    }
    let (head, tail) = leaf.text.split_at(byte);
    let middle = Node::leaf(new.text.to_owned(), new.size, new.marks.cloned());
    Some(match (head.is_empty(), tail.is_empty()) {
        (true, _) => Node::branch(middle, part(tail, leaf)),
        (_, true) => Node::branch(part(head, leaf), middle),
        _ => Node::branch(Node::branch(part(head, leaf), middle), part(tail, leaf)),
    })
}

fn part(text: &str, of: &Leaf) -> Arc<Node> {
    Node::leaf(text.to_owned(), Size::of(text), of.marks.clone())
}

/// Deletes the chars from `start` to `end`, where `start < end <= length`. Returns whether any text
/// is left. If not, the slot is unchanged, and the caller must drop it. O(log n), plus the cost of
/// freeing nodes that no other rope shares.
pub(super) fn delete(slot: &mut Arc<Node>, start: usize, end: usize) -> bool {
    if start == 0 && end >= slot.size().chars {
        return false;
    }
    match Arc::make_mut(slot) {
        Node::Leaf(leaf) => leaf.delete(start, end),
        Node::Branch(branch) => {
            let left = branch.left.size().chars;
            let in_left = start < left;
            let in_right = end > left;
            let left_stays = !in_left || delete(&mut branch.left, start, end.min(left));
            let right_stays =
                !in_right || delete(&mut branch.right, start.saturating_sub(left), end - left);
            let rebuilt = match (left_stays, right_stays) {
                (true, true) if (in_left && in_right) || has_small_leaf(branch) => {
                    settle_seam(branch)
                }
                (true, true) => settle(branch),
                (true, false) => Some(branch.left.clone()),
                (false, _) => Some(branch.right.clone()),
            };
            if let Some(rebuilt) = rebuilt {
                *slot = rebuilt;
            }
        }
    }
    true
}

fn has_small_leaf(branch: &Branch) -> bool {
    let small = |node: &Node| matches!(node, Node::Leaf(leaf) if leaf.size.bytes < LEAF_BYTES_MIN);
    small(&branch.left) || small(&branch.right)
}

/// Like [`settle`], but first merges the two leaves in the middle if they should be merged.
fn settle_seam(branch: &mut Branch) -> Option<Arc<Node>> {
    if branch.left.last().merges_with(branch.right.first()) {
        return Some(concat(&branch.left, &branch.right));
    }
    settle(branch)
}

/// Updates a branch after a change below it. If the branch is out of balance, returns the subtree
/// that replaces it.
fn settle(branch: &mut Branch) -> Option<Arc<Node>> {
    if !branch.is_balanced() {
        return Some(join(&branch.left, &branch.right));
    }
    branch.refresh();
    None
}
