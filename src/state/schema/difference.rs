//! The difference of two schemas: what has changed, and what a change asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::{Definition, Field, Form, Key, Schema, Type, Variant};

/// What a change of a schema asks for, so that the old and the new version of an application edit
/// one document without losing anything. A later class asks for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Class {
    /// Nothing is to be done.
    Compatible,
    /// Both forms can live in the document side by side, if a rule says how to turn one into the
    /// other: a lens.
    NeedsLens,
    /// The content has to be carried over once, and older versions can only read the document then:
    /// a fence.
    NeedsFence,
    /// The document's content cannot be carried over.
    Breaks,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compatible => "compatible",
            Self::NeedsLens => "needs a lens",
            Self::NeedsFence => "needs a fence",
            Self::Breaks => "breaks",
        })
    }
}

/// One change between two schemas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// The place in the state: names of fields and variants, `*` for any element of a collection.
    pub path: String,
    /// What the change asks for.
    pub class: Class,
    /// What has changed, for people.
    pub what: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the state" } else { &self.path };
        write!(f, "{path}: {} ({})", self.what, self.class)
    }
}

/// The changes between two schemas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The changes, in the order of the new schema's fields.
    pub changes: Vec<Change>,
}

impl Difference {
    /// What all changes together ask for.
    #[must_use]
    pub fn class(&self) -> Class {
        self.changes.iter().map(|change| change.class).max().unwrap_or(Class::Compatible)
    }
}

/// One change a line.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.changes.iter().try_for_each(|change| writeln!(f, "{change}"))
    }
}

impl Schema {
    /// What has changed from an older schema to this one. O(both).
    ///
    /// ```
    /// # use exostate::State;
    /// use exostate::schema::Class;
    ///
    /// mod v1 {
    ///     # use exostate::State;
    ///     #[derive(State, Clone, Debug)]
    ///     pub struct Card { pub points: u8, pub text: String }
    /// }
    /// mod v2 {
    ///     # use exostate::{State, Text};
    ///     #[derive(State, Clone, Debug)]
    ///     pub struct Card { pub points: u16, pub text: Text, pub done: bool }
    /// }
    /// let difference = v2::Card::schema().since(&v1::Card::schema());
    /// assert_eq!(difference.class(), Class::NeedsFence);
    /// assert_eq!(
    ///     difference.to_string(),
    ///     "points: u8 became u16 (compatible)\n\
    ///      text: String became Text (needs a fence)\n\
    ///      done: added (compatible)\n",
    /// );
    /// ```
    #[must_use]
    pub fn since(&self, old: &Self) -> Difference {
        let (seen, changes) = (BTreeSet::new(), Vec::new());
        let mut comparison = Comparison { old, new: self, seen, depth: 0, changes };
        comparison.root();
        Difference { changes: comparison.changes }
    }
}

struct Comparison<'a> {
    old: &'a Schema,
    new: &'a Schema,
    /// The pairs of types and of definitions that were compared: their addresses.
    seen: BTreeSet<(usize, usize)>,
    /// The number of types around the ones that are being compared.
    depth: usize,
    changes: Vec<Change>,
}

/// Schemas of strangers may be nested deeply, and may have many pairs of types to compare. What lies
/// beyond these limits counts as a change that breaks.
const DEPTH_MAX: usize = 128;
const PAIRS_MAX: usize = 100_000;

impl<'a> Comparison<'a> {
    fn add(&mut self, path: &str, class: Class, what: impl Into<String>) {
        self.changes.push(Change { path: path.to_owned(), class, what: what.into() });
    }

    fn root(&mut self) {
        let (old, new) = (self.old.resolve(&self.old.root), self.new.resolve(&self.new.root));
        let kind = |schema: &Schema, ty: &Type| match ty {
            Type::Named(name) => schema.definition(name).map(|found| kind_of(&found.form)),
            _ => None,
        };
        let is_same = std::mem::discriminant(old) == std::mem::discriminant(new)
            && kind(self.old, old) == kind(self.new, new);
        if !is_same && !widens(old, new) {
            return self.add("", Class::Breaks, format!("{old} became {new}"));
        }
        self.types("", old, new);
    }

    /// Whether a pair was not compared before.
    fn is_new<T>(&mut self, old: &T, new: &T) -> bool {
        self.seen.insert((std::ptr::from_ref(old).addr(), std::ptr::from_ref(new).addr()))
    }

    /// Compares the types of one place. A pair of types that contain themselves is compared once.
    fn types(&mut self, path: &str, old: &'a Type, new: &'a Type) {
        if !self.is_new(old, new) {
            return;
        }
        if self.depth >= DEPTH_MAX || self.seen.len() > PAIRS_MAX {
            return self.add(path, Class::Breaks, "too much to compare");
        }
        self.depth += 1;
        self.resolved(path, self.old.resolve(old), self.new.resolve(new));
        self.depth -= 1;
    }

