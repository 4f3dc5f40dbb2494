//! A connection between two replicas: a session at each end, and frames on their way between the
//! two.

use super::plan::Step;
use exostate_sync::{
    CloseReason, Config, Event, Origin, Replica, Role, Session, UpdateSubscription,
};
use fastrand::Rng;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Queue = Arc<Mutex<VecDeque<(Vec<u8>, Origin)>>>;

/// One end: a session, and the updates of its replica that the session has not taken yet.
pub(crate) struct End {
    session: Session,
    replica: Arc<dyn Replica>,
    queue: Queue,
    _guard: UpdateSubscription,
    /// The number of local updates that the replica had made before this session began.
    pub(crate) base: u64,
    /// The replica id of the other end.
    peer: Option<u64>,
    pub(crate) closed: Option<CloseReason>,
    pub(crate) repairs: usize,
}

impl End {
    fn new(replica: Arc<dyn Replica>, role: Role, base: u64, now: Duration) -> Self {
        let queue = Queue::default();
        let listener = Arc::clone(&queue);
        let guard = replica.on_update(Box::new(move |update, origin| {
            listener.lock().expect("no panic").push_back((update.to_vec(), origin));
        }));
        let session = Session::new(Config::default(), role, "simulated", replica.as_ref(), now);
        Self { session, replica, queue, _guard: guard, base, peer: None, closed: None, repairs: 0 }
    }

    /// How many local updates of this replica the other end is known to have. The count includes
    /// the updates from before this connection.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.session.acknowledged().map_or(0, |updates| self.base + updates)
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.session.is_live() && self.session.is_flushed() && !self.session.has_transmit()
    }

    fn work(&mut self, now: Duration) {
        while self.session.wants_updates()
            && let Some((update, origin)) = self.queue.lock().expect("no panic").pop_front()
        {
            self.session.handle_update(&update, origin);
        }
        self.session.handle_timeout(now, self.replica.as_ref());
        self.session.settle(self.replica.as_ref());
        while let Some(event) = self.session.poll_event() {
            if tracing() {
                eprintln!(
                    "{now:>10.1?} {:>3} with {:?}: {event:?}",
                    self.replica.replica().get(),
                    self.peer
                );
            }
            match event {
                Event::Connected { replica } => self.peer = Some(replica),
                Event::Closed { reason } => self.closed = Some(reason),
                Event::Repaired { .. } => self.repairs += 1,
                _ => {}
            }
        }
    }
}

fn tracing() -> bool {
    std::env::var_os("EXOSTATE_SIM_TRACE").is_some()
}

/// The faults of a connection.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    loss: u16,
    doubling: u16,
    change: u16,
    delay_ms: u64,
}

impl Faults {
    pub(crate) fn of(step: Step) -> Self {
        match step {
            Step::Faults { loss, doubling, change, delay_ms } => {
                Self { loss, doubling, change, delay_ms }
            }
            _ => Self::default(),
        }
    }
}

struct InFlight {
    due: Duration,
    /// The index of the receiving end.
    to: usize,
    frame: Vec<u8>,
}

/// Two ends, and the frames on their way between them.
pub(crate) struct Line {
    pub(crate) ends: [End; 2],
    in_flight: Vec<InFlight>,
    woken: Duration,
}

impl Line {
    pub(crate) fn new(replicas: [Arc<dyn Replica>; 2], bases: [u64; 2], now: Duration) -> Self {
        let [caller, called] = replicas;
        let ends = [
            End::new(caller, Role::Initiator, bases[0], now),
            End::new(called, Role::Responder, bases[1], now),
        ];
        Self { ends, in_flight: Vec::new(), woken: now }
    }

    /// How often each end replaced its document with that of the other end.
    pub(crate) fn repairs(&self) -> [usize; 2] {
        [self.ends[0].repairs, self.ends[1].repairs]
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.ends.iter().any(|end| end.closed.is_some())
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.in_flight.is_empty() && self.ends.iter().all(End::is_quiet)
    }

    /// The time of the next delivery or time-out.
    pub(crate) fn next(&self) -> Option<Duration> {
        let timeouts = self.ends.iter().filter_map(|end| end.session.poll_timeout());
        timeouts.chain(self.in_flight.iter().map(|in_flight| in_flight.due)).min()
    }

    /// Delivers the frames that are due, and sends the frames that are ready.
    pub(crate) fn work(&mut self, now: Duration, faults: Faults, rng: &mut Rng) {
        self.woken = now;
        // The sort is stable: frames that are due at the same time keep their order.
        self.in_flight.sort_by_key(|in_flight| in_flight.due);
        let due = self.in_flight.partition_point(|in_flight| in_flight.due <= now);
        for InFlight { to, frame, .. } in self.in_flight.drain(..due) {
            let end = &mut self.ends[to];
            end.session.handle_bytes(now, &frame, end.replica.as_ref());
        }
        for from in [0, 1] {
            self.ends[from].work(now);
            while let Some(frame) = self.ends[from].session.poll_transmit(now) {
                self.send(1 - from, frame, now, faults, rng);
            }
        }
    }

    fn send(
        &mut self,
        to: usize,
        mut frame: Vec<u8>,
        now: Duration,
        faults: Faults,
        rng: &mut Rng,
    ) {
        let mut happens = |times: u16| rng.u16(..1000) < times;
        if happens(faults.loss) {
            return;
        }
        if tracing() {
            let from = &self.ends[1 - to];
            eprintln!(
                "{now:>10.1?} {:>3} sends {:?} a frame of type {} with {} bytes",
                from.replica.replica().get(),
                from.peer,
                frame[0],
                frame.len()
            );
        }
        let copies = 1 + usize::from(happens(faults.doubling));
        if happens(faults.change) && !frame.is_empty() {
            let at = rng.usize(..frame.len());
            match rng.bool() {
                true => frame[at] ^= 1 << rng.u8(..8),
                false => frame.truncate(at),
            }
        }
        for _ in 0..copies {
            let due = now + Duration::from_millis(rng.u64(..=faults.delay_ms));
            self.in_flight.push(InFlight { due, to, frame: frame.clone() });
        }
    }
}
