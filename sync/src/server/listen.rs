//! Where a server listens.

#[cfg(feature = "quic")]
use super::accept;
use super::{Documents, Place, Report, Server, Shared};
use crate::config::Config;
#[cfg(any(feature = "websocket", feature = "webtransport"))]
use crate::config::ConfigError;
use crate::limits::HELLO_TIMEOUT;
use crate::replica::Replica;
use crate::ticket::{Fingerprint, Scheme};
#[cfg(feature = "tls")]
use crate::transport::identity::{Identity, IdentityError};
#[cfg(any(feature = "websocket", feature = "webtransport"))]
use crate::transport::origins::Origins;
#[cfg(feature = "websocket")]
use crate::transport::websocket::Accepted;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

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
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The identity's parts do not fit, or a time-out is too long for QUIC.
    #[error("the encryption cannot be set up")]
    Crypto(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Where a server will listen, and how. Port 0 is any free one.
#[derive(Debug)]
#[must_use]
pub struct ServerBuilder {
    documents: Documents,
    config: Config,
    listen: Vec<(Scheme, SocketAddr)>,
    guests: Guests,
    #[cfg(feature = "tls")]
    identity: Option<Identity>,
}

/// Whom the addresses are for.
#[derive(Clone, Debug, Default)]
struct Guests {
    /// Yjs clients, too.
    yjs: bool,
    /// Web pages of these origins.
    #[cfg(any(feature = "websocket", feature = "webtransport"))]
    origins: Origins,
}

#[cfg(feature = "webtransport")]
pub(super) type WebTransportEndpoint = Arc<wtransport::Endpoint<wtransport::endpoint::endpoint_side::Server>>;

/// One address.
pub(super) struct Listener {
    pub(super) scheme: Scheme,
    pub(super) addr: SocketAddr,
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) accepting: JoinHandle<()>,
    #[cfg(feature = "webtransport")]
    pub(super) rotation: Option<Arc<crate::transport::rotation::Rotation>>,
    #[cfg(feature = "webtransport")]
    pub(super) sessions: Option<WebTransportEndpoint>,
    #[cfg(feature = "quic")]
    pub(super) endpoint: Option<quinn::Endpoint>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("scheme", &self.scheme).field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl ServerBuilder {
    pub(super) fn new(documents: Documents) -> Self {
        Self {
            documents,
            config: Config::default(),
            listen: Vec::new(),
            guests: Guests::default(),
            #[cfg(feature = "tls")]
            identity: None,
        }
    }

    /// Limits and intervals of one's own.
    pub fn config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// An identity that was kept, instead of a new one.
    #[cfg(feature = "tls")]
    pub fn identity(self, identity: Identity) -> Self {
        Self { identity: Some(identity), ..self }
    }

    /// Listens for QUIC on a UDP address.
    #[cfg(feature = "quic")]
    pub fn quic(self, addr: SocketAddr) -> Self {
        self.listen(Scheme::Quic, addr)
    }

    /// Listens for WebSocket without encryption on a TCP address: behind a proxy that encrypts, or in a trusted network. Web pages need
    /// [`allow_origin`](Self::allow_origin).
    #[cfg(feature = "websocket")]
    pub fn websocket(self, addr: SocketAddr) -> Self {
        self.listen(Scheme::WebSocket, addr)
    }

    /// Listens for WebSocket over TLS on a TCP address.
    #[cfg(feature = "websocket")]
    pub fn websocket_tls(self, addr: SocketAddr) -> Self {
        self.listen(Scheme::WebSocketTls, addr)
    }

    /// Listens for WebTransport on a UDP address, for browsers too: see [`allow_origin`](Self::allow_origin). It shows certificates of its own that are valid for days, as browsers
    /// demand ([`Server::certificate_hashes`]), signed by the identity, by which tickets know the server.
    #[cfg(feature = "webtransport")]
    pub fn webtransport(self, addr: SocketAddr) -> Self {
        self.listen(Scheme::WebTransport, addr)
    }

    /// Lets Yjs clients in at the WebSocket addresses: y-websocket's provider, unchanged, with a document's name as its room. It takes
    /// documents on the backend [`Yrs`](exostate::Yrs), whose layout is described in `docs/layout.md`. Those in web pages need
    /// [`allow_origin`](Self::allow_origin).
    #[cfg(feature = "websocket")]
    pub fn yjs(mut self) -> Self {
        self.guests.yjs = true;
        self
    }

    /// Lets pages of this origin connect over WebSocket (as Yjs clients too) and WebTransport: `https://app.example`, or
    /// `http://localhost:5173`, as a browser writes it, without a path or a port that the scheme implies. May be called several times.
    ///
    /// A browser opens such connections for every page that the user visits, to every server that it can reach: also to one on the user's
    /// own machine or network. So pages of other origins are refused (403), those of the server's own host among them. What is no
    /// browser names no origin, and is let in.
    ///
    /// ```
    /// # #[cfg(feature = "websocket")]
    /// # fn example(documents: exostate_sync::Documents) -> Result<(), Box<dyn std::error::Error>> {
    /// use exostate_sync::Server;
    ///
    /// let _server = Server::builder(documents).websocket("127.0.0.1:8080".parse()?).allow_origin("https://app.example")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// It is no origin.
    #[cfg(any(feature = "websocket", feature = "webtransport"))]
    pub fn allow_origin(mut self, origin: &str) -> Result<Self, ConfigError> {
        self.guests.origins = self.guests.origins.with(origin)?;
        Ok(self)
    }

    /// Lets pages of every origin connect: for what the whole web may read and write, or where a proxy in front looks at origins.
    #[cfg(any(feature = "websocket", feature = "webtransport"))]
    pub fn allow_any_origin(mut self) -> Self {
        self.guests.origins = Origins::Any;
        self
    }

    #[cfg(feature = "tls")]
    fn listen(mut self, scheme: Scheme, addr: SocketAddr) -> Self {
        self.listen.push((scheme, addr));
        self
    }

    /// Starts the server. Without an address it serves what it is handed: [`Server::serve`].
    ///
    /// # Errors
    /// An address cannot be listened on, or the identity cannot be made or used.
    #[allow(clippy::unused_async, reason = "it needs a runtime, and listens for TCP where that is built in")]
    pub async fn bind(self) -> Result<Server, ServerError> {
        let shared = Shared::new(self.documents, self.config);
        #[cfg(feature = "tls")]
        let identity = self.identity.map_or_else(Identity::generate, Ok)?;
        #[cfg_attr(not(feature = "tls"), allow(unused_mut))]
        let mut server = Server {
            shared,
            listeners: Vec::new(),
            #[cfg(feature = "tls")]
            identity,
        };
        #[cfg(feature = "tls")]
        for (scheme, addr) in self.listen {
            let listener = server.listen(scheme, addr, &self.guests).await?;
            server.listeners.push(listener);
        }
        Ok(server)
    }
}

#[cfg(feature = "tls")]
impl Server {
    async fn listen(&self, scheme: Scheme, addr: SocketAddr, guests: &Guests) -> Result<Listener, ServerError> {
        let bind = |source| ServerError::Bind { addr, source };
        let shared = Arc::clone(&self.shared);
        match scheme {
            #[cfg(feature = "quic")]
            Scheme::Quic => {
                let tls = crate::transport::quic::server_config(&self.identity, &shared.config).map_err(ServerError::Crypto)?;
                let endpoint = crate::transport::quic::listen(addr, tls).map_err(bind)?;
                let addr = endpoint.local_addr().map_err(bind)?;
                let accepting = tokio::spawn(accept::quic(endpoint.clone(), shared));
                Ok(Listener {
                    scheme,
                    addr,
                    fingerprint: Some(self.identity.fingerprint()),
                    accepting,
                    #[cfg(feature = "webtransport")]
                    rotation: None,
                    #[cfg(feature = "webtransport")]
                    sessions: None,
                    endpoint: Some(endpoint),
                })
            }
            #[cfg(feature = "webtransport")]
            Scheme::WebTransport => {
                let rotation = Arc::new(crate::transport::rotation::Rotation::new(&self.identity)?);
                let listening = crate::transport::webtransport::listen(addr, Arc::clone(&rotation), &shared.config);
                let endpoint = Arc::new(listening.map_err(ServerError::Crypto)?.start().map_err(bind)?);
                let addr = endpoint.local_addr().map_err(bind)?;
                let accepting = tokio::spawn(accept::webtransport(Arc::clone(&endpoint), guests.origins.clone().into(), shared));
                let fingerprint = Some(self.identity.fingerprint());
                Ok(Listener { scheme, addr, fingerprint, accepting, rotation: Some(rotation), sessions: Some(endpoint), endpoint: None })
            }
            #[cfg(feature = "websocket")]
            Scheme::WebSocket | Scheme::WebSocketTls => {
                let identity = (scheme == Scheme::WebSocketTls).then_some(&self.identity);
                let open = shared.documents.0.iter().filter(|(_, room)| guests.yjs && room.backend() == crate::yjs::BACKEND);
                let open = open.map(|(name, _)| name.clone()).collect();
                let acceptor = crate::transport::websocket::Acceptor::new(identity, shared.config.clone(), open, guests.origins.clone());
                let acceptor = acceptor.map_err(ServerError::Crypto)?;
                let tcp = tokio::net::TcpListener::bind(addr).await.map_err(bind)?;
                let addr = tcp.local_addr().map_err(bind)?;
                let accepting = tokio::spawn(accept_tcp(tcp, acceptor, identity.is_some(), shared));
                Ok(Listener {
                    scheme,
                    addr,
                    fingerprint: identity.map(Identity::fingerprint),
                    accepting,
                    #[cfg(feature = "webtransport")]
                    rotation: None,
                    #[cfg(feature = "webtransport")]
                    sessions: None,
                    #[cfg(feature = "quic")]
                    endpoint: None,
                })
            }
            #[cfg(not(all(feature = "quic", feature = "websocket", feature = "webtransport")))]
            _ => Err(bind(std::io::ErrorKind::Unsupported.into())),
        }
    }
}

#[cfg(feature = "websocket")]
async fn serve_yjs(socket: Box<dyn crate::yjs::Socket>, document: String, shared: Arc<Shared>, _place: Place, report: Report) {
    let stop = shared.stop.subscribe();
    if let Some(room) = shared.documents.0.get(&document) {
        let reason = crate::yjs::converse(socket, room, shared.config.clone(), stop).await;
        report.tell(Some(document), None, reason);
    }
}

#[cfg(feature = "websocket")]
async fn accept_tcp(tcp: tokio::net::TcpListener, acceptor: crate::transport::websocket::Acceptor, encrypted: bool, shared: Arc<Shared>) {
    let mut handshakes = JoinSet::new();
    loop {
        let accepted = tcp.accept().await;
        while handshakes.try_join_next().is_some() {}
        let Ok((stream, from)) = accepted else {
            // Out of file descriptors, as a rule: it passes.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        // Without encryption it stands behind a proxy, and all come from the same address.
        let place = if encrypted { shared.place_from(from, true) } else { shared.places.take() };
        let Some(place) = place else { continue };
        let (shared, acceptor) = (Arc::clone(&shared), acceptor.clone());
        handshakes.spawn(async move {
            match timeout(HELLO_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(Accepted::Peer(socket))) => drop(tokio::spawn(super::serve(socket, shared, place, Some(from)))),
                Ok(Ok(Accepted::Yjs(socket, document))) => {
                    let report = Report { to: shared.departures.clone(), address: Some(from) };
                    tokio::spawn(serve_yjs(socket, document, shared, place, report));
                }
                // No WebSocket, or too slow to become one.
                Ok(Err(_)) | Err(_) => {}
            }
        });
    }
}
