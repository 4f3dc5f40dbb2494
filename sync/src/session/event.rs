//! Events that a session reports to its driver.

use crate::access::{Denial, DenialKind};
use crate::frame::FrameError;
use crate::replica::Refusal;
use exostate::Digest;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// An event for the application or the driver.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The peer speaks the same protocol and has the same document.
    Connected {
        /// The peer's replica id.
        replica: u64,
    },
    /// Both sides have announced the same version.
    Live,
    /// The versions differ again, after [`Event::Live`].
    Behind,
    /// An update from the peer was given to the replica.
    RemoteUpdate {
        /// Length of the update.
        bytes: usize,
    },
    /// A part of the ops that this replica lacks has come.
    Progress {
        /// Bytes that have come so far.
        received: u64,
        /// Bytes in total.
        total: u64,
    },
    /// The peer has everything that the replica held when the session began, and the first
    /// `updates` local updates that were handed over. If the peer has a storage, it has written
    /// them.
    Acknowledged {
        /// Number of local updates.
        updates: u64,
    },
    /// The peer has applied updates of this side, and then a listener or watcher of the peer's
    /// replica panicked. The work of that listener, such as saving the updates to disk, may not
    /// have been done.
    PeerFailed,
    /// The versions are equal and the contents differ, or the ops contradict each other: a replica
    /// id was used twice, or there is a bug. One side is going to make its document equal to that
    /// of the other side.
    Diverged {
        /// The digest of this replica.
        ours: Digest,
        /// The digest of the peer.
        theirs: Digest,
    },
    /// This replica took over the peer's document and put back the content that only its own
    /// document had. The updates saved on disk until this moment do not give this document. The
    /// application has to save the whole document.
    Repaired {
        /// The places where both documents had content, and the result at each place.
        conflicts: Vec<exostate::Conflict>,
    },
    /// The two sides stay different: neither side gave way, or this replica could not take over the
    /// peer's document.
    RepairFailed {
        /// Why the repair failed.
        message: String,
    },
    /// The session is over. No event follows.
    Closed {
        /// Why the session ended.
        reason: CloseReason,
    },
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed the session.
    #[error("closed by this side")]
    Local,
    /// This side closes down for now. The peer may connect again.
    #[error("this side closes down for now")]
    Unavailable,
    /// The peer closed the session.
    #[error("closed by the peer ({code:?}): {}", OneLine(message))]
    Remote {
        /// The kind of reason.
        code: CloseCode,
        /// The message of the peer.
        message: String,
    },
    /// No frame came from the peer during the idle time-out.
    #[error("nothing heard from the peer for {after:?}")]
    TimedOut {
        /// The time-out.
        after: std::time::Duration,
    },
    /// The peer sent signs of life, but did nothing that it owes: it sent no acknowledgement, no
    /// version and no part of the answer that it announced, or it did not read.
    #[error("the peer is stuck: nothing of what it owes came for {after:?}")]
    Stalled {
        /// How long the peer did nothing that it owes.
        after: std::time::Duration,
    },
    /// The peer has the same replica id: a copy of this document is used under the same id.
    #[error("the peer has the same replica id, {replica:x}: open a copy under a fresh one")]
    SameReplica {
        /// The replica id.
        replica: u64,
    },
    /// The peer sent an update, but this side takes none.
    #[error("the document is read-only here")]
    ReadOnly,
    /// The peer sent bytes that are not a frame, or a frame that is too large.
    #[error("the peer broke the protocol: {0}")]
    Protocol(FrameError),
    /// The two sides are not compatible.
    #[error("the {what} differs: `{ours}` here, `{theirs}` there")]
    Incompatible {
        /// What differs: `document`, `backend` or `protocol version`.
        what: &'static str,
        /// The value of this side.
        ours: String,
        /// The value of the peer.
        theirs: String,
    },
    /// The replica refused an update from the peer. Another session with the same peer would end in
    /// the same way.
    #[error(transparent)]
    Refused(Refusal),
    /// The replica refused an update from the peer, but the refusal is retryable: a later session
    /// may succeed.
    #[error("not now: {0}")]
    NotNow(#[source] Refusal),
    /// The replica panicked: there is a bug in it, or in a listener that it calls. Open the
    /// document again.
    #[error("the replica panicked")]
    ReplicaPanicked,
    /// The server has no document of this name. Add it to the server's documents, or correct the
    /// ticket.
    #[error("no document named `{}`", OneLine(document))]
    UnknownDocument {
        /// The name that the peer asked for.
        document: String,
    },
    /// A Yjs client broke its protocol, or needs a feature that Yjs clients cannot use here.
    #[error("the Yjs client: {}", OneLine(message))]
    YjsClient {
        /// What is wrong.
        message: String,
    },
    /// A Yjs client does not read fast enough. It may connect again.
    #[error("the Yjs client is too slow")]
    TooSlow,
    /// The peer may not have the document. The hook of
    /// [`ServerBuilder::authorize`](crate::ServerBuilder::authorize) refused it.
    #[error("denied: {0}")]
    Denied(Denial),
    /// No connection could be made.
    #[error(transparent)]
    NotConnected(ConnectFailure),
    /// The transport failed, or it ended without a `Close` frame.
    #[error("the connection was lost: {message}")]
    Lost {
        /// The error of the transport as text.
        message: String,
    },
}

