//! Who is present at a document: cursors, selections, names, whatever is worth knowing now and not
//! worth keeping.

mod news;
mod participants;
mod room;
mod showing;

#[cfg(feature = "websocket")]
pub(crate) use news::who_and_when;
pub(crate) use news::{decode, encode};
pub use participants::Participants;
pub(crate) use participants::{Json, News, Speaker};
pub use room::Room;
pub(crate) use showing::Showing;

use crate::limits::STATE_BYTES_MAX;
use crate::replica::Replica;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};
use tokio::sync::watch;

/// A state that cannot be shown to others.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PresenceError {
    /// It does not become JSON.
    #[error("the state cannot be written as JSON")]
    Json(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is too long.
    #[error("a state of {bytes} bytes as JSON is more than {bytes_max}")]
    TooLarge {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
}

/// The presence at one document: what this replica shows of itself, and what others show.
///
/// `P` is what a participant shows: any serde type that fits 4 KiB of JSON. It is never saved, the
/// newest value wins, and who is not heard of for 30 s counts as gone. States that are no `P` (from
/// other software, or a later version) are passed on and not shown. A clone is a handle to the
/// same.
///
/// A place in a text goes into it as an [`Anchor`](exostate::Anchor), which follows what others
/// type.
///
/// ```
/// # #[derive(exostate::State, Clone, Debug, Default, PartialEq)] struct Board { notes: exostate::Text }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use exostate::{Anchor, Store};
/// use exostate_sync::{Config, Peer, Role, memory_pair};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
/// struct Writer { name: String, cursor: Option<Anchor> }
///
/// let (ours, theirs) = (Store::<Board>::new(), Store::<Board>::new());
/// let (here, there) = memory_pair(8);
/// let peer = Peer::over(&ours, "roadmap", here, Role::Initiator, Config::default());
/// let other = Peer::over(&theirs, "roadmap", there, Role::Responder, Config::default());
///
/// let mut changes = other.presence::<Writer>().watch();
/// peer.presence().set(&Writer { name: "Ada".into(), cursor: None })?;
/// let change = changes.next().await.expect("as long as somebody is there");
/// assert_eq!(change.state.expect("she came").name, "Ada");
/// # Ok(()) }
/// ```
pub struct Presence<P> {
    participants: Arc<Participants>,
    replica: Arc<dyn Replica>,
    shows: PhantomData<fn() -> P>,
}

impl<P> Clone for Presence<P> {
    fn clone(&self) -> Self {
        Self {
            participants: Arc::clone(&self.participants),
            replica: Arc::clone(&self.replica),
            shows: PhantomData,
        }
    }
}

impl<P> fmt::Debug for Presence<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").field("own", &self.replica.replica()).finish_non_exhaustive()
    }
}

/// One participant and what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Participant<P> {
    /// Who: the id of its replica.
    pub id: u64,
    /// What it shows.
    pub state: P,
}

/// What happened to one participant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresenceChange<P> {
    /// Who: the id of its replica.
    pub id: u64,
    /// What it shows now; `None`: it has left.
    pub state: Option<P>,
    /// It was not there before.
    pub joined: bool,
}

impl<P: Serialize + DeserializeOwned> Presence<P> {
    pub(crate) fn new(participants: Arc<Participants>, replica: Arc<dyn Replica>) -> Self {
        Self { participants, replica, shows: PhantomData }
    }

    /// Shows this to the others, from now on and instead of what was shown before. Call it as often
    /// as it changes: it is sent at most every 30 ms, and the newest value is what counts.
    ///
    /// # Errors
    /// It does not become JSON of at most 4 KiB.
    pub fn set(&self, state: &P) -> Result<(), PresenceError> {
        let state =
            serde_json::to_string(state).map_err(|error| PresenceError::Json(error.into()))?;
        if state.len() > STATE_BYTES_MAX {
            return Err(PresenceError::TooLarge { bytes: state.len(), bytes_max: STATE_BYTES_MAX });
        }
        self.participants.set(self.replica.replica(), state.into());
        Ok(())
    }

    /// Shows nothing any more; the others see this participant leave.
    pub fn leave(&self) {
        self.participants.leave();
    }

    /// The others who are there, by id.
    pub fn others(&self) -> Vec<Participant<P>> {
        let own = self.participants.own();
        let others = self.participants.present().into_iter().filter(|(id, _)| Some(*id) != own);
        others
            .filter_map(|(id, state)| {
                Some(Participant { id, state: serde_json::from_str(&state).ok()? })
            })
            .collect()
    }

    /// What happens from now on, after those who are there already.
    pub fn watch(&self) -> PresenceWatch<P> {
        PresenceWatch {
            participants: Arc::downgrade(&self.participants),
            changed: self.participants.subscribe(),
            seen: 0,
            known: BTreeMap::new(),
            changes: VecDeque::new(),
            shows: PhantomData,
        }
    }
}

/// Tells of the others, one change after the other. Who is slow to ask misses what was shown in
/// between, and nothing else.
pub struct PresenceWatch<P> {
    participants: Weak<Participants>,
    changed: watch::Receiver<u64>,
    seen: u64,
    /// What was told of whom.
    known: BTreeMap<u64, Json>,
    changes: VecDeque<PresenceChange<P>>,
    shows: PhantomData<fn() -> P>,
}

impl<P> fmt::Debug for PresenceWatch<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresenceWatch").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl<P: DeserializeOwned> PresenceWatch<P> {
    /// The next change; `None` when everything that could bring one is gone. Safe to cancel.
    pub async fn next(&mut self) -> Option<PresenceChange<P>> {
        loop {
            self.changed.borrow_and_update();
            self.collect()?;
            if let Some(change) = self.changes.pop_front() {
                return Some(change);
            }
            self.changed.changed().await.ok()?;
        }
    }

    fn collect(&mut self) -> Option<()> {
        let participants = self.participants.upgrade()?;
        let own = participants.own();
        let (news, seen, whole) = participants.since(self.seen);
        self.seen = seen;
        if !whole {
            // More have left than are remembered.
            let present = participants.present();
            let left: Vec<u64> =
                self.known.keys().filter(|id| !present.contains_key(*id)).copied().collect();
            left.into_iter().for_each(|id| self.forget(id));
        }
        for news in news.into_iter().filter(|news| Some(news.id) != own) {
            let Some(state) = news.state else {
                self.forget(news.id);
                continue;
            };
            let before = self.known.insert(news.id, Arc::clone(&state));
            if before.as_ref() == Some(&state) {
                continue;
            }
            match serde_json::from_str(&state) {
                Ok(shown) => self.changes.push_back(PresenceChange {
                    id: news.id,
                    state: Some(shown),
                    joined: before.is_none(),
                }),
                Err(_) => self.forget(news.id),
            }
        }
        Some(())
    }

    fn forget(&mut self, id: u64) {
        if self.known.remove(&id).is_some() {
            self.changes.push_back(PresenceChange { id, state: None, joined: false });
        }
    }
}
