//! Stages the way back from a change, except where another writer has changed its result.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::ids::{Ids, count};
use super::log::{Deleted, Edited, Entry, Log, Marked, WrittenRegister};
use super::track::{Content, Track};
use super::tracks::{self, Revived, Tracks};
use crate::document::key::{self, Key};
use crate::document::ops::SequenceKind;
use crate::document::replica::List;
use crate::document::rope::Rope;
use crate::document::source::Source;
use crate::document::value::Value;
use crate::state::Writer;
use crate::store::Origin;

/// The state of a way back: copies of the tracks that it needs, and what it has restored.
pub(super) struct WayBack {
    texts: BTreeMap<Key, Track<Rope>>,
    lists: BTreeMap<Key, Track<List>>,
    /// The elements that the way back restores, for the tracks of the staged change.
    pub(super) revived: Revived,
    /// The places in which the way back restores content of other writers.
    pub(super) given_back: Vec<Key>,
}

impl WayBack {
    /// Prepares the way back from changes, for the present document.
    pub(super) fn new<'e>(
        entries: impl Iterator<Item = &'e Entry> + Clone,
        tracks: &mut Tracks,
        document: &impl Source,
    ) -> Self {
        let mut texts = BTreeMap::new();
        let mut lists = BTreeMap::new();
        for key in entries.clone().flat_map(|entry| entry.texts.keys()) {
            let mut track =
                || tracks::current(&mut tracks.texts, key, &document.text(key.as_str())).cloned();
            if !texts.contains_key(key) {
                texts.extend(track().map(|track| (key.clone(), track)));
            }
        }
        for key in entries.flat_map(|entry| entry.lists.keys()) {
            let mut track =
                || tracks::current(&mut tracks.lists, key, &document.list(key.as_str())).cloned();
            if !lists.contains_key(key) {
                lists.extend(track().map(|track| (key.clone(), track)));
            }
        }
        Self { texts, lists, revived: Revived::new(), given_back: Vec::new() }
    }

    /// Ends a way back that has nothing to write, and keeps its tracks. In them, elements may have
    /// taken the places of equal elements. A track is kept only if the document still has the
    /// content that the track knows.
    pub(super) fn settle(self, tracks: &mut Tracks, document: &impl Source) {
        for (key, track) in self.texts {
            if track.known == document.text(key.as_str()) {
                tracks.texts.insert(key, track);
            }
        }
        for (key, track) in self.lists {
            if track.known == document.list(key.as_str()) {
                tracks.lists.insert(key, track);
            }
        }
    }

    /// Stages the way back from one change. The changes of a group come from the last to the first.
    pub(super) fn stage(
        &mut self,
        entry: &Entry,
        log: &Log,
        origin: Origin,
        writer: &mut Writer<'_, '_>,
    ) {
        let given_back = std::mem::take(&mut self.given_back);
        let revert = Revert { log, origin, way: self, left: Vec::new(), given_back };
        self.given_back = revert.entry(entry, writer);
    }
}

struct Revert<'a> {
    log: &'a Log,
    origin: Origin,
    way: &'a mut WayBack,
    /// Places that are left as they are, with everything below them.
    left: Vec<Key>,
    given_back: Vec<Key>,
}

