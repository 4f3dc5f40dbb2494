//! Loro. Local: edit, commit and export. Remote: import, with a subscription that reads the changed
//! keys.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use loro::event::{Diff, DiffEvent};
use loro::{
    Container, Counter, ExportMode, IdSpan, LoroDoc, LoroList, LoroMap, LoroMovableList, LoroText,
    LoroValue, Subscription, ValueOrContainer, VersionVector,
};

use super::{Board, Boards, ListPeer, NewBoard, System, TextPeer};
use crate::work::cards::{Card, Change, Edit};
use crate::work::recording::Patch;

/// Loro: a map of maps, a movable list of maps, a text.
pub fn systems() -> Vec<System> {
    vec![System {
        map: Some(Boards::of::<LoroBoard<LoroMap>>()),
        list: Some(Boards::of::<LoroBoard<LoroMovableList>>()),
        text: Some(|replica| Ok(Box::new(LoroTextPeer::new(replica)?))),
        numbers: Some(|replica| Ok(Box::new(LoroNumbers::new(replica)?))),
        ..System::named("loro")
    }]
}

/// A collection of cards, each a map of its fields.
trait Cards: Sized + 'static {
    /// Finds the root container.
    fn root(doc: &LoroDoc) -> Self;
    /// Adds an empty card at the end.
    fn add(&self, id: &str) -> Result<LoroMap>;
    /// Finds a card.
    fn find(&self, index: usize, key: &str) -> Option<ValueOrContainer>;
}

impl Cards for LoroMap {
    fn root(doc: &LoroDoc) -> Self {
        doc.get_map("cards")
    }

    fn add(&self, id: &str) -> Result<LoroMap> {
        Ok(self.insert_container(id, LoroMap::new())?)
    }

    fn find(&self, _index: usize, key: &str) -> Option<ValueOrContainer> {
        self.get(key)
    }
}

impl Cards for LoroMovableList {
    fn root(doc: &LoroDoc) -> Self {
        doc.get_movable_list("cards")
    }

    fn add(&self, _id: &str) -> Result<LoroMap> {
        Ok(self.push_container(LoroMap::new())?)
    }

    fn find(&self, index: usize, _key: &str) -> Option<ValueOrContainer> {
        self.get(index)
    }
}

/// The new value of a field.
fn value(change: &Change) -> LoroValue {
    match change {
        Change::Text(text) => text.as_str().into(),
        Change::Done(done) => (*done).into(),
        Change::Points(points) => (*points).into(),
    }
}

/// Reads the containers and keys that changed, with their new values.
fn read_event(event: DiffEvent<'_>) {
    for container in &event.events {
        if let Diff::Map(map) = &container.diff {
            for change in &map.updated {
                black_box(change);
            }
        }
    }
}

/// A document of this replica.
fn document(replica: u8) -> Result<LoroDoc> {
    let doc = LoroDoc::new();
    doc.set_peer_id(u64::from(replica))?;
    Ok(doc)
}

/// Commits, and exports the changes since the last export.
fn export_new(doc: &LoroDoc, sent: &mut VersionVector) -> Result<Vec<u8>> {
    doc.commit();
    let update = doc.export(ExportMode::updates(sent))?;
    *sent = doc.oplog_vv();
    Ok(update)
}

/// A board in one of the collections.
struct LoroBoard<C> {
    doc: LoroDoc,
    cards: C,
    sent: VersionVector,
    /// Keeps the reader of the events subscribed.
    subscription: Option<Subscription>,
}

impl<C: Cards> LoroBoard<C> {
    /// One card's map.
    fn record(&self, index: usize, key: &str) -> Result<LoroMap> {
        match self.cards.find(index, key) {
            Some(ValueOrContainer::Container(Container::Map(card))) => Ok(card),
            other => anyhow::bail!("card {key}: expected a map, found {other:?}"),
        }
    }
}

impl<C: Cards> NewBoard for LoroBoard<C> {
    fn build(cards: &[Card]) -> Result<Self> {
        let doc = document(1)?;
        let root = C::root(&doc);
        for card in cards {
            let record = root.add(&card.id)?;
            record.insert("id", card.id.as_str())?;
            record.insert("text", card.text.as_str())?;
            record.insert("done", card.done)?;
            record.insert("points", card.points)?;
        }
        doc.commit();
        let sent = doc.oplog_vv();
        Ok(Self { doc, cards: root, sent, subscription: None })
    }

    fn open(saved: &[u8]) -> Result<Self> {
        let doc = LoroDoc::from_snapshot(saved)?;
        doc.set_peer_id(2)?;
        let cards = C::root(&doc);
        let subscription = doc.subscribe_root(Arc::new(read_event));
        let sent = doc.oplog_vv();
        Ok(Self { doc, cards, sent, subscription: Some(subscription) })
    }
}

