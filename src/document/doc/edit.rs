//! Edits by path, for callers that have no Rust type for the state.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use super::rewrite::Rewrite;
use super::{Document, Turn};
use crate::document::backend::{Backend, BackendError};
use crate::document::bundle::{self, KeyKind};
use crate::document::commit::Origin;
use crate::document::keeper::KeepError;
use crate::document::key::{self, Key};
use crate::document::named;
use crate::document::ops::{Ops, RegisterWrite, SequenceOp, Units};
use crate::document::replica::List;
use crate::document::rope::Rope;
use crate::document::source::Source;
use crate::document::value::Value;

/// Why a document was not edited. After the error the document is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The edit was called inside a change of the same document, on the same thread.
    #[error("a document cannot be edited inside a change of it")]
    Nested,
    /// A position or range lies beyond the end of a text or list.
    #[error("{path}: {start}..{end} is not within the length {len}")]
    OutOfRange {
        /// The text or list.
        path: String,
        /// The start of the range, in elements (texts: Unicode scalar values).
        start: usize,
        /// The end of the range.
        end: usize,
        /// The length.
        len: usize,
    },
    /// A document cannot hold this path, or other replicas would refuse the value.
    #[error("{path}: {reason}")]
    Invalid {
        /// The path.
        path: String,
        /// Why the path or the value is refused.
        reason: String,
    },
    /// The backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The document's [keeper](crate::Keeper) has no room for the edit, or the document may not be
    /// changed. The edit may be made again later.
    #[error(transparent)]
    NotKept(#[from] KeepError),
}

impl<B: Backend> Document<B> {
    /// The value of a register. The path is written as in
    /// [`docs/layout.md`](https://github.com/exostate/exostate/blob/main/docs/layout.md).
    #[must_use]
    pub fn register(&self, path: &str) -> Option<Value> {
        self.read(|replica| replica.register(path))
    }

    /// The register at `path` and all registers below it, in order. An empty path gives all
    /// registers. O(log n + found).
    #[must_use]
    pub fn registers(&self, path: &str) -> Vec<(String, Value)> {
        let found = self.read(|replica| replica.scan(path));
        found.into_iter().map(|(key, value)| (key.as_str().to_owned(), value)).collect()
    }

    /// The characters of a text, without its marks. Empty if the document has no such text.
    /// O(length).
    #[must_use]
    pub fn text(&self, path: &str) -> String {
        self.read(|replica| replica.text(path)).to_string()
    }

    /// The elements of a list. Empty if the document has no such list. O(length).
    #[must_use]
    pub fn list(&self, path: &str) -> Vec<Value> {
        self.read(|replica| replica.list(path)).iter().cloned().collect()
    }

