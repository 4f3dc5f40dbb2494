//! A state whose type is a schema: see [`Dynamic`].
//!
//! A [`Dynamic`] holds the collections that a typed state holds, with dynamic values in them, so
//! that the same code reads, refreshes, writes and reconciles both. What the compiler knows of a
//! typed state is known here from the schema: readers, paths and writers carry the type of their
//! place. A value alone knows how it is written; the type is needed to read it, and to check what
//! comes from outside.

mod accessor;
mod enum_value;
mod fields;
#[cfg(feature = "serde")]
mod from_json;
mod inferred;
mod key_value;
mod make_types;
mod scalar_value;
#[cfg(feature = "serde")]
mod serialize;
mod struct_value;
mod types;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

pub use enum_value::EnumValue;
pub use inferred::Inferred;
pub use key_value::KeyValue;
pub use scalar_value::ScalarValue;
pub use struct_value::StructValue;
pub use types::{TypeRef, Types};

use super::schema::{Describe, RegisterValue, Type};
use super::{
    At, Counter, Groups, List, Map, MovableList, Node, Path, Place, Reader, Refresh, Set, Shape,
    State, Text, Tree, Writer,
};
use crate::document::key;
use crate::document::value::Value;
use scalar_value::ScalarType;
use types::TypeKind;

/// A state whose type is a schema, for programs that do not have the Rust type: tools, servers,
/// other languages. [`Store::dynamic`](crate::Store::dynamic) makes a store of it.
///
/// It has the layout, the merge rules and the code of the typed state: a store of the Rust type and
/// a store of its schema show the same on one document, and the same edits make the same ops. A
/// value is plain data: a clone is O(1) and shares the unchanged parts.
///
/// In a store without a schema (`Store::<Dynamic>::on(&document)`) the state is
/// [`Dynamic::Inferred`]: the registers, texts and lists that the document holds, to look at.
///
/// ```
/// use exostate::{Document, Dynamic, Map, State, Store};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Board { title: String, cards: Map<String, Card> }
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Card { text: String, points: u8 }
///
/// let document: Document = Document::new();
/// let board = Store::dynamic(&document, &Board::schema())?;
/// board.change(|board| {
///     board.at("title").set("Roadmap")?;
///     board.at("cards").insert("a", &serde_json::json!({ "text": "ship it" }))?;
///     board.at("cards/a/points").set(3)
/// })?;
/// assert_eq!(board.view().get("cards/a/points").and_then(Dynamic::as_i64), Some(3));
///
/// // The typed state of the same document.
/// let typed = Store::<Board>::on(&document);
/// assert_eq!(typed.view().cards.get("a").unwrap().text, "ship it");
///
/// let refused = board.change(|board| board.at("cards/a/points").set(300)).unwrap_err();
/// let found = "cards/a/points: expected an unsigned integer of 8 bits, found 300";
/// assert_eq!(refused.to_string(), found);
/// # Ok::<(), exostate::Error>(())
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Dynamic {
    /// A scalar.
    Scalar(ScalarValue),
    /// An `Option`.
    Optional(Arc<Option<Dynamic>>),
    /// A struct.
    Struct(StructValue),
    /// An enum.
    Enum(EnumValue),
    /// A [`Text`].
    Text(Text),
    /// A [`Counter`].
    Counter(Arc<Counter>),
    /// A [`List`].
    List(Arc<List<ScalarValue>>),
    /// A [`Set`].
    Set(Set<KeyValue>),
    /// A [`Map`].
    Map(Map<KeyValue, Dynamic>),
    /// A [`MovableList`].
    MovableList(Arc<MovableList<Dynamic>>),
    /// A [`Tree`].
    Tree(Arc<Tree<Dynamic>>),
    /// [`Groups`].
    Groups(Arc<Groups<Dynamic, Dynamic>>),
    /// What a document holds, without a schema.
    Inferred(Inferred),
}

/// Nothing of which a schema is known.
impl Default for Dynamic {
    fn default() -> Self {
        Self::Inferred(Inferred::default())
    }
}

/// What a register of a schema's scalar type must hold, in words.
pub(super) fn expected(scalar: &Type) -> &'static str {
    ScalarType::of(scalar).unwrap_or(ScalarType::Other).expected()
}

