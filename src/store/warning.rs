//! What is odd about a document, and no reason not to show it.

use super::{Core, Store};
use crate::document::backend::{Backend, BackendError};
use crate::document::key::Key;
use crate::document::named::{self, TypeMismatch};
use crate::document::ops::RegisterWrite;
use crate::document::replica::Replica;
use crate::state::{Shape, State};

/// What is odd about a document that opens all the same: see [`Store::warnings`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// It says that it holds another state type. Fields of one name and kind that both have show
    /// what is there, all others their defaults.
    #[error(transparent)]
    OtherType(#[from] TypeMismatch),
    /// It has contents besides those that exostate keeps, which no state shows: it is a Yjs
    /// document that something else wrote, too.
    #[error("the document has contents that exostate did not make, in {}", roots.join(", "))]
    Foreign {
        /// Where they are: some names of Yjs's root types.
        roots: Vec<String>,
    },
}

/// What makes a document remember this state type, if it does not say already what it holds.
pub(super) fn name_for<S: State, B: Backend>(replica: &Replica<B>) -> Option<(Key, RegisterWrite)> {
    let name = S::STATE_NAME.filter(|_| replica.type_names().next().is_none())?;
    Some(named::write(name, Shape::of::<S>()))
}

/// Writes a warning into the log.
pub(super) fn log(warning: &Warning) {
    tracing::warn!(target: "exostate", "{warning}");
}

impl<S: State, B: Backend> Core<'_, S, B> {
    /// What others keep in the document.
    pub(super) fn foreign(&self) -> Option<Warning> {
        let roots = self.replica.foreign();
        (!roots.is_empty()).then_some(Warning::Foreign { roots })
    }
}

impl<S: State, B: Backend> Store<S, B> {
    /// What is odd about the document: that it was made as another state type, that others keep
    /// something in it. Nothing of that keeps it from being opened and merged, or from being
    /// changed; what comes later can bring it about. An empty list, as a rule. O(1).
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

    /// Whether the document says that it holds another state type than this one: that of
    /// [`Store::warnings`] by itself. Takes no lock; O(1).
    #[must_use]
    pub fn type_mismatch(&self) -> Option<TypeMismatch> {
        self.shared.mismatch.load().as_deref().cloned()
    }

    /// Opens a document as [`Store::open`] does, and refuses one of which there is anything to be
    /// said in [`Store::warnings`].
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
