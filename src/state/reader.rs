//! Reading: either a whole value from a sorted run of registers, or only the touched paths.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::document::key::{self, Key};
use crate::document::ops::{ListEdits, SequenceKind};
use crate::document::replica;
use crate::document::rope::Rope;
use crate::document::source::Source;
use crate::document::value::Value;

use super::at::DEPTH_MAX;
use super::dynamic::TypeRef;
use super::position::{self, Position};
use super::violation::Violations;
use super::{At, State};

/// Reads one value, from the registers at and below its path, in order, and from the document's
/// sequences.
pub struct Reader<'a, 'v> {
    source: &'a dyn Source,
    entries: &'a [(Key, Value)],
    path: Cow<'a, str>,
    violations: &'v mut Violations,
    /// The type of the value, if only a schema knows it.
    ty: Option<TypeRef<'a>>,
    /// How many segments the path has.
    depth: usize,
}

impl<'a, 'v> Reader<'a, 'v> {
    /// A reader of the whole state.
    pub(crate) fn new(
        source: &'a dyn Source,
        entries: &'a [(Key, Value)],
        violations: &'v mut Violations,
        ty: Option<TypeRef<'a>>,
    ) -> Self {
        Self { source, entries, path: Cow::Borrowed(""), violations, ty, depth: 0 }
    }

    /// The type of the value, if only a schema knows it.
    pub(crate) fn ty(&self) -> Option<TypeRef<'a>> {
        self.ty
    }

    /// A reader of the same value, as another type.
    pub(crate) fn as_type(&mut self, ty: TypeRef<'a>) -> Reader<'a, '_> {
        let Self { source, entries, path, violations, depth, .. } = self;
        let (source, depth) = (*source, *depth);
        Reader { source, entries, path: path.clone(), violations, ty: Some(ty), depth }
    }

    /// The registers at and below the path, in order.
    pub(crate) fn entries(&self) -> &'a [(Key, Value)] {
        self.entries
    }

    /// Another text of the document.
    pub(crate) fn text_at(&self, path: &str) -> Rope {
        self.source.text(path)
    }

    /// Another list of the document.
    pub(crate) fn list_at(&self, path: &str) -> replica::List {
        self.source.list(path)
    }

    /// The sequences at and below the path that are not empty.
    pub(crate) fn sequences(&self) -> Vec<(SequenceKind, Key)> {
        self.source.sequences(&self.path)
    }

    /// The path of the value.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The register at the path itself.
    #[must_use]
    pub fn own(&self) -> Option<&'a Value> {
        let (key, value) = self.entries.first()?;
        (key.as_str().len() == self.path.len()).then_some(value)
    }

    /// The text at the path.
    pub(crate) fn text(&self) -> Rope {
        match self.depth > DEPTH_MAX {
            true => Rope::new(),
            false => self.source.text(&self.path),
        }
    }

    /// The list at the path.
    pub(crate) fn list(&self) -> replica::List {
        match self.depth > DEPTH_MAX {
            true => replica::List::new(),
            false => self.source.list(&self.path),
        }
    }

    /// Notes that the register at the path does not fit.
    pub fn violation(&mut self, expected: &str, found: &Value) {
        self.violations.add(&self.path, expected, found);
    }

    /// Notes that an element of the list at the path does not fit.
    pub(crate) fn element_violation(&mut self, expected: &str, found: &Value) {
        self.violations.add_element(&self.path, expected, found);
    }

    /// Reads the field `name`. `None` if the field was not written or does not fit. O(log entries),
    /// plus the cost of reading the field.
    ///
    /// The operation of the field's type is an argument, here and in [`Refresh::field`]. With a
    /// bound on the type instead, each call would add a compiler error for a field whose type is no
    /// state type.
    pub fn field<T>(
        &mut self,
        name: &str,
        scalar: bool,
        read: impl FnOnce(&mut Reader<'_, '_>) -> Option<T>,
    ) -> Option<T> {
        let entries = self.entries_of(name);
        if entries.is_empty() && scalar {
            return None;
        }
        read(&mut self.below(entries, name))
    }

    /// Reads below a segment: the fields of an enum's variant.
    pub fn within<R>(&mut self, segment: &str, read: impl FnOnce(&mut Reader<'_, '_>) -> R) -> R {
        let entries = self.entries_of(segment);
        read(&mut self.below(entries, segment))
    }

    /// Calls `each` for every segment directly below the path, in order, with a reader for that
    /// segment.
    pub fn each_child(&mut self, mut each: impl FnMut(&str, &mut Reader<'a, '_>)) {
        let mut rest = self.entries;
        if self.own().is_some() {
            rest = rest.get(1..).unwrap_or(&[]);
        }
        if self.depth >= DEPTH_MAX {
            return;
        }
        while let Some((first, _)) = rest.first() {
            let segment = first_below(first, &self.path);
            let same = |found: &Key| {
                segment_order(key::below(found.as_str(), &self.path), segment).is_eq()
            };
            let count = rest.iter().take_while(|(found, _)| same(found)).count();
            let (entries, later) = rest.split_at(count);
            // Segments that begin with `@` belong to exostate: an element's position, a node's
            // place.
            if !segment.starts_with('@') {
                each(segment, &mut self.below(entries, segment));
            }
            rest = later;
        }
    }

    /// Reads the value of a slot. `None` if the slot is not filled.
    pub fn slot<T: State>(&mut self) -> Option<T> {
        if T::marked(self.ty) && matches!(self.own(), None | Some(Value::Null)) {
            return None;
        }
        T::read(self)
    }

    /// The registers at and below one segment.
    fn entries_of(&self, name: &str) -> &'a [(Key, Value)] {
        let order =
            |(found, _): &(Key, Value)| segment_order(key::below(found.as_str(), &self.path), name);
        if self.depth >= DEPTH_MAX && !name.starts_with('@') {
            return &[];
        }
        let start = self.entries.partition_point(|entry| order(entry).is_lt());
        let rest = self.entries.get(start..).unwrap_or(&[]);
        rest.get(..rest.partition_point(|entry| order(entry).is_le())).unwrap_or(&[])
    }

    fn below(&mut self, entries: &'a [(Key, Value)], segment: &str) -> Reader<'a, '_> {
        let ty = self.ty.and_then(|ty| ty.child(segment));
        let separator = usize::from(!self.path.is_empty());
        let path = match entries
            .first()
            .and_then(|(key, _)| key.as_str().get(..self.path.len() + separator + segment.len()))
        {
            Some(path) => Cow::Borrowed(path),
            None => Cow::Owned(key::join(&self.path, segment)),
        };
        let depth = self.depth + 1;
        Reader { source: self.source, entries, path, violations: self.violations, ty, depth }
    }
}

