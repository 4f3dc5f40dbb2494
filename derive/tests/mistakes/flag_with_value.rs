//! A flag takes no value. `default` on a variant is a flag.

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
