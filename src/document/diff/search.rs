//! The middle of the fewest edits between two sequences, searched from both ends (Myers, *An O(ND)
//! difference algorithm*, 1986), within given limits.

/// Points that no path of edits has reached: for the search from the start and for the search from
/// the end.
const BEFORE: isize = isize::MIN / 2;
const BEHIND: isize = isize::MAX / 2;

/// A point at which two sequences can be cut: the number of elements of each sequence before it.
pub(super) enum Found {
    /// A point near the middle of a path with the fewest edits.
    Middle(usize, usize),
    /// The furthest point that was reached, if the search was stopped at a limit.
    Furthest(usize, usize),
}

/// For each diagonal, the furthest point (in the old sequence) that is reached from the start and
/// from the end. The buffers are reused.
#[derive(Default)]
pub(super) struct Search {
    forward: Vec<isize>,
    backward: Vec<isize>,
    /// The number of comparisons of all searches so far.
    work: usize,
}

/// The diagonals that are reached with one more edit; only every second diagonal counts.
struct Reach {
    low: isize,
    high: isize,
}

impl Reach {
    /// Grows by one at either end. At a limit it shrinks by one instead, because only every second
    /// diagonal can be reached.
    fn grow(
        &mut self,
        (least, most): (isize, isize),
        points: &mut [isize],
        offset: isize,
        unreached: isize,
    ) {
        if self.low > least {
            self.low -= 1;
            points[(self.low - 1 + offset) as usize] = unreached;
        } else {
            self.low += 1;
        }
        if self.high < most {
            self.high += 1;
            points[(self.high + 1 + offset) as usize] = unreached;
        } else {
            self.high -= 1;
        }
    }

    fn diagonals(&self) -> impl Iterator<Item = isize> + use<> {
        (self.low..=self.high).step_by(2)
    }

    fn contains(&self, diagonal: isize) -> bool {
        (self.low..=self.high).contains(&diagonal)
    }
}

impl Search {
    /// Searches two sequences that are not empty and that differ at both ends. The search is
    /// limited to `edits_max` edits from either end, and stops soon after `work_max` comparisons.
    pub(super) fn middle(
        &mut self,
        old: &[u32],
        new: &[u32],
        edits_max: usize,
        work_max: usize,
    ) -> Found {
        let width = old.len() as isize;
        let height = new.len() as isize;
        // A point on diagonal k has k more elements of the old sequence before it than elements of
        // the new one.
        let least = -height;
        let most = width;
        let delta = width - height;
        let offset = height + 2;
        self.make_room(old.len() + new.len() + 5);
        let mut ahead = Reach { low: 0, high: 0 };
        let mut behind = Reach { low: delta, high: delta };
        self.forward[offset as usize] = 0;
        self.backward[(delta + offset) as usize] = width;
        let begun = self.work;
        for _ in 0..edits_max {
            ahead.grow((least, most), &mut self.forward, offset, BEFORE);
            for k in ahead.diagonals() {
                let x = self.step_ahead(old, new, k, offset);
                if delta % 2 != 0 && behind.contains(k) && x >= self.backward[(k + offset) as usize]
                {
                    return Found::Middle(x as usize, (x - k) as usize);
                }
            }
            behind.grow((least, most), &mut self.backward, offset, BEHIND);
            for k in behind.diagonals() {
                let x = self.step_back(old, new, k, offset);
                if delta % 2 == 0 && ahead.contains(k) && x <= self.forward[(k + offset) as usize] {
                    return Found::Middle(x as usize, (x - k) as usize);
                }
            }
            if self.work - begun > work_max {
                break;
            }
        }
        self.furthest((&ahead, &behind), width + height, offset)
    }

    /// The number of comparisons so far.
    #[cfg(test)]
    pub(super) fn work(&self) -> usize {
        self.work
    }

    fn make_room(&mut self, diagonals: usize) {
        if self.forward.len() < diagonals {
            self.forward.resize(diagonals, BEFORE);
            self.backward.resize(diagonals, BEHIND);
        }
    }

    /// The furthest point of a diagonal with one more edit. Points beyond the sequences do not
    /// count.
    fn step_ahead(&mut self, old: &[u32], new: &[u32], k: isize, offset: isize) -> isize {
        let at = (k + offset) as usize;
        let deleted = self.forward[at - 1] + 1;
        let inserted = self.forward[at + 1];
        let deleted = if deleted > old.len() as isize { BEFORE } else { deleted };
        let inserted = if inserted - k > new.len() as isize { BEFORE } else { inserted };
        let from = deleted.max(inserted);
        if from < 0 {
            self.forward[at] = BEFORE;
            return BEFORE;
        }
        let rest_old = &old[from as usize..];
        let rest_new = &new[(from - k) as usize..];
        let same = rest_old.iter().zip(rest_new).take_while(|(a, b)| a == b).count();
        self.work += same + 1;
        self.forward[at] = from + same as isize;
        self.forward[at]
    }

    /// Like [`Search::step_ahead`], from the end.
    fn step_back(&mut self, old: &[u32], new: &[u32], k: isize, offset: isize) -> isize {
        let at = (k + offset) as usize;
        let deleted = self.backward[at + 1] - 1;
        let inserted = self.backward[at - 1];
        let deleted = if deleted < 0 { BEHIND } else { deleted };
        let inserted = if inserted < k { BEHIND } else { inserted };
        let from = deleted.min(inserted);
        if from > old.len() as isize {
            self.backward[at] = BEHIND;
            return BEHIND;
        }
        let rest_old = &old[..from as usize];
        let rest_new = &new[..(from - k) as usize];
        let same =
            rest_old.iter().rev().zip(rest_new.iter().rev()).take_while(|(a, b)| a == b).count();
        self.work += same + 1;
        self.backward[at] = from - same as isize;
        self.backward[at]
    }

    /// The point with the most elements of both sequences before it (forward) or after it
    /// (backward).
    fn furthest(&self, (ahead, behind): (&Reach, &Reach), length: isize, offset: isize) -> Found {
        let forward = ahead
            .diagonals()
            .map(|k| (self.forward[(k + offset) as usize], k))
            .filter(|(x, _)| *x >= 0);
        let backward = behind
            .diagonals()
            .map(|k| (self.backward[(k + offset) as usize], k))
            .filter(|(x, _)| *x < BEHIND);
        let forward = forward.map(|(x, k)| (2 * x - k, x, k));
        let backward = backward.map(|(x, k)| (length - (2 * x - k), x, k));
        let (_, x, k) =
            forward.chain(backward).max_by_key(|(passed, ..)| *passed).unwrap_or((0, 0, 0));
        Found::Furthest(x as usize, (x - k) as usize)
    }
}
