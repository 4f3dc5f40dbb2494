//! The exchange of versions: the sides compare the hashes of their versions. If these differ, they
//! exchange the versions. If they are equal, they compare the digests of their contents.

use super::allowance::Allowance;
use super::kept::Announced;
use super::repair::ReportedDifference;
use super::{CloseReason, Duty, Event, Latest, Phase, Role, Session};
use crate::frame::{Between, Claim, Frame, FrameError, Hash, Hello, flag};
use crate::limits::LINEAGE_MAX;
use crate::replica::Replica;
use exostate::Version;
use std::time::Duration;

/// A version of the peer that is not answered yet.
#[derive(Debug)]
pub(super) struct Due {
    want_yours: bool,
    version: Vec<u8>,
}

/// The state of the exchange of versions.
#[derive(Debug)]
pub(super) struct Exchange {
    /// The hash of the version that the peer announced last.
    pub(super) theirs: Option<Hash>,
    /// Whether the peer keeps all of that version.
    pub(super) theirs_kept: bool,
    pub(super) announced: Announced,
    /// Whether updates were held back that no version sent so far contains.
    pub(super) missed: bool,
    /// The time of the last request for missing updates, and our version at that time.
    pub(super) gap_asked: Option<(Duration, Hash)>,
    /// A version of the peer that is not answered yet, because another answer is still being sent
    /// or there were too many answers recently.
    pub(super) due: Option<Due>,
    pub(super) answers: Allowance,
    /// The versions from which our last answer was made.
    pub(super) answered: Option<Between>,
    /// The versions of our last request, if the peer already had all our ops when we sent it. An
    /// answer that is made from them and changes nothing shows a contradiction.
    pub(super) asked: Option<Between>,
}

impl Exchange {
    pub(super) fn new(announced: Announced, answers: Allowance) -> Self {
        Self {
            theirs: None,
            theirs_kept: false,
            announced,
            missed: false,
            gap_asked: None,
            due: None,
            answers,
            answered: None,
            asked: None,
        }
    }
}

/// The digests that both sides have announced.
#[derive(Debug, Default)]
pub(super) struct ContentCheck {
    /// Our version and its digest, as this side announced them last.
    pub(super) ours: Option<(Hash, Claim)>,
    pub(super) theirs: Option<(Hash, Claim)>,
    /// The contents that this side last reported as different.
    pub(super) reported: Option<ReportedDifference>,
}

impl Session {
    pub(super) fn on_hello(
        &mut self,
        theirs: &Hello,
        replica: &dyn Replica,
    ) -> Result<(), CloseReason> {
        let ours = &self.hello;
        let differs = |what, ours: String, theirs: String| {
            Err(CloseReason::Incompatible { what, ours, theirs })
        };
        if ours.newest < theirs.oldest || theirs.newest < ours.oldest {
            let span = |hello: &Hello| format!("{} to {}", hello.oldest, hello.newest);
            return differs("protocol version", span(ours), span(theirs));
        }
        if ours.document != theirs.document {
            return differs("document", ours.document.clone(), theirs.document.clone());
        }
        if ours.backend != theirs.backend {
            return differs("backend", ours.backend.clone(), theirs.backend.clone());
        }
        if replica.replica().get() == theirs.replica {
            return Err(CloseReason::SameReplica { replica: theirs.replica });
        }
        self.peer.flags = theirs.flags & !flag::OF_ONE_HELLO;
        if let Phase::Greeting { ours } = self.phase {
            self.phase = Phase::Comparing { ours };
            (self.peer.replica, self.peer.key) = (theirs.replica, theirs.key);
            self.events.push_back(Event::Connected { replica: theirs.replica });
            self.offer_datagrams();
            self.on_have(theirs.version, theirs.flags & flag::NOT_KEPT_YET == 0, replica);
        }
        if theirs.flags & flag::AGAIN != 0 {
            // The repeated `Hello` has the current version: a peer that missed the first `Hello`
            // has seen no other version.
            self.greet_with(Announced::new(Hash::of_version(&replica.version()), replica));
            self.outgoing.push_latest(Latest::Hello, &Frame::Hello(self.hello.clone()));
        }
        Ok(())
    }

