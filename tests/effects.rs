//! Effects run after the change that they wait for, and clean up after themselves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use exostate::{Map, Origin, State, Store, Subscription};

#[derive(State, Clone, Debug, PartialEq)]
struct Desk {
    title: String,
    windows: Map<String, String>,
}

type Log = Arc<Mutex<Vec<String>>>;

fn note(log: &Log, what: String) {
    log.lock().expect("the log").push(what);
}

fn take(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().expect("the log"))
}

#[test]
fn every_effect_is_cleaned_up() -> Result<(), exostate::Error> {
    let store = Store::<Desk>::new();
    let log = Log::default();
    let effect = store.effect(Desk::path().windows().any(), {
        let log = Arc::clone(&log);
        move |window| {
            let name = window.new().cloned().unwrap_or_default();
            let log = Arc::clone(&log);
            note(&log, format!("open {name}"));
            move || note(&log, format!("close {name}"))
        }
    });
    store.change(|desk| desk.windows().insert("a", "one".to_owned()))?;
    store.change(|desk| desk.windows().insert("b", "two".to_owned()))?;
    assert_eq!(take(&log), ["open one", "open two"]);
    let other = store.fork()?;
    other.change(|desk| desk.windows().insert("a", "three".to_owned()))?;
    store.merge(&other)?;
    assert_eq!(take(&log), ["close one", "open three"], "what others do counts too");
    store.change(|desk| desk.windows().remove("a").map(drop))?;
    assert_eq!(take(&log), ["close three", "open ", "close "]);
    drop(effect);
    assert_eq!(take(&log), ["close two"]);
    store.change(|desk| desk.windows().insert("c", "four".to_owned()))?;
    assert!(take(&log).is_empty());
    Ok(())
}

#[test]
fn the_end_of_the_store_closes_all() -> Result<(), exostate::Error> {
    let store = Store::<Desk>::new();
    let log = Log::default();
    let told = Arc::clone(&log);
    store
        .effect(Desk::path().title(), move |_| {
            let told = Arc::clone(&told);
            move || note(&told, "closed".to_owned())
        })
        .forever();
    store.change(|desk| desk.title().set("desk"))?;
    drop(store);
    assert_eq!(take(&log), ["closed"]);
    Ok(())
}

#[test]
fn a_cleanup_may_use_the_store() -> Result<(), exostate::Error> {
    let store = Store::<Desk>::new();
    let again = store.clone();
    let effect = store.effect(Desk::path().title(), move |title| {
        let store = again.clone();
        let title = title.new().cloned().unwrap_or_default();
        move || {
            store
                .change(|desk| desk.windows().insert(title.clone(), "was here".to_owned()))
                .expect("it can be changed")
        }
    });
    store.change(|desk| desk.title().set("one"))?;
    store.change(|desk| desk.title().set("two"))?;
    drop(effect);
    assert_eq!(store.view().windows.keys().cloned().collect::<Vec<_>>(), ["one", "two"]);
    Ok(())
}

/// An effect for every window. Its cleanup logs the window and panics for the window named `bad`.
fn fragile(store: &Store<Desk>, log: &Log) -> Subscription {
    let log = Arc::clone(log);
    store.effect(Desk::path().windows().any(), move |window| {
        let name = window.new().cloned().unwrap_or_default();
        let log = Arc::clone(&log);
        note(&log, format!("open {name}"));
        move || {
            note(&log, format!("close {name}"));
            assert!(name != "bad", "it cannot be closed");
        }
    })
}

fn panics<R>(f: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(f)).is_err()
}

#[test]
fn other_cleanups_run_after_a_cleanup_panics() -> Result<(), exostate::Error> {
    let store = Store::<Desk>::new();
    let log = Log::default();
    let effect = fragile(&store, &log);
    for (key, name) in [("a", "one"), ("b", "bad"), ("c", "three")] {
        store.change(|desk| desk.windows().insert(key, name.to_owned()))?;
    }
    take(&log);
    assert!(panics(|| drop(effect)));
    assert_eq!(take(&log), ["close one", "close bad", "close three"]);
    let _effect = fragile(&store, &log);
    store.change(|desk| desk.windows().insert("b", "bad".to_owned()))?;
    store.change(|desk| desk.windows().insert("b", "bad!".to_owned()))?;
    store.change(|desk| desk.windows().insert("b", "bad".to_owned()))?;
    take(&log);
    assert!(panics(|| store.change(|desk| desk.windows().insert("b", "good".to_owned()))));
    assert_eq!(take(&log), ["close bad", "open good"], "the new window is opened all the same");
    store.change(|desk| desk.windows().remove("b").map(drop))?;
    assert_eq!(take(&log), ["close good", "open ", "close "]);
    Ok(())
}

