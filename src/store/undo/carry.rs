//! Taking back an edit of a sequence after others have edited it too: what the edit deleted comes back where it stood, what it inserted
//! goes as far as it is still there, and what others inserted stays.
//!
//! Positions are carried from the sequence as the edit left it to the sequence now along the elements that both have (the least edits
//! between the two; Myers, *An O(ND) difference algorithm*, 1986). Where equal elements stand side by side it may take another one of
//! them for the one that stayed, which looks the same.

use std::hash::Hash;
use std::ops::Range;

use crate::state::diff;

/// One step, to be applied in the order in which they come: from the end to the start, so that none moves those that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Where, in the sequence as it is now with the steps before.
    pub(super) at: usize,
    pub(super) delete: usize,
    /// What comes back: a range of the sequence before the edit.
    pub(super) insert: Range<usize>,
}

/// The steps that take the edit from `before` to `after` back in `now`. O(lengths), and the product of what differs.
pub(super) fn steps<T: Eq + Hash + Ord>(before: &[T], after: &[T], now: &[T]) -> Vec<Step> {
    let kept = Kept::between(after, now);
    let mut steps = Vec::new();
    for (range, insert) in edits(after, before).into_iter().rev() {
        let at = kept.place(range.start, now.len());
        for gone in kept.of(range).into_iter().rev() {
            steps.push(Step { at: gone.start, delete: gone.len(), insert: 0..0 });
        }
        match steps.last_mut().filter(|step| step.at == at && step.insert.is_empty()) {
            Some(step) => step.insert = insert,
            None if !insert.is_empty() => steps.push(Step { at, delete: 0, insert }),
            None => {}
        }
    }
    steps
}

/// Where each element of `from` that is still there now stands in `now`, as `usize::MAX` where it is gone.
pub(super) fn carried<T: Eq + Hash + Ord>(from: &[T], now: &[T]) -> Vec<usize> {
    let kept = Kept::between(from, now);
    let mut places = vec![usize::MAX; from.len()];
    for (start, to, len) in kept.0 {
        (0..len).for_each(|offset| places[start + offset] = to + offset);
    }
    places
}

/// The edits from `old` to `new`: ranges of `old`, and what of `new` stands there instead.
fn edits<T: Eq + Hash + Ord>(old: &[T], new: &[T]) -> Vec<(Range<usize>, Range<usize>)> {
    let (mut edits, mut grown, mut shrunk) = (Vec::new(), 0, 0);
    diff::slices(old, new, |at, delete, insert| {
        let start = at + shrunk - grown;
        grown += insert.len();
        shrunk += delete;
        edits.push((start..start + delete, insert));
    });
    edits
}

/// Stretches that two sequences share: where they start in the one and in the other, and how long they are.
struct Kept(Vec<(usize, usize, usize)>);

impl Kept {
    fn between<T: Eq + Hash + Ord>(from: &[T], to: &[T]) -> Self {
        let (mut kept, mut old, mut new) = (Vec::new(), 0, 0);
        for (gone, come) in edits(from, to) {
            kept.push((old, new, gone.start - old));
            (old, new) = (gone.end, come.end);
        }
        kept.push((old, new, from.len() - old));
        kept.retain(|(_, _, len)| *len > 0);
        Self(kept)
    }

    /// What is left of a range.
    fn of(&self, range: Range<usize>) -> Vec<Range<usize>> {
        let parts = self.0.iter().filter_map(|(from, to, len)| {
            let (start, end) = (range.start.max(*from), range.end.min(from + len));
            (start < end).then(|| to + start - from..to + end - from)
        });
        parts.collect()
    }

    /// Where a place is now: behind the element before it, or else before the first one behind it that is left.
    fn place(&self, at: usize, end: usize) -> usize {
        let behind = self.0.iter().find(|(from, _, len)| (*from..from + len).contains(&at.wrapping_sub(1)));
        match behind {
            Some((from, to, _)) if at > 0 => to + at - from,
            _ => self.0.iter().find(|(from, _, len)| from + len > at).map_or(end, |(from, to, _)| to + at.max(*from) - from),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn revert(before: &str, after: &str, now: &str) -> String {
        let chars = |text: &str| text.chars().collect::<Vec<char>>();
        let (before, mut result) = (chars(before), chars(now));
        for step in steps(&before, &chars(after), &chars(now)) {
            result.splice(step.at..step.at + step.delete, before[step.insert].iter().copied());
        }
        result.into_iter().collect()
    }

    #[test]
    fn only_ones_own_edit_is_taken_back() {
        assert_eq!(revert("ac", "abc", "abc"), "ac");
        assert_eq!(revert("ac", "abbc", "xabYbcz"), "xaYcz", "what others typed into it stays");
        assert_eq!(revert("abc", "ac", "aXc"), "abXc");
        assert_eq!(revert("abc", "ac", "c"), "bc", "the place is where its neighbour is");
        assert_eq!(revert("abc", "", "XY"), "XYabc");
        assert_eq!(revert("one two", "one three", "one three!"), "one two!");
        assert_eq!(revert("", "abc", ""), "");
    }

    proptest! {
        #[test]
        fn where_nobody_else_has_edited_it_is_as_before(before in "[ab]{0,12}", after in "[ab]{0,12}") {
            prop_assert_eq!(revert(&before, &after, &after), before);
        }

        /// What others inserted (capitals) all stays, in its order; nothing of theirs is doubled.
        #[test]
        fn what_others_inserted_stays(before in "[a-c]{0,10}", after in "[a-c]{0,10}", foreign in prop::collection::vec((any::<prop::sample::Index>(), "[A-Z]"), 0..6)) {
            let mut now = after.clone();
            for (at, text) in &foreign {
                now.insert_str(at.index(now.len() + 1), text);
            }
            let reverted = revert(&before, &after, &now);
            let (capitals, small): (String, String) = (now.chars().filter(|c| c.is_uppercase()).collect(), reverted.chars().filter(|c| c.is_lowercase()).collect());
            prop_assert_eq!(reverted.chars().filter(|c| c.is_uppercase()).collect::<String>(), capitals);
            let (mut sorted, mut wanted) = (small.chars().collect::<Vec<_>>(), before.chars().collect::<Vec<_>>());
            sorted.sort_unstable();
            wanted.sort_unstable();
            prop_assert_eq!(sorted, wanted);
        }
    }
}
