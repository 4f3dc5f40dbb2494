//! A tree whose nodes move.
//!
//! A node is a record with one register `@place` that holds its parent and its position among the
//! siblings, so that a move is one write: concurrent moves of one node compete, one wins whole. Two
//! moves of different nodes may still close a cycle. The rule, a function of the registers alone
//! and so the same on every replica: **in each cycle the node with the smallest id stands at the
//! root, until the cycle is gone**; and a node whose parent does not exist (another deleted it)
//! stands at the root.

mod edit;
mod reconcile;
mod rule;

use std::any::Any;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use crate::document::key;
use crate::document::value::Value;

use super::position::{self, COPY, Position, Stamp};
use super::{ANY, At, ElementId, Node, Place, Reader, Refresh, Shape, State, Writer};

/// The register of a node's parent and position: `<parent's id, or nothing>:<position in
/// hexadecimal>`.
pub(super) const PLACE: &str = "@place";

/// An update that moves many nodes of a deep tree would climb it for each. After this many steps a
/// node of the tree, the tree is read anew, which settles all nodes in one pass: what an update
/// costs is then in proportion to it and the tree.
const STEPS_MAX: usize = 4;

struct TreeNode<T> {
    /// The parent and the position that the register says.
    parent: Option<ElementId>,
    position: Position,
    /// The parent that the rule gives.
    shown: Option<ElementId>,
    value: Arc<T>,
}

impl<T> Clone for TreeNode<T> {
    fn clone(&self) -> Self {
        Self {
            parent: self.parent,
            position: self.position.clone(),
            shown: self.shown,
            value: self.value.clone(),
        }
    }
}

/// Records or values in a tree. Concurrent moves never make a cycle and never lose a node (see the
/// module's rule: a node of a cycle, or one whose parent another deleted, stands at the root).
///
/// Reading and editing a node and appending one cost O(log n). A place in the middle is found by
/// counting: inserting at an index costs O(index + log n), a move O(index + depth · log n), as the
/// nodes above are asked whether it would close a cycle. (The order of siblings is a set, which
/// versions share and which says a node's neighbours, but not which is the tenth.)
pub struct Tree<T> {
    nodes: imbl::OrdMap<ElementId, TreeNode<T>>,
    /// Children in order, by the parent that is shown.
    children: imbl::OrdSet<(Option<ElementId>, Position, ElementId)>,
    /// Children by the parent that the register says, there or not.
    claims: imbl::OrdSet<(Option<ElementId>, ElementId)>,
    detached: u64,
}

impl<T: Clone> Tree<T> {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self {
            nodes: imbl::OrdMap::new(),
            children: imbl::OrdSet::new(),
            claims: imbl::OrdSet::new(),
            detached: 0,
        }
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A node's value. O(log n).
    #[must_use]
    pub fn get(&self, id: ElementId) -> Option<&T> {
        self.nodes.get(&id).map(|node| node.value.as_ref())
    }

    /// A node's parent: `None` for a root, and for what is not in the tree. O(log n).
    #[must_use]
    pub fn parent(&self, id: ElementId) -> Option<ElementId> {
        self.nodes.get(&id)?.shown
    }

    /// The children of a node, or the roots, in order.
    pub fn children(&self, parent: Option<ElementId>) -> impl Iterator<Item = ElementId> {
        let start = (parent, Position::from([]), ElementId::LOWEST);
        self.children
            .range(start..)
            .take_while(move |(of, _, _)| *of == parent)
            .map(|(_, _, id)| *id)
    }

    /// All nodes from the roots down, parents first, each with its depth.
    #[must_use]
    pub fn walk(&self) -> Vec<(usize, ElementId, &T)> {
        let mut found = Vec::with_capacity(self.len());
        let mut waiting: Vec<(usize, ElementId)> = self.children(None).map(|id| (0, id)).collect();
        waiting.reverse();
        while let Some((depth, id)) = waiting.pop() {
            found.extend(self.get(id).map(|value| (depth, id, value)));
            let below: Vec<ElementId> = self.children(Some(id)).collect();
            waiting.extend(below.into_iter().rev().map(|child| (depth + 1, child)));
        }
        found
    }

