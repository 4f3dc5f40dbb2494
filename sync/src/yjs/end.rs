//! The end of a conversation with a Yjs client, and how the client learns the reason.

use super::Socket;
use crate::access::{Denial, DenialKind};
use crate::frame::{FrameError, fitting};
use crate::limits::{FLUSH_TIMEOUT, WEBSOCKET_REASON_BYTES_MAX};
use crate::replica::Refusal;
use crate::server::DocumentError;
use crate::session::CloseReason;
use futures_util::SinkExt;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message as SocketMessage};

/// Close codes of this application, modelled on HTTP's status codes. y-websocket's provider (from
/// version 3.1 on) does not reconnect after 4400 to 4499.
const UNAUTHENTICATED: u16 = 4401;
const FORBIDDEN: u16 = 4403;
const NOT_FOUND: u16 = 4404;

/// Why the connection ends: the code and text for the client, and the reason for the operator.
#[derive(Debug)]
pub(crate) struct End {
    code: CloseCode,
    why: String,
    reason: CloseReason,
}

impl End {
    fn of(code: CloseCode, reason: CloseReason) -> Self {
        Self { code, why: reason.to_string(), reason }
    }

    /// The client broke its protocol, or needs what a Yjs client cannot do here.
    pub(super) fn policy(why: impl ToString) -> Self {
        let why = why.to_string();
        let reason = CloseReason::YjsClient { message: why.clone() };
        Self { code: CloseCode::Policy, why, reason }
    }

    /// The replica refused what the client sent.
    #[allow(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
    pub(super) fn refused(refusal: Refusal) -> Self {
        if refusal.is_for_now() {
            return Self::of(CloseCode::Again, CloseReason::NotNow(refusal));
        }
        Self::of(CloseCode::Policy, CloseReason::Refused(refusal))
    }

    pub(super) fn read_only() -> Self {
        let why = "the document is read-only".to_owned();
        Self { code: CloseCode::Policy, why, reason: CloseReason::ReadOnly }
    }

    pub(super) fn replica_panicked() -> Self {
        Self::of(CloseCode::Error, CloseReason::ReplicaPanicked)
    }

    pub(super) fn too_slow() -> Self {
        let why = "too slow".to_owned();
        Self { code: CloseCode::Again, why, reason: CloseReason::TooSlow }
    }

    pub(super) fn silent(after: Duration) -> Self {
        let reason = CloseReason::TimedOut { after };
        Self {
            code: CloseCode::Again,
            why: format!("nothing heard from the client for {after:?}"),
            reason,
        }
    }

    pub(super) fn gone() -> Self {
        let reason = CloseReason::Lost { message: "the client has gone".to_owned() };
        Self { code: CloseCode::Normal, why: String::new(), reason }
    }

    pub(crate) fn shutdown() -> Self {
        Self {
            code: CloseCode::Restart,
            why: "the server closes down".to_owned(),
            reason: CloseReason::Unavailable,
        }
    }

    pub(crate) fn denied(denial: Denial) -> Self {
        let code = match denial.kind() {
            DenialKind::Unauthenticated => CloseCode::Library(UNAUTHENTICATED),
            DenialKind::Forbidden => CloseCode::Library(FORBIDDEN),
            DenialKind::Unavailable => CloseCode::Again,
        };
        Self { code, why: denial.message().to_owned(), reason: CloseReason::Denied(denial) }
    }

    pub(crate) fn unknown(document: &str) -> Self {
        let document = document.to_owned();
        let why = DocumentError::Unknown { document: document.clone() }.to_string();
        let reason = CloseReason::UnknownDocument { document };
        Self { code: CloseCode::Library(NOT_FOUND), why, reason }
    }

    /// Sends the close frame to the client, and returns the reason.
    pub(crate) async fn tell(
        &self,
        socket: &mut Box<dyn Socket>,
        patience: Duration,
    ) -> CloseReason {
        let why = fitting(&self.why, WEBSOCKET_REASON_BYTES_MAX).to_owned();
        let frame = CloseFrame { code: self.code, reason: why.into() };
        // Fails if the client is gone.
        let _ =
            timeout(patience.min(FLUSH_TIMEOUT), socket.send(SocketMessage::Close(Some(frame))))
                .await;
        self.reason.clone()
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        let code = if matches!(error, FrameError::TooLarge { .. }) {
            CloseCode::Size
        } else {
            CloseCode::Policy
        };
        Self { code, why: error.to_string(), reason: CloseReason::Protocol(error) }
    }
}

impl From<SocketError> for End {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
                Self::from(FrameError::TooLarge {
                    what: "a message",
                    bytes: size as u64,
                    bytes_max: max_size as u64,
                })
            }
            error => Self::policy(error),
        }
    }
}

/// Reads and discards the remaining bytes until the client has read the close frame and closes,
/// too. If a connection is dropped with unread bytes, it is reset, and the client may never see the
/// reason.
pub(crate) async fn linger(mut socket: Box<dyn Socket>) {
    let raw = socket.raw();
    let lingering = async {
        raw.shutdown().await?;
        let mut waste = [0; 4096];
        while raw.read(&mut waste).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    // A client that does not close in time is dropped.
    let _ = timeout(FLUSH_TIMEOUT, lingering).await;
}
