//! A view is converted to JSON and back, and a state is made from JSON: every type, in
//! self-describing formats and in one that is not.

mod support;

use std::fmt::Debug;
use std::sync::Arc;

use exostate::{
    Automerge, Backend, Counter, ElementId, Groups, Link, List, Map, MovableList, Register, Set,
    State, Store, Text, Tree, Uuid, Value, Yrs,
};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use support::{Card, Column, Everything, Item, Op, strategy};

fn json_and_back<T: Serialize + DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).expect("JSON"))
        .expect("what was written is read")
}

fn cbor_and_back<T: Serialize + DeserializeOwned>(value: &T) -> T {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("CBOR");
    ciborium::from_reader(bytes.as_slice()).expect("what was written is read")
}

/// postcard is not self-describing.
fn postcard_and_back<T: Serialize + DeserializeOwned>(value: &T) -> T {
    postcard::from_bytes(&postcard::to_stdvec(value).expect("postcard"))
        .expect("what was written is read")
}

/// serde reads flattened fields into a buffer that reports itself as human-readable, whatever the
/// format.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Flattened<T> {
    #[serde(flatten)]
    value: T,
}

fn all_and_back<T: Serialize + DeserializeOwned>(value: &T, check: impl Fn(T, &str)) {
    check(json_and_back(value), "JSON");
    check(
        serde_json::from_value(serde_json::to_value(value).expect("JSON"))
            .expect("what was written is read"),
        "a JSON value",
    );
    check(cbor_and_back(value), "CBOR");
    check(postcard_and_back(value), "postcard");
}

fn equal<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    all_and_back(value, |read, format| assert_eq!(&read, value, "by {format}"));
}

/// The collections of [`Everything`] whose elements have ids.
#[derive(State, Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Named {
    #[serde(with = "exostate::with_ids")]
    cards: MovableList<Card>,
    #[serde(with = "exostate::with_ids")]
    names: MovableList<String>,
    #[serde(with = "exostate::with_ids")]
    outline: Tree<Item>,
    #[serde(with = "exostate::with_ids")]
    board: Groups<Column, Card>,
}

impl Named {
    fn of(state: &Everything) -> Self {
        let cards = state.cards.clone();
        let names = state.names.clone();
        let outline = state.outline.clone();
        let board = state.board.clone();
        Self { cards, names, outline, board }
    }

    /// All ids, in order, with the parents of nodes.
    fn ids(&self) -> Vec<(ElementId, Option<ElementId>)> {
        let listed =
            self.cards.iter_ids().map(|(id, _)| id).chain(self.names.iter_ids().map(|(id, _)| id));
        let nodes = self.outline.walk().into_iter().map(|(_, id, _)| (id, self.outline.parent(id)));
        let groups = self.board.groups().iter_ids().map(|(id, _)| (id, None));
        let items = self
            .board
            .iter()
            .flat_map(|(group, _, items)| items.iter_ids().map(move |(id, _)| (id, Some(group))));
        let ungrouped = self.board.ungrouped().map(|(id, _)| (id, None));
        listed
            .map(|id| (id, None))
            .chain(nodes)
            .chain(groups)
            .chain(items)
            .chain(ungrouped)
            .collect()
    }
}

