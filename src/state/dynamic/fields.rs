//! The fields of a struct or of an enum's variant. They are read, refreshed and written as the code
//! that the derive writes does it.

use std::any::Any;
use std::sync::Arc;

use crate::state::{At, Reader, Refresh, State, Writer};

use super::Dynamic;
use super::types::{FieldType, StructType, TypeRef};

/// The values of the fields, in the order of the schema.
#[derive(Clone)]
pub(super) struct Fields {
    of: Arc<StructType>,
    values: Arc<[Dynamic]>,
}

/// Equal if the names and the values are.
impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        (Arc::ptr_eq(&self.values, &other.values) || self.values == other.values)
            && self.names().eq(other.names())
    }
}

impl Fields {
    /// The fields of a place that was never written.
    pub(super) fn initial(of: &Arc<StructType>) -> Self {
        let values = of.fields.iter().map(|field| field.initial.clone()).collect();
        Self { of: Arc::clone(of), values }
    }

    /// The initial fields that all places of a struct share.
    fn initial_of(of: &Arc<StructType>, ty: TypeRef<'_>) -> Self {
        match ty.initial() {
            Dynamic::Struct(value) => value.into_fields(),
            _ => Self::initial(of),
        }
    }

    /// The fields with these values, in the order of the schema.
    #[cfg(feature = "serde")]
    pub(super) fn new(of: &Arc<StructType>, values: Vec<Dynamic>) -> Self {
        Self { of: Arc::clone(of), values: values.into() }
    }

    pub(super) fn of(&self) -> &Arc<StructType> {
        &self.of
    }

    /// The names in the document, in the order of the schema.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.of.fields.iter().map(|field| field.name.as_str())
    }

    /// The names in the document and the values, in the order of the schema.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Dynamic)> {
        self.of
            .fields
            .iter()
            .zip(self.values.iter())
            .map(|(field, value)| (field.name.as_str(), value))
    }

    /// The names in Rust and the values, in the order of the schema.
    pub(super) fn iter_rust(&self) -> impl ExactSizeIterator<Item = (&str, &Dynamic)> {
        self.of
            .fields
            .iter()
            .zip(self.values.iter())
            .map(|(field, value)| (field.rust.as_str(), value))
    }

    /// A field's value by its name in the document.
    pub(super) fn get(&self, name: &str) -> Option<&Dynamic> {
        self.values.get(self.of.position(name)?)
    }

    /// Whether the fields are those of a type, by their names.
    pub(super) fn fits(&self, of: &Arc<StructType>) -> bool {
        let is_same = || {
            self.of.fields.len() == of.fields.len()
                && self.names().all(|name| of.position(name).is_some())
        };
        Arc::ptr_eq(&self.of, of) || is_same()
    }

    /// Reads all fields. `ty` is the type of the struct or variant.
    pub(super) fn read(of: &Arc<StructType>, ty: TypeRef<'_>, reader: &mut Reader<'_, '_>) -> Self {
        // What has no registers and no sequences shares its initial fields.
        let own = usize::from(reader.own().is_some());
        if reader.entries().len() <= own && !of.has_sequences {
            return Self::initial_of(of, ty);
        }
        let read = |field: &FieldType| {
            let value = reader.field(&field.name, ty.field(field).is_scalar(), Dynamic::read);
            value.unwrap_or_else(|| field.initial.clone())
        };
        Self { of: Arc::clone(of), values: of.fields.iter().map(read).collect() }
    }

    /// Refreshes the field that the path names next.
    pub(super) fn refresh(&mut self, at: At<'_>, cx: &mut Refresh<'_>) {
        let Some((segment, at)) = at.next() else { return };
        let Some(place) = self.of.position(segment) else { return };
        let Some(value) = Arc::make_mut(&mut self.values).get_mut(place) else { return };
        if !at.is_end() {
            return value.refresh(at, cx);
        }
        if !value.follow(at, cx) {
            let read = cx.field(at, Dynamic::scalar(at.ty()), Dynamic::read);
            let initial = || self.of.fields.get(place).map(|field| field.initial.clone());
            *value = read.or_else(initial).unwrap_or_default();
        }
    }

    pub(super) fn locate(&self, at: At<'_>) -> Option<&dyn Any> {
        let (segment, at) = at.next()?;
        self.get(segment)?.locate(at)
    }

    /// Writes the fields that differ from their initial values.
    pub(super) fn write(&self, writer: &mut Writer<'_, '_>) {
        // The value may come from a store whose schema has other defaults.
        let here = writer.ty().and_then(TypeRef::struct_type);
        for (field, value) in self.of.fields.iter().zip(self.values.iter()) {
            let of = here.and_then(|of| of.fields.get(of.position(&field.name)?)).unwrap_or(field);
            // Two values of different defaults must not have one hash.
            let unless = Some(&of.initial).filter(|_| !writer.core.is_hash);
            writer.at(&field.name, |writer| value.write(unless, writer));
        }
    }

    /// Reconciles the fields of `new`.
    pub(super) fn reconcile(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        for (name, value) in new.iter() {
            writer.at(name, |writer| match self.get(name) {
                Some(old) => old.reconcile(value, writer),
                None => value.write(None, writer),
            });
        }
    }
}
