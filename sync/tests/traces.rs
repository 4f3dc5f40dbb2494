//! Yjs in Node and exostate exchange updates in any order, late and twice. They must end with the
//! same document. A TypeScript reader, written from `docs/layout.md` alone, must give the same
//! typed view.
//!
//! These tests are ignored by default. Run `npm ci && npm run build` in `sync/tests/yjs`, then
//! `cargo test --test traces -- --ignored`. `EXOSTATE_TRACES` sets the number of traces (default
//! 1,000). `EXOSTATE_TRACE` selects one trace.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use data_encoding::{BASE64, HEXLOWER};
use exostate::{
    ChangeError, Counter, Edit, ElementId, List, Map, MovableList, Options, ReplicaId, Set, State,
    Store, Text, Tree, Uuid, Value as Scalar,
};
use fastrand::Rng;
use serde_json::{Value, json};

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Everything {
    flag: bool,
    count: i64,
    big: u64,
    ratio: f64,
    title: String,
    data: Vec<u8>,
    owner: Option<Uuid>,
    shape: Shape,
    notes: Text,
    tags: List<String>,
    cards: MovableList<Card>,
    board: Map<String, Card>,
    seen: Set<String>,
    votes: Counter,
    outline: Tree<Item>,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
enum Shape {
    #[default]
    Nothing,
    Circle(f64),
    Box {
        width: i64,
        label: String,
    },
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Card {
    text: String,
    done: bool,
    points: i64,
    notes: Text,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Item {
    name: String,
}

/// The view in the JSON form of the TypeScript reader.
fn view_json(view: &Everything) -> Value {
    let shape = match &view.shape {
        Shape::Nothing => json!({ "Nothing": null }),
        Shape::Circle(radius) => json!({ "Circle": [float(*radius)] }),
        Shape::Box { width, label } => {
            json!({ "Box": { "width": width.to_string(), "label": label } })
        }
    };
    json!({
        "flag": view.flag,
        "count": view.count.to_string(),
        "big": view.big.to_string(),
        "ratio": float(view.ratio),
        "title": view.title,
        "data": HEXLOWER.encode(&view.data),
        "owner": view.owner.map(|owner| owner.to_string()),
        "shape": shape,
        "notes": text(&view.notes),
        "tags": view.tags.iter().collect::<Vec<_>>(),
        "cards": view
            .cards
            .iter_ids()
            .map(|(id, value)| json!({ "id": id.to_string(), "value": card(value) }))
            .collect::<Vec<_>>(),
        "board": view
            .board
            .iter()
            .map(|(key, value)| json!([key, card(value)]))
            .collect::<Vec<_>>(),
        "seen": view.seen.iter().collect::<Vec<_>>(),
        "votes": view.votes.value().to_string(),
        "outline": nodes(&view.outline, None),
    })
}

fn float(number: f64) -> Value {
    match number {
        number if number.is_nan() => json!("NaN"),
        f64::INFINITY => json!("inf"),
        f64::NEG_INFINITY => json!("-inf"),
        // JSON that JavaScript writes has no negative zero.
        number => json!(number + 0.0),
    }
}

fn card(card: &Card) -> Value {
    json!({
        "text": card.text,
        "done": card.done,
        "points": card.points.to_string(),
        "notes": text(&card.notes)
    })
}

fn nodes(tree: &Tree<Item>, parent: Option<ElementId>) -> Vec<Value> {
    let item = |id| tree.get(id).map(|item| item.name.as_str());
    tree.children(parent)
        .map(|id| {
            json!({
                "id": id.to_string(),
                "value": { "name": item(id) },
                "children": nodes(tree, Some(id))
            })
        })
        .collect()
}

/// The text and its marks. Adjacent runs with equal marks are one run.
fn text(text: &Text) -> Value {
    let mut marks: Vec<(String, usize, usize, Value)> = Vec::new();
    let mut end = 0;
    for (run, found) in text.runs() {
        let start = end;
        end += run.chars().count();
        for (name, value) in found.iter().flat_map(|found| found.iter()) {
            let value = match value {
                Scalar::Bool(flag) => json!(flag),
                Scalar::Str(text) => json!(**text),
                other => panic!("no edit marks with {other:?}"),
            };
            match marks
                .iter_mut()
                .find(|mark| mark.2 == start && mark.0 == **name && mark.3 == value)
            {
                Some(mark) => mark.2 = end,
                None => marks.push((name.to_string(), start, end, value)),
            }
        }
    }
    marks.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let marks: Vec<_> = marks
        .into_iter()
        .map(|(name, start, end, value)| json!([start, end, name, value]))
        .collect();
    json!({ "text": text.to_string(), "marks": marks })
}

/// Turns all numbers into floats: in JavaScript `3` and `3.0` are equal.
fn canonical(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64().map(|number| number + 0.0)),
        Value::Array(values) => values.into_iter().map(canonical).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, canonical(value))).collect()
        }
        value => value,
    }
}

