//! Reading the content of a document from JSON. The JSON may come from anywhere: each entry is
//! checked, and the memory is in proportion to the text.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Content, JsonError, VERSION};
use crate::document::bundle::{self, KeyKind};
use crate::document::key::{self, Key};
use crate::document::replica::List;
use crate::document::rope::{Marks, Rope};
use crate::document::value::Value;

/// Reads what [`write`](super::write) wrote. O(text).
///
/// # Errors
/// [`JsonError::Malformed`], [`JsonError::LaterVersion`].
pub fn read(text: &str) -> Result<Content, JsonError> {
    let place = Place::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = DocumentSeed(&place).deserialize(&mut deserializer);
    let read = read.and_then(|content| deserializer.end().map(|()| content));
    read.map_err(|error| {
        if let Some(found) = place.later_version.take() {
            return JsonError::LaterVersion { found, known: VERSION };
        }
        let reason = error.to_string();
        let reason = reason.rfind(" at line ").and_then(|end| reason.get(..end)).unwrap_or(&reason);
        JsonError::Malformed {
            line: error.line(),
            column: error.column(),
            path: place.path.take(),
            reason: reason.to_owned(),
        }
    })
}

/// Where the reader is, for the error message.
#[derive(Default)]
struct Place {
    path: RefCell<String>,
    later_version: RefCell<Option<u64>>,
}

struct DocumentSeed<'p>(&'p Place);

impl<'de> DeserializeSeed<'de> for DocumentSeed<'_> {
    type Value = Content;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for DocumentSeed<'_> {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the JSON of a document of exostate")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        // The version comes first, because it says how to read the rest. Tools that sort the fields
        // of objects keep it there.
        if map.next_key::<String>()?.as_deref() != Some("exostate") {
            return Err(A::Error::custom("the first field is not \"exostate\""));
        }
        match map.next_value::<u64>()? {
            VERSION => {}
            found => {
                *self.0.later_version.borrow_mut() = Some(found);
                return Err(A::Error::custom("a later version"));
            }
        }
        let (mut lists, mut registers, mut texts) = (None, None, None);
        while let Some(field) = map.next_key::<String>()? {
            let is_new = match &*field {
                "lists" => lists
                    .replace(map.next_value_seed(Entries(self.0, |_: &str| ListSeed))?)
                    .is_none(),
                "registers" => {
                    let seed = |key: &str| RegisterSeed { key: key.to_owned() };
                    registers.replace(map.next_value_seed(Entries(self.0, seed))?).is_none()
                }
                "texts" => texts
                    .replace(map.next_value_seed(Entries(self.0, |_: &str| TextSeed))?)
                    .is_none(),
                _ => return Err(A::Error::custom(format!("an unknown field {field:?}"))),
            };
            if !is_new {
                return Err(A::Error::custom(format!("the field {field:?} twice")));
            }
        }
        Ok(Content {
            registers: registers.unwrap_or_default(),
            texts: texts.unwrap_or_default(),
            lists: lists.unwrap_or_default(),
        })
    }
}

/// The entries of one kind. The function makes the seed for the value of a key.
struct Entries<'p, F>(&'p Place, F);

impl<'de, S: DeserializeSeed<'de>, F: Fn(&str) -> S> DeserializeSeed<'de> for Entries<'_, F> {
    type Value = BTreeMap<Key, S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, S: DeserializeSeed<'de>, F: Fn(&str) -> S> Visitor<'de> for Entries<'_, F> {
    type Value = BTreeMap<Key, S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an entry for each path")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = BTreeMap::new();
        while let Some(path) = map.next_key::<String>()? {
            path.clone_into(&mut self.0.path.borrow_mut());
            let value = map.next_value_seed((self.1)(&path))?;
            match found.entry(Key::from(path.as_str())) {
                Entry::Vacant(entry) => entry.insert(value),
                Entry::Occupied(_) => return Err(A::Error::custom("the same path twice")),
            };
            self.0.path.borrow_mut().clear();
        }
        Ok(found)
    }
}

/// The elements of a list.
struct ListSeed;

impl<'de> DeserializeSeed<'de> for ListSeed {
    type Value = List;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<List, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ListSeed {
    type Value = List;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List, A::Error> {
        let mut found = Vec::new();
        while let Some(value) = seq.next_element_seed(ValueSeed { slot: None })? {
            found.push(value);
        }
        Ok(found.into_iter().collect())
    }
}

/// The runs of a text.
struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Rope;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Rope, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for TextSeed {
    type Value = Rope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of runs of text")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Rope, A::Error> {
        let mut runs = Vec::new();
        while let Some(run) = seq.next_element_seed(RunSeed)? {
            runs.push(run);
        }
        Ok(Rope::from_runs(runs))
    }
}

type Run = (String, Option<Arc<Marks>>);

/// A string, or an object with the fields `insert` and `attributes`.
struct RunSeed;

