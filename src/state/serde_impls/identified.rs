//! The traits behind [`with_ids`](super::with_ids).

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::{ElementId, MovableList, Tree};

/// A collection that can be written with the ids of its elements.
pub trait SerializeWithIds {
    /// Writes the collection.
    ///
    /// # Errors
    /// The errors of the serializer.
    fn serialize_with_ids<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
}

/// A collection that can be read with the ids of its elements.
pub trait DeserializeWithIds<'de>: Sized {
    /// Reads the collection.
    ///
    /// # Errors
    /// The errors of the deserializer, and an error if two elements have the same id.
    fn deserialize_with_ids<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// An element with its id. A new element may come without one.
#[derive(Serialize, Deserialize)]
pub(super) struct Element<T> {
    #[serde(default)]
    pub(super) id: Option<ElementId>,
    pub(super) value: T,
}

impl<T: Clone + Serialize> SerializeWithIds for MovableList<T> {
    fn serialize_with_ids<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        super::sequence(
            serializer,
            self.len(),
            self.iter_ids().map(|(id, value)| Element { id: Some(id), value }),
        )
    }
}

impl<'de, T: Clone + Deserialize<'de>> DeserializeWithIds<'de> for MovableList<T> {
    fn deserialize_with_ids<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut list = Self::new();
        for Element { id, value } in Vec::<Element<T>>::deserialize(deserializer)? {
            list.push_as(id, value)
                .ok_or_else(|| D::Error::custom("two elements of a list have one id"))?;
        }
        Ok(list)
    }
}

impl<T: Clone + Serialize> SerializeWithIds for Tree<T> {
    fn serialize_with_ids<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        super::tree::serialize(self, true, serializer)
    }
}

impl<'de, T: Clone + Deserialize<'de>> DeserializeWithIds<'de> for Tree<T> {
    fn deserialize_with_ids<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::tree::deserialize(true, deserializer)
    }
}
