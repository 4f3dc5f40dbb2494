//! The spans of a sequence in order: a balanced tree (a treap: Seidel and Aragon, *Randomized
//! search trees*, 1996) that counts visible units, so that a position leads to a span and a span to
//! its position. Both take O(log n) on average.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroU32;

use super::span::{PackedSpan, Span};

/// The number of a span in a [`SpanTree`]. It stays the same until the span is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(NonZeroU32);

#[derive(Debug)]
struct Node {
    span: PackedSpan,
    /// The visible units of this span and of all spans below it.
    visible: u32,
    parent: Option<SpanId>,
    left: Option<SpanId>,
    right: Option<SpanId>,
    /// No node has a higher priority than its parent. As priorities are random, the tree stays
    /// balanced.
    priority: u32,
}

/// Spans in order.
#[derive(Debug)]
pub struct SpanTree {
    nodes: Vec<Node>,
    /// The places in `nodes` of removed spans.
    free: Vec<SpanId>,
    root: Option<SpanId>,
    random: u32,
}

impl Default for SpanTree {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), root: None, random: seed() }
    }
}

/// A number that peers cannot guess. Otherwise a peer could choose its insertions so that the tree
/// becomes a list. The shape of the tree changes no result.
fn seed() -> u32 {
    let hash = RandomState::new().build_hasher().finish();
    (hash as u32).max(1)
}

impl SpanId {
    /// The id of the span at this place in `nodes`.
    fn at(place: usize) -> Self {
        let number = u32::try_from(place + 1).ok().and_then(NonZeroU32::new);
        Self(number.unwrap_or(NonZeroU32::MAX))
    }

