//! A struct inside a struct needs the derive too.

#[derive(Clone)]
struct Settings {
    theme: String,
}

#[derive(exostate::State, Clone)]
struct Board {
    settings: Settings,
}

fn main() {}
