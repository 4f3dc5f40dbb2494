//! Calls on an adapter, and the model of what must be there after them.

use std::collections::{BTreeMap, BTreeSet};

use exostate_storage::{Adapter, AdapterError, Append};
use fastrand::Rng;

/// A call. Records and snapshots carry a checksum, as the layer above the adapters writes one.
#[derive(Clone, Debug)]
pub enum Call {
    Append(Vec<(String, u64, Vec<u8>)>),
    Replace(String, u64, Vec<u8>),
    Overwrite(String, u64, Vec<u8>),
    Delete(String),
    Sync,
}

#[derive(Debug)]
pub struct Script(Vec<Call>);

/// A document: the snapshot, and the records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    snapshot: Option<(u64, Vec<u8>)>,
    records: BTreeMap<u64, Vec<u8>>,
}

pub type Documents = BTreeMap<String, Document>;

/// A document as an adapter gives it.
#[derive(Debug)]
pub struct Found {
    document: Document,
    torn: bool,
    /// The layer above finds that something is wrong.
    wrong: Option<String>,
}

impl Found {
    /// Whether the layer above learns that the document is not as it was written.
    pub fn is_reported(&self) -> bool {
        self.torn || self.wrong.is_some()
    }
}

fn seal(kind: u8, document: &str, number: u64, rng: &mut Rng) -> Vec<u8> {
    // Records of all lengths, a few of many sectors.
    let length = if rng.u8(0..6) == 0 { rng.usize(0..3_000) } else { rng.usize(0..90) };
    let mut bytes = vec![kind];
    bytes.extend((0..length).map(|_| rng.u8(..)));
    bytes.extend(checksum(document, number, &bytes).to_le_bytes());
    bytes
}

fn checksum(document: &str, number: u64, bytes: &[u8]) -> u32 {
    let crc = crc32c::crc32c(document.as_bytes());
    let crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
    crc32c::crc32c_append(crc, bytes)
}

fn is_sealed(kind: u8, document: &str, number: u64, bytes: &[u8]) -> bool {
    bytes.split_last_chunk().is_some_and(|(sealed, found)| {
        sealed.first() == Some(&kind)
            && checksum(document, number, sealed) == u32::from_le_bytes(*found)
    })
}

const RECORD: u8 = 0xe0;
const SNAPSHOT: u8 = 0xe1;

/// Makes calls with the right numbers.
struct Maker {
    calls: Vec<Call>,
    last: BTreeMap<String, u64>,
    covers: BTreeMap<String, u64>,
    rng: Rng,
}

impl Maker {
    fn new(seed: u64) -> Self {
        let (last, covers) = (BTreeMap::new(), BTreeMap::new());
        Self { calls: Vec::new(), last, covers, rng: Rng::with_seed(seed) }
    }

    fn append(&mut self, documents: &[&str]) {
        let mut records = Vec::new();
        for document in documents {
            let last = self.last.entry((*document).to_owned()).or_default();
            *last += 1;
            let bytes = seal(RECORD, document, *last, &mut self.rng);
            records.push(((*document).to_owned(), *last, bytes));
        }
        self.calls.push(Call::Append(records));
    }

    /// A snapshot that leaves so many records.
    fn replace(&mut self, document: &str, leaves: u64) {
        let last = *self.last.entry(document.to_owned()).or_default();
        let covered = self.covers.entry(document.to_owned()).or_default();
        // A snapshot never covers less than the one before it.
        *covered = last.saturating_sub(leaves).max(*covered);
        let covers = *covered;
        let bytes = seal(SNAPSHOT, document, covers, &mut self.rng);
        self.calls.push(Call::Replace(document.to_owned(), covers, bytes));
    }

    /// A snapshot in place of everything.
    fn overwrite(&mut self, document: &str) {
        let last = *self.last.entry(document.to_owned()).or_default();
        self.covers.insert(document.to_owned(), last);
        let bytes = seal(SNAPSHOT, document, last, &mut self.rng);
        self.calls.push(Call::Overwrite(document.to_owned(), last, bytes));
    }

    fn delete(&mut self, document: &str) {
        self.last.remove(document);
        self.covers.remove(document);
        self.calls.push(Call::Delete(document.to_owned()));
    }

    fn sync(&mut self) {
        self.calls.push(Call::Sync);
    }
}

impl Script {
    /// The scripted calls, and random ones with so many seeds.
    pub fn all(seeds: u64) -> Vec<(String, Self)> {
        let random = (1..=seeds).map(|seed| (format!("random {seed}"), Self::random(seed)));
        std::iter::once(("scripted".to_owned(), Self::scripted())).chain(random).collect()
    }

