//! What happens when two sides have the same version and different contents, or ops that contradict
//! each other: an id was used twice, or there is a bug. Both know by the same rule who gives way.
//! That side asks for everything, puts it together beside its own document, and takes it over, with
//! its own difference on top as new ops ([`exostate::Document::repair`]).

use super::exchange::{claim_of, refused};
use super::{CloseReason, Event, Latest, Role, Session};
use crate::frame::{Between, Claim, Frame, Hash, flag};
use crate::limits::{LINEAGE_MAX, REPAIRS_MAX};
use crate::replica::{Refusal, Repair, Replica};
use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// Where the mending of a divergence stands.
#[derive(Default)]
pub(super) struct Repairing {
    /// How many were begun.
    begun: u32,
    /// The peer's document as far as it has come.
    theirs: Option<Box<dyn Repair>>,
    /// The numbers of the updates that it comes in, `None` before the answer, and how many are
    /// still to come.
    numbers: Option<Range<u64>>,
    left: u64,
    /// When it was asked for, or a part of it came.
    progress_at: Duration,
    /// How often the peer's ops contradicted ours.
    contradictions: u32,
    /// The contents differed, or ops were refused, and the sides have not been in sync since.
    pub(super) astray: bool,
    /// Our claim, said and not yet answered, when ops contradicted each other.
    conflict: Option<Claim>,
    /// What the replica follows when the repair is done.
    lineage: u64,
    /// The peer asks for our document, to take it over.
    pub(super) wanted: bool,
    /// The contents differ, or either side's ops contradict the other's, as far as this side
    /// knows; and whether our document was verified since.
    known: bool,
    verified: bool,
    /// When our document was sent last.
    answered_at: Option<Duration>,
}

/// What was compared when it was last told that the contents differ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) version: Hash,
    pub(super) ours: [u8; 16],
    pub(super) theirs: [u8; 16],
    pub(super) at: Duration,
}

impl Repairing {
    /// There is something to mend.
    fn learn(&mut self) {
        (self.known, self.verified) = (true, false);
    }

    /// There is nothing to mend any more: the contents are equal. The peer, which knows that too,
    /// would not answer one that is under way.
    pub(super) fn mended(&mut self) {
        self.known = false;
        (self.theirs, self.numbers, self.left) = (None, None, 0);
    }

    /// Whether the peer's document is awaited, or coming.
    pub(super) fn is_under_way(&self) -> bool {
        self.theirs.is_some()
    }
}

