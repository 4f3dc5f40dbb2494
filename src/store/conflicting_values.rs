//! The conflicting values of a register.

use super::Store;
use crate::document::ReplicaId;
use crate::document::backend::Backend;
use crate::document::value::Value;
use crate::state::{AsPath, State};

/// A value of a register. There are several if replicas wrote the register concurrently: see
/// [`Store::conflicting_values`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConflictingValue {
    /// The value, as it is in the document.
    pub value: Value,
    /// The replica that wrote the value, if it is known.
    pub replica: Option<ReplicaId>,
    /// Whether the state shows this value.
    pub wins: bool,
}

impl<S: State, B: Backend> Store<S, B> {
    /// The conflicting values of a register, each with the replica that wrote it. The first one is
    /// the value that the state shows. The others stay until a replica writes the register again,
    /// which settles the conflict.
    ///
    /// A place that is no register (a struct, a record, a text, a collection) has no conflicting
    /// values. For an enum the values are its variants. For an `Option` they say whether it is
    /// filled, unless the `Option` holds a register itself.
    ///
    /// **On automerge** the document holds all of them. O(log n).
    ///
    /// **On yrs** the document holds only the winner: yrs drops the losing value, on each replica,
    /// as soon as the replica has both. So there is at most one conflicting value. The replica that
    /// wrote it is read from the document's bytes, O(document). An application that needs the lost
    /// values keeps them elsewhere, for example in a [`List`](crate::List) of proposals. It can
    /// also watch the place and note the values that a remote [`Patch`](crate::Patch) replaces.
    ///
    /// **On both**, if several replicas made a record at the same time, a field has the value that
    /// each of them gave it, until a replica writes the field again.
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
    /// let titles = ours.conflicting_values(Note::path().title());
    /// assert_eq!(titles.len(), 2);
    /// assert!(titles[0].wins && titles[0].value == Value::from(ours.view().title.as_str()));
    /// assert!(titles.iter().any(|title| title.replica == Some(theirs.replica())));
    /// # Ok::<(), exostate::Error>(())
    /// ```
    #[must_use]
    pub fn conflicting_values<P: AsPath<S>>(&self, path: P) -> Vec<ConflictingValue> {
        let path = path.as_path().as_str();
        let ty = self.shared.ty().and_then(|ty| ty.below(path));
        if P::Target::marked(ty) {
            // The path of such a place holds at most a marker, which says that the place exists.
            return Vec::new();
        }
        let found = self.read(|core| core.replica.conflicting_values(path));
        let conflicting_values = found.into_iter().rev().enumerate();
        conflicting_values
            .map(|(place, (value, replica))| ConflictingValue { value, replica, wins: place == 0 })
            .collect()
    }
}
