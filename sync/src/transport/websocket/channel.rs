//! Several documents on one WebSocket, each in its own channel.
//!
//! A binary message consists of the number of a channel (LEB128) and one frame. A message without a
//! frame opens or ends a channel:
//!
//! - It opens the channel if it comes from the side that connected and the number is higher than
//!   all earlier ones.
//! - Otherwise it ends the channel in the sender's direction.
//!
//! Frames for a channel that is not open are skipped.
//!
//! Nothing here waits forever for a peer that does not read: a peer that takes no bytes for the
//! idle time-out is lost. A channel counts until both sides have ended it. So a peer that opens and
//! ends channels without reading soon cannot open more.

use super::super::{Connection, FrameSink, FrameSource, Transport, TransportError};
use crate::frame;
use crate::limits::{FLUSH_TIMEOUT, RECEIVE_WINDOW_BYTES, STREAMS_MAX};
use crate::session::Role;
use exostate::varint;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Error as SocketError, Message};

/// Frames that wait to be written. Each is small: a fragment, or a version.
const OUTGOING_MAX: usize = 4;
/// Memory of a waiting message besides its bytes.
const MESSAGE_BYTES: u32 = 128;

/// A WebSocket to one peer.
#[derive(Clone, Debug)]
pub(crate) struct WebSocket {
    outgoing: Outgoing,
    channels: Arc<Channels>,
    accepted: Arc<tokio::sync::Mutex<mpsc::Receiver<Channel>>>,
    writer: AbortHandle,
}

/// The queue of the writer. It is unbounded itself: frames need a permit, and the number of other
/// messages is bounded by the number of channels.
type Outgoing = mpsc::UnboundedSender<Said>;

/// A message that waits to be written.
#[derive(Debug)]
struct Said {
    message: Message,
    /// The channel that this message ends in our direction.
    ends: Option<u64>,
    /// A frame's permit to wait.
    room: Option<OwnedSemaphorePermit>,
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
    outgoing: Outgoing,
    channels: Arc<Channels>,
    /// Resolves when the peer has ended its direction, or the connection is gone.
    ended: oneshot::Receiver<()>,
    finished: bool,
}

#[derive(Debug)]
pub(crate) struct ChannelSource {
    frames: mpsc::UnboundedReceiver<Received>,
    channels: Arc<Channels>,
}

/// A message, the start of the frame in it, and its share of the memory of the connection.
type Received = (Bytes, usize, OwnedSemaphorePermit);

/// The open channels, by their numbers.
#[derive(Debug)]
struct Channels {
    state: Mutex<State>,
    /// Permits for the frames that wait to be written. Closed once the connection is gone.
    room: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    open: BTreeMap<u64, Open>,
    /// The number of the newest channel that this side opened.
    newest: u64,
    /// Why the connection is gone.
    lost: Option<String>,
}

#[derive(Debug)]
struct Open {
    /// The peer's direction, until the peer ends it.
    theirs: Option<Theirs>,
    /// Whether our direction is open, or its end waits to be written.
    ours: bool,
}

#[derive(Debug)]
struct Theirs {
    frames: mpsc::UnboundedSender<Received>,
    _ended: oneshot::Sender<()>,
}

impl WebSocket {
    /// The peer has to take each message within `patience`.
    pub(crate) fn new<T>(socket: WebSocketStream<T>, side: Role, patience: Duration) -> Self
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sink, stream) = socket.split();
        let (outgoing, said) = mpsc::unbounded_channel();
        let (accepts, accepted) = mpsc::channel(STREAMS_MAX as usize);
        let channels = Arc::new(Channels {
            state: Mutex::default(),
            room: Arc::new(Semaphore::new(OUTGOING_MAX)),
        });
        let accepts = (side == Role::Responder).then_some(accepts);
        let budget = Arc::new(Semaphore::new(RECEIVE_WINDOW_BYTES as usize));
        let reader = ChannelReader {
            outgoing: outgoing.downgrade(),
            channels: Arc::clone(&channels),
            accepts,
            newest: 0,
            budget,
        };
        let writing = tokio::spawn(write(sink, said, Arc::clone(&channels), patience));
        let writer = writing.abort_handle();
        tokio::spawn(reader.run(stream, writing));
        Self { outgoing, channels, accepted: Arc::new(tokio::sync::Mutex::new(accepted)), writer }
    }
}

