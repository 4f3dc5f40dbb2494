//! A position on a path, while the path is followed from its start.

use std::cell::RefCell;

use crate::document::key;

use super::dynamic::TypeRef;

/// A path and the position up to which it was followed.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    path: &'a str,
    /// How many bytes of the path were followed. The slash after them belongs to neither part.
    done: usize,
    /// The buffer for the elements of a collection, if the path's last segment,
    /// [`ANY`](super::ANY), asks for them.
    elements: Option<&'a RefCell<Vec<String>>>,
    /// The type at the current place, if only a schema knows it.
    ty: Option<TypeRef<'a>>,
    /// How many segments were followed.
    depth: usize,
}

/// How many segments the path of a value has at most. Types may contain themselves, and paths may
/// come from strangers: what lies deeper is not shown, so that no view is nested too deeply for the
/// stack. A document keeps what is deeper.
pub(crate) const DEPTH_MAX: usize = 128;

/// Whether a segment is exostate's own: an element's position, a node's place. Such a register
/// belongs to the value above it.
fn is_internal(segment: &str) -> bool {
    segment.starts_with('@')
}

/// Whether a state shows what lies at a path: see [`DEPTH_MAX`].
pub(crate) fn is_shown(path: &str) -> bool {
    key::segments(path).skip(DEPTH_MAX).all(is_internal)
}

impl<'a> At<'a> {
    /// The start of a path.
    #[must_use]
    pub fn start(path: &'a str) -> Self {
        Self { path, done: 0, elements: None, ty: None, depth: 0 }
    }

    /// The start of a path that ends in [`ANY`](super::ANY). The collection at that place must
    /// [offer](Self::offer) its elements.
    #[must_use]
    pub fn asking(path: &'a str, elements: &'a RefCell<Vec<String>>) -> Self {
        Self { path, done: 0, elements: Some(elements), ty: None, depth: 0 }
    }

    /// The same start, in a state of a type that only a schema knows.
    #[must_use]
    pub fn typed(self, ty: Option<TypeRef<'a>>) -> Self {
        Self { ty, ..self }
    }

    /// The type at the current place, if only a schema knows it.
    #[must_use]
    pub fn ty(self) -> Option<TypeRef<'a>> {
        self.ty
    }

    /// Names the elements of a collection, as escaped segments, if the path asks for them.
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

    /// The part that was followed: the path of the current place.
    #[must_use]
    pub fn here(self) -> &'a str {
        self.path.get(..self.done).unwrap_or(self.path)
    }

    /// Whether the path ends here.
    #[must_use]
    pub fn is_end(self) -> bool {
        self.done >= self.path.len()
    }

    /// How many segments were followed.
    #[must_use]
    pub fn depth(self) -> usize {
        self.depth
    }

    /// The next segment, still escaped, and the position after it. `None` at the end, and at
    /// [`DEPTH_MAX`].
    #[must_use]
    pub fn next(self) -> Option<(&'a str, Self)> {
        let rest = key::below(self.path, self.here());
        if rest.is_empty() {
            return None;
        }
        let (segment, _) = key::split_first(rest);
        // No value lies at a path with an empty segment. Strangers may write such paths.
        if segment.is_empty() || self.depth >= DEPTH_MAX && !is_internal(segment) {
            return None;
        }
        let start = self.path.len() - rest.len();
        let ty = self.ty.and_then(|ty| ty.child(segment));
        Some((segment, Self { done: start + segment.len(), depth: self.depth + 1, ty, ..self }))
    }
}
