//! The structure of a state type as a hash: the names of its fields and their structure.
//!
//! A document remembers the hash of the type that first wrote into it, see
//! [`crate::document::named`]. The hash is a part of the format: it is the same on every machine,
//! and it does not depend on how Rust names types or orders their fields in memory.

use std::any::TypeId;
use std::collections::HashMap;

use crate::document::digest::Canonical;

use super::State;

/// The hash of a state type's structure, while the type is being described.
#[derive(Default)]
pub struct Shape {
    canonical: Canonical,
    /// The types that are being described, the innermost last. A type may contain itself.
    open: Vec<TypeId>,
    /// The hashes of the types that are already described.
    done: HashMap<TypeId, u128>,
}

/// The tag of the next part of the hash.
const KIND: u8 = 0;
const FIELD: u8 = 1;
const VARIANT: u8 = 2;
const VARIANT_END: u8 = 3;
const KNOWN: u8 = 4;
const ITSELF: u8 = 5;

impl Shape {
    /// The hash of a whole type.
    pub(crate) fn of<T: State>() -> u64 {
        let mut shape = Self::default();
        T::shape(&mut shape);
        // Half of the hash is enough: 64 bits distinguish all shapes that were not built to
        // collide.
        (shape.canonical.finish() >> 64) as u64
    }

    /// Describes the kind of the type. The description of a collection's elements follows its kind.
    pub fn kind(&mut self, kind: &str) {
        self.canonical.bytes(KIND, kind.as_bytes());
    }

    /// Describes a field: its name in the document, and its type.
    pub fn field(&mut self, name: &str, describe: impl FnOnce(&mut Self)) {
        self.canonical.bytes(FIELD, name.as_bytes());
        describe(self);
    }

    /// Describes a variant of an enum: its name in the document, and its fields.
    pub fn variant(&mut self, name: &str, fields: impl FnOnce(&mut Self)) {
        self.canonical.bytes(VARIANT, name.as_bytes());
        fields(self);
        self.canonical.bytes(VARIANT_END, &[]);
    }

    /// Describes a type with fields. `describe` runs once per type, however often the type occurs,
    /// and not again within the description of the same type.
    pub fn record<T: 'static>(&mut self, describe: impl FnOnce(&mut Self)) {
        let id = TypeId::of::<T>();
        if self.is_open(id) {
            return;
        }
        let known = self.done.get(&id).copied();
        let hash = known.unwrap_or_else(|| {
            let around = std::mem::take(&mut self.canonical);
            self.open.push(id);
            describe(self);
            self.open.pop();
            let hash = std::mem::replace(&mut self.canonical, around).finish();
            self.done.insert(id, hash);
            hash
        });
        self.canonical.bytes(KNOWN, &hash.to_le_bytes());
    }

    /// Describes a type that has the same structure as another type.
    pub fn transparent<T: 'static>(&mut self, describe: impl FnOnce(&mut Self)) {
        let id = TypeId::of::<T>();
        if !self.is_open(id) {
            self.open.push(id);
            describe(self);
            self.open.pop();
        }
    }

    /// Whether the type is being described. If it is, the hash notes the recursion.
    fn is_open(&mut self, id: TypeId) -> bool {
        let found = self.open.iter().rev().position(|open| *open == id);
        if let Some(outwards) = found {
            self.canonical.bytes(ITSELF, &(outwards as u64).to_le_bytes());
        }
        found.is_some()
    }
}
