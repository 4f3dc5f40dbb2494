//! Promise: `reconcile` turns the state into the given one, and writes nothing that is equal.

mod support;

use std::sync::{Arc, Mutex};

use exostate::{Automerge, Backend, ElementId, State, Store, Tree, Yrs};
use proptest::prelude::*;
use support::{Everything, Item, Op, strategy};

fn run<B: Backend>(from: &[Op], to: &[Op]) {
    let store = support::store::<B>(1);
    let other = support::store::<B>(2);
    from.iter().for_each(|op| support::apply(&store, op));
    to.iter().for_each(|op| support::apply(&other, op));
    let wanted = other.view();
    store.reconcile(&wanted).expect("any state can be written");
    assert_eq!(*store.view(), *wanted);
    assert_eq!(store.view().notes.runs(), wanted.notes.runs());
    support::check_view(&store);
    // A second time there is nothing to do.
    let version = store.version();
    store.reconcile(&store.view()).expect("the state itself can be written");
    assert_eq!(store.version(), version, "something equal was written");
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn on_yrs(from in strategy::ops(20), to in strategy::ops(20)) {
        run::<Yrs>(&from, &to);
    }

    #[test]
    fn on_automerge(from in strategy::ops(20), to in strategy::ops(20)) {
        run::<Automerge>(&from, &to);
    }
}

/// Text that reconciling inserts after a marked stretch must not get the mark.
fn new_text_is_not_marked<B: Backend>() {
    let store = support::store::<B>(1);
    store
        .change(|state| {
            state.notes().insert(0, "aa").and_then(|()| state.notes().mark(0..2, "bold", true))
        })
        .expect("a change");
    let mut wanted = (*store.view()).clone();
    wanted.notes = exostate::Text::from("ab");
    store.reconcile(&wanted).expect("any state can be written");
    assert_eq!(store.view().notes.runs(), wanted.notes.runs());
    support::check_view(&store);
}

#[test]
fn text_is_not_marked_by_its_neighbours() {
    new_text_is_not_marked::<Yrs>();
    new_text_is_not_marked::<Automerge>();
}

/// Reconciles, and returns the registers and sequences that it touched.
fn touched<B: Backend>(store: &Store<Everything, B>, new: &Everything) -> Vec<String> {
    let watched = Arc::new(Mutex::new(Vec::new()));
    let sink = watched.clone();
    let _watch = store.watch(Everything::path(), move |change| {
        sink.lock().expect("no panic").extend(change.touched().map(str::to_owned));
    });
    store.reconcile(new).expect("it can be written");
    assert_eq!(*store.view(), *new);
    support::check_view(store);
    watched.lock().expect("no panic").drain(..).collect()
}

#[test]
fn one_changed_field_is_one_op() {
    let store = support::store::<Yrs>(1);
    for kind in [22, 22, 27, 32, 9] {
        support::apply(&store, &Op { kind, a: 0, b: 1, text: "text".to_owned() });
    }
    let mut new = (*store.view()).clone();
    new.cards.get_mut(1).expect("the second card").done = !new.cards[1].done;
    let id = store.view().cards.id_at(1).expect("the second card");
    assert_eq!(touched(&store, &new), [format!("cards/{id}/done")]);
}

/// The names a, b and c.
fn names<B: Backend>() -> Store<Everything, B> {
    let store = support::store::<B>(1);
    store
        .change(|state| {
            ["a", "b", "c"]
                .into_iter()
                .try_for_each(|name| state.names().push(name.to_owned()).map(drop))
        })
        .expect("names");
    store
}

fn name_id<B: Backend>(store: &Store<Everything, B>, index: usize) -> ElementId {
    store.view().names.id_at(index).expect("a name")
}

fn with_names<B: Backend>(store: &Store<Everything, B>, names: &[&str]) -> Everything {
    Everything {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..(*store.view()).clone()
    }
}

#[test]
fn a_list_built_afresh_keeps_its_elements() {
    let store = names::<Yrs>();
    assert_eq!(touched(&store, &with_names(&store, &["a", "b", "c"])), Vec::<String>::new());
    let second = name_id(&store, 1);
    assert_eq!(touched(&store, &with_names(&store, &["a", "x", "c"])), [format!("names/{second}")]);
    assert_eq!(
        touched(&store, &with_names(&store, &["a", "c"])),
        [format!("names/{second}"), format!("names/{second}/@position")]
    );
}

