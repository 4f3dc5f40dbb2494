//! A place on the way down a path.

use std::cell::RefCell;

use crate::document::key;

/// A path and how far one has come on it.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    path: &'a str,
    /// How many bytes of the path lie behind; a slash that follows belongs to neither side.
    done: usize,
    /// Where a collection that the path's last segment, [`ANY`](super::ANY), asks for its elements
    /// puts them.
    elements: Option<&'a RefCell<Vec<String>>>,
}

impl<'a> At<'a> {
    /// The start of a path.
    #[must_use]
    pub fn start(path: &'a str) -> Self {
        Self { path, done: 0, elements: None }
    }

    /// The start of a path that ends in [`ANY`](super::ANY): what stands there is to
    /// [offer](Self::offer) its elements.
    #[must_use]
    pub fn asking(path: &'a str, elements: &'a RefCell<Vec<String>>) -> Self {
        Self { path, done: 0, elements: Some(elements) }
    }

    /// Names the elements of a collection, as escaped segments, to whoever asked for them.
    pub fn offer(self, segments: impl Iterator<Item = String>) {
        if let Some(elements) = self.elements {
            elements.borrow_mut().extend(segments);
        }
    }

    /// The whole path.
    #[must_use]
    pub fn path(self) -> &'a str {
        self.path
    }

    /// The part behind: the path of where one is.
    #[must_use]
    pub fn here(self) -> &'a str {
        self.path.get(..self.done).unwrap_or(self.path)
    }

    /// Whether the path ends here.
    #[must_use]
    pub fn is_end(self) -> bool {
        self.done >= self.path.len()
    }

    /// The next segment, still escaped, and the place behind it; `None` at the end.
    #[must_use]
    pub fn next(self) -> Option<(&'a str, Self)> {
        let rest = key::below(self.path, self.here());
        if rest.is_empty() {
            return None;
        }
        let (segment, _) = key::split_first(rest);
        let start = self.path.len() - rest.len();
        Some((segment, Self { done: start + segment.len(), ..self }))
    }
}
