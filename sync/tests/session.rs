//! Tests of the session alone: a test drives two sessions over a pipe and passes the time in.

mod support;

use exostate_sync::{
    CloseReason, Config, Event, Origin, Replica, Role, Session, UpdateSubscription,
};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::Mock;

type Queue = Arc<Mutex<VecDeque<(Vec<u8>, Origin)>>>;

struct Side {
    session: Session,
    replica: Arc<Mock>,
    queue: Queue,
    events: Vec<Event>,
    _guard: UpdateSubscription,
}

impl Side {
    fn new(replica: &Arc<Mock>, role: Role, document: &str, config: Config) -> Self {
        let queue = Queue::default();
        let listener = Arc::clone(&queue);
        let guard = replica.on_update(Box::new(move |update, origin| {
            listener.lock().expect("no panic").push_back((update.to_vec(), origin));
        }));
        let session = Session::new(config, role, document, replica.as_ref(), Duration::ZERO);
        let replica = Arc::clone(replica);
        let events = Vec::new();
        Self { session, replica, queue, events, _guard: guard }
    }

    fn work(&mut self) {
        while let Some((update, origin)) = self.queue.lock().expect("no panic").pop_front() {
            self.session.handle_update(&update, origin);
        }
        self.session.settle(self.replica.as_ref());
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
    }

    fn closed(&self) -> Option<&CloseReason> {
        self.events.iter().find_map(|event| match event {
            Event::Closed { reason } => Some(reason),
            _ => None,
        })
    }
}

struct Pair {
    sides: [Side; 2],
    now: Duration,
    frames: Vec<Vec<u8>>,
}

impl Pair {
    fn new(left: &Arc<Mock>, right: &Arc<Mock>) -> Self {
        Self::with(left, right, Config::default())
    }

    fn with(left: &Arc<Mock>, right: &Arc<Mock>, config: Config) -> Self {
        let left = Side::new(left, Role::Initiator, "roadmap", config.clone());
        let right = Side::new(right, Role::Responder, "roadmap", config);
        Self { sides: [left, right], now: Duration::ZERO, frames: Vec::new() }
    }

    /// Delivers one frame. Returns whether there was one.
    fn step(&mut self, lost: bool) -> bool {
        self.sides.iter_mut().for_each(Side::work);
        for from in [0, 1] {
            if let Some(frame) = self.sides[from].session.poll_transmit(self.now) {
                let to = &mut self.sides[1 - from];
                if !lost {
                    to.session.handle_bytes(self.now, &frame, to.replica.as_ref());
                }
                self.frames.push(frame);
                self.sides.iter_mut().for_each(Side::work);
                return true;
            }
        }
        false
    }

    fn run(&mut self) -> &mut Self {
        while self.step(false) {}
        self
    }

    fn pass(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        for side in &mut self.sides {
            side.session.handle_timeout(self.now, side.replica.as_ref());
        }
        self
    }

    fn is_live(&self) -> bool {
        self.sides.iter().all(|side| side.session.is_live())
    }

    fn assert_in_sync(&self) {
        assert!(self.is_live());
        assert_eq!(self.sides[0].replica.content(), self.sides[1].replica.content());
        assert_eq!(self.sides[0].replica.digest(), self.sides[1].replica.digest());
    }

    fn count(&self, kind: u8) -> usize {
        self.frames.iter().filter(|frame| frame[0] == kind).count()
    }
}

fn replica_with_ops(id: u64, count: u8) -> Arc<Mock> {
    let replica = Mock::new(id);
    (0..count).for_each(|payload| drop(replica.add(&[payload])));
    replica
}

#[test]
fn equal_replicas_go_live_without_exchanging_versions() {
    let mut pair = Pair::new(&Mock::new(1), &Mock::new(2));
    pair.run().assert_in_sync();
    assert_eq!(
        pair.sides[0].events,
        [Event::Connected { replica: 2 }, Event::Acknowledged { updates: 0 }, Event::Live]
    );
    assert_eq!((pair.count(3), pair.count(4)), (0, 0));
}

