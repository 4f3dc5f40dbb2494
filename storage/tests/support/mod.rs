//! An adapter in memory that forgets what was not synced, and that fails when a test says so.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "each test uses a part of it, and a disk takes time"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use exostate_storage::{
    Adapter, AdapterError, AdapterErrorKind, Append, MemoryAdapter, StorageOptions, Stored,
};
use parking_lot::Mutex;

/// Options with which a failing disk is tried again soon.
pub fn quick() -> StorageOptions {
    StorageOptions::new().with_retry(Duration::from_millis(1), Duration::from_millis(5))
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[derive(Clone, Debug)]
enum Call {
    Append(String, u64, Vec<u8>),
    Replace(String, u64, Vec<u8>),
    Delete(String),
}

#[derive(Clone, Default)]
pub struct SimAdapter {
    synced: MemoryAdapter,
    unsynced: Arc<Mutex<Vec<Call>>>,
    pub fails: Arc<AtomicBool>,
    pub syncs: Arc<AtomicUsize>,
    /// Whether a sync takes a moment.
    pub slow: Arc<AtomicBool>,
}

impl SimAdapter {
    pub fn new() -> Self {
        Self::default()
    }

    /// What is on the disk after a crash: everything that was synced, and `part` of the calls after
    /// that.
    pub fn crash(&self, part: usize) -> Self {
        let after = copy(&self.synced);
        let unsynced = self.unsynced.lock();
        unsynced.iter().take(part).for_each(|call| apply(&after, call));
        Self { synced: after, ..Self::default() }
    }

    /// The records of a document that are synced.
    pub fn stored(&self, document: &str) -> Stored {
        self.synced.read(document).unwrap().unwrap_or_default()
    }

    /// Puts other bytes in the place of a synced record.
    pub fn put(&self, document: &str, number: u64, bytes: &[u8]) {
        self.synced.append(&[Append { document, number, bytes }]).unwrap();
    }

    pub fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), AdapterError> {
        match self.fails.load(Ordering::SeqCst) {
            true => Err(AdapterError::new(AdapterErrorKind::Full, "/disk", "no space left")),
            false => Ok(()),
        }
    }
}

/// A copy with documents of its own.
pub fn copy(adapter: &MemoryAdapter) -> MemoryAdapter {
    let copied = MemoryAdapter::new();
    for name in adapter.list().unwrap() {
        let stored = adapter.read(&name).unwrap().unwrap();
        if let Some((covers, bytes)) = &stored.snapshot {
            copied.replace(&name, *covers, bytes).unwrap();
        }
        for (number, bytes) in &stored.records {
            copied.append(&[Append { document: &name, number: *number, bytes }]).unwrap();
        }
    }
    copied
}

fn apply(adapter: &MemoryAdapter, call: &Call) {
    match call {
        Call::Append(document, number, bytes) => {
            adapter.append(&[Append { document, number: *number, bytes }]).unwrap();
        }
        Call::Replace(document, covers, bytes) => {
            adapter.replace(document, *covers, bytes).unwrap();
        }
        Call::Delete(document) => adapter.delete(document).unwrap(),
    }
}

impl Adapter for SimAdapter {
    fn append(&self, records: &[Append<'_>]) -> Result<(), AdapterError> {
        self.check()?;
        let call =
            |one: &Append<'_>| Call::Append(one.document.into(), one.number, one.bytes.to_vec());
        self.unsynced.lock().extend(records.iter().map(call));
        Ok(())
    }

    fn read(&self, document: &str) -> Result<Option<Stored>, AdapterError> {
        self.synced.read(document)
    }

    fn replace(&self, document: &str, covers: u64, snapshot: &[u8]) -> Result<(), AdapterError> {
        self.check()?;
        self.unsynced.lock().push(Call::Replace(document.into(), covers, snapshot.to_vec()));
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>, AdapterError> {
        self.synced.list()
    }

    fn delete(&self, document: &str) -> Result<(), AdapterError> {
        self.check()?;
        self.unsynced.lock().push(Call::Delete(document.into()));
        Ok(())
    }

    fn sync(&self) -> Result<(), AdapterError> {
        self.check()?;
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if self.slow.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let calls = std::mem::take(&mut *self.unsynced.lock());
        calls.iter().for_each(|call| apply(&self.synced, call));
        Ok(())
    }
}

/// The document `bad` cannot be written while `fails`. The others can.
#[derive(Clone)]
pub struct OneFails {
    adapter: SimAdapter,
    kind: AdapterErrorKind,
    pub fails: Arc<AtomicBool>,
}

impl OneFails {
    pub fn new(adapter: &SimAdapter, kind: AdapterErrorKind) -> Self {
        Self { adapter: adapter.clone(), kind, fails: Arc::default() }
    }
}

impl Adapter for OneFails {
    fn append(&self, records: &[Append<'_>]) -> Result<(), AdapterError> {
        let fails = self.fails.load(Ordering::Relaxed);
        if fails && records.iter().any(|record| record.document == "bad") {
            let cause = "no access";
            return Err(AdapterError::new(self.kind, "/disk/bad", cause));
        }
        self.adapter.append(records)
    }
    fn read(&self, document: &str) -> Result<Option<Stored>, AdapterError> {
        self.adapter.read(document)
    }
    fn replace(&self, document: &str, covers: u64, snapshot: &[u8]) -> Result<(), AdapterError> {
        self.adapter.replace(document, covers, snapshot)
    }
    fn list(&self) -> Result<Vec<String>, AdapterError> {
        self.adapter.list()
    }
    fn delete(&self, document: &str) -> Result<(), AdapterError> {
        self.adapter.delete(document)
    }
    fn sync(&self) -> Result<(), AdapterError> {
        self.adapter.sync()
    }
}
