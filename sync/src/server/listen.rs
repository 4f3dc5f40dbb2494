//! The addresses at which a server listens.

#[cfg(feature = "quic")]
use super::accept;
use super::access_hook::AccessHook;
use super::{Documents, Permit, Report, Server, Shared};
use crate::access::{AccessRequest, Arrival, Denial, Rights};
use crate::config::Config;
#[cfg(any(feature = "websocket", feature = "webtransport"))]
use crate::config::ConfigError;
#[cfg(feature = "websocket")]
use crate::driver::stopped;
use crate::limits::HELLO_TIMEOUT;
use crate::replica::Replica;
use crate::ticket::{Fingerprint, Scheme};
#[cfg(feature = "tls")]
use crate::transport::identity::{Identity, IdentityError};
#[cfg(any(feature = "websocket", feature = "webtransport"))]
use crate::transport::origins::Origins;
#[cfg(feature = "websocket")]
use crate::transport::websocket::{Accepted, Subprotocols, YjsGuest};
#[cfg(feature = "websocket")]
use crate::yjs::End;
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
        /// The error of the operating system.
        #[source]
        source: std::io::Error,
    },
    /// The server has no certificate: the identity cannot be made.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The identity's parts do not fit, or a time-out is too long for QUIC.
    #[error("the encryption cannot be set up")]
    Crypto(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Configures where a server listens, and how. Port 0 stands for any free port.
#[derive(Debug)]
#[must_use]
pub struct ServerBuilder {
    documents: Documents,
    config: Config,
    listen: Vec<(Scheme, SocketAddr)>,
    guests: Guests,
    access_hook: AccessHook,
    #[cfg(feature = "tls")]
    identity: Option<Identity>,
}

/// The clients that the addresses accept, besides peers.
#[derive(Clone, Debug, Default)]
struct Guests {
    /// Accepts Yjs clients.
    yjs: bool,
    /// Accepts web pages of these origins.
    #[cfg(any(feature = "websocket", feature = "webtransport"))]
    origins: Origins,
    /// The subprotocols that Yjs clients may offer.
    #[cfg(feature = "websocket")]
    subprotocols: Subprotocols,
}

#[cfg(feature = "webtransport")]
pub(super) type WebTransportEndpoint =
    Arc<wtransport::Endpoint<wtransport::endpoint::endpoint_side::Server>>;

/// One address at which the server listens.
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
        f.debug_struct("Listener")
            .field("scheme", &self.scheme)
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

impl Listener {
    /// Comes back when another server can listen on this address.
    pub(super) async fn free(&mut self) {
        // The task that accepts connections owns a TCP socket. It was told to end.
        let _ = (&mut self.accepting).await;
        #[cfg(feature = "quic")]
        if let Some(endpoint) = self.endpoint.take() {
            // The last packets may need to be sent again.
            endpoint.wait_idle().await;
            drop(endpoint);
            udp_is_free(self.addr).await;
        }
        #[cfg(feature = "webtransport")]
        if let Some(endpoint) = self.sessions.take() {
            endpoint.wait_idle().await;
            drop(endpoint);
            udp_is_free(self.addr).await;
        }
    }
}

/// Waits until this UDP address is free. quinn closes its socket in a task of its own and does not
/// tell when. Another program may have taken the address: the wait ends after a second.
#[cfg(feature = "quic")]
async fn udp_is_free(addr: SocketAddr) {
    for _ in 0..100 {
        if std::net::UdpSocket::bind(addr).is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

impl ServerBuilder {
    pub(super) fn new(documents: Documents) -> Self {
        Self {
            documents,
            config: Config::default(),
            listen: Vec::new(),
            guests: Guests::default(),
            access_hook: AccessHook::default(),
            #[cfg(feature = "tls")]
            identity: None,
        }
    }

    /// Replaces the default limits and intervals.
    pub fn config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// Uses an identity that was stored earlier, instead of a new one.
    #[cfg(feature = "tls")]
    pub fn identity(self, identity: Identity) -> Self {
        Self { identity: Some(identity), ..self }
    }

    /// Listens for QUIC on a UDP address.
    #[cfg(feature = "quic")]
    pub fn quic(self, addr: SocketAddr) -> Self {
        self.listen(Scheme::Quic, addr)
    }

    /// Listens for WebSocket without encryption on a TCP address. Use it behind a proxy that
    /// encrypts, or in a trusted network. Web pages need [`allow_origin`](Self::allow_origin).
    #[cfg(feature = "websocket")]
    pub fn websocket(self, addr: SocketAddr) -> Self {
        self.listen(Scheme::WebSocket, addr)
    }

    /// Listens for WebSocket over TLS on a TCP address.
    #[cfg(feature = "websocket")]
    pub fn websocket_tls(self, addr: SocketAddr) -> Self {
        self.listen(Scheme::WebSocketTls, addr)
    }

    /// Listens for WebTransport on a UDP address. Browsers can connect, too: see
    /// [`allow_origin`](Self::allow_origin).
    ///
    /// Browsers demand certificates that are valid for days only, so the server shows such
    /// certificates ([`Server::certificate_hashes`]). The server's identity signs them. Tickets
    /// recognise the server by its identity.
    #[cfg(feature = "webtransport")]
    pub fn webtransport(self, addr: SocketAddr) -> Self {
        self.listen(Scheme::WebTransport, addr)
    }

    /// Accepts Yjs clients at the WebSocket addresses: y-websocket's provider, unchanged, with a
    /// document's name as its room. This works for documents on the backend [`Yrs`](exostate::Yrs),
    /// whose layout is described in `docs/layout.md`. Yjs clients in web pages need
    /// [`allow_origin`](Self::allow_origin).
    #[cfg(feature = "websocket")]
    pub fn yjs(mut self) -> Self {
        self.guests.yjs = true;
        self
    }

    /// Accepts the WebSocket subprotocols of Yjs clients for which `accepts` returns true. The
    /// server agrees to the first accepted subprotocol that the client offers. A client that offers
    /// only other subprotocols is refused, as browsers do. Without this call a Yjs client may offer
    /// no subprotocol.
    ///
    /// Applications use subprotocols to authenticate, because web pages cannot set headers: `new
    /// WebsocketProvider(url, room, doc, { protocols: ["notes", token] })`. The hook of
    /// [`authorize`](Self::authorize) sees all offered subprotocols.
    ///
    /// ```
    /// # #[cfg(feature = "websocket")]
    /// # fn example(
    /// #     documents: exostate_sync::Documents,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// use exostate_sync::Server;
    ///
    /// let _server = Server::builder(documents)
    ///     .websocket("127.0.0.1:8080".parse()?)
    ///     .yjs()
    ///     .subprotocols(|name| name == "notes");
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "websocket")]
    pub fn subprotocols(mut self, accepts: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.guests.subprotocols = Subprotocols::new(accepts);
        self
    }

    /// Asks this hook who may have a document, before the peer learns anything about it. The hook
    /// is asked
    ///
    /// - for every conversation, over every transport;
    /// - also for Yjs clients, and for connections given to [`Server::serve`];
    /// - also about documents that the server does not have.
    ///
    /// Without a hook every peer may have every document, within the limits of the [`Config`].
    ///
    /// The hook may look something up, but must not block the runtime. If it panics or takes longer
    /// than ten seconds, the peer is denied and tries again later. The answer holds until the
    /// conversation ends.
    ///
    /// A denied peer is told the message. It does not reconnect by itself, unless the denial is
    /// [`Denial::unavailable`].
    ///
    /// ```
    /// # #[cfg(feature = "quic")]
    /// # fn example(
    /// #     documents: exostate_sync::Documents,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// use exostate_sync::{Denial, Rights, Server};
    ///
    /// # async fn user_of(token: &str) -> Option<String> { None }
    /// let server = Server::builder(documents).quic("[::]:4433".parse()?);
    /// let _server = server.authorize(|request| async move {
    ///     let token = request.token();
    ///     let token = token.ok_or_else(|| Denial::unauthenticated("a token is needed"))?;
    ///     let user = user_of(token).await;
    ///     let user = user.ok_or_else(|| Denial::unauthenticated("the token does not hold"))?;
    ///     match (user.as_str(), request.document()) {
    ///         ("ada", _) => Ok(Rights::ReadWrite),
    ///         (_, "roadmap") => Ok(Rights::ReadOnly),
    ///         (user, document) => {
    ///             Err(Denial::forbidden(format!("{user} may not read {document}")))
    ///         }
    ///     }
    /// });
    /// # Ok(()) }
    /// ```
    pub fn authorize<F>(
        self,
        authorize: impl Fn(AccessRequest) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Rights, Denial>> + Send + 'static,
    {
        Self { access_hook: AccessHook::new(authorize), ..self }
    }

    /// Lets web pages of this origin connect over WebSocket (as Yjs clients too) and WebTransport.
    /// Write the origin as a browser does: `https://app.example`, or `http://localhost:5173`,
    /// without a path, and without a port that the scheme implies. May be called several times.
    ///
    /// A browser opens such connections for every page that the user visits, to every server that
    /// it can reach, also to a server on the user's own machine or network. So the server refuses
    /// pages of all other origins with the status 403, also those of its own host. A client that is
    /// not a browser sends no origin and is accepted.
    ///
    /// ```
    /// # #[cfg(feature = "websocket")]
    /// # fn example(
    /// #     documents: exostate_sync::Documents,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// use exostate_sync::Server;
    ///
    /// let _server = Server::builder(documents)
    ///     .websocket("127.0.0.1:8080".parse()?)
    ///     .allow_origin("https://app.example")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The text is not an origin.
    #[cfg(any(feature = "websocket", feature = "webtransport"))]
    pub fn allow_origin(mut self, origin: &str) -> Result<Self, ConfigError> {
        self.guests.origins = self.guests.origins.with(origin)?;
        Ok(self)
    }

    /// Lets web pages of every origin connect. Use it for documents that the whole web may read and
    /// write, or behind a proxy that checks origins.
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

    /// Starts the server. Without an address it serves only the connections that [`Server::serve`]
    /// receives.
    ///
    /// # Errors
    /// The server cannot listen on an address, or the identity cannot be made or used.
    #[allow(
        clippy::unused_async,
        reason = "it needs a runtime, and listens for TCP if that is built in"
    )]
    pub async fn bind(self) -> Result<Server, ServerError> {
        let shared = Shared::new(self.documents, self.config, self.access_hook);
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
    async fn listen(
        &self,
        scheme: Scheme,
        addr: SocketAddr,
        guests: &Guests,
    ) -> Result<Listener, ServerError> {
        let bind = |source| ServerError::Bind { addr, source };
        let shared = Arc::clone(&self.shared);
        match scheme {
            #[cfg(feature = "quic")]
            Scheme::Quic => {
                let tls = crate::transport::quic::server_config(&self.identity, &shared.config)
                    .map_err(ServerError::Crypto)?;
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
                let listening = crate::transport::webtransport::listen(
                    addr,
                    Arc::clone(&rotation),
                    &shared.config,
                );
                let endpoint =
                    Arc::new(listening.map_err(ServerError::Crypto)?.start().map_err(bind)?);
                let addr = endpoint.local_addr().map_err(bind)?;
                let accepting = tokio::spawn(accept::webtransport(
                    Arc::clone(&endpoint),
                    guests.origins.clone().into(),
                    shared,
                ));
                let fingerprint = Some(self.identity.fingerprint());
                Ok(Listener {
                    scheme,
                    addr,
                    fingerprint,
                    accepting,
                    rotation: Some(rotation),
                    sessions: Some(endpoint),
                    endpoint: None,
                })
            }
            #[cfg(feature = "websocket")]
            Scheme::WebSocket | Scheme::WebSocketTls => {
                let identity = (scheme == Scheme::WebSocketTls).then_some(&self.identity);
                let open = shared
                    .documents
                    .0
                    .iter()
                    .filter(|(_, room)| room.backend() == crate::yjs::BACKEND);
                let guests = crate::transport::websocket::Guests {
                    yjs: guests.yjs.then(|| open.map(|(name, _)| name.clone()).collect()),
                    origins: guests.origins.clone(),
                    subprotocols: guests.subprotocols.clone(),
                    asks: shared.access_hook.asks(),
                };
                let acceptor = crate::transport::websocket::Acceptor::new(
                    identity,
                    shared.config.clone(),
                    guests,
                );
                let acceptor = acceptor.map_err(ServerError::Crypto)?;
                let tcp = tokio::net::TcpListener::bind(addr).await.map_err(bind)?;
                let addr = tcp.local_addr().map_err(bind)?;
                let accepting = tokio::spawn(accept_tcp(tcp, acceptor, scheme, shared));
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
async fn serve_yjs(
    guest: YjsGuest,
    scheme: Scheme,
    from: SocketAddr,
    shared: Arc<Shared>,
    _permit: Permit,
) {
    let YjsGuest { mut socket, signs, document, request } = guest;
    let arrival =
        Arc::new(Arrival { scheme: Some(scheme), address: Some(from), yjs: true, request });
    let mut stop = shared.stop.subscribe();
    let admitted = tokio::select! {
        biased;
        _ = stopped(&mut stop) => Err(End::shutdown()),
        admitted = shared.admit(AccessRequest::new(&document, None, &arrival)) => {
            admitted.map_err(End::denied)
        }
    };
    drop(arrival);
    let room =
        shared.documents.0.get(&document).filter(|room| room.backend() == crate::yjs::BACKEND);
    let admitted = admitted.and_then(|config| {
        let unknown = || End::unknown(&document);
        room.map(|room| (room.clone(), config)).ok_or_else(unknown)
    });
    let reason = match admitted {
        Ok((room, config)) => {
            let (reason, left) = crate::yjs::converse(socket, signs, room, config, stop).await;
            socket = left;
            reason
        }
        Err(end) => {
            let reason = end.tell(&mut socket, shared.config.idle_timeout).await;
            drop(stop);
            reason
        }
    };
    Report { to: shared.departures.clone(), address: Some(from) }.tell(
        Some(document),
        None,
        reason,
    );
    crate::yjs::linger(socket).await;
}

#[cfg(feature = "websocket")]
async fn accept_tcp(
    tcp: tokio::net::TcpListener,
    acceptor: crate::transport::websocket::Acceptor,
    scheme: Scheme,
    shared: Arc<Shared>,
) {
    let mut handshakes = JoinSet::new();
    loop {
        let accepted = tcp.accept().await;
        while handshakes.try_join_next().is_some() {}
        let Ok((stream, from)) = accepted else {
            // Usually the process has no free file descriptor. This passes.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        // Without encryption the server is behind a proxy, and all connections come from the
        // proxy's address.
        let permit = if scheme == Scheme::WebSocketTls {
            shared.permit_from(from, true)
        } else {
            shared.permits.take()
        };
        let Some(permit) = permit else { continue };
        let shared = Arc::clone(&shared);
        let acceptor = acceptor.clone();
        handshakes.spawn(async move {
            match timeout(HELLO_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(Accepted::Peer(socket, request))) => {
                    let arrival =
                        Arrival { scheme: Some(scheme), address: Some(from), yjs: false, request };
                    tokio::spawn(super::serve(socket, shared, permit, arrival));
                }
                Ok(Ok(Accepted::Yjs(guest))) => {
                    drop(tokio::spawn(serve_yjs(guest, scheme, from, shared, permit)))
                }
                // The client speaks no WebSocket, or its handshake took too long.
                Ok(Err(_)) | Err(_) => {}
            }
        });
    }
}
