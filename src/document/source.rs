//! The source from which the typed view is read: a document, or a document with staged ops on top.

use super::key::Key;
use super::ops::{SequenceKind, Touched};
use super::replica::List;
use super::rope::Rope;
use super::value::Value;

/// Reads a document by path. All paths are escaped; see [`super::key`].
pub trait Source {
    /// The value of a register.
    fn register(&self, path: &str) -> Option<Value>;
    /// The register at `prefix` and all registers below it, in order. O(log n + found).
    fn scan(&self, prefix: &str) -> Vec<(Key, Value)>;
    /// A text. It is empty if the document has no such text.
    fn text(&self, path: &str) -> Rope;
    /// A list. It is empty if the document has no such list.
    fn list(&self, path: &str) -> List;
    /// The sequences at or below `prefix` that are not empty.
    fn sequences(&self, prefix: &str) -> Vec<(SequenceKind, Key)>;
}

/// A source directly after a commit or an import. It answers from `touched` for the registers that
/// changed, without asking the document.
pub struct Touching<'a> {
    /// The document.
    pub document: &'a dyn Source,
    /// The places that the commit or the import changed.
    pub touched: &'a Touched,
}

impl Source for Touching<'_> {
    fn register(&self, path: &str) -> Option<Value> {
        self.touched.register(path).unwrap_or_else(|| self.document.register(path))
    }

    fn scan(&self, prefix: &str) -> Vec<(Key, Value)> {
        self.document.scan(prefix)
    }

    fn text(&self, path: &str) -> Rope {
        self.document.text(path)
    }

    fn list(&self, path: &str) -> List {
        self.document.list(path)
    }

    fn sequences(&self, prefix: &str) -> Vec<(SequenceKind, Key)> {
        self.document.sequences(prefix)
    }
}
