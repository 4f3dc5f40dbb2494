//! The changes that a replica has seen, as one number for each actor.
//!
//! The changes of one actor are numbered, and each depends on the one before. So the number of the
//! last change stands for all changes of the actor. Heads take less space, but a replica that lacks
//! the heads cannot interpret them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use automerge::{Automerge as Doc, Change, ChangeHash};

use crate::document::backend::BackendError;
use crate::document::limits::Limits;
use crate::document::version::Numbers;

/// The numbers of a document. They are counted when they are first needed, and then kept up to
/// date.
#[derive(Default)]
pub(super) struct Seen(RefCell<Option<Numbers>>);

/// The bytes that an actor takes in a version, beside its id.
const ACTOR_BYTES: usize = 2 + 8;

impl Seen {
    /// The numbers of the document. The first call costs O(changes), later calls O(actors).
    pub(super) fn numbers(&self, doc: &Doc) -> Numbers {
        self.0.borrow_mut().get_or_insert_with(|| count(doc)).clone()
    }

    /// Refuses changes of new actors if the version would become too long with these actors.
    /// O(changes · log actors); if an actor is new, also O(actors).
    pub(super) fn welcome<'a>(
        &self,
        doc: &Doc,
        changes: impl Iterator<Item = &'a Change>,
        limits: &Limits,
    ) -> Result<(), BackendError> {
        let mut numbers = self.0.borrow_mut();
        let numbers = numbers.get_or_insert_with(|| count(doc));
        let new: BTreeSet<&[u8]> = changes
            .map(|change| change.actor_id().to_bytes())
            .filter(|actor| !numbers.contains_key(*actor))
            .collect();
        let Some(actor) = new.last() else { return Ok(()) };
        let bytes = |actor: &[u8]| actor.len() + ACTOR_BYTES;
        let known: usize = numbers.keys().map(|actor| bytes(actor)).sum();
        if known.saturating_add(new.iter().map(|actor| bytes(actor)).sum())
            <= limits.version_bytes_max()
        {
            return Ok(());
        }
        let replica = actor.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte));
        Err(BackendError::TooManyReplicas { replica, reason: "the version would be too long" })
    }

    /// Counts a change that was added to the document.
    pub(super) fn note(&mut self, change: &Change) {
        if let Some(numbers) = self.0.get_mut() {
            let last = numbers.entry(Arc::from(change.actor_id().to_bytes())).or_default();
            *last = change.seq().max(*last);
        }
    }
}

fn count(doc: &Doc) -> Numbers {
    let mut numbers = Numbers::new();
    for meta in doc.get_changes_meta(&[]) {
        let last = numbers.entry(Arc::from(meta.actor.to_bytes())).or_default();
        *last = meta.seq.max(*last);
    }
    numbers
}

/// The newest of the changes that these numbers cover. A replica that has them also has all other
/// covered changes, because these are their direct or indirect dependencies. O(changes).
pub(super) fn frontier(doc: &Doc, numbers: &Numbers) -> Vec<ChangeHash> {
    let changes = doc.get_changes_meta(&[]);
    let covered = || {
        changes
            .iter()
            .filter(|meta| numbers.get(meta.actor.to_bytes()).is_some_and(|last| meta.seq <= *last))
    };
    let built_on: BTreeSet<&ChangeHash> = covered().flat_map(|meta| meta.deps.iter()).collect();
    covered().map(|meta| meta.hash).filter(|hash| !built_on.contains(hash)).collect()
}
