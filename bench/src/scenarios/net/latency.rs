//! The time from an edit on one store to a watcher on another.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use exostate::{State, Store};
use exostate_sync::{Documents, Server};

use super::{Page, Wire, join, quinn, runtime, serve, y_websocket};
use crate::measure::Samples;
use crate::options::Options;
use crate::report::{Place, Report};
use crate::scenarios::progress;

/// Edits a second.
const RATES: [usize; 2] = [100, 1_000];

/// The number of rounds in which the systems take turns: the time to wake a thread varies from
/// minute to minute.
const ROUNDS: usize = 5;

/// Measures every transport, and a bare stream, at every rate.
pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    for rate in RATES {
        let edits = if options.quick { 20 } else { (rate * 10).max(2_000) / ROUNDS };
        let mut rounds: BTreeMap<&str, Result<Samples>> = BTreeMap::new();
        for _ in 0..ROUNDS {
            for wire in Wire::ALL {
                progress("latency", rate, wire.system());
                add_round(&mut rounds, wire.system(), through(wire, rate, edits, |_| Ok(())));
            }
            progress("latency", rate, "quinn");
            add_round(&mut rounds, "quinn", quinn::one_way(rate, edits, UPDATE_BYTES));
            if y_websocket::is_there() {
                progress("latency", rate, y_websocket::SYSTEM);
                add_round(&mut rounds, y_websocket::SYSTEM, y_websocket::latency(rate, edits));
            }
        }
        for (system, samples) in rounds {
            let place = Place { scenario: "latency", n: rate, system };
            match samples {
                Ok(samples) => add(report, place, &samples),
                Err(error) => report.failed(place, "edits", &error),
            }
        }
        y_websocket::note_if_not_there(report, "latency", rate);
    }
    Ok(())
}

/// Adds the samples of a round, unless one of the rounds failed.
fn add_round<'a>(
    rounds: &mut BTreeMap<&'a str, Result<Samples>>,
    system: &'a str,
    round: Result<Samples>,
) {
    match (rounds.entry(system).or_insert_with(|| Ok(Samples::default())), round) {
        (Ok(before), Ok(round)) => before.append(round),
        (before @ Ok(_), Err(error)) => *before = Err(error),
        (Err(_), _) => {}
    }
}

/// The size of the update of such an edit, with its frame.
const UPDATE_BYTES: usize = 64;

fn add(report: &mut Report, place: Place, samples: &Samples) {
    report.add(place, "p50", samples.median(), "µs");
    if let Some(p99) = samples.p99() {
        report.add(place, "p99", p99, "µs");
    }
}

/// Edits one store at a steady rate. A watcher on the other store records when it sees each edit.
/// The value that `meanwhile` returns is kept until the end.
pub fn through<T>(
    wire: Wire,
    rate: usize,
    edits: usize,
    meanwhile: impl FnOnce(&Server) -> Result<T>,
) -> Result<Samples> {
    let runtime = runtime()?;
    let here = Store::<Page>::new();
    let there = Store::<Page>::new();
    let (server, _peer) = runtime.block_on(async {
        let server = serve(wire, Documents::new().with("page", &here)?).await?;
        let peer = join(wire, &server, &there, "page").await?;
        peer.live().await?;
        anyhow::Ok((server, peer))
    })?;
    let (seen, sightings) = mpsc::channel();
    let _watch = there.watch(Page::path().number(), move |change| {
        if let Some(number) = change.new() {
            // The send fails only if the receiver has gone.
            let _ = seen.send((*number, Instant::now()));
        }
    });
    let _meanwhile = meanwhile(&server)?;
    let mut begun = Vec::with_capacity(edits);
    pace(rate, edits, |number| {
        begun.push(Instant::now());
        here.change(|page| page.number().set(number as i64 + 1))?;
        Ok(())
    })?;
    collect(&begun, &sightings)
}

/// Calls `step` at a steady rate.
pub fn pace(rate: usize, count: usize, mut step: impl FnMut(usize) -> Result<()>) -> Result<()> {
    let start = Instant::now();
    for number in 0..count {
        let due = start + Duration::from_secs_f64(number as f64 / rate as f64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        step(number)?;
    }
    Ok(())
}

/// Matches each edit with the first sighting of it or of a later edit. Returns the times between
/// the two.
pub fn collect(begun: &[Instant], sightings: &mpsc::Receiver<(i64, Instant)>) -> Result<Samples> {
    let mut samples = Samples::default();
    let mut next = 0;
    while next < begun.len() {
        let (number, at) =
            sightings.recv_timeout(Duration::from_secs(30)).context("an edit did not arrive")?;
        while next < begun.len() && (next as i64) < number {
            samples.add(at.saturating_duration_since(begun[next]));
            next += 1;
        }
    }
    Ok(samples)
}
