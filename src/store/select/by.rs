//! Selectors by key. All holders of a key's selector share it.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::document::backend::Backend;
use crate::state::{Look, State, Takes};
use crate::store::Store;

use super::Selector;
use super::memo::AnyMemo;

impl<S: State, B: Backend> Store<S, B> {
    /// Creates a family of selectors, one per key. [`SelectorBy::of`] gives the selector of a key.
    /// All holders of that selector at one time share it.
    ///
    /// ```
    /// use exostate::{Map, State, Store};
    ///
    /// #[derive(State, Clone, Debug)]
    /// struct Board { done: Map<String, bool> }
    ///
    /// let store = Store::<Board>::new();
    /// let is_done = store.select_by(|board, task: &String| {
    ///     board.done().get(task.as_str()).value() == Some(&true)
    /// });
    /// let tests = is_done.of("tests");
    /// store.change(|board| board.done().insert("tests", true))?;
    /// assert!(*tests.get() && !*is_done.of("docs").get());
    /// # Ok::<(), exostate::Error>(())
    /// ```
    pub fn select_by<K, R, F>(&self, compute: F) -> SelectorBy<K, R>
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
        R: PartialEq + Send + Sync + 'static,
        F: Fn(S::Node<Look<'_>>, &K) -> R + Send + Sync + 'static,
    {
        let home = self.home();
        let compute = Arc::new(compute);
        let family = Arc::new_cyclic(|family: &Weak<Family<K, R>>| {
            let family = Weak::clone(family);
            let make = move |key: K| {
                let compute = Arc::clone(&compute);
                let forgets = Forgets { family: Weak::clone(&family), key };
                home.select(move |root| compute(root, &forgets.key))
            };
            Family { make: Box::new(make), members: Mutex::default() }
        });
        SelectorBy { family }
    }
}

/// Selectors by key: see [`Store::select_by`]. This is a handle: its clones share the selectors.
pub struct SelectorBy<K, R> {
    family: Arc<Family<K, R>>,
}

struct Family<K, R> {
    make: Box<dyn Fn(K) -> Selector<R> + Send + Sync>,
    members: Mutex<HashMap<K, Weak<dyn AnyMemo<R>>>>,
}

impl<K, R> Clone for SelectorBy<K, R> {
    fn clone(&self) -> Self {
        Self { family: Arc::clone(&self.family) }
    }
}

impl<K, R> fmt::Debug for SelectorBy<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SelectorBy")
    }
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static, R> SelectorBy<K, R> {
    /// The selector of a key. The family forgets the selector once its last holder drops it.
    pub fn of<Q>(&self, key: Q) -> Selector<R>
    where
        K: Takes<Q>,
    {
        let key = K::take(key);
        let mut members = self.family.members.lock();
        if let Some(memo) = members.get(&key).and_then(Weak::upgrade) {
            return Selector { memo };
        }
        let selector = (self.family.make)(key.clone());
        members.insert(key, Arc::downgrade(&selector.memo));
        selector
    }
}

/// Removes a key from its family when the last holder of the selector drops it.
struct Forgets<K: Eq + Hash, R> {
    family: Weak<Family<K, R>>,
    key: K,
}

impl<K: Eq + Hash, R> Drop for Forgets<K, R> {
    fn drop(&mut self) {
        let Some(family) = self.family.upgrade() else { return };
        let mut members = family.members.lock();
        // Another thread may have made a new selector for the key meanwhile.
        let gone = members.get(&self.key).is_some_and(|memo| memo.strong_count() == 0);
        let forgotten = if gone { members.remove_entry(&self.key) } else { None };
        drop(members);
        drop(forgotten);
    }
}
