//! Writing the fewest ops that turn one collection of groups into another.
//!
//! First the groups are paired and written, as a list. Then the items are paired, their values are
//! written, and then their places.

use std::collections::{HashMap, HashSet};

use crate::document::key;

use super::super::stage::fingerprint;
use super::super::tree::{PLACE, place_value};
use super::super::{ElementId, State, Writer, order};
use super::{GROUPS, Groups, ITEMS};

/// An item of the new value: the id of its old item, its id in the new value, and its value.
struct Wanted<'a, T> {
    old: Option<ElementId>,
    id: ElementId,
    value: &'a T,
}

impl<G: State, T: State> Groups<G, T> {
    pub(super) fn write_least(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        let written = writer.at(GROUPS, |writer| self.groups.write_least(&new.groups, writer));
        writer.at(ITEMS, |writer| {
            let target = self.pair(new, &written, writer.core.restores_ids);
            let kept: HashSet<ElementId> = target
                .iter()
                .flat_map(|(_, items)| items)
                .filter_map(|wanted| wanted.old)
                .collect();
            for id in self.claims.keys().filter(|id| !kept.contains(*id)) {
                writer.at(&id.segment(), |writer| writer.clear());
            }
            for (group, items) in target {
                let ids = self.write_values(&items, writer);
                self.write_places(group, &ids, writer);
            }
        });
    }

    /// The new items of each group, with the id under which the group is written; the last entry
    /// has no id and holds the new ungrouped items. The old item of each new item is found by id,
    /// in any group. Otherwise, unless `ids_alone`, it is found within the group: by equal content
    /// in order, or as the old item that the new one replaces.
    fn pair<'a>(
        &self,
        new: &'a Self,
        written: &HashMap<ElementId, ElementId>,
        ids_alone: bool,
    ) -> Vec<(Option<ElementId>, Vec<Wanted<'a, T>>)> {
        let by_id = |(id, value)| Wanted {
            old: Some(id).filter(|id| self.claims.contains_key(id)),
            id,
            value,
        };
        let mut target: Vec<(Option<ElementId>, Vec<_>)> = Vec::new();
        for (id, _, items) in new.iter() {
            if let Some(group) = written.get(&id) {
                target.push((Some(*group), items.iter_ids().map(by_id).collect()));
            }
        }
        target.push((None, new.ungrouped().map(by_id).collect()));
        if ids_alone {
            return target;
        }
        let taken: HashSet<ElementId> =
            target.iter().flat_map(|(_, items)| items).filter_map(|wanted| wanted.old).collect();
        for (group, items) in &mut target {
            let there: Vec<(ElementId, &T)> = match group {
                Some(group) => self.items(*group).iter_ids().collect(),
                None => self.ungrouped().collect(),
            };
            let free_old: Vec<(ElementId, &T)> =
                there.into_iter().filter(|(id, _)| !taken.contains(id)).collect();
            let mut free_new: Vec<&mut Wanted<'_, T>> =
                items.iter_mut().filter(|wanted| wanted.old.is_none()).collect();
            let old_prints = free_old.iter().map(|(_, value)| fingerprint(*value)).collect();
            let new_prints = free_new.iter().map(|wanted| fingerprint(wanted.value)).collect();
            order::pair(&[(old_prints, new_prints)], &mut |old, new| {
                if let (Some((id, _)), Some(wanted)) = (free_old.get(old), free_new.get_mut(new)) {
                    wanted.old = Some(*id);
                }
            });
        }
        target
    }

    /// Writes the values. Returns the id under which each item is written: the id of its old item,
    /// or a new one.
    fn write_values(&self, items: &[Wanted<'_, T>], writer: &mut Writer<'_, '_>) -> Vec<ElementId> {
        let write = |wanted: &Wanted<'_, T>| {
            let old = wanted.old.and_then(|id| Some((id, self.get(id)?)));
            let id = old.map_or_else(|| writer.element(wanted.id), |(id, _)| id);
            writer.at(&id.segment(), |writer| match old {
                Some((_, old)) => old.reconcile(wanted.value, writer),
                None => writer.write_slot(wanted.value),
            });
            id
        };
        items.iter().map(write).collect()
    }

    /// Writes the places of the items that are not yet at their place.
    fn write_places(
        &self,
        group: Option<ElementId>,
        ids: &[ElementId],
        writer: &mut Writer<'_, '_>,
    ) {
        // The registers of ungrouped items may name groups that are gone. They stay as they are,
        // unless the order of the items changes.
        if group.is_none() && self.ungrouped().map(|(id, _)| id).eq(ids.iter().copied()) {
            return;
        }
        let list = self.lists.get(&group).unwrap_or(&self.empty);
        let stood: Vec<_> =
            ids.iter().map(|id| Some((list.index_of(*id)?, list.position(*id)?))).collect();
        let places = order::places(&stood, || writer.core.stamp());
        for ((id, stood), place) in ids.iter().zip(&stood).zip(places) {
            if stood.is_none_or(|(_, position)| *position != place) {
                writer.at(&key::join(&id.segment(), PLACE), |writer| {
                    writer.put(place_value(group, &place))
                });
            }
        }
    }
}
