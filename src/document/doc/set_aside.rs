//! Writes again the content of a change that was set aside: it was pending, and it can never be
//! applied, because its replica id was used twice.
//!
//! The change arrived here, and its sender may have got an acknowledgement. A crash may then have
//! removed the dependency of the change from this replica, and the change itself from the sender.
//! So this replica writes the content of the change again:
//!
//! - It writes a register if the register still holds the value from before the change.
//! - It inserts what the change inserted in texts and lists.
//! - It does not remove what the change removed, as in a [repair](super::repair).

use std::sync::Arc;

use super::rewrite::Rewrite;
use super::{Document, Turn};
use crate::document::ReplicaId;
use crate::document::backend::{Backend, Contradiction};
use crate::document::commit::Origin;
use crate::document::key::Key;
use crate::document::ops::RegisterWrite;
use crate::document::replica::Replica;
use crate::document::source::{Source, differing};

impl<B: Backend> Document<B> {
    /// Writes again the registers of pending updates that [`Document::apply_trusted`] brought, but
    /// only registers that no op of the document has ever written. If a replica id was used twice,
    /// every replica may have given up the missing dependency, so that it never comes. But a
    /// replica that is offline may still have the dependency. Then the registers show early what
    /// that replica has, and conflict with later values that it wrote. A sync session calls this
    /// after twelve pings in a row. This works on automerge; on yrs it does nothing. O(document) if
    /// any update is pending.
    pub fn rewrite_pending(&self) {
        let Some(turn) = Turn::begin(self.inner()) else { return };
        if let Some(mut replica) = turn.replica_mut() {
            turn.show_parts(&mut replica);
            let mut rewrite = Rewrite::default();
            rewrite.ops.registers = replica.unwritten();
            if turn.write_again(&mut replica, rewrite) {
                replica.note_written();
            }
        }
        drop(turn);
        self.inner.delivery.deliver();
    }
}

impl<B: Backend> Turn<'_, B> {
    /// Writes again the content of a change that was set aside, and shows it. O(document).
    pub(super) fn rewrite_contradiction(&self, replica: &mut Replica<B>, found: &Contradiction) {
        self.show_parts(replica);
        let options = &self.document.options;
        let id = ReplicaId::from_bits(0);
        // Nothing is written under this id, so it does not matter whether another replica uses it.
        let open = |bytes: &[u8]| Replica::<B>::reopen(id, bytes, options, |_, _| ());
        let (Ok((before, ())), Ok((after, ()))) = (open(&found.before), open(&found.after)) else {
            return;
        };
        let rewrite = find(&before, &after, replica);
        self.write_again(replica, rewrite);
    }

    /// Returns whether the content could be written.
    fn write_again(&self, replica: &mut Replica<B>, rewrite: Rewrite) -> bool {
        if rewrite.ops.is_empty() {
            return true;
        }
        self.reserve().is_ok()
            && self
                .commit_ops(replica, &rewrite.ops, rewrite.texts, rewrite.lists, Origin::Repair)
                .is_ok()
    }
}

/// Finds the content by which a change turned `before` into `after`, and which the document `now`
/// lacks.
fn find(before: &impl Source, after: &impl Source, now: &impl Source) -> Rewrite {
    let mut rewrite = Rewrite::default();
    for path in differing(before, after) {
        let old = before.register(&path);
        let new = after.register(&path);
        if let Some(new) = new.filter(|new| old.as_ref() != Some(new) && now.register(&path) == old)
        {
            rewrite
                .ops
                .registers
                .insert(Key(Arc::clone(&path)), RegisterWrite { old, new: Some(new) });
        }
        rewrite.text(&path, [&before.text(&path), &after.text(&path), &now.text(&path)]);
        rewrite.list(&path, [&before.list(&path), &after.list(&path), &now.list(&path)]);
    }
    rewrite
}
