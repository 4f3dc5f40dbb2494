//! A stream that records when bytes arrived. A large message may take longer to arrive than the
//! time-out for a silent peer.

#![allow(clippy::disallowed_methods, reason = "the stream records when bytes arrive")]

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The time at which bytes last arrived.
#[derive(Clone, Debug)]
pub(crate) struct Signs(Arc<Moments>);

#[derive(Debug)]
struct Moments {
    begun: Instant,
    /// Nanoseconds since `begun`. A finer unit than microseconds is needed, because the answer to a
    /// ping may arrive within one.
    came: AtomicU64,
}

impl Signs {
    fn new() -> Self {
        Self(Arc::new(Moments { begun: Instant::now(), came: AtomicU64::new(0) }))
    }

    /// When bytes last arrived, or else when the connection began.
    pub(crate) fn came_at(&self) -> Instant {
        self.0.begun + Duration::from_nanos(self.0.came.load(Ordering::Relaxed))
    }

    fn note(&self) {
        let nanos = u64::try_from(self.0.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.came.store(nanos, Ordering::Relaxed);
    }
}

/// A stream that records the arrival of bytes.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    stream: T,
    signs: Signs,
}

impl<T> Watched<T> {
    pub(crate) fn new(stream: T) -> (Self, Signs) {
        let signs = Signs::new();
        (Self { stream, signs: signs.clone() }, signs)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.signs.note();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