/// A callback that has ended its own subscription is dropped, with all that it owns, when its last
/// call ends.
#[test]
fn other_watchers_are_called_after_a_cleanup_panics() -> Result<(), exostate::Error> {
    let store = Store::<Desk>::new();
    let log = Log::default();
    let own: Arc<Mutex<Option<Subscription>>> = Arc::default();
    let held = Arc::clone(&own);
    let effect = store.effect(Desk::path().title(), move |_| {
        drop(held.lock().expect("the subscription").take());
        || panic!("it cannot be closed")
    });
    *own.lock().expect("the subscription") = Some(effect);
    let told = Arc::clone(&log);
    let _watch =
        store.watch(Desk::path().title(), move |title| note(&told, format!("{:?}", title.new())));
    assert!(panics(|| store.change(|desk| desk.title().set("one"))));
    store.change(|desk| desk.title().set("two"))?;
    assert_eq!(take(&log), ["Some(\"one\")", "Some(\"two\")"]);
    Ok(())
}

#[test]
fn all_effects_are_cleaned_up_on_any_thread() {
    let store = Store::<Desk>::new();
    let alive = Arc::new(AtomicUsize::new(0));
    let done = AtomicBool::new(false);
    let write = |writer: usize| {
        for number in (0..3).cycle().take_while(|_| !done.load(Ordering::SeqCst)) {
            let key = format!("{writer} {number}");
            let there = store.view().windows.contains_key(&key);
            let change = store.change(|desk| match there {
                true => desk.windows().remove(key).map(drop),
                false => desk.windows().insert(key, String::new()),
            });
            change.expect("it can be changed");
        }
    };
    std::thread::scope(|scope| {
        let writers = [scope.spawn(|| write(0)), scope.spawn(|| write(1))];
        for _ in 0..300 {
            let count = Arc::clone(&alive);
            let effect = store.effect(Desk::path().windows().any(), move |_| {
                let open = Alive::new(&count);
                move || drop(open)
            });
            std::thread::yield_now();
            drop(effect);
        }
        done.store(true, Ordering::SeqCst);
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
    });
    assert_eq!(
        (alive.load(Ordering::SeqCst), store.subscriptions()),
        (0, exostate::Subscriptions::default())
    );
}

/// Counts its live instances.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn until(mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it happens");
}

#[tokio::test]
async fn a_newer_change_cancels_the_older_effect() -> Result<(), exostate::Error> {
    let store = Store::<Desk>::new();
    let log = Log::default();
    let alive = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&log);
    let count = Arc::clone(&alive);
    let effect = tokio::spawn(store.effect_async(Desk::path().windows().any(), move |window| {
        let told = Arc::clone(&told);
        let guard = Alive::new(&count);
        async move {
            let _guard = guard;
            let new = window.new.unwrap_or_default();
            note(&told, format!("{}: {} -> {new}", window.path, window.old.unwrap_or_default()));
            if new != "done" {
                std::future::pending::<()>().await;
            }
        }
    }));
    let set =
        |key: &str, value: &str| store.change(|desk| desk.windows().insert(key, value.to_owned()));
    set("a", "one")?;
    set("b", "one")?;
    until(|| alive.load(Ordering::SeqCst) == 2).await;
    set("a", "two")?;
    set("a", "three")?;
    until(|| log.lock().expect("the log").iter().any(|line| line.ends_with("three"))).await;
    assert_eq!(alive.load(Ordering::SeqCst), 2, "one a place");
    set("b", "done")?;
    until(|| alive.load(Ordering::SeqCst) == 1).await;
    assert_eq!(
        take(&log),
        [
            "windows/a:  -> one",
            "windows/b:  -> one",
            "windows/a: one -> three",
            "windows/b: one -> done"
        ]
    );
    effect.abort();
    until(|| alive.load(Ordering::SeqCst) == 0).await;
    Ok(())
}

#[tokio::test]
async fn an_asynchronous_effect_ends_with_the_store() -> Result<(), exostate::Error> {
    let store = Store::<Desk>::new();
    let log = Log::default();
    let told = Arc::clone(&log);
    let effect = tokio::spawn(store.effect_async(Desk::path().title(), move |title| {
        let told = Arc::clone(&told);
        let label = title.meta.as_ref().and_then(|meta| meta.label().map(str::to_owned));
        async move { note(&told, format!("{:?} {label:?} {:?}", title.origin, title.new)) }
    }));
    store.transaction().label("Name it").run(|desk| desk.title().set("desk"))?;
    drop(store);
    tokio::time::timeout(Duration::from_secs(10), effect)
        .await
        .expect("it ends")
        .expect("it does not panic");
    assert_eq!(take(&log), [format!("{:?} Some(\"Name it\") Some(\"desk\")", Origin::Local)]);
    Ok(())
}

#[tokio::test]
async fn short_lived_elements_are_not_reported_or_kept() -> Result<(), exostate::Error> {
    let store = Store::<Desk>::new();
    let log = Log::default();
    let told = Arc::clone(&log);
    let effect = store.effect_async(Desk::path().windows().any(), move |window| {
        note(&told, format!("{} {:?} {:?}", window.path, window.old, window.new));
        async {}
    });
    store.change(|desk| desk.windows().insert("kept", "one".to_owned()))?;
    for number in 0..100 {
        store.change(|desk| desk.windows().insert(number.to_string(), "short".to_owned()))?;
        store.change(|desk| desk.windows().remove(number.to_string()).map(drop))?;
    }
    drop(store);
    effect.await;
    assert_eq!(take(&log), ["windows/kept None Some(\"one\")"]);
    Ok(())
}
