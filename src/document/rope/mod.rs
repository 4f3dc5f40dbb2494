//! A persistent sequence of marked text: the content of a text field.
//!
//! [`Rope`] is a balanced binary tree. Its leaves hold short runs of text, each with one set of
//! [`Marks`].
//!
//! - A clone shares the whole tree and costs O(1).
//! - An edit copies the path from the root to one leaf and shares the rest. So an older clone, for
//!   example in an older view, does not change.
//! - Every node has its size in bytes, chars and UTF-16 units, so a position is translated between
//!   these units in O(log n).
//! - Every node caches the digest of its text when the digest is first needed.
//!
//! Positions are in Unicode scalar values ("chars") unless a name says otherwise. Nothing panics: a
//! position past the end means the end, and a range that ends before it starts is empty.
//!
//! The submodules are `node` (the data), `tree` (join, split, build), `edit` (small changes in
//! place), `chunks` (walking), `diff`, `digest`, `marks` and `measure`. Apart from the values of
//! marks, this module does not depend on documents.

mod chunks;
mod diff;
mod digest;
mod edit;
mod marks;
mod measure;
mod node;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

pub use chunks::Chunks;

pub use marks::Marks;

use self::edit::Insertion;
use self::marks::RunMarks;
use self::measure::{Size, Unit};
use self::node::{LEAF_BYTES_AIM, Node};
use self::tree::Builder;
use crate::document::Value;

/// The length of a text in UTF-16 code units. O(bytes), several bytes per CPU cycle.
#[must_use]
pub fn utf16_len(text: &str) -> usize {
    Size::of(text).utf16
}

/// A persistent sequence of marked text. See the module for its guarantees.
///
/// Two ropes are equal if their texts and their marks are equal. An empty map of marks counts as no
/// marks, and a mark with the value [`Value::Null`] counts as absent.
#[derive(Clone, Default)]
pub struct Rope {
    root: Option<Arc<Node>>,
}

/// Construction and reading.
impl Rope {
    /// Makes an empty text.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a text from consecutive runs, each with its marks. O(bytes).
    #[must_use]
    pub fn from_runs(runs: impl IntoIterator<Item = (String, Option<Arc<Marks>>)>) -> Self {
        let mut builder = Builder::default();
        for (text, run_marks) in runs {
            builder.push(&text, marks::canonical(run_marks).as_ref());
        }
        Self { root: builder.finish() }
    }

    /// The length in Unicode scalar values. O(1).
    #[must_use]
    pub fn len_chars(&self) -> usize {
        self.size().chars
    }

