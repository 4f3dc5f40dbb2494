//! Promise: elements that one replica inserts side by side stay together if other replicas insert
//! at the same place concurrently.

mod support;

use std::ops::Range;

use exostate::{Automerge, Backend, Edit, ElementId, MovableList, State, Store, Tree, Yrs};
use proptest::prelude::*;
use support::{Everything, Item, strategy};

type Replica<B> = Store<Everything, B>;
type Root<'a> = <Everything as State>::Node<Edit<'a>>;
type Done = Result<(), exostate::ChangeError>;

const COMMON: [&str; 4] = ["p", "q", "r", "s"];

/// A way to put "a", "b", "c" between "q" and "r".
type Way = fn(&Root<'_>, &[&str]) -> Done;

fn names(state: &Root<'_>) -> Vec<(ElementId, String)> {
    state
        .names()
        .value()
        .expect("the names")
        .iter_ids()
        .map(|(id, name)| (id, name.clone()))
        .collect()
}

fn forwards(state: &Root<'_>, run: &[&str]) -> Done {
    run.iter()
        .enumerate()
        .try_for_each(|(at, name)| state.names().insert(2 + at, (*name).to_owned()).map(drop))
}

fn backwards(state: &Root<'_>, run: &[&str]) -> Done {
    run.iter().rev().try_for_each(|name| state.names().insert(2, (*name).to_owned()).map(drop))
}

fn from_the_middle(state: &Root<'_>, run: &[&str]) -> Done {
    state.names().insert(2, run[1].to_owned())?;
    state.names().insert(2, run[0].to_owned())?;
    state.names().insert(4, run[2].to_owned()).map(drop)
}

fn the_middle_last(state: &Root<'_>, run: &[&str]) -> Done {
    state.names().insert(2, run[2].to_owned())?;
    state.names().insert(2, run[0].to_owned())?;
    state.names().insert(3, run[1].to_owned()).map(drop)
}

fn pushed_and_moved(state: &Root<'_>, run: &[&str]) -> Done {
    let ids: Vec<ElementId> =
        run.iter().map(|name| state.names().push((*name).to_owned())).collect::<Result<_, _>>()?;
    ids.iter().enumerate().try_for_each(|(at, id)| state.names().move_to(*id, 2 + at))
}

fn moved_from_the_last_on(state: &Root<'_>, run: &[&str]) -> Done {
    let ids: Vec<ElementId> = run
        .iter()
        .map(|name| state.names().insert(0, (*name).to_owned()))
        .collect::<Result<_, _>>()?;
    ids.iter().rev().try_for_each(|id| {
        let target =
            names(state).iter().position(|(_, name)| name == "q").expect("it is there") + 1;
        let from = names(state).iter().position(|(found, _)| found == id).expect("it is there");
        state.names().move_to(*id, if from < target { target - 1 } else { target })
    })
}

fn reconciled(state: &Root<'_>, run: &[&str]) -> Done {
    let mut wanted = state.names().value()?;
    run.iter().enumerate().for_each(|(at, name)| wanted.insert(2 + at, (*name).to_owned()));
    state.names().reconcile(&wanted)
}

fn after_a_removal(state: &Root<'_>, run: &[&str]) -> Done {
    let q = names(state)[1].0;
    state.names().insert(2, run[1].to_owned())?;
    state.names().remove(q)?;
    state.names().insert(1, run[0].to_owned())?;
    state.names().insert(3, run[2].to_owned()).map(drop)
}

const WAYS: [Way; 8] = [
    forwards,
    backwards,
    from_the_middle,
    the_middle_last,
    pushed_and_moved,
    moved_from_the_last_on,
    reconciled,
    after_a_removal,
];

fn begin<B: Backend>(id: u64) -> Replica<B> {
    let store = support::store::<B>(id);
    let write = |state: Root<'_>| {
        COMMON.iter().try_for_each(|name| state.names().push((*name).to_owned()).map(drop))
    };
    store.change(write).expect("it can be written");
    store
}

/// Exchanges all updates of these replicas.
fn meet<B: Backend>(replicas: &[Replica<B>]) {
    let [first, others @ ..] = replicas else { return };
    for other in others {
        first.merge(other).expect("an honest update");
    }
    for other in others {
        other.merge(first).expect("an honest update");
    }
    for other in others {
        assert_eq!((other.view(), other.digest()), (first.view(), first.digest()));
        support::check_view(other);
    }
}

fn together(found: &str, runs: [&str; 2]) {
    for run in runs {
        assert!(found.contains(run), "{run} does not stand together in {found}");
    }
}

fn any_two_ways<B: Backend>() {
    for ours in WAYS {
        for theirs in WAYS {
            let here = begin::<B>(1);
            let there = here.fork().expect("a fork");
            here.change(|state| ours(&state, &["a", "b", "c"])).expect("it can be written");
            there.change(|state| theirs(&state, &["x", "y", "z"])).expect("it can be written");
            meet(&[here.clone(), there]);
            together(
                &here.view().names.iter().map(String::as_str).collect::<String>(),
                ["abc", "xyz"],
            );
        }
    }
}

