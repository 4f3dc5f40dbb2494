//! From a type to its schema.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::document::value::Value;
use crate::state::stage::written_registers;
use crate::state::{Scalar, State};

use super::{Definition, Field, Form, RegisterValue, Registers, Schema, Type, Variant};

/// A schema that is being made. Types describe themselves to it: see
/// [`State::describe`](crate::State::describe).
#[derive(Debug, Default)]
pub struct Describe {
    names: HashMap<TypeId, String>,
    used: BTreeSet<String>,
    types: BTreeMap<String, Definition>,
    /// The fields so far of the struct or variant that is being described.
    fields: Vec<Field>,
    /// The variants so far of the enum that is being described.
    variants: Vec<Variant>,
    /// The own default of the newtype that is being described.
    default: Option<Registers>,
}

/// What the derive knows of a field or variant, except its type.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_structs, reason = "the derive makes it")]
pub struct Item {
    /// The name in the document.
    pub name: &'static str,
    /// The name in Rust.
    pub rust: &'static str,
    /// The doc comment.
    pub docs: &'static str,
    /// The note of `#[deprecated]`.
    pub deprecated: Option<&'static str>,
}

impl Item {
    fn rust(self) -> Option<String> {
        (self.rust != self.name).then(|| self.rust.to_owned())
    }
}

impl Describe {
    /// The schema of a type.
    pub(crate) fn schema<S: State>() -> Schema {
        let mut this = Self::default();
        let root = S::describe(&mut this);
        Schema { root, types: this.types }
    }

    /// A struct. `fields` describes the fields, and runs once for each type.
    pub fn record<T: 'static>(
        &mut self,
        name: &str,
        docs: &str,
        fields: impl FnOnce(&mut Self),
    ) -> Type {
        self.define::<T>(name, docs, |this| Form::Struct(this.fields(fields)))
    }

    /// A struct that has the form of one field.
    pub fn newtype<T: 'static>(
        &mut self,
        name: &str,
        docs: &str,
        inner: impl FnOnce(&mut Self) -> Type,
    ) -> Type {
        self.define::<T>(name, docs, |this| Form::Newtype(inner(this)))
    }

    /// A struct that has the form of one field, which has a default of its own.
    pub fn newtype_with_default<T: 'static, I: State>(
        &mut self,
        name: &str,
        docs: &str,
        default: &I,
        inner: impl FnOnce(&mut Self) -> Type,
    ) -> Type {
        self.define::<T>(name, docs, |this| {
            let inner = inner(this);
            this.default = Some(registers(default));
            Form::Newtype(inner)
        })
    }

    /// An enum. `variants` describes the variants, and runs once for each type.
    pub fn variants<T: 'static>(
        &mut self,
        name: &str,
        docs: &str,
        default: &str,
        variants: impl FnOnce(&mut Self),
    ) -> Type {
        self.define::<T>(name, docs, |this| {
            let outer = std::mem::take(&mut this.variants);
            variants(this);
            let variants = std::mem::replace(&mut this.variants, outer);
            Form::Enum { default: default.to_owned(), variants }
        })
    }

    /// A variant of the enum that is being described.
    pub fn variant(&mut self, item: Item, fields: impl FnOnce(&mut Self)) {
        let fields = self.fields(fields);
        let (name, docs) = (item.name.to_owned(), item.docs.to_owned());
        self.variants.push(Variant { name, rust: item.rust(), fields, docs });
    }

    /// A field of the struct or variant that is being described.
    pub fn field(&mut self, item: Item, ty: impl FnOnce(&mut Self) -> Type) {
        let ty = ty(self);
        self.fields.push(Field {
            name: item.name.to_owned(),
            rust: item.rust(),
            ty,
            default: None,
            deprecated: item.deprecated.map(str::to_owned),
            docs: item.docs.to_owned(),
        });
    }

    /// A field with a default of its own.
    pub fn field_with_default<T: State>(
        &mut self,
        item: Item,
        default: &T,
        ty: impl FnOnce(&mut Self) -> Type,
    ) {
        self.field(item, ty);
        if let Some(field) = self.fields.last_mut() {
            field.default = Some(registers(default));
        }
    }

    fn fields(&mut self, fields: impl FnOnce(&mut Self)) -> Vec<Field> {
        let outer = std::mem::take(&mut self.fields);
        fields(self);
        std::mem::replace(&mut self.fields, outer)
    }

    /// Defines a type once. A type that is being described may contain itself.
    fn define<T: 'static>(
        &mut self,
        name: &str,
        docs: &str,
        form: impl FnOnce(&mut Self) -> Form,
    ) -> Type {
        let id = TypeId::of::<T>();
        if let Some(name) = self.names.get(&id) {
            return Type::Named(name.clone());
        }
        let name = self.new_name(name);
        self.names.insert(id, name.clone());
        let form = form(self);
        let default = self.default.take();
        self.types.insert(name.clone(), Definition { docs: docs.to_owned(), default, form });
        Type::Named(name)
    }

    /// A name that no other type of the schema has. Types of one name (in two modules, or with other
    /// parameters) get numbers, in the order in which they occur.
    fn new_name(&mut self, name: &str) -> String {
        let numbered = (2..).map(|number| format!("{name}.{number}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        let new = names.find(|name| !self.used.contains(name)).unwrap_or_default();
        self.used.insert(new.clone());
        new
    }
}

/// The registers of a default.
fn registers<T: State>(default: &T) -> Registers {
    let registers = written_registers(default).into_iter();
    registers.map(|(path, value)| (path, RegisterValue(value))).collect()
}

/// The register of a scalar type's default. Null if that cannot be written.
pub(crate) fn initial_register<T: Scalar>() -> RegisterValue {
    RegisterValue(T::initial().to_value().and_then(Value::held).unwrap_or(Value::Null))
}
