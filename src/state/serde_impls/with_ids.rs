//! Serialises a [`MovableList`](crate::MovableList), a [`Tree`](crate::Tree) or
//! [`Groups`](crate::Groups) with the ids of its elements: `#[serde(with = "exostate::with_ids")]`.
//!
//! Each element is an object with its `id` and its `value`. The reader keeps the ids, so
//! [`Store::reconcile`](crate::Store::reconcile) finds each element by its id, even if it has
//! moved. An element without an id is new. An element whose id the document does not hold is also
//! new. An id that occurs twice is an error.
//!
//! ```
//! use exostate::{MovableList, State, Store};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(State, Serialize, Deserialize, Clone, Debug, PartialEq)]
//! struct Board {
//!     #[serde(with = "exostate::with_ids")]
//!     cards: MovableList<String>,
//! }
//!
//! let store = Store::<Board>::new();
//! let (milk, eggs) = store.change(|board| {
//!     Ok((board.cards().push("milk".into())?, board.cards().push("eggs".into())?))
//! })?;
//! let json = serde_json::json!(*store.view());
//! assert_eq!(json["cards"][0], serde_json::json!({ "id": milk.to_string(), "value": "milk" }));
//!
//! // A page moves one card, rewrites it, and adds another.
//! let edited = serde_json::json!({ "cards": [
//!     { "id": eggs, "value": "six eggs" },
//!     { "id": milk, "value": "milk" },
//!     { "value": "bread" },
//! ]});
//! store.reconcile(&serde_json::from_value(edited)?)?;
//! assert_eq!(store.view().cards.id_at(0), Some(eggs));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use serde::{Deserializer, Serializer};

use super::identified::{DeserializeWithIds, SerializeWithIds};

/// Writes a collection with the ids of its elements: for `#[serde(with = …)]`.
///
/// # Errors
/// The errors of the serializer.
pub fn serialize<C: SerializeWithIds, S: Serializer>(
    collection: &C,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    collection.serialize_with_ids(serializer)
}

/// Reads a collection with the ids of its elements: for `#[serde(with = …)]`.
///
/// # Errors
/// The errors of the deserializer, and an error if two elements have the same id.
pub fn deserialize<'de, C: DeserializeWithIds<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<C, D::Error> {
    C::deserialize_with_ids(deserializer)
}
