//! Restores a change that cannot be in the document, because the document has another change with
//! the same replica and number.

use std::collections::{HashMap, HashSet};

use automerge::{Automerge as Doc, Change, ChangeHash};

use super::{Automerge, CheckedUpdate};
use crate::document::ReplicaId;
use crate::document::backend::{Backend, Contradiction};

/// Returns the document in which the contradicting changes were made, and the same document with
/// them.
///
/// Pending changes that depend on them are taken out of `pending` and applied too. A pending change
/// that contradicts them stays in `pending`. `None` if a contradicting change cannot be applied.
/// O(document).
pub(super) fn contradiction<P: AsRef<CheckedUpdate>>(
    doc: &Doc,
    contradicting: Vec<CheckedUpdate>,
    pending: &mut Vec<P>,
) -> Option<Contradiction> {
    let mut branch = Branch::of(doc);
    for CheckedUpdate(change) in contradicting {
        if !branch.add(&change) {
            return None;
        }
    }
    let mut refused = Vec::new();
    loop {
        let later: Vec<P> =
            pending.extract_if(.., |update| branch.is_built_on_by(&update.as_ref().0)).collect();
        if later.is_empty() {
            break;
        }
        refused.extend(later.into_iter().filter(|update| !branch.add(&update.as_ref().0)));
    }
    pending.append(&mut refused);
    Some(Contradiction { before: branch.before.save(), after: branch.after.save() })
}

/// A part of a document, and the same part with changes that cannot be in that document.
struct Branch {
    /// All changes of the document.
    known: HashMap<ChangeHash, Change>,
    before: Doc,
    after: Doc,
    /// The known changes that are in both `before` and `after`. `added` has the other changes of
    /// `after`.
    ground: HashSet<ChangeHash>,
    added: HashSet<ChangeHash>,
}

impl Branch {
    fn of(doc: &Doc) -> Self {
        // Nothing is written with the replica id of these documents, so any id will do.
        let empty = || Automerge::empty(ReplicaId::from_bits(0)).doc;
        let known: HashMap<_, _> =
            doc.get_changes(&[]).into_iter().map(|change| (change.hash(), change)).collect();
        let ground = empty().get_changes(&[]).iter().map(Change::hash).collect();
        Self { known, before: empty(), after: empty(), ground, added: HashSet::new() }
    }

    /// Whether a change depends on an added change, and none of its dependencies is missing.
    fn is_built_on_by(&self, change: &Change) -> bool {
        let deps = change.deps();
        deps.iter().any(|hash| self.added.contains(hash))
            && deps.iter().all(|hash| self.added.contains(hash) || self.known.contains_key(hash))
    }

    /// Adds a change with its dependencies. Returns false if a dependency is missing, or if the
    /// change contradicts a change that is in `after`.
    fn add(&mut self, change: &Change) -> bool {
        let Some(missing) = self.missing(change) else { return false };
        if self.after.apply_changes(missing.iter().cloned()).is_err() {
            return false;
        }
        self.ground.extend(missing.iter().map(Change::hash));
        let added = self.before.apply_changes(missing).is_ok()
            && self.after.apply_changes([change.clone()]).is_ok();
        if added {
            self.added.insert(change.hash());
        }
        added
    }

    /// The dependencies of a change that are not added yet, with their own dependencies. Each comes
    /// after its dependencies. `None` if one of them is not known.
    fn missing(&self, change: &Change) -> Option<Vec<Change>> {
        let mut missing = Vec::new();
        let mut seen = HashSet::new();
        // Each dependency is visited twice: when it is found, and when its dependencies are in
        // `missing`. The flag says which visit it is.
        let mut left: Vec<(ChangeHash, bool)> =
            change.deps().iter().map(|hash| (*hash, false)).collect();
        while let Some((hash, before_is_in)) = left.pop() {
            if self.ground.contains(&hash) || self.added.contains(&hash) {
                continue;
            }
            let known = self.known.get(&hash)?;
            if before_is_in {
                missing.push(known.clone());
            } else if seen.insert(hash) {
                left.push((hash, true));
                left.extend(known.deps().iter().map(|hash| (*hash, false)));
            }
        }
        Some(missing)
    }
}

