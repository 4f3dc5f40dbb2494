//! A Yjs client on a WebSocket: the y-protocols, as y-websocket's provider speaks them.
//!
//! It has no numbers, acknowledgements or digests: where something is amiss the connection is closed, and the provider comes again and
//! says what it has.

#![allow(clippy::disallowed_methods, reason = "it drives a connection, and reads the clock for that")]

mod message;

use crate::config::Config;
use crate::driver::{Listening, Stop, stopped};
use crate::frame::{Hash, Reader};
use crate::limits::{BATCH_FRAMES_MAX, FLUSH_TIMEOUT, HEARTBEAT, RECENT_UPDATES_MAX, TRANSMIT_SOFT_MAX, VERSION_REPLICA_BYTES};
use crate::presence::{Room, Showing, Speaker};
use crate::replica::Replica;
use crate::session::{CloseReason, Role};
use exostate::Version;
use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use message::Message;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message as SocketMessage};

/// A WebSocket, whatever is below it.
pub(crate) trait Socket:
    Stream<Item = Result<SocketMessage, SocketError>> + Sink<SocketMessage, Error = SocketError> + Send + Unpin
{
}

impl<T: Stream<Item = Result<SocketMessage, SocketError>> + Sink<SocketMessage, Error = SocketError> + Send + Unpin> Socket for T {}

/// The backend whose documents Yjs can read.
pub(crate) const BACKEND: &str = "yrs";

/// Why the connection ends, as the client is told.
struct End {
    code: CloseCode,
    why: String,
}

impl End {
    fn policy(why: impl ToString) -> Self {
        Self { code: CloseCode::Policy, why: why.to_string() }
    }

    fn reason(&self) -> CloseReason {
        let message = self.why.clone();
        match self.code {
            CloseCode::Normal => CloseReason::Lost { message: "the client has gone".to_owned() },
            CloseCode::Restart => CloseReason::Unavailable,
            _ => CloseReason::Refused { message },
        }
    }

    fn gone() -> Self {
        Self { code: CloseCode::Normal, why: String::new() }
    }

    fn shutdown() -> Self {
        Self { code: CloseCode::Restart, why: "the server closes down".to_owned() }
    }
}

struct Client {
    socket: Box<dyn Socket>,
    replica: Arc<dyn Replica>,
    config: Config,
    listening: Arc<Listening>,
    showing: Showing,
    /// What came from the client, by hash, so that it is not sent back.
    recent: VecDeque<Hash>,
    epoch: Instant,
    told_at: Duration,
}

/// Serves a room to a client until one of them ends it.
pub(crate) async fn converse(socket: Box<dyn Socket>, room: &Room, config: Config, stop: Stop) -> CloseReason {
    let listening = Listening::to(room, &config);
    let participants_max = config.participants_of(Role::Responder);
    listening.outbox.begin();
    let mut client = Client {
        socket,
        replica: Arc::new(room.clone()),
        config,
        listening,
        showing: Showing::new(room.shared(), participants_max, Duration::ZERO),
        recent: VecDeque::new(),
        epoch: Instant::now(),
        told_at: Duration::ZERO,
    };
    let end = tokio::select! {
        biased;
        end = client.converse(room, stop.clone()) => end,
        end = overdue(stop.clone()) => end,
    };
    let reason = end.reason();
    let why = end.why.chars().take(CLOSE_REASON_CHARS_MAX).collect::<String>();
    let frame = CloseFrame { code: end.code, reason: why.into() };
    // Fails where the client is gone.
    let _ = timeout(client.config.idle_timeout.min(FLUSH_TIMEOUT), client.socket.send(SocketMessage::Close(Some(frame)))).await;
    // A shutdown waits for whoever holds it, so until this was said.
    drop(stop);
    reason
}

/// Waits until a shutdown waits no longer for what is being done. What the client has not got by then it asks the next server for.
async fn overdue(mut stop: Stop) -> End {
    stopped(&mut stop).await;
    sleep(FLUSH_TIMEOUT).await;
    End::shutdown()
}

/// A WebSocket's Close has room for 123 bytes.
const CLOSE_REASON_CHARS_MAX: usize = 30;

impl Client {
    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Until one of the two ends it, or until a shutdown if nothing is being done.
    async fn converse(&mut self, room: &Room, mut stop: Stop) -> End {
        let listening = Arc::clone(&self.listening);
        let mut changed = room.shared().subscribe();
        let mut turn = self.greet().await;
        loop {
            if let Err(end) = turn {
                return end;
            }
            let wake = self.showing.due_in_turn().min(self.told_at + HEARTBEAT);
            turn = tokio::select! {
                biased;
                _ = stopped(&mut stop) => Err(End::shutdown()),
                message = self.socket.next() => self.take(message).await,
                () = listening.outbox.filled() => self.pass_on().await,
                Ok(()) = changed.changed(), if self.showing.awaits_news() => Ok(()),
                () = sleep_until(self.epoch + wake) => Ok(()),
            };
            if turn.is_ok() {
                turn = self.show().await;
            }
        }
    }

