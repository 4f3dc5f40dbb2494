//! Promise: a restore merges with concurrent changes, and a restored element is one element, with
//! the id that it had.

mod support;

use exostate::{
    Automerge, Backend, Counter, History, HistoryOptions, Store, Tree, UndoOptions, Yrs,
};
use proptest::prelude::*;
use support::{Card, Everything, Item, Op, strategy};

type Pair<B> = (Store<Everything, B>, History<Everything, B>);

fn pair<B: Backend>(id: u64) -> Pair<B> {
    let store = support::store::<B>(id);
    let history = store.history(HistoryOptions::new()).expect("it can be saved");
    (store, history)
}

fn exchange<B: Backend>(ours: &Store<Everything, B>, theirs: &Store<Everything, B>) {
    ours.merge(theirs).expect("it merges");
    theirs.merge(ours).expect("it merges");
    assert_eq!(ours.digest(), theirs.digest());
    assert_eq!(format!("{:?}", ours.view()), format!("{:?}", theirs.view()));
    support::check_view(ours);
    support::check_view(theirs);
}

fn some<B: Backend>(history: &History<Everything, B>, at: u16) -> exostate::RevisionId {
    let revisions = history.revisions();
    revisions[usize::from(at) % revisions.len()].id()
}

/// The concurrent actions of the other replica: changes, or a restore.
#[derive(Clone, Debug)]
enum Meanwhile {
    Changes(Vec<Op>),
    Restore(u16),
}

fn meanwhile() -> impl Strategy<Value = Meanwhile> {
    prop_oneof![
        3 => strategy::ops(6).prop_map(Meanwhile::Changes),
        2 => any::<u16>().prop_map(Meanwhile::Restore),
    ]
}

fn beside_others<B: Backend>(rounds: &[(Vec<Op>, u16, Meanwhile)]) {
    let (ours, history) = pair::<B>(1);
    let (theirs, other) = pair::<B>(2);
    for (ops, at, meanwhile) in rounds {
        ops.iter().for_each(|op| support::apply(&ours, op));
        exchange(&ours, &theirs);
        history.restore(some(&history, *at)).expect("any state can be written");
        support::check_view(&ours);
        match meanwhile {
            Meanwhile::Changes(ops) => ops.iter().for_each(|op| support::apply(&theirs, op)),
            Meanwhile::Restore(at) => {
                other.restore(some(&other, *at)).expect("any state can be written")
            }
        }
        exchange(&ours, &theirs);
        // The merged state can be left by a restore, and restored again.
        let here = history.latest();
        let there = some(&history, at.wrapping_mul(7));
        for id in [there, here] {
            history.restore(id).expect("any state can be written");
            let view = ours.view();
            let wanted = history.view_at(id).expect("it is there");
            assert_eq!(format!("{view:?}"), format!("{wanted:?}"));
            support::check_view(&ours);
        }
    }
}

fn rounds() -> impl Strategy<Value = Vec<(Vec<Op>, u16, Meanwhile)>> {
    prop::collection::vec((strategy::ops(8), any::<u16>(), meanwhile()), 1..4)
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn beside_others_on_yrs(rounds in rounds()) {
        beside_others::<Yrs>(&rounds);
    }

    #[test]
    fn beside_others_on_automerge(rounds in rounds()) {
        beside_others::<Automerge>(&rounds);
    }
}

fn card(text: &str) -> Card {
    Card {
        text: text.into(),
        done: false,
        body: "body".into(),
        labels: ["a".to_owned()].into_iter().collect(),
    }
}

