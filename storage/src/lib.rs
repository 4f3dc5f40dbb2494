//! Storage for exostate.

mod adapter;
mod attachments;
mod background;
mod document;
mod entry;
mod envelope;
mod error;
mod keeper;
mod load;
mod loader;
mod maintenance;
mod opening;
mod options;
mod persist;
mod queue;
mod shared;
mod status;
mod storage;
mod writer;

#[cfg(feature = "redb")]
pub use adapter::RedbAdapter;
pub use adapter::{
    Adapter, AdapterError, AdapterErrorKind, Append, MemoryAdapter, Stored, Torn, Unreadable,
};
pub use attachments::{KeptHistory, KeptUndo};
pub use error::{AttachError, Damage, FlushError, OpenError, RefusedError, StorageError};
pub use loader::{LoadError, StorageLoader};
pub use maintenance::{DocumentReport, RepairReport, VerifyReport};
pub use options::{Compression, Durability, StorageOptions, WhenFull};
pub use persist::{Flush, Persist};
pub use status::{Status, StatusWatch};
pub use storage::Storage;
