//! Serves documents over QUIC. A document's connections all hang on one replica, so that what one peer sends reaches the others.

use crate::config::Config;
use crate::driver::{Listening, Reports, Start, drive};
use crate::frame::Frame;
use crate::limits::{CLOSE_MESSAGE_BYTES_MAX, HELLO_TIMEOUT, INCOMING_MAX};
use crate::replica::{IntoReplica, Replica};
use crate::session::{CloseCode, Role, Session};
use crate::ticket::{Ticket, TicketError, check_document};
use crate::transport::identity::{Identity, IdentityError};
use crate::transport::quic::{Quic, QuicSink, server_config};
use crate::transport::{FrameSink, FrameSource, Transport, TransportError};
use quinn::{Endpoint, Incoming, VarInt};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// A document that cannot be served or named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The server has none of that name.
    #[error("no document named `{document}`")]
    Unknown {
        /// The name.
        document: String,
    },
    /// There is one of that name already.
    #[error("there are two documents named `{document}`")]
    Twice {
        /// The name.
        document: String,
    },
    /// The name, or the host, fits in no ticket.
    #[error(transparent)]
    Ticket(#[from] TicketError),
}

/// The server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// No certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The identity's parts do not fit, or a time-out is too long for QUIC.
    #[error("the encryption cannot be set up")]
    Crypto(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The documents of a server, by name.
#[derive(Clone, Default)]
#[must_use]
pub struct Documents(BTreeMap<String, Arc<dyn Replica>>);

impl Documents {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more. Its name has 1 to 255 bytes.
    pub fn with(mut self, name: &str, replica: impl IntoReplica) -> Result<Self, DocumentError> {
        check_document(name)?;
        if self.0.insert(name.to_owned(), replica.into_replica()).is_some() {
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

#[derive(Debug)]
struct Shared {
    documents: Documents,
    config: Config,
}

/// Serves documents until it is dropped, which ends its connections abruptly, or [shut down](Self::shutdown).
#[derive(Debug)]
#[must_use = "dropping a server ends it"]
pub struct Server {
    endpoint: Endpoint,
    local_addr: SocketAddr,
    identity: Identity,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Listens on a UDP address (port 0: any free one) with a new identity.
    pub async fn bind(addr: SocketAddr, documents: Documents) -> Result<Self, ServerError> {
        Self::bind_with(addr, documents, Identity::generate()?, Config::default()).await
    }

    /// As [`bind`](Self::bind), with an identity that was kept, and limits and intervals of one's own.
    #[allow(clippy::unused_async, reason = "it needs a runtime, and the signature should say so")]
    pub async fn bind_with(addr: SocketAddr, documents: Documents, identity: Identity, config: Config) -> Result<Self, ServerError> {
        let tls = server_config(&identity, &config).map_err(ServerError::Crypto)?;
        let bind = |source| ServerError::Bind { addr, source };
        let endpoint = Endpoint::server(tls, addr).map_err(bind)?;
        let local_addr = endpoint.local_addr().map_err(bind)?;
        let shared = Arc::new(Shared { documents, config });
        let accepting = tokio::spawn(accept(endpoint.clone(), Arc::clone(&shared)));
        Ok(Self { endpoint, local_addr, identity, shared, accepting })
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Its key and certificate.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// A ticket for one of its documents. A server that listens on every address names the loopback one: see [`Ticket::with_host`].
    pub fn ticket(&self, document: &str) -> Result<Ticket, DocumentError> {
        if !self.shared.documents.0.contains_key(document) {
            return Err(DocumentError::Unknown { document: document.to_owned() });
        }
        let host = match self.local_addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let (host, port) = (host.to_string(), self.local_addr.port());
        Ok(Ticket::new(&host, port, document, self.identity.fingerprint())?)
    }

    /// Ends every connection, tells the peers, and waits until they know.
    pub async fn shutdown(self) {
        self.accepting.abort();
        self.endpoint.close(VarInt::from_u32(0), b"shutting down");
        self.endpoint.wait_idle().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        self.endpoint.close(VarInt::from_u32(0), b"gone");
    }
}

async fn accept(endpoint: Endpoint, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        while connections.try_join_next().is_some() {}
        // Under load an address has to prove itself before it costs anything.
        if connections.len() >= INCOMING_MAX / 2 && !incoming.remote_address_validated() {
            // An error gives the attempt back, which is refused by dropping it.
            let _ = incoming.retry();
            continue;
        }
        connections.spawn(serve(incoming, Arc::clone(&shared)));
    }
}

async fn serve(incoming: Incoming, shared: Arc<Shared>) {
    let Ok(connection) = incoming.await else {
        return;
    };
    let mut streams = JoinSet::new();
    while let Ok((send, recv)) = connection.accept_bi().await {
        while streams.try_join_next().is_some() {}
        let quic = Quic::accepted(send, recv, &shared.config);
        streams.spawn(converse(quic, Arc::clone(&shared)));
    }
    // Lets the sessions find out by themselves, so that what has arrived is still applied.
    while streams.join_next().await.is_some() {}
}

/// Learns which document a stream is about, and serves it.
async fn converse(quic: Quic, shared: Arc<Shared>) {
    let (mut sink, mut source) = quic.split();
    let first = match timeout(HELLO_TIMEOUT, source.recv()).await {
        Ok(Ok(Some(first))) => first,
        Ok(Err(TransportError::Frame(error))) => {
            return refuse(&mut sink, CloseCode::Protocol, &error.to_string()).await;
        }
        Ok(_) => return,
        Err(_) => return refuse(&mut sink, CloseCode::TimedOut, "no hello came").await,
    };
    let document = match Frame::decode(&first, shared.config.frame_bytes_max) {
        Ok(Frame::Hello(hello)) => hello.document,
        Ok(_) => return refuse(&mut sink, CloseCode::Protocol, "no hello came first").await,
        Err(error) => return refuse(&mut sink, CloseCode::Protocol, &error.to_string()).await,
    };
    let Some(replica) = shared.documents.0.get(&document) else {
        let message = DocumentError::Unknown { document }.to_string();
        return refuse(&mut sink, CloseCode::UnknownDocument, &message).await;
    };
    let (replica, config) = (Arc::clone(replica), shared.config.clone());
    let outbox = Listening::to(replica.as_ref(), &config);
    let session = Session::new(config.clone(), Role::Responder, &document, replica.as_ref(), Duration::ZERO);
    let (_stop, stop) = oneshot::channel();
    let start = Start { config, session, replica, reports: Reports::new(), outbox, stop, first: Some(first) };
    drive(start, sink, source).await;
}

async fn refuse(sink: &mut QuicSink, code: CloseCode, message: &str) {
    let message: String = message.chars().take(CLOSE_MESSAGE_BYTES_MAX / 4).collect();
    let close = Frame::Close { code: code.to_u64(), message }.encode();
    if sink.send(close).await.is_ok() {
        // Fails only if the peer is gone.
        let _ = sink.finish().await;
    }
}
