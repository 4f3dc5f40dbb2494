//! A set of keys.

use std::any::Any;
use std::borrow::Borrow;
use std::fmt;

use crate::document::value::Value;

use super::map::{MapKey, check_key, key_of, segment_of};
use super::schema;
use super::shared::{Lookup, Shared};
use super::{
    ANY, At, ChangeError, Edit, Node, Place, Reader, Refresh, Shape, State, Takes, Writer,
};

/// A sorted set of values; each value is its own key. Adding an element again wins over a
/// concurrent removal. (An exception on yrs: if the replica that removes the element had also added
/// it again, the two writes conflict.)
pub struct Set<T>(imbl::OrdSet<Shared<T>>);

impl<T: MapKey> Set<T> {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self(imbl::OrdSet::new())
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the set contains the element. O(log n).
    #[must_use]
    pub fn contains<Q: Ord + ?Sized>(&self, item: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.0.contains(&Lookup(item))
    }

    /// The elements, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|item| &**item)
    }

    /// Adds an element to this copy, to build a value.
    pub fn insert(&mut self, item: T) {
        self.0.insert(Shared::new(item));
    }

    /// Removes an element from this copy, to build a value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, item: &Q)
    where
        T: Borrow<Q>,
    {
        self.0.remove(&Lookup(item));
    }
}

impl<'a, T: MapKey> IntoIterator for &'a Set<T> {
    type Item = &'a T;
    type IntoIter = Box<dyn Iterator<Item = &'a T> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

impl<T> Clone for Set<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: MapKey> Default for Set<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Ord> PartialEq for Set<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().eq(other.0.iter())
    }
}

impl<T: Ord> Eq for Set<T> {}

impl<T: Ord + fmt::Debug> fmt::Debug for Set<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter()).finish()
    }
}

impl<T: MapKey> FromIterator<T> for Set<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(items.into_iter().map(Shared::new).collect())
    }
}

impl<T: MapKey> State for Set<T> {
    type Node<P: Place> = Node<P, Self>;

    fn node<P: Place>(place: P) -> Node<P, Self> {
        Node::new(place)
    }

    fn initial() -> Self {
        Self::new()
    }

    fn shape(shape: &mut Shape) {
        shape.kind("set");
    }

    fn describe(_: &mut schema::Describe) -> schema::Type {
        schema::Type::Set(T::KEY)
    }

    fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let mut items = Vec::new();
        let ty = reader.ty();
        reader.each_child(|segment, reader| {
            if reader.own().is_some() {
                items.extend(key_of::<T>(segment, ty));
            }
        });
        Some(items.into_iter().collect())
    }

    fn refresh(&mut self, at: At<'_>, cx: &mut Refresh<'_>) {
        let Some((segment, below)) = at.next().filter(|(_, rest)| rest.is_end()) else { return };
        let Some(item) = key_of::<T>(segment, at.ty()) else { return };
        match cx.register(below.here()) {
            Some(_) => drop(self.0.insert(Shared::new(item))),
            None => drop(self.0.remove(&Lookup(&item))),
        }
    }

    fn locate(&self, at: At<'_>) -> Option<&dyn Any> {
        match at.next() {
            None => at.is_end().then_some(self as &dyn Any),
            Some((ANY, _)) => {
                at.offer(self.iter().map(segment_of));
                None
            }
            // The presence of one element, as a bool.
            Some((segment, _)) => {
                self.contains(&key_of::<T>(segment, at.ty())?).then_some(&true as &dyn Any)
            }
        }
    }

    fn write(&self, _unless: Option<&Self>, writer: &mut Writer<'_, '_>) {
        for item in &self.0 {
            writer.at(&segment_of(&**item), |writer| writer.put(Value::Bool(true)));
        }
    }

    fn reconcile(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        for item in self.0.iter().filter(|item| !new.0.contains(*item)) {
            writer.at(&segment_of(&**item), |writer| writer.remove());
        }
        for item in new.0.iter().filter(|item| !self.0.contains(*item)) {
            writer.at(&segment_of(&**item), |writer| writer.put(Value::Bool(true)));
        }
    }
}

impl<S, T: MapKey> Node<super::Path<S>, Set<T>> {
    /// The presence of one element, for watching: `true` while the set contains it.
    #[must_use]
    pub fn has<Q>(&self, item: Q) -> Node<super::Path<S>, bool>
    where
        T: Takes<Q>,
    {
        Node::new(self.place.child(&segment_of(&T::take(item))))
    }
}

impl<T: MapKey> Node<Edit<'_>, Set<T>> {
    /// Adds an element. Returns whether it is new.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the set is gone.
    pub fn insert<Q>(&self, item: Q) -> Result<bool, ChangeError>
    where
        T: Takes<Q>,
    {
        let item = T::take(item);
        check_key(&self.place, &item)?;
        let found = self.place.look(|set: &Set<T>| set.contains(&item))?;
        // The register is written even if the set contains the element, so that the element
        // survives a concurrent removal by a replica that does not know this addition. The value
        // itself has no meaning, but only a different value makes an op on every backend.
        let write = |writer: &mut Writer<'_, '_>| {
            let flag = writer.own() == Some(Value::Bool(true));
            writer.put(Value::Bool(!flag));
        };
        self.place.write(|writer| writer.at(&segment_of(&item), |writer| write(writer)))?;
        Ok(!found)
    }

    /// Removes an element. Returns whether the set contained it.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the set is gone.
    pub fn remove<Q>(&self, item: Q) -> Result<bool, ChangeError>
    where
        T: Takes<Q>,
    {
        let item = T::take(item);
        let found = self.place.look(|set: &Set<T>| set.contains(&item))?;
        if found {
            self.place.write(|writer| writer.at(&segment_of(&item), |writer| writer.remove()))?;
        }
        Ok(found)
    }

    /// Whether the set contains the element.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the set is gone.
    pub fn contains<Q>(&self, item: Q) -> Result<bool, ChangeError>
    where
        T: Takes<Q>,
    {
        let item = T::take(item);
        self.place.look(|set: &Set<T>| set.contains(&item))
    }
}
