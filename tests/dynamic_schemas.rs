//! States of arbitrary schemas: both backends show the same, a view equals a fresh read, a replica
//! that imports shows the same, and what is equal is not written.

use exostate::schema::{Schema, SchemaError};
use exostate::{Automerge, Backend, Document, Dynamic, Options, ReplicaId, Store, Yrs};
use proptest::prelude::*;
use proptest::test_runner::Config;
use serde_json::{Value as Json, json};

/// A type of a schema: a scalar, a collection, or one of the definitions above `from`. A collection
/// and an option may hold any definition.
fn ty(from: usize) -> BoxedStrategy<Json> {
    let scalar = prop::sample::select(vec![
        "bool",
        "i8",
        "i32",
        "i64",
        "u8",
        "u64",
        "f32",
        "f64",
        "char",
        "string",
        "bytes",
        "uuid",
        "element_id",
        "link",
        "timestamp",
        "text",
        "counter",
    ]);
    let scalar = scalar.prop_map(Json::from).boxed();
    let elements = prop::sample::select(vec!["bool", "i64", "u64", "f64", "string", "char"]);
    let key = prop::sample::select(vec!["bool", "i8", "u64", "char", "string", "uuid"]);
    let named = |from| (from..DEFINITIONS).prop_map(|at| json!({ "named": format!("T{at}") }));
    let inner = prop_oneof![2 => scalar.clone(), 1 => named(0)];
    let collection = prop_oneof![
        inner.clone().prop_map(|inner| json!({ "option": inner })),
        elements.prop_map(|inner| json!({ "list": inner })),
        inner.clone().prop_map(|inner| json!({ "movable_list": inner })),
        (key.clone(), inner.clone()).prop_map(|(key, inner)| json!({ "map": [key, inner] })),
        key.prop_map(|key| json!({ "set": key })),
        inner.clone().prop_map(|inner| json!({ "tree": inner })),
        (inner.clone(), inner).prop_map(|(group, item)| json!({ "groups": [group, item] })),
    ];
    match from < DEFINITIONS {
        true => prop_oneof![3 => scalar, 3 => collection, 1 => named(from)].boxed(),
        false => prop_oneof![scalar, collection].boxed(),
    }
}

const DEFINITIONS: usize = 4;

fn fields(from: usize, names: &'static [&'static str]) -> BoxedStrategy<Json> {
    prop::collection::vec(ty(from), 0..=names.len())
        .prop_map(move |types| {
            let fields = types.into_iter().zip(names);
            fields.map(|(ty, name)| json!({ "name": name, "type": ty })).collect()
        })
        .boxed()
}

fn definition(at: usize) -> BoxedStrategy<Json> {
    let named = |from| fields(from, &["a", "b", "c-d", "e"]);
    let variant = |name: &'static str| {
        let both = prop_oneof![named(at + 1), fields(at + 1, &["0", "1"])];
        both.prop_map(move |fields| json!({ "name": name, "fields": fields }))
    };
    let variants = (variant("One"), variant("two"));
    prop_oneof![
        3 => named(at + 1).prop_map(|fields| json!({ "struct": fields })),
        1 => ty(at + 1).prop_filter("an option in an option", |ty| ty.get("option").is_none())
            .prop_map(|ty| json!({ "newtype": ty })),
        2 => variants.prop_map(|(one, two)| json!({
            "enum": { "default": "two", "variants": [one, two, { "name": "Three" }] },
        })),
    ]
    .boxed()
}

/// A schema whose state is a struct.
fn schema() -> impl Strategy<Value = Schema> {
    let types = (definition(0), definition(1), definition(2), definition(3));
    let root = fields(0, &["title", "count", "all", "more", "rest"]);
    (root, types).prop_filter_map("an option in an option", |(root, (a, b, c, d))| {
        let schema = json!({
            "exostate-schema": 1,
            "root": { "named": "Root" },
            "types": { "Root": { "struct": root }, "T0": a, "T1": b, "T2": c, "T3": d },
        });
        Schema::from_json(&schema.to_string()).ok()
    })
}

/// Choices, one after the other; zeros when they are used up, so that every value ends.
struct Choices(std::vec::IntoIter<u8>);

impl Choices {
    fn next(&mut self, below: usize) -> usize {
        usize::from(self.0.next().unwrap_or(0)) % below
    }
}

