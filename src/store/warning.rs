//! Warnings about a document that can be opened all the same.

use super::{Shared, Store, StoreRef};
use crate::document::backend::{Backend, BackendError};
use crate::document::key::Key;
use crate::document::named::{self, TypeMismatch};
use crate::document::ops::RegisterWrite;
use crate::document::replica::Replica;
use crate::state::{Shape, State};

/// An unusual property of a document that opens all the same: see [`Store::warnings`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// The document says that it holds another state type. A field with the same name and kind in
    /// both types shows its content; all other fields show their defaults.
    #[error(transparent)]
    OtherType(#[from] TypeMismatch),
    /// The document has contents that exostate did not make and that no state shows: it is a Yjs
    /// document that other software wrote, too.
    #[error("the document has contents that exostate did not make, in {}", roots.join(", "))]
    Foreign {
        /// Where these contents are: some names of Yjs's root types.
        roots: Vec<String>,
    },
}

/// The write that stores the name of this state type in the document. `None` if the document names
/// a type already, or if the state type has no name.
pub(super) fn name_for<S: State, B: Backend>(
    store: &Shared<S, B>,
    replica: &Replica<B>,
) -> Option<(Key, RegisterWrite)> {
    let name = store.type_name().filter(|_| replica.type_names().next().is_none())?;
    let shape = store.types.as_ref().map_or_else(Shape::of::<S>, |types| types.shape());
    Some(named::write(name, shape))
}

/// Writes a warning into the log.
pub(super) fn log(warning: &Warning) {
    tracing::warn!(target: "exostate", "{warning}");
}

impl<S: State, B: Backend> StoreRef<'_, S, B> {
    /// The warning about contents that exostate did not make.
    pub(super) fn foreign(&self) -> Option<Warning> {
        let roots = self.replica.foreign();
        (!roots.is_empty()).then_some(Warning::Foreign { roots })
    }
}

impl<S: State, B: Backend> Store<S, B> {
    /// Warnings about the document: that it was made with another state type, or that it has
    /// contents that exostate did not make. The document can still be opened, merged and changed. A
    /// later import can cause a warning. Usually the list is empty. O(1).
    ///
    /// ```
    /// use exostate::{State, Store, Warning};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Board { title: String }
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Form { title: String, answers: exostate::Map<String, String> }
    ///
    /// let board = Store::<Board>::new();
    /// board.change(|board| board.title().set("Roadmap"))?;
    ///
    /// let form = Store::<Form>::open(&board.save())?;
    /// let [Warning::OtherType(mismatch)] = &form.warnings()[..] else { panic!("there is one") };
    /// assert_eq!((mismatch.document(), mismatch.opened()), ("Board", "Form"));
    /// assert!(Store::<Form>::open_strict(&board.save()).is_err());
    /// # Ok::<(), exostate::Error>(())
    /// ```
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let foreign = self.read(|core| core.foreign());
        self.type_mismatch().map(Warning::OtherType).into_iter().chain(foreign).collect()
    }

    /// The state type that the document names, if it is another type than that of this store.
    /// [`Store::warnings`] contains the same mismatch. Takes no lock; O(1).
    #[must_use]
    pub fn type_mismatch(&self) -> Option<TypeMismatch> {
        self.shared.mismatch.load().as_deref().cloned()
    }

    /// Opens a document as [`Store::open`] does, and refuses a document for which
    /// [`Store::warnings`] is not empty.
    ///
    /// # Errors
    /// As [`Store::open`], and [`BackendError::OtherType`] and [`BackendError::Foreign`].
    pub fn open_strict(bytes: &[u8]) -> Result<Self, BackendError> {
        let store = Self::open(bytes)?;
        match store.warnings().into_iter().next() {
            Some(Warning::OtherType(mismatch)) => Err(mismatch.into()),
            Some(Warning::Foreign { roots }) => Err(BackendError::Foreign {
                found: format!("a document with contents of others in {}", roots.join(", ")),
                expected: "document that exostate alone keeps".to_owned(),
                hint: "",
            }),
            None => Ok(store),
        }
    }
}
