//! `#[default]` is for variants; on a field it would do nothing.

#[derive(exostate::State, Clone)]
struct Board {
    #[default]
    title: String,
}

#[derive(exostate::State, Clone)]
#[default]
struct Card {
    done: bool,
}

fn main() {}
