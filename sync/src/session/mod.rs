//! One document's conversation with one peer, as a state machine without IO, clock or chance.
//!
//! It promises: whatever arrives, in whatever order, however often, nothing panics and nothing that
//! a replica holds is lost; two sides whose frames get through end with equal versions and equal
//! contents. A dropped connection is resumed by a new session.
//!
//! How it works, in short (the long form, with the bytes, is `docs/protocol.md`): both sides say
//! `Hello` with the hash of their version. If the hashes are equal, updates stream at once. If not,
//! the side that connected sends its whole version; the other answers with updates that hold what
//! it lacks and with its own version, and gets updates back. Local updates are held while
//! versions travel, as the answer contains them, and stream afterwards, numbered and acknowledged.
//! After every batch each side announces the hash of its new version; once both announced the same,
//! the session is live and the digests of the contents are compared. Where these differ, one side
//! makes itself equal to the other. What gets lost all the same (a gap, a silent peer) is asked for
//! again with the whole version.

mod allowance;
mod datagrams;
mod delivery;
mod event;
mod exchange;
mod outgoing;
mod owed;
mod receive;
mod recent;
mod repair;
mod showing;
mod timers;

pub(crate) use event::OneLine;
pub use event::{CloseCode, CloseReason, Event};

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
use exchange::{ContentCheck, Exchange};
use outgoing::{Latest, Leaving, Outgoing};
use owed::{DEBTS, Debt};
use receive::Inbox;
use repair::Repairing;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use timers::{Timer, Timers};

/// Which side of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a connection has two sides")]
pub enum Role {
    /// Opened the connection; it asks first.
    Initiator,
    /// Accepted it.
    Responder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The peer's `Hello` is awaited; ours announced this version.
    Greeting {
        ours: Hash,
    },
    /// The versions differ, and the peer asks first.
    Comparing {
        ours: Hash,
    },
    /// Our version, of this hash, is sent and the peer's awaited.
    Exchanging {
        ours: Hash,
    },
    /// Every update from here on is sent as it comes.
    Streaming,
    Closed,
}

/// The conversation of two replicas about one document.
///
/// A driver repeats, in this order:
///
/// 1. any number of [`handle_bytes`](Self::handle_bytes),
///    [`handle_datagram`](Self::handle_datagram), [`handle_update`](Self::handle_update),
///    [`handle_lagged`](Self::handle_lagged), [`handle_timeout`](Self::handle_timeout) and
///    [`close`](Self::close);
/// 2. [`settle`](Self::settle) once: what came is applied here, in one go;
/// 3. [`poll_transmit`](Self::poll_transmit) as long as the transport takes frames, and
///    [`poll_datagram`](Self::poll_datagram) where it has datagrams;
/// 4. [`poll_event`](Self::poll_event) until it returns `None`;
/// 5. [`poll_timeout`](Self::poll_timeout), and waits for the first of: a frame, an update of the
///    replica, that time.
///
/// Whoever lets go of a session in the middle of an answer calls [`Replica::show_parts`], so that
/// what has come is shown.
///
/// Time is a `Duration` since a moment that the driver chooses, and must not run backwards. The
/// same calls give the same frames. Transports deliver whole frames; duplicates, loss and another
/// order are survived, though slowly.
#[derive(Debug)]
pub struct Session {
    config: Config,
    role: Role,
    hello: Hello,
    peer: PeerInfo,
    phase: Phase,
    /// Whether both sides are in sync, as far as was last announced.
    live: bool,
    exchange: Exchange,
    delivery: Delivery,
    outgoing: Outgoing,
    content: ContentCheck,
    repair: Repairing,
    orphans: Orphans,
    showing: Option<Showing>,
    datagrams: Option<datagrams::Datagrams>,
    timers: Timers,
    events: VecDeque<Event>,
    /// Something other than a sign of life came since the last ping.
    heard: bool,
}

/// What the peer's `Hello` said of it.
#[derive(Debug, Default)]
struct PeerInfo {
    /// Its replica id; 0 before it has said so.
    replica: u64,
    /// The key that its participants are known by.
    key: Key,
    flags: u64,
}

/// Updates that stay pending although both sides are in sync: their dependencies may be lost.
#[derive(Debug, Default)]
struct Orphans {
    /// Whether an update was pending at the last ping.
    pending: bool,
    /// At how many pings in a row an update of the replica's own storage was pending.
    pings: u32,
}

