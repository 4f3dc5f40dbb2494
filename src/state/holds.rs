//! What the derive asks of the types that hold others, for the sake of what the compiler says.
//!
//! Of a `List<Text>` that is asked to be a [`State`] the compiler names no reason, as there are two
//! ways to be one: to be a scalar, and to be a list of scalars. [`Holds`] is [`State`] in other
//! words, which name the type within.

use std::any::Any;

use super::{
    At, List, Map, MapKey, MovableList, Place, Reader, Refresh, Scalar, Set, Shape, State, Tree,
    Writer,
};

/// Types that are not exostate's own holders: scalars, and what has `#[derive(State)]`. They may be
/// called as a holder is.
pub trait Named: State {}

impl<T: Scalar> Named for T {}

/// A state type that holds a `T`. All in it is what [`State`] has under the same name.
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
}

/// The part that no implementation can do without; it is the same in all.
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
