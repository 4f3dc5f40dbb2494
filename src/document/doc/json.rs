//! A document as JSON, and from JSON: see [`json`](crate::document::json).

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::rewrite::Rewrite;
use super::{Document, EditError, Turn};
use crate::document::backend::Backend;
use crate::document::commit::{Origin, Touch, whole};
use crate::document::json::{self, Content, JsonError};
use crate::document::named;
use crate::document::ops::RegisterWrite;
use crate::document::options::Options;
use crate::document::projection::Content as Shown;

impl<B: Backend> Document<B> {
    /// The whole content of the document as JSON: every register, text and list by its path, also
    /// those that no state type knows. Equal contents give the same text, with one entry a line, so
    /// that it can be compared and kept under version control. The form is described in
    /// [`docs/layout.md`](https://github.com/exostate/exostate/blob/main/docs/layout.md#json).
    ///
    /// The JSON holds no history: replicas of this document cannot be brought in sync with a
    /// document that is read from it. To copy a document use [`Document::save`].
    ///
    /// Updates that wait for a missing dependency are not in it. O(document).
    ///
    /// ```
    /// use exostate::{Document, Value};
    ///
    /// let document: Document = Document::new();
    /// document.edit(|edit| {
    ///     edit.set("title", "plan")?;
    ///     edit.splice_text("body", 0..0, "hello")
    /// })?;
    /// let json = document.to_json();
    /// assert!(json.contains(r#""title": "plan""#));
    ///
    /// let copy: Document = Document::from_json(&json)?;
    /// assert_eq!(copy.register("title"), Some(Value::from("plan")));
    /// assert_eq!(copy.digest(), document.digest());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        let content = self.read(|replica| replica.content());
        json::write(&content)
    }

    /// A new document with the content of JSON that [`Document::to_json`] wrote, under a fresh
    /// replica id. Its digest is that of the document which wrote the JSON, on any backend.
    /// O(text · log(text)).
    ///
    /// # Errors
    /// As [`Document::load_json`].
    pub fn from_json(text: &str) -> Result<Self, JsonError> {
        Self::from_json_with(text, Options::default())
    }

    /// A new document with options, with the content of JSON: see [`Document::from_json`].
    ///
    /// # Errors
    /// As [`Document::load_json`].
    pub fn from_json_with(text: &str, options: Options) -> Result<Self, JsonError> {
        let document = Self::with_options(options);
        document.load_json(text)?;
        Ok(document)
    }

    /// Writes the content of JSON that [`Document::to_json`] wrote into this document, which must
    /// be empty: in one commit, and all of it or nothing. O(text · log(text)).
    ///
    /// The JSON may come from an untrusted source. It must be within the length of the trusted
    /// limits, and each value within the limits for untrusted updates, so that other replicas take
    /// it.
    ///
    /// # Errors
    /// - [`JsonError::Malformed`] if the text is not the JSON of a document, with line, column and
    ///   path. A value that other software wrote and exostate does not know (`"unknown"`) cannot be
    ///   written: remove its line first.
    /// - [`JsonError::LaterVersion`] if a later version of exostate wrote the JSON.
    /// - [`JsonError::TooLarge`] if the text is longer than the trusted limits allow.
    /// - [`JsonError::NotEmpty`] if the document has any content.
    /// - [`JsonError::Edit`] if the content cannot be written, as in [`Document::edit`].
    pub fn load_json(&self, text: &str) -> Result<(), JsonError> {
        let max = self.inner.options.trusted_limits().bytes_max();
        if text.len() > max {
            return Err(JsonError::TooLarge { len: text.len(), max });
        }
        let content = json::read(text)?;
        let turn = Turn::begin(self.inner()).ok_or(EditError::Nested)?;
        turn.begin_edit(&mut *turn.replica_mut().ok_or(EditError::Nested)?);
        let result = catch_unwind(AssertUnwindSafe(|| turn.load(content)));
        drop(turn);
        self.inner.delivery.deliver();
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl<B: Backend> Turn<'_, B> {
    /// Writes a whole content into an empty document.
    fn load(&self, content: Content) -> Result<(), JsonError> {
        let Content { registers, texts, lists } = content;
        let own = registers.keys().filter_map(|key| named::layout_in(key.as_str()));
        named::check_layout(own).map_err(EditError::Backend)?;
        let mut rewrite = Rewrite::default();
        let write = |value| RegisterWrite { old: None, new: Some(value) };
        let registers = registers.into_iter().map(|(key, value)| (key, write(value)));
        rewrite.ops.registers = registers.collect();
        texts.into_iter().for_each(|(key, text)| rewrite.new_text(&key.0, text));
        lists.into_iter().for_each(|(key, list)| rewrite.new_list(&key.0, list));
        let Rewrite { ops, texts, lists } = rewrite;
        if let Some((path, reason)) = ops.too_large(self.document.options.limits()) {
            return Err(EditError::Invalid { path, reason }.into());
        }
        self.count_followers();
        let mut replica = self.replica_mut().ok_or(EditError::Nested)?;
        if !replica.is_empty() {
            return Err(JsonError::NotEmpty);
        }
        if ops.is_empty() {
            return Ok(());
        }
        self.reserve().map_err(EditError::from)?;
        let updates = match replica.commit_stored(&ops, texts, lists) {
            Ok(updates) => updates,
            Err(error) => {
                if self.take_differs(&mut replica) {
                    self.show_rebuilt(&mut replica, Vec::new());
                }
                return Err(EditError::from(error).into());
            }
        };
        // The ops are writes of keys and not of registers, so everything is read.
        let touch = Touch::of_all(whole());
        self.note_type(&replica);
        self.prepare(&replica, Shown::Unknown, &touch);
        self.publish(&mut replica, self.commit(touch, updates, Origin::Local));
        Ok(())
    }
}
