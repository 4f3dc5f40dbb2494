//! The schema of a state type: what it says, its JSON, its JSON Schema, differences.

#![allow(clippy::unwrap_used, reason = "a test stops at a fault")]

use std::collections::BTreeMap;

use exostate::schema::{Class, Form, Key, Schema, SchemaError, Type, assert_compatible};
use exostate::{
    Counter, ElementId, Groups, Link, List, Map, MovableList, Register, Set, State, Store, Text,
    Tree, Uuid,
};
use proptest::prelude::*;
use serde::Serialize;

/// A board with everything
/// that a state can have.
#[derive(State, Serialize, Clone, Debug, PartialEq)]
struct Board {
    title: String,
    #[state(default = 7)]
    limit: u16,
    #[state(default = Column::Doing)]
    first: Column,
    #[state(default = Some(2.5))]
    factor: Option<f64>,
    size: f32,
    letter: char,
    bytes: Vec<u8>,
    id: Uuid,
    element: ElementId,
    link: Link<Board>,
    since: std::time::SystemTime,
    theme: Register<BTreeMap<String, u32>>,
    notes: Text,
    votes: Counter,
    tags: Set<String>,
    numbers: List<i64>,
    cards: MovableList<Card>,
    people: Map<u32, Person>,
    outline: Tree<Card>,
    groups: Groups<Column, Card>,
    shape: Shape,
    /// In metres.
    #[deprecated(note = "use size")]
    #[state(rename = "w")]
    width: Metres,
    #[state(skip)]
    #[serde(skip)]
    cache: u32,
}

#[derive(State, Serialize, Clone, Debug, PartialEq)]
struct Card {
    text: String,
    done: bool,
    person: Option<Person>,
}

#[derive(State, Serialize, Clone, Debug, PartialEq)]
struct Person {
    name: String,
    /// A person may contain persons.
    friends: Map<String, Person>,
}

#[derive(State, Serialize, Clone, Copy, Debug, Default, PartialEq)]
enum Column {
    #[default]
    Todo,
    Doing,
}

#[derive(State, Serialize, Clone, Debug, PartialEq)]
enum Shape {
    #[state(default)]
    None,
    Circle(f64),
    Line(f64, f64),
    Box {
        width: u32,
        name: String,
    },
}

#[derive(State, Serialize, Clone, Debug, PartialEq)]
struct Metres(f64);

#[test]
fn a_schema_says_what_the_derive_knows() {
    let schema = Board::schema();
    assert_eq!(schema.root(), &Type::Named("Board".into()));
    let names: Vec<&str> = schema.definitions().map(|(name, _)| name).collect();
    assert_eq!(names, ["Board", "Card", "Column", "Metres", "Person", "Shape"]);
    let board = schema.definition("Board").unwrap();
    assert_eq!(board.docs(), "A board with everything\nthat a state can have.");
    let Form::Struct(fields) = board.form() else { panic!("{board:?}") };
    let field = |name: &str| fields.iter().find(|field| field.name() == name).unwrap();
    assert_eq!(field("people").ty(), &Type::Map(Key::U32, Box::new(Type::Named("Person".into()))));
    let width = field("w");
    assert_eq!((width.rust_name(), width.docs()), ("width", "In metres."));
    assert_eq!(width.deprecated(), Some("use size"));
    assert_eq!(schema.resolve(width.ty()), &Type::F64);
    let default = |name: &str| {
        let registers = field(name).default().unwrap();
        registers.iter().map(|(path, value)| (path.as_str(), value.0.clone())).collect::<Vec<_>>()
    };
    assert_eq!(default("limit"), [("", 7.into())]);
    assert_eq!(default("first"), [("", "Doing".into())]);
    assert_eq!(default("factor"), [("", 2.5.into())]);
    assert!(field("title").default().is_none());
    assert!(!fields.iter().any(|field| field.rust_name() == "cache"));
    let Form::Enum { default, variants } = schema.definition("Shape").unwrap().form() else {
        panic!("an enum")
    };
    assert_eq!((default.as_str(), variants.len()), ("None", 4));
    assert_eq!(variants[2].fields()[1].name(), "1");
}

