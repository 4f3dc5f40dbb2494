//! A document without a Rust type: all operations of a store on bytes, edits by path, and stores
//! that follow the document.

#[path = "support/one_update.rs"]
mod one_update;

use one_update::OneUpdate;
use std::sync::{Arc, Mutex};

use exostate::{
    Automerge, Backend, ChangeError, Document, EditError, HistoryOptions, List, Map, Mismatch,
    MovableList, Origin, Scalar, State, Store, Text, UndoOptions, Value, Version, Yrs,
};
use proptest::prelude::*;

#[derive(State, Clone, Debug, PartialEq)]
struct Page {
    title: String,
    body: Text,
    seats: List<i64>,
    votes: Map<String, i64>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Heading {
    title: String,
}

#[derive(Clone, Debug)]
enum Edit {
    Title(String),
    NoTitle,
    Body(u8, u8, String),
    Seats(u8, u8, Vec<i32>),
    Vote(u8, i32),
    Typed(String),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        "[a-zé🙂]{0,4}".prop_map(Edit::Title),
        Just(Edit::NoTitle),
        (any::<u8>(), 0_u8..4, "[a-zé🙂]{0,4}")
            .prop_map(|(at, delete, text)| Edit::Body(at, delete, text)),
        (any::<u8>(), 0_u8..4, prop::collection::vec(any::<i32>(), 0..3))
            .prop_map(|(at, delete, values)| Edit::Seats(at, delete, values)),
        (0_u8..3, any::<i32>()).prop_map(|(key, votes)| Edit::Vote(key, votes)),
        "[a-z]{0,4}".prop_map(Edit::Typed),
    ]
}

/// A range within a length.
fn within(at: u8, delete: u8, len: usize) -> std::ops::Range<usize> {
    let start = usize::from(at) % (len + 1);
    start..len.min(start + usize::from(delete))
}

fn apply<B: Backend>(document: &Document<B>, store: &Store<Page, B>, edit: &Edit) {
    let result = document.edit(|doc| match edit {
        Edit::Title(title) => doc.set("title", title.as_str()),
        Edit::NoTitle => doc.remove("title"),
        Edit::Body(at, delete, text) => {
            let range = within(*at, *delete, doc.text("body").chars().count());
            doc.splice_text("body", range, text)
        }
        Edit::Seats(at, delete, values) => {
            let range = within(*at, *delete, doc.list("seats").len());
            doc.splice_list("seats", range, values.iter().map(|value| Value::from(*value)))
        }
        Edit::Vote(key, votes) => doc.set(&format!("votes/{key}"), *votes),
        Edit::Typed(_) => Ok(()),
    });
    result.expect("it can be written");
    if let Edit::Typed(text) = edit {
        store.change(|page| page.body().push_str(text)).expect("it can be written");
    }
}

/// Every edit is seen by two stores of different types on one document, and by another replica.
fn follows<B: Backend>(edits: &[Edit]) {
    let document = Document::<B>::new();
    let page = Store::<Page, B>::on(&document);
    let heading = Store::<Heading, B>::on(&document);
    let elsewhere = Document::<B>::new();
    let updates = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&updates);
    let _listening = document
        .on_update(move |update| heard.lock().expect("the list").push(update.bytes.to_vec()));
    for edit in edits {
        apply(&document, &page, edit);
        assert_eq!(*page.view(), page.reread());
        assert_eq!(*heading.view(), heading.reread());
        assert_eq!(page.view().title, heading.view().title);
        assert_eq!(document.text("body"), page.view().body.to_string());
    }
    for update in updates.lock().expect("the list").iter() {
        elsewhere.apply(update).expect("an update of an honest replica");
    }
    assert_eq!((elsewhere.digest(), elsewhere.version()), (document.digest(), document.version()));
    let opened = Store::<Page, B>::open(&document.save()).expect("a document");
    assert_eq!(opened.view(), page.view());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("EXOSTATE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64),
    ))]

    #[test]
    fn stores_follow_their_document_on_yrs(edits in prop::collection::vec(edit(), 0..20)) {
        follows::<Yrs>(&edits);
    }

    #[test]
    fn stores_follow_their_document_on_automerge(edits in prop::collection::vec(edit(), 0..20)) {
        follows::<Automerge>(&edits);
    }
}

