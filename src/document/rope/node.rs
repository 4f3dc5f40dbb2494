//! The nodes of the tree. A leaf has one run of text; a branch has the size of the text below it.

use std::sync::{Arc, OnceLock};

use super::digest::Digest;
use super::marks::{self, Marks, RunMarks};
use super::measure::{Size, Unit, prefix};

/// The target length of a leaf when a text is cut into leaves.
pub(super) const LEAF_BYTES_AIM: usize = 512;
/// The largest length of a leaf after edits.
pub(super) const LEAF_BYTES_MAX: usize = 1024;
/// If a deletion leaves a leaf shorter than this, it tries to merge the leaf with a neighbour.
pub(super) const LEAF_BYTES_MIN: usize = 128;
/// The spare room in a copied leaf, for the edit for which it was copied.
const LEAF_BYTES_SPARE: usize = 32;

/// A subtree. Never empty.
#[derive(Clone)]
pub(super) enum Node {
    Leaf(Leaf),
    Branch(Branch),
}

/// A run of text of 1 to [`LEAF_BYTES_MAX`] bytes. All its chars have the same marks.
pub(super) struct Leaf {
    pub(super) text: String,
    pub(super) size: Size,
    pub(super) marks: RunMarks,
    digest: OnceLock<Digest>,
}

/// Two subtrees whose heights differ by at most one.
pub(super) struct Branch {
    pub(super) left: Arc<Node>,
    pub(super) right: Arc<Node>,
    pub(super) size: Size,
    pub(super) height: u8,
    pub(super) marked: bool,
    digest: OnceLock<Digest>,
}

// A leaf is cloned only to be edited. So the clone has spare room and does not keep the digest.
impl Clone for Leaf {
    fn clone(&self) -> Self {
        let mut text = String::with_capacity(self.text.len() + LEAF_BYTES_SPARE);
        text.push_str(&self.text);
        Self { text, size: self.size, marks: self.marks.clone(), digest: OnceLock::new() }
    }
}

impl Clone for Branch {
    fn clone(&self) -> Self {
        let left = self.left.clone();
        let right = self.right.clone();
        Self {
            left,
            right,
            size: self.size,
            height: self.height,
            marked: self.marked,
            digest: OnceLock::new(),
        }
    }
}

impl Leaf {
    /// The marks, if the text has any.
    pub(super) fn marks(&self) -> Option<&Arc<Marks>> {
        self.marks.as_ref()
    }

    /// The byte at which the char `at` starts, or the end.
    pub(super) fn byte_of(&self, at: usize) -> usize {
        prefix(&self.text, self.size, Unit::Chars, at).bytes
    }

    /// Inserts a text at a byte of the leaf. The text must have the marks of the leaf.
    pub(super) fn insert(&mut self, byte: usize, text: &str, size: Size) {
        self.text.insert_str(byte, text);
        self.size += size;
        self.digest.take();
    }

    /// Deletes the chars from `start` to `end`.
    pub(super) fn delete(&mut self, start: usize, end: usize) {
        let bytes = self.byte_of(start)..self.byte_of(end);
        let gone = Size::of(&self.text[bytes.clone()]);
        self.text.replace_range(bytes, "");
        let Size { bytes, chars, utf16 } = self.size;
        self.size = Size {
            bytes: bytes - gone.bytes,
            chars: chars - gone.chars,
            utf16: utf16 - gone.utf16,
        };
        self.digest.take();
    }

    /// Whether this leaf and the next one should be merged.
    pub(super) fn merges_with(&self, next: &Self) -> bool {
        let bytes = self.size.bytes + next.size.bytes;
        let small = self.size.bytes.min(next.size.bytes) < LEAF_BYTES_MIN;
        (bytes <= LEAF_BYTES_AIM || (small && bytes <= LEAF_BYTES_MAX))
            && marks::same(self.marks(), next.marks())
    }
}

