//! Merges the tracks of saved stacks into the tracks of a store. The ids of the saved elements come
//! from another run of the program.

use std::collections::BTreeMap;
use std::ops::Range;

use super::ids::{Ids, Sorted, count};
use super::log::Deleted;
use super::names::{Name, Pairs};
use super::track::{Content, Run, Track, new_ids, push};
use super::tracks::Tracks;
use crate::document::key::Key;
use crate::document::replica::List;
use crate::document::rope::Rope;
use crate::document::source::Source;

/// For the ids in saved stacks, the ids that the same elements have here.
pub(super) struct Renamed(Pairs);

impl Renamed {
    pub(super) fn ids(&self, ids: &Ids) -> Ids {
        ids.iter().flat_map(|ids| self.stretches(ids)).map(|(_, here)| here).collect()
    }

    pub(super) fn gone<T: Content>(&self, gone: &Deleted<T>) -> Vec<Deleted<T>> {
        let parts = self
            .stretches(gone.ids.clone())
            .map(|(ids, here)| Deleted { ids: here, content: gone.part(ids).content });
        parts.collect()
    }

    /// Cuts a stretch into pieces, each with its ids here. Elements without an id here are left
    /// out: no track has a place for them.
    fn stretches(&self, ids: Range<u64>) -> impl Iterator<Item = (Range<u64>, Range<u64>)> {
        let here = |(ids, here): (Range<u64>, Option<u64>)| {
            here.map(|here| (ids.clone(), here..here + (ids.end - ids.start)))
        };
        self.0.cut(ids).into_iter().filter_map(here)
    }
}

impl Tracks {
    /// Merges tracks of saved stacks of this document. An element that has an id here, as its name
    /// says, keeps it. The other elements get new ids.
    pub(super) fn merge_saved(
        &mut self,
        (texts, lists): (BTreeMap<Key, Track<Rope>>, BTreeMap<Key, Track<List>>),
        names: &[Name],
        document: &impl Source,
    ) -> Renamed {
        let before = self.next_id;
        let known = self.names.find(names);
        let mut weaving = Weaving { known, renamed: Pairs::default(), next_id: &mut self.next_id };
        for (key, track) in texts {
            let now = document.text(key.as_str());
            weaving.merge(&mut self.texts, key, track, &now);
        }
        for (key, track) in lists {
            let now = document.list(key.as_str());
            weaving.merge(&mut self.lists, key, track, &now);
        }
        let renamed = weaving.renamed;
        self.names.note(names, &renamed, before);
        Renamed(renamed)
    }
}

/// Neighbouring elements of a saved track.
struct Piece {
    /// The elements, with their ids in the saved stacks.
    run: Run,
    /// The first id here, if the elements have a place in the track here.
    here: Option<u64>,
}

struct Weaving<'a> {
    /// For the ids in the stacks, the ids here that follow from the names.
    known: Pairs,
    /// For the ids in the stacks, the ids here of all elements merged so far.
    renamed: Pairs,
    next_id: &'a mut u64,
}

