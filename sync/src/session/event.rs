//! What a session tells its driver.

use crate::access::{Denial, DenialKind};
use crate::frame::FrameError;
use crate::replica::Refusal;

/// Something that the application or the driver may want to know.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The peer speaks the same protocol about the same document.
    Connected {
        /// The peer's replica id.
        replica: u64,
    },
    /// Both sides have the same version, and both said so.
    Live,
    /// The versions differ again, after [`Event::Live`].
    Behind,
    /// An update from the peer was given to the replica.
    RemoteUpdate {
        /// Its length.
        bytes: usize,
    },
    /// A part of what this replica lacks has come.
    Progress {
        /// Bytes that have come.
        received: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The peer has what the replica held when the session began, and these local updates: the
    /// first so many of those handed over.
    Acknowledged {
        /// How many.
        updates: u64,
    },
    /// The peer has applied updates that this side sent, and a listener or watcher of its replica
    /// panicked when it was told of them: whatever that one does with them (keeping them on
    /// disk, say) may not have been done.
    PeerFailed,
    /// The versions are equal and the contents are not, or the ops contradict each other: a replica
    /// id was used twice, or there is a bug. One side is going to make itself equal to the
    /// other.
    Diverged {
        /// This replica's digest.
        ours: [u8; 16],
        /// The peer's.
        theirs: [u8; 16],
    },
    /// This replica took over the peer's document, and put back on top what only its own had.
    /// Updates kept on disk until now do not give the document any more: it has to be saved as
    /// a whole.
    Repaired {
        /// Where both had something, and what became of it.
        conflicts: Vec<exostate::Conflict>,
    },
    /// The two sides stay different: none gave way, or this replica could not take over the peer's
    /// document.
    RepairFailed {
        /// Why.
        message: String,
    },
    /// The conversation is over; nothing follows.
    Closed {
        /// Why.
        reason: CloseReason,
    },
}

/// Why a conversation ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side asked for it.
    #[error("closed by this side")]
    Local,
    /// This side closes down, and the peer may come again.
    #[error("this side closes down for now")]
    Unavailable,
    /// The peer said so.
    #[error("closed by the peer ({code:?}): {}", OneLine(message))]
    Remote {
        /// The kind of reason.
        code: CloseCode,
        /// The peer's words.
        message: String,
    },
    /// Nothing was heard for the idle time-out.
    #[error("nothing heard from the peer for {after:?}")]
    TimedOut {
        /// The time-out.
        after: std::time::Duration,
    },
    /// The peer gave signs of life, but nothing of what it owed: an acknowledgement, its version,
    /// what it had announced; or it read nothing.
    #[error("the peer is stuck: nothing of what it owes came for {after:?}")]
    Stalled {
        /// For how long.
        after: std::time::Duration,
    },
    /// The peer has the same replica id: a copy of this one's bytes went on under its id.
    #[error("the peer has the same replica id, {replica:x}: open a copy under a fresh one")]
    SameReplica {
        /// The id.
        replica: u64,
    },
    /// The peer sent an update though this side takes none.
    #[error("the document is read-only here")]
    ReadOnly,
    /// The peer sent bytes that are no frame, or too many.
    #[error("the peer broke the protocol: {0}")]
    Protocol(FrameError),
    /// The two sides cannot talk to each other.
    #[error("the {what} differs: `{ours}` here, `{theirs}` there")]
    Incompatible {
        /// What differs: `document`, `backend` or `protocol version`.
        what: &'static str,
        /// This side's.
        ours: String,
        /// The peer's.
        theirs: String,
    },
    /// The replica refused what the peer sent. Another conversation with the same peer ends in the
    /// same way.
    #[error(transparent)]
    Refused(Refusal),
    /// The replica refused what the peer sent, but not for good: another conversation, later, may
    /// go on.
    #[error("not now: {0}")]
    NotNow(#[source] Refusal),
    /// The replica panicked: a bug in it, or in a listener that it calls. Open the document again.
    #[error("the replica panicked")]
    ReplicaPanicked,
    /// The server has no document of this name. Add it to the server's documents, or correct the
    /// ticket.
    #[error("no document named `{}`", OneLine(document))]
    UnknownDocument {
        /// The name that the peer asked for.
        document: String,
    },
    /// A Yjs client broke its protocol, or needs what a Yjs client cannot do here.
    #[error("the Yjs client: {}", OneLine(message))]
    YjsClient {
        /// What is wrong.
        message: String,
    },
    /// A Yjs client does not read fast enough. It may come again.
    #[error("the Yjs client is too slow")]
    TooSlow,
    /// The peer does not get the document: the hook of
    /// [`ServerBuilder::authorize`](crate::ServerBuilder::authorize) said so.
    #[error("denied: {0}")]
    Denied(Denial),
    /// The transport failed or ended without a word.
    #[error("the connection was lost: {message}")]
    Lost {
        /// The transport's error in words.
        message: String,
    },
}