#[test]
fn replicas_that_edited_apart_converge_with_one_update_each_way() {
    let mut pair = Pair::new(&replica_with_ops(1, 5), &replica_with_ops(2, 7));
    pair.run().assert_in_sync();
    assert_eq!(pair.sides[0].replica.len(), 12);
    assert_eq!((pair.count(3), pair.count(4)), (2, 2));
}

#[test]
fn live_edits_travel_once_and_are_not_sent_back() {
    let mut pair = Pair::new(&replica_with_ops(1, 1), &replica_with_ops(2, 1));
    pair.run();
    let updates = pair.count(4);
    pair.sides[0].replica.add(b"left");
    pair.sides[1].replica.add(b"right");
    pair.run().assert_in_sync();
    assert_eq!(pair.count(4) - updates, 2);
    assert!(pair.sides[0].events.contains(&Event::Behind));
}

#[test]
fn edits_at_every_frame_arrive() {
    for at in 0..20 {
        let mut pair =
            Pair::new(&replica_with_ops(1, 2), &replica_with_ops(2, u8::from(at % 2 == 0)));
        (0..at).for_each(|_| _ = pair.step(false));
        pair.sides[0].replica.add(b"left");
        pair.sides[1].replica.add(b"right");
        pair.run().assert_in_sync();
    }
}

#[test]
fn the_same_calls_give_the_same_frames() {
    let run = || {
        let mut pair = Pair::new(&replica_with_ops(1, 3), &replica_with_ops(2, 4));
        pair.run();
        pair.sides[1].replica.add(b"more");
        pair.run();
        std::mem::take(&mut pair.frames)
    };
    assert_eq!(run(), run());
}

#[test]
fn a_disconnect_at_any_frame_is_resumed_without_loss_or_doubling() {
    let run = |cut: usize| {
        let config = Config::default().frame_bytes_max(1024).expect("valid");
        let left = replica_with_ops(1, 3);
        let right = replica_with_ops(2, 3);
        right.add(&[9; 3000]);
        let mut first = Pair::with(&left, &right, config.clone());
        let steps = (0..cut).take_while(|at| {
            if at % 4 == 1 {
                left.add(b"while connected");
            }
            first.step(false) || *at < 8
        });
        let steps = steps.count();
        drop(first);
        left.add(b"offline");
        let expected = left.len() + right.content().keys().filter(|id| id.0 == 2).count()
            - left.content().keys().filter(|id| id.0 == 2).count();
        let mut second = Pair::with(&left, &right, config);
        second.run().assert_in_sync();
        assert_eq!(left.len(), expected, "cut at {cut}");
        steps == cut
    };
    for cut in 0..60 {
        run(cut);
    }
}

#[test]
fn large_updates_travel_in_fragments_and_are_bounded() {
    let right = Mock::new(2);
    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<u8> = (0..200_000).map(|_| random.u8(..)).collect();
    right.add(&noise);
    let mut pair = Pair::new(&Mock::new(1), &right);
    pair.run().assert_in_sync();
    assert_eq!(pair.count(5), 4);

    let config = Config::default().update_bytes_max(100_000).expect("valid");
    let mut pair = Pair::with(&Mock::new(1), &right, config);
    pair.run();
    let reason = pair.sides[0].closed().expect("refused").to_string();
    assert!(reason.contains("an update of 200025 bytes is over the limit"), "{reason}");
    assert!(matches!(pair.sides[1].closed(), Some(CloseReason::Remote { .. })));
}

#[test]
fn equal_versions_with_different_contents_are_reported_by_both() {
    let left = Mock::new(1);
    let right = Mock::new(2);
    // Two different ops with the same id and number.
    left.apply(&Mock::new(7).add(b"one")).expect("fits");
    right.apply(&Mock::new(7).add(b"other")).expect("fits");
    let mut pair = Pair::new(&left, &right);
    pair.run();
    let ours = left.digest();
    let theirs = right.digest();
    assert!(pair.sides[0].events.contains(&Event::Diverged { ours, theirs }));
    let (ours, theirs) = (theirs, ours);
    assert!(pair.sides[1].events.contains(&Event::Diverged { ours, theirs }));
    pair.pass(Duration::from_secs(5)).run();
    let reported = |event: &&Event| matches!(event, Event::Diverged { .. });
    assert_eq!(pair.sides[0].events.iter().filter(reported).count(), 1);
}

