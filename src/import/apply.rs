//! Writes what a mapping takes of a source into a document, in one walk over the source.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;

use super::mapping::{self, Mapping, Rule};
use super::report::{NotTaken, Reason, Report};
use crate::document::ReplicaId;
use crate::document::backend::Backend;
use crate::document::doc::{Document, DocumentEdit, EditError};
use crate::document::foreign::{Source, Tree};
use crate::document::limits::Limits;

/// Imports a source into an empty document. O(source · log(source)).
pub(super) fn apply<B: Backend>(
    mapping: &Mapping,
    source: &Source,
    document: &Document<B>,
) -> Result<Report, EditError> {
    let replica = document.replica();
    let inner = document.inner();
    document.edit(|edit| {
        let mut walk = Walk {
            mapping,
            edit,
            replica,
            next_element: &inner.next_element,
            limits: inner.options.limits(),
            report: Report::of(source),
            path: Vec::new(),
            in_list: false,
            slots: HashMap::new(),
            markers: HashSet::new(),
            last: HashMap::new(),
        };
        let active: Vec<usize> = (0..mapping.rules.len()).collect();
        walk.descend(&source.tree, &active, false);
        Ok(walk.report)
    })
}

/// How much of a place a rule took.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Took {
    /// Everything.
    Whole,
    /// That it exists: what is below it needs rules of its own.
    Shell,
    /// Nothing. The report says why.
    Nothing,
}

pub(super) struct Walk<'w, 'd> {
    mapping: &'w Mapping,
    pub(super) edit: &'w mut DocumentEdit<'d>,
    pub(super) replica: ReplicaId,
    pub(super) next_element: &'w AtomicU64,
    pub(super) limits: &'w Limits,
    pub(super) report: Report,
    /// The place in the source.
    pub(super) path: Vec<String>,
    /// Whether the container of the place is a list.
    pub(super) in_list: bool,
    /// The slot that a rule made for an element of the source.
    pub(super) slots: HashMap<(usize, String), String>,
    /// The slots that have nothing but a marker so far. A rule for a part of the element may give
    /// such a slot its value.
    pub(super) markers: HashSet<String>,
    /// The position of the last element of each movable list.
    pub(super) last: HashMap<String, Vec<u8>>,
}

impl<'w> Walk<'w, '_> {
    fn rule(&self, index: usize) -> Option<&'w Rule> {
        self.mapping.rules.get(index)
    }

    /// Takes the children of a place. The sources of the `active` rules match the path so far and
    /// are longer. `covered` says that a rule took the place as a whole.
    fn descend(&mut self, tree: &Tree, active: &[usize], covered: bool) {
        match tree {
            Tree::Map(entries) => {
                for (key, child) in entries {
                    self.in_list = false;
                    self.child(key.clone(), child, active, covered);
                }
            }
            Tree::List(items) => {
                for (index, child) in items.iter().enumerate() {
                    self.in_list = true;
                    self.child(index.to_string(), child, active, covered);
                }
            }
            Tree::Text(_) | Tree::Value(_) => {}
        }
    }

    fn child(&mut self, segment: String, child: &Tree, active: &[usize], covered: bool) {
        let depth = self.path.len();
        let matches = |index: &usize| {
            let step = self.rule(*index).and_then(|rule| rule.source.get(depth));
            step.is_some_and(|step| step.matches(&segment))
        };
        let matching: Vec<usize> = active.iter().copied().filter(matches).collect();
        let ends =
            |index: &usize| self.rule(*index).is_some_and(|rule| rule.source.len() == depth + 1);
        let (mut ending, deeper): (Vec<usize>, Vec<usize>) = matching.into_iter().partition(ends);
        // An element is made before its content.
        ending
            .sort_by_key(|index| self.rule(*index).is_some_and(|rule| !rule.kind.makes_elements()));
        self.path.push(segment);
        self.take(child, &ending, &deeper, covered);
        self.path.pop();
    }

    fn take(&mut self, tree: &Tree, ending: &[usize], deeper: &[usize], covered: bool) {
        let mut covered = covered;
        let mut failed = false;
        for index in ending {
            let Some(rule) = self.rule(*index) else { continue };
            // Another rule takes the content of the element that this rule makes.
            let mut others = ending.iter().filter_map(|other| self.rule(*other));
            let is_marker = others.any(|other| {
                let made = |(maker, _, len)| maker == *index && len == other.target.len();
                other.within.is_some_and(made)
            });
            match self.apply_rule(*index, rule, tree, is_marker) {
                Took::Whole => covered = true,
                Took::Shell => {}
                Took::Nothing => failed = true,
            }
        }
        let is_container = matches!(tree, Tree::Map(_) | Tree::List(_));
        let is_left = match is_container {
            true => ending.is_empty() && deeper.is_empty(),
            false => ending.is_empty(),
        };
        if is_left && !covered {
            return self.not_taken(tree, Reason::NoRule);
        }
        // A place that is reported as a whole is not reported again for what is below it.
        let silent = covered || failed && deeper.is_empty();
        if !(silent && deeper.is_empty()) {
            self.descend(tree, deeper, silent);
        }
    }

    pub(super) fn not_taken(&mut self, tree: &Tree, reason: Reason) {
        self.report.push(NotTaken { path: self.place(), found: tree.describe(), reason });
    }

    pub(super) fn place(&self) -> String {
        mapping::path_of(&self.path)
    }

    /// The path to which a rule writes at this place. `None` if the element in which it is was not
    /// taken.
    pub(super) fn target(&self, rule: &Rule) -> Option<String> {
        let Some((maker, source_len, target_len)) = rule.within else {
            return Some(mapping::join("", &rule.target));
        };
        let element = mapping::path_of(self.path.get(..source_len)?);
        let slot = self.slots.get(&(maker, element))?;
        Some(mapping::join(slot, rule.target.get(target_len..)?))
    }
}
