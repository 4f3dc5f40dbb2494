//! WebTransport over HTTP/3, for browsers and other clients: one session for each peer, one
//! bidirectional stream for each document, and the same frames as over QUIC.

use super::datagrams::{Carrier, Channels};
use super::origins::Origins;
use super::quic::{
    QuicSink, QuicSource, QuicStream, Receives, Sends, endpoint_config, transport_config,
};
use super::rotation::Rotation;
use super::{Connection, TransportError, tls};
use crate::access::{HttpRequest, parameters};
use crate::client::{ConnectError, resolve};
use crate::config::Config;
use crate::limits::INCOMING_MAX;
use crate::ticket::Ticket;
use quinn::VarInt;
use std::error::Error;
use std::future::{Future, ready};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use wtransport::config::{DnsLookupFuture, DnsResolver};
use wtransport::endpoint::endpoint_side;
use wtransport::endpoint::{IncomingSession, SessionRequest};
use wtransport::{ClientConfig, Endpoint, RecvStream, SendStream, ServerConfig};

/// The name of HTTP/3 in TLS.
const ALPN: &[u8] = b"h3";
/// The unidirectional streams of HTTP/3 itself: one control stream, two for QPACK, and room for
/// reserved ones.
const CONTROL_STREAMS_MAX: u32 = 8;

type BoxError = Box<dyn Error + Send + Sync>;
type Stream = QuicStream<SendStream, RecvStream>;

impl Sends for SendStream {
    fn stream(&mut self) -> &mut quinn::SendStream {
        self.quic_stream_mut()
    }
}

impl Receives for RecvStream {
    fn stream(&mut self) -> &mut quinn::RecvStream {
        self.quic_stream_mut()
    }
}

/// The headers in order, without HTTP/3's pseudo-headers, which begin with a colon.
fn sorted(headers: &std::collections::HashMap<String, String>) -> Vec<(String, String)> {
    let mut sorted = Vec::new();
    for (name, value) in headers.iter().filter(|(name, _)| !name.starts_with(':')) {
        sorted.push((name.to_ascii_lowercase(), value.clone()));
    }
    sorted.sort();
    sorted
}

/// A session with one peer.
#[derive(Clone)]
pub(crate) struct WebTransport {
    connection: Arc<wtransport::Connection>,
    channels: Arc<Channels<Arc<wtransport::Connection>>>,
    /// A client's own endpoint, which ends with the connection.
    endpoint: Option<Arc<Endpoint<endpoint_side::Client>>>,
    frame_bytes_max: usize,
}

impl std::fmt::Debug for WebTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebTransport")
            .field("peer", &self.connection.remote_address())
            .finish_non_exhaustive()
    }
}

impl WebTransport {
    /// Does the handshake of a session that a client asked for. Returns `None` if a web page of
    /// another origin asked for it.
    pub(crate) async fn accepted(
        incoming: IncomingSession,
        origins: &Origins,
        frame_bytes_max: usize,
    ) -> Result<Option<(Self, HttpRequest)>, wtransport::error::ConnectionError> {
        let request: SessionRequest = incoming.await?;
        if !origins.allow(request.origin().map(str::as_bytes)) {
            request.forbidden().await;
            return Ok(None);
        }
        let said = HttpRequest {
            query: request
                .path()
                .split_once('?')
                .map(|(_, query)| parameters(query))
                .unwrap_or_default(),
            subprotocols: Vec::new(),
            headers: sorted(request.headers()),
        };
        Ok(Some((Self::new(request.accept().await?, None, frame_bytes_max), said)))
    }

    fn new(
        connection: wtransport::Connection,
        endpoint: Option<Endpoint<endpoint_side::Client>>,
        frame_bytes_max: usize,
    ) -> Self {
        let connection = Arc::new(connection);
        let channels = Channels::new(Arc::clone(&connection));
        Self { connection, channels, endpoint: endpoint.map(Arc::new), frame_bytes_max }
    }

    fn stream(&self, (send, recv): (SendStream, RecvStream)) -> Stream {
        let source = QuicSource::new(recv, self.frame_bytes_max);
        QuicStream { sink: QuicSink(send), source, datagrams: self.channels.open() }
    }
}

