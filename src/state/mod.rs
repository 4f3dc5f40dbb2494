//! What a typed field is: how it is read from a document, patched, written and reconciled.
//!
//! The layer knows paths and neutral values ([`crate::document`]) and nothing of backends or
//! stores. A type says how it is read; the one mechanism that keeps a view current is "this path
//! was touched: read it again", for local and remote changes alike, so that a view equals a fresh
//! read by construction.

mod at;
mod collection;
mod counter;
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
pub use element_id::{ElementId, ElementIdError};
pub use groups::Groups;
pub use holds::{Holds, Named};
pub use link::Link;
pub use list::List;
pub use look::Look;
pub(crate) use look::Reading;
pub use map::{Map, MapKey};
pub use movable_list::MovableList;
pub(crate) use node::{ANY, typed};
pub use node::{AsPath, Edit, Node, Path, Place, Whole};
pub use reader::{Reader, Refresh};
pub use register::Register;
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

/// A type that can be kept in a document. Derive it: `#[derive(State)]`.
///
/// A type is read from the registers at and below a path and from sequences by path; see
/// `docs/layout.md`. All methods but [`State::path`] are for the derive and for exostate itself.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a state type",
    label = "cannot be kept in a document",
    note = "derive it with `#[derive(State)]`; wrap a value that is replaced as a whole in `Register<_>` (any serde type)",
    note = "instead of `Vec` use `List` or `MovableList`, instead of `HashMap` and `BTreeMap` use `Map`, instead of `HashSet` and `BTreeSet` use `Set`, \
            instead of `usize` use `u64`"
)]
pub trait State: Clone + Send + Sync + Sized + 'static {
    /// The typed accessor of this type at a place: methods per field, in a change or in a path.
    type Node<P: Place>;

    /// Whether a slot (a map's value, a list's element, an `Option`) needs a marker register of its
    /// own to say that it is filled. Types that keep a register at their own path (scalars,
    /// enums) do not.
    const MARKED: bool = true;

    /// Whether all there is to read is the one register at the type's own path.
    const SCALAR: bool = false;

    /// Whether a null in the register at the type's own path is one of its values.
    const OPTIONAL: bool = false;

    /// The type's name, which a document remembers that this type was written into first. `None`:
    /// the type is no struct or enum of an application's own, and a document of it has no name.
    const STATE_NAME: Option<&'static str> = None;

    /// The accessor at `place`.
    fn node<P: Place>(place: P) -> Self::Node<P>;

    /// The value where nothing was written.
    fn initial() -> Self;

    /// Reads a value; `None` where its own register is missing or does not fit (which is noted as a
    /// violation).
    fn read(reader: &mut Reader<'_, '_>) -> Option<Self>;

    /// Reads again what was touched strictly below this value. `at` holds the rest of the path,
    /// which is at its end only where the value is the whole state.
    fn refresh(&mut self, at: At<'_>, cx: &mut Refresh<'_>);

    /// The value at the rest of a path, of the type that the typed path promises.
    fn locate(&self, at: At<'_>) -> Option<&dyn Any>;

    /// Writes the value where nothing is, leaving out what reads the same anyway: own registers
    /// equal to those of `unless`, and all fields that have their initial value.
    fn write(&self, unless: Option<&Self>, writer: &mut Writer<'_, '_>);

    /// Writes the least that turns this value, which stands in the document, into `new`.
    fn reconcile(&self, new: &Self, writer: &mut Writer<'_, '_>);

    /// Says what the type is like: see [`Shape`].
    fn shape(shape: &mut Shape) {
        shape.kind("unknown");
    }

    /// The typed path of the whole state, to name places in it for watching.
    #[must_use]
    fn path() -> Self::Node<Path<Self>> {
        Self::node(Path::root())
    }
}
