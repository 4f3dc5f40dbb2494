//! Names of the elements of sequences. A name is valid outside the store, too. By their names a
//! store recognises elements in saved stacks that it already has ids for.
//!
//! An id is valid in one store only. A name consists of the id that an element had in the store
//! whose change gave it one, and of that store's origin. An element without a name here got its id
//! from a change of this store.

use std::collections::BTreeMap;
use std::ops::Range;

use super::ids::{Ids, Sorted};
use crate::document::backend::Backend;
use crate::document::replica::Replica;

/// A map from stretches of ids to stretches of other ids, of the same length.
#[derive(Clone, Debug, Default)]
pub(super) struct Stretches(BTreeMap<u64, (u64, u64)>);

impl Stretches {
    /// Cuts a stretch into pieces, in order. A mapped piece comes with the first id that it is
    /// mapped to, an unmapped one with `None`. O(log n + pieces).
    pub(super) fn cut(&self, ids: Range<u64>) -> Vec<(Range<u64>, Option<u64>)> {
        let mut pieces = Vec::new();
        let mut at = ids.start;
        let before = self.0.range(..ids.start).next_back();
        for (start, (len, to)) in before.into_iter().chain(self.0.range(ids.clone())) {
            let within = at.max(*start)..ids.end.min(start + len);
            if within.is_empty() {
                continue;
            }
            if at < within.start {
                pieces.push((at..within.start, None));
            }
            at = within.end;
            pieces.push((within.clone(), Some(to + (within.start - start))));
        }
        if at < ids.end {
            pieces.push((at..ids.end, None));
        }
        pieces
    }

    /// Maps ids to others. Ids that are already mapped keep their target.
    pub(super) fn add(&mut self, ids: Range<u64>, to: u64) {
        for (piece, found) in self.cut(ids.clone()) {
            if found.is_none() {
                self.0
                    .insert(piece.start, (piece.end - piece.start, to + (piece.start - ids.start)));
            }
        }
    }

    /// Maps ids to others, and replaces the targets that they had.
    fn set(&mut self, ids: Range<u64>, to: u64) {
        let before = self.0.range(..ids.start).next_back();
        let meets: Vec<u64> =
            before.into_iter().chain(self.0.range(ids.clone())).map(|(start, _)| *start).collect();
        let old: Vec<_> =
            meets.into_iter().filter_map(|start| Some((start, self.0.remove(&start)?))).collect();
        self.add(ids, to);
        for (start, (len, to)) in old {
            self.add(start..start + len, to);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Range<u64>, u64)> {
        self.0.iter().map(|(start, (len, to))| (*start..start + len, *to))
    }
}

/// A one-to-one map between stretches of ids.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    to: Stretches,
    from: Stretches,
}

impl Pairs {
    /// Pairs ids with others, as far as neither of the two is paired yet.
    pub(super) fn add(&mut self, ids: Range<u64>, to: u64) {
        for (piece, _) in self.to.cut(ids.clone()).into_iter().filter(|(_, found)| found.is_none())
        {
            let start = to + (piece.start - ids.start);
            let free = self.from.cut(start..start + (piece.end - piece.start));
            for (target, _) in free.into_iter().filter(|(_, found)| found.is_none()) {
                let first = piece.start + (target.start - start);
                self.to.add(first..first + (target.end - target.start), target.start);
                self.from.add(target, first);
            }
        }
    }

    pub(super) fn cut(&self, ids: Range<u64>) -> Vec<(Range<u64>, Option<u64>)> {
        self.to.cut(ids)
    }
}

/// The names of elements whose ids are consecutive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) origin: u64,
    /// The ids in the store with that origin.
    pub(super) named: Range<u64>,
    /// The first id here; for a name in saved stacks, the first id in those stacks.
    pub(super) id: u64,
}

impl Name {
    pub(super) fn ids(&self) -> Range<u64> {
        self.id..self.id + (self.named.end - self.named.start)
    }
}

