//! The index of the keys in a document: registers, bundles and void registers.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Bound;

use xxhash_rust::xxh3::xxh3_64;

use crate::document::bundle::{self, Stored};
use crate::document::key::{self, AsKey, Key};

/// The keys in order, and the slots that have bundles.
#[derive(Default)]
pub(super) struct Index {
    keys: BTreeSet<Key>,
    /// For the hash of each slot that has bundles or void registers, the number of these. Two slots
    /// with one hash share a number, which only costs time.
    slots: HashMap<u64, u32, BuildHasherDefault<AsIs>>,
}

/// Hashes a hash as itself.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// A bundle, and the relative paths of its entries that are void.
pub(super) struct Bundle<'i> {
    /// The key.
    pub(super) key: &'i str,
    /// The last segment of the key.
    pub(super) name: &'i str,
    voids: Vec<&'i str>,
}

impl<'i> Bundle<'i> {
    /// The path of the slot.
    pub(super) fn slot(&self) -> &'i str {
        self.key.get(..self.key.len() - self.name.len() - 1).unwrap_or_default()
    }

    /// Whether the entry with this relative path is void.
    pub(super) fn is_void(&self, below: &str) -> bool {
        self.voids.contains(&below)
    }
}

impl Index {
    /// An index of these keys, which are in order. It takes the keys, because copying and dropping
    /// many keys costs more than building the index.
    pub(super) fn of(keys: impl Iterator<Item = Key>) -> Self {
        let mut slots: HashMap<u64, u32, _> = HashMap::default();
        let keys = keys.inspect(|key| {
            if let Some(slot) = slot_of(key.as_str()) {
                *slots.entry(xxh3_64(slot.as_bytes())).or_default() += 1;
            }
        });
        let keys = keys.collect();
        Self { keys, slots }
    }

    pub(super) fn insert(&mut self, key: Key) {
        if let Some(slot) = slot_of(key.as_str()) {
            *self.slots.entry(xxh3_64(slot.as_bytes())).or_default() += 1;
        }
        self.keys.insert(key);
    }

    pub(super) fn remove(&mut self, path: &str) {
        if !self.keys.remove(key::lookup(&path)) {
            return;
        }
        if let Some(slot) = slot_of(path) {
            let hash = xxh3_64(slot.as_bytes());
            if let Some(count) = self.slots.get_mut(&hash) {
                *count -= 1;
                if *count == 0 {
                    self.slots.remove(&hash);
                }
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether the document has any bundle or void register.
    pub(super) fn has_bundles(&self) -> bool {
        !self.slots.is_empty()
    }

    /// Whether a slot may have a bundle or a void register. O(length of the path).
    pub(super) fn may_have_bundles(&self, slot: &str) -> bool {
        self.slots.contains_key(&xxh3_64(slot.as_bytes()))
    }

    /// The keys at and below a path, in order.
    pub(super) fn within<'i>(&'i self, path: &'i str) -> impl Iterator<Item = &'i Key> {
        self.from(path).take_while(move |found| key::is_within(found.as_str(), path))
    }

    /// The bundles of a slot, in the order of their names. O(log n), plus the number of bundles and
    /// void registers of the slot.
    pub(super) fn bundles<'i>(&'i self, slot: &str) -> Vec<Bundle<'i>> {
        let mut found: Vec<Bundle<'i>> = Vec::new();
        for path in self.reserved(slot) {
            match bundle::stored(path) {
                Stored::Bundle { slot: of, name } if *of == *slot => {
                    found.push(Bundle { key: path, name, voids: Vec::new() });
                }
                Stored::Void { slot: of, bundle, below } if *of == *slot => {
                    if let Some(last) = found.last_mut().filter(|last| *last.key == *bundle) {
                        last.voids.push(below);
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// The void registers of a slot whose bundle is not in the document.
    pub(super) fn stray_voids<'i>(&'i self, slot: &str) -> Vec<&'i str> {
        let of_slot = self.reserved(slot).filter(|path| match bundle::stored(path) {
            Stored::Void { slot: of, bundle, .. } => {
                *of == *slot && !self.keys.contains(key::lookup(&bundle))
            }
            _ => false,
        });
        of_slot.collect()
    }

    /// The keys whose first segment below a slot begins with `@`.
    fn reserved<'i>(&'i self, slot: &str) -> impl Iterator<Item = &'i str> {
        let prefix = format!("{slot}/@");
        let from = self.from(&prefix);
        from.map(Key::as_str).take_while(move |found| found.starts_with(&*prefix))
    }

    /// The keys from a path on, in order.
    fn from<'i>(&'i self, path: &str) -> std::collections::btree_set::Range<'i, Key> {
        let from = Bound::Included(key::lookup(&path));
        self.keys.range::<dyn AsKey, _>((from, Bound::Unbounded))
    }
}

/// The slot of a bundle or of a void register.
fn slot_of(path: &str) -> Option<&str> {
    match bundle::stored(path) {
        Stored::Bundle { slot, .. } | Stored::Void { slot, .. } => Some(slot),
        Stored::Register => None,
    }
}