#[test]
fn repeated_divergence_reports_of_a_peer_are_limited() {
    use sha2::{Digest as _, Sha256};
    let mut pair = Pair::new(&Mock::new(1), &Mock::new(2));
    pair.run();
    let version = Sha256::digest(pair.sides[0].replica.version().to_bytes());
    let reported = |pair: &Pair| {
        pair.sides[0].events.iter().filter(|event| matches!(event, Event::Diverged { .. })).count()
    };
    for times in 1..4 {
        for number in 0..100 {
            let claim = [&[0; 8], &[number; 16][..]].concat();
            deliver_frame(&mut pair, 6, &[&version[..16], &claim].concat());
        }
        assert_eq!(reported(&pair), times);
        pair.now += Duration::from_secs(5);
    }
}

#[test]
fn a_lost_update_is_noticed_by_the_gap_and_asked_for() {
    let mut pair = Pair::new(&Mock::new(1), &Mock::new(2));
    pair.run();
    pair.sides[0].replica.add(b"lost");
    pair.step(true);
    pair.sides[0].replica.add(b"behind the gap");
    pair.run().assert_in_sync();
    assert_eq!(pair.sides[1].replica.len(), 2);
}

#[test]
fn dropped_updates_are_computed_anew() {
    let mut pair = Pair::new(&Mock::new(1), &replica_with_ops(2, 2));
    pair.run();
    (0..9).for_each(|n| drop(pair.sides[0].replica.add(&[n])));
    pair.sides[0].queue.lock().expect("no panic").clear();
    let Side { session, replica, .. } = &mut pair.sides[0];
    session.handle_dropped_updates(9, replica.as_ref());
    pair.run().assert_in_sync();
    assert_eq!(pair.sides[1].replica.len(), 11);
}

#[test]
fn silence_is_broken_by_pings_and_ends_in_a_time_out() {
    let mut pair = Pair::new(&Mock::new(1), &Mock::new(2));
    pair.run();
    assert_eq!(pair.sides[0].session.poll_timeout(), Some(Duration::from_secs(5)));
    for _ in 0..20 {
        pair.pass(Duration::from_secs(5)).run();
    }
    assert!(pair.is_live() && pair.count(7) > 0);
    for _ in 0..6 {
        assert_eq!(pair.sides[0].closed(), None);
        pair.pass(Duration::from_secs(5));
        while pair.step(true) {}
    }
    let after = Duration::from_secs(30);
    assert_eq!(pair.sides[0].closed(), Some(&CloseReason::TimedOut { after }));
    assert_eq!(pair.sides[0].session.poll_timeout(), None);
}

#[test]
fn a_wrong_document_closes_with_the_difference() {
    let mut pair = Pair::new(&Mock::new(1), &Mock::new(2));
    let replica = Mock::new(2);
    pair.sides[1] = Side::new(&replica, Role::Responder, "other", Config::default());
    pair.run();
    let reason = pair.sides[1].closed().expect("closed").to_string();
    assert_eq!(reason, "the document differs: `other` here, `roadmap` there");
    assert!(pair.sides[0].closed().is_some());
}

#[test]
fn close_sends_queued_updates_and_informs_the_peer() {
    let mut pair = Pair::new(&Mock::new(1), &Mock::new(2));
    pair.run();
    pair.sides[0].replica.add(b"last words");
    pair.sides[0].work();
    pair.sides[0].session.close();
    pair.run();
    assert_eq!(pair.sides[1].replica.len(), 1);
    assert_eq!(pair.sides[0].closed(), Some(&CloseReason::Local));
    assert!(matches!(pair.sides[1].closed(), Some(CloseReason::Remote { .. })));
}

