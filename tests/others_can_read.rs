//! Promise 6: other software can read a document. A reader that follows only docs/layout.md sees
//! the same content as the typed view.

#[path = "support/reader.rs"]
mod reader;
mod support;

use exostate::{
    Automerge, Backend, Counter, ElementId, Groups, Map, MapKey, MovableList, Text, Tree,
    Value as Mark, Yrs,
};
use proptest::prelude::*;
use reader::{Document, Type};
use serde_json::{Value, json};
use support::{Card, Column, Everything, Item, Person, Pet, Settings, Shape, strategy};

/// The schema of [`Everything`] for the reader.
const EVERYTHING: Type = Type::Struct(&[
    ("title", Type::String),
    ("count", Type::Integer),
    ("big", Type::Integer),
    ("ratio", Type::Float),
    ("flag", Type::Bool),
    ("data", Type::Bytes),
    ("owner", Type::Option(&Type::String)),
    ("when", Type::Option(&Type::String)),
    ("pair", Type::Cbor("[0, \"\"]")),
    ("notes", Type::Text),
    ("tags", Type::Set),
    ("numbers", Type::List(&Type::Integer)),
    ("votes", Type::Counter),
    ("cards", Type::MovableList(&CARD)),
    ("names", Type::MovableList(&Type::String)),
    ("people", Type::Map(&PERSON)),
    ("scores", Type::Map(&Type::Integer)),
    ("outline", Type::Tree(&Type::Struct(&[("label", Type::String)]))),
    (
        "board",
        Type::Groups(
            &Type::Struct(&[("title", Type::String), ("limit", Type::Option(&Type::Integer))]),
            &CARD,
        ),
    ),
    ("chosen", Type::Option(&Type::String)),
    ("shape", SHAPE),
    ("settings", SETTINGS),
    ("maybe", Type::Option(&SETTINGS)),
]);
const CARD: Type = Type::Struct(&[
    ("text", Type::String),
    ("done", Type::Bool),
    ("body", Type::Text),
    ("labels", Type::Set),
]);
const PERSON: Type = Type::Struct(&[
    ("name", Type::String),
    ("age", Type::Integer),
    ("likes", Type::Counter),
    ("bio", Type::Text),
    ("pets", Type::Map(&Type::Struct(&[("kind", Type::String), ("legs", Type::Integer)]))),
]);
const SETTINGS: Type = Type::Struct(&[
    ("theme", Type::String),
    ("size", Type::Integer),
    ("flags", Type::Map(&Type::Bool)),
]);
const SHAPE: Type = Type::Enum(
    "Nothing",
    &[
        ("Nothing", &[]),
        ("Circle", &[("radius", Type::Float)]),
        ("Label", &[("0", Type::String), ("1", Type::Text)]),
    ],
);

fn shown(state: &Everything) -> Value {
    json!({
        "title": state.title,
        "count": state.count,
        "big": state.big,
        "ratio": state.ratio,
        "flag": state.flag,
        "data": state.data,
        "owner": state.owner.map(|owner| owner.to_string()),
        "when": state.when.map(|when| when.to_string()),
        "pair": *state.pair,
        "notes": text(&state.notes),
        "tags": state.tags.iter().collect::<Vec<_>>(),
        "numbers": state.numbers.iter().collect::<Vec<_>>(),
        "votes": counter(&state.votes),
        "cards": list(&state.cards, card),
        "names": list(&state.names, |name| json!(name)),
        "people": map(&state.people, person),
        "scores": map(&state.scores, |score| json!(score)),
        "outline": tree(&state.outline, None),
        "board": board(&state.board),
        "chosen": state.chosen.map(|id| id.to_string()),
        "shape": match &state.shape {
            Shape::Nothing => json!({ "Nothing": {} }),
            Shape::Circle { radius } => json!({ "Circle": { "radius": radius } }),
            Shape::Label(first, second) => json!({ "Label": { "0": first, "1": text(second) } }),
        },
        "settings": settings(&state.settings),
        "maybe": state.maybe.as_ref().map(settings),
    })
}

fn card(card: &Card) -> Value {
    json!({
        "text": card.text,
        "done": card.done,
        "body": text(&card.body),
        "labels": card.labels.iter().collect::<Vec<_>>()
    })
}

fn person(person: &Person) -> Value {
    let pet = |pet: &Pet| json!({ "kind": pet.kind, "legs": pet.legs });
    let likes = counter(&person.likes);
    let bio = text(&person.bio);
    let pets = map(&person.pets, pet);
    json!({ "name": person.name, "age": person.age, "likes": likes, "bio": bio, "pets": pets })
}

