//! Promise: a change that changes nothing writes nothing, and no watcher is called.

mod support;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use exostate::{
    AsPath, Automerge, Backend, ChangeError, Counter, Edit, Groups, HistoryOptions, Map,
    MovableList, Path, Register, Set, State, Store, Text, Tree, UndoOptions, Uuid, Yrs,
};
use proptest::prelude::*;
use support::{Card, Everything, Item, Op, Person, Pet, Settings, Shape, strategy};

type Root<'a> = <Everything as State>::Node<Edit<'a>>;
type Done = Result<(), ChangeError>;

/// Counts every notice of a store's changes.
struct ChangeCounter {
    count_of_calls: Arc<AtomicUsize>,
    _subscriptions: Vec<exostate::Subscription>,
}

fn count_changes<S: State, B: Backend>(store: &Store<S, B>) -> ChangeCounter
where
    S::Node<Path<S>>: AsPath<S>,
{
    let count_of_calls = Arc::new(AtomicUsize::new(0));
    let count = || {
        let count_of_calls = Arc::clone(&count_of_calls);
        move || {
            count_of_calls.fetch_add(1, Ordering::SeqCst);
        }
    };
    let update = count();
    let event = count();
    let updates = store.on_update(move |_| update());
    let events = store.watch(S::path(), move |_| event());
    ChangeCounter { count_of_calls, _subscriptions: vec![updates, events] }
}

/// Makes a change without effect, and checks that nothing is written and no watcher is called.
fn assert_no_effect<S: State + std::fmt::Debug, B: Backend>(
    store: &Store<S, B>,
    what: &str,
    change: impl FnOnce(&Store<S, B>),
) where
    S::Node<Path<S>>: AsPath<S>,
{
    let counter = count_changes(store);
    let history = store.history(HistoryOptions::new()).expect("it can be saved");
    let undo = store.undo_manager(UndoOptions::new());
    let revisions = history.revisions().len();
    let view = store.view();
    let version = store.version();
    let digest = store.digest();
    let saved = store.save();
    change(store);
    assert_eq!(
        counter.count_of_calls.load(Ordering::SeqCst),
        0,
        "{what}: somebody is told, on {}",
        B::NAME
    );
    assert_eq!(
        (store.version(), store.digest()),
        (version, digest),
        "{what}: something is written, on {}",
        B::NAME
    );
    assert_eq!(store.save(), saved, "{what}, on {}", B::NAME);
    assert!(Arc::ptr_eq(&store.view(), &view), "{what}: another view, on {}", B::NAME);
    assert_eq!(
        (history.revisions().len(), undo.undo_len()),
        (revisions, 0),
        "{what}: it is noted, on {}",
        B::NAME
    );
}

fn card(text: &str) -> Card {
    Card {
        text: text.to_owned(),
        done: true,
        body: Text::from("body"),
        labels: Set::from_iter(["l".to_owned()]),
    }
}

fn person() -> Person {
    let pets = Map::from_iter([("rex".to_owned(), Pet { kind: "dog".to_owned(), legs: 4 })]);
    Person { name: "Ada".to_owned(), age: 36, likes: Counter::new(3), bio: Text::from("bio"), pets }
}

fn settings() -> Settings {
    Settings { theme: "dark".to_owned(), size: 2, flags: Map::from_iter([(1, true)]) }
}

fn fill(state: &Root<'_>) -> Done {
    state.title().set("title")?;
    state.ratio().set(0.5)?;
    state.owner().set(Uuid::from_u128(1))?;
    state.when().set(None)?;
    state.pair().set((1, "one".to_owned()))?;
    state.notes().push_str("plain bold plain")?;
    state.notes().mark(6..10, "bold", true)?;
    state.numbers().extend([1, 2, 3])?;
    state.votes().add(5)?;
    for text in ["a", "b", "c"] {
        state.cards().push(card(text))?;
        state.names().push(text.to_owned())?;
    }
    state.people().insert("ada", person())?;
    state.scores().insert(1, 10)?;
    let top = state.outline().push(None, Item { label: "top".to_owned() })?;
    state.outline().push(Some(top), Item { label: "below".to_owned() })?;
    state.outline().push(Some(top), Item { label: "beside".to_owned() })?;
    state.shape().reconcile(&Shape::Label("l".to_owned(), Text::from("t")))?;
    state.maybe().set(settings())
}