mod other {
    use super::*;

    #[derive(State, Clone, Debug, PartialEq)]
    pub struct Card {
        pub points: u8,
    }

    #[derive(State, Clone, Debug, PartialEq)]
    pub struct Pair<A, B> {
        pub a: A,
        pub b: B,
    }
}

#[test]
fn types_of_one_name_are_told_apart() {
    type Pair = other::Pair<Card, other::Pair<other::Card, Card>>;
    let schema = Pair::schema();
    let names: Vec<&str> = schema.definitions().map(|(name, _)| name).collect();
    assert_eq!(names, ["Card", "Card.2", "Pair", "Pair.2", "Person"]);
    let Form::Struct(fields) = schema.definition("Pair.2").unwrap().form() else { panic!() };
    assert_eq!(fields[0].ty(), &Type::Named("Card.2".into()));
    assert_eq!(fields[1].ty(), &Type::Named("Card".into()));
}

#[test]
fn a_schema_reads_back_from_its_json() {
    for schema in [Board::schema(), <Map<String, Card>>::schema(), u8::schema()] {
        let json = schema.to_json();
        let read = Schema::from_json(&json).unwrap();
        assert_eq!((&read, read.to_json()), (&schema, json));
        assert_eq!(read.hash(), schema.hash());
        let value = serde_json::to_value(&schema).unwrap();
        assert_eq!(serde_json::from_value::<Schema>(value).unwrap(), schema);
    }
}

mod same {
    use super::*;

    #[derive(State, Clone, Debug, PartialEq)]
    pub struct Card {
        #[state(rename = "done")]
        pub is_done: bool,
        /// The text.
        #[deprecated]
        pub text: String,
    }
}

mod plain {
    use super::*;

    #[derive(State, Clone, Debug, PartialEq)]
    pub struct Card {
        pub text: String,
        pub done: bool,
    }
}

#[test]
fn the_hash_is_that_of_the_structure() {
    let hash = plain::Card::schema().hash();
    assert_eq!(same::Card::schema().hash(), hash);
    assert_ne!(other::Card::schema().hash(), hash);
    // It is a part of the format.
    assert_eq!(format!("{hash:032x}"), "a7836ec61b09bddc9362aef2d5e26c05");
}

fn refused(json: &str) -> String {
    Schema::from_json(json).unwrap_err().to_string()
}

