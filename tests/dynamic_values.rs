//! The values of a dynamic state in words, and what its accessors refuse.

use exostate::dynamic::{KeyValue, ScalarValue};
use exostate::{
    ChangeError, Counter, Document, Dynamic, Groups, List, Map, MovableList, Set, State, Store,
    Text, Tree, Uuid, Value, Yrs,
};
use serde_json::json;

#[derive(State, Clone, Debug, PartialEq)]
struct All {
    flag: bool,
    big: u64,
    ratio: f64,
    small: f32,
    data: Vec<u8>,
    id: Uuid,
    maybe: Option<Inner>,
    inner: Inner,
    kind: Kind,
    text: Text,
    votes: Counter,
    list: List<i64>,
    set: Set<u8>,
    map: Map<i32, Inner>,
    steps: MovableList<Inner>,
    tree: Tree<Inner>,
    groups: Groups<Inner, Inner>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Inner {
    name: String,
}

#[derive(State, Clone, Debug, PartialEq)]
enum Kind {
    #[state(default)]
    Empty,
    Full {
        size: u8,
    },
}

type Place<'e> = exostate::Node<exostate::Edit<'e>, Dynamic>;

fn store() -> Store<Dynamic> {
    Store::dynamic(&Document::<Yrs>::new(), &All::schema()).expect("a schema of a Rust type")
}

fn full() -> Store<Dynamic> {
    let store = store();
    let inner = json!({ "name": "x" });
    let nodes = json!([{ "value": inner, "children": [] }]);
    let groups = json!({ "groups": [{ "group": inner, "items": [inner] }], "ungrouped": [] });
    let value = json!({
        "flag": true, "big": u64::MAX, "ratio": 1.5, "small": 0.5, "data": [1],
        "id": "00000000000000000000000000000001", "maybe": inner, "inner": inner,
        "kind": { "Full": { "size": 2 } }, "text": "hello", "votes": 3, "list": [1, 2],
        "set": [1, 2], "map": { "-1": inner }, "steps": [inner], "tree": nodes, "groups": groups,
    });
    store.change(|root| root.set(&value)).expect("it fits");
    store
}

#[test]
fn a_view_is_printed_as_that_of_the_struct() {
    let view = full().view();
    let printed = format!("{view:?}");
    for part in [
        "All { flag: Bool(true)",
        "maybe: Some(Inner { name: Str(\"x\") })",
        "kind: Full { size: Int(2) }",
        "text: \"hello\"",
        "votes: Counter(3)",
        "map: {Int(-1): Inner { name: Str(\"x\") }}",
    ] {
        assert!(printed.contains(part), "{part} is not in {printed}");
    }
    let Dynamic::Struct(all) = &*view else { panic!("a struct") };
    assert_eq!((all.name(), all.iter().len()), ("All", 17));
    assert_eq!(all.iter().next(), Some(("flag", view.get("flag").expect("a field"))));
    assert_eq!(all.get("inner"), view.get("inner"));
    let Some(Dynamic::Enum(kind)) = view.get("kind") else { panic!("an enum") };
    assert_eq!((kind.name(), kind.variant(), kind.iter().len()), ("Kind", "Full", 1));
    assert_eq!(kind.get("size").and_then(Dynamic::as_i64), Some(2));
}

#[test]
fn scalars_are_read_as_what_they_are() {
    let view = full().view();
    let at = |path: &str| view.get(path).expect("a place");
    assert_eq!((at("flag").as_bool(), at("flag").as_i64()), (Some(true), None));
    assert_eq!((at("big").as_u64(), at("big").as_i64()), (Some(u64::MAX), None));
    assert_eq!((at("big").as_f64(), at("votes").as_f64()), (Some(u64::MAX as f64), Some(3.0)));
    assert_eq!((at("ratio").as_f64(), at("small").as_f64()), (Some(1.5), Some(0.5)));
    assert_eq!((at("votes").as_i64(), at("votes").as_str()), (Some(3), None));
    assert_eq!((at("ratio").as_str(), at("ratio").as_bool()), (None, None));
    assert_eq!(at("text").as_str(), None);
    assert_eq!(at("maybe/name").as_str(), Some("x"));
    assert_eq!(at("maybe").filled(), view.get("inner"));
    assert_eq!(at("data").as_scalar(), Some(&ScalarValue::Bytes([1].into())));
    let initial = store().view();
    assert_eq!(initial.get("maybe").and_then(Dynamic::filled), None);
    assert!(!initial.is_inferred() && Dynamic::default().is_inferred());
}

/// What is found at each kind of place, in the words of the error.
#[test]
fn an_accessor_of_another_kind_is_refused_in_words() {
    let store = full();
    let words = [
        ("flag", "a bool"),
        ("maybe", "nothing, or the struct Inner"),
        ("inner", "the struct Inner"),
        ("kind", "one of Empty, Full"),
        ("votes", "a counter"),
        ("list", "a list (an integer of 64 bits)"),
        ("set", "a set"),
        ("map", "a map"),
        ("steps", "a movable list"),
        ("tree", "a tree"),
        ("groups", "groups"),
    ];
    for (path, found) in words {
        let error = store.change(|root| root.at(path).as_text().map(drop)).expect_err(path);
        assert_eq!(error.to_string(), format!("{path}: expected a text, found {found}"));
    }
    let refused = |edit: &dyn Fn(&Place<'_>) -> Result<(), ChangeError>| {
        store.change(|root| edit(&root.at("text"))).expect_err("a text").to_string()
    };
    assert!(refused(&|text| text.as_counter().map(drop)).contains("a counter, found a text"));
    assert!(refused(&|text| text.as_list().map(drop)).contains("a list, found a text"));
    assert!(refused(&|text| text.as_set().map(drop)).contains("a set, found a text"));
    assert!(refused(&|text| text.as_map().map(drop)).contains("a map, found a text"));
    assert!(refused(&|text| text.as_tree().map(drop)).contains("a tree, found a text"));
    assert!(refused(&|text| text.as_groups().map(drop)).contains("groups, found a text"));
    assert!(refused(&|text| text.as_movable_list().map(drop)).contains("a movable list, found"));
    assert!(refused(&|text| text.key("x").map(drop)).contains("a map or a set, found a text"));
    assert!(refused(&|text| text.item(1).map(drop)).contains("a list, found a text"));
    assert!(refused(&|text| text.element(1).map(drop)).contains("a collection, found a text"));
    assert!(refused(&|text| text.group_element(1).map(drop)).contains("groups, found a text"));
    assert!(refused(&|text| text.remove("x").map(drop)).contains("tree or groups, found a text"));
}

/// Each kind of value where another one belongs, in the words of the error.
#[test]
fn a_value_of_another_kind_is_refused_in_words() {
    let store = full();
    let view = store.view();
    let words = [
        ("flag", "true"),
        ("maybe", "the struct Inner"),
        ("kind", "the variant Full"),
        ("text", "a text"),
        ("votes", "a counter"),
        ("list", "a list"),
        ("set", "a set"),
        ("map", "a map"),
        ("steps", "a movable list"),
        ("tree", "a tree"),
        ("groups", "groups"),
    ];
    for (path, found) in words {
        let value = view.get(path).expect("a place").clone();
        let error = store.change(|root| root.at("inner").reconcile(&value)).expect_err(path);
        assert_eq!(error.to_string(), format!("inner: expected the struct Inner, found {found}"));
    }
    let error = store.change(|root| root.at("inner").reconcile(&Dynamic::default()));
    assert!(error.expect_err("no schema").to_string().contains("a value without a schema"));
    let error = store.change(|root| root.at("inner/name").set(json!({ "a": [1] })));
    assert_eq!(
        error.expect_err("an object").to_string(),
        "inner/name: expected a string, found an object"
    );
    for (path, value, expected) in [
        ("list", json!({}), "list: expected an array, found an object"),
        ("map", json!([1]), "map: expected an object, found an array of 1"),
        ("text", json!(1), "text: expected a string, or runs of text with their marks, found 1"),
        ("votes", json!("x"), "votes: expected an integer of 64 bits, the counter's sum"),
        ("tree", json!(1), "tree: expected the nodes of a tree"),
        ("groups", json!(1), "groups: expected groups with their items"),
        ("kind", json!("Full"), "kind/Full: expected an object with the variant's fields"),
        ("kind", json!(7), "kind: expected one of Empty, Full, found 7"),
        ("set", json!([null]), "set/0: expected an element of the type u8, found null"),
    ] {
        let error = store.change(|root| root.at(path).reconcile_json(&value)).expect_err(path);
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

#[test]
fn elements_are_removed_by_their_keys() {
    let store = full();
    let view = store.view();
    let (
        Some(Dynamic::MovableList(steps)),
        Some(Dynamic::Tree(tree)),
        Some(Dynamic::Groups(groups)),
    ) = (view.get("steps"), view.get("tree"), view.get("groups"))
    else {
        panic!("collections")
    };
    let step = steps.id_at(0).expect("an element").to_string();
    let node = tree.children(None).next().expect("a node").to_string();
    let (_, _, items) = groups.iter().next().expect("a group");
    let item = items.id_at(0).expect("an item").to_string();
    for (path, key) in
        [("set", "1"), ("map", "-1"), ("steps", &step), ("tree", &node), ("groups", &item)]
    {
        let removed = || store.change(|root| root.at(path).remove(key)).expect("a key");
        assert!(removed() && !removed(), "{path}");
    }
    let error = store.change(|root| root.at("steps").remove("first")).expect_err("no id");
    assert_eq!(error.to_string(), "steps: expected an element's id, found \"first\"");
    let error = store.change(|root| root.at("map").remove("first")).expect_err("no key");
    assert_eq!(error.to_string(), "map: expected a key of the type i32, found \"first\"");
    store
        .change(|root| {
            let list = root.at("list");
            list.as_list()?.insert(0, list.item(7)?)?;
            list.push(8).map(drop)
        })
        .expect("they fit");
    let list = serde_json::to_value(&*store.view()).expect("JSON")["list"].clone();
    assert_eq!(list, json!([7, 1, 2, 8]));
}

#[test]
fn keys_are_shown_as_their_texts() {
    let id = Uuid::from_u128(1);
    let element = "1-2".parse().expect("an id");
    let keys = [
        (KeyValue::Bool(true), "true", json!(true)),
        (KeyValue::Int(-3), "-3", json!(-3)),
        (KeyValue::Uint(3), "3", json!(3)),
        (KeyValue::Char('ä'), "ä", json!("ä")),
        (KeyValue::Str("a/b".into()), "a/b", json!("a/b")),
        (KeyValue::Uuid(id), "00000000-0000-0000-0000-000000000001", json!(id.to_string())),
        (KeyValue::ElementId(element), "1-2", json!("1-2")),
        (KeyValue::Other("x".into()), "x", json!("x")),
    ];
    for (key, text, plain) in keys {
        assert_eq!(key.to_string(), text);
        assert_eq!(serde_json::to_value(&key).expect("JSON"), plain);
    }
}

/// Registers of other programs hold what no state wrote.
#[test]
fn odd_registers_are_shown_all_the_same() {
    #[derive(State, Clone, Debug, PartialEq)]
    struct One {
        any: exostate::Register<Option<bool>>,
    }
    let document = Document::<Yrs>::new();
    let store = Store::dynamic(&document, &One::schema()).expect("a schema");
    // {1: -2^64, true: tag 1 (5), [2]: h'01', "a": 1.5} and an integer above those of 64 bits.
    let bytes: Vec<u8> = [
        &[0xa5, 0x01, 0x3b][..],
        &[0xff; 8],
        &[0xf5, 0xc1, 0x05, 0x81, 0x02, 0x41, 0x01, 0x61, 0x61, 0xf9, 0x3e, 0x00],
        &[0x61, 0x62, 0x1b],
        &[0xff; 8],
    ]
    .concat();
    document.edit(|edit| edit.set("any", Value::Bytes(bytes.into()))).expect("written");
    let shown = serde_json::to_value(&*store.view()).expect("JSON")["any"].clone();
    assert_eq!(shown["1"], json!("-18446744073709551616"));
    assert_eq!((&shown["true"], &shown["a"]), (&json!(5), &json!(1.5)));
    assert_eq!(shown["b"], json!(u64::MAX));
    let before = document.save();
    store.change(|root| root.at("any").set(&shown)).expect("it is the same");
    assert_eq!(document.save(), before);
    store.change(|root| root.at("any").set(true)).expect("it is another");
    assert_eq!(*Store::<One>::on(&document).view().any, Some(true));
    // Without a schema too.
    let look = Store::<Dynamic>::on(&document);
    assert!(format!("{:?}", look.view()).contains("\"any\""));
    document.edit(|edit| edit.set("any/below", 1)).expect("written");
    let printed = format!("{:?}", look.view());
    assert!(printed.contains("@register") && printed.contains("\"below\""), "{printed}");
}
