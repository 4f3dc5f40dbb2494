//! A union does not record which of its fields is valid.

#[derive(exostate::State, Clone, Copy)]
union Either {
    number: u32,
    flag: bool,
}

fn main() {}
