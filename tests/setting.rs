//! Promise: a field is set with the value as written in the code. A number has the field's type, an
//! enum is switched, a text is edited; collections are iterated, filled and cleared.

use std::sync::Arc;
use std::time::SystemTime;

use exostate::{
    Automerge, Backend, ChangeError, ElementId, Link, List, Map, MovableList, Register, Set, State,
    Store, Takes, Text, Tree, Uuid, Yrs,
};
use jiff::Timestamp;

// Every promise on both backends.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod yrs {
            $(#[test] fn $name() { super::$name::<super::Yrs>(); })*
        }
        mod automerge {
            $(#[test] fn $name() { super::$name::<super::Automerge>(); })*
        }
    };
}

on_both! {
    a_number_in_the_code_has_the_type_of_its_field
    an_enum_is_set
    setting_one_variant_twice_merges_and_setting_two_competes
    a_text_is_set_with_the_least_edits
    collections_are_gone_through_filled_and_emptied
    clearing_keeps_concurrent_insertions
    clearing_removes_violations_and_unknown_fields
}

/// One field for each scalar, and for each way to hold one.
#[derive(State, Clone, Debug, PartialEq)]
struct Numbers<T: exostate::Scalar + exostate::MapKey> {
    own: T,
    maybe: Option<T>,
    list: List<T>,
    movable: MovableList<T>,
    map: Map<T, T>,
    set: Set<T>,
}

macro_rules! literals {
    ($backend:ident, $($type:ty: $number:literal),*) => {$(
        let store = Store::<Numbers<$type>, $backend>::new();
        store
            .change(|state| {
                state.own().set($number)?;
                state.maybe().set(None)?;
                state.maybe().set(Some($number))?;
                state.maybe().set($number)?;
                state.list().push($number)?;
                state.list().insert(0, 1)?;
                state.list().set(0, 2)?;
                state.list().extend([1, $number])?;
                state.movable().push($number)?;
                state.movable().extend([1, 2])?;
                state.map().insert($number, 1)?;
                state.map().insert(1, $number)?;
                state.map().get(1).set($number)?;
                state.map().extend([(2, 3)])?;
                assert!(state.map().contains_key(1)? && state.map().remove(2)?);
                state.set().insert($number)?;
                state.set().extend([1, 2])?;
                assert!(state.set().contains(1)? && state.set().remove(1)?);
                Ok(())
            })
            .expect("it can be written");
        let view = store.view();
        let number: $type = $number;
        assert_eq!((view.own, view.maybe), (number, Some(number)));
        assert_eq!(view.list, List::from([2, number, 1, number]));
        assert_eq!(view.movable, MovableList::from([number, 1, 2]));
        assert_eq!(view.map, Map::from_iter([(1, number), (number, 1)]));
        assert_eq!(view.set, Set::from_iter([2, number]));
        let chosen = store.select(|state| {
            (
                state.map().get(1).value().copied(),
                state.map().contains_key(1),
                state.set().contains(2),
            )
        });
        assert_eq!(*chosen.get(), (Some(number), true, true));
        let _watch = store.watch(Numbers::<$type>::path().set().has(1), |_| ());
        let by = store.select_by(|state, key: &$type| state.map().get(*key).value().copied());
        assert_eq!(*by.of(1).get(), Some(number));
    )*};
}

#[derive(State, Clone, Debug, PartialEq)]
struct Others {
    half: f32,
    ratio: f64,
    maybe_ratio: Option<f64>,
    name: String,
    maybe_name: Option<String>,
    shared: Arc<str>,
    letter: char,
    flag: bool,
    bytes: Vec<u8>,
    shared_bytes: Arc<[u8]>,
    id: Uuid,
    when: Timestamp,
    clock: SystemTime,
    count: Register<u64>,
    pair: Register<(u8, String)>,
    link: Link<Others>,
    names: List<String>,
    tags: Set<String>,
    sizes: Map<String, u16>,
    codes: Map<char, f64>,
}

