//! The part of a session that exchanges presence.

use super::outgoing::Latest;
use super::{CloseReason, Session};
use crate::frame::{Frame, Key, Token};
use crate::presence::{News, Participants, Showing, Speaker, decode, encode};
use std::sync::Arc;
use std::time::Duration;

impl Session {
    /// Lets the session take part in presence. It tells the peer of these participants, and adds
    /// those that the peer tells of. All sessions about the document on one replica share them.
    #[must_use]
    pub fn with_participants(mut self, participants: Arc<Participants>) -> Self {
        self.showing = Some(Showing::new(
            participants,
            self.config.participants_of(self.role),
            self.timers.now,
        ));
        self
    }

    /// Gives the peer a secret by which it recognises this side. A later session must give the same
    /// secret. Then the participants of this side stay present at the peer, even if the earlier
    /// connection has not ended for the peer yet, and no other replica can pass for this side. Use
    /// 16 random bytes, and different ones for each peer. All zeros mean no secret, which is the
    /// default.
    #[must_use]
    pub fn with_key(mut self, key: [u8; 16]) -> Self {
        self.hello.key = Key(key);
        self.outgoing.push_latest(Latest::Hello, &Frame::Hello(self.hello.clone()));
        self
    }

    /// Sends the peer a token. The peer may decide by it what this side may do.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.hello.token = Some(Token(token.to_owned()));
        self.outgoing.push_latest(Latest::Hello, &Frame::Hello(self.hello.clone()));
        self
    }

    pub(super) fn on_presence(&mut self, news: &[u8]) -> Result<(), CloseReason> {
        self.take_presence(decode(news, self.peer.replica)?);
        Ok(())
    }

    pub(super) fn take_presence(&mut self, news: Vec<News>) {
        if let Some(showing) = self.showing.as_mut() {
            showing.take(
                news,
                Speaker::Replica { id: self.peer.replica, key: self.peer.key },
                self.timers.now,
            );
        }
    }

    pub(super) fn on_presence_request(&mut self) {
        if let Some(showing) = self.showing.as_mut() {
            showing.tell_all();
        }
    }

    /// Queues the presence that the peer has not been told yet, if it is time. Needs no replica,
    /// and never waits.
    pub(crate) fn show(&mut self, now: Duration) {
        let silent = !self.can_show();
        let lossy = self.has_datagrams();
        let Some(showing) = self.showing.as_mut().filter(|_| !silent) else { return };
        if showing.take_call(now) {
            self.outgoing.push_latest(Latest::PresenceRequest, &Frame::PresenceRequest);
        }
        let own = showing.own();
        let news = showing.take_news(now, lossy);
        let lasting = if lossy { showing.take_lasting(now) } else { Vec::new() };
        let mut reliable = if lossy { self.push_datagrams(news, own) } else { news };
        reliable.extend(lasting);
        if !reliable.is_empty() {
            self.outgoing.push_latest(Latest::Presence, &Frame::Presence(&encode(&reliable, own)));
        }
    }

    pub(super) fn tick_presence(&mut self, now: Duration) {
        if let Some(showing) = self.showing.as_mut() {
            showing.mind(now);
        }
    }

    /// The time at which there is presence to tell or to renew.
    pub(super) fn presence_due(&self) -> Option<Duration> {
        self.showing.as_ref().map(|showing| showing.due(self.can_show(), self.has_datagrams()))
    }

    /// Whether the driver should wake up for a change of the participants. If not, the next
    /// time-out is soon enough.
    pub(crate) fn awaits_news(&self) -> bool {
        self.can_show() && self.showing.as_ref().is_some_and(Showing::awaits_news)
    }

    fn can_show(&self) -> bool {
        !self.is_greeting() && !self.is_closed() && !self.outgoing.holds(Latest::Presence)
    }
}
