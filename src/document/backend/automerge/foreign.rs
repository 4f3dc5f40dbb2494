//! Reads an automerge document of any layout into a neutral tree.

use std::collections::BTreeMap;

use automerge::{
    Automerge as Doc, LoadOptions, ObjId, ObjType, ROOT, ReadDoc, Span, TextEncoding,
    Value as AmValue, hydrate,
};

use super::refused;
use super::values::{from_scalar, marks_of};
use crate::document::backend::BackendError;
use crate::document::foreign::{Run, Source, Tree, Unread};
use crate::document::guard::{GuardError, automerge_chunk};
use crate::document::limits::Limits;

/// Reads a saved document, or all changes of a document.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Source, BackendError> {
    automerge_chunk::walk(bytes, limits)?;
    let options = LoadOptions::new().text_encoding(TextEncoding::UnicodeCodePoint);
    let doc = Doc::load_with_options(bytes, options).map_err(refused)?;
    if !doc.get_missing_deps(&[]).is_empty() {
        return Err(refused("the bytes are only a part of a document: a dependency is missing"));
    }
    let nesting_max = limits.nesting_max();
    let mut reader = Reader { doc: &doc, nesting_max, path: Vec::new(), unread: Vec::new() };
    let tree = reader.object(&ROOT, ObjType::Map)?;
    Ok(Source { tree, unread: reader.unread })
}

struct Reader<'d> {
    doc: &'d Doc,
    nesting_max: usize,
    path: Vec<String>,
    unread: Vec<Unread>,
}

impl Reader<'_> {
    fn object(&mut self, object: &ObjId, kind: ObjType) -> Result<Tree, BackendError> {
        if self.path.len() > self.nesting_max {
            return Err(GuardError::TooDeep { at: 0, max: self.nesting_max }.into());
        }
        match kind {
            ObjType::Map | ObjType::Table => {
                let mut entries = BTreeMap::new();
                for item in self.doc.map_range(object, ..) {
                    let key = item.key.to_string();
                    let value = AmValue::from(item.value.clone());
                    let tree = self.item(key.clone(), &value, &item.id(), item.conflict)?;
                    entries.insert(key, tree);
                }
                Ok(Tree::Map(entries))
            }
            ObjType::List => {
                let mut items = Vec::new();
                for item in self.doc.list_range(object, ..) {
                    let value = AmValue::from(item.value.clone());
                    let index = items.len().to_string();
                    items.push(self.item(index, &value, &item.id(), item.conflict)?);
                }
                Ok(Tree::List(items))
            }
            ObjType::Text => self.text(object),
        }
    }

    fn item(
        &mut self,
        segment: String,
        value: &AmValue<'_>,
        id: &ObjId,
        conflict: bool,
    ) -> Result<Tree, BackendError> {
        self.path.push(segment);
        if conflict {
            let found = "a concurrent value".to_owned();
            let reason = "automerge shows another value";
            self.unread.push(Unread { path: self.path.clone(), found, reason });
        }
        let tree = match value {
            AmValue::Object(kind) => self.object(id, *kind),
            AmValue::Scalar(scalar) => Ok(Tree::Value(from_scalar(scalar))),
        };
        self.path.pop();
        tree
    }

    fn text(&self, object: &ObjId) -> Result<Tree, BackendError> {
        let mut runs = Vec::new();
        for span in self.doc.spans(object).map_err(refused)? {
            runs.push(match span {
                Span::Text { text, marks } => {
                    Run::Text(text, marks.and_then(|marks| marks_of(&marks)))
                }
                Span::Block(block) => Run::Embed(self.block(&block, 0)?),
            });
        }
        Ok(Tree::Text(runs))
    }

    fn block(&self, block: &hydrate::Map, depth: usize) -> Result<Tree, BackendError> {
        let entries = block
            .iter()
            .map(|(key, entry)| Ok((key.clone(), self.hydrated(&entry.value, depth + 1)?)));
        let entries: Result<BTreeMap<String, Tree>, BackendError> = entries.collect();
        entries.map(Tree::Map)
    }

    fn hydrated(&self, value: &hydrate::Value, depth: usize) -> Result<Tree, BackendError> {
        if depth > self.nesting_max {
            return Err(GuardError::TooDeep { at: 0, max: self.nesting_max }.into());
        }
        match value {
            hydrate::Value::Scalar(scalar) => Ok(Tree::Value(from_scalar(scalar))),
            hydrate::Value::Map(map) => self.block(map, depth),
            hydrate::Value::List(list) => {
                let items = list.iter().map(|item| self.hydrated(&item.value, depth + 1));
                items.collect::<Result<_, _>>().map(Tree::List)
            }
            hydrate::Value::Text(text) => Ok(Tree::Text(vec![Run::Text(text.to_string(), None)])),
        }
    }
}
