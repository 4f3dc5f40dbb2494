//! Promise: a history stays within its limits and blocks no other thread, and bytes that were
//! tampered with do no harm.

#[path = "support/bytes.rs"]
mod bytes;
mod support;

use std::time::{Duration, SystemTime};

use ciborium::Value;
use exostate::{
    Automerge, Backend, HistoryError, HistoryOptions, Map, Options, Origin, State, Store, Yrs,
};
use support::Everything;

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Page {
    title: String,
    lines: Map<u32, String>,
}

#[test]
fn a_history_can_be_printed() {
    let store = Store::<Page>::new();
    let history = store.history(HistoryOptions::new()).expect("it can be saved");
    assert!(format!("{history:?}").starts_with("History { revisions: 1, bytes: "));
}

/// Named revisions are kept, and the updates between them still obey the limit.
fn names<B: Backend>() {
    let store = Store::<Page, B>::new();
    let history =
        store.history(HistoryOptions::new().with_bytes_max(20_000)).expect("it can be saved");
    for at in 0..100_u32 {
        for part in 0..5_u32 {
            store
                .change(|page| page.title().set(format!("{at}.{part} {}", "long ".repeat(20))))
                .expect("a change");
        }
        history.name(at.to_string()).expect("it can be saved");
    }
    let revisions = history.revisions();
    let named = revisions.iter().filter(|revision| revision.name().is_some()).count();
    assert_eq!(named, 100);
    assert!(revisions.len() < 300, "{} revisions", revisions.len());
    // Named revisions leave room for revisions without a name.
    assert!(revisions.len() > 110, "{} revisions", revisions.len());
    for revision in revisions {
        history.view_at(revision.id()).expect("what is listed is there");
    }
}

#[test]
fn updates_between_names_obey_the_limit() {
    names::<Yrs>();
    names::<Automerge>();
}

/// Changes whose updates are smaller than their metadata.
fn small_changes<B: Backend>() {
    const BYTES_MAX: usize = 50_000;
    let store = Store::<Page, B>::new();
    let history =
        store.history(HistoryOptions::new().with_bytes_max(BYTES_MAX)).expect("it can be saved");
    let mut most = 0;
    for at in 0..2_000_u32 {
        store.change(|page| page.title().set(at.to_string())).expect("a change");
        most = most.max(history.bytes());
    }
    assert!(most < BYTES_MAX + 64 * 1024 + 2 * store.save().len() + 1_000, "{most} bytes");
}

#[test]
fn metadata_of_small_changes_counts() {
    small_changes::<Yrs>();
    small_changes::<Automerge>();
}

/// With a limit of 0 bytes and a checkpoint at every change, the present state is still available.
fn no_room<B: Backend>() {
    let store = Store::<Page, B>::new();
    let options = HistoryOptions::new().with_bytes_max(0).with_checkpoint_every(Duration::ZERO);
    let history = store.history(options).expect("it can be saved");
    let named = history.name("first").expect("it can be saved");
    for at in 0..20_u32 {
        store.change(|page| page.title().set(at.to_string())).expect("a change");
        assert_eq!(history.revisions().len(), 2);
        assert_eq!(history.view_at(history.latest()).expect("it is there"), store.view());
        assert_eq!(
            history.diff(named, history.latest()).expect("both are there").new(),
            &store.view()
        );
    }
    assert!(history.unname(named));
    assert_eq!(history.revisions().len(), 1);
}

#[test]
fn the_present_is_kept_with_a_limit_of_zero() {
    no_room::<Yrs>();
    no_room::<Automerge>();
}

/// Decodes a saved history, applies `tamper` to it, and corrects the checksum.
fn tampered(kept: &[u8], tamper: impl Fn(&mut Vec<(Value, Value)>)) -> Vec<u8> {
    let mut value: Value = ciborium::from_reader(&kept[..kept.len() - 8]).expect("it is CBOR");
    tamper(value.as_map_mut().expect("a map"));
    let mut bytes = Vec::new();
    ciborium::into_writer(&value, &mut bytes).expect("it can be written");
    let sum = xxhash_rust::xxh3::xxh3_64(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

fn field<'a>(map: &'a mut [(Value, Value)], name: &str) -> &'a mut Value {
    let found = map.iter_mut().find(|(key, _)| key.as_text() == Some(name));
    &mut found.expect("it has that").1
}

