//! Stores of a state whose type is a schema.

use std::sync::Arc;

use super::Store;
use crate::document::backend::Backend;
use crate::document::doc::Document;
use crate::schema::{Schema, SchemaError};
use crate::state::{Dynamic, Types};

impl<B: Backend> Store<Dynamic, B> {
    /// A store on a document, whose state has the type that a schema describes: see [`Dynamic`]. It
    /// shows and writes what a store of the Rust type shows and writes. O(document + schema).
    ///
    /// # Errors
    /// The schema contradicts itself, or describes more than a place may show: structs that contain
    /// themselves without an option or a collection between, more than 128 structs within each
    /// other, more than 100,000 values within each other.
    pub fn dynamic(document: &Document<B>, schema: &Schema) -> Result<Self, SchemaError> {
        Ok(Self::on_as(document, Some(Types::new(schema)?)))
    }

    /// The schema of the state. `None` if the store was made without one.
    #[must_use]
    pub fn schema(&self) -> Option<&Arc<Schema>> {
        self.shared.types.as_deref().map(Types::schema)
    }
}
