//! Raw automerge: a board in three layouts, and a text.
//!
//! Local: a put and a commit, with the bytes of the change. Remote: an apply without an observer.

use anyhow::{Context, Result, ensure};
use automerge::transaction::{Transactable, Transaction};
use automerge::{
    ActorId, Automerge, Change as AmChange, ObjId, ObjType, ROOT, ReadDoc as _, ScalarValue, Value,
};

use super::{Board, Boards, NewBoard, System, TextPeer};
use crate::work::cards::{Card, Change, Edit};
use crate::work::recording::Patch;

/// The layouts of automerge: two for maps, one for lists; the text goes with the list.
pub fn systems() -> Vec<System> {
    vec![
        System {
            layout_of: Some("automerge"),
            map: Some(Boards::of::<AutomergeBoard<Nested>>()),
            ..System::named("automerge-nested")
        },
        System {
            layout_of: Some("automerge"),
            map: Some(Boards::of::<AutomergeBoard<Flat>>()),
            ..System::named("automerge-flat")
        },
        System {
            list: Some(Boards::of::<AutomergeBoard<List>>()),
            text: Some(|replica| Ok(Box::new(AutomergeText::new(replica)))),
            ..System::named("automerge")
        },
    ]
}

/// A layout of cards in an automerge document.
trait Layout: Sized + 'static {
    /// Makes the containers and writes all cards.
    fn fill(txn: &mut Transaction, cards: &[Card]) -> Result<()>;
    /// Finds the containers of a filled document.
    fn find(doc: &Automerge) -> Result<Self>;
    /// The object that holds a card's fields, and the key of one field in it.
    fn place<D: automerge::ReadDoc>(
        &self,
        doc: &D,
        index: usize,
        id: &str,
        field: &str,
    ) -> Result<(ObjId, String)>;
}

/// A map in the root → card's id → map of its fields.
struct Nested(ObjId);

impl Layout for Nested {
    fn fill(txn: &mut Transaction, cards: &[Card]) -> Result<()> {
        let map = txn.put_object(ROOT, "cards", ObjType::Map)?;
        for card in cards {
            let record = txn.put_object(&map, card.id.as_str(), ObjType::Map)?;
            put_fields(txn, &record, card)?;
        }
        Ok(())
    }

    fn find(doc: &Automerge) -> Result<Self> {
        Ok(Self(object(doc.get(ROOT, "cards")?)?))
    }

    fn place<D: automerge::ReadDoc>(
        &self,
        doc: &D,
        _index: usize,
        id: &str,
        field: &str,
    ) -> Result<(ObjId, String)> {
        Ok((object(doc.get(&self.0, id)?)?, field.to_owned()))
    }
}

/// How many maps the flat layout spreads its keys over.
const BUCKETS: u32 = 1_024;

/// Hash-bucket maps in the root, with keys `cards/<id>/<field>` and a marker `cards/<id>` that says
/// the card exists.
struct Flat(Vec<ObjId>);

impl Flat {
    /// The bucket of a key: FNV-1a of the whole key.
    fn bucket(key: &str) -> usize {
        let hash = key
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        (hash % BUCKETS) as usize
    }

    /// The name of a bucket in the root.
    fn name(bucket: usize) -> String {
        format!("{bucket:03x}")
    }
}

impl Layout for Flat {
    fn fill(txn: &mut Transaction, cards: &[Card]) -> Result<()> {
        let mut keys = vec![Vec::new(); BUCKETS as usize];
        for card in cards {
            let marker = format!("cards/{}", card.id);
            let fields = fields(card).map(|(field, value)| (format!("{marker}/{field}"), value));
            for (key, value) in fields.into_iter().chain([(marker, ScalarValue::Boolean(true))]) {
                keys[Self::bucket(&key)].push((key, value));
            }
        }
        for (bucket, keys) in keys.into_iter().enumerate() {
            let map = txn.put_object(ROOT, Self::name(bucket), ObjType::Map)?;
            for (key, value) in keys {
                txn.put(&map, key, value)?;
            }
        }
        Ok(())
    }

    fn find(doc: &Automerge) -> Result<Self> {
        (0..BUCKETS as usize)
            .map(|bucket| object(doc.get(ROOT, Self::name(bucket))?))
            .collect::<Result<_>>()
            .map(Self)
    }

    fn place<D: automerge::ReadDoc>(
        &self,
        _doc: &D,
        _index: usize,
        id: &str,
        field: &str,
    ) -> Result<(ObjId, String)> {
        let key = format!("cards/{id}/{field}");
        Ok((self.0[Self::bucket(&key)].clone(), key))
    }
}

/// A list in the root of maps.
struct List(ObjId);

impl Layout for List {
    fn fill(txn: &mut Transaction, cards: &[Card]) -> Result<()> {
        let list = txn.put_object(ROOT, "cards", ObjType::List)?;
        for (index, card) in cards.iter().enumerate() {
            let record = txn.insert_object(&list, index, ObjType::Map)?;
            put_fields(txn, &record, card)?;
        }
        Ok(())
    }

    fn find(doc: &Automerge) -> Result<Self> {
        Ok(Self(object(doc.get(ROOT, "cards")?)?))
    }

    fn place<D: automerge::ReadDoc>(
        &self,
        doc: &D,
        index: usize,
        _id: &str,
        field: &str,
    ) -> Result<(ObjId, String)> {
        Ok((object(doc.get(&self.0, index)?)?, field.to_owned()))
    }
}