fn run<B: Backend>(ops: &[Op], more: &[Op]) {
    let store = support::store::<B>(1);
    ops.iter().for_each(|op| support::apply(&store, op));
    let view = Everything::clone(&store.view());
    all_and_back(&view, |read, format| {
        assert_eq!(read, view, "by {format}");
        assert_eq!(read.notes.runs(), view.notes.runs(), "the marks, by {format}");
    });
    assert_eq!(cbor_and_back(&Flattened { value: view.clone() }).value, view, "flattened");

    // A state is made from it, and values that are already equal are not written.
    let read = json_and_back(&view);
    let made = support::store::<B>(2);
    made.reconcile(&read).expect("it can be written");
    assert_eq!(*made.view(), view);
    let before = made.version();
    made.reconcile(&json_and_back(&view)).expect("it can be written");
    assert_eq!(made.version(), before, "nothing differs, so nothing is written");

    // With ids, reconciling with an earlier state restores the same elements.
    let named = Named::of(&view);
    all_and_back(&named, |read, format| {
        assert_eq!(read, named, "by {format}");
        assert_eq!(read.ids(), named.ids(), "the ids, by {format}");
    });
    more.iter().for_each(|op| support::apply(&store, op));
    let there: Vec<ElementId> =
        Named::of(&store.view()).ids().into_iter().map(|(id, _)| id).collect();
    let Named { cards, names, outline, board } = json_and_back(&named);
    store
        .reconcile(&Everything { cards, names, outline, board, ..Everything::clone(&store.view()) })
        .expect("it can be written");
    let now = Named::of(&store.view());
    assert_eq!(now, named);
    for ((was, _), (is, _)) in named.ids().into_iter().zip(now.ids()) {
        assert!(was == is || !there.contains(&was), "{was} was there and is {is} now");
    }
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn on_yrs(ops in strategy::ops(40), more in strategy::ops(10)) {
        run::<Yrs>(&ops, &more);
    }

    #[test]
    fn on_automerge(ops in strategy::ops(40), more in strategy::ops(10)) {
        run::<Automerge>(&ops, &more);
    }

    #[test]
    fn any_value(value in value()) {
        all_and_back(&value, |read, format| assert_eq!(read, value, "by {format}"));
        let map = Map::from_iter([(String::from("a"), Mark(value.clone()))]);
        let read = cbor_and_back(&Flattened { value: map });
        assert_eq!(read.value.get("a"), Some(&Mark(value)));
    }

    #[test]
    fn any_tree(parents in prop::collection::vec(any::<u16>(), 0..80), chain in any::<bool>()) {
        let mut tree = Tree::new();
        let mut ids = Vec::new();
        for (label, parent) in parents.iter().enumerate() {
            let parent = if chain {
                ids.last().copied()
            } else {
                ids.get(usize::from(*parent) % (ids.len() + 1)).copied()
            };
            ids.push(tree.push(parent, label as u64));
        }
        equal(&tree);
        let map = Map::from_iter([(String::from("a"), tree.clone())]);
        let read = cbor_and_back(&Flattened { value: map });
        assert_eq!(read.value.get("a"), Some(&tree));
    }

    /// Any input gives an error at most, and never a panic.
    #[test]
    fn arbitrary_json_is_no_panic(
        json in json_like(),
        bytes in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let _ = serde_json::from_str::<Everything>(&json);
        let _ = serde_json::from_str::<Named>(&json);
        let _ = serde_json::from_str::<Tree<Tree<Text>>>(&json);
        let _ = serde_json::from_str::<Text>(&json);
        let _ = postcard::from_bytes::<Everything>(&bytes);
        let _ = postcard::from_bytes::<Named>(&bytes);
        let _ = postcard::from_bytes::<Tree<Text>>(&bytes);
        let _ = ciborium::from_reader::<Named, _>(bytes.as_slice());
    }
}

/// A `Value` that is cloned in the way the values of a `Map` are.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(transparent)]
struct Mark(Value);

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has none", |number| number.is_finite())
            .prop_map(Value::float),
        ".{0,4}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..4).prop_map(|bytes| Value::Bytes(Arc::from(bytes))),
    ]
}

/// JSON of the words that the view types know, in any order.
fn json_like() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<i64>().prop_map(|number| json!(number)),
        any::<u64>().prop_map(|number| json!(number)),
        prop_oneof![
            Just("1-1"),
            Just("ffffffffffffffff-ffffffffffffffff"),
            Just("ffffffffffffffff-0"),
            Just("")
        ]
        .prop_map(|text| json!(text)),
    ];
    let word = prop_oneof![
        Just("id"),
        Just("value"),
        Just("children"),
        Just("depth"),
        Just("insert"),
        Just("attributes"),
        Just("outline")
    ];
    let tree = leaf.prop_recursive(6, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
            prop::collection::btree_map(word.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|map| json!(map)),
        ]
    });
    tree.prop_map(|value| value.to_string())
}

