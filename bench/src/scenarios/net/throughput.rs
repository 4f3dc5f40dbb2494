//! Small updates a second from store to store, with one document and with many.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use exostate::Store;
use exostate_sync::{Documents, Peer, Server};

use super::{Page, Wire, join, runtime, serve, y_websocket};
use crate::options::Options;
use crate::report::{Place, Report};
use crate::scenarios::progress;

/// Numbers of documents.
const DOCUMENTS: [usize; 2] = [1, 100];

/// Measures every transport.
pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    for documents in DOCUMENTS {
        let edits = if options.quick { 500 } else { 400_000 };
        for wire in Wire::ALL {
            let place = Place { scenario: "throughput", n: documents, system: wire.system() };
            progress("throughput", documents, wire.system());
            match through(wire, documents, edits / documents) {
                Ok(rate) => report.add(place, "updates_per_second", rate, "1/s"),
                Err(error) => report.failed(place, "edits", &error),
            }
        }
        y_websocket::row(report, "throughput", documents, |report, place| {
            report.add(
                place,
                "updates_per_second",
                y_websocket::throughput(documents, edits / documents)?,
                "1/s",
            );
            Ok(())
        });
    }
    Ok(())
}

/// Both stores of one document.
struct Pair {
    here: Store<Page>,
    there: Store<Page>,
    peer: Peer,
}

/// Edits all documents in turn, as fast as possible, until the other ends have all edits.
fn through(wire: Wire, documents: usize, edits: usize) -> Result<f64> {
    let runtime = runtime()?;
    let (server, pairs) = runtime.block_on(pairs(wire, documents))?;
    let start = Instant::now();
    for number in 1..=edits {
        for pair in &pairs {
            pair.here.change(|page| page.number().set(number as i64))?;
        }
    }
    for pair in &pairs {
        runtime.block_on(pair.peer.flush())?;
    }
    let took = start.elapsed();
    for pair in &pairs {
        ensure!(pair.there.view().number == edits as i64, "the last edit is missing");
    }
    runtime.block_on(server.shutdown());
    ensure!(took > Duration::ZERO, "the clock stands still");
    Ok((edits * documents) as f64 / took.as_secs_f64())
}

async fn pairs(wire: Wire, documents: usize) -> Result<(Server, Vec<Pair>)> {
    let stores: Vec<_> =
        (0..documents).map(|_| (Store::<Page>::new(), Store::<Page>::new())).collect();
    let mut served = Documents::new();
    for (number, (_, there)) in stores.iter().enumerate() {
        served = served.with(&format!("page {number}"), there)?;
    }
    let server = serve(wire, served).await?;
    let mut pairs = Vec::new();
    for (number, (here, there)) in stores.into_iter().enumerate() {
        let peer = join(wire, &server, &here, &format!("page {number}")).await?;
        peer.live().await?;
        pairs.push(Pair { here, there, peer });
    }
    Ok((server, pairs))
}