impl Session {
    /// Starts a conversation about `document`, whose `Hello` is ready to be sent.
    pub fn new(
        config: Config,
        role: Role,
        document: &str,
        replica: &dyn Replica,
        now: Duration,
    ) -> Self {
        let version = Hash::of(&replica.version());
        let hello = Hello {
            newest: PROTOCOL_NEWEST,
            oldest: PROTOCOL_OLDEST,
            flags: config.flags(),
            backend: replica.backend().to_owned(),
            document: document.to_owned(),
            replica: replica.replica(),
            version,
            key: Key::default(),
            token: None,
        };
        let mut outgoing = Outgoing::default();
        outgoing.push_latest(Latest::Hello, &Frame::Hello(hello.clone()));
        let exchange = Exchange::new(version, Allowance::new(config.keep_alive, now));
        Self {
            config,
            role,
            hello,
            peer: PeerInfo::default(),
            phase: Phase::Greeting { ours: version },
            live: false,
            exchange,
            delivery: Delivery::default(),
            outgoing,
            content: ContentCheck::default(),
            repair: Repairing::default(),
            orphans: Orphans::default(),
            showing: None,
            datagrams: None,
            timers: Timers::new(now),
            events: VecDeque::new(),
            heard: false,
        }
    }

    /// The document's name.
    pub fn document(&self) -> &str {
        &self.hello.document
    }

    /// Whether both sides are in sync: they last announced the same version, or, where one of them
    /// only reads, the reader has all.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Whether the conversation is over. Frames may still wait to be sent.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has a frame.
    pub fn has_transmit(&self) -> bool {
        self.outgoing.len() > 0 && (self.is_closed() || !self.awaits_packing())
    }

    /// How many local updates were handed over, those included that
    /// [`handle_lagged`](Self::handle_lagged) counted.
    pub fn handed(&self) -> u64 {
        self.delivery.handed
    }

    /// How many of these, counted from the first, the peer has said to have; `None` as long as it
    /// may lack what the replica held when the session began.
    pub fn acknowledged(&self) -> Option<u64> {
        self.delivery.acknowledged
    }

    /// Whether the peer is known to have all that the replica held when the session began and every
    /// update handed over, or will never take any.
    pub fn is_flushed(&self) -> bool {
        self.is_closed()
            || self.delivery.acknowledged == Some(self.delivery.handed)
            || self.only_reads()
    }

    /// Whether the peer takes nothing from here: it lets this side only read, or this side was told
    /// to. Not known before the peer's greeting.
    pub fn only_reads(&self) -> bool {
        self.sends_nothing() && !self.is_greeting()
    }

    /// Whether a driver should take local updates now; if not, it lets them wait in its bounded
    /// queue.
    pub fn wants_updates(&self) -> bool {
        let room = self.outgoing.len() < TRANSMIT_SOFT_MAX
            && self.outgoing.update_bytes() < TRANSMIT_SOFT_BYTES_MAX;
        room && self.delivery.sent.has_room()
    }

    /// Whether a driver should read frames now. An honest peer never makes this false.
    pub fn wants_bytes(&self) -> bool {
        self.outgoing.len() < TRANSMIT_HARD_MAX
    }

    /// Whether nothing is under way that may take long: an answer, a repair, or a large update.
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

    /// Takes an update that the replica committed, its own or an imported one. Those that came from
    /// this peer are recognised and dropped.
    pub fn handle_update(&mut self, update: &[u8], origin: Origin) {
        self.take_update(Shared::new(update), origin);
    }

