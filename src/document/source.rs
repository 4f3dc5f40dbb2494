//! The source from which the typed view is read: a document, or a document with staged ops on top.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::commit::in_key_order;
use super::key::Key;
use super::ops::{ListEdits, SequenceKind, Touched};
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
    /// The edits that led to the content of a list, if they are known. They may begin at any
    /// earlier content.
    fn list_edits(&self, path: &str) -> Option<&ListEdits> {
        let _ = path;
        None
    }
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

    fn list_edits(&self, path: &str) -> Option<&ListEdits> {
        self.touched.lists.get(path)
    }

    fn sequences(&self, prefix: &str) -> Vec<(SequenceKind, Key)> {
        self.document.sequences(prefix)
    }
}

/// The paths at which two documents differ, in order. O(both).
pub(crate) fn differing(old: &impl Source, new: &impl Source) -> Vec<Arc<str>> {
    let mut paths: Vec<Arc<str>> = Vec::new();
    paths.extend(
        old.scan("")
            .into_iter()
            .filter(|(key, value)| new.register(key.as_str()).as_ref() != Some(value))
            .map(|(key, _)| key.0),
    );
    paths.extend(
        new.scan("")
            .into_iter()
            .filter(|(key, _)| old.register(key.as_str()).is_none())
            .map(|(key, _)| key.0),
    );
    let sequences: BTreeSet<(SequenceKind, Key)> =
        old.sequences("").into_iter().chain(new.sequences("")).collect();
    let differs = |(kind, name): &(SequenceKind, Key)| match kind {
        SequenceKind::Text => old.text(name.as_str()) != new.text(name.as_str()),
        SequenceKind::List => old.list(name.as_str()) != new.list(name.as_str()),
    };
    paths.extend(sequences.into_iter().filter(differs).map(|(_, name)| name.0));
    in_key_order(&mut paths);
    paths
}
