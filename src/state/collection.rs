//! The operations that every collection has in a change besides its own edits: iterate over all
//! elements, add many, remove all.
//!
//! An iteration covers the elements that the collection held when the iteration began. The elements
//! may be edited and removed during the iteration.

use crate::document::source::Source;

use super::{
    ChangeError, Edit, ElementId, Groups, List, Map, MapKey, MovableList, Node, Scalar, Set, State,
    Takes, Tree,
};

impl<T: Scalar> Node<Edit<'_>, List<T>> {
    /// The number of elements.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the list is gone.
    pub fn len(&self) -> Result<usize, ChangeError> {
        self.place.look(List::<T>::len)
    }

    /// Whether the list is empty.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the list is gone.
    pub fn is_empty(&self) -> Result<bool, ChangeError> {
        self.len().map(|len| len == 0)
    }

    /// The staged elements in order. O(n).
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the list is gone.
    pub fn iter(&self) -> Result<std::vec::IntoIter<T>, ChangeError> {
        self.place.look(|list: &List<T>| all(list.iter().cloned()))
    }

    /// Removes all elements, including those that do not fit `T`. Concurrent insertions of other
    /// replicas stay.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the list is gone.
    pub fn clear(&self) -> Result<(), ChangeError> {
        self.place.look(|_: &List<T>| ())?;
        self.place.write(|writer| {
            let len = writer.core.list(writer.path()).len();
            if len > 0 {
                writer.splice_list(0, len, Vec::new());
            }
        })
    }
}

impl<T: State> Node<Edit<'_>, MovableList<T>> {
    /// The staged elements in order. O(n).
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the list is gone.
    pub fn iter(&self) -> Result<std::vec::IntoIter<T>, ChangeError> {
        self.place.look(|list: &MovableList<T>| all(list.iter().cloned()))
    }

    /// The staged elements in order, with their ids. The loop may edit or remove elements. O(n).
    ///
    /// ```
    /// use exostate::{MovableList, State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct List { tasks: MovableList<Task> }
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Task { title: String, done: bool }
    ///
    /// let store = Store::<List>::new();
    /// store.change(|list| {
    ///     let task = |title: &str, done| Task { title: title.to_owned(), done };
    ///     list.tasks().extend([task("plan", true), task("build", false)])?;
    ///     for (id, task) in list.tasks().iter_ids()? {
    ///         if task.done {
    ///             list.tasks().remove(id)?;
    ///         } else {
    ///             list.tasks().get(id).done().set(true)?;
    ///         }
    ///     }
    ///     Ok(())
    /// })?;
    /// assert_eq!(store.view().tasks.len(), 1);
    /// # Ok::<(), exostate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the list is gone.
    pub fn iter_ids(&self) -> Result<std::vec::IntoIter<(ElementId, T)>, ChangeError> {
        self.place.look(|list: &MovableList<T>| {
            all(list.iter_ids().map(|(id, value)| (id, value.clone())))
        })
    }

    /// Appends elements and returns their ids.
    ///
    /// # Errors
    /// As `push`.
    pub fn extend(
        &self,
        values: impl IntoIterator<Item = T>,
    ) -> Result<Vec<ElementId>, ChangeError> {
        values.into_iter().map(|value| self.push(value)).collect()
    }

    /// Removes all elements with all their fields, including fields that this struct does not know.
    /// Concurrent insertions of other replicas stay.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the list is gone.
    pub fn clear(&self) -> Result<(), ChangeError> {
        self.place.look(|_: &MovableList<T>| ())?;
        self.place.write(|writer| writer.clear_below())
    }
}

impl<K: MapKey, V: State> Node<Edit<'_>, Map<K, V>> {
    /// The staged entries in the order of keys. O(n).
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the map is gone.
    pub fn iter(&self) -> Result<std::vec::IntoIter<(K, V)>, ChangeError> {
        self.place.look(|map: &Map<K, V>| {
            all(map.iter().map(|(key, value)| (key.clone(), value.clone())))
        })
    }

    /// The staged keys in order. O(n).
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the map is gone.
    pub fn keys(&self) -> Result<std::vec::IntoIter<K>, ChangeError> {
        self.place.look(|map: &Map<K, V>| all(map.keys().cloned()))
    }

    /// Inserts records or values. Existing entries with the same keys are replaced as a whole.
    ///
    /// # Errors
    /// As `insert`.
    pub fn extend<Q>(&self, entries: impl IntoIterator<Item = (Q, V)>) -> Result<(), ChangeError>
    where
        K: Takes<Q>,
    {
        entries.into_iter().try_for_each(|(key, value)| self.insert(key, value))
    }

    /// Removes all records with all their fields, including fields that this struct does not know
    /// and entries that do not fit. Concurrent insertions of other replicas stay.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the map is gone.
    pub fn clear(&self) -> Result<(), ChangeError> {
        self.place.look(|_: &Map<K, V>| ())?;
        self.place.write(|writer| writer.clear_below())
    }
}

