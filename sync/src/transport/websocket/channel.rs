//! Several documents on one WebSocket.
//!
//! A binary message is the number of a channel (LEB128) and one frame. Without a frame it opens the channel, if the number is higher
//! than all before and comes from the side that connected, or else ends the channel in that direction. Frames for a channel that is
//! not open are passed over.

use super::super::{Connection, FrameSink, FrameSource, Transport, TransportError};
use crate::frame::{self, put_varint};
use crate::limits::{RECEIVE_WINDOW_BYTES, STREAMS_MAX};
use crate::session::Role;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Error as SocketError, Message};

/// Messages that wait to be written. They are small: a fragment, or a version.
const OUTGOING_MAX: usize = 4;
/// What a message that waits takes beside its bytes.
const MESSAGE_BYTES: u32 = 128;

/// A WebSocket to one peer.
#[derive(Clone, Debug)]
pub(crate) struct WebSocket {
    outgoing: mpsc::Sender<Message>,
    channels: Arc<Channels>,
    accepted: Arc<tokio::sync::Mutex<mpsc::Receiver<Channel>>>,
    /// The number of the newest channel. Who holds the lock says that it is open, so that the peer learns of all in their order.
    newest: Arc<tokio::sync::Mutex<u64>>,
}

/// One document's channel.
#[derive(Debug)]
pub(crate) struct Channel {
    sink: ChannelSink,
    source: ChannelSource,
}

#[derive(Debug)]
pub(crate) struct ChannelSink {
    number: u64,
    outgoing: mpsc::Sender<Message>,
    /// Resolves when the peer has ended its direction, or the connection is gone.
    ended: oneshot::Receiver<()>,
    finished: bool,
}

#[derive(Debug)]
pub(crate) struct ChannelSource {
    frames: mpsc::UnboundedReceiver<Received>,
    channels: Arc<Channels>,
}

/// A frame, and its share of the memory that the connection may take.
type Received = (Bytes, usize, OwnedSemaphorePermit);

/// The open channels by their numbers.
#[derive(Debug, Default)]
struct Channels(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    open: BTreeMap<u64, Open>,
    /// Why the connection is gone.
    lost: Option<String>,
}

#[derive(Debug)]
struct Open {
    frames: mpsc::UnboundedSender<Received>,
    _ended: oneshot::Sender<()>,
}

impl WebSocket {
    pub(crate) fn new<T>(socket: WebSocketStream<T>, side: Role) -> Self
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sink, stream) = socket.split();
        let (outgoing, messages) = mpsc::channel(OUTGOING_MAX);
        let (accepts, accepted) = mpsc::channel(STREAMS_MAX as usize);
        let channels = Arc::new(Channels::default());
        let accepts = (side == Role::Responder).then_some(accepts);
        let budget = Arc::new(Semaphore::new(RECEIVE_WINDOW_BYTES as usize));
        let reader = Reader { outgoing: outgoing.downgrade(), channels: Arc::clone(&channels), accepts, newest: 0, budget };
        let writer = tokio::spawn(write(sink, messages));
        tokio::spawn(reader.run(stream, writer));
        Self { outgoing, channels, accepted: Arc::new(tokio::sync::Mutex::new(accepted)), newest: Arc::default() }
    }
}

impl Connection for WebSocket {
    type Transport = Channel;

    async fn open(&self) -> Result<Channel, TransportError> {
        let mut newest = self.newest.lock().await;
        *newest += 1;
        let channel = self.channels.open(*newest, self.outgoing.clone())?;
        channel.sink.put(&[]).await?;
        Ok(channel)
    }

    async fn accept(&self) -> Option<Channel> {
        self.accepted.lock().await.recv().await
    }

    async fn close(self) {
        // The writer says Close, and both tasks end.
        if self.outgoing.send(Message::Close(None)).await.is_ok() {
            self.outgoing.closed().await;
        }
    }
}

impl Transport for Channel {
    type Sink = ChannelSink;
    type Source = ChannelSource;

    fn split(self) -> (ChannelSink, ChannelSource) {
        (self.sink, self.source)
    }
}

impl ChannelSink {
    async fn put(&self, frame: &[u8]) -> Result<(), TransportError> {
        let message = message(self.number, frame);
        self.outgoing.send(message).await.map_err(|_| TransportError::lost("the connection is gone"))
    }
}

impl FrameSink for ChannelSink {
    async fn send(&mut self, frame: Vec<u8>) -> Result<(), TransportError> {
        self.put(&frame).await
    }

    async fn finish(&mut self) -> Result<(), TransportError> {
        self.finished = true;
        self.put(&[]).await?;
        // Fails, as it should, when the channel is forgotten.
        let _ = (&mut self.ended).await;
        Ok(())
    }
}

impl Drop for ChannelSink {
    /// Whoever drops it without a word has the channel ended all the same.
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let (outgoing, message) = (self.outgoing.clone(), message(self.number, &[]));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { outgoing.send(message).await });
        }
    }
}

