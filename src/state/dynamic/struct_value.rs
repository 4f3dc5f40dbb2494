//! A struct of a type that is known at run time.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::state::{At, Reader, Refresh, Writer};

use super::Dynamic;
use super::fields::Fields;
use super::types::{StructType, TypeRef};

/// A struct in a [`Dynamic`].
#[derive(Clone, PartialEq)]
pub struct StructValue(Fields);

impl StructValue {
    /// The name of the type in the schema.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.of().name
    }

    /// A field's value, by its name in the document. O(log fields).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Dynamic> {
        self.0.get(name)
    }

    /// The fields with their names in the document, in the order of the schema.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Dynamic)> {
        self.0.iter()
    }

    pub(super) fn initial(of: &Arc<StructType>) -> Self {
        Self(Fields::initial(of))
    }

    #[cfg(feature = "serde")]
    pub(super) fn new(fields: Fields) -> Self {
        Self(fields)
    }

    pub(super) fn into_fields(self) -> Fields {
        self.0
    }

    #[cfg(feature = "serde")]
    pub(super) fn fields(&self) -> &Fields {
        &self.0
    }

    pub(super) fn fits(&self, of: &Arc<StructType>) -> bool {
        self.0.fits(of)
    }

    pub(super) fn read(of: &Arc<StructType>, ty: TypeRef<'_>, reader: &mut Reader<'_, '_>) -> Self {
        Self(Fields::read(of, ty, reader))
    }

    pub(super) fn refresh(&mut self, at: At<'_>, cx: &mut Refresh<'_>) {
        self.0.refresh(at, cx);
    }

    pub(super) fn locate(&self, at: At<'_>) -> Option<&dyn Any> {
        self.0.locate(at)
    }

    pub(super) fn write(&self, writer: &mut Writer<'_, '_>) {
        self.0.write(writer);
    }

    pub(super) fn reconcile(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        self.0.reconcile(&new.0, writer);
    }
}

impl fmt::Debug for StructValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct(self.name());
        for (name, value) in self.0.iter_rust() {
            shown.field(name, value);
        }
        shown.finish()
    }
}
