//! Many participants that show something new all the time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use exostate::Store;
use exostate_sync::{Documents, Presence};

use super::{Page, Wire, join, runtime, serve};
use crate::options::Options;
use crate::report::{Place, Report};
use crate::scenarios::progress;

/// States that each participant shows in a second.
const RATE: u32 = 20;
/// Who watches all the others.
const WATCHERS: usize = 2;

/// Measures participants that come over one server, each by a connection of its own.
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
    Ok(())
}

/// How many changes the watchers were told of in a second, together.
fn deliveries(wire: Wire, participants: usize, time: Duration) -> Result<f64> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let server = serve(wire, Documents::new().with("page", Store::<Page>::new())?).await?;
        let (mut peers, mut told) = (Vec::new(), Vec::new());
        for _ in 0..WATCHERS {
            let peer = join(wire, &server, &Store::new(), "page").await?;
            let mut changes = peer.presence::<u64>().watch();
            told.push(tokio::spawn(async move {
                let mut count = 0_u64;
                let end = tokio::time::Instant::now() + time + Duration::from_secs(1);
                while let Ok(Some(_)) = tokio::time::timeout_at(end, changes.next()).await {
                    count += 1;
                }
                count
            }));
            peers.push(peer);
        }
        for number in 0..participants {
            let peer = join(wire, &server, &Store::new(), "page").await?;
            let presence: Presence<u64> = peer.presence();
            let offset = Duration::from_secs(1) / RATE * number as u32 / participants as u32;
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + offset, Duration::from_secs(1) / RATE);
                for state in 0_u64.. {
                    ticks.tick().await;
                    if presence.set(&state).is_err() {
                        return;
                    }
                }
            });
            peers.push(peer);
        }
        let start = Instant::now();
        let mut count = 0;
        for told in told {
            count += told.await.context("a watcher panicked")?;
        }
        Ok(count as f64 / start.elapsed().as_secs_f64())
    })
}
