//! The whole content of a document as JSON: see [`Document::to_json`](crate::Document::to_json) and
//! `docs/layout.md`.
//!
//! The JSON holds what the document *stores*, key by key, and not what a state type shows of it. So
//! it keeps registers that no struct knows, and the document that is read from it has the same
//! digest. It does not hold the history.
//!
//! [`write`] and [`read`] know the form and nothing of a backend.

mod read;
mod write;

pub use read::read;
pub(crate) use read::read_value;
pub(crate) use write::value;
pub use write::write;

use std::collections::BTreeMap;

use super::doc::EditError;
use super::key::Key;
use super::replica::List;
use super::rope::Rope;
use super::value::Value;

/// The version of the form that [`write`] writes.
const VERSION: u64 = 1;

/// Everything that a document stores, without its history. Bundles are values under their keys.
#[derive(Debug, Default)]
pub struct Content {
    /// The values of all keys.
    pub registers: BTreeMap<Key, Value>,
    /// The texts that are not empty.
    pub texts: BTreeMap<Key, Rope>,
    /// The lists that are not empty.
    pub lists: BTreeMap<Key, List>,
}

/// Why no document was read from JSON. After the error the document is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The JSON is longer than the trusted limits allow for a document.
    #[error("{len} bytes of JSON, at most {max} are allowed")]
    TooLarge {
        /// The number of bytes.
        len: usize,
        /// The number of bytes allowed.
        max: usize,
    },
    /// The text is not JSON, or not the JSON of a document.
    #[error(
        "line {line}, column {column}{}{path}: {reason}",
        if path.is_empty() { "" } else { ", at " }
    )]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// The column in bytes, from 1.
        column: usize,
        /// The path of the register, text or list. Empty outside of all of them.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The JSON has a later version of the form. Use a later version of exostate.
    #[error("the JSON has version {found} of its form, and this version of exostate reads {known}")]
    LaterVersion {
        /// The version of the JSON.
        found: u64,
        /// The version that this version of exostate reads.
        known: u64,
    },
    /// The document is not empty, so that reading would mix two contents.
    #[error("the document is not empty")]
    NotEmpty,
    /// The content was not written into the document.
    #[error(transparent)]
    Edit(#[from] EditError),
}
