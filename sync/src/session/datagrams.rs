//! Datagrams, on connections that have them. A change of the participants goes out in a datagram
//! first, so that it waits behind no other data. A change that has lasted for a while is also sent
//! over the reliable stream, because no side learns which datagram was lost.

use super::outgoing::Latest;
use super::{CloseReason, Session};
use crate::frame::Frame;
use crate::limits::DATAGRAM_BYTES;
use crate::presence::{News, decode, encode};
use exostate::varint;
use std::collections::VecDeque;
use std::time::Duration;

/// A session's datagrams.
#[derive(Debug)]
pub(super) struct Datagrams {
    /// `ours` is the number at the start of the peer's datagrams. `theirs` is the number at the
    /// start of our datagrams; it is `None` until the peer has sent it.
    ours: u64,
    theirs: Option<u64>,
    waiting: VecDeque<Vec<u8>>,
}

impl Session {
    /// Lets the session use datagrams. The peer is told `channel`, and its datagrams begin with
    /// this number. This side sends datagrams if the peer uses them too.
    #[must_use]
    pub fn with_datagrams(mut self, channel: u64) -> Self {
        self.datagrams = Some(Datagrams { ours: channel, theirs: None, waiting: VecDeque::new() });
        self
    }

    /// Takes a datagram from the peer, without the number at its start. The datagram may be a
    /// duplicate or late, and earlier ones may be lost.
    pub fn handle_datagram(&mut self, now: Duration, datagram: &[u8]) {
        if self.is_closed() || self.is_greeting() {
            return;
        }
        (self.timers.now, self.timers.received_at) = (now, now);
        if let Err(error) = decode(datagram, self.peer.replica).map(|news| self.take_presence(news))
        {
            self.shut(CloseReason::Protocol(error));
        }
    }

    /// The next datagram to send, with the peer's number at its start: at most 1,100 bytes.
    /// Datagrams that are still queued when there is newer presence to send are dropped.
    pub fn poll_datagram(&mut self) -> Option<Vec<u8>> {
        self.datagrams.as_mut()?.waiting.pop_front()
    }

    /// Sends our number to the peer, as soon as the peer can use it.
    pub(super) fn offer_datagrams(&mut self) {
        if let Some(Datagrams { ours, .. }) = self.datagrams {
            self.outgoing.push_latest(Latest::Datagrams, &Frame::Datagrams { channel: ours });
        }
    }

    pub(super) fn on_datagrams(&mut self, channel: u64) {
        if let Some(datagrams) = self.datagrams.as_mut() {
            datagrams.theirs = Some(channel);
        }
    }

    /// Whether changes can be sent in datagrams.
    pub(super) fn has_datagrams(&self) -> bool {
        self.datagrams.as_ref().is_some_and(|datagrams| datagrams.theirs.is_some())
    }

    /// Puts news into datagrams. Returns the news that are too large for a datagram.
    pub(super) fn push_datagrams(&mut self, news: Vec<News>, own: Option<u64>) -> Vec<News> {
        let Some(Datagrams { theirs: Some(channel), waiting, .. }) = self.datagrams.as_mut() else {
            return news;
        };
        if !news.is_empty() {
            waiting.clear();
        }
        let mut left = Vec::new();
        let mut datagram = Vec::new();
        for news in news {
            let bytes = encode(std::slice::from_ref(&news), own);
            if bytes.len() + crate::limits::VARINT_BYTES_MAX > DATAGRAM_BYTES {
                left.push(news);
                continue;
            }
            if datagram.len() + bytes.len() > DATAGRAM_BYTES {
                waiting.push_back(std::mem::take(&mut datagram));
            }
            if datagram.is_empty() {
                varint::put(&mut datagram, *channel);
            }
            datagram.extend_from_slice(&bytes);
        }
        if !datagram.is_empty() {
            waiting.push_back(datagram);
        }
        left
    }
}
