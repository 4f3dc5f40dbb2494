//! The identity of the elements of a sequence across all edits. An undo needs it to find the
//! elements that a change inserted, and the places where the elements stood that it deleted.
//!
//! An element that a change of this store inserted, deleted or marked has an id. All other elements
//! have none, however many they are. A deleted element with an id keeps its place between its
//! neighbours.

use std::ops::Range;

use super::ids::{Ids, Sorted, count};
use crate::document::diff;
use crate::document::replica::List;
use crate::document::rope::Rope;
use crate::document::value::Value;

/// The content of a sequence: of a text or of a list.
pub(in crate::store) trait Content: Clone + Default + PartialEq {
    fn len(&self) -> usize;
    /// A copy of a part of the content.
    fn part(&self, range: Range<usize>) -> Self;
    fn remove(&mut self, range: Range<usize>);
    fn append(&mut self, more: &Self);
    /// Calls `edit(at, delete, insert)` for each edit that leads from this content to `new`. Each
    /// position counts the edits before it.
    fn compare(&self, new: &Self, edit: &mut dyn FnMut(usize, usize, usize));
}

impl Content for Rope {
    fn len(&self) -> usize {
        self.len_chars()
    }

    fn part(&self, range: Range<usize>) -> Self {
        let mut part = self.clone();
        part.delete(range.end..usize::MAX);
        part.delete(0..range.start);
        part
    }

    fn remove(&mut self, range: Range<usize>) {
        self.delete(range);
    }

    fn append(&mut self, more: &Self) {
        for (run, marks) in more.chunks() {
            self.insert(self.len_chars(), run, marks.cloned());
        }
    }

    fn compare(&self, new: &Self, edit: &mut dyn FnMut(usize, usize, usize)) {
        let (head, tail) = self.common_ends(new);
        let chars =
            |rope: &Self| rope.slice(head..rope.len_chars() - tail).chars().collect::<Vec<char>>();
        diff::slices(&chars(self), &chars(new), |at, delete, insert| {
            edit(head + at, delete, insert.len())
        });
    }
}

impl Content for List {
    fn len(&self) -> usize {
        self.len()
    }

    fn part(&self, range: Range<usize>) -> Self {
        self.iter().skip(range.start).take(range.len()).cloned().collect()
    }

    fn remove(&mut self, range: Range<usize>) {
        self.splice(range.start, range.len(), std::iter::empty());
    }

    fn append(&mut self, more: &Self) {
        self.splice(self.len(), 0, more.iter().cloned());
    }

    fn compare(&self, new: &Self, edit: &mut dyn FnMut(usize, usize, usize)) {
        let (head, tail) = self.common_ends(new);
        let prints = |list: &Self| {
            let middle = list.iter().skip(head).take(list.len() - head - tail);
            middle.map(Value::fingerprint).collect::<Vec<u128>>()
        };
        diff::slices(&prints(self), &prints(new), |at, delete, insert| {
            edit(head + at, delete, insert.len())
        });
    }
}

/// The id of an element without id. Real ids begin with 1.
const NOBODY: u64 = 0;

/// Neighbouring elements that are all in the sequence, or all deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The id of the first element, and those of the others follow it; or [`NOBODY`] for all.
    pub(super) id: u64,
    pub(super) len: usize,
    pub(super) alive: bool,
}

impl Run {
    pub(super) fn of(ids: Range<u64>, alive: bool) -> Self {
        Self { id: ids.start, len: count(&ids), alive }
    }

    fn nobodys(len: usize) -> Self {
        Self { id: NOBODY, len, alive: true }
    }

    pub(super) fn has_ids(&self) -> bool {
        self.id != NOBODY
    }

    pub(super) fn ids(&self) -> Range<u64> {
        self.id..self.id.saturating_add(self.len as u64)
    }

    /// Cuts the run into its first `len` elements and the rest.
    pub(super) fn cut(self, len: usize) -> [Self; 2] {
        let id = if self.has_ids() { self.id.saturating_add(len as u64) } else { NOBODY };
        [Self { len, ..self }, Self { id, len: self.len - len, ..self }]
    }

