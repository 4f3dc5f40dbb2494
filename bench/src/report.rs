//! The measured figures: kept as entries, and printed as a table or as JSON lines.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

use crate::peers::System;

/// One measured figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Entry {
    scenario: &'static str,
    n: usize,
    system: &'static str,
    metric: &'static str,
    value: f64,
    unit: &'static str,
}

/// All figures of a run.
#[derive(Debug, Default)]
pub struct Report {
    entries: Vec<Entry>,
    notes: Vec<String>,
    failures: usize,
}

/// The place of a figure in the report: a block of the table, and a row in it.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The scenario.
    pub scenario: &'static str,
    /// The number of records, or of keystrokes.
    pub n: usize,
    /// The system.
    pub system: &'static str,
}

impl Report {
    /// Adds a figure.
    pub fn add(&mut self, place: Place, metric: &'static str, value: f64, unit: &'static str) {
        let Place { scenario, n, system } = place;
        self.entries.push(Entry { scenario, n, system, metric, value, unit });
    }

    /// Returns a figure that was added, if there is one.
    pub fn figure(&self, place: Place, metric: &str) -> Option<f64> {
        let is_it = |entry: &&Entry| {
            (entry.scenario, entry.n, entry.system, entry.metric)
                == (place.scenario, place.n, place.system, metric)
        };
        self.entries.iter().find(is_it).map(|entry| entry.value)
    }

    /// Adds a remark. It is printed below the table.
    pub fn note(&mut self, place: Place, remark: impl std::fmt::Display) {
        self.notes.push(format!("{} n={} {}: {remark}", place.scenario, place.n, place.system));
    }

    /// Notes that a system failed. The other systems continue.
    pub fn failed(&mut self, place: Place, what: &str, error: &anyhow::Error) {
        self.failures += 1;
        self.note(place, format_args!("{what} FAILED: {error:#}"));
    }

    /// The number of failures.
    pub fn failures(&self) -> usize {
        self.failures
    }

    /// For each system with several layouts, adds the better figure under the system's own name.
    ///
    /// The 99th percentile is that of the layout with the better median.
    pub fn add_best_layouts(&mut self, systems: &[System]) {
        let group_of: BTreeMap<&str, &'static str> =
            systems.iter().filter_map(|system| Some((system.name, system.layout_of?))).collect();
        let mut best: BTreeMap<(&str, usize, &str, &str), &Entry> = BTreeMap::new();
        for entry in &self.entries {
            let Some(group) = group_of.get(entry.system) else {
                continue;
            };
            let slot = best.entry((entry.scenario, entry.n, group, entry.metric)).or_insert(entry);
            if entry.value < slot.value {
                *slot = entry;
            }
        }
        let mut won = Vec::new();
        for (&(scenario, n, group, metric), &entry) in &best {
            let deciding = metric
                .strip_suffix("_p99")
                .and_then(|median| best.get(&(scenario, n, group, median)));
            let winner = deciding.map_or(entry.system, |median| median.system);
            let figure = self
                .entries
                .iter()
                .find(|e| (e.scenario, e.n, e.system, e.metric) == (scenario, n, winner, metric));
            if let (Some(figure), Some(&system)) = (figure, group_of.get(winner)) {
                won.push(Entry { system, ..figure.clone() });
            }
        }
        self.entries.extend(won);
    }

    /// Prints the table on stdout. With `json` the entries go to stdout as lines, and the table
    /// goes to stderr.
    pub fn print(&self, json: bool) -> Result<()> {
        let table = self.table()?;
        if json {
            eprint!("{table}");
            for entry in &self.entries {
                println!("{}", serde_json::to_string(entry)?);
            }
        } else {
            print!("{table}");
        }
        Ok(())
    }

    /// The table: a block for each scenario and size, a row for each system, a column for each
    /// metric.
    fn table(&self) -> Result<String> {
        let mut text = String::new();
        for (scenario, n) in distinct(self.entries.iter().map(|entry| (entry.scenario, entry.n))) {
            let block: Vec<&Entry> = self
                .entries
                .iter()
                .filter(|entry| (entry.scenario, entry.n) == (scenario, n))
                .collect();
            let columns = distinct(block.iter().map(|entry| (entry.metric, entry.unit)));
            let headings: Vec<String> =
                columns.iter().map(|(metric, unit)| format!("{metric} [{unit}]")).collect();
            write!(text, "\n{:<20}", format!("{scenario} n={n}"))?;
            headings.iter().try_for_each(|heading| write!(text, "  {heading:>15}"))?;
            writeln!(text)?;
            let mut systems = distinct(block.iter().map(|entry| entry.system));
            systems.sort_by_key(|system| (!system.starts_with("exostate"), *system));
            for system in systems {
                write!(text, "{system:<20}")?;
                for ((metric, _), heading) in columns.iter().zip(&headings) {
                    let entry = block
                        .iter()
                        .find(|entry| (entry.system, entry.metric) == (system, *metric));
                    let figure =
                        entry.map_or_else(|| "-".to_owned(), |entry| readable(entry.value));
                    write!(text, "  {figure:>width$}", width = heading.len().max(15))?;
                }
                writeln!(text)?;
            }
        }
        if !self.notes.is_empty() {
            writeln!(text, "\nnotes")?;
            self.notes.iter().try_for_each(|note| writeln!(text, "  {note}"))?;
        }
        Ok(text)
    }
}

/// A number with three or four significant figures.
fn readable(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// The distinct items, in the order of their first appearance.
fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}
