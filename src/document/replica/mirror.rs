//! The mirror of the sequences: a copy of each text and list, in the form that views share.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{List, Replica};
use crate::document::backend::{Backend, BackendError};
use crate::document::commit_check;
use crate::document::key::{self, Key};
use crate::document::ops::{ListEdits, MarksOf, SequenceKind, Splice, Touched};
use crate::document::rope::Rope;
use crate::document::value::Value;

/// A sequence by kind and path.
type Sequence = (SequenceKind, Arc<str>);

/// What an import did to a sequence.
pub(crate) struct Update {
    /// Whether the content differs.
    pub(crate) differs: bool,
    /// The edits of a list, if they are known.
    pub(crate) list: Option<ListEdits>,
}

impl<B: Backend> Replica<B> {
    /// How often a check found that the mirror of a sequence differs from the document.
    pub fn sequence_faults(&self) -> u64 {
        self.sequence_faults
    }

    /// Brings the mirror of a sequence up to date after an import: with the edits of the import, or
    /// by reading the sequence again.
    pub(super) fn update_mirror(
        &mut self,
        sequence: &Sequence,
        splices: Option<Vec<Splice>>,
    ) -> Result<Update, BackendError> {
        let (kind, name) = sequence;
        let Some(update) = splices.and_then(|splices| self.splice(sequence, splices)) else {
            let differs = self.reread(*kind, name);
            return self.check_count(*kind, name).map(|()| Update { differs, list: None });
        };
        let as_counted = self.check_count(*kind, name).is_ok();
        if as_counted && !self.backend.is_check_due(*kind, name) {
            return Ok(update);
        }
        let differs = self.reread(*kind, name);
        if differs || !as_counted {
            self.sequence_faults += 1;
            self.backend.rebuild_index(*kind, name);
        }
        let list = update.list.filter(|_| !differs);
        let differs = update.differs || differs;
        self.check_count(*kind, name).map(|()| Update { differs, list })
    }

    /// Applies edits to the mirror of a sequence. `None`, and the mirror stays as it is, if the
    /// edits do not fit. O(edits · log n). If they insert and delete, the contents before and after
    /// are compared, which takes at most O(n).
    fn splice(&mut self, (kind, name): &Sequence, splices: Vec<Splice>) -> Option<Update> {
        let key = Key(Arc::clone(name));
        let update = match kind {
            SequenceKind::Text => splice_text(self.texts.entry(key).or_default(), &splices),
            SequenceKind::List => splice_list(self.lists.entry(key).or_default(), splices),
        }?;
        if update.differs {
            self.sequence_hashes.get_mut().dirty.insert((*kind, Arc::clone(name)));
        }
        Some(update)
    }