#[test]
fn unknown_frames_are_skipped_and_malformed_ones_close_with_the_byte() {
    let mut pair = Pair::new(&replica_with_ops(1, 1), &Mock::new(2));
    pair.run();
    let Side { session, replica, .. } = &mut pair.sides[0];
    session.handle_bytes(Duration::ZERO, &support::framed(200, &[1, 2]), replica.as_ref());
    pair.run().assert_in_sync();
    let Side { session, replica, .. } = &mut pair.sides[0];
    session.handle_bytes(Duration::ZERO, &support::framed(2, &[1, 2, 3]), replica.as_ref());
    pair.run();
    let reason = pair.sides[0].closed().expect("closed").to_string();
    assert!(reason.contains("byte 6 of a frame: expected a hash of 16 bytes"), "{reason}");
    assert_eq!(replica_len(&pair), (1, 1));
}

fn replica_len(pair: &Pair) -> (usize, usize) {
    (pair.sides[0].replica.len(), pair.sides[1].replica.len())
}

/// Delivers a hand-made frame to side 0, then lets that side work.
fn deliver_frame(pair: &mut Pair, kind: u8, payload: &[u8]) {
    let now = pair.now;
    let Side { session, replica, .. } = &mut pair.sides[0];
    session.handle_bytes(now, &support::framed(kind, payload), replica.as_ref());
    pair.sides[0].work();
}

/// An `Answer` that announces `updates` updates, beginning with the number `first`.
fn answer(first: u64, updates: u64) -> Vec<u8> {
    [&[0][..], &support::varint(first), &support::varint(updates), &[0], &[7; 32]].concat()
}

fn fragment(number: u64, total: u64, offset: u64, part: &[u8]) -> Vec<u8> {
    [&support::varint(number)[..], &support::varint(total), &support::varint(offset), part].concat()
}

/// Lets up to two minutes pass. Returns the time after which side 0 reports a stalled peer.
fn time_until_stalled(pair: &mut Pair, mut meanwhile: impl FnMut(&mut Pair)) -> Option<Duration> {
    let begun = pair.now;
    while pair.now < begun + Duration::from_secs(120) {
        pair.pass(Duration::from_secs(5));
        meanwhile(pair);
        pair.sides[0].work();
        if let Some(reason) = pair.sides[0].closed() {
            assert!(matches!(reason, CloseReason::Stalled { .. }), "{reason}");
            return Some(pair.now - begun);
        }
    }
    None
}

#[test]
fn queued_updates_are_counted_by_their_bytes() {
    let mut pair = Pair::new(&Mock::new(1), &Mock::new(2));
    pair.run();
    let mut taken = 0;
    while pair.sides[0].session.wants_updates() {
        taken += 1;
        pair.sides[0].replica.add(&[taken; 300_000]);
        pair.sides[0].work();
    }
    assert_eq!(taken, 4);
    pair.run().assert_in_sync();
    assert!(pair.sides[0].session.wants_updates());
}

#[test]
fn unrequested_frames_do_not_replace_acknowledgements() {
    let mut pair = Pair::new(&Mock::new(1), &Mock::new(2));
    pair.run();
    pair.sides[0].replica.add(b"never acknowledged");
    let after = time_until_stalled(&mut pair, |pair| {
        // Takes all outgoing frames, so that the peer seems to read.
        let now = pair.now;
        while pair.sides[0].session.poll_transmit(now).is_some() {}
        deliver_frame(pair, 3, &[0]);
        deliver_frame(pair, 11, &answer(1, 0));
        deliver_frame(pair, 10, &[1, 0]);
        deliver_frame(pair, 5, &fragment(1, 100, 0, &[1; 10]));
    });
    assert!(after.is_some_and(|after| after <= Duration::from_secs(45)), "{after:?}");
}

#[test]
fn a_peer_that_does_not_read_is_stalled() {
    let mut pair = Pair::new(&Mock::new(1), &Mock::new(2));
    pair.run();
    pair.sides[0].replica.add(b"never read");
    let after = time_until_stalled(&mut pair, |pair| deliver_frame(pair, 2, &[9; 16]));
    assert!(after.is_some_and(|after| after <= Duration::from_secs(45)), "{after:?}");
}

