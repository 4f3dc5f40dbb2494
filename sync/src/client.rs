//! Connections to servers. A ticket names the server, and the documents of one server share a
//! connection.

use crate::config::Config;
use crate::keep::{Kept, keep};
use crate::limits::{CONNECT_TIMEOUT, STREAM_TIMEOUT, STREAMS_MAX};
use crate::peer::{Peer, Status};
use crate::replica::IntoReplica;
use crate::session::{CloseCode, CloseReason};
use crate::ticket::{Fingerprint, Scheme, Ticket, TicketError};
use crate::transport::link::{Joined, Link};
use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, PoisonError, Weak};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// The connection was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The string is not a ticket.
    #[error("the ticket is wrong")]
    Ticket(#[from] TicketError),
    /// The crate was built without the feature for this transport.
    #[error("`{scheme}://` needs exostate-sync's feature `{feature}`")]
    NotBuilt {
        /// The ticket's scheme.
        scheme: Scheme,
        /// The feature.
        feature: &'static str,
    },
    /// The host has no address, or the lookup failed.
    #[error("no address found for `{host}`")]
    Resolve {
        /// The ticket's host.
        host: String,
        /// The error of the operating system.
        #[source]
        source: std::io::Error,
    },
    /// No local socket can be opened.
    #[error("no socket to connect from")]
    Socket(#[source] std::io::Error),
    /// The encryption on this side cannot be set up.
    #[error("the encryption cannot be set up")]
    Crypto(#[source] Box<dyn Error + Send + Sync>),
    /// The server's certificate is not the one that the ticket names.
    #[error("the server's certificate has the fingerprint {theirs}, the ticket says {ticket}")]
    WrongFingerprint {
        /// The ticket's fingerprint.
        ticket: Fingerprint,
        /// The fingerprint of the server's certificate.
        theirs: Fingerprint,
    },
    /// The server cannot be reached, or refuses the connection.
    #[error("no connection to {host}:{port}")]
    Unreachable {
        /// The ticket's host.
        host: String,
        /// The ticket's port.
        port: u16,
        /// The error of the transport.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The server has no such document.
    #[error("the server has no document named `{document}`")]
    UnknownDocument {
        /// The ticket's document.
        document: String,
    },
    /// The server denies this side the document: see
    /// [`ServerBuilder::authorize`](crate::ServerBuilder::authorize).
    #[error("the server denies `{document}`: {}", crate::session::OneLine(message))]
    Denied {
        /// The ticket's document.
        document: String,
        /// [`CloseCode::Unauthenticated`] or [`CloseCode::Forbidden`].
        code: CloseCode,
        /// The server's message.
        message: String,
    },
    /// The conversation ended before the document was in use.
    #[error("the peer was reached, but the conversation about `{document}` did not begin")]
    Closed {
        /// The ticket's document.
        document: String,
        /// Why it ended.
        #[source]
        reason: CloseReason,
    },
}

impl ConnectError {
    pub(crate) fn unreachable(ticket: &Ticket, source: Box<dyn Error + Send + Sync>) -> Self {
        Self::Unreachable { host: ticket.host().to_owned(), port: ticket.port(), source }
    }

    /// The error of a failed handshake. It is [`WrongFingerprint`](Self::WrongFingerprint) if the
    /// server showed another certificate than the ticket's.
    pub(crate) fn unproved(
        ticket: &Ticket,
        seen: &crate::transport::tls::Seen,
        source: Box<dyn Error + Send + Sync>,
    ) -> Self {
        match (ticket.fingerprint(), seen.get()) {
            (Some(ticket), Some(&theirs)) if ticket != theirs => {
                Self::WrongFingerprint { ticket, theirs }
            }
            _ => Self::unreachable(ticket, source),
        }
    }

    /// Whether every further attempt would fail in the same way.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Ticket(_)
            | Self::NotBuilt { .. }
            | Self::Crypto(_)
            | Self::WrongFingerprint { .. }
            | Self::UnknownDocument { .. }
            | Self::Denied { .. } => true,
            Self::Resolve { .. } | Self::Socket(_) | Self::Unreachable { .. } => false,
            Self::Closed { reason, .. } => reason.is_final(),
        }
    }

    fn ended(document: String, reason: CloseReason) -> Self {
        match reason {
            CloseReason::Remote { code: CloseCode::UnknownDocument, .. } => {
                Self::UnknownDocument { document }
            }
            CloseReason::Remote {
                code: code @ (CloseCode::Unauthenticated | CloseCode::Forbidden),
                message,
            } => Self::Denied { document, code, message },
            reason => Self::Closed { document, reason },
        }
    }
}

/// Connects replicas to servers. Documents of one server share a connection, which ends with the
/// last document. A connection has room for a limited number of documents; a further connection is
/// opened only if all others are full.
///
/// A client is a handle: clones share the connections.
///
/// ```no_run
/// # async fn example<S: exostate::State>(
/// #     roadmap: exostate::Store<S>,
/// #     minutes: exostate::Store<S>,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// use exostate_sync::{Client, Config};
///
/// let client = Client::new(Config::default());
/// let roadmap = client.connect(&roadmap, "exo://host:4433/roadmap#5f3c…").await?;
/// let minutes = client.connect(&minutes, "exo://host:4433/minutes#5f3c…").await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Client {
    config: Config,
    links: Arc<std::sync::Mutex<HashMap<Endpoint, OpenLinks>>>,
}