/// A name and a change without effect.
type Case = (&'static str, fn(&Root<'_>) -> Done);

const CASES: &[Case] = &[
    ("nothing", |_| Ok(())),
    ("a register as it is", |s| s.title().set("title")),
    ("a register there and back", |s| {
        s.title().set("other")?;
        s.title().set("title")
    }),
    ("a float as it is", |s| s.ratio().set(0.5)),
    ("a serde value as it is", |s| s.pair().set((1, "one".to_owned()))),
    ("an option as it is", |s| s.owner().set(Uuid::from_u128(1))),
    ("an empty option emptied", |s| s.when().set(None)),
    ("an option of a struct as it is", |s| s.maybe().set(settings())),
    ("an option emptied and filled again", |s| {
        s.maybe().set(None)?;
        s.maybe().set(settings())
    }),
    ("an enum as it is", |s| s.shape().reconcile(&Shape::Label("l".to_owned(), Text::from("t")))),
    ("a variant switched and back", |s| {
        s.shape().reconcile(&Shape::Nothing)?;
        s.shape().reconcile(&Shape::Label("l".to_owned(), Text::from("t")))
    }),
    ("a mark that is there", |s| s.notes().mark(6..10, "bold", true)),
    ("a mark on a part of it", |s| s.notes().mark(7..9, "bold", true)),
    ("a mark that is not there taken off", |s| s.notes().unmark(0..5, "bold")),
    ("another mark taken off", |s| s.notes().unmark(0..16, "link")),
    ("a mark set and taken off", |s| {
        s.notes().mark(0..3, "link", "x")?;
        s.notes().unmark(0..3, "link")
    }),
    ("a mark taken off and set", |s| {
        s.notes().unmark(6..10, "bold")?;
        s.notes().mark(6..10, "bold", true)
    }),
    ("text typed and deleted", |s| {
        s.notes().insert(3, "xyz")?;
        s.notes().delete(3..6)
    }),
    ("text deleted and typed again", |s| {
        s.notes().delete(0..3)?;
        s.notes().insert(0, "pla")
    }),
    ("text replaced by the same", |s| s.notes().splice(0..5, "plain")),
    ("marked text replaced by the same", |s| s.notes().splice(6..10, "bold")),
    ("an empty text typed and deleted", |s| {
        s.people().get("ada").bio().push_str("x")?;
        s.people().get("ada").bio().delete(3..4)
    }),
    ("nothing typed", |s| s.notes().insert(3, "")),
    ("a list pushed and popped", |s| {
        s.numbers().push(4)?;
        s.numbers().remove(3)
    }),
    ("an element of a list as it is", |s| s.numbers().set(1, 2)),
    ("an element removed and inserted", |s| {
        s.numbers().remove(0)?;
        s.numbers().insert(0, 1)
    }),
    ("no elements", |s| s.numbers().extend(Vec::<i64>::new())),
    ("nothing added", |s| s.votes().add(0)),
    ("nothing added to what nobody counts", |s| s.people().get("ada").likes().add(0)),
    ("added and taken away", |s| {
        s.votes().add(7)?;
        s.votes().add(-7)
    }),
    ("a move to where it stands", |s| {
        let id = s.cards().value()?.id_at(1).expect("a card");
        s.cards().move_to(id, 1)
    }),
    ("an element pushed and removed", |s| {
        let id = s.cards().push(card("d"))?;
        s.cards().remove(id).map(drop)
    }),
    ("an element of a set added and removed", |s| {
        s.tags().insert("x")?;
        s.tags().remove("x").map(drop)
    }),
    ("what is not there removed", |s| {
        s.tags().remove("none")?;
        s.scores().remove(9)?;
        s.people().remove("none").map(drop)
    }),
    ("a value of a map as it is", |s| s.scores().insert(1, 10)),
    ("a record as it is", |s| s.people().insert("ada", person())),
    ("a key added and removed", |s| {
        s.scores().insert(2, 20)?;
        s.scores().remove(2).map(drop)
    }),
    ("a record added and removed", |s| {
        s.people().insert("eve", person())?;
        s.people().remove("eve").map(drop)
    }),
    ("a node to where it stands", |s| {
        let tree = s.outline().value()?;
        let walk = tree.walk();
        s.outline().move_to(walk[2].1, Some(walk[0].1), 1)?;
        s.outline().move_to(walk[0].1, None, 0)
    }),
    ("a node made and removed", |s| {
        let id = s.outline().push(None, Item { label: "x".to_owned() })?;
        s.outline().remove(id).map(drop)
    }),
    ("the whole as it is", |s| {
        let whole = s.value()?;
        s.reconcile(&whole)
    }),
    ("a savepoint taken back", |s| {
        let taken_back = s.savepoint(|s| {
            s.title().set("x")?;
            s.notes().insert(0, "x")?;
            Err::<(), _>(ChangeError::refuse("no"))
        });
        assert!(taken_back.is_err());
        Ok(())
    }),
    ("a savepoint within what is deleted again", |s| {
        s.notes().insert(0, "ab")?;
        s.savepoint(|s| s.notes().insert(2, "c"))?;
        s.notes().delete(0..3)
    }),
];

