//! Promise: small edits of large values stay small wherever two values are compared: reconciling,
//! restoring, undoing.

use std::time::Duration;

use exostate::{
    Automerge, Backend, HistoryOptions, List, MovableList, State, Store, Text, UndoOptions, Yrs,
};
use proptest::prelude::*;
use proptest::sample::Index;

#[derive(State, Clone, Debug, PartialEq)]
struct Large {
    text: Text,
    list: List<i64>,
    cards: MovableList<i64>,
}

/// Text with almost no repetition.
fn prose(len: usize) -> String {
    let letter = |at: usize| {
        char::from(b'a' + (at.wrapping_mul(at).wrapping_mul(2_654_435_761) >> 13) as u8 % 26)
    };
    (0..len).map(letter).collect()
}

fn two<B: Backend>(text: &str, list: impl Iterator<Item = i64>) -> [Store<Large, B>; 2] {
    let ours = Store::<Large, B>::new();
    ours.change(|state| {
        state.text().push_str(text)?;
        state.list().extend(list)
    })
    .expect("it can be written");
    let theirs = ours.fork().expect("it opens");
    [ours, theirs]
}

fn meet<B: Backend>([a, b]: &[Store<Large, B>; 2]) {
    a.merge(b).expect("it merges");
    b.merge(a).expect("it merges");
    assert_eq!(a.digest(), b.digest());
}

/// Each replica changes one letter near one end and reconciles with a whole new value.
fn forks_reconcile<B: Backend>() {
    for len in [6_000, 40_000] {
        let stores = two::<B>(&prose(len), 0..len as i64);
        for store in &stores {
            let mut wanted = Large::clone(&store.view());
            for at in [10, len - 10] {
                wanted.text.splice(at..at, "#");
            }
            wanted.list = wanted
                .list
                .iter()
                .copied()
                .enumerate()
                .flat_map(
                    |(at, item)| {
                        if at == 10 || at == len - 10 { vec![-1, item] } else { vec![item] }
                    },
                )
                .collect();
            store.reconcile(&wanted).expect("it can be written");
        }
        meet(&stores);
        let view = stores[0].view();
        assert_eq!((view.text.len(), view.list.len()), (len + 4, len + 4), "on {}", B::NAME);
        assert_eq!(view.text.slice(0..14), format!("{}##{}", &prose(10), &prose(len)[10..12]));
    }
}

#[test]
fn two_forks_reconcile_small_edits_at_both_ends() {
    forks_reconcile::<Yrs>();
    forks_reconcile::<Automerge>();
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(8)
    })]

    /// Two replicas make small edits in a large value. All are kept, as if they were typed.
    #[test]
    fn small_edits_of_large_values_merge(
        edits in prop::collection::vec((any::<bool>(), any::<Index>(), 0usize..3), 1..60),
        len in 10_000usize..30_000,
    ) {
        let stores = two::<Yrs>(&prose(len), 0..len as i64);
        // Each edit has its own stretch of the text, so that the merged result is known.
        let stretch = len / 60;
        let mut wanted = stores.each_ref().map(|store| {
            let view = store.view();
            (view.text.to_string(), view.list.iter().copied().collect::<Vec<i64>>())
        });
        let mut both = wanted[0].clone();
        for (number, (own, at, delete)) in edits.iter().enumerate().rev() {
            let at = number * stretch + at.index(stretch - 10);
            let mine = &mut wanted[usize::from(*own)];
            let mark = format!("<{number}>");
            for (text, list) in [mine, &mut both] {
                text.replace_range(at..at + delete, &mark);
                list.splice(at..at + delete, [-1 - number as i64]);
            }
        }
        for (store, (text, list)) in stores.iter().zip(wanted) {
            let new = Large {
                text: Text::from(text),
                list: list.into_iter().collect(),
                ..Large::clone(&store.view())
            };
            store.reconcile(&new).expect("it can be written");
        }
        meet(&stores);
        let view = stores[0].view();
        prop_assert_eq!(view.text.to_string(), both.0);
        prop_assert_eq!(view.list.iter().copied().collect::<Vec<_>>(), both.1);
    }
}

