//! Recognizes the format of bytes that a backend refused, for the error message: the user may have
//! opened the wrong file.
//!
//! It is called only after a refusal. It looks at the first bytes. If the bytes may be a Yjs
//! update, it walks them under the limits of the guard.

use super::{ByteReader, automerge_chunk, yrs_update};
use crate::document::limits::Limits;

/// The recognized format of bytes, for an error message, with a hint for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recognized {
    /// The format, with an article.
    pub what: &'static str,
    /// What the user can do: a sentence without its full stop. May be empty.
    pub hint: &'static str,
}

const fn plain(what: &'static str) -> Recognized {
    Recognized { what, hint: "" }
}

/// The first bytes of known file formats.
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

/// The second field of the CBOR data that exostate saves beside a document.
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

/// The format of bytes that the backend of this name refused. `None` if the format is not known
/// here, or if the bytes have the format of this backend and are damaged.
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

/// Whether the bytes look like encoding v2 of Yjs: a zero byte, then nine columns, each with its
/// length in front, and then at least one more byte.
fn is_second_encoding(bytes: &[u8]) -> bool {
    let mut reader = ByteReader::new(bytes, 0);
    reader.byte().is_ok_and(|first| first == 0)
        && (0..9).all(|_| reader.buffer().is_ok())
        && !reader.is_empty()
}

/// Recognizes a CBOR map whose first key is `format`, with a number as its value. The second key
/// tells the kind of data.
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
