//! An ordered collection whose elements keep their identity when they move.

use std::any::Any;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use crate::document::key;
use crate::document::value::Value;
use crate::vector::Vector;

use super::order;
use super::position::{self, COPY, Position, Stamp};
use super::schema;
use super::stage::fingerprint;
use super::{
    ANY, At, ChangeError, Edit, ElementId, Node, Place, Reader, Refresh, Shape, State, Writer,
};

/// The stamp for a position within a copy.
fn copy_stamp(count: &mut u64) -> Stamp {
    *count += 1;
    Stamp { replica: COPY, number: *count }
}

/// The register of an element's position.
pub(crate) const POSITION: &str = "@position";

struct Entry<T> {
    position: Position,
    id: ElementId,
    value: Arc<T>,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self { position: self.position.clone(), id: self.id, value: self.value.clone() }
    }
}

impl<T> Entry<T> {
    fn order(&self) -> (&[u8], ElementId) {
        (&self.position, self.id)
    }
}

/// Records or values in an order that users change. An element keeps its id, its edits and its
/// watchers when it moves.
///
/// Concurrent moves of one element conflict, and one move wins as a whole. Removing an element wins
/// over moving and editing it. Reading and editing cost O(log n). A clone is O(1) and shares the
/// unchanged parts.
pub struct MovableList<T> {
    entries: Vector<Entry<T>>,
    positions: imbl::OrdMap<ElementId, Position>,
    detached: u64,
}

