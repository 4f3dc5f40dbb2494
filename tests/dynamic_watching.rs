//! Watching, undo, history and looking without a schema, in a state whose type is a schema.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use exostate::{
    Automerge, Backend, Counter, Document, Dynamic, HistoryOptions, List, Map, MovableList,
    Register, State, Store, Text, UndoOptions, Yrs,
};
use serde_json::{Value as Json, json};

#[derive(State, Clone, Debug, PartialEq)]
struct Board {
    title: String,
    cards: Map<String, Card>,
    steps: MovableList<Card>,
    notes: Text,
    tags: List<String>,
    votes: Counter,
    shape: Shape,
    numbers: Option<List<u64>>,
    names: Register<std::collections::BTreeMap<u8, String>>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Card {
    text: String,
    #[state(default = 1)]
    points: u8,
}

#[derive(State, Clone, Debug, PartialEq)]
enum Shape {
    #[state(default)]
    None,
    Circle {
        radius: f64,
    },
}

fn board<B: Backend>(document: &Document<B>) -> Store<Dynamic, B> {
    Store::dynamic(document, &Board::schema()).expect("a schema of a Rust type")
}

fn json(view: &Dynamic) -> Json {
    serde_json::to_value(view).expect("JSON")
}

fn watches<B: Backend>() {
    let (document, other) = (Document::<B>::new(), Document::<B>::new());
    let (ours, theirs) = (board(&document), board(&other));
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let [cards, texts, circle, text] = [(); 4].map(|()| Arc::clone(&told));
    let note = |told: &Mutex<Vec<String>>, text: String| told.lock().expect("a lock").push(text);
    let _watches = [
        ours.watch(Dynamic::path().at("cards/*"), move |card| {
            note(&cards, format!("{} {}", card.path(), card.new().is_some()));
        }),
        ours.watch(Dynamic::path().at("steps/*/text"), move |step| {
            note(&texts, format!("step {:?}", step.new().and_then(Dynamic::as_str)));
        }),
        ours.watch(Dynamic::path().at("shape/Circle/radius"), move |radius| {
            note(&circle, format!("radius {:?}", radius.new().and_then(Dynamic::as_f64)));
        }),
        ours.watch(Dynamic::path().at("notes").of_type::<Text>(), move |notes| {
            note(&text, format!("notes {:?}", notes.new().map(Text::to_string)));
        }),
    ];
    for (store, text) in [(&ours, "a/b"), (&theirs, "a/c")] {
        store
            .change(|board| {
                board.at("cards").insert(text, json!({ "text": text }))?;
                board.at("steps").push(json!({ "text": "y", "points": 2 }))?;
                board.at("shape").set(json!({ "Circle": { "radius": 1.5 } }))?;
                board.at("notes").as_text()?.push_str("z")
            })
            .expect("written");
        document.merge(&other).expect("merged");
        let mut told = std::mem::take(&mut *told.lock().expect("a lock"));
        told.sort();
        told.dedup();
        let told = told.join(", ");
        let card = format!("cards/{} true", text.replace('/', "~1"));
        assert!(told.contains(&card) && told.contains("step Some(\"y\")"), "{told}");
        assert!(told.contains("notes Some(\"z"), "{told}");
    }
    ours.change(|board| board.at("cards").remove("a/b")).expect("written");
    assert_eq!(*told.lock().expect("a lock"), ["cards/a~1b false"]);
}

#[test]
fn places_are_watched_on_yrs() {
    watches::<Yrs>();
}

#[test]
fn places_are_watched_on_automerge() {
    watches::<Automerge>();
}

#[test]
fn a_selector_reads_only_its_places() {
    let document = Document::<Yrs>::new();
    let store = board(&document);
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let title = store.select(move |board| {
        counted.fetch_add(1, Ordering::SeqCst);
        board.at("title").value().and_then(Dynamic::as_str).map(str::to_owned)
    });
    assert_eq!(title.get().as_deref(), Some(""));
    store.change(|board| board.at("votes").add(1)).expect("written");
    assert_eq!(title.get().as_deref(), Some(""));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    store.change(|board| board.at("title").set("new")).expect("written");
    assert_eq!(title.get().as_deref(), Some("new"));
}

#[test]
fn edits_are_undone_and_earlier_revisions_come_back() {
    let document = Document::<Yrs>::new();
    let store = board(&document);
    let undo = store.undo_manager(UndoOptions::default());
    let history = store.history(HistoryOptions::default()).expect("a history");
    store.change(|board| board.at("cards").insert("a", json!({ "text": "x" }))).expect("written");
    let first = history.latest();
    undo.split();
    store.change(|board| board.at("cards/a/points").set(9)).expect("written");
    assert!(undo.undo().expect("undone").is_some());
    assert_eq!(store.view().get("cards/a/points").and_then(Dynamic::as_i64), Some(1));
    store.change(|board| board.at("cards").remove("a")).expect("written");
    let then = history.view_at(first).expect("a revision");
    assert_eq!(then.get("cards/a/text").and_then(Dynamic::as_str), Some("x"));
    history.restore(first).expect("restored");
    assert_eq!(json(&store.view()), json(&then));
    assert_eq!(json(&store.fork().expect("a copy").view()), json(&then));
}

/// A change that fails half-way leaves nothing, and neither does a savepoint that is taken back.
#[test]
fn a_change_is_made_as_a_whole_or_not_at_all() {
    let document = Document::<Yrs>::new();
    let store = board(&document);
    let before = document.save();
    let error = store.change(|board| {
        board.at("title").set("new")?;
        board.at("cards/none/points").set(1)
    });
    assert!(matches!(error, Err(exostate::ChangeError::NotFound { .. })));
    assert_eq!(document.save(), before);
}

#[test]
fn a_filled_option_checks_what_it_holds() {
    use exostate::dynamic::ScalarValue;
    let store = board(&Document::<Yrs>::new());
    store.change(|board| board.at("numbers").set(json!([1, 2]))).expect("written");
    let push = |item: ScalarValue| {
        store
            .change(|board| board.at("numbers").as_list()?.push(item))
            .map_err(|error| error.to_string())
    };
    push(ScalarValue::from(3_u64)).expect("it fits");
    assert!(push(ScalarValue::from("text")).expect_err("it does not fit").contains("expected"));
    assert_eq!(json(&store.view())["numbers"], json!([1, 2, 3]));
}

/// JSON has no keys that are numbers. What is written back as it was read is not written.
#[test]
fn a_register_that_json_cannot_hold_is_kept() {
    let document = Document::<Yrs>::new();
    let typed = Store::<Board>::on(&document);
    let names = std::collections::BTreeMap::from([(1, "one".to_owned())]);
    typed.change(|board| board.names().set(names.clone())).expect("written");
    let store = board(&document);
    let view = json(&store.view());
    assert_eq!(view["names"], json!({ "1": "one" }));
    store.change(|board| board.reconcile_json(&view)).expect("it fits");
    store.change(|board| board.set(&view)).expect("it fits");
    assert_eq!(*typed.view().names, names);
    assert_eq!(typed.violations(), []);
}

/// A value of a store whose schema has other defaults.
#[test]
fn a_value_is_written_against_the_defaults_of_its_place() {
    #[derive(State, Clone, Debug, PartialEq)]
    struct Other {
        cards: Map<String, other::Card>,
    }
    mod other {
        use super::State;

        #[derive(State, Clone, Debug, PartialEq)]
        pub struct Card {
            pub text: String,
            #[state(default = 5)]
            pub points: u8,
        }
    }
    let ours = board(&Document::<Yrs>::new());
    ours.change(|board| board.at("cards").insert("a", json!({ "points": 1 }))).expect("written");
    let card = ours.view().get("cards/a").expect("inserted").clone();
    let document = Document::<Yrs>::new();
    let theirs = Store::dynamic(&document, &Other::schema()).expect("a schema");
    theirs
        .change(|board| {
            let cards = board.at("cards");
            cards.as_map()?.insert(cards.key("a")?, card)
        })
        .expect("it fits");
    let points = || theirs.view().get("cards/a/points").and_then(Dynamic::as_i64);
    assert_eq!(points(), Some(1));
    // Also in the place of a value with the other default.
    theirs.change(|board| board.at("cards").insert("a", json!({}))).expect("it fits");
    assert_eq!(points(), Some(5));
    let card = ours.view().get("cards/a").expect("inserted").clone();
    theirs
        .change(|board| {
            let cards = board.at("cards");
            cards.as_map()?.insert(cards.key("a")?, card)
        })
        .expect("it fits");
    assert_eq!(points(), Some(1));
}

#[test]
fn a_path_that_is_none_leads_nowhere() {
    let store = board(&Document::<Yrs>::new());
    store.change(|board| board.at("cards").insert("a", json!({ "text": "x" }))).expect("written");
    let view = store.view();
    for path in
        ["/", "/title", "title/", "title/x", "cards//a", "cards/a/", "cards/b", "*", "cards/*"]
    {
        assert_eq!(view.get(path), None, "{path}");
    }
    assert_eq!(view.get(""), Some(&*view));
    assert_eq!(
        view.get("cards/a/text"),
        view.get("cards").and_then(|it| it.child("a")?.child("text"))
    );
    assert_eq!(view.get("votes").and_then(Dynamic::as_f64), Some(0.0));
    assert_eq!(view.get("cards/a/points").and_then(Dynamic::as_u64), Some(1));
}

#[test]
fn a_document_without_a_schema_is_looked_at() {
    let document = Document::<Yrs>::new();
    let look = Store::<Dynamic>::on(&document);
    let told = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&told);
    let _watch = look.watch(Dynamic::path(), move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    assert!(look.view().is_inferred());
    let store = board(&document);
    store
        .change(|board| {
            board.at("title").set("Roadmap")?;
            board.at("cards").insert("a", json!({ "text": "x", "points": 2 }))?;
            board.at("tags").push("red")?;
            board.at("notes").as_text()?.push_str("some")
        })
        .expect("written");
    let shown = json(&look.view());
    assert_eq!(
        shown,
        json!({ "@inferred": {
            "title": "Roadmap",
            "cards": { "a": { "@register": true, "points": 2, "text": "x" } },
            "tags": ["red"],
            "notes": "some",
        } })
    );
    store.change(|board| board.at("cards").remove("a")).expect("written");
    store.change(|board| board.at("notes").as_text()?.delete(0..4)).expect("written");
    assert_eq!(json(&look.view()), json!({ "@inferred": { "title": "Roadmap", "tags": ["red"] } }));
    assert_eq!(json(&look.reread()), json(&look.view()));
    assert_eq!(told.load(Ordering::SeqCst), 3);
    let error = look.change(|root| root.at("title").set("x")).expect_err("nothing is known");
    assert!(error.to_string().contains("a store without one"), "{error}");
    assert!(look.schema().is_none() && store.schema().is_some());
}

/// Registers below and beside the deepest place of the tree, in several orders.
#[test]
fn deep_places_without_a_schema_are_the_same_however_they_came() {
    let path = |depth: usize| vec!["s"; depth].join("/");
    let document = Document::<Yrs>::new();
    let look = Store::<Dynamic>::on(&document);
    for depth in [70, 1, 62, 63, 64, 65, 71, 120] {
        document.edit(|edit| edit.set(path(depth).as_str(), depth as i64)).expect("written");
        assert_eq!(look.reread(), *look.view(), "{depth}");
    }
    for depth in [64, 70, 1, 120, 63, 71, 62, 65] {
        document.edit(|edit| edit.remove(path(depth).as_str())).expect("written");
        assert_eq!(look.reread(), *look.view(), "{depth}");
    }
    assert_eq!(json(&look.view()), json!({ "@inferred": {} }));
}
