//! Datagrams, where the connection has them: changes of who is present go out in them first, so
//! that they wait behind nothing. Once a change has lasted for a while it is told again by the
//! reliable way, as nobody says which datagram was lost.

use super::outgoing::Latest;
use super::{CloseReason, Session};
use crate::frame::{Frame, put_varint};
use crate::limits::DATAGRAM_BYTES;
use crate::presence::{News, decode, encode};
use std::collections::VecDeque;
use std::time::Duration;

/// A session's datagrams.
#[derive(Debug)]
pub(super) struct Datagrams {
    /// What the peer's begin with, and what ours have to; it is not known yet at first.
    ours: u64,
    theirs: Option<u64>,
    waiting: VecDeque<Vec<u8>>,
}

impl Session {
    /// Takes datagrams that begin with this number, which the peer is told, and sends some to a
    /// peer that does so too.
    #[must_use]
    pub fn with_datagrams(mut self, channel: u64) -> Self {
        self.datagrams = Some(Datagrams { ours: channel, theirs: None, waiting: VecDeque::new() });
        self
    }

    /// Takes a datagram from the peer, without the number. It may be lost, doubled or late.
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

    /// The next datagram to send, with the peer's number in front: at most 1,100 bytes. Those that
    /// wait until there is something new to tell are dropped.
    pub fn poll_datagram(&mut self) -> Option<Vec<u8>> {
        self.datagrams.as_mut()?.waiting.pop_front()
    }

    /// Tells the peer our number, as soon as it can make something of it.
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

    /// Whether changes can be told so.
    pub(super) fn has_datagrams(&self) -> bool {
        self.datagrams.as_ref().is_some_and(|datagrams| datagrams.theirs.is_some())
    }

    /// Puts news into datagrams, and gives back what fits into none.
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
                put_varint(&mut datagram, *channel);
            }
            datagram.extend_from_slice(&bytes);
        }
        if !datagram.is_empty() {
            waiting.push_back(datagram);
        }
        left
    }
}