    /// Appends a node to this copy, to build a value; its id holds within this copy only. A parent
    /// that is not there is the root. O(log n).
    pub fn push(&mut self, parent: Option<ElementId>, value: T) -> ElementId {
        let id = ElementId::detached(&mut self.detached, |id| self.nodes.contains_key(&id));
        let parent = parent.filter(|parent| self.nodes.contains_key(parent));
        let stamp = Stamp { replica: COPY, number: self.detached };
        self.put(id, parent, self.position_after_all(parent, stamp), Arc::new(value));
        id
    }

    /// As [`Tree::push`], under an id or a new one. `None` where the id is taken.
    #[cfg(feature = "serde")]
    pub(crate) fn push_as(
        &mut self,
        id: Option<ElementId>,
        parent: Option<ElementId>,
        value: T,
    ) -> Option<ElementId> {
        let Some(id) = id else { return Some(self.push(parent, value)) };
        if self.nodes.contains_key(&id) {
            return None;
        }
        self.detached += 1;
        let stamp = Stamp { replica: COPY, number: self.detached };
        self.put(id, parent, self.position_after_all(parent, stamp), Arc::new(value));
        Some(id)
    }

    /// The last child of a parent, or the last root. O(log n).
    fn last_child(&self, parent: Option<ElementId>) -> Option<ElementId> {
        let end = match parent.map_or(Some(ElementId::LOWEST), ElementId::next) {
            Some(next) => Bound::Excluded((Some(next), Position::from([]), ElementId::LOWEST)),
            None => Bound::Unbounded,
        };
        let (of, _, id) = self.children.range((Bound::Unbounded, end)).next_back()?;
        (*of == parent).then_some(*id)
    }

    /// A position for a copy's node behind its siblings. Where somebody took the last there is, the
    /// two share it: names of copies come last.
    fn position_after_all(&self, parent: Option<ElementId>, stamp: Stamp) -> Position {
        let last =
            self.last_child(parent).and_then(|id| self.nodes.get(&id)).map(|node| &node.position);
        match position::between(last.map(AsRef::as_ref), None, stamp) {
            Some(position) => position.as_slice().into(),
            None => last.cloned().unwrap_or_else(|| Position::from([])),
        }
    }
}

impl<T> Clone for Tree<T> {
    fn clone(&self) -> Self {
        Self {
            nodes: self.nodes.clone(),
            children: self.children.clone(),
            claims: self.claims.clone(),
            detached: self.detached,
        }
    }
}

impl<T: Clone> Default for Tree<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Trees are equal when they have the same shape and values, in order; ids do not count.
impl<T: PartialEq + Clone> PartialEq for Tree<T> {
    fn eq(&self, other: &Self) -> bool {
        let shape =
            |tree: &Self| tree.walk().into_iter().map(|(depth, _, _)| depth).collect::<Vec<_>>();
        self.len() == other.len()
            && shape(self) == shape(other)
            && self.walk().iter().zip(other.walk()).all(|(a, b)| a.2 == b.2)
    }
}

impl<T: fmt::Debug + Clone> fmt::Debug for Tree<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.walk().into_iter().map(|(depth, _, value)| (depth, value)))
            .finish()
    }
}

/// Parent and position of a place register.
pub(super) fn parse_place(value: &Value) -> Option<(Option<ElementId>, Position)> {
    let Value::Str(text) = value else { return None };
    let (parent, digits) = text.split_once(':')?;
    let parent = if parent.is_empty() { None } else { Some(parent.parse().ok()?) };
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = digits.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(high)? * 16 + digit(low)?),
        _ => None,
    });
    Some((parent, pairs.collect::<Option<Vec<u8>>>()?.as_slice().into()))
}

pub(super) fn place_value(parent: Option<ElementId>, position: &[u8]) -> Value {
    let parent = parent.map(|id| id.to_string()).unwrap_or_default();
    let digits: String = position.iter().map(|byte| format!("{byte:02x}")).collect();
    Value::str(format!("{parent}:{digits}"))
}

