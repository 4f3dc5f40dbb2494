//! The participants at a document and their states, shared by all sessions about the document on
//! this replica.
//!
//! The rules are those of the Yjs awareness protocol (`PROTOCOL.md` of y-protocols): every
//! participant has a clock, a state with a higher clock replaces a state with a lower one, and an
//! empty state means that the participant has left. One rule is added: a participant belongs to the
//! link that introduced it. News about it from another link is ignored until the first link is
//! gone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

use crate::frame::Key;
use crate::limits::{CLOCK_AHEAD_MAX, CLOCK_MAX, DEPARTED_MAX, PARTICIPANTS_MAX};

/// All participants at one document.
#[derive(Debug)]
pub struct Participants {
    inner: Mutex<Inner>,
    /// The number of the last change.
    changed: watch::Sender<u64>,
}

/// A shared state as JSON text.
pub(crate) type Json = Arc<str>;

/// The news about one participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) id: u64,
    pub(crate) clock: u64,
    /// `None` if the participant has left.
    pub(crate) state: Option<Json>,
}

/// The sender of news.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Speaker {
    /// A replica that claims to be this participant, and its key.
    Replica { id: u64, key: Key },
    /// A Yjs client. It does not say which participant it is.
    Client,
}

/// The evidence that a participant belongs to a link.
#[derive(Clone, Copy, Debug)]
enum Ownership {
    /// The link's peer told about the participant.
    Relayed,
    /// The participant is the link's peer, which has this key.
    Itself(Key),
    /// The link's peer is a Yjs client. No other peer can prove that it is this client.
    Client,
}

impl Speaker {
    fn holds(&self, participant: u64) -> Ownership {
        match self {
            Self::Replica { id, key } if *id == participant => Ownership::Itself(*key),
            Self::Replica { .. } => Ownership::Relayed,
            Self::Client => Ownership::Client,
        }
    }

    /// Whether news from this sender counts, although the participant belongs to another link. Ids
    /// are no secret, so a peer that claims the id of a present participant has to prove it by the
    /// key. But a peer that speaks for itself always wins over a peer that only told about it.
    fn takes_over(&self, news: &News, entry: &Entry) -> bool {
        match (self.holds(news.id), entry.held) {
            (Ownership::Itself(_), Ownership::Relayed) => true,
            // The earlier connection of the same peer has not ended yet, and may still deliver late
            // news.
            (Ownership::Itself(theirs), Ownership::Itself(known)) => {
                theirs.proves(&known) && news.clock >= entry.clock
            }
            _ => false,
        }
    }
}

/// One session's registration with the participants.
#[derive(Debug)]
pub(crate) struct Link {
    number: u64,
    /// How many participants the link's peer may introduce.
    participants_max: usize,
    /// Three numbers of changes. The link's peer was told every change up to `told`, and received
    /// every change up to `sure` for certain. The changes between `sure` and `lasting` were sent
    /// lossily before the last check for lasting states.
    told: u64,
    sure: u64,
    lasting: u64,
    /// How many of the `calls` this link has followed.
    called: u64,
}

impl Link {
    /// Whether no sent news can have been lost.
    pub(crate) fn is_sure(&self) -> bool {
        self.sure == self.told
    }
}

#[derive(Debug, Default)]
struct Inner {
    present: BTreeMap<u64, Entry>,
    /// The ids of the present participants, by the number of their last change.
    order: BTreeMap<u64, u64>,
    /// The participants of each link that has any, by the change with which they came.
    members: BTreeMap<u64, BTreeMap<u64, u64>>,
    /// The number of participants of each link, and the link. The link with the most is last.
    sizes: BTreeSet<(usize, u64)>,
    /// The participants that left last, by the change with which they left. No id occurs twice, and
    /// no id is also in `present`.
    departed: BTreeMap<u64, Departed>,
    /// The change with which each of them left.
    left: BTreeMap<u64, u64>,
    /// The number of the last departure that was forgotten.
    forgotten: u64,
    /// The number of the last change.
    serial: u64,
    /// The number of the last link.
    links: u64,
    /// How many times all links were asked to request the participants of their peers.
    calls: u64,
    /// This replica's own id, once it has shown a state.
    own: Option<u64>,
    /// This replica's clock never goes back. `leapt`: news from others has raised it by more than
    /// one since this replica last changed or renewed its state.
    own_clock: u64,
    leapt: bool,
}

