//! Connections that carry whole frames, in order. The traits are open: anything that can send and receive byte strings is a transport.

pub(crate) mod memory;

#[cfg(feature = "quic")]
pub(crate) mod identity;
#[cfg(feature = "quic")]
pub(crate) mod quic;

use crate::frame::FrameError;
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

    /// Takes it apart. Dropping both halves ends the connection without a word.
    fn split(self) -> (Self::Sink, Self::Source);
}
