//! Every type that a state can have, seen by its schema: the same view, the same ops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use exostate::{
    Automerge, Backend, Counter, Document, Dynamic, ElementId, Groups, Link, List, Map, Mismatch,
    MovableList, Options, Register, ReplicaId, Scalar, Set, State, Store, Text, Tree, Uuid, Value,
    Yrs,
};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// Types of each kind, with all that the derive can say of them.
#[derive(State, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[state(rename_all = "camelCase")]
struct Zoo {
    integers: Integers,
    float_value: f32,
    double_value: f64,
    #[state(default = 'x')]
    letter: char,
    shared: Arc<str>,
    bytes: Arc<[u8]>,
    id: Uuid,
    element: ElementId,
    link: Link<Zoo>,
    stamp: jiff::Timestamp,
    time: SystemTime,
    anything: Register<BTreeMap<String, Vec<u8>>>,
    chosen: Register<Choice>,
    percent: Percent,
    #[state(default = Percent(50))]
    half: Percent,
    metres: Metres,
    far: Option<Metres>,
    #[state(default = Some(Metres(1.5)))]
    near: Option<Metres>,
    kind: Kind,
    #[state(default = Kind::Pair(3, "three".to_owned()))]
    pair: Kind,
    maybe_kind: Option<Kind>,
    plain: Plain,
    maybe_plain: Option<Plain>,
    #[state(rename = "the-point")]
    point: Point,
    maybe_point: Option<Point>,
    skips: Skips,
    wrapped: Wrapped<Option<u8>>,
    forest: Forest,
    #[state(skip)]
    #[serde(skip)]
    cache: u8,
    lists: Lists,
    keys: Keys,
}

#[derive(State, Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Integers {
    i8: i8,
    i16: i16,
    i32: i32,
    i64: i64,
    u8: u8,
    u16: u16,
    u32: u32,
    u64: u64,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
enum Choice {
    #[default]
    First,
    Second {
        size: u8,
    },
}

/// A scalar of the application.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
struct Percent(i64);

impl Scalar for Percent {
    fn to_value(&self) -> Result<Value, String> {
        Ok(Value::Int(self.0))
    }
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Int(number) => Ok(Self(*number)),
            _ => Err(Mismatch("a percentage")),
        }
    }
    fn initial() -> Self {
        Self(100)
    }
}

#[derive(State, Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Metres(#[state(default = 2.5)] f64);

#[derive(State, Serialize, Deserialize, Clone, Debug, PartialEq)]
enum Kind {
    Empty,
    #[state(default)]
    One(#[state(default = 4)] u8),
    Pair(u16, String),
    #[state(rename = "with-fields")]
    Fields {
        text: Text,
        inner: Option<Plain>,
        points: Map<String, Point>,
    },
}

#[derive(State, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
enum Plain {
    North,
    #[state(default, rename = "s")]
    South,
}

#[derive(State, Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Point(i32, i32);

/// A tuple whose first field is not in the document.
#[derive(State, Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Skips(
    #[state(skip)]
    #[serde(skip)]
    u8,
    i32,
    String,
);

#[derive(State, Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Wrapped<T: Clone> {
    inner: T,
    more: Map<String, T>,
}

/// A newtype that contains itself.
#[derive(State, Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Forest(Map<String, Forest>);

#[derive(State, Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Lists {
    numbers: List<u64>,
    floats: List<f32>,
    names: List<Arc<str>>,
    links: List<Link<Zoo>>,
    registers: List<Register<Choice>>,
    options: MovableList<Option<u8>>,
    texts: MovableList<Text>,
    maps: MovableList<Map<bool, Counter>>,
    kinds: MovableList<Kind>,
    tree: Tree<Point>,
    groups: Groups<Text, Plain>,
}

#[derive(State, Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Keys {
    flags: Map<bool, u8>,
    small: Map<i8, Metres>,
    large: Set<u64>,
    letters: Set<char>,
    names: Map<Arc<str>, Option<Point>>,
    ids: Map<Uuid, List<String>>,
    elements: Set<ElementId>,
}

