//! Promise: a value that does not fit a struct is left alone by `reconcile`, overwritten by `set`,
//! and removed by `reconcile_with(_, Mend::Reset)`. The last one leaves alone the values that the
//! struct does not know.

mod support;

use std::any::Any;
use support::one_update::OneUpdate;

use exostate::__private::{At, Reader, Refresh, Writer};
use exostate::{
    Automerge, Backend, ChangeError, Edit, Map, Mend, Mismatch, MovableList, Node, Place, Register,
    Scalar, State, Store, Value, Yrs,
};
use proptest::prelude::*;
use support::{Everything, Op, Settings, Shape, strategy};

/// Registers at arbitrary paths, written without any type.
#[derive(Clone, Default)]
struct Garbage(Vec<(String, Value)>);

impl State for Garbage {
    type Node<P: Place> = Node<P, Self>;
    fn node<P: Place>(place: P) -> Node<P, Self> {
        Node::new(place)
    }
    fn initial() -> Self {
        Self::default()
    }
    fn read(_: &mut Reader<'_, '_>) -> Option<Self> {
        Some(Self::default())
    }
    fn refresh(&mut self, _: At<'_>, _: &mut Refresh<'_>) {}
    fn locate(&self, at: At<'_>) -> Option<&dyn Any> {
        at.is_end().then_some(self as &dyn Any)
    }
    fn write(&self, _: Option<&Self>, _: &mut Writer<'_, '_>) {}
    fn reconcile(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        for (path, value) in &new.0 {
            writer.at(path, |writer| writer.put(value.clone()));
        }
    }
}

/// A scalar that is any value.
#[derive(Clone, PartialEq, Debug)]
struct Anything(Value);

impl Scalar for Anything {
    fn to_value(&self) -> Result<Value, String> {
        Ok(self.0.clone())
    }
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        Ok(Self(value.clone()))
    }
    fn initial() -> Self {
        Self(Value::Null)
    }
}

/// Fields of the document that `Everything` does not know.
#[derive(State, Clone, Debug, PartialEq)]
struct Beside {
    numbers: exostate::List<Anything>,
    #[state(rename = "later-field")]
    later: Option<Anything>,
    settings: SettingsBeside,
}

#[derive(State, Clone, Debug, PartialEq)]
struct SettingsBeside {
    #[state(rename = "later-field")]
    later: Option<Anything>,
}

/// Writes registers into a store's document, after all its other changes.
fn write_garbage<S: State, B: Backend>(store: &Store<S, B>, garbage: Vec<(String, Value)>) {
    let spoiler = Store::<Garbage, B>::open(&store.save()).expect("a document");
    spoiler.reconcile(&Garbage(garbage)).expect("it can be written");
    let update = spoiler.update_since(&store.version()).expect("a version of this backend");
    store.apply_trusted(&update).expect("an update");
}

fn paths<S: State, B: Backend>(store: &Store<S, B>) -> Vec<String> {
    store.violations().into_iter().map(|violation| violation.path).collect()
}

// A state of which everything is spoilt.

