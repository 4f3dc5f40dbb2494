//! Who is present at a document, and with what state: shared by all sessions about it on this replica.
//!
//! The rules are those of the Yjs awareness protocol (`PROTOCOL.md` of y-protocols): every participant has a clock, a state with a
//! higher clock takes the place of one with a lower, and no state means that the participant has left. What is added: a participant
//! belongs to the link that introduced it, and news of it from another link count for nothing, until that link is gone.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

use crate::limits::{DEPARTED_MAX, PARTICIPANTS_MAX};

/// Everyone who is present at one document.
#[derive(Debug)]
pub struct Participants {
    inner: Mutex<Inner>,
    /// The number of the last change.
    changed: watch::Sender<u64>,
}

/// A state as JSON text, shared.
pub(crate) type Json = Arc<str>;

/// What is known of one participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) id: u64,
    pub(crate) clock: u64,
    /// `None`: it has left.
    pub(crate) state: Option<Json>,
}

/// One session's place among those that share the participants.
#[derive(Debug)]
pub(crate) struct Link {
    number: u64,
    /// Up to which change the peer was told, and up to which surely. What comes between, up to `lasting`, was told longer ago.
    told: u64,
    sure: u64,
    lasting: u64,
    /// Which calls for everything were heard.
    called: u64,
}

impl Link {
    /// Whether nothing was told that may be lost.
    pub(crate) fn is_sure(&self) -> bool {
        self.sure == self.told
    }
}

#[derive(Debug, Default)]
struct Inner {
    present: BTreeMap<u64, Entry>,
    /// The same by their last changes.
    order: BTreeMap<u64, u64>,
    /// How many belong to each link.
    counts: BTreeMap<u64, usize>,
    /// Those who left last, oldest first.
    departed: VecDeque<Departed>,
    /// The number of the last departure that is not remembered any more.
    forgotten: u64,
    /// The number of the last change.
    serial: u64,
    /// The number of the last link.
    links: u64,
    /// How often everybody was asked who is there.
    calls: u64,
    /// This replica's own id, once it has taken part.
    own: Option<u64>,
}

#[derive(Debug)]
struct Entry {
    clock: u64,
    state: Json,
    serial: u64,
    /// Which link it belongs to; `None`: this replica.
    link: Option<u64>,
}

#[derive(Debug)]
struct Departed {
    id: u64,
    clock: u64,
    serial: u64,
    link: Option<u64>,
}

