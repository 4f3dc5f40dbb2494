//! Changes whose closures return an error type of the application.

use super::{Joint, Scoped, Store, Stores, Transaction};
use crate::document::backend::Backend;
use crate::state::{ChangeError, Edit, State};

/// The error that middleware gets if the closure returned an error of its own.
#[derive(Debug, thiserror::Error)]
#[error("the change's closure returned an error of its own")]
struct OwnError;

/// Runs a change, and returns the error of its closure unchanged. `change` gets a function that
/// keeps the closure's error and returns a [`ChangeError`] for it.
fn keep_error<R, E: From<ChangeError>>(
    change: impl FnOnce(&mut dyn FnMut(E) -> ChangeError) -> Result<R, ChangeError>,
) -> Result<R, E> {
    let mut kept = None;
    let result = change(&mut |error| {
        kept = Some(error);
        ChangeError::refuse(OwnError)
    });
    result.map_err(|error| kept.unwrap_or_else(|| error.into()))
}

impl<S: State, B: Backend> Store<S, B> {
    /// Changes the state as [`Store::change`] does, with a closure that returns an error type of
    /// the application: an enum, [`anyhow::Error`](https://docs.rs/anyhow), a `Box<dyn Error>`, any
    /// type that a [`ChangeError`] converts into. In the closure `?` works on every error that
    /// converts into that type. The closure's error is returned unchanged, and then nothing of the
    /// change has happened. If the compiler cannot infer the error type, name it:
    /// `try_change::<_, AppError>(…)`.
    ///
    /// ```
    /// use exostate::{ChangeError, Map, State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Shop { stock: Map<String, i64> }
    ///
    /// #[derive(Debug)]
    /// enum OrderError { NoNumber(std::num::ParseIntError), Change(ChangeError), SoldOut }
    ///
    /// impl From<std::num::ParseIntError> for OrderError {
    ///     fn from(error: std::num::ParseIntError) -> Self { Self::NoNumber(error) }
    /// }
    /// impl From<ChangeError> for OrderError {
    ///     fn from(error: ChangeError) -> Self { Self::Change(error) }
    /// }
    ///
    /// fn order(shop: &Store<Shop>, thing: &str, count: &str) -> Result<i64, OrderError> {
    ///     shop.try_change(|shop| {
    ///         let count: i64 = count.parse()?;
    ///         let left = shop.stock().get(thing).get()? - count;
    ///         shop.stock().get(thing).set(left)?;
    ///         if left < 0 { Err(OrderError::SoldOut) } else { Ok(left) }
    ///     })
    /// }
    ///
    /// let shop = Store::<Shop>::new();
    /// shop.change(|shop| shop.stock().insert("lamp", 3))?;
    /// assert!(matches!(order(&shop, "lamp", "x"), Err(OrderError::NoNumber(_))));
    /// assert!(matches!(order(&shop, "lamp", "4"), Err(OrderError::SoldOut)));
    /// assert!(matches!(
    ///     order(&shop, "desk", "1"),
    ///     Err(OrderError::Change(ChangeError::NotFound { .. }))
    /// ));
    /// assert!(matches!(order(&shop, "lamp", "2"), Ok(1)));
    /// # Ok::<(), exostate::Error>(())
    /// ```
    ///
    /// # Errors
    /// The error that the closure returned, unchanged; the errors of [`Store::change`], converted
    /// into that type.
    pub fn try_change<R, E: From<ChangeError>>(
        &self,
        edit: impl FnOnce(S::Node<Edit<'_>>) -> Result<R, E>,
    ) -> Result<R, E> {
        keep_error(|keep| self.change(|state| edit(state).map_err(keep)))
    }
}

impl<S: State, B: Backend> Transaction<'_, S, B> {
    /// Runs the change as [`Store::try_change`] does.
    ///
    /// # Errors
    /// As [`Store::try_change`], and [`ChangeError::Stale`] if something was touched that the
    /// change relies on.
    pub fn try_run<R, E: From<ChangeError>>(
        self,
        edit: impl FnOnce(S::Node<Edit<'_>>) -> Result<R, E>,
    ) -> Result<R, E> {
        keep_error(|keep| self.run(|state| edit(state).map_err(keep)))
    }
}

impl<S: State, T: State, B: Backend> Scoped<S, T, B> {
    /// Changes the place as [`Store::try_change`] does.
    ///
    /// # Errors
    /// As [`Store::try_change`]; [`ChangeError::NotFound`] if the place does not exist.
    pub fn try_change<R, E: From<ChangeError>>(
        &self,
        edit: impl FnOnce(T::Node<Edit<'_>>) -> Result<R, E>,
    ) -> Result<R, E> {
        keep_error(|keep| self.change(|place| edit(place).map_err(keep)))
    }
}

impl<X: Stores, Y: Stores> Joint<X, Y> {
    /// Changes the stores as [`Joint::change`] does, with a closure that returns an error type of
    /// the application: see [`Store::try_change`].
    ///
    /// # Errors
    /// The error that the closure returned, unchanged; the errors of [`Joint::change`], converted
    /// into that type.
    pub fn try_change<R, E: From<ChangeError>>(
        &self,
        edit: impl for<'a> FnOnce((X::Edits<'a>, Y::Edits<'a>)) -> Result<R, E>,
    ) -> Result<R, E> {
        keep_error(|keep| self.change(|stores| edit(stores).map_err(keep)))
    }
}
