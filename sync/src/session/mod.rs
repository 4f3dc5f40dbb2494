//! One document's conversation with one peer, as a state machine without IO, clock or chance.
//!
//! It promises: whatever arrives, in whatever order, however often, nothing panics and nothing that a replica holds is
//! lost; two sides whose frames get through end with equal versions. A dropped connection is resumed by a new session.
//!
//! How it works: both sides say `Hello` and then the hash of their version. If the hashes are equal, updates stream
//! at once. If not, the side that connected sends its whole version; the other answers with an update that holds
//! what it lacks and with its own version, and gets an update back. Local updates are held while versions travel, as the
//! answer contains them, and stream afterwards. After every batch each side announces the hash of its new version; once both
//! announced the same, the session is live and the digests of the contents are compared.
//! What gets lost all the same (a gap, a silent peer) is asked for again with the whole version.

mod event;
mod outgoing;
mod receive;

pub use event::{CloseCode, CloseReason, Event};

use crate::config::Config;
use crate::frame::{Frame, FrameError, HELLO_AGAIN, Hash, Hello};
use crate::limits::{PROTOCOL_VERSION, TRANSMIT_HARD_MAX, TRANSMIT_SOFT_MAX};
use crate::replica::{Origin, Replica};
use outgoing::{Latest, Outgoing};
use std::collections::VecDeque;
use std::time::Duration;

/// Which side of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a connection has two sides")]
pub enum Role {
    /// Opened the connection; it asks first.
    Initiator,
    /// Accepted it.
    Responder,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// The peer's `Hello` is awaited.
    Greeting,
    /// Our hash is announced, the peer's is awaited or differs.
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

#[derive(Debug)]
struct Assembly {
    total: usize,
    bytes: Vec<u8>,
}

/// The conversation of two replicas about one document.
///
/// A driver repeats, in this order:
///
/// 1. any number of [`handle_bytes`](Self::handle_bytes), [`handle_update`](Self::handle_update),
///    [`handle_lagged`](Self::handle_lagged), [`handle_timeout`](Self::handle_timeout) and [`close`](Self::close);
/// 2. [`settle`](Self::settle) once;
/// 3. [`poll_transmit`](Self::poll_transmit) as long as the transport takes frames;
/// 4. [`poll_event`](Self::poll_event) until it returns `None`;
/// 5. [`poll_timeout`](Self::poll_timeout), and waits for the first of: a frame, an update of the replica, that time.
///
/// Time is a `Duration` since a moment that the driver chooses, and must not run backwards. The same calls give the same frames.
/// Transports deliver whole frames; duplicates, loss and another order are survived, though slowly.
#[derive(Debug)]
pub struct Session {
    config: Config,
    role: Role,
    hello: Hello,
    phase: Phase,
    /// Updates were held back that no version sent so far contains.
    missed: bool,
    live: bool,
    theirs: Option<Hash>,
    announced: Option<Hash>,
    gap_asked: Option<Hash>,
    our_digest: Option<(Hash, [u8; 16])>,
    their_digest: Option<(Hash, [u8; 16])>,
    divergence_told: Option<Hash>,
    recent: VecDeque<Hash>,
    assembly: Option<Assembly>,
    outgoing: Outgoing,
    events: VecDeque<Event>,
    received_at: Duration,
    sent_at: Duration,
    /// Something other than a sign of life came since the last ping.
    heard: bool,
}

impl Session {
    /// Starts a conversation about `document`, whose `Hello` is ready to be sent.
    pub fn new(config: Config, role: Role, backend: &str, document: &str, now: Duration) -> Self {
        let hello = Hello { protocol: PROTOCOL_VERSION, flags: 0, backend: backend.to_owned(), document: document.to_owned() };
        let mut outgoing = Outgoing::default();
        outgoing.push_latest(Latest::Hello, &Frame::Hello(hello.clone()));
        Self {
            config,
            role,
            hello,
            phase: Phase::Greeting,
            missed: false,
            live: false,
            theirs: None,
            announced: None,
            gap_asked: None,
            our_digest: None,
            their_digest: None,
            divergence_told: None,
            recent: VecDeque::new(),
            assembly: None,
            outgoing,
            events: VecDeque::new(),
            received_at: now,
            sent_at: now,
            heard: false,
        }
    }

    /// The document's name.
    pub fn document(&self) -> &str {
        &self.hello.document
    }

    /// Whether both sides last announced the same version.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Whether the conversation is over. Frames may still wait to be sent.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has a frame.
    pub fn has_transmit(&self) -> bool {
        self.outgoing.len() > 0
    }

    /// Whether every update handed over has been polled for sending.
    pub fn is_flushed(&self) -> bool {
        let sending = self.phase == Phase::Streaming && !self.missed;
        (sending || self.is_closed()) && self.outgoing.len() == 0
    }

    /// Whether a driver should take local updates now; if not, it lets them wait in its bounded queue.
    pub fn wants_updates(&self) -> bool {
        self.outgoing.len() < TRANSMIT_SOFT_MAX
    }

    /// Whether a driver should read frames now. An honest peer never makes this false.
    pub fn wants_bytes(&self) -> bool {
        self.outgoing.len() < TRANSMIT_HARD_MAX
    }

