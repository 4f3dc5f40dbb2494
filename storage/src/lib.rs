//! Storage for [exostate](https://docs.rs/exostate): documents that survive a crash, a full disk and
//! a pulled plug.
//!
//! ```
//! use exostate::{State, UndoOptions};
//! use exostate_storage::{KeptUndo, Persist, Storage};
//!
//! #[derive(State, Clone, Debug, PartialEq)]
//! struct Board { title: String }
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("app.redb");
//! let storage = Storage::open_file(&path)?;               // one file for all documents
//! let store = storage.open::<Board>("roadmap")?;          // made, or loaded
//! let undo = KeptUndo::open(&store, "main", UndoOptions::default())?;
//! store.change(|board| board.title().set("Roadmap"))?;    // written soon, in the background
//! store.flush_blocking()?;                                // on disk; or `store.flush().await?`
//! # drop((undo, store, storage));
//!
//! // After a restart, or a crash:
//! let storage = Storage::open_file(&path)?;
//! let store = storage.open::<Board>("roadmap")?;
//! assert_eq!(store.view().title, "Roadmap");
//! let undo = KeptUndo::open(&store, "main", UndoOptions::default())?;
//! undo.undo()?;                                           // undoes what was done before
//! assert_eq!(store.view().title, "");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **What is promised**
//!
//! - What a `flush` has confirmed is there after any crash. What was not flushed is there up to some
//!   commit, and never half of a commit.
//! - Every record has a checksum. Damage is found when a document is opened, named, and never shown
//!   as data. Nothing is written to a damaged document. The other documents go on.
//! - If the disk fails, changes are queued within a bound, and then refused with an error, before
//!   anything of them is made: [`StorageOptions::with_queue`], [`WhenFull`].
//! - Each opening of a document takes a fresh replica id, so a copied or restored file does no harm.
//!
//! **Where to read on**: [`Storage`] opens documents and has what concerns all of them. [`Persist`]
//! is what an open store or document can do: flush, status. [`Adapter`] is the place that keeps the
//! bytes. The guide has a chapter with examples; docs/storage.md describes the bytes.

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
#[cfg(feature = "sqlite")]
pub use adapter::SqliteAdapter;
pub use adapter::{
    Adapter, AdapterError, AdapterErrorKind, Append, MemoryAdapter, Stored, Torn, Unreadable,
};
#[cfg(feature = "files")]
pub use adapter::{Disk, DiskFile, FilesAdapter, SystemDisk};
#[cfg(feature = "encryption")]
pub use adapter::{EncryptedAdapter, Key, Keys};
pub use attachments::{KeptHistory, KeptUndo};
pub use error::{AttachError, Damage, FlushError, OpenError, RefusedError, StorageError};
pub use loader::{LoadError, StorageLoader};
pub use maintenance::{DocumentReport, RepairReport, VerifyReport};
pub use opening::Opening;
pub use options::{Compression, Durability, StorageOptions, WhenFull};
pub use persist::{Flush, Persist};
pub use status::{Status, StatusWatch};
pub use storage::Storage;
