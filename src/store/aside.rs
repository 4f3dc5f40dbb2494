//! What a change did that had waited and cannot be applied any more, as its replica id was used twice.
//!
//! It came, and its sender may have been told so; a crash may have taken what it builds on from here, and the change itself from the sender. So what it wrote is written again, by
//! this replica: registers that hold what they held before it, and what it inserted in texts and lists. What it removed stays, as in a
//! [repair](super::repair).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::{Core, Origin, Store, Touch, differing, in_key_order};
use crate::document::ReplicaId;
use crate::document::backend::{Aside, Backend};
use crate::document::key::Key;
use crate::document::ops::{Ops, RegisterWrite, SequenceOp, Units};
use crate::document::replica::{List, Replica};
use crate::document::rope::Rope;
use crate::document::source::Source;
use crate::document::value::Value;
use crate::state::{Refresh, State, diff};

/// What has to be written into a document so that it has what a change did elsewhere.
#[derive(Default)]
struct Again {
    ops: Ops,
    texts: BTreeMap<Key, Rope>,
    lists: BTreeMap<Key, List>,
}

impl<S: State, B: Backend> Store<S, B> {
    /// Writes again what a change did that was set aside, and shows it. O(document).
    pub(super) fn put_back(&self, core: &mut Core<S, B>, aside: &Aside) {
        self.show(core);
        let (trusted, id) = (self.shared.options.trusted_limits(), ReplicaId::from_bits(0));
        // Nothing is written in them, so that they may have anybody's id.
        let open = |bytes: &[u8]| Replica::<B>::open(id, bytes, trusted, trusted.clone(), |_, _| ());
        let (Ok((before, ())), Ok((after, ()))) = (open(&aside.before), open(&aside.after)) else { return };
        let mut again = Again::default();
        again.find(&before, &after, &core.replica);
        if again.ops.is_empty() {
            return;
        }
        let mut touched: Vec<Arc<str>> = again.ops.registers.keys().map(|key| Arc::clone(&key.0)).collect();
        touched.extend(again.ops.sequences.iter().map(|op| Arc::clone(op.target().0)));
        in_key_order(&mut touched);
        match core.replica.commit(&again.ops, again.texts, again.lists) {
            Ok(updates) => {
                let mut view = S::clone(&core.view);
                let mut refresh = Refresh::new(&core.replica, &mut core.violations);
                touched.iter().for_each(|path| refresh.touch(&mut view, path));
                self.publish(core, view, Touch::of_all(touched.into()), updates, Origin::Repair, None);
            }
            Err(_) if self.take_differs(core) => self.show_all(core, Vec::new()),
            Err(_) => {}
        }
    }
}

impl Again {
    fn find(&mut self, before: &impl Source, after: &impl Source, now: &impl Source) {
        for path in differing(before, after) {
            let (old, new) = (before.register(&path), after.register(&path));
            if let Some(new) = new.filter(|new| old.as_ref() != Some(new) && now.register(&path) == old) {
                self.ops.registers.insert(Key(Arc::clone(&path)), RegisterWrite { old, new: Some(new) });
            }
            self.text(&path, [before.text(&path), after.text(&path), now.text(&path)]);
            self.list(&path, [before.list(&path), after.list(&path), now.list(&path)]);
        }
    }

    fn text(&mut self, path: &Arc<str>, [before, after, mut now]: [Rope; 3]) {
        let chars = |text: &Rope| text.to_string().chars().collect::<Vec<char>>();
        let inserted = insertions(&chars(&before), &chars(&after), &chars(&now));
        for (mut at, range) in inserted {
            for (run, marks) in after.chunks_in(range).map(|(run, marks)| (run.to_owned(), marks.cloned())).collect::<Vec<_>>() {
                let units = Units { chars: at, utf16: now.char_to_utf16(at) };
                now.insert(at, &run, marks.clone());
                at += run.chars().count();
                let (name, insert) = (Arc::clone(path), Arc::from(run));
                self.ops.push(SequenceOp::Text { name, at: units, delete: Units::default(), insert, marks });
                self.texts.insert(Key(Arc::clone(path)), now.clone());
            }
        }
    }

    fn list(&mut self, path: &Arc<str>, [before, after, mut now]: [List; 3]) {
        let prints = |list: &List| list.iter().map(Value::fingerprint).collect::<Vec<u128>>();
        for (at, range) in insertions(&prints(&before), &prints(&after), &prints(&now)) {
            let insert: Vec<Value> = after.iter().skip(range.start).take(range.len()).cloned().collect();
            let rest = now.split_off(at.min(now.len()));
            now.extend(insert.iter().cloned());
            now.append(rest);
            self.ops.push(SequenceOp::List { name: Arc::clone(path), at, delete: 0, insert });
            self.lists.insert(Key(Arc::clone(path)), now.clone());
        }
    }
}

/// The stretches that `after` has and `before` lacks, and where they go in `now`, counting the stretches before. What `now` has already, it
/// does not get twice.
fn insertions<T: Eq + std::hash::Hash + Ord>(before: &[T], after: &[T], now: &[T]) -> Vec<(usize, Range<usize>)> {
    if after == now {
        return Vec::new();
    }
    // Old places are what counts: `slices` gives those in what it has made so far.
    let edits = |from: &[T], to: &[T]| {
        let (mut found, mut shift) = (Vec::new(), 0isize);
        diff::slices(from, to, |at, delete, inserted| {
            let old = at.saturating_add_signed(-shift);
            shift += inserted.len() as isize - delete as isize;
            found.push((old, delete, inserted));
        });
        found
    };
    let moved = edits(before, now);
    let carried = |place: usize| {
        let before = || moved.iter().filter(|(old, ..)| *old < place);
        let added: usize = before().map(|(.., inserted)| inserted.len()).sum();
        let gone: usize = before().map(|(old, delete, _)| (*delete).min(place - old)).sum();
        place + added - gone
    };
    let mut added = 0;
    let mut found = Vec::new();
    for (old, _, range) in edits(before, after).into_iter().filter(|(.., inserted)| !inserted.is_empty()) {
        let at = carried(old) + added;
        added += range.len();
        found.push((at, range));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::insertions;

    fn put(before: &str, after: &str, now: &str) -> String {
        let chars = |text: &str| text.chars().collect::<Vec<char>>();
        let (after, mut result) = (chars(after), chars(now));
        for (at, range) in insertions(&chars(before), &after, &chars(now)) {
            result.splice(at..at, after[range].iter().copied());
        }
        result.into_iter().collect()
    }

    #[test]
    fn what_was_inserted_is_inserted_where_it_was() {
        assert_eq!(put("ac", "abc", "ac"), "abc");
        assert_eq!(put("ac", "abc", "xxacyy"), "xxabcyy");
        assert_eq!(put("", "abc", "xy"), "abcxy");
        assert_eq!(put("abcd", "aXbcdY", "d"), "XdY", "what is gone stays away");
        assert_eq!(put("abcd", "ad", "abcd"), "abcd", "and so does what was only removed there stay");
        assert_eq!(put("ac", "abc", "abc"), "abc", "it is there already");
    }
}
