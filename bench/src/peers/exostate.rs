//! exostate on both backends. Local: a typed change and its update. Remote: an import, until the
//! view and a watcher have it.

use std::any::Any;
use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use exostate::{
    Applied, Automerge, Backend, Batch, List, Map, MovableList, State, Store, Subscription, Text,
    Version, Yrs,
};
use parking_lot::Mutex;
use yrs::Transact;
use yrs::updates::decoder::Decode;

use super::{Board, Boards, ListPeer, NewBoard, OpenBackend, System, TextPeer};
use crate::measure::Samples;
use crate::work::cards::{Card, Change, Edit};
use crate::work::recording::Patch;

/// exostate on yrs and on automerge.
pub fn systems() -> Vec<System> {
    vec![
        system::<Yrs>("exostate-yrs", open_yrs),
        system::<Automerge>("exostate-automerge", open_automerge),
    ]
}

/// Opens saved bytes of exostate with yrs alone.
fn open_yrs(saved: &[u8]) -> Result<Box<dyn Any>> {
    let doc = yrs::Doc::with_client_id(2);
    let registers = doc.get_or_insert_map("state");
    doc.transact_mut().apply_update(yrs::Update::decode_v1(saved)?)?;
    Ok(Box::new((doc, registers)))
}

/// Opens saved bytes of exostate with automerge alone.
fn open_automerge(saved: &[u8]) -> Result<Box<dyn Any>> {
    Ok(Box::new(automerge::Automerge::load(saved)?))
}

fn system<B: Backend>(name: &'static str, open_backend: OpenBackend) -> System {
    System {
        open_backend: Some(open_backend),
        map: Some(Boards::of::<StateBoard<MapState, B>>()),
        list: Some(Boards::of::<StateBoard<ListState, B>>()),
        text: Some(|_| Ok(Box::new(StateText::<B>::new()))),
        numbers: Some(|_| Ok(Box::new(StateList::<B>::new()))),
        text_first_edit: Some(text_first_edit::<B>),
        ..System::named(name)
    }
}

/// The boards of exostate on yrs that are a map.
pub fn typed_boards() -> Boards {
    Boards::of::<StateBoard<MapState, Yrs>>()
}

/// A card as a state.
#[derive(State, Clone, Debug, PartialEq)]
pub struct Record {
    /// See [`Card::id`].
    pub id: String,
    /// See [`Card::text`].
    pub text: String,
    /// See [`Card::done`].
    pub done: bool,
    /// See [`Card::points`].
    pub points: i64,
}

impl From<&Card> for Record {
    fn from(card: &Card) -> Self {
        Self { id: card.id.clone(), text: card.text.clone(), done: card.done, points: card.points }
    }
}

/// The cards by their ids.
#[derive(State, Clone, Debug, PartialEq)]
pub struct MapState {
    /// The cards.
    pub cards: Map<String, Record>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct ListState {
    cards: MovableList<Record>,
}

/// A state that holds the cards in a map or in a list.
pub trait Cards: State {
    /// A state with these cards.
    fn build(cards: &[Card]) -> Self;
    /// One card.
    fn find(&self, index: usize, key: &str) -> Option<&Record>;
    /// Makes one change.
    fn edit<B: Backend>(store: &Store<Self, B>, edit: &Edit) -> Result<()>;
    /// Makes several edits as one change.
    fn edit_batch<B: Backend>(store: &Store<Self, B>, edits: &[Edit]) -> Result<()>;
    /// Adds a watcher of all changes of any card.
    fn watch<B: Backend>(store: &Store<Self, B>) -> Subscription;
}

fn change(
    record: &RecordNode<exostate::Edit<'_>>,
    change: &Change,
) -> Result<(), exostate::ChangeError> {
    match change {
        Change::Text(text) => record.text().set(text.as_str()),
        Change::Done(done) => record.done().set(*done),
        Change::Points(points) => record.points().set(*points),
    }
}

impl Cards for MapState {
    fn build(cards: &[Card]) -> Self {
        Self { cards: cards.iter().map(|card| (card.id.clone(), card.into())).collect() }
    }

    fn find(&self, _index: usize, key: &str) -> Option<&Record> {
        self.cards.get(key)
    }

