//! Promise: the JSON of a document holds all of its content, and hostile JSON is refused with the
//! place of the fault.

mod support;

use exostate::{
    Automerge, Backend, Document, JsonError, Limits, Options, State, Store, Value, Yrs,
};
use proptest::prelude::*;
use support::strategy;

/// The JSON gives a document of the same content, whose JSON is the same text.
fn round_trips<B: Backend>(document: &Document<B>) -> Document<B> {
    let json = document.to_json();
    let again = Document::<B>::from_json(&json).unwrap_or_else(|error| panic!("{error}\n{json}"));
    assert_eq!(again.digest(), document.digest(), "{json}");
    assert_eq!(again.to_json(), json);
    assert_eq!(again.registers(""), document.registers(""));
    assert_eq!(again.type_names(), document.type_names());
    // The documents that replicas and storage get are the same.
    let opened = Document::<B>::open(&again.save()).expect("a document");
    assert_eq!(opened.digest(), document.digest());
    again
}

fn states_round_trip<B: Backend>(ops: &[support::Op], theirs: &[support::Op]) {
    let store = support::store::<B>(1);
    let other = support::store::<B>(2);
    ops.iter().for_each(|op| support::apply(&store, op));
    theirs.iter().for_each(|op| support::apply(&other, op));
    store.merge(&other).expect("both are honest");
    let again = round_trips(&store.document());
    let opened = Store::<support::Everything, B>::on(&again);
    assert_eq!(opened.view(), store.view());
    // The copy is a document like any other.
    ops.iter().for_each(|op| support::apply(&opened, op));
    assert_eq!(*opened.view(), opened.reread());
    round_trips(&again);
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::float),
        prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e300, 5e-324])
            .prop_map(Value::Float),
        prop::sample::select(vec![i64::MIN, i64::MAX, (1 << 53) - 1, 1 << 53, -(1 << 53)])
            .prop_map(Value::Int),
        ".{0,12}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..12).prop_map(|bytes| Value::Bytes(bytes.into())),
    ]
}

fn values_round_trip<B: Backend>(registers: &[(String, Value)], list: &[Value]) {
    let document = Document::<B>::new();
    let edited = document.edit(|edit| {
        for (path, value) in registers {
            edit.set(path, value.clone())?;
        }
        edit.splice_list("list", 0..0, list.iter().cloned())
    });
    edited.expect("it can be written");
    round_trips(&document);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: strategy::config().cases / 4, ..strategy::config() })]

    #[test]
    fn a_document_on_yrs_round_trips(ops in strategy::ops(24), theirs in strategy::ops(8)) {
        states_round_trip::<Yrs>(&ops, &theirs);
    }

    #[test]
    fn a_document_on_automerge_round_trips(ops in strategy::ops(24), theirs in strategy::ops(8)) {
        states_round_trip::<Automerge>(&ops, &theirs);
    }

    #[test]
    fn every_value_round_trips(
        registers in prop::collection::vec(("[a-c]{1,2}(/[x-z]|/~3)?", scalar()), 0..12),
        list in prop::collection::vec(scalar(), 0..6),
    ) {
        values_round_trip::<Yrs>(&registers, &list);
        values_round_trip::<Automerge>(&registers, &list);
    }

    #[test]
    fn damaged_json_is_no_panic(
        ops in strategy::ops(16),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let store = support::store::<Yrs>(1);
        ops.iter().for_each(|op| support::apply(&store, op));
        let mut json = store.document().to_json().into_bytes();
        for (at, byte) in damage {
            let at = at.index(json.len());
            json[at] = byte;
        }
        if let Ok(text) = String::from_utf8(json)
            && let Ok(document) = Document::<Yrs>::from_json(&text)
        {
            round_trips(&document);
        }
    }
}

#[derive(State, Clone, Debug, PartialEq)]
struct Note {
    title: String,
    body: exostate::Text,
}

fn note<B: Backend>() -> Document<B> {
    let store = Store::<Note, B>::new();
    let change = store.change(|note| {
        note.title().set("plan")?;
        note.body().push_str("one\ntwo three")?;
        note.body().mark(4..7, "bold", true)
    });
    change.expect("it can be written");
    let document = store.document();
    let edit = document.edit(|edit| {
        edit.set("cards/1-1", true)?;
        edit.set("cards/1-1/text", "ship it")?;
        edit.splice_list("seats", 0..0, [Value::from(1), Value::float(f64::NAN)])
    });
    edit.expect("it can be written");
    document
}

/// The form of version 1 stays: see `docs/layout.md`.
#[test]
fn the_form_is_one_entry_a_line() {
    let bundle = |json: String| {
        let line = json.lines().find(|line| line.contains("bundle")).map(str::to_owned);
        let line = line.expect("the record is a bundle");
        let name = line.split('"').nth(1).expect("its path").to_owned();
        json.replace(&name, "cards/1-1/@2a-0")
    };
    let type_of = |json: String| {
        let line = json.lines().find(|line| line.contains("@type")).map(str::to_owned);
        json.replace(&line.expect("the type"), "\"@type/Note\": \"0123456789abcdef\",")
    };
    let expected = r#"{
"exostate": 1,
"lists": {
"seats": [
  1,
  {"float":"NaN"}
]
},
"registers": {
"@layout/1": true,
"@type/Note": "0123456789abcdef",
"cards/1-1/@2a-0": {"bundle":{"":true,"text":"ship it"}},
"title": "plan"
},
"texts": {
"body": [
  "one\n",
  {"attributes":{"bold":true},"insert":"two"},
  " three"
]
}
}
"#;
    assert_eq!(type_of(bundle(note::<Yrs>().to_json())), expected);
    assert_eq!(type_of(bundle(note::<Automerge>().to_json())), expected);
    round_trips(&Document::<Yrs>::from_json(expected).expect("it is read"));
}