#[cfg(test)]
mod tests {
    use automerge::transaction::{CommitOptions, Transactable};
    use automerge::{ActorId, ROOT, ReadDoc};

    use super::*;

    impl AsRef<Self> for CheckedUpdate {
        fn as_ref(&self) -> &Self {
            self
        }
    }

    /// The document with one more change by an actor, and that change.
    fn with_change(doc: &Doc, actor: u8, key: &str) -> (Doc, Change) {
        let mut doc = doc.fork().with_actor(ActorId::from([actor; 8]));
        let mut transaction = doc.transaction();
        transaction.put(ROOT, key, true).expect("a key");
        transaction.commit_with(CommitOptions::default());
        let change = doc.get_last_local_change().expect("just made");
        (doc, change)
    }

    fn checked<const N: usize>(changes: [&Change; N]) -> Vec<CheckedUpdate> {
        changes.into_iter().cloned().map(CheckedUpdate).collect()
    }

    fn left(pending: &[CheckedUpdate]) -> Vec<ChangeHash> {
        pending.iter().map(|CheckedUpdate(change)| change.hash()).collect()
    }

    fn has(bytes: &[u8], key: &str) -> bool {
        Doc::load(bytes).expect("saved").get(ROOT, key).expect("it can be read").is_some()
    }

    /// Actor 1 made its second change twice: `first` in `here`, `second` in `elsewhere`. Changes of
    /// other actors depend on each of them.
    #[test]
    fn dependents_of_the_change_are_included_and_contradicting_changes_stay_pending() {
        let (base, _) = with_change(&Automerge::empty(ReplicaId::from_bits(0)).doc, 1, "base");
        let (here, first) = with_change(&base, 1, "first");
        let (elsewhere, second) = with_change(&base, 1, "second");
        let (later, along) = with_change(&elsewhere, 2, "along");
        // `contradicts` has the same actor and number as `along`, but is another change. So both
        // cannot be in the restored document.
        let (contradicted, contradicts) = with_change(&elsewhere, 2, "contradicts");
        let (_, child) = with_change(&contradicted, 4, "child");
        let (_, grandchild) = with_change(&later, 5, "grandchild");
        let (_, unrelated) = with_change(&here, 6, "unrelated");
        let mut pending = checked([&along, &contradicts, &child, &grandchild, &unrelated]);
        let found = contradiction(&here, checked([&second]), &mut pending)
            .expect("it fits where it was made");
        assert_eq!(left(&pending), [child.hash(), unrelated.hash(), contradicts.hash()]);
        assert!(
            has(&found.before, "base")
                && !has(&found.before, "first")
                && !has(&found.before, "second")
        );
        assert!(["base", "second", "along", "grandchild"].iter().all(|key| has(&found.after, key)));
        assert!(
            !["first", "contradicts", "child", "unrelated"]
                .iter()
                .any(|key| has(&found.after, key))
        );
        assert_eq!(first.seq(), second.seq());
    }

    /// The change contradicts its own dependencies.
    #[test]
    fn a_change_without_a_fitting_base_leaves_pending_changes_alone() {
        let (base, _) = with_change(&Automerge::empty(ReplicaId::from_bits(0)).doc, 1, "base");
        let (here, _) = with_change(&base, 1, "first");
        let (elsewhere, second) = with_change(&base, 1, "second");
        let (_, along) = with_change(&elsewhere, 2, "along");
        let mut expanded = second.decode();
        expanded.deps = here.get_heads();
        expanded.hash = None;
        expanded.start_op =
            std::num::NonZeroU64::new(here.get_heads().len() as u64 + second.start_op().get())
                .expect("more than none");
        let bad = Change::from(expanded);
        let mut pending = checked([&along]);
        assert!(contradiction(&here, vec![CheckedUpdate(bad)], &mut pending).is_none());
        assert_eq!(left(&pending), [along.hash()]);
    }
}