fn revision(map: &mut [(Value, Value)], at: usize) -> &mut Vec<(Value, Value)> {
    field(map, "revisions").as_array_mut().expect("a list")[at].as_map_mut().expect("a map")
}

/// Ids that leave no room for later ones; names without a document; updates without a document
/// before them.
#[test]
fn hostile_bytes_do_no_harm() {
    let store = Store::<Page>::new();
    let history = store.history(HistoryOptions::new()).expect("it can be saved");
    store.change(|page| page.title().set("one")).expect("a change");
    store.change(|page| page.title().set("two")).expect("a change");
    let kept = history.save().expect("not within a change");
    drop(history);
    for id in [u64::MAX, u64::MAX - 1, u64::MAX - 2, 1 << 63] {
        let bytes = tampered(&kept, |map| {
            *field(field(revision(map, 2), "stamp").as_map_mut().expect("a map"), "id") = id.into()
        });
        let error = store.history_from(&bytes, HistoryOptions::new()).err();
        assert!(matches!(error, Some(HistoryError::Damaged { .. })), "{id}: {error:?}");
    }
    let bytes = tampered(&kept, |map| {
        *field(revision(map, 0), "checkpoint") = Value::Null;
        *field(revision(map, 1), "name") = "named".into();
        *field(revision(map, 2), "updates") = Value::Null;
    });
    for bytes_max in [0, usize::MAX] {
        let history = store
            .history_from(&bytes, HistoryOptions::new().with_bytes_max(bytes_max))
            .expect("it is one");
        for revision in history.revisions() {
            drop((
                history.view_at(revision.id()),
                history.diff(revision.id(), history.latest()),
                history.branch(revision.id()),
            ));
        }
        let _ = history.unname(history.revisions()[0].id());
        store.change(|page| page.title().set(format!("{} more", bytes_max % 7))).expect("a change");
        let now = history.name("now").expect("it can be saved");
        store.change(|page| page.title().set("after")).expect("a change");
        history.compact().expect("it can be saved");
        assert!(history.diff(now, history.latest()).is_ok());
    }
}

/// A past revision can be shown while another thread makes a change.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "one that is not waited for, so that a failure is one and no hang"
)]
fn reading_a_revision_does_not_wait_for_a_writer() {
    let store = Store::<Page>::new();
    let history = store.history(HistoryOptions::new()).expect("it can be saved");
    let first = history.latest();
    store.change(|page| page.title().set("one")).expect("a change");
    store
        .change(|page| {
            let (sender, receiver) = std::sync::mpsc::channel();
            let history = history.clone();
            std::thread::spawn(move || sender.send(history.view_at(first).is_ok()));
            assert_eq!(receiver.recv_timeout(Duration::from_secs(20)), Ok(true));
            page.title().set("two")
        })
        .expect("a change");
}

/// Several threads change, name, look up, save and remove revisions at the same time.
#[test]
fn threads_may_use_a_history_concurrently() {
    let store = Store::<Page>::new();
    let history =
        store.history(HistoryOptions::new().with_bytes_max(30_000)).expect("it can be saved");
    let watched = history.clone();
    let _watch = store.watch(Page::path().title(), move |_| {
        let id = watched.name("seen").expect("not within a change");
        assert!(watched.unname(id) || watched.revision(id).is_none());
    });
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let store = store.clone();
            let history = history.clone();
            scope.spawn(move || {
                for at in 0..50_u32 {
                    store
                        .change(|page| page.title().set(format!("{thread}.{at}")))
                        .expect("a change");
                    match at % 5 {
                        0 => drop(history.save().expect("not within a change")),
                        1 => drop(history.restore(history.latest())),
                        2 => history.compact().expect("it can be saved"),
                        3 => drop(
                            store
                                .history(HistoryOptions::new())
                                .expect("it can be saved")
                                .diff(history.latest(), history.latest()),
                        ),
                        _ => drop(history.blame(Page::path().title())),
                    }
                }
            });
        }
    });
    let latest = history.latest();
    assert_eq!(history.view_at(latest).expect("it is there"), store.view());
    assert_eq!(history.diff(latest, latest).expect("it is there").new(), &store.view());
}

