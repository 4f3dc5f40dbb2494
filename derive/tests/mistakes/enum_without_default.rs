//! A variant must stand where nothing was written.

#[derive(exostate::State, Clone)]
enum Shape {
    Nothing,
    Circle { radius: f64 },
}

fn main() {}
