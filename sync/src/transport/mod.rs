//! Connections that carry whole frames, in order. The traits are open: anything that can send and
//! receive byte strings is a transport.

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
    /// The peer's bytes do not divide into frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The connection is gone.
    #[error(transparent)]
    Lost(Box<dyn Error + Send + Sync>),
}

impl TransportError {
    /// Wraps what the connection itself says.
    pub fn lost(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Lost(cause.into())
    }
}

/// The sending half.
pub trait FrameSink: Send + 'static {
    /// Sends one frame; waits while the connection is full.
    fn send(&mut self, frame: Vec<u8>) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Sends several, in this order. Left out, they go one by one; together they may need fewer
    /// packets.
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

    /// Ends the sending side, and waits until the peer has everything or is gone.
    fn finish(&mut self) -> impl Future<Output = Result<(), TransportError>> + Send;
}

/// The receiving half.
pub trait FrameSource: Send + 'static {
    /// The next frame, `None` once the peer ended its side.
    fn recv(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, TransportError>> + Send;
}

/// A connection to one peer about one document.
pub trait Transport: Send + 'static {
    /// The sending half.
    type Sink: FrameSink;
    /// The receiving half.
    type Source: FrameSource;

    /// Its share of the connection's datagrams, where it has any. Asked for once, before it is
    /// taken apart.
    fn datagrams(&mut self) -> Option<Datagrams> {
        None
    }

    /// Takes it apart. Dropping both halves ends the connection without a word.
    fn split(self) -> (Self::Sink, Self::Source);
}

/// A connection to one peer that carries any number of documents, each in a [`Transport`] of its
/// own. Clones are the same connection.
pub trait Connection: Clone + Send + Sync + 'static {
    /// What one document gets.
    type Transport: Transport;

    /// Opens a transport. The peer learns of it with the first frame.
    fn open(&self) -> impl Future<Output = Result<Self::Transport, TransportError>> + Send;

    /// The next transport that the peer opened, `None` once the connection is over.
    fn accept(&self) -> impl Future<Output = Option<Self::Transport>> + Send;

    /// Ends the connection, and waits until that is said. What is open on it may end abruptly:
    /// finish it first.
    fn close(self) -> impl Future<Output = ()> + Send;
}
