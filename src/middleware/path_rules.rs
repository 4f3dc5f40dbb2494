//! A layer that refuses changes by path.

use super::{Middleware, Proposal};
use crate::document::key;
use crate::state::{AsPath, ChangeError, State};

/// Refuses changes made here that write to certain places. What others write still arrives: they
/// have their own guards, and a hub that has the last word (`exostate-sync`'s read-only peers).
///
/// ```
/// use exostate::middleware::PathRules;
/// use exostate::{State, Store};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Page { title: String, body: exostate::Text }
///
/// let store = Store::<Page>::new();
/// store.add_middleware(PathRules::new().deny(&Page::path().title()));
/// assert!(store.change(|page| page.title().set("mine")).is_err());
/// store.change(|page| page.body().push_str("ours"))?;
/// # Ok::<(), exostate::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct PathRules {
    denied: Vec<String>,
    allowed: Vec<String>,
}

impl PathRules {
    /// Refuses nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses what writes to this place or below it. `any()` stands for every element.
    #[must_use]
    pub fn deny<S: State>(mut self, path: &impl AsPath<S>) -> Self {
        self.denied.push(path.as_path().as_str().to_owned());
        self
    }

    /// Refuses what writes anywhere but to such places or below them.
    #[must_use]
    pub fn allow_only<S: State>(mut self, path: &impl AsPath<S>) -> Self {
        self.allowed.push(path.as_path().as_str().to_owned());
        self
    }

    fn refuses(&self, path: &str) -> bool {
        let within = |places: &[String]| places.iter().any(|place| key::matches(path, place));
        within(&self.denied) || !self.allowed.is_empty() && !within(&self.allowed)
    }
}

impl<S: State> Middleware<S> for PathRules {
    fn change(&self, change: &mut Proposal<'_, S>) -> Result<(), ChangeError> {
        match change.paths().find(|path| self.refuses(path)) {
            Some(path) => Err(ChangeError::refuse(format!("{path}: may not be changed here"))),
            None => Ok(()),
        }
    }
}