    fn edit<B: Backend>(store: &Store<Self, B>, edit: &Edit) -> Result<()> {
        Ok(store.change(|state| change(&state.cards().get(edit.key.as_str()), &edit.change))?)
    }

    fn edit_batch<B: Backend>(store: &Store<Self, B>, edits: &[Edit]) -> Result<()> {
        let one = |batch: &Batch<'_, Self>, edit: &Edit| {
            batch.change(|state| change(&state.cards().get(edit.key.as_str()), &edit.change))
        };
        Ok(store.batch(|batch| edits.iter().try_for_each(|edit| one(batch, edit)))?)
    }

    fn watch<B: Backend>(store: &Store<Self, B>) -> Subscription {
        store.watch(Self::path().cards().any(), |card| {
            black_box(card.new());
        })
    }
}

impl Cards for ListState {
    fn build(cards: &[Card]) -> Self {
        Self { cards: cards.iter().map(Record::from).collect() }
    }

    fn find(&self, index: usize, _key: &str) -> Option<&Record> {
        self.cards.get(index)
    }

    fn edit<B: Backend>(store: &Store<Self, B>, edit: &Edit) -> Result<()> {
        let id = store.view().cards.id_at(edit.index).context("no such card")?;
        Ok(store.change(|state| change(&state.cards().get(id), &edit.change))?)
    }

    fn edit_batch<B: Backend>(store: &Store<Self, B>, edits: &[Edit]) -> Result<()> {
        let view = store.view();
        let one = |batch: &Batch<'_, Self>, edit: &Edit| match view.cards.id_at(edit.index) {
            Some(id) => batch.change(|state| change(&state.cards().get(id), &edit.change)),
            None => Ok(()),
        };
        Ok(store.batch(|batch| edits.iter().try_for_each(|edit| one(batch, edit)))?)
    }

    fn watch<B: Backend>(store: &Store<Self, B>) -> Subscription {
        store.watch(Self::path().cards().any(), |card| {
            black_box(card.new());
        })
    }
}

/// The update that the last change made.
pub type Last = Arc<Mutex<Option<Arc<[u8]>>>>;

/// Keeps the bytes of each update, as a connection would.
pub fn capture<S: State, B: Backend>(store: &Store<S, B>) -> (Last, Subscription) {
    let last = Last::default();
    let sink = Arc::clone(&last);
    let subscription = store.on_update(move |update| *sink.lock() = Some(Arc::clone(update.bytes)));
    (last, subscription)
}

/// The bytes of the last update.
pub fn take(last: &Last) -> Result<Vec<u8>> {
    Ok(last.lock().take().context("the change made no update")?.to_vec())
}

struct StateBoard<S: State, B: Backend> {
    store: Store<S, B>,
    last: Last,
    _subscriptions: [Subscription; 2],
}

impl<S: Cards, B: Backend> StateBoard<S, B> {
    fn around(store: Store<S, B>) -> Self {
        let watch = S::watch(&store);
        let (last, captured) = capture(&store);
        Self { store, last, _subscriptions: [watch, captured] }
    }
}

impl<S: Cards, B: Backend> NewBoard for StateBoard<S, B> {
    fn build(cards: &[Card]) -> Result<Self> {
        let store = Store::new();
        store.reconcile(&S::build(cards))?;
        Ok(Self::around(store))
    }

    fn open(saved: &[u8]) -> Result<Self> {
        Ok(Self::around(Store::open(saved)?))
    }
}

impl<S: Cards, B: Backend> Board for StateBoard<S, B> {
    fn local(&mut self, edit: &Edit) -> Result<Vec<u8>> {
        S::edit(&self.store, edit)?;
        take(&self.last)
    }

    fn local_batch(&mut self, edits: &[Edit]) -> Option<Result<Vec<u8>>> {
        Some(S::edit_batch(&self.store, edits).and_then(|()| take(&self.last)))
    }

    fn remote(&mut self, update: &[u8]) -> Result<()> {
        ensure!(self.store.apply(update)? == Applied::Changed, "the update changed nothing");
        Ok(())
    }

    fn card(&self, index: usize, key: &str) -> Result<Card> {
        let view = self.store.view();
        let record = view.find(index, key).context("no such card")?;
        Ok(Card {
            id: record.id.clone(),
            text: record.text.clone(),
            done: record.done,
            points: record.points,
        })
    }

