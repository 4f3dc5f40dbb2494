//! Small edits in one pass down the tree: nodes that nobody else holds are changed in place, shared
//! ones are copied, and a subtree is only rebuilt where its balance is lost.

use std::sync::Arc;

use super::marks::{self, Marks};
use super::measure::{Size, floor_boundary};
use super::node::{Branch, LEAF_BYTES_MAX, LEAF_BYTES_MIN, Leaf, Node};
use super::tree::{concat, join};

/// A text to insert, with what is to be known about it at every level.
pub(super) struct Insertion<'a> {
    pub(super) text: &'a str,
    pub(super) size: Size,
    pub(super) marks: Option<&'a Arc<Marks>>,
}

/// Inserts before the char `at` (at most the length) a text that is not empty and shorter than a
/// leaf. O(log n).
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

/// Between two leaves, text goes to the one before, unless only the one after is marked alike.
fn belongs_right(branch: &Branch, new: &Insertion<'_>) -> bool {
    (branch.marked || new.marks.is_some())
        && !marks::same(branch.left.last().marks(), new.marks)
        && marks::same(branch.right.first().marks(), new.marks)
}

/// Returns what takes the place of the leaf if it cannot stay one.
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

/// Deletes the chars from `start` to `end`, where `start < end <= length`. Returns whether anything
/// is left; if not, the slot is unchanged and to be dropped. O(log n), and freeing what nobody else
/// holds.
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

/// As [`settle`], after merging the two leaves in the middle where that is better.
fn settle_seam(branch: &mut Branch) -> Option<Arc<Node>> {
    if branch.left.last().merges_with(branch.right.first()) {
        return Some(concat(&branch.left, &branch.right));
    }
    settle(branch)
}

/// Brings a branch up to date after a change below. Returns what takes its place if it is no longer
/// balanced.
fn settle(branch: &mut Branch) -> Option<Arc<Node>> {
    if !branch.is_balanced() {
        return Some(join(&branch.left, &branch.right));
    }
    branch.refresh();
    None
}
