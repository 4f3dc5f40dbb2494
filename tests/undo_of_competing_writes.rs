//! Promise: if another replica wrote the same place concurrently, an undo reverts this replica's
//! value if it won, and does nothing if it lost.

mod support;

use std::time::Duration;

use exostate::{
    Automerge, Backend, ChangeError, Counter, Edit, ElementId, Map, MovableList, Options,
    ReplicaId, Set, State, Store, Text, Tree, UndoManager, UndoOptions, Yrs,
};
use proptest::prelude::*;
use support::strategy;

#[derive(State, Clone, Debug, PartialEq)]
struct Places {
    title: String,
    owner: Option<String>,
    scores: Map<u8, i64>,
    people: Map<String, Person>,
    /// Never written before.
    shape: Shape,
    /// Written before: a circle.
    form: Shape,
    cards: MovableList<String>,
    outline: Tree<String>,
    tags: Set<String>,
    votes: Counter,
    /// Written to make one replica's ops newer.
    filler: Map<u8, i64>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Person {
    name: String,
    age: i64,
    bio: Text,
}

#[derive(State, Clone, Debug, PartialEq)]
enum Shape {
    #[state(default)]
    Nothing,
    Circle {
        radius: i64,
    },
    Label(String),
}

type Node<'a> = <Places as State>::Node<Edit<'a>>;

/// The writer, and so the values: those of the two replicas differ.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    We,
    They,
}

impl Who {
    fn name(self) -> &'static str {
        if self == Self::We { "ours" } else { "theirs" }
    }

    fn number(self) -> i64 {
        if self == Self::We { 1 } else { 2 }
    }
}

/// The elements that both replicas know.
struct Known {
    cards: Vec<ElementId>,
    nodes: Vec<ElementId>,
}

fn begin(store: &Store<Places, impl Backend>) -> Known {
    let made = store.change(|state| {
        state.title().set("base")?;
        state.owner().set("base".to_owned())?;
        state.scores().insert(0, 0)?;
        state.scores().insert(1, 0)?;
        state
            .people()
            .insert("ada", Person { name: "base".to_owned(), age: 0, bio: Text::new() })?;
        state.form().reconcile(&Shape::Circle { radius: 0 })?;
        state.tags().insert("base".to_owned())?;
        let cards =
            (0..3).map(|_| state.cards().push("card".to_owned())).collect::<Result<_, _>>()?;
        let nodes = (0..4)
            .map(|_| state.outline().push(None, "node".to_owned()))
            .collect::<Result<_, _>>()?;
        Ok(Known { cards, nodes })
    });
    made.expect("it can be written")
}

/// The places that the property writes.
const PLACES: usize = 14;

/// Writes one place; `other` chooses between two edits.
fn edit(
    state: &Node<'_>,
    place: usize,
    who: Who,
    other: bool,
    known: &Known,
) -> Result<(), ChangeError> {
    let ours = who == Who::We;
    match place {
        0 => state.title().set(who.name()),
        1 if ours && other => state.owner().set(None),
        1 => state.owner().set(who.name().to_owned()),
        2 => state.scores().insert(0, who.number()),
        3 if ours == other => state.scores().remove(1).map(drop),
        3 => state.scores().insert(1, who.number()),
        4 => state.scores().insert(2, who.number()),
        5 => state.people().get("ada").name().set(who.name()),
        6 => state.people().get("ada").age().set(who.number()),
        7 if ours => state.shape().reconcile(&Shape::Circle { radius: 1 }),
        7 => state.shape().reconcile(&Shape::Label("theirs".to_owned())),
        8 if ours => state.form().reconcile(&Shape::Label("ours".to_owned())),
        8 => state.form().reconcile(&Shape::Nothing),
        9 => state.cards().move_to(known.cards[0], if ours { 1 } else { 2 }),
        10 => {
            state.outline().move_to(known.nodes[0], Some(known.nodes[if ours { 1 } else { 2 }]), 0)
        }
        11 => state.tags().insert(who.name().to_owned()).map(drop),
        12 => state.votes().add(who.number()),
        _ => state.outline().get(known.nodes[3]).set(who.name()),
    }
}

/// The value of a place, for a comparison with a run in which only one replica has written it.
fn shown(view: &Places, place: usize, known: &Known) -> String {
    match place {
        0 => view.title.clone(),
        1 => format!("{:?}", view.owner),
        2 => format!("{:?}", view.scores.get(&0)),
        3 => format!("{:?}", view.scores.get(&1)),
        4 => format!("{:?}", view.scores.get(&2)),
        5 | 6 => format!(
            "{:?}",
            view.people.get("ada").map(|ada| if place == 5 {
                ada.name.clone()
            } else {
                ada.age.to_string()
            })
        ),
        7 => format!("{:?}", view.shape),
        8 => format!("{:?}", view.form),
        9 => format!("{:?}", view.cards.index_of(known.cards[0])),
        10 => format!("{:?}", view.outline.parent(known.nodes[0])),
        11 | 12 => String::new(),
        _ => format!("{:?}", view.outline.get(known.nodes[3])),
    }
}