#[test]
fn an_answer_is_stalled_unless_it_grows() {
    for grows in [false, true] {
        let mut pair = Pair::new(&Mock::new(1), &Mock::new(2));
        pair.run();
        deliver_frame(&mut pair, 2, &[9; 16]);
        deliver_frame(&mut pair, 11, &answer(1, 10));
        let mut offset = 0;
        let after = time_until_stalled(&mut pair, |pair| {
            let now = pair.now;
            while pair.sides[0].session.poll_transmit(now).is_some() {}
            deliver_frame(pair, 5, &fragment(1, 100_000, offset, &[1; 10]));
            offset += if grows { 10 } else { 0 };
        });
        assert_eq!(after.is_none(), grows, "{after:?}");
    }
}

#[test]
fn an_update_that_is_never_complete_is_stalled() {
    let mut pair = Pair::new(&Mock::new(1), &Mock::new(2));
    pair.run();
    deliver_frame(&mut pair, 5, &fragment(1, 100_000, 0, &[1; 10]));
    let after = time_until_stalled(&mut pair, |pair| {
        let now = pair.now;
        while pair.sides[0].session.poll_transmit(now).is_some() {}
        deliver_frame(pair, 7, b"");
        // Acknowledgements that add nothing do not count as progress.
        deliver_frame(pair, 10, &[1, 0]);
    });
    assert_eq!(after, Some(Duration::from_secs(30)));

    let mut pair = Pair::new(&Mock::new(1), &Mock::new(2));
    pair.run();
    deliver_frame(&mut pair, 5, &fragment(1, 100_000, 0, b""));
    let reason = pair.sides[0].closed().expect("closed").to_string();
    assert!(reason.contains("expected a part of an update"), "{reason}");
}

#[test]
fn a_large_update_leaves_once_it_is_packed() {
    let left = Mock::new(1);
    let right = Mock::new(2);
    let mut pair = Pair::new(&left, &right);
    pair.run();
    let update = left.add(&[1; 100_000]);
    let session = &mut pair.sides[0].session;
    session.handle_update(&update, Origin::Local);
    assert!(!session.has_transmit() && session.poll_transmit(Duration::ZERO).is_none());
    assert_eq!(session.poll_timeout(), Some(Duration::ZERO), "it is worked on at once");
    pair.run().assert_in_sync();
    // The peer had the update from this side, so it does not send the update back.
    assert_eq!(
        pair.frames.iter().filter(|frame| frame[0] == 4).count(),
        2,
        "as it was handed over twice"
    );
}

/// The second of two updates. The first one never arrives.
fn update_with_missing_dependency(id: u64) -> Vec<u8> {
    let lost = Mock::new(id);
    lost.add(b"lost");
    lost.add(b"behind it")
}

#[test]
fn pending_updates_of_others_do_not_affect_an_honest_peer() {
    let left = Mock::new(1);
    let right = Mock::new(2);
    let mut pair = Pair::new(&left, &right);
    pair.run();
    // A third peer brings the same pending update repeatedly.
    for payload in 0..5 {
        right.apply(&update_with_missing_dependency(99)).expect("it waits");
        // This mock passes pending updates on; a store does not.
        pair.sides[1].queue.lock().expect("no panic").clear();
        left.add(&[payload]);
        pair.run();
    }
    assert!(right.has_pending());
    assert_eq!(pair.count(3), 0, "versions were exchanged");
    let kept = pair.frames.iter().filter(|frame| frame[0] == 10).all(|frame| frame[6] == 1);
    assert!(kept, "acknowledgements came with a doubt");
    assert_eq!(pair.sides[0].session.acknowledged(), Some(5));
}