fn document<B: Backend>() -> Document<B> {
    Document::with_options(Options::new().with_replica(ReplicaId::from_bits(7)))
}

fn json(view: &impl Serialize) -> Json {
    serde_json::to_value(view).expect("JSON")
}

fn initial() -> Zoo {
    Zoo::clone(&Store::<Zoo>::new().view())
}

/// A state in which every place differs from its default.
fn full() -> Zoo {
    let element: ElementId = "1-2".parse().expect("an id");
    let second = || Register(Choice::Second { size: 9 });
    let point = |x: i32| Point(x, -x);
    let mut tree = Tree::new();
    let root = tree.push(None, point(1));
    tree.push(Some(root), point(2));
    let mut groups = Groups::new();
    let group = groups.push_group(Text::from("a group"));
    groups.push(group, Plain::North);
    let points = || Map::from_iter([("a/b".to_owned(), point(3)), (String::new(), point(4))]);
    let fields =
        || Kind::Fields { text: Text::from("a text"), inner: Some(Plain::North), points: points() };
    let leaf = || Forest(Map::new());
    let tree_of = |name: &str| Forest(Map::from_iter([(name.to_owned(), leaf())]));
    Zoo {
        integers: Integers {
            i8: i8::MIN,
            i16: i16::MIN,
            i32: i32::MAX,
            i64: i64::MIN,
            u8: u8::MAX,
            u16: u16::MAX,
            u32: u32::MAX,
            u64: u64::MAX,
        },
        float_value: 0.1,
        double_value: 0.1,
        letter: 'ä',
        shared: "shared".into(),
        bytes: [0, 255].into(),
        id: Uuid::from_u128(5),
        element,
        link: Link::new("another"),
        stamp: jiff::Timestamp::from_millisecond(1_234_567_890_123).expect("a time"),
        time: SystemTime::UNIX_EPOCH + Duration::new(12, 345),
        anything: Register(BTreeMap::from([("k".to_owned(), vec![1, 2])])),
        chosen: second(),
        percent: Percent(0),
        half: Percent(100),
        metres: Metres(0.0),
        far: Some(Metres(2.5)),
        near: None,
        kind: fields(),
        pair: Kind::One(4),
        maybe_kind: Some(Kind::Pair(0, String::new())),
        plain: Plain::North,
        maybe_plain: Some(Plain::South),
        point: point(7),
        maybe_point: Some(point(0)),
        skips: Skips(0, 5, "five".to_owned()),
        wrapped: Wrapped {
            inner: Some(0),
            more: Map::from_iter([("a".to_owned(), None), ("b".to_owned(), Some(1))]),
        },
        forest: Forest(Map::from_iter([("x".to_owned(), tree_of("y")), ("z".to_owned(), leaf())])),
        cache: 0,
        lists: Lists {
            numbers: [1, u64::MAX, 1 << 63].into(),
            floats: [0.1, -0.0].into(),
            names: ["a".into(), "".into()].into(),
            links: [Link::new("one")].into(),
            registers: [second(), Register(Choice::First)].into(),
            options: [None, Some(3)].into(),
            texts: [Text::from("one"), Text::new()].into(),
            maps: [Map::from_iter([(true, Counter::new(3)), (false, Counter::new(0))])].into(),
            kinds: [Kind::Empty, Kind::One(1), fields()].into(),
            tree,
            groups,
        },
        keys: Keys {
            flags: Map::from_iter([(true, 1), (false, 0)]),
            small: Map::from_iter([(-1, Metres(0.0)), (10, Metres(2.5)), (9, Metres(1.0))]),
            large: [u64::MAX, 10, 9].into_iter().collect(),
            letters: ['/', '@', 'a'].into_iter().collect(),
            names: Map::from_iter([("@a".into(), Some(point(1))), ("".into(), None)]),
            ids: Map::from_iter([(Uuid::from_u128(1), ["x".to_owned()].into())]),
            elements: [element].into_iter().collect(),
        },
    }
}

