//! Scalars of a type that is known at run time.

use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use crate::document::value::Value;
use crate::state::register::decode_cbor;
use crate::state::scalar::expected;
use crate::state::schema::Type;
use crate::state::{ElementId, Link, Mismatch, Reader, Scalar, Writer};

use super::Dynamic;
use super::types::TypeRef;

/// The type of a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScalarType {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F32,
    F64,
    Char,
    Str,
    Bytes,
    Uuid,
    ElementId,
    Link,
    Timestamp,
    SystemTime,
    Register,
    Other,
}

impl ScalarType {
    /// The scalar type of a schema's type, if that is a scalar.
    pub(super) fn of(ty: &Type) -> Option<Self> {
        Some(match ty {
            Type::Bool => Self::Bool,
            Type::I8 => Self::I8,
            Type::I16 => Self::I16,
            Type::I32 => Self::I32,
            Type::I64 => Self::I64,
            Type::U8 => Self::U8,
            Type::U16 => Self::U16,
            Type::U32 => Self::U32,
            Type::U64 => Self::U64,
            Type::F32 => Self::F32,
            Type::F64 => Self::F64,
            Type::Char => Self::Char,
            Type::Str => Self::Str,
            Type::Bytes => Self::Bytes,
            Type::Uuid => Self::Uuid,
            Type::ElementId => Self::ElementId,
            Type::Link => Self::Link,
            Type::Timestamp => Self::Timestamp,
            Type::SystemTime => Self::SystemTime,
            Type::Register(_) => Self::Register,
            Type::Other(..) => Self::Other,
            _ => return None,
        })
    }
}

/// Runs code with the Rust type of a scalar type, as `$rust`. The others have no Rust type that is
/// known here.
macro_rules! with_rust_type {
    ($of:expr, $rust:ident => $body:expr, $($other:ident => $else:expr),*) => {
        with_rust_type!(@ $of, $rust, $body,
            [Bool bool, I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64,
             F32 f32, F64 f64, Char char, Str Arc<str>, Bytes Arc<[u8]>, Uuid Uuid,
             ElementId ElementId, Link Link<()>, SystemTime SystemTime],
            $($other => $else),*)
    };
    (@ $of:expr, $rust:ident, $body:expr, [$($name:ident $type:ty),*],
        $($other:ident => $else:expr),*) => {
        match $of {
            $(ScalarType::$name => { type $rust = $type; $body })*
            $(ScalarType::$other => $else,)*
        }
    };
}

impl ScalarType {
    /// What a register of this type must hold, for error messages.
    pub(super) fn expected(self) -> &'static str {
        with_rust_type!(self, Rust => expected::<Rust>(),
            Timestamp => TIMESTAMP, Register => REGISTER, Other => "a value")
    }

    /// The value of a register that was never written. For `Register` and `Other` the schema says
    /// it.
    pub(super) fn initial(self) -> ScalarValue {
        with_rust_type!(self, Rust => <Rust as Scalar>::initial().into(),
            Timestamp => ScalarValue::Timestamp(Arc::from("1970-01-01T00:00:00Z")),
            Register => ScalarValue::Register(Arc::from([NULL])),
            Other => ScalarValue::Other(Value::Null))
    }

    /// Reads a register.
    pub(super) fn read(self, value: &Value) -> Result<ScalarValue, Mismatch> {
        with_rust_type!(self, Rust => <Rust as Scalar>::from_value(value).map(ScalarValue::from),
        Timestamp => timestamp(value).map(ScalarValue::Timestamp),
        Register => register(value).map(ScalarValue::Register),
        Other => match value {
            Value::Unknown(_) => Err(Mismatch("a value")),
            value => Ok(ScalarValue::Other(value.clone())),
        })
    }
}

const TIMESTAMP: &str = "a time stamp in RFC 3339";
const REGISTER: &str = "CBOR of the register's type";
/// Null in CBOR.
const NULL: u8 = 0xf6;

#[cfg(feature = "jiff")]
fn timestamp(value: &Value) -> Result<Arc<str>, Mismatch> {
    jiff::Timestamp::from_value(value).map(|time| Arc::from(time.to_string()))
}

/// Without a library for time the text is taken as it is.
#[cfg(not(feature = "jiff"))]
fn timestamp(value: &Value) -> Result<Arc<str>, Mismatch> {
    Arc::<str>::from_value(value).map_err(|_| Mismatch(TIMESTAMP))
}

fn register(value: &Value) -> Result<Arc<[u8]>, Mismatch> {
    match value {
        Value::Bytes(bytes) if decode_cbor(bytes).is_some() => Ok(Arc::clone(bytes)),
        _ => Err(Mismatch(REGISTER)),
    }
}

/// A scalar in a [`Dynamic`](super::Dynamic): what one register or one element of a list holds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ScalarValue {
    /// `bool`.
    Bool(bool),
    /// An integer of any width.
    Int(i64),
    /// An integer above `i64::MAX`.
    Uint(u64),
    /// `f32`.
    F32(f32),
    /// `f64`.
    F64(f64),
    /// `char`.
    Char(char),
    /// A string.
    Str(Arc<str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// `Uuid`.
    Uuid(Uuid),
    /// The id of an element.
    ElementId(ElementId),
    /// The name of another document: see [`Link`].
    Link(Arc<str>),
    /// A point in time, in RFC 3339.
    Timestamp(Arc<str>),
    /// A point in time by the system's clock.
    SystemTime(SystemTime),
    /// What a [`Register`](crate::Register) holds, in CBOR.
    Register(Arc<[u8]>),
    /// A scalar of the application's own, as it lies in the document.
    Other(Value),
}