    /// Edits the document by path. All edits are applied, or none if the closure returns an error
    /// or panics. The edits are one commit and usually one update. The middleware of a store is not
    /// asked, because it judges typed states.
    ///
    /// Paths and values are those of
    /// [`docs/layout.md`](https://github.com/exostate/exostate/blob/main/docs/layout.md). The
    /// caller has to know how a state type reads them.
    ///
    /// ```
    /// use exostate::{Document, Value};
    ///
    /// let document: Document = Document::new();
    /// document.edit(|edit| {
    ///     edit.set("title", "plan")?;
    ///     edit.splice_text("body", 0..0, "hello")?;
    ///     edit.splice_list("seats", 0..0, [Value::from(1), Value::from(2)])
    /// })?;
    /// document.edit(|edit| edit.splice_text("body", 0..1, "H"))?;
    /// assert_eq!(document.text("body"), "Hello");
    /// assert_eq!(document.list("seats"), [Value::from(1), Value::from(2)]);
    /// # Ok::<(), exostate::EditError>(())
    /// ```
    ///
    /// # Errors
    /// - The error that the closure returned.
    /// - [`EditError::Nested`] inside a change of this document.
    /// - [`EditError::Invalid`] if other replicas would refuse an op.
    /// - [`EditError::Backend`] if the backend failed.
    /// - [`EditError::NotKept`] if the document's keeper has no room.
    pub fn edit<R>(
        &self,
        edit: impl FnOnce(&mut DocumentEdit<'_>) -> Result<R, EditError>,
    ) -> Result<R, EditError> {
        let turn = Turn::begin(self.inner()).ok_or(EditError::Nested)?;
        turn.begin_edit(&mut *turn.replica_mut().ok_or(EditError::Nested)?);
        let result = catch_unwind(AssertUnwindSafe(|| turn.edit(edit)));
        drop(turn);
        // Parts may have been shown even if the edit failed.
        self.inner.delivery.deliver();
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl<B: Backend> Turn<'_, B> {
    fn edit<R>(
        &self,
        edit: impl FnOnce(&mut DocumentEdit<'_>) -> Result<R, EditError>,
    ) -> Result<R, EditError> {
        let (result, ops, texts, lists) = {
            let replica = self.replica();
            let mut staged = DocumentEdit {
                source: &*replica,
                ops: Ops::default(),
                texts: BTreeMap::new(),
                lists: BTreeMap::new(),
            };
            let result = edit(&mut staged)?;
            (result, staged.ops, staged.texts, staged.lists)
        };
        self.commit_edit(ops, texts, lists)?;
        Ok(result)
    }

    fn commit_edit(
        &self,
        ops: Ops,
        texts: BTreeMap<Key, Rope>,
        lists: BTreeMap<Key, List>,
    ) -> Result<(), EditError> {
        if ops.is_empty() {
            return Ok(());
        }
        if let Some((path, reason)) = ops.too_large(self.document.options.limits()) {
            return Err(EditError::Invalid { path, reason });
        }
        self.count_followers();
        let mut replica = self.replica_mut().ok_or(EditError::Nested)?;
        self.reserve()?;
        self.commit_ops(&mut replica, &ops, texts, lists, Origin::Local)?;
        Ok(())
    }
}

/// The edits of one [`Document::edit`]. Its reading methods see the edits made so far.
pub struct DocumentEdit<'a> {
    source: &'a dyn Source,
    ops: Ops,
    texts: BTreeMap<Key, Rope>,
    lists: BTreeMap<Key, List>,
}

impl std::fmt::Debug for DocumentEdit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DocumentEdit").field("ops", &self.ops.len()).finish_non_exhaustive()
    }
}

