//! Drives a session over a connection. This is the only place where a session meets a clock and
//! tasks.
//!
//! Each connection has three tasks: a reader, a writer, and the loop in this module, which drives
//! the session. The session's calls into the replica run where they may block. Brief calls run on
//! the loop's own thread ([`crate::steps`]). All queues between the tasks are bounded.

#![allow(
    clippy::disallowed_methods,
    reason = "a driver reads the clock, so that sessions need none"
)]

use crate::config::Config;
use crate::frame;
use crate::limits::{
    BATCH_FRAMES_MAX, BRIEF_BYTES_MAX, EVENTS_MAX, FLUSH_TIMEOUT, TRANSMIT_SOFT_MAX,
    WRITER_FRAMES_MAX,
};
use crate::outbox::{Outbox, Taken};
use crate::peer::Status;
use crate::presence::Room;
use crate::replica::{Replica, UpdateSubscription};
use crate::session::{CloseReason, Event, Role, Session};
use crate::steps::{Pace, aside, here};
use crate::transport::datagrams::Datagrams;
use crate::transport::{FrameSink, FrameSource, Transport, TransportError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, watch};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, sleep_until, timeout_at};

/// A frame, or the end of the connection, and the frame's share of the memory for received frames.
type Received = (Result<Option<Vec<u8>>, TransportError>, Option<OwnedSemaphorePermit>);

pub(crate) struct Start {
    pub(crate) config: Config,
    pub(crate) role: Role,
    /// The secret by which the peer recognises this side; see [`Session::with_key`].
    pub(crate) key: [u8; 16],
    /// The token by which the peer may decide what this side may do.
    pub(crate) token: Option<String>,
    pub(crate) document: String,
    pub(crate) room: Room,
    pub(crate) reports: Reports,
    /// The queue of the replica's updates.
    pub(crate) outbox: Arc<Listening>,
    /// Says when to end the connection, and why. Dropping the sender also ends the connection.
    pub(crate) stop: Stop,
    /// A frame that was already read, to learn which document the peer asks for.
    pub(crate) first: Option<Vec<u8>>,
}

/// A new secret by which a peer recognises this side. It is zero (no secret) if the system provides
/// no randomness, because a guessable secret is worse than none.
pub(crate) fn fresh_key() -> [u8; 16] {
    let mut key = [0; 16];
    if getrandom::fill(&mut key).is_ok() { key } else { [0; 16] }
}

/// Says when a conversation has to end, and why.
pub(crate) type Stop = watch::Receiver<Option<CloseReason>>;

/// Waits until the end is requested.
pub(crate) async fn stopped(stop: &mut Stop) -> CloseReason {
    match stop.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(reason)) => reason.clone(),
        // The sender is gone.
        Ok(None) | Err(_) => CloseReason::Local,
    }
}

/// How a conversation ended.
pub(crate) struct Ended {
    pub(crate) reason: CloseReason,
    /// The peer's replica id, if the peer has sent it.
    pub(crate) peer: Option<u64>,
    /// The two replicas were in sync at some time.
    pub(crate) lived: bool,
}

/// A queue that a replica fills until this is dropped.
pub(crate) struct Listening {
    pub(crate) outbox: Arc<Outbox>,
    _guard: UpdateSubscription,
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.outbox.fmt(f)
    }
}

impl Listening {
    pub(crate) fn to(replica: &dyn Replica, config: &Config) -> Arc<Self> {
        let outbox = Arc::new(Outbox::new(config));
        let listener = Arc::clone(&outbox);
        let guard =
            replica.on_update(Box::new(move |update, origin| listener.push(update, origin)));
        Arc::new(Self { outbox, _guard: guard })
    }
}

/// The channels on which the driver reports the state of the connection.
#[derive(Clone)]
pub(crate) struct Reports {
    pub(crate) status: watch::Sender<Status>,
    pub(crate) events: broadcast::Sender<Event>,
    /// The number of local updates that the peer has acknowledged, including those before the
    /// conversation; `None` until the first acknowledgement.
    pub(crate) acknowledged: watch::Sender<Option<u64>>,
    /// How many times a listener of the peer's document failed at updates from this side.
    pub(crate) failures: watch::Sender<u64>,
    /// Whether the peer is known to take no updates from this side.
    pub(crate) only_reads: watch::Sender<bool>,
}