#[test]
fn a_schema_of_a_stranger_is_checked() {
    let of = |types: &str| format!(r#"{{"exostate-schema": 1, "root": "text", "types": {types}}}"#);
    assert!(refused("[]").contains("cannot be read"));
    assert!(matches!(
        Schema::from_json(r#"{"exostate-schema": 9, "root": 5}"#),
        Err(SchemaError::Newer(9))
    ));
    assert_eq!(
        refused(&of(r#"{"A": {"struct": [{"name": "a", "type": {"named": "B"}}]}}"#)),
        "A/a: there is no type \"B\""
    );
    assert_eq!(
        refused(&of(r#"{"A": {"newtype": {"named": "B"}}, "B": {"newtype": {"named": "A"}}}"#)),
        "A: its form depends on itself"
    );
    assert_eq!(
        refused(&of(r#"{"A": {"struct": [{"name": "a/b", "type": "text"}]}}"#)),
        "A: \"a/b\" is no name in a document"
    );
    let twice =
        r#"{"A": {"struct": [{"name": "a", "type": "text"}, {"name": "a", "type": "u8"}]}}"#;
    assert_eq!(refused(&of(twice)), "A: the name \"a\" is there twice");
    assert_eq!(
        refused(&of(r#"{"A": {"enum": {"default": "B", "variants": [{"name": "A"}]}}}"#)),
        "A: \"B\" is none of the variants"
    );
    let nested = r#"{"A": {"struct": [{"name": "a", "type": {"option": {"option": "u8"}}}]}}"#;
    assert_eq!(refused(&of(nested)), "A/a: an option in an option");
    let deep = format!("{}\"u8\"{}", "{\"list\": ".repeat(70), "}".repeat(70));
    let deep = format!(r#"{{"A": {{"struct": [{{"name": "a", "type": {deep}}}]}}}}"#);
    assert!(refused(&of(&deep)).starts_with("A/a: more than 64 types"));
    assert!(refused(&" ".repeat(5 << 20)).contains("more than"));
}

fn json_schema() -> serde_json::Value {
    serde_json::from_str(&Board::schema().to_json_schema()).unwrap()
}

fn is_valid(schema: &jsonschema::Validator, view: &impl Serialize) -> Result<(), String> {
    let json = serde_json::to_value(view).unwrap();
    schema.validate(&json).map_err(|error| format!("{error} in {json}"))
}

/// A change to the board, one of many.
fn edit(store: &Store<Board>, which: u8, number: u32) {
    let text = format!("{number} ü");
    let card = || Card { text: text.clone(), done: true, person: None };
    let person = || Person { name: text.clone(), friends: Map::new() };
    store
        .change(|board| match which {
            0 => board.title().set(text.as_str()),
            1 => board.limit().set(number as u16),
            2 => board.factor().set(None),
            3 => board.size().set(if number.is_multiple_of(2) { f32::NAN } else { number as f32 }),
            4 => board.bytes().set(vec![number as u8, 255]),
            5 => board.theme().set(BTreeMap::from([(text.clone(), number)])),
            6 => board.notes().push_str(&text),
            7 => board.votes().add(i64::from(number)),
            8 => board.tags().insert(text.clone()).map(drop),
            9 => board.numbers().push(i64::from(number)),
            10 => board.cards().push(card()).map(drop),
            11 => board.people().insert(number, person()),
            12 => {
                let node = board.outline().push(None, card())?;
                board.outline().push(Some(node), card()).map(drop)
            }
            13 => {
                let group = board.groups().push_group(Column::Doing)?;
                board.groups().push(group, card()).map(drop)
            }
            14 => board.shape().set(Shape::Line(0.5, f64::from(number))),
            15 => board.shape().set(Shape::Box { width: number, name: text.clone() }),
            16 => board.shape().set(Shape::Circle(1.0)),
            17 => board.notes().mark(0..0, "bold", true),
            _ => board.letter().set('ü'),
        })
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_view_is_valid(edits in proptest::collection::vec((0_u8..19, any::<u32>()), 0..20)) {
        let schema = jsonschema::draft202012::new(&json_schema()).unwrap();
        let store = Store::<Board>::new();
        edits.into_iter().for_each(|(which, number)| edit(&store, which, number));
        prop_assert_eq!(is_valid(&schema, &*store.view()), Ok(()));
    }
}

#[test]
fn a_json_schema_is_valid_and_refuses_other_json() {
    let schema = json_schema();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let good = serde_json::to_value(&*Store::<Board>::new().view()).unwrap();
    assert!(validator.is_valid(&good));
    for (path, wrong) in [
        ("title", serde_json::json!(1)),
        ("limit", serde_json::json!(65_536)),
        ("first", serde_json::json!("Done")),
        ("factor", serde_json::json!("2")),
        ("letter", serde_json::json!("ab")),
        ("cards", serde_json::json!([{ "text": "a" }])),
        ("people", serde_json::json!({ "x": { "name": "a", "friends": {} } })),
        ("people", serde_json::json!({ "1": { "name": "a", "friends": { "b": 1 } } })),
        ("outline", serde_json::json!([{ "children": [] }])),
        ("groups", serde_json::json!({ "groups": [{ "group": "Done", "items": [] }] })),
        ("shape", serde_json::json!({ "Line": [1.0] })),
        ("shape", serde_json::json!("Circle")),
    ] {
        let mut json = good.clone();
        json[path] = wrong.clone();
        assert!(!validator.is_valid(&json), "{path}: {wrong}");
    }
}

/// Compares two versions of a struct with one field, which is `a` in both.
macro_rules! change {
    ($old:ty => $new:ty) => {{
        mod old {
            #![allow(unused_imports)]
            use super::*;
            #[derive(State, Clone, Debug)]
            pub struct S {
                pub a: $old,
            }
        }
        mod new {
            #![allow(unused_imports)]
            use super::*;
            #[derive(State, Clone, Debug)]
            pub struct S {
                pub a: $new,
            }
        }
        let difference = new::S::schema().since(&old::S::schema());
        (difference.class(), difference.to_string())
    }};
}

#[test]
fn each_change_has_its_class() {
    use Class::{Compatible, NeedsFence, NeedsLens};
    let cases = [
        (change!(u8 => u8), Compatible),
        (change!(u8 => u16), Compatible),
        (change!(u8 => i16), Compatible),
        (change!(i8 => u16), NeedsLens),
        (change!(u64 => i64), NeedsLens),
        (change!(f32 => f64), Compatible),
        (change!(f64 => f32), NeedsLens),
        (change!(i64 => f64), NeedsLens),
        (change!(u8 => Option<u8>), Compatible),
        (change!(u8 => Option<u16>), Compatible),
        (change!(Column => Option<Column>), Compatible),
        (change!(Option<u8> => u8), NeedsLens),
        (change!(String => u8), NeedsLens),
        (change!(String => Register<BTreeMap<String, u32>>), NeedsLens),
        (change!(String => Text), NeedsFence),
        (change!(plain::Card => Option<plain::Card>), NeedsLens),
        (change!(List<u8> => List<u16>), Compatible),
        (change!(List<String> => MovableList<String>), NeedsFence),
        (change!(Map<u8, String> => Map<u32, String>), Compatible),
        (change!(Map<u8, String> => Map<String, String>), Compatible),
        (change!(Map<String, String> => Map<u8, String>), NeedsFence),
        (change!(Set<Uuid> => Set<String>), Compatible),
        (change!(MovableList<u8> => MovableList<Text>), NeedsFence),
        (change!(plain::Card => Shape), NeedsFence),
        (change!(plain::Card => same::Card), Compatible),
        (change!(Metres => f64), Compatible),
    ];
    for ((class, text), expected) in cases {
        assert_eq!(class, expected, "{text}");
    }
}

#[test]
fn enums_defaults_and_recursion_are_compared() {
    mod old {
        use super::*;
        #[derive(State, Clone, Debug)]
        pub struct Node {
            pub kind: Kind,
            #[state(default = 1)]
            pub count: u8,
            pub below: Map<String, Node>,
            pub gone: String,
        }
        #[derive(State, Clone, Debug)]
        pub enum Kind {
            #[state(default)]
            A,
            B {
                x: u8,
            },
        }
    }
    mod new {
        use super::*;
        #[derive(State, Clone, Debug)]
        pub struct Node {
            pub kind: Kind,
            #[state(default = 2)]
            pub count: u8,
            pub below: Map<String, Node>,
            pub fresh: Text,
        }
        #[derive(State, Clone, Debug)]
        pub enum Kind {
            A,
            #[state(default)]
            C,
            B {
                x: i8,
            },
        }
    }
    let difference = new::Node::schema().since(&old::Node::schema());
    assert_eq!(
        difference.to_string(),
        "kind: the default was A and is C (needs a lens)\n\
         kind/C: variant added (compatible)\n\
         kind/B/x: u8 became i8 (needs a lens)\n\
         count: the default has changed (needs a lens)\n\
         fresh: added (compatible)\n\
         gone: removed (compatible)\n"
    );
    assert_eq!(difference.class(), Class::NeedsLens);
    let json = serde_json::to_value(&difference).unwrap();
    assert_eq!(json["changes"][0]["class"], "needs_lens");
    let breaks = Shape::schema().since(&Card::schema());
    assert_eq!(breaks.class(), Class::Breaks);
}

#[test]
fn a_default_and_an_option_are_compared_beside_a_wider_type() {
    mod old {
        use super::*;
        #[derive(State, Clone, Debug)]
        pub struct S {
            #[state(default = 1)]
            pub a: u8,
            pub b: Kind,
        }
        #[derive(State, Clone, Debug)]
        pub enum Kind {
            #[state(default)]
            A,
            B,
        }
    }
    mod new {
        use super::*;
        #[derive(State, Clone, Debug)]
        pub struct S {
            #[state(default = 2)]
            pub a: u16,
            pub b: Option<Kind>,
        }
        #[derive(State, Clone, Debug)]
        pub enum Kind {
            #[state(default)]
            A,
        }
    }
    assert_eq!(
        new::S::schema().since(&old::S::schema()).to_string(),
        "a: u8 became u16 (compatible)\n\
         a: the default has changed (needs a lens)\n\
         b/B: variant removed (needs a lens)\n\
         b: an Option now (compatible)\n"
    );
    let fence = change!(String => Option<Text>);
    assert_eq!(fence.0, Class::NeedsFence, "{}", fence.1);
    let root = <Map<u32, String>>::schema().since(&<Map<u8, String>>::schema());
    assert_eq!(root.class(), Class::Compatible, "{root}");
}

/// A newtype may contain itself.
#[derive(State, Clone, Debug)]
struct Nested(Map<String, Nested>);

#[test]
fn schemas_that_are_made_to_cost_time_do_not() {
    let nested = Nested::schema();
    assert_eq!(nested.since(&nested).changes, []);
    let of = |types: &str| {
        format!(r#"{{"exostate-schema": 1, "root": {{"named": "T0"}}, "types": {types}}}"#)
    };
    let chain = |of_next: fn(usize) -> String| {
        let types: Vec<String> =
            (0..5_000).map(|at| format!(r#""T{at}": {}"#, of_next(at))).collect();
        of(&format!("{{{}}}", types.join(", ")))
    };
    // Each type contains the next one, the last one the first.
    let structs = chain(|at| {
        let next = (at + 1) % 5_000;
        format!(
            r#"{{"struct": [{{"name": "a", "type": {{"map": ["string", {{"named": "T{next}"}}]}}}}]}}"#
        )
    });
    let structs = Schema::from_json(&structs).unwrap();
    assert_eq!(structs.since(&structs).class(), Class::Breaks, "too deep to compare");
    let newtypes = chain(|at| match at {
        4_999 => r#"{"newtype": "u8"}"#.to_owned(),
        at => format!(r#"{{"newtype": {{"named": "T{}"}}}}"#, at + 1),
    });
    assert!(refused(&newtypes).contains("more than 64 newtypes"));
    let groups =
        (0..60).fold("\"u8\"".to_owned(), |inner, _| format!(r#"{{"groups": ["u8", {inner}]}}"#));
    let groups = of(&format!(r#"{{"T0": {{"newtype": {groups}}}}}"#));
    assert!(Schema::from_json(&groups).unwrap().to_json_schema().len() < 1_000_000);
}

mod typed {
    use super::*;

    #[derive(State, Clone, Debug)]
    pub struct Card {
        pub text: Text,
        pub done: bool,
    }
}

#[test]
fn the_check_for_applications_notices_changes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("v1.json");
    let failure = |check: fn(&std::path::Path)| {
        let file = file.clone();
        let panic = std::panic::catch_unwind(move || check(&file)).unwrap_err();
        panic.downcast_ref::<String>().unwrap().clone()
    };
    let missing = failure(|file| assert_compatible::<Card>(file));
    assert!(missing.contains("EXOSTATE_SCHEMA=write"), "{missing}");
    std::fs::write(&file, plain::Card::schema().to_json()).unwrap();
    assert_compatible::<plain::Card>(&file);
    assert_compatible::<Card>(&file);
    let changed = failure(|file| assert_compatible::<typed::Card>(file));
    assert!(changed.contains("text: String became Text (needs a fence)"), "{changed}");
}
