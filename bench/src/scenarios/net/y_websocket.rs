//! The same work with y-websocket: its server runs in one Node process, its provider in another
//! (`bench/node`).

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::measure::Samples;
use crate::peers::node::{self, Node};
use crate::report::{Place, Report};
use crate::scenarios::progress;

/// The system's name in the report.
pub const SYSTEM: &str = "y-websocket";

/// Adds the figures of `measure`. Adds a note instead if Node or its packages are not installed.
pub fn row(
    report: &mut Report,
    scenario: &'static str,
    n: usize,
    measure: impl FnOnce(&mut Report, Place) -> Result<()>,
) {
    let place = Place { scenario, n, system: SYSTEM };
    if !is_there() {
        return note_if_not_there(report, scenario, n);
    }
    progress(scenario, n, SYSTEM);
    if let Err(error) = measure(report, place) {
        report.failed(place, "the Node processes", &error);
    }
}

/// Whether the packages of y-websocket are installed.
pub fn is_there() -> bool {
    node::has("y-websocket")
}

/// Adds a note if the packages are not installed.
pub fn note_if_not_there(report: &mut Report, scenario: &'static str, n: usize) {
    if !is_there() {
        report.note(Place { scenario, n, system: SYSTEM }, node::MISSING);
    }
}

/// Updates a second, from the first edit until the server has the last edit of every document.
pub fn throughput(documents: usize, edits: usize) -> Result<f64> {
    let server = Server::start(documents, edits)?;
    let client = server.client("throughput", [documents, edits])?;
    let begun = client.line::<Begun>()?.begun;
    let took =
        server.node.line::<Done>()?.done - begun.first().context("the client did not begin")?;
    Ok((documents * edits) as f64 / (took / 1e6))
}

/// The time from an edit in one process until the server's document shows it, or a later one.
pub fn latency(rate: usize, edits: usize) -> Result<Samples> {
    let server = Server::start(1, edits)?;
    let client = server.client("latency", [rate, edits])?;
    let begun = client.line::<Begun>()?.begun;
    let seen = server.node.line::<Done>()?.seen;
    let mut samples = Samples::default();
    let mut next = 0;
    for (edit, at) in seen {
        for begun in begun.get(next..edit).unwrap_or_default() {
            samples.add(Duration::from_secs_f64((at - begun).max(0.0) / 1e6));
        }
        next = next.max(edit);
    }
    Ok(samples)
}

/// How many changes all participants together receive in a second.
pub fn presence(participants: usize, seconds: u64) -> Result<f64> {
    let server = Server::start(1, 0)?;
    let client = server.client("presence", [participants, usize::try_from(seconds)?])?;
    Ok(client.line::<Rate>()?.rate)
}

#[derive(Deserialize)]
struct Port {
    port: u16,
}

/// Times are in microseconds, of a clock that both processes share.
#[derive(Deserialize)]
struct Begun {
    begun: Vec<f64>,
}

#[derive(Deserialize)]
struct Done {
    done: f64,
    seen: Vec<(usize, f64)>,
}

#[derive(Deserialize)]
struct Rate {
    rate: f64,
}

struct Server {
    node: Node,
    url: String,
}

impl Server {
    fn start(documents: usize, last: usize) -> Result<Self> {
        let node = Node::start("server.mjs", &[documents.to_string(), last.to_string()])?;
        let port = node.line::<Port>()?.port;
        Ok(Self { node, url: format!("ws://127.0.0.1:{port}") })
    }

    fn client(&self, what: &str, numbers: [usize; 2]) -> Result<Node> {
        let [first, second] = numbers.map(|number| number.to_string());
        Node::start("client.mjs", &[what.to_owned(), self.url.clone(), first, second])
    }
}
