//! The field of a transparent struct has no name to change.

#[derive(exostate::State, Clone)]
#[state(transparent)]
struct Named {
    #[state(rename = "name")]
    title: String,
}

#[derive(exostate::State, Clone)]
struct Newtype(#[state(rename = "name")] String);

fn main() {}
