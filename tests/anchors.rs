//! Promise: an anchor can be made at every position of a text. It follows the text, and anchors
//! keep their order.

mod support;

use std::collections::BTreeSet;

use exostate::{Anchor, Automerge, Backend, State, Store, Text, UndoManager, UndoOptions, Yrs};
use proptest::prelude::*;
use support::{Everything, strategy};

type Replica<B> = Store<Everything, B>;

fn anchor<B: Backend>(store: &Replica<B>, at: usize, before: bool) -> Anchor {
    store
        .anchor(Everything::path().notes(), at, before)
        .unwrap_or_else(|| panic!("no anchor at {at} ({before}) on {}", B::NAME))
}

fn resolve<B: Backend>(store: &Replica<B>, anchor: &Anchor) -> Option<usize> {
    store.resolve(Everything::path().notes(), anchor)
}

/// An empty text, a text that was never written, and the two ends of a text.
fn at_the_ends<B: Backend>() {
    let here = support::store::<B>(1);
    let there = support::store::<B>(2);
    let never = [anchor(&here, 0, true), anchor(&here, 0, false)];
    assert_eq!(never.each_ref().map(|anchor| resolve(&there, anchor)), [Some(0), Some(0)]);
    assert!(here.anchor(Everything::path().notes(), 1, false).is_none());
    here.change(|state| state.notes().push_str("ä😀")).expect("it can be written");
    let ends = [
        anchor(&here, 0, true),
        anchor(&here, 0, false),
        anchor(&here, 2, true),
        anchor(&here, 2, false),
    ];
    let all = |store: &Replica<B>| {
        never.iter().chain(&ends).map(|anchor| resolve(store, anchor)).collect::<Vec<_>>()
    };
    let some = |places: [usize; 6]| places.map(Some).to_vec();
    assert_eq!(all(&here), some([0, 2, 0, 0, 2, 2]));
    here.change(|state| state.notes().insert(0, "<")).expect("it can be written");
    here.change(|state| state.notes().push_str(">>")).expect("it can be written");
    there.merge(&here).expect("an honest update");
    for store in [&here, &there] {
        assert_eq!(all(store), some([0, 5, 0, 1, 3, 5]), "{}", B::NAME);
    }
    here.change(|state| state.notes().delete(0..5)).expect("it can be written");
    assert_eq!(all(&here), some([0; 6]));
    let empty = [anchor(&here, 0, true), anchor(&here, 0, false)];
    here.change(|state| state.notes().push_str("again")).expect("it can be written");
    assert_eq!(empty.each_ref().map(|anchor| resolve(&here, anchor)), [Some(0), Some(5)]);
    // An anchor belongs to one text only.
    here.change(|state| {
        state.cards().push(support::Card {
            text: String::new(),
            done: false,
            body: Text::from("x"),
            labels: exostate::Set::new(),
        })
    })
    .expect("it can be written");
    let card = here.view().cards.id_at(0).expect("a card");
    let body = Everything::path().cards().get(card).body();
    assert!(never.iter().chain(&ends).all(|anchor| here.resolve(&body, anchor).is_none()));
    let of_body = here.anchor(&body, 1, false).expect("an anchor");
    assert_eq!((here.resolve(&body, &of_body), resolve(&here, &of_body)), (Some(1), None));
}

#[test]
fn an_anchor_can_be_had_at_both_ends_and_in_an_empty_text() {
    at_the_ends::<Yrs>();
    at_the_ends::<Automerge>();
}

#[test]
fn an_anchor_whose_character_is_gone_stands_where_that_was() {
    fn run<B: Backend>() {
        let store = support::store::<B>(1);
        store.change(|state| state.notes().push_str("ab")).expect("it can be written");
        let start = anchor(&store, 1, true);
        let end = anchor(&store, 1, false);
        store.change(|state| state.notes().delete(0..1)).expect("it can be written");
        assert_eq!(
            (resolve(&store, &start), resolve(&store, &end)),
            (Some(0), Some(0)),
            "{}",
            B::NAME
        );
    }
    run::<Yrs>();
    run::<Automerge>();
}

/// Two replicas both create the text. On automerge these are two objects.
fn made_twice<B: Backend>() {
    let here = support::store::<B>(1);
    let there = support::store::<B>(2);
    let ends = [anchor(&here, 0, true), anchor(&here, 0, false)];
    for (store, text) in [(&here, "ab"), (&there, "xy")] {
        store.change(|state| state.notes().push_str(text)).expect("it can be written");
    }
    here.merge(&there).expect("an honest update");
    there.merge(&here).expect("an honest update");
    assert_eq!(ends.each_ref().map(|anchor| resolve(&there, anchor)), [Some(0), Some(4)]);
    for at in 0..=4 {
        for before in [true, false] {
            assert_eq!(
                resolve(&there, &anchor(&here, at, before)),
                Some(at),
                "{at} {before} on {}",
                B::NAME
            );
        }
    }
}

#[test]
fn a_text_that_two_made() {
    made_twice::<Yrs>();
    made_twice::<Automerge>();
}

#[test]
fn bytes_that_are_no_anchor_resolve_to_nothing() {
    fn run<B: Backend>() {
        let store = support::store::<B>(1);
        store.change(|state| state.notes().push_str("text")).expect("it can be written");
        let honest: Vec<Vec<u8>> = [(0, true), (4, false), (2, true), (2, false)]
            .map(|(at, before)| anchor(&store, at, before).as_bytes().to_vec())
            .into();
        for bytes in &honest {
            for len in 0..bytes.len() {
                resolve(&store, &Anchor::from_bytes(&bytes[..len]));
            }
            for at in 0..bytes.len() {
                for byte in 0..=255 {
                    let mut damaged = bytes.clone();
                    damaged[at] = byte;
                    assert!(resolve(&store, &Anchor::from_bytes(damaged)).is_none_or(|at| at <= 4));
                }
            }
        }
        assert_eq!(resolve(&store, &Anchor::from_bytes([])), None);
    }
    run::<Yrs>();
    run::<Automerge>();
}