impl FrameSource for ChannelSource {
    async fn recv(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        match self.frames.recv().await {
            Some((message, from, _share)) => Ok(Some(message.get(from..).unwrap_or_default().to_vec())),
            None => match self.channels.lost() {
                Some(why) => Err(TransportError::lost(why)),
                None => Ok(None),
            },
        }
    }
}

impl Channels {
    fn open(self: &Arc<Self>, number: u64, outgoing: mpsc::Sender<Message>) -> Result<Channel, TransportError> {
        let (frames, received) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let mut state = self.lock();
        if let Some(why) = &state.lost {
            return Err(TransportError::lost(why.clone()));
        }
        if state.open.len() >= STREAMS_MAX as usize {
            return Err(TransportError::lost(format!("more than {STREAMS_MAX} documents on one connection")));
        }
        state.open.insert(number, Open { frames, _ended: end });
        let sink = ChannelSink { number, outgoing, ended, finished: false };
        Ok(Channel { sink, source: ChannelSource { frames: received, channels: Arc::clone(self) } })
    }

    /// Gives a frame to its channel, if that is open.
    fn give(&self, number: u64, frame: Received) -> bool {
        self.lock().open.get(&number).is_some_and(|open| open.frames.send(frame).is_ok())
    }

    fn end(&self, number: u64) {
        self.lock().open.remove(&number);
    }

    fn lose(&self, why: String) {
        let mut state = self.lock();
        state.lost = Some(why);
        state.open.clear();
    }

    fn lost(&self) -> Option<String> {
        self.lock().lost.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn message(number: u64, frame: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(frame.len() + 2);
    put_varint(&mut bytes, number);
    bytes.extend_from_slice(frame);
    Message::Binary(bytes.into())
}

/// Writes what there is, and flushes when there is nothing more. Ends with the last handle, or when the connection does.
async fn write<S: Sink<Message, Error = SocketError> + Unpin>(mut sink: S, mut messages: mpsc::Receiver<Message>) {
    while let Some(message) = messages.recv().await {
        let closes = matches!(message, Message::Close(_));
        let mut fed = sink.feed(message).await;
        while let (Ok(()), Ok(next)) = (&fed, messages.try_recv()) {
            fed = sink.feed(next).await;
        }
        if fed.is_err() || sink.flush().await.is_err() || closes {
            break;
        }
    }
    // Fails where the connection is gone.
    let _ = sink.close().await;
}

struct Reader {
    outgoing: mpsc::WeakSender<Message>,
    channels: Arc<Channels>,
    /// Where the channels go that the peer opens.
    accepts: Option<mpsc::Sender<Channel>>,
    /// The highest number that the peer used.
    newest: u64,
    budget: Arc<Semaphore>,
}

impl Reader {
    async fn run<S>(mut self, mut stream: S, mut writer: JoinHandle<()>)
    where
        S: Stream<Item = Result<Message, SocketError>> + Unpin,
    {
        let why = loop {
            let message = tokio::select! {
                biased;
                _ = &mut writer => break "the connection was closed on this side".to_owned(),
                message = stream.next() => message,
            };
            match message {
                Some(Ok(Message::Binary(bytes))) => {
                    if let Err(why) = self.take(bytes).await {
                        break why.to_owned();
                    }
                }
                Some(Ok(Message::Text(_))) => break "the peer sent text".to_owned(),
                Some(Ok(Message::Close(_))) | None => break "the peer closed the connection".to_owned(),
                Some(Ok(_)) => {}
                Some(Err(error)) => break error.to_string(),
            }
        };
        self.channels.lose(why);
        writer.abort();
    }

    async fn take(&mut self, message: Bytes) -> Result<(), &'static str> {
        let mut start = frame::Reader::new(&message);
        let number = start.varint("a channel").map_err(|_| "the peer sent a message without a channel")?;
        let from = start.at();
        if from == message.len() {
            if number > self.newest && self.accepts.is_some() {
                self.newest = number;
                self.accept(number);
            } else {
                self.channels.end(number);
            }
            return Ok(());
        }
        let share = u32::try_from(message.len()).unwrap_or(u32::MAX).saturating_add(MESSAGE_BYTES).min(RECEIVE_WINDOW_BYTES);
        let share = Arc::clone(&self.budget).acquire_many_owned(share).await.map_err(|_| "the connection is gone")?;
        self.channels.give(number, (message, from, share));
        Ok(())
    }

    /// Opens a channel for the peer. Where there are too many already, it learns so by getting no answer but an end.
    fn accept(&self, number: u64) {
        let Some(outgoing) = self.outgoing.upgrade() else { return };
        match self.channels.open(number, outgoing.clone()) {
            // Dropping a channel that nobody takes ends it.
            Ok(channel) => drop(self.accepts.as_ref().map(|accepts| accepts.try_send(channel))),
            Err(_) => drop(outgoing.try_send(message(number, &[]))),
        }
    }
}
