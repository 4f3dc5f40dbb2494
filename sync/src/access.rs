//! Access to documents: what an embedder's hook is told about a peer, and what the hook answers.

use crate::frame::Token;
use crate::ticket::Scheme;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// What a peer may do with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rights {
    /// The peer gets the document and every change, and may show its presence. The peer's own
    /// changes stay with the peer, and [`Peer::flush`](crate::Peer::flush) says so. If the peer
    /// sends a change anyway, the conversation ends.
    ReadOnly,
    /// The peer may change the document, too.
    ReadWrite,
}

/// A peer does not get the document. The message tells the peer why.
///
/// ```
/// use exostate_sync::{Denial, DenialKind};
///
/// let denial = Denial::unauthenticated("the token has expired");
/// assert_eq!(denial.kind(), DenialKind::Unauthenticated);
/// assert_eq!(denial.to_string(), "the token has expired");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denial {
    kind: DenialKind,
    message: String,
}

/// The kind of a denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DenialKind {
    /// The peer did not prove its identity. A Yjs client gets the close code 4401.
    Unauthenticated,
    /// The peer's identity is known, but the peer may not have this document. A Yjs client gets the
    /// close code 4403.
    Forbidden,
    /// The server cannot decide now, and the peer tries again later. A Yjs client gets the close
    /// code 1013.
    Unavailable,
}

impl Denial {
    /// The peer did not prove its identity: it sent no token, or an invalid one.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self { kind: DenialKind::Unauthenticated, message: message.into() }
    }

    /// The peer may not have this document.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self { kind: DenialKind::Forbidden, message: message.into() }
    }

    /// The server cannot decide now, for example because a database does not answer. A peer that
    /// was made with `Peer::join` tries again later; `Peer::connect` returns the error at once.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { kind: DenialKind::Unavailable, message: message.into() }
    }

    /// The kind of the denial.
    pub fn kind(&self) -> DenialKind {
        self.kind
    }

    /// The message that the peer is told.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// A peer's request for a document: what the server knows about the peer. The hook given to
/// [`ServerBuilder::authorize`](crate::ServerBuilder::authorize) receives it.
///
/// The token, query, subprotocols and headers come from the peer and prove nothing until the hook
/// has checked them. `Debug` shows none of them, because they contain secrets.
#[derive(Clone)]
pub struct AccessRequest {
    document: String,
    token: Option<Token>,
    arrival: Arc<Arrival>,
}

/// How a peer connected. It is the same for all documents that the peer asks for on one connection.
#[derive(Debug, Default)]
pub(crate) struct Arrival {
    pub(crate) scheme: Option<Scheme>,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) yjs: bool,
    pub(crate) request: HttpRequest,
}

/// The content of the HTTP request with which a connection began, for the transports that begin
/// with one.
#[derive(Default)]
pub(crate) struct HttpRequest {
    pub(crate) query: Vec<(String, String)>,
    pub(crate) subprotocols: Vec<String>,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpRequest(..)")
    }
}

impl AccessRequest {
    pub(crate) fn new(document: &str, token: Option<Token>, arrival: &Arc<Arrival>) -> Self {
        Self { document: document.to_owned(), token, arrival: Arc::clone(arrival) }
    }

    /// The document's name. The server may have no document of that name.
    pub fn document(&self) -> &str {
        &self.document
    }

    /// The token of the peer's ticket ([`Ticket::with_token`](crate::Ticket::with_token)). If the
    /// ticket has none, this is the query parameter `token`, as `new WebsocketProvider(url, room,
    /// doc, { params: { token } })` sends it.
    pub fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.0.as_str()).or_else(|| self.query("token"))
    }

    /// The first query parameter of that name in the URL, decoded. `None` over QUIC and in memory.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.arrival
            .request
            .query
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// The WebSocket subprotocols that the peer offers, in the peer's order.
    pub fn subprotocols(&self) -> &[String] {
        &self.arrival.request.subprotocols
    }

    /// The first header of that name (`origin`, `cookie`, `authorization`, in any case) in the HTTP
    /// request with which a WebSocket or a WebTransport session began. Web pages cannot set
    /// headers, but browsers send cookies.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.arrival
            .request
            .headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The scheme over which the peer connected; `None` for a connection that was handed to
    /// [`Server::serve`](crate::Server::serve).
    pub fn scheme(&self) -> Option<Scheme> {
        self.arrival.scheme
    }

    /// Whether the peer is a Yjs client.
    pub fn is_yjs(&self) -> bool {
        self.arrival.yjs
    }

    /// The peer's address, if it connected over a network. Behind a proxy this is the proxy's
    /// address.
    pub fn address(&self) -> Option<SocketAddr> {
        self.arrival.address
    }
}

impl fmt::Debug for AccessRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Arrival { scheme, address, yjs, .. } = &*self.arrival;
        let mut shown = f.debug_struct("AccessRequest");
        shown
            .field("document", &self.document)
            .field("scheme", scheme)
            .field("address", address)
            .field("yjs", yjs)
            .finish_non_exhaustive()
    }
}

/// The parameters of a query in the format of HTML forms, `a=1&b=two%20words`. A parameter that is
/// not UTF-8 is skipped.
#[cfg(any(test, feature = "websocket", feature = "webtransport"))]
pub(crate) fn parameters(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| crate::ticket::unescape(&text.replace('+', " ")).ok();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .filter_map(|pair| pair.split_once('=').or(Some((pair, ""))))
        .filter_map(|(name, value)| decode(name).zip(decode(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters_are_decoded() {
        let pairs = [("token", "a b+c"), ("x", ""), ("ä", "1=2")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parameters("token=a+b%2Bc&x&&%C3%A4=1=2&bad=%ff&worse=%4"), pairs);
    }

    #[test]
    fn debug_of_a_request_hides_secrets() {
        let request = HttpRequest {
            query: parameters("token=secret&token=other"),
            subprotocols: vec!["secret".to_owned()],
            headers: vec![("cookie".to_owned(), "secret".to_owned())],
        };
        let arrival = Arc::new(Arrival { request, ..Arrival::default() });
        let asked = AccessRequest::new("page", None, &arrival);
        assert_eq!(
            (asked.token(), asked.header("Cookie"), asked.query("none")),
            (Some("secret"), Some("secret"), None)
        );
        let ours = AccessRequest::new("page", Some(Token("ticket's".to_owned())), &arrival);
        assert_eq!(ours.token(), Some("ticket's"));
        let shown = format!("{ours:?} {arrival:?}");
        assert!(!shown.contains("secret") && !shown.contains("ticket's"), "{shown}");
    }
}
