//! `List`, `MovableList` and `Set` as arrays, `Map` as an object.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::{List, Map, MapKey, MovableList, Set};

/// As an array.
impl<T: Clone + Serialize> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        super::sequence(serializer, self.len(), self.iter())
    }
}

impl<'de, T: Clone + Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|items| items.into_iter().collect())
    }
}

/// As an array of the values, without ids. [`with_ids`](crate::with_ids) also writes and reads the
/// ids.
impl<T: Clone + Serialize> Serialize for MovableList<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        super::sequence(serializer, self.len(), self.iter())
    }
}

impl<'de, T: Clone + Deserialize<'de>> Deserialize<'de> for MovableList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|items| items.into_iter().collect())
    }
}

/// As an array, in order.
impl<T: MapKey + Serialize> Serialize for Set<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        super::sequence(serializer, self.len(), self.iter())
    }
}

/// An element that occurs twice is kept once.
impl<'de, T: MapKey + Deserialize<'de>> Deserialize<'de> for Set<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|items| items.into_iter().collect())
    }
}

/// As an object, with the keys as their text.
impl<K: MapKey, V: Clone + Serialize> Serialize for Map<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self {
            map.serialize_entry(&key.to_text(), value)?;
        }
        map.end()
    }
}

/// A key that occurs twice, or a text that is no key, is an error.
impl<'de, K: MapKey, V: Clone + Deserialize<'de>> Deserialize<'de> for Map<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

struct Entries<K, V>(PhantomData<(K, V)>);

impl<'de, K: MapKey, V: Clone + Deserialize<'de>> Visitor<'de> for Entries<K, V> {
    type Value = Map<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Map<K, V>, A::Error> {
        let mut map = Map::new();
        while let Some((text, value)) = entries.next_entry::<String, V>()? {
            let key = K::from_text(&text)
                .ok_or_else(|| A::Error::custom(format_args!("{text:?} is no key of this map")))?;
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {text:?} is there twice")));
            }
            map.insert(key, value);
        }
        Ok(map)
    }
}
