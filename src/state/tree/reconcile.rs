//! Writing the fewest ops that turn one tree into another.
//!
//! First the nodes are paired, then the values are written, then the places. The children of each
//! parent are placed like the elements of a list.

use std::collections::{HashMap, HashSet};

use crate::document::digest::Canonical;
use crate::document::key;

use super::super::stage::fingerprint;
use super::super::{ElementId, State, Writer, order};
use super::rule::Walk;
use super::{PLACE, Tree, place_value};

/// The hashes of a node's content.
struct Print {
    value: u128,
    /// The hash of the node with its subtree.
    whole: u128,
}

/// The new parent of each node, by the ids under which the nodes are written.
type Parents = HashMap<ElementId, Option<ElementId>>;

impl<T: State> Tree<T> {
    pub(super) fn write_least(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        let old_of = self.pair(new, writer.core.restores_ids);
        let kept: HashSet<ElementId> = old_of.values().copied().collect();
        for id in self.nodes.keys().filter(|id| !kept.contains(*id)) {
            writer.at(&id.segment(), |writer| writer.clear());
        }
        let written = self.write_values(new, &old_of, writer);
        self.write_places(new, &written, writer);
    }

    /// Pairs new nodes with old nodes. A new node is paired by id. Otherwise, unless `ids_alone`,
    /// it is paired among the children of a pair: by equal content in order (with the subtree, or
    /// of the node alone), or with the old node that it replaces. O(n · log n). Only nodes that are
    /// not paired by id are hashed.
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

    /// Writes all values. Returns the id under which each new node is written: the id of its old
    /// node, or a new one.
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

    /// Writes the places of the nodes that are not yet at their place.
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

    /// Whether a node stays at its place if its place is not written. A node that the rule puts at
    /// the root against its register stays there only while its cycle exists or its parent is
    /// missing.
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
