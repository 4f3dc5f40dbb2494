//! Reads what an adapter has of a document: checks every envelope, and puts the entries together.

use std::sync::Arc;

use crate::adapter::{Stored, Torn, Unreadable};
use crate::entry::{Content, Entry, EntryError, Found, FoundKind};
use crate::envelope::{EnvelopeError, Kind, open};
use crate::error::Damage;

/// A document as it was read.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// What is known up to the first damage.
    pub(crate) content: Content,
    /// The number of the last record that `content` includes.
    pub(crate) last: u64,
    pub(crate) snapshot_bytes: u64,
    pub(crate) log_bytes: u64,
    pub(crate) torn: Option<Torn>,
    pub(crate) damage: Option<Damage>,
    /// What only a newer version can read.
    pub(crate) newer: Option<String>,
    /// The updates behind the damage that can be read.
    pub(crate) behind: Vec<Arc<[u8]>>,
    /// The name of the backend, if it stands behind the damage.
    pub(crate) backend_behind: Option<String>,
}

/// The largest number of a record. Numbers beyond it are damage.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

/// Reads a document. With `upto`, records with higher numbers are left out, and are not expected.
pub(crate) fn load(document: &str, stored: Stored, upto: Option<u64>) -> Loaded {
    let mut loaded = Loaded { torn: stored.torn, ..Loaded::default() };
    if let Some((covers, bytes)) = stored.snapshot {
        loaded.snapshot_bytes = bytes.len() as u64;
        loaded.last = covers.min(NUMBER_MAX);
        let place = || "the snapshot".to_owned();
        if covers > NUMBER_MAX {
            loaded.damage = Some(Damage::new(place(), "its number is too large"));
        }
        loaded.take(open(Kind::Snapshot, document, covers, &bytes), place);
    }
    for (number, bytes) in stored.records {
        if upto.is_some_and(|upto| number > upto) || number <= loaded.last && loaded.is_whole() {
            continue;
        }
        loaded.log_bytes += bytes.len() as u64;
        if loaded.is_whole() && number != loaded.last + 1 {
            let missing = format!("the records {} to {}", loaded.last + 1, number - 1);
            loaded.damage = Some(Damage::new(missing, "they are missing"));
        }
        loaded.take(open(Kind::Record, document, number, &bytes), || format!("record {number}"));
        if loaded.is_whole() {
            loaded.last = number;
        }
    }
    if let Some(unreadable) = stored.unreadable {
        if loaded.is_whole() {
            loaded.damage = Some(Damage::new(unreadable.place, "it cannot be read"));
        }
        for (number, bytes) in unreadable.records {
            let place = || format!("record {number}");
            loaded.take(open(Kind::Record, document, number, &bytes), place);
        }
    }
    let last = stored.last.filter(|_| upto.is_none());
    if loaded.is_whole() && last.is_some_and(|last| last > loaded.last) {
        let missing = format!("the records after {}", loaded.last);
        loaded.damage = Some(Damage::new(missing, "they are missing"));
    }
    loaded
}

/// The damaged document that this one stands for, as it was found.
pub(crate) fn set_aside(content: &Content) -> Option<(String, Stored)> {
    let document = content.found.first()?.document.clone();
    let mut stored = Stored::new();
    for Found { kind, number, bytes, .. } in &content.found {
        match kind {
            FoundKind::Snapshot => stored.snapshot = Some((*number, bytes.to_vec())),
            FoundKind::Record => stored.records.push((*number, bytes.to_vec())),
            FoundKind::Unreadable => {
                let (place, records) = ("the rest of the log".to_owned(), Vec::new());
                stored.unreadable = Some(Unreadable { place, bytes: bytes.to_vec(), records });
            }
        }
    }
    Some((document, stored))
}

impl Loaded {
    fn is_whole(&self) -> bool {
        self.damage.is_none() && self.newer.is_none()
    }

    /// Takes the entries of an envelope. Behind a damage only the updates are taken.
    fn take(&mut self, opened: Result<Vec<Entry>, EnvelopeError>, place: impl Fn() -> String) {
        match opened {
            Ok(entries) if self.is_whole() => {
                entries.into_iter().for_each(|entry| self.content.add(entry));
            }
            Ok(entries) => entries.into_iter().for_each(|entry| match entry {
                Entry::Update(update) | Entry::Pending(update) => self.behind.push(update),
                Entry::Backend(name) => self.backend_behind = Some(name),
                _ => {}
            }),
            Err(_) if !self.is_whole() => {}
            Err(
                error @ (EnvelopeError::Newer(_)
                | EnvelopeError::Entries(EntryError::UnknownKind { .. })),
            ) => self.newer = Some(format!("{}: {error}", place())),
            Err(error) => self.damage = Some(Damage::new(place(), error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::seal;
    use crate::options::Compression;

    fn update(number: u64) -> Entry {
        Entry::Update(number.to_le_bytes().into())
    }

    fn record(number: u64) -> (u64, Vec<u8>) {
        (number, seal(Kind::Record, "plan", number, &[update(number)], Compression::None))
    }

    fn snapshot(covers: u64) -> Option<(u64, Vec<u8>)> {
        let entries = [Entry::Whole(covers.to_le_bytes().into())];
        Some((covers, seal(Kind::Snapshot, "plan", covers, &entries, Compression::None)))
    }

    fn stored(covers: Option<u64>, records: std::ops::RangeInclusive<u64>) -> Stored {
        let snapshot = covers.and_then(snapshot);
        Stored { snapshot, records: records.map(record).collect(), ..Stored::new() }
    }

    #[test]
    fn records_behind_the_snapshot_are_read() {
        let loaded = load("plan", stored(Some(3), 2..=6), None);
        assert!(loaded.damage.is_none());
        assert_eq!((loaded.last, loaded.content.updates.len()), (6, 3));
        let part = load("plan", stored(Some(3), 2..=6), Some(5));
        assert_eq!((part.last, part.content.updates.len(), part.damage), (5, 2, None));
    }

    #[test]
    fn damage_ends_the_content_and_is_named() {
        let mut gap = stored(None, 1..=6);
        gap.records.remove(2);
        let mut flipped = stored(Some(2), 3..=6);
        flipped.records[1].1[5] ^= 1;
        let mut broken = stored(Some(2), 3..=6);
        if let Some((_, bytes)) = &mut broken.snapshot {
            bytes[7] ^= 4;
        }
        let mut short = stored(None, 1..=2);
        short.last = Some(3);
        for (stored, place, last, behind) in [
            (gap, "the records 3 to 3", 2, 3),
            (flipped, "record 4", 3, 2),
            (broken, "the snapshot", 2, 4),
            (short, "the records after 2", 2, 0),
        ] {
            let loaded = load("plan", stored, None);
            assert_eq!(loaded.damage.map(|damage| damage.place).as_deref(), Some(place));
            assert_eq!((loaded.last, loaded.behind.len()), (last, behind), "{place}");
        }
        let other = load("trip", stored(None, 1..=1), None);
        assert!(other.damage.is_some(), "a record of another document");
    }
}
