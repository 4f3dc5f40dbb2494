//! Documents in memory, for tests and for applications that keep nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Adapter, AdapterError, Append, Stored, check_name};

/// Keeps documents in memory. Clones share the documents, so that a test can open them again.
#[derive(Clone, Debug, Default)]
pub struct MemoryAdapter {
    documents: Arc<Mutex<BTreeMap<String, Kept>>>,
}

#[derive(Debug, Default)]
struct Kept {
    snapshot: Option<(u64, Vec<u8>)>,
    records: BTreeMap<u64, Vec<u8>>,
}

impl MemoryAdapter {
    /// An adapter without documents.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Adapter for MemoryAdapter {
    fn append(&self, records: &[Append<'_>]) -> Result<(), AdapterError> {
        records.iter().try_for_each(|record| check_name(record.document))?;
        let mut documents = self.documents.lock();
        for record in records {
            let kept = documents.entry(record.document.to_owned()).or_default();
            kept.records.insert(record.number, record.bytes.to_vec());
        }
        Ok(())
    }

    fn read(&self, document: &str) -> Result<Option<Stored>, AdapterError> {
        let documents = self.documents.lock();
        let Some(kept) = documents.get(document) else { return Ok(None) };
        let records = kept.records.iter().map(|(number, bytes)| (*number, bytes.clone()));
        let records = records.collect();
        Ok(Some(Stored { snapshot: kept.snapshot.clone(), records, ..Stored::new() }))
    }

    fn replace(&self, document: &str, covers: u64, snapshot: &[u8]) -> Result<(), AdapterError> {
        check_name(document)?;
        let mut documents = self.documents.lock();
        let kept = documents.entry(document.to_owned()).or_default();
        kept.records = kept.records.split_off(&covers.saturating_add(1));
        kept.snapshot = Some((covers, snapshot.to_vec()));
        Ok(())
    }

    fn overwrite(&self, document: &str, covers: u64, snapshot: &[u8]) -> Result<(), AdapterError> {
        check_name(document)?;
        let kept = Kept { snapshot: Some((covers, snapshot.to_vec())), ..Kept::default() };
        self.documents.lock().insert(document.to_owned(), kept);
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>, AdapterError> {
        Ok(self.documents.lock().keys().cloned().collect())
    }

    fn delete(&self, document: &str) -> Result<(), AdapterError> {
        self.documents.lock().remove(document);
        Ok(())
    }

    fn sync(&self) -> Result<(), AdapterError> {
        Ok(())
    }
}
