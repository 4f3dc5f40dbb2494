//! How a conversation with a Yjs client ends, and how the client gets to know why.

use super::Socket;
use crate::access::{Denial, DenialKind};
use crate::frame::{FrameError, fitting};
use crate::limits::{FLUSH_TIMEOUT, WEBSOCKET_REASON_BYTES_MAX};
use crate::session::CloseReason;
use futures_util::SinkExt;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message as SocketMessage};

/// Close codes that an application gives, after HTTP's: y-websocket's provider (from version 3.1
/// on) stops at 4400 to 4499.
const UNAUTHENTICATED: u16 = 4401;
const FORBIDDEN: u16 = 4403;
const NOT_FOUND: u16 = 4404;

/// Why the connection ends, as the client is told, and as the operator is.
#[derive(Debug)]
pub(crate) struct End {
    code: CloseCode,
    why: String,
    reason: CloseReason,
}

impl End {
    fn refused(code: CloseCode, why: impl ToString) -> Self {
        let why = why.to_string();
        Self { code, reason: CloseReason::Refused { message: why.clone() }, why }
    }

    pub(super) fn policy(why: impl ToString) -> Self {
        Self::refused(CloseCode::Policy, why)
    }

    pub(super) fn error(why: impl ToString) -> Self {
        Self::refused(CloseCode::Error, why)
    }

    pub(super) fn too_slow() -> Self {
        Self::refused(CloseCode::Again, "too slow")
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

    pub(crate) fn unknown(why: impl ToString) -> Self {
        Self::refused(CloseCode::Library(NOT_FOUND), why)
    }

    /// Tells the client, if it is there. The reason comes back.
    pub(crate) async fn tell(
        &self,
        socket: &mut Box<dyn Socket>,
        patience: Duration,
    ) -> CloseReason {
        let why = fitting(&self.why, WEBSOCKET_REASON_BYTES_MAX).to_owned();
        let frame = CloseFrame { code: self.code, reason: why.into() };
        // Fails where the client is gone.
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
        Self::refused(code, error)
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

/// Takes what is still on its way and throws it away, until the client has read the end and goes
/// too. A connection that is dropped with something unread is reset, and then the client may never
/// see why.
pub(crate) async fn linger(mut socket: Box<dyn Socket>) {
    let raw = socket.raw();
    let lingering = async {
        raw.shutdown().await?;
        let mut waste = [0; 4096];
        while raw.read(&mut waste).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    // Whoever does not go is left.
    let _ = timeout(FLUSH_TIMEOUT, lingering).await;
}
