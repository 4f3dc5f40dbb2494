//! The code that `#[derive(State)]` generates for structs and enums, on both backends: every
//! attribute, every shape, every scalar.
//!
//! The refused inputs and their error messages are in `tests/ui`.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use exostate::{
    AsPath, Backend, ChangeError, Counter, List, Map, MovableList, Options, Path, Register,
    ReplicaId, Set, State, Store, Text, Uuid,
};
use jiff::Timestamp;

/// Makes each check a test per backend.
macro_rules! on_both_backends {
    ($($name:ident)*) => {
        mod yrs {
            $(#[test] fn $name() { super::$name::<exostate::Yrs>(); })*
        }
        mod automerge {
            $(#[test] fn $name() { super::$name::<exostate::Automerge>(); })*
        }
    };
}

on_both_backends! {
    structs_nest
    a_struct_holds_itself
    structs_have_parameters
    bounds_are_those_of_the_attribute
    a_newtype_is_stored_as_its_field
    a_tuple_struct_has_numbered_fields
    a_transparent_struct_is_its_field
    fields_are_renamed
    fields_are_put_into_a_case
    variants_and_their_fields_are_renamed
    a_default_stands_where_nothing_was_written
    the_default_of_the_type_is_written_over_a_declared_default
    a_skipped_field_is_not_in_the_document
    a_skipped_field_stays_while_others_change
    a_skipped_field_of_a_variant
    an_enum_is_any_of_its_variants
    accessors_of_variants_edit_in_place
    an_edit_of_the_default_variant_writes_its_name
    an_enum_may_be_the_whole_state
    a_scalar_may_be_the_whole_state
    an_option_may_be_the_whole_state
    a_collection_may_be_the_whole_state
    enums_stand_in_collections
    enums_have_parameters
    an_unknown_variant_is_a_violation
    accessors_have_the_name_they_are_given
    private_fields_have_private_accessors
    raw_identifiers_lose_their_prefix
    fields_may_be_called_anything
    integers_keep_their_extremes
    floats_keep_their_bits
    floats_that_are_written_alike_are_not_written_again
    text_keeps_every_character
    bytes_and_ids_survive
    time_stamps_keep_their_extremes
    system_times_lie_on_both_sides_of_1970
    a_time_too_far_is_refused
    options_hold_every_scalar
    collections_of_scalars_survive
}

/// The view. It must equal the document, in this store and in one that is opened from the saved
/// document, and there must be no violation.
fn checked<S: State + PartialEq + Debug, B: Backend>(store: &Store<S, B>) -> Arc<S> {
    let view = store.view();
    assert_eq!(*view, store.reread(), "the view differs from the document");
    let opened = Store::<S, B>::open(&store.save()).expect("what was saved can be opened");
    assert_eq!(view, opened.view(), "it does not open as it was");
    assert_eq!(store.violations(), opened.violations());
    assert_eq!(store.violations(), [], "what was written does not fit");
    view
}

/// A store that was reconciled with a value and shows it.
fn written<S: State + PartialEq + Debug, B: Backend>(value: &S) -> Store<S, B> {
    let store = Store::new();
    store.reconcile(value).expect("it can be written");
    assert_eq!(*checked(&store), *value, "another value than the one that was written");
    store
}

/// The document of a store, read as another state type.
fn read_as<T: State, B: Backend>(store: &Store<impl State, B>) -> Store<T, B> {
    Store::open(&store.save()).expect("what was saved can be opened")
}

/// The names of all numbers at the top level of the document.
fn names<B: Backend>(store: &Store<impl State, B>) -> Vec<String> {
    read_as::<Map<String, u32>, B>(store).view().keys().cloned().collect()
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Board {
    title: String,
    size: Size,
    maybe: Option<Size>,
    by_name: Map<String, Frame>,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Frame {
    size: Size,
    label: Text,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Size {
    width: u32,
    height: u32,
}

fn structs_nest<B: Backend>() {
    let size = |width, height| Size { width, height };
    let frame = Frame { size: size(5, 6), label: Text::from("frame") };
    let by_name = Map::from_iter([("a".to_owned(), frame), ("b".to_owned(), Frame::default())]);
    let store = written::<_, B>(&Board {
        title: "t".into(),
        size: size(1, 2),
        maybe: Some(size(3, 4)),
        by_name,
    });
    let edit = store.change(|board| {
        board.size().width().set(10u32)?;
        board.maybe().some().height().set(40u32)?;
        board.by_name().get("a").size().width().set(50u32)?;
        board.by_name().get("b").label().push_str("late")
    });
    edit.expect("it can be written");
    let view = checked(&store);
    assert_eq!((&view.size, &view.maybe), (&size(10, 2), &Some(size(3, 40))));
    assert_eq!(view.by_name.get("a").map(|frame| &frame.size), Some(&size(50, 6)));
    assert_eq!(view.by_name.get("b").map(|frame| frame.label.to_string()).as_deref(), Some("late"));
    assert_eq!(
        Board::path().by_name().get("a").size().width().as_path().as_str(),
        "by_name/a/size/width"
    );
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Folder {
    name: String,
    folders: MovableList<Self>,
}

fn a_struct_holds_itself<B: Backend>() {
    let folder = |name: &str, folders: Vec<Folder>| Folder {
        name: name.into(),
        folders: folders.into_iter().collect(),
    };
    let store = written::<_, B>(&folder(
        "a",
        vec![folder("b", vec![folder("c", vec![])]), folder("d", vec![])],
    ));
    let inner = store.view().folders.id_at(0).expect("an element");
    store
        .change(|root| root.folders().get(inner).folders().push(folder("e", vec![])))
        .expect("it can be written");
    let view = checked(&store);
    assert_eq!(
        view.folders[0].folders.iter().map(|folder| folder.name.as_str()).collect::<Vec<_>>(),
        ["c", "e"]
    );
}

#[derive(State, Clone, Debug, PartialEq)]
struct Pair<A, B = A> {
    first: A,
    second: B,
}

/// `P` is the name that the derive would give a parameter of its own.
#[derive(State, Clone, Debug, PartialEq)]
struct Bounded<P: Debug + Default, const N: usize>
where
    P: PartialEq,
{
    all: MovableList<P>,
    #[state(default = N as u64)]
    count: u64,
}

fn structs_have_parameters<B: Backend>() {
    let store = written::<_, B>(&Pair {
        first: String::from("x"),
        second: Pair { first: 1u8, second: Some(2i64) },
    });
    store.change(|pair| pair.second().second().set(Some(3))).expect("it can be written");
    assert_eq!(checked(&store).second.second, Some(3));
    let _same: Pair<u8> = Pair { first: 1, second: 2 };

    let store = written::<_, B>(&Bounded::<Size, 7> {
        all: MovableList::from_iter([Size { width: 1, height: 2 }]),
        count: 9,
    });
    let id = store.view().all.id_at(0).expect("an element");
    store.change(|bounded| bounded.all().get(id).width().set(3u32)).expect("it can be written");
    assert_eq!(checked(&store).all[0], Size { width: 3, height: 2 });
    assert_eq!(Store::<Bounded<Size, 7>, B>::new().view().count, 7);
}

/// A type parameter that is not in the document need not be a state type.
#[derive(State, Clone, Debug, PartialEq)]
#[state(bound = "T: Clone + Debug + PartialEq + Send + Sync + 'static, U: exostate::Scalar")]
struct Tagged<T, U: Clone> {
    value: U,
    list: List<U>,
    #[state(skip)]
    of: std::marker::PhantomData<T>,
}

/// It is not a state type and has no `Default`.
#[derive(Clone, Debug, PartialEq)]
struct Unit;

fn bounds_are_those_of_the_attribute<B: Backend>() {
    let value = Tagged::<Unit, String> {
        value: "x".into(),
        list: List::from_iter(["y".to_owned()]),
        of: std::marker::PhantomData,
    };
    written::<_, B>(&value);
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Celsius(f64);

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Screen(Size);

#[derive(State, Clone, Debug, PartialEq)]
struct Percent(#[state(default = 100)] u8);

#[derive(State, Clone, Debug, PartialEq)]
struct Newtypes {
    heat: Celsius,
    screen: Screen,
    opacity: Percent,
    history: MovableList<Celsius>,
    maybe: Option<Screen>,
}

/// [`Newtypes`] with the inner types instead of the newtypes.
#[derive(State, Clone, Debug, PartialEq)]
struct Plain {
    heat: f64,
    screen: Size,
    opacity: u8,
    history: MovableList<f64>,
    maybe: Option<Size>,
}

fn a_newtype_is_stored_as_its_field<B: Backend>() {
    let size = Size { width: 1, height: 2 };
    assert_eq!(Store::<Newtypes, B>::new().view().opacity, Percent(100));
    let value = Newtypes {
        heat: Celsius(36.6),
        screen: Screen(size.clone()),
        opacity: Percent(0),
        history: MovableList::from_iter([Celsius(1.5), Celsius(2.0)]),
        maybe: Some(Screen(size.clone())),
    };
    let store = written::<_, B>(&value);
    let edit = store.change(|state| {
        state.heat().set(40.5)?;
        state.screen().height().set(9u32)?;
        state.maybe().some().width().set(8u32)
    });
    edit.expect("it can be written");
    checked(&store);
    let plain = read_as::<Plain, B>(&store);
    let expected = Plain {
        heat: 40.5,
        screen: Size { width: 1, height: 9 },
        opacity: 0,
        history: plain.view().history.clone(),
        maybe: Some(Size { width: 8, height: 2 }),
    };
    assert_eq!(*plain.view(), expected);
    assert_eq!(plain.view().history.iter().copied().collect::<Vec<_>>(), [1.5, 2.0]);
    assert_eq!(plain.digest(), store.digest());
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Point(u32, #[state(rename = "y")] u32, #[state(skip)] u32, u32);

fn a_tuple_struct_has_numbered_fields<B: Backend>() {
    let store = written::<_, B>(&Point(1, 2, 0, 3));
    store.change(|point| point.field_1().set(20u32)).expect("it can be written");
    store.change(|point| point.field_3().set(30u32)).expect("it can be written");
    assert_eq!(*checked(&store), Point(1, 20, 0, 30));
    assert_eq!(names(&store), ["0", "3", "y"]);
}

#[derive(State, Clone, Debug, Default, PartialEq)]
#[state(transparent)]
struct Measured {
    #[state(skip)]
    unit: String,
    size: Size,
    #[state(skip)]
    cached: u64,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Measures {
    one: Measured,
    many: Map<u8, Measured>,
}

fn a_transparent_struct_is_its_field<B: Backend>() {
    let measured = |width, height| Measured { size: Size { width, height }, ..Measured::default() };
    let store = written::<_, B>(&Measures {
        one: measured(1, 2),
        many: Map::from_iter([(7, measured(3, 4))]),
    });
    store.change(|state| state.many().get(7).width().set(30u32)).expect("it can be written");
    assert_eq!(checked(&store).many.get(&7), Some(&measured(30, 4)));
    assert_eq!(Measures::path().one().width().as_path().as_str(), "one/width");
    assert_eq!(
        *read_as::<Pair<u32>, B>(&written::<_, B>(&measured(5, 6))).view(),
        Pair { first: 0, second: 0 }
    );
    assert_eq!(
        *read_as::<Size, B>(&written::<_, B>(&measured(5, 6))).view(),
        Size { width: 5, height: 6 }
    );
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Renamed {
    #[state(rename = "b")]
    a: u32,
    #[state(rename = "a")]
    b: u32,
    #[state(rename = "Kebab-case_1")]
    c: u32,
}

fn fields_are_renamed<B: Backend>() {
    let store = written::<_, B>(&Renamed { a: 1, b: 2, c: 3 });
    store.change(|state| state.c().set(30u32)).expect("it can be written");
    checked(&store);
    let found = read_as::<Map<String, u32>, B>(&store);
    let found: Vec<(String, u32)> =
        found.view().iter().map(|(name, number)| (name.clone(), *number)).collect();
    assert_eq!(found, [("Kebab-case_1".to_owned(), 30), ("a".to_owned(), 2), ("b".to_owned(), 1)]);
    assert_eq!(Renamed::path().a().as_path().as_str(), "b");
}

/// One struct per case rule, and the names of its fields in the document.
macro_rules! cases {
    ($($name:ident $case:literal $due_day:literal $at:literal;)*) => {
        $(
            #[derive(State, Clone, Debug, Default, PartialEq)]
            #[state(rename_all = $case)]
            struct $name {
                due_day: u32,
                at: u32,
                #[state(rename = "as_it_is")]
                kept: u32,
            }
        )*

        fn fields_are_put_into_a_case<B: Backend>() {
            $(
                let mut expected = [$due_day, $at, "as_it_is"];
                expected.sort_unstable();
                let store = written::<_, B>(&$name { due_day: 1, at: 2, kept: 3 });
                assert_eq!(names(&store), expected);
            )*
        }
    };
}

cases! {
    Lower "lowercase" "dueday" "at";
    Upper "UPPERCASE" "DUEDAY" "AT";
    Pascal "PascalCase" "DueDay" "At";
    Camel "camelCase" "dueDay" "at";
    Snake "snake_case" "due_day" "at";
    ScreamingSnake "SCREAMING_SNAKE_CASE" "DUE_DAY" "AT";
    Kebab "kebab-case" "due-day" "at";
    ScreamingKebab "SCREAMING-KEBAB-CASE" "DUE-DAY" "AT";
}

#[derive(State, Clone, Debug, PartialEq)]
#[state(rename_all = "kebab-case")]
enum Task {
    #[default]
    NotBegun,
    #[state(rename_all = "camelCase")]
    InWork {
        since_day: u32,
        #[state(rename = "by")]
        whom: u32,
    },
    #[state(rename = "ok")]
    Done(u32),
}

fn variants_and_their_fields_are_renamed<B: Backend>() {
    let tag = |task: &Task| read_as::<String, B>(&written(task)).view().to_string();
    assert_eq!(tag(&Task::InWork { since_day: 1, whom: 2 }), "in-work");
    assert_eq!(tag(&Task::Done(1)), "ok");
    let paths =
        (Task::path().in_work().since_day(), Task::path().in_work().whom(), Task::path().done());
    let paths =
        (paths.0.as_path().as_str(), paths.1.as_path().as_str(), paths.2.as_path().as_str());
    assert_eq!(paths, ("in-work/sinceDay", "in-work/by", "ok/0"));
    let store = written::<_, B>(&Task::InWork { since_day: 1, whom: 2 });
    store.reconcile(&Task::NotBegun).expect("it can be written");
    assert_eq!(*read_as::<String, B>(&store).view(), "not-begun");
}

#[derive(Clone, Debug, PartialEq, State)]
struct Defaults {
    #[state(default = "untitled")]
    title: String,
    #[state(default = 3 + 4)]
    count: u32,
    #[state(default = Self::FACTOR)]
    factor: f64,
    #[state(default = Some(5))]
    maybe: Option<u8>,
    #[state(default)]
    colour: Colour,
    shape: Outline,
    plain: u32,
}

impl Defaults {
    const FACTOR: f64 = 1.5;
}

/// `Default` returns another variant than the one with `#[default]`.
#[derive(State, Clone, Debug, PartialEq)]
enum Colour {
    #[state(default)]
    Red,
    Blue,
}

#[expect(clippy::derivable_impls, reason = "both derives would read one mark")]
impl Default for Colour {
    fn default() -> Self {
        Self::Blue
    }
}

#[derive(State, Clone, Debug, PartialEq)]
enum Outline {
    #[state(default)]
    Circle {
        #[state(default = 2.0)]
        radius: f64,
        #[state(default = "none")]
        label: String,
        filled: bool,
    },
    Square(#[state(default = 4)] u32),
}

fn initial() -> Defaults {
    Defaults {
        title: "untitled".into(),
        count: 7,
        factor: 1.5,
        maybe: Some(5),
        colour: Colour::Blue,
        shape: Outline::Circle { radius: 2.0, label: "none".into(), filled: false },
        plain: 0,
    }
}

fn a_default_stands_where_nothing_was_written<B: Backend>() {
    let store = Store::<Defaults, B>::new();
    assert_eq!(*checked(&store), initial());
    assert_eq!(<Defaults as State>::initial(), initial());

    // A record with only defaults writes only its marker, so that its defaults cannot win over the
    // values that another replica wrote.
    let here = Store::<Map<u8, Defaults>, B>::with_options(
        Options::new().with_replica(ReplicaId::from_bits(1)),
    );
    let there = Store::<Map<u8, Defaults>, B>::with_options(
        Options::new().with_replica(ReplicaId::from_bits(2)),
    );
    let other = Defaults {
        title: "plan".into(),
        count: 1,
        factor: 2.0,
        maybe: None,
        colour: Colour::Red,
        plain: 1,
        ..initial()
    };
    for (first, second) in [(&initial(), &other), (&other, &initial())] {
        let key = names(&here).len() as u8;
        here.change(|map| map.insert(key, first.clone())).expect("it can be written");
        there.change(|map| map.insert(key, second.clone())).expect("it can be written");
        here.merge(&there).expect("an honest update");
        there.merge(&here).expect("an honest update");
        assert_eq!(
            (checked(&here).get(&key), checked(&there).get(&key)),
            (Some(&other), Some(&other))
        );
        here.change(|map| map.remove(key)).expect("it can be removed");
        there.merge(&here).expect("an honest update");
    }

    // A field whose value does not fit shows its default too.
    let strings = written::<_, B>(&Map::from_iter([
        ("count".to_owned(), "many".to_owned()),
        ("title".to_owned(), "t".to_owned()),
    ]));
    let odd = read_as::<Defaults, B>(&strings);
    assert_eq!(*odd.view(), Defaults { title: "t".into(), ..initial() });
    assert_eq!(odd.violations().len(), 1);
}

fn the_default_of_the_type_is_written_over_a_declared_default<B: Backend>() {
    let zeros = Defaults {
        title: String::new(),
        count: 0,
        factor: 0.0,
        maybe: None,
        colour: Colour::Red,
        shape: Outline::Circle { radius: 0.0, label: String::new(), filled: false },
        plain: 0,
    };
    let store = written::<_, B>(&zeros);
    store.reconcile(&initial()).expect("it can be written");
    assert_eq!(*checked(&store), initial());
    written::<_, B>(&Map::from_iter([(1u8, zeros.clone())]));
    written::<_, B>(&Some(zeros.clone()));
    written::<_, B>(&Defaults { shape: Outline::Square(0), ..zeros.clone() });

    let store = Store::<Defaults, B>::new();
    let edit = store.change(|state| {
        state.count().set(0u32)?;
        state.maybe().set(None)?;
        state.shape().circle().radius().set(0.0)?;
        state.shape().circle().label().set("")?;
        state.colour().reconcile(&Colour::Red)
    });
    edit.expect("it can be written");
    assert_eq!(*checked(&store), Defaults { title: "untitled".into(), factor: 1.5, ..zeros });
}

/// It is equal to any other `Cache`, but every default is a different object.
#[derive(Clone, Debug, Default)]
struct Cache(Arc<()>);

impl PartialEq for Cache {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Cached {
    number: u32,
    notes: Text,
    #[state(skip)]
    cache: Cache,
    #[state(skip, default)]
    selected: u32,
    inner: Inner,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Inner {
    text: String,
    #[state(skip)]
    cache: Cache,
}

fn a_skipped_field_is_not_in_the_document<B: Backend>() {
    let store = Store::<Cached, B>::new();
    let value = Cached { number: 1, selected: 7, ..Cached::default() };
    store.reconcile(&value).expect("it can be written");
    assert_eq!(names(&store), ["number"]);
    assert_eq!(checked(&store).selected, 0);
    // A value that another struct wrote under the name of a skipped field is not read.
    let other =
        written::<_, B>(&Map::from_iter([("selected".to_owned(), 9u32), ("number".to_owned(), 2)]));
    assert_eq!(*read_as::<Cached, B>(&other).view(), Cached { number: 2, ..Cached::default() });
}

fn a_skipped_field_stays_while_others_change<B: Backend>() {
    let store = Store::<Cached, B>::new();
    let first = store.view();
    let stays = |what: &str| {
        let view = store.view();
        assert!(Arc::ptr_eq(&view.cache.0, &first.cache.0), "{what}");
        assert!(Arc::ptr_eq(&view.inner.cache.0, &first.inner.cache.0), "inside, {what}");
    };
    let edit = store.change(|state| {
        state.number().set(1u32)?;
        state.notes().push_str("x")?;
        state.inner().text().set("y")
    });
    edit.expect("it can be written");
    stays("a change");
    let mut new = Cached { number: 2, selected: 3, ..Cached::default() };
    new.inner.text = "z".into();
    store.reconcile(&new).expect("it can be written");
    stays("reconciling");
    let other = store.fork().expect("a fork");
    other.change(|state| state.inner().text().set("w")).expect("it can be written");
    store.merge(&other).expect("an honest update");
    stays("a merge");
    assert_eq!(checked(&store).inner.text, "w");
    assert!(
        !Arc::ptr_eq(&store.reread().cache.0, &first.cache.0),
        "another reading, another default"
    );
}

#[derive(State, Clone, Debug, PartialEq)]
enum Loaded {
    #[default]
    Nothing,
    /// All fields of this variant are skipped: in the document it has no fields.
    Busy(#[state(skip)] u32),
    Ready {
        name: String,
        #[state(skip)]
        uses: u32,
        size: u32,
    },
    Both(#[state(skip)] u32, u32),
}

fn a_skipped_field_of_a_variant<B: Backend>() {
    let store = Store::<Loaded, B>::new();
    for (new, expected) in [
        (Loaded::Busy(5), Loaded::Busy(0)),
        (
            Loaded::Ready { name: "a".into(), uses: 5, size: 1 },
            Loaded::Ready { name: "a".into(), uses: 0, size: 1 },
        ),
        (Loaded::Both(5, 6), Loaded::Both(0, 6)),
    ] {
        store.reconcile(&new).expect("it can be written");
        assert_eq!(*checked(&store), expected);
    }
    store.change(|state| state.both().field_1().set(7u32)).expect("it can be written");
    assert_eq!(*checked(&store), Loaded::Both(0, 7));
}

#[derive(State, Clone, Debug, Default, PartialEq)]
enum Shape {
    #[default]
    Nothing,
    Dot,
    Circle {
        radius: f64,
        centre: Size,
    },
    Label(String, Text),
    Square(f64),
    Boxed(Size),
    Empty {},
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Drawing {
    shape: Shape,
    title: String,
}

fn shapes() -> [Shape; 8] {
    [
        Shape::Dot,
        Shape::Circle { radius: 1.5, centre: Size { width: 1, height: 2 } },
        Shape::Label("x".into(), Text::from("y")),
        Shape::Square(2.5),
        Shape::Boxed(Size { width: 3, height: 4 }),
        Shape::Empty {},
        Shape::Circle { radius: 0.0, centre: Size::default() },
        Shape::Nothing,
    ]
}

fn an_enum_is_any_of_its_variants<B: Backend>() {
    for from in shapes() {
        written::<_, B>(&Drawing { shape: from.clone(), title: "t".into() });
        for to in shapes() {
            let store = written::<_, B>(&Drawing { shape: from.clone(), title: String::new() });
            store.change(|drawing| drawing.shape().reconcile(&to)).expect("it can be written");
            assert_eq!(checked(&store).shape, to);
            // If the variant is chosen again, none of its old fields come back.
            let empty = Shape::Circle { radius: 0.0, centre: Size::default() };
            store
                .change(|drawing| drawing.shape().reconcile(&Shape::Dot))
                .expect("it can be written");
            store.change(|drawing| drawing.shape().reconcile(&empty)).expect("it can be written");
            assert_eq!(checked(&store).shape, empty);
        }
    }
}

fn accessors_of_variants_edit_in_place<B: Backend>() {
    let store = written::<_, B>(&Drawing { shape: shapes()[1].clone(), title: String::new() });
    let edit = store.change(|drawing| {
        drawing.shape().circle().radius().set(7.0)?;
        drawing.shape().circle().centre().height().set(8u32)
    });
    edit.expect("it can be written");
    assert_eq!(
        checked(&store).shape,
        Shape::Circle { radius: 7.0, centre: Size { width: 1, height: 8 } }
    );

    let change = |shape: &Shape| {
        store.change(|drawing| drawing.shape().reconcile(shape)).expect("it can be written")
    };
    change(&shapes()[2]);
    store
        .change(|drawing| drawing.shape().label().field_1().push_str("!"))
        .expect("it can be written");
    assert_eq!(checked(&store).shape, Shape::Label("x".into(), Text::from("y!")));
    change(&shapes()[3]);
    store.change(|drawing| drawing.shape().square().set(9.5)).expect("it can be written");
    assert_eq!(checked(&store).shape, Shape::Square(9.5));
    change(&shapes()[4]);
    store.change(|drawing| drawing.shape().boxed().width().set(30u32)).expect("it can be written");
    assert_eq!(checked(&store).shape, Shape::Boxed(Size { width: 30, height: 4 }));

    // The fields of another variant do not exist.
    let refused = store.change(|drawing| drawing.shape().square().set(1.0));
    assert!(
        matches!(&refused, Err(ChangeError::NotFound { path }) if path == "shape/Square/0"),
        "{refused:?}"
    );
    assert_eq!(checked(&store).shape, Shape::Boxed(Size { width: 30, height: 4 }));
    assert_eq!(Drawing::path().shape().label().field_1().as_path().as_str(), "shape/Label/1");
}

fn an_edit_of_the_default_variant_writes_its_name<B: Backend>() {
    let store = Store::<Defaults, B>::new();
    store.change(|state| state.shape().circle().filled().set(true)).expect("it can be written");
    assert_eq!(
        checked(&store).shape,
        Outline::Circle { radius: 2.0, label: "none".into(), filled: true }
    );
    // A reader with another default variant sees the same variant.
    assert_eq!(read_as::<Tag, B>(&store).view().shape, "Circle");
}

/// Reads the name of the variant in the field `shape`.
#[derive(State, Clone, Debug, PartialEq)]
struct Tag {
    shape: String,
}

fn an_enum_may_be_the_whole_state<B: Backend>() {
    let store = Store::<Shape, B>::new();
    assert_eq!(*store.view(), Shape::Nothing);
    for shape in shapes() {
        store.change(|state| state.reconcile(&shape)).expect("it can be written");
        assert_eq!(*checked(&store), shape);
    }
    let other = store.fork().expect("a fork");
    let (sender, seen) = std::sync::mpsc::channel();
    let _watch = store.watch(Shape::path(), move |change| {
        sender.send(change.new().cloned()).expect("the test waits")
    });
    other.reconcile(&Shape::Square(1.0)).expect("it can be written");
    store.merge(&other).expect("an honest update");
    assert_eq!(*checked(&store), Shape::Square(1.0));
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [Some(Shape::Square(1.0))]);
    let kept = store.change(|state| {
        state.reconcile(&Shape::Boxed(Size::default()))?;
        state.boxed().width().set(1u32)?;
        state.value()
    });
    assert_eq!(kept.expect("it can be written"), Shape::Boxed(Size { width: 1, height: 0 }));
    assert_eq!(*checked(&store), Shape::Boxed(Size { width: 1, height: 0 }));
}

fn a_scalar_may_be_the_whole_state<B: Backend>() {
    let store = written::<_, B>(&Celsius(1.5));
    store.change(|heat| heat.set(2.5)).expect("it can be written");
    assert_eq!(*checked(&store), Celsius(2.5));
    assert_eq!(*Store::<Percent, B>::new().view(), Percent(100));
    written::<_, B>(&Percent(0));
    written::<_, B>(&String::from("x"));
}

fn a_collection_may_be_the_whole_state<B: Backend>() {
    let store = written::<_, B>(&Text::from("ab"));
    store.change(|text| text.insert(1, "-")).expect("it can be written");
    assert_eq!(checked(&store).to_string(), "a-b");
    let other = store.fork().expect("a fork");
    other.change(|text| text.push_str("c")).expect("it can be written");
    store.merge(&other).expect("an honest update");
    assert_eq!(checked(&store).to_string(), "a-bc");
    let store = written::<_, B>(&List::from_iter([1u8, 2]));
    store.change(|list| list.push(3)).expect("it can be written");
    assert_eq!(checked(&store).iter().copied().collect::<Vec<_>>(), [1, 2, 3]);
    let store = written::<_, B>(&Counter::new(5));
    store.change(|counter| counter.add(2)).expect("it can be written");
    assert_eq!(*checked(&store), 7);
}

fn an_option_may_be_the_whole_state<B: Backend>() {
    let store = written::<_, B>(&Some(Size { width: 1, height: 2 }));
    store.change(|size| size.some().width().set(3u32)).expect("it can be written");
    assert_eq!(*checked(&store), Some(Size { width: 3, height: 2 }));
    store.change(|size| size.set(None)).expect("it can be written");
    assert_eq!(*checked(&store), None);
    store.change(|size| size.set(Size { width: 0, height: 4 })).expect("it can be written");
    assert_eq!(*checked(&store), Some(Size { width: 0, height: 4 }));
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Shapes {
    maybe: Option<Shape>,
    listed: MovableList<Shape>,
    named: Map<String, Shape>,
    colours: MovableList<Task>,
}

fn enums_stand_in_collections<B: Backend>() {
    for (at, shape) in shapes().iter().enumerate() {
        let value = Shapes {
            maybe: Some(shape.clone()),
            listed: shapes().into_iter().collect(),
            named: Map::from_iter([
                ("a".to_owned(), shape.clone()),
                (at.to_string(), Shape::Nothing),
            ]),
            colours: MovableList::from_iter([Task::NotBegun, Task::Done(1)]),
        };
        let store = written::<_, B>(&value);
        store
            .change(|shapes| shapes.named().insert("a", Shape::Square(0.0)))
            .expect("it can be written");
        let ids: Vec<_> = store.view().listed.iter_ids().map(|(id, _)| id).collect();
        store
            .change(|shapes| shapes.listed().get(ids[3]).square().set(0.5))
            .expect("it can be written");
        store.change(|shapes| shapes.maybe().set(None)).expect("it can be written");
        let view = checked(&store);
        assert_eq!(
            (view.named.get("a"), &view.listed[3], &view.maybe),
            (Some(&Shape::Square(0.0)), &Shape::Square(0.5), &None)
        );
    }
}

#[derive(State, Clone, Debug, PartialEq)]
enum Either<L, R, const N: usize = 2>
where
    L: Debug,
{
    #[state(default)]
    Left(L),
    Right {
        value: R,
        all: MovableList<Self>,
    },
}

fn enums_have_parameters<B: Backend>() {
    type Nested = Either<u32, Option<String>>;
    let right = |value: &str, all: Vec<Nested>| Nested::Right {
        value: Some(value.into()),
        all: all.into_iter().collect(),
    };
    let store = written::<_, B>(&right("a", vec![Either::Left(1), right("b", vec![])]));
    let all = store.change(|state| state.right().all().value()).expect("the list");
    let id = all.id_at(1).expect("an element");
    store
        .change(|state| state.right().all().get(id).right().value().set(None))
        .expect("it can be written");
    let Nested::Right { all, .. } = &*checked(&store) else { panic!("another variant") };
    assert_eq!(all[1], Either::Right { value: None, all: MovableList::new() });
    store.reconcile(&Either::Left(5)).expect("it can be written");
    store.change(|state| state.left().set(6u32)).expect("it can be written");
    assert_eq!(*checked(&store), Either::Left(6));
}

fn an_unknown_variant_is_a_violation<B: Backend>() {
    let odd = |tag: &str| read_as::<Drawing, B>(&written::<_, B>(&Tag { shape: tag.into() }));
    let store = odd("Triangle");
    assert_eq!(store.view().shape, Shape::Nothing);
    let found: Vec<String> = store.violations().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "shape: expected one of Nothing, Dot, Circle, Label, Square, Boxed, Empty, found \"Triangle\""
        ]
    );
    store
        .change(|drawing| drawing.shape().reconcile(&Shape::Square(1.0)))
        .expect("it can be written");
    assert_eq!(checked(&store).shape, Shape::Square(1.0));
    assert_eq!(*checked(&odd("Dot")), Drawing { shape: Shape::Dot, title: String::new() });
    // A number is not the name of a variant.
    let number =
        read_as::<Drawing, B>(&written::<_, B>(&Map::from_iter([("shape".to_owned(), 3u32)])));
    assert_eq!((number.violations().len(), &number.view().shape), (1, &Shape::Nothing));
}

mod taken {
    use exostate::State;

    #[derive(State, Clone, Debug, Default, PartialEq)]
    #[state(node = AtCard)]
    pub struct Card {
        pub text: String,
    }

    /// The name that the accessor would have.
    #[derive(Debug)]
    pub struct CardNode;

    #[derive(State, Clone, Debug, Default, PartialEq)]
    #[state(node = AtKind)]
    pub enum Kind {
        #[default]
        None,
        Some {
            number: u32,
        },
    }

    #[derive(Debug)]
    pub struct KindNode;
    #[derive(Debug)]
    pub struct KindNodeSome;
}

fn accessors_have_the_name_they_are_given<B: Backend>() {
    let card: taken::AtCard<Path<taken::Card>> = taken::Card::path();
    let some: taken::AtKindSome<Path<taken::Kind>> = taken::Kind::path().some();
    assert_eq!(
        (card.text().as_path().as_str(), some.number().as_path().as_str()),
        ("text", "Some/number")
    );
    let _ = (taken::CardNode, taken::KindNode, taken::KindNodeSome);
    written::<_, B>(&taken::Card { text: "x".into() });
    written::<_, B>(&taken::Kind::Some { number: 1 });
    // Without the attribute it is the type's name and `Node`.
    let _: BoardNode<Path<Board>> = Board::path();
    let _: ShapeNodeCircle<Path<Drawing>> = Drawing::path().shape().circle();
}

mod private {
    use exostate::{Backend, State, Store};

    #[derive(State, Clone, Debug, Default, PartialEq)]
    pub struct Account {
        pub(crate) name: String,
        secret: Secret,
    }

    #[derive(State, Clone, Debug, Default, PartialEq)]
    struct Secret {
        word: String,
    }

    impl Account {
        pub(super) fn lock<B: Backend>(store: &Store<Self, B>, word: &str) {
            store.change(|account| account.secret().word().set(word)).expect("it can be written");
        }

        pub(super) fn opens(&self, word: &str) -> bool {
            self.secret.word == word
        }
    }
}

fn private_fields_have_private_accessors<B: Backend>() {
    // That the private accessor cannot be named from here is in `tests/ui/fail/private_field.rs`.
    let store = Store::<private::Account, B>::new();
    private::Account::lock(&store, "sesame");
    store.change(|account| account.name().set("Ali")).expect("it can be written");
    let view = checked(&store);
    assert!(view.name == "Ali" && view.opens("sesame"));
}

#[allow(non_camel_case_types)]
#[derive(State, Clone, Debug, Default, PartialEq)]
struct r#struct {
    r#type: u32,
    r#in: u32,
    r#move: r#enum,
}

#[allow(non_camel_case_types)]
#[derive(State, Clone, Debug, Default, PartialEq)]
enum r#enum {
    #[default]
    r#static,
    r#loop(u32),
    // Methods whose names need escaping, or cannot even be escaped.
    Match(u32),
    Super(u32),
    _7(u32),
    __(u32),
}

fn raw_identifiers_lose_their_prefix<B: Backend>() {
    let store = written::<_, B>(&r#struct { r#type: 1, r#in: 2, r#move: r#enum::r#loop(3) });
    let edit = store.change(|state| {
        state.r#type().set(10u32)?;
        state.r#move().r#loop().set(30u32)
    });
    edit.expect("it can be written");
    assert_eq!(*checked(&store), r#struct { r#type: 10, r#in: 2, r#move: r#enum::r#loop(30) });
    assert_eq!(names(&store)[..1], ["in"]);
    assert_eq!(structNode::<Path<r#struct>>::r#type(&r#struct::path()).as_path().as_str(), "type");
    assert_eq!(r#struct::path().r#move().r#loop().as_path().as_str(), "move/loop/0");
    let path = r#enum::path();
    let paths = (path.r#match(), path.super_(), path._7(), path.__());
    let paths = [
        paths.0.as_path().as_str(),
        paths.1.as_path().as_str(),
        paths.2.as_path().as_str(),
        paths.3.as_path().as_str(),
    ];
    assert_eq!(paths, ["Match/0", "Super/0", "_7/0", "__/0"]);
}

/// Names that generated code could use itself, or that accessors already have.
#[derive(State, Clone, Debug, Default, PartialEq)]
struct Names {
    at: u32,
    cx: u32,
    place: u32,
    new: u32,
    value: u32,
    reader: u32,
    unless: u32,
    writer: u32,
    reconcile: u32,
    field: u32,
    clone: u32,
    deref: u32,
    path: u32,
    field_0: u32,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
enum Words {
    #[default]
    Nothing,
    Tag {
        tag: u32,
        name: u32,
        variant: u32,
        below: u32,
        old_0: u32,
        new_0: u32,
        value_0: u32,
        value: u32,
    },
    Value(u32),
    Reconcile(u32),
}

fn fields_may_be_called_anything<B: Backend>() {
    let value = Names {
        at: 1,
        cx: 2,
        place: 3,
        new: 4,
        value: 5,
        reader: 6,
        unless: 7,
        ..Names::default()
    };
    let store = written::<_, B>(&Names {
        writer: 8,
        reconcile: 9,
        field: 10,
        clone: 11,
        deref: 12,
        path: 13,
        field_0: 14,
        ..value
    });
    let expected = store.change(|names| {
        names.value().set(50u32)?;
        names.reconcile().set(90u32)?;
        names.clone().set(110u32)?;
        // The accessor's own methods are reached by dereferencing it.
        (*names).value()
    });
    assert_eq!(*checked(&store), expected.expect("it can be written"));
    assert_eq!((store.view().value, store.view().reconcile, store.view().clone), (50, 90, 110));
    assert_eq!(names(&store).len(), 14);

    let words = Words::Tag {
        tag: 1,
        name: 2,
        variant: 3,
        below: 4,
        old_0: 5,
        new_0: 6,
        value_0: 7,
        value: 8,
    };
    let store = written::<_, B>(&words);
    store.change(|words| words.tag().value().set(80u32)).expect("it can be written");
    let expected = Words::Tag {
        tag: 1,
        name: 2,
        variant: 3,
        below: 4,
        old_0: 5,
        new_0: 6,
        value_0: 7,
        value: 80,
    };
    assert_eq!(*checked(&store), expected);
    store.change(|words| (*words).reconcile(&Words::Value(1))).expect("it can be written");
    store.change(|words| words.value().set(2u32)).expect("it can be written");
    assert_eq!(*checked(&store), Words::Value(2));
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Integers {
    a: i8,
    b: i16,
    c: i32,
    d: i64,
    e: u8,
    f: u16,
    g: u32,
    h: u64,
}

/// Each value in a field, in the elements of a list and in an option, and each written by its own
/// kind of edit.
fn integers_keep_their_extremes<B: Backend>() {
    let least = Integers {
        a: i8::MIN,
        b: i16::MIN,
        c: i32::MIN,
        d: i64::MIN,
        e: u8::MIN,
        f: u16::MIN,
        g: u32::MIN,
        h: u64::MIN,
    };
    let most = Integers {
        a: i8::MAX,
        b: i16::MAX,
        c: i32::MAX,
        d: i64::MAX,
        e: u8::MAX,
        f: u16::MAX,
        g: u32::MAX,
        h: u64::MAX,
    };
    let store = written::<_, B>(&least);
    store.reconcile(&most).expect("it can be written");
    assert_eq!(*checked(&store), most);
    store.reconcile(&least).expect("it can be written");
    assert_eq!(*checked(&store), least);

    // Values near the limits of floats and of the backends' integers.
    let edges = [
        0,
        1,
        (1 << 53) - 1,
        1 << 53,
        (1 << 53) + 1,
        (1 << 63) - 1,
        1 << 63,
        (1 << 63) + 1,
        u64::MAX - 1,
        u64::MAX,
    ];
    for edge in edges {
        let store = Store::<Integers, B>::new();
        store.change(|state| state.h().set(edge)).expect("it can be written");
        store.change(|state| state.d().set(edge as i64)).expect("it can be written");
        store.change(|state| state.g().set(edge as u32)).expect("it can be written");
        let view = checked(&store);
        assert_eq!((view.h, view.d, view.g), (edge, edge as i64, edge as u32));
    }
    written::<_, B>(&List::<u64>::from_iter(edges));
    written::<_, B>(&List::<i64>::from_iter(edges.map(|edge| edge as i64)));
    written::<_, B>(&Map::<u64, u64>::from_iter(edges.map(|edge| (edge, edge))));

    // A value that is too large for the field stays in the document and is reported as a violation.
    let large = read_as::<Pair<u8>, B>(&written::<_, B>(&Map::from_iter([
        ("first".to_owned(), 256u32),
        ("second".to_owned(), 255),
    ])));
    assert_eq!(*large.view(), Pair { first: 0, second: 255 });
    assert_eq!(
        large.violations().iter().map(|found| found.path.as_str()).collect::<Vec<_>>(),
        ["first"]
    );
}

#[derive(State, Clone, Debug, Default)]
struct Floats {
    wide: f64,
    narrow: f32,
    maybe: Option<f64>,
    listed: List<f64>,
    renewed: MovableList<f32>,
}

/// The bits of the number. All NaNs give the same bits, because a backend may write a different
/// NaN.
fn bits(number: f64) -> u64 {
    if number.is_nan() { f64::NAN.to_bits() } else { number.to_bits() }
}

fn narrow_bits(number: f32) -> u32 {
    if number.is_nan() { f32::NAN.to_bits() } else { number.to_bits() }
}

fn all_bits(floats: &Floats) -> (u64, u32, Option<u64>, Vec<u64>, Vec<u32>) {
    let listed = floats.listed.iter().copied().map(bits).collect();
    let renewed = floats.renewed.iter().copied().map(narrow_bits).collect();
    (bits(floats.wide), narrow_bits(floats.narrow), floats.maybe.map(bits), listed, renewed)
}

const WIDE: [f64; 20] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.1,
    f64::MIN,
    f64::MAX,
    f64::MIN_POSITIVE,
    f64::from_bits(1),
    -f64::from_bits(1),
    f64::EPSILON,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    9_007_199_254_740_993.0,
    9_223_372_036_854_775_808.0,
    -9_223_372_036_854_775_808.0,
    9_223_372_036_854_774_784.0,
    18_446_744_073_709_551_616.0,
    16_777_217.0,
];

const NARROW: [f32; 14] = [
    0.0,
    -0.0,
    -1.0,
    0.1,
    f32::MIN,
    f32::MAX,
    f32::MIN_POSITIVE,
    f32::from_bits(1),
    -f32::from_bits(1),
    f32::EPSILON,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    9_223_372_036_854_775_808.0,
];

fn floats_keep_their_bits<B: Backend>() {
    for (at, wide) in WIDE.into_iter().enumerate() {
        let narrow = NARROW[at % NARROW.len()];
        let value = Floats {
            wide,
            narrow,
            maybe: Some(wide),
            listed: List::from_iter([wide, 1.0, wide]),
            renewed: MovableList::from_iter([narrow, 1.0]),
        };
        let same = |found: &Floats, how: &str| {
            assert_eq!(all_bits(found), all_bits(&value), "{wide:?}, {narrow:?} {how}")
        };
        let everywhere = |store: &Store<Floats, B>, how: &str| {
            same(&store.view(), how);
            same(&store.reread(), how);
            same(
                &Store::<Floats, B>::open(&store.save())
                    .expect("what was saved can be opened")
                    .view(),
                how,
            );
            assert_eq!(store.violations(), []);
        };
        let store = Store::<Floats, B>::new();
        store.reconcile(&value).expect("it can be written");
        everywhere(&store, "reconciled");
        let edited = Store::<Floats, B>::new();
        let edit = edited.change(|state| {
            state.wide().set(wide)?;
            state.narrow().set(narrow)?;
            state.maybe().set(Some(wide))?;
            [wide, 1.0, wide].into_iter().try_for_each(|item| state.listed().push(item))?;
            [narrow, 1.0].into_iter().try_for_each(|item| state.renewed().push(item).map(drop))
        });
        edit.expect("it can be written");
        everywhere(&edited, "edited");
        let inserted = Store::<Map<u8, Floats>, B>::new();
        inserted.change(|map| map.insert(1, value.clone())).expect("it can be written");
        inserted.view().values().for_each(|found| same(found, "inserted"));
        inserted.reread().values().for_each(|found| same(found, "inserted and read again"));
    }
}

fn floats_that_are_written_alike_are_not_written_again<B: Backend>() {
    let value = Floats {
        wide: f64::NAN,
        narrow: f32::NAN,
        maybe: Some(f64::NAN),
        listed: List::from_iter([f64::NAN]),
        renewed: MovableList::from_iter([f32::NAN]),
    };
    let store = Store::<Floats, B>::new();
    store.reconcile(&value).expect("it can be written");
    let version = store.version();
    store.reconcile(&store.view()).expect("the state itself can be written");
    store.change(|state| state.wide().set(f64::NAN)).expect("it can be written");
    assert_eq!(store.version(), version, "something equal was written");
    // The two zeros have different bits.
    store
        .reconcile(&Floats { wide: 0.0, ..Floats::clone(&store.view()) })
        .expect("it can be written");
    store
        .reconcile(&Floats { wide: -0.0, ..Floats::clone(&store.view()) })
        .expect("it can be written");
    assert_eq!(store.reread().wide.to_bits(), (-0.0f64).to_bits());
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Texts {
    register: String,
    shared: Option<Arc<str>>,
    character: char,
    edited: Text,
    listed: List<String>,
    keyed: Map<String, String>,
    tags: Set<String>,
}

fn text_keeps_every_character<B: Backend>() {
    // A key must be within the limits of other replicas.
    let long = "Ω😀".repeat(600);
    let texts = [
        "",
        "\0",
        "a\0b",
        "äöü€",
        "😀🏳️‍🌈👩‍👩‍👧",
        "𝄞\u{10FFFF}",
        "e\u{301}",
        "\r\n\t\u{1b}\u{7f}",
        "\u{feff}\u{200b}\u{202e}",
        "~/@position",
        "@any",
        &long,
    ];
    for text in texts {
        let value = Texts {
            register: text.into(),
            shared: Some(text.into()),
            character: text.chars().next_back().unwrap_or_default(),
            edited: Text::from(text),
            listed: List::from_iter([text.to_owned(), String::new()]),
            keyed: Map::from_iter([(text.to_owned(), text.to_owned())]),
            tags: Set::from_iter([text.to_owned()]),
        };
        let store = written::<_, B>(&value);
        let edit = store.change(|state| {
            state.edited().insert(0, text)?;
            state.register().set(text.repeat(2))
        });
        edit.expect("it can be written");
        let view = checked(&store);
        assert_eq!(
            (view.register.as_str(), view.edited.to_string()),
            (text.repeat(2).as_str(), text.repeat(2))
        );
    }
    for character in
        ['\0', 'a', '\u{7f}', '\u{80}', '\u{d7ff}', '\u{e000}', '\u{ffff}', '😀', char::MAX]
    {
        written::<_, B>(&Pair { first: character, second: Some(character) });
    }
}

fn bytes_and_ids_survive<B: Backend>() {
    let all: Vec<u8> = (0..=255).collect();
    for bytes in [Vec::new(), vec![0], vec![0xff, 0xc0, 0x80], all, vec![7; 100_000]] {
        written::<_, B>(&Pair { first: bytes.clone(), second: Some(Arc::<[u8]>::from(bytes)) });
    }
    for id in [Uuid::nil(), Uuid::max(), Uuid::from_u128(1)] {
        written::<_, B>(&Pair { first: id, second: Some(id) });
        written::<_, B>(&Map::from_iter([(id, id)]));
    }
    written::<_, B>(&Pair { first: true, second: Some(false) });
    let register = Register((u128::MAX, i128::MIN, vec![Some('\0'), None], "😀\0".to_owned()));
    written::<_, B>(&Pair { first: register.clone(), second: Some(register) });
}

fn time_stamps_keep_their_extremes<B: Backend>() {
    let stamps = [
        Timestamp::MIN,
        Timestamp::MAX,
        Timestamp::UNIX_EPOCH,
        Timestamp::new(-1, 0).expect("a time stamp"),
        Timestamp::new(0, -1).expect("a time stamp"),
        Timestamp::new(1_700_000_000, 123_456_789).expect("a time stamp"),
        Timestamp::new(-62_135_596_801, 0).expect("the year before the first"),
    ];
    for stamp in stamps {
        written::<_, B>(&Pair { first: stamp, second: Some(stamp) });
    }
    written::<_, B>(&List::from_iter(stamps));
}

/// The longest distance from 1970 that can be written, in both directions.
const FAR: Duration = Duration::from_nanos(i64::MAX as u64);

fn system_times_lie_on_both_sides_of_1970<B: Backend>() {
    for distance in [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_secs(1_700_000_000),
        Duration::new(1, 999_999_999),
        FAR,
    ] {
        for time in [SystemTime::UNIX_EPOCH + distance, SystemTime::UNIX_EPOCH - distance] {
            written::<_, B>(&Pair { first: time, second: Some(time) });
            written::<_, B>(&List::from_iter([time]));
        }
    }
}

fn a_time_too_far_is_refused<B: Backend>() {
    let store = written::<_, B>(&Pair { first: SystemTime::UNIX_EPOCH + FAR, second: 1u32 });
    let before = store.version();
    let further = FAR + Duration::from_nanos(2);
    for time in [SystemTime::UNIX_EPOCH + further, SystemTime::UNIX_EPOCH - further] {
        let edit = store.change(|state| {
            state.second().set(2u32)?;
            state.first().set(time)
        });
        assert!(
            matches!(&edit, Err(ChangeError::Invalid { path, .. }) if path == "first"),
            "{edit:?}"
        );
        let whole = store.reconcile(&Pair { first: time, second: 3 });
        assert!(
            matches!(&whole, Err(ChangeError::Invalid { path, .. }) if path == "first"),
            "{whole:?}"
        );
    }
    assert_eq!((store.version(), checked(&store).second), (before, 1));
}

/// An option of every scalar type.
#[derive(State, Clone, Debug, Default, PartialEq)]
struct Optional {
    flag: Option<bool>,
    a: Option<i8>,
    b: Option<i16>,
    c: Option<i32>,
    d: Option<i64>,
    e: Option<u8>,
    f: Option<u16>,
    g: Option<u32>,
    h: Option<u64>,
    wide: Option<f64>,
    narrow: Option<f32>,
    text: Option<String>,
    character: Option<char>,
    bytes: Option<Vec<u8>>,
    id: Option<Uuid>,
    stamp: Option<Timestamp>,
    time: Option<SystemTime>,
    register: Option<Register<Option<u8>>>,
    task: Option<Task>,
    notes: Option<Text>,
    votes: Option<Counter>,
}

fn options_hold_every_scalar<B: Backend>() {
    // All options are filled with the default values of their types. That is not the same as empty.
    let full = Optional {
        flag: Some(false),
        a: Some(0),
        b: Some(0),
        c: Some(0),
        d: Some(0),
        e: Some(0),
        f: Some(0),
        g: Some(0),
        h: Some(0),
        wide: Some(0.0),
        narrow: Some(0.0),
        text: Some(String::new()),
        character: Some('\0'),
        bytes: Some(Vec::new()),
        id: Some(Uuid::nil()),
        stamp: Some(Timestamp::UNIX_EPOCH),
        time: Some(SystemTime::UNIX_EPOCH),
        register: Some(Register(None)),
        task: Some(Task::NotBegun),
        notes: Some(Text::new()),
        votes: Some(Counter::new(0)),
    };
    let store = written::<_, B>(&full);
    store.reconcile(&Optional::default()).expect("it can be written");
    assert_eq!(*checked(&store), Optional::default());
    store.reconcile(&full).expect("it can be written");
    assert_eq!(*checked(&store), full);
    let extremes = Optional {
        a: Some(i8::MIN),
        b: Some(i16::MIN),
        c: Some(i32::MIN),
        d: Some(i64::MIN),
        e: Some(u8::MAX),
        f: Some(u16::MAX),
        g: Some(u32::MAX),
        h: Some(u64::MAX),
        task: Some(Task::Done(0)),
        notes: Some(Text::from("x")),
        votes: Some(Counter::new(-1)),
        ..Optional::default()
    };
    store.reconcile(&extremes).expect("it can be written");
    assert_eq!(*checked(&store), extremes);
    written::<_, B>(&Map::from_iter([(1u8, full), (2, extremes)]));
}

fn collections_of_scalars_survive<B: Backend>() {
    written::<_, B>(&Map::from_iter([(false, 'a'), (true, '😀')]));
    written::<_, B>(&Map::from_iter([
        (i128::MIN, u128::MAX.to_string()),
        (0, String::new()),
        (i128::MAX, "x".into()),
    ]));
    written::<_, B>(&Map::from_iter(['\0', '/', '~', '@', char::MAX].map(|key| (key, Some(key)))));
    written::<_, B>(&Set::from_iter([i8::MIN, -1, 0, i8::MAX]));
    let store = written::<_, B>(&MovableList::from_iter([None, Some(0u64), Some(u64::MAX)]));
    let id = store.view().id_at(1).expect("an element");
    store.change(|list| list.get(id).set(Some(1 << 63))).expect("it can be written");
    assert_eq!(
        checked(&store).iter().copied().collect::<Vec<_>>(),
        [None, Some(1 << 63), Some(u64::MAX)]
    );
}
