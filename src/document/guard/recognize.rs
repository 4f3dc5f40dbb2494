//! Says what bytes are that a backend refused, where that can be told: somebody opened the wrong
//! file.
//!
//! Asked only once something is refused. It looks at the first bytes, and walks what may be a Yjs
//! update under the limits of the guard.

use super::{Reader, automerge_chunk, yrs_update};
use crate::document::limits::Limits;

/// What bytes are, as an error says it, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recognized {
    /// With its article.
    pub what: &'static str,
    /// A sentence without its full stop; may be empty.
    pub hint: &'static str,
}

const fn plain(what: &'static str) -> Recognized {
    Recognized { what, hint: "" }
}

/// Bytes that files begin with.
const BEGINNINGS: [(&[u8], &str); 13] = [
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"PK\x05\x06", "a ZIP archive"),
    (b"\x1f\x8b", "data compressed by gzip"),
    (b"\x28\xb5\x2f\xfd", "data compressed by zstd"),
    (b"\xfd7zXZ\0", "data compressed by xz"),
    (b"BZh", "data compressed by bzip2"),
    (b"SQLite format 3\0", "a SQLite database"),
    (b"loro", "a Loro document"),
    (b"\x7fELF", "a program"),
];

/// What is kept beside a document begins with the names of its first fields, in CBOR.
const SEALED: [(&str, Recognized); 2] = [
    (
        "backend",
        Recognized {
            what: "a history that exostate saved",
            hint: "open the document, and give these to `Store::history_from`",
        },
    ),
    (
        "version",
        Recognized {
            what: "undo stacks that exostate saved",
            hint: "open the document, and give these to `Store::undo_manager_from`",
        },
    ),
];

/// What the bytes are that the backend of this name could not take. `None`: nothing that is known
/// here, or what they should be, damaged.
#[must_use]
pub fn recognize(bytes: &[u8], backend: &str, limits: &Limits) -> Option<Recognized> {
    if bytes.is_empty() {
        return Some(plain("nothing (0 bytes)"));
    }
    let is = |name: &str| backend == name;
    if bytes.starts_with(&automerge_chunk::MAGIC) {
        let hint = "open it with `Store::<_, Automerge>`";
        return (!is("automerge")).then_some(Recognized { what: "an automerge document", hint });
    }
    if !is("yrs") && yrs_update::walk(bytes, limits, &mut ()).is_ok() {
        return Some(Recognized { what: "a Yjs document", hint: "open it with `Store::<_, Yrs>`" });
    }
    if bytes.iter().all(|byte| *byte == 0) {
        return Some(plain("nothing but zeros"));
    }
    if is_second_encoding(bytes) {
        let hint = "write it with `Y.encodeStateAsUpdate`, not with `Y.encodeStateAsUpdateV2`";
        return Some(Recognized { what: "a Yjs document in encoding v2", hint });
    }
    let beginning = BEGINNINGS.iter().find(|(beginning, _)| bytes.starts_with(beginning));
    beginning.map(|(_, what)| plain(what)).or_else(|| sealed(bytes)).or_else(|| text(bytes))
}

/// Yjs's second encoding: a byte that is zero, then nine columns, each with its length before it,
/// and then the rest.
fn is_second_encoding(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes, 0);
    reader.byte().is_ok_and(|first| first == 0)
        && (0..9).all(|_| reader.buffer().is_ok())
        && !reader.is_empty()
}

/// A map in CBOR whose first key is `format`, a number, and whose second says what it is.
fn sealed(bytes: &[u8]) -> Option<Recognized> {
    let (first, rest) = bytes.split_first()?;
    if first & 0xe0 != 0xa0 {
        return None;
    }
    let rest = rest.strip_prefix(b"\x66format")?;
    let rest = rest.get(1..)?;
    let next = |name: &str| rest.get(1..).is_some_and(|rest| rest.starts_with(name.as_bytes()));
    SEALED.iter().find(|(second, _)| next(second)).map(|(_, recognized)| *recognized)
}

fn text(bytes: &[u8]) -> Option<Recognized> {
    let text = std::str::from_utf8(bytes).ok()?;
    if text.chars().any(|letter| letter.is_control() && !letter.is_whitespace()) {
        return None;
    }
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let html = text.trim_start().starts_with("<");
    Some(plain(if is_json {
        "JSON"
    } else if html {
        "HTML or XML"
    } else {
        "plain text"
    }))
}
