//! Two replicas with the same id have equal versions and different contents. `Document::repair`
//! makes them equal again, and keeps every value that either of them shows.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::one_update::OneUpdate;

use exostate::{
    Automerge, Backend, Conflict, Origin, Pending, State, Store, UndoOptions, Value, Yrs,
};
use proptest::prelude::*;
use support::{Everything, Op, Person, strategy};

/// The updates that a replica with an empty document is sent.
fn all<S: State, B: Backend>(store: &Store<S, B>) -> Vec<Vec<u8>> {
    store.updates_since(&Store::<S, B>::new().version()).expect("its own backend")
}

fn repair<S: State, B: Backend>(store: &Store<S, B>, from: &Store<S, B>) -> Vec<Conflict> {
    from.document().verify().expect("its own bytes can be read");
    let mut repair = store.document().repair();
    for update in all(from) {
        repair.apply(&update).expect("an honest update");
    }
    repair.finish().expect("it can be repaired")
}

fn is_within<T: PartialEq>(part: &[T], whole: &[T]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|wanted| rest.any(|found| found == wanted))
}

fn keeps(new: &Everything, old: &Everything) {
    let chars = |text: &exostate::Text| text.to_string().chars().collect::<Vec<char>>();
    assert!(
        is_within(&chars(&old.notes), &chars(&new.notes)),
        "{:?} is not within {:?}",
        old.notes,
        new.notes
    );
    let numbers = |state: &Everything| state.numbers.iter().copied().collect::<Vec<i64>>();
    assert!(
        is_within(&numbers(old), &numbers(new)),
        "{:?} is not within {:?}",
        old.numbers,
        new.numbers
    );
    assert!(old.people.keys().all(|key| new.people.contains_key(key)));
    assert!(old.scores.keys().all(|key| new.scores.contains_key(key)));
    assert!(old.tags.iter().all(|tag| new.tags.contains(tag)));
    assert!(old.cards.iter_ids().all(|(id, _)| new.cards.by_id(id).is_some()));
}

fn run<B: Backend>(common: &[Op], ours: &[Op], theirs: &[Op], later: &[Op]) {
    let origin = support::store::<B>(1);
    common.iter().for_each(|op| support::apply(&origin, op));
    // Both continue with id 7, as after a restored backup or a copied file.
    let [left, right] = [(); 2].map(|()| {
        let store = support::store::<B>(7);
        store.merge(&origin).expect("an honest update");
        store
    });
    ours.iter().for_each(|op| support::apply(&left, op));
    theirs.iter().for_each(|op| support::apply(&right, op));
    // Merging cannot repair them; on automerge it is refused.
    let _ = (left.merge(&right), right.merge(&left));
    let before = [left.view(), right.view()];
    let was = left.replica();
    let conflicts = repair(&left, &right);
    before.iter().for_each(|view| keeps(&left.view(), view));
    assert_ne!(left.replica(), was);
    assert!(left.is_own(was) && left.is_own(left.replica()));
    right.merge(&left).expect("what the repair put back fits");
    assert_eq!(*left.view(), *right.view());
    assert_eq!(left.digest(), right.digest());
    assert_eq!(left.version(), right.version());
    support::check_view(&left);
    if ours.is_empty() && theirs.is_empty() {
        assert!(conflicts.is_empty(), "{conflicts:?}");
    }
    // After the repair, the replica continues as usual.
    later.iter().for_each(|op| support::apply(&left, op));
    right.merge(&left).expect("an honest update");
    assert_eq!(*left.view(), *right.view());
    let opened = Store::<Everything, B>::open(&left.save()).expect("what was saved");
    assert_eq!(*opened.view(), *left.view());
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn on_yrs(
        common in strategy::ops(6),
        ours in strategy::ops(8),
        theirs in strategy::ops(8),
        later in strategy::ops(4),
    ) {
        run::<Yrs>(&common, &ours, &theirs, &later);
    }

    #[test]
    fn on_automerge(
        common in strategy::ops(6),
        ours in strategy::ops(8),
        theirs in strategy::ops(8),
        later in strategy::ops(4),
    ) {
        run::<Automerge>(&common, &ours, &theirs, &later);
    }
}