#[derive(Debug)]
struct Entry {
    clock: u64,
    state: Json,
    serial: u64,
    /// The link to which the participant belongs; `None` for this replica.
    link: Option<u64>,
    /// The change with which the participant came to this link.
    came: u64,
    held: Ownership,
}

#[derive(Debug)]
struct Departed {
    id: u64,
    clock: u64,
    link: Option<u64>,
    /// Whether it left so long ago that no older news about it can still arrive.
    long_ago: bool,
}

/// One change about which a link's peer may have to be told.
#[derive(Clone, Copy, Debug)]
struct Change<'a> {
    serial: u64,
    /// The link to which the participant belongs.
    link: Option<u64>,
    id: u64,
    clock: u64,
    state: Option<&'a Json>,
}

impl Change<'_> {
    fn news(&self) -> News {
        News { id: self.id, clock: self.clock, state: self.state.cloned() }
    }

    fn bytes(&self) -> usize {
        self.state.map_or(0, |state| state.len()) + NEWS_BYTES
    }
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
            let clock = inner.tick(0);
            inner.remove(before, clock);
        }
        // If a peer told about this id before this replica showed a state, the clock continues from
        // there.
        let known = inner.known(id);
        inner.leapt = false;
        let clock = inner.tick(known);
        inner.put(id, clock, state, None);
        self.tell(inner);
    }

    /// Stops showing this replica's state.
    pub(crate) fn leave(&self) {
        let mut inner = self.lock();
        if let Some(own) = inner.own {
            let clock = inner.tick(0);
            inner.remove(own, clock);
            self.tell(inner);
        }
    }

    /// Sends this replica's state again under a new clock, as a sign of life.
    pub(crate) fn renew(&self) {
        let mut inner = self.lock();
        let state = inner.own.and_then(|own| Some((own, inner.present.get(&own)?.state.clone())));
        if let Some((own, state)) = state {
            inner.leapt = false;
            let clock = inner.tick(0);
            inner.put(own, clock, state, None);
            self.tell(inner);
        }
    }

    /// Registers a session. Its peer may introduce `participants_max` participants.
    pub(crate) fn link(&self, participants_max: usize) -> Link {
        let mut inner = self.lock();
        inner.links += 1;
        Link {
            number: inner.links,
            participants_max,
            told: 0,
            sure: 0,
            lasting: 0,
            called: inner.calls,
        }
    }

    /// Removes a session and its participants. Another link may still know some of them, so all
    /// links are asked to request the participants of their peers again.
    pub(crate) fn unlink(&self, link: &Link) {
        let mut inner = self.lock();
        let Some(gone) = inner.members.get(&link.number) else { return };
        let gone: Vec<_> = gone.values().copied().collect();
        gone.into_iter().for_each(|id| inner.remove(id, 0));
        inner.calls += 1;
        self.tell(inner);
    }

    /// Takes news from a link's peer. Returns whether it was accepted, and is therefore a sign of
    /// life.
    pub(crate) fn receive(&self, link: &Link, speaker: Speaker, news: News) -> bool {
        let mut inner = self.lock();
        if !news.fits() {
            return false;
        }
        if inner.own == Some(news.id) {
            // Another replica believes that this replica has left, or has not received the latest
            // state, or a peer sent news under this replica's id.
            let state = inner.present.get(&news.id).map(|entry| entry.state.clone());
            if let Some(state) = state.filter(|_| inner.believes(news.clock)) {
                let clock = inner.tick(news.clock);
                inner.put(news.id, clock, state, None);
                self.tell(inner);
            }
            return false;
        }
        if !inner.accepts(link, speaker, &news) || !inner.make_room(news.id, link.number) {
            return false;
        }
        match news.state {
            Some(state) => {
                inner.put(news.id, news.clock, state, Some((link.number, speaker.holds(news.id))))
            }
            None => inner.remove(news.id, news.clock),
        }
        self.tell(inner);
        true
    }

    /// Removes a participant of a link about which the link's peer has said nothing for too long.
    /// From then on the participant may come back with a lower clock, also if it had left before.
    /// So a forged high clock locks out a participant only for a limited time.
    pub(crate) fn expire(&self, link: &Link, id: u64) {
        let mut inner = self.lock();
        let expired = inner
            .present
            .get(&id)
            .filter(|entry| entry.link == Some(link.number))
            .map(|entry| entry.clock);
        if let Some(clock) = expired {
            inner.remove(id, clock);
        }
        let left = inner.left.get(&id).copied();
        if let Some(departed) = left
            .and_then(|left| inner.departed.get_mut(&left))
            .filter(|departed| departed.link == Some(link.number))
        {
            departed.long_ago = true;
        }
        if expired.is_some() {
            self.tell(inner);
        }
    }

    /// The changes that the link's peer has not been told yet, the oldest first, with at most
    /// `bytes_max` bytes of states (or one state). `lossy` says that the caller sends them in a way
    /// that may lose them.
    pub(crate) fn take_news(&self, link: &mut Link, bytes_max: usize, lossy: bool) -> Vec<News> {
        let inner = self.lock();
        let (news, told) =
            piece(inner.changes(link.told, inner.serial), link.number, inner.serial, bytes_max);
        link.told = told;
        if !lossy {
            (link.sure, link.lasting) = (told, told);
        }
        news
    }

    /// The states that were sent lossily before the previous call and have not changed since. A
    /// participant that changes all the time is never among them.
    pub(crate) fn take_lasting(&self, link: &mut Link, bytes_max: usize) -> Vec<News> {
        let inner = self.lock();
        let (news, sure) =
            piece(inner.changes(link.sure, link.lasting), link.number, link.lasting, bytes_max);
        if sure == link.lasting {
            link.lasting = link.told;
        }
        link.sure = sure;
        news
    }

    /// Whether there is news for the link's peer.
    pub(crate) fn has_news(&self, link: &Link) -> bool {
        self.lock().serial > link.told
    }

    /// The peer asks for all participants, so all are sent again.
    pub(crate) fn tell_all(&self, link: &mut Link) {
        (link.told, link.sure, link.lasting) = (0, 0, 0);
    }

    /// Whether this link should request its peer's participants, because another link was lost
    /// since its last request.
    pub(crate) fn is_called(&self, link: &Link) -> bool {
        self.lock().calls != link.called
    }

    /// Records that the link makes this request, for all links that were lost so far.
    pub(crate) fn take_call(&self, link: &mut Link) {
        link.called = self.lock().calls;
    }

    /// All changes after `serial`, the number of the last change, and whether the list is complete:
    /// only a limited number of departures is remembered.
    pub(crate) fn since(&self, serial: u64) -> (Vec<News>, u64, bool) {
        let inner = self.lock();
        let news = inner.changes(serial, inner.serial).map(|change| change.news()).collect();
        (news, inner.serial, serial >= inner.forgotten)
    }

    /// All present participants, by id.
    pub(crate) fn present(&self) -> BTreeMap<u64, Json> {
        self.lock().present.iter().map(|(id, entry)| (*id, entry.state.clone())).collect()
    }

    /// This replica's id, once it has shown a state.
    pub(crate) fn own(&self) -> Option<u64> {
        self.lock().own
    }

    /// A receiver that is notified of every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn tell(&self, inner: MutexGuard<'_, Inner>) {
        let serial = inner.serial;
        drop(inner);
        self.changed.send_modify(|changed| *changed = serial.max(*changed));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere cannot leave the participants half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The largest size of news without the state, in bytes.
