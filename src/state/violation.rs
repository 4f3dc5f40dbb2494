//! Registers and list elements of the document that do not fit the struct.

use std::collections::BTreeSet;
use std::fmt;

use imbl::ordmap::DiffItem;

use crate::document::key::{self, Key};
use crate::document::value::Value;

/// A register or a list element that does not fit the field's type. The document keeps the value.
/// The field of such a register keeps its default, and the list leaves out such an element.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The path of the register or of the list, in the escaped form of `docs/layout.md`.
    pub path: String,
    /// The form that the field's type expects.
    pub expected: String,
    /// The value that the document holds.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.path, self.expected, self.found)
    }
}

/// What `reconcile` does with values in the document that do not fit the struct: see [`Violation`].
///
/// ```
/// use exostate::{Mend, State, Store};
///
/// #[derive(State, Clone, Debug, Default, PartialEq)]
/// struct Old { size: String }
///
/// #[derive(State, Clone, Debug, Default, PartialEq)]
/// struct New { size: u32 }
///
/// let old = Store::<Old>::new();
/// old.change(|state| state.size().set("large"))?;
/// let store = Store::<New>::open(&old.save())?;
/// assert_eq!((store.view().size, store.violations().len()), (0, 1));
///
/// store.reconcile(&New::default())?;                          // the view already shows it
/// assert_eq!(store.violations().len(), 1);
/// store.reconcile_with(&New::default(), Mend::Reset)?;
/// assert_eq!(store.violations().len(), 0);
/// # Ok::<(), exostate::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mend {
    /// A field that is equal to its new value is not written, even if the view shows a default
    /// because the document's value does not fit. A newer application may know that value.
    #[default]
    Leave,
    /// The new value overwrites the value that does not fit. An entry of a map or an element of a
    /// list that cannot be shown at all is removed. Fields that the struct does not know stay.
    Reset,
}

/// All current violations, by path. Cloning is O(1).
#[derive(Clone, Debug, Default)]
pub(crate) struct Violations(imbl::OrdMap<Key, Found>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    violation: Violation,
    /// Whether the value is in the list at the path, not in the register.
    in_list: bool,
}

impl Violations {
    pub(crate) fn add(&mut self, path: &str, expected: &str, found: &Value) {
        self.insert(path, expected, found, false);
    }

    /// Notes the first element of a list that does not fit.
    pub(crate) fn add_element(&mut self, path: &str, expected: &str, found: &Value) {
        self.insert(path, expected, found, true);
    }

    fn insert(&mut self, path: &str, expected: &str, found: &Value, in_list: bool) {
        let violation = Violation {
            path: path.to_owned(),
            expected: expected.to_owned(),
            found: found.describe(),
        };
        self.0.insert(Key::from(path), Found { violation, in_list });
    }

    /// The paths of the registers at and below a path that do not fit.
    pub(crate) fn registers(&self, path: &str) -> BTreeSet<Key> {
        let within = self
            .0
            .range(Key::from(path)..)
            .take_while(|(key, _)| key::is_within(key.as_str(), path));
        within.filter(|(_, found)| !found.in_list).map(|(key, _)| key.clone()).collect()
    }

    /// Forgets the violations at and below a path, before the path is read again.
    pub(crate) fn forget(&mut self, path: &str) {
        if self.0.is_empty() {
            return;
        }
        let within = |found: &Key| key::is_within(found.as_str(), path);
        let found: Vec<Key> = self
            .0
            .range(Key::from(path)..)
            .map(|(key, _)| key.clone())
            .take_while(within)
            .collect();
        for key in found {
            self.0.remove(&key);
        }
    }

    /// Whether both are equal, by a check in O(1): equal sets that were built separately count as
    /// different.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0.is_empty() && other.0.is_empty() || self.0.ptr_eq(&other.0)
    }

    /// The violations that are new since an earlier state, and those that are gone since.
    /// O(differences · log n).
    pub(crate) fn since(&self, before: &Self) -> (Vec<Violation>, Vec<Violation>) {
        let (mut new, mut gone) = (Vec::new(), Vec::new());
        for item in before.0.diff(&self.0) {
            match item {
                DiffItem::Add(_, added) => new.push(added.violation.clone()),
                DiffItem::Remove(_, removed) => gone.push(removed.violation.clone()),
                DiffItem::Update { old: (_, old), new: (_, now) }
                    if old.violation != now.violation =>
                {
                    gone.push(old.violation.clone());
                    new.push(now.violation.clone());
                }
                DiffItem::Update { .. } => {}
            }
        }
        (new, gone)
    }

    pub(crate) fn list(&self) -> Vec<Violation> {
        self.0.values().map(|found| found.violation.clone()).collect()
    }
}
