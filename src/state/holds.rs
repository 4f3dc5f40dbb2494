//! The trait that the derive requires of container types. It exists for better compiler errors.
//!
//! A `List<Text>` is not a [`State`], but the compiler names no reason for that: a type can be a
//! state in two ways, as a scalar or as a list of scalars. [`Holds`] repeats [`State`] with the
//! inner type as a parameter, so that the error names the inner type.

use std::any::Any;

use super::schema;
use super::{
    At, List, Map, MapKey, MovableList, Place, Reader, Refresh, Scalar, Set, Shape, State, Tree,
    Writer,
};

/// Types that are not containers of exostate: scalars, and types with `#[derive(State)]`. The
/// derive may call them as it calls a container.
pub trait Named: State {}

impl<T: Scalar> Named for T {}

/// A state type that holds a `T`. Each item is the item of the same name in [`State`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot hold `{T}`",
    label = "cannot hold `{T}`",
    note = "the elements of a `List` are whole values (scalars): for records, texts and collections use `MovableList<{T}>`",
    note = "what `MovableList`, `Tree`, `Option` and `Map` hold are state types: derive `State` for `{T}` with `#[derive(State)]`, or wrap it in \
            `Register<_>` (any serde type)",
    note = "the keys of a `Map` and the elements of a `Set` are strings, integers, `bool`, `char`, `Uuid`, `ElementId` and types with `impl MapKey`"
)]
#[allow(missing_docs)]
pub trait Holds<T>: State {
    type Node<P: Place>;
    const MARKED: bool = <Self as State>::MARKED;
    const SCALAR: bool = <Self as State>::SCALAR;
    const OPTIONAL: bool = <Self as State>::OPTIONAL;

    fn node<P: Place>(place: P) -> <Self as Holds<T>>::Node<P>;

    #[must_use]
    fn initial() -> Self {
        <Self as State>::initial()
    }
    fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        <Self as State>::read(reader)
    }
    fn refresh(&mut self, at: At<'_>, cx: &mut Refresh<'_>) {
        State::refresh(self, at, cx);
    }
    fn follow(&mut self, at: At<'_>, cx: &Refresh<'_>) -> bool {
        State::follow(self, at, cx)
    }
    fn locate(&self, at: At<'_>) -> Option<&dyn Any> {
        State::locate(self, at)
    }
    fn write(&self, unless: Option<&Self>, writer: &mut Writer<'_, '_>) {
        State::write(self, unless, writer);
    }
    fn reconcile(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        State::reconcile(self, new, writer);
    }
    fn shape(shape: &mut Shape) {
        <Self as State>::shape(shape);
    }

    fn describe(describe: &mut schema::Describe) -> schema::Type {
        <Self as State>::describe(describe)
    }
}

/// The items without a default. They are the same in all implementations.
macro_rules! holds {
    ($([$($bounds:tt)*] $held:ty, $holder:ty;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<$($bounds)*> Holds<$held> for $holder {
            type Node<P: Place> = <Self as State>::Node<P>;

            fn node<P: Place>(place: P) -> <Self as State>::Node<P> {
                <Self as State>::node(place)
            }
        }
    )*};
}

holds! {
    [T: Scalar] T, List<T>;
    [T: State] T, MovableList<T>;
    [T: State] T, Tree<T>;
    [T: State] T, Option<T>;
    [K: MapKey, T: State] T, Map<K, T>;
    [T: MapKey] T, Set<T>;
    [T, N: Named] T, N;
}