/// Other replicas type at both ends of a large text. An undo removes the inserted text, puts
/// deleted text back at its old place, and moves nothing else.
fn undo_beside_edits_of_others<B: Backend>(restart: bool) {
    let len = 12_000;
    let options = || UndoOptions::new().with_window(Duration::ZERO);
    let stores = two::<B>(&prose(len), 0..len as i64);
    let undo = stores[0].undo_manager(options());
    let [ours, theirs] = &stores;
    ours.change(|state| {
        state.text().insert(6_000, "[mine]")?;
        state.list().insert(6_000, -6)
    })
    .expect("it can be written");
    ours.change(|state| {
        state.text().delete(6_100..6_200)?;
        state.list().remove(6_100)
    })
    .expect("it can be written");
    for _ in 0..3 {
        theirs
            .change(|state| {
                state.text().insert(0, "> ")?;
                state.text().push_str(" <")?;
                state.list().insert(0, -1)?;
                state.list().push(-2)
            })
            .expect("it can be written");
        meet(&stores);
    }
    let (ours, undo) = match restart {
        true => {
            let opened = Store::<Large, B>::open(&ours.save()).expect("it opens");
            let undo = opened.undo_manager_from(&undo.save(), options()).expect("stacks");
            (opened, undo)
        }
        false => (ours.clone(), undo),
    };
    let text = prose(len);
    let shown = |before: &str, after: &str| {
        (format!("> > > {before}{after} < < <"), 6 + before.len() + after.len() + 6)
    };
    assert!(undo.undo().expect("it can be undone").is_some());
    assert_eq!(
        ours.view().text.to_string(),
        shown(&text[..6_000], &format!("[mine]{}", &text[6_000..])).0,
        "on {}",
        B::NAME
    );
    assert_eq!(ours.view().list.get(3 + 6_100).copied(), Some(6_099));
    assert!(undo.undo().expect("it can be undone").is_some());
    assert_eq!(
        ours.view().text.to_string(),
        shown(&text[..6_000], &text[6_000..]).0,
        "on {}",
        B::NAME
    );
    let list: Vec<i64> = [-1; 3].into_iter().chain(0..len as i64).chain([-2; 3]).collect();
    assert_eq!(ours.view().list.iter().copied().collect::<Vec<_>>(), list);
    while undo.redo().expect("it can be redone").is_some() {}
    let deleted = format!("[mine]{}{}", &text[6_000..6_094], &text[6_194..]);
    assert_eq!(ours.view().text.to_string(), shown(&text[..6_000], &deleted).0, "on {}", B::NAME);
}

#[test]
fn undo_keeps_text_of_others_at_both_ends() {
    undo_beside_edits_of_others::<Yrs>(false);
    undo_beside_edits_of_others::<Yrs>(true);
    undo_beside_edits_of_others::<Automerge>(false);
}

/// The restored text differs only at both ends. Text that another replica types into the middle
/// meanwhile stays there.
#[test]
fn restoring_a_text_keeps_edits_of_others_in_the_middle() -> Result<(), exostate::Error> {
    let stores = two::<Yrs>(&prose(20_000), 0..20_000);
    let [ours, theirs] = &stores;
    let history = ours.history(HistoryOptions::new())?;
    let id = history.name("before")?;
    ours.change(|state| {
        state.text().insert(0, "new ")?;
        state.text().push_str(" new")?;
        state.list().insert(0, -1)?;
        state.list().push(-1)
    })?;
    theirs.change(|state| {
        state.text().insert(10_000, "theirs")?;
        state.list().insert(10_000, -5)
    })?;
    history.restore(id)?;
    meet(&stores);
    assert_eq!(
        ours.view().text.to_string(),
        format!("{}theirs{}", &prose(20_000)[..10_000], &prose(20_000)[10_000..])
    );
    assert_eq!((ours.view().list.len(), ours.view().list.get(10_000).copied()), (20_001, Some(-5)));
    Ok(())
}

/// Cards that are given without ids are matched by their content.
#[test]
fn large_lists_keep_ids_of_unchanged_elements() -> Result<(), exostate::Error> {
    let store = Store::<Large>::new();
    let cards = |numbers: &[i64]| numbers.iter().copied().collect::<MovableList<i64>>();
    let mut numbers: Vec<i64> = (0..8_000).collect();
    store.reconcile(&Large { cards: cards(&numbers), ..Large::clone(&store.view()) })?;
    let ids: Vec<_> = store.view().cards.iter_ids().map(|(id, card)| (id, *card)).collect();
    numbers.splice(7_990..7_991, [-1, -2]);
    numbers.splice(10..11, [-3]);
    store.reconcile(&Large { cards: cards(&numbers), ..Large::clone(&store.view()) })?;
    let view = store.view();
    let stays: std::collections::BTreeMap<_, _> =
        view.cards.iter_ids().map(|(id, card)| (id, *card)).collect();
    assert_eq!(ids.iter().filter(|(id, card)| stays.get(id) == Some(card)).count(), 7_998);
    Ok(())
}
