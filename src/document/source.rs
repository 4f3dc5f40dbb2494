//! Where the typed view is read from: a document, or a document with staged ops on top.

use super::key::Key;
use super::ops::SequenceKind;
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