impl Reports {
    pub(crate) fn new() -> Self {
        Self::keeping(EVENTS_MAX)
    }

    /// Reports without receivers. A broadcast channel allocates its whole buffer at once, so this
    /// one is small.
    pub(crate) fn to_nobody() -> Self {
        Self::keeping(1)
    }

    fn keeping(events_max: usize) -> Self {
        let status = watch::Sender::new(Status::Connecting);
        let events = broadcast::Sender::new(events_max);
        let acknowledged = watch::Sender::new(None);
        let failures = watch::Sender::new(0);
        let only_reads = watch::Sender::new(false);
        Self { status, events, acknowledged, failures, only_reads }
    }
}

/// Work that needs the replica.
#[derive(Default)]
struct Step {
    received: Vec<Received>,
    taken: Taken,
    /// Updates were taken from the queue and already given to the session, or the replica's storage
    /// has written something.
    settles: bool,
}

impl Step {
    fn is_empty(&self) -> bool {
        self.received.is_empty() && !self.taken.overflowed && !self.settles
    }

    /// Whether the step looks brief by its frames: few bytes, no long answers, and no exchange of
    /// versions.
    fn is_brief(&self) -> bool {
        let frames = || {
            self.received.iter().map(|(frame, _)| frame.as_ref().ok().and_then(Option::as_deref))
        };
        let bytes: usize = frames().flatten().map(<[u8]>::len).sum();
        !self.taken.overflowed
            && bytes <= BRIEF_BYTES_MAX
            && frames().all(|frame| frame.is_some_and(frame::is_brief))
    }
}

struct Driver {
    replica: Arc<dyn Replica>,
    reports: Reports,
    epoch: Instant,
    pace: Arc<Pace>,
    /// The number of local updates before this conversation.
    before: u64,
    peer: Option<u64>,
    lived: bool,
    /// Why the last repair failed. `None` if the sides were in sync since then.
    unrepaired: Option<String>,
    closed: Option<CloseReason>,
}

/// Runs a conversation to its end.
pub(crate) async fn drive<T: Transport>(start: Start, mut transport: T) -> Ended {
    let Start { config, role, key, token, document, room, reports, outbox, stop, first } = start;
    let replica = room.replica_itself();
    let participants = room.shared();
    let pace = room.pace();
    // A change that is committed between this line and the session's start is in the version and
    // also in the queue. This does no harm.
    let before = outbox.outbox.begin();
    let datagrams = transport.datagrams();
    let channel = datagrams.as_ref().map(Datagrams::channel);
    let (sink, source) = transport.split();
    let (frames, writer) = spawn_writer(sink);
    let (received, reader) = spawn_reader(source, &config);
    let _reader = AbortOnDrop(reader);
    let presence = participants.subscribe();
    let kept = room.kept_changes();
    let mut wires = Wires {
        frames,
        received,
        datagrams,
        outbox: Arc::clone(&outbox.outbox),
        presence,
        kept,
        stop,
        stopping: None,
    };
    let mut driver = Driver {
        replica,
        reports,
        epoch: Instant::now(),
        pace,
        before,
        peer: None,
        lived: false,
        unrepaired: None,
        closed: None,
    };
    let replica = Arc::clone(&driver.replica);
    let begin = move || {
        let session = Session::new(config, role, &document, replica.as_ref(), Duration::ZERO);
        let session = session.with_key(key).with_participants(participants);
        let session = if let Some(token) = &token { session.with_token(token) } else { session };
        match channel {
            Some(channel) => session.with_datagrams(channel),
            None => session,
        }
    };
    // Resets the value of an earlier conversation: the rights may have changed.
    driver.reports.only_reads.send_replace(false);
    let ended = driver.converse(begin, first, &mut wires).await;
    outbox.outbox.end();
    // Shows the parts of an answer that was interrupted.
    let replica = Arc::clone(&driver.replica);
    driver.step(driver.expects_brief(), move || replica.show_parts()).await;
    let reason = match ended {
        Some(session) => driver.flush(session, wires.frames, writer).await,
        None => CloseReason::ReplicaPanicked,
    };
    // Fails if there is no receiver.
    let _ = driver.reports.events.send(Event::Closed { reason: reason.clone() });
    Ended { reason, peer: driver.peer, lived: driver.lived }
}