fn a_number_in_the_code_has_the_type_of_its_field<B: Backend>() {
    literals!(
        B, u8: 200, u16: 60_000, u32: 4_000_000_000, u64: 10_000_000_000_000_000_000,
        i8: -100, i16: -30_000, i32: 7, i64: -5_000_000_000
    );

    let store = Store::<Others, B>::new();
    let small = 7_u32;
    let title = "title".to_owned();
    let borrowed = "borrowed";
    store
        .change(|state| {
            state.half().set(1)?;
            state.half().set(0.5)?;
            state.ratio().set(1)?;
            state.ratio().set(small)?;
            state.ratio().set(0.5_f32)?;
            state.ratio().set(1.5)?;
            state.maybe_ratio().set(2.5)?;
            state.name().set(borrowed)?;
            state.name().set(&title)?;
            state.name().set(title.clone())?;
            state.name().set(std::borrow::Cow::Borrowed("cow"))?;
            state.name().set(format!("{title}!"))?;
            state.maybe_name().set("some".to_owned())?;
            state.shared().set("shared")?;
            state.letter().set('x')?;
            state.flag().set(true)?;
            state.bytes().set([1, 2, 3])?;
            state.bytes().set(vec![1])?;
            state.bytes().set(b"bytes")?;
            state.shared_bytes().set([1, 2])?;
            state.id().set(Uuid::from_u128(1))?;
            state.when().set(Timestamp::UNIX_EPOCH)?;
            state.clock().set(Timestamp::UNIX_EPOCH)?;
            state.count().set(1)?;
            state.pair().set((1, "one".to_owned()))?;
            state.link().set(Link::new("there"))?;
            state.names().extend(["a", "b"])?;
            state.tags().extend(["a", "b"])?;
            state.sizes().insert("a", 1)?;
            state.sizes().get("a").set(small.try_into().map_err(ChangeError::refuse)?)?;
            state.codes().insert('a', 1.0)?;
            state.codes().get('a').set(2)
        })
        .expect("it can be written");
    let view = store.view();
    assert_eq!((view.half, view.ratio, view.maybe_ratio), (0.5, 1.5, Some(2.5)));
    assert_eq!(
        (view.name.as_str(), view.maybe_name.as_deref(), &*view.shared),
        ("title!", Some("some"), "shared")
    );
    assert_eq!(
        (view.bytes.as_slice(), &*view.shared_bytes),
        (b"bytes".as_slice(), [1, 2].as_slice())
    );
    assert_eq!((*view.count, view.sizes.get("a"), view.codes.get(&'a')), (1, Some(&7), Some(&2.0)));
    assert_eq!(*view, store.reread());
}

/// A user-defined key type accepts the types that it declares.
#[test]
fn a_custom_key_takes_its_declared_types() {
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct User(String);
    impl exostate::MapKey for User {
        fn to_text(&self) -> std::borrow::Cow<'_, str> {
            self.0.as_str().into()
        }
        fn from_text(text: &str) -> Option<Self> {
            Some(Self(text.to_owned()))
        }
    }
    impl Takes<&str> for User {
        fn take(value: &str) -> Self {
            Self(value.to_owned())
        }
    }
    #[derive(State, Clone, Debug, PartialEq)]
    struct Team {
        ages: Map<User, u8>,
    }
    let store = Store::<Team>::new();
    store
        .change(|team| {
            team.ages().insert("ada", 1)?;
            team.ages().get(User("ada".to_owned())).set(36)
        })
        .expect("it can be written");
    assert_eq!(store.view().ages.get(&User("ada".to_owned())), Some(&36));
}

// Enums.

#[derive(State, Clone, Debug, Default, PartialEq)]
enum Status {
    #[default]
    Open,
    Done,
}

#[derive(State, Clone, Debug, PartialEq)]
enum Shape<T> {
    #[state(default)]
    Nothing,
    Circle {
        radius: f64,
        fill: T,
    },
    Label(String, Text),
    /// Its accessor has the same name as the edit that sets the whole enum.
    Set(u8),
}

#[derive(State, Clone, Debug, PartialEq)]
struct Drawing {
    status: Status,
    shape: Shape<u32>,
    maybe_status: Option<Status>,
    maybe_shape: Option<Shape<String>>,
    by_name: Map<String, Shape<bool>>,
    in_order: MovableList<Status>,
}

