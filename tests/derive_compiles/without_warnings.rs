//! The generated code passes the same strict lints as code that is written by hand.
#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    rust_2018_idioms,
    unused_qualifications
)]

use exostate::{MovableList, State, Store, Text};

/// A board.
#[derive(State, Clone, Debug)]
#[allow(non_snake_case)]
pub struct Board {
    /// Its title.
    pub title: String,
    /// What it is about.
    pub notes: Text,
    /// A name that another language prefers.
    pub dueDay: u32,
    /// No longer of use.
    #[deprecated]
    pub old: u32,
    /// A private field's accessor is private, and nobody uses it.
    secret: u32,
    /// Its cards.
    pub cards: MovableList<Card>,
}

/// A card.
#[derive(State, Clone, Debug)]
pub enum Card {
    /// Nothing.
    #[default]
    Blank,
    /// A variant that takes what others do not.
    Full {
        /// What it says.
        text: Text,
    },
    /// No longer of use.
    #[deprecated]
    Old(u32),
}

/// No longer of use.
#[derive(State, Clone, Debug)]
#[deprecated]
pub struct Older {
    /// A number.
    pub number: u32,
}

/// A number with a name.
#[derive(State, Clone, Debug)]
pub struct Votes(pub u32);

#[test]
fn without_warnings() {
    let _ = Store::<Board>::new().view().secret;
    let _ = Store::<Votes>::new().view().0;
}
