//! A list of whole values, kept in the backend's own sequence.

use std::any::Any;
use std::fmt;

use crate::document::ops::{ListEdits, ListSplice};
use crate::document::value::Value;
use crate::vector::Vector;

use super::scalar::Mismatch;
use super::schema;
use super::{
    At, ChangeError, Edit, Node, Place, Reader, Refresh, Scalar, Shape, State, Takes, Writer,
};

/// A list of scalars. Insertions and deletions merge. An element is replaced only as a whole, and
/// it does not move.
///
/// An edit costs O(log n) on yrs, and O(n) on automerge. It costs O(n) on both as long as an element
/// does not fit `T` (see [`Store::violations`](crate::Store::violations)). For records, or if
/// elements move, use [`MovableList`](super::MovableList).
#[derive(Clone)]
pub struct List<T> {
    items: Vector<T>,
    /// The document's indices of the elements that do not fit `T`, in order. Those elements are not
    /// in `items`.
    misfits: Vector<usize>,
    /// The document's list, if `items` was read from it.
    source: Option<Vector<Value>>,
}

impl<T: Clone> List<T> {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self { items: Vector::new(), misfits: Vector::new(), source: None }
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The element at `index`. O(log n).
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.items.get(index)
    }

    /// The elements in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.items.iter()
    }

    /// Appends an element to this copy, to build a value.
    pub fn push(&mut self, item: T) {
        self.items.push(item);
        self.source = None;
    }
}

impl<T: Clone> Default for List<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + PartialEq> PartialEq for List<T> {
    fn eq(&self, other: &Self) -> bool {
        self.items == other.items
    }
}

impl<T: Clone + fmt::Debug> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.items.iter()).finish()
    }
}

impl<T: Clone> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self { items: items.into_iter().collect(), misfits: Vector::new(), source: None }
    }
}

impl<T: Clone, const N: usize> From<[T; N]> for List<T> {
    fn from(items: [T; N]) -> Self {
        items.into_iter().collect()
    }
}

impl<'a, T: Clone> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = Box<dyn DoubleEndedIterator<Item = &'a T> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

/// The index in the document of the element at `index`. Elements that do not fit are counted in the
/// document's index only. O(elements that do not fit).
fn real_index<T>(list: &List<T>, index: usize) -> usize {
    let is_before = |(count, at): &(usize, &usize)| **at <= index + count;
    index + list.misfits.iter().enumerate().take_while(is_before).count()
}

impl<T: Scalar> State for List<T> {
    type Node<P: Place> = Node<P, Self>;

    fn node<P: Place>(place: P) -> Node<P, Self> {
        Node::new(place)
    }

    fn initial() -> Self {
        Self::new()
    }

    fn shape(shape: &mut Shape) {
        shape.kind("list");
        T::shape(shape);
    }

    fn describe(describe: &mut schema::Describe) -> schema::Type {
        schema::Type::List(Box::new(<T as State>::describe(describe)))
    }

    fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let values = reader.list();
        let (mut items, mut misfits) = (Vec::with_capacity(values.len()), Vec::new());
        let ty = reader.ty();
        for (index, value) in values.iter().enumerate() {
            match T::from_value_as(value, ty) {
                Ok(item) => items.push(item),
                Err(Mismatch(expected)) => {
                    if misfits.is_empty() {
                        reader.element_violation(expected, value);
                    }
                    misfits.push(index);
                }
            }
        }
        let (items, misfits) = (items.into_iter().collect(), misfits.into_iter().collect());
        Some(Self { items, misfits, source: Some(values) })
    }

    fn refresh(&mut self, at: At<'_>, cx: &mut Refresh<'_>) {
        if !at.is_end() || self.follow(at, cx) {
            return;
        }
        if let Some(read) = cx.field(at, false, Self::read) {
            *self = read;
        }
    }

    fn follow(&mut self, at: At<'_>, cx: &Refresh<'_>) -> bool {
        let after = cx.list_edits(at).and_then(|(list, edits)| self.after(list, edits, at));
        after.map(|list| *self = list).is_some()
    }

    fn locate(&self, at: At<'_>) -> Option<&dyn Any> {
        at.is_end().then_some(self as &dyn Any)
    }

    fn write(&self, _unless: Option<&Self>, writer: &mut Writer<'_, '_>) {
        splice(writer, 0, 0, self.items.iter());
    }

    fn reconcile(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        // Elements are compared in their written form.
        let bytes =
            |item: &T| item.to_value().map(|value| format!("{value:?}")).unwrap_or_default();
        let (old_items, new_items): (Vec<String>, Vec<String>) =
            (self.items.iter().map(bytes).collect(), new.items.iter().map(bytes).collect());
        let mut staged = self.clone();
        if writer.core.mends() {
            staged.delete_misfits(writer);
        }
        crate::document::diff::slices(&old_items, &new_items, |at, delete, insert| {
            let inserted: Vec<&T> = insert.filter_map(|index| new.items.get(index)).collect();
            for _ in 0..delete {
                staged.delete_in(writer, at);
            }
            staged.insert_in(writer, at, inserted);
        });
    }
}

impl<T: Scalar> List<T> {
    /// A list of values of which no type is known.
    pub(super) fn untyped(values: Vector<Value>) -> Self {
        let items = values.iter().filter_map(|value| T::from_value(value).ok()).collect();
        Self { items, misfits: Vector::new(), source: None }
    }