impl fmt::Debug for Repairing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repairing")
            .field("begun", &self.begun)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// The contents differ although the versions do not, or cannot become equal. One side gives
    /// way: the one with the smaller claim.
    pub(super) fn diverged(&mut self, ours: Claim, theirs: Claim, replica: &dyn Replica) {
        self.events.push_back(Event::Diverged { ours: ours.digest, theirs: theirs.digest });
        self.repair.astray = true;
        self.repair.learn();
        let (we_cannot, they_cannot) = self.who_cannot();
        if we_cannot && they_cannot {
            return self.fail_repair("neither side can give way");
        }
        let tie = self.role == Role::Initiator;
        let yields = !we_cannot && (they_cannot || ours < theirs || ours == theirs && tie);
        let lineage = lineage_after(ours, theirs, yields);
        if !yields {
            // Another session may have replaced our document since this side began to take over the
            // peer's.
            (self.repair.theirs, self.repair.numbers, self.repair.left) = (None, None, 0);
            // Where nothing comes in from the peer, its document and what it says of it are its own
            // affair.
            if !self.receives_nothing() {
                replica.follow(lineage);
                // What waits may stand on ops that the other side is about to give up.
                self.forget_what_waits(replica);
            }
            return;
        }
        // One that is under way begins again with what the peer has now.
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

    /// Whether this side cannot give way, and whether the other one cannot. Both know the same of
    /// each other.
    fn who_cannot(&self) -> (bool, bool) {
        let never = |flags: u64| flags & flag::NEVER_YIELDS != 0;
        // From one who sends nothing there is nothing to be had.
        (
            never(self.hello.flags) || self.receives_nothing(),
            never(self.peer.flags) || self.sends_nothing(),
        )
    }

    /// Forgets what waits, if any of it came from this peer: other sessions ask for theirs again.
    pub(super) fn forget_what_waits(&mut self, replica: &dyn Replica) {
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
        let frame = Frame::Version { want_yours: false, repair: true, version: &[] };
        self.outgoing.push_latest(Latest::Version, &frame);
    }

    /// Asks for the peer's document anew if no part of it has come for a while, whatever else
    /// comes.
    pub(super) fn mind_the_repair(&mut self) {
        if self.repair.theirs.is_some()
            && self.timers.now >= self.repair.progress_at + self.config.keep_alive
        {
            self.repair.numbers = None;
            if let Some((version, claim)) = self.content.ours {
                // The peer answers only if it knows that the two differ.
                self.outgoing.push_latest(Latest::Digest, &Frame::Digest { version, claim });
            }
            self.ask_for_everything();
        }
    }

    /// Whether this side has found out, or was told, that the two sides differ.
    fn knows_of_divergence(&self) -> bool {
        let differ = match (self.content.ours, self.content.theirs) {
            (Some((version, ours)), Some((other, theirs))) => {
                version == other && ours.digest != theirs.digest
            }
            _ => false,
        };
        self.repair.known || differ
    }

    /// When our document should be sent to a peer that takes it over.
    pub(super) fn repair_due(&self) -> Option<Duration> {
        let may = self.repair.wanted
            && self.knows_of_divergence()
            && !self.sends_nothing()
            && !self.outgoing.has_answer(true);
        may.then(|| {
            self.repair.answered_at.map_or(self.timers.now, |at| at + self.config.keep_alive)
        })
    }

    /// Sends our document to a peer that asked for it, if there is something to mend. To make it is
    /// dear, so once in a keep-alive interval, which is how often a peer asks for one that was
    /// lost. One who asks for it without a reason waits for one.
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
        let everything = replica.updates_since(&[]).map_err(refused)?;
        let nothing = Between { asker: Hash::of(&[]), answerer: Hash::of(&replica.version()) };
        self.outgoing.push_answer(everything, true, nothing, 0);
        Ok(())
    }

    pub(super) fn on_repair_answer(&mut self, first: u64, updates: u64) -> Result<(), CloseReason> {
        if self.repair.theirs.is_some() {
            // One without any ops has none that differ from ours: to take it over would be work for
            // nothing.
            if updates == 0 {
                let cause = "its document, which differs from this one, is empty";
                return Err(CloseReason::NotNow(Refusal::for_now(cause)));
            }
            self.repair.numbers = Some(first..first.saturating_add(updates));
            self.repair.left = updates;
        }
        Ok(())
    }

    /// Takes an update that is a part of the peer's document, for the one that is being put
    /// together. False for any other.
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
        self.finish_repair_if_whole(replica);
        Ok(true)
    }

    fn finish_repair_if_whole(&mut self, replica: &dyn Replica) {
        if self.repair.left > 0 || self.repair.numbers.take().is_none() {
            return;
        }
        let Some(repair) = self.repair.theirs.take() else { return };
        self.events.push_back(match repair.finish() {
            Ok(conflicts) => {
                replica.follow(self.repair.lineage);
                Event::Repaired { conflicts }
            }
            Err(refusal) => Event::RepairFailed { message: refusal.to_string() },
        });
        // The ops before it are not those that the digests told of.
        (self.content.ours, self.content.theirs, self.content.told) = (None, None, None);
        // What this side put back has new names, which the peer has not acknowledged.
        self.delivery.unsure_covers = None;
        self.exchange(replica);
    }

    /// Our replica says that the peer's ops contradict its own.
    pub(super) fn contradicted(&mut self, replica: &dyn Replica) -> Result<(), CloseReason> {
        self.repair.astray = true;
        if self.repair.theirs.is_some() {
            return Ok(());
        }
        if let Some(ours) = self.repair.conflict {
            // The peer was about to finish a repair, or the frame was lost.
            self.outgoing.push_latest(Latest::Conflict, &Frame::Conflict(ours));
            return Ok(());
        }
        self.repair.contradictions += 1;
        if self.repair.contradictions > REPAIRS_MAX {
            let cause = format!(
                "its ops contradict those of this replica, also after {REPAIRS_MAX} repairs"
            );
            // Somebody else's ops may be to blame, which a repair with another peer gets rid of.
            return Err(CloseReason::NotNow(Refusal::for_now(cause)));
        }
        self.repair.learn();
        let ours = claim_of(replica);
        self.repair.conflict = Some(ours);
        self.outgoing.push_latest(Latest::Conflict, &Frame::Conflict(ours));
        Ok(())
    }

    /// The peer's replica says so. Each side says its digest once, so both judge by the same two.
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

/// What both sides follow when one has given way: the lineage of the other, if it is higher, and
/// otherwise one that is.
fn lineage_after(ours: Claim, theirs: Claim, yields: bool) -> u64 {
    let (winner, loser) = if yields { (theirs, ours) } else { (ours, theirs) };
    if winner.lineage > loser.lineage {
        return winner.lineage;
    }
    // By chance, so that two pairs who settle this at the same time do not both come to the same
    // one.
    let chance =
        winner.digest.iter().take(4).fold(0, |number, byte| number << 8 | u64::from(*byte));
    (loser.lineage | u64::from(u32::MAX)).saturating_add(chance + 1).min(LINEAGE_MAX)
}