/// Clocks that go back, and clocks that show a time before 1970.
#[test]
fn any_clock_is_accepted() {
    let times = [-5_i64, 10_000, -10_000, 0];
    let at = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let now = std::sync::Arc::clone(&at);
    let time = move |at: usize| {
        let seconds = times[at % times.len()];
        let passed = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { SystemTime::UNIX_EPOCH - passed } else { SystemTime::UNIX_EPOCH + passed }
    };
    let clock = move || time(now.load(std::sync::atomic::Ordering::Relaxed));
    let store = Store::<Page>::with_options(Options::new().with_clock(clock));
    let history = store.history(HistoryOptions::new()).expect("it can be saved");
    for round in 1..8 {
        at.store(round, std::sync::atomic::Ordering::Relaxed);
        store.change(|page| page.title().set(round.to_string())).expect("a change");
    }
    let kept = history.save().expect("not within a change");
    let before = history.revisions();
    assert!(before.iter().enumerate().all(|(round, revision)| revision.time() == time(round)));
    assert_eq!(
        store.history_from(&kept, HistoryOptions::new()).expect("it wrote it").revisions(),
        before
    );
}

/// If the backend fails on an update, the document is rebuilt and the history goes on.
#[test]
fn a_history_survives_a_rebuilt_document() {
    let store = support::store::<Yrs>(1);
    let other = support::store::<Yrs>(2);
    let history = store.history(HistoryOptions::new()).expect("it can be saved");
    let nothing = support::store::<Yrs>(9).version();
    other.change(|state| state.title().set("from the other")).expect("a change");
    store.apply_all(&other.updates_since(&nothing).expect("an update")).expect("an honest update");
    let then = history.latest();
    // A mark beside the value of a key.
    let mark = [bytes::prefixed(b"bold"), bytes::prefixed(b"true")].concat();
    let crasher = bytes::update(&[(40, 0, vec![bytes::behind(6, (2, 0), &mark)])], &[]);
    assert!(store.apply(&crasher).is_err());
    store.change(|state| state.title().set("later")).expect("a change");
    let title =
        |id| history.view_at(id).map(|state: std::sync::Arc<Everything>| state.title.clone());
    assert_eq!(
        (title(then), title(history.latest())),
        (Ok("from the other".into()), Ok("later".into()))
    );
    assert_eq!(
        history.diff(then, history.latest()).expect("both are there").paths().collect::<Vec<_>>(),
        ["title"]
    );
    let origins: Vec<_> = history.revisions().iter().map(|revision| revision.origin()).collect();
    assert_eq!(origins, [None, Some(Origin::Remote), Some(Origin::Local)]);
}

/// A history is opened with a document that it does not belong to. The current state of that
/// document becomes a revision.
fn another_document<B: Backend>() {
    let store = Store::<Page, B>::new();
    let elsewhere = Store::<Page, B>::new();
    let history = store.history(HistoryOptions::new()).expect("it can be saved");
    store.change(|page| page.title().set("ours")).expect("a change");
    let ours = history.latest();
    let kept = history.save().expect("not within a change");
    elsewhere.change(|page| page.lines().insert(1_u32, "theirs".to_owned())).expect("a change");
    let history = elsewhere.history_from(&kept, HistoryOptions::new()).expect("it is a history");
    let theirs = history.latest();
    assert!(theirs > ours);
    elsewhere.change(|page| page.lines().insert(2_u32, "theirs".to_owned())).expect("a change");
    assert_eq!(history.view_at(ours).expect("it is there").title, "ours");
    assert_eq!(history.view_at(theirs).expect("it is there").lines.len(), 1);
    history.restore(ours).expect("any state can be written");
    assert_eq!((elsewhere.view().title.as_str(), elsewhere.view().lines.len()), ("ours", 0));
}

#[test]
fn a_history_may_be_opened_with_another_document() {
    another_document::<Yrs>();
    another_document::<Automerge>();
}