const WORDS: [&str; 6] = ["", "a", "blue", "ß", "🦀", "one more"];
const KEYS: [&str; 5] = ["a", "b/c", "~", "", "ü"];

fn word(rng: &mut Rng) -> &'static str {
    rng.choice(WORDS).unwrap_or_default()
}

type Root<'a> = <Everything as State>::Node<Edit<'a>>;

fn edit(state: &Root<'_>, rng: &mut Rng) -> Result<(), ChangeError> {
    match rng.u8(0..14) {
        0 => edit_fields(state, rng),
        1 => {
            let shape = match rng.u8(0..3) {
                0 => Shape::Nothing,
                1 => Shape::Circle(f64::from(rng.i32(-9..9)) / 4.0),
                _ => Shape::Box { width: rng.i64(..), label: word(rng).to_owned() },
            };
            state.shape().reconcile(&shape)
        }
        2 | 3 => edit_text(state, rng),
        4 => edit_tags(state, rng),
        5..=7 => edit_cards(state, rng),
        8 | 9 => edit_board(state, rng),
        10 if rng.bool() => state.seen().insert(word(rng).to_owned()).map(drop),
        10 => state.seen().remove(word(rng)).map(drop),
        11 => state.votes().add(rng.i64(-5..9)),
        _ => edit_outline(state, rng),
    }
}

fn edit_fields(state: &Root<'_>, rng: &mut Rng) -> Result<(), ChangeError> {
    match rng.u8(0..7) {
        0 => state.flag().set(rng.bool()),
        1 => state.count().set(rng.i64(..)),
        2 => state.big().set(rng.u64(..)),
        3 => state.ratio().set(
            rng.choice([0.0, -0.0, 0.5, 1e300, 3.0, f64::NAN, f64::INFINITY]).unwrap_or_default(),
        ),
        4 => state.title().set(word(rng)),
        5 => state.data().set((0..rng.u8(0..5)).collect::<Vec<_>>()),
        _ if rng.bool() => state.owner().set(None),
        _ => state.owner().set(Uuid::from_u128(rng.u128(..))),
    }
}

fn edit_text(state: &Root<'_>, rng: &mut Rng) -> Result<(), ChangeError> {
    let len = state.notes().get()?.len();
    let start = rng.usize(0..=len);
    let range = start..start + rng.usize(0..=(len - start).min(6));
    match rng.u8(0..5) {
        0..=2 => state.notes().insert(start, word(rng)),
        3 => state.notes().delete(range),
        _ => match (rng.choice(["bold", "color"]).unwrap_or_default(), rng.u8(0..3)) {
            (name, 0) => state.notes().unmark(range, name),
            (name, 1) => state.notes().mark(range, name, true),
            (name, _) => state.notes().mark(range, name, "red"),
        },
    }
}

fn edit_tags(state: &Root<'_>, rng: &mut Rng) -> Result<(), ChangeError> {
    let len = state.tags().get()?.len();
    match rng.u8(0..3) {
        0 if len > 0 => state.tags().remove(rng.usize(0..len)),
        1 if len > 0 => state.tags().set(rng.usize(0..len), word(rng).to_owned()),
        _ => state.tags().insert(rng.usize(0..=len), word(rng).to_owned()),
    }
}

fn new_card(rng: &mut Rng) -> Card {
    Card {
        text: word(rng).to_owned(),
        done: rng.bool(),
        points: rng.i64(0..3),
        notes: Text::from(word(rng)),
    }
}

