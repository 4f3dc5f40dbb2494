//! What a change does to a document, and what a change or an import did to it, in neutral words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::key::{self, Key};
use super::limits::Limits;
use super::rope::Marks;
use super::value::Value;

/// Which of the two sequence kinds a name belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SequenceKind {
    /// Text, with marks.
    Text,
    /// A list of whole values.
    List,
}

/// A position or a length in a text, in both units that backends count in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// Unicode scalar values.
    pub chars: usize,
    /// UTF-16 code units.
    pub utf16: usize,
}

/// One edit of a sequence. Positions count the state after the edits before it.
#[derive(Clone, Debug, PartialEq)]
pub enum SequenceOp {
    /// Deletes, then inserts, in a text. The inserted text carries exactly these marks.
    Text { name: Arc<str>, at: Units, delete: Units, insert: Arc<str>, marks: Option<Arc<Marks>> },
    /// Sets (or with `Null` clears) a mark over a stretch of text.
    Mark { name: Arc<str>, at: Units, len: Units, mark: Arc<str>, value: Value },
    /// Deletes, then inserts, in a list.
    List { name: Arc<str>, at: usize, delete: usize, insert: Vec<Value> },
    /// Empties a sequence.
    Clear { name: Arc<str>, kind: SequenceKind },
}

/// What a character can become in JSON, in which yrs writes the values of marks.
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

    /// The marks that it writes: the text, their names and values.
    fn marks(&self) -> Vec<(&str, &str, &Value)> {
        match self {
            Self::Mark { name, mark, value, .. } => vec![(name, mark, value)],
            Self::Text { name, marks: Some(marks), .. } => {
                marks.iter().map(|(mark, value)| (&**name, &**mark, value)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Takes in an edit of the same list that goes on where this one ends: many insertions one
    /// behind the other cost as much as one. Any other edit comes back.
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

/// What a change does to one register.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisterWrite {
    /// What the document holds before the change.
    pub old: Option<Value>,
    /// What it holds afterwards; `None` removes it.
    pub new: Option<Value>,
}

/// All that one change does. Writes to registers have no order among each other: the last one of a
/// key counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ops {
    /// The registers that are written.
    pub registers: BTreeMap<Key, RegisterWrite>,
    /// The edits of sequences, in order.
    pub sequences: Vec<SequenceOp>,
}

impl Ops {
    /// Whether there is nothing to do.
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

    /// The sequences whose edits, taken together, may change nothing: those with insertions and
    /// deletions, or with marks.
    #[must_use]
    pub fn may_be_idle(&self) -> BTreeSet<(Key, SequenceKind)> {
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

    /// Forgets the edits of some sequences.
    pub fn drop_sequences(&mut self, names: &BTreeSet<(Key, SequenceKind)>) {
        if !names.is_empty() {
            self.sequences.retain(|op| {
                let (name, kind) = op.target();
                !names.contains(&(Key(Arc::clone(name)), kind))
            });
        }
    }

    /// The first op that peers with these limits would refuse: where it is, and why.
    #[must_use]
    pub fn too_large(&self, limits: &Limits) -> Option<(String, String)> {
        let name_max = limits.name_bytes_max();
        // An update has more in it than the value.
        let bytes_max =
            limits.bytes_max().saturating_sub(name_max.min(limits.bytes_max() / 4) * 2).max(1);
        let names = self
            .registers
            .keys()
            .map(Key::as_str)
            .chain(self.sequences.iter().map(|op| &**op.target().0));
        // A sequence's name has two characters more in the document.
        let long = names.filter(|name| name.len() > name_max.saturating_sub(2)).map(|name| {
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

    /// How many ops these are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.registers.len() + self.sequences.len()
    }
}

/// One register that a commit or an import changed.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisterTouch {
    /// Where.
    pub key: Arc<str>,
    /// What it held before.
    pub old: Option<Value>,
    /// What it holds now.
    pub new: Option<Value>,
    /// Whether what it holds now was written here: an import can bring back a value that had lost.
    pub own: bool,
}

/// Everything that a commit or an import changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Touched {
    /// The registers, each at most once after [`Touched::settle`].
    pub registers: Vec<RegisterTouch>,
    /// The sequences, by name, each at most once.
    pub sequences: Vec<(SequenceKind, Arc<str>)>,
}

impl Touched {
    /// Puts the registers in the order of their paths, each once: what it held first and what it
    /// holds last.
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

    /// What a register holds now, if it is among those that changed. Needs [`Touched::settle`].
    /// O(log n).
    #[must_use]
    pub fn register(&self, path: &str) -> Option<Option<Value>> {
        let found = self.registers.binary_search_by(|touch| key::compare(&touch.key, path)).ok()?;
        self.registers.get(found).map(|touch| touch.new.clone())
    }

    /// The paths of all that changed, each once, in the order of keys.
    #[must_use]
    pub fn paths(&self) -> Vec<Arc<str>> {
        let registers = self.registers.iter().map(|touch| &touch.key);
        let sequences = self.sequences.iter().map(|(_, name)| name);
        let mut paths: Vec<Arc<str>> = registers.chain(sequences).cloned().collect();
        paths.sort_by(|a, b| key::compare(a, b));
        paths.dedup();
        paths
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.registers.is_empty() && self.sequences.is_empty()
    }
}
