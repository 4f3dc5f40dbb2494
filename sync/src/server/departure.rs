//! The end of each conversation with a server and its reason, so that an operator can find the
//! peers that misbehave.

use crate::session::{CloseReason, OneLine};
use std::net::SocketAddr;
use tokio::sync::broadcast;

/// The end of a conversation with a server: [`Server::departures`](super::Server::departures).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Departure {
    /// The peer's address, if the connection came over a network. Behind a proxy this is the
    /// proxy's address.
    pub address: Option<SocketAddr>,
    /// The document that the peer asked for, if it got that far. The server may not have it.
    pub document: Option<String>,
    /// The peer's replica id, if it got that far.
    pub replica: Option<u64>,
    /// Why the conversation ended.
    pub reason: CloseReason,
}

impl std::fmt::Display for Departure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.replica {
            Some(replica) => write!(f, "replica {replica:x}")?,
            None => f.write_str("a peer")?,
        }
        if let Some(address) = self.address {
            write!(f, " at {address}")?;
        }
        if let Some(document) = &self.document {
            write!(f, ", document {document:?}")?;
        }
        // The reason may contain a name or a message that the peer sent, so it is escaped into one
        // line.
        write!(f, ": {}", OneLine(&self.reason.to_string()))
    }
}

/// Reports the end of one conversation.
pub(super) struct Report {
    pub(super) to: broadcast::Sender<Departure>,
    pub(super) address: Option<SocketAddr>,
}

impl Report {
    pub(super) fn tell(self, document: Option<String>, replica: Option<u64>, reason: CloseReason) {
        // Fails if there is no receiver.
        let _ = self.to.send(Departure { address: self.address, document, replica, reason });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_departure_names_the_known_parts_of_a_peer() {
        let mut departure = Departure {
            address: None,
            document: None,
            replica: None,
            reason: CloseReason::ReadOnly,
        };
        assert_eq!(departure.to_string(), "a peer: the document is read-only here");
        departure.address = Some(([192, 0, 2, 1], 4433).into());
        (departure.document, departure.replica) = (Some("a\nb".to_owned()), Some(0xcafe));
        assert_eq!(
            departure.to_string(),
            "replica cafe at 192.0.2.1:4433, document \"a\\nb\": the document is read-only here"
        );
    }

    #[test]
    fn control_characters_in_messages_of_peers_are_escaped() {
        let message = "bye\r\n2026-01-01 replica cafe left\u{1b}[2K\u{2028}\u{202e}".to_owned();
        let escaped = "bye\\r\\n2026-01-01 replica cafe left\\u{1b}[2K\\u{2028}\\u{202e}";
        let remote =
            CloseReason::Remote { code: crate::session::CloseCode::Done, message: message.clone() };
        let refused = CloseReason::Refused(crate::Refusal::new(message.clone()));
        let ours = "d".to_owned();
        let theirs = message.clone();
        let differs = CloseReason::Incompatible { what: "document", ours, theirs };
        assert!(remote.to_string().ends_with(escaped), "{remote}");
        for reason in [remote, refused, differs, CloseReason::Lost { message }] {
            let line =
                Departure { address: None, document: None, replica: None, reason }.to_string();
            assert!(line.contains(escaped) && !line.contains(char::is_control), "{line}");
        }
    }
}