#[derive(State, Clone, Debug, PartialEq)]
struct Form {
    size: u8,
    #[state(default = 7)]
    lucky: i64,
    name: Option<String>,
    pair: Register<(u8, String)>,
    email: Email,
    kind: Kind,
    shape: Shape,
    maybe_kind: Option<Kind>,
    maybe_shape: Option<Shape>,
    maybe: Option<Inner>,
    inner: Inner,
    scores: Map<String, i64>,
    people: Map<String, Inner>,
    cards: MovableList<Inner>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Email(String);

#[derive(State, Clone, Debug, Default, PartialEq)]
enum Kind {
    #[default]
    Plain,
    Bold,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Inner {
    width: u8,
    kind: Kind,
}

type FormEdit<'a> = <Form as State>::Node<Edit<'a>>;

/// Spoils one place and checks `edit`: the violation disappears, and the view shows the default as
/// before.
fn edit_removes_violation<B: Backend>(
    path: &str,
    garbage: impl Into<Value>,
    edit: impl Fn(&FormEdit<'_>) -> Result<(), ChangeError>,
) {
    let store = Store::<Form, B>::new();
    store
        .change(|form| {
            form.people().insert("ada", Inner::default())?;
            form.maybe().set(Inner::default())?;
            form.maybe_shape().set(Shape::Circle { radius: 1.0 })
        })
        .expect("it can be written");
    write_garbage(
        &store,
        vec![(path.to_owned(), garbage.into()), (format!("{path}/later-field"), Value::Int(1))],
    );
    assert_eq!(paths(&store), [path], "{} spoilt", B::NAME);
    let shown = store.view();
    store.reconcile(&shown).expect("the view can be written");
    assert_eq!(paths(&store), [path], "reconcile leaves {path} alone");
    let version = store.version();
    store.change(|form| edit(&form)).expect("it can be written");
    assert_ne!(store.version(), version, "nothing was written at {path}");
    assert_eq!(paths(&store), [""; 0], "{path} still does not fit");
    assert_eq!(*store.view(), *shown);
    let opened = Store::<Form, B>::open(&store.save()).expect("a document");
    assert_eq!((opened.view(), opened.violations()), (store.view(), Vec::new()));
}

fn set_replaces_violations_by_the_default<B: Backend>() {
    edit_removes_violation::<B>("size", 256, |form| form.size().set(0));
    edit_removes_violation::<B>("size", "text", |form| form.size().set(0));
    edit_removes_violation::<B>("lucky", true, |form| form.lucky().set(7));
    edit_removes_violation::<B>("name", 1, |form| form.name().set(None));
    edit_removes_violation::<B>("pair", "text", |form| form.pair().set((0, String::new())));
    edit_removes_violation::<B>("email", 1, |form| form.email().set(""));
    edit_removes_violation::<B>("kind", "Italic", |form| form.kind().set(Kind::Plain));
    edit_removes_violation::<B>("kind", 1, |form| form.kind().set(Kind::Plain));
    edit_removes_violation::<B>("shape", "Triangle", |form| form.shape().set(Shape::Nothing));
    edit_removes_violation::<B>("maybe_kind", "Italic", |form| form.maybe_kind().set(None));
    edit_removes_violation::<B>("maybe_shape", "Triangle", |form| form.maybe_shape().set(None));
    edit_removes_violation::<B>("maybe_shape/Circle/radius", "wide", |form| {
        form.maybe_shape().set(Shape::Circle { radius: 0.0 })
    });
    edit_removes_violation::<B>("inner/width", -1, |form| form.inner().width().set(0));
    edit_removes_violation::<B>("inner/width", -1, |form| form.inner().set(Inner::default()));
    edit_removes_violation::<B>("inner/kind", "Italic", |form| form.inner().set(Inner::default()));
    edit_removes_violation::<B>("maybe/width", -1, |form| form.maybe().set(Inner::default()));
    edit_removes_violation::<B>("maybe/width", -1, |form| {
        form.maybe().some().set(Inner::default())
    });
    edit_removes_violation::<B>("people/ada/kind", "Italic", |form| {
        form.people().get("ada").set(Inner::default())
    });
    edit_removes_violation::<B>("people/ada/kind", "Italic", |form| {
        form.people().get("ada").kind().set(Kind::Plain)
    });
    edit_removes_violation::<B>("people/ada/kind", "Italic", |form| {
        form.people().insert("ada", Inner::default())
    });
    edit_removes_violation::<B>("people/ada/kind", "Italic", |form| {
        form.people().get("ada").reconcile_with(&Inner::default(), Mend::Reset)
    });
}

#[test]
fn set_replaces_violations_by_the_default_on_yrs() {
    set_replaces_violations_by_the_default::<Yrs>();
}

#[test]
fn set_replaces_violations_by_the_default_on_automerge() {
    set_replaces_violations_by_the_default::<Automerge>();
}

/// `set` overwrites a spoilt place with a value that is not the default.
fn set_replaces_violations<B: Backend>() {
    let store = Store::<Form, B>::new();
    let spoilt = ["size", "name", "kind", "shape", "maybe_shape", "inner/kind"];
    write_garbage(
        &store,
        spoilt.iter().map(|path| ((*path).to_owned(), Value::Bytes([1, 2].into()))).collect(),
    );
    assert_eq!(store.violations().len(), spoilt.len());
    store
        .change(|form| {
            form.size().set(3)?;
            form.name().set("ada".to_owned())?;
            form.kind().set(Kind::Bold)?;
            form.shape().set(Shape::Circle { radius: 2.0 })?;
            form.maybe_shape().set(Shape::Circle { radius: 0.0 })?;
            form.inner().set(Inner { width: 9, kind: Kind::Plain })
        })
        .expect("it can be written");
    let view = store.view();
    assert_eq!(
        (view.size, view.name.as_deref(), &view.kind, &view.shape),
        (3, Some("ada"), &Kind::Bold, &Shape::Circle { radius: 2.0 })
    );
    assert_eq!(
        (&view.maybe_shape, &view.inner),
        (&Some(Shape::Circle { radius: 0.0 }), &Inner { width: 9, kind: Kind::Plain })
    );
    assert_eq!((store.violations(), store.reread()), (Vec::new(), Form::clone(&view)));
}

#[test]
fn set_replaces_violations_by_other_values() {
    set_replaces_violations::<Yrs>();
    set_replaces_violations::<Automerge>();
}

/// An unknown variant of a newer application is removed with its fields, as when the variant
/// changes.
#[test]
fn an_unknown_variant_is_removed_with_its_fields() {
    fn run<B: Backend>() {
        let store = Store::<Form, B>::new();
        let triangle = || {
            vec![
                ("shape".to_owned(), Value::str("Triangle")),
                ("shape/Triangle/a".to_owned(), Value::Int(1)),
            ]
        };
        write_garbage(&store, triangle());
        let registers = |store: &Store<Form, B>| store.document().registers("");
        let spoilt = registers(&store);
        store.reconcile_with(&store.view(), Mend::Reset).expect("it can be written");
        let plain = Store::<Form, B>::new();
        plain.change(|form| form.shape().set(Shape::Nothing)).expect("it can be written");
        assert_eq!(registers(&store), registers(&plain), "something of the variant is left");
        assert_ne!(registers(&store), spoilt);
    }
    run::<Yrs>();
    run::<Automerge>();
}

/// Rolling back a savepoint also rolls back the removal of violations.
#[test]
fn a_savepoint_rolls_back_the_removal_of_violations() {
    let store = Store::<Form>::new();
    write_garbage(&store, vec![("kind".to_owned(), Value::str("Italic"))]);
    let before = store.violations();
    let version = store.version();
    store
        .change(|form| {
            let refused = form.savepoint(|form| {
                form.kind().set(Kind::Plain)?;
                Err::<(), _>(ChangeError::refuse("no"))
            });
            assert!(refused.is_err());
            Ok(())
        })
        .expect("nothing is written");
    assert_eq!((store.violations(), store.version()), (before, version));
}

// Arbitrary garbage in arbitrary documents.

/// Places of `Everything`. A `*` stands for an element of the document.
const PLACES: &[&str] = &[
    "title",
    "count",
    "big",
    "ratio",
    "flag",
    "data",
    "owner",
    "when",
    "pair",
    "tags/a",
    "votes/ab",
    "votes/1",
    "cards/*",
    "cards/*/text",
    "cards/*/done",
    "cards/*/@position",
    "cards/*/labels/a",
    "names/*",
    "names/*/@position",
    "people/*",
    "people/*/name",
    "people/*/age",
    "people/*/likes/1",
    "people/*/pets/rex",
    "people/*/pets/rex/legs",
    "scores/*",
    "scores/007",
    "outline/*",
    "outline/*/label",
    "outline/*/@place",
    "shape",
    "shape/Circle/radius",
    "shape/Label/0",
    "settings/theme",
    "settings/size",
    "settings/flags/0",
    "settings/flags/x",
    "maybe",
    "maybe/size",
    "maybe/flags/1",
    "notes",
    "numbers",
    "later-field",
    "settings/later-field",
];

fn place(store: &Everything, choice: (u8, u8)) -> String {
    let place = PLACES[usize::from(choice.0) % PLACES.len()];
    let Some((collection, rest)) = place.split_once("/*") else { return place.to_owned() };
    let mut elements: Vec<String> = match collection {
        "cards" => store.cards.iter_ids().map(|(id, _)| id.to_string()).collect(),
        "names" => store.names.iter_ids().map(|(id, _)| id.to_string()).collect(),
        "outline" => store.outline.walk().into_iter().map(|(_, id, _)| id.to_string()).collect(),
        "people" => vec!["a".to_owned(), "b".to_owned()],
        _ => vec!["-1".to_owned(), "0".to_owned(), "x".to_owned()],
    };
    // An element that does not exist.
    elements.push("5-5".to_owned());
    let element = &elements[usize::from(choice.1) % elements.len()];
    format!("{collection}/{element}{rest}")
}

fn garbage() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        Just(Value::Int(1)),
        Just(Value::float(0.5)),
        prop_oneof![
            Just("Circle"),
            Just("Triangle"),
            Just("Nothing"),
            Just("99999999999999999999"),
            Just(":zz")
        ]
        .prop_map(Value::str),
        prop::collection::vec(any::<u8>(), 0..4).prop_map(|bytes| Value::Bytes(bytes.into())),
    ]
}

type Spoilt = Vec<((u8, u8), Value)>;

fn run<B: Backend>(ops: &[Op], spoilt: &Spoilt, numbers: &[Value], wanted: &[Op], set: bool) {
    let store = support::store::<B>(1);
    ops.iter().for_each(|op| support::apply(&store, op));
    let view = store.view();
    write_garbage(
        &store,
        spoilt.iter().map(|(choice, value)| (place(&view, *choice), value.clone())).collect(),
    );
    let beside = Store::<Beside, B>::open(&store.save()).expect("a document");
    beside
        .change(|beside| {
            numbers.iter().enumerate().try_for_each(|(at, value)| {
                beside
                    .numbers()
                    .insert(at.min(beside.numbers().get()?.len()), Anything(value.clone()))
            })
        })
        .expect("it can be written");
    store
        .apply_trusted(&beside.update_since(&store.version()).expect("a version"))
        .expect("an update");
    support::check_view(&store);
    let unknown = |store: &Store<Everything, B>| {
        let view = Store::<Beside, B>::open(&store.save()).expect("a document").view();
        (view.later.clone(), view.settings.later.clone())
    };
    let kept = unknown(&store);

    // If the given state equals the view, nothing is written.
    let version = store.version();
    let before = store.violations();
    store.reconcile(&store.view()).expect("the view can be written");
    assert_eq!((store.version(), store.violations()), (version, before.clone()));

    let other = support::store::<B>(2);
    wanted.iter().for_each(|op| support::apply(&other, op));
    let wanted = if wanted.is_empty() { store.view() } else { other.view() };
    match set {
        true => store.change(|state| state.set(Everything::clone(&wanted))),
        false => store.reconcile_with(&wanted, Mend::Reset),
    }
    .expect("any state can be written");
    assert_eq!(store.violations(), [], "{before:?}");
    assert_eq!(format!("{:?}", store.view()), format!("{wanted:?}"));
    assert_eq!(unknown(&store), kept, "what the struct does not know");
    support::check_view(&store);
    let opened = Store::<Everything, B>::open(&store.save()).expect("a document");
    assert_eq!(opened.violations(), []);

    // A second time there is nothing to do.
    let version = store.version();
    store.reconcile_with(&store.view(), Mend::Reset).expect("the view can be written");
    assert_eq!(store.version(), version, "something was written that fits");
}

fn cases() -> impl Strategy<Value = (Vec<Op>, Spoilt, Vec<Value>, Vec<Op>, bool)> {
    let spoilt = prop::collection::vec((any::<(u8, u8)>(), garbage()), 0..12);
    let wanted = prop_oneof![Just(Vec::new()), strategy::ops(12)];
    (strategy::ops(16), spoilt, prop::collection::vec(garbage(), 0..4), wanted, any::<bool>())
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn no_violation_is_left_on_yrs((ops, spoilt, numbers, wanted, set) in cases()) {
        run::<Yrs>(&ops, &spoilt, &numbers, &wanted, set);
    }

}

proptest! {
    // Each case opens five documents, which is slow on automerge.
    #![proptest_config(proptest::test_runner::Config {
        cases: strategy::config().cases / 4,
        ..strategy::config()
    })]

    #[test]
    fn no_violation_is_left_on_automerge((ops, spoilt, numbers, wanted, set) in cases()) {
        run::<Automerge>(&ops, &spoilt, &numbers, &wanted, set);
    }
}

