//! Lists within a list, where each item is in at most one of the lists: columns and cards, sections
//! and tasks, playlists and tracks.
//!
//! The groups are a [`MovableList`]. An item is a record with one register, `@place`, which holds
//! the item's group and its position in the group, like a node of a [`Tree`](super::Tree). So a
//! move is one write: concurrent moves of one item conflict, one move wins as a whole, and the item
//! is never lost or duplicated. An item whose group does not exist, because another replica removed
//! it, is *ungrouped*.

mod edit;
mod reconcile;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::document::key;

use super::position::Position;
use super::schema;
use super::tree::{PLACE, place_below, read_place};
use super::{ANY, At, ElementId, MovableList, Node, Place, Reader, Refresh, Shape, State, Writer};

/// The path segment of the groups, below the path of the collection.
pub(super) const GROUPS: &str = "groups";
/// The path segment of the items of all groups.
pub(super) const ITEMS: &str = "items";

const EXPECTED: &str = "a place in a group (group and position)";

/// Groups of items, both in an order that users change: for example a board's columns `G` with
/// their cards `T`. An item is in at most one group and never occurs twice. It keeps its id, its
/// edits and its watchers when it moves to another group.
///
/// - Concurrent moves of one item conflict, and one move wins as a whole.
/// - Removing a group removes the items that the removing replica sees in it. An item that another
///   replica concurrently moves or adds to the group stays. It is [ungrouped](Groups::ungrouped)
///   until it is moved to a group.
///
/// Reading and editing cost O(log n). A clone is O(1) and shares the unchanged parts.
///
/// ```
/// use exostate::{Groups, State, Store};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Board { cards: Groups<Column, Card> }
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Column { title: String }
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Card { text: String }
///
/// let store = Store::<Board>::new();
/// let (doing, card) = store.change(|board| {
///     let todo = board.cards().push_group(Column { title: "To do".into() })?;
///     let doing = board.cards().push_group(Column { title: "Doing".into() })?;
///     let card = board.cards().push(todo, Card { text: "ship it".into() })?;
///     board.cards().move_to(card, doing, 0)?;
///     Ok((doing, card))
/// })?;
/// for (_, column, cards) in store.view().cards.iter() {
///     println!("{}: {:?}", column.title, cards.iter().map(|card| &card.text).collect::<Vec<_>>());
/// }
/// assert_eq!(store.view().cards.group_of(card), Some(doing));
/// # Ok::<(), exostate::Error>(())
/// ```
#[doc(alias = "Sections")]
#[doc(alias = "Kanban")]
pub struct Groups<G, T> {
    groups: MovableList<G>,
    /// The items by the group that their registers name, whether or not that group exists. None of
    /// these lists is empty.
    lists: imbl::OrdMap<Option<ElementId>, MovableList<T>>,
    /// The group that each item's register names.
    claims: imbl::OrdMap<ElementId, Option<ElementId>>,
    /// The empty list, which stands for the items of a group without items.
    empty: MovableList<T>,
    detached: u64,
}

#[cfg(feature = "serde")]
impl<G, T> Groups<G, T> {
    /// The same groups and items with other values. `None` if one of them cannot be made; both
    /// functions are called for all of theirs, with `cx`.
    pub(crate) fn try_map<C, H: Clone, U: Clone>(
        &self,
        cx: &mut C,
        mut group: impl FnMut(&mut C, &G) -> Option<H>,
        mut item: impl FnMut(&mut C, &T) -> Option<U>,
    ) -> Option<Groups<H, U>> {
        let groups = self.groups.try_map(&mut |value| group(cx, value));
        let lists = self
            .lists
            .iter()
            .map(|(id, list)| Some((*id, list.try_map(&mut |value| item(cx, value))?)));
        let lists: Vec<_> = lists.collect();
        Some(Groups {
            groups: groups?,
            lists: lists.into_iter().collect::<Option<_>>()?,
            claims: self.claims.clone(),
            empty: MovableList::new(),
            detached: self.detached,
        })
    }
}