/// The key that identifies a server.
type Endpoint = (Scheme, String, u16, Option<Fingerprint>);

/// The connections to one server, the newest last. The lock is held while a document is opened on
/// one of them, or on a new one.
type OpenLinks = Arc<Mutex<Vec<Weak<Link>>>>;

impl Client {
    /// A client without connections.
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    /// Connects to the document that a ticket names, and returns once the server has answered. From
    /// then on the connection is opened again whenever it is lost.
    ///
    /// # Errors
    /// One variant for each part that can be wrong; see [`ConnectError`].
    pub async fn connect<T>(
        &self,
        replica: impl IntoReplica,
        ticket: T,
    ) -> Result<Peer, ConnectError>
    where
        T: TryInto<Ticket>,
        TicketError: From<T::Error>,
    {
        let ticket = ticket.try_into().map_err(TicketError::from)?;
        let document = ticket.document().to_owned();
        let first = self.open(&ticket).await?;
        let peer = self.keep(replica, ticket, Some(first));
        let mut status = peer.status();
        let answered = status.wait_for(|status| *status != Status::Connecting).await;
        match answered.as_deref() {
            Ok(Status::Closed { reason } | Status::Offline { reason, .. }) => {
                Err(ConnectError::ended(document, reason.clone()))
            }
            _ => Ok(peer),
        }
    }

    /// As [`connect`](Self::connect), but returns at once and connects in the background, also when
    /// the application starts offline. Needs a tokio runtime.
    ///
    /// # Errors
    /// The string is not a ticket.
    pub fn join<T>(&self, replica: impl IntoReplica, ticket: T) -> Result<Peer, TicketError>
    where
        T: TryInto<Ticket>,
        TicketError: From<T::Error>,
    {
        Ok(self.keep(replica, ticket.try_into().map_err(TicketError::from)?, None))
    }

    fn keep(&self, replica: impl IntoReplica, ticket: Ticket, first: Option<Joined>) -> Peer {
        let (peer, handles) = Peer::new(replica.into_replica(), &self.config);
        tokio::spawn(keep(
            Kept { client: self.clone(), config: self.config.clone(), ticket, handles },
            first,
        ));
        peer
    }