/// Everything that the loop waits for.
struct Wires {
    frames: mpsc::Sender<Vec<u8>>,
    received: mpsc::Receiver<Received>,
    datagrams: Option<Datagrams>,
    outbox: Arc<Outbox>,
    presence: watch::Receiver<u64>,
    /// Changes when the replica's storage has written something.
    kept: watch::Receiver<()>,
    stop: Stop,
    /// Why the end was requested, and until when queued frames may still be sent.
    stopping: Option<(CloseReason, Instant)>,
}

impl Wires {
    /// Gives the writer as many frames as it takes without waiting: several small ones, or one
    /// large one. Returns whether there was any.
    fn send_frames(&self, session: &mut Session, now: Duration) -> bool {
        let mut bytes = 0;
        while session.has_transmit() && bytes <= BRIEF_BYTES_MAX {
            let Ok(permit) = self.frames.try_reserve() else { break };
            if let Some(frame) = session.poll_transmit(now) {
                bytes += frame.len();
                permit.send(frame);
            }
        }
        bytes > 0
    }

    fn send_datagrams(&self, session: &mut Session) {
        let Some(datagrams) = &self.datagrams else { return };
        while let Some(datagram) = session.poll_datagram() {
            datagrams.sender().send(datagram);
        }
    }

    /// The reason to end the conversation, if it is time to end it.
    fn may_stop(&self, session: &Session) -> Option<CloseReason> {
        let flushed = || session.is_flushed() && self.outbox.is_empty();
        self.stopping
            .as_ref()
            .filter(|(_, end)| Instant::now() >= *end || flushed())
            .map(|(reason, _)| reason.clone())
    }
}

/// The next datagrams. Never resolves if the connection has no datagrams.
async fn next_datagrams(datagrams: &mut Option<Datagrams>) -> Vec<Vec<u8>> {
    let mut next = Vec::new();
    if let Some(wire) = datagrams.as_mut() {
        if wire.recv_many(&mut next, BATCH_FRAMES_MAX).await > 0 {
            return next;
        }
        *datagrams = None;
    }
    std::future::pending().await
}

impl Driver {
    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Runs the conversation until it is closed. Returns `None` if the replica panicked; the
    /// session is lost with it.
    async fn converse(
        &mut self,
        begin: impl FnOnce() -> Session + Send + 'static,
        first: Option<Vec<u8>>,
        wires: &mut Wires,
    ) -> Option<Session> {
        let mut session = self.step(self.expects_brief(), begin).await?;
        let mut step = Step::default();
        step.received.extend(first.map(|frame| (Ok(Some(frame)), None)));
        loop {
            session = self.run(session, step, wires).await?;
            wires.send_datagrams(&mut session);
            if let Some(reason) = wires.may_stop(&session) {
                session.shut(reason);
                self.report(&mut session);
            }
            if session.is_closed() {
                return Some(session);
            }
            step = self.wait(&mut session, wires).await;
        }
    }

    /// Processes one batch. The work that needs the replica runs in [`Self::step`]. Returns `None`
    /// if the replica panicked; the session is lost with it.
    async fn run(
        &mut self,
        mut session: Session,
        mut step: Step,
        wires: &mut Wires,
    ) -> Option<Session> {
        let now = self.now();
        session.show(now);
        if !step.taken.updates.is_empty() {
            step.taken
                .updates
                .drain(..)
                .for_each(|(update, origin)| session.take_update(update, origin));
            step.settles = true;
        }
        let due = session.poll_timeout().is_some_and(|at| now >= at);
        if due || !step.is_empty() {
            let brief = step.is_brief() && session.is_brief() && self.expects_brief();
            // Ready frames are sent before a long step. After a brief step all frames are sent
            // together.
            if !brief && wires.send_frames(&mut session, now) {
                yield_now().await;
            }
            // The step sees what is written by now.
            wires.kept.mark_unchanged();
            let replica = Arc::clone(&self.replica);
            let step = move || {
                work(&mut session, step, now, replica.as_ref());
                session
            };
            session = self.step(brief, step).await?;
        }
        wires.send_frames(&mut session, now);
        self.report(&mut session);
        Some(session)
    }