    /// The length in bytes of UTF-8. O(1).
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.size().bytes
    }

    /// The length in UTF-16 code units. O(1).
    #[must_use]
    pub fn len_utf16(&self) -> usize {
        self.size().utf16
    }

    /// Whether the text is empty. O(1).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Whether any char has a mark. O(1).
    #[must_use]
    pub fn has_marks(&self) -> bool {
        self.root.as_ref().is_some_and(|root| root.marked())
    }

    /// The char at a position, `None` past the end. O(log n).
    #[must_use]
    pub fn char_at(&self, at: usize) -> Option<char> {
        let (leaf, at) = self.root.as_ref()?.leaf_at(at);
        leaf.text.get(leaf.byte_of(at)..)?.chars().next()
    }

    /// The marks of the char at a position. `None` if the char has no marks, or past the end.
    /// O(log n).
    #[must_use]
    pub fn marks_at(&self, at: usize) -> Option<&Arc<Marks>> {
        if at >= self.len_chars() {
            return None;
        }
        self.root.as_ref()?.leaf_at(at).0.marks()
    }

    /// The marks that a text gets if it replaces a range of chars: the marks of the first char of
    /// the range. If the range is empty: the marks of the char before it, or none at position 0.
    /// O(log n).
    #[must_use]
    pub fn marks_of_insertion(&self, range: &Range<usize>) -> Option<&Arc<Marks>> {
        let (start, end) = self.clamp(range.clone());
        let at = if start < end { Some(start) } else { start.checked_sub(1) };
        at.filter(|_| self.has_marks()).and_then(|at| self.marks_at(at))
    }

    /// Whether text with these marks has, if it is inserted at a position, the marks of the char
    /// before it: none at position 0. O(log n).
    #[must_use]
    pub fn inherits(&self, at: usize, marks: Option<&Arc<Marks>>) -> bool {
        self.marks_of_insertion(&(at..at)) == marks.filter(|marks| !marks.is_empty())
    }

    /// Whether setting a mark on a range of chars to `value` would change nothing. [`Value::Null`]
    /// stands for removing the mark. O(log n + bytes of the range).
    #[must_use]
    pub fn is_marked(&self, range: Range<usize>, name: &str, value: &Value) -> bool {
        self.chunks_in(range).all(|(_, marks)| marks::already(marks, name, value))
    }

    /// The text of a range of chars. O(log n + bytes of the range).
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> String {
        self.chunks_in(range).map(|(text, _)| text).collect()
    }

    /// The whole text in order, in pieces of 1 to 1,024 bytes with their marks. The borders between
    /// the pieces are not a part of the content: two neighbours may have the same marks.
    #[must_use]
    pub fn chunks(&self) -> Chunks<'_> {
        Chunks::new(self.root.as_ref(), 0, self.len_chars())
    }

    /// Like [`Rope::chunks`], for a range of chars. The start is found in O(log n).
    #[must_use]
    pub fn chunks_in(&self, range: Range<usize>) -> Chunks<'_> {
        let (start, end) = self.clamp(range);
        Chunks::new(self.root.as_ref(), start, end)
    }

    /// The whole text in order, in runs. Two neighbouring runs have different marks. O(bytes).
    #[must_use]
    pub fn runs(&self) -> Vec<(String, Option<Arc<Marks>>)> {
        self.runs_in(0..self.len_chars())
    }

    /// Like [`Rope::runs`], for a range of chars. O(log n + bytes of the range).
    #[must_use]
    pub fn runs_in(&self, range: Range<usize>) -> Vec<(String, Option<Arc<Marks>>)> {
        let mut runs: Vec<(String, Option<Arc<Marks>>)> = Vec::new();
        for (text, run_marks) in self.chunks_in(range) {
            match runs.last_mut() {
                Some(last) if marks::same(last.1.as_ref(), run_marks) => last.0.push_str(text),
                _ => runs.push((text.to_owned(), run_marks.cloned())),
            }
        }
        runs
    }

    /// A hash of the text and its marks, in two lanes of 61 bits. Equal contents have equal
    /// digests, whatever edits made them. The digest of the empty text is zero.
    ///
    /// O(1) if the digest is cached. The first call after an edit costs O(log n + bytes of the
    /// changed leaf).
    ///
    /// The hash is not cryptographic: an attacker can construct two contents with the same digest.
    #[must_use]
    pub fn digest(&self) -> [u64; 2] {
        self.root.as_ref().map_or([0; 2], |root| root.digest().hash)
    }

    fn size(&self) -> Size {
        self.root.as_ref().map_or_else(Size::default, |root| root.size())
    }

    fn clamp(&self, range: Range<usize>) -> (usize, usize) {
        let end = range.end.min(self.len_chars());
        (range.start.min(end), end)
    }
}

/// Translation of positions. Each method costs O(log n). A position past the end means the end.
impl Rope {
    /// The UTF-16 code unit at which a char starts.
    #[must_use]
    pub fn char_to_utf16(&self, char: usize) -> usize {
        self.prefix(Unit::Chars, char).utf16
    }

    /// The char to which a UTF-16 code unit belongs.
    #[must_use]
    pub fn utf16_to_char(&self, utf16: usize) -> usize {
        self.prefix(Unit::Utf16, utf16).chars
    }

    /// The byte at which a char starts.
    #[must_use]
    pub fn char_to_byte(&self, char: usize) -> usize {
        self.prefix(Unit::Chars, char).bytes
    }

    /// The char to which a byte belongs.
    #[must_use]
    pub fn byte_to_char(&self, byte: usize) -> usize {
        self.prefix(Unit::Bytes, byte).chars
    }

