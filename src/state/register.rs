//! A register for any serde type. The value is replaced as a whole, and the last writer wins.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use ciborium::Value as Cbor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::document::value::Value;

use super::scalar::{Mismatch, Scalar};
use super::schema;

/// A value of any serde type, kept as one register. Concurrent writes conflict, and one of the
/// values wins as a whole.
///
/// The value is written as self-describing CBOR (RFC 8949), so `serde`'s untagged enums and `skip`
/// attributes work. The bytes are deterministic (section 4.2: maps are sorted by their keys), so
/// equal values have equal bytes. A `HashSet` is an exception, because serde writes it as a list in
/// any order. Setting a `HashSet` that is equal still writes nothing.
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
        let value = canonical(&self.0, Lists::InOrder)?;
        Ok(Value::Bytes(Arc::from(encode(&value)?)))
    }

    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        const EXPECTED: Mismatch = Mismatch("CBOR of the register's type");
        let Value::Bytes(bytes) = value else { return Err(EXPECTED) };
        decode(bytes).map(Self).ok_or(EXPECTED)
    }

    fn initial() -> Self {
        Self::default()
    }
    fn describe() -> schema::Type {
        schema::Type::Register(schema::initial_register::<Self>())
    }

    fn same(&self, other: &Self) -> bool {
        let alike = |lists| {
            canonical(&self.0, lists).is_ok_and(|value| {
                canonical(&other.0, lists).is_ok_and(|other| equal(&value, &other))
            })
        };
        alike(Lists::InOrder) || self == other && alike(Lists::Sorted)
    }
}

/// The treatment of lists. serde writes a set as a list in any order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lists {
    InOrder,
    /// To compare values that are equal in Rust.
    Sorted,
}

/// A value with its maps in the order of their keys' bytes.
fn canonical<T: Serialize>(value: &T, lists: Lists) -> Result<Cbor, String> {
    let mut value = Cbor::serialized(value).map_err(|error| error.to_string())?;
    sort(&mut value, lists)?;
    Ok(value)
}

/// The bytes of a value in the deterministic encoding.
pub(crate) fn encode_canonical(mut value: Cbor) -> Result<Vec<u8>, String> {
    sort(&mut value, Lists::InOrder)?;
    encode(&value)
}

fn sort(value: &mut Cbor, lists: Lists) -> Result<(), String> {
    match value {
        Cbor::Map(entries) => {
            let mut keyed = Vec::with_capacity(entries.len());
            for (mut key, mut value) in std::mem::take(entries) {
                sort(&mut key, lists)?;
                sort(&mut value, lists)?;
                keyed.push((encode(&key)?, key, value));
            }
            keyed.sort_by(|(a, ..), (b, ..)| a.cmp(b));
            *entries = keyed.into_iter().map(|(_, key, value)| (key, value)).collect();
        }
        Cbor::Array(items) => {
            items.iter_mut().try_for_each(|item| sort(item, lists))?;
            if lists == Lists::Sorted {
                let keyed: Result<Vec<_>, String> = std::mem::take(items)
                    .into_iter()
                    .map(|item| Ok((encode(&item)?, item)))
                    .collect();
                let mut keyed = keyed?;
                keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
                *items = keyed.into_iter().map(|(_, item)| item).collect();
            }
        }
        Cbor::Tag(_, within) => sort(within, lists)?,
        _ => {}
    }
    Ok(())
}

fn encode(value: &Cbor) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// A value in a register's bytes. `None` if they hold another type, or more than one value.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let mut rest = bytes;
    let read = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH_MAX).ok()?;
    rest.is_empty().then_some(read)
}

/// What a register's bytes hold, whatever the type.
pub(crate) fn decode_cbor(bytes: &[u8]) -> Option<Cbor> {
    decode(bytes)
}

/// Whether both values have the same bytes.
fn equal(left: &Cbor, right: &Cbor) -> bool {
    encode(left).is_ok_and(|left| encode(right).is_ok_and(|right| left == right))
}

/// How deep a register's value may nest.
const DEPTH_MAX: usize = 128;