impl<G: Clone, T: Clone> Groups<G, T> {
    /// A collection without groups and items.
    #[must_use]
    pub fn new() -> Self {
        let lists = imbl::OrdMap::new();
        let claims = imbl::OrdMap::new();
        Self { groups: MovableList::new(), lists, claims, empty: MovableList::new(), detached: 0 }
    }

    /// The number of items, in all groups and ungrouped.
    #[must_use]
    pub fn len(&self) -> usize {
        self.claims.len()
    }

    /// Whether there are no items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// The groups, in order.
    #[must_use]
    pub fn groups(&self) -> &MovableList<G> {
        &self.groups
    }

    /// A group. O(log² n).
    #[must_use]
    pub fn group(&self, id: ElementId) -> Option<&G> {
        self.groups.by_id(id)
    }

    /// The items of a group, in order. Empty if there is no such group. O(log n).
    #[must_use]
    pub fn items(&self, group: ElementId) -> &MovableList<T> {
        self.lists.get(&Some(group)).filter(|_| self.has_group(group)).unwrap_or(&self.empty)
    }

    /// The groups in order, each with its id and its items.
    pub fn iter(&self) -> impl Iterator<Item = (ElementId, &G, &MovableList<T>)> {
        self.groups.iter_ids().map(|(id, group)| (id, group, self.items(id)))
    }

    /// The items whose group does not exist: another replica removed the group while the items were
    /// moved or added to it. An application shows these items separately, or [moves](Node::move_to)
    /// them to a group. Items with the same former group stand together.
    pub fn ungrouped(&self) -> impl Iterator<Item = (ElementId, &T)> {
        let lists = self
            .lists
            .iter()
            .filter(|(group, _)| !group.is_some_and(|group| self.has_group(group)));
        lists.flat_map(|(_, list)| list.iter_ids())
    }

    /// An item, in any group or ungrouped. O(log² n).
    #[must_use]
    pub fn get(&self, id: ElementId) -> Option<&T> {
        self.lists.get(self.claims.get(&id)?)?.by_id(id)
    }

    /// The group of an item. `None` if the item is ungrouped or does not exist. O(log n).
    #[must_use]
    pub fn group_of(&self, id: ElementId) -> Option<ElementId> {
        self.claims.get(&id).copied().flatten().filter(|group| self.has_group(*group))
    }

    fn has_group(&self, id: ElementId) -> bool {
        self.groups.position(id).is_some()
    }

    /// Inserts an item of the document at its place, or moves it there.
    fn place(
        &mut self,
        id: ElementId,
        group: Option<ElementId>,
        position: Position,
        value: Arc<T>,
    ) {
        self.displace(id);
        self.claims.insert(id, group);
        self.lists.entry(group).or_default().place(id, position, value);
    }

    fn displace(&mut self, id: ElementId) -> Option<Arc<T>> {
        let group = self.claims.remove(&id)?;
        let list = self.lists.get_mut(&group)?;
        let value = list.displace(id);
        if list.is_empty() {
            self.lists.remove(&group);
        }
        value
    }
}

/// Edits of a copy, to build a value or to reconcile with it later. Ids of new groups and items are
/// valid only within this copy.
impl<G: Clone, T: Clone> Groups<G, T> {
    /// Appends a group to this copy.
    pub fn push_group(&mut self, group: G) -> ElementId {
        let id = self.new_id();
        self.groups.insert_entry(self.groups.len(), id, Arc::new(group));
        id
    }

    /// Appends an item to a group of this copy. If there is no such group, the item is ungrouped.
    pub fn push(&mut self, group: ElementId, value: T) -> ElementId {
        let id = self.new_id();
        self.append(id, Some(group).filter(|group| self.has_group(*group)), value);
        id
    }

    /// Moves an item of this copy to `index` of a group. An index beyond the end counts as the end.
    /// Returns whether both the item and the group exist.
    pub fn move_to(&mut self, id: ElementId, group: ElementId, index: usize) -> bool {
        if !self.has_group(group) {
            return false;
        }
        let Some(value) = self.displace(id) else { return false };
        self.claims.insert(id, Some(group));
        let list = self.lists.entry(Some(group)).or_default();
        list.insert_entry(index.min(list.len()), id, value);
        true
    }

