//! Import of a document that other software made: Yjs or automerge, of any layout.
//!
//! 1. [`Source::read`] reads the bytes into a neutral [`Tree`] of maps, lists, texts and values.
//! 2. A [`Mapping`], which a user writes down, says where each place of the tree goes.
//! 3. [`Mapping::import`] writes a new document that a state type reads. The [`Report`] says what
//!    was taken and what was not, with the reason. Nothing is dropped silently.
//!
//! ```
//! use exostate::import::{Mapping, Run, Source, Tree};
//! use exostate::{MovableList, State, Text, Value, Yrs};
//!
//! #[derive(State, Clone, Debug, PartialEq)]
//! struct Board { title: String, cards: MovableList<Card> }
//! #[derive(State, Clone, Debug, PartialEq)]
//! struct Card { text: Text, done: bool }
//!
//! let mapping: Mapping = "
//!     meta/title   -> title
//!     todos/*      -> movable-list cards
//!     todos/*/text -> text cards/*/text
//!     todos/*/done -> cards/*/done
//! ".parse()?;
//!
//! // `Source::read` makes this of a document of Yjs or automerge.
//! let map = |entries: &[(&str, Tree)]| {
//!     Tree::Map(entries.iter().map(|(key, tree)| ((*key).to_owned(), tree.clone())).collect())
//! };
//! let todo = map(&[
//!     ("text", Tree::Text(vec![Run::Text("ship it".to_owned(), None)])),
//!     ("done", Tree::Value(Value::from(true))),
//!     ("colour", Tree::Value(Value::from("red"))),
//! ]);
//! let title = map(&[("title", Tree::Value(Value::from("Roadmap")))]);
//! let source = Source::from(map(&[("meta", title), ("todos", Tree::List(vec![todo]))]));
//!
//! let (store, report) = mapping.import::<Board, Yrs>(&source)?;
//! assert_eq!(store.view().title, "Roadmap");
//! assert_eq!(store.view().cards[0].text, "ship it");
//! assert_eq!(report.not_taken().len(), 1);
//! assert_eq!(report.not_taken()[0].to_string(), r#"todos/0/colour: "red": no rule takes it"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Design
//!
//! The mapping names the *kind* of each target, so that the import needs no schema: `apply` walks
//! the tree once, and writes registers, texts and lists by path as `docs/layout.md` describes. The
//! ids and positions of a `MovableList` come from the code that the typed accessors use. New
//! records become bundles in the commit, as with every change. Afterwards the state type checks the result:
//! its violations, and targets that no field reads, are in the report with the place in the source.
//!
//! `mapping` parses, `apply` walks, `write` writes one place, `report` says what happened.

mod apply;
mod mapping;
mod report;
mod write;

pub use crate::document::foreign::{Run, Source, Tree};
pub use mapping::{Mapping, MappingError};
pub use report::{NotTaken, Reason, Report};

use crate::document::backend::Backend;
use crate::document::doc::{Document, EditError};
use crate::document::options::Options;
use crate::state::{At, State};
use crate::store::Store;

impl Mapping {
    /// Imports a document into a new store. The report names the places that no rule takes, that do
    /// not fit the kind of their rule, that do not fit the type of the state, and that no field of
    /// the state reads. O(source · log(source)).
    ///
    /// # Errors
    /// The backend failed. A place that cannot be taken is no error: see [`Report::not_taken`].
    pub fn import<S: State, B: Backend>(
        &self,
        source: &Source,
    ) -> Result<(Store<S, B>, Report), EditError> {
        let (document, mut report) = self.import_document::<B>(source, Options::default())?;
        let store = Store::<S, B>::on(&document);
        let view = store.view();
        for violation in store.violations() {
            let path = report.source_of(&violation.path);
            let (target, expected) = (violation.path, violation.expected);
            let reason = Reason::Violation { target, expected };
            report.push(NotTaken { path, found: violation.found, reason });
        }
        let unread: Vec<(String, String)> = report
            .targets()
            .filter(|(target, _)| view.locate(At::start(target)).is_none())
            .map(|(target, source)| (target.to_owned(), source.to_owned()))
            .collect();
        for (target, path) in unread {
            if !report.names(&path) {
                let found = find(&source.tree, &path).map(Tree::describe).unwrap_or_default();
                report.push(NotTaken { path, found, reason: Reason::NoField { target } });
            }
        }
        Ok((store, report))
    }

    /// Imports a document into a new document, without a state type. The report cannot say what
    /// does not fit a type: see [`Mapping::import`].
    ///
    /// # Errors
    /// As [`Mapping::import`].
    pub fn import_document<B: Backend>(
        &self,
        source: &Source,
        options: Options,
    ) -> Result<(Document<B>, Report), EditError> {
        let document = Document::with_options(options);
        let report = apply::apply(self, source, &document)?;
        Ok((document, report))
    }
}

/// The place of a tree with this path.
fn find<'t>(tree: &'t Tree, path: &str) -> Option<&'t Tree> {
    mapping::segments(path).try_fold(tree, |tree, segment| match tree {
        Tree::Map(entries) => entries.get(&segment?),
        Tree::List(items) => items.get(segment?.parse::<usize>().ok()?),
        Tree::Text(_) | Tree::Value(_) => None,
    })
}
