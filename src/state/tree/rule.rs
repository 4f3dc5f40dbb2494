//! The rule that makes a tree of any registers: it decides the parents when nodes are added, moved
//! and removed.
//!
//! Registers may hold anything: parents that do not exist, cycles as long as the document. A change
//! settles the nodes that it may affect, and a reading settles all nodes. Both take one pass.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::ElementId;
use super::super::position::Position;
use super::{Tree, TreeNode};

/// The path up the tree, from one node or from many nodes.
#[derive(Default)]
pub(super) struct Walk {
    /// The nodes that were visited on this path and on earlier paths. They need no second visit.
    seen: HashSet<ElementId>,
    steps: usize,
}

impl Walk {
    /// Forgets all visited nodes, because the tree has changed.
    fn forget(&mut self) {
        self.seen.clear();
    }
}

impl<T: Clone> Tree<T> {
    /// Adds or moves a node to its place. Returns the number of steps up the tree: at most the
    /// depth, and, for a new node that other nodes name as their parent, also the nodes above
    /// those.
    pub(super) fn put(
        &mut self,
        id: ElementId,
        parent: Option<ElementId>,
        position: Position,
        value: Arc<T>,
    ) -> usize {
        let mut walk = Walk::default();
        let mut affected = self.cycle(id, &mut walk);
        match self.nodes.get(&id) {
            Some(old) => {
                self.claims.remove(&(old.parent, id));
                self.children.remove(&(old.shown, old.position.clone(), id));
            }
            // Nodes that name this node as their parent stood at the root until it was added.
            None => affected.extend(self.claimants(id)),
        }
        self.add(id, parent, position, value);
        walk.forget();
        affected.extend(self.cycle(id, &mut walk));
        affected.push(id);
        self.settle(&affected, &mut walk);
        walk.steps
    }

    /// Adds a new node. It stands at the root until it is settled.
    pub(super) fn add(
        &mut self,
        id: ElementId,
        parent: Option<ElementId>,
        position: Position,
        value: Arc<T>,
    ) {
        self.claims.insert((parent, id));
        self.children.insert((None, position.clone(), id));
        self.nodes.insert(id, TreeNode { parent, position, shown: None, value });
    }

    /// Removes a node. Returns the number of steps up the tree.
    pub(super) fn remove_node(&mut self, id: ElementId) -> usize {
        let mut walk = Walk::default();
        let mut affected = self.cycle(id, &mut walk);
        let Some(node) = self.nodes.remove(&id) else { return walk.steps };
        self.claims.remove(&(node.parent, id));
        self.children.remove(&(node.shown, node.position, id));
        affected.extend(self.claimants(id));
        walk.forget();
        self.settle(&affected, &mut walk);
        walk.steps
    }

    /// The nodes whose registers name this parent.
    fn claimants(&self, parent: ElementId) -> impl Iterator<Item = ElementId> {
        let start = (Some(parent), ElementId::LOWEST);
        self.claims.range(start..).take_while(move |(of, _)| *of == Some(parent)).map(|(_, id)| *id)
    }

    /// The cycle of parents that contains the node. Empty if there is none.
    pub(super) fn cycle(&self, id: ElementId, walk: &mut Walk) -> Vec<ElementId> {
        let mut cycle = self.cycle_above(id, walk);
        if !cycle.contains(&id) {
            cycle.clear();
        }
        cycle
    }

    /// The cycle of parents that the path up from a node runs into, unless this walk has already
    /// found it. A walk visits each node once, whatever the number of starting nodes.
    fn cycle_above(&self, start: ElementId, walk: &mut Walk) -> Vec<ElementId> {
        // Most nodes are leaves. A node that is no parent is in no cycle.
        if self.claimants(start).next().is_none() {
            return Vec::new();
        }
        let mut way = Vec::new();
        let mut at = start;
        while walk.seen.insert(at) {
            walk.steps += 1;
            way.push(at);
            match self.nodes.get(&at).and_then(|node| node.parent) {
                Some(parent) => at = parent,
                None => return Vec::new(),
            }
        }
        // If the node is on this path, it closes a cycle. If it is on an earlier path, the nodes
        // above it are already known.
        let from = way.iter().rposition(|node| *node == at).unwrap_or(way.len());
        way.split_off(from)
    }

    /// Sets the parents of nodes according to the rule. O((nodes + their ancestors) · log n).
    fn settle(&mut self, affected: &[ElementId], walk: &mut Walk) {
        walk.forget();
        let heads: HashSet<ElementId> = affected
            .iter()
            .filter_map(|id| self.cycle_above(*id, walk).into_iter().min())
            .collect();
        for id in affected {
            let Some(node) = self.nodes.get(id) else { continue };
            let exists = node.parent.filter(|parent| self.nodes.contains_key(parent));
            let shown = exists.filter(|_| !heads.contains(id));
            if shown == node.shown {
                continue;
            }
            let old = node.shown;
            let position = node.position.clone();
            self.children.remove(&(old, position.clone(), *id));
            self.children.insert((shown, position, *id));
            if let Some(node) = self.nodes.get_mut(id) {
                node.shown = shown;
            }
        }
    }

