//! `Option`: a slot that may be empty.

use std::any::Any;

use crate::document::value::Value;

use super::schema;
use super::{At, ChangeError, Edit, Node, Place, Reader, Refresh, Shape, State, Whole, Writer};

impl<T: State> State for Option<T> {
    type Node<P: Place> = Node<P, Self>;
    const MARKED: bool = false;
    const SCALAR: bool = T::SCALAR;
    const OPTIONAL: bool = true;

    fn node<P: Place>(place: P) -> Node<P, Self> {
        Node::new(place)
    }

    fn initial() -> Self {
        None
    }

    fn shape(shape: &mut Shape) {
        shape.kind("option");
        T::shape(shape);
    }

    fn describe(describe: &mut schema::Describe) -> schema::Type {
        schema::Type::Optional(Box::new(T::describe(describe)))
    }

    fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        const {
            assert!(
                !T::OPTIONAL,
                "an `Option` in an `Option`: the document has one form of nothing; write an enum that names the cases"
            )
        };
        match reader.own() {
            None => None,
            Some(Value::Null) => Some(None),
            // If the value does not fit, the field keeps its default.
            Some(_) => T::read(reader).map(Some),
        }
    }

    fn refresh(&mut self, at: At<'_>, cx: &mut Refresh<'_>) {
        if let Some(value) = self {
            value.refresh(at, cx);
        }
    }

    fn locate(&self, at: At<'_>) -> Option<&dyn Any> {
        if at.is_end() { Some(self) } else { self.as_ref()?.locate(at) }
    }

    fn write(&self, unless: Option<&Self>, writer: &mut Writer<'_, '_>) {
        match (self, unless) {
            (None, Some(None)) => {}
            (None, _) => writer.put(Value::Null),
            (Some(value), Some(Some(unless))) if !value.is_marked() => {
                value.write(Some(unless), writer);
            }
            (Some(value), _) => writer.write_slot(value),
        }
    }

    fn reconcile(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        match (self, new) {
            (None, None) if writer.is_misfit() => {
                writer.clear_below();
                writer.put(Value::Null);
            }
            (None, None) => {}
            (Some(old), Some(new)) => old.reconcile(new, writer),
            (Some(_), None) => {
                writer.clear_below();
                writer.put(Value::Null);
            }
            (None, Some(new)) => {
                writer.clear_below();
                writer.write_slot(new);
            }
        }
    }
}

impl<T: State> Whole for Option<T> {}

impl<T: State> Node<Edit<'_>, Option<T>> {
    /// The staged value.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the place is gone.
    pub fn get(&self) -> Result<Option<T>, ChangeError> {
        self.value()
    }
}

impl<P: Place, T: State> Node<P, Option<T>> {
    /// The place inside a filled option: if the option holds a struct, the fields of that struct.
    /// While the option is empty, there is no value at this place.
    #[must_use]
    pub fn some(&self) -> T::Node<P> {
        T::node(self.place.clone())
    }
}