impl Revert<'_> {
    fn entry(mut self, entry: &Entry, writer: &mut Writer<'_, '_>) -> Vec<Key> {
        // The marker of a record comes before the record's content.
        for (key, written) in &entry.registers {
            self.register(key, written, writer);
        }
        for (key, edited) in entry.texts.iter().filter(|(key, _)| !is_left(&self.left, key)) {
            if let Some(track) = self.way.texts.get_mut(key) {
                let revived =
                    self.way.revived.entry((SequenceKind::Text, key.clone())).or_default();
                writer
                    .at(key.as_str(), |writer| revived.extend(text(edited, track, writer).iter()));
            }
            self.given_back.extend(edited.theirs.then(|| key.clone()));
        }
        for (key, edited) in entry.lists.iter().filter(|(key, _)| !is_left(&self.left, key)) {
            if let Some(track) = self.way.lists.get_mut(key) {
                let revived =
                    self.way.revived.entry((SequenceKind::List, key.clone())).or_default();
                writer
                    .at(key.as_str(), |writer| revived.extend(list(edited, track, writer).iter()));
            }
            self.given_back.extend(edited.theirs.then(|| key.clone()));
        }
        self.given_back
    }

    fn register(&mut self, key: &Key, written: &WrittenRegister, writer: &mut Writer<'_, '_>) {
        if is_left(&self.left, key) {
            return;
        }
        // Another writer has overwritten it, or has written below it, where the way back would
        // clear.
        let theirs_below =
            || written.new.as_ref().is_some_and(|value| self.has_theirs_below(key, value, writer));
        let theirs = || self.log.is_theirs(key, self.origin) || theirs_below();
        let taken = writer.core.register(key.as_str()) != written.new || theirs();
        if taken || matches!(written.old, Some(Value::Unknown(_))) {
            return self.left.push(key.clone());
        }
        if written.old.is_none() {
            // No other writer has written in the record that is removed: all its content is this
            // store's own.
            writer.at(key.as_str(), |writer| writer.clear_below());
        }
        writer.core.put(key.as_str(), written.old.clone());
        if written.theirs {
            self.given_back.push(key.clone());
        }
        // Content that other writers wrote in it while it was removed, or was another variant, is
        // shown again.
        let shown = |found: &Key, value: &Option<Value>| {
            value.as_ref().is_some_and(|value| is_shown(found, key, value))
        };
        let below = self.log.theirs_below(key, self.origin);
        let again = below.filter(|found| shown(found, &written.old) && !shown(found, &written.new));
        self.given_back.extend(again.cloned());
    }

    /// Whether any content shown below a path is another writer's, where the path's register holds
    /// this value.
    fn has_theirs_below(&self, key: &Key, value: &Value, writer: &Writer<'_, '_>) -> bool {
        self.log.theirs_below(key, self.origin).filter(|found| is_shown(found, key, value)).any(
            |found| {
                let path = found.as_str();
                writer.core.register(path).is_some()
                    || !writer.core.text(path).is_empty()
                    || !writer.core.list(path).is_empty()
            },
        )
    }
}

/// Whether the content at `found` is shown while the register above it holds this value. Below the
/// register of an enum, which names a variant, there may be content of a variant that lost a
/// conflict. A place in an order (`@position`) belongs to no variant.
fn is_shown(found: &Key, above: &Key, value: &Value) -> bool {
    let Value::Str(variant) = value else { return true };
    let (segment, _) = key::split_first(key::below(found.as_str(), above.as_str()));
    segment.starts_with('@') || *segment == **variant
}

/// Whether a key lies below a place that is left as it is.
fn is_left(left: &[Key], key: &Key) -> bool {
    left.iter().any(|left| {
        key.as_str().len() > left.as_str().len() && key::is_within(key.as_str(), left.as_str())
    })
}

/// Content that comes back at one place. The position counts the content that comes back before it.
struct Back<T> {
    at: usize,
    content: T,
}

/// Deletes in a track the elements that an edit inserted and that are still present. Returns their
/// ranges, from the last to the first: in this order they are deleted from the sequence.
fn take_out<T: Content>(edited: &Edited<T>, track: &mut Track<T>) -> Vec<Range<usize>> {
    let ids = edited.inserted.clone().sorted();
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for placed in track.places(&ids).into_iter().filter(|placed| placed.alive) {
        let end = placed.at + count(&placed.ids);
        match stretches.last_mut() {
            Some(last) if last.end == placed.at => last.end = end,
            _ => stretches.push(placed.at..end),
        }
    }
    track.set_alive(&ids, false);
    stretches.reverse();
    stretches
}

