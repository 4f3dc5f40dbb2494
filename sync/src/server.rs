//! Serves documents. All connections to a document use the same replica, so what one peer sends
//! reaches the others.

use crate::access::{AccessRequest, Arrival, Denial, Rights};
use crate::config::Config;
use crate::driver::{Listening, Reports, Start, drive, stopped};
use crate::frame::{Frame, FrameError, Hello, fitting};
use crate::limits::{CLOSE_MESSAGE_BYTES_MAX, EVENTS_MAX, HELLO_TIMEOUT};
use crate::presence::{Presence, Room};
use crate::replica::IntoReplica;
use crate::session::{CloseCode, CloseReason, Role};
use crate::ticket::{Scheme, Ticket, TicketError, check_document};
use crate::transport::datagrams::Datagrams;
#[cfg(feature = "tls")]
use crate::transport::identity::Identity;
use crate::transport::{Connection, FrameSink, FrameSource, Transport, TransportError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

#[cfg(feature = "quic")]
mod accept;
mod access_hook;
mod departure;
#[cfg(feature = "quic")]
mod handshake_queue;
mod listen;
mod permits;

use access_hook::AccessHook;
pub use departure::Departure;
use departure::Report;
pub use listen::{ServerBuilder, ServerError};
use permits::{Permit, Permits};

/// A document cannot be served or named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The server has no document of that name.
    #[error("no document named `{document}`")]
    Unknown {
        /// The name.
        document: String,
    },
    /// There is already a document of that name.
    #[error("there are two documents named `{document}`")]
    Twice {
        /// The name.
        document: String,
    },
    /// The name or the host is not valid in a ticket.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// The server does not listen, or not for this scheme.
    #[error("the server does not listen{}", scheme.map(|scheme| format!(" for `{scheme}://`")).unwrap_or_default())]
    NotListening {
        /// The scheme that was asked for, if any.
        scheme: Option<Scheme>,
    },
}

/// The documents of a server, by name.
#[derive(Clone, Default)]
#[must_use]
pub struct Documents(BTreeMap<String, Room>);

impl Documents {
    /// No documents.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a document. Its name has 1 to 255 bytes.
    ///
    /// # Errors
    /// The name is not valid, or there is already a document of that name.
    pub fn with(mut self, name: &str, replica: impl IntoReplica) -> Result<Self, DocumentError> {
        check_document(name)?;
        if self.0.insert(name.to_owned(), Room::new(replica)).is_some() {
            return Err(DocumentError::Twice { document: name.to_owned() });
        }
        Ok(self)
    }
}

impl std::fmt::Debug for Documents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The state that all connections of a server share.
#[derive(Debug)]
struct Shared {
    documents: Documents,
    config: Config,
    access_hook: AccessHook,
    /// Tells all conversations when to end, and why. A receiver exists until its conversation has
    /// ended.
    stop: watch::Sender<Option<CloseReason>>,
    permits: Arc<Permits>,
    departures: broadcast::Sender<Departure>,
}

/// Serves documents until it is [shut down](Self::shutdown), or dropped, which does the same
/// without waiting.
///
/// ```no_run
/// # #[cfg(all(feature = "quic", feature = "websocket"))]
/// # async fn example<S: exostate::State>(
/// #     store: exostate::Store<S>,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// use exostate_sync::{Documents, Scheme, Server};
///
/// let documents = Documents::new().with("roadmap", &store)?;
/// let server = Server::builder(documents)
///     .quic("[::]:4433".parse()?)
///     .websocket("[::]:8080".parse()?)
///     .bind()
///     .await?;
/// let websocket = server.ticket_over(Scheme::WebSocket, "roadmap")?;
/// println!("{} or {websocket}", server.ticket("roadmap")?);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "dropping a server ends it"]
pub struct Server {
    shared: Arc<Shared>,
    listeners: Vec<listen::Listener>,
    #[cfg(feature = "tls")]
    identity: Identity,
}

impl Server {
    /// Configures where a server of these documents listens, and how.
    pub fn builder(documents: Documents) -> ServerBuilder {
        ServerBuilder::new(documents)
    }

    /// Listens for QUIC on a UDP address with a new identity. Port 0 stands for any free port.
    ///
    /// # Errors
    /// The server cannot listen on the address, or the identity cannot be made.
    #[cfg(feature = "quic")]
    pub async fn bind(addr: SocketAddr, documents: Documents) -> Result<Self, ServerError> {
        Self::builder(documents).quic(addr).bind().await
    }

    /// The address at which the server listens for this scheme.
    pub fn local_addr(&self, scheme: Scheme) -> Option<SocketAddr> {
        self.listeners
            .iter()
            .find(|listener| listener.scheme == scheme)
            .map(|listener| listener.addr)
    }