impl Dynamic {
    /// The value of a place of a type that was never written. Structs and enums, and scalars of the
    /// application, say their own.
    fn empty(kind: &TypeKind) -> Self {
        match kind {
            TypeKind::Scalar(of) => Self::Scalar(of.initial()),
            TypeKind::Optional(_) => Self::Optional(Arc::new(None)),
            TypeKind::Text => Self::Text(Text::new()),
            TypeKind::Counter => Self::Counter(Arc::default()),
            TypeKind::List(_) => Self::List(Arc::default()),
            TypeKind::Set(_) => Self::Set(Set::new()),
            TypeKind::Map(..) => Self::Map(Map::new()),
            TypeKind::MovableList(_) => Self::MovableList(Arc::default()),
            TypeKind::Tree(_) => Self::Tree(Arc::default()),
            TypeKind::Groups(..) => Self::Groups(Arc::default()),
            TypeKind::Struct(_)
            | TypeKind::Enum(_)
            | TypeKind::Variant(_)
            | TypeKind::Elements(_)
            | TypeKind::Unknown => Self::default(),
        }
    }

    /// The value as the type of a typed state that holds it.
    fn part<T: 'static>(&self) -> Option<&T> {
        let part: &dyn Any = match self {
            Self::Scalar(value) => value,
            Self::Optional(value) => {
                let whole: &dyn Any = &**value;
                return whole.downcast_ref().or_else(|| value.as_ref().as_ref()?.part());
            }
            Self::Struct(value) => value,
            Self::Enum(value) => value,
            Self::Text(text) => text,
            Self::Counter(counter) => &**counter,
            Self::List(list) => &**list,
            Self::Set(set) => set,
            Self::Map(map) => map,
            Self::MovableList(list) => &**list,
            Self::Tree(tree) => &**tree,
            Self::Groups(groups) => &**groups,
            Self::Inferred(inferred) => inferred,
        };
        part.downcast_ref()
    }

    /// Whether this value is of a type. What lies in structs, options and collections of structs
    /// checks itself when it is written.
    fn fits(&self, ty: TypeRef<'_>) -> bool {
        match (self, ty.kind()) {
            (Self::Scalar(value), TypeKind::Scalar(of)) => value.fits(*of),
            (Self::List(list), TypeKind::List(of)) => list.iter().all(|item| item.fits(*of)),
            (Self::Set(set), TypeKind::Set(of)) => set.iter().all(|item| item.is_of(*of)),
            (Self::Map(map), TypeKind::Map(of, _)) => map.keys().all(|key| key.is_of(*of)),
            (Self::Struct(value), TypeKind::Struct(of)) => value.fits(of),
            (Self::Enum(value), TypeKind::Enum(of)) => value.fits(of),
            (Self::Optional(_), TypeKind::Optional(_))
            | (Self::Text(_), TypeKind::Text)
            | (Self::Counter(_), TypeKind::Counter)
            | (Self::MovableList(_), TypeKind::MovableList(_))
            | (Self::Tree(_), TypeKind::Tree(_))
            | (Self::Groups(_), TypeKind::Groups(..)) => true,
            _ => false,
        }
    }

    /// Fails the change that is being staged if this value does not fit the place. Returns whether
    /// it fits.
    fn check(&self, writer: &mut Writer<'_, '_>) -> bool {
        let expected = match (self, writer.ty()) {
            (Self::Inferred(value), None) if value.is_empty() || writer.core.is_hash => {
                return true;
            }
            (Self::Inferred(_), None) => "a value of a schema".to_owned(),
            (_, None) if writer.is_typed() => "a place that the schema has".to_owned(),
            (_, None) => return true,
            (_, Some(ty)) if self.fits(ty) => return true,
            (_, Some(ty)) => ty.describe(),
        };
        writer.misfit(expected, self.describe());
        false
    }

    /// The value in words, for error messages.
    fn describe(&self) -> String {
        match self {
            Self::Scalar(value) => value.describe(),
            Self::Optional(value) => {
                value.as_ref().as_ref().map_or("nothing".into(), Self::describe)
            }
            Self::Struct(value) => format!("the struct {}", value.name()),
            Self::Enum(value) => format!("the variant {}", value.variant()),
            Self::Text(_) => "a text".into(),
            Self::Counter(_) => "a counter".into(),
            Self::List(_) => "a list".into(),
            Self::Set(_) => "a set".into(),
            Self::Map(_) => "a map".into(),
            Self::MovableList(_) => "a movable list".into(),
            Self::Tree(_) => "a tree".into(),
            Self::Groups(_) => "groups".into(),
            Self::Inferred(_) => "a value without a schema".into(),
        }
    }

    /// The value at a path, in the escaped form of `docs/layout.md`. The inside of an option has
    /// the path of the option. `None` if there is nothing. O(length of the path · log n).
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Self> {
        self.locate(At::start(path))?.downcast_ref()
    }

    /// The value directly below a name or key, which is taken as it is. O(log n).
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.get(&key::escape(name))
    }

    /// The value within an option, and any other value itself. `None` if the option is empty.
    #[must_use]
    pub fn filled(&self) -> Option<&Self> {
        match self {
            Self::Optional(value) => value.as_ref().as_ref(),
            value => Some(value),
        }
    }

    /// The scalar, also within an option.
    #[must_use]
    pub fn as_scalar(&self) -> Option<&ScalarValue> {
        match self.filled()? {
            Self::Scalar(value) => Some(value),
            _ => None,
        }
    }

    /// The boolean, also within an option.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.as_scalar()? {
            ScalarValue::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The integer (also that of a counter), also within an option.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self.filled()? {
            Self::Counter(counter) => Some(counter.value()),
            Self::Scalar(ScalarValue::Int(number)) => Some(*number),
            _ => None,
        }
    }

    /// The integer if it is not negative (also that of a counter), also within an option.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self.filled()? {
            Self::Scalar(ScalarValue::Uint(number)) => Some(*number),
            value => value.as_i64().and_then(|number| number.try_into().ok()),
        }
    }

    /// The number (also that of a counter), as the nearest float, also within an option.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn as_f64(&self) -> Option<f64> {
        if let Self::Counter(counter) = self.filled()? {
            return Some(counter.value() as f64);
        }
        match self.as_scalar()? {
            ScalarValue::Int(number) => Some(*number as f64),
            ScalarValue::Uint(number) => Some(*number as f64),
            ScalarValue::F32(number) => Some(f64::from(*number)),
            ScalarValue::F64(number) => Some(*number),
            _ => None,
        }
    }

    /// The string, also within an option. [`Dynamic::Text`] is no string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self.as_scalar()? {
            ScalarValue::Str(text) | ScalarValue::Link(text) | ScalarValue::Timestamp(text) => {
                Some(text)
            }
            _ => None,
        }
    }

    /// Whether this was read without a schema: see [`Inferred`].
    #[must_use]
    pub fn is_inferred(&self) -> bool {
        matches!(self, Self::Inferred(_))
    }
}