/// One run: the writes of each replica, and how they are made.
#[derive(Clone, Debug)]
struct Run {
    /// For each place: whether we write it, whether they write it, and for each of the two which of
    /// the two edits it makes.
    places: Vec<(bool, bool, bool, bool)>,
    /// Earlier writes to other places, so that this replica's ops are newer on automerge.
    fillers: (u8, u8),
    we_are_first: bool,
    in_one_change: bool,
    /// We merge their changes one by one.
    bit_by_bit: bool,
}

fn run() -> impl Strategy<Value = Run> {
    let places = prop::collection::vec(any::<(bool, bool, bool, bool)>(), PLACES);
    (places, (0u8..3, 0u8..3), any::<[bool; 3]>()).prop_map(
        |(places, fillers, [we_are_first, in_one_change, bit_by_bit])| Run {
            places,
            fillers,
            we_are_first,
            in_one_change,
            bit_by_bit,
        },
    )
}

fn store<B: Backend>(id: u64) -> Store<Places, B> {
    Store::with_options(Options::new().with_replica(ReplicaId::from_bits(id)))
}

fn open<B: Backend>(bytes: &[u8], id: u64) -> Store<Places, B> {
    Store::open_with(bytes, Options::new().with_replica(ReplicaId::from_bits(id)))
        .expect("it opens")
}

fn each() -> UndoOptions {
    UndoOptions::new().with_window(Duration::ZERO)
}

fn undo_all<B: Backend>(undo: &UndoManager<Places, B>) -> usize {
    std::iter::from_fn(|| undo.undo().expect("it can be undone")).count()
}

/// Writes all places that this replica writes and that `wanted` selects.
fn write<B: Backend>(
    store: &Store<Places, B>,
    run: &Run,
    who: Who,
    known: &Known,
    wanted: impl Fn(usize) -> bool,
) {
    let fillers = if who == Who::We { run.fillers.0 } else { run.fillers.1 };
    for number in 0..fillers {
        store
            .change(|state| state.filler().insert(who.number() as u8 * 10 + number, 1))
            .expect("it can be written");
    }
    let places: Vec<(usize, bool)> = (0..PLACES)
        .filter_map(|place| {
            let (we, they, ours, theirs) = run.places[place];
            let (writes, other) = if who == Who::We { (we, ours) } else { (they, theirs) };
            (writes && wanted(place)).then_some((place, other))
        })
        .collect();
    if run.in_one_change {
        let all = |state: Node<'_>| {
            places.iter().try_for_each(|(place, other)| edit(&state, *place, who, *other, known))
        };
        store.change(all).expect("it can be written");
    } else {
        for (place, other) in places {
            store
                .change(|state| edit(&state, place, who, other, known))
                .expect("it can be written");
        }
    }
}

/// After undoing everything, the state is as if this replica had changed nothing, and their winning
/// values remain.
fn undone<B: Backend>(run: &Run) {
    let first = store::<B>(5);
    let ids = if run.we_are_first { (1, 2) } else { (2, 1) };
    let known = begin(&first);
    let base = first.save();
    let ours = open::<B>(&base, ids.0);
    let theirs = open::<B>(&base, ids.1);
    let undo = ours.undo_manager(each());
    write(&ours, run, Who::We, &known, |_| true);
    let alone = ours.view();
    let updates = theirs.local_updates();
    write(&theirs, run, Who::They, &known, |_| true);
    if run.bit_by_bit {
        std::iter::from_fn(|| updates.try_next()).for_each(|update| {
            ours.apply(&update).expect("it applies");
        });
    }
    ours.merge(&theirs).expect("it merges");
    let met = ours.view();
    let we_won = |place: usize| {
        let (we, they, ..) = run.places[place];
        we && they
            && shown(&met, place, &known) == shown(&alone, place, &known)
            && ![11, 12].contains(&place)
    };

    let undone = undo_all(&undo);
    let expected = open::<B>(&base, 9);
    write(&expected, run, Who::They, &known, |place| !we_won(place));
    assert_eq!(*ours.view(), *expected.view(), "undone, of {met:?}");
    assert_eq!(ours.reread(), *ours.view());
    theirs.merge(&ours).expect("it merges");
    assert_eq!(theirs.digest(), ours.digest());

    let redone = std::iter::from_fn(|| undo.redo().expect("it can be redone")).count();
    assert_eq!((*ours.view()).clone(), *met, "redone");
    assert_eq!(redone, undone);
    theirs.merge(&ours).expect("it merges");
    assert_eq!(theirs.view(), ours.view());
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn an_undo_takes_back_the_winning_value_on_yrs(run in run()) {
        undone::<Yrs>(&run);
    }

    #[test]
    fn an_undo_takes_back_the_winning_value_on_automerge(run in run()) {
        undone::<Automerge>(&run);
    }
}

