//! A replica's connection to one other replica: the API for applications.

#[cfg(feature = "tls")]
use crate::client::{Client, ConnectError};
use crate::config::Config;
use crate::driver::{Listening, Reports, Start, Stop, drive, fresh_key};
use crate::presence::{Presence, Room};
use crate::replica::{IntoReplica, Replica};
use crate::session::{CloseReason, Event, Role};
#[cfg(feature = "tls")]
use crate::ticket::{Ticket, TicketError};
use crate::transport::Transport;
use exostate::{Digest, TypeMismatch};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// The state of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// The peer has not answered yet.
    Connecting,
    /// There is no connection at the moment. Edits continue, and are sent after the next
    /// connection.
    Offline {
        /// Why there is no connection.
        reason: CloseReason,
        /// The time until the next attempt.
        retry_in: Duration,
    },
    /// The two replicas differ, or may differ.
    CatchingUp {
        /// Received bytes of the updates that this replica lacked.
        received: u64,
        /// Bytes of these updates in all; 0 until this is known.
        total: u64,
    },
    /// The replicas are in sync: both have the same version, and have told each other.
    Live,
    /// As [`Live`](Self::Live), but the document declares another state type than this replica's.
    /// Usually the document's name or the type is the wrong one. Fields that both types have show
    /// the document's values. See [`exostate::Store::type_mismatch`].
    LiveAsOther {
        /// The names of both types.
        mismatch: TypeMismatch,
    },
    /// Both replicas have the same version but different contents: a replica id was used twice, or
    /// there is a bug. One of the two is about to take over the other's document; see
    /// [`Event::Repaired`].
    Diverged {
        /// This replica's digest.
        ours: Digest,
        /// The peer's.
        theirs: Digest,
    },
    /// The versions are equal, the contents differ, and no repair is in progress.
    Unrepaired {
        /// Why no repair is in progress.
        message: String,
    },
    /// The connection has ended. No further status follows.
    Closed {
        /// Why the connection has ended.
        reason: CloseReason,
    },
}

impl Status {
    /// Whether both replicas have the same version: [`Live`](Self::Live), or
    /// [`LiveAsOther`](Self::LiveAsOther).
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Live | Self::LiveAsOther { .. })
    }
}

/// The two replicas are not in sync.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// The connection ended first.
    #[error("not in sync with the peer")]
    Closed(#[source] CloseReason),
    /// The peer has the changes, but a listener of its document panicked at them: see
    /// [`Peer::flush`].
    #[error(
        "the peer has the changes, but a listener of its document panicked at them: they may not be kept there"
    )]
    PeerFailed,
    /// This side may only read: the peer takes no changes from it, so changes made on this side
    /// stay here.
    #[error("the peer takes no changes from here: this side may only read")]
    ReadOnly,
    /// The versions are equal, the contents differ, and the repair failed or is not possible.
    #[error("the contents differ although the versions are equal: {message}")]
    Unrepaired {
        /// Why the repair failed or is not possible.
        message: String,
    },
}

/// A replica's connection to one other replica. Background tasks run it. A replica may have any
/// number of peers.
///
/// A lost connection to a server is opened again. The wait before that grows with every failed
/// attempt (see [`Config::reconnect`]). Edits made meanwhile are sent after the reconnection.
/// [`status`](Self::status) reports the state of the connection.
///
/// Dropping a peer ends the connection after the queued updates are sent, but does not wait for
/// that; [`disconnect`](Self::disconnect) waits.
#[derive(Debug)]
#[must_use = "dropping a peer ends its connection"]
pub struct Peer {
    status: watch::Receiver<Status>,
    events: broadcast::Sender<Event>,
    acknowledged: watch::Receiver<Option<u64>>,
    failures: watch::Receiver<u64>,
    only_reads: watch::Receiver<bool>,
    /// The number of failures that a flush has reported.
    failures_told: AtomicU64,
    outbox: Arc<Listening>,
    room: Room,
    stop: watch::Sender<Option<CloseReason>>,
}

/// The other half of a [`Peer`], for its background task.
pub(crate) struct Handles {
    pub(crate) room: Room,
    pub(crate) reports: Reports,
    pub(crate) outbox: Arc<Listening>,
    pub(crate) stop: Stop,
    /// The secret by which the server recognises this peer after each reconnection.
    pub(crate) key: [u8; 16],
}

