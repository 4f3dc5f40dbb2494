//! The serde forms of view types. A view can be the answer of a web service, and a state can be
//! made from JSON.
//!
//! Each type has one form in every format, except [`Text`](super::Text), [`Value`](crate::Value)
//! and [`Tree`](super::Tree): their readable forms need a self-describing format, and formats like
//! postcard are not self-describing. The input is not trusted: a reader does not trust a length in
//! it, and nesting is bounded.

mod collections;
mod groups;
mod identified;
mod scalars;
mod text;
mod tree;
pub mod with_ids;

use serde::Serializer;
use serde::ser::SerializeSeq;

/// Writes a sequence with its length, because formats that write the length first need it.
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