/// Parts whose sum is far outside the range of `i64`, so that the part of one replica cannot bring
/// the sum to what is wanted.
#[test]
fn a_counter_of_any_sum_can_be_set() {
    for (parts, wanted) in [
        ([i64::MIN, i64::MIN, i64::MIN], 1),
        ([i64::MIN, -1, 5], i64::MAX),
        ([i64::MAX, i64::MAX, 7], i64::MIN),
        ([i64::MAX, 1, 0], 0),
    ] {
        let store = support::store::<Yrs>(1);
        let segments = ["votes/1", "votes/98", "votes/99"];
        let registers = segments.map(str::to_owned).into_iter().zip(parts.map(Value::Int));
        write_garbage(&store, registers.collect());
        let mut state = Everything::clone(&store.view());
        state.votes = exostate::Counter::new(wanted);
        store.reconcile(&state).expect("any sum can be written");
        assert_eq!(store.view().votes, wanted, "{parts:?}");
        support::check_view(&store);
        // A counter that has a value outside the range of `i64` is written as the nearest value.
        let far = support::store::<Yrs>(2);
        write_garbage(&far, vec![("votes/98".to_owned(), Value::Int(i64::MAX))]);
        far.change(|state| state.votes().add(5)).expect("a change");
        store.reconcile(&far.view()).expect("any sum can be written");
        assert_eq!(store.view().votes, i64::MAX);
    }
}

