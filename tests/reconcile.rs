//! Promise: `reconcile` turns the state into the given one, and writes nothing that is equal.

mod support;

use exostate::{Automerge, Backend, Yrs};
use proptest::prelude::*;
use support::{Op, strategy};

fn run<B: Backend>(from: &[Op], to: &[Op]) {
    let (store, other) = (support::store::<B>(1), support::store::<B>(2));
    from.iter().for_each(|op| support::apply(&store, op));
    to.iter().for_each(|op| support::apply(&other, op));
    let wanted = other.view();
    store.reconcile(&wanted).expect("any state can be written");
    assert_eq!(*store.view(), *wanted);
    assert_eq!(store.view().notes.runs(), wanted.notes.runs());
    support::check_view(&store);
    // A second time there is nothing to do.
    let version = store.version();
    store.reconcile(&store.view()).expect("the state itself can be written");
    assert_eq!(store.version(), version, "something equal was written");
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn on_yrs(from in strategy::ops(20), to in strategy::ops(20)) {
        run::<Yrs>(&from, &to);
    }

    #[test]
    fn on_automerge(from in strategy::ops(20), to in strategy::ops(20)) {
        run::<Automerge>(&from, &to);
    }
}

/// Text that reconciling puts behind a marked stretch must not take the mark on.
fn new_text_is_not_marked<B: Backend>() {
    let store = support::store::<B>(1);
    store.change(|state| state.notes().insert(0, "aa").and_then(|()| state.notes().mark(0..2, "bold", true))).expect("a change");
    let mut wanted = (*store.view()).clone();
    wanted.notes = exostate::Text::from("ab");
    store.reconcile(&wanted).expect("any state can be written");
    assert_eq!(store.view().notes.runs(), wanted.notes.runs());
    support::check_view(&store);
}

#[test]
fn text_is_not_marked_by_its_neighbours() {
    new_text_is_not_marked::<Yrs>();
    new_text_is_not_marked::<Automerge>();
}

#[test]
fn one_changed_field_is_one_op() {
    let store = support::store::<Yrs>(1);
    for kind in [22, 22, 27, 32, 9] {
        support::apply(&store, &Op { kind, a: 0, b: 1, text: "text".to_owned() });
    }
    let watched = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = watched.clone();
    let _watch = store.watch(<support::Everything as exostate::State>::path(), move |change| {
        sink.lock().expect("no panic").extend(change.touched().map(str::to_owned));
    });
    let mut new = (*store.view()).clone();
    new.cards.get_mut(1).expect("the second card").done = !new.cards[1].done;
    store.reconcile(&new).expect("it can be written");
    let id = store.view().cards.id_at(1).expect("the second card");
    assert_eq!(*watched.lock().expect("no panic"), [format!("cards/{id}/done")]);
}
