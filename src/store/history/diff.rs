//! The differences between two states.

use std::sync::Arc;

use crate::document::commit::{Commit, Touch};
use crate::document::source::{Source, differing};
use crate::state::{AsPath, At, State, typed};
use crate::store::Origin;
use crate::store::notify::Notice;
use crate::store::watch::Watchers;

/// The differences between two revisions: see [`History::diff`](crate::History::diff).
#[derive(Clone)]
pub struct Diff<S> {
    old: Arc<S>,
    new: Arc<S>,
    paths: Arc<[Arc<str>]>,
}

/// A place that differs between two revisions: see [`Diff::at`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Differing<'a, T> {
    /// The path of the place, as [`Patch::path`](crate::Patch::path).
    pub path: String,
    /// The value at the first revision; `None` if there was no value.
    pub old: Option<&'a T>,
    /// The value at the second revision; `None` if there is no value.
    pub new: Option<&'a T>,
}

impl<S: State> std::fmt::Debug for Diff<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Diff").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl<S: State> Diff<S> {
    pub(super) fn between(
        (old, old_view): (&impl Source, Arc<S>),
        (new, new_view): (&impl Source, Arc<S>),
    ) -> Self {
        Self { old: old_view, new: new_view, paths: differing(old, new).into() }
    }

    /// The state at the first revision.
    #[must_use]
    pub fn old(&self) -> &Arc<S> {
        &self.old
    }

    /// The state at the second revision.
    #[must_use]
    #[expect(clippy::new_ret_no_self, reason = "the counterpart of `old`")]
    pub fn new(&self) -> &Arc<S> {
        &self.new
    }

    /// Whether the two revisions are equal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The paths of all registers, texts and lists that differ, in order. Paths that the struct
    /// does not know are included.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(|path| &**path)
    }

    /// The place with its two values, if anything at, below or above it differs. For `any()` of a
    /// collection: each element for which that is true. These are the places that a
    /// [watch](crate::Store::watch) of the path would have been told of.
    ///
    /// ```
    /// use exostate::{HistoryOptions, Map, State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Board { done: Map<String, bool> }
    ///
    /// let store = Store::<Board>::new();
    /// store.change(|board| board.done().insert("tests", false))?;
    /// let history = store.history(HistoryOptions::default())?;
    /// let then = history.latest();
    /// store.change(|board| {
    ///     board.done().insert("tests", true)?;
    ///     board.done().insert("docs", true)
    /// })?;
    /// let diff = history.diff(then, history.latest())?;
    /// let found = diff.at(Board::path().done().any());
    /// assert_eq!(found.len(), 2);
    /// assert_eq!(found[1].path.as_str(), "done/tests");
    /// assert_eq!((found[1].old, found[1].new), (Some(&false), Some(&true)));
    /// # Ok::<(), exostate::Error>(())
    /// ```
    #[must_use]
    pub fn at<P: AsPath<S>>(&self, path: P) -> Vec<Differing<'_, P::Target>> {
        let mut watchers = Watchers::default();
        watchers.add(
            0,
            path.as_path().as_str(),
            Arc::new(|_: &Notice<S>, _: &str, _: &[Arc<str>]| {}),
        );
        let commit = Commit {
            touch: Touch::of_all(Arc::clone(&self.paths)),
            updates: Vec::new(),
            origin: Origin::Local,
            meta: None,
            time: None,
        };
        let calls = watchers.calls_of(&Notice {
            number: 1,
            old: Arc::clone(&self.old),
            new: Arc::clone(&self.new),
            violations: Default::default(),
            commit: Arc::new(commit),
        });
        let differing = calls.into_iter().map(|call| {
            let old = self.old.locate(At::start(&call.path)).and_then(typed);
            let new = self.new.locate(At::start(&call.path)).and_then(typed);
            Differing { path: call.path, old, new }
        });
        differing.filter(|place| place.old.is_some() || place.new.is_some()).collect()
    }
}
