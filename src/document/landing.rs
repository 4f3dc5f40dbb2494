//! After a commit: is what was staged what stands in the document?
//!
//! In a document that somebody spoilt by hand a write can come to nothing, as yrs puts a new value
//! beside what stands at its place. An error then is better than a view that shows what is not
//! there.

use std::collections::BTreeMap;

use super::backend::{Backend, BackendError, Offset};
use super::key::{self, Key};
use super::ops::{Ops, Touched};
use super::replica::List;
use super::rope::Rope;
use super::value::Value;

/// Compares what a commit touched with what was staged: each register's value, each sequence's
/// length. O(ops).
pub fn check<B: Backend>(
    backend: &B,
    ops: &Ops,
    touched: &Touched,
    texts: &BTreeMap<Key, Rope>,
    lists: &BTreeMap<Key, List>,
) -> Result<(), BackendError> {
    let place = stray_register(ops, touched);
    let place = place.or_else(|| {
        texts
            .iter()
            .find(|(name, text)| !fits(text, backend.text_len(name.as_str())))
            .map(|(name, _)| name.as_str())
    });
    let place = place.or_else(|| {
        lists
            .iter()
            .find(|(name, list)| list.len() != backend.list_len(name.as_str()))
            .map(|(name, _)| name.as_str())
    });
    match place {
        Some(place) => Err(BackendError::Misfit {
            place: place.to_owned(),
            reason: "what was written does not stand there".to_owned(),
        }),
        None => Ok(()),
    }
}

/// A register that was touched otherwise than it was staged, or not at all.
fn stray_register<'a>(ops: &'a Ops, touched: &'a Touched) -> Option<&'a str> {
    let as_staged = |key: &str, new: &Option<Value>| {
        ops.registers.get(key::lookup(&key)).is_some_and(|staged| staged.new == *new)
    };
    if let Some(stray) = touched.registers.iter().find(|touch| !as_staged(&touch.key, &touch.new)) {
        return Some(&stray.key);
    }
    if touched.registers.len() == ops.registers.len() {
        return None;
    }
    let untouched = |key: &&Key| touched.registers.iter().all(|touch| *touch.key != *key.as_str());
    ops.registers.keys().find(untouched).map(Key::as_str)
}

/// Whether a text as it was read has the length that the backend counts.
pub fn fits(text: &Rope, len: Offset) -> bool {
    match len {
        Offset::Chars(chars) => text.len_chars() == chars,
        Offset::Utf16(units) => text.len_utf16() == units,
    }
}