impl<T: Clone> MovableList<T> {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self { entries: Vector::new(), positions: imbl::OrdMap::new(), detached: 0 }
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The element at `index`. O(log n).
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.entries.get(index).map(|entry| entry.value.as_ref())
    }

    /// The element with this id. O(log² n).
    #[must_use]
    pub fn by_id(&self, id: ElementId) -> Option<&T> {
        self.get(self.index_of(id)?)
    }

    /// The index of the element with this id. O(log² n).
    #[must_use]
    pub fn index_of(&self, id: ElementId) -> Option<usize> {
        let position = self.positions.get(&id)?;
        self.entries.binary_search_by(|entry| entry.order().cmp(&(position.as_ref(), id))).ok()
    }

    /// The id of the element at `index`. O(log n).
    #[must_use]
    pub fn id_at(&self, index: usize) -> Option<ElementId> {
        self.entries.get(index).map(|entry| entry.id)
    }

    /// The elements in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.entries.iter().map(|entry| entry.value.as_ref())
    }

    /// The elements in order, with their ids.
    pub fn iter_ids(&self) -> impl DoubleEndedIterator<Item = (ElementId, &T)> {
        self.entries.iter().map(|entry| (entry.id, entry.value.as_ref()))
    }

    /// Appends an element to this copy, to build a value.
    pub fn push(&mut self, value: T) {
        self.insert(self.len(), value);
    }

    /// Inserts an element into this copy, to build a value. An `index` beyond the end counts as the
    /// end.
    pub fn insert(&mut self, index: usize, value: T) {
        let id = ElementId::detached(&mut self.detached, |id| self.positions.contains_key(&id));
        self.insert_entry(index.min(self.len()), id, Arc::new(value));
    }

    /// Appends an element to this copy, with the given id or with a new one. `None` if the id is
    /// taken.
    #[cfg(feature = "serde")]
    pub(crate) fn push_as(&mut self, id: Option<ElementId>, value: T) -> Option<ElementId> {
        let id = match id {
            Some(id) if self.positions.contains_key(&id) => return None,
            Some(id) => id,
            None => ElementId::detached(&mut self.detached, |id| self.positions.contains_key(&id)),
        };
        self.insert_entry(self.len(), id, Arc::new(value));
        Some(id)
    }

    /// Inserts an entry into this copy. Its position is valid only in this copy, which finds
    /// entries by their positions.
    pub(super) fn insert_entry(&mut self, index: usize, id: ElementId, value: Arc<T>) {
        let at = |index: Option<usize>| Some(self.entries.get(index?)?.position.as_ref());
        let between = position::between(
            at(index.checked_sub(1)),
            at(Some(index)),
            copy_stamp(&mut self.detached),
        );
        let position = Position::from(between.as_deref().unwrap_or_default());
        self.positions.insert(id, position.clone());
        self.entries.insert(index, Entry { position, id, value });
        if between.is_none() {
            self.place_all();
        }
    }

    /// Gives new positions to all entries of this copy, because there was no room between two of
    /// them. O(n · log n).
    fn place_all(&mut self) {
        let places = order::places(&vec![None; self.len()], || copy_stamp(&mut self.detached));
        self.entries = self
            .entries
            .iter()
            .zip(places)
            .map(|(entry, position)| Entry { position, ..entry.clone() })
            .collect();
        self.positions =
            self.entries.iter().map(|entry| (entry.id, entry.position.clone())).collect();
    }

    /// Removes an element from this copy, to build a value.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        let entry = self.entries.remove(index)?;
        self.positions.remove(&entry.id);
        Some(T::clone(&entry.value))
    }

    /// Moves an element of this copy, to build a value. Returns whether both indices exist.
    pub fn move_to(&mut self, from: usize, to: usize) -> bool {
        if to >= self.len() {
            return false;
        }
        let Some(entry) = self.entries.remove(from) else { return false };
        self.insert_entry(to, entry.id, entry.value);
        true
    }

    /// An element of this copy for editing, to build a value.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.entries.get_mut(index).map(|entry| Arc::make_mut(&mut entry.value))
    }

    /// A list of entries from the document, which come in any order.
    pub(super) fn from_entries(
        entries: impl IntoIterator<Item = (Position, ElementId, Arc<T>)>,
    ) -> Self {
        let mut entries: Vec<_> = entries
            .into_iter()
            .map(|(position, id, value)| Entry { position, id, value })
            .collect();
        entries.sort_by(|a, b| a.order().cmp(&b.order()));
        let positions = entries.iter().map(|entry| (entry.id, entry.position.clone())).collect();
        Self { entries: entries.into_iter().collect(), positions, detached: 0 }
    }

    /// An entry's value for editing. O(log² n).
    pub(super) fn by_id_mut(&mut self, id: ElementId) -> Option<&mut T> {
        let index = self.index_of(id)?;
        self.get_mut(index)
    }

    /// An entry's position.
    pub(super) fn position(&self, id: ElementId) -> Option<&Position> {
        self.positions.get(&id)
    }

    /// Inserts an entry of the document at its position, or moves it there.
    pub(super) fn place(&mut self, id: ElementId, position: Position, value: Arc<T>) {
        self.displace(id);
        let entry = Entry { position: position.clone(), id, value };
        let index = self
            .entries
            .binary_search_by(|other| other.order().cmp(&entry.order()))
            .unwrap_or_else(|index| index);
        self.entries.insert(index, entry);
        self.positions.insert(id, position);
    }

    pub(super) fn displace(&mut self, id: ElementId) -> Option<Arc<T>> {
        let index = self.index_of(id)?;
        self.positions.remove(&id);
        self.entries.remove(index).map(|entry| entry.value)
    }
}

#[cfg(feature = "serde")]
impl<T> MovableList<T> {
    /// The same list with other values. `None` if one of them cannot be made; `map` is called for
    /// all of them.
    pub(super) fn try_map<U: Clone>(
        &self,
        map: &mut impl FnMut(&T) -> Option<U>,
    ) -> Option<MovableList<U>> {
        let entries = self.entries.iter().map(|Entry { position, id, value }| {
            let value = Arc::new(map(value)?);
            Some(Entry { position: position.clone(), id: *id, value })
        });
        let entries: Vec<_> = entries.collect();
        let entries: Vec<_> = entries.into_iter().collect::<Option<_>>()?;
        Some(MovableList {
            entries: entries.into_iter().collect(),
            positions: self.positions.clone(),
            detached: self.detached,
        })
    }
}