    /// The same, for an update that other sessions may hold too.
    pub(crate) fn take_update(&mut self, update: Arc<Shared>, origin: Origin) {
        // To recognise a large one takes a while. Those behind it wait, so that all stay in their
        // order.
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

    /// What was handed over comes before whatever happens next.
    fn pass_on_held(&mut self) {
        while let Some((update, origin)) = self.delivery.held.pop_front() {
            self.pass_on(update, origin);
        }
    }

    /// Says that updates of the replica were dropped on their way here, `local` of them its own:
    /// the versions are exchanged again.
    pub fn handle_lagged(&mut self, local: u64, replica: &dyn Replica) {
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

    /// Takes note of the time: sends a sign of life, asks again, or gives up.
    pub fn handle_timeout(&mut self, now: Duration, replica: &dyn Replica) {
        if self.is_closed() {
            return;
        }
        self.timers.now = now;
        self.pass_on_held();
        self.mind_presence(now);
        let after = self.config.idle_timeout;
        if now >= self.timers.received_at + after {
            return self.shut(CloseReason::TimedOut { after });
        }
        for debt in DEBTS {
            if !self.owes(debt) {
                self.timers.owed.pay(debt, now);
            }
        }
        if now >= self.timers.owed.since() + after + self.config.keep_alive {
            return self.shut(CloseReason::Stalled { after: now - self.timers.owed.since() });
        }
        // A peer without loss sends the rest at once, and one with loss is asked anew long before.
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
            self.outgoing.push_latest(Latest::Ping, &Frame::Ping);
            self.drop_orphans(replica);
            self.put_back_orphans(replica);
        } else {
            self.ask_again(replica);
        }
    }

    /// Forgets what still waits a while after everything is in sync: what it builds on was lost
    /// with a replica that crashed.
    fn drop_orphans(&mut self, replica: &dyn Replica) {
        let waits = self.live && replica.has_pending();
        if std::mem::replace(&mut self.orphans.pending, waits) && waits {
            replica.forget_pending();
        }
    }

    /// Has the replica write again what its own storage has and what still waits a long while after
    /// everything is in sync: what it builds on may have been given up. From a peer that only
    /// reads, or lets this side only read, it could not come.
    fn put_back_orphans(&mut self, replica: &dyn Replica) {
        let waits = self.live
            && !self.sends_nothing()
            && !self.receives_nothing()
            && replica.has_own_pending();
        self.orphans.pings = if waits { self.orphans.pings + 1 } else { 0 };
        if self.orphans.pings == PINGS_BEFORE_PUT_BACK {
            self.orphans.pings = 0;
            replica.put_back_pending();
        }
    }

    /// Whether something that came from this peer waits for an op that has not come.
    fn still_waits(&mut self, replica: &dyn Replica) -> bool {
        self.delivery.waiting = self.delivery.waiting && replica.has_pending();
        self.delivery.waiting
    }

    fn owes(&self, debt: Debt) -> bool {
        match debt {
            Debt::Reading => self.outgoing.len() > 0,
            Debt::Ack => !self.delivery.sent.is_empty(),
            // It comes behind an answer that is on its way, and is asked for behind ours.
            Debt::Version => {
                let asked = matches!(self.phase, Phase::Exchanging { .. })
                    && !self.outgoing.holds(Latest::Version);
                asked && self.exchange.due.is_none() && !self.delivery.answer.is_coming()
            }
            Debt::Answer => self.delivery.answer.is_coming(),
        }
    }

    /// Ends the conversation, as this side closes down: a peer comes again later. What is queued is
    /// sent first.
    pub fn close_for_now(&mut self) {
        self.shut(CloseReason::Unavailable);
    }

    /// Ends the conversation; what is queued is sent first.
    pub fn close(&mut self) {
        self.shut(CloseReason::Local);
    }

    /// Says that the transport ended.
    pub fn handle_lost(&mut self, message: &str) {
        self.shut(CloseReason::Lost { message: message.to_owned() });
    }

    /// Applies what came in a batch of `handle_*` calls, looks at the replica once, and announces
    /// what changed.
    pub fn settle(&mut self, replica: &dyn Replica) {
        self.pass_on_held();
        if let Err(reason) = self.import(replica).and_then(|()| self.answer_what_is_due(replica)) {
            self.shut(reason);
        }
        if self.is_greeting() || self.is_closed() {
            return;
        }
        if let Some(number) = self.delivery.received.take_ack() {
            // What was refused, or waits, may be forgotten before the sides are in sync; what an
            // answer skips is in it.
            let kept = !self.repair.astray
                && !self.delivery.answer.is_coming()
                && !self.still_waits(replica);
            let failed = std::mem::take(&mut self.delivery.failed);
            self.outgoing.push_ack(number, kept, failed);
        }
        self.compare(replica);
        if let Err(reason) = self.answer_repair(replica) {
            self.shut(reason);
        }
        self.mind_the_repair();
        self.show(self.timers.now);
        self.outgoing.pack(self.leaving());
    }

    /// The next frame to send. One with a large update waits for [`settle`](Self::settle), unless
    /// the conversation is over.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<Vec<u8>> {
        if !self.has_transmit() {
            return None;
        }
        let frame = self.outgoing.pop(self.leaving(), &mut self.delivery.sent)?;
        self.timers.sent_at = now;
        self.timers.owed.pay(Debt::Reading, now);
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

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` once closed.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let at = |timer: &Timer| self.deadline(*timer);
        Timer::ALL.iter().filter_map(at).min().filter(|_| !self.is_closed())
    }

    /// When a timer expires; `None` while it does not run.
    fn deadline(&self, timer: Timer) -> Option<Duration> {
        match timer {
            Timer::KeepAlive => Some(self.timers.sent_at + self.config.keep_alive),
            Timer::Idle => Some(self.timers.received_at + self.config.idle_timeout),
            Timer::Presence => self.presence_due(),
            // What is next to leave is worked on at once.
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
        self.repair = Repairing::default();
        self.showing = None;
        self.datagrams = None;
        self.events.push_back(Event::Closed { reason });
    }

    fn is_greeting(&self) -> bool {
        matches!(self.phase, Phase::Greeting { .. })
    }

    /// Whether nothing is sent to the peer: this side only reads, or the peer takes nothing.
    fn sends_nothing(&self) -> bool {
        !self.config.sends_updates || self.peer.flags & flag::TAKES_NONE != 0
    }

    /// Whether nothing comes from the peer.
    fn receives_nothing(&self) -> bool {
        !self.config.takes_updates || self.peer.flags & flag::SENDS_NONE != 0
    }
}
