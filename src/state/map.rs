//! A map of records or values with natural keys.

use std::any::Any;
use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use crate::document::key;

use super::dynamic::TypeRef;
use super::schema::{self, Key};
use super::shared::{Lookup, Shared};
use super::stage::fingerprint;
use super::violation::Mend;
use super::{
    ANY, At, ChangeError, Edit, Node, Place, Reader, Refresh, Shape, State, Takes, Writer,
};

/// A type for the keys of a [`Map`] or the elements of a [`Set`](super::Set). Each value has
/// exactly one text form, and different values have different text forms.
///
/// To implement it for your own type, use the text form that `Display` and `FromStr` would use.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    label = "is neither the key of a `Map` nor an element of a `Set`",
    note = "keys are strings, integers, `bool`, `char`, `Uuid`, `ElementId`, and types with `impl MapKey`: what has one form as text",
    note = "for a set of other values use `Map<String, {Self}>` or `MovableList<{Self}>`"
)]
pub trait MapKey: Clone + Ord + Send + Sync + fmt::Debug + 'static {
    /// The key as text.
    fn to_text(&self) -> Cow<'_, str>;
    /// The key with this text. `None` if there is no such key, or if [`MapKey::to_text`] would
    /// write it differently.
    fn from_text(text: &str) -> Option<Self>;
    /// The key with this text, of a type that is known at run time only.
    #[doc(hidden)]
    fn from_text_as(text: &str, ty: Option<TypeRef<'_>>) -> Option<Self> {
        let _ = ty;
        Self::from_text(text)
    }
    /// Whether this is a key of a type that is known at run time only.
    #[doc(hidden)]
    fn fits(&self, ty: Option<TypeRef<'_>>) -> bool {
        let _ = ty;
        true
    }
    /// The type in a schema. It stays [`Key::Other`] for a type of the application's own.
    const KEY: Key = Key::Other;
}

impl MapKey for String {
    const KEY: Key = Key::Str;

    fn to_text(&self) -> Cow<'_, str> {
        Cow::Borrowed(self)
    }
    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl MapKey for Arc<str> {
    const KEY: Key = Key::Str;

    fn to_text(&self) -> Cow<'_, str> {
        Cow::Borrowed(self)
    }
    fn from_text(text: &str) -> Option<Self> {
        Some(Self::from(text))
    }
}

/// Key types whose `Display` and `FromStr` round-trip. They differ only in their names.
macro_rules! displayable_keys {
    ($($type:ty: $kind:ident),*) => {$(
        impl MapKey for $type {
            const KEY: Key = Key::$kind;

            fn to_text(&self) -> Cow<'_, str> {
                Cow::Owned(self.to_string())
            }
            fn from_text(text: &str) -> Option<Self> {
                text.parse().ok().filter(|key: &Self| key.to_text() == text)
            }
        }
    )*};
}

displayable_keys!(
    i8: I8, i16: I16, i32: I32, i64: I64, i128: I128, u8: U8, u16: U16, u32: U32, u64: U64,
    u128: U128, bool: Bool, char: Char, Uuid: Uuid
);

/// The segment of a key.
pub(crate) fn segment_of<K: MapKey>(key: &K) -> String {
    key::escape(&key.to_text()).into_owned()
}

/// The key of a segment. `ty` is the type of the map or set, if only a schema knows it.
pub(crate) fn key_of<K: MapKey>(segment: &str, ty: Option<TypeRef<'_>>) -> Option<K> {
    K::from_text_as(&key::unescape(segment)?, ty)
}

/// Fails if only a schema knows the type of the keys here, and this is none of them.
pub(super) fn check_key<K: MapKey>(place: &Edit<'_>, key: &K) -> Result<(), ChangeError> {
    if key.fits(place.ty()) {
        return Ok(());
    }
    let expected = "a key of the type that the schema has here";
    Err(ChangeError::misfit(place.path(), expected, format!("{key:?}")))
}

/// Records or values by key, sorted by key. Two replicas that concurrently insert the same key end
/// up with one record, merged field by field. Removing a record wins over edits of its fields.
///
/// Reading and editing cost O(log n). A clone is O(1) and shares the unchanged parts.
pub struct Map<K, V>(imbl::OrdMap<Shared<K>, Arc<V>>);

impl<K: MapKey, V: Clone> Map<K, V> {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self(imbl::OrdMap::new())
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the map is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a key. O(log n).
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(&Lookup(key)).map(AsRef::as_ref)
    }

    /// Whether the map contains the key. O(log n).
    #[must_use]
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.contains_key(&Lookup(key))
    }

    /// The entries, in the order of keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (&**key, value.as_ref()))
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys().map(|key| &**key)
    }

    /// The values, in the order of keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.values().map(AsRef::as_ref)
    }

    /// Inserts an entry into this copy, to build a value.
    pub fn insert(&mut self, key: K, value: V) {
        self.0.insert(Shared::new(key), Arc::new(value));
    }

    /// Removes an entry from this copy, to build a value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.0.remove(&Lookup(key)).map(|value| V::clone(&value))
    }

    /// A value of this copy for editing, to build a value. O(log n).
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.0.get_mut(&Lookup(key)).map(Arc::make_mut)
    }
}

impl<'a, K: MapKey, V: Clone> IntoIterator for &'a Map<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Box<dyn DoubleEndedIterator<Item = (&'a K, &'a V)> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

impl<K, V> Clone for Map<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: MapKey, V: Clone> Default for Map<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord, V: PartialEq> PartialEq for Map<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self
                .0
                .iter()
                .zip(other.0.iter())
                .all(|(a, b)| a.0 == b.0 && (Arc::ptr_eq(a.1, b.1) || a.1 == b.1))
    }
}

