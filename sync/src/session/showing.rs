//! A session's part in presence: tells the peer of what changed, at most every so often, and takes what it tells.

use super::outgoing::Latest;
use super::{CloseReason, Session};
use crate::frame::Frame;
use crate::limits::{ABSENT_AFTER, HEARTBEAT, PRESENCE_BYTES, PRESENCE_INTERVAL};
use crate::presence::{Link, Participants, decode, encode};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Where a session stands with those who are present. Once it is dropped, those who came by it are gone.
#[derive(Debug)]
pub(super) struct Showing {
    participants: Arc<Participants>,
    link: Link,
    /// When the peer last gave a sign of life of each.
    heard: BTreeMap<u64, Duration>,
    /// Nothing is told before.
    next_at: Duration,
    renewed_at: Duration,
}

impl Drop for Showing {
    fn drop(&mut self) {
        self.participants.unlink(&self.link);
    }
}

impl Session {
    /// Takes part in presence: tells the peer of these participants and takes in those that it tells of. All sessions about the
    /// document on one replica share them.
    #[must_use]
    pub fn with_participants(mut self, participants: Arc<Participants>) -> Self {
        let link = participants.link();
        let (next_at, renewed_at) = (self.now, self.now);
        self.showing = Some(Showing { participants, link, heard: BTreeMap::new(), next_at, renewed_at });
        self
    }

    pub(super) fn on_presence(&mut self, news: &[u8]) -> Result<(), CloseReason> {
        let news = decode(news, self.peer)?;
        let Some(showing) = self.showing.as_mut() else { return Ok(()) };
        for news in news {
            let (id, leaves) = (news.id, news.state.is_none());
            match showing.participants.receive(&showing.link, self.peer, news) {
                true if leaves => drop(showing.heard.remove(&id)),
                true => drop(showing.heard.insert(id, self.now)),
                false => {}
            }
        }
        Ok(())
    }

    pub(super) fn on_who(&mut self) {
        if let Some(showing) = self.showing.as_mut() {
            showing.participants.tell_all(&mut showing.link);
        }
    }

    /// Queues what the peer has not been told, if it is time. Needs no replica, and never waits.
    pub(crate) fn show(&mut self, now: Duration) {
        let silent = self.is_greeting() || self.is_closed() || self.outgoing.holds(Latest::Presence);
        let Some(showing) = self.showing.as_mut().filter(|_| !silent) else { return };
        if showing.participants.take_call(&mut showing.link) {
            self.outgoing.push_latest(Latest::Who, &Frame::Who);
        }
        if now < showing.next_at || !showing.participants.has_news(&showing.link) {
            return;
        }
        let news = showing.participants.take_news(&mut showing.link, PRESENCE_BYTES);
        if !news.is_empty() {
            showing.next_at = now + PRESENCE_INTERVAL;
            let news = encode(&news, showing.participants.own());
            self.outgoing.push_latest(Latest::Presence, &Frame::Presence(&news));
        }
    }

    /// Says that this replica is still there, and forgets those of whom the peer has said nothing for long.
    pub(super) fn mind_presence(&mut self, now: Duration) {
        let Some(showing) = self.showing.as_mut() else { return };
        if now >= showing.renewed_at + HEARTBEAT {
            showing.renewed_at = now;
            showing.participants.renew();
        }
        let (participants, link) = (&showing.participants, &showing.link);
        showing.heard.retain(|id, heard| {
            let there = now < *heard + ABSENT_AFTER;
            if !there {
                participants.expire(link, *id);
            }
            there
        });
    }

    /// When there is something to tell.
    pub(super) fn presence_due(&self) -> Option<Duration> {
        let showing = self.showing.as_ref()?;
        let waits = !self.is_greeting() && !self.outgoing.holds(Latest::Presence) && showing.participants.has_news(&showing.link);
        let renewed = showing.renewed_at + HEARTBEAT;
        Some(if waits { showing.next_at.min(renewed) } else { renewed })
    }
}
