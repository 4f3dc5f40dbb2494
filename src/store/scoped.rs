//! A part of a store that is used as if it were a store.

use std::marker::PhantomData;

use super::{Patch, Store, Subscription};
use crate::document::backend::{Backend, Yrs};
use crate::state::{AsPath, At, ChangeError, Edit, Path, State, typed};

/// A store that shows one place of another store, with the type of that place: for code that knows
/// a card but not the board. Made by [`Store::scoped`].
///
/// It is a handle: the place may come and go, and every change goes through the whole store.
pub struct Scoped<S: State, T: State, B: Backend = Yrs> {
    store: Store<S, B>,
    path: Path<S>,
    of: PhantomData<fn() -> T>,
}

impl<S: State, T: State, B: Backend> Clone for Scoped<S, T, B> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), path: self.path.clone(), of: PhantomData }
    }
}

impl<S: State, T: State, B: Backend> std::fmt::Debug for Scoped<S, T, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scoped").field("path", &self.path.as_str()).finish_non_exhaustive()
    }
}

/// A place below the scoped place, with its path in the whole store.
struct Within<S, T> {
    path: Path<S>,
    of: PhantomData<fn() -> T>,
}

impl<S: State, T: State> AsPath<S> for Within<S, T> {
    type Target = T;

    fn as_path(&self) -> &Path<S> {
        &self.path
    }
}

impl<S: State, B: Backend> Store<S, B> {
    /// A store of one place of this store: a field, a record or an element; not `any()`.
    ///
    /// ```
    /// use exostate::{MovableList, Scoped, State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Board { cards: MovableList<Card> }
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Card { text: String, done: bool }
    ///
    /// // This function knows nothing of boards.
    /// fn finish<S: State>(card: &Scoped<S, Card>) -> Result<(), exostate::ChangeError> {
    ///     card.change(|card| card.done().set(true))
    /// }
    ///
    /// let store = Store::<Board>::new();
    /// let new = Card { text: "ship it".into(), done: false };
    /// let id = store.change(|board| board.cards().push(new))?;
    /// let card = store.scoped(Board::path().cards().get(id));
    /// let _watch = card.watch(Card::path().done(), |done| println!("{:?}", done.new()));
    /// finish(&card)?;
    /// assert!(card.view().is_some_and(|card| card.done));
    /// # Ok::<(), exostate::Error>(())
    /// ```
    pub fn scoped<P: AsPath<S>>(&self, path: P) -> Scoped<S, P::Target, B> {
        Scoped { store: self.clone(), path: path.as_path().clone(), of: PhantomData }
    }
}

impl<S: State, T: State, B: Backend> Scoped<S, T, B> {
    /// The current value of the place; `None` if the place does not exist. The value is a clone of
    /// that part of the view, and shares its content with the view.
    #[must_use]
    pub fn view(&self) -> Option<T> {
        typed(self.store.view().locate(At::start(self.path.as_str()))?).cloned()
    }

    /// The whole store.
    #[must_use]
    pub fn store(&self) -> &Store<S, B> {
        &self.store
    }

    /// A scoped store of a place below this one.
    pub fn scoped<P: AsPath<T>>(&self, path: P) -> Scoped<S, P::Target, B> {
        Scoped { store: self.store.clone(), path: self.path.join(path.as_path()), of: PhantomData }
    }

    /// Changes the place: either the whole change is made, or nothing of it. See [`Store::change`].
    ///
    /// # Errors
    /// As [`Store::change`]; [`ChangeError::NotFound`] if the place does not exist.
    pub fn change<R>(
        &self,
        edit: impl FnOnce(T::Node<Edit<'_>>) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        self.store.change_at(&self.path, edit)
    }

    /// Watches a place below this one. See [`Store::watch`]; the path of a patch is the path in the
    /// whole store.
    pub fn watch<P: AsPath<T>>(
        &self,
        path: P,
        f: impl Fn(&Patch<'_, P::Target>) + Send + Sync + 'static,
    ) -> Subscription {
        self.store.watch(
            Within::<S, P::Target> { path: self.path.join(path.as_path()), of: PhantomData },
            f,
        )
    }
}

impl<S: State, B: Backend> Store<S, B> {
    fn change_at<T: State, R>(
        &self,
        path: &Path<S>,
        edit: impl FnOnce(T::Node<Edit<'_>>) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        let report = super::layers::Report::new(super::Origin::Local, None);
        self.stage(
            report,
            |_| Ok(()),
            |stage| {
                let place = Edit::at(stage, path);
                place.look(|_: &T| ())?;
                edit(T::node(place))
            },
        )
    }
}