    /// A transport for the ticket's document, on an existing connection or on a new one. The
    /// time-out includes the wait for other documents that connect to the same server.
    pub(crate) async fn open(&self, ticket: &Ticket) -> Result<Joined, ConnectError> {
        let patience = CONNECT_TIMEOUT.min(self.config.idle_timeout);
        let slot = self.slot(ticket);
        let opening = timeout(patience, self.open_in(&slot, ticket)).await;
        opening.unwrap_or_else(|_| {
            Err(ConnectError::unreachable(ticket, format!("no answer for {patience:?}").into()))
        })
    }

    async fn open_in(&self, slot: &OpenLinks, ticket: &Ticket) -> Result<Joined, ConnectError> {
        let mut links = slot.lock().await;
        if let Some(joined) = reuse(&mut links).await {
            return Ok(joined);
        }
        let link = Arc::new(open_link(ticket, &self.config).await?);
        let joined =
            link.open().await.map_err(|source| ConnectError::unreachable(ticket, source.into()))?;
        // The link is stored last, so that a link on which nothing can be opened is not stored.
        links.push(Arc::downgrade(&link));
        Ok(joined)
    }

    fn slot(&self, ticket: &Ticket) -> OpenLinks {
        let endpoint =
            (ticket.scheme(), ticket.host().to_owned(), ticket.port(), ticket.fingerprint());
        // A panic elsewhere cannot leave the map half changed.
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|_, slot| {
            Arc::strong_count(slot) > 1
                || slot.try_lock().is_ok_and(|links| links.iter().any(is_open))
        });
        Arc::clone(links.entry(endpoint).or_default())
    }
}

fn is_open(link: &Weak<Link>) -> bool {
    link.strong_count() > 0
}

/// Opens a transport on an open connection that has room for it. A connection that has room by our
/// count but opens no transport is lost or almost lost. It is removed from the list: its open
/// documents continue, and no further document is opened on it.
async fn reuse(links: &mut Vec<Weak<Link>>) -> Option<Joined> {
    links.retain(is_open);
    let mut at = 0;
    while let Some(link) = links.get(at) {
        // Each document holds a reference to its connection.
        let is_full = link.strong_count() >= STREAMS_MAX as usize;
        match link.upgrade() {
            Some(_) if is_full => at += 1,
            Some(link) => match timeout(STREAM_TIMEOUT, link.open()).await {
                Ok(Ok(joined)) => return Some(joined),
                Ok(Err(_)) | Err(_) => drop(links.remove(at)),
            },
            None => drop(links.remove(at)),
        }
    }
    None
}

async fn open_link(ticket: &Ticket, config: &Config) -> Result<Link, ConnectError> {
    #[allow(unused_variables, reason = "unused if every transport is built in")]
    let not_built =
        |feature| Err::<Link, _>(ConnectError::NotBuilt { scheme: ticket.scheme(), feature });
    match ticket.scheme() {
        #[cfg(feature = "quic")]
        Scheme::Quic => crate::transport::quic::connect(ticket, config).await.map(Link::Quic),
        #[cfg(not(feature = "quic"))]
        Scheme::Quic => not_built("quic"),
        #[cfg(feature = "websocket")]
        Scheme::WebSocket | Scheme::WebSocketTls => {
            crate::transport::websocket::connect(ticket, config).await.map(Link::WebSocket)
        }
        #[cfg(not(feature = "websocket"))]
        Scheme::WebSocket | Scheme::WebSocketTls => not_built("websocket"),
        #[cfg(feature = "webtransport")]
        Scheme::WebTransport => {
            crate::transport::webtransport::connect(ticket, config).await.map(Link::WebTransport)
        }
        #[cfg(not(feature = "webtransport"))]
        Scheme::WebTransport => not_built("webtransport"),
    }
}

/// The address of a ticket's host.
pub(crate) async fn resolve(ticket: &Ticket) -> Result<std::net::SocketAddr, ConnectError> {
    let wrap = |source| ConnectError::Resolve { host: ticket.host().to_owned(), source };
    let found = tokio::net::lookup_host((ticket.host(), ticket.port())).await;
    let none = || wrap(std::io::ErrorKind::NotFound.into());
    found.map_err(wrap)?.next().ok_or_else(none)
}
