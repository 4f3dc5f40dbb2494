//! A tree whose nodes move.
//!
//! A node is a record with one register, `@place`, which holds the node's parent and its position
//! among the siblings. So a move is one write: concurrent moves of one node conflict, and one move
//! wins as a whole. Two moves of different nodes may still form a cycle. A rule resolves cycles. It
//! depends only on the registers, so it has the same result on every replica:
//! - **In each cycle, the node with the smallest id stands at the root, until the cycle is gone.**
//! - A node whose parent does not exist, because another replica deleted it, stands at the root.

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
use super::schema;
use super::{ANY, At, ElementId, Node, Place, Reader, Refresh, Shape, State, Writer};

/// The register of a node's parent and position:
/// `<parent's id, or nothing>:<position in hexadecimal>`.
pub(super) const PLACE: &str = "@place";

/// The maximal number of steps up the tree, per node of the tree, before the tree is read again as
/// a whole. An update that moves many nodes of a deep tree would otherwise climb the tree for each
/// node. Reading settles all nodes in one pass, so the cost of an update stays proportional to the
/// size of the update and of the tree.
const STEPS_MAX: usize = 4;

struct TreeNode<T> {
    /// The parent and the position that the register holds.
    parent: Option<ElementId>,
    position: Position,
    /// The parent according to the rule.
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

/// Records or values in a tree. Concurrent moves never form a cycle and never lose a node. A node
/// of each cycle stands at the root, and so does a node whose parent another replica deleted (see
/// the module's rule).
///
/// - Reading, editing and appending a node cost O(log n).
/// - Inserting at an index costs O(index + log n), because the index is found by counting. (The
///   order of siblings is a set that versions share. The set knows a node's neighbours, but not the
///   node at an index.)
/// - Moving a node costs O(index + depth · log n), because the ancestors are checked for a cycle.
pub struct Tree<T> {
    nodes: imbl::OrdMap<ElementId, TreeNode<T>>,
    /// Children in order, by their parent according to the rule.
    children: imbl::OrdSet<(Option<ElementId>, Position, ElementId)>,
    /// Children by the parent in their registers, whether or not that parent exists.
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

    /// The number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether the tree is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A node's value. O(log n).
    #[must_use]
    pub fn get(&self, id: ElementId) -> Option<&T> {
        self.nodes.get(&id).map(|node| node.value.as_ref())
    }

    /// A node's parent. `None` for a root and for a node that is not in the tree. O(log n).
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

    /// Appends a node to this copy, to build a value. The node's id is valid only within this copy.
    /// If the parent does not exist, the node becomes a root. O(log n).
    pub fn push(&mut self, parent: Option<ElementId>, value: T) -> ElementId {
        let id = ElementId::detached(&mut self.detached, |id| self.nodes.contains_key(&id));
        let parent = parent.filter(|parent| self.nodes.contains_key(parent));
        let stamp = Stamp { replica: COPY, number: self.detached };
        self.put(id, parent, self.position_after_all(parent, stamp), Arc::new(value));
        id
    }

    /// Like [`Tree::push`], with the given id or with a new one. `None` if the id is taken.
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

    /// A position for a node of a copy, after its siblings. If the highest possible position is
    /// taken, both nodes have that position; the new node still comes last, because ids of copies
    /// are the highest.
    fn position_after_all(&self, parent: Option<ElementId>, stamp: Stamp) -> Position {
        let last =
            self.last_child(parent).and_then(|id| self.nodes.get(&id)).map(|node| &node.position);
        match position::between(last.map(AsRef::as_ref), None, stamp) {
            Some(position) => position.as_slice().into(),
            None => last.cloned().unwrap_or_else(|| Position::from([])),
        }
    }
}

#[cfg(feature = "serde")]
impl<T> Tree<T> {
    /// The same tree with other values. `None` if one of them cannot be made; `map` is called for
    /// all of them.
    pub(crate) fn try_map<U>(&self, map: &mut impl FnMut(&T) -> Option<U>) -> Option<Tree<U>> {
        let nodes = self.nodes.iter().map(|(id, node)| {
            let TreeNode { parent, position, shown, value } = node;
            let value = Arc::new(map(value)?);
            Some((
                *id,
                TreeNode { parent: *parent, position: position.clone(), shown: *shown, value },
            ))
        });
        let nodes: Vec<_> = nodes.collect();
        Some(Tree {
            nodes: nodes.into_iter().collect::<Option<_>>()?,
            children: self.children.clone(),
            claims: self.claims.clone(),
            detached: self.detached,
        })
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

/// Two trees are equal if they have the same shape and values, in order. Ids do not count.
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

/// Parses the parent and the position of a place register.
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

    fn describe(describe: &mut schema::Describe) -> schema::Type {
        schema::Type::Tree(Box::new(T::describe(describe)))
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
            None => at.is_end().then_some(self as &dyn Any),
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

/// The place in the register below a slot. If the register holds no place, the first place at the
/// root.
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

/// Like [`place_below`], for one touched register.
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
    /// The place of every node's value, for watching.
    #[must_use]
    pub fn any(&self) -> T::Node<super::Path<S>> {
        T::node(self.place.child(ANY))
    }
}