fn each_case<B: Backend>() {
    let store = support::store::<B>(1);
    store.change(|state| fill(&state)).expect("it can be written");
    for (what, change) in CASES {
        assert_no_effect(&store, what, |store| {
            store.change(|state| change(&state)).expect("it can be written")
        });
    }
    // On a replica that has not changed a counter yet.
    let fork = store.fork().expect("a fork");
    for (what, change) in CASES {
        assert_no_effect(&fork, what, |store| {
            store.change(|state| change(&state)).expect("it can be written")
        });
    }
    let view = (*store.view()).clone();
    assert_no_effect(&store, "reconciled", |store| {
        store.reconcile(&view).expect("it can be written")
    });
    assert_no_effect(&store, "a joint change", |store| {
        let other = support::store::<B>(2);
        let both = store.and(&other);
        both.change(|(state, other)| {
            state.notes().insert(0, "x")?;
            state.notes().delete(0..1)?;
            other.title().set("told")
        })
        .expect("it can be written");
    });
    support::check_view(&store);
}

#[test]
fn edits_without_effect_are_not_written() {
    each_case::<Yrs>();
    each_case::<Automerge>();
}

/// Only the edits with an effect are written.
fn edits_with_effect<B: Backend>() {
    let store = support::store::<B>(1);
    store.change(|state| fill(&state)).expect("it can be written");
    let change = store.change(|state| {
        state.notes().insert(0, "x")?;
        state.numbers().push(4)?;
        state.notes().delete(0..1)?;
        state.title().set("new")
    });
    change.expect("it can be written");
    let there = support::store::<B>(2);
    there.merge(&store).expect("an honest update");
    let view = there.view();
    assert_eq!(
        (view.title.as_str(), view.notes.to_string().as_str(), view.numbers.len()),
        ("new", "plain bold plain", 4)
    );
    support::check_view(&store);
    assert_eq!(there.digest(), store.digest());
}

#[test]
fn edits_with_effect_are_written() {
    edits_with_effect::<Yrs>();
    edits_with_effect::<Automerge>();
}