fn error<T: DeserializeOwned + Debug>(json: &str) -> String {
    serde_json::from_str::<T>(json).expect_err("an error").to_string()
}

#[test]
fn each_type_has_its_form() {
    let id: ElementId = "3f-1".parse().expect("an id");
    assert_eq!(json!(id), json!("3f-1"));
    assert_eq!(json!(Some(id)), json!("3f-1"));
    assert_eq!(json!(Link::<Card>::new("a/b")), json!("a/b"));
    assert_eq!(json!(Register((1, "a".to_owned()))), json!([1, "a"]));
    assert_eq!(json!(Counter::new(-3)), json!(-3));
    assert_eq!(json!(List::from([1, 2])), json!([1, 2]));
    assert_eq!(json!(MovableList::from(["a"])), json!(["a"]));
    assert_eq!(json!(Set::from_iter([2u8, 1])), json!([1, 2]));
    assert_eq!(
        json!(Map::from_iter([(7i32, true), (-7, false)])),
        json!({ "7": true, "-7": false })
    );
    assert_eq!(
        json!(Map::from_iter([(id, Uuid::nil())])),
        json!({ "3f-1": "00000000-0000-0000-0000-000000000000" })
    );
    assert_eq!(json!(Text::from("plain")), json!("plain"));
    let mut tree = Tree::new();
    let root = tree.push(None, "a");
    tree.push(Some(root), "b");
    assert_eq!(
        json!(tree),
        json!([{ "value": "a", "children": [{ "value": "b", "children": [] }] }])
    );
    let mut groups = Groups::new();
    let todo = groups.push_group("To do");
    groups.push_group("Done");
    groups.push(todo, 1);
    let form = json!({
        "groups": [{ "group": "To do", "items": [1] }, { "group": "Done", "items": [] }],
        "ungrouped": []
    });
    assert_eq!(json!(groups), form);
    assert_eq!(serde_json::from_value::<Groups<String, u8>>(form).expect("groups").len(), 1);
    equal(&id);
    equal(&Link::<Card>::new("a/b"));
    equal(&Some(Register((1u8, "a".to_owned()))));
    equal(&Map::from_iter([(id, Set::from_iter([id]))]));
}

#[test]
fn marked_text_is_a_delta() {
    let store = support::store::<Yrs>(1);
    store
        .change(|state| {
            state.notes().push_str("bold, and not")?;
            state.notes().mark(0..4, "bold", true)?;
            state.notes().mark(2..4, "size", 0.5)
        })
        .expect("it can be written");
    let delta = json!([
        { "insert": "bo", "attributes": { "bold": true } },
        { "insert": "ld", "attributes": { "bold": true, "size": 0.5 } },
        { "insert": ", and not" },
    ]);
    assert_eq!(json!(store.view().notes), delta);
    let made = support::store::<Automerge>(2);
    let notes: Text = serde_json::from_value(delta).expect("a text");
    made.reconcile(&Everything { notes, ..Everything::clone(&made.view()) })
        .expect("it can be written");
    assert_eq!(made.view().notes.runs(), store.view().notes.runs());
    // null is not a mark.
    let plain: Text = serde_json::from_value(json!([
        { "insert": "a", "attributes": { "bold": null } },
        { "insert": "b", "attributes": {} }
    ]))
    .expect("a text");
    assert_eq!(plain, Text::from("ab"));
}

