//! One connection's part in presence: what its peer was told and when, and whom it spoke of.

use super::participants::{Link, News, Participants, Speaker};
use crate::limits::{
    ABSENT_AFTER, DEPARTED_MAX, HEARTBEAT, PARTICIPANTS_MAX, PRESENCE_BYTES, PRESENCE_INTERVAL,
    PRESENCE_INTERVAL_MAX, PRESENCE_LASTS,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Where a connection stands with those who are present. Once it is dropped, those who came by it
/// are gone.
///
/// Time is a `Duration` since a moment that the connection chooses.
#[derive(Debug)]
pub(crate) struct Showing {
    participants: Arc<Participants>,
    link: Link,
    /// When the peer last gave a sign of life of each, or said that it has left.
    heard: BTreeMap<u64, Duration>,
    /// When the peer may again say something of this replica itself that is answered.
    answers_at: Duration,
    /// The peer was told lately: it is told nothing before `next_at`, however much changes.
    rests: bool,
    next_at: Duration,
    /// When the peer may be asked again who is there.
    asks_at: Duration,
    /// How long it rests after it was told.
    interval: Duration,
    renewed_at: Duration,
    /// When to look again for what was told in datagrams only, and has lasted.
    lasting_at: Duration,
}

/// Those who are there, and those who have left and are remembered.
const HEARD_MAX: usize = PARTICIPANTS_MAX + DEPARTED_MAX;

impl Drop for Showing {
    fn drop(&mut self) {
        self.participants.unlink(&self.link);
    }
}

impl Showing {
    /// With a peer that may introduce so many participants.
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

    /// Takes what the peer tells.
    pub(crate) fn take(&mut self, news: Vec<News>, speaker: Speaker, now: Duration) {
        let own = self.own();
        for news in news {
            let id = news.id;
            let leaves = news.state.is_none();
            if Some(id) == own {
                // Each answer costs a clock and goes to everybody; the next sign of life is one as
                // well.
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

    /// The peer asks who is there.
    pub(crate) fn tell_all(&mut self) {
        self.participants.tell_all(&mut self.link);
    }

    /// Whether the peer should be asked who is there, as another connection was lost, and it is
    /// time. Once is enough for all that were lost meanwhile: what is answered is everything,
    /// and connections may come and go all the time.
    pub(crate) fn take_call(&mut self, now: Duration) -> bool {
        let asks = now >= self.asks_at && self.participants.is_called(&self.link);
        if asks {
            self.asks_at = now + PRESENCE_INTERVAL_MAX;
            self.participants.take_call(&mut self.link);
        }
        asks
    }

    /// What the peer has not been told, if it is time; surely, or `lossy`.
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

    /// What the peer may not have heard, if it is time.
    pub(crate) fn take_lasting(&mut self, now: Duration) -> Vec<News> {
        if now < self.lasting_at {
            return Vec::new();
        }
        self.lasting_at = now + PRESENCE_LASTS;
        self.participants.take_lasting(&mut self.link, PRESENCE_BYTES)
    }

    /// Who comes back late has too much to do, and rests longer; who is in time, shorter. Nobody
    /// misses anything but what was shown in between.
    fn adapt(&mut self, late: Duration) {
        let longer = late > self.interval / 2;
        let interval = if longer { self.interval * 2 } else { self.interval * 3 / 4 };
        self.interval = interval.clamp(PRESENCE_INTERVAL, PRESENCE_INTERVAL_MAX);
    }

    /// Whether something new is worth waking up for, or waits until this one has rested.
    pub(crate) fn awaits_news(&self) -> bool {
        !self.rests
    }

    /// Whether the peer was told everything.
    #[cfg(feature = "websocket")]
    pub(crate) fn has_told(&self) -> bool {
        !self.has_news()
    }

    /// This replica's own participant.
    pub(crate) fn own(&self) -> Option<u64> {
        self.participants.own()
    }

    /// Says that this replica is still there, and takes those for gone of whom the peer has said
    /// nothing for long.
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

    /// When there is something to do; to tell only if the peer can be told now.
    pub(crate) fn due(&self, can_tell: bool, lossy: bool) -> Duration {
        let when = |wanted: bool, at: Duration| if can_tell && wanted { at } else { Duration::MAX };
        let news = when(self.rests || self.has_news(), self.next_at);
        let lasting = when(lossy && !self.link.is_sure(), self.lasting_at);
        let call = when(self.participants.is_called(&self.link), self.asks_at);
        news.min(lasting).min(call).min(self.renewed_at + HEARTBEAT)
    }

    /// The same for a peer that is asked who is there only once it has been told who has left.
    pub(crate) fn due_in_turn(&self) -> Duration {
        let due = self.due(true, false);
        if self.has_news() { due.max(self.next_at.min(self.renewed_at + HEARTBEAT)) } else { due }
    }

    fn has_news(&self) -> bool {
        self.participants.has_news(&self.link)
    }
}
