//! Converts values and marks to the types of yrs and back.

use std::sync::Arc;

use yrs::types::Attrs;
use yrs::{Any, Number, Out};

use crate::document::rope::Marks;
use crate::document::value::Value;

pub(super) fn marks_of(attributes: &Attrs) -> Option<Arc<Marks>> {
    let marks: Marks = attributes
        .iter()
        .filter(|(_, value)| !matches!(value, Any::Null | Any::Undefined))
        .map(|(name, value)| (name.clone(), from_any(value)))
        .collect();
    (!marks.is_empty()).then(|| Arc::new(marks))
}

pub(super) fn to_any(value: &Value) -> Any {
    match value {
        Value::Null | Value::Unknown(_) => Any::Null,
        Value::Bool(flag) => Any::Bool(*flag),
        Value::Int(number) => Any::Number(Number::Int(*number)),
        Value::Float(number) => Any::Number(Number::Float(*number)),
        Value::Str(text) => Any::String(text.clone()),
        Value::Bytes(bytes) => Any::Buffer(bytes.clone()),
    }
}

pub(super) fn from_any(any: &Any) -> Value {
    match any {
        Any::Null | Any::Undefined => Value::Null,
        Any::Bool(flag) => Value::Bool(*flag),
        Any::Number(Number::Int(number)) => Value::Int(*number),
        Any::Number(Number::Float(number)) => Value::float(*number),
        Any::String(text) => Value::Str(text.clone()),
        Any::Buffer(bytes) => Value::Bytes(bytes.clone()),
        Any::Array(_) => Value::Unknown("list of values"),
        Any::Map(_) => Value::Unknown("map of values"),
    }
}

pub(super) fn from_out(out: &Out) -> Value {
    match out {
        Out::Any(any) => from_any(any),
        Out::YText(_) => Value::Unknown("nested text"),
        Out::YArray(_) => Value::Unknown("nested array"),
        Out::YMap(_) => Value::Unknown("nested map"),
        _ => Value::Unknown("foreign type"),
    }
}
