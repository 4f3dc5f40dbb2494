//! The document has only one way to store `None`.

#[derive(exostate::State, Clone)]
struct Board {
    answer: Option<Option<bool>>,
}

fn main() {}
