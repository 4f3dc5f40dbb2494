//! The scenarios. Each makes its inputs once, runs every system on them, and checks the results.

pub mod board;
pub mod dynamic;
pub mod list;
pub mod load;
pub mod memory;
pub mod net;
pub mod storage;
pub mod store;
pub mod text;

/// Prints on stderr which measurement runs now, because some take long.
fn progress(scenario: &str, n: usize, system: &str) {
    eprintln!("{scenario} n={n}: {system}");
}
