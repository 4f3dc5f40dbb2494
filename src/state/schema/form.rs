//! Schemas as JSON: reading, writing, the canonical form and its hash. A schema that is read may
//! come from a stranger, and is checked.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_128;

use crate::document::json;

use super::{Definition, Field, Form, RegisterValue, Schema, Type};

/// The version of the JSON form.
const FORMAT: u32 = 1;
/// The limits of a schema that is read.
const BYTES_MAX: usize = 4 << 20;
const TYPES_MAX: usize = 10_000;
/// Types within types, as `Option<Map<…>>`, without names.
const DEPTH_MAX: usize = 64;

/// Why a schema cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// The text is not JSON, or not of this form.
    #[error("the schema cannot be read: {0}")]
    Json(String),
    /// A newer version of exostate made it.
    #[error("the schema has the format {0}, which only a newer version reads")]
    Newer(u32),
    /// The schema is larger than a schema may be.
    #[error("{place}: more than {max}")]
    TooLarge {
        /// The place in the schema.
        place: String,
        /// The limit.
        max: String,
    },
    /// A part of the schema contradicts another part.
    #[error("{place}: {reason}")]
    Wrong {
        /// The place in the schema: the type, and the field or variant.
        place: String,
        /// What is wrong.
        reason: String,
    },
}

/// The whole form, as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(rename = "exostate-schema")]
    format: u32,
    root: Type,
    types: BTreeMap<String, Definition>,
}

impl Schema {
    /// The schema as JSON, with line breaks. Equal schemas give the same bytes. O(schema).
    #[must_use]
    pub fn to_json(&self) -> String {
        let written = serde_json::to_string_pretty(self).unwrap_or_default();
        written + "\n"
    }

    /// Reads a schema from JSON, and checks it. It may come from a stranger. O(text).
    ///
    /// # Errors
    /// The text is not a schema, is larger than 4 MiB, or contradicts itself.
    pub fn from_json(text: &str) -> Result<Self, SchemaError> {
        if text.len() > BYTES_MAX {
            let (place, max) = ("the schema".to_owned(), format!("{BYTES_MAX} bytes"));
            return Err(SchemaError::TooLarge { place, max });
        }
        let format: Format = serde_json::from_str(text).map_err(json_error)?;
        if format.format != FORMAT {
            return Err(SchemaError::Newer(format.format));
        }
        let Written { root, types, .. } = serde_json::from_str(text).map_err(json_error)?;
        let schema = Self { root, types };
        schema.check()?;
        Ok(schema)
    }

    /// A hash (XXH3, 128 bits) of the structure: types, names, defaults. Doc comments, notes of deprecation, names in
    /// Rust and the order of fields do not count. It is the same on every machine and in every
    /// version of exostate. O(schema).
    #[must_use]
    pub fn hash(&self) -> u128 {
        xxh3_128(&self.canonical())
    }

