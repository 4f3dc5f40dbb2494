//! Promise: weak handles keep nothing alive, whichever callbacks hold them. The closure of a change
//! may fail with any error type.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use exostate::{Automerge, Backend, ChangeError, Error, State, Store, WeakStore, Yrs};

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Note {
    title: String,
    length: u64,
    part: Part,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Part {
    seats: i64,
}

#[test]
fn a_weak_store_upgrades_as_long_as_there_is_a_handle() {
    fn is_shareable<T: Send + Sync + Clone + Debug>(_: &T) {}
    fn run<B: Backend>() {
        let store = Store::<Note, B>::new();
        let weak: WeakStore<Note, B> = store.downgrade();
        is_shareable(&weak);
        let other = weak.upgrade().expect("there is a handle");
        other.change(|note| note.title().set("plan")).expect("it can be written");
        assert_eq!(store.view().title, "plan");
        drop(store);
        assert!(weak.clone().upgrade().is_some());
        drop(other);
        assert!(weak.upgrade().is_none());
        assert!(format!("{weak:?}").contains(B::NAME));
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn a_callback_with_a_weak_store_does_not_keep_it() {
    let store = Store::<Note>::new();
    let weak = store.downgrade();
    let outer = store.downgrade();
    let watch = store.watch(Note::path().title(), move |title| {
        let store = weak.upgrade().expect("it calls this");
        store
            .change(|note| note.length().set(title.new().map_or(0, |title| title.len() as u64)))
            .expect("it can be written");
    });
    watch.forever();
    store.change(|note| note.title().set("plan")).expect("it can be written");
    assert_eq!(store.view().length, 4);
    drop(store);
    assert!(outer.upgrade().is_none());
}

#[tokio::test]
async fn a_weak_asynchronous_watch_runs_each_to_its_end_and_ends_with_its_target() {
    struct App {
        store: Store<Note>,
        begun: AtomicUsize,
        done: AtomicUsize,
    }
    let app = Arc::new(App {
        store: Store::new(),
        begun: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
    });
    let store = app.store.clone();
    let following =
        tokio::spawn(store.watch_weak_async(Note::path().title(), &app, |app, title| async move {
            app.begun.fetch_add(1, Ordering::Relaxed);
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            app.store
                .change(|note| note.length().set(title.new.map_or(0, |title| title.len() as u64)))
                .expect("it can be written");
            app.done.fetch_add(1, Ordering::Relaxed);
        }));
    for count in 1..20 {
        store.change(|note| note.title().set("x".repeat(count))).expect("it can be written");
        tokio::task::yield_now().await;
    }
    while store.view().length != 19 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        app.begun.load(Ordering::Relaxed),
        app.done.load(Ordering::Relaxed),
        "each runs to its end"
    );
    assert!(app.done.load(Ordering::Relaxed) < 19, "what came meanwhile was told as one");
    let weak = Arc::downgrade(&app);
    drop(app);
    while weak.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
    store.change(|note| note.title().set("nobody counts this")).expect("it can be written");
    following.await.expect("nothing panicked");
    assert_eq!((store.view().length, store.subscriptions().watchers), (19, 0));

    let app = Arc::new(App {
        store: Store::new(),
        begun: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
    });
    let following = tokio::spawn(app.store.watch_weak_async(
        Note::path().title(),
        &Arc::new(()),
        |_, _| async {},
    ));
    drop((store, app));
    following.await.expect("it ends with the store");
}

#[derive(Debug)]
enum Own {
    Json(serde_json::Error),
    Change(ChangeError),
    Full(i64),
}

impl From<serde_json::Error> for Own {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

impl From<ChangeError> for Own {
    fn from(error: ChangeError) -> Self {
        Self::Change(error)
    }
}

#[test]
fn errors_of_the_applications_own_come_back_as_they_are() {
    fn run<B: Backend>() {
        let store = Store::<Note, B>::new();
        let seat = |json: &str| {
            store.try_change(|note| {
                let seats: i64 = serde_json::from_str(json)?;
                note.part().seats().set(seats)?;
                if seats > 9 { Err(Own::Full(seats)) } else { Ok(seats) }
            })
        };
        assert!(matches!(seat("7"), Ok(7)));
        assert!(matches!(seat("x"), Err(Own::Json(error)) if error.is_syntax()));
        assert!(matches!(seat("10"), Err(Own::Full(10))));
        assert_eq!(store.view().part.seats, 7);
        let nested =
            store.try_change(|_| store.try_change(|note| Ok::<_, Own>(note.title().set("x")?)));
        assert!(matches!(nested, Err(Own::Change(ChangeError::Nested))));

        let part = store.scoped(Note::path().part());
        assert!(matches!(
            part.try_change(|part| part
                .seats()
                .set(1)
                .map_err(Own::from)
                .and(Err::<(), _>(Own::Full(0)))),
            Err(Own::Full(0))
        ));
        let run = store.transaction().author("Ada").try_run(|note| {
            note.title().set("x")?;
            Err::<(), _>(Own::Full(1))
        });
        assert!(matches!(run, Err(Own::Full(1))));
        let joint = store.and(&Store::<Note, B>::new());
        let both = joint.try_change(|(left, right)| {
            left.title().set("x")?;
            right.title().set("y")?;
            Err::<(), _>(Own::Full(2))
        });
        assert!(matches!(both, Err(Own::Full(2))));
        assert_eq!((store.view().part.seats, store.view().title.as_str()), (7, ""));
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn usual_error_types_work() {
    let store = Store::<Note>::new();
    let any: anyhow::Result<()> = store.try_change(|note| {
        let text = String::from_utf8(vec![0xff])?;
        Ok(note.title().set(text)?)
    });
    assert!(any.expect_err("no UTF-8").is::<std::string::FromUtf8Error>());
    let boxed: Result<(), Box<dyn std::error::Error>> = store.try_change(|note| {
        note.title().set(std::fs::read_to_string("/nowhere/at all")?)?;
        Ok(())
    });
    assert!(boxed.expect_err("no such file").is::<std::io::Error>());
    let refused = store.change(|note| {
        let seats: i64 = "seven".parse().map_err(ChangeError::refuse)?;
        note.part().seats().set(seats)
    });
    let refused = refused.expect_err("no number");
    assert!(
        refused.refusal::<std::num::ParseIntError>().is_some()
            && refused.refusal::<std::io::Error>().is_none()
    );
    assert!(matches!(Error::from(refused), Error::Change(ChangeError::Refused(_))));
}