fn both(run: [fn(); 2]) {
    run.iter().for_each(|run| run());
}

/// Watchers, undo and history of a store treat an edit by path as the work of another replica.
#[test]
fn an_edit_by_path_counts_as_remote() {
    fn run<B: Backend>() {
        let store = Store::<Page, B>::new();
        let document = store.document();
        let undo = store.undo_manager(UndoOptions::new());
        let history = store.history(HistoryOptions::new()).expect("a history");
        let told = Arc::new(Mutex::new(Vec::new()));
        let calls = Arc::clone(&told);
        store
            .watch(Page::path().title(), move |title| {
                calls.lock().expect("the list").push((title.new().cloned(), title.origin()));
            })
            .forever();
        document.edit(|edit| edit.set("title", "plan")).expect("it can be written");
        assert_eq!(*told.lock().expect("the list"), [(Some("plan".to_owned()), Origin::Local)]);
        assert_eq!(undo.undo_len(), 0);
        assert_eq!(history.view_at(history.latest()).expect("the state"), store.view());
        store.change(|page| page.title().set("trip")).expect("it can be written");
        document.edit(|edit| edit.set("title", "tour")).expect("it can be written");
        assert!(undo.undo().expect("it can be undone").is_none(), "another edit came since");
        assert_eq!(store.view().title, "tour");
    }
    both([run::<Yrs>, run::<Automerge>]);
}

/// The changes of one store are reported to the watchers of the other.
#[test]
fn stores_on_one_document_see_each_other() {
    fn run<B: Backend>() {
        let page = Store::<Page, B>::new();
        let heading = Store::<Heading, B>::on(&page.document());
        let told = Arc::new(Mutex::new(Vec::new()));
        let calls = Arc::clone(&told);
        heading
            .watch(Heading::path().title(), move |title| {
                calls.lock().expect("the list").push(title.new().cloned());
            })
            .forever();
        page.change(|page| page.title().set("plan")).expect("it can be written");
        heading.change(|heading| heading.title().set("trip")).expect("it can be written");
        assert_eq!(page.view().title, "trip");
        assert_eq!(
            *told.lock().expect("the list"),
            [Some("plan".to_owned()), Some("trip".to_owned())]
        );
        let nested = page.change(|_| heading.change(|heading| heading.title().set("no")));
        assert!(matches!(nested, Err(ChangeError::Nested)));
    }
    both([run::<Yrs>, run::<Automerge>]);
}

/// A store that is made within a change, or while another thread edits, misses no change.
#[test]
fn a_store_made_during_an_edit_misses_no_change() {
    fn run<B: Backend>() {
        let page = Store::<Page, B>::new();
        let document = page.document();
        let within = page.change(|page| {
            page.title().set("plan")?;
            Ok(Store::<Heading, B>::on(&document))
        });
        assert_eq!(within.expect("it can be written").view().title, "plan");
        let within = document.edit(|edit| {
            edit.set("title", "trip")?;
            Ok(Store::<Heading, B>::on(&document))
        });
        assert_eq!(within.expect("it can be written").view().title, "trip");
        let mut made: Vec<Store<Heading, B>> = Vec::new();
        std::thread::scope(|scope| {
            let editing = scope.spawn(|| {
                for round in 0..200 {
                    document
                        .edit(|edit| edit.set("title", format!("title {round}")))
                        .expect("it can be written");
                }
            });
            loop {
                made.push(Store::on(&document));
                // Some of the stores are dropped while the other thread edits.
                if made.len() > 20 {
                    made.remove(0);
                }
                if editing.is_finished() {
                    break;
                }
            }
        });
        assert!(!made.is_empty());
        assert!(made.iter().all(|heading| heading.view().title == "title 199"));
    }
    both([run::<Yrs>, run::<Automerge>]);
}