#[test]
fn a_new_element_moves_no_other() {
    let store = names::<Yrs>();
    for (index, names) in
        [&["a", "x", "b", "c"][..], &["y", "a", "x", "b", "c"]].into_iter().enumerate()
    {
        let touched = touched(&store, &with_names(&store, names));
        let new = name_id(&store, 1 - index);
        assert_eq!(touched, [format!("names/{new}"), format!("names/{new}/@position")]);
    }
}

#[test]
fn a_moved_element_is_one_op() {
    let store = names::<Yrs>();
    let first = name_id(&store, 0);
    let mut new = (*store.view()).clone();
    assert!(new.names.move_to(0, 2));
    assert_eq!(touched(&store, &new), [format!("names/{first}/@position")]);
}

/// Two elements have the same position, as replicas of earlier releases could write. Inserting an
/// element between the two moves one of them and no others.
#[test]
fn where_there_is_no_room_one_element_moves() {
    use yrs::{Any, Map as _, ReadTxn, Transact};
    let earlier = yrs::Doc::with_client_id(7);
    let registers = earlier.get_or_insert_map("state");
    for (name, at) in [("a", 1u8), ("b", 2), ("c", 3), ("d", 4), ("e", 4)] {
        let path = format!("names/7-{at}{name}");
        let mut txn = earlier.transact_mut();
        registers.insert(&mut txn, path.as_str(), name);
        registers.insert(
            &mut txn,
            format!("{path}/@position"),
            Any::Buffer([at, 0, 1].as_slice().into()),
        );
    }
    let store = support::store::<Yrs>(1);
    store
        .apply(&earlier.transact().encode_state_as_update_v1(&yrs::StateVector::default()))
        .expect("an update");
    assert_eq!(store.view().names.iter().map(String::as_str).collect::<String>(), "abcde");
    store.change(|state| state.names().push("f".to_owned())).expect("a name");
    let moved = name_id(&store, 4);
    let mut new = (*store.view()).clone();
    new.names.insert(4, "x".to_owned());
    let touched = touched(&store, &new);
    let added = name_id(&store, 4);
    assert_eq!(
        touched,
        [
            format!("names/{added}"),
            format!("names/{added}/@position"),
            format!("names/{moved}/@position")
        ]
    );
}

/// A tree by its labels: each label with its children.
struct Labels(&'static str, &'static [Labels]);

const LABELS: &[Labels] = &[
    Labels("a", &[Labels("a1", &[]), Labels("a2", &[])]),
    Labels("b", &[Labels("b1", &[])]),
    Labels("c", &[]),
];

fn grow(tree: &mut Tree<Item>, parent: Option<ElementId>, labels: &[Labels]) {
    for Labels(label, below) in labels {
        let id = tree.push(parent, Item { label: (*label).to_owned() });
        grow(tree, Some(id), below);
    }
}

fn with_outline<B: Backend>(store: &Store<Everything, B>, labels: &[Labels]) -> Everything {
    let mut outline = Tree::new();
    grow(&mut outline, None, labels);
    Everything { outline, ..(*store.view()).clone() }
}

fn outline<B: Backend>() -> Store<Everything, B> {
    let store = support::store::<B>(1);
    store.reconcile(&with_outline(&store, LABELS)).expect("it can be written");
    store
}

fn node<B: Backend>(store: &Store<Everything, B>, label: &str) -> ElementId {
    store
        .view()
        .outline
        .walk()
        .into_iter()
        .find(|(_, _, item)| item.label == label)
        .expect("the node")
        .1
}

fn node_registers(id: ElementId) -> [String; 3] {
    ["", "/@place", "/label"].map(|register| format!("outline/{id}{register}"))
}

#[test]
fn a_tree_built_afresh_keeps_its_nodes() {
    let store = outline::<Yrs>();
    assert_eq!(touched(&store, &with_outline(&store, LABELS)), Vec::<String>::new());
    // The other label is deep in the tree.
    let labels = [
        Labels("a", &[Labels("a1", &[]), Labels("x", &[])]),
        Labels("b", &[Labels("b1", &[])]),
        Labels("c", &[]),
    ];
    let second = node(&store, "a2");
    assert_eq!(
        touched(&store, &with_outline(&store, &labels)),
        [format!("outline/{second}/label")]
    );
}