/// A field that does not fit is shown as its default. Writing a record that equals this view still
/// overwrites the field.
#[test]
fn writing_an_equal_record_repairs_its_violations() {
    use yrs::{Any, Map as _, ReadTxn, Transact};
    let foreign = yrs::Doc::with_client_id(7);
    let registers = foreign.get_or_insert_map("state");
    for (key, value) in [("people/ada", Any::from(true)), ("people/ada/age", Any::from("old"))] {
        registers.insert(&mut foreign.transact_mut(), key, value);
    }
    let store = support::store::<Yrs>(1);
    store
        .apply(&foreign.transact().encode_state_as_update_v1(&yrs::StateVector::default()))
        .expect("an update");
    let shown = store.view().people.get("ada").expect("the record").clone();
    assert_eq!(store.violations().len(), 1);
    store.change(|state| state.people().insert("ada", shown)).expect("it can be written");
    assert_eq!(store.violations(), []);
}

#[derive(State, Clone, Debug, PartialEq)]
struct Opaque {
    map: Register<HashMap<String, u8>>,
    set: Register<HashSet<String>>,
    nested: Register<BTreeMap<u8, HashMap<i64, String>>>,
    maps: Map<String, Register<HashMap<String, u8>>>,
}

fn words(order: impl Iterator<Item = u8>) -> HashMap<String, u8> {
    order.map(|number| (format!("word {number}"), number)).collect()
}

/// The iteration order of a hash map is different each time.
fn equal_serde_values<B: Backend>() {
    let there = Store::<Opaque, B>::new();
    let write = |state: <Opaque as State>::Node<Edit<'_>>, backwards: bool| {
        let numbers = || -> Box<dyn Iterator<Item = u8>> {
            if backwards { Box::new((0..20).rev()) } else { Box::new(0..20) }
        };
        state.map().set(words(numbers()))?;
        state.set().set(words(numbers()).into_keys().collect::<HashSet<String>>())?;
        state.nested().set(BTreeMap::from([(
            1,
            numbers().map(|number| (i64::from(number) - 9, "x".to_owned())).collect(),
        )]))?;
        state.maps().insert("key", Register(words(numbers())))
    };
    there.change(|state| write(state, false)).expect("it can be written");
    assert_no_effect(&there, "equal maps", |store| {
        store.change(|state| write(state, true)).expect("it can be written")
    });
    let view = Opaque::clone(&there.view());
    assert_no_effect(&there, "reconciled", |store| {
        store.reconcile(&view.clone()).expect("it can be written")
    });
    let changed = there.change(|state| state.map().set(words(0..19)));
    changed.expect("it can be written");
    assert_eq!(there.view().map.len(), 19);
}

#[test]
fn equal_values_of_serde_types_are_equal_bytes() {
    equal_serde_values::<Yrs>();
    equal_serde_values::<Automerge>();
    let bytes = |order: Vec<u8>| {
        let store = Store::<Opaque, Yrs>::new();
        store.change(|state| state.map().set(words(order.into_iter()))).expect("it can be written");
        store.digest()
    };
    assert_eq!(bytes((0..50).collect()), bytes((0..50).rev().collect()));
}

/// A document with the keys in another order can be read, and writing an equal value leaves it
/// unchanged.
#[test]
fn other_bytes_of_an_equal_value_stay() {
    use yrs::{Any, Map as _, ReadTxn, Transact};
    let foreign = yrs::Doc::with_client_id(7);
    let map = foreign.get_or_insert_map("state");
    // {"b": 2, "a": 1}, and the second with a length that is longer than need be.
    let cbor: [u8; 8] = [0xa2, 0x61, b'b', 2, 0x61, b'a', 0x18, 1];
    map.insert(&mut foreign.transact_mut(), "map", Any::Buffer(Arc::from(cbor.as_slice())));
    let store = Store::<Opaque, Yrs>::new();
    let update = foreign.transact().encode_state_as_update_v1(&yrs::StateVector::default());
    store.apply(&update).expect("an update");
    let value: HashMap<String, u8> = [("a".to_owned(), 1), ("b".to_owned(), 2)].into();
    assert_eq!(*store.view().map, value);
    assert_no_effect(&store, "an equal value", |store| {
        store.change(|state| state.map().set(value)).expect("it can be written")
    });
}