fn an_enum_is_set<B: Backend>() {
    let store = Store::<Drawing, B>::new();
    let id = store
        .change(|drawing| {
            drawing.by_name().insert("a", Shape::Nothing)?;
            drawing.in_order().push(Status::Open)
        })
        .expect("it can be written");
    let label = |text: &str| Shape::Label(text.to_owned(), Text::from(text));
    store
        .change(|drawing| {
            drawing.status().set(Status::Done)?;
            (*drawing.shape()).set(Shape::Circle { radius: 1.5, fill: 7 })?;
            drawing.maybe_status().set(Status::Done)?;
            drawing.maybe_shape().set(Shape::Circle { radius: 0.0, fill: "red".to_owned() })?;
            (*drawing.by_name().get("a")).set(Shape::Set(0))?;
            drawing.in_order().get(id).set(Status::Done)
        })
        .expect("it can be written");
    let view = store.view();
    assert_eq!(
        (&view.status, &view.shape),
        (&Status::Done, &Shape::Circle { radius: 1.5, fill: 7 })
    );
    assert_eq!(view.maybe_shape, Some(Shape::Circle { radius: 0.0, fill: "red".to_owned() }));
    assert_eq!(
        (view.by_name.get("a"), view.in_order.get(0)),
        (Some(&Shape::Set(0)), Some(&Status::Done))
    );

    // The same variant again: equal fields are not written.
    let touched = touched(&store, |drawing| {
        drawing.status().set(Status::Done)?;
        (*drawing.shape()).set(Shape::Circle { radius: 1.5, fill: 8 })?;
        (*drawing.maybe_shape().some()).set(Shape::Circle { radius: 0.0, fill: "red".to_owned() })
    });
    assert_eq!(touched, ["shape/Circle/fill"]);

    // Another variant: nothing of the old one remains.
    store
        .change(|drawing| {
            (*drawing.shape()).set(label("text"))?;
            drawing.maybe_shape().set(None)?;
            drawing.by_name().get("a").set().set(3)?;
            (*drawing.by_name().get("a")).set(Shape::Nothing)
        })
        .expect("it can be written");
    let plain = Store::<Drawing, B>::new();
    plain
        .change(|drawing| {
            drawing.status().set(Status::Done)?;
            (*drawing.shape()).set(label("text"))?;
            drawing.maybe_status().set(Status::Done)?;
            drawing.maybe_shape().set(None)?;
            drawing.by_name().insert("a", Shape::Nothing)
        })
        .expect("it can be written");
    store.change(|drawing| drawing.in_order().clear()).expect("it can be written");
    let registers = |store: &Store<Drawing, B>| store.document().registers("");
    assert_eq!((store.view(), registers(&store)), (plain.view(), registers(&plain)));
    assert_eq!(*store.view(), store.reread());

    let gone = store.change(|drawing| drawing.in_order().get(id).set(Status::Open));
    assert!(matches!(gone, Err(ChangeError::NotFound { .. })), "{gone:?}");
}