    /// Removes an item from this copy.
    pub fn remove(&mut self, id: ElementId) -> Option<T> {
        self.displace(id).map(|value| T::clone(&value))
    }

    /// Removes a group from this copy, with its items.
    pub fn remove_group(&mut self, id: ElementId) -> Option<G> {
        let group = self.groups.displace(id)?;
        let items: Vec<ElementId> = self
            .lists
            .get(&Some(id))
            .into_iter()
            .flat_map(|list| list.iter_ids())
            .map(|(id, _)| id)
            .collect();
        items.into_iter().for_each(|item| drop(self.displace(item)));
        Some(G::clone(&group))
    }

    /// An item of this copy for editing.
    pub fn get_mut(&mut self, id: ElementId) -> Option<&mut T> {
        self.lists.get_mut(self.claims.get(&id)?)?.by_id_mut(id)
    }

    /// A group of this copy for editing.
    pub fn group_mut(&mut self, id: ElementId) -> Option<&mut G> {
        self.groups.by_id_mut(id)
    }

    fn new_id(&mut self) -> ElementId {
        let groups = &self.groups;
        let claims = &self.claims;
        ElementId::detached(&mut self.detached, |id| {
            groups.position(id).is_some() || claims.contains_key(&id)
        })
    }

    fn append(&mut self, id: ElementId, group: Option<ElementId>, value: T) {
        self.claims.insert(id, group);
        let list = self.lists.entry(group).or_default();
        list.insert_entry(list.len(), id, Arc::new(value));
    }

    /// Like [`Groups::push_group`], with the given id or with a new one. `None` if the id is taken.
    #[cfg(feature = "serde")]
    pub(crate) fn push_group_as(&mut self, id: Option<ElementId>, group: G) -> Option<ElementId> {
        let id = id.unwrap_or_else(|| self.new_id());
        if self.has_group(id) {
            return None;
        }
        self.groups.insert_entry(self.groups.len(), id, Arc::new(group));
        Some(id)
    }

    /// Appends an item to a group, or ungrouped, with the given id or with a new one. `None` if the
    /// id is taken.
    #[cfg(feature = "serde")]
    pub(crate) fn push_as(
        &mut self,
        id: Option<ElementId>,
        group: Option<ElementId>,
        value: T,
    ) -> Option<ElementId> {
        let id = id.unwrap_or_else(|| self.new_id());
        if self.claims.contains_key(&id) {
            return None;
        }
        self.append(id, group, value);
        Some(id)
    }
}

impl<G, T> Clone for Groups<G, T> {
    fn clone(&self) -> Self {
        let lists = self.lists.clone();
        let claims = self.claims.clone();
        Self {
            groups: self.groups.clone(),
            lists,
            claims,
            empty: self.empty.clone(),
            detached: self.detached,
        }
    }
}

impl<G: Clone, T: Clone> Default for Groups<G, T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Equal if the groups, their items and the ungrouped items are equal, in order. Ids do not count.
impl<G: PartialEq + Clone, T: PartialEq + Clone> PartialEq for Groups<G, T> {
    fn eq(&self, other: &Self) -> bool {
        self.groups == other.groups
            && self.len() == other.len()
            && self.iter().zip(other.iter()).all(|(a, b)| a.2 == b.2)
            && self.ungrouped().map(|(_, item)| item).eq(other.ungrouped().map(|(_, item)| item))
    }
}

impl<G: fmt::Debug + Clone, T: fmt::Debug + Clone> fmt::Debug for Groups<G, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        list.entries(self.iter().map(|(_, group, items)| (group, items)));
        let ungrouped: Vec<&T> = self.ungrouped().map(|(_, item)| item).collect();
        if !ungrouped.is_empty() {
            list.entry(&("ungrouped", ungrouped));
        }
        list.finish()
    }
}

impl<G: State, T: State> State for Groups<G, T> {
    type Node<P: Place> = Node<P, Self>;

    fn node<P: Place>(place: P) -> Node<P, Self> {
        Node::new(place)
    }

