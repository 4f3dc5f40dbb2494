//! The document has one form of nothing.

#[derive(exostate::State, Clone)]
struct Board {
    answer: Option<Option<bool>>,
}

fn main() {}