/// Plain data for a type.
fn value(schema: &Json, ty: &Json, choices: &mut Choices) -> Json {
    let several = |choices: &mut Choices| choices.next(3);
    if let Json::String(scalar) = ty {
        let choice = choices.next(4);
        let pick = |values: [Json; 4]| values[choice].clone();
        return match scalar.as_str() {
            "bool" => pick([false.into(), true.into(), false.into(), true.into()]),
            "i8" | "i32" | "i64" | "counter" => pick([0.into(), 1.into(), (-128).into(), 7.into()]),
            "u8" => pick([0.into(), 1.into(), 255.into(), 7.into()]),
            "u64" => pick([0.into(), 1.into(), u64::MAX.into(), (1_u64 << 63).into()]),
            "f32" | "f64" => pick([json!(0.0), json!(-0.0), json!(1.5), json!(3.0)]),
            "char" => pick(["\0".into(), "a".into(), "/".into(), "ä".into()]),
            "bytes" => pick([json!([]), json!([0]), json!([255, 1]), json!([1, 2, 3])]),
            "uuid" => Json::from(format!("00000000-0000-0000-0000-00000000000{choice}")),
            "element_id" => pick(["0-0".into(), "1-2".into(), "a-b".into(), "ff-0".into()]),
            "timestamp" => Json::from(format!("1970-01-01T00:00:0{choice}Z")),
            _ => pick(["".into(), "a".into(), "x/y~@".into(), "ä€😀".into()]),
        };
    }
    let (kind, inner) = ty.as_object().and_then(|ty| ty.iter().next()).expect("a type");
    let many = |choices: &mut Choices, inner: &Json| -> Vec<Json> {
        (0..several(choices)).map(|_| value(schema, inner, choices)).collect()
    };
    match kind.as_str() {
        "option" if choices.next(2) == 0 => Json::Null,
        "option" => value(schema, inner, choices),
        "list" | "movable_list" => many(choices, inner).into(),
        "set" => {
            let mut items = many(choices, inner);
            items.dedup();
            items.into()
        }
        "map" => {
            let keys = many(choices, &inner[0]).into_iter();
            let text = |key: Json| key.as_str().map_or_else(|| key.to_string(), str::to_owned);
            keys.map(|key| (text(key), value(schema, &inner[1], choices))).collect()
        }
        "tree" => many(choices, inner)
            .into_iter()
            .map(|above| {
                let children = many(choices, inner).into_iter();
                let children: Json =
                    children.map(|value| json!({ "value": value, "children": [] })).collect();
                json!({ "value": above, "children": children })
            })
            .collect(),
        "groups" => {
            let groups = many(choices, &inner[0]).into_iter();
            let groups: Json = groups
                .map(|group| json!({ "group": group, "items": many(choices, &inner[1]) }))
                .collect();
            json!({ "groups": groups, "ungrouped": many(choices, &inner[1]) })
        }
        "named" => named(schema, &schema["types"][inner.as_str().expect("a name")], choices),
        other => panic!("{other}"),
    }
}

fn named(schema: &Json, definition: &Json, choices: &mut Choices) -> Json {
    let object = |fields: &Json, choices: &mut Choices| -> Json {
        let fields = fields.as_array().into_iter().flatten();
        fields
            .map(|field| {
                let name = field["name"].as_str().expect("a name").to_owned();
                (name, value(schema, &field["type"], choices))
            })
            .collect()
    };
    if let Some(fields) = definition.get("struct") {
        return object(fields, choices);
    }
    if let Some(inner) = definition.get("newtype") {
        return value(schema, inner, choices);
    }
    let variants = definition["enum"]["variants"].as_array().expect("variants");
    let variant = &variants[(choices.next(3) + 1) % 3];
    let (name, fields) = (variant["name"].as_str().expect("a name"), &variant["fields"]);
    let inner = object(fields, choices);
    let values = inner.as_object().expect("an object");
    match (values.keys().next().map(String::as_str), values.len()) {
        (None, _) => name.into(),
        (Some("0"), 1) => json!({ name: inner["0"] }),
        (Some("0"), _) => json!({ name: [inner["0"], inner["1"]] }),
        _ => json!({ name: inner }),
    }
}

fn json(view: &Dynamic) -> Json {
    serde_json::to_value(view).expect("JSON")
}

/// Turns a state into each of the values, and compares it with one on another replica.
fn shown<B: Backend>(schema: &Schema, values: &[Json]) -> Vec<Json> {
    let document =
        Document::<B>::with_options(Options::new().with_replica(ReplicaId::from_bits(1)));
    let store = Store::dynamic(&document, schema).expect("a schema");
    let other = Document::<B>::new();
    let remote = Store::dynamic(&other, schema).expect("a schema");
    let mut shown = Vec::new();
    for value in values {
        store.change(|root| root.reconcile_json(value)).expect("it fits");
        let view = json(&store.view());
        assert_eq!(json(&store.reread()), view);
        other.merge(&document).expect("merged");
        assert_eq!(json(&remote.view()), view, "on the other replica");
        let saved = document.save();
        store.change(|root| root.reconcile_json(&view)).expect("it fits");
        assert_eq!(document.save(), saved, "what is equal is not written");
        assert_eq!(store.violations(), []);
        shown.push(view);
    }
    let opened = Document::<B>::open(&document.save()).expect("opened");
    assert_eq!(
        *Store::dynamic(&opened, schema).expect("a schema").view(),
        *store.view(),
        "after opening"
    );
    shown
}

