//! `exostate-bench`: compares exostate with raw yrs, raw automerge, autosurgeon and Loro, on the
//! same work in one process.
//!
//! The folders: `work` makes the inputs once, so that every system gets the same; `peers` wraps
//! each library in one file, behind two small traits; `scenarios` runs the systems and measures the
//! times; `report` prints. A new system needs a file in `peers` and two lines in `peers/mod.rs`.
//!
//! Ratios between the rows of one run are meaningful. Absolute times hold only on the machine where
//! they were measured. Timings never make the program fail; a wrong result of a system does.

#![allow(
    clippy::disallowed_methods,
    clippy::iter_over_hash_type,
    reason = "a bench reads the clock, and peers hand out hash maps"
)]

mod allocation;
mod measure;
mod options;
mod peers;
mod report;
mod scenarios;
mod work;

use anyhow::{Result, bail};

use crate::options::{Options, Scenario};
use crate::report::Report;

/// Runs the selected scenarios, and prints the results.
fn main() -> Result<()> {
    if scenarios::net::connections::run_as_clients()? {
        return Ok(());
    }
    let Some(options) = Options::from_command_line()? else {
        print!("{}", options::HELP);
        return Ok(());
    };
    let systems = peers::selected(&options.systems)?;
    let mut report = Report::default();
    for scenario in options.scenario.parts() {
        match scenario {
            Scenario::Board => scenarios::board::run(&options, &systems, &mut report)?,
            Scenario::List => scenarios::list::run(&options, &systems, &mut report)?,
            Scenario::Text => scenarios::text::run(&options, &systems, &mut report)?,
            Scenario::Load => scenarios::load::run(&options, &systems, &mut report)?,
            Scenario::Memory => scenarios::memory::run(&options, &systems, &mut report)?,
            Scenario::Store => scenarios::store::run(&options, &systems, &mut report)?,
            Scenario::Dynamic => scenarios::dynamic::run(&options, &mut report)?,
            Scenario::Storage => scenarios::storage::run(&options, &mut report)?,
            Scenario::Latency => scenarios::net::latency::run(&options, &mut report)?,
            Scenario::Throughput => scenarios::net::throughput::run(&options, &mut report)?,
            Scenario::CatchUp => scenarios::net::catch_up::run(&options, &mut report)?,
            Scenario::Presence => scenarios::net::presence::run(&options, &mut report)?,
            Scenario::Connections => scenarios::net::connections::run(&options, &mut report)?,
            Scenario::All => unreachable!("`parts` resolves `all`"),
        }
    }
    report.add_best_layouts(&systems);
    report.print(options.json)?;
    if report.failures() > 0 {
        bail!("{} measurements failed; the notes say which", report.failures());
    }
    Ok(())
}