/// The two zeros are different values, so they are written.
#[test]
fn negative_zero_is_written_over_zero() {
    #[derive(State, Clone, Debug)]
    struct Number {
        register: Register<f64>,
    }
    let store = Store::<Number, Yrs>::new();
    store.change(|number| number.register().set(0.0)).expect("it can be written");
    store.change(|number| number.register().set(-0.0)).expect("it can be written");
    assert!(store.view().register.is_sign_negative());
}

fn calls_match_the_digest<B: Backend>(
    before: &[Op],
    change: &[Op],
    undone: bool,
) -> Result<(), TestCaseError> {
    let store = support::store::<B>(1);
    before.iter().for_each(|op| support::apply(&store, op));
    let counter = count_changes(&store);
    let version = store.version();
    let digest = store.digest();
    let view = store.view();
    let done = store.change(|state| {
        change.iter().try_for_each(|op| support::edit(&state, op))?;
        if undone {
            // Back to the state before, except for the ids of the elements.
            state.notes().reconcile(&view.notes)?;
            state.numbers().reconcile(&view.numbers)?;
        }
        Ok(())
    });
    done.expect("it can be written");
    let same = store.digest() == digest;
    prop_assert_eq!(same, store.version() == version, "{} writes what changes nothing", B::NAME);
    prop_assert_eq!(
        same,
        counter.count_of_calls.load(Ordering::SeqCst) == 0,
        "{} tells of what changes nothing",
        B::NAME
    );
    prop_assert!(!same || Arc::ptr_eq(&view, &store.view()));
    support::check_view(&store);
    Ok(())
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn a_change_is_reported_if_the_document_differs_on_yrs(
        before in strategy::ops(12),
        change in strategy::ops(4),
        undone in any::<bool>(),
    ) {
        calls_match_the_digest::<Yrs>(&before, &change, undone)?;
    }

    #[test]
    fn a_change_is_reported_if_the_document_differs_on_automerge(
        before in strategy::ops(8),
        change in strategy::ops(4),
        undone in any::<bool>(),
    ) {
        calls_match_the_digest::<Automerge>(&before, &change, undone)?;
    }
}

#[test]
fn reconciling_equal_lists_and_trees_has_no_effect() {
    fn run<B: Backend>() {
        let store = support::store::<B>(1);
        let mut tree = Tree::new();
        let top = tree.push(None, Item { label: "top".to_owned() });
        tree.push(Some(top), Item { label: "below".to_owned() });
        let names: MovableList<String> = ["a", "b"].map(str::to_owned).into();
        let write = |store: &Store<Everything, B>| {
            let change = store.change(|state| {
                state.names().reconcile(&names)?;
                state.outline().reconcile(&tree)
            });
            change.expect("it can be written");
        };
        write(&store);
        assert_no_effect(&store, "equal lists and trees", write);
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[derive(State, Clone, Debug, PartialEq)]
struct Kanban {
    cards: Groups<String, Card>,
}

/// Groups and items that are moved to the place where they already are.
fn moves_to_the_same_place<B: Backend>() {
    let store = Store::<Kanban, B>::new();
    let made = store.change(|kanban| {
        let todo = kanban.cards().push_group("todo".to_owned())?;
        let done = kanban.cards().push_group("done".to_owned())?;
        kanban.cards().push(todo, card("a"))?;
        Ok((todo, done, kanban.cards().push(todo, card("b"))?))
    });
    let (todo, done, item) = made.expect("it can be written");
    assert_no_effect(&store, "an item that is moved to its place", |store| {
        store.change(|kanban| kanban.cards().move_to(item, todo, 1)).expect("it can be written");
    });
    assert_no_effect(&store, "a group that is moved to its place", |store| {
        store.change(|kanban| kanban.cards().move_group(done, 1)).expect("it can be written");
    });
}

#[test]
fn moving_groups_and_items_to_their_place_has_no_effect() {
    moves_to_the_same_place::<Yrs>();
    moves_to_the_same_place::<Automerge>();
}
