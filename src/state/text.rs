//! Text that several replicas edit at the same time.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::document::rope::{Marks, Rope};
use crate::document::value::Value;

use super::schema;
use super::{At, ChangeError, Edit, Node, Place, Reader, Refresh, Shape, State, Writer};

/// Text that many replicas edit at the same time. Ranges of the text carry marks (bold, a link, a
/// comment's id).
///
/// Positions count Unicode scalar values (`char`s). [`Text::char_to_utf16`] and similar methods
/// convert positions. A clone is O(1) and shares the unchanged parts.
#[derive(Clone, Default, PartialEq)]
pub struct Text(Rope);

/// A position that follows the text as the text changes: a cursor, the end of a selection.
///
/// [`Store::anchor`](crate::Store::anchor) makes an anchor. Its bytes, or the anchor itself through
/// serde, may be sent to any replica of the document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "StickyIndex")]
#[doc(alias = "Cursor")]
pub struct Anchor(Vec<u8>);

impl Anchor {
    /// The anchor as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// An anchor from bytes. Invalid bytes resolve to no position.
    #[must_use]
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }
}

/// In every serde format, an anchor is a string of hexadecimal digits.
impl serde::Serialize for Anchor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&digits)
    }
}

impl<'de> serde::Deserialize<'de> for Anchor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        let pairs = digits.as_bytes().chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair)
                .ok()
                .filter(|pair| pair.len() == 2 && !pair.contains('+'))?;
            u8::from_str_radix(pair, 16).ok()
        });
        pairs.collect::<Option<Vec<u8>>>().map(Self).ok_or_else(|| {
            serde::de::Error::custom("expected an even number of hexadecimal digits")
        })
    }
}

impl Text {
    /// An empty text.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The length in Unicode scalar values. O(1).
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len_chars()
    }

    /// Whether the text is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The length in UTF-8 bytes. O(1).
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.0.len_bytes()
    }

    /// The length in UTF-16 code units. O(1).
    #[must_use]
    pub fn len_utf16(&self) -> usize {
        self.0.len_utf16()
    }

    /// The characters in a range. Positions beyond the end are left out. O(log n + range).
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> String {
        self.0.slice(range)
    }

    /// The character at a position; `None` beyond the end. O(log n).
    #[must_use]
    pub fn char_at(&self, at: usize) -> Option<char> {
        self.0.char_at(at)
    }

    /// The pieces of the text in order, each with its marks.
    pub fn chunks(&self) -> impl Iterator<Item = (&str, Option<&Arc<Marks>>)> {
        self.0.chunks()
    }

    /// The text as runs of equal marks. O(n).
    #[must_use]
    pub fn runs(&self) -> Vec<(String, Option<Arc<Marks>>)> {
        self.0.runs()
    }

    /// The marks of one character. O(log n).
    #[must_use]
    pub fn marks_at(&self, at: usize) -> Option<&Arc<Marks>> {
        self.0.marks_at(at)
    }

    /// Converts a position to a UTF-16 position. O(log n).
    #[must_use]
    pub fn char_to_utf16(&self, at: usize) -> usize {
        self.0.char_to_utf16(at)
    }

    /// Converts a UTF-16 position to a position. O(log n).
    #[must_use]
    pub fn utf16_to_char(&self, at: usize) -> usize {
        self.0.utf16_to_char(at)
    }

    /// Converts a position to a byte position. O(log n).
    #[must_use]
    pub fn char_to_byte(&self, at: usize) -> usize {
        self.0.char_to_byte(at)
    }

    /// Converts a byte position to a position. O(log n).
    #[must_use]
    pub fn byte_to_char(&self, at: usize) -> usize {
        self.0.byte_to_char(at)
    }

    /// Replaces a range of this copy, to build a new value for
    /// [`Store::reconcile`](crate::Store::reconcile). A position beyond the end counts as the end.
    /// The inserted text takes the same marks as with [`Node::splice`].
    pub fn splice(&mut self, range: Range<usize>, insert: &str) {
        let start = range.start.min(self.len());
        let end = range.end.clamp(start, self.len());
        self.0.splice(start, end - start, insert);
    }
}

#[cfg(feature = "serde")]
impl Text {
    pub(crate) fn rope(&self) -> &Rope {
        &self.0
    }
}

impl Text {
    pub(crate) fn from_rope(rope: Rope) -> Self {
        Self(rope)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Rope::from(text))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Rope::from(text.as_str()))
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0.to_string() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.has_marks() {
            true => f.debug_list().entries(self.0.runs()).finish(),
            false => write!(f, "{:?}", self.0.to_string()),
        }
    }
}

