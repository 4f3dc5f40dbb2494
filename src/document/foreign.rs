//! The content of a document that other software made, in a neutral form: see
//! [`import`](crate::import).
//!
//! Each backend reads its format into a [`Tree`]. The bytes pass the guard first. Nothing is
//! dropped: content that has no place in a tree is in [`Source::unread`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::backend::{self, BackendError};
use super::limits::Limits;
use super::rope::Marks;
use super::value::Value;

/// Content of a foreign document.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Tree {
    /// A map: an automerge map, a `Y.Map`, the roots of a Yjs document, a JSON object. A
    /// `Y.XmlElement` is a map with the keys `tag`, `attributes` (a map) and `children` (a list).
    Map(BTreeMap<String, Tree>),
    /// A list: an automerge list, a `Y.Array`, a `Y.XmlFragment`, a JSON array.
    List(Vec<Tree>),
    /// A text: an automerge text, a `Y.Text`, a `Y.XmlText`.
    Text(Vec<Run>),
    /// Any other value.
    Value(Value),
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Run {
    /// Characters with the same marks.
    Text(String, Option<Arc<Marks>>),
    /// An embedded object, which takes the place of one character.
    Embed(Tree),
}

impl Tree {
    /// The content for messages: its kind and size, or the value.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Map(entries) => format!("a map of {}", entries.len()),
            Self::List(items) => format!("a list of {}", items.len()),
            Self::Text(runs) => Value::str(plain(runs)).describe(),
            Self::Value(value) => value.describe(),
        }
    }
}

/// The characters of a text, without marks and embedded objects.
pub(crate) fn plain(runs: &[Run]) -> String {
    let text = |run: &Run| match run {
        Run::Text(text, _) => Some(text.clone()),
        Run::Embed(_) => None,
    };
    runs.iter().filter_map(text).collect()
}

/// Content that has no place in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    /// The keys and indices that lead to the place.
    pub(crate) path: Vec<String>,
    pub(crate) found: String,
    pub(crate) reason: &'static str,
}

/// A foreign document, read and not imported yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    pub(crate) tree: Tree,
    pub(crate) unread: Vec<Unread>,
}

impl Source {
    /// Reads a document of Yjs (an update in encoding v1 that holds the whole document, as
    /// `Y.encodeStateAsUpdate` writes it) or of automerge (a saved document, or all its changes),
    /// of any layout. The bytes may come from anywhere: they are checked against the limits before
    /// anything else. Maps and lists may be nested as deep as
    /// [`Limits::nesting_max`](crate::Limits::nesting_max) allows. O(document).
    ///
    /// [`Limits::trusted`](crate::Limits::trusted) allow any number of nested maps and lists;
    /// [`Limits::untrusted`](crate::Limits::untrusted) allow none in a document of Yjs.
    ///
    /// A Yjs document does not say of which type a root is. A root with keys is read as a map, a
    /// root with characters as a text, any other root as a list.
    ///
    /// ```
    /// use exostate::import::{Source, Tree};
    /// use exostate::Limits;
    /// use yrs::{Doc, Map, ReadTxn, StateVector, Transact};
    ///
    /// let doc = Doc::new();
    /// let meta = doc.get_or_insert_map("meta");
    /// meta.insert(&mut doc.transact_mut(), "title", "plan");
    /// let bytes = doc.transact().encode_state_as_update_v1(&StateVector::default());
    ///
    /// let source = Source::read(&bytes, &Limits::trusted())?;
    /// assert!(matches!(source.tree(), Tree::Map(roots) if roots.contains_key("meta")));
    /// # Ok::<(), exostate::BackendError>(())
    /// ```
    ///
    /// # Errors
    /// The bytes are damaged, beyond a limit, incomplete, or of another format.
    /// [`BackendError::Foreign`] says which format they have, if that can be recognized: for
    /// example Yjs's encoding v2, which is not read.
    pub fn read(bytes: &[u8], limits: &Limits) -> Result<Self, BackendError> {
        backend::read_foreign(bytes, limits)
    }

    /// The content.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }
}

/// Content that is made by the program, or read from another format.
impl From<Tree> for Source {
    fn from(tree: Tree) -> Self {
        Self { tree, unread: Vec::new() }
    }
}
