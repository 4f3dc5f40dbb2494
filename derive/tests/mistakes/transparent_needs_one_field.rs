//! A transparent struct has exactly one field.

#[derive(exostate::State, Clone)]
#[state(transparent)]
struct Two {
    title: String,
    notes: String,
}

#[derive(exostate::State, Clone)]
#[state(transparent)]
struct NoneLeft {
    #[state(skip)]
    cached: u32,
}

fn main() {}
