//! The repair of a divergence: two sides have the same version and different contents, or their ops
//! contradict each other. A replica id was used twice, or there is a bug. Both sides know by the
//! same rule which side gives way. That side asks for the whole document of the other side, puts it
//! together beside its own document, and takes it over. Then it puts back its own difference as new
//! ops ([`exostate::Document::repair`]).

use super::exchange::{claim_of, refused};
use super::{CloseReason, Event, Latest, Role, Session};
use crate::frame::{Between, Claim, Frame, Hash, flag};
use crate::limits::{LINEAGE_MAX, REPAIRS_MAX};
use crate::replica::{Refusal, Repair, Replica};
use exostate::{Digest, Version};
use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// The state of the repair of a divergence.
#[derive(Default)]
pub(super) struct RepairState {
    /// Number of repairs that this side began.
    begun: u32,
    /// The peer's document, as far as it has come. `None` if no repair is under way.
    theirs: Option<Box<dyn Repair>>,
    /// `numbers` are the numbers of the updates that make up the peer's document; `None` before the
    /// answer is announced. `left` is how many of them have not come yet.
    numbers: Option<Range<u64>>,
    left: u64,
    /// The time at which this side asked for the document, or at which the last part of it came.
    progress_at: Duration,
    /// How often ops of the peer contradicted our ops.
    contradictions: u32,
    /// Whether the contents differed, or ops were refused, and the sides have not been in sync
    /// since.
    pub(super) out_of_sync: bool,
    /// The claim that this side sent because of contradicting ops, and that the peer has not
    /// answered yet.
    conflict: Option<Claim>,
    /// The lineage that the replica follows after the repair.
    lineage: u64,
    /// Whether the peer has asked for our document, to take it over.
    pub(super) wanted: bool,
    /// `known` is whether this side knows that the contents differ, or that ops of one side
    /// contradict those of the other side. `verified` is whether our document was verified since
    /// then.
    known: bool,
    verified: bool,
    /// The time at which our document was sent last.
    answered_at: Option<Duration>,
}

/// The contents that were compared when a difference was last reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReportedDifference {
    pub(super) version: Hash,
    pub(super) ours: Digest,
    pub(super) theirs: Digest,
    pub(super) at: Duration,
}

impl RepairState {
    /// Notes that the two sides differ and need a repair.
    fn note_difference(&mut self) {
        (self.known, self.verified) = (true, false);
    }

    /// Notes that the contents are equal, so no repair is needed. A repair that is under way ends,
    /// because the peer knows that the contents are equal too, and would not answer.
    pub(super) fn note_equal(&mut self) {
        self.known = false;
        (self.theirs, self.numbers, self.left) = (None, None, 0);
    }

    /// Whether this side waits for the peer's document, or receives it.
    pub(super) fn is_under_way(&self) -> bool {
        self.theirs.is_some()
    }
}

