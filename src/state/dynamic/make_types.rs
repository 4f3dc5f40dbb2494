//! Makes the types of a schema: each struct and enum after those that it consists of.
//!
//! A schema may come from a stranger. What it describes is bounded here: a struct that contains
//! itself without an option or a collection between would have no end, and structs that contain
//! each other twice at every level would double with each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::document::key::{self, Key};
use crate::state::schema::{self, Form, RegisterValue, Registers, Schema, SchemaError, Type};
use crate::state::stage::{Nothing, written_registers};
use crate::state::violation::Violations;
use crate::state::{Reader, Shape, State};

use super::scalar_value::ScalarType;
use super::types::{EnumType, FieldType, StructType, TypeKind, Types, VariantType};
use super::{Dynamic, EnumValue, StructValue};

/// How many structs may lie within each other, without options and collections between.
const NESTED_MAX: usize = 128;
/// How many values a place may show that was never written.
const INITIAL_MAX: usize = 10_000;
/// How many values the own defaults of fields may consist of, in all.
const DEFAULTS_MAX: usize = 1_000_000;

impl Types {
    /// The types of a schema. O(schema).
    pub(crate) fn new(schema: &Schema) -> Result<Arc<Self>, SchemaError> {
        schema.check()?;
        let shape = Shape::of_schema(schema).ok_or_else(|| {
            too_large("the schema", "256 types within each other, or a million in all".to_owned())
        })?;
        let mut make = Make {
            schema,
            types: Self {
                schema: Arc::new(schema.clone()),
                kinds: Vec::new(),
                initials: Vec::new(),
                root: 0,
                name: match schema.root() {
                    Type::Named(name) => Some(key::escape(name).into_owned()),
                    _ => None,
                },
                shape,
            },
            named: BTreeMap::new(),
            sizes: BTreeMap::new(),
            defaults: 0,
        };
        make.all()?;
        Ok(Arc::new(make.types))
    }
}

/// The types while they are being made.
struct Make<'s> {
    schema: &'s Schema,
    types: Types,
    /// The numbers of the structs and enums, by their names.
    named: BTreeMap<&'s str, usize>,
    /// What is known of each struct and enum. `None` while the type is being made: a type that
    /// needs it contains itself.
    sizes: BTreeMap<usize, Option<Size>>,
    /// How many values the own defaults of fields consist of so far.
    defaults: usize,
}

/// How large a struct or enum is, without what lies in options and collections.
#[derive(Clone, Copy)]
struct Size {
    /// How many values a place shows that was never written.
    values: usize,
    /// How many structs and enums lie within each other.
    height: usize,
}

impl Size {
    const ONE: Self = Self { values: 1, height: 0 };
}

impl<'s> Make<'s> {
    fn all(&mut self) -> Result<(), SchemaError> {
        for (name, _) in self.schema.definitions() {
            let number = self.add(TypeKind::Unknown, Dynamic::default());
            self.named.insert(name, number);
        }
        for (name, _) in self.schema.definitions() {
            self.define(name, 0)?;
        }
        self.types.root = self.ty("root", self.schema.root())?;
        Ok(())
    }

    fn add(&mut self, kind: TypeKind, initial: Dynamic) -> usize {
        self.types.kinds.push(kind);
        self.types.initials.push(initial);
        self.types.kinds.len() - 1
    }

    fn set(&mut self, number: usize, kind: TypeKind, initial: Dynamic) {
        if let Some(place) = self.types.kinds.get_mut(number) {
            *place = kind;
        }
        if let Some(place) = self.types.initials.get_mut(number) {
            *place = initial;
        }
    }

    /// The number of a type. Structs and enums by name have theirs already.
    fn ty(&mut self, place: &str, ty: &'s Type) -> Result<usize, SchemaError> {
        let kind = match ty {
            Type::Named(name) => {
                let there = self.named.get(name.as_str()).copied();
                return there.ok_or_else(|| wrong(place, format!("there is no type {name:?}")));
            }
            Type::Text => TypeKind::Text,
            Type::Counter => TypeKind::Counter,
            Type::Optional(inner) => TypeKind::Optional(self.ty(place, inner)?),
            Type::List(inner) => match ScalarType::of(self.schema.resolve(inner)) {
                Some(of) => TypeKind::List(of),
                None => return Err(wrong(place, "the elements of a list are scalars")),
            },
            Type::MovableList(inner) => TypeKind::MovableList(self.ty(place, inner)?),
            Type::Map(key, inner) => TypeKind::Map(*key, self.ty(place, inner)?),
            Type::Set(key) => TypeKind::Set(*key),
            Type::Tree(inner) => TypeKind::Tree(self.ty(place, inner)?),
            Type::Groups(group, item) => {
                let elements = [self.ty(place, group)?, self.ty(place, item)?];
                let [groups, items] =
                    elements.map(|inner| self.add(TypeKind::Elements(inner), Dynamic::default()));
                TypeKind::Groups(groups, items)
            }
            Type::Register(RegisterValue(initial)) | Type::Other(_, RegisterValue(initial)) => {
                let Some(of) = ScalarType::of(ty) else { return Err(wrong(place, "no scalar")) };
                let initial = of.read(initial).unwrap_or_else(|_| of.initial());
                return Ok(self.add(TypeKind::Scalar(of), Dynamic::Scalar(initial)));
            }
            scalar => match ScalarType::of(scalar) {
                Some(of) => TypeKind::Scalar(of),
                None => return Err(wrong(place, format!("{ty} is of no known kind"))),
            },
        };
        let initial = Dynamic::empty(&kind);
        Ok(self.add(kind, initial))
    }