/// As the value within it.
impl fmt::Debug for Dynamic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(value) => value.fmt(f),
            Self::Optional(value) => value.fmt(f),
            Self::Struct(value) => value.fmt(f),
            Self::Enum(value) => value.fmt(f),
            Self::Text(text) => text.fmt(f),
            Self::Counter(counter) => counter.fmt(f),
            Self::List(list) => list.fmt(f),
            Self::Set(set) => set.fmt(f),
            Self::Map(map) => map.fmt(f),
            Self::MovableList(list) => list.fmt(f),
            Self::Tree(tree) => tree.fmt(f),
            Self::Groups(groups) => groups.fmt(f),
            Self::Inferred(inferred) => inferred.fmt(f),
        }
    }
}

/// The value that a typed path or accessor promises, if the located value is dynamic.
pub(super) fn part_of<T: 'static>(value: &dyn Any) -> Option<&T> {
    value.downcast_ref::<Dynamic>()?.part()
}

/// The enum variants along a path: for each, the length of the enum's path and the length of the
/// variant's path. O(length of the path).
pub(super) fn variants(root: TypeRef<'_>, path: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let (mut at, mut ty) = (At::start(path).typed(Some(root)), Some(root));
    while let Some((_, next)) = at.next() {
        if ty.is_some_and(TypeRef::is_enum) {
            found.push((at.here().len(), next.here().len()));
        }
        (at, ty) = (next, next.ty());
    }
    found
}

/// The presence of an element of a set, as watchers see it.
static PRESENT: Dynamic = Dynamic::Scalar(ScalarValue::Bool(true));

impl State for Dynamic {
    type Node<P: Place> = Node<P, Self>;
    const MARKED: bool = false;

    fn marked(ty: Option<TypeRef<'_>>) -> bool {
        ty.is_some_and(TypeRef::is_marked)
    }

    fn scalar(ty: Option<TypeRef<'_>>) -> bool {
        ty.is_some_and(TypeRef::is_scalar)
    }

    fn initial_of(ty: Option<TypeRef<'_>>) -> Self {
        ty.map(TypeRef::initial).unwrap_or_default()
    }

    fn is_marked(&self) -> bool {
        !matches!(self, Self::Scalar(_) | Self::Enum(_) | Self::Optional(_) | Self::Inferred(_))
    }

    fn node<P: Place>(place: P) -> Node<P, Self> {
        Node::new(place)
    }

