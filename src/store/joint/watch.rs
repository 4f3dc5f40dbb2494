//! One watch on several stores.
//!
//! Every store's notice is only a hint to look: what is told is how all of them stand, side by
//! side, against what was told last. So one joint change is told once, half of one never, and what
//! comes while a call runs is told by the next, however much it is.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Joint, Stores, members};
use crate::store::Subscription;

/// What has happened to several stores: see [`Joint::watch`].
pub struct JointPatch<'a, J: Stores> {
    old: &'a J::Views,
    new: &'a J::Views,
}

impl<'a, J: Stores> JointPatch<'a, J> {
    /// The states as they were told last, or were when the watch began.
    #[must_use]
    pub fn old(&self) -> &'a J::Views {
        self.old
    }

    /// The states now.
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

/// What was told, and who tells now.
struct Telling<V> {
    last: Option<V>,
    under_way: bool,
    /// Something came while a call ran.
    again: bool,
    ended: bool,
}

struct Watch<J: Stores, F> {
    stores: J::Weak,
    telling: Mutex<Telling<J::Views>>,
    f: F,
}

impl<X: Stores, Y: Stores> Joint<X, Y> {
    /// Calls `f` after commits and imports in any of the stores, until the subscription is dropped:
    /// once for a joint change, and never with a part of one. Changes that come while a call
    /// runs are told together, by one more call. Calls come one at a time, outside every lock; `f`
    /// may use the stores.
    ///
    /// The subscription keeps none of the stores, and hears nothing more once one of them is gone.
    /// Who made a change, and what was touched, each store's own [`watch`](crate::Store::watch)
    /// says.
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
        let heard = Arc::clone(&watch);
        let hear: Arc<dyn Fn() + Send + Sync> = Arc::new(move || heard.look());
        let parts =
            members(self).into_iter().map(|member| member.on_notice(Arc::clone(&hear))).collect();
        // Notes what there is, so that all that comes from now on is told, and nothing else.
        watch.telling.lock().last.get_or_insert_with(|| self.view());
        Subscription::of_all(parts, move || watch.telling.lock().ended = true)
    }
}

impl<X: Stores, Y: Stores, F: Fn(&JointPatch<'_, Joint<X, Y>>)> Watch<Joint<X, Y>, F> {
    /// Tells what there is to tell, unless somebody does so already: then that one looks once more.
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
            // What a callback leaves half done is its own.
            told = told.and(catch_unwind(AssertUnwindSafe(|| self.tell())));
            telling = self.telling.lock();
        }
        telling.under_way = false;
        drop(telling);
        told.unwrap_or_else(|panic| resume_unwind(panic));
    }

    fn tell(&self) {
        let Some(stores) = Joint::<X, Y>::upgrade(&self.stores) else { return };
        // Looked at under the lock, so that nobody notes what was there before: looking calls
        // nobody, and waits for nobody who calls.
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