impl Peer {
    pub(crate) fn new(replica: Arc<dyn Replica>, config: &Config) -> (Self, Handles) {
        let (stop, stopped) = watch::channel(None);
        let reports = Reports::new();
        let outbox = Listening::to(replica.as_ref(), config);
        let room = Room::of(replica);
        let peer = Self {
            status: reports.status.subscribe(),
            events: reports.events.clone(),
            acknowledged: reports.acknowledged.subscribe(),
            failures: reports.failures.subscribe(),
            only_reads: reports.only_reads.subscribe(),
            failures_told: AtomicU64::new(0),
            outbox: Arc::clone(&outbox),
            room: room.clone(),
            stop,
        };
        (peer, Handles { room, reports, outbox, stop: stopped, key: fresh_key() })
    }

    /// Connects to the document that a ticket names, and returns once the server has answered; see
    /// [`Client::connect`].
    ///
    /// # Errors
    /// One variant for each part that can be wrong; see [`ConnectError`].
    #[cfg(feature = "tls")]
    pub async fn connect<T>(replica: impl IntoReplica, ticket: T) -> Result<Self, ConnectError>
    where
        T: TryInto<Ticket>,
        TicketError: From<T::Error>,
    {
        Client::default().connect(replica, ticket).await
    }

    /// As [`connect`](Self::connect), but returns at once and connects in the background, also when
    /// the application starts offline; see [`Client::join`].
    ///
    /// # Errors
    /// The string is not a ticket.
    #[cfg(feature = "tls")]
    pub fn join<T>(replica: impl IntoReplica, ticket: T) -> Result<Self, TicketError>
    where
        T: TryInto<Ticket>,
        TicketError: From<T::Error>,
    {
        Client::default().join(replica, ticket)
    }

    /// Keeps `document` in sync over a connection that exists already, as long as the connection
    /// lasts. One side has to be the [`Role::Initiator`], the other the [`Role::Responder`]. Needs
    /// a tokio runtime with time enabled.
    ///
    /// ```
    /// # async fn example<S: exostate::State>(
    /// #     left: exostate::Store<S>,
    /// #     right: exostate::Store<S>,
    /// # ) -> Result<(), exostate_sync::LiveError> {
    /// use exostate_sync::{Config, Peer, Role, memory_pair};
    ///
    /// let (here, there) = memory_pair(8);
    /// let peer = Peer::over(&left, "roadmap", here, Role::Initiator, Config::default());
    /// let _other = Peer::over(&right, "roadmap", there, Role::Responder, Config::default());
    /// peer.live().await?;
    /// # Ok(()) }
    /// ```
    pub fn over<T: Transport>(
        replica: impl IntoReplica,
        document: &str,
        transport: T,
        role: Role,
        config: Config,
    ) -> Self {
        let (peer, handles) = Self::new(replica.into_replica(), &config);
        let Handles { room, reports, outbox, stop, key } = handles;
        let status = reports.status.clone();
        let document = document.to_owned();
        let start = Start {
            config,
            role,
            key,
            token: None,
            document,
            room,
            reports,
            outbox,
            stop,
            first: None,
        };
        tokio::spawn(async move {
            let reason = drive(start, transport).await.reason;
            status.send_replace(Status::Closed { reason });
        });
        peer
    }

    /// The presence at the document: what this replica shows to the others, and what they show.
    /// Peers of one [`Room`] share it.
    pub fn presence<P: Serialize + DeserializeOwned>(&self) -> Presence<P> {
        self.room.presence()
    }

