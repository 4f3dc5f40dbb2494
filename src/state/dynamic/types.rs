//! The types of a schema, as reading and writing a state need them: each type is found by its
//! number, and each struct knows its fields' initial values.

use std::fmt;
use std::sync::Arc;

use crate::document::key;
use crate::state::groups::{GROUPS, ITEMS};
use crate::state::schema::{self, Schema};

use super::Dynamic;
use super::scalar_value::ScalarType;

/// The types of a schema.
pub struct Types {
    pub(super) schema: Arc<Schema>,
    pub(super) kinds: Vec<TypeKind>,
    /// The value of a place of each type that was never written.
    pub(super) initials: Vec<Dynamic>,
    pub(super) root: usize,
    /// The name of the state's type, which a document remembers. `None`: the state is no struct and
    /// no enum.
    pub(super) name: Option<String>,
    pub(super) shape: u64,
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
    pub(super) by_name: Vec<usize>,
    /// The same, in the order of their names in Rust.
    #[cfg(feature = "serde")]
    pub(super) by_rust: Vec<usize>,
    /// Whether a text or list is among the fields, or in a struct among them. There may be content
    /// then although no register is written.
    pub(super) has_sequences: bool,
    /// Whether the fields have numbers in Rust instead of names.
    #[cfg(feature = "serde")]
    pub(super) is_tuple: bool,
}

/// A field.
pub(super) struct FieldType {
    /// The name in the document.
    pub(super) name: String,
    /// The name in Rust, and in JSON.
    pub(super) rust: String,
    /// The number of the field's type.
    pub(super) ty: usize,
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

/// The variants of an enum.
pub(super) struct EnumType {
    pub(super) name: String,
    pub(super) variants: Vec<VariantType>,
    /// The place of the default variant in `variants`.
    pub(super) default: usize,
    /// What a register of this type must hold, for error messages.
    pub(super) expected: String,
    /// The places of the variants in `variants`, in the order of their names.
    pub(super) by_name: Vec<usize>,
    /// Whether no variant has fields.
    pub(super) is_scalar: bool,
}

/// A variant of an enum.
pub(super) struct VariantType {
    /// The name in the document.
    pub(super) name: String,
    /// The name in Rust, and in JSON.
    pub(super) rust: String,
    pub(super) fields: Arc<StructType>,
    /// The number of the type [`TypeKind::Variant`].
    pub(super) ty: usize,
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

    pub(super) fn of(&self, number: usize) -> TypeRef<'_> {
        TypeRef { types: self, number }
    }
}

/// A type of a schema.
#[derive(Clone, Copy)]
pub struct TypeRef<'t> {
    types: &'t Types,
    pub(super) number: usize,
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
        let number = match self.filled().kind() {
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

    /// The type within an option, and any other type itself. Both have one path.
    pub(super) fn filled(self) -> Self {
        self.within().unwrap_or(self)
    }

    /// The type of the elements, entries or items of this collection.
    #[cfg(feature = "serde")]
    pub(super) fn element(self) -> Option<Self> {
        match self.filled().kind() {
            TypeKind::Map(_, inner)
            | TypeKind::MovableList(inner)
            | TypeKind::Tree(inner)
            | TypeKind::Elements(inner) => Some(self.at(*inner)),
            TypeKind::Groups(_, items) => self.at(*items).element(),
            _ => None,
        }
    }

    /// The type of the groups of these groups.
    #[cfg(feature = "serde")]
    pub(super) fn group(self) -> Option<Self> {
        match self.filled().kind() {
            TypeKind::Groups(groups, _) => self.at(*groups).element(),
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
        match self.filled().kind() {
            TypeKind::Map(key, _) | TypeKind::Set(key) => Some(*key),
            _ => None,
        }
    }

    /// The type of the elements of this list, or this scalar type itself.
    pub(super) fn scalar(self) -> Option<ScalarType> {
        match self.filled().kind() {
            TypeKind::Scalar(of) | TypeKind::List(of) => Some(*of),
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
        matches!(self.filled().kind(), TypeKind::Enum(_))
    }

    /// Whether a value of this type is one register: see [`State::SCALAR`].
    pub(super) fn is_scalar(self) -> bool {
        match self.filled().kind() {
            TypeKind::Scalar(_) => true,
            TypeKind::Enum(of) => of.is_scalar,
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
