//! A tree whose nodes move.
//!
//! A node is a record with one register `@place` that holds its parent and its position among the siblings, so that a move is
//! one write: concurrent moves of one node compete, one wins whole. Two moves of different nodes may still close a cycle.
//! The rule, a function of the registers alone and so the same on every replica: **in each cycle the node with the smallest id
//! stands at the root, until the cycle is gone**; and a node whose parent does not exist (another deleted it) stands at the root.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::document::key;
use crate::document::value::Value;

use super::position::{self, Position};
use super::{At, ChangeError, Edit, ElementId, Node, Place, Reader, Refresh, State, Writer};

/// The register of a node's parent and position: `<parent's id, or nothing>:<position in hexadecimal>`.
const PLACE: &str = "@place";

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
        Self { parent: self.parent, position: self.position.clone(), shown: self.shown, value: self.value.clone() }
    }
}

/// Records or values in a tree. Concurrent moves never make a cycle and never lose a node (see the module's rule: a node of a
/// cycle, or one whose parent another deleted, stands at the root).
///
/// Reading and editing a node cost O(log n), a move O(depth · log n).
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
        Self { nodes: imbl::OrdMap::new(), children: imbl::OrdSet::new(), claims: imbl::OrdSet::new(), detached: 0 }
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
        self.children.range(start..).take_while(move |(of, _, _)| *of == parent).map(|(_, _, id)| *id)
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

    /// Appends a node to this copy, to build a value; its id holds within this copy only. A parent that is not there is the root.
    pub fn push(&mut self, parent: Option<ElementId>, value: T) -> ElementId {
        let id = ElementId::detached(self.detached);
        self.detached += 1;
        let parent = parent.filter(|parent| self.nodes.contains_key(parent));
        // Detached counters grow, so equal positions keep the order of appending.
        self.put(id, parent, Position::from([0xff; 16]), Arc::new(value));
        id
    }

    fn put(&mut self, id: ElementId, parent: Option<ElementId>, position: Position, value: Arc<T>) {
        let mut affected = self.take(id).1;
        self.claims.insert((parent, id));
        self.children.insert((None, position.clone(), id));
        self.nodes.insert(id, TreeNode { parent, position, shown: None, value });
        affected.extend(self.cycle(id));
        affected.push(id);
        affected.extend(self.claimants(id));
        self.settle(&affected);
    }

    /// Takes a node out: its value, and the nodes whose place may change by it.
    fn take(&mut self, id: ElementId) -> (Option<Arc<T>>, Vec<ElementId>) {
        let mut affected = self.cycle(id);
        let Some(node) = self.nodes.remove(&id) else { return (None, affected) };
        self.claims.remove(&(node.parent, id));
        self.children.remove(&(node.shown, node.position, id));
        affected.extend(self.claimants(id));
        (Some(node.value), affected)
    }

    fn remove_node(&mut self, id: ElementId) {
        let affected = self.take(id).1;
        self.settle(&affected);
    }

    fn claimants(&self, parent: ElementId) -> Vec<ElementId> {
        let start = (Some(parent), ElementId::LOWEST);
        self.claims.range(start..).take_while(|(of, _)| *of == Some(parent)).map(|(_, id)| *id).collect()
    }

    /// The cycle of parents that a node is on; empty where it is on none. O(depth · log n).
    fn cycle(&self, id: ElementId) -> Vec<ElementId> {
        let mut members = Vec::new();
        let mut at = id;
        // A walk that runs into a cycle elsewhere never comes back: it is stopped after as many steps as there are nodes.
        for _ in 0..self.nodes.len() {
            members.push(at);
            match self.nodes.get(&at).and_then(|node| node.parent) {
                Some(parent) if parent == id => return members,
                Some(parent) => at = parent,
                None => break,
            }
        }
        Vec::new()
    }

    /// Gives nodes the parents of the rule.
    fn settle(&mut self, affected: &[ElementId]) {
        for id in affected {
            let Some(node) = self.nodes.get(id) else { continue };
            let exists = node.parent.filter(|parent| self.nodes.contains_key(parent));
            let shown = exists.filter(|_| self.cycle(*id).iter().min() != Some(id));
            if shown == node.shown {
                continue;
            }
            let (old, position) = (node.shown, node.position.clone());
            self.children.remove(&(old, position.clone(), *id));
            self.children.insert((shown, position, *id));
            if let Some(node) = self.nodes.get_mut(id) {
                node.shown = shown;
            }
        }
    }

    /// Whether `id` is `below` or one of its ancestors.
    fn is_ancestor(&self, id: ElementId, below: ElementId) -> bool {
        let mut at = Some(below);
        while let Some(node) = at {
            if node == id {
                return true;
            }
            at = self.parent(node);
        }
        false
    }
}