fn edit_cards(state: &Root<'_>, rng: &mut Rng) -> Result<(), ChangeError> {
    let ids: Vec<_> = state.cards().value()?.iter_ids().map(|(id, _)| id).collect();
    let Some(id) = rng.choice(ids.iter().copied()).filter(|_| rng.u8(0..3) > 0) else {
        return state.cards().insert(rng.usize(0..=ids.len()), new_card(rng)).map(drop);
    };
    let card = state.cards().get(id);
    match rng.u8(0..6) {
        0 => state.cards().remove(id).map(drop),
        1 | 2 => state.cards().move_to(id, rng.usize(0..ids.len())),
        3 => card.done().set(rng.bool()),
        4 => card.points().set(rng.i64(..)),
        _ => card.notes().push_str(word(rng)),
    }
}

fn edit_board(state: &Root<'_>, rng: &mut Rng) -> Result<(), ChangeError> {
    let key = rng.choice(KEYS).unwrap_or_default();
    if !state.board().contains_key(key)? || rng.u8(0..4) == 0 {
        return state.board().insert(key, new_card(rng));
    }
    let card = state.board().get(key);
    match rng.u8(0..4) {
        0 => state.board().remove(key).map(drop),
        1 => card.text().set(word(rng)),
        2 => card.points().set(rng.i64(0..3)),
        _ => card.notes().push_str(word(rng)),
    }
}

fn edit_outline(state: &Root<'_>, rng: &mut Rng) -> Result<(), ChangeError> {
    let ids: Vec<_> = state.outline().value()?.walk().into_iter().map(|(_, id, _)| id).collect();
    let parent = rng.choice(ids.iter().copied()).filter(|_| rng.bool());
    match rng.choice(ids.iter().copied()).filter(|_| rng.u8(0..3) > 0) {
        None => state.outline().push(parent, Item { name: word(rng).to_owned() }).map(drop),
        Some(id) if rng.u8(0..5) == 0 => state.outline().remove(id).map(drop),
        Some(id) if rng.bool() => state.outline().get(id).name().set(word(rng)),
        Some(id) => {
            // A move below the node itself is refused. The rest of the change goes on.
            drop(state.outline().move_to(id, parent, 0));
            Ok(())
        }
    }
}

/// A Node process that holds Yjs documents.
struct Engine {
    _child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Engine {
    fn start() -> Self {
        let engine = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/yjs/build/engine.js");
        let child =
            Command::new("node").arg(engine).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("Node, and `npm ci && npm run build` in sync/tests/yjs");
        let requests = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Self { _child: child, requests, answers }
    }

    fn ask(&mut self, request: Value) -> Value {
        writeln!(self.requests, "{request}").expect("it runs");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("it runs");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert!(answer.get("error").is_none(), "{request}: {answer}");
        answer
    }

    /// Sends a request. Returns the updates that it produced.
    fn updates(&mut self, request: Value) -> Vec<Vec<u8>> {
        let answer = self.ask(request);
        let updates = answer["updates"].as_array().cloned().unwrap_or_default();
        updates
            .iter()
            .map(|update| {
                BASE64.decode(update.as_str().expect("base64").as_bytes()).expect("base64")
            })
            .collect()
    }
}

/// A replica on exostate or on Yjs.
enum Replica {
    Yjs(String),
    Rust(Store<Everything>, Arc<Mutex<Vec<Vec<u8>>>>),
}

impl Replica {
    fn rust(id: u64) -> Self {
        let options = Options::new().with_replica(ReplicaId::from_bits(id));
        // Each fourth replica has no indexes of its sequences.
        let store = Store::with_options(options.with_sequence_indexes(id % 4 != 3));
        let updates = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&updates);
        store
            .on_update(move |update| {
                if update.origin == exostate::Origin::Local {
                    sink.lock().expect("no panic").push(update.bytes.to_vec());
                }
            })
            .forever();
        Self::Rust(store, updates)
    }

    fn edit(&self, engine: &mut Engine, rng: &mut Rng) -> Vec<Vec<u8>> {
        match self {
            Self::Yjs(doc) => engine.updates(
                json!({"op": "edit", "doc": doc, "seed": rng.u32(..), "steps": rng.u8(1..6)}),
            ),
            Self::Rust(store, updates) => {
                for _ in 0..rng.u8(1..6) {
                    store.change(|state| edit(&state, rng)).expect("it can be written");
                }
                std::mem::take(&mut updates.lock().expect("no panic"))
            }
        }
    }

