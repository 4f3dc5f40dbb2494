//! Dynamic values from plain data, in the form that the typed view has as JSON.

use std::time::SystemTime;

use ciborium::Value as Cbor;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::document::key;
use crate::document::value::Value;
use crate::state::schema;
use crate::state::{
    ChangeError, Counter, Groups, List, Map, MovableList, Set, Text, Tree, Violation, encode_cbor,
};

use super::fields::Fields;
use super::scalar_value::ScalarType;
use super::types::{EnumType, StructType, TypeKind, TypeRef};
use super::{Dynamic, EnumValue, KeyValue, ScalarValue, StructValue};

/// A value of a type from plain data.
pub(super) fn build(
    ty: TypeRef<'_>,
    path: &str,
    value: impl Serialize,
) -> Result<Dynamic, ChangeError> {
    built(path, value, |builder, json| builder.value(ty, json))
}

/// A scalar from plain data.
pub(super) fn build_scalar(
    of: ScalarType,
    path: &str,
    value: impl Serialize,
) -> Result<ScalarValue, ChangeError> {
    built(path, value, |builder, json| builder.scalar(of, json))
}

/// What `build` makes of plain data. Fails with all places that do not fit.
fn built<T>(
    path: &str,
    value: impl Serialize,
    build: impl FnOnce(&mut Builder, &Json) -> Option<T>,
) -> Result<T, ChangeError> {
    let path = path.to_owned();
    let json = serde_json::to_value(value).map_err(|error| ChangeError::Invalid {
        path: path.clone(),
        reason: format!("it cannot be written as plain data: {error}"),
    })?;
    let mut builder = Builder { path, misfits: Vec::new() };
    let built = build(&mut builder, &json);
    match built.filter(|_| builder.misfits.is_empty()) {
        Some(built) => Ok(built),
        None => Err(ChangeError::Misfit { misfits: builder.misfits }),
    }
}

/// How many places that do not fit an error lists at most.
const MISFITS_MAX: usize = 100;

/// Notes what does not fit, and goes on.
struct Builder {
    path: String,
    misfits: Vec<Violation>,
}

impl Builder {
    /// Notes that something here does not fit.
    fn misfit<T>(&mut self, expected: impl Into<String>, found: &Json) -> Option<T> {
        if self.misfits.len() >= MISFITS_MAX {
            return None;
        }
        let (path, found) = (self.path.clone(), describe_json(found));
        self.misfits.push(Violation { path, expected: expected.into(), found });
        None
    }

    /// Goes on below a segment, which is text or a number.
    fn below<T>(&mut self, segment: &str, build: impl FnOnce(&mut Self) -> T) -> T {
        let len = self.path.len();
        if len > 0 {
            self.path.push('/');
        }
        self.path.push_str(segment);
        let built = build(self);
        self.path.truncate(len);
        built
    }

    fn value(&mut self, ty: TypeRef<'_>, json: &Json) -> Option<Dynamic> {
        match ty.kind() {
            TypeKind::Scalar(of) => self.scalar(*of, json).map(Dynamic::Scalar),
            TypeKind::Optional(_) if json.is_null() => Some(Dynamic::Optional(None.into())),
            TypeKind::Optional(_) => {
                let inner = self.value(ty.within()?, json)?;
                Some(Dynamic::Optional(Some(inner).into()))
            }
            TypeKind::Text => match Text::deserialize(json) {
                Ok(text) => Some(Dynamic::Text(text)),
                Err(_) => self.misfit("a string, or runs of text with their marks", json),
            },
            TypeKind::Counter => match json.as_i64() {
                Some(sum) => Some(Dynamic::Counter(Counter::new(sum).into())),
                None => self.misfit("an integer of 64 bits, the counter's sum", json),
            },
            TypeKind::List(of) => {
                let items = self.items(json, |this, item| this.scalar(*of, item))?;
                Some(Dynamic::List(items.into_iter().collect::<List<_>>().into()))
            }
            TypeKind::Set(key) => {
                let items = self.items(json, |this, item| this.key(*key, item))?;
                Some(Dynamic::Set(items.into_iter().collect::<Set<_>>()))
            }
            TypeKind::Map(key, _) => self.map(*key, ty.element()?, json),
            TypeKind::MovableList(_) => {
                let element = ty.element()?;
                let items = self.items(json, |this, item| this.value(element, item))?;
                let list: MovableList<_> = items.into_iter().collect();
                Some(Dynamic::MovableList(list.into()))
            }
            TypeKind::Tree(_) => match Tree::<Json>::deserialize(json) {
                Ok(tree) => {
                    let element = ty.element()?;
                    let tree = tree.try_map(&mut |value| self.value(element, value))?;
                    Some(Dynamic::Tree(tree.into()))
                }
                Err(error) => self.misfit(format!("the nodes of a tree ({error})"), json),
            },
            TypeKind::Groups(..) => match Groups::<Json, Json>::deserialize(json) {
                Ok(groups) => {
                    let (group, item) = (ty.group()?, ty.element()?);
                    let groups = groups.try_map(
                        self,
                        |this, value| this.value(group, value),
                        |this, value| this.value(item, value),
                    )?;
                    Some(Dynamic::Groups(groups.into()))
                }
                Err(error) => self.misfit(format!("groups with their items ({error})"), json),
            },
            TypeKind::Struct(of) => {
                let fields = self.fields(of, ty, json)?;
                Some(Dynamic::Struct(StructValue::new(fields)))
            }
            TypeKind::Enum(of) => self.variant(of, ty, json),
            TypeKind::Elements(_) | TypeKind::Variant(_) | TypeKind::Unknown => {
                self.misfit("a place that holds a value", json)
            }
        }
    }