#[test]
fn a_pending_update_is_not_acknowledged_as_kept() {
    let mut pair = Pair::new(&Mock::new(1), &Mock::new(2));
    pair.run();
    // Another peer has brought the same update before.
    let update = update_with_missing_dependency(99);
    pair.sides[0].replica.apply(&update).expect("it waits");
    let now = pair.now;
    deliver_frame(&mut pair, 4, &[&[1, 0][..], &update].concat());
    let frames: Vec<_> = std::iter::from_fn(|| pair.sides[0].session.poll_transmit(now)).collect();
    assert!(frames.iter().any(|frame| frame[0] == 10 && frame[6] == 0), "{frames:?}");
}

#[test]
fn answers_are_limited_by_reads_of_the_peer_and_by_time() {
    let calls = |pair: &Pair| {
        pair.sides[0].replica.updates_since_calls.load(std::sync::atomic::Ordering::Relaxed)
    };
    let mut pair = Pair::new(&replica_with_ops(1, 1), &replica_with_ops(2, 1));
    pair.run();
    let before = calls(&pair);
    (0..100).for_each(|_| deliver_frame(&mut pair, 3, &[0]));
    assert_eq!(calls(&pair) - before, 1, "nothing was read");

    let mut pair = Pair::new(&replica_with_ops(1, 1), &replica_with_ops(2, 1));
    pair.run();
    let before = calls(&pair);
    for _ in 0..100 {
        deliver_frame(&mut pair, 3, &[0]);
        let now = pair.now;
        while pair.sides[0].session.poll_transmit(now).is_some() {}
    }
    assert!((50..=64).contains(&(calls(&pair) - before)), "{}", calls(&pair) - before);
    let before = calls(&pair);
    let due = pair.sides[0].session.poll_timeout().expect("open");
    assert!(due < Duration::from_secs(1), "{due:?}");
    pair.pass(due).sides[0].work();
    assert_eq!(calls(&pair) - before, 1, "the last one is answered in time");
}

#[test]
fn repair_documents_are_sent_only_for_a_conflict_and_rate_limited() {
    let count = |pair: &Pair| {
        let load =
            |count: &std::sync::atomic::AtomicU64| count.load(std::sync::atomic::Ordering::Relaxed);
        let replica = &pair.sides[0].replica;
        (load(&replica.updates_since_calls), load(&replica.verified))
    };
    let mut pair = Pair::new(&replica_with_ops(1, 1), &Mock::new(2));
    pair.run();
    let before = count(&pair);
    (0..32).for_each(|_| deliver_frame(&mut pair, 3, &[2]));
    assert_eq!(count(&pair), before, "nothing is to be repaired");

    let left = Mock::new(1);
    let right = Mock::new(2);
    left.apply(&Mock::new(7).add(b"one")).expect("fits");
    right.apply(&Mock::new(7).add(b"other")).expect("fits");
    let mut pair = Pair::new(&left, &right);
    pair.run();
    let (calls, verified) = count(&pair);
    for round in 1..4 {
        (0..32).for_each(|_| deliver_frame(&mut pair, 3, &[2]));
        assert_eq!(count(&pair), (calls + round, verified + 1));
        // All requests within one interval count as one. The answer comes with the first request of
        // the next interval.
        let now = pair.now;
        while pair.sides[0].session.poll_transmit(now).is_some() {}
        pair.now += Duration::from_secs(5);
    }
}

fn hostile_frame() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..64);
    let well_framed =
        (0..18_u8, bytes()).prop_map(|(kind, payload)| support::framed(kind, &payload));
    prop_oneof![bytes(), well_framed]
}

