//! The index of the keys in a document: registers, bundles and void registers.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Bound;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::document::bundle::{self, KeyKind};
use crate::document::key::{self, AsKey, Key};
use crate::document::value::Value;

/// The keys in order, and the slots that have bundles.
#[derive(Default)]
pub(super) struct Index {
    keys: BTreeSet<Key>,
    /// The slots that have bundles or void registers, by their hash. If two slots have the same
    /// hash, they share an entry. Then a read may search for bundles in a slot that has none.
    slots: HashMap<u64, Slot, BuildHasherDefault<HashOfHash>>,
    /// The entries of slots with many keys that were read since a key of the slot changed, with the
    /// path of the slot.
    crowded: RefCell<HashMap<u64, (String, Arc<Entries>)>>,
}

/// The entries of a slot by relative path, each with the name of its bundle.
pub(super) type Entries = BTreeMap<String, (String, Value)>;

/// A slot with more bundles and void registers than this is *crowded*: its entries are kept, so
/// that a peer cannot make each read expensive. A slot has as many bundles as replicas have made
/// its record at the same time.
const CROWDED_FROM: u32 = 16;

/// The bundles and void registers of a slot.
pub(super) enum Slot {
    /// There is only this key.
    One(Arc<str>),
    /// There may be several keys.
    Several {
        /// The number of keys.
        count: u32,
    },
}

/// A hasher for keys that are hashes already: it returns the key.
#[derive(Default)]
struct HashOfHash(u64);

impl Hasher for HashOfHash {
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

impl Slot {
    /// Whether the slot has many keys. Then read it with [`Index::crowded`].
    pub(super) fn is_crowded(&self) -> bool {
        matches!(self, Self::Several { count } if *count > CROWDED_FROM)
    }
}

/// The bundles of a slot.
pub(super) enum Bundles<'i> {
    One(Option<Bundle<'i>>),
    Several(std::vec::IntoIter<Bundle<'i>>),
}

impl<'i> Iterator for Bundles<'i> {
    type Item = Bundle<'i>;

    fn next(&mut self) -> Option<Bundle<'i>> {
        match self {
            Self::One(one) => one.take(),
            Self::Several(several) => several.next(),
        }
    }
}

/// A bundle, and the relative paths of its entries that are void.
pub(super) struct Bundle<'i> {
    /// The key.
    pub(super) key: &'i str,
    /// The last segment of the key.
    pub(super) name: &'i str,
    /// The void entries, in order, without the entry for the slot itself.
    voids: Vec<&'i str>,
    is_slot_void: bool,
}

impl<'i> Bundle<'i> {
    fn new(key: &'i str, name: &'i str) -> Self {
        Self { key, name, voids: Vec::new(), is_slot_void: false }
    }

    /// The path of the slot.
    pub(super) fn slot(&self) -> &'i str {
        self.key.get(..self.key.len() - self.name.len() - 1).unwrap_or_default()
    }

    /// Whether the entry with this relative path is void.
    pub(super) fn is_void(&self, relative: &str) -> bool {
        match relative {
            "" => self.is_slot_void,
            _ => self.voids.binary_search_by(|void| key::compare(void, relative)).is_ok(),
        }
    }
}

impl Index {
    /// Builds the index from keys in order. It takes the keys by value, because copying and
    /// dropping many keys costs more than building the index.
    pub(super) fn of(keys: impl Iterator<Item = Key>) -> Self {
        let mut slots = HashMap::default();
        let keys = keys.inspect(|key| add_to(&mut slots, key)).collect();
        Self { keys, slots, crowded: RefCell::default() }
    }

    pub(super) fn insert(&mut self, key: Key) {
        if self.keys.insert(key.clone()) {
            add_to(&mut self.slots, &key);
        }
    }

    pub(super) fn remove(&mut self, path: &str) {
        if !self.keys.remove(key::lookup(&path)) {
            return;
        }
        if let Some(slot) = slot_of(path) {
            let hash = xxh3_64(slot.as_bytes());
            match self.slots.get_mut(&hash) {
                Some(Slot::Several { count }) if *count > 1 => *count -= 1,
                _ => drop(self.slots.remove(&hash)),
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

    /// The bundles and void registers of a slot. Another slot may have the same hash, so there may
    /// be none. O(length of the path).
    pub(super) fn slot(&self, slot: &str) -> Option<&Slot> {
        self.slots.get(&xxh3_64(slot.as_bytes()))
    }

    /// Must be called when the value of a key has changed.
    pub(super) fn note_changed(&mut self, path: &str) {
        let crowded = self.crowded.get_mut();
        if !crowded.is_empty()
            && let Some(slot) = slot_of(path)
        {
            crowded.remove(&xxh3_64(slot.as_bytes()));
        }
    }

    /// The entries of a crowded slot. They are read only if a key of the slot has changed.
    pub(super) fn crowded(&self, slot: &str, read: impl FnOnce() -> Entries) -> Arc<Entries> {
        let hash = xxh3_64(slot.as_bytes());
        if let Some((of, entries)) = self.crowded.borrow().get(&hash)
            && *of == *slot
        {
            return Arc::clone(entries);
        }
        let entries = Arc::new(read());
        self.crowded.borrow_mut().insert(hash, (slot.to_owned(), Arc::clone(&entries)));
        entries
    }

    /// The keys at and below a path, in order.
    pub(super) fn within<'i>(&'i self, path: &'i str) -> impl Iterator<Item = &'i Key> {
        self.from(path).take_while(move |found| key::is_within(found.as_str(), path))
    }

    /// The bundles of a slot, in the order of their names. `found` is what [`Index::slot`] gives.
    /// O(log n), plus the number of bundles and void registers of the slot.
    pub(super) fn bundles<'i>(&'i self, slot: &str, found: &'i Slot) -> Bundles<'i> {
        // The usual case, without a search.
        if let Slot::One(key) = found {
            let one = match bundle::kind_of(key) {
                KeyKind::Bundle { slot: of, name } if *of == *slot => Some((key, name)),
                _ => None,
            };
            return Bundles::One(one.map(|(key, name)| Bundle::new(key, name)));
        }
        let mut found: Vec<Bundle<'i>> = Vec::new();
        for path in self.reserved(slot) {
            match bundle::kind_of(path) {
                KeyKind::Bundle { slot: of, name } if *of == *slot => {
                    found.push(Bundle::new(path, name));
                }
                KeyKind::Void { slot: of, bundle, relative } if *of == *slot => {
                    if let Some(last) = found.last_mut().filter(|last| *last.key == *bundle) {
                        match relative {
                            "" => last.is_slot_void = true,
                            _ => last.voids.push(relative),
                        }
                    }
                }
                _ => {}
            }
        }
        Bundles::Several(found.into_iter())
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

fn add_to(slots: &mut HashMap<u64, Slot, BuildHasherDefault<HashOfHash>>, key: &Key) {
    let Some(slot) = slot_of(key.as_str()) else { return };
    match slots.entry(xxh3_64(slot.as_bytes())) {
        Entry::Vacant(vacant) => drop(vacant.insert(Slot::One(Arc::clone(&key.0)))),
        Entry::Occupied(mut occupied) => {
            let count = match occupied.get() {
                Slot::One(_) => 1,
                Slot::Several { count } => *count,
            };
            occupied.insert(Slot::Several { count: count.saturating_add(1) });
        }
    }
}

/// The slot of a bundle or of a void register.
fn slot_of(path: &str) -> Option<&str> {
    match bundle::kind_of(path) {
        KeyKind::Bundle { slot, .. } | KeyKind::Void { slot, .. } => Some(slot),
        KeyKind::Register => None,
    }
}