/// Turns two documents into each state in turn, one by the Rust type and one by the schema.
fn check<B: Backend>(states: &[Zoo]) {
    let (ours, theirs) = (document::<B>(), document::<B>());
    let typed = Store::<Zoo, B>::on(&ours);
    let untyped = Store::dynamic(&theirs, &Zoo::schema()).expect("a schema of a Rust type");
    assert_eq!(json(&*untyped.view()), json(&*typed.view()), "never written");
    for state in states {
        typed.reconcile(state).expect("written");
        untyped.change(|root| root.reconcile_json(json(state))).expect("it fits");
        assert_eq!(json(&*typed.view()), json(state));
        assert_eq!(json(&*untyped.view()), json(state));
        assert_eq!(json(&untyped.reread()), json(state));
        assert_eq!(ours.save(), theirs.save());
        // Each of them reads what the other wrote.
        let read = Store::<Zoo, B>::open(&theirs.save()).expect("opened");
        assert_eq!(*read.view(), *typed.view());
        let opened = Document::<B>::open(&ours.save()).expect("opened");
        let read = Store::dynamic(&opened, &Zoo::schema()).expect("a schema of a Rust type");
        assert_eq!(*read.view(), *untyped.view());
    }
}

#[test]
fn all_types_are_shown_and_written_alike_on_yrs() {
    check::<Yrs>(&[full(), initial(), full()]);
}

#[test]
fn all_types_are_shown_and_written_alike_on_automerge() {
    check::<Automerge>(&[full(), initial(), full()]);
}

/// Each field of a full state alone, so that no other field hides a mistake.
#[test]
fn a_change_of_one_place_is_written_alike() {
    fn leaves(json: &Json, path: &str, found: &mut Vec<String>) {
        found.push(path.to_owned());
        if let Json::Object(fields) = json {
            fields.iter().for_each(|(name, inner)| leaves(inner, &format!("{path}/{name}"), found));
        }
    }
    let (from, to) = (json(&initial()), json(&full()));
    let mut places = Vec::new();
    leaves(&from, "", &mut places);
    assert!(places.len() > 60, "{places:?}");
    for place in places {
        // The insides of two variants are not alike.
        let Some(new) = to.pointer(&place) else { continue };
        let mut mixed = from.clone();
        *mixed.pointer_mut(&place).expect("there") = new.clone();
        let Ok(state) = serde_json::from_value(mixed) else { panic!("{place}") };
        check::<Yrs>(&[state, initial()]);
    }
}

#[test]
fn what_does_not_fit_is_named_with_its_place() {
    let document = document::<Yrs>();
    let store = Store::dynamic(&document, &Zoo::schema()).expect("a schema of a Rust type");
    let before = document.save();
    let refused = |path: &str, value: Json| {
        let result = store.change(|root| root.at(path).set(value));
        result.expect_err("it does not fit").to_string()
    };
    let misfit = |path: &str, value: Json, expected: &str| {
        assert_eq!(refused(path, value), expected);
    };
    misfit("letter", "ab".into(), "letter: expected a character, found \"ab\"");
    misfit(
        "integers/u8",
        256.into(),
        "integers/u8: expected an unsigned integer of 8 bits, found 256",
    );
    misfit(
        "integers/u8",
        1.5.into(),
        "integers/u8: expected an unsigned integer of 8 bits, found 1.5",
    );
    misfit(
        "kind",
        "Five".into(),
        "kind: expected one of Empty, One, Pair, with-fields, found \"Five\"",
    );
    misfit("nothing", 1.into(), "nothing: expected a place of the schema, found no such place");
    misfit(
        "integers",
        serde_json::json!({ "i8": "1", "u16": 70_000, "more": 1 }),
        "integers/more: expected a field of Integers, found 1; \
         integers/i8: expected an integer of 8 bits, found \"1\"; \
         integers/u16: expected an unsigned integer of 16 bits, found 70000",
    );
    misfit(
        "keys/small",
        serde_json::json!({ "1": 2.0, "01": 3.0, "300": 4.0 }),
        "keys/small/01: expected a key of the type i8, found \"01\"; \
         keys/small/300: expected a key of the type i8, found \"300\"",
    );
    misfit("kind/Pair", 1.into(), "kind/Pair: expected a place that holds a value, found 1");
    misfit(
        "keys/letters",
        serde_json::json!([5]),
        "keys/letters/0: expected an element of the type char, found 5",
    );
    misfit(
        "keys/large",
        serde_json::json!(["5"]),
        "keys/large/0: expected an element of the type u64, found \"5\"",
    );
    assert_eq!(document.save(), before);
}

