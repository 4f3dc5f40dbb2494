//! The registers in which a document says what it is:
//!
//! - `@layout/<version>`: the version of the layout (`docs/layout.md`) that a reader must know. The
//!   value does not matter.
//! - `@type/<name>`: the name of the state type. The value is a hash of the type's shape.
//!
//! These registers are internal, like every register whose path begins with `@`:
//!
//! - The document saves them, merges them and includes them in the digest, like all registers.
//! - The layers above do not see them: views, watchers, undo, histories, and the code that empties
//!   a state. [`Replica`](super::replica::Replica) leaves them out of its results.
//!
//! The name is a part of the path. So if two replicas write different names concurrently, both
//! names stay, and both replicas see that they differ.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::backend::BackendError;
use super::key::{self, Key};
use super::ops::RegisterWrite;
use super::value::Value;

/// The path above all registers with the name of a type.
const TYPE: &str = "@type";
/// The beginning of the path of every register with a version of the layout. Every update that
/// writes such a register contains these bytes.
pub const LAYOUT_PREFIX: &str = "@layout/";
/// The version of the layout that this version of exostate writes. It also reads documents without
/// a version. The next version of the layout has the next number.
const LAYOUT_VERSION: u64 = 1;
/// The path of the register with [`LAYOUT_VERSION`].
const LAYOUT_WRITTEN: &str = "@layout/1";

/// The most characters of a name, and the most names, in an error. The document may come from an
/// untrusted peer.
const SHOWN_CHARS_MAX: usize = 64;
const SHOWN_NAMES_MAX: usize = 4;

/// Whether a register is internal. A segment of a user's key never begins with `@`.
#[must_use]
pub fn is_own(path: &str) -> bool {
    path.starts_with('@')
}

/// The write that stores the name of the state type and the hash of its shape in the document.
#[must_use]
pub fn write(name: &str, shape: u64) -> (Key, RegisterWrite) {
    let key = Key::from(key::join(TYPE, name).as_str());
    (key, RegisterWrite { old: None, new: Some(Value::str(format!("{shape:016x}"))) })
}

/// The write that stores the version of the layout. `None` if the document has it already. `own`
/// are the paths of the document's own registers.
#[must_use]
pub fn layout_write(own: &BTreeSet<Arc<str>>) -> Option<(Key, RegisterWrite)> {
    let write = RegisterWrite { old: None, new: Some(Value::Bool(true)) };
    (!own.contains(LAYOUT_WRITTEN)).then(|| (Key::from(LAYOUT_WRITTEN), write))
}

/// The version of the layout, if the path is that of a register with a version.
#[must_use]
pub fn layout_in(path: &str) -> Option<u64> {
    path.strip_prefix(LAYOUT_PREFIX)?.parse().ok()
}

/// Fails if one of these is a later version of the layout than this version of exostate knows.
///
/// # Errors
/// [`BackendError::LaterLayout`].
pub fn check_layout(mut versions: impl Iterator<Item = u64>) -> Result<(), BackendError> {
    match versions.find(|found| *found > LAYOUT_VERSION) {
        Some(found) => Err(BackendError::LaterLayout { found, known: LAYOUT_VERSION }),
        None => Ok(()),
    }
}

/// The name of the state type, if the path is that of a type register.
#[must_use]
pub fn name_in(path: &str) -> Option<&str> {
    path.strip_prefix(TYPE)?
        .strip_prefix('/')
        .filter(|name| !name.is_empty() && !name.contains('/'))
}

/// The document holds another state type than the one as which it was opened or joined.
///
/// The first change that writes into a document also stores the name of its state type: the name of
/// the struct or enum without type parameters, or the name in `#[state(name = "…")]`. Two types
/// with the same name may have different fields, for example in an older and a newer version of an
/// application.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the document holds the state type `{document}`, and was opened as `{opened}`")]
pub struct TypeMismatch {
    document: String,
    opened: String,
}

impl TypeMismatch {
    /// The mismatch of a document with these names that is opened as the type `opened`. `None` if
    /// the document has no other name, or if the opened type has no name.
    #[must_use]
    pub(crate) fn between<'a>(
        document: impl Iterator<Item = &'a str>,
        opened: Option<&str>,
    ) -> Option<Self> {
        let opened = opened?;
        let others = document.filter(|name| *name != opened).take(SHOWN_NAMES_MAX);
        let others: Vec<String> =
            others.map(|name| name.chars().take(SHOWN_CHARS_MAX).collect()).collect();
        (!others.is_empty())
            .then(|| Self { document: others.join(", "), opened: opened.to_owned() })
    }

    /// The name of the state type in the document. A name is cut after 64 characters. If the
    /// document has several other names, these are the first four, joined by commas.
    #[must_use]
    pub fn document(&self) -> &str {
        &self.document
    }

    /// The name of the state type as which the document was opened.
    #[must_use]
    pub fn opened(&self) -> &str {
        &self.opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_version_of_the_layout_is_the_known_one() {
        assert_eq!(layout_in(LAYOUT_WRITTEN), Some(LAYOUT_VERSION));
    }

    #[test]
    fn type_names_round_trip() {
        let (key, _) = write("Board", 7);
        assert_eq!((key.as_str(), name_in(key.as_str())), ("@type/Board", Some("Board")));
        for none in ["@type", "@type/", "@type/a/b", "@types/a", "@position", "type/a", ""] {
            assert_eq!(name_in(none), None);
        }
    }

    #[test]
    fn shown_names_are_bounded_in_length_and_number() {
        let names = ["x".repeat(1000), "Board".to_owned(), "y".to_owned()];
        let mismatch = TypeMismatch::between(names.iter().map(String::as_str), Some("Board"))
            .expect("there are others");
        assert_eq!(mismatch.document(), format!("{}, y", "x".repeat(SHOWN_CHARS_MAX)));
        assert_eq!(TypeMismatch::between(["Board"].into_iter(), Some("Board")), None);
        assert_eq!(TypeMismatch::between(["Board"].into_iter(), None), None);
        let many: Vec<String> = (0..100).map(|name| name.to_string()).collect();
        let mismatch = TypeMismatch::between(many.iter().map(String::as_str), Some("Board"))
            .expect("there are others");
        assert_eq!(mismatch.document(), "0, 1, 2, 3");
    }
}
