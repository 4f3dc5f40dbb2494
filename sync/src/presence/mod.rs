//! Presence at a document: cursors, selections, names, and other state that others need at the
//! moment and that is not worth storing.

mod news;
mod participants;
mod room;
mod showing;

#[cfg(feature = "websocket")]
pub(crate) use news::read_id_and_clock;
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
    /// The state cannot be serialized as JSON.
    #[error("the state cannot be written as JSON")]
    Json(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The JSON of the state is too long.
    #[error("a state of {bytes} bytes as JSON is more than {bytes_max}")]
    TooLarge {
        /// The length of the JSON in bytes.
        bytes: usize,
        /// The largest length in bytes.
        bytes_max: usize,
    },
}

/// The presence at one document: the state that this replica shows, and the states that others
/// show.
///
/// `P` is the state of a participant: any serde type whose JSON has at most 4 KiB. The states are
/// never saved, and the newest one of a participant wins. A participant that is not heard of for 30
/// seconds counts as gone. A state that is not a `P` (from other software, or a later version) is
/// passed on but not shown. Clones share the same presence.
///
/// To show a position in a text, put an [`Anchor`](exostate::Anchor) into the state. It follows the
/// edits of others.
///
/// ```
/// # #[derive(exostate::State, Clone, Debug, Default, PartialEq)]
/// # struct Board { notes: exostate::Text }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
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

/// One participant and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Participant<P> {
    /// The id of the participant's replica.
    pub id: u64,
    /// The participant's state.
    pub state: P,
}

/// A change of one participant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresenceChange<P> {
    /// The id of the participant's replica.
    pub id: u64,
    /// The participant's new state; `None` if it has left.
    pub state: Option<P>,
    /// Whether the participant is new.
    pub joined: bool,
}

impl<P: Serialize + DeserializeOwned> Presence<P> {
    pub(crate) fn new(participants: Arc<Participants>, replica: Arc<dyn Replica>) -> Self {
        Self { participants, replica, shows: PhantomData }
    }

    /// Shows this state to the others from now on, instead of the previous one. Call it as often as
    /// the state changes: it is sent at most every 30 ms, and only the newest state counts.
    ///
    /// # Errors
    /// The state cannot be serialized as JSON of at most 4 KiB.
    pub fn set(&self, state: &P) -> Result<(), PresenceError> {
        let state =
            serde_json::to_string(state).map_err(|error| PresenceError::Json(error.into()))?;
        if state.len() > STATE_BYTES_MAX {
            return Err(PresenceError::TooLarge { bytes: state.len(), bytes_max: STATE_BYTES_MAX });
        }
        self.participants.set(self.replica.replica().get(), state.into());
        Ok(())
    }

    /// Stops showing a state: the others see this participant leave.
    pub fn leave(&self) {
        self.participants.leave();
    }

    /// The other participants, by id.
    pub fn others(&self) -> Vec<Participant<P>> {
        let own = self.participants.own();
        let others = self.participants.present().into_iter().filter(|(id, _)| Some(*id) != own);
        others
            .filter_map(|(id, state)| {
                Some(Participant { id, state: serde_json::from_str(&state).ok()? })
            })
            .collect()
    }

    /// The changes from now on. The participants that are already present come first.
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

/// Reports changes of the other participants, one after the other. A slow caller misses only
/// intermediate states.
pub struct PresenceWatch<P> {
    participants: Weak<Participants>,
    changed: watch::Receiver<u64>,
    seen: u64,
    /// The last reported state of each participant.
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
    /// The next change; `None` if no further change can come, because every handle of the presence
    /// is dropped. Cancel safe.
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
            // More participants have left than are remembered.
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
