//! Dynamic values in serde's formats. Each has the form of the typed view.

use ciborium::Value as Cbor;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::document::value::Value;
use crate::state::register::decode_cbor;

use super::fields::Fields;
use super::{Dynamic, EnumValue, Inferred, KeyValue, ScalarValue, StructValue};

/// As the typed view. A state without a schema is an object with one field, `@inferred`.
///
/// A [`Register`](crate::Register) is written as what it holds in CBOR. A type that writes itself
/// otherwise in readable formats, as `Uuid` does, is written in that other form.
impl Serialize for Dynamic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Scalar(value) => value.serialize(serializer),
            Self::Optional(value) => value.serialize(serializer),
            Self::Struct(value) => value.serialize(serializer),
            Self::Enum(value) => value.serialize(serializer),
            Self::Text(text) => text.serialize(serializer),
            Self::Counter(counter) => counter.serialize(serializer),
            Self::List(list) => list.serialize(serializer),
            Self::Set(set) => set.serialize(serializer),
            Self::Map(map) => map.serialize(serializer),
            Self::MovableList(list) => list.serialize(serializer),
            Self::Tree(tree) => tree.serialize(serializer),
            Self::Groups(groups) => groups.serialize(serializer),
            Self::Inferred(inferred) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("@inferred", inferred)?;
                map.end()
            }
        }
    }
}

impl Serialize for ScalarValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Uint(number) => serializer.serialize_u64(*number),
            Self::F32(number) => serializer.serialize_f32(*number),
            Self::F64(number) => serializer.serialize_f64(*number),
            Self::Char(letter) => serializer.serialize_char(*letter),
            Self::Str(text) | Self::Link(text) | Self::Timestamp(text) => {
                serializer.serialize_str(text)
            }
            Self::Bytes(bytes) => bytes.serialize(serializer),
            Self::Uuid(id) => id.serialize(serializer),
            Self::ElementId(id) => id.serialize(serializer),
            Self::SystemTime(time) => time.serialize(serializer),
            Self::Register(bytes) => decode_cbor(bytes).map(RegisterContent).serialize(serializer),
            Self::Other(value) => value.serialize(serializer),
        }
    }
}

impl Serialize for KeyValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Int(number) => match i64::try_from(*number) {
                Ok(number) => serializer.serialize_i64(number),
                Err(_) => serializer.serialize_i128(*number),
            },
            Self::Uint(number) => serializer.serialize_u128(*number),
            Self::Char(letter) => serializer.serialize_char(*letter),
            Self::Str(text) | Self::Other(text) => serializer.serialize_str(text),
            Self::Uuid(id) => id.serialize(serializer),
            Self::ElementId(id) => id.serialize(serializer),
        }
    }
}

/// As an object, or as an array if the fields have no names in Rust.
impl Serialize for StructValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.fields().serialize(serializer)
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.of().is_tuple {
            true => serializer.collect_seq(self.iter().map(|(_, value)| value)),
            false => serializer.collect_map(self.iter_rust()),
        }
    }
}

/// As the variant's name, or as an object with the name and what is in the variant.
impl Serialize for EnumValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.iter().len() == 0 {
            return serializer.serialize_str(self.rust_name());
        }
        let mut map = serializer.serialize_map(Some(1))?;
        match self.iter().next() {
            Some((_, only)) if self.iter().len() == 1 && self.fields().of().is_tuple => {
                map.serialize_entry(self.rust_name(), only)?;
            }
            _ => map.serialize_entry(self.rust_name(), self.fields())?,
        }
        map.end()
    }
}

/// A place that holds one thing is written as that. Others are objects.
impl Serialize for Inferred {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (register, text, list) = (self.register(), self.text(), self.list());
        match (register, text, list, self.iter().next().is_none()) {
            (Some(register), None, None, true) if !matches!(register, Value::Unknown(_)) => {
                return register.serialize(serializer);
            }
            (None, Some(text), None, true) => return text.serialize(serializer),
            (None, None, Some(list), true) => return list.serialize(serializer),
            _ => {}
        }
        let mut map = serializer.serialize_map(None)?;
        match register {
            Some(Value::Unknown(kind)) => map.serialize_entry("@unknown", kind)?,
            Some(register) => map.serialize_entry("@register", register)?,
            None => {}
        }
        if let Some(text) = text {
            map.serialize_entry("@text", text)?;
        }
        if let Some(list) = list {
            map.serialize_entry("@list", list)?;
        }
        for (segment, below) in self.iter() {
            match below {
                Dynamic::Inferred(below) => map.serialize_entry(segment, below)?,
                below => map.serialize_entry(segment, below)?,
            }
        }
        map.end()
    }
}

/// What a register holds. CBOR has more than JSON: readable formats get keys that are no text, and
/// integers of more than 64 bits, as text, and tagged values without their tags.
struct RegisterContent<V>(V);

impl Serialize for RegisterContent<Cbor> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RegisterContent(&self.0).serialize(serializer)
    }
}

impl Serialize for RegisterContent<&Cbor> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return self.0.serialize(serializer);
        }
        match self.0 {
            Cbor::Map(entries) => {
                let entries =
                    entries.iter().map(|(key, value)| (as_key(key), RegisterContent(value)));
                serializer.collect_map(entries)
            }
            Cbor::Array(items) => serializer.collect_seq(items.iter().map(RegisterContent)),
            Cbor::Tag(_, value) => RegisterContent(&**value).serialize(serializer),
            Cbor::Integer(number) => match (i64::try_from(*number), u64::try_from(*number)) {
                (Ok(number), _) => serializer.serialize_i64(number),
                (_, Ok(number)) => serializer.serialize_u64(number),
                _ => serializer.collect_str(&i128::from(*number)),
            },
            plain => plain.serialize(serializer),
        }
    }
}

/// A key of a map in a register, as text.
fn as_key(key: &Cbor) -> String {
    match key {
        Cbor::Text(text) => text.clone(),
        Cbor::Integer(number) => i128::from(*number).to_string(),
        Cbor::Bool(flag) => flag.to_string(),
        other => format!("{other:?}"),
    }
}

/// Whether one of two registers holds what JSON has not, and both are equal in JSON. Such a register
/// was read as JSON and is written back.
pub(super) fn equal_but_for_json(left: &[u8], right: &[u8]) -> bool {
    let (Some(left), Some(right)) = (decode_cbor(left), decode_cbor(right)) else { return false };
    let json = |value| serde_json::to_value(RegisterContent(value)).ok();
    (exceeds_json(&left) || exceeds_json(&right))
        && json(&left).is_some_and(|left| Some(left) == json(&right))
}

/// Whether a value has something that JSON has not, apart from its floats.
fn exceeds_json(value: &Cbor) -> bool {
    match value {
        Cbor::Map(entries) => {
            entries.iter().any(|(key, value)| !key.is_text() || exceeds_json(value))
        }
        Cbor::Array(items) => items.iter().any(exceeds_json),
        Cbor::Integer(number) => i64::try_from(*number).is_err() && u64::try_from(*number).is_err(),
        Cbor::Bytes(_) | Cbor::Tag(..) => true,
        _ => false,
    }
}
