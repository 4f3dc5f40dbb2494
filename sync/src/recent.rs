//! Updates that came from the peer recently, so that they are not sent back.

use std::collections::{HashSet, VecDeque};

use crate::frame::Hash;
use crate::limits::RECENT_UPDATES_MAX;

/// The hashes of the last updates that came. Both methods are O(1).
#[derive(Debug, Default)]
pub(crate) struct Recent {
    hashes: HashSet<Hash>,
    /// The same hashes, the oldest first.
    order: VecDeque<Hash>,
}

impl Recent {
    /// Notes an update. Forgets the oldest update if there are too many.
    pub(crate) fn note(&mut self, update: Hash) {
        if !self.hashes.insert(update) {
            return;
        }
        self.order.push_back(update);
        if self.order.len() > RECENT_UPDATES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.hashes.remove(&oldest);
        }
    }

    pub(crate) fn contains(&self, update: Hash) -> bool {
        self.hashes.contains(&update)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_hashes_are_forgotten() {
        let hash = |number: usize| Hash::of(&number.to_be_bytes());
        let mut recent = Recent::default();
        (0..=RECENT_UPDATES_MAX)
            .chain([RECENT_UPDATES_MAX])
            .for_each(|number| recent.note(hash(number)));
        assert!(
            !recent.contains(hash(0))
                && recent.contains(hash(1))
                && recent.contains(hash(RECENT_UPDATES_MAX))
        );
        assert_eq!(
            (recent.hashes.len(), recent.order.len()),
            (RECENT_UPDATES_MAX, RECENT_UPDATES_MAX)
        );
    }
}
