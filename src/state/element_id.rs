//! The names of what can move: elements of a [`MovableList`](super::MovableList), nodes of a
//! [`Tree`](super::Tree).
//!
//! A name is the replica that made the element and a count of its own, so that no two replicas ever
//! make the same.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::document::ReplicaId;
use crate::document::value::Value;

use super::map::MapKey;
use super::position::Stamp;
use super::scalar::{Mismatch, Scalar};

/// The name of an element of a [`MovableList`](super::MovableList), a node of a
/// [`Tree`](super::Tree), or a group or item of [`Groups`](super::Groups), the same on every
/// replica and for ever.
///
/// It is a scalar too: a field, an `Option`, an element of a [`List`](super::List) or a key may
/// name an element. It says nothing about whether the element is there (any more): another may
/// remove it at any time, and whoever follows the name asks. A field that was never written holds
/// the nil id, which names no element; where there may be none, an `Option<ElementId>` says so. The
/// id of an element of a copy (what `push` on a view's own collection gives) holds within that copy
/// only and cannot be written.
///
/// ```
/// use exostate::{ElementId, MovableList, State, Store};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Slides { slides: MovableList<String>, shown: Option<ElementId> }
///
/// let store = Store::<Slides>::new();
/// let first = store.change(|show| {
///     let first = show.slides().push("Welcome".into())?;
///     show.shown().set(first)?;
///     Ok(first)
/// })?;
/// let view = store.view();
/// assert_eq!(view.shown, Some(first));
/// assert_eq!(view.shown.and_then(|id| view.slides.by_id(id)).map(String::as_str), Some("Welcome"));
/// # Ok::<(), exostate::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ElementId {
    replica: u64,
    counter: u64,
}

impl ElementId {
    pub(crate) fn new(replica: ReplicaId, counter: u64) -> Self {
        Self { replica: replica.get(), counter }
    }

    /// Whether it is the nil id, which names no element: the default.
    #[must_use]
    pub fn is_nil(self) -> bool {
        self == Self::default()
    }

    /// What the position of a new element is given with.
    pub(crate) fn stamp(self) -> Stamp {
        Stamp { replica: ReplicaId::from_bits(self.replica), number: self.counter }
    }

    /// The smallest name there can be.
    pub(crate) const LOWEST: Self = Self { replica: 0, counter: 0 };

    /// The next name in order, if there is one.
    pub(crate) fn next(self) -> Option<Self> {
        match self.counter.checked_add(1) {
            Some(counter) => Some(Self { counter, ..self }),
            None => Some(Self { replica: self.replica.checked_add(1)?, counter: 0 }),
        }
    }

    /// A name for an element that is in no document yet: the next that is not taken. A document may
    /// hold such names, by malice.
    pub(crate) fn detached(counter: &mut u64, taken: impl Fn(Self) -> bool) -> Self {
        loop {
            let id = Self { replica: u64::MAX, counter: *counter };
            *counter += 1;
            if !taken(id) {
                return id;
            }
        }
    }

    /// Whether it is a name that copies give: of an element that is in no document.
    pub(crate) fn is_detached(self) -> bool {
        self.replica == u64::MAX
    }

    /// The name as one path segment: two hexadecimal numbers.
    pub(crate) fn segment(self) -> String {
        self.to_string()
    }
}

impl fmt::Display for ElementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.replica, self.counter)
    }
}

/// The text is not an element's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an element's id: {0:?}")]
pub struct ElementIdError(String);

impl FromStr for ElementId {
    type Err = ElementIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (replica, counter) = text.split_once('-')?;
            let id = Self {
                replica: u64::from_str_radix(replica, 16).ok()?,
                counter: u64::from_str_radix(counter, 16).ok()?,
            };
            (id.to_string() == text).then_some(id)
        };
        parse().ok_or_else(|| ElementIdError(text.to_owned()))
    }
}

impl MapKey for ElementId {
    fn to_text(&self) -> Cow<'_, str> {
        Cow::Owned(self.to_string())
    }
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

#[diagnostic::do_not_recommend]
impl Scalar for ElementId {
    fn to_value(&self) -> Result<Value, String> {
        match self.is_detached() {
            true => {
                Err("the id is of an element of a copy, which is in no document yet".to_owned())
            }
            false => Ok(Value::str(self.to_string())),
        }
    }
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        const EXPECTED: Mismatch = Mismatch("an element's id");
        let Value::Str(text) = value else { return Err(EXPECTED) };
        text.parse().ok().filter(|id: &Self| !id.is_detached()).ok_or(EXPECTED)
    }
    fn initial() -> Self {
        Self::default()
    }
}
