//! WebSocket (RFC 6455): a connection whose binary messages carry frames. The number of the
//! document's channel precedes each frame.

mod channel;
mod watched;

pub(crate) use channel::{ChannelSink, ChannelSource, WebSocket};
pub(crate) use watched::Signs;

use super::identity::Identity;
use super::origins::Origins;
use super::tls;
use crate::access::{HttpRequest, parameters};
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
use tokio_tungstenite::tungstenite::handshake::server::{
    Callback, ErrorResponse, Request, Response,
};
use tokio_tungstenite::tungstenite::http::header::{ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{accept_hdr_async_with_config, client_async_with_config};
use watched::Watched;

/// The WebSocket subprotocol, with its major version.
const SUBPROTOCOL: &str = "exostate.1";
/// The protocol's name in TLS.
const ALPN: &[u8] = b"http/1.1";
/// Bytes that are read, and bytes that are written, at once. Each connection keeps buffers of this
/// size as long as it lasts.
const BUFFER_BYTES: usize = 8 * 1024;

type BoxError = Box<dyn Error + Send + Sync>;

/// Opens a connection.
pub(crate) async fn connect(ticket: &Ticket, config: &Config) -> Result<WebSocket, ConnectError> {
    let address = resolve(ticket).await?;
    let unreachable = |source: BoxError| ConnectError::unreachable(ticket, source);
    let stream = TcpStream::connect(address).await.map_err(|e| unreachable(e.into()))?;
    // A small update is sent at once instead of waiting for more.
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
    let host = if ticket.host().contains(':') {
        format!("[{}]", ticket.host())
    } else {
        ticket.host().to_owned()
    };
    let uri: Uri = format!("{}://{host}:{}/", ticket.scheme(), ticket.port()).parse()?;
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
    let (socket, _) = client_async_with_config(request, stream, Some(limits(config))).await?;
    Ok(WebSocket::new(socket, Role::Initiator, config.idle_timeout))
}

/// Accepts TCP connections as WebSockets.
#[derive(Clone)]
pub(crate) struct Acceptor {
    tls: Option<TlsAcceptor>,
    config: Config,
    guests: Arc<Guests>,
}

/// The clients that a server's WebSocket addresses accept, besides peers.
#[derive(Debug)]
pub(crate) struct Guests {
    /// The documents that Yjs clients may join; `None` if Yjs clients are not accepted.
    pub(crate) yjs: Option<BTreeSet<String>>,
    pub(crate) origins: Origins,
    /// The subprotocols that Yjs clients may offer.
    pub(crate) subprotocols: Subprotocols,
    /// Whether a hook decides about access. Then requests for unknown documents are passed to it,
    /// and the content of the HTTP request is kept for it.
    pub(crate) asks: bool,
}

/// Decides which subprotocols of Yjs clients the embedder accepts.
#[derive(Clone, Default)]
pub(crate) struct Subprotocols(Option<Arc<Accepts>>);

type Accepts = dyn Fn(&str) -> bool + Send + Sync;

impl std::fmt::Debug for Subprotocols {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Subprotocols(..)" } else { "Subprotocols(none)" })
    }
}

impl Subprotocols {
    pub(crate) fn new(accepts: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(accepts)))
    }

    fn accepts(&self, name: &str) -> bool {
        self.0.as_ref().is_some_and(|accepts| accepts(name))
    }
}

/// A client that has connected.
pub(crate) enum Accepted {
    /// A peer with this crate's protocol.
    Peer(WebSocket, HttpRequest),
    /// A Yjs client.
    Yjs(YjsGuest),
}

/// A Yjs client, and the document that it asks for.
pub(crate) struct YjsGuest {
    pub(crate) socket: Box<dyn Socket>,
    pub(crate) signs: Signs,
    pub(crate) document: String,
    pub(crate) request: HttpRequest,
}

impl Acceptor {
    /// With an identity the acceptor uses TLS.
    pub(crate) fn new(
        identity: Option<&Identity>,
        config: Config,
        guests: Guests,
    ) -> Result<Self, BoxError> {
        let tls = identity.map(|identity| tls::server_config(identity, ALPN)).transpose()?;
        Ok(Self { tls: tls.map(|tls| Arc::new(tls).into()), config, guests: Arc::new(guests) })
    }