    /// This list after the edits that led to `source`. `None` if they did not begin at the content
    /// of this list, or if an element does not fit. O(edits · log n).
    fn after(&self, source: Vector<Value>, edits: &ListEdits, at: At<'_>) -> Option<Self> {
        let before = self.source.as_ref().filter(|_| self.misfits.is_empty())?;
        if !before.ptr_eq(&edits.before) {
            return None;
        }
        let (mut items, ty) = (self.items.clone(), at.ty());
        for ListSplice { at, delete, insert } in &edits.splices {
            let read = |value| T::from_value_as(value, ty);
            let insert = insert.iter().map(read).collect::<Result<Vec<T>, _>>().ok()?;
            if at + delete > items.len() {
                return None;
            }
            items.splice(*at, *delete, insert.into_iter());
        }
        let fits = items.len() == source.len();
        fits.then_some(Self { items, misfits: Vector::new(), source: Some(source) })
    }

    /// Deletes the elements that do not fit.
    fn delete_misfits(&mut self, writer: &mut Writer<'_, '_>) {
        for index in std::mem::take(&mut self.misfits).iter().rev() {
            writer.splice_list(*index, 1, Vec::new());
        }
    }

    fn delete_in(&mut self, writer: &mut Writer<'_, '_>, index: usize) {
        let real = real_index(self, index);
        writer.splice_list(real, 1, Vec::new());
        self.items.remove(index);
        let after = |at: &usize| if *at > real { *at - 1 } else { *at };
        self.misfits = self.misfits.iter().map(after).collect();
    }

    fn insert_in(&mut self, writer: &mut Writer<'_, '_>, index: usize, items: Vec<&T>) {
        let real = real_index(self, index);
        splice(writer, real, 0, items.iter().copied());
        self.items.splice(index, 0, items.iter().copied().cloned());
        let after = |at: &usize| if *at >= real { *at + items.len() } else { *at };
        self.misfits = self.misfits.iter().map(after).collect();
    }
}

fn splice<'i, T: Scalar>(
    writer: &mut Writer<'_, '_>,
    at: usize,
    delete: usize,
    items: impl Iterator<Item = &'i T>,
) {
    let ty = writer.ty();
    let values = items.map(|item| item.to_value_as(ty).and_then(Value::held));
    match values.collect::<Result<Vec<Value>, String>>() {
        Ok(values) if values.is_empty() && delete == 0 => {}
        Ok(values) => writer.splice_list(at, delete, values),
        Err(reason) => writer.fail(reason),
    }
}

impl<T: Scalar> Node<Edit<'_>, List<T>> {
    /// Inserts an element before the element at `index`.
    ///
    /// # Errors
    /// [`ChangeError::OutOfRange`] beyond the end, [`ChangeError::NotFound`] if the place is gone,
    /// [`ChangeError::Invalid`] if the value cannot be written.
    pub fn insert<V>(&self, index: usize, item: V) -> Result<(), ChangeError>
    where
        T: Takes<V>,
    {
        let item = T::take(item);
        let real = self.real(index..index)?;
        self.place.write(|writer| splice(writer, real.start, 0, std::iter::once(&item)))
    }

    /// Appends an element.
    ///
    /// # Errors
    /// As `insert`.
    pub fn push<V>(&self, item: V) -> Result<(), ChangeError>
    where
        T: Takes<V>,
    {
        let len = self.place.look(|list: &List<T>| list.len())?;
        self.insert(len, item)
    }

    /// Appends elements. For many elements this is cheaper than repeated calls of `push`.
    ///
    /// # Errors
    /// As `insert`.
    pub fn extend<V>(&self, items: impl IntoIterator<Item = V>) -> Result<(), ChangeError>
    where
        T: Takes<V>,
    {
        let items: Vec<T> = items.into_iter().map(T::take).collect();
        let len = self.place.look(|list: &List<T>| list.len())?;
        let real = self.real(len..len)?;
        self.place.write(|writer| splice(writer, real.start, 0, items.iter()))
    }

    /// Replaces the element at `index`: a deletion and an insertion.
    ///
    /// # Errors
    /// As `insert`.
    pub fn set<V>(&self, index: usize, item: V) -> Result<(), ChangeError>
    where
        T: Takes<V>,
    {
        let item = T::take(item);
        let real = self.real(index..index.saturating_add(1))?;
        self.place.write(|writer| splice(writer, real.start, 1, std::iter::once(&item)))
    }

    /// Removes the element at `index`.
    ///
    /// # Errors
    /// As `insert`.
    pub fn remove(&self, index: usize) -> Result<(), ChangeError> {
        let real = self.real(index..index.saturating_add(1))?;
        self.place.write(|writer| writer.splice_list(real.start, 1, Vec::new()))
    }

    /// Checks a range and converts it to the document's indices.
    fn real(&self, range: std::ops::Range<usize>) -> Result<std::ops::Range<usize>, ChangeError> {
        self.place.look(|list: &List<T>| {
            if range.end > list.len() {
                let path = self.place.path().to_owned();
                return Err(ChangeError::OutOfRange {
                    path,
                    start: range.start,
                    end: range.end,
                    len: list.len(),
                });
            }
            let start = real_index(list, range.start);
            Ok(start..start + range.len())
        })?
    }

    /// The staged list.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the place is gone.
    pub fn get(&self) -> Result<List<T>, ChangeError> {
        self.value()
    }
}
