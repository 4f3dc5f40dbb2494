//! The frames from the peer, and what a session does with each.

use super::exchange::refused;
use super::{CloseCode, CloseReason, Duty, Event, Latest, Session};
use crate::body;
use crate::frame::{Between, Frame, FrameError, Hash, check};
use crate::limits::{INBOX_BYTES_MAX, INBOX_UPDATES_MAX, VARINT_BYTES_MAX};
use crate::replica::{Refusal, Replica};
use std::time::Duration;

/// An update whose fragments are coming.
#[derive(Debug)]
pub(super) struct Assembly {
    number: u64,
    total: usize,
    bytes: Vec<u8>,
    grown_at: Duration,
}

impl Assembly {
    /// The time at which the next fragment must have come.
    pub(super) fn due(&self, idle_timeout: Duration) -> Duration {
        self.grown_at + idle_timeout
    }
}

/// Updates that came and are not applied yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    updates: Vec<(u64, Vec<u8>)>,
    bytes: usize,
    /// Whether some of the updates are parts of an answer of several updates.
    part: bool,
}

/// The answer that the peer announced: the updates that this side lacked.
#[derive(Debug, Default)]
pub(super) struct Answer {
    first: u64,
    updates: u64,
    bytes: u64,
    updates_come: u64,
    bytes_come: u64,
    /// The versions from which the answer was made. They are taken when they are compared.
    between: Option<Between>,
    /// The last update, of any answer, of which a part came, and how many bytes of it came.
    furthest: (u64, usize),
}

impl Answer {
    pub(super) fn is_coming(&self) -> bool {
        self.updates_come < self.updates
    }

    /// The versions from which the answer was made, once all of the answer has come. Returns them
    /// only once.
    pub(super) fn take_whole(&mut self) -> Option<Between> {
        if self.is_coming() { None } else { self.between.take() }
    }

    fn holds(&self, number: u64) -> bool {
        number >= self.first && number - self.first < self.updates
    }

    /// Drops the answer: the rest of it is not needed.
    pub(super) fn end(&mut self) {
        *self = Self { furthest: self.furthest, ..Self::default() };
    }

    /// Notes that `bytes` bytes of an update have come. Returns whether a part of the answer came
    /// that had not come before.
    fn grows(&mut self, number: u64, bytes: usize) -> bool {
        let further =
            self.is_coming() && self.holds(number) && bytes > 0 && (number, bytes) > self.furthest;
        if further {
            self.furthest = (number, bytes);
        }
        further
    }
}

/// The result of applying updates.
#[derive(Clone, Copy)]
struct Imported {
    waits: bool,
    /// Whether a listener or watcher of the replica panicked.
    failed: bool,
}

fn told_apart(imported: Result<bool, Refusal>) -> Result<Imported, Refusal> {
    match imported {
        Ok(waits) => Ok(Imported { waits, failed: false }),
        Err(refusal) if refusal.is_applied() => Ok(Imported { waits: false, failed: true }),
        Err(refusal) => Err(refusal),
    }
}

impl Session {
    /// Takes one frame from the peer. Bytes that are not a frame end the session with a reason that
    /// names the fault. Updates are applied by the next [`settle`](Self::settle).
    pub fn handle_bytes(&mut self, now: Duration, frame: &[u8], replica: &dyn Replica) {
        if self.is_closed() {
            return;
        }
        self.timers.now = now;
        self.timers.received_at = now;
        self.pass_on_held();
        let handled = Frame::decode(frame, self.config.frame_bytes_max)
            .map_err(CloseReason::Protocol)
            .and_then(|frame| self.handle_frame(frame, replica));
        if let Err(reason) = handled {
            self.shut(reason);
        }
    }