impl Carrier for Arc<wtransport::Connection> {
    async fn read(&self) -> Option<Vec<u8>> {
        self.receive_datagram().await.ok().map(|datagram| datagram.payload().into())
    }

    fn bytes_max(&self) -> Option<usize> {
        // The session's id takes at most 8 bytes of the datagram.
        self.quic_connection().max_datagram_size().map(|bytes_max| bytes_max.saturating_sub(8))
    }

    fn send(&self, datagram: Vec<u8>) {
        let _ = self.send_datagram(datagram);
    }
}

impl Connection for WebTransport {
    type Transport = Stream;

    async fn open(&self) -> Result<Stream, TransportError> {
        let opening = self.connection.open_bi().await.map_err(TransportError::lost)?;
        opening.await.map(|streams| self.stream(streams)).map_err(TransportError::lost)
    }

    async fn accept(&self) -> Option<Stream> {
        self.connection.accept_bi().await.ok().map(|streams| self.stream(streams))
    }

    async fn close(self) {
        self.connection.close(wtransport::VarInt::from_u32(0), b"done");
        if let Some(endpoint) = self.endpoint {
            endpoint.wait_idle().await;
        }
    }
}

/// Listens on a UDP address.
pub(crate) fn listen(
    addr: SocketAddr,
    rotation: Arc<Rotation>,
    config: &Config,
) -> Result<Listening, BoxError> {
    let mut transport = transport_config(config)?;
    for_http(&mut transport);
    let tls = tls::rotating_server_config(rotation, ALPN)?;
    let mut server = ServerConfig::builder()
        .with_bind_address(addr)
        .with_custom_tls_and_transport(tls, transport)
        .build();
    server.quic_config_mut().max_incoming(INCOMING_MAX);
    *server.quic_endpoint_config_mut() = endpoint_config();
    Ok(Listening(server))
}

/// A server's configuration, before it has an address.
pub(crate) struct Listening(ServerConfig);

impl Listening {
    pub(crate) fn start(self) -> std::io::Result<Endpoint<endpoint_side::Server>> {
        Endpoint::server(self.0)
    }
}

/// Opens a session.
pub(crate) async fn connect(
    ticket: &Ticket,
    config: &Config,
) -> Result<WebTransport, ConnectError> {
    let address = resolve(ticket).await?;
    let local: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let seen = Arc::new(OnceLock::new());
    let tls = tls::client_config(ticket, Arc::clone(&seen), ALPN).map_err(ConnectError::Crypto)?;
    let mut transport = transport_config(config).map_err(ConnectError::Crypto)?;
    for_http(&mut transport);
    // Only the client opens the documents' streams.
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    let builder = ClientConfig::builder()
        .with_bind_address(local)
        .with_custom_tls_and_transport(tls, transport);
    let endpoint = Endpoint::client(builder.dns_resolver(Known(address)).build())
        .map_err(ConnectError::Socket)?;
    let host = if ticket.host().contains(':') {
        format!("[{}]", ticket.host())
    } else {
        ticket.host().to_owned()
    };
    let connecting = endpoint.connect(format!("https://{host}:{}/", ticket.port())).await;
    let connection =
        connecting.map_err(|error| ConnectError::unproved(ticket, &seen, error.into()))?;
    Ok(WebTransport::new(connection, Some(endpoint), config.frame_bytes_max))
}

/// Allows the streams of HTTP/3 itself, and one bidirectional stream for the session's request.
fn for_http(transport: &mut quinn::TransportConfig) {
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(crate::limits::STREAMS_MAX + 1))
        .max_concurrent_uni_streams(VarInt::from_u32(CONTROL_STREAMS_MAX));
}

/// Resolves every name to the address that was already looked up.
#[derive(Debug)]
struct Known(SocketAddr);

impl DnsResolver for Known {
    fn resolve(&self, _host: &str) -> Pin<Box<dyn DnsLookupFuture>> {
        let found: std::io::Result<Option<SocketAddr>> = Ok(Some(self.0));
        let found: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(ready(found));
        Box::pin(found)
    }
}
