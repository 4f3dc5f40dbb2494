//! Tests of presence: over sessions without IO on a clock of the test, and over peers and servers
//! in memory.

mod support;

use exostate::State as _;
use exostate_sync::{
    CloseReason, Config, Connection, DatagramSender, Datagrams, Documents, Event, FrameError,
    FrameSource as _, Memory, MemorySink, MemorySource, Participant, Peer, Presence, PresenceError,
    Replica, Role, Room, Server, Session, Transport, memory_connections, memory_pair,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{Mock, framed};
use tokio::sync::mpsc;

const TICK: Duration = Duration::from_millis(100);

fn shown(room: &Room) -> BTreeMap<u64, u32> {
    room.presence::<u32>()
        .others()
        .into_iter()
        .map(|Participant { id, state, .. }| (id, state))
        .collect()
}

/// The session at one end of a line, and the room that it belongs to.
struct End {
    session: Session,
    room: Room,
    presences: usize,
    calls: usize,
    datagrams: usize,
}

/// Two sessions and the frames between them.
struct Line {
    ends: [End; 2],
}

impl Line {
    fn new(caller: &Room, called: &Room, now: Duration) -> Self {
        Self::with(&Config::default(), caller, called, now)
    }

    fn with(config: &Config, caller: &Room, called: &Room, now: Duration) -> Self {
        let end = |room: &Room, role| {
            let session = Session::new(config.clone(), role, "d", room, now);
            let participants = room.participants().expect("a room has some");
            End {
                session: session.with_participants(participants),
                room: room.clone(),
                presences: 0,
                calls: 0,
                datagrams: 0,
            }
        };
        Self { ends: [end(caller, Role::Initiator), end(called, Role::Responder)] }
    }

    /// The same over a connection with datagrams.
    fn with_datagrams(caller: &Room, called: &Room, now: Duration) -> Self {
        let Self { ends: [caller, called] } = Self::new(caller, called, now);
        let with = |end: End, channel| End { session: end.session.with_datagrams(channel), ..end };
        Self { ends: [with(caller, 5), with(called, 7)] }
    }

    /// Delivers all frames and datagrams, except those for which `lost` returns true.
    fn run(&mut self, now: Duration, mut lost: impl FnMut() -> bool) {
        loop {
            let mut moved = false;
            for from in [0, 1] {
                let end = &mut self.ends[from];
                end.session.handle_timeout(now, &end.room);
                end.session.settle(&end.room);
                while end.session.poll_event().is_some() {}
                while let Some(frame) = self.ends[from].session.poll_transmit(now) {
                    self.ends[from].presences += usize::from(frame[0] == 13);
                    self.ends[from].calls += usize::from(frame[0] == 14);
                    let to = &mut self.ends[1 - from];
                    if !lost() {
                        to.session.handle_bytes(now, &frame, &to.room);
                    }
                    moved = true;
                }
                // Each datagram begins with the number that the other end chose. The datagrams
                // arrive in reverse order, and each arrives twice.
                let datagrams: Vec<_> =
                    std::iter::from_fn(|| self.ends[from].session.poll_datagram()).collect();
                self.ends[from].datagrams += datagrams.len();
                for datagram in datagrams.iter().rev().flat_map(|datagram| [datagram; 2]) {
                    assert!(datagram.len() <= 1_100 && datagram[0] == [7, 5][from]);
                    let to = &mut self.ends[1 - from];
                    if !lost() {
                        to.session.handle_datagram(now, &datagram[1..]);
                    }
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.ends.iter().any(|end| end.session.is_closed())
    }
}

fn room(id: u64) -> Room {
    Room::new(Mock::new(id))
}

#[test]
fn the_newest_state_is_shown_to_the_peer() {
    let left = room(1);
    let right = room(2);
    let mut line = Line::new(&left, &right, Duration::ZERO);
    let mine: Presence<u32> = left.presence();
    for value in 0..1_000 {
        mine.set(&value).expect("short");
        line.run(TICK * value / 100, || false);
    }
    line.run(TICK * 12, || false);
    assert_eq!(shown(&right), [(1, 999)].into());
    assert!(shown(&left).is_empty());
    assert!(
        line.ends[0].presences <= 1_000 / 30 + 2,
        "{} frames in a second",
        line.ends[0].presences
    );
    mine.leave();
    line.run(TICK * 20, || false);
    assert!(shown(&right).is_empty());
}

#[test]
fn the_last_state_arrives_if_all_datagrams_are_lost() {
    let left = room(1);
    let right = room(2);
    let mut line = Line::with_datagrams(&left, &right, Duration::ZERO);
    line.run(Duration::ZERO, || false);
    let mine: Presence<u32> = left.presence();
    for value in 0..100 {
        mine.set(&value).expect("short");
        // The loop delivers in time: a session sends less often to a peer that acknowledges late.
        (0..10).for_each(|part| line.run(TICK * value + TICK / 10 * part, || false));
        assert_eq!(shown(&right), [(1, value)].into());
    }
    assert_eq!(
        (line.ends[0].presences, line.ends[0].datagrams),
        (0, 100),
        "nothing lasted, so nothing went the reliable way"
    );
    mine.set(&100).expect("short");
    let end = &mut line.ends[0];
    let now = TICK * 100;
    end.session.handle_timeout(now, &end.room);
    end.session.settle(&end.room);
    assert!(end.session.poll_datagram().is_some(), "and gone");
    for tick in 0..=10 {
        line.run(now + TICK * tick, || false);
    }
    assert_eq!(shown(&right), [(1, 100)].into());
    assert_eq!(line.ends[0].presences, 1);
    // Everything is sent. The next time-out is that of the next keep-alive frame.
    let due = line.ends[0].session.poll_timeout().expect("it goes on");
    assert!(due > now + TICK * 20, "{due:?}");
}

#[test]
fn states_too_large_for_a_datagram_are_sent_in_frames() {
    let left = room(1);
    let right = room(2);
    let mut line = Line::with_datagrams(&left, &right, Duration::ZERO);
    line.run(Duration::ZERO, || false);
    left.presence().set(&"x".repeat(2_000)).expect("not too long");
    line.run(TICK, || false);
    assert_eq!((line.ends[0].presences, line.ends[0].datagrams), (1, 0));
    assert_eq!(right.presence::<String>().others().len(), 1);
    // Presence of many participants needs several datagrams.
    let hall = room(3);
    let guests: Vec<_> = (10..110).map(room).collect();
    let mut doors: Vec<_> = guests.iter().map(|guest| Line::new(guest, &hall, TICK)).collect();
    for (guest, door) in guests.iter().zip(&mut doors) {
        guest.presence().set(&7_u32).expect("short");
        door.run(TICK, || false);
    }
    let mut line = Line::with_datagrams(&right, &hall, TICK);
    line.run(TICK, || false);
    line.run(TICK * 2, || false);
    assert_eq!(right.presence::<u32>().others().len(), 100);
}

#[test]
fn a_malformed_datagram_closes_with_the_byte() {
    let left = room(1);
    let right = room(2);
    let mut line = Line::with_datagrams(&left, &right, Duration::ZERO);
    // No datagram can be valid before the greeting, so this one is ignored.
    line.ends[1].session.handle_datagram(Duration::ZERO, b"\x05");
    line.run(TICK, || false);
    assert!(!line.is_closed());
    let session = &mut line.ends[1].session;
    while session.poll_event().is_some() {}
    session.handle_datagram(TICK, b"\x05\x01\x04nu");
    let closed = session.poll_event();
    assert!(
        matches!(
            &closed,
            Some(Event::Closed {
                reason: CloseReason::Protocol(FrameError::Malformed { at: 3, .. })
            })
        ),
        "{closed:?}"
    );
}

#[test]
fn participants_without_heartbeat_are_removed() {
    let left = room(1);
    let right = room(2);
    let mut line = Line::new(&left, &right, Duration::ZERO);
    left.presence::<u32>().set(&7).expect("short");
    for second in 0..600 {
        line.run(Duration::from_secs(second), || false);
        assert_eq!(shown(&right).len(), 1, "after {second} s");
    }
    // From here on only keep-alive frames arrive, and no presence.
    let silent = Duration::from_secs(600);
    for second in 0..40 {
        let now = silent + Duration::from_secs(second);
        let end = &mut line.ends[1];
        end.session.handle_bytes(now, &framed(8, b""), &end.room);
        end.session.handle_timeout(now, &end.room);
        // The last presence heartbeat was sent within the 15 s before.
        match second {
            0..14 => assert_eq!(shown(&right).len(), 1, "after {second} s"),
            14..30 => {}
            _ => assert!(shown(&right).is_empty(), "after {second} s"),
        }
    }
}

#[test]
fn participants_are_removed_with_their_connection() {
    let left = room(1);
    let right = room(2);
    let mut line = Line::new(&left, &right, Duration::ZERO);
    left.presence::<u32>().set(&7).expect("short");
    line.run(TICK, || false);
    assert_eq!(shown(&right).len(), 1);
    drop(line);
    assert!(shown(&right).is_empty());
}

/// A server with an honest client and one that sends presence of other participants.
#[test]
fn a_peer_cannot_change_the_state_of_another_participant() {
    let server = room(9);
    let honest = room(1);
    let mut line = Line::new(&honest, &server, Duration::ZERO);
    honest.presence::<u32>().set(&7).expect("short");
    line.run(TICK, || false);
    let liar = room(2);
    let mut second = Line::new(&liar, &server, TICK);
    second.run(TICK, || false);
    let now = TICK * 2;
    let victim = &mut second.ends[1];
    // In order: participant 1 with a high clock shows 666; participant 1 leaves; the server itself
    // leaves; a new participant 5 appears; the liar shows itself.
    for news in [
        &b"\x01\x7f\x03666"[..],
        b"\x01\x7f\x00",
        b"\x09\x7f\x00",
        b"\x05\x60\x015",
        b"\x00\x01\x012",
    ] {
        victim.session.handle_bytes(now, &framed(13, news), &victim.room);
    }
    assert_eq!(shown(&server), [(1, 7), (2, 2), (5, 5)].into());
    // A participant that connects itself overrides the entry that another peer introduced for it.
    // This holds on the server and on its other clients.
    line.run(TICK * 3, || false);
    assert_eq!(shown(&honest), [(2, 2), (5, 5)].into());
    let five = room(5);
    let mut third = Line::new(&five, &server, now);
    five.presence::<u32>().set(&55).expect("short");
    for tick in 4..9 {
        third.run(TICK * tick, || false);
        line.run(TICK * tick, || false);
    }
    assert_eq!(shown(&server), [(1, 7), (2, 2), (5, 55)].into());
    assert_eq!(shown(&honest), [(2, 2), (5, 55)].into());
    let now = TICK * 10;
    let victim = &mut second.ends[1];
    victim.session.handle_bytes(now, &framed(13, b"\x05\x7f\x00"), &victim.room);
    assert_eq!(shown(&server).len(), 3);
    // Entries that the liar introduced end with its connection.
    drop(second);
    assert_eq!(shown(&server), [(1, 7), (5, 55)].into());
}

/// A server, a client that reads, and several peers that each claim to be participant 1.
#[test]
fn an_id_needs_its_key_also_after_a_reconnect() {
    let server = room(9);
    let reader = room(2);
    let owner = room(1);
    let with_key = |room: &Room, byte, now| {
        let Line { ends: [caller, called] } = Line::new(room, &server, now);
        Line { ends: [End { session: caller.session.with_key([byte; 16]), ..caller }, called] }
    };
    let mut reads = Line::new(&reader, &server, Duration::ZERO);
    let mut first = with_key(&owner, 1, Duration::ZERO);
    owner.presence::<u32>().set(&7).expect("short");
    for tick in 0..3 {
        first.run(TICK * tick, || false);
        reads.run(TICK * tick, || false);
    }
    assert_eq!((shown(&server), shown(&reader)), ([(1, 7)].into(), [(1, 7)].into()));
    // A wrong key and a missing key are both refused, with any clock.
    for (tick, byte) in [(3, 2), (4, 0)] {
        let thief = room(1);
        (0..100).for_each(|_| thief.presence::<u32>().set(&666).expect("short"));
        let mut steals = with_key(&thief, byte, TICK * tick);
        steals.run(TICK * tick, || false);
        reads.run(TICK * tick, || false);
        assert_eq!((shown(&server), shown(&reader)), ([(1, 7)].into(), [(1, 7)].into()));
        thief.presence::<u32>().leave();
        steals.run(TICK * tick + TICK / 2, || false);
        drop(steals);
        assert_eq!(shown(&server), [(1, 7)].into());
    }
    // The owner's connection is dead, but no end has noticed. The owner connects again with its key
    // and the same clock.
    let mut second = with_key(&owner, 1, TICK * 5);
    second.run(TICK * 5, || false);
    owner.presence::<u32>().set(&8).expect("short");
    for tick in 6..8 {
        second.run(TICK * tick, || false);
        reads.run(TICK * tick, || false);
    }
    assert_eq!((shown(&server), shown(&reader)), ([(1, 8)].into(), [(1, 8)].into()));
    // The end of the dead connection removes nothing.
    drop(first);
    reads.run(TICK * 8, || false);
    assert_eq!((shown(&server), shown(&reader)), ([(1, 8)].into(), [(1, 8)].into()));
    // Participant 1 is gone. The next peer that claims the id gets it.
    drop(second);
    let mut third = with_key(&owner, 3, TICK * 9);
    owner.presence::<u32>().set(&9).expect("short");
    third.run(TICK * 9, || false);
    assert_eq!(shown(&server), [(1, 9)].into());
}

#[test]
fn a_forged_clock_does_not_hide_a_participant() {
    let server = room(9);
    let reader = room(2);
    let victim = room(1);
    let liar = room(3);
    let mut reads = Line::new(&reader, &server, Duration::ZERO);
    let mut lies = Line::new(&liar, &server, Duration::ZERO);
    lies.run(Duration::ZERO, || false);
    // The liar names the victim with the highest clock before the victim connects. The victim
    // itself is told this entry repeatedly.
    let news = [b"\x01", &support::varint(u32::MAX.into())[..], b"\x03666"].concat();
    let end = &mut lies.ends[1];
    end.session.handle_bytes(Duration::ZERO, &framed(13, &news), &end.room);
    reads.run(TICK, || false);
    assert_eq!(shown(&reader), [(1, 666)].into());
    let mut line = Line::new(&victim, &server, TICK);
    victim.presence::<u32>().set(&7).expect("short");
    for tick in 1..500 {
        let now = TICK * tick;
        let end = &mut line.ends[0];
        end.session.handle_bytes(now, &framed(13, &news), &end.room);
        line.run(now, || false);
        lies.run(now, || false);
        reads.run(now, || false);
        assert_eq!(shown(&server).get(&1), Some(&7), "who is on the line knows better");
    }
    assert_eq!(shown(&reader), [(1, 7)].into(), "after a while everybody knows");
    victim.presence::<u32>().set(&8).expect("short");
    line.run(TICK * 501, || false);
    reads.run(TICK * 501, || false);
    assert_eq!((shown(&server), shown(&reader)), ([(1, 8)].into(), [(1, 8)].into()));
}

#[test]
fn queries_are_rate_limited_while_connections_come_and_go() {
    let server = room(9);
    let honest = room(1);
    let other = room(2);
    let mut lines =
        [Line::new(&honest, &server, Duration::ZERO), Line::new(&other, &server, Duration::ZERO)];
    honest.presence::<u32>().set(&7).expect("short");
    for tick in 0..100 {
        let short = room(100 + u64::from(tick));
        short.presence::<u32>().set(&0).expect("short");
        Line::new(&short, &server, TICK * tick).run(TICK * tick, || false);
        lines.iter_mut().for_each(|line| line.run(TICK * tick, || false));
    }
    // In ten seconds: one query at once, then one every two seconds.
    assert_eq!(lines.each_ref().map(|line| line.ends[1].calls), [5, 5]);
    // The last query is not lost: it is due, and only its own time-out wakes the session.
    let end = &lines[0].ends[1];
    assert_eq!(end.session.poll_timeout(), Some(TICK * 100));
    lines.iter_mut().for_each(|line| line.run(TICK * 100, || false));
    assert_eq!(lines.each_ref().map(|line| line.ends[1].calls), [6, 6]);
    for tick in 101..140 {
        lines.iter_mut().for_each(|line| line.run(TICK * tick, || false));
    }
    assert_eq!(lines.each_ref().map(|line| line.ends[1].calls), [6, 6], "nobody was lost since");
    assert_eq!(shown(&other), [(1, 7)].into());
}

#[test]
fn every_peer_has_a_key_of_its_own() {
    test(async {
        let mut keys = BTreeSet::new();
        for _ in 0..2 {
            let (here, there) = memory_pair(8);
            let _peer = Peer::over(Mock::new(1), "d", here, Role::Initiator, Config::default());
            let (_sink, mut source) = there.split();
            let hello = source.recv().await.expect("open").expect("a hello");
            keys.insert(hello[hello.len() - 16..].to_vec());
        }
        assert!(keys.len() == 2 && !keys.contains(&vec![0; 16]));
    });
}

/// Introduces 10,000 participants to one end. `to` selects the end. Returns the number that was
/// accepted.
fn participants_accepted(config: &Config, to: usize) -> usize {
    let rooms = [room(1), room(9)];
    let mut line = Line::with(config, &rooms[0], &rooms[1], Duration::ZERO);
    line.run(TICK, || false);
    let end = &mut line.ends[to];
    for id in 0..10_000_u64 {
        let mut news = Vec::new();
        for byte in [(id & 0x7f) as u8 | 0x80, (id >> 7) as u8 | 0x80, 1, 1, 1, b'0'] {
            news.push(byte);
        }
        end.session.handle_bytes(TICK, &framed(13, &news), &end.room);
    }
    assert!(!line.is_closed());
    let accepted = shown(&rooms[to]).len();
    drop(line);
    assert!(shown(&rooms[to]).is_empty());
    accepted
}

#[test]
fn participants_per_connection_are_limited() {
    let default = Config::default();
    assert_eq!(participants_accepted(&default, 1), 64, "who connects, and a few behind it");
    assert_eq!(participants_accepted(&default, 0), 4_096, "a server, which tells of everybody");
    let set = |most| Config::default().participants_max(most).expect("valid");
    assert_eq!(
        (participants_accepted(&set(100), 1), participants_accepted(&set(100), 0)),
        (100, 100)
    );
    assert_eq!(participants_accepted(&set(20_000), 1), 4_096, "a document has no more in all");
    assert!(Config::default().participants_max(0).is_err());
}

#[test]
fn later_participants_are_shown_beside_a_flood() {
    let server = room(9);
    let reader = room(1);
    let flood = room(2);
    let relay = Config::default().participants_max(4_096).expect("valid");
    let mut lines = [
        Line::new(&reader, &server, Duration::ZERO),
        Line::with(&relay, &flood, &server, Duration::ZERO),
    ];
    lines.iter_mut().for_each(|line| line.run(TICK, || false));
    let end = &mut lines[1].ends[1];
    let news: Vec<u8> = (0..4_096_u64)
        .flat_map(|id| [&support::varint(1_000 + id)[..], b"\x01\x010"].concat())
        .collect();
    end.session.handle_bytes(TICK, &framed(13, &news), &end.room);
    for tick in 2..40 {
        lines.iter_mut().for_each(|line| line.run(TICK * tick, || false));
    }
    assert_eq!((shown(&server).len(), shown(&reader).len()), (4_096, 4_096));
    let late = room(3);
    let mut line = Line::new(&late, &server, TICK * 40);
    late.presence::<u32>().set(&7).expect("short");
    reader.presence::<u32>().set(&8).expect("short");
    for tick in 40..50 {
        line.run(TICK * tick, || false);
        lines.iter_mut().for_each(|line| line.run(TICK * tick, || false));
    }
    assert_eq!((shown(&server).get(&3), shown(&reader).get(&3)), (Some(&7), Some(&7)));
    assert_eq!((shown(&server).get(&1), shown(&late).get(&1)), (Some(&8), Some(&8)));
}

#[test]
fn a_state_that_is_too_long_is_refused() {
    let here = room(1);
    let long = "x".repeat(5_000);
    assert!(matches!(
        here.presence().set(&long),
        Err(PresenceError::TooLarge { bytes: 5_002, bytes_max: 4_096 })
    ));
    assert!(matches!(
        here.presence().set(&BTreeMap::from([(vec![1], 1)])),
        Err(PresenceError::Json(_))
    ));
}

#[derive(Clone, Debug)]
enum Step {
    Set(usize, u32),
    Leave(usize),
    Cut(usize),
    Pass(u8),
    Lose(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0usize..5, 0u32..9).prop_map(|(node, value)| Step::Set(node, value)),
        1 => (0usize..5).prop_map(Step::Leave),
        1 => (0usize..7).prop_map(Step::Cut),
        4 => (1u8..200).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::Lose),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES")
            .ok()
            .and_then(|cases| cases.parse().ok())
            .unwrap_or(64),
        ..ProptestConfig::default()
    })]
    /// Five replicas in a graph of connections that break and lose frames. Two heartbeats after the
    /// last fault every replica sees exactly the participants that are there, with their last
    /// states.
    #[test]
    fn all_replicas_show_the_same_participants_in_the_end(
        steps in steps(),
        wired in prop::collection::btree_set((0usize..5, 0usize..5), 0..4),
        with_datagrams in any::<bool>(),
    ) {
        let line = if with_datagrams { Line::with_datagrams } else { Line::new };
        let rooms: Vec<Room> = (1..=5).map(room).collect();
        let mut wires: BTreeSet<(usize, usize)> = (0..4).map(|node| (node, node + 1)).collect();
        wires.extend(wired.into_iter().filter(|(a, b)| a < b));
        let wires: Vec<_> = wires.into_iter().collect();
        let mut now = Duration::ZERO;
        let mut lines: Vec<_> =
            wires.iter().map(|(a, b)| line(&rooms[*a], &rooms[*b], now)).collect();
        let mut truth: BTreeMap<u64, u32> = BTreeMap::new();
        let mut losing = false;
        let mut chance = fastrand::Rng::with_seed(7);
        for step in steps {
            match step {
                Step::Set(node, value) => {
                    rooms[node].presence().set(&value).expect("short");
                    truth.insert(node as u64 + 1, value);
                }
                Step::Leave(node) => {
                    rooms[node].presence::<u32>().leave();
                    truth.remove(&(node as u64 + 1));
                }
                Step::Cut(cut) => {
                    let cut = cut % wires.len();
                    let (a, b) = wires[cut];
                    lines[cut] = line(&rooms[a], &rooms[b], now);
                }
                Step::Pass(ticks) => {
                    for _ in 0..ticks {
                        now += TICK;
                        for (between, (a, b)) in lines.iter_mut().zip(&wires) {
                            between.run(now, || losing && chance.bool());
                            if between.is_closed() {
                                *between = line(&rooms[*a], &rooms[*b], now);
                            }
                        }
                    }
                }
                Step::Lose(lose) => losing = lose,
            }
        }
        for _ in 0..620 {
            now += TICK;
            for (between, (a, b)) in lines.iter_mut().zip(&wires) {
                between.run(now, || false);
                // The session stalled after many losses. A peer connects again.
                if between.is_closed() {
                    *between = line(&rooms[*a], &rooms[*b], now);
                }
            }
        }
        for (node, room) in rooms.iter().enumerate() {
            let mut others = truth.clone();
            others.remove(&(node as u64 + 1));
            prop_assert_eq!(shown(room), others, "at {}", node + 1);
        }
    }
}

