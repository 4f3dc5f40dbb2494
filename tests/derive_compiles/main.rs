//! What `#[derive(State)]` takes, in surroundings that make it hard, without a warning.

mod found_elsewhere;
mod in_a_macro;
mod private_types;
mod smallest;
mod without_warnings;