    /// One of each situation.
    pub fn scripted() -> Self {
        let long = "Long/".repeat(51);
        let mut maker = Maker::new(1);
        maker.append(&["plan", "plan", "..", "plan"]);
        maker.sync();
        maker.append(&["plan", &long]);
        maker.append(&["plan", ".."]);
        maker.sync();
        maker.replace("plan", 0);
        maker.append(&["plan", "plan", ".."]);
        maker.sync();
        maker.append(&["plan", "plan", "plan", "plan"]);
        maker.replace("plan", 2);
        maker.sync();
        maker.append(&["plan", &long]);
        maker.replace("plan", 0);
        maker.append(&["plan"]);
        maker.replace("plan", 0);
        maker.sync();
        maker.append(&["..", "plan"]);
        maker.delete("..");
        maker.append(&["..", ".."]);
        maker.sync();
        maker.delete(&long);
        maker.replace("Plan", 0);
        maker.append(&["Plan", "plan"]);
        maker.sync();
        maker.overwrite("Plan");
        maker.append(&["Plan"]);
        maker.sync();
        maker.append(&["plan", "plan", "Plan", ".."]);
        maker.sync();
        Self(maker.calls)
    }

    fn random(seed: u64) -> Self {
        let mut maker = Maker::new(seed);
        let names = ["a", "B", "c d"];
        for _ in 0..40 {
            let name = names[maker.rng.usize(0..names.len())];
            match maker.rng.u8(0..12) {
                0..5 => {
                    let count = maker.rng.usize(1..6);
                    let others = (0..count).map(|_| maker.rng.usize(0..names.len() * 2));
                    let others = others.map(|other| names.get(other).copied().unwrap_or(name));
                    let chosen: Vec<&str> = others.collect();
                    maker.append(&chosen);
                }
                5..7 => {
                    let leaves = maker.rng.u64(0..3);
                    maker.replace(name, leaves);
                }
                7 => maker.delete(name),
                8 => maker.overwrite(name),
                _ => maker.sync(),
            }
        }
        maker.sync();
        Self(maker.calls)
    }
}

fn call(adapter: &dyn Adapter, call: &Call) -> Result<(), AdapterError> {
    match call {
        Call::Append(records) => {
            let records = records.iter().map(|(document, number, bytes)| Append {
                document,
                number: *number,
                bytes,
            });
            adapter.append(&records.collect::<Vec<_>>())
        }
        Call::Replace(document, covers, bytes) => adapter.replace(document, *covers, bytes),
        Call::Overwrite(document, covers, bytes) => adapter.overwrite(document, *covers, bytes),
        Call::Delete(document) => adapter.delete(document),
        Call::Sync => adapter.sync(),
    }
}

/// What was synced, and the calls since then.
#[derive(Debug, Default)]
pub struct Model {
    pub synced: Documents,
    since: Vec<Call>,
}

impl Model {
    /// The model of what was found.
    pub fn of(found: Vec<(String, Found)>) -> Self {
        let there = found.into_iter().map(|(name, found)| (name, found.document));
        let synced = there.filter(|(_, document)| *document != Document::default()).collect();
        Self { synced, since: Vec::new() }
    }

    /// Makes the calls. After an error all calls since the last sync are made again.
    pub fn run(&mut self, adapter: &dyn Adapter, script: &Script, is_dead: impl Fn() -> bool) {
        for next in &script.0 {
            self.since.push(next.clone());
            let mut result = call(adapter, next);
            let mut tries = 0;
            while let Err(error) = result {
                if is_dead() {
                    return;
                }
                tries += 1;
                assert!(tries < 20, "{next:?} fails again and again: {error}");
                result = self.since.iter().try_for_each(|again| call(adapter, again));
            }
            if matches!(next, Call::Sync) {
                for step in std::mem::take(&mut self.since).iter().flat_map(steps) {
                    apply(&mut self.synced, &step);
                }
            }
        }
    }

    /// Calls that go on from here: more records for each document, a snapshot, a new document.
    pub fn continuation(&self) -> Script {
        let mut maker = Maker::new(99);
        for (name, document) in &self.synced {
            let covers = document.snapshot.as_ref().map_or(0, |(covers, _)| *covers);
            let last = document.records.keys().last().copied().unwrap_or(covers);
            maker.last.insert(name.clone(), last);
            maker.covers.insert(name.clone(), covers);
        }
        let names: Vec<&str> = self.synced.keys().map(String::as_str).collect();
        maker.append(&[&names[..], &names[..], &["plan", "new"]].concat());
        maker.sync();
        maker.replace("plan", 1);
        maker.append(&["plan"]);
        maker.sync();
        Script(maker.calls)
    }

