//! How long a replica takes that has nothing, or that was away for long, until it is level.

use std::time::Instant;

use anyhow::{Result, ensure};
use exostate::Store;
use exostate_sync::Documents;

use super::{Card, Page, Wire, join, quinn, runtime, serve};
use crate::options::Options;
use crate::report::{Place, Report};
use crate::scenarios::progress;
use crate::work::cards::BoardWork;

/// Edits that a replica missed.
const MISSED: usize = 100_000;

/// Measures QUIC and WebSocket at every size, and what the same bytes take alone.
pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    for &n in &options.sizes {
        let work = BoardWork::new(n, 0);
        let store = Store::<Page>::new();
        store.change(|page| {
            work.cards.iter().try_for_each(|card| {
                let record = Card { id: card.id.clone(), text: card.text.clone(), done: card.done, points: card.points };
                page.cards().insert(card.id.as_str(), record)
            })
        })?;
        for wire in [Wire::Quic, Wire::WebSocket] {
            let place = Place { scenario: "catch_up", n, system: wire.system() };
            progress("catch_up", n, wire.system());
            let missed = if options.quick { 1_000 } else { MISSED };
            match one(wire, &store, missed) {
                Ok((fresh, behind)) => {
                    report.add(place, "fresh", fresh, "ms");
                    report.add(place, "behind", behind, "ms");
                }
                Err(error) => report.failed(place, "catching up", &error),
            }
        }
        let place = Place { scenario: "catch_up", n, system: "quinn" };
        progress("catch_up", n, "quinn");
        let bytes = store.save();
        let transfer = quinn::transfer(bytes.len())?;
        let start = Instant::now();
        let opened = Store::<Page>::open(&bytes)?;
        let opening = start.elapsed().as_secs_f64() * 1e3;
        ensure!(opened.view().cards.len() == n, "a record is missing");
        report.add(place, "transfer_and_open", transfer + opening, "ms");
    }
    Ok(())
}

/// A fresh replica, then the same one after it was away while the other made many edits.
fn one(wire: Wire, store: &Store<Page>, missed: usize) -> Result<(f64, f64)> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let there = store.fork()?;
        let server = serve(wire, Documents::new().with("page", &there)?).await?;
        let here = Store::<Page>::new();
        let start = Instant::now();
        let peer = join(wire, &server, &here, "page").await?;
        peer.live().await?;
        let fresh = start.elapsed().as_secs_f64() * 1e3;
        ensure!(here.view() == there.view(), "the views differ");
        peer.disconnect().await;
        for number in 0..missed {
            there.change(|page| page.number().set(number as i64 + 1))?;
        }
        let start = Instant::now();
        let peer = join(wire, &server, &here, "page").await?;
        peer.live().await?;
        let behind = start.elapsed().as_secs_f64() * 1e3;
        ensure!(here.view().number == missed as i64, "the last edit is missing");
        peer.disconnect().await;
        server.shutdown().await;
        Ok((fresh, behind))
    })
}