    fn save(&mut self) -> Result<Vec<u8>> {
        Ok(self.store.save())
    }

    fn view(&self) -> Option<Box<dyn Any>> {
        Some(Box::new(self.store.view()))
    }

    fn fresh_view(&self) -> Option<Box<dyn Any>> {
        Some(Box::new(self.store.reread()))
    }
}

#[derive(State, Clone, Debug, PartialEq)]
struct TextState {
    text: Text,
}

struct StateText<B: Backend> {
    store: Store<TextState, B>,
    last: Last,
    _subscription: Subscription,
}

impl<B: Backend> StateText<B> {
    fn new() -> Self {
        let store = Store::new();
        let (last, subscription) = capture(&store);
        Self { store, last, _subscription: subscription }
    }
}

impl<B: Backend> TextPeer for StateText<B> {
    fn local(&mut self, patches: &[Patch]) -> Result<Vec<u8>> {
        self.store.change(|state| {
            patches.iter().try_for_each(|patch| {
                state.text().splice(patch.at..patch.at + patch.delete, &patch.insert)
            })
        })?;
        // A keystroke that puts back the text that it deletes makes no update.
        Ok(self.last.lock().take().map(|update| update.to_vec()).unwrap_or_default())
    }

    fn remote(&mut self, update: &[u8]) -> Result<()> {
        if !update.is_empty() {
            self.store.apply(update)?;
        }
        black_box(self.store.view().text.len());
        Ok(())
    }

    fn text(&self) -> Result<String> {
        Ok(self.store.view().text.to_string())
    }

    fn pack(&mut self, _first: usize, updates: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
        // An update of automerge is its changes one after the other.
        Ok(vec![if B::NAME == Yrs::NAME {
            yrs::merge_updates_v1(updates.iter().filter(|update| !update.is_empty()))?
        } else {
            updates.concat()
        }])
    }
}

#[derive(State, Clone, Debug, PartialEq)]
struct NumbersState {
    numbers: List<i64>,
}

struct StateList<B: Backend> {
    store: Store<NumbersState, B>,
    last: Last,
    _subscription: Subscription,
}

impl<B: Backend> StateList<B> {
    fn new() -> Self {
        let store = Store::new();
        let (last, subscription) = capture(&store);
        Self { store, last, _subscription: subscription }
    }
}

impl<B: Backend> ListPeer for StateList<B> {
    fn fill(&mut self, numbers: &[i64]) -> Result<()> {
        Ok(self.store.change(|state| {
            numbers.iter().try_for_each(|number| state.numbers().insert(0, *number))
        })?)
    }

    fn insert(&mut self, at: usize, number: i64) -> Result<Vec<u8>> {
        self.store.change(|state| state.numbers().insert(at, number))?;
        take(&self.last)
    }

    fn everything(&self) -> Result<Vec<Vec<u8>>> {
        Ok(self.store.updates_since(&Version::empty())?)
    }

    fn remote(&mut self, update: &[u8]) -> Result<()> {
        self.store.apply(update)?;
        black_box(self.store.view().numbers.len());
        Ok(())
    }

    fn numbers(&self) -> Result<Vec<i64>> {
        Ok(self.store.view().numbers.iter().copied().collect())
    }
}

/// A board with a note.
#[derive(State, Clone, Debug, PartialEq)]
struct NotedBoard {
    cards: Map<String, Record>,
    note: Text,
}

/// See [`TextFirstEdit`](super::TextFirstEdit).
fn text_first_edit<B: Backend>(cards: &[Card]) -> Result<Samples> {
    const TURNS: usize = 5;
    let store = Store::<NotedBoard, B>::new();
    store.change(|state| {
        for card in cards {
            state.cards().insert(card.id.clone(), Record::from(card))?;
        }
        state.note().insert(0, &"0123456789".repeat(10))
    })?;
    let saved = store.save();
    let mut samples = Samples::default();
    for _ in 0..TURNS {
        let store = Store::<NotedBoard, B>::open(&saved)?;
        samples.time(|| Ok(store.change(|state| state.note().insert(50, "x"))?))?;
    }
    Ok(samples)
}