#[derive(State, Clone, Debug, PartialEq)]
struct Page {
    title: String,
    author: String,
    text: exostate::Text,
}

fn pages<B: Backend>() -> [Store<Page, B>; 2] {
    ["left", "right"].map(|name| {
        let store = Store::<Page, B>::with_options(
            exostate::Options::new().with_replica(exostate::ReplicaId::from_bits(9)),
        );
        let written = store.change(|page| {
            page.title().set(name)?;
            page.text().push_str(name)
        });
        written.expect("it can be written");
        store
    })
}

fn conflicts_are_reported<B: Backend>() {
    let [left, right] = pages::<B>();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    let _listening = left.on_update(move |update| {
        listener.lock().expect("no panic").push((update.origin, update.bytes.to_vec()))
    });
    let conflicts = repair(&left, &right);
    let text = |text: &str| Value::str(text);
    assert_eq!(
        conflicts,
        [
            Conflict::Register { path: "title".into(), kept: text("left"), lost: text("right") },
            Conflict::Text { path: "text".into(), ours: "left".into(), theirs: "right".into() },
        ]
    );
    assert_eq!(left.view().title, "left");
    let heard = heard.lock().expect("no panic");
    assert!(matches!(
        &heard[..],
        [(Origin::Repair, bytes)] if right.apply(bytes) == Ok(exostate::Applied::Changed)
    ));
    assert_eq!(left.view(), right.view());
}

#[test]
fn conflicts_are_reported_and_the_repair_is_sent() {
    conflicts_are_reported::<Yrs>();
    conflicts_are_reported::<Automerge>();
}

#[test]
fn a_repair_inside_a_change_is_refused_and_an_unfinished_one_changes_nothing() {
    let [left, right] = pages::<Yrs>();
    let before = (left.view(), left.digest());
    let mut unfinished = left.document().repair();
    unfinished.apply(&all(&right)[0]).expect("an honest update");
    assert!(unfinished.apply(b"nonsense").is_err());
    drop(unfinished);
    let nested = left.change(|_| {
        assert!(matches!(left.document().repair().finish(), Err(exostate::ApplyError::Nested)));
        Ok(())
    });
    assert_eq!(nested.map_err(|error| error.to_string()), Ok(()));
    assert_eq!((left.view(), left.digest()), before);
}

