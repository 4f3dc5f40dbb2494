//! An enum without variants has no value to begin with.

#[derive(exostate::State, Clone)]
enum Never {}

fn main() {}