fn test(body: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    runtime.expect("a runtime").block_on(async {
        tokio::time::timeout(Duration::from_secs(90), body).await.expect("the test hangs");
    });
}

#[test]
fn changes_are_reported_one_by_one_through_a_server() {
    test(async {
        let server = Server::builder(Documents::new().with("d", Mock::new(9)).expect("valid"))
            .bind()
            .await
            .expect("a server");
        let mut peers = Vec::new();
        for id in [1, 2] {
            let (here, there) = memory_connections(8);
            server.serve(there);
            peers.push(Peer::over(
                Mock::new(id),
                "d",
                here.open().await.expect("open"),
                Role::Initiator,
                Config::default(),
            ));
        }
        let ada = peers[0].presence::<String>();
        let bob = peers[1].presence::<String>();
        let mut changes = bob.watch();
        ada.set(&"Ada".to_owned()).expect("short");
        let came = changes.next().await.expect("told");
        assert_eq!((came.id, came.state.as_deref(), came.joined), (1, Some("Ada"), true));
        ada.set(&"Ada L.".to_owned()).expect("short");
        let changed = changes.next().await.expect("told");
        assert_eq!(
            (changed.id, changed.state.as_deref(), changed.joined),
            (1, Some("Ada L."), false)
        );
        server
            .presence::<String>("d")
            .expect("served")
            .set(&"the server".to_owned())
            .expect("short");
        let came = changes.next().await.expect("told");
        assert_eq!((came.id, came.joined), (9, true));
        // A state that is no string is not delivered to a `Presence<String>`.
        peers[0].presence::<u32>().set(&7).expect("short");
        let gone = changes.next().await.expect("told");
        assert_eq!((gone.id, gone.state), (1, None));
        ada.set(&"Ada".to_owned()).expect("short");
        changes.next().await.expect("told");
        peers.swap_remove(0).disconnect().await;
        let left = changes.next().await.expect("told");
        assert_eq!((left.id, left.state), (1, None));
        assert_eq!(bob.others().len(), 1);
    });
}

