//! JSON Schema (draft 2020-12) of a view, as serde writes it.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use crate::document::value::Value;

use super::{Definition, Field, Form, Key, Schema, Type, Variant};

impl Schema {
    /// The [JSON Schema](https://json-schema.org/draft/2020-12) of the view as serde's JSON, for
    /// web services and editors. It describes what serde's derive gives without attributes of its
    /// own (`#[serde(…)]`), and collections without ids. A struct with `#[state(transparent)]` is
    /// described as with `#[serde(transparent)]`. Of a [`Register`](crate::Register) and of scalars
    /// of the application it allows everything. O(schema).
    ///
    /// ```
    /// # use exostate::State;
    /// #[derive(State, Clone, Debug)]
    /// struct Card { text: String, points: u8 }
    ///
    /// let schema: serde_json::Value = serde_json::from_str(&Card::schema().to_json_schema())?;
    /// assert_eq!(schema["$ref"], "#/$defs/Card");
    /// assert_eq!(schema["$defs"]["Card"]["properties"]["points"]["maximum"], 255);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn to_json_schema(&self) -> String {
        let mut schema = object(self.ty(&self.root));
        schema.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        let types = self.types.iter();
        let types: Map<String, Json> = types
            .map(|(name, definition)| (name.clone(), self.definition_json(definition)))
            .collect();
        schema.insert("$defs".into(), Json::Object(types));
        serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
    }

    fn ty(&self, ty: &Type) -> Json {
        let integer = |min: i128, max: i128| json!({ "type": "integer", "minimum": min as i64, "maximum": number(max) });
        match ty {
            Type::Bool => json!({ "type": "boolean" }),
            Type::I8 => integer(i8::MIN.into(), i8::MAX.into()),
            Type::I16 => integer(i16::MIN.into(), i16::MAX.into()),
            Type::I32 => integer(i32::MIN.into(), i32::MAX.into()),
            Type::I64 | Type::Counter => integer(i64::MIN.into(), i64::MAX.into()),
            Type::U8 => integer(0, u8::MAX.into()),
            Type::U16 => integer(0, u16::MAX.into()),
            Type::U32 => integer(0, u32::MAX.into()),
            Type::U64 => integer(0, u64::MAX.into()),
            // JSON has no NaN and no infinity: serde writes null.
            Type::F32 | Type::F64 => json!({ "type": ["number", "null"] }),
            Type::Char => json!({ "type": "string", "minLength": 1, "maxLength": 1 }),
            Type::Str | Type::Link => json!({ "type": "string" }),
            Type::Bytes => json!({ "type": "array", "items": integer(0, u8::MAX.into()) }),
            Type::Uuid => json!({ "type": "string", "format": "uuid" }),
            Type::ElementId => {
                json!({ "type": "string", "pattern": "^[0-9a-f]{1,16}-[0-9a-f]{1,16}$" })
            }
            Type::Timestamp => json!({ "type": "string", "format": "date-time" }),
            Type::SystemTime => json!({
                "type": "object",
                "properties": {
                    "secs_since_epoch": { "type": "integer", "minimum": 0 },
                    "nanos_since_epoch": { "type": "integer", "minimum": 0, "maximum": 999_999_999 },
                },
                "required": ["secs_since_epoch", "nanos_since_epoch"],
            }),
            Type::Register(_) | Type::Other(..) => json!({}),
            Type::Text => text(),
            Type::Optional(inner) => json!({ "anyOf": [self.ty(inner), { "type": "null" }] }),
            Type::List(inner) | Type::MovableList(inner) => {
                json!({ "type": "array", "items": self.ty(inner) })
            }
            Type::Map(key, inner) => json!({
                "type": "object",
                "propertyNames": key_text(*key),
                "additionalProperties": self.ty(inner),
            }),
            Type::Set(key) => json!({ "type": "array", "items": element(*key) }),
            Type::Tree(inner) => self.tree(inner),
            Type::Groups(group, item) => self.groups(group, item),
            Type::Named(name) => json!({ "$ref": format!("#/$defs/{}", escaped(name)) }),
        }
    }

    /// Nested nodes, or a flat list of nodes with their depths.
    fn tree(&self, inner: &Type) -> Json {
        // Of the children's form nothing is said beyond their being nodes: a nested schema would
        // need a definition for each tree.
        json!({
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "value": self.ty(inner),
                    "depth": { "type": "integer", "minimum": 0 },
                    "children": { "type": "array", "items": { "type": "object", "required": ["value"] } },
                },
                "required": ["value"],
            },
        })
    }

    fn groups(&self, group: &Type, item: &Type) -> Json {
        let items = json!({ "type": "array", "items": self.ty(item) });
        // Groups within groups without a name would double with each level.
        let ungrouped = match item {
            Type::Groups(..)
            | Type::Map(..)
            | Type::Tree(_)
            | Type::Optional(_)
            | Type::List(_)
            | Type::MovableList(_) => json!({ "type": "array" }),
            _ => items.clone(),
        };
        json!({
            "type": "object",
            "properties": {
                "groups": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": { "group": self.ty(group), "items": items },
                        "required": ["group", "items"],
                    },
                },
                "ungrouped": ungrouped,
            },
            "required": ["groups"],
        })
    }

    fn definition_json(&self, definition: &Definition) -> Json {
        let mut schema = object(match &definition.form {
            Form::Struct(fields) => self.fields(fields),
            Form::Newtype(inner) => self.ty(inner),
            Form::Enum { variants, .. } => self.variants(variants),
        });
        if !definition.docs.is_empty() {
            schema.insert("description".into(), json!(definition.docs));
        }
        Json::Object(schema)
    }

    /// An object, or an array if the fields have no names.
    fn fields(&self, fields: &[Field]) -> Json {
        if is_tuple(fields) {
            let items: Vec<Json> = fields.iter().map(|field| self.field(field)).collect();
            let count = items.len();
            return json!({
                "type": "array", "prefixItems": items, "minItems": count, "maxItems": count,
            });
        }
        let properties: Map<String, Json> =
            fields.iter().map(|field| (field.rust_name().to_owned(), self.field(field))).collect();
        let required: Vec<&str> = fields.iter().map(Field::rust_name).collect();
        json!({ "type": "object", "properties": properties, "required": required })
    }

    fn field(&self, field: &Field) -> Json {
        let mut schema = object(self.ty(&field.ty));
        if !field.docs.is_empty() {
            schema.insert("description".into(), json!(field.docs));
        }
        if field.deprecated.is_some() {
            schema.insert("deprecated".into(), json!(true));
        }
        let own = field.default.as_ref().and_then(|registers| registers.get(""));
        if let Some(default) = own.and_then(|value| plain(&value.0)) {
            schema.insert("default".into(), default);
        }
        Json::Object(schema)
    }

    /// A variant without fields is its name. Another one is an object with one property.
    fn variants(&self, variants: &[Variant]) -> Json {
        let plain: Vec<&str> = variants
            .iter()
            .filter(|variant| variant.fields.is_empty())
            .map(Variant::rust_name)
            .collect();
        let with_fields = variants.iter().filter(|variant| !variant.fields.is_empty());
        let with_fields = with_fields.map(|variant| {
            let inner = match variant.fields.as_slice() {
                [one] if is_tuple(&variant.fields) => self.field(one),
                fields => self.fields(fields),
            };
            json!({
                "type": "object",
                "description": variant.docs,
                "properties": { variant.rust_name(): inner },
                "required": [variant.rust_name()],
                "additionalProperties": false,
            })
        });
        let names = (!plain.is_empty()).then(|| json!({ "enum": plain }));
        let mut any: Vec<Json> = names.into_iter().chain(with_fields).collect();
        match any.len() {
            1 => any.remove(0),
            _ => json!({ "anyOf": any }),
        }
    }
}