    fn initial() -> Self {
        Self::default()
    }

    fn shape(shape: &mut Shape) {
        shape.kind("dynamic");
    }

    fn describe(_: &mut Describe) -> Type {
        Type::Other("a value of any type".to_owned(), RegisterValue(Value::Null))
    }

    fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let Some(ty) = reader.ty() else { return Inferred::read(reader).map(Self::Inferred) };
        match ty.kind() {
            TypeKind::Scalar(_) => ScalarValue::read_as(reader, ty).map(Self::Scalar),
            TypeKind::Optional(inner) => {
                let read = Option::<Self>::read(&mut reader.as_type(ty.at(*inner)));
                read.map(|value| Self::Optional(Arc::new(value)))
            }
            TypeKind::Struct(of) => Some(Self::Struct(StructValue::read(of, ty, reader))),
            TypeKind::Enum(of) => EnumValue::read(of, ty, reader).map(Self::Enum),
            TypeKind::Text => Text::read(reader).map(Self::Text),
            TypeKind::Counter => Counter::read(reader).map(|read| Self::Counter(Arc::new(read))),
            TypeKind::List(_) => List::read(reader).map(|read| Self::List(Arc::new(read))),
            TypeKind::Set(_) => Set::read(reader).map(Self::Set),
            TypeKind::Map(..) => Map::read(reader).map(Self::Map),
            TypeKind::MovableList(_) => {
                MovableList::read(reader).map(|read| Self::MovableList(Arc::new(read)))
            }
            TypeKind::Tree(_) => Tree::read(reader).map(|read| Self::Tree(Arc::new(read))),
            TypeKind::Groups(..) => Groups::read(reader).map(|read| Self::Groups(Arc::new(read))),
            TypeKind::Elements(_) | TypeKind::Variant(_) | TypeKind::Unknown => None,
        }
    }

    fn refresh(&mut self, at: At<'_>, cx: &mut Refresh<'_>) {
        match self {
            Self::Scalar(_) => {}
            Self::Optional(value) => Arc::make_mut(value).refresh(at, cx),
            Self::Struct(value) => value.refresh(at, cx),
            Self::Enum(value) => value.refresh(at, cx),
            Self::Text(text) => text.refresh(at, cx),
            Self::Counter(counter) => Arc::make_mut(counter).refresh(at, cx),
            Self::List(list) => Arc::make_mut(list).refresh(at, cx),
            Self::Set(set) => set.refresh(at, cx),
            Self::Map(map) => map.refresh(at, cx),
            Self::MovableList(list) => Arc::make_mut(list).refresh(at, cx),
            Self::Tree(tree) => Arc::make_mut(tree).refresh(at, cx),
            Self::Groups(groups) => Arc::make_mut(groups).refresh(at, cx),
            Self::Inferred(inferred) => inferred.refresh(at, cx),
        }
    }

    fn follow(&mut self, at: At<'_>, cx: &Refresh<'_>) -> bool {
        match self {
            Self::List(list) => Arc::make_mut(list).follow(at, cx),
            _ => false,
        }
    }

    fn locate(&self, at: At<'_>) -> Option<&dyn Any> {
        let Some((segment, rest)) = at.next() else {
            return at.is_end().then_some(self as &dyn Any);
        };
        match self {
            Self::Optional(value) => value.as_ref().as_ref()?.locate(at),
            Self::Struct(value) => value.locate(at),
            Self::Enum(value) => value.locate(at),
            // A key is of the type of the keys that are there.
            Self::Map(map) if segment != super::ANY => {
                let like = map.keys().next()?;
                map.get(&like.like(&key::unescape(segment)?)?)?.locate(rest)
            }
            Self::Set(set) if segment != super::ANY => {
                let like = set.iter().next()?;
                let item = like.like(&key::unescape(segment)?)?;
                (rest.is_end() && set.contains(&item)).then_some(&PRESENT as &dyn Any)
            }
            Self::Map(map) => map.locate(at),
            Self::Set(set) => set.locate(at),
            Self::MovableList(list) => list.locate(at),
            Self::Tree(tree) => tree.locate(at),
            Self::Groups(groups) => groups.locate(at),
            Self::Inferred(inferred) => inferred.locate(at),
            Self::Scalar(_) | Self::Text(_) | Self::Counter(_) | Self::List(_) => None,
        }
    }

    fn write(&self, unless: Option<&Self>, writer: &mut Writer<'_, '_>) {
        if !self.check(writer) {
            return;
        }
        let unless = unless.filter(|unless| self.is_alike(unless));
        match self {
            Self::Scalar(value) => value.write_as(unless, writer),
            Self::Optional(value) => {
                let inner = writer.ty().and_then(TypeRef::within);
                let unless = unless.and_then(Self::part::<Option<Self>>);
                writer.as_type(inner, |writer| value.write(unless, writer));
            }
            Self::Struct(value) => value.write(writer),
            Self::Enum(value) => value.write(unless.and_then(Self::part), writer),
            Self::Text(text) => text.write(None, writer),
            Self::Counter(counter) => counter.write(None, writer),
            Self::List(list) => list.write(None, writer),
            Self::Set(set) => set.write(None, writer),
            Self::Map(map) => map.write(None, writer),
            Self::MovableList(list) => list.write(None, writer),
            Self::Tree(tree) => tree.write(None, writer),
            Self::Groups(groups) => groups.write(None, writer),
            Self::Inferred(inferred) => inferred.write(writer),
        }
    }

    fn reconcile(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        if matches!((self, new), (Self::Inferred(_), Self::Inferred(_)) if self == new)
            || !new.check(writer)
        {
            return;
        }
        match (self, new) {
            (Self::Scalar(old), Self::Scalar(new)) => old.reconcile_as(new, writer),
            (Self::Optional(old), Self::Optional(new)) => {
                let inner = writer.ty().and_then(TypeRef::within);
                writer.as_type(inner, |writer| old.reconcile(new, writer));
            }
            (Self::Struct(old), Self::Struct(new)) => old.reconcile(new, writer),
            (Self::Enum(old), Self::Enum(new)) => old.reconcile(new, writer),
            (Self::Text(old), Self::Text(new)) => old.reconcile(new, writer),
            (Self::Counter(old), Self::Counter(new)) => old.reconcile(new, writer),
            (Self::List(old), Self::List(new)) => old.reconcile(new, writer),
            (Self::Set(old), Self::Set(new)) => old.reconcile(new, writer),
            (Self::Map(old), Self::Map(new)) => old.reconcile(new, writer),
            (Self::MovableList(old), Self::MovableList(new)) => old.reconcile(new, writer),
            (Self::Tree(old), Self::Tree(new)) => old.reconcile(new, writer),
            (Self::Groups(old), Self::Groups(new)) => old.reconcile(new, writer),
            // Only without a type of the place.
            _ => writer.misfit(self.describe(), new.describe()),
        }
    }
}

