//! Staging the way back from a change, as far as nobody else has gone on from it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::carry;
use super::log::{Entry, Group, Log, Written};
use crate::document::key::{self, Key};
use crate::document::replica::List;
use crate::document::rope::{Marks, Rope};
use crate::document::source::Source;
use crate::document::value::Value;
use crate::state::Writer;
use crate::store::Origin;

/// Stages the way back from all changes of a group, the last first. The places that hold again what others had written come back.
pub(super) fn group(group: &Group, log: &Log, origin: Origin, writer: &mut Writer<'_, '_>) -> Vec<Key> {
    let entry = |entry| Revert { log, origin, left: Vec::new(), given_back: Vec::new() }.entry(entry, writer);
    group.entries.iter().rev().flat_map(entry).collect()
}

/// Stages the way back from one change.
pub(super) fn entry(entry: &Entry, log: &Log, origin: Origin, writer: &mut Writer<'_, '_>) {
    Revert { log, origin, left: Vec::new(), given_back: Vec::new() }.entry(entry, writer);
}

struct Revert<'a> {
    log: &'a Log,
    origin: Origin,
    /// Places that are left as they are, with all that is in them.
    left: Vec<Key>,
    given_back: Vec<Key>,
}

impl Revert<'_> {
    fn entry(mut self, entry: &Entry, writer: &mut Writer<'_, '_>) -> Vec<Key> {
        // A record's marker comes before what is in it.
        for (key, written) in &entry.registers {
            self.register(key, written, writer);
        }
        for (key, edited) in entry.texts.iter().filter(|(key, _)| !is_left(&self.left, key)) {
            writer.at(key.as_str(), |writer| text(&edited.before, &edited.after, writer));
            self.given_back.extend(edited.theirs.then(|| key.clone()));
        }
        for (key, edited) in entry.lists.iter().filter(|(key, _)| !is_left(&self.left, key)) {
            writer.at(key.as_str(), |writer| list(&edited.before, &edited.after, writer));
            self.given_back.extend(edited.theirs.then(|| key.clone()));
        }
        self.given_back
    }

    fn register(&mut self, key: &Key, written: &Written, writer: &mut Writer<'_, '_>) {
        if is_left(&self.left, key) {
            return;
        }
        // Others have written over it, or have written in what it would take away.
        let theirs_below = || written.new.as_ref().is_some_and(|value| self.has_theirs_below(key, value, writer));
        let theirs = || self.log.is_theirs(key, self.origin) || theirs_below();
        let taken = writer.core.register(key.as_str()) != written.new || theirs();
        if taken || matches!(written.old, Some(Value::Unknown(_))) {
            return self.left.push(key.clone());
        }
        if written.old.is_none() {
            // What else is in a record that goes is one's own.
            writer.at(key.as_str(), |writer| writer.clear_below());
        }
        writer.core.put(key.as_str(), written.old.clone());
        if written.theirs {
            self.given_back.push(key.clone());
        }
        if written.new.is_none() {
            // What others wrote in it while it was away shows again.
            self.given_back.extend(self.log.theirs_below(key, self.origin).cloned());
        }
    }

    /// Whether anything that is shown below a path, which holds this value, is somebody else's.
    fn has_theirs_below(&self, key: &Key, value: &Value, writer: &Writer<'_, '_>) -> bool {
        self.log.theirs_below(key, self.origin).filter(|found| is_shown(found, key, value)).any(|found| {
            let path = found.as_str();
            writer.core.register(path).is_some() || !writer.core.text(path).is_empty() || !writer.core.list(path).is_empty()
        })
    }
}

/// Whether what stands at `found` is shown where the register above it holds this value. Below an enum's register, which names a variant,
/// another writer may have left a variant that lost; a place in an order (`@position`) stands beside the variants.
fn is_shown(found: &Key, above: &Key, value: &Value) -> bool {
    let Value::Str(variant) = value else { return true };
    let (segment, _) = key::split_first(key::below(found.as_str(), above.as_str()));
    segment.starts_with('@') || *segment == **variant
}

/// Whether a key lies below a place that is left as it is.
fn is_left(left: &[Key], key: &Key) -> bool {
    left.iter().any(|left| key.as_str().len() > left.as_str().len() && key::is_within(key.as_str(), left.as_str()))
}

fn text(before: &Rope, after: &Rope, writer: &mut Writer<'_, '_>) {
    let chars = |rope: &Rope| rope.to_string().chars().collect::<Vec<char>>();
    let now = writer.staged_text();
    let (old, new, current) = (chars(before), chars(after), chars(&now));
    if before.has_marks() || after.has_marks() {
        marks((before, &old), (after, &new), (&now, &current), writer);
    }
    for step in carry::steps(&old, &new, &current) {
        if step.delete > 0 {
            writer.splice_text(step.at, step.delete, "", None);
        }
        let mut at = step.at;
        for (run, marks) in before.chunks_in(step.insert) {
            writer.splice_text(at, 0, run, marks.cloned());
            at += run.chars().count();
        }
    }
}

type Marked<'a> = (&'a Rope, &'a [char]);

/// Takes back marks that were set or cleared on characters that are still there, where they are as they were left. Neighbours that get the
/// same go in one op.
fn marks(before: Marked<'_>, after: Marked<'_>, now: Marked<'_>, writer: &mut Writer<'_, '_>) {
    let none = Arc::new(Marks::new());
    let of = |rope: &Rope, at: usize| rope.marks_at(at).unwrap_or(&none).clone();
    let (to_after, to_now) = (carry::carried(before.1, after.1), carry::carried(after.1, now.1));
    let (mut open, mut found) = (BTreeMap::<Arc<str>, (Range<usize>, Value)>::new(), Vec::new());
    for (old_at, new_at) in to_after.into_iter().enumerate() {
        let Some(at) = to_now.get(new_at).copied().filter(|at| *at != usize::MAX) else { continue };
        let (old, new) = (of(before.0, old_at), of(after.0, new_at));
        if Arc::ptr_eq(&old, &new) {
            continue;
        }
        let current = of(now.0, at);
        let names: BTreeSet<&Arc<str>> = old.keys().chain(new.keys()).collect();
        for name in names.into_iter().filter(|name| old.get(*name) != new.get(*name) && new.get(*name) == current.get(*name)) {
            let Ok(value) = old.get(name).unwrap_or(&Value::Null).as_mark() else { continue };
            match open.get_mut(name) {
                Some((range, open)) if range.end == at && *open == value => range.end = at + 1,
                _ => found.extend(open.insert(Arc::clone(name), (at..at + 1, value)).map(|done| (Arc::clone(name), done))),
            }
        }
    }
    for (name, (range, value)) in found.into_iter().chain(open) {
        writer.mark_text(range, &name, &value);
    }
}

fn list(before: &List, after: &List, writer: &mut Writer<'_, '_>) {
    let prints = |list: &List| list.iter().map(Value::fingerprint).collect::<Vec<u128>>();
    let now = prints(&writer.core.list(writer.path()));
    for step in carry::steps(&prints(before), &prints(after), &now) {
        let insert = before.iter().skip(step.insert.start).take(step.insert.len());
        writer.splice_list(step.at, step.delete, insert.filter(|value| !matches!(value, Value::Unknown(_))).cloned().collect());
    }
}