    pub(super) fn on_have(&mut self, theirs: Hash, kept: bool, replica: &dyn Replica) {
        (self.exchange.theirs, self.exchange.theirs_kept) = (Some(theirs), kept);
        match self.phase {
            Phase::Comparing { ours } | Phase::Exchanging { ours } if ours == theirs => {
                self.stream(replica);
            }
            Phase::Comparing { .. } if self.role == Role::Initiator => self.exchange(replica),
            _ => {}
        }
    }

    /// The peer has the version that we announced last. From here on it is enough to send updates,
    /// unless some were held back since that version.
    fn stream(&mut self, replica: &dyn Replica) {
        self.phase = Phase::Streaming;
        if self.exchange.missed {
            self.exchange(replica);
        }
    }

    pub(super) fn on_version(
        &mut self,
        want_yours: bool,
        kept: bool,
        version: &[u8],
        replica: &dyn Replica,
    ) -> Result<(), CloseReason> {
        (self.exchange.theirs, self.exchange.theirs_kept) = (Some(Hash::of(version)), kept);
        let before = self.exchange.due.take();
        let waits = before.is_some();
        let want_yours = want_yours || before.is_some_and(|due| due.want_yours);
        self.exchange.due = Some(Due { want_yours, version: version.to_vec() });
        if waits { Ok(()) } else { self.answer_what_is_due(replica) }
    }

    /// The time at which a delayed answer to a version may be made. `None` if no answer is delayed,
    /// or while an earlier answer is still being sent.
    pub(super) fn answer_due(&self) -> Option<Duration> {
        (self.exchange.due.is_some() && !self.outgoing.has_answer(false))
            .then(|| self.exchange.answers.due())
    }

    /// Answers the last version of the peer. While an earlier answer is still being sent, or if
    /// there were too many answers recently, the version is treated as if it had not come yet. So a
    /// peer that asks and does not read costs at most one copy of the document and a bounded amount
    /// of work.
    pub(super) fn answer_what_is_due(&mut self, replica: &dyn Replica) -> Result<(), CloseReason> {
        let Some(due) = self.exchange.due.take() else { return Ok(()) };
        let Due { want_yours, ref version } = due;
        let theirs = Hash::of(version);
        let our_version = replica.version();
        let ours = Hash::of_version(&our_version);
        let costs = ours != theirs && !self.sends_nothing();
        let asked_already = matches!(self.phase, Phase::Exchanging { .. });
        // If this side started the exchange, because it could not keep up, the answer does not
        // count against the allowance of the peer.
        if costs
            && (self.outgoing.has_answer(false)
                || !asked_already && !self.exchange.answers.take(self.timers.now))
        {
            self.exchange.due = Some(due);
            return Ok(());
        }
        let version = if costs { read_version(version)? } else { Version::empty() };
        // The answer below contains all commits up to here, so no held back update is missed.
        self.phase = Phase::Streaming;
        self.exchange.missed = false;
        let updates =
            if costs { replica.updates_since(&version).map_err(refused)? } else { Vec::new() };
        // If a replica id was used twice, the peer may have other ops under the names of our ops.
        // This side finds that out after it has all ops of the peer.
        self.delivery.unsure =
            (costs && !self.receives_nothing() && !replica.has_seen(&version)).then_some(version);
        if !updates.is_empty() {
            self.delivery.unsure_covers = None;
        }
        // An empty answer is sent too: it tells the peer that no update is missing before it.
        let between = Between { asker: theirs, answerer: ours };
        self.exchange.answered = Some(between);
        self.outgoing.push_answer(updates, false, between, self.delivery.handed);
        if want_yours && (ours == theirs || asked_already) {
            self.announce(ours, replica);
        } else if want_yours {
            self.send_version(&our_version, false, replica);
        }
        Ok(())
    }

    /// Sends our version and waits for the version of the peer. Then each side can send the ops
    /// that the other side lacks.
    pub(super) fn exchange(&mut self, replica: &dyn Replica) {
        let version = replica.version();
        self.exchange.missed = false;
        self.phase = Phase::Exchanging { ours: Hash::of_version(&version) };
        self.send_version(&version, true, replica);
    }

