//! Savepoints: a change that is being staged can go back to an earlier point.

use crate::document::key::{self, Key};
use crate::document::ops::RegisterWrite;
use crate::document::replica::List;
use crate::document::rope::Rope;

use super::stage::StageCore;
use super::{ChangeError, Edit, Node, State};

/// A value before it was staged again.
enum Before {
    Register(Key, Option<RegisterWrite>),
    Text(Key, Option<Rope>),
    List(Key, Option<List>),
}

/// The steps that were staged since the first savepoint that is still open.
#[derive(Default)]
pub(crate) struct UndoLog {
    steps: Vec<Before>,
    /// How many savepoints are open.
    open: usize,
    /// The number of sequence edits before the last savepoint. Later edits must not be merged into
    /// these.
    apart: usize,
}

/// A point to which a stage can go back.
pub(crate) struct Mark {
    steps: usize,
    sequences: usize,
    apart: usize,
    /// Whether a write had failed before the savepoint. Such a failure is not taken back.
    failed: bool,
}

impl StageCore<'_> {
    /// Opens a savepoint. Close savepoints in the opposite order, with [`StageCore::release`] or
    /// [`StageCore::roll_back`].
    pub(crate) fn save(&mut self) -> Mark {
        let steps = self.undo_log.steps.len();
        let sequences = self.ops.sequences.len();
        let mark = Mark { steps, sequences, apart: self.undo_log.apart, failed: self.has_failed() };
        self.undo_log.open += 1;
        self.undo_log.apart = mark.sequences;
        mark
    }

    /// Closes the savepoint and keeps the edits since it was opened.
    pub(crate) fn release(&mut self, mark: &Mark) {
        self.undo_log.open -= 1;
        self.undo_log.apart = mark.apart;
        if self.undo_log.open == 0 {
            self.undo_log.steps.clear();
        }
    }

    /// Closes the savepoint and takes back the edits since it was opened.
    pub(crate) fn roll_back(&mut self, mark: &Mark) {
        self.ops.sequences.truncate(mark.sequences);
        for step in self.undo_log.steps.split_off(mark.steps).into_iter().rev() {
            match step {
                Before::Register(key, before) => put_back(&mut self.ops.registers, key, before),
                Before::Text(key, before) => put_back(&mut self.texts, key, before),
                Before::List(key, before) => put_back(&mut self.lists, key, before),
            }
        }
        if !mark.failed {
            self.forget_failure();
        }
        self.release(mark);
    }

    /// Whether a sequence edit may be merged with the edit before it.
    pub(crate) fn may_merge(&self) -> bool {
        self.ops.sequences.len() > self.undo_log.apart
    }

    pub(crate) fn note_register(&mut self, key: &Key) {
        if self.undo_log.open > 0 {
            let before = self.ops.registers.get(key::lookup(&key.as_str())).cloned();
            self.undo_log.steps.push(Before::Register(key.clone(), before));
        }
    }

    pub(crate) fn note_text(&mut self, key: &Key) {
        if self.undo_log.open > 0 {
            self.undo_log.steps.push(Before::Text(
                key.clone(),
                self.texts.get(key::lookup(&key.as_str())).cloned(),
            ));
        }
    }

    pub(crate) fn note_list(&mut self, key: &Key) {
        if self.undo_log.open > 0 {
            self.undo_log.steps.push(Before::List(
                key.clone(),
                self.lists.get(key::lookup(&key.as_str())).cloned(),
            ));
        }
    }
}

fn put_back<T>(staged: &mut std::collections::BTreeMap<Key, T>, key: Key, before: Option<T>) {
    match before {
        Some(before) => drop(staged.insert(key, before)),
        None => drop(staged.remove(&key)),
    }
}

impl<'a, T: State> Node<Edit<'a>, T> {
    /// A part of a change that can fail on its own. If `edit` returns an error, all edits of this
    /// part are taken back, and the closure of the change can go on without them. Savepoints nest.
    /// Taking edits back costs as much as making them.
    ///
    /// ```
    /// use exostate::{ChangeError, Map, State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Account { balances: Map<String, i64>, log: exostate::List<String> }
    ///
    /// let store = Store::<Account>::new();
    /// store.change(|account| {
    ///     account.balances().insert("ada", 5)?;
    ///     let paid = account.savepoint(|account| {
    ///         account.balances().insert("ada", -3)?;
    ///         Err::<(), _>(ChangeError::refuse("not enough"))
    ///     });
    ///     account.log().push(if paid.is_ok() { "paid" } else { "refused" }.to_owned())
    /// })?;
    /// assert_eq!(store.view().balances.get("ada"), Some(&5));
    /// assert_eq!(store.view().log.get(0).map(String::as_str), Some("refused"));
    /// # Ok::<(), exostate::Error>(())
    /// ```
    ///
    /// # Errors
    /// The error that `edit` returned, or else the first write that could not be made.
    pub fn savepoint<R>(
        &self,
        edit: impl FnOnce(T::Node<Edit<'a>>) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        let saved = self.place.save();
        let result = edit(T::node(self.place.clone()))
            .and_then(|result| self.place.failure().map_or(Ok(result), Err));
        saved.close(result.is_ok());
        result
    }
}