const EXPECTED: &str = "a place in a tree (parent and position)";

impl<T: State> State for Tree<T> {
    type Node<P: Place> = Node<P, Self>;

    fn node<P: Place>(place: P) -> Node<P, Self> {
        Node::new(place)
    }

    fn initial() -> Self {
        Self::new()
    }

    fn shape(shape: &mut Shape) {
        shape.kind("tree");
        T::shape(shape);
    }

    fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let mut tree = Self::new();
        reader.each_child(|segment, reader| {
            let Ok(id) = segment.parse::<ElementId>() else { return };
            let Some(value) = reader.slot::<T>() else { return };
            let (parent, position) = place_below(reader, EXPECTED);
            tree.add(id, parent, position, Arc::new(value));
        });
        tree.settle_all();
        Some(tree)
    }

    fn refresh(&mut self, at: At<'_>, cx: &mut Refresh<'_>) {
        if cx.steps() > STEPS_MAX * self.len() {
            *self = cx.read_anew(at).unwrap_or_default();
            return;
        }
        let Some((segment, at)) = at.next() else { return };
        let Ok(id) = segment.parse::<ElementId>() else { return };
        if at.is_end() {
            let steps = match cx.slot::<T>(at) {
                Some(value) => {
                    let (parent, position) = read_place(cx, &key::join(at.here(), PLACE), EXPECTED);
                    self.put(id, parent, position, Arc::new(value))
                }
                None => self.remove_node(id),
            };
            return cx.add_steps(steps);
        }
        match at.next() {
            Some((PLACE, rest)) if rest.is_end() => {
                if let Some(value) = self.nodes.get(&id).map(|node| node.value.clone()) {
                    let (parent, position) = read_place(cx, rest.here(), EXPECTED);
                    let steps = self.put(id, parent, position, value);
                    cx.add_steps(steps);
                }
            }
            _ => {
                if let Some(node) = self.nodes.get_mut(&id) {
                    Arc::make_mut(&mut node.value).refresh(at, cx);
                }
            }
        }
    }

    fn locate(&self, at: At<'_>) -> Option<&dyn Any> {
        match at.next() {
            None => Some(self),
            Some((ANY, _)) => {
                at.offer(self.nodes.keys().map(|id| id.segment()));
                None
            }
            Some((segment, rest)) => self.get(segment.parse().ok()?)?.locate(rest),
        }
    }

    fn write(&self, _unless: Option<&Self>, writer: &mut Writer<'_, '_>) {
        Self::new().reconcile(self, writer);
    }

    fn reconcile(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        self.write_least(new, writer);
    }
}

/// The place that a register below a slot says; where it says none, the first one of the root.
pub(super) fn place_below(
    reader: &mut Reader<'_, '_>,
    expected: &str,
) -> (Option<ElementId>, Position) {
    let place = reader.within(PLACE, |reader| {
        let own = reader.own()?;
        let place = parse_place(own);
        if place.is_none() {
            reader.violation(expected, own);
        }
        place
    });
    place.unwrap_or((None, Position::from([])))
}

/// As [`place_below`], of one register that was touched.
pub(super) fn read_place(
    cx: &mut Refresh<'_>,
    path: &str,
    expected: &str,
) -> (Option<ElementId>, Position) {
    cx.forget_violations(path);
    let none = (None, Position::from([]));
    let Some(value) = cx.register(path) else { return none };
    parse_place(&value).unwrap_or_else(|| {
        cx.violation(path, expected, &value);
        none
    })
}

impl<P: Place, T: State> Node<P, Tree<T>> {
    /// The place of one node's value.
    #[must_use]
    pub fn get(&self, id: ElementId) -> T::Node<P> {
        T::node(self.place.child(&id.segment()))
    }
}

impl<S, T: State> Node<super::Path<S>, Tree<T>> {
    /// The place of every node's value: for watching.
    #[must_use]
    pub fn any(&self) -> T::Node<super::Path<S>> {
        T::node(self.place.child(ANY))
    }
}
