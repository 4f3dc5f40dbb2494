//! The session of one document with one peer, as a state machine without IO, clock or random
//! source.
//!
//! A session promises:
//!
//! - It does not panic and loses nothing that a replica holds, whatever frames arrive, in whatever
//!   order and however often.
//! - If the frames of both sides get through, both sides end with equal versions and equal
//!   contents.
//! - A new session continues after a dropped connection.
//!
//! How it works, in short (`docs/protocol.md` has the details and the bytes):
//!
//! - Both sides send `Hello` with the hash of their version. If the hashes are equal, the sides
//!   send updates at once.
//! - If the hashes differ, the side that connected sends its whole version. The other side answers
//!   with the updates that the first side lacks, and with its own version. Then it gets updates
//!   back.
//! - While versions are exchanged, local updates are held back, because the answer contains them.
//!   Afterwards updates are sent as they are committed, numbered and acknowledged.
//! - After each batch each side announces the hash of its new version. When both have announced the
//!   same hash, the session is live, and the sides compare the digests of their contents.
//! - If the digests differ, one side makes its document equal to that of the other side.
//! - If frames get lost all the same (there is a gap, or the peer is silent), the session asks
//!   again with the whole version.
//! - Applied and kept are different things if a replica has a storage. Each side tells the other
//!   both: up to which number it has applied the updates, and up to which number its storage has
//!   written them. Only the second counts for [`Session::acknowledged`]; the first shows that the
//!   peer works, however slow its storage is.

mod allowance;
mod datagrams;
mod delivery;
mod duties;
mod event;
mod exchange;
mod kept;
mod outgoing;
mod receive;
mod repair;
mod showing;
mod timers;

pub(crate) use event::OneLine;
pub use event::{CloseCode, CloseReason, ConnectFailure, Event};

use crate::body::Shared;
use crate::config::Config;
use crate::frame::{Frame, Hash, Hello, Key, flag};
use crate::limits::{
    PINGS_BEFORE_PUT_BACK, PROTOCOL_NEWEST, PROTOCOL_OLDEST, TRANSMIT_HARD_MAX,
    TRANSMIT_SOFT_BYTES_MAX, TRANSMIT_SOFT_MAX,
};
use crate::presence::Showing;
use crate::replica::{Origin, Replica};
use allowance::Allowance;
use delivery::Delivery;
use duties::{DUTIES, Duty};
use exchange::{ContentCheck, Exchange};
use kept::Announced;
use outgoing::{Latest, Leaving, Outgoing};
use receive::Inbox;
use repair::RepairState;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use timers::{Timer, Timers};

/// Which side of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a connection has two sides")]
pub enum Role {
    /// The side that opened the connection. It sends its version first.
    Initiator,
    /// The side that accepted the connection.
    Responder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// This side waits for the `Hello` of the peer. Our `Hello` announced this version.
    Greeting {
        ours: Hash,
    },
    /// The versions differ, and the peer has to send its version first.
    Comparing {
        ours: Hash,
    },
    /// This side has sent its version, with this hash, and waits for that of the peer.
    Exchanging {
        ours: Hash,
    },
    /// Every further update is sent as soon as it is committed.
    Streaming,
    Closed,
}

