//! What is given to a place of a type: more than the type itself, where nothing can go wrong.

use std::borrow::Cow;
use std::sync::Arc;

use super::Register;

/// What a place that holds a `Self` takes: the argument of `set`, `push`, `insert` and `get` in a
/// change.
///
/// Every type takes itself, an `Option<T>` and a [`Register<T>`](Register) also a `T`, a `String`
/// also a `&str`, a float also the integers that it holds exactly. An integer takes its own type
/// only, so that a number in the code is of that type, and one that is too large does not compile;
/// give another integer with `.into()`.
///
/// ```
/// use exostate::{List, Map, State, Store};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Team { name: String, size: u64, room: Option<u16>, scores: List<u32>, floors: Map<i8, String> }
///
/// let store = Store::<Team>::new();
/// let small: u32 = 7;
/// store.change(|team| {
///     team.name().set("ada")?;
///     team.size().set(5_000_000_000)?;
///     team.size().set(small.into())?;
///     team.room().set(12)?;
///     team.scores().push(1)?;
///     team.floors().insert(-1, "cellar".to_owned())
/// })?;
/// # Ok::<(), exostate::Error>(())
/// ```
///
/// A key or scalar of your own takes itself. Implement this for what else it shall take:
///
/// ```
/// use exostate::Takes;
///
/// struct UserName(String);
///
/// impl Takes<&str> for UserName {
///     fn take(value: &str) -> Self {
///         Self(value.to_owned())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a place of `{Self}` does not take a `{V}`",
    label = "expected `{Self}`",
    note = "convert it first, for instance with `.into()`"
)]
pub trait Takes<V>: Sized {
    /// The value to write.
    fn take(value: V) -> Self;
}

impl<T> Takes<T> for T {
    fn take(value: T) -> Self {
        value
    }
}

impl<T> Takes<T> for Option<T> {
    fn take(value: T) -> Self {
        Some(value)
    }
}

impl<T> Takes<T> for Register<T> {
    fn take(value: T) -> Self {
        Self(value)
    }
}

impl<const N: usize> Takes<[u8; N]> for Vec<u8> {
    fn take(value: [u8; N]) -> Self {
        value.into()
    }
}

impl<const N: usize> Takes<&[u8; N]> for Vec<u8> {
    fn take(value: &[u8; N]) -> Self {
        value.into()
    }
}

impl<const N: usize> Takes<[u8; N]> for Arc<[u8]> {
    fn take(value: [u8; N]) -> Self {
        value.into()
    }
}

/// The conversions of the standard library. All of them but those between integers, for the
/// literals' sake: of several types that a literal could have none is chosen.
macro_rules! takes {
    ($($type:ty: $($given:ty),*;)*) => {$($(
        impl Takes<$given> for $type {
            fn take(value: $given) -> Self {
                value.into()
            }
        }
    )*)*};
}

takes! {
    String: &str, &mut str, &String, char, Box<str>, Cow<'_, str>;
    Arc<str>: &str, &mut str, String, Box<str>, Cow<'_, str>;
    char: u8;
    Vec<u8>: &[u8], &mut [u8], Box<[u8]>, Cow<'_, [u8]>, &str, String;
    Arc<[u8]>: &[u8], &mut [u8], Vec<u8>, Box<[u8]>, Cow<'_, [u8]>, Arc<str>;
    // A literal that is no `f64` is an `i32`; for a `f32` one type of integer has to do, and `i16` is the largest that it holds.
    f64: f32, i8, i16, i32, u8, u16, u32, bool;
    f32: i16;
}

#[cfg(feature = "jiff")]
impl Takes<jiff::Timestamp> for std::time::SystemTime {
    fn take(value: jiff::Timestamp) -> Self {
        value.into()
    }
}