/// `Settings` is an example of any struct within another one.
#[test]
fn setting_a_struct_keeps_unknown_fields() {
    let store = support::store::<Yrs>(1);
    write_garbage(
        &store,
        vec![
            ("settings/size".to_owned(), Value::str("large")),
            ("settings/later-field".to_owned(), Value::Int(5)),
        ],
    );
    store
        .change(|state| {
            state.settings().set(Settings { theme: "dark".to_owned(), size: 0, flags: Map::new() })
        })
        .expect("it can be written");
    assert_eq!((store.view().settings.theme.as_str(), store.violations()), ("dark", Vec::new()));
    let beside = Store::<Beside>::open(&store.save()).expect("a document");
    assert_eq!(beside.view().settings.later, Some(Anything(Value::Int(5))));
}

/// An edit of a list in which some elements do not fit. Its index counts the others.
#[derive(Clone, Debug)]
enum ListEdit {
    Insert(usize),
    Remove(usize),
    Set(usize),
    Reconcile(usize, usize, usize),
}

fn list_edit() -> impl Strategy<Value = ListEdit> {
    let index = 0..12_usize;
    prop_oneof![
        index.clone().prop_map(ListEdit::Insert),
        index.clone().prop_map(ListEdit::Remove),
        index.clone().prop_map(ListEdit::Set),
        (index, 0..4_usize, 0..4_usize)
            .prop_map(|(at, delete, insert)| { ListEdit::Reconcile(at, delete, insert) }),
    ]
}

