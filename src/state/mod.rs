//! The types of typed fields: how a field is read from a document, patched, written and reconciled.
//!
//! This layer knows paths and neutral values ([`crate::document`]); it knows no backend and no
//! store. Each type defines how it is read. One mechanism keeps a view current, for local and
//! remote changes alike: it reads each touched path again. So a view equals a fresh read by
//! construction.

mod at;
mod collection;
mod counter;
pub mod dynamic;
mod element_id;
mod groups;
mod holds;
mod link;
mod list;
mod look;
mod map;
mod movable_list;
mod node;
mod option;
mod order;
mod position;
mod reader;
mod register;
mod savepoint;
mod scalar;
pub mod schema;
#[cfg(feature = "serde")]
mod serde_impls;
mod set;
mod shape;
mod shared;
mod stage;
mod takes;
mod text;
mod tree;
mod violation;
mod writer;

pub use at::At;
pub use counter::Counter;
pub use dynamic::Dynamic;
pub(crate) use dynamic::{TypeRef, Types};
pub use element_id::{ElementId, ElementIdError};
pub use groups::Groups;
pub use holds::{Holds, Named};
pub use link::Link;
pub use list::List;
pub use look::Look;
pub(crate) use look::Reading;
pub use map::{Map, MapKey};
pub use movable_list::MovableList;
pub(crate) use movable_list::POSITION;
pub(crate) use node::{ANY, typed};
pub use node::{AsPath, Edit, Node, Path, Place, Whole};
pub(crate) use position::between as position_between;
pub use reader::{Reader, Refresh};
pub use register::Register;
pub(crate) use register::encode_canonical as encode_cbor;
pub use scalar::{Mismatch, Scalar};
#[cfg(feature = "serde")]
pub use serde_impls::with_ids;
pub use set::Set;
pub use shape::Shape;
pub use stage::ChangeError;
pub(crate) use stage::{Stage, Staged, content};
pub use takes::Takes;
pub use text::{Anchor, Text};
pub use tree::Tree;
pub(crate) use violation::Violations;
pub use violation::{Mend, Violation};
pub use writer::Writer;

use std::any::Any;

use crate::document::value::Value;

use schema::{Describe, RegisterValue, Schema, Type};

/// A type that can be kept in a document. Derive it: `#[derive(State)]`.
///
/// A type is read from the registers at and below a path, and from the sequences at and below it;
/// see `docs/layout.md`. All methods except [`State::path`] are for the derive and for exostate
/// itself.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a state type",
    label = "cannot be kept in a document",
    note = "derive it with `#[derive(State)]`; wrap a value that is replaced as a whole in `Register<_>` (any serde type)",
    note = "instead of `Vec` use `List` or `MovableList`, instead of `HashMap` and `BTreeMap` use `Map`, instead of `HashSet` and `BTreeSet` use `Set`, \
            instead of `usize` use `u64`"
)]
pub trait State: Clone + Send + Sync + Sized + 'static {
    /// The typed accessor of this type at a place: it has methods per field, in a change or in a
    /// path.
    type Node<P: Place>;

    /// Whether a slot (a map's value, a list's element, an `Option`) needs a marker register of its
    /// own, which says that the slot is filled. Types that keep a register at their own path
    /// (scalars, enums) need no marker.
    const MARKED: bool = true;

    /// Whether the register at the type's own path is everything that the type reads.
    const SCALAR: bool = false;

    /// Whether null is a valid value of the register at the type's own path.
    const OPTIONAL: bool = false;

    /// The type's name. A document remembers the name of the type that first wrote into it. `None`:
    /// the type is not a struct or enum of the application, and a document of this type has no
    /// name.
    const STATE_NAME: Option<&'static str> = None;

    /// [`State::MARKED`] of a type that may be known at run time only.
    #[doc(hidden)]
    #[must_use]
    fn marked(ty: Option<TypeRef<'_>>) -> bool {
        let _ = ty;
        Self::MARKED
    }

    /// [`State::SCALAR`] of a type that may be known at run time only.
    #[doc(hidden)]
    #[must_use]
    fn scalar(ty: Option<TypeRef<'_>>) -> bool {
        let _ = ty;
        Self::SCALAR
    }

    /// [`State::initial`] of a type that may be known at run time only.
    #[doc(hidden)]
    #[must_use]
    fn initial_of(ty: Option<TypeRef<'_>>) -> Self {
        let _ = ty;
        Self::initial()
    }

    /// Whether a slot with this value has a marker: see [`State::MARKED`].
    #[doc(hidden)]
    #[must_use]
    fn is_marked(&self) -> bool {
        Self::MARKED
    }

    /// The accessor at `place`.
    fn node<P: Place>(place: P) -> Self::Node<P>;

    /// The value of a place that was never written.
    fn initial() -> Self;

    /// Reads a value. `None` if the value's own register is missing or does not fit the type; a
    /// register that does not fit is noted as a violation.
    fn read(reader: &mut Reader<'_, '_>) -> Option<Self>;

    /// Reads again the touched path, which lies strictly below this value. `at` holds the rest of
    /// the path; the rest is empty only if this value is the whole state.
    fn refresh(&mut self, at: At<'_>, cx: &mut Refresh<'_>);

    /// Brings the value up to date without reading it, from what `cx` knows of the edits at its
    /// path. Returns false, and leaves the value as it is, if the value must be read.
    fn follow(&mut self, at: At<'_>, cx: &Refresh<'_>) -> bool {
        let _ = (at, cx);
        false
    }

    /// The value at the rest of a path. Its type is the one that the typed path promises.
    fn locate(&self, at: At<'_>) -> Option<&dyn Any>;

    /// Writes the value to a place that holds no value yet. Leaves out everything that reads the
    /// same without a write: own registers equal to those of `unless`, and all fields that have
    /// their initial value.
    fn write(&self, unless: Option<&Self>, writer: &mut Writer<'_, '_>);

    /// Stages the fewest writes that turn this value, which the document holds, into `new`.
    fn reconcile(&self, new: &Self, writer: &mut Writer<'_, '_>);

    /// Describes the structure of the type: see [`Shape`].
    fn shape(shape: &mut Shape) {
        shape.kind("unknown");
    }

    /// Describes the type for a schema: see [`Describe`].
    fn describe(describe: &mut Describe) -> Type {
        let _ = describe;
        Type::Other("unknown".to_owned(), RegisterValue(Value::Null))
    }

    /// The structure of this type as a value: see [`Schema`]. O(number of types).
    #[must_use]
    fn schema() -> Schema {
        Describe::schema::<Self>()
    }

    /// The typed path of the whole state. It names places in the state for watching.
    #[must_use]
    fn path() -> Self::Node<Path<Self>> {
        Self::node(Path::root())
    }
}