proptest! {
    #[test]
    fn hostile_frames_never_panic(
        frames in prop::collection::vec(hostile_frame(), 0..24),
        greeted: bool,
    ) {
        // First each frame gets a fresh session if it closes the old one. Then all frames go to one
        // session.
        for alone in [true, false] {
            let mut pair = Pair::new(&replica_with_ops(1, 2), &replica_with_ops(2, 2));
            if greeted {
                pair.run();
            }
            for frame in &frames {
                let Side { session, replica, .. } = &mut pair.sides[0];
                session.handle_bytes(Duration::ZERO, frame, replica.as_ref());
                pair.run();
                if alone && pair.sides[0].closed().is_some() {
                    pair = Pair::new(&replica_with_ops(1, 2), &replica_with_ops(2, 2));
                    pair.run();
                }
            }
        }
    }

    #[test]
    fn replicas_are_in_sync_after_lost_frames(
        losses in prop::collection::vec(any::<bool>(), 0..80),
    ) {
        let mut pair = Pair::new(&replica_with_ops(1, 3), &replica_with_ops(2, 3));
        for (at, lost) in losses.into_iter().enumerate() {
            if at % 7 == 3 {
                pair.sides[at % 2].replica.add(b"edit");
            }
            pair.step(lost);
        }
        for _ in 0..8 {
            pair.run().pass(Duration::from_secs(5));
        }
        pair.run().assert_in_sync();
    }
}

#[test]
fn an_answer_that_takes_minutes_is_not_stalled() {
    let left = Mock::new(1);
    let right = Mock::new(2);
    let mut random = fastrand::Rng::with_seed(7);
    right.add(&(0..2_000_000).map(|_| random.u8(..)).collect::<Vec<_>>());
    let mut pair = Pair::new(&left, &right);
    // A fragment arrives every few seconds. The peer's version comes after the last one.
    while !pair.is_live() {
        assert!(
            pair.sides.iter().all(|side| side.closed().is_none()),
            "given up after {:?}",
            pair.now
        );
        assert!(pair.now < Duration::from_secs(600), "it does not end");
        pair.pass(Duration::from_secs(4));
        for _ in 0..3 {
            pair.step(false);
        }
    }
    assert!(pair.now > Duration::from_secs(40), "too quick to show anything: {:?}", pair.now);
    pair.run().assert_in_sync();
}

#[test]
fn a_read_only_session_accepts_known_updates_whole_or_in_fragments() {
    for (known, length) in [(true, 9), (true, 200_000), (false, 9), (false, 200_000)] {
        let left = Mock::new(1);
        let right = Mock::new(2);
        let update = Mock::new(7).add(&vec![7; length]);
        if known {
            right.apply(&update).expect("fits");
        }
        let mut reads = Session::new(
            Config::default().read_only(),
            Role::Responder,
            "roadmap",
            right.as_ref(),
            Duration::ZERO,
        );
        let hello = Session::new(
            Config::default(),
            Role::Initiator,
            "roadmap",
            left.as_ref(),
            Duration::ZERO,
        )
        .poll_transmit(Duration::ZERO);
        reads.handle_bytes(Duration::ZERO, &hello.expect("a hello"), right.as_ref());
        let body = [&[0][..], &update].concat();
        for (at, part) in body.chunks(60_000).enumerate() {
            let head = [
                support::varint(1),
                support::varint(body.len() as u64),
                support::varint(at as u64 * 60_000),
            ]
            .concat();
            reads.handle_bytes(
                Duration::ZERO,
                &support::framed(5, &[&head, part].concat()),
                right.as_ref(),
            );
        }
        reads.settle(right.as_ref());
        let closed = std::iter::from_fn(|| reads.poll_event()).find_map(|event| match event {
            Event::Closed { reason } => Some(reason),
            _ => None,
        });
        assert_eq!(closed, (!known).then_some(CloseReason::ReadOnly));
        assert_eq!(right.len(), usize::from(known));
    }
}

/// The left side has no storage, the right side has one.
fn pair_with_storage(ops: u8) -> Pair {
    let right = Mock::with_storage(2);
    (0..ops).for_each(|payload| drop(right.add(&[payload])));
    let mut pair = Pair::new(&Mock::new(1), &right);
    pair.run();
    pair
}