#[test]
fn the_json_of_one_backend_is_read_on_the_other() {
    let document = note::<Yrs>();
    let other = Document::<Automerge>::from_json(&document.to_json()).expect("it is read");
    assert_eq!((other.to_json(), other.digest()), (document.to_json(), document.digest()));
    let back = Document::<Yrs>::from_json(&other.to_json()).expect("it is read");
    assert_eq!(back.digest(), document.digest());
}

#[test]
fn a_store_on_the_document_shows_what_was_read() {
    let document: Document = Document::new();
    let store = Store::<Note>::on(&document);
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let calls = std::sync::Arc::clone(&told);
    let watch = store.watch(Note::path().title(), move |title| {
        calls.lock().expect("the list").push(title.new().cloned());
    });
    document.load_json(&note::<Yrs>().to_json()).expect("it is read");
    assert_eq!(
        (store.view().title.as_str(), store.view().body.to_string()),
        ("plan", "one\ntwo three".to_owned())
    );
    assert_eq!(*told.lock().expect("the list"), [Some("plan".to_owned())]);
    drop(watch);
    let again = document.load_json(&note::<Yrs>().to_json());
    assert_eq!(again, Err(JsonError::NotEmpty));
}

fn refused(text: &str) -> (String, String) {
    let document: Document = Document::new();
    match document.load_json(text) {
        Err(JsonError::Malformed { path, reason, line, .. }) => {
            assert!(line > 0);
            assert!(document.registers("").is_empty());
            (path, reason)
        }
        other => panic!("{text}: {other:?}"),
    }
}

fn with_registers(registers: &str) -> String {
    format!(r#"{{"exostate": 1, "registers": {{{registers}}}}}"#)
}

#[test]
fn malformed_json_is_refused_with_its_place() {
    for (registers, path, reason) in [
        (r#""a": 1, "a/b": [1]"#, "a/b", "a value of a document"),
        (r#""a": 1, "b": {"float": "1"}"#, "b", "NaN"),
        (r#""a": {"int": "9223372036854775808"}"#, "a", "64 bits"),
        (r#""a": 9223372036854775808"#, "a", "2^63"),
        (r#""a": {"bytes": "0"}"#, "a", "hexadecimal"),
        (r#""a": {"bytes": "0g"}"#, "a", "hexadecimal"),
        (r#""a": {"bundle": {"": true}}"#, "a", "not that of a bundle"),
        (r#""a/@1-1": {"bundle": {"x//y": true}}"#, "a/@1-1", "malformed"),
        (r#""a/@1-1": {"bundle": {"x": {"bundle": {}}}}"#, "a/@1-1", "bundle"),
        (r#""a": {"unknown": "nested map"}"#, "a", "only its own software"),
        (r#""a": {"int": "1", "float": "NaN"}"#, "a", "second field"),
        (r#""a": {}"#, "a", "unknown kind"),
        (r#""a": 1, "a": 2"#, "a", "twice"),
    ] {
        let (found, said) = refused(&with_registers(registers));
        assert_eq!(found, path, "{registers}: {said}");
        assert!(said.contains(reason), "{registers}: {said}");
    }
    for (text, reason) in [
        ("", "EOF"),
        ("[]", "the JSON of a document"),
        ("{}", "first field"),
        (r#"{"registers": {}, "exostate": 1}"#, "first field"),
        (r#"{"exostate": 1, "more": 1}"#, "unknown field"),
        (r#"{"exostate": 1, "lists": {}, "lists": {}}"#, "twice"),
        (r#"{"exostate": 1} 2"#, "trailing"),
    ] {
        let (path, said) = refused(text);
        assert!(path.is_empty() && said.contains(reason), "{text}: {said}");
    }
    let mark = r#"{"exostate": 1, "texts": {"t": [{"insert": "x", "attributes": {"b": {"float": "NaN"}}}]}}"#;
    assert_eq!(refused(mark).0, "t");
}

#[test]
fn deep_and_large_json_is_refused() {
    for open in ["[", "{\"a\":", "{\"bundle\":{\"a\":"] {
        let text = format!("{{\"exostate\": 1, \"registers\": {{\"a\": {}", open.repeat(100_000));
        refused(&text);
    }
    let limits = Limits::trusted().with_bytes_max(20);
    let options = Options::new().with_trusted_limits(limits);
    let error = Document::<Yrs>::from_json_with(&with_registers(r#""a": 1"#), options);
    assert!(matches!(error, Err(JsonError::TooLarge { max: 20, .. })));
    let long = with_registers(&format!(r#""a": "{}""#, "x".repeat(5 << 20)));
    let error = Document::<Yrs>::from_json(&long).expect_err("others refuse such a value");
    assert!(error.to_string().starts_with("a: "), "{error}");
}

#[test]
fn later_versions_are_refused() {
    let error = Document::<Yrs>::from_json(r#"{"exostate": 2, "what": 1}"#).map(drop);
    assert_eq!(error, Err(JsonError::LaterVersion { found: 2, known: 1 }));
    let error = Document::<Yrs>::from_json(&with_registers(r#""@layout/2": true"#)).map(drop);
    assert!(matches!(error, Err(JsonError::Edit(_))));
}