    /// Whether a step that needs the replica is likely to be brief.
    fn expects_brief(&self) -> bool {
        self.pace.is_brief() && !self.replica.is_busy()
    }

    /// Runs work that needs the replica: on this thread if it is likely to be `brief`, else where
    /// it may block. Returns `None` if the work panicked.
    async fn step<T: Send + 'static>(
        &self,
        brief: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let timed = move || {
            let begun = Instant::now();
            (work(), begun.elapsed())
        };
        let (done, took) = if brief { here(timed) } else { aside(timed).await }?;
        self.pace.note(took);
        Some(done)
    }

    /// Waits for the next event.
    async fn wait(&mut self, session: &mut Session, wires: &mut Wires) -> Step {
        let mut step = Step::default();
        let wake = session.poll_timeout().map_or(self.epoch, |at| self.epoch + at);
        let wake = wires.stopping.as_ref().map_or(wake, |(_, end)| wake.min(*end));
        tokio::select! {
            biased;
            // This comes first, so that a flood of frames cannot hide the request to stop.
            reason = stopped(&mut wires.stop), if wires.stopping.is_none() => {
                wires.stopping = Some((reason, Instant::now() + FLUSH_TIMEOUT));
            }
            permit = wires.frames.reserve(), if session.has_transmit() => match permit {
                Ok(permit) => {
                    let now = self.now();
                    if let Some(frame) = session.poll_transmit(now) {
                        permit.send(frame);
                    }
                }
                // If the whole connection failed, the reader has the better reason.
                Err(_) => {
                    match timeout_at(Instant::now() + FLUSH_TIMEOUT, wires.received.recv()).await {
                        Ok(Some(last)) => step.received.push(last),
                        Ok(None) | Err(_) => self.lose(session, "it takes no more frames"),
                    }
                }
            },
            count = wires.received.recv_many(&mut step.received, BATCH_FRAMES_MAX),
                if session.wants_bytes() =>
            {
                if count == 0 {
                    self.lose(session, "it brings no more frames");
                }
            }
            datagrams = next_datagrams(&mut wires.datagrams) => {
                let now = self.now();
                datagrams.iter().for_each(|datagram| session.handle_datagram(now, datagram));
            }
            // The channel closes only with the participants, which this side holds.
            Ok(()) = wires.presence.changed(), if session.awaits_news() => {}
            // The channel closes only with the room, which this side holds.
            Ok(()) = wires.kept.changed(), if session.awaits_kept() => step.settles = true,
            () = wires.outbox.filled(), if session.wants_updates() => {}
            () = sleep_until(wake) => {}
        }
        // A continuous flow of received frames must not delay the updates to send.
        if step.taken.updates.is_empty() && session.wants_updates() {
            step.taken = wires.outbox.take(TRANSMIT_SOFT_MAX);
        }
        step
    }

    fn lose(&mut self, session: &mut Session, message: &str) {
        session.handle_lost(message);
        self.report(session);
    }

    /// The status of a session in sync. If a repair has failed, equal versions are not enough: the
    /// contents must be equal again.
    fn live_status(&mut self, session: &Session) -> Status {
        if session.knows_of_divergence()
            && let Some(message) = &self.unrepaired
        {
            return Status::Unrepaired { message: message.clone() };
        }
        self.unrepaired = None;
        let mismatch = self.replica.type_mismatch();
        mismatch.map_or(Status::Live, |mismatch| Status::LiveAsOther { mismatch })
    }

    fn report(&mut self, session: &mut Session) {
        while let Some(event) = session.poll_event() {
            if let Event::Connected { replica } = event {
                self.peer = Some(replica);
                self.reports.only_reads.send_replace(session.only_reads());
            }
            let status = match &event {
                Event::Connected { .. } | Event::Behind => {
                    Some(Status::CatchingUp { received: 0, total: 0 })
                }
                Event::Progress { received, total } => {
                    Some(Status::CatchingUp { received: *received, total: *total })
                }
                Event::Live => {
                    self.lived = true;
                    Some(self.live_status(session))
                }
                Event::Diverged { ours, theirs } => {
                    Some(Status::Diverged { ours: *ours, theirs: *theirs })
                }
                // `drive` reports the end after `flush` has sent the last frames.
                Event::Closed { reason } => {
                    self.closed = Some(reason.clone());
                    continue;
                }
                Event::Acknowledged { updates } => {
                    self.reports.acknowledged.send_replace(Some(self.before + updates));
                    None
                }
                Event::PeerFailed => {
                    self.reports.failures.send_modify(|failures| *failures += 1);
                    None
                }
                Event::RepairFailed { message } => {
                    self.unrepaired = Some(message.clone());
                    Some(Status::Unrepaired { message: message.clone() })
                }
                Event::RemoteUpdate { .. } | Event::Repaired { .. } => None,
            };
            if let Some(status) = status {
                self.reports.status.send_replace(status);
            }
            // Fails if there is no receiver.
            let _ = self.reports.events.send(event);
        }
        // No event says that contents have become equal.
        if self.unrepaired.is_some() && session.is_live() && !session.knows_of_divergence() {
            let status = self.live_status(session);
            self.reports.status.send_replace(status);
        }
    }

    /// Sends the remaining frames, for at most `FLUSH_TIMEOUT`. Returns why the conversation ended.
    async fn flush(
        &mut self,
        mut session: Session,
        frames: mpsc::Sender<Vec<u8>>,
        mut writer: JoinHandle<()>,
    ) -> CloseReason {
        let end = Instant::now() + FLUSH_TIMEOUT;
        let now = self.now();
        while let Some(frame) = session.poll_transmit(now) {
            if !matches!(timeout_at(end, frames.send(frame)).await, Ok(Ok(()))) {
                break;
            }
        }
        drop(frames);
        if timeout_at(end, &mut writer).await.is_err() {
            writer.abort();
        }
        self.closed.take().unwrap_or(CloseReason::Local)
    }
}

