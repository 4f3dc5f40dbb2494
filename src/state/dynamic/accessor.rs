//! Edits of a state of a type that is known at run time.

#[cfg(feature = "serde")]
use serde::Serialize;

#[cfg(feature = "serde")]
use super::from_json;
use super::types::{TypeKind, TypeRef};
use super::{Dynamic, KeyValue, ScalarValue};
use crate::state::{
    ChangeError, Counter, Edit, Groups, List, Map, MovableList, Node, Set, Text, Tree,
};
#[cfg(feature = "serde")]
use crate::state::{ElementId, MapKey, Mend, node::set_whole};

impl<'e> Node<Edit<'e>, Dynamic> {
    /// The type at this place.
    fn ty(&self) -> Result<TypeRef<'_>, ChangeError> {
        let (expected, found) = match self.place.is_typed() {
            true => ("a place of the schema", "no such place"),
            false => ("a store with a schema", "a store without one"),
        };
        self.place.ty().ok_or_else(|| self.misfit(expected, found))
    }

    fn misfit(&self, expected: impl Into<String>, found: impl Into<String>) -> ChangeError {
        ChangeError::misfit(self.place.path(), expected, found)
    }

    /// The accessor as that of a type, if the schema has that type here.
    fn narrow<T>(
        &self,
        is_it: impl Fn(&TypeKind) -> bool,
        expected: &str,
    ) -> Result<Node<Edit<'e>, T>, ChangeError> {
        let ty = self.ty()?;
        let inner = ty.filled();
        match is_it(inner.kind()) {
            true => Ok(Node::new(self.place.clone())),
            false => Err(self.misfit(expected, ty.describe())),
        }
    }

    /// The accessor of the text here.
    ///
    /// # Errors
    /// [`ChangeError::Misfit`] if the schema has another type here.
    pub fn as_text(&self) -> Result<Node<Edit<'e>, Text>, ChangeError> {
        self.narrow(|kind| matches!(kind, TypeKind::Text), "a text")
    }

    /// The accessor of the counter here.
    ///
    /// # Errors
    /// As [`Self::as_text`].
    pub fn as_counter(&self) -> Result<Node<Edit<'e>, Counter>, ChangeError> {
        self.narrow(|kind| matches!(kind, TypeKind::Counter), "a counter")
    }

    /// The accessor of the list here.
    ///
    /// # Errors
    /// As [`Self::as_text`].
    pub fn as_list(&self) -> Result<Node<Edit<'e>, List<ScalarValue>>, ChangeError> {
        self.narrow(|kind| matches!(kind, TypeKind::List(_)), "a list")
    }

    /// The accessor of the set here. [`Self::key`] makes its elements.
    ///
    /// # Errors
    /// As [`Self::as_text`].
    pub fn as_set(&self) -> Result<Node<Edit<'e>, Set<KeyValue>>, ChangeError> {
        self.narrow(|kind| matches!(kind, TypeKind::Set(_)), "a set")
    }

    /// The accessor of the map here. [`Self::key`] makes its keys.
    ///
    /// # Errors
    /// As [`Self::as_text`].
    pub fn as_map(&self) -> Result<Node<Edit<'e>, Map<KeyValue, Dynamic>>, ChangeError> {
        self.narrow(|kind| matches!(kind, TypeKind::Map(..)), "a map")
    }

    /// The accessor of the movable list here.
    ///
    /// # Errors
    /// As [`Self::as_text`].
    pub fn as_movable_list(&self) -> Result<Node<Edit<'e>, MovableList<Dynamic>>, ChangeError> {
        self.narrow(|kind| matches!(kind, TypeKind::MovableList(_)), "a movable list")
    }

    /// The accessor of the tree here.
    ///
    /// # Errors
    /// As [`Self::as_text`].
    pub fn as_tree(&self) -> Result<Node<Edit<'e>, Tree<Dynamic>>, ChangeError> {
        self.narrow(|kind| matches!(kind, TypeKind::Tree(_)), "a tree")
    }

    /// The accessor of the groups here.
    ///
    /// # Errors
    /// As [`Self::as_text`].
    pub fn as_groups(&self) -> Result<Node<Edit<'e>, Groups<Dynamic, Dynamic>>, ChangeError> {
        self.narrow(|kind| matches!(kind, TypeKind::Groups(..)), "groups")
    }

    /// The key of the map or set here with this text.
    ///
    /// # Errors
    /// As [`Self::as_text`], and if no key has this text.
    pub fn key(&self, text: &str) -> Result<KeyValue, ChangeError> {
        let ty = self.ty()?;
        let key = ty.key().ok_or_else(|| self.misfit("a map or a set", ty.describe()))?;
        KeyValue::read(text, key)
            .ok_or_else(|| self.misfit(format!("a key of the type {key}"), format!("{text:?}")))
    }

    /// Adds to the counter here: see [`Counter`].
    ///
    /// # Errors
    /// As [`Self::as_text`], and as the counter's own.
    pub fn add(&self, amount: i64) -> Result<(), ChangeError> {
        self.as_counter()?.add(amount)
    }

    /// Removes an entry of the map, an element of the set, of the movable list or of the groups, or
    /// a node of the tree here, by its key or id as text. Returns whether it was there.
    ///
    /// # Errors
    /// [`ChangeError::Misfit`] if the schema has none of these here, or if no key has this text.
    pub fn remove(&self, key: &str) -> Result<bool, ChangeError> {
        let ty = self.ty()?;
        let id = || {
            let error = || self.misfit("an element's id", format!("{key:?}"));
            key.parse::<crate::ElementId>().map_err(|_| error())
        };
        match ty.filled().kind() {
            TypeKind::Map(..) => self.as_map()?.remove(self.key(key)?),
            TypeKind::Set(_) => self.as_set()?.remove(self.key(key)?),
            TypeKind::MovableList(_) => self.as_movable_list()?.remove(id()?),
            TypeKind::Tree(_) => self.as_tree()?.remove(id()?),
            TypeKind::Groups(..) => self.as_groups()?.remove(id()?),
            _ => Err(self.misfit("a map, set, movable list, tree or groups", ty.describe())),
        }
    }
}

