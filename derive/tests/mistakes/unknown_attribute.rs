//! The message lists the attributes that are allowed in this place.

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
