//! A replica's connection to one other replica.

use crate::config::Config;
use crate::driver::{Listening, Reports, Start, drive};
use crate::outbox::Outbox;
use crate::replica::IntoReplica;
use crate::session::{CloseReason, Event, Role, Session};
use crate::transport::Transport;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, oneshot, watch};

#[cfg(feature = "quic")]
use crate::session::CloseCode;
#[cfg(feature = "quic")]
use crate::ticket::{Fingerprint, Ticket, TicketError};
#[cfg(feature = "quic")]
use crate::transport::quic;

/// How a connection stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// The peer has not answered yet.
    Connecting,
    /// The two replicas differ, or may.
    CatchingUp {
        /// Bytes that have come of what this replica lacked.
        received: u64,
        /// Bytes of that in all; 0 while it is not known.
        total: u64,
    },
    /// Both have the same version, and said so.
    Live,
    /// Both have the same version and different contents: a replica id was used twice, or there is a bug. One of the two is about to
    /// take over the other's document; see [`Event::Repaired`].
    Diverged {
        /// This replica's digest.
        ours: [u8; 16],
        /// The peer's.
        theirs: [u8; 16],
    },
    /// The same, and nothing is being done about it.
    Unrepaired {
        /// Why not.
        message: String,
    },
    /// It is over; nothing follows.
    Closed {
        /// Why.
        reason: CloseReason,
    },
}

/// The two replicas did not become level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// The connection ended first.
    #[error("not level with the peer: {0}")]
    Closed(CloseReason),
    /// The versions are equal, the contents are not, and it cannot be helped.
    #[error("the contents differ although the versions are equal: {message}")]
    Unrepaired {
        /// Why it cannot.
        message: String,
    },
}