    /// The state of the connection, current and future.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// The events from now on. A slow receiver misses the oldest events.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Waits until the peer has acknowledged every change that was made on this side before the
    /// call, over as many reconnections as this takes.
    ///
    /// **An acknowledged change is on the peer's disk, if the peer keeps its document** with a
    /// [`Keeper`](exostate::Keeper): it survives a crash of the peer. Else it is in the peer's
    /// memory: in its document, and in the updates that it sends to others. Then a peer that crashes
    /// may lose it, unless this side or another replica still has it and reconnects. In both cases
    /// other replicas connected to the peer may not have the change yet. See the guide's page
    /// "Durability".
    ///
    /// If the peer's disk is slow, full or broken, `flush` waits, for as long as that takes. The
    /// connection stays, or is made again. Use a time-out if there is something else to do.
    ///
    /// # Errors
    /// [`LiveError::PeerFailed`]: a listener or watcher of the peer's document panicked at changes
    /// of this side, since the last call that reported it. The changes are in the peer's document,
    /// but the listener may not have done its work, such as writing them to a disk. The failure is
    /// reported once, as `fsync` does. It may belong to another peer's change.
    ///
    /// [`LiveError::ReadOnly`]: this side may only read
    /// ([`Rights::ReadOnly`](crate::Rights::ReadOnly), [`Config::only_reads`]), so the peer takes
    /// no changes. The application should not let its user edit then.
    ///
    /// [`LiveError::Closed`]: the connection has ended. The replica's next peer sends the changes
    /// that this peer did not take.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # #[derive(exostate::State, Clone, Debug, Default, PartialEq)]
    /// # struct Board { title: String }
    /// # let (left, right) = (exostate::Store::<Board>::new(), exostate::Store::<Board>::new());
    /// # use exostate_sync::{Config, Peer, Role, memory_pair};
    /// # let (here, there) = memory_pair(8);
    /// let peer = Peer::over(&left, "roadmap", here, Role::Initiator, Config::default());
    /// # let _other = Peer::over(&right, "roadmap", there, Role::Responder, Config::default());
    /// left.change(|board| board.title().set("Roadmap"))?;
    /// peer.flush().await?;
    /// assert_eq!(right.view().title, "Roadmap");
    /// # Ok(()) }
    /// ```
    pub async fn flush(&self) -> Result<(), LiveError> {
        let wanted = self.outbox.outbox.pushed();
        let told = self.failures_told.load(Ordering::Relaxed);
        let mut acknowledged = self.acknowledged.clone();
        let done =
            async { acknowledged.wait_for(|updates| *updates >= Some(wanted)).await.is_ok() };
        let mut only_reads = self.only_reads.clone();
        let refuses = async { only_reads.wait_for(|only_reads| *only_reads).await.is_ok() };
        let mut failed = self.failures.clone();
        let fails = async { failed.wait_for(|failures| *failures > told).await.is_ok() };
        tokio::select! {
            biased;
            // Failures come first, because a failure and its acknowledgement are known at the same
            // time.
            true = fails => {
                self.failures_told.fetch_max(*self.failures.borrow(), Ordering::Relaxed);
                Err(LiveError::PeerFailed)
            }
            true = done => Ok(()),
            true = refuses => Err(LiveError::ReadOnly),
            reason = self.closed() => Err(LiveError::Closed(reason)),
        }
    }

    /// Waits until both replicas are in sync, by the versions that they last announced. An edit
    /// made just before the call may still be in flight: to wait for an edit, use
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`LiveError::Closed`] or [`LiveError::Unrepaired`].
    pub async fn live(&self) -> Result<(), LiveError> {
        let mut status = self.status();
        let decided = status
            .wait_for(|status| {
                matches!(
                    status,
                    Status::Live
                        | Status::LiveAsOther { .. }
                        | Status::Unrepaired { .. }
                        | Status::Closed { .. }
                )
            })
            .await;
        match decided.as_deref() {
            Ok(Status::Closed { reason }) => Err(LiveError::Closed(reason.clone())),
            Ok(Status::Unrepaired { message }) => {
                Err(LiveError::Unrepaired { message: message.clone() })
            }
            Ok(_) => Ok(()),
            Err(_) => Err(LiveError::Closed(ended())),
        }
    }

    /// Waits until the connection has ended, and returns the reason.
    pub async fn closed(&self) -> CloseReason {
        let mut status = self.status();
        let closed = status.wait_for(|status| matches!(status, Status::Closed { .. })).await;
        match closed.as_deref() {
            Ok(Status::Closed { reason }) => reason.clone(),
            _ => ended(),
        }
    }

    /// Sends what the peer lacks and waits for its acknowledgement (for at most five seconds), ends the connection, and waits until
    /// the peer knows.
    pub async fn disconnect(self) -> CloseReason {
        self.stop.send_replace(Some(CloseReason::Local));
        self.closed().await
    }
}

/// The reason if the background task ended with its runtime.
fn ended() -> CloseReason {
    CloseReason::Lost { message: "the runtime was shut down".to_owned() }
}
