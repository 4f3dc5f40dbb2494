//! What a change did that cannot be in the document, as its replica and number are those of another one there.

use std::collections::BTreeSet;

use automerge::{Automerge as Doc, Change, ChangeHash};

use super::{Automerge, Parcel};
use crate::document::ReplicaId;
use crate::document::backend::{Aside, Backend};

/// The document that contradicting changes were made in, and the same with them, and with what of `pending` builds on them. What
/// contradicts them in turn stays in `pending`. O(document), and as much again for each pending change where one does so.
pub(super) fn aside(doc: &Doc, contradicting: Vec<Parcel>, pending: &mut Vec<Parcel>) -> Option<Aside> {
    let mut changes: Vec<Change> = contradicting.into_iter().map(|Parcel(change)| change).collect();
    let contradicting = changes.len();
    let mut hashes: BTreeSet<ChangeHash> = changes.iter().map(Change::hash).collect();
    loop {
        let fits = |Parcel(change): &mut Parcel| {
            change.deps().iter().all(|hash| hashes.contains(hash) || doc.get_change_meta_by_hash(hash).is_some())
        };
        let later: Vec<Change> = pending.extract_if(.., fits).map(|Parcel(change)| change).collect();
        if later.is_empty() {
            break;
        }
        hashes.extend(later.iter().map(Change::hash));
        changes.extend(later);
    }
    if let Some(all) = with_and_without(doc, &changes) {
        return Some(all);
    }
    let later = changes.split_off(contradicting);
    let mut aside = with_and_without(doc, &changes)?;
    for change in later {
        changes.push(change);
        match with_and_without(doc, &changes) {
            Some(more) => aside = more,
            None => pending.extend(changes.pop().map(Parcel)),
        }
    }
    Some(aside)
}

/// What these changes need of a document, and the same with them, if they go together.
fn with_and_without(doc: &Doc, changes: &[Change]) -> Option<Aside> {
    let mut needed: BTreeSet<ChangeHash> = changes.iter().flat_map(|change| change.deps().iter().copied()).collect();
    let mut ground: Vec<Change> = doc.get_changes(&[]);
    ground.reverse();
    ground.retain(|change| {
        let wanted = needed.contains(&change.hash());
        if wanted {
            needed.extend(change.deps().iter().copied());
        }
        wanted
    });
    ground.reverse();
    // Nobody writes to it, so that it may be anybody's id.
    let mut doc = Automerge::empty(ReplicaId::from_bits(0)).doc;
    doc.apply_changes(ground).ok()?;
    let before = doc.save();
    doc.apply_changes(changes.iter().cloned()).ok()?;
    Some(Aside { before, after: doc.save() })
}
