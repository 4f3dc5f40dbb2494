//! One watch on several stores.
//!
//! A notice of a store only triggers a comparison: of the views of all stores, from one moment,
//! with the views that were told last. So a joint change is told once, and never half of it. All
//! changes that come while a call runs are told by one more call.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Joint, Stores, members};
use crate::store::Subscription;

/// The changes in several stores: see [`Joint::watch`].
pub struct JointPatch<'a, J: Stores> {
    old: &'a J::Views,
    new: &'a J::Views,
}

impl<'a, J: Stores> JointPatch<'a, J> {
    /// The views that were told last, or those from when the watch began.
    #[must_use]
    pub fn old(&self) -> &'a J::Views {
        self.old
    }

    /// The present views.
    #[must_use]
    #[expect(clippy::new_ret_no_self, reason = "the counterpart of `old`")]
    pub fn new(&self) -> &'a J::Views {
        self.new
    }

    /// Which of the stores have changed.
    #[must_use]
    pub fn changed(&self) -> J::Marks {
        J::compare(self.old, self.new).0
    }
}

impl<J: Stores> std::fmt::Debug for JointPatch<'_, J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JointPatch")
    }
}

/// The views that were told last, and the state of the calls.
struct Telling<V> {
    last: Option<V>,
    /// Whether a thread is calling `f`.
    under_way: bool,
    /// Whether a notice came while a call ran.
    again: bool,
    ended: bool,
}

struct Watch<J: Stores, F> {
    stores: J::Weak,
    telling: Mutex<Telling<J::Views>>,
    f: F,
}

impl<X: Stores, Y: Stores> Joint<X, Y> {
    /// Calls `f` after commits and imports in any of the stores, until the subscription is dropped.
    /// A joint change makes one call, and no call shows a part of it. Changes that come while a
    /// call runs are told together, by one more call. Calls come one at a time, outside every lock;
    /// `f` may use the stores.
    ///
    /// The subscription does not keep the stores alive. It makes no more calls once one of them is
    /// dropped. To learn who made a change and what it touched, use each store's own
    /// [`watch`](crate::Store::watch).
    ///
    /// ```
    /// use exostate::{State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Note { title: String }
    ///
    /// let (ours, theirs) = (Store::<Note>::new(), Store::<Note>::new());
    /// let _watch = ours.and(&theirs).watch(|patch| {
    ///     let (ours, theirs) = patch.changed();
    ///     println!("ours: {ours}, theirs: {theirs}, now {:?}", patch.new());
    /// });
    /// ours.change(|note| note.title().set("plan"))?;
    /// # Ok::<(), exostate::Error>(())
    /// ```
    pub fn watch(&self, f: impl Fn(&JointPatch<'_, Self>) + Send + Sync + 'static) -> Subscription {
        let telling = Telling { last: None, under_way: false, again: false, ended: false };
        let watch = Arc::new(Watch::<Self, _> {
            stores: self.downgrade(),
            telling: Mutex::new(telling),
            f,
        });
        let watcher = Arc::clone(&watch);
        let look: Arc<dyn Fn() + Send + Sync> = Arc::new(move || watcher.look());
        let parts =
            members(self).into_iter().map(|member| member.on_notice(Arc::clone(&look))).collect();
        // Every change from here on is told. Earlier changes are not.
        watch.telling.lock().last.get_or_insert_with(|| self.view());
        Subscription::of_all(parts, move || watch.telling.lock().ended = true)
    }
}

impl<X: Stores, Y: Stores, F: Fn(&JointPatch<'_, Joint<X, Y>>)> Watch<Joint<X, Y>, F> {
    /// Tells the watcher what has changed. If another thread is telling already, that thread looks
    /// once more.
    fn look(&self) {
        let mut telling = self.telling.lock();
        telling.again = true;
        if telling.under_way {
            return;
        }
        telling.under_way = true;
        let mut told = Ok(());
        while std::mem::take(&mut telling.again) && !telling.ended {
            drop(telling);
            // If `f` panics, its own data may be half changed; the watch's data is not.
            told = told.and(catch_unwind(AssertUnwindSafe(|| self.tell())));
            telling = self.telling.lock();
        }
        telling.under_way = false;
        drop(telling);
        told.unwrap_or_else(|panic| resume_unwind(panic));
    }

    fn tell(&self) {
        let Some(stores) = Joint::<X, Y>::upgrade(&self.stores) else { return };
        // The views are read under the lock, so that no thread stores older views over newer ones.
        // To read views calls no callback, and waits for no thread that runs one.
        let mut telling = self.telling.lock();
        let new = stores.view();
        let last = telling.last.replace(new.clone());
        drop(telling);
        let Some(old) = last else { return };
        if Joint::<X, Y>::compare(&old, &new).1 {
            (self.f)(&JointPatch { old: &old, new: &new });
        }
    }
}