#[test]
fn a_new_node_moves_no_other() {
    let store = outline::<Yrs>();
    let first = &[
        Labels("x", &[]),
        Labels("a", &[Labels("a1", &[]), Labels("a2", &[])]),
        Labels("b", &[Labels("b1", &[])]),
        Labels("c", &[]),
    ];
    let touched_first = touched(&store, &with_outline(&store, first));
    assert_eq!(touched_first, node_registers(node(&store, "x")));
    let middle: &[Labels] = &[
        Labels("x", &[]),
        Labels("a", &[Labels("a1", &[]), Labels("y", &[]), Labels("a2", &[])]),
        Labels("b", &[Labels("b1", &[])]),
        Labels("c", &[]),
    ];
    let touched_middle = touched(&store, &with_outline(&store, middle));
    assert_eq!(touched_middle, node_registers(node(&store, "y")));
}

#[test]
fn a_removed_node_touches_no_other() {
    let store = outline::<Yrs>();
    let gone = node(&store, "b");
    let below = node(&store, "b1");
    let labels = [Labels("a", &[Labels("a1", &[]), Labels("a2", &[])]), Labels("c", &[])];
    assert_eq!(
        touched(&store, &with_outline(&store, &labels)),
        [node_registers(gone), node_registers(below)].concat()
    );
}

/// Two nodes have the same label. The node with the same children is matched.
#[test]
fn equal_nodes_are_matched_by_their_children() {
    let store = support::store::<Yrs>(1);
    let labels =
        [Labels("same", &[Labels("first", &[])]), Labels("same", &[Labels("second", &[])])];
    store.reconcile(&with_outline(&store, &labels)).expect("it can be written");
    let gone = node(&store, "same");
    let below = node(&store, "first");
    let labels = [Labels("same", &[Labels("second", &[])])];
    assert_eq!(
        touched(&store, &with_outline(&store, &labels)),
        [node_registers(gone), node_registers(below)].concat()
    );
}

#[test]
fn a_moved_node_is_one_op() {
    let store = outline::<Yrs>();
    let old = (*store.view()).clone();
    let moved = node(&store, "a");
    for (parent, index) in [(None, 2), (Some(node(&store, "b")), 0), (Some(node(&store, "b")), 1)] {
        store.change(|state| state.outline().move_to(moved, parent, index)).expect("it can move");
        let new = (*store.view()).clone();
        assert_eq!(touched(&store, &old), [format!("outline/{moved}/@place")]);
        assert_eq!(touched(&store, &new), [format!("outline/{moved}/@place")]);
    }
}

/// Concurrent moves close a cycle. By the rule, its first node is shown at the root, and it stays
/// there when the cycle is taken apart.
fn a_cycle_is_taken_apart<B: Backend>() {
    let store = support::store::<B>(1);
    let labels = [Labels("a", &[]), Labels("b", &[]), Labels("c", &[])];
    store.reconcile(&with_outline(&store, &labels)).expect("it can be written");
    let old = (*store.view()).clone();
    let other = store.fork().expect("a fork");
    let [a, b, c] = ["a", "b", "c"].map(|label| node(&store, label));
    store.change(|state| state.outline().move_to(a, Some(c), 0)).expect("it can move");
    other
        .change(|state| {
            state
                .outline()
                .move_to(b, Some(a), 0)
                .and_then(|()| state.outline().move_to(c, Some(b), 0))
        })
        .expect("they can");
    store.merge(&other).expect("a merge");
    assert_eq!(
        store
            .view()
            .outline
            .walk()
            .into_iter()
            .map(|(depth, id, _)| (depth, id))
            .collect::<Vec<_>>(),
        [(0, a), (1, b), (2, c)]
    );
    let cycle = (*store.view()).clone();
    assert_eq!(touched(&store, &cycle), Vec::<String>::new());
    assert_eq!(touched(&store, &old), [a, b, c].map(|id| format!("outline/{id}/@place")));
}

#[test]
fn cycles_are_taken_apart() {
    a_cycle_is_taken_apart::<Yrs>();
    a_cycle_is_taken_apart::<Automerge>();
}
