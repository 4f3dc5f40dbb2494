//! What a session does with a frame from the peer.

use super::{Assembly, CloseCode, CloseReason, Event, Latest, Phase, Role, Session};
use crate::frame::{Frame, FrameError, HELLO_AGAIN, Hash, Hello, check};
use crate::limits::RECENT_UPDATES_MAX;
use crate::replica::Replica;
use std::time::Duration;

impl Session {
    /// Takes one frame from the peer. Bytes that are no frame end the conversation with a reason that says where.
    pub fn handle_bytes(&mut self, now: Duration, frame: &[u8], replica: &dyn Replica) {
        if self.is_closed() {
            return;
        }
        self.received_at = now;
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
                let code = CloseCode::from_u64(code);
                return Err(CloseReason::Remote { code, message });
            }
            Frame::Ping => self.outgoing.push_latest(Latest::Pong, &Frame::Pong),
            Frame::Pong | Frame::Unknown => {}
            // Out of order: what it says is learned again once the greeting is through.
            _ if self.phase == Phase::Greeting => {}
            Frame::Have(theirs) => {
                self.heard = true;
                self.on_have(theirs, replica);
            }
            Frame::Version { want_yours, version } => {
                self.heard = true;
                self.on_version(want_yours, version, replica)?;
            }
            Frame::Update(update) => self.on_update(update, replica)?,
            Frame::Fragment { total, offset, part } => {
                self.on_fragment(total, offset, part, replica)?;
            }
            Frame::Digest { version, digest } => self.their_digest = Some((version, digest)),
        }
        Ok(())
    }

    fn on_hello(&mut self, theirs: &Hello, replica: &dyn Replica) -> Result<(), CloseReason> {
        let ours = &self.hello;
        let same = |what, ours: &str, theirs: &str| {
            let (same, ours, theirs) = (ours == theirs, ours.to_owned(), theirs.to_owned());
            if same { Ok(()) } else { Err(CloseReason::Incompatible { what, ours, theirs }) }
        };
        let protocols = (ours.protocol.to_string(), theirs.protocol.to_string());
        same("protocol version", &protocols.0, &protocols.1)?;
        same("document", &ours.document, &theirs.document)?;
        same("backend", &ours.backend, &theirs.backend)?;
        if self.phase == Phase::Greeting {
            let ours = Hash::of(&replica.version());
            self.phase = Phase::Comparing { ours };
            self.events.push_back(Event::Connected);
            self.announce(ours);
        }
        if theirs.flags & HELLO_AGAIN != 0 {
            self.outgoing.push_latest(Latest::Hello, &Frame::Hello(self.hello.clone()));
        }
        Ok(())
    }

    fn on_have(&mut self, theirs: Hash, replica: &dyn Replica) {
        self.theirs = Some(theirs);
        match self.phase {
            Phase::Comparing { ours } | Phase::Exchanging { ours } if ours == theirs => {
                self.stream(replica);
            }
            Phase::Comparing { .. } if self.role == Role::Initiator => self.exchange(replica),
            _ => {}
        }
    }

    /// The peer has the version that we announced last: from there on updates are enough, unless some were held back since.
    fn stream(&mut self, replica: &dyn Replica) {
        self.phase = Phase::Streaming;
        if self.missed {
            self.exchange(replica);
        }
    }

    fn on_version(&mut self, want_yours: bool, version: &[u8], replica: &dyn Replica) -> Result<(), CloseReason> {
        let theirs = Hash::of(version);
        let our_version = replica.version();
        let ours = Hash::of(&our_version);
        let asked_already = matches!(self.phase, Phase::Exchanging { .. });
        self.theirs = Some(theirs);
        // What is committed up to here is in the update below, so nothing held back is missed.
        self.phase = Phase::Streaming;
        self.missed = false;
        if ours == theirs {
            if want_yours {
                self.announce(ours);
            }
            return Ok(());
        }
        let updates = replica.updates_since(version).map_err(refused)?;
        self.outgoing.push_answer(updates);
        if want_yours && !asked_already {
            self.send_version(&our_version, false);
        }
        Ok(())
    }

    fn on_update(&mut self, update: &[u8], replica: &dyn Replica) -> Result<(), CloseReason> {
        self.heard = true;
        check("an update", update.len() as u64, self.config.update_bytes_max)?;
        // Before it is applied, as the replica calls its listeners from within.
        if self.recent.len() == RECENT_UPDATES_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Hash::of(update));
        replica.apply(update).map_err(refused)?;
        self.events.push_back(Event::RemoteUpdate { bytes: update.len() });
        Ok(())
    }

    fn on_fragment(&mut self, total: u64, offset: u64, part: &[u8], replica: &dyn Replica) -> Result<(), CloseReason> {
        self.heard = true;
        let total = check("an update", total, self.config.update_bytes_max)?;
        if offset == 0 {
            self.assembly = Some(Assembly { total, bytes: Vec::new() });
        }
        let Some(mut assembly) = self.assembly.take() else {
            return Ok(());
        };
        if assembly.total != total || assembly.bytes.len() as u64 != offset {
            // A fragment was lost; the whole is asked for again in time.
            return Ok(());
        }
        let (bytes, bytes_max) = ((assembly.bytes.len() + part.len()) as u64, total as u64);
        if bytes > bytes_max {
            let what = "a fragmented update";
            return Err(FrameError::TooLarge { what, bytes, bytes_max }.into());
        }
        assembly.bytes.extend_from_slice(part);
        if bytes == bytes_max {
            return self.on_update(&assembly.bytes, replica);
        }
        self.assembly = Some(assembly);
        Ok(())
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn refused(refusal: crate::replica::Refusal) -> CloseReason {
    CloseReason::Refused { message: refusal.to_string() }
}
