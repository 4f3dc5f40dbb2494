//! A string where a name belongs, and the other way round.

#[derive(exostate::State, Clone)]
#[state(crate = exostate, node = "Accessor", bound = T, rename_all = camelCase)]
struct Board {
    #[state(rename = name)]
    title: String,
    #[state(rename)]
    notes: String,
}

#[derive(exostate::State, Clone)]
#[state(node)]
struct Card {
    done: bool,
}

fn main() {}
