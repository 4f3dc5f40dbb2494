//! A connection inside one process, for tests, examples and replicas that live side by side.

use super::{Connection, FrameSink, FrameSource, Transport, TransportError};
use std::sync::Arc;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{Mutex, watch};

/// One end of a connection in memory.
#[derive(Debug)]
#[must_use]
pub struct Memory {
    sink: MemorySink,
    source: MemorySource,
}

/// Sends to the other end.
#[derive(Debug)]
pub struct MemorySink(Option<Sender<Vec<u8>>>);

/// Receives from the other end.
#[derive(Debug)]
pub struct MemorySource(Receiver<Vec<u8>>);

/// Two connected ends. Each direction holds up to `frames` frames; a sender waits while its
/// direction is full. Zero counts as one.
pub fn memory_pair(frames: usize) -> (Memory, Memory) {
    let (there, here_receives) = channel(frames.max(1));
    let (back, there_receives) = channel(frames.max(1));
    let end = |sender, receiver| Memory {
        sink: MemorySink(Some(sender)),
        source: MemorySource(receiver),
    };
    (end(there, there_receives), end(back, here_receives))
}

impl Transport for Memory {
    type Sink = MemorySink;
    type Source = MemorySource;

    fn split(self) -> (MemorySink, MemorySource) {
        (self.sink, self.source)
    }
}

impl FrameSink for MemorySink {
    async fn send(&mut self, frame: Vec<u8>) -> Result<(), TransportError> {
        let gone = || TransportError::lost("the other end is gone");
        let sender = self.0.as_ref().ok_or_else(gone)?;
        sender.send(frame).await.map_err(|_| gone())
    }

    async fn finish(&mut self) -> Result<(), TransportError> {
        self.0 = None;
        Ok(())
    }
}

impl FrameSource for MemorySource {
    async fn recv(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        Ok(self.0.recv().await)
    }
}

/// One end of a connection in memory that carries any number of documents.
#[derive(Clone, Debug)]
pub struct MemoryConnection {
    open: Sender<Memory>,
    accept: Arc<Mutex<Receiver<Memory>>>,
    closed: Arc<watch::Sender<bool>>,
    frames: usize,
}

/// Two ends of a connection. Each direction of each transport on it holds up to `frames` frames.
pub fn memory_connections(frames: usize) -> (MemoryConnection, MemoryConnection) {
    let (open, there_accepts) = channel(1);
    let (back, here_accepts) = channel(1);
    let closed = Arc::new(watch::Sender::new(false));
    let end = |open, accept| MemoryConnection {
        open,
        accept: Arc::new(Mutex::new(accept)),
        closed: Arc::clone(&closed),
        frames,
    };
    (end(open, here_accepts), end(back, there_accepts))
}

impl Connection for MemoryConnection {
    type Transport = Memory;

    async fn open(&self) -> Result<Memory, TransportError> {
        let gone = || TransportError::lost("the other end is gone");
        let (here, there) = memory_pair(self.frames);
        let mut closed = self.closed.subscribe();
        tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => Err(gone()),
            sent = self.open.send(there) => sent.map(|()| here).map_err(|_| gone()),
        }
    }

    async fn accept(&self) -> Option<Memory> {
        let mut closed = self.closed.subscribe();
        let mut accept = self.accept.lock().await;
        tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => None,
            accepted = accept.recv() => accepted,
        }
    }

    async fn close(self) {
        self.closed.send_replace(true);
    }
}
