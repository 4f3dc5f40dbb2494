//! Raw yrs: a board in three layouts, and a text.
//!
//! Local: a map insert with an update observer. Remote: an apply with a deep observer that reads
//! the changed keys. In a list the observer reads the path too, because only the path identifies
//! the record.

use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};
use yrs::types::{DeepObservable as _, Event, Events};
use yrs::updates::decoder::Decode as _;
use yrs::{
    Any, Array as _, ArrayRef, ClientID, Doc, GetString as _, In, Map as _, MapPrelim, MapRef,
    OffsetKind, Options, Out, ReadTxn, StateVector, Text as _, TextRef, Transact as _,
    TransactionMut, Update, merge_updates_v1,
};

use super::{Board, Boards, ListPeer, NewBoard, System, TextPeer};
use crate::work::cards::{Card, Change, Edit};
use crate::work::recording::Patch;

/// The layouts of yrs: two for maps, one for lists; the text goes with the list.
pub fn systems() -> Vec<System> {
    vec![
        System {
            layout_of: Some("yrs"),
            map: Some(Boards::of::<YrsBoard<Nested>>()),
            ..System::named("yrs-nested")
        },
        System {
            layout_of: Some("yrs"),
            map: Some(Boards::of::<YrsBoard<Flat>>()),
            ..System::named("yrs-flat")
        },
        System {
            list: Some(Boards::of::<YrsBoard<List>>()),
            text: Some(|replica| Ok(Box::new(YrsText::new(replica)?))),
            numbers: Some(|replica| Ok(Box::new(YrsList::new(replica)?))),
            ..System::named("yrs")
        },
    ]
}

/// Holds the bytes of the last transaction. The update observer writes them.
type Outbox = Arc<Mutex<Vec<u8>>>;

/// Puts the bytes of every transaction into the outbox.
fn observe_updates(doc: &Doc) -> Result<Outbox> {
    let outbox = Outbox::default();
    let slot = Arc::clone(&outbox);
    doc.observe_update_v1("bench", move |_, event| {
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = event.update.clone();
    })?;
    Ok(outbox)
}

