//! Storage for exostate.

mod adapter;
mod entry;
mod envelope;
mod options;

#[cfg(feature = "redb")]
pub use adapter::RedbAdapter;
pub use adapter::{
    Adapter, AdapterError, AdapterErrorKind, Append, MemoryAdapter, Stored, Torn, Unreadable,
};
#[cfg(feature = "files")]
pub use adapter::{Disk, DiskFile, FilesAdapter, SystemDisk};
pub use options::{Compression, Durability, StorageOptions, WhenFull};