impl<'a, T: Clone> IntoIterator for &'a MovableList<T> {
    type Item = &'a T;
    type IntoIter = Box<dyn DoubleEndedIterator<Item = &'a T> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

impl<T> Clone for MovableList<T> {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.clone(),
            positions: self.positions.clone(),
            detached: self.detached,
        }
    }
}

impl<T: Clone> Default for MovableList<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Two lists are equal if their elements are equal, in order. Ids do not count.
impl<T: PartialEq> PartialEq for MovableList<T> {
    fn eq(&self, other: &Self) -> bool {
        let same =
            |(a, b): (&Entry<T>, &Entry<T>)| Arc::ptr_eq(&a.value, &b.value) || a.value == b.value;
        self.entries.len() == other.entries.len()
            && self.entries.iter().zip(other.entries.iter()).all(same)
    }
}

impl<T: fmt::Debug> fmt::Debug for MovableList<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|entry| &entry.value)).finish()
    }
}

/// The element at an index.
///
/// # Panics
/// If the index is beyond the end, as with slices. [`MovableList::get`] does not panic.
impl<T: Clone> std::ops::Index<usize> for MovableList<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        match self.get(index) {
            Some(value) => value,
            None => panic!("index {index} is beyond the length {}", self.len()),
        }
    }
}

impl<T: Clone> FromIterator<T> for MovableList<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut list = Self::new();
        values.into_iter().for_each(|value| list.push(value));
        list
    }
}

impl<T: Clone, const N: usize> From<[T; N]> for MovableList<T> {
    fn from(values: [T; N]) -> Self {
        values.into_iter().collect()
    }
}

fn read_position(reader: &mut Reader<'_, '_>) -> Position {
    reader.within(POSITION, |reader| match reader.own() {
        Some(value) => position::read(value).unwrap_or_else(|| {
            reader.violation("a position (bytes)", value);
            Position::from([])
        }),
        None => Position::from([]),
    })
}

impl<T: State> State for MovableList<T> {
    type Node<P: Place> = Node<P, Self>;

    fn node<P: Place>(place: P) -> Node<P, Self> {
        Node::new(place)
    }

    fn initial() -> Self {
        Self::new()
    }

    fn shape(shape: &mut Shape) {
        shape.kind("movable list");
        T::shape(shape);
    }

    fn describe(describe: &mut schema::Describe) -> schema::Type {
        schema::Type::MovableList(Box::new(T::describe(describe)))
    }

    fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let mut entries = Vec::new();
        reader.each_child(|segment, reader| {
            let Ok(id) = segment.parse() else { return };
            if let Some(value) = reader.slot::<T>() {
                entries.push((read_position(reader), id, Arc::new(value)));
            }
        });
        Some(Self::from_entries(entries))
    }

    fn refresh(&mut self, at: At<'_>, cx: &mut Refresh<'_>) {
        let Some((segment, at)) = at.next() else { return };
        let Ok(id) = segment.parse::<ElementId>() else { return };
        if at.is_end() {
            return match cx.slot::<T>(at) {
                Some(value) => {
                    self.place(id, cx.position(&key::join(at.here(), POSITION)), Arc::new(value))
                }
                None => drop(self.displace(id)),
            };
        }
        match at.next() {
            Some((POSITION, rest)) if rest.is_end() => {
                if let Some(value) = self.displace(id) {
                    self.place(id, cx.position(rest.here()), value);
                }
            }
            _ => {
                if let Some(value) = self.by_id_mut(id) {
                    value.refresh(at, cx);
                }
            }
        }
    }

    fn locate(&self, at: At<'_>) -> Option<&dyn Any> {
        match at.next() {
            None => at.is_end().then_some(self as &dyn Any),
            Some((ANY, _)) => {
                at.offer(self.entries.iter().map(|entry| entry.id.segment()));
                None
            }
            Some((segment, rest)) => self.by_id(segment.parse().ok()?)?.locate(rest),
        }
    }

    fn write(&self, _unless: Option<&Self>, writer: &mut Writer<'_, '_>) {
        self.arrange(
            self.entries
                .iter()
                .map(|entry| Wanted { old: None, id: entry.id, value: entry.value.as_ref() })
                .collect(),
            writer,
        );
    }

    fn reconcile(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        self.write_least(new, writer);
    }
}