#[test]
fn two_runs_made_in_any_way_stay_together() {
    any_two_ways::<Yrs>();
    any_two_ways::<Automerge>();
}

/// One change after the other, at the ends and in the middle, on replicas that create their lists
/// or append to an existing one.
fn change_by_change<B: Backend>() {
    for (whole, place, back) in [
        (true, 0, false),
        (true, 0, true),
        (false, 4, false),
        (false, 0, true),
        (false, 2, false),
        (false, 2, true),
    ] {
        let here = if whole { support::store::<B>(1) } else { begin::<B>(1) };
        let there = here.fork().expect("a fork");
        for (store, run) in [(&here, ["a", "b", "c"]), (&there, ["x", "y", "z"])] {
            for (at, name) in (0..).zip(run) {
                let index = if back { place } else { place + at };
                store
                    .change(|state| state.names().insert(index, name.to_owned()))
                    .expect("it can be written");
            }
        }
        meet(&[here.clone(), there]);
        let runs = if back { ["cba", "zyx"] } else { ["abc", "xyz"] };
        together(&here.view().names.iter().map(String::as_str).collect::<String>(), runs);
    }
}

#[test]
fn one_change_after_the_other() {
    change_by_change::<Yrs>();
    change_by_change::<Automerge>();
}

/// Two whole lists, and two whole trees, written concurrently.
fn whole_values<B: Backend>() {
    let here = support::store::<B>(1);
    let there = support::store::<B>(2);
    for (store, run) in [(&here, ["a", "b", "c"]), (&there, ["x", "y", "z"])] {
        let change = store.change(|state| {
            state
                .names()
                .reconcile(&run.iter().map(ToString::to_string).collect::<MovableList<String>>())?;
            let mut tree = Tree::new();
            let top = tree.push(None, Item { label: run[0].to_owned() });
            for label in &run[1..] {
                tree.push(Some(top), Item { label: (*label).to_owned() });
            }
            tree.push(None, Item { label: run[0].to_owned() });
            state.outline().reconcile(&tree)
        });
        change.expect("it can be written");
    }
    meet(&[here.clone(), there]);
    together(&here.view().names.iter().map(String::as_str).collect::<String>(), ["abc", "xyz"]);
    together(&labels(&here), ["abca", "xyzx"]);
}

fn labels<B: Backend>(store: &Replica<B>) -> String {
    store.view().outline.walk().into_iter().map(|(_, _, item)| item.label.clone()).collect()
}

#[test]
fn two_whole_values() {
    whole_values::<Yrs>();
    whole_values::<Automerge>();
}

fn siblings<B: Backend>() {
    for back in [false, true] {
        for moved in [false, true] {
            let here = support::store::<B>(1);
            let parent = here
                .change(|state| state.outline().push(None, Item { label: ".".to_owned() }))
                .expect("it can be written");
            let there = here.fork().expect("a fork");
            for (store, run) in [(&here, ["a", "b", "c"]), (&there, ["x", "y", "z"])] {
                for (at, label) in run.into_iter().enumerate() {
                    let item = Item { label: label.to_owned() };
                    let index = if back { 0 } else { at };
                    let change = store.change(|state| {
                        if !moved {
                            return state.outline().insert(Some(parent), index, item).map(drop);
                        }
                        let id = state.outline().push(None, item)?;
                        state.outline().move_to(id, Some(parent), index)
                    });
                    change.expect("it can be written");
                }
            }
            meet(&[here.clone(), there]);
            together(&labels(&here), if back { ["cba", "zyx"] } else { ["abc", "xyz"] });
        }
    }
}

#[test]
fn siblings_of_a_tree() {
    siblings::<Yrs>();
    siblings::<Automerge>();
}

/// A sequence of the backend: a text and a list, typed forwards or backwards.
fn sequences<B: Backend>(back: bool) -> (String, Vec<i64>) {
    let here = support::store::<B>(1);
    here.change(|state| state.notes().push_str("<>")).expect("it can be written");
    here.change(|state| state.numbers().extend([0, 9])).expect("it can be written");
    let there = here.fork().expect("a fork");
    for (store, run) in [(&here, ["a", "b", "c"]), (&there, ["x", "y", "z"])] {
        for (at, text) in run.into_iter().enumerate() {
            let index = if back { 1 } else { 1 + at };
            store.change(|state| state.notes().insert(index, text)).expect("it can be written");
            store
                .change(|state| state.numbers().insert(index, i64::from(text.as_bytes()[0])))
                .expect("it can be written");
        }
    }
    meet(&[here.clone(), there]);
    let view = here.view();
    (view.notes.to_string(), view.numbers.iter().copied().collect())
}

