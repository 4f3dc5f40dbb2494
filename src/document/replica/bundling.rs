//! Writing registers into a document that has bundles: a record that is born goes out as one
//! bundle. See [`bundle`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Replica;
use super::expand;
use crate::document::backend::{Backend, BackendError};
use crate::document::bundle;
use crate::document::key::{self, Key};
use crate::document::limits::Limits;
use crate::document::ops::{Ops, RegisterWrite};
use crate::document::value::Value;

/// A write that may go into a bundle: its number among the writes of the change, the key, and the
/// new value.
type NewWrite<'o> = (usize, &'o Key, &'o Value);

/// The records that a change makes.
struct Births<'o> {
    /// The entries of each slot.
    slots: Vec<(&'o Key, Vec<NewWrite<'o>>)>,
    bytes_max: usize,
    name_max: usize,
}

/// The path of a bundle's slot.
fn slot_of(bundle: &str) -> &str {
    bundle.rsplit_once('/').map_or("", |(slot, _)| slot)
}

/// The most bytes by which the key of an entry's void register is longer than the entry's path:
/// `/@<replica>-<number>`, and `/@` for the slot itself.
const NAME_BYTES_MAX: usize = 2 + 16 + 1 + 16 + 2;

impl<'o> Births<'o> {
    fn of(ops: &'o Ops, limits: &Limits) -> Self {
        let new = ops.registers.iter().enumerate().filter(|(_, (_, write))| write.old.is_none());
        let new: Vec<NewWrite<'_>> = new
            .filter_map(|(number, (key, write))| Some((number, key, write.new.as_ref()?)))
            .collect();
        let mut this = Self {
            slots: Vec::new(),
            bytes_max: limits.value_bytes_max().min(bundle::BYTES_MAX),
            name_max: limits.path_bytes_max(),
        };
        this.add(&new);
        this
    }

    /// Finds the slots among these writes: the paths below which there are further writes. A slot
    /// takes everything below it into its bundle, if the limits allow. If they do not, the slots
    /// below it get bundles of their own, and what still does not fit is written as registers.
    fn add(&mut self, writes: &[NewWrite<'o>]) {
        let mut rest = writes;
        while let Some((_, slot, _)) = rest.first() {
            let is_within =
                |(_, key, _): &NewWrite<'_>| key::is_within(key.as_str(), slot.as_str());
            let (run, later) = rest.split_at(rest.iter().take_while(|one| is_within(one)).count());
            rest = later;
            match run {
                [] | [_] => {}
                // The whole state is no slot.
                [_, below @ ..] if slot.as_str().is_empty() => self.add(below),
                _ => self.add_slot(slot, run),
            }
        }
    }

    fn add_slot(&mut self, slot: &'o Key, run: &[NewWrite<'o>]) {
        if let (entries, true) = self.fill(slot, run) {
            self.slots.push((slot, entries));
            return;
        }
        let mut single = Vec::new();
        let mut rest = run.get(1..).unwrap_or_default();
        single.extend(run.first().copied());
        while let Some((_, first, _)) = rest.first() {
            let is_within =
                |(_, key, _): &NewWrite<'_>| key::is_within(key.as_str(), first.as_str());
            let (below, later) =
                rest.split_at(rest.iter().take_while(|one| is_within(one)).count());
            rest = later;
            match below {
                [one] => single.push(*one),
                _ => self.add_slot(first, below),
            }
        }
        let (entries, _) = self.fill(slot, &single);
        if entries.len() > 1 {
            self.slots.push((slot, entries));
        }
    }

