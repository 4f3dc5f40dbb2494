//! Reading registers from a document that has bundles: the layers above see a register for each
//! entry of a bundle. See [`bundle`].

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::index::{Bundle, Bundles, Entries, Index};
use crate::document::bundle::{self, KeyKind, Scalar};
use crate::document::key::{self, Key};
use crate::document::ops::RegisterTouch;
use crate::document::value::Value;

/// Up to this many touched keys are searched one by one, which costs less than a table of them.
const FEW: usize = 8;

/// Gives what the document stores under a key.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<Value>;

/// The value of a register: a separate register, or the entry of a bundle. `None` also if the path
/// is the key of a bundle or void register.
pub(super) fn register(index: &Index, stored: Lookup<'_>, path: &str) -> Option<Value> {
    if bundle::kind_of(path) != KeyKind::Register {
        return None;
    }
    stored(path).or_else(|| Some(bundled(index, stored, path)?.1))
}

/// The slots that may have a bundle with an entry for this path: the path itself and those above
/// it, but not the whole state.
fn slots_at_and_above(path: &str) -> impl Iterator<Item = &str> {
    let slots = std::iter::successors(Some(path).filter(|path| !path.is_empty()), |slot| {
        slot.rsplit_once('/').map(|(above, _)| above)
    });
    slots.filter(|slot| slot.len() <= bundle::SLOT_BYTES_MAX)
}

/// Calls `each` for every bundle with an entry for this path, with the entry. Void entries are left
/// out. O(log n + the bytes of the bundles) for each slot above the path that has bundles.
pub(super) fn each_entry<'i>(
    index: &'i Index,
    stored: Lookup<'_>,
    path: &str,
    mut each: impl FnMut(&Bundle<'i>, Scalar<'_>),
) {
    if index.has_bundles() {
        for slot in slots_at_and_above(path) {
            if let Some(found) = index.slot(slot) {
                let bundles = index.bundles(slot, found);
                each_entry_in(bundles, stored, slot, key::below(path, slot), &mut each);
            }
        }
    }
}

fn each_entry_in<'i>(
    bundles: Bundles<'i>,
    stored: Lookup<'_>,
    slot: &str,
    relative: &str,
    each: &mut impl FnMut(&Bundle<'i>, Scalar<'_>),
) {
    for found in bundles {
        if found.is_void(relative) {
            continue;
        }
        let Some(value) = stored(found.key) else { continue };
        if let Some(scalar) = bundle::entry(slot, &value, relative) {
            each(&found, scalar);
        }
    }
}

