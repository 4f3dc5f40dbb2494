//! A board as the JSON of a web service. The view is served as JSON, edited as JSON elsewhere, and
//! taken back with the fewest changes.
//!
//! `cargo run --example json`

use exostate::{MovableList, State, Store, Text};
use serde::{Deserialize, Serialize};

#[derive(State, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
struct Board {
    title: String,
    notes: Text,
    #[serde(with = "exostate::with_ids")]
    cards: MovableList<Card>,
}

#[derive(State, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
struct Card {
    text: String,
    done: bool,
}

fn card(text: &str) -> Card {
    Card { text: text.to_owned(), done: false }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::<Board>::new();
    let ship = store.change(|board| {
        board.title().set("Roadmap")?;
        board.notes().push_str("read me first")?;
        board.notes().mark(0..4, "bold", true)?;
        board.cards().push(card("plan"))?;
        board.cards().push(card("ship"))
    })?;

    // The response of the web service.
    let mut page: serde_json::Value =
        serde_json::from_str(&serde_json::to_string(&*store.view())?)?;
    println!("{}", serde_json::to_string_pretty(&page)?);

    // The page moves a card to the front and marks it as done. Another replica edits concurrently.
    let cards = page["cards"].as_array_mut().ok_or("the cards are an array")?;
    cards.reverse();
    cards[0]["value"]["done"] = true.into();
    let elsewhere = store.fork()?;
    elsewhere.change(|board| board.cards().get(ship).text().set("ship it"))?;

    // The state of the page returns. Only the differences are written, and they merge.
    store.reconcile(&serde_json::from_value(page)?)?;
    store.merge(&elsewhere)?;
    let view = store.view();
    assert_eq!(view.cards[0], Card { text: "ship it".to_owned(), done: true });
    println!(
        "the card that was moved is {:?}, {}",
        view.cards[0].text,
        if view.cards[0].done { "done" } else { "open" }
    );
    Ok(())
}
