//! Layers see, refuse and annotate changes, in order. A refused change has no effect.

#[path = "support/one_update.rs"]
mod one_update;

use one_update::OneUpdate;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use exostate::middleware::{Done, Import, Log, Metrics, Middleware, PathRules, Proposal, Throttle};
use exostate::{
    ApplyError, Automerge, Backend, ChangeError, Map, Origin, Pending, State, Store, Yrs,
};
use metrics::{
    Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

#[derive(State, Clone, Debug, PartialEq)]
struct Page {
    title: String,
    number: i64,
    rows: Map<u8, Row>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Row {
    name: String,
    size: i64,
}

type Seen = Arc<Mutex<Vec<String>>>;

/// Logs its calls, and refuses a change if the test asks for it.
struct LogCalls {
    name: &'static str,
    seen: Seen,
    refuses: bool,
}

impl LogCalls {
    fn note(&self, what: &str) {
        self.seen.lock().expect("the list").push(format!("{} {what}", self.name));
    }
}

impl Middleware<Page> for LogCalls {
    fn change(&self, change: &mut Proposal<'_, Page>) -> Result<(), ChangeError> {
        let paths: Vec<&str> = change.paths().collect();
        self.note(&format!(
            "change {} -> {} {paths:?} {:?}",
            change.old().number,
            change.new().number,
            change.meta().author()
        ));
        change.set_meta(change.meta().clone().with_author(self.name));
        if self.refuses { Err(ChangeError::refuse("no")) } else { Ok(()) }
    }

    fn import(&self, import: &Import) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.note(&format!("import {}", import.updates));
        if self.refuses { Err("no".into()) } else { Ok(()) }
    }

    fn done(&self, done: &Done<'_>) {
        let author = done.meta.and_then(|meta| meta.author());
        self.note(&format!(
            "done {:?} {} {author:?} {:?}",
            done.origin,
            done.size,
            done.error.map(ToString::to_string)
        ));
    }
}

fn take(seen: &Seen) -> Vec<String> {
    std::mem::take(&mut *seen.lock().expect("the list"))
}

fn layers<B: Backend>() -> Result<(), exostate::Error> {
    let store = Store::<Page, B>::new();
    let seen = Seen::default();
    let add =
        |name, refuses| store.add_middleware(LogCalls { name, seen: Arc::clone(&seen), refuses });
    add("a", false);
    add("b", false);
    let heard = Arc::new(Mutex::new(None));
    let author = Arc::clone(&heard);
    let _watch = store.watch(Page::path().number(), move |number| {
        *author.lock().expect("the author") =
            number.meta().and_then(|meta| meta.author()).map(str::to_owned);
    });
    store.change(|page| page.number().set(1))?;
    assert_eq!(
        take(&seen),
        [
            "a change 0 -> 1 [\"number\"] None",
            "b change 0 -> 1 [\"number\"] Some(\"a\")",
            "a done Local 1 Some(\"b\") None",
            "b done Local 1 Some(\"b\") None"
        ]
    );
    assert_eq!(heard.lock().expect("the author").as_deref(), Some("b"));
    store.change(|page| page.number().set(1))?;
    assert_eq!(
        take(&seen),
        ["a done Local 0 None None", "b done Local 0 None None"],
        "nothing was to be done"
    );

    let other = store.fork()?;
    other.change(|page| page.title().set("theirs"))?;
    let update = other.update_since(&store.version())?;
    add("c", true);
    let version = store.version();
    let digest = store.digest();
    assert!(matches!(store.change(|page| page.number().set(2)), Err(ChangeError::Refused(_))));
    assert!(matches!(
        store.apply(&update),
        Err(ApplyError::Denied(reason)) if reason.to_string() == "no"
    ));
    assert_eq!((store.version(), store.digest(), store.view().number), (version, digest, 1));
    let last = take(&seen).pop();
    assert_eq!(last.as_deref(), Some("c done Remote 1 None Some(\"refused: no\")"));
    Ok(())
}

#[test]
fn layers_are_called_in_order() -> Result<(), exostate::Error> {
    layers::<Yrs>()?;
    layers::<Automerge>()
}

/// A layer that uses the store. The writer lock is held in the first call and free afterwards.
struct ReadsStoreInCallbacks(Store<Page>);

impl Middleware<Page> for ReadsStoreInCallbacks {
    fn change(&self, change: &mut Proposal<'_, Page>) -> Result<(), ChangeError> {
        assert_eq!(self.0.view().number, change.old().number);
        assert!(matches!(self.0.change(|page| page.number().set(9)), Err(ChangeError::Nested)));
        Ok(())
    }

    fn done(&self, done: &Done<'_>) {
        if done.origin == Origin::Local && done.error.is_none() && self.0.view().title.is_empty() {
            self.0.change(|page| page.title().set("by the layer")).expect("nothing is locked");
        }
    }
}

#[test]
fn a_layer_may_change_the_store_after_a_change() -> Result<(), exostate::Error> {
    let store = Store::<Page>::new();
    store.add_middleware(ReadsStoreInCallbacks(store.clone()));
    store.change(|page| page.number().set(1))?;
    assert_eq!(store.view().title, "by the layer");
    Ok(())
}

#[test]
fn layers_are_told_of_every_attempt_once() -> Result<(), exostate::Error> {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    let store = Store::<Page>::new();
    let seen = Seen::default();
    store.add_middleware(LogCalls { name: "a", seen: Arc::clone(&seen), refuses: false });
    let panics = || store.change(|_| -> Result<(), ChangeError> { panic!("within a change") });
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    assert_eq!(take(&seen), ["a done Local 0 None Some(\"the change's closure panicked\")"]);
    let other = store.fork()?;
    other.change(|page| page.title().set("theirs"))?;
    let update = other.update_since(&store.version())?;
    let watch = store.watch(Page::path(), |_| panic!("within a watcher"));
    assert!(catch_unwind(AssertUnwindSafe(|| store.change(|page| page.number().set(1)))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| store.apply(&update))).is_err());
    drop(watch);
    let done: Vec<String> = take(&seen).into_iter().filter(|line| line.contains("done")).collect();
    assert_eq!(done, ["a done Local 1 Some(\"a\") None", "a done Remote 1 None None"]);
    store.change(|_| {
        assert!(matches!(store.apply(&update), Err(ApplyError::Nested)));
        assert!(matches!(store.change(|page| page.number().set(2)), Err(ChangeError::Nested)));
        Ok(())
    })?;
    assert_eq!(take(&seen).len(), 1, "nobody is asked within a change");
    Ok(())
}

