//! Where the typed view is read from: a document, or a document with staged ops on top.

use super::key::Key;
use super::ops::{SequenceKind, Touched};
use super::replica::List;
use super::rope::Rope;
use super::value::Value;

/// Reads a document by path. All paths are escaped; see [`super::key`].
pub trait Source {
    /// One register.
    fn register(&self, path: &str) -> Option<Value>;
    /// The register at `prefix` and all below it, in order. O(log n + found).
    fn scan(&self, prefix: &str) -> Vec<(Key, Value)>;
    /// A text; empty where there is none.
    fn text(&self, path: &str) -> Rope;
    /// A list; empty where there is none.
    fn list(&self, path: &str) -> List;
    /// The sequences at or below `prefix` that hold anything.
    fn sequences(&self, prefix: &str) -> Vec<(SequenceKind, Key)>;
}

/// A source just after a commit or an import: what that changed is known without asking the
/// backend.
pub struct Touching<'a> {
    /// The document.
    pub document: &'a dyn Source,
    /// What was changed in it.
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
