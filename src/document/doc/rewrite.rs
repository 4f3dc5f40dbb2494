//! Inserts into this document the content of a text or list that another document has and this
//! document lacks. Nothing is removed, except by `text_anew` and `list_anew`, which replace the
//! whole content.
//!
//! These modules use it:
//!
//! - A [repair](super::repair) puts back the content that only the replaced document had.
//! - [`super::set_aside`] puts back the content that a change which was set aside had inserted.
//! - [`super::json`] and [`super::edit`] insert whole contents.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::document::diff;
use crate::document::key::Key;
use crate::document::ops::{Ops, SequenceKind, SequenceOp, Units};
use crate::document::replica::List;
use crate::document::rope::{Marks, Rope, utf16_len};
use crate::document::value::Value;

/// The ops that have to be written into a document, and the texts and lists that it has afterwards.
#[derive(Default)]
pub(super) struct Rewrite {
    pub(super) ops: Ops,
    pub(super) texts: BTreeMap<Key, Rope>,
    pub(super) lists: BTreeMap<Key, List>,
}

impl Rewrite {
    /// Inserts into the text `now` all content that `after` has and `before` lacks. O(texts), plus
    /// the cost of comparing them.
    pub(super) fn text(&mut self, path: &Arc<str>, [before, after, now]: [&Rope; 3]) {
        if after == now {
            return;
        }
        let chars =
            |text: &Rope| text.chunks().flat_map(|(chunk, _)| chunk.chars()).collect::<Vec<char>>();
        let found = insertions(&chars(before), &chars(after), &chars(now));
        if found.is_empty() {
            return;
        }
        let mut now = now.clone();
        for (mut at, range) in found {
            for (run, marks) in after.runs_in(range) {
                let units = Units { chars: at, utf16: now.char_to_utf16(at) };
                now.insert(at, &run, marks.clone());
                at += run.chars().count();
                self.insert(path, units, run, marks);
            }
        }
        self.texts.insert(Key(Arc::clone(path)), now);
    }

    fn insert(&mut self, path: &Arc<str>, at: Units, run: String, marks: Option<Arc<Marks>>) {
        self.ops.push(SequenceOp::Text {
            name: Arc::clone(path),
            at,
            delete: Units::default(),
            insert: Arc::from(run),
            marks,
            inherits: false,
        });
    }

    /// Empties a text and inserts this content. O(content).
    pub(super) fn text_anew(&mut self, path: &Arc<str>, content: Rope) {
        self.ops.push(SequenceOp::Clear { name: Arc::clone(path), kind: SequenceKind::Text });
        self.new_text(path, content);
    }

    /// Inserts this content into an empty text. O(content).
    pub(super) fn new_text(&mut self, path: &Arc<str>, content: Rope) {
        let mut at = Units::default();
        for (run, marks) in content.runs_in(0..content.len_chars()) {
            let end =
                Units { chars: at.chars + run.chars().count(), utf16: at.utf16 + utf16_len(&run) };
            self.insert(path, at, run, marks);
            at = end;
        }
        self.texts.insert(Key(Arc::clone(path)), content);
    }

    /// Empties a list and inserts this content. O(content).
    pub(super) fn list_anew(&mut self, path: &Arc<str>, content: List) {
        self.ops.push(SequenceOp::Clear { name: Arc::clone(path), kind: SequenceKind::List });
        self.new_list(path, content);
    }

    /// Inserts this content into an empty list. O(content).
    pub(super) fn new_list(&mut self, path: &Arc<str>, content: List) {
        let insert = content.iter().cloned().collect();
        self.ops.push(SequenceOp::List { name: Arc::clone(path), at: 0, delete: 0, insert });
        self.lists.insert(Key(Arc::clone(path)), content);
    }

