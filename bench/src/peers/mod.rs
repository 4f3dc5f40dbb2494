//! The systems under test: one file for each library, behind three small traits.
//!
//! To add a system, write its file with a `pub fn systems() -> Vec<System>`. Then declare the
//! module below and add its call to [`all`].

mod automerge;
mod autosurgeon;
pub mod dynamic;
pub mod exostate;
mod loro;
pub mod node;
mod yrs;

use std::any::Any;

use anyhow::{Result, bail};

use crate::measure::Samples;
use crate::work::cards::{Card, Edit};
use crate::work::recording::Patch;

/// Every system, in the order of their turns. Systems that are compared run close together.
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
    /// Changes one field of one card. Returns the bytes to send to other replicas.
    fn local(&mut self, edit: &Edit) -> Result<Vec<u8>>;
    /// Makes all these changes as one transaction. Returns the bytes to send to other replicas, or
    /// `None` if the system has no such operation here.
    fn local_batch(&mut self, _edits: &[Edit]) -> Option<Result<Vec<u8>>> {
        None
    }
    /// Adds a subscriber to later local changes, if a new board does not have one already.
    fn subscribe(&mut self) {}
    /// Applies an update. Returns once a reader of this board has the change.
    fn remote(&mut self, update: &[u8]) -> Result<()>;
    /// Reads one card: as a map by its key, as a list by its index.
    fn card(&self, index: usize, key: &str) -> Result<Card>;
    /// The whole document as bytes.
    fn save(&mut self) -> Result<Vec<u8>>;

    /// The current view. Later changes do not alter it. `None` if the system has no such view.
    fn view(&self) -> Option<Box<dyn Any>> {
        None
    }
    /// A view read from the document again. It shares nothing with any other view.
    fn fresh_view(&self) -> Option<Box<dyn Any>> {
        None
    }
}

/// How a board is made.
pub trait NewBoard: Board + Sized + 'static {
    /// A replica that writes all these cards.
    fn build(cards: &[Card]) -> Result<Self>;
    /// Another replica, opened from saved bytes. It is ready to be read, and its observers are in
    /// place.
    fn open(saved: &[u8]) -> Result<Self>;
}

/// One replica of a text.
pub trait TextPeer {
    /// Makes one transaction of the patches. Returns the bytes to send to other replicas.
    fn local(&mut self, patches: &[Patch]) -> Result<Vec<u8>>;
    /// Applies one update.
    fn remote(&mut self, update: &[u8]) -> Result<()>;
    /// The text as it is now.
    fn text(&self) -> Result<String>;

    /// Packs a batch of this replica's own updates, as a sender of the whole batch would. This is
    /// not timed. The batch begins with update number `_first`.
    fn pack(&mut self, _first: usize, updates: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
        Ok(updates.to_vec())
    }
    /// Applies a packed batch.
    fn remote_batch(&mut self, packed: &[Vec<u8>]) -> Result<()> {
        packed.iter().try_for_each(|update| self.remote(update))
    }
}

/// A replica of one list of numbers.
pub trait ListPeer {
    /// Inserts each number at the front, in one transaction.
    fn fill(&mut self, numbers: &[i64]) -> Result<()>;
    /// Inserts a number. Returns the bytes to send to other replicas.
    fn insert(&mut self, at: usize, number: i64) -> Result<Vec<u8>>;
    /// The bytes that an empty replica lacks.
    fn everything(&self) -> Result<Vec<Vec<u8>>>;
    /// Applies one update.
    fn remote(&mut self, update: &[u8]) -> Result<()>;
    /// The numbers as they are now.
    fn numbers(&self) -> Result<Vec<i64>>;
}

/// Makes a replica of a list; the number tells replicas apart.
pub type NewList = fn(u8) -> Result<Box<dyn ListPeer>>;

/// Opens a board and a short text from saved bytes, and measures the first edit of the text.
pub type TextFirstEdit = fn(&[Card]) -> Result<Samples>;

/// Makes a text replica; the number tells replicas apart.
pub type NewText = fn(u8) -> Result<Box<dyn TextPeer>>;

/// Opens the saved bytes of a system with its backend alone.
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

/// A system under test, and its operations.
#[derive(Debug)]
pub struct System {
    /// Its name in the report.
    pub name: &'static str,
    /// This system is one layout of the system with this name. The report adds the better layout
    /// under that name.
    pub layout_of: Option<&'static str>,
    /// The largest number of board edits, for a system that takes seconds for each.
    pub edits_max: Option<usize>,
    /// The board as a map of cards.
    pub map: Option<Boards>,
    /// The board as a list of cards.
    pub list: Option<Boards>,
    /// The backend alone, on a saved map of cards. Only for a system that has a view on top of a
    /// backend.
    pub open_backend: Option<OpenBackend>,
    /// A text.
    pub text: Option<NewText>,
    /// A list of numbers.
    pub numbers: Option<NewList>,
    /// The first edit of a text beside a board.
    pub text_first_edit: Option<TextFirstEdit>,
}

impl System {
    /// A system with this name and no operations yet.
    fn named(name: &'static str) -> Self {
        Self {
            name,
            layout_of: None,
            edits_max: None,
            map: None,
            list: None,
            open_backend: None,
            text: None,
            numbers: None,
            text_first_edit: None,
        }
    }

    /// Whether the user selects this system by `name`.
    fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.layout_of == Some(name)
    }
}

/// The systems that the user selected by name, or all systems if there are no names.
pub fn selected(names: &[String]) -> Result<Vec<System>> {
    let mut systems = all();
    if let Some(unknown) = names
        .iter()
        .filter(|name| !crate::scenarios::storage::knows(name) && *name != dynamic::NAME)
        .find(|name| !systems.iter().any(|system| system.answers_to(name)))
    {
        let known: Vec<&str> = systems.iter().map(|system| system.name).collect();
        bail!("--systems: no system {unknown:?}; there are {}", known.join(", "));
    }
    systems.retain(|system| names.is_empty() || names.iter().any(|name| system.answers_to(name)));
    Ok(systems)
}