/// Element ids are unique, whichever store of a document makes them. This also holds for a store
/// that is made after another one was dropped.
#[test]
fn element_ids_of_two_stores_are_unique() {
    fn run<B: Backend>() {
        let document = Document::<B>::new();
        let push = |store: &Store<MovableList<String>, B>, text: &str| {
            store.change(|list| list.push(text.to_owned()).map(drop)).expect("it can be written");
        };
        let one = Store::on(&document);
        let other = Store::on(&document);
        push(&one, "a");
        push(&other, "b");
        drop((one, other));
        let again = Store::<MovableList<String>, B>::on(&document);
        push(&again, "c");
        let view = again.view();
        let texts: Vec<&str> = view.iter().map(|text| text.as_str()).collect();
        assert_eq!(texts, ["a", "b", "c"]);
    }
    both([run::<Yrs>, run::<Automerge>]);
}

/// One store writes its type name into the document. A store of another type on the same document
/// then reports a type mismatch.
#[test]
fn a_store_of_another_type_reports_a_type_mismatch() {
    fn run<B: Backend>() {
        let page = Store::<Page, B>::new();
        let heading = Store::<Heading, B>::on(&page.document());
        assert_eq!(heading.type_mismatch(), None);
        page.change(|page| page.title().set("plan")).expect("it can be written");
        let mismatch = heading.type_mismatch().expect("it is a page");
        assert_eq!((mismatch.document(), mismatch.opened()), ("Page", "Heading"));
        assert_eq!(
            (page.type_mismatch(), page.document().type_names()),
            (None, vec!["Page".into()])
        );
    }
    both([run::<Yrs>, run::<Automerge>]);
}

/// An edit that fails still shows the parts that were applied before it. Watchers are told of
/// these.
#[test]
fn a_failed_edit_reports_the_parts_before_it() {
    fn run<B: Backend>() {
        let theirs = Store::<Page, B>::new();
        theirs.change(|page| page.title().set("plan")).expect("it can be written");
        let store = Store::<Page, B>::new();
        let told = Arc::new(Mutex::new(Vec::new()));
        let calls = Arc::clone(&told);
        store
            .watch(Page::path().title(), move |title| {
                calls.lock().expect("the list").push(title.new().cloned());
            })
            .forever();
        let document = store.document();
        for update in theirs.updates_since(&Version::empty()).expect("updates") {
            document.apply_part(&[update]).expect("it fits");
        }
        let failed = document.edit(|edit| edit.splice_text("body", 1..2, ""));
        assert!(matches!(failed, Err(EditError::OutOfRange { .. })));
        assert_eq!(*told.lock().expect("the list"), [Some("plan".to_owned())]);
    }
    both([run::<Yrs>, run::<Automerge>]);
}

/// A store is told of changes as long as a handle of its document exists. Then it is dropped.
#[test]
fn a_document_keeps_the_store_that_it_came_from() {
    let store = Store::<Page>::new();
    let document = store.document();
    let weak = store.downgrade();
    let told = Arc::new(Mutex::new(0));
    let calls = Arc::clone(&told);
    store.watch(Page::path().title(), move |_| *calls.lock().expect("the list") += 1).forever();
    drop(store);
    document.edit(|edit| edit.set("title", "plan")).expect("it can be written");
    assert_eq!((*told.lock().expect("the list"), weak.upgrade().is_some()), (1, true));
    drop(document);
    assert!(weak.upgrade().is_none());
}

/// An edit that fails, or a closure that panics, changes nothing.
#[test]
fn an_edit_is_all_or_nothing() {
    fn run<B: Backend>() {
        let document = Document::<B>::new();
        document.edit(|edit| edit.splice_text("body", 0..0, "abc")).expect("it can be written");
        let version = document.version();
        let beyond = document.edit(|edit| {
            edit.set("title", "plan")?;
            edit.splice_text("body", 2..4, "")
        });
        let error = EditError::OutOfRange { path: "body".to_owned(), start: 2, end: 4, len: 3 };
        assert_eq!(beyond, Err(error));
        let own = document.edit(|edit| edit.set("@type/Page", "1"));
        assert!(matches!(own, Err(EditError::Invalid { path, .. }) if path == "@type/Page"));
        let long = "x".repeat(100_000);
        let refused = document.edit(|edit| edit.set(&long, 1));
        assert!(matches!(refused, Err(EditError::Invalid { .. })));
        let nested = document.edit(|_| document.edit(|edit| edit.set("title", "plan")));
        assert_eq!(nested, Err(EditError::Nested));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            document.edit(|edit| {
                edit.set("title", "plan")?;
                if edit.register("title").is_some() {
                    panic!("on purpose")
                }
                Ok(())
            })
        }));
        assert!(panicked.is_err());
        assert_eq!((document.version(), document.register("title")), (version, None));
        document.edit(|edit| edit.set("title", "plan")).expect("it can be written");
        let same = document.version();
        document.edit(|edit| edit.set("title", "plan")).expect("it is there already");
        assert_eq!(document.version(), same);
        assert_eq!(document.registers(""), [("title".to_owned(), Value::from("plan"))]);
    }
    both([run::<Yrs>, run::<Automerge>]);
}

