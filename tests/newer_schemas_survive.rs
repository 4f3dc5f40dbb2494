//! Promise 4: a replica with an older struct keeps the fields that it does not know, and passes
//! them on.

mod support;

use exostate::{Automerge, Backend, Map, MovableList, State, Store, Yrs};
use proptest::prelude::*;
use support::{Everything, Op, strategy};

/// [`Everything`] as it was in an older version.
#[derive(State, Clone, Debug, PartialEq)]
struct Old {
    title: String,
    cards: MovableList<OldCard>,
    people: Map<String, OldPerson>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct OldCard {
    text: String,
}

#[derive(State, Clone, Debug, PartialEq)]
struct OldPerson {
    age: u32,
}

fn run<B: Backend>(ops: &[Op], title: &str) {
    let new = support::store::<B>(1);
    ops.iter().for_each(|op| support::apply(&new, op));
    let old = Store::<Old, B>::open(&new.save()).expect("an older struct opens newer documents");
    assert_eq!(old.digest(), new.digest(), "the digest covers what the older struct does not know");

    // The older replica edits the fields that it knows.
    old.change(|state| {
        state.title().set(title)?;
        for key in old.view().people.keys() {
            state.people().get(key.as_str()).age().set(77u32)?;
        }
        Ok(())
    })
    .expect("it can be written");
    let expected = new
        .change(|state| {
            state.title().set(title)?;
            for key in new.view().people.keys() {
                state.people().get(key.as_str()).age().set(77u32)?;
            }
            Ok(())
        })
        .map(|()| new.view())
        .expect("it can be written");

    // A replica that gets the document from the older one has all fields of the newer one.
    let passed_on = Store::<Everything, B>::open(&old.save()).expect("it opens");
    assert_eq!(*passed_on.view(), *expected);

    // A removal by the older replica also removes the fields that it does not know.
    old.change(|state| {
        old.view().people.keys().try_for_each(|key| state.people().remove(key.as_str()).map(drop))
    })
    .expect("it can be removed");
    old.change(|state| {
        old.view().cards.iter_ids().try_for_each(|(id, _)| state.cards().remove(id).map(drop))
    })
    .expect("it can be removed");
    let emptied = Store::<Everything, B>::open(&old.save()).expect("it opens");
    assert!(emptied.view().people.is_empty() && emptied.view().cards.is_empty());
    let again = support::Op { kind: 27, a: 0, b: 3, text: String::new() };
    support::apply(&emptied, &again);
    assert_eq!(
        emptied.view().people.get("a").map(|person| person.bio.to_string()).as_deref(),
        Some("hello"),
        "nothing resurfaces"
    );
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn on_yrs(ops in strategy::ops(24), title in "[a-z]{1,4}") {
        run::<Yrs>(&ops, &title);
    }

    #[test]
    fn on_automerge(ops in strategy::ops(24), title in "[a-z]{1,4}") {
        run::<Automerge>(&ops, &title);
    }
}
