//! How long a replica takes until it is in sync, if it is empty or was away for long. The figures
//! are medians of several rounds.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use exostate::Store;
use exostate_sync::Documents;

use super::{Card, Page, Wire, join, quinn, runtime, serve};
use crate::measure::Samples;
use crate::options::Options;
use crate::report::{Place, Report};
use crate::scenarios::progress;
use crate::work::cards::BoardWork;

/// Edits that a replica missed.
const MISSED: usize = 100_000;

/// Measures QUIC and WebSocket at every size, and the same bytes alone.
pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    for &n in &options.sizes {
        let work = BoardWork::new(n, 0);
        let store = Store::<Page>::new();
        store.change(|page| {
            work.cards.iter().try_for_each(|card| {
                let record = Card {
                    id: card.id.clone(),
                    text: card.text.clone(),
                    done: card.done,
                    points: card.points,
                };
                page.cards().insert(card.id.as_str(), record)
            })
        })?;
        let wires = [Wire::Quic, Wire::WebSocket];
        let mut caught_up = wires.map(|_| (Samples::default(), Samples::default()));
        let mut alone = Samples::default();
        // The transports take turns: the first measurement in a process also pays for its memory.
        for _ in 0..options.repeats() {
            for (wire, (fresh, behind)) in wires.into_iter().zip(&mut caught_up) {
                progress("catch_up", n, wire.system());
                let missed = if options.quick { 1_000 } else { MISSED };
                let took = one(wire, &store, missed)
                    .with_context(|| format!("{} does not catch up", wire.system()))?;
                fresh.add(took.0);
                behind.add(took.1);
            }
            progress("catch_up", n, "quinn");
            alone.add(limit(&store, n)?);
        }
        for (wire, (fresh, behind)) in wires.into_iter().zip(caught_up) {
            let place = Place { scenario: "catch_up", n, system: wire.system() };
            report.add(place, "fresh", fresh.median() / 1e3, "ms");
            report.add(place, "behind", behind.median() / 1e3, "ms");
        }
        report.add(
            Place { scenario: "catch_up", n, system: "quinn" },
            "transfer_and_open",
            alone.median() / 1e3,
            "ms",
        );
    }
    Ok(())
}

/// The same bytes alone: the time over a stream, and the time to open them.
fn limit(store: &Store<Page>, n: usize) -> Result<Duration> {
    let bytes = store.save();
    let transfer = Duration::from_secs_f64(quinn::transfer(bytes.len())? / 1e3);
    let start = Instant::now();
    let opened = Store::<Page>::open(&bytes)?;
    let opening = start.elapsed();
    ensure!(opened.view().cards.len() == n, "a record is missing");
    Ok(transfer + opening)
}

/// Measures a fresh replica, and then the same replica after it missed many edits.
fn one(wire: Wire, store: &Store<Page>, missed: usize) -> Result<(Duration, Duration)> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let there = store.fork()?;
        let server = serve(wire, Documents::new().with("page", &there)?).await?;
        let here = Store::<Page>::new();
        let start = Instant::now();
        let peer = join(wire, &server, &here, "page").await?;
        peer.live().await?;
        let fresh = start.elapsed();
        ensure!(here.view() == there.view(), "the views differ");
        peer.disconnect().await;
        for number in 0..missed {
            there.change(|page| page.number().set(number as i64 + 1))?;
        }
        let start = Instant::now();
        let peer = join(wire, &server, &here, "page").await?;
        peer.live().await?;
        let behind = start.elapsed();
        ensure!(here.view().number == missed as i64, "the last edit is missing");
        peer.disconnect().await;
        server.shutdown().await;
        Ok((fresh, behind))
    })
}