impl<T: MapKey> Node<Edit<'_>, Set<T>> {
    /// The number of elements.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the set is gone.
    pub fn len(&self) -> Result<usize, ChangeError> {
        self.place.look(Set::<T>::len)
    }

    /// Whether the set is empty.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the set is gone.
    pub fn is_empty(&self) -> Result<bool, ChangeError> {
        self.len().map(|len| len == 0)
    }

    /// The staged elements in order. O(n).
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the set is gone.
    pub fn iter(&self) -> Result<std::vec::IntoIter<T>, ChangeError> {
        self.place.look(|set: &Set<T>| all(set.iter().cloned()))
    }

    /// Adds elements.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the set is gone.
    pub fn extend<Q>(&self, items: impl IntoIterator<Item = Q>) -> Result<(), ChangeError>
    where
        T: Takes<Q>,
    {
        items.into_iter().try_for_each(|item| self.insert(item).map(drop))
    }

    /// Removes all elements. Concurrent additions of other replicas stay.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the set is gone.
    pub fn clear(&self) -> Result<(), ChangeError> {
        self.place.look(|_: &Set<T>| ())?;
        self.place.write(|writer| writer.clear_below())
    }
}

impl<T: State> Node<Edit<'_>, Tree<T>> {
    /// The number of nodes.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the tree is gone.
    pub fn len(&self) -> Result<usize, ChangeError> {
        self.place.look(Tree::<T>::len)
    }

    /// Whether the tree is empty.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the tree is gone.
    pub fn is_empty(&self) -> Result<bool, ChangeError> {
        self.len().map(|len| len == 0)
    }

    /// The staged nodes from the roots down, parents first, with their ids. O(n · log n).
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the tree is gone.
    pub fn iter_ids(&self) -> Result<std::vec::IntoIter<(ElementId, T)>, ChangeError> {
        self.place.look(|tree: &Tree<T>| {
            all(tree.walk().into_iter().map(|(_, id, value)| (id, value.clone())))
        })
    }

    /// The staged values of the nodes from the roots down, parents first. O(n · log n).
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the tree is gone.
    pub fn iter(&self) -> Result<std::vec::IntoIter<T>, ChangeError> {
        self.place
            .look(|tree: &Tree<T>| all(tree.walk().into_iter().map(|(_, _, value)| value.clone())))
    }

    /// Appends nodes under a parent, or as roots, and returns their ids.
    ///
    /// # Errors
    /// As `push`.
    pub fn extend(
        &self,
        parent: Option<ElementId>,
        values: impl IntoIterator<Item = T>,
    ) -> Result<Vec<ElementId>, ChangeError> {
        values.into_iter().map(|value| self.push(parent, value)).collect()
    }

    /// Removes all nodes with all their fields, including fields that this struct does not know.
    /// Concurrent insertions of other replicas stay; a node whose parent is gone becomes a root.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the tree is gone.
    pub fn clear(&self) -> Result<(), ChangeError> {
        self.place.look(|_: &Tree<T>| ())?;
        self.place.write(|writer| writer.clear_below())
    }
}

impl<G: State, T: State> Node<Edit<'_>, Groups<G, T>> {
    /// The number of items, in all groups and ungrouped.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the collection is gone.
    pub fn len(&self) -> Result<usize, ChangeError> {
        self.place.look(Groups::<G, T>::len)
    }

    /// Whether there are no items.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the collection is gone.
    pub fn is_empty(&self) -> Result<bool, ChangeError> {
        self.len().map(|len| len == 0)
    }

    /// The staged groups in order, with their ids. O(n).
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the collection is gone.
    pub fn iter_groups(&self) -> Result<std::vec::IntoIter<(ElementId, G)>, ChangeError> {
        self.place.look(|whole: &Groups<G, T>| {
            all(whole.groups().iter_ids().map(|(id, group)| (id, group.clone())))
        })
    }

    /// The staged items of a group in order, with their ids. Empty if there is no such group. O(n).
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the collection is gone.
    pub fn iter_ids(
        &self,
        group: ElementId,
    ) -> Result<std::vec::IntoIter<(ElementId, T)>, ChangeError> {
        self.place.look(|whole: &Groups<G, T>| {
            all(whole.items(group).iter_ids().map(|(id, item)| (id, item.clone())))
        })
    }

    /// Appends items to a group and returns their ids.
    ///
    /// # Errors
    /// As `push`.
    pub fn extend(
        &self,
        group: ElementId,
        values: impl IntoIterator<Item = T>,
    ) -> Result<Vec<ElementId>, ChangeError> {
        values.into_iter().map(|value| self.push(group, value)).collect()
    }

    /// Removes all groups and items with all their fields, including fields that this struct does
    /// not know. Concurrent insertions of other replicas stay; an item whose group is gone is
    /// ungrouped.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the collection is gone.
    pub fn clear(&self) -> Result<(), ChangeError> {
        self.place.look(|_: &Groups<G, T>| ())?;
        self.place.write(|writer| writer.clear_below())
    }
}

/// Copies all items out of the staged view, because the view changes with the next edit.
fn all<T>(items: impl Iterator<Item = T>) -> std::vec::IntoIter<T> {
    items.collect::<Vec<_>>().into_iter()
}
