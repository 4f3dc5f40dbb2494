//! Writes one place of a source as its rule says: one function a kind of target.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ciborium::Value as Cbor;

use super::apply::{Took, Walk};
use super::mapping::{Kind, Rule};
use super::report::{NotTaken, Reason};
use crate::document::foreign::{Run, Tree, plain};
use crate::document::key;
use crate::document::rope::{Marks, Rope};
use crate::document::value::Value;
use crate::state::{ElementId, POSITION, encode_cbor, position_between};

/// The marker of a slot.
const MARKER: Value = Value::Bool(true);

impl Walk<'_, '_> {
    /// Applies the rule with this number to the current place. `is_marker` says that another rule
    /// takes the content of the element that this rule makes.
    pub(super) fn apply_rule(
        &mut self,
        number: usize,
        rule: &Rule,
        tree: &Tree,
        is_marker: bool,
    ) -> Took {
        if rule.kind == Kind::Nothing {
            return Took::Whole;
        }
        let Some(target) = self.target(rule) else {
            self.not_taken(tree, Reason::NoElement);
            return Took::Nothing;
        };
        let written = match rule.kind {
            Kind::Register => self.register(rule, &target, tree),
            Kind::Text => self.text(rule, &target, tree),
            Kind::List => self.list(rule, &target, tree),
            Kind::Counter => self.counter(rule, &target, tree),
            Kind::Value => self.value(rule, &target, tree),
            Kind::Record => self.record(rule, &target, tree),
            Kind::Set => self.member(rule, &target, tree),
            Kind::Map | Kind::MovableList => self.element(number, rule, &target, tree, is_marker),
            Kind::Nothing => Ok(Took::Whole),
        };
        written.unwrap_or_else(|reason| {
            self.not_taken(tree, reason);
            Took::Nothing
        })
    }

    fn register(&mut self, rule: &Rule, target: &str, tree: &Tree) -> Result<Took, Reason> {
        let value = scalar(tree).ok_or_else(|| misfit(rule, "a scalar or a text"))?;
        self.put(target, target, value)?;
        self.report.values += 1;
        self.report_lost(rule, tree);
        Ok(Took::Whole)
    }

    /// Reports the marks and embedded objects of a text that became a string.
    fn report_lost(&mut self, rule: &Rule, tree: &Tree) {
        let Tree::Text(runs) = tree else { return };
        let is_plain = |run: &Run| match run {
            Run::Text(_, marks) => marks.is_none(),
            Run::Embed(_) => false,
        };
        if !runs.iter().all(is_plain) {
            let found = format!("marks or embedded objects in {}", tree.describe());
            let reason = misfit(rule, "a text without them");
            self.report.push(NotTaken { path: self.place(), found, reason });
        }
    }

    fn text(&mut self, rule: &Rule, target: &str, tree: &Tree) -> Result<Took, Reason> {
        let string;
        let runs = match tree {
            Tree::Text(runs) => runs,
            Tree::Value(Value::Str(text)) => {
                string = vec![Run::Text(text.to_string(), None)];
                &string
            }
            _ => return Err(misfit(rule, "a text")),
        };
        self.claim(target)?;
        self.check_path(target)?;
        let (mut written, mut at) = (Vec::new(), 0);
        for run in runs {
            match run {
                Run::Text(text, marks) => {
                    at += text.chars().count();
                    let marks = marks.as_deref().map(|marks| self.marks(rule, target, marks));
                    written.push((text.clone(), marks));
                }
                Run::Embed(embed) => {
                    let found = format!("{} embedded at character {at}", embed.describe());
                    let reason = misfit(rule, "characters and their marks");
                    self.report.push(NotTaken { path: self.place(), found, reason });
                }
            }
        }
        let rope = Rope::from_runs(written);
        if !rope.is_empty() {
            self.edit.put_text(target, rope).map_err(|error| refused(target, error.to_string()))?;
        }
        self.report.texts += 1;
        self.report.note_taken(target, &self.place());
        Ok(Took::Whole)
    }

    /// The marks that a document can hold. The others are reported.
    fn marks(&mut self, rule: &Rule, target: &str, marks: &Marks) -> Arc<Marks> {
        let mut kept = Marks::new();
        for (name, value) in marks {
            match value.as_mark() {
                _ if name.len() > self.limits.name_bytes_max() => {
                    let reason = refused(target, "the name of a mark is too long".to_owned());
                    let found = format!("a mark of {} bytes", name.len());
                    self.report.push(NotTaken { path: self.place(), found, reason });
                }
                Ok(value) => drop(kept.insert(Arc::clone(name), value)),
                Err(_) => {
                    let found = format!("the mark {name:?} with {}", value.describe());
                    let reason = misfit(rule, "marks that are a boolean, a number or text");
                    self.report.push(NotTaken { path: self.place(), found, reason });
                }
            }
        }
        Arc::new(kept)
    }

