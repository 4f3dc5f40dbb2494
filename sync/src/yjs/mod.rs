//! A Yjs client on a WebSocket. It speaks y-protocols in the way of y-websocket's provider.
//!
//! The protocol has no numbers, acknowledgements or digests. On any problem the connection is
//! closed; the provider reconnects and sends its state vector again.

#![allow(
    clippy::disallowed_methods,
    reason = "this module drives a connection, and reads the clock for that"
)]

mod end;
mod message;

use crate::config::Config;
use crate::driver::{Listening, Stop, stopped};
use crate::frame::{FrameReader, Hash};
use crate::limits::{
    BATCH_FRAMES_MAX, FLUSH_TIMEOUT, HEARTBEAT, INBOX_BYTES_MAX, LARGE_BYTES, TRANSMIT_SOFT_MAX,
    VERSION_REPLICA_BYTES,
};
use crate::presence::{Room, Showing, Speaker};
use crate::recent::Recent;
use crate::replica::Replica;
use crate::session::{CloseReason, Role};
use crate::transport::websocket::Signs;
pub(crate) use end::{End, linger};
use exostate::Version;
use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use message::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Error as SocketError, Message as SocketMessage};

/// A WebSocket over any stream.
pub(crate) trait Socket:
    Stream<Item = Result<SocketMessage, SocketError>>
    + Sink<SocketMessage, Error = SocketError>
    + Send
    + Unpin
{
    /// The stream below the WebSocket.
    fn raw(&mut self) -> &mut dyn Raw;
}

/// A stream of bytes.
pub(crate) trait Raw: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Raw for T {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for WebSocketStream<T> {
    fn raw(&mut self) -> &mut dyn Raw {
        self.get_mut()
    }
}

/// The backend whose documents Yjs can read.
pub(crate) const BACKEND: &str = "yrs";

struct Client {
    socket: Box<dyn Socket>,
    signs: Signs,
    replica: Arc<dyn Replica>,
    config: Config,
    listening: Arc<Listening>,
    showing: Showing,
    /// The hashes of the updates from the client, so that they are not sent back.
    recent: Recent,
    epoch: Instant,
    told_at: Duration,
    /// When the client was last asked for a sign of life.
    pinged_at: Option<Instant>,
}

/// Serves a room to a client until one of them ends the conversation, and tells the client why.
/// Returns the reason and the socket.
pub(crate) async fn converse(
    socket: Box<dyn Socket>,
    signs: Signs,
    room: Room,
    config: Config,
    stop: Stop,
) -> (CloseReason, Box<dyn Socket>) {
    let listening = Listening::to(&room, &config);
    let participants_max = config.participants_of(Role::Responder);
    listening.outbox.begin();
    let patience = config.idle_timeout;
    let mut client = Client {
        socket,
        signs,
        replica: Arc::new(room.clone()),
        config,
        listening,
        showing: Showing::new(room.shared(), participants_max, Duration::ZERO),
        recent: Recent::default(),
        epoch: Instant::now(),
        told_at: Duration::ZERO,
        pinged_at: None,
    };
    let end = tokio::select! {
        biased;
        end = client.converse(&room, stop.clone()) => end,
        end = overdue(stop.clone()) => end,
    };
    let reason = end.tell(&mut client.socket, patience).await;
    // A shutdown waits for every holder of a `Stop`, so this is held until the client is told.
    drop(stop);
    (reason, client.socket)
}

/// Ends the conversation when a shutdown has waited long enough for the current work. The client
/// asks the next server for the updates that it did not get.
async fn overdue(mut stop: Stop) -> End {
    stopped(&mut stop).await;
    sleep(FLUSH_TIMEOUT).await;
    End::shutdown()
}

impl Client {
    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Runs until one of the two sides ends the conversation, or until a shutdown that finds no
    /// work in progress.
    async fn converse(&mut self, room: &Room, mut stop: Stop) -> End {
        let listening = Arc::clone(&self.listening);
        let mut changed = room.shared().subscribe();
        let mut turn = self.greet().await;
        loop {
            if let Err(end) = turn {
                return end;
            }
            let wake = self.epoch + self.showing.due_in_turn().min(self.told_at + HEARTBEAT);
            let wake = wake.min(self.sign_due());
            turn = tokio::select! {
                biased;
                _ = stopped(&mut stop) => Err(End::shutdown()),
                message = self.socket.next() => self.take(message).await,
                () = listening.outbox.filled() => self.pass_on().await,
                Ok(()) = changed.changed(), if self.showing.awaits_news() => Ok(()),
                () = sleep_until(wake) => self.mind_silence().await,
            };
            if turn.is_ok() {
                turn = self.show().await;
            }
        }
    }

