//! A file and a folder of the simulated disk: what is durable, the changes since the last sync, and
//! what a reader sees. A power loss applies any part of the changes.

use std::collections::BTreeMap;

use fastrand::Rng;

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug, Default)]
pub struct FileNode {
    pub durable: Vec<u8>,
    pub seen: Vec<u8>,
    pub pending: Vec<Change>,
}

#[derive(Clone, Debug)]
pub enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Clone, Debug, Default)]
pub struct FolderNode {
    pub durable: BTreeMap<String, usize>,
    pub seen: BTreeMap<String, usize>,
    pub pending: Vec<Entry>,
}

#[derive(Clone, Debug)]
pub enum Entry {
    Add(String, usize),
    Remove(String),
    Rename(String, String, usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, written) => {
                let end = at + written.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*at..end].copy_from_slice(written);
            }
            Self::Length(length) => bytes.resize(*length, 0),
        }
    }

    /// Applies a part of it: bytes from the front, or any sectors.
    fn apply_in_part(&self, bytes: &mut Vec<u8>, rng: &mut Rng) {
        let Self::Write(at, written) = self else { return self.apply(bytes) };
        if rng.bool() {
            let cut = rng.usize(0..=written.len());
            return Self::Write(*at, written[..cut].to_vec()).apply(bytes);
        }
        let mut start = 0;
        while start < written.len() {
            // Sectors begin at multiples of their length in the file.
            let end = ((at + start) / SECTOR_BYTES + 1) * SECTOR_BYTES - at;
            let end = end.min(written.len());
            if rng.bool() {
                Self::Write(at + start, written[start..end].to_vec()).apply(bytes);
            }
            start = end;
        }
    }
}

impl FileNode {
    pub fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    pub fn sync(&mut self) {
        // Not all that is seen: what a failed sync has forgotten does not come back.
        for change in std::mem::take(&mut self.pending) {
            change.apply(&mut self.durable);
        }
    }

    /// Brings any part of what is pending to the disk, and forgets the rest.
    pub fn settle(&mut self, rng: &mut Rng) {
        let pending = std::mem::take(&mut self.pending);
        let mode = rng.u8(0..4);
        let front = rng.usize(0..=pending.len());
        for (index, change) in pending.iter().enumerate() {
            match mode {
                0 => {}
                1 => change.apply(&mut self.durable),
                2 if index < front => change.apply(&mut self.durable),
                2 if index == front => change.apply_in_part(&mut self.durable, rng),
                2 => {}
                _ if rng.bool() => change.apply_in_part(&mut self.durable, rng),
                _ => {}
            }
        }
    }
}

impl Entry {
    fn apply(&self, entries: &mut BTreeMap<String, usize>) {
        match self {
            Self::Add(name, node) => drop(entries.insert(name.clone(), *node)),
            Self::Remove(name) => drop(entries.remove(name)),
            Self::Rename(from, to, node) => {
                if entries.get(from) == Some(node) {
                    entries.remove(from);
                }
                entries.insert(to.clone(), *node);
            }
        }
    }
}

impl FolderNode {
    pub fn change(&mut self, entry: Entry) {
        entry.apply(&mut self.seen);
        self.pending.push(entry);
    }

    pub fn settle(&mut self, rng: &mut Rng) {
        let mode = rng.u8(0..4);
        let front = rng.usize(0..=self.pending.len());
        for (index, entry) in std::mem::take(&mut self.pending).iter().enumerate() {
            let is_applied = match mode {
                0 => false,
                1 => true,
                2 => index < front,
                _ => rng.bool(),
            };
            if is_applied {
                entry.apply(&mut self.durable);
            }
        }
    }
}
