//! The position of a new element.

use super::level::{self, Level, Stamp, levels};

/// No position is longer than this. If there is no shorter one, the elements get new positions
/// instead. Positions of honest replicas stay far below this length.
const LEN_MAX: usize = 512;

/// A position strictly between two neighbours. `None` for a neighbour stands for either end.
/// Returns `None` if there is no room.
///
/// Next to an element whose position the replica of `stamp` assigned, the new position goes into
/// the same node, or into the gap next to that element. So no element of a replica that has not
/// seen that element comes between the two. If the replica assigned the positions of both
/// neighbours, the younger one counts, because it belongs to the run that is being made. In all
/// other cases the position begins a new node, at the place where its name is shortest.
pub(crate) fn between(low: Option<&[u8]>, high: Option<&[u8]>, stamp: Stamp) -> Option<Vec<u8>> {
    let gap = Gap::new(low.unwrap_or_default(), high);
    let fits = |position: &Vec<u8>| gap.holds(position);
    gap.beside_own(stamp)
        .filter(fits)
        .or_else(|| gap.shortest(stamp))
        .or_else(|| gap.forced(stamp).filter(fits))
}

/// The gap between two positions.
struct Gap<'a> {
    low: &'a [u8],
    high: Option<&'a [u8]>,
    below: Vec<Level>,
    above: Vec<Level>,
}

impl<'a> Gap<'a> {
    fn new(low: &'a [u8], high: Option<&'a [u8]>) -> Self {
        Self { low, high, below: levels(low), above: high.map(levels).unwrap_or_default() }
    }

    fn holds(&self, position: &Vec<u8>) -> bool {
        self.low < position.as_slice()
            && self.high.is_none_or(|high| position.as_slice() < high)
            && position.len() <= LEN_MAX
    }

    /// A position next to the younger of the neighbours whose positions this replica assigned.
    fn beside_own(&self, stamp: Stamp) -> Option<Vec<u8>> {
        let age = |level: &Level| level.given_by(stamp);
        let low = self.below.last().and_then(age);
        let high = self.above.last().and_then(age);
        match (low, high) {
            (None, None) => None,
            (low, high) if low >= high => self.behind(self.below.last()?, stamp),
            _ => self.before(self.above.last()?, stamp),
        }
    }

    /// A position after the lower neighbour: the next value of its node, if the higher neighbour is
    /// not in that node; otherwise the gap after the lower neighbour.
    fn behind(&self, own: &Level, stamp: Stamp) -> Option<Vec<u8>> {
        let node = self.low.get(..own.node_end)?;
        if own.value >= 0 && !self.high.is_some_and(|high| high.starts_with(node)) {
            return Some(level::element(node, level::node_sizes(own), own.distance(stamp)?));
        }
        // If the higher neighbour is in that gap, it determines the position in the gap.
        let has_gap = self.high.is_some_and(|high| high.starts_with(self.low));
        (!has_gap).then(|| level::new_node(self.low, 0, stamp))
    }

    /// A position before the higher neighbour, by the same rules.
    fn before(&self, own: &Level, stamp: Stamp) -> Option<Vec<u8>> {
        let high = self.high?;
        let node = high.get(..own.node_end)?;
        if own.value <= 0 && !self.low.starts_with(node) {
            return Some(level::element(node, level::node_sizes(own), -own.distance(stamp)?));
        }
        let gap = level::gap_before(high)?;
        (!self.low.starts_with(&gap)).then(|| level::new_node(&gap, 0, stamp))
    }

    /// The shortest new node between the two neighbours. The candidates are: after a node of the
    /// lower neighbour, in the gap after the lower neighbour, before a node of the higher
    /// neighbour, and in the gap before the higher neighbour.
    fn shortest(&self, stamp: Stamp) -> Option<Vec<u8>> {
        let high = self.high.unwrap_or_default();
        let behind = self
            .below
            .iter()
            .filter_map(|level| Some((self.low.get(..level.start)?, level.head.checked_add(1)?)));
        let before = self
            .above
            .iter()
            .filter_map(|level| Some((high.get(..level.start)?, level.head.checked_sub(1)?)));
        let gap_before = level::gap_before(high);
        let gaps = behind
            .chain([(self.low, 0)])
            .chain(before)
            .chain(gap_before.as_deref().map(|gap| (gap, 0)));
        let nodes = gaps
            .filter(|(gap, _)| gap.len() < LEN_MAX)
            .map(|(gap, head)| level::new_node(gap, head, stamp));
        nodes.filter(|node| self.holds(node)).min_by_key(Vec::len)
    }

    /// A new node for the case that the higher neighbour extends the lower one by bytes of another
    /// scheme.
    fn forced(&self, stamp: Stamp) -> Option<Vec<u8>> {
        Some(level::new_node(&middle(self.low, self.high?)?, 0, stamp))
    }
}

/// The shortest byte string that is above `low` and below `high` and is no prefix of `high`.
fn middle(low: &[u8], high: &[u8]) -> Option<Vec<u8>> {
    let mut high = Some(high);
    let mut position = Vec::new();
    for index in 0..LEN_MAX {
        let floor = u16::from(low.get(index).copied().unwrap_or(0));
        let ceiling = match high {
            Some(high) => u16::from(*high.get(index)?),
            None => 256,
        };
        if floor > ceiling {
            return None;
        }
        if ceiling - floor > 1 {
            position.push(u8::try_from(floor + (ceiling - floor) / 2).ok()?);
            return Some(position);
        }
        position.push(u8::try_from(floor).ok()?);
        if ceiling > floor {
            high = None;
        }
    }
    None
}