#[test]
fn later_updates_of_a_third_replica_are_not_doubled() {
    // A third replica typed text that only the left one has received. The right one receives it
    // from the third later.
    let [left, right] = pages::<Yrs>();
    let third = Store::<Page>::new();
    third.change(|page| page.text().push_str(" third ")).expect("it can be written");
    left.merge(&third).expect("an honest update");
    repair(&left, &right);
    right.merge(&left).expect("an honest update");
    right.merge(&third).expect("an honest update");
    assert_eq!(left.view(), right.view());
    assert_eq!(
        right.view().text.to_string().matches("third").count(),
        1,
        "{:?}",
        right.view().text
    );
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Poll {
    title: String,
    votes: exostate::Counter,
    mine: String,
}

/// A third replica continues while two replicas with one id differ. The replica that gives way has
/// received only the third one's first change.
fn later_wins<B: Backend>() {
    let third = Store::<Poll, B>::new();
    let vote = |title: &str| {
        third.change(|poll| {
            poll.title().set(title)?;
            poll.votes().add(1)
        })
    };
    vote("first").expect("it can be written");
    let [left, right] = [("left", "ours"), ("right", "theirs")].map(|(mine, title)| {
        let store = Store::<Poll, B>::with_options(
            exostate::Options::new().with_replica(exostate::ReplicaId::from_bits(7)),
        );
        store.merge(&third).expect("an honest update");
        store.change(|poll| poll.mine().set(mine)).expect("it can be written");
        if title == "ours" {
            store.change(|poll| poll.votes().add(10)).expect("it can be written");
        }
        store
    });
    vote("second").expect("it can be written");
    right.merge(&third).expect("an honest update");
    let conflicts = repair(&left, &right);
    assert_eq!(
        (left.view().title.as_str(), left.view().votes.value()),
        ("second", 12),
        "{conflicts:?}"
    );
    // Two values that were written with one op id are conflicting values as usual.
    assert_eq!(left.view().mine, "left");
    assert!(
        matches!(&conflicts[..], [Conflict::Register { path, .. }] if path == "mine"),
        "{conflicts:?}"
    );
    right.merge(&left).expect("an honest update");
    assert_eq!(left.view(), right.view());
}

#[test]
fn later_writes_of_a_third_replica_are_kept() {
    later_wins::<Yrs>();
    later_wins::<Automerge>();
}

fn op(kind: u8, a: u16, b: u16, text: &str) -> Op {
    Op { kind, a, b, text: text.to_owned() }
}

/// On yrs, text that one replica typed into one text can end up in another text on a replica with
/// the same id. The version of that replica does not show it.
#[test]
fn text_ends_up_in_another_text() {
    let ours =
        [op(9, 0, 0, "aaaa"), op(22, 0, 17630, "a"), op(13, 15, 457, ""), op(9, 0, 0, "x/y~@")];
    let theirs = [op(22, 0, 0, ""), op(0, 0, 0, ""), op(22, 0, 0, "")];
    run::<Yrs>(&[], &ours, &theirs, &[]);
}

/// The rest of a text ends up in a list, where it could be read in two ways.
#[test]
fn text_ends_up_in_a_list() {
    let theirs = [op(32, 0, 0, ""), op(37, 1663, 1, "a"), op(17, 0, 0, "")];
    run::<Yrs>(&[], &[op(22, 0, 0, "")], &theirs, &[op(9, 0, 0, "ä€😀")]);
}

/// Text was typed between two ops. One of them is a register on this replica.
#[test]
fn text_typed_between_a_text_and_a_register() {
    let ours = [op(9, 0, 0, "ä€😀"), op(13, 4, 836, ""), op(27, 0, 1, "a"), op(9, 32, 0, "aaa")];
    run::<Yrs>(&[], &ours, &[op(27, 0, 0, "a"), op(32, 0, 0, "a"), op(9, 0, 0, "x/y~@")], &[]);
}

/// Text was typed between two marks that are in the opposite order on this replica. Its place
/// depends on the order in which the updates arrive.
#[test]
fn text_typed_between_marks_that_are_swapped() {
    let ours = [op(22, 0, 0, ""), op(9, 53617, 0, "a"), op(9, 25859, 0, "aaa")];
    run::<Yrs>(&[op(9, 0, 0, "x/y~@")], &ours, &[op(13, 1632, 1, ""), op(22, 0, 0, "")], &[]);
}

/// On yrs a later write of one register ends up in another one: the marker that a record exists.
#[test]
fn a_value_overwrites_a_record_marker() {
    let theirs = [op(6, 7432, 0, ""), op(22, 0, 0, ""), op(6, 7011, 0, "")];
    run::<Yrs>(&[], &[op(22, 0, 0, "")], &theirs, &[]);
}

/// A pending update whose dependency is in `dependency`. It contradicts `other`, because its
/// replica id was used twice.
struct Contradiction<B: Backend> {
    pending: Vec<u8>,
    dependency: Store<Everything, B>,
    other: Store<Everything, B>,
}

fn contradiction<B: Backend>() -> Contradiction<B> {
    let [dependency, one, other] = [5, 4, 4].map(|id| support::store::<B>(id));
    dependency
        .change(|state| {
            state.notes().push_str("one two")?;
            state.numbers().push(1)?;
            state.title().set("dependency")
        })
        .expect("it can be written");
    one.merge(&dependency).expect("an honest update");
    let before = one.version();
    one.change(|state| {
        state.tags().insert("waited")?;
        let body = exostate::Text::from("body");
        let labels = exostate::Set::new();
        state.cards().push(support::Card {
            text: "waited".to_owned(),
            done: true,
            body,
            labels,
        })?;
        state.notes().insert(3, " and a half")?;
        state.numbers().push(2)?;
        state.owner().set(exostate::Uuid::from_u128(7))?;
        state.title().set("waited")
    })
    .expect("it can be written");
    other.change(|state| state.tags().insert("other").map(drop)).expect("it can be written");
    Contradiction {
        pending: one.update_since(&before).expect("its own backend"),
        dependency,
        other,
    }
}

fn assert_pending_is_applied<B: Backend>(store: &Store<Everything, B>, title: &str) {
    let view = store.view();
    assert_eq!(store.pending(), Pending::default());
    assert!(view.tags.contains("waited") && view.tags.contains("other"));
    assert_eq!(
        view.cards
            .iter()
            .map(|card| (card.text.as_str(), card.body.to_string()))
            .collect::<Vec<_>>(),
        [("waited", "body".to_owned())]
    );
    assert_eq!(view.notes.to_string(), "one and a half two, later");
    assert_eq!(view.numbers.iter().copied().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(view.owner, Some(exostate::Uuid::from_u128(7)));
    assert_eq!(view.title, title);
    support::check_view(store);
}

/// A pending update that can no longer be applied because an op contradicts it is not lost: its
/// values are written again.
#[test]
fn contradicted_pending_update_is_rewritten() {
    let Contradiction { pending, dependency, other } = contradiction::<Automerge>();
    let store = support::store::<Automerge>(6);
    let updates = store.local_updates();
    store.apply(&pending).expect("it waits");
    store.merge(&other).expect("an honest update");
    assert_eq!(store.pending().updates, 1);
    dependency.change(|state| state.notes().push_str(", later")).expect("it can be written");
    dependency.change(|state| state.title().set("later")).expect("it can be written");
    store.merge(&dependency).expect("an honest update");
    assert_pending_is_applied(&store, "later");
    // Other replicas receive it like any change.
    dependency.merge(&other).expect("an honest update");
    std::iter::from_fn(|| updates.try_next())
        .for_each(|update| assert!(dependency.apply(&update).is_ok()));
    assert_eq!(dependency.digest(), store.digest());
}

/// The same holds if the dependency comes with the document that is taken over by a repair.
#[test]
fn contradicted_pending_update_is_rewritten_by_a_repair() {
    let Contradiction { pending, dependency, other } = contradiction::<Automerge>();
    let store = support::store::<Automerge>(6);
    store.apply(&pending).expect("it waits");
    dependency.merge(&other).expect("an honest update");
    dependency.change(|state| state.notes().push_str(", later")).expect("it can be written");
    repair(&store, &dependency);
    assert_pending_is_applied(&store, "waited");
    dependency.merge(&store).expect("an honest update");
    assert_eq!(dependency.digest(), store.digest());
}

/// The missing update no longer exists on any replica. Then registers of a pending update from the
/// store's own storage are written again, once.
#[test]
fn stored_pending_update_without_its_dependency_is_rewritten_once() {
    let Contradiction { pending, other, .. } = contradiction::<Automerge>();
    let store = support::store::<Automerge>(6);
    store.merge(&other).expect("an honest update");
    store.change(|state| state.title().set("ours")).expect("it can be written");
    store.apply_trusted(&pending).expect("it waits");
    store.document().rewrite_pending();
    let view = store.view();
    assert!(view.tags.contains("waited") && view.tags.contains("other"));
    assert_eq!(view.cards.iter().map(|card| card.text.as_str()).collect::<Vec<_>>(), ["waited"]);
    assert_eq!((view.title.as_str(), view.owner), ("ours", Some(exostate::Uuid::from_u128(7))));
    support::check_view(&store);
    store.change(|state| state.tags().remove("waited").map(drop)).expect("it can be written");
    store.document().rewrite_pending();
    assert!(!store.view().tags.contains("waited"), "what was removed since comes back");
    assert_eq!(store.document().own_pending().updates, 1, "the missing update may still come");
    // They do not come back on a replica that was opened again from its saved data either, or on
    // another replica with the same data.
    let again = support::store::<Automerge>(7);
    again.apply_trusted(&store.save()).expect("its own document");
    store
        .document()
        .own_pending_updates()
        .iter()
        .for_each(|update| assert!(again.apply_trusted(update).is_ok()));
    again.document().rewrite_pending();
    assert_eq!(
        (again.view().tags.contains("waited"), again.document().own_pending().updates),
        (false, 1)
    );
}

/// Whether the person that one replica created contains the value that another replica wrote.
fn has_value_of_other_replica<B: Backend>(store: &Store<Everything, B>) -> bool {
    store.view().people.get("ada").is_some_and(|person| person.age == 36)
}

/// Undoing a replica's own insertion keeps the values that other replicas wrote in it, also if this
/// replica wrote these values again.
#[test]
fn undoing_a_record_keeps_rewritten_values_of_others() {
    let store = support::store::<Automerge>(6);
    let undo = store.undo_manager(UndoOptions::new());
    store
        .change(|state| state.people().insert("ada", Person::initial()))
        .expect("it can be written");
    let [dependency, one, other] = [5, 4, 4].map(support::store::<Automerge>);
    dependency.merge(&store).expect("an honest update");
    other.merge(&store).expect("an honest update");
    dependency.change(|state| state.title().set("dependency")).expect("it can be written");
    one.merge(&dependency).expect("an honest update");
    other.change(|state| state.tags().insert("other").map(drop)).expect("it can be written");
    one.change(|state| state.people().get("ada").age().set(36)).expect("it can be written");
    store
        .apply_all(&one.updates_since(&dependency.version()).expect("its own backend"))
        .expect("it waits");
    store.merge(&other).expect("an honest update");
    assert!(store.pending().updates == 1 && !has_value_of_other_replica(&store));
    store.merge(&dependency).expect("an honest update");
    assert!(store.pending().updates == 0 && has_value_of_other_replica(&store));
    undo.undo().expect("it can be written");
    assert!(has_value_of_other_replica(&store), "their work went with ours");
}

fn undo_after_a_repair<B: Backend>() {
    let origin = support::store::<B>(1);
    let undo = origin.undo_manager(UndoOptions::new().with_window(Duration::ZERO));
    origin.change(|state| state.notes().push_str("mine")).expect("it can be written");
    origin
        .change(|state| state.people().insert("ada", Person::initial()))
        .expect("it can be written");
    origin
        .change(|state| state.people().insert("bob", Person::initial()))
        .expect("it can be written");
    // Another store was opened with the same id, and both have made changes.
    let theirs = support::store::<B>(1);
    theirs.merge(&origin).expect("an honest update");
    theirs.change(|state| state.people().get("ada").age().set(36)).expect("it can be written");
    theirs.change(|state| state.notes().push_str(", and theirs")).expect("it can be written");
    origin.change(|state| state.flag().set(true)).expect("it can be written");
    origin.change(|state| state.title().set("ours")).expect("it can be written");
    repair(&origin, &theirs);
    assert!(
        has_value_of_other_replica(&origin) && origin.view().title == "ours" && origin.view().flag
    );
    while undo.undo().expect("it can be written").is_some() {}
    let view = origin.view();
    assert!(has_value_of_other_replica(&origin), "their work went with ours on {}", B::NAME);
    assert_eq!(view.notes.to_string(), ", and theirs");
    assert!(
        view.title.is_empty() && !view.flag && !view.people.contains_key("bob"),
        "what is ours can be undone: {view:?}"
    );
    theirs.merge(&origin).expect("what the repair put back fits");
    assert_eq!(theirs.view(), view);
}

#[test]
fn undo_after_a_repair_keeps_values_of_others() {
    undo_after_a_repair::<Yrs>();
    undo_after_a_repair::<Automerge>();
}
