//! A keeper gets everything that is needed to make the document again, before anyone is told.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stops at a fault, and has threads"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use exostate::{
    AlreadyKept, ApplyError, Automerge, Backend, ChangeError, Document, EditError, KeepError,
    Keeper, Record, State, Store, Subscription, Yrs,
};

#[derive(State, Clone, Debug, PartialEq)]
struct Note {
    title: String,
    body: exostate::Text,
}

/// Keeps records in memory. `kept` moves only when a test says so, if `late`.
#[derive(Default)]
struct Memory {
    records: Mutex<Vec<(u8, Vec<Vec<u8>>)>>,
    number: AtomicU64,
    kept: AtomicU64,
    full: AtomicBool,
    late: bool,
    reserved: AtomicU64,
}

impl Keeper for Memory {
    fn reserve(&self) -> Result<(), KeepError> {
        if self.full.load(Ordering::Relaxed) {
            return Err(KeepError::new("note: the queue is full"));
        }
        self.reserved.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn release(&self) {
        self.reserved.fetch_sub(1, Ordering::Relaxed);
    }

    fn record(&self, record: Record<'_>) -> u64 {
        let kept = match record {
            Record::Updates(updates) => (0, updates.iter().map(|one| one.to_vec()).collect()),
            Record::Pending(updates) => (1, updates.iter().map(|one| one.to_vec()).collect()),
            Record::Whole { document, pending } => {
                (2, std::iter::once(document).chain(pending).collect())
            }
            Record::Replica(id) => (3, vec![id.get().to_le_bytes().to_vec()]),
            Record::Lineage(lineage) => (4, vec![lineage.to_le_bytes().to_vec()]),
            _ => (5, Vec::new()),
        };
        self.records.lock().unwrap().push(kept);
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        if !self.late {
            self.kept.store(number, Ordering::Relaxed);
        }
        number
    }

    fn recorded(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    fn announces_kept(&self) -> bool {
        self.late
    }

    fn wait(&self, number: u64) {
        while self.kept() < number {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn on_kept(&self, _: Box<dyn Fn() -> bool + Send + Sync>) {}
}

impl Memory {
    /// Makes the document again from the records.
    fn again<B: Backend>(&self) -> Document<B> {
        let mut document = Document::new();
        for (kind, parts) in &*self.records.lock().unwrap() {
            match kind {
                0 | 1 => parts.iter().for_each(|update| {
                    document.apply_trusted(update).unwrap();
                }),
                2 => {
                    document = Document::open(&parts[0]).unwrap();
                    parts[1..].iter().for_each(|update| {
                        document.apply_trusted(update).unwrap();
                    });
                }
                _ => {}
            }
        }
        document
    }

    fn kinds(&self) -> Vec<u8> {
        self.records.lock().unwrap().iter().map(|(kind, _)| *kind).collect()
    }
}

fn kept_store<B: Backend>(keeper: &Arc<Memory>) -> Store<Note, B> {
    let store = Store::new();
    store.document().keep_with(Arc::clone(keeper) as Arc<dyn Keeper>).unwrap();
    store
}

fn the_records_make_the_document_again<B: Backend>() {
    let keeper = Arc::new(Memory::default());
    let store = kept_store::<B>(&keeper);
    store.change(|note| note.title().set("plan")).unwrap();
    let theirs = Store::<Note, B>::new();
    theirs.change(|note| note.body().push_str("hello")).unwrap();
    store.merge(&theirs).unwrap();
    store.document().edit(|edit| edit.set("title", "trip")).unwrap();
    // A part of something larger, shown later.
    theirs.change(|note| note.body().push_str(", world")).unwrap();
    for update in theirs.updates_since(&store.version()).unwrap() {
        store.document().apply_part(&[update]).unwrap();
    }
    let undo = store.undo_manager(exostate::UndoOptions::default());
    store.change(|note| note.title().set("never mind")).unwrap();
    undo.undo().unwrap();
    let again = keeper.again::<B>();
    assert_eq!(again.digest(), store.document().digest());
    assert_eq!(again.version(), store.version());
    assert_eq!(keeper.reserved.load(Ordering::Relaxed), 0);
}

#[test]
fn the_records_make_the_document_again_on_both_backends() {
    the_records_make_the_document_again::<Yrs>();
    the_records_make_the_document_again::<Automerge>();
}

fn trusted_pending_updates_are_recorded<B: Backend>() {
    let keeper = Arc::new(Memory::default());
    let store = kept_store::<B>(&keeper);
    let theirs = Store::<Note, B>::new();
    theirs.change(|note| note.body().push_str("a")).unwrap();
    let middle = theirs.version();
    theirs.change(|note| note.body().push_str("b")).unwrap();
    let last = theirs.updates_since(&middle).unwrap();
    last.iter().for_each(|update| {
        store.apply_trusted(update).unwrap();
    });
    assert_eq!(store.document().own_pending().updates, 1);
    assert_eq!(keeper.again::<B>().own_pending().updates, 1);
    // A pending update of a stranger is not recorded: it is asked for again.
    let kinds = keeper.kinds();
    theirs.change(|note| note.body().push_str("c")).unwrap();
    store.document().forget_pending();
    store.apply(theirs.updates_since(&middle).unwrap().last().unwrap()).unwrap();
    assert_eq!(keeper.kinds(), kinds);
}

#[test]
fn trusted_pending_updates_are_recorded_on_both_backends() {
    trusted_pending_updates_are_recorded::<Yrs>();
    trusted_pending_updates_are_recorded::<Automerge>();
}

#[test]
fn a_full_keeper_refuses_before_anything_is_written() {
    let keeper = Arc::new(Memory::default());
    let store = kept_store::<Yrs>(&keeper);
    let other = Store::<Note>::new();
    keeper.full.store(true, Ordering::Relaxed);
    let refused = store.change(|note| note.title().set("plan")).unwrap_err();
    assert!(matches!(&refused, ChangeError::NotKept(error)
        if error.to_string() == "note: the queue is full"));
    let edited = store.document().edit(|edit| edit.set("title", "x"));
    assert!(matches!(edited, Err(EditError::NotKept(_))));
    other.change(|note| note.title().set("theirs")).unwrap();
    assert!(matches!(store.apply(&other.save()), Err(ApplyError::NotKept(_))));
    // A joint change writes to no store if one of them is full.
    let joint = other.and(&store);
    let refused = joint.change(|(other, store)| {
        other.title().set("half")?;
        store.title().set("half")
    });
    assert!(matches!(refused, Err(ChangeError::NotKept(_))));
    assert_eq!((other.view().title.as_str(), store.view().title.as_str()), ("theirs", ""));
    assert!(keeper.kinds().is_empty());
    // The same update may come again.
    keeper.full.store(false, Ordering::Relaxed);
    store.apply(&other.save()).unwrap();
    assert_eq!(store.view().title, "theirs");
    assert_eq!(keeper.again::<Yrs>().digest(), store.document().digest());
}

#[test]
fn a_repair_and_a_fresh_id_are_recorded() {
    use exostate::{Options, ReplicaId};
    let keeper = Arc::new(Memory::default());
    let options = || Options::new().with_replica(ReplicaId::from_bits(7));
    let ours = Store::<Note>::with_options(options());
    ours.document().keep_with(Arc::clone(&keeper) as Arc<dyn Keeper>).unwrap();
    let theirs = Store::<Note>::with_options(options());
    ours.change(|note| note.title().set("plan")).unwrap();
    theirs.change(|note| note.body().push_str("hello")).unwrap();
    let mut repair = ours.document().repair();
    for update in theirs.updates_since(&exostate::Version::empty()).unwrap() {
        repair.apply(&update).unwrap();
    }
    repair.finish().unwrap();
    ours.document().follow(3);
    ours.document().follow(2);
    assert_eq!(keeper.kinds(), [0, 3, 2, 4]);
    assert_eq!(keeper.again::<Yrs>().digest(), ours.document().digest());
    let id = u64::from_le_bytes(keeper.records.lock().unwrap()[1].1[0][..].try_into().unwrap());
    assert_eq!(id, ours.document().replica().get());
    let second = ours.document().keep_with(Arc::new(Memory::default()));
    assert_eq!(second, Err(AlreadyKept));
}

/// The titles of which a watcher is told. It changes the title too when it is told of `first`: a
/// change within a watcher is announced after the watcher has returned.
fn titles_told(store: &Store<Note>) -> (Arc<Mutex<Vec<String>>>, Subscription) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let inner = store.downgrade();
    let watch = store.watch(Note::path().title(), move |title| {
        log.lock().unwrap().push(title.new().unwrap().clone());
        if title.new().unwrap() == "first" {
            let store = inner.upgrade().unwrap();
            store.change(|note| note.title().set("nested")).unwrap();
        }
    });
    (told, watch)
}

#[test]
fn a_change_is_announced_after_it_is_kept_and_in_order() {
    let keeper = Arc::new(Memory { late: true, ..Memory::default() });
    let store = kept_store::<Yrs>(&keeper);
    let (told, _watch) = titles_told(&store);
    let changes: Vec<_> = (0..4)
        .map(|at| {
            let store = store.clone();
            thread::spawn(move || {
                let title = if at == 0 { "first".to_owned() } else { format!("later {at}") };
                store.change(|note| note.title().set(title)).unwrap();
            })
        })
        .collect();
    while keeper.recorded() < 4 {
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_millis(20));
    assert!(told.lock().unwrap().is_empty(), "nothing is told before it is kept");
    assert!(changes.iter().all(|change| !change.is_finished()));
    // The disk writes, record by record.
    while changes.iter().any(|change| !change.is_finished()) {
        if keeper.kept() < keeper.recorded() {
            keeper.kept.fetch_add(1, Ordering::Relaxed);
        }
        thread::sleep(Duration::from_millis(1));
    }
    changes.into_iter().for_each(|change| change.join().unwrap());
    assert_eq!(told.lock().unwrap().len(), 5);
    assert_eq!(told.lock().unwrap().last(), Some(&store.view().title));
}

/// A watcher changes the store while a commit of another thread is queued and not kept. Nobody but
/// the thread of that watcher can announce its change.
#[test]
fn a_change_of_a_watcher_is_announced_behind_the_change_of_another_thread() {
    let keeper = Arc::new(Memory { late: true, ..Memory::default() });
    let store = kept_store::<Yrs>(&keeper);
    let (told, _watch) = titles_told(&store);
    let recorded = |count: u64| {
        while keeper.recorded() < count {
            thread::sleep(Duration::from_millis(1));
        }
    };
    let change = |title: &'static str| {
        let store = store.clone();
        thread::spawn(move || store.change(|note| note.title().set(title)).unwrap())
    };
    let first = change("first");
    recorded(1);
    let later = change("later");
    recorded(2);
    keeper.kept.store(1, Ordering::Relaxed);
    recorded(3);
    // Time for the first thread to leave too early, which it must not.
    thread::sleep(Duration::from_millis(20));
    keeper.kept.store(2, Ordering::Relaxed);
    later.join().unwrap();
    keeper.kept.store(3, Ordering::Relaxed);
    first.join().unwrap();
    assert_eq!(*told.lock().unwrap(), ["first", "later", "nested"]);
}
