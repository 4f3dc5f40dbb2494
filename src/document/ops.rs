//! The ops of a change before its commit, and the places that a commit or an import touched. Both
//! are the same for all backends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::commit::in_key_order;
use super::key::{self, Key};
use super::limits::Limits;
use super::rope::Marks;
use super::value::Value;
use crate::vector::Vector;

/// The kind of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SequenceKind {
    /// Text, with marks.
    Text,
    /// A list whose elements are values.
    List,
}

/// A position or a length in a text, in both units in which backends count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// Unicode scalar values.
    pub chars: usize,
    /// UTF-16 code units.
    pub utf16: usize,
}

/// One edit of a sequence. Its positions refer to the sequence as the earlier edits left it.
#[derive(Clone, Debug, PartialEq)]
pub enum SequenceOp {
    /// Deletes text, then inserts text at the same position. The inserted text gets exactly these
    /// marks. `inherits` is true if these are the marks of the character before it, or none at the
    /// start; it may be false then too.
    Text {
        name: Arc<str>,
        at: Units,
        delete: Units,
        insert: Arc<str>,
        marks: Option<Arc<Marks>>,
        inherits: bool,
    },
    /// Sets a mark over a range of text, or clears it if the value is `Null`.
    Mark { name: Arc<str>, at: Units, len: Units, mark: Arc<str>, value: Value },
    /// Deletes elements of a list, then inserts elements at the same position.
    List { name: Arc<str>, at: usize, delete: usize, insert: Vec<Value> },
    /// Empties a sequence.
    Clear { name: Arc<str>, kind: SequenceKind },
}

/// The most bytes that one byte of a string takes in JSON (`\u0000`). yrs writes the values of
/// marks as JSON.
const ESCAPED_BYTES_MAX: usize = 6;

impl SequenceOp {
    /// The path of the sequence, and its kind.
    #[must_use]
    pub fn target(&self) -> (&Arc<str>, SequenceKind) {
        match self {
            Self::Text { name, .. } | Self::Mark { name, .. } => (name, SequenceKind::Text),
            Self::List { name, .. } => (name, SequenceKind::List),
            Self::Clear { name, kind } => (name, *kind),
        }
    }

