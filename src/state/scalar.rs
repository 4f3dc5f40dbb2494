//! Scalars: each scalar is one register, and the last writer wins.

use std::any::Any;
use std::sync::Arc;

use uuid::Uuid;

use crate::document::value::Value;

use super::dynamic::TypeRef;
use super::schema::{Describe, Type, initial_register};
use super::{At, ChangeError, Edit, Node, Place, Reader, Refresh, Shape, State, Writer};

/// The expected form of a register whose value does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch(pub &'static str);

/// A value that is kept in one register (or in one element of a [`List`](super::List)).
///
/// Implement it for a type of your own that has a natural neutral value. For any serde type use
/// [`Register`](super::Register).
// These messages repeat those of `State` word for word. Where the derive stands decides which of
// the two traits the compiler requires; it prints equal messages only once.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a state type",
    label = "cannot be kept in a document",
    note = "derive it with `#[derive(State)]`; wrap a value that is replaced as a whole in `Register<_>` (any serde type)",
    note = "instead of `Vec` use `List` or `MovableList`, instead of `HashMap` and `BTreeMap` use `Map`, instead of `HashSet` and `BTreeSet` use `Set`, \
            instead of `usize` use `u64`"
)]
pub trait Scalar: Clone + PartialEq + Send + Sync + 'static {
    /// The neutral value.
    ///
    /// # Errors
    /// Returns the reason if this value cannot be written.
    fn to_value(&self) -> Result<Value, String>;
    /// Reads a neutral value.
    ///
    /// # Errors
    /// Returns the expected form, for example "a uuid".
    fn from_value(value: &Value) -> Result<Self, Mismatch>;
    /// Reads a neutral value of a type that is known at run time only.
    #[doc(hidden)]
    fn from_value_as(value: &Value, ty: Option<TypeRef<'_>>) -> Result<Self, Mismatch> {
        let _ = ty;
        Self::from_value(value)
    }
    /// The neutral value, of a type that is known at run time only.
    #[doc(hidden)]
    fn to_value_as(&self, ty: Option<TypeRef<'_>>) -> Result<Value, String> {
        let _ = ty;
        self.to_value()
    }
    /// The value of a register that was never written.
    fn initial() -> Self;
    /// Whether both values have the same written form, so that neither needs to replace the other.
    /// This is not always `==`: `-0.0 == 0.0`, and NaN is not equal to itself.
    fn same(&self, other: &Self) -> bool {
        self == other
    }
    /// The type in a schema. A type of the application's own is [`Type::Other`] with the form that it
    /// expects, which is what this method says unless it is implemented.
    #[must_use]
    fn describe() -> Type {
        Type::Other(expected::<Self>().to_owned(), initial_register::<Self>())
    }
}

/// The form that a type expects in its register.
pub(crate) fn expected<T: Scalar>() -> &'static str {
    match T::from_value(&Value::Unknown("nothing that any type reads")) {
        Err(Mismatch(expected)) => expected,
        Ok(_) => "any",
    }
}

impl<T: Scalar> State for T {
    type Node<P: Place> = Node<P, T>;
    const MARKED: bool = false;
    const SCALAR: bool = true;

    fn node<P: Place>(place: P) -> Node<P, T> {
        Node::new(place)
    }

    fn initial() -> Self {
        <T as Scalar>::initial()
    }

    /// A scalar is described by the form that it expects in its register.
    fn shape(shape: &mut Shape) {
        shape.kind(expected::<T>());
    }

    fn describe(_: &mut Describe) -> Type {
        <T as Scalar>::describe()
    }

    fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let value = reader.own()?;
        match T::from_value(value) {
            Ok(read) => Some(read),
            Err(Mismatch(expected)) => {
                reader.violation(expected, value);
                None
            }
        }
    }

    fn refresh(&mut self, _at: At<'_>, _cx: &mut Refresh<'_>) {}

    fn locate(&self, at: At<'_>) -> Option<&dyn Any> {
        at.is_end().then_some(self as &dyn Any)
    }

    fn write(&self, unless: Option<&Self>, writer: &mut Writer<'_, '_>) {
        if unless.is_some_and(|unless| self.same(unless)) {
            return;
        }
        // A register that already holds the same value stays as it is, even in another form.
        let alike = |value: &Value| T::from_value(value).is_ok_and(|old| self.same(&old));
        // The type may be one of the application's.
        match self.to_value().and_then(Value::held) {
            Ok(value) => writer.put_unless(value, &alike),
            Err(reason) => writer.fail(reason),
        }
    }

    fn reconcile(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        if !self.same(new) || writer.is_misfit() {
            new.write(None, writer);
        }
    }
}