    /// The value of a place of a type that was never written, and its size.
    fn initial(
        &mut self,
        number: usize,
        ty: &'s Type,
        depth: usize,
    ) -> Result<(Dynamic, Size), SchemaError> {
        let size = match ty {
            Type::Named(name) => self.define(name, depth)?,
            _ => Size::ONE,
        };
        Ok((self.types.of(number).initial(), size))
    }

    /// Makes a struct or enum with what it consists of.
    fn define(&mut self, name: &'s str, depth: usize) -> Result<Size, SchemaError> {
        let (Some(number), Some(definition)) =
            (self.named.get(name).copied(), self.schema.definition(name))
        else {
            return Err(wrong(name, "there is no such type"));
        };
        match self.sizes.get(&number) {
            Some(Some(size)) => return Ok(*size),
            Some(None) => {
                let reason = "contains itself, without an option or a collection between";
                return Err(wrong(name, reason));
            }
            None => {}
        }
        if depth > NESTED_MAX {
            return Err(too_large(name, format!("{NESTED_MAX} structs within each other")));
        }
        self.sizes.insert(number, None);
        let (kind, initial, size) = match definition.form() {
            Form::Newtype(inner) => {
                let inside = self.ty(name, inner)?;
                let (initial, size) = self.initial(inside, inner, depth + 1)?;
                let kind = self.types.of(inside).kind().clone();
                let initial = match definition.default() {
                    Some(default) => self.own_default(name, default, inner, inside, depth + 1)?,
                    None => initial,
                };
                (kind, initial, size)
            }
            Form::Struct(fields) => {
                let (fields, size) = self.fields(name, fields, depth)?;
                let initial = Dynamic::Struct(StructValue::initial(&fields));
                (TypeKind::Struct(fields), initial, size)
            }
            Form::Enum { default, variants } => {
                let (of, size) = self.variants(name, default, variants, depth)?;
                let initial = Dynamic::Enum(EnumValue::initial(&of, of.default));
                (TypeKind::Enum(of), initial, size)
            }
        };
        let size = Size { height: size.height + 1, ..size };
        // The types below may have been made before, each at a lower depth.
        if size.height > NESTED_MAX {
            return Err(too_large(name, format!("{NESTED_MAX} structs within each other")));
        }
        self.set(number, kind, initial);
        self.sizes.insert(number, Some(size));
        Ok(size)
    }

    fn fields(
        &mut self,
        name: &str,
        fields: &'s [schema::Field],
        depth: usize,
    ) -> Result<(Arc<StructType>, Size), SchemaError> {
        let mut made = Vec::with_capacity(fields.len());
        let (mut size, mut has_sequences) = (Size::ONE, false);
        for field in fields {
            let place = format!("{name}/{}", field.name());
            let ty = self.ty(&place, field.ty())?;
            let (mut initial, inside) = self.initial(ty, field.ty(), depth + 1)?;
            size.values = size.values.saturating_add(inside.values);
            size.height = size.height.max(inside.height);
            if size.values > INITIAL_MAX {
                return Err(too_large(&place, format!("{INITIAL_MAX} values within each other")));
            }
            if let Some(default) = field.default() {
                initial = self.own_default(&place, default, field.ty(), ty, depth + 1)?;
            }
            has_sequences |= match self.types.of(ty).kind() {
                TypeKind::Text | TypeKind::List(_) => true,
                TypeKind::Struct(of) => of.has_sequences,
                _ => false,
            };
            let (name, rust) = (field.name().to_owned(), field.rust_name().to_owned());
            made.push(FieldType { name, rust, ty, initial });
        }
        let of = StructType {
            name: name.to_owned(),
            by_name: in_order(made.iter().map(|field| field.name.as_str())),
            #[cfg(feature = "serde")]
            by_rust: in_order(made.iter().map(|field| field.rust.as_str())),
            has_sequences,
            fields: made,
            #[cfg(feature = "serde")]
            is_tuple: schema::is_tuple(fields),
        };
        Ok((Arc::new(of), size))
    }