    /// The server's key and certificate.
    #[cfg(feature = "tls")]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// SHA-256 of the certificate that the server shows to WebTransport clients now, and of the
    /// next one. A browser's `serverCertificateHashes` takes them. They are valid for at least six
    /// days; ask again after that. Empty if the server does not listen for WebTransport.
    #[cfg(feature = "webtransport")]
    pub fn certificate_hashes(&self) -> Vec<crate::ticket::Fingerprint> {
        let rotations = self.listeners.iter().filter_map(|listener| listener.rotation.as_ref());
        rotations.flat_map(|rotation| rotation.hashes()).collect()
    }

    /// A ticket for a document, over the first scheme for which the server listens. If the server
    /// listens on every address, the ticket names the loopback address: see [`Ticket::with_host`].
    ///
    /// # Errors
    /// The server has no such document, or does not listen.
    pub fn ticket(&self, document: &str) -> Result<Ticket, DocumentError> {
        self.ticket_at(self.listeners.first(), None, document)
    }

    /// As [`ticket`](Self::ticket), over this scheme.
    ///
    /// # Errors
    /// The server has no such document, or does not listen for this scheme.
    pub fn ticket_over(&self, scheme: Scheme, document: &str) -> Result<Ticket, DocumentError> {
        self.ticket_at(
            self.listeners.iter().find(|listener| listener.scheme == scheme),
            Some(scheme),
            document,
        )
    }

    fn ticket_at(
        &self,
        listener: Option<&listen::Listener>,
        scheme: Option<Scheme>,
        document: &str,
    ) -> Result<Ticket, DocumentError> {
        let listener = listener.ok_or(DocumentError::NotListening { scheme })?;
        if !self.shared.documents.0.contains_key(document) {
            return Err(DocumentError::Unknown { document: document.to_owned() });
        }
        let host = match listener.addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Ok(Ticket::new(
            listener.scheme,
            &host.to_string(),
            listener.addr.port(),
            document,
            listener.fingerprint,
        )?)
    }

    /// The presence at a document: what the server itself shows, and who is present.
    ///
    /// # Errors
    /// The server has no such document.
    pub fn presence<P: Serialize + DeserializeOwned>(
        &self,
        document: &str,
    ) -> Result<Presence<P>, DocumentError> {
        let room = self.shared.documents.0.get(document);
        room.map(Room::presence)
            .ok_or_else(|| DocumentError::Unknown { document: document.to_owned() })
    }

    /// Reports every conversation that ends from now on: with which peer, and why. Use it to log
    /// peers that break the protocol or send updates that are refused. A slow receiver misses all
    /// but the last 256 reports.
    pub fn departures(&self) -> broadcast::Receiver<Departure> {
        self.shared.departures.subscribe()
    }

    /// Serves a connection that the application has made. Needs a tokio runtime. A connection
    /// beyond the server's limit is dropped.
    pub fn serve<C: Connection>(&self, connection: C) {
        self.shared.serve(connection);
    }

    /// Sends every peer what it lacks (for at most five seconds), tells all peers that the server
    /// shuts down, and waits until they know. After that the addresses are free: another server
    /// can listen on them at once.
    pub async fn shutdown(mut self) {
        self.end();
        self.shared.stop.closed().await;
        for listener in &mut self.listeners {
            listener.free().await;
        }
    }

    fn end(&self) {
        self.listeners.iter().for_each(|listener| listener.accepting.abort());
        self.shared.stop.send_replace(Some(CloseReason::Unavailable));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn new(documents: Documents, config: Config, access_hook: AccessHook) -> Arc<Self> {
        let permits = Permits::new(config.connections_max, config.connections_per_address_max);
        let departures = broadcast::Sender::new(EVENTS_MAX);
        Arc::new(Self {
            documents,
            config,
            access_hook,
            stop: watch::Sender::new(None),
            permits,
            departures,
        })
    }

    /// A permit for one more connection from this address, if one is free.
    #[cfg(feature = "tls")]
    #[allow(
        clippy::disallowed_methods,
        reason = "the code that accepts connections reads the clock, so that the permits need none"
    )]
    fn permit_from(&self, from: SocketAddr, proved: bool) -> Option<Permit> {
        self.permits.take_from(from.ip(), proved, std::time::Instant::now())
    }

    fn serve<C: Connection>(self: &Arc<Self>, connection: C) {
        if let Some(permit) = self.permits.take() {
            tokio::spawn(serve(connection, Arc::clone(self), permit, Arrival::default()));
        }
    }

    /// The settings of a conversation with a peer, or the denial.
    async fn admit(&self, request: AccessRequest) -> Result<Config, Denial> {
        let config = self.config.clone();
        Ok(match self.access_hook.ask(request).await? {
            Rights::ReadOnly => config.read_only(),
            Rights::ReadWrite => config,
        })
    }
}

