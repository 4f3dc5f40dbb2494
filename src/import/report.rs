//! What an import took, and what it did not take.

use std::collections::BTreeMap;
use std::fmt;

use crate::document::foreign::Source;
use crate::document::key::{self, Key};

use super::mapping;

/// What an import took, and what it did not take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub(super) values: usize,
    pub(super) texts: usize,
    pub(super) lists: usize,
    pub(super) elements: usize,
    not_taken: Vec<NotTaken>,
    /// For each written path the place in the source.
    taken: BTreeMap<Key, String>,
}

impl Report {
    pub(super) fn of(source: &Source) -> Self {
        let unread = source.unread.iter().map(|unread| NotTaken {
            path: mapping::path_of(&unread.path),
            found: unread.found.clone(),
            reason: Reason::Unread(unread.reason),
        });
        Self { not_taken: unread.collect(), ..Self::default() }
    }

    pub(super) fn push(&mut self, not_taken: NotTaken) {
        self.not_taken.push(not_taken);
    }

    pub(super) fn note_taken(&mut self, target: &str, source: &str) {
        self.taken.insert(Key::from(target), source.to_owned());
    }

    /// The source of what was written at a path.
    pub(super) fn taken_from(&self, target: &str) -> Option<&str> {
        self.taken.get(key::lookup(&target)).map(String::as_str)
    }

    /// The written paths, each with its place in the source.
    pub(super) fn targets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.taken.iter().map(|(target, source)| (target.as_str(), source.as_str()))
    }

    /// The place in the source from which the value at a path, or at the next path above it, came.
    pub(super) fn source_of(&self, target: &str) -> String {
        let above = std::iter::successors(Some(target), |path| {
            path.rsplit_once('/').map(|(above, _)| above)
        });
        above.filter_map(|path| self.taken_from(path)).next().unwrap_or_default().to_owned()
    }

    /// Whether a place of the source is reported already.
    pub(super) fn names(&self, path: &str) -> bool {
        self.not_taken.iter().any(|not_taken| not_taken.path == path)
    }

    /// The number of values that were written into registers and counters.
    #[must_use]
    pub fn values(&self) -> usize {
        self.values
    }

    /// The number of texts.
    #[must_use]
    pub fn texts(&self) -> usize {
        self.texts
    }

    /// The number of lists of the kind `list`.
    #[must_use]
    pub fn lists(&self) -> usize {
        self.lists
    }

    /// The number of elements of the kinds `map`, `movable-list` and `set`.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// The places of the source that were not taken, or not wholly.
    #[must_use]
    pub fn not_taken(&self) -> &[NotTaken] {
        &self.not_taken
    }

    /// Whether everything in the source was taken, or has the rule `nothing`.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.not_taken.is_empty()
    }
}

/// The counts in one line, then one line for each place that was not taken.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { values, texts, lists, elements, .. } = self;
        write!(f, "taken: {values} values, {texts} texts, {lists} lists, {elements} elements")?;
        write!(f, "; not taken: {}", self.not_taken.len())?;
        self.not_taken.iter().try_for_each(|not_taken| write!(f, "\n{not_taken}"))
    }
}

/// A place of the source that was not taken, or not wholly.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotTaken {
    /// The path in the source, written as in a [`Mapping`](super::Mapping).
    pub path: String,
    /// What is there.
    pub found: String,
    /// Why it was not taken.
    pub reason: Reason,
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.path, self.found, self.reason)
    }
}

/// Why a place of the source was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// No rule takes it.
    #[error("no rule takes it")]
    NoRule,
    /// It does not fit the kind of its rule.
    #[error("line {line} of the mapping takes {expected}")]
    Misfit {
        /// The line of the rule in the mapping, from 1.
        line: usize,
        /// What the rule takes.
        expected: &'static str,
    },
    /// The element in which it is was not taken.
    #[error("the element in which it is was not taken")]
    NoElement,
    /// Another place was written to the same target.
    #[error("{target} has the content of {other} already")]
    SameTarget {
        /// The path in the document.
        target: String,
        /// The place of the source that was written there.
        other: String,
    },
    /// A document cannot hold it, or other replicas would refuse it.
    #[error("{target}: {reason}")]
    Refused {
        /// The path in the document.
        target: String,
        /// The reason.
        reason: String,
    },
    /// The format of the source holds it, but a tree has no place for it.
    #[error("{0}")]
    Unread(&'static str),
    /// It was written, but it does not fit the type of the state: see
    /// [`Violation`](crate::Violation).
    #[error("at {target} the state expects {expected}")]
    Violation {
        /// The path in the document.
        target: String,
        /// What the type expects.
        expected: String,
    },
    /// It was written, but no field of the state reads it.
    #[error("no field of the state reads {target}")]
    NoField {
        /// The path in the document.
        target: String,
    },
}