/// The value of a path in the bundles, and the name of the bundle that it comes from. The caller
/// has checked that no separate register has it.
fn bundled<'i>(index: &'i Index, stored: Lookup<'_>, path: &str) -> Option<(Cow<'i, str>, Value)> {
    if !index.has_bundles() {
        return None;
    }
    let mut last: Option<(Cow<'i, str>, Value)> = None;
    let is_last = |last: &Option<(Cow<'i, str>, Value)>, name: &str| {
        last.as_ref().is_none_or(|(last, _)| **last < *name)
    };
    // The longest slot comes first, so it counts if two names are equal.
    for slot in slots_at_and_above(path) {
        let Some(found) = index.slot(slot) else { continue };
        let relative = key::below(path, slot);
        if found.is_crowded() {
            let read = || entries_in(index.bundles(slot, found), stored, slot);
            let entries = index.crowded(slot, read);
            if let Some((name, value)) = entries.get(relative).filter(|one| is_last(&last, &one.0))
            {
                last = Some((Cow::Owned(name.clone()), value.clone()));
            }
        } else {
            let bundles = index.bundles(slot, found);
            each_entry_in(bundles, stored, slot, relative, &mut |found, scalar| {
                if is_last(&last, found.name) {
                    last = Some((Cow::Borrowed(found.name), scalar.into()));
                }
            });
        }
    }
    last
}

/// The entries of a slot that count among the bundles of this slot.
fn entries_in(bundles: Bundles<'_>, stored: Lookup<'_>, slot: &str) -> Entries {
    let mut entries = Entries::new();
    for found in bundles {
        let Some(value) = stored(found.key) else { continue };
        for (relative, scalar) in bundle::entries(slot, &value) {
            if !found.is_void(relative) {
                entries.insert(relative.to_owned(), (found.name.to_owned(), scalar.into()));
            }
        }
    }
    entries
}

/// The entries of all bundles for a path, each with the id of the replica that wrote it. The last
/// one counts.
pub(super) fn entries(index: &Index, stored: Lookup<'_>, path: &str) -> Vec<(Value, Option<u64>)> {
    let mut found: Vec<(&str, usize, Value)> = Vec::new();
    each_entry(index, stored, path, |bundle, scalar| {
        found.push((bundle.name, bundle.slot().len(), scalar.into()));
    });
    found.sort_by(|(a, a_slot, _), (b, b_slot, _)| (a, a_slot).cmp(&(b, b_slot)));
    found.into_iter().map(|(name, _, value)| (value, bundle::writer(name))).collect()
}

/// Turns keys into the paths of registers. A bundle becomes its entries, without those that a
/// separate register hides.
pub(super) fn paths(keys: BTreeSet<Arc<str>>, stored: Lookup<'_>) -> BTreeSet<Arc<str>> {
    let mut paths = BTreeSet::new();
    for key in keys {
        match bundle::kind_of(&key) {
            KeyKind::Register => drop(paths.insert(key)),
            KeyKind::Void { .. } => {}
            KeyKind::Bundle { slot, .. } => {
                let Some(value) = stored(&key) else { continue };
                let entries = bundle::entries(slot, &value).into_iter();
                let entries = entries.map(|(relative, _)| bundle::path_of(slot, relative));
                paths.extend(entries.filter(|path| stored(path).is_none()).map(Arc::from));
            }
        }
    }
    paths
}

/// All registers in order, from all stored keys in order. `None` if no key is that of a bundle or
/// of a void register. O(found), if most records have nothing but their bundle.
pub(super) fn expand(stored: &[(Key, Value)]) -> Option<Vec<(Key, Value)>> {
    if !stored.iter().any(|(key, _)| bundle::kind_of(key.as_str()) != KeyKind::Register) {
        return None;
    }
    let mut found = Vec::with_capacity(stored.len() * 2);
    // The number of registers found before each key.
    let mut before = Vec::with_capacity(stored.len());
    while let Some((key, value)) = stored.get(before.len()) {
        let at = before.len();
        before.push(found.len());
        match bundle::kind_of(key.as_str()) {
            KeyKind::Register => found.push((key.clone(), value.clone())),
            KeyKind::Void { .. } => {}
            KeyKind::Bundle { slot, .. } => {
                let is_within = |(key, _): &&(Key, Value)| key::is_within(key.as_str(), slot);
                let start = at - stored[..at].iter().rev().take_while(is_within).count();
                let end = at + stored[at..].iter().take_while(is_within).count();
                if end - start == 1 {
                    entries_of(slot, value, |key, value| found.push((key, value)));
                    continue;
                }
                let first = before.get(start).copied().unwrap_or_default();
                found.truncate(first);
                found.extend(expand_slot(&stored[start..end]));
                before.resize(end, first);
            }
        }
    }
    Some(found)
}

/// The registers of a slot, in order, from all that is stored at and below it.
fn expand_slot(stored: &[(Key, Value)]) -> Vec<(Key, Value)> {
    let mut found: Vec<Ranked<'_>> = Vec::with_capacity(stored.len() * 2);
    let mut rest = stored;
    while let [(key, value), later @ ..] = rest {
        rest = later;
        match bundle::kind_of(key.as_str()) {
            KeyKind::Register => found.push((key.clone(), None, value.clone())),
            KeyKind::Void { .. } => {}
            KeyKind::Bundle { slot, name } => {
                // The void registers of a bundle come directly behind it.
                let voids =
                    later.iter().map_while(|(found, _)| match bundle::kind_of(found.as_str()) {
                        KeyKind::Void { bundle, relative, .. } => {
                            (*bundle == *key.as_str()).then_some(relative)
                        }
                        _ => None,
                    });
                let voids: HashSet<&str> = voids.collect();
                entries_of(slot, value, |entry, value| {
                    if !voids.contains(key::below(entry.as_str(), slot)) {
                        found.push((entry, Some((name, slot.len())), value));
                    }
                });
            }
        }
    }
    keep_winners(found)
}

/// A register, and where it comes from: the name of a bundle and the length of the slot's path, or
/// `None` for a separate register.
type Ranked<'a> = (Key, Option<(&'a str, usize)>, Value);