    fn place(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl SpanTree {
    /// The number of spans.
    pub fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// The visible units of all spans.
    pub fn visible(&self) -> u32 {
        self.visible_below(self.root)
    }

    /// A span.
    pub fn get(&self, id: SpanId) -> Span {
        self.node(id).span.get()
    }

    /// Changes the length of a span. O(log n).
    pub fn set_len(&mut self, id: SpanId, len: u32) {
        self.update(id, |span| span.set_len(len));
    }

    /// Marks a span as deleted or not deleted. O(log n).
    pub fn set_deleted(&mut self, id: SpanId, deleted: bool) {
        self.update(id, |span| span.set_deleted(deleted));
    }

    fn update(&mut self, id: SpanId, change: impl FnOnce(&mut PackedSpan)) {
        let before = self.node(id).span.visible();
        change(&mut self.node_mut(id).span);
        let after = self.node(id).span.visible();
        if before != after {
            self.add_upwards(Some(id), before, after);
        }
    }

    /// The first span.
    pub fn first(&self) -> Option<SpanId> {
        self.root.map(|root| self.leftmost(root))
    }

    /// The last span.
    pub fn last(&self) -> Option<SpanId> {
        let mut at = self.root?;
        while let Some(right) = self.node(at).right {
            at = right;
        }
        Some(at)
    }

    /// The span after this one.
    pub fn next(&self, id: SpanId) -> Option<SpanId> {
        if let Some(right) = self.node(id).right {
            return Some(self.leftmost(right));
        }
        self.ancestor(id, |parent, child| parent.left == Some(child))
    }

    /// The span before this one.
    pub fn previous(&self, id: SpanId) -> Option<SpanId> {
        if let Some(left) = self.node(id).left {
            let mut at = left;
            while let Some(right) = self.node(at).right {
                at = right;
            }
            return Some(at);
        }
        self.ancestor(id, |parent, child| parent.right == Some(child))
    }

    /// The span that holds the visible unit at this position, and the position within the span.
    pub fn find_visible(&self, position: u32) -> Option<(SpanId, u32)> {
        let mut rest = position;
        let mut at = self.root?;
        loop {
            let node = self.node(at);
            let left = self.visible_below(node.left);
            let own = node.span.visible();
            if rest < left {
                at = node.left?;
            } else if rest - left < own {
                return Some((at, rest - left));
            } else {
                rest -= left + own;
                at = node.right?;
            }
        }
    }

    /// The number of visible units before this span.
    pub fn visible_before(&self, id: SpanId) -> u32 {
        let mut before = self.visible_below(self.node(id).left);
        let mut child = id;
        while let Some(parent) = self.node(child).parent {
            let node = self.node(parent);
            if node.right == Some(child) {
                before += self.visible_below(node.left) + node.span.visible();
            }
            child = parent;
        }
        before
    }

    /// Inserts a span after another one, or at the beginning.
    pub fn insert_after(&mut self, previous: Option<SpanId>, span: Span) -> SpanId {
        let id = self.allocate(span);
        let parent = match (previous, self.root) {
            (_, None) => {
                self.root = Some(id);
                return id;
            }
            (None, Some(root)) => self.leftmost(root),
            (Some(previous), _) => match self.node(previous).right {
                Some(right) => self.leftmost(right),
                None => previous,
            },
        };
        match previous == Some(parent) {
            true => self.node_mut(parent).right = Some(id),
            false => self.node_mut(parent).left = Some(id),
        }
        self.node_mut(id).parent = Some(parent);
        self.add_upwards(Some(parent), 0, span.visible());
        while let Some(parent) = self.node(id).parent {
            if self.node(parent).priority >= self.node(id).priority {
                break;
            }
            self.rotate_up(id, parent);
        }
        id
    }

    /// Removes a span.
    pub fn remove(&mut self, id: SpanId) {
        loop {
            let node = self.node(id);
            let child = match (node.left, node.right) {
                (Some(left), Some(right)) => {
                    let left_is_higher = self.node(left).priority > self.node(right).priority;
                    if left_is_higher { left } else { right }
                }
                (Some(child), None) | (None, Some(child)) => child,
                (None, None) => break,
            };
            self.rotate_up(child, id);
        }
        let parent = self.node(id).parent;
        self.add_upwards(parent, self.node(id).span.visible(), 0);
        self.replace_child(parent, id, None);
        self.free.push(id);
    }

    fn node(&self, id: SpanId) -> &Node {
        &self.nodes[id.place()]
    }

    fn node_mut(&mut self, id: SpanId) -> &mut Node {
        &mut self.nodes[id.place()]
    }

    fn visible_below(&self, id: Option<SpanId>) -> u32 {
        id.map_or(0, |id| self.node(id).visible)
    }

    fn leftmost(&self, mut at: SpanId) -> SpanId {
        while let Some(left) = self.node(at).left {
            at = left;
        }
        at
    }

    /// The nearest ancestor for which the step up from its child fits.
    fn ancestor(&self, mut child: SpanId, fits: impl Fn(&Node, SpanId) -> bool) -> Option<SpanId> {
        loop {
            let parent = self.node(child).parent?;
            if fits(self.node(parent), child) {
                return Some(parent);
            }
            child = parent;
        }
    }

    fn allocate(&mut self, span: Span) -> SpanId {
        // xorshift32 (Marsaglia, 2003).
        let mut random = self.random;
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        self.random = random;
        let node = Node {
            visible: span.visible(),
            span: PackedSpan::new(&span),
            parent: None,
            left: None,
            right: None,
            priority: random,
        };
        match self.free.pop() {
            Some(id) => {
                *self.node_mut(id) = node;
                id
            }
            None => {
                if self.nodes.len() == self.nodes.capacity() {
                    // A vector doubles its room, half of which would be unused for long.
                    self.nodes.reserve_exact(self.nodes.len() / 8 + 4);
                }
                self.nodes.push(node);
                SpanId::at(self.nodes.len() - 1)
            }
        }
    }

    /// Replaces `before` visible units by `after` in the counts of a node and its ancestors.
    fn add_upwards(&mut self, from: Option<SpanId>, before: u32, after: u32) {
        let mut at = from;
        while let Some(id) = at {
            let node = self.node_mut(id);
            node.visible = node.visible - before + after;
            at = node.parent;
        }
    }

    fn replace_child(&mut self, parent: Option<SpanId>, old: SpanId, new: Option<SpanId>) {
        match parent {
            None => self.root = new,
            Some(parent) => {
                let node = self.node_mut(parent);
                match node.left == Some(old) {
                    true => node.left = new,
                    false => node.right = new,
                }
            }
        }
    }

    /// Makes a child the parent of its parent. The order stays the same.
    fn rotate_up(&mut self, child: SpanId, parent: SpanId) {
        let is_left = self.node(parent).left == Some(child);
        let grandparent = self.node(parent).parent;
        // The part between the two changes sides.
        let between = if is_left { self.node(child).right } else { self.node(child).left };
        match is_left {
            true => {
                self.node_mut(parent).left = between;
                self.node_mut(child).right = Some(parent);
            }
            false => {
                self.node_mut(parent).right = between;
                self.node_mut(child).left = Some(parent);
            }
        }
        if let Some(between) = between {
            self.node_mut(between).parent = Some(parent);
        }
        self.node_mut(parent).parent = Some(child);
        self.node_mut(child).parent = grandparent;
        self.replace_child(grandparent, parent, Some(child));
        self.node_mut(child).visible = self.node(parent).visible;
        let node = self.node(parent);
        let visible =
            self.visible_below(node.left) + self.visible_below(node.right) + node.span.visible();
        self.node_mut(parent).visible = visible;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::guard::yrs_update::Content;

    fn span(number: u32, visible: bool) -> Span {
        let len = number % 4 + 1;
        Span {
            client: u64::from(number),
            clock: 0,
            len,
            origin: None,
            right_origin: None,
            content: Content::Text,
            deleted: !visible,
        }
    }

    /// The tree holds the same spans in the same order as the list, and counts them in the same
    /// way.
    fn check(tree: &SpanTree, list: &[(SpanId, Span)]) {
        let mut at = tree.first();
        let mut before = 0;
        for (number, (id, span)) in list.iter().enumerate() {
            assert_eq!((at, tree.get(*id)), (Some(*id), *span));
            assert_eq!(tree.visible_before(*id), before);
            for unit in 0..span.visible() {
                assert_eq!(tree.find_visible(before + unit), Some((*id, unit)));
            }
            before += span.visible();
            assert_eq!(tree.previous(*id), number.checked_sub(1).map(|before| list[before].0));
            at = tree.next(*id);
        }
        assert_eq!((at, tree.last()), (None, list.last().map(|(id, _)| *id)));
        assert_eq!((tree.visible(), tree.len()), (before, list.len()));
        assert_eq!(tree.find_visible(before), None);
    }

    proptest! {
        #[test]
        fn a_tree_is_like_a_list(
            steps in prop::collection::vec((0u8..4, any::<prop::sample::Index>()), 0..60),
        ) {
            let mut tree = SpanTree::default();
            let mut list: Vec<(SpanId, Span)> = Vec::new();
            for (number, (kind, index)) in steps.into_iter().enumerate() {
                match kind {
                    2 if !list.is_empty() => tree.remove(list.remove(index.index(list.len())).0),
                    3 if !list.is_empty() => {
                        let at = index.index(list.len());
                        let (id, span) = &mut list[at];
                        span.deleted = !span.deleted;
                        tree.set_deleted(*id, span.deleted);
                    }
                    _ => {
                        let at = index.index(list.len() + 1);
                        let span = span(number as u32, kind != 1);
                        let previous = at.checked_sub(1).map(|before| list[before].0);
                        list.insert(at, (tree.insert_after(previous, span), span));
                    }
                }
                check(&tree, &list);
            }
        }
    }

    #[test]
    fn a_tree_stays_balanced() {
        let mut tree = SpanTree::default();
        let mut last = None;
        for number in 0..10_000 {
            last = Some(tree.insert_after(last, span(number, true)));
        }
        let depth = |mut at: SpanId| {
            let mut depth = 0;
            while let Some(parent) = tree.node(at).parent {
                (at, depth) = (parent, depth + 1);
            }
            depth
        };
        let deepest = (0..10_000).map(|number| depth(SpanId::at(number))).max();
        assert!(deepest < Some(60), "{deepest:?}");
    }
}
