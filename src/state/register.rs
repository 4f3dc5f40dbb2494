//! A register for any serde type: replaced as a whole, the last writer wins.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::document::value::Value;

use super::scalar::{Mismatch, Scalar};

/// A value of any serde type, kept as one register: concurrent writes compete, one of the values wins whole.
///
/// It is written as self-describing CBOR (RFC 8949), so `serde`'s untagged enums and `skip` attributes work.
///
/// ```
/// use exostate::{Register, State, Store};
///
/// #[derive(serde::Serialize, serde::Deserialize, Clone, PartialEq, Debug, Default)]
/// struct Colour(u8, u8, u8);
///
/// #[derive(State, Clone, Debug)]
/// struct Theme { accent: Register<Colour> }
///
/// let store = Store::<Theme>::new();
/// store.change(|theme| theme.accent().set(Colour(255, 0, 0)))?;
/// assert_eq!(*store.view().accent, Colour(255, 0, 0));
/// # Ok::<(), exostate::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Register<T>(pub T);

impl<T> From<T> for Register<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Register<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Register<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[diagnostic::do_not_recommend]
impl<T> Scalar for Register<T>
where
    T: Serialize + DeserializeOwned + Clone + PartialEq + Default + Send + Sync + 'static,
{
    fn to_value(&self) -> Result<Value, String> {
        let mut bytes = Vec::new();
        ciborium::into_writer(&self.0, &mut bytes).map_err(|error| error.to_string())?;
        Ok(Value::Bytes(Arc::from(bytes)))
    }

    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        const EXPECTED: Mismatch = Mismatch("CBOR of the register's type");
        let Value::Bytes(bytes) = value else { return Err(EXPECTED) };
        let mut rest = bytes.as_ref();
        let read = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH_MAX).map_err(|_| EXPECTED)?;
        if rest.is_empty() { Ok(Self(read)) } else { Err(EXPECTED) }
    }

    fn initial() -> Self {
        Self::default()
    }
}

/// How deep a register's value may nest.
const DEPTH_MAX: usize = 128;
