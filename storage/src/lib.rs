//! Storage for exostate.

mod adapter;
mod entry;
mod envelope;
mod options;

#[cfg(feature = "redb")]
pub use adapter::RedbAdapter;
#[cfg(feature = "sqlite")]
pub use adapter::SqliteAdapter;
pub use adapter::{
    Adapter, AdapterError, AdapterErrorKind, Append, MemoryAdapter, Stored, Torn, Unreadable,
};
#[cfg(feature = "encryption")]
pub use adapter::{EncryptedAdapter, Key, Keys};
pub use options::{Compression, Durability, StorageOptions, WhenFull};