    /// Settles all nodes in one pass. O(n · log n).
    pub(super) fn settle_all(&mut self) {
        let all: Vec<ElementId> = self.nodes.keys().copied().collect();
        self.settle(&all, &mut Walk::default());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: usize) -> ElementId {
        ElementId::new(crate::document::ReplicaId::from_bits(1), number as u64)
    }

    /// A tree as it is read: each node has the parent of its register.
    fn read(parents: impl IntoIterator<Item = (usize, Option<usize>)>) -> Tree<()> {
        let mut tree = Tree::new();
        parents.into_iter().for_each(|(node, parent)| {
            tree.add(id(node), parent.map(id), Position::from([]), Arc::new(()))
        });
        tree.settle_all();
        tree
    }

    /// The rule applied literally, node by node.
    fn by_the_word(tree: &Tree<()>, node: ElementId) -> Option<ElementId> {
        let claimed = |at: ElementId| {
            tree.nodes.get(&at)?.parent.filter(|parent| tree.nodes.contains_key(parent))
        };
        let above: Vec<ElementId> =
            std::iter::successors(claimed(node), |at| claimed(*at)).take(tree.len()).collect();
        let on_cycle = above.contains(&node);
        claimed(node).filter(|_| !on_cycle || above.iter().min() != Some(&node))
    }

    fn check(tree: &Tree<()>) {
        for node in tree.nodes.keys() {
            assert_eq!(tree.parent(*node), by_the_word(tree, *node), "the parent of {node}");
        }
        assert_eq!(tree.walk().len(), tree.len(), "all nodes hang together");
        assert_eq!((tree.children.len(), tree.claims.len()), (tree.len(), tree.len()));
    }

    /// A node and its new parent, or its removal.
    type Step = (usize, Option<Option<usize>>);

    fn parent() -> impl Strategy<Value = Option<usize>> {
        prop::option::weighted(0.9, 0..12usize)
    }

    proptest! {
        #[test]
        fn a_tree_that_is_read_follows_the_rule(
            parents in prop::collection::btree_map(0..10usize, parent(), 0..10),
        ) {
            check(&read(parents));
        }

        #[test]
        fn a_tree_that_changes_follows_the_rule(
            steps in prop::collection::vec(
                (0..10usize, prop::option::weighted(0.8, parent())),
                0..30,
            ),
        ) {
            let mut tree = Tree::new();
            for (node, step) in steps as Vec<Step> {
                match step {
                    Some(parent) => {
                        tree.put(id(node), parent.map(id), Position::from([]), Arc::new(()))
                    }
                    None => tree.remove_node(id(node)),
                };
                check(&tree);
            }
        }
    }

    const MANY: usize = 100_000;

    #[test]
    fn a_long_chain_is_read_in_one_pass() {
        let tree = read((0..MANY).map(|node| (node, node.checked_sub(1))));
        assert_eq!(
            tree.walk().last().map(|(depth, node, ())| (*depth, *node)),
            Some((MANY - 1, id(MANY - 1)))
        );
    }

    #[test]
    fn a_long_cycle_with_many_nodes_below_is_read_in_one_pass() {
        // Half of the nodes form a cycle. Each node of the other half hangs below a node of the
        // cycle and has a child of its own.
        let half = MANY / 2;
        let cycle = (0..half).map(|node| (node, Some((node + 1) % half)));
        let below =
            (half..MANY).flat_map(|node| [(node, Some(node - half)), (node + half, Some(node))]);
        let tree = read(cycle.chain(below));
        assert_eq!(tree.children(None).collect::<Vec<_>>(), [id(0)]);
        assert_eq!(tree.walk().len(), MANY + half);
    }

    #[test]
    fn adding_a_parent_with_many_children_takes_linear_steps() {
        let mut tree = read((0..MANY).map(|node| (node, Some((node + 1) % MANY))));
        // Many nodes whose common parent is added last, below the cycle.
        let waiting = MANY + 1..2 * MANY;
        for node in waiting.clone() {
            tree.add(id(node), Some(id(MANY)), Position::from([]), Arc::new(()));
            tree.add(id(node + MANY), Some(id(node)), Position::from([]), Arc::new(()));
        }
        let steps = tree.put(id(MANY), Some(id(7)), Position::from([]), Arc::new(()));
        assert!(steps <= 4 * tree.len(), "{steps} steps");
        assert_eq!(tree.children(Some(id(MANY))).count(), waiting.len());
    }
}