/// A string, or runs with their marks.
fn text() -> Json {
    json!({ "anyOf": [
        { "type": "string" },
        { "type": "array", "items": {
            "type": "object",
            "properties": { "insert": { "type": "string" }, "attributes": { "type": "object" } },
            "required": ["insert"],
        } },
    ] })
}

pub(crate) fn is_tuple(fields: &[Field]) -> bool {
    // Fields that are skipped leave gaps.
    let is_number = |field: &Field| field.rust_name().bytes().all(|byte| byte.is_ascii_digit());
    !fields.is_empty() && fields.iter().all(is_number)
}

fn number(number: i128) -> Json {
    u64::try_from(number).map_or_else(|_| json!(number as i64), |number| json!(number))
}

/// The text of a key, as the name of a property.
fn key_text(key: Key) -> Json {
    match key {
        Key::Bool => json!({ "enum": ["true", "false"] }),
        Key::I8 | Key::I16 | Key::I32 | Key::I64 | Key::I128 => {
            json!({ "pattern": "^(0|-?[1-9][0-9]*)$" })
        }
        Key::U8 | Key::U16 | Key::U32 | Key::U64 | Key::U128 => {
            json!({ "pattern": "^(0|[1-9][0-9]*)$" })
        }
        Key::Char => json!({ "minLength": 1, "maxLength": 1 }),
        Key::Uuid => json!({ "format": "uuid" }),
        Key::ElementId => json!({ "pattern": "^[0-9a-f]{1,16}-[0-9a-f]{1,16}$" }),
        Key::Str | Key::Other => json!({}),
    }
}

/// An element of a set.
fn element(key: Key) -> Json {
    match key {
        Key::Bool => json!({ "type": "boolean" }),
        Key::I8 | Key::I16 | Key::I32 | Key::I64 | Key::I128 => json!({ "type": "integer" }),
        Key::U8 | Key::U16 | Key::U32 | Key::U64 | Key::U128 => {
            json!({ "type": "integer", "minimum": 0 })
        }
        Key::Char => json!({ "type": "string", "minLength": 1, "maxLength": 1 }),
        Key::Str => json!({ "type": "string" }),
        Key::Uuid => json!({ "type": "string", "format": "uuid" }),
        Key::ElementId => {
            json!({ "type": "string", "pattern": "^[0-9a-f]{1,16}-[0-9a-f]{1,16}$" })
        }
        Key::Other => json!({}),
    }
}

/// A register as plain JSON, if it has one form there.
fn plain(value: &Value) -> Option<Json> {
    match value {
        Value::Null => Some(Json::Null),
        Value::Bool(flag) => Some(json!(flag)),
        Value::Int(number) => Some(json!(number)),
        Value::Float(number) => Some(json!(number)),
        Value::Str(text) => Some(json!(**text)),
        _ => None,
    }
}

fn object(json: Json) -> Map<String, Json> {
    match json {
        Json::Object(object) => object,
        _ => Map::new(),
    }
}

/// A name as a part of a URI's fragment, and of a JSON Pointer.
fn escaped(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(byte.into()),
            b'~' => out.push_str("~0"),
            b'/' => out.push_str("~1"),
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}
