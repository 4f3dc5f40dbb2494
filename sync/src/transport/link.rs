//! A client's connection over the transport that its ticket names, shared by the documents on it.

// Without any transport the code below is unreachable.
#![cfg_attr(not(any(feature = "quic", feature = "websocket")), allow(unreachable_code))]

use super::datagrams::Datagrams;
use super::{Connection, FrameSink, FrameSource, Transport, TransportError};
use std::sync::Arc;

#[cfg(feature = "quic")]
use super::quic::{Quic, QuicSink, QuicSource};
#[cfg(feature = "websocket")]
use super::websocket::{ChannelSink, ChannelSource, WebSocket};
#[cfg(feature = "webtransport")]
use super::webtransport::WebTransport;

/// A connection to a server. It ends with its last document.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one for each server")]
pub(crate) enum Link {
    #[cfg(feature = "quic")]
    Quic(Quic),
    #[cfg(feature = "websocket")]
    WebSocket(WebSocket),
    #[cfg(feature = "webtransport")]
    WebTransport(WebTransport),
    /// The only variant if no transport is built in. No value of it can exist.
    #[allow(dead_code, reason = "used only if no transport is built in")]
    None(std::convert::Infallible),
}

/// One document on a [`Link`].
pub(crate) struct Joined {
    sink: Sink,
    source: Source,
    datagrams: Option<Datagrams>,
    link: Arc<Link>,
}

#[allow(clippy::large_enum_variant, reason = "there is one for each document")]
enum Sink {
    #[cfg(feature = "quic")]
    Quic(QuicSink),
    #[cfg(feature = "websocket")]
    WebSocket(ChannelSink),
    #[cfg(feature = "webtransport")]
    WebTransport(QuicSink<wtransport::SendStream>),
    #[allow(dead_code, reason = "used only if no transport is built in")]
    None(std::convert::Infallible),
}

#[allow(clippy::large_enum_variant, reason = "there is one for each document")]
enum Source {
    #[cfg(feature = "quic")]
    Quic(QuicSource),
    #[cfg(feature = "websocket")]
    WebSocket(ChannelSource),
    #[cfg(feature = "webtransport")]
    WebTransport(QuicSource<wtransport::RecvStream>),
    #[allow(dead_code, reason = "used only if no transport is built in")]
    None(std::convert::Infallible),
}

/// The sending half of a [`Joined`].
pub(crate) struct JoinedSink {
    sink: Sink,
    link: Option<Arc<Link>>,
}

/// The receiving half of a [`Joined`].
pub(crate) struct JoinedSource(Source);

impl Link {
    /// Opens a transport for a document.
    pub(crate) async fn open(self: &Arc<Self>) -> Result<Joined, TransportError> {
        let (sink, source, datagrams) = match &**self {
            #[cfg(feature = "quic")]
            Self::Quic(quic) => {
                let mut stream = quic.open().await?;
                let datagrams = stream.datagrams();
                let (sink, source) = stream.split();
                (Sink::Quic(sink), Source::Quic(source), datagrams)
            }
            #[cfg(feature = "websocket")]
            Self::WebSocket(socket) => {
                let (sink, source) = socket.open().await?.split();
                (Sink::WebSocket(sink), Source::WebSocket(source), None)
            }
            #[cfg(feature = "webtransport")]
            Self::WebTransport(session) => {
                let mut stream = session.open().await?;
                let datagrams = stream.datagrams();
                let (sink, source) = stream.split();
                (Sink::WebTransport(sink), Source::WebTransport(source), datagrams)
            }
            Self::None(never) => match *never {},
        };
        Ok(Joined { sink, source, datagrams, link: Arc::clone(self) })
    }

    async fn close(self) {
        match self {
            #[cfg(feature = "quic")]
            Self::Quic(quic) => quic.close().await,
            #[cfg(feature = "websocket")]
            Self::WebSocket(socket) => socket.close().await,
            #[cfg(feature = "webtransport")]
            Self::WebTransport(session) => session.close().await,
            Self::None(never) => match never {},
        }
    }
}

impl Transport for Joined {
    type Sink = JoinedSink;
    type Source = JoinedSource;

    fn datagrams(&mut self) -> Option<Datagrams> {
        self.datagrams.take()
    }

    fn split(self) -> (JoinedSink, JoinedSource) {
        (JoinedSink { sink: self.sink, link: Some(self.link) }, JoinedSource(self.source))
    }
}

impl FrameSink for JoinedSink {
    async fn send(&mut self, frame: Vec<u8>) -> Result<(), TransportError> {
        match &mut self.sink {
            #[cfg(feature = "quic")]
            Sink::Quic(sink) => sink.send(frame).await,
            #[cfg(feature = "websocket")]
            Sink::WebSocket(sink) => sink.send(frame).await,
            #[cfg(feature = "webtransport")]
            Sink::WebTransport(sink) => sink.send(frame).await,
            Sink::None(never) => match *never {},
        }
    }

    async fn send_all(&mut self, frames: Vec<Vec<u8>>) -> Result<(), TransportError> {
        match &mut self.sink {
            #[cfg(feature = "quic")]
            Sink::Quic(sink) => sink.send_all(frames).await,
            #[cfg(feature = "websocket")]
            Sink::WebSocket(sink) => sink.send_all(frames).await,
            #[cfg(feature = "webtransport")]
            Sink::WebTransport(sink) => sink.send_all(frames).await,
            Sink::None(never) => match *never {},
        }
    }

    async fn finish(&mut self) -> Result<(), TransportError> {
        let finished = match &mut self.sink {
            #[cfg(feature = "quic")]
            Sink::Quic(sink) => sink.finish().await,
            #[cfg(feature = "websocket")]
            Sink::WebSocket(sink) => sink.finish().await,
            #[cfg(feature = "webtransport")]
            Sink::WebTransport(sink) => sink.finish().await,
            Sink::None(never) => match *never {},
        };
        // The last document closes the connection.
        if let Some(link) = self.link.take().and_then(Arc::into_inner) {
            link.close().await;
        }
        finished
    }
}

impl FrameSource for JoinedSource {
    async fn recv(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        match &mut self.0 {
            #[cfg(feature = "quic")]
            Source::Quic(source) => source.recv().await,
            #[cfg(feature = "websocket")]
            Source::WebSocket(source) => source.recv().await,
            #[cfg(feature = "webtransport")]
            Source::WebTransport(source) => source.recv().await,
            Source::None(never) => match *never {},
        }
    }
}