    fn goes_on_in(&self, next: &Self) -> bool {
        self.alive == next.alive
            && if self.has_ids() { self.ids().end == next.id } else { !next.has_ids() }
    }
}

/// Elements with ids, and their place in the sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) ids: Range<u64>,
    /// How many elements of the sequence (deleted ones do not count) stand before them.
    pub(super) at: usize,
    pub(super) alive: bool,
}

/// The track of one sequence: it knows the ids of the elements, in order.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Track<T> {
    /// The content of the sequence at the time of the last sync.
    pub(super) known: T,
    pub(super) runs: Vec<Run>,
}

impl<T: Content> Track<T> {
    pub(super) fn new(known: T) -> Self {
        let mut runs = Vec::new();
        push(&mut runs, Run::nobodys(known.len()));
        Self { known, runs }
    }

    /// Brings the track up to date with the sequence, which other writers have edited. Only the
    /// result of their edits is known. For a list O(n), for a text O(the difference); plus the
    /// search of [`diff::slices`] in what differs.
    pub(super) fn sync(&mut self, now: &T) {
        if self.known == *now {
            self.known = now.clone();
            return;
        }
        let known = std::mem::replace(&mut self.known, now.clone());
        known.compare(now, &mut |at, delete, insert| {
            self.remove(at..at + delete, None);
            // At the start of the sequence, elements of other writers go before the deleted
            // elements there. Elsewhere they go behind the deleted elements; either side would do.
            match at {
                0 => self.insert_run(0, Run::nobodys(insert)),
                _ => self.insert(at, Run::nobodys(insert)),
            }
        });
    }

    /// Marks elements as deleted, and returns their ids in order. With `next`, elements without an
    /// id get one; without it the track drops them. O(runs).
    pub(super) fn remove(&mut self, range: Range<usize>, mut next: Option<&mut u64>) -> Ids {
        let mut ids = Ids::default();
        let mut left = range.len();
        let mut index = if left > 0 { self.seek(range.start) } else { return ids };
        let first = index;
        while left > 0 && index < self.runs.len() {
            if !self.runs[index].alive {
                index += 1;
                continue;
            }
            self.split(index, left);
            let run = &mut self.runs[index];
            left -= run.len;
            match &mut next {
                None if !run.has_ids() => {
                    self.runs.remove(index);
                    continue;
                }
                Some(next) if !run.has_ids() => *run = Run::of(new_ids(next, run.len), false),
                _ => run.alive = false,
            }
            ids.push(run.ids());
            index += 1;
        }
        self.join(first, index);
        ids
    }

    /// Inserts elements before the element at position `at`, and behind deleted elements that stand
    /// there. O(runs).
    pub(super) fn insert(&mut self, at: usize, run: Run) {
        if run.len > 0 {
            let index = self.seek(at);
            self.insert_run(index, run);
        }
    }

    fn insert_run(&mut self, index: usize, run: Run) {
        if run.len > 0 {
            self.runs.insert(index, run);
            self.join(index, index + 1);
        }
    }

    /// Marks elements as present or as deleted. O(runs).
    pub(super) fn set_alive(&mut self, ids: &Sorted, alive: bool) {
        self.rebuild(|run| {
            if run.has_ids() {
                pieces(run, ids, |run, within| Run {
                    alive: if within { alive } else { run.alive },
                    ..run
                })
            } else {
                vec![run]
            }
        });
    }

    /// Marks these elements as present, and all others as deleted. All elements must have ids.
    /// O(runs).
    pub(super) fn show(&mut self, ids: &Sorted) {
        self.rebuild(|run| pieces(run, ids, |run, within| Run { alive: within, ..run }));
    }

