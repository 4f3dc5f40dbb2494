//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lexopt::prelude::*;

/// The text of `--help`.
pub const HELP: &str = "\
exostate beside raw yrs, raw automerge, autosurgeon and Loro, on the same work

usage: exostate-bench <board|list|text|load|memory|store|dynamic|storage|latency|throughput|catch_up|presence|connections|all> [options]

  board    one field of one record changes, N records: local and remote, map and list
  list     one number is inserted at a random place of a list of N numbers
  text     a recorded typing session: local, remote one by one, remote in batches of 64; memory after it
  load     saved bytes until they can be read
  memory   what an open document keeps; what holding old views costs
  store    watchers, selectors, undo, batches, opening; one change beside reactive_stores
  dynamic  a state whose type is a schema, beside the same state as a Rust type
  storage     documents on disk: changes, durable changes a second, opening, bytes written, beside raw redb, SQLite and y-leveldb
  latency     from an edit on one store to a watcher on another, on loopback, at 100 and 1,000 edits a second
  throughput  small updates a second from store to store, one document and 100
  catch_up    a fresh replica with N records, and one that missed 100,000 edits, until they are in sync
  presence    1,000 participants that show something new 20 times a second
  connections what 1,000 that rest keep, what one that comes back sends, and the time of others while 10,000 come

  latency, throughput, presence and storage also run peers in Node, if their packages are there: npm ci --prefix bench/node

  --n 1000,10000       numbers of records (default 1000,10000,100000)
  --trace PATH         a recording {startContent, endContent, txns: [{patches: [[position, deleted, inserted]]}]},
                       .json or .json.gz, positions in code points; may be given again (default: a generated one)
  --systems a,b        only these
  --quick              little of everything, for CI
  --json               one JSON line an entry on stdout, the table on stderr
";

/// A scenario of the bench, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// One field of one record.
    Board,
    /// Insertions into a list of numbers.
    List,
    /// A typing session.
    Text,
    /// Opening saved bytes.
    Load,
    /// Live memory.
    Memory,
    /// The operations of a state library: watchers, selectors, undo, batches.
    Store,
    /// A state whose type is a schema.
    Dynamic,
    /// Documents on disk.
    Storage,
    /// The time from an edit to a watcher on another store.
    Latency,
    /// Updates a second.
    Throughput,
    /// The time until a replica is in sync.
    CatchUp,
    /// Many participants that update their presence.
    Presence,
    /// The cost of connections.
    Connections,
    /// All scenarios.
    All,
}

impl Scenario {
    /// Parses the name of a scenario.
    fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "board" => Self::Board,
            "list" => Self::List,
            "text" => Self::Text,
            "load" => Self::Load,
            "memory" => Self::Memory,
            "store" => Self::Store,
            "dynamic" => Self::Dynamic,
            "storage" => Self::Storage,
            "latency" => Self::Latency,
            "throughput" => Self::Throughput,
            "catch_up" => Self::CatchUp,
            "presence" => Self::Presence,
            "connections" => Self::Connections,
            "all" => Self::All,
            _ => bail!(
                "unknown scenario {name:?}: choose board, list, text, load, memory, store, \
                 dynamic, storage, latency, throughput, catch_up, presence, connections or all"
            ),
        })
    }

    /// The scenarios that this one stands for.
    pub fn parts(self) -> Vec<Self> {
        match self {
            Self::All => {
                let network = [
                    Self::Latency,
                    Self::Throughput,
                    Self::CatchUp,
                    Self::Presence,
                    Self::Connections,
                ];
                let local =
                    [Self::Board, Self::List, Self::Text, Self::Load, Self::Memory, Self::Store];
                local.into_iter().chain([Self::Dynamic, Self::Storage]).chain(network).collect()
            }
            one => vec![one],
        }
    }
}

/// The scenario to run, and the sizes of its inputs.
#[derive(Debug)]
pub struct Options {
    /// The scenario.
    pub scenario: Scenario,
    /// Numbers of records.
    pub sizes: Vec<usize>,
    /// Recordings to replay. If there are none, one is generated.
    pub traces: Vec<PathBuf>,
    /// Names of the systems to run; empty for all.
    pub systems: Vec<String>,
    /// Small inputs and few repeats.
    pub quick: bool,
    /// JSON lines on stdout instead of the table.
    pub json: bool,
}

impl Options {
    /// Parses the command line. `None` if the user asked for help.
    pub fn from_command_line() -> Result<Option<Self>> {
        let mut scenario = None;
        let mut sizes = Vec::new();
        let mut traces = Vec::new();
        let mut systems = Vec::new();
        let mut quick = false;
        let mut json = false;
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("quick") => quick = true,
                Long("json") => json = true,
                Long("n") => sizes = parse_sizes(&arguments.value()?.string()?)?,
                Long("trace") => traces.push(PathBuf::from(arguments.value()?)),
                Long("systems") => {
                    systems.extend(arguments.value()?.string()?.split(',').map(str::to_owned))
                }
                Long("help") | Short('h') => return Ok(None),
                Value(name) if scenario.is_none() => {
                    scenario = Some(Scenario::parse(&name.string()?)?)
                }
                other => return Err(other.unexpected().into()),
            }
        }
        let Some(scenario) = scenario else {
            return Ok(None);
        };
        if sizes.is_empty() {
            sizes = if quick { vec![1_000] } else { vec![1_000, 10_000, 100_000] };
        }
        Ok(Some(Self { scenario, sizes, traces, systems, quick, json }))
    }

    /// The number of timed field changes on a board.
    pub fn edits(&self) -> usize {
        if self.quick { 200 } else { 2_000 }
    }

    /// The time limit of a system's edits on a board. Over it, the system makes fewer edits.
    pub fn board_limit(&self) -> Duration {
        Duration::from_secs(if self.quick { 3 } else { 60 })
    }

    /// The time limit of one replay of a recording. Over it, the replay is left out.
    pub fn replay_limit(&self) -> Duration {
        Duration::from_secs(if self.quick { 3 } else { 120 })
    }

    /// The number of repeats of a short measurement. The median is reported.
    pub fn repeats(&self) -> usize {
        if self.quick { 1 } else { 5 }
    }
}

/// Parses a list like `1000,10000`. Underscores are allowed.
fn parse_sizes(list: &str) -> Result<Vec<usize>> {
    list.split(',')
        .map(|size| {
            let size: usize = size
                .replace('_', "")
                .parse()
                .with_context(|| format!("--n: {size:?} is no number"))?;
            if size == 0 { bail!("--n: a board needs at least one record") } else { Ok(size) }
        })
        .collect()
}
