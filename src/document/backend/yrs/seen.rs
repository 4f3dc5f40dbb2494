//! Finds out which values another document has seen. A document has seen a value if it has the op
//! that wrote the value, even if it has overwritten the value.
//!
//! If a replica id was used twice, two documents have different ops under the same clock, so the
//! clocks alone do not tell. Therefore two ops count as the same only if they were also made at the
//! same place. An overwritten op keeps its place, but not its value.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::REGISTERS;
use crate::document::guard::GuardError;
use crate::document::guard::yrs_update::{self, Block, Content, Visitor};
use crate::document::limits::Limits;

/// An op, by client and clock.
type Id = (u64, u32);

/// The registers of the document `ours` whose value the document `theirs` has not seen. Both are
/// bytes of [`Backend::save`](super::Backend::save). O(ops).
pub fn unseen(ours: &[u8], theirs: &[u8]) -> Result<BTreeSet<Arc<str>>, GuardError> {
    let ours = Items::of(ours)?;
    let theirs = Items::of(theirs)?;
    let mut keys = Keys::of(&ours);
    Ok(ours
        .held()
        .filter(|id| !theirs.has_seen(&ours, *id))
        .filter_map(|id| keys.get(id))
        .collect())
}

/// The client that wrote the value of a register. The document is bytes of
/// [`Backend::save`](super::Backend::save). O(ops).
pub fn writer(document: &[u8], key: &str) -> Result<Option<u64>, GuardError> {
    let items = Items::of(document)?;
    let mut keys = Keys::of(&items);
    Ok(items
        .held()
        .filter(|id| keys.get(*id).as_deref() == Some(key))
        .map(|(client, _)| client)
        .last())
}

/// The items of a document and the places at which they were made.
struct Items<'a> {
    bytes: &'a [u8],
    /// The items of each client, sorted by clock.
    clients: HashMap<u64, Vec<(u32, Item)>>,
    root: Option<bool>,
    key: Option<Arc<str>>,
}

struct Item {
    len: u32,
    origin: Option<Id>,
    right_origin: Option<Id>,
    /// The key. Only the first op of a register has it.
    key: Option<Arc<str>>,
    /// The bytes of the item, if it holds a value.
    value: Option<std::ops::Range<usize>>,
}

impl Visitor for Items<'_> {
    fn root(&mut self, name: &str) {
        self.root = Some(name == REGISTERS);
    }

    fn key(&mut self, name: &str) {
        self.key = Some(Arc::from(name));
    }

    fn empty_block(&mut self) {
        self.root = None;
        self.key = None;
    }

    fn block(&mut self, block: Block) {
        let root = self.root.take();
        let key = self.key.take();
        let placed = root.is_some() || block.origin.is_some() || block.right_origin.is_some();
        // A garbage-collected block does not name its place.
        if placed {
            let value = (block.content == Content::Values).then_some(block.bytes);
            let key = key.filter(|_| root == Some(true));
            let item = Item {
                len: block.len,
                origin: block.origin,
                right_origin: block.right_origin,
                key,
                value,
            };
            self.clients.entry(block.client).or_default().push((block.clock, item));
        }
    }
}