    /// Takes an update that the replica committed, its own or an imported one. Those that came from this peer are recognised and dropped.
    pub fn handle_update(&mut self, update: &[u8], origin: Origin) {
        match self.phase {
            // The version that is announced after the greeting contains it.
            Phase::Greeting | Phase::Closed => {}
            _ if origin == Origin::Remote && self.recent.contains(&Hash::of(update)) => {}
            Phase::Comparing { .. } | Phase::Exchanging { .. } => self.missed = true,
            Phase::Streaming => self.outgoing.push_update(update.to_vec()),
        }
    }

    /// Says that updates of the replica were dropped on their way here: the versions are exchanged again.
    pub fn handle_lagged(&mut self, replica: &dyn Replica) {
        match self.phase {
            Phase::Greeting | Phase::Closed => {}
            Phase::Comparing { .. } | Phase::Exchanging { .. } => self.missed = true,
            Phase::Streaming => self.exchange(replica),
        }
    }

    /// Takes note of the time: sends a sign of life, asks again, or gives up.
    pub fn handle_timeout(&mut self, now: Duration, replica: &dyn Replica) {
        if self.is_closed() {
            return;
        }
        if now >= self.received_at + self.config.idle_timeout {
            let after = self.config.idle_timeout;
            return self.shut(CloseReason::TimedOut { after });
        }
        if now < self.sent_at + self.config.keep_alive {
            return;
        }
        self.sent_at = now;
        if self.phase == Phase::Greeting {
            let hello = Hello { flags: HELLO_AGAIN, ..self.hello.clone() };
            self.outgoing.push_latest(Latest::Hello, &Frame::Hello(hello));
        } else if self.live || self.heard {
            self.heard = false;
            self.outgoing.push_latest(Latest::Ping, &Frame::Ping);
        } else {
            self.gap_asked = None;
            self.exchange(replica);
        }
    }

    /// Ends the conversation; what is queued is sent first.
    pub fn close(&mut self) {
        self.shut(CloseReason::Local);
    }

    /// Says that the transport ended.
    pub fn handle_lost(&mut self, message: &str) {
        self.shut(CloseReason::Lost { message: message.to_owned() });
    }

    /// Looks at the replica once after a batch of `handle_*` calls, and announces what changed.
    pub fn settle(&mut self, replica: &dyn Replica) {
        if matches!(self.phase, Phase::Greeting | Phase::Closed) {
            return;
        }
        let version = replica.version();
        let ours = Hash::of(&version);
        if self.announced != Some(ours) {
            self.announce(ours);
        }
        let level = self.theirs == Some(ours);
        if !level && self.gap_asked != Some(ours) && replica.has_pending() {
            self.gap_asked = Some(ours);
            self.send_version(&version, false);
        }
        let live = level && self.phase == Phase::Streaming && !self.missed;
        if live != self.live {
            self.live = live;
            self.events.push_back(if live { Event::Live } else { Event::Behind });
        }
        if live {
            self.compare_digests(ours, replica);
        }
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<Vec<u8>> {
        let frame = self.outgoing.pop(self.config.frame_bytes_max)?;
        self.sent_at = now;
        Some(frame)
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` once closed.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let alive = self.sent_at + self.config.keep_alive;
        let idle = self.received_at + self.config.idle_timeout;
        (!self.is_closed()).then(|| alive.min(idle))
    }

    pub(crate) fn shut(&mut self, reason: CloseReason) {
        if self.is_closed() {
            return;
        }
        if reason != CloseReason::Local {
            self.outgoing.clear();
        }
        if let Some(code) = reason.code() {
            self.outgoing.push_close(code.to_u64(), &reason.to_string());
        }
        self.phase = Phase::Closed;
        self.live = false;
        self.assembly = None;
        self.events.push_back(Event::Closed { reason });
    }

    fn announce(&mut self, ours: Hash) {
        self.announced = Some(ours);
        self.outgoing.push_latest(Latest::Have, &Frame::Have(ours));
    }

    /// Sends our version and waits for the peer's, so that each side can send what the other lacks.
    fn exchange(&mut self, replica: &dyn Replica) {
        let version = replica.version();
        self.missed = false;
        self.phase = Phase::Exchanging { ours: Hash::of(&version) };
        self.send_version(&version, true);
    }

    fn send_version(&mut self, version: &[u8], want_yours: bool) {
        let (bytes, max) = (version.len() + 1, self.config.frame_bytes_max);
        if bytes > max {
            let (bytes, bytes_max) = (bytes as u64, max as u64);
            let error = FrameError::TooLarge { what: "this replica's version", bytes, bytes_max };
            return self.shut(CloseReason::Protocol(error));
        }
        self.announced = Some(Hash::of(version));
        self.outgoing.push_latest(Latest::Version, &Frame::Version { want_yours, version });
    }

    fn compare_digests(&mut self, ours: Hash, replica: &dyn Replica) {
        if self.our_digest.is_none_or(|(version, _)| version != ours) {
            let digest = replica.digest();
            // A commit in between would pair a digest with another version's hash; it brings its own `settle`.
            if Hash::of(&replica.version()) != ours {
                return;
            }
            self.our_digest = Some((ours, digest));
            let frame = Frame::Digest { version: ours, digest };
            self.outgoing.push_latest(Latest::Digest, &frame);
        }
        let (Some((_, digest)), Some((version, theirs))) = (self.our_digest, self.their_digest) else {
            return;
        };
        if version == ours && theirs != digest && self.divergence_told != Some(ours) {
            self.divergence_told = Some(ours);
            self.events.push_back(Event::Diverged { ours: digest, theirs });
        }
    }
}
