//! Reads a Yjs document of any layout into a neutral tree.
//!
//! The layout of exostate has no nested types. This module is the only reader of nested types. yrs
//! deletes nested types recursively, so their depth is checked before yrs sees the bytes
//! ([`nesting`](super::nesting)).

use std::collections::BTreeMap;

use yrs::branch::{Branch, BranchPtr};
use yrs::updates::decoder::Decode;
use yrs::{
    Any, Array, ArrayRef, ClientID, Doc, GetString, Map, MapRef, OffsetKind, Options, Out, ReadTxn,
    Text, TextRef, Transact, Transaction, Update,
};

use super::nesting;
use super::values::{from_any, marks_of};
use crate::document::backend::BackendError;
use crate::document::foreign::{Run, Source, Tree, Unread};
use crate::document::limits::Limits;
use crate::document::rope::utf16_len;
use crate::document::value::Value;

/// Reads an update in encoding v1 that holds a whole document.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Source, BackendError> {
    nesting::check(bytes, limits)?;
    let refused = |error: &dyn std::fmt::Display| BackendError::Refused(error.to_string());
    let update = Update::decode_v1(bytes).map_err(|error| refused(&error))?;
    // Nothing is written under this id.
    let mut options = Options::with_client_id(ClientID::new(0));
    options.offset_kind = OffsetKind::Utf16;
    options.cleanup_formatting = false;
    let doc = Doc::with_options(options);
    let mut txn = doc.transact_mut();
    txn.apply_update(update).map_err(|error| refused(&error))?;
    if txn.has_missing_updates() {
        return Err(refused(&"the bytes are only a part of a document: a dependency is missing"));
    }
    drop(txn);
    let txn = doc.transact();
    let roots: BTreeMap<String, Out> =
        txn.root_refs().map(|(name, root)| (name.to_owned(), root)).collect();
    let mut reader = Reader { txn: &txn, path: Vec::new(), unread: Vec::new() };
    let mut tree = BTreeMap::new();
    for (name, root) in roots {
        if let Some(content) = reader.at(&name, |reader| reader.root(&root)) {
            tree.insert(name, content);
        }
    }
    Ok(Source { tree: Tree::Map(tree), unread: reader.unread })
}

/// The type of a nested branch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Map,
    List,
    Text,
}

struct Reader<'t, 'd> {
    txn: &'t Transaction<'d>,
    path: Vec<String>,
    unread: Vec<Unread>,
}

impl Reader<'_, '_> {
    fn at<R>(&mut self, segment: &str, read: impl FnOnce(&mut Self) -> R) -> R {
        self.path.push(segment.to_owned());
        let result = read(self);
        self.path.pop();
        result
    }

    fn note(&mut self, found: String, reason: &'static str) {
        self.unread.push(Unread { path: self.path.clone(), found, reason });
    }

    /// A root. `None` if it has no content: then nobody knows its type.
    fn root(&mut self, root: &Out) -> Option<Tree> {
        let branch = branch_of(root)?;
        let kind = match () {
            () if !TextRef::from(branch).get_string(self.txn).is_empty() => Kind::Text,
            () if ArrayRef::from(branch).len(self.txn) > 0 => Kind::List,
            () if MapRef::from(branch).len(self.txn) > 0 => Kind::Map,
            () => return None,
        };
        Some(self.branch(branch, kind))
    }

    fn branch(&mut self, branch: BranchPtr, kind: Kind) -> Tree {
        let keys = MapRef::from(branch).len(self.txn);
        let items = ArrayRef::from(branch).len(self.txn);
        match kind {
            Kind::Map => {
                if items > 0 {
                    self.note(format!("{items} list elements"), "a map has no list elements");
                }
                Tree::Map(self.entries(branch))
            }
            Kind::List | Kind::Text => {
                if keys > 0 {
                    self.note(format!("{keys} keys"), "a list or text has no keys");
                }
                self.sequence(branch, kind)
            }
        }
    }

