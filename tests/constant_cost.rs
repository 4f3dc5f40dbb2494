//! Promise 3: the cost of a change does not grow with the document, apart from the growth of the
//! backend's own work.
//!
//! Work is counted, not timed: allocations, their bytes, and how often values are read from the
//! document, written to it, cloned and compared. The median of several changes is compared between
//! a small and a large document. `List` and `Text` are exempt: they cost as much as the backend's
//! sequence.

use std::borrow::Cow;
use std::cell::Cell;
use std::cmp::Ordering;

use exostate::{
    Automerge, Backend, ElementId, Groups, Map, MapKey, Mismatch, MovableList, Options, ReplicaId,
    Scalar, Set, State, Store, Tree, Value, Yrs,
};

thread_local! {
    /// How often a [`Number`] was read, written, cloned or compared.
    static HANDLED: Cell<u64> = const { Cell::new(0) };
}

/// A key and a value that counts how often it is handled.
#[derive(Debug, Eq)]
struct Number(i64);

fn handled(number: i64) -> i64 {
    HANDLED.set(HANDLED.get() + 1);
    number
}

impl Clone for Number {
    fn clone(&self) -> Self {
        Self(handled(self.0))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        handled(self.0) == other.0
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        handled(self.0).cmp(&other.0)
    }
}

impl Scalar for Number {
    fn to_value(&self) -> Result<Value, String> {
        Ok(Value::Int(handled(self.0)))
    }
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        i64::from_value(value).map(|number| Self(handled(number)))
    }
    fn initial() -> Self {
        Self(0)
    }
}

impl MapKey for Number {
    fn to_text(&self) -> Cow<'_, str> {
        Cow::Owned(handled(self.0).to_string())
    }
    fn from_text(text: &str) -> Option<Self> {
        i64::from_text(text).map(|number| Self(handled(number)))
    }
}

