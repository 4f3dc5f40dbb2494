//! Promise 2: two replicas that insert the same key of a map concurrently end up with one record,
//! merged field by field.

mod support;

use exostate::{Automerge, Backend, Counter, Map, Text, Yrs};
use proptest::prelude::*;
use support::{Person, Pet, strategy};

fn person() -> impl Strategy<Value = Person> {
    let pets = prop::collection::btree_map("[p-r]", ("[a-z]{0,2}", 0..3u8), 0..3);
    ("[a-z]{0,2}", 0..3u32, -5..5i64, "[a-z]{0,5}", pets).prop_map(
        |(name, age, likes, bio, pets)| Person {
            name,
            age,
            likes: Counter::new(likes),
            bio: Text::from(bio),
            pets: pets
                .into_iter()
                .map(|(key, (kind, legs))| (key, Pet { kind, legs }))
                .collect::<Map<String, Pet>>(),
        },
    )
}

/// If only one replica gave a field another value than the default, the merged field has that
/// value.
fn merged<T: PartialEq + std::fmt::Debug>(found: &T, default: &T, ours: &T, theirs: &T) {
    match (ours == default, theirs == default) {
        (true, _) => assert_eq!(found, theirs),
        (_, true) => assert_eq!(found, ours),
        _ => assert!(found == ours || found == theirs),
    }
}

fn run<B: Backend>(ours: &Person, theirs: &Person) {
    let here = support::store::<B>(1);
    let there = support::store::<B>(2);
    here.change(|state| state.people().insert("ada", ours.clone())).expect("it can be written");
    there.change(|state| state.people().insert("ada", theirs.clone())).expect("it can be written");
    here.merge(&there).expect("an honest update");
    there.merge(&here).expect("an honest update");
    assert_eq!(here.view(), there.view());
    assert_eq!(here.digest(), there.digest());
    support::check_view(&here);

    let view = here.view();
    assert_eq!(view.people.len(), 1);
    let found = view.people.get("ada").expect("the record");
    merged(&found.name, &String::new(), &ours.name, &theirs.name);
    merged(&found.age, &0, &ours.age, &theirs.age);
    assert_eq!(found.likes.value(), ours.likes.value() + theirs.likes.value());
    let bio = found.bio.to_string();
    let a = ours.bio.to_string();
    let b = theirs.bio.to_string();
    assert!(
        bio == format!("{a}{b}") || bio == format!("{b}{a}"),
        "{bio:?} does not hold {a:?} and {b:?}"
    );
    for key in ours.pets.keys().chain(theirs.pets.keys()) {
        let default = Pet { kind: String::new(), legs: 0 };
        let a = ours.pets.get(key).unwrap_or(&default);
        let b = theirs.pets.get(key).unwrap_or(&default);
        let pet = found.pets.get(key).expect("a pet of either");
        merged(&pet.kind, &default.kind, &a.kind, &b.kind);
        merged(&pet.legs, &default.legs, &a.legs, &b.legs);
    }
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn on_yrs(ours in person(), theirs in person()) {
        run::<Yrs>(&ours, &theirs);
    }

    #[test]
    fn on_automerge(ours in person(), theirs in person()) {
        run::<Automerge>(&ours, &theirs);
    }
}
