//! The ops that a replica lacks, as one update: for tests whose documents are small.
#![allow(dead_code)]

use exostate::{Backend, BackendError, Document, State, Store, Version};

pub trait OneUpdate {
    /// All ops that a replica at `version` lacks, which must fit into one update. Empty if nothing
    /// is missing.
    fn update_since(&self, version: &Version) -> Result<Vec<u8>, BackendError>;
}

impl<B: Backend> OneUpdate for Document<B> {
    fn update_since(&self, version: &Version) -> Result<Vec<u8>, BackendError> {
        let mut updates = self.updates_since(version)?;
        assert!(updates.len() <= 1, "the missing ops are {} updates", updates.len());
        Ok(updates.pop().unwrap_or_default())
    }
}

impl<S: State, B: Backend> OneUpdate for Store<S, B> {
    fn update_since(&self, version: &Version) -> Result<Vec<u8>, BackendError> {
        self.document().update_since(version)
    }
}
