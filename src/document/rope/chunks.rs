//! Walks through one text leaf by leaf, and through two texts side by side to compare them.

use std::fmt;
use std::sync::Arc;

use super::marks::{self, Marks};
use super::measure::Size;
use super::node::Node;

/// An iterator over the pieces of a rope, or of a range of it, each with its marks. Made by
/// [`Rope::chunks`] and [`Rope::chunks_in`]. A step costs O(1) on average.
///
/// [`Rope::chunks`]: super::Rope::chunks
/// [`Rope::chunks_in`]: super::Rope::chunks_in
pub struct Chunks<'a> {
    /// The subtrees that are still to come. The last entry is the next one.
    pending: Vec<&'a Node>,
    /// The number of chars to skip at the start of the next leaf.
    skip: usize,
    /// The number of chars that are still to come.
    left: usize,
}

impl<'a> Chunks<'a> {
    /// The chars from `start` to `end`, where `start <= end <= length`.
    pub(super) fn new(root: Option<&'a Arc<Node>>, start: usize, end: usize) -> Self {
        let mut chunks = Self { pending: Vec::with_capacity(16), skip: start, left: end - start };
        let mut next = root;
        while let Some(node) = next.take() {
            match &**node {
                Node::Leaf(_) => chunks.pending.push(node),
                Node::Branch(branch) if chunks.skip < branch.left.size().chars => {
                    chunks.pending.push(&branch.right);
                    next = Some(&branch.left);
                }
                Node::Branch(branch) => {
                    chunks.skip -= branch.left.size().chars;
                    next = Some(&branch.right);
                }
            }
        }
        chunks
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = (&'a str, Option<&'a Arc<Marks>>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        loop {
            match self.pending.pop()? {
                Node::Branch(branch) => self.pending.extend([&*branch.right, &*branch.left]),
                Node::Leaf(leaf) => {
                    let skip = std::mem::take(&mut self.skip);
                    let taken = self.left.min(leaf.size.chars - skip);
                    self.left -= taken;
                    let text = &leaf.text[leaf.byte_of(skip)..leaf.byte_of(skip + taken)];
                    return Some((text, leaf.marks()));
                }
            }
        }
    }
}

impl fmt::Debug for Chunks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks").field("chars_left", &self.left).finish_non_exhaustive()
    }
}

/// A part of one side of a comparison that is not compared yet.
#[derive(Clone, Copy)]
enum Part<'a> {
    Tree(&'a Arc<Node>),
    Text(&'a str, Option<&'a Arc<Marks>>),
}

/// Whether two trees hold the same text with the same marks. A subtree that both trees share at the
/// same position is skipped, so the cost is O(nodes and bytes that are not shared).
pub(super) fn same_content(left: &Arc<Node>, right: &Arc<Node>) -> bool {
    let mut lefts = vec![Part::Tree(left)];
    let mut rights = vec![Part::Tree(right)];
    loop {
        let (left, right) = match (lefts.pop(), rights.pop()) {
            (Some(left), Some(right)) => (left, right),
            (left, right) => return left.is_none() && right.is_none(),
        };
        match (left, right) {
            (Part::Tree(a), Part::Tree(b)) if Arc::ptr_eq(a, b) => {}
            (Part::Tree(a), Part::Tree(b)) if a.size().bytes < b.size().bytes => {
                lefts.push(left);
                open(&mut rights, b);
            }
            (Part::Tree(node), _) => {
                open(&mut lefts, node);
                rights.push(right);
            }
            (_, Part::Tree(node)) => {
                lefts.push(left);
                open(&mut rights, node);
            }
            (Part::Text(a, a_marks), Part::Text(b, b_marks)) => {
                let common = a.len().min(b.len());
                if a.as_bytes()[..common] != b.as_bytes()[..common]
                    || !marks::same(a_marks, b_marks)
                {
                    return false;
                }
                rest(&mut lefts, a, common, a_marks);
                rest(&mut rights, b, common, b_marks);
            }
        }
    }
}

/// Pushes the children of a branch, the left child last so that it is next, or the text of a leaf.
fn open<'a>(parts: &mut Vec<Part<'a>>, node: &'a Arc<Node>) {
    match &**node {
        Node::Leaf(leaf) => parts.push(Part::Text(&leaf.text, leaf.marks())),
        Node::Branch(branch) => parts.extend([Part::Tree(&branch.right), Part::Tree(&branch.left)]),
    }
}

/// Pushes the rest of a text whose first `common` bytes were compared. The rest starts at a char
/// boundary, because these bytes equal the whole text of the other side.
fn rest<'a>(
    parts: &mut Vec<Part<'a>>,
    text: &'a str,
    common: usize,
    marks: Option<&'a Arc<Marks>>,
) {
    if let Some(rest) = text.get(common..).filter(|rest| !rest.is_empty()) {
        parts.push(Part::Text(rest, marks));
    }
}

/// The end of two trees at which they are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Start,
    Finish,
}

/// The number of chars that two trees have in common at one end. Marks are ignored. A subtree that
/// both trees share at the same position is skipped.
pub(super) fn common(left: &Arc<Node>, right: &Arc<Node>, end: End) -> usize {
    let mut lefts = vec![Part::Tree(left)];
    let mut rights = vec![Part::Tree(right)];
    let mut chars = 0;
    while let (Some(left), Some(right)) = (lefts.pop(), rights.pop()) {
        match (left, right) {
            (Part::Tree(a), Part::Tree(b)) if Arc::ptr_eq(a, b) => chars += a.size().chars,
            (Part::Tree(a), Part::Tree(b)) if a.size().bytes < b.size().bytes => {
                lefts.push(left);
                open_at(&mut rights, b, end);
            }
            (Part::Tree(node), _) => {
                open_at(&mut lefts, node, end);
                rights.push(right);
            }
            (_, Part::Tree(node)) => {
                lefts.push(left);
                open_at(&mut rights, node, end);
            }
            (Part::Text(a, marks), Part::Text(b, _)) => {
                let same = match end {
                    End::Start => a
                        .chars()
                        .zip(b.chars())
                        .take_while(|(a, b)| a == b)
                        .map(|(char, _)| char.len_utf8())
                        .sum::<usize>(),
                    End::Finish => a
                        .chars()
                        .rev()
                        .zip(b.chars().rev())
                        .take_while(|(a, b)| a == b)
                        .map(|(char, _)| char.len_utf8())
                        .sum(),
                };
                let (in_a, a_left) = if end == End::Start {
                    a.split_at(same)
                } else {
                    flipped(a.split_at(a.len() - same))
                };
                let (_, b_left) = if end == End::Start {
                    b.split_at(same)
                } else {
                    flipped(b.split_at(b.len() - same))
                };
                chars += Size::of(in_a).chars;
                if !a_left.is_empty() && !b_left.is_empty() {
                    break;
                }
                lefts.extend((!a_left.is_empty()).then_some(Part::Text(a_left, marks)));
                rights.extend((!b_left.is_empty()).then_some(Part::Text(b_left, marks)));
            }
        }
    }
    chars
}

fn flipped<T>((a, b): (T, T)) -> (T, T) {
    (b, a)
}

/// Like [`open`], but the child at the compared end is next.
fn open_at<'a>(parts: &mut Vec<Part<'a>>, node: &'a Arc<Node>, end: End) {
    open(parts, node);
    if let (Node::Branch(_), End::Finish, [.., left, right]) = (&**node, end, &mut parts[..]) {
        std::mem::swap(left, right);
    }
}
