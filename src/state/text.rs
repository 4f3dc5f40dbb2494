//! Text that several people type into.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::document::rope::{Marks, Rope};
use crate::document::value::Value;

use super::{At, ChangeError, Edit, Node, Place, Reader, Refresh, Shape, State, Writer};

/// Text that many edit at once, with marks (bold, a link, a comment's id) over stretches of it.
///
/// Positions count Unicode scalar values (`char`s); [`Text::char_to_utf16`] and its kin convert. A
/// clone is O(1) and shares what it does not change.
#[derive(Clone, Default, PartialEq)]
pub struct Text(Rope);

/// A place in a text that follows the text as it changes: a cursor, the end of a selection.
///
/// Made by [`Store::anchor`](crate::Store::anchor). Its bytes, or itself by serde, may be sent to
/// any replica of the document.
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

    /// An anchor from bytes. Bytes that are none resolve to nothing.
    #[must_use]
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }
}

/// As hexadecimal digits, whatever the format.
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

    /// Whether there is nothing.
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

    /// A stretch of the text; what lies beyond the end is left out. O(log n + stretch).
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

    /// The UTF-16 position of a position. O(log n).
    #[must_use]
    pub fn char_to_utf16(&self, at: usize) -> usize {
        self.0.char_to_utf16(at)
    }

    /// The position of a UTF-16 position. O(log n).
    #[must_use]
    pub fn utf16_to_char(&self, at: usize) -> usize {
        self.0.utf16_to_char(at)
    }

    /// The byte position of a position. O(log n).
    #[must_use]
    pub fn char_to_byte(&self, at: usize) -> usize {
        self.0.char_to_byte(at)
    }

    /// The position of a byte position. O(log n).
    #[must_use]
    pub fn byte_to_char(&self, at: usize) -> usize {
        self.0.byte_to_char(at)
    }

    /// Replaces a stretch of this copy: to build a new value for
    /// [`Store::reconcile`](crate::Store::reconcile). Beyond the end is the end. What is
    /// inserted is marked as by [`Node::splice`].
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

/// Those marks that can be written on other text, as they are written there. Other software may
/// have made some that cannot.
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

/// Sets the marks of the staged text to those of `new`, whose characters are equal by now.
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
            // What cannot be written stays where it is already.
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
    /// Inserts text before the character at `at`. It takes on the marks of the character before it.
    ///
    /// # Errors
    /// [`ChangeError::OutOfRange`] beyond the end, [`ChangeError::NotFound`] where the place is
    /// gone.
    pub fn insert(&self, at: usize, text: &str) -> Result<(), ChangeError> {
        self.splice(at..at, text)
    }

    /// Appends text.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] where the place is gone.
    pub fn push_str(&self, text: &str) -> Result<(), ChangeError> {
        let end = self.place.look(Text::len)?;
        self.splice(end..end, text)
    }

    /// Makes this the text, with the least edits: what stays keeps its marks, and merges with what
    /// others type into it. What is new takes on the marks that it would when it is inserted
    /// there. (To say the marks too, give [`Node::reconcile`] a [`Text`].) It costs what
    /// finding the difference does.
    ///
    /// This is for small edits of one text. If two people replace the whole text at the same time,
    /// the results mix where letters are equal. To replace the whole text, call
    /// [`clear`](Self::clear) and then [`push_str`](Self::push_str): if two do so, the new texts
    /// stand one behind the other.
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
    /// [`ChangeError::NotFound`] where the place is gone.
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

    /// Deletes all of the text. What others type at the same time stays.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] where the place is gone.
    pub fn clear(&self) -> Result<(), ChangeError> {
        let end = self.place.look(Text::len)?;
        self.delete(0..end)
    }

    /// Deletes a stretch of text.
    ///
    /// # Errors
    /// As `insert`.
    pub fn delete(&self, range: Range<usize>) -> Result<(), ChangeError> {
        self.splice(range, "")
    }

    /// Replaces a stretch of text. What is inserted takes on the marks of the first character that
    /// it replaces, as editors do where one types over a selection: what stands in a bold
    /// word's stead is bold. Where it replaces nothing it takes on those of the character
    /// before it, as by `insert`. O(log n) and the backend's own work.
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

    /// Marks a stretch of text with a name and a value (`true`, a colour, an address). Text typed
    /// at its end takes the mark on, text typed at its start not. [`Value::Null`] takes the
    /// mark off. Where all of the stretch has the mark with this value already, nothing is
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

    /// Takes a mark off a stretch of text. Where none of it has the mark, nothing is written.
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
    /// [`ChangeError::NotFound`] where the place is gone.
    pub fn get(&self) -> Result<Text, ChangeError> {
        self.value()
    }
}