    fn list(&mut self, rule: &Rule, target: &str, tree: &Tree) -> Result<Took, Reason> {
        let Tree::List(items) = tree else { return Err(misfit(rule, "a list")) };
        self.claim(target)?;
        self.check_path(target)?;
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            self.path.push(index.to_string());
            let fits = |value: &Value| value.size() < self.limits.value_bytes_max();
            match scalar(item).filter(fits) {
                Some(value) => {
                    values.push(value);
                    self.report_lost(rule, item);
                }
                None => self.not_taken(item, misfit(rule, "a list of scalars of bounded length")),
            }
            self.path.pop();
        }
        let inserted = self.edit.splice_list(target, 0..0, values);
        inserted.map_err(|error| refused(target, error.to_string()))?;
        self.report.lists += 1;
        self.report.note_taken(target, &self.place());
        Ok(Took::Whole)
    }

    fn counter(&mut self, rule: &Rule, target: &str, tree: &Tree) -> Result<Took, Reason> {
        let Tree::Value(number @ Value::Int(_)) = tree else {
            return Err(misfit(rule, "an integer"));
        };
        let own = key::join(target, &self.replica.to_string());
        self.put(target, &own, number.clone())?;
        self.report.values += 1;
        Ok(Took::Whole)
    }

    fn value(&mut self, rule: &Rule, target: &str, tree: &Tree) -> Result<Took, Reason> {
        let value = cbor(tree).ok_or_else(|| misfit(rule, "values that exostate knows"))?;
        let bytes = encode_cbor(value).map_err(|reason| refused(target, reason))?;
        self.put(target, target, Value::Bytes(Arc::from(bytes)))?;
        self.report.values += 1;
        Ok(Took::Whole)
    }

    fn record(&mut self, rule: &Rule, target: &str, tree: &Tree) -> Result<Took, Reason> {
        let (marker, took) = match tree {
            Tree::Map(_) | Tree::List(_) => (MARKER, Took::Shell),
            Tree::Value(Value::Null) => (Value::Null, Took::Whole),
            _ => return Err(misfit(rule, "a map or null")),
        };
        self.put(target, target, marker)?;
        if took == Took::Shell {
            self.markers.insert(target.to_owned());
        }
        Ok(took)
    }

    /// An element of a set: the value in a list, the key in a map.
    fn member(&mut self, rule: &Rule, target: &str, tree: &Tree) -> Result<Took, Reason> {
        let element = match (self.in_list, scalar(tree)) {
            (true, Some(Value::Str(text))) => text.to_string(),
            (true, Some(Value::Int(number))) => number.to_string(),
            (true, Some(Value::Bool(flag))) => flag.to_string(),
            (true, _) => return Err(misfit(rule, "a text, an integer or a boolean")),
            (false, Some(Value::Bool(false) | Value::Null) | None) => {
                return Err(misfit(rule, "keys with a value that is not false or null"));
            }
            (false, Some(_)) => self.path.last().cloned().unwrap_or_default(),
        };
        let path = key::join(target, &key::escape(&element));
        self.put(&path, &path, MARKER)?;
        self.report.elements += 1;
        self.report_lost(rule, tree);
        Ok(Took::Whole)
    }

    /// An element of a map or of a movable list.
    fn element(
        &mut self,
        number: usize,
        rule: &Rule,
        target: &str,
        tree: &Tree,
        is_marker: bool,
    ) -> Result<Took, Reason> {
        let (value, took) = match scalar(tree) {
            Some(value) if !is_marker => (value, Took::Whole),
            None if matches!(tree, Tree::Value(_)) => {
                return Err(misfit(rule, "values that exostate knows"));
            }
            _ => (MARKER, Took::Shell),
        };
        let slot = match rule.kind {
            Kind::MovableList => self.append(target, value)?,
            _ => {
                let name = self.path.last().map(|name| key::escape(name)).unwrap_or_default();
                let slot = key::join(target, &name);
                self.put(&slot, &slot, value)?;
                slot
            }
        };
        self.report.elements += 1;
        match took {
            Took::Whole => self.report_lost(rule, tree),
            _ => drop(self.markers.insert(slot.clone())),
        }
        self.slots.insert((number, self.place()), slot);
        Ok(took)
    }

    /// Appends an element to a movable list. Returns its slot.
    fn append(&mut self, list: &str, value: Value) -> Result<String, Reason> {
        let counter = self.next_element.fetch_add(1, Ordering::Relaxed);
        let id = ElementId::new(self.replica, counter);
        let slot = key::join(list, &id.to_string());
        let last = self.last.get(list).map(Vec::as_slice);
        let position = position_between(last, None, id.stamp())
            .ok_or_else(|| refused(list, "there is no room for more elements".to_owned()))?;
        self.put(&slot, &slot, value)?;
        let path = key::join(&slot, POSITION);
        let bytes = Value::Bytes(Arc::from(position.as_slice()));
        let written = self.edit.set(&path, bytes);
        written.map_err(|error| refused(&slot, error.to_string()))?;
        self.last.insert(list.to_owned(), position);
        Ok(slot)
    }

    /// Writes a register at `path`, which is a part of what is written to `target`. Fails if
    /// `target` has content of another place already, or if another replica would refuse it.
    fn put(&mut self, target: &str, path: &str, value: Value) -> Result<(), Reason> {
        self.claim(target)?;
        self.check_path(path)?;
        if value.size() >= self.limits.value_bytes_max() {
            let max = self.limits.value_bytes_max();
            let size = value.size();
            return Err(refused(target, format!("{size} bytes, others take less than {max}")));
        }
        self.edit.set(path, value).map_err(|error| refused(target, error.to_string()))?;
        self.markers.remove(path);
        self.report.note_taken(target, &self.place());
        Ok(())
    }

    fn check_path(&self, path: &str) -> Result<(), Reason> {
        // A position is below the slot of its element.
        let max = self.limits.path_bytes_max().saturating_sub(POSITION.len() + 1);
        match path.len() > max {
            true => Err(refused(path, format!("the path has more than {max} bytes"))),
            false => Ok(()),
        }
    }

    fn claim(&self, target: &str) -> Result<(), Reason> {
        match self.report.taken_from(target) {
            Some(other) if *other != self.place() && !self.markers.contains(target) => {
                let (target, other) = (target.to_owned(), other.to_owned());
                Err(Reason::SameTarget { target, other })
            }
            _ => Ok(()),
        }
    }
}