    /// Applies an update. Yjs may produce updates of its own when it merges.
    fn apply(&self, engine: &mut Engine, update: &[u8]) -> Vec<Vec<u8>> {
        match self {
            Self::Yjs(doc) => {
                engine.updates(json!({"op": "apply", "doc": doc, "update": BASE64.encode(update)}))
            }
            Self::Rust(store, _) => {
                store.apply(update).expect("an update of an honest replica");
                Vec::new()
            }
        }
    }
}

fn trace(engine: &mut Engine, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut replicas = Vec::new();
    for number in 0..4 {
        let id = seed * 10 + number + 1;
        if number < 2 {
            let doc = format!("{seed}-{number}");
            engine.ask(json!({"op": "new", "doc": doc, "client": id}));
            replicas.push(Replica::Yjs(doc));
        } else {
            replicas.push(Replica::rust(id));
        }
    }
    let mut queues: Vec<Vec<Vec<u8>>> = vec![Vec::new(); replicas.len()];
    let spread = |queues: &mut Vec<Vec<Vec<u8>>>, from: usize, news: Vec<Vec<u8>>| {
        for (_, queue) in queues.iter_mut().enumerate().filter(|(to, _)| *to != from) {
            queue.extend(news.iter().cloned());
        }
    };
    for _ in 0..24 {
        let from = rng.usize(0..replicas.len());
        let news = replicas[from].edit(engine, &mut rng);
        spread(&mut queues, from, news);
        let to = rng.usize(0..replicas.len());
        for _ in 0..rng.usize(0..=queues[to].len()) {
            let at = rng.usize(0..queues[to].len().clamp(1, 4));
            // Takes any update that has not arrived yet. Sometimes delivers it twice.
            let update = if rng.u8(0..8) == 0 {
                queues[to].get(at).cloned()
            } else {
                (at < queues[to].len()).then(|| queues[to].remove(at))
            };
            let Some(update) = update else { break };
            let news = replicas[to].apply(engine, &update);
            spread(&mut queues, to, news);
        }
    }
    while queues.iter().any(|queue| !queue.is_empty()) {
        for to in 0..replicas.len() {
            for update in std::mem::take(&mut queues[to]) {
                let news = replicas[to].apply(engine, &update);
                spread(&mut queues, to, news);
            }
        }
    }
    check(engine, seed, &replicas);
}

fn check(engine: &mut Engine, seed: u64, replicas: &[Replica]) {
    let mut documents = BTreeMap::new();
    for (number, replica) in replicas.iter().enumerate() {
        let doc = match replica {
            Replica::Yjs(doc) => doc.clone(),
            Replica::Rust(store, _) => {
                // Yjs reads the document that exostate saved.
                let doc = format!("{seed}-{number}");
                engine.ask(json!({"op": "new", "doc": doc, "client": 9}));
                engine.ask(
                    json!({"op": "apply", "doc": doc, "update": BASE64.encode(&store.save())}),
                );
                assert_eq!(store.pending().updates, 0, "trace {seed}: something waits");
                let read = engine.ask(json!({"op": "view", "doc": doc}))["view"].take();
                assert_eq!(
                    canonical(view_json(&store.view())),
                    canonical(read),
                    "trace {seed}: the views of replica {number}"
                );
                doc
            }
        };
        let json = engine.ask(json!({"op": "json", "doc": doc}))["json"].take();
        documents.insert(number, json);
        engine.ask(json!({"op": "free", "doc": doc}));
    }
    for (number, document) in &documents {
        assert_eq!(
            document, &documents[&0],
            "trace {seed}: the documents of replicas {number} and 0"
        );
    }
    let digests: Vec<_> =
        replicas
            .iter()
            .filter_map(|replica| {
                if let Replica::Rust(store, _) = replica { Some(store.digest()) } else { None }
            })
            .collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "trace {seed}: the digests");
}