/// The kind of reason that travels in a `Close` frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseCode {
    /// The application is done.
    Done,
    /// Malformed or oversized frames.
    Protocol,
    /// The server has no document of that name.
    UnknownDocument,
    /// Another backend, document or protocol version.
    Incompatible,
    /// Nothing heard for too long.
    TimedOut,
    /// The replica refused an update.
    Refused,
    /// Both sides have the same replica id.
    SameReplica,
    /// The side takes no updates.
    ReadOnly,
    /// The side closes down, or has too much to do: come again later.
    Unavailable,
    /// The peer did not prove who it is.
    Unauthenticated,
    /// The peer may not have the document.
    Forbidden,
    /// A code of a later version.
    Other(u64),
}

impl CloseCode {
    pub(crate) fn to_u64(self) -> u64 {
        match self {
            Self::Done => 0,
            Self::Protocol => 1,
            Self::UnknownDocument => 2,
            Self::Incompatible => 3,
            Self::TimedOut => 4,
            Self::Refused => 5,
            Self::SameReplica => 6,
            Self::ReadOnly => 7,
            Self::Unavailable => 8,
            Self::Unauthenticated => 9,
            Self::Forbidden => 10,
            Self::Other(code) => code,
        }
    }

    pub(crate) fn from_u64(code: u64) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::Protocol,
            2 => Self::UnknownDocument,
            3 => Self::Incompatible,
            4 => Self::TimedOut,
            5 => Self::Refused,
            6 => Self::SameReplica,
            7 => Self::ReadOnly,
            8 => Self::Unavailable,
            9 => Self::Unauthenticated,
            10 => Self::Forbidden,
            other => Self::Other(other),
        }
    }
}

/// Words that somebody else chose, on one line: what would begin another, or change how it shows,
/// is written as in Rust source.
pub(crate) struct OneLine<'a>(pub(crate) &'a str);

impl std::fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Line separators, and what turns the direction of writing.
        let shows_otherwise = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        self.0.chars().try_for_each(|c| {
            if c.is_control() || shows_otherwise(c) {
                write!(f, "{}", c.escape_default())
            } else {
                write!(f, "{c}")
            }
        })
    }
}

impl From<FrameError> for CloseReason {
    fn from(error: FrameError) -> Self {
        Self::Protocol(error)
    }
}

impl CloseReason {
    /// Whether another conversation would end alike.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Local
            | Self::SameReplica { .. }
            | Self::ReadOnly
            | Self::Incompatible { .. }
            | Self::Refused(_)
            | Self::ReplicaPanicked
            | Self::UnknownDocument { .. }
            | Self::YjsClient { .. } => true,
            Self::Denied(denial) => denial.kind() != DenialKind::Unavailable,
            Self::Unavailable
            | Self::NotNow(_)
            | Self::TooSlow
            | Self::TimedOut { .. }
            | Self::Stalled { .. }
            | Self::Protocol(_)
            | Self::Lost { .. } => false,
            Self::Remote { code, .. } => match code {
                CloseCode::UnknownDocument
                | CloseCode::Incompatible
                | CloseCode::Refused
                | CloseCode::SameReplica
                | CloseCode::ReadOnly
                | CloseCode::Unauthenticated
                | CloseCode::Forbidden => true,
                CloseCode::Done
                | CloseCode::Protocol
                | CloseCode::TimedOut
                | CloseCode::Unavailable
                | CloseCode::Other(_) => false,
            },
        }
    }

    /// What to tell the peer, `None` if there is nobody to tell.
    pub(crate) fn code(&self) -> Option<CloseCode> {
        match self {
            Self::Local => Some(CloseCode::Done),
            Self::Unavailable | Self::NotNow(_) | Self::TooSlow => Some(CloseCode::Unavailable),
            Self::UnknownDocument { .. } => Some(CloseCode::UnknownDocument),
            Self::Remote { .. } | Self::Lost { .. } => None,
            Self::TimedOut { .. } | Self::Stalled { .. } => Some(CloseCode::TimedOut),
            Self::SameReplica { .. } => Some(CloseCode::SameReplica),
            Self::ReadOnly => Some(CloseCode::ReadOnly),
            Self::Protocol(_) => Some(CloseCode::Protocol),
            Self::Incompatible { .. } => Some(CloseCode::Incompatible),
            Self::Refused(_) | Self::ReplicaPanicked | Self::YjsClient { .. } => {
                Some(CloseCode::Refused)
            }
            Self::Denied(denial) => Some(match denial.kind() {
                DenialKind::Unauthenticated => CloseCode::Unauthenticated,
                DenialKind::Forbidden => CloseCode::Forbidden,
                DenialKind::Unavailable => CloseCode::Unavailable,
            }),
        }
    }
}
