//! An enum of a type that is known at run time.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::document::value::Value;
use crate::state::{At, Reader, Refresh, Writer};

use super::Dynamic;
use super::fields::Fields;
use super::types::{EnumType, TypeRef, VariantType};

/// An enum in a [`Dynamic`].
#[derive(Clone)]
pub struct EnumValue {
    of: Arc<EnumType>,
    /// The place of the variant in the type.
    variant: usize,
    fields: Fields,
}

/// Equal if the variants' names and fields are.
impl PartialEq for EnumValue {
    fn eq(&self, other: &Self) -> bool {
        self.variant() == other.variant() && self.fields == other.fields
    }
}

impl EnumValue {
    /// The name of the type in the schema.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.of.name
    }

    /// The name of the variant in the document.
    #[must_use]
    pub fn variant(&self) -> &str {
        self.variant_type().map_or("", |variant| variant.name.as_str())
    }

    /// A field of the variant, by its name in the document. O(log fields).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Dynamic> {
        self.fields.get(name)
    }

    /// The fields of the variant with their names in the document, in the order of the schema.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Dynamic)> {
        self.fields.iter()
    }

    fn variant_type(&self) -> Option<&VariantType> {
        self.of.variants.get(self.variant)
    }

    /// The name of the variant in Rust, and in JSON.
    pub(super) fn rust_name(&self) -> &str {
        self.variant_type().map_or("", |variant| variant.rust.as_str())
    }

    #[cfg(feature = "serde")]
    pub(super) fn fields(&self) -> &Fields {
        &self.fields
    }

    #[cfg(feature = "serde")]
    pub(super) fn new(of: &Arc<EnumType>, variant: usize, fields: Fields) -> Self {
        Self { of: Arc::clone(of), variant, fields }
    }

    /// A variant with fields that were never written.
    pub(super) fn initial(of: &Arc<EnumType>, variant: usize) -> Self {
        // A schema's enum has its default variant.
        let fields = of.variants.get(variant).map(|variant| Fields::initial(&variant.fields));
        let fields = fields.unwrap_or_else(|| Fields::initial(&Arc::default()));
        Self { of: Arc::clone(of), variant, fields }
    }

    pub(super) fn fits(&self, of: &Arc<EnumType>) -> bool {
        let other = of.position(self.variant()).and_then(|at| of.variants.get(at));
        Arc::ptr_eq(&self.of, of) || other.is_some_and(|other| self.fields.fits(&other.fields))
    }

    /// Reads the variant that the register names, with its fields.
    pub(super) fn read(
        of: &Arc<EnumType>,
        ty: TypeRef<'_>,
        reader: &mut Reader<'_, '_>,
    ) -> Option<Self> {
        let tag = reader.own()?;
        let named = match tag {
            Value::Str(name) => of.position(name),
            _ => None,
        };
        let Some((place, variant)) = named.and_then(|at| Some((at, of.variants.get(at)?))) else {
            reader.violation(&of.expected, tag);
            return None;
        };
        let fields = match variant.fields.fields.is_empty() {
            true => Fields::initial(&variant.fields),
            false => reader.within(&variant.name, |reader| {
                Fields::read(&variant.fields, ty.variant(variant), reader)
            }),
        };
        Some(Self { of: Arc::clone(of), variant: place, fields })
    }

    /// Refreshes the fields of the variant that the register names. If the register names no known
    /// variant, the view may show another variant.
    pub(super) fn refresh(&mut self, at: At<'_>, cx: &mut Refresh<'_>) {
        let Some((variant, below)) = at.next() else { return };
        let is_named = match cx.register(at.here()) {
            Some(Value::Str(tag)) => *tag == *variant,
            _ => false,
        };
        if is_named && variant == self.variant() {
            self.fields.refresh(below, cx);
        }
    }

    pub(super) fn locate(&self, at: At<'_>) -> Option<&dyn Any> {
        let (variant, below) = at.next()?;
        if variant == self.variant() { self.fields.locate(below) } else { None }
    }

    /// A variant without fields is not written if it reads the same when the register is missing.
    pub(super) fn write(&self, unless: Option<&Self>, writer: &mut Writer<'_, '_>) {
        let has_fields = self.fields.iter().len() > 0;
        if !has_fields && unless.is_some_and(|unless| unless.variant() == self.variant()) {
            return;
        }
        writer.put(Value::str(self.variant()));
        if has_fields {
            writer.at(self.variant(), |writer| self.fields.write(writer));
        }
    }

    /// If the variant stays the same, it is reconciled field by field. If it changes, or if the
    /// register names an unknown variant that must be mended, the old fields are removed first.
    pub(super) fn reconcile(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        if self.variant() == new.variant() && !writer.is_misfit() {
            if self.fields.iter().len() > 0 {
                writer.variant(self.variant(), |writer| self.fields.reconcile(&new.fields, writer));
            }
            return;
        }
        writer.clear_below();
        new.write(None, writer);
    }
}

impl fmt::Debug for EnumValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct(self.rust_name());
        for (name, value) in self.fields.iter_rust() {
            shown.field(name, value);
        }
        shown.finish()
    }
}