    /// The canonical form, whose hash is [`Schema::hash`]: the JSON without line breaks, without
    /// what does not count, and with fields and variants in the order of their names. O(schema).
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut plain = self.clone();
        for definition in plain.types.values_mut() {
            definition.docs.clear();
            match &mut definition.form {
                Form::Struct(fields) => strip(fields),
                Form::Newtype(_) => {}
                Form::Enum { variants, .. } => {
                    for variant in variants.iter_mut() {
                        variant.docs.clear();
                        variant.rust = None;
                        strip(&mut variant.fields);
                    }
                    variants.sort_by(|a, b| a.name.cmp(&b.name));
                }
            }
        }
        serde_json::to_vec(&plain).unwrap_or_default()
    }

    pub(crate) fn check(&self) -> Result<(), SchemaError> {
        if self.types.len() > TYPES_MAX {
            let (place, max) = ("types".to_owned(), format!("{TYPES_MAX} types"));
            return Err(SchemaError::TooLarge { place, max });
        }
        // The other checks follow the chains.
        self.types.keys().try_for_each(|name| self.check_chain(name))?;
        self.check_type("root", &self.root)?;
        for (name, definition) in &self.types {
            match &definition.form {
                Form::Struct(fields) => self.check_fields(name, fields)?,
                Form::Newtype(inner) => self.check_type(name, inner)?,
                Form::Enum { default, variants } => {
                    let names = variants.iter().map(|variant| variant.name.as_str());
                    check_names(name, names)?;
                    let mut rust = BTreeSet::new();
                    if let Some(twice) = variants.iter().find(|one| !rust.insert(one.rust_name())) {
                        let reason = format!("two variants are called {:?}", twice.rust_name());
                        return Err(wrong(name, reason));
                    }
                    if !variants.iter().any(|variant| variant.name == *default) {
                        return Err(wrong(name, format!("{default:?} is none of the variants")));
                    }
                    for variant in variants {
                        let place = format!("{name}/{}", variant.name);
                        self.check_fields(&place, &variant.fields)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn check_fields(&self, place: &str, fields: &[Field]) -> Result<(), SchemaError> {
        check_names(place, fields.iter().map(|field| field.name.as_str()))?;
        let mut rust = BTreeSet::new();
        if let Some(twice) = fields.iter().find(|field| !rust.insert(field.rust_name())) {
            return Err(wrong(place, format!("two fields are called {:?}", twice.rust_name())));
        }
        fields
            .iter()
            .try_for_each(|field| self.check_type(&format!("{place}/{}", field.name), &field.ty))
    }

    fn check_type(&self, place: &str, ty: &Type) -> Result<(), SchemaError> {
        let mut rest = vec![(ty, 0)];
        while let Some((ty, depth)) = rest.pop() {
            if depth > DEPTH_MAX {
                let max = format!("{DEPTH_MAX} types within each other");
                return Err(SchemaError::TooLarge { place: place.to_owned(), max });
            }
            match ty {
                Type::Optional(inner) if matches!(self.resolve(inner), Type::Optional(_)) => {
                    return Err(wrong(place, "an option in an option"));
                }
                Type::Named(name) if !self.types.contains_key(name) => {
                    return Err(wrong(place, format!("there is no type {name:?}")));
                }
                Type::Optional(inner)
                | Type::List(inner)
                | Type::MovableList(inner)
                | Type::Map(_, inner)
                | Type::Tree(inner) => rest.push((inner, depth + 1)),
                Type::Groups(group, item) => {
                    rest.extend([(&**group, depth + 1), (item, depth + 1)])
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks that the form of a struct does not depend on itself.
    fn check_chain(&self, name: &str) -> Result<(), SchemaError> {
        let mut seen = BTreeSet::from([name]);
        let mut at = name;
        while let Some(Definition { form: Form::Newtype(Type::Named(next)), .. }) =
            self.types.get(at)
        {
            if !seen.insert(next) {
                return Err(wrong(name, "its form depends on itself"));
            }
            if seen.len() > DEPTH_MAX {
                let max = format!("{DEPTH_MAX} newtypes within each other");
                return Err(SchemaError::TooLarge { place: name.to_owned(), max });
            }
            at = next;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Format {
    #[serde(rename = "exostate-schema")]
    format: u32,
}

fn strip(fields: &mut [Field]) {
    for field in fields.iter_mut() {
        field.docs.clear();
        field.deprecated = None;
        field.rust = None;
    }
    fields.sort_by(|a, b| a.name.cmp(&b.name));
}

fn json_error(error: serde_json::Error) -> SchemaError {
    SchemaError::Json(error.to_string())
}

fn wrong(place: &str, reason: impl Into<String>) -> SchemaError {
    SchemaError::Wrong { place: place.to_owned(), reason: reason.into() }
}

fn check_names<'a>(place: &str, names: impl Iterator<Item = &'a str>) -> Result<(), SchemaError> {
    let mut seen = BTreeSet::new();
    for name in names {
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
        if name.is_empty() || !name.chars().all(allowed) {
            return Err(wrong(place, format!("{name:?} is no name in a document")));
        }
        if !seen.insert(name) {
            return Err(wrong(place, format!("the name {name:?} is there twice")));
        }
    }
    Ok(())
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { root, types } = self.clone();
        Written { format: FORMAT, root, types }.serialize(serializer)
    }
}

/// Checks the schema as [`Schema::from_json`] does.
impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let Written { format, root, types } = Written::deserialize(deserializer)?;
        if format != FORMAT {
            return Err(D::Error::custom(SchemaError::Newer(format)));
        }
        let schema = Self { root, types };
        schema.check().map_err(D::Error::custom)?;
        Ok(schema)
    }
}

impl Serialize for RegisterValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json::value(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RegisterValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        json::read_value(deserializer).map(Self)
    }
}
