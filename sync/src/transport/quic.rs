//! QUIC: one connection a peer, one bidirectional stream a document, the server known by its certificate's fingerprint.

use super::identity::{Identity, SERVER_NAME};
use super::{FrameSink, FrameSource, Transport, TransportError};
use crate::config::Config;
use crate::frame::frame_length;
use crate::limits::{FRAGMENT_BYTES, INCOMING_MAX, RECEIVE_WINDOW_BYTES, STREAMS_MAX};
use crate::peer::ConnectError;
use crate::ticket::{Fingerprint, Ticket};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, IdleTimeout, RecvStream, SendStream};
use quinn::{ServerConfig, TransportConfig, VarInt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use std::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

/// The protocol in TLS, with its major version.
const ALPN: &[u8] = b"exostate/1";

type BoxError = Box<dyn Error + Send + Sync>;

/// One document's stream.
#[derive(Debug)]
pub(crate) struct Quic {
    sink: QuicSink,
    source: QuicSource,
}

#[derive(Debug)]
pub(crate) struct QuicSink {
    send: SendStream,
    /// The client's connection carries this one stream, and ends with it.
    owned: Option<(Connection, Endpoint)>,
}

#[derive(Debug)]
pub(crate) struct QuicSource {
    recv: RecvStream,
    buffer: Vec<u8>,
    /// How much of the buffer was given out.
    taken: usize,
    frame_bytes_max: usize,
}

impl Quic {
    pub(crate) fn accepted(send: SendStream, recv: RecvStream, config: &Config) -> Self {
        let source = QuicSource::new(recv, config);
        Self { sink: QuicSink { send, owned: None }, source }
    }
}

impl Transport for Quic {
    type Sink = QuicSink;
    type Source = QuicSource;

    fn split(self) -> (QuicSink, QuicSource) {
        (self.sink, self.source)
    }
}

impl FrameSink for QuicSink {
    async fn send(&mut self, frame: Vec<u8>) -> Result<(), TransportError> {
        self.send.write_all(&frame).await.map_err(TransportError::lost)
    }

    async fn finish(&mut self) -> Result<(), TransportError> {
        let finished = self.send.finish().map_err(TransportError::lost);
        if finished.is_ok() {
            // Resolves when the peer has everything, or is gone, or wants no more: all the same here.
            let _ = self.send.stopped().await;
        }
        if let Some((connection, endpoint)) = self.owned.take() {
            connection.close(VarInt::from_u32(0), b"done");
            endpoint.wait_idle().await;
        }
        finished
    }
}

impl QuicSource {
    fn new(recv: RecvStream, config: &Config) -> Self {
        Self { recv, buffer: Vec::new(), taken: 0, frame_bytes_max: config.frame_bytes_max }
    }
}

impl FrameSource for QuicSource {
    async fn recv(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        loop {
            let rest = self.buffer.get(self.taken..).unwrap_or(&[]);
            let length = frame_length(rest, self.frame_bytes_max)?;
            if let Some(frame) = length.and_then(|length| rest.get(..length)) {
                self.taken += frame.len();
                return Ok(Some(frame.to_vec()));
            }
            // Once a chunk, not once a frame: small frames come by the thousand in one chunk.
            self.buffer.drain(..std::mem::take(&mut self.taken));
            match self.recv.read_chunk(FRAGMENT_BYTES, true).await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk.bytes),
                Ok(None) if self.buffer.is_empty() => return Ok(None),
                Ok(None) => return Err(TransportError::lost("it ended within a frame")),
                Err(error) => return Err(TransportError::lost(error)),
            }
        }
    }
}

/// Opens a connection and its stream.
pub(crate) async fn connect(ticket: &Ticket, config: &Config) -> Result<Quic, ConnectError> {
    let address = resolve(ticket).await?;
    let local: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let mut endpoint = Endpoint::client(local).map_err(ConnectError::Socket)?;
    let seen = Arc::new(OnceLock::new());
    let pinned = client_config(ticket.fingerprint(), Arc::clone(&seen), config);
    endpoint.set_default_client_config(pinned.map_err(ConnectError::Crypto)?);
    let unreachable = |source: BoxError| ConnectError::Unreachable { host: ticket.host().to_owned(), port: ticket.port(), source };
    let connecting = endpoint.connect(address, SERVER_NAME).map_err(|e| unreachable(e.into()))?;
    let connection = connecting.await.map_err(|error| match seen.get() {
        Some(&theirs) if theirs != ticket.fingerprint() => ConnectError::WrongFingerprint { ticket: ticket.fingerprint(), theirs },
        _ => unreachable(error.into()),
    })?;
    let (send, recv) = connection.open_bi().await.map_err(|e| unreachable(e.into()))?;
    let source = QuicSource::new(recv, config);
    Ok(Quic { sink: QuicSink { send, owned: Some((connection, endpoint)) }, source })
}

async fn resolve(ticket: &Ticket) -> Result<SocketAddr, ConnectError> {
    let wrap = |source| ConnectError::Resolve { host: ticket.host().to_owned(), source };
    let found = tokio::net::lookup_host((ticket.host(), ticket.port())).await;
    let none = || wrap(std::io::ErrorKind::NotFound.into());
    found.map_err(wrap)?.next().ok_or_else(none)
}

fn client_config(expected: Fingerprint, seen: Arc<OnceLock<Fingerprint>>, config: &Config) -> Result<ClientConfig, BoxError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Pinned { expected, seen, provider: Arc::clone(&provider) };
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let mut transport = transport_config(config)?;
    // The client opens streams; a server has no reason to.
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    client.transport_config(Arc::new(transport));
    Ok(client)
}

/// A server's side, with limits where quinn has none or generous ones, and without 0-RTT.
pub(crate) fn server_config(identity: &Identity, config: &Config) -> Result<ServerConfig, BoxError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(identity.chain(), identity.key())?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.max_early_data_size = 0;
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    server.max_incoming(INCOMING_MAX);
    server.transport_config(Arc::new(transport_config(config)?));
    Ok(server)
}

fn transport_config(config: &Config) -> Result<TransportConfig, BoxError> {
    let mut transport = TransportConfig::default();
    transport
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
        .stream_receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(IdleTimeout::try_from(config.idle_timeout)?))
        .keep_alive_interval(Some(config.keep_alive));
    Ok(transport)
}

/// Trusts the one certificate whose fingerprint is in the ticket. That the server holds its key is still proved by the handshake.
#[derive(Debug)]
struct Pinned {
    expected: Fingerprint,
    seen: Arc<OnceLock<Fingerprint>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let theirs = *self.seen.get_or_init(|| Fingerprint::of(end_entity));
        if theirs == self.expected {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