impl Connection for WebSocket {
    type Transport = Channel;

    async fn open(&self) -> Result<Channel, TransportError> {
        self.channels.open_next(&self.outgoing)
    }

    async fn accept(&self) -> Option<Channel> {
        self.accepted.lock().await.recv().await
    }

    async fn close(self) {
        let closing = async {
            // The writer sends a Close, and both tasks end.
            if self
                .outgoing
                .send(Said { message: Message::Close(None), ends: None, room: None })
                .is_ok()
            {
                self.outgoing.closed().await;
            }
        };
        if timeout(FLUSH_TIMEOUT, closing).await.is_err() {
            // A peer that reads nothing does not receive the Close. The reader ends with the
            // writer.
            self.writer.abort();
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
    /// Ends our direction, once. The message needs no permit, so this never waits: a channel that
    /// is dropped cannot wait.
    fn end(&mut self) -> Result<(), TransportError> {
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        let said = Said { message: message(self.number, &[]), ends: Some(self.number), room: None };
        self.outgoing.send(said).map_err(|_| gone())
    }
}

impl FrameSink for ChannelSink {
    async fn send(&mut self, frame: Vec<u8>) -> Result<(), TransportError> {
        let message = message(self.number, &frame);
        let room = Arc::clone(&self.channels.room).acquire_owned().await.map_err(|_| gone())?;
        self.outgoing.send(Said { message, ends: None, room: Some(room) }).map_err(|_| gone())
    }

    async fn finish(&mut self) -> Result<(), TransportError> {
        self.end()?;
        // The receiver also returns an error when the channel is removed, which is the normal case.
        let _ = (&mut self.ended).await;
        Ok(())
    }
}

impl Drop for ChannelSink {
    /// A sink that is dropped without `finish` also ends the channel.
    fn drop(&mut self) {
        // Fails if the connection and all its channels are gone.
        let _ = self.end();
    }
}

impl FrameSource for ChannelSource {
    async fn recv(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        match self.frames.recv().await {
            Some((message, from, _share)) => {
                Ok(Some(message.get(from..).unwrap_or_default().to_vec()))
            }
            None => match self.channels.lost() {
                Some(why) => Err(TransportError::lost(why)),
                None => Ok(None),
            },
        }
    }
}

impl Channels {
    /// Opens a channel for this side, and tells the peer. The message needs no permit: there are no
    /// more of them than channels.
    fn open_next(self: &Arc<Self>, outgoing: &Outgoing) -> Result<Channel, TransportError> {
        let mut state = self.lock();
        let number = state.newest + 1;
        let channel = self.add(&mut state, number, outgoing)?;
        state.newest = number;
        // The message is queued under the lock, so that the peer learns of the channels in order.
        outgoing
            .send(Said { message: message(number, &[]), ends: None, room: None })
            .map_err(|_| gone())?;
        Ok(channel)
    }

    /// Opens a channel that the peer has opened.
    fn open(self: &Arc<Self>, number: u64, outgoing: &Outgoing) -> Result<Channel, TransportError> {
        self.add(&mut self.lock(), number, outgoing)
    }

    fn add(
        self: &Arc<Self>,
        state: &mut State,
        number: u64,
        outgoing: &Outgoing,
    ) -> Result<Channel, TransportError> {
        if let Some(why) = &state.lost {
            return Err(TransportError::lost(why.clone()));
        }
        if state.open.len() >= STREAMS_MAX as usize {
            return Err(TransportError::lost(format!(
                "more than {STREAMS_MAX} documents on one connection"
            )));
        }
        let (frames, received) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        state
            .open
            .insert(number, Open { theirs: Some(Theirs { frames, _ended: end }), ours: true });
        let sink = ChannelSink {
            number,
            outgoing: outgoing.clone(),
            channels: Arc::clone(self),
            ended,
            finished: false,
        };
        Ok(Channel { sink, source: ChannelSource { frames: received, channels: Arc::clone(self) } })
    }

    /// Gives a frame to its channel. Returns whether the channel is open.
    fn give(&self, number: u64, frame: Received) -> bool {
        let state = self.lock();
        let theirs = state.open.get(&number).and_then(|open| open.theirs.as_ref());
        theirs.is_some_and(|theirs| theirs.frames.send(frame).is_ok())
    }

    /// Records that the peer has ended its direction.
    fn end_theirs(&self, number: u64) {
        self.end(number, |open| open.theirs = None);
    }

    /// Records that the end of our direction is being written.
    fn end_ours(&self, number: u64) {
        self.end(number, |open| open.ours = false);
    }

    /// Changes a channel, and removes it once both directions have ended. Then another channel may
    /// be opened.
    fn end(&self, number: u64, end: impl FnOnce(&mut Open)) {
        let mut state = self.lock();
        let Some(open) = state.open.get_mut(&number) else { return };
        end(open);
        if open.theirs.is_none() && !open.ours {
            state.open.remove(&number);
        }
    }

    fn lose(&self, why: String) {
        let mut state = self.lock();
        state.lost = Some(why);
        state.open.clear();
        self.room.close();
    }

    fn lost(&self) -> Option<String> {
        self.lock().lost.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gone() -> TransportError {
    TransportError::lost("the connection is gone")
}

fn message(number: u64, frame: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(frame.len() + 2);
    varint::put(&mut bytes, number);
    bytes.extend_from_slice(frame);
    Message::Binary(bytes.into())
}

/// Writes the queued messages, and flushes when the queue is empty. Ends with the last sender,
/// after a Close, or with an error that says why the connection ended.
async fn write<S>(
    mut sink: S,
    mut said: mpsc::UnboundedReceiver<Said>,
    channels: Arc<Channels>,
    patience: Duration,
) -> Result<(), String>
where
    S: Sink<Message, Error = SocketError> + Unpin,
{
    let mut closes = false;
    while !closes {
        let Some(first) = said.recv().await else { break };
        let mut next = Some(first);
        while let Some(Said { message, ends, room }) = next {
            closes |= matches!(message, Message::Close(_));
            if let Some(number) = ends {
                // This comes before the write: the peer may open another channel as soon as it
                // reads the message.
                channels.end_ours(number);
            }
            within(patience, sink.feed(message)).await?;
            drop(room);
            next = if closes { None } else { said.try_recv().ok() };
        }
        within(patience, sink.flush()).await?;
    }
    within(FLUSH_TIMEOUT, sink.close()).await
}

/// Limits the time for which a write waits for the peer.
async fn within(
    patience: Duration,
    writing: impl Future<Output = Result<(), SocketError>>,
) -> Result<(), String> {
    match timeout(patience, writing).await {
        Ok(written) => written.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the peer took nothing for {patience:?}")),
    }
}

struct ChannelReader {
    outgoing: mpsc::WeakUnboundedSender<Said>,
    channels: Arc<Channels>,
    /// The queue for channels that the peer opens.
    accepts: Option<mpsc::Sender<Channel>>,
    /// The highest channel number that the peer has used.
    newest: u64,
    budget: Arc<Semaphore>,
}

impl ChannelReader {
    async fn run<S>(self, stream: S, mut writer: JoinHandle<Result<(), String>>)
    where
        S: Stream<Item = Result<Message, SocketError>> + Unpin,
    {
        let channels = Arc::clone(&self.channels);
        // The writer is watched also while the reader waits for memory: the writer may fail before
        // the application reads the received frames.
        let why = tokio::select! {
            biased;
            written = &mut writer => match written {
                Ok(Err(why)) => why,
                Ok(Ok(())) | Err(_) => "the connection was closed on this side".to_owned(),
            },
            why = self.read(stream) => why,
        };
        channels.lose(why);
        writer.abort();
    }

    /// Reads until the connection is over, and returns why.
    async fn read<S>(mut self, mut stream: S) -> String
    where
        S: Stream<Item = Result<Message, SocketError>> + Unpin,
    {
        loop {
            match stream.next().await {
                Some(Ok(Message::Binary(bytes))) => {
                    if let Err(why) = self.take(bytes).await {
                        return why.to_owned();
                    }
                }
                Some(Ok(Message::Text(_))) => return "the peer sent text".to_owned(),
                Some(Ok(Message::Close(_))) | None => {
                    return "the peer closed the connection".to_owned();
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return error.to_string(),
            }
        }
    }

    async fn take(&mut self, message: Bytes) -> Result<(), &'static str> {
        let mut start = frame::FrameReader::new(&message);
        let number =
            start.varint("a channel").map_err(|_| "the peer sent a message without a channel")?;
        let from = start.at();
        if from == message.len() {
            if number > self.newest && self.accepts.is_some() {
                self.newest = number;
                self.accept(number);
            } else {
                self.channels.end_theirs(number);
            }
            return Ok(());
        }
        let share = u32::try_from(message.len())
            .unwrap_or(u32::MAX)
            .saturating_add(MESSAGE_BYTES)
            .min(RECEIVE_WINDOW_BYTES);
        let share = Arc::clone(&self.budget)
            .acquire_many_owned(share)
            .await
            .map_err(|_| "the connection is gone")?;
        self.channels.give(number, (message, from, share));
        Ok(())
    }

    /// Opens a channel for the peer. If there are too many channels, the peer receives an end as
    /// the only answer.
    fn accept(&self, number: u64) {
        let Some(outgoing) = self.outgoing.upgrade() else { return };
        if let Ok(channel) = self.channels.open(number, &outgoing) {
            // Dropping a channel that cannot be accepted ends it.
            drop(self.accepts.as_ref().map(|accepts| accepts.try_send(channel)));
        } else if let Ok(room) = Arc::clone(&self.channels.room).try_acquire_owned() {
            // If no permit is free either, the peer has opened too many channels without reading,
            // and gets no answer.
            drop(outgoing.send(Said {
                message: message(number, &[]),
                ends: None,
                room: Some(room),
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::io::DuplexStream;
    use tokio_tungstenite::tungstenite::protocol::Role as Side;

    const HANG: Duration = Duration::from_secs(60);

    /// A connection whose other end reads nothing, and whose buffers are full.
    async fn stuck(patience: Duration) -> (WebSocket, Channel, DuplexStream) {
        let (here, there) = tokio::io::duplex(1024);
        let socket = WebSocketStream::from_raw_socket(here, Side::Client, None).await;
        let socket = WebSocket::new(socket, Role::Initiator, patience);
        let mut channel = socket.open().await.expect("open");
        while let Ok(sent) =
            timeout(Duration::from_millis(100), channel.sink.send(vec![0; 10_000])).await
        {
            if sent.is_err() {
                break;
            }
        }
        (socket, channel, there)
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_disconnected() {
        let (socket, mut channel, _there) = stuck(Duration::from_millis(50)).await;
        let end = timeout(HANG, channel.source.recv()).await.expect("it ends").expect_err("lost");
        assert_eq!(end.to_string(), "the peer took nothing for 50ms");
        assert!(channel.sink.send(vec![1]).await.is_err() && socket.open().await.is_err());
    }

    #[tokio::test]
    async fn opening_ending_and_closing_do_not_wait_for_the_peer() {
        let (socket, first, _there) = stuck(HANG * 2).await;
        let open = || socket.open().now_or_never().expect("it does not wait");
        let others: Vec<_> = (1..STREAMS_MAX).map(|_| open().expect("there is room")).collect();
        assert!(open().is_err(), "as many as there may be");
        drop((first, others));
        // Their ends are not written yet, so the channels still count.
        assert!(open().is_err());
        timeout(HANG, socket.close()).await.expect("it is left");
    }

    #[tokio::test]
    async fn a_channel_counts_until_both_sides_have_dropped_it() {
        let (here, there) = tokio::io::duplex(1024);
        let client = WebSocket::new(
            WebSocketStream::from_raw_socket(here, Side::Client, None).await,
            Role::Initiator,
            HANG,
        );
        let server = WebSocket::new(
            WebSocketStream::from_raw_socket(there, Side::Server, None).await,
            Role::Responder,
            HANG,
        );
        let mut held = Vec::new();
        for _ in 0..STREAMS_MAX {
            let (mut sink, source) = client.open().await.expect("there is room").split();
            sink.end().expect("it is there");
            held.push((sink, source, server.accept().await.expect("opened").split()));
        }
        for (_, _, (_, theirs)) in &mut held {
            assert!(theirs.recv().await.expect("no error").is_none(), "the client has ended it");
        }
        assert_eq!(server.channels.lock().open.len(), STREAMS_MAX as usize);
        assert!(client.open().await.is_err());
        // Once the server has also ended one channel, there is room for another.
        let (mut sink, source, theirs) = held.pop().expect("many");
        drop(theirs);
        sink.finish().await.expect("ended");
        drop((sink, source));
        let _other = client.open().await.expect("there is room");
        server.accept().await.expect("opened");
    }
}
