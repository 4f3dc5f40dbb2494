//! A list of numbers: one element is inserted at a random place, locally and on another replica.
//!
//! The elements that are there at first were inserted one by one at the front, so none of them is
//! kept together with its neighbour. The systems take turns on slices of the edits. `board` does
//! the same and gives the reason.

use anyhow::{Result, ensure};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::progress;
use crate::measure::Samples;
use crate::options::Options;
use crate::peers::{ListPeer, System};
use crate::report::{Place, Report};

/// The number of insertions, and the number of slices in which the systems take turns.
const EDITS: usize = 2_000;
const SLICES: usize = 20;

/// Measures every system that keeps a list of numbers, at every size.
pub fn run(options: &Options, systems: &[System], report: &mut Report) -> Result<()> {
    for &n in &options.sizes {
        let edits = if options.quick { EDITS / 20 } else { EDITS };
        let mut random = SmallRng::seed_from_u64(n as u64);
        let places: Vec<usize> = (0..edits).map(|edit| random.random_range(0..=n + edit)).collect();
        let mut lanes = Vec::new();
        for system in systems {
            let Some(new) = system.numbers else { continue };
            progress("list", n, system.name);
            let place = Place { scenario: "list", n, system: system.name };
            match Lane::new(new, n, place) {
                Ok(lane) => lanes.push(lane),
                Err(error) => report.failed(place, "build", &error),
            }
        }
        for slice in places.chunks(edits.div_ceil(SLICES)) {
            lanes.retain_mut(|lane| match lane.run(slice) {
                Ok(()) => true,
                Err(error) => {
                    report.failed(lane.place, "insert", &error);
                    false
                }
            });
        }
        lanes.into_iter().for_each(|lane| lane.finish(report));
    }
    Ok(())
}

/// Two replicas of a list in one system.
struct Lane {
    place: Place,
    writer: Box<dyn ListPeer>,
    reader: Box<dyn ListPeer>,
    edits: usize,
    local: Samples,
    remote: Samples,
}

impl Lane {
    fn new(new: fn(u8) -> Result<Box<dyn ListPeer>>, n: usize, place: Place) -> Result<Self> {
        let mut writer = new(1)?;
        let mut reader = new(2)?;
        let numbers: Vec<i64> = (0..n as i64).collect();
        writer.fill(&numbers)?;
        writer.everything()?.iter().try_for_each(|update| reader.remote(update))?;
        let (local, remote) = (Samples::default(), Samples::default());
        Ok(Self { place, writer, reader, edits: n, local, remote })
    }

    fn run(&mut self, places: &[usize]) -> Result<()> {
        for &at in places {
            let number = self.edits as i64;
            self.edits += 1;
            let update = self.local.time(|| self.writer.insert(at, number))?;
            self.remote.time(|| self.reader.remote(&update))?;
        }
        Ok(())
    }

    fn finish(self, report: &mut Report) {
        let same = || -> Result<()> {
            ensure!(self.writer.numbers()? == self.reader.numbers()?, "the replicas differ");
            Ok(())
        };
        match same() {
            Ok(()) => {
                report.add(self.place, "insert_local", self.local.median(), "µs");
                report.add(self.place, "insert_remote", self.remote.median(), "µs");
            }
            Err(error) => report.failed(self.place, "insert", &error),
        }
    }
}
