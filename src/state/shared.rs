//! Shared keys of persistent maps. A change to a view copies the nodes on the path to the change,
//! with sixteen keys each. To copy a shared key increments a count; to copy a `String` allocates.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use equivalent::{Comparable, Equivalent};

/// A key that its copies share.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shared<K>(Arc<K>);

impl<K> Shared<K> {
    pub(crate) fn new(key: K) -> Self {
        Self(Arc::new(key))
    }
}

impl<K> Clone for Shared<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Deref for Shared<K> {
    type Target = K;

    fn deref(&self) -> &K {
        &self.0
    }
}

impl<K: fmt::Debug> fmt::Debug for Shared<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A borrowed key for a lookup among shared keys.
pub(crate) struct Lookup<'a, Q: ?Sized>(pub(crate) &'a Q);

impl<K: Borrow<Q>, Q: Eq + ?Sized> Equivalent<Shared<K>> for Lookup<'_, Q> {
    fn equivalent(&self, key: &Shared<K>) -> bool {
        self.0 == (**key).borrow()
    }
}

impl<K: Borrow<Q>, Q: Ord + ?Sized> Comparable<Shared<K>> for Lookup<'_, Q> {
    fn compare(&self, key: &Shared<K>) -> std::cmp::Ordering {
        self.0.cmp((**key).borrow())
    }
}