impl State for Text {
    type Node<P: Place> = Node<P, Self>;

    fn node<P: Place>(place: P) -> Node<P, Self> {
        Node::new(place)
    }

    fn initial() -> Self {
        Self::default()
    }

    fn shape(shape: &mut Shape) {
        shape.kind("text");
    }

    fn describe(_: &mut schema::Describe) -> schema::Type {
        schema::Type::Text
    }

    fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        Some(Self(reader.text()))
    }

    fn refresh(&mut self, at: At<'_>, cx: &mut Refresh<'_>) {
        if let Some(read) = at.is_end().then(|| cx.field(at, false, Self::read)).flatten() {
            *self = read;
        }
    }

    fn locate(&self, at: At<'_>) -> Option<&dyn Any> {
        at.is_end().then_some(self as &dyn Any)
    }

    fn write(&self, _unless: Option<&Self>, writer: &mut Writer<'_, '_>) {
        let mut at = 0;
        for (run, marks) in self.0.runs() {
            writer.splice_text(at, 0, &run, marks);
            at += run.chars().count();
        }
    }

    fn reconcile(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        if self == new {
            return;
        }
        crate::document::diff::text(
            &self.0.to_string(),
            &new.0.to_string(),
            |at, delete, insert| {
                writer.splice_text(at, delete, insert, None);
            },
        );
        reconcile_marks(&new.0, writer);
    }
}

/// The marks that can be written on other text, in the form in which they are written. Other
/// software may have made marks that cannot be written.
pub(super) fn writable(marks: Arc<Marks>) -> Arc<Marks> {
    if marks.values().all(|value| value.as_mark().as_ref() == Ok(value)) {
        return marks;
    }
    Arc::new(
        marks
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_mark().ok()?)))
            .collect(),
    )
}

/// Sets the marks of the staged text to those of `new`. The characters of both are already equal.
fn reconcile_marks(new: &Rope, writer: &mut Writer<'_, '_>) {
    let mut start = 0;
    let empty = Marks::new();
    for (run, wanted) in new.runs() {
        let end = start + run.chars().count();
        let wanted = wanted.unwrap_or_default();
        let written = writable(Arc::clone(&wanted));
        let mut at = start;
        while at < end {
            let staged = writer.staged_text();
            let found = staged.marks_at(at).cloned().unwrap_or_default();
            let stretch = (at..end)
                .take_while(|at| staged.marks_at(*at).map_or(&empty, |marks| marks) == &*found)
                .count()
                .max(1);
            for (name, value) in
                written.iter().filter(|(name, value)| found.get(*name) != Some(*value))
            {
                writer.mark_text(at..at + stretch, name, value);
            }
            // A mark that cannot be written stays where it already is.
            let stays = |name: &Arc<str>, value: &Value| {
                written.contains_key(name) || wanted.get(name) == Some(value)
            };
            for (name, _) in found.iter().filter(|(name, value)| !stays(name, value)) {
                writer.mark_text(at..at + stretch, name, &Value::Null);
            }
            at += stretch;
        }
        start = end;
    }
}

