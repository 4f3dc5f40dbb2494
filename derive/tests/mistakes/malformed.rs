//! Attributes that are not well formed.

#[derive(exostate::State, Clone)]
#[state]
struct Board {
    #[state = "name"]
    title: String,
    #[state(rename =)]
    notes: String,
    #[state("name")]
    cards: String,
    #[state(rename("name"))]
    votes: u32,
}

fn main() {}
