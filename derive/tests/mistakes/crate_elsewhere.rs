//! With `crate`, all paths are looked up in that crate only.

#[derive(exostate::State, Clone)]
#[state(crate = "crate::engine")]
struct Board {
    title: String,
}

mod engine {}

fn main() {}
