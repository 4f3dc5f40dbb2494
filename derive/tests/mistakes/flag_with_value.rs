//! Flags stand alone; a variant's `default` is one.

#[derive(exostate::State, Clone)]
#[state(transparent = true)]
struct Board {
    title: String,
    #[state(skip = true)]
    cached: u32,
}

#[derive(exostate::State, Clone)]
enum Shape {
    #[state(default = Shape::Nothing)]
    Nothing,
}

fn main() {}
