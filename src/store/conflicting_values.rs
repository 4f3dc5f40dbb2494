//! What competes for a register.

use super::Store;
use crate::document::ReplicaId;
use crate::document::backend::Backend;
use crate::document::value::Value;
use crate::state::{AsPath, State};

/// A value of a register for which several were written at once: see [`Store::conflicting_values`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConflictingValue {
    /// The value, as it stands in the document.
    pub value: Value,
    /// Who wrote it, where that is known.
    pub replica: Option<ReplicaId>,
    /// Whether it is the one that the state shows.
    pub wins: bool,
}

impl<S: State, B: Backend> Store<S, B> {
    /// The values that compete for a register, and who wrote them, the one that the state shows
    /// first. Until somebody writes the register anew, and so settles it, the others stay.
    ///
    /// Of a place that is no register (a struct, a record, a text, a collection) there are none; of
    /// an enum it is the variant, of an `Option` whether it is filled, where it does not hold a
    /// register itself.
    ///
    /// **On automerge** all of them are in the document. O(log n). **On yrs** only the winner is:
    /// yrs throws away what loses in the moment in which it does, on whichever replica that is.
    /// So there is one conflicting_value at most; who wrote it is read off the document's bytes,
    /// O(document). Who needs to know what was lost keeps it elsewhere: a [`List`](crate::List)
    /// of proposals, say, or watches the place and notes what a remote [`Patch`](crate::Patch)
    /// replaces.
    ///
    /// ```
    /// use exostate::{Automerge, State, Store, Value};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Note { title: String }
    ///
    /// let (ours, theirs) = (Store::<Note, Automerge>::new(), Store::<Note, Automerge>::new());
    /// ours.change(|note| note.title().set("Plan"))?;
    /// theirs.change(|note| note.title().set("Trip"))?;
    /// ours.merge(&theirs)?;
    /// let titles = ours.conflicting_values(&Note::path().title());
    /// assert_eq!(titles.len(), 2);
    /// assert!(titles[0].wins && titles[0].value == Value::from(ours.view().title.as_str()));
    /// assert!(titles.iter().any(|title| title.replica == Some(theirs.replica())));
    /// # Ok::<(), exostate::Error>(())
    /// ```
    #[must_use]
    pub fn conflicting_values<P: AsPath<S>>(&self, path: &P) -> Vec<ConflictingValue> {
        if P::Target::MARKED {
            // At most a mark stands at its path, which says that it is there.
            return Vec::new();
        }
        let found = self.read(|core| core.replica.conflicting_values(path.as_path().as_str()));
        let conflicting_values = found.into_iter().rev().enumerate();
        conflicting_values
            .map(|(place, (value, replica))| ConflictingValue { value, replica, wins: place == 0 })
            .collect()
    }
}