/// The four fields of a card.
fn fields(card: &Card) -> [(&'static str, ScalarValue); 4] {
    [
        ("id", card.id.as_str().into()),
        ("text", card.text.as_str().into()),
        ("done", card.done.into()),
        ("points", card.points.into()),
    ]
}

/// Writes a card's fields into its own map.
fn put_fields(txn: &mut Transaction, record: &ObjId, card: &Card) -> Result<()> {
    for (field, value) in fields(card) {
        txn.put(record, field, value)?;
    }
    Ok(())
}

/// The new value of a field.
fn value(change: &Change) -> ScalarValue {
    match change {
        Change::Text(text) => text.as_str().into(),
        Change::Done(done) => (*done).into(),
        Change::Points(points) => (*points).into(),
    }
}

/// The id of an object that was read.
fn object(found: Option<(Value<'_>, ObjId)>) -> Result<ObjId> {
    let (value, id) = found.context("an object is missing")?;
    ensure!(value.is_object(), "expected an object, found {value}");
    Ok(id)
}

/// A document of this replica.
fn document(replica: u8) -> Automerge {
    Automerge::new().with_actor(ActorId::from([replica; 16].as_slice()))
}

/// Runs one transaction, and returns the bytes of its change.
fn commit(
    doc: &mut Automerge,
    write: impl FnOnce(&mut Transaction) -> Result<()>,
) -> Result<Vec<u8>> {
    let mut txn = doc.transaction();
    write(&mut txn)?;
    txn.commit();
    let change = doc.get_last_local_change().context("the transaction left no change")?;
    Ok(change.raw_bytes().to_vec())
}

/// Changes one field of one card.
fn put<L: Layout>(cards: &L, txn: &mut Transaction, edit: &Edit) -> Result<()> {
    let (record, key) = cards.place(txn, edit.index, &edit.key, edit.change.field())?;
    Ok(txn.put(record, key, value(&edit.change))?)
}

/// A board in one of the layouts.
struct AutomergeBoard<L> {
    doc: Automerge,
    cards: L,
}

impl<L: Layout> NewBoard for AutomergeBoard<L> {
    fn build(cards: &[Card]) -> Result<Self> {
        let mut doc = document(1);
        commit(&mut doc, |txn| L::fill(txn, cards))?;
        let cards = L::find(&doc)?;
        Ok(Self { doc, cards })
    }

    fn open(saved: &[u8]) -> Result<Self> {
        let doc = Automerge::load(saved)?.with_actor(ActorId::from([2; 16].as_slice()));
        let cards = L::find(&doc)?;
        Ok(Self { doc, cards })
    }
}

impl<L: Layout> Board for AutomergeBoard<L> {
    fn local(&mut self, edit: &Edit) -> Result<Vec<u8>> {
        let cards = &self.cards;
        commit(&mut self.doc, |txn| put(cards, txn, edit))
    }

    fn local_batch(&mut self, edits: &[Edit]) -> Option<Result<Vec<u8>>> {
        let cards = &self.cards;
        Some(commit(&mut self.doc, |txn| edits.iter().try_for_each(|edit| put(cards, txn, edit))))
    }

    fn remote(&mut self, update: &[u8]) -> Result<()> {
        Ok(self.doc.apply_changes([AmChange::from_bytes(update.to_vec())?])?)
    }

    fn card(&self, index: usize, key: &str) -> Result<Card> {
        let field = |name: &str| {
            let (record, place) = self.cards.place(&self.doc, index, key, name)?;
            let (value, _) = self
                .doc
                .get(record, place)?
                .with_context(|| format!("card {key} has no {name}"))?;
            Ok::<_, anyhow::Error>(value.into_owned())
        };
        let odd = || format!("card {key}: a value of the wrong type");
        Ok(Card {
            id: field("id")?.into_string().ok().with_context(odd)?,
            text: field("text")?.into_string().ok().with_context(odd)?,
            done: field("done")?.as_bool().with_context(odd)?,
            points: field("points")?.as_i64().with_context(odd)?,
        })
    }

    fn save(&mut self) -> Result<Vec<u8>> {
        Ok(self.doc.save())
    }
}

/// A text in the root, which counts in code points.
struct AutomergeText {
    doc: Automerge,
}

impl AutomergeText {
    /// An empty document. Only the writer creates the text.
    fn new(replica: u8) -> Self {
        Self { doc: document(replica) }
    }
}

impl TextPeer for AutomergeText {
    fn local(&mut self, patches: &[Patch]) -> Result<Vec<u8>> {
        commit(&mut self.doc, |txn| {
            let text = match txn.get(ROOT, "text")? {
                Some((_, text)) => text,
                None => txn.put_object(ROOT, "text", ObjType::Text)?,
            };
            for patch in patches {
                txn.splice_text(&text, patch.at, isize::try_from(patch.delete)?, &patch.insert)?;
            }
            Ok(())
        })
    }

    fn remote(&mut self, update: &[u8]) -> Result<()> {
        Ok(self.doc.apply_changes([AmChange::from_bytes(update.to_vec())?])?)
    }

    fn remote_batch(&mut self, packed: &[Vec<u8>]) -> Result<()> {
        let changes = packed.iter().map(|bytes| AmChange::from_bytes(bytes.clone()));
        Ok(self.doc.apply_changes(changes.collect::<Result<Vec<_>, _>>()?)?)
    }

    fn text(&self) -> Result<String> {
        Ok(self.doc.text(object(self.doc.get(ROOT, "text")?)?)?)
    }
}