impl<T> Clone for Tree<T> {
    fn clone(&self) -> Self {
        Self { nodes: self.nodes.clone(), children: self.children.clone(), claims: self.claims.clone(), detached: self.detached }
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
        let shape = |tree: &Self| tree.walk().into_iter().map(|(depth, _, _)| depth).collect::<Vec<_>>();
        self.len() == other.len() && shape(self) == shape(other) && self.walk().iter().zip(other.walk()).all(|(a, b)| a.2 == b.2)
    }
}

impl<T: fmt::Debug + Clone> fmt::Debug for Tree<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.walk().into_iter().map(|(depth, _, value)| (depth, value))).finish()
    }
}

/// Parent and position of a place register.
fn parse_place(value: &Value) -> Option<(Option<ElementId>, Position)> {
    let Value::Str(text) = value else { return None };
    let (parent, digits) = text.split_once(':')?;
    let parent = if parent.is_empty() { None } else { Some(parent.parse().ok()?) };
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = digits.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(high)? * 16 + digit(low)?),
        _ => None,
    });
    Some((parent, pairs.collect::<Option<Vec<u8>>>()?.as_slice().into()))
}

fn place_value(parent: Option<ElementId>, position: &[u8]) -> Value {
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

    fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let mut tree = Self::new();
        reader.each_child(|segment, reader| {
            let (Ok(id), Some(value)) = (segment.parse::<ElementId>(), reader.slot::<T>()) else { return };
            let (parent, position) = reader
                .within(PLACE, |reader| {
                    let own = reader.own()?;
                    let place = parse_place(own);
                    if place.is_none() {
                        reader.violation(EXPECTED, own);
                    }
                    place
                })
                .unwrap_or((None, Position::from([])));
            tree.claims.insert((parent, id));
            tree.children.insert((None, position.clone(), id));
            tree.nodes.insert(id, TreeNode { parent, position, shown: None, value: Arc::new(value) });
        });
        let all: Vec<ElementId> = tree.nodes.keys().copied().collect();
        tree.settle(&all);
        Some(tree)
    }

    fn refresh(&mut self, at: At<'_>, cx: &mut Refresh<'_>) {
        let Some((segment, at)) = at.next() else { return };
        let Ok(id) = segment.parse::<ElementId>() else { return };
        if at.is_end() {
            return match cx.slot::<T>(at) {
                Some(value) => {
                    let (parent, position) = read_place(cx, &key::join(at.here(), PLACE));
                    self.put(id, parent, position, Arc::new(value));
                }
                None => self.remove_node(id),
            };
        }
        match at.next() {
            Some((PLACE, rest)) if rest.is_end() => {
                if let Some(value) = self.nodes.get(&id).map(|node| node.value.clone()) {
                    let (parent, position) = read_place(cx, rest.here());
                    self.put(id, parent, position, value);
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
            Some((segment, rest)) => self.get(segment.parse().ok()?)?.locate(rest),
        }
    }

    fn write(&self, _unless: Option<&Self>, writer: &mut Writer<'_, '_>) {
        Self::new().reconcile(self, writer);
    }

    fn reconcile(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        for id in self.nodes.keys().filter(|id| !new.nodes.contains_key(*id)) {
            writer.at(&id.segment(), |writer| writer.clear());
        }
        // Parents come before their children, so that a new parent's id is known.
        let mut ids: std::collections::BTreeMap<ElementId, ElementId> = std::collections::BTreeMap::new();
        let mut last: std::collections::BTreeMap<Option<ElementId>, Position> = std::collections::BTreeMap::new();
        for (_, id, value) in new.walk() {
            let Some(node) = new.nodes.get(&id) else { continue };
            let parent = node.shown.and_then(|parent| ids.get(&parent).copied());
            let old = self.nodes.get(&id);
            let written = old.map_or_else(|| writer.new_element(), |_| id);
            ids.insert(id, written);
            let stays = old.filter(|old| old.shown == parent && last.get(&parent).is_none_or(|last| **last < *old.position));
            let position = match stays {
                Some(old) => old.position.clone(),
                None => position::between(last.get(&parent).map(AsRef::as_ref), None, writer.core.replica())
                    .unwrap_or_default()
                    .as_slice()
                    .into(),
            };
            writer.at(&written.segment(), |writer| {
                match old {
                    Some(old) => old.value.reconcile(value, writer),
                    None => writer.write_slot(value),
                }
                if stays.is_none() {
                    writer.at(PLACE, |writer| writer.put(place_value(parent, &position)));
                }
            });
            last.insert(parent, position);
        }
    }
}

fn read_place(cx: &mut Refresh<'_>, path: &str) -> (Option<ElementId>, Position) {
    cx.forget_violations(path);
    let none = (None, Position::from([]));
    let Some(value) = cx.register(path) else { return none };
    parse_place(&value).unwrap_or_else(|| {
        cx.violation(path, EXPECTED, &value);
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
        T::node(self.place.child(super::node::ANY))
    }
}

impl<T: State> Node<Edit<'_>, Tree<T>> {
    /// Appends a node under a parent, or as a root, and says its id.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] where the parent or the tree is gone, [`ChangeError::Invalid`] where the value cannot be written.
    pub fn push(&self, parent: Option<ElementId>, value: T) -> Result<ElementId, ChangeError> {
        let index = self.place.look(|tree: &Tree<T>| tree.children(parent).count())?;
        self.insert(parent, index, value)
    }

    /// Inserts a node under a parent before its child at `index`, and says its id.
    ///
    /// # Errors
    /// As `push`, and [`ChangeError::OutOfRange`] beyond the last child.
    pub fn insert(&self, parent: Option<ElementId>, index: usize, value: T) -> Result<ElementId, ChangeError> {
        let tree = self.tree_with(parent)?;
        let siblings: Vec<ElementId> = tree.children(parent).collect();
        self.check(index, siblings.len())?;
        self.place.write(|writer| {
            let id = writer.new_element();
            tree.put_at(parent, &siblings, index, id, writer);
            writer.at(&id.segment(), |writer| writer.write_slot(&value));
            id
        })
    }

    /// Moves a node, with all below it, to stand at `index` among the children of a parent as they are afterwards.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] where node, parent or tree is gone, [`ChangeError::OutOfRange`] beyond the last child,
    /// [`ChangeError::Invalid`] where the parent is the node itself or lies below it.
    pub fn move_to(&self, id: ElementId, parent: Option<ElementId>, index: usize) -> Result<(), ChangeError> {
        let tree = self.tree_with(parent)?;
        self.tree_with(Some(id))?;
        if parent.is_some_and(|parent| tree.is_ancestor(id, parent)) {
            let reason = "a node cannot move below itself".to_owned();
            return Err(ChangeError::Invalid { path: key::join(self.place.path(), &id.segment()), reason });
        }
        let siblings: Vec<ElementId> = tree.children(parent).filter(|sibling| *sibling != id).collect();
        self.check(index, siblings.len())?;
        self.place.write(|writer| tree.put_at(parent, &siblings, index, id, writer))
    }

    /// Removes a node and all below it. Whether it was there.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] where the tree is gone.
    pub fn remove(&self, id: ElementId) -> Result<bool, ChangeError> {
        let tree = self.place.look(Tree::<T>::clone)?;
        if tree.get(id).is_none() {
            return Ok(false);
        }
        let mut gone = vec![id];
        let mut next = 0;
        while let Some(node) = gone.get(next).copied() {
            gone.extend(tree.children(Some(node)));
            next += 1;
        }
        self.place.write(|writer| gone.iter().for_each(|id| writer.at(&id.segment(), |writer| writer.clear())))?;
        Ok(true)
    }

    fn tree_with(&self, node: Option<ElementId>) -> Result<Tree<T>, ChangeError> {
        let tree = self.place.look(Tree::<T>::clone)?;
        match node {
            Some(id) if tree.get(id).is_none() => Err(ChangeError::NotFound { path: key::join(self.place.path(), &id.segment()) }),
            _ => Ok(tree),
        }
    }

    fn check(&self, index: usize, len: usize) -> Result<(), ChangeError> {
        if index <= len {
            return Ok(());
        }
        Err(ChangeError::OutOfRange { path: self.place.path().to_owned(), start: index, end: index, len })
    }
}

impl<T: State> Tree<T> {
    /// Writes the place of `id` among the siblings, which do not hold it.
    fn put_at(&self, parent: Option<ElementId>, siblings: &[ElementId], index: usize, id: ElementId, writer: &mut Writer<'_, '_>) {
        let replica = writer.core.replica();
        let at = |index: Option<usize>| Some(self.nodes.get(siblings.get(index?)?)?.position.as_ref());
        let mut put = |id: ElementId, position: &[u8]| {
            writer.at(&key::join(&id.segment(), PLACE), |writer| writer.put(place_value(parent, position)));
        };
        if let Some(position) = position::between(at(index.checked_sub(1)), at(Some(index)), replica) {
            return put(id, &position);
        }
        // Equal neighbours: two replicas chose one position. All siblings are placed anew.
        let mut ids = siblings.to_vec();
        ids.insert(index.min(ids.len()), id);
        let mut last: Option<Vec<u8>> = None;
        for id in ids {
            let Some(position) = position::between(last.as_deref(), None, replica) else { return };
            put(id, &position);
            last = Some(position);
        }
    }
}