/// Two replicas restore a removed element concurrently: it is one element. A field that only one of
/// them, or another replica, has changed keeps that change.
fn at_once<B: Backend>() {
    let (ours, history) = pair::<B>(1);
    let (theirs, other) = pair::<B>(2);
    let (first, second) = ours
        .change(|state| Ok((state.cards().push(card("one"))?, state.cards().push(card("two"))?)))
        .expect("a change");
    let node = ours
        .change(|state| state.outline().push(None, Item { label: "root".into() }))
        .expect("a change");
    let below = ours
        .change(|state| state.outline().push(Some(node), Item { label: "leaf".into() }))
        .expect("a change");
    exchange(&ours, &theirs);
    let then = history.latest();
    let there = other.latest();
    let wanted = ours.view();
    ours.change(|state| {
        state.cards().remove(first)?;
        state.outline().remove(node)
    })
    .expect("a change");
    // The other replica edits the elements that are being removed. Their registers remain in the
    // document.
    theirs
        .change(|state| {
            state.cards().get(first).text().set("edited")?;
            state.cards().get(first).done().set(true)
        })
        .expect("a change");
    exchange(&ours, &theirs);
    assert_eq!(ours.view().cards.len(), 1);
    history.restore(then).expect("it can be restored");
    other.restore(there).expect("it can be restored");
    exchange(&ours, &theirs);
    let view = ours.view();
    assert_eq!(view.cards.iter_ids().map(|(id, _)| id).collect::<Vec<_>>(), [first, second]);
    let found = view.cards.by_id(first).expect("it is back");
    let wanted_card = wanted.cards.by_id(first).expect("it was there");
    assert_eq!(
        (&found.text, found.done, &found.labels),
        (&wanted_card.text, false, &wanted_card.labels)
    );
    let nodes = |tree: &Tree<Item>| {
        tree.walk()
            .into_iter()
            .map(|(depth, id, item)| (depth, id, item.label.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(nodes(&view.outline), nodes(&wanted.outline));
    assert_eq!(
        nodes(&view.outline).iter().map(|(_, id, _)| *id).collect::<Vec<_>>(),
        [node, below]
    );
}

#[test]
fn two_restore_the_same_at_once() {
    at_once::<Yrs>();
    at_once::<Automerge>();
}

/// A restored counter is reduced by its increase since then. Concurrent additions of other replicas
/// are kept.
fn counters<B: Backend>() {
    let (ours, history) = pair::<B>(1);
    let (theirs, _) = pair::<B>(2);
    ours.change(|state| state.votes().add(5)).expect("a change");
    let then = history.latest();
    exchange(&ours, &theirs);
    theirs.change(|state| state.votes().add(10)).expect("a change");
    exchange(&ours, &theirs);
    history.restore(then).expect("it can be restored");
    assert_eq!(ours.view().votes, 5);
    theirs.change(|state| state.votes().add(100)).expect("a change");
    exchange(&ours, &theirs);
    assert_eq!(ours.view().votes, Counter::new(105));
    let undo = ours.undo_manager(UndoOptions::new());
    history.restore(then).expect("it can be restored");
    undo.undo().expect("it can be undone");
    assert_eq!(ours.view().votes, Counter::new(105));
}

#[test]
fn restoring_keeps_counts_of_others() {
    counters::<Yrs>();
    counters::<Automerge>();
}

/// Insertions and additions of a restore happen twice if two replicas restore concurrently, as with
/// any two edits.
fn twice<B: Backend>() {
    let (ours, history) = pair::<B>(1);
    let (theirs, other) = pair::<B>(2);
    ours.change(|state| state.notes().push_str("body").and_then(|()| state.votes().add(5)))
        .expect("a change");
    exchange(&ours, &theirs);
    let then = history.latest();
    let there = other.latest();
    ours.change(|state| state.notes().delete(0..4).and_then(|()| state.votes().add(-2)))
        .expect("a change");
    exchange(&ours, &theirs);
    history.restore(then).expect("it can be restored");
    other.restore(there).expect("it can be restored");
    exchange(&ours, &theirs);
    assert_eq!(
        (ours.view().notes.to_string().as_str(), ours.view().votes.value()),
        ("bodybody", 7)
    );
    history.restore(then).expect("it can be restored");
    exchange(&ours, &theirs);
    assert_eq!((ours.view().notes.to_string().as_str(), ours.view().votes.value()), ("body", 5));
}

#[test]
fn two_insertions_are_two() {
    twice::<Yrs>();
    twice::<Automerge>();
}
