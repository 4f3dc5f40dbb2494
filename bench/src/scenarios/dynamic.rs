//! A state whose type is a schema, beside the same state as a Rust type: one field of one of N
//! records changes, and saved bytes are opened.

use anyhow::Result;

use super::{board, load};
use crate::options::Options;
use crate::peers;
use crate::report::Report;

/// Measures both states, at every size.
pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    let mut systems = peers::dynamic::systems();
    let is_wanted = |name: &str| options.systems.iter().any(|wanted| wanted == name);
    systems.retain(|system| options.systems.is_empty() || is_wanted(system.name));
    board::run_as("dynamic", options, &systems, report)?;
    load::run_as("dynamic", options, &systems, report)
}
