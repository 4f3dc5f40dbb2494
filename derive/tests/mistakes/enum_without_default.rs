//! An enum needs a default variant, for a place where nothing was written.

#[derive(exostate::State, Clone)]
enum Shape {
    Nothing,
    Circle { radius: f64 },
}

fn main() {}
