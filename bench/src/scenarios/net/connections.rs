//! The cost of connections for a server: memory of idle connections, bytes of a reconnection, and
//! the latency of others during a flood of connections.
//!
//! The clients run in another process, so that only the server's memory is counted.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use exostate::{Document, Store};
use exostate_sync::{Client, Config, Documents, Peer, Role, Scheme, Server, Session};
use tokio::task::JoinSet;

use super::{Page, Wire, latency, runtime, serve};
use crate::allocation::megabytes_kept;
use crate::measure::Samples;
use crate::options::Options;
use crate::report::{Place, Report};
use crate::scenarios::progress;

/// Edits a second while others flood the server.
const RATE: usize = 1_000;
/// The number of rounds. In each round edits run alone first, then during a flood.
const ROUNDS: usize = 5;
/// The number of a flood's attempts that run at once.
const AT_ONCE: usize = 64;
/// The number of replicas that wrote to the document before the reconnection.
const WRITERS: usize = 200;

/// Measures idle connections, a reconnection and a flood.
pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    let (resting, flood) = if options.quick { (20, 200) } else { (1_000, 10_000) };
    for (wire, scheme) in [(Wire::Quic, Scheme::Quic), (Wire::WebSocket, Scheme::WebSocket)] {
        let place = Place { scenario: "connections", n: resting, system: wire.system() };
        progress("connections", resting, wire.system());
        match idle(wire, scheme, resting) {
            Ok(bytes) => report.add(place, "idle_bytes", bytes, "B"),
            Err(error) => report.failed(place, "resting", &error),
        }
    }
    let place = Place { scenario: "connections", n: WRITERS, system: Wire::Memory.system() };
    report.add(place, "reconnect_bytes", come_back(WRITERS)? as f64, "B");
    let place = Place { scenario: "connections", n: flood, system: Wire::Quic.system() };
    progress("connections", flood, Wire::Quic.system());
    let (rounds, edits) = if options.quick { (1, 200) } else { (ROUNDS, 4_000) };
    let mut samples = [Samples::default(), Samples::default()];
    for _ in 0..rounds {
        for (samples, flood) in samples.iter_mut().zip([None, Some(flood)]) {
            samples.append(latency::through(Wire::Quic, RATE, edits, |server| {
                flood
                    .map(|attempts| Clients::start("flood", server, Scheme::Quic, attempts))
                    .transpose()
            })?);
        }
    }
    for (metric, samples) in ["p99", "p99_flooded"].into_iter().zip(samples) {
        report.add(place, metric, samples.p99().unwrap_or(f64::NAN), "µs");
    }
    Ok(())
}

/// The server's memory for each idle connection that is in sync.
fn idle(wire: Wire, scheme: Scheme, connections: usize) -> Result<f64> {
    let runtime = runtime()?;
    let server = runtime.block_on(async {
        serve(wire, Documents::new().with("page", Store::<Page>::new())?).await
    })?;
    let (clients, megabytes) = megabytes_kept(|| {
        let mut clients = Clients::start("rest", &server, scheme, connections)?;
        clients.wait()?;
        anyhow::Ok(clients)
    });
    drop(clients?);
    Ok(megabytes * 1e6 / connections as f64)
}

/// The bytes that a reconnection sends when nothing is missing. The direction with more bytes
/// counts.
fn come_back(writers: usize) -> Result<usize> {
    let one = Store::<Page>::new();
    for number in 0..writers {
        let writer = one.fork()?;
        writer.change(|page| page.number().set(number as i64))?;
        one.merge(&writer)?;
    }
    let other = one.fork()?;
    let now = Duration::ZERO;
    let session =
        |document: &Document, role| Session::new(Config::default(), role, "page", document, now);
    let (one, other) = (one.document(), other.document());
    let mut sides =
        [(session(&one, Role::Initiator), &one), (session(&other, Role::Responder), &other)];
    let mut bytes = [0; 2];
    loop {
        let said = sides.each_mut().map(|(session, _)| {
            std::iter::from_fn(|| session.poll_transmit(now)).collect::<Vec<_>>()
        });
        if said.iter().all(Vec::is_empty) {
            ensure!(sides.iter().all(|(session, _)| session.is_live()), "they are not in sync");
            return Ok(bytes[0].max(bytes[1]));
        }
        for (from, frames) in said.iter().enumerate() {
            bytes[from] += frames.iter().map(Vec::len).sum::<usize>();
            let (session, document) = &mut sides[1 - from];
            frames.iter().for_each(|frame| session.handle_bytes(now, frame, *document));
            session.settle(*document);
        }
    }
}

/// A process of clients. Dropping this value ends it.
struct Clients {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Drop for Clients {
    fn drop(&mut self) {
        // This fails if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first argument that makes this program a process of clients.
const ARGUMENT: &str = "--clients";

impl Clients {
    fn start(what: &str, server: &Server, scheme: Scheme, count: usize) -> Result<Self> {
        let ticket = server.ticket_over(scheme, "page")?.to_string();
        // An attacker uses a machine of its own. So the flood must not take CPU time from the
        // server here.
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(std::env::current_exe()?);
        command.args([ARGUMENT, what, &ticket, &count.to_string()]).stdout(Stdio::piped());
        let mut child = command.spawn().context("`nice` cannot be started")?;
        let stdout = child.stdout.take().context("it says nothing")?;
        Ok(Self { child, said: BufReader::new(stdout) })
    }

    /// Waits until the process reports success.
    fn wait(&mut self) -> Result<()> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        ensure!(line == "ready\n", "the clients did not come");
        Ok(())
    }
}

/// Runs as a process of clients if the first argument says so. Returns whether it did.
pub fn run_as_clients() -> Result<bool> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [argument, what, ticket, count] = &arguments[..] else { return Ok(false) };
    if argument != ARGUMENT {
        return Ok(false);
    }
    let count = count.parse()?;
    let runtime = runtime()?;
    runtime.block_on(async {
        if what == "rest" { rest(ticket, count).await } else { flood(ticket, count).await }
    })?;
    Ok(true)
}

/// Opens `count` connections that are in sync and idle.
async fn rest(ticket: &str, count: usize) -> Result<()> {
    let mut peers = Vec::new();
    for _ in 0..count {
        let peer = Peer::connect(&Store::<Page>::new(), ticket).await?;
        peer.live().await?;
        peers.push(peer);
    }
    println!("ready");
    std::future::pending().await
}

/// Opens `count` connections, and ignores the results.
async fn flood(ticket: &str, count: usize) -> Result<()> {
    let mut attempts = JoinSet::new();
    for _ in 0..count {
        if attempts.len() == AT_ONCE {
            attempts.join_next().await;
        }
        let ticket = ticket.to_owned();
        attempts.spawn(async move {
            let client = Client::new(Config::default().without_reconnecting());
            if let Ok(peer) = client.connect(&Store::<Page>::new(), ticket).await {
                peer.disconnect().await;
            }
        });
    }
    attempts.join_all().await;
    println!("ready");
    std::future::pending().await
}