/// Typed accessors of a dynamic state take values that the schema does not have at their place.
#[test]
fn values_of_other_types_are_refused_where_they_are_written() {
    use exostate::dynamic::{KeyValue, ScalarValue};
    let document = document::<Yrs>();
    let store = Store::dynamic(&document, &Zoo::schema()).expect("a schema of a Rust type");
    let before = document.save();
    let refused = |result: Result<(), exostate::ChangeError>| {
        result.expect_err("it does not fit").to_string()
    };
    let text = Dynamic::Scalar(ScalarValue::from("text"));
    let error = store.change(|root| {
        let place = root.at("keys/flags");
        place.as_map()?.insert(place.key("true")?, text.clone())
    });
    assert_eq!(
        refused(error),
        "keys/flags/true: expected an unsigned integer of 8 bits, found \"text\""
    );
    let error = store
        .change(|root| root.at("keys/large").as_set()?.insert(KeyValue::Str("x".into())).map(drop));
    assert!(refused(error).starts_with("keys/large: expected a key"));
    let error =
        store.change(|root| root.at("lists/numbers").as_list()?.push(ScalarValue::from("x")));
    assert!(refused(error).starts_with("lists/numbers: expected an unsigned integer of 64 bits"));
    let error =
        store.change(|root| root.at("lists/options").as_movable_list()?.push(text).map(drop));
    assert!(refused(error).contains("expected nothing, or an unsigned integer of 8 bits"));
    let error = store.change(|root| root.at("lists/options").as_text()?.push_str("x"));
    assert_eq!(refused(error), "lists/options: expected a text, found a movable list");
    // A value of another store, whose schema has another type there.
    let other = Store::dynamic(&Document::<Yrs>::new(), &Point::schema()).expect("a schema");
    let error = store.change(|root| root.at("integers").reconcile(&other.view()));
    assert!(
        refused(error)
            .starts_with("integers: expected the struct Integers, found the struct Point")
    );
    assert_eq!(document.save(), before);
}

/// A default of a type whose other variants lead back, through a list, to the type with the default.
#[test]
fn defaults_of_types_that_lead_back_are_read() {
    #[derive(State, Clone, Debug, PartialEq)]
    struct Expression {
        #[state(default = Operator::Constant(1.0))]
        operator: Operator,
        #[state(default = Some(Size { width: 3, depth: Some(Metres(4.0)) }))]
        size: Option<Size>,
    }
    #[derive(State, Clone, Debug, PartialEq)]
    enum Operator {
        #[state(default)]
        Constant(f64),
        Sum(MovableList<Term>),
    }
    #[derive(State, Clone, Debug, PartialEq)]
    struct Term {
        expression: Expression,
    }
    #[derive(State, Clone, Debug, PartialEq)]
    struct Size {
        width: u8,
        depth: Option<Metres>,
    }
    let store = Store::dynamic(&document::<Yrs>(), &Expression::schema()).expect("it has an end");
    let shown = serde_json::json!({
        "operator": { "Constant": 1.0 }, "size": { "width": 3, "depth": 4.0 },
    });
    assert_eq!(json(&*store.view()), shown);
    store
        .change(|root| {
            root.at("operator").set(serde_json::json!({ "Sum": [] }))?;
            root.at("operator/Sum/0").push(serde_json::json!({ "expression": {} })).map(drop)
        })
        .expect("it fits");
    assert_eq!(json(&*store.view())["operator"]["Sum"][0]["expression"], shown);
}