/// A connection in memory with datagrams. Every second datagram is lost.
struct WithDatagrams {
    memory: Memory,
    datagrams: Option<Datagrams>,
}

struct Lossy {
    to: mpsc::Sender<Vec<u8>>,
    sent: Arc<AtomicUsize>,
}

impl DatagramSender for Lossy {
    fn send(&self, datagram: Vec<u8>) {
        if self.sent.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            // The number takes one byte here. A full or closed channel counts as a loss.
            let _ = self.to.try_send(datagram[1..].to_vec());
        }
    }
}

impl Transport for WithDatagrams {
    type Sink = MemorySink;
    type Source = MemorySource;

    fn datagrams(&mut self) -> Option<Datagrams> {
        self.datagrams.take()
    }

    fn split(self) -> (MemorySink, MemorySource) {
        self.memory.split()
    }
}

#[test]
fn peers_send_datagrams_where_the_transport_has_them() {
    test(async {
        let sent = Arc::new(AtomicUsize::new(0));
        let (here, there) = memory_pair(8);
        let (to_there, from_here) = mpsc::channel(8);
        let (to_here, from_there) = mpsc::channel(8);
        let over = |memory, to, received| {
            let datagrams =
                Datagrams::new(1, Arc::new(Lossy { to, sent: Arc::clone(&sent) }), received);
            WithDatagrams { memory, datagrams: Some(datagrams) }
        };
        let peer = Peer::over(
            Mock::new(1),
            "d",
            over(here, to_there, from_there),
            Role::Initiator,
            Config::default(),
        );
        let other = Peer::over(
            Mock::new(2),
            "d",
            over(there, to_here, from_here),
            Role::Responder,
            Config::default(),
        );
        peer.live().await.expect("in sync");
        let mine = peer.presence();
        let mut changes = other.presence::<u32>().watch();
        for value in 0..50 {
            mine.set(&value).expect("short");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        while changes.next().await.expect("she is there").state != Some(49) {}
        assert!(sent.load(Ordering::Relaxed) > 0);
    });
}

#[derive(exostate::State, Clone, Debug, Default, PartialEq)]
struct Page {
    notes: exostate::Text,
}

#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
struct Cursor {
    name: String,
    at: exostate::Anchor,
}

/// The cursor is shown once. Its anchor follows the text that is typed before it.
async fn a_cursor_follows_edits_of_others<B: exostate::Backend>() {
    let ours = exostate::Store::<Page, B>::new();
    let theirs = exostate::Store::<Page, B>::new();
    let (here, there) = memory_pair(8);
    let peer = Peer::over(&ours, "d", here, Role::Initiator, Config::default());
    let other = Peer::over(&theirs, "d", there, Role::Responder, Config::default());
    ours.change(|page| page.notes().push_str("hello world")).expect("it can be written");
    peer.flush().await.expect("acknowledged");
    let at = ours.anchor(Page::path().notes(), 6, false).expect("there");
    let mut changes = other.presence::<Cursor>().watch();
    peer.presence().set(&Cursor { name: "Ada".to_owned(), at }).expect("short");
    let cursor = changes.next().await.and_then(|change| change.state).expect("shown");
    assert_eq!(theirs.resolve(Page::path().notes(), &cursor.at), Some(6));
    theirs.change(|page| page.notes().insert(0, "oh, ")).expect("it can be written");
    assert_eq!(theirs.resolve(Page::path().notes(), &cursor.at), Some(10));
}

#[test]
fn cursors_follow_edits_of_others() {
    test(async {
        a_cursor_follows_edits_of_others::<exostate::Yrs>().await;
        a_cursor_follows_edits_of_others::<exostate::Automerge>().await;
    });
}

#[test]
fn a_watch_ends_with_its_peer() {
    test(async {
        let (here, _there) = memory_pair(8);
        let peer = Peer::over(Mock::new(1), "d", here, Role::Initiator, Config::default());
        let mut changes = peer.presence::<u32>().watch();
        peer.disconnect().await;
        assert_eq!(changes.next().await, None);
    });
}