impl<'a> Items<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, GuardError> {
        let mut items = Self { bytes, clients: HashMap::new(), root: None, key: None };
        yrs_update::walk(bytes, &Limits::trusted(), &mut items)?;
        Ok(items)
    }

    fn all(&self) -> impl Iterator<Item = (Id, &Item)> {
        let mut clients: Vec<_> = self.clients.iter().collect();
        clients.sort_unstable_by_key(|(client, _)| **client);
        clients.into_iter().flat_map(|(client, items)| {
            items.iter().map(move |(clock, item)| ((*client, *clock), item))
        })
    }

    /// The ops that hold one value.
    fn held(&self) -> impl Iterator<Item = Id> {
        self.all().filter(|(_, item)| item.value.is_some() && item.len == 1).map(|(id, _)| id)
    }

    /// The block that contains an op, with the first clock of the block.
    fn at(&self, (client, clock): Id) -> Option<(u32, &Item)> {
        #[cfg(test)]
        tests::LOOKED_UP.set(tests::LOOKED_UP.get() + 1);
        let items = self.clients.get(&client)?;
        let (start, item) =
            items.get(items.partition_point(|(start, _)| *start <= clock).checked_sub(1)?)?;
        (clock - start < item.len).then_some((*start, item))
    }

    /// Whether this document has an op that holds a value in the other document.
    fn has_seen(&self, other: &Self, id: Id) -> bool {
        let (Some((start, here)), Some((_, there))) = (self.at(id), other.at(id)) else {
            return false;
        };
        if let Some(value) = &here.value {
            return there.value.as_ref().map(|value| &other.bytes[value.clone()])
                == Some(&self.bytes[value.clone()]);
        }
        // Consecutive ops of one client that were overwritten are merged into one block.
        let origin = if start == id.1 { here.origin } else { Some((id.0, id.1 - 1)) };
        origin == there.origin
            && here.right_origin == there.right_origin
            && (origin.is_some() || here.key == there.key)
    }
}

/// Finds the register that an op wrote.
///
/// Only the first op of a register has the key. Every other op refers to an earlier op, and so on
/// back to the first one. The cache makes sure that each block is passed only once, even in a long
/// list.
struct Keys<'i, 'a> {
    items: &'i Items<'a>,
    /// The cached keys, by block.
    known: HashMap<Id, Option<Arc<str>>>,
}

impl<'i, 'a> Keys<'i, 'a> {
    fn of(items: &'i Items<'a>) -> Self {
        Self { items, known: HashMap::new() }
    }

