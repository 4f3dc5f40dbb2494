//! The systems under test, one file a library, behind two small traits.
//!
//! To add one: write its file with a `pub fn systems() -> Vec<System>`, then name the module below
//! and put its call into [`all`].

mod automerge;
mod autosurgeon;
pub mod exostate;
mod loro;
mod yrs;

use std::any::Any;

use anyhow::{Result, bail};

use crate::work::cards::{Card, Edit};
use crate::work::recording::Patch;

/// Every system, in the order in which they take turns; what will be compared runs close together.
fn all() -> Vec<System> {
    let groups = [
        exostate::systems(),
        yrs::systems(),
        loro::systems(),
        automerge::systems(),
        autosurgeon::systems(),
    ];
    groups.into_iter().flatten().collect()
}

/// One replica of a board: a map of cards by key, or a list of them.
pub trait Board {
    /// Changes one field of one card, and returns the bytes that tell the others.
    fn local(&mut self, edit: &Edit) -> Result<Vec<u8>>;
    /// Makes all these changes as one transaction, and returns the bytes that tell the others;
    /// `None` where the system was not taught to.
    fn local_batch(&mut self, _edits: &[Edit]) -> Option<Result<Vec<u8>>> {
        None
    }
    /// Has someone told of changes made here from now on, where a new board does not do so by
    /// itself.
    fn subscribe(&mut self) {}
    /// Takes in such bytes, until whoever looks at the board here has what changed.
    fn remote(&mut self, update: &[u8]) -> Result<()>;
    /// Reads one card: as a map by its key, as a list by its index.
    fn card(&self, index: usize, key: &str) -> Result<Card>;
    /// The whole document as bytes.
    fn save(&mut self) -> Result<Vec<u8>>;

    /// The current view, for as long as it is held; `None` where a system has no view that later
    /// changes leave alone.
    fn view(&self) -> Option<Box<dyn Any>> {
        None
    }
    /// The same view read anew from the document, sharing nothing with any other.
    fn fresh_view(&self) -> Option<Box<dyn Any>> {
        None
    }
}

/// How a board comes to be.
pub trait NewBoard: Board + Sized + 'static {
    /// A replica that writes all these cards.
    fn build(cards: &[Card]) -> Result<Self>;
    /// Another replica, opened from saved bytes, ready to be read and with its observers in place.
    fn open(saved: &[u8]) -> Result<Self>;
}

/// One replica of a text.
pub trait TextPeer {
    /// Makes one transaction of the patches, and returns the bytes that tell the others.
    fn local(&mut self, patches: &[Patch]) -> Result<Vec<u8>>;
    /// Takes in one update.
    fn remote(&mut self, update: &[u8]) -> Result<()>;
    /// The text as it is now.
    fn text(&self) -> Result<String>;

    /// Packs a batch of this replica's own updates as a sender would who sends them together; not
    /// timed. The batch begins with update number `_first`.
    fn pack(&mut self, _first: usize, updates: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
        Ok(updates.to_vec())
    }
    /// Takes in a packed batch.
    fn remote_batch(&mut self, packed: &[Vec<u8>]) -> Result<()> {
        packed.iter().try_for_each(|update| self.remote(update))
    }
}

/// Makes a text replica; the number tells replicas apart.
pub type NewText = fn(u8) -> Result<Box<dyn TextPeer>>;

/// Has a system's backend alone open the system's saved bytes.
pub type OpenBackend = fn(&[u8]) -> Result<Box<dyn Any>>;

/// Makes the replicas of one kind of board.
#[derive(Debug, Clone, Copy)]
pub struct Boards {
    /// See [`NewBoard::build`].
    pub build: fn(&[Card]) -> Result<Box<dyn Board>>,
    /// See [`NewBoard::open`].
    pub open: fn(&[u8]) -> Result<Box<dyn Board>>,
}

impl Boards {
    /// Boards of this type.
    fn of<B: NewBoard>() -> Self {
        Self {
            build: |cards| Ok(Box::new(B::build(cards)?)),
            open: |saved| Ok(Box::new(B::open(saved)?)),
        }
    }
}

/// A system under test, and what it can do.
#[derive(Debug)]
pub struct System {
    /// Its name in the report.
    pub name: &'static str,
    /// The system of which this is one layout among several; the report adds the better one under
    /// that name.
    pub layout_of: Option<&'static str>,
    /// How many edits of a board it gets at most, where one takes seconds.
    pub edits_max: Option<usize>,
    /// The board as a map of cards.
    pub map: Option<Boards>,
    /// The board as a list of cards.
    pub list: Option<Boards>,
    /// For a system with a view on top of a backend: the backend alone, on a saved map of cards.
    pub open_backend: Option<OpenBackend>,
    /// A text.
    pub text: Option<NewText>,
}

impl System {
    /// A system of this name that can do nothing yet.
    fn named(name: &'static str) -> Self {
        Self {
            name,
            layout_of: None,
            edits_max: None,
            map: None,
            list: None,
            open_backend: None,
            text: None,
        }
    }

    /// Whether the user means this system by `name`.
    fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.layout_of == Some(name)
    }
}

/// The systems that the user chose by name; all of them for no names.
pub fn selected(names: &[String]) -> Result<Vec<System>> {
    let mut systems = all();
    if let Some(unknown) =
        names.iter().find(|name| !systems.iter().any(|system| system.answers_to(name)))
    {
        let known: Vec<&str> = systems.iter().map(|system| system.name).collect();
        bail!("--systems: no system {unknown:?}; there are {}", known.join(", "));
    }
    systems.retain(|system| names.is_empty() || names.iter().any(|name| system.answers_to(name)));
    Ok(systems)
}
