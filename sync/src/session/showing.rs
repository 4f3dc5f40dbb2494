//! A session's part in presence.

use super::outgoing::Latest;
use super::{CloseReason, Session};
use crate::frame::Frame;
use crate::presence::{Participants, Showing, decode, encode};
use std::sync::Arc;
use std::time::Duration;

impl Session {
    /// Takes part in presence: tells the peer of these participants and takes in those that it tells of. All sessions about the
    /// document on one replica share them.
    #[must_use]
    pub fn with_participants(mut self, participants: Arc<Participants>) -> Self {
        self.showing = Some(Showing::new(participants, self.now));
        self
    }

    pub(super) fn on_presence(&mut self, news: &[u8]) -> Result<(), CloseReason> {
        let news = decode(news, self.peer)?;
        if let Some(showing) = self.showing.as_mut() {
            showing.take(news, Some(self.peer), self.now);
        }
        Ok(())
    }

    pub(super) fn on_who(&mut self) {
        if let Some(showing) = self.showing.as_mut() {
            showing.tell_all();
        }
    }

    /// Queues what the peer has not been told, if it is time. Needs no replica, and never waits.
    pub(crate) fn show(&mut self, now: Duration) {
        let silent = !self.can_show();
        let Some(showing) = self.showing.as_mut().filter(|_| !silent) else { return };
        if showing.take_call() {
            self.outgoing.push_latest(Latest::Who, &Frame::Who);
        }
        let news = showing.take_news(now);
        if !news.is_empty() {
            self.outgoing.push_latest(Latest::Presence, &Frame::Presence(&encode(&news, showing.own())));
        }
    }

    pub(super) fn mind_presence(&mut self, now: Duration) {
        if let Some(showing) = self.showing.as_mut() {
            showing.mind(now);
        }
    }

    /// When there is something to tell, or to renew.
    pub(super) fn presence_due(&self) -> Option<Duration> {
        self.showing.as_ref().map(|showing| showing.due(self.can_show()))
    }

    fn can_show(&self) -> bool {
        !self.is_greeting() && !self.is_closed() && !self.outgoing.holds(Latest::Presence)
    }
}
