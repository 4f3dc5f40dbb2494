//! `default` has no effect on a text, a collection or a struct.

use exostate::{State, Text};

#[derive(State, Clone)]
struct Board {
    #[state(default = Text::from("untitled"))]
    title: Text,
    #[state(default = Settings { size: 12 })]
    settings: Settings,
}

#[derive(State, Clone)]
struct Settings {
    size: u32,
}

#[derive(State, Clone)]
struct Notes(#[state(default = "none yet")] Text);

#[derive(State, Clone)]
enum Page {
    #[default]
    Blank,
    Full { #[state(default = "blank")] text: Text },
}

fn main() {}