impl<K: Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter()).finish()
    }
}

impl<K: MapKey, V: Clone> FromIterator<(K, V)> for Map<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(key, value)| (Shared::new(key), Arc::new(value))).collect())
    }
}

impl<K: MapKey, V: State> State for Map<K, V> {
    type Node<P: Place> = Node<P, Self>;

    fn node<P: Place>(place: P) -> Node<P, Self> {
        Node::new(place)
    }

    fn initial() -> Self {
        Self::new()
    }

    fn shape(shape: &mut Shape) {
        shape.kind("map");
        V::shape(shape);
    }

    fn describe(describe: &mut schema::Describe) -> schema::Type {
        schema::Type::Map(K::KEY, Box::new(V::describe(describe)))
    }

    fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let mut entries = Vec::new();
        let ty = reader.ty();
        reader.each_child(|segment, reader| {
            // A segment that is the text of no key is skipped, whatever it holds.
            let Some(key) = key_of::<K>(segment, ty) else { return };
            if let Some(value) = reader.slot::<V>() {
                entries.push((Shared::new(key), Arc::new(value)));
            }
        });
        Some(Self(entries.into_iter().collect()))
    }

    fn refresh(&mut self, at: At<'_>, cx: &mut Refresh<'_>) {
        let Some((segment, below)) = at.next() else { return };
        let Some(key) = key_of::<K>(segment, at.ty()) else { return };
        let at = below;
        if !at.is_end() {
            if let Some(value) = self.0.get_mut(&Lookup(&key)) {
                Arc::make_mut(value).refresh(at, cx);
            }
            return;
        }
        match cx.slot::<V>(at) {
            Some(value) => drop(self.0.insert(Shared::new(key), Arc::new(value))),
            None => drop(self.0.remove(&Lookup(&key))),
        }
    }

    fn locate(&self, at: At<'_>) -> Option<&dyn Any> {
        match at.next() {
            None => at.is_end().then_some(self as &dyn Any),
            Some((ANY, _)) => {
                at.offer(self.iter().map(|(key, _)| segment_of(key)));
                None
            }
            Some((segment, rest)) => {
                self.0.get(&Lookup(&key_of::<K>(segment, at.ty())?))?.locate(rest)
            }
        }
    }

    fn write(&self, _unless: Option<&Self>, writer: &mut Writer<'_, '_>) {
        for (key, value) in self.iter() {
            writer.at(&segment_of(key), |writer| writer.fill(value));
        }
    }

    fn reconcile(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        for key in self.keys().filter(|key| !new.contains_key(*key)) {
            writer.at(&segment_of(key), |writer| writer.clear());
        }
        for (key, value) in &new.0 {
            writer.at(&segment_of(&**key), |writer| match self.0.get(key) {
                Some(old) if Arc::ptr_eq(old, value) && !writer.core.mends() => {}
                Some(old) => old.reconcile(value, writer),
                None => writer.fill(value.as_ref()),
            });
        }
    }
}

impl<P: Place, K: MapKey, V: State> Node<P, Map<K, V>> {
    /// The place of one key's value.
    #[must_use]
    pub fn get<Q>(&self, key: Q) -> V::Node<P>
    where
        K: Takes<Q>,
    {
        V::node(self.place.child(&segment_of(&K::take(key))))
    }
}

impl<S, K: MapKey, V: State> Node<super::Path<S>, Map<K, V>> {
    /// The place of every value, for watching.
    #[must_use]
    pub fn any(&self) -> V::Node<super::Path<S>> {
        V::node(self.place.child(super::node::ANY))
    }
}

impl<K: MapKey, V: State> Node<Edit<'_>, Map<K, V>> {
    /// Inserts a record or value. An existing record under this key is replaced as a whole. If it
    /// is equal, nothing is written.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the map is gone, [`ChangeError::Invalid`] if the value cannot
    /// be written.
    pub fn insert<Q>(&self, key: Q, value: V) -> Result<(), ChangeError>
    where
        K: Takes<Q>,
    {
        let key = K::take(key);
        check_key(&self.place, &key)?;
        let there = self.place.look(|map: &Map<K, V>| {
            map.get(&key).is_some_and(|old| fingerprint(old) == fingerprint(&value))
        })?;
        let segment = segment_of(&key);
        if there {
            // The view shows a default for registers that do not fit, and that default equals the
            // new value. So these registers are removed.
            return self.place.child(&segment).write_with(Mend::Reset, |_| ());
        }
        self.place.write(|writer| writer.at(&segment, |writer| writer.fill(&value)))
    }

    /// Removes a record with all its fields, including fields that this struct does not know.
    /// Returns whether the map contained the key.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the map is gone.
    pub fn remove<Q>(&self, key: Q) -> Result<bool, ChangeError>
    where
        K: Takes<Q>,
    {
        let key = K::take(key);
        let found = self.place.look(|map: &Map<K, V>| map.contains_key(&key))?;
        if found {
            self.place.write(|writer| writer.at(&segment_of(&key), |writer| writer.clear()))?;
        }
        Ok(found)
    }

    /// Whether the map contains the key.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the map is gone.
    pub fn contains_key<Q>(&self, key: Q) -> Result<bool, ChangeError>
    where
        K: Takes<Q>,
    {
        let key = K::take(key);
        self.place.look(|map: &Map<K, V>| map.contains_key(&key))
    }

    /// The number of entries.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the map is gone.
    pub fn len(&self) -> Result<usize, ChangeError> {
        self.place.look(|map: &Map<K, V>| map.0.len())
    }

    /// Whether the map is empty.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the map is gone.
    pub fn is_empty(&self) -> Result<bool, ChangeError> {
        self.len().map(|len| len == 0)
    }
}
