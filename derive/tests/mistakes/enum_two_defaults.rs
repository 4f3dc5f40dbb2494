//! An enum can have only one default variant.

#[derive(exostate::State, Clone)]
enum Shape {
    #[default]
    Nothing,
    #[state(default)]
    Circle { radius: f64 },
    #[default]
    Dot,
}

fn main() {}
