//! Writing registers into a document that has bundles: a new record is written as one bundle. See
//! [`bundle`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Replica, expand};
use crate::document::backend::{Backend, BackendError};
use crate::document::bundle::{self, KeyKind};
use crate::document::key::{self, Key};
use crate::document::limits::Limits;
use crate::document::ops::{Ops, RegisterWrite};
use crate::document::value::Value;

/// A write that may go into a bundle: its number among the writes of the change, the key, and the
/// new value.
type NewWrite<'o> = (usize, &'o Key, &'o Value);

/// The records that a change makes.
struct NewRecords<'o> {
    /// The entries of each slot.
    slots: Vec<(&'o Key, Vec<NewWrite<'o>>)>,
    bytes_max: usize,
    path_bytes_max: usize,
}

/// Splits off the first of these writes, which are in order, together with all writes below it.
fn split_run<'w, 'o>(writes: &'w [NewWrite<'o>]) -> Option<(&'o Key, [&'w [NewWrite<'o>]; 2])> {
    let (_, first, _) = writes.first()?;
    let is_within = |(_, key, _): &&NewWrite<'_>| key::is_within(key.as_str(), first.as_str());
    let (run, later) = writes.split_at(writes.iter().take_while(is_within).count());
    Some((first, [run, later]))
}

impl<'o> NewRecords<'o> {
    fn of(ops: &'o Ops, limits: &Limits) -> Self {
        let new = ops.registers.iter().enumerate().filter(|(_, (_, write))| write.old.is_none());
        let new: Vec<NewWrite<'_>> = new
            .filter_map(|(number, (key, write))| Some((number, key, write.new.as_ref()?)))
            .collect();
        let mut this = Self {
            slots: Vec::new(),
            bytes_max: limits.value_bytes_max().min(bundle::BYTES_MAX),
            path_bytes_max: limits.path_bytes_max(),
        };
        this.add(&new);
        this
    }

    /// Finds the slots among these writes: the paths below which there are further writes. A slot
    /// takes everything below it into its bundle, if the limits allow. If they do not, the slots
    /// below it get bundles of their own, and what still does not fit is written as registers.
    fn add(&mut self, writes: &[NewWrite<'o>]) {
        let mut rest = writes;
        while let Some((slot, [run, later])) = split_run(rest) {
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
        while let Some((first, [below, later])) = split_run(rest) {
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

    /// The writes that fit into one bundle. The flag says whether all of them fit.
    fn fill(&self, slot: &Key, writes: &[NewWrite<'o>]) -> (Vec<NewWrite<'o>>, bool) {
        let mut bytes = bundle::OVERHEAD;
        let mut paths_bytes = 0;
        let mut entries = Vec::new();
        for (number, key, value) in writes {
            let relative = key::below(key.as_str(), slot.as_str());
            let size = bundle::entry_size(relative, value);
            let path_bytes = key.as_str().len();
            let fits = entries.len() < bundle::ENTRIES_MAX
                && bytes + size <= self.bytes_max
                && paths_bytes + path_bytes <= bundle::PATHS_BYTES_MAX
                && path_bytes <= bundle::PATH_BYTES_MAX
                && slot.as_str().len() <= bundle::SLOT_BYTES_MAX
                // A foreign writer may have written registers with other paths.
                && bundle::is_relative_path(relative)
                && bundle::path_len(slot.as_str(), relative) == path_bytes
                && path_bytes + bundle::VOID_KEY_EXTRA_BYTES_MAX <= self.path_bytes_max;
            if fits {
                bytes += size;
                paths_bytes += path_bytes;
                entries.push((*number, *key, *value));
            }
        }
        let all = entries.len() == writes.len();
        (entries, all)
    }
}

impl<B: Backend> Replica<B> {
    /// Turns writes of registers into writes of keys. `None` if the document needs no bundle: then
    /// both are the same.
    pub(super) fn stored_ops(&mut self, ops: &Ops) -> Result<Option<Ops>, BackendError> {
        if ops.registers.is_empty() {
            return Ok(None);
        }
        let new_records = NewRecords::of(ops, &self.limits);
        if new_records.slots.is_empty() && self.is_stored_as_is(ops) {
            return Ok(None);
        }
        // Building the map from all entries at once is faster than inserting them one by one.
        let mut writes: Vec<(Key, RegisterWrite)> = Vec::with_capacity(ops.registers.len());
        self.write_bundles(&new_records, &mut writes)?;
        let mut is_bundled = vec![false; ops.registers.len()];
        for (number, ..) in new_records.slots.iter().flat_map(|(_, entries)| entries) {
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

    /// Whether writes of registers, none of which is part of a new record, are writes of the same
    /// keys with the same old values.
    fn is_stored_as_is(&self, ops: &Ops) -> bool {
        !self.index.has_bundles()
            || ops.registers.iter().all(|(key, write)| {
                write.new.is_some() && self.backend.register(key.as_str()) == write.old
            })
    }

    /// Writes a bundle for each new record.
    fn write_bundles(
        &mut self,
        new_records: &NewRecords<'_>,
        writes: &mut Vec<(Key, RegisterWrite)>,
    ) -> Result<(), BackendError> {
        for (slot, entries) in &new_records.slots {
            let slot = slot.as_str();
            let entries =
                entries.iter().map(|(_, key, value)| (key::below(key.as_str(), slot), *value));
            let bytes = bundle::encode(entries).map_err(|error| BackendError::Misfit {
                place: slot.to_owned(),
                reason: error.to_string(),
            })?;
            let key = self.new_bundle_key(slot);
            let write = RegisterWrite { old: None, new: Some(Value::Bytes(Arc::from(bytes))) };
            writes.push((Key::from(key.as_str()), write));
        }
        Ok(())
    }

    /// A key for a new bundle. Nothing is stored at or below it: another writer may have written
    /// void registers for this key.
    fn new_bundle_key(&mut self, slot: &str) -> String {
        loop {
            let key = bundle::key_of(slot, self.id.get(), self.next_bundle);
            self.next_bundle += 1;
            let is_taken =
                self.index.slot(slot).is_some() && self.index.within(&key).next().is_some();
            if !is_taken {
                return key;
            }
        }
    }

    /// Removes the entries with these paths from all bundles. If all entries of a bundle are void
    /// then, the bundle is removed with its void registers. Otherwise the entry gets a void
    /// register.
    fn remove_entries(&self, removed: &[&str], stored: &mut Ops) {
        if removed.is_empty() || !self.index.has_bundles() {
            return;
        }
        let lookup = |path: &str| self.backend.register(path);
        let mut voided: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
        for path in removed {
            expand::each_entry(&self.index, &lookup, path, |found, _| {
                let relative = key::below(path, found.slot()).to_owned();
                voided.entry((found.key, found.slot())).or_default().insert(relative);
            });
        }
        for ((bundle, slot), voided) in voided {
            let old = self.backend.register(bundle);
            let voids: BTreeMap<&str, &Key> = self
                .index
                .within(bundle)
                .filter_map(|key| match bundle::kind_of(key.as_str()) {
                    KeyKind::Void { relative, .. } => Some((relative, key)),
                    _ => None,
                })
                .collect();
            let entries = old.as_ref().map(|old| bundle::entries(slot, old)).unwrap_or_default();
            let stays =
                |relative: &str| !voided.contains(relative) && !voids.contains_key(relative);
            if entries.iter().any(|(relative, _)| stays(relative)) {
                for relative in &voided {
                    let key = Key::from(bundle::void_key(bundle, relative).as_str());
                    let new = Some(Value::Bool(true));
                    stored.registers.insert(key, RegisterWrite { old: None, new });
                }
                continue;
            }
            for key in voids.into_values() {
                let old = self.backend.register(key.as_str());
                stored.registers.insert(key.clone(), RegisterWrite { old, new: None });
            }
            let key = Key::from(bundle);
            stored.registers.insert(key, RegisterWrite { old, new: None });
        }
    }
}