    fn resolved(&mut self, path: &str, old: &'a Type, new: &'a Type) {
        match (old, new) {
            (Type::Named(old), Type::Named(new)) => self.named(path, old, new),
            (Type::Optional(old), Type::Optional(new)) => self.types(path, old, new),
            (Type::Optional(inner), _) => {
                self.types(path, inner, new);
                self.add(path, Class::NeedsLens, "no longer an Option");
            }
            (_, Type::Optional(inner)) => {
                self.types(path, old, inner);
                // A scalar's own register fills the option.
                let fills = self.is_register(self.old, old);
                let class = if fills { Class::Compatible } else { Class::NeedsLens };
                self.add(path, class, "an Option now");
            }
            (Type::List(old), Type::List(new))
            | (Type::MovableList(old), Type::MovableList(new))
            | (Type::Tree(old), Type::Tree(new)) => self.types(&below(path, "*"), old, new),
            (Type::Groups(old_group, old), Type::Groups(new_group, new)) => {
                self.types(&below(path, "groups/*"), old_group, new_group);
                self.types(&below(path, "items/*"), old, new);
            }
            (Type::Map(old_key, old), Type::Map(new_key, new)) => {
                self.keys(path, *old_key, *new_key);
                self.types(&below(path, "*"), old, new);
            }
            (Type::Set(old), Type::Set(new)) => self.keys(path, *old, *new),
            (Type::Register(old), Type::Register(new))
            | (Type::Other(_, old), Type::Other(_, new))
                if old != new =>
            {
                self.add(path, Class::NeedsLens, "the default of the type has changed");
            }
            _ if old == new => {}
            _ => {
                let class = self.class(old, new);
                self.add(path, class, format!("{old} became {new}"));
            }
        }
    }

    fn keys(&mut self, path: &str, old: Key, new: Key) {
        if old != new {
            let class = if widens_key(old, new) { Class::Compatible } else { Class::NeedsFence };
            self.add(path, class, format!("the keys were {old} and are {new}"));
        }
    }

    /// What a change from one type to another of a different kind asks for.
    fn class(&self, old: &Type, new: &Type) -> Class {
        if widens(old, new) {
            return Class::Compatible;
        }
        if self.is_register(self.old, old) && self.is_register(self.new, new) {
            return Class::NeedsLens;
        }
        Class::NeedsFence
    }

    /// Whether one register holds the whole value.
    fn is_register(&self, schema: &Schema, ty: &Type) -> bool {
        match schema.resolve(ty) {
            Type::Named(name) => match schema.definition(name).map(Definition::form) {
                Some(Form::Enum { variants, .. }) => {
                    variants.iter().all(|variant| variant.fields.is_empty())
                }
                _ => false,
            },
            Type::Optional(inner) => self.is_register(schema, inner),
            ty => is_scalar(ty),
        }
    }

    fn named(&mut self, path: &str, old: &'a str, new: &'a str) {
        let (Some(old), Some(new)) = (self.old.definition(old), self.new.definition(new)) else {
            return;
        };
        if !self.is_new(old, new) {
            return;
        }
        match (&old.form, &new.form) {
            (Form::Struct(old), Form::Struct(new)) => self.fields(path, old, new),
            (
                Form::Enum { default: old_default, variants: old },
                Form::Enum { default: new_default, variants: new },
            ) => {
                if old_default != new_default {
                    let what = format!("the default was {old_default} and is {new_default}");
                    self.add(path, Class::NeedsLens, what);
                }
                self.variants(path, old, new);
            }
            (old, new) => {
                let what = format!("{} became {}", kind_of(old), kind_of(new));
                self.add(path, Class::NeedsFence, what);
            }
        }
    }

    fn fields(&mut self, path: &str, old: &'a [Field], new: &'a [Field]) {
        let names: BTreeMap<&str, &Field> =
            old.iter().map(|field| (field.name.as_str(), field)).collect();
        for field in new {
            let path = below(path, &field.name);
            match names.get(field.name.as_str()) {
                Some(old) => self.field(&path, old, field),
                None => self.add(&path, Class::Compatible, "added"),
            }
        }
        let names: BTreeSet<&str> = new.iter().map(|field| field.name.as_str()).collect();
        let is_gone = |old: &&Field| !names.contains(old.name.as_str());
        for field in old.iter().filter(is_gone) {
            self.add(&below(path, &field.name), Class::Compatible, "removed");
        }
    }

    fn field(&mut self, path: &str, old: &'a Field, new: &'a Field) {
        if old.rust_name() != new.rust_name() {
            let what = format!("called {} in Rust, before {}", new.rust_name(), old.rust_name());
            self.add(path, Class::Compatible, what);
        }
        let before = self.changes.len();
        self.types(path, &old.ty, &new.ty);
        // A type that is really another one has another default anyway.
        let is_other = self.changes[before..].iter().any(|change| change.class > Class::Compatible);
        let default = |schema: &'a Schema, field: &'a Field| {
            field.default.as_ref().or_else(|| schema.default_of(&field.ty))
        };
        if !is_other && default(self.old, old) != default(self.new, new) {
            self.add(path, Class::NeedsLens, "the default has changed");
        }
    }

