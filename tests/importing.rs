//! Promise: a document of Yjs or automerge, of any layout, is imported as a mapping says. What is
//! not taken is reported.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use automerge::transaction::Transactable;
use exostate::import::{Mapping, Reason, Report, Run, Source, Tree};
use exostate::{
    Automerge, Backend, BackendError, Counter, Document, GuardError, Limits, List, Map,
    MovableList, Options, Register, Set, State, Store, Text, Value, Yrs,
};
use proptest::prelude::*;
use support::strategy;
use yrs::types::Attrs;
use yrs::{
    Any, Array as _, ArrayPrelim, Doc, In, Map as _, MapPrelim, ReadTxn, StateVector, Text as _,
    TextPrelim, Transact, TransactionMut, XmlElementPrelim, XmlFragment as _, XmlTextPrelim,
};

#[derive(State, Clone, Debug, PartialEq)]
struct Board {
    title: String,
    notes: Text,
    seats: List<i64>,
    visits: Counter,
    tags: Set<String>,
    theme: Register<BTreeMap<String, Vec<u8>>>,
    owner: Option<Person>,
    people: Map<String, Person>,
    cards: MovableList<Card>,
    names: MovableList<String>,
    pages: MovableList<Text>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Person {
    name: String,
    age: u8,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Card {
    text: Text,
    done: bool,
    labels: Set<String>,
    steps: MovableList<Step>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Step {
    name: String,
}

const MAPPING: &str = "
    meta/title        -> title
    meta/body         -> text notes
    meta/seats        -> list seats
    meta/visits       -> counter visits
    meta/theme        -> value theme
    meta/owner        -> record owner
    meta/owner/name   -> owner/name
    meta/owner/age    -> owner/age
    tags/*            -> set tags
    people/*          -> map people
    people/*/name     -> people/*/name
    people/*/age      -> people/*/age

    # the cards, with the steps within them
    todos/*               -> movable-list cards
    todos/*/text          -> text cards/*/text
    todos/*/done          -> cards/*/done
    todos/*/labels/*      -> set cards/*/labels
    todos/*/steps/*       -> movable-list cards/*/steps
    todos/*/steps/*/name  -> cards/*/steps/*/name
    names/*           -> movable-list names
    pages/*           -> movable-list pages
    pages/*           -> text pages/*
    cache             -> nothing
";

fn mapping(text: &str) -> Mapping {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn encode(doc: &Doc) -> Vec<u8> {
    doc.transact().encode_state_as_update_v1(&StateVector::default())
}

fn read(bytes: &[u8]) -> Source {
    Source::read(bytes, &Limits::trusted()).unwrap_or_else(|error| panic!("{error}"))
}

fn marks(name: &str) -> Attrs {
    Attrs::from([(Arc::from(name), Any::Bool(true))])
}

/// A document as a Yjs application makes it: nested types.
fn yjs() -> Vec<u8> {
    let doc = Doc::new();
    let meta = doc.get_or_insert_map("meta");
    let tags = doc.get_or_insert_array("tags");
    let people = doc.get_or_insert_map("people");
    let todos = doc.get_or_insert_array("todos");
    let names = doc.get_or_insert_array("names");
    let pages = doc.get_or_insert_array("pages");
    let cache = doc.get_or_insert_map("cache");
    let mut txn = doc.transact_mut();
    meta.insert(&mut txn, "title", "Roadmap");
    let body = meta.insert(&mut txn, "body", TextPrelim::new("hello world"));
    body.format(&mut txn, 6, 5, marks("bold"));
    meta.insert(&mut txn, "seats", ArrayPrelim::from([3, 1, 2]));
    meta.insert(&mut txn, "visits", 7);
    let theme = Any::from_json(r#"{"b": [1, 2], "a": []}"#).expect("JSON");
    meta.insert(&mut txn, "theme", theme);
    let owner = meta.insert(&mut txn, "owner", MapPrelim::default());
    owner.insert(&mut txn, "name", "Ada");
    owner.insert(&mut txn, "age", 36);
    tags.insert_range(&mut txn, 0, ["red", "a/b"]);
    let eve = people.insert(&mut txn, "eve/1", MapPrelim::default());
    eve.insert(&mut txn, "name", "Eve");
    eve.insert(&mut txn, "age", 20);
    for (index, text) in ["one", "two"].iter().enumerate() {
        let todo = todos.push_back(&mut txn, MapPrelim::default());
        todo.insert(&mut txn, "text", TextPrelim::new(*text));
        todo.insert(&mut txn, "done", index == 1);
        todo.insert(&mut txn, "labels", ArrayPrelim::from(["x", "y"]));
        let steps = todo.insert(&mut txn, "steps", ArrayPrelim::default());
        for name in ["first", "second"] {
            let step = steps.push_back(&mut txn, MapPrelim::default());
            step.insert(&mut txn, "name", name);
        }
    }
    names.insert_range(&mut txn, 0, ["n1", "n2"]);
    pages.push_back(&mut txn, TextPrelim::new("page 😀"));
    cache.insert(&mut txn, "any", 1);
    drop(txn);
    encode(&doc)
}

/// The same content as an automerge application makes it.
fn automerge_document() -> Vec<u8> {
    use automerge::marks::{ExpandMark, Mark};
    use automerge::{AutoCommit, ObjType, ROOT, ScalarValue};
    let mut doc = AutoCommit::new();
    let at = |doc: &mut AutoCommit, parent: &automerge::ObjId, key: &str, kind| {
        doc.put_object(parent, key, kind).expect("it can be written")
    };
    let text = |doc: &mut AutoCommit, object: &automerge::ObjId, content: &str| {
        doc.splice_text(object, 0, 0, content).expect("it can be written")
    };
    let meta = at(&mut doc, &ROOT, "meta", ObjType::Map);
    // automerge of JavaScript writes strings as texts.
    let title = at(&mut doc, &meta, "title", ObjType::Text);
    text(&mut doc, &title, "Roadmap");
    let body = at(&mut doc, &meta, "body", ObjType::Text);
    text(&mut doc, &body, "hello world");
    doc.mark(&body, Mark::new("bold".to_owned(), true, 6, 11), ExpandMark::After).expect("a mark");
    let seats = at(&mut doc, &meta, "seats", ObjType::List);
    for (index, seat) in [3, 1, 2].into_iter().enumerate() {
        doc.insert(&seats, index, seat).expect("it can be written");
    }
    doc.put(&meta, "visits", ScalarValue::counter(7)).expect("it can be written");
    let theme = at(&mut doc, &meta, "theme", ObjType::Map);
    let list = at(&mut doc, &theme, "b", ObjType::List);
    doc.insert(&list, 0, 1).expect("it can be written");
    doc.insert(&list, 1, 2).expect("it can be written");
    at(&mut doc, &theme, "a", ObjType::List);
    let owner = at(&mut doc, &meta, "owner", ObjType::Map);
    doc.put(&owner, "name", "Ada").expect("it can be written");
    doc.put(&owner, "age", 36).expect("it can be written");
    let tags = at(&mut doc, &ROOT, "tags", ObjType::List);
    doc.insert(&tags, 0, "red").expect("it can be written");
    doc.insert(&tags, 1, "a/b").expect("it can be written");
    let people = at(&mut doc, &ROOT, "people", ObjType::Map);
    let eve = at(&mut doc, &people, "eve/1", ObjType::Map);
    doc.put(&eve, "name", "Eve").expect("it can be written");
    doc.put(&eve, "age", 20_u64).expect("it can be written");
    let todos = at(&mut doc, &ROOT, "todos", ObjType::List);
    for (index, content) in ["one", "two"].into_iter().enumerate() {
        let todo = doc.insert_object(&todos, index, ObjType::Map).expect("it can be written");
        let note = at(&mut doc, &todo, "text", ObjType::Text);
        text(&mut doc, &note, content);
        doc.put(&todo, "done", index == 1).expect("it can be written");
        let labels = at(&mut doc, &todo, "labels", ObjType::List);
        doc.insert(&labels, 0, "x").expect("it can be written");
        doc.insert(&labels, 1, "y").expect("it can be written");
        let steps = at(&mut doc, &todo, "steps", ObjType::List);
        for (index, name) in ["first", "second"].into_iter().enumerate() {
            let step = doc.insert_object(&steps, index, ObjType::Map).expect("it can be written");
            doc.put(&step, "name", name).expect("it can be written");
        }
    }
    let names = at(&mut doc, &ROOT, "names", ObjType::List);
    doc.insert(&names, 0, "n1").expect("it can be written");
    doc.insert(&names, 1, "n2").expect("it can be written");
    let pages = at(&mut doc, &ROOT, "pages", ObjType::List);
    let page = doc.insert_object(&pages, 0, ObjType::Text).expect("it can be written");
    text(&mut doc, &page, "page 😀");
    let cache = at(&mut doc, &ROOT, "cache", ObjType::Map);
    doc.put(&cache, "any", 1).expect("it can be written");
    doc.save()
}

fn shows_the_board<B: Backend>(bytes: &[u8]) {
    let (store, report) =
        mapping(MAPPING).import::<Board, B>(&read(bytes)).expect("it can be written");
    assert!(report.is_complete(), "{report}");
    assert_eq!(
        (report.texts(), report.lists(), report.elements()),
        (4, 1, 2 + 1 + 2 + 4 + 4 + 2 + 1)
    );
    assert!(store.violations().is_empty());
    let board = store.view();
    assert_eq!((board.title.as_str(), board.visits.value()), ("Roadmap", 7));
    assert_eq!(board.notes, "hello world");
    assert!(board.notes.marks_at(5).is_none() && board.notes.marks_at(6).is_some());
    assert_eq!(board.seats.iter().copied().collect::<Vec<_>>(), [3, 1, 2]);
    assert_eq!(board.tags.iter().cloned().collect::<Vec<_>>(), ["a/b", "red"]);
    let theme = BTreeMap::from([("a".to_owned(), vec![]), ("b".to_owned(), vec![1, 2])]);
    assert_eq!(*board.theme, theme);
    assert_eq!(board.owner, Some(Person { name: "Ada".into(), age: 36 }));
    assert_eq!(board.people.get("eve/1"), Some(&Person { name: "Eve".into(), age: 20 }));
    let cards: Vec<_> = board.cards.iter().map(|card| (card.text.to_string(), card.done)).collect();
    assert_eq!(cards, [("one".to_owned(), false), ("two".to_owned(), true)]);
    for card in &board.cards {
        assert_eq!(card.labels.len(), 2);
        let steps: Vec<&str> = card.steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(steps, ["first", "second"]);
    }
    assert_eq!(board.names.iter().map(String::as_str).collect::<Vec<_>>(), ["n1", "n2"]);
    assert_eq!(board.pages[0], "page 😀");
    // The document is one like any other.
    let first = board.cards.id_at(0).expect("a card");
    store.change(|board| board.cards().move_to(first, 1)).expect("it can be written");
    store.change(|board| board.visits().add(1)).expect("it can be written");
    let opened = Store::<Board, B>::open(&store.save()).expect("a document");
    assert_eq!(
        (opened.view().visits.value(), opened.view().cards[1].text.to_string()),
        (8, "one".into())
    );
    assert_eq!(*opened.view(), *store.view());
}

#[test]
fn a_yjs_document_is_imported() {
    shows_the_board::<Yrs>(&yjs());
    shows_the_board::<Automerge>(&yjs());
}

#[test]
fn an_automerge_document_is_imported() {
    shows_the_board::<Yrs>(&automerge_document());
    shows_the_board::<Automerge>(&automerge_document());
}

fn reported(report: &Report) -> Vec<String> {
    report.not_taken().iter().map(ToString::to_string).collect()
}

#[test]
fn xml_and_embeds_are_read() {
    let doc = Doc::new();
    let page = doc.get_or_insert_xml_fragment("page");
    let quill = doc.get_or_insert_text("quill");
    let mut txn = doc.transact_mut();
    let paragraph = page.push_back(&mut txn, XmlElementPrelim::empty("p"));
    yrs::Xml::insert_attribute(&paragraph, &mut txn, "align", "left");
    paragraph.push_back(&mut txn, XmlTextPrelim::new("words"));
    quill.insert(&mut txn, 0, "ab");
    quill.insert_embed(&mut txn, 1, Any::from_json(r#"{"image": "x.png"}"#).expect("JSON"));
    quill.format(
        &mut txn,
        0,
        1,
        Attrs::from([(Arc::from("odd"), Any::from_json("{}").expect("JSON"))]),
    );
    drop(txn);
    let source = read(&encode(&doc));
    let (store, report) = mapping(
        "page/*/tag -> tags/*\npage/* -> movable-list tags\n\
         page/*/children/* -> movable-list tags/*/lines\n\
         page/*/attributes/align -> tags/*/align\nquill -> text notes",
    )
    .import_document::<Yrs>(&source, Options::default())
    .expect("it can be written");
    let registers = store.registers("tags");
    assert!(registers.iter().any(|(_, value)| *value == Value::from("p")), "{registers:?}");
    assert!(registers.iter().any(|(_, value)| *value == Value::from("words")), "{registers:?}");
    assert!(registers.iter().any(|(path, _)| path.ends_with("/align")), "{registers:?}");
    assert_eq!(store.text("notes"), "ab");
    let reported = reported(&report);
    assert_eq!(reported.len(), 2, "{reported:?}");
    assert!(reported.iter().any(|line| line.contains("the mark \"odd\"")), "{reported:?}");
    assert!(reported.iter().any(|line| line.contains("embedded at character 1")), "{reported:?}");
}

#[test]
fn everything_that_does_not_fit_is_reported() {
    let map = |entries: Vec<(&str, Tree)>| {
        Tree::Map(entries.into_iter().map(|(key, tree)| (key.to_owned(), tree)).collect())
    };
    let value = |value: Value| Tree::Value(value);
    let source = Source::from(map(vec![
        ("a", map(vec![("deep", value(Value::from(1)))])),
        ("age", value(Value::from(300))),
        ("body", value(Value::from(3))),
        ("cards", Tree::List(vec![value(Value::Unknown("foreign type")), map(vec![])])),
        ("large", value(Value::from("x".repeat(5 << 20)))),
        ("more", map(vec![("x y", value(Value::from(1)))])),
        ("name", value(Value::from("Ada"))),
        ("nick", value(Value::from("A"))),
        ("seats", Tree::List(vec![value(Value::from(1)), map(vec![])])),
        ("typo", value(Value::from(1))),
        ("visits", value(Value::from(0.5))),
    ]));
    let (store, report) = mapping(
        "age -> owner/age\nbody -> text notes\ncards/* -> movable-list cards\n\
         cards/*/done -> cards/*/done\nlarge -> title\nname -> owner/name\nnick -> owner/name\n\
         seats -> list seats\ntypo -> titel\nvisits -> counter visits\n",
    )
    .import::<Board, Yrs>(&source)
    .expect("it can be written");
    let said = reported(&report);
    for (path, reason) in [
        ("a", "no rule"),
        ("more", "no rule"),
        ("body", "line 2 of the mapping takes a text"),
        ("cards/0", "takes values that exostate knows"),
        ("large", "others take less than"),
        ("nick", "owner/name has the content of name already"),
        ("seats/1", "scalars"),
        ("visits", "an integer"),
        ("typo", "1: no field of the state reads titel"),
        // Without the rule `record owner` the option is empty.
        ("name", "no field of the state reads owner/name"),
    ] {
        let is_told =
            |line: &&String| line.starts_with(&format!("{path}: ")) && line.contains(reason);
        assert!(said.iter().any(|line| is_told(&line)), "{path}: {reason} in {said:#?}");
    }
    assert_eq!(said.len(), 11, "{said:#?}");
    assert_eq!(store.view().cards.len(), 1);
    assert!(report.to_string().contains("not taken: 11"));
}

#[test]
fn values_that_do_not_fit_the_type_are_reported_with_their_source() {
    let source = Source::from(Tree::Map(
        [("name".to_owned(), Tree::Value(Value::from(5)))].into_iter().collect(),
    ));
    let (_, report) = mapping("name -> title").import::<Board, Yrs>(&source).expect("an import");
    let [not_taken] = report.not_taken() else { panic!("{report}") };
    assert_eq!((not_taken.path.as_str(), not_taken.found.as_str()), ("name", "5"));
    assert!(matches!(&not_taken.reason, Reason::Violation { target, .. } if target == "title"));
}

#[test]
fn the_whole_state_may_be_a_collection() {
    let text = "todos/* -> movable-list .\ntodos/*/text -> text */text\ntodos/*/done -> */done";
    let source = read(&yjs());
    let (store, report) =
        mapping(text).import::<MovableList<Card>, Yrs>(&source).expect("an import");
    let view = store.view();
    let cards: Vec<_> = view.iter().map(|card| (card.text.to_string(), card.done)).collect();
    assert_eq!(cards, [("one".to_owned(), false), ("two".to_owned(), true)]);
    assert!(report.not_taken().iter().all(|not_taken| not_taken.reason == Reason::NoRule));
}

#[test]
fn a_losing_concurrent_value_is_reported() {
    let mut doc = automerge::AutoCommit::new();
    let mut other = doc.fork();
    doc.put(automerge::ROOT, "title", "one").expect("it can be written");
    other.put(automerge::ROOT, "title", "two").expect("it can be written");
    doc.merge(&mut other).expect("it can be merged");
    let source = read(&doc.save());
    let (_, report) = mapping("title -> title").import::<Board, Yrs>(&source).expect("an import");
    assert_eq!(reported(&report), ["title: a concurrent value: automerge shows another value"]);
}

#[test]
fn other_bytes_are_refused_and_named() {
    let doc = Doc::new();
    doc.get_or_insert_map("meta").insert(&mut doc.transact_mut(), "title", "plan");
    let second = doc.transact().encode_state_as_update_v2(&StateVector::default());
    for (bytes, what) in [
        (second, "encoding v2"),
        (Vec::new(), "nothing"),
        (b"{\"a\": 1}".to_vec(), "JSON"),
        (b"\x89PNG\r\n\x1a\n123".to_vec(), "PNG"),
    ] {
        let error = Source::read(&bytes, &Limits::trusted()).expect_err(what);
        assert!(error.to_string().contains(what), "{what}: {error}");
    }
}

#[test]
fn a_part_of_a_document_is_refused() {
    let doc = Doc::new();
    let map = doc.get_or_insert_map("meta");
    map.insert(&mut doc.transact_mut(), "a", 1);
    let before = doc.transact().state_vector();
    map.insert(&mut doc.transact_mut(), "b", 2);
    let part = doc.transact().encode_diff_v1(&before);
    let error = Source::read(&part, &Limits::trusted()).expect_err("it is a part");
    assert!(error.to_string().contains("dependency is missing"), "{error}");
}

/// A document whose maps are nested this deep.
fn nested(levels: usize) -> Vec<u8> {
    let doc = Doc::new();
    let mut map = doc.get_or_insert_map("root");
    let mut txn = doc.transact_mut();
    for _ in 0..levels {
        map = map.insert(&mut txn, "in", MapPrelim::default());
    }
    drop(txn);
    encode(&doc)
}

#[test]
fn deep_nesting_is_refused() {
    let max = Limits::trusted().nesting_max();
    assert!(Source::read(&nested(max), &Limits::trusted()).is_ok());
    for levels in [max + 1, 50_000] {
        let error = Source::read(&nested(levels), &Limits::trusted()).expect_err("it is too deep");
        assert!(matches!(error, BackendError::Guard(GuardError::TooDeep { .. })), "{error}");
    }
    let mut doc = automerge::AutoCommit::new();
    let mut object = automerge::ROOT;
    for _ in 0..max + 1 {
        object = doc.put_object(&object, "in", automerge::ObjType::Map).expect("it can be written");
    }
    let error = Source::read(&doc.save(), &Limits::trusted()).expect_err("it is too deep");
    assert!(matches!(error, BackendError::Guard(GuardError::TooDeep { .. })), "{error}");
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i32>().prop_map(Value::from),
        any::<f32>().prop_map(|number| Value::float(number.into())),
        "[a-c😀]{0,5}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..5).prop_map(|bytes| Value::Bytes(bytes.into())),
    ]
}

