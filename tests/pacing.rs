//! Promise: steady changes are reported at a pace. The last change is always reported, and a
//! callback that has started is not dropped.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use exostate::{Map, Pace, Paced, State, Store};
use proptest::prelude::*;

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Notes {
    count: i64,
    pages: Map<String, i64>,
}

/// A clock that the test moves.
#[derive(Clone, Default)]
struct Clock(Arc<Mutex<u64>>);

impl Clock {
    fn now(&self) -> u64 {
        *self.0.lock().expect("nobody panics with it")
    }

    fn advance(&self, by: u64) {
        *self.0.lock().expect("nobody panics with it") += by;
    }

    fn sleep(
        &self,
    ) -> impl FnMut(Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + use<> {
        let clock = self.clone();
        move |duration| {
            let (clock, end) =
                (clock.clone(), clock.now() + u64::try_from(duration.as_millis()).expect("short"));
            Box::pin(poll_fn(
                move |_| if clock.now() >= end { Poll::Ready(()) } else { Poll::Pending },
            ))
        }
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// The reports of each millisecond. `edits` says at which milliseconds the store changes.
fn reported(
    stream: &mut Paced<Option<i64>>,
    store: &Store<Notes>,
    clock: &Clock,
    edits: impl Fn(u64) -> bool,
    until: u64,
) -> Vec<(u64, i64)> {
    let mut reported = Vec::new();
    while clock.now() < until {
        if edits(clock.now()) {
            store
                .change(|notes| notes.count().set(i64::try_from(clock.now() + 1).expect("small")))
                .expect("it can be written");
        }
        while let Poll::Ready(value) = poll(stream.next()) {
            reported.push((clock.now(), value.flatten().expect("the store is there")));
        }
        clock.advance(1);
    }
    reported
}

#[test]
fn debounce_waits_for_a_pause_up_to_its_limit() {
    let store = Store::<Notes>::new();
    let clock = Clock::default();
    let mut counts =
        store.stream(Notes::path().count()).debounce(millis(10), millis(35), clock.sleep());
    // A change every 4 ms until 101, then none.
    let reported = reported(&mut counts, &store, &clock, |now| now % 4 == 0 && now <= 100, 200);
    // The newest value is reported 35 ms after the first unreported change, and the last one after
    // 10 ms of rest.
    assert_eq!(reported, [(35, 33), (71, 69), (107, 101)]);
}

#[test]
fn debounce_without_a_limit_waits_for_a_pause() {
    let store = Store::<Notes>::new();
    let clock = Clock::default();
    let mut counts =
        store.stream(Notes::path().count()).debounce(millis(10), Duration::MAX, clock.sleep());
    let reported = reported(&mut counts, &store, &clock, |now| now % 4 == 0 && now <= 1000, 2000);
    assert_eq!(reported, [(1010, 1001)]);
}

#[test]
fn throttle_reports_at_once_and_then_at_its_rate() {
    let store = Store::<Notes>::new();
    let clock = Clock::default();
    let mut counts = store.stream(Notes::path().count()).throttle(millis(10), clock.sleep());
    let reported = reported(&mut counts, &store, &clock, |now| now <= 21 || now == 50, 100);
    assert_eq!(reported, [(0, 1), (10, 11), (20, 21), (30, 22), (50, 51)]);
}

#[test]
fn the_last_value_is_reported_on_flush_and_at_the_end() {
    let paces: [fn(&Clock) -> Pace; 2] = [
        |clock| Pace::debounce(millis(10), millis(100), clock.sleep()),
        |clock| Pace::throttle(millis(10), clock.sleep()),
    ];
    for pace in paces {
        let store = Store::<Notes>::new();
        let clock = Clock::default();
        let done = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&done);
        let mut effect =
            Box::pin(store.effect_paced(Notes::path().count(), pace(&clock), move |count| {
                let sink = Arc::clone(&sink);
                async move { sink.lock().expect("nobody panics with it").extend(count.new) }
            }));
        let mut poll_it = || effect.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        store.change(|notes| notes.count().set(1)).expect("it can be written");
        assert!(poll_it().is_pending());
        store.change(|notes| notes.count().set(2)).expect("it can be written");
        assert!(poll_it().is_pending());
        drop(store);
        assert!(poll_it().is_ready(), "it ends with the store");
        assert_eq!(done.lock().expect("nobody panics with it").last(), Some(&2));
    }
    let store = Store::<Notes>::new();
    let clock = Clock::default();
    let mut counts =
        store.stream(Notes::path().count()).debounce(millis(10), millis(100), clock.sleep());
    store.change(|notes| notes.count().set(1)).expect("it can be written");
    assert!(poll(counts.next()).is_pending());
    assert_eq!((counts.flush(), counts.flush()), (Some(Some(1)), None));
    clock.advance(1000);
    assert!(poll(counts.next()).is_pending(), "it was taken");
    drop(store);
    assert_eq!(poll(counts.next()), Poll::Ready(None));
    assert_eq!(poll(counts.next()), Poll::Ready(None));
}

#[test]
fn an_effect_that_has_begun_runs_to_its_end() {
    let store = Store::<Notes>::new();
    let clock = Clock::default();
    let done = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&done);
    let timer = clock.clone();
    let pace = Pace::debounce(millis(5), millis(20), clock.sleep());
    // Each save takes longer than the pace.
    let mut effect = Box::pin(store.effect_paced(Notes::path().pages().any(), pace, move |page| {
        let sink = Arc::clone(&sink);
        let mut sleep = timer.sleep();
        async move {
            sleep(millis(50)).await;
            sink.lock().expect("nobody panics with it").push((page.path, page.new));
        }
    }));
    let mut poll_it = || effect.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    for now in 0..400 {
        for page in ["a", "b"] {
            store.change(|notes| notes.pages().insert(page, now)).expect("it can be written");
        }
        assert!(poll_it().is_pending());
        clock.advance(1);
    }
    assert!(
        done.lock().expect("nobody panics with it").len() >= 4,
        "steady edits keep nothing from being saved"
    );
    drop(store);
    while poll_it().is_pending() {
        clock.advance(1);
    }
    let done = done.lock().expect("nobody panics with it");
    assert_eq!(
        done[done.len() - 2..],
        [("pages/a".to_owned(), Some(399)), ("pages/b".to_owned(), Some(399))]
    );
}

proptest! {
    /// For edits at arbitrary times: the last value is reported, and values come in order.
    /// Debounced values come no later than `max_wait` after the first unreported edit. Throttled
    /// values are at least `every` apart.
    #[test]
    fn edits_are_reported_in_time(
        edits in prop::collection::btree_set(0u64..300, 0..60),
        delay in 1u64..20,
        more in 0u64..40,
    ) {
        let is_edit = |now: u64| edits.contains(&now);
        let max_wait = delay + more;
        let store = Store::<Notes>::new();
        let clock = Clock::default();
        let stream = store.stream(Notes::path().count());
        let mut debounced = stream.debounce(millis(delay), millis(max_wait), clock.sleep());
        let debounced = reported(&mut debounced, &store, &clock, is_edit, 400);
        let store = Store::<Notes>::new();
        let clock = Clock::default();
        let stream = store.stream(Notes::path().count());
        let mut throttled = stream.throttle(millis(delay), clock.sleep());
        let throttled = reported(&mut throttled, &store, &clock, is_edit, 400);

        let last = edits.last().map(|last| i64::try_from(*last + 1).expect("small"));
        for reported in [&debounced, &throttled] {
            prop_assert_eq!(reported.last().map(|(_, value)| *value), last);
            let mut pairs = reported.windows(2);
            prop_assert!(pairs.all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1));
        }
        let mut from = 0;
        for (at, value) in &debounced {
            let first = *edits.range(from..).next().expect("something was reported");
            prop_assert!(at - first <= max_wait && at - first >= delay.min(max_wait));
            from = u64::try_from(*value).expect("positive");
        }
        prop_assert!(throttled.windows(2).all(|pair| pair[1].0 - pair[0].0 >= delay));
        for (at, value) in &throttled {
            prop_assert!(at + 1 - u64::try_from(*value).expect("positive") <= delay);
        }
    }
}

/// A debounced save on a runtime: it runs during steady edits, and the last text is saved at the
/// end.
#[tokio::test(start_paused = true)]
async fn a_debounced_save_saves_under_steady_edits_and_at_the_end() {
    let store = Store::<Notes>::new();
    let total = store.select(|notes| notes.count().value().copied().unwrap_or_default());
    let mut totals = total.stream().debounce(millis(500), millis(5000), tokio::time::sleep);
    drop(total);
    let saver = tokio::spawn(async move {
        let mut saved = Vec::new();
        while let Some(total) = totals.next().await {
            tokio::time::sleep(millis(200)).await;
            saved.push(*total);
        }
        saved
    });
    for count in 1..=200 {
        store.change(|notes| notes.count().set(count)).expect("it can be written");
        tokio::time::sleep(millis(100)).await;
    }
    tokio::time::sleep(millis(2000)).await;
    store.change(|notes| notes.count().set(-1)).expect("it can be written");
    drop(store);
    let saved = saver.await.expect("nothing panicked");
    assert!((4..=7).contains(&saved.len()) && saved.ends_with(&[200, -1]), "{saved:?}");
}