/// Two replicas with the same beginning. The second has the higher id, so its values win if both
/// have written equally often.
fn two<B: Backend>() -> (Store<Places, B>, Store<Places, B>, Known) {
    let first = store::<B>(5);
    let known = begin(&first);
    let bytes = first.save();
    (open(&bytes, 1), open(&bytes, 2), known)
}

fn mine_wins<B: Backend>() -> Result<(), exostate::Error> {
    let (theirs, ours, _) = two::<B>();
    let undo = ours.undo_manager(each());
    ours.change(|state| state.owner().set("earlier".to_owned()))?;
    ours.change(|state| state.title().set("mine"))?;
    theirs.change(|state| state.title().set("theirs"))?;
    ours.merge(&theirs)?;
    assert_eq!(ours.view().title, "mine");
    undo.undo()?;
    assert_eq!(
        (ours.view().title.as_str(), ours.view().owner.as_deref()),
        ("base", Some("earlier")),
        "what was overwritten here is back"
    );
    theirs.merge(&ours)?;
    assert_eq!(theirs.view(), ours.view(), "the value that lost stays lost");
    undo.redo()?;
    assert_eq!(ours.view().title, "mine");
    Ok(())
}

fn theirs_wins<B: Backend>() -> Result<(), exostate::Error> {
    let (ours, theirs, _) = two::<B>();
    let undo = ours.undo_manager(each());
    ours.change(|state| state.owner().set("earlier".to_owned()))?;
    ours.change(|state| state.title().set("mine"))?;
    for title in ["", "-", "theirs"] {
        theirs.change(|state| state.title().set(title))?;
    }
    ours.merge(&theirs)?;
    undo.undo()?;
    assert_eq!(
        (ours.view().title.as_str(), ours.view().owner.as_deref()),
        ("theirs", Some("base")),
        "passed over, and on to the one before"
    );
    Ok(())
}

/// Both replicas create a record: the values that the other one wrote in it keep it, whichever
/// marker won.
fn a_record_made_twice<B: Backend>() -> Result<(), exostate::Error> {
    let (low, high, _) = two::<B>();
    for (ours, theirs) in [(&low, &high), (&high, &low)] {
        let undo = ours.undo_manager(each());
        let person = |name: &str, age| Person { name: name.to_owned(), age, bio: Text::new() };
        ours.change(|state| state.people().insert("bob", person("ours", 0)))?;
        theirs.change(|state| state.people().insert("bob", person("", 7)))?;
        ours.merge(theirs)?;
        undo_all(&undo);
        assert_eq!(ours.view().people.get("bob").map(|bob| bob.age), Some(7), "on {}", B::NAME);
        theirs.merge(ours)?;
        theirs.change(|state| state.people().remove("bob"))?;
        ours.merge(theirs)?;
    }
    Ok(())
}

/// A removal that both replicas made can be undone by this one: neither backend reports the second
/// removal.
fn removed_twice<B: Backend>() -> Result<(), exostate::Error> {
    let (low, high, known) = two::<B>();
    for (ours, theirs) in [(&low, &high), (&high, &low)] {
        let undo = ours.undo_manager(each());
        for store in [ours, theirs] {
            store.change(|state| {
                state.tags().remove("base".to_owned())?;
                state.cards().remove(known.cards[0])
            })?;
        }
        ours.merge(theirs)?;
        undo.undo()?;
        assert!(
            ours.view().tags.contains("base") && ours.view().cards.by_id(known.cards[0]).is_some()
        );
        theirs.merge(ours)?;
    }
    Ok(())
}

/// Their value won, and they undo it without having received ours. On automerge our value shows
/// again, and we can undo it.
fn ours_shows_again<B: Backend>() -> Result<(), exostate::Error> {
    let (ours, theirs, _) = two::<B>();
    let undo = ours.undo_manager(each());
    ours.change(|state| state.scores().insert(2, 1))?;
    theirs.change(|state| state.scores().insert(2, 2))?;
    ours.merge(&theirs)?;
    theirs.change(|state| state.scores().remove(2))?;
    ours.merge(&theirs)?;
    undo_all(&undo);
    assert_eq!(ours.view().scores.get(&2), None, "on {}", B::NAME);
    Ok(())
}

#[test]
fn documented_examples_of_conflicting_values_hold() -> Result<(), exostate::Error> {
    mine_wins::<Yrs>()?;
    mine_wins::<Automerge>()?;
    theirs_wins::<Yrs>()?;
    theirs_wins::<Automerge>()
}

#[test]
fn records_made_twice_and_removed_twice() -> Result<(), exostate::Error> {
    a_record_made_twice::<Yrs>()?;
    a_record_made_twice::<Automerge>()?;
    removed_twice::<Yrs>()?;
    removed_twice::<Automerge>()
}

#[test]
fn a_value_that_shows_again_is_its_writers() -> Result<(), exostate::Error> {
    ours_shows_again::<Yrs>()?;
    ours_shows_again::<Automerge>()
}
