//! What a document holds, seen without a schema.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::document::key;
use crate::document::ops::SequenceKind;
use crate::document::value::Value;
use crate::state::{At, List, Reader, Refresh, State, Text, Writer};

use super::{Dynamic, ScalarValue};

/// The registers, texts and lists at a place of a document and below it, as the layout of
/// `docs/layout.md` places them. Without a schema it is not known what they mean: a record shows
/// its marker, a movable list its elements in the order of their ids, with their positions.
///
/// It can be looked at and watched, and not be edited. [`Document::edit`](crate::Document::edit)
/// edits a document without a schema.
///
/// ```
/// use exostate::{Dynamic, State, Store};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Note { title: String }
///
/// let note = Store::<Note>::new();
/// note.change(|note| note.title().set("plan"))?;
///
/// let look = Store::<Dynamic>::on(&note.document());
/// let view = look.view();
/// let Dynamic::Inferred(whole) = &*view else { panic!("no schema is given") };
/// let Some(Dynamic::Inferred(title)) = whole.get("title") else { panic!("it is written") };
/// assert_eq!(title.register(), Some(&"plan".into()));
/// # Ok::<(), exostate::Error>(())
/// ```
#[derive(Clone, Default, PartialEq)]
pub struct Inferred(Arc<Place>);

#[derive(Clone, Default, PartialEq)]
struct Place {
    register: Option<Value>,
    text: Option<Text>,
    list: Option<List<ScalarValue>>,
    /// The places below, by their escaped segments. All are [`Dynamic::Inferred`].
    below: imbl::OrdMap<Arc<str>, Dynamic>,
}

/// Paths may come from strangers. What lies deeper stands under the rest of its path, in one step.
const DEPTH_MAX: usize = 64;

impl Inferred {
    /// The register at this place.
    #[must_use]
    pub fn register(&self) -> Option<&Value> {
        self.0.register.as_ref()
    }

    /// The text at this place, if it is not empty.
    #[must_use]
    pub fn text(&self) -> Option<&Text> {
        self.0.text.as_ref()
    }

    /// The list at this place, if it is not empty.
    #[must_use]
    pub fn list(&self) -> Option<&List<ScalarValue>> {
        self.0.list.as_ref()
    }

    /// The place below a segment, in the escaped form of `docs/layout.md`. O(log n).
    #[must_use]
    pub fn get(&self, segment: &str) -> Option<&Dynamic> {
        self.0.below.get(segment)
    }

    /// The places below, by their escaped segments, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Dynamic)> {
        self.0.below.iter().map(|(segment, value)| (&**segment, value))
    }

    /// Whether there is nothing here and below.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self.0 == Place::default()
    }

    /// Reads everything at and below a place. `None` if there is nothing.
    pub(super) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        Self::read_below(reader, 0)
    }

    /// Reads a place that lies `depth` steps below the place that the whole was read from.
    fn read_below(reader: &mut Reader<'_, '_>, depth: usize) -> Option<Self> {
        let mut read = Self::default();
        let here = reader.path().to_owned();
        let registers = reader.entries().iter();
        for (found, value) in registers.filter(|(found, _)| key::is_path(found.as_str())) {
            let path = steps(key::below(found.as_str(), &here), depth);
            read.place_mut(path).register = Some(value.clone());
        }
        for (kind, name) in reader.sequences() {
            let name = name.as_str();
            if !key::is_path(name) {
                continue;
            }
            let place = read.place_mut(steps(key::below(name, &here), depth));
            match kind {
                SequenceKind::Text => place.text = Some(Text::from_rope(reader.text_at(name))),
                SequenceKind::List => place.list = Some(List::untyped(reader.list_at(name))),
            }
        }
        (!read.is_empty()).then_some(read)
    }

    /// The place after these steps. It is made if it is missing.
    fn place_mut<'p>(&mut self, steps: impl IntoIterator<Item = &'p str>) -> &mut Place {
        let mut at = Arc::make_mut(&mut self.0);
        for segment in steps {
            let below = at.below.entry(Arc::from(segment)).or_default();
            let Dynamic::Inferred(next) = below else { unreachable!("all places are inferred") };
            at = Arc::make_mut(&mut next.0);
        }
        at
    }

    /// Reads the touched place again, with everything below it. What lies deeper than the places of
    /// this tree belongs to the deepest of them.
    pub(super) fn refresh(&mut self, at: At<'_>, cx: &mut Refresh<'_>) {
        if !key::is_path(at.path()) {
            return;
        }
        let (mut end, mut path) = (at, Vec::new());
        while path.len() < DEPTH_MAX - 1
            && let Some((segment, next)) = end.next()
        {
            path.push(segment);
            end = next;
        }
        let depth = path.len();
        match cx.field(end, false, |reader| Self::read_below(reader, depth)) {
            Some(read) => *self.place_mut(path) = Arc::unwrap_or_clone(read.0),
            None => self.remove(&path),
        }
    }

    /// Removes a place, and the places above it that are empty then.
    fn remove(&mut self, path: &[&str]) {
        *self.place_mut(path.iter().copied()) = Place::default();
        let mut path = path;
        while let Some((last, parents)) = path.split_last() {
            let parent = self.place_mut(parents.iter().copied());
            let is_empty =
                |value: &Dynamic| matches!(value, Dynamic::Inferred(it) if it.is_empty());
            if !parent.below.get(*last).is_some_and(is_empty) {
                return;
            }
            parent.below.remove(*last);
            path = parents;
        }
    }

    /// Writes what is here and below, for a hash.
    pub(super) fn write(&self, writer: &mut Writer<'_, '_>) {
        if let Some(value) = self.register() {
            writer.put(value.clone());
        }
        if let Some(text) = self.text() {
            text.write(None, writer);
        }
        if let Some(list) = self.list() {
            list.write(None, writer);
        }
        for (segment, below) in self.iter() {
            writer.at(segment, |writer| below.write(None, writer));
        }
    }

    pub(super) fn locate(&self, at: At<'_>) -> Option<&dyn Any> {
        let (segment, rest) = at.next()?;
        if segment == crate::state::ANY {
            at.offer(self.iter().map(|(segment, _)| segment.to_owned()));
            return None;
        }
        let below = self.get(segment)?;
        match below {
            Dynamic::Inferred(inner) if !rest.is_end() => inner.locate(rest),
            below => Some(below),
        }
    }
}

/// The segments of a path below a place that lies `depth` steps deep. Those from [`DEPTH_MAX`] on
/// are one step.
fn steps(path: &str, mut depth: usize) -> impl Iterator<Item = &str> {
    let mut rest = path;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        depth += 1;
        let (segment, below) = if depth < DEPTH_MAX { key::split_first(rest) } else { (rest, "") };
        rest = below;
        Some(segment)
    })
}

impl fmt::Debug for Inferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_map();
        if let Some(value) = self.register() {
            shown.entry(&"@register", value);
        }
        if let Some(text) = self.text() {
            shown.entry(&"@text", text);
        }
        if let Some(list) = self.list() {
            shown.entry(&"@list", list);
        }
        shown.entries(self.iter()).finish()
    }
}