fn settings(settings: &Settings) -> Value {
    json!({
        "theme": settings.theme,
        "size": settings.size,
        "flags": map(&settings.flags, |flag| json!(flag))
    })
}

fn counter(counter: &Counter) -> Value {
    json!(counter.value())
}

fn text(text: &Text) -> Value {
    let runs = text.runs().into_iter().map(|(piece, marks)| {
        let marks = marks.iter().flat_map(|marks| marks.iter());
        let marks = marks.map(|(name, value)| match value {
            Mark::Str(value) => (name.to_string(), json!(&**value)),
            other => panic!("nobody marks with {other:?}"),
        });
        json!([piece, marks.collect::<serde_json::Map<_, _>>()])
    });
    runs.collect()
}

fn list<T: Clone>(list: &MovableList<T>, value: impl Fn(&T) -> Value) -> Value {
    list.iter_ids()
        .map(|(id, element)| json!({ "id": id.to_string(), "value": value(element) }))
        .collect()
}

fn board(board: &Groups<Column, Card>) -> Value {
    let groups = board.iter().map(|(id, column, items)| {
        let value = json!({ "title": column.title, "limit": column.limit });
        json!({ "id": id.to_string(), "value": value, "items": list(items, card) })
    });
    let ungrouped =
        board.ungrouped().map(|(id, item)| json!({ "id": id.to_string(), "value": card(item) }));
    json!({ "groups": groups.collect::<Vec<_>>(), "ungrouped": ungrouped.collect::<Vec<_>>() })
}

fn map<K: MapKey, T: Clone>(map: &Map<K, T>, value: impl Fn(&T) -> Value) -> Value {
    map.iter().map(|(key, entry)| (key.to_text().into_owned(), value(entry))).collect()
}

fn tree(nodes: &Tree<Item>, parent: Option<ElementId>) -> Value {
    let children = nodes.children(parent).map(|id| {
        let label = &nodes.get(id).expect("a child is a node").label;
        json!({
            "id": id.to_string(),
            "value": { "label": label },
            "children": tree(nodes, Some(id))
        })
    });
    children.collect()
}

/// Three replicas edit and sometimes merge. In the end one replica merges all.
fn run<B: Backend>(read: fn(&[u8]) -> Document, steps: &[Step]) {
    let stores = [1, 2, 3].map(support::store::<B>);
    for (at, op, hears) in steps {
        support::apply(&stores[at % 3], op);
        if let Some(other) = hears {
            stores[at % 3].merge(&stores[other % 3]).expect("an honest update");
        }
    }
    for other in &stores {
        stores[0].merge(other).expect("an honest update");
    }
    for store in &stores {
        let found = read(&store.save()).read("", &EVERYTHING);
        assert_eq!(
            found,
            shown(&store.view()),
            "the reader of another language sees something else"
        );
    }
}

type Step = (usize, support::Op, Option<usize>);

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(
        (0..3usize, strategy::op(), prop::option::weighted(0.2, 0..3usize)),
        0..40,
    )
}

/// Four nodes that all replicas have. Then every replica moves and removes nodes: this gives
/// cycles, and children of removed nodes.
fn tree_steps() -> impl Strategy<Value = Vec<Step>> {
    let step =
        |at, kind, a, b, hears| (at, support::Op { kind, a, b, text: "node".to_owned() }, hears);
    let moves = (
        0..3usize,
        prop_oneof![1 => Just(32u8), 4 => Just(33), 1 => Just(34)],
        any::<u16>(),
        any::<u16>(),
    );
    prop::collection::vec((moves, prop::option::weighted(0.1, 0..3usize)), 1..16).prop_map(
        move |moves| {
            let known = (0..4)
                .map(|_| step(0, 32, 0, 0, None))
                .chain([step(1, 0, 0, 0, Some(0)), step(2, 0, 0, 0, Some(0))]);
            known
                .chain(
                    moves.into_iter().map(|((at, kind, a, b), hears)| step(at, kind, a, b, hears)),
                )
                .collect()
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop_oneof![any_steps(), tree_steps()]
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn on_yrs(steps in steps()) {
        run::<Yrs>(reader::from_yrs, &steps);
    }

    #[test]
    fn on_automerge(steps in steps()) {
        run::<Automerge>(reader::from_automerge, &steps);
    }
}