#[test]
fn path_rules_refuse_changes_by_path() -> Result<(), exostate::Error> {
    let store = Store::<Page>::new();
    store.add_middleware(
        PathRules::new().deny(Page::path().title()).deny(Page::path().rows().any().size()),
    );
    store.add_middleware(Log);
    store.change(|page| page.rows().insert(1_u8, Row { name: "one".to_owned(), size: 0 }))?;
    let refused = store.change(|page| {
        page.rows().get(1_u8).name().set("two")?;
        page.rows().get(1_u8).size().set(2)
    });
    assert_eq!(
        refused.map_err(|error| error.to_string()),
        Err("refused: rows/1/size: may not be changed here".to_owned())
    );
    assert!(store.change(|page| page.title().set("x")).is_err());
    let other = store.fork()?;
    other.change(|page| page.title().set("theirs"))?;
    store.merge(&other)?;
    assert_eq!(
        (store.view().title.as_str(), store.view().rows.get(&1).map(|row| row.name.as_str())),
        ("theirs", Some("one"))
    );
    let only = Store::<Page>::new();
    only.add_middleware(PathRules::new().allow_only(Page::path().number()));
    only.change(|page| page.number().set(1))?;
    assert!(only.change(|page| page.title().set("x")).is_err());
    Ok(())
}