const NEWS_BYTES: usize = 10 + 10 + 3;

impl Inner {
    /// Whether a clock that a peer reported for this replica is one that this replica may have
    /// used. A clock that is far ahead, or ahead again and again, is forged and would use up all
    /// clocks.
    fn believes(&self, heard: u64) -> bool {
        heard <= self.own_clock || heard <= self.own_clock + CLOCK_AHEAD_MAX && !self.leapt
    }

    /// The next clock of this replica: higher than the reported one, if that is believed.
    fn tick(&mut self, heard: u64) -> u64 {
        let ahead = heard > self.own_clock && self.believes(heard);
        self.leapt |= ahead;
        self.own_clock = (if ahead { heard } else { self.own_clock } + 1).min(CLOCK_MAX);
        self.own_clock
    }

    /// The highest known clock of a participant.
    fn known(&self, id: u64) -> u64 {
        let present = self.present.get(&id).map(|entry| entry.clock);
        present.max(self.departed(id).map(|departed| departed.clock)).unwrap_or(0)
    }

    fn departed(&self, id: u64) -> Option<&Departed> {
        self.departed.get(self.left.get(&id)?)
    }

    fn accepts(&self, link: &Link, speaker: Speaker, news: &News) -> bool {
        let Link { number: link, participants_max, .. } = *link;
        if let Some(entry) = self.present.get(&news.id) {
            if entry.link != Some(link) {
                return speaker.takes_over(news, entry);
            }
            return news.clock > entry.clock || news.state.is_none() && news.clock == entry.clock;
        }
        if news.state.is_none() {
            return false;
        }
        // Late news from the same link does not bring a participant back.
        let returns = self.departed(news.id).is_none_or(|departed| {
            news.clock > departed.clock || departed.link != Some(link) || departed.long_ago
        });
        self.size(link) < participants_max && returns
    }

