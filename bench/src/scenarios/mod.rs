//! What is measured. Each scenario makes its work once, drives every system through it, and checks
//! the result.

pub mod board;
pub mod load;
pub mod memory;
pub mod net;
pub mod store;
pub mod text;

/// Says on stderr what runs now: some of it takes a while.
fn progress(scenario: &str, n: usize, system: &str) {
    eprintln!("{scenario} n={n}: {system}");
}