/// Calls `each` with the entries of a bundle, in order. All paths are written into one buffer, as
/// an opened document has very many.
fn entries_of(slot: &str, value: &Value, mut each: impl FnMut(Key, Value)) {
    let mut path = slot.to_owned();
    for (relative, scalar) in bundle::entries(slot, value) {
        path.truncate(slot.len());
        if !relative.is_empty() {
            path.push('/');
            path.push_str(relative);
        }
        each(Key::from(path.as_str()), scalar.into());
    }
}

/// Sorts registers by key, and keeps of each key the one that counts.
fn keep_winners(mut found: Vec<Ranked<'_>>) -> Vec<(Key, Value)> {
    // Of one key, a separate register comes first, then the bundles from the last to the first.
    let order = |(a, a_from, _): &Ranked<'_>, (b, b_from, _): &Ranked<'_>| {
        a.cmp(b).then_with(|| match (a_from, b_from) {
            (Some(a), Some(b)) => b.cmp(a),
            (a, b) => a.cmp(b),
        })
    };
    found.sort_by(order);
    found.dedup_by(|later, first| later.0 == first.0);
    found.into_iter().map(|(key, _, value)| (key, value)).collect()
}

/// The registers at and below a path, in order. O(log n + found).
pub(super) fn scan(index: &Index, stored: Lookup<'_>, path: &str) -> Vec<(Key, Value)> {
    let within = index.within(path).filter_map(|key| Some((key.clone(), stored(key.as_str())?)));
    let within: Vec<(Key, Value)> = within.collect();
    if !index.has_bundles() {
        return within;
    }
    let is_within = |key: &Key| key::is_within(key.as_str(), path);
    let mut expanded = expand(&within).unwrap_or(within);
    if bundle::kind_of(path) != KeyKind::Register {
        expanded.retain(|(key, _)| is_within(key));
    }
    let mut keys: Vec<Key> = Vec::new();
    // The bundles of slots above the path may have entries within it.
    for slot in slots_at_and_above(path).skip(1) {
        let Some(found) = index.slot(slot) else { continue };
        for found in index.bundles(slot, found) {
            let Some(value) = stored(found.key) else { continue };
            entries_of(slot, &value, |key, _| {
                if !found.is_void(key::below(key.as_str(), slot)) && is_within(&key) {
                    keys.push(key);
                }
            });
        }
    }
    if keys.is_empty() {
        return expanded;
    }
    // Which of two bundles counts is known only if all are read at once.
    keys.extend(expanded.into_iter().map(|(key, _)| key));
    keys.sort();
    keys.dedup();
    let value = |key: Key| Some((key.clone(), register(index, stored, key.as_str())?));
    keys.into_iter().filter_map(value).collect()
}

/// The registers that an import touched. It is made before the index is updated;
/// [`TouchedPaths::finish`] completes it afterwards.
pub(super) struct TouchedPaths {
    /// Registers that had a value before and have one now.
    registers: Vec<RegisterTouch>,
    /// The other paths.
    paths: Vec<TouchedPath>,
}

struct TouchedPath {
    path: Arc<str>,
    /// The value before.
    old: Option<Value>,
    /// The value of the separate register after the import, if it was written.
    separate: Option<Value>,
    own: bool,
    written: Option<Written>,
}

