//! Groups: an object with the groups, each with its items, and with the ungrouped items.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::{ElementId, Groups};
use super::identified::{DeserializeWithIds, Element, SerializeWithIds};

#[derive(Serialize, Deserialize)]
struct Whole<G, I> {
    groups: Vec<G>,
    #[serde(default = "Vec::new")]
    ungrouped: Vec<I>,
}

#[derive(Serialize, Deserialize)]
struct Group<G, I> {
    group: G,
    items: Vec<I>,
}

#[derive(Serialize, Deserialize)]
struct NamedGroup<G, I> {
    #[serde(default)]
    id: Option<ElementId>,
    group: G,
    items: Vec<I>,
}

/// As `{"groups": [{"group": …, "items": […]}], "ungrouped": […]}`, without ids.
/// [`with_ids`](crate::with_ids) also writes and reads the ids.
impl<G: Clone + Serialize, T: Clone + Serialize> Serialize for Groups<G, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let groups = self
            .iter()
            .map(|(_, group, items)| Group { group, items: items.iter().collect() })
            .collect();
        Whole { groups, ungrouped: self.ungrouped().map(|(_, item)| item).collect() }
            .serialize(serializer)
    }
}

impl<'de, G: Clone + Deserialize<'de>, T: Clone + Deserialize<'de>> Deserialize<'de>
    for Groups<G, T>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole = Whole::<Group<G, T>, T>::deserialize(deserializer)?;
        let mut read = Self::new();
        for Group { group, items } in whole.groups {
            let id = read.push_group(group);
            for item in items {
                read.push(id, item);
            }
        }
        for item in whole.ungrouped {
            read.push_as(None, None, item);
        }
        Ok(read)
    }
}

impl<G: Clone + Serialize, T: Clone + Serialize> SerializeWithIds for Groups<G, T> {
    fn serialize_with_ids<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn named<T>((id, value): (ElementId, &T)) -> Element<&T> {
            Element { id: Some(id), value }
        }
        let groups = self.iter().map(|(id, group, items)| NamedGroup {
            id: Some(id),
            group,
            items: items.iter_ids().map(named).collect(),
        });
        Whole { groups: groups.collect(), ungrouped: self.ungrouped().map(named).collect() }
            .serialize(serializer)
    }
}

impl<'de, G: Clone + Deserialize<'de>, T: Clone + Deserialize<'de>> DeserializeWithIds<'de>
    for Groups<G, T>
{
    fn deserialize_with_ids<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole = Whole::<NamedGroup<G, Element<T>>, Element<T>>::deserialize(deserializer)?;
        let mut read = Self::new();
        let add = |group, Element { id, value }: Element<T>, read: &mut Self| match read
            .push_as(id, group, value)
        {
            Some(_) => Ok(()),
            None => Err(D::Error::custom("two items have one id")),
        };
        for NamedGroup { id, group, items } in whole.groups {
            let id = read
                .push_group_as(id, group)
                .ok_or_else(|| D::Error::custom("two groups have one id"))?;
            items.into_iter().try_for_each(|item| add(Some(id), item, &mut read))?;
        }
        whole.ungrouped.into_iter().try_for_each(|item| add(None, item, &mut read))?;
        Ok(read)
    }
}
