//! `ElementId`, `Link`, `Counter` and `Value`. (A `Register` has the form of its value; `Register`
//! derives that.)

use std::fmt;
use std::sync::Arc;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::document::value::Value;

use super::super::{Counter, ElementId, Link};

/// As its text, in every format.
impl Serialize for ElementId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ElementId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Id;
        impl Visitor<'_> for Id {
            type Value = ElementId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an element's id")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ElementId, E> {
                text.parse().map_err(|_| E::custom("expected an element's id, as in \"3f-1\""))
            }
        }
        deserializer.deserialize_str(Id)
    }
}

/// As the document's name.
impl<T> Serialize for Link<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

impl<'de, T> Deserialize<'de> for Link<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// As its sum.
impl Serialize for Counter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.value())
    }
}

impl<'de> Deserialize<'de> for Counter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        i64::deserialize(deserializer).map(Self::new)
    }
}

/// A value with its kind, for formats that are not self-describing.
#[derive(Serialize, Deserialize)]
enum Tagged {
    // Not a unit variant: self-describing formats would write a unit variant as a string.
    Null {},
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Bytes(serde_bytes::ByteBuf),
}

impl From<Tagged> for Value {
    fn from(value: Tagged) -> Self {
        match value {
            Tagged::Null {} => Self::Null,
            Tagged::Bool(flag) => Self::Bool(flag),
            Tagged::Int(number) => Self::Int(number),
            Tagged::Float(number) => Self::float(number),
            Tagged::Str(text) => Self::str(text),
            Tagged::Bytes(bytes) => Self::Bytes(Arc::from(bytes.into_vec())),
        }
    }
}

impl Value {
    fn tagged(&self) -> Option<Tagged> {
        Some(match self {
            Self::Null => Tagged::Null {},
            Self::Bool(flag) => Tagged::Bool(*flag),
            Self::Int(number) => Tagged::Int(*number),
            Self::Float(number) => Tagged::Float(*number),
            Self::Str(text) => Tagged::Str(text.to_string()),
            Self::Bytes(bytes) => Tagged::Bytes(serde_bytes::ByteBuf::from(bytes.to_vec())),
            Self::Unknown(_) => return None,
        })
    }
}

/// In readable formats such as JSON: as null, a boolean, a number, a string, or, for bytes, an
/// array of numbers. In other formats: with its kind. [`Value::Unknown`] is an error.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(tagged) = self.tagged() else {
            return Err(serde::ser::Error::custom(format!(
                "{} cannot be serialised",
                self.describe()
            )));
        };
        if !serializer.is_human_readable() {
            return tagged.serialize(serializer);
        }
        match tagged {
            Tagged::Null {} => serializer.serialize_unit(),
            Tagged::Bool(flag) => serializer.serialize_bool(flag),
            Tagged::Int(number) => serializer.serialize_i64(number),
            Tagged::Float(number) => serializer.serialize_f64(number),
            Tagged::Str(text) => serializer.serialize_str(&text),
            Tagged::Bytes(bytes) => super::sequence(serializer, bytes.len(), bytes.iter()),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.is_human_readable() {
            true => deserializer.deserialize_any(AnyValue),
            false => Tagged::deserialize(deserializer).map(Self::from),
        }
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a bool, a number, a string or bytes")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        // An integer beyond i64 is a float that was written without a fraction, as JavaScript does.
        #[allow(clippy::cast_precision_loss)]
        Ok(i64::try_from(number).map_or_else(|_| Value::float(number as f64), Value::Int))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value::float(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::str(text))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(Arc::from(bytes)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = items.next_element()? {
            bytes.push(byte);
        }
        Ok(Value::Bytes(Arc::from(bytes)))
    }

    /// Reads a value with its kind. `#[serde(flatten)]` and untagged enums call this for a format
    /// that is not readable.
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        Tagged::deserialize(MapAccessDeserializer::new(map)).map(Value::from)
    }
}