/// The conversation of two replicas about one document.
///
/// A driver repeats, in this order:
///
/// 1. any number of [`handle_bytes`](Self::handle_bytes),
///    [`handle_datagram`](Self::handle_datagram), [`handle_update`](Self::handle_update),
///    [`handle_dropped_updates`](Self::handle_dropped_updates),
///    [`handle_timeout`](Self::handle_timeout) and [`close`](Self::close);
/// 2. [`settle`](Self::settle) once, which applies everything that came;
/// 3. [`poll_transmit`](Self::poll_transmit) as long as the transport takes frames, and
///    [`poll_datagram`](Self::poll_datagram) where it has datagrams;
/// 4. [`poll_event`](Self::poll_event) until it returns `None`;
/// 5. [`poll_timeout`](Self::poll_timeout), and waits for the first of: a frame, an update of the
///    replica, that time, and a call by [`Replica::on_kept`] where the session
///    [waits for it](Self::awaits_kept). A session takes note of such a call in step 2.
///
/// A driver that drops a session in the middle of an answer calls [`Replica::show_parts`], so that
/// the parts that have come are shown.
///
/// Time is a `Duration` since a moment that the driver chooses. It must not run backwards. The same
/// calls give the same frames. Transports deliver whole frames. A session survives duplicate, lost
/// and reordered frames, but more slowly.
#[derive(Debug)]
pub struct Session {
    config: Config,
    role: Role,
    hello: Hello,
    peer: PeerInfo,
    phase: Phase,
    /// Whether both sides are in sync, according to the last announcements.
    live: bool,
    exchange: Exchange,
    delivery: Delivery,
    outgoing: Outgoing,
    content: ContentCheck,
    repair: RepairState,
    orphans: Orphans,
    showing: Option<Showing>,
    datagrams: Option<datagrams::Datagrams>,
    timers: Timers,
    events: VecDeque<Event>,
    /// Whether a frame other than a sign of life came since the last ping.
    heard: bool,
}

/// The peer's data from its `Hello`.
#[derive(Debug, Default)]
struct PeerInfo {
    /// The replica id of the peer. 0 before its `Hello`.
    replica: u64,
    /// The key by which the participants of the peer are known.
    key: Key,
    flags: u64,
}

/// Updates that stay pending although both sides are in sync: their dependencies may be lost.
#[derive(Debug, Default)]
struct Orphans {
    /// Whether an update was pending at the last ping.
    pending: bool,
    /// At how many pings in a row an update from the replica's own storage was pending.
    pings: u32,
}

impl Session {
    /// Starts a session about `document`. Its `Hello` is ready to be sent.
    pub fn new(
        config: Config,
        role: Role,
        document: &str,
        replica: &dyn Replica,
        now: Duration,
    ) -> Self {
        let announced = Announced::new(Hash::of_version(&replica.version()), replica);
        let hello = Hello {
            newest: PROTOCOL_NEWEST,
            oldest: PROTOCOL_OLDEST,
            flags: config.flags(),
            backend: replica.backend().to_owned(),
            document: document.to_owned(),
            replica: replica.replica().get(),
            version: announced.version,
            key: Key::default(),
            token: None,
        };
        let exchange = Exchange::new(announced, Allowance::new(config.keep_alive, now));
        let mut session = Self {
            config,
            role,
            hello,
            peer: PeerInfo::default(),
            phase: Phase::Greeting { ours: announced.version },
            live: false,
            exchange,
            delivery: Delivery::default(),
            outgoing: Outgoing::default(),
            content: ContentCheck::default(),
            repair: RepairState::default(),
            orphans: Orphans::default(),
            showing: None,
            datagrams: None,
            timers: Timers::new(now),
            events: VecDeque::new(),
            heard: false,
        };
        session.greet_with(announced);
        session.outgoing.push_latest(Latest::Hello, &Frame::Hello(session.hello.clone()));
        session
    }

    /// The name of the document.
    pub fn document(&self) -> &str {
        &self.hello.document
    }

    /// Whether both sides are in sync: they last announced the same version. If one side only
    /// reads, it is enough that the reading side has everything.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Whether the session is over. Frames may still have to be sent.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has a frame.
    pub fn has_transmit(&self) -> bool {
        self.outgoing.len() > 0 && (self.is_closed() || !self.awaits_packing())
    }

    /// Number of local updates that were handed over, including those that
    /// [`handle_dropped_updates`](Self::handle_dropped_updates) counted.
    pub fn handed(&self) -> u64 {
        self.delivery.handed
    }