    fn send_version(&mut self, version: &Version, want_yours: bool, replica: &dyn Replica) {
        let version = &version.to_bytes();
        let bytes = version.len() + 1;
        let max = self.config.frame_bytes_max;
        if bytes > max {
            let bytes = bytes as u64;
            let bytes_max = max as u64;
            let error = FrameError::TooLarge { what: "this replica's version", bytes, bytes_max };
            return self.shut(CloseReason::Protocol(error));
        }
        let ours = Hash::of(version);
        self.exchange.announced = Announced::new(ours, replica);
        let has_ours = self.delivery.sent.is_empty() && !self.outgoing.has_updates();
        let answered = self.exchange.answered.filter(|between| {
            has_ours && between.answerer == ours && self.exchange.theirs == Some(between.asker)
        });
        self.exchange.asked =
            answered.map(|between| Between { asker: ours, answerer: between.asker });
        let kept = self.exchange.announced.kept;
        let frame = Frame::Version { want_yours, repair: false, kept, version };
        self.outgoing.push_latest(Latest::Version, &frame);
    }

    fn announce(&mut self, ours: Hash, replica: &dyn Replica) {
        self.exchange.announced = Announced::new(ours, replica);
        self.send_have(false);
    }

    /// Announces our version if it has changed, asks for missing updates, and finds out whether the
    /// two sides are in sync.
    pub(super) fn compare(&mut self, replica: &dyn Replica) {
        let version = replica.version();
        let ours = Hash::of_version(&version);
        if self.exchange.announced.version != ours {
            self.announce(ours, replica);
        } else if self.exchange.announced.note_written(replica.kept()) {
            self.send_have(false);
        }
        let in_sync = self.exchange.theirs == Some(ours);
        self.find_contradiction(ours, replica);
        self.count_what_was_unsure(replica);
        if !in_sync {
            self.request_missing(&version, replica);
        }
        if self.is_closed() {
            return;
        }
        let settled = self.phase == Phase::Streaming && !self.exchange.missed;
        if in_sync && settled {
            self.repair.out_of_sync = false;
            // The updates of the answer that were lost have come in another way.
            self.delivery.answer.end();
            self.delivery.waiting = false;
            self.delivery.sent.applied(u64::MAX);
            if self.exchange.theirs_kept {
                self.delivery.sent.forget_unkept();
                self.acknowledge(self.delivery.handed);
            }
        }
        // If one side only reads, it can have ops that the other side never gets. Then the session
        // is live when the reading side has everything.
        let reads_all = self.sends_nothing()
            && !self.delivery.answer.is_coming()
            && !self.delivery.received.has_gap();
        let read_all = self.receives_nothing()
            && self.delivery.sent.is_empty()
            && !self.outgoing.has_updates();
        self.set_live(settled && (in_sync || reads_all || read_all));
        if in_sync && settled {
            self.compare_digests(ours, replica);
        }
    }

    fn set_live(&mut self, live: bool) {
        if live != self.live {
            self.live = live;
            self.events.push_back(if live { Event::Live } else { Event::Behind });
        }
    }

    pub(super) fn on_ack(&mut self, number: u64, kept: u64, failed: bool) {
        if self.delivery.sent.applied(number) {
            self.timers.duties.note_progress(Duty::Ack, self.timers.now);
            if failed {
                self.events.push_back(Event::PeerFailed);
            }
        }
        if let Some(covers) = self.delivery.sent.kept(kept) {
            match &self.delivery.unsure {
                Some(_) => {
                    self.delivery.unsure_covers = self.delivery.unsure_covers.max(Some(covers))
                }
                None => self.acknowledge(covers),
            }
        }
    }

    /// Counts the acknowledgements that were uncertain. When this side has all ops of the version
    /// that the peer had, both sides mean the same ops by the same names, so these acknowledgements
    /// count.
    fn count_what_was_unsure(&mut self, replica: &dyn Replica) {
        if self.delivery.unsure.as_ref().is_some_and(|version| replica.has_seen(version)) {
            self.delivery.unsure = None;
            if let Some(covers) = self.delivery.unsure_covers.take() {
                self.acknowledge(covers);
            }
        }
    }

    /// Notes that the peer keeps the document as it was at the start of the session, and the first
    /// `covers` local updates.
    fn acknowledge(&mut self, covers: u64) {
        if self.delivery.acknowledged < Some(covers) {
            self.delivery.acknowledged = Some(covers);
            self.events.push_back(Event::Acknowledged { updates: covers });
        }
    }

