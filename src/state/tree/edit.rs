//! Editing a tree in a change.

use crate::document::key;

use super::super::position::{self, Stamp};
use super::super::{ChangeError, Edit, ElementId, Node, State, Writer, order};
use super::{PLACE, Tree, place_value};

/// A gap between two siblings. `None` stands for either end.
#[derive(Clone, Copy)]
struct Gap {
    before: Option<ElementId>,
    after: Option<ElementId>,
}

impl<T: State> Node<Edit<'_>, Tree<T>> {
    /// Appends a node under a parent, or as a root, and returns its id.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the parent or the tree is gone, [`ChangeError::Invalid`] if the
    /// value cannot be written.
    pub fn push(&self, parent: Option<ElementId>, value: T) -> Result<ElementId, ChangeError> {
        let tree = self.tree_with(parent)?;
        let gap = Gap { before: tree.last_child(parent), after: None };
        self.insert_at(&tree, parent, gap, value)
    }

    /// Inserts a node under a parent before its child at `index`, and returns the node's id.
    ///
    /// # Errors
    /// As `push`, and [`ChangeError::OutOfRange`] beyond the last child.
    pub fn insert(
        &self,
        parent: Option<ElementId>,
        index: usize,
        value: T,
    ) -> Result<ElementId, ChangeError> {
        let tree = self.tree_with(parent)?;
        let gap = self.gap(&tree, parent, index, None)?;
        self.insert_at(&tree, parent, gap, value)
    }

    /// Moves a node with its subtree. Afterwards it stands at `index` among the children of the
    /// parent. If it already stands there, nothing is written.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the node, the parent or the tree is gone,
    /// [`ChangeError::OutOfRange`] beyond the last child, [`ChangeError::Invalid`] if the parent is
    /// the node itself or lies below it.
    pub fn move_to(
        &self,
        id: ElementId,
        parent: Option<ElementId>,
        index: usize,
    ) -> Result<(), ChangeError> {
        let tree = self.tree_with(parent)?;
        self.tree_with(Some(id))?;
        if parent.is_some_and(|parent| tree.is_ancestor(id, parent)) {
            let reason = "a node cannot move below itself".to_owned();
            return Err(ChangeError::Invalid {
                path: key::join(self.place.path(), &id.segment()),
                reason,
            });
        }
        let gap = self.gap(&tree, parent, index, Some(id))?;
        if tree.stands_in(id, parent, index) {
            return Ok(());
        }
        self.place.write(|writer| {
            let stamp = writer.core.stamp();
            tree.put_at(parent, gap, id, stamp, writer);
        })
    }

    /// Removes a node with its subtree. Returns whether the node existed.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the tree is gone.
    pub fn remove(&self, id: ElementId) -> Result<bool, ChangeError> {
        let tree = self.place.look(Tree::<T>::clone)?;
        if tree.get(id).is_none() {
            return Ok(false);
        }
        let mut gone = vec![id];
        let mut next = 0;
        while let Some(node) = gone.get(next).copied() {
            gone.extend(tree.children(Some(node)));
            next += 1;
        }
        self.place.write(|writer| {
            gone.iter().for_each(|id| writer.at(&id.segment(), |writer| writer.clear()))
        })?;
        Ok(true)
    }

    fn tree_with(&self, node: Option<ElementId>) -> Result<Tree<T>, ChangeError> {
        let tree = self.place.look(Tree::<T>::clone)?;
        match node {
            Some(id) if tree.get(id).is_none() => {
                Err(ChangeError::NotFound { path: key::join(self.place.path(), &id.segment()) })
            }
            _ => Ok(tree),
        }
    }

    fn insert_at(
        &self,
        tree: &Tree<T>,
        parent: Option<ElementId>,
        gap: Gap,
        value: T,
    ) -> Result<ElementId, ChangeError> {
        self.place.write(|writer| {
            let id = writer.new_element();
            tree.put_at(parent, gap, id, id.stamp(), writer);
            writer.at(&id.segment(), |writer| writer.write_slot(&value));
            id
        })
    }

    /// The gap at an index among a parent's children, if one of the children is the node to move.
    fn gap(
        &self,
        tree: &Tree<T>,
        parent: Option<ElementId>,
        index: usize,
        moves: Option<ElementId>,
    ) -> Result<Gap, ChangeError> {
        let siblings = || tree.children(parent).filter(|sibling| Some(*sibling) != moves);
        let mut after = siblings();
        let before = index.checked_sub(1).map(|last| after.nth(last));
        if before == Some(None) {
            let len = siblings().count();
            return Err(ChangeError::OutOfRange {
                path: self.place.path().to_owned(),
                start: index,
                end: index,
                len,
            });
        }
        Ok(Gap { before: before.flatten(), after: after.next() })
    }
}

impl<T: State> Tree<T> {
    /// Whether a node stands at an index among the children of a parent because its register says
    /// so, and not because of the rule.
    fn stands_in(&self, id: ElementId, parent: Option<ElementId>, index: usize) -> bool {
        let by_register =
            self.nodes.get(&id).is_some_and(|node| node.parent == parent && node.shown == parent);
        by_register && self.children(parent).nth(index) == Some(id)
    }

    /// Whether `id` is `below` or one of its ancestors.
    fn is_ancestor(&self, id: ElementId, below: ElementId) -> bool {
        let mut at = Some(below);
        while let Some(node) = at {
            if node == id {
                return true;
            }
            at = self.parent(node);
        }
        false
    }

    /// Writes the place of `id`. The node `id` is not a neighbour of the gap.
    fn put_at(
        &self,
        parent: Option<ElementId>,
        gap: Gap,
        id: ElementId,
        stamp: Stamp,
        writer: &mut Writer<'_, '_>,
    ) {
        let at = |id: Option<ElementId>| Some(self.nodes.get(&id?)?.position.as_ref());
        let put = |id: ElementId, position: &[u8], writer: &mut Writer<'_, '_>| {
            writer.at(&key::join(&id.segment(), PLACE), |writer| {
                writer.put(place_value(parent, position))
            });
        };
        if let Some(position) = position::between(at(gap.before), at(gap.after), stamp) {
            return put(id, &position, writer);
        }
        // The neighbours have equal positions, because two replicas chose the same one. All
        // siblings get new positions.
        let mut ids: Vec<ElementId> =
            self.children(parent).filter(|sibling| *sibling != id).collect();
        let index = ids.iter().position(|sibling| Some(*sibling) == gap.after).unwrap_or(ids.len());
        ids.insert(index, id);
        let places = order::places(&vec![None; ids.len()], || writer.core.stamp());
        ids.into_iter().zip(places).for_each(|(id, place)| put(id, &place, writer));
    }
}
