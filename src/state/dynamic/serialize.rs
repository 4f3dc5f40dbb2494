//! Dynamic values in serde's formats. Each has the form of the typed view.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

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
            Self::Register(bytes) => decode_cbor(bytes).serialize(serializer),
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
            (Some(register), None, None, true) => return register.serialize(serializer),
            (None, Some(text), None, true) => return text.serialize(serializer),
            (None, None, Some(list), true) => return list.serialize(serializer),
            _ => {}
        }
        let mut map = serializer.serialize_map(None)?;
        if let Some(register) = register {
            map.serialize_entry("@register", register)?;
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
