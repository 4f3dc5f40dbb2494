//! Writing values into a staged change.

use crate::document::ops::{SequenceOp, Units};
use crate::document::rope::Rope;
use crate::document::source::Source;
use crate::document::value::Value;

use super::dynamic::TypeRef;
use super::stage::StageCore;
use super::{ElementId, State};

/// Writes at one path of a staged change.
pub struct Writer<'c, 'd> {
    pub(crate) core: &'c mut StageCore<'d>,
    path: String,
    /// The type at the path, if only a schema knows it.
    ty: Option<TypeRef<'d>>,
}

impl<'c, 'd> Writer<'c, 'd> {
    pub(crate) fn new(core: &'c mut StageCore<'d>, path: &str) -> Self {
        let ty = core.ty().and_then(|ty| ty.below(path));
        Self { core, path: path.to_owned(), ty }
    }

    /// The path at which this writer writes.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The type at the path, if only a schema knows it.
    pub(crate) fn ty(&self) -> Option<TypeRef<'d>> {
        self.ty
    }

    /// Writes the same place as another type.
    pub(crate) fn as_type<R>(
        &mut self,
        ty: Option<TypeRef<'d>>,
        write: impl FnOnce(&mut Self) -> R,
    ) -> R {
        let before = std::mem::replace(&mut self.ty, ty);
        let result = write(self);
        self.ty = before;
        result
    }

    /// Whether the schema knows the state's type. If it does, [`Writer::ty`] is `None` only at
    /// places that the type has not.
    pub(crate) fn is_typed(&self) -> bool {
        self.core.ty().is_some()
    }

    /// The staged register at the path.
    pub(crate) fn own(&self) -> Option<Value> {
        self.core.register(&self.path)
    }

    /// Whether the register at the path does not fit its type and must be overwritten: see
    /// [`Mend`](super::Mend).
    #[must_use]
    pub fn is_misfit(&self) -> bool {
        self.core.is_misfit(&self.path)
    }

    /// Writes the register at the path, unless it already holds this value.
    pub fn put(&mut self, value: Value) {
        self.core.put(&self.path, Some(value));
    }

    /// Writes the register at the path, unless it holds this value or a value that is `alike`.
    pub(crate) fn put_unless(&mut self, value: Value, alike: &dyn Fn(&Value) -> bool) {
        self.core.put_unless(&self.path, Some(value), alike);
    }

    /// Removes the register at the path.
    pub fn remove(&mut self) {
        self.core.put(&self.path, None);
    }

    /// Makes the change fail, because the value at the path cannot be written.
    pub fn fail(&mut self, reason: String) {
        self.core.fail(super::ChangeError::Invalid { path: self.path.clone(), reason });
    }

    /// Makes the change fail, because a value does not fit the schema.
    pub(crate) fn misfit(&mut self, expected: String, found: String) {
        self.core.fail(super::ChangeError::misfit(&self.path, expected, found));
    }

    /// Writes below the path. `segment` is escaped.
    pub fn at<R>(&mut self, segment: &str, write: impl FnOnce(&mut Writer<'_, 'd>) -> R) -> R {
        let len = self.path.len();
        if len > 0 {
            self.path.push('/');
        }
        self.path.push_str(segment);
        let path = std::mem::take(&mut self.path);
        let ty = self.ty.and_then(|ty| ty.child(segment));
        let mut below = Writer { core: self.core, path, ty };
        let result = write(&mut below);
        self.path = below.path;
        self.path.truncate(len);
        result
    }

    /// Writes the fields of an enum's variant. If this writes anything, the enum's register names
    /// the variant afterwards.
    pub fn variant(&mut self, name: &str, write: impl FnOnce(&mut Writer<'_, 'd>)) {
        let before = self.core.edits();
        self.at(name, write);
        if self.core.edits() > before {
            self.core.name_variant(&self.path, name);
        }
    }

    /// Fills a slot. First removes everything that an earlier value left there.
    pub fn fill<T: State>(&mut self, value: &T) {
        self.clear();
        self.write_slot(value);
    }

    /// Writes the marker and the value of a slot.
    pub(crate) fn write_slot<T: State>(&mut self, value: &T) {
        if value.is_marked() {
            self.put(Value::Bool(true));
        }
        value.write(None, self);
    }

    /// Removes everything at and below the path, including fields that no struct knows.
    pub fn clear(&mut self) {
        for (key, _) in self.core.scan(&self.path) {
            self.core.put(key.as_str(), None);
        }
        self.clear_sequences();
    }

    /// Removes everything below the path and the sequences at the path. The register at the path
    /// stays.
    pub fn clear_below(&mut self) {
        let own = self.path.len();
        for (key, _) in self.core.scan(&self.path) {
            if key.as_str().len() > own {
                self.core.put(key.as_str(), None);
            }
        }
        self.clear_sequences();
    }

    fn clear_sequences(&mut self) {
        for (kind, name) in self.core.sequences(&self.path) {
            self.core.clear_sequence(kind, &name.0);
        }
    }

    /// Replaces a range of the text at the path.
    pub(crate) fn splice_text(
        &mut self,
        at: usize,
        delete: usize,
        insert: &str,
        marks: Option<std::sync::Arc<crate::document::rope::Marks>>,
    ) {
        let mut rope = self.core.text(&self.path);
        let marks = marks.map(super::text::writable);
        let op = SequenceOp::Text {
            name: self.path.as_str().into(),
            at: units(&rope, 0, at),
            delete: units(&rope, at, at + delete),
            insert: insert.into(),
            marks: marks.clone(),
            inherits: rope.inherits(at, marks.as_ref()),
        };
        rope.delete(at..at + delete);
        rope.insert(at, insert, marks);
        self.core.edit_text(&self.path, rope, op);
    }

    /// Sets or clears a mark on a range of the text at the path.
    pub(crate) fn mark_text(&mut self, range: std::ops::Range<usize>, name: &str, value: &Value) {
        let mut rope = self.core.text(&self.path);
        let name = std::sync::Arc::from(name);
        let at = units(&rope, 0, range.start);
        let len = units(&rope, range.start, range.end);
        rope.mark(range, &name, value);
        let op = SequenceOp::Mark {
            name: self.path.as_str().into(),
            at,
            len,
            mark: name,
            value: value.clone(),
        };
        self.core.edit_text(&self.path, rope, op);
    }

    /// The staged text at the path.
    pub(crate) fn staged_text(&self) -> Rope {
        self.core.text(&self.path)
    }

    /// Replaces a range of the list at the path.
    pub(crate) fn splice_list(&mut self, at: usize, delete: usize, insert: Vec<Value>) {
        let mut list = self.core.list(&self.path);
        let at = at.min(list.len());
        let deleted = delete.min(list.len() - at);
        list.splice(at, deleted, insert.iter().cloned());
        let op = SequenceOp::List { name: self.path.as_str().into(), at, delete: deleted, insert };
        self.core.edit_list(&self.path, list, op);
    }

    /// An id for a new element. No replica has used this id before.
    pub(crate) fn new_element(&mut self) -> ElementId {
        self.core.new_element()
    }

    /// An id for an element of a value that is written. Usually it is a new id. If an earlier state
    /// is restored, it is the id that the element had in that state; everything that the document
    /// still holds at its place is removed.
    pub(crate) fn element(&mut self, had: ElementId) -> ElementId {
        if !self.core.restores_ids || had.is_detached() {
            return self.new_element();
        }
        self.at(&had.segment(), |writer| writer.clear());
        had
    }
}

/// The distance between two positions of a text, in both units (chars and UTF-16).
fn units(rope: &Rope, from: usize, to: usize) -> Units {
    Units { chars: to - from, utf16: rope.char_to_utf16(to) - rope.char_to_utf16(from) }
}
