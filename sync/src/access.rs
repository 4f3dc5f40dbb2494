//! Who may have a document: what an embedder's hook is told of a peer, and what it answers.

use crate::frame::Token;
use crate::ticket::Scheme;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// What a peer may do with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rights {
    /// It gets the document and every change, and may show its presence. A change of its own stays
    /// with it, and [`Peer::flush`](crate::Peer::flush) says so; one that it sends all the same
    /// ends the conversation.
    ReadOnly,
    /// It may change the document, too.
    ReadWrite,
}

/// A peer does not get the document, and why not, in words for the peer.
///
/// ```
/// use exostate_sync::{Denial, DenialKind};
///
/// let denial = Denial::unauthenticated("the token has expired");
/// assert_eq!((denial.kind(), denial.to_string()), (DenialKind::Unauthenticated, "the token has expired".to_owned()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denial {
    kind: DenialKind,
    message: String,
}

/// What kind of denial it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DenialKind {
    /// The peer did not prove who it is. A Yjs client gets the close code 4401.
    Unauthenticated,
    /// The peer is known, and may not have this document. A Yjs client gets the close code 4403.
    Forbidden,
    /// It cannot be said now: the peer comes again later. A Yjs client gets the close code 1013.
    Unavailable,
}

impl Denial {
    /// The peer did not prove who it is: no token, or one that does not hold.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self { kind: DenialKind::Unauthenticated, message: message.into() }
    }

    /// The peer may not have this document.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self { kind: DenialKind::Forbidden, message: message.into() }
    }

    /// The server cannot decide now, as a database does not answer. A peer that was made with
    /// `Peer::join` comes again later; `Peer::connect` returns the error at once.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { kind: DenialKind::Unavailable, message: message.into() }
    }

    /// What kind of denial it is.
    pub fn kind(&self) -> DenialKind {
        self.kind
    }

    /// What the peer is told.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// A peer asks for a document: what is known of the peer, for the hook given to
/// [`ServerBuilder::authorize`](crate::ServerBuilder::authorize).
///
/// What a peer says of itself (its token, query, subprotocols, headers) proves nothing before the
/// hook has checked it. It is shown by no `Debug`, as secrets are in it.
#[derive(Clone)]
pub struct AccessRequest {
    document: String,
    token: Option<Token>,
    arrival: Arc<Arrival>,
}

/// How a peer came: the same for all documents that it asks for on one connection.
#[derive(Debug, Default)]
pub(crate) struct Arrival {
    pub(crate) scheme: Option<Scheme>,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) yjs: bool,
    pub(crate) request: HttpRequest,
}

/// What an HTTP request says, of those transports that begin with one.
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

    /// The document's name. The server need not have one of that name.
    pub fn document(&self) -> &str {
        &self.document
    }

    /// The token: that of the peer's ticket ([`Ticket::with_token`](crate::Ticket::with_token)), or
    /// else the query parameter `token`, as `new WebsocketProvider(url, room, doc, { params: {
    /// token } })` sends it.
    pub fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.0.as_str()).or_else(|| self.query("token"))
    }

    /// A parameter of the URL's query, decoded; the first of that name. Over QUIC, and in memory,
    /// there is none.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.arrival
            .request
            .query
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// The WebSocket subprotocols that the peer offers, in its order.
    pub fn subprotocols(&self) -> &[String] {
        &self.arrival.request.subprotocols
    }

    /// A header of the HTTP request with which a WebSocket or a WebTransport session began
    /// (`origin`, `cookie`, `authorization`), its name in any case; the first of that name.
    /// Pages cannot set headers of their own, but browsers send cookies.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.arrival
            .request
            .headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// How the peer came; `None` for a connection that was handed to
    /// [`Server::serve`](crate::Server::serve).
    pub fn scheme(&self) -> Option<Scheme> {
        self.arrival.scheme
    }

    /// Whether it is a Yjs client.
    pub fn is_yjs(&self) -> bool {
        self.arrival.yjs
    }

    /// Where the peer is, if it came over a network; a proxy's address, where there is one between.
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

/// The parameters of a query as forms write it, `a=1&b=two%20words`. One that is not UTF-8 is
/// passed over.
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
    fn a_query_is_decoded() {
        let pairs = [("token", "a b+c"), ("x", ""), ("ä", "1=2")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parameters("token=a+b%2Bc&x&&%C3%A4=1=2&bad=%ff&worse=%4"), pairs);
    }

    #[test]
    fn a_request_shows_no_secret() {
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
