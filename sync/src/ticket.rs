//! Tickets. A ticket is a text that a person hands to another person so that they can connect:
//! `exo://host:port/document#fingerprint`, or another scheme for another transport.

use crate::frame::Token;
use crate::limits::{DOCUMENT_NAME_BYTES_MAX, TOKEN_BYTES_MAX};
use sha2::{Digest as _, Sha256};
use std::fmt::{self, Write as _};
use std::str::FromStr;

/// The transport to a server, and the first part of a [`Ticket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `exo`: QUIC. The server is recognised by its certificate's fingerprint.
    Quic,
    /// `ws`: WebSocket without encryption.
    WebSocket,
    /// `wss`: WebSocket over TLS. The server is recognised by its fingerprint or, without one, by a
    /// certificate that the web trusts.
    WebSocketTls,
    /// `https`: WebTransport over HTTP/3. The server is recognised by its fingerprint or by a
    /// certificate that the web trusts.
    WebTransport,
}

impl Scheme {
    const ALL: [Self; 4] = [Self::Quic, Self::WebSocket, Self::WebSocketTls, Self::WebTransport];

    /// The scheme as written in a ticket, without `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quic => "exo",
            Self::WebSocket => "ws",
            Self::WebSocketTls => "wss",
            Self::WebTransport => "https",
        }
    }

    /// The port that a ticket may leave out.
    fn default_port(self) -> Option<u16> {
        match self {
            Self::Quic => None,
            Self::WebSocket => Some(80),
            Self::WebSocketTls | Self::WebTransport => Some(443),
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The part of a ticket that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// The ticket starts with none of the schemes.
    #[error("a ticket starts with `exo://`, `ws://`, `wss://` or `https://`, not with `{found}`")]
    Scheme {
        /// The start of the text.
        found: String,
    },
    /// The host is missing, or contains a character that is not allowed in a host.
    #[error("`{found}` is no host")]
    Host {
        /// The text in its place.
        found: String,
    },
    /// The port is missing, or not a number from 1 to 65535.
    #[error("`{found}` is no port")]
    Port {
        /// The text in its place.
        found: String,
    },
    /// The document's name is missing, too long, or badly escaped.
    #[error("the document's name `{found}` {problem}")]
    Document {
        /// The text in its place.
        found: String,
        /// The problem with it.
        problem: &'static str,
    },
    /// The fingerprint is not 64 hexadecimal digits.
    #[error("the fingerprint `{found}` is not 64 hexadecimal digits")]
    Fingerprint {
        /// The text in its place.
        found: String,
    },
    /// The text after `?` is not a token. The error does not show it, because it may be a secret
    /// anyway.
    #[error(
        "behind `?` a ticket has `token=` and 1 to 4,096 bytes, percent-encoded, and nothing else"
    )]
    Token,
    /// The ticket has a fingerprint, but its scheme uses no certificate.
    #[error("a `ws://` ticket has no fingerprint: without encryption there is no certificate")]
    Unencrypted,
}

impl From<std::convert::Infallible> for TicketError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// The SHA-256 hash of a server's certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }

    /// The bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let wrong = || TicketError::Fingerprint { found: text.to_owned() };
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let high = hex(pair[0]).ok_or_else(wrong)?;
            let low = hex(pair[1]).ok_or_else(wrong)?;
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The server of a document, and the certificate that the server must show.
///
/// | ticket | transport | the server is |
/// |---|---|---|
/// | `exo://host:port/document#fingerprint` | QUIC | the one with the certificate of that SHA-256 |
/// | `ws://host:port/document` | WebSocket | not verified: for loopback and trusted networks |
/// | `wss://host:port/document#fingerprint` | WebSocket over TLS | the one with that certificate |
/// | `wss://host:port/document` | WebSocket over TLS | one with a publicly trusted certificate |
/// | `https://host:port/document#fingerprint` | WebTransport | the one with that certificate |
/// | `https://host:port/document` | WebTransport | one with a publicly trusted certificate |
///
/// If the scheme has a default port (80, 443), `:port` may be left out. A token may follow the
/// document, `?token=…`: see [`with_token`](Self::with_token).
///
/// ```
/// use exostate_sync::{Ticket, TicketError};
///
/// let text = format!("exo://[::1]:4433/road%20map#{}", "0f".repeat(32));
/// let ticket: Ticket = text.parse()?;
/// assert_eq!((ticket.host(), ticket.port(), ticket.document()), ("::1", 4433, "road map"));
/// assert_eq!(ticket.to_string(), text);
///
/// let error = "exo://host:99999/roadmap#00".parse::<Ticket>();
/// assert_eq!(error, Err(TicketError::Port { found: "99999".into() }));
/// # Ok::<(), TicketError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    scheme: Scheme,
    host: String,
    port: u16,
    document: String,
    fingerprint: Option<Fingerprint>,
    token: Option<Token>,
}