/// An element of the new list: the index of its old element, its id in the new list, and its value.
struct Wanted<'a, T> {
    old: Option<usize>,
    id: ElementId,
    value: &'a T,
}

impl<T: State> MovableList<T> {
    /// Writes the fewest ops that turn this list into `new`. Returns the id under which each
    /// element of `new` is written.
    pub(super) fn write_least(
        &self,
        new: &Self,
        writer: &mut Writer<'_, '_>,
    ) -> HashMap<ElementId, ElementId> {
        let target = self.pair(new, writer.core.restores_ids);
        let kept: BTreeSet<ElementId> =
            target.iter().filter_map(|wanted| self.id_at(wanted.old?)).collect();
        for entry in self.entries.iter().filter(|entry| !kept.contains(&entry.id)) {
            writer.at(&entry.id.segment(), |writer| writer.clear());
        }
        for wanted in &target {
            if let Some(entry) = wanted.old.and_then(|index| self.entries.get(index)) {
                writer
                    .at(&entry.id.segment(), |writer| entry.value.reconcile(wanted.value, writer));
            }
        }
        self.arrange(target, writer)
    }

    /// Finds the old element of each new element: first by id, then, unless `ids_alone`, by equal
    /// content in order, and then the old element that the new one replaces.
    fn pair<'a>(&self, new: &'a Self, ids_alone: bool) -> Vec<Wanted<'a, T>> {
        let mut taken = HashSet::new();
        let mut old_of: Vec<Option<usize>> = new
            .entries
            .iter()
            .map(|entry| self.index_of(entry.id).filter(|index| taken.insert(*index)))
            .collect();
        let free_old: Vec<usize> = (0..self.len()).filter(|index| !taken.contains(index)).collect();
        let free_new: Vec<usize> = (0..new.len())
            .filter(|index| !ids_alone && old_of.get(*index) == Some(&None))
            .collect();
        let prints = |list: &Self, indices: &[usize]| -> Vec<u128> {
            indices.iter().filter_map(|index| list.get(*index)).map(fingerprint).collect()
        };
        order::pair(&[(prints(self, &free_old), prints(new, &free_new))], &mut |old, new| {
            if let Some(slot) = free_new.get(new).and_then(|new| old_of.get_mut(*new)) {
                *slot = free_old.get(old).copied();
            }
        });
        old_of
            .into_iter()
            .zip(&new.entries)
            .map(|(old, entry)| Wanted { old, id: entry.id, value: entry.value.as_ref() })
            .collect()
    }

    /// Writes the position of every new element. The longest run of old elements that is already in
    /// order keeps its positions; the other old elements move, and new elements are written.
    /// Returns the ids.
    fn arrange(
        &self,
        target: Vec<Wanted<'_, T>>,
        writer: &mut Writer<'_, '_>,
    ) -> HashMap<ElementId, ElementId> {
        let entry = |old: Option<usize>| self.entries.get(old?);
        let stood: Vec<_> =
            target.iter().map(|wanted| Some((wanted.old?, &entry(wanted.old)?.position))).collect();
        let places = order::places(&stood, || writer.core.stamp());
        let mut written = HashMap::new();
        for (wanted, place) in target.into_iter().zip(places) {
            let stood = entry(wanted.old);
            let id = stood.map_or_else(|| writer.element(wanted.id), |entry| entry.id);
            writer.at(&id.segment(), |writer| {
                if stood.is_none() {
                    writer.write_slot(wanted.value);
                }
                if stood.is_none_or(|entry| entry.position != place) {
                    writer
                        .at(POSITION, |writer| writer.put(Value::Bytes(Arc::from(place.as_ref()))));
                }
            });
            written.insert(wanted.id, id);
        }
        written
    }
}

