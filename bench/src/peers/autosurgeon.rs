//! autosurgeon on automerge: a local change reconciles the whole struct, and a remote change
//! hydrates the whole struct.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use automerge::{ActorId, AutoCommit, Change as AmChange};
use autosurgeon::{Hydrate, Reconcile, Text, hydrate, reconcile};

use super::{Board, Boards, NewBoard, System, TextPeer};
use crate::work::cards::{Card as PlainCard, Edit};
use crate::work::recording::Patch;

/// autosurgeon. Its number of edits is limited: one takes seconds on a large board.
pub fn systems() -> Vec<System> {
    vec![System {
        edits_max: Some(5),
        map: Some(Boards::of::<Surgeon<CardMap>>()),
        list: Some(Boards::of::<Surgeon<CardList>>()),
        open_backend: Some(|saved| Ok(Box::new(AutoCommit::load(saved)?))),
        text: Some(|replica| Ok(Box::new(SurgeonText::new(replica)?))),
        ..System::named("autosurgeon")
    }]
}

/// A card as autosurgeon sees it.
#[derive(Debug, Clone, Hydrate, Reconcile)]
struct Card {
    #[key]
    id: String,
    text: String,
    done: bool,
    points: i64,
}

impl From<&PlainCard> for Card {
    fn from(card: &PlainCard) -> Self {
        let PlainCard { id, text, done, points } = card.clone();
        Self { id, text, done, points }
    }
}

impl From<&Card> for PlainCard {
    fn from(card: &Card) -> Self {
        let Card { id, text, done, points } = card.clone();
        Self { id, text, done, points }
    }
}

/// The whole state, as a map or as a list of cards.
trait State: Hydrate + Reconcile + 'static {
    /// A state with these cards.
    fn new(cards: &[PlainCard]) -> Self;
    /// One card.
    fn card(&mut self, index: usize, key: &str) -> Option<&mut Card>;
    /// One card, for reading only.
    fn read(&self, index: usize, key: &str) -> Option<&Card>;
}

/// The board as a map.
#[derive(Debug, Hydrate, Reconcile)]
struct CardMap {
    cards: BTreeMap<String, Card>,
}

impl State for CardMap {
    fn new(cards: &[PlainCard]) -> Self {
        Self { cards: cards.iter().map(|card| (card.id.clone(), card.into())).collect() }
    }

    fn card(&mut self, _index: usize, key: &str) -> Option<&mut Card> {
        self.cards.get_mut(key)
    }

    fn read(&self, _index: usize, key: &str) -> Option<&Card> {
        self.cards.get(key)
    }
}

/// The board as a list.
#[derive(Debug, Hydrate, Reconcile)]
struct CardList {
    cards: Vec<Card>,
}

impl State for CardList {
    fn new(cards: &[PlainCard]) -> Self {
        Self { cards: cards.iter().map(Card::from).collect() }
    }

    fn card(&mut self, index: usize, _key: &str) -> Option<&mut Card> {
        self.cards.get_mut(index)
    }

    fn read(&self, index: usize, _key: &str) -> Option<&Card> {
        self.cards.get(index)
    }
}

/// A document of this replica.
fn document(replica: u8) -> AutoCommit {
    AutoCommit::new().with_actor(actor(replica))
}

/// A replica's id.
fn actor(replica: u8) -> ActorId {
    ActorId::from([replica; 16].as_slice())
}

/// The bytes of the last change.
fn last_change(doc: &mut AutoCommit) -> Result<Vec<u8>> {
    let change = doc.get_last_local_change().context("the reconcile left no change")?;
    Ok(change.raw_bytes().to_vec())
}

/// A board: the document and the struct hydrated from it.
struct Surgeon<S> {
    doc: AutoCommit,
    state: S,
}

impl<S: State> NewBoard for Surgeon<S> {
    fn build(cards: &[PlainCard]) -> Result<Self> {
        let mut doc = document(1);
        let state = S::new(cards);
        reconcile(&mut doc, &state)?;
        doc.commit();
        Ok(Self { doc, state })
    }

    fn open(saved: &[u8]) -> Result<Self> {
        let doc = AutoCommit::load(saved)?.with_actor(actor(2));
        let state = hydrate(&doc)?;
        Ok(Self { doc, state })
    }
}

impl<S: State> Board for Surgeon<S> {
    fn local(&mut self, edit: &Edit) -> Result<Vec<u8>> {
        let card = self
            .state
            .card(edit.index, &edit.key)
            .with_context(|| format!("no card {}", edit.key))?;
        let mut plain = PlainCard::from(&*card);
        edit.change.apply_to(&mut plain);
        *card = Card::from(&plain);
        reconcile(&mut self.doc, &self.state)?;
        last_change(&mut self.doc)
    }

    fn remote(&mut self, update: &[u8]) -> Result<()> {
        self.doc.apply_changes([AmChange::from_bytes(update.to_vec())?])?;
        self.state = hydrate(&self.doc)?;
        Ok(())
    }

    fn card(&self, index: usize, key: &str) -> Result<PlainCard> {
        self.state.read(index, key).map(PlainCard::from).with_context(|| format!("no card {key}"))
    }

    fn save(&mut self) -> Result<Vec<u8>> {
        Ok(self.doc.save())
    }
}

/// The state of a text document.
#[derive(Debug, Default, Hydrate, Reconcile)]
struct Page {
    text: Text,
}

/// A text: the document and the struct hydrated from it.
struct SurgeonText {
    doc: AutoCommit,
    page: Page,
}

impl SurgeonText {
    /// An empty text. Only the writer creates it, so that both replicas have the same one.
    fn new(replica: u8) -> Result<Self> {
        let mut doc = document(0);
        reconcile(&mut doc, Page::default())?;
        doc.commit_with(automerge::transaction::CommitOptions::default().with_time(0));
        let page = hydrate(&doc)?;
        Ok(Self { doc: doc.with_actor(actor(replica)), page })
    }
}

impl TextPeer for SurgeonText {
    /// The struct is hydrated again after the change: a `Text` keeps its edits and would apply them
    /// a second time.
    fn local(&mut self, patches: &[Patch]) -> Result<Vec<u8>> {
        for patch in patches {
            // The `Text` struct counts in bytes, and its document counts in code points. They agree
            // for ASCII only.
            ensure!(patch.insert.is_ascii(), "autosurgeon's Text takes ASCII only");
            self.page.text.splice(patch.at, isize::try_from(patch.delete)?, &patch.insert);
        }
        reconcile(&mut self.doc, &self.page)?;
        let update = last_change(&mut self.doc)?;
        self.page = hydrate(&self.doc)?;
        Ok(update)
    }

    fn remote(&mut self, update: &[u8]) -> Result<()> {
        self.remote_batch(&[update.to_vec()])
    }

    fn remote_batch(&mut self, packed: &[Vec<u8>]) -> Result<()> {
        let changes = packed.iter().map(|bytes| AmChange::from_bytes(bytes.clone()));
        self.doc.apply_changes(changes.collect::<Result<Vec<_>, _>>()?)?;
        self.page = hydrate(&self.doc)?;
        Ok(())
    }

    fn text(&self) -> Result<String> {
        Ok(self.page.text.as_str().to_owned())
    }
}