impl Dynamic {
    /// Whether both values are of one kind.
    fn is_alike(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// The places of a state of a type that is known at run time.
impl<P: Place> Node<P, Dynamic> {
    /// The place at a path below this one, in the escaped form of `docs/layout.md`: names of
    /// fields, keys of maps and ids of elements, joined by `/`. In a path for watching, `*` is
    /// every element of a collection. (The key `*` itself is reached with [`Self::child`].)
    #[must_use]
    pub fn at(&self, path: &str) -> Self {
        let step = |place: P, segment: &str| match segment {
            "*" => place.every().unwrap_or_else(|| place.child(segment)),
            segment => place.child(segment),
        };
        Self::new(key::segments(path).fold(self.place.clone(), step))
    }

    /// The place directly below this one: a field by its name, an entry by its key, an element by
    /// its id. Unlike [`Node::at`] it takes the text as it is.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self::new(self.place.child(&key::escape(name)))
    }
}

impl<S> Node<Path<S>, Dynamic> {
    /// The path as that of a text or collection, for a watch of it and for anchors in a text. If
    /// the schema has another type there, the place holds nothing.
    ///
    /// ```
    /// use exostate::{Document, Dynamic, State, Store, Text};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Note { body: Text }
    ///
    /// let document: Document = Document::new();
    /// let note = Store::dynamic(&document, &Note::schema())?;
    /// note.change(|note| note.at("body").as_text()?.push_str("hello"))?;
    /// let body = Dynamic::path().at("body").of_type::<Text>();
    /// let cursor = note.anchor(&body, 5, true).unwrap();
    /// note.change(|note| note.at("body").as_text()?.insert(0, "oh, "))?;
    /// assert_eq!(note.resolve(&body, &cursor), Some(9));
    /// # Ok::<(), exostate::Error>(())
    /// ```
    #[must_use]
    pub fn of_type<T: State>(&self) -> Node<Path<S>, T> {
        Node::new(self.place.clone())
    }
}

impl Dynamic {
    /// The path of the whole state, for watching: `Dynamic::path().at("cards/*")`.
    #[must_use]
    pub fn path() -> Node<Path<Self>, Self> {
        <Self as State>::path()
    }
}
