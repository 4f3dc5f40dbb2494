//! QUIC: one connection for each peer, and one bidirectional stream for each document. The client
//! recognises the server by its certificate's fingerprint.

use super::datagrams::{Carrier, Channels, Datagrams};
use super::identity::{Identity, SERVER_NAME};
use super::{Connection, FrameSink, FrameSource, Transport, TransportError, tls};
use crate::client::{ConnectError, resolve};
use crate::config::Config;
use crate::frame::frame_length;
use crate::limits::{
    DATAGRAMS_WAITING_BYTES_MAX, FRAGMENT_BYTES, INCOMING_MAX, RECEIVE_WINDOW_BYTES, STREAMS_MAX,
};
use crate::ticket::Ticket;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, EndpointConfig, IdleTimeout, RecvStream, SendStream};
use quinn::{ServerConfig, TransportConfig, VarInt};
use quinn_proto::RandomConnectionIdGenerator;
use std::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, OnceLock};

/// The protocol's name in TLS, with its major version.
const ALPN: &[u8] = b"exostate/1";

type BoxError = Box<dyn Error + Send + Sync>;

/// A connection to one peer.
#[derive(Clone, Debug)]
pub(crate) struct Quic {
    connection: quinn::Connection,
    channels: Arc<Channels<quinn::Connection>>,
    /// A client's own endpoint, which ends with the connection.
    endpoint: Option<Endpoint>,
    frame_bytes_max: usize,
}

/// One document's stream, on a QUIC connection or within a WebTransport session.
#[derive(Debug)]
pub(crate) struct QuicStream<S = SendStream, R = RecvStream> {
    pub(super) sink: QuicSink<S>,
    pub(super) source: QuicSource<R>,
    pub(super) datagrams: Option<Datagrams>,
}

#[derive(Debug)]
pub(crate) struct QuicSink<S = SendStream>(pub(super) S);

#[derive(Debug)]
pub(crate) struct QuicSource<R = RecvStream> {
    recv: R,
    buffer: Vec<u8>,
    /// How many bytes of the buffer were returned as frames.
    taken: usize,
    frame_bytes_max: usize,
}

impl Quic {
    pub(crate) fn accepted(connection: quinn::Connection, config: &Config) -> Self {
        Self::new(connection, None, config)
    }

    fn new(connection: quinn::Connection, endpoint: Option<Endpoint>, config: &Config) -> Self {
        let channels = Channels::new(connection.clone());
        Self { connection, channels, endpoint, frame_bytes_max: config.frame_bytes_max }
    }

    fn stream(&self, (send, recv): (SendStream, RecvStream)) -> QuicStream {
        let source = QuicSource::new(recv, self.frame_bytes_max);
        QuicStream { sink: QuicSink(send), source, datagrams: self.channels.open() }
    }
}

impl Carrier for quinn::Connection {
    async fn read(&self) -> Option<Vec<u8>> {
        self.read_datagram().await.ok().map(Into::into)
    }

    fn bytes_max(&self) -> Option<usize> {
        self.max_datagram_size()
    }

    fn send(&self, datagram: Vec<u8>) {
        // Fails if the connection is over, or takes only smaller datagrams. The datagram counts as
        // lost.
        let _ = self.send_datagram(datagram.into());
    }
}

/// The sending half of a QUIC stream.
pub(crate) trait Sends: Send + 'static {
    fn stream(&mut self) -> &mut SendStream;
}

/// The receiving half of a QUIC stream.
pub(crate) trait Receives: Send + 'static {
    fn stream(&mut self) -> &mut RecvStream;
}

impl Sends for SendStream {
    fn stream(&mut self) -> &mut SendStream {
        self
    }
}

impl Receives for RecvStream {
    fn stream(&mut self) -> &mut RecvStream {
        self
    }
}

impl<R> QuicSource<R> {
    pub(super) fn new(recv: R, frame_bytes_max: usize) -> Self {
        Self { recv, buffer: Vec::new(), taken: 0, frame_bytes_max }
    }
}

impl Connection for Quic {
    type Transport = QuicStream;

    async fn open(&self) -> Result<QuicStream, TransportError> {
        self.connection
            .open_bi()
            .await
            .map(|stream| self.stream(stream))
            .map_err(TransportError::lost)
    }

    async fn accept(&self) -> Option<QuicStream> {
        self.connection.accept_bi().await.ok().map(|stream| self.stream(stream))
    }

    async fn close(self) {
        self.connection.close(VarInt::from_u32(0), b"done");
        if let Some(endpoint) = self.endpoint {
            endpoint.wait_idle().await;
        }
    }
}

impl<S: Sends, R: Receives> Transport for QuicStream<S, R> {
    type Sink = QuicSink<S>;
    type Source = QuicSource<R>;