    /// When the client is asked for a sign of life, or counts as lost.
    fn sign_due(&self) -> Instant {
        let heard_at = self.signs.came_at();
        match self.pinged_at.filter(|pinged_at| *pinged_at > heard_at) {
            Some(pinged_at) => pinged_at + (self.config.idle_timeout - self.config.keep_alive),
            None => heard_at + self.config.keep_alive,
        }
    }

    /// Asks a silent client for a sign of life, and ends the conversation if the client gave none.
    /// Bytes that had arrived were read just before.
    async fn mind_silence(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if now < self.sign_due() {
            return Ok(());
        }
        if self.pinged_at.is_some_and(|pinged_at| pinged_at > self.signs.came_at()) {
            return Err(End::silent(self.config.idle_timeout));
        }
        self.pinged_at = Some(now);
        self.feed(SocketMessage::Ping(Bytes::new())).await?;
        self.flush().await
    }

    /// Asks the client for the updates that this side lacks.
    async fn greet(&mut self) -> Result<(), End> {
        let replica = Arc::clone(&self.replica);
        let vector = blocking(move || replica.version().to_state_vector()).await?;
        let vector = vector.ok_or_else(|| End::policy("no Yjs document"))?;
        self.send(&[Message::Step1(&vector)]).await
    }

    /// Takes the first message, and further messages that have already arrived.
    async fn take(&mut self, first: Option<Result<SocketMessage, SocketError>>) -> Result<(), End> {
        let mut next = Some(first);
        let mut updates = Vec::new();
        let mut count = 0;
        let mut bytes_come = 0;
        while let Some(message) = next {
            match message {
                Some(Ok(SocketMessage::Binary(bytes))) => {
                    bytes_come += bytes.len();
                    self.take_message(&bytes, &mut updates).await?;
                }
                Some(Ok(SocketMessage::Ping(_) | SocketMessage::Pong(_))) => {}
                Some(Ok(_)) | None => return self.apply(updates).await.and(Err(End::gone())),
                Some(Err(error)) => return self.apply(updates).await.and(Err(error.into())),
            }
            count += 1;
            let more = count < BATCH_FRAMES_MAX && bytes_come < INBOX_BYTES_MAX;
            next = if more { self.socket.next().now_or_never() } else { None };
        }
        self.apply(updates).await
    }

    async fn take_message(&mut self, bytes: &[u8], updates: &mut Vec<Vec<u8>>) -> Result<(), End> {
        match Message::decode(bytes)? {
            Message::Step1(vector) => {
                self.apply(std::mem::take(updates)).await?;
                self.answer(vector).await
            }
            Message::Step2(update) | Message::Update(update) => {
                if update != NOTHING {
                    updates.push(update.to_vec());
                }
                Ok(())
            }
            Message::Awareness(news) => {
                let now = self.now();
                self.showing.take(news, Speaker::Client, now);
                Ok(())
            }
            Message::QueryAwareness => {
                self.showing.tell_all();
                Ok(())
            }
            Message::Unknown => Ok(()),
        }
    }

    /// Sends the updates that the client lacks, if the client may have them. The last one is a
    /// `Step2`, which says that the answer is complete.
    async fn answer(&mut self, vector: &[u8]) -> Result<(), End> {
        let clients = FrameReader::new(vector).varint("a number of clients")?;
        let most = self.config.frame_bytes_max / VERSION_REPLICA_BYTES;
        if clients > most as u64 {
            return Err(End::policy(format!(
                "a state vector names {clients} clients, more than {most}"
            )));
        }
        if !self.config.sends_updates {
            return self.send(&[Message::Step2(NOTHING)]).await;
        }
        let version = Version::from_state_vector(vector).map_err(End::policy)?;
        let replica = Arc::clone(&self.replica);
        let updates =
            blocking(move || replica.updates_since(&version)).await?.map_err(End::refused)?;
        let (last, others) = match updates.split_last() {
            Some((last, others)) => (last.as_slice(), others),
            None => (NOTHING, &[][..]),
        };
        let messages =
            others.iter().map(|update| Message::Update(update)).chain([Message::Step2(last)]);
        self.send(&messages.collect::<Vec<_>>()).await
    }