/// The last value that was written for a path. It may not be the one that counts.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Written {
    /// An entry of the bundle with this name.
    Bundle(String),
    /// A separate register was written or removed.
    Register,
}

impl TouchedPaths {
    /// Finds the touched registers from the touched keys. `index` is the index before the import.
    /// `stored` reads the document after the import. `None` if the document has no bundles and no
    /// touched key belongs to one: then the touched keys are the touched registers.
    pub(super) fn of<'t>(
        touched: &'t [RegisterTouch],
        index: &Index,
        stored: Lookup<'_>,
    ) -> Option<Self> {
        let is_register = |touch: &RegisterTouch| bundle::kind_of(&touch.key) == KeyKind::Register;
        if !index.has_bundles() && touched.iter().all(is_register) {
            return None;
        }
        let mut this = Self { registers: Vec::new(), paths: Vec::new() };
        touched.iter().for_each(|touch| this.add(touch));
        this.paths
            .sort_by(|a, b| key::compare(&a.path, &b.path).then_with(|| b.written.cmp(&a.written)));
        this.paths.dedup_by(|later, first| later.path == first.path);
        let old = |touch: &'t RegisterTouch| (&*touch.key, touch.old.as_ref());
        let is_few = touched.len() <= FEW;
        let table: HashMap<&str, Option<&Value>> = match is_few {
            true => HashMap::new(),
            false => touched.iter().map(old).collect(),
        };
        let was = |path: &str| {
            let found = match is_few {
                true => touched.iter().map(old).find(|(key, _)| *key == path).map(|(_, old)| old),
                false => table.get(path).copied(),
            };
            found.map_or_else(|| stored(path), |old| old.cloned())
        };
        for TouchedPath { path, old, .. } in &mut this.paths {
            *old = register(index, &was, path);
        }
        Some(this)
    }

    /// Adds the paths of one touched key.
    fn add(&mut self, touch: &RegisterTouch) {
        let mut add = |path: Arc<str>, written: Option<Written>| {
            let separate = touch.new.clone().filter(|_| written == Some(Written::Register));
            self.paths.push(TouchedPath { path, old: None, separate, own: touch.own, written });
        };
        match bundle::kind_of(&touch.key) {
            KeyKind::Register if touch.old.is_some() && touch.new.is_some() => {
                self.registers.push(touch.clone());
            }
            KeyKind::Register => add(Arc::clone(&touch.key), Some(Written::Register)),
            KeyKind::Void { slot, relative, .. } if bundle::is_relative_path(relative) => {
                add(Arc::from(bundle::path_of(slot, relative)), None);
            }
            KeyKind::Void { .. } => {}
            KeyKind::Bundle { slot, name } => {
                for (value, is_new) in [(&touch.old, false), (&touch.new, true)] {
                    let Some(value) = value else { continue };
                    for (relative, _) in bundle::entries(slot, value) {
                        let written = is_new.then(|| Written::Bundle(name.to_owned()));
                        add(Arc::from(bundle::path_of(slot, relative)), written);
                    }
                }
            }
        }
    }

    /// The touched registers with their old and new values. `index` is the index after the import.
    pub(super) fn finish(self, index: &Index, stored: Lookup<'_>) -> Vec<RegisterTouch> {
        let Self { mut registers, paths } = self;
        for TouchedPath { path, old, separate, own, written } in paths {
            let separate = separate.or_else(|| stored(&path));
            let bundled = separate.is_none().then(|| bundled(index, stored, &path)).flatten();
            let counts = match (written, &bundled) {
                (None, _) => false,
                (Some(Written::Register), _) => old.is_some() || separate.is_some(),
                (Some(Written::Bundle(name)), Some((from, _))) => name == **from,
                (Some(Written::Bundle(_)), None) => false,
            };
            let new = separate.or(bundled.map(|(_, value)| value));
            if counts || old != new {
                registers.push(RegisterTouch { key: path, old, new, own });
            }
        }
        registers
    }
}
