//! Schemas: the structure of a state type as a value, its JSON, its JSON Schema, and the difference
//! of two schemas. docs/schema.md describes the JSON form.

mod compatible;
mod describe;
mod difference;
mod form;
mod json_schema;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::document::value::Value;

pub use compatible::assert_compatible;
pub(crate) use describe::initial_register;
pub use describe::{Describe, Item};
pub use difference::{Change, Class, Difference};
pub use form::SchemaError;
#[cfg(feature = "serde")]
pub(crate) use json_schema::is_tuple;

/// The structure of a state type: what `#[derive(State)]` knows of it, at run time. Made by
/// [`State::schema`](crate::State::schema), or read from JSON.
///
/// A schema says how the state lies in a document (docs/layout.md), and how its view looks as JSON.
/// Two types with equal schemas read and write the same documents.
///
/// ```
/// use exostate::schema::{Schema, Type};
/// use exostate::{MovableList, State};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Board { title: String, cards: MovableList<Card> }
///
/// /// One thing to do.
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Card { text: String, #[state(default = 1)] points: u8 }
///
/// let schema = Board::schema();
/// assert_eq!(schema.root(), &Type::Named("Board".into()));
/// assert_eq!(schema.definition("Card").unwrap().docs(), "One thing to do.");
///
/// let json = schema.to_json();
/// assert_eq!(Schema::from_json(&json)?, schema);
/// # Ok::<(), exostate::schema::SchemaError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    root: Type,
    types: BTreeMap<String, Definition>,
}

impl Schema {
    /// The type of the whole state.
    #[must_use]
    pub fn root(&self) -> &Type {
        &self.root
    }

    /// The structs and enums, in the order of their names.
    pub fn definitions(&self) -> impl Iterator<Item = (&str, &Definition)> {
        self.types.iter().map(|(name, definition)| (name.as_str(), definition))
    }

    /// The struct or enum of this name. O(log n).
    #[must_use]
    pub fn definition(&self, name: &str) -> Option<&Definition> {
        self.types.get(name)
    }

    /// The type behind names of structs that have the form of one of their fields. O(length of the
    /// chain).
    #[must_use]
    pub fn resolve<'a>(&'a self, mut of: &'a Type) -> &'a Type {
        // A chain that leads back to itself is refused when a schema is read.
        while let Type::Named(name) = of
            && let Some(Definition { form: Form::Newtype(inner), .. }) = self.types.get(name)
        {
            of = inner;
        }
        of
    }

    /// The own default of a type that is a newtype, or a newtype of one.
    fn default_of<'a>(&'a self, mut of: &'a Type) -> Option<&'a Registers> {
        while let Type::Named(name) = of
            && let Some(definition) = self.types.get(name)
            && let Form::Newtype(inner) = &definition.form
        {
            if definition.default.is_some() {
                return definition.default.as_ref();
            }
            of = inner;
        }
        None
    }
}

/// The type of a value.
///
/// It is open for further types: a program that meets one it does not know must leave the value as
/// it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Type {
    /// `bool`.
    Bool,
    /// `i8`.
    I8,
    /// `i16`.
    I16,
    /// `i32`.
    I32,
    /// `i64`.
    I64,
    /// `u8`.
    U8,
    /// `u16`.
    U16,
    /// `u32`.
    U32,
    /// `u64`.
    U64,
    /// `f32`.
    F32,
    /// `f64`.
    F64,
    /// `char`.
    Char,
    /// `String`, `Arc<str>`.
    #[serde(rename = "string")]
    Str,
    /// `Vec<u8>`, `Arc<[u8]>`.
    Bytes,
    /// `Uuid`.
    Uuid,
    /// [`ElementId`](crate::ElementId).
    ElementId,
    /// [`Link`](crate::Link): the name of another document.
    Link,
    /// `jiff::Timestamp`: text in RFC 3339.
    Timestamp,
    /// `SystemTime`: nanoseconds since 1970.
    SystemTime,
    /// [`Register`](crate::Register): a value of any serde type, in CBOR, and the register that
    /// stands for its default.
    Register(RegisterValue),
    /// A scalar of the application's own: the form that it expects in words, and the register that
    /// stands for its default.
    Other(String, RegisterValue),
    /// [`Text`](crate::Text).
    Text,
    /// [`Counter`](crate::Counter).
    Counter,
    /// `Option`.
    #[serde(rename = "option")]
    Optional(Box<Type>),
    /// [`List`](crate::List).
    List(Box<Type>),
    /// [`MovableList`](crate::MovableList).
    MovableList(Box<Type>),
    /// [`Map`](crate::Map).
    Map(Key, Box<Type>),
    /// [`Set`](crate::Set).
    Set(Key),
    /// [`Tree`](crate::Tree).
    Tree(Box<Type>),
    /// [`Groups`](crate::Groups): the type of the groups, and of the items.
    Groups(Box<Type>, Box<Type>),
    /// A struct or enum, by its name in the schema.
    Named(String),
}

