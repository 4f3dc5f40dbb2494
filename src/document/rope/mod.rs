//! A persistent sequence of marked text: what a text field shows, and what its older views go on
//! showing.
//!
//! [`Rope`] is a balanced binary tree whose leaves hold short runs of text, each with one set of
//! [`Marks`]. Cloning shares the whole tree in O(1); an edit copies the way from the root to one
//! leaf and shares the rest, so that a view from before stays as it was. Every node knows its size
//! in bytes, chars and UTF-16 units, which makes positions translate in O(log n), and keeps a
//! digest of its text once that was asked for.
//!
//! Positions are in Unicode scalar values ("chars") unless a name says otherwise. Nothing panics: a
//! position past the end is taken for the end, and a range that ends before it starts is empty.
//!
//! Inside: `node` (the data), `tree` (join, split, build), `edit` (small changes in place),
//! `chunks` (walking), `diff`, `digest`, `marks`, `measure`. Apart from the values of marks this
//! module knows nothing of documents.

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

/// The length of a text in UTF-16 code units. O(bytes), some bytes a cycle.
#[must_use]
pub fn utf16_len(text: &str) -> usize {
    Size::of(text).utf16
}

/// A persistent sequence of marked text. See the module for what it promises.
///
/// Two ropes are equal if their text and their marks are. A map of marks that is empty counts as no
/// marks, and a mark with the value [`Value::Null`] as absent.
#[derive(Clone, Default)]
pub struct Rope {
    root: Option<Arc<Node>>,
}

/// Making a rope, and what it contains.
impl Rope {
    /// The empty text.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The text of these runs, one after the other, each with its marks. O(bytes).
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

    /// Whether there is no text. O(1).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Whether any of the text is marked. O(1).
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

    /// The marks of the char at a position, `None` where it has none and past the end. O(log n).
    #[must_use]
    pub fn marks_at(&self, at: usize) -> Option<&Arc<Marks>> {
        if at >= self.len_chars() {
            return None;
        }
        self.root.as_ref()?.leaf_at(at).0.marks()
    }

    /// The marks of a text that replaces a range of chars: those of the first of them; where there
    /// is none, those of the char before (at 0: none). O(log n).
    #[must_use]
    pub fn marks_of_insertion(&self, range: &Range<usize>) -> Option<&Arc<Marks>> {
        let (start, end) = self.clamp(range.clone());
        let at = if start < end { Some(start) } else { start.checked_sub(1) };
        at.filter(|_| self.has_marks()).and_then(|at| self.marks_at(at))
    }

    /// Whether setting a mark of a range of chars to `value` ([`Value::Null`]: removing it) would
    /// change nothing. O(log n + bytes of the range).
    #[must_use]
    pub fn is_marked(&self, range: Range<usize>, name: &str, value: &Value) -> bool {
        self.chunks_in(range).all(|(_, marks)| marks::already(marks, name, value))
    }

    /// The text of a range of chars. O(log n + bytes of the range).
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> String {
        self.chunks_in(range).map(|(text, _)| text).collect()
    }

    /// All text in order, in pieces of 1 to 1,024 bytes with their marks. Where one piece ends and
    /// the next begins is not part of the content: neighbours may be marked alike.
    #[must_use]
    pub fn chunks(&self) -> Chunks<'_> {
        Chunks::new(self.root.as_ref(), 0, self.len_chars())
    }

    /// As [`Rope::chunks`], of a range of chars. The start is found in O(log n).
    #[must_use]
    pub fn chunks_in(&self, range: Range<usize>) -> Chunks<'_> {
        let (start, end) = self.clamp(range);
        Chunks::new(self.root.as_ref(), start, end)
    }

    /// All text in order, in runs as long as their marks are the same. O(bytes).
    #[must_use]
    pub fn runs(&self) -> Vec<(String, Option<Arc<Marks>>)> {
        self.runs_in(0..self.len_chars())
    }

    /// As [`Rope::runs`], of a range of chars. O(log n + bytes of the range).
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

    /// A hash of the text and its marks in two lanes of 61 bits: equal for equal content however it
    /// came about, zero for the empty text. O(1) when it was asked for before; after an edit,
    /// O(log n) and the leaf that changed.
    ///
    /// It tells contents apart by accident, not against somebody who looks for two with the same
    /// digest.
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

/// Translating positions. All O(log n); a position past the end becomes the end.
impl Rope {
    /// The UTF-16 code unit at which a char starts.
    #[must_use]
    pub fn char_to_utf16(&self, char: usize) -> usize {
        self.prefix(Unit::Chars, char).utf16
    }

    /// The char that a UTF-16 code unit belongs to.
    #[must_use]
    pub fn utf16_to_char(&self, utf16: usize) -> usize {
        self.prefix(Unit::Utf16, utf16).chars
    }

    /// The byte at which a char starts.
    #[must_use]
    pub fn char_to_byte(&self, char: usize) -> usize {
        self.prefix(Unit::Chars, char).bytes
    }

    /// The char that a byte belongs to.
    #[must_use]
    pub fn byte_to_char(&self, byte: usize) -> usize {
        self.prefix(Unit::Bytes, byte).chars
    }

    /// The size of the longest prefix of whole chars that is at most `position` long in `unit`.
    fn prefix(&self, unit: Unit, position: usize) -> Size {
        self.root.as_ref().map_or_else(Size::default, |root| root.prefix(unit, position))
    }
}

/// Changing it. Clones made before stay as they were.
impl Rope {
    /// Inserts a text with these marks before the char `at`. O(log n + bytes inserted).
    pub fn insert(&mut self, at: usize, text: &str, marks: Option<Arc<Marks>>) {
        self.insert_canonical(at, text, marks::canonical(marks).as_ref());
    }

    /// Deletes a range of chars. O(log n), and freeing what no clone shares.
    pub fn delete(&mut self, range: Range<usize>) {
        let (start, end) = self.clamp(range);
        if let Some(root) = self.root.as_mut().filter(|_| start < end)
            && !edit::delete(root, start, end)
        {
            self.root = None;
        }
    }

    /// Replaces `delete` chars from `at` on by a text, which is marked as
    /// [`Rope::marks_of_insertion`] says. O(log n + bytes inserted).
    pub fn splice(&mut self, at: usize, delete: usize, insert: &str) {
        let at = at.min(self.len_chars());
        let inherited = self.marks_of_insertion(&(at..at.saturating_add(delete))).cloned();
        self.delete(at..at.saturating_add(delete));
        self.insert_canonical(at, insert, inherited.as_ref());
    }

    /// Sets one mark of a range of chars; [`Value::Null`] removes it. O(log n + bytes of the
    /// range).
    pub fn mark(&mut self, range: Range<usize>, name: &Arc<str>, value: &Value) {
        let (start, end) = self.clamp(range);
        if self.is_marked(start..end, name, value) {
            return;
        }
        let Some(root) = &self.root else { return };
        let mut builder = Builder::default();
        // Leaves of the same run share their marks; so do the runs that come of it.
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
    /// A text without marks. O(bytes).
    fn from(text: &str) -> Self {
        let mut builder = Builder::default();
        builder.push(text, None);
        Self { root: builder.finish() }
    }
}

impl PartialEq for Rope {
    /// O(1) for clones and for different lengths or (where both are known) digests, else O(bytes)
    /// without what is shared at the same place.
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