    async fn apply(&mut self, updates: Vec<Vec<u8>>) -> Result<(), End> {
        if updates.is_empty() {
            return Ok(());
        }
        let replica = Arc::clone(&self.replica);
        if !self.config.takes_updates {
            // A client that reconnects sends all its deletions, known or not. Sending known ones is
            // not a write.
            let known = blocking(move || {
                updates
                    .iter()
                    .try_fold(true, |known, update| Ok(known && replica.contains(update)?))
            });
            let known = known.await?.map_err(End::refused)?;
            return if known { Ok(()) } else { Err(End::read_only()) };
        }
        let updates = cut(Arc::clone(&self.replica), updates).await?;
        // The hashes are stored before the updates are applied, because the replica calls its
        // listeners while it applies them.
        for update in &updates {
            self.recent.note(Hash::of(update));
        }
        let applied = blocking(move || {
            let all: Vec<&[u8]> = updates.iter().map(Vec::as_slice).collect();
            // If one update is refused, they are applied one by one, so that those before the
            // refused one count.
            let import = |updates: &[&[u8]]| match replica.import(updates, false) {
                Err(refusal) if refusal.is_applied() => Ok(()),
                imported => imported.map(drop),
            };
            import(&all).or_else(|_| all.iter().try_for_each(|update| import(&[*update])))
        });
        applied.await?.map_err(End::refused)
    }

    /// Sends the updates of other replicas.
    async fn pass_on(&mut self) -> Result<(), End> {
        let taken = self.listening.outbox.take(TRANSMIT_SOFT_MAX);
        if taken.overflowed {
            // Only the client knows which updates it has.
            return Err(End::too_slow());
        }
        if !self.config.sends_updates {
            return Ok(());
        }
        let updates: Vec<_> = taken
            .updates
            .into_iter()
            .filter(|(update, _)| !self.recent.contains(update.hash()))
            .collect();
        self.send(
            &updates.iter().map(|(update, _)| Message::Update(update.update())).collect::<Vec<_>>(),
        )
        .await
    }

    /// Sends presence news, and at least an empty message in each heartbeat: a provider that
    /// receives nothing for 30 s reconnects.
    async fn show(&mut self) -> Result<(), End> {
        let now = self.now();
        self.showing.mind(now);
        let news = self.showing.take_news(now, false);
        if !news.is_empty() || now >= self.told_at + HEARTBEAT {
            self.told_at = now;
            self.send(&[Message::Awareness(news)]).await?;
        }
        // The client is asked only after it knows about all departures. It answers with all
        // participants that it knows, so it would bring departed ones back as its own.
        if self.showing.has_told() && self.showing.take_call(now) {
            self.send(&[Message::QueryAwareness]).await?;
        }
        Ok(())
    }

    async fn send(&mut self, messages: &[Message<'_>]) -> Result<(), End> {
        for message in messages {
            self.feed(SocketMessage::Binary(message.encode().into())).await?;
        }
        self.flush().await
    }

    /// Sends a message. The client has to take each message within the idle time-out.
    async fn feed(&mut self, message: SocketMessage) -> Result<(), End> {
        let feeding = timeout(self.config.idle_timeout, self.socket.feed(message));
        Ok(feeding.await.map_err(|_| End::too_slow())??)
    }

    async fn flush(&mut self) -> Result<(), End> {
        let flushing = timeout(self.config.idle_timeout, self.socket.flush());
        Ok(flushing.await.map_err(|_| End::too_slow())??)
    }
}

/// Cuts long updates, so that each one keeps the limits on this side and at the receivers.
async fn cut(replica: Arc<dyn Replica>, updates: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, End> {
    if updates.iter().all(|update| update.len() <= LARGE_BYTES) {
        return Ok(updates);
    }
    let cut = blocking(move || {
        updates.iter().map(|update| replica.cut(update)).collect::<Result<Vec<_>, _>>()
    });
    Ok(cut.await?.map_err(End::refused)?.concat())
}

/// An empty update.
const NOTHING: &[u8] = &[0, 0];

/// Runs work on the replica. Fails if the work panics.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, End> {
    spawn_blocking(work).await.map_err(|_| End::replica_panicked())
}