/// The first segment of a key below a path. It is empty for the path itself.
fn first_below<'a>(found: &'a Key, path: &str) -> &'a str {
    key::split_first(key::below(found.as_str(), path)).0
}

/// Compares the first segment of a path with a segment, without searching for the segment's end.
fn segment_order(path: &str, segment: &str) -> Ordering {
    match path.strip_prefix(segment) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Ordering::Equal,
        _ => key::compare(path, segment),
    }
}

/// Brings a view up to date with the touched paths.
pub struct Refresh<'a> {
    source: &'a dyn Source,
    violations: &'a mut Violations,
    /// The type of the state, if only a schema knows it.
    ty: Option<TypeRef<'a>>,
    /// The path that was last read as a whole. Touched paths below it need no second reading.
    covered: Option<String>,
    /// How many steps were done so far besides reading. Above some number of steps, a type reads
    /// itself again as a whole instead.
    steps: usize,
}

impl<'a> Refresh<'a> {
    pub(crate) fn new(
        source: &'a dyn Source,
        violations: &'a mut Violations,
        ty: Option<TypeRef<'a>>,
    ) -> Self {
        Self { source, violations, ty, covered: None, steps: 0 }
    }

    /// Patches one touched path into the view. Call it with the paths in the order of their keys.
    pub(crate) fn touch<S: State>(&mut self, view: &mut S, path: &str) {
        if self.covered.as_deref().is_some_and(|covered| key::is_within(path, covered)) {
            return;
        }
        let at = At::start(path).typed(self.ty);
        if path.is_empty() && !S::marked(self.ty) {
            // The whole state is an enum, a scalar or an option.
            let read = self.read(at, |reader| S::read(reader), S::scalar(self.ty));
            *view = read.unwrap_or_else(|| S::initial_of(self.ty));
        } else {
            view.refresh(at, self);
        }
    }

    /// Reads again a field at which the path ends. `None` if the field was not written or does not
    /// fit.
    pub fn field<T>(
        &mut self,
        at: At<'_>,
        scalar: bool,
        read: impl FnOnce(&mut Reader<'_, '_>) -> Option<T>,
    ) -> Option<T> {
        self.read(at, read, scalar)
    }

    /// The list at which the path ends, and the edits that led to its content, if they are known.
    pub(crate) fn list_edits(&self, at: At<'_>) -> Option<(replica::List, &ListEdits)> {
        Some((self.source.list(at.here()), self.source.list_edits(at.here())?))
    }

    /// Reads a slot again. `None` if the slot is empty.
    pub fn slot<T: State>(&mut self, at: At<'_>) -> Option<T> {
        self.read(at, |reader| reader.slot(), T::scalar(at.ty()))
    }

    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    pub(crate) fn add_steps(&mut self, steps: usize) {
        self.steps = self.steps.saturating_add(steps);
    }

    /// Reads a value as a whole because a path below it was touched. Later touched paths below the
    /// value then need no reading of their own.
    pub(crate) fn read_anew<T: State>(&mut self, at: At<'_>) -> Option<T> {
        self.steps = 0;
        self.read(at, |reader| T::read(reader), T::scalar(at.ty()))
    }

    /// Reads a whole value again.
    fn read<T>(
        &mut self,
        at: At<'_>,
        read: impl FnOnce(&mut Reader<'_, '_>) -> Option<T>,
        scalar: bool,
    ) -> Option<T> {
        let path = at.here();
        self.violations.forget(path);
        let entries = match scalar {
            true => self
                .source
                .register(path)
                .map(|value| (Key::from(path), value))
                .into_iter()
                .collect(),
            false => {
                self.covered = Some(path.to_owned());
                self.source.scan(path)
            }
        };
        read(&mut Reader {
            source: self.source,
            entries: &entries,
            path: Cow::Borrowed(path),
            violations: self.violations,
            ty: at.ty(),
            depth: at.depth(),
        })
    }

    /// One register of the document.
    #[must_use]
    pub fn register(&self, path: &str) -> Option<Value> {
        self.source.register(path)
    }

    /// The position at a path. If there is none, the lowest position.
    pub(crate) fn position(&mut self, path: &str) -> Position {
        self.violations.forget(path);
        let Some(value) = self.source.register(path) else { return Position::from([]) };
        position::read(&value).unwrap_or_else(|| {
            self.violations.add(path, "a position (bytes)", &value);
            Position::from([])
        })
    }

    pub(crate) fn violation(&mut self, path: &str, expected: &str, found: &Value) {
        self.violations.add(path, expected, found);
    }

    pub(crate) fn forget_violations(&mut self, path: &str) {
        self.violations.forget(path);
    }
}