impl Branch {
    /// Updates everything that is derived from the children.
    pub(super) fn refresh(&mut self) {
        self.size = self.left.size() + self.right.size();
        self.height = 1 + self.left.height().max(self.right.height());
        self.marked = self.left.marked() || self.right.marked();
        self.digest.take();
    }

    /// Whether the heights of the children differ by at most one.
    pub(super) fn is_balanced(&self) -> bool {
        self.left.height().abs_diff(self.right.height()) <= 1
    }
}

impl Node {
    /// Makes a leaf. The text must have 1 to [`LEAF_BYTES_MAX`] bytes.
    pub(super) fn leaf(text: String, size: Size, marks: RunMarks) -> Arc<Self> {
        Arc::new(Self::Leaf(Leaf { text, size, marks, digest: OnceLock::new() }))
    }

    /// A branch over two subtrees whose heights differ by at most one.
    pub(super) fn branch(left: Arc<Self>, right: Arc<Self>) -> Arc<Self> {
        let height = 1 + left.height().max(right.height());
        let marked = left.marked() || right.marked();
        let size = left.size() + right.size();
        Arc::new(Self::Branch(Branch {
            left,
            right,
            size,
            height,
            marked,
            digest: OnceLock::new(),
        }))
    }

    /// The size of all text below.
    pub(super) fn size(&self) -> Size {
        match self {
            Self::Leaf(leaf) => leaf.size,
            Self::Branch(branch) => branch.size,
        }
    }

    /// The number of branches on the longest path to a leaf.
    pub(super) fn height(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Branch(branch) => branch.height,
        }
    }

    /// Whether any text below has marks.
    pub(super) fn marked(&self) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.marks.is_some(),
            Self::Branch(branch) => branch.marked,
        }
    }

    /// The digest of all text below. It is computed if it is not cached.
    pub(super) fn digest(&self) -> &Digest {
        match self {
            Self::Leaf(leaf) => {
                leaf.digest.get_or_init(|| Digest::of(&leaf.text, leaf.size.chars, leaf.marks()))
            }
            Self::Branch(branch) => {
                branch.digest.get_or_init(|| branch.left.digest().then(branch.right.digest()))
            }
        }
    }

    /// The digest, if it is cached.
    pub(super) fn known_digest(&self) -> Option<&Digest> {
        match self {
            Self::Leaf(leaf) => leaf.digest.get(),
            Self::Branch(branch) => branch.digest.get(),
        }
    }

    /// The first leaf.
    pub(super) fn first(&self) -> &Leaf {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(leaf) => return leaf,
                Self::Branch(branch) => node = &branch.left,
            }
        }
    }

    /// The last leaf.
    pub(super) fn last(&self) -> &Leaf {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(leaf) => return leaf,
                Self::Branch(branch) => node = &branch.right,
            }
        }
    }

    /// The leaf that contains the char `at`, and the position of that char in the leaf. Past the
    /// end: the last leaf and its length.
    pub(super) fn leaf_at(&self, mut at: usize) -> (&Leaf, usize) {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(leaf) => return (leaf, at.min(leaf.size.chars)),
                Self::Branch(branch) => {
                    let left = branch.left.size().chars;
                    (node, at) =
                        if at < left { (&branch.left, at) } else { (&branch.right, at - left) };
                }
            }
        }
    }

    /// The size of the longest prefix of whole chars that is at most `position` long in `unit`.
    pub(super) fn prefix(&self, unit: Unit, mut position: usize) -> Size {
        let mut node = self;
        let mut before = Size::default();
        loop {
            match node {
                Self::Leaf(leaf) => return before + prefix(&leaf.text, leaf.size, unit, position),
                Self::Branch(branch) => {
                    let left = branch.left.size();
                    if position < unit.of(left) {
                        node = &branch.left;
                    } else {
                        position -= unit.of(left);
                        before += left;
                        node = &branch.right;
                    }
                }
            }
        }
    }
}