    /// Reads all documents. An error is one that the layer above learns of.
    pub fn read_all(&self, adapter: &dyn Adapter) -> Result<Vec<(String, Found)>, String> {
        let mut all = Vec::new();
        let listed = adapter.list().map_err(|error| error.to_string())?;
        let known = self.synced.keys().cloned();
        let touched = self.since.iter().flat_map(steps).map(|step| step.document().to_owned());
        let names: BTreeSet<String> = listed.iter().cloned().chain(known).chain(touched).collect();
        for name in names {
            let stored = adapter.read(&name).map_err(|error| error.to_string())?;
            if stored.is_some() != listed.contains(&name) {
                return Err(format!("{name:?} is listed or read, but not both"));
            }
            let Some(stored) = stored else { continue };
            let wrong = wrong(&name, &stored);
            let torn = stored.torn.is_some();
            let records = stored.records.into_iter().collect();
            let document = Document { snapshot: stored.snapshot, records };
            all.push((name, Found { document, torn, wrong }));
        }
        Ok(all)
    }

    /// Reads all documents after a crash. Each must be in a state between the last sync and the
    /// last call.
    pub fn check(&self, adapter: &dyn Adapter) -> Result<Vec<(String, Found)>, String> {
        let all = self.read_all(adapter)?;
        let steps: Vec<Call> = self.since.iter().flat_map(steps).collect();
        let mut names: BTreeSet<&str> = self.synced.keys().map(String::as_str).collect();
        names.extend(all.iter().map(|(name, _)| name.as_str()));
        for name in names {
            let found = all.iter().find(|(found, _)| found == name).map(|(_, found)| found);
            if let Some(wrong) = found.and_then(|found| found.wrong.as_ref()) {
                return Err(format!("{name:?}: {wrong}"));
            }
            let empty = Document::default();
            let document = found.map_or(&empty, |found| &found.document);
            let mut state = self.synced.clone();
            let mut is_right = state.get(name).unwrap_or(&empty) == document;
            for step in steps.iter().filter(|step| step.document() == name) {
                apply(&mut state, step);
                is_right |= state.get(name).unwrap_or(&empty) == document;
            }
            if !is_right {
                let last = self.synced.get(name).map(numbers);
                let found = numbers(document);
                return Err(format!("{name:?}: {found:?} is found, {last:?} was synced"));
            }
        }
        Ok(all)
    }
}

fn numbers(document: &Document) -> (Option<u64>, Vec<u64>) {
    let covers = document.snapshot.as_ref().map(|(covers, _)| *covers);
    (covers, document.records.keys().copied().collect())
}

/// What the layer above finds to be wrong: a checksum, a gap in the numbers, missing records.
fn wrong(name: &str, stored: &exostate_storage::Stored) -> Option<String> {
    if let Some(unreadable) = &stored.unreadable {
        return Some(format!("unreadable at {}", unreadable.place));
    }
    let mut last = 0;
    if let Some((covers, bytes)) = &stored.snapshot {
        last = *covers;
        if !is_sealed(SNAPSHOT, name, *covers, bytes) {
            return Some("the checksum of the snapshot".into());
        }
    }
    for (number, bytes) in &stored.records {
        if *number != last + 1 {
            return Some(format!("{number} follows {last}"));
        }
        last = *number;
        if !is_sealed(RECORD, name, *number, bytes) {
            return Some(format!("the checksum of {number}"));
        }
    }
    let is_short = stored.last.is_some_and(|expected| expected > last);
    is_short.then(|| format!("the records end at {last}"))
}

/// The parts of a call: whole records.
fn steps(call: &Call) -> Vec<Call> {
    match call {
        Call::Append(records) => {
            records.iter().map(|record| Call::Append(vec![record.clone()])).collect()
        }
        Call::Sync => Vec::new(),
        call => vec![call.clone()],
    }
}

impl Call {
    fn document(&self) -> &str {
        match self {
            Self::Append(records) => &records[0].0,
            Self::Replace(document, ..)
            | Self::Overwrite(document, ..)
            | Self::Delete(document) => document,
            Self::Sync => "",
        }
    }
}

fn apply(documents: &mut Documents, step: &Call) {
    match step {
        Call::Append(records) => {
            for (name, number, bytes) in records {
                let document = documents.entry(name.clone()).or_default();
                document.records.insert(*number, bytes.clone());
            }
        }
        Call::Replace(name, covers, bytes) => {
            let document = documents.entry(name.clone()).or_default();
            document.records = document.records.split_off(&(covers + 1));
            document.snapshot = Some((*covers, bytes.clone()));
        }
        Call::Overwrite(name, covers, bytes) => {
            let snapshot = Some((*covers, bytes.clone()));
            documents.insert(name.clone(), Document { snapshot, records: BTreeMap::new() });
        }
        Call::Delete(name) => drop(documents.remove(name)),
        Call::Sync => {}
    }
}