#[test]
fn throttles_limit_changes_and_imports() -> Result<(), exostate::Error> {
    #[allow(clippy::disallowed_methods, reason = "some moment, from which all others are counted")]
    let now = Arc::new(Mutex::new(Instant::now()));
    let clock = |now: &Arc<Mutex<Instant>>| {
        let now = Arc::clone(now);
        move || *now.lock().expect("the clock")
    };
    let store = Store::<Page>::new();
    let other = Store::<Page>::new();
    store.add_middleware(Throttle::changes(2, Duration::from_secs(1)).with_clock(clock(&now)));
    store.add_middleware(Throttle::imports(1, Duration::from_secs(1)).with_clock(clock(&now)));
    let made = |from: i64| {
        (from..from + 5)
            .filter(|number| store.change(|page| page.number().set(*number)).is_ok())
            .count()
    };
    assert_eq!(made(1), 2);
    *now.lock().expect("the clock") += Duration::from_secs(1);
    assert_eq!(made(10), 1);
    *now.lock().expect("the clock") += Duration::from_secs(100);
    assert_eq!(made(20), 2);
    other.change(|page| page.title().set("one"))?;
    assert!(store.merge(&other).is_ok());
    other.change(|page| page.title().set("two"))?;
    assert!(store.merge(&other).is_err());
    *now.lock().expect("the clock") += Duration::from_secs(1);
    store.merge(&other)?;
    assert_eq!(store.view().title, "two", "what was refused is not lost");
    let never = Store::<Page>::new();
    never.add_middleware(Throttle::changes(2, Duration::MAX));
    assert!(
        (0..3).all(|number| never.change(|page| page.number().set(number + 1)).is_err()),
        "a step that never passes lets nothing through"
    );
    Ok(())
}

/// Keeps sums by name and labels.
#[derive(Default)]
struct Sums(Arc<Mutex<std::collections::BTreeMap<String, u64>>>);

struct Sum(String, Arc<Mutex<std::collections::BTreeMap<String, u64>>>);

impl CounterFn for Sum {
    fn increment(&self, value: u64) {
        *self.1.lock().expect("the sums").entry(self.0.clone()).or_default() += value;
    }

    fn absolute(&self, _value: u64) {}
}

impl Recorder for Sums {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<&str> = key.labels().map(|label| label.value()).collect();
        Counter::from_arc(Arc::new(Sum(
            format!("{} {}", key.name(), labels.join(",")),
            Arc::clone(&self.0),
        )))
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn metrics_count_by_origin() {
    let sums = Sums::default();
    metrics::with_local_recorder(&sums, || {
        let store = Store::<Page>::new();
        let other = Store::<Page>::new();
        store.add_middleware(Metrics);
        store.add_middleware(PathRules::new().deny(Page::path().title()));
        other.change(|page| page.title().set("theirs")).expect("it can be set");
        store.change(|page| page.number().set(1)).expect("it can be set");
        store.change(|page| page.number().set(2)).expect("it can be set");
        assert!(store.change(|page| page.title().set("ours")).is_err());
        store.merge(&other).expect("it merges");
    });
    let found: Vec<(String, u64)> = sums.0.lock().expect("the sums").clone().into_iter().collect();
    let wanted = [
        ("exostate_done_total local", 2),
        ("exostate_done_total remote", 1),
        ("exostate_refused_total local", 1),
    ];
    assert_eq!(found, wanted.map(|(name, count)| (name.to_owned(), count)));
}

/// A layer that reads its own store, and tries to write to it, during an import.
struct WritesDuringImport(Store<Page>, Arc<Mutex<Vec<bool>>>);

impl Middleware<Page> for WritesDuringImport {
    fn import(&self, _: &Import) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Self(store, found) = self;
        assert_eq!(
            (store.version(), store.digest(), store.pending()),
            (store.version(), store.digest(), Pending::default())
        );
        let changed = store.change(|page| page.title().set("layer"));
        found.lock().expect("the list").push(matches!(changed, Err(ChangeError::Nested)));
        Ok(())
    }
}

#[test]
fn a_layer_may_read_the_store_during_an_import() {
    let store = Store::<Page>::new();
    let theirs = Store::<Page>::new();
    let found = Arc::new(Mutex::new(Vec::new()));
    store.add_middleware(WritesDuringImport(store.clone(), Arc::clone(&found)));
    theirs.change(|page| page.title().set("Ada")).expect("a change");
    store.merge(&theirs).expect("it merges");
    assert_eq!(*found.lock().expect("the list"), [true]);
    assert_eq!(store.view().title, "Ada");
}