impl DocumentEdit<'_> {
    /// The value of a register.
    #[must_use]
    pub fn register(&self, path: &str) -> Option<Value> {
        match self.ops.registers.get(key::lookup(&path)) {
            Some(write) => write.new.clone(),
            None => self.source.register(path),
        }
    }

    /// A text, without its marks.
    #[must_use]
    pub fn text(&self, path: &str) -> String {
        self.rope(path).to_string()
    }

    /// A list.
    #[must_use]
    pub fn list(&self, path: &str) -> Vec<Value> {
        self.values(path).iter().cloned().collect()
    }

    /// Writes a register. Writes nothing if the register already holds the value.
    ///
    /// # Errors
    /// [`EditError::Invalid`] for a path or a value that a document cannot hold.
    pub fn set(&mut self, path: &str, value: impl Into<Value>) -> Result<(), EditError> {
        self.write(path, Some(held(path, value.into())?))
    }

    /// Removes a register. Writes nothing if the document has no such register.
    ///
    /// # Errors
    /// As [`DocumentEdit::set`].
    pub fn remove(&mut self, path: &str) -> Result<(), EditError> {
        self.write(path, None)
    }

    /// Replaces a range of a text. Positions count Unicode scalar values. The new text gets its
    /// marks as in [`Text::splice`](crate::Text).
    ///
    /// # Errors
    /// - [`EditError::OutOfRange`] if the range is not within the text.
    /// - [`EditError::Invalid`] for a path that a document cannot hold.
    pub fn splice_text(
        &mut self,
        path: &str,
        range: Range<usize>,
        insert: &str,
    ) -> Result<(), EditError> {
        valid(path)?;
        let mut rope = self.rope(path);
        bounded(path, &range, rope.len_chars())?;
        if range.is_empty() && insert.is_empty() {
            return Ok(());
        }
        let start = rope.char_to_utf16(range.start);
        let end = rope.char_to_utf16(range.end);
        let marks = rope.marks_of_insertion(&range).cloned();
        let inherits = rope.inherits(range.start, marks.as_ref());
        let at = Units { chars: range.start, utf16: start };
        let delete = Units { chars: range.len(), utf16: end - start };
        rope.delete(range.clone());
        rope.insert(range.start, insert, marks.clone());
        let name: Arc<str> = Arc::from(path);
        let insert = Arc::from(insert);
        let op = SequenceOp::Text { name: Arc::clone(&name), at, delete, insert, marks, inherits };
        self.ops.push(op);
        self.texts.insert(Key(name), rope);
        Ok(())
    }

    /// Inserts a whole content into an empty text.
    pub(crate) fn put_text(&mut self, path: &str, content: Rope) -> Result<(), EditError> {
        valid(path)?;
        let len = self.rope(path).len_chars();
        bounded(path, &(len..len), 0)?;
        let mut rewrite = Rewrite::default();
        rewrite.new_text(&Arc::from(path), content);
        rewrite.ops.sequences.into_iter().for_each(|op| self.ops.push(op));
        self.texts.extend(rewrite.texts);
        Ok(())
    }

    /// Replaces a range of a list.
    ///
    /// # Errors
    /// As [`DocumentEdit::splice_text`], and [`EditError::Invalid`] for a value that a document
    /// cannot hold.
    pub fn splice_list(
        &mut self,
        path: &str,
        range: Range<usize>,
        insert: impl IntoIterator<Item = Value>,
    ) -> Result<(), EditError> {
        valid(path)?;
        let mut list = self.values(path);
        bounded(path, &range, list.len())?;
        let insert = insert.into_iter().map(|value| held(path, value));
        let insert: Vec<Value> = insert.collect::<Result<_, _>>()?;
        if range.is_empty() && insert.is_empty() {
            return Ok(());
        }
        list.splice(range.start, range.len(), insert.iter().cloned());
        let name: Arc<str> = Arc::from(path);
        let (at, delete) = (range.start, range.len());
        self.ops.push(SequenceOp::List { name: Arc::clone(&name), at, delete, insert });
        self.lists.insert(Key(name), list);
        Ok(())
    }

    fn write(&mut self, path: &str, new: Option<Value>) -> Result<(), EditError> {
        valid(path)?;
        let old = self.source.register(path);
        if old == new {
            self.ops.registers.remove(key::lookup(&path));
        } else {
            self.ops.registers.insert(Key::from(path), RegisterWrite { old, new });
        }
        Ok(())
    }

    fn rope(&self, path: &str) -> Rope {
        let staged = self.texts.get(key::lookup(&path)).cloned();
        staged.unwrap_or_else(|| self.source.text(path))
    }

    fn values(&self, path: &str) -> List {
        let staged = self.lists.get(key::lookup(&path)).cloned();
        staged.unwrap_or_else(|| self.source.list(path))
    }
}

/// Refuses the paths of the document's own registers and of bundles, and paths with a malformed
/// segment.
fn valid(path: &str) -> Result<(), EditError> {
    let reason = match () {
        () if named::is_own(path) => "the register is the document's own",
        () if bundle::kind_of(path) != KeyKind::Register => "the path is that of a bundle",
        () if !key::is_path(path) => "a segment is empty or has an unknown escape",
        () => return Ok(()),
    };
    Err(EditError::Invalid { path: path.to_owned(), reason: reason.to_owned() })
}

/// The value as the document holds it.
fn held(path: &str, value: Value) -> Result<Value, EditError> {
    value.held().map_err(|reason| EditError::Invalid { path: path.to_owned(), reason })
}

fn bounded(path: &str, range: &Range<usize>, len: usize) -> Result<(), EditError> {
    let Range { start, end } = *range;
    if start > end || end > len {
        return Err(EditError::OutOfRange { path: path.to_owned(), start, end, len });
    }
    Ok(())
}
