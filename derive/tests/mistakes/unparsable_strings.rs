//! Strings that cannot be parsed as their key requires.

#[derive(exostate::State, Clone)]
#[state(crate = "not a path")]
struct Board {
    title: String,
}

#[derive(exostate::State, Clone)]
#[state(bound = "T State")]
struct Boxed<T> {
    inner: T,
}

fn main() {}
