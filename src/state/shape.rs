//! What a state type is like, as a hash: the names of its fields and what these are like.
//!
//! A document remembers the hash of the type that wrote into it first, see
//! [`crate::document::named`]. It is a part of the format: the same on every machine, and not of
//! how Rust names or orders types in memory.

use std::any::TypeId;
use std::collections::HashMap;

use crate::document::digest::Canonical;

use super::State;

/// A hash of what a state type is like, while the type is being described.
#[derive(Default)]
pub struct Shape {
    canonical: Canonical,
    /// The types that are being described, the innermost last: a type may contain itself.
    open: Vec<TypeId>,
    /// The hashes of those that are described already.
    done: HashMap<TypeId, u128>,
}

/// What comes next in the hash.
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
        // Half of the hash: 64 bits tell shapes apart that were not made to be alike.
        (shape.canonical.finish() >> 64) as u64
    }

    /// What sort of thing comes: of a collection what is in it follows.
    pub fn kind(&mut self, kind: &str) {
        self.canonical.bytes(KIND, kind.as_bytes());
    }

    /// A field: its name in the document, and what it is like.
    pub fn field(&mut self, name: &str, describe: impl FnOnce(&mut Self)) {
        self.canonical.bytes(FIELD, name.as_bytes());
        describe(self);
    }

    /// A variant of an enum: its name in the document, and its fields.
    pub fn variant(&mut self, name: &str, fields: impl FnOnce(&mut Self)) {
        self.canonical.bytes(VARIANT, name.as_bytes());
        fields(self);
        self.canonical.bytes(VARIANT_END, &[]);
    }

    /// A type with fields. What it is like is asked for once, however often it occurs, and not
    /// while it is being described.
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

    /// A type that is as another one.
    pub fn transparent<T: 'static>(&mut self, describe: impl FnOnce(&mut Self)) {
        let id = TypeId::of::<T>();
        if !self.is_open(id) {
            self.open.push(id);
            describe(self);
            self.open.pop();
        }
    }

    /// Whether a type is being described: then that is noted.
    fn is_open(&mut self, id: TypeId) -> bool {
        let found = self.open.iter().rev().position(|open| *open == id);
        if let Some(outwards) = found {
            self.canonical.bytes(ITSELF, &(outwards as u64).to_le_bytes());
        }
        found.is_some()
    }
}