    /// The number of participants of a link.
    fn size(&self, link: u64) -> usize {
        self.members.get(&link).map_or(0, BTreeMap::len)
    }

    /// Makes room for a participant of a link, and returns whether there is room.
    ///
    /// If the document has the largest number of participants, this replica's own aside, the newest
    /// participant of the link with the most participants is removed. This happens only if that
    /// link still has at least as many participants as the other one afterwards. So no link can
    /// fill the document and keep later participants out, and two links never displace each other's
    /// participants by turns.
    fn make_room(&mut self, id: u64, link: u64) -> bool {
        let own = self.own.is_some_and(|own| self.present.contains_key(&own));
        if self.present.len() - usize::from(own) < PARTICIPANTS_MAX
            || self.present.contains_key(&id)
        {
            return true;
        }
        let Some(&(most, largest)) = self.sizes.last() else { return false };
        if self.size(link) + 1 >= most {
            return false;
        }
        let newest = self
            .members
            .get(&largest)
            .and_then(|members| members.last_key_value())
            .map(|(_, id)| *id);
        newest.into_iter().for_each(|id| self.remove(id, 0));
        newest.is_some()
    }

    fn put(&mut self, id: u64, clock: u64, state: Json, from: Option<(u64, Ownership)>) {
        self.serial += 1;
        if let Some(left) = self.left.remove(&id) {
            self.departed.remove(&left);
        }
        self.order.insert(self.serial, id);
        // No link holds this replica's own participant.
        let (link, held) =
            from.map_or((None, Ownership::Relayed), |(link, held)| (Some(link), held));
        let before = self.present.remove(&id);
        before.iter().for_each(|before| self.forget(before));
        let came =
            before.filter(|before| before.link == link).map_or(self.serial, |before| before.came);
        if let Some(link) = link {
            self.count(link, |members| {
                members.insert(came, id);
            });
        }
        self.present.insert(id, Entry { clock, state, serial: self.serial, link, came, held });
    }

    /// Removes an entry from the indexes.
    fn forget(&mut self, entry: &Entry) {
        self.order.remove(&entry.serial);
        if let Some(link) = entry.link {
            self.count(link, |members| {
                members.remove(&entry.came);
            });
        }
    }

    /// Changes the participants of a link, and its count.
    fn count(&mut self, link: u64, change: impl FnOnce(&mut BTreeMap<u64, u64>)) {
        let members = self.members.entry(link).or_default();
        self.sizes.remove(&(members.len(), link));
        change(members);
        if members.is_empty() {
            self.members.remove(&link);
        } else {
            self.sizes.insert((members.len(), link));
        }
    }

    fn remove(&mut self, id: u64, clock: u64) {
        let Some(entry) = self.present.remove(&id) else { return };
        self.forget(&entry);
        self.serial += 1;
        if self.departed.len() == DEPARTED_MAX
            && let Some((serial, oldest)) = self.departed.pop_first()
        {
            self.forgotten = serial;
            self.left.remove(&oldest.id);
        }
        self.left.insert(id, self.serial);
        self.departed.insert(
            self.serial,
            Departed { id, clock: clock.max(entry.clock), link: entry.link, long_ago: false },
        );
    }

    /// The changes after one change and up to another, the oldest first. The iterator is lazy:
    /// O(log n) for each change.
    fn changes(&self, after: u64, until: u64) -> impl Iterator<Item = Change<'_>> {
        let range = (Bound::Excluded(after), Bound::Included(until.max(after)));
        let changed =
            self.order.range(range).filter_map(|(_, id)| Some((id, self.present.get(id)?)));
        let mut present = changed
            .map(|(id, entry)| Change {
                serial: entry.serial,
                link: entry.link,
                id: *id,
                clock: entry.clock,
                state: Some(&entry.state),
            })
            .peekable();
        let mut departed = self
            .departed
            .range(range)
            .map(|(serial, gone)| Change {
                serial: *serial,
                link: gone.link,
                id: gone.id,
                clock: gone.clock,
                state: None,
            })
            .peekable();
        std::iter::from_fn(move || match (present.peek(), departed.peek()) {
            (Some(there), Some(gone)) if gone.serial < there.serial => departed.next(),
            (None, _) => departed.next(),
            (Some(_), _) => present.next(),
        })
    }
}

