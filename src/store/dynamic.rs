//! Stores of a state whose type is a schema.

use std::sync::Arc;

use super::Store;
use crate::document::backend::Backend;
use crate::document::doc::Document;
use crate::schema::{Schema, SchemaError};
use crate::state::{Dynamic, Types};

impl<B: Backend> Store<Dynamic, B> {
    /// A store on a document, whose state has the type that a schema describes: see [`Dynamic`]. It
    /// shows and writes what a store of the Rust type shows and writes, except for what a schema
    /// cannot say: values within a [`Register`](crate::Register), and scalars and keys of the
    /// application's own. To open saved bytes, open the [`Document`] first.
    /// O(document + schema).
    ///
    /// # Errors
    /// The schema contradicts itself, or a place of it has no end or is too large: a struct that
    /// contains itself without an option or a collection between, more than 128 structs within each
    /// other, or more than 10,000 values; more than 256 types within each other; more than a
    /// million types or values of defaults in all.
    pub fn dynamic(document: &Document<B>, schema: &Schema) -> Result<Self, SchemaError> {
        Ok(Self::on_as(document, Some(Types::new(schema)?)))
    }

    /// The schema of the state. `None` if the store was made without one.
    #[must_use]
    pub fn schema(&self) -> Option<&Arc<Schema>> {
        self.shared.types.as_deref().map(Types::schema)
    }
}