impl fmt::Debug for RepairState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepairState")
            .field("begun", &self.begun)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Handles contents that differ although the versions are equal or cannot become equal. One
    /// side gives way: the side with the smaller claim.
    pub(super) fn diverged(&mut self, ours: Claim, theirs: Claim, replica: &dyn Replica) {
        self.events.push_back(Event::Diverged { ours: ours.digest, theirs: theirs.digest });
        self.repair.out_of_sync = true;
        self.repair.note_difference();
        let (we_cannot, they_cannot) = self.sides_that_cannot_yield();
        if we_cannot && they_cannot {
            return self.fail_repair("neither side can give way");
        }
        let tie = self.role == Role::Initiator;
        let yields = !we_cannot && (they_cannot || ours < theirs || ours == theirs && tie);
        let lineage = lineage_after(ours, theirs, yields);
        if !yields {
            // Another session may have replaced our document since this side began to take over the
            // peer's document.
            (self.repair.theirs, self.repair.numbers, self.repair.left) = (None, None, 0);
            // If no updates come from the peer, its document and its claim do not concern this
            // side.
            if !self.receives_nothing() {
                replica.follow(lineage);
                // Pending updates may depend on ops that the other side is about to give up.
                self.forget_pending_updates(replica);
            }
            return;
        }
        // A repair that is under way starts again with the current document of the peer.
        let again = self.repair.is_under_way();
        if !again && self.repair.begun == REPAIRS_MAX {
            return self.fail_repair("the contents differ again after every repair");
        }
        let Some(repair) = replica.repair() else {
            return self.fail_repair("this replica cannot take over another document");
        };
        self.repair.begun += u32::from(!again);
        self.repair.lineage = lineage;
        self.repair.theirs = Some(repair);
        self.repair.numbers = None;
        self.ask_for_everything();
    }

    /// Whether this side cannot give way, and whether the peer cannot. Both sides know both
    /// answers.
    fn sides_that_cannot_yield(&self) -> (bool, bool) {
        let never = |flags: u64| flags & flag::NEVER_YIELDS != 0;
        // A side that sends no updates cannot send its document.
        (
            never(self.hello.flags) || self.receives_nothing(),
            never(self.peer.flags) || self.sends_nothing(),
        )
    }

    /// Forgets the pending updates, if one of them came from this peer. Other sessions ask for
    /// theirs again.
    pub(super) fn forget_pending_updates(&mut self, replica: &dyn Replica) {
        if self.still_waits(replica) {
            replica.forget_pending();
        }
        self.delivery.waiting = false;
    }

    fn fail_repair(&mut self, why: &str) {
        self.events.push_back(Event::RepairFailed { message: why.to_owned() });
    }

    fn ask_for_everything(&mut self) {
        self.repair.progress_at = self.timers.now;
        let frame = Frame::Version { want_yours: false, repair: true, kept: true, version: &[] };
        self.outgoing.push_latest(Latest::Version, &frame);
    }

    /// Asks for the peer's document again if no part of it has come for a keep-alive interval, even
    /// if other frames come.
    pub(super) fn check_repair_timeout(&mut self) {
        if self.repair.theirs.is_some()
            && self.timers.now >= self.repair.progress_at + self.config.keep_alive
        {
            self.repair.numbers = None;
            if let Some((version, claim)) = self.content.ours {
                // The peer answers only if it knows that the two documents differ.
                self.outgoing.push_latest(Latest::Digest, &Frame::Digest { version, claim });
            }
            self.ask_for_everything();
        }
    }

    /// Whether this side has found out that the two sides differ, or was told so.
    pub(crate) fn knows_of_divergence(&self) -> bool {
        let differ = match (self.content.ours, self.content.theirs) {
            (Some((version, ours)), Some((other, theirs))) => {
                version == other && ours.digest != theirs.digest
            }
            _ => false,
        };
        self.repair.known || differ
    }

    /// The time at which our document may be sent to a peer that takes it over. `None` if it must
    /// not be sent.
    pub(super) fn repair_due(&self) -> Option<Duration> {
        let may = self.repair.wanted
            && self.knows_of_divergence()
            && !self.sends_nothing()
            && !self.outgoing.has_answer(true);
        may.then(|| {
            self.repair.answered_at.map_or(self.timers.now, |at| at + self.config.keep_alive)
        })
    }

    /// Sends our document to a peer that asked for it, if the two sides are known to differ. Making
    /// the document is expensive, so it is sent at most once per keep-alive interval. A peer asks
    /// again for a lost document no more often than that. A request without a known difference
    /// stays open until there is one.
    pub(super) fn answer_repair(&mut self, replica: &dyn Replica) -> Result<(), CloseReason> {
        if self.is_closed() || self.repair_due().is_none_or(|at| self.timers.now < at) {
            return Ok(());
        }
        (self.repair.wanted, self.repair.answered_at) = (false, Some(self.timers.now));
        if !std::mem::replace(&mut self.repair.verified, true) {
            match replica.verify() {
                Ok(conflicts) if conflicts.is_empty() => {}
                Ok(conflicts) => self.events.push_back(Event::Repaired { conflicts }),
                Err(refusal) => {
                    self.events.push_back(Event::RepairFailed { message: refusal.to_string() })
                }
            }
        }
        let everything = replica.updates_since(&Version::empty()).map_err(refused)?;
        let between =
            Between { asker: Hash::of(&[]), answerer: Hash::of_version(&replica.version()) };
        self.outgoing.push_answer(everything, true, between, 0);
        Ok(())
    }

    pub(super) fn on_repair_answer(&mut self, first: u64, updates: u64) -> Result<(), CloseReason> {
        if self.repair.theirs.is_some() {
            // A peer without any ops has no ops that differ from ours, so taking over its document
            // would be useless work.
            if updates == 0 {
                let cause = "its document, which differs from this one, is empty";
                return Err(CloseReason::NotNow(Refusal::for_now(cause)));
            }
            self.repair.numbers = Some(first..first.saturating_add(updates));
            self.repair.left = updates;
        }
        Ok(())
    }

    /// Takes an update that is a part of the peer's document, and applies it to the document that
    /// is being put together. Returns false for any other update.
    pub(super) fn take_for_repair(
        &mut self,
        number: u64,
        update: &[u8],
        replica: &dyn Replica,
    ) -> Result<bool, CloseReason> {
        let Some(repair) = self.repair.theirs.as_mut() else { return Ok(false) };
        if !self.repair.numbers.as_ref().is_some_and(|numbers| numbers.contains(&number)) {
            return Ok(false);
        }
        repair.apply(update).map_err(refused)?;
        self.repair.progress_at = self.timers.now;
        self.repair.left = self.repair.left.saturating_sub(1);
        self.finish_repair_if_whole(replica)?;
        Ok(true)
    }

    fn finish_repair_if_whole(&mut self, replica: &dyn Replica) -> Result<(), CloseReason> {
        if self.repair.left > 0 || self.repair.numbers.take().is_none() {
            return Ok(());
        }
        let Some(repair) = self.repair.theirs.take() else { return Ok(()) };
        self.events.push_back(match repair.finish() {
            // For example, its storage has no room. A later session repairs it.
            Err(refusal) if refusal.is_for_now() => return Err(refused(refusal)),
            Ok(conflicts) => {
                replica.follow(self.repair.lineage);
                Event::Repaired { conflicts }
            }
            Err(refusal) => Event::RepairFailed { message: refusal.to_string() },
        });
        // The digests were made from the ops before the repair, so they are dropped.
        (self.content.ours, self.content.theirs, self.content.reported) = (None, None, None);
        // The content that this side put back has new op names, which the peer has not
        // acknowledged.
        self.delivery.unsure_covers = None;
        self.delivery.sent.forget_unkept();
        self.exchange(replica);
        Ok(())
    }

    /// Handles ops of the peer that contradict the ops of our replica.
    pub(super) fn contradicted(&mut self, replica: &dyn Replica) -> Result<(), CloseReason> {
        self.repair.out_of_sync = true;
        if self.repair.theirs.is_some() {
            return Ok(());
        }
        if let Some(ours) = self.repair.conflict {
            // The peer was about to finish a repair, or the frame was lost. The claim is sent
            // again.
            self.outgoing.push_latest(Latest::Conflict, &Frame::Conflict(ours));
            return Ok(());
        }
        self.repair.contradictions += 1;
        if self.repair.contradictions > REPAIRS_MAX {
            let cause = format!(
                "its ops contradict those of this replica, also after {REPAIRS_MAX} repairs"
            );
            // The ops of a third replica may cause the contradiction. A repair with another peer
            // removes them.
            return Err(CloseReason::NotNow(Refusal::for_now(cause)));
        }
        self.repair.note_difference();
        let ours = claim_of(replica);
        self.repair.conflict = Some(ours);
        self.outgoing.push_latest(Latest::Conflict, &Frame::Conflict(ours));
        Ok(())
    }

    /// Handles a `Conflict` frame: the peer's replica reports a contradiction. Each side sends its
    /// claim once, so both sides decide by the same two claims.
    pub(super) fn on_conflict(
        &mut self,
        theirs: Claim,
        replica: &dyn Replica,
    ) -> Result<(), CloseReason> {
        self.contradicted(replica)?;
        if let Some(ours) = self.repair.conflict.take() {
            self.diverged(ours, theirs, replica);
        }
        Ok(())
    }
}

/// The lineage that both sides follow after one side has given way. It is the lineage of the
/// winner, if that is higher than the lineage of the loser. Otherwise it is a new lineage that is
/// higher.
fn lineage_after(ours: Claim, theirs: Claim, yields: bool) -> u64 {
    let (winner, loser) = if yields { (theirs, ours) } else { (ours, theirs) };
    if winner.lineage > loser.lineage {
        return winner.lineage;
    }
    // The new lineage depends on the digest like a random number. So two pairs that repair at the
    // same time are unlikely to choose the same lineage.
    let chance = winner
        .digest
        .to_bytes()
        .iter()
        .take(4)
        .fold(0, |number, byte| number << 8 | u64::from(*byte));
    (loser.lineage | u64::from(u32::MAX)).saturating_add(chance + 1).min(LINEAGE_MAX)
}