    fn handle_frame(&mut self, frame: Frame<'_>, replica: &dyn Replica) -> Result<(), CloseReason> {
        match frame {
            Frame::Hello(hello) => return self.on_hello(&hello, replica),
            Frame::Close { code, message } => {
                // The updates that came before the `Close` frame are still applied.
                self.import(replica)?;
                let code = CloseCode::from_u64(code);
                return Err(CloseReason::Remote { code, message });
            }
            Frame::Ping => self.outgoing.push_latest(Latest::Pong, &Frame::Pong),
            Frame::Pong | Frame::Unknown => {}
            // The frame is out of order. The peer sends its information again after the greeting.
            _ if self.is_greeting() => {}
            // These frames do not show that missing updates are coming.
            frame @ (Frame::Presence(_) | Frame::PresenceRequest | Frame::Datagrams { .. }) => {
                return self.handle_content(frame, replica);
            }
            frame => {
                self.heard = true;
                return self.handle_content(frame, replica);
            }
        }
        Ok(())
    }

    fn handle_content(
        &mut self,
        frame: Frame<'_>,
        replica: &dyn Replica,
    ) -> Result<(), CloseReason> {
        match frame {
            Frame::Have { version, kept, again } => {
                self.import(replica)?;
                self.on_have(version, kept, replica);
                if again {
                    self.tell_again();
                }
            }
            Frame::Version { repair: true, .. } => {
                self.import(replica)?;
                self.repair.wanted = true;
            }
            Frame::Version { want_yours, kept, version, repair: false } => {
                self.import(replica)?;
                self.on_version(want_yours, kept, version, replica)?;
            }
            Frame::Update { number, body } => self.on_body(number, body, replica)?,
            Frame::Fragment { number, total, offset, part } => {
                self.on_fragment(number, total, offset, part, replica)?
            }
            Frame::Digest { version, claim } => self.content.theirs = Some((version, claim)),
            Frame::Ack { number, kept, failed } => self.on_ack(number, kept, failed),
            Frame::Answer { repair, first, updates, bytes, between } => {
                self.import(replica)?;
                self.delivery.received.begin_at(first);
                // A fragment of this update was lost. The answer contains the update.
                self.delivery.assembly.take_if(|assembly| assembly.number < first);
                match repair {
                    true => self.on_repair_answer(first, updates)?,
                    false => {
                        if !self.delivery.answer.is_coming() {
                            self.timers.duties.note_progress(Duty::Answer, self.timers.now);
                        }
                        let between = Some(between);
                        let furthest = self.delivery.answer.furthest;
                        self.delivery.answer = Answer {
                            first,
                            updates,
                            bytes,
                            between,
                            furthest,
                            ..Answer::default()
                        };
                    }
                }
            }
            Frame::Presence(news) => self.on_presence(news)?,
            Frame::PresenceRequest => self.on_presence_request(),
            Frame::Datagrams { channel } => self.on_datagrams(channel),
            Frame::Conflict(claim) => {
                self.import(replica)?;
                self.on_conflict(claim, replica)?;
            }
            Frame::Hello(_) | Frame::Close { .. } | Frame::Ping | Frame::Pong | Frame::Unknown => {}
        }
        Ok(())
    }

    fn on_body(
        &mut self,
        number: u64,
        body: &[u8],
        replica: &dyn Replica,
    ) -> Result<(), CloseReason> {
        if self.delivery.received.is_known(number) {
            return Ok(());
        }
        let update = body::unpack(body, self.config.update_bytes_max)?.into_owned();
        if !update.is_empty() && self.delivery.answer.grows(number, usize::MAX) {
            self.timers.duties.note_progress(Duty::Answer, self.timers.now);
        }
        if self.delivery.answer.is_coming() && self.delivery.answer.holds(number) {
            self.delivery.answer.updates_come += 1;
            self.delivery.answer.bytes_come += update.len() as u64;
            self.delivery.inbox.part = self.delivery.answer.updates > 1;
            let received = self.delivery.answer.bytes_come;
            let total = self.delivery.answer.bytes.max(self.delivery.answer.bytes_come);
            self.events.push_back(Event::Progress { received, total });
        }
        if !self.config.takes_updates {
            return self.take_known(number, &update, replica);
        }
        if self.take_for_repair(number, &update, replica)? {
            self.delivery.received.note(number);
            return Ok(());
        }
        self.delivery.inbox.bytes += update.len();
        self.delivery.inbox.updates.push((number, update));
        if self.delivery.inbox.updates.len() >= INBOX_UPDATES_MAX
            || self.delivery.inbox.bytes >= INBOX_BYTES_MAX
        {
            self.import(replica)?;
        }
        Ok(())
    }