/// The conversions that lose nothing.
macro_rules! from {
    ($($type:ty => $variant:ident;)*) => {$(
        impl From<$type> for ScalarValue {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

from! {
    bool => Bool; i8 => Int; i16 => Int; i32 => Int; i64 => Int; u8 => Int; u16 => Int; u32 => Int;
    f32 => F32; f64 => F64; char => Char; &str => Str; String => Str; Arc<str> => Str;
    Arc<[u8]> => Bytes; Vec<u8> => Bytes; Uuid => Uuid; ElementId => ElementId;
    SystemTime => SystemTime;
}

impl From<u64> for ScalarValue {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or(Self::Uint(number), Self::Int)
    }
}

impl<T> From<Link<T>> for ScalarValue {
    fn from(link: Link<T>) -> Self {
        Self::Link(Arc::clone(link.shared_id()))
    }
}

impl ScalarValue {
    /// Whether this is a value of a type.
    pub(super) fn fits(&self, of: ScalarType) -> bool {
        match (self, of) {
            (Self::Other(_), of) => of == ScalarType::Other,
            // A number is of the type that reads what it writes.
            (value, ScalarType::Other) => matches!(value, Self::Other(_)),
            (Self::F32(_), of) => of == ScalarType::F32,
            (Self::F64(_), of) => of == ScalarType::F64,
            (Self::Str(_), of) => of == ScalarType::Str,
            (value, of) => value
                .to_value()
                .and_then(|held| of.read(&held).map_err(|_| String::new()))
                .is_ok_and(|read| read == *self),
        }
    }
}

impl ScalarValue {
    /// Reads the register at a place.
    pub(super) fn read_as(reader: &mut Reader<'_, '_>, ty: TypeRef<'_>) -> Option<Self> {
        let value = reader.own()?;
        match Self::from_value_as(value, Some(ty)) {
            Ok(read) => Some(read),
            Err(Mismatch(expected)) => {
                reader.violation(expected, value);
                None
            }
        }
    }

    /// Writes the register at a place, unless it reads the same without a write.
    pub(super) fn write_as(&self, unless: Option<&Dynamic>, writer: &mut Writer<'_, '_>) {
        if matches!(unless, Some(Dynamic::Scalar(unless)) if self.same(unless)) {
            return;
        }
        let ty = writer.ty();
        let alike = |value: &Value| Self::from_value_as(value, ty).is_ok_and(|old| self.same(&old));
        match self.to_value().and_then(Value::held) {
            Ok(value) => writer.put_unless(value, &alike),
            Err(reason) => writer.fail(reason),
        }
    }

    /// Writes `new` if it differs.
    pub(super) fn reconcile_as(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        if !self.same(new) || writer.is_misfit() {
            new.write_as(None, writer);
        }
    }

    /// The value in words, for error messages.
    pub(super) fn describe(&self) -> String {
        self.to_value().map_or_else(|reason| reason, |value| value.describe())
    }
}

/// A list or a field in a [`Dynamic`](super::Dynamic) is read as these; the type comes from the
/// schema.
#[diagnostic::do_not_recommend]
impl Scalar for ScalarValue {
    fn to_value(&self) -> Result<Value, String> {
        match self {
            Self::Bool(flag) => flag.to_value(),
            Self::Int(number) => number.to_value(),
            Self::Uint(number) => number.to_value(),
            Self::F32(number) => number.to_value(),
            Self::F64(number) => number.to_value(),
            Self::Char(letter) => letter.to_value(),
            Self::Str(text) | Self::Link(text) | Self::Timestamp(text) => text.to_value(),
            Self::Bytes(bytes) | Self::Register(bytes) => bytes.to_value(),
            Self::Uuid(id) => id.to_value(),
            Self::ElementId(id) => id.to_value(),
            Self::SystemTime(time) => time.to_value(),
            Self::Other(value) => Ok(value.clone()),
        }
    }

    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        ScalarType::Other.read(value)
    }

    fn from_value_as(value: &Value, ty: Option<TypeRef<'_>>) -> Result<Self, Mismatch> {
        ty.and_then(TypeRef::scalar).unwrap_or(ScalarType::Other).read(value)
    }

    fn to_value_as(&self, ty: Option<TypeRef<'_>>) -> Result<Value, String> {
        match ty.and_then(TypeRef::scalar) {
            Some(of) if !self.fits(of) => {
                Err(format!("expected {}, found {}", of.expected(), self.describe()))
            }
            _ => self.to_value(),
        }
    }

    fn initial() -> Self {
        Self::Other(Value::Null)
    }

    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::F32(left), Self::F32(right)) => left.same(right),
            (Self::F64(left), Self::F64(right)) => left.same(right),
            // What was read as JSON and is written back must not lose what JSON does not have.
            #[cfg(feature = "serde")]
            (Self::Register(left), Self::Register(right)) => {
                left == right || super::serialize::equal_but_for_json(left, right)
            }
            _ => self == other,
        }
    }
}