impl<'de> DeserializeSeed<'de> for RunSeed {
    type Value = Run;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Run, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RunSeed {
    type Value = Run;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, or an object with \"insert\" and \"attributes\"")
    }

    fn visit_str<E: Error>(self, run: &str) -> Result<Run, E> {
        Ok((run.to_owned(), None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Run, A::Error> {
        let (mut insert, mut marks) = (None, None);
        while let Some(field) = map.next_key::<String>()? {
            let is_new = match &*field {
                "insert" => insert.replace(map.next_value::<String>()?).is_none(),
                "attributes" => marks.replace(map.next_value_seed(MarksSeed)?).is_none(),
                _ => return Err(A::Error::custom(format!("an unknown field {field:?} in a run"))),
            };
            if !is_new {
                return Err(A::Error::custom(format!("the field {field:?} twice in a run")));
            }
        }
        let insert = insert.ok_or_else(|| A::Error::custom("a run without \"insert\""))?;
        Ok((insert, marks.map(Arc::new)))
    }
}

struct MarksSeed;

impl<'de> DeserializeSeed<'de> for MarksSeed {
    type Value = Marks;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Marks, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MarksSeed {
    type Value = Marks;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of marks")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Marks, A::Error> {
        let mut marks = Marks::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(ValueSeed { slot: None })?;
            let value = value.as_mark().map_err(A::Error::custom)?;
            if marks.insert(Arc::from(name), value).is_some() {
                return Err(A::Error::custom("the same mark twice in a run"));
            }
        }
        Ok(marks)
    }
}

/// The value under a key, which is a bundle if the key is that of one.
struct RegisterSeed {
    key: String,
}

impl<'de> DeserializeSeed<'de> for RegisterSeed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let slot = match bundle::kind_of(&self.key) {
            KeyKind::Bundle { slot, .. } => Some(slot),
            _ => None,
        };
        ValueSeed { slot }.deserialize(deserializer)
    }
}

/// Reads a scalar in the form that the JSON of a document has for it.
pub(crate) fn read_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    ValueSeed { slot: None }.deserialize(deserializer)
}

/// A scalar. `slot` is the slot of a bundle, if a bundle may be here.
#[derive(Clone, Copy)]
struct ValueSeed<'s> {
    slot: Option<&'s str>,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of a document")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        i64::try_from(number).map(Value::Int).map_err(|_| E::custom("an integer above 2^63 - 1"))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value::float(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::str(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let kind = map.next_key::<String>()?.unwrap_or_default();
        let value = match (&*kind, self.slot) {
            ("int", _) => int(&map.next_value::<String>()?),
            ("float", _) => float(&map.next_value::<String>()?),
            ("bytes", _) => bytes(&map.next_value::<String>()?),
            ("bundle", Some(slot)) => bundled(slot, map.next_value_seed(BundleSeed)?),
            ("bundle", None) => Err("a bundle whose path is not that of a bundle".to_owned()),
            ("unknown", _) => Err(format!(
                "a {}, which only its own software can write",
                map.next_value::<String>()?
            )),
            _ => Err(format!("an unknown kind of value {kind:?}")),
        };
        let value = value.map_err(A::Error::custom)?;
        match map.next_key::<String>()? {
            None => Ok(value),
            Some(_) => Err(A::Error::custom("a second field in a value")),
        }
    }
}

fn int(text: &str) -> Result<Value, String> {
    text.parse().map(Value::Int).map_err(|_| format!("{text:?} is not an integer of 64 bits"))
}

fn float(text: &str) -> Result<Value, String> {
    let number = match text {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        _ => return Err(format!("{text:?} is not \"NaN\", \"Infinity\" or \"-Infinity\"")),
    };
    Ok(Value::Float(number))
}

fn bytes(text: &str) -> Result<Value, String> {
    let digit =
        |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    match bytes.collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty()) {
        Some(bytes) => Ok(Value::Bytes(Arc::from(bytes))),
        None => Err("bytes that are not pairs of hexadecimal digits".to_owned()),
    }
}

/// The bundle of these entries.
fn bundled(slot: &str, mut entries: Vec<(String, Value)>) -> Result<Value, String> {
    entries.sort_by(|(a, _), (b, _)| key::compare(a, b));
    let read = entries.iter().map(|(relative, value)| (relative.as_str(), value));
    let bytes = bundle::encode(read).map_err(|error| error.to_string())?;
    let value = Value::Bytes(Arc::from(bytes));
    // A bundle with a wrong path, the same path twice, or too much content has no entries.
    match bundle::entries(slot, &value).len() == entries.len() {
        true => Ok(value),
        false => Err("a bundle with a malformed path, a path twice, or too much in it".to_owned()),
    }
}

/// The entries of a bundle.
struct BundleSeed;

impl<'de> DeserializeSeed<'de> for BundleSeed {
    type Value = Vec<(String, Value)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BundleSeed {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the entries of a bundle")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(relative) = map.next_key::<String>()? {
            entries.push((relative, map.next_value_seed(ValueSeed { slot: None })?));
        }
        Ok(entries)
    }
}
