//! exostate on yrs, with a state whose type is a schema, beside the same state as a Rust type.

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use exostate::{Applied, Document, Dynamic, State, Store, Subscription};

use super::exostate::{Last, MapState, capture, take};
use super::{Board, Boards, NewBoard, System};
use crate::work::cards::{Card, Change, Edit};

/// The system that only the scenario `dynamic` has.
pub const NAME: &str = "exostate-dynamic";

/// The typed and the dynamic board, in the order of their turns.
pub fn systems() -> Vec<System> {
    vec![
        System { map: Some(super::exostate::typed_boards()), ..System::named("exostate-yrs") },
        System { map: Some(Boards::of::<DynamicBoard>()), ..System::named(NAME) },
    ]
}

struct DynamicBoard {
    store: Store<Dynamic>,
    last: Last,
    _subscriptions: [Subscription; 2],
}

impl DynamicBoard {
    fn on(document: &Document) -> Result<Self> {
        let store = Store::dynamic(document, &MapState::schema())?;
        let watch = store.watch(Dynamic::path().at("cards/*"), |card| {
            black_box(card.new());
        });
        let (last, captured) = capture(&store);
        Ok(Self { store, last, _subscriptions: [watch, captured] })
    }
}

impl NewBoard for DynamicBoard {
    fn build(cards: &[Card]) -> Result<Self> {
        let board = Self::on(&Document::new())?;
        board.store.change(|state| {
            let place = state.at("cards");
            let map = place.as_map()?;
            cards.iter().try_for_each(|card| {
                let value = serde_json::json!({
                    "id": card.id, "text": card.text, "done": card.done, "points": card.points,
                });
                map.insert(place.key(&card.id)?, place.element(value)?)
            })
        })?;
        Ok(board)
    }

    fn open(saved: &[u8]) -> Result<Self> {
        Self::on(&Document::open(saved)?)
    }
}

impl Board for DynamicBoard {
    fn local(&mut self, edit: &Edit) -> Result<Vec<u8>> {
        self.store.change(|state| {
            let card = state.at("cards").child(&edit.key);
            match &edit.change {
                Change::Text(text) => card.at("text").set(text),
                Change::Done(done) => card.at("done").set(done),
                Change::Points(points) => card.at("points").set(points),
            }
        })?;
        take(&self.last)
    }

    fn remote(&mut self, update: &[u8]) -> Result<()> {
        ensure!(self.store.apply(update)? == Applied::Changed, "the update changed nothing");
        Ok(())
    }

    fn card(&self, _index: usize, key: &str) -> Result<Card> {
        let view = self.store.view();
        let card = view.get(&format!("cards/{key}")).context("no such card")?;
        let text = |name| card.get(name).and_then(Dynamic::as_str).unwrap_or_default().to_owned();
        Ok(Card {
            id: text("id"),
            text: text("text"),
            done: card.get("done").and_then(Dynamic::as_bool).unwrap_or_default(),
            points: card.get("points").and_then(Dynamic::as_i64).unwrap_or_default(),
        })
    }

    fn save(&mut self) -> Result<Vec<u8>> {
        Ok(self.store.save())
    }
}
