//! Converts values and marks to the types of automerge and back.

use std::sync::Arc;

use automerge::marks::MarkSet;
use automerge::{ObjType, ScalarValue, Value as AmValue};

use crate::document::rope::Marks;
use crate::document::value::Value;

pub(super) fn marks_of(marks: &MarkSet) -> Option<Arc<Marks>> {
    let marks: Marks = marks
        .iter()
        .filter(|(_, value)| !matches!(value, ScalarValue::Null))
        .map(|(name, value)| (Arc::from(name), from_scalar(value)))
        .collect();
    (!marks.is_empty()).then(|| Arc::new(marks))
}

pub(super) fn to_scalar(value: &Value) -> ScalarValue {
    match value {
        Value::Null | Value::Unknown(_) => ScalarValue::Null,
        Value::Bool(flag) => ScalarValue::Boolean(*flag),
        Value::Int(number) => ScalarValue::Int(*number),
        Value::Float(number) => ScalarValue::F64(*number),
        Value::Str(text) => ScalarValue::Str(text.as_ref().into()),
        Value::Bytes(bytes) => ScalarValue::Bytes(bytes.to_vec()),
    }
}

pub(super) fn from_value(value: &AmValue<'_>) -> Value {
    match value {
        AmValue::Scalar(scalar) => from_scalar(scalar),
        AmValue::Object(ObjType::Text) => Value::Unknown("nested text"),
        AmValue::Object(ObjType::List) => Value::Unknown("nested array"),
        AmValue::Object(_) => Value::Unknown("nested map"),
    }
}

pub(super) fn from_scalar(scalar: &ScalarValue) -> Value {
    match scalar {
        ScalarValue::Null => Value::Null,
        ScalarValue::Boolean(flag) => Value::Bool(*flag),
        ScalarValue::Int(number) | ScalarValue::Timestamp(number) => Value::Int(*number),
        ScalarValue::Uint(number) => {
            i64::try_from(*number).map_or_else(|_| Value::str(number.to_string()), Value::Int)
        }
        ScalarValue::Counter(counter) => Value::Int(i64::from(counter)),
        ScalarValue::F64(number) => Value::float(*number),
        ScalarValue::Str(text) => Value::str(text.as_str()),
        ScalarValue::Bytes(bytes) => Value::Bytes(Arc::from(bytes.as_slice())),
        ScalarValue::Unknown { .. } => Value::Unknown("foreign value"),
    }
}