    /// Asks for the updates that a gap or a pending update shows to be missing. It does not ask
    /// again at each frame while the version stays the same, because updates that come in another
    /// order are not lost.
    fn request_missing(&mut self, version: &Version, replica: &dyn Replica) {
        if !self.still_waits(replica) && !self.delivery.received.has_gap() {
            return;
        }
        let ours = Hash::of_version(version);
        let again = self.exchange.gap_asked.filter(|(_, asked)| *asked == ours);
        if again.is_some_and(|(at, _)| self.timers.now < at + self.config.keep_alive) {
            return;
        }
        self.exchange.gap_asked = Some((self.timers.now, ours));
        match again {
            // The first request did not help, so more than one update may be lost.
            Some(_) => self.exchange(replica),
            None => self.send_version(version, false, replica),
        }
    }

    /// Finds a contradiction: each side has got all ops that it lacks according to its version, and
    /// the versions still differ. So each side takes ops of the other side for ops that it already
    /// has.
    fn find_contradiction(&mut self, ours: Hash, replica: &dyn Replica) {
        let Some(between) = self.delivery.answer.take_whole() else { return };
        if self.exchange.asked != Some(between) || between.asker != ours || between.answerer == ours
        {
            return;
        }
        // The pending updates would stay pending for ever. The useful ones are sent again later.
        self.forget_pending_updates(replica);
        if let Err(reason) = self.contradicted(replica) {
            self.shut(reason);
        }
    }

    /// Starts a new exchange. Nothing was heard although the two sides differ, so a frame must have
    /// been lost.
    pub(super) fn ask_again(&mut self, replica: &dyn Replica) {
        self.exchange(replica);
    }

    fn compare_digests(&mut self, ours: Hash, replica: &dyn Replica) {
        // The digest is computed each time: another session may have replaced the document under
        // the same version.
        let now = claim_of(replica);
        if self
            .content
            .ours
            .is_none_or(|(version, said)| version != ours || said.digest != now.digest)
        {
            // If a commit came in between, the digest belongs to another version than `ours`. The
            // driver calls `settle` again for that commit.
            if Hash::of_version(&replica.version()) != ours {
                return;
            }
            self.content.ours = Some((ours, now));
            let frame = Frame::Digest { version: ours, claim: now };
            self.outgoing.push_latest(Latest::Digest, &frame);
        }
        let (Some((_, claim)), Some((version, theirs))) = (self.content.ours, self.content.theirs)
        else {
            return;
        };
        if version == ours && theirs.digest == claim.digest {
            self.repair.note_equal();
        }
        if version == ours
            && theirs.digest != claim.digest
            && !self.is_reported(ours, claim, theirs)
        {
            self.content.reported = Some(ReportedDifference {
                version: ours,
                ours: claim.digest,
                theirs: theirs.digest,
                at: self.timers.now,
            });
            self.diverged(claim, theirs, replica);
        }
    }

    /// Whether this difference was already reported. If the peer sends another digest for the same
    /// version, it is reported at most once per keep-alive interval.
    fn is_reported(&self, version: Hash, ours: Claim, theirs: Claim) -> bool {
        self.content.reported.is_some_and(|told| {
            let recent =
                told.theirs == theirs.digest || self.timers.now < told.at + self.config.keep_alive;
            told.version == version && told.ours == ours.digest && recent
        })
    }
}

/// Reads the version of a peer. A peer without ops may send no bytes.
fn read_version(bytes: &[u8]) -> Result<Version, CloseReason> {
    if bytes.is_empty() {
        return Ok(Version::empty());
    }
    Version::from_bytes(bytes).map_err(|error| {
        let at = error.at();
        CloseReason::Protocol(FrameError::Malformed { at, expected: "a version" })
    })
}

pub(super) fn claim_of(replica: &dyn Replica) -> Claim {
    Claim { lineage: replica.lineage().min(LINEAGE_MAX), digest: replica.digest() }
}

pub(super) fn refused(refusal: crate::replica::Refusal) -> CloseReason {
    if refusal.is_for_now() { CloseReason::NotNow(refusal) } else { CloseReason::Refused(refusal) }
}