    fn get(&mut self, id: Id) -> Option<Arc<str>> {
        let mut way = Vec::new();
        let mut next = Some(id);
        let key = loop {
            let Some((client, (start, item))) =
                next.and_then(|id| Some((id.0, self.items.at(id)?)))
            else {
                break None;
            };
            match self.known.entry((client, start)) {
                Entry::Occupied(known) => break known.get().clone(),
                // In a valid document every step goes to an earlier op. In other bytes the steps
                // may form a circle. This entry ends such a circle.
                Entry::Vacant(unknown) => drop(unknown.insert(None)),
            }
            way.push((client, start));
            match (&item.key, item.origin.or(item.right_origin)) {
                (Some(key), None) => break Some(Arc::clone(key)),
                (_, before) => next = before,
            }
        };
        if key.is_some() {
            self.known.extend(way.into_iter().map(|block| (block, key.clone())));
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::document::ReplicaId;
    use crate::document::backend::{Backend, Yrs};
    use crate::document::key::Key;
    use crate::document::ops::{Ops, RegisterWrite, SequenceOp};
    use crate::document::value::Value;

    thread_local! {
        /// The number of lookups of an op.
        pub(super) static LOOKED_UP: Cell<usize> = const { Cell::new(0) };
    }

    fn doc(id: u64) -> Yrs {
        Yrs::empty(ReplicaId::from_bits(id))
    }

    fn write(doc: &mut Yrs, key: u8, value: i64) {
        let key = Key(Arc::from(format!("k{key}")));
        let old = doc.register(key.as_str());
        let mut ops = Ops::default();
        ops.registers.insert(key, RegisterWrite { old, new: Some(Value::Int(value)) });
        doc.commit(&ops).expect("it can be written");
    }

    fn give(from: &Yrs, to: &mut Yrs) {
        let updates = from.updates_since(&to.version()).expect("a version");
        for update in updates {
            let checked = to.unpack(&update, &Limits::trusted()).expect("an update");
            to.import(&checked, true).expect("it fits");
        }
    }

    fn unseen_of(ours: &Yrs, theirs: &Yrs) -> Vec<String> {
        unseen(&ours.save(), &theirs.save())
            .expect("documents")
            .iter()
            .map(|key| key.to_string())
            .collect()
    }

    #[test]
    fn an_overwritten_value_counts_as_seen() {
        let mut ours = doc(1);
        let mut theirs = doc(2);
        (0..3).for_each(|value| write(&mut ours, 1, value));
        write(&mut ours, 2, 7);
        assert_eq!(unseen_of(&ours, &theirs), ["k1", "k2"]);
        give(&ours, &mut theirs);
        assert!(unseen_of(&ours, &theirs).is_empty());
        (0..3).for_each(|value| write(&mut theirs, 1, 10 + value));
        assert!(unseen_of(&ours, &theirs).is_empty());
        assert_eq!(unseen_of(&theirs, &ours), ["k1"]);
    }

    #[test]
    fn different_ops_with_the_same_clock_are_told_apart() {
        let mut ours = doc(1);
        let mut theirs = doc(1);
        write(&mut ours, 1, 1);
        write(&mut theirs, 2, 2);
        write(&mut theirs, 2, 3);
        assert_eq!(unseen_of(&ours, &theirs), ["k1"]);
        let mut ours = doc(1);
        let mut theirs = doc(1);
        write(&mut ours, 1, 1);
        write(&mut theirs, 1, 2);
        assert_eq!(unseen_of(&ours, &theirs), ["k1"]);
    }

    /// All elements of the list are inserted at the front, so each element refers to the element
    /// before it in time.
    #[test]
    fn finding_ops_takes_linear_time_in_a_long_list() {
        let mut ours = doc(1);
        let empty = doc(2);
        const LEN: usize = 1_000;
        for number in 0..LEN {
            let mut ops = Ops::default();
            ops.push(SequenceOp::List {
                name: Arc::from("list"),
                at: 0,
                delete: 0,
                insert: vec![Value::Int(number as i64)],
            });
            ours.commit(&ops).expect("it can be written");
        }
        write(&mut ours, 1, 7);
        for find in [
            |ours: &Yrs, _: &Yrs| assert_eq!(writer(&ours.save(), "k1"), Ok(Some(1))),
            |ours: &Yrs, empty: &Yrs| {
                assert_eq!(unseen_of(ours, empty), ["k1"]);
            },
        ] {
            LOOKED_UP.set(0);
            find(&ours, &empty);
            assert!(LOOKED_UP.get() < 10 * LEN, "{} for {LEN} elements", LOOKED_UP.get());
        }
    }

    proptest! {
        /// If no replica id is used twice, the values that a replica has not seen are those that
        /// its version lacks.
        #[test]
        fn unseen_keys_agree_with_the_versions(
            steps in prop::collection::vec(
                (0usize..3, 0u8..4, any::<bool>(), 0usize..3),
                0..40,
            ),
        ) {
            let mut docs = [doc(1), doc(2), doc(3)];
            let mut known: [BTreeSet<i64>; 3] = Default::default();
            for (number, (at, key, writes, other)) in steps.into_iter().enumerate() {
                if writes {
                    write(&mut docs[at], key, number as i64);
                    known[at].insert(number as i64);
                } else if at != other {
                    let from = docs[at].save();
                    let checked =
                        docs[other].unpack(&from, &Limits::trusted()).expect("a document");
                    docs[other].import(&checked, true).expect("it fits");
                    let more = known[at].clone();
                    known[other].extend(more);
                }
            }
            for (ours, theirs) in [(0, 1), (1, 2), (2, 0)] {
                let lacking = (0u8..4).map(|key| format!("k{key}")).filter(|key| {
                    match docs[ours].register(key) {
                        Some(Value::Int(number)) => !known[theirs].contains(&number),
                        _ => false,
                    }
                });
                prop_assert_eq!(unseen_of(&docs[ours], &docs[theirs]), lacking.collect::<Vec<_>>());
            }
        }
    }
}
