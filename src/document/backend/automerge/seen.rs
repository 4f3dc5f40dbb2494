//! What a replica has seen, replica by replica: the changes of one actor are numbered and each
//! builds on the one before, so the number of the last says all. Heads say the same in less space,
//! but tell nothing to a replica that lacks them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use automerge::{Automerge as Doc, Change, ChangeHash};

use crate::document::backend::BackendError;
use crate::document::limits::Limits;
use crate::document::version::Numbers;

/// Counts them when they are first asked for, and keeps them up to date from then on.
#[derive(Default)]
pub(super) struct Seen(RefCell<Option<Numbers>>);

/// What an actor takes in a version, beside its id.
const ACTOR_BYTES: usize = 2 + 8;

impl Seen {
    /// The numbers of the document. The first time O(changes), then O(actors).
    pub(super) fn numbers(&self, doc: &Doc) -> Numbers {
        self.0.borrow_mut().get_or_insert_with(|| count(doc)).clone()
    }

    /// Refuses changes of actors that are new, where the version would get too long with them.
    /// O(changes · log actors), if they are new O(actors).
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

    /// Notes a change that is in the document now.
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

/// The newest changes of those that these numbers cover: who has them has all of those. O(changes).
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