/// The type of a map's keys or a set's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Key {
    /// `bool`.
    Bool,
    /// `i8`.
    I8,
    /// `i16`.
    I16,
    /// `i32`.
    I32,
    /// `i64`.
    I64,
    /// `i128`.
    I128,
    /// `u8`.
    U8,
    /// `u16`.
    U16,
    /// `u32`.
    U32,
    /// `u64`.
    U64,
    /// `u128`.
    U128,
    /// `char`.
    Char,
    /// `String`, `Arc<str>`.
    #[serde(rename = "string")]
    Str,
    /// `Uuid`.
    Uuid,
    /// [`ElementId`](crate::ElementId).
    ElementId,
    /// A type of the application's own.
    Other,
}

/// A struct or an enum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    docs: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default: Option<Registers>,
    #[serde(flatten)]
    form: Form,
}

impl Definition {
    /// The doc comment. Empty if there is none.
    #[must_use]
    pub fn docs(&self) -> &str {
        &self.docs
    }

    /// The registers that stand for the own default of a newtype's field, by their paths below it.
    /// `None` if that field has the default of its type.
    #[must_use]
    pub fn default(&self) -> Option<&Registers> {
        self.default.as_ref()
    }

    /// The fields or variants.
    #[must_use]
    pub fn form(&self) -> &Form {
        &self.form
    }
}

/// What a struct or an enum consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Form {
    /// A struct with fields, in the order of the source.
    Struct(Vec<Field>),
    /// A struct that has the form of its one field.
    Newtype(Type),
    /// An enum.
    Enum {
        /// The name of the variant that a place shows which was never written.
        default: String,
        /// The variants, in the order of the source.
        variants: Vec<Variant>,
    },
}

/// A field of a struct or of an enum's variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    name: String,
    /// The name in Rust, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rust: Option<String>,
    #[serde(rename = "type")]
    ty: Type,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default: Option<Registers>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deprecated: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    docs: String,
}

impl Field {
    /// The name in the document.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name in Rust, and in the view as serde's JSON. The fields of tuples have numbers.
    #[must_use]
    pub fn rust_name(&self) -> &str {
        self.rust.as_deref().unwrap_or(&self.name)
    }

    /// The type.
    #[must_use]
    pub fn ty(&self) -> &Type {
        &self.ty
    }

    /// The registers that stand for the field's own default, by their paths below the field. `None`
    /// if the field has the default of its type.
    #[must_use]
    pub fn default(&self) -> Option<&Registers> {
        self.default.as_ref()
    }

    /// The note of `#[deprecated]`, empty if it has none. `None` if the field is not deprecated.
    #[must_use]
    pub fn deprecated(&self) -> Option<&str> {
        self.deprecated.as_deref()
    }

    /// The doc comment. Empty if there is none.
    #[must_use]
    pub fn docs(&self) -> &str {
        &self.docs
    }
}

/// A variant of an enum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    name: String,
    /// The name in Rust, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rust: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fields: Vec<Field>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    docs: String,
}

impl Variant {
    /// The name in the document.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name in Rust, and in the view as serde's JSON.
    #[must_use]
    pub fn rust_name(&self) -> &str {
        self.rust.as_deref().unwrap_or(&self.name)
    }

    /// The fields, in the order of the source.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The doc comment. Empty if there is none.
    #[must_use]
    pub fn docs(&self) -> &str {
        &self.docs
    }
}

/// Registers by their paths below a place. The empty path is the place itself.
pub type Registers = BTreeMap<String, RegisterValue>;

/// A register in a schema. In JSON it has the form that it has in the JSON of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterValue(pub Value);
