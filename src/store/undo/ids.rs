//! Sets of ids, as stretches.

use std::ops::Range;

/// Ids of elements of a sequence, as stretches of consecutive ids. The stretches stand in the order
/// in which they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ids(Vec<Range<u64>>);

impl Ids {
    /// Adds ids at the end. A stretch that begins where the last one ends is joined to it.
    pub(super) fn push(&mut self, ids: Range<u64>) {
        match self.0.last_mut() {
            _ if ids.is_empty() => {}
            Some(last) if last.end == ids.start => last.end = ids.end,
            _ => self.0.push(ids),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().cloned()
    }

    /// The same ids in ascending order, each once, so that ids can be looked up.
    pub(super) fn sorted(mut self) -> Sorted {
        self.0.sort_by_key(|ids| ids.start);
        let mut sorted: Vec<Range<u64>> = Vec::with_capacity(self.0.len());
        for ids in self.0 {
            match sorted.last_mut() {
                Some(last) if ids.start <= last.end => last.end = last.end.max(ids.end),
                _ => sorted.push(ids),
            }
        }
        Sorted(sorted)
    }
}

impl FromIterator<Range<u64>> for Ids {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(stretches: I) -> Self {
        let mut ids = Self::default();
        stretches.into_iter().for_each(|stretch| ids.push(stretch));
        ids
    }
}

/// Ids in ascending order, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct Sorted(Vec<Range<u64>>);

impl Sorted {
    /// Cuts a stretch into pieces, in order. A piece with `true` has its ids in this set. O(log n +
    /// pieces).
    pub(super) fn cut(&self, ids: Range<u64>) -> Vec<(Range<u64>, bool)> {
        let mut pieces = Vec::new();
        let mut at = ids.start;
        let first = self.0.partition_point(|found| found.end <= ids.start);
        for found in self.0.iter().skip(first).take_while(|found| found.start < ids.end) {
            let within = found.start.max(at)..found.end.min(ids.end);
            if at < within.start {
                pieces.push((at..within.start, false));
            }
            at = within.end;
            pieces.push((within, true));
        }
        if at < ids.end {
            pieces.push((at..ids.end, false));
        }
        pieces
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The number of ids in a stretch. It fits into a `usize`, as all the elements are in memory.
pub(super) fn count(ids: &Range<u64>) -> usize {
    usize::try_from(ids.end.saturating_sub(ids.start)).unwrap_or(usize::MAX)
}
