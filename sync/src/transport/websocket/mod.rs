//! WebSocket (RFC 6455): a connection whose binary messages carry frames, each with the number of its document's channel in front.

mod channel;

pub(crate) use channel::{ChannelSink, ChannelSource, WebSocket};

use super::identity::Identity;
use super::origins::Origins;
use super::tls;
use crate::client::{ConnectError, resolve};
use crate::config::Config;
use crate::limits::VARINT_BYTES_MAX;
use crate::session::Role;
use crate::ticket::{Scheme, Ticket, unescape};
use crate::yjs::Socket;
use std::collections::BTreeSet;
use std::error::Error;
use std::sync::{Arc, OnceLock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::{ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{accept_hdr_async_with_config, client_async_with_config};

/// The WebSocket subprotocol, with its major version.
const SUBPROTOCOL: &str = "exostate.1";
/// What TLS says that it carries.
const ALPN: &[u8] = b"http/1.1";
/// Bytes read, and bytes written, at once. Every connection keeps so many for as long as it lasts.
const BUFFER_BYTES: usize = 8 * 1024;

type BoxError = Box<dyn Error + Send + Sync>;

/// Opens a connection.
pub(crate) async fn connect(ticket: &Ticket, config: &Config) -> Result<WebSocket, ConnectError> {
    let address = resolve(ticket).await?;
    let unreachable = |source: BoxError| ConnectError::unreachable(ticket, source);
    let stream = TcpStream::connect(address).await.map_err(|e| unreachable(e.into()))?;
    // Small updates are not to wait for more.
    stream.set_nodelay(true).map_err(ConnectError::Socket)?;
    if ticket.scheme() == Scheme::WebSocket {
        return greet(ticket, stream, config).await.map_err(unreachable);
    }
    let seen = Arc::new(OnceLock::new());
    let tls = tls::client_config(ticket, Arc::clone(&seen), ALPN).map_err(ConnectError::Crypto)?;
    let name = tls::server_name(ticket).map_err(|e| ConnectError::Crypto(e.into()))?;
    let secured = TlsConnector::from(Arc::new(tls)).connect(name, stream).await;
    let secured = secured.map_err(|error| ConnectError::unproved(ticket, &seen, error.into()))?;
    greet(ticket, secured, config).await.map_err(unreachable)
}

async fn greet<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    ticket: &Ticket,
    stream: T,
    config: &Config,
) -> Result<WebSocket, BoxError> {
    let host = if ticket.host().contains(':') { format!("[{}]", ticket.host()) } else { ticket.host().to_owned() };
    let uri: Uri = format!("{}://{host}:{}/", ticket.scheme(), ticket.port()).parse()?;
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
    let (socket, _) = client_async_with_config(request, stream, Some(limits(config))).await?;
    Ok(WebSocket::new(socket, Role::Initiator, config.idle_timeout))
}

/// What a server does with a TCP connection.
#[derive(Clone)]
pub(crate) struct Acceptor {
    tls: Option<TlsAcceptor>,
    config: Config,
    /// The documents that Yjs clients may join.
    yjs: Arc<BTreeSet<String>>,
    origins: Arc<Origins>,
}

/// Who has come.
pub(crate) enum Accepted {
    /// One of ours.
    Peer(WebSocket),
    /// A Yjs client, to this document.
    Yjs(Box<dyn Socket>, String),
}

impl Acceptor {
    /// With an identity it speaks TLS.
    pub(crate) fn new(identity: Option<&Identity>, config: Config, yjs: BTreeSet<String>, origins: Origins) -> Result<Self, BoxError> {
        let tls = identity.map(|identity| tls::server_config(identity, ALPN)).transpose()?;
        Ok(Self { tls: tls.map(|tls| Arc::new(tls).into()), config, yjs: Arc::new(yjs), origins: Arc::new(origins) })
    }

    /// Shakes hands.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<Accepted, BoxError> {
        stream.set_nodelay(true)?;
        match &self.tls {
            Some(tls) => self.welcome(tls.accept(stream).await?).await,
            None => self.welcome(stream).await,
        }
    }

    async fn welcome<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: T) -> Result<Accepted, BoxError> {
        let document = OnceLock::new();
        let agree = Agreement { yjs: &self.yjs, origins: &self.origins, document: &document };
        let socket = accept_hdr_async_with_config(stream, agree, Some(limits(&self.config)));
        let socket = socket.await?;
        Ok(match document.into_inner() {
            Some(document) => Accepted::Yjs(Box::new(socket), document),
            None => Accepted::Peer(WebSocket::new(socket, Role::Responder, self.config.idle_timeout)),
        })
    }
}

/// Takes the subprotocol, or a Yjs client, which offers none and names its document in the path; from web pages only if theirs may.
struct Agreement<'a> {
    yjs: &'a BTreeSet<String>,
    origins: &'a Origins,
    document: &'a OnceLock<String>,
}

impl Callback for Agreement<'_> {
    fn on_request(self, request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        let refuse = |status, why: String| {
            let mut refusal = ErrorResponse::new(Some(why));
            *refusal.status_mut() = status;
            refusal
        };
        if !self.origins.allow(request.headers().get_all(ORIGIN).iter().map(HeaderValue::as_bytes)) {
            return Err(refuse(StatusCode::FORBIDDEN, "pages of this origin are not let in".to_owned()));
        }
        let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
        let offered: Vec<&str> = offered.flat_map(|value| value.split(',')).map(str::trim).collect();
        if offered.contains(&SUBPROTOCOL) {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
            return Ok(response);
        }
        if !offered.is_empty() || self.yjs.is_empty() {
            return Err(refuse(StatusCode::BAD_REQUEST, format!("this server speaks {SUBPROTOCOL}")));
        }
        let path = request.uri().path();
        match unescape(path.strip_prefix('/').unwrap_or(path)) {
            Ok(name) if self.yjs.contains(&name) => {
                // Set once, as there is one request.
                let _ = self.document.set(name);
                Ok(response)
            }
            _ => Err(refuse(StatusCode::NOT_FOUND, "no such document".to_owned())),
        }
    }
}

fn limits(config: &Config) -> WebSocketConfig {
    // A Yjs client does not cut what it sends.
    let message_bytes_max = config.frame_bytes_max.max(config.update_bytes_max) + VARINT_BYTES_MAX + FRAME_HEADER_BYTES_MAX;
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        // One message waits at most, as none is given before the one before it has left.
        .max_write_buffer_size(BUFFER_BYTES + 2 * message_bytes_max)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max))
}

/// What a frame of ours has beside its payload.
const FRAME_HEADER_BYTES_MAX: usize = 1 + VARINT_BYTES_MAX + 4;