/// The backends' own sequences keep elements together that are typed forwards. yrs does this for
/// elements that are typed backwards too. automerge orders those by op number, so that they are
/// interleaved.
#[test]
fn texts_and_lists_as_the_backends_order_them() {
    let spelt = |numbers: &[i64]| {
        numbers.iter().map(|number| char::from(*number as u8)).collect::<String>()
    };
    for (text, list) in [sequences::<Yrs>(false), sequences::<Automerge>(false)] {
        together(&text, ["abc", "xyz"]);
        together(&spelt(&list), ["abc", "xyz"]);
    }
    let (text, list) = sequences::<Yrs>(true);
    together(&text, ["cba", "zyx"]);
    together(&spelt(&list), ["cba", "zyx"]);
    let (text, _) = sequences::<Automerge>(true);
    assert!(text == "<czbyax>" || text == "<zcybxa>", "{text}");
}

/// One turn of a replica before it meets the others again: it inserts a run at some place, each
/// element beside another element of the run.
#[derive(Clone, Debug)]
struct Turn {
    place: usize,
    sides: Vec<u8>,
    moves: Option<usize>,
    removes: Option<usize>,
}

fn turn() -> impl Strategy<Value = Turn> {
    (
        0..20usize,
        prop::collection::vec(0..5u8, 1..5),
        prop::option::of(0..20usize),
        prop::option::of(0..20usize),
    )
        .prop_map(|(place, sides, moves, removes)| Turn { place, sides, moves, removes })
}

/// Inserts a run named "<replica>.<round>" and returns the ids of its elements.
fn take_turn<B: Backend>(store: &Replica<B>, turn: &Turn, name: &str) -> Vec<ElementId> {
    let len = store.view().names.len();
    if let Some(id) = turn.removes.and_then(|at| store.view().names.id_at(at % len.max(1))) {
        store.change(|state| state.names().remove(id)).expect("it can be removed");
    }
    let len = store.view().names.len();
    let mut span: Range<usize> = turn.place % (len + 1)..turn.place % (len + 1);
    let mut run = Vec::new();
    if let Some(id) = turn.moves.and_then(|at| store.view().names.id_at(at % len.max(1))) {
        // The first element of the run is moved to its place, unless it is there already.
        let to = turn.place % len;
        if store.view().names.index_of(id) != Some(to) {
            store.change(|state| state.names().move_to(id, to)).expect("it can be moved");
            (span, run) = (to..to + 1, vec![id]);
        }
    }
    for side in &turn.sides {
        let index = match side {
            0 | 1 => span.end,
            2 | 3 => span.start,
            _ => span.start + span.len() / 2,
        };
        run.push(
            store
                .change(|state| state.names().insert(index, name.to_owned()))
                .expect("it can be inserted"),
        );
        span.end += 1;
    }
    run
}

fn no_run_is_scattered<B: Backend>(rounds: &[Vec<Turn>]) -> Result<(), TestCaseError> {
    let first = begin::<B>(1);
    let replicas: Vec<Replica<B>> = [None, Some(()), Some(())]
        .map(|fork| fork.map_or(first.clone(), |()| first.fork().expect("a fork")))
        .into();
    for (number, round) in rounds.iter().enumerate() {
        let turns = replicas.iter().zip(round).enumerate();
        let runs: Vec<Vec<ElementId>> = turns
            .map(|(index, (store, turn))| take_turn(store, turn, &format!("{index}.{number}")))
            .collect();
        meet(&replicas);
        let view = first.view();
        // An element that several replicas have moved is at the place that one of them chose. It is
        // missing from the runs of the others.
        let moved = |id: &ElementId| runs.iter().filter(|run| run.contains(id)).count() > 1;
        for run in &runs {
            let mut places: Vec<usize> = run
                .iter()
                .filter(|id| !moved(id))
                .filter_map(|id| view.names.index_of(*id))
                .collect();
            places.sort_unstable();
            let (Some(start), Some(end)) = (places.first(), places.last()) else { continue };
            let within = (*start..=*end).filter_map(|index| view.names.id_at(index));
            let strangers: Vec<ElementId> = within.filter(|id| !run.contains(id)).collect();
            prop_assert!(strangers.is_empty(), "{:?} is scattered in {:?}", run, view.names);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: strategy::config().cases / 4,
        ..strategy::config()
    })]

    #[test]
    fn runs_at_random_places_on_yrs(
        rounds in prop::collection::vec(prop::collection::vec(turn(), 3), 1..4),
    ) {
        no_run_is_scattered::<Yrs>(&rounds)?;
    }

    #[test]
    fn runs_at_random_places_on_automerge(
        rounds in prop::collection::vec(prop::collection::vec(turn(), 3), 1..3),
    ) {
        no_run_is_scattered::<Automerge>(&rounds)?;
    }
}
