//! Connections that carry whole frames, in order. The traits are open: an application can implement
//! them for anything that sends and receives byte strings.

pub(crate) mod datagrams;
pub(crate) mod memory;

#[cfg(feature = "tls")]
pub(crate) mod identity;
#[cfg(feature = "tls")]
pub(crate) mod link;
#[cfg(any(feature = "websocket", feature = "webtransport"))]
pub(crate) mod origins;
#[cfg(feature = "quic")]
pub(crate) mod quic;
#[cfg(feature = "webtransport")]
pub(crate) mod rotation;
#[cfg(feature = "tls")]
pub(crate) mod tls;
#[cfg(feature = "websocket")]
pub(crate) mod websocket;
#[cfg(feature = "webtransport")]
pub(crate) mod webtransport;

use crate::frame::FrameError;
use datagrams::Datagrams;
use std::error::Error;
use std::future::Future;

/// A connection failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The peer's bytes are not a sequence of frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The connection is lost.
    #[error(transparent)]
    Lost(Box<dyn Error + Send + Sync>),
}

impl TransportError {
    /// Wraps the connection's own error.
    pub fn lost(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Lost(cause.into())
    }
}

/// The sending half.
pub trait FrameSink: Send + 'static {
    /// Sends one frame; waits while the connection is full.
    fn send(&mut self, frame: Vec<u8>) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Sends several frames in this order. The default implementation sends them one by one; an
    /// implementation that sends them together may need fewer packets.
    fn send_all(
        &mut self,
        frames: Vec<Vec<u8>>,
    ) -> impl Future<Output = Result<(), TransportError>> + Send {
        async move {
            for frame in frames {
                self.send(frame).await?;
            }
            Ok(())
        }
    }

    /// Ends the sending direction, and waits until the peer has received everything or is gone.
    fn finish(&mut self) -> impl Future<Output = Result<(), TransportError>> + Send;
}

/// The receiving half.
pub trait FrameSource: Send + 'static {
    /// The next frame; `None` once the peer has ended its direction.
    fn recv(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, TransportError>> + Send;
}

/// A connection to one peer about one document.
pub trait Transport: Send + 'static {
    /// The sending half.
    type Sink: FrameSink;
    /// The receiving half.
    type Source: FrameSource;

    /// The document's share of the connection's datagrams, if the connection has any. Called once,
    /// before `split`.
    fn datagrams(&mut self) -> Option<Datagrams> {
        None
    }

    /// Splits the transport into its halves. Dropping both halves ends the connection without a
    /// message to the peer.
    fn split(self) -> (Self::Sink, Self::Source);
}

/// A connection to one peer that carries any number of documents, each in its own [`Transport`].
/// Clones are the same connection.
pub trait Connection: Clone + Send + Sync + 'static {
    /// The transport of one document.
    type Transport: Transport;

    /// Opens a transport. The peer learns of it with the first frame.
    fn open(&self) -> impl Future<Output = Result<Self::Transport, TransportError>> + Send;

    /// The next transport that the peer opened; `None` once the connection is over.
    fn accept(&self) -> impl Future<Output = Option<Self::Transport>> + Send;

    /// Ends the connection, and waits until the peer is told. Open transports may end abruptly, so
    /// finish them first.
    fn close(self) -> impl Future<Output = ()> + Send;
}
