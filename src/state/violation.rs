//! What in the document does not fit the struct.

use std::fmt;

use imbl::ordmap::DiffItem;

use crate::document::key::{self, Key};
use crate::document::value::Value;

/// A register that does not fit the field's type. The field keeps its default; nothing is lost in the document.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The path of the register, in the escaped form of `docs/layout.md`.
    pub path: String,
    /// What the field's type reads.
    pub expected: String,
    /// What the register holds.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.path, self.expected, self.found)
    }
}

/// All current violations, by path. Cloning is O(1).
#[derive(Clone, Debug, Default)]
pub(crate) struct Violations(imbl::OrdMap<Key, Violation>);

impl Violations {
    pub(crate) fn add(&mut self, path: &str, expected: &str, found: &Value) {
        let violation = Violation { path: path.to_owned(), expected: expected.to_owned(), found: found.describe() };
        self.0.insert(Key::from(path), violation);
    }

    /// Forgets those at and below a path, before it is read again.
    pub(crate) fn forget(&mut self, path: &str) {
        if self.0.is_empty() {
            return;
        }
        let within = |found: &Key| key::is_within(found.as_str(), path);
        let found: Vec<Key> = self.0.range(Key::from(path)..).map(|(key, _)| key.clone()).take_while(within).collect();
        for key in found {
            self.0.remove(&key);
        }
    }

    /// Whether nothing was done to them, as far as can be seen at once.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0.is_empty() && other.0.is_empty() || self.0.ptr_eq(&other.0)
    }

    /// What is here and not in an earlier state, and what was there and is not any more. O(what differs · log n).
    pub(crate) fn since(&self, before: &Self) -> (Vec<Violation>, Vec<Violation>) {
        let (mut new, mut gone) = (Vec::new(), Vec::new());
        for item in before.0.diff(&self.0) {
            match item {
                DiffItem::Add(_, added) => new.push(added.clone()),
                DiffItem::Remove(_, removed) => gone.push(removed.clone()),
                DiffItem::Update { old: (_, old), new: (_, now) } if old != now => {
                    gone.push(old.clone());
                    new.push(now.clone());
                }
                DiffItem::Update { .. } => {}
            }
        }
        (new, gone)
    }

    pub(crate) fn list(&self) -> Vec<Violation> {
        self.0.values().cloned().collect()
    }
}
