//! Nothing says which of a union's fields holds.

#[derive(exostate::State, Clone, Copy)]
union Either {
    number: u32,
    flag: bool,
}

fn main() {}
