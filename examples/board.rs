//! One process, two replicas of a board: offline edits on both, a merge, a change that is refused as a whole, and watching.
//!
//! `cargo run --release --example board`

use exostate::{ChangeError, Counter, MovableList, State, Store, Text};

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Board {
    title: String,
    notes: Text,
    cards: MovableList<Card>,
    votes: Counter,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Card {
    text: String,
    done: bool,
}

fn card(text: &str) -> Card {
    Card { text: text.to_owned(), done: false }
}

fn main() -> Result<(), exostate::Error> {
    // Ada makes a board and gives a copy to Bob.
    let ada = Store::<Board>::new();
    let (design, build) = ada.change(|board| {
        board.title().set("Roadmap")?;
        Ok((board.cards().push(card("design"))?, board.cards().push(card("build"))?))
    })?;
    let bob = ada.fork()?;

    let _watch = ada.watch(Board::path().cards().any().done(), |done| {
        println!("ada sees {} done: {:?} -> {:?}", done.path(), done.old(), done.new());
    });

    // Both are offline and edit the same things.
    ada.change(|board| {
        board.notes().push_str("Ada was here. ")?;
        board.cards().get(design).text().set("design the protocol")?;
        board.votes().add(1)
    })?;
    bob.change(|board| {
        board.notes().push_str("Bob was here. ")?;
        board.cards().get(design).done().set(true)?;
        board.cards().move_to(build, 0)?;
        board.cards().push(card("test"))?;
        board.votes().add(2)
    })?;

    // A change is all or nothing: this one removes a card, then finds that it must not.
    let before = ada.view();
    let refused = ada.change(|board| {
        board.cards().remove(design)?;
        board.title().set("Empty")?;
        Err::<(), _>(ChangeError::refuse("a board keeps its first card"))
    });
    println!("ada's change was {}", refused.err().map_or_else(String::new, |error| error.to_string()));
    assert_eq!(before, ada.view(), "a refused change leaves nothing behind");

    // They meet: each takes over what it lacks.
    ada.merge(&bob)?;
    bob.merge(&ada)?;

    println!("ada: {:#?}", ada.view());
    println!("bob: {:#?}", bob.view());
    assert_eq!(ada.view(), bob.view());
    assert_eq!(ada.digest(), bob.digest());
    println!("both replicas show the same board");
    Ok(())
}