fn text() -> impl Strategy<Value = Tree> {
    "[a-c😀]{1,5}".prop_map(|text| Tree::Text(vec![Run::Text(text, None)]))
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![3 => scalar().prop_map(Tree::Value), 1 => text()];
    leaf.prop_recursive(4, 30, 5, |within| {
        prop_oneof![
            prop::collection::vec(within.clone(), 0..5).prop_map(Tree::List),
            prop::collection::btree_map("[a-c~/* #>-]{0,3}", within, 0..5).prop_map(Tree::Map),
        ]
    })
}

fn roots() -> impl Strategy<Value = BTreeMap<String, Tree>> {
    let filled = prop::collection::btree_map("[a-c]{1,2}", tree(), 1..4).prop_map(Tree::Map);
    prop::collection::btree_map("[a-d]{1,2}", filled, 0..4)
}

fn to_any(value: &Value) -> Any {
    match value {
        Value::Null => Any::Null,
        Value::Bool(flag) => Any::from(*flag),
        Value::Int(number) => Any::from(*number),
        Value::Float(number) => Any::from(*number),
        Value::Str(text) => Any::from(&**text),
        Value::Bytes(bytes) => Any::from(bytes.to_vec()),
        _ => Any::Undefined,
    }
}

/// The tree as nested shared types of Yjs.
fn to_in(tree: &Tree) -> In {
    match tree {
        Tree::Value(value) => In::Any(to_any(value)),
        Tree::Text(runs) => match runs.first() {
            Some(Run::Text(text, _)) => In::from(TextPrelim::new(text.as_str())),
            _ => In::Any(Any::Null),
        },
        Tree::List(items) => In::from(items.iter().map(to_in).collect::<ArrayPrelim>()),
        Tree::Map(entries) => {
            let entries = entries.iter().map(|(key, tree)| (key.as_str(), to_in(tree)));
            In::from(entries.collect::<MapPrelim>())
        }
        _ => In::Any(Any::Null),
    }
}

