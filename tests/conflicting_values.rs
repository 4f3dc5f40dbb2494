//! The conflicting values of a register are reported, as far as the backend keeps them.

use exostate::{Automerge, Backend, Map, Options, ReplicaId, Set, State, Store, Value, Yrs};
use proptest::prelude::*;

#[derive(State, Clone, Debug, PartialEq)]
struct Page {
    title: String,
    rows: Map<u8, i64>,
    people: Map<String, Person>,
    boss: Option<Person>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Person {
    name: String,
    tags: Set<String>,
}

fn store<B: Backend>(id: u64) -> Store<Page, B> {
    Store::with_options(Options::new().with_replica(ReplicaId::from_bits(id)))
}

/// Each replica writes numbers that end in its own id, so that a value shows its writer.
fn run<B: Backend>(steps: &[(u64, u8, bool)]) {
    let stores = [store::<B>(1), store::<B>(2), store::<B>(3)];
    for (number, (who, key, meets)) in steps.iter().enumerate() {
        let at = (*who % 3) as usize;
        let other = ((*who + 1) % 3) as usize;
        let value = number as i64 * 10 + at as i64 + 1;
        stores[at].change(|page| page.rows().insert(*key, value)).expect("it can be written");
        if *meets {
            stores[at].merge(&stores[other]).expect("it merges");
        }
    }
    for (a, b) in [(0, 1), (0, 2), (1, 0), (2, 0)] {
        stores[a].merge(&stores[b]).expect("it merges");
    }
    for key in 0..3_u8 {
        let told: Vec<_> = stores
            .iter()
            .map(|store| store.conflicting_values(Page::path().rows().get(key)))
            .collect();
        assert_eq!(
            (&told[0], &told[0]),
            (&told[1], &told[2]),
            "they are the same everywhere, on {}",
            B::NAME
        );
        let shown = stores[0].view().rows.get(&key).copied();
        assert_eq!(told[0].first().map(|first| first.value.clone()), shown.map(Value::from));
        for (place, conflicting_value) in told[0].iter().enumerate() {
            let Value::Int(value) = conflicting_value.value else {
                panic!("{conflicting_value:?}")
            };
            assert_eq!(
                (conflicting_value.replica.map(ReplicaId::get), conflicting_value.wins),
                (Some(value as u64 % 10), place == 0)
            );
        }
    }
}

proptest! {
    #[test]
    fn on_yrs(steps in prop::collection::vec((0..3_u64, 0..3_u8, any::<bool>()), 0..16)) {
        run::<Yrs>(&steps);
    }

    #[test]
    fn on_automerge(steps in prop::collection::vec((0..3_u64, 0..3_u8, any::<bool>()), 0..16)) {
        run::<Automerge>(&steps);
    }
}

#[test]
fn a_later_write_resolves_the_conflict() -> Result<(), exostate::Error> {
    let ours = store::<Automerge>(1);
    let theirs = store::<Automerge>(2);
    assert!(ours.conflicting_values(Page::path().title()).is_empty());
    ours.change(|page| page.title().set("one"))?;
    theirs.change(|page| page.title().set("two"))?;
    ours.merge(&theirs)?;
    assert_eq!(ours.conflicting_values(Page::path().title()).len(), 2);
    ours.change(|page| page.title().set("three"))?;
    let left = ours.conflicting_values(Page::path().title());
    assert_eq!(
        left.iter().map(|left| (&left.value, left.wins)).collect::<Vec<_>>(),
        [(&Value::from("three"), true)]
    );
    assert!(ours.conflicting_values(Page::path().rows()).is_empty(), "no register");
    Ok(())
}

/// The marker that a record exists is not a value of the record.
fn only_registers<B: Backend>() -> Result<(), exostate::Error> {
    let store = store::<B>(1);
    let ada = || Person { name: "Ada".to_owned(), tags: ["x".to_owned()].into_iter().collect() };
    store.change(|page| {
        page.people().insert("ada", ada())?;
        page.boss().set(ada())
    })?;
    let person = || Page::path().people().get("ada");
    assert!(store.conflicting_values(person()).is_empty());
    assert!(store.conflicting_values(person().tags()).is_empty());
    assert!(store.conflicting_values(Page::path().boss().some()).is_empty());
    assert!(store.conflicting_values(Page::path().people().any().name()).is_empty());
    assert_eq!(store.conflicting_values(person().name()).len(), 1);
    assert_eq!(store.conflicting_values(Page::path().boss().some().name()).len(), 1);
    assert_eq!(store.conflicting_values(Page::path().boss()).len(), 1, "whether it is filled");
    assert!(store.conflicting_values(Page::path()).is_empty());
    Ok(())
}

#[test]
fn only_registers_have_conflicting_values() -> Result<(), exostate::Error> {
    only_registers::<Yrs>()?;
    only_registers::<Automerge>()
}