/// Restores in a track the elements that an edit deleted, where they stood. Returns their content,
/// from the first to the last, and their ids.
fn put_back<T: Content>(edited: &Edited<T>, track: &mut Track<T>) -> (Vec<Back<T>>, Ids) {
    let mut gone: Vec<&Deleted<T>> = edited.deleted.iter().collect();
    gone.sort_by_key(|gone| gone.ids.start);
    let ids = gone.iter().map(|gone| gone.ids.clone()).collect::<Ids>().sorted();
    let mut backs = Vec::<Back<T>>::new();
    let mut back_ids = Ids::default();
    let mut grown = 0;
    for placed in track.places(&ids).into_iter().filter(|placed| !placed.alive) {
        let mut at = placed.at + grown;
        grown += count(&placed.ids);
        // The elements of one stretch of the track may have been deleted in several pieces.
        let first = gone.partition_point(|gone| gone.ids.end <= placed.ids.start);
        for gone in gone.iter().skip(first).take_while(|gone| gone.ids.start < placed.ids.end) {
            let content = gone
                .part(gone.ids.start.max(placed.ids.start)..gone.ids.end.min(placed.ids.end))
                .content;
            let len = content.len();
            match backs.last_mut() {
                Some(last) if last.at + last.content.len() == at => last.content.append(&content),
                _ => backs.push(Back { at, content }),
            }
            at += len;
        }
        back_ids.push(placed.ids);
    }
    track.set_alive(&ids, true);
    (backs, back_ids)
}

fn text(edited: &Edited<Rope>, track: &mut Track<Rope>, writer: &mut Writer<'_, '_>) -> Ids {
    // The way back may have removed the record that holds the text, and the content with it.
    track.sync(&writer.staged_text());
    for range in take_out(edited, track) {
        writer.splice_text(range.start, range.len(), "", None);
    }
    let (backs, ids) = put_back(edited, track);
    for Back { mut at, content } in backs {
        for (run, marks) in content.runs() {
            writer.splice_text(at, 0, &run, marks);
            at += run.chars().count();
        }
    }
    marks(&edited.marked, track, writer);
    track.known = writer.staged_text();
    ids
}

/// Takes back marks that were set or cleared, on characters that are still present and whose mark
/// is still as the change left it. Neighbours that get the same value share one op.
fn marks(marked: &[Marked], track: &Track<Rope>, writer: &mut Writer<'_, '_>) {
    let now = writer.staged_text();
    let mut found: BTreeMap<&Arc<str>, Vec<(Range<usize>, Value)>> = BTreeMap::new();
    for Marked { ids, name, old, new } in marked {
        let Ok(value) = old.as_ref().unwrap_or(&Value::Null).as_mark() else { continue };
        for placed in track.places(&ids.clone().sorted()).into_iter().filter(|placed| placed.alive)
        {
            let mut at = placed.at;
            for (run, marks) in now.chunks_in(placed.at..placed.at + count(&placed.ids)) {
                let end = at + run.chars().count();
                if marks.and_then(|marks| marks.get(name)) == new.as_ref() {
                    found.entry(name).or_default().push((at..end, value.clone()));
                }
                at = end;
            }
        }
    }
    for (name, mut stretches) in found {
        stretches.sort_by_key(|(range, _)| range.start);
        stretches.dedup_by(|next, last| {
            let same = last.0.end == next.0.start && last.1 == next.1;
            if same {
                last.0.end = next.0.end;
            }
            same
        });
        stretches.into_iter().for_each(|(range, value)| writer.mark_text(range, name, &value));
    }
}

fn list(edited: &Edited<List>, track: &mut Track<List>, writer: &mut Writer<'_, '_>) -> Ids {
    let now = |writer: &Writer<'_, '_>| writer.core.list(writer.path());
    track.sync(&now(writer));
    for range in take_out(edited, track) {
        writer.splice_list(range.start, range.len(), Vec::new());
    }
    let (backs, ids) = put_back(edited, track);
    for Back { at, content } in backs {
        writer.splice_list(at, 0, content.iter().cloned().collect());
    }
    track.known = now(writer);
    ids
}
