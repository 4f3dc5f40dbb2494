//! Writing the least that turns one tree into another.
//!
//! Nodes are paired first, then values are written, then places: for the children of each parent as
//! for the elements of a list.

use std::collections::{HashMap, HashSet};

use crate::document::digest::Canonical;
use crate::document::key;

use super::super::stage::fingerprint;
use super::super::{ElementId, State, Writer, order};
use super::rule::Walk;
use super::{PLACE, Tree, place_value};

/// What a node holds, as hashes.
struct Print {
    value: u128,
    /// With all that stands below it.
    whole: u128,
}

/// The parent that is wanted for each node, by the ids that are written.
type Parents = HashMap<ElementId, Option<ElementId>>;

impl<T: State> Tree<T> {
    pub(super) fn write_least(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        let old_of = self.pair(new, writer.core.restores);
        let kept: HashSet<ElementId> = old_of.values().copied().collect();
        for id in self.nodes.keys().filter(|id| !kept.contains(*id)) {
            writer.at(&id.segment(), |writer| writer.clear());
        }
        let written = self.write_values(new, &old_of, writer);
        self.write_places(new, &written, writer);
    }

    /// The old node of each new one that has one: by id; else, among the children of a pair, by
    /// equal content in order (with all that is below it, or by itself); else the one in whose
    /// stead it stands. Or by ids alone. O(n · log n), and only what no id pairs is hashed.
    fn pair(&self, new: &Self, ids_alone: bool) -> HashMap<ElementId, ElementId> {
        let both = new.nodes.keys().filter(|id| self.nodes.contains_key(*id));
        let mut old_of: HashMap<ElementId, ElementId> = both.map(|id| (*id, *id)).collect();
        if ids_alone || old_of.len() == self.len() || old_of.len() == new.len() {
            return old_of;
        }
        let old_prints = self.prints_of_others(new);
        let new_prints = new.prints_of_others(self);
        let mut waiting = vec![(None, None)];
        while let Some((old_parent, new_parent)) = waiting.pop() {
            let free_old: Vec<_> = self
                .children(old_parent)
                .filter_map(|id| Some((id, old_prints.get(&id)?)))
                .collect();
            let free_new: Vec<_> = new
                .children(new_parent)
                .filter_map(|id| Some((id, new_prints.get(&id)?)))
                .collect();
            let level = |of: fn(&Print) -> u128| {
                let prints = |free: &[(ElementId, &Print)]| {
                    free.iter().map(|(_, print)| of(print)).collect()
                };
                (prints(&free_old), prints(&free_new))
            };
            order::pair(
                &[level(|print| print.whole), level(|print| print.value)],
                &mut |old, new| {
                    if let (Some((old, _)), Some((new, _))) = (free_old.get(old), free_new.get(new))
                    {
                        old_of.insert(*new, *old);
                    }
                },
            );
            waiting.extend(
                new.children(new_parent).filter_map(|id| Some((Some(*old_of.get(&id)?), Some(id)))),
            );
        }
        old_of
    }

    /// The hashes of the nodes whose ids the other tree does not have.
    fn prints_of_others(&self, other: &Self) -> HashMap<ElementId, Print> {
        let mut prints: HashMap<ElementId, Print> = HashMap::new();
        // Children come before their parents.
        for (_, id, value) in
            self.walk().into_iter().rev().filter(|(_, id, _)| !other.nodes.contains_key(id))
        {
            let value = fingerprint(value);
            let mut whole = Canonical::new();
            whole.bytes(0, &value.to_le_bytes());
            for below in self.children(Some(id)).filter_map(|child| prints.get(&child)) {
                whole.bytes(1, &below.whole.to_le_bytes());
            }
            prints.insert(id, Print { value, whole: whole.finish() });
        }
        prints
    }

    /// Writes all values. Says under which id each new node is written: its old node's, or one of
    /// its own.
    fn write_values(
        &self,
        new: &Self,
        old_of: &HashMap<ElementId, ElementId>,
        writer: &mut Writer<'_, '_>,
    ) -> HashMap<ElementId, ElementId> {
        let mut written = HashMap::new();
        for (_, id, value) in new.walk() {
            let old = old_of.get(&id).and_then(|old| Some((*old, self.get(*old)?)));
            let to = old.map_or_else(|| writer.element(id), |(old, _)| old);
            writer.at(&to.segment(), |writer| match old {
                Some((_, old)) => old.reconcile(value, writer),
                None => writer.write_slot(value),
            });
            written.insert(id, to);
        }
        written
    }

    /// Writes the places of the nodes that do not stand in theirs.
    fn write_places(
        &self,
        new: &Self,
        written: &HashMap<ElementId, ElementId>,
        writer: &mut Writer<'_, '_>,
    ) {
        let to = |id: ElementId| written.get(&id).copied();
        let parents: Parents = new
            .nodes
            .iter()
            .filter_map(|(id, node)| Some((to(*id)?, node.shown.and_then(to))))
            .collect();
        let order: HashMap<ElementId, usize> =
            self.children.iter().enumerate().map(|(index, (_, _, id))| (*id, index)).collect();
        for parent in std::iter::once(None).chain(new.nodes.keys().copied().map(Some)) {
            let children: Vec<ElementId> = new.children(parent).filter_map(to).collect();
            let parent = parent.and_then(to);
            let stood = |id: &ElementId| {
                let node = self
                    .nodes
                    .get(id)
                    .filter(|node| node.shown == parent && self.stays_by_rule(*id, &parents))?;
                Some((*order.get(id)?, &node.position))
            };
            let stood: Vec<_> = children.iter().map(stood).collect();
            let places = order::places(&stood, || writer.core.stamp());
            for ((id, stood), place) in children.iter().zip(stood).zip(places) {
                if stood.is_none_or(|(_, position)| *position != place) {
                    writer.at(&key::join(&id.segment(), PLACE), |writer| {
                        writer.put(place_value(parent, &place))
                    });
                }
            }
        }
    }

    /// Whether a node whose place is not written stands where it stood. One that the rule has put
    /// at the root, whatever its register says, stays there only as long as its cycle does, or
    /// as its parent is missing.
    fn stays_by_rule(&self, id: ElementId, parents: &Parents) -> bool {
        let Some(node) = self.nodes.get(&id) else { return false };
        let Some(claimed) =
            node.parent.filter(|parent| node.shown.is_none() && parents.contains_key(parent))
        else {
            return true;
        };
        let cycle = self.cycle(id, &mut Walk::default());
        let same =
            |at: &ElementId| parents.get(at).copied() == self.nodes.get(at).map(|node| node.parent);
        cycle.contains(&claimed) && cycle.iter().filter(|at| **at != id).all(same)
    }
}
