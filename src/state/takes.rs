//! The argument types of a place: a place accepts other types than its own if the conversion cannot
//! fail.

use std::borrow::Cow;
use std::sync::Arc;

use super::Register;

/// The values that a place of type `Self` accepts: the argument of `set`, `push`, `insert` and
/// `get` in a change.
///
/// - Every type accepts itself.
/// - An `Option<T>` and a [`Register<T>`](Register) also accept a `T`.
/// - A `String` also accepts a `&str`.
/// - A float also accepts the integers that it holds exactly.
/// - An integer accepts only its own type. So a number literal in the code has that type, and a
///   literal that is too large does not compile. Convert another integer with `.into()`.
///
/// ```
/// use exostate::{List, Map, State, Store};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Team {
///     name: String,
///     size: u64,
///     room: Option<u16>,
///     scores: List<u32>,
///     floors: Map<i8, String>,
/// }
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
/// A key or scalar of your own accepts itself. Implement this trait for each further type that it
/// shall accept:
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

/// The infallible conversions of the standard library, except those between integers: if a place
/// accepted several integer types, the compiler could not choose a type for an integer literal.
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
    // An `f64` accepts several integer types, so an integer literal falls back to `i32`. An `f32`
    // accepts only one integer type, so that a literal gets it: `i16`, the largest one that it
    // holds exactly.
    f64: f32, i8, i16, i32, u8, u16, u32, bool;
    f32: i16;
}

#[cfg(feature = "jiff")]
impl Takes<jiff::Timestamp> for std::time::SystemTime {
    fn take(value: jiff::Timestamp) -> Self {
        value.into()
    }
}