impl<P: Place, T: State> Node<P, MovableList<T>> {
    /// The place of one element.
    #[must_use]
    pub fn get(&self, id: ElementId) -> T::Node<P> {
        T::node(self.place.child(&id.segment()))
    }
}

impl<S, T: State> Node<super::Path<S>, MovableList<T>> {
    /// The place of every element, for watching.
    #[must_use]
    pub fn any(&self) -> T::Node<super::Path<S>> {
        T::node(self.place.child(super::node::ANY))
    }
}

impl<T: State> Node<Edit<'_>, MovableList<T>> {
    /// Appends an element and returns its id.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the list is gone, [`ChangeError::Invalid`] if the value cannot
    /// be written.
    pub fn push(&self, value: T) -> Result<ElementId, ChangeError> {
        let len = self.len()?;
        self.insert(len, value)
    }

    /// Inserts an element before the element at `index` and returns its id.
    ///
    /// # Errors
    /// As `push`, and [`ChangeError::OutOfRange`] beyond the end.
    pub fn insert(&self, index: usize, value: T) -> Result<ElementId, ChangeError> {
        let list = self.place.look(MovableList::<T>::clone)?;
        self.check(index, list.len() + 1)?;
        self.place.write(|writer| {
            let id = writer.new_element();
            list.put_at(index, id, id.stamp(), writer, &put_position);
            writer.at(&id.segment(), |writer| writer.write_slot(&value));
            id
        })
    }

    /// Moves an element. Afterwards it stands at `index` of the list. If it already stands there,
    /// nothing is written.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the element or the list is gone, [`ChangeError::OutOfRange`]
    /// beyond the end.
    pub fn move_to(&self, id: ElementId, index: usize) -> Result<(), ChangeError> {
        let mut list = self.place.look(MovableList::<T>::clone)?;
        self.check(index, list.len())?;
        if list.index_of(id) == Some(index) {
            return Ok(());
        }
        if list.displace(id).is_none() {
            return Err(ChangeError::NotFound {
                path: key::join(self.place.path(), &id.segment()),
            });
        }
        self.place.write(|writer| {
            let stamp = writer.core.stamp();
            list.put_at(index, id, stamp, writer, &put_position);
        })
    }

    /// Removes an element with all its fields, including fields that this struct does not know.
    /// Returns whether the element existed.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the list is gone.
    pub fn remove(&self, id: ElementId) -> Result<bool, ChangeError> {
        let found = self.place.look(|list: &MovableList<T>| list.positions.contains_key(&id))?;
        if found {
            self.place.write(|writer| writer.at(&id.segment(), |writer| writer.clear()))?;
        }
        Ok(found)
    }

    /// The number of elements.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the list is gone.
    pub fn len(&self) -> Result<usize, ChangeError> {
        self.place.look(MovableList::<T>::len)
    }

    /// Whether the list is empty.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the list is gone.
    pub fn is_empty(&self) -> Result<bool, ChangeError> {
        self.len().map(|len| len == 0)
    }

    fn check(&self, index: usize, end: usize) -> Result<(), ChangeError> {
        if index < end {
            return Ok(());
        }
        Err(ChangeError::OutOfRange {
            path: self.place.path().to_owned(),
            start: index,
            end: index,
            len: end - 1,
        })
    }
}

/// Writes the position of an element below the path of its list.
fn put_position(id: ElementId, position: &[u8], writer: &mut Writer<'_, '_>) {
    writer.at(&key::join(&id.segment(), POSITION), |writer| {
        writer.put(Value::Bytes(Arc::from(position)))
    });
}