/// Makes a change, and returns the registers and sequences that it touched.
fn touched<B: Backend>(
    store: &Store<Drawing, B>,
    edit: impl FnOnce(<Drawing as State>::Node<exostate::Edit<'_>>) -> Result<(), ChangeError>,
) -> Vec<String> {
    let (sender, told) = std::sync::mpsc::channel();
    let _watch = store.watch(Drawing::path(), move |patch| {
        patch.touched().for_each(|path| sender.send(path.to_owned()).expect("a test"))
    });
    store.change(edit).expect("it can be written");
    told.try_iter().collect()
}

fn setting_one_variant_twice_merges_and_setting_two_competes<B: Backend>() {
    let circle = |radius, fill| Shape::Circle { radius, fill };
    let ours = Store::<Drawing, B>::new();
    ours.change(|drawing| (*drawing.shape()).set(circle(1.0, 1))).expect("it can be written");
    let theirs = ours.fork().expect("a fork");
    ours.change(|drawing| (*drawing.shape()).set(circle(2.0, 1))).expect("it can be written");
    theirs.change(|drawing| (*drawing.shape()).set(circle(1.0, 2))).expect("it can be written");
    ours.merge(&theirs).expect("a merge");
    assert_eq!(ours.view().shape, circle(2.0, 2));

    theirs.merge(&ours).expect("a merge");
    ours.change(|drawing| (*drawing.shape()).set(Shape::Nothing)).expect("it can be written");
    theirs.change(|drawing| (*drawing.shape()).set(Shape::Set(1))).expect("it can be written");
    ours.merge(&theirs).expect("a merge");
    theirs.merge(&ours).expect("a merge");
    assert_eq!((ours.view(), ours.digest()), (theirs.view(), theirs.digest()));
    assert!(
        [Shape::Nothing, Shape::Set(1)].contains(&ours.view().shape),
        "{:?}",
        ours.view().shape
    );
}

// Texts and collections.

#[derive(State, Clone, Debug, PartialEq)]
struct Page {
    body: Text,
    lines: List<String>,
    cards: MovableList<Card>,
    people: Map<String, Card>,
    tags: Set<u16>,
    outline: Tree<Card>,
    maybe: Option<Map<String, u8>>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Card {
    title: String,
}

fn card(title: &str) -> Card {
    Card { title: title.to_owned() }
}

fn a_text_is_set_with_the_least_edits<B: Backend>() {
    let store = Store::<Page, B>::new();
    store.change(|page| page.body().set("one two three")).expect("it can be written");
    store.change(|page| page.body().mark(4..7, "bold", true)).expect("it can be written");
    let other = store.fork().expect("a fork");
    other.change(|page| page.body().insert(5, "-")).expect("it can be written");
    store.change(|page| page.body().set("zero one two 3")).expect("it can be written");
    let view = store.view();
    assert_eq!(view.body, "zero one two 3");
    let bold: Vec<usize> =
        (0..view.body.len()).filter(|at| view.body.marks_at(*at).is_some()).collect();
    assert_eq!(bold, [9, 10, 11], "what stays keeps its marks");
    store.merge(&other).expect("a merge");
    assert_eq!(store.view().body, "zero one t-wo 3");

    let version = store.version();
    store.change(|page| page.body().set("zero one t-wo 3")).expect("it can be written");
    assert_eq!(store.version(), version, "an equal text was written");
    store.change(|page| page.body().clear()).expect("it can be written");
    assert!(store.view().body.is_empty());
    let version = store.version();
    store.change(|page| page.body().clear()).expect("it can be written");
    assert_eq!((store.version(), store.view().as_ref()), (version, &store.reread()));
}

fn collections_are_gone_through_filled_and_emptied<B: Backend>() {
    let store = Store::<Page, B>::new();
    let (first, root) = store
        .change(|page| {
            page.lines().extend(["a", "b"])?;
            assert_eq!(
                (page.lines().len()?, page.lines().iter()?.collect::<Vec<_>>()),
                (2, vec!["a".to_owned(), "b".to_owned()])
            );
            let ids = page.cards().extend([card("a"), card("b")])?;
            assert_eq!(
                page.cards().iter_ids()?.collect::<Vec<_>>(),
                [(ids[0], card("a")), (ids[1], card("b"))]
            );
            page.people().extend([("ada", card("a")), ("bob", card("b"))])?;
            assert_eq!(page.people().keys()?.collect::<Vec<_>>(), ["ada", "bob"]);
            assert_eq!(page.people().iter()?.next_back(), Some(("bob".to_owned(), card("b"))));
            page.tags().extend([3, 1, 2])?;
            assert_eq!(
                (page.tags().len()?, page.tags().iter()?.collect::<Vec<_>>()),
                (3, vec![1, 2, 3])
            );
            let roots = page.outline().extend(None, [card("r"), card("s")])?;
            page.outline().extend(Some(roots[0]), [card("c")])?;
            let values: Vec<Card> = page.outline().iter()?.collect();
            assert_eq!((page.outline().len()?, values), (3, vec![card("r"), card("c"), card("s")]));
            // The elements can be edited during the iteration.
            for (id, card) in page.cards().iter_ids()? {
                page.cards().get(id).title().set(card.title + "!")?;
                page.cards().move_to(id, 0)?;
            }
            for (id, card) in page.outline().iter_ids()? {
                page.outline().get(id).title().set(card.title.to_uppercase())?;
            }
            Ok((ids[0], roots[0]))
        })
        .expect("it can be written");
    let view = store.view();
    assert_eq!(
        (view.cards.iter().cloned().collect::<Vec<_>>(), view.cards.index_of(first)),
        (vec![card("b!"), card("a!")], Some(1))
    );
    assert_eq!(view.outline.get(root), Some(&card("R")));

    store
        .change(|page| {
            page.lines().clear()?;
            page.cards().clear()?;
            page.people().clear()?;
            page.tags().clear()?;
            page.outline().clear()?;
            assert!(
                page.lines().is_empty()? && page.cards().is_empty()? && page.people().is_empty()?
            );
            assert!(page.tags().is_empty()? && page.outline().is_empty()?);
            assert!(matches!(page.maybe().some().clear(), Err(ChangeError::NotFound { .. })));
            page.maybe().set(Map::from_iter([("a".to_owned(), 1)]))?;
            page.maybe().some().clear()
        })
        .expect("it can be written");
    assert_eq!(store.view().maybe, Some(Map::new()), "a map that is emptied is still there");
    store.change(|page| page.maybe().set(None)).expect("it can be written");
    let empty = Store::<Page, B>::new();
    empty.change(|page| page.maybe().set(None)).expect("it can be written");
    assert_eq!((store.view(), store.digest()), (empty.view(), empty.digest()));
    assert_eq!(*store.view(), store.reread());

    let version = store.version();
    store
        .change(|page| {
            page.lines()
                .clear()
                .and(page.cards().clear())
                .and(page.people().clear())
                .and(page.tags().clear())
                .and(page.outline().clear())
        })
        .expect("nothing is written");
    assert_eq!(store.version(), version, "what is empty was emptied");
}

fn clearing_keeps_concurrent_insertions<B: Backend>() {
    let ours = Store::<Page, B>::new();
    let old: ElementId = ours
        .change(|page| {
            page.body().set("old")?;
            page.lines().push("old")?;
            page.people().insert("old", card("old"))?;
            page.tags().insert(1)?;
            let root = page.outline().push(None, card("old"))?;
            page.cards().push(card("old"))?;
            Ok(root)
        })
        .expect("it can be written");
    let theirs = ours.fork().expect("a fork");
    theirs
        .change(|page| {
            page.body().push_str("new")?;
            page.lines().push("new")?;
            page.people().insert("new", card("new"))?;
            page.tags().insert(2)?;
            page.outline().push(Some(old), card("new"))?;
            page.cards().push(card("new")).map(drop)
        })
        .expect("it can be written");
    ours.change(|page| {
        page.body().clear()?;
        page.lines().clear()?;
        page.people().clear()?;
        page.tags().clear()?;
        page.outline().clear()?;
        page.cards().clear()
    })
    .expect("it can be written");
    ours.merge(&theirs).expect("a merge");
    let view = ours.view();
    assert_eq!(
        (view.body.to_string().as_str(), view.lines.iter().cloned().collect::<Vec<_>>()),
        ("new", vec!["new".to_owned()])
    );
    assert_eq!(view.people, Map::from_iter([("new".to_owned(), card("new"))]));
    assert_eq!(
        (view.tags.iter().collect::<Vec<_>>(), view.cards.iter().collect::<Vec<_>>()),
        (vec![&2], vec![&card("new")])
    );
    assert_eq!(
        view.outline.walk().into_iter().map(|(depth, _, card)| (depth, card)).collect::<Vec<_>>(),
        [(0, &card("new"))]
    );
    assert_eq!(*view, ours.reread());
}

/// Two types for the same document. Each knows a part that the other does not know.
fn clearing_removes_violations_and_unknown_fields<B: Backend>() {
    #[derive(State, Clone, Debug, PartialEq)]
    struct Newer {
        lines: List<u8>,
        people: Map<String, Person>,
    }
    #[derive(State, Clone, Debug, PartialEq)]
    struct Person {
        title: String,
        age: u8,
        bio: Text,
    }
    let newer = Store::<Newer, B>::new();
    newer
        .change(|state| {
            state.lines().extend([1, 2])?;
            state
                .people()
                .insert("ada", Person { title: "a".to_owned(), age: 36, bio: Text::from("bio") })
        })
        .expect("it can be written");
    let store = Store::<Page, B>::open(&newer.save()).expect("a document");
    assert_eq!(
        (store.violations().len(), store.view().lines.len(), store.view().people.len()),
        (1, 0, 1)
    );
    store
        .change(|page| page.lines().clear().and(page.people().clear()))
        .expect("it can be written");
    // A store that knows these fields clears them too: it finds nothing more to remove.
    newer
        .change(|state| state.lines().clear().and(state.people().clear()))
        .expect("it can be written");
    assert_eq!((store.violations(), store.digest()), (Vec::new(), newer.digest()));
}