    fn datagrams(&mut self) -> Option<Datagrams> {
        self.datagrams.take()
    }

    fn split(self) -> (QuicSink<S>, QuicSource<R>) {
        (self.sink, self.source)
    }
}

impl<S: Sends> FrameSink for QuicSink<S> {
    async fn send(&mut self, frame: Vec<u8>) -> Result<(), TransportError> {
        self.0.stream().write_all(&frame).await.map_err(TransportError::lost)
    }

    async fn send_all(&mut self, frames: Vec<Vec<u8>>) -> Result<(), TransportError> {
        self.send(frames.concat()).await
    }

    async fn finish(&mut self) -> Result<(), TransportError> {
        let finished = self.0.stream().finish().map_err(TransportError::lost);
        if finished.is_ok() {
            // Resolves when the peer has everything, is gone, or stopped reading. The difference
            // does not matter here.
            let _ = self.0.stream().stopped().await;
        }
        finished
    }
}

impl<R: Receives> FrameSource for QuicSource<R> {
    async fn recv(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        loop {
            let rest = self.buffer.get(self.taken..).unwrap_or(&[]);
            let length = frame_length(rest, self.frame_bytes_max)?;
            if let Some(frame) = length.and_then(|length| rest.get(..length)) {
                self.taken += frame.len();
                return Ok(Some(frame.to_vec()));
            }
            // The buffer is drained for each chunk, not for each frame: one chunk may carry
            // thousands of small frames.
            self.buffer.drain(..std::mem::take(&mut self.taken));
            match self.recv.stream().read_chunk(FRAGMENT_BYTES, true).await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk.bytes),
                Ok(None) if self.buffer.is_empty() => return Ok(None),
                Ok(None) => return Err(TransportError::lost("it ended within a frame")),
                Err(error) => return Err(TransportError::lost(error)),
            }
        }
    }
}

/// Opens a connection.
pub(crate) async fn connect(ticket: &Ticket, config: &Config) -> Result<Quic, ConnectError> {
    let address = resolve(ticket).await?;
    let local: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let mut endpoint = Endpoint::client(local).map_err(ConnectError::Socket)?;
    let seen = Arc::new(OnceLock::new());
    endpoint.set_default_client_config(
        client_config(ticket, Arc::clone(&seen), config).map_err(ConnectError::Crypto)?,
    );
    let unreachable = |source: BoxError| ConnectError::unreachable(ticket, source);
    let connecting = endpoint.connect(address, SERVER_NAME).map_err(|e| unreachable(e.into()))?;
    let connection =
        connecting.await.map_err(|error| ConnectError::unproved(ticket, &seen, error.into()))?;
    Ok(Quic::new(connection, Some(endpoint), config))
}

fn client_config(
    ticket: &Ticket,
    seen: tls::Seen,
    config: &Config,
) -> Result<ClientConfig, BoxError> {
    let tls = tls::client_config(ticket, seen, ALPN)?;
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let mut transport = transport_config(config)?;
    // Only the client opens streams.
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    client.transport_config(Arc::new(transport));
    Ok(client)
}

/// Listens on a UDP address.
pub(crate) fn listen(addr: SocketAddr, server: ServerConfig) -> std::io::Result<Endpoint> {
    Endpoint::new(
        endpoint_config(),
        Some(server),
        UdpSocket::bind(addr)?,
        Arc::new(quinn::TokioRuntime),
    )
}

/// An endpoint configuration with connection ids that are random in all bytes.
///
/// Only three bytes of quinn's default ids are random. An id that a Retry assigns may then equal
/// the id of another connection, which receives the new client's packets from then on. With a
/// thousand connections this happens to one client in several thousand.
pub(super) fn endpoint_config() -> EndpointConfig {
    let mut endpoint = EndpointConfig::default();
    endpoint.cid_generator(|| Box::new(RandomConnectionIdGenerator::default()));
    endpoint
}

/// A server's configuration, with limits that quinn does not set or sets high, and without 0-RTT.
pub(crate) fn server_config(
    identity: &Identity,
    config: &Config,
) -> Result<ServerConfig, BoxError> {
    let tls = tls::server_config(identity, ALPN)?;
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    server.max_incoming(INCOMING_MAX);
    server.transport_config(Arc::new(transport_config(config)?));
    Ok(server)
}

pub(super) fn transport_config(config: &Config) -> Result<TransportConfig, BoxError> {
    let mut transport = TransportConfig::default();
    transport
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
        .stream_receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(Some(DATAGRAMS_WAITING_BYTES_MAX))
        .datagram_send_buffer_size(DATAGRAMS_WAITING_BYTES_MAX)
        .max_idle_timeout(Some(IdleTimeout::try_from(config.idle_timeout)?))
        .keep_alive_interval(Some(config.keep_alive));
    Ok(transport)
}