/// The names that a store knows.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The store's own origin. `None` until a change gives the first id.
    own: Option<u64>,
    /// For each origin, the ids there mapped to the ids here. One element may have several names.
    given: BTreeMap<u64, Stretches>,
}

impl Names {
    /// The store's origin. It is a hash of the replica's id and version. So it is another one in
    /// each run of the program, and the same one where a run is repeated.
    pub(super) fn own<B: Backend>(&mut self, document: &Replica<B>) -> u64 {
        if let Some(own) = self.own {
            return own;
        }
        let mut bytes = document.id().get().to_le_bytes().to_vec();
        bytes.extend(document.version().to_bytes());
        let mut own = xxhash_rust::xxh3::xxh3_64(&bytes);
        while self.given.contains_key(&own) {
            own = own.wrapping_add(1);
        }
        *self.own.insert(own)
    }

    /// The names of these elements. Elements without a name are left out.
    pub(super) fn of(&self, ids: &Sorted) -> Vec<Name> {
        let all = self.given.iter().flat_map(|(origin, given)| {
            given.iter().map(|(named, id)| Name { origin: *origin, named, id })
        });
        all.filter(|name| ids.cut(name.ids()).iter().any(|(_, within)| *within)).collect()
    }

    /// Forgets the names of all elements but these.
    pub(super) fn keep(&mut self, needed: &Sorted) {
        let is_needed =
            |id: u64, len: u64| needed.cut(id..id + len).iter().any(|(_, within)| *within);
        self.given
            .values_mut()
            .for_each(|given| given.0.retain(|_, (len, id)| is_needed(*id, *len)));
        self.given.retain(|_, given| !given.0.is_empty());
    }

    /// Forgets the names of all elements.
    pub(super) fn clear(&mut self) {
        self.given.clear();
    }

    /// The elements here that the names of saved stacks mean: ids in the stacks, paired with ids
    /// here.
    pub(super) fn find(&self, names: &[Name]) -> Pairs {
        let mut found = Pairs::default();
        for name in names {
            let own = |ids: &Range<u64>| (self.own == Some(name.origin)).then_some(ids.start);
            let given = self.given.get(&name.origin);
            let pieces = given.map_or_else(
                || vec![(name.named.clone(), None)],
                |given| given.cut(name.named.clone()),
            );
            for (piece, here) in pieces {
                if let Some(here) = here.or_else(|| own(&piece)) {
                    let id = name.id + (piece.start - name.named.start);
                    found.add(id..id + (piece.end - piece.start), here);
                }
            }
        }
        found
    }

    /// Records the names of saved stacks. `ids` pairs the ids in the stacks with the ids here.
    /// `next_id` is the first id that the store had not given before it loaded the stacks.
    pub(super) fn note(&mut self, names: &[Name], ids: &Pairs, next_id: u64) {
        if let Some(own) = self.own {
            // An element with an id of this store needs a name of this origin beside the name that
            // it gets here.
            let named: Ids = self
                .given
                .values()
                .flat_map(Stretches::iter)
                .map(|(named, id)| id..id + (named.end - named.start))
                .collect();
            let named = named.sorted();
            let known = ids
                .to
                .iter()
                .map(|(ids, here)| here..here + (ids.end - ids.start))
                .filter(|here| here.start < next_id);
            for (ids, _) in known.flat_map(|here| named.cut(here)).filter(|(_, within)| !within) {
                self.given.entry(own).or_default().set(ids.clone(), ids.start);
            }
        }
        for name in names {
            for (piece, here) in ids.cut(name.ids()) {
                let Some(here) = here else { continue };
                let start = name.named.start + (piece.start - name.id);
                let named = start..start + (piece.end - piece.start);
                // A name with this origin is not the store's own if the store has not given the id.
                // It is recorded under another origin.
                let origin = if self.own == Some(name.origin) && named.end > next_id {
                    !name.origin
                } else {
                    name.origin
                };
                self.given.entry(origin).or_default().set(named, here);
            }
        }
    }
}
