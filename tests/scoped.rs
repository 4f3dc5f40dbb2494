//! A part of a store is as good as a store.

use std::sync::{Arc, Mutex};

use exostate::{ChangeError, Map, MovableList, State, Store};

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
    let (one, two) = store.change(|board| Ok((board.cards().push(card("one"))?, board.cards().push(card("two"))?)))?;
    let (first, heard) = (store.scoped(&Board::path().cards().get(one)), Arc::new(Mutex::new(Vec::new())));
    let tags = first.scoped(&Card::path().tags());
    let list = Arc::clone(&heard);
    let _watch = first.watch(Card::path().tags().any(), move |tag| {
        list.lock().expect("the list").push((tag.path().rsplit('/').next().unwrap_or("").to_owned(), tag.new().copied()));
    });
    tags.change(|tags| tags.insert("urgent", true))?;
    store.change(|board| board.cards().get(two).tags().insert("other", true))?;
    store.change(|board| board.cards().get(one).tags().insert("later", false))?;
    assert_eq!(*heard.lock().expect("the list"), [("urgent".to_owned(), Some(true)), ("later".to_owned(), Some(false))]);
    assert_eq!(tags.view().map(|tags| tags.len()), Some(2));
    let refused = first.change(|card| {
        card.text().set("lost")?;
        Err::<(), _>(ChangeError::refuse("no"))
    });
    assert!(refused.is_err());
    assert_eq!(first.view().map(|card| card.text), Some("one".to_owned()));
    store.change(|board| board.cards().remove(one))?;
    assert_eq!((first.view(), tags.view()), (None, None));
    assert!(matches!(tags.change(|tags| tags.insert("ghost", true)), Err(ChangeError::NotFound { .. })));
    assert_eq!(store.reread(), *store.view());
    Ok(())
}

/// An enum that was never written shows its default variant; what edits that makes it name the variant, wherever the scope begins.
#[test]
fn an_edit_within_a_variant_names_it() -> Result<(), exostate::Error> {
    let named = |edit: &dyn Fn(&Store<Board>) -> Result<(), ChangeError>| {
        let (ours, theirs) = (Store::<Board>::new(), Store::<Board>::new());
        edit(&ours)?;
        let told = ours.contenders(&Board::path().shape()).len() + ours.contenders(&Board::path().inner().shape()).len();
        theirs.merge(&ours)?;
        assert_eq!(theirs.view(), ours.view());
        Ok::<_, exostate::Error>(told)
    };
    assert_eq!(named(&|store| store.change(|board| board.shape().circle().radius().set(1)))?, 1);
    let path = || Board::path().shape();
    assert_eq!(named(&|store| store.scoped(&path().circle().radius()).change(|radius| radius.set(1)))?, 1);
    assert_eq!(named(&|store| store.scoped(&path().circle().name()).change(|name| name.text().set("x")))?, 1);
    assert_eq!(named(&|store| store.scoped(&path().circle().name()).scoped(&Card::path().text()).change(|text| text.set("x")))?, 1);
    let inner = |store: &Store<Board>| store.scoped(&Board::path().inner());
    assert_eq!(named(&|store| inner(store).scoped(&Inner::path().shape().circle().radius()).change(|radius| radius.set(1)))?, 1);
    let shape = |store: &Store<Board>| inner(store).scoped(&Inner::path().shape());
    assert_eq!(named(&|store| shape(store).scoped(&Shape::path().circle().radius()).change(|radius| radius.set(1)))?, 1);
    Ok(())
}