fn misfit(rule: &Rule, expected: &'static str) -> Reason {
    Reason::Misfit { line: rule.line, expected }
}

fn refused(target: &str, reason: String) -> Reason {
    Reason::Refused { target: target.to_owned(), reason }
}

/// The value of a register. A text becomes a string.
fn scalar(tree: &Tree) -> Option<Value> {
    match tree {
        Tree::Value(value) => value.clone().held().ok(),
        Tree::Text(runs) => Some(Value::str(plain(runs))),
        Tree::Map(_) | Tree::List(_) => None,
    }
}

/// The content as one value of CBOR. A text with marks or embedded objects is a list of runs, as
/// `Y.Text.toDelta` gives them. `None` if it has a value of an unknown kind.
fn cbor(tree: &Tree) -> Option<Cbor> {
    Some(match tree {
        Tree::Map(entries) => {
            let entry = |(key, value): (&String, &Tree)| Some((Cbor::from(&**key), cbor(value)?));
            Cbor::Map(entries.iter().map(entry).collect::<Option<_>>()?)
        }
        Tree::List(items) => Cbor::Array(items.iter().map(cbor).collect::<Option<_>>()?),
        Tree::Text(runs) if runs.iter().all(|run| matches!(run, Run::Text(_, None))) => {
            Cbor::from(plain(runs))
        }
        Tree::Text(runs) => Cbor::Array(runs.iter().map(cbor_run).collect::<Option<_>>()?),
        Tree::Value(value) => cbor_value(value)?,
    })
}

fn cbor_run(run: &Run) -> Option<Cbor> {
    let insert = |content: Cbor| (Cbor::from("insert"), content);
    Some(Cbor::Map(match run {
        Run::Embed(embed) => vec![insert(cbor(embed)?)],
        Run::Text(text, None) => vec![insert(Cbor::from(text.as_str()))],
        Run::Text(text, Some(marks)) => {
            let mark = |(name, value): (&Arc<str>, &Value)| {
                Some((Cbor::from(&**name), cbor_value(value)?))
            };
            let marks = marks.iter().map(mark).collect::<Option<_>>()?;
            vec![insert(Cbor::from(text.as_str())), (Cbor::from("attributes"), Cbor::Map(marks))]
        }
    }))
}

fn cbor_value(value: &Value) -> Option<Cbor> {
    Some(match value {
        Value::Null => Cbor::Null,
        Value::Bool(flag) => Cbor::from(*flag),
        Value::Int(number) => Cbor::from(*number),
        Value::Float(number) => Cbor::from(*number),
        Value::Str(text) => Cbor::from(&**text),
        Value::Bytes(bytes) => Cbor::Bytes(bytes.to_vec()),
        Value::Unknown(_) => return None,
    })
}
