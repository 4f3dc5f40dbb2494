//! What one hands to another person so that they can connect: `exo://host:port/document#fingerprint`.

use crate::limits::DOCUMENT_NAME_BYTES_MAX;
use sha2::{Digest as _, Sha256};
use std::fmt::{self, Write as _};
use std::str::FromStr;

const SCHEME: &str = "exo://";

/// Which part of a ticket is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// It does not start with `exo://`.
    #[error("a ticket starts with `exo://`, not with `{found}`")]
    Scheme {
        /// How it starts.
        found: String,
    },
    /// There is no host, or it has characters that no host has.
    #[error("`{found}` is no host")]
    Host {
        /// What is in its place.
        found: String,
    },
    /// There is no port between 1 and 65535.
    #[error("`{found}` is no port")]
    Port {
        /// What is in its place.
        found: String,
    },
    /// The document's name is missing, too long, or badly escaped.
    #[error("the document's name `{found}` {problem}")]
    Document {
        /// What is in its place.
        found: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The fingerprint is not 64 hexadecimal digits.
    #[error("the fingerprint `{found}` is not 64 hexadecimal digits")]
    Fingerprint {
        /// What is in its place.
        found: String,
    },
}

impl From<std::convert::Infallible> for TicketError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// The SHA-256 of a server's certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }

    /// Its bytes.
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
            let (high, low) = (hex(pair[0]).ok_or_else(wrong)?, hex(pair[1]).ok_or_else(wrong)?);
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Where a document is served, and whose certificate to expect there.
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
    host: String,
    port: u16,
    document: String,
    fingerprint: Fingerprint,
}

impl Ticket {
    /// A ticket of these parts.
    pub fn new(host: &str, port: u16, document: &str, fingerprint: Fingerprint) -> Result<Self, TicketError> {
        check_host(host)?;
        check_document(document)?;
        if port == 0 {
            return Err(TicketError::Port { found: "0".to_owned() });
        }
        let (host, document) = (host.to_owned(), document.to_owned());
        Ok(Self { host, port, document, fingerprint })
    }

    /// The host's name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The UDP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The document's name, unescaped.
    pub fn document(&self) -> &str {
        &self.document
    }

    /// The fingerprint that the server's certificate must have.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The same place and document at another host, such as a server's public name.
    pub fn with_host(self, host: &str) -> Result<Self, TicketError> {
        check_host(host)?;
        Ok(Self { host: host.to_owned(), ..self })
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            write!(f, "{SCHEME}[{host}]:{port}/")?;
        } else {
            write!(f, "{SCHEME}{host}:{port}/")?;
        }
        for byte in self.document.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                    f.write_char(char::from(byte))?;
                }
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        write!(f, "#{}", self.fingerprint)
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let Some(rest) = text.strip_prefix(SCHEME) else {
            return Err(TicketError::Scheme { found: text.chars().take(SCHEME.len()).collect() });
        };
        let (rest, fingerprint) = rest.split_once('#').unwrap_or((rest, ""));
        let (place, document) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':').unwrap_or(port)),
            None => place.rsplit_once(':').unwrap_or((place, "")),
        };
        check_host(host)?;
        let number = port.parse().map_err(|_| TicketError::Port { found: port.to_owned() })?;
        Self::new(host, number, &unescape(document)?, fingerprint.parse()?)
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

fn unescape(text: &str) -> Result<String, TicketError> {
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
        assert!(error("http://h:1/d").contains("exo://"));
        assert_eq!(error(&format!("exo://:1/d#{print}")), "`` is no host");
        assert_eq!(error(&format!("exo://h o:1/d#{print}")), "`h o` is no host");
        assert_eq!(error(&format!("exo://h/d#{print}")), "`` is no port");
        assert_eq!(error(&format!("exo://h:0/d#{print}")), "`0` is no port");
        assert!(error(&format!("exo://h:1/#{print}")).contains("is empty"));
        assert!(error(&format!("exo://h:1/%4#{print}")).contains("two hexadecimal"));
        assert!(error(&format!("exo://h:1/%ff#{print}")).contains("UTF-8"));
        let (at, past) = ("d".repeat(255), "d".repeat(256));
        assert!(format!("exo://h:1/{at}#{print}").parse::<Ticket>().is_ok());
        assert!(error(&format!("exo://h:1/{past}#{print}")).contains("longer"));
        assert!(error("exo://h:1/d").contains("fingerprint ``"));
        assert!(error("exo://h:1/d#+f").contains("fingerprint `+f`"));
    }

    #[test]
    fn any_document_name_survives() {
        let print = Fingerprint::of(b"certificate");
        for document in ["a/b", "ä #%?", "%41", "line\nbreak"] {
            let ticket = Ticket::new("host.example", 4433, document, print).expect("valid");
            assert_eq!(ticket.to_string().parse(), Ok(ticket));
        }
    }
}
