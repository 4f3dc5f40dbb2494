//! The ids of movable elements: elements of a [`MovableList`](super::MovableList), nodes of a
//! [`Tree`](super::Tree).
//!
//! An id consists of the replica that made the element and of a counter of that replica. So no two
//! replicas ever make the same id.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::document::ReplicaId;
use crate::document::key;
use crate::document::value::Value;

use super::map::MapKey;
use super::position::Stamp;
use super::scalar::{Mismatch, Scalar};
use super::schema;

/// The id of an element of a [`MovableList`](super::MovableList), of a node of a
/// [`Tree`](super::Tree), or of a group or item of [`Groups`](super::Groups). It is the same on
/// every replica and never changes.
///
/// An id is also a scalar: a field, an `Option`, an element of a [`List`](super::List) or a key may
/// hold the id of an element.
///
/// - An id does not say whether the element still exists: another replica may remove the element at
///   any time. The reader of the id must check.
/// - A field that was never written holds the nil id, which names no element. If an id may be
///   absent, use `Option<ElementId>`.
/// - An element that was pushed to a copy (for example with `push` on a view's own collection) has
///   an id that is valid only within that copy. Such an id cannot be written.
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
/// let shown = view.shown.and_then(|id| view.slides.by_id(id));
/// assert_eq!(shown.map(String::as_str), Some("Welcome"));
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

    /// Whether this is the nil id, the default, which names no element.
    #[must_use]
    pub fn is_nil(self) -> bool {
        self == Self::default()
    }

    /// The stamp for the position of a new element.
    pub(crate) fn stamp(self) -> Stamp {
        Stamp { replica: ReplicaId::from_bits(self.replica), number: self.counter }
    }

    /// The lowest id.
    pub(crate) const LOWEST: Self = Self { replica: 0, counter: 0 };

    /// The next id in order. `None` after the highest id.
    pub(crate) fn next(self) -> Option<Self> {
        match self.counter.checked_add(1) {
            Some(counter) => Some(Self { counter, ..self }),
            None => Some(Self { replica: self.replica.checked_add(1)?, counter: 0 }),
        }
    }

    /// An id for an element that is in no document yet: the next id that is not taken. A malicious
    /// document may hold such ids.
    pub(crate) fn detached(counter: &mut u64, taken: impl Fn(Self) -> bool) -> Self {
        loop {
            let id = Self { replica: u64::MAX, counter: *counter };
            *counter += 1;
            if !taken(id) {
                return id;
            }
        }
    }

    /// Whether this is the id of an element that is in no document, as copies assign it.
    pub(crate) fn is_detached(self) -> bool {
        self.replica == u64::MAX
    }

    /// The id as one path segment: two hexadecimal numbers.
    pub(crate) fn segment(self) -> String {
        self.to_string()
    }
}

impl fmt::Display for ElementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.replica, self.counter)
    }
}

/// The text is not an element's id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an element's id: {0:?}")]
pub struct ElementIdError(String);

impl FromStr for ElementId {
    type Err = ElementIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = key::id_parts(text).map(|(replica, counter)| Self { replica, counter });
        id.ok_or_else(|| ElementIdError(text.to_owned()))
    }
}

impl MapKey for ElementId {
    const KEY: schema::Key = schema::Key::ElementId;

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
    fn describe() -> schema::Type {
        schema::Type::ElementId
    }
}
