//! A reader of documents that knows docs/layout.md, the raw backends and a schema, but nothing of
//! exostate. It stands for a reader in another language.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};

use automerge::{ObjType, ReadDoc, ScalarValue, iter::Span};
use serde_json::{Map, Value, json};
use yrs::updates::decoder::Decode;
use yrs::{Any, Array, Doc, Map as _, Number, Out, ReadTxn, Text, Transact, Update};

/// The schema that a reader needs.
pub enum Type {
    Bool,
    Integer,
    Float,
    String,
    Bytes,
    /// A `Register`, with the JSON of its default.
    Cbor(&'static str),
    Struct(&'static [(&'static str, Type)]),
    /// The name of the default variant, and each variant with its fields.
    Enum(&'static str, &'static [(&'static str, &'static [(&'static str, Type)])]),
    Option(&'static Type),
    Text,
    List(&'static Type),
    Counter,
    Map(&'static Type),
    Set,
    MovableList(&'static Type),
    Tree(&'static Type),
    /// Groups of the first type, items of the second.
    Groups(&'static Type, &'static Type),
}

/// A scalar as stored in a document.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    String(String),
    Bytes(Vec<u8>),
}

/// Pieces of text and their marks.
type Runs = Vec<(String, Map<String, Value>)>;

/// The content of a document: registers and sequences by path.
#[derive(Default)]
pub struct Document {
    pub registers: BTreeMap<String, Scalar>,
    pub texts: BTreeMap<String, Runs>,
    pub lists: BTreeMap<String, Vec<Scalar>>,
}

impl From<&Any> for Scalar {
    fn from(any: &Any) -> Self {
        match any {
            Any::Null => Self::Null,
            Any::Bool(value) => Self::Bool(*value),
            Any::Number(Number::Int(value)) => Self::Integer(*value),
            Any::Number(Number::Float(value)) => Self::Float(*value),
            Any::String(text) => Self::String(text.to_string()),
            Any::Buffer(bytes) => Self::Bytes(bytes.to_vec()),
            other => panic!("not a scalar: {other:?}"),
        }
    }
}

impl From<&ScalarValue> for Scalar {
    fn from(value: &ScalarValue) -> Self {
        match value {
            ScalarValue::Null => Self::Null,
            ScalarValue::Boolean(value) => Self::Bool(*value),
            ScalarValue::Int(value) => Self::Integer(*value),
            ScalarValue::F64(value) => Self::Float(*value),
            ScalarValue::Str(text) => Self::String(text.to_string()),
            ScalarValue::Bytes(bytes) => Self::Bytes(bytes.clone()),
            other => panic!("not a scalar of exostate: {other:?}"),
        }
    }
}

/// The value of a mark as JSON.
fn plain(scalar: &Scalar) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Bool(value) => json!(value),
        Scalar::Integer(value) => json!(value),
        Scalar::Float(value) => json!(value),
        Scalar::String(text) => json!(text),
        Scalar::Bytes(bytes) => json!(bytes),
    }
}

pub fn from_yrs(bytes: &[u8]) -> Document {
    let doc = Doc::new();
    doc.transact_mut()
        .apply_update(Update::decode_v1(bytes).expect("an update of Yjs"))
        .expect("it applies");
    let mut document = Document::default();
    let names: Vec<String> = doc.transact().root_refs().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        match name.split_at(2.min(name.len())) {
            ("T:", path) => {
                let text = doc.get_or_insert_text(name.as_str());
                let runs = text.diff(&doc.transact(), |_| ()).into_iter().map(|run| {
                    let Out::Any(Any::String(piece)) = run.insert else {
                        panic!("{name} holds {:?}", run.insert)
                    };
                    let marks = run.attributes.into_iter().flat_map(|marks| *marks);
                    (
                        piece.to_string(),
                        marks
                            .map(|(name, value)| (name.to_string(), plain(&Scalar::from(&value))))
                            .collect(),
                    )
                });
                document.texts.insert(path.to_owned(), runs.collect());
            }
            ("L:", path) => {
                let list = doc.get_or_insert_array(name.as_str());
                let txn = doc.transact();
                let items = list.iter(&txn).map(|item| match item {
                    Out::Any(any) => Scalar::from(&any),
                    other => panic!("{name} holds {other:?}"),
                });
                document.lists.insert(path.to_owned(), items.collect());
            }
            _ => assert_eq!(name, "state", "an unknown root"),
        }
    }
    let state = doc.get_or_insert_map("state");
    let txn = doc.transact();
    let stored = state.iter(&txn).map(|(path, value)| match value {
        Out::Any(any) => (path.to_owned(), Scalar::from(&any)),
        other => panic!("{path} holds {other:?}"),
    });
    document.registers = expand(&stored.collect());
    document
}

/// A bundle: the path of its slot, its name, and its entries by relative path.
type Bundle = (String, String, BTreeMap<String, Scalar>);

/// The registers of a document with bundles.
fn expand(stored: &BTreeMap<String, Scalar>) -> BTreeMap<String, Scalar> {
    let is_name = |segment: &str| segment.strip_prefix('@').is_some_and(|name| id(name).is_some());
    let mut registers = BTreeMap::new();
    let mut bundles: Vec<Bundle> = Vec::new();
    let mut voids = BTreeSet::new();
    for (key, value) in stored {
        let segments: Vec<&str> = key.split('/').collect();
        let reserved = segments.iter().skip(1).position(|segment| is_name(segment));
        // A slot is not empty.
        let reserved = reserved.filter(|_| segments.first() != Some(&"") || segments.len() > 2);
        match reserved.map(|at| segments.split_at(at + 1)) {
            Some((slot, [name])) => {
                let Scalar::Bytes(bytes) = value else { panic!("{key} is no bundle") };
                bundles.push((slot.join("/"), (*name).to_owned(), entries(bytes)));
            }
            Some((slot, [name, "@"])) => drop(voids.insert((slot.join("/"), *name, String::new()))),
            Some((slot, [name, below @ ..])) => {
                voids.insert((slot.join("/"), *name, below.join("/")));
            }
            _ => drop(registers.insert(key.clone(), value.clone())),
        }
    }
    // The last bundle counts, and a register of its own counts before all bundles.
    bundles.sort_by(|(a_slot, a, _), (b_slot, b, _)| {
        (b.as_bytes(), b_slot.len()).cmp(&(a.as_bytes(), a_slot.len()))
    });
    for (slot, name, entries) in bundles {
        for (below, value) in entries {
            let path = if below.is_empty() { slot.clone() } else { join(&slot, &below) };
            if !voids.contains(&(slot.clone(), &*name, below)) {
                registers.entry(path).or_insert(value);
            }
        }
    }
    registers
}

fn entries(bytes: &[u8]) -> BTreeMap<String, Scalar> {
    use ciborium::Value as Cbor;
    let Ok(Cbor::Map(entries)) = ciborium::from_reader(bytes) else { panic!("{bytes:x?}") };
    assert!(bytes.len() <= 4096 && entries.len() <= 64);
    let entry = |(below, value): (Cbor, Cbor)| {
        let value = match value {
            Cbor::Null => Scalar::Null,
            Cbor::Bool(flag) => Scalar::Bool(flag),
            Cbor::Integer(number) => Scalar::Integer(number.try_into().expect("64 bits")),
            Cbor::Float(number) => Scalar::Float(number),
            Cbor::Text(text) => Scalar::String(text),
            Cbor::Bytes(bytes) => Scalar::Bytes(bytes),
            other => panic!("{other:?} in a bundle"),
        };
        (below.into_text().expect("a path"), value)
    };
    entries.into_iter().map(entry).collect()
}

fn fnv_1a(text: &str) -> u32 {
    text.bytes()
        .fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

pub fn from_automerge(bytes: &[u8]) -> Document {
    let doc = automerge::Automerge::load(bytes).expect("a document of automerge");
    let mut document = Document::default();
    let first = doc.get_changes(&[]).into_iter().next().expect("the first change");
    assert_eq!(
        (first.actor_id().to_bytes(), first.seq(), first.timestamp()),
        (b"exostate".as_slice(), 1, 0)
    );
    assert!(first.deps().is_empty());
    assert!(
        doc.keys(automerge::ROOT).eq((0..1024).map(|number| format!("{number:03x}"))),
        "the maps at the root"
    );
    for number in 0..1024 {
        let (_, map) =
            doc.get(automerge::ROOT, format!("{number:03x}")).expect("a map").expect("a map");
        for key in doc.keys(&map) {
            let all = doc.get_all(&map, &key).expect("a value");
            let (winner, _) = doc.get(&map, &key).expect("a value").expect("a value");
            let path = key.get(2..).unwrap_or_default().to_owned();
            match winner {
                automerge::Value::Scalar(scalar) => {
                    assert_eq!(fnv_1a(&key) % 1024, number, "{key} is in the wrong map");
                    document.registers.insert(key, Scalar::from(&*scalar));
                }
                automerge::Value::Object(ObjType::Text) => {
                    assert!(
                        key.starts_with("T:") && fnv_1a(&key) % 1024 == number,
                        "{key} is in the wrong map"
                    );
                    let spans = all.iter().flat_map(|(_, id)| doc.spans(id).expect("a text"));
                    let runs = spans.map(|span| {
                        let Span::Text { text, marks } = span else {
                            panic!("{key} holds a block")
                        };
                        let marks = marks.iter().flat_map(|marks| marks.iter());
                        (
                            text,
                            marks
                                .map(|(name, value)| (name.to_owned(), plain(&Scalar::from(value))))
                                .collect(),
                        )
                    });
                    document.texts.insert(path, runs.collect());
                }
                automerge::Value::Object(ObjType::List) => {
                    assert!(
                        key.starts_with("L:") && fnv_1a(&key) % 1024 == number,
                        "{key} is in the wrong map"
                    );
                    let items =
                        all.iter().flat_map(|(_, id)| doc.values(id)).map(
                            |(value, _)| match value {
                                automerge::Value::Scalar(scalar) => Scalar::from(&*scalar),
                                other => panic!("{key} holds {other:?}"),
                            },
                        );
                    document.lists.insert(path, items.collect());
                }
                other => panic!("{key} holds {other:?}"),
            }
        }
    }
    document.registers = expand(&document.registers);
    document
}

fn escape(segment: &str) -> String {
    let escaped = segment.replace('~', "~0").replace('/', "~1");
    match escaped.strip_prefix('@') {
        Some(rest) => format!("~2{rest}"),
        None if escaped.is_empty() => "~3".to_owned(),
        None => escaped,
    }
}

fn unescape(segment: &str) -> String {
    segment.replace("~3", "").replace("~2", "@").replace("~1", "/").replace("~0", "~")
}

fn join(path: &str, segment: &str) -> String {
    if path.is_empty() { segment.to_owned() } else { format!("{path}/{segment}") }
}

/// An id. Ids are ordered.
type Id = (u64, u64);

fn id(text: &str) -> Option<Id> {
    let (replica, counter) = text.split_once('-')?;
    let id = (u64::from_str_radix(replica, 16).ok()?, u64::from_str_radix(counter, 16).ok()?);
    (name(id) == text).then_some(id)
}

fn name((replica, counter): Id) -> String {
    format!("{replica:x}-{counter:x}")
}

impl Document {
    /// The value of a type at a path.
    pub fn read(&self, path: &str, of: &Type) -> Value {
        match of {
            Type::Bool
            | Type::Integer
            | Type::Float
            | Type::String
            | Type::Bytes
            | Type::Cbor(_) => {
                let default = match of {
                    Type::Bool => json!(false),
                    Type::Integer => json!(0),
                    Type::Float => json!(0.0),
                    Type::String => json!(""),
                    Type::Cbor(default) => serde_json::from_str(default).expect("JSON"),
                    _ => json!([]),
                };
                self.registers.get(path).and_then(|found| scalar(found, of)).unwrap_or(default)
            }
            Type::Struct(fields) => self.fields(path, fields),
            Type::Enum(default, variants) => {
                let tag = self.tag(path, variants).unwrap_or(default);
                let fields = variants
                    .iter()
                    .find(|(name, _)| *name == tag)
                    .map_or(&[][..], |(_, fields)| fields);
                json!({ tag: self.fields(&join(path, tag), fields) })
            }
            Type::Option(of) => self.slot(path, of).unwrap_or(Value::Null),
            Type::Text => self.text(path),
            Type::List(of) => self
                .lists
                .get(path)
                .into_iter()
                .flatten()
                .filter_map(|item| scalar(item, of))
                .collect(),
            Type::Counter => self
                .children(path)
                .iter()
                .filter_map(|replica| self.integer(&join(path, replica)))
                .sum::<i64>()
                .into(),
            Type::Map(of) => {
                let entries = self.children(path).into_iter();
                entries
                    .filter_map(|key| Some((unescape(&key), self.slot(&join(path, &key), of)?)))
                    .collect()
            }
            Type::Set => {
                let elements = self
                    .children(path)
                    .into_iter()
                    .filter(|element| self.registers.contains_key(&join(path, element)));
                elements
                    .map(|element| unescape(&element))
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect()
            }
            Type::MovableList(of) => {
                let mut elements: Vec<_> = self
                    .elements(path, of)
                    .map(|(id, value)| (self.position(path, id), id, value))
                    .collect();
                elements.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
                elements
                    .into_iter()
                    .map(|(_, id, value)| json!({ "id": name(id), "value": value }))
                    .collect()
            }
            Type::Tree(of) => self.tree(path, of),
            Type::Groups(group, item) => self.groups(path, group, item),
        }
    }

    /// The value of a slot; `None` if it is empty.
    fn slot(&self, path: &str, of: &Type) -> Option<Value> {
        let marker = self.registers.get(path).filter(|marker| **marker != Scalar::Null)?;
        match of {
            Type::Bool
            | Type::Integer
            | Type::Float
            | Type::String
            | Type::Bytes
            | Type::Cbor(_) => scalar(marker, of),
            _ => Some(self.read(path, of)),
        }
    }

    fn fields(&self, path: &str, fields: &[(&str, Type)]) -> Value {
        fields
            .iter()
            .map(|(name, of)| ((*name).to_owned(), self.read(&join(path, name), of)))
            .collect()
    }

    fn tag(
        &self,
        path: &str,
        variants: &[(&'static str, &[(&str, Type)])],
    ) -> Option<&'static str> {
        let Scalar::String(tag) = self.registers.get(path)? else { return None };
        variants.iter().map(|(name, _)| *name).find(|name| name == tag)
    }

    fn integer(&self, path: &str) -> Option<i64> {
        scalar(self.registers.get(path)?, &Type::Integer)?.as_i64()
    }

    /// The segments directly below a path that are not exostate's own.
    fn children(&self, path: &str) -> BTreeSet<String> {
        let below = self.registers.keys().filter_map(|key| {
            if path.is_empty() { Some(&key[..]) } else { key.strip_prefix(&join(path, "")) }
        });
        below
            .filter_map(|rest| rest.split('/').next())
            .filter(|segment| !segment.starts_with('@'))
            .map(str::to_owned)
            .collect()
    }

    /// The text as runs of equal marks. In the document these may be several smaller pieces.
    fn text(&self, path: &str) -> Value {
        let mut runs: Runs = Vec::new();
        for (piece, marks) in self.texts.get(path).into_iter().flatten() {
            match runs.last_mut().filter(|(_, of)| of == marks) {
                Some((run, _)) => run.push_str(piece),
                None => runs.push((piece.clone(), marks.clone())),
            }
        }
        json!(runs)
    }

    /// The elements of a list or tree.
    fn elements(&self, path: &str, of: &Type) -> impl Iterator<Item = (Id, Value)> {
        self.children(path)
            .into_iter()
            .filter_map(move |segment| Some((id(&segment)?, self.slot(&join(path, &segment), of)?)))
    }

    fn position(&self, path: &str, id: Id) -> Vec<u8> {
        match self.registers.get(&join(&join(path, &name(id)), "@position")) {
            Some(Scalar::Bytes(position)) => position.clone(),
            _ => Vec::new(),
        }
    }

    /// Parent and position of a node, group and position of an item.
    fn place(&self, path: &str, of: Id) -> (Option<Id>, String) {
        match self.registers.get(&join(&join(path, &name(of)), "@place")) {
            Some(Scalar::String(place)) => {
                let (parent, position) = place.split_once(':').unwrap_or_default();
                (id(parent), position.to_owned())
            }
            _ => (None, String::new()),
        }
    }

    /// Groups with their items, and the items whose group does not exist.
    fn groups(&self, path: &str, group: &'static Type, item: &Type) -> Value {
        let Value::Array(mut groups) = self.read(&join(path, "groups"), &Type::MovableList(group))
        else {
            panic!("a list")
        };
        let items_at = join(path, "items");
        let mut items: BTreeMap<Option<Id>, BTreeMap<(String, Id), Value>> = BTreeMap::new();
        for (id, value) in self.elements(&items_at, item) {
            let (of, position) = self.place(&items_at, id);
            let value = json!({ "id": name(id), "value": value });
            items.entry(of).or_default().insert((position, id), value);
        }
        for group in &mut groups {
            let id = group["id"].as_str().and_then(id);
            group["items"] =
                items.remove(&id).into_iter().flat_map(BTreeMap::into_values).collect();
        }
        let ungrouped: Vec<Value> = items.into_values().flat_map(BTreeMap::into_values).collect();
        json!({ "groups": groups, "ungrouped": ungrouped })
    }

    fn tree(&self, path: &str, of: &Type) -> Value {
        let nodes: BTreeMap<Id, Value> = self.elements(path, of).collect();
        let place = |node: Id| self.place(path, node);
        let claimed = |node: Id| place(node).0.filter(|parent| nodes.contains_key(parent));
        // The smallest node of each cycle is at the root: the node whose path upwards returns to it
        // without meeting a smaller one.
        let heads_cycle = |node: Id| {
            let way = std::iter::successors(claimed(node), |at| claimed(*at)).take(nodes.len());
            let cycle: Vec<Id> = way.take_while(|at| *at != node).collect();
            cycle.last().map_or(claimed(node) == Some(node), |last| claimed(*last) == Some(node))
                && cycle.iter().all(|at| *at > node)
        };
        let mut children: BTreeMap<Option<Id>, BTreeSet<(String, Id)>> = BTreeMap::new();
        for node in nodes.keys() {
            let parent = claimed(*node).filter(|_| !heads_cycle(*node));
            children.entry(parent).or_default().insert((place(*node).1, *node));
        }
        below(None, &children, &nodes)
    }
}

fn below(
    parent: Option<Id>,
    children: &BTreeMap<Option<Id>, BTreeSet<(String, Id)>>,
    nodes: &BTreeMap<Id, Value>,
) -> Value {
    let siblings = children.get(&parent).into_iter().flatten();
    siblings
        .map(|(_, id)| {
            let children = below(Some(*id), children, nodes);
            json!({ "id": name(*id), "value": nodes[id], "children": children })
        })
        .collect()
}

/// A scalar converted to a type; `None` if it does not fit.
fn scalar(found: &Scalar, of: &Type) -> Option<Value> {
    Some(match (of, found) {
        (Type::Bool, Scalar::Bool(value)) => json!(value),
        (Type::Integer, Scalar::Integer(value)) => json!(value),
        (Type::Integer, Scalar::Float(value)) if value.fract() == 0.0 => json!(*value as i64),
        (Type::Integer, Scalar::String(digits)) => json!(digits.parse::<u64>().ok()?),
        (Type::Float, Scalar::Integer(value)) => json!(*value as f64),
        (Type::Float, Scalar::Float(value)) => json!(value),
        (Type::String, Scalar::String(text)) => json!(text),
        (Type::Bytes, Scalar::Bytes(bytes)) => json!(bytes),
        (Type::Cbor(_), Scalar::Bytes(bytes)) => ciborium::from_reader(bytes.as_slice()).ok()?,
        _ => return None,
    })
}