    fn variants(&mut self, path: &str, old: &'a [Variant], new: &'a [Variant]) {
        let names: BTreeMap<&str, &Variant> =
            old.iter().map(|variant| (variant.name.as_str(), variant)).collect();
        for variant in new {
            let path = below(path, &variant.name);
            match names.get(variant.name.as_str()) {
                Some(old) => self.fields(&path, &old.fields, &variant.fields),
                None => self.add(&path, Class::Compatible, "variant added"),
            }
        }
        let names: BTreeSet<&str> = new.iter().map(|variant| variant.name.as_str()).collect();
        let is_gone = |old: &&Variant| !names.contains(old.name.as_str());
        for variant in old.iter().filter(is_gone) {
            self.add(&below(path, &variant.name), Class::NeedsLens, "variant removed");
        }
    }
}

fn below(path: &str, segment: &str) -> String {
    if path.is_empty() { segment.to_owned() } else { format!("{path}/{segment}") }
}

fn kind_of(form: &Form) -> &'static str {
    match form {
        Form::Struct(_) => "a struct",
        Form::Newtype(_) => "a newtype",
        Form::Enum { .. } => "an enum",
    }
}

fn is_scalar(ty: &Type) -> bool {
    !matches!(
        ty,
        Type::Text
            | Type::Counter
            | Type::Optional(_)
            | Type::List(_)
            | Type::MovableList(_)
            | Type::Map(..)
            | Type::Set(_)
            | Type::Tree(_)
            | Type::Groups(..)
            | Type::Named(_)
    )
}

/// The least and the greatest integer of a type.
fn range(ty: &Type) -> Option<(i128, i128)> {
    Some(match ty {
        Type::I8 => (i8::MIN.into(), i8::MAX.into()),
        Type::I16 => (i16::MIN.into(), i16::MAX.into()),
        Type::I32 => (i32::MIN.into(), i32::MAX.into()),
        Type::I64 => (i64::MIN.into(), i64::MAX.into()),
        Type::U8 => (0, u8::MAX.into()),
        Type::U16 => (0, u16::MAX.into()),
        Type::U32 => (0, u32::MAX.into()),
        Type::U64 => (0, u64::MAX.into()),
        _ => return None,
    })
}

/// Whether a range lies in another one. The ends belong to the ranges.
fn is_within(inner: (i128, i128), outer: (i128, i128)) -> bool {
    outer.0 <= inner.0 && inner.1 <= outer.1
}

/// Whether every value of the old scalar type reads as the same value of the new one.
fn widens(old: &Type, new: &Type) -> bool {
    match (range(old), range(new)) {
        (Some(old), Some(new)) => is_within(old, new),
        _ => matches!((old, new), (Type::F32, Type::F64) | (Type::Char | Type::Link, Type::Str)),
    }
}

/// Whether every key of the old type has the same text as a key of the new one.
fn widens_key(old: Key, new: Key) -> bool {
    let range = |key| match key {
        Key::I128 => Some((i128::MIN, i128::MAX)),
        Key::I8 => range(&Type::I8),
        Key::I16 => range(&Type::I16),
        Key::I32 => range(&Type::I32),
        Key::I64 => range(&Type::I64),
        Key::U8 => range(&Type::U8),
        Key::U16 => range(&Type::U16),
        Key::U32 => range(&Type::U32),
        Key::U64 => range(&Type::U64),
        _ => None,
    };
    match (range(old), range(new)) {
        (Some(old), Some(new)) => is_within(old, new),
        // Of `u128` only the front is a range above.
        (Some((0, _)), None) => new == Key::U128 || new == Key::Str,
        _ => new == Key::Str,
    }
}

/// As Rust writes the type.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = match self {
            Self::Bool => "bool",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Char => "char",
            Self::Str => "String",
            Self::Bytes => "Vec<u8>",
            Self::Uuid => "Uuid",
            Self::ElementId => "ElementId",
            Self::Link => "Link",
            Self::Timestamp => "Timestamp",
            Self::SystemTime => "SystemTime",
            Self::Register(_) => "Register",
            Self::Text => "Text",
            Self::Counter => "Counter",
            Self::Other(expected, _) => return write!(f, "a scalar ({expected})"),
            Self::Named(name) => return f.write_str(name),
            Self::Optional(inner) => return write!(f, "Option<{inner}>"),
            Self::List(inner) => return write!(f, "List<{inner}>"),
            Self::MovableList(inner) => return write!(f, "MovableList<{inner}>"),
            Self::Map(key, inner) => return write!(f, "Map<{key}, {inner}>"),
            Self::Set(key) => return write!(f, "Set<{key}>"),
            Self::Tree(inner) => return write!(f, "Tree<{inner}>"),
            Self::Groups(group, item) => return write!(f, "Groups<{group}, {item}>"),
        };
        f.write_str(plain)
    }
}

/// As Rust writes the type.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "bool",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::I128 => "i128",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::U128 => "u128",
            Self::Char => "char",
            Self::Str => "String",
            Self::Uuid => "Uuid",
            Self::ElementId => "ElementId",
            Self::Other => "a type of the application",
        })
    }
}
