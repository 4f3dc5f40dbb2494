//! A session's part in presence.

use super::outgoing::Latest;
use super::{CloseReason, Session};
use crate::frame::{Frame, Key, Token};
use crate::presence::{News, Participants, Showing, Speaker, decode, encode};
use std::sync::Arc;
use std::time::Duration;

impl Session {
    /// Takes part in presence: tells the peer of these participants and takes in those that it
    /// tells of. All sessions about the document on one replica share them.
    #[must_use]
    pub fn with_participants(mut self, participants: Arc<Participants>) -> Self {
        self.showing = Some(Showing::new(
            participants,
            self.config.participants_of(self.role),
            self.timers.now,
        ));
        self
    }

    /// Gives the peer a secret by which it knows this side again when a later session gives it the
    /// same: who is present here then stays so though the connection before has not ended for
    /// the peer, and nobody else passes for it. Take 16 random bytes, and other ones for every
    /// other peer. All zero, as without it: none.
    #[must_use]
    pub fn with_key(mut self, key: [u8; 16]) -> Self {
        self.hello.key = Key(key);
        self.outgoing.push_latest(Latest::Hello, &Frame::Hello(self.hello.clone()));
        self
    }

    /// Shows the peer a token, by which it may decide what this side may do.
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

    pub(super) fn on_who(&mut self) {
        if let Some(showing) = self.showing.as_mut() {
            showing.tell_all();
        }
    }

    /// Queues what the peer has not been told, if it is time. Needs no replica, and never waits.
    pub(crate) fn show(&mut self, now: Duration) {
        let silent = !self.can_show();
        let lossy = self.has_datagrams();
        let Some(showing) = self.showing.as_mut().filter(|_| !silent) else { return };
        if showing.take_call(now) {
            self.outgoing.push_latest(Latest::Who, &Frame::Who);
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

    pub(super) fn mind_presence(&mut self, now: Duration) {
        if let Some(showing) = self.showing.as_mut() {
            showing.mind(now);
        }
    }

    /// When there is something to tell, or to renew.
    pub(super) fn presence_due(&self) -> Option<Duration> {
        self.showing.as_ref().map(|showing| showing.due(self.can_show(), self.has_datagrams()))
    }

    /// Whether a change of who is present is worth waking up for; if not, the next time-out comes
    /// soon enough.
    pub(crate) fn awaits_news(&self) -> bool {
        self.can_show() && self.showing.as_ref().is_some_and(Showing::awaits_news)
    }

    fn can_show(&self) -> bool {
        !self.is_greeting() && !self.is_closed() && !self.outgoing.holds(Latest::Presence)
    }
}