impl<T: Scalar> Node<Edit<'_>, T> {
    /// The staged value.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the place is gone.
    pub fn get(&self) -> Result<T, ChangeError> {
        self.value()
    }
}

#[diagnostic::do_not_recommend]
impl Scalar for bool {
    fn to_value(&self) -> Result<Value, String> {
        Ok(Value::Bool(*self))
    }
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Bool(flag) => Ok(*flag),
            _ => Err(Mismatch("a bool")),
        }
    }
    fn initial() -> Self {
        false
    }
    fn describe() -> Type {
        Type::Bool
    }
}

/// The integers of up to 64 bits differ only in their names and ranges. An integer above `i64::MAX`
/// is written as a decimal string: no backend can hold it as a number, and the string keeps it
/// exact.
macro_rules! integer {
    ($($type:ty, $kind:ident, $expected:literal;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl Scalar for $type {
            fn to_value(&self) -> Result<Value, String> {
                Ok(i64::try_from(*self).map_or_else(|_| Value::str(self.to_string()), Value::Int))
            }
            fn from_value(value: &Value) -> Result<Self, Mismatch> {
                let read = match value {
                    Value::Int(number) => <$type>::try_from(*number).ok(),
                    Value::Str(digits) => {
                        digits.parse().ok().filter(|number| i64::try_from(*number).is_err())
                    }
                    _ => None,
                };
                read.ok_or(Mismatch($expected))
            }
            fn initial() -> Self {
                0
            }
            fn describe() -> Type {
                Type::$kind
            }
        }
    )*};
}

integer! {
    i8, I8, "an integer of 8 bits";
    i16, I16, "an integer of 16 bits";
    i32, I32, "an integer of 32 bits";
    i64, I64, "an integer of 64 bits";
    u8, U8, "an unsigned integer of 8 bits";
    u16, U16, "an unsigned integer of 16 bits";
    u32, U32, "an unsigned integer of 32 bits";
    u64, U64, "an unsigned integer of 64 bits";
}

#[diagnostic::do_not_recommend]
impl Scalar for f64 {
    fn to_value(&self) -> Result<Value, String> {
        Ok(Value::float(*self))
    }
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Float(number) => Ok(*number),
            // An integer that JavaScript wrote, or a float without a fraction. Beyond 2^53 this is
            // the nearest float.
            #[allow(clippy::cast_precision_loss)]
            Value::Int(number) => Ok(*number as f64),
            _ => Err(Mismatch("a number")),
        }
    }
    fn initial() -> Self {
        0.0
    }
    fn describe() -> Type {
        Type::F64
    }
    fn same(&self, other: &Self) -> bool {
        self.to_bits() == other.to_bits() || self.is_nan() && other.is_nan()
    }
}

#[diagnostic::do_not_recommend]
impl Scalar for f32 {
    fn to_value(&self) -> Result<Value, String> {
        Ok(Value::float(f64::from(*self)))
    }
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        // The nearest f32, as with JavaScript's Math.fround.
        #[allow(clippy::cast_possible_truncation)]
        f64::from_value(value).map(|number| number as f32)
    }
    fn initial() -> Self {
        0.0
    }
    fn describe() -> Type {
        Type::F32
    }
    fn same(&self, other: &Self) -> bool {
        f64::from(*self).same(&f64::from(*other))
    }
}

#[diagnostic::do_not_recommend]
impl Scalar for String {
    fn to_value(&self) -> Result<Value, String> {
        Ok(Value::str(self.as_str()))
    }
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Str(text) => Ok(text.as_ref().to_owned()),
            _ => Err(Mismatch("a string")),
        }
    }
    fn initial() -> Self {
        Self::new()
    }
    fn describe() -> Type {
        Type::Str
    }
}

