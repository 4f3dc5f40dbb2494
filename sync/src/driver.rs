//! Drives a session over a connection: the only place where it meets a clock and tasks.
//!
//! Three tasks a connection: one reads, one writes, and the loop here moves the session, whose calls into the replica run on
//! the blocking pool. Everything between them is bounded.

#![allow(clippy::disallowed_methods, reason = "a driver reads the clock, so that sessions need none")]

use crate::config::Config;
use crate::limits::{BATCH_FRAMES_MAX, EVENTS_MAX, FLUSH_TIMEOUT, TRANSMIT_SOFT_MAX};
use crate::outbox::{Outbox, Taken};
use crate::peer::Status;
use crate::replica::{Replica, UpdateGuard};
use crate::session::{CloseReason, Event, Session};
use crate::transport::{FrameSink, FrameSource, TransportError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout_at};

/// A frame, or how the connection ended, and its share of the memory for frames.
type Received = (Result<Option<Vec<u8>>, TransportError>, Option<OwnedSemaphorePermit>);

pub(crate) struct Start {
    pub(crate) config: Config,
    pub(crate) session: Session,
    pub(crate) replica: Arc<dyn Replica>,
    pub(crate) reports: Reports,
    /// Updates of the replica since the session began.
    pub(crate) outbox: Listening,
    /// Answers, or disappears, when the connection should be ended.
    pub(crate) stop: oneshot::Receiver<()>,
    /// A frame that was read already, to learn which document is wanted.
    pub(crate) first: Option<Vec<u8>>,
}

/// A queue that a replica fills, until it is dropped.
pub(crate) struct Listening {
    pub(crate) outbox: Arc<Outbox>,
    _guard: UpdateGuard,
}

impl Listening {
    /// Begin before the session does: what is committed in between is in both then, which does no harm.
    pub(crate) fn to(replica: &dyn Replica, config: &Config) -> Self {
        let outbox = Arc::new(Outbox::new(config));
        let listener = Arc::clone(&outbox);
        let guard = replica.on_update(Box::new(move |update, origin| listener.push(update, origin)));
        Self { outbox, _guard: guard }
    }
}

/// Where the driver tells how things stand.
#[derive(Clone)]
pub(crate) struct Reports {
    pub(crate) status: watch::Sender<Status>,
    pub(crate) events: broadcast::Sender<Event>,
    /// Local updates that the peer has said to have.
    pub(crate) acknowledged: watch::Sender<u64>,
}

impl Reports {
    pub(crate) fn new() -> Self {
        let (status, events, acknowledged) =
            (watch::Sender::new(Status::Connecting), broadcast::Sender::new(EVENTS_MAX), watch::Sender::new(0));
        Self { status, events, acknowledged }
    }
}

/// Work for the blocking pool.
#[derive(Default)]
struct Step {
    received: Vec<Received>,
    taken: Taken,
}

impl Step {
    fn is_empty(&self) -> bool {
        self.received.is_empty() && self.taken.updates.is_empty() && !self.taken.lagged
    }
}

struct Driver {
    replica: Arc<dyn Replica>,
    reports: Reports,
    epoch: Instant,
    closed: Option<CloseReason>,
}

/// Runs the conversation to its end.
pub(crate) async fn drive<W: FrameSink, R: FrameSource>(start: Start, sink: W, source: R) {
    let Start { config, mut session, replica, reports, outbox, stop, first } = start;
    let (frames, writer) = spawn_writer(sink);
    let (received, reader) = spawn_reader(source, &config);
    let _reader = AbortOnDrop(reader);
    let mut wires = Wires { frames, received, outbox: Arc::clone(&outbox.outbox), stop, stopping: None };
    let mut driver = Driver { replica, reports, epoch: Instant::now(), closed: None };
    let mut step = Step::default();
    step.received.extend(first.map(|frame| (Ok(Some(frame)), None)));
    loop {
        session = match driver.run(session, step).await {
            Some(session) => session,
            None => {
                let reason = CloseReason::Lost { message: "the replica panicked".to_owned() };
                driver.reports.status.send_replace(Status::Closed { reason });
                return;
            }
        };
        if wires.may_stop(&session) {
            session.close();
            driver.report(&mut session);
        }
        if session.is_closed() {
            break;
        }
        step = driver.wait(&mut session, &mut wires).await;
    }
    driver.flush(session, wires.frames, writer).await;
}

/// All that the loop waits for.
struct Wires {
    frames: mpsc::Sender<Vec<u8>>,
    received: mpsc::Receiver<Received>,
    outbox: Arc<Outbox>,
    stop: oneshot::Receiver<()>,
    /// Until when what is queued may still leave, once the end was asked for.
    stopping: Option<Instant>,
}

impl Wires {
    fn may_stop(&self, session: &Session) -> bool {
        let flushed = || session.is_flushed() && self.outbox.is_empty();
        self.stopping.is_some_and(|end| Instant::now() >= end || flushed())
    }
}

