//! Checks after a commit that the document holds what the change staged.
//!
//! In a document that was damaged on purpose, a write can have no effect, because yrs puts the new
//! value beside the content that is already at its place. Then an error is better than a view that
//! shows values that the document does not hold.

use std::collections::BTreeMap;

use super::backend::{Backend, BackendError, Offset};
use super::key::Key;
use super::ops::{Ops, RegisterTouch, RegisterWrite, Touched};
use super::replica::List;
use super::rope::Rope;

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

/// A register whose new value differs from the staged one, or that only one of the two has. A
/// commit touches its registers in the order of the ops.
fn stray_register<'a>(ops: &'a Ops, touched: &'a Touched) -> Option<&'a str> {
    let mut touches = touched.registers.iter();
    let is_stray = |(key, staged): &(&Key, &RegisterWrite)| {
        let as_staged =
            |touch: &RegisterTouch| *touch.key == *key.as_str() && touch.new == staged.new;
        !touches.next().is_some_and(as_staged)
    };
    let stray = ops.registers.iter().find(is_stray).map(|(key, _)| key.as_str());
    stray.or_else(|| touches.next().map(|touch| &*touch.key))
}

/// Whether the text has the length `len` that the backend reports.
pub fn fits(text: &Rope, len: Offset) -> bool {
    match len {
        Offset::Chars(chars) => text.len_chars() == chars,
        Offset::Utf16(units) => text.len_utf16() == units,
    }
}
