//! Keys of maps and elements of sets of a type that is known at run time.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use crate::state::schema::Key;
use crate::state::{ElementId, MapKey};

use super::types::TypeRef;

/// A key of a map, or an element of a set, in a [`Dynamic`](super::Dynamic). Keys of one type have
/// the order that they have in Rust; those of the application's own type are in the order of their
/// texts. [`Patch::keys`](crate::Patch::keys) does not know the type: ask it for `String`s.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KeyValue {
    /// `bool`.
    Bool(bool),
    /// An integer of any type but `u128`.
    Int(i128),
    /// `u128`, also a small one.
    Uint(u128),
    /// `char`.
    Char(char),
    /// A string.
    Str(Arc<str>),
    /// `Uuid`.
    Uuid(Uuid),
    /// The id of an element.
    ElementId(ElementId),
    /// A key of the application's own type, as text.
    Other(Arc<str>),
}

impl KeyValue {
    /// The key of a type with this text. `None` if there is none.
    pub(super) fn read(text: &str, ty: Key) -> Option<Self> {
        fn int<T: MapKey + Into<i128>>(text: &str) -> Option<KeyValue> {
            T::from_text(text).map(|number| KeyValue::Int(number.into()))
        }
        match ty {
            Key::Bool => bool::from_text(text).map(Self::Bool),
            Key::I8 => int::<i8>(text),
            Key::I16 => int::<i16>(text),
            Key::I32 => int::<i32>(text),
            Key::I64 => int::<i64>(text),
            Key::I128 => int::<i128>(text),
            Key::U8 => int::<u8>(text),
            Key::U16 => int::<u16>(text),
            Key::U32 => int::<u32>(text),
            Key::U64 => int::<u64>(text),
            Key::U128 => u128::from_text(text).map(Self::Uint),
            Key::Char => char::from_text(text).map(Self::Char),
            Key::Str => Some(Self::Str(Arc::from(text))),
            Key::Uuid => Uuid::from_text(text).map(Self::Uuid),
            Key::ElementId => ElementId::from_text(text).map(Self::ElementId),
            Key::Other => Some(Self::Other(Arc::from(text))),
        }
    }

    /// The key with this text of the same kind as this one.
    pub(super) fn like(&self, text: &str) -> Option<Self> {
        let ty = match self {
            Self::Bool(_) => Key::Bool,
            Self::Int(_) => Key::I128,
            Self::Uint(_) => Key::U128,
            Self::Char(_) => Key::Char,
            Self::Str(_) => Key::Str,
            Self::Uuid(_) => Key::Uuid,
            Self::ElementId(_) => Key::ElementId,
            Self::Other(_) => Key::Other,
        };
        Self::read(text, ty)
    }

    /// Whether this is a key of a type.
    pub(super) fn is_of(&self, ty: Key) -> bool {
        Self::read(&self.to_text(), ty).as_ref() == Some(self)
    }
}

/// As its text.
impl fmt::Display for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl MapKey for KeyValue {
    fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::Bool(flag) => Cow::Owned(flag.to_string()),
            Self::Int(number) => Cow::Owned(number.to_string()),
            Self::Uint(number) => Cow::Owned(number.to_string()),
            Self::Char(letter) => Cow::Owned(letter.to_string()),
            Self::Str(text) | Self::Other(text) => Cow::Borrowed(text),
            Self::Uuid(id) => Cow::Owned(id.to_string()),
            Self::ElementId(id) => Cow::Owned(id.to_string()),
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        Self::read(text, Key::Other)
    }

    fn from_text_as(text: &str, ty: Option<TypeRef<'_>>) -> Option<Self> {
        Self::read(text, ty.and_then(TypeRef::key).unwrap_or(Key::Other))
    }

    fn fits(&self, ty: Option<TypeRef<'_>>) -> bool {
        ty.and_then(TypeRef::key).is_none_or(|ty| self.is_of(ty))
    }
}
