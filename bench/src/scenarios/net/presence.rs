//! Many participants that update their presence all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use exostate::Store;
use exostate_sync::{Documents, Presence, Status};

use super::{Page, Wire, join, runtime, serve, y_websocket};
use crate::options::Options;
use crate::report::{Place, Report};
use crate::scenarios::progress;

/// The number of states that each participant shows in a second.
const RATE: u32 = 20;

/// Measures participants on one server. Each has a connection of its own.
pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    let participants = if options.quick { 20 } else { 1_000 };
    for wire in [Wire::Memory, Wire::Quic] {
        let place = Place { scenario: "presence", n: participants, system: wire.system() };
        progress("presence", participants, wire.system());
        let seconds = if options.quick { 1 } else { 10 };
        match deliveries(wire, participants, Duration::from_secs(seconds)) {
            Ok(rate) => report.add(place, "deliveries_per_second", rate, "1/s"),
            Err(error) => report.failed(place, "showing", &error),
        }
    }
    let seconds = if options.quick { 1 } else { 10 };
    y_websocket::row(report, "presence", participants, |report, place| {
        report.add(
            place,
            "deliveries_per_second",
            y_websocket::presence(participants, seconds)?,
            "1/s",
        );
        Ok(())
    });
    Ok(())
}

/// How many changes all participants together receive in a second.
fn deliveries(wire: Wire, participants: usize, time: Duration) -> Result<f64> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let server = serve(wire, Documents::new().with("page", Store::<Page>::new())?).await?;
        let mut peers = Vec::new();
        for _ in 0..participants {
            let peer = join(wire, &server, &Store::new(), "page").await?;
            peer.live().await?;
            peers.push(peer);
        }
        let start = Instant::now();
        let told = Arc::new(AtomicU64::new(0));
        for (number, peer) in peers.iter().enumerate() {
            let presence = peer.presence::<u64>();
            let told = Arc::clone(&told);
            let mut changes = presence.watch();
            tokio::spawn(async move {
                while changes.next().await.is_some() {
                    told.fetch_add(1, Ordering::Relaxed);
                }
            });
            tokio::spawn(show(
                presence,
                Duration::from_secs(1) / RATE * number as u32 / participants as u32,
            ));
        }
        tokio::time::sleep(time).await;
        let rate = told.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
        let connected =
            peers.iter().filter(|peer| matches!(*peer.status().borrow(), Status::Live)).count();
        ensure!(connected == participants, "only {connected} are still connected");
        Ok(rate)
    })
}

/// Updates the presence at a steady rate.
async fn show(presence: Presence<u64>, offset: Duration) {
    let mut ticks = tokio::time::interval_at(
        tokio::time::Instant::now() + offset,
        Duration::from_secs(1) / RATE,
    );
    // A late participant skips the missed ticks: only the newest value counts.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    for state in 0_u64.. {
        ticks.tick().await;
        if presence.set(&state).is_err() {
            return;
        }
    }
}