impl Default for Participants {
    fn default() -> Self {
        Self { inner: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Participants {
    /// Sets this replica's own state.
    pub(crate) fn set(&self, id: u64, state: Json) {
        let mut inner = self.lock();
        if let Some(before) = inner.own.replace(id).filter(|before| *before != id) {
            let clock = inner.clock_after(before);
            inner.remove(before, clock);
        }
        let clock = inner.clock_after(id);
        inner.put(id, clock, state, None);
        self.tell(inner);
    }

    /// This replica takes part no more.
    pub(crate) fn leave(&self) {
        let mut inner = self.lock();
        if let Some(own) = inner.own {
            let clock = inner.clock_after(own);
            inner.remove(own, clock);
            self.tell(inner);
        }
    }

    /// Says this replica's state again under a new clock: it is still there.
    pub(crate) fn renew(&self) {
        let mut inner = self.lock();
        let state = inner.own.and_then(|own| Some((own, inner.present.get(&own)?.state.clone())));
        if let Some((own, state)) = state {
            let clock = inner.clock_after(own);
            inner.put(own, clock, state, None);
            self.tell(inner);
        }
    }

    /// A session begins.
    pub(crate) fn link(&self) -> Link {
        let mut inner = self.lock();
        inner.links += 1;
        Link { number: inner.links, told: 0, sure: 0, lasting: 0, called: inner.calls }
    }

    /// A session is over: who came by it is gone, unless another link knows better; its own are asked.
    pub(crate) fn unlink(&self, link: &Link) {
        let mut inner = self.lock();
        let gone: Vec<_> =
            inner.present.iter().filter(|(_, entry)| entry.link == Some(link.number)).map(|(id, entry)| (*id, entry.clock)).collect();
        if gone.is_empty() {
            return;
        }
        gone.into_iter().for_each(|(id, clock)| inner.remove(id, clock));
        inner.calls += 1;
        self.tell(inner);
    }

    /// Takes news from a link whose peer is the participant `direct`, if it is one. Gives whether they were taken, and so are a sign of life.
    pub(crate) fn receive(&self, link: &Link, direct: Option<u64>, news: News) -> bool {
        let mut inner = self.lock();
        if news.clock > CLOCK_MAX {
            return false;
        }
        if inner.own == Some(news.id) {
            // Someone thinks that we have left, or have not heard the latest, or someone else spoke for us.
            let state = inner.present.get(&news.id).map(|entry| entry.state.clone());
            if let Some(state) = state {
                let clock = inner.clock_after(news.id).max(news.clock + 1);
                inner.put(news.id, clock, state, None);
                self.tell(inner);
            }
            return false;
        }
        if !inner.accepts(link.number, direct, &news) {
            return false;
        }
        match news.state {
            Some(state) => inner.put(news.id, news.clock, state, Some(link.number)),
            None => inner.remove(news.id, news.clock),
        }
        self.tell(inner);
        true
    }

    /// Nothing was heard of a participant for too long by the link that it belongs to.
    pub(crate) fn expire(&self, link: &Link, id: u64) {
        let mut inner = self.lock();
        let expired = inner.present.get(&id).filter(|entry| entry.link == Some(link.number)).map(|entry| entry.clock);
        if let Some(clock) = expired {
            inner.remove(id, clock);
            self.tell(inner);
        }
    }

    /// What the link's peer has not been told yet, oldest change first, at most so many bytes of states (or one). It is told surely, or
    /// in a way that is `lossy`.
    pub(crate) fn take_news(&self, link: &mut Link, bytes_max: usize, lossy: bool) -> Vec<News> {
        let inner = self.lock();
        let (news, told) = inner.piece(link.number, link.told, inner.serial, bytes_max);
        link.told = told;
        if !lossy {
            (link.sure, link.lasting) = (told, told);
        }
        news
    }

    /// What the link's peer was told in a lossy way before this was called the last time, and what still is so. Who changes all the time
    /// is never among it.
    pub(crate) fn take_lasting(&self, link: &mut Link, bytes_max: usize) -> Vec<News> {
        let inner = self.lock();
        let (news, sure) = inner.piece(link.number, link.sure, link.lasting, bytes_max);
        if sure == link.lasting {
            link.lasting = link.told;
        }
        link.sure = sure;
        news
    }

    /// Whether there is something to tell the link's peer.
    pub(crate) fn has_news(&self, link: &Link) -> bool {
        self.lock().serial > link.told
    }

    /// The peer asks who is there.
    pub(crate) fn tell_all(&self, link: &mut Link) {
        (link.told, link.sure, link.lasting) = (0, 0, 0);
    }

    /// Whether this link should ask who is there, as another one was lost.
    pub(crate) fn take_call(&self, link: &mut Link) -> bool {
        let calls = self.lock().calls;
        std::mem::replace(&mut link.called, calls) != calls
    }

    /// Everything that changed after a change, the number of the last one, and whether that is really everything: only so many are
    /// remembered who have left.
    pub(crate) fn since(&self, serial: u64) -> (Vec<News>, u64, bool) {
        let inner = self.lock();
        let news = inner.between(serial, inner.serial).into_iter().map(|(_, _, news)| news).collect();
        (news, inner.serial, serial >= inner.forgotten)
    }

    /// Everyone who is there, by id.
    pub(crate) fn present(&self) -> BTreeMap<u64, Json> {
        self.lock().present.iter().map(|(id, entry)| (*id, entry.state.clone())).collect()
    }

    /// This replica's id, once it has taken part.
    pub(crate) fn own(&self) -> Option<u64> {
        self.lock().own
    }

    /// Resolves when something changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn tell(&self, inner: MutexGuard<'_, Inner>) {
        let serial = inner.serial;
        drop(inner);
        self.changed.send_modify(|changed| *changed = serial.max(*changed));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere cannot leave it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No honest clock gets there: a tick every 30 ms for a thousand years.
const CLOCK_MAX: u64 = 1 << 40;
/// What news take beside the state, at most.
const NEWS_BYTES: usize = 10 + 10 + 3;

impl Inner {
    /// A clock that counts for more than all that is known of a participant.
    fn clock_after(&self, id: u64) -> u64 {
        let present = self.present.get(&id).map(|entry| entry.clock);
        let departed = self.departed.iter().filter(|departed| departed.id == id).map(|departed| departed.clock).max();
        present.max(departed).map_or(1, |clock| clock.saturating_add(1))
    }

    fn accepts(&self, link: u64, direct: Option<u64>, news: &News) -> bool {
        if let Some(entry) = self.present.get(&news.id) {
            let direct = direct == Some(news.id);
            let owner = entry.link == Some(link) || direct;
            // Whoever is on the line itself knows better than who told of it, whatever that one said.
            let newer = news.clock > entry.clock || entry.link != Some(link) && direct;
            return owner && (newer || news.state.is_none() && news.clock == entry.clock);
        }
        if news.state.is_none() {
            return false;
        }
        let own = self.counts.get(&link).copied().unwrap_or(0);
        let departed = self.departed.iter().rev().find(|departed| departed.id == news.id);
        // What comes late by the same link is no return.
        let returns = departed.is_none_or(|departed| news.clock > departed.clock || departed.link != Some(link));
        own < PARTICIPANTS_MAX && returns
    }

    fn put(&mut self, id: u64, clock: u64, state: Json, link: Option<u64>) {
        self.serial += 1;
        self.departed.retain(|departed| departed.id != id);
        self.order.insert(self.serial, id);
        if let Some(link) = link {
            *self.counts.entry(link).or_default() += 1;
        }
        if let Some(before) = self.present.insert(id, Entry { clock, state, serial: self.serial, link }) {
            self.forget(&before);
        }
    }

    /// An entry is there no more.
    fn forget(&mut self, entry: &Entry) {
        self.order.remove(&entry.serial);
        if let Some((link, count)) = entry.link.and_then(|link| Some((link, self.counts.get_mut(&link)?))) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&link);
            }
        }
    }

    fn remove(&mut self, id: u64, clock: u64) {
        let Some(entry) = self.present.remove(&id) else { return };
        self.forget(&entry);
        self.serial += 1;
        if self.departed.len() == DEPARTED_MAX {
            self.forgotten = self.departed.pop_front().map_or(0, |departed| departed.serial);
        }
        self.departed.push_back(Departed { id, clock: clock.max(entry.clock), serial: self.serial, link: entry.link });
    }

    /// The oldest of what changed between two changes and is worth telling a link, at most so many bytes of states (or one), and up to
    /// which change that is.
    fn piece(&self, link: u64, after: u64, until: u64, bytes_max: usize) -> (Vec<News>, u64) {
        let mut news = self.between(after, until);
        // The peer knows what it said itself.
        news.retain(|(_, from, _)| *from != Some(link));
        let (mut taken, mut last, mut bytes) = (Vec::new(), after, 0);
        for (serial, _, news) in news {
            bytes += news.state.as_ref().map_or(0, |state| state.len()) + NEWS_BYTES;
            if bytes > bytes_max && !taken.is_empty() {
                return (taken, last);
            }
            last = serial;
            taken.push(news);
        }
        (taken, until)
    }

    /// What changed after one change and up to another: its number, whose it was, and what. O(k log n) for k changes.
    fn between(&self, after: u64, until: u64) -> Vec<(u64, Option<u64>, News)> {
        if after >= until {
            return Vec::new();
        }
        let range = (Bound::Excluded(after), Bound::Included(until));
        let changed = self.order.range(range).filter_map(|(_, id)| Some((id, self.present.get(id)?)));
        let present =
            changed.map(|(id, entry)| (entry.serial, entry.link, News { id: *id, clock: entry.clock, state: Some(entry.state.clone()) }));
        let index = |serial: u64| self.departed.partition_point(|departed| departed.serial <= serial);
        let departed = self.departed.range(index(after)..index(until));
        let departed =
            departed.map(|departed| (departed.serial, departed.link, News { id: departed.id, clock: departed.clock, state: None }));
        let mut all: Vec<_> = present.chain(departed).collect();
        all.sort_unstable_by_key(|(serial, _, _)| *serial);
        all
    }
}