/// Takes the last transaction's bytes.
fn take(outbox: &Outbox) -> Vec<u8> {
    std::mem::take(&mut *outbox.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A layout of cards in a yrs document.
trait Layout: Sized + 'static {
    /// Finds the root; declares it in a new document.
    fn root(doc: &Doc) -> Self;
    /// Writes all cards.
    fn fill(&self, txn: &mut TransactionMut, cards: &[Card]);
    /// Changes one field.
    fn set(&self, txn: &mut TransactionMut, edit: &Edit) -> Result<()>;
    /// Reads a field of a card.
    fn field<T: ReadTxn>(&self, txn: &T, index: usize, key: &str, field: &str) -> Option<Any>;
    /// Adds an observer that reads all changes below the root.
    fn observe(&self);
}

/// Root map → card's id → map of its fields.
struct Nested(MapRef);

impl Layout for Nested {
    fn root(doc: &Doc) -> Self {
        Self(doc.get_or_insert_map("cards"))
    }

    fn fill(&self, txn: &mut TransactionMut, cards: &[Card]) {
        for card in cards {
            self.0.insert(txn, card.id.as_str(), record(card));
        }
    }

    fn set(&self, txn: &mut TransactionMut, edit: &Edit) -> Result<()> {
        let card =
            map(self.0.get(txn, &edit.key)).with_context(|| format!("no card {}", edit.key))?;
        card.insert(txn, edit.change.field(), value(&edit.change));
        Ok(())
    }

    fn field<T: ReadTxn>(&self, txn: &T, _index: usize, key: &str, field: &str) -> Option<Any> {
        any(map(self.0.get(txn, key))?.get(txn, field))
    }

    fn observe(&self) {
        self.0.observe_deep("bench", read_keys);
    }
}

/// Root map of `cards/<id>/<field>`, with a marker `cards/<id>` that says the card exists.
struct Flat(MapRef);

impl Layout for Flat {
    fn root(doc: &Doc) -> Self {
        Self(doc.get_or_insert_map("board"))
    }

    fn fill(&self, txn: &mut TransactionMut, cards: &[Card]) {
        for card in cards {
            self.0.insert(txn, format!("cards/{}", card.id), true);
            for (field, value) in fields(card) {
                self.0.insert(txn, flat_key(&card.id, field), value);
            }
        }
    }

    fn set(&self, txn: &mut TransactionMut, edit: &Edit) -> Result<()> {
        self.0.insert(txn, flat_key(&edit.key, edit.change.field()), value(&edit.change));
        Ok(())
    }

    fn field<T: ReadTxn>(&self, txn: &T, _index: usize, key: &str, field: &str) -> Option<Any> {
        any(self.0.get(txn, &flat_key(key, field)))
    }

    fn observe(&self) {
        self.0.observe_deep("bench", read_keys);
    }
}

/// Root array of maps.
struct List(ArrayRef);

impl Layout for List {
    fn root(doc: &Doc) -> Self {
        Self(doc.get_or_insert_array("cards"))
    }

    /// Inserts the cards from the last to the first. In yrs an insert at the front has the same
    /// cost at any length, and an insert at the end walks the whole array. The result is the same.
    fn fill(&self, txn: &mut TransactionMut, cards: &[Card]) {
        for card in cards.iter().rev() {
            self.0.push_front(txn, record(card));
        }
    }

    fn set(&self, txn: &mut TransactionMut, edit: &Edit) -> Result<()> {
        let index = u32::try_from(edit.index)?;
        let card = map(self.0.get(txn, index)).with_context(|| format!("no card at {index}"))?;
        card.insert(txn, edit.change.field(), value(&edit.change));
        Ok(())
    }

    fn field<T: ReadTxn>(&self, txn: &T, index: usize, _key: &str, field: &str) -> Option<Any> {
        any(map(self.0.get(txn, u32::try_from(index).ok()?))?.get(txn, field))
    }

    fn observe(&self) {
        self.0.observe_deep("bench", |txn, events| {
            for event in events.iter() {
                black_box(event.path());
            }
            read_keys(txn, events);
        });
    }
}

/// Reads the keys that changed, with their new values.
fn read_keys(txn: &TransactionMut, events: &Events) {
    for event in events.iter() {
        if let Event::Map(event) = event {
            for change in event.keys(txn) {
                black_box(change);
            }
        }
    }
}

/// The key of a field in the flat layout.
fn flat_key(id: &str, field: &str) -> String {
    format!("cards/{id}/{field}")
}

/// The four fields of a card.
fn fields(card: &Card) -> [(&'static str, Any); 4] {
    [
        ("id", Any::from(card.id.as_str())),
        ("text", Any::from(card.text.as_str())),
        ("done", Any::from(card.done)),
        ("points", Any::from(card.points)),
    ]
}

/// A card as a map to insert.
fn record(card: &Card) -> MapPrelim {
    fields(card).map(|(field, value)| (field, In::Any(value))).into_iter().collect()
}

/// The new value of a field.
fn value(change: &Change) -> Any {
    match change {
        Change::Text(text) => Any::from(text.as_str()),
        Change::Done(done) => Any::from(*done),
        Change::Points(points) => Any::from(*points),
    }
}

/// The map that was read, or `None` for anything else.
fn map(out: Option<Out>) -> Option<MapRef> {
    if let Some(Out::YMap(map)) = out { Some(map) } else { None }
}

/// The plain value that was read, or `None` for anything else.
fn any(out: Option<Out>) -> Option<Any> {
    if let Some(Out::Any(any)) = out { Some(any) } else { None }
}

/// A board in one of the layouts.
struct YrsBoard<L> {
    doc: Doc,
    cards: L,
    outbox: Outbox,
}

impl<L: Layout> NewBoard for YrsBoard<L> {
    fn build(cards: &[Card]) -> Result<Self> {
        let doc = Doc::with_client_id(1);
        let root = L::root(&doc);
        root.fill(&mut doc.transact_mut(), cards);
        let outbox = observe_updates(&doc)?;
        Ok(Self { doc, cards: root, outbox })
    }

    fn open(saved: &[u8]) -> Result<Self> {
        let doc = Doc::with_client_id(2);
        let root = L::root(&doc);
        doc.transact_mut().apply_update(Update::decode_v1(saved)?)?;
        root.observe();
        Ok(Self { doc, cards: root, outbox: Outbox::default() })
    }
}

impl<L: Layout> Board for YrsBoard<L> {
    fn local(&mut self, edit: &Edit) -> Result<Vec<u8>> {
        self.cards.set(&mut self.doc.transact_mut(), edit)?;
        Ok(take(&self.outbox))
    }

    fn local_batch(&mut self, edits: &[Edit]) -> Option<Result<Vec<u8>>> {
        let mut txn = self.doc.transact_mut();
        let written = edits.iter().try_for_each(|edit| self.cards.set(&mut txn, edit));
        drop(txn);
        Some(written.map(|()| take(&self.outbox)))
    }

    fn subscribe(&mut self) {
        self.cards.observe();
    }

    fn remote(&mut self, update: &[u8]) -> Result<()> {
        self.doc.transact_mut().apply_update(Update::decode_v1(update)?)?;
        Ok(())
    }

    fn card(&self, index: usize, key: &str) -> Result<Card> {
        let txn = self.doc.transact();
        let field = |name: &str| {
            self.cards
                .field(&txn, index, key, name)
                .with_context(|| format!("card {key} has no field {name}"))
        };
        let odd = |any: Any| anyhow!("card {key}: unexpected value {any:?}");
        Ok(Card {
            id: field("id")?.cast().map_err(odd)?,
            text: field("text")?.cast().map_err(odd)?,
            done: field("done")?.cast().map_err(odd)?,
            points: field("points")?.cast().map_err(odd)?,
        })
    }

    fn save(&mut self) -> Result<Vec<u8>> {
        Ok(self.doc.transact().encode_state_as_update_v1(&StateVector::default()))
    }
}

/// A root text that counts in UTF-16 units.
struct YrsText {
    doc: Doc,
    text: TextRef,
    outbox: Outbox,
}

impl YrsText {
    /// An empty text.
    fn new(replica: u8) -> Result<Self> {
        let options = Options {
            offset_kind: OffsetKind::Utf16,
            ..Options::with_client_id(ClientID::new(u64::from(replica)))
        };
        let doc = Doc::with_options(options);
        let text = doc.get_or_insert_text("text");
        let outbox = observe_updates(&doc)?;
        Ok(Self { doc, text, outbox })
    }
}

impl TextPeer for YrsText {
    fn local(&mut self, patches: &[Patch]) -> Result<Vec<u8>> {
        let mut txn = self.doc.transact_mut();
        for patch in patches {
            if patch.delete_utf16 > 0 {
                self.text.remove_range(&mut txn, patch.at_utf16, patch.delete_utf16);
            }
            if !patch.insert.is_empty() {
                self.text.insert(&mut txn, patch.at_utf16, &patch.insert);
            }
        }
        drop(txn);
        Ok(take(&self.outbox))
    }

    fn remote(&mut self, update: &[u8]) -> Result<()> {
        self.doc.transact_mut().apply_update(Update::decode_v1(update)?)?;
        Ok(())
    }

    fn text(&self) -> Result<String> {
        Ok(self.text.get_string(&self.doc.transact()))
    }

    fn pack(&mut self, _first: usize, updates: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![merge_updates_v1(updates)?])
    }
}

/// A root array of numbers.
struct YrsList {
    doc: Doc,
    array: ArrayRef,
    outbox: Outbox,
}

impl YrsList {
    /// An empty list.
    fn new(replica: u8) -> Result<Self> {
        let doc = Doc::with_client_id(u64::from(replica));
        let array = doc.get_or_insert_array("numbers");
        let outbox = observe_updates(&doc)?;
        Ok(Self { doc, array, outbox })
    }
}

impl ListPeer for YrsList {
    fn fill(&mut self, numbers: &[i64]) -> Result<()> {
        let mut txn = self.doc.transact_mut();
        for number in numbers {
            self.array.insert(&mut txn, 0, *number);
        }
        Ok(())
    }

    fn insert(&mut self, at: usize, number: i64) -> Result<Vec<u8>> {
        let mut txn = self.doc.transact_mut();
        self.array.insert(&mut txn, u32::try_from(at)?, number);
        drop(txn);
        Ok(take(&self.outbox))
    }

    fn everything(&self) -> Result<Vec<Vec<u8>>> {
        Ok(vec![self.doc.transact().encode_state_as_update_v1(&StateVector::default())])
    }

    fn remote(&mut self, update: &[u8]) -> Result<()> {
        self.doc.transact_mut().apply_update(Update::decode_v1(update)?)?;
        Ok(())
    }

    fn numbers(&self) -> Result<Vec<i64>> {
        let txn = self.doc.transact();
        self.array
            .iter(&txn)
            .map(|value| value.cast::<i64>().map_err(|odd| anyhow!("{odd}")))
            .collect()
    }
}
