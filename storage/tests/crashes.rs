//! Seeded crashes: at any moment the power fails. What was flushed is there again, what was not is
//! there in the order of the commits up to some point, and nothing half is shown.

#![allow(clippy::unwrap_used, reason = "a test stops at a fault")]

mod support;

use std::time::{Duration, SystemTime};

use exostate::{Automerge, Backend, Map, Options, State, Store, Text, Yrs};
use exostate_storage::{Durability, Opening, Persist, Storage, StorageOptions};
use proptest::prelude::*;
use support::SimAdapter;

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Note {
    /// The number of changes so far: which commit a view shows.
    count: u64,
    body: Text,
    tags: Map<String, u64>,
}

#[derive(Clone, Debug)]
enum Step {
    Change,
    Import,
    Flush,
    /// The document is closed and opened again.
    Reopen,
    /// The disk fails until the next flush that must succeed.
    Fail,
    /// The power fails: this many of the unsynced calls are on disk.
    Crash(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Change),
        2 => Just(Step::Import),
        2 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        1 => Just(Step::Fail),
        2 => (0usize..4).prop_map(Step::Crash),
    ]
}

/// A clock that jumps, back and forth. Nothing of a storage may depend on it.
fn jumping_clock() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(fastrand::u64(..1 << 33))
}

struct Run<B: Backend> {
    adapter: SimAdapter,
    options: StorageOptions,
    storage: Option<Storage>,
    note: Option<Store<Note, B>>,
    /// The views after each change, by their number.
    views: Vec<Note>,
    flushed: u64,
}

impl<B: Backend> Run<B> {
    fn new(options: StorageOptions) -> Self {
        let mut this = Self {
            adapter: SimAdapter::new(),
            options,
            storage: None,
            note: None,
            views: vec![Note::default()],
            flushed: 0,
        };
        this.open();
        this
    }

    fn open(&mut self) {
        let storage = Storage::with_options(self.adapter.clone(), self.options.clone());
        let options = Options::default().with_clock(jumping_clock);
        let note =
            storage.open_with::<Note, B>("note", Opening::new().with_options(options)).unwrap();
        let view = note.view();
        let count = usize::try_from(view.count).unwrap();
        assert!(view.count >= self.flushed, "{} of {} are there", view.count, self.flushed);
        assert_eq!(*view, self.views[count], "nothing half is shown");
        assert!(note.violations().is_empty());
        self.views.truncate(count + 1);
        (self.storage, self.note) = (Some(storage), Some(note));
    }

    fn note(&self) -> &Store<Note, B> {
        self.note.as_ref().unwrap()
    }

    fn step(&mut self, step: &Step) {
        let count = self.views.len() as u64;
        match step {
            Step::Change => {
                let changed = self.note().change(|note| edit_note(note, count));
                // The disk may fail at this time, so that the id of the replica is not there yet.
                if changed.is_ok() {
                    self.views.push((*self.note().view()).clone());
                }
            }
            Step::Import => {
                let theirs = Store::<Note, B>::open(&self.note().save()).unwrap();
                theirs.change(|note| edit_note(note, count)).unwrap();
                let updates = theirs.updates_since(&self.note().version()).unwrap();
                if self.note().apply_all(&updates).is_ok() {
                    self.views.push((*self.note().view()).clone());
                }
            }
            Step::Flush => {
                self.adapter.fail(false);
                while self.note().flush_blocking().is_err() {}
                self.flushed = self.note().view().count;
            }
            Step::Reopen => {
                self.adapter.fail(false);
                self.note = None;
                self.storage.take().unwrap().close().unwrap();
                self.flushed = self.views.len() as u64 - 1;
                self.open();
            }
            Step::Fail => self.adapter.fail(true),
            Step::Crash(part) => {
                let after = self.adapter.crash(*part);
                // What the old process still does is not seen.
                self.adapter.fail(false);
                (self.note, self.storage) = (None, None);
                self.adapter = after;
                self.open();
            }
        }
    }
}

fn edit_note(
    note: <Note as State>::Node<exostate::Edit<'_>>,
    count: u64,
) -> Result<(), exostate::ChangeError> {
    note.count().set(count)?;
    note.body().push_str(&format!("{count},"))?;
    note.tags().insert((count % 7).to_string(), count)?;
    Ok(())
}

fn options() -> impl Strategy<Value = StorageOptions> {
    let ms = Duration::from_millis;
    let every = prop_oneof![Just(Durability::Acknowledge), Just(Durability::EveryCommit)];
    (every, 1usize..4, 0u64..3).prop_map(move |(durability, records, time)| {
        StorageOptions::new()
            .with_durability(durability)
            .with_wait_max(ms(0))
            .with_group(records, 1 << 20, ms(time))
            .with_retry(ms(1), ms(2))
            .with_compact_bytes_min(600)
    })
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("EXOSTATE_CRASHES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: cases.unwrap_or(100), max_shrink_time: 60_000, ..Default::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_was_flushed_survives_on_yrs(
        options in options(),
        steps in proptest::collection::vec(any_step(), 1..60),
    ) {
        let mut run = Run::<Yrs>::new(options);
        steps.iter().for_each(|step| run.step(step));
    }

    #[test]
    fn what_was_flushed_survives_on_automerge(
        options in options(),
        steps in proptest::collection::vec(any_step(), 1..30),
    ) {
        let mut run = Run::<Automerge>::new(options);
        steps.iter().for_each(|step| run.step(step));
    }
}
