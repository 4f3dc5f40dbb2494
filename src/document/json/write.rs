//! Writing the content of a document as JSON, one entry a line, in the order of the keys.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Content, VERSION};
use crate::document::bundle::{self, KeyKind};
use crate::document::key::Key;
use crate::document::rope::{Marks, Rope};
use crate::document::value::Value;

/// Integers up to this size are JSON numbers. Most JSON tools read larger ones as floats.
const PLAIN_INT_MAX: u64 = (1 << 53) - 1;

/// The JSON of a content. Equal contents give the same bytes. O(content).
#[must_use]
pub fn write(content: &Content) -> String {
    let mut out = format!("{{\n\"exostate\": {VERSION},\n\"lists\": {{");
    entries(&mut out, &content.lists, |out, _, list| {
        lines(out, list.iter().map(value));
    });
    out.push_str("},\n\"registers\": {");
    entries(&mut out, &content.registers, |out, key, found| {
        out.push_str(&register(key, found).to_string());
    });
    out.push_str("},\n\"texts\": {");
    entries(&mut out, &content.texts, |out, _, text| lines(out, runs(text)));
    out.push_str("}\n}\n");
    out
}

/// Writes the entries of one kind, each on a line of its own.
fn entries<'c, V: 'c>(
    out: &mut String,
    entries: impl IntoIterator<Item = (&'c Key, &'c V)>,
    mut each: impl FnMut(&mut String, &str, &V),
) {
    let mut any = false;
    for (key, found) in entries {
        out.push_str(if any { ",\n" } else { "\n" });
        any = true;
        out.push_str(&json!(key.as_str()).to_string());
        out.push_str(": ");
        each(out, key.as_str(), found);
    }
    if any {
        out.push('\n');
    }
}

/// Writes an array with one item a line.
fn lines(out: &mut String, items: impl Iterator<Item = serde_json::Value>) {
    out.push('[');
    for (index, item) in items.enumerate() {
        out.push_str(if index == 0 { "\n  " } else { ",\n  " });
        out.push_str(&item.to_string());
    }
    out.push_str("\n]");
}

/// The runs of a text, cut behind each line break, so that a change of one line is a small
/// difference.
fn runs(text: &Rope) -> impl Iterator<Item = serde_json::Value> {
    text.runs().into_iter().flat_map(|(run, marks)| {
        let attributes = marks.as_deref().map(attributes);
        let part = |part: &str| match &attributes {
            None => json!(part),
            // In the order of the names, which a feature of `serde_json` may keep.
            Some(attributes) => json!({ "attributes": attributes, "insert": part }),
        };
        run.split_inclusive('\n').map(part).collect::<Vec<_>>()
    })
}

fn attributes(marks: &Marks) -> serde_json::Value {
    marks.iter().map(|(name, mark)| (name.to_string(), value(mark))).collect()
}

/// A register. A bundle is written as its entries, if these give the same bytes again.
fn register(key: &str, found: &Value) -> serde_json::Value {
    if let KeyKind::Bundle { slot, .. } = bundle::kind_of(key)
        && let Some(entries) = bundle_entries(slot, found)
    {
        return json!({ "bundle": entries });
    }
    value(found)
}

fn bundle_entries(slot: &str, found: &Value) -> Option<serde_json::Value> {
    let Value::Bytes(bytes) = found else { return None };
    let entries = bundle::entries(slot, found).into_iter();
    let entries: Vec<(&str, Value)> =
        entries.map(|(relative, scalar)| (relative, Value::from(scalar))).collect();
    let again = bundle::encode(entries.iter().map(|(relative, value)| (*relative, value))).ok()?;
    let is_same = !entries.is_empty() && **bytes == *again;
    let written = |(relative, entry): &(&str, Value)| ((*relative).to_owned(), value(entry));
    let sorted = || entries.iter().map(written).collect::<BTreeMap<_, _>>();
    is_same.then(|| sorted().into_iter().collect())
}

/// A scalar. What JSON does not have, or what JSON tools change, is an object with one field.
pub(crate) fn value(found: &Value) -> serde_json::Value {
    match found {
        Value::Null => serde_json::Value::Null,
        Value::Bool(flag) => json!(flag),
        Value::Int(number) if number.unsigned_abs() <= PLAIN_INT_MAX => json!(number),
        Value::Int(number) => json!({ "int": number.to_string() }),
        Value::Float(number) if number.is_finite() => json!(number),
        Value::Float(number) if number.is_nan() => json!({ "float": "NaN" }),
        Value::Float(number) if *number > 0.0 => json!({ "float": "Infinity" }),
        Value::Float(_) => json!({ "float": "-Infinity" }),
        Value::Str(text) => json!(**text),
        Value::Bytes(bytes) => json!({ "bytes": hexadecimal(bytes) }),
        Value::Unknown(kind) => json!({ "unknown": kind }),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}
