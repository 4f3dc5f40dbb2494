//! The types of a schema, as reading and writing a state need them: each type is found by its
//! number, and each struct knows its fields' initial values.
//!
//! A schema may come from a stranger. What it describes is bounded here: a struct that contains
//! itself without an option or a collection between would have no end, and structs that contain
//! each other twice at every level would double with each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::document::key::{self, Key};
use crate::state::groups::{GROUPS, ITEMS};
use crate::state::schema::{self, Form, RegisterValue, Registers, Schema, SchemaError, Type};
use crate::state::stage::Nothing;
use crate::state::violation::Violations;
use crate::state::{Reader, Shape, State};

use super::scalar_value::ScalarType;
use super::{Dynamic, EnumValue, StructValue};

/// How many structs may lie within each other, without options and collections between.
const NESTED_MAX: usize = 128;
/// How many values a place may show that was never written.
const INITIAL_MAX: usize = 10_000;
/// How many values the own defaults of fields may consist of, in all.
const DEFAULTS_MAX: usize = 1_000_000;

/// The types of a schema.
pub struct Types {
    schema: Arc<Schema>,
    kinds: Vec<TypeKind>,
    initials: Vec<Dynamic>,
    root: usize,
    /// The name of the state's type, which a document remembers. `None`: the state is no struct and
    /// no enum.
    name: Option<String>,
    shape: u64,
}

/// What a type is. Other types stand in it by their numbers.
#[derive(Clone)]
pub(super) enum TypeKind {
    Scalar(ScalarType),
    Text,
    Counter,
    List(ScalarType),
    Set(schema::Key),
    Optional(usize),
    Map(schema::Key, usize),
    MovableList(usize),
    Tree(usize),
    /// The numbers are those of the two types `Elements`.
    Groups(usize, usize),
    /// The groups of `Groups`, or the items.
    Elements(usize),
    Struct(Arc<StructType>),
    Enum(Arc<EnumType>),
    /// What lies below the name of an enum's variant.
    Variant(Arc<StructType>),
    /// A struct or enum whose fields are not known yet, while the types are being made.
    Unknown,
}

/// The fields of a struct or of an enum's variant.
#[derive(Default)]
pub(super) struct StructType {
    pub(super) name: String,
    pub(super) fields: Vec<FieldType>,
    /// The places of the fields in `fields`, in the order of their names.
    by_name: Vec<usize>,
    /// The same, in the order of their names in Rust.
    #[cfg(feature = "serde")]
    by_rust: Vec<usize>,
    /// Whether a text or list is among the fields, or in a struct among them. There may be content
    /// then although no register is written.
    pub(super) has_sequences: bool,
    /// Whether the fields have numbers in Rust instead of names.
    pub(super) is_tuple: bool,
}

/// A field.
pub(super) struct FieldType {
    /// The name in the document.
    pub(super) name: String,
    /// The name in Rust, and in JSON.
    pub(super) rust: String,
    /// The number of the field's type.
    ty: usize,
    /// The value of a field that was never written.
    pub(super) initial: Dynamic,
}

impl StructType {
    /// The place of a field in `fields`.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        let order =
            |at: &usize| self.fields.get(*at).map(|field| field.name.as_str()).cmp(&Some(name));
        self.by_name.binary_search_by(order).ok().and_then(|at| self.by_name.get(at).copied())
    }

    /// Whether a field has this name in Rust.
    #[cfg(feature = "serde")]
    pub(super) fn has_rust(&self, name: &str) -> bool {
        let order =
            |at: &usize| self.fields.get(*at).map(|field| field.rust.as_str()).cmp(&Some(name));
        self.by_rust.binary_search_by(order).is_ok()
    }
}

/// The places of fields or variants in the order of their names.
fn in_order<'a>(names: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut named: Vec<(&str, usize)> = names.enumerate().map(|(at, name)| (name, at)).collect();
    named.sort_unstable();
    named.into_iter().map(|(_, at)| at).collect()
}

/// The variants of an enum.
pub(super) struct EnumType {
    pub(super) name: String,
    pub(super) variants: Vec<VariantType>,
    /// The place of the default variant in `variants`.
    default: usize,
    /// What a register of this type must hold, for error messages.
    pub(super) expected: String,
    /// The places of the variants in `variants`, in the order of their names.
    by_name: Vec<usize>,
    /// Whether no variant has fields.
    is_scalar: bool,
}

/// A variant of an enum.
pub(super) struct VariantType {
    /// The name in the document.
    pub(super) name: String,
    /// The name in Rust, and in JSON.
    pub(super) rust: String,
    pub(super) fields: Arc<StructType>,
    /// The number of the type [`TypeKind::Variant`].
    ty: usize,
}

impl EnumType {
    /// The place of a variant in `variants`. O(log variants).
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        let order =
            |at: &usize| self.variants.get(*at).map(|one| one.name.as_str()).cmp(&Some(name));
        self.by_name.binary_search_by(order).ok().and_then(|at| self.by_name.get(at).copied())
    }
}

