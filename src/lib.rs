#![doc = include_str!("../README.md")]

mod document;
mod error;
pub mod import;
mod library;
pub mod middleware;
mod state;
mod store;
#[doc(hidden)]
pub mod varint;
mod vector;

pub use document::backend::{Automerge, Backend, BackendError, Yrs};
pub use document::commit::{Origin, Update};
pub use document::doc::{
    Applied, ApplyError, Conflict, Document, DocumentEdit, EditError, MiddlewareError, Pending,
    Repair, WeakDocument,
};
pub use document::guard::GuardError;
pub use document::json::JsonError;
pub use document::keeper::{AlreadyKept, KeepError, Keeper, Record};
pub use document::limits::Limits;
pub use document::meta::Meta;
pub use document::named::TypeMismatch;
pub use document::options::Options;
pub use document::replica::ImportError;
pub use document::rope::Marks;
pub use document::subscription::Subscription;
pub use document::value::Value;
pub use document::version::{Version, VersionError};
pub use document::{Digest, ReplicaId};
pub use error::Error;
pub use exostate_derive::State;
pub use library::{Handle, Library, LibraryCount, Loaded, Loader, OpenError, WeakHandle};
#[cfg(feature = "serde")]
pub use state::with_ids;
pub use state::{
    Anchor, AsPath, ChangeError, Counter, Dynamic, Edit, ElementId, ElementIdError, Groups, Link,
    List, Look, Map, MapKey, Mend, Mismatch, MovableList, Node, Path, Place, Register, Scalar, Set,
    State, Takes, Text, Tree, Violation, Whole,
};
pub use state::{dynamic, schema};
pub use store::{
    Batch, Blame, ChangeStream, Changed, Cleanup, ConflictingValue, Diff, Differing, History,
    HistoryError, HistoryOptions, Joint, JointPatch, LocalUpdates, OwnedPatch, Pace, Paced, Patch,
    Retry, Revision, RevisionId, Scoped, Selector, SelectorBy, Snapshot, Store, Stores,
    Subscriptions, Transaction, UndoError, UndoGroup, UndoManager, UndoOptions, Undone,
    ViolationsPatch, Warning, WeakStore,
};
pub use uuid::Uuid;

/// The items that the code of the derive names. Not part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::document::value::Value;
    pub use crate::state::schema::{Describe, Item, Type};
    pub use crate::state::{
        AsPath, At, ChangeError, Edit, Holds, Named, Node, Path, Place, Reader, Refresh, Shape,
        State, Whole, Writer,
    };
    pub use core::any::Any;
    pub use core::clone::Clone;
    pub use core::default::Default;
    pub use core::ops::Deref;
    pub use core::option::Option;
}

/// The examples of the guide, so that they are compiled and run.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../docs/guide/src/getting-started.md")]
    mod getting_started {}
    #[doc = include_str!("../docs/guide/src/types.md")]
    mod types {}
    #[doc = include_str!("../docs/guide/src/text.md")]
    mod text {}
    #[doc = include_str!("../docs/guide/src/board.md")]
    mod board {}
    #[cfg(feature = "serde")]
    #[doc = include_str!("../docs/guide/src/json.md")]
    mod json {}
    #[doc = include_str!("../docs/guide/src/importing.md")]
    mod importing {}
    #[doc = include_str!("../docs/guide/src/schema.md")]
    mod schema {}
    #[cfg(feature = "serde")]
    #[doc = include_str!("../docs/guide/src/dynamic.md")]
    mod dynamic {}
    #[doc = include_str!("../docs/guide/src/changes.md")]
    mod changes {}
    #[doc = include_str!("../docs/guide/src/watching.md")]
    mod watching {}
    #[doc = include_str!("../docs/guide/src/undo.md")]
    mod undo {}
    #[doc = include_str!("../docs/guide/src/history.md")]
    mod history {}
    #[doc = include_str!("../docs/guide/src/sharing.md")]
    mod sharing {}
    #[doc = include_str!("../docs/guide/src/authentication.md")]
    mod authentication {}
    #[doc = include_str!("../docs/guide/src/storage.md")]
    mod storage {}
    #[doc = include_str!("../docs/guide/src/durability.md")]
    mod durability {}
    #[doc = include_str!("../docs/guide/src/when-to-block.md")]
    mod when_to_block {}
    #[doc = include_str!("../docs/guide/src/seeding.md")]
    mod seeding {}
    #[doc = include_str!("../docs/guide/src/composing.md")]
    mod composing {}
    #[doc = include_str!("../docs/guide/src/testing.md")]
    mod testing {}
}
