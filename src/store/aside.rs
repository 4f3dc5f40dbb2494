//! What a change did that had waited and cannot be applied any more, as its replica id was used
//! twice.
//!
//! It came, and its sender may have been told so; a crash may have taken what it builds on from
//! here, and the change itself from the sender. So what it wrote is written again, by this replica:
//! registers that hold what they held before it, and what it inserted in texts and lists. What it
//! removed stays, as in a [repair](super::repair).

use std::sync::Arc;

use super::again::Again;
use super::{Core, Origin, Store, Touch, differing};
use crate::document::ReplicaId;
use crate::document::backend::{Aside, Backend};
use crate::document::key::Key;
use crate::document::ops::RegisterWrite;
use crate::document::replica::Replica;
use crate::document::source::Source;
use crate::state::{Refresh, State};

impl<S: State, B: Backend> Store<S, B> {
    /// Writes again what a change did that was set aside, and shows it. O(document).
    pub(super) fn put_back(&self, core: &mut Core<S, B>, aside: &Aside) {
        self.show(core);
        let trusted = self.shared.options.trusted_limits();
        let id = ReplicaId::from_bits(0);
        // Nothing is written in them, so that they may have anybody's id.
        let open =
            |bytes: &[u8]| Replica::<B>::open(id, bytes, trusted, trusted.clone(), |_, _| ());
        let (Ok((before, ())), Ok((after, ()))) = (open(&aside.before), open(&aside.after)) else {
            return;
        };
        self.write_again(core, find(&before, &after, &core.replica));
    }

    /// Writes again the registers that updates from this store's own storage wrote and that wait
    /// for a missing update ([`Store::own_pending`]). Only registers that nothing in the
    /// document has ever written. Where a replica id was used twice, everybody may have given
    /// up the missing update, so that it never comes. But it may also be at a peer that is away:
    /// then the registers show earlier what that peer has, and compete with what it has written
    /// over them. A sync session calls this after twelve pings in a row. On automerge; on yrs
    /// nothing is done. O(document) where anything waits.
    pub fn put_back_pending(&self) {
        let guard = self.shared.core.lock();
        let Some(now) = self.time_in_turn(&guard) else { return };
        let Ok(mut core) = guard.try_borrow_mut() else { return };
        core.now = now;
        self.show(&mut core);
        let mut again = Again::default();
        again.ops.registers = core.replica.unwritten();
        if self.write_again(&mut core, again) {
            core.replica.note_written();
        }
        drop(core);
        drop(guard);
        self.shared.bus.deliver();
    }

    /// Whether it could be written.
    fn write_again(&self, core: &mut Core<S, B>, again: Again) -> bool {
        if again.ops.is_empty() {
            return true;
        }
        let touched = again.touched();
        match core.replica.commit(&again.ops, again.texts, again.lists) {
            Ok(updates) => {
                // To those who undo it is what it was: the work of others.
                self.note_others(core, &touched);
                let mut view = S::clone(&core.view);
                let mut refresh = Refresh::new(&core.replica, &mut core.violations);
                let paths = touched.paths();
                paths.iter().for_each(|path| refresh.touch(&mut view, path));
                self.publish(
                    core,
                    view,
                    Touch::of_all(paths.into()),
                    updates,
                    Origin::Repair,
                    None,
                );
                true
            }
            Err(_) => {
                if self.take_differs(core) {
                    self.show_all(core, Vec::new());
                }
                false
            }
        }
    }
}

/// Finds what a change did that turned `before` into `after`, and that the document `now` lacks.
fn find(before: &impl Source, after: &impl Source, now: &impl Source) -> Again {
    let mut again = Again::default();
    for path in differing(before, after) {
        let old = before.register(&path);
        let new = after.register(&path);
        if let Some(new) = new.filter(|new| old.as_ref() != Some(new) && now.register(&path) == old)
        {
            again
                .ops
                .registers
                .insert(Key(Arc::clone(&path)), RegisterWrite { old, new: Some(new) });
        }
        again.text(&path, [&before.text(&path), &after.text(&path), &now.text(&path)]);
        again.list(&path, [&before.list(&path), &after.list(&path), &now.list(&path)]);
    }
    again
}
