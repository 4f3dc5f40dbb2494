//! A register that names another document.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::document::value::Value;

use super::scalar::{Mismatch, Scalar};
use super::schema;

/// The name of another document, whose state is a `T`. The link is one register, written as a
/// string; the last writer wins.
///
/// - A link does not keep its document alive and does not say whether the document exists.
///   [`Link::open`] opens the document on demand.
/// - Links may form cycles.
/// - The name can be any text, because every writer of the document can choose it: see
///   [`Loader`](crate::Loader).
/// - A link that was never written is empty. If a link may be absent, use `Option<Link<T>>`.
///
/// ```
/// use exostate::{Link, List, State, Store, Text};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Book { title: String, chapters: List<Link<Chapter>> }
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Chapter { body: Text, book: Link<Book> }
///
/// let book = Store::<Book>::new();
/// book.change(|book| book.chapters().push(Link::new("chapter-1")))?;
/// assert_eq!(book.view().chapters.get(0).map(Link::id), Some("chapter-1"));
/// # Ok::<(), exostate::Error>(())
/// ```
pub struct Link<T> {
    id: Arc<str>,
    to: PhantomData<fn() -> T>,
}

impl<T> Link<T> {
    /// A link to the document with this name.
    #[must_use]
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self { id: id.into(), to: PhantomData }
    }

    /// The document's name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the link names no document.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.id.is_empty()
    }

    pub(crate) fn shared_id(&self) -> &Arc<str> {
        &self.id
    }
}

impl<T> Clone for Link<T> {
    fn clone(&self) -> Self {
        Self { id: Arc::clone(&self.id), to: PhantomData }
    }
}

impl<T> Default for Link<T> {
    fn default() -> Self {
        Self::new("")
    }
}

impl<T> PartialEq for Link<T> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<T> Eq for Link<T> {}

impl<T> std::hash::Hash for Link<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl<T> fmt::Debug for Link<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({:?})", self.id)
    }
}

#[diagnostic::do_not_recommend]
impl<T: 'static> Scalar for Link<T> {
    fn to_value(&self) -> Result<Value, String> {
        Ok(Value::Str(Arc::clone(&self.id)))
    }

    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Str(id) => Ok(Self::new(Arc::clone(id))),
            _ => Err(Mismatch("a document's name")),
        }
    }

    fn initial() -> Self {
        Self::default()
    }
    fn describe() -> schema::Type {
        schema::Type::Link
    }
}