#[test]
fn invalid_json_is_an_error_with_the_reason() {
    assert!(error::<Map<String, u8>>(r#"{"a": 1, "a": 2}"#).contains("\"a\" is there twice"));
    assert!(error::<Map<i32, u8>>(r#"{"007": 1}"#).contains("\"007\" is no key"));
    for id in ["", "3f", "3F-1", "03f-1", "3f-1-1", "10000000000000000-0"] {
        assert!(error::<ElementId>(&json!(id).to_string()).contains("an element's id"), "{id}");
    }
    assert!(error::<Text>("7").contains("a string, or runs"));
    assert!(error::<Text>(r#"[{"insert": {"image": "x"}}]"#).contains("string"));
    assert!(
        error::<Text>(r#"[{"insert": "a", "attributes": {"bold": [1]}}]"#)
            .contains("a mark cannot hold bytes")
    );
    assert!(error::<Counter>("0.5").contains("i64"));
    let twice = r#"[{"id": "1-1", "value": 1}, {"id": "1-1", "value": 2}]"#;
    let named = |cards: &str, outline: &str| {
        format!(
            r#"{{"cards": {cards}, "names": [], "outline": {outline}, "board": {{"groups": []}}}}"#
        )
    };
    assert!(
        error::<Named>(&format!(
            r#"{{"cards": [], "outline": [], "names": {}}}"#,
            twice.replace("1}", "\"a\"}").replace("2}", "\"b\"}")
        ))
        .contains("one id")
    );
    let node = |below: &str| {
        format!(r#"{{"id": "1-1", "value": {{"label": ""}}, "children": [{below}]}}"#)
    };
    assert!(error::<Named>(&named("[]", &format!("[{}]", node(&node(""))))).contains("one id"));
    assert!(error::<Tree<u8>>(r#"[{"children": []}]"#).contains("missing field `value`"));
    assert!(error::<Tree<u8>>(r#"[{"value": 1, "value": 2}]"#).contains("duplicate field"));
    assert!(
        error::<Tree<u8>>(r#"[{"depth": 0, "value": 1}, {"depth": 2, "value": 2}]"#)
            .contains("deeper")
    );
    assert!(
        error::<Tree<u8>>(r#"[{"depth": 18446744073709551615, "value": 1}]"#).contains("deeper")
    );
    assert!(
        error::<Tree<u8>>(r#"[{"value": 1, "children": [{"depth": 3, "value": 1}]}]"#)
            .contains("has a depth")
    );
}

#[test]
fn a_deep_tree_is_written_flat_and_read_again() {
    let mut tree = Tree::new();
    let mut last = None;
    for depth in 0..10_000u32 {
        last = Some(tree.push(last, depth));
    }
    let json = serde_json::to_value(&tree).expect("JSON");
    assert_eq!(json[9_999], json!({ "depth": 9_999, "value": 9_999 }));
    equal(&tree);
}

#[test]
fn deep_nesting_is_refused() {
    let nested = |levels: usize| {
        "[{\"value\": 1, \"children\": ".repeat(levels) + "[]" + &"}]".repeat(levels)
    };
    assert_eq!(serde_json::from_str::<Tree<u8>>(&nested(60)).expect("a tree").len(), 60);
    assert!(error::<Tree<u8>>(&nested(100_000)).contains("recursion limit"));
    // A reader whose own recursion limit is off.
    let from_value = |levels| {
        let inner =
            (0..levels).fold(json!([]), |below, _| json!([{ "value": 1, "children": below }]));
        serde_json::from_value::<Tree<u8>>(inner)
    };
    assert_eq!(from_value(64).expect("a tree").len(), 64);
    assert!(from_value(65).expect_err("an error").to_string().contains("more than 64 levels"));
}

/// A state with the other scalars, as in the answer of a web service.
#[derive(State, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
struct Page {
    title: Arc<str>,
    at: jiff::Timestamp,
    owner: Option<Uuid>,
    letter: char,
    next: Option<Link<Page>>,
    body: Text,
}

impl Default for Page {
    fn default() -> Self {
        <Self as State>::initial()
    }
}

#[test]
fn a_field_that_is_missing_has_its_default_where_the_struct_says_so() {
    let page: Page = serde_json::from_str(r#"{"title": "Plan", "body": "hello", "unknown": 1}"#)
        .expect("a page");
    assert_eq!(page, Page { title: "Plan".into(), body: Text::from("hello"), ..Page::default() });
    let store = Store::<Page>::new();
    store.reconcile(&page).expect("it can be written");
    assert_eq!(json!(*store.view())["next"], json!(null));
    equal(&*store.view());
}
