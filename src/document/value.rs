//! The scalar that a register, a list element or a mark holds. It is the same for all backends.

use std::sync::Arc;

use super::digest::{Canonical, canonical_bits};

/// A scalar as the document holds it.
///
/// Two values are equal if their content is the same. So NaN equals NaN, unlike with `f64`.
///
/// Numbers are canonical: a float with an integral value within the range of `i64` is a
/// [`Value::Int`], because Yjs peers do not tell the two apart on the wire. Therefore a field of
/// type `f64` also reads integers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Value {
    /// No value: an `Option` that was set to `None` writes it.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number that is not whole, or is outside the range of `i64`, or is negative zero.
    Float(f64),
    /// Text that is replaced as a whole.
    Str(Arc<str>),
    /// Raw bytes.
    Bytes(Arc<[u8]>),
    /// A value that this version of exostate does not know, for example a nested container that
    /// another program wrote. The text names its kind.
    Unknown(&'static str),
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(left), Self::Bool(right)) => left == right,
            (Self::Int(left), Self::Int(right)) => left == right,
            (Self::Float(left), Self::Float(right)) => {
                canonical_bits(*left) == canonical_bits(*right)
            }
            (Self::Str(left), Self::Str(right)) => left == right,
            (Self::Bytes(left), Self::Bytes(right)) => left == right,
            (Self::Unknown(left), Self::Unknown(right)) => left == right,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Int(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::float(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::str(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::str(text)
    }
}

/// 2^63, the first float above the range of `i64`. Yjs writes `i64::MAX` as this float.
const I64_END: f64 = 9_223_372_036_854_775_808.0;

impl Value {
    /// A hash of the content: equal for equal values.
    pub(crate) fn fingerprint(&self) -> u128 {
        let mut canonical = Canonical::new();
        canonical.value(self);
        canonical.finish()
    }

    /// The approximate size of the content in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Str(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            _ => 8,
        }
    }

    /// The value in the form in which a mark on text can hold it.
    ///
    /// yrs writes marks as JSON. JSON turns bytes into a list of numbers, has no NaN and no
    /// infinity, and turns negative zero into zero. The error says why a mark cannot hold the
    /// value.
    pub(crate) fn as_mark(&self) -> Result<Self, String> {
        match self {
            Self::Unknown(kind) => Err(format!("a {kind} cannot be written")),
            Self::Bytes(_) => Err("a mark cannot hold bytes".to_owned()),
            Self::Float(number) if !number.is_finite() => {
                Err(format!("a mark cannot hold {number}"))
            }
            Self::Float(number) => Ok(Self::float(number + 0.0)),
            value => Ok(value.clone()),
        }
    }

    /// The canonical value of a float.
    #[must_use]
    pub fn float(number: f64) -> Self {
        let integral = number.is_finite() && number.fract() == 0.0 && number.abs() <= I64_END;
        if integral && !(number == 0.0 && number.is_sign_negative()) {
            // The cast saturates, which maps 2^63 to `i64::MAX`.
            #[allow(clippy::cast_possible_truncation)]
            return Self::Int(number as i64);
        }
        Self::Float(number)
    }

    /// The value as a document holds it: numbers are canonical. `Err` for a value that no document
    /// can hold, with the reason.
    pub(crate) fn held(self) -> Result<Self, String> {
        match self {
            Self::Float(number) => Ok(Self::float(number)),
            Self::Unknown(kind) => Err(format!("a document cannot hold a value of kind {kind}")),
            value => Ok(value),
        }
    }

    /// A string value.
    #[must_use]
    pub fn str(text: impl Into<Arc<str>>) -> Self {
        Self::Str(text.into())
    }

    /// The text for this value in error messages. A long string is cut; of bytes only their number
    /// is shown.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(flag) => flag.to_string(),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Str(text) if text.chars().count() <= 40 => format!("{text:?}"),
            Self::Str(text) => {
                let head: String = text.chars().take(39).collect();
                format!("{:?} and {} bytes more", head, text.len() - head.len())
            }
            Self::Bytes(bytes) => format!("{} bytes", bytes.len()),
            Self::Unknown(kind) => format!("a {kind}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Value;

    #[test]
    fn values_are_equal_by_content() {
        assert_eq!(Value::Float(f64::NAN), Value::Float(-f64::NAN));
        assert_ne!(Value::float(-0.0), Value::float(0.0));
        assert_ne!(Value::Null, Value::Bool(false));
    }

    #[test]
    fn integral_floats_are_integers() {
        assert_eq!(Value::float(3.0), Value::Int(3));
        assert_eq!(Value::float(9_223_372_036_854_775_808.0), Value::Int(i64::MAX));
        assert_eq!(Value::float(-9_223_372_036_854_775_808.0), Value::Int(i64::MIN));
        assert!(matches!(Value::float(-0.0), Value::Float(_)));
        assert!(matches!(Value::float(0.5), Value::Float(_)));
        assert!(matches!(Value::float(1e300), Value::Float(_)));
        assert!(matches!(Value::float(f64::NAN), Value::Float(_)));
    }
}
