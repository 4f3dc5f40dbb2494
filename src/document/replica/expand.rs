//! Reading registers from a document that has bundles: the layers above see a register for each
//! entry of a bundle. See [`bundle`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::index::{Bundle, Index};
use crate::document::bundle::{self, Scalar, Stored};
use crate::document::key::{self, Key};
use crate::document::ops::RegisterTouch;
use crate::document::value::Value;

/// Number of paths from which on the bundles of a slot are decoded once for all of them.
const CACHED_FROM: usize = 8;

/// Gives what the document stores under a key.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<Value>;

/// The slots that may have a bundle with an entry for this path: the path itself and those above
/// it, but not the whole state.
fn slots_above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path).filter(|path| !path.is_empty()), |slot| {
        slot.rsplit_once('/').map(|(above, _)| above)
    })
}

/// Calls `each` for every bundle that has an entry for this path that is not void, with the entry.
/// O(log n + the bytes of the bundles) for each slot above the path that has bundles.
pub(super) fn each_entry(
    index: &Index,
    stored: Lookup<'_>,
    path: &str,
    mut each: impl FnMut(&Bundle<'_>, Scalar<'_>),
) {
    if !index.has_bundles() {
        return;
    }
    for slot in slots_above(path).filter(|slot| index.may_have_bundles(slot)) {
        let below = key::below(path, slot);
        for found in index.bundles(slot) {
            if found.is_void(below) {
                continue;
            }
            let Some(Value::Bytes(bytes)) = stored(found.key) else { continue };
            let entries = bundle::decode(&bytes).unwrap_or_default();
            if let Some((_, scalar)) = entries.iter().find(|(entry, _)| *entry == below) {
                each(&found, *scalar);
            }
        }
    }
}

/// The value that the bundles give a path without a register of its own.
pub(super) fn bundled(index: &Index, stored: Lookup<'_>, path: &str) -> Option<Value> {
    let mut last: Option<(String, Value)> = None;
    each_entry(index, stored, path, |found, scalar| {
        if last.as_ref().is_none_or(|(name, _)| **name < *found.name) {
            last = Some((found.name.to_owned(), scalar.into()));
        }
    });
    last.map(|(_, value)| value)
}

/// The entries of all bundles for a path, each with the id of the replica that wrote it. The last one
/// is the one that counts.
pub(super) fn entries(index: &Index, stored: Lookup<'_>, path: &str) -> Vec<(Value, Option<u64>)> {
    let mut found: Vec<(String, Value)> = Vec::new();
    each_entry(index, stored, path, |bundle, scalar| {
        found.push((bundle.name.to_owned(), scalar.into()));
    });
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found.into_iter().map(|(name, value)| (value, bundle::writer(&name))).collect()
}

/// The registers of these keys: a register itself, or those entries of a bundle that have no
/// register of their own.
pub(super) fn paths(keys: BTreeSet<Arc<str>>, stored: Lookup<'_>) -> BTreeSet<Arc<str>> {
    let mut paths = BTreeSet::new();
    for key in keys {
        match bundle::stored(&key) {
            Stored::Register => drop(paths.insert(key)),
            Stored::Void { .. } => {}
            Stored::Bundle { slot, .. } => {
                let Some(Value::Bytes(bytes)) = stored(&key) else { continue };
                let entries = bundle::decode(&bytes).unwrap_or_default().into_iter();
                let entries = entries.map(|(below, _)| bundle::path_of(slot, below));
                paths.extend(entries.filter(|path| stored(path).is_none()).map(Arc::from));
            }
        }
    }
    paths
}

/// The entries of a slot by relative path, each with the name of its bundle.
type Entries = BTreeMap<String, (String, Value)>;

/// Reads many paths of a document. It decodes the bundles of each slot only once.
struct Expander<'a> {
    index: &'a Index,
    stored: Lookup<'a>,
    /// The entries of each slot. `None` if there are few paths.
    slots: Option<RefCell<HashMap<String, Entries>>>,
}

impl<'a> Expander<'a> {
    fn new(index: &'a Index, stored: Lookup<'a>, paths: usize) -> Self {
        Self { index, stored, slots: (paths >= CACHED_FROM).then(RefCell::default) }
    }