    /// The items of an array. `None` if any of them does not fit.
    fn items<T>(
        &mut self,
        json: &Json,
        mut build: impl FnMut(&mut Self, &Json) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Json::Array(items) = json else { return self.misfit("an array", json) };
        let built: Vec<Option<T>> = items
            .iter()
            .enumerate()
            .map(|(at, item)| self.below(&at.to_string(), |this| build(this, item)))
            .collect();
        built.into_iter().collect()
    }

    fn map(&mut self, key: schema::Key, element: TypeRef<'_>, json: &Json) -> Option<Dynamic> {
        let Json::Object(entries) = json else { return self.misfit("an object", json) };
        let mut map = Map::new();
        let mut fits = true;
        for (text, value) in entries {
            let segment = key::escape(text);
            let entry = self.below(&segment, |this| {
                let Some(key) = KeyValue::read(text, key) else {
                    return this
                        .misfit(format!("a key of the type {key}"), &Json::from(text.as_str()));
                };
                Some((key, this.value(element, value)?))
            });
            match entry {
                Some((key, value)) => map.insert(key, value),
                None => fits = false,
            }
        }
        fits.then_some(Dynamic::Map(map))
    }

    /// The fields of a struct or variant: an object, or an array if they have no names in Rust.
    fn fields(
        &mut self,
        of: &std::sync::Arc<StructType>,
        ty: TypeRef<'_>,
        json: &Json,
    ) -> Option<Fields> {
        match json {
            Json::Array(items) if of.is_tuple => {
                if items.len() != of.fields.len() {
                    return self.misfit(format!("an array of {}", of.fields.len()), json);
                }
            }
            Json::Object(entries) if !of.is_tuple => {
                for (name, value) in entries {
                    if !of.has_rust(name) {
                        self.below(&key::escape(name), |this| {
                            this.misfit::<()>(format!("a field of {}", of.name), value)
                        });
                    }
                }
            }
            _ if of.is_tuple => return self.misfit("an array", json),
            _ => return self.misfit("an object", json),
        }
        let mut values = Vec::with_capacity(of.fields.len());
        for (at, field) in of.fields.iter().enumerate() {
            let value = if of.is_tuple { json.get(at) } else { json.get(&field.rust) };
            let built = match value {
                Some(value) => self.below(&field.name, |this| this.value(ty.field(field), value)),
                None => Some(field.initial.clone()),
            };
            values.push(built);
        }
        Some(Fields::new(of, values.into_iter().collect::<Option<_>>()?))
    }