impl Node<Edit<'_>, Text> {
    /// Inserts text before the character at `at`. The text takes the marks of the character before
    /// it.
    ///
    /// # Errors
    /// [`ChangeError::OutOfRange`] beyond the end, [`ChangeError::NotFound`] if the place is gone.
    pub fn insert(&self, at: usize, text: &str) -> Result<(), ChangeError> {
        self.splice(at..at, text)
    }

    /// Appends text.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the place is gone.
    pub fn push_str(&self, text: &str) -> Result<(), ChangeError> {
        let end = self.place.look(Text::len)?;
        self.splice(end..end, text)
    }

    /// Turns the text into `text` with the fewest edits. Characters that stay keep their marks, and
    /// they merge with concurrent edits of other replicas. New characters take the same marks as
    /// with an insertion at their position. (To set the marks too, give a [`Text`] to
    /// [`Node::reconcile`].) The cost is that of the comparison.
    ///
    /// This is for small edits of one text. If two replicas replace the whole text at the same
    /// time, the results mix where letters are equal. To replace the whole text, call
    /// [`clear`](Self::clear) and then [`push_str`](Self::push_str): if two replicas do that
    /// concurrently, the result is one new text followed by the other.
    ///
    /// ```
    /// use exostate::{State, Store, Text};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Note { body: Text }
    ///
    /// let store = Store::<Note>::new();
    /// store.change(|note| note.body().set("buy milk"))?;
    /// let other = store.fork()?;
    /// store.change(|note| note.body().set("buy oat milk"))?;
    /// other.change(|note| note.body().set("buy milk and tea"))?;
    /// store.merge(&other)?;
    /// assert_eq!(store.view().body, "buy oat milk and tea");
    /// # Ok::<(), exostate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the place is gone.
    pub fn set(&self, text: impl AsRef<str>) -> Result<(), ChangeError> {
        let old = self.place.look(Text::to_string)?;
        let mut result = Ok(());
        crate::document::diff::text(&old, text.as_ref(), |at, delete, insert| {
            if result.is_ok() {
                result = self.splice(at..at + delete, insert);
            }
        });
        result
    }

    /// Deletes the whole text. Concurrent insertions of other replicas stay.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the place is gone.
    pub fn clear(&self) -> Result<(), ChangeError> {
        let end = self.place.look(Text::len)?;
        self.delete(0..end)
    }

    /// Deletes a range of the text.
    ///
    /// # Errors
    /// As `insert`.
    pub fn delete(&self, range: Range<usize>) -> Result<(), ChangeError> {
        self.splice(range, "")
    }

    /// Replaces a range of the text. The inserted text takes the marks of the first character that
    /// it replaces, as in editors when a user types over a selection: the replacement of a bold
    /// word is bold. If the range is empty, the inserted text takes the marks of the character
    /// before it, as with `insert`. O(log n), plus the backend's own work.
    ///
    /// ```
    /// use exostate::{State, Store, Text};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Note { body: Text }
    ///
    /// let store = Store::<Note>::new();
    /// store.change(|note| {
    ///     note.body().push_str("a bold word")?;
    ///     note.body().mark(2..6, "bold", true)?;
    ///     note.body().splice(2..6, "brave")
    /// })?;
    /// let body = store.view().body.clone();
    /// assert_eq!(body, "a brave word");
    /// assert!(body.marks_at(2).is_some() && body.marks_at(7).is_none());
    /// # Ok::<(), exostate::Error>(())
    /// ```
    ///
    /// # Errors
    /// As `insert`.
    pub fn splice(&self, range: Range<usize>, insert: &str) -> Result<(), ChangeError> {
        let marks = self.place.look(|text: &Text| {
            self.check(&range, text.len())?;
            Ok::<_, ChangeError>(text.0.marks_of_insertion(&range).cloned())
        })??;
        if range.is_empty() && insert.is_empty() {
            return Ok(());
        }
        self.place
            .write(|writer| writer.splice_text(range.start, range.end - range.start, insert, marks))
    }

    /// Marks a range of the text with a name and a value (`true`, a colour, an address). Text typed
    /// at the end of the range takes the mark; text typed at its start does not. [`Value::Null`]
    /// removes the mark. If the whole range already has the mark with this value, nothing is
    /// written.
    ///
    /// # Errors
    /// As `insert`; [`ChangeError::Invalid`] for bytes, infinity, NaN and [`Value::Unknown`], which
    /// a mark cannot hold.
    pub fn mark(
        &self,
        range: Range<usize>,
        name: &str,
        value: impl Into<Value>,
    ) -> Result<(), ChangeError> {
        match value.into().as_mark() {
            Ok(value) => self.put_mark(range, name, &value),
            Err(reason) => Err(ChangeError::Invalid { path: self.place.path().to_owned(), reason }),
        }
    }

    /// Removes a mark from a range of the text. If no character of the range has the mark, nothing
    /// is written.
    ///
    /// # Errors
    /// As `insert`.
    pub fn unmark(&self, range: Range<usize>, name: &str) -> Result<(), ChangeError> {
        self.put_mark(range, name, &Value::Null)
    }

    fn put_mark(&self, range: Range<usize>, name: &str, value: &Value) -> Result<(), ChangeError> {
        let marked = self.place.look(|text: &Text| {
            self.check(&range, text.len())?;
            Ok::<_, ChangeError>(text.0.is_marked(range.clone(), name, value))
        })??;
        if marked {
            return Ok(());
        }
        self.place.write(|writer| writer.mark_text(range, name, value))
    }

    fn check(&self, range: &Range<usize>, len: usize) -> Result<(), ChangeError> {
        if range.start <= range.end && range.end <= len {
            return Ok(());
        }
        Err(ChangeError::OutOfRange {
            path: self.place.path().to_owned(),
            start: range.start,
            end: range.end,
            len,
        })
    }

    /// The staged text.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the place is gone.
    pub fn get(&self) -> Result<Text, ChangeError> {
        self.value()
    }
}