    /// Number of these updates, counted from the first, that the peer has acknowledged: it has
    /// applied them, and its storage has written them, if it has one. `None` as long as the peer
    /// may lack content that the replica held when the session began.
    pub fn acknowledged(&self) -> Option<u64> {
        self.delivery.acknowledged
    }

    /// Whether the peer has acknowledged every update that was handed over, and everything that the
    /// replica held when the session began. Also true if the peer will never take an update.
    pub fn is_flushed(&self) -> bool {
        self.is_closed()
            || self.delivery.acknowledged == Some(self.delivery.handed)
            || self.only_reads()
    }

    /// Whether the peer takes no updates from this side: the peer only lets this side read, or this
    /// side is configured to read only. False before the peer's `Hello`.
    pub fn only_reads(&self) -> bool {
        self.sends_nothing() && !self.is_greeting()
    }

    /// Whether a driver should hand over local updates at this time. If not, the driver keeps them
    /// in its bounded queue.
    pub fn wants_updates(&self) -> bool {
        let room = self.outgoing.len() < TRANSMIT_SOFT_MAX
            && self.outgoing.update_bytes() < TRANSMIT_SOFT_BYTES_MAX;
        room && self.delivery.sent.has_room()
    }

    /// Whether a driver should read frames at this time. It is always true with an honest peer.
    pub fn wants_bytes(&self) -> bool {
        self.outgoing.len() < TRANSMIT_HARD_MAX
    }

    /// Whether no long work is under way: no answer, no repair and no large update.
    pub(crate) fn is_brief(&self) -> bool {
        let large = !self.delivery.held.is_empty()
            || self.awaits_packing()
            || self.exchange.due.is_some()
            || self.repair.wanted;
        !matches!(self.phase, Phase::Exchanging { .. })
            && !self.delivery.answer.is_coming()
            && !self.repair.is_under_way()
            && !large
    }

    /// Takes an update that the replica committed or imported. Updates that came from this peer are
    /// recognised and dropped.
    pub fn handle_update(&mut self, update: &[u8], origin: Origin) {
        self.take_update(Shared::new(update), origin);
    }

    /// Does the same as [`Session::handle_update`] for an update that other sessions may share.
    pub(crate) fn take_update(&mut self, update: Arc<Shared>, origin: Origin) {
        // Recognising a large update takes a while, so it is held. The updates after it are held
        // too, so that the order stays.
        if !self.delivery.held.is_empty() || origin == Origin::Remote && update.is_large() {
            self.delivery.held.push_back((update, origin));
        } else {
            self.pass_on(update, origin);
        }
    }

    fn pass_on(&mut self, update: Arc<Shared>, origin: Origin) {
        self.delivery.handed += u64::from(origin == Origin::Local);
        match self.phase {
            Phase::Closed => {}
            _ if self.only_reads() => {}
            _ if origin == Origin::Remote && self.delivery.recent.contains(update.hash()) => {}
            Phase::Greeting { .. } | Phase::Comparing { .. } | Phase::Exchanging { .. } => {
                self.exchange.missed = true
            }
            Phase::Streaming => self.outgoing.push_update(update, self.delivery.handed),
        }
    }

    /// Passes on the held updates. They were handed over before the next step, so they come first.
    fn pass_on_held(&mut self) {
        while let Some((update, origin)) = self.delivery.held.pop_front() {
            self.pass_on(update, origin);
        }
    }

    /// Tells the session that updates of the replica were dropped before they reached it, `local`
    /// of them made by this replica. The versions are exchanged again.
    pub fn handle_dropped_updates(&mut self, local: u64, replica: &dyn Replica) {
        self.pass_on_held();
        self.delivery.handed += local;
        match self.phase {
            Phase::Closed => {}
            _ if self.only_reads() => {}
            Phase::Greeting { .. } | Phase::Comparing { .. } | Phase::Exchanging { .. } => {
                self.exchange.missed = true
            }
            Phase::Streaming => self.exchange(replica),
        }
    }

