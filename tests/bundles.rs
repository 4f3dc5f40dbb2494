//! A new record is stored as one bundle (docs/layout.md). Reading, editing and merging work as if
//! each value were a separate register.

#[path = "support/reader.rs"]
mod reader;

use std::collections::BTreeMap;
use std::time::Duration;

use exostate::{
    Automerge, Backend, Counter, Map, Options, Register, ReplicaId, Set, State, Store, UndoOptions,
    Value, Yrs,
};
use proptest::prelude::*;
use yrs::updates::decoder::Decode;
use yrs::{Any, Map as _, Out, ReadTxn, Transact, WriteTxn};

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Shelf {
    books: Map<String, Book>,
    raw: Map<String, Vec<u8>>,
    notes: Map<String, Register<(u8, String)>>,
    best: Option<Book>,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Book {
    title: String,
    pages: u32,
    cover: Vec<u8>,
    tags: Set<String>,
    read: Counter,
    owner: Option<String>,
    parts: Map<String, Part>,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Part {
    name: String,
    start: u32,
}

fn store<B: Backend>(id: u64) -> Store<Shelf, B> {
    Store::with_options(Options::new().with_replica(ReplicaId::from_bits(id)))
}

fn book(title: &str) -> Book {
    Book {
        title: title.to_owned(),
        pages: 9,
        cover: vec![1, 2],
        tags: ["new", "red"].map(str::to_owned).into_iter().collect(),
        read: Counter::new(2),
        owner: Some("ada".to_owned()),
        parts: [("a".to_owned(), Part { name: "first".to_owned(), start: 1 })]
            .into_iter()
            .collect(),
    }
}

/// What a document on yrs stores under its keys.
fn stored(store: &Store<Shelf>) -> BTreeMap<String, Any> {
    let doc = yrs::Doc::new();
    let mut txn = doc.transact_mut();
    let state = txn.get_or_insert_map("state");
    let update = yrs::Update::decode_v1(&store.save()).expect("an update");
    txn.apply_update(update).expect("it applies");
    let any = |(key, value): (&str, Out)| match value {
        Out::Any(any) => (key.to_owned(), any),
        other => panic!("{key} holds {other:?}"),
    };
    state.iter(&txn).map(any).filter(|(key, _)| !key.starts_with('@')).collect()
}

/// Writes into the registers of a document as a Yjs peer does.
fn write_raw(store: &Store<Shelf>, entries: &[(&str, Option<Any>)]) {
    apply_raw(store, entries);
    check(store);
}

fn apply_raw(store: &Store<Shelf>, entries: &[(&str, Option<Any>)]) {
    // Each writer has an id of its own.
    let doc = yrs::Doc::new();
    let mut txn = doc.transact_mut();
    let state = txn.get_or_insert_map("state");
    txn.apply_update(yrs::Update::decode_v1(&store.save()).expect("an update"))
        .expect("it applies");
    for (key, value) in entries {
        match value {
            Some(value) => drop(state.insert(&mut txn, *key, value.clone())),
            None => drop(state.remove(&mut txn, key)),
        }
    }
    let update = txn.encode_state_as_update_v1(&yrs::StateVector::default());
    store.apply(&update).expect("it applies");
}

fn check<B: Backend>(store: &Store<Shelf, B>) {
    let opened = Store::<Shelf, B>::open(&store.save()).expect("it opens");
    assert_eq!(opened.view(), store.view());
    assert_eq!(opened.digest(), store.digest());
    assert!(store.violations().is_empty(), "{:?}", store.violations());
}

fn exchange<B: Backend>(a: &Store<Shelf, B>, b: &Store<Shelf, B>) {
    a.merge(b).expect("an honest update");
    b.merge(a).expect("an honest update");
    assert_eq!(a.view(), b.view());
    assert_eq!(a.digest(), b.digest());
    check(a);
    check(b);
}

fn insert<B: Backend>(store: &Store<Shelf, B>, key: &str, book: Book) {
    store.change(|shelf| shelf.books().insert(key, book)).expect("it is written");
}

fn remove<B: Backend>(store: &Store<Shelf, B>, key: &str) {
    store.change(|shelf| shelf.books().remove(key)).expect("it is removed");
}

#[test]
fn a_record_is_one_key_until_its_fields_change() {
    let shelf = store::<Yrs>(0x1f);
    insert(&shelf, "k", book("Emma"));
    assert_eq!(stored(&shelf).into_keys().collect::<Vec<_>>(), ["books/k/@1f-0"]);
    shelf.change(|shelf| shelf.books().get("k").title().set("Ema")).expect("it is written");
    assert_eq!(stored(&shelf).into_keys().collect::<Vec<_>>(), ["books/k/@1f-0", "books/k/title"]);
    assert_eq!(shelf.view().books.get("k"), Some(&Book { title: "Ema".to_owned(), ..book("") }));
    check(&shelf);
    remove(&shelf, "k");
    assert_eq!(stored(&shelf), BTreeMap::new());
    assert_eq!(shelf.view(), store::<Yrs>(1).view());
}

#[test]
fn a_record_without_fields_and_a_scalar_are_registers() {
    let shelf = store::<Yrs>(1);
    shelf
        .change(|shelf| {
            shelf.books().insert("k", Book::default())?;
            shelf.raw().insert("bytes", vec![0xa1, 0x60, 0xf5])?;
            shelf.notes().insert("note", Register((1, "x".to_owned())))
        })
        .expect("it is written");
    let keys: Vec<String> = stored(&shelf).into_keys().collect();
    assert_eq!(keys, ["books/k", "notes/note", "raw/bytes"]);
    check(&shelf);
}

#[test]
fn values_and_keys_that_look_like_bundles_are_values() {
    let shelf = store::<Yrs>(1);
    insert(&shelf, "k", book("Emma"));
    let Some(Any::Buffer(bundle)) = stored(&shelf).remove("books/k/@1-0") else {
        panic!("a bundle")
    };
    shelf
        .change(|shelf| {
            shelf.raw().insert("@1-0", bundle.to_vec())?;
            shelf.raw().insert("k/@1-0", bundle.to_vec())?;
            shelf.books().get("k").cover().set(bundle.to_vec())?;
            shelf.books().insert("@2-0", book("Persuasion"))
        })
        .expect("it is written");
    let view = shelf.view();
    assert_eq!(view.raw.get("@1-0"), Some(&bundle.to_vec()));
    assert_eq!(view.raw.get("k/@1-0"), Some(&bundle.to_vec()));
    assert_eq!(view.books.get("@2-0"), Some(&book("Persuasion")));
    assert_eq!(view.books.get("k"), Some(&Book { cover: bundle.to_vec(), ..book("Emma") }));
    check(&shelf);
}

#[test]
fn what_exceeds_a_limit_is_written_as_registers() {
    // An entry takes some bytes besides its content, so the limit lies between these lengths.
    for (len, fits) in [(3_800, true), (4_096, false), (100_000, false)] {
        let shelf = store::<Yrs>(1);
        insert(&shelf, "k", Book { title: "x".repeat(len), ..book("") });
        assert_eq!(stored(&shelf).contains_key("books/k/title"), !fits, "{len}");
        assert!(stored(&shelf).keys().any(|key| key.starts_with("books/k/@1-")));
        assert_eq!(shelf.view().books.get("k").map(|book| book.title.len()), Some(len));
        check(&shelf);
    }
    // The marker, and one entry for each tag.
    for (tags, fits) in [(63, true), (64, false), (1_000, false)] {
        let shelf = store::<Yrs>(1);
        let tags = (0..tags).map(|tag: u32| tag.to_string()).collect::<Set<String>>();
        insert(&shelf, "k", Book { tags: tags.clone(), ..Book::default() });
        assert_eq!(stored(&shelf).len() == 1, fits);
        assert_eq!(shelf.view().books.get("k").map(|book| book.tags.len()), Some(tags.len()));
        check(&shelf);
    }
    // The records in a large record have bundles of their own.
    let shelf = store::<Yrs>(1);
    let part = |number: u32| (number.to_string(), Part { name: "x".repeat(50), start: number });
    let parts = (0..100).map(part).collect::<Map<String, Part>>();
    insert(&shelf, "k", Book { parts: parts.clone(), ..book("") });
    let keys = stored(&shelf);
    assert_eq!(keys.keys().filter(|key| key.starts_with("books/k/parts/")).count(), 100);
    assert_eq!(keys.len(), 101, "{:?}", keys.keys());
    assert_eq!(shelf.view().books.get("k").map(|book| book.parts.clone()), Some(parts));
    check(&shelf);
}

#[test]
fn a_record_with_a_long_path_can_be_edited_and_removed() {
    for len in [400, 505, 506, 507, 2_000, 4_080] {
        let (ours, theirs) = (store::<Yrs>(1), store::<Yrs>(2));
        let key = "k".repeat(len);
        let book = Book { title: "Emma".to_owned(), pages: 1, ..Book::default() };
        insert(&ours, &key, book.clone());
        exchange(&ours, &theirs);
        theirs.change(|shelf| shelf.books().get(&*key).title().set("")).expect("it is written");
        exchange(&ours, &theirs);
        assert_eq!(ours.view().books.get(&key), Some(&Book { title: String::new(), ..book }));
        remove(&ours, &key);
        exchange(&ours, &theirs);
        assert_eq!(stored(&theirs), BTreeMap::new());
    }
}

fn a_removal_in_one_bundle_leaves_the_entry_of_another_creator<B: Backend>() {
    let (ours, theirs) = (store::<B>(1), store::<B>(2));
    insert(&ours, "k", book("Emma"));
    insert(&theirs, "k", book("Emma"));
    for store in [&ours, &theirs] {
        store
            .change(|shelf| {
                let book = shelf.books().get("k");
                book.tags().remove("red")?;
                book.parts().remove("a")
            })
            .expect("it is written");
    }
    insert(&theirs, "other", book("Persuasion"));
    theirs.change(|shelf| shelf.books().get("k").tags().insert("red")).expect("it is written");
    exchange(&ours, &theirs);
    let view = ours.view();
    let found = view.books.get("k").expect("a book");
    assert_eq!((found.tags.len(), found.parts.len()), (2, 0));
    assert_eq!(found.read.value(), 4);
    // A third replica removes what it sees: the entries of both.
    let third = store::<B>(3);
    third.merge(&ours).expect("it applies");
    third.change(|shelf| shelf.books().get("k").tags().remove("new")).expect("it is removed");
    exchange(&third, &ours);
    exchange(&ours, &theirs);
    assert_eq!(theirs.view().books.get("k").map(|book| book.tags.len()), Some(1));
    remove(&third, "k");
    exchange(&third, &theirs);
    assert_eq!(theirs.view().books.get("k"), None);
}

#[test]
fn a_removal_in_one_bundle_leaves_the_entry_of_another_creator_on_both() {
    a_removal_in_one_bundle_leaves_the_entry_of_another_creator::<Yrs>();
    a_removal_in_one_bundle_leaves_the_entry_of_another_creator::<Automerge>();
}

fn a_tag_that_is_added_again_survives_its_removal<B: Backend>() {
    for (adder, remover) in [(1, 2), (2, 1)] {
        let (adder, remover) = (store::<B>(adder), store::<B>(remover));
        insert(&adder, "k", book("Emma"));
        exchange(&adder, &remover);
        adder.change(|shelf| shelf.books().get("k").tags().insert("red")).expect("it is added");
        remover.change(|shelf| shelf.books().get("k").tags().remove("red")).expect("it is removed");
        exchange(&adder, &remover);
        assert!(adder.view().books.get("k").is_some_and(|book| book.tags.contains("red")));
    }
}

#[test]
fn a_tag_that_is_added_again_survives_its_removal_on_both() {
    a_tag_that_is_added_again_survives_its_removal::<Yrs>();
    a_tag_that_is_added_again_survives_its_removal::<Automerge>();
}

fn a_removal_in_an_old_record_spares_the_new_one<B: Backend>() {
    for (maker, remover) in [(1, 2), (2, 1)] {
        let (maker, remover) = (store::<B>(maker), store::<B>(remover));
        insert(&maker, "k", book("Emma"));
        exchange(&maker, &remover);
        remove(&maker, "k");
        insert(&maker, "k", book("Emma"));
        remover
            .change(|shelf| {
                let book = shelf.books().get("k");
                book.tags().remove("red")?;
                book.title().set("")
            })
            .expect("it is written");
        exchange(&maker, &remover);
        let view = maker.view();
        let found = view.books.get("k").expect("a book");
        assert!(found.tags.contains("red"));
        assert_eq!(found.title, "", "an edit beside it stays");
        // What the old record left is cleared when the slot is filled once more.
        remove(&maker, "k");
        insert(&maker, "k", book("Emma"));
        exchange(&maker, &remover);
        assert_eq!(remover.view().books.get("k"), Some(&book("Emma")));
    }
}

#[test]
fn a_removal_in_an_old_record_spares_the_new_one_on_both() {
    a_removal_in_an_old_record_spares_the_new_one::<Yrs>();
    a_removal_in_an_old_record_spares_the_new_one::<Automerge>();
}

#[test]
fn a_void_register_counts_also_if_it_comes_before_its_bundle() {
    let [maker, remover, other] = [1, 2, 3].map(store::<Yrs>);
    insert(&maker, "k", book("Emma"));
    remover.merge(&maker).expect("an honest update");
    let before = remover.version();
    remover.change(|shelf| shelf.books().get("k").tags().remove("red")).expect("it is removed");
    for update in remover.updates_since(&before).expect("its own backend") {
        other.apply(&update).expect("an honest update");
    }
    insert(&other, "k", Book { pages: 1, ..book("") });
    exchange(&maker, &remover);
    other.change(|shelf| shelf.books().get("k").tags().remove("red")).expect("it is removed");
    exchange(&maker, &other);
    assert_eq!(maker.view().books.get("k").map(|book| book.tags.len()), Some(1));
}

/// One replica sees only the second creator's record and removes it. The record of the first
/// creator stays, although another replica has removed an element from it.
fn a_removal_of_an_element_leaves_the_marker_of_its_creator<B: Backend>() {
    let [first, second, both] = [1, 2, 3].map(store::<B>);
    let tagged = Book { tags: Set::from_iter(["red".to_owned()]), ..Book::default() };
    insert(&first, "k", tagged);
    insert(&second, "k", Book::default());
    both.merge(&first).expect("an honest update");
    both.merge(&second).expect("an honest update");
    both.change(|shelf| shelf.books().get("k").tags().remove("red")).expect("it is removed");
    remove(&second, "k");
    exchange(&both, &second);
    assert_eq!(both.view().books.get("k"), Some(&Book::default()));
}

#[test]
fn a_removal_of_an_element_leaves_the_marker_of_its_creator_on_both() {
    a_removal_of_an_element_leaves_the_marker_of_its_creator::<Yrs>();
    a_removal_of_an_element_leaves_the_marker_of_its_creator::<Automerge>();
}

#[test]
fn a_record_with_malformed_paths_below_it_comes_back_with_an_undo() {
    let shelf = store::<Yrs>(1);
    insert(&shelf, "k", book("Emma"));
    let odd = ["books/k/~9", "books/k/@", "books/k/x//y", "books/k/@1-7/x", "books/k/"];
    write_raw(&shelf, &odd.map(|key| (key, Some(Any::from(1)))));
    let undo = shelf.undo_manager(UndoOptions::new());
    remove(&shelf, "k");
    undo.undo().expect("it is undone");
    assert_eq!(shelf.view().books.get("k"), Some(&book("Emma")));
    check(&shelf);
}

#[test]
fn of_two_bundles_of_one_name_the_longer_slot_counts() {
    let shelf = store::<Yrs>(1);
    let map = |entries: &[(&str, ciborium::Value)]| {
        let entry =
            |(path, value): &(&str, ciborium::Value)| (ciborium::Value::from(*path), value.clone());
        let mut bytes = Vec::new();
        let map = ciborium::Value::Map(entries.iter().map(entry).collect());
        ciborium::into_writer(&map, &mut bytes).expect("it is written");
        Any::from(bytes)
    };
    for part in ["a", "0"] {
        let [marker, name] = ["", "/name"].map(|below| format!("parts/{part}{below}"));
        let outer = map(&[("", true.into()), (&marker, true.into()), (&name, "outer".into())]);
        let inner = (format!("books/k/parts/{part}/@9-0"), map(&[("name", "inner".into())]));
        write_raw(&shelf, &[(&inner.0, Some(inner.1)), ("books/k/@9-0", Some(outer))]);
        let view = shelf.view();
        let found = view.books.get("k").and_then(|book| book.parts.get(part)).expect("a part");
        assert_eq!(found.name, "inner");
        let path = Shelf::path().books().get("k").parts().get(part).name();
        let values = shelf.conflicting_values(path).into_iter().map(|one| one.value);
        assert!(values.eq(["inner", "outer"].map(Value::from)));
    }
}

/// A slot with very many bundles reads as any other.
#[test]
fn a_slot_with_many_bundles_is_read_and_changed() {
    let stores: Vec<Store<Shelf>> = (1..60).map(store::<Yrs>).collect();
    for (number, store) in (0..).zip(&stores) {
        insert(store, "k", Book { pages: number, ..book("Emma") });
    }
    let shelf = store::<Yrs>(100);
    for (number, other) in (1..).zip(&stores) {
        shelf.merge(other).expect("an honest update");
        check(&shelf);
        let read = shelf.view().books.get("k").map(|book| book.read.value());
        assert_eq!(read, Some(2 * number));
    }
    shelf.change(|shelf| shelf.books().get("k").tags().remove("red")).expect("it is removed");
    check(&shelf);
    remove(&shelf, "k");
    assert_eq!(stored(&shelf), BTreeMap::new());
}

#[test]
fn keys_of_bundles_are_no_registers() {
    let shelf = store::<Yrs>(1);
    insert(&shelf, "k", book("Emma"));
    let document = shelf.document();
    assert_eq!(document.register("books/k/@1-0"), None);
    assert_eq!(document.registers("books/k/@1-0"), []);
    assert_eq!(document.register("books/k/title"), Some(Value::from("Emma")));
    assert_eq!(document.registers("books/k/parts").len(), 3);
    for path in ["books/k/@1-0", "books/k/@7-0/title"] {
        let edited = document.edit(|edit| edit.set(path, 1));
        assert!(edited.is_err(), "{path}");
    }
}

/// An undo leaves a record alone that another replica has made too, also if both are equal.
#[test]
fn an_undo_leaves_the_equal_record_of_another_creator() {
    let (ours, theirs) = (store::<Yrs>(1), store::<Yrs>(2));
    let undo = ours.undo_manager(UndoOptions::new());
    insert(&ours, "k", book("Emma"));
    insert(&theirs, "k", book("Emma"));
    exchange(&ours, &theirs);
    undo.undo().expect("it is undone");
    exchange(&ours, &theirs);
    assert_eq!(theirs.view().books.get("k").map(|book| book.title.clone()), Some("Emma".into()));
}

#[test]
fn an_entry_shows_again_when_its_void_register_is_removed() {
    let shelf = store::<Yrs>(1);
    insert(&shelf, "k", book("Emma"));
    write_raw(&shelf, &[("books/k/@1-0/title", Some(Any::Null))]);
    assert_eq!(shelf.view().books.get("k"), Some(&book("")));
    write_raw(&shelf, &[("books/k/@1-0/@", Some(Any::from(true)))]);
    assert_eq!(shelf.view().books.get("k"), None);
    write_raw(&shelf, &[("books/k/@1-0/@", None), ("books/k/@1-0/title", None)]);
    assert_eq!(shelf.view().books.get("k"), Some(&book("Emma")));
}

#[test]
fn what_is_no_bundle_has_no_entries() {
    let shelf = store::<Yrs>(1);
    insert(&shelf, "k", book("Emma"));
    for bad in [Any::Null, Any::from("text"), Any::from(vec![0xa1u8]), Any::from(vec![0xff; 5_000])]
    {
        write_raw(&shelf, &[("books/k/@2-0", Some(bad.clone())), ("books/x/@2-0", Some(bad))]);
        assert_eq!(
            shelf.view().books.iter().collect::<Vec<_>>(),
            [(&"k".to_owned(), &book("Emma"))]
        );
    }
    remove(&shelf, "k");
    assert_eq!(shelf.view().books.len(), 0);
    insert(&shelf, "x", book("Emma"));
    check(&shelf);
}

#[test]
fn a_register_that_a_bundle_had_shows_again_when_it_is_removed() {
    // exostate voids the entry together with the register; other writers may not.
    let shelf = store::<Yrs>(1);
    insert(&shelf, "k", book("Emma"));
    write_raw(&shelf, &[("books/k/title", Some(Any::from("Ema")))]);
    assert_eq!(shelf.view().books.get("k"), Some(&book("Ema")));
    write_raw(&shelf, &[("books/k/title", None)]);
    assert_eq!(shelf.view().books.get("k"), Some(&book("Emma")));
}

#[test]
fn undone_and_reconciled_records_are_bundles() {
    let shelf = store::<Yrs>(1);
    let undo = shelf.undo_manager(UndoOptions::new().with_window(Duration::ZERO));
    insert(&shelf, "k", book("Emma"));
    let before = shelf.view();
    remove(&shelf, "k");
    undo.undo().expect("it is undone");
    assert_eq!(shelf.view(), before);
    assert_eq!(stored(&shelf).len(), 1);
    shelf.reconcile(&Shelf::default()).expect("it is written");
    assert_eq!(stored(&shelf), BTreeMap::new());
    shelf.reconcile(&before).expect("it is written");
    assert_eq!(stored(&shelf).len(), 1);
}

#[test]
fn an_option_in_a_record_can_be_emptied_and_filled() {
    let (ours, theirs) = (store::<Yrs>(1), store::<Yrs>(2));
    insert(&ours, "k", book("Emma"));
    ours.change(|shelf| shelf.best().set(book("Persuasion"))).expect("it is written");
    exchange(&ours, &theirs);
    theirs
        .change(|shelf| {
            shelf.best().set(None)?;
            shelf.books().get("k").owner().set(None)
        })
        .expect("it is written");
    exchange(&ours, &theirs);
    assert_eq!(ours.view().best, None);
    assert_eq!(ours.view().books.get("k").map(|book| book.owner.clone()), Some(None));
    ours.change(|shelf| shelf.best().set(book("Emma"))).expect("it is written");
    exchange(&ours, &theirs);
    assert_eq!(theirs.view().best, Some(book("Emma")));
}

fn both_values_of_two_creators_are_known<B: Backend>() {
    let (ours, theirs) = (store::<B>(1), store::<B>(2));
    insert(&ours, "k", book("Emma"));
    insert(&theirs, "k", book("Ema"));
    exchange(&ours, &theirs);
    let found = ours.conflicting_values(Shelf::path().books().get("k").title());
    let titles: Vec<Value> = found.iter().map(|one| one.value.clone()).collect();
    assert_eq!(titles, ["Ema", "Emma"].map(Value::from), "the first one is shown");
    let writers: Vec<Option<ReplicaId>> = found.iter().map(|one| one.replica).collect();
    assert_eq!(writers, [2, 1].map(|id| Some(ReplicaId::from_bits(id))));
    assert_eq!(ours.view().books.get("k").map(|book| book.title.clone()), Some("Ema".to_owned()));
}

#[test]
fn both_values_of_two_creators_are_known_on_both() {
    both_values_of_two_creators_are_known::<Yrs>();
    both_values_of_two_creators_are_known::<Automerge>();
}

#[test]
fn a_document_with_a_later_layout_is_refused() {
    for version in [2, 3, 10, 1_000_000] {
        a_later_layout_is_refused(version);
    }
}

fn a_later_layout_is_refused(version: u64) {
    let shelf = store::<Yrs>(1);
    insert(&shelf, "k", book("Emma"));
    let before = (shelf.view(), shelf.save());
    let doc = yrs::Doc::with_client_id(77);
    let mut txn = doc.transact_mut();
    txn.get_or_insert_map("state").insert(&mut txn, format!("@layout/{version}"), true);
    let later = txn.encode_update_v1();
    let error = shelf.apply(&later).expect_err("a later layout").to_string();
    assert!(error.contains(&format!("version {version} of the layout")), "{error}");
    assert_eq!((shelf.view(), shelf.save()), before);
    let error = Store::<Shelf>::open(&later).expect_err("a later layout").to_string();
    assert!(error.contains(&format!("version {version} of the layout")), "{error}");
    let empty = store::<Yrs>(2);
    assert!(empty.document().apply_part(&[&later]).is_err());
    assert_eq!(*empty.view(), Shelf::default());
}

/// A write of a Yjs peer into what a document stores.
#[derive(Clone, Debug)]
enum Raw {
    /// A bundle of this slot and name, with these entries.
    Bundle(&'static str, &'static str, Vec<&'static str>),
    /// A void register.
    Void(&'static str, &'static str, &'static str),
    /// A separate register.
    Register(&'static str, &'static str),
    /// The removal of one of the stored keys.
    Remove(u8),
}

/// An edit through the state.
#[derive(Clone, Debug)]
enum Edit {
    Insert(u8),
    Remove,
    Retitle,
    Untag,
    RemovePart,
    Raw(Vec<Raw>),
}

const SLOTS: [&str; 4] = ["books/k", "books/k/parts/a", "books/k/parts/0", "books"];
const NAMES: [&str; 3] = ["@1-0", "@2-0", "@10-0"];
const BELOW: [&str; 7] = ["", "0", "k/title", "name", "parts/0", "parts/a", "title"];

fn raw() -> impl Strategy<Value = Raw> {
    let one = prop::sample::select;
    let entries = prop::sample::subsequence(BELOW.to_vec(), 0..5);
    prop_oneof![
        (one(SLOTS.to_vec()), one(NAMES.to_vec()), entries)
            .prop_map(|(slot, name, entries)| Raw::Bundle(slot, name, entries)),
        (one(SLOTS.to_vec()), one(NAMES.to_vec()), one(BELOW.to_vec()))
            .prop_map(|(slot, name, below)| Raw::Void(slot, name, below)),
        (one(SLOTS.to_vec()), one(BELOW.to_vec()))
            .prop_map(|(slot, below)| Raw::Register(slot, below)),
        any::<u8>().prop_map(Raw::Remove),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        any::<u8>().prop_map(Edit::Insert),
        Just(Edit::Remove),
        Just(Edit::Retitle),
        Just(Edit::Untag),
        Just(Edit::RemovePart),
        prop::collection::vec(raw(), 1..6).prop_map(Edit::Raw),
    ]
}

fn below(slot: &str, relative: &str) -> String {
    if relative.is_empty() { slot.to_owned() } else { format!("{slot}/{relative}") }
}

fn bundle(entries: &[&str], value: &str) -> Any {
    let entry = |path: &&str| (ciborium::Value::from(*path), ciborium::Value::from(value));
    let mut bytes = Vec::new();
    ciborium::into_writer(&ciborium::Value::Map(entries.iter().map(entry).collect()), &mut bytes)
        .expect("it is written");
    Any::from(bytes)
}

fn apply(shelf: &Store<Shelf>, edit: &Edit, number: usize) {
    let change = match edit {
        Edit::Insert(pages) => shelf.change(|shelf| {
            shelf.books().insert("k", Book { pages: (*pages).into(), ..book("Emma") })
        }),
        Edit::Remove => shelf.change(|shelf| shelf.books().remove("k").map(drop)),
        Edit::Retitle => {
            shelf.change(|shelf| shelf.books().get("k").title().set(number.to_string()))
        }
        Edit::Untag => shelf.change(|shelf| shelf.books().get("k").tags().clear()),
        Edit::RemovePart => {
            shelf.change(|shelf| shelf.books().get("k").parts().remove("a").map(drop))
        }
        Edit::Raw(raws) => {
            let keys: Vec<String> = stored(shelf).into_keys().collect();
            let value = number.to_string();
            let write = |raw: &Raw| match raw {
                Raw::Bundle(slot, name, entries) => {
                    Some((format!("{slot}/{name}"), Some(bundle(entries, &value))))
                }
                Raw::Void(slot, name, "") => {
                    Some((format!("{slot}/{name}/@"), Some(Any::from(true))))
                }
                Raw::Void(slot, name, relative) => {
                    Some((format!("{slot}/{name}/{relative}"), Some(Any::from(true))))
                }
                Raw::Register(slot, relative) => {
                    Some((below(slot, relative), Some(Any::from(&*value))))
                }
                Raw::Remove(choice) => {
                    let key = keys.get(usize::from(*choice) % keys.len().max(1))?;
                    Some((key.clone(), None))
                }
            };
            let writes: Vec<(String, Option<Any>)> = raws.iter().filter_map(write).collect();
            let writes: Vec<(&str, Option<Any>)> =
                writes.iter().map(|(key, value)| (&**key, value.clone())).collect();
            apply_raw(shelf, &writes);
            return;
        }
    };
    // There may be no book.
    let _ = change;
}

fn value(scalar: reader::Scalar) -> Value {
    match scalar {
        reader::Scalar::Null => Value::Null,
        reader::Scalar::Bool(flag) => Value::Bool(flag),
        reader::Scalar::Integer(number) => Value::Int(number),
        reader::Scalar::Float(number) => Value::float(number),
        reader::Scalar::String(text) => Value::from(text),
        reader::Scalar::Bytes(bytes) => Value::Bytes(bytes.into()),
    }
}

proptest! {
    /// Whatever is stored: what a document shows after each change and import is what it shows when
    /// it is opened, and what an independent reader reads.
    #[test]
    fn any_stored_keys_are_read_alike(edits in prop::collection::vec(edit(), 1..12)) {
        let shelf = store::<Yrs>(1);
        for (number, edit) in edits.iter().enumerate() {
            apply(&shelf, edit, number);
            let opened = Store::<Shelf>::open(&shelf.save()).expect("it opens");
            prop_assert_eq!(opened.view(), shelf.view());
            prop_assert_eq!(opened.digest(), shelf.digest());
            let registers = shelf.document().registers("");
            prop_assert_eq!(opened.document().registers(""), registers.clone());
            let read = reader::from_yrs(&shelf.save()).registers;
            let mut shown: Vec<(String, Value)> = registers.clone();
            shown.sort_by(|a, b| a.0.cmp(&b.0));
            let read = read.into_iter().filter(|(path, _)| !path.starts_with('@'));
            let read: Vec<(String, Value)> = read.map(|(path, one)| (path, value(one))).collect();
            prop_assert_eq!(read, shown);
            for (path, value) in &registers {
                prop_assert_eq!(shelf.document().register(path), Some(value.clone()));
            }
        }
    }
}
