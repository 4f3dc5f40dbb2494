//! Joins, splits and builds subtrees and keeps them balanced (AVL: the heights of two siblings
//! differ by at most one).
//!
//! The functions never change a node. New trees share all nodes that were not rebuilt.

use std::sync::Arc;

use super::marks::{self, Marks, RunMarks};
use super::measure::{Size, floor_boundary};
use super::node::{Branch, LEAF_BYTES_AIM, Node};

/// Joins two subtrees of any heights, `left` before `right`. O(difference of the heights).
pub(super) fn join(left: &Arc<Node>, right: &Arc<Node>) -> Arc<Node> {
    match (&**left, &**right) {
        (Node::Branch(tall), low) if tall.height > low.height() + 1 => {
            lean(&tall.left, &join(&tall.right, right))
        }
        (low, Node::Branch(tall)) if tall.height > low.height() + 1 => {
            lean(&join(left, &tall.left), &tall.right)
        }
        _ => Node::branch(left.clone(), right.clone()),
    }
}

/// A branch over two subtrees whose heights differ by at most two. If they differ by two, it takes
/// one or two rotations.
fn lean(left: &Arc<Node>, right: &Arc<Node>) -> Arc<Node> {
    match (&**left, &**right) {
        (low, Node::Branch(tall)) if tall.height > low.height() + 1 => match &*tall.left {
            Node::Branch(inner) if inner.height > tall.right.height() => Node::branch(
                Node::branch(left.clone(), inner.left.clone()),
                Node::branch(inner.right.clone(), tall.right.clone()),
            ),
            _ => Node::branch(Node::branch(left.clone(), tall.left.clone()), tall.right.clone()),
        },
        (Node::Branch(tall), low) if tall.height > low.height() + 1 => match &*tall.right {
            Node::Branch(inner) if inner.height > tall.left.height() => Node::branch(
                Node::branch(tall.left.clone(), inner.left.clone()),
                Node::branch(inner.right.clone(), right.clone()),
            ),
            _ => Node::branch(tall.left.clone(), Node::branch(tall.right.clone(), right.clone())),
        },
        _ => Node::branch(left.clone(), right.clone()),
    }
}

/// Like [`join`], but first merges the two leaves that meet if they should be merged. O(log n).
pub(super) fn concat(left: &Arc<Node>, right: &Arc<Node>) -> Arc<Node> {
    let last = left.last();
    let first = right.first();
    if !last.merges_with(first) {
        return join(left, right);
    }
    let text = [last.text.as_str(), &first.text].concat();
    let merged = Node::leaf(text, last.size + first.size, last.marks.clone());
    let head = match without_last(left) {
        Some(rest) => join(&rest, &merged),
        None => merged,
    };
    match without_first(right) {
        Some(rest) => join(&head, &rest),
        None => head,
    }
}

/// Like [`concat`], for several subtrees, of which some may be empty (`None`).
pub(super) fn concat_all(parts: impl IntoIterator<Item = Option<Arc<Node>>>) -> Option<Arc<Node>> {
    parts.into_iter().flatten().reduce(|left, right| concat(&left, &right))
}

fn without_last(node: &Arc<Node>) -> Option<Arc<Node>> {
    let Node::Branch(Branch { left, right, .. }) = &**node else { return None };
    Some(without_last(right).map_or_else(|| left.clone(), |rest| join(left, &rest)))
}

fn without_first(node: &Arc<Node>) -> Option<Arc<Node>> {
    let Node::Branch(Branch { left, right, .. }) = &**node else { return None };
    Some(without_first(left).map_or_else(|| right.clone(), |rest| join(&rest, right)))
}

/// Splits a subtree into the text before the char `at` and the text from this char on. O(log n).
pub(super) fn split(node: &Arc<Node>, at: usize) -> (Option<Arc<Node>>, Option<Arc<Node>>) {
    if at == 0 {
        return (None, Some(node.clone()));
    }
    if at >= node.size().chars {
        return (Some(node.clone()), None);
    }
    match &**node {
        Node::Leaf(leaf) => {
            let (head, tail) = leaf.text.split_at(leaf.byte_of(at));
            let part =
                |text: &str| Some(Node::leaf(text.to_owned(), Size::of(text), leaf.marks.clone()));
            (part(head), part(tail))
        }
        Node::Branch(branch) => {
            let left = branch.left.size().chars;
            if at < left {
                let (head, tail) = split(&branch.left, at);
                (
                    head,
                    Some(
                        tail.map_or_else(
                            || branch.right.clone(),
                            |tail| join(&tail, &branch.right),
                        ),
                    ),
                )
            } else {
                let (head, tail) = split(&branch.right, at - left);
                (
                    Some(
                        head.map_or_else(|| branch.left.clone(), |head| join(&branch.left, &head)),
                    ),
                    tail,
                )
            }
        }
    }
}

/// Builds a tree from runs of text, with leaves of about [`LEAF_BYTES_AIM`] bytes. O(bytes).
#[derive(Default)]
pub(super) struct Builder {
    leaves: Vec<Arc<Node>>,
    open: String,
    marks: RunMarks,
}

impl Builder {
    /// Adds a run. If it has the marks of the run before it, it continues the leaf of that run. The
    /// marks must be canonical.
    pub(super) fn push(&mut self, text: &str, marks: Option<&Arc<Marks>>) {
        if text.is_empty() {
            return;
        }
        if !marks::same(self.marks.as_ref(), marks) {
            self.close();
            self.marks = marks.cloned();
        }
        if !self.open.is_empty() || text.len() < LEAF_BYTES_AIM {
            self.open.push_str(text);
            if self.open.len() >= 2 * LEAF_BYTES_AIM {
                let open = std::mem::take(&mut self.open);
                let rest = self.cut(&open);
                self.open.push_str(rest);
            }
        } else {
            let rest = self.cut(text);
            self.open.push_str(rest);
        }
    }

    /// The tree of all runs. `None` if there is no text.
    pub(super) fn finish(mut self) -> Option<Arc<Node>> {
        self.close();
        balanced(&self.leaves)
    }

    /// Turns the text into leaves, except for a last piece of at most 3/2 [`LEAF_BYTES_AIM`] bytes.
    /// Returns that piece. It is not empty unless the text is.
    fn cut<'a>(&mut self, text: &'a str) -> &'a str {
        let mut rest = text;
        while rest.len() > LEAF_BYTES_AIM * 3 / 2 {
            let (piece, tail) = rest.split_at(floor_boundary(rest, LEAF_BYTES_AIM));
            self.leaf(piece.to_owned());
            rest = tail;
        }
        rest
    }

    fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        let rest = self.cut(&open).to_owned();
        if !rest.is_empty() {
            self.leaf(rest);
        }
    }

    fn leaf(&mut self, text: String) {
        let size = Size::of(&text);
        self.leaves.push(Node::leaf(text, size, self.marks.clone()));
    }
}

/// Builds a tree over leaves in their order. The two halves differ by at most one leaf, so their
/// heights differ by at most one.
fn balanced(leaves: &[Arc<Node>]) -> Option<Arc<Node>> {
    match leaves {
        [] => None,
        [leaf] => Some(leaf.clone()),
        _ => {
            let (head, tail) = leaves.split_at(leaves.len() / 2);
            Some(Node::branch(balanced(head)?, balanced(tail)?))
        }
    }
}