    fn shape(shape: &mut Shape) {
        shape.kind("groups");
        G::shape(shape);
        T::shape(shape);
    }

    fn describe(describe: &mut schema::Describe) -> schema::Type {
        schema::Type::Groups(Box::new(G::describe(describe)), Box::new(T::describe(describe)))
    }

    fn initial() -> Self {
        Self::new()
    }

    fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let mut read = Self::new();
        read.groups = reader.within(GROUPS, MovableList::read).unwrap_or_default();
        let mut lists = BTreeMap::<Option<ElementId>, Vec<_>>::new();
        reader.within(ITEMS, |reader| {
            reader.each_child(|segment, reader| {
                let Ok(id) = segment.parse::<ElementId>() else { return };
                let Some(value) = reader.slot::<T>() else { return };
                let (group, position) = place_below(reader, EXPECTED);
                lists.entry(group).or_default().push((position, id, Arc::new(value)));
            });
        });
        for (group, items) in lists {
            read.claims.extend(items.iter().map(|(_, id, _)| (*id, group)));
            read.lists.insert(group, MovableList::from_entries(items));
        }
        Some(read)
    }

    fn refresh(&mut self, at: At<'_>, cx: &mut Refresh<'_>) {
        match at.next() {
            Some((GROUPS, at)) => self.groups.refresh(at, cx),
            Some((ITEMS, at)) => self.refresh_item(at, cx),
            _ => {}
        }
    }

    fn locate(&self, at: At<'_>) -> Option<&dyn Any> {
        match at.next() {
            None => at.is_end().then_some(self as &dyn Any),
            Some((GROUPS, at)) => self.groups.locate(at),
            Some((ITEMS, at)) => match at.next()? {
                (ANY, _) => {
                    at.offer(self.claims.keys().map(|id| id.segment()));
                    None
                }
                (segment, rest) => self.get(segment.parse().ok()?)?.locate(rest),
            },
            Some(_) => None,
        }
    }

    fn write(&self, _unless: Option<&Self>, writer: &mut Writer<'_, '_>) {
        Self::new().reconcile(self, writer);
    }

    fn reconcile(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        self.write_least(new, writer);
    }
}

impl<G: State, T: State> Groups<G, T> {
    fn refresh_item(&mut self, at: At<'_>, cx: &mut Refresh<'_>) {
        let Some((segment, at)) = at.next() else { return };
        let Ok(id) = segment.parse::<ElementId>() else { return };
        if at.is_end() {
            return match cx.slot::<T>(at) {
                Some(value) => {
                    let (group, position) = read_place(cx, &key::join(at.here(), PLACE), EXPECTED);
                    self.place(id, group, position, Arc::new(value));
                }
                None => drop(self.displace(id)),
            };
        }
        match at.next() {
            Some((PLACE, rest)) if rest.is_end() => {
                if let Some(value) = self.displace(id) {
                    let (group, position) = read_place(cx, rest.here(), EXPECTED);
                    self.place(id, group, position, value);
                }
            }
            _ => {
                if let Some(value) = self.get_mut(id) {
                    value.refresh(at, cx);
                }
            }
        }
    }
}

impl<P: Place, G: State, T: State> Node<P, Groups<G, T>> {
    /// The place of one item, in any group or ungrouped.
    #[must_use]
    pub fn get(&self, id: ElementId) -> T::Node<P> {
        T::node(self.place.child(ITEMS).child(&id.segment()))
    }

    /// The place of one group.
    #[must_use]
    pub fn group(&self, id: ElementId) -> G::Node<P> {
        G::node(self.place.child(GROUPS).child(&id.segment()))
    }
}

impl<S, G: State, T: State> Node<super::Path<S>, Groups<G, T>> {
    /// The place of every item, for watching.
    #[must_use]
    pub fn any(&self) -> T::Node<super::Path<S>> {
        T::node(self.place.child(ITEMS).child(ANY))
    }

    /// The place of every group, for watching.
    #[must_use]
    pub fn any_group(&self) -> G::Node<super::Path<S>> {
        G::node(self.place.child(GROUPS).child(ANY))
    }
}