/// The elements that fit are those of the model, and the others are still there, in order.
fn list_edits<B: Backend>(at_first: &[bool], edits: &[ListEdit]) {
    let store = support::store::<B>(1);
    let value = |(number, fits): (usize, &bool)| match fits {
        true => Value::from(number as i64),
        false => Value::from(format!("no number {number}")),
    };
    let values: Vec<Value> = at_first.iter().enumerate().map(value).collect();
    store
        .document()
        .edit(|edit| edit.splice_list("numbers", 0..0, values.clone()))
        .expect("it can be written");
    let misfits = |values: &[Value]| -> Vec<Value> {
        values.iter().filter(|value| i64::from_value(value).is_err()).cloned().collect()
    };
    let fitting = |values: &[Value]| -> Vec<i64> {
        values.iter().filter_map(|value| i64::from_value(value).ok()).collect()
    };
    let mut model = fitting(&values);
    for (number, edit) in edits.iter().enumerate() {
        let new = 100 + 10 * number as i64;
        let len = model.len();
        match *edit {
            ListEdit::Insert(at) => {
                let at = at % (len + 1);
                store.change(|state| state.numbers().insert(at, new)).expect("it fits");
                model.insert(at, new);
            }
            ListEdit::Remove(at) if len > 0 => {
                store.change(|state| state.numbers().remove(at % len)).expect("it fits");
                model.remove(at % len);
            }
            ListEdit::Set(at) if len > 0 => {
                store.change(|state| state.numbers().set(at % len, new)).expect("it fits");
                model[at % len] = new;
            }
            ListEdit::Reconcile(at, delete, insert) => {
                let at = at % (len + 1);
                model.splice(at..(at + delete).min(len), (0..insert).map(|n| new + n as i64));
                let mut wanted = Everything::clone(&store.view());
                wanted.numbers = model.iter().copied().collect();
                store.reconcile(&wanted).expect("it can be written");
            }
            ListEdit::Remove(_) | ListEdit::Set(_) => {}
        }
        let shown = store.document().list("numbers");
        assert_eq!(fitting(&shown), model, "after {edit:?}");
        assert_eq!(misfits(&shown), misfits(&values), "after {edit:?}");
        support::check_view(&store);
    }
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn edits_of_a_list_leave_what_does_not_fit(
        at_first in prop::collection::vec(any::<bool>(), 0..12),
        edits in prop::collection::vec(list_edit(), 1..12),
    ) {
        list_edits::<Yrs>(&at_first, &edits);
        list_edits::<Automerge>(&at_first, &edits);
    }
}