impl<C: Cards> Board for LoroBoard<C> {
    fn local(&mut self, edit: &Edit) -> Result<Vec<u8>> {
        self.record(edit.index, &edit.key)?.insert(edit.change.field(), value(&edit.change))?;
        export_new(&self.doc, &mut self.sent)
    }

    fn local_batch(&mut self, edits: &[Edit]) -> Option<Result<Vec<u8>>> {
        let one = |edit: &Edit| {
            Ok(self
                .record(edit.index, &edit.key)?
                .insert(edit.change.field(), value(&edit.change))?)
        };
        let written = edits.iter().try_for_each(one);
        Some(written.and_then(|()| export_new(&self.doc, &mut self.sent)))
    }

    fn subscribe(&mut self) {
        self.subscription = Some(self.doc.subscribe_root(Arc::new(read_event)));
    }

    fn remote(&mut self, update: &[u8]) -> Result<()> {
        self.doc.import(update)?;
        Ok(())
    }

    fn card(&self, index: usize, key: &str) -> Result<Card> {
        let record = self.record(index, key)?;
        let field = |name: &str| match record.get(name) {
            Some(ValueOrContainer::Value(value)) => Ok(value),
            other => anyhow::bail!("card {key}: field {name} is {other:?}"),
        };
        let odd = |value: LoroValue| anyhow::anyhow!("card {key}: unexpected value {value:?}");
        Ok(Card {
            id: field("id")?.into_string().map_err(odd)?.to_string(),
            text: field("text")?.into_string().map_err(odd)?.to_string(),
            done: field("done")?.into_bool().map_err(odd)?,
            points: field("points")?.into_i64().map_err(odd)?,
        })
    }

    fn save(&mut self) -> Result<Vec<u8>> {
        Ok(self.doc.export(ExportMode::Snapshot)?)
    }
}

/// A root text, which counts in code points.
struct LoroTextPeer {
    doc: LoroDoc,
    text: LoroText,
    sent: VersionVector,
    /// The op count of the document before each of its own transactions, and after the last one.
    ops: Vec<Counter>,
}

impl LoroTextPeer {
    /// An empty text.
    fn new(replica: u8) -> Result<Self> {
        let doc = document(replica)?;
        let text = doc.get_text("text");
        Ok(Self { doc, text, sent: VersionVector::default(), ops: vec![0] })
    }
}

impl TextPeer for LoroTextPeer {
    fn local(&mut self, patches: &[Patch]) -> Result<Vec<u8>> {
        for patch in patches {
            if patch.delete > 0 {
                self.text.delete(patch.at, patch.delete)?;
            }
            if !patch.insert.is_empty() {
                self.text.insert(patch.at, &patch.insert)?;
            }
        }
        let update = export_new(&self.doc, &mut self.sent)?;
        self.ops.push(
            self.sent
                .get(&self.doc.peer_id())
                .copied()
                .context("the replica has written nothing")?,
        );
        Ok(update)
    }

    fn remote(&mut self, update: &[u8]) -> Result<()> {
        let status = self.doc.import(update)?;
        ensure!(status.pending.is_none(), "an update came before one that it needs");
        Ok(())
    }

    fn text(&self) -> Result<String> {
        Ok(self.text.to_string())
    }

    /// One export of the whole range. Loro imports it faster than the single updates with
    /// `import_batch`.
    fn pack(&mut self, first: usize, updates: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
        let from = self.ops[first];
        let to = self.ops[first + updates.len()];
        let span = IdSpan::new(self.doc.peer_id(), from, to);
        Ok(vec![self.doc.export(ExportMode::updates_in_range(vec![span]))?])
    }
}

/// A root list of numbers.
struct LoroNumbers {
    doc: LoroDoc,
    list: LoroList,
    sent: VersionVector,
}

impl LoroNumbers {
    /// An empty list.
    fn new(replica: u8) -> Result<Self> {
        let doc = document(replica)?;
        let list = doc.get_list("numbers");
        Ok(Self { doc, list, sent: VersionVector::default() })
    }
}

impl ListPeer for LoroNumbers {
    fn fill(&mut self, numbers: &[i64]) -> Result<()> {
        numbers.iter().try_for_each(|number| self.list.insert(0, *number))?;
        export_new(&self.doc, &mut self.sent).map(drop)
    }

    fn insert(&mut self, at: usize, number: i64) -> Result<Vec<u8>> {
        self.list.insert(at, number)?;
        export_new(&self.doc, &mut self.sent)
    }

    fn everything(&self) -> Result<Vec<Vec<u8>>> {
        Ok(vec![self.doc.export(ExportMode::all_updates())?])
    }

    fn remote(&mut self, update: &[u8]) -> Result<()> {
        let status = self.doc.import(update)?;
        ensure!(status.pending.is_none(), "an update came before one that it needs");
        Ok(())
    }

    fn numbers(&self) -> Result<Vec<i64>> {
        let values = self.list.to_vec();
        values.into_iter().map(|value| value.into_i64().map_err(|odd| anyhow!("{odd:?}"))).collect()
    }
}
