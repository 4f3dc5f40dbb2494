//! Only one variant can stand where nothing was written.

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