impl Ticket {
    /// Makes a ticket from its parts.
    ///
    /// # Errors
    /// The host or the document is not valid, the port is 0, or the scheme needs a fingerprint or
    /// cannot have one.
    pub fn new(
        scheme: Scheme,
        host: &str,
        port: u16,
        document: &str,
        fingerprint: Option<Fingerprint>,
    ) -> Result<Self, TicketError> {
        check_host(host)?;
        check_document(document)?;
        if port == 0 {
            return Err(TicketError::Port { found: "0".to_owned() });
        }
        match (scheme, fingerprint) {
            (Scheme::Quic, None) => return Err(TicketError::Fingerprint { found: String::new() }),
            (Scheme::WebSocket, Some(_)) => return Err(TicketError::Unencrypted),
            _ => {}
        }
        let host = host.to_owned();
        let document = document.to_owned();
        Ok(Self { scheme, host, port, document, fingerprint, token: None })
    }

    /// The scheme, which names the transport.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host's name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port: a UDP port for QUIC and WebTransport, else a TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The document's name, unescaped.
    pub fn document(&self) -> &str {
        &self.document
    }

    /// The fingerprint that the server's certificate must have. `None` if every certificate that
    /// the web trusts for the host is accepted, or if the scheme uses no certificate.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }

    /// The token that proves to the server that the holder may have the document: see
    /// [`with_token`](Self::with_token).
    pub fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.0.as_str())
    }

    /// The same ticket with a token for the hook of
    /// [`ServerBuilder::authorize`](crate::ServerBuilder::authorize). The token has 1 to 4,096
    /// bytes. The text of the ticket contains it as `?token=…` after the document. `Debug` does not
    /// show it. A ticket with a token is as secret as the token.
    ///
    /// Over `ws://` others on the network can read the token.
    ///
    /// ```
    /// use exostate_sync::Ticket;
    ///
    /// let ticket: Ticket = "ws://localhost:8080/roadmap?token=open%20sesame".parse()?;
    /// assert_eq!(ticket.token(), Some("open sesame"));
    /// let other = ticket.clone().with_token("other")?;
    /// assert_eq!(other.to_string(), "ws://localhost:8080/roadmap?token=other");
    /// # Ok::<(), exostate_sync::TicketError>(())
    /// ```
    ///
    /// # Errors
    /// The token is empty or too long.
    pub fn with_token(self, token: &str) -> Result<Self, TicketError> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(TicketError::Token);
        }
        Ok(Self { token: Some(Token(token.to_owned())), ..self })
    }

    /// The same ticket with another host, such as a server's public name.
    pub fn with_host(self, host: &str) -> Result<Self, TicketError> {
        check_host(host)?;
        Ok(Self { host: host.to_owned(), ..self })
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port, .. } = self;
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}/")?;
        } else {
            write!(f, "{scheme}://{host}:{port}/")?;
        }
        escape(&self.document, f)?;
        if let Some(Token(token)) = &self.token {
            f.write_str("?token=")?;
            escape(token, f)?;
        }
        match self.fingerprint {
            Some(fingerprint) => write!(f, "#{fingerprint}"),
            None => Ok(()),
        }
    }
}

fn escape(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                f.write_char(char::from(byte))?
            }
            _ => write!(f, "%{byte:02X}")?,
        }
    }
    Ok(())
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let wrong = || TicketError::Scheme { found: text.chars().take("https://".len()).collect() };
        let (found, rest) = text.split_once("://").ok_or_else(wrong)?;
        let scheme =
            Scheme::ALL.into_iter().find(|scheme| scheme.as_str() == found).ok_or_else(wrong)?;
        let (rest, fingerprint) = rest
            .split_once('#')
            .map_or((rest, None), |(rest, fingerprint)| (rest, Some(fingerprint)));
        let (rest, query) =
            rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (place, document) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(port))),
            None => place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        check_host(host)?;
        let wrong = || TicketError::Port { found: port.unwrap_or_default().to_owned() };
        let number = match port {
            Some(port) => port.parse().map_err(|_| wrong())?,
            None => scheme.default_port().ok_or_else(wrong)?,
        };
        let fingerprint = fingerprint.map(str::parse).transpose()?;
        let ticket = Self::new(scheme, host, number, &unescape(document)?, fingerprint)?;
        match query {
            Some(query) => {
                let token = query
                    .strip_prefix("token=")
                    .filter(|token| !token.contains('&'))
                    .ok_or(TicketError::Token)?;
                ticket.with_token(&unescape(token).map_err(|_| TicketError::Token)?)
            }
            None => Ok(ticket),
        }
    }
}

impl From<&Self> for Ticket {
    fn from(ticket: &Self) -> Self {
        ticket.clone()
    }
}

impl TryFrom<&str> for Ticket {
    type Error = TicketError;

    fn try_from(text: &str) -> Result<Self, TicketError> {
        text.parse()
    }
}

impl TryFrom<String> for Ticket {
    type Error = TicketError;

    fn try_from(text: String) -> Result<Self, TicketError> {
        text.parse()
    }
}

impl TryFrom<&String> for Ticket {
    type Error = TicketError;

