//! The message says which type to use instead.

use std::collections::HashMap;

#[derive(exostate::State, Clone)]
struct Board {
    people: HashMap<String, u32>,
}

fn main() {}