    /// Does the handshakes of TLS and WebSocket.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<Accepted, BoxError> {
        stream.set_nodelay(true)?;
        match &self.tls {
            Some(tls) => self.welcome(tls.accept(stream).await?).await,
            None => self.welcome(stream).await,
        }
    }

    async fn welcome<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: T,
    ) -> Result<Accepted, BoxError> {
        let document = OnceLock::new();
        let asked = OnceLock::new();
        let agree = Agreement { guests: &self.guests, document: &document, asked: &asked };
        let (stream, signs) = Watched::new(stream);
        let mut limits = limits(&self.config);
        if self.guests.yjs.is_some() {
            let bytes_max = limits.max_message_size.max(Some(self.config.yjs_message_bytes_max));
            limits = limits.max_message_size(bytes_max).max_frame_size(bytes_max);
        }
        let socket = accept_hdr_async_with_config(stream, agree, Some(limits)).await?;
        let request = asked.into_inner().unwrap_or_default();
        Ok(match document.into_inner() {
            Some(document) => {
                Accepted::Yjs(YjsGuest { socket: Box::new(socket), signs, document, request })
            }
            None => Accepted::Peer(
                WebSocket::new(socket, Role::Responder, self.config.idle_timeout),
                request,
            ),
        })
    }
}

/// Accepts or refuses a WebSocket request. It accepts
///
/// - clients with this crate's subprotocol;
/// - Yjs clients, if the server takes them. They name the document in the path, and offer no
///   subprotocol or one that the embedder accepts.
///
/// Web pages are accepted only from allowed origins.
struct Agreement<'a> {
    guests: &'a Guests,
    document: &'a OnceLock<String>,
    asked: &'a OnceLock<HttpRequest>,
}

type Refused = (StatusCode, String);

impl Callback for Agreement<'_> {
    fn on_request(
        self,
        request: &Request,
        mut response: Response,
    ) -> Result<Response, ErrorResponse> {
        let offered = request
            .headers()
            .get_all(SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let offered: Vec<&str> =
            offered.flat_map(|value| value.split(',')).map(str::trim).collect();
        let agreed = self.agree(request, &offered).map_err(|(status, why)| {
            let mut refusal = ErrorResponse::new(Some(why));
            *refusal.status_mut() = status;
            refusal
        })?;
        if let Some(agreed) = agreed.and_then(|agreed| HeaderValue::from_str(agreed).ok()) {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, agreed);
        }
        if self.guests.asks {
            // There is one request, so this is set once.
            let _ = self.asked.set(http_request(request, &offered));
        }
        Ok(response)
    }
}

impl Agreement<'_> {
    /// The agreed subprotocol, if any, or the refusal.
    fn agree<'o>(
        &self,
        request: &Request,
        offered: &[&'o str],
    ) -> Result<Option<&'o str>, Refused> {
        if !self
            .guests
            .origins
            .allow(request.headers().get_all(ORIGIN).iter().map(HeaderValue::as_bytes))
        {
            return Err((StatusCode::FORBIDDEN, "pages of this origin are not let in".to_owned()));
        }
        if let Some(ours) = offered.iter().find(|name| **name == SUBPROTOCOL) {
            return Ok(Some(ours));
        }
        let agreed = offered.iter().find(|name| self.guests.subprotocols.accepts(name)).copied();
        let Some(documents) =
            self.guests.yjs.as_ref().filter(|_| agreed.is_some() || offered.is_empty())
        else {
            return Err((StatusCode::BAD_REQUEST, format!("this server speaks {SUBPROTOCOL}")));
        };
        let path = request.uri().path();
        match unescape(path.strip_prefix('/').unwrap_or(path)) {
            // If there is a hook, the hook decides about documents that do not exist, too.
            Ok(name) if self.guests.asks || documents.contains(&name) => {
                let _ = self.document.set(name);
                Ok(agreed)
            }
            _ => Err((StatusCode::NOT_FOUND, "no such document".to_owned())),
        }
    }
}

fn http_request(request: &Request, offered: &[&str]) -> HttpRequest {
    let text = |value: &HeaderValue| String::from_utf8(value.as_bytes().to_vec()).ok();
    HttpRequest {
        query: request.uri().query().map(parameters).unwrap_or_default(),
        subprotocols: offered.iter().map(|name| (*name).to_owned()).collect(),
        headers: request
            .headers()
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)))
            .collect(),
    }
}

fn limits(config: &Config) -> WebSocketConfig {
    let message_bytes_max = config.frame_bytes_max.max(config.update_bytes_max)
        + VARINT_BYTES_MAX
        + FRAME_HEADER_BYTES_MAX;
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        // At most one message waits, because the next one is given only after it was written.
        .max_write_buffer_size(BUFFER_BYTES + 2 * message_bytes_max)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max))
}

/// The largest size of a frame without its payload, in bytes.
const FRAME_HEADER_BYTES_MAX: usize = 1 + VARINT_BYTES_MAX + 4;
