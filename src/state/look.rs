//! A place in a view that is being read. The paths that a selector reads are noted; when one of
//! them changes, the selector must run again.

use std::any::Any;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use crate::document::key;

use super::map::segment_of;
use super::{At, Map, MapKey, Node, Place, Set, State, Takes, typed};

/// A place in a view that a selector reads. Each path that is read through it is noted: see
/// [`Store::select`](crate::Store::select).
#[derive(Clone)]
pub struct Look<'a> {
    reading: &'a dyn Noted,
    path: Cow<'a, str>,
}

impl fmt::Debug for Look<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Look({:?})", self.path)
    }
}

impl Place for Look<'_> {
    fn child(&self, segment: &str) -> Self {
        Self { reading: self.reading, path: Cow::Owned(key::join(&self.path, segment)) }
    }
}

impl<'a, T: State> Node<Look<'a>, T> {
    /// The value at this place. The value counts as read with everything in it. `None` if there is
    /// no value: no such element, another enum variant, an empty option. Nothing is copied.
    ///
    /// If a struct has a field named `value`, `(*node).value()` calls this method.
    #[must_use]
    pub fn value(&self) -> Option<&'a T> {
        self.place.reading.read(&self.place.path).and_then(typed)
    }
}

impl<K: MapKey, V: State> Node<Look<'_>, Map<K, V>> {
    /// Whether the map contains the key. Only the key's entry counts as read.
    #[must_use]
    pub fn contains_key<Q>(&self, key: Q) -> bool
    where
        K: Takes<Q>,
    {
        self.place.has(&K::take(key))
    }
}

impl<T: MapKey> Node<Look<'_>, Set<T>> {
    /// Whether the set contains the element. Only that element counts as read.
    #[must_use]
    pub fn contains<Q>(&self, item: Q) -> bool
    where
        T: Takes<Q>,
    {
        self.place.has(&T::take(item))
    }
}

impl Look<'_> {
    fn has<K: MapKey>(&self, key: &K) -> bool {
        self.reading.read(&key::join(&self.path, &segment_of(key))).is_some()
    }
}

/// The operations of a reading that an accessor needs; they are independent of the state's type.
trait Noted {
    /// Notes the path and returns the value there.
    fn read(&self, path: &str) -> Option<&dyn Any>;
}

/// A view while a selector reads it.
pub(crate) struct Reading<'v, S> {
    view: &'v S,
    paths: RefCell<BTreeSet<Box<str>>>,
}

impl<'v, S: State> Reading<'v, S> {
    pub(crate) fn new(view: &'v S) -> Self {
        Self { view, paths: RefCell::default() }
    }

    /// The accessor of the whole state.
    pub(crate) fn root(&self) -> S::Node<Look<'_>> {
        S::node(Look { reading: self, path: Cow::Borrowed("") })
    }

    /// The paths that were read.
    pub(crate) fn into_paths(self) -> BTreeSet<Box<str>> {
        self.paths.into_inner()
    }
}

impl<S: State> Noted for Reading<'_, S> {
    fn read(&self, path: &str) -> Option<&dyn Any> {
        let mut paths = self.paths.borrow_mut();
        if !paths.contains(path) {
            paths.insert(path.into());
        }
        drop(paths);
        self.view.locate(At::start(path))
    }
}