/// A connection that could not be made. It shows the error of the attempt, and has the source of
/// that error.
///
/// Two failures are equal if they hold the same error object. An equal error is not enough.
#[derive(Clone, Debug)]
pub struct ConnectFailure {
    cause: Arc<dyn Error + Send + Sync>,
    is_final: bool,
}

impl ConnectFailure {
    #[cfg(feature = "tls")]
    pub(crate) fn new(cause: impl Error + Send + Sync + 'static, is_final: bool) -> Self {
        Self { cause: Arc::new(cause), is_final }
    }

    /// The error of the attempt: with the features for networks a `ConnectError`.
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.cause
    }

    /// Whether every further attempt would fail in the same way, so that none is made.
    pub fn is_final(&self) -> bool {
        self.is_final
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl Error for ConnectFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}

impl PartialEq for ConnectFailure {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.cause, &other.cause)
    }
}

impl Eq for ConnectFailure {}

/// The kind of reason that is sent in a `Close` frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseCode {
    /// The application has finished.
    Done,
    /// Malformed or oversized frames.
    Protocol,
    /// The server has no document of that name.
    UnknownDocument,
    /// The backend, the document or the protocol version differs.
    Incompatible,
    /// No frame came for too long.
    TimedOut,
    /// The replica refused an update.
    Refused,
    /// Both sides have the same replica id.
    SameReplica,
    /// The side that closes takes no updates.
    ReadOnly,
    /// The side that closes shuts down, or has too much to do. Connect again later.
    Unavailable,
    /// The peer did not prove its identity.
    Unauthenticated,
    /// The peer may not have the document.
    Forbidden,
    /// A code of a later protocol version.
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

/// A text from another party, shown on one line. Characters that would begin a new line, or change
/// how the text is displayed, are written as escapes as in Rust source.
pub(crate) struct OneLine<'a>(pub(crate) &'a str);

impl std::fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Line separators, and characters that change the direction of writing.
        let shows_otherwise = |c| {
            matches!(
                c,
                '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            )
        };
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
    /// Whether another session would end in the same way.
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
            Self::NotConnected(failure) => failure.is_final(),
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

    /// The code to send to the peer. `None` if the peer closed the session or the connection was
    /// lost.
    pub(crate) fn code(&self) -> Option<CloseCode> {
        match self {
            Self::Local => Some(CloseCode::Done),
            Self::Unavailable | Self::NotNow(_) | Self::TooSlow => Some(CloseCode::Unavailable),
            Self::UnknownDocument { .. } => Some(CloseCode::UnknownDocument),
            Self::Remote { .. } | Self::Lost { .. } | Self::NotConnected(_) => None,
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