    fn register(&self, path: &str) -> Option<Value> {
        (self.stored)(path).or_else(|| self.bundled(path))
    }

    fn bundled(&self, path: &str) -> Option<Value> {
        let Some(slots) = &self.slots else { return bundled(self.index, self.stored, path) };
        let mut last: Option<(String, Value)> = None;
        let mut slots = slots.borrow_mut();
        for slot in slots_above(path).filter(|slot| self.index.may_have_bundles(slot)) {
            if !slots.contains_key(slot) {
                slots.insert(slot.to_owned(), self.entries(slot));
            }
            let found = slots.get(slot).and_then(|entries| entries.get(key::below(path, slot)));
            if let Some((name, value)) = found
                && last.as_ref().is_none_or(|(last, _)| last < name)
            {
                last = Some((name.clone(), value.clone()));
            }
        }
        last.map(|(_, value)| value)
    }

    /// The entries of all bundles of a slot that are not void.
    fn entries(&self, slot: &str) -> Entries {
        let mut entries = Entries::new();
        for found in self.index.bundles(slot) {
            let Some(Value::Bytes(bytes)) = (self.stored)(found.key) else { continue };
            for (below, scalar) in bundle::decode(&bytes).unwrap_or_default() {
                if !found.is_void(below) {
                    entries.insert(below.to_owned(), (found.name.to_owned(), scalar.into()));
                }
            }
        }
        entries
    }
}

