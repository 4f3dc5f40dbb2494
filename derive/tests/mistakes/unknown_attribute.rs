//! The message lists what the place can have.

#[derive(exostate::State, Clone)]
#[state(naming = "camelCase")]
struct Board {
    #[state(renamed = "name")]
    title: String,
}

#[derive(exostate::State, Clone)]
#[state(untagged)]
enum Shape {
    #[state(default, alias = "none")]
    Nothing,
}

fn main() {}