    /// Those of the writes that fit into one bundle, and whether these are all.
    fn fill(&self, slot: &Key, writes: &[NewWrite<'o>]) -> (Vec<NewWrite<'o>>, bool) {
        let mut bytes = bundle::OVERHEAD;
        let mut entries = Vec::new();
        for (number, key, value) in writes {
            let below = key::below(key.as_str(), slot.as_str());
            let size = bundle::entry_size(below, value);
            let fits = entries.len() < bundle::ENTRIES_MAX
                && bytes + size <= self.bytes_max
                && key.as_str().len() + NAME_BYTES_MAX <= self.name_max;
            if fits {
                bytes += size;
                entries.push((*number, *key, *value));
            }
        }
        let all = entries.len() == writes.len();
        (entries, all)
    }
}

impl<B: Backend> Replica<B> {
    /// The writes to the keys of the document by which these ops change its registers. `None` if
    /// they are the same.
    pub(super) fn stored_ops(&mut self, ops: &Ops) -> Result<Option<Ops>, BackendError> {
        if ops.registers.is_empty() {
            return Ok(None);
        }
        let births = Births::of(ops, &self.limits);
        if births.slots.is_empty() && !self.index.has_bundles() {
            return Ok(None);
        }
        // A map is made faster from all its entries at once.
        let mut writes: Vec<(Key, RegisterWrite)> = Vec::with_capacity(ops.registers.len());
        self.write_bundles(&births, &mut writes)?;
        let mut is_bundled = vec![false; ops.registers.len()];
        for (number, ..) in births.slots.iter().flat_map(|(_, entries)| entries) {
            if let Some(is_bundled) = is_bundled.get_mut(*number) {
                *is_bundled = true;
            }
        }
        let mut removed: Vec<&str> = Vec::new();
        for ((key, write), is_bundled) in ops.registers.iter().zip(is_bundled) {
            if is_bundled {
                continue;
            }
            let old = self.backend.register(key.as_str());
            if write.new.is_none() {
                removed.push(key.as_str());
            }
            if old.is_some() || write.new.is_some() {
                writes.push((key.clone(), RegisterWrite { old, new: write.new.clone() }));
            }
        }
        let registers = writes.into_iter().collect();
        let mut stored = Ops { registers, sequences: ops.sequences.clone() };
        self.remove_entries(&removed, &mut stored);
        Ok(Some(stored))
    }

    /// Writes a bundle for each record that is born.
    fn write_bundles(
        &mut self,
        births: &Births<'_>,
        writes: &mut Vec<(Key, RegisterWrite)>,
    ) -> Result<(), BackendError> {
        for (slot, entries) in &births.slots {
            let slot = slot.as_str();
            let below =
                entries.iter().map(|(_, key, value)| (key::below(key.as_str(), slot), *value));
            let bytes = bundle::encode(below).map_err(|error| BackendError::Misfit {
                place: slot.to_owned(),
                reason: error.to_string(),
            })?;
            let key = bundle::key_of(slot, self.id.get(), self.next_bundle);
            self.next_bundle += 1;
            let write = RegisterWrite { old: None, new: Some(Value::Bytes(Arc::from(bytes))) };
            writes.push((Key::from(key.as_str()), write));
            if self.index.may_have_bundles(slot) {
                for void in self.index.stray_voids(slot) {
                    let old = self.backend.register(void);
                    writes.push((Key::from(void), RegisterWrite { old, new: None }));
                }
            }
        }
        Ok(())
    }

    /// Removes the entries with these paths from all bundles: removes a bundle of which no other
    /// entry shows, and voids the entries of others.
    fn remove_entries(&self, removed: &[&str], stored: &mut Ops) {
        if removed.is_empty() || !self.index.has_bundles() {
            return;
        }
        let lookup = |path: &str| self.backend.register(path);
        let mut voided: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for path in removed {
            expand::each_entry(&self.index, &lookup, path, |found, _| {
                let below = key::below(path, found.slot()).to_owned();
                voided.entry(found.key.to_owned()).or_default().insert(below);
            });
        }
        for (bundle, voided) in voided {
            let old = self.backend.register(&bundle);
            let voids: BTreeMap<&str, &Key> = self
                .index
                .within(&bundle)
                .filter_map(|key| match bundle::stored(key.as_str()) {
                    bundle::Stored::Void { below, .. } => Some((below, key)),
                    _ => None,
                })
                .collect();
            let entries = match &old {
                Some(Value::Bytes(bytes)) => bundle::decode(bytes).unwrap_or_default(),
                _ => Vec::new(),
            };
            // An entry below a register of its own never shows again: whoever removes that register
            // also voids the entry.
            let has_register = |below: &str| {
                let path = bundle::path_of(slot_of(&bundle), below);
                match stored.registers.get(key::lookup(&path.as_str())) {
                    Some(write) => write.new.is_some(),
                    None => self.backend.register(&path).is_some(),
                }
            };
            let shows = |below: &str| {
                !voided.contains(below) && !voids.contains_key(below) && !has_register(below)
            };
            if entries.iter().any(|(below, _)| shows(below)) {
                for below in &voided {
                    let key = Key::from(bundle::void_key(&bundle, below).as_str());
                    let new = Some(Value::Bool(true));
                    stored.registers.insert(key, RegisterWrite { old: None, new });
                }
                continue;
            }
            for key in voids.into_values() {
                let old = self.backend.register(key.as_str());
                stored.registers.insert(key.clone(), RegisterWrite { old, new: None });
            }
            let key = Key::from(bundle.as_str());
            stored.registers.insert(key, RegisterWrite { old, new: None });
        }
    }
}