impl Driver {
    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Works off a batch where blocking is allowed. `None`: the replica panicked, and the session is gone with it.
    async fn run(&mut self, mut session: Session, step: Step) -> Option<Session> {
        let now = self.now();
        let due = session.poll_timeout().is_some_and(|at| now >= at);
        if due || !step.is_empty() {
            let replica = Arc::clone(&self.replica);
            let done = spawn_blocking(move || {
                work(&mut session, step, now, replica.as_ref());
                session
            });
            session = done.await.ok()?;
        }
        self.report(&mut session);
        Some(session)
    }

    /// Waits for the next thing to happen.
    async fn wait(&mut self, session: &mut Session, wires: &mut Wires) -> Step {
        let mut step = Step::default();
        let wake = session.poll_timeout().map_or(self.epoch, |at| self.epoch + at);
        let wake = wires.stopping.map_or(wake, |end| wake.min(end));
        tokio::select! {
            biased;
            permit = wires.frames.reserve(), if session.has_transmit() => match permit {
                Ok(permit) => {
                    let now = self.now();
                    if let Some(frame) = session.poll_transmit(now) {
                        permit.send(frame);
                    }
                }
                // The reader knows better why, if it is a matter of the whole connection.
                Err(_) => match timeout_at(Instant::now() + FLUSH_TIMEOUT, wires.received.recv()).await {
                    Ok(Some(last)) => step.received.push(last),
                    Ok(None) | Err(_) => self.lose(session, "it takes no more frames"),
                },
            },
            count = wires.received.recv_many(&mut step.received, BATCH_FRAMES_MAX),
                if session.wants_bytes() =>
            {
                if count == 0 {
                    self.lose(session, "it brings no more frames");
                }
            }
            () = wires.outbox.filled(), if session.wants_updates() => {
                step.taken = wires.outbox.take(TRANSMIT_SOFT_MAX);
            }
            _ = &mut wires.stop, if wires.stopping.is_none() => {
                wires.stopping = Some(Instant::now() + FLUSH_TIMEOUT);
            }
            () = sleep_until(wake) => {}
        }
        step
    }

    fn lose(&mut self, session: &mut Session, message: &str) {
        session.handle_lost(message);
        self.report(session);
    }

    fn report(&mut self, session: &mut Session) {
        while let Some(event) = session.poll_event() {
            let status = match &event {
                Event::Connected { .. } | Event::Behind => Some(Status::CatchingUp { received: 0, total: 0 }),
                Event::Progress { received, total } => Some(Status::CatchingUp { received: *received, total: *total }),
                Event::Live => Some(Status::Live),
                Event::Diverged { ours, theirs } => Some(Status::Diverged { ours: *ours, theirs: *theirs }),
                // Told once everything is sent, by `flush`.
                Event::Closed { reason } => {
                    self.closed = Some(reason.clone());
                    continue;
                }
                Event::Acknowledged { updates } => {
                    self.reports.acknowledged.send_replace(*updates);
                    None
                }
                Event::RepairFailed { message } => Some(Status::Unrepaired { message: message.clone() }),
                Event::RemoteUpdate { .. } | Event::Repaired { .. } => None,
            };
            if let Some(status) = status {
                self.reports.status.send_replace(status);
            }
            // Fails where nobody listens.
            let _ = self.reports.events.send(event);
        }
    }

    /// Sends what is left, and says that it is over.
    async fn flush(self, mut session: Session, frames: mpsc::Sender<Vec<u8>>, mut writer: JoinHandle<()>) {
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
        let reason = self.closed.unwrap_or(CloseReason::Local);
        let _ = self.reports.events.send(Event::Closed { reason: reason.clone() });
        self.reports.status.send_replace(Status::Closed { reason });
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
    if step.taken.lagged {
        session.handle_lagged(step.taken.forgotten, replica);
    }
    for (update, origin) in &step.taken.updates {
        session.handle_update(update, *origin);
    }
    session.handle_timeout(now, replica);
    session.settle(replica);
}

fn spawn_writer<W: FrameSink>(mut sink: W) -> (mpsc::Sender<Vec<u8>>, JoinHandle<()>) {
    let (sender, mut frames) = mpsc::channel::<Vec<u8>>(1);
    let writer = tokio::spawn(async move {
        while let Some(frame) = frames.recv().await {
            if sink.send(frame).await.is_err() {
                return;
            }
        }
        // An error here means that the peer is gone: there is nobody left to finish for.
        let _ = sink.finish().await;
    });
    (sender, writer)
}

fn spawn_reader<R: FrameSource>(mut source: R, config: &Config) -> (mpsc::Receiver<Received>, JoinHandle<()>) {
    let (sender, received) = mpsc::channel(BATCH_FRAMES_MAX);
    // All frames that wait take no more memory than the largest single one may.
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