    /// A variant: its name, or an object with its name and its fields.
    fn variant(
        &mut self,
        of: &std::sync::Arc<EnumType>,
        ty: TypeRef<'_>,
        json: &Json,
    ) -> Option<Dynamic> {
        let (name, inner) = match json {
            Json::String(name) => (name, None),
            Json::Object(entries) if entries.len() == 1 => {
                let (name, inner) = entries.iter().next()?;
                (name, Some(inner))
            }
            _ => return self.misfit(&of.expected, json),
        };
        let place = of.variants.iter().position(|variant| variant.rust == *name);
        let Some(variant) = place.and_then(|place| of.variants.get(place)) else {
            return self.misfit(&of.expected, json);
        };
        let (below, place) = (ty.variant(variant), place.unwrap_or_default());
        let fields =
            self.below(&variant.name, |this| match (inner, variant.fields.fields.as_slice()) {
                (None, []) | (Some(Json::Null), []) => Some(Fields::initial(&variant.fields)),
                (None, _) => this.misfit("an object with the variant's fields", json),
                // A variant with one field without a name is written as that field.
                (Some(inner), [field]) if variant.fields.is_tuple => {
                    let value =
                        this.below(&field.name, |this| this.value(below.field(field), inner))?;
                    Some(Fields::new(&variant.fields, vec![value]))
                }
                (Some(inner), _) => this.fields(&variant.fields, below, inner),
            })?;
        Some(Dynamic::Enum(EnumValue::new(of, place, fields)))
    }

    fn key(&mut self, of: schema::Key, json: &Json) -> Option<KeyValue> {
        use schema::Key;
        let text = match (of, json) {
            (Key::Bool | Key::Other, Json::Bool(flag)) => Some(flag.to_string()),
            (Key::Bool | Key::Char | Key::Str | Key::Uuid | Key::ElementId, Json::Number(_)) => {
                None
            }
            (_, Json::Number(number)) => Some(number.to_string()),
            (
                Key::Char | Key::Str | Key::Uuid | Key::ElementId | Key::Other,
                Json::String(text),
            ) => Some(text.clone()),
            _ => None,
        };
        let key = text.and_then(|text| KeyValue::read(&text, of));
        key.or_else(|| self.misfit(format!("an element of the type {of}"), json))
    }

    fn scalar(&mut self, of: ScalarType, json: &Json) -> Option<ScalarValue> {
        let read = register_of(of, json).and_then(|value| of.read(&value).ok());
        read.or_else(|| self.misfit(of.expected(), json))
    }
}

/// The register that holds a scalar. `None` if JSON of this kind is no such scalar.
fn register_of(of: ScalarType, json: &Json) -> Option<Value> {
    use crate::state::Scalar as _;
    match (of, json) {
        (ScalarType::Register, json) => {
            let bytes = encode_cbor(Cbor::serialized(json).ok()?).ok()?;
            Some(Value::Bytes(bytes.into()))
        }
        (ScalarType::SystemTime, json) => SystemTime::deserialize(json).ok()?.to_value().ok(),
        (ScalarType::Uuid, json) => uuid::Uuid::deserialize(json).ok()?.to_value().ok(),
        (ScalarType::Bytes, json) => Some(Value::Bytes(Vec::<u8>::deserialize(json).ok()?.into())),
        (ScalarType::F32 | ScalarType::F64, Json::Number(number)) => {
            Some(Value::float(number.as_f64()?))
        }
        (ScalarType::Other, Json::Null) => Some(Value::Null),
        (ScalarType::Bool | ScalarType::Other, Json::Bool(flag)) => Some(Value::Bool(*flag)),
        (
            ScalarType::Bool
            | ScalarType::Char
            | ScalarType::Str
            | ScalarType::ElementId
            | ScalarType::Link
            | ScalarType::Timestamp,
            Json::Number(_),
        ) => None,
        (ScalarType::Other, Json::Number(number)) => {
            number.as_i64().map(Value::Int).or_else(|| number.as_f64().map(Value::float))
        }
        (_, Json::Number(number)) => match number.as_i64() {
            Some(number) => Some(Value::Int(number)),
            None => number.as_u64().map(|number| Value::str(number.to_string())),
        },
        (
            ScalarType::Char
            | ScalarType::Str
            | ScalarType::ElementId
            | ScalarType::Link
            | ScalarType::Timestamp
            | ScalarType::Other,
            Json::String(text),
        ) => Some(Value::str(text.as_str())),
        _ => None,
    }
}

/// Plain data in words, for error messages.
fn describe_json(json: &Json) -> String {
    match json {
        Json::Array(items) => format!("an array of {}", items.len()),
        Json::Object(_) => "an object".to_owned(),
        Json::String(text) => Value::str(text.as_str()).describe(),
        plain => plain.to_string(),
    }
}