impl Weaving<'_> {
    fn merge<T: Content>(
        &mut self,
        tracks: &mut BTreeMap<Key, Track<T>>,
        key: Key,
        mut loaded: Track<T>,
        now: &T,
    ) {
        loaded.sync(now);
        let here = tracks.entry(key).or_insert_with(|| Track::new(now.clone()));
        here.sync(now);
        here.runs = self.woven(&here.runs, &loaded.runs);
    }

    /// Merges two rows of runs of the same sequence. The row here decides where an element stands
    /// and whether it is present. An element that is present in both rows and has an id in both
    /// keeps the id here.
    fn woven(&mut self, here: &[Run], loaded: &[Run]) -> Vec<Run> {
        let pieces = self.pieces(here, loaded);
        for Piece { run, here } in &pieces {
            here.iter().for_each(|here| self.renamed.add(run.ids(), *here));
        }
        let mut row = Row::new(here);
        for Piece { run, here } in pieces {
            match here {
                Some(id) if !run.alive => row.pass_gone(id, run.len),
                None if !run.alive => {
                    push(&mut row.passed, Run { id: self.named_anew(run), ..run })
                }
                _ => row.pass(run.len, |ours, at| {
                    let [_, rest] = run.cut(at);
                    let [theirs, _] = rest.cut(ours.len);
                    if here.is_some() || !theirs.has_ids() {
                        return ours;
                    }
                    if ours.has_ids() {
                        self.renamed.add(theirs.ids(), ours.id);
                        return ours;
                    }
                    Run { id: self.named_anew(theirs), ..ours }
                }),
            }
        }
        row.end()
    }

    /// Gives new ids to elements of the stacks. Returns the first new id.
    fn named_anew(&mut self, run: Run) -> u64 {
        let ids = new_ids(self.next_id, run.len);
        self.renamed.add(run.ids(), ids.start);
        ids.start
    }

    /// The runs of a saved track, cut into pieces. Each piece is known here as a whole and within
    /// one run, or is not known here at all.
    fn pieces(&self, here: &[Run], loaded: &[Run]) -> Vec<Piece> {
        let ids: Sorted =
            here.iter().filter(|run| run.has_ids()).map(Run::ids).collect::<Ids>().sorted();
        let mut pieces = Vec::new();
        for run in loaded {
            if !run.has_ids() {
                pieces.push(Piece { run: *run, here: None });
                continue;
            }
            for (stretch, found) in self.known.cut(run.ids()) {
                let Some(found) = found else {
                    pieces.push(Piece { run: Run::of(stretch, run.alive), here: None });
                    continue;
                };
                let mut at = stretch.start;
                for (known, is_here) in ids.cut(found..found + (stretch.end - stretch.start)) {
                    let end = at + (known.end - known.start);
                    pieces.push(Piece {
                        run: Run::of(at..end, run.alive),
                        here: is_here.then_some(known.start),
                    });
                    at = end;
                }
            }
        }
        pieces
    }
}

/// The runs here, of which some are already passed.
struct Row<'a> {
    runs: &'a [Run],
    /// The index of the next run. `left` is what is left of that run.
    index: usize,
    left: Option<Run>,
    /// For the first id of each run, the index of the run.
    by_id: BTreeMap<u64, usize>,
    /// For each run, how many present elements stand before it.
    alive_before: Vec<usize>,
    passed: Vec<Run>,
}

impl<'a> Row<'a> {
    fn new(runs: &'a [Run]) -> Self {
        let by_id = runs
            .iter()
            .enumerate()
            .filter(|(_, run)| run.has_ids())
            .map(|(index, run)| (run.id, index))
            .collect();
        let alive_before = runs.iter().scan(0, |at, run| {
            let before = *at;
            *at += if run.alive { run.len } else { 0 };
            Some(before)
        });
        Self {
            runs,
            index: 0,
            left: runs.first().copied(),
            by_id,
            alive_before: alive_before.collect(),
            passed: Vec::new(),
        }
    }

    /// Passes the first `len` elements of the next run. `len` is at most what is left of it.
    fn step(&mut self, len: usize, map: impl FnOnce(Run) -> Run) {
        let Some(run) = self.left else { return };
        let [first, rest] = run.cut(len);
        push(&mut self.passed, map(first));
        self.left = Some(rest);
        if rest.len == 0 {
            self.index += 1;
            self.left = self.runs.get(self.index).copied();
        }
    }

    /// Passes `len` present elements, and the deleted elements before them. `map` gets each present
    /// run, and how many present elements were passed before it.
    fn pass(&mut self, len: usize, mut map: impl FnMut(Run, usize) -> Run) {
        let mut done = 0;
        while let Some(run) = self.left.filter(|_| done < len) {
            let part = if run.alive { run.len.min(len - done) } else { run.len };
            self.step(part, |run| if run.alive { map(run, done) } else { run });
            done += if run.alive { part } else { 0 };
        }
    }

    /// Passes deleted elements, and the deleted elements before them, if all of them stand between
    /// the same present neighbours.
    fn pass_gone(&mut self, id: u64, len: usize) {
        let end = id.saturating_add(len as u64);
        while let Some((_, target)) = self.by_id.range(..end).next_back() {
            let run = self.left.filter(|run| {
                !run.alive && self.alive_before[*target] == self.alive_before[self.index]
            });
            let Some(run) = run.filter(|_| *target >= self.index && !self.runs[*target].alive)
            else {
                return;
            };
            if *target > self.index {
                self.step(run.len, |run| run);
            } else if run.id < end {
                return self.step(count(&(run.id..end)).min(run.len), |run| run);
            } else {
                return;
            }
        }
    }

    fn end(mut self) -> Vec<Run> {
        while let Some(run) = self.left {
            self.step(run.len, |run| run);
        }
        self.passed
    }
}