    fn entries(&mut self, branch: BranchPtr) -> BTreeMap<String, Tree> {
        let map = MapRef::from(branch);
        let entries: BTreeMap<String, Out> =
            map.iter(self.txn).map(|(key, value)| (key.to_owned(), value)).collect();
        let read = |(key, value): (String, Out)| {
            let tree = self.at(&key, |reader| reader.value(&value));
            (key, tree)
        };
        entries.into_iter().map(read).collect()
    }

    fn sequence(&mut self, branch: BranchPtr, kind: Kind) -> Tree {
        let text = TextRef::from(branch);
        let chars = text.get_string(self.txn);
        // Reading characters as list elements may never end in yrs.
        if kind == Kind::Text || !chars.is_empty() {
            return Tree::Text(self.runs(&text));
        }
        let items: Vec<Out> = ArrayRef::from(branch).iter(self.txn).collect();
        let items = items.iter().enumerate();
        Tree::List(
            items
                .map(|(index, item)| self.at(&index.to_string(), |reader| reader.value(item)))
                .collect(),
        )
    }

    fn runs(&mut self, text: &TextRef) -> Vec<Run> {
        let mut units = 0;
        let mut runs = Vec::new();
        for run in text.diff(self.txn, |_| ()) {
            let marks = run.attributes.as_deref().and_then(marks_of);
            match run.insert {
                Out::Any(Any::String(chars)) => {
                    units += utf16_len(&chars);
                    runs.push(Run::Text(chars.to_string(), marks));
                }
                embed => {
                    let embed = self.at(&units.to_string(), |reader| reader.value(&embed));
                    units += 1;
                    runs.push(Run::Embed(embed));
                }
            }
        }
        let len = text.len(self.txn) as usize;
        if units != len {
            let found = format!("{} values", len.abs_diff(units));
            self.note(found, "a text has no list elements");
        }
        runs
    }

    fn value(&mut self, value: &Out) -> Tree {
        let xml = match value {
            Out::Any(any) => return from_json(any),
            Out::YXmlElement(element) => element,
            _ => {
                return match (branch_of(value), kind_of(value)) {
                    (Some(branch), Some(kind)) => self.branch(branch, kind),
                    _ => Tree::Value(Value::Unknown("foreign type")),
                };
            }
        };
        let branch = pointer(xml);
        let tag = xml.try_tag().map_or("", |tag| tag);
        let attributes = self.at("attributes", |reader| reader.entries(branch));
        let children = self.at("children", |reader| reader.sequence(branch, Kind::List));
        let parts = [
            ("tag", Tree::Value(Value::str(tag))),
            ("attributes", Tree::Map(attributes)),
            ("children", children),
        ];
        Tree::Map(parts.into_iter().map(|(name, part)| (name.to_owned(), part)).collect())
    }
}

fn kind_of(value: &Out) -> Option<Kind> {
    match value {
        Out::YMap(_) => Some(Kind::Map),
        Out::YArray(_) | Out::YXmlFragment(_) => Some(Kind::List),
        Out::YText(_) | Out::YXmlText(_) => Some(Kind::Text),
        _ => None,
    }
}

fn branch_of(value: &Out) -> Option<BranchPtr> {
    Some(match value {
        Out::YText(text) => pointer(text),
        Out::YArray(list) => pointer(list),
        Out::YMap(map) => pointer(map),
        Out::YXmlElement(element) => pointer(element),
        Out::YXmlFragment(fragment) => pointer(fragment),
        Out::YXmlText(text) => pointer(text),
        Out::UndefinedRef(branch) => *branch,
        _ => return None,
    })
}

fn pointer(shared: &impl AsRef<Branch>) -> BranchPtr {
    BranchPtr::from(AsRef::<Branch>::as_ref(shared))
}

/// A plain value. The guard bounds how deep it is nested.
fn from_json(any: &Any) -> Tree {
    match any {
        Any::Array(items) => Tree::List(items.iter().map(from_json).collect()),
        Any::Map(entries) => {
            let sorted: BTreeMap<String, Tree> =
                entries.iter().map(|(key, value)| (key.clone(), from_json(value))).collect();
            Tree::Map(sorted)
        }
        scalar => Tree::Value(from_any(scalar)),
    }
}
