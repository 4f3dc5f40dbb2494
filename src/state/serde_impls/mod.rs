//! How view types look to serde: a view is an answer of a web service, and a state is made from
//! JSON.
//!
//! Each type has one form in every format, but for [`Text`](super::Text), [`Value`](crate::Value)
//! and [`Tree`](super::Tree): their readable forms need a format that says what comes next, which
//! postcard and its like do not. What is read is not trusted: a reader takes no length at its word,
//! and nesting is bounded.

mod collections;
mod groups;
mod identified;
mod scalars;
mod text;
mod tree;
pub mod with_ids;

use serde::Serializer;
use serde::ser::SerializeSeq;

/// A sequence of a known length: formats that write the length first need it.
fn sequence<S: Serializer, T: serde::Serialize>(
    serializer: S,
    len: usize,
    items: impl Iterator<Item = T>,
) -> Result<S::Ok, S::Error> {
    let mut sequence = serializer.serialize_seq(Some(len))?;
    for item in items {
        sequence.serialize_element(&item)?;
    }
    sequence.end()
}