/// The registers of a document, in order, from everything that it stores, in order. `None` if it
/// stores nothing but registers. O(found), if most records have nothing but their bundle.
pub(super) fn expand(stored: &[(Key, Value)]) -> Option<Vec<(Key, Value)>> {
    if !stored.iter().any(|(key, _)| bundle::stored(key.as_str()) != Stored::Register) {
        return None;
    }
    let mut found = Vec::with_capacity(stored.len() * 2);
    // The number of registers found before each key.
    let mut before = Vec::with_capacity(stored.len());
    while let Some((key, value)) = stored.get(before.len()) {
        let at = before.len();
        before.push(found.len());
        match bundle::stored(key.as_str()) {
            Stored::Register => found.push((key.clone(), value.clone())),
            Stored::Void { .. } => {}
            Stored::Bundle { slot, .. } => {
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
        match bundle::stored(key.as_str()) {
            Stored::Register => found.push((key.clone(), None, value.clone())),
            Stored::Void { .. } => {}
            Stored::Bundle { slot, name } => {
                // The void registers of a bundle come directly behind it.
                let voids =
                    later.iter().map_while(|(found, _)| match bundle::stored(found.as_str()) {
                        Stored::Void { bundle, below, .. } => {
                            (*bundle == *key.as_str()).then_some(below)
                        }
                        _ => None,
                    });
                let voids: HashSet<&str> = voids.collect();
                entries_of(slot, value, |entry, value| {
                    if !voids.contains(key::below(entry.as_str(), slot)) {
                        found.push((entry, Some(name), value));
                    }
                });
            }
        }
    }
    settle(found)
}

/// A register, and the name of the bundle from which it comes. A register of its own has no name.
type Ranked<'a> = (Key, Option<&'a str>, Value);

/// Calls `each` with the entries of a bundle, in order.
fn entries_of(slot: &str, value: &Value, mut each: impl FnMut(Key, Value)) {
    let Value::Bytes(bytes) = value else { return };
    let mut path = slot.to_owned();
    for (below, scalar) in bundle::decode(bytes).unwrap_or_default() {
        path.truncate(slot.len());
        if !below.is_empty() {
            path.push('/');
            path.push_str(below);
        }
        each(Key::from(path.as_str()), scalar.into());
    }
}

/// Sorts registers by key, and keeps of each key the one that counts.
fn settle(mut found: Vec<Ranked<'_>>) -> Vec<(Key, Value)> {
    // Of one key, a register of its own comes first, then the bundles from the last to the first.
    let order = |(a, a_name, _): &Ranked<'_>, (b, b_name, _): &Ranked<'_>| {
        a.cmp(b).then_with(|| match (a_name, b_name) {
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
    let expanded = expand(&within).unwrap_or(within);
    // The bundles of slots above the path may have entries within it.
    let mut above: Vec<Key> = Vec::new();
    for slot in slots_above(path).skip(1).filter(|slot| index.may_have_bundles(slot)) {
        for found in index.bundles(slot) {
            let Some(value) = stored(found.key) else { continue };
            entries_of(slot, &value, |key, _| {
                let is_void = found.is_void(key::below(key.as_str(), slot));
                if !is_void && key::is_within(key.as_str(), path) {
                    above.push(key);
                }
            });
        }
    }
    if above.is_empty() {
        return expanded;
    }
    // Which of two bundles counts is known only if all are read at once.
    let keys = expanded.into_iter().map(|(key, _)| key).chain(above);
    let mut keys: Vec<Key> = keys.collect();
    keys.sort();
    keys.dedup();
    let expander = Expander::new(index, stored, keys.len());
    keys.into_iter()
        .filter_map(|key| {
            let value = expander.register(key.as_str())?;
            Some((key, value))
        })
        .collect()
}

/// The registers that a commit or an import touched, before it is noted in the index: see
/// [`Touches::settle`].
pub(super) struct Touches {
    /// Registers that had a value before and have one now.
    registers: Vec<RegisterTouch>,
    /// Other paths with the value before. `written` says whether the register itself was written.
    paths: Vec<Affected>,
}

struct Affected {
    path: Arc<str>,
    old: Option<Value>,
    own: bool,
    written: bool,
}

impl Touches {
    /// The touched registers, from the touched keys. `index` is that of before. `stored` gives what
    /// the document stores now. `None` if the touched keys are the registers, as without bundles.
    pub(super) fn of(touched: &[RegisterTouch], index: &Index, stored: Lookup<'_>) -> Option<Self> {
        let is_register = |touch: &RegisterTouch| bundle::stored(&touch.key) == Stored::Register;
        if !index.has_bundles() && touched.iter().all(is_register) {
            return None;
        }
        let before: HashMap<&str, Option<&Value>> =
            touched.iter().map(|touch| (&*touch.key, touch.old.as_ref())).collect();
        let was = |path: &str| match before.get(path) {
            Some(old) => old.cloned(),
            None => stored(path),
        };
        let (mut registers, mut paths) = (Vec::new(), Vec::new());
        for touch in touched {
            let mut add = |path: Arc<str>, written| {
                paths.push(Affected { path, old: None, own: touch.own, written });
            };
            match bundle::stored(&touch.key) {
                Stored::Register if touch.old.is_some() && touch.new.is_some() => {
                    registers.push(touch.clone());
                }
                Stored::Register => add(Arc::clone(&touch.key), true),
                Stored::Void { slot, below, .. } => {
                    add(Arc::from(bundle::path_of(slot, below)), false);
                }
                Stored::Bundle { slot, .. } => {
                    for value in [&touch.old, &touch.new].into_iter().flatten() {
                        let Value::Bytes(bytes) = value else { continue };
                        for (below, _) in bundle::decode(bytes).unwrap_or_default() {
                            add(Arc::from(bundle::path_of(slot, below)), false);
                        }
                    }
                }
            }
        }
        paths.sort_by(|a, b| key::compare(&a.path, &b.path).then(b.written.cmp(&a.written)));
        paths.dedup_by(|later, first| later.path == first.path);
        let expander = Expander::new(index, &was, paths.len());
        for affected in &mut paths {
            affected.old = expander.register(&affected.path);
        }
        Some(Self { registers, paths })
    }

    /// The touched registers with their old and new values. `index` is that of now.
    pub(super) fn settle(self, index: &Index, stored: Lookup<'_>) -> Vec<RegisterTouch> {
        let Self { mut registers, paths } = self;
        let expander = Expander::new(index, stored, paths.len());
        for Affected { path, old, own, written } in paths {
            let new = expander.register(&path);
            if written && (old.is_some() || new.is_some()) || old != new {
                registers.push(RegisterTouch { key: path, old, new, own });
            }
        }
        registers
    }
}
