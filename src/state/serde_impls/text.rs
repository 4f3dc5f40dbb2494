//! Text: a string, or runs with their marks, in the form that Quill and Yjs call a delta.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::document::rope::{Marks, Rope};
use crate::document::value::Value;

use super::super::Text;
use super::super::text::writable;

/// In readable formats such as JSON: a string if the text has no marks, else runs in the form of
/// Quill and Yjs (`Y.Text.toDelta`):
/// `[{"insert": "bold", "attributes": {"bold": true}}, {"insert": " and not"}]`.
/// Both forms can be read. In other formats: always runs.
///
/// Marks that exostate cannot write (for example bytes from other software) are left out.
impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() && !self.rope().has_marks() {
            return serializer.collect_str(self);
        }
        let runs: Vec<RunOut> = self
            .runs()
            .into_iter()
            .map(|(insert, marks)| RunOut { insert, marks: marks.map(writable) })
            .collect();
        super::sequence(serializer, runs.len(), runs.iter())
    }
}

struct RunOut {
    insert: String,
    marks: Option<Arc<Marks>>,
}

impl Serialize for RunOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A format that does not name its fields needs all of them.
        let plain = serializer.is_human_readable()
            && self.marks.as_ref().is_none_or(|marks| marks.is_empty());
        let mut run = serializer.serialize_struct("Run", if plain { 1 } else { 2 })?;
        run.serialize_field("insert", &self.insert)?;
        match plain {
            true => run.skip_field("attributes")?,
            false => run.serialize_field("attributes", &Attributes(self.marks.as_deref()))?,
        }
        run.end()
    }
}

struct Attributes<'a>(Option<&'a Marks>);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let empty = Marks::new();
        serializer
            .collect_map(self.0.unwrap_or(&empty).iter().map(|(name, value)| (&**name, value)))
    }
}

#[derive(Deserialize)]
struct Run {
    insert: String,
    #[serde(default)]
    attributes: BTreeMap<String, Value>,
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.is_human_readable() {
            true => deserializer.deserialize_any(StringOrRuns),
            false => deserializer.deserialize_seq(StringOrRuns),
        }
    }
}

struct StringOrRuns;

impl<'de> Visitor<'de> for StringOrRuns {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, or runs of text with their marks")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut runs: A) -> Result<Text, A::Error> {
        let mut rope = Rope::new();
        while let Some(Run { insert, attributes }) = runs.next_element()? {
            let marks =
                attributes.into_iter().map(|(name, value)| Ok((Arc::from(name), value.as_mark()?)));
            let marks: Marks = marks.collect::<Result<_, String>>().map_err(A::Error::custom)?;
            rope.insert(rope.len_chars(), &insert, Some(Arc::new(marks)));
        }
        Ok(Text::from_rope(rope))
    }
}
