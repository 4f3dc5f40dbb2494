//! A board of cards, and changes to single fields of random cards.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// A record of four fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its key in a map: 12 hex digits.
    pub id: String,
    /// A short sentence.
    pub text: String,
    /// Whether it is done.
    pub done: bool,
    /// A small number.
    pub points: i64,
}

/// A new value for one field; it always differs from the old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// For [`Card::text`].
    Text(String),
    /// For [`Card::done`].
    Done(bool),
    /// For [`Card::points`].
    Points(i64),
}

impl Change {
    /// The name of the field.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Done(_) => "done",
            Self::Points(_) => "points",
        }
    }

    /// Writes the new value into a card.
    pub fn apply_to(&self, card: &mut Card) {
        match self {
            Self::Text(text) => card.text.clone_from(text),
            Self::Done(done) => card.done = *done,
            Self::Points(points) => card.points = *points,
        }
    }
}

/// One field of one card changes.
#[derive(Debug, Clone)]
pub struct Edit {
    /// The index of the card in the list.
    pub index: usize,
    /// The key of the card in the map.
    pub key: String,
    /// The new value.
    pub change: Change,
}

/// A board and the changes to it.
#[derive(Debug)]
pub struct BoardWork {
    /// The cards, in the order of the list.
    pub cards: Vec<Card>,
    /// The changes. Those for the warm-up come first.
    pub edits: Vec<Edit>,
}

impl BoardWork {
    /// Makes `n` cards and `edits` changes to random cards.
    pub fn new(n: usize, edits: usize) -> Self {
        let mut random = SmallRng::seed_from_u64(0x00C0_FFEE ^ n as u64);
        let mut ids = BTreeSet::new();
        let mut cards = Vec::with_capacity(n);
        while cards.len() < n {
            let id = format!("{:012x}", random.random_range(0..1_u64 << 48));
            if ids.insert(id.clone()) {
                let text = sentence(&mut random);
                let done = random.random();
                let points = random.random_range(0..1_000);
                cards.push(Card { id, text, done, points });
            }
        }
        let mut now: BTreeMap<usize, Card> = BTreeMap::new();
        let edits = (0..edits)
            .map(|_| {
                let index = random.random_range(0..n);
                let card = now.entry(index).or_insert_with(|| cards[index].clone());
                let change = change_to(card, &mut random);
                change.apply_to(card);
                Edit { index, key: card.id.clone(), change }
            })
            .collect();
        Self { cards, edits }
    }

    /// The same cards, and as many changes, all to one field. A slider in a user interface does
    /// this.
    pub fn of_one_field(&self) -> Self {
        let card = &self.cards[0];
        let change = |step| Change::Points(card.points + 1 + step as i64);
        let edits = (0..self.edits.len())
            .map(|step| Edit { index: 0, key: card.id.clone(), change: change(step) })
            .collect();
        Self { cards: self.cards.clone(), edits }
    }

    /// The cards that the first `done` edits touched, by index, with their contents after those
    /// edits.
    pub fn cards_after(&self, done: usize) -> BTreeMap<usize, Card> {
        let mut touched: BTreeMap<usize, Card> = BTreeMap::new();
        for edit in &self.edits[..done] {
            let card = touched.entry(edit.index).or_insert_with(|| self.cards[edit.index].clone());
            edit.change.apply_to(card);
        }
        touched
    }
}

/// A value that differs from the card's current one.
fn change_to(card: &Card, random: &mut SmallRng) -> Change {
    match random.random_range(0..3) {
        0 => loop {
            let text = sentence(random);
            if text != card.text {
                return Change::Text(text);
            }
        },
        1 => Change::Done(!card.done),
        _ => Change::Points(card.points + random.random_range(1..100)),
    }
}

/// Three to six words.
fn sentence(random: &mut SmallRng) -> String {
    const WORDS: [&str; 16] = [
        "ship", "the", "parser", "before", "review", "of", "a", "slow", "query", "and", "write",
        "tests", "for", "every", "new", "screen",
    ];
    let count = random.random_range(3..=6);
    let words: Vec<&str> = (0..count).filter_map(|_| WORDS.choose(random).copied()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::BoardWork;

    #[test]
    fn the_same_seed_gives_the_same_work_and_each_edit_changes_a_card() {
        let one = BoardWork::new(50, 300);
        let two = BoardWork::new(50, 300);
        assert_eq!(one.cards, two.cards);
        assert_eq!(one.cards_after(300), two.cards_after(300));
        for done in 0..300 {
            let index = one.edits[done].index;
            let before =
                one.cards_after(done).remove(&index).unwrap_or_else(|| one.cards[index].clone());
            assert_ne!(Some(&before), one.cards_after(done + 1).get(&index));
        }
    }
}