#[test]
fn an_update_is_acknowledged_when_the_storage_of_the_peer_has_written_it() {
    let mut pair = pair_with_storage(0);
    for payload in [b"one", b"two"] {
        pair.sides[0].replica.add(payload);
        pair.run().assert_in_sync();
    }
    assert_eq!(pair.sides[0].session.acknowledged(), Some(0));
    assert!(!pair.sides[0].session.is_flushed() && pair.sides[1].session.awaits_kept());
    // The other way nothing has to be written.
    pair.sides[1].replica.add(b"three");
    pair.run().assert_in_sync();
    assert_eq!(pair.sides[1].session.acknowledged(), Some(1));
    for written in [1, 2] {
        pair.sides[1].replica.write(1);
        pair.run();
        assert_eq!(pair.sides[0].session.acknowledged(), Some(written));
    }
    assert!(pair.sides[0].session.is_flushed() && pair.sides[1].session.awaits_kept());
    pair.sides[1].replica.write(1);
    assert!(!pair.run().sides[1].session.awaits_kept());
}

#[test]
fn an_equal_version_is_acknowledged_when_the_storage_of_the_peer_has_written_it() {
    let left = replica_with_ops(1, 3);
    let right = Mock::with_storage(2);
    Pair::new(&left, &right).run().assert_in_sync();
    // The connection was lost before the storage wrote anything.
    let mut pair = Pair::new(&left, &right);
    pair.run().assert_in_sync();
    assert_eq!(pair.count(3), 0, "no version is exchanged");
    assert_eq!(pair.sides[0].session.acknowledged(), None);
    pair.sides[1].replica.write(u64::MAX);
    pair.run();
    assert_eq!(pair.sides[0].session.acknowledged(), Some(0));
    let mut pair = Pair::new(&left, &right);
    pair.run().assert_in_sync();
    assert_eq!(pair.sides[0].session.acknowledged(), Some(0));
    assert_eq!(pair.count(2), 0, "all of it was in the hello");
}

#[test]
fn a_version_that_answers_is_acknowledged_when_it_is_written() {
    // Both sides send their whole version, and the right side's holds all of the left side's.
    let left = replica_with_ops(1, 1);
    let right = Mock::with_storage(2);
    Pair::new(&left, &right).run();
    right.add(b"only here");
    let mut pair = Pair::new(&left, &right);
    pair.run().assert_in_sync();
    assert!(pair.count(3) > 0);
    assert_eq!(pair.sides[0].session.acknowledged(), None);
    right.write(u64::MAX);
    pair.run();
    assert_eq!(pair.sides[0].session.acknowledged(), Some(0));
}

#[test]
fn a_slow_storage_does_not_end_the_session_and_lost_frames_are_told_again() {
    let mut pair = pair_with_storage(0);
    pair.sides[0].replica.add(b"one");
    pair.run();
    for _ in 0..400 {
        pair.pass(Duration::from_secs(3)).run();
    }
    assert!(pair.is_live() && !pair.sides[0].session.is_flushed());
    // The frames that say what is written get lost.
    pair.sides[1].replica.write(1);
    while pair.step(true) {}
    assert!(!pair.sides[0].session.is_flushed() && !pair.sides[1].session.awaits_kept());
    pair.pass(Duration::from_secs(5)).run();
    assert!(pair.is_live() && pair.sides[0].session.is_flushed());
    let asked = pair.count(2);
    pair.pass(Duration::from_secs(5)).run();
    assert_eq!(pair.count(2), asked, "from now on a ping is enough");
}

#[test]
fn an_acknowledgement_from_before_a_storage_is_read() {
    let mut pair = Pair::new(&Mock::new(1), &Mock::new(2));
    pair.run();
    pair.sides[0].replica.add(b"one");
    pair.sides[0].replica.add(b"two");
    pair.sides[0].work();
    let now = pair.now;
    while pair.sides[0].session.poll_transmit(now).is_some() {}
    let acknowledged = |pair: &Pair| pair.sides[0].session.acknowledged();
    // Applied up to 2, and it does not say what is kept. Then the first is kept, then both.
    for (payload, expected) in [(&[0, 2][..], 0), (&[0, 2, 1], 1), (&[1, 2], 2)] {
        deliver_frame(&mut pair, 10, payload);
        assert_eq!(acknowledged(&pair), Some(expected), "{payload:?}");
    }
}
