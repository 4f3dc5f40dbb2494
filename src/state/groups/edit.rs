//! Editing groups and their items in a change.

use crate::document::key;

use super::super::tree::{PLACE, place_value};
use super::super::{ChangeError, Edit, ElementId, MovableList, Node, Place, State, Writer};
use super::{GROUPS, Groups, ITEMS};

impl<G: State, T: State> Node<Edit<'_>, Groups<G, T>> {
    /// Appends a group and returns its id.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the collection is gone, [`ChangeError::Invalid`] if the value
    /// cannot be written.
    pub fn push_group(&self, group: G) -> Result<ElementId, ChangeError> {
        self.groups().push(group)
    }

    /// Inserts a group before the group at `index` and returns its id.
    ///
    /// # Errors
    /// As `push_group`, and [`ChangeError::OutOfRange`] beyond the end.
    pub fn insert_group(&self, index: usize, group: G) -> Result<ElementId, ChangeError> {
        self.groups().insert(index, group)
    }

    /// Moves a group with its items. Afterwards it stands at `index` among the groups.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the group is gone, [`ChangeError::OutOfRange`] beyond the end.
    pub fn move_group(&self, id: ElementId, index: usize) -> Result<(), ChangeError> {
        self.groups().move_to(id, index)
    }

    /// Removes a group with its items. Returns whether the group existed. To keep the items, move
    /// them first.
    ///
    /// An item that another replica concurrently moves or adds to the group stays and is
    /// [ungrouped](Groups::ungrouped).
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the collection is gone.
    pub fn remove_group(&self, id: ElementId) -> Result<bool, ChangeError> {
        let whole = self.place.look(Groups::<G, T>::clone)?;
        if whole.group(id).is_none() {
            return Ok(false);
        }
        self.place.write(|writer| {
            writer.at(&key::join(GROUPS, &id.segment()), |writer| writer.clear());
            for (item, _) in whole.items(id).iter_ids() {
                writer.at(&key::join(ITEMS, &item.segment()), |writer| writer.clear());
            }
        })?;
        Ok(true)
    }

    /// Appends an item to a group and returns its id.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the group is gone, [`ChangeError::Invalid`] if the value cannot
    /// be written.
    pub fn push(&self, group: ElementId, value: T) -> Result<ElementId, ChangeError> {
        let items = self.items(group)?;
        self.insert_at(&items, group, items.len(), value)
    }

    /// Inserts an item before the item at `index` of a group and returns its id.
    ///
    /// # Errors
    /// As `push`, and [`ChangeError::OutOfRange`] beyond the end of the group.
    pub fn insert(
        &self,
        group: ElementId,
        index: usize,
        value: T,
    ) -> Result<ElementId, ChangeError> {
        let items = self.items(group)?;
        self.check(index, items.len())?;
        self.insert_at(&items, group, index, value)
    }

    /// Moves an item within its group, to another group, or from the ungrouped items to a group.
    /// Afterwards it stands at `index` among the items of the group. If it already stands there,
    /// nothing is written.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the item or the group is gone, [`ChangeError::OutOfRange`]
    /// beyond the end of the group.
    pub fn move_to(
        &self,
        id: ElementId,
        group: ElementId,
        index: usize,
    ) -> Result<(), ChangeError> {
        let mut items = self.items(group)?;
        if self.place.look(|whole: &Groups<G, T>| whole.get(id).is_none())? {
            return Err(self.gone(ITEMS, id));
        }
        if items.index_of(id) == Some(index) {
            return Ok(());
        }
        items.displace(id);
        self.check(index, items.len())?;
        self.place.write(|writer| {
            let stamp = writer.core.stamp();
            writer.at(ITEMS, |writer| items.put_at(index, id, stamp, writer, &put_into(group)));
        })
    }

    /// Removes an item with all its fields, including fields that this struct does not know.
    /// Returns whether the item existed.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the collection is gone.
    pub fn remove(&self, id: ElementId) -> Result<bool, ChangeError> {
        let found = self.place.look(|whole: &Groups<G, T>| whole.claims.contains_key(&id))?;
        if found {
            self.place.write(|writer| {
                writer.at(&key::join(ITEMS, &id.segment()), |writer| writer.clear())
            })?;
        }
        Ok(found)
    }

    fn groups(&self) -> Node<Edit<'_>, MovableList<G>> {
        Node::new(self.place.child(GROUPS))
    }

    fn items(&self, group: ElementId) -> Result<MovableList<T>, ChangeError> {
        let items = self.place.look(|whole: &Groups<G, T>| {
            whole.has_group(group).then(|| whole.items(group).clone())
        })?;
        items.ok_or_else(|| self.gone(GROUPS, group))
    }

    fn gone(&self, among: &str, id: ElementId) -> ChangeError {
        ChangeError::NotFound {
            path: key::join(self.place.path(), &key::join(among, &id.segment())),
        }
    }

    fn check(&self, index: usize, len: usize) -> Result<(), ChangeError> {
        if index <= len {
            return Ok(());
        }
        Err(ChangeError::OutOfRange {
            path: self.place.path().to_owned(),
            start: index,
            end: index,
            len,
        })
    }

    fn insert_at(
        &self,
        items: &MovableList<T>,
        group: ElementId,
        index: usize,
        value: T,
    ) -> Result<ElementId, ChangeError> {
        self.place.write(|writer| {
            writer.at(ITEMS, |writer| {
                let id = writer.new_element();
                items.put_at(index, id, id.stamp(), writer, &put_into(group));
                writer.at(&id.segment(), |writer| writer.write_slot(&value));
                id
            })
        })
    }
}

/// Writes a position in a group.
fn put_into(group: ElementId) -> impl Fn(ElementId, &[u8], &mut Writer<'_, '_>) {
    move |id, position, writer| {
        writer.at(&key::join(&id.segment(), PLACE), |writer| {
            writer.put(place_value(Some(group), position))
        });
    }
}
