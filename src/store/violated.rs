//! Watching the values in the document that do not fit the struct.

use super::notify::{self, Notice};
use super::{Origin, Store, Subscription};
use crate::document::backend::Backend;
use crate::state::{State, Violation};

/// What a commit did to a store's violations: see [`Store::watch_violations`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViolationsPatch {
    new: Vec<Violation>,
    gone: Vec<Violation>,
    origin: Origin,
}

impl ViolationsPatch {
    /// The violations that came, in the order of their paths.
    #[must_use]
    #[expect(clippy::new_ret_no_self, reason = "the counterpart of `gone`")]
    pub fn new(&self) -> &[Violation] {
        &self.new
    }

    /// The violations that are gone, in the order of their paths: the place was written again, or
    /// removed. If only the found value of a violation differs, the violation is in both lists.
    #[must_use]
    pub fn gone(&self) -> &[Violation] {
        &self.gone
    }

    /// Where the change came from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }
}

impl<S: State, B: Backend> Store<S, B> {
    /// Calls `f` after every commit that changes the violations of the store, until the
    /// subscription is dropped. `f` is called as [`Store::watch`] describes. Violations that exist
    /// already are not told: see [`Store::violations`].
    ///
    /// ```
    /// use exostate::{State, Store};
    ///
    /// mod newer {
    ///     #[derive(exostate::State, Clone, Debug, PartialEq)]
    ///     pub struct Form { pub age: String }
    /// }
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Form { age: u8 }
    ///
    /// let (store, theirs) = (Store::<Form>::new(), Store::<newer::Form>::new());
    /// let _watch = store.watch_violations(|violations| {
    ///     for violation in violations.new() {
    ///         // age: expected an unsigned integer of 8 bits, found "seven"
    ///         println!("{violation}");
    ///     }
    /// });
    /// theirs.change(|form| form.age().set("seven"))?;
    /// store.apply_all(&theirs.updates_since(&store.version())?)?;
    /// assert_eq!(store.violations().len(), 1);
    /// # Ok::<(), exostate::Error>(())
    /// ```
    pub fn watch_violations(
        &self,
        f: impl Fn(&ViolationsPatch) + Send + Sync + 'static,
    ) -> Subscription {
        notify::watch_violations(&self.shared.subscribers, move |notice: &Notice<S>| {
            let [before, now] = &notice.violations;
            let (new, gone) = now.since(before);
            if !new.is_empty() || !gone.is_empty() {
                f(&ViolationsPatch { new, gone, origin: notice.commit.origin });
            }
        })
    }
}