#[derive(State, Clone, Debug, PartialEq)]
struct Big {
    people: Map<Number, Person>,
    cards: MovableList<Person>,
    tags: Set<Number>,
    outline: Tree<Person>,
    flat: Tree<Person>,
    one_group: Groups<Person, Person>,
    many_groups: Groups<Person, Person>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Person {
    name: String,
    age: Number,
}

fn person(age: usize) -> Person {
    Person { name: "someone".to_owned(), age: number(age) }
}

fn number(number: usize) -> Number {
    Number(number as i64)
}

type Change =
    Box<dyn Fn(&<Big as State>::Node<exostate::Edit<'_>>) -> Result<(), exostate::ChangeError>>;

/// The cost of one change: how often our own code handles values, and all allocations, including
/// those of the backends.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    handled: u64,
    allocations: u64,
    bytes: u64,
}

fn cost(work: impl FnOnce()) -> Cost {
    let handled = HANDLED.get();
    let allocated = allocation_counter::measure(work);
    Cost {
        handled: HANDLED.get() - handled,
        allocations: allocated.count_total,
        bytes: allocated.bytes_total,
    }
}

/// How often each change is measured, each time at a different place.
const ROUNDS: usize = 15;

/// The median of each part: sometimes a table in a lower layer grows.
fn median(costs: &[Cost]) -> Cost {
    let of = |part: fn(&Cost) -> u64| {
        let mut parts: Vec<_> = costs.iter().map(part).collect();
        parts.sort_unstable();
        parts[parts.len() / 2]
    };
    Cost {
        handled: of(|cost| cost.handled),
        allocations: of(|cost| cost.allocations),
        bytes: of(|cost| cost.bytes),
    }
}

fn document<B: Backend>(size: usize) -> Store<Big, B> {
    // The places of keys in automerge's maps depend on the ids. With fixed ids each run measures the
    // same.
    let options = Options::new().with_replica(ReplicaId::from_bits(0xbeef));
    let store = Store::<Big, B>::with_options(options);
    store
        .change(|big| {
            for index in 0..size {
                big.people().insert(number(index * 2), person(index))?;
                big.cards().push(person(index))?;
                big.tags().insert(number(index * 2))?;
                big.flat().push(None, person(index))?;
                let group = big.many_groups().push_group(person(index))?;
                big.many_groups().push(group, person(index))?;
            }
            // One group with many items, and one with none.
            let (full, _) =
                (big.one_group().push_group(person(0))?, big.one_group().push_group(person(1))?);
            (0..size).try_for_each(|index| big.one_group().push(full, person(index)).map(drop))?;
            // A tree of some depth: each node has ten children.
            let mut nodes = Vec::<ElementId>::new();
            for index in 0..size {
                let parent = index.checked_sub(1).map(|index| nodes[index / 10]);
                nodes.push(big.outline().push(parent, person(index))?);
            }
            Ok(())
        })
        .expect("it can be written");
    store
}

/// The changes, by name. `round` is the number of the measurement.
fn changes<B: Backend>(store: &Store<Big, B>, round: usize) -> Vec<(&'static str, Change)> {
    let view = store.view();
    let len = view.cards.len();
    // The places are spread over the document, and no place is used twice.
    let place = (round * 7919 + 13) % (len - 2 * ROUNDS);
    let key = move || number(place * 2);
    let card = view.cards.id_at(place).expect("a card");
    let nodes = view.outline.walk();
    let node = nodes[place].1;
    let leaf = nodes.iter().rev().nth(round).expect("a leaf").1;
    let group =
        |groups: &Groups<Person, Person>, index| groups.groups().id_at(index).expect("a group");
    let full = group(&view.one_group, 0);
    let empty = group(&view.one_group, 1);
    let item = view.one_group.items(full).id_at(place).expect("an item");
    let from = group(&view.many_groups, place);
    let to = group(&view.many_groups, len / 2);
    // An earlier change may have moved the item away. Then no change of this round uses `lone`.
    let lone = view.many_groups.items(from).id_at(0).unwrap_or_default();
    vec![
        (
            "group item field",
            Box::new(move |big| big.one_group().get(item).age().set(number(1 << 40))),
        ),
        ("group item push", Box::new(move |big| big.one_group().push(full, person(7)).map(drop))),
        (
            "group item insert",
            Box::new(move |big| big.one_group().insert(full, place, person(7)).map(drop)),
        ),
        (
            "group item move within",
            Box::new(move |big| big.one_group().move_to(item, full, len / 2)),
        ),
        (
            "group item move to another",
            Box::new(move |big| big.one_group().move_to(item, empty, 0)),
        ),
        ("group item move among many", Box::new(move |big| big.many_groups().move_to(lone, to, 0))),
        ("group item remove", Box::new(move |big| big.one_group().remove(item).map(drop))),
        (
            "group field",
            Box::new(move |big| big.many_groups().group(from).age().set(number(1 << 40))),
        ),
        ("group move", Box::new(move |big| big.many_groups().move_group(from, len / 2))),
        ("group remove", Box::new(move |big| big.many_groups().remove_group(from).map(drop))),
        ("map field", Box::new(move |big| big.people().get(key()).age().set(number(1 << 40)))),
        ("map insert", Box::new(move |big| big.people().insert(number(place * 2 + 1), person(7)))),
        ("map remove", Box::new(move |big| big.people().remove(key()).map(drop))),
        ("list field", Box::new(move |big| big.cards().get(card).age().set(number(1 << 40)))),
        ("list push", Box::new(|big| big.cards().push(person(7)).map(drop))),
        ("list insert", Box::new(move |big| big.cards().insert(place, person(7)).map(drop))),
        ("list move", Box::new(move |big| big.cards().move_to(card, len / 2))),
        ("list remove", Box::new(move |big| big.cards().remove(card).map(drop))),
        ("set insert", Box::new(move |big| big.tags().insert(number(place * 2 + 1)).map(drop))),
        ("set remove", Box::new(move |big| big.tags().remove(key()).map(drop))),
        ("tree field", Box::new(move |big| big.outline().get(node).age().set(number(1 << 40)))),
        ("tree insert", Box::new(move |big| big.outline().push(Some(node), person(7)).map(drop))),
        ("tree move", Box::new(move |big| big.outline().move_to(leaf, None, 0))),
        ("tree root", Box::new(|big| big.flat().push(None, person(7)).map(drop))),
        ("tree remove", Box::new(move |big| big.outline().remove(leaf).map(drop))),
    ]
}

/// The median cost of each change, on the replica that makes it and on a replica that receives it.
/// Both have a watcher.
fn measure<B: Backend>(size: usize) -> Vec<(String, Cost)> {
    let here = document::<B>(size);
    let options = Options::new().with_replica(ReplicaId::from_bits(0x5eed));
    let there = Store::open_with(&here.save(), options).expect("it opens");
    let watch = |store: &Store<Big, B>| {
        store.watch(Big::path().cards().any().age(), |age| assert_ne!(age.old(), age.new()))
    };
    let _watches = (watch(&here), watch(&there));
    let updates = here.local_updates();
    let names: Vec<_> = changes(&here, 0).into_iter().map(|(name, _)| name).collect();
    let mut found = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        let mut local = Vec::new();
        let mut remote = Vec::new();
        for round in 0..ROUNDS {
            let (_, change) = changes(&here, round).swap_remove(index);
            local.push(cost(|| here.change(|big| change(&big)).expect("it can be made")));
            let update = updates.try_next().expect("the change's update");
            remote.push(cost(|| _ = there.apply(&update).expect("an honest update")));
        }
        found.push((format!("{name}, made"), median(&local)));
        found.push((format!("{name}, heard"), median(&remote)));
    }
    assert_eq!(here.digest(), there.digest());
    found
}

/// The large document is this many times the small one.
const GROWTH: usize = 16;

/// A cost that is O(log n) grows by half. So do the tables of the backends and of our own
/// sequences, some of them in steps. A cost that is O(n) would grow 16 times.
fn run<B: Backend>() {
    for ((name, small), (_, large)) in measure::<B>(500).into_iter().zip(measure::<B>(500 * GROWTH))
    {
        let grew =
            format!("{name} cost {small:?} in the small document, {large:?} in the large one");
        assert!(large.handled <= 2 * small.handled + 8, "{grew}");
        assert!(large.allocations <= 3 * small.allocations, "{grew}");
        assert!(large.bytes <= 5 * small.bytes, "{grew}");
    }
}

#[test]
fn on_yrs() {
    run::<Yrs>();
}

#[test]
fn on_automerge() {
    run::<Automerge>();
}
