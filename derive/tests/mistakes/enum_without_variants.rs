//! An enum without variants has no initial value.

#[derive(exostate::State, Clone)]
enum Never {}

fn main() {}