fn work(session: &mut Session, step: Step, now: Duration, replica: &dyn Replica) {
    for (received, _share) in step.received {
        match received {
            Ok(Some(frame)) => session.handle_bytes(now, &frame, replica),
            Ok(None) => session.handle_lost("the peer ended it without a word"),
            Err(TransportError::Frame(error)) => session.shut(CloseReason::Protocol(error)),
            Err(error) => session.handle_lost(&error.to_string()),
        }
    }
    if step.taken.overflowed {
        session.handle_dropped_updates(step.taken.forgotten, replica);
    }
    session.handle_timeout(now, replica);
    session.settle(replica);
}

fn spawn_writer<W: FrameSink>(mut sink: W) -> (mpsc::Sender<Vec<u8>>, JoinHandle<()>) {
    let (sender, mut waiting) = mpsc::channel::<Vec<u8>>(WRITER_FRAMES_MAX);
    let writer = tokio::spawn(async move {
        let mut frames = Vec::new();
        while waiting.recv_many(&mut frames, WRITER_FRAMES_MAX).await > 0 {
            if sink.send_all(std::mem::take(&mut frames)).await.is_err() {
                return;
            }
        }
        // An error here means that the peer is gone, so nothing remains to finish.
        let _ = sink.finish().await;
    });
    (sender, writer)
}

fn spawn_reader<R: FrameSource>(
    mut source: R,
    config: &Config,
) -> (mpsc::Receiver<Received>, JoinHandle<()>) {
    let (sender, received) = mpsc::channel(BATCH_FRAMES_MAX);
    // All waiting frames together take no more memory than the largest single frame may.
    let bytes_max = u32::try_from(config.frame_bytes_max).unwrap_or(u32::MAX);
    let budget = Arc::new(Semaphore::new(bytes_max as usize));
    let reader = tokio::spawn(async move {
        loop {
            let frame = source.recv().await;
            let Ok(Some(bytes)) = &frame else {
                let _ = sender.send((frame, None)).await;
                return;
            };
            let share = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(bytes_max);
            let share = Arc::clone(&budget).acquire_many_owned(share).await.ok();
            if sender.send((frame, share)).await.is_err() {
                return;
            }
        }
    });
    (received, reader)
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