    /// Forgets the ids of all elements but these. Other deleted elements are dropped. O(runs).
    pub(super) fn keep(&mut self, ids: &Sorted) {
        let forgotten = |run: Run, within: bool| match within {
            true => run,
            false => Run { len: if run.alive { run.len } else { 0 }, ..Run::nobodys(run.len) },
        };
        self.rebuild(|run| if run.has_ids() { pieces(run, ids, forgotten) } else { vec![run] });
    }

    /// The places where elements stand, or stood before they were deleted, in order. O(runs).
    pub(super) fn places(&self, ids: &Sorted) -> Vec<Placed> {
        let mut at = 0;
        let mut found = Vec::new();
        for run in &self.runs {
            if run.has_ids() && !ids.is_empty() {
                let mut offset = at;
                for (ids, within) in ids.cut(run.ids()) {
                    let len = count(&ids);
                    if within {
                        found.push(Placed { ids, at: offset, alive: run.alive });
                    }
                    offset += if run.alive { len } else { 0 };
                }
            }
            at += if run.alive { run.len } else { 0 };
        }
        found
    }

    /// The ids of present elements. Elements without an id get one. O(runs).
    pub(super) fn ids_of(&mut self, range: Range<usize>, next: &mut u64) -> Ids {
        let mut ids = Ids::default();
        let mut left = range.len();
        let mut index = if left > 0 { self.seek(range.start) } else { return ids };
        while left > 0 && index < self.runs.len() {
            if self.runs[index].alive {
                self.split(index, left);
                let run = &mut self.runs[index];
                left -= run.len;
                if !run.has_ids() {
                    *run = Run::of(new_ids(next, run.len), true);
                }
                ids.push(run.ids());
            }
            index += 1;
        }
        ids
    }

    pub(super) fn has_ids(&self) -> bool {
        self.runs.iter().any(Run::has_ids)
    }

    /// The index of the run that begins with the element at position `at`. Splits a run if needed.
    /// Deleted elements at that position stand before the run.
    fn seek(&mut self, at: usize) -> usize {
        let mut left = at;
        for index in 0..self.runs.len() {
            let run = self.runs[index];
            if !run.alive {
                continue;
            }
            if left < run.len {
                if left == 0 {
                    return index;
                }
                self.split(index, left);
                return index + 1;
            }
            left -= run.len;
        }
        self.runs.len()
    }

    /// Cuts a run after `len` elements if it is longer.
    fn split(&mut self, index: usize, len: usize) {
        let run = self.runs[index];
        if len < run.len {
            self.runs.splice(index..=index, run.cut(len));
        }
    }

    /// Joins neighbouring runs that continue each other, from the run before `first` to the run at
    /// `last`.
    fn join(&mut self, first: usize, last: usize) {
        let range = first.saturating_sub(1)..(last + 1).min(self.runs.len());
        let mut joined = Vec::with_capacity(range.len());
        self.runs[range.clone()].iter().for_each(|run| push(&mut joined, *run));
        if joined.len() < range.len() {
            self.runs.splice(range, joined);
        }
    }

    fn rebuild(&mut self, map: impl Fn(Run) -> Vec<Run>) {
        let runs = std::mem::take(&mut self.runs);
        runs.into_iter().flat_map(map).for_each(|run| push(&mut self.runs, run));
    }
}

/// Takes `count` new ids.
pub(super) fn new_ids(next: &mut u64, count: usize) -> Range<u64> {
    let start = *next;
    *next = next.saturating_add(count as u64);
    start..*next
}

/// Adds a run at the end. A run that continues the last one is joined to it.
pub(super) fn push(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        _ if run.len == 0 => {}
        Some(last) if last.goes_on_in(&run) => last.len += run.len,
        _ => runs.push(run),
    }
}

/// Cuts a run with ids into pieces and maps each. `map` is also told whether the ids of the piece
/// are in `ids`.
fn pieces(run: Run, ids: &Sorted, map: impl Fn(Run, bool) -> Run) -> Vec<Run> {
    ids.cut(run.ids())
        .into_iter()
        .map(|(ids, within)| map(Run::of(ids, run.alive), within))
        .collect()
}