/// Serves the streams that a peer opens on its connection. The connection is closed after it has
/// had no open stream for `HELLO_TIMEOUT`.
async fn serve<C: Connection>(
    connection: C,
    shared: Arc<Shared>,
    _permit: Permit,
    arrival: Arrival,
) {
    let arrival = Arc::new(arrival);
    let mut stop = shared.stop.subscribe();
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = stopped(&mut stop) => break,
            Some(_) = streams.join_next(), if !streams.is_empty() => {}
            accepted = connection.accept() => match accepted {
                Some(transport) => {
                    streams.spawn(converse(transport, Arc::clone(&shared), Arc::clone(&arrival)));
                }
                None => break,
            },
            () = sleep(HELLO_TIMEOUT), if streams.is_empty() => break,
        }
    }
    // The sessions end by themselves, so that they still apply what has arrived.
    while streams.join_next().await.is_some() {}
    connection.close().await;
}

/// Reads which document a transport is about, and serves it.
async fn converse<T: Transport>(mut transport: T, shared: Arc<Shared>, arrival: Arc<Arrival>) {
    let report = Report { to: shared.departures.clone(), address: arrival.address };
    let mut stop = shared.stop.subscribe();
    let datagrams = transport.datagrams();
    let (mut sink, mut source) = transport.split();
    let asked = tokio::select! {
        biased;
        _ = stopped(&mut stop) => Err(CloseReason::Unavailable),
        first = timeout(HELLO_TIMEOUT, source.recv()) => asked_for(first, &shared.config),
    };
    let (first, hello) = match asked {
        Ok(asked) => asked,
        Err(reason) => {
            refuse(&mut sink, reason.code(), &reason.to_string()).await;
            return report.tell(None, None, reason);
        }
    };
    let document = hello.document;
    let request = AccessRequest::new(&document, hello.token, &arrival);
    let admitted = tokio::select! {
        biased;
        _ = stopped(&mut stop) => Err(CloseReason::Unavailable),
        admitted = shared.admit(request) => admitted.map_err(CloseReason::Denied),
    };
    let config = match admitted {
        Ok(config) => config,
        Err(reason) => {
            let message = if let CloseReason::Denied(denial) = &reason {
                denial.message().to_owned()
            } else {
                reason.to_string()
            };
            refuse(&mut sink, reason.code(), &message).await;
            return report.tell(Some(document), Some(hello.replica), reason);
        }
    };
    let Some(room) = shared.documents.0.get(&document) else {
        let message = DocumentError::Unknown { document: document.clone() }.to_string();
        refuse(&mut sink, Some(CloseCode::UnknownDocument), &message).await;
        let reason = CloseReason::UnknownDocument { document: document.clone() };
        return report.tell(Some(document), None, reason);
    };
    let room = room.clone();
    let outbox = Listening::to(&room, &config);
    let reports = Reports::to_nobody();
    let name = document.clone();
    // The key is empty: a server never reconnects to a client, so clients need not recognise it.
    let key = [0; 16];
    let start = Start {
        config,
        role: Role::Responder,
        key,
        token: None,
        document,
        room,
        reports,
        outbox,
        stop,
        first: Some(first),
    };
    let ended = drive(start, Halves { sink, source, datagrams }).await;
    report.tell(Some(name), ended.peer, ended.reason);
}

/// The first frame and the `Hello` in it, which names the document.
fn asked_for(
    first: Result<FirstFrame, Elapsed>,
    config: &Config,
) -> Result<(Vec<u8>, Hello), CloseReason> {
    let lost = |message: &str| CloseReason::Lost { message: message.to_owned() };
    let first = match first {
        Ok(Ok(Some(first))) => first,
        Ok(Ok(None)) => return Err(lost("it ended without a hello")),
        Ok(Err(TransportError::Frame(error))) => return Err(CloseReason::Protocol(error)),
        Ok(Err(error)) => return Err(lost(&error.to_string())),
        Err(_) => return Err(CloseReason::TimedOut { after: HELLO_TIMEOUT }),
    };
    match Frame::decode(&first, config.frame_bytes_max)? {
        Frame::Hello(hello) => Ok((first, hello)),
        _ => Err(CloseReason::Protocol(FrameError::Malformed { at: 0, expected: "a hello" })),
    }
}

type FirstFrame = Result<Option<Vec<u8>>, TransportError>;

/// A transport made of the two halves of another one.
struct Halves<W, R> {
    sink: W,
    source: R,
    datagrams: Option<Datagrams>,
}

impl<W: FrameSink, R: FrameSource> Transport for Halves<W, R> {
    type Sink = W;
    type Source = R;

    fn datagrams(&mut self) -> Option<Datagrams> {
        self.datagrams.take()
    }

    fn split(self) -> (W, R) {
        (self.sink, self.source)
    }
}

/// Sends a `Close` with the reason, if there is a code for it.
async fn refuse(sink: &mut impl FrameSink, code: Option<CloseCode>, message: &str) {
    let Some(code) = code else { return };
    let message = fitting(message, CLOSE_MESSAGE_BYTES_MAX).to_owned();
    let close = Frame::Close { code: code.to_u64(), message }.encode();
    let refusing = async {
        if sink.send(close).await.is_ok() {
            // Fails only if the peer is gone.
            let _ = sink.finish().await;
        }
    };
    // A peer that reads nothing is dropped.
    let _ = timeout(HELLO_TIMEOUT, refusing).await;
}
