//! The marks of a run of text: their canonical form, equality and fingerprint.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::document::Value;
use crate::document::digest::Canonical;

/// The marks of a run of text: names (for example "bold" or "link") with their values, sorted by
/// name.
pub type Marks = BTreeMap<Arc<str>, Value>;

/// The marks of one run in canonical form: never an empty map, and never a [`Value::Null`] in it.
pub(super) type RunMarks = Option<Arc<Marks>>;

/// Brings marks from outside into canonical form. Copies nothing if they already have it.
pub(super) fn canonical(marks: RunMarks) -> RunMarks {
    let marks = marks?;
    if !marks.values().any(|value| matches!(value, Value::Null)) {
        return (!marks.is_empty()).then_some(marks);
    }
    let kept: Marks = marks
        .iter()
        .filter(|(_, value)| !matches!(value, Value::Null))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    (!kept.is_empty()).then(|| Arc::new(kept))
}

/// The marks with `name` set to `value`, or without `name` if the value is [`Value::Null`].
pub(super) fn with(marks: Option<&Arc<Marks>>, name: &Arc<str>, value: &Value) -> RunMarks {
    let mut changed = marks.map(|marks| Marks::clone(marks)).unwrap_or_default();
    if matches!(value, Value::Null) {
        changed.remove(name);
    } else {
        changed.insert(name.clone(), value.clone());
    }
    (!changed.is_empty()).then(|| Arc::new(changed))
}

/// Whether setting `name` to `value` would not change these marks.
pub(super) fn already(marks: Option<&Arc<Marks>>, name: &str, value: &Value) -> bool {
    match marks.and_then(|marks| marks.get(name)) {
        Some(present) => same_value(present, value),
        None => matches!(value, Value::Null),
    }
}

/// Whether two runs have equal marks.
pub(super) fn same(left: Option<&Arc<Marks>>, right: Option<&Arc<Marks>>) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => {
            Arc::ptr_eq(left, right)
                || (left.len() == right.len()
                    && left
                        .iter()
                        .zip(right.iter())
                        .all(|(a, b)| a.0 == b.0 && same_value(a.1, b.1)))
        }
        _ => false,
    }
}

/// Equality that agrees with [`Canonical::value`]. A NaN equals a NaN, so that a text equals its
/// own clone. The two zeros differ.
fn same_value(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Float(left), Value::Float(right)) => {
            left.to_bits() == right.to_bits() || (left.is_nan() && right.is_nan())
        }
        _ => left == right,
    }
}

/// A fingerprint of the marks in two lanes. It is zero if there are no marks.
pub(super) fn fingerprint(marks: Option<&Arc<Marks>>) -> [u64; 2] {
    let Some(marks) = marks else { return [0; 2] };
    let mut canonical = Canonical::new();
    for (name, value) in marks.iter() {
        canonical.bytes(4, name.as_bytes());
        canonical.value(value);
    }
    let hash = canonical.finish();
    // The lanes are the two halves of the hash. Both casts keep the low bits.
    [(hash >> 64) as u64, hash as u64]
}
