//! With `crate`, everything is looked for there and nowhere else.

#[derive(exostate::State, Clone)]
#[state(crate = "crate::engine")]
struct Board {
    title: String,
}

mod engine {}

fn main() {}
