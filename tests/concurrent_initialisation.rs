//! Promise 1: two replicas that start with empty documents, both write to every field and then
//! merge, lose nothing. Containers keep the elements of both. A register that one replica wrote
//! keeps its value. A register that both wrote ends with one of the two values, the same on all
//! replicas.

mod support;

use exostate::{Automerge, Backend, Store, Yrs};
use proptest::prelude::*;
use support::{Everything, strategy};

/// One write of one replica.
#[derive(Clone, Debug)]
struct Writes {
    title: Option<String>,
    count: Option<i64>,
    notes: String,
    tags: Vec<String>,
    numbers: Vec<i64>,
    votes: i64,
    cards: Vec<String>,
    theme: Option<String>,
    flags: Vec<(u8, bool)>,
    items: Vec<String>,
}

fn writes() -> impl Strategy<Value = Writes> {
    let registers = (
        prop::option::of("[a-z]{1,3}"),
        prop::option::of(1..100i64),
        prop::option::of("[a-z]{1,3}"),
    );
    let sequences = (
        "[a-zä]{0,6}",
        prop::collection::vec(any::<i64>(), 0..4),
        prop::collection::vec("[a-z]{1,3}", 0..4),
    );
    let keyed = (
        prop::collection::vec("[a-c]", 0..4),
        prop::collection::vec((0..4u8, any::<bool>()), 0..4),
    );
    (registers, sequences, keyed, -9..9i64, prop::collection::vec("[a-z]{1,3}", 0..3)).prop_map(
        |((title, count, theme), (notes, numbers, cards), (tags, flags), votes, items)| Writes {
            title,
            count,
            notes,
            tags,
            numbers,
            votes,
            cards,
            theme,
            flags,
            items,
        },
    )
}

fn write<B: Backend>(store: &Store<Everything, B>, writes: &Writes) {
    store
        .change(|state| {
            if let Some(title) = &writes.title {
                state.title().set(title.as_str())?;
            }
            if let Some(count) = writes.count {
                state.count().set(count)?;
            }
            if let Some(theme) = &writes.theme {
                state.settings().theme().set(theme.as_str())?;
            }
            state.notes().push_str(&writes.notes)?;
            writes.tags.iter().try_for_each(|tag| state.tags().insert(tag.as_str()).map(drop))?;
            writes.numbers.iter().try_for_each(|number| state.numbers().push(*number))?;
            state.votes().add(writes.votes)?;
            writes.cards.iter().try_for_each(|name| state.names().push(name.clone()).map(drop))?;
            writes
                .flags
                .iter()
                .try_for_each(|(key, flag)| state.settings().flags().insert(*key, *flag))?;
            writes.items.iter().try_for_each(|label| {
                state.outline().push(None, support::Item { label: label.clone() }).map(drop)
            })
        })
        .expect("all of it can be written");
}

fn one_of<T: PartialEq + std::fmt::Debug>(
    found: &T,
    default: &T,
    ours: Option<&T>,
    theirs: Option<&T>,
) {
    let written: Vec<&T> = ours.into_iter().chain(theirs).collect();
    assert!(
        if written.is_empty() { found == default } else { written.contains(&found) },
        "{found:?} is none of {written:?}"
    );
}

fn holds_both(found: &str, ours: &str, theirs: &str) {
    assert!(
        found == format!("{ours}{theirs}") || found == format!("{theirs}{ours}"),
        "{found:?} is not {ours:?} and {theirs:?}"
    );
}

fn run<B: Backend>(ours: &Writes, theirs: &Writes) {
    let here = support::store::<B>(1);
    let there = support::store::<B>(2);
    write(&here, ours);
    write(&there, theirs);
    here.merge(&there).expect("an honest update");
    there.merge(&here).expect("an honest update");
    let view = here.view();
    assert_eq!(view, there.view());
    assert_eq!(here.digest(), there.digest());
    support::check_view(&here);

    one_of(&view.title, &String::new(), ours.title.as_ref(), theirs.title.as_ref());
    one_of(&view.count, &0, ours.count.as_ref(), theirs.count.as_ref());
    one_of(&view.settings.theme, &String::new(), ours.theme.as_ref(), theirs.theme.as_ref());
    holds_both(&view.notes.to_string(), &ours.notes, &theirs.notes);
    assert!(ours.tags.iter().chain(&theirs.tags).all(|tag| view.tags.contains(tag)));
    let numbers: Vec<i64> = view.numbers.iter().copied().collect();
    assert!(
        numbers == [&ours.numbers[..], &theirs.numbers].concat()
            || numbers == [&theirs.numbers[..], &ours.numbers].concat()
    );
    assert_eq!(view.votes.value(), ours.votes + theirs.votes);
    let mut names: Vec<&String> = view.names.iter().collect();
    let mut expected: Vec<&String> = ours.cards.iter().chain(&theirs.cards).collect();
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
    assert_eq!(view.outline.len(), ours.items.len() + theirs.items.len());
    assert!(
        ours.flags
            .iter()
            .chain(&theirs.flags)
            .all(|(key, _)| view.settings.flags.contains_key(key))
    );
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn on_yrs(ours in writes(), theirs in writes()) {
        run::<Yrs>(&ours, &theirs);
    }

    #[test]
    fn on_automerge(ours in writes(), theirs in writes()) {
        run::<Automerge>(&ours, &theirs);
    }
}