fn cases() -> Config {
    let cases = std::env::var("EXOSTATE_CASES").ok().and_then(|cases| cases.parse().ok());
    Config { cases: cases.unwrap_or(256), failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_state_of_any_schema_is_the_same_everywhere(
        schema in schema(),
        choices in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..4),
    ) {
        let described: Json = serde_json::from_str(&schema.to_json()).expect("JSON");
        let values: Vec<Json> = choices
            .into_iter()
            .map(|choices| {
                value(&described, &described["root"], &mut Choices(choices.into_iter()))
            })
            .collect();
        let on_yrs = shown::<Yrs>(&schema, &values);
        prop_assert_eq!(&on_yrs, &shown::<Automerge>(&schema, &values));
        let json_schema = serde_json::from_str(&schema.to_json_schema()).expect("JSON");
        let validator = jsonschema::validator_for(&json_schema).expect("a JSON Schema");
        for view in &on_yrs {
            if let Err(error) = validator.validate(view) {
                prop_assert!(false, "{view}: {error}");
            }
        }
    }
}

fn refused(root: &str, types: &str) -> SchemaError {
    let text = format!(r#"{{"exostate-schema": 1, "root": {root}, "types": {types}}}"#);
    let schema = Schema::from_json(&text).expect("it does not contradict itself");
    Store::dynamic(&Document::<Yrs>::new(), &schema).expect_err("it has no end")
}

#[test]
fn a_schema_without_an_end_is_refused() {
    let itself = r#"{"A": {"struct": [{"name": "a", "type": {"named": "A"}}]}}"#;
    let error = refused(r#"{"named": "A"}"#, itself).to_string();
    assert!(error.starts_with("A: contains itself"), "{error}");
    let by_enum = r#"{
        "A": {"struct": [{"name": "b", "type": {"named": "B"}}]},
        "B": {"enum": {"default": "x", "variants": [
            {"name": "x"}, {"name": "y", "fields": [{"name": "0", "type": {"named": "A"}}]}
        ]}}
    }"#;
    assert!(refused(r#"{"named": "A"}"#, by_enum).to_string().contains("contains itself"));
    let list = r#"{"A": {"struct": [{"name": "a", "type": {"list": "text"}}]}}"#;
    assert!(refused(r#"{"named": "A"}"#, list).to_string().contains("scalars"));
}

/// Each struct has the next one twice: the whole doubles with each.
#[test]
fn a_schema_of_too_many_values_is_refused() {
    let definition = |at: usize| {
        let inner = json!({ "named": format!("T{}", at + 1) });
        let fields = match at {
            29 => json!([]),
            _ => json!([{ "name": "a", "type": inner }, { "name": "b", "type": inner }]),
        };
        (format!("T{at}"), json!({ "struct": fields }))
    };
    let types: Json = (0..30).map(definition).collect();
    let error = refused(r#"{"named": "T0"}"#, &types.to_string()).to_string();
    assert!(error.contains("more than 10000 values within each other"), "{error}");
}

/// Newtypes are described at each place: the whole doubles with each.
#[test]
fn a_schema_of_too_many_newtypes_is_refused() {
    let definition = |at: usize| {
        let inner = json!({ "named": format!("T{}", at + 1) });
        let ty = if at == 59 { json!("text") } else { json!({ "groups": [inner, inner] }) };
        (format!("T{at}"), json!({ "newtype": ty }))
    };
    let types: Json = (0..60).map(definition).collect();
    let error = refused(r#"{"named": "T0"}"#, &types.to_string()).to_string();
    assert!(error.contains("a million in all"), "{error}");
}

/// Each struct is made before the one that holds it, and the root does not name them.
#[test]
fn a_chain_of_structs_is_refused_in_any_order() {
    let definition = |at: usize| {
        let fields = match at {
            0 => json!([]),
            at => json!([{ "name": "a", "type": { "named": format!("T{:04}", at - 1) } }]),
        };
        (format!("T{at:04}"), json!({ "struct": fields }))
    };
    let mut types: Json = (0..5_000).map(definition).collect();
    let error = refused(r#""u8""#, &types.to_string()).to_string();
    assert!(error.contains("128 structs within each other"), "{error}");
    types.as_object_mut().expect("types").retain(|name, _| name.as_str() < "T0100");
    let text =
        json!({ "exostate-schema": 1, "root": { "option": { "named": "T0099" } }, "types": types });
    let schema = Schema::from_json(&text.to_string()).expect("a schema");
    assert!(Store::dynamic(&Document::<Yrs>::new(), &schema).is_ok());
}

/// Each default fills an option with thousands of values.
#[test]
fn a_schema_of_too_many_defaults_is_refused() {
    let many: Json =
        (0..5_000).map(|at| json!({ "name": format!("f{at}"), "type": "u8" })).collect();
    let filled = json!({ "named": "Many" });
    let fields: Json = (0..5_000)
        .map(|at| {
            let (name, ty) = (format!("f{at}"), json!({ "option": filled }));
            json!({ "name": name, "type": ty, "default": { "": true } })
        })
        .collect();
    let types = json!({ "All": { "struct": fields }, "Many": { "struct": many } });
    let error = refused(r#"{"named": "All"}"#, &types.to_string()).to_string();
    assert!(error.contains("values in defaults"), "{error}");
    // One default fills many entries of a map, each with thousands of values.
    let entries: Json = (0..5_000)
        .map(|at| (format!("k{at}"), json!(true)))
        .chain([(String::new(), json!(true))])
        .collect();
    let ty = json!({ "option": { "named": "Holder" } });
    let types = json!({
        "All": { "struct": [{ "name": "a", "type": ty, "default": entries }] },
        "Holder": { "newtype": { "map": ["string", filled] } },
        "Many": { "struct": many },
    });
    let error = refused(r#"{"named": "All"}"#, &types.to_string()).to_string();
    assert!(error.contains("default"), "{error}");
    let types = r#"{"A": {"struct": [{"name": "a", "type": "u8", "default": {"": 300}}]}}"#;
    assert!(refused(r#"{"named": "A"}"#, types).to_string().contains("does not fit the type"));
    let types = r#"{"A": {"struct": [
        {"name": "a", "type": {"option": {"named": "A"}}, "default": {"": true}}
    ]}}"#;
    assert!(refused(r#"{"named": "A"}"#, types).to_string().contains("that it belongs to"));
    let types = r#"{"A": {"struct": [{"name": "a", "type": "text", "default": {"": 1}}]}}"#;
    assert!(refused(r#"{"named": "A"}"#, types).to_string().contains("have a default"));
}

#[test]
fn variants_have_names_of_their_own_in_json() {
    let text = r#"{"exostate-schema": 1, "root": {"named": "A"}, "types": {"A": {"enum": {
        "default": "a", "variants": [{"name": "a", "rust": "X"}, {"name": "b", "rust": "X"}]
    }}}}"#;
    let error = Schema::from_json(text).expect_err("two of one name").to_string();
    assert!(error.contains("two variants are called"), "{error}");
}

#[test]
fn a_schema_that_is_nested_deeply_is_refused() {
    for wrap in [|inner: Json| inner, |inner: Json| json!({ "movable_list": inner })] {
        let definition = |at: usize| {
            let inner = match at {
                4_999 => json!("u8"),
                at => wrap(json!({ "named": format!("T{}", at + 1) })),
            };
            (format!("T{at}"), json!({ "struct": [{ "name": "a", "type": inner }] }))
        };
        let types: Json = (0..5_000).map(definition).collect();
        let error = refused(r#"{"named": "T0"}"#, &types.to_string()).to_string();
        assert!(error.contains("within each other"), "{error}");
    }
}

/// A document of a stranger has a path of many segments, where the schema allows recursion.
#[test]
fn deep_documents_can_be_shown() {
    let inner = json!({ "name": "a", "type": { "map": ["string", { "named": "A" }] } });
    let schema = json!({
        "exostate-schema": 1,
        "root": { "named": "A" },
        "types": { "A": { "struct": [inner] } },
    });
    let schema = Schema::from_json(&schema.to_string()).expect("a schema");
    let document = Document::<Yrs>::new();
    let path = |depth: usize| vec!["a/k"; depth].join("/");
    for depths in [1..10, 10..100, 100..1_000] {
        let edited = document
            .edit(|edit| depths.clone().try_for_each(|depth| edit.set(path(depth).as_str(), true)));
        edited.expect("written");
        let store = Store::dynamic(&document, &schema).expect("a schema");
        assert_eq!(store.reread(), *store.view());
        drop(format!("{:?}", store.view()));
        let inferred = Store::<Dynamic>::on(&document);
        drop((json(&inferred.view()), format!("{:?}", inferred.view())));
    }
}
