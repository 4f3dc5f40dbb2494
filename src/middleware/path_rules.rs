//! A middleware that refuses changes by path.

use super::{Middleware, Proposal};
use crate::document::key;
use crate::state::{AsPath, ChangeError, State};

/// Refuses local changes that write to certain places. Changes of other replicas are still
/// imported: those replicas have their own rules, and a hub makes the final decision
/// (`exostate-sync`'s read-only peers).
///
/// ```
/// use exostate::middleware::PathRules;
/// use exostate::{State, Store};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Page { title: String, body: exostate::Text }
///
/// let store = Store::<Page>::new();
/// store.add_middleware(PathRules::new().deny(Page::path().title()));
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
    /// Rules that refuse nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses changes that write to this place or below it. `any()` stands for every element.
    #[must_use]
    pub fn deny<S: State>(mut self, path: impl AsPath<S>) -> Self {
        self.denied.push(path.as_path().as_str().to_owned());
        self
    }

    /// Refuses changes that write to other places than this one and those below it. If it is called
    /// several times, all the given places are allowed.
    #[must_use]
    pub fn allow_only<S: State>(mut self, path: impl AsPath<S>) -> Self {
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
