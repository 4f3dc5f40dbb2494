//! The registers in which a document remembers what state type it holds: `@type/<name>`, with a
//! hash of the type's shape.
//!
//! They are the document's own, as whatever begins with `@` at the root: saved, merged and in the
//! digest as all registers are, and nothing above this layer sees them, neither views nor watchers,
//! undo, histories or what empties a state. [`Replica`](super::replica::Replica) leaves them out of
//! what it gives. A name is a part of the path, so that two that are written at once both stay, and
//! both sides see that they differ.

use super::key::{self, Key};
use super::ops::RegisterWrite;
use super::value::Value;

/// The path of all of them.
const TYPE: &str = "@type";

/// Characters of a name that are shown, and names: documents come from anybody.
const SHOWN_CHARS_MAX: usize = 64;
const SHOWN_NAMES_MAX: usize = 4;

/// Whether a register is the document's own. A segment of a user's never begins with `@`.
#[must_use]
pub fn is_own(path: &str) -> bool {
    path.starts_with('@')
}

/// What makes the document say that it holds a type of this name, whose shape has this hash.
#[must_use]
pub fn write(name: &str, shape: u64) -> (Key, RegisterWrite) {
    let key = Key::from(key::join(TYPE, name).as_str());
    (key, RegisterWrite { old: None, new: Some(Value::str(format!("{shape:016x}"))) })
}

/// The name that one of the document's own registers says, if it is one of these.
#[must_use]
pub fn name_in(path: &str) -> Option<&str> {
    path.strip_prefix(TYPE)?
        .strip_prefix('/')
        .filter(|name| !name.is_empty() && !name.contains('/'))
}

/// A document says that it holds another state type than the one it was opened or joined as.
///
/// A document takes the name of its state type with the first change that writes into it: the
/// struct's or enum's own, without type parameters, or that of `#[state(name = "…")]`. Types with
/// one name may have different fields, as an older and a newer version of an application have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the document holds the state type `{document}`, and was opened as `{opened}`")]
pub struct TypeMismatch {
    document: String,
    opened: &'static str,
}

impl TypeMismatch {
    /// What a document with these names is, opened as a type of one; `None` where there are no
    /// others, or the type has none.
    #[must_use]
    pub(crate) fn between<'a>(
        document: impl Iterator<Item = &'a str>,
        opened: Option<&'static str>,
    ) -> Option<Self> {
        let opened = opened?;
        let others = document.filter(|name| *name != opened).take(SHOWN_NAMES_MAX);
        let others: Vec<String> =
            others.map(|name| name.chars().take(SHOWN_CHARS_MAX).collect()).collect();
        (!others.is_empty()).then(|| Self { document: others.join(", "), opened })
    }

    /// The name that the document says, of a long one the first 64 characters. Where several types
    /// were written into it, the names of the others.
    #[must_use]
    pub fn document(&self) -> &str {
        &self.document
    }

    /// The name of the type that it was opened as.
    #[must_use]
    pub fn opened(&self) -> &str {
        self.opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let (key, _) = write("Board", 7);
        assert_eq!((key.as_str(), name_in(key.as_str())), ("@type/Board", Some("Board")));
        for none in ["@type", "@type/", "@type/a/b", "@types/a", "@position", "type/a", ""] {
            assert_eq!(name_in(none), None);
        }
    }

    #[test]
    fn what_is_shown_of_names_is_bounded() {
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