    /// Asks for what this side lacks.
    async fn greet(&mut self) -> Result<(), End> {
        let replica = Arc::clone(&self.replica);
        let vector = blocking(move || Version::from_bytes(&replica.version()).ok().and_then(|version| version.to_state_vector())).await?;
        let vector = vector.ok_or_else(|| End::policy("no Yjs document"))?;
        self.send(&[Message::Step1(&vector)]).await
    }

    /// Takes what has come: one message, and those that are there already.
    async fn take(&mut self, first: Option<Result<SocketMessage, SocketError>>) -> Result<(), End> {
        let (mut next, mut updates, mut count) = (Some(first), Vec::new(), 0);
        while let Some(message) = next {
            match message {
                Some(Ok(SocketMessage::Binary(bytes))) => self.take_message(&bytes, &mut updates).await?,
                Some(Ok(SocketMessage::Ping(_) | SocketMessage::Pong(_))) => {}
                Some(Ok(_)) | None => return self.apply(updates).await.and(Err(End::gone())),
                Some(Err(error)) => return self.apply(updates).await.and(Err(End::policy(error))),
            }
            count += 1;
            next = if count < BATCH_FRAMES_MAX { self.socket.next().now_or_never() } else { None };
        }
        self.apply(updates).await
    }

    async fn take_message(&mut self, bytes: &[u8], updates: &mut Vec<Vec<u8>>) -> Result<(), End> {
        match Message::decode(bytes).map_err(End::policy)? {
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

    /// Sends what the client lacks, if it is to have it. The last of it says that it has all.
    async fn answer(&mut self, vector: &[u8]) -> Result<(), End> {
        let clients = Reader::new(vector).varint("a number of clients").map_err(End::policy)?;
        let most = self.config.frame_bytes_max / VERSION_REPLICA_BYTES;
        if clients > most as u64 {
            return Err(End::policy(format!("a state vector names {clients} clients, more than {most}")));
        }
        if !self.config.sends_updates {
            return self.send(&[Message::Step2(NOTHING)]).await;
        }
        let version = Version::from_state_vector(vector).map_err(End::policy)?.to_bytes();
        let replica = Arc::clone(&self.replica);
        let updates = blocking(move || replica.updates_since(&version)).await?.map_err(End::policy)?;
        let (last, others) = match updates.split_last() {
            Some((last, others)) => (last.as_slice(), others),
            None => (NOTHING, &[][..]),
        };
        let messages = others.iter().map(|update| Message::Update(update)).chain([Message::Step2(last)]);
        self.send(&messages.collect::<Vec<_>>()).await
    }

    async fn apply(&mut self, updates: Vec<Vec<u8>>) -> Result<(), End> {
        if updates.is_empty() {
            return Ok(());
        }
        if !self.config.takes_updates {
            return Err(End::policy("the document is read-only"));
        }
        // Before they are applied, as the replica calls its listeners from within.
        for update in &updates {
            if self.recent.len() == RECENT_UPDATES_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back(Hash::of(update));
        }
        let replica = Arc::clone(&self.replica);
        let applied = blocking(move || {
            let all: Vec<&[u8]> = updates.iter().map(Vec::as_slice).collect();
            // If any of it is refused, one by one, so that the good ones count.
            replica.apply_all(&all).or_else(|_| all.iter().try_for_each(|update| replica.apply(update)))
        });
        applied.await?.map_err(End::policy)
    }

    /// Sends what others have changed.
    async fn pass_on(&mut self) -> Result<(), End> {
        let taken = self.listening.outbox.take(TRANSMIT_SOFT_MAX);
        if taken.lagged {
            // Only the client knows what it has.
            return Err(End { code: CloseCode::Again, why: "too slow".to_owned() });
        }
        if !self.config.sends_updates {
            return Ok(());
        }
        let updates: Vec<_> = taken.updates.into_iter().filter(|(update, _)| !self.recent.contains(&update.hash())).collect();
        self.send(&updates.iter().map(|(update, _)| Message::Update(update.update())).collect::<Vec<_>>()).await
    }

    /// Tells who is there, and at least every now and then something: a provider that hears nothing for 30 s connects anew.
    async fn show(&mut self) -> Result<(), End> {
        let now = self.now();
        self.showing.mind(now);
        let news = self.showing.take_news(now, false);
        if !news.is_empty() || now >= self.told_at + HEARTBEAT {
            self.told_at = now;
            self.send(&[Message::Awareness(news)]).await?;
        }
        // Once it knows who has gone: it tells of everybody it knows, and would bring them back as its own.
        if self.showing.has_told() && self.showing.take_call(now) {
            self.send(&[Message::QueryAwareness]).await?;
        }
        Ok(())
    }

    async fn send(&mut self, messages: &[Message<'_>]) -> Result<(), End> {
        let sending = async {
            for message in messages {
                self.socket.feed(SocketMessage::Binary(message.encode().into())).await?;
            }
            self.socket.flush().await
        };
        match timeout(self.config.idle_timeout, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(End::policy(error)),
            Err(_) => Err(End { code: CloseCode::Again, why: "too slow".to_owned() }),
        }
    }
}

/// An update without anything in it.
const NOTHING: &[u8] = &[0, 0];

/// Work on the replica. Fails if that panics.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, End> {
    spawn_blocking(work).await.map_err(|_| End { code: CloseCode::Error, why: "the replica panicked".to_owned() })
}
