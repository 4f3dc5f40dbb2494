//! Yjs with y-leveldb, in Node (`bench/node/leveldb.mjs`).

use std::path::Path;

use anyhow::Result;
use serde::Deserialize;

use super::{SCENARIO, Sizes, place};
use crate::peers::node::{self, Node};
use crate::report::Report;
use crate::scenarios::progress;

/// The system's name in the report.
pub const SYSTEM: &str = "yjs-leveldb";

/// What the script tells.
#[derive(Deserialize)]
struct Figures {
    change: f64,
    durable: f64,
    single: f64,
    open: f64,
    amplification: f64,
}

/// Adds the figures. Adds a note instead if Node or its packages are not installed.
pub fn measure(sizes: &Sizes, report: &mut Report) {
    let place = place(SYSTEM);
    if !node::has("y-leveldb") {
        return report.note(place, node::MISSING);
    }
    progress(SCENARIO, place.n, SYSTEM);
    let folder = tempfile::tempdir().map_err(Into::into);
    match folder.and_then(|folder| figures(sizes, folder.path())) {
        Ok(figures) => {
            report.add(place, "change", figures.change, "µs");
            report.add(place, "durable_per_second", figures.durable, "1/s");
            report.add(place, "durable_single_per_second", figures.single, "1/s");
            report.add(place, "open", figures.open, "ms");
            report.add(place, "write_amplification", figures.amplification, "x");
            report.note(place, "LevelDB does not sync: its durable changes survive no power loss");
        }
        Err(error) => report.failed(place, "the Node process", &error),
    }
}

fn figures(sizes: &Sizes, folder: &Path) -> Result<Figures> {
    let numbers = [
        sizes.board,
        sizes.changes,
        sizes.durable,
        sizes.single,
        sizes.open_board,
        sizes.open_behind,
        sizes.small_changes,
        sizes.repeats,
    ];
    let mut arguments = vec![folder.display().to_string()];
    arguments.extend(numbers.map(|number| number.to_string()));
    Node::start("leveldb.mjs", &arguments)?.line()
}