    /// Takes an update on a side that takes no updates. The update is allowed if the replica
    /// already has all of it, because then nothing is written.
    fn take_known(
        &mut self,
        number: u64,
        update: &[u8],
        replica: &dyn Replica,
    ) -> Result<(), CloseReason> {
        if !replica.contains(update).map_err(refused)? {
            return Err(CloseReason::ReadOnly);
        }
        self.delivery.received.note(number);
        Ok(())
    }

    /// Applies the updates that came, all at once. If one is refused, they are applied one by one,
    /// so that the good ones are applied and the error is that of the bad one.
    pub(super) fn import(&mut self, replica: &dyn Replica) -> Result<(), CloseReason> {
        let Inbox { updates, part, .. } = std::mem::take(&mut self.delivery.inbox);
        if updates.is_empty() || self.is_closed() {
            return Ok(());
        }
        // The updates are noted before they are applied, because the replica calls its listeners
        // during the import.
        for (_, update) in &updates {
            self.delivery.recent.note(Hash::of(update));
        }
        let all: Vec<&[u8]> = updates.iter().map(|(_, update)| update.as_slice()).collect();
        let together =
            if all.len() > 1 { told_apart(replica.import(&all, part)).ok() } else { None };
        for (number, update) in &updates {
            match together.map_or_else(|| told_apart(replica.import(&[update], part)), Ok) {
                Ok(Imported { waits, failed }) => {
                    self.delivery.waiting |= waits;
                    self.delivery.failed |= failed;
                }
                Err(refusal) if !refusal.is_contradiction() => return Err(refused(refusal)),
                Err(_) => self.contradicted(replica)?,
            }
            self.delivery.received.note(*number);
            self.events.push_back(Event::RemoteUpdate { bytes: update.len() });
        }
        if part && !self.delivery.answer.is_coming() {
            replica.show_parts();
        }
        Ok(())
    }

    fn on_fragment(
        &mut self,
        number: u64,
        total: u64,
        offset: u64,
        part: &[u8],
        replica: &dyn Replica,
    ) -> Result<(), CloseReason> {
        // A packed update is never longer than the update itself plus its header.
        let total = check(
            "an update",
            total,
            self.config.update_bytes_max.saturating_add(1 + VARINT_BYTES_MAX),
        )?;
        if self.delivery.received.is_known(number) {
            return Ok(());
        }
        if offset == 0 {
            self.delivery.assembly =
                Some(Assembly { number, total, bytes: Vec::new(), grown_at: self.timers.now });
        }
        let Some(mut assembly) = self.delivery.assembly.take() else {
            return Ok(());
        };
        if assembly.number != number
            || assembly.total != total
            || assembly.bytes.len() as u64 != offset
        {
            // A fragment was lost. The whole update is requested again later.
            return Ok(());
        }
        let bytes = (assembly.bytes.len() + part.len()) as u64;
        let bytes_max = total as u64;
        if bytes > bytes_max {
            let what = "a fragmented update";
            return Err(FrameError::TooLarge { what, bytes, bytes_max }.into());
        }
        assembly.bytes.extend_from_slice(part);
        assembly.grown_at = self.timers.now;
        if bytes == bytes_max {
            return self.on_body(number, &assembly.bytes, replica);
        }
        if self.delivery.answer.grows(number, assembly.bytes.len()) {
            self.timers.duties.note_progress(Duty::Answer, self.timers.now);
        }
        self.delivery.assembly = Some(assembly);
        Ok(())
    }
}
