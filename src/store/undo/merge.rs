//! Taking in the tracks of stacks that were saved, whose elements have ids of another run of the program.

use std::collections::BTreeMap;
use std::ops::Range;

use super::ids::{Ids, count};
use super::log::Gone;
use super::track::{Content, Run, Track, push};
use super::tracks::Tracks;
use crate::document::key::Key;
use crate::document::replica::List;
use crate::document::rope::Rope;
use crate::document::source::Source;

/// What became of ids that were taken in.
pub(super) struct Renamed {
    /// What all of them grew by.
    shift: u64,
    /// Those, grown, of elements that had an id here: where such a stretch starts, how long it is, and the first id here.
    known: BTreeMap<u64, (u64, u64)>,
}

impl Renamed {
    pub(super) fn ids(&self, ids: &Ids) -> Ids {
        ids.iter().flat_map(|ids| self.stretches(ids)).collect()
    }

    pub(super) fn gone<T: Content>(&self, gone: &Gone<T>) -> Vec<Gone<T>> {
        let mut at = 0;
        let parts = self.stretches(gone.ids.clone()).into_iter().map(|ids| {
            let start = at;
            at += count(&ids);
            Gone { ids, content: gone.content.part(start..at) }
        });
        parts.collect()
    }

    fn stretches(&self, ids: Range<u64>) -> Vec<Range<u64>> {
        let (mut at, end) = (ids.start.saturating_add(self.shift), ids.end.saturating_add(self.shift));
        let mut found = Vec::new();
        while at < end {
            let within = self.known.range(..=at).next_back().filter(|(start, (len, _))| at < *start + len);
            let next = match within {
                Some((start, (len, here))) => {
                    let to = end.min(start + len);
                    found.push(here + (at - start)..here + (to - start));
                    to
                }
                None => {
                    let to = self.known.range(at..end).next().map_or(end, |(start, _)| *start);
                    found.push(at..to);
                    to
                }
            };
            at = next;
        }
        found
    }
}

impl Tracks {
    /// Takes in tracks of this document, in which ids end before `end`.
    pub(super) fn take_in(
        &mut self,
        (texts, lists): (BTreeMap<Key, Track<Rope>>, BTreeMap<Key, Track<List>>),
        end: u64,
        document: &impl Source,
    ) -> Renamed {
        let mut renamed = Renamed { shift: self.next_id, known: BTreeMap::new() };
        self.next_id = self.next_id.saturating_add(end);
        for (key, track) in texts {
            let now = document.text(key.as_str());
            merge(&mut self.texts, key, track, &now, &mut renamed);
        }
        for (key, track) in lists {
            let now = document.list(key.as_str());
            merge(&mut self.lists, key, track, &now, &mut renamed);
        }
        renamed
    }
}

fn merge<T: Content>(tracks: &mut BTreeMap<Key, Track<T>>, key: Key, mut loaded: Track<T>, now: &T, renamed: &mut Renamed) {
    let shift = renamed.shift;
    loaded.runs.iter_mut().filter(|run| run.has_ids()).for_each(|run| run.id = run.id.saturating_add(shift));
    loaded.sync(now);
    let Some(here) = tracks.get_mut(&key) else { return drop(tracks.insert(key, loaded)) };
    here.sync(now);
    here.runs = woven(&here.runs, &loaded.runs, &mut renamed.known);
}

/// Two rows of runs of the same sequence as one. Elements that are there and have an id in both keep the one here.
fn woven(here: &[Run], loaded: &[Run], known: &mut BTreeMap<u64, (u64, u64)>) -> Vec<Run> {
    let (mut here, mut loaded) = (here.iter().copied(), loaded.iter().copied());
    let (mut ours, mut theirs, mut runs) = (here.next(), loaded.next(), Vec::new());
    loop {
        match (ours, theirs) {
            (Some(run), _) if !run.alive => {
                push(&mut runs, run);
                ours = here.next();
            }
            (_, Some(run)) if !run.alive => {
                push(&mut runs, run);
                theirs = loaded.next();
            }
            (Some(run), Some(other)) => {
                let len = run.len.min(other.len);
                let ([first, rest], [other_first, other_rest]) = (run.cut(len), other.cut(len));
                if first.has_ids() && other_first.has_ids() {
                    known.insert(other_first.id, (len as u64, first.id));
                }
                push(&mut runs, if first.has_ids() { first } else { other_first });
                ours = if rest.len > 0 { Some(rest) } else { here.next() };
                theirs = if other_rest.len > 0 { Some(other_rest) } else { loaded.next() };
            }
            (Some(run), None) | (None, Some(run)) => {
                push(&mut runs, run);
                (ours, theirs) = (here.next(), loaded.next());
            }
            (None, None) => return runs,
        }
    }
}