impl<T: Clone> MovableList<T> {
    /// Writes a position for `id`, so that this element stands at `index`. The element is not in
    /// this copy. `put` writes the position of an element.
    pub(super) fn put_at(
        &self,
        index: usize,
        id: ElementId,
        stamp: Stamp,
        writer: &mut Writer<'_, '_>,
        put: &dyn Fn(ElementId, &[u8], &mut Writer<'_, '_>),
    ) {
        let at = |index: Option<usize>| {
            index.and_then(|index| self.entries.get(index)).map(|entry| entry.position.as_ref())
        };
        if let Some(position) = position::between(at(index.checked_sub(1)), at(Some(index)), stamp)
        {
            return put(id, &position, writer);
        }
        // The neighbours have equal positions, because two replicas chose the same one. All
        // elements get new positions.
        let mut ids: Vec<ElementId> = self.entries.iter().map(|entry| entry.id).collect();
        ids.insert(index.min(ids.len()), id);
        let places = order::places(&vec![None; ids.len()], || writer.core.stamp());
        ids.into_iter().zip(places).for_each(|(id, place)| put(id, &place, writer));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::ReplicaId;

    /// A list as it is read from a document, with the positions that the document holds.
    fn read(positions: Vec<Vec<u8>>) -> MovableList<u64> {
        let mut list = MovableList::new();
        for (index, position) in positions.iter().enumerate() {
            list.place(
                ElementId::new(ReplicaId::from_bits(1), index as u64),
                position.as_slice().into(),
                Arc::new(index as u64),
            );
        }
        list
    }

    fn check(list: &MovableList<u64>) {
        for index in 0..list.len() {
            let id = list.id_at(index).expect("an element");
            assert_eq!(list.index_of(id), Some(index));
            assert_eq!(list.by_id(id), list.get(index));
        }
        assert_eq!(list.positions.len(), list.len());
    }

    proptest! {
        /// Positions of a document may be equal, or may leave no room.
        #[test]
        fn a_copy_finds_its_elements_after_any_edits(
            positions in prop::collection::vec(
                prop::collection::vec(prop::sample::select(vec![0, 1, 128, 255]), 0..3),
                0..8,
            ),
            edits in prop::collection::vec((0..4u8, 0..12usize, 0..12usize), 0..30),
        ) {
            let mut list = read(positions);
            let mut model: Vec<u64> = list.iter().copied().collect();
            for (edit, a, b) in edits {
                let value = 1000 + a as u64;
                let inside = a < model.len() && b < model.len();
                match edit {
                    0 => {
                        list.push(value);
                        model.push(value);
                    }
                    1 => {
                        list.insert(a, value);
                        model.insert(a.min(model.len()), value);
                    }
                    2 => {
                        prop_assert_eq!(list.move_to(a, b), inside);
                        if inside {
                            let value = model.remove(a);
                            model.insert(b, value);
                        }
                    }
                    _ => prop_assert_eq!(
                        list.remove(a),
                        (a < model.len()).then(|| model.remove(a))
                    ),
                }
                check(&list);
                prop_assert!(list.iter().eq(&model));
            }
        }
    }

    #[test]
    fn an_old_element_is_found_on_a_copy_with_new_ones() {
        let list = read(vec![vec![10], vec![20], vec![30]]);
        let old: Vec<ElementId> = list.iter_ids().map(|(id, _)| id).collect();
        let mut copy = list.clone();
        (0..10).for_each(|value| copy.push(value));
        copy.insert(0, 7);
        assert!(copy.move_to(3, 1));
        assert_eq!(
            old.iter().map(|id| copy.index_of(*id)).collect::<Vec<_>>(),
            [Some(2), Some(3), Some(1)]
        );
    }

    /// A document of another user may hold the ids that a copy gives to new elements.
    #[test]
    fn a_new_element_of_a_copy_gets_an_unused_id() {
        let mut list = MovableList::new();
        list.place(ElementId::detached(&mut 0, |_| false), Position::from([1]), Arc::new(0));
        list.push(1);
        check(&list);
    }
}