    /// Handles the time: sends a sign of life, asks again, or gives up.
    pub fn handle_timeout(&mut self, now: Duration, replica: &dyn Replica) {
        if self.is_closed() {
            return;
        }
        self.timers.now = now;
        self.pass_on_held();
        self.tick_presence(now);
        let after = self.config.idle_timeout;
        if now >= self.timers.received_at + after {
            return self.shut(CloseReason::TimedOut { after });
        }
        for duty in DUTIES {
            if !self.has_duty(duty) {
                self.timers.duties.note_progress(duty, now);
            }
        }
        if now >= self.timers.duties.since() + after + self.config.keep_alive {
            return self.shut(CloseReason::Stalled { after: now - self.timers.duties.since() });
        }
        // If no frame is lost, the peer sends the rest at once. If a frame is lost, the update is
        // requested again long before this time.
        if self.delivery.assembly.as_ref().is_some_and(|assembly| now >= assembly.due(after)) {
            return self.shut(CloseReason::Stalled { after });
        }
        if now < self.timers.sent_at + self.config.keep_alive {
            return;
        }
        self.timers.sent_at = now;
        if self.is_greeting() {
            let hello = Hello { flags: self.hello.flags | flag::AGAIN, ..self.hello.clone() };
            self.outgoing.push_latest(Latest::Hello, &Frame::Hello(hello));
        } else if self.live || self.heard {
            self.heard = false;
            // The peer's storage may be slow, or the frame that says what is kept was lost.
            if self.live && self.waits_for_peers_storage() {
                self.send_have(true);
            } else {
                self.outgoing.push_latest(Latest::Ping, &Frame::Ping);
            }
            self.drop_orphans(replica);
            self.put_back_orphans(replica);
        } else {
            self.ask_again(replica);
        }
    }

    /// Forgets updates that are still pending some time after both sides are in sync: their
    /// dependencies were lost with a replica that crashed.
    fn drop_orphans(&mut self, replica: &dyn Replica) {
        let waits = self.live && replica.has_pending();
        if std::mem::replace(&mut self.orphans.pending, waits) && waits {
            replica.forget_pending();
        }
    }

    /// Asks the replica to write again the pending updates of its own storage that are still
    /// pending a long time after both sides are in sync: their dependencies may have been given up.
    /// This is not done if either side only reads, because then the dependencies could not come
    /// from this peer.
    fn put_back_orphans(&mut self, replica: &dyn Replica) {
        let waits = self.live
            && !self.sends_nothing()
            && !self.receives_nothing()
            && replica.has_own_pending();
        self.orphans.pings = if waits { self.orphans.pings + 1 } else { 0 };
        if self.orphans.pings == PINGS_BEFORE_PUT_BACK {
            self.orphans.pings = 0;
            replica.rewrite_pending();
        }
    }

    /// Whether an update from this peer is still pending.
    fn still_waits(&mut self, replica: &dyn Replica) -> bool {
        self.delivery.waiting = self.delivery.waiting && replica.has_pending();
        self.delivery.waiting
    }

    fn has_duty(&self, duty: Duty) -> bool {
        match duty {
            Duty::Reading => self.outgoing.len() > 0,
            // It is enough that the peer has applied them: its storage may be slow.
            Duty::Ack => !self.delivery.sent.is_empty(),
            // The version of the peer comes after an answer that is coming, and the peer sends it
            // after our request has left.
            Duty::Version => {
                let asked = matches!(self.phase, Phase::Exchanging { .. })
                    && !self.outgoing.holds(Latest::Version);
                asked && self.exchange.due.is_none() && !self.delivery.answer.is_coming()
            }
            Duty::Answer => self.delivery.answer.is_coming(),
        }
    }

    /// Ends the session because this side closes down. The peer may connect again later. Queued
    /// frames are sent first.
    pub fn close_for_now(&mut self) {
        self.shut(CloseReason::Unavailable);
    }

