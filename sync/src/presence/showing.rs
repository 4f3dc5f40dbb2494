//! One connection's part of the presence: what its peer was told and when, and about which
//! participants the peer told.

use super::participants::{Link, News, Participants, Speaker};
use crate::limits::{
    ABSENT_AFTER, DEPARTED_MAX, HEARTBEAT, PARTICIPANTS_MAX, PRESENCE_BYTES, PRESENCE_INTERVAL,
    PRESENCE_INTERVAL_MAX, PRESENCE_LASTS,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The presence state of a connection. When it is dropped, the participants that came over the
/// connection are removed.
///
/// Time is a `Duration` since a moment that the connection chooses.
#[derive(Debug)]
pub(crate) struct Showing {
    participants: Arc<Participants>,
    link: Link,
    /// When the peer last gave a sign of life of each participant, or told that it left.
    heard: BTreeMap<u64, Duration>,
    /// When this side may next answer the peer's news about this replica itself.
    answers_at: Duration,
    /// Whether the peer was told recently: it is told nothing before `next_at`, however much
    /// changes.
    rests: bool,
    next_at: Duration,
    /// When the peer may be asked again for all participants.
    asks_at: Duration,
    /// How long this side waits after it has told the peer.
    interval: Duration,
    renewed_at: Duration,
    /// When to look next for states that were sent in datagrams only, and have not changed since.
    lasting_at: Duration,
}

/// The present participants, and the remembered departed ones.
const HEARD_MAX: usize = PARTICIPANTS_MAX + DEPARTED_MAX;

impl Drop for Showing {
    fn drop(&mut self) {
        self.participants.unlink(&self.link);
    }
}

impl Showing {
    /// The state for a peer that may introduce `participants_max` participants.
    pub(crate) fn new(
        participants: Arc<Participants>,
        participants_max: usize,
        now: Duration,
    ) -> Self {
        let link = participants.link(participants_max);
        Self {
            participants,
            link,
            heard: BTreeMap::new(),
            answers_at: now,
            rests: false,
            next_at: now,
            asks_at: now,
            interval: PRESENCE_INTERVAL,
            renewed_at: now,
            lasting_at: now,
        }
    }

    /// Takes news from the peer.
    pub(crate) fn take(&mut self, news: Vec<News>, speaker: Speaker, now: Duration) {
        let own = self.own();
        for news in news {
            let id = news.id;
            let leaves = news.state.is_none();
            if Some(id) == own {
                // Each answer uses a clock and goes to all peers. The next sign of life is an
                // answer, too.
                if now < self.answers_at {
                    continue;
                }
                self.answers_at = now + PRESENCE_INTERVAL;
            }
            match self.participants.receive(&self.link, speaker, news) {
                true if leaves && self.heard.len() >= HEARD_MAX => drop(self.heard.remove(&id)),
                true => drop(self.heard.insert(id, now)),
                false => {}
            }
        }
    }

    /// The peer asks for all participants.
    pub(crate) fn tell_all(&mut self) {
        self.participants.tell_all(&mut self.link);
    }

    /// Whether the peer should be asked for all participants now, because another connection was
    /// lost. One request covers all connections that were lost meanwhile, because the answer
    /// contains all participants. There is at most one request in `PRESENCE_INTERVAL_MAX`, because
    /// connections may come and go all the time.
    pub(crate) fn take_call(&mut self, now: Duration) -> bool {
        let asks = now >= self.asks_at && self.participants.is_called(&self.link);
        if asks {
            self.asks_at = now + PRESENCE_INTERVAL_MAX;
            self.participants.take_call(&mut self.link);
        }
        asks
    }

    /// The news that the peer has not been told, if it is time to tell. `lossy` says that it may be
    /// lost on the way.
    pub(crate) fn take_news(&mut self, now: Duration, lossy: bool) -> Vec<News> {
        if self.rests && now < self.next_at {
            return Vec::new();
        }
        if std::mem::take(&mut self.rests) {
            self.adapt(now - self.next_at);
        }
        let news = self.participants.take_news(&mut self.link, PRESENCE_BYTES, lossy);
        if !news.is_empty() {
            (self.rests, self.next_at) = (true, now + self.interval);
        }
        news
    }

    /// The news that the peer may not have received, if it is time to send it again.
    pub(crate) fn take_lasting(&mut self, now: Duration) -> Vec<News> {
        if now < self.lasting_at {
            return Vec::new();
        }
        self.lasting_at = now + PRESENCE_LASTS;
        self.participants.take_lasting(&mut self.link, PRESENCE_BYTES)
    }

    /// Adapts the interval: longer if this connection is late, because it has too much to do, and
    /// shorter if it is in time. The peer misses only intermediate states.
    fn adapt(&mut self, late: Duration) {
        let longer = late > self.interval / 2;
        let interval = if longer { self.interval * 2 } else { self.interval * 3 / 4 };
        self.interval = interval.clamp(PRESENCE_INTERVAL, PRESENCE_INTERVAL_MAX);
    }

    /// Whether new changes should wake up the connection, instead of waiting for `next_at`.
    pub(crate) fn awaits_news(&self) -> bool {
        !self.rests
    }

    /// Whether the peer was told all news.
    #[cfg(feature = "websocket")]
    pub(crate) fn has_told(&self) -> bool {
        !self.has_news()
    }

    /// This replica's own participant.
    pub(crate) fn own(&self) -> Option<u64> {
        self.participants.own()
    }

    /// Renews this replica's state, and removes the participants about which the peer has said
    /// nothing for `ABSENT_AFTER`.
    pub(crate) fn mind(&mut self, now: Duration) {
        if now >= self.renewed_at + HEARTBEAT {
            self.renewed_at = now;
            self.participants.renew();
        }
        let participants = &self.participants;
        let link = &self.link;
        self.heard.retain(|id, heard| {
            let there = now < *heard + ABSENT_AFTER;
            if !there {
                participants.expire(link, *id);
            }
            there
        });
    }

    /// When there is work to do. News counts only if `can_tell` says that the peer can be told now.
    pub(crate) fn due(&self, can_tell: bool, lossy: bool) -> Duration {
        let when = |wanted: bool, at: Duration| if can_tell && wanted { at } else { Duration::MAX };
        let news = when(self.rests || self.has_news(), self.next_at);
        let lasting = when(lossy && !self.link.is_sure(), self.lasting_at);
        let call = when(self.participants.is_called(&self.link), self.asks_at);
        news.min(lasting).min(call).min(self.renewed_at + HEARTBEAT)
    }

    /// As [`due`](Self::due), for a peer that may be asked for all participants only after it was
    /// told about all departures.
    pub(crate) fn due_in_turn(&self) -> Duration {
        let due = self.due(true, false);
        if self.has_news() { due.max(self.next_at.min(self.renewed_at + HEARTBEAT)) } else { due }
    }

    fn has_news(&self) -> bool {
        self.participants.has_news(&self.link)
    }
}