#[diagnostic::do_not_recommend]
impl Scalar for Arc<str> {
    fn to_value(&self) -> Result<Value, String> {
        Ok(Value::Str(self.clone()))
    }
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Str(text) => Ok(text.clone()),
            _ => Err(Mismatch("a string")),
        }
    }
    fn initial() -> Self {
        Self::from("")
    }
    fn describe() -> Type {
        Type::Str
    }
}

#[diagnostic::do_not_recommend]
impl Scalar for char {
    fn to_value(&self) -> Result<Value, String> {
        Ok(Value::str(self.to_string()))
    }
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let Value::Str(text) = value else { return Err(Mismatch("a character")) };
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            (Some(character), None) => Ok(character),
            _ => Err(Mismatch("a character")),
        }
    }
    fn initial() -> Self {
        '\0'
    }
    fn describe() -> Type {
        Type::Char
    }
}

/// Bytes that are replaced as a whole.
#[diagnostic::do_not_recommend]
impl Scalar for Arc<[u8]> {
    fn to_value(&self) -> Result<Value, String> {
        Ok(Value::Bytes(self.clone()))
    }
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Bytes(bytes) => Ok(bytes.clone()),
            _ => Err(Mismatch("bytes")),
        }
    }
    fn initial() -> Self {
        Self::from([])
    }
    fn describe() -> Type {
        Type::Bytes
    }
}

/// Bytes that are replaced as a whole.
#[diagnostic::do_not_recommend]
impl Scalar for Vec<u8> {
    fn to_value(&self) -> Result<Value, String> {
        Ok(Value::Bytes(Arc::from(self.as_slice())))
    }
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Bytes(bytes) => Ok(bytes.to_vec()),
            _ => Err(Mismatch("bytes")),
        }
    }
    fn initial() -> Self {
        Self::new()
    }
    fn describe() -> Type {
        Type::Bytes
    }
}

#[diagnostic::do_not_recommend]
impl Scalar for Uuid {
    fn to_value(&self) -> Result<Value, String> {
        Ok(Value::str(self.to_string()))
    }
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            // The layout allows only the hyphenated form.
            Value::Str(text) if text.len() == 36 => {
                Self::parse_str(text).map_err(|_| Mismatch("a uuid"))
            }
            _ => Err(Mismatch("a uuid")),
        }
    }
    fn initial() -> Self {
        Self::nil()
    }
    fn describe() -> Type {
        Type::Uuid
    }
}

/// A point in time, written in RFC 3339.
#[diagnostic::do_not_recommend]
#[cfg(feature = "jiff")]
impl Scalar for jiff::Timestamp {
    fn to_value(&self) -> Result<Value, String> {
        Ok(Value::str(self.to_string()))
    }
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Str(text) => text.parse().map_err(|_| Mismatch("a time stamp in RFC 3339")),
            _ => Err(Mismatch("a time stamp in RFC 3339")),
        }
    }
    fn initial() -> Self {
        Self::UNIX_EPOCH
    }
    fn describe() -> Type {
        Type::Timestamp
    }
}

/// A point in time by the system's clock, in nanoseconds since 1970.
#[diagnostic::do_not_recommend]
impl Scalar for std::time::SystemTime {
    fn to_value(&self) -> Result<Value, String> {
        let nanos = match self.duration_since(Self::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()),
            Err(before) => i64::try_from(before.duration().as_nanos()).map(|nanos| -nanos),
        };
        nanos.map(Value::Int).map_err(|_| "the time is more than 292 years from 1970".to_owned())
    }
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        const EXPECTED: Mismatch = Mismatch("nanoseconds since 1970");
        let Value::Int(nanos) = value else { return Err(EXPECTED) };
        let distance = std::time::Duration::from_nanos(nanos.unsigned_abs());
        let time = if *nanos < 0 {
            Self::UNIX_EPOCH.checked_sub(distance)
        } else {
            Self::UNIX_EPOCH.checked_add(distance)
        };
        time.ok_or(EXPECTED)
    }
    fn initial() -> Self {
        Self::UNIX_EPOCH
    }
    fn describe() -> Type {
        Type::SystemTime
    }
}