    /// The marks that the op writes, each as (path of the text, name of the mark, value).
    fn marks(&self) -> Vec<(&str, &str, &Value)> {
        match self {
            Self::Mark { name, mark, value, .. } => vec![(name, mark, value)],
            Self::Text { name, marks: Some(marks), .. } => {
                marks.iter().map(|(mark, value)| (&**name, &**mark, value)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Merges the next edit into this one if it edits the same list directly behind this edit's
    /// insertions. So many insertions in a row cost as much as one. Returns an edit that cannot be
    /// merged.
    fn absorb(&mut self, next: Self) -> Option<Self> {
        match (self, next) {
            (
                Self::List { name, at, delete, insert },
                Self::List { name: next_name, at: next_at, delete: more, insert: mut values },
            ) if *name == next_name
                && (more == 0 || insert.is_empty())
                && next_at == *at + insert.len() =>
            {
                *delete += more;
                insert.append(&mut values);
                None
            }
            (_, next) => Some(next),
        }
    }
}

/// A write of a change to one register.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisterWrite {
    /// The value before the change.
    pub old: Option<Value>,
    /// The value after the change; `None` removes the register.
    pub new: Option<Value>,
}

/// All ops of one change. The writes to registers have no order among each other: each key has one
/// write, the last one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ops {
    /// The writes to registers.
    pub registers: BTreeMap<Key, RegisterWrite>,
    /// The edits of sequences, in order.
    pub sequences: Vec<SequenceOp>,
}

impl Ops {
    /// Whether the change has no op.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.registers.is_empty() && self.sequences.is_empty()
    }

    /// Adds an edit of a sequence.
    pub fn push(&mut self, op: SequenceOp) {
        let rest = match self.sequences.last_mut() {
            Some(last) => last.absorb(op),
            None => Some(op),
        };
        self.sequences.extend(rest);
    }

    /// The sequences whose edits may cancel each other out: those with insertions and deletions,
    /// and those with marks.
    #[must_use]
    pub fn may_cancel_out(&self) -> BTreeSet<(Key, SequenceKind)> {
        let mut does: BTreeMap<(&Arc<str>, SequenceKind), (bool, bool)> = BTreeMap::new();
        for op in &self.sequences {
            let (inserts, deletes) = match op {
                SequenceOp::Text { delete, insert, .. } => (!insert.is_empty(), delete.chars > 0),
                SequenceOp::List { delete, insert, .. } => (!insert.is_empty(), *delete > 0),
                SequenceOp::Mark { .. } => (true, true),
                SequenceOp::Clear { .. } => (false, true),
            };
            let (any_inserts, any_deletes) = does.entry(op.target()).or_default();
            (*any_inserts, *any_deletes) = (*any_inserts || inserts, *any_deletes || deletes);
        }
        let both = does.into_iter().filter(|(_, (inserts, deletes))| *inserts && *deletes);
        both.map(|((name, kind), _)| (Key(Arc::clone(name)), kind)).collect()
    }

    /// The places that the ops touch, as the work of other replicas: so undo managers treat what
    /// they did not stage themselves.
    #[must_use]
    pub fn touched(&self) -> Touched {
        let register = |(key, write): (&Key, &RegisterWrite)| RegisterTouch {
            key: Arc::clone(&key.0),
            old: write.old.clone(),
            new: write.new.clone(),
            own: false,
        };
        let sequence = |op: &SequenceOp| {
            let (name, kind) = op.target();
            (kind, Arc::clone(name))
        };
        let sequences: BTreeSet<_> = self.sequences.iter().map(sequence).collect();
        let mut touched = Touched {
            registers: self.registers.iter().map(register).collect(),
            sequences: sequences.into_iter().collect(),
            lists: BTreeMap::new(),
        };
        touched.settle();
        touched
    }

    /// Removes the edits of these sequences.
    pub fn drop_sequences(&mut self, names: &BTreeSet<(Key, SequenceKind)>) {
        if !names.is_empty() {
            self.sequences.retain(|op| {
                let (name, kind) = op.target();
                !names.contains(&(Key(Arc::clone(name)), kind))
            });
        }
    }

    /// The first op that a peer with these limits would refuse: its path and the reason.
    #[must_use]
    pub fn too_large(&self, limits: &Limits) -> Option<(String, String)> {
        let name_max = limits.name_bytes_max();
        let path_max = limits.path_bytes_max();
        let bytes_max = limits.value_bytes_max();
        let names = self
            .registers
            .keys()
            .map(Key::as_str)
            .chain(self.sequences.iter().map(|op| &**op.target().0));
        let long = names.filter(|name| name.len() > path_max).map(|name| {
            let shown: String = name.chars().take(40).collect();
            (
                format!("{shown}…"),
                format!(
                    "a path of {} bytes is more than the {name_max} that others take",
                    name.len()
                ),
            )
        });
        let large = |(path, bytes): (&str, usize)| {
            (bytes >= bytes_max).then(|| {
                (
                    path.to_owned(),
                    format!(
                        "a value of {bytes} bytes is more than the {bytes_max} that others take"
                    ),
                )
            })
        };
        let values = self
            .registers
            .iter()
            .filter_map(|(key, write)| Some((key.as_str(), write.new.as_ref()?.size())));
        let elements = self.sequences.iter().filter_map(|op| match op {
            SequenceOp::List { name, insert, .. } => {
                Some((&**name, insert.iter().map(Value::size).max()?))
            }
            _ => None,
        });
        let marks = || self.sequences.iter().flat_map(SequenceOp::marks);
        let long_mark =
            marks().filter(|(_, mark, _)| mark.len() > name_max).map(|(name, mark, _)| {
                (
                    name.to_owned(),
                    format!(
                        "a mark's name of {} bytes is more than the {name_max} that others take",
                        mark.len()
                    ),
                )
            });
        let mark_max = bytes_max / ESCAPED_BYTES_MAX;
        let large_mark =
            marks().filter(|(_, _, value)| value.size() > mark_max).map(|(name, _, value)| {
                (
                    name.to_owned(),
                    format!(
                        "a mark of {} bytes is more than the {mark_max} that others take",
                        value.size()
                    ),
                )
            });
        long.chain(values.chain(elements).filter_map(large))
            .chain(long_mark)
            .chain(large_mark)
            .next()
    }

    /// The number of ops.
    #[must_use]
    pub fn len(&self) -> usize {
        self.registers.len() + self.sequences.len()
    }
}

/// One register that a commit or an import changed.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisterTouch {
    /// The path of the register.
    pub key: Arc<str>,
    /// The value before.
    pub old: Option<Value>,
    /// The value after.
    pub new: Option<Value>,
    /// Whether this replica wrote the value `new`. After an import this is possible too: the import
    /// can restore a value of this replica that had lost a conflict.
    pub own: bool,
}

