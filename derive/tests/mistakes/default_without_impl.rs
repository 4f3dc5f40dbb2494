//! `default` and `skip` need `Default`.

#[derive(exostate::State, Clone)]
struct Board {
    #[state(default)]
    colour: Colour,
    #[state(skip)]
    cache: Cache,
}

#[derive(exostate::State, Clone)]
enum Colour {
    #[default]
    Red,
}

#[derive(Clone)]
struct Cache;

fn main() {}
