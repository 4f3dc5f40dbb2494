//! One field of one record changes. Measured are the time until the update can be sent, and the
//! time until another replica has it.
//!
//! All systems at all sizes are built first. Then they take turns, with an eighth of their edits in
//! each turn. The speed of the machine varies; in this way it varies alike for every row, and
//! ratios hold, also between sizes.

use std::ops::Range;
use std::rc::Rc;

use anyhow::{Result, ensure};

use super::progress;
use crate::measure::Samples;
use crate::options::Options;
use crate::peers::{Board, Boards, System};
use crate::report::{Place, Report};
use crate::work::cards::BoardWork;

/// The number of turns of each system.
const TURNS: usize = 8;

/// The number of edits at the start of a turn that are not timed, because the caches hold another
/// system's data.
const WARM_UP: usize = 50;

/// The least number of timed edits, even for a slow system.
const EDITS_MIN: usize = 5;

/// The number of touched cards that are compared afterwards.
const CARDS_COMPARED: usize = 100;

/// The names of the figures for a map and for a list.
const MAP_METRICS: [&str; 4] = ["local", "remote", "local_p99", "remote_p99"];
const LIST_METRICS: [&str; 4] = ["list_local", "list_remote", "list_local_p99", "list_remote_p99"];

/// Measures every system at every size, as a map and as a list.
pub fn run(options: &Options, systems: &[System], report: &mut Report) -> Result<()> {
    run_as("board", options, systems, report)
}

/// The same under the name of another scenario.
pub fn run_as(
    scenario: &'static str,
    options: &Options,
    systems: &[System],
    report: &mut Report,
) -> Result<()> {
    let mut runners = build_all(scenario, options, systems, report);
    for turn in 1..=TURNS {
        eprintln!("{scenario}: turn {turn} of {TURNS}");
        runners.retain_mut(|runner| match runner.turn(options) {
            Ok(()) => true,
            Err(error) => {
                report.failed(runner.place, runner.metrics[0], &error);
                false
            }
        });
    }
    for runner in runners {
        match runner.check() {
            Ok(()) => runner.report(options.edits(), report),
            Err(error) => report.failed(runner.place, runner.metrics[0], &error),
        }
    }
    Ok(())
}

/// Builds both replicas of every system that runs.
fn build_all(
    scenario: &'static str,
    options: &Options,
    systems: &[System],
    report: &mut Report,
) -> Vec<Runner> {
    let mut runners = Vec::new();
    for &n in &options.sizes {
        let work = Rc::new(BoardWork::new(n, TURNS * WARM_UP + options.edits()));
        for system in systems {
            let place = Place { scenario, n, system: system.name };
            for (boards, metrics) in [(system.map, MAP_METRICS), (system.list, LIST_METRICS)] {
                let Some(boards) = boards else { continue };
                progress(scenario, n, &format!("building {} ({})", system.name, metrics[0]));
                match Runner::new(boards, &work, place, metrics, system.edits_max) {
                    Ok(runner) => runners.push(runner),
                    Err(error) => report.failed(place, metrics[0], &error),
                }
            }
        }
    }
    runners
}

/// A system at one size: the replica that writes, the replica that receives, and the times so far.
struct Runner {
    place: Place,
    metrics: [&'static str; 4],
    edits_max: Option<usize>,
    work: Rc<BoardWork>,
    writer: Box<dyn Board>,
    reader: Box<dyn Board>,
    done: usize,
    local: Samples,
    remote: Samples,
}

impl Runner {
    /// Builds the writer, and opens the reader from its bytes.
    fn new(
        boards: Boards,
        work: &Rc<BoardWork>,
        place: Place,
        metrics: [&'static str; 4],
        edits_max: Option<usize>,
    ) -> Result<Self> {
        let mut writer = (boards.build)(&work.cards)?;
        let reader = (boards.open)(&writer.save()?)?;
        let local = Samples::default();
        let remote = Samples::default();
        Ok(Self {
            place,
            metrics,
            edits_max,
            work: Rc::clone(work),
            writer,
            reader,
            done: 0,
            local,
            remote,
        })
    }

    /// Makes the edits of one turn on the writer, then applies them on the reader.
    fn turn(&mut self, options: &Options) -> Result<()> {
        let over = self.local.len() >= EDITS_MIN
            && self.local.sum() + self.remote.sum() > options.board_limit();
        let (warm_up, timed) = match self.edits_max {
            _ if over => return Ok(()),
            Some(most) => (0, usize::from(self.local.len() < most)),
            None => (WARM_UP, options.edits() / TURNS),
        };
        let edits = self.done..self.done + warm_up + timed;
        let first_timed = edits.start + warm_up;
        let updates = self.write(edits, first_timed)?;
        for (index, update) in updates.iter().enumerate() {
            if index >= warm_up {
                self.remote.time(|| self.reader.remote(update))?;
            } else {
                self.reader.remote(update)?;
            }
        }
        self.done += updates.len();
        Ok(())
    }

    /// Makes these edits, and returns their updates.
    fn write(&mut self, edits: Range<usize>, first_timed: usize) -> Result<Vec<Vec<u8>>> {
        let mut updates = Vec::with_capacity(edits.len());
        for index in edits {
            let edit = &self.work.edits[index];
            updates.push(if index >= first_timed {
                self.local.time(|| self.writer.local(edit))?
            } else {
                self.writer.local(edit)?
            });
        }
        Ok(updates)
    }

    /// Checks that the edited cards are right on both replicas.
    fn check(&self) -> Result<()> {
        for (index, expected) in self.work.cards_after(self.done).into_iter().take(CARDS_COMPARED) {
            for (side, board) in [("local", &self.writer), ("remote", &self.reader)] {
                let found = board.card(index, &expected.id)?;
                ensure!(
                    found == expected,
                    "{side}: card {index} is {found:?}, expected {expected:?}"
                );
            }
        }
        Ok(())
    }

    /// Adds the figures. Adds a note if there were fewer edits than usual.
    fn report(&self, edits: usize, report: &mut Report) {
        let [local, remote, local_p99, remote_p99] = self.metrics;
        report.add(self.place, local, self.local.median(), "µs");
        report.add(self.place, remote, self.remote.median(), "µs");
        for (metric, p99) in [(local_p99, self.local.p99()), (remote_p99, self.remote.p99())] {
            if let Some(p99) = p99 {
                report.add(self.place, metric, p99, "µs");
            }
        }
        if self.local.len() < edits {
            report.note(
                self.place,
                format_args!("{local}, {remote}: medians over {} edits only", self.local.len()),
            );
        }
    }
}