    /// The size of the longest prefix of whole chars that is at most `position` long in `unit`.
    fn prefix(&self, unit: Unit, position: usize) -> Size {
        self.root.as_ref().map_or_else(Size::default, |root| root.prefix(unit, position))
    }
}

/// Edits. Clones that were made before an edit do not change.
impl Rope {
    /// Inserts a text with these marks before the char `at`. O(log n + bytes inserted).
    pub fn insert(&mut self, at: usize, text: &str, marks: Option<Arc<Marks>>) {
        self.insert_canonical(at, text, marks::canonical(marks).as_ref());
    }

    /// Deletes a range of chars. O(log n), plus the cost of freeing nodes that no clone shares.
    pub fn delete(&mut self, range: Range<usize>) {
        let (start, end) = self.clamp(range);
        if let Some(root) = self.root.as_mut().filter(|_| start < end)
            && !edit::delete(root, start, end)
        {
            self.root = None;
        }
    }

    /// Replaces `delete` chars from `at` on by a text. The text gets the marks of
    /// [`Rope::marks_of_insertion`]. O(log n + bytes inserted).
    pub fn splice(&mut self, at: usize, delete: usize, insert: &str) {
        let at = at.min(self.len_chars());
        let inherited = self.marks_of_insertion(&(at..at.saturating_add(delete))).cloned();
        self.delete(at..at.saturating_add(delete));
        self.insert_canonical(at, insert, inherited.as_ref());
    }

    /// Sets one mark on a range of chars; [`Value::Null`] removes the mark. O(log n + bytes of the
    /// range).
    pub fn mark(&mut self, range: Range<usize>, name: &Arc<str>, value: &Value) {
        let (start, end) = self.clamp(range);
        if self.is_marked(start..end, name, value) {
            return;
        }
        let Some(root) = &self.root else { return };
        let mut builder = Builder::default();
        // Leaves of the same run share one map of marks. The new leaves share their new map too.
        let mut last: Option<(Option<&Arc<Marks>>, RunMarks)> = None;
        for (text, old) in self.chunks_in(start..end) {
            let new = match last.take() {
                Some((last_old, last_new)) if marks::same(last_old, old) => last_new,
                _ => marks::with(old, name, value),
            };
            builder.push(text, new.as_ref());
            last = Some((old, new));
        }
        let (before, _) = tree::split(root, start);
        let (_, after) = tree::split(root, end);
        self.root = tree::concat_all([before, builder.finish(), after]);
    }

    fn insert_canonical(&mut self, at: usize, text: &str, marks: Option<&Arc<Marks>>) {
        if text.is_empty() {
            return;
        }
        let at = at.min(self.len_chars());
        match &mut self.root {
            Some(root) if text.len() <= LEAF_BYTES_AIM => {
                edit::insert(root, at, &Insertion { text, size: Size::of(text), marks });
            }
            root => {
                let (before, after) =
                    root.as_ref().map_or((None, None), |root| tree::split(root, at));
                let mut builder = Builder::default();
                builder.push(text, marks);
                *root = tree::concat_all([before, builder.finish(), after]);
            }
        }
    }
}

impl From<&str> for Rope {
    /// Makes a text without marks. O(bytes).
    fn from(text: &str) -> Self {
        let mut builder = Builder::default();
        builder.push(text, None);
        Self { root: builder.finish() }
    }
}

impl PartialEq for Rope {
    /// O(1) for clones, for different lengths, and for different digests if both are cached. Else
    /// O(bytes), without the subtrees that both ropes share at the same position.
    fn eq(&self, other: &Self) -> bool {
        let (Some(left), Some(right)) = (&self.root, &other.root) else {
            return self.is_empty() && other.is_empty();
        };
        if left.size() != right.size() || left.marked() != right.marked() {
            return false;
        }
        let told_apart = left
            .known_digest()
            .zip(right.known_digest())
            .is_some_and(|(left, right)| left != right);
        !told_apart && chunks::same_content(left, right)
    }
}

impl Eq for Rope {}

impl fmt::Display for Rope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chunks().try_for_each(|(text, _)| f.write_str(text))
    }
}

impl fmt::Debug for Rope {
    /// The text, as a string literal, without the marks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}