/// A register that does not fit the schema: a value of any kind, at a path of the schema or close
/// to one.
fn register_outside_schema(rng: &mut Rng) -> (String, yrs::Any) {
    let id = rng.choice(["1-1", "1-2", "a-0", "01-1", "1-", "x"]).unwrap_or_default();
    let path = match rng.u8(0..9) {
        0 | 1 => rng
            .choice(["flag", "count", "big", "ratio", "title", "data", "owner", "shape", "notes"])
            .unwrap_or_default()
            .to_owned(),
        2 => format!(
            "shape/{}",
            rng.choice(["Circle/0", "Box/width", "Box/label", "Star/0"]).unwrap_or_default()
        ),
        3 => format!(
            "votes/{}",
            rng.choice(["1", "a", "0a", "A", "fffffffffffffffff"]).unwrap_or_default()
        ),
        4 => format!("seen/{}", rng.choice(["a", "~3", "~2x", "~", "@x"]).unwrap_or_default()),
        5 => format!(
            "board/{}",
            rng.choice(["a", "a/done", "~0", "~0/points", "b/text"]).unwrap_or_default()
        ),
        6 => format!("cards/{id}{}", rng.choice(["", "/@position", "/text"]).unwrap_or_default()),
        _ => format!("outline/{id}{}", rng.choice(["", "/@place", "/name"]).unwrap_or_default()),
    };
    let words = [
        "x",
        "Box",
        "Circle",
        ":80",
        "1-1:80",
        "1-2:8",
        "a-0:AB",
        "1-1",
        "x:80",
        "18446744073709551615",
        "9223372036854775807",
    ];
    let uuid = "0E9A3C4C-7E2D-4F3B-9C3D-2B1A0C9D8E7F";
    let value = match rng.u8(0..9) {
        0 => yrs::Any::Null,
        1 => rng.bool().into(),
        2 => rng.i64(..).into(),
        3 => i64::MAX.into(),
        4 => rng.choice([0.5, f64::NAN, -3.0, 1e300]).unwrap_or_default().into(),
        5 => vec![rng.u8(..), 7].into(),
        6 => uuid.replace(if rng.bool() { "-" } else { "+" }, "").into(),
        _ => rng.choice(words).unwrap_or_default().into(),
    };
    (path, value)
}

/// A value that fits the type only in part, or not at all, reads the same in the TypeScript reader.
#[test]
#[ignore = "needs Node and its packages"]
fn both_engines_read_violations_alike() {
    use yrs::types::ToJson as _;
    use yrs::{Array as _, Map as _, ReadTxn as _, Transact as _};
    let mut engine = Engine::start();
    for seed in 0..500 {
        let mut rng = Rng::with_seed(seed);
        let doc = yrs::Doc::new();
        let state = doc.get_or_insert_map("state");
        let tags = doc.get_or_insert_array("L:tags");
        let piecemeal = Store::<Everything>::new();
        for _ in 0..rng.u8(1..40) {
            let before = doc.transact().state_vector();
            let (path, value) = register_outside_schema(&mut rng);
            match rng.u8(0..10) {
                0 => drop(tags.push_back(&mut doc.transact_mut(), value)),
                1 => drop(state.remove(&mut doc.transact_mut(), &path)),
                _ => drop(state.insert(&mut doc.transact_mut(), path, value)),
            }
            piecemeal.apply(&doc.transact().encode_state_as_update_v1(&before)).expect("an update");
        }
        let update = doc.transact().encode_state_as_update_v1(&yrs::StateVector::default());
        let store = Store::<Everything>::new();
        store.apply(&update).expect("it fits no type, but every document");
        let shown = |store: &Store<Everything>| canonical(view_json(&store.view()));
        assert_eq!(
            shown(&piecemeal),
            shown(&store),
            "seed {seed}: what came one by one is shown as what came at once"
        );
        let name = format!("misfits {seed}");
        engine.ask(json!({"op": "new", "doc": name, "client": 9}));
        engine.ask(json!({"op": "apply", "doc": name, "update": BASE64.encode(&update)}));
        let read = engine.ask(json!({"op": "view", "doc": name}))["view"].take();
        assert_eq!(
            shown(&store),
            canonical(read),
            "seed {seed}: {:?}",
            state.to_json(&doc.transact())
        );
        engine.ask(json!({"op": "free", "doc": name}));
    }
}

#[test]
#[ignore = "needs Node and its packages"]
fn both_engines_end_with_the_same_document() {
    let number =
        |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let mut engine = Engine::start();
    let seeds = match number("EXOSTATE_TRACE") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + number("EXOSTATE_TRACES").unwrap_or(1_000),
    };
    for seed in seeds {
        trace(&mut engine, seed);
    }
}