fn write_yjs(roots: &BTreeMap<String, Tree>) -> Vec<u8> {
    let doc = Doc::new();
    let maps: Vec<_> = roots.keys().map(|name| doc.get_or_insert_map(name.as_str())).collect();
    let mut txn: TransactionMut<'_> = doc.transact_mut();
    for (map, tree) in maps.iter().zip(roots.values()) {
        let Tree::Map(entries) = tree else { continue };
        for (key, tree) in entries {
            map.insert(&mut txn, key.as_str(), to_in(tree));
        }
    }
    drop(txn);
    encode(&doc)
}

fn write_automerge(roots: &BTreeMap<String, Tree>) -> Vec<u8> {
    use automerge::{AutoCommit, ObjId, ObjType, Prop, ROOT, ScalarValue};
    fn scalar(value: &Value) -> ScalarValue {
        match value {
            Value::Bool(flag) => ScalarValue::Boolean(*flag),
            Value::Int(number) => ScalarValue::Int(*number),
            Value::Float(number) => ScalarValue::F64(*number),
            Value::Str(text) => ScalarValue::Str((&**text).into()),
            Value::Bytes(bytes) => ScalarValue::Bytes(bytes.to_vec()),
            _ => ScalarValue::Null,
        }
    }
    fn object(doc: &mut AutoCommit, parent: &ObjId, at: Prop, kind: ObjType) -> ObjId {
        match at {
            Prop::Map(key) => doc.put_object(parent, key, kind),
            Prop::Seq(index) => doc.insert_object(parent, index, kind),
        }
        .expect("it can be written")
    }
    fn put(doc: &mut AutoCommit, parent: &ObjId, at: Prop, tree: &Tree) {
        match (tree, at) {
            (Tree::Value(value), Prop::Map(key)) => {
                doc.put(parent, key, scalar(value)).expect("it can be written")
            }
            (Tree::Value(value), Prop::Seq(index)) => {
                doc.insert(parent, index, scalar(value)).expect("it can be written")
            }
            (Tree::Text(runs), at) => {
                let id = object(doc, parent, at, ObjType::Text);
                if let Some(Run::Text(text, _)) = runs.first() {
                    doc.splice_text(&id, 0, 0, text).expect("it can be written");
                }
            }
            (Tree::List(items), at) => {
                let id = object(doc, parent, at, ObjType::List);
                for (index, item) in items.iter().enumerate() {
                    put(doc, &id, Prop::Seq(index), item);
                }
            }
            (Tree::Map(entries), at) => {
                let id = object(doc, parent, at, ObjType::Map);
                for (key, tree) in entries {
                    put(doc, &id, Prop::Map(key.clone()), tree);
                }
            }
            _ => {}
        }
    }
    let mut doc = AutoCommit::new();
    for (name, tree) in roots {
        put(&mut doc, &ROOT, Prop::Map(name.clone()), tree);
    }
    doc.save()
}