/// The oldest of the changes up to `until` that a link's peer has to be told, with at most
/// `bytes_max` bytes of states (or one state), and the number of the last change covered. Looks at
/// one change more than it takes, and at those that it skips.
fn piece<'a>(
    changes: impl Iterator<Item = Change<'a>>,
    link: u64,
    until: u64,
    bytes_max: usize,
) -> (Vec<News>, u64) {
    let mut taken = Vec::new();
    let mut bytes = 0;
    // The peer knows its own news.
    for change in changes.filter(|change| change.link != Some(link)) {
        bytes += change.bytes();
        if bytes > bytes_max && !taken.is_empty() {
            // The skipped changes before this one are covered, too.
            return (taken, change.serial - 1);
        }
        taken.push(change.news());
    }
    (taken, until)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: Speaker = Speaker::Replica { id: 9, key: Key([0; 16]) };

    fn shows(id: u64, clock: u64, state: &str) -> News {
        News { id, clock, state: Some(state.into()) }
    }

    #[test]
    fn a_piece_reads_only_the_changes_it_takes() {
        let state: Json = "0".repeat(100).into();
        let looked = std::cell::Cell::new(0);
        let changes = (1..100_000).map(|serial| {
            looked.set(looked.get() + 1);
            Change { serial, link: Some(2), id: serial, clock: 1, state: Some(&state) }
        });
        let (news, told) = piece(changes, 1, 100_000, 10 * (100 + NEWS_BYTES));
        assert_eq!((news.len(), told, looked.get()), (10, 10, 11));
    }

    #[test]
    fn pieces_contain_all_changes_in_order() {
        let participants = Participants::default();
        let from = participants.link(PARTICIPANTS_MAX);
        let mut to = participants.link(PARTICIPANTS_MAX);
        for id in 1..=50 {
            assert!(participants.receive(&from, RELAY, shows(id, 1, "0")));
        }
        // Some participants leave, some change.
        for id in 1..=50 {
            let news =
                if id % 3 == 0 { News { id, clock: 2, state: None } } else { shows(id, 2, "1") };
            assert!(participants.receive(if id % 2 == 0 { &from } else { continue }, RELAY, news));
        }
        let mut told = Vec::new();
        let mut last = 0;
        while participants.has_news(&to) {
            told.extend(participants.take_news(&mut to, 3 * (NEWS_BYTES + 1), false));
            assert!(to.told > last, "it goes on");
            last = to.told;
        }
        let (all, ..) = participants.since(0);
        assert_eq!((told.len(), &told), (50, &all));
        let twos: Vec<u64> = told[25..].iter().map(|news| news.id).collect();
        assert_eq!(twos, (1..=25).map(|half| 2 * half).collect::<Vec<_>>());
        assert_eq!(told.iter().filter(|news| news.state.is_none()).count(), 8);
    }

    #[test]
    fn a_full_room_admits_newcomers_in_place_of_those_from_the_largest_link() {
        let participants = Participants::default();
        let few = participants.link(PARTICIPANTS_MAX);
        let many = participants.link(PARTICIPANTS_MAX);
        let ids = |range: std::ops::Range<u64>, link: &Link| {
            range
                .filter(|id| participants.receive(link, RELAY, shows(*id, 1, "0")))
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(1..3, &few).len(), 2);
        assert_eq!(ids(10_000..20_000, &many).len(), PARTICIPANTS_MAX - 2, "of all together");
        let late = participants.link(PARTICIPANTS_MAX);
        assert_eq!(ids(100..101, &late), [100]);
        let last = 10_000 + PARTICIPANTS_MAX as u64 - 3;
        let there = participants.present();
        assert_eq!(there.len(), PARTICIPANTS_MAX);
        assert!(
            there.contains_key(&1) && !there.contains_key(&last) && there.contains_key(&(last - 1)),
            "the newest of the most"
        );
        assert!(ids(20_000..30_000, &many).is_empty(), "the most takes no place");
        // This replica's own participant has a place of its own, and keeps it.
        participants.set(7, "1".into());
        assert_eq!(participants.present().len(), PARTICIPANTS_MAX + 1);
        // The late link grows until both have the same number. Neither displaces the other's
        // participants after that.
        assert_eq!(ids(200_000..300_000, &late).len(), PARTICIPANTS_MAX / 2 - 2);
        assert!(ids(400_000..400_010, &many).is_empty() && ids(500_000..500_010, &late).is_empty());
        let there = participants.present();
        assert!(
            [1, 2, 7, 100].iter().all(|id| there.contains_key(id))
                && there.len() == PARTICIPANTS_MAX + 1
        );
        // When the links are gone, their participants and the counts are gone, too.
        [few, many, late].iter().for_each(|link| participants.unlink(link));
        let inner = participants.lock();
        assert_eq!(
            (inner.present.len(), inner.members.len(), inner.sizes.len(), inner.order.len()),
            (1, 0, 0, 1)
        );
    }

    #[test]
    fn the_id_of_a_present_participant_needs_its_key() {
        let key = |byte| Key([byte; 16]);
        let itself = |key| Speaker::Replica { id: 1, key };
        // The present participant, a peer that claims its id with a higher clock, and whether it
        // may.
        let cases = [
            (itself(key(1)), itself(key(2)), false),
            (itself(key(1)), itself(key(0)), false),
            (itself(key(1)), itself(key(1)), true),
            (itself(key(1)), RELAY, false),
            (itself(key(1)), Speaker::Client, false),
            (itself(key(0)), itself(key(0)), false),
            (RELAY, itself(key(0)), true),
            (RELAY, RELAY, false),
            (Speaker::Client, itself(key(1)), false),
            (Speaker::Client, Speaker::Client, false),
        ];
        for (there, claims, may) in cases {
            let participants = Participants::default();
            let first = participants.link(9);
            let second = participants.link(9);
            assert!(participants.receive(&first, there, shows(1, 5, "\"first\"")));
            assert_eq!(
                participants.receive(&second, claims, shows(1, 9, "\"second\"")),
                may,
                "{there:?} {claims:?}"
            );
            assert!(
                may || !participants.receive(
                    &second,
                    claims,
                    News { id: 1, clock: 9, state: None }
                )
            );
            let state = participants.present().get(&1).map(|state| state.to_string());
            assert_eq!(state.as_deref(), Some(if may { "\"second\"" } else { "\"first\"" }));
            // Once no link holds the participant, every peer may use the id.
            participants.unlink(if may { &second } else { &first });
            assert!(participants.receive(&second, claims, shows(1, 10, "0")) || may);
        }
    }

    #[test]
    fn remote_news_about_the_own_id_raise_the_clock_by_a_small_step() {
        let participants = Participants::default();
        let link = participants.link(9);
        let own = || participants.lock().own_clock;
        // A peer tells about this replica before it shows a state, and afterwards.
        assert!(participants.receive(&link, RELAY, shows(7, CLOCK_MAX, "0")));
        participants.set(7, "1".into());
        assert_eq!(own(), 1);
        for ahead in [CLOCK_AHEAD_MAX + 1, 1 << 20, CLOCK_MAX - 1] {
            assert!(!participants.receive(
                &link,
                RELAY,
                News { id: 7, clock: own() + ahead, state: None }
            ));
            assert_eq!(own(), 1, "{ahead}");
        }
        assert!(!participants.receive(
            &link,
            RELAY,
            News { id: 7, clock: 1 + CLOCK_AHEAD_MAX, state: None }
        ));
        assert_eq!(own(), CLOCK_AHEAD_MAX + 2, "what it may have said is answered");
        assert!(!participants.receive(&link, RELAY, shows(7, own() + 1, "0")));
        assert_eq!(own(), CLOCK_AHEAD_MAX + 2, "not again and again");
        assert!(!participants.receive(&link, RELAY, shows(7, own(), "0")));
        assert_eq!(own(), CLOCK_AHEAD_MAX + 3, "it has not heard the latest");
        participants.renew();
        assert!(!participants.receive(&link, RELAY, shows(7, own() + 1, "0")));
        assert_eq!(own(), CLOCK_AHEAD_MAX + 6);
        assert_eq!(participants.present().get(&7).map(|state| &**state), Some("1"));
        participants.lock().own_clock = CLOCK_MAX - 1;
        (0..3).for_each(|_| participants.set(7, "2".into()));
        assert!(!participants.receive(&link, RELAY, News { id: 7, clock: CLOCK_MAX, state: None }));
        assert_eq!(own(), CLOCK_MAX);
        assert!(
            !participants.receive(&link, RELAY, shows(8, CLOCK_MAX + 1, "0")),
            "nobody's goes further"
        );
    }
}
