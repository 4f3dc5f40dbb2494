//! Trees: nested nodes, or a flat sequence of nodes with their depths if nesting is not possible.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::{ElementId, Tree};

/// A tree with more levels is written flat, also in JSON. Readers refuse deep nesting (`serde_json`
/// refuses more than 128 arrays and objects, and a level takes two), and the stack is limited.
/// Trees that other replicas make can have any depth.
const NESTED_MAX: usize = 32;
/// The maximal number of levels that are read.
const LEVELS_MAX: usize = 64;

/// In readable formats such as JSON: as nested nodes, `[{"value": …, "children": […]}]`. A tree
/// with more than 32 levels, and any tree in other formats, is a flat sequence of nodes, parents
/// first, each with its depth: `[{"depth": 0, "value": …}, {"depth": 1, "value": …}]`. Both forms
/// can be read. [`with_ids`](crate::with_ids) also writes and reads the ids.
impl<T: Clone + Serialize> Serialize for Tree<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(self, false, serializer)
    }
}

impl<'de, T: Clone + Deserialize<'de>> Deserialize<'de> for Tree<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(false, deserializer)
    }
}

pub(super) fn serialize<T: Clone + Serialize, S: Serializer>(
    tree: &Tree<T>,
    ids: bool,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let nodes = tree.walk();
    if !serializer.is_human_readable() {
        let flat = nodes.iter().map(|(depth, id, value)| Flat {
            depth: *depth as u64,
            id: ids.then_some(*id),
            value,
        });
        return super::sequence(serializer, nodes.len(), flat);
    }
    if nodes.iter().all(|(depth, _, _)| *depth < NESTED_MAX) {
        return Children { tree, parent: None, ids }.serialize(serializer);
    }
    let flat = nodes.iter().map(|(depth, id, value)| NodeOut {
        depth: Some(*depth),
        id: ids.then_some(*id),
        value,
        children: None,
    });
    super::sequence(serializer, nodes.len(), flat)
}

pub(super) fn deserialize<'de, T: Clone + Deserialize<'de>, D: Deserializer<'de>>(
    ids: bool,
    deserializer: D,
) -> Result<Tree<T>, D::Error> {
    let nodes = match deserializer.is_human_readable() {
        true => Nodes { level: 0, of: PhantomData }.deserialize(deserializer)?,
        false => Vec::<Flat<T>>::deserialize(deserializer)?.into_iter().map(NodeIn::from).collect(),
    };
    let mut tree = Tree::new();
    let mut ancestors = Vec::new();
    for node in nodes {
        let depth = node.depth.unwrap_or(0);
        add(&mut tree, ids, &mut ancestors, depth, node).map_err(D::Error::custom)?;
    }
    Ok(tree)
}

/// Adds a node with its subtree. `ancestors` are those of the node before it, including that node.
fn add<T: Clone>(
    tree: &mut Tree<T>,
    ids: bool,
    ancestors: &mut Vec<ElementId>,
    depth: u64,
    node: NodeIn<T>,
) -> Result<(), &'static str> {
    let depth = usize::try_from(depth)
        .ok()
        .filter(|depth| *depth <= ancestors.len())
        .ok_or("a node is deeper than a child of the one before it")?;
    ancestors.truncate(depth);
    let id = tree
        .push_as(node.id.filter(|_| ids), ancestors.last().copied(), node.value)
        .ok_or("two nodes of a tree have one id")?;
    ancestors.push(id);
    node.children
        .into_iter()
        .try_for_each(|child| add(tree, ids, ancestors, depth as u64 + 1, child))
}

/// A node of the flat form.
#[derive(Serialize, Deserialize)]
struct Flat<T> {
    depth: u64,
    id: Option<ElementId>,
    value: T,
}

struct Children<'a, T> {
    tree: &'a Tree<T>,
    parent: Option<ElementId>,
    ids: bool,
}

impl<T: Clone + Serialize> Serialize for Children<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.tree.children(self.parent).filter_map(|id| {
            let children = Children { parent: Some(id), ..*self };
            Some(NodeOut {
                depth: None,
                id: self.ids.then_some(id),
                value: self.tree.get(id)?,
                children: Some(children),
            })
        }))
    }
}

/// A node as readable formats write it.
struct NodeOut<'a, T> {
    depth: Option<usize>,
    id: Option<ElementId>,
    value: &'a T,
    children: Option<Children<'a, T>>,
}

impl<T: Clone + Serialize> Serialize for NodeOut<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = [self.depth.is_some(), self.id.is_some(), true, self.children.is_some()];
        let mut node = serializer
            .serialize_struct("Node", fields.into_iter().filter(|there| *there).count())?;
        if let Some(depth) = &self.depth {
            node.serialize_field("depth", depth)?;
        }
        if let Some(id) = &self.id {
            node.serialize_field("id", id)?;
        }
        node.serialize_field("value", self.value)?;
        if let Some(children) = &self.children {
            node.serialize_field("children", children)?;
        }
        node.end()
    }
}

/// A node of either form.
struct NodeIn<T> {
    depth: Option<u64>,
    id: Option<ElementId>,
    value: T,
    children: Vec<NodeIn<T>>,
}

impl<T> From<Flat<T>> for NodeIn<T> {
    fn from(node: Flat<T>) -> Self {
        Self { depth: Some(node.depth), id: node.id, value: node.value, children: Vec::new() }
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Depth,
    Id,
    Value,
    Children,
    #[serde(other)]
    Other,
}

/// The nodes of one level.
struct Nodes<T> {
    level: usize,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Nodes<T> {
    type Value = Vec<NodeIn<T>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Nodes<T> {
    type Value = Vec<NodeIn<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the nodes of a tree")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut nodes = Vec::new();
        if self.level >= LEVELS_MAX {
            let below = items.next_element::<IgnoredAny>()?;
            return match below {
                None => Ok(nodes),
                Some(_) => Err(A::Error::custom(format_args!(
                    "the tree has more than {LEVELS_MAX} levels"
                ))),
            };
        }
        while let Some(node) =
            items.next_element_seed(NodeSeed { level: self.level, of: PhantomData })?
        {
            nodes.push(node);
        }
        Ok(nodes)
    }
}

struct NodeSeed<T> {
    level: usize,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for NodeSeed<T> {
    type Value = NodeIn<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<NodeIn<T>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for NodeSeed<T> {
    type Value = NodeIn<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node of a tree")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NodeIn<T>, A::Error> {
        let mut depth = None;
        let mut id = None;
        let mut value = None;
        let mut children = None;
        let once =
            |there: bool, name| if there { Err(A::Error::duplicate_field(name)) } else { Ok(()) };
        while let Some(field) = map.next_key()? {
            match field {
                Field::Depth => {
                    once(depth.is_some(), "depth")?;
                    if self.level > 0 {
                        return Err(A::Error::custom(
                            "a node among another's children has a depth",
                        ));
                    }
                    depth = Some(map.next_value()?);
                }
                Field::Id => {
                    once(id.is_some(), "id")?;
                    id = Some(map.next_value()?);
                }
                Field::Value => {
                    once(value.is_some(), "value")?;
                    value = Some(map.next_value()?);
                }
                Field::Children => {
                    once(children.is_some(), "children")?;
                    children = Some(
                        map.next_value_seed(Nodes { level: self.level + 1, of: PhantomData })?,
                    );
                }
                Field::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let value = value.ok_or_else(|| A::Error::missing_field("value"))?;
        Ok(NodeIn { depth, id: id.flatten(), value, children: children.unwrap_or_default() })
    }
}