    fn variants(
        &mut self,
        name: &str,
        default: &str,
        variants: &'s [schema::Variant],
        depth: usize,
    ) -> Result<(Arc<EnumType>, Size), SchemaError> {
        let (mut made, mut size) = (Vec::with_capacity(variants.len()), Size::ONE);
        for variant in variants {
            let place = format!("{name}/{}", variant.name());
            let (fields, inside) = self.fields(&place, variant.fields(), depth)?;
            let ty = self.add(TypeKind::Variant(Arc::clone(&fields)), Dynamic::default());
            let (name, rust) = (variant.name().to_owned(), variant.rust_name().to_owned());
            made.push(VariantType { name, rust, fields, ty });
            size.values = size.values.max(inside.values);
            size.height = size.height.max(inside.height);
        }
        let names: Vec<&str> = made.iter().map(|variant| variant.name.as_str()).collect();
        let of = EnumType {
            name: name.to_owned(),
            default: names.iter().position(|name| *name == default).unwrap_or_default(),
            expected: format!("one of {}", names.join(", ")),
            by_name: in_order(names.into_iter()),
            is_scalar: made.iter().all(|variant| variant.fields.fields.is_empty()),
            variants: made,
        };
        Ok((Arc::new(of), size))
    }

    /// Makes the structs and enums that a default of this type may hold, without those in
    /// collections. Returns the size of the largest.
    fn define_below(
        &mut self,
        place: &str,
        ty: &'s Type,
        depth: usize,
    ) -> Result<usize, SchemaError> {
        let (mut rest, mut seen, mut largest) = (vec![ty], BTreeSet::new(), 1);
        while let Some(ty) = rest.pop() {
            let name = match ty {
                Type::Optional(inner) => {
                    rest.push(inner);
                    continue;
                }
                Type::Named(name) if seen.insert(name) => name,
                _ => continue,
            };
            self.defaults = self.defaults.saturating_add(1);
            let number = self.named.get(name.as_str()).copied().unwrap_or_default();
            if let Some(None) = self.sizes.get(&number) {
                return Err(wrong(place, "the default may hold the type that it belongs to"));
            }
            largest = largest.max(self.define(name, depth)?.values);
            match self.schema.definition(name).map(schema::Definition::form) {
                Some(Form::Newtype(inner)) => rest.push(inner),
                Some(Form::Struct(fields)) => rest.extend(fields.iter().map(schema::Field::ty)),
                Some(Form::Enum { variants, .. }) => {
                    let fields = variants.iter().flat_map(schema::Variant::fields);
                    rest.extend(fields.map(schema::Field::ty));
                }
                None => {}
            }
        }
        Ok(largest)
    }

    /// The value of `#[state(default = …)]`, which a schema has as registers.
    fn own_default(
        &mut self,
        place: &str,
        registers: &'s Registers,
        ty: &'s Type,
        number: usize,
        depth: usize,
    ) -> Result<Dynamic, SchemaError> {
        if self.types.of(number).is_marked() {
            return Err(wrong(place, "only scalars, enums and options have a default"));
        }
        // Each register may be the marker of a struct, all of whose values are made then.
        let largest = self.define_below(place, ty, depth)?;
        let values = registers.len().max(1).saturating_mul(largest);
        self.defaults = self.defaults.saturating_add(values);
        if self.defaults > DEFAULTS_MAX {
            return Err(too_large(place, format!("{DEFAULTS_MAX} values in defaults")));
        }
        let entries = registers.iter();
        let mut entries: Vec<(Key, _)> = entries
            .map(|(path, RegisterValue(value))| (Key::from(path.as_str()), value.clone()))
            .collect();
        entries.sort_by(|left, right| left.0.cmp(&right.0));
        let mut violations = Violations::default();
        let ty = Some(self.types.of(number));
        let read = Dynamic::read(&mut Reader::new(&Nothing, &entries, &mut violations, ty));
        let is_whole = |value: &Dynamic| {
            let written = written_registers(value).into_iter();
            written.map(|(path, value)| (path, RegisterValue(value))).collect::<Registers>()
                == *registers
        };
        read.filter(is_whole).ok_or_else(|| wrong(place, "the default does not fit the type"))
    }
}

fn wrong(place: &str, reason: impl Into<String>) -> SchemaError {
    SchemaError::Wrong { place: place.to_owned(), reason: reason.into() }
}

fn too_large(place: &str, max: String) -> SchemaError {
    SchemaError::TooLarge { place: place.to_owned(), max }
}

/// The places of fields or variants in the order of their names.
fn in_order<'a>(names: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut named: Vec<(&str, usize)> = names.enumerate().map(|(at, name)| (name, at)).collect();
    named.sort_unstable();
    named.into_iter().map(|(_, at)| at).collect()
}