/// Values come as plain data of serde: numbers, strings, `serde_json::json!(…)`, a struct with
/// `Serialize`. They have the form that the typed view has as JSON. A field of a struct that is
/// left out has its default.
#[cfg(feature = "serde")]
impl Node<Edit<'_>, Dynamic> {
    /// Sets the value here: a scalar, an option, an enum, or a struct with everything in it. Fields
    /// that `value` leaves out get their defaults. A text or collection is turned into the new one
    /// with the fewest edits.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if there is no value at this place, [`ChangeError::Misfit`] with
    /// every part of the value that does not fit the schema.
    pub fn set(&self, value: impl Serialize) -> Result<(), ChangeError> {
        let new = from_json::build(self.ty()?, self.place.path(), value)?;
        let old = self.value()?;
        self.place.write_with(Mend::Reset, |writer| set_whole(&old, &new, writer))
    }

    /// Turns the value here into the new one with the fewest ops, as
    /// [`Node::reconcile`](Node::reconcile) does: what is equal is not written.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn reconcile_json(&self, value: impl Serialize) -> Result<(), ChangeError> {
        self.reconcile(&from_json::build(self.ty()?, self.place.path(), value)?)
    }

    /// Inserts an entry into the map here. An existing entry under this key is replaced as a whole.
    ///
    /// # Errors
    /// As [`Self::set`], and [`ChangeError::Misfit`] if the schema has no map here, or if no key
    /// has this text.
    pub fn insert(&self, key: &str, value: impl Serialize) -> Result<(), ChangeError> {
        let map = self.as_map()?;
        let key = self.key(key)?;
        let below = self.child(&key.to_text());
        map.insert(key, from_json::build(below.ty()?, below.place.path(), value)?)
    }

    /// Appends an element to the list or the movable list here. Returns the element's id, which
    /// only those of a movable list have.
    ///
    /// # Errors
    /// As [`Self::set`], and [`ChangeError::Misfit`] if the schema has no list here.
    pub fn push(&self, value: impl Serialize) -> Result<Option<ElementId>, ChangeError> {
        let ty = self.ty()?;
        if let TypeKind::List(_) = ty.filled().kind() {
            return self.as_list()?.push(self.item(value)?).map(|()| None);
        }
        let list = self.as_movable_list()?;
        list.push(self.element(value)?).map(Some)
    }

    /// Adds an element to the set here. Returns whether it is new.
    ///
    /// # Errors
    /// [`ChangeError::Misfit`] if the schema has no set here, or if no element has this text.
    pub fn insert_item(&self, item: &str) -> Result<bool, ChangeError> {
        self.as_set()?.insert(self.key(item)?)
    }

    /// A value for an entry of the map, an element of the movable list, a node of the tree or an
    /// item of the groups here, to give to the edits of their accessors.
    ///
    /// ```
    /// use exostate::{Document, MovableList, State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Plan { steps: MovableList<String> }
    ///
    /// let document: Document = Document::new();
    /// let plan = Store::dynamic(&document, &Plan::schema())?;
    /// plan.change(|plan| {
    ///     plan.at("steps").push("build")?;
    ///     let first = plan.at("steps").element("think")?;
    ///     plan.at("steps").as_movable_list()?.insert(0, first).map(drop)
    /// })?;
    /// assert_eq!(serde_json::to_value(&*plan.view())?["steps"][0], "think");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ChangeError::Misfit`] if the schema has no such collection here, or if the value does not
    /// fit.
    pub fn element(&self, value: impl Serialize) -> Result<Dynamic, ChangeError> {
        let ty = self.ty()?;
        let inner = ty.element().ok_or_else(|| self.misfit("a collection", ty.describe()))?;
        from_json::build(inner, self.place.path(), value)
    }

    /// An element for the list here, to give to the edits of [`Self::as_list`].
    ///
    /// # Errors
    /// [`ChangeError::Misfit`] if the schema has no list here, or if the value does not fit.
    pub fn item(&self, value: impl Serialize) -> Result<ScalarValue, ChangeError> {
        let ty = self.ty()?;
        match ty.filled().kind() {
            TypeKind::List(of) => from_json::build_scalar(*of, self.place.path(), value),
            _ => Err(self.misfit("a list", ty.describe())),
        }
    }

    /// A value for a group of the groups here, for `push_group` and `insert_group`.
    ///
    /// # Errors
    /// As [`Self::element`].
    pub fn group_element(&self, value: impl Serialize) -> Result<Dynamic, ChangeError> {
        let ty = self.ty()?;
        let inner = ty.group().ok_or_else(|| self.misfit("groups", ty.describe()))?;
        from_json::build(inner, self.place.path(), value)
    }
}
