//! A stream that notes when bytes came. A large message comes for longer than a silent peer is
//! waited for.

#![allow(clippy::disallowed_methods, reason = "it notes when something came")]

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// When bytes came last.
#[derive(Clone, Debug)]
pub(crate) struct Signs(Arc<Moments>);

#[derive(Debug)]
struct Moments {
    begun: Instant,
    /// Nanoseconds since then: an answer to a ping may come within a microsecond.
    came: AtomicU64,
}

impl Signs {
    fn new() -> Self {
        Self(Arc::new(Moments { begun: Instant::now(), came: AtomicU64::new(0) }))
    }

    /// When bytes came last, or the connection did.
    pub(crate) fn came_at(&self) -> Instant {
        self.0.begun + Duration::from_nanos(self.0.came.load(Ordering::Relaxed))
    }

    fn note(&self) {
        let nanos = u64::try_from(self.0.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.came.store(nanos, Ordering::Relaxed);
    }
}

/// A stream with signs of life.
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