/// No connection came about.
#[cfg(feature = "quic")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The string is no ticket.
    #[error("the ticket is wrong")]
    Ticket(#[from] TicketError),
    /// The host's address cannot be found.
    #[error("no address found for `{host}`")]
    Resolve {
        /// The ticket's host.
        host: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// No socket can be opened here.
    #[error("no socket to connect from")]
    Socket(#[source] std::io::Error),
    /// This side's cryptography cannot be set up.
    #[error("the encryption cannot be set up")]
    Crypto(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server is another one than the ticket's.
    #[error("the server's certificate has the fingerprint {theirs}, the ticket says {ticket}")]
    WrongFingerprint {
        /// The ticket's fingerprint.
        ticket: Fingerprint,
        /// That of the certificate.
        theirs: Fingerprint,
    },
    /// The server cannot be reached, or refuses the connection.
    #[error("no connection to {host}:{port}")]
    Unreachable {
        /// The ticket's host.
        host: String,
        /// The ticket's port.
        port: u16,
        /// What the transport says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server has no such document.
    #[error("the server has no document named `{document}`")]
    UnknownDocument {
        /// The ticket's document.
        document: String,
    },
    /// The conversation ended at its start.
    #[error("the peer was reached, but the conversation about `{document}` did not begin")]
    Closed {
        /// The ticket's document.
        document: String,
        /// Why.
        #[source]
        reason: CloseReason,
    },
}

/// A replica's connection to one other replica, kept by tasks in the background.
///
/// Dropping it ends the connection after what is queued has left, without waiting for that; [`disconnect`](Self::disconnect) waits.
/// A connection that is lost is not opened again by itself: connect anew with the same replica, and it goes on where it was.
#[derive(Debug)]
#[must_use = "dropping a peer ends its connection"]
pub struct Peer {
    status: watch::Receiver<Status>,
    events: broadcast::Sender<Event>,
    acknowledged: watch::Receiver<u64>,
    outbox: Arc<Outbox>,
    stop: Option<oneshot::Sender<()>>,
}

impl Peer {
    /// Connects to the document that a ticket names, and returns once the peer has answered.
    ///
    /// # Errors
    /// One variant for each part that can be wrong; see [`ConnectError`].
    #[cfg(feature = "quic")]
    pub async fn connect<T>(replica: impl IntoReplica, ticket: T) -> Result<Self, ConnectError>
    where
        T: TryInto<Ticket>,
        TicketError: From<T::Error>,
    {
        Self::connect_with(replica, ticket, Config::default()).await
    }

    /// As [`connect`](Self::connect), with limits and intervals of one's own.
    #[cfg(feature = "quic")]
    pub async fn connect_with<T>(replica: impl IntoReplica, ticket: T, config: Config) -> Result<Self, ConnectError>
    where
        T: TryInto<Ticket>,
        TicketError: From<T::Error>,
    {
        let ticket = ticket.try_into().map_err(TicketError::from)?;
        let transport = quic::connect(&ticket, &config).await?;
        let document = ticket.document().to_owned();
        let peer = Self::over(replica, &document, transport, Role::Initiator, config);
        let mut status = peer.status();
        let answered = status.wait_for(|status| *status != Status::Connecting).await;
        match answered.as_deref() {
            Ok(Status::Closed { reason }) => Err(match reason.clone() {
                CloseReason::Remote { code: CloseCode::UnknownDocument, .. } => ConnectError::UnknownDocument { document },
                reason => ConnectError::Closed { document, reason },
            }),
            _ => Ok(peer),
        }
    }

    /// Talks about `document` over a connection that exists already. One side has to be the
    /// [`Role::Initiator`], the other the [`Role::Responder`]. Needs a tokio runtime with time enabled.
    ///
    /// ```
    /// # async fn example<S: exostate::State>(left: exostate::Store<S>, right: exostate::Store<S>) -> Result<(), exostate_sync::LiveError> {
    /// use exostate_sync::{Config, Peer, Role, memory_pair};
    ///
    /// let (here, there) = memory_pair(8);
    /// let peer = Peer::over(&left, "roadmap", here, Role::Initiator, Config::default());
    /// let _other = Peer::over(&right, "roadmap", there, Role::Responder, Config::default());
    /// peer.live().await?;
    /// # Ok(()) }
    /// ```
    pub fn over<T: Transport>(replica: impl IntoReplica, document: &str, transport: T, role: Role, config: Config) -> Self {
        let replica = replica.into_replica();
        let (stop, stopped) = oneshot::channel();
        let reports = Reports::new();
        let outbox = Listening::to(replica.as_ref(), &config);
        let peer = Self {
            status: reports.status.subscribe(),
            events: reports.events.clone(),
            acknowledged: reports.acknowledged.subscribe(),
            outbox: Arc::clone(&outbox.outbox),
            stop: Some(stop),
        };
        let session = Session::new(config.clone(), role, document, replica.as_ref(), Duration::ZERO);
        let start = Start { config, session, replica, reports, outbox, stop: stopped, first: None };
        let (sink, source) = transport.split();
        tokio::spawn(drive(start, sink, source));
        peer
    }

    /// How the connection stands, now and from now on.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// What happens from now on. A receiver that is slow to take events misses the oldest ones.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Waits until the peer has said to have every change that was made here before the call, while this connection lasts.
    ///
    /// # Errors
    /// The connection ended first. What it did not take is sent by the next one.
    pub async fn flush(&self) -> Result<(), LiveError> {
        let wanted = self.outbox.pushed();
        let mut acknowledged = self.acknowledged.clone();
        let done = async { acknowledged.wait_for(|updates| *updates >= wanted).await.is_ok() };
        tokio::select! {
            biased;
            true = done => Ok(()),
            reason = self.closed() => Err(LiveError::Closed(reason)),
        }
    }

    /// Waits until both replicas are level. An edit made before the call may be in flight still when the two were level before it:
    /// it is a statement about what both sides last announced.
    pub async fn live(&self) -> Result<(), LiveError> {
        let mut status = self.status();
        let decided = status.wait_for(|status| matches!(status, Status::Live | Status::Unrepaired { .. } | Status::Closed { .. })).await;
        match decided.as_deref() {
            Ok(Status::Closed { reason }) => Err(LiveError::Closed(reason.clone())),
            Ok(Status::Unrepaired { message }) => Err(LiveError::Unrepaired { message: message.clone() }),
            Ok(_) => Ok(()),
            Err(_) => Err(LiveError::Closed(ended())),
        }
    }

    /// Waits until the connection is over, and says why.
    pub async fn closed(&self) -> CloseReason {
        let mut status = self.status();
        let closed = status.wait_for(|status| matches!(status, Status::Closed { .. })).await;
        match closed.as_deref() {
            Ok(Status::Closed { reason }) => reason.clone(),
            _ => ended(),
        }
    }

    /// Sends what is queued (for at most five seconds), ends the connection and waits until the peer knows.
    pub async fn disconnect(mut self) -> CloseReason {
        if let Some(stop) = self.stop.take() {
            // Nobody listens any more if it is over already.
            let _ = stop.send(());
        }
        self.closed().await
    }
}

/// The task went away with its runtime.
fn ended() -> CloseReason {
    CloseReason::Lost { message: "the runtime was shut down".to_owned() }
}
