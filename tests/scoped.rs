//! A scope of a store can do the same as a store.

mod support;

use std::sync::{Arc, Mutex};

use exostate::{Automerge, Backend, ChangeError, Map, MovableList, Scoped, State, Store, Yrs};
use proptest::prelude::*;
use support::{Everything, Person, Pet, Settings, strategy};

#[derive(State, Clone, Debug, PartialEq)]
struct Board {
    title: String,
    cards: MovableList<Card>,
    shape: Shape,
    inner: Inner,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Card {
    text: String,
    tags: Map<String, bool>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Inner {
    shape: Shape,
}

#[derive(State, Clone, Debug, PartialEq)]
enum Shape {
    #[state(default)]
    Circle {
        radius: i64,
        name: Card,
    },
    Nothing,
}

fn card(text: &str) -> Card {
    Card { text: text.to_owned(), tags: Map::new() }
}

#[test]
fn it_is_read_changed_and_watched() -> Result<(), exostate::Error> {
    let store = Store::<Board>::new();
    let (one, two) = store
        .change(|board| Ok((board.cards().push(card("one"))?, board.cards().push(card("two"))?)))?;
    let first = store.scoped(Board::path().cards().get(one));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let tags = first.scoped(Card::path().tags());
    let list = Arc::clone(&heard);
    let _watch = first.watch(Card::path().tags().any(), move |tag| {
        list.lock()
            .expect("the list")
            .push((tag.path().rsplit('/').next().unwrap_or("").to_owned(), tag.new().copied()));
    });
    tags.change(|tags| tags.insert("urgent", true))?;
    store.change(|board| board.cards().get(two).tags().insert("other", true))?;
    store.change(|board| board.cards().get(one).tags().insert("later", false))?;
    assert_eq!(
        *heard.lock().expect("the list"),
        [("urgent".to_owned(), Some(true)), ("later".to_owned(), Some(false))]
    );
    assert_eq!(tags.view().map(|tags| tags.len()), Some(2));
    let refused = first.change(|card| {
        card.text().set("lost")?;
        Err::<(), _>(ChangeError::refuse("no"))
    });
    assert!(refused.is_err());
    assert_eq!(first.view().map(|card| card.text), Some("one".to_owned()));
    store.change(|board| board.cards().remove(one))?;
    assert_eq!((first.view(), tags.view()), (None, None));
    assert!(matches!(
        tags.change(|tags| tags.insert("ghost", true)),
        Err(ChangeError::NotFound { .. })
    ));
    assert_eq!(store.reread(), *store.view());
    Ok(())
}

/// An enum that was never written shows its default variant. Edits inside the variant write its
/// name, wherever the scope begins.
#[test]
fn an_edit_within_a_variant_names_it() -> Result<(), exostate::Error> {
    let named = |edit: &dyn Fn(&Store<Board>) -> Result<(), ChangeError>| {
        let ours = Store::<Board>::new();
        let theirs = Store::<Board>::new();
        edit(&ours)?;
        let told = ours.conflicting_values(Board::path().shape()).len()
            + ours.conflicting_values(Board::path().inner().shape()).len();
        theirs.merge(&ours)?;
        assert_eq!(theirs.view(), ours.view());
        Ok::<_, exostate::Error>(told)
    };
    assert_eq!(named(&|store| store.change(|board| board.shape().circle().radius().set(1)))?, 1);
    let path = || Board::path().shape();
    assert_eq!(
        named(&|store| store.scoped(&path().circle().radius()).change(|radius| radius.set(1)))?,
        1
    );
    assert_eq!(
        named(&|store| store.scoped(&path().circle().name()).change(|name| name.text().set("x")))?,
        1
    );
    assert_eq!(
        named(&|store| store
            .scoped(&path().circle().name())
            .scoped(Card::path().text())
            .change(|text| text.set("x")))?,
        1
    );
    let inner = |store: &Store<Board>| store.scoped(Board::path().inner());
    assert_eq!(
        named(&|store| inner(store)
            .scoped(Inner::path().shape().circle().radius())
            .change(|radius| radius.set(1)))?,
        1
    );
    let shape = |store: &Store<Board>| inner(store).scoped(Inner::path().shape());
    assert_eq!(
        named(&|store| shape(store)
            .scoped(Shape::path().circle().radius())
            .change(|radius| radius.set(1)))?,
        1
    );
    Ok(())
}

/// A scope shows the value at its place. It can be changed if the place exists, and only then.
fn follows<B: Backend, T: State + PartialEq + std::fmt::Debug>(
    scope: &Scoped<Everything, T, B>,
    expected: Option<&T>,
    edit: impl for<'a> FnOnce(T::Node<exostate::Edit<'a>>) -> Result<(), ChangeError>,
) {
    assert_eq!(scope.view().as_ref(), expected);
    match scope.change(edit) {
        Ok(()) => assert!(expected.is_some()),
        Err(error) => {
            assert!(expected.is_none() && matches!(error, ChangeError::NotFound { .. }), "{error}")
        }
    }
    support::check_view(scope.store());
}

/// Places are created, removed and created again, here and on another replica.
fn places<B: Backend>(steps: &[(bool, bool, support::Op)]) {
    let store = support::store::<B>(1);
    let other = support::store::<B>(2);
    let path = Everything::path;
    let maybe = store.scoped(&path().maybe());
    let inside: Scoped<_, Settings, B> = store.scoped(&path().maybe().some());
    let theme = inside.scoped(Settings::path().theme());
    let radius = store.scoped(&path().shape().circle().radius());
    let label = store.scoped(&path().shape().label().field_1());
    let person = store.scoped(&path().people().get("a"));
    let rex = person.scoped(Person::path().pets()).scoped(&Map::<String, Pet>::path().get("rex"));
    let any = store.scoped(&path().people().any());
    let mut cards = Vec::new();
    for (number, (elsewhere, meet, op)) in steps.iter().enumerate() {
        support::apply(if *elsewhere { &other } else { &store }, op);
        if *meet {
            other.merge(&store).expect("an honest update");
            store.merge(&other).expect("an honest update");
        }
        let view = store.view();
        follows(&inside, view.maybe.as_ref(), |settings| settings.size().set(number as i32));
        follows(&theme, view.maybe.as_ref().map(|settings| &settings.theme), |theme| {
            theme.set(number.to_string())
        });
        let (circle, text) = match &view.shape {
            support::Shape::Circle { radius } => (Some(radius), None),
            support::Shape::Label(_, text) => (None, Some(text)),
            support::Shape::Nothing => (None, None),
        };
        follows(&radius, circle, |radius| radius.set(number as f64));
        follows(&label, text, |label| label.push_str("x"));
        let ada = view.people.get("a");
        follows(&rex, ada.and_then(|ada| ada.pets.get("rex")), |rex| rex.legs().set(number as u8));
        follows(&person, store.view().people.get("a"), |person| person.likes().add(1));
        follows(&any, None, |person| person.likes().add(1));
        let unknown = view
            .cards
            .iter_ids()
            .map(|(id, _)| id)
            .filter(|id| cards.iter().all(|(known, _)| known != id));
        let unknown: Vec<_> =
            unknown.map(|id| (id, store.scoped(&path().cards().get(id)))).collect();
        cards.extend(unknown);
        for (id, card) in &cards {
            let found = view.cards.iter_ids().find(|(found, _)| found == id);
            follows(card, found.map(|(_, card)| card), |card| card.body().push_str("y"));
        }
        if number % 5 == 4 {
            follows(&maybe, Some(&store.view().maybe), |maybe| {
                maybe.set(Settings { theme: String::new(), size: 0, flags: Map::new() })
            });
        }
    }
}

fn steps(max: usize) -> impl Strategy<Value = Vec<(bool, bool, support::Op)>> {
    prop::collection::vec((any::<bool>(), prop::bool::weighted(0.3), strategy::op()), 0..max)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: strategy::config().cases / 4,
        ..strategy::config()
    })]

    #[test]
    fn places_that_come_and_go_on_yrs(steps in steps(20)) {
        places::<Yrs>(&steps);
    }

    #[test]
    fn places_that_come_and_go_on_automerge(steps in steps(12)) {
        places::<Automerge>(&steps);
    }
}
