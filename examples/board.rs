//! Two replicas of a board with columns and cards, in one process. The example shows offline edits
//! on both replicas, a merge, a card whose column was removed concurrently, a change that is
//! refused as a whole, and watching.
//!
//! `cargo run --release --example board`

use exostate::{ChangeError, Counter, Groups, State, Store, Text};

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Board {
    title: String,
    notes: Text,
    cards: Groups<Column, Card>,
    votes: Counter,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Column {
    title: String,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Card {
    text: String,
    done: bool,
}

fn column(title: &str) -> Column {
    Column { title: title.to_owned() }
}

fn card(text: &str) -> Card {
    Card { text: text.to_owned(), done: false }
}

fn print(who: &str, board: &Board) {
    println!("{who}: {}, {} votes, {:?}", board.title, board.votes, board.notes);
    let row = |title: &str, cards: Vec<&Card>| {
        let cards: Vec<String> = cards
            .into_iter()
            .map(|card| format!("{}{}", card.text, if card.done { " (done)" } else { "" }))
            .collect();
        println!("  {title}: {}", cards.join(", "));
    };
    board.cards.iter().for_each(|(_, column, cards)| row(&column.title, cards.iter().collect()));
    row("no column", board.cards.ungrouped().map(|(_, card)| card).collect());
}

fn main() -> Result<(), exostate::Error> {
    // Ada makes a board and gives a copy to Bob.
    let ada = Store::<Board>::new();
    let (ideas, doing, design, build) = ada.change(|board| {
        board.title().set("Roadmap")?;
        let ideas = board.cards().push_group(column("Ideas"))?;
        let doing = board.cards().push_group(column("Doing"))?;
        Ok((
            ideas,
            doing,
            board.cards().push(ideas, card("design"))?,
            board.cards().push(doing, card("build"))?,
        ))
    })?;
    let bob = ada.fork()?;

    let _watch = ada.watch(Board::path().cards().any().done(), |done| {
        println!("ada sees {} done: {:?} -> {:?}", done.path(), done.old(), done.new());
    });

    // Both are offline and edit the same things. Both move one card, to different columns.
    ada.change(|board| {
        board.notes().push_str("Ada was here. ")?;
        board.cards().get(design).text().set("design the protocol")?;
        board.cards().move_to(design, doing, 1)?;
        board.votes().add(1)
    })?;
    bob.change(|board| {
        board.notes().push_str("Bob was here. ")?;
        board.cards().get(design).done().set(true)?;
        let done = board.cards().push_group(column("Done"))?;
        board.cards().move_to(design, done, 0)?;
        board.cards().push(done, card("test"))?;
        board.votes().add(2)
    })?;

    // A change is atomic. This one removes a column and then returns an error, so nothing changes.
    let before = ada.view();
    let refused = ada.change(|board| {
        board.cards().remove_group(doing)?;
        board.title().set("Empty")?;
        Err::<(), _>(ChangeError::refuse("a board keeps what is being done"))
    });
    println!(
        "ada's change was {}",
        refused.err().map_or_else(String::new, |error| error.to_string())
    );
    assert_eq!(before, ada.view(), "a refused change leaves nothing behind");

    // The replicas merge: each takes the updates that it lacks. The card has both edits, and is in
    // one of the two columns.
    ada.merge(&bob)?;
    bob.merge(&ada)?;
    print("ada", &ada.view());

    // Ada removes a column while Bob moves a card into it. The card is not lost.
    ada.change(|board| board.cards().remove_group(ideas))?;
    bob.change(|board| board.cards().move_to(build, ideas, 0))?;
    ada.merge(&bob)?;
    print("ada", &ada.view());
    let lost: Vec<_> = ada.view().cards.ungrouped().map(|(id, _)| id).collect();
    ada.change(|board| lost.iter().try_for_each(|id| board.cards().move_to(*id, doing, 0)))?;
    bob.merge(&ada)?;

    print("ada", &ada.view());
    print("bob", &bob.view());
    assert_eq!(ada.view(), bob.view());
    assert_eq!(ada.digest(), bob.digest());
    println!("both replicas show the same board");
    Ok(())
}