    /// Does for a list what [`Rewrite::text`] does for a text.
    pub(super) fn list(&mut self, path: &Arc<str>, [before, after, now]: [&List; 3]) {
        if after == now {
            return;
        }
        let prints = |list: &List| list.iter().map(Value::fingerprint).collect::<Vec<u128>>();
        let found = insertions(&prints(before), &prints(after), &prints(now));
        if found.is_empty() {
            return;
        }
        let mut now = now.clone();
        for (at, range) in found {
            let insert: Vec<Value> =
                after.iter().skip(range.start).take(range.len()).cloned().collect();
            now.splice(at, 0, insert.iter().cloned());
            let name = Arc::clone(path);
            self.ops.push(SequenceOp::List { name, at, delete: 0, insert });
        }
        self.lists.insert(Key(Arc::clone(path)), now);
    }
}

/// The edits that turn `from` into `to`, in order. Each edit is the position in `from`, the number
/// of elements to delete there, and the range of `to` to insert there.
fn edits<T: Eq + std::hash::Hash>(from: &[T], to: &[T]) -> Vec<(usize, usize, Range<usize>)> {
    let mut found = Vec::new();
    let mut shift = 0isize;
    diff::slices(from, to, |at, delete, inserted| {
        let old = at.saturating_add_signed(-shift);
        shift += inserted.len() as isize - delete as isize;
        found.push((old, delete, inserted));
    });
    found
}

/// The ranges of `after` that `before` lacks, each with the position in `now` where it is to be
/// inserted. A position counts the ranges that were inserted before it. A range that `now` already
/// has is not inserted twice. A range that replaced content of `before` goes behind that content.
/// O(all three), plus the cost of comparing them.
fn insertions<T: Eq + std::hash::Hash>(
    before: &[T],
    after: &[T],
    now: &[T],
) -> Vec<(usize, Range<usize>)> {
    if after == now {
        return Vec::new();
    }
    let mut moved = edits(before, now).into_iter().peekable();
    let mut found = Vec::new();
    // These three describe the edits that led to `now` before the place: the number of elements
    // that they inserted, the number that they deleted, and the position in `before` where the last
    // edit ends.
    let mut grown = 0;
    let mut gone = 0;
    let mut end = 0;
    let mut added = 0;
    for (old, delete, range) in
        edits(before, after).into_iter().filter(|(.., range)| !range.is_empty())
    {
        let place = old + delete;
        while let Some((old, delete, inserted)) = moved.next_if(|(old, ..)| *old < place) {
            grown += inserted.len();
            gone += delete;
            end = old + delete;
        }
        // The last edit may have deleted elements behind the place. They do not move the place.
        let at = place + grown + added + end.saturating_sub(place) - gone;
        added += range.len();
        found.push((at, range));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::insertions;

    fn put(before: &str, after: &str, now: &str) -> String {
        let chars = |text: &str| text.chars().collect::<Vec<char>>();
        let after = chars(after);
        let mut result = chars(now);
        for (at, range) in insertions(&chars(before), &after, &chars(now)) {
            result.splice(at..at, after[range].iter().copied());
        }
        result.into_iter().collect()
    }

    #[test]
    fn an_insertion_is_repeated_at_its_place_in_the_new_text() {
        assert_eq!(put("ac", "abc", "ac"), "abc");
        assert_eq!(put("ac", "abc", "xxacyy"), "xxabcyy");
        assert_eq!(put("", "abc", "xy"), "abcxy");
        assert_eq!(put("abcd", "aXbcdY", "d"), "XdY", "what is gone stays away");
        assert_eq!(
            put("abcd", "ad", "abcd"),
            "abcd",
            "and so does what was only removed there stay"
        );
        assert_eq!(put("ac", "abc", "abc"), "abc", "it is there already");
    }

    #[test]
    fn each_insertion_is_shifted_by_all_edits_before_it() {
        assert_eq!(
            put("abcdef", "aXbcYdefZ", "1a2cf3"),
            "1aX2cYfZ3",
            "before what was inserted at the same place"
        );
        assert_eq!(put("abcdef", "abcXdef", "af"), "aXf", "within what is gone");
        assert_eq!(put("abcdef", "abXcdYef", "af"), "aXYf", "twice within it");
        assert_eq!(put("abcdef", "aXdYef", "abcdef"), "abcXdYef", "behind what it replaced");
    }
}