/// The empty version is the version of a document without ops, on both backends.
#[test]
fn the_empty_version_lacks_all_updates() {
    fn run<B: Backend>() {
        let document = Document::<B>::new();
        document.edit(|edit| edit.set("title", "plan")).expect("it can be written");
        let update = document.update_since(&Version::empty()).expect("an update");
        let other = Document::<B>::new();
        other.apply(&update).expect("it fits");
        assert_eq!(other.digest(), document.digest());
        assert!(document.has_seen(&Version::empty()) && other.has_seen(&document.version()));
    }
    both([run::<Yrs>, run::<Automerge>]);
}

/// An edit by path holds the values that its document has after it is opened again. A value or a
/// path that no document can hold is refused.
#[test]
fn edits_by_path_write_what_a_document_can_hold() {
    fn run<B: Backend>() {
        let document = Document::<B>::new();
        let numbers = [1.0, -0.0, 1.5, f64::NAN, f64::INFINITY, 1e300, 9_223_372_036_854_775_807.0];
        for (at, number) in numbers.into_iter().enumerate() {
            let value = Value::Float(number);
            document
                .edit(|edit| {
                    edit.set(&format!("number {at}"), value.clone())?;
                    edit.splice_list("numbers", at..at, [value])
                })
                .expect("it can be written");
        }
        assert_eq!(document.register("number 0"), Some(Value::Int(1)));
        let opened = Document::<B>::open(&document.save()).expect("a document");
        assert_eq!(opened.digest(), document.digest());
        assert_eq!(opened.list("numbers"), document.list("numbers"));
        let unknown = || Value::Unknown("map");
        let invalid = |result| matches!(result, Err(EditError::Invalid { .. }));
        assert!(invalid(document.edit(|edit| edit.set("x", unknown()))));
        assert!(invalid(document.edit(|edit| edit.splice_list("l", 0..0, [unknown()]))));
        for path in ["/", "a//b", "a/", "~9"] {
            assert!(invalid(document.edit(|edit| edit.set(path, 1))), "{path}");
            assert!(invalid(document.edit(|edit| edit.splice_text(path, 0..0, "x"))), "{path}");
        }
        assert_eq!(opened.digest(), document.digest());
    }
    both([run::<Yrs>, run::<Automerge>]);
}

/// A scalar of the application whose values are not canonical.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Percent(f64);

impl Scalar for Percent {
    fn to_value(&self) -> Result<Value, String> {
        Ok(if self.0 < 0.0 { Value::Unknown("percentage") } else { Value::Float(self.0) })
    }

    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        f64::from_value(value).map(Self)
    }

    fn initial() -> Self {
        Self(0.0)
    }
}

#[derive(State, Clone, Debug, PartialEq)]
struct Progress {
    done: Percent,
    history: List<Percent>,
}

#[test]
fn scalars_of_an_application_are_written_as_a_document_holds_them() {
    fn run<B: Backend>() {
        let store = Store::<Progress, B>::new();
        let written = store.change(|progress| {
            progress.done().set(Percent(50.0))?;
            progress.history().push(Percent(25.0)).map(drop)
        });
        written.expect("it can be written");
        let opened = Store::<Progress, B>::open(&store.save()).expect("a document");
        assert_eq!((opened.view(), opened.digest()), (store.view(), store.digest()));
        let refused = store.change(|progress| progress.done().set(Percent(-1.0)));
        assert!(matches!(refused, Err(ChangeError::Invalid { .. })));
        let refused = store.change(|progress| progress.history().push(Percent(-1.0)).map(drop));
        assert!(matches!(refused, Err(ChangeError::Invalid { .. })));
    }
    both([run::<Yrs>, run::<Automerge>]);
}
