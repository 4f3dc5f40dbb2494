//! Updates that wait for a missing one.
//!
//! What a stranger brought may wait for ever, as the missing one may be lost, so it may be forgotten: whoever has both gives both again.
//! What came from this replica's own storage was applied here once. Others may have acknowledged it, or lost it since and count on this
//! replica: it is never forgotten. Where a replica id was used twice the missing one may have been given up by all others; then what it
//! wrote in registers is written again, once.

use std::collections::{HashMap, HashSet};

use xxhash_rust::xxh3::xxh3_128;

use super::Giver;
use crate::document::backend::Backend;
use crate::document::limits::Limits;

pub(super) struct Pending<B: Backend> {
    parcels: Vec<B::Parcel>,
    /// Hashes of the bytes of those that came from this replica's own storage, and whether they were asked for by
    /// [`take_unwritten`](Self::take_unwritten).
    own: HashMap<u128, bool>,
}

impl<B: Backend> Default for Pending<B> {
    fn default() -> Self {
        Self { parcels: Vec::new(), own: HashMap::new() }
    }
}

fn hash<B: Backend>(parcel: &B::Parcel) -> u128 {
    xxh3_128(B::bytes(parcel))
}

impl<B: Backend> Pending<B> {
    pub(super) fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    /// How many there are, and their bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        size::<B>(&self.parcels)
    }

    /// Whether a parcel waits already. If it does, and is given from this replica's own storage now, it counts as such.
    pub(super) fn holds(&mut self, parcel: &B::Parcel, giver: Giver) -> bool {
        let holds = self.parcels.iter().any(|waiting| B::bytes(waiting) == B::bytes(parcel));
        if holds && giver == Giver::Own {
            self.own.entry(hash::<B>(parcel)).or_default();
        }
        holds
    }

    /// How many from such a giver there would be with these, and their bytes, if that is more than the limits allow.
    pub(super) fn overflow(&self, more: &[B::Parcel], giver: Giver, limits: &Limits) -> Option<(usize, usize)> {
        let same = self.parcels.iter().filter(|parcel| self.giver(parcel) == giver);
        let (updates, bytes) = size::<B>(same.chain(more));
        let over = updates > limits.pending_updates_max() || bytes > limits.pending_bytes_max();
        (over && !more.is_empty()).then_some((updates, bytes))
    }

    pub(super) fn extend(&mut self, parcels: Vec<B::Parcel>, giver: Giver) {
        if giver == Giver::Own {
            self.own.extend(parcels.iter().map(|parcel| (hash::<B>(parcel), false)));
        }
        self.parcels.extend(parcels);
    }

    /// The parcels, to be split into those that wait no longer and those that still do.
    pub(super) fn parcels_mut(&mut self) -> &mut Vec<B::Parcel> {
        &mut self.parcels
    }

    /// Forgets the hashes of what waits no longer.
    pub(super) fn tidy(&mut self) {
        if !self.own.is_empty() {
            let waiting: HashSet<u128> = self.parcels.iter().map(hash::<B>).collect();
            self.own.retain(|hash, _| waiting.contains(hash));
        }
    }

    /// Forgets all from one giver.
    pub(super) fn forget(&mut self, giver: Giver) {
        let mut parcels = std::mem::take(&mut self.parcels);
        parcels.retain(|parcel| self.giver(parcel) != giver);
        self.parcels = parcels;
        self.tidy();
    }

    /// Those from this replica's own storage that were not asked for before.
    pub(super) fn take_unwritten(&mut self) -> Vec<&B::Parcel> {
        let (parcels, own) = (&self.parcels, &mut self.own);
        let asked = |parcel: &&B::Parcel| own.get_mut(&hash::<B>(parcel)).is_some_and(|asked| !std::mem::replace(asked, true));
        parcels.iter().filter(asked).collect()
    }

    /// All of them as updates, each with who gave it.
    pub(super) fn updates(&self) -> Vec<(Vec<u8>, Giver)> {
        self.parcels.iter().map(|parcel| (B::bytes(parcel).to_vec(), self.giver(parcel))).collect()
    }

    /// Whether a parcel that waits, or did until now, came from this replica's own storage.
    pub(super) fn is_own(&self, parcel: &B::Parcel) -> bool {
        !self.own.is_empty() && self.own.contains_key(&hash::<B>(parcel))
    }

    fn giver(&self, parcel: &B::Parcel) -> Giver {
        if self.is_own(parcel) { Giver::Own } else { Giver::Stranger }
    }
}

fn size<'a, B: Backend>(parcels: impl IntoIterator<Item = &'a B::Parcel>) -> (usize, usize)
where
    B::Parcel: 'a,
{
    parcels.into_iter().fold((0, 0), |(updates, bytes), parcel| (updates + 1, bytes + B::bytes(parcel).len()))
}