impl fmt::Debug for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Types").field("name", &self.name).finish_non_exhaustive()
    }
}

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
            reached: BTreeSet::new(),
        };
        make.all()?;
        Ok(Arc::new(make.types))
    }

    pub(crate) fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The name and the structure, for the document's note of its state type.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn shape(&self) -> u64 {
        self.shape
    }

    /// The type of the whole state.
    pub(crate) fn root(&self) -> TypeRef<'_> {
        self.of(self.root)
    }

    fn of(&self, number: usize) -> TypeRef<'_> {
        TypeRef { types: self, number }
    }
}

/// A type of a schema.
#[derive(Clone, Copy)]
pub struct TypeRef<'t> {
    types: &'t Types,
    number: usize,
}

impl fmt::Debug for TypeRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl<'t> TypeRef<'t> {
    pub(super) fn kind(self) -> &'t TypeKind {
        self.types.kinds.get(self.number).unwrap_or(&TypeKind::Unknown)
    }

    /// The value of a place of this type that was never written.
    pub(super) fn initial(self) -> Dynamic {
        self.types.initials.get(self.number).cloned().unwrap_or_default()
    }

    /// The type directly below a segment. `None`: the schema knows no such place.
    pub(crate) fn child(self, segment: &str) -> Option<Self> {
        let number = match self.kind() {
            TypeKind::Optional(inner) => return self.at(*inner).child(segment),
            TypeKind::Map(_, inner)
            | TypeKind::MovableList(inner)
            | TypeKind::Tree(inner)
            | TypeKind::Elements(inner) => *inner,
            TypeKind::Struct(of) | TypeKind::Variant(of) => {
                of.fields.get(of.position(segment)?)?.ty
            }
            TypeKind::Enum(of) => of.variants.get(of.position(segment)?)?.ty,
            TypeKind::Groups(groups, items) => match segment {
                GROUPS => *groups,
                ITEMS => *items,
                _ => return None,
            },
            _ => return None,
        };
        Some(self.at(number))
    }

    /// The type at a path below this one. O(length of the path).
    pub(crate) fn below(self, path: &str) -> Option<Self> {
        key::segments(path).try_fold(self, Self::child)
    }

    /// The type of a field of this struct or variant.
    pub(super) fn field(self, field: &FieldType) -> Self {
        self.at(field.ty)
    }

    /// The fields of this struct or variant.
    pub(super) fn struct_type(self) -> Option<&'t StructType> {
        match self.kind() {
            TypeKind::Struct(of) | TypeKind::Variant(of) => Some(of),
            _ => None,
        }
    }

    /// The type within this option.
    pub(super) fn within(self) -> Option<Self> {
        match self.kind() {
            TypeKind::Optional(inner) => Some(self.at(*inner)),
            _ => None,
        }
    }

    /// The type of the elements, entries or items of this collection.
    pub(super) fn element(self) -> Option<Self> {
        match self.kind() {
            TypeKind::Map(_, inner)
            | TypeKind::MovableList(inner)
            | TypeKind::Tree(inner)
            | TypeKind::Elements(inner) => Some(self.at(*inner)),
            TypeKind::Groups(_, items) => self.at(*items).element(),
            TypeKind::Optional(inner) => self.at(*inner).element(),
            _ => None,
        }
    }

    /// The type of the groups of these groups.
    #[cfg(feature = "serde")]
    pub(super) fn group(self) -> Option<Self> {
        match self.kind() {
            TypeKind::Groups(groups, _) => self.at(*groups).element(),
            TypeKind::Optional(inner) => self.at(*inner).group(),
            _ => None,
        }
    }

    /// The type of a variant's fields.
    pub(super) fn variant(self, variant: &VariantType) -> Self {
        self.at(variant.ty)
    }

    pub(super) fn at(self, number: usize) -> Self {
        Self { number, ..self }
    }

    /// The type of the keys of this map or set.
    pub(super) fn key(self) -> Option<schema::Key> {
        match self.kind() {
            TypeKind::Map(key, _) | TypeKind::Set(key) => Some(*key),
            TypeKind::Optional(inner) => self.at(*inner).key(),
            _ => None,
        }
    }

    /// The type of the elements of this list, or this scalar type itself.
    pub(super) fn scalar(self) -> Option<ScalarType> {
        match self.kind() {
            TypeKind::Scalar(of) | TypeKind::List(of) => Some(*of),
            TypeKind::Optional(inner) => self.at(*inner).scalar(),
            _ => None,
        }
    }

    /// Whether a slot of this type needs a marker: see [`State::MARKED`].
    pub(super) fn is_marked(self) -> bool {
        !matches!(
            self.kind(),
            TypeKind::Scalar(_) | TypeKind::Enum(_) | TypeKind::Optional(_) | TypeKind::Unknown
        )
    }

    /// Whether this is an enum, or an option of one.
    pub(super) fn is_enum(self) -> bool {
        match self.kind() {
            TypeKind::Enum(_) => true,
            TypeKind::Optional(inner) => self.at(*inner).is_enum(),
            _ => false,
        }
    }

    /// Whether a value of this type is one register: see [`State::SCALAR`].
    pub(super) fn is_scalar(self) -> bool {
        match self.kind() {
            TypeKind::Scalar(_) => true,
            TypeKind::Enum(of) => of.is_scalar,
            TypeKind::Optional(inner) => self.at(*inner).is_scalar(),
            _ => false,
        }
    }

    /// The type in words, for error messages.
    pub(crate) fn describe(self) -> String {
        match self.kind() {
            TypeKind::Scalar(of) => of.expected().to_owned(),
            TypeKind::Text => "a text".to_owned(),
            TypeKind::Counter => "a counter".to_owned(),
            TypeKind::List(of) => format!("a list ({})", of.expected()),
            TypeKind::Set(_) => "a set".to_owned(),
            TypeKind::Optional(inner) => format!("nothing, or {}", self.at(*inner).describe()),
            TypeKind::Map(..) => "a map".to_owned(),
            TypeKind::MovableList(_) | TypeKind::Elements(_) => "a movable list".to_owned(),
            TypeKind::Tree(_) => "a tree".to_owned(),
            TypeKind::Groups(..) => "groups".to_owned(),
            TypeKind::Struct(of) | TypeKind::Variant(of) => format!("the struct {}", of.name),
            TypeKind::Enum(of) => of.expected.clone(),
            TypeKind::Unknown => "a value".to_owned(),
        }
    }
}

