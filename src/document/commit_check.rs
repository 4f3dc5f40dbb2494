//! Checks after a commit that the document holds what the change staged.
//!
//! In a document that was damaged on purpose, a write can have no effect, because yrs puts the new
//! value beside the content that is already at its place. Then an error is better than a view that
//! shows values that the document does not hold.

use std::collections::BTreeMap;

use super::backend::{Backend, BackendError, Offset};
use super::key::{self, Key};
use super::ops::{Ops, RegisterTouch, RegisterWrite, Touched};
use super::replica::List;
use super::rope::Rope;
use super::value::Value;

/// Compares the document after a commit with the staged ops: the value of each register and the
/// length of each sequence. O(ops).
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

/// A register whose new value differs from the staged one, or that the commit did not touch.
fn stray_register<'a>(ops: &'a Ops, touched: &'a Touched) -> Option<&'a str> {
    let as_staged = |key: &str, new: &Option<Value>| {
        ops.registers.get(key::lookup(&key)).is_some_and(|staged| staged.new == *new)
    };
    // The usual case: the same keys in the same order.
    let is_staged = |(touch, (key, staged)): (&RegisterTouch, (&Key, &RegisterWrite))| {
        *touch.key == *key.as_str() && touch.new == staged.new
    };
    if touched.registers.len() == ops.registers.len()
        && touched.registers.iter().zip(&ops.registers).all(is_staged)
    {
        return None;
    }
    if let Some(stray) = touched.registers.iter().find(|touch| !as_staged(&touch.key, &touch.new)) {
        return Some(&stray.key);
    }
    if touched.registers.len() == ops.registers.len() {
        return None;
    }
    let untouched = |key: &&Key| touched.registers.iter().all(|touch| *touch.key != *key.as_str());
    ops.registers.keys().find(untouched).map(Key::as_str)
}

/// Whether the text has the length `len` that the backend reports.
pub fn fits(text: &Rope, len: Offset) -> bool {
    match len {
        Offset::Chars(chars) => text.len_chars() == chars,
        Offset::Utf16(units) => text.len_utf16() == units,
    }
}