    fn try_from(text: &String) -> Result<Self, TicketError> {
        text.parse()
    }
}

fn check_host(host: &str) -> Result<(), TicketError> {
    let address = host.parse::<std::net::Ipv6Addr>().is_ok();
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if address || (!host.is_empty() && host.len() <= 253 && host.bytes().all(name)) {
        return Ok(());
    }
    Err(TicketError::Host { found: host.to_owned() })
}

pub(crate) fn check_document(document: &str) -> Result<(), TicketError> {
    let problem = if document.is_empty() {
        "is empty"
    } else if document.len() > DOCUMENT_NAME_BYTES_MAX {
        "is longer than 255 bytes"
    } else {
        return Ok(());
    };
    Err(TicketError::Document { found: document.to_owned(), problem })
}

pub(crate) fn unescape(text: &str) -> Result<String, TicketError> {
    let wrong = |problem| TicketError::Document { found: text.to_owned(), problem };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = match tail {
            [high, low, ..] => hex(*high).zip(hex(*low)),
            _ => None,
        };
        let Some((high, low)) = digits else {
            return Err(wrong("has a `%` without two hexadecimal digits"));
        };
        bytes.push(high << 4 | low);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Ticket>().expect_err(text).to_string()
    }

    #[test]
    fn errors_name_the_part_that_is_wrong() {
        let print = "ab".repeat(32);
        assert!(error("http://h:1/d").contains("`exo://`"));
        assert!(error("exo:h:1/d").contains("not with `exo:h:1/`"));
        assert_eq!(error(&format!("exo://:1/d#{print}")), "`` is no host");
        assert_eq!(error(&format!("exo://h o:1/d#{print}")), "`h o` is no host");
        assert_eq!(error(&format!("exo://h/d#{print}")), "`` is no port");
        assert_eq!(error(&format!("exo://h:0/d#{print}")), "`0` is no port");
        assert!(error(&format!("exo://h:1/#{print}")).contains("is empty"));
        assert!(error(&format!("exo://h:1/%4#{print}")).contains("two hexadecimal"));
        assert!(error(&format!("exo://h:1/%ff#{print}")).contains("UTF-8"));
        let at = "d".repeat(255);
        let past = "d".repeat(256);
        assert!(format!("exo://h:1/{at}#{print}").parse::<Ticket>().is_ok());
        assert!(error(&format!("exo://h:1/{past}#{print}")).contains("longer"));
        assert!(error("exo://h:1/d").contains("fingerprint ``"));
        assert!(error("wss://h:1/d#").contains("fingerprint ``"));
        assert!(error(&format!("ws://h:1/d#{print}")).contains("no certificate"));
        assert!(error("exo://h:1/d#+f").contains("fingerprint `+f`"));
    }

    #[test]
    fn document_names_round_trip_in_tickets() {
        let print = Fingerprint::of(b"certificate");
        for document in ["a/b", "ä #%?", "%41", "line\nbreak"] {
            for (scheme, print) in [
                (Scheme::Quic, Some(print)),
                (Scheme::WebSocket, None),
                (Scheme::WebSocketTls, None),
            ] {
                let ticket =
                    Ticket::new(scheme, "host.example", 4433, document, print).expect("valid");
                assert_eq!(ticket.to_string().parse(), Ok(ticket));
            }
        }
    }

    #[test]
    fn a_token_round_trips_and_debug_hides_it() {
        let ticket = Ticket::new(
            Scheme::Quic,
            "host.example",
            4433,
            "a?b",
            Some(Fingerprint::of(b"certificate")),
        )
        .expect("valid");
        for token in ["t", "ä #%?&=+", "%41"] {
            let ticket = ticket.clone().with_token(token).expect("valid");
            assert_eq!(
                (ticket.token(), ticket.to_string().parse().as_ref()),
                (Some(token), Ok(&ticket))
            );
        }
        let shown = format!("{:?}", ticket.clone().with_token("secret"));
        assert!(!shown.contains("secret"), "{shown}");
        let print = "ab".repeat(32);
        for query in [
            "",
            "token=",
            "key=a",
            "token=a&b=c",
            "token=%4",
            "tokena",
            &format!("token={}", "t".repeat(4097)),
        ] {
            assert_eq!(
                format!("exo://h:1/d?{query}#{print}").parse::<Ticket>(),
                Err(TicketError::Token),
                "{query}"
            );
        }
        assert!(ticket.with_token(&"t".repeat(4096)).is_ok());
    }

    #[test]
    fn default_ports_may_be_left_out() {
        let port =
            |text: &str| text.parse::<Ticket>().map(|ticket| (ticket.scheme(), ticket.port()));
        assert_eq!(port("ws://h/d"), Ok((Scheme::WebSocket, 80)));
        assert_eq!(port("wss://[::1]/d"), Ok((Scheme::WebSocketTls, 443)));
        assert_eq!(port("https://h/d"), Ok((Scheme::WebTransport, 443)));
        assert_eq!(port("https://h:/d"), Err(TicketError::Port { found: String::new() }));
    }
}
