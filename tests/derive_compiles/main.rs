//! Inputs that `#[derive(State)]` must accept without a warning, in difficult surroundings.

mod found_elsewhere;
mod in_a_macro;
mod private_types;
mod smallest;
mod without_warnings;