/// The types while they are being made.
struct Make<'s> {
    schema: &'s Schema,
    types: Types,
    /// The numbers of the structs and enums, by their names.
    named: BTreeMap<&'s str, usize>,
    /// What is known of each struct and enum. `None` while the type is being made: a type that needs
    /// it contains itself.
    sizes: BTreeMap<usize, Option<Size>>,
    /// How many values the own defaults of fields consist of so far.
    defaults: usize,
    /// The structs and enums that defaults may hold, which are made before the defaults are read.
    reached: BTreeSet<usize>,
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
                    Some(default) => {
                        self.define_below(inner, depth + 1)?;
                        self.own_default(name, default, inside)?.unwrap_or(initial)
                    }
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
                self.define_below(field.ty(), depth + 1)?;
                initial = self.own_default(&place, default, ty)?.unwrap_or(initial);
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

    /// Makes all structs and enums that a default of this type may hold, except those that are being
    /// made.
    fn define_below(&mut self, ty: &'s Type, depth: usize) -> Result<(), SchemaError> {
        let mut rest = vec![ty];
        while let Some(ty) = rest.pop() {
            match ty {
                Type::Optional(inner)
                | Type::List(inner)
                | Type::MovableList(inner)
                | Type::Map(_, inner)
                | Type::Tree(inner) => rest.push(inner),
                Type::Groups(group, item) => rest.extend([&**group, item]),
                Type::Named(name) => {
                    let number = self.named.get(name.as_str()).copied().unwrap_or_default();
                    if !self.reached.insert(number) {
                        continue;
                    }
                    if !matches!(self.sizes.get(&number), Some(None)) {
                        self.define(name, depth)?;
                    }
                    match self.schema.definition(name).map(schema::Definition::form) {
                        Some(Form::Newtype(inner)) => rest.push(inner),
                        Some(Form::Struct(fields)) => {
                            rest.extend(fields.iter().map(schema::Field::ty))
                        }
                        Some(Form::Enum { variants, .. }) => {
                            let fields = variants.iter().flat_map(schema::Variant::fields);
                            rest.extend(fields.map(schema::Field::ty));
                        }
                        None => {}
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The value that the registers of an own default stand for.
    fn own_default(
        &mut self,
        place: &str,
        registers: &'s Registers,
        number: usize,
    ) -> Result<Option<Dynamic>, SchemaError> {
        let ty = self.types.of(number);
        if ty.is_marked() {
            return Err(wrong(place, "only scalars, enums and options have a default"));
        }
        // What an option holds is read anew for each default.
        let inside = ty.within().map_or(number, |inner| inner.number);
        let size = self.sizes.get(&inside).copied().flatten().unwrap_or(Size::ONE);
        self.defaults = self.defaults.saturating_add(size.values);
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
        Ok(Dynamic::read(&mut Reader::new(&Nothing, &entries, &mut violations, ty)))
    }
}

fn wrong(place: &str, reason: impl Into<String>) -> SchemaError {
    SchemaError::Wrong { place: place.to_owned(), reason: reason.into() }
}

fn too_large(place: &str, max: String) -> SchemaError {
    SchemaError::TooLarge { place: place.to_owned(), max }
}
