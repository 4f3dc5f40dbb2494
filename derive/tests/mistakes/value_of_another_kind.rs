//! A string in the place of a name, and a name in the place of a string.

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