/// One step of one replica.
#[derive(Clone, Debug)]
enum Step {
    Insert(usize, usize),
    Delete(usize, usize),
    DeleteAll,
    Undo,
    Redo,
    Anchors,
    Meet,
}

fn step() -> impl Strategy<Value = (bool, Step)> {
    let step = prop_oneof![
        5 => (0..40usize, 1..5usize).prop_map(|(at, len)| Step::Insert(at, len)),
        4 => (0..40usize, 1..6usize).prop_map(|(at, len)| Step::Delete(at, len)),
        1 => Just(Step::DeleteAll),
        3 => Just(Step::Undo),
        1 => Just(Step::Redo),
        3 => Just(Step::Anchors),
        2 => Just(Step::Meet),
    ];
    (any::<bool>(), step)
}

struct Made {
    anchor: Anchor,
    /// The character that the anchor is attached to. It has none at the edge of the text.
    sticks: Option<char>,
    before: bool,
}

/// Anchors on both sides of every position, in order.
fn all_anchors<B: Backend>(store: &Replica<B>) -> Vec<Made> {
    let text = store.view().notes.clone();
    let places = (0..=text.len()).flat_map(|at| [(at, true), (at, false)]);
    places
        .map(|(at, before)| {
            let sticks = if before {
                at.checked_sub(1).and_then(|at| text.char_at(at))
            } else {
                text.char_at(at)
            };
            Made { anchor: anchor(store, at, before), sticks, before }
        })
        .collect()
}

/// Checks that the anchors still have the order in which they were made, and where they point.
/// `all`: this replica has received all changes, so every anchor must resolve.
fn check<B: Backend>(
    store: &Replica<B>,
    made: &[Made],
    rewritten: &BTreeSet<char>,
    all: bool,
) -> Result<(), TestCaseError> {
    let text = store.view().notes.clone();
    let chars: Vec<char> = text.to_string().chars().collect();
    let mut last = 0;
    for Made { anchor, sticks, before } in made {
        let Some(at) = resolve(store, anchor) else {
            prop_assert!(!all, "an anchor is lost on {}", B::NAME);
            continue;
        };
        prop_assert!(
            last <= at && at <= chars.len(),
            "{} after {} in {:?} on {}",
            at,
            last,
            text,
            B::NAME
        );
        last = at;
        match sticks
            .filter(|sticks| !rewritten.contains(sticks))
            .map(|sticks| chars.iter().position(|found| *found == sticks))
        {
            None if sticks.is_none() => prop_assert_eq!(at, if *before { 0 } else { chars.len() }),
            Some(Some(found)) => prop_assert_eq!(at, found + usize::from(*before)),
            _ => {}
        }
    }
    Ok(())
}

fn anchors_keep_their_order<B: Backend>(steps: &[(bool, Step)]) -> Result<(), TestCaseError> {
    let replicas = [support::store::<B>(1), support::store::<B>(2)];
    let undo: Vec<UndoManager<Everything, B>> =
        replicas.iter().map(|store| store.undo_manager(UndoOptions::new())).collect();
    let mut made = Vec::new();
    let mut fresh =
        (0x1_f300..).filter_map(char::from_u32).zip((0x4e00..).filter_map(char::from_u32));
    // An undo inserts a new character that looks the same. No anchor is attached to the new
    // character.
    let mut rewritten = BTreeSet::new();
    for (second, step) in steps {
        let store = &replicas[usize::from(*second)];
        let before = store.view();
        let len = before.notes.len();
        match step {
            Step::Insert(at, count) => {
                let inserted: String = fresh
                    .by_ref()
                    .take(*count)
                    .map(|(wide, narrow)| if at % 2 == 0 { wide } else { narrow })
                    .collect();
                store
                    .change(|state| state.notes().insert(at % (len + 1), &inserted))
                    .expect("it can be written");
            }
            Step::Delete(at, count) => {
                let start = at % (len + 1);
                store
                    .change(|state| state.notes().delete(start..(start + count).min(len)))
                    .expect("it can be written");
            }
            Step::DeleteAll => {
                store.change(|state| state.notes().delete(0..len)).expect("it can be written")
            }
            Step::Undo => drop(undo[usize::from(*second)].undo().expect("it can be undone")),
            Step::Redo => drop(undo[usize::from(*second)].redo().expect("it can be redone")),
            Step::Anchors => made.push((*second, all_anchors(store))),
            Step::Meet => {
                replicas[0].merge(&replicas[1]).expect("an honest update");
                replicas[1].merge(&replicas[0]).expect("an honest update");
                prop_assert_eq!(replicas[0].digest(), replicas[1].digest());
            }
        }
        if matches!(step, Step::Undo | Step::Redo) {
            let here: BTreeSet<char> = before.notes.to_string().chars().collect();
            rewritten.extend(
                store.view().notes.to_string().chars().filter(|found| !here.contains(found)),
            );
        }
        for (by, made) in &made {
            for (index, store) in replicas.iter().enumerate() {
                check(
                    store,
                    made,
                    &rewritten,
                    index == usize::from(*by) || matches!(step, Step::Meet),
                )?;
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn anchors_keep_their_order_on_yrs(steps in prop::collection::vec(step(), 1..25)) {
        anchors_keep_their_order::<Yrs>(&steps)?;
    }

    #[test]
    fn anchors_keep_their_order_on_automerge(steps in prop::collection::vec(step(), 1..15)) {
        anchors_keep_their_order::<Automerge>(&steps)?;
    }
}