    /// After a commit, compares the edited sequences as a whole with their staged content, if that
    /// is due.
    pub(super) fn check_edited(
        &mut self,
        touched: &Touched,
        texts: &BTreeMap<Key, Rope>,
        lists: &BTreeMap<Key, List>,
    ) -> Result<(), BackendError> {
        for (kind, name) in &touched.sequences {
            if !self.backend.is_check_due(*kind, name) {
                continue;
            }
            let path = name.as_ref();
            let key = key::lookup(&path);
            let fits = match kind {
                SequenceKind::Text => texts
                    .get(key)
                    .is_none_or(|text| *text == Rope::from_runs(self.backend.text(name))),
                SequenceKind::List => {
                    lists.get(key).is_none_or(|list| list.iter().eq(&self.backend.list(name)))
                }
            };
            if !fits {
                self.sequence_faults += 1;
                return Err(BackendError::Misfit {
                    place: name.to_string(),
                    reason: "what was written stands somewhere else".to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Reads a sequence into the mirror again. Returns whether it differs. Unchanged content stays
    /// shared with older views.
    pub(super) fn reread(&mut self, kind: SequenceKind, name: &Arc<str>) -> bool {
        let differs = match kind {
            SequenceKind::Text => {
                let rope = self.texts.entry(Key(name.clone())).or_default();
                match self.backend.plain_text(name).filter(|_| !rope.has_marks()) {
                    Some(text) => rope.diff_apply(&text).is_some(),
                    None => {
                        let new = Rope::from_runs(self.backend.text(name));
                        let differs = new != *rope;
                        *rope = new;
                        differs
                    }
                }
            }
            SequenceKind::List => {
                let list = self.lists.entry(Key(name.clone())).or_default();
                update_list(list, self.backend.list(name))
            }
        };
        if differs {
            self.sequence_hashes.get_mut().dirty.insert((kind, name.clone()));
        }
        differs
    }

    /// Refuses a sequence whose length the backend counts differently from the content that it
    /// reads. No position in such a sequence is reliable. This happens on yrs when a replica id was
    /// used twice: items then stand beside other items than those beside which they were made.
    fn check_count(&self, kind: SequenceKind, name: &Arc<str>) -> Result<(), BackendError> {
        let path = name.as_ref();
        let key = key::lookup(&path);
        let fits = match kind {
            SequenceKind::Text => self
                .texts
                .get(key)
                .is_none_or(|text| commit_check::fits(text, self.backend.text_len(name))),
            SequenceKind::List => {
                self.lists.get(key).is_none_or(|list| list.len() == self.backend.list_len(name))
            }
        };
        if fits {
            Ok(())
        } else {
            Err(BackendError::Contradicted(format!(
                "{name} does not have the length that it counts"
            )))
        }
    }
}

pub(crate) fn splice_text(text: &mut Rope, splices: &[Splice]) -> Option<Update> {
    let mut new = text.clone();
    let mut inserts = false;
    let mut deletes = false;
    for splice in splices {
        let Splice::Text { at, delete, insert, beside } = splice else { return None };
        let start = new.utf16_to_char(*at);
        let end = if *delete == 0 { start } else { new.utf16_to_char(at + delete) };
        // A peer on Yjs can split a character that takes two code units.
        if new.char_to_utf16(start) != *at || new.char_to_utf16(end) != at + delete {
            return None;
        }
        if *delete > 0 {
            new.delete(start..end);
        }
        if !insert.is_empty() {
            let marks = match beside {
                MarksOf::Before => new.marks_of_insertion(&(start..start)),
                MarksOf::After => new.marks_at(start),
            };
            let marks = marks.cloned();
            new.insert(start, insert, marks);
        }
        inserts |= !insert.is_empty();
        deletes |= *delete > 0;
    }
    let differs = if inserts && deletes { new != *text } else { inserts || deletes };
    *text = new;
    Some(Update { differs, list: None })
}

pub(crate) fn splice_list(list: &mut List, splices: Vec<Splice>) -> Option<Update> {
    let mut new = list.clone();
    let mut edits = Vec::with_capacity(splices.len());
    for splice in splices {
        let Splice::List(splice) = splice else { return None };
        if splice.at + splice.delete > new.len() {
            return None;
        }
        new.splice(splice.at, splice.delete, splice.insert.iter().cloned());
        edits.push(splice);
    }
    let inserts = edits.iter().any(|splice| !splice.insert.is_empty());
    let deletes = edits.iter().any(|splice| splice.delete > 0);
    let differs = if inserts && deletes { new != *list } else { inserts || deletes };
    let before = std::mem::replace(list, new);
    Some(Update { differs, list: Some(ListEdits { before, splices: edits }) })
}

/// Replaces the elements between the common head and the common tail. Returns whether the lists
/// differ.
fn update_list(list: &mut List, new: Vec<Value>) -> bool {
    let new: List = new.into_iter().collect();
    let (head, tail) = list.common_ends(&new);
    let [delete, insert] = [list.len(), new.len()].map(|len| len - head - tail);
    let inserted: Vec<Value> = new.iter().skip(head).take(insert).cloned().collect();
    list.splice(head, delete, inserted.into_iter());
    delete + insert > 0
}