/// A rule for each leaf, and the values that the document has then. `~` in a key is escaped by the
/// report itself: an import without rules names every place as a mapping has it.
fn leaves(tree: &Tree, path: &str, found: &mut Vec<(String, Tree)>) {
    let escape = |key: &str| {
        if key.is_empty() {
            return "~3".to_owned();
        }
        let escaped = key.replace('~', "~0").replace('/', "~1").replace('*', "~4");
        escaped.replace(' ', "~5").replace('>', "~6").replace('#', "~7")
    };
    let below =
        |key: &str| if path.is_empty() { escape(key) } else { format!("{path}/{}", escape(key)) };
    match tree {
        Tree::Map(entries) if !entries.is_empty() => {
            entries.iter().for_each(|(key, tree)| leaves(tree, &below(key), found));
        }
        Tree::List(items) if !items.is_empty() => {
            let items = items.iter().enumerate();
            items.for_each(|(index, tree)| leaves(tree, &below(&index.to_string()), found));
        }
        leaf if !path.is_empty() => found.push((path.to_owned(), leaf.clone())),
        _ => {}
    }
}

fn is_taken_whole<B: Backend>(source: &Source) {
    let mut found = Vec::new();
    leaves(source.tree(), "", &mut found);
    let rule = |(number, (path, leaf)): (usize, &(String, Tree))| {
        let kind = match leaf {
            Tree::Text(_) => "text",
            Tree::List(_) | Tree::Map(_) => "value",
            _ => "register",
        };
        format!("{path} -> {kind} t{number}\n")
    };
    let text: String = found.iter().enumerate().map(rule).collect();
    let imported = mapping(&text).import_document::<B>(source, Options::default());
    let (document, report): (Document<B>, Report) = imported.expect("it can be written");
    assert!(report.is_complete(), "{text}\n{report}");
    for (number, (path, leaf)) in found.iter().enumerate() {
        let target = format!("t{number}");
        match leaf {
            Tree::Value(value) => {
                assert_eq!(document.register(&target).as_ref(), Some(value), "{path}")
            }
            Tree::Text(runs) => assert!(
                matches!(runs.first(), Some(Run::Text(text, _)) if *text == document.text(&target))
            ),
            _ => assert!(document.register(&target).is_some()),
        }
    }
    // Without rules, everything is reported.
    let nothing = mapping("none -> none").import_document::<B>(source, Options::default());
    let (document, report) = nothing.expect("nothing is written");
    assert!(document.registers("").is_empty());
    let Tree::Map(roots) = source.tree() else { panic!("the roots are a map") };
    assert_eq!(report.not_taken().len(), roots.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: strategy::config().cases / 4, ..strategy::config() })]

    #[test]
    fn a_tree_with_a_complete_mapping_is_taken_whole(roots in roots()) {
        let expected = Tree::Map(roots.clone());
        for bytes in [write_yjs(&roots), write_automerge(&roots)] {
            let source = read(&bytes);
            prop_assert_eq!(source.tree(), &expected);
            is_taken_whole::<Yrs>(&source);
            is_taken_whole::<Automerge>(&source);
        }
    }

    #[test]
    fn damaged_bytes_are_no_panic(
        is_yjs in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = if is_yjs { yjs() } else { automerge_document() };
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(source) = Source::read(&bytes, &Limits::trusted()) {
            let imported = mapping(MAPPING).import::<Board, Yrs>(&source);
            let (store, _) = imported.expect("what is read can be imported");
            prop_assert_eq!(&*store.view(), &store.reread());
        }
    }
}