/// Everything that a commit or an import changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Touched {
    /// The registers. After [`Touched::settle`] each is in it at most once.
    pub registers: Vec<RegisterTouch>,
    /// The sequences, each at most once.
    pub sequences: Vec<(SequenceKind, Arc<str>)>,
    /// The edits of lists, if they are known. A list may be in `sequences` and not in here.
    pub lists: BTreeMap<Arc<str>, ListEdits>,
}

/// An edit that an import made to a sequence. Its positions refer to the sequence as the earlier
/// edits left it.
#[derive(Clone, Debug, PartialEq)]
pub enum Splice {
    /// Positions in UTF-16 code units. The inserted text has the marks of the character `beside`
    /// it.
    Text { at: usize, delete: usize, insert: Arc<str>, beside: MarksOf },
    /// In a list.
    List(ListSplice),
}

/// The character beside inserted text that has the same marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarksOf {
    /// The character before it. At the start there is none, and the text has no marks.
    Before,
    /// The character after it.
    After,
}

/// Deletes elements of a list, then inserts elements at the same position.
#[derive(Clone, Debug, PartialEq)]
pub struct ListSplice {
    /// The position, in elements.
    pub at: usize,
    /// The number of deleted elements.
    pub delete: usize,
    /// The inserted elements.
    pub insert: Vec<Value>,
}

/// All edits that lead from one content of a list to another.
#[derive(Clone, Debug, PartialEq)]
pub struct ListEdits {
    /// The content before the edits.
    pub before: Vector<Value>,
    /// The edits.
    pub splices: Vec<ListSplice>,
}

/// The edits of each sequence, or `None` for a sequence that must be read again.
pub type Splices = BTreeMap<(SequenceKind, Arc<str>), Option<Vec<Splice>>>;

/// What a backend did in an import.
#[derive(Debug, Default)]
pub struct AppliedUpdates {
    /// The touched places.
    pub touched: Touched,
    /// The edits of the touched sequences. A sequence that is not in it must be read again.
    pub splices: Splices,
    /// Whether the import brought anything new.
    pub novel: bool,
}

impl Touched {
    /// Adds the places of a later import. O(places · log n).
    pub fn append(&mut self, mut later: Self) {
        self.sequences.sort();
        for sequence @ (kind, name) in &later.sequences {
            let was_touched = self.sequences.binary_search(sequence).is_ok();
            match (self.lists.get_mut(name), later.lists.remove(name)) {
                _ if *kind == SequenceKind::Text => {}
                (Some(edits), Some(mut more)) => edits.splices.append(&mut more.splices),
                (None, Some(edits)) if !was_touched => {
                    self.lists.insert(Arc::clone(name), edits);
                }
                _ => drop(self.lists.remove(name)),
            }
        }
        self.registers.append(&mut later.registers);
        self.sequences.append(&mut later.sequences);
        self.sequences.sort();
        self.sequences.dedup();
        self.settle();
    }

    /// Sorts the registers by path and merges the entries of one register: it keeps the first old
    /// value and the last new value.
    pub fn settle(&mut self) {
        self.registers.sort_by(|a, b| key::compare(&a.key, &b.key));
        self.registers.dedup_by(|later, first| {
            let same = later.key == first.key;
            if same {
                first.new = later.new.take();
                first.own = later.own;
            }
            same
        });
    }

    /// The new value of a register, or `None` if the register did not change. The caller must have
    /// called [`Touched::settle`]. O(log n).
    #[must_use]
    pub fn register(&self, path: &str) -> Option<Option<Value>> {
        let found = self.registers.binary_search_by(|touch| key::compare(&touch.key, path)).ok()?;
        self.registers.get(found).map(|touch| touch.new.clone())
    }

    /// The paths of all registers and sequences that changed, each once, in the order of keys.
    #[must_use]
    pub fn paths(&self) -> Vec<Arc<str>> {
        let registers = self.registers.iter().map(|touch| &touch.key);
        let sequences = self.sequences.iter().map(|(_, name)| name);
        let mut paths: Vec<Arc<str>> = registers.chain(sequences).cloned().collect();
        in_key_order(&mut paths);
        paths
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.registers.is_empty() && self.sequences.is_empty()
    }
}