    /// Ends the session. Queued frames are sent first.
    pub fn close(&mut self) {
        self.shut(CloseReason::Local);
    }

    /// Tells the session that the transport ended.
    pub fn handle_lost(&mut self, message: &str) {
        self.shut(CloseReason::Lost { message: message.to_owned() });
    }

    /// Applies the updates that came in a batch of `handle_*` calls, reads the state of the replica
    /// once, and announces the changes.
    pub fn settle(&mut self, replica: &dyn Replica) {
        self.pass_on_held();
        if let Err(reason) = self.import(replica).and_then(|()| self.answer_what_is_due(replica)) {
            self.shut(reason);
        }
        if self.is_greeting() || self.is_closed() {
            return;
        }
        self.acknowledge_received(replica);
        self.compare(replica);
        if let Err(reason) = self.answer_repair(replica) {
            self.shut(reason);
        }
        self.check_repair_timeout();
        self.show(self.timers.now);
        self.outgoing.pack(self.leaving());
    }

    /// The next frame to send. A frame with a large update waits for [`settle`](Self::settle),
    /// unless the session is over.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<Vec<u8>> {
        if !self.has_transmit() {
            return None;
        }
        let frame = self.outgoing.pop(self.leaving(), &mut self.delivery.sent)?;
        self.timers.sent_at = now;
        self.timers.duties.note_progress(Duty::Reading, now);
        Some(frame)
    }

    fn leaving(&self) -> Leaving {
        let reads = self.peer.flags & flag::READS_DEFLATE != 0;
        let compress_over = reads.then_some(self.config.compress_over).flatten();
        Leaving { frame_bytes_max: self.config.frame_bytes_max, compress_over }
    }

    fn awaits_packing(&self) -> bool {
        self.outgoing.awaits_packing(self.leaving())
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The time at which [`handle_timeout`](Self::handle_timeout) has to be called. `None` after
    /// the session is closed.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let at = |timer: &Timer| self.deadline(*timer);
        Timer::ALL.iter().filter_map(at).min().filter(|_| !self.is_closed())
    }

    /// The time at which a timer expires. `None` while the timer does not run.
    fn deadline(&self, timer: Timer) -> Option<Duration> {
        match timer {
            Timer::KeepAlive => Some(self.timers.sent_at + self.config.keep_alive),
            Timer::Idle => Some(self.timers.received_at + self.config.idle_timeout),
            Timer::Presence => self.presence_due(),
            // The next update to leave is packed at once.
            Timer::Packing => self.awaits_packing().then_some(self.timers.now),
            Timer::Answer => self.answer_due(),
            Timer::Repair => self.repair_due(),
        }
    }

    pub(crate) fn shut(&mut self, reason: CloseReason) {
        if self.is_closed() {
            return;
        }
        self.pass_on_held();
        if !matches!(reason, CloseReason::Local | CloseReason::Unavailable) {
            self.outgoing.clear();
        }
        if let Some(code) = reason.code() {
            self.outgoing.push_close(code.to_u64(), &reason.to_string());
        }
        self.phase = Phase::Closed;
        self.live = false;
        self.exchange.due = None;
        self.delivery.assembly = None;
        self.delivery.inbox = Inbox::default();
        self.repair = RepairState::default();
        self.showing = None;
        self.datagrams = None;
        self.events.push_back(Event::Closed { reason });
    }

    fn is_greeting(&self) -> bool {
        matches!(self.phase, Phase::Greeting { .. })
    }

    /// Whether no updates are sent to the peer: this side only reads, or the peer takes no updates.
    fn sends_nothing(&self) -> bool {
        !self.config.sends_updates || self.peer.flags & flag::TAKES_NONE != 0
    }

    /// Whether no updates come from the peer: this side takes none, or the peer sends none.
    fn receives_nothing(&self) -> bool {
        !self.config.takes_updates || self.peer.flags & flag::SENDS_NONE != 0
    }
}
