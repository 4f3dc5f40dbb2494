//! The structure of a state type as a hash: the names of its fields and their structure.
//!
//! A document remembers the hash of the type that first wrote into it, see
//! [`crate::document::named`]. The hash is a part of the format: it is the same on every machine,
//! and it does not depend on how Rust names types or orders their fields in memory.

use std::any::TypeId;
use std::collections::HashMap;

use crate::document::digest::Canonical;

use super::State;
use super::dynamic;
use super::schema::{Definition, Field, Form, Schema, Type};

/// The hash of a state type's structure, while the type is being described.
#[derive(Default)]
pub struct Shape {
    canonical: Canonical,
    /// The types that are being described, the innermost last. A type may contain itself.
    open: Vec<Id>,
    /// The hashes of the types that are already described.
    done: HashMap<Id, u128>,
    /// How many types of a schema were described so far.
    steps: usize,
    /// Whether a schema's types lie too deep within each other to be described, or are too many.
    is_too_large: bool,
}

/// How many structs, enums and newtypes of a schema may lie within each other.
const DEPTH_MAX: usize = 256;
/// How many types of a schema are described. Newtypes are described at every place, so that a small
/// schema can have many.
const STEPS_MAX: usize = 1_000_000;

/// What tells a type with fields from all others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Id {
    Rust(TypeId),
    /// The name in a schema.
    Schema(String),
}

/// The tag of the next part of the hash.
const KIND: u8 = 0;
const FIELD: u8 = 1;
const VARIANT: u8 = 2;
const VARIANT_END: u8 = 3;
const KNOWN: u8 = 4;
const ITSELF: u8 = 5;

impl Shape {
    /// The hash of a whole type.
    pub(crate) fn of<T: State>() -> u64 {
        let mut shape = Self::default();
        T::shape(&mut shape);
        shape.finish()
    }

    /// The hash of the state type that a schema describes. It equals the hash of the Rust type.
    /// `None` if more than [`DEPTH_MAX`] types lie within each other, or if there are more than
    /// [`STEPS_MAX`].
    pub(crate) fn of_schema(schema: &Schema) -> Option<u64> {
        let mut shape = Self::default();
        shape.schema_type(schema, schema.root());
        (!shape.is_too_large).then(|| shape.finish())
    }

    fn finish(mut self) -> u64 {
        // Half of the hash is enough: 64 bits distinguish all shapes that were not built to
        // collide.
        (self.canonical.finish() >> 64) as u64
    }

    /// Describes the kind of the type. The description of a collection's elements follows its kind.
    pub fn kind(&mut self, kind: &str) {
        self.canonical.bytes(KIND, kind.as_bytes());
    }

    /// Describes a field: its name in the document, and its type.
    pub fn field(&mut self, name: &str, describe: impl FnOnce(&mut Self)) {
        self.canonical.bytes(FIELD, name.as_bytes());
        describe(self);
    }

    /// Describes a variant of an enum: its name in the document, and its fields.
    pub fn variant(&mut self, name: &str, fields: impl FnOnce(&mut Self)) {
        self.canonical.bytes(VARIANT, name.as_bytes());
        fields(self);
        self.canonical.bytes(VARIANT_END, &[]);
    }

    /// Describes a type with fields. `describe` runs once per type, however often the type occurs,
    /// and not again within the description of the same type.
    pub fn record<T: 'static>(&mut self, describe: impl FnOnce(&mut Self)) {
        self.record_as(Id::Rust(TypeId::of::<T>()), describe);
    }

    fn record_as(&mut self, id: Id, describe: impl FnOnce(&mut Self)) {
        if self.is_open(&id) {
            return;
        }
        let known = self.done.get(&id).copied();
        let hash = known.unwrap_or_else(|| {
            let around = std::mem::take(&mut self.canonical);
            self.open.push(id.clone());
            describe(self);
            self.open.pop();
            let hash = std::mem::replace(&mut self.canonical, around).finish();
            self.done.insert(id, hash);
            hash
        });
        self.canonical.bytes(KNOWN, &hash.to_le_bytes());
    }

    /// Describes a type that has the same structure as another type.
    pub fn transparent<T: 'static>(&mut self, describe: impl FnOnce(&mut Self)) {
        self.transparent_as(Id::Rust(TypeId::of::<T>()), describe);
    }

    fn transparent_as(&mut self, id: Id, describe: impl FnOnce(&mut Self)) {
        if !self.is_open(&id) {
            self.open.push(id);
            describe(self);
            self.open.pop();
        }
    }

    /// Whether the type is being described. If it is, the hash notes the recursion.
    fn is_open(&mut self, id: &Id) -> bool {
        let found = self.open.iter().rev().position(|open| open == id);
        if let Some(outwards) = found {
            self.canonical.bytes(ITSELF, &(outwards as u64).to_le_bytes());
        }
        found.is_some()
    }
}

/// The same description from a schema.
impl Shape {
    fn schema_type(&mut self, schema: &Schema, ty: &Type) {
        self.steps += 1;
        if self.steps > STEPS_MAX || self.open.len() > DEPTH_MAX {
            self.is_too_large = true;
            return;
        }
        let (kind, inner): (&str, &[&Type]) = match ty {
            Type::Named(name) => return self.schema_definition(schema, name),
            Type::Optional(inner) => ("option", &[&**inner]),
            Type::List(inner) => ("list", &[&**inner]),
            Type::MovableList(inner) => ("movable list", &[&**inner]),
            Type::Map(_, inner) => ("map", &[&**inner]),
            Type::Tree(inner) => ("tree", &[&**inner]),
            Type::Groups(group, item) => ("groups", &[&**group, &**item]),
            Type::Set(_) => ("set", &[]),
            Type::Text => ("text", &[]),
            Type::Counter => ("counter", &[]),
            Type::Other(expected, _) => (expected, &[]),
            scalar => (dynamic::expected(scalar), &[]),
        };
        self.kind(kind);
        inner.iter().for_each(|inner| self.schema_type(schema, inner));
    }

    fn schema_definition(&mut self, schema: &Schema, name: &str) {
        let id = Id::Schema(name.to_owned());
        match schema.definition(name).map(Definition::form) {
            None => {}
            Some(Form::Newtype(inner)) => {
                self.transparent_as(id, |shape| shape.schema_type(schema, inner));
            }
            Some(Form::Struct(fields)) => {
                self.record_as(id, |shape| shape.schema_fields(schema, fields));
            }
            Some(Form::Enum { variants, .. }) => self.record_as(id, |shape| {
                shape.kind("enum");
                for variant in variants {
                    let fields = variant.fields();
                    shape.variant(variant.name(), |shape| shape.schema_fields(schema, fields));
                }
            }),
        }
    }

    fn schema_fields(&mut self, schema: &Schema, fields: &[Field]) {
        for field in fields {
            self.field(field.name(), |shape| shape.schema_type(schema, field.ty()));
        }
    }
}
